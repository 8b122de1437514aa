//! A statement's text and what others may see of it: the text without secrets, and its kind.
//!
//! In: a text; out: the same, and what sessions, metrics and records show, which is looked for once however often the
//! statement runs. Kinds are few and known, whatever clients send.

use std::ops::Deref;
use std::sync::Arc;

/// Of a statement's text, what is shown.
const SHOWN_BYTES: usize = 4096;

/// A statement's text.
#[derive(Debug, Clone)]
pub struct StatementText {
    raw: Arc<str>,
    shown: Arc<str>,
    kind: &'static str,
}

impl StatementText {
    /// The text as a client sent it.
    pub fn new(text: &str) -> StatementText {
        StatementText {
            raw: text.into(),
            shown: auspex_sql::redacted_start(text, SHOWN_BYTES).into(),
            kind: kind_of(text),
        }
    }

    /// A text that nobody can read as statements, of which less is shown.
    pub fn unparsed(text: &str) -> StatementText {
        StatementText {
            shown: auspex_sql::redacted_unparsed(text, SHOWN_BYTES).into(),
            ..StatementText::new(text)
        }
    }

    /// Its first bytes, without secrets.
    pub(crate) fn shown(&self) -> Arc<str> {
        Arc::clone(&self.shown)
    }

    /// What it does, in a word or two.
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }
}

impl Deref for StatementText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.raw
    }
}

/// The first words of statements.
const KINDS: &[&str] = &[
    "ALTER MODEL",
    "ALTER ROLE",
    "ALTER TABLE",
    "ALTER USER",
    "ANALYZE",
    "BEGIN",
    "CLOSE",
    "COMMENT",
    "COMMIT",
    "COPY",
    "CREATE CATALOG",
    "CREATE CREDENTIAL",
    "CREATE EXTERNAL",
    "CREATE MODEL",
    "CREATE ROLE",
    "CREATE SCHEMA",
    "CREATE TABLE",
    "CREATE USER",
    "CREATE VIEW",
    "DEALLOCATE",
    "DECLARE",
    "DELETE",
    "DESCRIBE",
    "DISCARD",
    "DROP CATALOG",
    "DROP CREDENTIAL",
    "DROP EXTERNAL",
    "DROP MODEL",
    "DROP OWNED",
    "DROP ROLE",
    "DROP SCHEMA",
    "DROP TABLE",
    "DROP USER",
    "DROP VIEW",
    "EVALUATE",
    "EXECUTE",
    "EXPLAIN",
    "EXPORT",
    "FETCH",
    "FORECAST",
    "GRANT",
    "INSERT",
    "LISTEN",
    "MERGE",
    "MOVE",
    "NOTIFY",
    "OPTIMIZE",
    "PREDICT",
    "PREPARE",
    "REASSIGN",
    "RELEASE",
    "RESET",
    "RESTORE",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "START",
    "TABLE",
    "TRAIN",
    "TRUNCATE",
    "UNLISTEN",
    "UPDATE",
    "VACUUM",
    "VALUES",
    "WITH",
];

/// The kind of a statement; `OTHER` for what is not known, the empty text and texts that begin with a comment.
fn kind_of(text: &str) -> &'static str {
    let mut words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let mut next = || words.find(|word| !word.is_empty()).unwrap_or_default();
    let first = next().to_ascii_uppercase();
    let first = first.as_str();
    if let Some(kind) = KINDS.iter().find(|kind| **kind == first) {
        return kind;
    }
    let mut second = next().to_ascii_uppercase();
    if first == "CREATE" && second == "OR" {
        next();
        second = next().to_ascii_uppercase();
    }
    let both = |kind: &&&str| kind.split_once(' ') == Some((first, second.as_str()));
    KINDS.iter().find(both).copied().unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_few() {
        for (text, kind) in [
            ("select 1", "SELECT"),
            (" (SELECT 1)", "SELECT"),
            ("CREATE OR REPLACE MODEL m", "CREATE MODEL"),
            ("create\n user x", "CREATE USER"),
            ("EXPLAIN ANALYZE SELECT 1", "EXPLAIN"),
            ("CREATE NONSENSE", "OTHER"),
            ("", "OTHER"),
            ("ünsinn", "OTHER"),
        ] {
            assert_eq!(kind_of(text), kind, "{text}");
        }
    }
}
