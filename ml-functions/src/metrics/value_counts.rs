//! A mergeable histogram: how often each key occurs.
//!
//! In: numbers (through [`ordered_key`]) or pairs of codes, one call a row; out: the distinct keys
//! in order with their counts. Exact until it holds `max_distinct` keys; beyond, the fewest low
//! bits are dropped that bring it back under the limit. That number of bits depends only on the set
//! of keys, so the histogram is the same whatever the order of rows and merges.
//!
//! Rows are only pushed onto a vector; sorting and merging happen in bulk.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Distinct values of one histogram before it coarsens. At this number a histogram takes 16 MiB.
pub(crate) const MAX_DISTINCT: usize = 1 << 20;

/// Pushed keys below this number are not worth a merge.
const MIN_BATCH: usize = 1 << 16;

/// Counts by key.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(into = "Packed", try_from = "Packed")]
pub(crate) struct KeyCounts {
    max_distinct: usize,
    /// Low bits dropped from the keys; at most 63.
    level: u32,
    /// Sorted, distinct, shifted right by `level`.
    keys: Vec<u64>,
    counts: Vec<u64>,
    /// Keys since the last merge, as pushed.
    pending: Vec<u64>,
}

/// The serialized form: differences of keys, which are small numbers, and nothing pending.
#[derive(Serialize, Deserialize)]
struct Packed {
    max_distinct: u64,
    level: u32,
    key_steps: Vec<u64>,
    counts: Vec<u64>,
}

/// The key of a number: keys order as numbers do, −0 is 0, NaN comes last.
#[inline]
pub(crate) fn ordered_key(value: f64) -> u64 {
    const SIGN: u64 = 1 << 63;
    if value.is_nan() {
        return u64::MAX;
    }
    // Adding 0 turns −0 into 0.
    let bits = (value + 0.0).to_bits();
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The number of a key.
pub(crate) fn ordered_value(key: u64) -> f64 {
    const SIGN: u64 = 1 << 63;
    f64::from_bits(if key & SIGN == 0 { !key } else { key & !SIGN })
}

impl KeyCounts {
    /// An empty histogram that coarsens beyond `max_distinct` keys.
    pub(crate) fn new(max_distinct: usize) -> KeyCounts {
        KeyCounts {
            max_distinct: max_distinct.max(2),
            level: 0,
            keys: Vec::new(),
            counts: Vec::new(),
            pending: Vec::new(),
        }
    }

    /// Counts a key once. Callers call [`KeyCounts::settle`] after a batch of rows.
    #[inline]
    pub(crate) fn push(&mut self, key: u64) {
        self.pending.push(key);
    }

    /// Merges pushed keys, once there are enough of them to pay for it.
    pub(crate) fn settle(&mut self) {
        let limit = MIN_BATCH.min(self.max_distinct).max(self.keys.len() / 2);
        if self.pending.len() >= limit {
            self.compact();
            // One long batch must not pin its memory in each of many histograms.
            self.pending.shrink_to(limit);
        }
    }

    /// Adds another histogram.
    pub(crate) fn merge(&mut self, mut later: KeyCounts) {
        self.compact();
        later.compact();
        self.max_distinct = self.max_distinct.min(later.max_distinct);
        self.coarsen(later.level);
        later.coarsen(self.level);
        self.absorb(later.keys, later.counts);
    }

    /// Low bits that are dropped from keys.
    pub(crate) fn level(&self) -> u32 {
        self.settled().level
    }

    /// This histogram with nothing pending and at least `level` low bits dropped.
    pub(crate) fn at_level(&self, level: u32) -> Cow<'_, KeyCounts> {
        let mut settled = self.settled();
        if settled.level < level {
            settled.to_mut().coarsen(level);
        }
        settled
    }

    /// The entry at an index, of a histogram with nothing pending.
    #[inline]
    pub(crate) fn entry(&self, idx: usize) -> Option<(u64, u64)> {
        let key = self.keys.get(idx)?;
        Some((key << self.level, self.counts[idx]))
    }

    /// Number of distinct keys, of a histogram with nothing pending.
    pub(crate) fn n_distinct(&self) -> usize {
        self.keys.len()
    }

    /// The keys in order with their counts.
    pub(crate) fn entries(&self) -> Vec<(u64, u64)> {
        let settled = self.settled();
        (0..settled.n_distinct())
            .filter_map(|idx| settled.entry(idx))
            .collect()
    }

    /// The key at a 0-based rank in sorted order; `None` beyond the total.
    pub(crate) fn key_at_rank(&self, rank: u64) -> Option<u64> {
        let settled = self.settled();
        let mut below = 0;
        for (key, count) in settled.keys.iter().zip(&settled.counts) {
            below += count;
            if rank < below {
                return Some(key << settled.level);
            }
        }
        None
    }

    /// Size in memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        size_of::<u64>() * (self.keys.capacity() + self.counts.capacity() + self.pending.capacity())
    }

    fn settled(&self) -> Cow<'_, KeyCounts> {
        if self.pending.is_empty() {
            return Cow::Borrowed(self);
        }
        let mut settled = self.clone();
        settled.compact();
        Cow::Owned(settled)
    }

    fn compact(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mut pending = std::mem::take(&mut self.pending);
        if self.level > 0 {
            pending.iter_mut().for_each(|key| *key >>= self.level);
        }
        pending.sort_unstable();
        let (mut keys, mut counts) = (Vec::new(), Vec::new());
        for run in pending.chunk_by(|a, b| a == b) {
            keys.push(run[0]);
            counts.push(run.len() as u64);
        }
        pending.clear();
        self.pending = pending;
        self.absorb(keys, counts);
    }

    /// Adds sorted, distinct keys of the same level, then coarsens if there are too many.
    fn absorb(&mut self, keys: Vec<u64>, counts: Vec<u64>) {
        if self.keys.is_empty() {
            (self.keys, self.counts) = (keys, counts);
        } else {
            let earlier = (self.keys.as_slice(), self.counts.as_slice());
            let merged = merge_sorted(earlier, (&keys, &counts));
            (self.keys, self.counts) = merged;
        }
        if self.keys.len() > self.max_distinct {
            self.coarsen(self.level + bits_to_drop(&self.keys, self.max_distinct));
        }
    }

    /// Drops low bits until `level` are dropped.
    fn coarsen(&mut self, level: u32) {
        if level <= self.level {
            return;
        }
        let shift = level - self.level;
        self.level = level;
        let mut n_kept = 0;
        for idx in 0..self.keys.len() {
            let (key, count) = (self.keys[idx] >> shift, self.counts[idx]);
            if n_kept > 0 && self.keys[n_kept - 1] == key {
                self.counts[n_kept - 1] += count;
            } else {
                (self.keys[n_kept], self.counts[n_kept]) = (key, count);
                n_kept += 1;
            }
        }
        self.keys.truncate(n_kept);
        self.counts.truncate(n_kept);
    }
}

/// Two histograms are equal when they count the same, whatever is still pending.
impl PartialEq for KeyCounts {
    fn eq(&self, other: &KeyCounts) -> bool {
        let (a, b) = (self.settled(), other.settled());
        (a.max_distinct, a.level, &a.keys, &a.counts)
            == (b.max_distinct, b.level, &b.keys, &b.counts)
    }
}

impl From<KeyCounts> for Packed {
    fn from(mut counts: KeyCounts) -> Packed {
        counts.compact();
        let mut previous = 0;
        for key in &mut counts.keys {
            (*key, previous) = (*key - previous, *key);
        }
        Packed {
            max_distinct: counts.max_distinct as u64,
            level: counts.level,
            key_steps: counts.keys,
            counts: counts.counts,
        }
    }
}

impl TryFrom<Packed> for KeyCounts {
    type Error = &'static str;

    fn try_from(packed: Packed) -> Result<KeyCounts, &'static str> {
        let Packed {
            max_distinct,
            level,
            key_steps: mut keys,
            counts,
        } = packed;
        if keys.len() != counts.len() || level > 63 {
            return Err("damaged histogram");
        }
        let mut previous: u64 = 0;
        for key in &mut keys {
            previous = previous.checked_add(*key).ok_or("damaged histogram")?;
            *key = previous;
        }
        let max_distinct = usize::try_from(max_distinct).unwrap_or(usize::MAX);
        Ok(KeyCounts {
            max_distinct,
            level,
            keys,
            counts,
            pending: Vec::new(),
        })
    }
}

type Sorted<'a> = (&'a [u64], &'a [u64]);

fn merge_sorted(a: Sorted<'_>, b: Sorted<'_>) -> (Vec<u64>, Vec<u64>) {
    let capacity = a.0.len() + b.0.len();
    let (mut keys, mut counts) = (Vec::with_capacity(capacity), Vec::with_capacity(capacity));
    let (mut i, mut j) = (0, 0);
    while i < a.0.len() && j < b.0.len() {
        let order = a.0[i].cmp(&b.0[j]);
        let (key, mut count) = (a.0[i].min(b.0[j]), 0);
        if order != Ordering::Greater {
            count += a.1[i];
            i += 1;
        }
        if order != Ordering::Less {
            count += b.1[j];
            j += 1;
        }
        keys.push(key);
        counts.push(count);
    }
    keys.extend_from_slice(&a.0[i..]);
    counts.extend_from_slice(&a.1[i..]);
    keys.extend_from_slice(&b.0[j..]);
    counts.extend_from_slice(&b.1[j..]);
    (keys, counts)
}

/// The smallest shift after which at most `max_distinct` of the sorted, distinct keys differ.
fn bits_to_drop(keys: &[u64], max_distinct: usize) -> u32 {
    // Neighbours whose highest differing bit is h stay distinct under every shift up to h.
    let mut n_by_bit = [0_usize; 64];
    for pair in keys.windows(2) {
        n_by_bit[(pair[0] ^ pair[1]).ilog2() as usize] += 1;
    }
    let mut n_distinct = keys.len();
    for (shift, n_lost) in (1..).zip(n_by_bit) {
        n_distinct -= n_lost;
        if n_distinct <= max_distinct {
            return shift.min(63);
        }
    }
    63
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts_of(values: &[f64], max_distinct: usize) -> KeyCounts {
        let mut counts = KeyCounts::new(max_distinct);
        values
            .iter()
            .for_each(|value| counts.push(ordered_key(*value)));
        counts.settle();
        counts
    }

    /// A fixed sequence of numbers in [−1, 1) without order.
    fn scattered(n: usize) -> Vec<f64> {
        let mut state = 7_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            (state >> 11) as f64 / (1_u64 << 52) as f64 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn keys_order_as_numbers_and_come_back() {
        let values = [
            f64::NEG_INFINITY,
            -2.5,
            -1e-300,
            0.0,
            1e-300,
            1.0,
            f64::INFINITY,
        ];
        let keys: Vec<u64> = values.iter().map(|value| ordered_key(*value)).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        assert_eq!(
            keys.iter()
                .map(|key| ordered_value(*key))
                .collect::<Vec<_>>(),
            values
        );
        assert_eq!(ordered_key(-0.0), ordered_key(0.0));
        assert!(ordered_key(f64::NAN) > ordered_key(f64::INFINITY));
    }

    #[test]
    fn ranks_count_ties() {
        let counts = counts_of(&[3.0, 1.0, 2.0, 2.0], 100);
        let at = |rank| counts.key_at_rank(rank).map(ordered_value);
        assert_eq!(
            [at(0), at(1), at(2), at(3), at(4)],
            [Some(1.0), Some(2.0), Some(2.0), Some(3.0), None]
        );
    }

    #[test]
    fn the_order_of_rows_and_merges_does_not_matter() {
        let values = scattered(5_000);
        let whole = counts_of(&values, 300);
        let mut parts: Vec<KeyCounts> = values.chunks(617).map(|c| counts_of(c, 300)).collect();
        let mut backward = KeyCounts::new(300);
        parts
            .iter()
            .rev()
            .for_each(|part| backward.merge(part.clone()));
        let mut tree = parts.remove(0);
        parts.into_iter().for_each(|part| tree.merge(part));
        assert_eq!(whole, tree);
        assert_eq!(whole, backward);
        assert!(whole.level() > 0);
        assert_eq!(
            whole.entries().iter().map(|entry| entry.1).sum::<u64>(),
            5_000
        );
    }

    #[test]
    fn the_level_is_the_smallest_that_fits() {
        let counts = counts_of(&scattered(5_000), 300);
        let exact = counts_of(&scattered(5_000), usize::MAX);
        assert!(counts.entries().len() <= 300);
        assert!(exact.at_level(counts.level() - 1).n_distinct() > 300);
        assert_eq!(exact.at_level(counts.level()).entries(), counts.entries());
    }

    #[test]
    fn bytes_keep_everything() {
        let counts = counts_of(&scattered(1_000), 300);
        let bytes = postcard::to_allocvec(&counts).unwrap();
        assert_eq!(postcard::from_bytes::<KeyCounts>(&bytes).unwrap(), counts);
        assert!(postcard::from_bytes::<KeyCounts>(&bytes[..bytes.len() - 1]).is_err());
    }
}
