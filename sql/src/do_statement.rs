//! The syntax tree of `DO`: one statement, and the errors of it that are passed over.
//!
//! In: nothing; out: plain values. Never knows what the statement means.

use crate::statement::ParsedStatement;

/// `DO $$ BEGIN statement; [EXCEPTION WHEN condition [OR …] THEN NULL;] END $$`.
#[derive(Debug, Clone)]
pub struct DoBlock {
    /// The statement.
    pub statement: ParsedStatement,
    /// The errors that are passed over.
    pub passed_over: Vec<ErrorCondition>,
}

/// A condition of `EXCEPTION WHEN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorCondition {
    /// `others`: every error but that of a statement which was cancelled, or which a transaction block keeps from running.
    Others,
    /// Errors of an SQLSTATE.
    State(String),
}

impl DoBlock {
    /// Whether an error of an SQLSTATE is passed over.
    pub fn passes_over(&self, sqlstate: &str) -> bool {
        const NOT_RUN: [&str; 2] = ["57014", "25001"];
        self.passed_over.iter().any(|condition| match condition {
            ErrorCondition::Others => !NOT_RUN.contains(&sqlstate),
            ErrorCondition::State(state) => state == sqlstate,
        })
    }
}
