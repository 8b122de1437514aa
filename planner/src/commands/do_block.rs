//! `DO` of one definition whose errors may be passed over.
//!
//! In: a block of code; out: what its statement does. A definition that fails leaves nothing behind, so that nothing is taken
//! back where its error is passed over.

use std::sync::Arc;

use auspex_sql::{DoBlock, Statement};
use datafusion::sql::parser::Statement as SqlStatement;

use super::check;
use crate::error::{Error, Result};
use crate::execute::Work;
use crate::session::Session;
use crate::statement_run::{Outcome, StatementControl};

/// Whether the statement of a block can be run at all.
pub(crate) fn check_block(block: &DoBlock) -> Result<Work> {
    match &block.statement.statement {
        Statement::Sql(statement) => match statement.as_ref() {
            SqlStatement::Statement(statement) => check(statement),
            _ => Err(Error::unsupported("DO of this statement")),
        },
        Statement::CreateTable(_)
        | Statement::Sequence(_)
        | Statement::Domain(_)
        | Statement::CreateMaterializedView(_) => Ok(Work::Command),
        _ => Err(Error::unsupported("DO of this statement")),
    }
}

/// Runs the statement of a block.
pub(super) async fn run(
    session: &Arc<Session>,
    block: &DoBlock,
    control: &StatementControl,
) -> Result<Outcome> {
    match Box::pin(super::run(session, (&block.statement, &[]), control)).await {
        Err(error) if !block.passes_over(error.report().sqlstate) => Err(error),
        _ => Ok(Outcome::Command("DO".to_owned())),
    }
}
