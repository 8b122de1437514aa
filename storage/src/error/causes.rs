//! Where errors come from: those of the libraries below, sorted by cause.
//!
//! A library's error flows in, a variant flows out that keeps it as its source. A full disk is found wherever in the
//! chain it hides; an error of ours that travelled through a plan comes out as it went in.

use std::error::Error as StdError;

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;

use crate::catalog::CatalogEntry;
use crate::error::{Error, ValueFailure};
use crate::stores::{StoreFailure, Unsettled};

/// The result of this crate's functions.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The error that an object has no versions.
pub(crate) fn no_versions(entry: &CatalogEntry) -> Error {
    Error::NoVersions {
        name: entry.name.clone(),
    }
}

/// The error that an object has no rows to open.
pub(crate) fn not_a_table(entry: &CatalogEntry) -> Error {
    Error::NotATable {
        name: entry.name.clone(),
        kind: entry.kind(),
    }
}

impl Error {
    /// A value of a file that is not named yet.
    pub(crate) fn bad_value(reason: String, sqlstate: &'static str) -> Self {
        Self::BadValue(ValueFailure {
            file: String::new(),
            format: "",
            reason,
            sqlstate,
        })
    }
}

/// An error of a library, kept as the source.
pub(crate) type Source = Box<dyn StdError + Send + Sync>;

impl Error {
    /// Sorts an error of the file system by cause.
    pub(crate) fn from_io(source: std::io::Error) -> Self {
        classify(source)
    }

    fn from_datafusion(source: DataFusionError) -> Self {
        if is_disk_full(&source) {
            return Self::DiskFull {
                source: source.into(),
            };
        }
        match Self::found_in(&source) {
            Some(found) => found,
            None => Self::DataFusion {
                source: Box::new(source),
            },
        }
    }

    /// The failure of a store that an error of a query hides, if there is one.
    pub fn found_in(error: &(dyn StdError + 'static)) -> Option<Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(error) = error.downcast_ref::<object_store::Error>()
                && let Some(found) = of_store(error)
            {
                return Some(found);
            }
            if let Some(found) = error.downcast_ref::<Self>().and_then(refusal) {
                return Some(found);
            }
            if let Some(found) = error.downcast_ref::<TransactionError>().and_then(unknown) {
                return Some(found);
            }
            // A wrapped error is not among the sources of what wraps it.
            let inner = match error.downcast_ref::<std::io::Error>() {
                Some(io) => io.get_ref().map(|inner| inner as &(dyn StdError + 'static)),
                None => None,
            };
            if let Some(found) = inner.and_then(Self::found_in) {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// The features of a Delta table that the library does not know, if that is the error.
fn unknown(error: &TransactionError) -> Option<Error> {
    let TransactionError::UnsupportedTableFeatures(features) = error else {
        return None;
    };
    let names: Vec<String> = features.iter().map(ToString::to_string).collect();
    let names = names.join("\", \"");
    let message = format!("this use of a Delta table with feature \"{names}\" is not supported");
    Some(Error::DataFusion {
        source: Box::new(DataFusionError::NotImplemented(message)),
    })
}

/// The same refusal of a location or word on a file, if the error is one.
fn refusal(error: &Error) -> Option<Error> {
    match error {
        Error::BadFile {
            file,
            format,
            reason,
        } => Some(Error::BadFile {
            file: file.clone(),
            format,
            reason: reason.clone(),
        }),
        Error::BadValue(failure) => Some(Error::BadValue(failure.clone())),
        Error::Column(failure) => Some(Error::Column(failure.clone())),
        Error::LocationRefused { location } => Some(Error::LocationRefused {
            location: location.clone(),
        }),
        Error::LocationReserved { location, folder } => Some(Error::LocationReserved {
            location: location.clone(),
            folder,
        }),
        _ => None,
    }
}

/// The cause of a store's error, if it names its object.
fn of_store(error: &object_store::Error) -> Option<Error> {
    use object_store::Error as E;
    match error {
        E::Generic { source, .. } => {
            let failure = source.downcast_ref::<StoreFailure>();
            let is_settled = failure.is_none_or(|failure| !failure.source.is::<Unsettled>());
            if is_settled && is_disk_full(source.as_ref()) {
                let source = source.to_string().into();
                return Some(Error::DiskFull { source });
            }
            match failure {
                Some(StoreFailure { url, source }) => Some(Error::ObjectFailed {
                    url: url.clone(),
                    reason: source.to_string(),
                    is_settled,
                }),
                None => source.downcast_ref().and_then(refusal),
            }
        }
        E::NotFound { path, .. } => Some(Error::ObjectMissing { url: path.clone() }),
        E::PermissionDenied { path, source } | E::Unauthenticated { path, source } => {
            let (url, reason) = (path.clone(), source.to_string());
            Some(Error::ObjectDenied { url, reason })
        }
        _ => None,
    }
}

/// `DiskFull` if the chain holds that cause, `Io` otherwise.
fn classify(source: impl Into<Source>) -> Error {
    let source = source.into();
    match is_disk_full(source.as_ref()) {
        true => Error::DiskFull { source },
        false => Error::Io { source },
    }
}

/// Whether an error or one of its sources is the file system's "no space" or "quota exceeded".
pub(crate) fn is_disk_full(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>() {
            use std::io::ErrorKind::{QuotaExceeded, StorageFull};
            if matches!(io.kind(), StorageFull | QuotaExceeded) {
                return true;
            }
            // A wrapped error is not among the sources of the `io::Error` that wraps it.
            if io.get_ref().is_some_and(|inner| is_disk_full(inner)) {
                return true;
            }
        }
        next = error.source();
    }
    false
}

impl From<object_store::Error> for Error {
    fn from(source: object_store::Error) -> Self {
        of_store(&source).unwrap_or_else(|| classify(source))
    }
}

impl From<DeltaTableError> for Error {
    fn from(source: DeltaTableError) -> Self {
        match source {
            DeltaTableError::Transaction {
                source: TransactionError::MaxCommitAttempts(_) | TransactionError::CommitConflict(_),
            }
            | DeltaTableError::VersionAlreadyExists(_) => Self::Conflict {
                object: "a table".into(),
            },
            source => match Self::found_in(&source) {
                // What is not supported comes out of `unknown`.
                Some(found) if !found.is_settled() || matches!(found, Self::DataFusion { .. }) => {
                    found
                }
                _ if is_disk_full(&source) => Self::DiskFull {
                    source: source.into(),
                },
                _ => Self::Delta {
                    source: Box::new(source),
                },
            },
        }
    }
}

impl From<DataFusionError> for Error {
    fn from(source: DataFusionError) -> Self {
        match source {
            // An error of ours that travelled through a plan comes out as it went in.
            DataFusionError::External(inner) => match inner.downcast::<Self>() {
                Ok(own) => *own,
                Err(inner) => Self::from_datafusion(DataFusionError::External(inner)),
            },
            source => Self::from_datafusion(source),
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> Self {
        Self::External(Box::new(error))
    }
}

impl From<ArrowError> for Error {
    fn from(source: ArrowError) -> Self {
        match is_disk_full(&source) {
            true => Self::DiskFull {
                source: source.into(),
            },
            false => Self::Arrow(source),
        }
    }
}

/// A library's message without the trace of calls that it may carry.
pub(crate) fn without_backtrace(message: &str) -> String {
    let end = message.find("\n   0: ").unwrap_or(message.len());
    message[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use deltalake::kernel::Protocol;

    use super::*;

    fn full() -> std::io::Error {
        std::io::Error::from_raw_os_error(28)
    }

    #[test]
    fn a_full_disk_is_found_in_every_chain() {
        let store = || object_store::Error::Generic {
            store: "test",
            source: Box::new(full()),
        };
        let wrapped = std::io::Error::other(store());
        let parquet = datafusion::parquet::errors::ParquetError::External(Box::new(store()));
        let errors: Vec<Error> = vec![
            store().into(),
            Error::from_io(full()),
            Error::from_io(wrapped),
            DeltaTableError::ObjectStore { source: store() }.into(),
            DeltaTableError::Parquet { source: parquet }.into(),
            DataFusionError::ObjectStore(Box::new(store())).into(),
            DataFusionError::IoError(full()).into(),
        ];
        for error in errors {
            assert_eq!(error.sqlstate(), "53100", "{error:?}");
            assert!(error.hint().is_some() && error.detail().is_some());
        }
    }

    #[test]
    fn features_that_the_library_does_not_know_are_named() {
        let protocol = serde_json::json!({
            "minReaderVersion": 3, "minWriterVersion": 7,
            "readerFeatures": ["typeWidening"], "writerFeatures": ["typeWidening"]
        });
        let protocol: Protocol = serde_json::from_value(protocol).unwrap();
        let features = protocol.reader_features().unwrap();
        let refused = || DeltaTableError::Transaction {
            source: TransactionError::UnsupportedTableFeatures(features.to_vec()),
        };
        let of_plan = DataFusionError::External(Box::new(refused()));
        for error in [Error::from(refused()), Error::from(of_plan)] {
            assert_eq!(error.sqlstate(), "0A000");
            assert!(error.to_string().contains("\"typeWidening\""), "{error}");
        }
    }

    #[test]
    fn our_error_survives_a_plan() {
        let own = Error::LocationRefused {
            location: "/etc".into(),
        };
        let error = Error::from(DataFusionError::External(Box::new(own)));
        assert_eq!(error.sqlstate(), "42501");
        assert!(error.hint().is_some_and(|h| h.contains("--allow-location")));
    }
}
