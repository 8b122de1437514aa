//! A bare name in a subquery over the elements of an array: a field of the element, or a column of the outer query.
//!
//! In: the operator that `syntax::elements` writes, when the type of the element is known; out: the field or the column.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ExprSchema;
use datafusion::functions::core::get_field;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr, ExprSchemable as _, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::syntax::FIELD;

/// What the name of an operator of ours means; `None`: the operator is another.
pub(super) fn planned(raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> Option<Expr> {
    let BinaryOperator::Custom(mark) = &raw.op else {
        return None;
    };
    let name = mark.strip_prefix(FIELD)?;
    let field = match raw.left.get_type(schema) {
        Ok(DataType::Struct(fields)) => {
            let exact = fields.find(name).map(|(_, field)| field);
            let mut others = fields.iter();
            let found =
                exact.or_else(|| others.find(|field| field.name().eq_ignore_ascii_case(name)));
            found.map(|field| field.name().clone())
        }
        _ => None,
    };
    Some(match field {
        Some(field) => get_field().call(vec![raw.left.clone(), lit(field)]),
        None => raw.right.clone(),
    })
}
