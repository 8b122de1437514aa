//! The driver's result codes and device attributes by their numbers, from its public header.

use std::ffi::{CStr, c_char, c_int};

use super::state::Code;

pub(super) const SUCCESS: Code = 0;
pub(super) const INVALID_VALUE: Code = 1;
pub(super) const OUT_OF_MEMORY: Code = 2;
pub(super) const NO_DEVICE: Code = 100;
pub(super) const INVALID_DEVICE: Code = 101;
pub(super) const INVALID_CONTEXT: Code = 201;
pub(super) const INVALID_PTX: Code = 218;
pub(super) const INVALID_HANDLE: Code = 400;
pub(super) const NOT_FOUND: Code = 500;
pub(super) const ILLEGAL_ADDRESS: Code = 700;
pub(super) const LAUNCH_OUT_OF_RESOURCES: Code = 701;
pub(super) const NOT_SUPPORTED: Code = 801;

/// A device attribute of a small device of compute capability 7.0, with pools of memory or without.
pub(super) fn attribute(number: c_int, has_pools: bool) -> c_int {
    match number {
        // Threads of a block: in all, along x, y, z.
        1..=3 => 1024,
        4 => 64,
        // Blocks along x, y, z.
        5 => i32::MAX,
        6 | 7 => 65_535,
        // Shared memory and registers of a block, threads of a warp.
        8 => 49_152,
        10 => 32,
        12 => 65_536,
        // Multiprocessors: one, since threads run one after another.
        16 => 1,
        75 => 7,
        76 => 0,
        // Memory that is allocated and freed in the order of a stream.
        115 => c_int::from(has_pools),
        _ => 0,
    }
}

fn name(code: Code) -> &'static CStr {
    match code {
        SUCCESS => c"CUDA_SUCCESS",
        INVALID_VALUE => c"CUDA_ERROR_INVALID_VALUE",
        OUT_OF_MEMORY => c"CUDA_ERROR_OUT_OF_MEMORY",
        NO_DEVICE => c"CUDA_ERROR_NO_DEVICE",
        INVALID_DEVICE => c"CUDA_ERROR_INVALID_DEVICE",
        INVALID_CONTEXT => c"CUDA_ERROR_INVALID_CONTEXT",
        INVALID_PTX => c"CUDA_ERROR_INVALID_PTX",
        INVALID_HANDLE => c"CUDA_ERROR_INVALID_HANDLE",
        NOT_FOUND => c"CUDA_ERROR_NOT_FOUND",
        ILLEGAL_ADDRESS => c"CUDA_ERROR_ILLEGAL_ADDRESS",
        LAUNCH_OUT_OF_RESOURCES => c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES",
        NOT_SUPPORTED => c"CUDA_ERROR_NOT_SUPPORTED",
        _ => c"CUDA_ERROR_UNKNOWN",
    }
}

/// # Safety
///
/// `text` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuGetErrorName(code: Code, text: *mut *const c_char) -> Code {
    // SAFETY: the caller's promise.
    unsafe { *text = name(code).as_ptr() };
    SUCCESS
}

/// # Safety
///
/// `text` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuGetErrorString(code: Code, text: *mut *const c_char) -> Code {
    // SAFETY: the caller's promise.
    unsafe { cuGetErrorName(code, text) }
}
