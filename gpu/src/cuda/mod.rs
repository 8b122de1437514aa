//! NVIDIA's devices: the kernels of `gpu/kernels`, run through the CUDA driver.
//!
//! In: blocks on the host; out: partials as the CPU gives them, sums over rows to rounding, all else to the
//! bit. Needs the driver alone: it is looked for at run time, and the kernels are embedded as PTX, which the driver
//! compiles for the device. A kernel's fault poisons its context, which is then opened anew; the process
//! never ends for it.
//!
//! `library` finds the driver, `session` is an open device with its kernels, `layout` brings designs to it,
//! the other modules have one family of kernels each, `probe` tells what there is.

mod distances;
mod glm;
mod gram;
mod layout;
mod library;
mod probe;
mod session;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use probe::{CudaProbe, probe_cuda};

use crate::device::{Design, Device, DeviceInfo, GlmPartial, Gram, Loss, Nearest};
use crate::error::{Error, Result};
use session::{Failure, Session};

/// A device of NVIDIA's.
///
/// All calls of all threads go through one queue; each is a run of kernels over one block.
#[derive(Debug)]
pub struct CudaDevice {
    ordinal: usize,
    info: DeviceInfo,
    /// `None` after a fault, until the next call.
    session: Mutex<Option<Session>>,
    limit_bytes: AtomicUsize,
    n_rebuilt: AtomicU64,
}

impl CudaDevice {
    /// Opens a device and lets it compute a known answer.
    ///
    /// Errors: what the driver lacks, and `WrongAnswer`.
    pub fn open(ordinal: usize) -> Result<Arc<CudaDevice>> {
        library::load()?;
        let n_devices = library::count_devices()?;
        if ordinal >= n_devices {
            return Err(Error::NoSuchDevice { ordinal, n_devices });
        }
        let session = Session::open(ordinal).map_err(|failure| failure.error("probe", "cuda"))?;
        let device = CudaDevice {
            ordinal,
            info: session
                .info()
                .map_err(|failure| failure.error("probe", "cuda"))?,
            session: Mutex::new(Some(session)),
            limit_bytes: AtomicUsize::new(usize::MAX),
            n_rebuilt: AtomicU64::new(0),
        };
        probe::check_known_answer(&device)?;
        Ok(Arc::new(device))
    }

    /// Its number.
    pub fn ordinal(&self) -> usize {
        self.ordinal
    }

    /// Bounds the memory that blocks take on the device; what is larger streams through it.
    pub fn set_memory_limit(&self, limit_bytes: usize) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    /// How often its context was opened anew after a fault.
    pub fn n_rebuilt(&self) -> u64 {
        self.n_rebuilt.load(Ordering::Relaxed)
    }

    /// Runs kernels in the device's session, which is opened anew if a fault ended it.
    fn run<T>(
        &self,
        kernel: &'static str,
        work: impl FnOnce(&Session) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let mut session: MutexGuard<'_, Option<Session>> =
            self.session.lock().unwrap_or_else(PoisonError::into_inner);
        let error = |failure: Failure| failure.error(kernel, &self.info.name);
        let open = match session.take() {
            Some(open) => open,
            None => {
                self.n_rebuilt.fetch_add(1, Ordering::Relaxed);
                Session::open(self.ordinal).map_err(error)?
            }
        };
        open.set_limit(self.limit_bytes.load(Ordering::Relaxed));
        match work(&open) {
            Err(failure) if failure.is_fatal() => {
                // All handles must go before the driver lets go of the context.
                drop(open);
                Err(error(failure))
            }
            found => {
                *session = Some(open);
                found.map_err(error)
            }
        }
    }
}

impl Device for CudaDevice {
    fn info(&self) -> DeviceInfo {
        self.info.clone()
    }

    fn gram(
        &self,
        design: &Design<'_>,
        response: Option<&[f64]>,
        weights: Option<&[f64]>,
    ) -> Result<Gram> {
        gram::check(design, response, weights)?;
        self.run("gram", |session| {
            gram::gram(session, design, response, weights)
        })
    }

    fn linear(
        &self,
        design: &Design<'_>,
        coefficients: &[f64],
        n_outputs: usize,
    ) -> Result<Vec<f64>> {
        glm::check_linear(design, coefficients, n_outputs)?;
        self.run("linear", |session| {
            glm::linear(session, design, coefficients, n_outputs)
        })
    }

    fn glm(
        &self,
        design: &Design<'_>,
        response: &[f64],
        weights: Option<&[f64]>,
        coefficients: &[f64],
        n_outputs: usize,
        loss: Loss,
        with_hessian: bool,
    ) -> Result<GlmPartial> {
        let pass = glm::Pass {
            design,
            response,
            weights,
            coefficients,
            n_outputs,
            loss,
            with_hessian,
        };
        pass.check()?;
        self.run("glm", |session| pass.run(session))
    }

    fn nearest(
        &self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Nearest> {
        let n_centroids = distances::check(design, centroids, weights)?;
        self.run("nearest", |session| {
            distances::nearest(session, design, centroids, n_centroids, weights)
        })
    }

    fn squared_distances(&self, design: &Design<'_>, centroids: &[f64]) -> Result<Vec<f64>> {
        let n_centroids = distances::check(design, centroids, None)?;
        self.run("squared_distances", |session| {
            distances::squared_distances(session, design, centroids, n_centroids)
        })
    }
}
