//! A rule of DataFusion with something of ours around it.
//!
//! In: the rules, the name of one and a function; out: the rules in which the function rewrites plans in the place of that rule,
//! which it is given.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::LogicalPlan;
use datafusion::optimizer::optimizer::ApplyOrder;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;

/// Rewrites a plan in the place of a rule.
type Rewrite =
    fn(&LogicalRule, LogicalPlan, &dyn OptimizerConfig) -> Result<Transformed<LogicalPlan>>;

/// The rules with `rewrite` in the place of that of a name.
pub(super) fn with_replaced(
    mut rules: Vec<LogicalRule>,
    name: &str,
    rewrite: Rewrite,
) -> Vec<LogicalRule> {
    for rule in &mut rules {
        if rule.name() == name {
            let replaced = Replaced {
                rule: Arc::clone(rule),
                rewrite,
            };
            *rule = Arc::new(replaced);
        }
    }
    rules
}

/// See the module.
#[derive(Debug)]
struct Replaced {
    rule: LogicalRule,
    rewrite: Rewrite,
}

impl OptimizerRule for Replaced {
    fn name(&self) -> &str {
        self.rule.name()
    }

    fn apply_order(&self) -> Option<ApplyOrder> {
        self.rule.apply_order()
    }

    fn rewrite(
        &self,
        plan: LogicalPlan,
        config: &dyn OptimizerConfig,
    ) -> Result<Transformed<LogicalPlan>> {
        (self.rewrite)(&self.rule, plan, config)
    }
}
