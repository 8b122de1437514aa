//! NVIDIA's devices: the kernels of `gpu/kernels`, run through the CUDA driver.
//!
//! In: blocks on the host; out: partials as the CPU gives them, sums over rows to rounding, all else to the
//! bit. Needs the driver alone: it is looked for at run time, and the kernels are embedded as PTX, which the driver
//! compiles for the device. A kernel's fault poisons its context, which is then opened anew; the process
//! never ends for it.
//!
//! `library` finds the driver, `session` is an open device with its kernels, `residents` what stays there, `staging` the way of what does
//! not, `pool` where memory comes from, `layout` brings designs to it,
//! the other modules have one family of kernels each, `probe` tells what there is.

mod curvature;
mod distances;
mod glm;
mod gram;
mod layout;
mod library;
mod network;
mod pool;
mod probe;
mod product;
mod residents;
mod session;
mod staging;
mod trees;

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use probe::{CudaProbe, probe_cuda, probe_cuda_anew};

use crate::cpu::{check_design, check_hessian_product, check_neighbours, check_network_pass};
use crate::device::{
    ClusterSums, Design, Device, DeviceInfo, Figures, GlmPartial, Gram, Loss, Nearest,
};
use crate::error::{Error, Result};
use crate::product::{Neighbours, Network, Product, ProductElements, check_network, check_product};
use crate::trees::{
    Bins, Forest, Pairs, Parted, RowOrder, RowSets, RowSplit, Version, check_histogram,
    check_partition,
};
use residents::Budget;
use session::{Failure, Session};

/// A device of NVIDIA's, as one run has it.
///
/// All calls of all threads and runs go through one queue; each is a run of kernels over one block. What the run
/// keeps on the device is freed with this.
#[derive(Debug)]
pub struct CudaDevice {
    device: Arc<Opened>,
    run: u64,
    budget: Budget,
    limit_bytes: AtomicUsize,
    figures: Mutex<Figures>,
}

/// A device with its queue.
#[derive(Debug)]
struct Opened {
    ordinal: usize,
    info: DeviceInfo,
    /// `None` after a fault, until the next call.
    session: Mutex<Option<Session>>,
    n_rebuilt: AtomicU64,
    /// Why its context could not be opened anew, the last time that this was tried.
    problem: Mutex<Option<Error>>,
}

impl CudaDevice {
    /// Opens a device and lets it compute known answers.
    ///
    /// Errors: what the driver lacks, `NoRoom` and `WrongAnswer`.
    pub fn open(ordinal: usize) -> Result<Arc<CudaDevice>> {
        library::load()?;
        let n_devices = library::count_devices()?;
        if ordinal >= n_devices {
            return Err(Error::NoSuchDevice { ordinal, n_devices });
        }
        let failed = |failure: Failure| no_room(failure.error("probe", &format!("cuda:{ordinal}")));
        let session = Session::open(ordinal).map_err(failed)?;
        let opened = Opened {
            ordinal,
            info: session.info().map_err(failed)?,
            session: Mutex::new(Some(session)),
            n_rebuilt: AtomicU64::new(0),
            problem: Mutex::default(),
        };
        let device = CudaDevice::of(Arc::new(opened), usize::MAX);
        probe::check_known_answers(&device).map_err(no_room)?;
        Ok(Arc::new(device))
    }

    fn of(device: Arc<Opened>, limit_bytes: usize) -> CudaDevice {
        static NEXT_RUN: AtomicU64 = AtomicU64::new(0);
        CudaDevice {
            device,
            run: NEXT_RUN.fetch_add(1, Ordering::Relaxed),
            budget: Budget::default(),
            limit_bytes: AtomicUsize::new(limit_bytes),
            figures: Mutex::default(),
        }
    }

    /// The same device for another run, which may take so many bytes of its memory: blocks, parameters and
    /// partials together.
    pub fn for_run(&self, limit_bytes: usize) -> CudaDevice {
        CudaDevice::of(Arc::clone(&self.device), limit_bytes)
    }

    /// Its number.
    pub fn ordinal(&self) -> usize {
        self.device.ordinal
    }

    /// Bounds the memory that the run takes on the device; blocks that do not fit stream through it.
    pub fn set_memory_limit(&self, limit_bytes: usize) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    /// Bytes that the run has on the device between calls.
    pub fn kept_bytes(&self) -> usize {
        self.budget.used_bytes()
    }

    /// How often its context was opened anew after a fault.
    pub fn n_rebuilt(&self) -> u64 {
        self.device.n_rebuilt.load(Ordering::Relaxed)
    }

    /// Why its context cannot be opened anew; `None` as long as it can, or was not tried.
    pub fn problem(&self) -> Option<Error> {
        self.device.last_problem().clone()
    }

    /// Runs kernels in the device's session, which is opened anew if a fault ended it.
    fn run<T>(
        &self,
        kernel: &'static str,
        work: impl Fn(&Session) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let mut session = self.device.lock();
        let error = |failure: Failure| failure.error(kernel, &self.device.info.name);
        let open = match session.take() {
            Some(open) => open,
            None => {
                self.device.n_rebuilt.fetch_add(1, Ordering::Relaxed);
                let opened = Session::open(self.device.ordinal).map_err(error);
                *self.device.last_problem() = opened.as_ref().err().cloned();
                opened?
            }
        };
        let limit_bytes = self.limit_bytes.load(Ordering::Relaxed);
        open.begin_call(self.run, self.budget.with_limit(limit_bytes));
        let mut found = work(&open);
        // What is kept is there for speed alone: first the run's own goes, then that of others.
        for all_runs in [false, true] {
            if matches!(&found, Err(failure) if failure.is_out_of_memory()) && open.forget(all_runs)
            {
                found = work(&open);
            }
        }
        match found {
            Err(failure) if failure.is_fatal() => {
                // All handles must go before the driver lets go of the context.
                drop(open);
                Err(error(failure))
            }
            found => {
                self.count(open.end_call());
                *session = Some(open);
                found.map_err(error)
            }
        }
    }

    fn count(&self, call: Figures) {
        let mut figures = self.figures.lock().unwrap_or_else(PoisonError::into_inner);
        *figures = figures.plus(&call);
    }
}

impl Opened {
    fn lock(&self) -> MutexGuard<'_, Option<Session>> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_problem(&self) -> MutexGuard<'_, Option<Error>> {
        self.problem.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Too little memory for a device's first calls is not for want of a limit: others have it.
fn no_room(error: Error) -> Error {
    match error {
        Error::OutOfMemory { device, .. } => Error::NoRoom { device },
        error => error,
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // Whoever keeps nothing need not wait for the kernels of others, whose run ends later.
        let session = match self.budget.used_bytes() {
            0 if self.figures().n_launches == 0 => None,
            0 => self.device.session.try_lock().ok(),
            _ => Some(self.device.lock()),
        };
        if let Some(session) = session.as_ref().and_then(|session| session.as_ref()) {
            session.end_run(self.run);
        }
    }
}

impl Device for CudaDevice {
    fn info(&self) -> DeviceInfo {
        self.device.info.clone()
    }

    fn another_run(&self) -> Arc<dyn Device> {
        Arc::new(self.for_run(self.limit_bytes.load(Ordering::Relaxed)))
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

    fn hessian_product(
        &self,
        design: &Design<'_>,
        weights: Option<&[f64]>,
        coefficients: &[f64],
        direction: &[f64],
        n_outputs: usize,
        loss: Loss,
    ) -> Result<Vec<f64>> {
        let vectors = [coefficients, direction];
        check_hessian_product(design, weights, vectors, n_outputs, loss)?;
        self.run("hessian_product", |session| {
            curvature::hessian_product(session, design, weights, vectors, n_outputs, loss)
        })
    }

    fn gemm(&self, product: &Product<'_>) -> Result<ProductElements> {
        check_product(product)?;
        self.run("gemm", |session| product::gemm(session, product))
    }

    fn network(
        &self,
        design: &Design<'_>,
        response: &[f64],
        weights: Option<&[f64]>,
        network: &Network<'_>,
        loss: Loss,
    ) -> Result<GlmPartial> {
        let pass = network::Pass {
            layers: check_network_pass(design, response, weights, network, loss)?,
            design,
            response,
            weights,
            network,
            loss,
        };
        self.run("network", |session| pass.run(session))
    }

    fn network_outputs(&self, design: &Design<'_>, network: &Network<'_>) -> Result<Vec<f64>> {
        check_design("network", design)?;
        let layers = check_network(design, network)?;
        self.run("network", |session| {
            network::outputs(session, design, network, &layers)
        })
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

    fn cluster_sums(
        &self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<ClusterSums> {
        let n_centroids = distances::check(design, centroids, weights)?;
        self.run("nearest", |session| {
            distances::cluster_sums(session, design, centroids, n_centroids, weights)
        })
    }

    fn squared_distances(&self, design: &Design<'_>, centroids: &[f64]) -> Result<Vec<f64>> {
        let n_centroids = distances::check(design, centroids, None)?;
        self.run("squared_distances", |session| {
            distances::squared_distances(session, design, centroids, n_centroids)
        })
    }

    fn neighbours(
        &self,
        design: &Design<'_>,
        points: &[f64],
        n_neighbours: usize,
    ) -> Result<Neighbours> {
        let n_points = check_neighbours(design, points, n_neighbours)?;
        self.run("neighbours", |session| {
            distances::neighbours(session, design, points, n_points, n_neighbours)
        })
    }

    fn histogram(
        &self,
        bins: &Bins<'_>,
        pairs: &Pairs<'_>,
        sets: &RowSets<'_>,
        columns: &[u32],
    ) -> Result<Vec<[i64; 2]>> {
        check_histogram(bins, pairs, sets, columns)?;
        self.run("histogram", |session| {
            trees::histogram(session, bins, pairs, sets, columns)
        })
    }

    fn partition(
        &self,
        bins: &Bins<'_>,
        order: &RowOrder<'_>,
        splits: &[RowSplit],
        next: Version,
    ) -> Result<Parted> {
        check_partition(bins, order, splits)?;
        self.run("partition", |session| {
            trees::partition(session, bins, order, splits, next)
        })
    }

    fn forest(&self, design: &Design<'_>, forest: &Forest<'_>) -> Result<Vec<f64>> {
        trees::check_forest(design, forest)?;
        self.run("forest", |session| trees::forest(session, design, forest))
    }

    fn figures(&self) -> Figures {
        *self.figures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
