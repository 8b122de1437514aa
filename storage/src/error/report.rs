//! What a client is told of an error beside its message: SQLSTATE, hint and detail.
//!
//! In: a variant; out: a code or a sentence. One table each, an arm a cause.

use datafusion::error::DataFusionError;

use super::Error;
use crate::catalog::ObjectKind;
use crate::tables::ViewViolation;

/// ` of relation "t"`; nothing where no relation is known.
pub(super) fn of_relation(relation: &str) -> String {
    match relation.is_empty() {
        true => String::new(),
        false => format!(" of relation \"{relation}\""),
    }
}

impl Error {
    /// The five-character code of the condition, as PostgreSQL names it.
    #[allow(clippy::too_many_lines, reason = "a table with one arm a cause")]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            Self::UnsupportedScheme { .. }
            | Self::UnsupportedType { .. }
            | Self::NotPlainTable
            | Self::NoListing { .. }
            | Self::NewerFormat { .. } => "0A000",
            Self::InvalidLocation { .. }
            | Self::UnsupportedFormat { .. }
            | Self::InvalidPattern { .. }
            | Self::DistantLocations { .. }
            | Self::MixedColumns { .. }
            | Self::PartitionValue { .. }
            | Self::UnknownFormat { .. }
            | Self::MixedFiles { .. }
            | Self::MixedPartitions { .. }
            | Self::UnknownOption { .. }
            | Self::YoungGarbage { .. }
            | Self::InvalidOption { .. } => "22023",
            Self::LocationRefused { .. }
            | Self::LocationReserved { .. }
            | Self::ObjectDenied { .. }
            | Self::ReservedSchema { .. } => "42501",
            Self::LocationNotFound { .. }
            | Self::EmptyFolder { .. }
            | Self::NoMatch { .. }
            | Self::ObjectMissing { .. } => "58P01",
            Self::StoreConfiguration { .. } => "55000",
            Self::NoColumns { .. } | Self::NoTableColumns => "42P16",
            Self::UndefinedObject { .. } | Self::TableGone { .. } => "42P01",
            Self::UndefinedSchema { .. } => "3F000",
            Self::UndefinedVersion { .. }
            | Self::UndefinedGlobal { .. }
            | Self::RoleDropped { .. }
            | Self::UndefinedTableVersion { .. } => "42704",
            Self::VersionVacuumed { .. }
            | Self::SnapshotLost { .. }
            | Self::ChangesNotKept
            | Self::ChangesLost { .. }
            | Self::AppendOnly => "55000",
            Self::PartitionMoment(_) => "22008",
            Self::VersionOrder { .. } | Self::PartitionRefused { .. } => "22023",
            Self::NotPartitionFilter => "0A000",
            // A value of another type than its column is the value's fault, all else the file's.
            Self::BadFile {
                format: "csv" | "ndjson",
                reason,
                ..
            } if reason.contains("parsing value '") || reason.contains("failed to parse") => {
                "22P02"
            }
            Self::BadFile {
                format: "csv" | "ndjson",
                ..
            } => "22P04",
            Self::BadFile { .. } | Self::TableFormat { .. } => "XX001",
            Self::BadValue(failure) => failure.sqlstate,
            Self::UndefinedSnapshot { .. } => "42704",
            Self::DuplicateObject {
                kind: ObjectKind::Enum | ObjectKind::Domain,
                ..
            } => "42710",
            Self::DuplicateObject { kind, .. } if kind.is_global() => "42710",
            Self::DuplicateObject { .. } => "42P07",
            Self::DuplicateSchema { .. } => "42P06",
            Self::DuplicateColumn { .. } => "42701",
            Self::ReservedName { .. } => "42939",
            Self::SchemaNotEmpty { .. } => "2BP01",
            Self::NotATable { .. } | Self::NoVersions { .. } | Self::NotAFile { .. } => "42809",
            Self::ColumnCount { .. } => "42804",
            Self::NullViolation { .. } => "23502",
            Self::CheckViolation { .. } => "23514",
            Self::ViewCheckViolation(_) => "44000",
            Self::KeyViolation { .. } => "23505",
            Self::RepeatedChange => "21000",
            Self::IdentityExhausted { .. } => "2200H",
            Self::ChangesInBlock => "0A000",
            Self::TextTooLong { .. } | Self::PartitionTooLong(_) => "22001",
            Self::ValueOutOfRange { .. } => "22003",
            Self::Conflict { .. } | Self::VersionTaken { .. } => "40001",
            Self::DiskFull { .. } => "53100",
            Self::Catalog(failure) => failure.sqlstate(),
            Self::Credential(failure) => failure.sqlstate(),
            Self::Column(failure) => failure.sqlstate(),
            Self::Corrupt { .. } => "XX001",
            Self::Delta { source } if source.to_string().contains("nsupported") => "0A000",
            Self::DataFusion { source }
                if matches!(source.find_root(), DataFusionError::NotImplemented(_)) =>
            {
                "0A000"
            }
            Self::ObjectFailed { .. } | Self::Io { .. } | Self::Delta { .. } => "58030",
            Self::DataFusion { .. } | Self::Arrow(_) | Self::Internal { .. } => "XX000",
        }
    }

    /// What the user can do about it, as a sentence.
    #[allow(clippy::too_many_lines, reason = "a table with one arm a cause")]
    pub fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::UnsupportedScheme { .. } => {
                "Use a path, or a URL that starts with file, s3, az, \
                 abfss, gs, or, to read, http or https."
                    .into()
            }
            Self::ObjectDenied { url, .. } => {
                format!("Give the server a secret for it: CREATE CREDENTIAL ... FOR '{url}'.")
            }
            Self::Catalog(failure) => failure.hint(),
            Self::Credential(failure) => return failure.hint(),
            Self::Column(failure) => failure.hint(),
            Self::StoreConfiguration { location, .. } => format!(
                "Create a credential, CREATE CREDENTIAL ... FOR '{location}', or set the \
                 environment variables of the store."
            ),
            Self::UnsupportedType { .. } => {
                "Cast the column to a type that tables store, such as text or bigint.".into()
            }
            Self::LocationRefused { .. } => "Files can be read from the warehouse and from the \
                 locations that the administrator allowed with --allow-location or CREATE \
                 EXTERNAL LOCATION. What a pattern, a link or a table's log leads to must lie in \
                 the external location that holds it."
                .into(),
            Self::LocationReserved { .. } => "Read tables and models by their names in SQL.".into(),
            Self::UnknownFormat { .. } => "Name the file .parquet, .csv, .tsv, .ndjson, .jsonl, \
                 .json, .arrow or .avro, or use read_csv('...') and its siblings, or CREATE \
                 EXTERNAL TABLE ... STORED AS."
                .into(),
            Self::UnsupportedFormat { format, .. } => format!(
                "Read it as what it is: STORED AS {}, or read_{}('...').",
                format.to_uppercase(),
                format.to_lowercase()
            ),
            Self::UndefinedSnapshot { existing, .. } if !existing.is_empty() => {
                let ids: Vec<String> = existing.iter().map(i64::to_string).collect();
                format!("Its snapshots are {}.", ids.join(", "))
            }
            Self::MixedColumns { .. } => "The columns of CSV and Arrow files count by their \
                 place; read the files apart."
                .into(),
            Self::DistantLocations { .. } => {
                "Make a table of each, and a view that joins them with UNION ALL.".into()
            }
            Self::UnknownOption { known: [], .. } => "The format has no options.".into(),
            Self::UnknownOption { known, .. } => format!("Its options are {}.", known.join(", ")),
            Self::ChangesNotKept => "Run ALTER TABLE ... SET TBLPROPERTIES \
                 ('delta.enableChangeDataFeed' = 'true'); changes are kept from then on."
                .into(),
            Self::ChangesLost { version, .. } => format!(
                "Ask for the changes up to version {} and from version {} on apart.",
                version.saturating_sub(1),
                version + 1
            ),
            Self::NoListing { .. } => "Name the files one by one.".into(),
            Self::PartitionRefused { .. } => {
                "Delta tables keep this text of a partition column as NULL; write NULL, or another \
                 text."
                    .into()
            }
            Self::PartitionMoment(_) => "Readers of Delta tables know moments of partition columns \
                 from 1 BC to the year 9999, in UTC."
                .into(),
            Self::PartitionTooLong(_) => "The value and the column's name are the name of a \
                 folder, which has at most 255 bytes; most characters that are no letters or \
                 digits take three."
                .into(),
            Self::AppendOnly => {
                "Run ALTER TABLE ... UNSET TBLPROPERTIES ('delta.appendOnly') first.".into()
            }
            Self::VersionOrder { .. } => "Write the lower version first.".into(),
            Self::NoVersions { .. } => {
                "Managed tables, Delta tables and Iceberg tables keep their versions.".into()
            }
            Self::ChangesInBlock => "Commit between the statements.".into(),
            Self::RepeatedChange => "Ensure that not more than one source row matches any one \
                 target row."
                .into(),
            Self::NotPlainTable => "Copy it into a new table with CREATE TABLE ... AS.".into(),
            Self::DuplicateObject { .. } | Self::DuplicateSchema { .. } => {
                "Choose another name, or use IF NOT EXISTS.".into()
            }
            Self::SchemaNotEmpty { .. } => {
                "Use DROP ... CASCADE to drop the dependent objects too.".into()
            }
            Self::Conflict { .. } | Self::VersionTaken { .. } => "Run the statement again.".into(),
            Self::UndefinedTableVersion { range, .. } => range.clone(),
            Self::VersionVacuumed { newest, .. } => format!(
                "VACUUM keeps the files of versions for 7 days unless told otherwise. The newest \
                 version is {newest}."
            ),
            Self::SnapshotLost { .. } => {
                "Train on the rows of now with TRAIN MODEL name; a managed table keeps its versions.".into()
            }
            Self::DiskFull { .. } => "Free space, then run the statement again; nothing of it \
                 was kept."
                .into(),
            Self::ObjectFailed {
                is_settled: false, ..
            } => "What was to be written may be there all the same: look before you run the \
                 statement again."
                .into(),
            Self::NewerFormat { .. } => {
                "Start the server version that wrote it, or a newer one.".into()
            }
            _ => return None,
        };
        Some(hint)
    }

    /// Whether it is sure that nothing was done; else a commit may be there all the same, and needs its files.
    pub fn is_settled(&self) -> bool {
        !matches!(
            self,
            Self::ObjectFailed {
                is_settled: false,
                ..
            }
        )
    }

    /// More about the circumstances, as a sentence.
    pub fn detail(&self) -> Option<String> {
        let detail = match self {
            Self::LocationReserved { folder, .. } => {
                format!("The folder \"{folder}\" of the warehouse holds the engine's own files.")
            }
            Self::Catalog(failure) => failure.detail(),
            Self::ObjectFailed { reason, .. } | Self::ObjectDenied { reason, .. } => {
                format!("{}.", reason.trim_end_matches(['.', '\n']))
            }
            Self::MixedColumns { first, second, .. } => format!(
                "The columns of one are {}, of the other {}.",
                first.join(", "),
                second.join(", ")
            ),
            Self::DuplicateObject { kind, .. } if kind.is_global() => return None,
            Self::DuplicateObject { schema, .. } => format!(
                "Tables, external tables, views and models of schema \"{schema}\" share one name \
                 space."
            ),
            Self::ReservedSchema { schema, .. } => {
                format!("Only the engine makes objects in schema \"{schema}\".")
            }
            Self::ReservedName {
                kind: ObjectKind::Schema,
                ..
            } => "The prefix \"pg_\" is reserved for system schemas.".into(),
            Self::SchemaNotEmpty { schema, dependents } => {
                format!("Schema \"{schema}\" holds {}.", dependents.join(", "))
            }
            Self::NullViolation { row, .. }
            | Self::CheckViolation { row, .. }
            | Self::ViewCheckViolation(ViewViolation { row, .. }) => {
                format!("Failing row contains {row}.")
            }
            Self::KeyViolation { key, .. } => format!("Key {key} already exists."),
            Self::ValueOutOfRange { source, .. } => format!("{source}."),
            Self::VersionVacuumed { file, .. } => format!("File \"{file}\" is missing."),
            Self::DiskFull { source } => format!("{source}."),
            _ => return None,
        };
        Some(detail)
    }
}
