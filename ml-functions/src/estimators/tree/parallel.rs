//! Shares independent pieces of work among threads.
//!
//! In: items and what to do with one; out: the results in the order of the items, whatever the threads.
//! Knows nothing of trees.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Applies `work` to each item, on at most `n_threads` threads, of which the caller is one.
pub(crate) fn map<T: Send, R: Send>(
    n_threads: usize,
    items: Vec<T>,
    work: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let n_threads = n_threads.min(items.len());
    if n_threads <= 1 {
        return items.into_iter().map(work).collect();
    }
    let slots: Vec<Mutex<(Option<T>, Option<R>)>> = items
        .into_iter()
        .map(|item| Mutex::new((Some(item), None)))
        .collect();
    let next = AtomicUsize::new(0);
    let run = || {
        while let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.1 = slot.0.take().map(&work);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..n_threads {
            scope.spawn(run);
        }
        run();
    });
    let result = |slot: Mutex<(Option<T>, Option<R>)>| {
        slot.into_inner().unwrap_or_else(PoisonError::into_inner).1
    };
    slots.into_iter().filter_map(result).collect()
}
