//! What estimators keep beside each chunk between passes: bins, gradients, the leaf of each row.
//!
//! In: states, one a chunk, and steps that change them; out: partials that are exact in any order. A
//! state is in memory as far as the pool grants, else on disk, where it is written anew after each pass.

use std::any::Any;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::spill_file::SpillFile;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::passes::{Stop, Workers};
use super::spill::{read_all, spill_error};
use super::{AnyPartial, from_bytes, to_bytes};
use crate::error::{Error, Result};
use crate::features::FeatureBlock;
use crate::training::Usage;

/// What a chunk keeps between passes.
pub trait ChunkState: Serialize + DeserializeOwned + Send + 'static {
    /// Size in memory.
    fn memory_bytes(&self) -> usize;
}

/// Makes the state of a chunk from its block; also the way back to a state that was lost, since it
/// carries the model so far.
pub trait StartStep: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the chunks keep.
    type State: ChunkState;
    /// A name that is unique among all steps: `tree.start`.
    const NAME: &'static str;

    /// The state of a chunk.
    fn start(&self, chunk: u64, block: &FeatureBlock) -> Result<Self::State>;
}

/// A pass over the states.
///
/// Chunks come in any order and on any thread, each thread with a partial of its own: what a partial
/// adds must be exact in any order (integers), or be listed by chunk number.
pub trait StateStep: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the chunks keep.
    type State: ChunkState;
    /// What a pass over some chunks yields.
    type Partial: Serialize + DeserializeOwned + Send + 'static;
    /// A name that is unique among all steps: `tree.grow`.
    const NAME: &'static str;

    /// The partial of no chunk.
    fn partial(&self) -> Self::Partial;

    /// Visits a chunk.
    fn run(&self, chunk: u64, state: &mut Self::State, into: &mut Self::Partial) -> Result<()>;

    /// Adds another thread's partial.
    fn merge(&self, into: &mut Self::Partial, other: Self::Partial) -> Result<()>;
}

/// A state behind its type.
pub type AnyState = Box<dyn Any + Send>;

/// [`StartStep`] without its types; implemented for every one.
pub trait AnyStart: Send + Sync {
    /// [`StartStep::NAME`].
    fn name(&self) -> &'static str;
    /// A step of its own, for threads that outlive a borrow of this one.
    fn to_owned_start(&self) -> Result<Arc<dyn AnyStart>>;
    /// The parameters as bytes.
    fn encode(&self) -> Result<Vec<u8>>;
    /// See [`StartStep::start`].
    fn start_any(&self, chunk: u64, block: &FeatureBlock) -> Result<AnyState>;
    /// See [`ChunkState::memory_bytes`].
    fn state_bytes(&self, state: &AnyState) -> Result<usize>;
    /// A state as bytes.
    fn encode_state(&self, state: &AnyState) -> Result<Vec<u8>>;
    /// A state from bytes.
    fn decode_state(&self, bytes: &[u8]) -> Result<AnyState>;
}

/// [`StateStep`] without its types; implemented for every one.
pub trait AnyStateStep: Send + Sync {
    /// [`StateStep::NAME`].
    fn name(&self) -> &'static str;
    /// A step of its own, for threads that outlive a borrow of this one.
    fn to_owned_step(&self) -> Result<Arc<dyn AnyStateStep>>;
    /// The parameters as bytes.
    fn encode(&self) -> Result<Vec<u8>>;
    /// See [`StateStep::partial`].
    fn partial_any(&self) -> AnyPartial;
    /// See [`StateStep::run`].
    fn run_any(&self, chunk: u64, state: &mut AnyState, into: &mut AnyPartial) -> Result<()>;
    /// See [`StateStep::merge`].
    fn merge_any(&self, into: &mut AnyPartial, other: AnyPartial) -> Result<()>;
    /// A partial as bytes.
    fn encode_partial(&self, partial: &AnyPartial) -> Result<Vec<u8>>;
    /// A partial from bytes.
    fn decode_partial(&self, bytes: &[u8]) -> Result<AnyPartial>;
}

/// Makes the steps of states from their bytes on another machine; `EstimatorSpec::state_steps` lists
/// them.
pub enum StateDecoder {
    /// Of a [`StartStep`].
    Start {
        /// [`StartStep::NAME`].
        name: &'static str,
        /// The step that was encoded.
        decode: fn(&[u8]) -> Result<Arc<dyn AnyStart>>,
    },
    /// Of a [`StateStep`].
    Step {
        /// [`StateStep::NAME`].
        name: &'static str,
        /// The step that was encoded.
        decode: fn(&[u8]) -> Result<Arc<dyn AnyStateStep>>,
    },
}

impl StateDecoder {
    /// The decoder of a start.
    pub const fn of_start<S: StartStep>() -> StateDecoder {
        StateDecoder::Start {
            name: S::NAME,
            decode: |bytes| Ok(Arc::new(from_bytes::<S>(bytes)?)),
        }
    }

    /// The decoder of a step.
    pub const fn of_step<S: StateStep>() -> StateDecoder {
        StateDecoder::Step {
            name: S::NAME,
            decode: |bytes| Ok(Arc::new(from_bytes::<S>(bytes)?)),
        }
    }
}

impl<S: StartStep> AnyStart for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn to_owned_start(&self) -> Result<Arc<dyn AnyStart>> {
        Ok(Arc::new(from_bytes::<S>(&to_bytes(self)?)?))
    }

    fn encode(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn start_any(&self, chunk: u64, block: &FeatureBlock) -> Result<AnyState> {
        Ok(Box::new(self.start(chunk, block)?))
    }

    fn state_bytes(&self, state: &AnyState) -> Result<usize> {
        Ok(state_of::<S::State>(state, S::NAME)?.memory_bytes())
    }

    fn encode_state(&self, state: &AnyState) -> Result<Vec<u8>> {
        to_bytes(state_of::<S::State>(state, S::NAME)?)
    }

    fn decode_state(&self, bytes: &[u8]) -> Result<AnyState> {
        Ok(Box::new(from_bytes::<S::State>(bytes)?))
    }
}

impl<S: StateStep> AnyStateStep for S {
    fn name(&self) -> &'static str {
        S::NAME
    }

    fn to_owned_step(&self) -> Result<Arc<dyn AnyStateStep>> {
        Ok(Arc::new(from_bytes::<S>(&to_bytes(self)?)?))
    }

    fn encode(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn partial_any(&self) -> AnyPartial {
        Box::new(self.partial())
    }

    fn run_any(&self, chunk: u64, state: &mut AnyState, into: &mut AnyPartial) -> Result<()> {
        let state = state
            .downcast_mut::<S::State>()
            .ok_or_else(|| wrong(S::NAME, "state"))?;
        let into = into
            .downcast_mut::<S::Partial>()
            .ok_or_else(|| wrong(S::NAME, "partial"))?;
        self.run(chunk, state, into)
    }

    fn merge_any(&self, into: &mut AnyPartial, other: AnyPartial) -> Result<()> {
        let into = into
            .downcast_mut::<S::Partial>()
            .ok_or_else(|| wrong(S::NAME, "partial"))?;
        let other = other
            .downcast::<S::Partial>()
            .map_err(|_| wrong(S::NAME, "partial"))?;
        self.merge(into, *other)
    }

    fn encode_partial(&self, partial: &AnyPartial) -> Result<Vec<u8>> {
        to_bytes(
            partial
                .downcast_ref::<S::Partial>()
                .ok_or_else(|| wrong(S::NAME, "partial"))?,
        )
    }

    fn decode_partial(&self, bytes: &[u8]) -> Result<AnyPartial> {
        Ok(Box::new(from_bytes::<S::Partial>(bytes)?))
    }
}

fn state_of<'a, T: 'static>(state: &'a AnyState, step: &str) -> Result<&'a T> {
    state
        .downcast_ref::<T>()
        .ok_or_else(|| wrong(step, "state"))
}

fn wrong(step: &str, what: &str) -> Error {
    Error::Internal {
        what: format!("step {step} was given another step's {what}"),
    }
}

/// The states of one part.
pub(super) struct States {
    start: Arc<dyn AnyStart>,
    memory: MemoryReservation,
    disk: Arc<DiskManager>,
    usage: Arc<Usage>,
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// The state of one chunk.
struct Slot {
    chunk: u64,
    n_rows: usize,
    place: Mutex<Place>,
}

enum Place {
    /// In memory, with its accounted size.
    Memory(AnyState, usize),
    Disk(Arc<dyn SpillFile>),
}

impl States {
    pub(super) fn new(
        start: Arc<dyn AnyStart>,
        memory: &Arc<dyn MemoryPool>,
        disk: &Arc<DiskManager>,
        usage: &Arc<Usage>,
    ) -> States {
        let consumer = MemoryConsumer::new("training state").with_can_spill(true);
        States {
            start,
            memory: consumer.register(memory),
            disk: Arc::clone(disk),
            usage: Arc::clone(usage),
            slots: Mutex::default(),
        }
    }

    /// Makes and keeps the state of a chunk.
    pub(super) fn add(&self, chunk: u64, block: &FeatureBlock) -> Result<()> {
        let state = self.start.start_any(chunk, block)?;
        let place = self.place(state, 0)?;
        let slot = Slot {
            chunk,
            n_rows: block.n_samples,
            place: Mutex::new(place),
        };
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(slot));
        Ok(())
    }

    /// Puts a state in memory if the pool grants what it has grown, else on disk.
    fn place(&self, state: AnyState, accounted: usize) -> Result<Place> {
        let needed = self.start.state_bytes(&state)?;
        if needed <= accounted {
            self.memory.shrink(accounted - needed);
            return Ok(Place::Memory(state, needed));
        }
        if self.memory.try_grow(needed - accounted).is_ok() {
            return Ok(Place::Memory(state, needed));
        }
        self.memory.shrink(accounted);
        let bytes = self.start.encode_state(&state)?;
        self.write(&bytes).map(Place::Disk)
    }

    fn write(&self, bytes: &[u8]) -> Result<Arc<dyn SpillFile>> {
        let spilled = || -> std::result::Result<Arc<dyn SpillFile>, DataFusionError> {
            let file = self.disk.create_tmp_file("training state")?;
            let mut writer = file.open_writer()?;
            writer.write_all(bytes)?;
            writer.finish()?;
            Ok(file)
        };
        self.usage.add_spilled(bytes.len() as u64);
        spilled().map_err(|error| spill_error(&self.disk, error))
    }

    /// Runs a step over every state, on the workers' threads.
    pub(super) async fn reduce(
        self: &Arc<Self>,
        step: Arc<dyn AnyStateStep>,
        workers: &Workers,
    ) -> Result<AnyPartial> {
        workers.usage.add_kept_pass();
        let slots = self
            .slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let partials = Arc::new(Mutex::new(Vec::new()));
        let work = {
            let (states, step) = (Arc::clone(self), Arc::clone(&step));
            let (partials, counter) = (Arc::clone(&partials), workers.clone());
            let next = AtomicUsize::new(0);
            move |stop: &Stop| {
                let mut partial = None;
                loop {
                    stop.check()?;
                    let Some(slot) = slots.get(next.fetch_add(1, Ordering::Relaxed)) else {
                        break;
                    };
                    let into = partial.get_or_insert_with(|| step.partial_any());
                    states.visit(slot, step.as_ref(), into)?;
                    counter.count_rows(slot.n_rows);
                }
                let mut partials = partials.lock().unwrap_or_else(PoisonError::into_inner);
                partials.extend(partial);
                Ok(())
            }
        };
        workers.run(work).await?;
        let mut partials = partials.lock().unwrap_or_else(PoisonError::into_inner);
        let mut merged = partials.pop().unwrap_or_else(|| step.partial_any());
        for partial in partials.drain(..) {
            step.merge_any(&mut merged, partial)?;
        }
        Ok(merged)
    }

    fn visit(&self, slot: &Slot, step: &dyn AnyStateStep, into: &mut AnyPartial) -> Result<()> {
        let mut place = slot.place.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *place {
            Place::Memory(state, accounted) => {
                step.run_any(slot.chunk, state, into)?;
                let needed = self.start.state_bytes(state)?;
                if needed > *accounted && self.memory.try_grow(needed - *accounted).is_err() {
                    let bytes = self.start.encode_state(state)?;
                    self.memory.shrink(*accounted);
                    *place = Place::Disk(self.write(&bytes)?);
                } else {
                    self.memory.shrink(accounted.saturating_sub(needed));
                    *accounted = needed;
                }
            }
            Place::Disk(file) => {
                let bytes = read_all(file)?;
                let mut state = self.start.decode_state(&bytes)?;
                step.run_any(slot.chunk, &mut state, into)?;
                *place = Place::Disk(self.write(&self.start.encode_state(&state)?)?);
            }
        }
        Ok(())
    }
}
