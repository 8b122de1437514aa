//! auspex-server: the process that clients talk to.
//!
//! In: bytes of PostgreSQL's protocol, or a command line; out: answers of the planner. Code map, in
//! reading order: `cli` has the commands; `config` reads flags, environment and file; `protocol` is
//! the wire; `pg_catalog` is what clients ask about the database itself; `sqlstate` turns failures
//! into what clients read. Plans no query and learns no model: that is `auspex-planner`'s.

pub mod cli;
mod config;
mod pg_catalog;
mod protocol;
mod sqlstate;

pub use pg_catalog::PgCatalog;
pub use protocol::{ListenError, Server, ServerHandle};
