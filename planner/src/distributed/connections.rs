//! Connections to other machines: one a machine, shared by calls and by the streams of queries.
//!
//! In: addresses; out: channels that carry the cluster's token and our version with each request, connect within two
//! seconds, and fail within ten when the other side no longer answers, however long its answer may take. They live on a
//! thread of their own, so that a query that keeps all others busy does not look like a machine that is gone.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use datafusion::error::DataFusionError;
use datafusion_distributed::grpc::{BoxCloneSyncChannel, create_worker_client};
use datafusion_distributed::{ChannelResolver, WorkerChannel};
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;
use tokio::runtime::{Builder, Handle, Runtime};
use tonic::body::Body;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::codegen::http::{HeaderValue, Request};
use tonic::metadata::MetadataValue;
use tonic::transport::Endpoint;
use tonic::{Code, Status};
use tower::util::{BoxCloneSyncService, MapRequest};
use url::Url;

use super::call::{Call, ReportForm, VERSION, from_bytes, to_bytes};
use super::error::ClusterError;
use super::node::{
    ADDRESS_HEADER, BytesCodec, CALL_PATH, CHALLENGE_HEADER, ClusterToken, PROOF_HEADER,
    TOKEN_HEADER, VERSION_HEADER,
};
use super::peers::PeerChannel;
use super::proof;
use super::tls::ClusterTls;
use crate::engine::lock;
use crate::error::Result;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a silent machine is asked for a sign of life.
const ALIVE_INTERVAL: Duration = Duration::from_secs(4);
/// How long it has for one.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
/// A machine that nobody has asked for so long may be gone for good; who asks it again connects anew.
const IDLE: Duration = Duration::from_secs(3600);

/// The connections of this machine.
pub(super) struct Connections {
    token: Option<ClusterToken>,
    tls: Option<ClusterTls>,
    channels: Mutex<BTreeMap<Url, Kept>>,
    /// Where others reach this machine, if they do.
    address: OnceLock<HeaderValue>,
    wire: Wire,
}

/// The connection to a machine.
struct Kept {
    channel: BoxCloneSyncChannel,
    asked_at: Instant,
}

/// The thread on which connections live.
pub(super) struct Wire(Option<Runtime>);

impl Wire {
    pub(super) fn start() -> Result<Wire> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("auspex-cluster")
            .enable_all()
            .build()
            .map_err(DataFusionError::from)?;
        Ok(Wire(Some(runtime)))
    }

    pub(super) fn handle(&self) -> Handle {
        match &self.0 {
            Some(runtime) => runtime.handle().clone(),
            // Only while it is dropped.
            None => Handle::current(),
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A runtime must not be waited for on a thread of another one.
            runtime.shutdown_background();
        }
    }
}

/// Why a call has no reply.
#[derive(Debug)]
pub(super) enum CallFailure {
    /// The machine does not answer, or not any more.
    Lost(String),
    /// It answers, and says no.
    Refused(ClusterError),
}

impl std::fmt::Debug for Connections {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connections")
    }
}

impl Connections {
    pub(super) fn new(
        token: Option<ClusterToken>,
        tls: Option<ClusterTls>,
    ) -> Result<Arc<Connections>> {
        Ok(Arc::new(Connections {
            token,
            tls,
            channels: Mutex::default(),
            address: OnceLock::new(),
            wire: Wire::start()?,
        }))
    }

    /// Tells other machines from now on where they reach this one.
    pub(super) fn advertise(&self, address: &str) {
        if let Ok(address) = HeaderValue::from_str(address) {
            // It is told once.
            let _ = self.address.set(address);
        }
    }

    /// Where connections live, and what listens for them.
    pub(super) fn wire(&self) -> Handle {
        self.wire.handle()
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "how long a connection is idle, which no result depends on"
    )]
    fn channel(&self, address: &Url) -> std::result::Result<BoxCloneSyncChannel, CallFailure> {
        self.channel_at(address, Instant::now())
    }

    fn channel_at(
        &self,
        address: &Url,
        asked_at: Instant,
    ) -> std::result::Result<BoxCloneSyncChannel, CallFailure> {
        let mut channels = lock(&self.channels);
        if let Some(kept) = channels.get_mut(address) {
            kept.asked_at = asked_at;
            return Ok(kept.channel.clone());
        }
        channels.retain(|_, kept| asked_at.duration_since(kept.asked_at) < IDLE);
        let channel = self.new_channel(address)?;
        let kept = Kept {
            channel: channel.clone(),
            asked_at,
        };
        channels.insert(address.clone(), kept);
        Ok(channel)
    }

    fn new_channel(&self, address: &Url) -> std::result::Result<BoxCloneSyncChannel, CallFailure> {
        let lost = |error: tonic::transport::Error| CallFailure::Lost(error.to_string());
        let wire = self.wire();
        let endpoint = Endpoint::from_shared(address.to_string())
            .map_err(lost)?
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE_INTERVAL)
            .keep_alive_timeout(ALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(4 << 20)
            .initial_connection_window_size(16 << 20);
        // Whatever the connection spawns, now and later, it spawns there.
        let _on_wire = wire.enter();
        let token = self.token.as_ref().map(ClusterToken::header);
        let own_address = self.address.get().cloned();
        let introduce = move |mut request: Request<Body>| {
            let headers = request.headers_mut();
            headers.insert(VERSION_HEADER, HeaderValue::from_static(VERSION));
            if let Some(token) = &token
                && !headers.contains_key(CHALLENGE_HEADER)
            {
                headers.insert(TOKEN_HEADER, token.clone());
            }
            if let Some(address) = &own_address {
                headers.insert(ADDRESS_HEADER, address.clone());
            }
            request
        };
        let channel = match &self.tls {
            None => endpoint.connect_lazy(),
            Some(tls) => tls.channel(&endpoint),
        };
        let channel = MapRequest::new(channel, introduce);
        Ok(BoxCloneSyncService::new(channel))
    }

    /// Calls a machine; `within` bounds the wait, where the reply takes no work.
    pub(super) async fn call<R: DeserializeOwned>(
        &self,
        address: &Url,
        call: &Call,
        within: Option<Duration>,
    ) -> std::result::Result<R, CallFailure> {
        let reply = self.call_for_bytes(address, call, within).await?;
        from_bytes(&reply).map_err(internal)
    }

    /// The same where the reply is taken as it is.
    pub(super) async fn call_for_bytes(
        &self,
        address: &Url,
        call: &Call,
        within: Option<Duration>,
    ) -> std::result::Result<Vec<u8>, CallFailure> {
        let request = tonic::Request::new(to_bytes(call).map_err(internal)?);
        let reply = self.send_within(address, request, within).await?;
        let reply = reply.map_err(|status| self.failure(&status))?;
        let reply: std::result::Result<ByteBuf, ReportForm> =
            from_bytes(&reply).map_err(internal)?;
        match reply {
            Ok(reply) => Ok(reply.into_vec()),
            Err(report) => Err(CallFailure::Refused(report.into())),
        }
    }

    /// Lets a machine prove that it knows the token, before it is told. Errors: `Unproved`.
    pub(super) async fn challenge(
        &self,
        address: &Url,
        within: Duration,
    ) -> std::result::Result<(), CallFailure> {
        let Some(token) = &self.token else {
            return Ok(());
        };
        let challenge = proof::challenge().map_err(internal)?;
        let mut request = tonic::Request::new(Vec::new());
        if let Ok(value) = MetadataValue::try_from(&challenge) {
            request.metadata_mut().insert(CHALLENGE_HEADER, value);
        }
        let status = match self.send_within(address, request, Some(within)).await? {
            Ok(_) => return Err(CallFailure::Refused(ClusterError::Unproved)),
            Err(status) if status.code() != Code::Unauthenticated => {
                return Err(self.failure(&status));
            }
            Err(status) => status,
        };
        let answer = status.metadata().get(PROOF_HEADER);
        let answer = answer.and_then(|answer| answer.to_str().ok());
        match proof::is_proof(token, &challenge, answer.unwrap_or_default()).map_err(internal)? {
            true => Ok(()),
            false => Err(CallFailure::Refused(ClusterError::Unproved)),
        }
    }

    async fn send_within(
        &self,
        address: &Url,
        request: tonic::Request<Vec<u8>>,
        within: Option<Duration>,
    ) -> std::result::Result<std::result::Result<Vec<u8>, Status>, CallFailure> {
        let sending = self.send(address, request);
        let Some(within) = within else {
            return sending.await;
        };
        let sent = tokio::time::timeout(within, sending).await;
        sent.unwrap_or_else(|_| {
            let seconds = within.as_secs();
            Err(CallFailure::Lost(format!("no answer within {seconds} s")))
        })
    }

    /// The reply, or what the other machine or the connection says instead.
    async fn send(
        &self,
        address: &Url,
        request: tonic::Request<Vec<u8>>,
    ) -> std::result::Result<std::result::Result<Vec<u8>, Status>, CallFailure> {
        let mut client = tonic::client::Grpc::new(self.channel(address)?)
            .max_decoding_message_size(usize::MAX)
            .max_encoding_message_size(usize::MAX);
        client
            .ready()
            .await
            .map_err(|error| self.lost(with_cause(error.to_string(), &error)))?;
        let path = PathAndQuery::from_static(CALL_PATH);
        let reply = client.unary(request, path, BytesCodec).await;
        Ok(reply.map(tonic::Response::into_inner))
    }

    /// A failure of the transport, or the refusal of a machine that did not read the call.
    fn failure(&self, status: &Status) -> CallFailure {
        match status.code() {
            Code::Unauthenticated => CallFailure::Refused(ClusterError::Stranger),
            Code::FailedPrecondition => CallFailure::Refused(ClusterError::OtherVersion {
                own: status.message().to_owned(),
                other: VERSION.to_owned(),
            }),
            _ => self.lost(with_cause(status.message().to_owned(), status)),
        }
    }

    /// A machine is not reached, with what may be behind it where one side encrypts and the other does not.
    fn lost(&self, reason: String) -> CallFailure {
        // The libraries' words for bytes that are not of their protocol.
        let garbled = ["h2 protocol error", "corrupt message"];
        let is_garbled = garbled.iter().any(|words| reason.contains(words));
        CallFailure::Lost(match (is_garbled, &self.tls) {
            (false, _) => reason,
            (true, None) => format!("{reason}; the other side may encrypt, see --cluster-tls"),
            (true, Some(_)) => {
                format!("{reason}; the other side may not encrypt, see --cluster-tls")
            }
        })
    }
}

/// The words for a failure with those of its first cause, which alone say what to mend.
fn with_cause(words: String, error: &dyn Error) -> String {
    let mut first = error;
    while let Some(cause) = first.source() {
        first = cause;
    }
    let cause = first.to_string();
    match std::ptr::addr_eq(first, error) || words.contains(&cause) {
        true => words,
        false => format!("{words}: {cause}"),
    }
}

/// A message that cannot be written or read.
fn internal(error: crate::error::Error) -> CallFailure {
    CallFailure::Lost(error.to_string())
}

#[async_trait]
impl ChannelResolver for Connections {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> std::result::Result<Box<dyn WorkerChannel>, DataFusionError> {
        let channel = self.channel(url).map_err(|failure| match failure {
            CallFailure::Lost(reason) => ClusterError::Unreachable {
                address: url.to_string(),
                reason,
            },
            CallFailure::Refused(error) => error,
        })?;
        Ok(Box::new(PeerChannel {
            url: url.clone(),
            channel: create_worker_client(channel),
        }))
    }
}

/// [`Connections`] as the library wants them.
#[derive(Debug, Clone)]
pub(super) struct Channels(pub(super) Arc<Connections>);

#[async_trait]
impl ChannelResolver for Channels {
    async fn get_worker_client_for_url(
        &self,
        url: &Url,
    ) -> std::result::Result<Box<dyn WorkerChannel>, DataFusionError> {
        self.0.get_worker_client_for_url(url).await
    }
}

/// The URL of a machine.
pub(super) fn url_of(address: &str) -> std::result::Result<Url, ClusterError> {
    let invalid = || ClusterError::Address {
        address: address.to_owned(),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(invalid)?;
    if host.is_empty() || port.parse::<u16>().is_err() {
        return Err(invalid());
    }
    Url::parse(&format!("http://{address}")).map_err(|_| invalid())
}

/// The address in a URL of a machine.
pub(super) fn address_of(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    format!("{host}:{}", url.port_or_known_default().unwrap_or(80))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "a moment to count from")]
    fn machines_that_nobody_asks_are_forgotten() {
        let connections = Connections::new(None, None).unwrap();
        let [a, b, c] = ["a:1", "b:1", "c:1"].map(|address| url_of(address).unwrap());
        let asked = |machine, at| drop(connections.channel_at(machine, at).unwrap());
        let start = Instant::now();
        asked(&a, start);
        asked(&b, start);
        asked(&b, start + IDLE / 2);
        asked(&c, start + IDLE);
        let known: Vec<Url> = lock(&connections.channels).keys().cloned().collect();
        assert_eq!(known, [b, c]);
    }

    #[test]
    fn a_failure_is_told_with_its_first_cause() {
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let cause = refused.to_string();
        let error = DataFusionError::External(Box::new(DataFusionError::IoError(refused)));
        assert_eq!(
            with_cause("no connection".to_owned(), &error),
            format!("no connection: {cause}")
        );
        let told = format!("no connection, {cause}");
        assert_eq!(with_cause(told.clone(), &error), told);
        let alone = std::io::Error::from(std::io::ErrorKind::TimedOut);
        assert_eq!(with_cause("late".to_owned(), &alone), "late");
    }

    #[test]
    fn a_garbled_answer_makes_doubt_whether_both_encrypt() {
        let connections = Connections::new(None, None).unwrap();
        let told = |reason: &str| match connections.lost(reason.to_owned()) {
            CallFailure::Lost(reason) => reason,
            CallFailure::Refused(_) => String::new(),
        };
        assert_eq!(told("connection refused"), "connection refused");
        assert_eq!(
            told("h2 protocol error: http2 error"),
            "h2 protocol error: http2 error; the other side may encrypt, see --cluster-tls"
        );
    }
}
