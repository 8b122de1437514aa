//! `FOR UPDATE SKIP LOCKED` and `FOR UPDATE NOWAIT` in a transaction block, which would hand one row to two workers: no row
//! is locked.
//!
//! In: a statement; out: what it says of rows that others have locked, and the error. A statement by itself needs no lock:
//! of those that change the rows which they choose, the one that loses a race chooses again. `FOR UPDATE` alone stays
//! without effect: of two blocks that change the table, the second is told so at COMMIT (40001).

use std::ops::ControlFlow;

use auspex_sql::ParsedStatement;
use datafusion::sql::sqlparser::ast::{NonBlock, Query, Visit, Visitor};

use super::TransactionState;
use crate::error::{Error, Result};
use crate::session::Session;

/// What a statement says of rows that others have locked, if it says anything.
pub(crate) fn locked_rows(parsed: &ParsedStatement) -> Option<&'static str> {
    match parsed.sql()?.visit(&mut LockFinder) {
        ControlFlow::Break(words) => Some(words),
        ControlFlow::Continue(()) => None,
    }
}

struct LockFinder;

impl Visitor for LockFinder {
    type Break = &'static str;

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<&'static str> {
        match query.locks.iter().find_map(|lock| lock.nonblock.as_ref()) {
            Some(NonBlock::SkipLocked) => ControlFlow::Break("SKIP LOCKED"),
            Some(NonBlock::Nowait) => ControlFlow::Break("NOWAIT"),
            None => ControlFlow::Continue(()),
        }
    }
}

/// Fails in a block for a statement that says such a thing.
pub(crate) fn refuse_locked_rows(session: &Session, words: Option<&'static str>) -> Result<()> {
    match words {
        Some(words) if session.transaction() != TransactionState::Idle => Err(Error::Unsupported {
            what: format!("{words} in a transaction block"),
            hint: Some(
                "Rows are not locked. Outside of a block one statement takes a row that nobody else gets: UPDATE ... \
                 WHERE id = (SELECT id ... FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING *."
                    .to_owned(),
            ),
        }),
        _ => Ok(()),
    }
}
