//! The opening of a connection: from the startup message until the first statement may come.
//!
//! In: what a client says of itself; out: its session, or why it is not let in.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use auspex_planner::{ClientFacts, Notice, Report, Session};
use pgwire::api::{
    ClientInfo as _, PgWireConnectionState, PidSecretKeyGenerator as _, RandomPidSecretKeyGenerator,
};
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::startup::{Authentication, BackendKeyData, SecretKey, Startup};

use super::{Connection, DATABASE, Interruption, Shared};
use crate::auth::Peer;
use crate::protocol::login::{Names, authenticate};
use crate::protocol::socket::{Socket, Stream};
use crate::protocol::startup::{settled_version, startup_settings};
use crate::protocol::watching::Watching;
use crate::sqlstate::{Failure, notice_info};

impl<S: Stream> Connection<S> {
    /// Answers the startup message.
    pub(super) async fn open(
        mut socket: Socket<S>,
        startup: &Startup,
        peer: &Peer,
        shared: &Arc<Shared>,
    ) -> io::Result<Connection<S>> {
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        let user = startup.parameters.get("user").map_or("", String::as_str);
        let (version, negotiated) = settled_version(startup);
        socket.client_mut().set_protocol_version(version);
        if let Some(negotiated) = negotiated {
            socket
                .feed(PgWireBackendMessage::NegotiateProtocolVersion(negotiated))
                .await?;
        }
        let admitted = tokio::select! {
            admitted = admit(&mut socket, startup, peer, shared) => admitted,
            () = tokio::time::sleep(shared.options.authentication_timeout) => {
                let message = "canceling authentication due to timeout";
                Err(Failure::fatal("57014", message).into())
            }
            () = shared.shutdown.cancelled() => Err(Interruption::Shutdown),
        };
        let session = match admitted {
            Ok(session) => session,
            Err(interruption) => {
                if let Some(failure) = interruption.farewell() {
                    refuse(&mut socket, user, peer, shared, failure).await;
                }
                return Err(refused);
            }
        };
        session.observe_login();
        let terminated = session.backend().terminated().clone();
        socket.end_with([terminated, shared.shutdown.clone()]);
        socket.count_against(session.received_bytes());
        let (_, secret) = RandomPidSecretKeyGenerator::default().generate(socket.client_mut());
        let mut connection = Connection {
            cancel: shared
                .cancels
                .register(session.process_id(), secret.to_bytes()),
            shared: Arc::clone(shared),
            watching: Watching::new(&session),
            socket,
            session,
            statements: BTreeMap::new(),
            portals: BTreeMap::new(),
            pipeline: None,
            reported: BTreeMap::new(),
        };
        if let Err(error) = connection.welcome(startup, secret).await {
            connection.leave(Err(error.into())).await;
            return Err(refused);
        }
        Ok(connection)
    }

    async fn welcome(&mut self, startup: &Startup, secret: SecretKey) -> io::Result<()> {
        self.socket
            .feed(PgWireBackendMessage::Authentication(Authentication::Ok))
            .await?;
        for (name, value) in startup_settings(startup) {
            if let Err(error) = self.session.settings().start_with(&name, &value) {
                // A connection should not fail for a setting that only PostgreSQL has.
                let message = format!("setting \"{name}\" was ignored: {error}");
                self.socket
                    .send_notice(notice_info(Notice::warning(message)))
                    .await?;
            }
        }
        self.report_parameters().await?;
        let key = BackendKeyData::new(self.session.process_id(), secret);
        self.socket
            .feed(PgWireBackendMessage::BackendKeyData(key))
            .await?;
        self.socket.set_state(PgWireConnectionState::ReadyForQuery);
        self.ready().await
    }
}

impl Shared {
    /// Why one session more is too many, if it is.
    fn too_many(&self, user: &str) -> Option<Failure> {
        let n_sessions = self.engine.n_sessions();
        let limit = self.options.max_connections;
        let open = limit.saturating_sub(self.options.reserved_connections);
        if n_sessions >= limit {
            return Some(Failure::fatal("53300", "sorry, too many clients already"));
        }
        let message = "remaining connection slots are reserved for superusers";
        (n_sessions >= open.max(1) && !self.engine.is_superuser(user))
            .then(|| Failure::fatal("53300", message))
    }
}

/// Records and tells why a client is not let in; one that named no user is a stranger.
pub(super) async fn refuse<S: Stream>(
    socket: &mut Socket<S>,
    user: &str,
    peer: &Peer,
    shared: &Shared,
    failure: Failure,
) {
    let sqlstate = failure.sqlstate();
    shared.engine.observe_refusal(user, peer.address, sqlstate);
    match user {
        "" => {
            let address = peer.address.map(|address| address.ip());
            shared.strangers.refused(address, failure.message());
        }
        _ => tracing::info!(reason = failure.message(), "connection refused"),
    }
    // It may have gone: then there is nobody to tell.
    let _ = socket.end(failure).await;
}

/// Lets the client prove who it is, and opens its session.
async fn admit<S: Stream>(
    socket: &mut Socket<S>,
    startup: &Startup,
    peer: &Peer,
    shared: &Shared,
) -> Result<Arc<Session>, Interruption> {
    let names = Names::of(startup)?;
    let proven = authenticate(socket, &names, peer, shared).await?;
    let Names { user, database } = names;
    let parameter = |name: &str| startup.parameters.get(name).map(String::as_str);
    if database != DATABASE {
        let message = format!("database \"{database}\" does not exist");
        let hint = format!("There is one database: connect to \"{DATABASE}\".");
        return Err(Failure::fatal("3D000", message).with_hint(hint).into());
    }
    if parameter("replication").is_some_and(|value| !["false", "off", "no", "0"].contains(&value)) {
        let message = "replication connections are not supported";
        return Err(Failure::fatal("0A000", message).into());
    }
    if let Some(failure) = shared.too_many(&user) {
        return Err(failure.into());
    }
    let client = ClientFacts {
        user,
        application: parameter("application_name").unwrap_or_default().to_owned(),
        address: peer.address,
        proven,
    };
    let connected = shared.engine.connect(&client);
    let session = connected.map_err(|error| fatal(error.report()))?;
    if let Some(encryption) = &peer.encryption {
        session.backend().note_encryption(encryption.clone());
    }
    // What it sends would mean something else, and what it is sent could not be read.
    if let Some(encoding) = parameter("client_encoding") {
        let set = session.settings().start_with("client_encoding", encoding);
        set.map_err(|error| fatal(error.report()))?;
    }
    Ok(session)
}

/// A report that ends a connection.
fn fatal(report: Report) -> Failure {
    let failure = Failure::fatal(report.sqlstate, report.message);
    let details = report.detail.into_iter();
    let failure = details.fold(failure, Failure::with_detail);
    report.hint.into_iter().fold(failure, Failure::with_hint)
}
