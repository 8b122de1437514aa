//! Runs an estimator's first step while the source is read for the first time.
//!
//! In: the blocks of training samples, as numbers stand in the source; out: the step's partial of all of
//! them, merged along the fixed tree as any pass's. Gives up where a feature is NULL, whose mean is not
//! known yet.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::merge_tree::{Merge, MergeTree};
use super::roles::Roles;
use super::{AnyPartial, AnyStep};
use crate::compute::Compute;
use crate::error::Result;
use crate::features::FeatureBlock;
use crate::run::TrainingRun;
use crate::training::TrainingRequest;

/// A step with the partials of the chunks so far.
pub(super) struct FirstStep {
    step: Arc<dyn AnyStep>,
    compute: Compute,
    partials: MergeTree<AnyPartial>,
    has_given_up: AtomicBool,
}

impl FirstStep {
    /// The step of a training, if its estimator has one.
    pub(super) fn plan(
        request: &TrainingRequest,
        roles: &Roles,
        run: &TrainingRun,
    ) -> Option<FirstStep> {
        let shape = roles.shape(request.estimator.spec().task, &request.options);
        let step = request.estimator.first_step(&request.options, &shape)?;
        Some(FirstStep {
            step,
            compute: run.compute.clone(),
            partials: MergeTree::new(),
            has_given_up: AtomicBool::new(false),
        })
    }

    /// Whether blocks are still wanted.
    pub(super) fn is_open(&self) -> bool {
        !self.has_given_up.load(Ordering::Relaxed)
    }

    /// Leaves the step to a later pass.
    pub(super) fn give_up(&self) {
        self.has_given_up.store(true, Ordering::Relaxed);
    }

    /// Takes the training samples of a chunk.
    pub(super) fn add(
        &self,
        (partition, chunk): (usize, usize),
        block: Option<&FeatureBlock>,
    ) -> Result<()> {
        let partial = block
            .map(|block| self.step.run_any(block, &self.compute))
            .transpose()?;
        let merge: Merge<'_, AnyPartial> = &|into, later| self.step.merge_any(into, later);
        self.partials.insert(partition, chunk, partial, merge)
    }

    /// The partial of all chunks.
    pub(super) fn finish(self, n_chunks: &[usize]) -> Result<Option<AnyPartial>> {
        if !self.is_open() {
            return Ok(None);
        }
        let merge: Merge<'_, AnyPartial> = &|into, later| self.step.merge_any(into, later);
        self.partials.finish(n_chunks, merge)
    }
}
