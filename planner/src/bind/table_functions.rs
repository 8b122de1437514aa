//! Functions in `FROM` that are not about models: `generate_series(1, 9)`.
//!
//! In: a relation with arguments; out: a scan that is named after its arguments. Also PostgreSQL's name
//! of the one column of such a relation, which is the relation's alias.

use std::ops::ControlFlow;

use datafusion::common::{DFSchema, SchemaError, TableReference};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlannerContext, RelationPlanning,
};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, Ident, TableAliasColumnDef, TableFactor, VisitMut,
    VisitorMut,
};

use super::change::table_alias;

/// Plans a call in `FROM`, and hands back every other relation. DataFusion takes two scans of one name
/// for the same scan, whatever they read, so that the name must say what the arguments are.
pub(super) fn plan(
    relation: TableFactor,
    context: &mut dyn RelationPlannerContext,
) -> Result<RelationPlanning> {
    let original = |relation| Ok(RelationPlanning::Original(Box::new(relation)));
    let TableFactor::Table {
        name,
        alias,
        args: Some(args),
        ..
    } = &relation
    else {
        return original(relation);
    };
    let [part] = name.0.as_slice() else {
        return original(relation);
    };
    let Some(ident) = part.as_ident() else {
        return original(relation);
    };
    let function = context.normalize_ident(ident.clone());
    let text: Vec<String> = args.args.iter().map(ToString::to_string).collect();
    let mut exprs = Vec::with_capacity(args.args.len());
    for arg in &args.args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
            return original(relation);
        };
        exprs.push(context.sql_expr_to_logical_expr(expr.clone(), &DFSchema::empty())?);
    }
    let source = context
        .context_provider()
        .get_table_function_source(&function, exprs)?;
    let scan_name = TableReference::bare(format!("{function}({})", text.join(", ")));
    let scan = LogicalPlanBuilder::scan(scan_name, source, None)?;
    let plan = scan.alias(function.as_str())?.build()?;
    let planned = PlannedRelation::new(plan, alias.clone());
    Ok(RelationPlanning::Planned(Box::new(planned)))
}

/// Makes a query of one row of a call in `FROM`, if `error` says that it is no function of relations, and it is one of values.
pub(super) fn adopt_scalar(
    statement: &mut ast::Statement,
    error: &DataFusionError,
    state: &SessionState,
) -> bool {
    let message = error.strip_backtrace();
    let name = message
        .split_once("able function '")
        .and_then(|(_, rest)| rest.split_once("' not found"));
    let Some((name, _)) = name.filter(|(name, _)| state.scalar_functions().contains_key(*name))
    else {
        return false;
    };
    let mut calls = ScalarCalls {
        name,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut calls);
    calls.is_changed
}

struct ScalarCalls<'a> {
    name: &'a str,
    is_changed: bool,
}

impl VisitorMut for ScalarCalls<'_> {
    type Break = ();

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let Some(row) = self.one_row(factor) {
            *factor = row;
            self.is_changed = true;
        }
        ControlFlow::Continue(())
    }
}

impl ScalarCalls<'_> {
    /// The call as a query of one row, whose column has the alias's or the function's name.
    fn one_row(&self, factor: &TableFactor) -> Option<TableFactor> {
        let TableFactor::Table {
            name,
            alias,
            args: Some(_),
            ..
        } = factor
        else {
            return None;
        };
        let [part] = name.0.as_slice() else {
            return None;
        };
        (part.as_ident()?.value.to_lowercase() == self.name).then_some(())?;
        let relation = match alias {
            Some(alias) => alias.name.clone(),
            None => Ident::with_quote('"', self.name),
        };
        let column = alias.as_ref().and_then(|alias| alias.columns.first());
        let column = column.map_or_else(|| relation.clone(), |column| column.name.clone());
        let mut call = factor.clone();
        if let TableFactor::Table { alias, .. } = &mut call {
            *alias = None;
        }
        let text = format!("SELECT {call} AS {column}");
        Some(TableFactor::Derived {
            lateral: false,
            subquery: auspex_sql::parse_query(&text, auspex_sql::Dialect::Postgres).ok()?,
            alias: Some(table_alias(relation)),
            sample: None,
        })
    }
}

/// Names the one column of a call after the call's alias, if `error` did not find such a column:
/// `SELECT i FROM generate_series(1, 9) AS i`. False if nothing was changed.
pub(super) fn adopt_alias(statement: &mut ast::Statement, error: &DataFusionError) -> bool {
    let DataFusionError::SchemaError(cause, _) = error.find_root() else {
        return false;
    };
    let SchemaError::FieldNotFound { field, .. } = cause.as_ref() else {
        return false;
    };
    if field
        .relation
        .as_ref()
        .is_some_and(|relation| relation.table() != field.name())
    {
        return false;
    }
    let mut naming = Naming {
        name: field.name().to_owned(),
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut naming);
    naming.is_changed
}

struct Naming {
    name: String,
    is_changed: bool,
}

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table {
            alias: Some(alias),
            args: Some(_),
            ..
        } = factor
            && alias.columns.is_empty()
            && alias.name.value.eq_ignore_ascii_case(&self.name)
        {
            alias.columns.push(TableAliasColumnDef {
                name: Ident::with_quote('"', self.name.as_str()),
                data_type: None,
            });
            self.is_changed = true;
        }
        ControlFlow::Continue(())
    }
}
