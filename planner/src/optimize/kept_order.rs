//! Keeps the order of a query within on its way to the client: `SELECT upper(s) FROM (SELECT s FROM t ORDER BY n) AS q`.
//!
//! In: a physical plan; out: the same without the operators that spread sorted rows over partitions, where all that follows
//! keeps their order: rows of several partitions come as threads have them. SQL leaves that order open, PostgreSQL keeps it.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};

use super::node_rule::with_input;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rules with [`KeptOrder`] behind all others, which spread rows.
pub(crate) fn with_kept_order(mut rules: Vec<Rule>) -> Vec<Rule> {
    rules.push(Arc::new(KeptOrder));
    rules
}

/// See the module.
#[derive(Debug)]
struct KeptOrder;

impl PhysicalOptimizerRule for KeptOrder {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        _config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        Ok(together(&plan)?.unwrap_or(plan))
    }

    fn name(&self) -> &str {
        "KeptOrder"
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// The plan whose sorted rows stay together; `None`: they do already, or there are none.
fn together(plan: &Arc<dyn ExecutionPlan>) -> Result<Option<Arc<dyn ExecutionPlan>>> {
    let Some(input) = only_input(plan) else {
        return Ok(None);
    };
    if spreads(plan) && is_sorted(input) {
        return Ok(Some(Arc::clone(input)));
    }
    if !keeps_order(plan) && !plan.is::<CoalescePartitionsExec>() {
        return Ok(None);
    }
    let kept = together(input)?;
    kept.map(|input| with_input(plan, input)).transpose()
}

fn only_input(plan: &Arc<dyn ExecutionPlan>) -> Option<&Arc<dyn ExecutionPlan>> {
    match plan.children().as_slice() {
        [input] => Some(*input),
        _ => None,
    }
}

fn keeps_order(plan: &Arc<dyn ExecutionPlan>) -> bool {
    plan.maintains_input_order().first() == Some(&true)
}

/// Whether an operator hands the batches of one partition to several.
fn spreads(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let spread = plan.downcast_ref::<RepartitionExec>();
    spread.is_some_and(|spread| matches!(spread.partitioning(), Partitioning::RoundRobinBatch(_)))
}

/// Whether the rows of a plan come in one partition and in the order of a sort.
fn is_sorted(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if plan.properties().output_partitioning().partition_count() != 1 {
        return false;
    }
    if plan.is::<SortExec>() || plan.is::<SortPreservingMergeExec>() {
        return true;
    }
    keeps_order(plan) && only_input(plan).is_some_and(is_sorted)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::compute::SortOptions;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};

    use super::*;

    /// A projection over rows that are spread.
    fn spread(rows: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
        let schema = rows.schema();
        let spread = RepartitionExec::try_new(rows, Partitioning::RoundRobinBatch(4)).unwrap();
        let columns = vec![ProjectionExpr::new(
            col("a", &schema).unwrap(),
            "x".to_owned(),
        )];
        Arc::new(ProjectionExec::try_new(columns, Arc::new(spread)).unwrap())
    }

    #[test]
    fn only_sorted_rows_stay_together() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let rows: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::clone(&schema)));
        let key = PhysicalSortExpr::new(col("a", &schema).unwrap(), SortOptions::default());
        let order = LexOrdering::new(vec![key]).unwrap();
        let sorted: Arc<dyn ExecutionPlan> = Arc::new(SortExec::new(order, Arc::clone(&rows)));
        let optimized = |rows: Arc<dyn ExecutionPlan>| {
            let plan = KeptOrder.optimize(spread(rows), &ConfigOptions::default());
            Arc::clone(plan.unwrap().children()[0])
        };
        assert!(optimized(sorted).is::<SortExec>());
        assert!(optimized(rows).is::<RepartitionExec>());
    }
}
