//! The entry points of memory pools: each device has its own and no other.

#![allow(non_snake_case, reason = "the names are the driver's")]

use std::ffi::{c_int, c_void};

use super::codes;
use super::state::{self, Code, Handle};

/// The attributes by their numbers: how much is held when the host waits, how much is held, how much is taken.
const RELEASE_THRESHOLD: c_int = 4;
const RESERVED_BYTES: c_int = 5;
const USED_BYTES: c_int = 7;

/// # Safety
///
/// `pool` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuDeviceGetDefaultMemPool(
    pool: *mut Handle,
    device: c_int,
) -> Code {
    if !state::with(|state| state.settings.has_pools) {
        return codes::NOT_SUPPORTED;
    }
    let handle = state::context_handle(device.max(0) as usize);
    // SAFETY: the caller's promise.
    unsafe { *pool = handle };
    codes::SUCCESS
}

/// # Safety
///
/// `value` must be a number of 64 bits.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemPoolSetAttribute(
    pool: Handle,
    attribute: c_int,
    value: *mut c_void,
) -> Code {
    if attribute != RELEASE_THRESHOLD {
        return codes::NOT_SUPPORTED;
    }
    // SAFETY: the caller's promise.
    let value = unsafe { *value.cast::<u64>() };
    state::on_device_of(pool, |state, device| {
        state.context(device)?.pool.release_threshold = value;
        Ok(())
    })
}

/// # Safety
///
/// `value` must be a writable number of 64 bits.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuMemPoolGetAttribute(
    pool: Handle,
    attribute: c_int,
    value: *mut c_void,
) -> Code {
    state::on_device_of(pool, |state, device| {
        let pool = &state.context(device)?.pool;
        let found = match attribute {
            RELEASE_THRESHOLD => pool.release_threshold,
            RESERVED_BYTES => pool.reserved_bytes() as u64,
            USED_BYTES => pool.used_bytes() as u64,
            _ => return Err(codes::NOT_SUPPORTED),
        };
        // SAFETY: the caller's promise.
        unsafe { *value.cast::<u64>() = found };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuMemPoolTrimTo(pool: Handle, most_bytes: usize) -> Code {
    state::on_device_of(pool, |state, device| {
        state.context(device)?.pool.trim(most_bytes);
        Ok(())
    })
}
