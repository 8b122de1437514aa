//! Streams and events: handles alone, since everything has run when a call returns, and the order that they make.

#![allow(non_snake_case, reason = "the names are the driver's")]

use std::ffi::{c_int, c_uint};

use super::codes;
use super::state::{self, Code, Handle};

/// # Safety
///
/// `stream` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuStreamCreate(stream: *mut Handle, _flags: c_uint) -> Code {
    state::in_context(|state, device| {
        // SAFETY: the caller's promise.
        unsafe { *stream = state.stream(device) };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuStreamSynchronize(stream: Handle) -> Code {
    state::in_context(|state, device| {
        let context = state.context(device)?;
        context.order.stream_is_done(stream.addr());
        context.pool.host_has_waited();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuStreamDestroy_v2(stream: Handle) -> Code {
    state::with(|state| state.forget_stream(stream));
    codes::SUCCESS
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuStreamWaitEvent(stream: Handle, event: Handle, _flags: c_uint) -> Code {
    state::in_context(|state, device| {
        if !state.settings.is_deaf {
            let order = &mut state.context(device)?.order;
            order.wait(stream.addr(), event.addr());
        }
        Ok(())
    })
}

/// # Safety
///
/// `event` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuEventCreate(event: *mut Handle, _flags: c_uint) -> Code {
    state::in_context(|state, _| {
        // SAFETY: the caller's promise.
        unsafe { *event = state.handle() };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuEventRecord(event: Handle, stream: Handle) -> Code {
    state::in_context(|state, device| {
        let order = &mut state.context(device)?.order;
        order.record(event.addr(), stream.addr());
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuEventQuery(event: Handle) -> Code {
    cuEventSynchronize(event)
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuEventSynchronize(event: Handle) -> Code {
    state::in_context(|state, device| {
        let context = state.context(device)?;
        context.order.event_is_done(event.addr());
        context.pool.host_has_waited();
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuEventDestroy_v2(event: Handle) -> Code {
    state::with(|state| state.forget_event(event));
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
