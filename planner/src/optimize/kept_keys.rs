//! Keeps what the keys of joins mean where joins are put in another order or take over conditions.
//!
//! In: two of DataFusion's rules; out: the same rules, which are kept from what DataFusion 55.2 does wrong there. One makes inner joins of
//! products: it takes joins within joins apart and puts their inputs together by the keys of all. A key of which one side is made of
//! several inputs, `a.x + b.y = c.z`, would be lost where `c` comes before `b`, and one of which a side has become a constant always; whether
//! NULL equals NULL would be that of the uppermost join, also for the conditions of a filter above it. It takes nothing apart below
//! a projection. The other one makes keys of conditions, `=` too where NULL equals NULL for the keys that a join has.

use std::sync::Arc;

use datafusion::common::tree_node::{Transformed, TreeNodeRecursion};
use datafusion::common::{Column, JoinType, NullEquality};
use datafusion::error::Result;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{
    Expr, Filter, Join, LogicalPlan, Operator, Projection, binary_expr,
};
use datafusion::optimizer::eliminate_cross_join::EliminateCrossJoin;
use datafusion::optimizer::extract_equijoin_predicate::ExtractEquijoinPredicate;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;
use super::replaced::with_replaced;

/// The rules with these around the two.
pub(super) fn with_kept_keys(rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    let rules = with_replaced(rules, EliminateCrossJoin::new().name(), in_order);
    with_replaced(rules, ExtractEquijoinPredicate::new().name(), with_keys)
}

/// Keys of conditions, but for a join whose other keys mean another equality.
fn with_keys(
    rule: &LogicalRule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    match &plan {
        LogicalPlan::Join(join) if join.null_equality == NullEquality::NullEqualsNull => {
            Ok(Transformed::no(plan))
        }
        _ => rule.rewrite(plan, config),
    }
}

fn in_order(
    rule: &LogicalRule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let mut has_joins = false;
    plan.apply_with_subqueries(|node| {
        has_joins |= inner_join(node).is_some();
        Ok(match has_joins {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    })?;
    if !has_joins {
        return rule.rewrite(plan, config);
    }
    let fenced = plan.transform_up_with_subqueries(|node| {
        Ok(match node {
            LogicalPlan::Join(join) => with_fences(with_constants_as_conditions(join)),
            LogicalPlan::Filter(filter) => below_filter(filter),
            node => Transformed::no(node),
        })
    })?;
    let mut done = rule.rewrite(fenced.data, config)?;
    done.transformed |= fenced.transformed;
    Ok(done)
}

/// An inner join whose keys have columns on both sides, and whether another one became a condition.
fn with_constants_as_conditions(mut join: Join) -> Transformed<Join> {
    let has_columns =
        |(left, right): &(Expr, Expr)| left.any_column_refs() && right.any_column_refs();
    if join.join_type != JoinType::Inner || join.on.iter().all(has_columns) {
        return Transformed::no(join);
    }
    let equals = match join.null_equality {
        NullEquality::NullEqualsNothing => Operator::Eq,
        NullEquality::NullEqualsNull => Operator::IsNotDistinctFrom,
    };
    let (keys, constants): (Vec<_>, Vec<_>) = join.on.into_iter().partition(has_columns);
    join.on = keys;
    if join.on.is_empty() {
        join.null_equality = NullEquality::NullEqualsNothing;
    }
    let constants = constants.into_iter();
    let conditions = constants.map(|(left, right)| binary_expr(left, equals, right));
    join.filter = conjunction(join.filter.into_iter().chain(conditions));
    Transformed::yes(join)
}

/// A join whose inputs stay together where its own keys need them so, or say otherwise whether NULL equals NULL.
fn with_fences(join: Transformed<Join>) -> Transformed<LogicalPlan> {
    let Transformed {
        data: mut join,
        transformed: mut is_changed,
        ..
    } = join;
    if join.join_type == JoinType::Inner {
        let [left, right] = [&join.left, &join.right].map(|input| stays_together(&join, input));
        is_changed |= left || right;
        if left {
            join.left = Arc::new(fence(join.left));
        }
        if right {
            join.right = Arc::new(fence(join.right));
        }
    }
    Transformed::new_transformed(LogicalPlan::Join(join), is_changed)
}

/// A filter whose conditions stay apart from a join for which NULL equals NULL.
fn below_filter(mut filter: Filter) -> Transformed<LogicalPlan> {
    let is_fenced = inner_join(&filter.input)
        .is_some_and(|join| join.null_equality == NullEquality::NullEqualsNull);
    if is_fenced {
        filter.input = Arc::new(fence(filter.input));
    }
    Transformed::new_transformed(LogicalPlan::Filter(filter), is_fenced)
}

fn stays_together(join: &Join, input: &LogicalPlan) -> bool {
    let Some(below) = inner_join(input) else {
        return false;
    };
    let mut inputs = Vec::new();
    add_inputs(input, &mut inputs);
    let is_of_several = |side: &Expr| {
        let columns = side.column_refs();
        let is_in = |plan: &LogicalPlan, column: &Column| plan.schema().has_column(column);
        columns.iter().all(|column| is_in(input, column))
            && !inputs
                .iter()
                .any(|one| columns.iter().all(|column| is_in(one, column)))
    };
    let mut sides = join.on.iter().flat_map(|(left, right)| [left, right]);
    below.null_equality != join.null_equality || sides.any(is_of_several)
}

fn inner_join(plan: &LogicalPlan) -> Option<&Join> {
    match plan {
        LogicalPlan::Join(join) if join.join_type == JoinType::Inner => Some(join),
        _ => None,
    }
}

/// The inputs that the rule would find in a plan.
fn add_inputs<'a>(plan: &'a LogicalPlan, inputs: &mut Vec<&'a LogicalPlan>) {
    match inner_join(plan) {
        Some(join) => {
            add_inputs(&join.left, inputs);
            add_inputs(&join.right, inputs);
        }
        None => inputs.push(plan),
    }
}

/// A plan below a projection of all its columns.
fn fence(plan: Arc<LogicalPlan>) -> LogicalPlan {
    let schema = Arc::clone(plan.schema());
    LogicalPlan::Projection(Projection::new_from_schema(plan, schema))
}
