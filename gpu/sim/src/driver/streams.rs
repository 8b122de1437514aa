//! Streams and events: handles alone, since everything has run when a call returns.

#![allow(non_snake_case, reason = "the names are the driver's")]

use std::ffi::{c_int, c_uint};

use super::codes;
use super::state::{self, Code, Handle};

/// # Safety
///
/// `into` must be writable.
unsafe fn new_handle(into: *mut Handle) -> Code {
    state::in_context(|state, _| {
        // SAFETY: the caller's promise.
        unsafe { *into = state.handle() };
        Ok(())
    })
}

/// # Safety
///
/// `stream` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuStreamCreate(stream: *mut Handle, _flags: c_uint) -> Code {
    // SAFETY: the caller's promise.
    unsafe { new_handle(stream) }
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuStreamSynchronize(_stream: Handle) -> Code {
    state::in_context(|_, _| Ok(()))
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuStreamDestroy_v2(_stream: Handle) -> Code {
    codes::SUCCESS
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuStreamWaitEvent(
    _stream: Handle,
    _event: Handle,
    _flags: c_uint,
) -> Code {
    state::in_context(|_, _| Ok(()))
}

/// # Safety
///
/// `event` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> Code {
    // SAFETY: the caller's promise.
    unsafe { new_handle(event) }
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuEventRecord(_event: Handle, _stream: Handle) -> Code {
    state::in_context(|_, _| Ok(()))
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuEventQuery(_event: Handle) -> Code {
    state::in_context(|_, _| Ok(()))
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuEventSynchronize(_event: Handle) -> Code {
    state::in_context(|_, _| Ok(()))
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuEventDestroy_v2(_event: Handle) -> Code {
    codes::SUCCESS
}

/// No time passes on a device that there is not.
///
/// # Safety
///
/// `milliseconds` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuEventElapsedTime(
    milliseconds: *mut f32,
    _start: Handle,
    _end: Handle,
) -> Code {
    // SAFETY: the caller's promise.
    unsafe { *milliseconds = 0.0 };
    codes::SUCCESS
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuFuncSetAttribute(
    _function: Handle,
    _attribute: c_int,
    _value: c_int,
) -> Code {
    codes::NOT_SUPPORTED
}
