//! Cursors that move in both directions: `DECLARE c SCROLL CURSOR FOR …`.
//!
//! In: a cursor and which of its rows are wanted; out: those rows on the socket. What was read of the query is kept,
//! since no query runs backwards.

use std::ops::Range;
use std::sync::Arc;

use auspex_planner::{Error, KeptRows, Session};
use auspex_sql::FetchCount;
use datafusion::arrow::array::{RecordBatch, UInt64Array};
use datafusion::arrow::compute::take_record_batch;
use datafusion::error::DataFusionError;
use pgwire::api::results::FieldFormat;

use super::{Cursor, Portal, RowsTo};
use crate::protocol::connection::{Connection, Interruption};
use crate::protocol::running::Event;
use crate::protocol::socket::Stream;
use crate::sqlstate::Failure;

/// The most that a cursor keeps, however much memory its session has.
const MAX_KEPT_BYTES: usize = 256 << 20;

/// The rows that were read of a cursor, and where a reader stands among them.
#[derive(Default)]
pub(in crate::protocol) struct Kept {
    batches: Vec<RecordBatch>,
    n_rows: usize,
    memory: Option<KeptRows>,
    is_complete: bool,
    /// From 1; 0 is before the first row, one more than there are is behind the last.
    position: usize,
}

/// What a fetch sends: rows from one to another, and the place where the cursor then stands.
struct Sent {
    rows: Range<usize>,
    /// Whether the last of them comes first.
    backwards: bool,
    position: usize,
}

impl Sent {
    fn ahead(rows: Range<usize>, position: usize) -> Sent {
        Sent {
            rows,
            backwards: false,
            position,
        }
    }

    /// The rows as they are sent.
    fn in_order(&self) -> impl Iterator<Item = usize> {
        let Range { start, end } = self.rows;
        let backwards = self.backwards;
        (start..end).map(move |row| match backwards {
            true => end - 1 - (row - start),
            false => row,
        })
    }

    /// These rows of a batch, whose own are where they lie.
    fn of(&self, batch: &RecordBatch) -> Result<RecordBatch, Error> {
        if !self.backwards {
            return Ok(batch.slice(self.rows.start, self.rows.len()));
        }
        let indices = UInt64Array::from_iter_values(self.in_order().map(|row| row as u64));
        let taken = take_record_batch(batch, &indices).map_err(DataFusionError::from);
        taken.map_err(Error::from)
    }
}

impl Kept {
    /// Keeps rows behind those that are here.
    pub(super) fn add(&mut self, rows: RecordBatch, session: &Session) -> Result<(), Error> {
        let memory = self.memory.get_or_insert_with(|| session.kept_rows());
        memory.keep(&rows)?;
        self.n_rows += rows.num_rows();
        self.batches.push(rows);
        Ok(())
    }

    /// There are no more rows than these.
    pub(in crate::protocol) fn complete(mut self) -> Kept {
        self.is_complete = true;
        self
    }

    /// How many rows must be known before it is clear what a fetch sends; `None`: all.
    fn needed(&self, count: FetchCount) -> Option<usize> {
        let moved = |by: i64| {
            let by = isize::try_from(by).unwrap_or(isize::MAX);
            self.position.saturating_add_signed(by)
        };
        match count {
            FetchCount::Forward(n) => Some(moved(i64::try_from(n).unwrap_or(i64::MAX))),
            FetchCount::Relative(by) => Some(moved(by)),
            FetchCount::Absolute(at) => usize::try_from(at).ok(),
            FetchCount::Backward(_) | FetchCount::BackwardAll => Some(0),
            FetchCount::ForwardAll => None,
        }
    }

    /// What a fetch sends, once as many rows are known as it needs.
    fn sent(&self, count: FetchCount) -> Sent {
        let (last, end) = (self.n_rows, self.n_rows + 1);
        let one = |at: Option<usize>| match at {
            Some(at) if at > last => Sent::ahead(0..0, end),
            Some(at) if at > 0 => Sent::ahead(at..at + 1, at),
            _ => Sent::ahead(0..0, 0),
        };
        let ahead = |n: usize| {
            let to = self.position.saturating_add(n).min(end);
            Sent::ahead(self.position + 1..to.min(last) + 1, to)
        };
        let behind = |n: usize| {
            let to = self.position.saturating_sub(n);
            Sent {
                rows: to.max(1)..self.position,
                backwards: true,
                position: to,
            }
        };
        let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        match count {
            FetchCount::Forward(n) => ahead(size(n)),
            FetchCount::ForwardAll => ahead(usize::MAX),
            FetchCount::Backward(n) => behind(size(n)),
            FetchCount::BackwardAll => behind(usize::MAX),
            FetchCount::Absolute(at) => match usize::try_from(at) {
                Ok(at) => one(Some(at)),
                // From the end, which is known then.
                Err(_) => one(end.checked_sub(size(at.unsigned_abs()))),
            },
            FetchCount::Relative(by) => {
                let by = isize::try_from(by).unwrap_or(isize::MAX);
                let at = one(Some(self.position.saturating_add_signed(by)));
                match by == 0 {
                    true => Sent {
                        position: self.position,
                        ..at
                    },
                    false => at,
                }
            }
        }
    }
}

impl<S: Stream> Connection<S> {
    /// Reads rows of a portal that keeps them, and moves it; how many there were.
    pub(in crate::protocol) async fn scroll_rows(
        &mut self,
        portal: &mut Portal,
        formats: Arc<[FieldFormat]>,
        count: FetchCount,
        to: &mut RowsTo<'_>,
    ) -> Result<usize, Interruption> {
        let prepared = Arc::clone(&portal.prepared);
        let Some(mut cursor) = portal.take_open(formats)? else {
            return Ok(0);
        };
        let (text, start) = (&*prepared.text, prepared.start);
        let failed = |error: Error| Failure::from_report(error.report(), text, start);
        let mut kept = cursor.kept.take().unwrap_or_default();
        let needed = kept.needed(count).unwrap_or(usize::MAX);
        while kept.n_rows < needed
            && !kept.is_complete
            && let Some(running) = &mut cursor.running
        {
            match self.next_event(running).await? {
                Event::Batch(batch, sent) => {
                    drop(sent);
                    kept.add(batch, &self.session).map_err(failed)?;
                }
                Event::Done(_) => kept.is_complete = true,
                event => return Err(event.failure(text, start).into()),
            }
            let n_bytes = kept.memory.as_ref().map_or(0, KeptRows::n_bytes);
            if n_bytes > MAX_KEPT_BYTES {
                let message =
                    format!("a scrollable cursor keeps at most {MAX_KEPT_BYTES} bytes of rows");
                let hint = "Declare it without SCROLL, or let its query give fewer rows.";
                return Err(Failure::error("53200", message).with_hint(hint).into());
            }
        }
        let sent = kept.sent(count);
        self.give_kept(&mut cursor, &kept, &sent, to).await?;
        kept.position = sent.position;
        cursor.kept = Some(kept);
        portal.put_open(cursor);
        Ok(sent.rows.len())
    }

    async fn give_kept(
        &mut self,
        cursor: &mut Cursor,
        kept: &Kept,
        sent: &Sent,
        to: &mut RowsTo<'_>,
    ) -> Result<(), Interruption> {
        // Where each batch begins, in rows from 1.
        let mut starts = Vec::with_capacity(kept.batches.len());
        let mut next = 1;
        for batch in &kept.batches {
            starts.push(next);
            next += batch.num_rows();
        }
        let mut left = sent.rows.clone();
        while !left.is_empty() {
            let next = match sent.backwards {
                true => left.end - 1,
                false => left.start,
            };
            let place = starts.partition_point(|start| *start <= next) - 1;
            let (batch, start) = (&kept.batches[place], starts[place]);
            let here = left.start.max(start)..left.end.min(start + batch.num_rows());
            match sent.backwards {
                true => left.end = here.start,
                false => left.start = here.end,
            }
            let here = Sent {
                rows: here.start - start..here.end - start,
                ..*sent
            };
            match to {
                RowsTo::Client => {
                    let encoder = cursor.encoder(batch)?;
                    for row in here.in_order() {
                        self.socket.put_row(&encoder, row).map_err(Failure::from)?;
                        self.socket.relieve().await?;
                    }
                    self.watching.add_rows(here.rows.len());
                }
                RowsTo::Nowhere => {}
                RowsTo::Kept(into) => {
                    let added = here.of(batch);
                    let added = added.and_then(|rows| into.add(rows, &self.session));
                    added.map_err(|error| Failure::from_report(error.report(), "", 0))?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_moves_as_in_postgresql() {
        let mut kept = Kept {
            n_rows: 3,
            is_complete: true,
            ..Kept::default()
        };
        for (count, rows, position) in [
            (FetchCount::Forward(2), vec![1, 2], 2),
            (FetchCount::Relative(0), vec![2], 2),
            (FetchCount::Backward(1), vec![1], 1),
            (FetchCount::Backward(1), vec![], 0),
            (FetchCount::Relative(0), vec![], 0),
            (FetchCount::ForwardAll, vec![1, 2, 3], 4),
            (FetchCount::Forward(1), vec![], 4),
            (FetchCount::Relative(0), vec![], 4),
            (FetchCount::BackwardAll, vec![3, 2, 1], 0),
            (FetchCount::Absolute(-1), vec![3], 3),
            (FetchCount::Absolute(-4), vec![], 0),
            (FetchCount::Absolute(2), vec![2], 2),
            (FetchCount::Relative(-1), vec![1], 1),
            (FetchCount::Relative(7), vec![], 4),
            (FetchCount::Absolute(0), vec![], 0),
            (FetchCount::Forward(3), vec![1, 2, 3], 3),
        ] {
            let sent = kept.sent(count);
            let found: Vec<usize> = sent.in_order().collect();
            assert_eq!((found, sent.position), (rows, position), "{count:?}");
            kept.position = sent.position;
        }
    }
}
