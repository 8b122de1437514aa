//! The commit of a block: its table, what it changes in the catalog, and its temporary tables.
//!
//! In: a block that has not failed; out: its changes, or an error after which nothing of it is left but what the error says.

use std::sync::Arc;

use auspex_storage::Tables;
use datafusion::error::DataFusionError;

use super::Block;
use super::one_table::named;
use crate::commands::was_dropped;
use crate::error::{Error, Result};
use crate::listening::Committing;
use crate::session::Session;

/// Commits a block.
pub(super) async fn commit_block(session: &Session, block: &Block) -> Result<()> {
    let done = commit_all(session, block).await;
    match &done {
        Ok(()) => Box::pin(session.settle_temporary(&block.temporary)).await,
        Err(_) => Box::pin(session.undo_temporary(&block.temporary)).await,
    }
    done
}

async fn commit_all(session: &Session, block: &Block) -> Result<()> {
    let asked = session.listening.begin_commit();
    let Some(tables) = &block.tables else {
        asked.done();
        return Ok(());
    };
    let done = match block.kept.check(&session.engine.catalog).await {
        Ok(()) => commit_tables(session, Arc::clone(tables), block, asked).await,
        Err(error) => {
            tables.discard_block().await;
            Err(error)
        }
    };
    let Err(error) = done else {
        return Ok(());
    };
    if let Some((id, name)) = &block.written
        && was_dropped(session, id, &error).await
    {
        let message = format!("relation \"{name}\" does not exist");
        let hint = "It was dropped meanwhile; nothing of the transaction block was committed.";
        return Err(Error::invalid("42P01", message, Some(hint)));
    }
    Err(match error {
        Error::Storage(error) => named(error, block.written.as_ref()),
        error => error,
    })
}

/// Commits a block in a task of its own, which goes on to its end when nobody waits any more: its table, its definitions,
/// and then its temporary tables, whose logs nobody else writes. Notifications go out once something is committed.
async fn commit_tables(
    session: &Session,
    tables: Arc<Tables>,
    block: &Block,
    asked: Committing,
) -> Result<()> {
    let engine = Arc::clone(&session.engine);
    let kept = block.kept.clone();
    let written = block.written.clone();
    let changed = written.filter(|(id, _)| block.has_changes_in(id));
    let committing = tokio::spawn(async move {
        if let Some((id, _)) = &changed {
            tables.commit_table(id).await?;
        }
        let name = changed.as_ref().map(|(_, name)| name.as_str());
        let defined = Box::pin(kept.commit(&engine, name)).await;
        if defined.is_err() && name.is_none() {
            tables.discard_block().await;
            return defined;
        }
        let temporary = tables.commit_block().await.map_err(Error::from);
        let is_committed = name.is_some() || !kept.is_empty();
        if temporary.is_ok() || is_committed {
            asked.done();
        }
        defined?;
        temporary.map_err(|error| match is_committed {
            true => kept.without_temporary(name, error),
            false => error,
        })
    });
    match committing.await {
        Ok(done) => done,
        Err(error) => Err(DataFusionError::ExecutionJoin(Box::new(error)).into()),
    }
}
