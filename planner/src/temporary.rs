//! Temporary tables, views and sequences, which one session alone knows, and which end with it.
//!
//! In: `CREATE TEMPORARY TABLE`, `VIEW`, `SEQUENCE`; out: entries that the catalog does not have. Their files lie among those of other tables;
//! what a crash leaves is garbage that no log names.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use auspex_storage::{CatalogEntry, Definition};

use crate::engine::lock;
use crate::name_scope;
use crate::session::Session;

/// The temporary tables of a session by name.
#[derive(Debug, Default)]
pub(crate) struct TemporaryTables {
    tables: Mutex<BTreeMap<String, Arc<CatalogEntry>>>,
    /// How often a table was added or removed, so that plans notice.
    changes: AtomicU64,
}

/// The schema under which temporary tables may be named.
pub(crate) const SCHEMA: &str = "pg_temp";

impl TemporaryTables {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<CatalogEntry>> {
        lock(&self.tables).get(name).cloned()
    }

    /// Whether a table of this id is among them.
    pub(crate) fn has(&self, id: &str) -> bool {
        lock(&self.tables).values().any(|entry| entry.id == id)
    }

    pub(crate) fn add(&self, entry: CatalogEntry) {
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
        lock(&self.tables).remove(name)
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
    /// A temporary table, where names may mean one.
    pub(crate) fn temporary_entry(&self, name: &str) -> Option<Arc<CatalogEntry>> {
        if !name_scope::knows_temporary(name) {
            return None;
        }
        let entry = self.temporary.get(name)?;
        name_scope::note_temporary(name);
        Some(entry)
    }

    /// Removes a temporary table with its files; whether there was one.
    pub(crate) async fn drop_temporary(&self, name: &str) -> bool {
        let Some(entry) = self.temporary.remove(name) else {
            return false;
        };
        if !matches!(
            entry.definition,
            Definition::Table(_) | Definition::Sequence(_)
        ) {
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
