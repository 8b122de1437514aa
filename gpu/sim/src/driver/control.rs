//! What only a test calls: settings, the report of faults and leaks, counters.

#![allow(non_snake_case, reason = "named as the driver's own entry points are")]

use std::ffi::{CStr, c_char, c_int};

use super::codes;
use super::state::{self, Code};
use crate::settings::Settings;

/// Takes the settings that the text names and the defaults for the others; see `settings`.
///
/// # Safety
///
/// `text` must end with a zero.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn auspexSimConfigure(text: *const c_char) -> Code {
    // SAFETY: the caller's promise.
    let text = unsafe { CStr::from_ptr(text) }.to_string_lossy();
    match Settings::parse(&text) {
        Ok(settings) => {
            state::with(|state| state.configure(settings));
            codes::SUCCESS
        }
        Err(_) => codes::INVALID_VALUE,
    }
}

/// Writes what went wrong since the last call, cut to `length` bytes; returns how many were written.
///
/// # Safety
///
/// `text` must have room for `length` bytes.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn auspexSimReport(text: *mut c_char, length: usize) -> usize {
    let report = state::with(|state| std::mem::take(&mut state.report));
    let length = report.len().min(length);
    // SAFETY: the caller's promise; the report is at least as long.
    unsafe { std::ptr::copy_nonoverlapping(report.as_ptr(), text.cast::<u8>(), length) };
    length
}

/// Writes launches, instructions, bytes to the device, bytes from it, bytes to it out of page-locked memory, and bytes of its
/// memory that were mapped, since the last configuration.
///
/// # Safety
///
/// `counters` must have room for six numbers.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn auspexSimCounters(counters: *mut u64) -> Code {
    let found = state::with(|state| state.counters);
    let found = [
        found.n_launches,
        found.n_instructions,
        found.uploaded_bytes,
        found.downloaded_bytes,
        found.streamed_bytes,
        found.mapped_bytes,
    ];
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(found.as_ptr(), counters, found.len()) };
    codes::SUCCESS
}

/// Whether the devices are to be taken for what they are: a stand-in that computes nothing fast.
#[unsafe(no_mangle)]
pub(super) extern "C" fn auspexSimIsSimulated() -> c_int {
    c_int::from(!state::with(|state| state.settings.shows_as_device))
}
