//! What scans of files have in common, whatever lists the files.
//!
//! Filters and projections flow in, in DataFusion's form, and flow out in it.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, AsArray as _, RecordBatch};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::Session;
use datafusion::common::{DFSchema, project_schema};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;

/// Filters that leaving files out decides need not be evaluated again; the others only leave rows out.
pub(crate) fn pushdown(
    filters: &[&Expr],
    is_decided: impl Fn(&Expr) -> bool,
) -> Vec<TableProviderFilterPushDown> {
    let support = |filter: &&Expr| match is_decided(filter) {
        true => TableProviderFilterPushDown::Exact,
        false => TableProviderFilterPushDown::Inexact,
    };
    filters.iter().map(support).collect()
}

/// For each file, whether its partition values, one row a file, pass a filter over them; what is NULL does not.
pub(crate) fn held_by_partitions(
    session: &dyn Session,
    values: &RecordBatch,
    filter: &Expr,
) -> Result<Vec<bool>> {
    let schema = DFSchema::try_from(values.schema())?;
    let expr = session.create_physical_expr(filter.clone(), &schema)?;
    let held = expr.evaluate(values)?.into_array(values.num_rows())?;
    let held = held.as_boolean();
    Ok((0..held.len())
        .map(|idx| held.is_valid(idx) && held.value(idx))
        .collect())
}

/// The scan of a table when none of its files is left.
pub(crate) fn of_no_files(
    schema: &SchemaRef,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = project_schema(schema, projection)?;
    Ok(Arc::new(EmptyExec::new(schema)))
}
