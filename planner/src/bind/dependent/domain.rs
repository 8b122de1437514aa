//! The values of outer columns for which a subquery is computed.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, JoinType};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use super::recursive::WorkTable;
use super::{Numbers, plain, project};

/// Rows of outer columns, under names of their own.
pub(super) struct Domain<'a> {
    pub(super) plan: LogicalPlan,
    /// The columns as the subquery calls them.
    pub(super) outer: Vec<Column>,
    /// The same columns of `plan`.
    pub(super) keys: Vec<Column>,
    pub(super) numbers: &'a Numbers,
    /// Within the recursive term of a query.
    pub(super) work: Option<WorkTable>,
}

impl<'a> Domain<'a> {
    /// The distinct values of some columns of the outer rows.
    pub(super) fn of(
        rows: &LogicalPlan,
        outer: Vec<Column>,
        numbers: &'a Numbers,
    ) -> Result<Domain<'a>> {
        let rows = repeatable(rows)?;
        let all = Domain::of_all(rows, outer, numbers)?;
        let plan = LogicalPlan::Distinct(Distinct::All(Arc::new(all.plan)));
        Ok(Domain { plan, ..all })
    }

    /// The columns of each outer row.
    pub(super) fn of_all(
        rows: LogicalPlan,
        outer: Vec<Column>,
        numbers: &'a Numbers,
    ) -> Result<Domain<'a>> {
        let keys = outer.iter().map(|_| numbers.column("outer"));
        let keys: Vec<Column> = keys.collect();
        let renamed = plain(outer.iter().cloned()).zip(&keys);
        let renamed = renamed.map(|(expr, key)| expr.alias(key.name.clone()));
        let plan = project(rows, renamed.collect())?;
        Ok(Domain {
            plan,
            outer,
            keys,
            numbers,
            work: None,
        })
    }
}

/// What a part of a plan cannot be rewritten as: the caller leaves the subquery to the planner, which names it.
pub(super) fn unknown(what: &str) -> DataFusionError {
    DataFusionError::NotImplemented(format!("correlated {what}"))
}

/// A plan that has at least these rows each time that it is run: rows behind a LIMIT may differ, so that all come.
fn repeatable(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let is_volatile = plan.exists(|node| Ok(node.expressions().iter().any(Expr::is_volatile)));
    if is_volatile? {
        return Err(unknown("volatile rows"));
    }
    unlimited(plan)
}

fn unlimited(plan: &LogicalPlan) -> Result<LogicalPlan> {
    if !is_limited(plan)? {
        return Ok(plan.clone());
    }
    let is_row_wise = match plan {
        LogicalPlan::Limit(limit) => return unlimited(&limit.input),
        LogicalPlan::Sort(sort) => return unlimited(&sort.input),
        LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::SubqueryAlias(_) => true,
        LogicalPlan::Join(join) => join.join_type == JoinType::Inner,
        _ => false,
    };
    if !is_row_wise {
        return Err(unknown("rows behind LIMIT"));
    }
    let inputs = plan.inputs().into_iter().map(unlimited);
    plan.with_new_exprs(plan.expressions(), inputs.collect::<Result<_>>()?)
}

fn is_limited(plan: &LogicalPlan) -> Result<bool> {
    let mut is_limited = false;
    plan.apply(|node| {
        is_limited |= match node {
            LogicalPlan::Limit(_) => true,
            LogicalPlan::Sort(sort) => sort.fetch.is_some(),
            _ => false,
        };
        Ok(match is_limited {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    Ok(is_limited)
}
