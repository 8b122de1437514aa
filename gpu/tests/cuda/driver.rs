//! The stand-in driver, loaded in place of the real one, and what only it offers.

use std::ffi::{CString, c_char};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};

use cudarc::driver::sys;

/// Launches, bytes to the device, bytes from it, those to it out of page-locked memory, and bytes of its memory that were mapped.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counters {
    pub(crate) n_launches: u64,
    pub(crate) uploaded_bytes: u64,
    pub(crate) downloaded_bytes: u64,
    pub(crate) streamed_bytes: u64,
    pub(crate) mapped_bytes: u64,
}

/// The driver, for one test at a time: its settings are those of the process.
pub(crate) struct Driver {
    _turn: MutexGuard<'static, ()>,
}

impl Driver {
    /// Takes the driver with settings as `gpu/sim/src/settings.rs` describes them.
    pub(crate) fn new(settings: &str) -> Driver {
        static TURN: Mutex<()> = Mutex::new(());
        static LOADED: Once = Once::new();
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        LOADED.call_once(|| {
            // SAFETY: no other thread reads the environment before the first test has the driver.
            unsafe { std::env::set_var("AUSPEX_CUDA_LIBRARY", library()) };
        });
        let driver = Driver { _turn: turn };
        // The library is loaded by whoever asks for devices first.
        let _ = auspex_gpu::CudaDevice::open(usize::MAX);
        driver.configure(settings);
        driver
    }

    /// Changes the settings; counters begin anew.
    pub(crate) fn configure(&self, settings: &str) {
        let text = CString::new(settings).unwrap();
        // SAFETY: the signature is that of `gpu/sim/src/driver/control.rs`.
        let code = unsafe {
            let configure = sys::culib()
                .get::<unsafe extern "C" fn(*const c_char) -> i32>(b"auspexSimConfigure")
                .expect("the stand-in driver is loaded");
            configure(text.as_ptr())
        };
        assert_eq!(code, 0, "{settings}");
    }

    /// What went wrong since the last call: faults and leaks.
    pub(crate) fn report(&self) -> String {
        let mut text = vec![0u8; 1 << 16];
        // SAFETY: as above; the text has room.
        let length = unsafe {
            let report = sys::culib()
                .get::<unsafe extern "C" fn(*mut c_char, usize) -> usize>(b"auspexSimReport")
                .expect("the stand-in driver is loaded");
            report(text.as_mut_ptr().cast(), text.len())
        };
        String::from_utf8_lossy(&text[..length]).into_owned()
    }

    pub(crate) fn counters(&self) -> Counters {
        let mut counters = [0u64; 6];
        // SAFETY: as above; there is room for six numbers.
        unsafe {
            let read = sys::culib()
                .get::<unsafe extern "C" fn(*mut u64) -> i32>(b"auspexSimCounters")
                .expect("the stand-in driver is loaded");
            read(counters.as_mut_ptr());
        }
        Counters {
            n_launches: counters[0],
            uploaded_bytes: counters[2],
            downloaded_bytes: counters[3],
            streamed_bytes: counters[4],
            mapped_bytes: counters[5],
        }
    }
}

/// Cargo builds the library beside the tests that depend on it.
fn library() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.push(format!(
        "{}auspex_gpu_sim{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ));
    assert!(path.exists(), "{} was not built", path.display());
    path
}
