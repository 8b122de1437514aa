//! Cursors that move in both directions: `DECLARE c SCROLL CURSOR FOR …`.
//!
//! In: a cursor and which of its rows are wanted; out: those rows on the socket. What was read of the query is kept,
//! since no query runs backwards.

use auspex_planner::{Error, KeptRows};
use auspex_sql::FetchCount;
use datafusion::arrow::array::RecordBatch;

use super::{Cursor, RowEncoder};
use crate::protocol::connection::{Connection, Interruption};
use crate::protocol::running::Event;
use crate::protocol::socket::Stream;
use crate::sqlstate::Failure;

/// The most that a cursor keeps, however much memory its session has.
const MAX_KEPT_BYTES: usize = 256 << 20;

/// The rows that a cursor has read, and where it stands among them.
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
    rows: Vec<usize>,
    position: usize,
}

impl Kept {
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
            Some(at) if at > last => Sent {
                rows: vec![],
                position: end,
            },
            Some(at) if at > 0 => Sent {
                rows: vec![at],
                position: at,
            },
            _ => Sent {
                rows: vec![],
                position: 0,
            },
        };
        let ahead = |n: usize| {
            let to = self.position.saturating_add(n);
            Sent {
                rows: (self.position + 1..=to.min(last)).collect(),
                position: to.min(end),
            }
        };
        let behind = |n: usize| {
            let to = self.position.saturating_sub(n);
            Sent {
                rows: (to.max(1)..self.position).rev().collect(),
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
    /// Sends rows of a cursor that keeps them, and moves it; how many there were.
    pub(in crate::protocol) async fn scroll(
        &mut self,
        cursor: &mut Cursor,
        count: FetchCount,
        text: &str,
        start: usize,
    ) -> Result<usize, Interruption> {
        let mut kept = cursor.kept.take().unwrap_or_default();
        let needed = kept.needed(count).unwrap_or(usize::MAX);
        while kept.n_rows < needed && !kept.is_complete {
            match self.next_event(&mut cursor.running).await? {
                Event::Batch(batch, sent) => {
                    drop(sent);
                    kept.n_rows += batch.num_rows();
                    let new = || self.session.kept_rows();
                    let memory = kept.memory.get_or_insert_with(new);
                    let failed = |error: Error| Failure::from_report(error.report(), text, start);
                    memory.keep(&batch).map_err(failed)?;
                    kept.batches.push(batch);
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
        if !cursor.passes_over {
            self.send_kept(cursor, &kept, &sent.rows).await?;
        }
        kept.position = sent.position;
        cursor.kept = Some(kept);
        Ok(sent.rows.len())
    }

    async fn send_kept(
        &mut self,
        cursor: &mut Cursor,
        kept: &Kept,
        rows: &[usize],
    ) -> Result<(), Interruption> {
        // Where each batch begins, in rows from 1.
        let mut starts = Vec::with_capacity(kept.batches.len());
        let mut next = 1;
        for batch in &kept.batches {
            starts.push(next);
            next += batch.num_rows();
        }
        let mut open: Option<(usize, RowEncoder)> = None;
        for row in rows {
            let place = starts
                .partition_point(|start| start <= row)
                .saturating_sub(1);
            if open.as_ref().is_none_or(|(known, _)| *known != place) {
                let batch = &kept.batches[place];
                open = Some((place, cursor.encoder(batch)?));
            }
            if let Some((_, encoder)) = &open {
                self.socket.put_row(encoder, row - starts[place]);
                self.socket.relieve().await?;
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
            assert_eq!((sent.rows, sent.position), (rows, position), "{count:?}");
            kept.position = sent.position;
        }
    }
}
