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
use crate::trees::{Bins, PairValues, Pairs, RowOrder, RowSets, Version};

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

/// Small whole numbers, whose sums are exact in any order: one kernel of doubles, one of atomics.
pub(super) fn check_known_answers(device: &CudaDevice) -> Result<()> {
    let values: Vec<f32> = (0u16..60).map(|i| f32::from(i * 7 % 13)).collect();
    let response: Vec<f64> = (0u8..20).map(|i| f64::from(i % 5)).collect();
    let design = Design {
        rows: None,
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
    let products = |device: &dyn Device| device.gram(&design, Some(&response), None);
    let bins: Vec<u8> = (0u8..40).map(|i| i * 3 % 7).collect();
    let pairs: Vec<u32> = (0u32..20).map(|i| (i << 16) + 1).collect();
    let order: Vec<u16> = (0u16..20).collect();
    let version = Version::new();
    let bins = Bins {
        rows: None,
        version,
        n_columns: 2,
        values: &bins,
    };
    let pairs = Pairs {
        version,
        values: PairValues::Narrow(&pairs),
    };
    let values = order.as_slice();
    let sets = RowSets {
        order: RowOrder { version, values },
        sets: &[0..11, 11..20],
    };
    let sums = |device: &dyn Device| device.histogram(&bins, &pairs, &sets, &[0, 1]);
    let is_right = products(device)? == products(&CpuDevice)? && sums(device)? == sums(&CpuDevice)?;
    match is_right {
        true => Ok(()),
        false => Err(Error::WrongAnswer {
            device: device.info().name,
        }),
    }
}
