//! What stays on a device between the calls of a run, and how much memory a run may take.
//!
//! In: buffers under the names of their rows; out: the same at later calls. A run's buffers go when it ends, and
//! earlier where the device is too small. Holds no numbers of its own: the host has all of them.

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cudarc::driver::CudaSlice;

use crate::device::RowsId;

/// What of some rows is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Role {
    Dense,
    Codes,
    Response,
    Weights,
    Bins,
    Pairs,
    Order,
}

/// The name of a buffer in its run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    Rows(RowsId, Role),
    /// An array of an ensemble, by its place among them.
    Forest(u64, usize),
}

/// Tells contents under one name apart.
pub(super) type Stamp = [u64; 2];

/// The stamp of what never changes under its name: the number of its elements, so that a caller who gives other rows
/// that name has their own, and no kernel reads beyond a buffer.
pub(super) fn constant(n_elements: usize) -> Stamp {
    [n_elements as u64, 0]
}

/// A stamp of numbers: each of its words changes with every bit of them.
pub(super) fn fingerprint(values: &[f64]) -> Stamp {
    let mut words = [values.len() as u64, !(values.len() as u64)];
    for value in values {
        let bits = value.to_bits();
        // Multiplying by an odd number and rotating lose nothing, so that equal words mean equal numbers but by chance.
        words[0] = (words[0] ^ bits)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
        words[1] = (words[1].wrapping_add(bits))
            .wrapping_mul(0xd6e8_feb8_6659_fd93)
            .rotate_left(31);
    }
    words
}

/// Memory that a run may take of a device, and what it takes.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    limit_bytes: usize,
    used_bytes: Arc<AtomicUsize>,
}

impl Default for Budget {
    fn default() -> Budget {
        Budget::new(usize::MAX)
    }
}

impl Budget {
    pub(super) fn new(limit_bytes: usize) -> Budget {
        Budget {
            limit_bytes,
            used_bytes: Arc::default(),
        }
    }

    /// The same with another limit.
    pub(super) fn with_limit(&self, limit_bytes: usize) -> Budget {
        Budget {
            limit_bytes,
            used_bytes: Arc::clone(&self.used_bytes),
        }
    }

    pub(super) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    pub(super) fn left_bytes(&self) -> usize {
        self.limit_bytes.saturating_sub(self.used_bytes())
    }

    /// Takes bytes until the answer is dropped; `None` beyond the limit.
    pub(super) fn hold(&self, n_bytes: usize) -> Option<Held> {
        if n_bytes > self.left_bytes() {
            return None;
        }
        self.used_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        Some(Held {
            n_bytes,
            used_bytes: Arc::clone(&self.used_bytes),
        })
    }
}

/// Bytes of a budget.
#[derive(Debug)]
pub(super) struct Held {
    n_bytes: usize,
    used_bytes: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.used_bytes.fetch_sub(self.n_bytes, Ordering::Relaxed);
    }
}

/// Numbers on the device, accounted while they are there.
#[derive(Debug)]
pub(super) struct Buffer<T> {
    slice: CudaSlice<T>,
    held: Held,
}

impl<T> Buffer<T> {
    pub(super) fn new(slice: CudaSlice<T>, held: Held) -> Buffer<T> {
        Buffer { slice, held }
    }
}

impl<T> Deref for Buffer<T> {
    type Target = CudaSlice<T>;

    fn deref(&self) -> &CudaSlice<T> {
        &self.slice
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut CudaSlice<T> {
        &mut self.slice
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Residents {
    /// By run, so that those of one are side by side.
    entries: BTreeMap<(u64, Key), Entry>,
}

#[derive(Debug)]
struct Entry {
    stamp: Stamp,
    n_bytes: usize,
    buffer: Arc<dyn Any + Send + Sync>,
}

impl Residents {
    /// A buffer with the stamp; one with another is let go.
    pub(super) fn get<T: Send + Sync + 'static>(
        &mut self,
        run: u64,
        key: Key,
        stamp: Stamp,
    ) -> Option<Arc<Buffer<T>>> {
        let entry = self.entries.get(&(run, key))?;
        let buffer = Arc::clone(&entry.buffer).downcast().ok();
        if entry.stamp != stamp || buffer.is_none() {
            self.entries.remove(&(run, key));
            return None;
        }
        buffer
    }

    pub(super) fn has(&self, run: u64, key: Key) -> bool {
        self.entries.contains_key(&(run, key))
    }

    /// Keeps a buffer in the place of what was there.
    pub(super) fn put<T: Send + Sync + 'static>(
        &mut self,
        run: u64,
        key: Key,
        stamp: Stamp,
        buffer: &Arc<Buffer<T>>,
    ) {
        let entry = Entry {
            stamp,
            n_bytes: buffer.held.n_bytes,
            buffer: Arc::clone(buffer) as Arc<dyn Any + Send + Sync>,
        };
        self.entries.insert((run, key), entry);
    }

    /// What a run keeps, or all.
    pub(super) fn n_bytes(&self, run: Option<u64>) -> usize {
        let of_run = |key: &(u64, Key)| run.is_none_or(|run| run == key.0);
        let entries = self.entries.iter().filter(|(key, _)| of_run(key));
        entries.map(|(_, entry)| entry.n_bytes).sum()
    }

    /// Lets go of what a run keeps, or all; whether that was anything.
    pub(super) fn forget(&mut self, run: Option<u64>) -> bool {
        let before = self.entries.len();
        self.entries
            .retain(|key, _| run.is_some_and(|run| run != key.0));
        self.entries.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::{Budget, fingerprint};

    #[test]
    fn a_budget_counts_what_is_held() {
        let budget = Budget::new(100);
        let first = budget.hold(60);
        assert!(first.is_some());
        assert!(budget.hold(41).is_none());
        assert_eq!(budget.with_limit(200).left_bytes(), 140);
        drop(first);
        assert_eq!(budget.left_bytes(), 100);
    }

    #[test]
    fn fingerprints_tell_numbers_their_order_and_their_signs() {
        let of = fingerprint;
        assert_eq!(of(&[1.0, 2.0]), of(&[1.0, 2.0]));
        for other in [&[2.0, 1.0][..], &[1.0], &[1.0, 2.0, 0.0], &[1.0, -2.0]] {
            assert_ne!(of(&[1.0, 2.0]), of(other));
        }
        assert_ne!(of(&[0.0]), of(&[-0.0]));
    }
}
