//! The driver's pool of a device's memory, from which buffers come in the order of a stream.
//!
//! A pool gives back what was freed whenever the host waits, which it does in every call, unless it is told to hold it. Here it
//! holds it while a run goes on, so that only the first calls of a run map memory, and gives it back when the run ends. The
//! driver counts it as taken. A driver without pools maps memory and frees it in every call.

use std::sync::Arc;

use cudarc::driver::sys::{CUmemPool_attribute, CUmemoryPool};
use cudarc::driver::{CudaContext, DriverError, result};

/// Lets the pool hold what is freed.
pub(super) fn hold_freed(context: &Arc<CudaContext>) -> Result<(), DriverError> {
    let Some(pool) = pool(context)? else {
        return Ok(());
    };
    let mut most_bytes = u64::MAX;
    let attribute = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    // SAFETY: the pool is the device's, and the attribute a number of 64 bits.
    unsafe { result::mem_pool::set_attribute(pool, attribute, (&raw mut most_bytes).cast()) }
}

/// Bytes that the pool holds and nobody has: they are free.
pub(super) fn idle_bytes(context: &Arc<CudaContext>) -> Result<usize, DriverError> {
    let Some(pool) = pool(context)? else {
        return Ok(0);
    };
    let number = |attribute| {
        let mut found = 0_u64;
        // SAFETY: the pool is the device's, and both attributes are numbers of 64 bits.
        unsafe { result::mem_pool::get_attribute(pool, attribute, (&raw mut found).cast()) }?;
        Ok::<u64, DriverError>(found)
    };
    let reserved = number(CUmemPool_attribute::CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT)?;
    let used = number(CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT)?;
    Ok(reserved.saturating_sub(used) as usize)
}

/// Gives back what nobody has.
pub(super) fn give_back(context: &Arc<CudaContext>) -> Result<(), DriverError> {
    let Some(pool) = pool(context)? else {
        return Ok(());
    };
    // SAFETY: the pool is the device's.
    unsafe { result::mem_pool::trim_to(pool, 0) }
}

fn pool(context: &Arc<CudaContext>) -> Result<Option<CUmemoryPool>, DriverError> {
    if !context.has_async_alloc() {
        return Ok(None);
    }
    context.bind_to_thread()?;
    // SAFETY: the device is that of an open context.
    let pool = unsafe { result::device::get_default_mem_pool(context.cu_device()) }?;
    Ok(Some(pool))
}
