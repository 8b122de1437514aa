//! Keeps sorts above limits: `SELECT … FROM (SELECT … ORDER BY at DESC OFFSET 10) AS q ORDER BY name`.
//!
//! In: DataFusion's rule that gives each operator the order it asks for; out: the same rule, for which a barrier stands above each limit.
//! DataFusion 55.2 would push a sort below a limit that has no count of rows, or whose rows come in no order that it knows: other rows would be
//! skipped or let through, and fewer of them where a limit has both. It would also take away the sort below a limit whose rows have
//! lost the columns that they are sorted by; a barrier above that sort asks for it.

use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::limit::GlobalLimitExec;
use datafusion::physical_plan::sorts::sort::SortExec;

use super::PhysicalRule;
use super::fenced::with_fences;
use super::node_rule::with_input;
use crate::physical::BarrierExec;

type Plan = Arc<dyn ExecutionPlan>;

/// DataFusion's rule that sorts.
const SORTING: &str = "EnsureRequirements";

/// The rules with these barriers for the one that sorts.
pub(super) fn with_limited_rows(rules: Vec<PhysicalRule>) -> Vec<PhysicalRule> {
    with_fences(rules, SORTING, fenced)
}

fn fenced(node: &Plan) -> Result<Option<Plan>> {
    let Some(limit) = node.downcast_ref::<GlobalLimitExec>() else {
        return Ok(None);
    };
    let limit = match asking(limit.input())? {
        Some(input) => with_input(node, input)?,
        None => Arc::clone(node),
    };
    Ok(Some(Arc::new(BarrierExec::of_sorts(limit))))
}

/// The input of a limit whose rows are sorted by columns that it does not have any more, with a barrier above the sort that
/// asks for it; `None`: there is no such sort.
fn asking(input: &Plan) -> Result<Option<Plan>> {
    if let Some(sort) = input.downcast_ref::<SortExec>() {
        let asking = BarrierExec::of_order(Arc::clone(input), sort.expr().clone());
        return Ok(sort.fetch().is_none().then(|| Arc::new(asking) as _));
    }
    let children = input.children();
    let keeps_order = input.maintains_input_order().first() == Some(&true);
    let ([below], true) = (children.as_slice(), keeps_order) else {
        return Ok(None);
    };
    let asked = asking(below)?;
    asked.map(|below| with_input(input, below)).transpose()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::compute::SortOptions;
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::common::config::ConfigOptions;
    use datafusion::physical_expr::expressions::col;
    use datafusion::physical_expr::{LexOrdering, PhysicalSortExpr};
    use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
    use datafusion::physical_plan::empty::EmptyExec;

    use super::*;

    #[test]
    fn a_sort_stays_above_a_limit() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let sorted = |rows: Arc<dyn ExecutionPlan>, descending: bool| -> Arc<dyn ExecutionPlan> {
            let options = SortOptions {
                descending,
                nulls_first: descending,
            };
            let key = PhysicalSortExpr::new(col("a", &schema).unwrap(), options);
            Arc::new(SortExec::new(LexOrdering::new(vec![key]).unwrap(), rows))
        };
        let rules = with_limited_rows(PhysicalOptimizer::new().rules);
        let rule = rules.iter().find(|rule| rule.name() == SORTING).unwrap();
        for (skip, fetch) in [(2, None), (2, Some(3)), (0, Some(3))] {
            let rows: Arc<dyn ExecutionPlan> = Arc::new(EmptyExec::new(Arc::clone(&schema)));
            for rows in [sorted(Arc::clone(&rows), true), rows] {
                let limited = Arc::new(GlobalLimitExec::new(rows, skip, fetch));
                let plan = rule
                    .optimize(sorted(limited, false), &ConfigOptions::default())
                    .unwrap();
                assert!(plan.is::<SortExec>());
                assert!(plan.children()[0].is::<GlobalLimitExec>());
            }
        }
    }
}
