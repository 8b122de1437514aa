//! Rules of the physical optimizer that look at each operator by itself, those below first.
//!
//! In: what an operator becomes, or `None` where it is left, by the rule's name; out: a rule that asks it of each.

use std::fmt;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ChildrenPropertiesMode, ExecutionPlan, ReplaceChildrenOptions};

type Plan = Arc<dyn ExecutionPlan>;

/// See the module.
pub(super) struct NodeRule {
    pub(super) name: &'static str,
    pub(super) rewrite: fn(&Plan) -> Result<Option<Plan>>,
}

impl fmt::Debug for NodeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PhysicalOptimizerRule for NodeRule {
    fn optimize(&self, plan: Plan, _config: &ConfigOptions) -> Result<Plan> {
        Ok(each(plan, self.rewrite)?.data)
    }

    fn name(&self) -> &str {
        self.name
    }

    fn schema_check(&self) -> bool {
        true
    }
}

/// A plan whose operators became what they are rewritten to, those below first.
pub(super) fn each(
    plan: Plan,
    rewrite: fn(&Plan) -> Result<Option<Plan>>,
) -> Result<Transformed<Plan>> {
    plan.transform_up(|node| {
        Ok(match rewrite(&node)? {
            Some(rewritten) => Transformed::yes(rewritten),
            None => Transformed::no(node),
        })
    })
}

/// An operator over another input.
pub(super) fn with_input(node: &Plan, input: Plan) -> Result<Plan> {
    with_inputs(node, vec![input])
}

/// An operator over other inputs.
pub(super) fn with_inputs(node: &Plan, inputs: Vec<Plan>) -> Result<Plan> {
    let anew = ReplaceChildrenOptions::new(ChildrenPropertiesMode::Recompute);
    Arc::clone(node).replace_children(inputs, anew)
}
