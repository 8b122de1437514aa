//! The samples of a training run, and the passes that an estimator sends over them.
//!
//! In: a [`PartitionStep`]; out: its partial, merged along a fixed binary tree over the chunks, so that
//! a sum does not depend on threads or on how rows were batched. `local` holds the samples of one
//! machine, `loopback` sends everything through bytes, to prove that another machine could; `remote` asks the
//! machines that `host` some partitions each, in the words of `hosting` and `pass_request`, as long as `hosts` finds any; `checkpointed` keeps what passes came to.

mod checkpointed;
mod chunks;
mod first_blocks;
mod first_step;
mod gathering;
mod host;
mod hosting;
mod hosts;
mod local;
mod loopback;
mod merge_tree;
mod pass_request;
mod passes;
mod prepare;
mod remote;
mod roles;
mod sample_encoder;
mod sections;
mod spill;
mod split;
mod state_store;
mod states;
mod weights;

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryLimit, MemoryPool};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::features::{FeatureBlock, FeatureEncoder, TargetEncoding};
use crate::run::TrainingRun;

pub(crate) use checkpointed::CheckpointedTrainingSet;
pub use host::HostedPartitions;
pub use hosting::{HostFailure, HostPeers, HostPool, PartitionHost};
pub use local::LocalTrainingSet;
pub use loopback::LoopbackTrainingSet;
pub use remote::RemoteTrainingSet;
pub(crate) use roles::Roles;
pub use sections::Values;
#[cfg(test)]
pub(crate) use sections::section_bytes;
pub use states::{
    Access, AnyStart, AnyState, AnyStateStep, ChunkState, PieceId, SectionSet, StartStep,
    StateDecoder, StateStep, StateVisit,
};

/// Which samples a pass visits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Part {
    /// Those to learn from.
    Training,
    /// Those held out.
    Evaluation,
}

/// Whether the samples will be visited again: decides if encoded blocks are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Visit {
    /// This pass is the only one or one of two; stream from the source, keep nothing.
    Once,
    /// More passes follow; keep the encoded blocks in memory, beyond the limit on disk.
    Again,
}

/// One pass over the blocks of a partition: serializable parameters in, a mergeable partial out.
///
/// `merge` must be associative in effect up to the fixed tree: the caller always merges in the order
/// of the chunks.
pub trait PartitionStep: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What a pass over some blocks yields.
    type Partial: Serialize + DeserializeOwned + Send + 'static;
    /// A name that is unique among all steps: `linear_model.gram`.
    const NAME: &'static str;

    /// The partial of one block (at most 65,536 samples).
    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<Self::Partial>;

    /// Adds the partial of later blocks to that of earlier ones.
    fn merge(&self, into: &mut Self::Partial, later: Self::Partial) -> Result<()>;
}

/// A partial behind its type.
pub type AnyPartial = Box<dyn Any + Send>;

/// [`PartitionStep`] without its types; implemented for every step.
pub trait AnyStep: Send + Sync {
    /// [`PartitionStep::NAME`].
    fn name(&self) -> &'static str;
    /// A step of its own, for threads that outlive a borrow of this one.
    fn to_owned_step(&self) -> Result<Arc<dyn AnyStep>>;
    /// The parameters as bytes.
    fn encode(&self) -> Result<Vec<u8>>;
    /// See [`PartitionStep::run`].
    fn run_any(&self, block: &FeatureBlock, compute: &Compute) -> Result<AnyPartial>;
    /// See [`PartitionStep::merge`].
    fn merge_any(&self, into: &mut AnyPartial, later: AnyPartial) -> Result<()>;
    /// A partial as bytes.
    fn encode_partial(&self, partial: &AnyPartial) -> Result<Vec<u8>>;
    /// A partial from bytes.
    fn decode_partial(&self, bytes: &[u8]) -> Result<AnyPartial>;
}

/// Makes a step from its bytes on another machine; `EstimatorSpec::steps` lists them.
pub struct StepDecoder {
    /// [`PartitionStep::NAME`].
    pub name: &'static str,
    /// The step that was encoded.
    pub decode: fn(&[u8]) -> Result<Box<dyn AnyStep>>,
}

impl StepDecoder {
    /// The decoder of `S`.
    pub const fn of<S: PartitionStep>() -> StepDecoder {
        StepDecoder {
            name: S::NAME,
            decode: |bytes| Ok(Box::new(from_bytes::<S>(bytes)?)),
        }
    }
}

impl<S: PartitionStep> AnyStep for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn to_owned_step(&self) -> Result<Arc<dyn AnyStep>> {
        Ok(Arc::new(from_bytes::<S>(&to_bytes(self)?)?))
    }

    fn encode(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn run_any(&self, block: &FeatureBlock, compute: &Compute) -> Result<AnyPartial> {
        Ok(Box::new(self.run(block, compute)?))
    }

    fn merge_any(&self, into: &mut AnyPartial, later: AnyPartial) -> Result<()> {
        let into = into
            .downcast_mut::<S::Partial>()
            .ok_or_else(|| wrong_partial(S::NAME))?;
        let later = later
            .downcast::<S::Partial>()
            .map_err(|_| wrong_partial(S::NAME))?;
        self.merge(into, *later)
    }

    fn encode_partial(&self, partial: &AnyPartial) -> Result<Vec<u8>> {
        to_bytes(
            partial
                .downcast_ref::<S::Partial>()
                .ok_or_else(|| wrong_partial(S::NAME))?,
        )
    }

    fn decode_partial(&self, bytes: &[u8]) -> Result<AnyPartial> {
        Ok(Box::new(from_bytes::<S::Partial>(bytes)?))
    }
}

/// The samples of one training run. An estimator never learns where the partitions live.
#[async_trait]
pub trait TrainingSet: Send + Sync {
    /// How the features were encoded; also their schema and statistics.
    fn encoder(&self) -> &FeatureEncoder;

    /// How the label was encoded; `None` for unsupervised tasks.
    fn target(&self) -> Option<&TargetEncoding>;

    /// Of each numeric feature its values in some rows of the training part, drawn by the run's seed,
    /// but for NULL; all of them where there are few. `None` where the set keeps none.
    fn sample(&self) -> Option<&[Vec<f64>]> {
        None
    }

    /// Number of samples of a part.
    fn n_samples(&self, part: Part) -> u64;

    /// Runs a step over every block of a part and merges along the fixed tree; `None` when the part
    /// has no sample. Callers use [`reduce`].
    async fn reduce_any(
        &self,
        step: &dyn AnyStep,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<AnyPartial>>;

    /// The partial of [`Estimator::first_step`](crate::estimator::Estimator::first_step), once, if it
    /// ran over every training sample. Callers use [`take_first_partial`].
    fn take_first_partial(&self) -> Option<AnyPartial> {
        None
    }

    /// Makes the states of a part, one a piece of a chunk; of an earlier start nothing is left.
    async fn start_states(
        &self,
        _start: &dyn AnyStart,
        _part: Part,
        _run: &TrainingRun,
    ) -> Result<()> {
        Err(keeps_no_states())
    }

    /// Runs steps over the states of parts, each part at most once, in one pass; the partial of no chunk of a part
    /// that has none. Callers use [`reduce_states`] and [`reduce_states_of_both`].
    async fn reduce_states_any(
        &self,
        _visits: &[StateVisit<'_>],
        _run: &TrainingRun,
    ) -> Result<Vec<AnyPartial>> {
        Err(keeps_no_states())
    }

    /// All samples of a part in one block, in the order of the source; a typed error with the number
    /// of rows that would fit when they need more than the memory limit.
    async fn gather(&self, part: Part, run: &TrainingRun) -> Result<FeatureBlock>;

    /// Threads that the run may use beside passes, for work that needs no samples.
    fn threads(&self) -> usize {
        1
    }

    /// Accounts memory for what an estimator computes between passes: as much as it may use of
    /// `most_bytes`, beside what the samples need.
    fn working_memory(&self, most_bytes: usize) -> WorkingMemory {
        WorkingMemory {
            n_bytes: most_bytes,
            _guard: Box::new(()),
        }
    }

    /// What keeps the memory of gathered blocks accounted: whoever computes on one beyond the life of
    /// the training set (a library's call that cannot be cancelled) holds this as long.
    fn memory_guard(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(())
    }
}

/// Memory that is accounted until this is dropped.
pub struct WorkingMemory {
    /// How much it is.
    pub n_bytes: usize,
    _guard: Box<dyn Any + Send + Sync>,
}

/// An estimator's work between passes gets at most this share of the pool.
const WORKING_SHARE: usize = 8;

impl WorkingMemory {
    /// As much as the pool grants of `most_bytes`.
    fn of(pool: &Arc<dyn MemoryPool>, most_bytes: usize) -> WorkingMemory {
        let memory = MemoryConsumer::new("training").register(pool);
        let mut n_bytes = match pool.memory_limit() {
            MemoryLimit::Finite(limit) => most_bytes.min(limit / WORKING_SHARE),
            MemoryLimit::Infinite | MemoryLimit::Unknown => most_bytes,
        };
        while n_bytes > 0 && memory.try_grow(n_bytes).is_err() {
            n_bytes /= 2;
        }
        WorkingMemory {
            n_bytes,
            _guard: Box::new(memory),
        }
    }
}

/// Runs `step` over every block of `part`; `None` when the part has no sample.
pub async fn reduce<S: PartitionStep>(
    samples: &dyn TrainingSet,
    step: &S,
    part: Part,
    visit: Visit,
    run: &TrainingRun,
) -> Result<Option<S::Partial>> {
    match samples.reduce_any(step, part, visit, run).await? {
        None => Ok(None),
        Some(partial) => match partial.downcast::<S::Partial>() {
            Ok(partial) => Ok(Some(*partial)),
            Err(_) => Err(wrong_partial(S::NAME)),
        },
    }
}

/// What `step` found in the first reading; `None` if it did not run then.
pub fn take_first_partial<S: PartitionStep>(
    samples: &dyn TrainingSet,
    _step: &S,
) -> Result<Option<S::Partial>> {
    samples
        .take_first_partial()
        .map(|partial| match partial.downcast::<S::Partial>() {
            Ok(partial) => Ok(*partial),
            Err(_) => Err(wrong_partial(S::NAME)),
        })
        .transpose()
}

/// Runs `step` over the states of `part`.
pub async fn reduce_states<S: StateStep>(
    samples: &dyn TrainingSet,
    step: &S,
    part: Part,
    run: &TrainingRun,
) -> Result<S::Partial> {
    let visits = [StateVisit { part, step }];
    let mut partials = samples.reduce_states_any(&visits, run).await?.into_iter();
    partial_of::<S>(partials.next())
}

/// Runs a step over the states of each part, in one pass.
pub async fn reduce_states_of_both<T: StateStep, E: StateStep>(
    samples: &dyn TrainingSet,
    training: &T,
    evaluation: &E,
    run: &TrainingRun,
) -> Result<(T::Partial, E::Partial)> {
    let visits = [
        StateVisit {
            part: Part::Training,
            step: training,
        },
        StateVisit {
            part: Part::Evaluation,
            step: evaluation,
        },
    ];
    let mut partials = samples.reduce_states_any(&visits, run).await?.into_iter();
    let training = partial_of::<T>(partials.next())?;
    Ok((training, partial_of::<E>(partials.next())?))
}

fn partial_of<S: StateStep>(partial: Option<AnyPartial>) -> Result<S::Partial> {
    match partial.map(|partial| partial.downcast::<S::Partial>()) {
        Some(Ok(partial)) => Ok(*partial),
        Some(Err(_)) | None => Err(wrong_partial(S::NAME)),
    }
}

fn keeps_no_states() -> Error {
    Error::Internal {
        what: "this training set keeps no states".to_owned(),
    }
}

fn wrong_partial(step: &str) -> Error {
    Error::Internal {
        what: format!("step {step} was given another step's partial"),
    }
}

/// Postcard keeps every bit of a float, also of NaN and infinities.
fn to_bytes<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    postcard::to_allocvec(value).map_err(|source| Error::Internal {
        what: format!("cannot encode a step: {source}"),
    })
}

fn from_bytes<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    postcard::from_bytes(bytes).map_err(|source| Error::Internal {
        what: format!("cannot decode a step: {source}"),
    })
}

#[cfg(test)]
mod tests;
