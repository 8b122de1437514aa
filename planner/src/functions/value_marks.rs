//! Columns of outer rows among the rows of VALUES: `LATERAL (VALUES (t.a), ('10:00'::time))`.
//!
//! In: such a column, around which an operator stands until its type is known; out: the column, without the mark that a time or
//! an interval has as a column of a table: other values have none, and the planner mixes no marks. DataFusion's `coalesce` of one
//! value is the value without marks.

use datafusion::common::ExprSchema;
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr, ExprSchemable as _};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator, Value};

use super::interval::is_interval;
use super::moment::is_time;

/// The operator, which no client's text can write.
const MARK: &str = "\u{1e}cell";

/// Puts the operator around a column.
pub(in crate::functions) fn mark(cell: &mut ast::Expr) {
    if !matches!(
        cell,
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_)
    ) {
        return;
    }
    let nothing = ast::Expr::Value(Value::Null.with_empty_span());
    let column = std::mem::replace(cell, nothing.clone());
    *cell = ast::Expr::Nested(Box::new(ast::Expr::BinaryOp {
        left: Box::new(column),
        op: BinaryOperator::Custom(MARK.to_owned()),
        right: Box::new(nothing),
    }));
}

/// The value that stands in such an operator; `None`: the operator is another.
pub(super) fn planned(raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> Option<Expr> {
    if !matches!(&raw.op, BinaryOperator::Custom(op) if op == MARK) {
        return None;
    }
    let column = raw.left.clone();
    let is_marked = column
        .get_type(schema)
        .is_ok_and(|found| is_time(&found) || is_interval(&found));
    Some(match is_marked {
        true => coalesce(vec![column]),
        false => column,
    })
}
