//! What there is: driver, devices, and whether they compute what they should.
//!
//! In: nothing; out: the devices, or why there is none. What failed may work later, when another program has let go of a
//! device: who asks for it has it looked for anew. Never panics: what the driver's library lacks, and every code of the
//! driver, becomes an error.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{CudaDevice, library};
use crate::cpu::CpuDevice;
use crate::device::{Design, Device, Elements, MatrixView};
use crate::error::{Error, Result};
use crate::trees::{Bins, PairValues, Pairs, RowOrder, RowSets, Version};

/// What a search for NVIDIA's devices found.
#[derive(Debug, Default)]
pub struct CudaProbe {
    /// Each device by its number, or why it cannot be used.
    pub devices: Vec<Result<Arc<CudaDevice>>>,
    /// Why there are none.
    pub absence: Option<Error>,
}

/// What the last search found; the first call searches.
pub fn probe_cuda() -> Arc<CudaProbe> {
    SEARCHES.find(now(), IfFailed::Keep, CudaProbe::anew)
}

/// The same, but what failed is looked for anew if the last search ended some seconds ago.
pub fn probe_cuda_anew() -> Arc<CudaProbe> {
    SEARCHES.find(now(), IfFailed::SearchAnew, CudaProbe::anew)
}

impl CudaProbe {
    /// Searches for what could not be used; devices that could stay the same.
    #[must_use]
    pub fn anew(&self) -> CudaProbe {
        let count = || {
            library::load()?;
            library::count_devices()
        };
        match guarded(count) {
            Ok(n_devices) => CudaProbe {
                devices: (0..n_devices)
                    .map(|ordinal| self.try_device(ordinal))
                    .collect(),
                absence: None,
            },
            Err(absence) => CudaProbe {
                devices: Vec::new(),
                absence: Some(absence),
            },
        }
    }

    fn try_device(&self, ordinal: usize) -> Result<Arc<CudaDevice>> {
        let Some(Ok(device)) = self.devices.get(ordinal) else {
            return guarded(|| CudaDevice::open(ordinal));
        };
        if device.problem().is_some() {
            // Whether it was opened is told by the device.
            let checked = guarded(|| check_known_answers(&device.for_run(usize::MAX)));
            if let Err(error @ Error::WrongAnswer { .. }) = checked {
                return Err(error);
            }
        }
        Ok(Arc::clone(device))
    }

    fn is_complete(&self) -> bool {
        let works = |found: &Result<Arc<CudaDevice>>| {
            found
                .as_ref()
                .is_ok_and(|device| device.problem().is_none())
        };
        self.absence.is_none() && self.devices.iter().all(works)
    }
}

/// What becomes of a search that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IfFailed {
    Keep,
    SearchAnew,
}

/// How long what failed is not looked for anew: opening a device takes its time, and any statement may ask.
const PAUSE: Duration = Duration::from_secs(5);

static SEARCHES: Searches = Searches::new();

/// The searches of a process, one at a time.
#[derive(Debug)]
struct Searches {
    found: Mutex<Option<Arc<CudaProbe>>>,
    /// When the last search ended; held while one goes on.
    ended: Mutex<Option<Instant>>,
}

impl Searches {
    const fn new() -> Searches {
        Searches {
            found: Mutex::new(None),
            ended: Mutex::new(None),
        }
    }

    fn find(
        &self,
        at: Instant,
        if_failed: IfFailed,
        search: impl FnOnce(&CudaProbe) -> CudaProbe,
    ) -> Arc<CudaProbe> {
        let is_enough = |known: &Arc<CudaProbe>| if_failed == IfFailed::Keep || known.is_complete();
        if let Some(known) = self.known().filter(is_enough) {
            return known;
        }
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let is_recent = ended.is_some_and(|ended| at.saturating_duration_since(ended) < PAUSE);
        // Another thread may have searched meanwhile.
        let known = self.known();
        if let Some(known) = known.as_ref().filter(|known| is_recent || is_enough(known)) {
            return Arc::clone(known);
        }
        let begun = now();
        let found = Arc::new(search(&known.unwrap_or_default()));
        *self.found.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&found));
        *ended = Some(at + begun.elapsed());
        found
    }

    fn known(&self) -> Option<Arc<CudaProbe>> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        found.clone()
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "how often a driver is asked depends on the time, and nothing that is computed"
)]
fn now() -> Instant {
    Instant::now()
}

/// The library panics where a driver lacks one of its entry points.
fn guarded<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map_or("", String::as_str);
        let missing = text.strip_prefix("Missing symbol ");
        let name = missing.and_then(|rest| rest.split(':').next());
        Err(match name {
            Some(name) => Error::NoEntryPoint {
                name: name.to_owned(),
            },
            None => Error::Driver {
                code: "its library cannot be called".to_owned(),
            },
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

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_failed_is_looked_for_anew_after_a_pause_alone() {
        let searches = Searches::new();
        let n_searches = Cell::new(0);
        // Searches in vain but for the third time.
        let search = |_: &CudaProbe| {
            n_searches.set(n_searches.get() + 1);
            CudaProbe {
                absence: (n_searches.get() < 3).then_some(Error::NoDevice),
                devices: Vec::new(),
            }
        };
        let begin = now();
        let find = |at, if_failed| {
            let found = searches.find(at, if_failed, search);
            (n_searches.get(), found.absence.is_some())
        };
        assert_eq!(find(begin, IfFailed::Keep), (1, true));
        let soon = begin + PAUSE / 2;
        assert_eq!(find(soon, IfFailed::SearchAnew), (1, true));
        let later = begin + PAUSE * 2;
        assert_eq!(find(later, IfFailed::Keep), (1, true));
        assert_eq!(find(later, IfFailed::SearchAnew), (2, true));
        assert_eq!(find(later, IfFailed::SearchAnew), (2, true));
        assert_eq!(find(later + PAUSE * 2, IfFailed::SearchAnew), (3, false));
        // What was found is not searched for again.
        assert_eq!(find(later + PAUSE * 9, IfFailed::SearchAnew), (3, false));
    }

    #[test]
    fn an_entry_point_that_a_driver_lacks_is_named() {
        let name = "cuMemAllocAsync";
        let found = guarded::<()>(|| panic!("Missing symbol {name}: undefined symbol"));
        assert_eq!(
            found.unwrap_err().to_string(),
            "the CUDA driver lacks entry point \"cuMemAllocAsync\""
        );
        let found = guarded::<()>(|| panic!("something else"));
        assert!(matches!(found, Err(Error::Driver { .. })), "{found:?}");
    }
}
