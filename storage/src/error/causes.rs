//! Where errors come from: those of the libraries below, sorted by cause.
//!
//! A library's error flows in, a variant flows out that keeps it as its source. A full disk is found wherever in the
//! chain it hides; an error of ours that travelled through a plan comes out as it went in.

use std::error::Error as StdError;

use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
use deltalake::kernel::transaction::TransactionError;

use crate::error::{Error, Source};

impl Error {
    /// Sorts an error of the file system by cause.
    pub(crate) fn from_io(source: std::io::Error) -> Self {
        classify(source)
    }

    fn from_datafusion(source: DataFusionError) -> Self {
        match is_disk_full(&source) {
            true => Self::DiskFull {
                source: source.into(),
            },
            false => Self::DataFusion {
                source: Box::new(source),
            },
        }
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
fn is_disk_full(error: &(dyn StdError + 'static)) -> bool {
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
        classify(source)
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
            source if is_disk_full(&source) => Self::DiskFull {
                source: source.into(),
            },
            source => Self::Delta {
                source: Box::new(source),
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

impl From<ArrowError> for Error {
    fn from(source: ArrowError) -> Self {
        match is_disk_full(&source) {
            true => Self::DiskFull {
                source: source.into(),
            },
            false => Self::Arrow { source },
        }
    }
}

#[cfg(test)]
mod tests {
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
    fn our_error_survives_a_plan() {
        let own = Error::LocationRefused {
            location: "/etc".into(),
        };
        let error = Error::from(DataFusionError::External(Box::new(own)));
        assert_eq!(error.sqlstate(), "42501");
        assert!(error.hint().is_some_and(|h| h.contains("--allow-location")));
    }
}
