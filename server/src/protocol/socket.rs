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
use pgwire::api::{ClientInfo, PgWireConnectionState as State};
use pgwire::error::{ErrorInfo, PgWireError};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite};
use tokio_util::codec::{Decoder as _, Framed};
use tokio_util::sync::CancellationToken;

use super::client_encoding::{ClientEncoding, Untranslatable};
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

/// The kind of the message that ends a connection, and those of messages that run statements.
const GOODBYE: u8 = b'X';
const RUNNING: [u8; 2] = [b'Q', b'E'];

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
    /// What texts are converted from and to.
    encoding: Option<ClientEncoding>,
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
    message: Result<Arrived, Malformed>,
    n_bytes: usize,
}

impl Ahead {
    fn kind(&self) -> Option<u8> {
        match &self.message {
            Ok(Arrived::Message(message)) => message.first().copied(),
            _ => None,
        }
    }
}

/// What came from the network.
enum Arrived {
    /// A message of a client that is not known yet.
    Opening(PgWireFrontendMessage),
    /// Any other as it came. What its bytes mean is known when it is asked for: a message before it may set the encoding.
    Message(BytesMut),
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
            encoding: None,
            memory: None,
            ends: None,
        }
    }

    /// From now on, nothing waits for the client to read once one of these is cancelled.
    pub(super) fn end_with(&mut self, ends: [CancellationToken; 2]) {
        self.ends = Some(ends);
    }

    /// From now on, texts are converted from and to this encoding; `None`: they are passed on.
    pub(super) fn use_encoding(&mut self, encoding: Option<ClientEncoding>) {
        self.encoding = encoding;
    }

    /// The encoding of the client, if texts are converted.
    pub(super) fn encoding(&self) -> Option<ClientEncoding> {
        self.encoding
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
                let message = message.map_err(Unreadable::Malformed);
                Some(message.and_then(|message| self.decode(message)))
            }
            None => {
                let message = self.read().await?;
                self.take(self.message_bytes);
                Some(message.and_then(|message| self.decode(message)))
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
        Some(Ok(matches!(
            next,
            Some(Ok(Arrived::Message(message)))
                if message.first() == Some(&b'S') && layout::check(message).is_ok()
        )))
    }

    /// Keeps the message that was read last for `next`.
    fn keep(&mut self, message: Result<Arrived, Malformed>) {
        let n_bytes = self.message_bytes;
        self.ahead_bytes += n_bytes;
        self.ahead.push_back(Ahead { message, n_bytes });
    }

    /// A message from the network. May be given up at any time.
    async fn read(&mut self) -> Option<Result<Arrived, Unreadable>> {
        loop {
            if let Some(refused) = self.pass_over() {
                return Some(Err(Unreadable::Malformed(refused)));
            }
            if let Some(refused) = self.refuse_whole() {
                return Some(Err(Unreadable::Malformed(refused)));
            }
            if self.refused.is_none() {
                match self.arrived() {
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

    /// The first message of what was read, if there is a whole one.
    fn arrived(&mut self) -> Result<Option<Arrived>, Unreadable> {
        let n_bytes = self.received.len();
        let arrived = match self.frames.state() {
            State::AwaitingSslRequest | State::AwaitingStartup => {
                self.opening().map(|message| message.map(Arrived::Opening))
            }
            _ => self.whole().map(|message| message.map(Arrived::Message)),
        };
        self.message_bytes = n_bytes - self.received.len();
        arrived
    }

    fn opening(&mut self) -> Result<Option<PgWireFrontendMessage>, Unreadable> {
        if matches!(self.frames.state(), State::AwaitingStartup)
            && let Some(message) = unsupported_version(&self.received)
        {
            return Err(Unreadable::Version(message));
        }
        decoded(self.frames.codec_mut(), &mut self.received)
    }

    fn whole(&mut self) -> Result<Option<BytesMut>, Unreadable> {
        if !layout::has_length(&self.received) {
            return Err(Unreadable::Rest("invalid message length".to_owned()));
        }
        match self.received.first() {
            Some(kind) if !layout::is_known(*kind) => {
                let message = format!("invalid frontend message type {kind}");
                Err(Unreadable::Rest(message))
            }
            _ => {
                let length = layout::first_message(&self.received).map(<[u8]>::len);
                Ok(length.map(|length| self.received.split_to(length)))
            }
        }
    }

    /// What a message says that `next` is to give.
    fn decode(&mut self, message: Arrived) -> Result<PgWireFrontendMessage, Unreadable> {
        let mut message = match message {
            Arrived::Opening(message) => return Ok(message),
            Arrived::Message(message) => message,
        };
        if let Some(converted) = self.converted(&message).map_err(Unreadable::Malformed)? {
            message = converted;
        }
        layout::check(&message).map_err(Unreadable::Malformed)?;
        // What was checked does not panic; the rest, as of the login, may.
        let decoded = decoded(self.frames.codec_mut(), &mut message)?;
        decoded.ok_or_else(|| Unreadable::Rest("invalid message format".to_owned()))
    }

    /// A client's message in UTF-8, for which there is memory; `None`: it is as it came.
    fn converted(&mut self, message: &[u8]) -> Result<Option<BytesMut>, Malformed> {
        let Some(encoding) = self.encoding else {
            return Ok(None);
        };
        let kind = message.first().copied().unwrap_or_default();
        let length = encoding.received_length(message);
        if length > message.len() {
            // Both are there for a while.
            self.taken_bytes += length;
            let has_room = self.memory.as_ref().is_none_or(|memory| {
                let held_bytes = self.taken_bytes + self.ahead_bytes + self.received.len();
                memory.hold(held_bytes)
            });
            if !has_room || i32::try_from(length).is_err() {
                self.take(0);
                return Err(Malformed::no_room(kind));
            }
        }
        let converted = encoding.received(message);
        converted.map_err(|wrong| Malformed::untranslatable(kind, &wrong))
    }

    /// Resolves when the client goes away; messages that arrive are kept for `next`. Who says goodbye behind statements that
    /// wait has not gone before they have run.
    pub(super) async fn departure(&mut self) {
        loop {
            let is_full = self.ahead.len() >= READ_AHEAD || self.ahead_bytes >= READ_AHEAD_BYTES;
            let last = self.ahead.back().and_then(Ahead::kind);
            if is_full || last == Some(GOODBYE) {
                std::future::pending::<()>().await;
            }
            match self.read().await {
                Some(Err(Unreadable::Rest(_) | Unreadable::Version(_))) | None => return,
                Some(Ok(Arrived::Message(message)))
                    if message.first() == Some(&GOODBYE) && !self.statements_wait() =>
                {
                    return;
                }
                Some(Ok(message)) => self.keep(Ok(message)),
                Some(Err(Unreadable::Malformed(malformed))) => self.keep(Err(malformed)),
            }
        }
    }

    /// Whether a message that runs a statement was read ahead.
    fn statements_wait(&self) -> bool {
        let mut kinds = self.ahead.iter().filter_map(Ahead::kind);
        kinds.any(|kind| RUNNING.contains(&kind))
    }

    /// Sends a message, not necessarily at once.
    pub(super) async fn feed(&mut self, message: PgWireBackendMessage) -> io::Result<()> {
        if self.encoding.is_some() {
            // Else what was gathered may be sent just before the message is put behind it.
            self.relieve().await?;
        }
        let start = self.outgoing().len();
        within(&self.ends, self.frames.feed(message)).await?;
        self.convert_message(start);
        Ok(())
    }

    /// Converts the texts of a message that was put at a byte of what was gathered.
    fn convert_message(&mut self, start: usize) {
        let Some(encoding) = self.encoding else {
            return;
        };
        let outgoing = self.outgoing();
        let message = outgoing.get(start..).unwrap_or_default();
        if let Some(message) = encoding.sent(message) {
            outgoing.truncate(start);
            outgoing.extend_from_slice(&message);
        }
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

    /// Puts a row behind what was gathered, which [`relieve`](Self::relieve) sends. Error: the client's encoding lacks a
    /// character of it.
    pub(super) fn put_row(&mut self, rows: &RowEncoder, row: usize) -> Result<(), Untranslatable> {
        let Some(encoding) = self.encoding else {
            put_message(b'D', self.outgoing(), |out| rows.put_row(row, out));
            return Ok(());
        };
        let mut values = BytesMut::new();
        rows.put_row(row, &mut values);
        let values = encoding.row(&values, rows.columns())?;
        put_message(b'D', self.outgoing(), |out| out.extend_from_slice(&values));
        Ok(())
    }

    /// Puts messages of a COPY, which `put` writes as text, in an encoding. Error: as of [`put_row`](Self::put_row).
    pub(super) fn put_copied(
        &mut self,
        encoding: Option<ClientEncoding>,
        put: impl FnOnce(&mut BytesMut),
    ) -> Result<(), Untranslatable> {
        let outgoing = self.outgoing();
        let start = outgoing.len();
        put(outgoing);
        let written = outgoing.get(start..).unwrap_or_default();
        let Some(encoding) = encoding.filter(|_| !written.is_ascii()) else {
            return Ok(());
        };
        let converted = encoding.copied(written);
        outgoing.truncate(start);
        outgoing.extend_from_slice(&converted?);
        Ok(())
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
        self.feed(PgWireBackendMessage::NoticeResponse(info.into()))
            .await?;
        self.flush().await
    }

    /// Says farewell and closes, within a limit.
    pub(super) async fn end(&mut self, failure: Failure) -> io::Result<()> {
        let farewell = PgWireBackendMessage::ErrorResponse(failure.into_info().into());
        let said = async {
            self.frames.flush().await?;
            self.frames.feed(farewell).await?;
            self.convert_message(0);
            self.frames.close().await
        };
        tokio::time::timeout(FAREWELL, said).await?
    }

    /// From now on, messages are read in the given state of the protocol.
    pub(super) fn set_state(&mut self, state: State) {
        self.frames.set_state(state);
    }

    /// What pgwire keeps of the client.
    pub(super) fn client_mut(&mut self) -> &mut Frames<S> {
        &mut self.frames
    }
}

/// A message of bytes, if there is a whole one.
fn decoded(
    codec: &mut PgWireMessageServerCodec<()>,
    bytes: &mut BytesMut,
) -> Result<Option<PgWireFrontendMessage>, Unreadable> {
    let decoded = catch_unwind(AssertUnwindSafe(|| codec.decode(bytes)));
    let decoded = decoded.map_err(|_| Unreadable::Rest("invalid message format".to_owned()))?;
    Ok(decoded?)
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
