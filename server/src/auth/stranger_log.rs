//! What the server's log tells of clients that failed before they said who they are: in TLS handshakes, or by a first
//! message that names no user.
//!
//! In: addresses and reasons; out: lines, at most so many a minute, whoever knocks. The first line of a later minute says
//! how many were left out.

use std::fmt::Display;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::field::display;

use super::tls::HandshakeError;

/// How many lines a minute has.
const LINES: u64 = 20;
const MINUTE: Duration = Duration::from_secs(60);

/// The failures of the minute.
#[derive(Debug, Default)]
pub(crate) struct StrangerLog {
    minute: Mutex<Option<Minute>>,
}

#[derive(Debug)]
struct Minute {
    begun: Instant,
    n_failed: u64,
}

impl StrangerLog {
    /// Logs a handshake that failed, if its minute has a line for it.
    pub(crate) fn handshake_failed(&self, address: IpAddr, error: &HandshakeError) {
        self.tell("TLS handshake failed", Some(address), error);
    }

    /// Logs that a client was sent away, if its minute has a line for it.
    pub(crate) fn refused(&self, address: Option<IpAddr>, reason: &str) {
        self.tell("connection refused", address, &reason);
    }

    fn tell(&self, what: &str, address: Option<IpAddr>, reason: &dyn Display) {
        if let Some(left_out) = self.line_at(Instant::now()) {
            let address = address.map(|address| display(address.to_canonical()));
            // No field where none was left out.
            let left_out = (left_out > 0).then_some(left_out);
            tracing::info!(address, %reason, left_out, "{what}");
        }
    }

    /// One failure more: how many were left out before, if there is a line for it.
    fn line_at(&self, now: Instant) -> Option<u64> {
        let mut minute = self.minute.lock().unwrap_or_else(PoisonError::into_inner);
        match minute.as_mut() {
            Some(minute) if now.duration_since(minute.begun) < MINUTE => {
                minute.n_failed += 1;
                (minute.n_failed <= LINES).then_some(0)
            }
            _ => {
                let begun = Minute {
                    begun: now,
                    n_failed: 1,
                };
                let ended = minute.replace(begun);
                Some(ended.map_or(0, |ended| ended.n_failed.saturating_sub(LINES)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_has_so_many_lines_and_the_next_tells_of_the_rest() {
        let log = StrangerLog::default();
        let start = Instant::now();
        let lines = |seconds: u64, n_failed: u64| -> Vec<u64> {
            let now = start + Duration::from_secs(seconds);
            (0..n_failed).filter_map(|_| log.line_at(now)).collect()
        };
        assert_eq!(lines(0, LINES - 1), vec![0; 19]);
        assert_eq!(lines(59, 10), [0], "the last line of the minute");
        assert_eq!(lines(60, 2), [9, 0]);
        assert_eq!(lines(600, 1), [0], "none was left out");
    }
}
