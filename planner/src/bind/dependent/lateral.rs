//! LATERAL relations that the planner's rules do not join: `CROSS JOIN LATERAL (SELECT … ORDER BY … LIMIT n)` and
//! functions of columns, `FROM t, unnest(t.items)`.
//!
//! In: a join; out: the same columns without the lateral relation. One that makes rows of each outer row alone needs no
//! join: it is computed on the outer rows themselves. One that uses none of their columns is a relation like any
//! other.

use std::sync::Arc;

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::{Expr, Filter, Join, JoinConstraint, LogicalPlan, SubqueryAlias};
use datafusion::optimizer::decorrelate_lateral_join::DecorrelateLateralJoin;
use datafusion::optimizer::{OptimizerContext, OptimizerRule as _};

use super::domain::{Domain, refused};
use super::pulled::{self, Asked};
use super::pushed::Empty;
use super::{Numbers, has, outer_columns, plain, project, same_keys};

/// The join without its lateral relation; `None`: it has none, or one that the planner's rules join.
pub(super) fn joined(join: &Join, numbers: &Numbers) -> Result<Option<LogicalPlan>> {
    let Some(query) = lateral_query(&join.right) else {
        return Ok(None);
    };
    let keeps_rows = pulled::keeps_rows(query, Asked::Rows);
    if !matches!(join.join_type, JoinType::Inner | JoinType::Left) || (keeps_rows && is_known(join))
    {
        return Ok(None);
    }
    let schema = join.left.schema();
    let outer = outer_columns(query).into_iter();
    let outer: Vec<Column> = outer.filter(|column| has(schema, column)).collect();
    if outer.is_empty() {
        return Ok(None);
    }
    if join.join_type == JoinType::Inner && join.on.is_empty() && is_row_wise(query) {
        return spread(join, query, numbers).map(Some);
    }
    match matched(join, query, outer, numbers) {
        Ok(plan) => Ok(Some(plan)),
        // What cannot be joined is left to the planner, which names it.
        Err(_) if keeps_rows => Ok(None),
        Err(_) => Err(refused()),
    }
}

/// A join whose second relation is not lateral where it uses nothing of the first one: relations within it may be lateral among
/// themselves.
pub(super) fn unbound(join: Join) -> Result<Join> {
    let query = match lateral_query(&join.right) {
        Some(query) if !uses(query, join.left.schema())? => query.clone(),
        _ => return Ok(join),
    };
    let right = match join.right.as_ref() {
        LogicalPlan::SubqueryAlias(named) => {
            let named = SubqueryAlias::try_new(Arc::new(query), named.alias.clone())?;
            LogicalPlan::SubqueryAlias(named)
        }
        _ => query,
    };
    let right = Arc::new(right);
    Ok(Join { right, ..join })
}

/// Whether a query, or a subquery of it, uses columns of a schema around it.
fn uses(query: &LogicalPlan, schema: &DFSchema) -> Result<bool> {
    let mut is_used = false;
    query.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            is_used |= expr.exists(|expr| {
                Ok(matches!(expr, Expr::OuterReferenceColumn(_, column) if has(schema, column)))
            })?;
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(is_used)
}

/// The query of a relation that uses columns of those before it.
pub(super) fn lateral_query(relation: &LogicalPlan) -> Option<&LogicalPlan> {
    match relation {
        LogicalPlan::Subquery(query) => Some(&query.subquery),
        LogicalPlan::SubqueryAlias(SubqueryAlias { input, .. }) => match input.as_ref() {
            LogicalPlan::Subquery(query) => Some(&query.subquery),
            _ => None,
        },
        _ => None,
    }
}

fn is_known(join: &Join) -> bool {
    let plan = LogicalPlan::Join(join.clone());
    let rewritten = DecorrelateLateralJoin::new().rewrite(plan, &OptimizerContext::new());
    rewritten.is_ok_and(|done| done.transformed && done.data.all_out_ref_exprs().is_empty())
}

/// Whether a query makes its rows of the outer row alone.
fn is_row_wise(query: &LogicalPlan) -> bool {
    match query {
        LogicalPlan::EmptyRelation(empty) => empty.produce_one_row,
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_) => query.inputs().into_iter().all(is_row_wise),
        _ => false,
    }
}

fn named(expr: Expr, column: &Column) -> Expr {
    expr.alias_qualified(column.relation.clone(), column.name.clone())
}

/// The outer rows with what the query makes of each.
fn spread(join: &Join, query: &LogicalPlan, numbers: &Numbers) -> Result<LogicalPlan> {
    let columns = join.left.schema().columns();
    let rows = Domain::of_all(join.left.as_ref().clone(), columns.clone(), numbers)?;
    let spread = rows.pushed(query, Empty::Kept)?;
    let outer = plain(rows.keys).zip(&columns);
    let given = join.right.schema().columns();
    let inner = plain(query.schema().columns()).zip(&given);
    let exprs = outer.chain(inner);
    let exprs = exprs.map(|(expr, column)| named(expr, column)).collect();
    let spread = project(spread, exprs)?;
    Ok(match &join.filter {
        Some(filter) => LogicalPlan::Filter(Filter::try_new(filter.clone(), Arc::new(spread))?),
        None => spread,
    })
}

/// The outer rows joined with the query's rows of the domain.
fn matched(
    join: &Join,
    query: &LogicalPlan,
    outer: Vec<Column>,
    numbers: &Numbers,
) -> Result<LogicalPlan> {
    let domain = Domain::of(&join.left, outer.clone(), numbers)?;
    let rows = domain.pushed(query, Empty::Kept)?;
    let given = join.right.schema().columns();
    let inner = plain(query.schema().columns()).zip(&given);
    let inner = inner.map(|(expr, column)| named(expr, column));
    let keys = plain(domain.keys.iter().cloned());
    let rows = project(rows, keys.chain(inner).collect())?;
    let conditions = join.on.iter().cloned().map(|(left, right)| left.eq(right));
    let on = same_keys(&join.left, &outer, &domain.keys)?;
    let matched = Join::try_new(
        Arc::clone(&join.left),
        Arc::new(rows),
        on,
        conditions.chain(join.filter.clone()).reduce(Expr::and),
        join.join_type,
        JoinConstraint::On,
        NullEquality::NullEqualsNothing,
        false,
    )?;
    let columns = join.schema.columns();
    project(LogicalPlan::Join(matched), plain(columns).collect())
}
