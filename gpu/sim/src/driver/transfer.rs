//! Memory: allocated, freed, filled and copied.

#![allow(non_snake_case, reason = "the names are the driver's")]

use std::ffi::{c_uint, c_void};

use super::codes;
use super::state::{self, Code, Handle};

/// # Safety
///
/// Both pointers must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> Code {
    state::in_context(|state, device| {
        let memory = &state.context(device)?.memory;
        // SAFETY: the caller's promise.
        unsafe {
            *free = memory.limit_bytes().saturating_sub(memory.used_bytes());
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
        // SAFETY: the caller's promise.
        unsafe { *address = allocated };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemFree_v2(address: u64) -> Code {
    state::in_context(
        |state, device| match state.context(device)?.memory.free(address) {
            true => Ok(()),
            false => Err(codes::INVALID_VALUE),
        },
    )
}

/// # Safety
///
/// `source` must have `bytes` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemcpyHtoD_v2(
    target: u64,
    source: *const c_void,
    bytes: usize,
) -> Code {
    state::in_context(|state, device| {
        state.counters.uploaded_bytes += bytes as u64;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let source = unsafe { std::slice::from_raw_parts(source.cast::<u8>(), bytes) };
        let memory = &mut state.context(device)?.memory;
        memory
            .write(target, source)
            .map_err(|_| codes::INVALID_VALUE)
    })
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
    let race = state::in_context(|state, device| {
        let from = source.addr()..source.addr() + bytes;
        let begun = state.context(device)?.host.begin_copy(from, stream.addr());
        match begun {
            Ok(true) => state.counters.streamed_bytes += bytes as u64,
            Ok(false) => {}
            Err(race) => return Err(state.fail(device, &race)),
        }
        Ok(())
    });
    if race != codes::SUCCESS {
        return race;
    }
    // SAFETY: the caller's promise.
    unsafe { cuMemcpyHtoD_v2(target, source, bytes) }
}

/// # Safety
///
/// `target` must have room for `bytes` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemcpyDtoH_v2(
    target: *mut c_void,
    source: u64,
    bytes: usize,
) -> Code {
    state::in_context(|state, device| {
        state.counters.downloaded_bytes += bytes as u64;
        if bytes == 0 {
            return Ok(());
        }
        // SAFETY: the caller's promise.
        let target = unsafe { std::slice::from_raw_parts_mut(target.cast::<u8>(), bytes) };
        let memory = &mut state.context(device)?.memory;
        memory
            .read(source, target)
            .map_err(|_| codes::INVALID_VALUE)
    })
}

/// # Safety
///
/// `target` must have room for `bytes` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemcpyDtoHAsync_v2(
    target: *mut c_void,
    source: u64,
    bytes: usize,
    _stream: Handle,
) -> Code {
    // SAFETY: the caller's promise.
    unsafe { cuMemcpyDtoH_v2(target, source, bytes) }
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemcpyDtoDAsync_v2(
    target: u64,
    source: u64,
    bytes: usize,
    _stream: Handle,
) -> Code {
    state::in_context(|state, device| {
        let memory = &mut state.context(device)?.memory;
        let mut copy = vec![0; bytes];
        let copied = memory
            .read(source, &mut copy)
            .and_then(|()| memory.write(target, &copy));
        copied.map_err(|_| codes::INVALID_VALUE)
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemsetD8Async(
    target: u64,
    value: u8,
    bytes: usize,
    _stream: Handle,
) -> Code {
    state::in_context(|state, device| {
        let memory = &mut state.context(device)?.memory;
        memory
            .write(target, &vec![value; bytes])
            .map_err(|_| codes::INVALID_VALUE)
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemsetD8_v2(target: u64, value: u8, bytes: usize) -> Code {
    cuMemsetD8Async(target, value, bytes, std::ptr::null_mut())
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
