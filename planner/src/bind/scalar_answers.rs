//! Queries that stand in an expression for their value, where the expression is computed outside of a plan.
//!
//! In: an expression; out: the same with the values that its queries have now. A query that names the row is refused.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, lit};
use datafusion::physical_plan::collect;

use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_clock::timed;

/// The queries of an expression, in the order in which they are met.
pub(super) fn queries_of(expr: &Expr) -> Result<Vec<Arc<LogicalPlan>>> {
    let mut queries = Vec::new();
    let mut is_correlated = false;
    expr.apply(|expr| {
        if let Expr::ScalarSubquery(query) = expr {
            is_correlated |= !query.outer_ref_columns.is_empty();
            queries.push(Arc::clone(&query.subquery));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    match is_correlated {
        true => Err(Error::unsupported("RETURNING of a query about the row")),
        false => Ok(queries),
    }
}

/// An expression with the values of its queries.
pub(super) async fn answered(
    session: &Arc<Session>,
    expr: Expr,
    state: &SessionState,
) -> Result<Expr> {
    let queries = queries_of(&expr)?;
    if queries.is_empty() {
        return Ok(expr);
    }
    let mut answers = Vec::with_capacity(queries.len());
    for query in queries {
        answers.push(Box::pin(answer(session, &query, state)).await?);
    }
    let mut answers = answers.into_iter();
    let answered = expr.transform_down(|expr| match (&expr, &mut answers) {
        (Expr::ScalarSubquery(_), answers) => Ok(match answers.next() {
            Some(value) => Transformed::yes(lit(value)),
            None => Transformed::no(expr),
        }),
        _ => Ok(Transformed::no(expr)),
    })?;
    Ok(answered.data)
}

async fn answer(
    session: &Arc<Session>,
    query: &LogicalPlan,
    state: &SessionState,
) -> Result<ScalarValue> {
    let mut state = state.clone();
    state.execution_props_mut().query_execution_start_time = Some(session.now());
    let plan = timed(query.clone(), session.clock.started())?;
    let plan = crate::physical::ready(&state, &plan).await?;
    let none = ScalarValue::try_from(plan.schema().field(0).data_type())?;
    let rows = collect(plan, state.task_ctx()).await?;
    let mut answer = None;
    for rows in rows.iter().filter(|rows| rows.num_rows() > 0) {
        if answer.is_some() || rows.num_rows() > 1 {
            let message = "more than one row returned by a subquery used as an expression";
            return Err(Error::invalid("21000", message, None));
        }
        answer = Some(ScalarValue::try_from_array(rows.column(0), 0)?);
    }
    Ok(answer.unwrap_or(none))
}
