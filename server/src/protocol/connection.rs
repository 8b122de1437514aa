//! One client's connection, from the startup message to the end.
//!
//! In: a client's messages; out: the planner's answers. Keeps what the protocol keeps for a session:
//! prepared statements, portals, the state of the transaction, the parameters reported. Statements
//! run on tasks of their own (`running`), so that a connection always listens. `opening` lets clients in.

mod opening;
mod texts;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use auspex_planner::{BackendState, Engine, Notice, Session, Severity, TransactionState};
use auspex_sql::ParsedStatement;
use datafusion::sql::sqlparser::ast;
use pgwire::api::PgWireConnectionState;
use pgwire::messages::response::{
    CommandComplete, EmptyQueryResponse, ReadyForQuery, TransactionStatus,
};
use pgwire::messages::startup::ParameterStatus;
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use tokio_util::sync::CancellationToken;

use super::cancel::{CancelEntry, CancelRegistry};
use super::extended::{NamedStatement, Portal};
use super::layout::Malformed;
use super::notifications::tell;
use super::running::{Event, Next, QueryThreads, Running, Work};
use super::server_options::ServerOptions;
use super::socket::{Frames, Socket, Stream, Unreadable};
use super::types::Nested;
use super::watching::Watching;
use crate::auth::{Peer, Scram, StrangerLog, Throttle};
use crate::sqlstate::{Failure, notice_info};
use opening::refuse;

/// The one database.
pub(crate) const DATABASE: &str = "postgres";
/// The version of PostgreSQL whose protocol and catalogs are spoken, and ours.
const SERVER_VERSION: &str = concat!("15.0 (Auspex ", env!("CARGO_PKG_VERSION"), ")");

/// Clients end a connection that reports a longer value of a parameter.
const MAX_REPORTED_BYTES: usize = 29_000;

/// What all connections of a server share.
pub(super) struct Shared {
    pub(super) engine: Arc<Engine>,
    pub(super) cancels: Arc<CancelRegistry>,
    /// Cancelled when the server is to end: who waits for its client leaves.
    pub(super) draining: CancellationToken,
    /// Cancelled when nothing may go on.
    pub(super) shutdown: CancellationToken,
    pub(super) queries: QueryThreads,
    pub(super) options: ServerOptions,
    pub(super) scram: Arc<Scram>,
    pub(super) throttle: Throttle,
    pub(super) strangers: StrangerLog,
}

/// Why something did not go its way.
pub(super) enum Interruption {
    /// The statement failed; the connection goes on.
    Failed(Failure),
    /// The connection is to end, and why.
    Ended(Failure),
    /// The server stops.
    Shutdown,
    /// The client has gone.
    Lost,
}

impl Interruption {
    /// What is said to the client before its connection ends; `None` if it has gone.
    pub(super) fn farewell(self) -> Option<Failure> {
        match self {
            Interruption::Failed(failure) | Interruption::Ended(failure) => Some(failure),
            Interruption::Shutdown => Some(Failure::shutdown()),
            Interruption::Lost => None,
        }
    }
}

impl From<Failure> for Interruption {
    fn from(failure: Failure) -> Interruption {
        Interruption::Failed(failure)
    }
}

impl From<io::Error> for Interruption {
    fn from(_: io::Error) -> Interruption {
        Interruption::Lost
    }
}

/// A connection whose client is known.
pub(super) struct Connection<S> {
    pub(super) socket: Socket<S>,
    pub(super) session: Arc<Session>,
    pub(super) statements: BTreeMap<String, NamedStatement>,
    pub(super) portals: BTreeMap<String, Portal>,
    /// The table that the block of a pipeline changes, if there is such a block.
    pub(super) pipeline: Option<Vec<String>>,
    pub(super) watching: Watching,
    cancel: CancelEntry,
    pub(super) shared: Arc<Shared>,
    reported: BTreeMap<&'static str, String>,
}

/// Serves one client until it leaves or the server stops.
pub(super) async fn serve<S: Stream>(frames: Frames<S>, peer: Peer, shared: Arc<Shared>) {
    let mut socket = Socket::new(frames);
    socket.set_state(PgWireConnectionState::AwaitingStartup);
    let first = tokio::select! {
        first = socket.next() => first,
        () = tokio::time::sleep(shared.options.authentication_timeout) => None,
        () = shared.shutdown.cancelled() => None,
    };
    match first {
        Some(Ok(PgWireFrontendMessage::Startup(startup))) => {
            // Errors here mean that the client has gone: there is nobody to tell.
            if let Ok(mut connection) = Connection::open(socket, &startup, &peer, &shared).await {
                let attended = connection.attend().await;
                connection.leave(attended).await;
            }
        }
        Some(Ok(PgWireFrontendMessage::CancelRequest(request))) => {
            let known = shared
                .cancels
                .cancel(request.pid, &request.secret_key.to_bytes());
            tracing::debug!(process = request.pid, known, "cancel request");
        }
        Some(Err(error)) => {
            let failure = Failure::fatal(error.sqlstate(), error.message());
            refuse(&mut socket, "", &peer, &shared, failure).await;
        }
        _ => {}
    }
}

impl<S: Stream> Connection<S> {
    /// Answers messages until the client leaves.
    async fn attend(&mut self) -> Result<(), Interruption> {
        // After an error in the extended protocol, everything is skipped until the client syncs.
        let mut skipping = false;
        // Between the messages of a statement it is told nothing of others.
        let mut at_rest = true;
        loop {
            if self.leaving().is_cancelled() {
                return Err(Interruption::Shutdown);
            }
            if self.session.backend().terminated().is_cancelled() {
                return Err(Interruption::Ended(Failure::shutdown()));
            }
            let message = self.next_message(at_rest).await?;
            self.watching.receive();
            let message = match message {
                Some(Ok(PgWireFrontendMessage::Terminate(_))) => return Ok(()),
                None => return Err(Interruption::Lost),
                Some(Ok(message)) => message,
                Some(Err(Unreadable::Malformed(malformed))) => {
                    if !skipping || malformed.is_sync() {
                        skipping = self.refuse(&malformed).await?;
                        at_rest = !skipping;
                    }
                    continue;
                }
                Some(Err(error)) => {
                    let failure = Failure::fatal("08P01", error.message());
                    return Err(Interruption::Ended(failure));
                }
            };
            match message {
                PgWireFrontendMessage::Sync(_) => {
                    skipping = false;
                    self.sync().await?;
                    at_rest = true;
                }
                _ if skipping => {}
                PgWireFrontendMessage::Query(query) => {
                    Box::pin(self.simple_query(&query.query)).await?;
                    at_rest = true;
                }
                message => {
                    // Data for a COPY that has ended begins no statement.
                    at_rest &= matches!(
                        message,
                        PgWireFrontendMessage::Flush(_)
                            | PgWireFrontendMessage::CopyData(_)
                            | PgWireFrontendMessage::CopyDone(_)
                            | PgWireFrontendMessage::CopyFail(_)
                    );
                    match Box::pin(self.extended_message(message)).await {
                        Err(Interruption::Failed(failure)) => {
                            skipping = true;
                            self.fail(failure).await?;
                            self.socket.flush().await?;
                        }
                        other => other?,
                    }
                }
            }
        }
    }

    /// Tells what is wrong with a message; whether those behind it are skipped until the client syncs.
    async fn refuse(&mut self, malformed: &Malformed) -> Result<bool, Interruption> {
        self.fail(malformed.failure()).await?;
        match malformed.is_skipped_behind() {
            true => self.socket.flush().await?,
            false => self.sync().await?,
        }
        Ok(malformed.is_skipped_behind())
    }

    /// Tells a failure; a transaction in progress has failed with it.
    pub(super) async fn fail(&mut self, failure: Failure) -> io::Result<()> {
        self.watching.failed(failure.sqlstate());
        self.session.statement_failed();
        // A COMMIT that failed has ended its block.
        if self.session.transaction() == TransactionState::Idle {
            self.end_cursors("ROLLBACK");
        }
        self.socket.feed_failure(failure).await
    }

    /// Tells that the next statement may come.
    pub(super) async fn ready(&mut self) -> io::Result<()> {
        self.session.settle_notifications();
        self.session.forget_queries();
        self.follow_encoding().await?;
        tell(&mut self.socket, &self.session).await?;
        let (state, status) = match self.session.transaction() {
            TransactionState::Idle => (BackendState::Idle, TransactionStatus::Idle),
            TransactionState::Open => (
                BackendState::IdleInTransaction,
                TransactionStatus::Transaction,
            ),
            TransactionState::Failed => (
                BackendState::IdleInFailedTransaction,
                TransactionStatus::Error,
            ),
        };
        self.session.backend().wait(state);
        let ready = ReadyForQuery::new(status);
        self.socket
            .feed(PgWireBackendMessage::ReadyForQuery(ready))
            .await?;
        self.socket.flush().await
    }

    /// Starts work for a statement.
    pub(super) fn start(&self, work: Work) -> Result<Running, Interruption> {
        let queries = self.shared.queries.handle().ok_or(Interruption::Shutdown)?;
        let returned = self.returned_check();
        Ok(Running::start(queries, &self.session, work, returned))
    }

    /// The next event of a running statement; its notices are passed on, and the client's departure
    /// or the server's end stops it.
    pub(super) async fn next_event(
        &mut self,
        running: &mut Running,
    ) -> Result<Event, Interruption> {
        self.cancel.run(Some(running.cancel_token()));
        let result = loop {
            tokio::select! {
                next = running.next() => match next {
                    Next::Notice(notice) => self.pass_on(notice).await?,
                    Next::Event(event) => break Ok(event),
                },
                () = self.socket.departure() => break Err(Interruption::Lost),
                () = self.shared.shutdown.cancelled() => break Err(Interruption::Shutdown),
                () = self.session.backend().terminated().cancelled() => {
                    break Err(Interruption::Ended(Failure::shutdown()));
                }
            }
        };
        self.cancel.run(None);
        if result.is_err() {
            running.cancel_token().cancel();
        }
        result
    }

    /// From now on, cancel requests mean this statement; `None`: nothing.
    pub(super) fn watch(&self, running: Option<&Running>) {
        self.cancel.run(running.map(Running::cancel_token));
    }

    /// How structs travel to the client.
    pub(super) fn nested(&self) -> Nested {
        match self.session.settings().get("ml.nested").as_deref() {
            Some("composite") => Nested::Composite,
            _ => Nested::Json,
        }
    }

    /// Cancelled when this connection is to leave if it waits for its client: a block may go on to its end.
    pub(super) fn leaving(&self) -> &CancellationToken {
        match self.session.transaction() {
            TransactionState::Open => &self.shared.shutdown,
            _ => &self.shared.draining,
        }
    }

    /// Cancelled when those who wait for their clients are to leave.
    pub(super) fn draining(&self) -> CancellationToken {
        self.shared.draining.clone()
    }

    /// Cancelled when the server stops.
    pub(super) fn shutdown(&self) -> CancellationToken {
        self.shared.shutdown.clone()
    }

    /// Cancelled when this session is to end.
    pub(super) fn terminated(&self) -> CancellationToken {
        self.session.backend().terminated().clone()
    }

    /// Sends a notice, if the client wants ones of its severity.
    pub(super) async fn pass_on(&mut self, notice: Notice) -> io::Result<()> {
        let level = self
            .session
            .settings()
            .get("client_min_messages")
            .unwrap_or_default();
        let wanted = match notice.severity {
            Severity::Info => true,
            Severity::Notice => level != "warning" && level != "error",
            Severity::Warning => level != "error",
        };
        if wanted {
            self.socket.send_notice(notice_info(notice)).await
        } else {
            Ok(())
        }
    }

    /// A statement may run, unless its transaction has failed and it does not end it.
    pub(super) fn check_transaction(&self, ends_transaction: bool) -> Result<(), Failure> {
        if self.session.transaction() == TransactionState::Failed && !ends_transaction {
            return Err(Failure::in_failed_transaction());
        }
        Ok(())
    }

    /// Tells that a statement without rows is done.
    pub(super) async fn complete(&mut self, tag: String) -> io::Result<()> {
        self.watching.succeeded(&tag);
        self.end_cursors(&tag);
        // The end of a block may bring settings back.
        let may_set = ["SET", "RESET", "DISCARD", "COMMIT", "ROLLBACK"];
        if may_set.iter().any(|verb| tag.starts_with(verb)) {
            self.report_parameters().await?;
        }
        // Functions change settings, too; what stands behind in a pipeline is read with them.
        self.adopt_encoding();
        let complete = CommandComplete::new(tag);
        self.socket
            .feed(PgWireBackendMessage::CommandComplete(complete))
            .await
    }

    /// Cursors end with their block, unless they are held and it is committed, and with what a savepoint takes back.
    fn end_cursors(&mut self, tag: &str) {
        match (tag, self.session.n_savepoints()) {
            ("COMMIT", None) => self.portals.retain(|_, portal| {
                portal.declared_at = None;
                portal.holds
            }),
            ("ROLLBACK", None) => self
                .portals
                .retain(|_, portal| portal.holds && portal.declared_at.is_none()),
            ("ROLLBACK", Some(n_savepoints)) => self
                .portals
                .retain(|_, portal| portal.declared_at.is_none_or(|at| at < n_savepoints)),
            // What was behind the savepoint is behind the one before it.
            ("RELEASE", Some(n_savepoints)) => self.portals.retain(|_, portal| {
                portal.declared_at = portal.declared_at.map(|at| at.min(n_savepoints));
                true
            }),
            _ => {}
        }
    }

    /// Tells that there was no statement.
    pub(super) async fn complete_empty(&mut self) -> io::Result<()> {
        self.watching.ignore();
        self.socket
            .feed(PgWireBackendMessage::EmptyQueryResponse(
                EmptyQueryResponse::new(),
            ))
            .await
    }

    /// Reports the parameters that clients follow, where they changed.
    async fn report_parameters(&mut self) -> io::Result<()> {
        let encoding = self.adopt_encoding();
        let setting = |name: &str| self.session.settings().get(name).unwrap_or_default();
        self.session
            .backend()
            .set_application(&setting("application_name"));
        let fixed = |value: &str| value.to_owned();
        let parameters = [
            ("server_version", fixed(SERVER_VERSION)),
            ("server_encoding", fixed("UTF8")),
            ("client_encoding", encoding),
            ("application_name", setting("application_name")),
            ("is_superuser", setting("is_superuser")),
            ("session_authorization", setting("session_authorization")),
            ("DateStyle", fixed("ISO, MDY")),
            ("IntervalStyle", setting("intervalstyle")),
            ("TimeZone", setting("timezone")),
            ("integer_datetimes", fixed("on")),
            ("standard_conforming_strings", fixed("on")),
            (
                "default_transaction_read_only",
                setting("default_transaction_read_only"),
            ),
            ("in_hot_standby", fixed("off")),
        ];
        for (name, value) in parameters {
            let is_told = self.reported.get(name) == Some(&value);
            if !is_told && value.len() <= MAX_REPORTED_BYTES {
                self.reported.insert(name, value.clone());
                let status = ParameterStatus::new(name.to_owned(), value);
                self.socket
                    .feed(PgWireBackendMessage::ParameterStatus(status))
                    .await?;
            }
        }
        Ok(())
    }
}

/// Resolves when a connection that waits for its client is to end.
pub(super) async fn ended(session: &Session) -> Failure {
    let (setting, failure) = match session.transaction() {
        TransactionState::Idle => ("idle_session_timeout", Failure::idle_session()),
        _ => (
            "idle_in_transaction_session_timeout",
            Failure::idle_in_transaction(),
        ),
    };
    let timeout = session.settings().duration(setting);
    let overdue = async {
        match timeout {
            Some(timeout) => tokio::time::sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = session.backend().terminated().cancelled() => Failure::shutdown(),
        () = overdue => failure,
    }
}

/// Whether a statement ends a transaction, so that it may run in a failed one.
pub(super) fn ends_transaction(statement: &ParsedStatement) -> bool {
    matches!(
        statement.sql(),
        Some(ast::Statement::Commit { .. } | ast::Statement::Rollback { .. })
    )
}
