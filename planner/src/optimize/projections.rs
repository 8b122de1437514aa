//! Keeps what a query computes of its rows above what throws rows away.
//!
//! In: a physical plan; out: the same plan with projections moved towards the scans as DataFusion moves them, but not
//! below a filter or a limit unless they only choose columns. Below it `a / b` would be computed of the rows that
//! `WHERE b <> 0` leaves out, and a prediction of every row of a table that is asked for one.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::logical_expr::ExpressionPlacement;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_optimizer::projection_pushdown::ProjectionPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;
use datafusion::physical_plan::limit::{GlobalLimitExec, LocalLimitExec};
use datafusion::physical_plan::projection::{
    ProjectionExec, remove_unnecessary_projections, try_embed_projection,
};
use datafusion::physical_plan::sorts::sort::SortExec;

use super::guarded_joins::has_guarded_condition;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// Rules of DataFusion with its own for projections replaced by [`ProjectionsAboveFilters`].
pub(crate) fn with_projections_above_filters(mut rules: Vec<Rule>) -> Vec<Rule> {
    let standard = ProjectionPushdown::new();
    for rule in &mut rules {
        if rule.name() == standard.name() {
            *rule = Arc::new(ProjectionsAboveFilters);
        }
    }
    rules
}

/// See the module.
#[derive(Debug)]
struct ProjectionsAboveFilters;

impl PhysicalOptimizerRule for ProjectionsAboveFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        // The standard rule does more for joins, and can be trusted where nothing would pass a filter.
        if !plan.exists(|node| Ok(drops_rows(node)))? && !has_guarded_condition(&plan)? {
            return ProjectionPushdown::new().optimize(plan, config);
        }
        plan.transform_down(|node| match staying(&node) {
            None => remove_unnecessary_projections(node),
            Some(projection) => {
                // The columns that it does not read end at the filter.
                let filter = projection.input().downcast_ref::<FilterExec>();
                let narrowed = filter.map(|filter| try_embed_projection(projection, filter));
                Ok(match narrowed.transpose()?.flatten() {
                    None => Transformed::no(node),
                    Some(narrowed) => Transformed::yes(narrowed),
                })
            }
        })
        .data()
    }

    fn name(&self) -> &str {
        "ProjectionsAboveFilters"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The operator as a projection that computes something of the rows that its input lets pass.
fn staying(node: &Arc<dyn ExecutionPlan>) -> Option<&ProjectionExec> {
    let projection = node.downcast_ref::<ProjectionExec>()?;
    let computes = projection
        .expr()
        .iter()
        .any(|column| matches!(column.expr.placement(), ExpressionPlacement::KeepInPlace));
    (computes && drops_rows(projection.input())).then_some(projection)
}

fn drops_rows(node: &Arc<dyn ExecutionPlan>) -> bool {
    let sort = node.downcast_ref::<SortExec>();
    node.is::<FilterExec>()
        || node.is::<GlobalLimitExec>()
        || node.is::<LocalLimitExec>()
        || sort.is_some_and(|sort| sort.fetch().is_some())
}
