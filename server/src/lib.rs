//! auspex-server: the process that clients talk to.
//!
//! In: bytes of PostgreSQL's protocol, or a command line; out: answers of the planner. Code map, in
//! reading order: `cli` has the commands; `config` and its siblings read flags, environment and file; `auth` decides who is
//! let in; `protocol` is the wire; `pg_catalog` is what clients ask about the database itself; `http` is the port for health and metrics, `json_log` the
//! log as JSON, `allocator` what the process keeps of freed memory; `sqlstate` turns failures
//! into what clients read. Plans no query and learns no model: that is `auspex-planner`'s.

// That a statement's future may move between threads is seen through the futures of all stages within it.
#![recursion_limit = "256"]

mod allocator;
mod auth;
pub mod cli;
mod config;
mod config_cluster;
mod config_server;
mod http;
mod json_log;
mod pg_catalog;
mod protocol;
mod sqlstate;

pub use auth::{HbaRule, RuleError, Tls, TlsError, TlsFiles, default_rules, hba_rules};
pub use http::{HttpServer, Watched};
pub use pg_catalog::PgCatalog;
pub use protocol::{ListenError, Listener, PeerLimits, Server, ServerHandle, ServerOptions};
