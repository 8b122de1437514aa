//! What a training asks of the machines that host its partitions.
//!
//! In: a [`HostRequest`], as bytes; out: its reply, as bytes. Whoever carries them need not look inside. Partials and
//! steps are written by their own types, encoder and target in the form of manifests.

use std::sync::Arc;

use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::Part;
use super::merge_tree::Subtree;
use super::pass_request::PassRequest;
use super::prepare::{FitPartial, Prepared, SamplesOfChunk};
use super::split::{Split, Survey, SurveyKind};
use crate::error::{Error, Result};
use crate::training::Cost;

/// Some partitions of a training, on some machine.
#[async_trait]
pub trait PartitionHost: Send + Sync {
    /// The partitions.
    fn partitions(&self) -> &[usize];

    /// How another host reaches it, by [`HostPeers`]; `None`: none does, nor does it reach others.
    fn address(&self) -> Option<Vec<u8>> {
        None
    }

    /// Answers a request of a training; dropping the future ends the work.
    async fn ask(&self, request: Arc<[u8]>) -> std::result::Result<Vec<u8>, HostFailure>;

    /// The same of a request for what it keeps of a pass, which belongs to that pass.
    async fn ask_kept(&self, request: Arc<[u8]>) -> std::result::Result<Vec<u8>, HostFailure> {
        self.ask(request).await
    }
}

/// How a host reaches those on other machines.
#[async_trait]
pub trait HostPeers: Send + Sync {
    /// Asks the host at an address. Any failure may mean that only this machine does not reach it.
    async fn ask(
        &self,
        address: &[u8],
        request: Arc<[u8]>,
    ) -> std::result::Result<Vec<u8>, HostFailure>;
}

/// Hosts whose replies to a pass are merged in one place at most: a few, so that neither a coordinator nor a host that
/// merges waits long, and as many as make one level suffice for 64 partitions.
const MOST_REPLIES: usize = 8;

/// The machines that can host partitions.
#[async_trait]
pub trait HostPool: Send + Sync {
    /// Opens hosts that together have these partitions, each once, on machines that answer now.
    async fn open(&self, partitions: &[usize]) -> Result<Vec<Arc<dyn PartitionHost>>>;

    /// Hosts that send their replies to a pass; of more, some merge those of the others before.
    fn most_replies(&self) -> usize {
        MOST_REPLIES
    }
}

/// Why a host gave no answer.
#[derive(Debug)]
pub enum HostFailure {
    /// It is gone with all that it kept; others can take over.
    Lost(String),
    /// The work failed, as it would anywhere.
    Failed(Error),
}

/// What a host is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum HostRequest {
    /// What the split must know of all rows: a `Vec<Subtree<Survey>>`.
    Survey(SurveyKind),
    /// Reads the rows and fits the encoder: a `FitReply`, with the hashes of the rows that were sampled.
    Fit(Split),
    /// The rows that were sampled and whose hashes are not greater than this: a `Vec<Subtree<RowSample>>`.
    Sample(u64),
    /// Takes over what the first reading of all hosts came to: nothing.
    Prepare(PreparedForm),
    /// Makes states: nothing.
    Start {
        name: String,
        #[serde(with = "serde_bytes")]
        start: Vec<u8>,
        part: Part,
    },
    /// Runs a pass: its reply.
    Pass(PassRequest),
    /// Runs a pass of this number and keeps the reply until the next one: nothing.
    Keep(u64, PassRequest),
    /// The reply that it keeps of the pass of this number, merged with those that the hosts at some addresses keep: a
    /// `MergedReply`.
    Merge(u64, Vec<ByteBuf>),
    /// Gives up the states: nothing.
    DropStates,
}

/// What some hosts keep of a pass.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct MergedReply {
    #[serde(with = "serde_bytes")]
    pub(super) reply: Vec<u8>,
    /// Which of the addresses it did not reach.
    pub(super) missed: Vec<usize>,
}

/// What a host answers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HostReply {
    /// What it cost since the last reply.
    pub(super) cost: Cost,
    #[serde(with = "serde_bytes")]
    pub(super) reply: Vec<u8>,
}

/// What the first reading found in a host's partitions.
#[derive(Serialize, Deserialize)]
pub(super) struct FitReply {
    pub(super) subtrees: Vec<Subtree<FitPartial>>,
    pub(super) of_chunk: SamplesOfChunk,
}

/// What a host replies to a survey.
pub(super) type SurveyReply = Vec<Subtree<Survey>>;

/// [`Prepared`] between machines.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PreparedForm {
    split: Split,
    #[serde(with = "serde_bytes")]
    encoder: Vec<u8>,
    #[serde(with = "serde_bytes")]
    target: Vec<u8>,
    class_weights: Option<Vec<f64>>,
    n_samples: [u64; 2],
    n_dropped: u64,
    of_chunk: SamplesOfChunk,
}

impl PreparedForm {
    pub(super) fn of(prepared: &Prepared) -> Result<PreparedForm> {
        Ok(PreparedForm {
            split: prepared.split.clone(),
            encoder: to_json(&prepared.encoder)?,
            target: to_json(&prepared.target)?,
            class_weights: prepared.class_weights.clone(),
            n_samples: prepared.n_samples,
            n_dropped: prepared.n_dropped,
            of_chunk: prepared.of_chunk.clone(),
        })
    }

    /// Without the sample of rows, which only the coordinator needs.
    pub(super) fn prepared(self) -> Result<Prepared> {
        Ok(Prepared {
            split: self.split,
            encoder: from_json(&self.encoder)?,
            sample: None,
            target: from_json(&self.target)?,
            class_weights: self.class_weights,
            n_samples: self.n_samples,
            n_dropped: self.n_dropped,
            of_chunk: self.of_chunk,
        })
    }
}

fn to_json<T: Serialize>(value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| unreadable(&source))
}

fn from_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| unreadable(&source))
}

fn unreadable(source: &serde_json::Error) -> Error {
    Error::Internal {
        what: format!("an encoder cannot be sent: {source}"),
    }
}
