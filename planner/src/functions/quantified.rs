//! Comparisons with all rows of a subquery: `x >= ALL (SELECT …)`, `x < ANY (SELECT …)`.
//!
//! In: a value and a digest of the subquery's rows (their least and greatest value, how many there are, how many of them
//! are not NULL); out: what comparing with each row would give, with SQL's three values.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, BooleanArray, StructArray};
use datafusion::arrow::compute::kernels::cmp;
use datafusion::arrow::compute::{and, cast, or};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::Result;
use datafusion::logical_expr_common::type_coercion::binary::comparison_coercion;

use super::call::{Call, Function, failure, function, no_function};
use super::order_keys::comparable;

/// The functions of this family: `quantified(value, digest, operator, is_all)`.
pub(super) fn functions() -> Vec<Function> {
    vec![function("quantified", &[4], DataType::Boolean, quantified)]
}

fn quantified(call: &Call<'_>) -> Result<ArrayRef> {
    let digest = call.arg(1)?;
    let digest = digest
        .as_struct_opt()
        .ok_or_else(|| failure("XX000", "the digest of a subquery is no struct"))?;
    let (operator, is_all) = (call.texts(2)?, call.converted(3, &DataType::Boolean)?);
    if call.n_rows == 0 {
        return Ok(Arc::new(BooleanArray::from(Vec::<bool>::new())));
    }
    let is_all = is_all.as_boolean().value(0);
    let value = call.arg(0)?;
    let holds = decisive(value, digest, operator.value(0), is_all)?;
    let counts =
        |name: &str| -> Result<ArrayRef> { Ok(cast(column(digest, name)?, &DataType::Int64)?) };
    let (rows, known) = (counts("n")?, counts("c")?);
    let (rows, known) = (
        rows.as_primitive::<Int64Type>(),
        known.as_primitive::<Int64Type>(),
    );
    let nulls = value.logical_nulls();
    let of = |row: usize| {
        // No row of the outer query met one of the subquery.
        if digest.is_null(row) || rows.is_null(row) || rows.value(row) == 0 {
            return Some(is_all);
        }
        let is_null = nulls.as_ref().is_some_and(|nulls| nulls.is_null(row));
        if is_null || known.value(row) == 0 {
            return None;
        }
        // One row decides: one for which it holds for ANY, one for which it does not for ALL.
        let holds = holds.value(row);
        let may_differ = known.value(row) < rows.value(row);
        (holds != is_all || !may_differ).then_some(holds)
    };
    Ok(Arc::new((0..call.n_rows).map(of).collect::<BooleanArray>()))
}

fn column<'a>(digest: &'a StructArray, name: &str) -> Result<&'a ArrayRef> {
    digest
        .column_by_name(name)
        .ok_or_else(|| failure("XX000", "the digest of a subquery is incomplete"))
}

/// Whether the comparison holds for some row (ANY), or for each (ALL).
fn decisive(
    value: &ArrayRef,
    digest: &StructArray,
    operator: &str,
    is_all: bool,
) -> Result<BooleanArray> {
    let (least, greatest) = (column(digest, "lo")?, column(digest, "hi")?);
    let types = [value.data_type().clone(), least.data_type().clone()];
    let common =
        comparison_coercion(&types[0], &types[1]).ok_or_else(|| no_function(operator, &types))?;
    let key = |values: &ArrayRef| comparable(&cast(values, &common)?);
    let (value, least, greatest) = (key(value)?, key(least)?, key(greatest)?);
    let nearest = if is_all { &greatest } else { &least };
    let farthest = if is_all { &least } else { &greatest };
    Ok(match operator {
        ">" => cmp::gt(&value, nearest)?,
        ">=" => cmp::gt_eq(&value, nearest)?,
        "<" => cmp::lt(&value, farthest)?,
        "<=" => cmp::lt_eq(&value, farthest)?,
        "=" => and(&cmp::eq(&value, &least)?, &cmp::eq(&value, &greatest)?)?,
        _ => or(&cmp::neq(&value, &least)?, &cmp::neq(&value, &greatest)?)?,
    })
}
