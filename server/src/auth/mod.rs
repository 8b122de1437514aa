//! Who is let in, and how they prove who they are.
//!
//! In: where a client comes from, the names that it gives, and the configuration; out: a method, and the steps of that
//! method. Code map: `rules` are the lines of `[[hba]]`; `scram` is the exchange about a password; `throttle` slows down
//! who guesses; `tls` reads certificates and answers before the startup message; `stranger_log` tells who failed so early.
//! Sends nothing but that: the protocol does.

mod rules;
mod scram;
mod stranger_log;
mod throttle;
mod tls;

use std::net::SocketAddr;

use auspex_planner::Encryption;

pub use rules::{HbaRule, RuleError, default_rules, hba_rules};
pub(crate) use rules::{Method, Wants, decide, read_rules};
pub(crate) use scram::{ExchangeError, Scram};
pub(crate) use stranger_log::StrangerLog;
pub(crate) use throttle::Throttle;
pub(crate) use tls::{NegotiateError, Negotiated, negotiate};
pub use tls::{Tls, TlsError, TlsFiles};

/// The other end of a connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Peer {
    /// Where it is; `None` in this process.
    pub(crate) address: Option<SocketAddr>,
    /// Whether the connection is encrypted.
    pub(crate) is_encrypted: bool,
    /// The name in a certificate that was checked.
    pub(crate) certificate_name: Option<String>,
    /// How it is encrypted, for `pg_stat_ssl`.
    pub(crate) encryption: Option<Encryption>,
}
