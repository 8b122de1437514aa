//! Sorts the first rows of each partition by all keys of the query: `SELECT 1 AS part, x FROM a UNION ALL SELECT 2, x FROM b
//! ORDER BY part, x LIMIT 10`.
//!
//! In: a physical plan; out: the same in which the sorts below a merge that want some rows have the merge's keys. DataFusion
//! leaves out a key that is constant in each partition, but lets all partitions tell one another from which key on rows are too
//! late: a row of part 1 was dropped for one of part 2.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule as _;
use datafusion::physical_optimizer::filter_pushdown::FilterPushdown;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::execution_plan::CardinalityEffect;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::sorts::sort_preserving_merge::SortPreservingMergeExec;

use super::PhysicalRule;
use super::node_rule::{NodeRule, with_input};

type Plan = Arc<dyn ExecutionPlan>;

/// The rules with this one where sorts have their limits, and before scans are told of them.
pub(super) fn with_whole_keys(mut rules: Vec<PhysicalRule>) -> Vec<PhysicalRule> {
    let last = FilterPushdown::new_post_optimization();
    let place = rules.iter().rposition(|rule| rule.name() == last.name());
    let rule = NodeRule {
        name: "WholeKeys",
        rewrite: with_keys,
    };
    rules.insert(place.unwrap_or(rules.len()), Arc::new(rule));
    rules
}

fn with_keys(node: &Plan) -> Result<Option<Plan>> {
    let merge = node.downcast_ref::<SortPreservingMergeExec>();
    // A merge of all rows takes no limit over from what is below it.
    let Some(merge) = merge.filter(|merge| merge.fetch().is_some()) else {
        return Ok(None);
    };
    let Some(sorted) = sorted(merge.input(), merge)? else {
        return Ok(None);
    };
    with_input(node, sorted).map(Some)
}

/// What is merged, with whole keys; `None`: it has them, or sorts no part of its rows.
fn sorted(node: &Plan, merge: &SortPreservingMergeExec) -> Result<Option<Plan>> {
    let Some(sort) = node.downcast_ref::<SortExec>() else {
        return unlimited(node, merge);
    };
    if !is_shortened(sort, merge) {
        return Ok(None);
    }
    let whole = SortExec::new(merge.expr().clone(), Arc::clone(sort.input()));
    let whole = whole.with_preserve_partitioning(sort.preserve_partitioning());
    Ok(Some(Arc::new(whole.with_fetch(sort.fetch()))))
}

/// The same of a sort below operators that may have the keys under other names: it sorts all rows of its partitions then, of
/// which the merge takes some. Below what drops rows, a limit is that of a query within.
fn unlimited(node: &Plan, merge: &SortPreservingMergeExec) -> Result<Option<Plan>> {
    if let Some(sort) = node.downcast_ref::<SortExec>() {
        let is_found = is_shortened(sort, merge);
        return Ok(is_found.then(|| Arc::new(sort.with_fetch(None)) as Plan));
    }
    let children = node.children();
    let [input] = children.as_slice() else {
        return Ok(None);
    };
    let keeps_rows = matches!(node.cardinality_effect(), CardinalityEffect::Equal);
    let keeps_order = node.maintains_input_order().first() == Some(&true);
    let found = match keeps_rows && keeps_order && node.fetch().is_none() {
        true => unlimited(input, merge)?,
        false => None,
    };
    found.map(|input| with_input(node, input)).transpose()
}

/// Whether a sort finds the first rows of each partition by fewer keys than the merge has.
fn is_shortened(sort: &SortExec, merge: &SortPreservingMergeExec) -> bool {
    let looks_for_few = sort.preserve_partitioning() && sort.fetch().is_some();
    looks_for_few && sort.expr().len() < merge.expr().len()
}
