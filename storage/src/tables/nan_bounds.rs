//! Which filters may leave files and row groups out by the greatest values that are known of them.
//!
//! Physical filters flow in; those that hold for no row of a file whose bounds they miss flow out. Bounds of
//! floating-point numbers say nothing of NaN, which is greater than every number: `x > 100` holds for it whatever the
//! greatest number is. A filter that is left out here is still evaluated on the rows.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::datatypes::Schema;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{
    BinaryExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, Literal,
};
use datafusion::physical_expr::utils::collect_columns;

/// For each of the filters of a scan, all of which must hold, whether it may be compared with bounds.
pub(crate) fn may_prune(filters: &[Arc<dyn PhysicalExpr>], schema: &Schema) -> Vec<bool> {
    // Where something else keeps NaN out, a lower bound does no harm.
    let bounded: BTreeSet<&str> = filters.iter().filter_map(bounded_above).collect();
    let is_bounded = |filter: &Arc<dyn PhysicalExpr>| {
        let below = comparison(filter).filter(|(_, op, _)| is_lower(*op));
        below.is_some_and(|(column, ..)| bounded.contains(column))
    };
    filters
        .iter()
        .map(|filter| excludes_nan(filter, schema) || is_bounded(filter))
        .collect()
}

fn is_lower(op: Operator) -> bool {
    matches!(op, Operator::Gt | Operator::GtEq)
}

/// The column that a filter keeps below a number or at one.
fn bounded_above(filter: &Arc<dyn PhysicalExpr>) -> Option<&str> {
    let (column, op, value) = comparison(filter)?;
    let is_above = matches!(op, Operator::Lt | Operator::LtEq | Operator::Eq);
    (is_above && !is_nan(value)).then_some(column)
}

/// Whether a filter that bounds without NaN miss holds for no NaN either.
fn excludes_nan(filter: &Arc<dyn PhysicalExpr>, schema: &Schema) -> bool {
    let has_floats = collect_columns(filter).iter().any(|column| {
        let field = schema.field_with_name(column.name());
        field.is_ok_and(|field| field.data_type().is_floating())
    });
    if !has_floats || filter.is::<IsNullExpr>() || filter.is::<IsNotNullExpr>() {
        return true;
    }
    if let Some(list) = filter.downcast_ref::<InListExpr>() {
        let mut values = list.list().iter().map(|value| literal(value));
        return !list.negated() && values.all(|value| value.is_some_and(|value| !is_nan(value)));
    }
    if let Some((_, op, value)) = comparison(filter) {
        return match op {
            Operator::Eq => !is_nan(value),
            op => matches!(op, Operator::Lt | Operator::LtEq),
        };
    }
    match filter.downcast_ref::<BinaryExpr>() {
        Some(both) if matches!(both.op(), Operator::And | Operator::Or) => {
            excludes_nan(both.left(), schema) && excludes_nan(both.right(), schema)
        }
        _ => false,
    }
}

/// A comparison of a column with a value, the column on the left.
fn comparison(filter: &Arc<dyn PhysicalExpr>) -> Option<(&str, Operator, &ScalarValue)> {
    let binary = filter.downcast_ref::<BinaryExpr>()?;
    let column = |expr: &Arc<dyn PhysicalExpr>| expr.is::<Column>();
    let (left, op, right) = match column(binary.left()) {
        true => (binary.left(), *binary.op(), binary.right()),
        false => (binary.right(), binary.op().swap()?, binary.left()),
    };
    let name = left.downcast_ref::<Column>()?.name();
    Some((name, op, literal(right)?))
}

fn literal(expr: &Arc<dyn PhysicalExpr>) -> Option<&ScalarValue> {
    Some(expr.downcast_ref::<Literal>()?.value())
}

fn is_nan(value: &ScalarValue) -> bool {
    match value {
        ScalarValue::Float16(Some(value)) => value.is_nan(),
        ScalarValue::Float32(Some(value)) => value.is_nan(),
        ScalarValue::Float64(Some(value)) => value.is_nan(),
        _ => false,
    }
}

/// What is known of files, without greatest numbers that NaN may surpass.
pub(crate) fn without_greatest(mut statistics: Statistics, schema: &Schema) -> Statistics {
    let columns = statistics.column_statistics.iter_mut();
    for (column, field) in columns.zip(schema.fields()) {
        if field.data_type().is_floating() {
            column.max_value = Precision::Absent;
        }
    }
    statistics
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::common::DFSchema;
    use datafusion::logical_expr::{Expr, col, lit};
    use datafusion::prelude::SessionContext;

    use super::*;

    fn known(filters: &[Expr]) -> Vec<bool> {
        let schema = Schema::new(vec![
            Field::new("f", DataType::Float64, true),
            Field::new("i", DataType::Int64, true),
        ]);
        let named = DFSchema::try_from(schema.clone()).unwrap();
        let state = SessionContext::new().state();
        let physical = |filter: &Expr| {
            let planned = state.create_physical_expr(filter.clone(), &named);
            planned.unwrap()
        };
        let filters: Vec<_> = filters.iter().map(physical).collect();
        may_prune(&filters, &schema)
    }

    #[test]
    fn lower_bounds_of_floats_prune_nothing() {
        for (filter, expected) in [
            (col("f").gt(lit(1.0)), false),
            (lit(1.0).lt_eq(col("f")), false),
            (col("f").not_eq(lit(1.0)), false),
            (col("f").eq(lit(f64::NAN)), false),
            (col("f").lt(lit(1.0)), true),
            (col("f").eq(lit(1.0)), true),
            (col("f").is_null(), true),
            (col("i").gt(lit(1_i64)), true),
            (col("f").lt(lit(1.0)).or(col("i").gt(lit(1_i64))), true),
            (col("f").gt(lit(1.0)).or(col("i").gt(lit(1_i64))), false),
        ] {
            assert_eq!(known(std::slice::from_ref(&filter)), [expected], "{filter}");
        }
        let between = [col("f").gt_eq(lit(1.0)), col("f").lt_eq(lit(2.0))];
        assert_eq!(known(&between), [true, true]);
    }
}
