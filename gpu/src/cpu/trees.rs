//! The kernels of decision trees, the reference of other devices.
//!
//! In: bins, pairs and rows, or a design and an ensemble; out: sums, parted rows, scores. Tree estimators have loops of
//! their own for the CPU, which keep sums and rows in their own form; tests hold both against each other.

use crate::device::{Design, Elements};
use crate::error::Result;
use crate::trees::{
    BINS, Bins, Forest, PairValues, Pairs, Parted, RowOrder, RowSets, RowSplit, check_forest,
    check_histogram, check_partition,
};

/// See [`crate::Device::histogram`].
pub(super) fn histogram(
    bins: &Bins<'_>,
    pairs: &Pairs<'_>,
    sets: &RowSets<'_>,
    columns: &[u32],
) -> Result<Vec<[i64; 2]>> {
    check_histogram(bins, pairs, sets, columns)?;
    let mut sums = vec![[0; 2]; sets.sets.len() * columns.len() * BINS];
    for (set, rows) in sets.sets.iter().enumerate() {
        for &row in &sets.order.values[rows.clone()] {
            let pair = match pairs.values {
                PairValues::Narrow(pairs) => {
                    let pair = pairs[row as usize];
                    [i64::from(pair as i32 >> 16), i64::from(pair & 0xffff)]
                }
                PairValues::Wide(pairs) => {
                    let pair = pairs[row as usize];
                    [i64::from((pair >> 32) as i32), i64::from(pair as u32)]
                }
            };
            for (place, &column) in columns.iter().enumerate() {
                let bin = bins.values[row as usize * bins.n_columns + column as usize];
                let cell = &mut sums[(set * columns.len() + place) * BINS + bin as usize];
                *cell = [cell[0] + pair[0], cell[1] + pair[1]];
            }
        }
    }
    Ok(sums)
}

/// See [`crate::Device::partition`].
pub(super) fn partition(
    bins: &Bins<'_>,
    order: &RowOrder<'_>,
    splits: &[RowSplit],
) -> Result<Parted> {
    check_partition(bins, order, splits)?;
    let mut parted = Parted {
        order: order.values.to_vec(),
        n_left: Vec::with_capacity(splits.len()),
    };
    for split in splits {
        let goes_left = |row: &u16| {
            let bin = bins.values[*row as usize * bins.n_columns + split.column as usize];
            split.left_bins[bin as usize / 64] >> (bin % 64) & 1 == 1
        };
        let rows = &order.values[split.rows.clone()];
        let (left, right): (Vec<u16>, Vec<u16>) = rows.iter().partition(|&row| goes_left(row));
        parted.n_left.push(left.len());
        parted.order[split.rows.clone()].copy_from_slice(&[left, right].concat());
    }
    Ok(parted)
}

/// Rows whose numbers lie in the first-level cache while all trees are asked.
const TILE_ROWS: usize = 64;
/// Walks that go on side by side, so that one waits for memory while others go.
const WALKS: usize = 8;

/// See [`crate::Device::forest`].
pub(super) fn forest(design: &Design<'_>, forest: &Forest<'_>) -> Result<Vec<f64>> {
    let n_features = design.dense.n_cols + design.codes.len();
    check_forest(forest, n_features)?;
    let n_rows = design.dense.n_rows;
    let n_outputs = forest.base_scores.len();
    let nodes: Vec<Node> = (0..forest.feature.len())
        .map(|node| Node::new(forest, node))
        .collect();
    let mut scores = forest.base_scores.repeat(n_rows);
    let mut numbers = vec![0.0; design.dense.n_cols * TILE_ROWS];
    for start in (0..n_rows).step_by(TILE_ROWS) {
        let n_tile = TILE_ROWS.min(n_rows - start);
        load(design, start, n_tile, &mut numbers);
        let scores = &mut scores[start * n_outputs..(start + n_tile) * n_outputs];
        for (&root, &output) in forest.roots.iter().zip(forest.outputs) {
            let rows = scores.chunks_mut(WALKS * n_outputs.max(1)).enumerate();
            for (number, scores) in rows {
                let first = number * WALKS;
                let mut walks = [root; WALKS];
                let walks = &mut walks[..WALKS.min(n_tile - first)];
                let code_goes_left = |node: &Node, feature: usize, row: usize| {
                    let code = design.codes[feature - design.dense.n_cols][start + row];
                    node.code_goes_left(forest, code)
                };
                while walk(&nodes, &numbers, first, walks, code_goes_left) {}
                let scores = scores.iter_mut().skip(output as usize).step_by(n_outputs);
                for (score, &node) in scores.zip(&*walks) {
                    *score += forest.threshold[node as usize];
                }
            }
        }
    }
    Ok(scores)
}

/// What a step asks of a node, side by side.
#[derive(Clone, Copy)]
struct Node {
    threshold: f64,
    /// The right child, then the left one; of a leaf itself.
    children: [u32; 2],
    /// -1 for a leaf.
    feature: i32,
    missing_left: bool,
    set_start: u32,
    set_codes: u32,
}

impl Node {
    fn new(forest: &Forest<'_>, node: usize) -> Node {
        Node {
            threshold: forest.threshold[node],
            children: [forest.right[node], forest.left[node]],
            feature: forest.feature[node],
            missing_left: forest.missing_left[node] != 0,
            set_start: forest.set_start[node],
            set_codes: forest.set_codes[node],
        }
    }

    fn code_goes_left(&self, forest: &Forest<'_>, code: u32) -> bool {
        if code >= self.set_codes {
            return self.missing_left;
        }
        let word = self.set_start as usize + code as usize / 64;
        forest.words[word] >> (code % 64) & 1 == 1
    }
}

/// The dense columns of some rows, each [`TILE_ROWS`] long.
fn load(design: &Design<'_>, start: usize, n_rows: usize, into: &mut [f64]) {
    for (column, into) in into.chunks_exact_mut(TILE_ROWS).enumerate() {
        let from = column * design.dense.n_rows + start;
        let rows = into[..n_rows].iter_mut();
        match design.dense.elements {
            Elements::F32(values) => {
                for (into, &x) in rows.zip(&values[from..from + n_rows]) {
                    *into = f64::from(x);
                }
            }
            Elements::F64(values) => into[..n_rows].copy_from_slice(&values[from..from + n_rows]),
        }
    }
}

/// Takes the walks of neighbouring rows a step down; false once all are at leaves.
#[inline(always)]
fn walk(
    nodes: &[Node],
    numbers: &[f64],
    first_row: usize,
    walks: &mut [u32],
    code_goes_left: impl Fn(&Node, usize, usize) -> bool,
) -> bool {
    let mut has_moved = false;
    for (row, walk) in (first_row..).zip(walks) {
        let node = &nodes[*walk as usize];
        let Ok(feature) = usize::try_from(node.feature) else {
            continue;
        };
        has_moved = true;
        // Behind the numbers come the codes.
        let goes_left = match numbers.get(feature * TILE_ROWS + row) {
            Some(x) => (*x <= node.threshold) | (x.is_nan() & node.missing_left),
            None => code_goes_left(node, feature, row),
        };
        *walk = node.children[usize::from(goes_left)];
    }
    has_moved
}
