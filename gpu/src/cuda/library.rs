//! The CUDA driver: found at run time, never needed to build or to start.

use std::error::Error as _;
use std::ffi::OsStr;
use std::sync::{Mutex, PoisonError};

use cudarc::driver::{result, sys};

use crate::error::{Error, Result};

/// The environment variable that names the driver's file where it lies in no usual place.
const VARIABLE: &str = "AUSPEX_CUDA_LIBRARY";
/// The least version of the driver, as `1000 * major + 10 * minor`, for PTX of CUDA 12.0.
const MIN_VERSION: i32 = 12_000;

/// Loads the driver's library, and asks whether it is new enough.
pub(super) fn load() -> Result<()> {
    // Once loaded, the file is found under the driver's name by whoever looks for that.
    static NAMED: Mutex<Option<libloading::Library>> = Mutex::new(None);
    let path = std::env::var_os(VARIABLE);
    if let Some(path) = &path {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        if named.is_none() {
            *named = Some(open_named(path)?);
        }
    }
    // SAFETY: the driver's own initialisers run; asking loads the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(match &path {
            Some(path) => unusable(path, "it does not have the name of the driver's library"),
            None => Error::NoDriver,
        });
    }
    let mut version = 0;
    // SAFETY: the driver writes one number.
    let code = unsafe { sys::cuDriverGetVersion(&raw mut version) };
    if code != sys::CUresult::CUDA_SUCCESS {
        return Err(Error::Driver {
            code: format!("{code:?}"),
        });
    }
    if version < MIN_VERSION {
        return Err(Error::DriverTooOld {
            found: format!("{}.{}", version / 1000, version % 1000 / 10),
            needed: "12.0",
        });
    }
    Ok(())
}

/// Loads the file that is named as the driver's.
fn open_named(path: &OsStr) -> Result<libloading::Library> {
    // SAFETY: the driver's own initialisers run; the user vouches for the file that is named.
    let library = unsafe { libloading::Library::new(path) };
    let library = library.map_err(|error| {
        // The error itself says no more than that it is one.
        let reason = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        unusable(path, &reason)
    })?;
    // SAFETY: the symbol is looked for, not called.
    let begin = unsafe { library.get::<unsafe extern "C" fn()>(b"cuInit") };
    if begin.is_err() {
        return Err(unusable(path, "it is no CUDA driver"));
    }
    Ok(library)
}

fn unusable(path: &OsStr, reason: &str) -> Error {
    Error::Library {
        path: path.to_string_lossy().into_owned(),
        reason: reason.to_owned(),
    }
}

/// How many devices the driver has.
pub(super) fn count_devices() -> Result<usize> {
    let failed = |code: sys::CUresult| match code {
        sys::CUresult::CUDA_ERROR_NO_DEVICE => Error::NoDevice,
        code => Error::Driver {
            code: format!("{code:?}"),
        },
    };
    result::init().map_err(|error| failed(error.0))?;
    let count = result::device::get_count().map_err(|error| failed(error.0))?;
    match usize::try_from(count) {
        Ok(0) | Err(_) => Err(Error::NoDevice),
        Ok(count) => Ok(count),
    }
}

/// The version of CUDA that the driver supports, as text.
pub(super) fn version() -> String {
    let mut version = 0;
    // SAFETY: the driver writes one number.
    unsafe { sys::cuDriverGetVersion(&raw mut version) };
    format!("{}.{}", version / 1000, version % 1000 / 10)
}

/// Whether the library is the stand-in of the tests, which says so itself.
pub(super) fn is_simulated() -> bool {
    // SAFETY: the signature is that of `gpu/sim/src/driver/control.rs`; no driver has the name.
    unsafe {
        sys::culib()
            .get::<unsafe extern "C" fn() -> std::ffi::c_int>(b"auspexSimIsSimulated")
            .is_ok_and(|ask| ask() != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_driver_is_named() {
        let found = open_named(OsStr::new("libm.so.6")).map(|_| ());
        assert_eq!(
            found.unwrap_err().to_string(),
            "the CUDA driver \"libm.so.6\" of AUSPEX_CUDA_LIBRARY cannot be used: it is no CUDA driver"
        );
        let found = open_named(OsStr::new("/nowhere/libcuda.so.1")).map(|_| ());
        let message = found.unwrap_err().to_string();
        for part in ["\"/nowhere/libcuda.so.1\"", "No such file or directory"] {
            assert!(message.contains(part), "{message}");
        }
    }
}
