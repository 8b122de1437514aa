//! The values of outer columns for which a subquery is computed.

use std::sync::Arc;

use datafusion::common::metadata::FieldMetadata;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Distinct, Expr, Join, LogicalPlan, Union};

use super::recursive::WorkTable;
use super::{Numbers, has, has_all, plain, project};

/// Most joins whose kept rows are computed twice, beside the others and alone: with each the plan doubles.
const MAX_DOUBLED_JOINS: usize = 3;

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
        let rows = repeatable(giving(rows, &outer))?;
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

/// What a part of a plan cannot be rewritten as: the caller leaves the subquery to the planner, which names it, or refuses it.
pub(super) fn unknown(what: &str) -> DataFusionError {
    DataFusionError::NotImplemented(format!("correlated {what}"))
}

/// The refusal of a subquery that the planner would join as one with other rows.
pub(super) fn refused() -> DataFusionError {
    // In the planner's own words for what it cannot join, of which a client is told as of those.
    let message = "a join does not support logical expression OuterReferenceColumn";
    DataFusionError::NotImplemented(message.to_owned())
}

/// The part of a plan that gives some columns, with the same values: an outer join keeps all rows of a side. Of the whole plan,
/// which has the subqueries before this one in it, each further subquery would double what there is.
fn giving<'p>(plan: &'p LogicalPlan, columns: &[Column]) -> &'p LogicalPlan {
    let is_column = |expr: &Expr| matches!(expr, Expr::Column(_));
    let part = match plan {
        LogicalPlan::Projection(shown) if shown.expr.iter().all(is_column) => &shown.input,
        LogicalPlan::Join(join) if join.join_type == JoinType::Left => &join.left,
        LogicalPlan::Join(join) if join.join_type == JoinType::Right => &join.right,
        _ => return plan,
    };
    match has_all(part.schema(), columns) {
        true => giving(part, columns),
        false => plan,
    }
}

/// A plan that has at least these rows each time that it is run: rows behind a LIMIT may differ, so that all come.
fn repeatable(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let is_volatile = plan.exists(|node| Ok(node.expressions().iter().any(Expr::is_volatile)));
    if is_volatile? {
        return Err(unknown("volatile rows"));
    }
    let mut n_doubled = 0;
    plan.apply(|node| {
        if let LogicalPlan::Join(join) = node {
            n_doubled += usize::from(!kept_alone(join)?.is_empty());
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match n_doubled > MAX_DOUBLED_JOINS {
        true => Err(unknown("rows behind LIMIT")),
        false => unlimited(plan),
    }
}

fn unlimited(plan: &LogicalPlan) -> Result<LogicalPlan> {
    if !is_limited(plan)? {
        return Ok(plan.clone());
    }
    match plan {
        LogicalPlan::Limit(limit) => unlimited(&limit.input),
        LogicalPlan::Sort(sort) => unlimited(&sort.input),
        LogicalPlan::Join(join) => unlimited_join(join),
        LogicalPlan::Projection(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Unnest(_)
        | LogicalPlan::Union(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => over_unlimited(plan),
        _ => Err(unknown("rows behind LIMIT")),
    }
}

/// An operator that has no fewer rows if its inputs have more.
fn over_unlimited(plan: &LogicalPlan) -> Result<LogicalPlan> {
    let inputs = plan.inputs().into_iter().map(unlimited);
    plan.with_new_exprs(plan.expressions(), inputs.collect::<Result<_>>()?)
}

/// A row of an outer join that had no partner may find one among more rows, so that it is there without one, too.
fn unlimited_join(join: &Join) -> Result<LogicalPlan> {
    match join.join_type {
        JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {}
        JoinType::LeftSemi | JoinType::LeftAnti => return unlimited(&join.left),
        JoinType::RightSemi | JoinType::RightAnti => return unlimited(&join.right),
        JoinType::LeftMark | JoinType::RightMark => return Err(unknown("rows behind LIMIT")),
    }
    let joined = over_unlimited(&LogicalPlan::Join(join.clone()))?;
    let kept = kept_alone(join)?;
    if kept.is_empty() {
        return Ok(joined);
    }
    let alone = kept.into_iter().map(unlimited);
    let parts = std::iter::once(Ok(joined)).chain(alone);
    let parts = parts.map(|part| padded(part?, &join.schema).map(Arc::new));
    let rows = Union::try_new_with_loose_types(parts.collect::<Result<_>>()?)?;
    let given = plain(rows.schema.columns()).zip(join.schema.columns());
    let named = given.map(|(expr, column)| expr.alias_qualified(column.relation, column.name));
    let named = named.collect();
    project(LogicalPlan::Union(rows), named)
}

/// The sides that an outer join keeps beside one that is limited.
fn kept_alone(join: &Join) -> Result<Vec<&LogicalPlan>> {
    let (left, right) = (join.left.as_ref(), join.right.as_ref());
    let sides = match join.join_type {
        JoinType::Left => vec![(left, right)],
        JoinType::Right => vec![(right, left)],
        JoinType::Full => vec![(left, right), (right, left)],
        _ => Vec::new(),
    };
    let mut kept = Vec::with_capacity(sides.len());
    for (side, other) in sides {
        if is_limited(other)? {
            kept.push(side);
        }
    }
    Ok(kept)
}

/// Rows with all columns of a schema, by their places: those that they do not have are NULL.
fn padded(rows: LogicalPlan, schema: &DFSchema) -> Result<LogicalPlan> {
    let columns = schema.iter().enumerate().map(|(place, (relation, field))| {
        let column = Column::new(relation.cloned(), field.name());
        let value = match has(rows.schema(), &column) {
            true => Expr::Column(column),
            false => {
                let notes = FieldMetadata::new_from_field(field);
                Expr::Literal(ScalarValue::try_from(field.data_type())?, Some(notes))
            }
        };
        Ok(value.alias(format!("__auspex_place_{place}")))
    });
    let columns = columns.collect::<Result<_>>()?;
    project(rows, columns)
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
