//! Temporary tables, views and sequences, which one session alone knows, and which end with it.
//!
//! In: `CREATE TEMPORARY TABLE`, `VIEW`, `SEQUENCE`; out: entries that the catalog does not have. Their files lie among those of other tables;
//! what a crash leaves is garbage that no log names. As long as the session lives, signs in their folders tell so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use auspex_storage::{CatalogEntry, Definition, LIFE_SIGN_INTERVAL, Tables};

use crate::engine::lock;
use crate::name_scope;
use crate::session::Session;

/// The temporary tables of a session by name.
#[derive(Debug, Default)]
pub(crate) struct TemporaryTables {
    tables: Mutex<BTreeMap<String, Arc<CatalogEntry>>>,
    /// How often a table was added or removed, so that plans notice.
    changes: AtomicU64,
    /// Whether signs of life are given.
    gives_signs: AtomicBool,
    /// The ids of those whose rows end with each transaction, and whether they were changed since.
    passing: Mutex<BTreeMap<String, bool>>,
}

/// The schema under which temporary tables may be named.
pub const SCHEMA: &str = "pg_temp";

impl TemporaryTables {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<CatalogEntry>> {
        lock(&self.tables).get(name).cloned()
    }

    /// Whether a table of this id is among them.
    pub(crate) fn has(&self, id: &str) -> bool {
        lock(&self.tables).values().any(|entry| entry.id == id)
    }

    /// All of them.
    pub(crate) fn entries(&self) -> Vec<Arc<CatalogEntry>> {
        lock(&self.tables).values().cloned().collect()
    }

    fn add(&self, entry: CatalogEntry) {
        lock(&self.tables).insert(entry.name.clone(), Arc::new(entry));
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Another entry for a table, perhaps under another name.
    pub(crate) fn replace(&self, name: &str, entry: CatalogEntry) {
        lock(&self.tables).remove(name);
        self.add(entry);
    }

    fn remove(&self, name: &str) -> Option<Arc<CatalogEntry>> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        let entry = lock(&self.tables).remove(name)?;
        lock(&self.passing).remove(&entry.id);
        Some(entry)
    }

    /// Lets the rows of a table, those that it has now as well, end with each transaction.
    pub(crate) fn pass_rows(&self, id: &str) {
        lock(&self.passing).insert(id.to_owned(), true);
    }

    /// Notes that rows of a table are changed.
    pub(crate) fn note_change(&self, id: &str) {
        if let Some(is_changed) = lock(&self.passing).get_mut(id) {
            *is_changed = true;
        }
    }

    /// The ids of changed tables whose rows end now.
    fn take_changed(&self) -> Vec<String> {
        let mut passing = lock(&self.passing);
        let changed = passing.iter_mut().filter(|(_, is_changed)| **is_changed);
        let taken = changed.map(|(id, is_changed)| {
            *is_changed = false;
            id.clone()
        });
        taken.collect()
    }

    /// The ids of those that have files.
    fn ids(&self) -> Vec<String> {
        let tables = lock(&self.tables);
        let with_files = tables.values().filter(|entry| has_files(entry));
        with_files.map(|entry| entry.id.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.tables).is_empty()
    }

    /// How often a table was added or removed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}

impl Session {
    /// Adds a temporary table or sequence; from now on signs in its folder tell that the session lives.
    pub(crate) async fn add_temporary(self: &Arc<Self>, entry: CatalogEntry) {
        let id = entry.id.clone();
        self.temporary.add(entry);
        give_sign(&self.engine.tables, &id).await;
        if !self.temporary.gives_signs.swap(true, Ordering::Relaxed) {
            tokio::spawn(give_signs(Arc::downgrade(self)));
        }
    }

    /// A temporary table, where names may mean one.
    pub(crate) fn temporary_entry(&self, name: &str) -> Option<Arc<CatalogEntry>> {
        if !name_scope::knows_temporary(name) {
            return None;
        }
        let entry = self.temporary.get(name)?;
        name_scope::note_temporary(name);
        Some(entry)
    }

    /// Removes the rows that end with a transaction, as `ON COMMIT DELETE ROWS` has it.
    pub(crate) async fn empty_passing(&self) {
        for id in self.temporary.take_changed() {
            let emptied = async { self.engine.tables.rewrite(&id).await?.truncate(false).await };
            if let Err(error) = Box::pin(emptied).await {
                tracing::warn!(%error, id, "could not remove the rows of a temporary table");
            }
        }
    }

    /// Removes a temporary table with its files; whether there was one.
    pub(crate) async fn drop_temporary(&self, name: &str) -> bool {
        let Some(entry) = self.temporary.remove(name) else {
            return false;
        };
        if !has_files(&entry) {
            return true;
        }
        if let Err(error) = self.engine.tables.remove_managed(&entry.id).await {
            tracing::warn!(%error, name, "could not remove the files of a temporary table");
        }
        true
    }

    /// Removes all temporary tables.
    pub(crate) async fn drop_all_temporary(&self) {
        let names: Vec<String> = lock(&self.temporary.tables).keys().cloned().collect();
        for name in names {
            self.drop_temporary(&name).await;
        }
    }
}

fn has_files(entry: &CatalogEntry) -> bool {
    matches!(
        entry.definition,
        Definition::Table(_) | Definition::Sequence(_)
    )
}

/// Gives the temporary tables of a session signs of its life until it ends.
async fn give_signs(session: Weak<Session>) {
    loop {
        tokio::time::sleep(LIFE_SIGN_INTERVAL).await;
        let (ids, tables) = match session.upgrade() {
            Some(session) => (session.temporary.ids(), Arc::clone(&session.engine.tables)),
            None => return,
        };
        for id in ids {
            give_sign(&tables, &id).await;
        }
    }
}

/// Gives a table without a name a sign that it is in use.
pub(crate) async fn give_sign(tables: &Tables, id: &str) {
    if let Err(error) = tables.give_life_sign(id).await {
        tracing::warn!(%error, id, "could not show that a temporary table is in use");
    }
}
