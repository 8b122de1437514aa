//! The memory that queries and trainings reserve, shared among those that spill so that each can finish what it has begun.
//!
//! In: the bytes that operators ask for; out: room, or an error that makes them spill or fail.

use std::fmt::{Display, Formatter};
use std::sync::Mutex;

use datafusion::common::human_readable_size;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use crate::engine::lock;

/// A pool whose consumers that can spill have equal shares of two thirds of what the others leave.
///
/// DataFusion's `FairSpillPool` gives them all of it. A sort that spills first merges what it has in memory, and the keys that the merge
/// compares, which may take half of what was sorted, belong to a consumer that cannot spill: where a second sort has filled its share
/// meanwhile, there was no room for them, and a statement failed that had only to write what it held. The last third is
/// that room. Consumers that cannot spill may take all that is free, so joins lose nothing by it.
#[derive(Debug)]
pub(crate) struct SpillShares {
    n_bytes: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// How many consumers can spill.
    n_spilling: usize,
    /// The bytes of those.
    spillable: usize,
    /// The bytes of the others.
    fixed: usize,
}

impl Taken {
    fn of(&mut self, can_spill: bool) -> &mut usize {
        match can_spill {
            true => &mut self.spillable,
            false => &mut self.fixed,
        }
    }

    /// The most that one consumer that can spill may have.
    fn share(&self, n_bytes: usize) -> usize {
        let left = n_bytes.saturating_sub(self.fixed);
        (left - left / 3) / self.n_spilling.max(1)
    }
}

impl SpillShares {
    pub(crate) fn new(n_bytes: usize) -> SpillShares {
        SpillShares {
            n_bytes,
            taken: Mutex::default(),
        }
    }

    /// The numbers stay right whoever panicked beside them: each change is one addition.
    fn with<T>(&self, act: impl FnOnce(&mut Taken) -> T) -> T {
        act(&mut lock(&self.taken))
    }
}

impl Display for SpillShares {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let size = human_readable_size(self.n_bytes);
        write!(f, "{}(pool_size: {size})", self.name())
    }
}

impl MemoryPool for SpillShares {
    fn name(&self) -> &str {
        "shares"
    }

    fn register(&self, consumer: &MemoryConsumer) {
        self.with(|taken| taken.n_spilling += usize::from(consumer.can_spill()));
    }

    fn unregister(&self, consumer: &MemoryConsumer) {
        self.with(|taken| taken.n_spilling -= usize::from(consumer.can_spill()));
    }

    fn grow(&self, reservation: &MemoryReservation, additional: usize) {
        let can_spill = reservation.consumer().can_spill();
        self.with(|taken| *taken.of(can_spill) += additional);
    }

    fn shrink(&self, reservation: &MemoryReservation, shrink: usize) {
        let can_spill = reservation.consumer().can_spill();
        self.with(|taken| *taken.of(can_spill) -= shrink);
    }

    fn try_grow(&self, reservation: &MemoryReservation, additional: usize) -> Result<()> {
        let can_spill = reservation.consumer().can_spill();
        let available = self.with(|taken| {
            let free = self.n_bytes.saturating_sub(taken.spillable + taken.fixed);
            let available = match can_spill {
                true => free.min(taken.share(self.n_bytes).saturating_sub(reservation.size())),
                false => free,
            };
            if additional <= available {
                *taken.of(can_spill) += additional;
            }
            available
        });
        match additional <= available {
            true => Ok(()),
            false => Err(DataFusionError::ResourcesExhausted(format!(
                "Failed to allocate additional {} for {} with {} already allocated for this reservation - {} remain available for the total memory pool: {self}",
                human_readable_size(additional),
                reservation.consumer().name(),
                human_readable_size(reservation.size()),
                human_readable_size(available),
            ))),
        }
    }

    fn reserved(&self) -> usize {
        self.with(|taken| taken.spillable + taken.fixed)
    }

    fn memory_limit(&self) -> MemoryLimit {
        MemoryLimit::Finite(self.n_bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_third_is_left_to_what_cannot_spill() {
        let pool: Arc<dyn MemoryPool> = Arc::new(SpillShares::new(90));
        let sort = |name: &str| {
            let consumer = MemoryConsumer::new(name).with_can_spill(true);
            consumer.register(&pool)
        };
        let (first, second) = (sort("first"), sort("second"));
        let merge = MemoryConsumer::new("merge").register(&pool);
        first.try_grow(30).unwrap();
        second.try_grow(30).unwrap();
        assert!(first.try_grow(1).is_err());
        merge.try_grow(30).unwrap();
        assert!(merge.try_grow(1).is_err());
        assert_eq!(pool.reserved(), 90);

        // Who is alone has the share of two, and less beside more that cannot spill.
        first.free();
        drop(first);
        assert!(second.try_grow(10).is_ok());
        assert!(second.try_grow(1).is_err());
        drop((second, merge));
        assert_eq!(pool.reserved(), 0);
    }
}
