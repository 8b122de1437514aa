//! Which work of streams comes before which, and whether all that touch the same bytes have an order.
//!
//! In: what streams are given, the events that order them, what the host waits for, and the bytes that each work touches;
//! out: the race, in words. Work runs at once here. A device runs that of different streams at the same time, and after
//! the call that gave it. So two works of different streams that touch the same bytes, and not both only read them, need
//! an event between, or a wait of the host; and so does the host itself, before it writes page-locked memory anew or
//! frees memory.
//!
//! Works are compared by ranges, from the first byte that a kernel touches in an allocation to the last: two streams that share an
//! allocation in turns of bytes need an order, too. All threads of the host count as one.

use std::collections::BTreeMap;
use std::ops::Range;

/// A stream by its handle.
type Stream = usize;

/// Of each stream, how much of what it was given has been done.
type Clock = BTreeMap<Stream, u64>;

/// A stream, and how much it was given until there.
pub(super) type Place = (Stream, u64);

/// Where bytes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Space {
    Device,
    PageLocked,
}

/// What a work of a stream does with some bytes.
#[derive(Debug)]
pub(super) struct Touch {
    pub(super) space: Space,
    pub(super) bytes: Range<u64>,
    pub(super) place: Place,
    pub(super) is_write: bool,
    /// The work in words.
    pub(super) by: String,
}

impl Touch {
    fn overlaps(&self, space: Space, bytes: &Range<u64>) -> bool {
        self.space == space && self.bytes.start < bytes.end && bytes.start < self.bytes.end
    }

    /// The race of somebody with this.
    fn race(&self, now: &str) -> String {
        let space = match self.space {
            Space::Device => "device",
            Space::PageLocked => "page-locked",
        };
        format!(
            "race in {space} memory: {} bytes at {:#x} are {now} while {} on stream {:#x}, which {} them, may be on its way",
            self.bytes.end - self.bytes.start,
            self.bytes.start,
            self.by,
            self.place.0,
            if self.is_write { "writes" } else { "reads" },
        )
    }
}

/// See the module; that of a context.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// Of each stream, what has been done before it begins what it is given next.
    streams: BTreeMap<Stream, Clock>,
    /// What has been done before an event.
    events: BTreeMap<usize, Clock>,
    /// What the host has waited for.
    host: Clock,
    /// All that the host has not waited for, but for what others stand for.
    touches: Vec<Touch>,
}

impl Order {
    /// Gives a stream some work.
    pub(super) fn give(&mut self, stream: Stream) -> Place {
        let clock = self.streams.entry(stream).or_default();
        advance(clock, &self.host);
        let number = clock.entry(stream).or_default();
        *number += 1;
        (stream, *number)
    }

    /// A work touches bytes; or the race.
    pub(super) fn touch(&mut self, touch: Touch) -> Result<(), String> {
        let clock = &*self.streams.entry(touch.place.0).or_default();
        let conflict = self.touches.iter().find(|other| {
            (touch.is_write || other.is_write)
                && other.overlaps(touch.space, &touch.bytes)
                && !has_done(clock, other.place)
        });
        if let Some(other) = conflict {
            let verb = if touch.is_write { "written" } else { "read" };
            let now = format!("{verb} by {} on stream {:#x}", touch.by, touch.place.0);
            return Err(other.race(&now));
        }
        // Whatever comes after this touch comes after those before it, too.
        self.touches.retain(|other| {
            let is_within =
                touch.bytes.start <= other.bytes.start && other.bytes.end <= touch.bytes.end;
            let is_covered = other.space == touch.space && is_within;
            let stands_for = touch.is_write || !other.is_write;
            !(is_covered && stands_for && has_done(clock, other.place))
        });
        self.touches.push(touch);
        Ok(())
    }

    /// The host writes or frees bytes; or the race.
    pub(super) fn host_changes(
        &self,
        space: Space,
        bytes: &Range<u64>,
        now: &str,
    ) -> Result<(), String> {
        let mut touches = self.touches.iter();
        match touches.find(|touch| touch.overlaps(space, bytes)) {
            Some(touch) => Err(touch.race(now)),
            None => Ok(()),
        }
    }

    /// Takes no more account of bytes that are not there any more.
    pub(super) fn forget_bytes(&mut self, space: Space, bytes: &Range<u64>) {
        self.touches.retain(|touch| !touch.overlaps(space, bytes));
    }

    /// Records an event.
    pub(super) fn record(&mut self, event: usize, stream: Stream) {
        self.give(stream);
        let clock = self.streams.get(&stream).cloned().unwrap_or_default();
        self.events.insert(event, clock);
    }

    /// Forgets an event; who waits for it still does.
    pub(super) fn forget(&mut self, event: usize) {
        self.events.remove(&event);
    }

    /// Lets what a stream is given from now on come after an event.
    pub(super) fn wait(&mut self, stream: Stream, event: usize) {
        if let Some(before) = self.events.get(&event) {
            advance(self.streams.entry(stream).or_default(), before);
        }
    }

    /// The host has waited for an event.
    pub(super) fn event_is_done(&mut self, event: usize) {
        if let Some(before) = self.events.get(&event) {
            advance(&mut self.host, before);
        }
        self.prune();
    }

    /// The host has waited for a stream.
    pub(super) fn stream_is_done(&mut self, stream: Stream) {
        if let Some(before) = self.streams.get(&stream) {
            advance(&mut self.host, before);
        }
        self.prune();
    }

    /// The host has waited for everything.
    pub(super) fn all_is_done(&mut self) {
        for before in self.streams.values() {
            advance(&mut self.host, before);
        }
        self.prune();
    }

    /// What the host has waited for comes before all that is to come.
    fn prune(&mut self) {
        self.touches
            .retain(|touch| !has_done(&self.host, touch.place));
    }
}

fn has_done(clock: &Clock, (stream, number): Place) -> bool {
    clock.get(&stream).is_some_and(|&done| done >= number)
}

fn advance(clock: &mut Clock, before: &Clock) {
    for (&stream, &number) in before {
        let done = clock.entry(stream).or_default();
        *done = number.max(*done);
    }
}

#[cfg(test)]
mod tests {
    use super::{Order, Space, Touch};

    const FIRST: usize = 1;
    const SECOND: usize = 2;
    const THIRD: usize = 3;
    const EVENT: usize = 7;

    fn touch(
        order: &mut Order,
        stream: usize,
        bytes: std::ops::Range<u64>,
        is_write: bool,
    ) -> Result<(), String> {
        let place = order.give(stream);
        order.touch(Touch {
            space: Space::Device,
            bytes,
            place,
            is_write,
            by: "a copy".to_owned(),
        })
    }

    fn free(order: &Order) -> Result<(), String> {
        order.host_changes(Space::Device, &(0..100), "freed")
    }

    #[test]
    fn works_of_two_streams_on_the_same_bytes_need_an_event_unless_both_read() {
        for (first, second) in [(true, true), (true, false), (false, true), (false, false)] {
            for waits in [true, false] {
                let mut order = Order::default();
                assert_eq!(touch(&mut order, FIRST, 0..50, first), Ok(()));
                order.record(EVENT, FIRST);
                if waits {
                    order.wait(SECOND, EVENT);
                }
                order.forget(EVENT);
                // Beside them there is room, and other memory has other bytes.
                assert_eq!(touch(&mut order, SECOND, 50..60, true), Ok(()));
                assert_eq!(
                    order.host_changes(Space::PageLocked, &(0..50), "freed"),
                    Ok(())
                );
                let found = touch(&mut order, SECOND, 49..50, second);
                assert_eq!(found.is_ok(), waits || !(first || second), "{found:?}");
            }
        }
    }

    #[test]
    fn what_comes_after_the_event_is_not_waited_for() {
        let mut order = Order::default();
        order.record(EVENT, FIRST);
        assert_eq!(touch(&mut order, FIRST, 0..50, true), Ok(()));
        order.wait(SECOND, EVENT);
        let race = touch(&mut order, SECOND, 0..50, false).expect_err("no order");
        assert_eq!(
            race,
            "race in device memory: 50 bytes at 0x0 are read by a copy on stream 0x2 while a copy on stream 0x1, which writes them, may be on its way"
        );
    }

    #[test]
    fn an_order_goes_through_other_streams_and_through_the_host() {
        let mut order = Order::default();
        assert_eq!(touch(&mut order, FIRST, 0..50, true), Ok(()));
        order.record(EVENT, FIRST);
        order.wait(SECOND, EVENT);
        order.record(EVENT, SECOND);
        order.wait(THIRD, EVENT);
        assert_eq!(touch(&mut order, THIRD, 0..60, true), Ok(()));
        // The touch of the first is not forgotten with it: who waits for the third waits for both.
        assert!(touch(&mut order, FIRST, 0..10, false).is_err());
        assert!(free(&order).expect_err("on its way").contains("are freed"));
        order.stream_is_done(SECOND);
        assert!(free(&order).is_err(), "the third was not waited for");
        order.stream_is_done(THIRD);
        assert_eq!(free(&order), Ok(()));
        assert_eq!(touch(&mut order, FIRST, 0..10, true), Ok(()));
        order.all_is_done();
        assert_eq!(free(&order), Ok(()));
    }

    #[test]
    fn a_reader_does_not_stand_for_a_writer_before_it() {
        let mut order = Order::default();
        assert_eq!(touch(&mut order, FIRST, 0..50, true), Ok(()));
        assert_eq!(touch(&mut order, FIRST, 0..50, false), Ok(()));
        assert!(touch(&mut order, SECOND, 0..50, false).is_err());
        order.forget_bytes(Space::Device, &(0..50));
        assert_eq!(touch(&mut order, SECOND, 0..50, true), Ok(()));
    }

    #[test]
    fn the_host_waits_for_events_alone_as_far_as_they_go() {
        let mut order = Order::default();
        assert_eq!(touch(&mut order, FIRST, 0..50, false), Ok(()));
        order.record(EVENT, FIRST);
        assert_eq!(touch(&mut order, FIRST, 60..70, false), Ok(()));
        order.event_is_done(EVENT);
        assert!(free(&order).is_err());
        order.record(EVENT, FIRST);
        order.event_is_done(EVENT);
        assert_eq!(free(&order), Ok(()));
    }
}
