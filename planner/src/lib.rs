//! From a parsed statement to running operators: binding, planning and executing.
//!
//! Code map, in reading order: `engine` opens a warehouse; `session` prepares and executes the
//! statements of one client; `settings` holds what `SET` changes; `bind` resolves names, options and
//! models; `logical`, `physical` have the operators that SQL lacks, `optimize` our rules; `catalog` shows the warehouse to
//! the planner; `execute` runs plans, `explain` shows them, and `commands` runs what is not a query. Parses no text itself, knows no wire protocol.

mod backend;
mod bind;
mod catalog;
mod commands;
mod engine;
mod error;
mod execute;
mod explain;
mod logical;
mod optimize;
mod physical;
mod session;
mod settings;
mod statement_run;
mod streams;
mod timers;

pub use auspex_storage::{CheckReport, Garbage, GarbageOptions, Problem, Removed};
pub use bind::ml_functions;
pub use catalog::facts::{
    CatalogFacts, FactsKind, ModelFacts, ObjectFacts, SettingFacts, TableRules,
};
pub use engine::{Engine, EngineConfig, SecretText, SessionExtension, SessionFacts};
pub use error::{Error, Report, Result, report_of};
pub use session::{Prepared, Session};
pub use settings::Settings;
pub use statement_run::{Notice, Outcome, Severity, StatementControl};
