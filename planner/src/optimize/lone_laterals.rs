//! Joins LATERAL queries that use nothing of the rows beside them any more, as others.
//!
//! In: DataFusion's rule that joins LATERAL queries by what they use; out: the same rule, which also takes the node away that marks a
//! query as such one. Where a condition was known without the outer columns in it (`outer.x > NULL`), nothing else would.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::{LogicalPlan, SubqueryAlias};
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;
use super::replaced::with_replaced;

/// The rules with this one around the rule that joins LATERAL queries.
pub(super) fn with_lone_laterals(rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    with_replaced(rules, DecorrelateLateralJoin::new().name(), rewrite)
}

fn rewrite(
    rule: &LogicalRule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let rewritten = rule.rewrite(plan, config)?;
    match rewritten.data {
        LogicalPlan::Join(mut join) if !rewritten.transformed => match bare(&join.right)? {
            Some(query) => {
                join.right = Arc::new(query);
                Ok(Transformed::yes(LogicalPlan::Join(join)))
            }
            None => Ok(Transformed::no(LogicalPlan::Join(join))),
        },
        plan => Ok(Transformed {
            data: plan,
            ..rewritten
        }),
    }
}

/// A LATERAL query without its mark, under the name that it has; `None`: it is none, or uses the rows around it.
fn bare(side: &LogicalPlan) -> Result<Option<LogicalPlan>> {
    Ok(match side {
        LogicalPlan::Subquery(query) if !uses_outer(&query.subquery)? => {
            Some(query.subquery.as_ref().clone())
        }
        LogicalPlan::SubqueryAlias(named) => match bare(&named.input)? {
            Some(query) => {
                let named = SubqueryAlias::try_new(Arc::new(query), named.alias.clone())?;
                Some(LogicalPlan::SubqueryAlias(named))
            }
            None => None,
        },
        _ => None,
    })
}

/// Whether a query, or one within it, uses columns of the rows around it.
fn uses_outer(query: &LogicalPlan) -> Result<bool> {
    let mut found = false;
    query.apply_with_subqueries(|node| {
        found |= node.contains_outer_reference();
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(found)
}
