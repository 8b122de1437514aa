//! Memory that the process has freed and keeps for itself: little of it where the limit is small.
//!
//! In: what the program can tell its allocator, and the memory limit; out: the allocator told so, once. Knows no allocator.

use std::sync::OnceLock;

/// Up to this limit, what is kept matters more than the time to take it from the system again.
const SMALL_LIMIT_BYTES: usize = 1 << 30;

static KEEP_LITTLE: OnceLock<fn()> = OnceLock::new();

/// Names what makes the allocator keep little.
pub(crate) fn install(keep_little: fn()) {
    // A second one would be the same.
    let _ = KEEP_LITTLE.set(keep_little);
}

/// Makes the allocator keep what suits a memory limit.
pub(crate) fn suit(memory_limit_bytes: Option<usize>) {
    if let Some(keep_little) = KEEP_LITTLE.get()
        && memory_limit_bytes.is_some_and(|limit| limit <= SMALL_LIMIT_BYTES)
    {
        keep_little();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn only_small_limits_change_the_allocator() {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        install(|| {
            CALLS.fetch_add(1, Ordering::Relaxed);
        });
        let calls_of = |limit| {
            let before = CALLS.load(Ordering::Relaxed);
            suit(limit);
            CALLS.load(Ordering::Relaxed) - before
        };
        assert_eq!(calls_of(None), 0);
        assert_eq!(calls_of(Some(8 << 30)), 0);
        assert_eq!(calls_of(Some(256 << 20)), 1);
    }
}
