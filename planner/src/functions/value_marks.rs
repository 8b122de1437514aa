//! Columns of outer rows among the rows of VALUES: `LATERAL (VALUES (t.a), ('10:00'::time))`, and texts beside them:
//! `LATERAL (VALUES (t.day), ('2024-01-31'))`.
//!
//! In: such a column or text, around which an operator stands until its type is known; out: the column, without the mark that a
//! time or an interval has as a column of a table: other values have none, and the planner mixes no marks. DataFusion's
//! `coalesce` of one value is the value without marks. A text is read as what the column beside it is.

use datafusion::common::{ExprSchema, ScalarValue};
use datafusion::functions::core::expr_fn::coalesce;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _};
use datafusion::sql::sqlparser::ast::{self, BinaryOperator, Value};

use super::fitted::read_beside;
use super::interval::is_interval;
use super::moment::is_time;
use super::text_input::type_beside;

/// The operator, which no client's text can write.
const MARK: &str = "\u{1e}cell";
/// The one around a text and the column beside it.
const BESIDE: &str = "\u{1e}beside";

/// Puts the operator around a column.
pub(in crate::functions) fn mark(cell: &mut ast::Expr) {
    if !matches!(
        cell,
        ast::Expr::Identifier(_) | ast::Expr::CompoundIdentifier(_)
    ) {
        return;
    }
    put_within(cell, MARK, ast::Expr::Value(Value::Null.with_empty_span()));
}

/// Puts the operator around a text and what stands beside it.
pub(in crate::functions) fn mark_beside(cell: &mut ast::Expr, other: &ast::Expr) {
    put_within(cell, BESIDE, other.clone());
}

fn put_within(cell: &mut ast::Expr, operator: &str, right: ast::Expr) {
    let nothing = ast::Expr::Value(Value::Null.with_empty_span());
    let left = std::mem::replace(cell, nothing);
    *cell = ast::Expr::Nested(Box::new(ast::Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::Custom(operator.to_owned()),
        right: Box::new(right),
    }));
}

/// The value that stands in such an operator; `None`: the operator is another.
pub(super) fn planned(raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> Option<Expr> {
    let BinaryOperator::Custom(operator) = &raw.op else {
        return None;
    };
    match operator.as_str() {
        MARK => Some(without_mark(raw.left.clone(), schema)),
        BESIDE => Some(beside(&raw.left, &raw.right, schema).unwrap_or_else(|| raw.left.clone())),
        _ => None,
    }
}

/// A text as a value of what stands beside it; `None`: that is a text, too, or nobody knows.
fn beside(text: &Expr, other: &Expr, schema: &dyn ExprSchema) -> Option<Expr> {
    let (_, field) = other.to_field(schema).ok()?;
    if let Some(read) = read_beside(&field, text) {
        return Some(read);
    }
    let Expr::Literal(ScalarValue::Utf8(Some(written)), _) = text else {
        return None;
    };
    let known = field.data_type();
    let has_own_texts = !known.is_null() && !known.is_string();
    has_own_texts.then(|| {
        let read = type_beside(written, known);
        Expr::Cast(Cast::new(Box::new(text.clone()), read))
    })
}

fn without_mark(column: Expr, schema: &dyn ExprSchema) -> Expr {
    let is_marked = column
        .get_type(schema)
        .is_ok_and(|found| is_time(&found) || is_interval(&found));
    match is_marked {
        true => coalesce(vec![column]),
        false => column,
    }
}
