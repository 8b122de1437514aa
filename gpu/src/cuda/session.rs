//! An open device: its context, two streams, and the kernels by their names.
//!
//! In: buffers and launches; out: what the driver made of them. A stream runs what it is given in that order;
//! a buffer belongs to one of the two, so that the copies of one run beside the kernels of the other. Everything
//! on the device is freed when its holder goes; what stays between calls is [`super::residents`]', and what does not
//! streams through the page-locked memory of [`super::staging`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use cudarc::driver::sys::{CUdevice_attribute, CUevent_flags, CUresult};
use cudarc::driver::{
    CudaContext, CudaEvent, CudaFunction, CudaStream, DevicePtr, DeviceRepr, DriverError,
    LaunchConfig, PushKernelArg, ValidAsZeroBits,
};
use cudarc::nvrtc::Ptx;

use super::layout::{CentroidsArgument, DesignArgument};
use super::product::FactorsArgument;
use super::residents::{Budget, Buffer, Key, Residents, Stamp};
use super::staging::Staging;
use super::trees::{ForestArgument, SetsArgument, SplitsArgument};
use super::{library, pool};
use crate::device::{DeviceInfo, Figures};
use crate::error::Error;

/// The kernels as PTX for compute capability 7.0 and later; `gpu/kernels/check.py` makes them.
const MODULES: [(&str, &[&str]); 6] = [
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
            "bend",
            "weighted_sums_f32",
            "weighted_sums_f64",
        ],
    ),
    (
        include_str!("../../kernels/ptx/distances.ptx"),
        &[
            "nearest_f32",
            "nearest_f64",
            "neighbours_f32",
            "neighbours_f64",
            "distances_f32",
            "distances_f64",
            "cluster_sums_f32",
            "cluster_sums_f64",
        ],
    ),
    (
        include_str!("../../kernels/ptx/product.ptx"),
        &[
            "gemm_f32",
            "gemm_f64",
            "sum_products_f32",
            "sum_products_f64",
        ],
    ),
    (
        include_str!("../../kernels/ptx/network.ptx"),
        &["activate", "descend"],
    ),
    (
        include_str!("../../kernels/ptx/trees.ptx"),
        &[
            "histogram_narrow",
            "histogram_wide",
            "count_left",
            "part_rows",
            "store_rows",
            "forest_f32",
            "forest_f64",
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

    pub(super) fn is_out_of_memory(&self) -> bool {
        *self == Failure::Driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY)
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
    Factors(FactorsArgument),
    Sets(SetsArgument),
    Splits(SplitsArgument),
    Forest(ForestArgument),
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

/// Who calls, and what the call has done so far.
#[derive(Debug, Default)]
struct Call {
    run: u64,
    budget: Budget,
    figures: Figures,
    /// Begin and end of each launch.
    launches: Vec<[CudaEvent; 2]>,
    /// Whether nothing more is kept on the device, since it was too small.
    keeps_nothing: bool,
}

#[derive(Debug)]
pub(super) struct Session {
    // First, so that no buffer outlives the context.
    residents: RefCell<Residents>,
    /// Of each lane.
    staging: RefCell<[Staging; 2]>,
    call: RefCell<Call>,
    context: Arc<CudaContext>,
    streams: [Arc<CudaStream>; 2],
    functions: BTreeMap<&'static str, CudaFunction>,
    total_bytes: usize,
}

impl Session {
    pub(super) fn open(ordinal: usize) -> Result<Session, Failure> {
        let context = CudaContext::new(ordinal)?;
        // SAFETY: every buffer is used on one stream, or after `join` has ordered the two.
        unsafe { context.disable_event_tracking() };
        pool::hold_freed(&context)?;
        let mut functions = BTreeMap::new();
        for (ptx, names) in MODULES {
            let module = context.load_module(Ptx::from_src(ptx))?;
            for &name in names {
                functions.insert(name, module.load_function(name)?);
            }
        }
        Ok(Session {
            residents: RefCell::default(),
            staging: RefCell::default(),
            call: RefCell::default(),
            streams: [context.new_stream()?, context.new_stream()?],
            total_bytes: context.total_mem()?,
            context,
            functions,
        })
    }

    pub(super) fn info(&self) -> Result<DeviceInfo, Failure> {
        Ok(DeviceInfo {
            kind: "cuda",
            name: self.context.name()?,
            memory_bytes: Some(self.context.total_mem()? as u64),
            driver: Some(format!("CUDA {}", library::version())),
            memory_bytes_per_s: self.memory_bytes_per_s(),
            is_simulated: library::is_simulated(),
        })
    }

    /// Two transfers a clock of the memory, each as wide as its bus.
    fn memory_bytes_per_s(&self) -> Option<f64> {
        // A driver that does not tell is no reason to do without the device.
        let of = |attribute| self.context.attribute(attribute).unwrap_or(0);
        let clock_khz = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE);
        let bus_bits = of(CUdevice_attribute::CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH);
        let bytes = 2.0 * f64::from(clock_khz) * 1e3 * f64::from(bus_bits) / 8.0;
        (bytes > 0.0).then_some(bytes)
    }

    /// Begins a call of a run.
    pub(super) fn begin_call(&self, run: u64, budget: Budget) {
        *self.call.borrow_mut() = Call {
            run,
            budget,
            ..Call::default()
        };
    }

    /// Ends a call: what it did.
    pub(super) fn end_call(&self) -> Figures {
        let call = std::mem::take(&mut *self.call.borrow_mut());
        let times = call
            .launches
            .iter()
            .map(|launch| launch[0].elapsed_ms(&launch[1]).unwrap_or(0.0));
        let kernel_ms: f64 = times.map(f64::from).sum();
        Figures {
            n_launches: call.launches.len() as u64,
            kernel_ns: (kernel_ms * 1e6) as u64,
            ..call.figures
        }
    }

    /// Makes room: lets go of what the run keeps on the device, or of what all keep. False where that is
    /// nothing.
    pub(super) fn forget(&self, all_runs: bool) -> bool {
        let mut call = self.call.borrow_mut();
        call.keeps_nothing = true;
        let run = (!all_runs).then_some(call.run);
        self.residents.borrow_mut().forget(run)
    }

    /// Lets go of what an ended run kept, and gives back what is free. Where that cannot be, a later call fails with it.
    pub(super) fn end_run(&self, run: u64) {
        self.residents.borrow_mut().forget(Some(run));
        // What a stream has yet to free is not free.
        let mut streams = self.streams.iter();
        if streams.all(|stream| stream.synchronize().is_ok()) {
            let _ = pool::give_back(&self.context);
        }
    }

    /// Bytes that a call may take for blocks and what it makes of them: of what is free, nine tenths, and never more
    /// than the run's limit.
    pub(super) fn room_bytes(&self) -> Result<usize, Failure> {
        let (free, _) = self.context.mem_get_info()?;
        let free = free.saturating_add(pool::idle_bytes(&self.context)?);
        let left = self.call.borrow().budget.left_bytes();
        Ok((free / 10 * 9).min(left))
    }

    /// Whether so many bytes may stay on the device: of it, three quarters are for what all runs keep, and of the run's
    /// limit for what the run does; the rest is for what calls make of them and for blocks that stream.
    pub(super) fn may_keep(&self, n_bytes: usize) -> Result<bool, Failure> {
        let call = self.call.borrow();
        if call.keeps_nothing {
            return Ok(false);
        }
        let residents = self.residents.borrow();
        let fits = |run, most: usize| residents.n_bytes(run) + n_bytes <= most / 4 * 3;
        let of_all = fits(None, self.total_bytes / 10 * 9);
        let of_run = fits(Some(call.run), call.budget.limit_bytes());
        Ok(of_all && of_run && n_bytes <= self.room_bytes()?)
    }

    /// What is kept under a key, if it has the stamp.
    pub(super) fn kept<T: 'static + Send + Sync>(
        &self,
        key: Key,
        stamp: Stamp,
    ) -> Option<Arc<Buffer<T>>> {
        let run = self.call.borrow().run;
        self.residents.borrow_mut().get(run, key, stamp)
    }

    /// Whether something is kept under a key.
    pub(super) fn has(&self, key: Key) -> bool {
        let run = self.call.borrow().run;
        self.residents.borrow().has(run, key)
    }

    /// Keeps a buffer of the first lane.
    pub(super) fn keep<T: 'static + Send + Sync>(
        &self,
        key: Key,
        stamp: Stamp,
        buffer: &Arc<Buffer<T>>,
    ) {
        let run = self.call.borrow().run;
        self.residents.borrow_mut().put(run, key, stamp, buffer);
    }

    /// The values on the first lane: those that are kept there, or now uploaded, and kept if they have a key and there is
    /// room; else they stream.
    pub(super) fn held<T: DeviceRepr + ValidAsZeroBits + Copy + Send + Sync + 'static>(
        &self,
        key: Option<Key>,
        stamp: impl FnOnce() -> Stamp,
        values: &[T],
    ) -> Result<Arc<Buffer<T>>, Failure> {
        let stream = || -> Result<Arc<Buffer<T>>, Failure> {
            let parts = std::iter::once(values);
            Ok(Arc::new(self.stage(Lane::First, values.len(), parts)?))
        };
        let Some(key) = key else {
            return stream();
        };
        let stamp = stamp();
        if let Some(found) = self.kept(key, stamp) {
            return Ok(found);
        }
        if !self.may_keep(size_of_val(values))? {
            return stream();
        }
        let buffer = Arc::new(self.upload(Lane::First, values)?);
        self.keep(key, stamp, &buffer);
        Ok(buffer)
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

    /// Accounts bytes of the call's run.
    fn account(&self, n_bytes: usize) -> Result<super::residents::Held, Failure> {
        let held = self.call.borrow().budget.hold(n_bytes);
        held.ok_or(Failure::Driver(CUresult::CUDA_ERROR_OUT_OF_MEMORY))
    }

    /// A buffer of zeros; never without an element, since the driver has no empty buffers.
    pub(super) fn zeros<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        lane: Lane,
        n: usize,
    ) -> Result<Buffer<T>, Failure> {
        let held = self.account(n.max(1) * size_of::<T>())?;
        Ok(Buffer::new(self.stream(lane).alloc_zeros(n.max(1))?, held))
    }

    /// A buffer that a kernel will fill.
    pub(super) fn room<T: DeviceRepr>(&self, lane: Lane, n: usize) -> Result<Buffer<T>, Failure> {
        let held = self.account(n.max(1) * size_of::<T>())?;
        // SAFETY: only plain numbers are in buffers, and each is written before it is read: the stand-in
        // driver of the tests fails a kernel that does not.
        Ok(Buffer::new(
            unsafe { self.stream(lane).alloc(n.max(1)) }?,
            held,
        ))
    }

    /// A buffer with a copy of the values.
    pub(super) fn upload<T: DeviceRepr + ValidAsZeroBits>(
        &self,
        lane: Lane,
        values: &[T],
    ) -> Result<Buffer<T>, Failure> {
        if values.is_empty() {
            return self.zeros(lane, 1);
        }
        let held = self.account(size_of_val(values))?;
        self.call.borrow_mut().figures.uploaded_bytes += size_of_val(values) as u64;
        Ok(Buffer::new(self.stream(lane).clone_htod(values)?, held))
    }

    /// A buffer of `n` values that are the parts one after another, which is on its way when this returns.
    pub(super) fn stage<'a, T: DeviceRepr + Copy + 'a>(
        &self,
        lane: Lane,
        n: usize,
        parts: impl Iterator<Item = &'a [T]>,
    ) -> Result<Buffer<T>, Failure> {
        let mut buffer = self.room(lane, n)?;
        if n > 0 {
            self.call.borrow_mut().figures.uploaded_bytes += (n * size_of::<T>()) as u64;
            let mut staging = self.staging.borrow_mut();
            let [first, second] = &mut *staging;
            let of_lane = match lane {
                Lane::First => first,
                Lane::Second => second,
            };
            of_lane.copy(self.stream(lane), parts, &mut buffer)?;
        }
        Ok(buffer)
    }

    /// Fills `values` from the begin of a buffer, once the lane has done what it was given.
    pub(super) fn download<T: DeviceRepr>(
        &self,
        lane: Lane,
        buffer: &Buffer<T>,
        values: &mut [T],
    ) -> Result<(), Failure> {
        let stream = self.stream(lane);
        if let Some(part) = buffer.try_slice(..values.len())
            && !values.is_empty()
        {
            self.call.borrow_mut().figures.downloaded_bytes += size_of_val(values) as u64;
            stream.memcpy_dtoh(&part, values)?;
        }
        Ok(stream.synchronize()?)
    }

    /// Where a buffer begins, for a kernel on the same lane.
    pub(super) fn address<T>(&self, lane: Lane, buffer: &Buffer<T>) -> Argument {
        Argument::Address(self.raw_address(lane, buffer))
    }

    pub(super) fn raw_address<T>(&self, lane: Lane, buffer: &Buffer<T>) -> u64 {
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
        let stream = self.stream(lane);
        let timed = Some(CUevent_flags::CU_EVENT_DEFAULT);
        let begin = stream.record_event(timed)?;
        let mut launch = stream.launch_builder(function);
        for argument in arguments {
            match argument {
                Argument::Design(design) => launch.arg(design),
                Argument::Centroids(centroids) => launch.arg(centroids),
                Argument::Factors(factors) => launch.arg(factors),
                Argument::Sets(sets) => launch.arg(sets),
                Argument::Splits(splits) => launch.arg(splits),
                Argument::Forest(forest) => launch.arg(forest),
                Argument::Address(address) => launch.arg(address),
                Argument::Count(count) => launch.arg(count),
            };
        }
        // SAFETY: the callers pass what the kernels of `gpu/kernels` declare, and buffers of the
        // lengths that they index; the stand-in driver of the tests checks both.
        unsafe { launch.launch(config) }?;
        let end = stream.record_event(timed)?;
        self.call.borrow_mut().launches.push([begin, end]);
        Ok(())
    }
}
