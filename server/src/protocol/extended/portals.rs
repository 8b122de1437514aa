//! Running a portal: its rows in parts, its tag, or the answer of a plan that needs no query.
//!
//! In: a bound statement and how many rows are wanted; out: rows on the socket, and what is left in the portal.

use std::sync::Arc;

use auspex_planner::{Prepared as Plan, StatementControl};
use auspex_sql::FetchCount;
use datafusion::arrow::datatypes::Schema;
use datafusion::common::ScalarValue;
use pgwire::api::results::FieldFormat;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::PortalSuspended;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Cursor, Fetched, Portal, PortalState, Prepared, nested_of};
use crate::protocol::connection::{Connection, Interruption};
use crate::protocol::own::Sending;
use crate::protocol::running::{Event, Work};
use crate::protocol::socket::Stream;
use crate::protocol::types::{RowEncoder, TextForms, WireColumn, are_described, wire_columns_as};
use crate::sqlstate::Failure;

impl<S: Stream> Connection<S> {
    pub(in crate::protocol) async fn run_portal(
        &mut self,
        portal: &mut Portal,
        limit: Option<usize>,
    ) -> Result<(), Interruption> {
        let prepared = Arc::clone(&portal.prepared);
        if let (Some(own), PortalState::New) = (&prepared.own, &portal.state) {
            self.check_transaction(false)?;
            portal.state = PortalState::Finished;
            let sending = Sending {
                text: &prepared.text,
                start: prepared.start,
                parameters: std::mem::take(&mut portal.parameters),
                formats: Arc::clone(&portal.formats),
                describes: false,
                limit,
            };
            let cursor = own.query().map(|_| Arc::new(prepared.without_own()));
            return Box::pin(self.run_own(own, cursor, sending)).await;
        }
        let Some(plan) = &prepared.plan else {
            return Ok(self.complete_empty().await?);
        };
        self.check_transaction(prepared.ends_transaction)?;
        self.session.backend().begin(&prepared.text);
        if portal.scrolls {
            return self.send_scrolled(portal, limit).await;
        }
        let (text, start) = (&*prepared.text, prepared.start);
        let cursor = match std::mem::replace(&mut portal.state, PortalState::Finished) {
            PortalState::Open(cursor) => cursor,
            PortalState::Finished if prepared.columns.is_some() => {
                return Ok(self.complete("SELECT 0".to_owned()).await?);
            }
            PortalState::Finished => {
                return Err(Failure::error("55000", "portal cannot be run twice").into());
            }
            PortalState::New => {
                let parameters = std::mem::take(&mut portal.parameters);
                if limit.is_none()
                    && self
                        .send_point(&prepared, plan, &parameters, &portal.formats)
                        .await?
                {
                    return Ok(());
                }
                let work = Work::Execute(Arc::clone(plan), parameters);
                let mut running = self.start(work)?;
                match self.next_event(&mut running).await? {
                    Event::Done(tag) => return Ok(self.complete(tag.unwrap_or_default()).await?),
                    Event::Rows(schema, tag) => {
                        let columns = prepared.columns.clone().unwrap_or_default();
                        check_described(&schema, &columns)?;
                        let formats = Arc::clone(&portal.formats);
                        Box::new(Cursor::new(running, columns, formats, tag, &self.session))
                    }
                    event => {
                        let tag = self.copy_or_fail(&mut running, event, text, start).await?;
                        return Ok(self.complete(tag).await?);
                    }
                }
            }
        };
        self.send_next(portal, cursor, limit, &prepared).await
    }

    /// Sends the next rows of a cursor that does not go back.
    async fn send_next(
        &mut self,
        portal: &mut Portal,
        mut cursor: Box<Cursor>,
        limit: Option<usize>,
        prepared: &Prepared,
    ) -> Result<(), Interruption> {
        // A FETCH or MOVE by its name may have read it before, in other formats or without sending its rows.
        cursor.use_formats(Arc::clone(&portal.formats))?;
        cursor.passes_over = false;
        let (text, start) = (&*prepared.text, prepared.start);
        match self.fetch(&mut cursor, limit, text, start).await? {
            Fetched::All(n_rows) => {
                let tag = cursor.tag(n_rows);
                Ok(self.complete(tag).await?)
            }
            Fetched::Limit => {
                portal.state = PortalState::Open(cursor);
                self.suspend().await
            }
        }
    }

    /// Sends the next rows of a cursor that keeps what it has read.
    async fn send_scrolled(
        &mut self,
        portal: &mut Portal,
        limit: Option<usize>,
    ) -> Result<(), Interruption> {
        let count = limit.and_then(|limit| u64::try_from(limit).ok());
        let count = count.map_or(FetchCount::ForwardAll, FetchCount::Forward);
        let formats = Arc::clone(&portal.formats);
        let n_rows = self.scroll_rows(portal, formats, count, false).await?;
        match limit == Some(n_rows) {
            true => self.suspend().await,
            false => Ok(self.complete(format!("SELECT {n_rows}")).await?),
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
        };
        let mut watch = self.session.watch(&prepared.text);
        let rows = match self.session.execute_point(plan, parameters, &control) {
            None => {
                watch.ignore();
                return Ok(false);
            }
            Some(Ok(rows)) => {
                watch.add_rows(rows.num_rows());
                watch.succeeded(None);
                rows
            }
            Some(Err(error)) => {
                let report = error.report();
                watch.failed(report.sqlstate);
                return Err(Failure::from_report(report, &prepared.text, prepared.start).into());
            }
        };
        while let Ok(notice) = notices.try_recv() {
            self.pass_on(notice).await?;
        }
        let forms = TextForms::of(&self.session);
        let encoder = RowEncoder::try_new(&rows, columns, formats, forms)
            .map_err(|error| Failure::error("0A000", error.strip_backtrace()))?;
        for row in 0..encoder.n_rows() {
            self.socket.put_row(&encoder, row);
        }
        self.socket.relieve().await?;
        self.complete(format!("SELECT {}", encoder.n_rows()))
            .await?;
        Ok(true)
    }

    /// Sends rows until there are no more, or `limit` were sent.
    pub(in crate::protocol) async fn fetch(
        &mut self,
        cursor: &mut Cursor,
        limit: Option<usize>,
        text: &str,
        start: usize,
    ) -> Result<Fetched, Interruption> {
        let mut n_sent = 0;
        loop {
            if let Some((encoder, row)) = &mut cursor.batch {
                let wanted = limit.map_or(usize::MAX, |limit| limit - n_sent);
                let end = encoder.n_rows().min(row.saturating_add(wanted));
                n_sent += end - *row;
                while *row < end && !cursor.passes_over {
                    self.socket.put_row(encoder, *row);
                    *row += 1;
                    self.socket.relieve().await?;
                }
                *row = end;
                if end == encoder.n_rows() {
                    cursor.batch = None;
                    cursor.rows = None;
                }
            }
            if limit == Some(n_sent) {
                return Ok(Fetched::Limit);
            }
            match self.next_event(&mut cursor.running).await? {
                Event::Batch(batch, memory) => {
                    cursor.batch = Some((cursor.encoder(&batch)?, 0));
                    cursor.rows = Some((batch, memory));
                }
                Event::Done(_) => return Ok(Fetched::All(n_sent)),
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
