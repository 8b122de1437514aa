//! Functions in `FROM` that are not about models: `generate_series(1, 9)`.
//!
//! In: a relation with arguments; out: a scan that is named after its arguments. Also PostgreSQL's name
//! of the one column of such a relation, which is the relation's alias, and the planner's, `value`, where a statement asks for it.
//! Series of whole numbers that are integers are integers.

use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue, SchemaError, TableReference};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::planner::{
    PlannedRelation, RelationPlannerContext, RelationPlanning,
};
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlanBuilder, cast, lit};
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, Ident, TableAliasColumnDef, TableFactor, VisitMut,
    VisitorMut,
};

use super::change::table_alias;
use crate::error::Error;
use crate::functions::{as_value, unmark_values};

/// The function whose rows are numbers.
const SERIES: &str = "generate_series";
/// The planner's name of the column of such a function.
const VALUE: &str = "value";

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
    let is_series = function == SERIES;
    let mut is_narrow = is_series;
    let mut exprs = Vec::with_capacity(args.args.len());
    for arg in &args.args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = arg else {
            return original(relation);
        };
        let is_written = is_integer(expr);
        let expr = context.sql_expr_to_logical_expr(expr.clone(), &DFSchema::empty())?;
        let found = expr.get_type(&DFSchema::empty());
        is_narrow &= is_written || matches!(found, Ok(DataType::Int16 | DataType::Int32));
        exprs.push(if is_series { as_bigint(expr)? } else { expr });
    }
    let source = context
        .context_provider()
        .get_table_function_source(&function, exprs)
        .map_err(told)?;
    let scan_name = TableReference::bare(format!("{function}({})", text.join(", ")));
    let mut scan = LogicalPlanBuilder::scan(scan_name, source, None)?;
    if is_series {
        let column = match alias {
            Some(alias) if alias.columns.is_empty() => context.normalize_ident(alias.name.clone()),
            _ => function.clone(),
        };
        let values = scan.schema().columns().into_iter().map(Expr::Column);
        let values = values.map(|value| match is_narrow {
            true => cast(value, DataType::Int32).alias(column.clone()),
            false => value.alias(column.clone()),
        });
        let values: Vec<Expr> = values.collect();
        scan = scan.project(values)?;
    }
    let plan = scan.alias(function.as_str())?.build()?;
    let planned = PlannedRelation::new(plan, alias.clone());
    Ok(RelationPlanning::Planned(Box::new(planned)))
}

/// Whether what is written is an integer to PostgreSQL, or no value: numbers that are written out are bigints to the planner.
fn is_integer(expr: &ast::Expr) -> bool {
    use ast::{BinaryOperator as B, DataType as T, UnaryOperator as U};
    match expr {
        ast::Expr::Value(value) => match &value.value {
            ast::Value::Number(digits, _) => digits.parse::<i32>().is_ok(),
            ast::Value::Null => true,
            _ => false,
        },
        ast::Expr::Cast { data_type, .. } => matches!(
            data_type,
            T::Int(_) | T::Int2(_) | T::Int4(_) | T::Integer(_) | T::SmallInt(_)
        ),
        ast::Expr::UnaryOp {
            op: U::Minus | U::Plus,
            expr,
        }
        | ast::Expr::Nested(expr) => is_integer(expr),
        ast::Expr::BinaryOp {
            left,
            op: B::Plus | B::Minus | B::Multiply | B::Divide | B::Modulo,
            right,
        } => is_integer(left) && is_integer(right),
        _ => false,
    }
}

/// A whole number as the planner's series take it; NULL has no type there.
fn as_bigint(expr: Expr) -> Result<Expr> {
    let schema = DFSchema::empty();
    let is_null = match &expr {
        Expr::Literal(value, _) => value.is_null(),
        Expr::Cast(cast) => {
            matches!(cast.expr.as_ref(), Expr::Literal(value, _) if value.is_null())
        }
        _ => false,
    };
    match expr.get_type(&schema) {
        _ if is_null => Ok(lit(ScalarValue::Null)),
        Ok(found) if found.is_integer() => expr.cast_to(&DataType::Int64, &schema),
        _ => Ok(expr),
    }
}

/// What the planner says of a step that leads nowhere, in PostgreSQL's words.
fn told(error: DataFusionError) -> DataFusionError {
    match error.strip_backtrace().contains("Step cannot be zero") {
        true => Error::invalid("22023", "step size cannot equal zero", None).into(),
        false => error,
    }
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
        unmark_values(&mut call);
        let text = format!("SELECT {call} AS {column}");
        let mut subquery = auspex_sql::parse_query(&text, auspex_sql::Dialect::Postgres).ok()?;
        if let ast::SetExpr::Select(select) = subquery.body.as_mut() {
            as_value(select);
        }
        Some(TableFactor::Derived {
            lateral: false,
            subquery,
            alias: Some(table_alias(relation)),
            sample: None,
        })
    }
}

/// Names the one column of a call after the call's alias, if `error` did not find such a column:
/// `SELECT i FROM range(1, 9) AS i`; that of a series `value`, if it did not find this. False if nothing was changed.
pub(super) fn adopt_alias(statement: &mut ast::Statement, error: &DataFusionError) -> bool {
    let cause = match error.find_root() {
        DataFusionError::SchemaError(cause, _) => cause,
        // `s.value` is sought in the column `s`, which is no struct.
        DataFusionError::Plan(message) | DataFusionError::Execution(message)
            if message.starts_with("Cannot access field") =>
        {
            return adopt_value(statement);
        }
        _ => return false,
    };
    let SchemaError::FieldNotFound { field, .. } = cause.as_ref() else {
        return false;
    };
    let relation = field.relation.as_ref().map(TableReference::table);
    let mut naming = Naming {
        name: field.name().to_owned(),
        relation: relation.map(str::to_owned),
        is_changed: false,
    };
    if relation.is_none_or(|relation| relation == field.name()) {
        let _ = VisitMut::visit(statement, &mut naming);
    }
    if !naming.is_changed && field.name() == VALUE {
        let _ = VisitMut::visit(statement, &mut NamingSeries(&mut naming));
    }
    naming.is_changed
}

/// Names the column of each series `value`; whether one was named otherwise.
fn adopt_value(statement: &mut ast::Statement) -> bool {
    let mut naming = Naming {
        name: VALUE.to_owned(),
        relation: None,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut NamingSeries(&mut naming));
    naming.is_changed
}

/// Names columns after the relation's alias.
struct Naming {
    name: String,
    /// The relation that the column was sought in, if one was named.
    relation: Option<String>,
    is_changed: bool,
}

/// Names columns of series as the planner does.
struct NamingSeries<'a>(&'a mut Naming);

impl VisitorMut for NamingSeries<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        let TableFactor::Table {
            name,
            alias,
            args: Some(_),
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        if !name.to_string().eq_ignore_ascii_case(SERIES) {
            return ControlFlow::Continue(());
        }
        let alias = alias.get_or_insert_with(|| table_alias(Ident::new(SERIES)));
        let sought = self.0.relation.as_ref();
        let is_sought = sought.is_none_or(|name| alias.name.value.eq_ignore_ascii_case(name));
        if alias.columns.is_empty() && is_sought {
            alias.columns.push(TableAliasColumnDef {
                name: Ident::new(VALUE),
                data_type: None,
            });
            self.0.is_changed = true;
        }
        ControlFlow::Continue(())
    }
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
