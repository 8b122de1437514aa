//! Running a portal: its rows in parts, its tag, or the answer of a plan that needs no query.
//!
//! In: a bound statement and how many rows are wanted; out: rows on the socket, and what is left in the portal.

use std::sync::Arc;

use auspex_planner::{Error, Prepared as Plan, StatementControl};
use auspex_sql::FetchCount;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::PortalSuspended;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Cursor, Fetched, Kept, Portal, PortalState, Prepared};
use crate::protocol::connection::{Connection, Interruption};
use crate::protocol::own::Sending;
use crate::protocol::running::{Event, Work};
use crate::protocol::socket::Stream;
use crate::protocol::types::{
    Nested, RowEncoder, TextForms, WireColumn, are_described, wire_columns_as,
};
use crate::sqlstate::Failure;

/// Where the rows that are read from a cursor go.
pub(in crate::protocol) enum RowsTo<'a> {
    Client,
    /// They are passed over.
    Nowhere,
    /// They are sent later.
    Kept(&'a mut Kept),
}

impl<S: Stream> Connection<S> {
    /// Sends the next rows of a portal that can be run.
    pub(in crate::protocol) async fn run_portal(
        &mut self,
        portal: &mut Portal,
        limit: Option<usize>,
    ) -> Result<(), Interruption> {
        let prepared = Arc::clone(&portal.prepared);
        if let PortalState::Through(other) = &mut portal.state {
            return Box::pin(self.run_portal(other, limit)).await;
        }
        if let (Some(own), PortalState::New) = (&prepared.own, &portal.state) {
            self.check_transaction(false)?;
            let sending = Sending {
                text: &prepared.text,
                start: prepared.start,
                parameters: std::mem::take(&mut portal.parameters),
                formats: Arc::clone(&portal.formats),
                describes: false,
                limit,
                syntax: prepared.syntax.as_deref(),
            };
            let cursor = own.query().map(|_| Arc::new(prepared.without_own()));
            portal.state = Box::pin(self.run_own(own, cursor, sending)).await?;
            return Ok(());
        }
        if matches!(portal.state, PortalState::Finished(Some(_))) {
            return Ok(self.complete(portal.tag(0)).await?);
        }
        let Some(plan) = &prepared.plan else {
            return Ok(self.complete_empty().await?);
        };
        self.check_transaction(prepared.ends_transaction)?;
        if !matches!(portal.state, PortalState::Open(_)) {
            portal.state = PortalState::Finished(None);
            let parameters = std::mem::take(&mut portal.parameters);
            if limit.is_none()
                && self
                    .send_point(&prepared, plan, &parameters, &portal.formats)
                    .await?
            {
                portal.state = PortalState::Finished(Some("SELECT"));
                return Ok(());
            }
            let (text, start) = (&*prepared.text, prepared.start);
            let work = Work::Execute(Arc::clone(plan), parameters);
            let mut running = self.start(work)?;
            match self.next_event(&mut running).await? {
                Event::Done(tag) => return Ok(self.complete(tag.unwrap_or_default()).await?),
                Event::Rows(schema, tag) => {
                    let columns = prepared.columns.clone().unwrap_or_default();
                    check_described(&schema, &columns)?;
                    let formats = Arc::clone(&portal.formats);
                    let cursor = Cursor::new(running, columns, formats, tag, &self.session);
                    portal.put_open(Box::new(cursor));
                }
                event => {
                    let tag = self.copy_or_fail(&mut running, event, text, start).await?;
                    return Ok(self.complete(tag).await?);
                }
            }
        }
        self.send_next(portal, limit).await
    }

    /// Sends the next rows of a portal that is open.
    async fn send_next(
        &mut self,
        portal: &mut Portal,
        limit: Option<usize>,
    ) -> Result<(), Interruption> {
        // A FETCH by its name may have read it before, in other formats.
        let formats = Arc::clone(&portal.formats);
        let mut to = RowsTo::Client;
        let n_rows = match portal.scrolls {
            true => {
                let count = limit.and_then(|limit| u64::try_from(limit).ok());
                let count = count.map_or(FetchCount::ForwardAll, FetchCount::Forward);
                self.scroll_rows(portal, formats, count, &mut to).await?
            }
            false => self.fetch_rows(portal, formats, limit, &mut to).await?,
        };
        match limit == Some(n_rows) {
            true => self.suspend().await,
            false => Ok(self.complete(portal.tag(n_rows)).await?),
        }
    }

    /// Tells that the limit of rows was reached.
    async fn suspend(&mut self) -> Result<(), Interruption> {
        let suspended = PgWireBackendMessage::PortalSuspended(PortalSuspended::new());
        Ok(self.socket.feed(suspended).await?)
    }

    /// Sends the rows of a statement that depends on its parameters alone; `false`: it must be run as any other.
    async fn send_point(
        &mut self,
        prepared: &Prepared,
        plan: &Plan,
        parameters: &[ScalarValue],
        formats: &[FieldFormat],
    ) -> Result<bool, Interruption> {
        let Some(columns) = prepared.columns.as_ref().filter(|_| plan.is_point()) else {
            return Ok(false);
        };
        let (notices_in, mut notices) = mpsc::unbounded_channel();
        let control = StatementControl {
            cancel: CancellationToken::new(),
            notices: notices_in,
            returned: None,
        };
        let Some(rows) = self.session.execute_point(plan, parameters, &control) else {
            return Ok(false);
        };
        let rows = rows.map_err(|error| {
            Failure::from_report(error.report(), &prepared.text, prepared.start)
        })?;
        while let Ok(notice) = notices.try_recv() {
            self.pass_on(notice).await?;
        }
        let forms = TextForms::of(&self.session);
        let encoder = RowEncoder::try_new(&rows, columns, formats, forms)
            .map_err(|error| Failure::error("0A000", error.strip_backtrace()))?;
        for row in 0..encoder.n_rows() {
            self.socket.put_row(&encoder, row).map_err(Failure::from)?;
        }
        self.watching.add_rows(encoder.n_rows());
        self.socket.relieve().await?;
        self.complete(format!("SELECT {}", encoder.n_rows()))
            .await?;
        Ok(true)
    }

    /// Reads rows until there are no more, or `limit` were read.
    pub(in crate::protocol) async fn fetch(
        &mut self,
        cursor: &mut Cursor,
        limit: Option<usize>,
        to: &mut RowsTo<'_>,
        text: &str,
        start: usize,
    ) -> Result<Fetched, Interruption> {
        let failed = |error: Error| Failure::from_report(error.report(), text, start);
        let mut n_read = 0;
        loop {
            if let (Some((encoder, row)), Some((rows, _))) = (&mut cursor.batch, &cursor.rows) {
                let wanted = limit.map_or(usize::MAX, |limit| limit - n_read);
                let end = encoder.n_rows().min(row.saturating_add(wanted));
                n_read += end - *row;
                match to {
                    RowsTo::Client => {
                        for row in *row..end {
                            self.socket.put_row(encoder, row).map_err(Failure::from)?;
                            self.socket.relieve().await?;
                        }
                        self.watching.add_rows(end - *row);
                    }
                    RowsTo::Nowhere => {}
                    RowsTo::Kept(kept) => {
                        let read = rows.slice(*row, end - *row);
                        kept.add(read, &self.session).map_err(failed)?;
                    }
                }
                *row = end;
                if end == encoder.n_rows() {
                    cursor.batch = None;
                    cursor.rows = None;
                }
            }
            if limit == Some(n_read) {
                return Ok(Fetched::Limit);
            }
            let Some(running) = &mut cursor.running else {
                return Ok(Fetched::All(n_read));
            };
            match self.next_event(running).await? {
                Event::Batch(batch, memory) => {
                    cursor.batch = Some((cursor.encoder(&batch)?, 0));
                    cursor.rows = Some((batch, memory));
                }
                Event::Done(_) => return Ok(Fetched::All(n_read)),
                event => return Err(event.failure(text, start).into()),
            }
        }
    }
}

/// Fails where rows have other columns than those that the client was told.
pub(in crate::protocol) fn check_described(
    schema: &Schema,
    described: &[WireColumn],
) -> Result<(), Failure> {
    let found = wire_columns_as(schema, nested_of(described))?;
    match are_described(&found, described) {
        true => Ok(()),
        false => Err(Failure::changed_result()),
    }
}

/// How structs travelled when columns were described, which a later setting does not change.
fn nested_of(columns: &[WireColumn]) -> Nested {
    let is_record =
        |column: &WireColumn| [Type::RECORD, Type::RECORD_ARRAY].contains(&column.pg_type);
    match columns.iter().any(is_record) {
        true => Nested::Composite,
        false => Nested::Json,
    }
}
