//! Which errors of reading are about a file, under whose name they are told then.
//!
//! A reader's error flows in; the same with the URL of its file flows out, or, where an expression failed that is evaluated
//! with the scan, memory, the client or the store, the error as it was.

use std::panic::AssertUnwindSafe;

use datafusion::arrow::error::ArrowError;
use datafusion::error::{DataFusionError, Result};
use futures::FutureExt as _;

use crate::error::{Error, ValueFailure};
use crate::tables::library_words::without_prefixes;
use crate::tables::located::Place;

/// The same error as one that names the file.
pub(crate) fn bad_file(place: &Place, file: &str, error: DataFusionError) -> DataFusionError {
    if is_about_file(place, &error) {
        let reason = without_prefixes(error.find_root().strip_backtrace());
        let error = Error::BadFile {
            file: place.url(file),
            format: place.format,
            reason,
        };
        return DataFusionError::External(Box::new(error));
    }
    match Error::found_in(&error) {
        Some(Error::Column(failure)) => Error::from(failure.in_file(place.url(file))).into(),
        Some(Error::BadValue(failure)) if failure.file.is_empty() => {
            let named = ValueFailure {
                file: place.url(file),
                format: place.format,
                ..failure
            };
            Error::BadValue(named).into()
        }
        _ => error,
    }
}

/// What a reader gives; a panic of its own, as of lengths that no file has, is an error about the file.
pub(crate) async fn reading<T>(
    place: &Place,
    file: &str,
    read: impl Future<Output = Result<T>>,
) -> Result<T> {
    let read = AssertUnwindSafe(read).catch_unwind().await;
    read.unwrap_or_else(|_| {
        let error = Error::BadFile {
            file: place.url(file),
            format: place.format,
            reason: "its sizes and places do not fit together: the file is damaged".to_owned(),
        };
        Err(DataFusionError::External(Box::new(error)))
    })
}

/// The same error of a file with the number of the line.
pub(crate) fn at_line(line: Option<u64>, error: DataFusionError) -> DataFusionError {
    match line {
        Some(line) => with_reason(error, |reason| format!("line {line}: {reason}")),
        None => error,
    }
}

/// The same error of a file for another reason.
pub(crate) fn with_reason(
    error: DataFusionError,
    change: impl FnOnce(String) -> String,
) -> DataFusionError {
    let DataFusionError::External(error) = error else {
        return error;
    };
    match error.downcast::<Error>() {
        Ok(error) => match *error {
            Error::BadFile {
                file,
                format,
                reason,
            } => Error::BadFile {
                file,
                format,
                reason: change(reason),
            }
            .into(),
            Error::BadValue(failure) => {
                let changed = ValueFailure {
                    reason: change(failure.reason),
                    ..failure
                };
                Error::BadValue(changed).into()
            }
            error => error.into(),
        },
        Err(error) => DataFusionError::External(error),
    }
}

/// Whether the content of a file is to blame, not memory, the client or the store.
fn is_about_file(place: &Place, error: &DataFusionError) -> bool {
    let root = error.find_root();
    match root {
        DataFusionError::ResourcesExhausted(_) | DataFusionError::External(_) => false,
        // Expressions over columns are evaluated where the file is read; their failures are the statement's.
        DataFusionError::ArrowError(error, _) if is_computed(error) => false,
        // Functions fail so, and no reader of Parquet does.
        DataFusionError::Execution(_) | DataFusionError::Plan(_) if place.is_parquet() => false,
        DataFusionError::ArrowError(error, _)
            if place.is_parquet() && matches!(**error, ArrowError::InvalidArgumentError(_)) =>
        {
            false
        }
        root => Error::found_in(root).is_none(),
    }
}

/// Whether a line of the file is to blame.
pub(crate) fn has_line(place: &Place, error: &DataFusionError) -> bool {
    is_about_file(place, error) || matches!(Error::found_in(error), Some(Error::BadValue(_)))
}

fn is_computed(error: &ArrowError) -> bool {
    matches!(
        error,
        ArrowError::ArithmeticOverflow(_)
            | ArrowError::CastError(_)
            | ArrowError::ComputeError(_)
            | ArrowError::DivideByZero
    )
}
