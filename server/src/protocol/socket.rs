//! Messages from and to one client, over any stream.
//!
//! In and out: pgwire's messages. Can watch for the client's departure while a statement runs,
//! keeping what arrives meanwhile. Understands no message but the one that says goodbye.

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;

use futures::{FutureExt, SinkExt, StreamExt};
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::codec::Framed;

use crate::sqlstate::Failure;

/// Messages that a client may send ahead while a statement runs; beyond them the network holds it.
const READ_AHEAD: usize = 1_000;
/// Bytes that are gathered before they are sent.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// What a client's stream must be.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// pgwire's framing; our statements and portals are kept by `extended`, so that it stores none.
pub(super) type Frames<S> = Framed<S, PgWireMessageServerCodec<()>>;

/// One client's connection.
pub(super) struct Socket<S> {
    frames: Frames<S>,
    ahead: VecDeque<PgWireFrontendMessage>,
}

impl<S: Stream> Socket<S> {
    pub(super) fn new(mut frames: Frames<S>) -> Socket<S> {
        frames.set_backpressure_boundary(WRITE_BUFFER_BYTES);
        Socket {
            frames,
            ahead: VecDeque::new(),
        }
    }

    /// The next message; `None` when the client has gone.
    pub(super) async fn next(&mut self) -> Option<PgWireResult<PgWireFrontendMessage>> {
        match self.ahead.pop_front() {
            Some(message) => Some(Ok(message)),
            None => self.read().await,
        }
    }

    /// A message from the network. pgwire's decoder trusts the counts and lengths within a message, and panics where they
    /// lead beyond its end; what follows such a message cannot be read.
    async fn read(&mut self) -> Option<PgWireResult<PgWireFrontendMessage>> {
        let reading = AssertUnwindSafe(self.frames.next()).catch_unwind();
        reading.await.unwrap_or_else(|_| {
            let error = "invalid message format".into();
            Some(Err(PgWireError::ApiError(error)))
        })
    }

    /// Resolves when the client goes away; messages that arrive are kept for `next`.
    pub(super) async fn departure(&mut self) {
        loop {
            if self.ahead.len() >= READ_AHEAD {
                std::future::pending::<()>().await;
            }
            match self.read().await {
                Some(Ok(PgWireFrontendMessage::Terminate(_)) | Err(_)) | None => return,
                Some(Ok(message)) => self.ahead.push_back(message),
            }
        }
    }

    /// Sends a message, not necessarily at once.
    pub(super) async fn feed(&mut self, message: PgWireBackendMessage) -> io::Result<()> {
        self.frames.feed(message).await
    }

    /// Sends what was gathered.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        self.frames.flush().await
    }

    /// Sends a failure, not necessarily at once.
    pub(super) async fn feed_failure(&mut self, failure: Failure) -> io::Result<()> {
        self.feed(PgWireBackendMessage::ErrorResponse(
            failure.into_info().into(),
        ))
        .await
    }

    /// Sends a notice at once.
    pub(super) async fn send_notice(&mut self, info: ErrorInfo) -> io::Result<()> {
        self.frames
            .send(PgWireBackendMessage::NoticeResponse(info.into()))
            .await
    }

    /// Says farewell and closes.
    pub(super) async fn end(&mut self, failure: Failure) -> io::Result<()> {
        self.feed_failure(failure).await?;
        self.frames.close().await
    }

    /// From now on, messages are read in the given state of the protocol.
    pub(super) fn set_state(&mut self, state: PgWireConnectionState) {
        self.frames.set_state(state);
    }

    /// What pgwire keeps of the client.
    pub(super) fn client_mut(&mut self) -> &mut Frames<S> {
        &mut self.frames
    }
}
