//! Definitions that wait for the end of a block which has changed rows.
//!
//! In: what changes the catalog; out: the catalog as the block sees it and, behind the commit of its rows, one commit of
//! the catalog for all of them. The rows come first, since they alone can lose a race with what others did to the table;
//! whether the definitions still fit the catalog, and their roles may still make them, is looked at before. So what a crash
//! between the two leaves is the block's rows under the names, comments and privileges of before.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use auspex_storage::{
    Catalog, CatalogEntry, CatalogState, Change, Error as StorageError, TableShape,
};

use super::Block;
use super::kept_rights::Rights;
use crate::access::HeldRole;
use crate::commands::remove_files;
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::session::Session;

/// What makes the changes of a definition of a state of the catalog.
type Plan = dyn Fn(&CatalogState) -> auspex_storage::Result<Vec<Change>> + Send + Sync;

/// One of them.
#[derive(Clone)]
struct KeptDefinition {
    text: String,
    plan: Arc<Plan>,
    rights: Rights,
    /// The ids and names of what it puts into the catalog.
    named: Vec<(String, String)>,
    /// What loses its files with it.
    dropped: Vec<Arc<CatalogEntry>>,
}

impl KeptDefinition {
    /// Its changes of a state. Errors: those of its plan; `Conflict` where the rights of its role are others by now.
    fn changes(&self, state: &CatalogState) -> auspex_storage::Result<Vec<Change>> {
        let changes = (self.plan)(state)?;
        match self.rights.hold(state) {
            true => Ok(changes),
            false => Err(StorageError::Conflict {
                object: "the rights of a transaction block".to_owned(),
            }),
        }
    }
}

/// Those of a block, in their order.
#[derive(Clone, Default)]
pub(super) struct KeptDefinitions {
    list: Vec<KeptDefinition>,
    /// The number of the state that they were last applied to, and what came of it.
    seen: Option<(u64, Arc<CatalogState>)>,
}

impl fmt::Debug for KeptDefinitions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = self.list.iter().map(|definition| &definition.text);
        f.debug_list().entries(texts).finish()
    }
}

impl KeptDefinitions {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Forgets those behind the first `n_kept`; whether there were some.
    pub(super) fn return_to(&mut self, n_kept: usize) -> bool {
        if self.list.len() <= n_kept {
            return false;
        }
        self.list.truncate(n_kept);
        self.seen = None;
        true
    }

    /// Keeps one more, which a role may make. Errors: those of its plan, those of the catalog's rules.
    fn add(
        &mut self,
        mut definition: KeptDefinition,
        role: &HeldRole,
        newest: &Arc<CatalogState>,
    ) -> auspex_storage::Result<()> {
        let before = self.seen(newest).unwrap_or_else(|| Arc::clone(newest));
        let changes = (definition.plan)(&before)?;
        definition.rights = Rights::of(&before, role, changes.iter().map(id_of));
        definition.named = changes.iter().filter_map(named).collect();
        let state = before.with(changes)?;
        self.list.push(definition);
        self.seen = Some((newest.number(), Arc::new(state)));
        Ok(())
    }

    /// The changes of all, each made of what those before it leave, and what they leave together.
    fn changes(&self, state: &CatalogState) -> auspex_storage::Result<(Vec<Change>, CatalogState)> {
        let mut left = state.clone();
        let mut all = Vec::new();
        for definition in &self.list {
            let changes = definition.changes(&left)?;
            left = left.with(changes.clone())?;
            all.extend(changes);
        }
        Ok((all, left))
    }

    /// The newest state with them; `None`: there are none. One that does not go together with what others have defined is
    /// left out, and the block is told at its end: what they have revoked or dropped counts at once.
    fn seen(&mut self, newest: &CatalogState) -> Option<Arc<CatalogState>> {
        if self.list.is_empty() {
            return None;
        }
        let known = self.seen.as_ref().map(|(number, _)| *number);
        if known != Some(newest.number()) {
            self.seen = Some((newest.number(), Arc::new(self.fitting(newest))));
        }
        self.seen.as_ref().map(|(_, state)| Arc::clone(state))
    }

    /// A state with those that go together with it.
    fn fitting(&self, state: &CatalogState) -> CatalogState {
        let mut left = state.clone();
        for definition in &self.list {
            let changes = definition.changes(&left);
            if let Ok(next) = changes.and_then(|changes| left.with(changes)) {
                left = next;
            }
        }
        left
    }

    /// Fails if they do not fit the catalog any more.
    pub(super) async fn check(&self, catalog: &Catalog) -> Result<()> {
        if self.list.is_empty() {
            return Ok(());
        }
        catalog.refresh_now().await?;
        match self.changes(&catalog.state()) {
            Ok(_) => Ok(()),
            Err(StorageError::TableGone { id }) => Err(self.gone(&id)),
            Err(error) => Err(error.into()),
        }
    }

    /// The error that others have dropped what the block has defined anew.
    fn gone(&self, id: &str) -> Error {
        let named = self.list.iter().rev().flat_map(|kept| &kept.named);
        let mut names = named.filter(|(known, _)| known == id);
        let name = names.next().map_or(id, |(_, name)| name.as_str());
        let message = format!("relation \"{name}\" does not exist");
        let hint = "It was dropped meanwhile; nothing of the transaction block was committed.";
        Error::invalid("42P01", message, Some(hint))
    }

    /// Commits them together, once the rows of their block, which are of `table`, are committed. Errors: 55000 behind such
    /// rows; without a table nothing of the block is committed then.
    pub(super) async fn commit(&self, engine: &Engine, table: Option<&str>) -> Result<()> {
        if self.list.is_empty() {
            return Ok(());
        }
        let texts = self.list.iter().map(|definition| definition.text.as_str());
        let text = texts.collect::<Vec<_>>().join("; ");
        let changes = |state: &CatalogState| {
            self.changes(state)
                .map(|(changes, _)| last_of_each(changes))
        };
        if let Err(error) = engine.catalog.commit(&text, changes).await {
            let error = error.into();
            return Err(match table {
                Some(table) => rows_alone(table, error),
                None => error,
            });
        }
        for entry in self.list.iter().flat_map(|definition| &definition.dropped) {
            remove_files(engine, entry).await;
        }
        Ok(())
    }

    /// The error of temporary tables that failed behind the rows of their block and these.
    pub(super) fn without_temporary(&self, table: Option<&str>, error: Error) -> Error {
        let rows = table.map(|table| format!("the rows of table \"{table}\""));
        let definitions = (!self.is_empty()).then(|| "the definitions of the block".to_owned());
        let committed: Vec<String> = rows.into_iter().chain(definitions).collect();
        let message = format!(
            "{} were committed, the rows of temporary tables failed: {}",
            committed.join(" and "),
            error.report().message
        );
        let hint =
            "Do not run the transaction block again: send its changes of temporary tables alone.";
        Error::invalid("55000", message, Some(hint))
    }
}

/// The id of what a change puts into the catalog, or takes out.
fn id_of(change: &Change) -> &str {
    match change {
        Change::Put(CatalogEntry { id, .. }) | Change::Drop { id } => id,
    }
}

/// The id and the name of what a change puts into the catalog.
fn named(change: &Change) -> Option<(String, String)> {
    match change {
        Change::Put(entry) => Some((entry.id.clone(), entry.name.clone())),
        Change::Drop { .. } => None,
    }
}

/// The last change of each entry: those before it would only make the commit larger.
fn last_of_each(changes: Vec<Change>) -> Vec<Change> {
    let mut met = BTreeSet::new();
    let mut last: Vec<Change> = changes
        .into_iter()
        .rev()
        .filter(|change| met.insert(id_of(change).to_owned()))
        .collect();
    last.reverse();
    last
}

/// The error of definitions that failed behind the rows of their block.
fn rows_alone(table: &str, error: Error) -> Error {
    let message = format!(
        "the rows of table \"{table}\" were committed, the definitions of the block failed: {}",
        error.report().message
    );
    let hint = "Do not run the transaction block again: send its definitions alone.";
    Error::invalid("55000", message, Some(hint))
}

impl Session {
    /// The catalog as the session sees it: with the definitions of its block that are not committed yet.
    pub(crate) fn seen_catalog(&self) -> Arc<CatalogState> {
        let newest = self.engine.catalog.state();
        let seen = self.transaction.with(|block| block.kept.seen(&newest));
        seen.flatten().unwrap_or(newest)
    }

    /// The definition of a managed table as the session sees it: as its block has made it, else as it is now.
    pub(crate) async fn seen_shape(&self, id: &str) -> Result<TableShape> {
        let is_own = self.transaction.with(|block| block.has_changes_in(id));
        Ok(match is_own {
            Some(true) => self.tables().shape(id).await?,
            _ => self.engine.tables.shape(id).await?,
        })
    }

    /// Whether definitions wait for the end of the session's block, since it has changed rows.
    pub(crate) fn keeps_definitions(&self) -> bool {
        self.transaction.with(|block| block.has_changes()) == Some(true)
    }

    /// Whether its block has changed rows of a table.
    pub(crate) fn has_changed(&self, id: &str) -> bool {
        self.transaction.with(|block| block.has_changes_in(id)) == Some(true)
    }

    /// Changes the catalog: in a block that has changed rows at its end, else at once.
    ///
    /// `plan` runs again at the end and after a lost race, so it must check all that it relies on. Errors: those of `plan`,
    /// those of the catalog's rules.
    pub(crate) async fn define(
        &self,
        text: &str,
        plan: impl Fn(&CatalogState) -> auspex_storage::Result<Vec<Change>> + Send + Sync + 'static,
    ) -> Result<()> {
        self.define_dropping(text, plan, &[]).await
    }

    /// The same with objects that lose their files behind it.
    pub(crate) async fn define_dropping(
        &self,
        text: &str,
        plan: impl Fn(&CatalogState) -> auspex_storage::Result<Vec<Change>> + Send + Sync + 'static,
        dropped: &[Arc<CatalogEntry>],
    ) -> Result<()> {
        let plan: Arc<Plan> = Arc::new(plan);
        let (newest, role) = (self.engine.catalog.state(), self.identity().current());
        let keep = |block: &mut Block| {
            let definition = KeptDefinition {
                text: text.to_owned(),
                plan: Arc::clone(&plan),
                rights: Rights::default(),
                named: Vec::new(),
                dropped: dropped.to_vec(),
            };
            let keeps = block.has_changes();
            keeps.then(|| block.kept.add(definition, &role, &newest))
        };
        if let Some(kept) = self.transaction.with(keep).flatten() {
            self.transaction.redefined.fetch_add(1, Ordering::Relaxed);
            return Ok(kept?);
        }
        let changes = |state: &CatalogState| plan(state);
        self.engine.catalog.commit(text, changes).await?;
        for entry in dropped {
            remove_files(&self.engine, entry).await;
        }
        Ok(())
    }
}
