//! A store on a full disk, for tests: it reads, and fails every put the way `LocalFileSystem` does.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, ObjectStore, Result};

use crate::stores::{Layer, Layered, Request};

/// The store whose disk is full.
#[derive(Debug)]
pub(crate) struct FullStore(Arc<dyn ObjectStore>);

impl FullStore {
    pub(crate) fn over(store: &Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(Layered::new(Self(Arc::clone(store))))
    }
}

impl Layer for FullStore {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.0)
    }

    fn check(&self, request: Request, _: &Path) -> Result<()> {
        const ENOSPC: i32 = 28;
        match request {
            Request::Read | Request::Delete => Ok(()),
            Request::Write => Err(Error::Generic {
                store: "test",
                source: Box::new(std::io::Error::from_raw_os_error(ENOSPC)),
            }),
        }
    }
}
