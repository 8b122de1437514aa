//! Prepared statements that are kept by their names.
//!
//! In: a statement and its name; out: its place among the connection's, charged to the memory that the session may use.

use std::sync::Arc;

use auspex_planner::Error;

use super::Prepared;
use crate::protocol::connection::Connection;
use crate::protocol::socket::Stream;
use crate::sqlstate::Failure;

impl<S: Stream> Connection<S> {
    /// Keeps a statement up to its end or the connection's; the unnamed one is replaced by the next.
    pub(in crate::protocol) fn keep_statement(
        &mut self,
        name: String,
        mut prepared: Prepared,
    ) -> Result<(), Failure> {
        if !name.is_empty() {
            let plan = prepared.plan.as_deref();
            let memory = self.session.kept_statement(&prepared.text, plan);
            let failure = |error: Error| Failure::from_report(error.report(), &prepared.text, 0);
            prepared.memory = Some(memory.map_err(failure)?);
        }
        self.statements.insert(name, Arc::new(prepared));
        Ok(())
    }
}
