//! Temporary tables, views and sequences, which one session alone knows, and which end with it.
//!
//! In: `CREATE TEMPORARY TABLE`, `VIEW`, `SEQUENCE`; out: entries that the catalog does not have. Their files lie among those of other tables;
//! what a crash leaves is garbage that no log names. As long as the session lives, signs in their folders tell so.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

use auspex_storage::{CatalogEntry, CatalogState, Definition, LIFE_SIGN_INTERVAL, Tables};

use crate::access::HeldRole;
use crate::engine::lock;
use crate::error::Result;
use crate::name_scope;
use crate::session::Session;
use crate::transaction::TemporaryChange;

/// The temporary tables of a session by name.
#[derive(Debug, Default)]
pub(crate) struct TemporaryTables {
    tables: Mutex<BTreeMap<String, Arc<CatalogEntry>>>,
    /// How often a table was added or removed, so that plans notice.
    changes: AtomicU64,
    /// Whether signs of life are given.
    gives_signs: AtomicBool,
    /// Whose they are by their ids, also when the role gets another name.
    owners: Mutex<BTreeMap<String, HeldRole>>,
    /// The ids of those whose rows end with each transaction, and whether they were changed since.
    passing: Mutex<BTreeMap<String, bool>>,
    /// Those by their ids that an open block has dropped, which come back if it is taken back.
    left: Mutex<BTreeMap<String, Left>>,
}

/// A temporary table without its place among the others.
#[derive(Debug)]
struct Left {
    entry: Arc<CatalogEntry>,
    owner: Option<HeldRole>,
    passing: Option<bool>,
}

/// The schema under which temporary tables may be named, and under which the engine has them.
pub const SCHEMA: &str = "pg_temp";
/// How the names begin that catalogs show for it, which end with the session's number.
const NUMBERED: &str = "pg_temp_";

/// Whether a name is that of a schema of temporary relations; clients can make no schema of such a name.
pub fn is_temporary_schema(name: &str) -> bool {
    name == SCHEMA || name.starts_with(NUMBERED)
}

impl TemporaryTables {
    pub(crate) fn get(&self, name: &str) -> Option<Arc<CatalogEntry>> {
        lock(&self.tables).get(name).cloned()
    }

    /// Whether a table of this id is among them.
    pub(crate) fn has(&self, id: &str) -> bool {
        lock(&self.tables).values().any(|entry| entry.id == id)
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

    fn remove(&self, name: &str) -> Option<Left> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        let entry = lock(&self.tables).remove(name)?;
        Some(Left {
            owner: lock(&self.owners).remove(&entry.id),
            passing: lock(&self.passing).remove(&entry.id),
            entry,
        })
    }

    /// Gives one that a block has dropped its place again.
    pub(crate) fn put_back(&self, id: &str) {
        let Some(left) = lock(&self.left).remove(id) else {
            return;
        };
        if let Some(owner) = left.owner {
            lock(&self.owners).insert(id.to_owned(), owner);
        }
        if let Some(is_changed) = left.passing {
            lock(&self.passing).insert(id.to_owned(), is_changed);
        }
        self.add(left.entry.as_ref().clone());
    }

    /// Says whose a temporary object is, if nobody has it yet.
    pub(crate) fn give(&self, id: &str, owner: HeldRole) {
        lock(&self.owners).entry(id.to_owned()).or_insert(owner);
    }

    /// An entry with the name that its owner has in a state of the catalog.
    pub(crate) fn owned_now(
        &self,
        entry: Arc<CatalogEntry>,
        state: &CatalogState,
    ) -> Arc<CatalogEntry> {
        let owners = lock(&self.owners);
        match owners.get(&entry.id).map(|owner| owner.name_in(state)) {
            Some(owner) if owner != entry.owner => {
                let entry = entry.as_ref().clone();
                Arc::new(CatalogEntry { owner, ..entry })
            }
            _ => entry,
        }
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

    /// The ids of those that have files, also of those that may come back.
    fn ids(&self) -> Vec<String> {
        let (tables, left) = (lock(&self.tables), lock(&self.left));
        let left = left.values().map(|left| &left.entry);
        let with_files = tables.values().chain(left).filter(|entry| has_files(entry));
        with_files.map(|entry| entry.id.clone()).collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.tables).is_empty()
    }

    /// Whether there is a schema of them: once there was one, it stays as long as the session.
    pub(crate) fn has_schema(&self) -> bool {
        self.changes() > 0
    }

    /// How often a table was added or removed.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }
}

impl Session {
    /// The schema of its temporary relations as catalogs show it: a number tells those of sessions apart.
    pub(crate) fn temporary_schema(&self) -> String {
        format!("{NUMBERED}{}", self.process_id())
    }

    /// The name that the engine has for a schema: that of its temporary relations has another in catalogs.
    pub(crate) fn known_schema<'a>(&self, schema: &'a str) -> &'a str {
        match schema.starts_with(NUMBERED) && schema == self.temporary_schema() {
            true => SCHEMA,
            false => schema,
        }
    }

    /// The name that catalogs show for a schema of the engine.
    pub(crate) fn shown_schema(&self, schema: &str) -> String {
        match schema == SCHEMA {
            true => self.temporary_schema(),
            false => schema.to_owned(),
        }
    }

    /// Adds a temporary table or sequence in the place of another one of its name; from now on signs in its folder tell that
    /// the session lives. Error: its role is gone; then its files are, too.
    pub(crate) async fn add_temporary(self: &Arc<Self>, entry: CatalogEntry) -> Result<()> {
        let role = self.identity().current();
        let entry = match role.own(&self.engine.catalog.state(), &entry) {
            Ok(entry) => entry,
            Err(error) => {
                self.remove_temporary_files(&entry).await;
                return Err(error.into());
            }
        };
        let id = entry.id.clone();
        self.drop_temporary(&entry.name).await;
        let made = TemporaryChange::Made {
            name: entry.name.clone(),
            id: id.clone(),
        };
        self.keep_temporary(made);
        self.temporary.give(&id, role);
        self.temporary.add(entry);
        give_sign(&self.engine.tables, &id).await;
        if !self.temporary.gives_signs.swap(true, Ordering::Relaxed) {
            tokio::spawn(give_signs(Arc::downgrade(self)));
        }
        Ok(())
    }

    /// A temporary table, where names may mean one.
    pub(crate) fn temporary_entry(&self, name: &str) -> Option<Arc<CatalogEntry>> {
        if !name_scope::knows_temporary(name) {
            return None;
        }
        let entry = self.temporary.get(name)?;
        name_scope::note_temporary(name);
        let state = self.seen_catalog();
        Some(self.temporary.owned_now(entry, &state))
    }

    /// All temporary tables, views and sequences, each with the name that its owner has now.
    pub(crate) fn temporary_entries(&self) -> Vec<Arc<CatalogEntry>> {
        let entries: Vec<_> = lock(&self.temporary.tables).values().cloned().collect();
        if entries.is_empty() {
            return entries;
        }
        let state = self.seen_catalog();
        let owned = |entry| self.temporary.owned_now(entry, &state);
        entries.into_iter().map(owned).collect()
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

    /// Removes a temporary table with its files, which go at the end of a block that has changed rows; whether there was
    /// one.
    pub(crate) async fn drop_temporary(&self, name: &str) -> bool {
        let Some(left) = self.temporary.remove(name) else {
            return false;
        };
        let id = left.entry.id.clone();
        match self.keep_temporary(TemporaryChange::Dropped { id: id.clone() }) {
            true => {
                lock(&self.temporary.left).insert(id, left);
            }
            false => self.remove_temporary_files(&left.entry).await,
        }
        true
    }

    /// Removes a temporary table that a block has made, unless it has dropped it.
    pub(crate) async fn remove_made(&self, name: &str, id: &str) {
        let is_there = self.temporary.get(name).is_some_and(|entry| entry.id == id);
        if let Some(left) = is_there.then(|| self.temporary.remove(name)).flatten() {
            self.remove_temporary_files(&left.entry).await;
        }
    }

    /// Removes the files of a temporary table that a block has dropped.
    pub(crate) async fn remove_left(&self, id: &str) {
        let left = lock(&self.temporary.left).remove(id);
        if let Some(left) = left {
            self.remove_temporary_files(&left.entry).await;
        }
    }

    async fn remove_temporary_files(&self, entry: &CatalogEntry) {
        if !has_files(entry) {
            return;
        }
        if let Err(error) = self.engine.tables.remove_managed(&entry.id).await {
            let name = entry.name.as_str();
            tracing::warn!(%error, name, "could not remove the files of a temporary table");
        }
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
