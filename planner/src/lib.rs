//! From a parsed statement to running operators: binding, planning and executing.
//!
//! Code map, in reading order: `engine` opens a warehouse; `session` prepares and executes the
//! statements of one client; `settings` holds what `SET` changes; `bind` resolves names, options and
//! models; `access` checks who may do what, `activity` lists the sessions, `session_lists` what each keeps by name; `logical`, `physical` have the operators that SQL lacks, `optimize` our rules; `catalog` shows the warehouse to
//! the planner; `functions` are PostgreSQL's that the planner lacks; `memory` is what their values and batches on their way take; `transaction` is a block of statements; `channels` are what sessions wake each other by, `listening` what each asks of them; `query_meaning`
//! is what a model's query means whoever trains it; `named` and `point_plan` are what makes a prepared statement cheap to run again; `distributed` brings plans and trainings to other machines; `execute` runs plans, `change_in_with` those that change rows on their way, `explain` shows them, and
//! `commands` runs what is not a query. Parses no text itself, knows no wire protocol.

mod access;
mod activity;
mod advisory_locks;
mod backend;
mod background;
mod bind;
mod cast_errors;
mod catalog;
mod change_in_with;
mod channels;
mod checkpoints;
mod commands;
mod constants;
mod copied_lines;
mod copied_rows;
mod copy_options;
mod distributed;
mod engine;
mod error;
mod error_places;
mod execute;
mod explain;
mod explain_json;
mod explain_stages;
mod explain_yaml;
mod explained_change;
mod first_uses;
mod functions;
mod identity;
mod jobs;
mod listening;
mod logical;
mod look_up_plan;
mod measured;
mod memory;
mod model_calls;
mod name_scope;
mod named;
mod observe;
mod optimize;
mod parameter_types;
mod physical;
mod point_plan;
mod query_meaning;
mod resources;
mod search_path;
mod sequences;
mod serial_sequence;
mod session;
mod session_lists;
mod settings;
mod spill_folder;
mod spill_shares;
mod statement_clock;
mod statement_run;
mod streams;
mod table_writes;
mod temporary;
mod timers;
mod training_threads;
mod transaction;
mod workload;

pub use access::{Identity, LoginFacts, ProvenRole, RoleFacts, Subject};
pub use activity::{Backend, BackendFacts, BackendState, Encryption};
pub use advisory_locks::LockFacts;
pub use auspex_storage::{
    AddressKind, BitKind, CheckReport, DeclaredType, Deferral, DomainType, EnumType, ErrorPlace,
    Garbage, GarbageOptions, Identity as ColumnNumbers, JsonKind, Key, PasswordVerifier, Problem,
    ReferenceAction, Removed, TextLimit, generated_password, is_uuid, marked_element, quoted_name,
    uuid_marks, with_clock_digits,
};
pub use bind::{
    ORIGIN_KEY, column_name_of, declared_columns_of_view, declared_of_result, ml_functions,
};
pub use catalog::domain_facts::DomainFacts;
pub use catalog::enum_facts::EnumFacts;
pub use catalog::facts::{
    CatalogFacts, FactsKind, ModelFacts, ObjectFacts, SettingFacts, TableRules,
};
pub use catalog::momentary::{MomentaryRows, MomentaryTable};
pub use catalog::reference_facts::ReferenceFacts;
pub use catalog::sequence_row::{SequenceFacts, SequenceOwner};
pub use catalog::type_facts::TypeFacts;
pub use channels::Notification;
pub use copied_lines::CopiedLines;
pub use copy_options::{CopyColumns, CopyFormat, CopyOptions, header_fault};
pub use distributed::{
    Cluster, ClusterConfig, ClusterError, ClusterTls, ClusterToken, WorkerConfig, WorkerNode,
    WorkerWatch,
};
pub use engine::{
    ClientFacts, Engine, EngineConfig, SecretText, SessionExtension, SessionFacts, ValueFunction,
};
pub use error::{Error, Report, Result, report_of};
pub use functions::{
    ArrayItem, ROW_TYPE_KEY, TYPE_KEY, address_bytes, address_of_bytes, address_text,
    has_aggregate, holds_numerics, jsonb_text, numeric_in_full, numerics_in_full, read_text,
    read_texts, rounded_numeric, shown_addresses, split_array, uuid_text, zone_abbreviations,
};
pub use memory::{KeptRows, ReceivedBytes, SentRows};
pub use observe::{SessionEnd, StatementText, StatementWatch};
pub use session::{KeptStatement, Prepared, STACK_BYTES, Session, SyntaxMemory};
pub use session_lists::{CursorFacts, Listed, SessionList, StatementFacts};
pub use settings::{
    NO_CHARACTER, SERVER_ENCODING, SINGLE_BYTE_ENCODINGS, Settings, SingleByteEncoding,
};
pub use statement_run::{CopyIn, Notice, Outcome, ReturnedCheck, Severity, StatementControl};
pub use temporary::{SCHEMA as TEMPORARY_SCHEMA, is_temporary_schema};
pub use transaction::{BlockPart, TransactionState};
