//! The driver itself, its devices and their contexts.

#![allow(non_snake_case, reason = "the names are the driver's")]

use std::ffi::{c_char, c_int, c_uint};

use super::codes;
use super::state::{self, Code, Handle};

/// What each device calls itself.
const DEVICE_NAME: &[u8] = b"PTX interpreter (no GPU)\0";

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuInit(_flags: c_uint) -> Code {
    state::with(|state| match state.settings.n_devices {
        0 => codes::NO_DEVICE,
        _ => state.initialised,
    })
}

/// # Safety
///
/// `version` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> Code {
    // SAFETY: the caller's promise.
    unsafe { *version = state::with(|state| state.settings.driver_version) };
    codes::SUCCESS
}

/// # Safety
///
/// `count` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> Code {
    // SAFETY: the caller's promise.
    unsafe { *count = state::with(|state| state.settings.n_devices as c_int) };
    codes::SUCCESS
}

/// # Safety
///
/// `device` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> Code {
    let n_devices = state::with(|state| state.settings.n_devices);
    if usize::try_from(ordinal).is_ok_and(|ordinal| ordinal < n_devices) {
        // SAFETY: the caller's promise.
        unsafe { *device = ordinal };
        codes::SUCCESS
    } else {
        codes::INVALID_DEVICE
    }
}

/// # Safety
///
/// `name` must have room for `length` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuDeviceGetName(
    name: *mut c_char,
    length: c_int,
    _device: c_int,
) -> Code {
    let length = DEVICE_NAME.len().min(length.max(0) as usize);
    // SAFETY: the caller's promise; the source is at least as long.
    unsafe { std::ptr::copy_nonoverlapping(DEVICE_NAME.as_ptr(), name.cast::<u8>(), length) };
    codes::SUCCESS
}

/// # Safety
///
/// `bytes` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, _device: c_int) -> Code {
    // SAFETY: the caller's promise.
    unsafe { *bytes = state::with(|state| state.settings.memory_bytes) };
    codes::SUCCESS
}

/// # Safety
///
/// `value` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuDeviceGetAttribute(
    value: *mut c_int,
    attribute: c_int,
    _device: c_int,
) -> Code {
    let has_pools = state::with(|state| state.settings.has_pools);
    // SAFETY: the caller's promise.
    unsafe { *value = codes::attribute(attribute, has_pools) };
    codes::SUCCESS
}

/// # Safety
///
/// `context` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuDevicePrimaryCtxRetain(
    context: *mut Handle,
    device: c_int,
) -> Code {
    match state::with(|state| state.retain(device.max(0) as usize)) {
        Ok(handle) => {
            // SAFETY: the caller's promise.
            unsafe { *context = handle };
            codes::SUCCESS
        }
        Err(code) => code,
    }
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> Code {
    state::with(|state| state.release(device.max(0) as usize))
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuCtxSetCurrent(context: Handle) -> Code {
    state::set_current(context);
    codes::SUCCESS
}

/// # Safety
///
/// `context` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuCtxGetCurrent(context: *mut Handle) -> Code {
    // SAFETY: the caller's promise.
    unsafe { *context = state::current() };
    codes::SUCCESS
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuCtxSynchronize() -> Code {
    state::in_context(|state, device| {
        let context = state.context(device)?;
        context.order.all_is_done();
        context.pool.host_has_waited();
        Ok(())
    })
}
