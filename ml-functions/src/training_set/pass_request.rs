//! A pass as machines are asked for it, and how the replies of several become one.
//!
//! In: steps, as bytes; out: partials, as bytes, each machine's or those of some that were merged on one of them. Blocks
//! merge along the fixed tree, as far as partitions are neighbours; states in any order.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::merge_tree::{Merge, Subtree, merge_subtrees};
use super::{AnyPartial, AnyStateStep, AnyStep, Part, StateVisit, Visit, from_bytes, to_bytes};
use crate::error::Result;
use crate::registry;

/// A pass.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) enum PassRequest {
    /// Over blocks: a `Vec<Subtree<ByteBuf>>` of encoded partials.
    Blocks {
        name: String,
        #[serde(with = "serde_bytes")]
        step: Vec<u8>,
        part: Part,
        visit: Visit,
    },
    /// Over states: a `Vec<ByteBuf>` of encoded partials, one a visit.
    States(Vec<EncodedVisit>),
}

/// [`StateVisit`] between machines.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct EncodedVisit {
    pub(super) part: Part,
    name: String,
    #[serde(with = "serde_bytes")]
    step: Vec<u8>,
}

impl EncodedVisit {
    pub(super) fn of(visit: &StateVisit<'_>) -> Result<EncodedVisit> {
        Ok(EncodedVisit {
            part: visit.part,
            name: visit.step.name().to_owned(),
            step: visit.step.encode()?,
        })
    }

    pub(super) fn step(&self) -> Result<Arc<dyn AnyStateStep>> {
        registry::decode_state_step(&self.name, &self.step)
    }
}

impl PassRequest {
    /// One reply of those of several machines.
    pub(super) fn merged(&self, replies: &[impl AsRef<[u8]>]) -> Result<Vec<u8>> {
        match self {
            PassRequest::Blocks { name, step, .. } => {
                let step = registry::decode_step(name, step)?;
                let merge: Merge<'_, AnyPartial> = &|into, later| step.merge_any(into, later);
                let mut merged = Vec::new();
                // One at a time: decoded, all take several times their bytes.
                for reply in replies {
                    merged.extend(decoded(step.as_ref(), reply.as_ref())?);
                    merged = merge_subtrees(merged, merge)?;
                }
                to_bytes(&encoded_subtrees(step.as_ref(), merged)?)
            }
            PassRequest::States(visits) => {
                let steps: Result<Vec<_>> = visits.iter().map(EncodedVisit::step).collect();
                let steps = steps?;
                let merged = merged_states(&steps, replies)?;
                to_bytes(&encoded_states(&steps, &merged)?)
            }
        }
    }
}

/// The partials of a pass over blocks, in all replies.
pub(super) fn decoded_subtrees(
    step: &dyn AnyStep,
    replies: &[Vec<u8>],
) -> Result<Vec<Subtree<AnyPartial>>> {
    let mut subtrees = Vec::new();
    for reply in replies {
        subtrees.extend(decoded(step, reply)?);
    }
    Ok(subtrees)
}

fn decoded(step: &dyn AnyStep, reply: &[u8]) -> Result<Vec<Subtree<AnyPartial>>> {
    let decode = |bytes: ByteBuf| step.decode_partial(&bytes);
    let subtrees: Vec<Subtree<ByteBuf>> = from_bytes(reply)?;
    let subtrees = subtrees.into_iter();
    subtrees.map(|subtree| subtree.try_map(decode)).collect()
}

/// The reply to a pass over blocks.
pub(super) fn encoded_subtrees(
    step: &dyn AnyStep,
    subtrees: Vec<Subtree<AnyPartial>>,
) -> Result<Vec<Subtree<ByteBuf>>> {
    let encode = |partial: AnyPartial| step.encode_partial(&partial).map(ByteBuf::from);
    let subtrees = subtrees.into_iter();
    subtrees.map(|subtree| subtree.try_map(encode)).collect()
}

/// The partials of a pass over states, one a step, of all replies.
pub(super) fn merged_states(
    steps: &[Arc<dyn AnyStateStep>],
    replies: &[impl AsRef<[u8]>],
) -> Result<Vec<AnyPartial>> {
    let mut merged: Vec<AnyPartial> = steps.iter().map(|step| step.partial_any()).collect();
    for reply in replies {
        let partials: Vec<ByteBuf> = from_bytes(reply.as_ref())?;
        for ((step, merged), partial) in steps.iter().zip(&mut merged).zip(partials) {
            step.merge_any(merged, step.decode_partial(&partial)?)?;
        }
    }
    Ok(merged)
}

/// The reply to a pass over states.
pub(super) fn encoded_states(
    steps: &[Arc<dyn AnyStateStep>],
    partials: &[AnyPartial],
) -> Result<Vec<ByteBuf>> {
    let encode = |(step, partial): (&Arc<dyn AnyStateStep>, &AnyPartial)| {
        step.encode_partial(partial).map(ByteBuf::from)
    };
    steps.iter().zip(partials).map(encode).collect()
}
