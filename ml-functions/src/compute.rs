//! The device that a run computes on. Estimators and models call kernels only through this.
//!
//! In: the text of option or setting `device`; out: a [`Compute`], or why that device is not there.
//! `auto` is the CPU: no device was measured yet, so none is known to be faster.

use std::sync::Arc;

use auspex_gpu::{CpuDevice, Device, Offload, probe_cuda};

use crate::error::Result;

/// What option and setting `device` may say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceChoice {
    /// The engine's choice.
    Auto,
    /// The CPU.
    Cpu,
    /// The first device of NVIDIA's, or that of a number.
    Cuda(Option<usize>),
}

impl DeviceChoice {
    /// `auto`, `cpu`, `gpu`, `cuda` or `cuda:N`, in any case.
    pub fn parse(text: &str) -> Option<DeviceChoice> {
        match text.to_lowercase().as_str() {
            "auto" => Some(DeviceChoice::Auto),
            "cpu" => Some(DeviceChoice::Cpu),
            "gpu" | "cuda" => Some(DeviceChoice::Cuda(None)),
            text => {
                let number: u16 = text.strip_prefix("cuda:")?.parse().ok()?;
                Some(DeviceChoice::Cuda(Some(usize::from(number))))
            }
        }
    }
}

/// Owns the chosen device; cheap to clone.
#[derive(Debug, Clone)]
pub struct Compute {
    device: Arc<dyn Device>,
    /// The same, where it is not the CPU.
    offload: Option<Arc<Offload>>,
}

impl Compute {
    /// The CPU, which is always there.
    pub fn cpu() -> Compute {
        Compute {
            device: Arc::new(CpuDevice),
            offload: None,
        }
    }

    /// The device of a choice.
    ///
    /// Errors: `Device`, where a device was asked for that is not there or cannot be used.
    pub fn choose(choice: DeviceChoice) -> Result<Compute> {
        let DeviceChoice::Cuda(ordinal) = choice else {
            return Ok(Compute::cpu());
        };
        let probe = probe_cuda();
        if let Some(absence) = &probe.absence {
            return Err(absence.clone().into());
        }
        let n_devices = probe.devices.len();
        let found = match ordinal {
            Some(ordinal) => probe.devices.get(ordinal),
            // The first that can be used, else the first for its error.
            None => {
                let usable = probe.devices.iter().find(|device| device.is_ok());
                usable.or(probe.devices.first())
            }
        };
        let ordinal = ordinal.unwrap_or(0);
        let missing = auspex_gpu::Error::NoSuchDevice { ordinal, n_devices };
        let device = found.ok_or(missing)?.clone()?;
        let offload = Arc::new(Offload::new(device));
        Ok(Compute {
            device: Arc::<Offload>::clone(&offload),
            offload: Some(offload),
        })
    }

    /// The device.
    pub fn device(&self) -> &dyn Device {
        self.device.as_ref()
    }

    /// What has computed so far, for a model's record: `cpu`, or `cuda` with the device's name.
    pub fn used(&self) -> String {
        match &self.offload {
            Some(offload) if offload.n_calls() > 0 => {
                let info = offload.info();
                format!("{}: {}", info.kind, info.name)
            }
            _ => "cpu".to_owned(),
        }
    }

    /// Why the CPU computed although another device was chosen.
    pub fn left_to_cpu(&self) -> Vec<String> {
        let Some(offload) = &self.offload else {
            return Vec::new();
        };
        let mut reasons = offload.declined();
        if offload.n_calls() == 0 && reasons.is_empty() {
            reasons.push("the model type has no kernels for a device".to_owned());
        }
        reasons
    }
}

/// A device as `ml.devices` shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedDevice {
    /// What option `device` names it.
    pub device: String,
    /// Its own name.
    pub name: String,
    /// `ready`, or why it cannot be used.
    pub status: String,
}

/// The CPU, then what the search for devices found.
pub fn list_devices() -> Vec<ListedDevice> {
    let ready = || "ready".to_owned();
    let mut listed = vec![ListedDevice {
        device: "cpu".to_owned(),
        name: CpuDevice.info().name,
        status: ready(),
    }];
    let probe = probe_cuda();
    for (ordinal, found) in probe.devices.iter().enumerate() {
        listed.push(ListedDevice {
            device: format!("cuda:{ordinal}"),
            name: found
                .as_ref()
                .map_or(String::new(), |device| device.info().name),
            status: found
                .as_ref()
                .map_or_else(|error| error.to_string(), |_| ready()),
        });
    }
    if let Some(absence) = &probe.absence {
        listed.push(ListedDevice {
            device: "cuda".to_owned(),
            name: String::new(),
            status: absence.to_string(),
        });
    }
    listed
}

#[cfg(test)]
mod tests {
    use super::DeviceChoice;

    #[test]
    fn devices_are_named_in_any_case() {
        for (text, expected) in [
            ("AUTO", Some(DeviceChoice::Auto)),
            ("cpu", Some(DeviceChoice::Cpu)),
            ("gpu", Some(DeviceChoice::Cuda(None))),
            ("Cuda:3", Some(DeviceChoice::Cuda(Some(3)))),
            ("cuda:", None),
            ("cuda:-1", None),
            ("tpu", None),
        ] {
            assert_eq!(DeviceChoice::parse(text), expected, "{text}");
        }
    }
}
