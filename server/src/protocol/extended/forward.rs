//! Cursors that do not go back: which rows a fetch of one gives, and which it passes over.
//!
//! In: where such a cursor stands and which rows are wanted; out: those rows on the socket, as they are read, or that it
//! would have to go back. None is kept.

use std::sync::Arc;

use auspex_sql::FetchCount;
use pgwire::api::results::FieldFormat;

use super::{Fetched, Portal, PortalState, RowsTo};
use crate::protocol::connection::{Connection, Interruption};
use crate::protocol::socket::Stream;

/// Where such a cursor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) struct Place {
    /// How many rows were read.
    n_read: usize,
    /// Whether a fetch has found that there are no more.
    is_at_end: bool,
}

/// What a fetch does with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::protocol) enum Step {
    /// Passes over so many rows, then gives up to so many; `None`: all that are left.
    Ahead {
        n_passed: usize,
        n_wanted: Option<usize>,
    },
    /// Reads nothing, and tells of so many rows.
    Stay(usize),
}

impl Place {
    /// What a FETCH does, or a MOVE, which tells whether there is a row here without giving it; `None`: it would go back.
    pub(in crate::protocol) fn step(self, count: FetchCount, moves: bool) -> Option<Step> {
        let ahead = |n_passed: u64, n_wanted: Option<u64>| {
            let size = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
            Some(Step::Ahead {
                n_passed: size(n_passed),
                n_wanted: n_wanted.map(size),
            })
        };
        let is_at_start = self.n_read == 0 && !self.is_at_end;
        let is_on_row = self.n_read > 0 && !self.is_at_end;
        match count {
            FetchCount::Forward(n) => ahead(0, Some(n)),
            FetchCount::ForwardAll => ahead(0, None),
            FetchCount::Relative(0) => match (is_on_row, moves) {
                (true, false) => None,
                (is_on_row, _) => Some(Step::Stay(usize::from(is_on_row))),
            },
            FetchCount::Absolute(0) => is_at_start.then_some(Step::Stay(0)),
            // There is nothing to go back over.
            FetchCount::BackwardAll => (moves && is_at_start).then_some(Step::Stay(0)),
            FetchCount::Relative(by) => match u64::try_from(by) {
                Ok(by) => ahead(by - 1, Some(1)),
                Err(_) => None,
            },
            FetchCount::Absolute(at) => {
                let here = (self.n_read as u64).saturating_add(u64::from(self.is_at_end));
                let n_passed = u64::try_from(at).ok()?.checked_sub(here)?.checked_sub(1)?;
                ahead(n_passed, Some(1))
            }
            FetchCount::Backward(_) => None,
        }
    }
}

impl Portal {
    /// Where it stands, if it does not go back.
    pub(in crate::protocol) fn place(&self) -> Place {
        Place {
            n_read: self.n_read,
            is_at_end: matches!(self.state, PortalState::Finished(_)),
        }
    }
}

impl<S: Stream> Connection<S> {
    /// Reads the rows of a cursor's step; how many there were.
    pub(in crate::protocol) async fn step_rows(
        &mut self,
        portal: &mut Portal,
        formats: Arc<[FieldFormat]>,
        step: Step,
        to: &mut RowsTo<'_>,
    ) -> Result<usize, Interruption> {
        let (n_passed, n_wanted) = match step {
            Step::Stay(n_rows) => return Ok(n_rows),
            Step::Ahead { n_passed, n_wanted } => (n_passed, n_wanted),
        };
        if n_passed > 0 {
            let (passed, mut nowhere) = (Arc::clone(&formats), RowsTo::Nowhere);
            self.fetch_rows(portal, passed, Some(n_passed), &mut nowhere)
                .await?;
        }
        self.fetch_rows(portal, formats, n_wanted, to).await
    }

    /// Reads the next rows of a portal that is open, up to so many; how many there were.
    pub(super) async fn fetch_rows(
        &mut self,
        portal: &mut Portal,
        formats: Arc<[FieldFormat]>,
        limit: Option<usize>,
        to: &mut RowsTo<'_>,
    ) -> Result<usize, Interruption> {
        let prepared = Arc::clone(&portal.prepared);
        let Some(mut cursor) = portal.take_open(formats)? else {
            return Ok(0);
        };
        let (text, start) = (&*prepared.text, prepared.start);
        let n_rows = match self.fetch(&mut cursor, limit, to, text, start).await? {
            Fetched::All(n_rows) => {
                portal.state = PortalState::Finished(Some(cursor.tag));
                n_rows
            }
            Fetched::Limit => {
                portal.put_open(cursor);
                limit.unwrap_or(0)
            }
        };
        portal.n_read = portal.n_read.saturating_add(n_rows);
        Ok(n_rows)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many rows are passed over and how many wanted, or how many are told of by who stays.
    fn told(place: Place, count: FetchCount, moves: bool) -> String {
        match place.step(count, moves) {
            Some(Step::Ahead { n_passed, n_wanted }) => match n_wanted {
                Some(n_wanted) => format!("{n_passed}, {n_wanted}"),
                None => format!("{n_passed}, all"),
            },
            Some(Step::Stay(n_rows)) => format!("stays: {n_rows}"),
            None => "goes back".to_owned(),
        }
    }

    #[test]
    fn a_cursor_goes_on_as_one_with_no_scroll_in_postgresql() {
        let at = |n_read| Place {
            n_read,
            is_at_end: false,
        };
        let end = |n_read| Place {
            n_read,
            is_at_end: true,
        };
        for (place, count, fetched, moved) in [
            (at(0), FetchCount::Forward(3), "0, 3", "0, 3"),
            (end(2), FetchCount::ForwardAll, "0, all", "0, all"),
            (at(2), FetchCount::Relative(3), "2, 1", "2, 1"),
            // The row where it is would have to be read again, but not to be counted.
            (at(0), FetchCount::Relative(0), "stays: 0", "stays: 0"),
            (at(2), FetchCount::Relative(0), "goes back", "stays: 1"),
            (end(2), FetchCount::Relative(0), "stays: 0", "stays: 0"),
            // A place ahead is one, however it is told.
            (at(0), FetchCount::Absolute(1), "0, 1", "0, 1"),
            (at(2), FetchCount::Absolute(5), "2, 1", "2, 1"),
            (at(2), FetchCount::Absolute(2), "goes back", "goes back"),
            (end(2), FetchCount::Absolute(3), "goes back", "goes back"),
            (end(2), FetchCount::Absolute(4), "0, 1", "0, 1"),
            (end(0), FetchCount::Absolute(1), "goes back", "goes back"),
            (at(0), FetchCount::Absolute(-1), "goes back", "goes back"),
            // Before the first row it is already.
            (at(0), FetchCount::Absolute(0), "stays: 0", "stays: 0"),
            (at(1), FetchCount::Absolute(0), "goes back", "goes back"),
            (at(0), FetchCount::BackwardAll, "goes back", "stays: 0"),
            (at(1), FetchCount::BackwardAll, "goes back", "goes back"),
            (at(0), FetchCount::Backward(1), "goes back", "goes back"),
            (at(0), FetchCount::Relative(-1), "goes back", "goes back"),
        ] {
            let steps = [false, true].map(|moves| told(place, count, moves));
            assert_eq!(steps, [fetched, moved], "{count:?} at {place:?}");
        }
    }
}
