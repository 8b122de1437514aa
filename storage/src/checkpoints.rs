//! Checkpoints of trainings: what a training that its server did not end has come to so far.
//!
//! Bytes and JSON flow in and out. A run has a folder beside the models: `head.json` says what it trains, and numbered
//! parts hold its records, each put once. What they say is the planner's.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::warehouse::Warehouse;

/// The folder of checkpoints among the folders of models.
pub(crate) const CHECKPOINTS: &str = "checkpoints";

/// Bytes of a part's hash, which stands before its content.
const HASH_BYTES: usize = 32;

/// The checkpoints of a warehouse.
#[derive(Debug)]
pub struct CheckpointStore {
    warehouse: Arc<Warehouse>,
}

/// A run that has a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckpointedRun {
    /// The run's identity.
    pub run: String,
    /// What it trains.
    pub head: Value,
}

impl CheckpointStore {
    /// The checkpoints of a warehouse.
    pub fn new(warehouse: Arc<Warehouse>) -> CheckpointStore {
        CheckpointStore { warehouse }
    }

    /// Puts the head of a run; one that is there stays.
    pub async fn put_head(&self, run: &str, head: &Value) -> Result<()> {
        let text = serde_json::to_vec_pretty(head).map_err(|e| Error::Internal {
            what: format!("cannot write the head of a checkpoint: {e}"),
        })?;
        self.create(&head_path(run), text.into()).await?;
        Ok(())
    }

    /// Puts a part of a run; `false`: another server has put one of this number.
    pub async fn put_part(&self, run: &str, number: u64, content: &[u8]) -> Result<bool> {
        let mut bytes = Vec::with_capacity(HASH_BYTES + content.len());
        bytes.extend_from_slice(&Sha256::digest(content));
        bytes.extend_from_slice(content);
        self.create(&part_path(run, number), bytes.into()).await
    }

    /// The runs that have a checkpoint, in the order of their names.
    pub async fn runs(&self) -> Result<Vec<CheckpointedRun>> {
        let mut runs = Vec::new();
        for file in self.files(&root()).await? {
            if file.filename() != Some("head.json") {
                continue;
            }
            let run = file.parts().nth(2).map(|part| part.as_ref().to_owned());
            // A head may go between the list and the reading.
            let (Some(run), Some(bytes)) = (run, self.get(&file).await?) else {
                continue;
            };
            let head = serde_json::from_slice(&bytes).map_err(|e| Error::Corrupt {
                file: file.to_string(),
                reason: e.to_string(),
            })?;
            runs.push(CheckpointedRun { run, head });
        }
        runs.sort_by(|a, b| a.run.cmp(&b.run));
        Ok(runs)
    }

    /// The parts of a run in order, as far as each follows its predecessor and is whole.
    pub async fn parts(&self, run: &str) -> Result<Vec<Bytes>> {
        let numbered = |file: Path| Some((part_number(&file)?, file));
        let files = self.files(&folder(run)).await?;
        let files: BTreeMap<u64, Path> = files.into_iter().filter_map(numbered).collect();
        let mut parts = Vec::new();
        for (number, file) in (1..).zip(&files) {
            if *file.0 != number {
                break;
            }
            let Some(bytes) = self.get(file.1).await? else {
                break;
            };
            let is_whole = bytes.len() >= HASH_BYTES
                && Sha256::digest(&bytes[HASH_BYTES..])[..] == bytes[..HASH_BYTES];
            if !is_whole {
                break;
            }
            parts.push(bytes.slice(HASH_BYTES..));
        }
        Ok(parts)
    }

    /// Removes the checkpoint of a run, its head first, so that nobody goes on with half of it.
    pub async fn remove(&self, run: &str) -> Result<()> {
        let mut files = self.files(&folder(run)).await?;
        files.sort_by_key(part_number);
        for file in files {
            match self.store().delete(&file).await {
                Ok(()) | Err(object_store::Error::NotFound { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn store(&self) -> &dyn ObjectStore {
        self.warehouse.store().as_ref()
    }

    async fn files(&self, folder: &Path) -> Result<Vec<Path>> {
        let list = self.store().list(Some(folder)).map_ok(|file| file.location);
        Ok(list.try_collect().await?)
    }

    /// `false`: the object is there already.
    async fn create(&self, path: &Path, bytes: Bytes) -> Result<bool> {
        let put = self
            .store()
            .put_opts(path, bytes.into(), PutMode::Create.into());
        match put.await {
            Ok(_) => Ok(true),
            Err(object_store::Error::AlreadyExists { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    async fn get(&self, path: &Path) -> Result<Option<Bytes>> {
        match self.store().get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

fn root() -> Path {
    Path::from_iter(["models", CHECKPOINTS])
}

fn folder(run: &str) -> Path {
    root().join(run)
}

fn head_path(run: &str) -> Path {
    folder(run).join("head.json")
}

fn part_path(run: &str, number: u64) -> Path {
    folder(run).join(format!("{number:08}.part"))
}

/// `None` for the head.
fn part_number(file: &Path) -> Option<u64> {
    file.filename()?.strip_suffix(".part")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    async fn store() -> (tempfile::TempDir, CheckpointStore) {
        let dir = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(dir.path().to_str().unwrap()).await.unwrap();
        (dir, CheckpointStore::new(warehouse))
    }

    #[tokio::test]
    async fn a_run_comes_back_as_far_as_it_is_whole() {
        let (dir, checkpoints) = store().await;
        assert_eq!(checkpoints.runs().await.unwrap(), []);
        checkpoints
            .put_head("a", &json!({"model": "m"}))
            .await
            .unwrap();
        for number in 1..=4_u8 {
            let part = [number; 5];
            let put = checkpoints.put_part("a", number.into(), &part);
            assert!(put.await.unwrap());
        }
        assert!(!checkpoints.put_part("a", 4, b"other").await.unwrap());
        checkpoints.put_part("b", 1, b"no head").await.unwrap();
        let runs = checkpoints.runs().await.unwrap();
        assert_eq!(runs.len(), 1);
        assert_eq!(
            (runs[0].run.as_str(), &runs[0].head["model"]),
            ("a", &json!("m"))
        );
        let parts = checkpoints.parts("a").await.unwrap();
        let wanted = (1..=4_u8).map(|number| vec![number; 5]);
        assert!(parts.iter().eq(wanted.collect::<Vec<_>>().iter()));
        let part = dir.path().join("models/checkpoints/a/00000003.part");
        std::fs::write(&part, [9; 40]).unwrap();
        assert_eq!(checkpoints.parts("a").await.unwrap().len(), 2);
        std::fs::remove_file(part).unwrap();
        assert_eq!(checkpoints.parts("a").await.unwrap().len(), 2);
        checkpoints.remove("a").await.unwrap();
        checkpoints.remove("a").await.unwrap();
        assert_eq!(checkpoints.runs().await.unwrap(), []);
        assert!(checkpoints.parts("a").await.unwrap().is_empty());
        assert_eq!(checkpoints.parts("b").await.unwrap().len(), 1);
    }
}
