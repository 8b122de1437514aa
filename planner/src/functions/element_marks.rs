//! The elements of arrays of json, of uuids or of an enum are of that type: the planner takes the type of values alone from
//! arrays.
//!
//! In: a statement in its last form before it is planned, in which `unnest(x)` becomes the operand of an operator of ours, as
//! CASE does (`case_marks`), and `FROM unnest(x::jsonb[])` a query of such calls; out: the mark on the planned elements.

use std::ops::ControlFlow;

use auspex_storage::marks_of;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ExprSchema;
use datafusion::logical_expr::expr::Unnest;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr as Planned, ExprSchemable as _};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, FunctionArguments, TableFactor, Value, Visit as _, Visitor,
};

use super::json::remarked;
use super::syntax::{function_name, names_columns, unnest_query};
use super::types::element_type;

/// The operator of a mark, which no client's text can write.
const MARK: &str = "\u{1e}unnest";

/// The operator of a call of `unnest`; `None`: it is another expression.
pub(super) fn marked(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let has_one = matches!(&function.args, FunctionArguments::List(list) if list.args.len() == 1);
    let is_unnest = has_one && function_name(function).as_deref() == Some("unnest");
    let operation = || Expr::BinaryOp {
        left: Box::new(expr.clone()),
        op: BinaryOperator::Custom(MARK.to_owned()),
        right: Box::new(Expr::Value(Value::Null.with_empty_span())),
    };
    is_unnest.then(|| Expr::Nested(Box::new(operation())))
}

/// The query of an `UNNEST` in FROM whose elements may have a mark.
pub(super) fn spelt(factor: &TableFactor) -> Option<TableFactor> {
    let TableFactor::UNNEST {
        alias, array_exprs, ..
    } = factor
    else {
        return None;
    };
    let n_names = alias.as_ref().map_or(0, |alias| alias.columns.len());
    // What columns hold is known only to the planner.
    let is_of_columns = n_names == array_exprs.len() && array_exprs.iter().any(names_columns);
    let may_be_marked = is_of_columns
        || array_exprs
            .iter()
            .any(|array| array.visit(&mut Finder).is_break());
    may_be_marked.then(|| unnest_query(factor))?
}

/// Finds what values with a mark are made of.
struct Finder;

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        use ast::DataType as Type;
        let is_marked = match expr {
            Expr::Cast { data_type, .. } => matches!(
                element_type(data_type).0,
                Type::JSON | Type::JSONB | Type::Uuid | Type::Custom(..)
            ),
            Expr::Function(function) => function_name(function)
                .is_some_and(|name| name.contains("json") || name.contains("uuid")),
            Expr::Subquery(_) => true,
            _ => false,
        };
        match is_marked {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// The elements of a mark; `None`: the operator is another.
pub(super) fn planned(raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> Option<Planned> {
    let BinaryOperator::Custom(mark) = &raw.op else {
        return None;
    };
    (mark == MARK).then(|| match &raw.left {
        Planned::Unnest(elements) => with_mark(elements, schema),
        other => other.clone(),
    })
}

fn with_mark(elements: &Unnest, seen: &dyn ExprSchema) -> Planned {
    let unnested = Planned::Unnest(elements.clone());
    let Ok((_, array)) = elements.expr.to_field(seen) else {
        return unnested;
    };
    let DataType::List(item) = array.data_type() else {
        return unnested;
    };
    let item = Field::new("", item.data_type().clone(), true).with_metadata(marks_of(&array));
    match marks_of(&item).is_empty() {
        true => unnested,
        false => remarked(&item, unnested),
    }
}
