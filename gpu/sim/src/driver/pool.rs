//! The pool of a device, from which memory comes that is allocated and freed in the order of a stream.
//!
//! In: what is taken, what comes back, and when the host waits; out: how much had to be mapped, and what the pool holds
//! idle. It holds what came back until the host waits, and beyond that as much as it was told to.

/// See the module; that of a context.
#[derive(Debug, Default)]
pub(super) struct Pool {
    /// What it holds on to when the host waits, with what is taken.
    pub(super) release_threshold: u64,
    used_bytes: usize,
    idle_bytes: usize,
}

impl Pool {
    /// Bytes that it holds: taken and idle ones.
    pub(super) fn reserved_bytes(&self) -> usize {
        self.used_bytes + self.idle_bytes
    }

    pub(super) fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    pub(super) fn idle_bytes(&self) -> usize {
        self.idle_bytes
    }

    /// Takes bytes; how many of them had to be mapped.
    pub(super) fn take(&mut self, n_bytes: usize) -> usize {
        let from_idle = n_bytes.min(self.idle_bytes);
        self.idle_bytes -= from_idle;
        self.used_bytes += n_bytes;
        n_bytes - from_idle
    }

    /// Bytes come back.
    pub(super) fn put(&mut self, n_bytes: usize) {
        let came_back = n_bytes.min(self.used_bytes);
        self.used_bytes -= came_back;
        self.idle_bytes += came_back;
    }

    /// The host has waited.
    pub(super) fn host_has_waited(&mut self) {
        let most = usize::try_from(self.release_threshold).unwrap_or(usize::MAX);
        self.trim(most);
    }

    /// Holds no more than so many bytes, but for what is taken.
    pub(super) fn trim(&mut self, most_bytes: usize) {
        let room = most_bytes.saturating_sub(self.used_bytes);
        self.idle_bytes = self.idle_bytes.min(room);
    }
}

#[cfg(test)]
mod tests {
    use super::Pool;

    #[test]
    fn what_comes_back_is_held_as_far_as_was_said() {
        let mut pool = Pool::default();
        assert_eq!(pool.take(100), 100);
        pool.put(60);
        assert_eq!((pool.used_bytes(), pool.idle_bytes()), (40, 60));
        assert_eq!(pool.take(50), 0, "nothing had to be mapped");
        pool.put(50);
        pool.host_has_waited();
        assert_eq!(pool.reserved_bytes(), 40, "nothing was said");
        pool.release_threshold = 70;
        assert_eq!(pool.take(50), 50);
        pool.put(50);
        pool.host_has_waited();
        assert_eq!((pool.used_bytes(), pool.idle_bytes()), (40, 30));
        pool.release_threshold = u64::MAX;
        pool.host_has_waited();
        assert_eq!(pool.reserved_bytes(), 70);
        assert_eq!(pool.take(35), 5);
        pool.put(75);
        pool.trim(0);
        assert_eq!(pool.reserved_bytes(), 0);
    }
}
