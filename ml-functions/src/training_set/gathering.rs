//! Joins the blocks of all chunks into one, for estimators that need every sample in one place.
//!
//! In: a block of zeros and the blocks with their first sample; out: the same values in the order of
//! the source. Accounts no memory: the caller did.

use crate::estimator::Task;
use crate::features::{Dense, FeatureBlock, FeatureSchema, TargetValues};

/// A block of zeros of the form that the encoder and the task give.
pub(super) fn zeros(
    schema: &FeatureSchema,
    task: Task,
    has_weights: bool,
    n_samples: usize,
) -> FeatureBlock {
    let n_values = schema.numeric().count() * n_samples;
    FeatureBlock {
        n_samples,
        dense: if schema.is_exact_in_f32() {
            Dense::F32(vec![0.0; n_values])
        } else {
            Dense::F64(vec![0.0; n_values])
        },
        codes: schema.categorical().map(|_| vec![0; n_samples]).collect(),
        target: match task {
            Task::Regression => TargetValues::Numbers(vec![0.0; n_samples]),
            Task::Classification => TargetValues::Classes(vec![0; n_samples]),
            Task::Clustering | Task::Decomposition => TargetValues::None,
        },
        weights: has_weights.then(|| vec![0.0; n_samples]),
    }
}

/// Copies a block into the samples from `offset` on of a larger one.
pub(super) fn copy_block(whole: &mut FeatureBlock, offset: usize, block: &FeatureBlock) {
    let (n_whole, n_samples) = (whole.n_samples, block.n_samples);
    match (&mut whole.dense, &block.dense) {
        (Dense::F32(into), Dense::F32(from)) => {
            copy_columns(into, n_whole, from, n_samples, offset)
        }
        (Dense::F64(into), Dense::F64(from)) => {
            copy_columns(into, n_whole, from, n_samples, offset)
        }
        _ => debug_assert!(false, "blocks of one encoder have one element type"),
    }
    for (into, from) in whole.codes.iter_mut().zip(&block.codes) {
        copy_columns(into, n_whole, from, n_samples, offset);
    }
    match (&mut whole.target, &block.target) {
        (TargetValues::Numbers(into), TargetValues::Numbers(from)) => {
            copy_columns(into, n_whole, from, n_samples, offset);
        }
        (TargetValues::Classes(into), TargetValues::Classes(from)) => {
            copy_columns(into, n_whole, from, n_samples, offset);
        }
        _ => {}
    }
    if let (Some(into), Some(from)) = (&mut whole.weights, &block.weights) {
        copy_columns(into, n_whole, from, n_samples, offset);
    }
}

/// Copies columns of `n_samples` values into columns of `n_whole` values.
fn copy_columns<T: Copy>(
    into: &mut [T],
    n_whole: usize,
    from: &[T],
    n_samples: usize,
    offset: usize,
) {
    for (into, from) in into
        .chunks_exact_mut(n_whole)
        .zip(from.chunks_exact(n_samples))
    {
        into[offset..offset + n_samples].copy_from_slice(from);
    }
}
