//! The device that a run computes on. Estimators and models call kernels only through this.
//!
//! In: the text of option or setting `device`; out: a [`Compute`], or why that device is not there. What `auto` means
//! is decided where the size of the work is known, by `cost`.

mod cost;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use auspex_gpu::{
    CpuDevice, CudaProbe, Device, DeviceInfo, Elements, Figures, Offload, OnFailure, RowsId, Visit,
    probe_cuda, probe_cuda_anew,
};

use crate::error::Result;
use crate::features::{Dense, FeatureBlock};
use crate::training_set::Part;
pub use cost::{BLOCK_ROWS, Work};

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

/// Owns the devices of one run; cheap to clone.
#[derive(Debug, Clone)]
pub struct Compute {
    /// `None` for the CPU.
    offload: Option<Offload>,
    /// What `auto` may choose.
    candidates: Arc<[Arc<dyn Device>]>,
    /// Why `auto` chose what it did.
    reason: Option<String>,
    /// Why the devices that there are cannot be used by `auto`.
    unusable: Option<String>,
    /// What `auto` came to for all that have this, once their work was known.
    settled: Arc<OnceLock<Compute>>,
}

impl Compute {
    /// The CPU, which is always there.
    pub fn cpu() -> Compute {
        Compute {
            offload: None,
            candidates: Arc::new([]),
            reason: None,
            unusable: None,
            settled: Arc::default(),
        }
    }

    /// The device of a choice, without a limit of its memory.
    ///
    /// Errors: `Device`, where a device was asked for that is not there or cannot be used.
    pub fn choose(choice: DeviceChoice) -> Result<Compute> {
        Compute::within(choice, usize::MAX)
    }

    /// The device of a choice, of whose memory the run takes no more than `limit_bytes`. A choice of any
    /// device of NVIDIA's takes all that can be used; `auto` stays open until [`Compute::decided`]. A device that was asked for
    /// and could not be used is tried again, now and then.
    ///
    /// Errors: as [`Compute::choose`].
    pub fn within(choice: DeviceChoice, limit_bytes: usize) -> Result<Compute> {
        let ordinal = match choice {
            DeviceChoice::Cpu => return Ok(Compute::cpu()),
            DeviceChoice::Auto => None,
            DeviceChoice::Cuda(ordinal) => ordinal,
        };
        let probe = probe_cuda();
        let devices = usable(&probe, ordinal, limit_bytes);
        if choice == DeviceChoice::Auto {
            return Ok(Compute::automatic(devices, &probe));
        }
        let (probe, devices) = match devices.is_empty() {
            true => {
                let probe = probe_cuda_anew();
                let devices = usable(&probe, ordinal, limit_bytes);
                (probe, devices)
            }
            false => (probe, devices),
        };
        if !devices.is_empty() {
            return Ok(Compute::of_devices(devices, OnFailure::Fail));
        }
        if let Some(absence) = &probe.absence {
            return Err(absence.clone().into());
        }
        let n_devices = probe.devices.len();
        let ordinal = ordinal.unwrap_or(0);
        let missing = auspex_gpu::Error::NoSuchDevice { ordinal, n_devices };
        let broken = probe.devices.get(ordinal);
        let error = broken.and_then(|device| device.as_ref().err());
        Err(error.cloned().unwrap_or(missing).into())
    }

    fn automatic(devices: Vec<Arc<dyn Device>>, probe: &CudaProbe) -> Compute {
        // A machine without a device is nothing to speak of.
        let is_there = !matches!(
            probe.absence,
            Some(auspex_gpu::Error::NoDriver | auspex_gpu::Error::NoDevice)
        );
        let broken = probe
            .devices
            .iter()
            .find_map(|device| device.as_ref().err());
        let problem = probe.absence.as_ref().or(broken).map(ToString::to_string);
        Compute {
            unusable: problem.clone().filter(|_| is_there && devices.is_empty()),
            candidates: devices.into(),
            reason: problem,
            ..Compute::cpu()
        }
    }

    /// Why `auto` cannot use the devices that there are; `None` where it can, or where there are none.
    pub fn unusable(&self) -> Option<&str> {
        self.unusable.as_deref()
    }

    /// Some devices of one kind, which share the blocks.
    pub fn of_devices(devices: Vec<Arc<dyn Device>>, on_failure: OnFailure) -> Compute {
        Compute {
            offload: Some(Offload::new(devices, on_failure)),
            ..Compute::cpu()
        }
    }

    /// The CPU, whatever devices `auto` may choose; any other choice stays what it is.
    pub fn cpu_under_auto(&self, reason: &str) -> Compute {
        match &self.offload {
            Some(_) => self.clone(),
            None => Compute {
                reason: Some(reason.to_owned()),
                ..Compute::cpu()
            },
        }
    }

    /// What `auto` comes to for this work; any other choice stays what it is.
    pub fn decided(&self, work: &Work) -> Compute {
        let Some(device) = self.candidates.first().filter(|_| self.offload.is_none()) else {
            return self.clone();
        };
        let verdict = cost::weigh(work, &device.info(), self.candidates.len());
        let chosen = verdict.is_device.then(|| self.candidates.to_vec());
        Compute {
            offload: chosen.map(|devices| Offload::new(devices, OnFailure::UseCpu)),
            reason: Some(verdict.reason),
            ..Compute::cpu()
        }
    }

    /// Whether `auto` may still come to a device here.
    pub fn is_open(&self) -> bool {
        self.offload.is_none() && !self.candidates.is_empty() && self.settled.get().is_none()
    }

    /// Lets `auto` come to what it does for this work, here and in all copies of this; once, and nothing for any other
    /// choice. Until then it is the CPU.
    pub fn settle(&self, work: &Work) {
        if self.is_open() {
            self.settled.get_or_init(|| self.decided(work));
        }
    }

    fn chosen(&self) -> &Compute {
        self.settled.get().unwrap_or(self)
    }

    /// The same devices for a run of its own: what blocks are called in one run says nothing in another.
    pub(crate) fn for_run(&self) -> Compute {
        self.with_offload(Offload::for_run)
    }

    /// The same devices for a part of a statement that has figures of its own.
    pub fn for_part(&self) -> Compute {
        self.with_offload(Offload::for_part)
    }

    fn with_offload(&self, another: impl Fn(&Offload) -> Offload) -> Compute {
        let chosen = self.chosen();
        Compute {
            offload: chosen.offload.as_ref().map(another),
            settled: Arc::default(),
            ..chosen.clone()
        }
    }

    /// Whether both have the same figures of a device.
    pub fn is_same_part(&self, other: &Compute) -> bool {
        let offloads = (&self.chosen().offload, &other.chosen().offload);
        matches!(offloads, (Some(one), Some(other)) if one.is_same_part(other))
    }

    /// Why `auto` is the device that it is; `None` where one was asked for.
    pub fn reason(&self) -> Option<&str> {
        self.chosen().reason.as_deref()
    }

    /// The device.
    pub fn device(&self) -> &dyn Device {
        match &self.chosen().offload {
            Some(offload) => offload,
            None => &CpuDevice,
        }
    }

    /// The device where it is not the CPU, for those whose loops on the CPU are not of the kernels' form.
    pub fn accelerator(&self) -> Option<&dyn Device> {
        let offload = self.chosen().offload.as_ref();
        offload.map(|offload| offload as &dyn Device)
    }

    /// The same for a pass that visits a block, which then may stay on the device: the block of a chunk must have the
    /// same samples in every pass of the run.
    pub(crate) fn visiting(&self, part: Part, chunk: u64, block: &FeatureBlock) -> Compute {
        let rows = RowsId {
            part: match part {
                Part::Training => 0,
                Part::Evaluation => 1,
            },
            first_row: 0,
            chunk,
        };
        let visit = |offload: &Offload| {
            let elements = match &block.dense {
                Dense::F32(values) => Elements::F32(values),
                Dense::F64(values) => Elements::F64(values),
            };
            offload.visiting(Visit::new(rows, elements, &block.codes))
        };
        Compute {
            offload: self.chosen().offload.as_ref().map(visit),
            ..Compute::cpu()
        }
    }

    /// The chosen device: what `EXPLAIN` names.
    pub fn info(&self) -> DeviceInfo {
        self.device().info()
    }

    /// What has computed so far, for a model's record: `cpu`, or `cuda` with the names of the devices that did.
    pub fn used(&self) -> String {
        let offload = self.chosen().offload.as_ref();
        named(&offload.map(Offload::used).unwrap_or_default())
    }

    /// What the device did so far; `None` where it is the CPU.
    pub fn figures(&self) -> Option<Figures> {
        self.chosen().offload.as_ref().map(Device::figures)
    }

    /// Why the CPU computed although another device was chosen.
    pub fn left_to_cpu(&self) -> Vec<String> {
        let offload = self.chosen().offload.as_ref();
        offload.map(Offload::left_to_cpu).unwrap_or_default()
    }
}

/// The devices that can be used, or that of a number.
fn usable(probe: &CudaProbe, ordinal: Option<usize>, limit_bytes: usize) -> Vec<Arc<dyn Device>> {
    let asked = probe.devices.iter().enumerate();
    let asked = asked.filter(|(number, _)| ordinal.is_none_or(|ordinal| ordinal == *number));
    let usable = asked.filter_map(|(_, device)| device.as_ref().ok());
    usable
        .map(|device| Arc::new(device.for_run(limit_bytes)) as Arc<dyn Device>)
        .collect()
}

/// Devices of one kind as a record names them, each name once; without any it was the CPU.
fn named(devices: &[DeviceInfo]) -> String {
    let Some(first) = devices.first() else {
        return "cpu".to_owned();
    };
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for device in devices {
        *counts.entry(&device.name).or_default() += 1;
    }
    let names = counts.iter().map(|(name, count)| match count {
        1 => (*name).to_owned(),
        n => format!("{n} × {name}"),
    });
    format!("{}: {}", first.kind, names.collect::<Vec<_>>().join(", "))
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
    /// Its memory, where that is not the machine's.
    pub memory_bytes: Option<u64>,
    /// Its driver.
    pub driver: Option<String>,
}

/// The CPU, then what the search for devices found; what could not be used is tried again, now and then.
pub fn list_devices() -> Vec<ListedDevice> {
    let listed = |device: String, info: Option<DeviceInfo>, problem: Option<auspex_gpu::Error>| {
        ListedDevice {
            device,
            name: info
                .as_ref()
                .map_or(String::new(), |info| info.name.clone()),
            status: problem.map_or("ready".to_owned(), |problem| problem.to_string()),
            memory_bytes: info.as_ref().and_then(|info| info.memory_bytes),
            driver: info.and_then(|info| info.driver),
        }
    };
    let probe = probe_cuda_anew();
    let mut devices = vec![listed("cpu".to_owned(), Some(CpuDevice.info()), None)];
    for (ordinal, found) in probe.devices.iter().enumerate() {
        let (info, problem) = match found {
            Ok(device) => (Some(device.info()), device.problem()),
            Err(problem) => (None, Some(problem.clone())),
        };
        devices.push(listed(format!("cuda:{ordinal}"), info, problem));
    }
    if let Some(absence) = &probe.absence {
        devices.push(listed("cuda".to_owned(), None, Some(absence.clone())));
    }
    devices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimator::BesideDevice;

    #[test]
    fn auto_settles_once_for_all_copies() {
        let device: Arc<dyn Device> = Arc::new(CpuDevice);
        let open = Compute {
            candidates: Arc::from(vec![device]),
            ..Compute::cpu()
        };
        let copy = open.clone();
        let work = |n_rows| Work {
            n_rows: Some(n_rows),
            row_bytes: 400,
            n_passes: 1,
            beside_device: BesideDevice::default(),
            call_rows: BLOCK_ROWS,
            n_threads: 1,
        };
        assert!(copy.is_open() && copy.accelerator().is_none());
        open.settle(&work(10_000_000));
        let reason = copy.reason().unwrap();
        assert!(reason.starts_with("moving 4000 MB"), "{reason}");
        copy.settle(&work(1));
        assert!(!copy.is_open() && copy.accelerator().is_some());
        // Parts have the device, too, and figures of their own.
        let part = copy.for_part();
        assert!(part.accelerator().is_some() && !part.is_open());
        assert!(copy.is_same_part(&open) && !copy.is_same_part(&part));
        assert!(!Compute::cpu().is_same_part(&Compute::cpu()));
    }

    #[test]
    fn a_record_names_each_kind_of_device_once() {
        let device = |name: &str| DeviceInfo {
            kind: "cuda",
            name: name.to_owned(),
            ..CpuDevice.info()
        };
        let (a, b) = (device("A"), device("B"));
        assert_eq!(named(&[]), "cpu");
        assert_eq!(named(std::slice::from_ref(&a)), "cuda: A");
        assert_eq!(named(&[a.clone(), b, a]), "cuda: 2 × A, B");
    }

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
