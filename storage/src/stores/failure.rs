//! What stores fail with: the library's errors, under the URL of their object.
//!
//! An error and a path flow in, the same variant flows out, so that callers see what they matched before; where the
//! variant has no place for a name, a `StoreFailure` inside holds it, with what the error's sources tell beyond its text.
//! Three causes that the library does not tell from a failure get their own variant: a bucket that is not there, a
//! machine that has no secret to give, and a listing that is refused.

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

/// A failure with what lies behind it, as why a connection could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{source}: {causes}")]
struct Explained {
    causes: String,
    source: Box<dyn std::error::Error + Send + Sync>,
}

/// The texts of an error's sources that its own text does not hold.
pub(crate) fn causes(error: &(dyn std::error::Error + 'static)) -> Option<String> {
    let mut told = error.to_string();
    let mut causes = Vec::new();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !told.contains(&text) {
            told.push_str(&text);
            causes.push(text);
        }
        next = cause.source();
    }
    (!causes.is_empty()).then(|| causes.join(": "))
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
                Some(Lasting::Refused) => StoreError::PermissionDenied { path: url, source },
                None => {
                    let source = match causes(source.as_ref()) {
                        Some(causes) => Box::new(Explained { causes, source }),
                        None => source,
                    };
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
    /// A listing is not allowed; other requests have an error of the library for that.
    Refused,
}

impl Lasting {
    /// The cause that a failure's text tells; the library has no types for these.
    pub(crate) fn of(error: &(dyn std::error::Error + 'static)) -> Option<Self> {
        let text = error.to_string();
        let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
        if says(&["NoSuchBucket", "ContainerNotFound"]) {
            return Some(Self::NoBucket);
        }
        if says(&["Error performing list request"])
            && says(&["status code: 401", "status code: 403"])
        {
            return Some(Self::Refused);
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
            (
                "Error performing list request: Error performing GET http://h/b in 1s - \
                 Server returned non-2xx status code: 403 Forbidden: <Code>AccessDenied</Code>",
                "42501",
            ),
            ("Error performing list request: status code: 500", "58030"),
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

    #[test]
    fn failures_tell_what_lies_behind_them() {
        let root = Url::parse("http://h/").unwrap();
        let refused = std::io::Error::other("connection refused");
        let lost = Explained {
            causes: "tcp connect error".to_owned(),
            source: Box::new(refused),
        };
        // Its text leaves out its source, as that of a client does.
        let error = StoreFailure {
            url: "error sending request".to_owned(),
            source: Box::new(lost),
        };
        assert_eq!(causes(&error), None, "it is told already");
        #[derive(Debug, thiserror::Error)]
        #[error("error sending request")]
        struct Sending(#[source] StoreFailure);
        let error = StoreError::Generic {
            store: "HTTP",
            source: Box::new(Sending(error)),
        };
        let found = Error::from(named(&root, &Path::from("a"), error));
        let detail = found.detail().unwrap();
        assert!(
            detail.contains("connection refused: tcp connect error"),
            "{detail}"
        );
    }
}
