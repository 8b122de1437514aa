//! The inner loops of scoring: the leaves of a tile of samples in one tree.
//!
//! In: a tile's columns and codes and a tree's layout; out: the value of each sample's leaf. No branch
//! depends on a sample, and nothing is allocated. Compiled for the instructions of the machine by
//! `pulp`, whose `dispatch` inlines them.

use pulp::Simd;

use super::layout::{MAX_MASKED_LEAVES, MaskGroup, MaskedTree, PackedSet, WalkedTree};
use super::number::{Number, TILE};

/// The samples of a tile, by column.
#[derive(Debug, Clone, Copy)]
pub(super) struct TileColumns<'a, T> {
    /// The columns that the layout asks for.
    pub(super) dense: &'a [[T; TILE]],
    /// The categorical features.
    pub(super) codes: &'a [[u32; TILE]],
}

/// Samples that walk side by side, so that one's loads hide behind the others'.
const WALKED_TOGETHER: usize = 16;
/// Steps between two looks at whether all samples have arrived.
const STEPS_BETWEEN_LOOKS: usize = 4;

/// The leaf values of a masked tree.
#[inline(always)]
pub(super) fn masked_values<T: Number, S: Simd>(
    simd: S,
    tree: &MaskedTree<T>,
    tile: TileColumns<'_, T>,
    values: &mut [f64; TILE],
) {
    let mut alive = [T::ALL; TILE];
    // One leaf at least always remains: no split rules out the last one.
    if let [group] = tree.groups.as_slice() {
        alive_leaves(simd, (group, &tree.words), tile, &mut alive);
        for (value, &alive) in values.iter_mut().zip(&alive) {
            let leaf = T::widened(alive).trailing_zeros();
            *value = tree.values[leaf as usize % MAX_MASKED_LEAVES];
        }
        return;
    }
    let mut words = [[0; TILE]; MAX_MASKED_LEAVES / 64];
    for (number, group) in tree.groups.iter().enumerate() {
        alive_leaves(simd, (group, &tree.words), tile, &mut alive);
        let first_leaf = number * T::MASK_BITS;
        for (word, &alive) in words[first_leaf / 64].iter_mut().zip(&alive) {
            *word |= T::widened(alive) << (first_leaf % 64);
        }
    }
    let [low, high] = words;
    for ((value, low), high) in values.iter_mut().zip(low).zip(high) {
        let leaf = if low == 0 {
            64 + high.trailing_zeros()
        } else {
            low.trailing_zeros()
        };
        *value = tree.values[leaf as usize % MAX_MASKED_LEAVES];
    }
}

/// The leaves of a group that no split rules out.
#[inline(always)]
fn alive_leaves<T: Number, S: Simd>(
    simd: S,
    (group, words): (&MaskGroup<T>, &[u64]),
    tile: TileColumns<'_, T>,
    alive: &mut [T::Mask; TILE],
) {
    T::alive(simd, &group.dense, tile.dense, alive);
    for split in &group.categorical {
        let codes = &tile.codes[split.feature as usize];
        for (alive, &code) in alive.iter_mut().zip(codes) {
            let goes_left = split.set >> (code.min(split.last_code) & 31);
            *alive = T::narrow(*alive, goes_left, split.kept);
        }
    }
    for split in &group.lookups {
        let codes = &tile.codes[split.feature as usize];
        for (alive, &code) in alive.iter_mut().zip(codes) {
            *alive = T::narrow(*alive, bit_of(split.set, words, code), split.kept);
        }
    }
}

/// The low bit says whether a set has a code; the others say nothing.
#[inline(always)]
fn bit_of(set: PackedSet, words: &[u64], code: u32) -> u32 {
    let code = code.min(set.last_code);
    (words[(set.first_word + code / 64) as usize] >> (code % 64)) as u32
}

/// The leaf values of a walked tree.
#[inline(always)]
pub(super) fn walked_values<T: Number>(
    tree: &WalkedTree<T>,
    tile: TileColumns<'_, T>,
    values: &mut [f64; TILE],
) {
    for (number, values) in values.chunks_exact_mut(WALKED_TOGETHER).enumerate() {
        let start = number * WALKED_TOGETHER;
        let mut at = [0_u32; WALKED_TOGETHER];
        loop {
            let before = at;
            for _ in 0..STEPS_BETWEEN_LOOKS {
                if tree.categories.is_empty() {
                    step(tree, tile, start, &mut at);
                } else {
                    step_with_categories(tree, tile, start, &mut at);
                }
            }
            // A sample stays where it is only at a leaf.
            if at == before {
                break;
            }
        }
        for (value, at) in values.iter_mut().zip(at) {
            *value = tree.values[at as usize];
        }
    }
}

#[inline(always)]
fn step<T: Number>(
    tree: &WalkedTree<T>,
    tile: TileColumns<'_, T>,
    start: usize,
    at: &mut [u32; WALKED_TOGETHER],
) {
    for (lane, at) in at.iter_mut().enumerate() {
        let node = &tree.nodes[*at as usize];
        let x = tile.dense[node.column as usize][start + lane];
        *at = node
            .left
            .wrapping_add(u32::from(!is_at_most(x, node.threshold)));
    }
}

#[inline(always)]
fn step_with_categories<T: Number>(
    tree: &WalkedTree<T>,
    tile: TileColumns<'_, T>,
    start: usize,
    at: &mut [u32; WALKED_TOGETHER],
) {
    for (lane, at) in at.iter_mut().enumerate() {
        let (node, categories) = (&tree.nodes[*at as usize], &tree.categories[*at as usize]);
        let x = tile.dense[node.column as usize][start + lane];
        let code = tile.codes[categories.feature as usize][start + lane];
        let is_in_set = bit_of(categories.set, &tree.words, code) & 1 == 1;
        *at = node
            .left
            .wrapping_add(u32::from(!(is_at_most(x, node.threshold) | is_in_set)));
    }
}

/// NaN is at most nothing.
#[inline(always)]
fn is_at_most<T: Number>(x: T, threshold: T) -> bool {
    x <= threshold
}
