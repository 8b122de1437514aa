//! Messages from and to one client, over any stream.
//!
//! In and out: pgwire's messages. Can watch for the client's departure while a statement runs,
//! keeping what arrives meanwhile. Understands no message but the one that says goodbye.

use std::collections::VecDeque;
use std::io;
use std::panic::AssertUnwindSafe;

use bytes::BytesMut;
use futures::SinkExt;
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio_util::codec::{Decoder, Framed};

use super::encoding::fault_of;
use crate::sqlstate::Failure;

/// Messages that a client may send ahead while a statement runs; beyond them the network holds it.
const READ_AHEAD: usize = 1_000;
/// Bytes that are gathered before they are sent.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;
/// Bytes that are read at once.
const READ_BUFFER_BYTES: usize = 8 * 1024;

/// What a client's stream must be.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// pgwire's framing; our statements and portals are kept by `extended`, so that it stores none.
pub(super) type Frames<S> = Framed<S, PgWireMessageServerCodec<()>>;

/// One client's connection.
pub(super) struct Socket<S> {
    /// Its codec decodes what comes, but reads nothing itself: texts are looked at before.
    frames: Frames<S>,
    received: BytesMut,
    ahead: VecDeque<Incoming>,
    /// What is wrong with the text of the message that was given last.
    fault: Option<Failure>,
}

/// A message, and what is wrong with its text.
struct Incoming {
    message: PgWireFrontendMessage,
    fault: Option<Failure>,
}

impl<S: Stream> Socket<S> {
    pub(super) fn new(mut frames: Frames<S>) -> Socket<S> {
        frames.set_backpressure_boundary(WRITE_BUFFER_BYTES);
        Socket {
            received: frames.read_buffer_mut().split(),
            frames,
            ahead: VecDeque::new(),
            fault: None,
        }
    }

    /// The next message; `None` when the client has gone.
    pub(super) async fn next(&mut self) -> Option<PgWireResult<PgWireFrontendMessage>> {
        let incoming = match self.ahead.pop_front() {
            Some(incoming) => incoming,
            None => match self.read().await? {
                Ok(incoming) => incoming,
                Err(error) => return Some(Err(error)),
            },
        };
        self.fault = incoming.fault;
        Some(Ok(incoming.message))
    }

    /// What is wrong with the text of the message that was given last.
    pub(super) fn take_fault(&mut self) -> Option<Failure> {
        self.fault.take()
    }

    /// A message from the network. Dropping the future loses nothing.
    async fn read(&mut self) -> Option<PgWireResult<Incoming>> {
        loop {
            let fault = fault_of(&self.received);
            match self.decode() {
                Ok(Some(message)) => return Some(Ok(Incoming { message, fault })),
                Ok(None) => {}
                Err(error) => return Some(Err(error)),
            }
            self.received.reserve(READ_BUFFER_BYTES);
            let stream = self.frames.get_mut();
            match stream.read_buf(&mut self.received).await {
                Ok(0) if self.received.is_empty() => return None,
                Ok(0) => {
                    let error = io::Error::other("bytes remaining on stream");
                    return Some(Err(PgWireError::IoError(error)));
                }
                Ok(_) => {}
                Err(error) => return Some(Err(PgWireError::IoError(error))),
            }
        }
    }

    /// pgwire's decoder trusts the counts and lengths within a message, and panics where they lead beyond its end; what
    /// follows such a message cannot be read.
    fn decode(&mut self) -> PgWireResult<Option<PgWireFrontendMessage>> {
        let (codec, received) = (self.frames.codec_mut(), &mut self.received);
        let decoding = AssertUnwindSafe(|| codec.decode(received));
        std::panic::catch_unwind(decoding).unwrap_or_else(|_| {
            let error = "invalid message format".into();
            Err(PgWireError::ApiError(error))
        })
    }

    /// Resolves when the client goes away; messages that arrive are kept for `next`.
    pub(super) async fn departure(&mut self) {
        loop {
            if self.ahead.len() >= READ_AHEAD {
                std::future::pending::<()>().await;
            }
            match self.read().await {
                Some(Err(_)) | None => return,
                Some(Ok(Incoming {
                    message: PgWireFrontendMessage::Terminate(_),
                    ..
                })) => return,
                Some(Ok(incoming)) => self.ahead.push_back(incoming),
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
