//! Savepoints: places in a block that it goes back to.
//!
//! In: `SAVEPOINT`, `RELEASE SAVEPOINT` and `ROLLBACK TO SAVEPOINT`; out: the block as it was at the savepoint, or one that has
//! forgotten it. A block that has failed goes on from there.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use auspex_storage::BlockMark;

use crate::access::Names;
use crate::error::{Error, Result};
use crate::listening::AskedMark;
use crate::session::Session;

/// What a block was at a savepoint.
#[derive(Debug, Clone)]
pub(super) struct Savepoint {
    name: String,
    mark: BlockMark,
    written: Option<(String, String)>,
    settings: BTreeMap<String, String>,
    roles: Names,
    local_roles: Option<Names>,
    n_locks: usize,
    n_kept: usize,
    n_temporary: usize,
    asked: AskedMark,
}

/// `SAVEPOINT name`.
pub(crate) async fn savepoint(session: &Session, name: &str) -> Result<String> {
    let tables = session.transaction.with(|block| block.tables.clone());
    let tables = tables.ok_or_else(|| only_in_block("SAVEPOINT"))?;
    let mark = match tables {
        Some(tables) => tables.block_mark().await?,
        None => BlockMark::default(),
    };
    let (settings, roles) = (session.settings().saved(), session.identity().saved());
    session.transaction.with(|block| {
        block.savepoints.push(Savepoint {
            name: name.to_owned(),
            mark,
            written: block.written.clone(),
            settings,
            roles,
            local_roles: block.local_roles.clone(),
            n_locks: block.locks.len(),
            n_kept: block.kept.len(),
            n_temporary: block.temporary.len(),
            asked: session.listening.mark(),
        });
    });
    Ok("SAVEPOINT".to_owned())
}

fn only_in_block(verb: &str) -> Error {
    let message = format!("{verb} can only be used in transaction blocks");
    Error::invalid("25P01", message, None)
}

fn missing_savepoint(name: &str) -> Error {
    Error::invalid(
        "3B001",
        format!("savepoint \"{name}\" does not exist"),
        None,
    )
}

/// `RELEASE SAVEPOINT name`.
pub(crate) fn release(session: &Session, name: &str) -> Result<String> {
    let released = session.transaction.with(|block| {
        let at = block
            .savepoints
            .iter()
            .rposition(|point| point.name == name);
        match at {
            Some(at) => {
                block.savepoints.truncate(at);
                Ok(())
            }
            None => Err(missing_savepoint(name)),
        }
    });
    released.unwrap_or_else(|| Err(only_in_block("RELEASE SAVEPOINT")))?;
    Ok("RELEASE".to_owned())
}

/// `ROLLBACK TO SAVEPOINT name`.
pub(crate) async fn rollback_to(session: &Session, name: &str) -> Result<String> {
    let found = session.transaction.with(|block| {
        let at = block
            .savepoints
            .iter()
            .rposition(|point| point.name == name);
        let at = at.ok_or_else(|| missing_savepoint(name))?;
        block.savepoints.truncate(at + 1);
        Ok((block.savepoints[at].clone(), block.tables.clone()))
    });
    let (point, tables) = found.unwrap_or_else(|| Err(only_in_block("ROLLBACK TO SAVEPOINT")))?;
    if let Some(tables) = tables {
        tables.return_to(&point.mark).await?;
    }
    session.listening.return_to(point.asked);
    session.take_back(point.settings, point.roles);
    let redefined = session.transaction.with(|block| {
        block.failed = false;
        block.written = point.written;
        block.local_roles = point.local_roles;
        block.locks.truncate(point.n_locks);
        let n_temporary = point.n_temporary.min(block.temporary.len());
        let temporary = block.temporary.split_off(n_temporary);
        (block.kept.return_to(point.n_kept), temporary)
    });
    let (redefined, temporary) = redefined.unwrap_or_default();
    Box::pin(session.undo_temporary(&temporary)).await;
    if redefined {
        let redefined = &session.transaction.redefined;
        redefined.fetch_add(1, Ordering::Relaxed);
    }
    Ok("ROLLBACK".to_owned())
}
