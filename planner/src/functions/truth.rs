//! Whole numbers as truth values: `WHERE retries::boolean`.
//!
//! In: a cast of a whole number; out: the comparison with 0 that it is. The planner takes a condition that is a cast for one that
//! leaves a single number, 1, and does not sort by it any more.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _, Operator, binary_expr};

/// The comparison that a cast to a truth value stands for; `None`: it casts no whole number.
pub(super) fn compare_with_zero(cast: &Cast, schema: &DFSchema) -> Result<Option<Expr>> {
    if cast.field.data_type() != &DataType::Boolean {
        return Ok(None);
    }
    let Ok(found) = cast.expr.get_type(schema) else {
        return Ok(None);
    };
    if !found.is_integer() {
        return Ok(None);
    }
    let zero = Expr::Literal(ScalarValue::new_zero(&found)?, None);
    let number = cast.expr.as_ref().clone();
    Ok(Some(binary_expr(number, Operator::NotEq, zero)))
}
