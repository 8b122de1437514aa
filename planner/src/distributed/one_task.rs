//! Which operators of a plan need their rows in one task.
//!
//! In: an operator of a plan that was made for one machine; out: whether its stage may have one task only. Such a plan takes
//! a partition that is the only one for all rows, and leaves out the exchange that would bring them together: an aggregate,
//! a window or a limit over a scan of one partition. The library divides the scan nevertheless, and each task would have
//! groups, numbers and limits of its own.

use std::sync::Arc;

use datafusion::error::Result as DfResult;
use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;
use datafusion::physical_plan::{
    Distribution, ExecutionPlan, ExecutionPlanProperties as _, Partitioning,
};
use datafusion_distributed::{BroadcastExec, DesiredTaskCountEvent, DesiredTaskCountEventResponse};

/// Bounds the tasks of a stage whose operators rely on there being one.
pub(super) fn at_most_one_task(
    event: DesiredTaskCountEvent<'_>,
) -> Option<DfResult<DesiredTaskCountEventResponse>> {
    relies_on_one_task(event.plan).then(|| Ok(DesiredTaskCountEventResponse::maximum(1)))
}

fn relies_on_one_task(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let is_only_partition = plan.output_partitioning().partition_count() == 1;
    if is_only_partition && plan.fetch().is_some() && !brings_together(plan) {
        return true;
    }
    let wanted = plan.input_distribution_requirements().into_per_child();
    let mut children = plan.children().into_iter().zip(wanted);
    children.any(|(child, wanted)| match wanted {
        Distribution::UnspecifiedDistribution => false,
        Distribution::SinglePartition => !brings_together(child) && !is_broadcast(child),
        // Rows of the same keys.
        _ => !is_dealt_by_keys(child),
    })
}

/// The library sends the rows of all tasks below it to one.
fn brings_together(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let gathers = plan.is::<CoalescePartitionsExec>() || plan.is::<SortPreservingMergeExec>();
    gathers && !is_broadcast(plan)
}

/// Each task has all its rows, in whatever order they come.
fn is_broadcast(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let mut children = plan.children().into_iter();
    plan.is::<CoalescePartitionsExec>() && children.any(|child| child.is::<BroadcastExec>())
}

/// Rows of the same keys come to the same task, since the library sends them there.
fn is_dealt_by_keys(plan: &Arc<dyn ExecutionPlan>) -> bool {
    if let Some(repartition) = plan.downcast_ref::<RepartitionExec>()
        && matches!(repartition.partitioning(), Partitioning::Hash(_, _))
    {
        return true;
    }
    let children = plan.children();
    // Of a join whose one side each task has whole, the other side says where rows are.
    let mut dealt = children.into_iter().filter(|child| !is_broadcast(child));
    match dealt.next() {
        Some(first) => {
            brings_together(plan) || (is_dealt_by_keys(first) && dealt.all(is_dealt_by_keys))
        }
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
    use datafusion::datasource::MemTable;
    use datafusion::prelude::{SessionConfig, SessionContext};

    use super::*;

    /// The operators of a query that rely on one task, where the table has so many partitions.
    async fn found(query: &str, n_partitions: usize) -> Vec<String> {
        let config = SessionConfig::new().with_target_partitions(n_partitions);
        let context = SessionContext::new_with_config(config);
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let values: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
        let rows = RecordBatch::try_new(Arc::clone(&schema), vec![values]).unwrap();
        let table = MemTable::try_new(schema, vec![vec![rows]; n_partitions]).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        let query = context.sql(query).await.unwrap();
        let plan = query.create_physical_plan().await.unwrap();
        let mut found = Vec::new();
        plan.apply(|node| {
            if relies_on_one_task(node) {
                found.push(node.name().to_owned());
            }
            Ok(TreeNodeRecursion::Continue)
        })
        .unwrap();
        found
    }

    #[tokio::test]
    async fn operators_over_the_only_partition_rely_on_it() {
        for query in [
            "SELECT a, count(*) FROM t GROUP BY a",
            "SELECT max(a) FROM t WHERE a > 1",
            "SELECT a, count(*) OVER (PARTITION BY a) FROM t",
            "SELECT a, row_number() OVER (ORDER BY a) FROM t",
            "SELECT a FROM t WHERE a > 1 LIMIT 5",
            "SELECT a FROM t LIMIT 5",
        ] {
            assert!(!found(query, 1).await.is_empty(), "{query}");
        }
        for query in ["SELECT a FROM t WHERE a > 1", "SELECT a + 1 FROM t"] {
            assert!(found(query, 1).await.is_empty(), "{query}");
        }
    }

    #[tokio::test]
    async fn exchanges_bring_rows_together() {
        for query in [
            "SELECT a, count(*) FROM t GROUP BY a",
            "SELECT max(a) FROM t WHERE a > 1",
            "SELECT a, count(*) OVER (PARTITION BY a) FROM t",
            "SELECT a FROM t ORDER BY a LIMIT 5",
        ] {
            let found = found(query, 4).await;
            assert!(found.is_empty(), "{query}: {found:?}");
        }
    }
}
