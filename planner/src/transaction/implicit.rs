//! Blocks that nobody asked for: one around the statements of one text, and one around those of a pipeline.
//!
//! In: the statements of a simple query, or one of the extended protocol; out: a block, if it can hold them: queries and
//! statements that change rows, all of the same table. A text needs at least two changes for that, any other commits
//! statement by statement; of a pipeline the server knows which messages come, and where the block ends. What does not fit
//! into the block of a pipeline fails, so that nothing of the pipeline stays.

use std::sync::Arc;

use auspex_sql::{ParsedStatement, Statement};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast;
use tokio::runtime::Handle;

use super::{TransactionState, commit_block, open, roll_back};
use crate::bind::changed_table;
use crate::change_in_with::changed_in_with;
use crate::commands;
use crate::error::Result;
use crate::explained_change::explained_statement;
use crate::session::Session;

/// What a statement is to a block that nobody asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockPart {
    /// It changes nothing: it may stand in a block, and needs none.
    Query,
    /// It changes rows of the table of this name.
    Change(Vec<String>),
    /// It takes back what is open: a ROLLBACK, and what speaks of savepoints, which such a block has none of, so that it
    /// fails.
    Rollback,
    /// It begins a block, which what is open becomes.
    Begin,
    /// It ends a block: what is open is committed before it.
    Control,
    /// It is committed by itself, and cannot be taken back with what is open.
    Alone,
}

impl BlockPart {
    /// Of a statement.
    pub fn of(parsed: &ParsedStatement) -> BlockPart {
        let Statement::Sql(statement) = &parsed.statement else {
            return of_our_own(&parsed.statement);
        };
        let statement = match statement.as_ref() {
            SqlStatement::Statement(statement) => statement,
            // It is run, too.
            SqlStatement::Explain(explain) if explain.options.analyze => {
                return BlockPart::of(&explained_statement(explain, parsed));
            }
            SqlStatement::Explain(_) | SqlStatement::Reset(_) => return BlockPart::Query,
            _ => return BlockPart::Alone,
        };
        match statement.as_ref() {
            // A training that is called is no query.
            ast::Statement::Query(query) => match commands::train_call(query) {
                Ok(None) => changed_in_with(query).map_or(BlockPart::Query, BlockPart::Change),
                _ => BlockPart::Alone,
            },
            ast::Statement::Rollback { .. }
            | ast::Statement::Savepoint { .. }
            | ast::Statement::ReleaseSavepoint { .. } => BlockPart::Rollback,
            ast::Statement::StartTransaction { .. } => BlockPart::Begin,
            ast::Statement::Commit { .. } => BlockPart::Control,
            ast::Statement::Set(_)
            | ast::Statement::Reset(_)
            | ast::Statement::ShowVariable { .. }
            | ast::Statement::ShowTables { .. }
            | ast::Statement::ShowColumns { .. }
            | ast::Statement::ShowFunctions { .. }
            | ast::Statement::LISTEN { .. }
            | ast::Statement::UNLISTEN { .. }
            | ast::Statement::NOTIFY { .. }
            | ast::Statement::ExplainTable { .. } => BlockPart::Query,
            statement => changed_table(statement).map_or(BlockPart::Alone, BlockPart::Change),
        }
    }
}

/// Of a statement that other databases do not have.
fn of_our_own(statement: &Statement) -> BlockPart {
    match statement {
        Statement::Evaluate(_)
        | Statement::Predict(_)
        | Statement::ExplainPredict(_)
        | Statement::ShowModels
        | Statement::DescribeModel(_)
        | Statement::ShowDevices
        | Statement::ShowWorkers
        | Statement::Explain(_)
        | Statement::TableHistory(_)
        | Statement::TableDetail(_)
        | Statement::ShowLakeObjects(_)
        | Statement::SetConstraints => BlockPart::Query,
        _ => BlockPart::Alone,
    }
}

impl Session {
    /// How many savepoints the open block has; `None`: there is no block.
    pub fn n_savepoints(&self) -> Option<usize> {
        self.transaction.with(|block| block.savepoints.len())
    }

    /// Begins a block for the statements of a pipeline; whether it did.
    pub fn open_implicit(&self) -> bool {
        if self.transaction() != TransactionState::Idle {
            return false;
        }
        self.clock.start();
        open(self, self.settings().is_on("default_transaction_read_only"));
        self.transaction.with(|block| block.is_implicit = true);
        true
    }

    /// Whether the open block is one that nobody asked for: a BEGIN in it makes it the client's.
    pub fn is_in_implicit(&self) -> bool {
        self.transaction.with(|block| block.is_implicit) == Some(true)
    }

    /// Begins a block around the statements of a text if it can hold them; whether it did.
    pub fn begin_implicit(&self, statements: &[ParsedStatement]) -> bool {
        fit_one_block(statements) && self.open_implicit()
    }

    /// Ends such a block: commits it, or rolls it back after a failure.
    pub async fn end_implicit(&self, failed: bool) -> Result<()> {
        let block = self.transaction.take();
        let has_read = block.as_ref().is_some_and(|block| block.has_read);
        self.transaction.note_queries(has_read);
        match block {
            None => Ok(()),
            Some(block) if failed || block.failed => {
                self.listening.forget();
                roll_back(self, block).await;
                Ok(())
            }
            Some(block) => {
                commit_block(self, &block).await?;
                Box::pin(self.empty_passing()).await;
                Ok(())
            }
        }
    }
}

/// The block of one statement that changes rows before its end; it is rolled back unless it is ended.
pub(crate) struct OwnBlock(Option<Arc<Session>>);

impl OwnBlock {
    /// Begins one, unless the statement stands in a block.
    pub(crate) fn begin(session: &Arc<Session>) -> OwnBlock {
        let is_open = session.open_implicit();
        OwnBlock(is_open.then(|| Arc::clone(session)))
    }

    /// Whether it was begun.
    pub(crate) fn is_own(&self) -> bool {
        self.0.is_some()
    }

    /// Commits it, or rolls it back after a failure.
    pub(crate) async fn end(mut self, failed: bool) -> Result<()> {
        match self.0.take() {
            Some(session) => session.end_implicit(failed).await,
            None => Ok(()),
        }
    }
}

impl Drop for OwnBlock {
    fn drop(&mut self) {
        let Some(session) = self.0.take() else {
            return;
        };
        if let (Some(block), Ok(runtime)) = (session.transaction.take(), Handle::try_current()) {
            // The statement was given up; nobody waits until its files are gone.
            runtime.spawn(async move { roll_back(&session, block).await });
        }
    }
}

fn fit_one_block(statements: &[ParsedStatement]) -> bool {
    let mut table: Option<Vec<String>> = None;
    let mut n_changes = 0;
    for parsed in statements {
        match BlockPart::of(parsed) {
            BlockPart::Query => {}
            BlockPart::Rollback | BlockPart::Begin | BlockPart::Control | BlockPart::Alone => {
                return false;
            }
            BlockPart::Change(changed) => {
                n_changes += 1;
                match &table {
                    Some(table) if *table != changed => return false,
                    _ => table = Some(changed),
                }
            }
        }
    }
    n_changes > 1
}
