//! A store that is only read: web servers.
//!
//! Requests that read pass through, all others are refused before they leave the machine.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{Error, ObjectStore, Result};

use crate::stores::layer::{Layer, Request};

/// The store that is read.
#[derive(Debug)]
pub(crate) struct ReadOnly(pub(crate) Arc<dyn ObjectStore>);

impl Layer for ReadOnly {
    fn below(&self, _: &Path) -> Result<&dyn ObjectStore> {
        Ok(&self.0)
    }

    fn check(&self, request: Request, _: &Path) -> Result<()> {
        match request {
            Request::Read => Ok(()),
            Request::Write | Request::Delete => Err(Error::NotSupported {
                source: "web servers are only read".into(),
            }),
        }
    }
}
