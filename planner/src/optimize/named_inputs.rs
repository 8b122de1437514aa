//! Gives the inputs of a union the names of its columns.
//!
//! In: DataFusion's rule that makes one union of nested ones; out: the same rule, whose unions have inputs with the names of their
//! columns: what is left of a union where the first input has no rows has the names of the next one, as have the operators
//! that are made of a union, and what is computed of its columns is computed of those of an input.

use std::sync::Arc;

use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan, Projection, Union};
use datafusion::optimizer::OptimizerConfig;
use datafusion::optimizer::OptimizerRule as _;
use datafusion::optimizer::optimize_unions::OptimizeUnions;

use super::LogicalRule;
use super::replaced::with_replaced;

/// The rules with this one around the rule that makes one union of nested ones.
pub(super) fn with_named_inputs(rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    with_replaced(rules, OptimizeUnions::new().name(), rewrite)
}

fn rewrite(
    rule: &LogicalRule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    rule.rewrite(plan, config)?.map_data(|plan| match plan {
        LogicalPlan::Union(union) => named(union),
        LogicalPlan::Distinct(Distinct::All(input)) => {
            let input = match Arc::unwrap_or_clone(input) {
                LogicalPlan::Union(union) => named(union)?,
                input => input,
            };
            Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(input))))
        }
        plan => Ok(plan),
    })
}

fn named(mut union: Union) -> Result<LogicalPlan> {
    for input in &mut union.inputs {
        if !names(input.schema()).eq(names(&union.schema)) {
            let pairs = input
                .schema()
                .columns()
                .into_iter()
                .zip(names(&union.schema));
            let exprs = pairs.map(|(column, name)| match column.name() == name {
                true => Expr::Column(column),
                false => Expr::Column(column).alias(name),
            });
            let projection = Projection::try_new(exprs.collect(), Arc::clone(input))?;
            *input = Arc::new(LogicalPlan::Projection(projection));
        }
    }
    Ok(LogicalPlan::Union(union))
}

fn names(schema: &DFSchema) -> impl Iterator<Item = &String> {
    schema.fields().iter().map(|field| field.name())
}
