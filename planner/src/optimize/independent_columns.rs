//! Forgets which columns determine others.
//!
//! In: a plan; out: the same plan, whose schemas know of no dependence. DataFusion 55.2 derives a wrong one for groups over a join: if
//! one side has one row for each value of a key, the key is said to determine the whole group, whatever else the rows are
//! grouped by (`aggregate_functional_dependencies`). Rules would then drop keys of ORDER BY, GROUP BY and DISTINCT that
//! count. Operators derive dependences anew whenever they are rewritten, so this runs before each rule that asks for them.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchemaRef, FunctionalDependencies};
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;

/// DataFusion's rules that ask for dependences.
const ASKING: [&str; 4] = [
    "replace_distinct_aggregate",
    "eliminate_join",
    "eliminate_duplicated_expr",
    "optimize_projections",
];

/// The rules with [`IndependentColumns`] before those that ask for dependences.
pub(super) fn with_independent_columns(rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    let before = |rule: &LogicalRule| -> Option<LogicalRule> {
        ASKING
            .contains(&rule.name())
            .then(|| Arc::new(IndependentColumns) as LogicalRule)
    };
    let rules = rules.into_iter();
    rules
        .flat_map(|rule| before(&rule).into_iter().chain([rule]))
        .collect()
}

/// See the module.
#[derive(Debug)]
struct IndependentColumns;

impl OptimizerRule for IndependentColumns {
    fn name(&self) -> &str {
        "independent_columns"
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        Some(ApplyOrder::BottomUp)
    }

    /// Never says that it changed something: nothing has to be made anew of a plan that it went over.
    fn rewrite(
        &self,
        mut plan: LogicalPlan,
        _: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        let schema = match &mut plan {
            LogicalPlan::Projection(node) => Some(&mut node.schema),
            LogicalPlan::Aggregate(node) => Some(&mut node.schema),
            LogicalPlan::Window(node) => Some(&mut node.schema),
            LogicalPlan::Join(node) => Some(&mut node.schema),
            LogicalPlan::SubqueryAlias(node) => Some(&mut node.schema),
            LogicalPlan::TableScan(node) => Some(&mut node.projected_schema),
            LogicalPlan::Unnest(node) => Some(&mut node.schema),
            _ => None,
        };
        if let Some(schema) = schema {
            forget(schema)?;
        }
        Ok(Transformed::no(plan))
    }
}

fn forget(schema: &mut DFSchemaRef) -> Result<()> {
    if !schema.functional_dependencies().is_empty() {
        let known = schema.as_ref().clone();
        let independent = known.with_functional_dependencies(FunctionalDependencies::empty())?;
        *schema = Arc::new(independent);
    }
    Ok(())
}
