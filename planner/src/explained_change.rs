//! A statement that changes rows and is explained with ANALYZE: it runs, and its plan is told with what was measured.
//!
//! In: the statement that EXPLAIN names; out: whether it has run. Its rows, if it returns some, go nowhere.

use std::sync::Arc;

use auspex_sql::{ParsedStatement, Statement};
use datafusion::common::ScalarValue;
use datafusion::sql::parser::ExplainStatement;

use crate::bind::Returned;
use crate::commands;
use crate::error::Result;
use crate::execute::{Work, plan};
use crate::session::Session;
use crate::statement_run::StatementControl;

/// A statement that changes rows.
pub(crate) struct ExplainedChange {
    statement: ParsedStatement,
    work: Work,
}

impl ExplainedChange {
    /// Binds the statement that is explained.
    pub(crate) async fn bind(
        session: &Arc<Session>,
        explain: &ExplainStatement,
        parsed: &ParsedStatement,
    ) -> Result<ExplainedChange> {
        let statement = explained_statement(explain, parsed);
        let work = Box::pin(plan(session, &statement)).await?;
        Ok(ExplainedChange { statement, work })
    }

    /// Runs it; `false`: its table is another one by now, and it must be planned anew.
    pub(crate) async fn run(
        &self,
        session: &Arc<Session>,
        parameters: Vec<ScalarValue>,
        control: &StatementControl,
    ) -> Result<bool> {
        let control = &control.within();
        match &self.work {
            Work::Insert(insert) => {
                let returned =
                    Returned::of(session, insert.returning.as_ref(), &parameters, control)?;
                let returned = returned.as_ref();
                let inserting = commands::insert(session, insert, parameters, returned, control);
                Ok(Box::pin(inserting).await?.is_some())
            }
            Work::Change {
                change, returning, ..
            } => {
                let returning = returning.as_ref();
                let changing = commands::change(session, change, returning, parameters, control);
                Box::pin(changing).await?;
                Ok(true)
            }
            _ => {
                let command = (&self.statement, parameters.as_slice());
                Box::pin(commands::run(session, command, control)).await?;
                Ok(true)
            }
        }
    }
}

/// The statement that is explained.
pub(crate) fn explained_statement(
    explain: &ExplainStatement,
    parsed: &ParsedStatement,
) -> ParsedStatement {
    ParsedStatement {
        text: explain.statement.to_string(),
        statement: Statement::Sql(explain.statement.clone()),
        ..parsed.clone()
    }
}
