//! One block around the statements of one text, as PostgreSQL has it for every text.
//!
//! In: the statements of a simple query; out: a block, if they are such as one block can hold: queries and at least two
//! statements that change rows, all of the same table. Any other text commits statement by statement.

use auspex_sql::{ParsedStatement, Statement};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast;

use super::{TransactionState, commit_block, open, roll_back};
use crate::bind::changed_table;
use crate::error::Result;
use crate::session::Session;

impl Session {
    /// Begins a block around the statements of a text if it can hold them; whether it did.
    pub fn begin_implicit(&self, statements: &[ParsedStatement]) -> bool {
        if self.transaction() != TransactionState::Idle || !fit_one_block(statements) {
            return false;
        }
        open(self, self.settings().is_on("default_transaction_read_only"));
        true
    }

    /// Ends such a block: commits it, or rolls it back after a failure.
    pub async fn end_implicit(&self, failed: bool) -> Result<()> {
        match self.transaction.take() {
            None => Ok(()),
            Some(block) if failed || block.failed => {
                roll_back(block).await;
                Ok(())
            }
            Some(block) => commit_block(&block).await,
        }
    }
}

fn fit_one_block(statements: &[ParsedStatement]) -> bool {
    let mut table: Option<Vec<String>> = None;
    let mut n_changes = 0;
    for parsed in statements {
        let Statement::Sql(statement) = &parsed.statement else {
            return false;
        };
        let SqlStatement::Statement(statement) = statement.as_ref() else {
            return false;
        };
        if matches!(statement.as_ref(), ast::Statement::Query(_)) {
            continue;
        }
        let Some(changed) = changed_table(statement) else {
            return false;
        };
        n_changes += 1;
        match &table {
            Some(table) if *table != changed => return false,
            _ => table = Some(changed),
        }
    }
    n_changes > 1
}
