//! Memory: allocated, freed, filled and copied.

#![allow(non_snake_case, reason = "the names are the driver's")]

use std::ffi::{c_uint, c_void};

use super::codes;
use super::state::{self, Code, Handle};
use super::streams::cuStreamSynchronize;

/// # Safety
///
/// Both pointers must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Code {
    state::in_context(|state, device| {
        let context = state.context(device)?;
        let memory = &context.memory;
        // What the pool holds idle is taken, too.
        let taken = memory.used_bytes() + context.pool.idle_bytes();
        // SAFETY: the caller's promise.
        unsafe {
            *free = memory.limit_bytes().saturating_sub(taken);
            *total = memory.limit_bytes();
        }
        Ok(())
    })
}

/// # Safety
///
/// `address` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> Code {
    state::in_context(|state, device| {
        if bytes == 0 {
            return Err(codes::INVALID_VALUE);
        }
        let allocated = state.allocate(device, bytes)?;
        state.counters.mapped_bytes += bytes as u64;
        // SAFETY: the caller's promise.
        unsafe { *address = allocated };
        Ok(())
    })
}

/// # Safety
///
/// `address` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemAllocAsync(
    address: *mut u64,
    bytes: usize,
    stream: Handle,
) -> Code {
    state::in_context(|state, device| {
        if bytes == 0 {
            return Err(codes::INVALID_VALUE);
        }
        if !state.settings.has_pools {
            return Err(codes::NOT_SUPPORTED);
        }
        let allocated = state.allocate(device, bytes)?;
        state.counters.mapped_bytes += state.context(device)?.pool.take(bytes) as u64;
        let place = state.context(device)?.order.give(stream.addr());
        let all = allocated..allocated + bytes as u64;
        state.touch(device, place, "an allocation", all, true)?;
        // SAFETY: the caller's promise.
        unsafe { *address = allocated };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemFree_v2(address: u64) -> Code {
    state::in_context(|state, device| state.free(device, address, None))
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemFreeAsync(address: u64, stream: Handle) -> Code {
    state::on_stream(stream, |state, device| {
        state.free(device, address, Some(stream))
    })
}

/// Copies on no stream, and waits for that.
///
/// # Safety
///
/// `source` must have `bytes` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemcpyHtoD_v2(
    target: u64,
    source: *const c_void,
    bytes: usize,
) -> Code {
    let stream = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    match unsafe { cuMemcpyHtoDAsync_v2(target, source, bytes, stream) } {
        codes::SUCCESS => cuStreamSynchronize(stream),
        code => code,
    }
}

/// # Safety
///
/// `source` must have `bytes` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemcpyHtoDAsync_v2(
    target: u64,
    source: *const c_void,
    bytes: usize,
    stream: Handle,
) -> Code {
    state::in_context(|state, device| {
        if bytes == 0 {
            return Ok(());
        }
        let place = state.context(device)?.order.give(stream.addr());
        let from = source.addr() as u64;
        if state.begin_copy(device, place, from..from + bytes as u64)? {
            state.counters.streamed_bytes += bytes as u64;
        }
        state.counters.uploaded_bytes += bytes as u64;
        // SAFETY: the caller's promise.
        let source = unsafe { std::slice::from_raw_parts(source.cast::<u8>(), bytes) };
        let written = state.context(device)?.memory.write(target, source);
        written.map_err(|_| codes::INVALID_VALUE)?;
        state.touch(device, place, "a copy", target..target + bytes as u64, true)
    })
}

/// Copies on no stream, and waits for that.
///
/// # Safety
///
/// `target` must have room for `bytes` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemcpyDtoH_v2(
    target: *mut c_void,
    source: u64,
    bytes: usize,
) -> Code {
    let stream = std::ptr::null_mut();
    // SAFETY: the caller's promise.
    match unsafe { cuMemcpyDtoHAsync_v2(target, source, bytes, stream) } {
        codes::SUCCESS => cuStreamSynchronize(stream),
        code => code,
    }
}

/// # Safety
///
/// `target` must have room for `bytes` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    target: *mut c_void,
    source: u64,
    bytes: usize,
    stream: Handle,
) -> Code {
    state::in_context(|state, device| {
        if bytes == 0 {
            return Ok(());
        }
        state.counters.downloaded_bytes += bytes as u64;
        // SAFETY: the caller's promise.
        let target = unsafe { std::slice::from_raw_parts_mut(target.cast::<u8>(), bytes) };
        let context = state.context(device)?;
        let read = context.memory.read(source, target);
        read.map_err(|_| codes::INVALID_VALUE)?;
        let place = context.order.give(stream.addr());
        state.touch(
            device,
            place,
            "a copy",
            source..source + bytes as u64,
            false,
        )
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemcpyDtoDAsync_v2(
    target: u64,
    source: u64,
    bytes: usize,
    stream: Handle,
) -> Code {
    state::in_context(|state, device| {
        let context = state.context(device)?;
        let mut copy = vec![0; bytes];
        let copied = context
            .memory
            .read(source, &mut copy)
            .and_then(|()| context.memory.write(target, &copy));
        copied.map_err(|_| codes::INVALID_VALUE)?;
        let place = context.order.give(stream.addr());
        let n = bytes as u64;
        state.touch(device, place, "a copy", source..source + n, false)?;
        state.touch(device, place, "a copy", target..target + n, true)
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemsetD8Async(
    target: u64,
    value: u8,
    bytes: usize,
    stream: Handle,
) -> Code {
    state::in_context(|state, device| {
        let context = state.context(device)?;
        let written = context.memory.write(target, &vec![value; bytes]);
        written.map_err(|_| codes::INVALID_VALUE)?;
        let place = context.order.give(stream.addr());
        state.touch(device, place, "a fill", target..target + bytes as u64, true)
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemsetD8_v2(target: u64, value: u8, bytes: usize) -> Code {
    let stream = std::ptr::null_mut();
    match cuMemsetD8Async(target, value, bytes, stream) {
        codes::SUCCESS => cuStreamSynchronize(stream),
        code => code,
    }
}

/// # Safety
///
/// `pointer` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemHostAlloc(
    pointer: *mut *mut c_void,
    bytes: usize,
    _flags: c_uint,
) -> Code {
    state::in_context(|state, device| {
        let limit_bytes = state.settings.host_bytes;
        let allocated = state.context(device)?.host.allocate(bytes, limit_bytes);
        // SAFETY: the caller's promise.
        unsafe { *pointer = allocated.ok_or(codes::OUT_OF_MEMORY)?.cast() };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemFreeHost(pointer: *mut c_void) -> Code {
    state::with(|state| state.free_host(pointer.addr()))
}
