//! Prepared statements that stay: what they share with the others of their session, and what each keeps for itself.
//!
//! In: a statement that its client keeps by a name; out: the same, planning with the state that its session has for all such
//! statements, and the memory that it is charged with. What statements share (tables, models, functions) is not its own.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::execution::SessionState;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::logical_expr::LogicalPlan;

use super::{Planned, Prepared, Session};
use crate::bind::Returning;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::execute::Work;
use crate::logical::GivenRowsNode;

/// A statement that does nothing, with what its client was told of it.
const STATEMENT_BYTES: usize = 6 << 10;
/// The bytes of a statement's tree, for each of its text.
const TEXT_FACTOR: usize = 8;
/// A node of a plan, each of its columns, and each part of its expressions: measured by keeping hundreds of statements.
const NODE_BYTES: usize = 1 << 10;
const COLUMN_BYTES: usize = 320;
const EXPR_BYTES: usize = 512;
/// A state with the functions that statements may name.
const STATE_BYTES: usize = 80 << 10;

/// The memory of a prepared statement, as long as this is kept.
#[derive(Debug)]
pub struct KeptStatement {
    _memory: MemoryReservation,
}

/// The memory of a state, which lives as long as any statement plans with it.
struct StateMemory {
    _memory: MemoryReservation,
}

impl Session {
    /// The memory of a prepared statement that is kept for its client; `None`: a text with nothing to plan. Errors: 53200 if
    /// there is no room for it.
    pub fn kept_statement(&self, text: &str, prepared: Option<&Prepared>) -> Result<KeptStatement> {
        let plan_bytes = prepared.map_or(0, |prepared| prepared.plan_bytes);
        let n_bytes = STATEMENT_BYTES + text.len().saturating_mul(TEXT_FACTOR) + plan_bytes;
        let memory = self.memory_to_keep(n_bytes)?;
        if let Some(prepared) = prepared {
            prepared.stay(self)?;
        }
        Ok(KeptStatement { _memory: memory })
    }

    pub(super) fn memory_to_keep(&self, n_bytes: usize) -> Result<MemoryReservation> {
        let consumer = MemoryConsumer::new("a prepared statement");
        let memory = consumer.register(&self.context.runtime_env().memory_pool);
        match memory.try_grow(n_bytes) {
            Ok(()) => Ok(memory),
            Err(_) => {
                let message = "out of memory: there is no room for one more prepared statement";
                let hint = "DEALLOCATE statements that are not needed, or close them.";
                Err(Error::invalid("53200", message, Some(hint)))
            }
        }
    }

    /// The state that kept statements with the settings of `own` plan with.
    fn state_to_keep(&self, own: &SessionState) -> Result<Arc<SessionState>> {
        let mut kept = lock(&self.kept_state);
        if let Some(known) = kept.upgrade().filter(|known| are_alike(known, own)) {
            return Ok(known);
        }
        let memory = StateMemory {
            _memory: self.memory_to_keep(STATE_BYTES)?,
        };
        // Not that of the statement, which has its models and relations.
        let mut state = self.state(None);
        let config = state.config().clone();
        *state.config_mut() = config.with_extension(Arc::new(memory));
        let state = Arc::new(state);
        *kept = Arc::downgrade(&state);
        Ok(state)
    }
}

/// Whether two states of one session have the same settings, those that [`Session::state`] gives them.
fn are_alike(one: &SessionState, other: &SessionState) -> bool {
    let settings = |state: &SessionState| {
        let set = state.config().options();
        (
            set.execution.time_zone.clone(),
            set.execution.target_partitions,
            set.catalog.default_schema.clone(),
            set.optimizer.enable_physical_uncorrelated_scalar_subquery,
        )
    };
    settings(one) == settings(other)
}

impl Prepared {
    /// From now on it is kept, and so is what it is planned to when it is planned again.
    pub(super) fn stay(&self, session: &Session) -> Result<()> {
        self.stays.store(true, Ordering::Relaxed);
        // A plan that is being run keeps its own state until it is made again.
        match Arc::get_mut(&mut lock(&self.planned)) {
            Some(planned) => planned.share_state(session),
            None => Ok(()),
        }
    }
}

impl Planned {
    /// Puts the session's state for kept statements in the place of its own.
    fn share_state(&mut self, session: &Session) -> Result<()> {
        for state in states_of(&mut self.work) {
            *state = session.state_to_keep(state)?;
        }
        Ok(())
    }
}

/// The states that a statement plans with, each time that it runs.
fn states_of(work: &mut Work) -> Vec<&mut Arc<SessionState>> {
    let (query, returning) = match work {
        Work::Query { query, .. } | Work::CopyOut(query, _) => (query.as_mut(), None),
        Work::Insert(insert) => {
            let insert = insert.as_mut();
            (&mut insert.query, insert.returning.as_mut())
        }
        Work::Change {
            query, returning, ..
        } => (query.as_mut(), returning.as_mut()),
        _ => return Vec::new(),
    };
    let returning = returning.and_then(Arc::get_mut);
    let mut states = vec![&mut query.state];
    states.extend(returning.map(Returning::state_mut));
    states
}

/// The bytes of a statement's plans while it is kept.
pub(super) fn plan_bytes(work: &Work, has_parameters: bool) -> usize {
    match work {
        // One with parameters is kept as it is optimized, too.
        Work::Query { query, .. } if has_parameters => 2 * bytes_of(&query.plan),
        Work::Query { query, .. }
        | Work::CopyOut(query, _)
        | Work::CreateAs(query)
        | Work::Change { query, .. } => bytes_of(&query.plan),
        Work::Insert(insert) => bytes_of(&insert.query.plan),
        // Each of its parts has a state of its own.
        Work::ChangeInWith(both) => {
            let change = STATE_BYTES + plan_bytes(&both.change, has_parameters);
            change + STATE_BYTES + bytes_of(&both.query.plan)
        }
        // What it explains plans with a state of its own.
        Work::Explain(explained) => STATE_BYTES + bytes_of(&explained.query.plan),
        _ => 0,
    }
}

fn bytes_of(plan: &LogicalPlan) -> usize {
    let mut n_bytes = 0;
    let walk = plan.apply_with_subqueries(|node| {
        n_bytes += NODE_BYTES + COLUMN_BYTES * node.schema().fields().len();
        if let LogicalPlan::Extension(extension) = node
            && let Some(given) = extension.node.as_any().downcast_ref::<GivenRowsNode>()
        {
            // Its values are no expressions of the plan, but the statement's tree has them.
            n_bytes += EXPR_BYTES * given.n_values();
        }
        node.apply_expressions(|expr| {
            expr.apply(|_| {
                n_bytes += EXPR_BYTES;
                Ok(TreeNodeRecursion::Continue)
            })
        })
    });
    // Nothing on the way fails.
    walk.map_or(0, |_| n_bytes)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field};
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::expr::Placeholder;
    use datafusion::logical_expr::{LogicalPlanBuilder, col, lit};

    use super::*;
    use crate::logical::GivenCell;

    #[test]
    fn a_plan_is_as_large_as_its_columns_and_expressions() {
        let one = LogicalPlanBuilder::values(vec![vec![lit(1_i64)]]).unwrap();
        let small = bytes_of(&one.clone().build().unwrap());
        assert!(small >= NODE_BYTES + COLUMN_BYTES + EXPR_BYTES);
        let sum = col("column1") + lit(1_i64);
        let larger = one.project(vec![sum]).unwrap().build().unwrap();
        // A sum and its two terms.
        let more = NODE_BYTES + COLUMN_BYTES + 3 * EXPR_BYTES;
        assert_eq!(bytes_of(&larger), small + more);
    }

    #[test]
    fn rows_that_are_given_count_by_their_values() {
        let parameter = Placeholder::new_with_field("$1".to_owned(), None);
        let value = || GivenCell::Value(ScalarValue::Int64(Some(1)));
        let bytes = |cells: Vec<GivenCell>| {
            let column = Field::new("column1", DataType::Int64, true);
            bytes_of(&GivenRowsNode::plan(vec![(column, cells)]).unwrap())
        };
        let others = NODE_BYTES + COLUMN_BYTES;
        assert_eq!(bytes(vec![value(), value()]), others + 2 * EXPR_BYTES);
        let open = vec![value(), GivenCell::Parameter(parameter), value()];
        assert_eq!(bytes(open), others + 3 * EXPR_BYTES);
    }
}
