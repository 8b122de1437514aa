//! Page-locked memory of the host, and which copies out of it may still be on their way.
//!
//! Copies run at once here. A device makes them later, and would take what the host has written in the meantime. So a copy
//! counts as on its way until the host has waited for something that comes after it on its stream: memory that is copied
//! from anew, or freed, before that is told as a race.

use std::collections::BTreeMap;
use std::ops::Range;

/// Fills memory that was never written.
const POISON: u64 = u64::MAX;

/// A stream by its handle.
type Stream = usize;

/// A copy that may be on its way.
#[derive(Debug)]
struct Flight {
    bytes: Range<usize>,
    stream: Stream,
    number: u64,
}

/// Whatever comes after `number` on `stream` comes after a place of another stream, too.
#[derive(Debug)]
struct Wait {
    stream: Stream,
    number: u64,
    other: (Stream, u64),
}

/// See the module; that of a context.
#[derive(Debug, Default)]
pub(super) struct HostMemory {
    /// By address: how many bytes, and the words that hold them.
    blocks: BTreeMap<usize, (usize, Vec<u64>)>,
    flights: Vec<Flight>,
    waits: Vec<Wait>,
    /// What each stream was given so far, counted.
    n_given: BTreeMap<Stream, u64>,
    /// The place of each event on its stream.
    events: BTreeMap<usize, (Stream, u64)>,
}

impl HostMemory {
    /// So many bytes, if there are not more than `limit_bytes` with those that are there.
    pub(super) fn allocate(&mut self, n_bytes: usize, limit_bytes: usize) -> Option<*mut u8> {
        let used_bytes: usize = self.leaks().map(|(_, n_bytes)| n_bytes).sum();
        if n_bytes == 0 || n_bytes > limit_bytes.saturating_sub(used_bytes) {
            return None;
        }
        let mut words = vec![POISON; n_bytes.div_ceil(size_of::<u64>())];
        let start = words.as_mut_ptr().cast::<u8>();
        self.blocks.insert(start.addr(), (n_bytes, words));
        Some(start)
    }

    /// Frees what begins there: whether that is anything, or the race.
    pub(super) fn free(&mut self, address: usize) -> Result<bool, String> {
        let Some(&(n_bytes, _)) = self.blocks.get(&address) else {
            return Ok(false);
        };
        let bytes = address..address + n_bytes;
        self.check("freed", &bytes)?;
        self.blocks.remove(&address);
        Ok(true)
    }

    /// What was not freed: address and bytes.
    pub(super) fn leaks(&self) -> impl Iterator<Item = (usize, usize)> {
        self.blocks
            .iter()
            .map(|(&address, &(n_bytes, _))| (address, n_bytes))
    }

    /// Begins a copy on a stream; whether it is out of page-locked memory, or the race.
    pub(super) fn begin_copy(
        &mut self,
        bytes: Range<usize>,
        stream: Stream,
    ) -> Result<bool, String> {
        let block = self.blocks.range(..=bytes.start).next_back();
        let is_inside = block.is_some_and(|(start, (n_bytes, _))| bytes.end <= start + n_bytes);
        if is_inside {
            self.check("copied from anew", &bytes)?;
            let number = self.give(stream);
            self.flights.push(Flight {
                bytes,
                stream,
                number,
            });
        }
        Ok(is_inside)
    }

    /// Records an event.
    pub(super) fn record(&mut self, event: usize, stream: Stream) {
        let number = self.give(stream);
        self.events.insert(event, (stream, number));
    }

    /// Forgets an event.
    pub(super) fn forget(&mut self, event: usize) {
        self.events.remove(&event);
    }

    /// Lets what a stream is given from now on come after an event.
    pub(super) fn wait(&mut self, stream: Stream, event: usize) {
        if let Some(&other) = self.events.get(&event) {
            let number = self.give(stream);
            self.waits.push(Wait {
                stream,
                number,
                other,
            });
        }
    }

    /// The host has waited for an event.
    pub(super) fn event_is_done(&mut self, event: usize) {
        if let Some(&(stream, number)) = self.events.get(&event) {
            self.is_done(stream, number);
        }
    }

    /// The host has waited for a stream.
    pub(super) fn stream_is_done(&mut self, stream: Stream) {
        self.is_done(stream, u64::MAX);
    }

    /// The host has waited for everything.
    pub(super) fn all_is_done(&mut self) {
        self.flights.clear();
        self.waits.clear();
    }

    fn give(&mut self, stream: Stream) -> u64 {
        let n_given = self.n_given.entry(stream).or_default();
        *n_given += 1;
        *n_given
    }

    fn is_done(&mut self, stream: Stream, number: u64) {
        let is_before = |at: (Stream, u64)| at.0 == stream && at.1 <= number;
        self.flights
            .retain(|flight| !is_before((flight.stream, flight.number)));
        let waits = std::mem::take(&mut self.waits).into_iter();
        let (done, left): (Vec<Wait>, Vec<Wait>) =
            waits.partition(|wait| is_before((wait.stream, wait.number)));
        self.waits = left;
        for wait in done {
            self.is_done(wait.other.0, wait.other.1);
        }
    }

    fn check(&self, what: &str, bytes: &Range<usize>) -> Result<(), String> {
        let mut flights = self.flights.iter();
        let overlaps =
            |flight: &&Flight| flight.bytes.start < bytes.end && bytes.start < flight.bytes.end;
        match flights.find(overlaps) {
            Some(flight) => Err(format!(
                "race in page-locked memory: {} bytes at {:#x} are {what} while a copy of them may be on its way",
                flight.bytes.len(),
                flight.bytes.start
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::HostMemory;

    const FIRST: usize = 1;
    const SECOND: usize = 2;
    const EVENT: usize = 7;

    fn memory() -> (HostMemory, usize) {
        let mut memory = HostMemory::default();
        let start = memory.allocate(100, 1000).expect("room").addr();
        (memory, start)
    }

    #[test]
    fn memory_has_a_limit_and_tells_what_leaks() {
        let (mut memory, start) = memory();
        assert!(memory.allocate(901, 1000).is_none());
        assert!(memory.allocate(0, 1000).is_none());
        assert_eq!(memory.leaks().collect::<Vec<_>>(), [(start, 100)]);
        assert_eq!(memory.free(start + 64), Ok(false));
        assert_eq!(memory.free(start), Ok(true));
        assert_eq!(memory.free(start), Ok(false));
        assert_eq!(memory.leaks().count(), 0);
    }

    #[test]
    fn only_page_locked_memory_is_watched() {
        let (mut memory, start) = memory();
        assert_eq!(memory.begin_copy(start..start + 101, FIRST), Ok(false));
        assert_eq!(memory.begin_copy(8..16, FIRST), Ok(false));
        assert_eq!(memory.begin_copy(start..start + 100, FIRST), Ok(true));
        assert_eq!(memory.begin_copy(8..16, FIRST), Ok(false));
    }

    #[test]
    fn a_copy_is_on_its_way_until_something_after_it_was_waited_for() {
        let (mut memory, start) = memory();
        memory.record(EVENT, FIRST);
        assert_eq!(memory.begin_copy(start..start + 50, FIRST), Ok(true));
        // Beside it there is room.
        assert_eq!(memory.begin_copy(start + 50..start + 60, SECOND), Ok(true));
        memory.event_is_done(EVENT);
        memory.stream_is_done(SECOND);
        let again = memory.begin_copy(start + 49..start + 50, FIRST);
        assert!(again.expect_err("on its way").contains("copied from anew"));
        assert!(
            memory
                .free(start)
                .expect_err("on its way")
                .contains("freed")
        );
        memory.record(EVENT, FIRST);
        memory.event_is_done(EVENT);
        assert_eq!(memory.begin_copy(start..start + 50, FIRST), Ok(true));
        memory.all_is_done();
        assert_eq!(memory.free(start), Ok(true));
    }

    #[test]
    fn a_stream_that_waits_for_another_says_that_both_are_done() {
        for waits in [true, false] {
            let (mut memory, start) = memory();
            assert_eq!(memory.begin_copy(start..start + 50, FIRST), Ok(true));
            memory.record(EVENT, FIRST);
            if waits {
                memory.wait(SECOND, EVENT);
            }
            memory.forget(EVENT);
            memory.stream_is_done(SECOND);
            assert_eq!(memory.free(start).is_ok(), waits);
        }
    }
}
