//! Randomness without a state: every draw is a hash of the seed and of what it is drawn for.
//!
//! In: words that name a draw (seed, tree, chunk, row); out: 64 bits. A draw never depends on which
//! draws came before, so that threads and lost chunks change nothing.

use crate::random::hash_word;

/// The hash of several words in order.
pub(crate) fn hash(words: &[u64]) -> u64 {
    words
        .iter()
        .fold(0, |state, &word| hash_word(state ^ hash_word(word)))
}

/// The greatest draw that is chosen with this probability: a draw is chosen if it is below, or if
/// everything is (`None`).
pub(crate) fn threshold(probability: f64) -> Option<u64> {
    // 2^64; a probability of 1 has no threshold within u64.
    (probability < 1.0).then_some((probability.max(0.0) * 18_446_744_073_709_551_616.0) as u64)
}

/// Which of the `items` a sample of this fraction holds, at least one, in the order of `items`: those
/// with the least hashes.
pub(crate) fn sample(items: &[u32], fraction: f64, key: u64) -> Vec<u32> {
    if fraction >= 1.0 || items.is_empty() {
        return items.to_vec();
    }
    let n_chosen = ((items.len() as f64 * fraction) as usize).clamp(1, items.len());
    let mut ranked: Vec<(u64, u32)> = items
        .iter()
        .map(|&item| (hash(&[key, u64::from(item)]), item))
        .collect();
    ranked.sort_unstable();
    let mut chosen: Vec<u32> = ranked[..n_chosen].iter().map(|&(_, item)| item).collect();
    chosen.sort_unstable();
    chosen
}
