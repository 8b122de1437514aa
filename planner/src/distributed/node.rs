//! The port of a machine of a cluster.
//!
//! In: connections of other machines; out: their calls, and the library's requests, from machines that know the token
//! and run our version; the others are told no before anything of theirs is read.

use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use bytes::BufMut;
use datafusion_distributed::Worker;
use futures::{Stream, StreamExt as _};
use http_body_util::BodyExt as _;
use serde_bytes::ByteBuf;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::{HeaderValue, Request as HttpRequest, Response as HttpResponse};
use tonic::codegen::{BoxFuture, Service};
use tonic::metadata::MetadataValue;
use tonic::server::{Grpc, NamedService, UnaryService};
use tonic::service::InterceptorLayer;
use tonic::transport::Server;
use tonic::transport::server::{Connected as _, TcpIncoming};
use tonic::{Request, Response, Status};

use super::call::{Call, VERSION, from_bytes, to_bytes};
use super::counted::{Counted, PortStream, WireBytes};
use super::error::{ClusterError, report_form};
use super::proof::proof;
use super::refusals::Refusals;
use super::strangers::{Strangers, Visitor};
use super::tls::{ClusterTls, refusal};
use crate::error::Result;

/// The method of calls.
pub(super) const CALL_PATH: &str = "/auspex.Node/Call";
pub(super) const TOKEN_HEADER: &str = "x-auspex-token";
pub(super) const VERSION_HEADER: &str = "x-auspex-version";
/// What a machine that is called is to prove that it knows the token with, before it is told; and its proof.
pub(super) const CHALLENGE_HEADER: &str = "x-auspex-challenge";
pub(super) const PROOF_HEADER: &str = "x-auspex-proof";
/// Where a machine that asks is reached itself, if it listens.
pub(super) const ADDRESS_HEADER: &str = "x-auspex-address";

/// How often a silent machine is asked for a sign of life, and how long it has for one. What a machine that is gone
/// without a word had asked for ends then.
const ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Machines that show their certificates at a time.
const MAX_HANDSHAKES: usize = 64;

/// Characters of a token at least: as many as nobody guesses.
const LEAST_TOKEN: usize = 16;

/// What the machines of a cluster know and others do not.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterToken(Arc<str>);

impl std::fmt::Debug for ClusterToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

impl ClusterToken {
    /// The token in a file's content.
    ///
    /// Errors: `ShortToken`, also for one with characters that no header may have.
    pub fn new(text: &str) -> std::result::Result<ClusterToken, ClusterError> {
        let text = text.trim();
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if text.len() < LEAST_TOKEN || !is_plain {
            return Err(ClusterError::ShortToken { least: LEAST_TOKEN });
        }
        Ok(ClusterToken(text.into()))
    }

    /// What proves that a machine knows it is made with this.
    pub(super) fn secret(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// As a header's value; the content was checked.
    pub(super) fn header(&self) -> HeaderValue {
        HeaderValue::from_str(&self.0).unwrap_or_else(|_| HeaderValue::from_static(""))
    }

    /// Compares all characters, so that the time does not tell how many are right.
    fn is(&self, found: &[u8]) -> bool {
        let own = self.0.as_bytes();
        let differing = own.iter().zip(found).fold(0, |bits, (a, b)| bits | (a ^ b));
        own.len() == found.len() && differing == 0
    }
}

/// What answers the calls of other machines.
#[async_trait]
pub(super) trait Node: Send + Sync + 'static {
    /// The reply; dropping the future ends the work.
    async fn answer(self: Arc<Self>, call: Call) -> Result<Vec<u8>>;

    /// A machine that is reached at this address, and knows the token, was refused since it runs another version.
    fn refused_version(&self, _address: &str, _version: &str) {}
}

/// A port that is bound, and not yet served.
#[derive(Debug)]
pub(super) struct NodePort {
    listener: TcpListener,
    address: SocketAddr,
    bytes: Arc<WireBytes>,
    tls: Option<ClusterTls>,
}

impl NodePort {
    /// Binds a port; those that other machines reach need a token or certificates.
    pub(super) async fn bind(
        address: &str,
        token: Option<&ClusterToken>,
        tls: Option<&ClusterTls>,
    ) -> std::result::Result<NodePort, ClusterError> {
        let failed = |source| ClusterError::Listen {
            address: address.to_owned(),
            source,
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        if !bound.ip().is_loopback() && token.is_none() && tls.is_none() {
            return Err(ClusterError::NoToken {
                address: address.to_owned(),
            });
        }
        Ok(NodePort {
            listener,
            address: bound,
            bytes: Arc::default(),
            tls: tls.cloned(),
        })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What counts its bytes.
    pub(super) fn bytes(&self) -> Arc<WireBytes> {
        Arc::clone(&self.bytes)
    }

    /// Serves it on `wire` until `stop`: calls, and stages of queries where there is a `worker`. `work` is where calls are
    /// answered, so that the wire stays free.
    pub(super) fn serve(
        self,
        token: Option<ClusterToken>,
        node: Arc<dyn Node>,
        worker: Option<Worker>,
        (wire, work): (Handle, Handle),
        stop: CancellationToken,
    ) -> JoinHandle<()> {
        let refusals = Arc::new(Refusals::default());
        let strangers = Strangers::new(Arc::clone(&refusals));
        let gate = Arc::clone(&node);
        let check = move |request: Request<()>| {
            introduced(request, token.as_ref(), (gate.as_ref(), &refusals))
        };
        let stages = worker.map(|worker| OnWork {
            service: worker.into_worker_server(),
            work: work.clone(),
        });
        let service = CallService { node, work };
        let on_wire = wire.clone();
        wire.spawn(async move {
            // A listener belongs to the runtime that made it.
            let incoming = self.listener.into_std().and_then(TcpListener::from_std);
            let incoming = match incoming {
                Ok(listener) => TcpIncoming::from(listener).with_nodelay(Some(true)),
                Err(error) => return tracing::error!(%error, "the cluster's port is closed"),
            };
            let incoming = port_streams(incoming, (self.bytes, self.tls), strangers);
            let _on_wire = on_wire;
            let served = Server::builder()
                .initial_stream_window_size(4 << 20)
                .initial_connection_window_size(16 << 20)
                .http2_keepalive_interval(Some(ALIVE_TIMEOUT))
                .http2_keepalive_timeout(Some(ALIVE_TIMEOUT))
                .layer(InterceptorLayer::new(check))
                .add_service(service)
                .add_optional_service(stages)
                .serve_with_incoming_shutdown(incoming, stop.cancelled_owned());
            if let Err(error) = served.await {
                tracing::error!(%error, "the cluster's port failed");
            }
        })
    }
}

/// The connections of a port, once each has shown its certificate where that is wanted, several at a time.
fn port_streams(
    incoming: TcpIncoming,
    (bytes, tls): (Arc<WireBytes>, Option<ClusterTls>),
    strangers: Strangers,
) -> impl Stream<Item = std::io::Result<PortStream>> {
    let strangers = Arc::new(strangers);
    let accepted = incoming.map(move |stream| {
        let (bytes, tls, strangers) = (Arc::clone(&bytes), tls.clone(), Arc::clone(&strangers));
        async move {
            let stream = match stream {
                Ok(stream) => Counted::new(stream, &bytes),
                Err(error) => return Some(Err(error)),
            };
            let from = stream.connect_info().remote_addr();
            let waiting = strangers.receive(from);
            match PortStream::of(stream, tls.as_ref(), waiting).await {
                Ok(stream) => Some(Ok(stream)),
                Err(error) => {
                    tracing::debug!(%error, "a machine showed no good certificate");
                    strangers.refusals.tell(from, refusal(&error));
                    None
                }
            }
        }
    });
    accepted
        .buffer_unordered(MAX_HANDSHAKES)
        .filter_map(std::future::ready)
}

/// Lets a request pass from a machine that knows the token and runs our version.
#[allow(
    clippy::result_large_err,
    reason = "the error is the library's, and made once a refusal"
)]
fn introduced(
    request: Request<()>,
    token: Option<&ClusterToken>,
    (node, refusals): (&dyn Node, &Refusals),
) -> std::result::Result<Request<()>, Status> {
    let visitor = request.extensions().get::<Arc<Visitor>>();
    let from = visitor.and_then(|visitor| visitor.from());
    let header = |name| request.metadata().get(name).map(|value| value.as_bytes());
    if let Some(challenge) = header(CHALLENGE_HEADER) {
        if token.is_none() {
            refusals.tell(
                from,
                "it wants the cluster's token, which is not known here",
            );
        }
        return Err(answered(challenge, token));
    }
    let is_known = token.is_none_or(|token| token.is(header(TOKEN_HEADER).unwrap_or_default()));
    if !is_known {
        refusals.tell(from, "it does not know the cluster's token");
        return Err(Status::unauthenticated(ClusterError::Stranger.to_string()));
    }
    if header(VERSION_HEADER) != Some(VERSION.as_bytes()) {
        refusals.tell(from, "it runs another version");
        let text = |name| {
            request
                .metadata()
                .get(name)
                .and_then(|value| value.to_str().ok())
        };
        if let (Some(address), Some(version)) = (text(ADDRESS_HEADER), text(VERSION_HEADER)) {
            node.refused_version(address, version);
        }
        return Err(Status::failed_precondition(VERSION));
    }
    if let Some(visitor) = visitor {
        visitor.welcome();
    }
    Ok(request)
}

/// The answer to a challenge: no request passes, and the proof is beside the refusal.
fn answered(challenge: &[u8], token: Option<&ClusterToken>) -> Status {
    let mut status = Status::unauthenticated(ClusterError::Stranger.to_string());
    let challenge = std::str::from_utf8(challenge).unwrap_or_default();
    let proof = token.and_then(|token| proof(token, challenge).ok());
    if let Some(Ok(proof)) = proof.map(MetadataValue::try_from) {
        status.metadata_mut().insert(PROOF_HEADER, proof);
    }
    status
}

/// The service of calls: one method, bytes in and out.
#[derive(Clone)]
struct CallService {
    node: Arc<dyn Node>,
    work: Handle,
}

impl NamedService for CallService {
    const NAME: &'static str = "auspex.Node";
}

impl Service<HttpRequest<Body>> for CallService {
    type Response = HttpResponse<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move {
            if request.uri().path() != CALL_PATH {
                return Ok(Status::unimplemented("no such method").into_http());
            }
            let mut grpc = Grpc::new(BytesCodec)
                .apply_max_message_size_config(Some(usize::MAX), Some(usize::MAX));
            Ok(grpc.unary(service, request).await)
        })
    }
}

impl UnaryService<Vec<u8>> for CallService {
    type Response = Vec<u8>;
    type Future = BoxFuture<Response<Vec<u8>>, Status>;

    fn call(&mut self, request: Request<Vec<u8>>) -> Self::Future {
        let (node, work) = (Arc::clone(&self.node), self.work.clone());
        Box::pin(async move {
            let reply = match from_bytes(request.get_ref()) {
                // A machine whose threads all compute still says how it is.
                Ok(call @ Call::Ping { .. }) => node.answer(call).await,
                call => {
                    let answer = async move { node.answer(call?).await };
                    AbortOnDrop(work.spawn(answer)).wait().await?
                }
            };
            let reply = reply.map(ByteBuf::from);
            let reply = reply.map_err(|error| report_form(&error));
            let bytes = to_bytes(&reply).map_err(|error| Status::internal(error.to_string()))?;
            Ok(Response::new(bytes))
        })
    }
}

tokio::task_local! {
    static UNREAD: CancellationToken;
}

/// What is cancelled once nobody reads the answer to the request that this task answers: it was read to its end, or its
/// reader or the connection is gone. The wire notices, however long the work computes without a pause.
pub(super) fn unread() -> CancellationToken {
    UNREAD
        .try_with(CancellationToken::clone)
        .unwrap_or_default()
}

/// A service whose requests are answered elsewhere than on the wire, and whose streams compute there.
#[derive(Clone)]
struct OnWork<S> {
    service: S,
    work: Handle,
}

impl<S: NamedService> NamedService for OnWork<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<HttpRequest<Body>> for OnWork<S>
where
    S: Service<HttpRequest<Body>, Response = HttpResponse<Body>, Error = std::convert::Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
{
    type Response = HttpResponse<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<Self::Response, Self::Error>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<std::result::Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: HttpRequest<Body>) -> Self::Future {
        let (mut service, work) = (self.service.clone(), self.work.clone());
        Box::pin(async move {
            let unread = CancellationToken::new();
            // Lives on the wire: until the request was given up, or as long as its answer.
            let reader = unread.clone().drop_guard();
            let answer = UNREAD.scope(unread, async move { service.call(request).await });
            let Ok(answer) = match AbortOnDrop(work.spawn(answer)).wait().await {
                Ok(answer) => answer,
                Err(status) => Ok(status.into_http()),
            };
            Ok(answer.map(|body| {
                Body::new(body.map_frame(move |frame| {
                    let _reader = &reader;
                    frame
                }))
            }))
        })
    }
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    #[allow(clippy::result_large_err, reason = "the error is the library's")]
    async fn wait(mut self) -> std::result::Result<T, Status> {
        let ended = (&mut self.0).await;
        ended.map_err(|error| Status::internal(format!("the work ended: {error}")))
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Messages that are bytes already.
#[derive(Debug, Clone, Copy)]
pub(super) struct BytesCodec;

impl Codec for BytesCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = BytesCodec;
    type Decoder = BytesCodec;

    fn encoder(&mut self) -> BytesCodec {
        BytesCodec
    }

    fn decoder(&mut self) -> BytesCodec {
        BytesCodec
    }
}

impl Encoder for BytesCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(
        &mut self,
        item: Vec<u8>,
        buffer: &mut EncodeBuf<'_>,
    ) -> std::result::Result<(), Status> {
        buffer.put_slice(&item);
        Ok(())
    }
}

impl Decoder for BytesCodec {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(
        &mut self,
        buffer: &mut DecodeBuf<'_>,
    ) -> std::result::Result<Option<Vec<u8>>, Status> {
        let mut bytes: Vec<u8> = Vec::new();
        bytes.put(buffer);
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body_util::Full;
    use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

    use super::*;

    /// Tells the token of each request, and answers it or never does.
    #[derive(Clone)]
    struct Told {
        tokens: UnboundedSender<CancellationToken>,
        answers: bool,
    }

    impl NamedService for Told {
        const NAME: &'static str = "told";
    }

    impl Service<HttpRequest<Body>> for Told {
        type Response = HttpResponse<Body>;
        type Error = std::convert::Infallible;
        type Future = BoxFuture<Self::Response, Self::Error>;

        fn poll_ready(
            &mut self,
            _: &mut Context<'_>,
        ) -> Poll<std::result::Result<(), Self::Error>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: HttpRequest<Body>) -> Self::Future {
            let told = self.clone();
            Box::pin(async move {
                told.tokens.send(unread()).unwrap();
                match told.answers {
                    true => {
                        let body = Full::new(Bytes::from_static(b"rows"));
                        Ok(HttpResponse::new(Body::new(body)))
                    }
                    false => std::future::pending().await,
                }
            })
        }
    }

    #[tokio::test]
    async fn work_hears_that_nobody_reads_its_answer() {
        let (sender, mut tokens) = unbounded_channel();
        let service = |answers| OnWork {
            service: Told {
                tokens: sender.clone(),
                answers,
            },
            work: Handle::current(),
        };
        let request = || HttpRequest::new(Body::empty());
        let answer = service(true).call(request()).await.unwrap();
        let token = tokens.recv().await.unwrap();
        assert!(!token.is_cancelled());
        drop(answer);
        assert!(token.is_cancelled());
        // One that was given up before it was answered.
        let mut given_up = service(false).call(request());
        let token = tokio::select! {
            _ = &mut given_up => unreachable!(),
            token = tokens.recv() => token.unwrap(),
        };
        assert!(!token.is_cancelled());
        drop(given_up);
        assert!(token.is_cancelled());
        assert!(!unread().is_cancelled());
    }
}
