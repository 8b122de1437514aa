//! Prepared statements that are kept by their names.
//!
//! In: a statement and its name; out: its place among the connection's, charged to the memory that the session may use, and
//! its row of `pg_prepared_statements`.

use std::sync::Arc;

use auspex_planner::{Error, Listed, StatementFacts};

use super::Prepared;
use crate::pg_catalog::shown_type;
use crate::protocol::connection::Connection;
use crate::protocol::socket::Stream;
use crate::sqlstate::Failure;

/// A prepared statement under its name.
pub(in crate::protocol) struct NamedStatement {
    pub(super) prepared: Arc<Prepared>,
    /// The unnamed one is in no list.
    listed: Option<Listed<StatementFacts>>,
}

/// What makes a prepared statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) enum MadeBy {
    /// A parse message.
    Message,
    /// `PREPARE`.
    Sql,
}

impl<S: Stream> Connection<S> {
    /// Keeps a statement up to its end or the connection's; the unnamed one is replaced by the next.
    pub(in crate::protocol) fn keep_statement(
        &mut self,
        name: String,
        mut prepared: Prepared,
        made_by: MadeBy,
    ) -> Result<(), Failure> {
        let mut listed = None;
        if !name.is_empty() {
            let plan = prepared.plan.as_deref();
            let memory = self.session.kept_statement(&prepared.text, plan);
            let failure = |error: Error| Failure::from_report(error.report(), &prepared.text, 0);
            prepared.memory = Some(memory.map_err(failure)?);
            listed = Some(self.session.backend().statements().add(StatementFacts {
                name: name.clone(),
                text: prepared.text.clone(),
                parameter_types: prepared.parameters.iter().map(shown_type).collect(),
                from_sql: made_by == MadeBy::Sql,
                n_generic_plans: 0,
                n_custom_plans: 0,
            }));
        }
        let prepared = Arc::new(prepared);
        self.statements
            .insert(name, NamedStatement { prepared, listed });
        Ok(())
    }

    /// The statement of a name. Errors: 26000.
    pub(in crate::protocol) fn prepared(
        &self,
        name: Option<&str>,
    ) -> Result<Arc<Prepared>, Failure> {
        let name = name.unwrap_or_default();
        let found = self.statements.get(name);
        found
            .map(|named| Arc::clone(&named.prepared))
            .ok_or_else(|| match name {
                "" => Failure::error("26000", "unnamed prepared statement does not exist"),
                name => Failure::error(
                    "26000",
                    format!("prepared statement \"{name}\" does not exist"),
                ),
            })
    }

    /// Counts a run of the statement of a name: by the plan that is kept, or by one that was made for its values.
    pub(in crate::protocol) fn count_run(&self, name: &str, planned: &Arc<Prepared>) {
        let Some(named) = self.statements.get(name) else {
            return;
        };
        if let Some(listed) = &named.listed {
            listed.change(|facts| match Arc::ptr_eq(&named.prepared, planned) {
                true => facts.n_generic_plans += 1,
                false => facts.n_custom_plans += 1,
            });
        }
    }
}
