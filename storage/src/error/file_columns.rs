//! What columns of files fail with that are not what a table has in their place, or that no table has.
//!
//! A file, a column and types flow in; what a client is told flows out.

use super::ErrorPlace;

/// A column of a file is none of the table.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ColumnFailure {
    /// A column has types in two files that no one type can hold.
    #[error(
        "column \"{column}\" is {first_type} in \"{first_file}\" but {second_type} in \"{second_file}\""
    )]
    Mixed {
        /// The column.
        column: String,
        /// A file.
        first_file: String,
        /// The type there.
        first_type: String,
        /// Another file.
        second_file: String,
        /// The type there.
        second_type: String,
    },
    /// A column has a type in a file that is not read as that of the table's column.
    #[error("column \"{column}\" is of type {wanted} but of type {found} in \"{file}\"")]
    Type {
        /// The column.
        column: String,
        /// The file.
        file: String,
        /// The type there.
        found: String,
        /// The type of the table's column.
        wanted: String,
    },
    /// A value of a file is none of the type of the table's column.
    #[error("value {value} of column \"{column}\" in \"{file}\" is out of range for type {wanted}")]
    Value {
        /// The column.
        column: String,
        /// The file.
        file: String,
        /// The value there.
        value: String,
        /// The type of the table's column.
        wanted: String,
    },
    /// Two columns of a file may be meant by that of a table.
    #[error("column \"{column}\" is ambiguous: \"{file}\" has \"{first}\" and \"{second}\"")]
    Ambiguous {
        /// The column.
        column: String,
        /// The file.
        file: String,
        /// A name there.
        first: String,
        /// Another one that differs in case.
        second: String,
    },
    /// Folders cannot be named by the values of a column.
    #[error("column \"{column}\" of type {data_type} cannot divide the files of a table")]
    Partition {
        /// The column.
        column: String,
        /// Its type.
        data_type: String,
    },
    /// A date whose year the statistics of a table's files cannot hold.
    #[error("date out of range: \"{date}\"")]
    FarDate {
        /// The column.
        column: String,
        /// The date.
        date: String,
    },
}

impl ColumnFailure {
    pub(super) fn sqlstate(&self) -> &'static str {
        match self {
            Self::Mixed { .. } => "22023",
            Self::Type { .. } => "42804",
            Self::Ambiguous { .. } => "42702",
            Self::Partition { .. } => "0A000",
            Self::Value { .. } => "22003",
            Self::FarDate { .. } => "22008",
        }
    }

    pub(super) fn hint(&self) -> String {
        match self {
            Self::Mixed { .. } => {
                "Declare the columns of the table, or read the files apart.".to_owned()
            }
            Self::Type { found, .. } => format!(
                "Declare the column as {found}, and cast its values in queries or in a view."
            ),
            Self::Value { .. } => {
                "Declare the column with a type that holds all its values.".to_owned()
            }
            Self::Ambiguous { .. } => {
                "Declare the column, in quotes, by the very name that the file has.".to_owned()
            }
            Self::Partition { .. } => "Divide the files by a column of another type.".to_owned(),
            Self::FarDate { .. } => "Tables keep dates from 262144 BC to 262142.".to_owned(),
        }
    }

    pub(super) fn place(&self) -> ErrorPlace {
        let (Self::Mixed { column, .. }
        | Self::Type { column, .. }
        | Self::Value { column, .. }
        | Self::Ambiguous { column, .. }
        | Self::Partition { column, .. }
        | Self::FarDate { column, .. }) = self;
        ErrorPlace {
            column: Some(column.clone()),
            ..ErrorPlace::default()
        }
    }

    /// The column of a table that a column of a file may be.
    pub(crate) fn ambiguous_column(&self) -> Option<&str> {
        match self {
            Self::Ambiguous { column, .. } => Some(column),
            _ => None,
        }
    }

    /// Tells of the column that one of a file lies within.
    pub(crate) fn set_column(&mut self, whole: &str) {
        if let Self::Ambiguous { column, .. } = self {
            whole.clone_into(column);
        }
    }

    /// The same of a file, unless it names one.
    pub fn in_file(mut self, name: String) -> Self {
        match &mut self {
            Self::Type { file, .. } | Self::Value { file, .. } | Self::Ambiguous { file, .. }
                if file.is_empty() =>
            {
                *file = name;
            }
            _ => {}
        }
        self
    }
}
