//! A training set that keeps what its passes come to, and runs none that an earlier life of the training ran.
//!
//! In: passes; out: their partials. Passes over states are run again, since they also make the states; estimators that
//! send them keep more themselves.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;

use super::{AnyPartial, AnyStart, AnyStep, Part, StateVisit, TrainingSet, Visit, WorkingMemory};
use crate::checkpoint::{Checkpoints, pass_key};
use crate::error::Result;
use crate::features::{FeatureBlock, FeatureEncoder, TargetEncoding};
use crate::run::TrainingRun;

/// The samples of another training set, with checkpoints.
pub(crate) struct CheckpointedTrainingSet<'a> {
    samples: &'a dyn TrainingSet,
    checkpoints: Arc<Checkpoints>,
}

impl<'a> CheckpointedTrainingSet<'a> {
    pub(crate) fn new(
        samples: &'a dyn TrainingSet,
        checkpoints: &Arc<Checkpoints>,
    ) -> CheckpointedTrainingSet<'a> {
        CheckpointedTrainingSet {
            samples,
            checkpoints: Arc::clone(checkpoints),
        }
    }
}

#[async_trait]
impl TrainingSet for CheckpointedTrainingSet<'_> {
    fn encoder(&self) -> &FeatureEncoder {
        self.samples.encoder()
    }

    fn target(&self) -> Option<&TargetEncoding> {
        self.samples.target()
    }

    fn sample(&self) -> Option<&[Vec<f64>]> {
        self.samples.sample()
    }

    fn n_samples(&self, part: Part) -> u64 {
        self.samples.n_samples(part)
    }

    async fn reduce_any(
        &self,
        step: &dyn AnyStep,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<AnyPartial>> {
        let key = pass_key(step.name(), &step.encode()?, part);
        if let Some(bytes) = self.checkpoints.partial(&key) {
            run.check_cancelled()?;
            return step.decode_partial(&bytes).map(Some);
        }
        let partial = self.samples.reduce_any(step, part, visit, run).await?;
        if let Some(partial) = &partial {
            self.checkpoints
                .keep_partial(key, step.encode_partial(partial)?);
        }
        Ok(partial)
    }

    fn take_first_partial(&self) -> Option<AnyPartial> {
        self.samples.take_first_partial()
    }

    async fn start_states(
        &self,
        start: &dyn AnyStart,
        part: Part,
        run: &TrainingRun,
    ) -> Result<()> {
        self.samples.start_states(start, part, run).await
    }

    async fn reduce_states_any(
        &self,
        visits: &[StateVisit<'_>],
        run: &TrainingRun,
    ) -> Result<Vec<AnyPartial>> {
        self.samples.reduce_states_any(visits, run).await
    }

    async fn gather(&self, part: Part, run: &TrainingRun) -> Result<FeatureBlock> {
        self.samples.gather(part, run).await
    }

    fn threads(&self) -> usize {
        self.samples.threads()
    }

    fn working_memory(&self, most_bytes: usize) -> WorkingMemory {
        self.samples.working_memory(most_bytes)
    }

    fn memory_guard(&self) -> Arc<dyn Any + Send + Sync> {
        self.samples.memory_guard()
    }
}
