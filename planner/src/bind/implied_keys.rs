//! Groups rows by what a statement says, and by nothing else.
//!
//! In: a statement in its last form, then its plan; out: the plan without the keys that the planner has put behind those of the
//! statement. It takes them from dependences among columns, which it derives wrongly for groups over joins
//! (`optimize/independent_columns.rs`), so that rows would fall into more groups. The columns beside a primary key, which a
//! query may show without grouping by them, are keys of the statement by then (`grouped_keys.rs`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::common::Column;
use datafusion::common::tree_node::Transformed;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{Aggregate, Expr, LogicalPlan};
use datafusion::sql::sqlparser::ast::{
    self, GroupByExpr, Query, Select, SetExpr, Statement, Value, VisitMut, VisitorMut,
};

use crate::error::{Error, Result};

/// What stands behind the keys of a statement; U+001E stands in no name of a client's.
const END: &str = "\u{1e}end of keys";

/// Marks where the keys of each GROUP BY end.
pub(super) fn mark(statement: &mut Statement) {
    struct Marking;
    impl VisitorMut for Marking {
        type Break = ();

        fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
            mark_groups(&mut query.body);
            ControlFlow::Continue(())
        }
    }
    let _ = statement.visit(&mut Marking);
}

/// Marks the SELECTs of a query that are no queries of their own.
fn mark_groups(body: &mut SetExpr) {
    match body {
        SetExpr::Select(select) => mark_select(select),
        SetExpr::SetOperation { left, right, .. } => {
            mark_groups(left);
            mark_groups(right);
        }
        _ => {}
    }
}

/// Sets of keys imply nothing.
fn mark_select(select: &mut Select) {
    if let GroupByExpr::Expressions(keys, modifiers) = &mut select.group_by
        && !keys.is_empty()
        && modifiers.is_empty()
        && !keys.iter().any(is_set)
    {
        let end = Value::SingleQuotedString(END.to_owned());
        keys.push(ast::Expr::Value(end.into()));
    }
}

fn is_set(key: &ast::Expr) -> bool {
    matches!(
        key,
        ast::Expr::GroupingSets(_) | ast::Expr::Rollup(_) | ast::Expr::Cube(_)
    )
}

/// The plan without marks and what the planner has put behind them. A column that was put there and is shown is neither a
/// key nor an aggregate.
pub(super) fn dropped(plan: LogicalPlan) -> Result<LogicalPlan> {
    let mut implied = BTreeSet::new();
    let mut shown = None;
    let plan = plan.transform_up_with_subqueries(|node| {
        if shown.is_none() && !implied.is_empty() {
            shown = missing(&node, &implied);
        }
        match node {
            _ if shown.is_some() => Ok(Transformed::no(node)),
            LogicalPlan::Aggregate(groups) => without_implied(groups, &mut implied),
            // Their schemas hold those of their inputs.
            LogicalPlan::Window(_) | LogicalPlan::Unnest(_) => {
                node.recompute_schema().map(Transformed::yes)
            }
            _ => Ok(Transformed::no(node)),
        }
    })?;
    let Some(column) = shown else {
        return Ok(plan.data);
    };
    let name = column.flat_name();
    let message = format!(
        "column \"{name}\" must appear in the GROUP BY clause or be used in an aggregate function"
    );
    Err(Error::invalid("42803", message, None))
}

/// The groups by the keys before the mark; the others become known as implied.
fn without_implied(
    groups: Aggregate,
    implied: &mut BTreeSet<Column>,
) -> DfResult<Transformed<LogicalPlan>> {
    let is_end =
        |key: &Expr| matches!(key, Expr::Literal(text, _) if text.try_as_str() == Some(Some(END)));
    let Some(end) = groups.group_expr.iter().rposition(is_end) else {
        return Ok(Transformed::no(LogicalPlan::Aggregate(groups)));
    };
    let mut keys = groups.group_expr;
    let behind = keys.split_off(end);
    implied.extend(behind.into_iter().skip(1).filter_map(|key| match key {
        Expr::Column(column) => Some(column),
        _ => None,
    }));
    let groups = Aggregate::try_new(groups.input, keys, groups.aggr_expr)?;
    Ok(Transformed::yes(LogicalPlan::Aggregate(groups)))
}

/// An implied column that an operator names and that is not there any more.
fn missing(node: &LogicalPlan, implied: &BTreeSet<Column>) -> Option<Column> {
    let inputs = node.inputs();
    let is_missing = |column: &Column| {
        implied.contains(column) && !inputs.iter().any(|input| input.schema().has_column(column))
    };
    let exprs = node.expressions();
    let mut columns = exprs.iter().flat_map(Expr::column_refs);
    columns.find(|column| is_missing(column)).cloned()
}
