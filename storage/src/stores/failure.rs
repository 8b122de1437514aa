//! What stores fail with: the library's errors, under the URL of their object.
//!
//! An error and a path flow in, the same variant flows out, so that callers see what they matched before; where the
//! variant has no place for a name, a `StoreFailure` inside holds it. Two causes that the library does not tell from a
//! failure get their own variant: a bucket that is not there, and a machine that has no secret to give.

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

/// The failure of a put of which nobody knows whether it was done.
#[derive(Debug, thiserror::Error)]
#[error("{source}")]
pub(crate) struct Unsettled {
    source: Box<dyn std::error::Error + Send + Sync>,
}

impl Unsettled {
    /// The failure of the put of an object.
    pub(crate) fn put(url: String, source: Box<dyn std::error::Error + Send + Sync>) -> StoreError {
        let source = Box::new(Self { source });
        StoreError::Generic {
            store: "warehouse",
            source: Box::new(StoreFailure { url, source }),
        }
    }
}

/// The same error, naming the URL of its object.
pub(crate) fn named(root: &Url, path: &Path, error: StoreError) -> StoreError {
    let url = url_of(root, path);
    match error {
        StoreError::Generic { store, source } => {
            if source.is::<StoreFailure>() {
                return StoreError::Generic { store, source };
            }
            match Lasting::of(source.as_ref()) {
                Some(Lasting::NoBucket) => StoreError::NotFound { path: url, source },
                Some(Lasting::NoSecret) => StoreError::Unauthenticated {
                    path: url,
                    source: format!("no secret is given, and the machine has none: {source}")
                        .into(),
                },
                None => {
                    let source = Box::new(StoreFailure { url, source });
                    StoreError::Generic { store, source }
                }
            }
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

/// What the library calls a failure like any other, and what does not pass by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// The bucket or container is not there.
    NoBucket,
    /// No secret was given, and the machine's instance gives none.
    NoSecret,
}

impl Lasting {
    /// The cause that a failure's text tells; the library has no types for these.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let text = error.to_string();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["NoSuchBucket", "ContainerNotFound"]) {
            return Some(Self::NoBucket);
        }
        // The services of instances, which have one address in every cloud, and what asks them for a token.
        let is_token = says(&["Error performing token request", "://169.254.169.254/"]);
        let is_refused = says(&["status code: 4", "error sending request"]);
        (is_token && is_refused).then_some(Self::NoSecret)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;

    fn sorted(reason: &str) -> Error {
        let root = Url::parse("gs://b/").unwrap();
        let error = StoreError::Generic {
            store: "GCS",
            source: reason.into(),
        };
        named(&root, &Path::from("a/x.csv"), error).into()
    }

    #[test]
    fn what_the_library_does_not_tell_apart_is() {
        for (reason, sqlstate) in [
            (
                "GET http://h/b?list-type=2 - status code: 404: <Code>NoSuchBucket</Code>",
                "58P01",
            ),
            ("list request: 404: <Code>ContainerNotFound</Code>", "58P01"),
            (
                "Error performing token request: Error performing GET http://169.254.169.254/ in 1s - \
                 Server returned non-2xx status code: 403 Forbidden",
                "42501",
            ),
            (
                "Error performing PUT http://169.254.169.254/latest/api/token - HTTP error: error sending request",
                "42501",
            ),
            ("Error performing token request: status code: 503", "58030"),
            ("status code: 503 Slow Down", "58030"),
        ] {
            let error = sorted(reason);
            assert_eq!(error.sqlstate(), sqlstate, "{reason}");
            assert!(error.to_string().contains("gs://b/a/x.csv"), "{error}");
        }
        let hint = sorted("Error performing token request: status code: 404").hint();
        assert!(hint.unwrap().contains("CREATE CREDENTIAL"));
    }
}
