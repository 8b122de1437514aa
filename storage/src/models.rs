//! Model versions: a manifest and a tensor file each, published at once or not at all.
//!
//! Bytes and JSON flow in and out. The tensors are put first, under their hash, where nobody looks for them until a
//! manifest names them; the manifest is put with create-if-absent and is the moment of publication. What the manifest
//! says beyond its tensors is the planner's.

use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::error::{Error, Result};
use crate::warehouse::Warehouse;

/// The versions of all models of a warehouse.
#[derive(Debug)]
pub struct ModelStore {
    warehouse: Arc<Warehouse>,
}

/// What a publication made.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    /// The version's number.
    pub version: u64,
    /// The hash of the tensor file, in lower-case hexadecimal digits.
    pub sha256: String,
    /// The size of the tensor file.
    pub bytes: u64,
    /// The manifest as it was put.
    pub manifest: Value,
}

impl ModelStore {
    /// The store of a warehouse.
    pub fn new(warehouse: Arc<Warehouse>) -> Self {
        Self { warehouse }
    }

    /// Publishes a version; `manifest` is an object, to which `"tensors": {"sha256", "bytes"}` is added.
    ///
    /// Errors: `VersionTaken` if another publication has the number, `DiskFull`, `Io`; after any of them no version
    /// shows.
    pub async fn publish(
        &self,
        model_id: &str,
        version: u64,
        manifest: Value,
        tensors: Bytes,
    ) -> Result<Published> {
        let Value::Object(mut fields) = manifest else {
            return Err(Error::Internal {
                what: "a manifest must be an object".into(),
            });
        };
        let bytes = tensors.len() as u64;
        let sha256 = hash(&tensors);
        fields.insert("tensors".into(), json!({"sha256": sha256, "bytes": bytes}));
        let manifest = Value::Object(fields);
        // A blob that is there already has the same hash, hence the same bytes.
        let blob = blob_path(model_id, &sha256);
        self.create(&blob, tensors.clone()).await?;
        let text = serde_json::to_vec_pretty(&manifest).map_err(|e| Error::Internal {
            what: format!("cannot write a manifest: {e}"),
        })?;
        if !self
            .create(&manifest_path(model_id, version), text.into())
            .await?
        {
            return Err(Error::VersionTaken {
                model_id: model_id.into(),
                version,
            });
        }
        // An old one that no version named may have been removed as garbage meanwhile; now that one does, it stays.
        if let Err(object_store::Error::NotFound { .. }) = self.store().head(&blob).await {
            self.create(&blob, tensors).await?;
        }
        Ok(Published {
            version,
            sha256,
            bytes,
            manifest,
        })
    }

    /// The published versions of a model, in ascending order.
    pub async fn versions(&self, model_id: &str) -> Result<Vec<u64>> {
        let folder = folder(model_id);
        let files = self.files(&folder).await?;
        let mut versions: Vec<u64> = files
            .iter()
            .filter_map(|file| manifest_version(&folder, file))
            .collect();
        versions.sort_unstable();
        Ok(versions)
    }

    /// The manifest of a version. Errors: `UndefinedVersion`, `Corrupt`.
    pub async fn manifest(&self, model_id: &str, version: u64) -> Result<Value> {
        let path = manifest_path(model_id, version);
        let undefined = || Error::UndefinedVersion {
            model_id: model_id.into(),
            version,
        };
        let bytes = self.get(&path).await?.ok_or_else(undefined)?;
        serde_json::from_slice(&bytes).map_err(|e| corrupt(&path, e))
    }

    /// The tensor file that a manifest names. Errors: `Corrupt` if it is absent or has another hash.
    pub async fn tensors(&self, model_id: &str, manifest: &Value) -> Result<Bytes> {
        let sha256 = manifest.pointer("/tensors/sha256").and_then(Value::as_str);
        let is_hash = |text: &&str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let sha256 = sha256.filter(is_hash).ok_or_else(|| {
            corrupt(
                &folder(model_id),
                "a manifest does not name its tensors by their hash",
            )
        })?;
        let path = blob_path(model_id, sha256);
        let bytes = self
            .get(&path)
            .await?
            .ok_or_else(|| corrupt(&path, "it is missing"))?;
        let found = hash(&bytes);
        match found == sha256 {
            true => Ok(bytes),
            false => Err(corrupt(&path, format!("its content has the hash {found}"))),
        }
    }

    /// Removes all versions of a dropped model, manifests first, so that no version ever lacks its tensors.
    pub async fn remove(&self, model_id: &str) -> Result<()> {
        let folder = folder(model_id);
        let files = self.files(&folder).await?;
        let (manifests, blobs): (Vec<Path>, Vec<Path>) = files
            .into_iter()
            .partition(|file| manifest_version(&folder, file).is_some());
        for file in manifests.iter().chain(&blobs) {
            match self.store().delete(file).await {
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
        match self
            .store()
            .put_opts(path, bytes.into(), PutMode::Create.into())
            .await
        {
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

fn folder(model_id: &str) -> Path {
    Path::from_iter(["models", model_id])
}

fn blob_path(model_id: &str, sha256: &str) -> Path {
    folder(model_id)
        .join("blobs")
        .join(format!("{sha256}.safetensors"))
}

fn manifest_path(model_id: &str, version: u64) -> Path {
    folder(model_id)
        .join(version.to_string())
        .join("manifest.json")
}

/// The version whose manifest a file is.
fn manifest_version(folder: &Path, file: &Path) -> Option<u64> {
    let mut parts = file.prefix_match(folder)?;
    let version = parts.next()?.as_ref().parse().ok()?;
    let is_manifest = parts.next()?.as_ref() == "manifest.json" && parts.next().is_none();
    is_manifest.then_some(version)
}

fn hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn corrupt(path: &Path, reason: impl ToString) -> Error {
    Error::Corrupt {
        file: path.to_string(),
        reason: reason.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::full_store::FullStore;

    async fn store() -> (tempfile::TempDir, ModelStore) {
        let dir = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(dir.path().to_str().unwrap()).await.unwrap();
        (dir, ModelStore::new(warehouse))
    }

    fn tensors(text: &str) -> Bytes {
        Bytes::from(text.to_owned())
    }

    #[tokio::test]
    async fn a_version_comes_back_whole() {
        let (_dir, models) = store().await;
        for version in [1, 2, 10] {
            let published = models
                .publish("m", version, json!({"seed": 7}), tensors("abc"))
                .await
                .unwrap();
            assert_eq!(published.bytes, 3);
            assert!(
                published.sha256.starts_with("ba7816bf"),
                "{}",
                published.sha256
            );
            let manifest = models.manifest("m", version).await.unwrap();
            assert_eq!(manifest, published.manifest);
            assert_eq!(manifest["seed"], 7);
            assert_eq!(
                models.tensors("m", &manifest).await.unwrap(),
                tensors("abc")
            );
        }
        assert_eq!(models.versions("m").await.unwrap(), [1, 2, 10]);
        assert_eq!(models.versions("other").await.unwrap(), [] as [u64; 0]);
        assert_eq!(
            models.manifest("m", 3).await.unwrap_err().sqlstate(),
            "42704"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_of_eight_publishers_wins_and_stays_whole() {
        let (_dir, models) = store().await;
        let models = Arc::new(models);
        let mut tasks = tokio::task::JoinSet::new();
        for i in 0..8 {
            let models = Arc::clone(&models);
            tasks.spawn(async move {
                models
                    .publish("m", 1, json!({"i": i}), tensors(&format!("tensors {i}")))
                    .await
            });
        }
        let results = tasks.join_all().await;
        let won: Vec<&Published> = results.iter().flatten().collect();
        assert_eq!(won.len(), 1);
        for error in results.iter().filter_map(|result| result.as_ref().err()) {
            assert!(
                matches!(error, Error::VersionTaken { version: 1, .. }),
                "{error:?}"
            );
            assert_eq!(error.sqlstate(), "40001");
        }
        let manifest = models.manifest("m", 1).await.unwrap();
        assert_eq!(manifest, won[0].manifest);
        let expected = format!("tensors {}", manifest["i"]);
        assert_eq!(models.tensors("m", &manifest).await.unwrap(), expected);
    }

    #[tokio::test]
    async fn tensors_without_a_manifest_are_invisible() {
        let (dir, models) = store().await;
        // What a crash between the two puts leaves, and one in the middle of a put.
        let blobs = dir.path().join("models/m/blobs");
        std::fs::create_dir_all(&blobs).unwrap();
        std::fs::write(blobs.join(format!("{}.safetensors", hash(b"abc"))), "abc").unwrap();
        std::fs::create_dir_all(dir.path().join("models/m/1")).unwrap();
        std::fs::write(dir.path().join("models/m/1/manifest.json#1"), "{\"ha").unwrap();
        assert_eq!(models.versions("m").await.unwrap(), [] as [u64; 0]);
        assert_eq!(
            models.manifest("m", 1).await.unwrap_err().sqlstate(),
            "42704"
        );
        models
            .publish("m", 1, json!({}), tensors("abc"))
            .await
            .unwrap();
        assert_eq!(models.versions("m").await.unwrap(), [1]);
    }

    #[tokio::test]
    async fn changed_or_missing_tensors_are_found() {
        let (dir, models) = store().await;
        let published = models
            .publish("m", 1, json!({}), tensors("abc"))
            .await
            .unwrap();
        let blob = dir
            .path()
            .join(format!("models/m/blobs/{}.safetensors", published.sha256));
        std::fs::write(&blob, "abd").unwrap();
        let error = models.tensors("m", &published.manifest).await.unwrap_err();
        assert_eq!(error.sqlstate(), "XX001");
        assert!(error.to_string().contains(&published.sha256));
        std::fs::remove_file(&blob).unwrap();
        assert_eq!(
            models
                .tensors("m", &published.manifest)
                .await
                .unwrap_err()
                .sqlstate(),
            "XX001"
        );
        for manifest in [json!({}), json!({"tensors": {"sha256": "../../x"}})] {
            assert_eq!(
                models.tensors("m", &manifest).await.unwrap_err().sqlstate(),
                "XX001"
            );
        }
        std::fs::write(dir.path().join("models/m/1/manifest.json"), "{").unwrap();
        assert_eq!(
            models.manifest("m", 1).await.unwrap_err().sqlstate(),
            "XX001"
        );
    }

    #[tokio::test]
    async fn removing_leaves_nothing() {
        let (dir, models) = store().await;
        models
            .publish("m", 1, json!({}), tensors("abc"))
            .await
            .unwrap();
        models
            .publish("n", 1, json!({}), tensors("abc"))
            .await
            .unwrap();
        models.remove("m").await.unwrap();
        models.remove("m").await.unwrap();
        assert_eq!(models.versions("m").await.unwrap(), [] as [u64; 0]);
        assert!(!dir.path().join("models/m").exists());
        assert_eq!(models.versions("n").await.unwrap(), [1]);
    }

    #[tokio::test]
    async fn a_full_disk_is_said() {
        let (_dir, models) = store().await;
        models
            .publish("m", 1, json!({}), tensors("abc"))
            .await
            .unwrap();
        let warehouse = &models.warehouse;
        let full = FullStore::over(warehouse.store());
        let full = ModelStore::new(warehouse.with_stores(full, Arc::clone(warehouse.root_store())));
        let error = full
            .publish("m", 2, json!({}), tensors("abc"))
            .await
            .unwrap_err();
        assert_eq!(error.sqlstate(), "53100", "{error:?}");
        assert_eq!(full.versions("m").await.unwrap(), [1]);
    }

    #[tokio::test]
    async fn a_manifest_must_be_an_object() {
        let (_dir, models) = store().await;
        let error = models
            .publish("m", 1, json!([1]), tensors("abc"))
            .await
            .unwrap_err();
        assert_eq!(error.sqlstate(), "XX000");
    }
}
