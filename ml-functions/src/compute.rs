//! The device that a run computes on. Estimators and models call kernels only through this.

use std::sync::Arc;

use auspex_gpu::{CpuDevice, Device};

/// Owns the chosen device; cheap to clone.
#[derive(Debug, Clone)]
pub struct Compute {
    device: Arc<dyn Device>,
}

impl Compute {
    /// The CPU, which is always there.
    pub fn cpu() -> Compute {
        Compute {
            device: Arc::new(CpuDevice),
        }
    }

    /// The device.
    pub fn device(&self) -> &dyn Device {
        self.device.as_ref()
    }
}
