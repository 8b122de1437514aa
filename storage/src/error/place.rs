//! Which table, column or constraint an error is about.
//!
//! In: a variant; out: the names that it carries, for clients that look at them rather than at the message.

use serde::{Deserialize, Serialize};

use super::Error;

/// What an error is about; `None` where it is about no such thing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ErrorPlace {
    /// The schema of the table.
    pub schema: Option<String>,
    /// The table.
    pub table: Option<String>,
    /// The column.
    pub column: Option<String>,
    /// The constraint.
    pub constraint: Option<String>,
    /// The type that a value does not fit.
    pub data_type: Option<String>,
}

impl ErrorPlace {
    fn table(schema: &str, table: &str) -> ErrorPlace {
        let named = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        ErrorPlace {
            schema: named(schema),
            table: named(table),
            ..ErrorPlace::default()
        }
    }
}

impl Error {
    /// Which table, column or constraint it is about.
    pub fn place(&self) -> ErrorPlace {
        match self {
            Self::NullViolation {
                schema,
                relation,
                column,
                ..
            }
            | Self::ValueOutOfRange {
                schema,
                relation,
                column,
                ..
            } => ErrorPlace {
                column: Some(column.clone()),
                ..ErrorPlace::table(schema, relation)
            },
            Self::TextTooLong {
                schema,
                relation,
                column,
                data_type,
            } => ErrorPlace {
                column: Some(column.clone()),
                data_type: Some(data_type.clone()),
                ..ErrorPlace::table(schema, relation)
            },
            Self::CheckViolation {
                schema,
                relation,
                constraint,
                ..
            }
            | Self::KeyViolation {
                schema,
                relation,
                constraint,
                ..
            } => ErrorPlace {
                constraint: Some(constraint.clone()),
                ..ErrorPlace::table(schema, relation)
            },
            Self::Column(failure) => failure.place(),
            _ => ErrorPlace::default(),
        }
    }

    /// The same error of a value on its way to this table.
    pub(crate) fn of_relation(mut self, of_schema: &str, of_relation: &str) -> Self {
        if let Self::NullViolation {
            schema, relation, ..
        }
        | Self::ValueOutOfRange {
            schema, relation, ..
        } = &mut self
        {
            of_schema.clone_into(schema);
            of_relation.clone_into(relation);
        }
        self
    }
}
