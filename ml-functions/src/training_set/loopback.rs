//! A training set that sends everything through bytes, as if its partitions lived elsewhere.
//!
//! In: a [`LocalTrainingSet`]; out: the same partials to the bit, after step, blocks, partials, encoder
//! and target were written as bytes and read again. Proves that every estimator is ready for other
//! machines; holds no samples itself.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;

use super::{
    AnyPartial, AnyStart, AnyState, AnyStep, LocalTrainingSet, Part, PieceId, StateVisit,
    TrainingSet, Values, Visit, WorkingMemory, from_bytes, to_bytes,
};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::features::{FeatureBlock, FeatureEncoder, TargetEncoding};
use crate::registry;
use crate::run::TrainingRun;

/// The samples of a [`LocalTrainingSet`] behind bytes.
pub struct LoopbackTrainingSet<'a> {
    local: &'a LocalTrainingSet,
    encoder: FeatureEncoder,
    target: Option<TargetEncoding>,
}

impl<'a> LoopbackTrainingSet<'a> {
    /// Sends encoder and target through bytes.
    pub fn new(local: &'a LocalTrainingSet) -> Result<LoopbackTrainingSet<'a>> {
        Ok(LoopbackTrainingSet {
            local,
            encoder: through_json(local.encoder())?,
            target: through_json(&local.target())?,
        })
    }
}

/// Encoder and target travel in the manifest's form.
fn through_json<T: serde::Serialize, U: serde::de::DeserializeOwned>(value: &T) -> Result<U> {
    serde_json::to_vec(value)
        .and_then(|bytes| serde_json::from_slice(&bytes))
        .map_err(|source| Error::Internal {
            what: format!("cannot send an encoder: {source}"),
        })
}

#[async_trait]
impl TrainingSet for LoopbackTrainingSet<'_> {
    fn encoder(&self) -> &FeatureEncoder {
        &self.encoder
    }

    fn target(&self) -> Option<&TargetEncoding> {
        self.target.as_ref()
    }

    fn sample(&self) -> Option<&[Vec<f64>]> {
        self.local.sample()
    }

    fn n_samples(&self, part: Part) -> u64 {
        self.local.n_samples(part)
    }

    async fn reduce_any(
        &self,
        step: &dyn AnyStep,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<AnyPartial>> {
        let remote = Arc::new(RemoteStep {
            step: registry::decode_step(step.name(), &step.encode()?)?,
        });
        let partial = self.local.reduce_shared(remote, part, visit, run).await?;
        partial
            .map(|partial| step.decode_partial(&step.encode_partial(&partial)?))
            .transpose()
    }

    async fn start_states(
        &self,
        start: &dyn AnyStart,
        part: Part,
        run: &TrainingRun,
    ) -> Result<()> {
        let start = registry::decode_start(start.name(), &start.encode()?)?;
        let remote = Arc::new(RemoteStart { start });
        self.local.start_shared(remote, part, run).await
    }

    async fn reduce_states_any(
        &self,
        visits: &[StateVisit<'_>],
        run: &TrainingRun,
    ) -> Result<Vec<AnyPartial>> {
        let remote = |StateVisit { part, step }: &StateVisit<'_>| {
            let step = registry::decode_state_step(step.name(), &step.encode()?)?;
            Ok((*part, step))
        };
        let steps: Result<Vec<_>> = visits.iter().map(remote).collect();
        let partials = self.local.reduce_states_shared(steps?, run).await?;
        let resend = |(StateVisit { step, .. }, partial): (&StateVisit<'_>, AnyPartial)| {
            step.decode_partial(&step.encode_partial(&partial)?)
        };
        visits.iter().zip(partials).map(resend).collect()
    }

    async fn gather(&self, part: Part, run: &TrainingRun) -> Result<FeatureBlock> {
        from_bytes(&to_bytes(&self.local.gather(part, run).await?)?)
    }

    fn threads(&self) -> usize {
        self.local.threads()
    }

    fn working_memory(&self, most_bytes: usize) -> WorkingMemory {
        self.local.working_memory(most_bytes)
    }

    fn memory_guard(&self) -> Arc<dyn Any + Send + Sync> {
        self.local.memory_guard()
    }
}

/// A start on the other machine: its states went through bytes once.
struct RemoteStart {
    start: Arc<dyn AnyStart>,
}

impl AnyStart for RemoteStart {
    fn name(&self) -> &'static str {
        self.start.name()
    }

    fn to_owned_start(&self) -> Result<Arc<dyn AnyStart>> {
        self.start.to_owned_start()
    }

    fn encode(&self) -> Result<Vec<u8>> {
        self.start.encode()
    }

    fn start_any(&self, piece: PieceId, block: &FeatureBlock) -> Result<AnyState> {
        let block: FeatureBlock = from_bytes(&to_bytes(block)?)?;
        let state = self.start.start_any(piece, &block)?;
        self.start.decode_state(&self.start.encode_state(&state)?)
    }

    fn sections<'s>(&self, state: &'s mut AnyState) -> Result<Vec<Vec<Values<'s>>>> {
        self.start.sections(state)
    }

    fn encode_state(&self, state: &AnyState) -> Result<Vec<u8>> {
        self.start.encode_state(state)
    }

    fn decode_state(&self, bytes: &[u8]) -> Result<AnyState> {
        self.start.decode_state(bytes)
    }
}

/// A step on the other machine: blocks reach it and partials leave it as bytes.
struct RemoteStep {
    step: Box<dyn AnyStep>,
}

impl RemoteStep {
    fn resend(&self, partial: &AnyPartial) -> Result<AnyPartial> {
        self.step
            .decode_partial(&self.step.encode_partial(partial)?)
    }
}

impl AnyStep for RemoteStep {
    fn name(&self) -> &'static str {
        self.step.name()
    }

    fn to_owned_step(&self) -> Result<Arc<dyn AnyStep>> {
        self.step.to_owned_step()
    }

    fn encode(&self) -> Result<Vec<u8>> {
        self.step.encode()
    }

    fn run_any(&self, block: &FeatureBlock, compute: &Compute) -> Result<AnyPartial> {
        let block: FeatureBlock = from_bytes(&to_bytes(block)?)?;
        self.resend(&self.step.run_any(&block, compute)?)
    }

    fn merge_any(&self, into: &mut AnyPartial, later: AnyPartial) -> Result<()> {
        let mut merged = self.resend(into)?;
        self.step.merge_any(&mut merged, self.resend(&later)?)?;
        *into = merged;
        Ok(())
    }

    fn encode_partial(&self, partial: &AnyPartial) -> Result<Vec<u8>> {
        self.step.encode_partial(partial)
    }

    fn decode_partial(&self, bytes: &[u8]) -> Result<AnyPartial> {
        self.step.decode_partial(bytes)
    }
}
