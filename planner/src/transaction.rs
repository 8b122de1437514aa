//! A transaction block: one snapshot for all that it reads, one commit for all that it writes.
//!
//! In: `BEGIN`, `SAVEPOINT` and their kin; out: the tables as the block sees them. What it writes lies in files that no
//! commit names before its end; so a block that fails, or whose client has gone, leaves nothing behind. A block changes
//! one table, since two logs cannot be committed at once, and any temporary ones, whose logs nobody else writes. What it
//! changes in the catalog behind a change of rows waits in memory, and is committed behind the rows; temporary tables come and
//! go with it.

mod committing;
mod definitions;
mod implicit;
mod kept_definitions;
mod kept_rights;
mod kept_temporary;
mod modes;
mod one_table;
mod row_locks;
mod savepoints;
mod snapshots;

pub use implicit::BlockPart;
pub(crate) use implicit::OwnBlock;
pub(crate) use kept_temporary::TemporaryChange;
pub(crate) use modes::{Modes, set_modes};
pub(crate) use row_locks::{locked_rows, refuse_locked_rows};
pub(crate) use savepoints::{release, rollback_to, savepoint};
pub(crate) use snapshots::{ExportedSnapshots, import as import_snapshot};

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use auspex_storage::Tables;
use chrono::{DateTime, Utc};

use committing::commit_block;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use kept_definitions::KeptDefinitions;
use modes::{Characteristics, show_in_block};
use savepoints::Savepoint;

use crate::access::Names;
use crate::advisory_locks::HeldLock;
use crate::commands::name_parts;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::settings::canonical;
use crate::statement_run::{Notice, StatementControl};

/// Whether a session is in a transaction block, as the protocol tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TransactionState {
    /// Each statement commits by itself.
    #[default]
    Idle,
    /// In a block.
    Open,
    /// In a block that a statement's failure has ended; it can only be rolled back.
    Failed,
}

/// The transaction of a session.
#[derive(Debug, Default)]
pub(crate) struct Transaction {
    block: Mutex<Option<Block>>,
    /// How often the definitions that wait in a block became others, so that plans notice.
    redefined: AtomicU64,
    /// Whether the text or the pipeline at hand has read something outside of a block.
    has_read: AtomicBool,
}

#[derive(Debug, Clone)]
struct Block {
    /// What `now()` is in it.
    began: DateTime<Utc>,
    failed: bool,
    read_only: bool,
    /// Nobody asked for it; a `BEGIN` makes it a block that somebody asked for.
    is_implicit: bool,
    /// Whether a statement of it was one that may read tables.
    has_read: bool,
    /// From its first statement on.
    tables: Option<Arc<Tables>>,
    /// The id and the name of the table that it changes.
    written: Option<(String, String)>,
    /// Whether it has defined something, which is there to stay.
    has_definitions: bool,
    /// What it has defined behind a change of rows.
    kept: KeptDefinitions,
    /// What temporary relations it has made or dropped behind one.
    temporary: Vec<TemporaryChange>,
    savepoints: Vec<Savepoint>,
    /// The settings before it.
    settings: BTreeMap<String, String>,
    /// What `SET LOCAL` changed, with the values before it.
    local: BTreeMap<String, Option<String>>,
    /// The roles before it.
    roles: Names,
    /// The roles before `SET LOCAL ROLE`, unless a later `SET ROLE` made the change one of the session.
    local_roles: Option<Names>,
    /// Advisory locks until its end.
    locks: Vec<Arc<HeldLock>>,
    /// Names and ids of temporary tables that end with it.
    passing: Vec<(String, String)>,
}

impl Block {
    /// Whether it changed rows, or something that waits for its end beside them.
    fn has_changes(&self) -> bool {
        let tables = self.tables.as_ref();
        !self.kept.is_empty() || tables.is_some_and(|tables| tables.has_changes())
    }

    /// Whether it changed rows of one table.
    fn has_changes_in(&self, id: &str) -> bool {
        let tables = self.tables.as_ref();
        tables.is_some_and(|tables| tables.has_changes_in(id))
    }
}

impl Transaction {
    pub(crate) fn state(&self) -> TransactionState {
        match &*lock(&self.block) {
            None => TransactionState::Idle,
            Some(block) if block.failed => TransactionState::Failed,
            Some(_) => TransactionState::Open,
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Block) -> T) -> Option<T> {
        lock(&self.block).as_mut().map(f)
    }

    fn take(&self) -> Option<Block> {
        let block = lock(&self.block).take()?;
        if !block.kept.is_empty() {
            self.redefined.fetch_add(1, Ordering::Relaxed);
        }
        Some(block)
    }

    /// Whether the text or the pipeline at hand has read something outside of a block.
    fn has_read(&self) -> bool {
        self.has_read.load(Ordering::Relaxed)
    }

    fn note_queries(&self, has_read: bool) {
        self.has_read.store(has_read, Ordering::Relaxed);
    }

    /// How often the definitions that wait in a block became others.
    pub(crate) fn redefined(&self) -> u64 {
        self.redefined.load(Ordering::Relaxed)
    }
}

impl Session {
    /// Whether the session is in a transaction block.
    pub fn transaction(&self) -> TransactionState {
        self.transaction.state()
    }

    /// What `now()` is: the start of the block, else that of the statement.
    pub(crate) fn now(&self) -> DateTime<Utc> {
        let began = self.transaction.with(|block| block.began);
        began.unwrap_or_else(|| self.clock.started())
    }

    /// Says that a statement failed: a block that it stood in can only be rolled back.
    pub fn statement_failed(&self) {
        let block = self.transaction.with(|block| block.failed = true);
        if block.is_none() {
            self.listening.forget();
        }
    }

    /// The tables as the session sees and changes them now.
    pub(crate) fn tables(&self) -> Arc<Tables> {
        let tables = self.transaction.with(|block| block.tables.clone());
        tables
            .flatten()
            .unwrap_or_else(|| Arc::clone(&self.engine.tables))
    }

    /// Takes the block's snapshot, if this is its first statement.
    pub(crate) fn take_snapshot(&self) {
        let of_block = self.transaction.with(|block| {
            block.has_read = true;
            let begin = || {
                let catalog = self.engine.catalog.state();
                Arc::new(self.engine.tables.begin_block(catalog))
            };
            block.tables.get_or_insert_with(begin);
        });
        if of_block.is_none() {
            self.transaction.note_queries(true);
        }
    }

    /// Fails where nothing may be changed: in a read-only block, or outside of blocks if they are read-only by default.
    pub(crate) fn refuse_read_only(&self, verb: &str) -> Result<()> {
        let of_block = self.transaction.with(|block| block.read_only);
        if of_block.unwrap_or_else(|| self.settings().is_on("default_transaction_read_only")) {
            let message = format!("cannot execute {verb} in a read-only transaction");
            return Err(Error::invalid("25006", message, None));
        }
        Ok(())
    }

    /// Fails inside a block: what the statement does cannot be rolled back.
    pub(crate) fn refuse_in_block(&self, verb: &str) -> Result<()> {
        if self.transaction() == TransactionState::Idle {
            return Ok(());
        }
        let message = format!("{verb} cannot run inside a transaction block");
        let hint = "COMMIT or ROLLBACK first: models and files are committed by themselves. \
                    Drivers call this mode autocommit.";
        Err(Error::invalid("25001", message, Some(hint)))
    }

    /// Keeps an advisory lock until the end of the session's block. Who waits for a lock wants to see what its last holder
    /// did: what the block sees of tables begins anew, unless it has changed rows.
    pub(crate) fn keep_in_block(&self, held: HeldLock) {
        self.transaction.with(|block| {
            block.locks.push(Arc::new(held));
            if !block.has_changes() {
                block.written = None;
                block.tables = None;
            }
        });
    }

    /// Remembers what `SET LOCAL` is about to change.
    pub(crate) fn set_local(&self, name: &str) {
        let name = canonical(name);
        let before = self.settings().kept(&name);
        self.transaction.with(|block| {
            block.local.entry(name).or_insert(before);
        });
    }

    /// Remembers the roles that `SET LOCAL` is about to change, or that a plain `SET` changes for good.
    pub(crate) fn set_roles(&self, is_local: bool) {
        let before = self.identity().saved();
        self.transaction.with(|block| match is_local {
            true => {
                block.local_roles.get_or_insert(before);
            }
            false => block.local_roles = None,
        });
    }

    /// Takes back what a block has set.
    fn take_back(&self, settings: BTreeMap<String, String>, roles: Names) {
        self.settings().restore(settings);
        self.identity().restore(roles);
        self.show_identity();
    }

    /// Lets a temporary table end with the block, as `ON COMMIT DROP` has it; false outside of one.
    pub(crate) fn drop_at_end(&self, name: &str, id: &str) -> bool {
        let table = (name.to_owned(), id.to_owned());
        let noted = self.transaction.with(|block| block.passing.push(table));
        noted.is_some()
    }

    /// Drops such tables, unless others have their names by now, and removes the rows that end with the block.
    async fn drop_passing(&self, tables: Vec<(String, String)>) {
        for (name, id) in tables {
            let found = self.temporary.get(&name);
            if found.is_some_and(|entry| entry.id == id) {
                self.drop_temporary(&name).await;
            }
        }
        Box::pin(self.empty_passing()).await;
    }

    /// Rolls back what is open and gives up what belongs to the session alone.
    pub fn end(&self) -> BoxFuture<'_, ()> {
        let end = async {
            self.listening.forget();
            self.listening.leave();
            if let Some(block) = self.transaction.take() {
                roll_back(self, block).await;
            }
            self.drop_all_temporary().await;
        };
        end.boxed()
    }
}

async fn roll_back(session: &Session, block: Block) {
    if let Some(tables) = &block.tables {
        tables.discard_block().await;
    }
    Box::pin(session.undo_temporary(&block.temporary)).await;
}

/// `BEGIN`, `START TRANSACTION`.
pub(crate) fn begin(
    session: &Session,
    begin: bool,
    modes: Modes,
    control: &StatementControl,
) -> Result<String> {
    let tag = if begin { "BEGIN" } else { "START TRANSACTION" };
    if session.transaction.with(|block| block.is_implicit) == Some(false) {
        control.notify(Notice {
            sqlstate: "25001",
            ..Notice::warning("there is already a transaction in progress")
        });
        set_modes(session, modes, control)?;
        return Ok(tag.to_owned());
    }
    modes.check(session)?;
    let level = session.settings().get("default_transaction_isolation");
    let all = modes.or_default(session);
    let read_only = all.read_only == Some(true);
    let take_over = |block: &mut Block| {
        block.is_implicit = false;
        block.read_only = read_only;
    };
    if session.transaction.with(take_over).is_none() {
        open(session, read_only);
    }
    if let Some(level) = level {
        show_in_block(session, "transaction_isolation", &level);
    }
    all.show(session);
    modes.tell_level(control);
    Ok(tag.to_owned())
}

fn open(session: &Session, read_only: bool) {
    let began = session.clock.started();
    *lock(&session.transaction.block) = Some(Block {
        began,
        failed: false,
        read_only,
        is_implicit: false,
        has_read: session.transaction.has_read.swap(false, Ordering::Relaxed),
        tables: None,
        written: None,
        has_definitions: false,
        kept: KeptDefinitions::default(),
        temporary: Vec::new(),
        savepoints: Vec::new(),
        settings: session.settings().saved(),
        local: BTreeMap::new(),
        roles: session.identity().saved(),
        local_roles: None,
        locks: Vec::new(),
        passing: Vec::new(),
    });
}

/// `COMMIT`; of a failed block, `ROLLBACK`.
pub(crate) async fn commit(
    session: &Session,
    chain: bool,
    control: &StatementControl,
) -> Result<String> {
    let Some(block) = session.transaction.take() else {
        session.listening.commit();
        session.forget_queries();
        no_transaction(control);
        return Ok("COMMIT".to_owned());
    };
    let failed = block.failed;
    let characteristics = Characteristics::of(session, &block);
    let passing = block.passing.clone();
    let done = match failed {
        true => {
            session.listening.forget();
            session.take_back(block.settings.clone(), block.roles.clone());
            definitions::tell_what_stays(block.has_definitions, control);
            roll_back(session, block).await;
            Ok(())
        }
        false => {
            let done = commit_block(session, &block).await;
            match &done {
                Ok(()) => {
                    for (name, value) in block.local {
                        session.settings().put_back(&name, value);
                    }
                    if let Some(roles) = block.local_roles {
                        session.identity().restore(roles);
                        session.show_identity();
                    }
                }
                Err(_) => session.take_back(block.settings, block.roles),
            }
            done
        }
    };
    session.drop_passing(passing).await;
    done?;
    if chain {
        characteristics.open(session);
    }
    Ok(if failed { "ROLLBACK" } else { "COMMIT" }.to_owned())
}

/// `LOCK TABLE`: who loses a race is told so at COMMIT, so that there is nothing to wait for.
pub(crate) fn lock_tables(
    session: &Session,
    lock: &datafusion::sql::sqlparser::ast::Lock,
) -> Result<String> {
    if session.transaction() == TransactionState::Idle {
        let message = "LOCK TABLE can only be used in transaction blocks";
        return Err(Error::invalid("25P01", message, None));
    }
    for target in &lock.tables {
        let (schema, name) = session.relation_parts(&name_parts(&target.name))?;
        let entry = session.entry(&schema, &name);
        let entry = entry.ok_or_else(|| session.undefined_relation(&schema, &name))?;
        session.access().check(&entry, "SELECT")?;
    }
    Ok("LOCK TABLE".to_owned())
}

/// `ROLLBACK`.
pub(crate) async fn rollback(session: &Session, chain: bool, control: &StatementControl) -> String {
    session.listening.forget();
    match session.transaction.take() {
        None => {
            session.forget_queries();
            no_transaction(control);
        }
        Some(block) => {
            let characteristics = Characteristics::of(session, &block);
            let passing = block.passing.clone();
            session.take_back(block.settings.clone(), block.roles.clone());
            definitions::tell_what_stays(block.has_definitions, control);
            roll_back(session, block).await;
            session.drop_passing(passing).await;
            if chain {
                characteristics.open(session);
            }
        }
    }
    "ROLLBACK".to_owned()
}

fn no_transaction(control: &StatementControl) {
    control.notify(Notice {
        sqlstate: "25P01",
        ..Notice::warning("there is no transaction in progress")
    });
}
