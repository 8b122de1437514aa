//! `value`, PostgreSQL's other name of what `jsonb_array_elements` gives under an alias: `FROM jsonb_array_elements(d) AS e`
//! has `e` and `e.value`.
//!
//! In: a statement whose functions in FROM are spelt as subqueries, and the error that planning it met; out: the statement
//! with the alias in the place of `value`.

use std::ops::ControlFlow;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Select, SelectItem, SetExpr,
    Statement, TableFactor, VisitMut, VisitorMut,
};

use crate::commands::folded;

const VALUE: &str = "value";

/// Puts the alias in the place of a `value` that `error` did not find; false if no such function has it.
pub(super) fn adopt(statement: &mut Statement, error: &DataFusionError) -> bool {
    let Some(missing) = Missing::of(error) else {
        return false;
    };
    let mut naming = Naming {
        missing,
        open: Vec::new(),
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut naming);
    naming.is_changed
}

/// Which `value` the planner did not find.
enum Missing {
    /// One of a relation, or of none that is named.
    Column(Option<String>),
    /// The planner took `e.value` for a field of the column `e`.
    Field,
}

impl Missing {
    fn of(error: &DataFusionError) -> Option<Missing> {
        let root = error.find_root();
        if let DataFusionError::SchemaError(cause, _) = root
            && let SchemaError::FieldNotFound { field, .. } = cause.as_ref()
        {
            let relation = field.relation.as_ref();
            let relation = relation.map(|relation| relation.table().to_owned());
            return (field.name == VALUE).then_some(Missing::Column(relation));
        }
        let is_field = root.to_string().contains("access field at argument");
        is_field.then_some(Missing::Field)
    }

    fn is_of(&self, relation: Option<&str>) -> bool {
        match self {
            Missing::Column(missing) => missing.as_deref() == relation,
            Missing::Field => relation.is_some(),
        }
    }
}

struct Naming {
    /// Which `value` is meant.
    missing: Missing,
    /// The elements that each SELECT around has.
    open: Vec<Vec<Ident>>,
    is_changed: bool,
}

impl Naming {
    /// The alias that an expression means by `value`.
    fn meant(&self, expr: &Expr) -> Option<Ident> {
        let relation = match expr {
            Expr::Identifier(name) if folded(name) == VALUE => None,
            Expr::CompoundIdentifier(names) => match names.as_slice() {
                [relation, name] if folded(name) == VALUE => Some(folded(relation)),
                _ => return None,
            },
            _ => return None,
        };
        if !self.missing.is_of(relation.as_deref()) {
            return None;
        }
        let is_meant = |alias: &&Ident| relation.as_ref().is_none_or(|name| folded(alias) == *name);
        let mut around = self.open.iter().rev();
        around
            .find_map(|aliases| aliases.iter().find(is_meant))
            .cloned()
    }
}

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let mut aliases = Vec::new();
        for table in &select.from {
            aliases.extend(elements(&table.relation));
            aliases.extend(
                table
                    .joins
                    .iter()
                    .filter_map(|join| elements(&join.relation)),
            );
        }
        self.open.push(aliases);
        for item in &mut select.projection {
            if let SelectItem::UnnamedExpr(expr) = item
                && self.meant(expr).is_some()
            {
                *item = SelectItem::ExprWithAlias {
                    expr: expr.clone(),
                    alias: Ident::with_quote('"', VALUE),
                };
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, _: &mut Select) -> ControlFlow<()> {
        self.open.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(alias) = self.meant(expr) {
            *expr = Expr::CompoundIdentifier(vec![alias.clone(), alias]);
            self.is_changed = true;
        }
        ControlFlow::Continue(())
    }
}

/// The alias of a relation that is the elements of an array of json.
fn elements(factor: &TableFactor) -> Option<Ident> {
    let TableFactor::Derived {
        subquery,
        alias: Some(alias),
        ..
    } = factor
    else {
        return None;
    };
    let SetExpr::Select(select) = subquery.body.as_ref() else {
        return None;
    };
    let [
        SelectItem::ExprWithAlias {
            expr,
            alias: column,
        },
    ] = select.projection.as_slice()
    else {
        return None;
    };
    let is_named = select.from.is_empty() && folded(column) == folded(&alias.name);
    (is_named && gives_elements(expr)).then(|| alias.name.clone())
}

fn gives_elements(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else {
        return false;
    };
    let name = function.name.to_string();
    if name.contains("_array_elements") {
        return true;
    }
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    let is_around = ["as_json", "as_jsonb", "unnest"].contains(&name.as_str());
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(inner))] => is_around && gives_elements(inner),
        _ => false,
    }
}
