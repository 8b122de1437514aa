//! The query of a training, bound by what it meant to the model's creator.
//!
//! In: a model's definition and what is pinned; out: the query's plan in its last form. Where a training is repeated, a
//! query that would give other rows today is an error.

use std::sync::Arc;

use auspex_sql::Dialect;
use auspex_storage::ModelDefinition;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};

use super::row_order::settled;
use super::{BoundQuery, bind_query, canonical_state, distinct_names};
use crate::catalog::binding::Binding;
use crate::catalog::pins::Pins;
use crate::error::{Error, Result};
use crate::name_scope::Met;
use crate::query_meaning::{QueryMeaning, mark_start};
use crate::session::Session;
use crate::statement_clock::timed;

/// Functions that read the clock itself; those that do not are `now()` and what stands for it.
const CLOCKS: &[&str] = &["transaction_timestamp", "localtimestamp", "localtime"];

/// Functions that ask who acts.
const ROLES: &[&str] = &["current_user", "session_user", "current_role", "user"];

/// Binds the training query of a definition, in which its meaning is kept; the second value: what bound it beside its
/// tables, for the model's record.
pub(super) async fn training_query(
    session: &Arc<Session>,
    definition: &mut ModelDefinition,
    pins: &Arc<Pins>,
    statement: &str,
    state: SessionState,
) -> Result<(BoundQuery, Binding)> {
    let text = definition.query.clone().ok_or_else(|| {
        Error::invalid(
            "42601",
            "the model has no training query",
            Some("Add AS SELECT ..."),
        )
    })?;
    let dialect = Dialect::parse(&definition.dialect).unwrap_or_default();
    let query = auspex_sql::parse_query(&text, dialect)?;
    let mut meaning = QueryMeaning::of_model(definition, session);
    let repeated = pins.repeated().and_then(|(_, binding)| binding);
    let then = repeated.cloned().unwrap_or_default();
    let binding = async {
        // The scope says what the state must say.
        let state = meant_state(session, canonical_state(state));
        bind_query(session, *query, state).await
    };
    let objects = (&then.objects, then.start());
    let binding = meaning.scope(dialect, objects, Box::pin(binding));
    let (bound, met) = pins.scope(Box::pin(binding)).await;
    let mut rows = settled(bound.map_err(|error| error.inside(&text, statement))?);
    if let Some(start) = rows.state.execution_props().query_execution_start_time {
        rows.plan = timed(rows.plan, start)?;
    }
    distinct_names(&rows.plan, &[], "training query")?;
    meaning.settle(&met)?;
    meaning.keep(definition);
    if let Some((version, _)) = pins.repeated() {
        check_repeatable(version, &then.role, session, &rows.plan)?;
    }
    let binding = bound_by(session, pins, &rows.state, (met, then));
    Ok((rows, binding))
}

/// A state whose settings are those of the scope.
fn meant_state(session: &Session, state: SessionState) -> SessionState {
    let meant = session.state(None);
    let (meant, mut config) = (meant.config().options(), state.config().clone());
    let options = config.options_mut();
    options
        .execution
        .time_zone
        .clone_from(&meant.execution.time_zone);
    options
        .catalog
        .default_schema
        .clone_from(&meant.catalog.default_schema);
    let mut state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .build();
    mark_start(&mut state, session.now());
    state
}

/// What bound a query. A repeated one names what it named then, perhaps under names of then.
fn bound_by(
    session: &Session,
    pins: &Pins,
    state: &SessionState,
    (met, then): (Met, Binding),
) -> Binding {
    let start = state.execution_props().query_execution_start_time;
    let objects = match then.objects.is_empty() {
        true => met.objects,
        false => then.objects,
    };
    Binding {
        role: session.user(),
        started_at_ns: start.and_then(|start| start.timestamp_nanos_opt()),
        objects,
        ..pins.used()
    }
}

/// Fails if a plan asks what is another today: chance, the clock, or who trains.
fn check_repeatable(
    version: &str,
    role: &str,
    session: &Session,
    plan: &LogicalPlan,
) -> Result<()> {
    let is_another = !role.is_empty() && role != session.user();
    let changes = |expr: &Expr| match expr {
        Expr::ScalarFunction(call) => {
            let name = call.func.name();
            // The age of one time is that of today.
            let is_of_today = name == "age" && call.args.len() == 1;
            expr.is_volatile_node()
                || is_of_today
                || CLOCKS.contains(&name)
                || is_another && ROLES.contains(&name)
        }
        _ => expr.is_volatile_node(),
    };
    let mut found = None;
    plan.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if !changes(expr) {
                    return Ok(TreeNodeRecursion::Continue);
                }
                found = Some(match expr {
                    Expr::ScalarFunction(call) => call.func.name().to_owned(),
                    other => other.to_string(),
                });
                Ok(TreeNodeRecursion::Stop)
            })
        })
    })?;
    let Some(function) = found else {
        return Ok(());
    };
    let message = format!(
        "the rows of model version \"{version}\" cannot be read again: its query calls {function}"
    );
    let hint = "Its value is another at each call; train on the rows of now, or store the rows in a table first.";
    Err(Error::invalid("55000", message, Some(hint)))
}
