//! A store that shows only what SQL may read.
//!
//! Table formats name their files in their own metadata, which others write. Each request is checked against the
//! locations before it leaves, so that a lying log leads nowhere.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, ObjectStore, Result};
use url::Url;

use crate::locations::Locations;
use crate::stores::{Layer, Request};

/// A host's store within the locations. It is only read.
#[derive(Debug)]
pub(crate) struct Confined {
    locations: Arc<Locations>,
    root: Url,
    inner: Arc<dyn ObjectStore>,
}

impl Confined {
    pub(crate) fn new(locations: Arc<Locations>, root: &Url, inner: Arc<dyn ObjectStore>) -> Self {
        let mut root = root.clone();
        root.set_path("/");
        Self {
            locations,
            root,
            inner,
        }
    }
}

impl Layer for Confined {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.inner)
    }

    fn check(&self, request: Request, path: &Path) -> Result<()> {
        if request != Request::Read {
            return Err(Error::NotSupported {
                source: "tables of others are only read".into(),
            });
        }
        let checked = self.locations.check_object(&self.root, path);
        checked.map_err(|error| Error::Generic {
            store: "confinement",
            source: Box::new(error),
        })
    }
}
