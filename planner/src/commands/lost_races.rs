//! Definitions that settle for what others have defined: `IF NOT EXISTS`, `IF EXISTS`, `OR REPLACE`.
//!
//! In: a command; out: what it gives. One that loses a race for a name, which it sees when it commits, is carried out anew and
//! then finds what the winner made or dropped.

use std::sync::Arc;

use auspex_sql::{DomainStatement, RoleStatement, SequenceStatement, Statement};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::Statement as S;

use super::{Command, carry_out};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::StatementControl;

/// How often a command is carried out: each loss is another's success.
pub(super) const MAX_ROUNDS: usize = 20;

/// Carries out a command; returns its tag.
pub(super) async fn settle(
    session: &Arc<Session>,
    command: Command<'_>,
    control: &StatementControl,
) -> Result<String> {
    let catalog = &session.engine.catalog;
    for _ in 1..MAX_ROUNDS {
        let began = catalog.generation();
        let done = Box::pin(carry_out(session, command, control)).await;
        let Err(error) = done else {
            return done;
        };
        if !settles(&command.0.statement) || !is_of_names(&error) {
            return Err(error);
        }
        if catalog.refresh_now().await.is_err() || catalog.generation() == began {
            return Err(error);
        }
    }
    Box::pin(carry_out(session, command, control)).await
}

/// Whether a command may have failed because of what has a name, or has it no more and loses its files.
fn is_of_names(error: &Error) -> bool {
    const OF_NAMES: [&str; 9] = [
        "40001", "42P01", "42P06", "42P07", "42704", "42710", "58030", "58P01", "XX001",
    ];
    OF_NAMES.contains(&error.report().sqlstate)
}

/// Whether a command settles for what is there. Tables that replace others look for these when they are put in their place.
fn settles(statement: &Statement) -> bool {
    match statement {
        Statement::CreateModel(create) => create.if_not_exists || create.or_replace,
        Statement::DropModel(drop) => drop.if_exists,
        Statement::CreateTable(create) => create.table.if_not_exists,
        Statement::CreateMaterializedView(create) => create.view.if_not_exists,
        Statement::CreateLakeObject(create) => create.if_not_exists || create.or_replace,
        Statement::DropLakeObject(drop) => drop.if_exists,
        Statement::Sequence(sequence) => matches!(
            sequence.as_ref(),
            SequenceStatement::Create {
                if_not_exists: true,
                ..
            }
        ),
        Statement::Domain(statement) => matches!(
            statement.as_ref(),
            DomainStatement::Drop {
                if_exists: true,
                ..
            }
        ),
        Statement::Role(role) => matches!(
            role.as_ref(),
            RoleStatement::Create {
                if_not_exists: true,
                ..
            } | RoleStatement::Drop {
                if_exists: true,
                ..
            }
        ),
        Statement::Sql(statement) => match statement.as_ref() {
            SqlStatement::CreateExternalTable(create) => create.if_not_exists || create.or_replace,
            SqlStatement::Statement(statement) => match statement.as_ref() {
                S::CreateTable(create) => create.if_not_exists,
                S::CreateView(create) => create.if_not_exists || create.or_replace,
                S::CreateSchema { if_not_exists, .. } => *if_not_exists,
                S::Drop { if_exists, .. } => *if_exists,
                _ => false,
            },
            _ => false,
        },
        _ => false,
    }
}
