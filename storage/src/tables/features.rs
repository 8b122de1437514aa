//! Features of Delta tables that other engines turn on: which of them files may be replaced or removed under.
//!
//! A protocol flows in; nothing or the first feature that is not known flows out. What a feature that nobody here knows
//! asks of those who write is not guessed.

use datafusion::error::DataFusionError;
use deltalake::kernel::Protocol;

use crate::error::{Error, Result};

/// What tables may have while their files are replaced and removed: it is kept, or asks nothing of that.
const KNOWN: [&str; 15] = [
    "allowColumnDefaults",
    "appendOnly",
    "changeDataFeed",
    "checkConstraints",
    "columnMapping",
    "deletionVectors",
    "domainMetadata",
    "generatedColumns",
    "identityColumns",
    "inCommitTimestamp",
    "inCommitTimestamp-preview",
    "invariants",
    "timestampNtz",
    "v2Checkpoint",
    "vacuumProtocolCheck",
];

/// Fails, as something that is not supported, at the first feature that is not known.
pub(crate) fn check_features(protocol: &Protocol) -> Result<()> {
    let of_writers = protocol.writer_features().unwrap_or_default().iter();
    let of_readers = protocol.reader_features().unwrap_or_default().iter();
    let mut names = of_writers.chain(of_readers).map(ToString::to_string);
    match names.find(|name| !KNOWN.contains(&name.as_str())) {
        Some(name) => {
            let message = format!("changing the files of a table with feature \"{name}\"");
            Err(not_supported(&message))
        }
        None => Ok(()),
    }
}

fn not_supported(what: &str) -> Error {
    let message = format!("{what} is not supported; the engine that turned it on can do it");
    Error::DataFusion {
        source: Box::new(DataFusionError::NotImplemented(message)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn unknown_features_are_named() {
        let protocol = |features: &[&str]| -> Protocol {
            let protocol = json!({
                "minReaderVersion": 1, "minWriterVersion": 7, "writerFeatures": features
            });
            serde_json::from_value(protocol).unwrap()
        };
        check_features(&protocol(&["appendOnly", "invariants"])).unwrap();
        for unknown in ["rowTracking", "madeUpLater"] {
            let error = check_features(&protocol(&["appendOnly", unknown])).unwrap_err();
            assert!(error.to_string().contains(unknown), "{error}");
        }
        let old = json!({ "minReaderVersion": 1, "minWriterVersion": 2 });
        check_features(&serde_json::from_value(old).unwrap()).unwrap();
    }
}
