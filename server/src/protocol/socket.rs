//! Messages from and to one client, over any stream.
//!
//! In and out: pgwire's messages; rows go out as bytes, without a message of their own each. Can watch for the client's departure while a statement runs,
//! keeping what arrives meanwhile. Understands no message but the one that says goodbye; what has not the form of its
//! kind never reaches pgwire's decoder.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use auspex_planner::ReceivedBytes;
use bytes::{Buf as _, BytesMut};
use futures::SinkExt as _;
use pgwire::api::{ClientInfo, PgWireConnectionState};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_util::codec::{Decoder as _, Framed};
use tokio_util::sync::CancellationToken;

use super::layout::{self, Malformed};
use super::startup::unsupported_version;
use super::types::{RowEncoder, put_message};
use crate::sqlstate::Failure;

/// Messages that a client may send ahead while a statement runs; beyond them the network holds it.
const READ_AHEAD: usize = 1_000;
/// The same in bytes. A message that is longer is read ahead if it is the first.
const READ_AHEAD_BYTES: usize = 1 << 20;
/// Bytes that are read at a time, at least.
const READ_BUFFER_BYTES: usize = 8 * 1024;
/// Bytes that are gathered before they are sent.
const WRITE_BUFFER_BYTES: usize = 64 * 1024;

/// How long a farewell may take: its client may not read.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a client's stream must be.
pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// pgwire's framing; our statements and portals are kept by `extended`, so that it stores none.
pub(super) type Frames<S> = Framed<S, PgWireMessageServerCodec<()>>;

/// Why there is no message.
pub(super) enum Unreadable {
    /// It has not the form of its kind; what follows it can be read.
    Malformed(Malformed),
    /// Nothing that follows can be read, and why.
    Rest(String),
    /// A first message by another version of the protocol, and what is said of it.
    Version(String),
}

impl Unreadable {
    /// What is wrong.
    pub(super) fn message(&self) -> String {
        match self {
            Unreadable::Malformed(malformed) => malformed.failure().message().to_owned(),
            Unreadable::Rest(message) | Unreadable::Version(message) => message.clone(),
        }
    }

    /// The SQLSTATE of what ends the connection.
    pub(super) fn sqlstate(&self) -> &'static str {
        match self {
            Unreadable::Version(_) => "0A000",
            Unreadable::Rest(_) | Unreadable::Malformed(_) => "08P01",
        }
    }
}

impl From<PgWireError> for Unreadable {
    fn from(error: PgWireError) -> Unreadable {
        Unreadable::Rest(match error {
            PgWireError::InvalidMessageType(kind) => {
                format!("invalid frontend message type {kind}")
            }
            error => error.to_string(),
        })
    }
}

/// One client's connection.
pub(super) struct Socket<S> {
    /// Only written to: what is read passes `received`.
    frames: Frames<S>,
    /// What the client sent and is not a message yet.
    received: BytesMut,
    ahead: VecDeque<Ahead>,
    /// The bytes of what is `ahead`.
    ahead_bytes: usize,
    /// The bytes of the last message that was taken out of `received`.
    message_bytes: usize,
    /// The bytes of the message that `next` gave last, which is being answered.
    taken_bytes: usize,
    /// What is left of a message that there was no room for.
    refused: Option<Refused>,
    /// What the bytes that the client sent count against, once it is known who it is.
    memory: Option<ReceivedBytes>,
    /// What ends the connection though its client takes nothing.
    ends: Option<[CancellationToken; 2]>,
}

/// A message that is dropped as it arrives.
struct Refused {
    kind: u8,
    n_left: usize,
}

/// A message that arrived before it was asked for.
struct Ahead {
    message: Result<PgWireFrontendMessage, Malformed>,
    n_bytes: usize,
}

impl<S: Stream> Socket<S> {
    pub(super) fn new(mut frames: Frames<S>) -> Socket<S> {
        frames.set_backpressure_boundary(WRITE_BUFFER_BYTES);
        Socket {
            received: frames.read_buffer_mut().split(),
            frames,
            ahead: VecDeque::new(),
            ahead_bytes: 0,
            message_bytes: 0,
            taken_bytes: 0,
            refused: None,
            memory: None,
            ends: None,
        }
    }

    /// From now on, nothing waits for the client to read once one of these is cancelled.
    pub(super) fn end_with(&mut self, ends: [CancellationToken; 2]) {
        self.ends = Some(ends);
    }

    /// From now on, what the client sends counts against this memory.
    pub(super) fn count_against(&mut self, memory: ReceivedBytes) {
        self.memory = Some(memory);
    }

    /// The next message; `None` when the client has gone.
    pub(super) async fn next(&mut self) -> Option<Result<PgWireFrontendMessage, Unreadable>> {
        self.taken_bytes = 0;
        match self.ahead.pop_front() {
            Some(Ahead { message, n_bytes }) => {
                self.ahead_bytes -= n_bytes;
                self.take(n_bytes);
                Some(message.map_err(Unreadable::Malformed))
            }
            None => {
                let message = self.read().await;
                self.take(self.message_bytes);
                message
            }
        }
    }

    /// A message is being answered, and those before it no more.
    fn take(&mut self, n_bytes: usize) {
        self.taken_bytes = n_bytes;
        if let Some(memory) = &self.memory {
            // It was accounted while it came.
            memory.hold(self.held_bytes());
        }
    }

    /// The bytes that the client sent and that are still here.
    fn held_bytes(&self) -> usize {
        self.taken_bytes + self.ahead_bytes + self.received.len()
    }

    /// Waits for the next message, which `next` gives, and tells whether it is a sync; `None` when the client has gone.
    pub(super) async fn next_is_sync(&mut self) -> Option<Result<bool, Unreadable>> {
        if self.ahead.is_empty() {
            match self.read().await? {
                Ok(message) => self.keep(Ok(message)),
                Err(Unreadable::Malformed(malformed)) => self.keep(Err(malformed)),
                Err(error) => return Some(Err(error)),
            }
        }
        let next = self.ahead.front().map(|ahead| &ahead.message);
        Some(Ok(matches!(next, Some(Ok(PgWireFrontendMessage::Sync(_))))))
    }

    /// Keeps the message that was read last for `next`.
    fn keep(&mut self, message: Result<PgWireFrontendMessage, Malformed>) {
        let n_bytes = self.message_bytes;
        self.ahead_bytes += n_bytes;
        self.ahead.push_back(Ahead { message, n_bytes });
    }

    /// A message from the network. May be given up at any time.
    async fn read(&mut self) -> Option<Result<PgWireFrontendMessage, Unreadable>> {
        loop {
            if let Some(refused) = self.pass_over() {
                return Some(Err(Unreadable::Malformed(refused)));
            }
            if let Some(refused) = self.refuse_whole() {
                return Some(Err(Unreadable::Malformed(refused)));
            }
            if self.refused.is_none() {
                match self.decode() {
                    Ok(None) => self.check_room(),
                    Ok(Some(message)) => return Some(Ok(message)),
                    Err(error) => return Some(Err(error)),
                }
            }
            self.received.reserve(READ_BUFFER_BYTES);
            match self.frames.get_mut().read_buf(&mut self.received).await {
                // One whose network fails is gone, too.
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// Drops a message that came at once, if there is no room for it.
    fn refuse_whole(&mut self) -> Option<Malformed> {
        let memory = self.memory.as_ref()?;
        let (kind, length) = layout::head(&self.received)?;
        let held_bytes = self.taken_bytes + self.ahead_bytes + length;
        if self.refused.is_some() || length > self.received.len() || memory.hold(held_bytes) {
            return None;
        }
        self.received.advance(length);
        self.message_bytes = 0;
        memory.hold(self.held_bytes());
        Some(Malformed::no_room(kind))
    }

    /// Begins to drop the message that is arriving, if there is no room for what has come of it.
    fn check_room(&mut self) {
        let Some(memory) = &self.memory else {
            return;
        };
        if memory.hold(self.held_bytes()) {
            return;
        }
        if let Some((kind, length)) = layout::head(&self.received) {
            let n_left = length.saturating_sub(self.received.len());
            self.refused = Some(Refused { kind, n_left });
            self.received = BytesMut::new();
            memory.hold(self.held_bytes());
        }
    }

    /// Drops what has come of a message that there was no room for; tells of it at its end.
    fn pass_over(&mut self) -> Option<Malformed> {
        let refused = self.refused.as_mut()?;
        let n_bytes = refused.n_left.min(self.received.len());
        self.received.advance(n_bytes);
        refused.n_left -= n_bytes;
        if refused.n_left > 0 {
            return None;
        }
        self.message_bytes = 0;
        let refused = self.refused.take()?;
        Some(Malformed::no_room(refused.kind))
    }

    /// A message of what was read, if there is a whole one.
    fn decode(&mut self) -> Result<Option<PgWireFrontendMessage>, Unreadable> {
        let n_bytes = self.received.len();
        let decoded = self.decode_received();
        self.message_bytes = n_bytes - self.received.len();
        decoded
    }

    fn decode_received(&mut self) -> Result<Option<PgWireFrontendMessage>, Unreadable> {
        use PgWireConnectionState as State;
        let has_kinds = !matches!(
            self.frames.state(),
            State::AwaitingSslRequest | State::AwaitingStartup
        );
        if matches!(self.frames.state(), State::AwaitingStartup)
            && let Some(message) = unsupported_version(&self.received)
        {
            return Err(Unreadable::Version(message));
        }
        if has_kinds && !layout::has_length(&self.received) {
            return Err(Unreadable::Rest("invalid message length".to_owned()));
        }
        if has_kinds && let Some(message) = layout::first_message(&self.received) {
            let (length, checked) = (message.len(), layout::check(message));
            if let Err(malformed) = checked {
                self.received.advance(length);
                return Err(Unreadable::Malformed(malformed));
            }
        }
        // What was checked does not panic; the rest, as of the login, may.
        let (codec, received) = (self.frames.codec_mut(), &mut self.received);
        let decoded = catch_unwind(AssertUnwindSafe(|| codec.decode(received)));
        let decoded = decoded.map_err(|_| Unreadable::Rest("invalid message format".to_owned()))?;
        Ok(decoded?)
    }

    /// Resolves when the client goes away; messages that arrive are kept for `next`.
    pub(super) async fn departure(&mut self) {
        loop {
            if self.ahead.len() >= READ_AHEAD || self.ahead_bytes >= READ_AHEAD_BYTES {
                std::future::pending::<()>().await;
            }
            match self.read().await {
                Some(
                    Ok(PgWireFrontendMessage::Terminate(_))
                    | Err(Unreadable::Rest(_) | Unreadable::Version(_)),
                )
                | None => return,
                Some(Ok(message)) => self.keep(Ok(message)),
                Some(Err(Unreadable::Malformed(malformed))) => self.keep(Err(malformed)),
            }
        }
    }

    /// Sends a message, not necessarily at once.
    pub(super) async fn feed(&mut self, message: PgWireBackendMessage) -> io::Result<()> {
        within(&self.ends, self.frames.feed(message)).await
    }

    /// Where whole messages may be put that [`relieve`](Self::relieve) or a flush then sends.
    pub(super) fn outgoing(&mut self) -> &mut BytesMut {
        self.frames.write_buffer_mut()
    }

    /// Sends what was gathered, if it is enough; waits while the client does not take it.
    pub(super) async fn relieve(&mut self) -> io::Result<()> {
        match self.frames.write_buffer().len() < WRITE_BUFFER_BYTES {
            true => Ok(()),
            false => self.flush().await,
        }
    }

    /// Puts a row behind what was gathered, which [`relieve`](Self::relieve) sends.
    pub(super) fn put_row(&mut self, rows: &RowEncoder, row: usize) {
        put_message(b'D', self.outgoing(), |out| rows.put_row(row, out));
    }

    /// Sends what was gathered.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        within(&self.ends, self.frames.flush()).await
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
        let notice = PgWireBackendMessage::NoticeResponse(info.into());
        within(&self.ends, self.frames.send(notice)).await
    }

    /// Says farewell and closes, within a limit.
    pub(super) async fn end(&mut self, failure: Failure) -> io::Result<()> {
        let farewell = PgWireBackendMessage::ErrorResponse(failure.into_info().into());
        let said = async {
            self.frames.feed(farewell).await?;
            self.frames.close().await
        };
        tokio::time::timeout(FAREWELL, said).await?
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

/// Writes, unless the connection is to end while the client takes nothing.
async fn within(
    ends: &Option<[CancellationToken; 2]>,
    write: impl Future<Output = io::Result<()>>,
) -> io::Result<()> {
    let ended = async {
        match ends {
            None => std::future::pending().await,
            Some([one, other]) => tokio::select! {
                () = one.cancelled() => {}
                () = other.cancelled() => {}
            },
        }
    };
    tokio::select! {
        biased;
        written = write => written,
        () = ended => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}
