//! The kernels of decision trees, written to be read: the reference of other devices.
//!
//! Tree estimators have loops of their own for the CPU, which keep sums and rows in their own form; tests hold both
//! against each other.

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

/// See [`crate::Device::forest`].
pub(super) fn forest(design: &Design<'_>, forest: &Forest<'_>) -> Result<Vec<f64>> {
    let n_features = design.dense.n_cols + design.codes.len();
    check_forest(forest, n_features)?;
    let mut scores = forest.base_scores.repeat(design.dense.n_rows);
    let n_outputs = forest.base_scores.len();
    for (row, scores) in scores.chunks_exact_mut(n_outputs.max(1)).enumerate() {
        for (&root, &output) in forest.roots.iter().zip(forest.outputs) {
            let mut node = root as usize;
            while let Ok(feature) = usize::try_from(forest.feature[node]) {
                node = match goes_left(design, forest, (node, feature), row) {
                    true => forest.left[node] as usize,
                    false => forest.right[node] as usize,
                };
            }
            scores[output as usize] += forest.threshold[node];
        }
    }
    Ok(scores)
}

fn goes_left(
    design: &Design<'_>,
    forest: &Forest<'_>,
    (node, feature): (usize, usize),
    row: usize,
) -> bool {
    let missing_left = forest.missing_left[node] != 0;
    if feature < design.dense.n_cols {
        let at = feature * design.dense.n_rows + row;
        let x = match design.dense.elements {
            Elements::F32(values) => f64::from(values[at]),
            Elements::F64(values) => values[at],
        };
        return x <= forest.threshold[node] || (x.is_nan() && missing_left);
    }
    let code = design.codes[feature - design.dense.n_cols][row];
    if code >= forest.set_codes[node] {
        return missing_left;
    }
    let word = forest.set_start[node] as usize + code as usize / 64;
    forest.words[word] >> (code % 64) & 1 == 1
}
