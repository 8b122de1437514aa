//! Modules, their kernels, and launches.

#![allow(non_snake_case, reason = "the names are the driver's")]

use std::ffi::{CStr, c_char, c_uint, c_void};

use super::codes;
use super::state::{self, Code, Handle, LaunchShape};

/// # Safety
///
/// `image` must be a text that ends with a zero; `module` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuModuleLoadData(
    module: *mut Handle,
    image: *const c_void,
) -> Code {
    // SAFETY: the caller's promise.
    let source = unsafe { CStr::from_ptr(image.cast::<c_char>()) }.to_string_lossy();
    state::in_context(|state, device| {
        let handle = state.load_module(device, &source)?;
        // SAFETY: the caller's promise.
        unsafe { *module = handle };
        Ok(())
    })
}

#[unsafe(no_mangle)]
pub(super) extern "C" fn cuModuleUnload(module: Handle) -> Code {
    state::in_context(|state, device| state.unload_module(device, module))
}

/// # Safety
///
/// `name` must be a text that ends with a zero; `function` must be writable.
#[unsafe(no_mangle)]
pub(super) unsafe extern "C" fn cuModuleGetFunction(
    function: *mut Handle,
    module: Handle,
    name: *const c_char,
) -> Code {
    // SAFETY: the caller's promise.
    let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
    state::in_context(|state, device| {
        let handle = state.function(device, module, &name)?;
        // SAFETY: the caller's promise.
        unsafe { *function = handle };
        Ok(())
    })
}

/// # Safety
///
/// `parameters` must point to one value for each parameter of the kernel.
#[unsafe(no_mangle)]
#[allow(clippy::too_many_arguments, reason = "the signature is the driver's")]
pub(super) unsafe extern "C" fn cuLaunchKernel(
    function: Handle,
    grid_x: c_uint,
    grid_y: c_uint,
    grid_z: c_uint,
    block_x: c_uint,
    block_y: c_uint,
    block_z: c_uint,
    shared_bytes: c_uint,
    stream: Handle,
    parameters: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> Code {
    if !extra.is_null() {
        return codes::NOT_SUPPORTED;
    }
    state::in_context(|state, device| {
        state.launch(device, function, stream, |kernel| {
            let mut bytes = vec![0; kernel.parameter_bytes];
            for (idx, &(offset, size)) in kernel.parameters.iter().enumerate() {
                // SAFETY: the caller's promise: there are as many values as parameters, each of
                // its size.
                let value = unsafe {
                    std::slice::from_raw_parts((*parameters.add(idx)).cast::<u8>(), size)
                };
                bytes[offset..offset + size].copy_from_slice(value);
            }
            LaunchShape {
                grid: [grid_x, grid_y, grid_z],
                block: [block_x, block_y, block_z],
                dynamic_shared_bytes: shared_bytes as usize,
                parameters: bytes,
            }
        })
    })
}
