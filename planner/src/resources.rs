//! The memory and the disk that queries and trainings may take.
//!
//! In: the engine's configuration, and what the machine has where it tells no limit; out: DataFusion's runtime.

use std::num::NonZeroUsize;
use std::sync::Arc;

use auspex_storage::StoreRegistry;
use datafusion::execution::memory_pool::{MemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};

use crate::engine::EngineConfig;
use crate::error::Result;
use crate::spill_folder::SpillFolder;
use crate::spill_shares::SpillShares;

/// Of the memory limit, what queries and trainings may reserve; the rest is for what is not accounted.
const ACCOUNTED_FRACTION: f64 = 0.8;

/// Memory and disk for queries and trainings, with the folder for what is spilled, if its place was told.
pub(crate) fn runtime(
    config: &EngineConfig,
    registry: Arc<StoreRegistry>,
) -> Result<(Arc<RuntimeEnv>, Option<SpillFolder>)> {
    let limit = memory_bytes(config);
    // Lossless enough: a fraction of bytes.
    let accounted = (limit as f64 * ACCOUNTED_FRACTION) as usize;
    let top = NonZeroUsize::MIN.saturating_add(4);
    let pool: Arc<dyn MemoryPool> =
        Arc::new(TrackConsumersPool::new(SpillShares::new(accounted), top));
    let mut builder = RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .with_object_store_registry(registry);
    let spill = config.spill_dir.as_deref();
    let spill = spill.map(SpillFolder::create).transpose()?;
    if let Some(folder) = &spill {
        builder = builder.with_temp_file_path(folder.path());
    }
    Ok((builder.build_arc()?, spill))
}

/// The memory limit of a server.
pub(crate) fn memory_bytes(config: &EngineConfig) -> usize {
    let limit = config.memory_limit_bytes;
    limit.unwrap_or_else(machine_memory_bytes)
}

/// The machine's memory as Linux tells it, or less where a container may use less; 4 GB where nothing is told.
fn machine_memory_bytes() -> usize {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = text.lines().find_map(|line| {
        line.strip_prefix("MemTotal:")?
            .split_whitespace()
            .next()?
            .parse::<usize>()
            .ok()
    });
    let total = total.map_or(4 << 30, |kilobytes| kilobytes * 1024);
    // Of control groups, version 2 and 1; "max" is no limit.
    let limits = [
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    ];
    let limit = limits
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok()?.trim().parse().ok());
    limit.fold(total, usize::min)
}
