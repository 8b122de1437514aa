//! Everything that persists: the catalog log, table formats, model versions, and the object store below them.
//!
//! Arrow batches and definitions flow in; table providers, pinned snapshots and bytes flow out. This crate parses no
//! SQL, plans no query and knows no estimator: a model is a manifest and a tensor file to it.
//!
//! Code map, in reading order:
//! 1. `warehouse`: the root folder or bucket, and its store; `durable_store` is that of a folder.
//! 2. `stores`: the object stores of all URLs; `credentials`: their secrets; `locations`: which files SQL may name.
//! 3. `catalog`: the log of definitions: `definition` (what an entry is), `state` (the names at one moment and the
//!    rules that a change must keep), `log` (the files), and the `Catalog` that reads and appends.
//! 4. `tables`: what an entry's rows are: `managed` (Delta Lake), `external` (files in place), `versions` (what they
//!    were), `format`, `types`, `row_ranges` and `page_locations` (how Parquet files are divided).
//! 5. `models`: versions of models. `passwords`: what is kept of them.
//! 6. `upkeep`: checks of a warehouse, and the removal of what nothing names. `worker_signs`: workers that show themselves.
//! 7. `error`: one variant per cause; `quoted_names`: names as messages and statements write them.
//!
//! **Invariant:** every object is put with create-if-absent under a name that was never used; nothing is overwritten but
//! signs of life, which hold nothing new.
//! **Invariant:** only `Warehouse::open_with`, `Stores` and `Locations` know that files can be local.

mod catalog;
mod checkpoints;
mod credentials;
mod durable_store;
mod error;
#[cfg(test)]
mod full_store;
mod locations;
mod models;
mod passwords;
mod quoted_names;
mod stores;
mod tables;
mod upkeep;
mod warehouse;
mod worker_signs;

pub use catalog::{
    Catalog, CatalogEntry, CatalogState, Change, CheckOption, ColumnDefinition,
    CredentialDefinition, DatabaseDefinition, DefaultGrant, Definition, DomainDefinition,
    EnumDefinition, ExternalCatalogDefinition, ExternalFormat, ExternalTableDefinition,
    GRANT_OPTION, Grants, LocationDefinition, MaterializedQuery, ModelDefinition, ObjectKind,
    PUBLIC_ROLE, PUBLIC_SCHEMA, RESERVED_SCHEMAS, RoleDefinition, SequenceDefinition,
    SequenceOwner, TableDefinition, TableReference, ViewDefinition, ViewObject, columns_of,
    schema_of,
};
pub use checkpoints::{CheckpointStore, CheckpointedRun};
pub use credentials::CredentialKey;
pub use error::{
    CatalogFailure, ColumnFailure, CredentialFailure, Error, ErrorPlace, Result, ValueFailure,
};
pub use locations::Locations;
pub use models::{ModelStore, Published};
pub use passwords::{PasswordVerifier, generated_password, random};
pub use quoted_names::quoted_name;
pub use stores::{PostponedFiles, StoreOptions, StoreRegistry, Stores};
pub use tables::domain_mark::DomainType;
pub use tables::enum_mark::EnumType;
pub use tables::{
    Accept, AddressKind, Append, BitKind, BlockMark, CHANGE_COLUMNS, ChangeCounts, DeclaredType,
    Deferral, FILE_COLUMN, Identity, IdentityKind, IndexRules, InsertRules, JsonKind, Key, KeyForm,
    LIFE_SIGN_INTERVAL, Number, OnConflict, OptimizeOptions, Optimized, ROW_COLUMN, ReadTexts,
    Reference, ReferenceAction, Repeated, Rewrite, RewriteOptions, RowAction, RowChecks, RowCopier,
    RowExpr, ScanForm, SnapshotFile, TableCommit, TableDetail, TableOperation, TableShape,
    TableSnapshot, Tables, TextFault, TextLimit, TextReader, VersionSpec, ViewViolation,
    WrittenFiles, clock_digits, compression_by_name, date_text, delimiter_by_name, divide_by_rows,
    format_by_name, has_one_zero, is_date, is_uuid, marked_element, marks_of, name_in_file,
    noted_columns, shown_cell, shown_time, shown_value, stored_schema, texts_within, type_name,
    uuid_marks, uuid_of_bytes, with_clock_digits,
};
pub use upkeep::{CheckReport, Garbage, GarbageOptions, Problem, Removed, Upkeep};
pub use warehouse::Warehouse;
pub use worker_signs::{WORKER_SIGN_INTERVAL, WorkerSign, WorkerSigns};
