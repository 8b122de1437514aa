//! What there is: driver, devices, and whether they compute what they should.
//!
//! In: nothing; out: the devices, or why there is none. Never panics: what the driver's library lacks, and
//! every code of the driver, becomes an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use super::{CudaDevice, library};
use crate::cpu::CpuDevice;
use crate::device::{Design, Device, Elements, MatrixView};
use crate::error::{Error, Result};

/// What the search for NVIDIA's devices found.
#[derive(Debug)]
pub struct CudaProbe {
    /// Each device by its number, or why it cannot be used.
    pub devices: Vec<Result<Arc<CudaDevice>>>,
    /// Why there are none.
    pub absence: Option<Error>,
}

/// Searches once; later calls have the same answer.
pub fn probe_cuda() -> &'static CudaProbe {
    static PROBE: OnceLock<CudaProbe> = OnceLock::new();
    PROBE.get_or_init(|| {
        let search = || {
            library::load()?;
            library::count_devices()
        };
        let found = guarded(search);
        match found {
            Ok(n_devices) => CudaProbe {
                devices: (0..n_devices)
                    .map(|ordinal| guarded(|| CudaDevice::open(ordinal)))
                    .collect(),
                absence: None,
            },
            Err(absence) => CudaProbe {
                devices: Vec::new(),
                absence: Some(absence),
            },
        }
    })
}

/// The library panics where a driver lacks one of its entry points.
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        Err(Error::Driver {
            code: "it lacks an entry point".to_owned(),
        })
    })
}

/// Small whole numbers, whose sums are exact in any order.
pub(super) fn check_known_answer(device: &CudaDevice) -> Result<()> {
    let values: Vec<f32> = (0u16..60).map(|i| f32::from(i * 7 % 13)).collect();
    let response: Vec<f64> = (0u8..20).map(|i| f64::from(i % 5)).collect();
    let design = Design {
        dense: MatrixView {
            n_rows: 20,
            n_cols: 3,
            elements: Elements::F32(&values),
        },
        shift: &[1.0, 2.0, 3.0],
        scale: &[1.0, 0.5, 2.0],
        codes: &[],
        widths: &[],
    };
    let found = device.gram(&design, Some(&response), None)?;
    if found == CpuDevice.gram(&design, Some(&response), None)? {
        Ok(())
    } else {
        Err(Error::WrongAnswer {
            device: device.info().name,
        })
    }
}
