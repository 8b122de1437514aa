//! What a training costs: passes over its rows, memory and disk.
//!
//! In: what the training set does, as it does it; out: a [`Cost`] for the record and `EXPLAIN ANALYZE`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use auspex_gpu::Figures;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};
use serde::{Deserialize, Serialize};

/// What a training cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// Readings of the training query.
    pub source_passes: u64,
    /// Passes over encoded samples that were kept.
    pub kept_passes: u64,
    /// Most memory that was accounted at one time.
    pub memory_bytes: u64,
    /// Bytes written to disk beyond the memory.
    pub spilled_bytes: u64,
    /// Kernels that ran on a device.
    #[serde(default)]
    pub kernel_launches: u64,
    /// Time that they took there, by the device's clock.
    #[serde(default)]
    pub kernel_us: u64,
    /// Bytes that were moved to devices.
    #[serde(default)]
    pub uploaded_bytes: u64,
    /// Bytes that were moved from them.
    #[serde(default)]
    pub downloaded_bytes: u64,
}

impl Cost {
    /// The same with what devices did.
    pub(crate) fn with_device(self, figures: Option<Figures>) -> Cost {
        let figures = figures.unwrap_or_default();
        Cost {
            kernel_launches: figures.n_launches,
            kernel_us: figures.kernel_ns / 1000,
            uploaded_bytes: figures.uploaded_bytes,
            downloaded_bytes: figures.downloaded_bytes,
            ..self
        }
    }
}

impl Cost {
    /// What was counted since; the most memory is that of all the time.
    pub(crate) fn since(&self, before: &Cost) -> Cost {
        Cost {
            source_passes: self.source_passes - before.source_passes,
            kept_passes: self.kept_passes - before.kept_passes,
            memory_bytes: self.memory_bytes,
            spilled_bytes: self.spilled_bytes - before.spilled_bytes,
            ..*self
        }
    }
}

/// Counts while a training runs.
#[derive(Debug, Default)]
pub struct Usage {
    source_passes: AtomicU64,
    kept_passes: AtomicU64,
    spilled_bytes: AtomicU64,
    memory_bytes: AtomicUsize,
    most_memory_bytes: AtomicUsize,
}

impl Usage {
    /// What was counted so far.
    pub fn cost(&self) -> Cost {
        Cost {
            source_passes: self.source_passes.load(Ordering::Relaxed),
            kept_passes: self.kept_passes.load(Ordering::Relaxed),
            memory_bytes: self.most_memory_bytes.load(Ordering::Relaxed) as u64,
            spilled_bytes: self.spilled_bytes.load(Ordering::Relaxed),
            ..Cost::default()
        }
    }

    /// Bytes that are accounted now.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.memory_bytes.load(Ordering::Relaxed) as u64
    }

    /// Adds what one pass cost on several machines, which ran it at the same time.
    pub(crate) fn add_hosted(&self, costs: &[Cost]) {
        let most = |count: fn(&Cost) -> u64| costs.iter().map(count).max().unwrap_or(0);
        let sum = |count: fn(&Cost) -> u64| costs.iter().map(count).sum::<u64>();
        let source_passes = most(|cost| cost.source_passes);
        self.source_passes
            .fetch_add(source_passes, Ordering::Relaxed);
        let kept_passes = most(|cost| cost.kept_passes);
        self.kept_passes.fetch_add(kept_passes, Ordering::Relaxed);
        self.add_spilled(sum(|cost| cost.spilled_bytes));
        let memory_bytes = usize::try_from(sum(|cost| cost.memory_bytes)).unwrap_or(usize::MAX);
        self.most_memory_bytes
            .fetch_max(memory_bytes, Ordering::Relaxed);
    }

    pub(crate) fn add_source_pass(&self) {
        self.source_passes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_kept_pass(&self) {
        self.kept_passes.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_spilled(&self, n_bytes: u64) {
        self.spilled_bytes.fetch_add(n_bytes, Ordering::Relaxed);
    }

    fn grow(&self, n_bytes: usize) {
        let before = self.memory_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        self.most_memory_bytes
            .fetch_max(before + n_bytes, Ordering::Relaxed);
    }

    fn shrink(&self, n_bytes: usize) {
        self.memory_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
    }
}

/// A pool that counts what one training holds of it.
#[derive(Debug)]
pub(super) struct MeasuredPool {
    pool: Arc<dyn MemoryPool>,
    usage: Arc<Usage>,
}

impl MeasuredPool {
    pub(super) fn new(pool: Arc<dyn MemoryPool>, usage: Arc<Usage>) -> MeasuredPool {
        MeasuredPool { pool, usage }
    }
}

impl fmt::Display for MeasuredPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.pool.fmt(f)
    }
}

impl MemoryPool for MeasuredPool {
    fn name(&self) -> &str {
        self.pool.name()
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.pool.register(consumer);
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.pool.unregister(consumer);
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        self.pool.grow(reservation, additional);
        self.usage.grow(additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        self.pool.shrink(reservation, shrink);
        self.usage.shrink(shrink);
    }

    fn try_grow(
        &self,
        reservation: &MemoryReservation,
        additional: usize,
    ) -> datafusion::error::Result<()> {
        self.pool.try_grow(reservation, additional)?;
        self.usage.grow(additional);
        Ok(())
    }

    fn reserved(&self) -> usize {
        self.pool.reserved()
    }

    fn memory_limit(&self) -> MemoryLimit {
        self.pool.memory_limit()
    }
}

#[cfg(test)]
mod tests {
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    #[test]
    fn the_most_memory_at_one_time_is_kept() {
        let usage = Arc::new(Usage::default());
        let inner: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(100));
        let pool = MeasuredPool::new(Arc::clone(&inner), Arc::clone(&usage));
        let pool: Arc<dyn MemoryPool> = Arc::new(pool);
        let first = MemoryConsumer::new("first").register(&pool);
        first.try_grow(60).unwrap();
        assert!(first.try_grow(60).is_err());
        first.shrink(50);
        let second = MemoryConsumer::new("second").register(&pool);
        second.try_grow(20).unwrap();
        assert_eq!(inner.reserved(), 30);
        drop((first, second));
        assert_eq!(inner.reserved(), 0);
        assert_eq!(usage.cost().memory_bytes, 60);
    }
}
