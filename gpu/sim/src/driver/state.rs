//! What there is behind the handles: devices with their contexts, modules, functions, settings.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{c_int, c_void};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::codes;
use super::host_memory::HostMemory;
use super::order::{Order, Place, Space, Touch};
use super::pool::Pool;
use crate::exec::{self, Fault, Launch};
use crate::memory::Memory;
use crate::ptx::{Kernel, Module};
use crate::settings::{self, Settings};

/// A result of the driver.
pub(super) type Code = c_int;
/// What callers hold of a context, module, function, stream or event.
pub(super) type Handle = *mut c_void;

/// The primary context of a device.
#[derive(Debug)]
pub(super) struct Context {
    /// How often it is retained; at none it does not exist.
    n_holders: usize,
    pub(super) memory: Memory,
    pub(super) host: HostMemory,
    pub(super) order: Order,
    pub(super) pool: Pool,
    /// The code that every call returns since a kernel failed.
    failure: Option<Code>,
    modules: BTreeMap<usize, Arc<Module>>,
    functions: BTreeMap<usize, (Arc<Module>, String)>,
}

/// What a test may ask for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Counters {
    pub(super) n_launches: u64,
    pub(super) n_allocations: u64,
    pub(super) n_instructions: u64,
    pub(super) uploaded_bytes: u64,
    pub(super) downloaded_bytes: u64,
    /// Of those to the device, those out of page-locked memory.
    pub(super) streamed_bytes: u64,
    /// Memory of devices that was not at hand when it was allocated.
    pub(super) mapped_bytes: u64,
}

/// The whole driver.
#[derive(Debug)]
pub(super) struct State {
    pub(super) settings: Settings,
    contexts: Vec<Context>,
    /// The devices of streams.
    streams: BTreeMap<usize, usize>,
    next_handle: usize,
    pub(super) counters: Counters,
    /// What went wrong, in words, since it was last asked for.
    pub(super) report: String,
    /// What initialising answers: an error where the environment's settings are none.
    pub(super) initialised: Code,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

thread_local! {
    /// The handle of the context that is current in this thread; 0 for none.
    static CURRENT: Cell<usize> = const { Cell::new(0) };
}

/// The driver's state, made from the environment at the first call.
pub(super) fn with<T>(use_state: impl FnOnce(&mut State) -> T) -> T {
    let mut guard: MutexGuard<'_, Option<State>> =
        STATE.lock().unwrap_or_else(PoisonError::into_inner);
    use_state(guard.get_or_insert_with(State::from_environment))
}

/// A call in the current context; fails where there is none, or where it has failed before.
pub(super) fn in_context(call: impl FnOnce(&mut State, usize) -> Result<(), Code>) -> Code {
    with(|state| state.call(current_device(), call))
}

/// A call in the context of a stream, which need not be the current one.
pub(super) fn on_stream(
    stream: Handle,
    call: impl FnOnce(&mut State, usize) -> Result<(), Code>,
) -> Code {
    with(|state| {
        let device = state.streams.get(&stream.addr()).copied();
        state.call(device.or_else(current_device), call)
    })
}

/// A call in the context of the device whose pool this is.
pub(super) fn on_device_of(
    pool: Handle,
    call: impl FnOnce(&mut State, usize) -> Result<(), Code>,
) -> Code {
    with(|state| state.call(pool.addr().checked_sub(1), call))
}

/// The handle of a device's context, and of its pool.
pub(super) fn context_handle(device: usize) -> Handle {
    std::ptr::without_provenance_mut(device + 1)
}

pub(super) fn set_current(context: Handle) {
    CURRENT.set(context.addr());
}

pub(super) fn current() -> Handle {
    std::ptr::without_provenance_mut(CURRENT.get())
}

fn current_device() -> Option<usize> {
    CURRENT.get().checked_sub(1)
}

impl State {
    fn from_environment() -> State {
        let text = std::env::var(settings::VARIABLE).unwrap_or_default();
        let (settings, report, initialised) = match Settings::parse(&text) {
            Ok(settings) => (settings, String::new(), codes::SUCCESS),
            Err(what) => (Settings::default(), what, codes::INVALID_VALUE),
        };
        State {
            settings,
            contexts: Vec::new(),
            streams: BTreeMap::new(),
            next_handle: 0x1000,
            counters: Counters::default(),
            report,
            initialised,
        }
    }

    /// Takes other settings; memory that is allocated stays.
    pub(super) fn configure(&mut self, settings: Settings) {
        for context in &mut self.contexts {
            context.memory.set_limit(settings.memory_bytes);
        }
        self.settings = settings;
        self.counters = Counters::default();
        self.report.clear();
        self.initialised = codes::SUCCESS;
    }

    fn call(
        &mut self,
        device: Option<usize>,
        call: impl FnOnce(&mut State, usize) -> Result<(), Code>,
    ) -> Code {
        let Some(device) = device else {
            return codes::INVALID_CONTEXT;
        };
        match self.context(device).map(|context| context.failure) {
            Ok(Some(code)) | Err(code) => return code,
            Ok(None) => {}
        }
        call(self, device).err().unwrap_or(codes::SUCCESS)
    }

    /// A new stream of a device.
    pub(super) fn stream(&mut self, device: usize) -> Handle {
        let stream = self.handle();
        self.streams.insert(stream.addr(), device);
        stream
    }

    /// Forgets a stream.
    pub(super) fn forget_stream(&mut self, stream: Handle) {
        self.streams.remove(&stream.addr());
    }

    /// A handle that nothing else has.
    pub(super) fn handle(&mut self) -> Handle {
        self.next_handle += 16;
        std::ptr::without_provenance_mut(self.next_handle)
    }

    /// Retains the context of a device.
    pub(super) fn retain(&mut self, device: usize) -> Result<Handle, Code> {
        if device >= self.settings.n_devices {
            return Err(codes::INVALID_DEVICE);
        }
        let memory_bytes = self.settings.memory_bytes;
        while self.contexts.len() <= device {
            self.contexts.push(Context::new(memory_bytes));
        }
        self.contexts[device].n_holders += 1;
        Ok(context_handle(device))
    }

    /// Releases the context of a device; the last holder ends it, with all that it still has.
    pub(super) fn release(&mut self, device: usize) -> Code {
        let memory_bytes = self.settings.memory_bytes;
        let Some(context) = self.contexts.get_mut(device) else {
            return codes::INVALID_CONTEXT;
        };
        if context.n_holders == 0 {
            return codes::INVALID_CONTEXT;
        }
        context.n_holders -= 1;
        if context.n_holders == 0 {
            let ended = std::mem::replace(context, Context::new(memory_bytes));
            // Memory of a failed context cannot be freed in any other way.
            if ended.failure.is_none() {
                for (address, bytes) in ended.memory.leaks() {
                    let line = format!("leak: {bytes} bytes at {address:#x} were never freed\n");
                    self.report.push_str(&line);
                }
                for (address, bytes) in ended.host.leaks() {
                    let line = format!(
                        "leak: {bytes} page-locked bytes at {address:#x} were never freed\n"
                    );
                    self.report.push_str(&line);
                }
            }
        }
        codes::SUCCESS
    }

    /// The context of a device, if somebody holds it.
    pub(super) fn context(&mut self, device: usize) -> Result<&mut Context, Code> {
        match self.contexts.get_mut(device) {
            Some(context) if context.n_holders > 0 => Ok(context),
            _ => Err(codes::INVALID_CONTEXT),
        }
    }

    /// Allocates memory of a device.
    pub(super) fn allocate(&mut self, device: usize, n_bytes: usize) -> Result<u64, Code> {
        self.counters.n_allocations += 1;
        let number = self.counters.n_allocations;
        if self.settings.failing_allocations.contains(&number) {
            return Err(codes::OUT_OF_MEMORY);
        }
        let allocated = self.context(device)?.memory.allocate(n_bytes);
        allocated.ok_or(codes::OUT_OF_MEMORY)
    }

    /// Frees page-locked memory of any context; one that failed says so.
    pub(super) fn free_host(&mut self, address: usize) -> Code {
        for device in 0..self.contexts.len() {
            let context = &mut self.contexts[device];
            let Some(bytes) = context.host.block(address) else {
                continue;
            };
            if let Some(code) = context.failure {
                return code;
            }
            let space = Space::PageLocked;
            if let Err(race) = context.order.host_changes(space, &bytes, "freed") {
                return self.fail(device, &race);
            }
            context.host.free(address);
            return codes::SUCCESS;
        }
        codes::INVALID_VALUE
    }

    /// Forgets an event.
    pub(super) fn forget_event(&mut self, event: Handle) {
        for context in &mut self.contexts {
            context.order.forget(event.addr());
        }
    }

    /// Frees memory of a device; without a stream, once nothing is on its way there.
    pub(super) fn free(
        &mut self,
        device: usize,
        address: u64,
        stream: Option<Handle>,
    ) -> Result<(), Code> {
        let context = self.context(device)?;
        let bytes = context.memory.block(address).ok_or(codes::INVALID_VALUE)?;
        match stream {
            Some(stream) => {
                let place = context.order.give(stream.addr());
                self.touch(device, place, "a release", bytes.clone(), true)?;
                let n_bytes = (bytes.end - bytes.start) as usize;
                self.context(device)?.pool.put(n_bytes);
            }
            None => {
                let free = context.order.host_changes(Space::Device, &bytes, "freed");
                free.map_err(|race| self.fail(device, &race))?;
            }
        }
        let context = self.context(device)?;
        context.order.forget_bytes(Space::Device, &bytes);
        context.memory.free(address);
        Ok(())
    }

    /// A work of a stream touches memory of a device; a race spoils the context.
    pub(super) fn touch(
        &mut self,
        device: usize,
        place: Place,
        by: &str,
        bytes: Range<u64>,
        is_write: bool,
    ) -> Result<(), Code> {
        let touch = Touch {
            space: Space::Device,
            bytes,
            place,
            is_write,
            by: by.to_owned(),
        };
        let touched = self.context(device)?.order.touch(touch);
        touched.map_err(|race| self.fail(device, &race))
    }

    /// Begins a copy out of the host's memory; whether it is out of page-locked memory, which the host must not have written
    /// anew before it was free to.
    pub(super) fn begin_copy(
        &mut self,
        device: usize,
        place: Place,
        bytes: Range<u64>,
    ) -> Result<bool, Code> {
        let context = self.context(device)?;
        if bytes.is_empty() || !context.host.holds(&bytes) {
            return Ok(false);
        }
        let space = Space::PageLocked;
        let anew = context
            .order
            .host_changes(space, &bytes, "copied from anew");
        let begun = anew.and_then(|()| {
            context.order.touch(Touch {
                space,
                bytes,
                place,
                is_write: false,
                by: "a copy".to_owned(),
            })
        });
        begun.map_err(|race| self.fail(device, &race))?;
        Ok(true)
    }

    /// Spoils the context of a device.
    pub(super) fn fail(&mut self, device: usize, what: &str) -> Code {
        self.report.push_str(&format!("{what}\n"));
        self.contexts[device].failure = Some(codes::ILLEGAL_ADDRESS);
        codes::ILLEGAL_ADDRESS
    }

    /// Loads the text of a module.
    pub(super) fn load_module(&mut self, device: usize, source: &str) -> Result<Handle, Code> {
        let module = Module::parse(source).map_err(|error| {
            self.report.push_str(&format!("{error}\n"));
            codes::INVALID_PTX
        })?;
        let handle = self.handle();
        let context = self.context(device)?;
        context.modules.insert(handle.addr(), Arc::new(module));
        Ok(handle)
    }

    pub(super) fn unload_module(&mut self, device: usize, module: Handle) -> Result<(), Code> {
        let removed = self.context(device)?.modules.remove(&module.addr());
        removed.map(drop).ok_or(codes::INVALID_HANDLE)
    }

    /// The kernel of that name.
    pub(super) fn function(
        &mut self,
        device: usize,
        module: Handle,
        name: &str,
    ) -> Result<Handle, Code> {
        let handle = self.handle();
        let context = self.context(device)?;
        let module = context.modules.get(&module.addr());
        let module = module.ok_or(codes::INVALID_HANDLE)?;
        if module.kernel(name).is_none() {
            return Err(codes::NOT_FOUND);
        }
        let function = (Arc::clone(module), name.to_owned());
        context.functions.insert(handle.addr(), function);
        Ok(handle)
    }

    /// Runs a kernel. A fault spoils the context and is told at its next call.
    pub(super) fn launch(
        &mut self,
        device: usize,
        function: Handle,
        stream: Handle,
        launch: impl FnOnce(&Kernel) -> LaunchShape,
    ) -> Result<(), Code> {
        self.counters.n_launches += 1;
        let is_planted = self.settings.fault_at_launch == Some(self.counters.n_launches);
        let (order, is_wrong) = (self.settings.order, self.settings.is_wrong);
        let context = self.context(device)?;
        let function = context.functions.get(&function.addr());
        let (module, name) = function.ok_or(codes::INVALID_HANDLE)?.clone();
        let kernel = module.kernel(&name).ok_or(codes::NOT_FOUND)?;
        let shape = launch(kernel);
        let launch = Launch {
            grid: shape.grid,
            block: shape.block,
            dynamic_shared_bytes: shape.dynamic_shared_bytes,
            parameters: &shape.parameters,
            order,
            is_wrong,
        };
        if is_planted {
            context.failure = Some(codes::ILLEGAL_ADDRESS);
            self.report.push_str("planted fault\n");
            return Ok(());
        }
        let place = context.order.give(stream.addr());
        match exec::launch(kernel, &launch, &mut context.memory) {
            Ok(statistics) => {
                self.counters.n_instructions += statistics.n_instructions;
                let by = format!("kernel \"{name}\"");
                for (bytes, is_write) in self.context(device)?.memory.touched() {
                    // As any fault of a kernel, a race is told at the next call.
                    if self.touch(device, place, &by, bytes, is_write).is_err() {
                        break;
                    }
                }
            }
            Err(fault) => {
                let is_limit = matches!(fault, Fault::Limit { .. });
                if !is_limit {
                    context.failure = Some(codes::ILLEGAL_ADDRESS);
                }
                self.report.push_str(&format!("{fault}\n"));
                if is_limit {
                    return Err(codes::LAUNCH_OUT_OF_RESOURCES);
                }
            }
        }
        Ok(())
    }
}

/// What a launch asks for.
pub(super) struct LaunchShape {
    pub(super) grid: [u32; 3],
    pub(super) block: [u32; 3],
    pub(super) dynamic_shared_bytes: usize,
    pub(super) parameters: Vec<u8>,
}

impl Context {
    fn new(memory_bytes: usize) -> Context {
        Context {
            n_holders: 0,
            memory: Memory::new(memory_bytes),
            host: HostMemory::default(),
            order: Order::default(),
            pool: Pool::default(),
            failure: None,
            modules: BTreeMap::new(),
            functions: BTreeMap::new(),
        }
    }
}
