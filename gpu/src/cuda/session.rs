//! An open device: its context, two streams, and the kernels by their names.
//!
//! In: buffers and launches; out: what the driver made of them. A stream runs what it is given in that order;
//! a buffer belongs to one of the two, so that the copies of one run beside the kernels of the other. Everything
//! on the device is freed when its holder goes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cudarc::driver::sys::CUresult;
use cudarc::driver::{
    CudaContext, CudaFunction, CudaSlice, CudaStream, DevicePtr, DeviceRepr, DriverError,
    LaunchConfig, PushKernelArg, ValidAsZeroBits,
};
use cudarc::nvrtc::Ptx;

use super::layout::{CentroidsArgument, DesignArgument};
use super::library;
use crate::device::DeviceInfo;
use crate::error::Error;

/// The kernels as PTX for compute capability 7.0 and later; `gpu/kernels/check.py` makes them.
const MODULES: [(&str, &[&str]); 3] = [
    (
        include_str!("../../kernels/ptx/gram.ptx"),
        &["gram_f32", "gram_f64", "sum_chunks"],
    ),
    (
        include_str!("../../kernels/ptx/glm.ptx"),
        &[
            "linear_f32",
            "linear_f64",
            "link",
            "weighted_sums_f32",
            "weighted_sums_f64",
        ],
    ),
    (
        include_str!("../../kernels/ptx/distances.ptx"),
        &[
            "nearest_f32",
            "nearest_f64",
            "distances_f32",
            "distances_f64",
            "cluster_sums_f32",
            "cluster_sums_f64",
        ],
    ),
];

/// One of the two streams.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    First,
    Second,
}

impl Lane {
    pub(super) fn other(self) -> Lane {
        match self {
            Lane::First => Lane::Second,
            Lane::Second => Lane::First,
        }
    }
}

/// Why a run of kernels ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Failure {
    /// A call of the driver failed.
    Driver(CUresult),
    /// The kernels are not for this shape.
    Declined(&'static str),
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Failure {
        Failure::Driver(error.0)
    }
}

impl Failure {
    /// Whether the context cannot be used any more: all but what a call is refused for.
    pub(super) fn is_fatal(&self) -> bool {
        !matches!(
            self,
            Failure::Declined(_)
                | Failure::Driver(
                    CUresult::CUDA_ERROR_OUT_OF_MEMORY
                        | CUresult::CUDA_ERROR_INVALID_VALUE
                        | CUresult::CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES
                )
        )
    }

    /// The failure of a kernel of a device as an error.
    pub(super) fn error(self, kernel: &'static str, device: &str) -> Error {
        let device = device.to_owned();
        match self {
            Failure::Declined(reason) => Error::Declined { kernel, reason },
            Failure::Driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY) => {
                Error::OutOfMemory { device, kernel }
            }
            Failure::Driver(code) => Error::Fault {
                device,
                kernel,
                code: format!("{code:?}"),
            },
        }
    }
}

/// What a kernel is given.
#[derive(Debug, Clone, Copy)]
pub(super) enum Argument {
    Design(DesignArgument),
    Centroids(CentroidsArgument),
    /// Where a buffer begins; 0 for none.
    Address(u64),
    Count(u32),
}

/// The shape of a launch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) grid: (usize, usize, usize),
    pub(super) block: (u32, u32),
    pub(super) shared_bytes: usize,
}

#[derive(Debug)]
pub(super) struct Session {
    context: Arc<CudaContext>,
    streams: [Arc<CudaStream>; 2],
    functions: BTreeMap<&'static str, CudaFunction>,
    limit_bytes: AtomicUsize,
}

impl Session {
    pub(super) fn open(ordinal: usize) -> Result<Session, Failure> {
        let context = CudaContext::new(ordinal)?;
        // SAFETY: every buffer is used on one stream, or after `join` has ordered the two.
        unsafe { context.disable_event_tracking() };
        let mut functions = BTreeMap::new();
        for (ptx, names) in MODULES {
            let module = context.load_module(Ptx::from_src(ptx))?;
            for &name in names {
                functions.insert(name, module.load_function(name)?);
            }
        }
        Ok(Session {
            streams: [context.new_stream()?, context.new_stream()?],
            context,
            functions,
            limit_bytes: AtomicUsize::new(usize::MAX),
        })
    }

    pub(super) fn info(&self) -> Result<DeviceInfo, Failure> {
        Ok(DeviceInfo {
            kind: "cuda",
            name: self.context.name()?,
            memory_bytes: Some(self.context.total_mem()? as u64),
            driver: Some(format!("CUDA {}", library::version())),
        })
    }

    pub(super) fn set_limit(&self, limit_bytes: usize) {
        self.limit_bytes.store(limit_bytes, Ordering::Relaxed);
    }

    /// Bytes that blocks may take: of what is free, nine tenths, and never more than the limit.
    pub(super) fn room_bytes(&self) -> Result<usize, Failure> {
        let (free, _) = self.context.mem_get_info()?;
        Ok((free / 10 * 9).min(self.limit_bytes.load(Ordering::Relaxed)))
    }

    fn stream(&self, lane: Lane) -> &Arc<CudaStream> {
        match lane {
            Lane::First => &self.streams[0],
            Lane::Second => &self.streams[1],
        }
    }

    /// Lets what the lane is given from now on wait for what the other was given so far.
    pub(super) fn join(&self, lane: Lane) -> Result<(), Failure> {
        Ok(self.stream(lane).join(self.stream(lane.other()))?)
    }

    /// A buffer of zeros; never without an element, since the driver has no empty buffers.
    pub(super) fn zeros<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        lane: Lane,
        n: usize,
    ) -> Result<CudaSlice<T>, Failure> {
        Ok(self.stream(lane).alloc_zeros(n.max(1))?)
    }

    /// A buffer that a kernel will fill.
    pub(super) fn room<T: DeviceRepr>(
        &self,
        lane: Lane,
        n: usize,
    ) -> Result<CudaSlice<T>, Failure> {
        // SAFETY: only plain numbers are in buffers, and each is written before it is read: the stand-in
        // driver of the tests fails a kernel that does not.
        Ok(unsafe { self.stream(lane).alloc(n.max(1)) }?)
    }

    /// A buffer with a copy of the values.
    pub(super) fn upload<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        lane: Lane,
        values: &[T],
    ) -> Result<CudaSlice<T>, Failure> {
        if values.is_empty() {
            return self.zeros(lane, 1);
        }
        Ok(self.stream(lane).clone_htod(values)?)
    }

    /// Copies values to `buffer[at..]`.
    pub(super) fn write<T: DeviceRepr>(
        &self,
        lane: Lane,
        values: &[T],
        buffer: &mut CudaSlice<T>,
        at: usize,
    ) -> Result<(), Failure> {
        if let Some(mut part) = buffer.try_slice_mut(at..at + values.len())
            && !values.is_empty()
        {
            self.stream(lane).memcpy_htod(values, &mut part)?;
        }
        Ok(())
    }

    /// Fills `values` from the begin of a buffer, once the lane has done what it was given.
    pub(super) fn download<T: DeviceRepr>(
        &self,
        lane: Lane,
        buffer: &CudaSlice<T>,
        values: &mut [T],
    ) -> Result<(), Failure> {
        let stream = self.stream(lane);
        if let Some(part) = buffer.try_slice(..values.len())
            && !values.is_empty()
        {
            stream.memcpy_dtoh(&part, values)?;
        }
        Ok(stream.synchronize()?)
    }

    /// Where a buffer begins, for a kernel on the same lane.
    pub(super) fn address<T>(&self, lane: Lane, buffer: &CudaSlice<T>) -> Argument {
        Argument::Address(self.raw_address(lane, buffer))
    }

    pub(super) fn raw_address<T>(&self, lane: Lane, buffer: &CudaSlice<T>) -> u64 {
        buffer.device_ptr(self.stream(lane)).0
    }

    /// Starts a kernel.
    pub(super) fn launch(
        &self,
        lane: Lane,
        kernel: &str,
        shape: Shape,
        arguments: &[Argument],
    ) -> Result<(), Failure> {
        let function = self
            .functions
            .get(kernel)
            .ok_or(Failure::Driver(CUresult::CUDA_ERROR_NOT_FOUND))?;
        let size = |n: usize| {
            u32::try_from(n).map_err(|_| Failure::Declined("the block has too many rows"))
        };
        let (x, y, z) = shape.grid;
        let config = LaunchConfig {
            grid_dim: (size(x)?, size(y)?, size(z)?),
            block_dim: (shape.block.0, shape.block.1, 1),
            shared_mem_bytes: size(shape.shared_bytes)?,
        };
        let mut launch = self.stream(lane).launch_builder(function);
        for argument in arguments {
            match argument {
                Argument::Design(design) => launch.arg(design),
                Argument::Centroids(centroids) => launch.arg(centroids),
                Argument::Address(address) => launch.arg(address),
                Argument::Count(count) => launch.arg(count),
            };
        }
        // SAFETY: the callers pass what the kernels of `gpu/kernels` declare, and buffers of the
        // lengths that they index; the stand-in driver of the tests checks both.
        unsafe { launch.launch(config) }?;
        Ok(())
    }
}
