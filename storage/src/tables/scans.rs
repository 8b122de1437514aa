//! What scans of files have in common, whatever lists the files.
//!
//! Filters and projections flow in, in DataFusion's form, and flow out in it.

use std::sync::Arc;

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::project_schema;
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

/// The scan of a table when none of its files is left.
pub(crate) fn of_no_files(
    schema: &SchemaRef,
    projection: Option<&Vec<usize>>,
) -> Result<Arc<dyn ExecutionPlan>> {
    let schema = project_schema(schema, projection)?;
    Ok(Arc::new(EmptyExec::new(schema)))
}
