//! What stores fail with: the library's errors, under the URL of their object.
//!
//! An error and a path flow in, the same variant flows out, so that callers see what they matched before; where the
//! variant has no place for a name, a `StoreFailure` inside holds it.

use object_store::Error as StoreError;
use object_store::path::Path;
use url::Url;

use crate::stores::object_url::url_of;

/// A failure of a store that names its object.
#[derive(Debug, thiserror::Error)]
#[error("{url}: {source}")]
pub(crate) struct StoreFailure {
    pub(crate) url: String,
    pub(crate) source: Box<dyn std::error::Error + Send + Sync>,
}

/// The same error, naming the URL of its object.
pub(crate) fn named(root: &Url, path: &Path, error: StoreError) -> StoreError {
    let url = url_of(root, path);
    match error {
        StoreError::Generic { store, source } => {
            if source.is::<StoreFailure>() {
                return StoreError::Generic { store, source };
            }
            let source = Box::new(StoreFailure { url, source });
            StoreError::Generic { store, source }
        }
        StoreError::NotFound { source, .. } => StoreError::NotFound { path: url, source },
        StoreError::AlreadyExists { source, .. } => StoreError::AlreadyExists { path: url, source },
        StoreError::Precondition { source, .. } => StoreError::Precondition { path: url, source },
        StoreError::PermissionDenied { source, .. } => {
            StoreError::PermissionDenied { path: url, source }
        }
        StoreError::Unauthenticated { source, .. } => {
            StoreError::Unauthenticated { path: url, source }
        }
        other => other,
    }
}
