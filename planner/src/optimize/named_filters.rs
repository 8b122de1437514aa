//! Keeps conditions from columns that only share the name of those that they are about.
//!
//! In: DataFusion's rules that push filters down; out: the same rules, for which a barrier stands above each operator whose
//! columns share names. Operators hand a filter to the one below by the names of its columns, of which the first counts:
//! `WHERE a.id IS NULL` over a join of tables that both have an `id` would filter the other one's rows. Filters on other
//! columns pass, and so do all where names are told apart.

use std::collections::HashSet;
use std::sync::Arc;

use datafusion::error::Result;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::filter::FilterExec;

use super::PhysicalRule;
use super::fenced::with_fences;
use super::flat_filters::PUSHDOWN;
use crate::physical::BarrierExec;

type Plan = Arc<dyn ExecutionPlan>;

/// The rules with these barriers for those that push filters down.
pub(super) fn with_named_filters(rules: Vec<PhysicalRule>) -> Vec<PhysicalRule> {
    with_fences(rules, PUSHDOWN, fenced)
}

fn fenced(node: &Plan) -> Result<Option<Plan>> {
    let shared = shared_names(node);
    let is_sure = shared.is_empty();
    Ok((!is_sure).then(|| Arc::new(BarrierExec::of_names(Arc::clone(node), shared)) as _))
}

/// Names that several columns of an operator have; of a filter's also those of its input, among which it looks for the
/// columns of filters that it takes over.
fn shared_names(node: &Plan) -> HashSet<String> {
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
