//! Accepts clients over TCP, and in process for the embedded engine.
//!
//! In: an engine and an address; out: connections, each on a task of its own. Who is let in is decided
//! by `login`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use auspex_planner::Engine;
use pgwire::api::DefaultClient;
use pgwire::tokio::server::PgWireMessageServerCodec;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;

use super::cancel::CancelRegistry;
use super::connection::{Shared, serve};
use super::running::QueryThreads;
use super::server_options::ServerOptions;
use crate::auth::{NegotiateError, Negotiated, Peer, StrangerLog, Throttle, negotiate};

/// How long clients are waited for when the server stops.
const FAREWELL: Duration = Duration::from_secs(5);
/// The pause after a connection could not be accepted, as when there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Clients beyond the sessions allowed that may be about to log in, or to be told that they are too many.
const MAX_WAITING: usize = 200;
/// Bytes in flight between the embedded engine and its client.
const PIPE_BYTES: usize = 256 * 1024;

/// Why a server cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is not one.
    #[error("invalid listen address \"{address}\": {source}")]
    Address {
        /// The address found.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Another process listens there.
    #[error("cannot listen on \"{address}\": the port is in use")]
    Busy {
        /// The address found.
        address: String,
    },
    /// The system gives no threads.
    #[error("cannot start threads for queries: {source}")]
    Threads {
        /// Why.
        source: io::Error,
    },
    /// The system refused.
    #[error("cannot listen on \"{address}\": {source}")]
    Bind {
        /// The address found.
        address: String,
        /// Why.
        source: io::Error,
    },
}

impl ListenError {
    /// What may help.
    pub fn hint(&self) -> &'static str {
        match self {
            ListenError::Address { .. } => "Write HOST:PORT, as in 127.0.0.1:5432.",
            ListenError::Busy { .. } => {
                "Choose another port with --listen, or stop the other server. Port 0 takes a free one."
            }
            ListenError::Threads { .. } => "Raise the limit of processes, as with ulimit -u.",
            ListenError::Bind { .. } => "Choose another address with --listen.",
        }
    }
}

/// A port that was taken, so that nothing else needs to be begun if it cannot be had.
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Takes a port; `listen` is `HOST:PORT`, and port 0 means a free one.
    pub async fn bind(listen: &str) -> Result<Listener, ListenError> {
        let address = listen.to_owned();
        let addresses: Vec<SocketAddr> = match lookup_host(listen).await {
            Ok(addresses) => addresses.collect(),
            Err(source) => return Err(ListenError::Address { address, source }),
        };
        let listener = match TcpListener::bind(addresses.as_slice()).await {
            Ok(listener) => listener,
            Err(source) if source.kind() == io::ErrorKind::AddrInUse => {
                return Err(ListenError::Busy { address });
            }
            Err(source) => return Err(ListenError::Bind { address, source }),
        };
        let local = listener.local_addr();
        let address = local.map_err(|source| ListenError::Bind { address, source })?;
        Ok(Listener { listener, address })
    }

    /// The socket and where it listens.
    pub(crate) fn into_parts(self) -> (TcpListener, SocketAddr) {
        (self.listener, self.address)
    }

    /// Whether only clients of this machine reach it.
    pub fn is_loopback(&self) -> bool {
        self.address.ip().is_loopback()
    }
}

/// A server that has its port but does not answer yet.
pub struct Server {
    shared: Arc<Shared>,
    listener: TcpListener,
    address: SocketAddr,
}

/// A server that runs in the background; stops when told to, or when dropped.
pub struct ServerHandle {
    address: SocketAddr,
    draining: CancellationToken,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Server {
    /// Takes a port; `listen` is `HOST:PORT`, and port 0 means a free one.
    pub async fn bind(engine: Arc<Engine>, listen: &str) -> Result<Server, ListenError> {
        let listener = Listener::bind(listen).await?;
        Server::new(engine, listener, ServerOptions::default())
    }

    /// A server on a port that was taken.
    pub fn new(
        engine: Arc<Engine>,
        listener: Listener,
        options: ServerOptions,
    ) -> Result<Server, ListenError> {
        let shared = shared(engine, options).map_err(|source| ListenError::Threads { source })?;
        let Listener { listener, address } = listener;
        Ok(Server {
            shared: Arc::new(shared),
            listener,
            address,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers clients in the background.
    pub fn start(self) -> ServerHandle {
        let draining = self.shared.draining.clone();
        let shutdown = self.shared.shutdown.clone();
        ServerHandle {
            address: self.address,
            draining,
            shutdown,
            task: tokio::spawn(self.run()),
        }
    }

    async fn run(self) {
        let mut clients = JoinSet::new();
        let max_clients = self
            .shared
            .options
            .max_connections
            .saturating_add(MAX_WAITING);
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = clients.join_next() => continue,
                () = self.shared.draining.cancelled() => break,
            };
            match accepted {
                // Whoever opens connections without end takes no more than so much of the server.
                Ok((_, peer)) if clients.len() >= max_clients => {
                    tracing::debug!(%peer, "too many clients: connection closed");
                }
                Ok((stream, peer)) => {
                    tracing::debug!(%peer, "client connected");
                    clients.spawn(serve_tcp(stream, peer, Arc::clone(&self.shared)));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self.listener);
        let engine = &self.shared.engine;
        match engine.n_background_trainings() {
            0 => {}
            n_trainings => tracing::info!(n_trainings, "trainings in the background may end"),
        }
        let drained = async {
            tokio::select! {
                () = self.shared.shutdown.cancelled() => {}
                () = ended(&mut clients, engine) => {}
            }
        };
        let bound = self.shared.options.shutdown_timeout;
        if tokio::time::timeout(bound, drained).await.is_err() {
            tracing::warn!("cancelling statements and trainings that did not end in time");
        }
        engine.end_trainings();
        self.shared.shutdown.cancel();
        let farewell = ended(&mut clients, engine);
        if tokio::time::timeout(FAREWELL, farewell).await.is_err() {
            tracing::warn!("stopping although some clients or trainings did not end");
        }
    }
}

/// Waits until no client is left, and no training that has no client.
async fn ended(clients: &mut JoinSet<()>, engine: &Engine) {
    while clients.join_next().await.is_some() {}
    engine.trainings_ended().await;
}

impl ServerHandle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cancelled when no more clients are let in.
    pub fn draining(&self) -> CancellationToken {
        self.draining.clone()
    }

    /// Lets no more clients in, sends those away that wait, and lets statements end, within limits.
    pub async fn drain(&mut self) {
        self.draining.cancel();
        // A panic of the accepting task has been logged; stopping is what was asked for.
        let _ = (&mut self.task).await;
    }

    /// Cancels what runs, says farewell to the clients and waits for them, within limits.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        self.draining.cancel();
        // A panic of the accepting task has been logged; stopping is what was asked for.
        let _ = (&mut self.task).await;
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        self.shutdown.cancel();
        self.draining.cancel();
    }
}

/// Cancels what an in-process connection runs.
pub(crate) struct InProcessCancel {
    registry: Arc<CancelRegistry>,
}

impl InProcessCancel {
    /// Does what a cancel request does.
    pub(crate) fn cancel(&self, process_id: i32, secret: &[u8]) {
        self.registry.cancel(process_id, secret);
    }
}

/// A client's end of a connection to an engine of this process, which is served until the end is
/// dropped, and what cancels its statements.
pub(crate) fn connect_in_process(
    engine: Arc<Engine>,
) -> io::Result<(DuplexStream, InProcessCancel)> {
    let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let codec = PgWireMessageServerCodec::new(DefaultClient::new(nowhere, false));
    let shared = Arc::new(shared(engine, ServerOptions::default())?);
    let cancel = InProcessCancel {
        registry: Arc::clone(&shared.cancels),
    };
    tokio::spawn(serve(Framed::new(ours, codec), Peer::default(), shared));
    Ok((theirs, cancel))
}

fn shared(engine: Arc<Engine>, options: ServerOptions) -> io::Result<Shared> {
    let scram = options.tls.as_ref().map(|tls| Arc::clone(tls.scram()));
    Ok(Shared {
        engine,
        cancels: Arc::new(CancelRegistry::default()),
        draining: CancellationToken::new(),
        shutdown: CancellationToken::new(),
        queries: QueryThreads::start()?,
        scram: scram.unwrap_or_default(),
        throttle: Throttle::default(),
        strangers: StrangerLog::default(),
        options,
    })
}

/// Answers the questions that come before the startup message, then serves.
async fn serve_tcp(stream: TcpStream, address: SocketAddr, shared: Arc<Shared>) {
    if let Err(error) = shared.options.peers.apply(&stream) {
        tracing::debug!(%error, "the system does not watch a client");
    }
    let negotiating = negotiate(stream, shared.options.tls.as_ref());
    let timeout = shared.options.authentication_timeout;
    match tokio::time::timeout(timeout, negotiating).await {
        Ok(Ok(Negotiated { frames, peer })) => serve(frames, peer, shared).await,
        Ok(Err(NegotiateError::Handshake(error))) => {
            shared.strangers.handshake_failed(address.ip(), &error);
        }
        Ok(Err(error)) => tracing::debug!(%error, "a client left before it said who it is"),
        Err(_) => {}
    }
}
