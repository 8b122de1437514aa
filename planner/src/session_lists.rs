//! What a session keeps by name: the rows of `pg_prepared_statements` and `pg_cursors`.
//!
//! In: what the server keeps for a client; out: the same in the order in which it came, each as long as it is kept. A
//! session's own statements look at the lists while its connection waits for them, hence the locks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::engine::lock;
use crate::observe::StatementText;

/// A prepared statement that has a name.
#[derive(Debug, Clone)]
pub struct StatementFacts {
    /// Its name.
    pub name: String,
    /// The text that prepared it.
    pub text: StatementText,
    /// The types of its parameters, as SQL writes them.
    pub parameter_types: Vec<String>,
    /// Whether PREPARE made it, rather than a message of the protocol.
    pub from_sql: bool,
    /// How often it was run with the plan that is kept.
    pub n_generic_plans: i64,
    /// How often it was planned anew for its values.
    pub n_custom_plans: i64,
}

/// A cursor, or a portal of the protocol.
#[derive(Debug, Clone)]
pub struct CursorFacts {
    /// Its name; the one portal without a name has an empty one.
    pub name: String,
    /// The text that declared it.
    pub text: StatementText,
    /// Whether it outlives its transaction.
    pub is_holdable: bool,
    /// Whether it was declared to send binary rows.
    pub is_binary: bool,
    /// Whether it was declared to move both ways.
    pub is_scrollable: bool,
}

/// What a session has of one kind.
#[derive(Debug)]
pub struct SessionList<T>(Arc<Mutex<Entries<T>>>);

/// An entry of a list, which is there until this is dropped.
#[derive(Debug)]
pub struct Listed<T> {
    entries: Arc<Mutex<Entries<T>>>,
    number: u64,
}

#[derive(Debug)]
struct Entries<T> {
    n_listed: u64,
    /// By the order in which they came, each with the moment.
    by_number: BTreeMap<u64, (i64, T)>,
}

impl<T> Default for SessionList<T> {
    fn default() -> SessionList<T> {
        SessionList(Arc::new(Mutex::new(Entries {
            n_listed: 0,
            by_number: BTreeMap::new(),
        })))
    }
}

impl<T> SessionList<T> {
    /// Adds an entry.
    #[must_use]
    pub fn add(&self, facts: T) -> Listed<T> {
        let now_us = chrono::Utc::now().timestamp_micros();
        let mut entries = lock(&self.0);
        let number = entries.n_listed;
        entries.n_listed += 1;
        entries.by_number.insert(number, (now_us, facts));
        Listed {
            entries: Arc::clone(&self.0),
            number,
        }
    }
}

impl<T: Clone> SessionList<T> {
    /// The entries, each with the moment when it came, in microseconds since 1970.
    pub fn entries(&self) -> Vec<(i64, T)> {
        lock(&self.0).by_number.values().cloned().collect()
    }
}

impl<T> Listed<T> {
    /// Changes what the list tells of the entry.
    pub fn change(&self, change: impl FnOnce(&mut T)) {
        if let Some((_, facts)) = lock(&self.entries).by_number.get_mut(&self.number) {
            change(facts);
        }
    }
}

impl<T> Drop for Listed<T> {
    fn drop(&mut self) {
        lock(&self.entries).by_number.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_as_long_as_they_are_kept() {
        let list = SessionList::default();
        let names = || -> Vec<&str> { list.entries().into_iter().map(|(_, name)| name).collect() };
        let first = list.add("first");
        let again = list.add("again");
        drop(first);
        let last = list.add("last");
        assert_eq!(names(), ["again", "last"]);
        again.change(|name| *name = "changed");
        assert_eq!(names(), ["changed", "last"]);
        drop((again, last));
        assert!(names().is_empty());
    }
}
