//! The errors of the crate: one variant per cause. Those of the libraries below flow in through `causes`.

mod causes;
mod credential;
mod file_columns;
mod foreign_catalog;
mod place;
mod report;
mod value;

use crate::catalog::ObjectKind;
use crate::tables::ViewViolation;
pub use causes::Result;
pub(crate) use causes::{Source, is_disk_full, no_versions, not_a_table, without_backtrace};
pub use credential::CredentialFailure;
use datafusion::arrow::error::ArrowError;
use datafusion::error::DataFusionError;
use deltalake::DeltaTableError;
pub use file_columns::ColumnFailure;
pub use foreign_catalog::CatalogFailure;
pub use place::ErrorPlace;
pub use value::ValueFailure;

/// What went wrong in storage.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The URL scheme of a location has no store yet.
    #[error("location scheme \"{scheme}\" of \"{location}\" is not supported")]
    UnsupportedScheme {
        /// The scheme found.
        scheme: String,
        /// The location as it was given.
        location: String,
    },
    /// The type of a column cannot be stored in a managed table.
    #[error("column \"{column}\" has type {data_type}, which a table cannot store")]
    UnsupportedType {
        /// The column.
        column: String,
        /// Its Arrow type.
        data_type: String,
    },
    /// Files of a table format that were to be read as plain ones.
    #[error("\"{location}\" holds a {format} table, not files of a plain format")]
    UnsupportedFormat {
        /// The folder.
        location: String,
        /// What was found in it.
        format: &'static str,
    },
    /// A location cannot be read as a path or URL.
    #[error("\"{location}\" is not a valid location")]
    InvalidLocation {
        /// The location as it was given.
        location: String,
    },
    /// A location outside the warehouse and the allowed locations.
    #[error("access to location \"{location}\" is not allowed")]
    LocationRefused {
        /// The location as it was given.
        location: String,
    },
    /// A location that holds the engine's own files.
    #[error("access to location \"{location}\" is not allowed")]
    LocationReserved {
        /// The location as it was given.
        location: String,
        /// The engine's folder that it lies in or contains.
        folder: &'static str,
    },
    /// Nothing is at a location.
    #[error("location \"{location}\" does not exist")]
    LocationNotFound {
        /// The location.
        location: String,
    },
    /// A pipe, socket or device in the place of a file.
    #[error("\"{location}\" is not a regular file")]
    NotAFile {
        /// The location.
        location: String,
    },
    /// A folder has no file of the format.
    #[error("folder \"{location}\" holds no {format} files")]
    EmptyFolder {
        /// The folder.
        location: String,
        /// The format looked for.
        format: String,
    },
    /// A file from whose content no column could be read.
    #[error("no columns found in \"{location}\"")]
    NoColumns {
        /// The file or folder.
        location: String,
    },
    /// Neither name nor content of a location says its format.
    #[error("cannot tell the format of \"{location}\"")]
    UnknownFormat {
        /// The file or folder.
        location: String,
    },
    /// No file matches a pattern.
    #[error("no file matches \"{pattern}\"")]
    NoMatch {
        /// The pattern.
        pattern: String,
    },
    /// A set of files in a store that lists none.
    #[error("\"{location}\" is not one file, and HTTP servers do not list files")]
    NoListing {
        /// The folder or pattern.
        location: String,
    },
    /// A pattern that cannot be read.
    #[error("\"{pattern}\" is not a valid pattern: {reason}")]
    InvalidPattern {
        /// The part that is wrong.
        pattern: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The locations of one table lie in several stores.
    #[error("locations \"{first}\" and \"{second}\" of one table lie in different stores")]
    DistantLocations {
        /// The first location.
        first: String,
        /// One in another store.
        second: String,
    },
    /// Files whose columns count by their place have different ones.
    #[error("\"{second_file}\" does not have the columns of \"{first_file}\"")]
    MixedColumns {
        /// A file.
        first_file: String,
        /// Its columns.
        first: Vec<String>,
        /// Another file.
        second_file: String,
        /// Its columns.
        second: Vec<String>,
    },
    /// A column of a file is none of the table.
    #[error(transparent)]
    Column(#[from] ColumnFailure),
    /// The name of a folder does not hold a value of the column's type.
    #[error("partition \"{column}={value}\" of \"{file}\" is not of type {data_type}")]
    PartitionValue {
        /// The column.
        column: String,
        /// What the folder's name says.
        value: String,
        /// The column's type.
        data_type: String,
        /// The file in it.
        file: String,
    },
    /// Files of several kinds in one folder.
    #[error("folder \"{location}\" mixes \"{first}\" and \"{second}\" files")]
    MixedFiles {
        /// The folder.
        location: String,
        /// One file name ending.
        first: String,
        /// Another one.
        second: String,
    },
    /// The folders of some files name partitions, those of others name others.
    #[error("\"{file}\" in folder \"{location}\" does not lie in partitions ({})", expected.join(", "))]
    MixedPartitions {
        /// The folder.
        location: String,
        /// The file that differs from the first.
        file: String,
        /// The partition columns of the first file.
        expected: Vec<String>,
    },
    /// An option that the format does not have.
    #[error("unknown option \"{option}\" for format {format}")]
    UnknownOption {
        /// The option found.
        option: String,
        /// The format.
        format: &'static str,
        /// The options that it has.
        known: &'static [&'static str],
    },
    /// An option's value is not one of those allowed.
    #[error("option \"{option}\" must be {expected}, got \"{value}\"")]
    InvalidOption {
        /// The option.
        option: String,
        /// The value found.
        value: String,
        /// The values allowed.
        expected: &'static str,
    },
    /// No such table, view or model.
    #[error("relation \"{schema}.{name}\" does not exist")]
    UndefinedObject {
        /// The schema searched.
        schema: String,
        /// The name.
        name: String,
    },
    /// No such object without a schema.
    #[error("{kind} \"{name}\" does not exist")]
    UndefinedGlobal {
        /// What was looked for.
        kind: ObjectKind,
        /// The name.
        name: String,
    },
    /// The role that was to own a new object is gone.
    #[error("role \"{role}\" was dropped meanwhile")]
    RoleDropped {
        /// What it was called.
        role: String,
    },
    /// A file is not what its format says, or not what its table says.
    #[error("{format} file \"{file}\" cannot be read: {reason}")]
    BadFile {
        /// The file.
        file: String,
        /// Its format.
        format: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// A value of a file is none of the type that a statement declares for its column.
    #[error("{} file \"{}\" cannot be read: {}", .0.format, .0.file, .0.reason)]
    BadValue(ValueFailure),
    /// The metadata of a table of others cannot be read, or the catalog that names it.
    #[error("{format} table \"{table}\" cannot be read: {reason}")]
    TableFormat {
        /// The table, or its catalog.
        table: String,
        /// Its format.
        format: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// A table has no such snapshot.
    #[error("{what} of the table at \"{location}\" does not exist")]
    UndefinedSnapshot {
        /// The table's folder.
        location: String,
        /// What was asked for.
        what: String,
        /// The snapshots that exist.
        existing: Vec<i64>,
    },
    /// A bound for garbage that would take files away which running servers need.
    #[error("only files older than {} minutes can be removed", least.as_secs() / 60)]
    YoungGarbage {
        /// The least bound.
        least: std::time::Duration,
    },
    /// The rows of a table are gone: it was dropped meanwhile.
    #[error("the files of table \"{id}\" do not exist")]
    TableGone {
        /// The table's id.
        id: String,
    },
    /// No such schema.
    #[error("schema \"{schema}\" does not exist")]
    UndefinedSchema {
        /// The name.
        schema: String,
    },
    /// No such version of a model.
    #[error("version {version} of model \"{model_id}\" does not exist")]
    UndefinedVersion {
        /// The model's id.
        model_id: String,
        /// The version asked for.
        version: u64,
    },
    /// The name is taken in its schema.
    #[error("{kind} \"{name}\" already exists")]
    DuplicateObject {
        /// What holds the name.
        kind: ObjectKind,
        /// The schema.
        schema: String,
        /// The name.
        name: String,
    },
    /// The schema's name is taken.
    #[error("schema \"{schema}\" already exists")]
    DuplicateSchema {
        /// The name.
        schema: String,
    },
    /// Two columns of a table have one name.
    #[error("column \"{column}\" specified more than once")]
    DuplicateColumn {
        /// The name.
        column: String,
    },
    /// A schema whose objects only the engine makes.
    #[error("permission denied to create \"{schema}.{name}\"")]
    ReservedSchema {
        /// The schema.
        schema: String,
        /// The object's name.
        name: String,
    },
    /// A name that no object can have.
    #[error("unacceptable name \"{name}\" for a {kind}")]
    ReservedName {
        /// What was to be named.
        kind: ObjectKind,
        /// The name.
        name: String,
    },
    /// A schema that still holds objects.
    #[error("cannot drop schema \"{schema}\" because other objects depend on it")]
    SchemaNotEmpty {
        /// The schema.
        schema: String,
        /// What it holds, as `kind name`.
        dependents: Vec<String>,
    },
    /// The object is of another kind than the operation needs.
    #[error("\"{name}\" is a {kind}, not a table")]
    NotATable {
        /// The name.
        name: String,
        /// What it is.
        kind: ObjectKind,
    },
    /// A table without columns.
    #[error("a table needs at least one column")]
    NoTableColumns,
    /// Rows do not have the table's columns.
    #[error("the table has {expected} columns, but the rows have {found}")]
    ColumnCount {
        /// Columns of the table.
        expected: usize,
        /// Columns of the rows.
        found: usize,
    },
    /// A NULL for a column that allows none.
    #[error(
        "null value in column \"{column}\"{} violates not-null constraint",
        report::of_relation(.relation)
    )]
    NullViolation {
        /// The table's schema.
        schema: String,
        /// The table.
        relation: String,
        /// The column.
        column: String,
        /// The row's values.
        row: String,
    },
    /// A row that a check refuses.
    #[error("new row for relation \"{relation}\" violates check constraint \"{constraint}\"")]
    CheckViolation {
        /// The table's schema.
        schema: String,
        /// The table.
        relation: String,
        /// The check.
        constraint: String,
        /// The row's values.
        row: String,
    },
    /// A row that is written through a view and would be none of it.
    #[error("new row violates check option for view \"{}\"", .0.view)]
    ViewCheckViolation(ViewViolation),
    /// Two rows of the same key.
    #[error("duplicate key value violates unique constraint \"{constraint}\"")]
    KeyViolation {
        /// The table's schema.
        schema: String,
        /// The table.
        relation: String,
        /// The key.
        constraint: String,
        /// Columns and values: `(id)=(1)`.
        key: String,
    },
    /// A MERGE would change one row twice.
    #[error("MERGE command cannot affect row a second time")]
    RepeatedChange,
    /// An identity column has no numbers left.
    #[error("the numbers of identity column \"{column}\" are exhausted")]
    IdentityExhausted {
        /// The column.
        column: String,
    },
    /// A transaction block added rows to a table that keeps its changes, and changed others.
    #[error(
        "a transaction block cannot both add and change rows of a table that keeps its changes"
    )]
    ChangesInBlock,
    /// A table whose rows cannot be addressed in their files.
    #[error("rows of tables with deletion vectors, mapped columns or invariants cannot change")]
    NotPlainTable,
    /// A text that is longer than its column allows.
    #[error("value too long for type {data_type}")]
    TextTooLong {
        /// The table's schema.
        schema: String,
        /// The table.
        relation: String,
        /// The column.
        column: String,
        /// The type: `character varying(10)`.
        data_type: String,
    },
    /// A value that a partition column would give back as NULL.
    #[error("partition column \"{column}\" cannot hold the text \"{value}\"")]
    PartitionRefused {
        /// The column.
        column: String,
        /// The text.
        value: String,
    },
    /// A value of the named column, too long for a folder's name.
    #[error("value too long for partition column \"{0}\"")]
    PartitionTooLong(String),
    /// A moment of the named column whose year in UTC readers of the format do not know.
    #[error("timestamp out of range for partition column \"{0}\"")]
    PartitionMoment(String),
    /// Rows of a table that only takes rows were to be changed or removed.
    #[error("rows of the table cannot be changed or removed: it is append-only")]
    AppendOnly,
    /// A value that the column's type cannot hold.
    #[error("value out of range for column \"{column}\" of type {data_type}")]
    ValueOutOfRange {
        /// The table's schema.
        schema: String,
        /// The table.
        relation: String,
        /// The column.
        column: String,
        /// The stored type.
        data_type: String,
        /// What the conversion said.
        source: Box<ArrowError>,
    },
    /// A table that does not keep the changes of its rows.
    #[error("the table does not keep the changes of its rows")]
    ChangesNotKept,
    /// Changes of rows that the commits of a table do not tell.
    #[error("the changes of rows at version {version} are not known: {reason}")]
    ChangesLost {
        /// The first such version of those asked for.
        version: u64,
        /// Why.
        reason: &'static str,
    },
    /// A range of versions that ends before it begins.
    #[error("the range of versions from {from} to {to} ends before it begins")]
    VersionOrder {
        /// Its first version.
        from: u64,
        /// Its last version.
        to: u64,
    },
    /// A condition of OPTIMIZE over other columns than those that divide the files.
    #[error("the condition of OPTIMIZE must be over partition columns alone")]
    NotPartitionFilter,
    /// A table whose format keeps no versions.
    #[error("table \"{name}\" has no versions")]
    NoVersions {
        /// The table.
        name: String,
    },
    /// A table has no such version.
    #[error("{what} of the table does not exist")]
    UndefinedTableVersion {
        /// `version 7`, `version at 2026-01-01 00:00:00.000`.
        what: String,
        /// The versions that exist, as a sentence.
        range: String,
    },
    /// The files of a version were removed by VACUUM.
    #[error("version {version} of the table can no longer be read: its files were removed")]
    VersionVacuumed {
        /// The version asked for.
        version: u64,
        /// The first file that is missing.
        file: String,
        /// The newest version.
        newest: u64,
    },
    /// A table is not what it was when a model was trained on it.
    #[error("the rows of \"{location}\" that a model was trained on are lost: {what}")]
    SnapshotLost {
        /// The URL of the table.
        location: String,
        /// What has changed.
        what: String,
    },
    /// Other writers won every attempt.
    #[error("could not serialize access due to concurrent changes of {object}")]
    Conflict {
        /// What was to be changed.
        object: String,
    },
    /// The version's number was published by another.
    #[error("version {version} of model \"{model_id}\" was published concurrently")]
    VersionTaken {
        /// The model's id.
        model_id: String,
        /// The number.
        version: u64,
    },
    /// No space is left where the warehouse or a file is written.
    #[error("could not write to storage: no space left")]
    DiskFull {
        /// What the store said.
        source: Source,
    },
    /// A file of the engine is not what the engine wrote.
    #[error("file \"{file}\" is corrupt: {reason}")]
    Corrupt {
        /// The file, relative to the warehouse.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the engine was written by a newer engine.
    #[error("file \"{file}\" has format version {found}, this server reads up to {supported}")]
    NewerFormat {
        /// The file, relative to the warehouse.
        file: String,
        /// Its version.
        found: u64,
        /// The newest version that this engine reads.
        supported: u64,
    },
    /// A store could not do what was asked of it.
    #[error("request for \"{url}\" failed")]
    ObjectFailed {
        /// The object.
        url: String,
        /// What the store said.
        reason: String,
        /// Whether it is sure that it was not done.
        is_settled: bool,
    },
    /// A store refused access to an object.
    #[error("the store denied access to \"{url}\"")]
    ObjectDenied {
        /// The object.
        url: String,
        /// What the store said.
        reason: String,
    },
    /// An object is not there, or no more.
    #[error("\"{url}\" does not exist")]
    ObjectMissing {
        /// The object.
        url: String,
    },
    /// A catalog of others did not answer.
    #[error(transparent)]
    Catalog(#[from] CatalogFailure),
    /// A store cannot be reached with what is configured.
    #[error("no access to \"{location}\" is configured: {reason}")]
    StoreConfiguration {
        /// The store's root.
        location: String,
        /// What is missing or wrong.
        reason: String,
    },
    /// A credential cannot be made, or its secrets cannot be opened.
    #[error(transparent)]
    Credential(#[from] CredentialFailure),
    /// The store failed.
    #[error("storage failed: {source}")]
    Io {
        /// What it said.
        source: Source,
    },
    /// The Delta log refused or failed.
    #[error("table storage failed: {source}")]
    Delta {
        /// What it said.
        source: Box<DeltaTableError>,
    },
    /// The query that produced rows, or a reader, failed.
    #[error("{source}")]
    DataFusion {
        /// What it said.
        source: Box<DataFusionError>,
    },
    /// An Arrow computation failed.
    #[error(transparent)]
    Arrow(ArrowError),
    /// A broken invariant of the engine.
    #[error("internal error: {what}")]
    Internal {
        /// Which one.
        what: String,
    },
}
