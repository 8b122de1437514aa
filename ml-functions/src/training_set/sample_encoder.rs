//! From the rows of a chunk to encoded blocks, once the statistics of all rows are known.
//!
//! In: a chunk as it was read; out: a block of its training samples and one of its evaluation samples.
//! Checks that the source returns the rows of the first reading again.

use std::sync::Arc;

use super::chunks::{ChunkSource, RawChunk};
use super::gathering::zeros;
use super::prepare::{Prepared, read_labels};
use super::roles::Roles;
use super::weights::{read_marks, read_weights};
use crate::error::{Error, Result};
use crate::estimator::Task;
use crate::features::{BatchEncoder, ClassCodes, FeatureBlock, Rows, TargetValues};

/// All that a thread needs to make blocks of chunks.
pub(super) struct SampleEncoder {
    pub(super) task: Task,
    pub(super) seed: u64,
    pub(super) roles: Roles,
    pub(super) source: Arc<ChunkSource>,
    pub(super) prepared: Prepared,
    pub(super) encoder: BatchEncoder,
    pub(super) classes: ClassCodes,
}

impl SampleEncoder {
    /// The blocks of the wanted parts of a chunk; `None` where a part has no sample.
    pub(super) fn encode(
        &self,
        chunk: &RawChunk,
        wanted: [bool; 2],
    ) -> Result<[Option<FeatureBlock>; 2]> {
        let labels = read_labels(self.task, chunk)?;
        let selection = self.prepared.split.select(chunk, &labels, self.seed)?;
        let n_found = selection.parts.each_ref().map(|rows| rows.n_rows);
        if self.prepared.of_chunk.get(&(chunk.partition, chunk.number)) != Some(&n_found) {
            return Err(Error::UnstableQuery);
        }
        let features: Vec<_> = chunk
            .batches
            .iter()
            .map(|batch| chunk.layout.features(batch))
            .collect();
        let (instance_weights, marks) = (read_weights(chunk)?, read_marks(chunk));
        let mut blocks = [None, None];
        for part in [0, 1]
            .into_iter()
            .filter(|part| wanted[*part] && n_found[*part] > 0)
        {
            let rows = &selection.parts[part];
            let (dense, codes) = self.encoder.encode(&features, rows)?;
            let target = match &marks {
                Some(marks) => TargetValues::Classes(rows.gather(marks)),
                None => labels.target_values(rows, &self.classes),
            };
            let weights = self.weights(rows, instance_weights.as_deref(), &target);
            let n_samples = rows.n_rows;
            blocks[part] = Some(FeatureBlock {
                n_samples,
                dense,
                codes,
                target,
                weights,
            });
        }
        Ok(blocks)
    }

    /// Instance weight × class weight of each sample; `None` where there are neither.
    fn weights(
        &self,
        rows: &Rows,
        instance_weights: Option<&[f64]>,
        target: &TargetValues,
    ) -> Option<Vec<f64>> {
        let of_class = match (&self.prepared.class_weights, target) {
            (Some(weights), TargetValues::Classes(codes)) => Some((weights, codes)),
            _ => None,
        };
        let weights = sample_weights(rows, instance_weights);
        if of_class.is_none() {
            return weights;
        }
        let mut weights = weights.unwrap_or_else(|| vec![1.0; rows.n_rows]);
        if let Some((of_class, codes)) = of_class {
            for (weight, code) in weights.iter_mut().zip(codes) {
                *weight *= of_class[*code as usize];
            }
        }
        Some(weights)
    }

    /// Size of an encoded sample in memory.
    pub(super) fn sample_bytes(&self) -> usize {
        self.roles.sample_bytes(self.task, self.has_weights())
    }

    /// A block of zeros, for gathering.
    pub(super) fn zeros(&self, n_samples: usize) -> FeatureBlock {
        zeros(
            &self.prepared.encoder.schema,
            self.task,
            self.has_weights(),
            n_samples,
        )
    }

    fn has_weights(&self) -> bool {
        self.roles.weight.is_some() || self.prepared.class_weights.is_some()
    }
}

/// The instance weights of some rows; NULL weighs nothing.
pub(super) fn sample_weights(rows: &Rows, of_chunk: Option<&[f64]>) -> Option<Vec<f64>> {
    let mut weights = rows.gather(of_chunk?);
    for weight in weights.iter_mut().filter(|weight| weight.is_nan()) {
        *weight = 0.0;
    }
    Some(weights)
}
