//! What a statement can fail with, and the report that a client is given.
//!
//! In: the errors of every stage; out: SQLSTATE, message, detail, hint and position.

use auspex_ml::error::Error as MlError;
use auspex_sql::ParseError;
use auspex_storage::{Error as StorageError, ErrorPlace};
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;

use crate::distributed::ClusterError;

/// A result of this crate.
pub type Result<T> = std::result::Result<T, Error>;

/// An error of this crate.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The text is not SQL.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Learning or predicting failed.
    #[error(transparent)]
    Ml(#[from] MlError),
    /// The warehouse failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Planning or running a query failed.
    #[error(transparent)]
    Query(#[from] DataFusionError),
    /// Another machine of the cluster failed.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The client asked to stop.
    #[error("canceling statement due to user request")]
    Cancelled,
    /// `statement_timeout` passed.
    #[error("canceling statement due to statement timeout")]
    TimedOut,
    /// No object has this name.
    #[error("{kind} \"{name}\" does not exist")]
    Undefined {
        /// `model`, `relation`, `schema`, `setting`.
        kind: &'static str,
        /// The name found.
        name: String,
        /// The nearest name.
        nearest: Option<String>,
        /// Where the name stands.
        position: Option<usize>,
    },
    /// A model has no such version or alias.
    #[error("version \"{version}\" of model \"{model}\" does not exist")]
    UndefinedVersion {
        /// The model.
        model: String,
        /// The version or alias found.
        version: String,
        /// The versions that exist.
        existing: Vec<u64>,
    },
    /// The object exists but is of another kind.
    #[error("\"{name}\" is not a {expected}")]
    WrongKind {
        /// The name.
        name: String,
        /// The kind needed.
        expected: &'static str,
        /// The kind found.
        found: &'static str,
    },
    /// The name is taken.
    #[error("{kind} \"{name}\" already exists")]
    Duplicate {
        /// `model`, `relation`, `schema`.
        kind: &'static str,
        /// The name.
        name: String,
    },
    /// Other objects need this one.
    #[error("cannot drop {kind} \"{name}\" because other objects depend on it")]
    Dependents {
        /// The kind.
        kind: &'static str,
        /// The name.
        name: String,
        /// The objects that need it.
        dependents: Vec<String>,
    },
    /// The model has no version yet.
    #[error("model \"{model}\" has not been trained")]
    NotTrained {
        /// The model.
        model: String,
    },
    /// A setting cannot have this value.
    #[error("invalid value for parameter \"{name}\": \"{value}\"")]
    InvalidSetting {
        /// The setting.
        name: String,
        /// The value found.
        value: String,
        /// The values allowed.
        expected: String,
    },
    /// A statement says something that does not fit together.
    #[error("{message}")]
    Invalid {
        /// The SQLSTATE.
        sqlstate: &'static str,
        /// What is wrong.
        message: String,
        /// What to do.
        hint: Option<String>,
        /// Where.
        position: Option<usize>,
    },
    /// Rows have the same values in the columns of a key that is to be declared.
    #[error("could not create unique index \"{constraint}\"")]
    NotUnique {
        /// The key.
        constraint: String,
        /// Columns and values: `(id)=(1)`.
        key: String,
    },
    /// An error about a table or a column that it does not name itself.
    #[error("{error}")]
    InPlace {
        /// The error.
        error: Box<Error>,
        /// What it is about.
        place: Box<ErrorPlace>,
    },
    /// An error in a text that stands inside the statement's own.
    #[error("{error}")]
    Inner {
        /// The error.
        error: Box<Error>,
        /// Where the inner text begins, if it stands there to the letter.
        offset: Option<usize>,
    },
    /// The role lacks a privilege.
    #[error("permission denied for {kind} {name}")]
    PermissionDenied {
        /// `table`, `model`, `schema`.
        kind: &'static str,
        /// The object.
        name: String,
        /// The statement that would give the privilege.
        grant: String,
    },
    /// Only the owner may do this.
    #[error("must be owner of {kind} {name}")]
    NotOwner {
        /// `table`, `model`, `schema`.
        kind: &'static str,
        /// The object.
        name: String,
        /// Who owns it.
        owner: String,
    },
    /// No privilege on an object would allow this.
    #[error("permission denied to {what}")]
    NotAllowed {
        /// What the statement wanted to do: `create role`.
        what: String,
        /// Who may.
        hint: Option<String>,
    },
    /// Objects need the role.
    #[error("role \"{role}\" cannot be dropped because some objects depend on it")]
    RoleNeeded {
        /// The role.
        role: String,
        /// What it owns and was granted.
        needs: Vec<String>,
    },
    /// The role runs as many statements as it may.
    #[error("too many statements of role \"{role}\" at a time")]
    TooManyStatements {
        /// The role.
        role: String,
        /// How many it may run.
        limit: usize,
    },
    /// A client is not let in.
    #[error("{message}")]
    Refused {
        /// The SQLSTATE.
        sqlstate: &'static str,
        /// Why.
        message: String,
        /// What to do.
        hint: Option<String>,
    },
    /// Parsed, but there is no operator for it yet.
    #[error("{what} is not supported yet")]
    Unsupported {
        /// What is missing.
        what: String,
        /// What to do instead.
        hint: Option<String>,
    },
}

/// What a client is told of an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The SQLSTATE.
    pub sqlstate: &'static str,
    /// The message.
    pub message: String,
    /// More about the cause.
    pub detail: Option<String>,
    /// What may help.
    pub hint: Option<String>,
    /// Byte offset in the statement's own text.
    pub position: Option<usize>,
    /// The table, column or constraint that it is about.
    pub place: ErrorPlace,
}

impl Report {
    pub(crate) fn new(sqlstate: &'static str, message: String) -> Report {
        Report {
            sqlstate,
            message,
            detail: None,
            hint: None,
            position: None,
            place: ErrorPlace::default(),
        }
    }

    fn of_storage(error: &StorageError) -> Report {
        Report {
            detail: error.detail(),
            hint: error.hint(),
            place: error.place(),
            ..Report::new(error.sqlstate(), error.to_string())
        }
    }
}

impl Error {
    /// Something that has no operator yet.
    pub(crate) fn unsupported(what: impl Into<String>) -> Error {
        Error::Unsupported {
            what: what.into(),
            hint: None,
        }
    }

    /// A statement that does not fit together.
    pub(crate) fn invalid(
        sqlstate: &'static str,
        message: impl Into<String>,
        hint: Option<&str>,
    ) -> Error {
        let hint = hint.map(ToOwned::to_owned);
        Error::Invalid {
            sqlstate,
            message: message.into(),
            hint,
            position: None,
        }
    }

    /// The same error of `inner`, a part of the text `outer`.
    pub(crate) fn inside(self, inner: &str, outer: &str) -> Error {
        Error::Inner {
            offset: outer.find(inner),
            error: Box::new(self),
        }
    }

    /// What a client is told.
    pub fn report(&self) -> Report {
        match self {
            Error::Query(error) | Error::Ml(MlError::Query(error)) => report_of(error),
            Error::Storage(StorageError::DataFusion { source }) => report_of(source),
            Error::Storage(error) => Report::of_storage(error),
            Error::InPlace { error, place } => Report {
                place: ErrorPlace::clone(place),
                ..error.report()
            },
            Error::Inner { error, offset } => {
                let report = error.report();
                let position = offset.zip(report.position);
                Report {
                    position: position.map(|(offset, position)| offset + position),
                    ..report
                }
            }
            _ => Report {
                detail: self.detail(),
                hint: self.hint(),
                position: self.position(),
                ..Report::new(self.sqlstate(), self.to_string())
            },
        }
    }

    fn sqlstate(&self) -> &'static str {
        match self {
            Error::Parse(error) => error.sqlstate(),
            Error::Ml(error) => error.sqlstate(),
            Error::Storage(error) => error.sqlstate(),
            Error::Cluster(error) => error.sqlstate(),
            Error::Query(error) => report_of(error).sqlstate,
            Error::Inner { error, .. } | Error::InPlace { error, .. } => error.sqlstate(),
            Error::NotUnique { .. } => "23505",
            Error::Cancelled | Error::TimedOut => "57014",
            Error::Undefined { kind, .. } => match *kind {
                "schema" => "3F000",
                "relation" => "42P01",
                "function" => "42883",
                _ => "42704",
            },
            Error::UndefinedVersion { .. } => "42704",
            Error::WrongKind { .. } => "42809",
            Error::Duplicate { kind: "schema", .. } => "42P06",
            Error::Duplicate { .. } => "42P07",
            Error::TooManyStatements { .. } => "53400",
            Error::Dependents { .. } | Error::RoleNeeded { .. } => "2BP01",
            Error::NotTrained { .. } => "55000",
            Error::InvalidSetting { .. } => "22023",
            Error::Invalid { sqlstate, .. } | Error::Refused { sqlstate, .. } => sqlstate,
            Error::PermissionDenied { .. } | Error::NotOwner { .. } | Error::NotAllowed { .. } => {
                "42501"
            }
            Error::Unsupported { .. } => "0A000",
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Error::Parse(error) => error.hint.clone(),
            Error::Ml(error) => error.hint(),
            Error::Storage(error) => error.hint(),
            Error::Cluster(error) => error.hint(),
            Error::Undefined { nearest, .. } => {
                let name = nearest.as_ref()?;
                Some(format!("Did you mean \"{name}\"?"))
            }
            Error::UndefinedVersion { existing, .. } => {
                let list: Vec<String> = existing.iter().map(u64::to_string).collect();
                Some(format!("Versions that exist: {}.", list.join(", ")))
            }
            Error::Duplicate { kind: "model", .. } => {
                Some("Use CREATE OR REPLACE MODEL, or TRAIN MODEL for a new version.".to_owned())
            }
            Error::Dependents { .. } => {
                Some("Use DROP ... CASCADE to drop the dependent objects too.".to_owned())
            }
            Error::NotTrained { model } => Some(format!("Train it first: TRAIN MODEL {model}.")),
            Error::InvalidSetting { expected, .. } => {
                Some(format!("Available values: {expected}."))
            }
            Error::TooManyStatements { limit, .. } => Some(format!(
                "It may run {limit}; a superuser may change that by ALTER ROLE ... SET max_concurrent_statements."
            )),
            Error::RoleNeeded { role, .. } => Some(format!(
                "REASSIGN OWNED BY {role} TO another role, then DROP OWNED BY {role}."
            )),
            Error::PermissionDenied { grant, .. } => {
                Some(format!("Its owner or a superuser may say: {grant}."))
            }
            Error::NotOwner { owner, .. } => Some(format!(
                "Its owner is \"{owner}\"; a superuser may do this, too."
            )),
            Error::Invalid { hint, .. }
            | Error::Unsupported { hint, .. }
            | Error::NotAllowed { hint, .. }
            | Error::Refused { hint, .. } => hint.clone(),
            _ => None,
        }
    }

    fn detail(&self) -> Option<String> {
        match self {
            Error::Storage(error) => error.detail(),
            Error::NotUnique { key, .. } => Some(format!("Key {key} is duplicated.")),
            Error::Cluster(error) => error.detail(),
            Error::WrongKind { found, name, .. } => {
                let article = if found.starts_with(['a', 'e', 'i', 'o', 'u']) {
                    "an"
                } else {
                    "a"
                };
                Some(format!("\"{name}\" is {article} {found}."))
            }
            Error::Dependents { dependents, .. } => {
                Some(format!("{} depends on it.", dependents.join(", ")))
            }
            Error::RoleNeeded { needs, .. } => Some(needs.join("\n")),
            _ => None,
        }
    }

    fn position(&self) -> Option<usize> {
        match self {
            Error::Parse(error) => error.position,
            Error::Undefined { position, .. } | Error::Invalid { position, .. } => *position,
            _ => None,
        }
    }
}

impl From<Error> for DataFusionError {
    fn from(error: Error) -> DataFusionError {
        match error {
            Error::Query(error) => error,
            error => DataFusionError::External(Box::new(error)),
        }
    }
}

/// What a client is told of an error that came out of a plan or a stream.
pub fn report_of(error: &DataFusionError) -> Report {
    let root = error.find_root();
    if let Some(error) = StorageError::found_in(root) {
        return Report::of_storage(&error);
    }
    if let DataFusionError::External(source) = root {
        if let Some(error) = source.downcast_ref::<Error>() {
            return error.report();
        }
        if let Some(error) = source.downcast_ref::<MlError>() {
            return Report {
                hint: error.hint(),
                ..Report::new(error.sqlstate(), error.to_string())
            };
        }
        if let Some(error) = source.downcast_ref::<StorageError>() {
            return Report::of_storage(error);
        }
    }
    use datafusion::arrow::error::ArrowError;
    match root {
        DataFusionError::SQL(..) => Report::new("42601", plain_message(root)),
        DataFusionError::SchemaError(cause, _) => Report {
            position: position_of(error),
            ..schema_report(cause, plain_message(root))
        },
        DataFusionError::ArrowError(cause, _) => match cause.as_ref() {
            ArrowError::DivideByZero => Report::new("22012", "division by zero".to_owned()),
            ArrowError::CastError(message) => crate::cast_errors::report(message)
                .unwrap_or_else(|| Report::new("22P02", lower_first(message))),
            ArrowError::ArithmeticOverflow(message) => Report::new("22003", lower_first(message)),
            ArrowError::CsvError(message) => Report::new("22P04", lower_first(message)),
            ArrowError::JsonError(message) => Report::new("22P02", lower_first(message)),
            ArrowError::ParseError(message) => Report::new("22P02", lower_first(message)),
            ArrowError::InvalidArgumentError(message) => invalid_argument(message),
            other => Report::new("XX000", other.to_string()),
        },
        DataFusionError::NotImplemented(message) => crate::functions::unsupported_subquery(message)
            .unwrap_or_else(|| Report::new("0A000", lower_first(message))),
        DataFusionError::ResourcesExhausted(message) => Report {
            hint: Some("Raise --memory-limit, or select fewer columns or rows.".to_owned()),
            ..Report::new("53200", lower_first(message))
        },
        DataFusionError::Plan(message) => plan_report(message),
        DataFusionError::Execution(message) => Report::new("22000", lower_first(message)),
        DataFusionError::Configuration(message) => Report::new("22023", lower_first(message)),
        DataFusionError::IoError(source) if source.kind() == std::io::ErrorKind::StorageFull => {
            Report::new(
                "53100",
                "could not write: no space left on device".to_owned(),
            )
        }
        DataFusionError::IoError(source) => Report::new("58030", source.to_string()),
        _ => Report::new("XX000", plain_message(root)),
    }
}

/// Where the planner met a name; our tokens carry their byte offset as a column of line 1.
fn position_of(error: &DataFusionError) -> Option<usize> {
    let span = error.diagnostic()?.span?;
    usize::try_from(span.start.column).ok()?.checked_sub(1)
}

/// A column that the planner did not find.
fn schema_report(error: &SchemaError, message: String) -> Report {
    match error {
        SchemaError::FieldNotFound {
            field,
            valid_fields,
        } => {
            let names: Vec<&str> = valid_fields.iter().map(|column| column.name()).collect();
            let hint = nearest(field.name(), names.into_iter())
                .map(|name| format!("Perhaps you meant to reference the column \"{name}\"."));
            let message = format!("column \"{}\" does not exist", field.name());
            Report {
                hint,
                ..Report::new("42703", message)
            }
        }
        SchemaError::AmbiguousReference { field } => {
            let message = format!("column reference \"{}\" is ambiguous", field.name());
            Report::new("42702", message)
        }
        SchemaError::DuplicateUnqualifiedField { name } => Report::new(
            "42701",
            format!("column name \"{name}\" appears more than once"),
        ),
        SchemaError::DuplicateQualifiedField { name, .. } => Report::new(
            "42701",
            format!("column name \"{name}\" appears more than once"),
        ),
        #[allow(unreachable_patterns, reason = "the enum may grow")]
        _ => Report::new("42000", message),
    }
}

/// A batch that does not fit its schema: a NULL where there may be none.
fn invalid_argument(message: &str) -> Report {
    let column = message
        .strip_prefix("Column '")
        .and_then(|rest| rest.split('\'').next());
    if message.contains(" is too large to store in a Decimal") {
        let (_, limit) = message.rsplit_once("Max is ").unwrap_or_default();
        let detail = format!("The largest value of the type is {limit}.");
        return Report {
            detail: Some(detail),
            ..Report::new("22003", "numeric field overflow".to_owned())
        };
    }
    match column.filter(|_| message.contains("non-nullable")) {
        Some(column) => {
            let message = format!("null value in column \"{column}\" violates not-null constraint");
            Report::new("23502", message)
        }
        None => Report::new("22023", lower_first(message)),
    }
}

/// The planner has one variant for many causes; its fixed phrases tell them apart.
fn plan_report(message: &str) -> Report {
    if let Some(rest) = message.strip_prefix("table '")
        && let Some(name) = rest.strip_suffix("' not found")
    {
        let short = name.rsplit('.').next().unwrap_or(name);
        return Report::new("42P01", format!("relation \"{short}\" does not exist"));
    }
    let table_function = message.strip_prefix("table function '");
    if let Some(name) = table_function.and_then(|rest| rest.strip_suffix("' not found")) {
        let hint = nearest(name, ["generate_series", "range"].into_iter())
            .map(|name| format!("Did you mean \"{name}\"?"));
        let message = format!("function {name} does not exist");
        return Report {
            hint,
            ..Report::new("42883", message)
        };
    }
    if let Some(rest) = message.strip_prefix("Invalid function '") {
        let name = rest.split('\'').next().unwrap_or(rest);
        let nearest = rest
            .split("Did you mean '")
            .nth(1)
            .and_then(|tail| tail.split('\'').next());
        // The planner names some function, however unlike it is.
        let nearest = nearest.and_then(|known| self::nearest(name, [known].into_iter()));
        let hint = nearest.map(|name| format!("Did you mean \"{name}\"?"));
        let message = format!("function {name} does not exist");
        return Report {
            hint,
            ..Report::new("42883", message)
        };
    }
    // Functions of rows take their arguments when the statement is planned.
    if message.contains("got Column(Column {") {
        let message = "a function in FROM cannot take columns of other relations".to_owned();
        return Report {
            hint: Some("Call it in the SELECT list, where each row may have its own.".to_owned()),
            ..Report::new("0A000", message)
        };
    }
    let sqlstate = if message.contains("must be in the GROUP BY") || message.contains("GROUP BY") {
        "42803"
    } else if message.contains("coerce") || message.contains("type") {
        "42804"
    } else {
        "42000"
    };
    Report::new(sqlstate, lower_first(message))
}

/// An error's message without DataFusion's prefixes and backtraces.
fn plain_message(error: &DataFusionError) -> String {
    let text = error.strip_backtrace();
    let text = [
        "SQL error: ",
        "Schema error: ",
        "Arrow error: ",
        "External error: ",
    ]
    .iter()
    .fold(text.as_str(), |text, prefix| {
        text.strip_prefix(prefix).unwrap_or(text)
    });
    lower_first(text)
}

/// Messages start with a lower-case letter, unless the word is a name in capitals.
fn lower_first(message: &str) -> String {
    let mut chars = message.trim_end_matches('.').chars();
    match (chars.next(), chars.clone().next()) {
        (Some(first), Some(second)) if second.is_lowercase() => {
            first.to_lowercase().chain(chars).collect()
        }
        (Some(first), _) => std::iter::once(first).chain(chars).collect(),
        (None, _) => String::new(),
    }
}

/// The name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}
