//! Names the columns of a union's only input as the input does.
//!
//! In: DataFusion's rule that takes away what has no rows; out: the same rule, which, where one input of a union is left, does not
//! ask that input for the union's columns, which are of no relation: filters that are pushed down later would keep those
//! names below the input's own columns, where nothing has them.

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, LogicalPlan, Projection, Union};
use datafusion::optimizer::propagate_empty_relation::PropagateEmptyRelation;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;
use super::replaced::with_replaced;

/// The rules with this one around the rule that takes away what has no rows.
pub(super) fn with_single_inputs(rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    with_replaced(rules, PropagateEmptyRelation::new().name(), rewrite)
}

fn rewrite(
    rule: &LogicalRule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let is_renamed = matches!(&plan, LogicalPlan::Union(union) if renames(union));
    let rewritten = rule.rewrite(plan, config)?;
    match rewritten.data {
        LogicalPlan::Projection(projection) if is_renamed && rewritten.transformed => {
            named(projection).map(Transformed::yes)
        }
        _ => Ok(rewritten),
    }
}

/// Whether what is left of a union has other columns: an input that has the union's own is left as it is, and may be a
/// projection, too.
fn renames(union: &Union) -> bool {
    let mut left = union.inputs.iter().filter(|input| !is_empty(input));
    left.all(|input| input.schema() != &union.schema)
}

fn is_empty(plan: &LogicalPlan) -> bool {
    matches!(plan, LogicalPlan::EmptyRelation(empty) if !empty.produce_one_row)
}

/// The projection with the columns of its input in their order, under its own names.
fn named(projection: Projection) -> Result<LogicalPlan> {
    let Projection { input, schema, .. } = projection;
    let columns = input.schema().columns().into_iter();
    let exprs = columns
        .zip(schema.iter())
        .map(|(column, (relation, field))| {
            Expr::Column(column).alias_qualified(relation.cloned(), field.name())
        });
    let exprs = exprs.collect();
    Projection::try_new_with_schema(exprs, input, schema).map(LogicalPlan::Projection)
}
