//! `COPY … FROM STDIN` and `COPY … TO STDOUT`: rows as messages of their own.
//!
//! In: what a client sends, in pieces of any size; out: record batches for a running statement, or its batches as
//! messages. A few batches are in memory at a time, whatever the length of the copy. Code map: `text`, `csv` and
//! `binary` find rows and values in bytes, of lines that end as `line_break` finds and begin with a `header`; `columns` makes batches of them, `sent` keeps the last ones for errors; `write` is the other way.

mod binary;
mod columns;
mod csv;
mod decoder;
mod header;
mod line_break;
mod sent;
mod text;
mod write;

use auspex_planner::{CopiedLines, CopyFormat, CopyOptions};
use bytes::{Bytes, BytesMut};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use pgwire::messages::copy::{CopyDone, CopyInResponse, CopyOutResponse};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use tokio::sync::mpsc::Sender;

use super::client_encoding::ClientEncoding;
use super::connection::{Connection, Interruption};
use super::extended::time_zone;
use super::running::{Event, Running};
use super::socket::{Stream, Unreadable};
use super::types::{TextForms, wire_columns, wire_columns_as};
use crate::sqlstate::Failure;
use decoder::RowDecoder;
use sent::SentRows;
use write::CopyWriter;

/// What a statement that takes rows needs to know of them, and where they go.
pub(super) struct CopyRequest {
    /// The table's name, for messages.
    pub(super) table: String,
    pub(super) columns: SchemaRef,
    pub(super) options: CopyOptions,
    /// Finds the row that a failure is about.
    pub(super) lines: CopiedLines,
    pub(super) rows: Sender<Result<RecordBatch, DataFusionError>>,
}

/// What the client did next.
enum Sent {
    Data(Bytes),
    Done,
    /// It gave up, for this reason.
    Gave(String),
}

impl<S: Stream> Connection<S> {
    /// Carries out the COPY that a statement turned out to be, or tells its failure; returns the command tag.
    pub(super) async fn copy_or_fail(
        &mut self,
        running: &mut Running,
        event: Event,
        text: &str,
        start: usize,
    ) -> Result<String, Interruption> {
        match event {
            Event::CopyIn(request) => {
                self.watch(Some(running));
                let tag = self.copy_in(running, *request, text, start).await;
                self.watch(None);
                tag
            }
            Event::CopyOut(schema, options) => {
                self.copy_out(running, &schema, options, text, start).await
            }
            event => Err(event.failure(text, start).into()),
        }
    }

    /// Takes rows from the client until it says that there are no more; returns the command tag.
    async fn copy_in(
        &mut self,
        running: &mut Running,
        request: CopyRequest,
        text: &str,
        start: usize,
    ) -> Result<String, Interruption> {
        let columns = wire_columns(&request.columns)?;
        let encoding = self.copied_encoding(&request.options);
        let (format, count) = form(&request.options, columns.len());
        let formats = vec![i16::from(format); columns.len()];
        let response = CopyInResponse::new(format, count, formats);
        self.socket
            .feed(PgWireBackendMessage::CopyInResponse(response))
            .await?;
        self.socket.flush().await?;
        let zone = time_zone(&self.session);
        let mut decoder = RowDecoder::new(&request, columns, zone);
        decoder.converts_from(encoding);
        let queries = self.shared.queries.handle().cloned();
        let memory = self.session.copied_bytes();
        let mut sent = SentRows::new(&request.table, request.lines.clone(), memory);
        let taking = self.take_rows(running, (&mut decoder, &mut sent), &request.rows);
        match taking.await {
            Ok(()) => {}
            Err(Interruption::Failed(failure)) => {
                // The statement ends by itself, so that the files that it wrote are removed.
                let cause = DataFusionError::Execution("the rows of a COPY are wrong".to_owned());
                let told = request.rows.send(Err(cause)).await;
                drop(request);
                return Err(match (self.next_event(running).await?, told) {
                    (event, Err(_)) => {
                        let failure = event.failure(text, start);
                        sent.placed(failure, queries).await.into()
                    }
                    (_, Ok(())) => failure.into(),
                });
            }
            Err(other) => {
                // A channel that closes without a word means that all rows are there.
                let cause = DataFusionError::Execution("the client of a COPY is gone".to_owned());
                let _ = request.rows.send(Err(cause)).await;
                return Err(other);
            }
        }
        drop(request);
        match self.next_event(running).await? {
            Event::Done(tag) => Ok(tag.unwrap_or_default()),
            event => {
                let failure = event.failure(text, start);
                Err(sent.placed(failure, queries).await.into())
            }
        }
    }

    /// What the lines are converted from and to: the encoding that the statement names, else the client's. Texts within
    /// binary rows have the client's, whatever the statement names.
    fn copied_encoding(&self, options: &CopyOptions) -> Option<ClientEncoding> {
        match (options.encoding, options.format) {
            (Some(name), CopyFormat::Text | CopyFormat::Csv) => ClientEncoding::of(name),
            _ => self.socket.encoding(),
        }
    }

    /// Passes rows on until the client is done, it gives up, or a row is wrong. Ends early, and without an error, when
    /// the statement takes no more rows.
    async fn take_rows(
        &mut self,
        running: &mut Running,
        (decoder, kept): (&mut RowDecoder, &mut SentRows),
        rows: &Sender<Result<RecordBatch, DataFusionError>>,
    ) -> Result<(), Interruption> {
        loop {
            let sent = tokio::select! {
                sent = self.next_sent() => sent?,
                () = rows.closed() => return Ok(()),
            };
            match sent {
                Sent::Data(data) => decoder.push(&data)?,
                Sent::Done => decoder.finish(),
                Sent::Gave(reason) => {
                    let message = format!("COPY from stdin failed: {reason}");
                    return Err(Failure::error("57014", message).into());
                }
            }
            while let Some(batch) = decoder.next_batch()? {
                let batch = kept.keep(batch);
                if !self.pass_batch(running, rows, batch).await? {
                    return Ok(());
                }
            }
            if decoder.is_finished() {
                return Ok(());
            }
        }
    }

    /// Gives a batch to the statement, passing notices on meanwhile; `false`: it takes no more.
    async fn pass_batch(
        &mut self,
        running: &mut Running,
        rows: &Sender<Result<RecordBatch, DataFusionError>>,
        batch: RecordBatch,
    ) -> Result<bool, Interruption> {
        let (shutdown, terminated) = (self.shutdown(), self.terminated());
        let waiting = rows.reserve();
        tokio::pin!(waiting);
        loop {
            tokio::select! {
                biased;
                permit = &mut waiting => {
                    return Ok(match permit {
                        Ok(permit) => {
                            permit.send(Ok(batch));
                            true
                        }
                        Err(_) => false,
                    });
                }
                notice = running.next_notice() => self.pass_on(notice).await?,
                () = shutdown.cancelled() => return Err(Interruption::Shutdown),
                () = terminated.cancelled() => {
                    return Err(Interruption::Ended(Failure::shutdown()));
                }
            }
        }
    }

    /// The next piece of data, or the end of all.
    async fn next_sent(&mut self) -> Result<Sent, Interruption> {
        let (shutdown, terminated) = (self.shutdown(), self.terminated());
        loop {
            let message = tokio::select! {
                message = self.socket.next() => message,
                () = shutdown.cancelled() => return Err(Interruption::Shutdown),
                () = terminated.cancelled() => {
                    return Err(Interruption::Ended(Failure::shutdown()));
                }
            };
            match message {
                Some(Ok(PgWireFrontendMessage::CopyData(data))) => {
                    return Ok(Sent::Data(data.data));
                }
                Some(Ok(PgWireFrontendMessage::CopyDone(_))) => return Ok(Sent::Done),
                Some(Ok(PgWireFrontendMessage::CopyFail(fail))) => {
                    return Ok(Sent::Gave(fail.message));
                }
                // Clients of the extended protocol send these ahead.
                Some(Ok(PgWireFrontendMessage::Flush(_) | PgWireFrontendMessage::Sync(_))) => {}
                Some(Err(Unreadable::Malformed(malformed))) => {
                    return Err(malformed.failure().into());
                }
                Some(Ok(PgWireFrontendMessage::Terminate(_))) | Some(Err(_)) | None => {
                    return Err(Interruption::Lost);
                }
                Some(Ok(_)) => {
                    let message = "unexpected message during COPY from stdin";
                    return Err(Failure::protocol(message).into());
                }
            }
        }
    }

    /// Sends the rows of a statement as COPY data; returns the command tag.
    async fn copy_out(
        &mut self,
        running: &mut Running,
        schema: &SchemaRef,
        options: CopyOptions,
        text: &str,
        start: usize,
    ) -> Result<String, Interruption> {
        let columns = wire_columns_as(schema, self.nested())?;
        let encoding = self.copied_encoding(&options);
        let is_binary = options.format == CopyFormat::Binary;
        let (format, count) = form(&options, columns.len());
        let formats = vec![i16::from(format); columns.len()];
        let response = CopyOutResponse::new(format, count, formats);
        self.socket
            .feed(PgWireBackendMessage::CopyOutResponse(response))
            .await?;
        let forms = TextForms::of(&self.session);
        let mut writer = CopyWriter::new(options, columns, forms);
        let put_header = |out: &mut BytesMut| writer.put_header(out);
        let header = self.socket.put_copied(encoding, put_header);
        header.map_err(Failure::from)?;
        let mut n_rows = 0;
        loop {
            match self.next_event(running).await? {
                Event::Batch(batch, _memory) => {
                    let encoder = writer.encoder(&batch);
                    let encoder = encoder
                        .map_err(|error| Failure::error("0A000", error.strip_backtrace()))?;
                    for row in 0..encoder.n_rows() {
                        let put = match encoding.filter(|_| is_binary) {
                            Some(encoding) => {
                                let out = self.socket.outgoing();
                                writer.put_row_in(encoding, &encoder, row, out)
                            }
                            None => self
                                .socket
                                .put_copied(encoding, |out| writer.put_row(&encoder, row, out)),
                        };
                        put.map_err(Failure::from)?;
                        self.socket.relieve().await?;
                    }
                    n_rows += encoder.n_rows();
                    self.watching.add_rows(encoder.n_rows());
                }
                Event::Done(_) => break,
                event => return Err(event.failure(text, start).into()),
            }
        }
        writer.put_trailer(self.socket.outgoing());
        self.socket
            .feed(PgWireBackendMessage::CopyDone(CopyDone::new()))
            .await?;
        Ok(format!("COPY {n_rows}"))
    }
}

/// The format as the response to a COPY tells it, and the number of columns.
fn form(options: &CopyOptions, n_columns: usize) -> (i8, i16) {
    let format = i8::from(options.format == CopyFormat::Binary);
    // Lossless: a schema of more columns is refused before.
    (format, n_columns as i16)
}
