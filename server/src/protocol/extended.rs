//! The extended protocol: prepared statements, parameters, portals that are read in parts.
//!
//! In: parse, bind, describe, execute and close messages; out: their answers. An error is the
//! caller's to tell, who then skips to the next sync.

mod bound;
mod forward;
mod kept;
mod pipeline;
mod portals;
mod prepare;
mod scroll;
mod void_arguments;

use std::sync::Arc;

use auspex_planner::{
    BlockPart, CursorFacts, KeptStatement, Listed, Prepared as Plan, Session, StatementText,
    StatementWatch, SyntaxMemory,
};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;
use pgwire::messages::data::{NoData, ParameterDescription};
use pgwire::messages::extendedquery::{
    Bind, BindComplete, Close, CloseComplete, Describe, Execute, TARGET_TYPE_BYTE_STATEMENT,
};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};

use super::connection::{Connection, Interruption};
use super::own::Own;
use super::running::{Event, Running, WaitingRows};
use super::socket::Stream;
use super::types::{RowEncoder, TextForms, WireColumn};
use crate::sqlstate::Failure;
use bound::{bound_parameters, result_formats};
pub(super) use kept::{MadeBy, NamedStatement};
pub(super) use portals::{RowsTo, check_described};
pub(super) use scroll::Kept;

/// A statement that was parsed and planned.
pub(super) struct Prepared {
    pub(super) text: StatementText,
    /// Where the statement begins in the text.
    pub(super) start: usize,
    /// `None` for an empty text.
    pub(super) plan: Option<Arc<Plan>>,
    /// What the connection carries out itself; `plan` is then that of a cursor's query.
    own: Option<Own>,
    /// The types that the client was told.
    parameters: Vec<Type>,
    /// `None` when there are no rows.
    pub(super) columns: Option<Arc<[WireColumn]>>,
    ends_transaction: bool,
    /// What the plan's statement is to the block of a pipeline.
    part: BlockPart,
    /// The memory that it is charged with while it is kept by its name.
    memory: Option<KeptStatement>,
    /// What its syntax takes, if it came in a long text.
    pub(super) syntax: Option<Arc<SyntaxMemory>>,
}

impl Prepared {
    /// Whether the connection itself runs it, rather than the engine.
    pub(super) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether parameters name its models or queries.
    fn has_late_names(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.has_late_names())
    }

    /// The query of a cursor by itself.
    fn without_own(&self) -> Prepared {
        Prepared {
            text: self.text.clone(),
            start: self.start,
            plan: self.plan.clone(),
            own: None,
            parameters: self.parameters.clone(),
            columns: self.columns.clone(),
            ends_transaction: false,
            part: self.part.clone(),
            memory: None,
            syntax: self.syntax.clone(),
        }
    }

    /// The columns of the rows that running it gives.
    fn told_columns(&self) -> Option<Arc<[WireColumn]>> {
        match &self.own {
            Some(Own::Declare(_)) => None,
            _ => self.columns.clone(),
        }
    }

    /// The parameters as the planner has them.
    pub(super) fn plan_parameters(&self) -> Vec<FieldRef> {
        let plan = self.plan.as_ref();
        plan.map_or_else(Vec::new, |plan| plan.parameter_fields())
    }
}

/// A statement with its parameters, perhaps partly read.
pub(super) struct Portal {
    pub(super) prepared: Arc<Prepared>,
    pub(super) parameters: Vec<ScalarValue>,
    pub(super) formats: Arc<[FieldFormat]>,
    /// Whether it outlives its transaction.
    pub(super) holds: bool,
    /// Behind how many savepoints of its block it was declared; `None`: that block is committed, or there was none.
    pub(super) declared_at: Option<usize>,
    /// Whether it was declared to send binary rows, whatever is asked for.
    pub(super) is_binary: bool,
    /// Whether it was declared to move backwards.
    pub(super) scrolls: bool,
    pub(super) state: PortalState,
    /// How many of its rows were read.
    pub(super) n_read: usize,
    /// Its row of `pg_cursors`, if it has a name or is the unnamed one.
    _listed: Option<Listed<CursorFacts>>,
    /// What is known of its statement while its rows are read in parts.
    watch: Option<StatementWatch>,
}

impl Portal {
    pub(super) fn new(
        prepared: Arc<Prepared>,
        parameters: Vec<ScalarValue>,
        formats: Arc<[FieldFormat]>,
    ) -> Portal {
        Portal {
            prepared,
            parameters,
            formats,
            holds: false,
            declared_at: None,
            is_binary: false,
            scrolls: false,
            state: PortalState::New,
            n_read: 0,
            _listed: None,
            watch: None,
        }
    }

    /// One that sends rows which a `FETCH` has read from another.
    pub(super) fn of_fetched(
        prepared: Arc<Prepared>,
        formats: Arc<[FieldFormat]>,
        rows: Kept,
        session: &Session,
    ) -> Portal {
        let columns = prepared.columns.clone().unwrap_or_default();
        let cursor = Cursor::of_kept(rows, columns, Arc::clone(&formats), "FETCH", session);
        let mut portal = Portal::new(prepared, Vec::new(), formats);
        portal.scrolls = true;
        portal.put_open(Box::new(cursor));
        portal
    }

    /// Lets the session's list of cursors tell of it as long as it is there.
    pub(super) fn list(&mut self, name: &str, session: &Session) {
        self._listed = Some(session.backend().cursors().add(CursorFacts {
            name: name.to_owned(),
            text: self.prepared.text.clone(),
            is_holdable: self.holds,
            is_binary: self.is_binary,
            is_scrollable: self.scrolls,
        }));
    }

    /// Whether it has not been run.
    pub(super) fn is_new(&self) -> bool {
        matches!(self.state, PortalState::New)
    }

    /// Whether it has run and gave no rows, so that it has nothing to go on with.
    fn is_over(&self) -> bool {
        match &self.state {
            PortalState::Finished(verb) => verb.is_none(),
            PortalState::Through(other) => other.is_over(),
            PortalState::New | PortalState::Open(_) => false,
        }
    }

    /// Takes out the rows that are left, if it is partly read, to send them in these formats.
    fn take_open(&mut self, formats: Arc<[FieldFormat]>) -> Result<Option<Box<Cursor>>, Failure> {
        match std::mem::replace(&mut self.state, PortalState::Finished(None)) {
            PortalState::Open(mut cursor) => {
                cursor.use_formats(formats)?;
                Ok(Some(cursor))
            }
            other => {
                self.state = other;
                Ok(None)
            }
        }
    }

    /// Puts rows back that are left.
    pub(super) fn put_open(&mut self, cursor: Box<Cursor>) {
        self.state = PortalState::Open(cursor);
    }

    /// The command tag after so many of its rows were read.
    fn tag(&self, n_rows: usize) -> String {
        match &self.state {
            PortalState::Open(cursor) => cursor.tag(n_rows),
            PortalState::Finished(Some(verb)) => tag_of(verb, n_rows),
            _ => tag_of("SELECT", n_rows),
        }
    }
}

/// How far a portal was run.
pub(super) enum PortalState {
    New,
    Open(Box<Cursor>),
    /// Its rows are those of another: what an `EXECUTE` names, or what a `FETCH` has read.
    Through(Box<Portal>),
    /// To the end; the first word of a further run's tag, if there were rows.
    Finished(Option<&'static str>),
}

/// Rows on their way to the client.
pub(super) struct Cursor {
    /// `None`: all rows are kept.
    running: Option<Running>,
    columns: Arc<[WireColumn]>,
    formats: Arc<[FieldFormat]>,
    tag: &'static str,
    forms: TextForms,
    /// The batch that is being sent and its next row.
    batch: Option<(RowEncoder, usize)>,
    /// The same batch, for other formats, and its memory.
    rows: Option<(RecordBatch, WaitingRows)>,
    /// What a cursor that moves backwards has read.
    kept: Option<Kept>,
}

/// How a fetch ended.
pub(super) enum Fetched {
    /// With the last row; how many this fetch sent.
    All(usize),
    /// With the limit; there may be more.
    Limit,
}

impl Cursor {
    pub(super) fn new(
        running: Running,
        columns: Arc<[WireColumn]>,
        formats: Arc<[FieldFormat]>,
        tag: &'static str,
        session: &Session,
    ) -> Cursor {
        let mut cursor = Cursor::without_rows(columns, formats, tag, session);
        cursor.running = Some(running);
        cursor
    }

    /// Of rows that were all read.
    fn of_kept(
        rows: Kept,
        columns: Arc<[WireColumn]>,
        formats: Arc<[FieldFormat]>,
        tag: &'static str,
        session: &Session,
    ) -> Cursor {
        let mut cursor = Cursor::without_rows(columns, formats, tag, session);
        cursor.kept = Some(rows);
        cursor
    }

    fn without_rows(
        columns: Arc<[WireColumn]>,
        formats: Arc<[FieldFormat]>,
        tag: &'static str,
        session: &Session,
    ) -> Cursor {
        Cursor {
            running: None,
            columns,
            formats,
            tag,
            forms: TextForms::of(session),
            batch: None,
            rows: None,
            kept: None,
        }
    }

    /// From now on, rows are sent in these formats.
    fn use_formats(&mut self, formats: Arc<[FieldFormat]>) -> Result<(), Failure> {
        if self.formats == formats {
            return Ok(());
        }
        self.formats = formats;
        if let (Some((_, row)), Some((rows, _))) = (&self.batch, &self.rows) {
            self.batch = Some((self.encoder(rows)?, *row));
        }
        Ok(())
    }

    fn encoder(&self, rows: &RecordBatch) -> Result<RowEncoder, Failure> {
        RowEncoder::try_new(rows, &self.columns, &self.formats, self.forms)
            .map_err(|error| Failure::error("0A000", error.strip_backtrace()))
    }

    /// The command tag after a fetch of so many rows.
    pub(super) fn tag(&self, n_rows: usize) -> String {
        tag_of(self.tag, n_rows)
    }
}

fn tag_of(verb: &str, n_rows: usize) -> String {
    match verb {
        "SHOW" | "EXPLAIN" => verb.to_owned(),
        verb => format!("{verb} {n_rows}"),
    }
}

pub(super) fn time_zone(session: &Session) -> String {
    session.settings().time_zone()
}

impl Event {
    /// The failure that this event is, of a statement at byte `start` of `text`.
    pub(super) fn failure(self, text: &str, start: usize) -> Failure {
        match self {
            Event::Failed(report) => Failure::from_report(report, text, start),
            Event::Overdue => Failure::cancelled(),
            Event::TimedOut => Failure::timed_out(),
            _ => Failure::panic(),
        }
    }
}

impl<S: Stream> Connection<S> {
    /// Answers one message of the extended protocol.
    pub(super) async fn extended_message(
        &mut self,
        message: PgWireFrontendMessage,
    ) -> Result<(), Interruption> {
        match message {
            PgWireFrontendMessage::Parse(parse) => self.parse(parse).await,
            PgWireFrontendMessage::Bind(bind) => self.bind(bind).await,
            PgWireFrontendMessage::Describe(describe) => self.describe(describe).await,
            PgWireFrontendMessage::Execute(execute) => self.execute(execute).await,
            PgWireFrontendMessage::Close(close) => self.close(close).await,
            PgWireFrontendMessage::Flush(_) => Ok(self.socket.flush().await?),
            // Data for a COPY that has ended, or never began, is dropped as PostgreSQL drops it.
            _ => Ok(()),
        }
    }

    async fn bind(&mut self, bind: Bind) -> Result<(), Interruption> {
        let name = bind.portal_name.unwrap_or_default();
        let prepared = self.prepared(bind.statement_name.as_deref());
        let about = prepared.as_ref().ok();
        self.watching.is_about(about.map(|prepared| &prepared.text));
        if !name.is_empty() && self.portals.contains_key(&name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Failure::error("42P03", message).into());
        }
        self.portals.remove(&name);
        let prepared = prepared?;
        self.check_transaction(prepared.ends_transaction)?;
        let zone = time_zone(&self.session);
        let parameters = bound_parameters(
            &prepared,
            &bind.parameters,
            &bind.parameter_format_codes,
            (&zone, self.socket.encoding()),
        )?;
        let (prepared, parameters) = self.with_names(prepared, parameters).await?;
        let formats = result_formats(&prepared, &bind.result_column_format_codes)?;
        let named = bind.statement_name.unwrap_or_default();
        self.count_run(&named, &prepared);
        let mut portal = Portal::new(prepared, parameters, formats);
        portal.list(&name, &self.session);
        self.portals.insert(name, portal);
        Ok(self
            .socket
            .feed(PgWireBackendMessage::BindComplete(BindComplete::new()))
            .await?)
    }

    async fn describe(&mut self, describe: Describe) -> Result<(), Interruption> {
        let (columns, formats) = if describe.target_type == TARGET_TYPE_BYTE_STATEMENT {
            let prepared = self.prepared(describe.name.as_deref())?;
            self.watching.is_about(Some(&prepared.text));
            if prepared.has_late_names() {
                return Err(unknown_columns().into());
            }
            let columns = prepared.told_columns();
            let oids = prepared.parameters.iter().map(Type::oid).collect();
            let parameters = ParameterDescription::new(oids);
            self.socket
                .feed(PgWireBackendMessage::ParameterDescription(parameters))
                .await?;
            let n_columns = columns.as_ref().map_or(0, |columns| columns.len());
            (columns, vec![FieldFormat::Text; n_columns].into())
        } else {
            let name = describe.name.unwrap_or_default();
            let portal = self
                .portals
                .get(&name)
                .ok_or_else(|| missing_portal(&name))?;
            (portal.prepared.told_columns(), Arc::clone(&portal.formats))
        };
        match columns {
            Some(columns) => self.describe_rows(&columns, &formats).await,
            None => {
                let message = PgWireBackendMessage::NoData(NoData::new());
                Ok(self.socket.feed(message).await?)
            }
        }
    }

    async fn execute(&mut self, execute: Execute) -> Result<(), Interruption> {
        let name = execute.name.unwrap_or_default();
        // Taken out while it runs: a failed portal stays out.
        let mut portal = self
            .portals
            .remove(&name)
            .ok_or_else(|| missing_portal(&name))?;
        let text = &portal.prepared.text;
        self.session.backend().begin(text);
        self.watching.resume(portal.watch.take(), text);
        let limit = usize::try_from(execute.max_rows)
            .ok()
            .filter(|limit| *limit > 0);
        if portal.is_over() {
            let message = format!("portal \"{name}\" cannot be run");
            return Err(Failure::error("55000", message).into());
        }
        if portal.is_new() {
            let prepared = Arc::clone(&portal.prepared);
            self.enter_pipeline(&prepared).await?;
        }
        self.run_portal(&mut portal, limit).await?;
        // Still here if the client may ask for more rows.
        portal.watch = self.watching.take();
        self.portals.insert(name, portal);
        Ok(())
    }

    async fn close(&mut self, close: Close) -> Result<(), Interruption> {
        let name = close.name.unwrap_or_default();
        // Closing what does not exist is no error.
        if close.target_type == TARGET_TYPE_BYTE_STATEMENT {
            self.statements.remove(&name);
        } else {
            self.portals.remove(&name);
        }
        Ok(self
            .socket
            .feed(PgWireBackendMessage::CloseComplete(CloseComplete::new()))
            .await?)
    }
}

/// Of a statement whose columns depend on values that are not here yet.
fn unknown_columns() -> Failure {
    let message = "the columns are not known before the model or version that a parameter names";
    let hint = "Write it into the statement, or describe the portal.";
    Failure::error("0A000", message).with_hint(hint)
}

pub(super) fn missing_portal(name: &str) -> Failure {
    Failure::error("34000", format!("portal \"{name}\" does not exist"))
}
