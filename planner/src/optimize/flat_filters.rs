//! Keeps joins on arrays and rows from telling their other side what they look for.
//!
//! In: DataFusion's rules that push filters down, among them those of the keys that a join found on one side; out: the same
//! rules, without these filters in plans that join on nested keys. The bounds of such keys order NULL elements otherwise than
//! the filter that compares with them, which would leave out rows that have a partner.

use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::joins::HashJoinExec;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// What the names of DataFusion's rules begin with, of which there is one a phase.
pub(super) const PUSHDOWN: &str = "FilterPushdown";

/// The rules with [`FlatFilters`] in the place of DataFusion's.
pub(crate) fn with_flat_filters(mut rules: Vec<Rule>) -> Vec<Rule> {
    for rule in &mut rules {
        if rule.name().starts_with(PUSHDOWN) {
            *rule = Arc::new(FlatFilters(Arc::clone(rule)));
        }
    }
    rules
}

/// See the module.
#[derive(Debug)]
struct FlatFilters(Rule);

impl PhysicalOptimizerRule for FlatFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if !plan.exists(joins_nested)? {
            return self.0.optimize(plan, config);
        }
        let mut config = config.clone();
        config.optimizer.enable_join_dynamic_filter_pushdown = false;
        self.0.optimize(plan, &config)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

fn joins_nested(plan: &Arc<dyn ExecutionPlan>) -> Result<bool> {
    let Some(join) = plan.downcast_ref::<HashJoinExec>() else {
        return Ok(false);
    };
    let schema = join.left().schema();
    for (key, _) in join.on() {
        if key.data_type(&schema)?.is_nested() {
            return Ok(true);
        }
    }
    Ok(false)
}
