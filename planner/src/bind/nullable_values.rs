//! NULLs in the VALUES of an INSERT, which are the table's to refuse.
//!
//! In: the plan of VALUES, whose columns are NOT NULL where those of the table are; out: one whose columns may be NULL, so
//! that what writes the rows meets the NULL, and tells the whole row.

use std::sync::Arc;

use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::DFSchema;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{LogicalPlan, Values};

/// Lets columns be NULL, but those that `stays` names by their place.
pub(super) fn nullable_values(
    plan: LogicalPlan,
    stays: impl Fn(usize) -> bool,
) -> DfResult<LogicalPlan> {
    let may_be_null = |(idx, field): (usize, &FieldRef)| match stays(idx) {
        true => Arc::clone(field),
        false => Arc::new(field.as_ref().clone().with_nullable(true)),
    };
    let plan = plan.transform_up(|node| {
        let node = match node {
            LogicalPlan::Values(Values { schema, values }) => {
                let fields = schema.fields().iter().enumerate().map(may_be_null);
                let metadata = schema.metadata().clone();
                let schema = DFSchema::from_unqualified_fields(fields.collect(), metadata)?;
                LogicalPlan::Values(Values {
                    schema: Arc::new(schema),
                    values,
                })
            }
            other => other.recompute_schema()?,
        };
        Ok(Transformed::yes(node))
    })?;
    Ok(plan.data)
}
