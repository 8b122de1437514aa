//! A device with the CPU behind it, for what the device declines.
//!
//! In: calls of estimators; out: the device's results, or the CPU's where the device has no kernel for a
//! shape. Keeps count, so that a model's record never claims a device that did not compute.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cpu::CpuDevice;
use crate::device::{Design, Device, DeviceInfo, GlmPartial, Gram, Loss, Nearest};
use crate::error::{Error, Result};

/// See the module.
#[derive(Debug)]
pub struct Offload {
    device: Arc<dyn Device>,
    n_calls: AtomicU64,
    declined: Mutex<BTreeSet<String>>,
}

impl Offload {
    /// Puts the CPU behind a device.
    pub fn new(device: Arc<dyn Device>) -> Offload {
        Offload {
            device,
            n_calls: AtomicU64::new(0),
            declined: Mutex::default(),
        }
    }

    /// How many calls the device has computed.
    pub fn n_calls(&self) -> u64 {
        self.n_calls.load(Ordering::Relaxed)
    }

    /// Why calls went to the CPU, each reason once.
    pub fn declined(&self) -> Vec<String> {
        let declined = self.declined.lock().unwrap_or_else(PoisonError::into_inner);
        declined.iter().cloned().collect()
    }

    fn run<T>(&self, call: impl Fn(&dyn Device) -> Result<T>) -> Result<T> {
        match call(self.device.as_ref()) {
            Err(error @ Error::Declined { .. }) => {
                let mut declined = self.declined.lock().unwrap_or_else(PoisonError::into_inner);
                declined.insert(error.to_string());
                drop(declined);
                call(&CpuDevice)
            }
            found => {
                self.n_calls
                    .fetch_add(u64::from(found.is_ok()), Ordering::Relaxed);
                found
            }
        }
    }
}

impl Device for Offload {
    fn info(&self) -> DeviceInfo {
        self.device.info()
    }

    fn gram(
        &self,
        design: &Design<'_>,
        response: Option<&[f64]>,
        weights: Option<&[f64]>,
    ) -> Result<Gram> {
        self.run(|device| device.gram(design, response, weights))
    }

    fn linear(
        &self,
        design: &Design<'_>,
        coefficients: &[f64],
        n_outputs: usize,
    ) -> Result<Vec<f64>> {
        self.run(|device| device.linear(design, coefficients, n_outputs))
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
        self.run(|device| {
            device.glm(
                design,
                response,
                weights,
                coefficients,
                n_outputs,
                loss,
                with_hessian,
            )
        })
    }

    fn nearest(
        &self,
        design: &Design<'_>,
        centroids: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Nearest> {
        self.run(|device| device.nearest(design, centroids, weights))
    }

    fn squared_distances(&self, design: &Design<'_>, centroids: &[f64]) -> Result<Vec<f64>> {
        self.run(|device| device.squared_distances(design, centroids))
    }
}
