//! Scalar subqueries that look up one row for each outer row: `(SELECT d.name FROM dept d WHERE d.id = e.dept_id)`, and those that
//! find none.
//!
//! In: a plan whose correlated scalar subqueries give rows as they are, which the planner refuses; out: a plan in which
//! they are aggregates, which it turns into joins: of the one value that there may be, or, behind `LIMIT 1`, of the first.
//! On a cluster it turns those that read no outer columns into joins, too, which take however many rows there are: they
//! become such aggregates as well. What is NULL where no row is found says so: to the planner a subquery's value is as its
//! column is, which may be a key, or a constant, which parameters and calls become later. What is json, a uuid or of an enum says so,
//! too: the operators that read a subquery's value have the type of its text alone.

use std::sync::Arc;

use auspex_storage::marks_of;
use datafusion::arrow::datatypes::{Field, FieldRef};
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, JoinType};
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::functions_aggregate::first_last::first_value;
use datafusion::logical_expr::expr::{Alias, Cast};
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::{
    Distinct, Expr, Limit, LogicalPlan, LogicalPlanBuilder, SortExpr, Subquery,
};
use datafusion::logical_expr::{FetchType, SkipType};

use crate::functions::{maybe_value, only_value, remarked, single_value};

/// What the value is called: the join has the columns of the key beside it, of which it may be one.
const VALUE: &str = "__auspex_value";

/// Rewrites a plan that `state` will optimize.
pub(super) fn looked_up(plan: LogicalPlan, state: &SessionState) -> Result<LogicalPlan> {
    let options = &state.config().options().optimizer;
    let asks_apart = options.enable_physical_uncorrelated_scalar_subquery;
    let mut is_changed = false;
    let done = plan.transform_up_with_subqueries(|node| {
        // Columns are known by the names of their expressions; what rows are sorted by makes none.
        let keeps_names = !matches!(node, LogicalPlan::Sort(_));
        let names = NamePreserver::new(&node);
        let done = node.map_expressions(|expr| {
            let name = names.save(&expr);
            let done = expr.transform_up(|expr| match expr {
                Expr::ScalarSubquery(query) => value(query, asks_apart),
                expr => Ok(Transformed::no(expr)),
            })?;
            is_changed |= done.transformed;
            Ok(match keeps_names && done.transformed {
                true => done.update_data(|expr| name.restore(expr)),
                false => done,
            })
        })?;
        // Columns that are made of such a value may be NULL as well.
        match is_changed {
            true => done.map_data(recomputed),
            false => Ok(done),
        }
    })?;
    Ok(done.data)
}

/// The node with columns that are as those of its inputs are now; a union keeps its own otherwise.
fn recomputed(node: LogicalPlan) -> Result<LogicalPlan> {
    let LogicalPlan::Union(mut union) = node else {
        return node.recompute_schema();
    };
    let may_be_null = |idx: usize| {
        let mut inputs = union.inputs.iter();
        inputs.any(|input| input.schema().field(idx).is_nullable())
    };
    let fields = union.schema.iter().enumerate();
    let fields = fields.map(|(idx, (relation, field))| {
        let is_nullable = field.is_nullable() || may_be_null(idx);
        let field = field.as_ref().clone().with_nullable(is_nullable);
        (relation.cloned(), Arc::new(field))
    });
    let metadata = union.schema.metadata().clone();
    let schema = DFSchema::new_with_metadata(fields.collect(), metadata)?;
    union.schema = Arc::new(schema);
    Ok(LogicalPlan::Union(union))
}

/// The value of a subquery.
fn value(query: Subquery, asks_apart: bool) -> Result<Transformed<Expr>> {
    let mark = mark_of(&query);
    if is_look_up(&query, asks_apart) {
        let (row, is_checked) = one_row(query.subquery.as_ref())?;
        let subquery = Arc::new(row);
        let value = Expr::ScalarSubquery(Subquery { subquery, ..query });
        let value = match is_checked {
            true => value,
            false => only_value().call(vec![value]),
        };
        return Ok(Transformed::yes(with_mark(value, mark.as_deref())));
    }
    let fields = query.subquery.schema().fields();
    let is_known = fields.iter().any(|field| !field.is_nullable());
    let may_be_known = is_known || is_computed(&query.subquery);
    let is_missing = may_be_known && may_be_empty(&query.subquery);
    let value = Expr::ScalarSubquery(query);
    let value = match is_missing {
        true => maybe_value().call(vec![value]),
        false => value,
    };
    let is_new = is_missing || mark.is_some();
    let value = with_mark(value, mark.as_deref());
    Ok(Transformed::new_transformed(value, is_new))
}

/// The column of a subquery, if it is marked as json, a uuid or of an enum.
fn mark_of(query: &Subquery) -> Option<FieldRef> {
    let field = query.subquery.schema().fields().first()?;
    (!marks_of(field).is_empty()).then(|| Arc::clone(field))
}

/// A value with its mark: operators that read the results of subqueries know their types alone.
fn with_mark(value: Expr, mark: Option<&Field>) -> Expr {
    match mark {
        Some(field) => remarked(field, value),
        None => value,
    }
}

/// Whether columns of a query are other than those of tables, which may be NULL or may not once and for all: a parameter or
/// a call may be NULL as long as it has no value, and is a constant that is not once it has.
fn is_computed(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::TableScan(scan) => scan.source.get_logical_plan().is_some(),
        LogicalPlan::Projection(projection) if !projection.expr.iter().all(is_column) => true,
        // A condition on the columns that may be NULL makes it one whose columns may not.
        LogicalPlan::Join(join) if join.join_type != JoinType::Inner => true,
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Filter(_)
        | LogicalPlan::Sort(_)
        | LogicalPlan::Limit(_)
        | LogicalPlan::Join(_)
        | LogicalPlan::Distinct(_) => plan.inputs().into_iter().any(is_computed),
        _ => true,
    }
}

fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Column(_) => true,
        Expr::Alias(Alias { expr, .. }) | Expr::Cast(Cast { expr, .. }) => is_column(expr),
        _ => false,
    }
}

/// Whether a query may have no row.
fn may_be_empty(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::EmptyRelation(empty) => !empty.produce_one_row,
        LogicalPlan::Values(_) => false,
        LogicalPlan::Aggregate(groups) => !groups.group_expr.is_empty(),
        LogicalPlan::Projection(_)
        | LogicalPlan::SubqueryAlias(_)
        | LogicalPlan::Subquery(_)
        | LogicalPlan::Window(_)
        | LogicalPlan::Distinct(Distinct::All(_)) => plan.inputs().into_iter().any(may_be_empty),
        _ => true,
    }
}

/// Whether a subquery of one column becomes a join and may give several rows. If it reads no outer columns, it becomes
/// one unless it is asked apart from the rows around it.
fn is_look_up(query: &Subquery, asks_apart: bool) -> bool {
    let plan = query.subquery.as_ref();
    let gives_one = plan.max_rows() == Some(1);
    let becomes_look_up = match is_correlated(query) {
        true => !gives_one || matches!(plan, LogicalPlan::Limit(_)),
        false => !gives_one && !asks_apart,
    };
    becomes_look_up && plan.schema().fields().len() == 1
}

/// Whether a subquery, or one in it, reads columns of a query around it.
fn is_correlated(query: &Subquery) -> bool {
    if !query.outer_ref_columns.is_empty() {
        return true;
    }
    let mut is_correlated = false;
    let walk = query.subquery.apply_with_subqueries(|node| {
        is_correlated |= node.contains_outer_reference();
        Ok(TreeNodeRecursion::Continue)
    });
    is_correlated && walk.is_ok()
}

/// The same rows as one, and whether it holds the value itself: else a struct that tells how many rows there were.
fn one_row(plan: &LogicalPlan) -> Result<(LogicalPlan, bool)> {
    let value = Expr::Column(Column::from(plan.schema().qualified_field(0)));
    let (input, value, is_checked) = match plan {
        LogicalPlan::Limit(limit) if is_first(limit) => {
            let (input, value, order) = ordered(&limit.input, value);
            (input, first_value(value, order), true)
        }
        _ => (plan, single_value().call(vec![value]), false),
    };
    let row = LogicalPlanBuilder::from(input.clone())
        .aggregate(Vec::<Expr>::new(), vec![value.alias(VALUE)])?
        .project(vec![Expr::Column(Column::from_name(VALUE))])?
        .build()?;
    Ok((row, is_checked))
}

fn is_first(limit: &Limit) -> bool {
    matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(1))))
        && matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
}

/// The rows below a sort, the value over them, and their order.
fn ordered(plan: &LogicalPlan, value: Expr) -> (&LogicalPlan, Expr, Vec<SortExpr>) {
    match plan {
        LogicalPlan::Sort(sort) => (sort.input.as_ref(), value, sort.expr.clone()),
        // What is sorted by is not selected.
        LogicalPlan::Projection(projection) => {
            match (projection.input.as_ref(), projection.expr.as_slice()) {
                (LogicalPlan::Sort(sort), [expr]) => {
                    let value = expr.clone().unalias();
                    (sort.input.as_ref(), value, sort.expr.clone())
                }
                _ => (plan, value, vec![]),
            }
        }
        _ => (plan, value, vec![]),
    }
}
