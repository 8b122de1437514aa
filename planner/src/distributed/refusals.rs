//! Who was refused at a machine's port, for its log.
//!
//! In: refusals, which come again and again; out: a line for each machine and reason, at most one a minute.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::engine::lock;

/// How often the same is told.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// Machines that are remembered; beyond them, all are forgotten.
const REMEMBERED: usize = 1000;

/// What was told lately.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<BTreeMap<(Option<IpAddr>, &'static str), Instant>>);

impl Refusals {
    /// A machine was refused.
    #[allow(
        clippy::disallowed_methods,
        reason = "the time since a line of the log, which no result depends on"
    )]
    pub(super) fn tell(&self, from: Option<SocketAddr>, reason: &'static str) {
        let mut told = lock(&self.0);
        let key = (from.map(|address| address.ip()), reason);
        let is_new = told.get(&key).is_none_or(|at| at.elapsed() >= TOLD_EVERY);
        if !is_new {
            return;
        }
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(key, Instant::now());
        let from = from.map(|address| address.to_string());
        tracing::warn!(from, reason, "a machine was refused");
    }
}
