//! PostgreSQL's wire protocol, version 3: what clients send becomes calls of the planner.
//!
//! In: bytes of a client; out: bytes to it. Code map: `listener` accepts connections; `dead_peers` says when they end by themselves; `login`
//! lets a client prove who it is; `startup` is what it asks for first; `layout` checks what messages must look like; `connection` is one, from the startup message to the end; `simple` and `extended` are the two ways to
//! send a statement; `own` are the statements about what a connection keeps; `copy` moves rows as messages of their own; `running` is a statement at work; `cancel` finds it from another connection; `notifications` are what other sessions send to its client;
//! `client_encoding` converts texts; `watching` is what is recorded; `types` are the values. Plans nothing and knows no table.

#![allow(
    clippy::result_large_err,
    reason = "pgwire's handlers fix the error type"
)]

mod cancel;
mod client_encoding;
mod connection;
mod copy;
mod dead_peers;
mod encoding;
mod extended;
mod layout;
mod listener;
mod login;
mod notifications;
mod own;
mod parameter_casts;
mod running;
mod server_options;
mod simple;
mod socket;
mod startup;
pub(crate) mod types;
mod watching;

pub use dead_peers::PeerLimits;
pub(crate) use listener::{InProcessCancel, connect_in_process};
pub use listener::{ListenError, Listener, Server, ServerHandle};
pub use server_options::ServerOptions;
