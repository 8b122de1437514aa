//! A pipeline: statements that a client sends before it syncs. In PostgreSQL they are one transaction.
//!
//! In: what a portal is to a block, and whether a sync is next; out: a block around the statements from the first change
//! on, which the sync ends, unless a BEGIN has made it the client's own. A statement that is alone before its sync stays by
//! itself, and so does a definition before any change. Behind one it is refused, as is the change of a second table: then
//! nothing of the pipeline stays.

use auspex_planner::{BlockPart, TransactionState};

use super::Prepared;
use crate::protocol::connection::{Connection, Interruption, ended};
use crate::protocol::own::Own;
use crate::protocol::socket::Stream;
use crate::sqlstate::Failure;

fn not_in_pipeline() -> Failure {
    let message = "a statement that is committed by itself cannot follow a change in a pipeline";
    Failure::error("25001", message).with_hint("Send a Sync before it.")
}

impl<S: Stream> Connection<S> {
    /// Prepares for a statement whose portal is about to be run.
    pub(in crate::protocol) async fn enter_pipeline(
        &mut self,
        prepared: &Prepared,
    ) -> Result<(), Interruption> {
        self.leave_to_client();
        let is_block_of_client =
            self.pipeline.is_none() && self.session.transaction() != TransactionState::Idle;
        if is_block_of_client {
            return Ok(());
        }
        match self.block_part(prepared) {
            BlockPart::Query | BlockPart::Begin => {}
            // Whether it is of the block's table is seen where names have a meaning.
            BlockPart::Change(_) if self.pipeline.is_some() => {}
            BlockPart::Change(table) => {
                // Nothing is committed before a sync, so that a client that waits now waits for no answer to this.
                if !self.sync_is_next().await? && self.session.open_implicit() {
                    self.pipeline = Some(table);
                }
            }
            BlockPart::Rollback => self.end_pipeline(true).await?,
            BlockPart::Control => self.end_pipeline(false).await?,
            BlockPart::Alone if self.pipeline.is_some() => return Err(not_in_pipeline().into()),
            BlockPart::Alone => {}
        }
        Ok(())
    }

    /// Answers a sync: it ends a pipeline, and outside a transaction block, portals end with it.
    pub(in crate::protocol) async fn sync(&mut self) -> Result<(), Interruption> {
        if let Err(failure) = self.end_pipeline(false).await {
            self.fail(failure).await?;
        }
        if self.session.transaction() == TransactionState::Idle {
            self.portals.retain(|_, portal| portal.holds);
        }
        Ok(self.ready().await?)
    }

    /// What a statement is to a block; one that the connection carries out itself is that which it runs.
    fn block_part(&self, prepared: &Prepared) -> BlockPart {
        match &prepared.own {
            None => prepared.part.clone(),
            Some(Own::Execute { name, .. }) => match self.statements.get(name) {
                Some(named) if !named.prepared.is_own() => named.prepared.part.clone(),
                _ => BlockPart::Alone,
            },
            Some(Own::Declare(_) | Own::DiscardAll) => BlockPart::Alone,
            Some(_) => BlockPart::Query,
        }
    }

    /// Forgets the block of a pipeline that a BEGIN has made the client's.
    fn leave_to_client(&mut self) {
        if !self.session.is_in_implicit() {
            self.pipeline = None;
        }
    }

    /// Ends the block of a pipeline, if there is one: commits it, or rolls it back after a failure.
    pub(in crate::protocol) async fn end_pipeline(&mut self, failed: bool) -> Result<(), Failure> {
        self.leave_to_client();
        if self.pipeline.take().is_none() {
            return Ok(());
        }
        let ended = self.session.end_implicit(failed).await;
        ended.map_err(|error| Failure::from_report(error.report(), "", 0))
    }

    async fn sync_is_next(&mut self) -> Result<bool, Interruption> {
        let (shutdown, draining) = (self.shutdown(), self.draining());
        tokio::select! {
            next = self.socket.next_is_sync() => match next {
                Some(Ok(is_sync)) => Ok(is_sync),
                Some(Err(error)) => {
                    Err(Interruption::Ended(Failure::fatal("08P01", error.message())))
                }
                None => Err(Interruption::Lost),
            },
            () = shutdown.cancelled() => Err(Interruption::Shutdown),
            () = draining.cancelled() => Err(Interruption::Shutdown),
            failure = ended(&self.session) => Err(Interruption::Ended(failure)),
        }
    }
}
