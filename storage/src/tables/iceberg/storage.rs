//! The stores as the Iceberg library asks for them: within the locations, and only to read.
//!
//! URLs that a table's metadata name flow in, bytes flow out. A URL outside the locations is refused here.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use iceberg::io::{
    FileIO, FileIOBuilder, FileMetadata, FileRead, FileWrite, InputFile, OutputFile, Storage,
    StorageConfig, StorageFactory,
};
use iceberg::{Error, ErrorKind, Result};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use url::Url;

use crate::locations::Locations;
use crate::stores::ObjectUrl;

/// The library's view of the files that SQL may read.
pub(super) fn file_io(locations: &Arc<Locations>) -> FileIO {
    FileIOBuilder::new(factory(locations)).build()
}

/// The same as the library's catalogs take it.
pub(super) fn factory(locations: &Arc<Locations>) -> Arc<dyn StorageFactory> {
    Arc::new(ConfinedStorage {
        locations: Arc::clone(locations),
    })
}

/// The store's root and the object that a location in metadata means. The format's locations are plain texts: what is
/// special in a URL is a character of the name.
///
/// Errors: `InvalidLocation`.
pub(super) fn object_of(location: &str) -> crate::error::Result<(Url, Path)> {
    let invalid = || crate::error::Error::InvalidLocation {
        location: location.into(),
    };
    let (root, path) = match location.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
            (format!("{scheme}://{host}/"), path)
        }
        // Writers on local disk may name a file by its path, or with the scheme alone.
        None => {
            let path = location.strip_prefix("file:").unwrap_or(location);
            let path = path.strip_prefix('/').ok_or_else(invalid)?;
            ("file:///".to_owned(), path)
        }
    };
    let root = Url::parse(&root).map_err(|_| invalid())?;
    let place = ObjectUrl::of(&root)?;
    let path = Path::parse(path).map_err(|_| invalid())?;
    Ok((place.root().clone(), path))
}

/// A URL as the format's metadata would write it.
pub(super) fn location_of(url: &Url) -> crate::error::Result<String> {
    let place = ObjectUrl::of(url)?;
    Ok(format!("{}{}", place.root(), place.path()))
}

#[derive(Debug, Clone)]
struct ConfinedStorage {
    locations: Arc<Locations>,
}

// The library wants its storage to be sent to other processes, which ours never is.
impl Serialize for ConfinedStorage {
    fn serialize<S: Serializer>(&self, _: S) -> std::result::Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("stores stay in their process"))
    }
}

impl<'de> Deserialize<'de> for ConfinedStorage {
    fn deserialize<D: Deserializer<'de>>(_: D) -> std::result::Result<Self, D::Error> {
        Err(serde::de::Error::custom("stores stay in their process"))
    }
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(ErrorKind::Unexpected, error.to_string()).with_source(error)
}

fn read_only() -> Error {
    Error::new(
        ErrorKind::FeatureUnsupported,
        "Iceberg tables are only read",
    )
}

impl ConfinedStorage {
    fn find(&self, path: &str) -> Result<(Arc<dyn ObjectStore>, Path)> {
        let named = object_of(path).map_err(failed)?;
        let store = self.locations.confine(&named.0).map_err(failed)?;
        Ok((store, named.1))
    }
}

#[typetag::serde]
impl StorageFactory for ConfinedStorage {
    fn build(&self, _: &StorageConfig) -> Result<Arc<dyn Storage>> {
        Ok(Arc::new(self.clone()))
    }
}

#[async_trait]
#[typetag::serde]
impl Storage for ConfinedStorage {
    async fn exists(&self, path: &str) -> Result<bool> {
        let (store, path) = self.find(path)?;
        match store.head(&path).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    async fn metadata(&self, path: &str) -> Result<FileMetadata> {
        let (store, path) = self.find(path)?;
        let size = store.head(&path).await.map_err(failed)?.size;
        Ok(FileMetadata { size })
    }

    async fn read(&self, path: &str) -> Result<Bytes> {
        let (store, path) = self.find(path)?;
        let found = store.get(&path).await.map_err(failed)?;
        found.bytes().await.map_err(failed)
    }

    async fn reader(&self, path: &str) -> Result<Box<dyn FileRead>> {
        let (store, path) = self.find(path)?;
        Ok(Box::new(Reader { store, path }))
    }

    async fn write(&self, _: &str, _: Bytes) -> Result<()> {
        Err(read_only())
    }

    async fn writer(&self, _: &str) -> Result<Box<dyn FileWrite>> {
        Err(read_only())
    }

    async fn delete(&self, _: &str) -> Result<()> {
        Err(read_only())
    }

    async fn delete_prefix(&self, _: &str) -> Result<()> {
        Err(read_only())
    }

    async fn delete_stream(&self, _: BoxStream<'static, String>) -> Result<()> {
        Err(read_only())
    }

    fn new_input(&self, path: &str) -> Result<InputFile> {
        Ok(InputFile::new(Arc::new(self.clone()), path.to_owned()))
    }

    fn new_output(&self, _: &str) -> Result<OutputFile> {
        Err(read_only())
    }
}

struct Reader {
    store: Arc<dyn ObjectStore>,
    path: Path,
}

#[async_trait]
impl FileRead for Reader {
    async fn read(&self, range: Range<u64>) -> Result<Bytes> {
        self.store
            .get_range(&self.path, range)
            .await
            .map_err(failed)
    }
}
