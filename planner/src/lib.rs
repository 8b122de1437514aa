//! From a parsed statement to running operators: binding, planning and executing.
//!
//! Code map, in reading order: `engine` opens a warehouse; `session` prepares and executes the
//! statements of one client; `settings` holds what `SET` changes; `bind` resolves names, options and
//! models; `access` checks who may do what, `activity` lists the sessions; `logical`, `physical` have the operators that SQL lacks, `optimize` our rules; `catalog` shows the warehouse to
//! the planner; `execute` runs plans, `explain` shows them, and `commands` runs what is not a query. Parses no text itself, knows no wire protocol.

mod access;
mod activity;
mod backend;
mod bind;
mod catalog;
mod commands;
mod engine;
mod error;
mod execute;
mod explain;
mod logical;
mod observe;
mod optimize;
mod physical;
mod session;
mod settings;
mod statement_run;
mod streams;
mod timers;
mod training_threads;
mod workload;

pub use access::{Identity, LoginFacts, RoleFacts, Subject};
pub use activity::{Backend, BackendFacts, BackendState};
pub use auspex_storage::{
    CheckReport, Garbage, GarbageOptions, PasswordVerifier, Problem, Removed, generated_password,
};
pub use bind::ml_functions;
pub use catalog::facts::{
    CatalogFacts, FactsKind, ModelFacts, ObjectFacts, SettingFacts, TableRules,
};
pub use engine::{ClientFacts, Engine, EngineConfig, SecretText, SessionExtension, SessionFacts};
pub use error::{Error, Report, Result, report_of};
pub use observe::StatementWatch;
pub use session::{Prepared, Session};
pub use settings::Settings;
pub use statement_run::{Notice, Outcome, Severity, StatementControl};
