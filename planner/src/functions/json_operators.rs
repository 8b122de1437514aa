//! Which operators are those of json: `->`, `@>`, `||`, `-`.
//!
//! In: an operator and its operands, which are texts to the planner; out: the name of the function that computes it.

use auspex_storage::{JsonKind, marks_of};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ExprSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr, ExprSchemable as _};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::assigned_value::type_of;
use super::json::{JSONB_ITEM, JSONB_ITEM_TEXT};
use super::order_keys::no_operator;
use super::unknown;

/// Whether the values of an expression are `json` or `jsonb`.
pub(super) fn holds_json(expr: &Expr, schema: &dyn ExprSchema) -> bool {
    let field = expr.to_field(schema);
    field.is_ok_and(|(_, field)| JsonKind::of(&field).is_some())
}

/// The name of the function that an operator of json is; of others it is empty.
pub(super) fn of_json(
    raw: &RawBinaryExpr,
    right: &DataType,
    schema: &dyn ExprSchema,
) -> &'static str {
    let holds_json = |expr: &Expr| holds_json(expr, schema);
    let is_json = || holds_json(&raw.left) || holds_json(&raw.right);
    let is_place = || right.is_integer() && is_jsonb(&raw.left, schema);
    match &raw.op {
        BinaryOperator::Arrow if is_place() => JSONB_ITEM,
        BinaryOperator::LongArrow if is_place() => JSONB_ITEM_TEXT,
        BinaryOperator::Arrow => "json_get",
        BinaryOperator::LongArrow => "json_get_text",
        BinaryOperator::HashArrow => "json_path",
        BinaryOperator::HashLongArrow => "json_path_text",
        BinaryOperator::AtArrow | BinaryOperator::ArrowAt => "json_contains",
        BinaryOperator::Question => "json_has",
        BinaryOperator::QuestionPipe => "json_has_any",
        BinaryOperator::QuestionAnd => "json_has_all",
        BinaryOperator::AtQuestion => "jsonb_path_exists_opr",
        BinaryOperator::AtAt => "jsonb_path_match_opr",
        BinaryOperator::HashMinus => "json_without_path",
        BinaryOperator::StringConcat if holds_json(&raw.left) && is_json() => "json_merged",
        BinaryOperator::Minus if holds_json(&raw.left) => "json_without",
        _ => "",
    }
}

/// Whether they are `jsonb`.
pub(super) fn is_jsonb(expr: &Expr, schema: &dyn ExprSchema) -> bool {
    let field = expr.to_field(schema);
    field.is_ok_and(|(_, field)| JsonKind::of(&field) == Some(JsonKind::Jsonb))
}

/// Fails for `||` of a document and a value that is neither `jsonb` nor a text: there is no such operator. Arrays are joined
/// elsewhere.
pub(super) fn check(raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> Result<()> {
    if raw.op != BinaryOperator::StringConcat {
        return Ok(());
    }
    let field = |expr: &Expr| Some(expr.to_field(schema).ok()?.1);
    let (Some(left), Some(right)) = (field(&raw.left), field(&raw.right)) else {
        return Ok(());
    };
    let is_beside = |other: &Field| {
        let data_type = other.data_type();
        let is_text = data_type.is_string() && marks_of(other).is_empty();
        is_text || data_type.is_null() || data_type.is_list()
    };
    let is_known = match (JsonKind::of(&left), JsonKind::of(&right)) {
        (None, None) => true,
        (Some(JsonKind::Jsonb), Some(JsonKind::Jsonb)) => true,
        (Some(_), Some(_)) => false,
        (Some(_), None) => is_beside(&right),
        (None, Some(_)) => is_beside(&left),
    };
    match is_known {
        true => Ok(()),
        false => Err(no_operator(&type_of(&left), "||", &type_of(&right))),
    }
}

/// `document || text`: the text of the document, with another one behind it. What has no type is a document behind `jsonb`.
pub(super) fn joins_text(raw: &RawBinaryExpr, right: &DataType, schema: &dyn ExprSchema) -> bool {
    let field = raw.right.to_field(schema);
    let is_text = right.is_string() && field.is_ok_and(|(_, field)| marks_of(&field).is_empty());
    let is_open = match &raw.right {
        Expr::Placeholder(_) => unknown::is_unknown(&raw.right),
        value => unknown::is_unknown(value) && is_jsonb(&raw.left, schema),
    };
    raw.op == BinaryOperator::StringConcat && is_text && !is_open
}
