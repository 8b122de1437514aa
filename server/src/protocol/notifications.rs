//! Notifications on their way to a client: at the end of its statements, and while it waits for others.
//!
//! In: what the session of a connection was sent; out: messages. Within a transaction block, and between the messages of a
//! statement, it is told nothing, as in PostgreSQL.

use std::io;

use auspex_planner::Session;
use pgwire::messages::response::NotificationResponse;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::connection::{Connection, Interruption, ended};
use super::socket::{Socket, Stream, Unreadable};

/// Tells the client what its session was sent, not necessarily at once.
pub(super) async fn tell<S: Stream>(socket: &mut Socket<S>, session: &Session) -> io::Result<()> {
    for notification in session.take_notifications() {
        let told = NotificationResponse::new(
            notification.process_id(),
            notification.channel().to_owned(),
            notification.payload().to_owned(),
        );
        socket
            .feed(PgWireBackendMessage::NotificationResponse(told))
            .await?;
    }
    Ok(())
}

impl<S: Stream> Connection<S> {
    /// Waits for the client's next message; `None`: it has gone. One that is at rest is told meanwhile what its session is
    /// sent, which does not count against the time that it may be idle.
    pub(super) async fn next_message(
        &mut self,
        at_rest: bool,
    ) -> Result<Option<Result<PgWireFrontendMessage, Unreadable>>, Interruption> {
        let ended = ended(&self.session);
        tokio::pin!(ended);
        let leaving = self.leaving().clone();
        loop {
            tokio::select! {
                // A message that is here already is answered without a look at the rest, which costs as much as a message.
                biased;
                message = self.socket.next() => return Ok(message),
                () = leaving.cancelled() => return Err(Interruption::Shutdown),
                failure = &mut ended => return Err(Interruption::Ended(failure)),
                () = self.session.notified(), if at_rest => {}
            }
            tell(&mut self.socket, &self.session).await?;
            self.socket.flush().await?;
        }
    }
}
