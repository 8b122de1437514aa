//! The bins of a block: from columns of values to rows of bytes.
//!
//! In: the bins of the features and a block; out: a row-major matrix of the columns that can be split.
//! The search over the cuts has no branch, and blocks of rows stay in the first cache while the
//! columns are written into them.

use super::binning::{CategoryBins, DenseBins, FeatureBins, MAX_BINS};
use crate::features::{Dense, FeatureBlock};

/// Rows whose bins are written at a time.
const ROWS: usize = 512;

/// A number type of a block's dense part.
trait Value: Copy + PartialOrd {
    /// Above all numbers.
    const INFINITY: Self;
    /// The greatest value of this type that is not above `cut`: `value <= cut` means the same.
    fn floor(cut: f64) -> Self;
    /// Whether it is missing.
    fn is_missing(self) -> bool;
}

impl Value for f32 {
    const INFINITY: f32 = f32::INFINITY;

    fn floor(cut: f64) -> f32 {
        let nearest = cut as f32;
        if f64::from(nearest) > cut {
            nearest.next_down()
        } else {
            nearest
        }
    }

    fn is_missing(self) -> bool {
        self.is_nan()
    }
}

impl Value for f64 {
    const INFINITY: f64 = f64::INFINITY;

    fn floor(cut: f64) -> f64 {
        cut
    }

    fn is_missing(self) -> bool {
        self.is_nan()
    }
}

/// The cuts of a column, filled up with infinity.
struct Cuts<T> {
    cuts: [T; 256],
    missing: u8,
}

/// Where a column's bins come from.
enum Source<'a> {
    F32(Box<Cuts<f32>>, &'a [f32]),
    F64(Box<Cuts<f64>>, &'a [f64]),
    Codes(&'a CategoryBins, &'a [u32]),
}

/// The bins of all columns, row-major.
pub(crate) fn bin_block(features: &FeatureBins, block: &FeatureBlock) -> Vec<u8> {
    let (n_rows, n_columns) = (block.n_samples, features.columns.len());
    let mut bins = vec![0u8; n_rows * n_columns];
    if n_columns == 0 {
        return bins;
    }
    let sources: Vec<Source<'_>> = features
        .columns
        .iter()
        .map(|&feature| source(features, block, feature as usize))
        .collect();
    for (number, rows) in bins.chunks_mut(ROWS * n_columns).enumerate() {
        let first = number * ROWS;
        for (column, source) in sources.iter().enumerate() {
            let rows = &mut rows[column..];
            match source {
                Source::F32(cuts, values) => search(cuts, &values[first..], rows, n_columns),
                Source::F64(cuts, values) => search(cuts, &values[first..], rows, n_columns),
                Source::Codes(bins, codes) => look_up(bins, &codes[first..], rows, n_columns),
            }
        }
    }
    bins
}

fn source<'a>(features: &'a FeatureBins, block: &'a FeatureBlock, feature: usize) -> Source<'a> {
    let n_rows = block.n_samples;
    match (features.dense.get(feature), &block.dense) {
        (Some(bins), Dense::F32(values)) => {
            Source::F32(cuts(bins), &values[feature * n_rows..][..n_rows])
        }
        (Some(bins), Dense::F64(values)) => {
            Source::F64(cuts(bins), &values[feature * n_rows..][..n_rows])
        }
        (None, _) => {
            let categorical = feature - features.dense.len();
            Source::Codes(
                &features.categorical[categorical],
                &block.codes[categorical],
            )
        }
    }
}

fn cuts<T: Value>(bins: &DenseBins) -> Box<Cuts<T>> {
    let mut cuts = [T::INFINITY; 256];
    for (into, &cut) in cuts.iter_mut().zip(&bins.cuts) {
        *into = T::floor(cut);
    }
    Box::new(Cuts {
        cuts,
        missing: bins.n_bins().min(MAX_BINS) as u8,
    })
}

/// Writes the bin of each value to every `stride`-th byte.
fn search<T: Value>(cuts: &Cuts<T>, values: &[T], rows: &mut [u8], stride: usize) {
    for (into, &value) in rows.iter_mut().step_by(stride).zip(values) {
        let bin = n_below(&cuts.cuts, value) as u8;
        *into = if value.is_missing() {
            cuts.missing
        } else {
            bin
        };
    }
}

/// The number of cuts below a value, bit by bit from the greatest: the same eight steps for every
/// value, so that the processor searches for several at a time.
#[inline(always)]
fn n_below<T: Value>(cuts: &[T; 256], value: T) -> usize {
    let mut below = 0;
    for bit in [7, 6, 5, 4, 3, 2, 1, 0] {
        below |= usize::from(cuts[below + (1 << bit) - 1] < value) << bit;
    }
    below
}

/// Categories beyond the table were never seen in training.
fn look_up(bins: &CategoryBins, codes: &[u32], rows: &mut [u8], stride: usize) {
    let unseen = bins.n_bins.min(MAX_BINS) as u8;
    for (into, &code) in rows.iter_mut().step_by(stride).zip(codes) {
        *into = bins.bins.get(code as usize).copied().unwrap_or(unseen);
    }
}
