//! What can go wrong in learning and predicting: a variant per cause.
//!
//! Messages follow PostgreSQL's style; the SQLSTATE and the hint stand beside the cause, so that a new
//! estimator's errors reach clients without a change elsewhere.

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The run was cancelled.
    #[error("canceling statement due to user request")]
    Cancelled,
    /// No estimator has this name.
    #[error("model type \"{name}\" does not exist")]
    UnknownEstimator {
        /// The name found.
        name: String,
        /// The nearest name.
        nearest: Option<String>,
    },
    /// No option has this name.
    #[error("unrecognized option \"{name}\" for model type \"{estimator}\"")]
    UnknownOption {
        /// The name found.
        name: String,
        /// The estimator's name.
        estimator: String,
        /// The nearest name.
        nearest: Option<String>,
    },
    /// An option's value is not one that it may have.
    #[error("option \"{name}\" must be {expected}, got {found}")]
    InvalidOption {
        /// The option.
        name: String,
        /// The values allowed: `greater than 0`.
        expected: String,
        /// The value found, as SQL writes it.
        found: String,
    },
    /// Two options do not go together, or one needs another.
    #[error("{message}")]
    ConflictingOptions {
        /// What is wrong, with the options quoted.
        message: String,
        /// What to do.
        hint: String,
    },
    /// A column that cannot be a feature.
    #[error("column \"{column}\" of type {data_type} cannot be a feature")]
    UnsupportedFeatureType {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// A column that training or prediction needs is missing.
    #[error("column \"{column}\" does not exist in the {place}")]
    MissingColumn {
        /// The column.
        column: String,
        /// `training query`, `rows to predict`, `rows to evaluate`.
        place: &'static str,
        /// What the column is: `label`, `feature`, `split column`.
        role: &'static str,
        /// The nearest column's name.
        nearest: Option<String>,
    },
    /// Two columns of the training query have the same name.
    #[error("column name \"{column}\" appears more than once in the training query")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// A column has another type than the model learned with.
    #[error("column \"{column}\" is of type {found} but the model expects {expected}")]
    ColumnType {
        /// The column.
        column: String,
        /// The type found.
        found: String,
        /// The type that was learned.
        expected: String,
    },
    /// A value that no model can learn from.
    #[error("column \"{column}\" holds the value {value}, which training cannot use")]
    BadValue {
        /// The column.
        column: String,
        /// The value: `Infinity`.
        value: String,
        /// What to do.
        hint: String,
    },
    /// The label column cannot be learned.
    #[error("label column \"{column}\" {problem}")]
    BadLabel {
        /// The column.
        column: String,
        /// `is NULL in every row`, `has only one class: "a"`.
        problem: String,
        /// What to do.
        hint: String,
    },
    /// There are no samples, or fewer than the estimator needs.
    #[error("training needs at least {needed} {}, got {found}", if *needed == 1 { "row" } else { "rows" })]
    TooFewSamples {
        /// The number needed.
        needed: u64,
        /// The number found.
        found: u64,
        /// What to do.
        hint: String,
    },
    /// There is nothing to learn from.
    #[error("the training query has no column that can be a feature")]
    NoFeatures,
    /// Machines that host the samples are lost faster than others can take over.
    #[error("the training lost its workers again and again")]
    HostsLost,
    /// Numbers ran out of range.
    #[error("training of \"{estimator}\" diverged: {what}")]
    Diverged {
        /// The estimator.
        estimator: String,
        /// What became infinite.
        what: String,
        /// What to do.
        hint: String,
    },
    /// More memory would be needed than the statement may use.
    #[error("{what} needs {needed_bytes} bytes of memory, {available_bytes} are available")]
    OutOfMemory {
        /// What needs it.
        what: String,
        /// The bytes needed.
        needed_bytes: usize,
        /// The bytes left.
        available_bytes: usize,
        /// What to do, for a gathering estimator with the number of rows that would fit.
        hint: String,
    },
    /// Something that exists elsewhere but not here.
    #[error("{what} is not supported")]
    Unsupported {
        /// What.
        what: String,
    },
    /// A class that the model did not learn.
    #[error("the model has no class \"{class}\"")]
    UnknownClass {
        /// The class found.
        class: String,
        /// The classes of the model, as SQL prints them.
        classes: Vec<String>,
    },
    /// The training query gave other rows when it was read again.
    #[error("the training query returned other rows when it was read again")]
    UnstableQuery,
    /// A stored model cannot be read.
    #[error("the stored model is damaged: {what} is missing or unreadable")]
    DamagedModel {
        /// The part.
        what: String,
    },
    /// A file of spilled blocks could not be written or read.
    #[error("cannot use spill file: {source}")]
    Spill {
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The training query failed.
    #[error(transparent)]
    Query(#[from] datafusion::error::DataFusionError),
    /// A kernel failed.
    #[error(transparent)]
    Device(#[from] auspex_gpu::Error),
    /// A broken invariant: a defect of Auspex.
    #[error("internal error: {what}")]
    Internal {
        /// Which.
        what: String,
    },
}

impl From<datafusion::arrow::error::ArrowError> for Error {
    fn from(source: datafusion::arrow::error::ArrowError) -> Error {
        Error::Query(source.into())
    }
}

impl Error {
    /// The SQLSTATE of the cause.
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Error::Cancelled => "57014",
            Error::UnknownEstimator { .. } => "42704",
            Error::UnknownOption { .. }
            | Error::InvalidOption { .. }
            | Error::UnknownClass { .. }
            | Error::ConflictingOptions { .. } => "22023",
            Error::UnsupportedFeatureType { .. } | Error::ColumnType { .. } => "42804",
            Error::MissingColumn { .. } => "42703",
            Error::DuplicateColumn { .. } => "42701",
            Error::BadValue { .. } | Error::Diverged { .. } => "22003",
            Error::BadLabel { .. } | Error::TooFewSamples { .. } | Error::NoFeatures => "22023",
            Error::OutOfMemory { .. } => "53200",
            Error::Unsupported { .. } => "0A000",
            Error::UnstableQuery => "55000",
            Error::HostsLost => "57P01",
            Error::DamagedModel { .. } => "XX001",
            Error::Spill { source } if source.kind() == std::io::ErrorKind::StorageFull => "53100",
            Error::Spill { .. } => "58030",
            Error::Device(error) => device_sqlstate(error),
            Error::Query(_) | Error::Internal { .. } => "XX000",
        }
    }

    /// A sentence that helps.
    pub fn hint(&self) -> Option<String> {
        let did_you_mean = |nearest: &Option<String>| {
            nearest
                .as_ref()
                .map(|name| format!("Did you mean \"{name}\"?"))
        };
        match self {
            Error::Spill { source } if source.kind() == std::io::ErrorKind::StorageFull => Some(
                "Free space in the folder that --spill-dir names, or that of the system for \
                 temporary files, or raise --memory-limit, so that less is written there."
                    .to_owned(),
            ),
            Error::Device(error) => device_hint(error).map(str::to_owned),
            Error::UnknownEstimator { nearest, .. } => did_you_mean(nearest)
                .or_else(|| Some("SELECT * FROM ml.estimators lists the model types.".to_owned())),
            Error::UnknownOption {
                nearest, estimator, ..
            } => did_you_mean(nearest).or_else(|| {
                Some(format!(
                    "The options of \"{estimator}\" are in SELECT * FROM ml.options."
                ))
            }),
            Error::InvalidOption { name, .. } => Some(format!(
                "Set it in CREATE MODEL ... OPTIONS ({name} = ...)."
            )),
            Error::ConflictingOptions { hint, .. }
            | Error::BadValue { hint, .. }
            | Error::BadLabel { hint, .. }
            | Error::TooFewSamples { hint, .. }
            | Error::Diverged { hint, .. }
            | Error::OutOfMemory { hint, .. } => Some(hint.clone()),
            Error::UnknownClass { classes, .. } => {
                Some(format!("Its classes are: {}.", classes.join(", ")))
            }
            Error::MissingColumn { nearest, role, .. } => did_you_mean(nearest)
                .or_else(|| Some(format!("The query must return the {role} under this name."))),
            Error::UnsupportedFeatureType { column, .. } => Some(format!(
                "Leave \"{column}\" out of the query, or cast it to a number, a boolean or text."
            )),
            Error::DuplicateColumn { .. } => {
                Some("Give one of them another name with AS.".to_owned())
            }
            Error::ColumnType {
                column, expected, ..
            } => Some(format!("Cast it in the query: {column}::{expected}.")),
            Error::UnstableQuery => Some(
                "Write its rows to a table first: CREATE TABLE ... AS, then train on the table."
                    .to_owned(),
            ),
            Error::HostsLost => Some(
                "SHOW WORKERS tells which answer. Nothing was stored; run the statement again."
                    .to_owned(),
            ),
            Error::NoFeatures => Some("Select at least one column beside the label.".to_owned()),
            _ => None,
        }
    }
}

fn device_hint(error: &auspex_gpu::Error) -> Option<&'static str> {
    use auspex_gpu::Error;
    match error {
        Error::OutOfMemory { .. } => Some(
            "SHOW gpu_memory_limit tells what an operator may take of a device; with device = 'cpu' \
             the CPU computes.",
        ),
        Error::NoRoom { .. } => Some(
            "Other programs may have its memory; SHOW DEVICES tries it again. With device = 'cpu' the \
             CPU computes.",
        ),
        error if device_sqlstate(error) == "XX000" => None,
        _ => Some("SHOW DEVICES lists what was found; with device = 'cpu' the CPU computes."),
    }
}

/// The candidate that `name` was probably meant to be, for "did you mean".
pub(crate) fn nearest_name<'a>(
    name: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<String> {
    let name = name.to_lowercase();
    let n_chars = name.chars().count();
    let limit = (n_chars / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| {
            (
                strsim::damerau_levenshtein(&name, &candidate.to_lowercase()),
                candidate,
            )
        })
        // Two names that share no letter are not alike, however short.
        .filter(|(distance, candidate)| {
            *distance <= limit && *distance < n_chars.max(candidate.chars().count())
        })
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}

/// A device that is not there is a state of the server; one that fails is a fault of the machine.
fn device_sqlstate(error: &auspex_gpu::Error) -> &'static str {
    use auspex_gpu::Error;
    match error {
        Error::NoDriver
        | Error::Library { .. }
        | Error::DriverTooOld { .. }
        | Error::NoDevice
        | Error::NoSuchDevice { .. }
        | Error::NoEntryPoint { .. }
        | Error::WrongAnswer { .. } => "55000",
        Error::OutOfMemory { .. } | Error::NoRoom { .. } => "53200",
        Error::Fault { .. } | Error::Driver { .. } => "58000",
        Error::Shape { .. } | Error::Declined { .. } => "XX000",
    }
}
