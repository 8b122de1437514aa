//! Keeps conditions from columns that only share the name of those that they are about.
//!
//! In: DataFusion's rules that push filters down; out: the same rules, for which a barrier stands above each operator whose
//! columns share names. Operators hand a filter to the one below by the names of its columns, of which the first counts:
//! `WHERE a.id IS NULL` over a join of tables that both have an `id` would filter the other one's rows. Filters on other
//! columns pass, and so do all where names are told apart.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TransformedResult as _, TreeNode as _};
use datafusion::error::Result;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;

use super::flat_filters::PUSHDOWN;
use crate::physical::BarrierExec;

type Rule = Arc<dyn PhysicalOptimizerRule + Send + Sync>;

/// The rules with [`NamedFilters`] in the place of DataFusion's.
pub(crate) fn with_named_filters(mut rules: Vec<Rule>) -> Vec<Rule> {
    for rule in &mut rules {
        if rule.name().starts_with(PUSHDOWN) {
            *rule = Arc::new(NamedFilters(Arc::clone(rule)));
        }
    }
    rules
}

/// See the module.
#[derive(Debug)]
struct NamedFilters(Rule);

impl PhysicalOptimizerRule for NamedFilters {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let fenced = plan.transform_up(|node| {
            let shared = shared_names(&node);
            Ok(match shared.is_empty() {
                true => Transformed::no(node),
                false => Transformed::yes(Arc::new(BarrierExec::of_names(node, shared)) as _),
            })
        })?;
        let plan = self.0.optimize(fenced.data, config)?;
        if !fenced.transformed {
            return Ok(plan);
        }
        plan.transform_down(|node| {
            let barrier = node.downcast_ref::<BarrierExec>();
            Ok(match barrier.filter(|barrier| barrier.is_of_names()) {
                Some(barrier) => Transformed::yes(Arc::clone(barrier.input())),
                None => Transformed::no(node),
            })
        })
        .data()
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Names that several columns of an operator have; of a filter's also those of its input, among which it looks for the
/// columns of filters that it takes over.
fn shared_names(node: &Arc<dyn ExecutionPlan>) -> HashSet<String> {
    let mut shared = HashSet::new();
    let inputs = match node.is::<FilterExec>() {
        true => node.children(),
        false => Vec::new(),
    };
    for plan in inputs.into_iter().chain([node]) {
        let schema = plan.schema();
        let mut seen = HashSet::with_capacity(schema.fields().len());
        for field in schema.fields() {
            if !seen.insert(field.name().as_str()) {
                shared.insert(field.name().clone());
            }
        }
    }
    shared
}
