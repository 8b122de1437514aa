//! One run's devices with the CPU behind them, for what they decline.
//!
//! In: calls of estimators; out: a device's results, or the CPU's where no device has a kernel for a shape or, where
//! that is allowed, where it fails. Keeps count, so that a model's record never claims a device that did not compute.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cpu::CpuDevice;
use crate::device::{
    ClusterSums, Design, Device, DeviceInfo, Elements, Figures, GlmPartial, Gram, Loss, Nearest,
    RowsId,
};
use crate::error::{Error, Result};
use crate::product::{Neighbours, Network, Product, ProductElements};
use crate::trees::{Bins, Forest, Pairs, Parted, RowOrder, RowSets, RowSplit, Version};

/// What a failure of a device does to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFailure {
    /// It ends with the error: the device was asked for.
    Fail,
    /// The CPU goes on, and says so.
    UseCpu,
}

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Offload {
    run: Arc<Run>,
    visit: Option<Visit>,
}

/// The block that a pass visits: its name is that of designs over the same memory.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    rows: RowsId,
    dense: (usize, usize),
    codes: (usize, usize),
}

#[derive(Debug)]
struct Run {
    devices: Vec<Arc<dyn Device>>,
    on_failure: OnFailure,
    /// For calls over rows without a name.
    next_device: AtomicUsize,
    /// Of each device, how many calls it has computed.
    n_calls: Vec<AtomicU64>,
    /// That of all parts of a statement.
    outcome: Arc<Outcome>,
}

/// What went to the CPU, and why.
#[derive(Debug, Default)]
struct Outcome {
    has_failed: AtomicBool,
    left_to_cpu: Mutex<BTreeSet<String>>,
}

impl Visit {
    /// A block of elements and codes by its name; they must stay as they are while the run lasts.
    pub fn new(rows: RowsId, dense: Elements<'_>, codes: &[Vec<u32>]) -> Visit {
        Visit {
            rows,
            dense: place(dense),
            codes: (codes.as_ptr().addr(), codes.len()),
        }
    }
}

fn place(elements: Elements<'_>) -> (usize, usize) {
    match elements {
        Elements::F32(values) => (values.as_ptr().addr(), values.len()),
        Elements::F64(values) => (values.as_ptr().addr(), values.len()),
    }
}

impl Offload {
    /// Puts the CPU behind devices of one kind: blocks are shared among them, by their numbers. Without any the CPU
    /// computes.
    pub fn new(devices: Vec<Arc<dyn Device>>, on_failure: OnFailure) -> Offload {
        Offload::with_outcome(devices, on_failure, Arc::default())
    }

    fn with_outcome(
        devices: Vec<Arc<dyn Device>>,
        on_failure: OnFailure,
        outcome: Arc<Outcome>,
    ) -> Offload {
        Offload {
            run: Arc::new(Run {
                n_calls: devices.iter().map(|_| AtomicU64::new(0)).collect(),
                devices,
                on_failure,
                next_device: AtomicUsize::new(0),
                outcome,
            }),
            visit: None,
        }
    }

    /// The same devices for another run.
    pub fn for_run(&self) -> Offload {
        self.for_another(Arc::default())
    }

    /// The same devices for a part of the statement whose figures are its own; what one part leaves to the CPU, all tell.
    pub fn for_part(&self) -> Offload {
        self.for_another(Arc::clone(&self.run.outcome))
    }

    fn for_another(&self, outcome: Arc<Outcome>) -> Offload {
        let devices = self.run.devices.iter();
        let devices = devices.map(|device| device.another_run()).collect();
        Offload::with_outcome(devices, self.run.on_failure, outcome)
    }

    /// Whether both have the same figures.
    pub fn is_same_part(&self, other: &Offload) -> bool {
        Arc::ptr_eq(&self.run, &other.run)
    }

    /// The same, while it visits a block.
    pub fn visiting(&self, visit: Visit) -> Offload {
        Offload {
            run: Arc::clone(&self.run),
            visit: Some(visit),
        }
    }

    /// How many calls devices have computed.
    pub fn n_calls(&self) -> u64 {
        let n_calls = self.run.n_calls.iter();
        n_calls.map(|calls| calls.load(Ordering::Relaxed)).sum()
    }

    /// The devices that have computed, whatever others there are. A call without rows starts no kernel.
    pub fn used(&self) -> Vec<DeviceInfo> {
        let devices = self.run.devices.iter().zip(&self.run.n_calls);
        let used = devices.filter(|(device, n_calls)| {
            n_calls.load(Ordering::Relaxed) > 0 && device.figures().n_launches > 0
        });
        used.map(|(device, _)| device.info()).collect()
    }

    /// Why calls went to the CPU, each reason once.
    pub fn left_to_cpu(&self) -> Vec<String> {
        let reasons = self.run.outcome.left_to_cpu.lock();
        let reasons = reasons.unwrap_or_else(PoisonError::into_inner);
        reasons.iter().cloned().collect()
    }

    /// The design with the name of the visited block, if it is over that block's memory.
    fn named<'a>(&self, design: &Design<'a>) -> Design<'a> {
        let codes = (design.codes.as_ptr().addr(), design.codes.len());
        let visit = self
            .visit
            .filter(|visit| visit.dense == place(design.dense.elements) && visit.codes == codes);
        Design {
            rows: visit.map(|visit| visit.rows),
            ..*design
        }
    }

    /// The device for some rows, by its number: always the same for those that have a name.
    fn device(&self, rows: Option<RowsId>) -> Option<usize> {
        let run = &self.run;
        if run.devices.is_empty() || run.outcome.has_failed.load(Ordering::Relaxed) {
            return None;
        }
        let number = match rows {
            _ if run.devices.len() == 1 => 0,
            // Chunks of a partition count from 0 in the low half, partitions in the high half.
            Some(rows) => {
                (rows.chunk ^ (rows.chunk >> 32)) as usize + rows.first_row as usize / 512
            }
            None => run.next_device.fetch_add(1, Ordering::Relaxed),
        };
        Some(number % run.devices.len())
    }

    fn run<T>(&self, rows: Option<RowsId>, call: impl Fn(&dyn Device) -> Result<T>) -> Result<T> {
        let Some(number) = self.device(rows) else {
            return call(&CpuDevice);
        };
        let error = match call(self.run.devices[number].as_ref()) {
            Ok(found) => {
                self.run.n_calls[number].fetch_add(1, Ordering::Relaxed);
                return Ok(found);
            }
            Err(error) => error,
        };
        let is_failure = match &error {
            Error::Declined { .. } => false,
            // The CPU would say the same.
            Error::Shape { .. } => return Err(error),
            _ => true,
        };
        if is_failure && self.run.on_failure == OnFailure::Fail {
            return Err(error);
        }
        let outcome = &self.run.outcome;
        outcome.has_failed.fetch_or(is_failure, Ordering::Relaxed);
        let reasons = outcome.left_to_cpu.lock();
        let mut reasons = reasons.unwrap_or_else(PoisonError::into_inner);
        reasons.insert(error.to_string());
        drop(reasons);
        call(&CpuDevice)
    }
}

impl Device for Offload {
    fn info(&self) -> DeviceInfo {
        match self.run.devices.first() {
            Some(device) => device.info(),
            None => CpuDevice.info(),
        }
    }

    fn another_run(&self) -> Arc<dyn Device> {
        Arc::new(self.for_run())
    }

    fn gram(
        &self,
        design: &Design<'_>,
        response: Option<&[f64]>,
        weights: Option<&[f64]>,
    ) -> Result<Gram> {
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.gram(&design, response, weights)
        })
    }

    fn linear(
        &self,
        design: &Design<'_>,
        coefficients: &[f64],
        n_outputs: usize,
    ) -> Result<Vec<f64>> {
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.linear(&design, coefficients, n_outputs)
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
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.glm(
                &design,
                response,
                weights,
                coefficients,
                n_outputs,
                loss,
                with_hessian,
            )
        })
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
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.hessian_product(&design, weights, coefficients, direction, n_outputs, loss)
        })
    }

    fn gemm(&self, product: &Product<'_>) -> Result<ProductElements> {
        self.run(None, |device| device.gemm(product))
    }

    fn network(
        &self,
        design: &Design<'_>,
        response: &[f64],
        weights: Option<&[f64]>,
        network: &Network<'_>,
        loss: Loss,
    ) -> Result<GlmPartial> {
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.network(&design, response, weights, network, loss)
        })
    }

    fn network_outputs(&self, design: &Design<'_>, network: &Network<'_>) -> Result<Vec<f64>> {
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.network_outputs(&design, network)
        })
    }

    fn nearest(
        &self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Nearest> {
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.nearest(&design, centroids, weights)
        })
    }

    fn cluster_sums(
        &self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<ClusterSums> {
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.cluster_sums(&design, centroids, weights)
        })
    }

    fn squared_distances(&self, design: &Design<'_>, centroids: &[f64]) -> Result<Vec<f64>> {
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.squared_distances(&design, centroids)
        })
    }

    fn neighbours(
        &self,
        design: &Design<'_>,
        points: &[f64],
        n_neighbours: usize,
    ) -> Result<Neighbours> {
        let design = self.named(design);
        self.run(design.rows, |device| {
            device.neighbours(&design, points, n_neighbours)
        })
    }

    fn histogram(
        &self,
        bins: &Bins<'_>,
        pairs: &Pairs<'_>,
        sets: &RowSets<'_>,
        columns: &[u32],
    ) -> Result<Vec<[i64; 2]>> {
        self.run(bins.rows, |device| {
            device.histogram(bins, pairs, sets, columns)
        })
    }

    fn partition(
        &self,
        bins: &Bins<'_>,
        order: &RowOrder<'_>,
        splits: &[RowSplit],
        next: Version,
    ) -> Result<Parted> {
        self.run(bins.rows, |device| {
            device.partition(bins, order, splits, next)
        })
    }

    fn forest(&self, design: &Design<'_>, forest: &Forest<'_>) -> Result<Vec<f64>> {
        let design = self.named(design);
        self.run(design.rows, |device| device.forest(&design, forest))
    }

    fn figures(&self) -> Figures {
        let none = Figures::default();
        let of_devices = self.run.devices.iter().map(|device| device.figures());
        of_devices.fold(none, |sum, figures| sum.plus(&figures))
    }
}
