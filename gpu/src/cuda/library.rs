//! The CUDA driver: found at run time, never needed to build or to start.

use std::sync::OnceLock;

use cudarc::driver::{result, sys};

use crate::error::{Error, Result};

/// The environment variable that names the driver's file where it lies in no usual place.
const VARIABLE: &str = "AUSPEX_CUDA_LIBRARY";
/// The least version of the driver, as `1000 * major + 10 * minor`, for PTX of CUDA 12.0.
const MIN_VERSION: i32 = 12_000;

/// Loads the driver's library, and asks whether it is new enough.
pub(super) fn load() -> Result<()> {
    static NAMED: OnceLock<Option<Result<libloading::Library>>> = OnceLock::new();
    let named = NAMED.get_or_init(|| {
        let path = std::env::var_os(VARIABLE)?;
        // SAFETY: the driver's own initialisers run; the user vouches for the file that is named. Once
        // loaded, it is found under the driver's name by whoever looks for that.
        let library = unsafe { libloading::Library::new(&path) };
        Some(library.map_err(|error| Error::Library {
            path: path.to_string_lossy().into_owned(),
            reason: error.to_string(),
        }))
    });
    if let Some(Err(error)) = named {
        return Err(error.clone());
    }
    // SAFETY: as above; asking loads the library.
    if !unsafe { sys::is_culib_present() } {
        return Err(Error::NoDriver);
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
    // SAFETY: the symbol is looked for, not called.
    unsafe {
        sys::culib()
            .get::<unsafe extern "C" fn()>(b"auspexSimConfigure")
            .is_ok()
    }
}
