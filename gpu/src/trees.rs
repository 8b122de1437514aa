//! What the kernels of decision trees take: bins, gradient pairs, sets of rows, ensembles.
//!
//! In: slices of the host; a [`Version`] names their contents, so that a device need not be given again what it has.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::device::RowsId;
use crate::error::{Error, Result};

/// Cells of a column in a histogram: a byte's values.
pub const BINS: usize = 256;

/// Names the contents of something that changes; no two contents of a process have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Version(u64);

impl Version {
    /// One that nothing had before.
    #[allow(
        clippy::new_without_default,
        reason = "a default would be another at every call"
    )]
    pub fn new() -> Version {
        Version::several(1)
    }

    /// The first of so many that nothing had before.
    pub fn several(n: usize) -> Version {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        Version(NEXT.fetch_add(n as u64, Ordering::Relaxed))
    }

    /// The one so many further on.
    pub fn nth(self, n: usize) -> Version {
        Version(self.0 + n as u64)
    }

    pub(crate) fn number(self) -> u64 {
        self.0
    }
}

/// The bins of a chunk's rows.
#[derive(Debug, Clone, Copy)]
pub struct Bins<'a> {
    /// Names the rows.
    pub rows: Option<RowsId>,
    /// Of the values.
    pub version: Version,
    /// Bytes of a row.
    pub n_columns: usize,
    /// Row-major.
    pub values: &'a [u8],
}

/// The quantised gradient and hessian of each row.
#[derive(Debug, Clone, Copy)]
pub struct Pairs<'a> {
    /// Of the values.
    pub version: Version,
    /// The pairs.
    pub values: PairValues<'a>,
}

/// Pairs of one width.
#[derive(Debug, Clone, Copy)]
pub enum PairValues<'a> {
    /// i16 gradient in the high half, u16 hessian in the low half.
    Narrow(&'a [u32]),
    /// i32 gradient in the high half, u32 hessian in the low half.
    Wide(&'a [u64]),
}

/// Rows by their numbers, those of a node side by side.
#[derive(Debug, Clone, Copy)]
pub struct RowOrder<'a> {
    /// Of the values.
    pub version: Version,
    /// At most 65,536 rows.
    pub values: &'a [u16],
}

/// Some ranges of an order.
#[derive(Debug, Clone, Copy)]
pub struct RowSets<'a> {
    /// The rows.
    pub order: RowOrder<'a>,
    /// Where each set is.
    pub sets: &'a [Range<usize>],
}

/// A set whose rows part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowSplit {
    /// Where the set is in the order.
    pub rows: Range<usize>,
    /// The column that decides.
    pub column: u32,
    /// A bit for each bin that goes left.
    pub left_bins: [u64; 4],
}

/// What parting gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parted {
    /// The whole order.
    pub order: Vec<u16>,
    /// How many rows of each set went left.
    pub n_left: Vec<usize>,
}

/// The trees of an ensemble as arrays over all their nodes; children come after their parents.
#[derive(Debug, Clone, Copy)]
pub struct Forest<'a> {
    /// Of everything here.
    pub version: Version,
    /// What a node splits on: dense columns, then code columns; -1 for a leaf.
    pub feature: &'a [i32],
    /// Numbers up to it go left; of a leaf the value that is added.
    pub threshold: &'a [f64],
    /// The left child.
    pub left: &'a [u32],
    /// The right child.
    pub right: &'a [u32],
    /// Whether NaN and codes without a bit go left.
    pub missing_left: &'a [u32],
    /// The first word of the codes that go left.
    pub set_start: &'a [u32],
    /// How many codes have a bit.
    pub set_codes: &'a [u32],
    /// Words of bits.
    pub words: &'a [u64],
    /// The root of each tree.
    pub roots: &'a [u32],
    /// The output of each tree.
    pub outputs: &'a [u32],
    /// The score of each output without any tree.
    pub base_scores: &'a [f64],
}

/// Checks that bins, order and sets belong together; returns the number of rows.
pub(crate) fn check_sets<'a>(
    kernel: &'static str,
    bins: &Bins<'_>,
    order: &[u16],
    mut sets: impl Iterator<Item = &'a Range<usize>>,
) -> Result<usize> {
    let shape = |expected, found| Error::Shape {
        kernel,
        expected,
        found,
    };
    let n_rows = bins.values.len().checked_div(bins.n_columns).unwrap_or(0);
    if n_rows * bins.n_columns != bins.values.len() {
        return Err(shape(n_rows * bins.n_columns, bins.values.len()));
    }
    if let Some(&row) = order.iter().max()
        && row as usize >= n_rows
    {
        return Err(shape(n_rows, row as usize + 1));
    }
    match sets.find(|set| set.start > set.end || set.end > order.len()) {
        Some(set) => Err(shape(order.len(), set.end)),
        None => Ok(n_rows),
    }
}

/// Checks the operands of a histogram.
pub(crate) fn check_histogram(
    bins: &Bins<'_>,
    pairs: &Pairs<'_>,
    sets: &RowSets<'_>,
    columns: &[u32],
) -> Result<()> {
    let n_rows = check_sets("histogram", bins, sets.order.values, sets.sets.iter())?;
    let n_pairs = match pairs.values {
        PairValues::Narrow(pairs) => pairs.len(),
        PairValues::Wide(pairs) => pairs.len(),
    };
    let widest = columns
        .iter()
        .max()
        .map_or(0, |&column| column as usize + 1);
    for (expected, found) in [
        (n_rows, n_pairs),
        (bins.n_columns.max(widest), bins.n_columns),
    ] {
        if expected != found {
            return Err(Error::Shape {
                kernel: "histogram",
                expected,
                found,
            });
        }
    }
    Ok(())
}

/// Checks the operands of a partition.
pub(crate) fn check_partition(
    bins: &Bins<'_>,
    order: &RowOrder<'_>,
    splits: &[RowSplit],
) -> Result<()> {
    check_sets(
        "partition",
        bins,
        order.values,
        splits.iter().map(|split| &split.rows),
    )?;
    match splits
        .iter()
        .find(|split| split.column as usize >= bins.n_columns)
    {
        Some(split) => Err(Error::Shape {
            kernel: "partition",
            expected: bins.n_columns,
            found: split.column as usize + 1,
        }),
        None => Ok(()),
    }
}

/// Checks that the arrays of an ensemble have the same length and name nodes that there are.
pub(crate) fn check_forest(forest: &Forest<'_>, n_features: usize) -> Result<()> {
    let n_nodes = forest.feature.len();
    let lengths = [
        forest.threshold.len(),
        forest.left.len(),
        forest.right.len(),
        forest.missing_left.len(),
        forest.set_start.len(),
        forest.set_codes.len(),
    ];
    let shape = |expected, found| Error::Shape {
        kernel: "forest",
        expected,
        found,
    };
    if let Some(&found) = lengths.iter().find(|&&found| found != n_nodes) {
        return Err(shape(n_nodes, found));
    }
    if forest.outputs.len() != forest.roots.len() {
        return Err(shape(forest.roots.len(), forest.outputs.len()));
    }
    let most = |values: &[u32]| values.iter().max().map_or(0, |&most| most as usize + 1);
    let bounds = [
        (
            most(forest.left)
                .max(most(forest.right))
                .max(most(forest.roots)),
            n_nodes,
        ),
        (most(forest.outputs), forest.base_scores.len()),
    ];
    if let Some(&(found, expected)) = bounds.iter().find(|(found, expected)| found > expected) {
        return Err(shape(expected, found));
    }
    for node in 0..n_nodes {
        let Ok(feature) = usize::try_from(forest.feature[node]) else {
            continue;
        };
        if feature >= n_features {
            return Err(shape(n_features, feature + 1));
        }
        let end = forest.set_start[node] as usize + (forest.set_codes[node] as usize).div_ceil(64);
        if end > forest.words.len() {
            return Err(shape(forest.words.len(), end));
        }
        // Children come later, so that every walk ends.
        if (forest.left[node].min(forest.right[node]) as usize) <= node {
            return Err(shape(node + 1, forest.left[node] as usize));
        }
    }
    Ok(())
}
