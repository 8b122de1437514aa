//! The warehouse: one root URL and the object store that all of the engine's files live in.
//!
//! A path or URL flows in once, at start; everything else asks this type for stores and URLs. It never interprets a
//! path that SQL names: that is `Locations`.

use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode};
use url::Url;

use crate::catalog::CATALOG_FOLDER;
use crate::durable_store::DurableStore;
use crate::error::{Error, Result};
use crate::locations::remote_url;
use crate::passwords::random;
use crate::stores::{StoreKind, StoreOptions, Stores, shown};
use crate::tables::enum_mark::EnumTypes;
use crate::tables::register_log_stores;

/// Where coordinators of clusters write what their workers must find: in the log's folder, which SQL neither reads nor
/// writes, so that who knows the content reads the warehouse as the engine does.
pub(crate) const PROBES: &str = "catalog/probes";
/// Where earlier builds wrote it, beside files of users.
pub(crate) const EARLIER_PROBES: &str = "cluster";

/// The root of everything that an engine keeps.
#[derive(Debug)]
pub struct Warehouse {
    url: Url,
    /// Paths relative to `url`.
    store: Arc<dyn ObjectStore>,
    /// Paths relative to the root of `url`'s scheme and authority, as table formats address them.
    root_store: Arc<dyn ObjectStore>,
    local_root: Option<PathBuf>,
    stores: Arc<Stores>,
    types: Arc<EnumTypes>,
}

impl Warehouse {
    /// Opens a warehouse with the environment's secrets and no cache. See `open_with`.
    pub async fn open(location: &str) -> Result<Arc<Self>> {
        Self::open_with(location, StoreOptions::default()).await
    }

    /// Fails if a local warehouse is not there. Errors: `LocationNotFound`, `InvalidLocation`.
    pub fn require(location: &str) -> Result<()> {
        match remote_url(location)?.is_some() || local_path(location)?.is_dir() {
            true => Ok(()),
            false => Err(Error::LocationNotFound {
                location: location.into(),
            }),
        }
    }

    /// Opens a warehouse, and creates its folder if it is a local one that is absent.
    ///
    /// `location` is a path or a URL of a store that can be written. A warehouse in a store is reached with the secrets
    /// of the environment or the machine's instance: the catalog, which holds all others, lies in it.
    /// Errors: `UnsupportedScheme` for another URL, `InvalidLocation`, `StoreConfiguration`, `Io`.
    pub async fn open_with(location: &str, options: StoreOptions) -> Result<Arc<Self>> {
        register_log_stores();
        let stores = Stores::new(options);
        if let Some(url) = remote_url(location)? {
            return Self::open_remote(url.to_url(), stores);
        }
        let path = local_path(location)?;
        tokio::fs::create_dir_all(&path)
            .await
            .map_err(Error::from_io)?;
        let path = tokio::fs::canonicalize(&path)
            .await
            .map_err(Error::from_io)?;
        let url = Url::from_directory_path(&path).map_err(|()| Error::InvalidLocation {
            location: location.into(),
        })?;
        // Dropped tables and models shall not leave empty folders behind.
        let store = LocalFileSystem::new_with_prefix(&path)?.with_automatic_cleanup(true);
        Ok(Arc::new(Self {
            store: Arc::new(DurableStore::with_private(store, CATALOG_FOLDER)),
            root_store: stores.root_store(&url)?,
            url,
            local_root: Some(path),
            stores,
            types: Arc::default(),
        }))
    }

    fn open_remote(mut url: Url, stores: Arc<Stores>) -> Result<Arc<Self>> {
        if StoreKind::of_scheme(url.scheme()) == Some(StoreKind::Http) {
            return Err(Error::UnsupportedScheme {
                scheme: url.scheme().into(),
                location: url.into(),
            });
        }
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        let root_store = stores.root_store(&url)?;
        let prefix = object_store::path::Path::from_url_path(url.path());
        let prefix = prefix.map_err(|_| Error::InvalidLocation {
            location: shown(&url),
        })?;
        Ok(Arc::new(Self {
            store: Arc::new(PrefixStore::new(Arc::clone(&root_store), prefix)),
            root_store,
            url,
            local_root: None,
            stores,
            types: Arc::default(),
        }))
    }

    /// The root, with a slash at its end.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// The store whose paths are relative to the root.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The stores of the engine.
    pub fn stores(&self) -> &Arc<Stores> {
        &self.stores
    }

    /// The enums that its catalog defines.
    pub(crate) fn types(&self) -> &Arc<EnumTypes> {
        &self.types
    }

    /// Whether the warehouse is a folder of this machine.
    pub fn is_local(&self) -> bool {
        self.local_root.is_some()
    }

    /// Writes a file that shows another machine that it found this warehouse: its name and its content. As long as machines
    /// may look for it, it is to be written again every `LIFE_SIGN_INTERVAL`, so that `auspex catalog gc` spares it.
    pub async fn write_probe(&self) -> Result<(String, String)> {
        let (mut name, mut content) = ([0; 8], [0; 16]);
        random(&mut name)?;
        random(&mut content)?;
        let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
        let name = format!("{PROBES}/{}.probe", hex(&name));
        let content = hex(&content);
        let path = object_store::path::Path::from(name.as_str());
        self.store
            .put_opts(&path, content.clone().into(), PutMode::Create.into())
            .await?;
        Ok((name, content))
    }

    /// Writes the file again.
    pub async fn renew_probe(&self, name: &str, content: &str) -> Result<()> {
        let path = object_store::path::Path::from(name);
        self.store.put(&path, content.to_owned().into()).await?;
        Ok(())
    }

    /// Whether the file is there now.
    pub async fn has_probe(&self, name: &str) -> Result<bool> {
        match self.store.head(&object_store::path::Path::from(name)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the file.
    pub async fn remove_probe(&self, name: &str) -> Result<()> {
        let path = object_store::path::Path::from(name);
        match self.store.delete(&path).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a path is that of such a file.
    pub(crate) fn is_probe(path: &str) -> bool {
        let places = [PROBES, EARLIER_PROBES];
        let name = places.iter().find_map(|place| path.strip_prefix(place));
        let name = name.and_then(|name| name.strip_prefix('/')?.strip_suffix(".probe"));
        name.is_some_and(|name| name.len() == 16 && name.bytes().all(|b| b.is_ascii_hexdigit()))
    }

    /// What is in the file that another machine wrote into a warehouse; `None`: it is not there. A local folder is not made.
    pub async fn read_probe(
        location: &str,
        options: StoreOptions,
        name: &str,
    ) -> Result<Option<String>> {
        let is_absent = remote_url(location)?.is_none() && !local_path(location)?.is_dir();
        if is_absent || !Self::is_probe(name) {
            return Ok(None);
        }
        let warehouse = Self::open_with(location, options).await?;
        let path = object_store::path::Path::from(name);
        match warehouse.store.get(&path).await {
            Ok(found) => {
                let content = found.bytes().await?;
                Ok(Some(String::from_utf8_lossy(&content).into_owned()))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The store that table formats address with the whole path of their URL.
    pub(crate) fn root_store(&self) -> &Arc<dyn ObjectStore> {
        &self.root_store
    }

    /// The root as a path, for a warehouse on local disk.
    pub(crate) fn local_root(&self) -> Option<&FilePath> {
        self.local_root.as_deref()
    }

    /// The URL of a folder of the warehouse.
    pub(crate) fn folder_url(&self, folder: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}{folder}/", self.url.path()));
        url
    }

    /// The same warehouse with other stores, to test what happens when stores fail.
    #[cfg(test)]
    pub(crate) fn with_stores(
        &self,
        store: Arc<dyn ObjectStore>,
        root_store: Arc<dyn ObjectStore>,
    ) -> Arc<Self> {
        let (url, local_root) = (self.url.clone(), self.local_root.clone());
        Arc::new(Self {
            url,
            store,
            root_store,
            local_root,
            stores: Arc::clone(&self.stores),
            types: Arc::clone(&self.types),
        })
    }
}

/// The path that a location means: itself, or that of a `file://` URL.
pub(crate) fn local_path(location: &str) -> Result<PathBuf> {
    let invalid = || Error::InvalidLocation {
        location: location.into(),
    };
    if location.is_empty() || location.contains('\0') {
        return Err(invalid());
    }
    if !location.contains("://") && !location.starts_with("file:") {
        return Ok(PathBuf::from(location));
    }
    let url = Url::parse(location).map_err(|_| invalid())?;
    match url.scheme() {
        "file" => url.to_file_path().map_err(|()| invalid()),
        scheme => Err(Error::UnsupportedScheme {
            scheme: scheme.into(),
            location: shown(&url),
        }),
    }
}

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;

    #[tokio::test]
    async fn opening_creates_the_folder_and_takes_paths_and_urls() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a b/warehouse");
        let by_path = Warehouse::open(path.to_str().unwrap()).await.unwrap();
        assert!(path.is_dir());
        let by_url = Warehouse::open(by_path.url().as_str()).await.unwrap();
        assert_eq!(by_path.url(), by_url.url());
        assert!(by_path.url().as_str().ends_with("/a%20b/warehouse/"));
    }

    #[tokio::test]
    async fn other_schemes_are_named_without_their_password() {
        let error = Warehouse::open("s3://me:secret@bucket/x")
            .await
            .unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
        assert!(error.to_string().contains("bucket") && !error.to_string().contains("secret"));
        for url in ["ftp://host/x", "https://host/x"] {
            let error = Warehouse::open(url).await.unwrap_err();
            assert_eq!(error.sqlstate(), "0A000", "{error}");
        }
        assert_eq!(Warehouse::open("").await.unwrap_err().sqlstate(), "22023");
    }

    #[tokio::test]
    async fn a_file_in_the_way_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "x").unwrap();
        let error = Warehouse::open(path.to_str().unwrap()).await.unwrap_err();
        assert_eq!(error.sqlstate(), "58030");
    }

    /// The catalog and the model store rely on this: a put with `Create` shows the whole object or nothing.
    #[tokio::test]
    async fn a_create_put_is_atomic_and_exclusive() {
        let dir = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(dir.path().to_str().unwrap()).await.unwrap();
        let path = Path::from("x/y.json");
        let bytes = vec![7_u8; 8 << 20];
        let reader = {
            let store = Arc::clone(warehouse.store());
            let path = path.clone();
            tokio::spawn(async move {
                loop {
                    match store.get(&path).await {
                        Ok(found) => return found.bytes().await.unwrap().len(),
                        Err(object_store::Error::NotFound { .. }) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        };
        let puts = (0..8).map(|_| {
            let (store, path, bytes) = (warehouse.store(), path.clone(), bytes.clone());
            async move {
                store
                    .put_opts(&path, bytes.into(), PutMode::Create.into())
                    .await
            }
        });
        let won = futures::future::join_all(puts)
            .await
            .iter()
            .filter(|put| put.is_ok())
            .count();
        assert_eq!(won, 1);
        assert_eq!(reader.await.unwrap(), bytes.len());
        let left: Vec<_> = std::fs::read_dir(dir.path().join("x")).unwrap().collect();
        assert_eq!(left.len(), 1, "no staging file is left");
    }
}
