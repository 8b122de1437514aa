//! What estimators keep beside each chunk between passes: bins, gradients, the leaf of each row.
//!
//! In: steps that make and change states, one a piece of a chunk; out: the same behind their types, and
//! from bytes. Where states are kept is [`super::state_store`]'s.

use std::any::Any;
use std::sync::Arc;

use auspex_gpu::Device;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::sections::Values;
use super::{AnyPartial, Part, from_bytes, to_bytes};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::features::FeatureBlock;

/// Which rows a state is of: a chunk is cut into pieces that depend on the size of the table alone.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
pub struct PieceId {
    /// The chunk's number.
    pub chunk: u64,
    /// The piece's first sample in its chunk.
    pub first_row: usize,
}

impl PieceId {
    /// The piece that is a whole chunk.
    pub(crate) fn whole(chunk: u64) -> PieceId {
        PieceId {
            chunk,
            first_row: 0,
        }
    }
}

/// Some of the sections of a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SectionSet(u32);

impl SectionSet {
    /// None of them.
    pub const NONE: SectionSet = SectionSet(0);
    /// All of them.
    pub const ALL: SectionSet = SectionSet(u32::MAX);

    /// The sections of these numbers, below 32.
    pub const fn of(sections: &[u32]) -> SectionSet {
        let (mut bits, mut at) = (0, 0);
        while at < sections.len() {
            bits |= 1 << sections[at];
            at += 1;
        }
        SectionSet(bits)
    }

    /// Those of both.
    pub fn union(self, other: SectionSet) -> SectionSet {
        SectionSet(self.0 | other.0)
    }

    /// Whether a section is one of them.
    pub fn contains(self, section: usize) -> bool {
        self.0 >> section & 1 == 1
    }
}

/// The sections that a visit needs. Others may be empty while it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Those that it reads.
    pub reads: SectionSet,
    /// Those that it may change.
    pub writes: SectionSet,
}

/// What a piece of a chunk keeps between passes.
pub trait ChunkState: Serialize + DeserializeOwned + Send + 'static {
    /// The vectors of each section; the first section is the last to leave the memory. What is in no
    /// section stays in memory unaccounted and must be small.
    fn sections(&mut self) -> Vec<Vec<Values<'_>>>;
}

/// Makes the state of a piece from its block; also the way back to a state that was lost, since it
/// carries the model so far.
pub trait StartStep: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the chunks keep.
    type State: ChunkState;
    /// A name that is unique among all steps: `tree.start`.
    const NAME: &'static str;

    /// The state of a piece.
    fn start(&self, piece: PieceId, block: &FeatureBlock) -> Result<Self::State>;
}

/// A pass over the states.
///
/// Pieces come in any order and on any thread, each thread with a partial of its own: what a partial
/// adds must be exact in any order (integers), or be listed by piece.
pub trait StateStep: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the chunks keep.
    type State: ChunkState;
    /// What a pass over some chunks yields.
    type Partial: Serialize + DeserializeOwned + Send + 'static;
    /// A name that is unique among all steps: `tree.grow`.
    const NAME: &'static str;

    /// The partial of no chunk.
    fn partial(&self) -> Self::Partial;

    /// Which sections a visit needs.
    fn access(&self) -> Access {
        Access {
            reads: SectionSet::ALL,
            writes: SectionSet::ALL,
        }
    }

    /// Visits a piece.
    fn run(&self, piece: PieceId, state: &mut Self::State, into: &mut Self::Partial) -> Result<()>;

    /// Visits a piece where another device than the CPU was chosen; the same comes of it.
    fn run_on(
        &self,
        device: &dyn Device,
        piece: PieceId,
        state: &mut Self::State,
        into: &mut Self::Partial,
    ) -> Result<()> {
        let _ = device;
        self.run(piece, state, into)
    }

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
    fn start_any(&self, piece: PieceId, block: &FeatureBlock) -> Result<AnyState>;
    /// See [`ChunkState::sections`].
    fn sections<'a>(&self, state: &'a mut AnyState) -> Result<Vec<Vec<Values<'a>>>>;
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
    /// See [`StateStep::access`].
    fn access(&self) -> Access;
    /// See [`StateStep::run`] and [`StateStep::run_on`].
    fn run_any(
        &self,
        piece: PieceId,
        state: &mut AnyState,
        into: &mut AnyPartial,
        compute: &Compute,
    ) -> Result<()>;
    /// See [`StateStep::merge`].
    fn merge_any(&self, into: &mut AnyPartial, other: AnyPartial) -> Result<()>;
    /// A partial as bytes.
    fn encode_partial(&self, partial: &AnyPartial) -> Result<Vec<u8>>;
    /// A partial from bytes.
    fn decode_partial(&self, bytes: &[u8]) -> Result<AnyPartial>;
}

/// A step over the states of a part.
#[derive(Clone, Copy)]
pub struct StateVisit<'a> {
    /// The part.
    pub part: Part,
    /// The step.
    pub step: &'a dyn AnyStateStep,
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

    fn start_any(&self, piece: PieceId, block: &FeatureBlock) -> Result<AnyState> {
        Ok(Box::new(self.start(piece, block)?))
    }

    fn sections<'a>(&self, state: &'a mut AnyState) -> Result<Vec<Vec<Values<'a>>>> {
        let state = state
            .downcast_mut::<S::State>()
            .ok_or_else(|| wrong(S::NAME, "state"))?;
        Ok(state.sections())
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
        Ok(Arc::new(self.clone()))
    }

    fn encode(&self) -> Result<Vec<u8>> {
        to_bytes(self)
    }

    fn partial_any(&self) -> AnyPartial {
        Box::new(self.partial())
    }

    fn access(&self) -> Access {
        StateStep::access(self)
    }

    fn run_any(
        &self,
        piece: PieceId,
        state: &mut AnyState,
        into: &mut AnyPartial,
        compute: &Compute,
    ) -> Result<()> {
        let state = state
            .downcast_mut::<S::State>()
            .ok_or_else(|| wrong(S::NAME, "state"))?;
        let into = into
            .downcast_mut::<S::Partial>()
            .ok_or_else(|| wrong(S::NAME, "partial"))?;
        match compute.accelerator() {
            None => self.run(piece, state, into),
            Some(device) => self.run_on(device, piece, state, into),
        }
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
