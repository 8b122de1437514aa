//! What a training keeps of itself, so that it can go on after its machine was lost.
//!
//! In: the partials of its passes, and what estimators with states add; out: the same, to a training that goes on. A
//! pass depends on its step and the rows alone, so a partial that is known need not be computed again, whatever the
//! estimator. Knows not where the records are kept.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::training_set::Part;

/// Partials beyond this size are computed again: keeping them would cost more than the pass.
const LARGEST_PARTIAL: usize = 8 << 20;

/// One thing that a training keeps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CheckpointRecord {
    /// What a pass came to.
    Partial {
        /// The hash of its step and part.
        key: [u8; 32],
        /// The partial in its own form.
        bytes: Vec<u8>,
    },
    /// What an estimator adds.
    State {
        /// Whose it is.
        name: String,
        /// In the estimator's form.
        bytes: Vec<u8>,
    },
}

impl CheckpointRecord {
    /// About what it takes in memory.
    pub fn n_bytes(&self) -> usize {
        let (CheckpointRecord::Partial { bytes, .. } | CheckpointRecord::State { bytes, .. }) =
            self;
        size_of::<CheckpointRecord>() + bytes.len()
    }
}

/// Takes records, in order; called between passes, must not block.
pub type RecordSink = Arc<dyn Fn(CheckpointRecord) + Send + Sync>;

/// The records of a training: those of its earlier life, and where new ones go.
pub struct Checkpoints {
    partials: Mutex<BTreeMap<[u8; 32], Vec<u8>>>,
    states: Vec<(String, Vec<u8>)>,
    sink: RecordSink,
}

impl Checkpoints {
    /// A training that goes on where `earlier` ends; a new one has no earlier records.
    pub fn new(earlier: Vec<CheckpointRecord>, sink: RecordSink) -> Checkpoints {
        let (mut partials, mut states) = (BTreeMap::new(), Vec::new());
        for record in earlier {
            match record {
                CheckpointRecord::Partial { key, bytes } => {
                    partials.insert(key, bytes);
                }
                CheckpointRecord::State { name, bytes } => states.push((name, bytes)),
            }
        }
        Checkpoints {
            partials: Mutex::new(partials),
            states,
            sink,
        }
    }

    /// What a pass came to, if it is known.
    pub(crate) fn partial(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        let partials = self.partials.lock();
        partials
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned()
    }

    /// Keeps what a pass came to.
    pub(crate) fn keep_partial(&self, key: [u8; 32], bytes: Vec<u8>) {
        if bytes.len() <= LARGEST_PARTIAL {
            (self.sink)(CheckpointRecord::Partial { key, bytes });
        }
    }

    /// What an estimator added in the training's earlier life, in order.
    pub(crate) fn states<T: DeserializeOwned>(&self, name: &str) -> Result<Vec<T>> {
        let of_name = self.states.iter().filter(|(of, _)| of == name);
        let damaged = |error| Error::Internal {
            what: format!("a checkpoint is damaged: {error}"),
        };
        of_name
            .map(|(_, bytes)| postcard::from_bytes(bytes).map_err(damaged))
            .collect()
    }

    /// Keeps what an estimator adds.
    pub(crate) fn keep_state<T: Serialize>(&self, name: &str, state: &T) -> Result<()> {
        let bytes = postcard::to_allocvec(state).map_err(|error| Error::Internal {
            what: format!("a checkpoint cannot be written: {error}"),
        })?;
        (self.sink)(CheckpointRecord::State {
            name: name.to_owned(),
            bytes,
        });
        Ok(())
    }
}

/// What names a pass: its step with all parameters, and the part that it visits.
pub(crate) fn pass_key(name: &str, step: &[u8], part: Part) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(name.as_bytes());
    hash.update([0, u8::from(part == Part::Evaluation)]);
    hash.update(step);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_that_goes_on_finds_what_it_kept() {
        let kept: Arc<Mutex<Vec<CheckpointRecord>>> = Arc::default();
        let sink: RecordSink = {
            let kept = Arc::clone(&kept);
            Arc::new(move |record| kept.lock().unwrap().push(record))
        };
        let first = Checkpoints::new(Vec::new(), Arc::clone(&sink));
        let key = pass_key("a.step", &[1, 2], Part::Training);
        assert_ne!(key, pass_key("a.step", &[1, 2], Part::Evaluation));
        assert_ne!(key, pass_key("a.step", &[1], Part::Training));
        assert_eq!(first.partial(&key), None);
        first.keep_partial(key, vec![7]);
        first.keep_partial([0; 32], vec![0; LARGEST_PARTIAL + 1]);
        first.keep_state("tree", &(1_u64, 0.5)).unwrap();
        first.keep_state("other", &3_u8).unwrap();
        first.keep_state("tree", &(2_u64, f64::NAN)).unwrap();
        let records = kept.lock().unwrap().clone();
        assert_eq!(records.len(), 4, "a large partial is not kept");
        let second = Checkpoints::new(records, sink);
        assert_eq!(second.partial(&key), Some(vec![7]));
        let states = second.states::<(u64, f64)>("tree").unwrap();
        assert_eq!(states[0], (1, 0.5));
        assert!(states[1].0 == 2 && states[1].1.is_nan());
        assert!(second.states::<(u64, f64)>("other").is_err());
    }
}
