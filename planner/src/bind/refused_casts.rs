//! Casts that PostgreSQL does not know, and the planner makes: numbers as moments, moments as numbers, single values as
//! arrays.
//!
//! In: the plan of a query as it was written, before the planner adds casts of its own; out: nothing, or the error (42846).

use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{Expr, ExprSchemable as _, LogicalPlan};

use crate::error::Error;
use crate::functions::{type_name, type_of};

/// Fails where a query has such a cast.
pub(super) fn refuse(plan: &LogicalPlan) -> Result<()> {
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                check(expr, node)?;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

fn check(expr: &Expr, node: &LogicalPlan) -> Result<()> {
    let Expr::Cast(cast) = expr else {
        return Ok(());
    };
    let to = cast.field.data_type();
    if !to.is_numeric() && !matches!(to, DataType::Timestamp(..) | DataType::List(_)) {
        return Ok(());
    }
    // What has no type yet is told by whoever needs one.
    let Ok((_, found)) = cast.expr.to_field(&merge_schema(&node.inputs())) else {
        return Ok(());
    };
    if !is_refused(found.data_type(), to) {
        return Ok(());
    }
    let message = format!("cannot cast type {} to {}", type_of(&found), type_name(to));
    Err(DataFusionError::from(Error::invalid(
        "42846", message, None,
    )))
}

fn is_refused(from: &DataType, to: &DataType) -> bool {
    use DataType::{Binary, Boolean, Date32, Interval, Time64, Timestamp};
    let is_moment = matches!(from, Timestamp(..) | Time64(_) | Interval(_));
    match to {
        Timestamp(..) => from.is_numeric() || matches!(from, Boolean | Binary),
        DataType::List(_) => {
            from.is_numeric() || is_moment || matches!(from, Date32 | Boolean | Binary)
        }
        to => to.is_numeric() && is_moment,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::TimeUnit;

    use super::*;

    #[test]
    fn what_postgresql_casts_is_not_refused() {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        let numbers = DataType::new_list(DataType::Int32, true);
        for (from, to) in [
            (DataType::Int64, moment.clone()),
            (moment.clone(), DataType::Int64),
            (DataType::Int32, numbers.clone()),
            (DataType::Date32, numbers.clone()),
        ] {
            assert!(is_refused(&from, &to), "{from} to {to}");
        }
        for (from, to) in [
            (DataType::Date32, moment.clone()),
            (DataType::Utf8, moment),
            (DataType::Utf8, numbers.clone()),
            (DataType::Null, numbers.clone()),
            (numbers.clone(), DataType::new_list(DataType::Int64, true)),
            (DataType::Float64, DataType::Int32),
        ] {
            assert!(!is_refused(&from, &to), "{from} to {to}");
        }
    }
}
