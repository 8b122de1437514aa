//! What `array_agg(DISTINCT x)` gathers is told apart and ordered by the keys of its values (`functions/order_keys.rs`):
//! `1 day` and `24:00:00` are one value, and so are `1` and `1.0` of jsonb, 0 and -0; labels come in the order of their type.
//!
//! In: a call over such values as they are, or over a row; out: a call over their keys. `json_agg(DISTINCT x)` and
//! `json_object_agg(DISTINCT k, v)` gather rows of their arguments, behind which stands the json that they make of them.

use datafusion::arrow::compute::SortOptions;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::{AggregateFunction, Alias, Sort};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _};

use crate::error::Error;
use crate::functions::{Key, distinct_arguments, distinct_by_keys, key_of};

/// The json that stands behind what rows are told apart by, by the function that makes it; no client's text names these.
const MADE: [&str; 2] = ["json_value_of", "json_member_of"];

/// Whether a call gathers distinct values.
pub(super) fn gathers(function: &AggregateFunction) -> bool {
    function.params.distinct && function.func.name() == "array_agg"
}

/// The call by keys.
pub(super) fn by_keys(
    mut function: AggregateFunction,
    schema: &DFSchema,
) -> Result<Transformed<Expr>> {
    let [value] = function.params.args.as_slice() else {
        return Ok(Transformed::no(Expr::AggregateFunction(function)));
    };
    let parts = parts(value);
    let is_row = !matches!(parts.as_slice(), [part] if *part == value);
    if !is_row && !has_key(value, schema) {
        return Ok(Transformed::no(Expr::AggregateFunction(function)));
    }
    let mut keys: Vec<(Expr, SortOptions)> = Vec::with_capacity(parts.len());
    for Sort {
        expr,
        asc,
        nulls_first,
    } in &function.params.order_by
    {
        let order = SortOptions::new(!asc, *nulls_first);
        if expr == value {
            keys.extend(parts.iter().map(|part| ((*part).clone(), order)));
        } else if parts.contains(&expr) {
            keys.push((expr.clone(), order));
        } else {
            return Err(not_in_list());
        }
    }
    // Those that the order leaves out come in the end.
    let ascending = SortOptions::new(false, false);
    for part in parts {
        if keys.iter().all(|(known, _)| known != part) {
            keys.push((part.clone(), ascending));
        }
    }
    for (part, _) in &mut keys {
        if let Some(key) = key_of(part, Key::of_order, schema) {
            *part = key.of(std::mem::take(part));
        }
    }
    let value = value.clone();
    function.func = distinct_by_keys();
    function.params.args = distinct_arguments(value, keys);
    function.params.order_by = Vec::new();
    function.params.distinct = false;
    Ok(Transformed::yes(Expr::AggregateFunction(function)))
}

/// Fails for an order by something else than arguments.
pub(super) fn check(order: &[Sort], args: &[Expr]) -> Result<()> {
    let is_argument = |item: &Sort| args.iter().any(|arg| written(arg) == written(&item.expr));
    match order.iter().all(is_argument) {
        true => Ok(()),
        false => Err(not_in_list()),
    }
}

/// A value without the types and names that the planner gave it.
fn written(mut value: &Expr) -> &Expr {
    while let Expr::Alias(Alias { expr, .. }) | Expr::Cast(Cast { expr, .. }) = value {
        value = expr;
    }
    value
}

fn not_in_list() -> DataFusionError {
    let message =
        "in an aggregate with DISTINCT, ORDER BY expressions must appear in argument list";
    Error::invalid("42P10", message, None).into()
}

/// The parts of a row by which it is told apart, or the value itself.
pub(super) fn parts(value: &Expr) -> Vec<&Expr> {
    // The planner keeps the name that a row is written with.
    let mut written = value;
    while let Expr::Alias(alias) = written {
        written = &alias.expr;
    }
    let Expr::ScalarFunction(call) = written else {
        return vec![value];
    };
    if !matches!(call.func.name(), "row" | "struct") {
        return vec![value];
    }
    let is_made = |part: &Expr| match part {
        Expr::ScalarFunction(call) => MADE.contains(&call.func.name()),
        _ => false,
    };
    match call.args.split_last() {
        Some((made, others)) if !others.is_empty() && is_made(made) => others.iter().collect(),
        _ => call.args.iter().collect(),
    }
}

/// Whether Arrow compares values otherwise than PostgreSQL.
fn has_key(value: &Expr, schema: &DFSchema) -> bool {
    let is_float = || {
        value
            .get_type(schema)
            .is_ok_and(|found| found.is_floating())
    };
    key_of(value, Key::of_order, schema).is_some() || is_float()
}

#[cfg(test)]
mod tests {
    use datafusion::functions::core::expr_fn::{coalesce, r#struct};
    use datafusion::logical_expr::col;

    use super::*;

    #[test]
    fn a_row_is_told_apart_by_its_parts() {
        let row = r#struct(vec![col("a"), col("b")]);
        assert_eq!(parts(&row), [&col("a"), &col("b")]);
        let named = row.alias("row(a, b)");
        assert_eq!(parts(&named), [&col("a"), &col("b")]);
        let value = coalesce(vec![col("a"), col("b")]);
        assert_eq!(parts(&value), [&value]);
    }
}
