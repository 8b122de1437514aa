//! The syntax tree of `CREATE SEQUENCE` and `ALTER SEQUENCE`.
//!
//! In: nothing; out: plain values. Never knows which sequences exist; `DROP SEQUENCE` is in the parser's own tree.

use crate::statement::{Name, Word};

/// A statement about a sequence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceStatement {
    /// `CREATE [TEMPORARY] SEQUENCE [IF NOT EXISTS] name options`.
    Create {
        /// `TEMPORARY` was written.
        temporary: bool,
        /// The sequence.
        name: Name,
        /// `IF NOT EXISTS` was written.
        if_not_exists: bool,
        /// What is said of its numbers.
        options: SequenceOptions,
    },
    /// `ALTER SEQUENCE [IF EXISTS] name action`.
    Alter {
        /// The sequence.
        name: Name,
        /// `IF EXISTS` was written.
        if_exists: bool,
        /// What changes.
        action: SequenceAction,
    },
}

/// The change that an `ALTER SEQUENCE` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SequenceAction {
    /// Options.
    Set(SequenceOptions),
    /// `RENAME TO name`.
    Rename(Word),
    /// `SET SCHEMA name`.
    SetSchema(Word),
}

/// What is said of a sequence behind its name, each at most once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SequenceOptions {
    /// `AS integer`, in lower case.
    pub data_type: Option<String>,
    /// `INCREMENT [BY] n`.
    pub increment: Option<i64>,
    /// `MINVALUE n`; the inner `None` is `NO MINVALUE`.
    pub min: Option<Option<i64>>,
    /// `MAXVALUE n`; the inner `None` is `NO MAXVALUE`.
    pub max: Option<Option<i64>>,
    /// `START [WITH] n`.
    pub start: Option<i64>,
    /// `RESTART [[WITH] n]`.
    pub restart: Option<Option<i64>>,
    /// `CACHE n`.
    pub cache: Option<i64>,
    /// `[NO] CYCLE`.
    pub cycle: Option<bool>,
    /// `OWNED BY table.column`; the inner `None` is `OWNED BY NONE`.
    pub owned_by: Option<Option<Name>>,
}
