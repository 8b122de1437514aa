//! Snapshots that a block lets others read: `pg_export_snapshot()`, `SET TRANSACTION SNAPSHOT`.
//!
//! In: a block's tables; out: a name, and by it the tables as another block sees them that began at the same moment. A name
//! lasts as long as the block that gave it. `pg_dump --jobs` reads one moment over several connections so.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, Weak};

use auspex_storage::Tables;

use super::TransactionState;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::session::Session;

/// The snapshots of all sessions by their names.
#[derive(Debug, Default)]
pub(crate) struct ExportedSnapshots(Mutex<Exported>);

#[derive(Debug, Default)]
struct Exported {
    n_exported: u64,
    by_name: BTreeMap<String, Weak<Tables>>,
}

impl ExportedSnapshots {
    fn export(&self, tables: &Arc<Tables>) -> String {
        let mut exported = lock(&self.0);
        exported
            .by_name
            .retain(|_, tables| tables.strong_count() > 0);
        exported.n_exported += 1;
        let name = format!("{:08X}-00000001-1", exported.n_exported);
        let tables = Arc::downgrade(tables);
        exported.by_name.insert(name.clone(), tables);
        name
    }

    fn find(&self, name: &str) -> Option<Arc<Tables>> {
        lock(&self.0).by_name.get(name)?.upgrade()
    }
}

impl Session {
    /// Gives the snapshot of the session's block a name. Error: there is no block.
    pub(crate) fn export_snapshot(&self) -> Result<String> {
        self.take_snapshot();
        let tables = self.transaction.with(|block| block.tables.clone());
        match tables.flatten() {
            Some(tables) => Ok(self.engine.snapshots.export(&tables)),
            None => {
                let message = "pg_export_snapshot can only be used in transaction blocks";
                Err(Error::invalid("25P01", message, None))
            }
        }
    }
}

/// `SET TRANSACTION SNAPSHOT`: the session's block reads what the one reads that gave the name.
pub(crate) fn import(session: &Session, name: &str) -> Result<()> {
    if session.transaction() == TransactionState::Idle {
        let message = "SET TRANSACTION SNAPSHOT can only be used in transaction blocks";
        return Err(Error::invalid("25P01", message, None));
    }
    let level = session.settings().get("transaction_isolation");
    if !level.is_some_and(|level| ["repeatable read", "serializable"].contains(&level.as_str())) {
        let message = "a snapshot-importing transaction must have isolation level SERIALIZABLE or REPEATABLE READ";
        return Err(Error::invalid("0A000", message, None));
    }
    let tables = session.engine.snapshots.find(name);
    let tables = tables.and_then(|tables| tables.begin_block_beside());
    let tables = tables.ok_or_else(|| {
        let message = format!("invalid snapshot identifier: \"{name}\"");
        Error::invalid("22023", message, None)
    })?;
    let is_first = session.transaction.with(|block| {
        let is_first = block.tables.is_none();
        if is_first {
            block.tables = Some(Arc::new(tables));
        }
        is_first
    });
    match is_first {
        Some(true) => Ok(()),
        _ => {
            let message = "SET TRANSACTION SNAPSHOT must be called before any query";
            Err(Error::invalid("25001", message, None))
        }
    }
}
