//! Expressions that are evaluated on rows outside of a plan: checks, conditions of views, RETURNING, values of numbers.
//!
//! In: an expression over columns; out: what evaluates it. Some functions have a value only once they are simplified, as in a
//! plan (`coalesce`, `now`).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use datafusion::common::DFSchemaRef;
use datafusion::common::tree_node::TreeNode as _;
use datafusion::error::Result;
use datafusion::execution::SessionState;
use datafusion::logical_expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_plan::PhysicalExpr;

use crate::session::Session;
use crate::statement_clock::{asks_for_time, with_statement_time};

/// What evaluates an expression in the statement that a session runs; with the times of the statement.
pub(super) fn evaluated_now(
    session: &Session,
    state: &SessionState,
    expr: Expr,
    columns: &DFSchemaRef,
) -> Result<Arc<dyn PhysicalExpr>> {
    let expr = with_statement_time(expr, session.clock.started())?.data;
    evaluated(state, expr, columns, Some(session.now()))
}

/// A condition, and the start of the statement that it was bound in, if it asks for the time: another statement must bind it
/// anew.
type ConditionNow = (Arc<dyn PhysicalExpr>, Option<DateTime<Utc>>);

/// A condition on rows at the time of the statement.
pub(super) fn condition_now(
    session: &Session,
    state: &SessionState,
    condition: Expr,
    columns: &DFSchemaRef,
) -> Result<ConditionNow> {
    let began = asks_for_time(&condition)?.then(|| session.clock.started());
    Ok((evaluated_now(session, state, condition, columns)?, began))
}

/// What evaluates an expression; `now` is the moment of its statement, without which `now()` is an error.
pub(crate) fn evaluated(
    state: &SessionState,
    expr: Expr,
    columns: &DFSchemaRef,
    now: Option<DateTime<Utc>>,
) -> Result<Arc<dyn PhysicalExpr>> {
    let options = state.config_options();
    let context = SimplifyContext::builder()
        .with_schema(Arc::clone(columns))
        .with_config_options(Arc::clone(options))
        .with_query_execution_start_time(now)
        .build();
    let simplifier = ExprSimplifier::new(context);
    let mut expr = simplifier.coerce(expr, columns)?;
    for rule in state.analyzer().function_rewrites() {
        let rewrite = |expr| rule.rewrite(expr, columns, options);
        expr = expr.transform_up(rewrite)?.data;
    }
    state.create_physical_expr(simplifier.simplify(expr)?, columns)
}
