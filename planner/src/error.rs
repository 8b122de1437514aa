//! What a statement can fail with, and the report that a client is given.
//!
//! In: the errors of every stage; out: SQLSTATE, message, detail, hint and position.

mod report;
mod said;

use auspex_ml::error::Error as MlError;
use auspex_sql::ParseError;
use auspex_storage::{Error as StorageError, ErrorPlace};
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::tokenizer::Span;

use crate::distributed::ClusterError;

pub use report::{Report, report_of};

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
        /// `model`, `relation`, `schema`, `setting`, and what `DROP` names: `table`, `view`, `sequence`.
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
    /// An error with the place in the statement's text that it is about.
    #[error("{error}")]
    At {
        /// The error.
        error: Box<Error>,
        /// A byte of the text.
        position: usize,
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
        /// What it lacks.
        detail: Option<&'static str>,
        /// What to do.
        hint: Option<String>,
    },
    /// A view does not take what a statement writes.
    #[error("{message}")]
    NotUpdatable {
        /// The SQLSTATE.
        sqlstate: &'static str,
        /// What cannot be written.
        message: String,
        /// Why.
        detail: String,
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

    /// The same error of what stands at a place in the statement, unless nothing does: a part of a tree that was made.
    pub(crate) fn at(self, span: Span) -> Error {
        let place = usize::try_from(span.start.column).ok();
        match self {
            Error::Invalid {
                sqlstate,
                message,
                hint,
                position: None,
            } => Error::Invalid {
                sqlstate,
                message,
                hint,
                position: place.and_then(|place| place.checked_sub(1)),
            },
            other => other,
        }
    }

    /// The same error of `inner`, a part of the text `outer`.
    pub(crate) fn inside(self, inner: &str, outer: &str) -> Error {
        Error::Inner {
            offset: outer.find(inner),
            error: Box::new(self),
        }
    }

    /// Whether it is about a text that does not stand in the statement's own.
    pub(crate) fn is_of_other_text(&self) -> bool {
        match self {
            Error::Inner { error, offset } => offset.is_none() || error.is_of_other_text(),
            Error::InPlace { error, .. } | Error::At { error, .. } => error.is_of_other_text(),
            Error::Query(error) => match error.find_root() {
                DataFusionError::External(source) => {
                    let found = source.downcast_ref::<Error>();
                    found.is_some_and(Error::is_of_other_text)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// What a client is told.
    pub fn report(&self) -> Report {
        let report = match self {
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
            Error::At { error, position } => Report {
                position: Some(*position),
                ..error.report()
            },
            _ => Report {
                detail: self.detail(),
                hint: self.hint(),
                position: self.position(),
                ..Report::new(self.sqlstate(), self.to_string())
            },
        };
        report.without_secrets()
    }

    fn sqlstate(&self) -> &'static str {
        match self {
            Error::Parse(error) => error.sqlstate(),
            Error::Ml(error) => error.sqlstate(),
            Error::Storage(error) => error.sqlstate(),
            Error::Cluster(error) => error.sqlstate(),
            Error::Query(error) => report_of(error).sqlstate,
            Error::Inner { error, .. } | Error::InPlace { error, .. } | Error::At { error, .. } => {
                error.sqlstate()
            }
            Error::NotUnique { .. } => "23505",
            Error::Cancelled | Error::TimedOut => "57014",
            Error::Undefined { kind, .. } => match *kind {
                "schema" => "3F000",
                "relation" | "table" | "view" | "materialized view" | "sequence" => "42P01",
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
            Error::Invalid { sqlstate, .. }
            | Error::NotUpdatable { sqlstate, .. }
            | Error::Refused { sqlstate, .. } => sqlstate,
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
            | Error::NotUpdatable { hint, .. }
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
            Error::NotUpdatable { detail, .. } => Some(detail.clone()),
            Error::Refused { detail, .. } => detail.map(ToOwned::to_owned),
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

/// The name that was probably meant.
pub(crate) fn nearest<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    names
        .map(|candidate| (strsim::damerau_levenshtein(name, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min()
        .map(|(_, candidate)| candidate.to_owned())
}
