//! Which subqueries the planner's own rules join rightly.
//!
//! These take the conditions that use outer columns out of a subquery and compare them in a join. What stands above such a
//! condition then sees the rows of all outer rows at once, and an aggregate over none gives no row. In: a subquery; out:
//! whether that may be done. Rewrites nothing.

use datafusion::common::JoinType;
use datafusion::common::tree_node::{TransformedResult as _, TreeNode as _};
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Distinct, Expr, FetchType, Limit, LogicalPlan, Operator, SkipType,
};
use datafusion::optimizer::decorrelate::PullUpCorrelatedExpr;

use super::outer_columns;

/// What is asked of a subquery.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// The value of its one row, or its rows beside those of the outer query.
    Rows,
    /// Whether it has a row.
    Exists,
    /// Whether a value is among those of its rows.
    In,
}

impl Asked {
    pub(super) fn by(expr: &Expr) -> Asked {
        match expr {
            Expr::Exists(_) => Asked::Exists,
            Expr::InSubquery(_) => Asked::In,
            _ => Asked::Rows,
        }
    }
}

/// Whether the planner's rules find the conditions that use outer columns, and may compare them in a join.
pub(super) fn pulls_up(query: &LogicalPlan, asked: Asked) -> bool {
    if !keeps_rows(query, asked) {
        return false;
    }
    let mut rule = PullUpCorrelatedExpr::new()
        .with_need_handle_count_bug(asked == Asked::Rows)
        .with_exists_sub_query(asked == Asked::Exists);
    let pulled = query.clone().rewrite(&mut rule).data();
    pulled.is_ok_and(|pulled| rule.can_pull_up && pulled.all_out_ref_exprs().is_empty())
}

/// Whether the operators above the conditions give for each outer row what they give when the conditions come behind them.
pub(super) fn keeps_rows(query: &LogicalPlan, asked: Asked) -> bool {
    match query {
        LogicalPlan::Projection(node) => keeps_rows(&node.input, asked),
        LogicalPlan::SubqueryAlias(node) => keeps_rows(&node.input, asked),
        LogicalPlan::Subquery(node) => keeps_rows(&node.subquery, asked),
        LogicalPlan::Limit(node) if asked == Asked::Exists && is_of_any(node) => {
            keeps_rows(&node.input, asked)
        }
        LogicalPlan::Aggregate(node) if asked == Asked::Rows && node.group_expr.is_empty() => {
            are_kept(&node.input)
        }
        query => are_kept(query),
    }
}

fn are_kept(plan: &LogicalPlan) -> bool {
    let changes = plan.exists(|node| Ok(changes_rows(node)));
    !changes.unwrap_or(true)
}

fn changes_rows(node: &LogicalPlan) -> bool {
    let is_dependent = |plan: &LogicalPlan| !outer_columns(plan).is_empty();
    match node {
        LogicalPlan::Window(_) | LogicalPlan::Limit(_) | LogicalPlan::Distinct(Distinct::On(_)) => {
            is_dependent(node)
        }
        // The columns of the lower condition have other names above.
        LogicalPlan::Filter(filter) => {
            filter.predicate.contains_outer()
                && (is_dependent(&filter.input) || has_lost_condition(&filter.predicate))
        }
        // The rules would take their keys for a set of its own.
        LogicalPlan::Aggregate(aggregate) => {
            let is_set = |key: &Expr| matches!(key, Expr::GroupingSet(_));
            let groups = &aggregate.group_expr;
            (groups.is_empty() || groups.iter().any(is_set)) && is_dependent(node)
        }
        LogicalPlan::Join(join) => match join.join_type {
            JoinType::Inner => false,
            JoinType::Left => is_dependent(&join.right),
            JoinType::Right => is_dependent(&join.left),
            // Those of one side have no column for the rules to compare above them.
            _ => is_dependent(node),
        },
        _ => false,
    }
}

/// Whether a condition compares an outer column with itself, as `a.b = a.b`, which is unknown for NULL: the planner's rules
/// take it for one that holds.
fn has_lost_condition(predicate: &Expr) -> bool {
    let mut conditions = split_conjunction(predicate).into_iter();
    conditions.any(|condition| {
        matches!(condition, Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right })
            if left == right && condition.contains_outer())
    })
}

/// Whether a LIMIT lets a row through if there is any.
fn is_of_any(node: &Limit) -> bool {
    let skip = node.get_skip_type();
    let fetch = node.get_fetch_type();
    matches!(skip, Ok(SkipType::Literal(0))) && matches!(fetch, Ok(FetchType::Literal(_)))
}
