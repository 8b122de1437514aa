//! Which statement a cancel request means.
//!
//! In: process numbers and secret keys of connections; out: the cancel token of the statement that
//! one of them runs. A wrong key is ignored in the same time as a right one takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

/// The connections that can be asked to stop what they run.
#[derive(Debug, Default)]
pub(super) struct CancelRegistry {
    entries: Mutex<BTreeMap<i32, Entry>>,
}

#[derive(Debug)]
struct Entry {
    secret: Bytes,
    /// The token of the running statement; one that stops nothing between statements.
    current: CancellationToken,
}

/// A connection's place in the registry, given up when dropped.
#[derive(Debug)]
pub(super) struct CancelEntry {
    registry: Arc<CancelRegistry>,
    process_id: i32,
}

impl CancelRegistry {
    /// Enters a connection.
    pub(super) fn register(self: &Arc<Self>, process_id: i32, secret: Bytes) -> CancelEntry {
        let current = CancellationToken::new();
        self.lock().insert(process_id, Entry { secret, current });
        CancelEntry {
            registry: Arc::clone(self),
            process_id,
        }
    }

    /// Cancels what the connection runs, if the key is right; tells whether it was.
    pub(super) fn cancel(&self, process_id: i32, secret: &[u8]) -> bool {
        let entries = self.lock();
        let found = entries
            .get(&process_id)
            .filter(|entry| equal(&entry.secret, secret));
        if let Some(entry) = found {
            entry.current.cancel();
        }
        found.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<i32, Entry>> {
        // Each update leaves the map whole, so that a panic elsewhere does not spoil it.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl CancelEntry {
    /// From now on, cancel requests mean this token; `None`: nothing.
    pub(super) fn run(&self, token: Option<&CancellationToken>) {
        if let Some(entry) = self.registry.lock().get_mut(&self.process_id) {
            entry.current = token.cloned().unwrap_or_default();
        }
    }
}

impl Drop for CancelEntry {
    fn drop(&mut self) {
        self.registry.lock().remove(&self.process_id);
    }
}

/// Compares in a time that depends on the length alone, so that a key cannot be guessed bytewise.
fn equal(left: &[u8], right: &[u8]) -> bool {
    let difference = left.iter().zip(right).fold(0, |sum, (l, r)| sum | (l ^ r));
    left.len() == right.len() && std::hint::black_box(difference) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_right_key_cancels() {
        let registry = Arc::new(CancelRegistry::default());
        let entry = registry.register(7, Bytes::from_static(b"secret"));
        let token = CancellationToken::new();
        entry.run(Some(&token));
        assert!(!registry.cancel(7, b"secreT"));
        assert!(!registry.cancel(7, b"secre"));
        assert!(!registry.cancel(8, b"secret"));
        assert!(!token.is_cancelled());
        assert!(registry.cancel(7, b"secret"));
        assert!(token.is_cancelled());
        drop(entry);
        assert!(!registry.cancel(7, b"secret"));
    }
}
