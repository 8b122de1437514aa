//! Encodes samples while the source is read for the first time, before the encoder is known.
//!
//! In: the chunks of the first reading; out: the blocks that a second one would have made. Numbers need
//! no statistics but the mean of NULLs, and labels no more than the order of all classes: both are put
//! in at the end. Declines what needs more: categories, whose codes are their sort order, and weights of
//! classes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::array::Array;

use super::AnyPartial;
use super::chunks::RawChunk;
use super::first_step::FirstStep;
use super::prepare::Prepared;
use super::roles::Roles;
use super::sample_encoder::sample_weights;
use super::spill::{BlockStore, Spill, StoredBlocks};
use super::split::Selection;
use super::weights::{read_marks, read_weights};
use crate::error::Result;
use crate::features::{
    BatchEncoder, ClassCodes, ClassKey, Dense, Element, FeatureBlock, Labels, Missing, TargetValues,
};
use crate::run::TrainingRun;
use crate::training::TrainingRequest;

/// What the first reading leaves to later passes.
pub(super) type FirstReading = ([Option<Arc<StoredBlocks>>; 2], Option<AnyPartial>);

/// The blocks of the first reading.
pub(super) struct FirstBlocks {
    encoder: BatchEncoder,
    missing: Missing,
    /// Training, evaluation.
    stores: [Option<BlockStore>; 2],
    /// Visits the training part, kept or not.
    step: Option<FirstStep>,
    /// The classes of each chunk in the order of its codes.
    classes: Mutex<BTreeMap<(usize, usize), Vec<ClassKey>>>,
}

impl FirstBlocks {
    /// What to keep of a training: the evaluation part, and the training part if it is visited again.
    pub(super) fn plan(
        request: &TrainingRequest,
        roles: &Roles,
        spill: &Arc<Spill>,
        run: &TrainingRun,
    ) -> Option<FirstBlocks> {
        let options = &request.options;
        let tags = request.estimator.spec().tags;
        if roles.features.categorical().next().is_some() || options.weighs_classes() || tags.gathers
        {
            return None;
        }
        let store = || BlockStore::new(&request.memory, spill);
        Some(FirstBlocks {
            encoder: BatchEncoder::with_missing(&roles.features),
            missing: Missing::of(&tags),
            stores: [tags.revisits.then(store), Some(store())],
            step: FirstStep::plan(request, roles, run),
            classes: Mutex::default(),
        })
    }

    /// The same without the estimator's first step, whose partial is of all machines.
    pub(super) fn without_step(self) -> FirstBlocks {
        FirstBlocks { step: None, ..self }
    }

    /// Encodes the rows of a chunk.
    pub(super) fn keep(
        &self,
        chunk: &RawChunk,
        labels: &Labels,
        selection: &Selection,
    ) -> Result<()> {
        let position = (chunk.partition, chunk.number);
        if let Labels::Classes { classes, .. } = labels {
            self.classes
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(position, classes.clone());
        }
        let (instance_weights, marks) = (read_weights(chunk)?, read_marks(chunk));
        let features: Vec<_> = chunk
            .batches
            .iter()
            .map(|batch| chunk.layout.features(batch))
            .collect();
        let has_nulls = || {
            let mut arrays = features.iter().flat_map(|features| features.iter());
            arrays.any(|array| array.null_count() > 0)
        };
        if let Some(step) = self
            .step
            .as_ref()
            .filter(|step| step.is_open() && has_nulls())
        {
            step.give_up();
        }
        let steps = [self.step.as_ref().filter(|step| step.is_open()), None];
        for ((store, step), rows) in self.stores.iter().zip(steps).zip(&selection.parts) {
            if store.is_none() && step.is_none() {
                continue;
            }
            let block = if rows.n_rows == 0 {
                None
            } else {
                let (dense, codes) = self.encoder.encode(&features, rows)?;
                Some(Arc::new(FeatureBlock {
                    n_samples: rows.n_rows,
                    dense,
                    codes,
                    target: match &marks {
                        Some(marks) => TargetValues::Classes(rows.gather(marks)),
                        None => labels.local_values(rows),
                    },
                    weights: sample_weights(rows, instance_weights.as_deref()),
                }))
            };
            if let Some(step) = step {
                step.add(position, block.as_deref())?;
            }
            if let Some(store) = store {
                store.put(position, block.as_ref())?;
            }
        }
        Ok(())
    }

    /// The blocks as the encoder and the classes of all rows want them, and what the step found in the
    /// chunks, of which partition `p` has `n_chunks[p]`.
    pub(super) fn finish(self, prepared: &Prepared, n_chunks: &[usize]) -> Result<FirstReading> {
        let partial = self
            .step
            .map(|step| step.finish(n_chunks))
            .transpose()?
            .flatten();
        let classes = prepared.target.as_ref().map(ClassCodes::new);
        let of_chunk = self
            .classes
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        let codes: BTreeMap<(usize, usize), Vec<u32>> = of_chunk
            .into_iter()
            .map(|(position, found)| {
                let code = |class| classes.as_ref().map_or(0, |classes| classes.code(class));
                (position, found.iter().map(code).collect())
            })
            .collect();
        let means: Arc<[f64]> = prepared
            .encoder
            .numeric()
            .map(|(_, column)| column.mean)
            .collect();
        let codes = Arc::new(codes);
        let missing = self.missing;
        let stored = self.stores.map(|store| {
            let (means, codes) = (Arc::clone(&means), Arc::clone(&codes));
            let complete = move |position: &(usize, usize), block: &mut FeatureBlock| {
                if let (TargetValues::Classes(values), Some(codes)) =
                    (&mut block.target, codes.get(position))
                {
                    values
                        .iter_mut()
                        .for_each(|value| *value = codes[*value as usize]);
                }
                match &mut block.dense {
                    _ if missing == Missing::Kept => {}
                    Dense::F32(values) => fill(values, block.n_samples, &means),
                    Dense::F64(values) => fill(values, block.n_samples, &means),
                }
            };
            store.map(|store| Arc::new(store.complete_with(Arc::new(complete))))
        });
        Ok((stored, partial))
    }
}

/// Puts the mean of its column in the place of each missing number.
fn fill<T: Element>(values: &mut [T], n_samples: usize, means: &[f64]) {
    for (column, mean) in values.chunks_exact_mut(n_samples.max(1)).zip(means) {
        let mean = T::from_f64(*mean);
        for value in column {
            if value.to_f64().is_nan() {
                *value = mean;
            }
        }
    }
}
