//! Temporary relations that a block makes or drops behind a change of rows.
//!
//! In: a name that comes or goes; out: the session's temporary relations as they were, if the block is taken back, and the
//! files of those that were dropped removed, if it is committed. They are the session's own: nobody else can be in the way.

use super::Block;
use crate::session::Session;

/// What became of one of them.
#[derive(Debug, Clone)]
pub(crate) enum TemporaryChange {
    /// It was made.
    Made { name: String, id: String },
    /// It was dropped, and is kept until the block ends.
    Dropped { id: String },
}

impl Session {
    /// Notes a change that is taken back with the session's block; false: it is done at once, since the block has changed no
    /// rows, or there is none.
    pub(crate) fn keep_temporary(&self, change: TemporaryChange) -> bool {
        let keep = |block: &mut Block| {
            let keeps = block.has_changes();
            if keeps {
                block.temporary.push(change);
            }
            keeps
        };
        self.transaction.with(keep) == Some(true)
    }

    /// Removes what a block that is committed has dropped.
    pub(super) async fn settle_temporary(&self, changes: &[TemporaryChange]) {
        for change in changes {
            if let TemporaryChange::Dropped { id } = change {
                self.remove_left(id).await;
            }
        }
    }

    /// Takes back what a block did, the last of it first.
    pub(super) async fn undo_temporary(&self, changes: &[TemporaryChange]) {
        for change in changes.iter().rev() {
            match change {
                TemporaryChange::Made { name, id } => self.remove_made(name, id).await,
                TemporaryChange::Dropped { id } => self.temporary.put_back(id),
            }
        }
    }
}
