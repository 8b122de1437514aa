//! Rules of DataFusion that find barriers in a plan, which nobody else sees.
//!
//! In: such a rule, and what an operator becomes with barriers around it, or `None` where it needs none; out: a rule of the same
//! name that puts the barriers into the plan, asks DataFusion's, and takes them out again.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;

use super::PhysicalRule;
use super::node_rule::each;
use crate::physical::BarrierExec;

type Plan = Arc<dyn ExecutionPlan>;

/// See the module.
struct Fenced {
    rule: PhysicalRule,
    fence: fn(&Plan) -> Result<Option<Plan>>,
}

/// The rules with barriers for those whose names begin so.
pub(super) fn with_fences(
    mut rules: Vec<PhysicalRule>,
    names: &str,
    fence: fn(&Plan) -> Result<Option<Plan>>,
) -> Vec<PhysicalRule> {
    for rule in &mut rules {
        if rule.name().starts_with(names) {
            let fenced = Fenced {
                rule: Arc::clone(rule),
                fence,
            };
            *rule = Arc::new(fenced);
        }
    }
    rules
}

impl fmt::Debug for Fenced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fenced({:?})", self.rule)
    }
}

impl PhysicalOptimizerRule for Fenced {
    fn optimize(&self, plan: Plan, config: &ConfigOptions) -> Result<Plan> {
        let fenced = each(plan, self.fence)?;
        let plan = self.rule.optimize(fenced.data, config)?;
        match fenced.transformed {
            true => Ok(each(plan, open)?.data),
            false => Ok(plan),
        }
    }

    fn name(&self) -> &str {
        self.rule.name()
    }

    fn schema_check(&self) -> bool {
        self.rule.schema_check()
    }
}

/// What stands below a barrier that one rule finds; those of views stay.
fn open(node: &Plan) -> Result<Option<Plan>> {
    let barrier = node.downcast_ref::<BarrierExec>();
    let barrier = barrier.filter(|barrier| barrier.is_of_one_rule());
    Ok(barrier.map(|barrier| Arc::clone(barrier.input())))
}
