//! Keeps conditions above the groups and windows that they choose from.
//!
//! In: DataFusion's rule that pushes filters down; out: the same rule, from which two kinds of conditions are kept. One without a
//! column, `WHERE (SELECT max(k) FROM t) > 100`, says whether the one group of all rows is there, which is there without any row,
//! too. A volatile one, `WHERE random() < 0.5`, chooses among groups and rows of windows, not among what they are made of.

use std::sync::Arc;

use datafusion::common::tree_node::Transformed;
use datafusion::error::Result;
use datafusion::logical_expr::utils::{conjunction, split_conjunction_owned};
use datafusion::logical_expr::{Aggregate, Expr, Filter, LogicalPlan};
use datafusion::optimizer::push_down_filter::PushDownFilter;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};

use super::LogicalRule;
use super::replaced::with_replaced;

/// The rules with this one around the rule that pushes filters down.
pub(super) fn with_group_filters(rules: Vec<LogicalRule>) -> Vec<LogicalRule> {
    with_replaced(rules, PushDownFilter::new().name(), rewrite)
}

fn rewrite(
    rule: &LogicalRule,
    plan: LogicalPlan,
    config: &dyn OptimizerConfig,
) -> Result<Transformed<LogicalPlan>> {
    let LogicalPlan::Filter(filter) = plan else {
        return rule.rewrite(plan, config);
    };
    let filter = merged(filter)?;
    let (kept, others): (Vec<Expr>, Vec<Expr>) = match filter.input.as_ref() {
        LogicalPlan::Aggregate(groups) => {
            let has_one = may_be_without_rows(groups);
            let stays = |condition: &Expr| {
                condition.is_volatile() || has_one && condition.column_refs().is_empty()
            };
            conditions(&filter).partition(stays)
        }
        LogicalPlan::Window(_) => conditions(&filter).partition(Expr::is_volatile),
        _ => return rule.rewrite(LogicalPlan::Filter(filter), config),
    };
    let Some(kept) = conjunction(kept) else {
        return rule.rewrite(LogicalPlan::Filter(filter), config);
    };
    let Some(others) = conjunction(others) else {
        return Ok(Transformed::no(LogicalPlan::Filter(filter)));
    };
    let below = LogicalPlan::Filter(Filter::try_new(others, filter.input)?);
    let pushed = rule.rewrite(below, config)?;
    pushed.map_data(|below| Ok(LogicalPlan::Filter(Filter::try_new(kept, Arc::new(below))?)))
}

/// Filters one above the other as one: the rule itself would push what it puts together.
fn merged(mut filter: Filter) -> Result<Filter> {
    while let LogicalPlan::Filter(below) = filter.input.as_ref() {
        let input = Arc::clone(&below.input);
        let mut all: Vec<Expr> = conditions(below).collect();
        for condition in conditions(&filter) {
            if !all.contains(&condition) {
                all.push(condition);
            }
        }
        let all = conjunction(all);
        filter = Filter::try_new(all.unwrap_or(filter.predicate), input)?;
    }
    Ok(filter)
}

fn conditions(filter: &Filter) -> impl Iterator<Item = Expr> + use<> {
    split_conjunction_owned(filter.predicate.clone()).into_iter()
}

/// Whether one of the groups is there where there are no rows.
fn may_be_without_rows(groups: &Aggregate) -> bool {
    let is_set = |key: &Expr| matches!(key, Expr::GroupingSet(_));
    groups.group_expr.is_empty() || groups.group_expr.iter().any(is_set)
}
