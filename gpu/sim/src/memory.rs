//! Memory of a device or of a block, and the record of who touched which byte.
//!
//! In: accesses of threads and copies of the host; out: bytes, or the fault that a device would show
//! as a wrong result now and then. Addresses are not those of the host: between two allocations lies
//! memory that belongs to nobody, so that an access beyond the end of one never hits the next. Fresh memory is filled
//! with NaN and may not be read before it was written.

use std::collections::BTreeMap;
use std::ops::Range;

/// Fills memory that was never written: NaN as f32 and f64, all ones as a whole number.
const POISON: u8 = 0xff;
/// Where the first allocation lies.
const FIRST_ADDRESS: u64 = 0x7_0000_0000;
/// Alignment of allocations, as on devices.
const ALIGNMENT: u64 = 256;
/// Bytes between allocations.
const GAP: u64 = 1 << 20;

/// How memory is touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// A load.
    Read,
    /// A load that promises that no thread of the launch writes there.
    ReadOnly,
    /// A store.
    Write,
    /// A read and write that cannot be divided.
    Atomic,
}

/// What is wrong with an access.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MemoryFault {
    /// No allocation holds these bytes.
    #[error("{bytes} bytes at {address:#x} are outside of {space} memory")]
    OutOfBounds {
        /// `global` or `shared`.
        space: &'static str,
        /// Where.
        address: u64,
        /// How many.
        bytes: usize,
    },
    /// The address is not a multiple of the size.
    #[error("{bytes} bytes at {address:#x} are not aligned")]
    Misaligned {
        /// Where.
        address: u64,
        /// How many.
        bytes: usize,
    },
    /// Nobody has written these bytes.
    #[error("{bytes} bytes at {address:#x} of {space} memory were never written")]
    NeverWritten {
        /// `global` or `shared`.
        space: &'static str,
        /// Where.
        address: u64,
        /// How many.
        bytes: usize,
    },
    /// Two threads or blocks touched a byte without an order, and not both only read it.
    #[error(
        "race in {space} memory: byte {address:#x} is {now} by {unit} {actor} and was {before} by \
         {unit} {other} with no barrier between"
    )]
    Race {
        /// `global` or `shared`.
        space: &'static str,
        /// The byte.
        address: u64,
        /// `thread` or `block`.
        unit: &'static str,
        /// Who touches it now.
        actor: u32,
        /// `read` or `written`.
        now: &'static str,
        /// Who touched it before.
        other: String,
        /// `read` or `written`.
        before: &'static str,
    },
    /// A load promised that nobody writes, yet somebody did.
    #[error("byte {address:#x} is loaded as read-only, but this launch has written it")]
    NotReadOnly {
        /// The byte.
        address: u64,
    },
}

/// More than one actor.
const MANY: u32 = u32::MAX;

/// Who touched a byte in the current epoch; actors are counted from 1, 0 is nobody.
#[derive(Debug, Clone, Copy, Default)]
struct Touch {
    epoch: u32,
    writer: u32,
    reader: u32,
    /// Whether all writes were atomic.
    is_atomic: bool,
    was_written: bool,
}

/// Bytes with their record.
#[derive(Debug)]
pub(crate) struct Region {
    space: &'static str,
    unit: &'static str,
    start: u64,
    bytes: Vec<u8>,
    touches: Vec<Touch>,
    /// From the first byte that the epoch's launch touched to the last: of reads, of writes.
    touched: [Range<usize>; 2],
}

/// Nothing yet.
const UNTOUCHED: Range<usize> = Range {
    start: usize::MAX,
    end: 0,
};

/// Who accesses, and in which epoch; accesses of different epochs have an order.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Actor {
    pub(crate) id: u32,
    pub(crate) epoch: u32,
}

impl Region {
    fn new(space: &'static str, unit: &'static str, start: u64, n_bytes: usize) -> Region {
        Region {
            space,
            unit,
            start,
            bytes: vec![POISON; n_bytes],
            touches: vec![Touch::default(); n_bytes],
            touched: [UNTOUCHED; 2],
        }
    }

    /// The shared memory of a block.
    pub(crate) fn shared(n_bytes: usize) -> Region {
        Region::new("shared", "thread", 0, n_bytes)
    }

    /// Makes the memory as fresh as at the begin.
    pub(crate) fn poison(&mut self) {
        self.bytes.fill(POISON);
        self.touches.fill(Touch::default());
    }

    /// Where the access begins in `bytes`, once it was found to be in order.
    fn locate(&self, address: u64, n_bytes: usize) -> Result<usize, MemoryFault> {
        if !address.is_multiple_of(n_bytes as u64) {
            return Err(MemoryFault::Misaligned {
                address,
                bytes: n_bytes,
            });
        }
        let at = address.wrapping_sub(self.start);
        if at.saturating_add(n_bytes as u64) > self.bytes.len() as u64 {
            return Err(out_of_bounds(self.space, address, n_bytes));
        }
        Ok(at as usize)
    }

    /// Checks an access of a thread and takes note of it; returns where the bytes are.
    fn access(
        &mut self,
        address: u64,
        n_bytes: usize,
        access: Access,
        actor: Actor,
    ) -> Result<usize, MemoryFault> {
        let at = self.locate(address, n_bytes)?;
        let is_write = access == Access::Write;
        for (offset, touch) in self.touches[at..at + n_bytes].iter_mut().enumerate() {
            if touch.epoch != actor.epoch {
                *touch = Touch {
                    epoch: actor.epoch,
                    was_written: touch.was_written,
                    ..Touch::default()
                };
            }
            if !is_write && !touch.was_written {
                return Err(MemoryFault::NeverWritten {
                    space: self.space,
                    address,
                    bytes: n_bytes,
                });
            }
            if let Some((before, other)) = touch.conflict(access, actor.id) {
                return Err(MemoryFault::Race {
                    space: self.space,
                    address: address + offset as u64,
                    unit: self.unit,
                    actor: actor.id - 1,
                    now: match access {
                        Access::Read | Access::ReadOnly => "read",
                        Access::Write | Access::Atomic => "written",
                    },
                    other,
                    before,
                });
            }
            if access == Access::ReadOnly && touch.writer != 0 {
                return Err(MemoryFault::NotReadOnly {
                    address: address + offset as u64,
                });
            }
            touch.note(access, actor.id);
        }
        let (reads, writes) = match access {
            Access::Read | Access::ReadOnly => (true, false),
            Access::Write => (false, true),
            Access::Atomic => (true, true),
        };
        for (touched, does) in self.touched.iter_mut().zip([reads, writes]) {
            if does {
                touched.start = touched.start.min(at);
                touched.end = touched.end.max(at + n_bytes);
            }
        }
        Ok(at)
    }

    /// Loads up to eight bytes.
    pub(crate) fn load(
        &mut self,
        address: u64,
        n_bytes: usize,
        access: Access,
        actor: Actor,
    ) -> Result<u64, MemoryFault> {
        let at = self.access(address, n_bytes, access, actor)?;
        Ok(self.word(at, n_bytes))
    }

    /// Stores up to eight bytes.
    pub(crate) fn store(
        &mut self,
        address: u64,
        n_bytes: usize,
        value: u64,
        actor: Actor,
    ) -> Result<(), MemoryFault> {
        let at = self.access(address, n_bytes, Access::Write, actor)?;
        self.bytes[at..at + n_bytes].copy_from_slice(&value.to_le_bytes()[..n_bytes]);
        Ok(())
    }

    /// Replaces bytes by what `compute` makes of them; returns the old ones.
    pub(crate) fn update(
        &mut self,
        address: u64,
        n_bytes: usize,
        actor: Actor,
        compute: impl Fn(u64) -> u64,
    ) -> Result<u64, MemoryFault> {
        let at = self.access(address, n_bytes, Access::Atomic, actor)?;
        let old = self.word(at, n_bytes);
        self.bytes[at..at + n_bytes].copy_from_slice(&compute(old).to_le_bytes()[..n_bytes]);
        Ok(old)
    }

    #[inline(always)]
    fn word(&self, at: usize, n_bytes: usize) -> u64 {
        let mut word = [0; 8];
        word[..n_bytes].copy_from_slice(&self.bytes[at..at + n_bytes]);
        u64::from_le_bytes(word)
    }
}

impl Touch {
    /// What an access collides with.
    fn conflict(&self, access: Access, actor: u32) -> Option<(&'static str, String)> {
        let name = |id: u32| match id {
            MANY => "several".to_owned(),
            id => (id - 1).to_string(),
        };
        let is_other = |id: u32| id != 0 && id != actor;
        let both_atomic = access == Access::Atomic && self.is_atomic;
        if is_other(self.writer) && !both_atomic {
            return Some(("written", name(self.writer)));
        }
        let is_read = matches!(access, Access::Read | Access::ReadOnly);
        if is_other(self.reader) && !is_read {
            return Some(("read", name(self.reader)));
        }
        None
    }

    fn note(&mut self, access: Access, actor: u32) {
        let join = |id: u32| if id == 0 || id == actor { actor } else { MANY };
        match access {
            Access::Read | Access::ReadOnly => self.reader = join(self.reader),
            Access::Write | Access::Atomic => {
                let is_atomic = access == Access::Atomic;
                self.is_atomic = is_atomic && (self.writer == 0 || self.is_atomic);
                self.writer = join(self.writer);
                self.was_written = true;
            }
        }
    }
}

/// Global memory: what the host has allocated on a device.
#[derive(Debug)]
pub struct Memory {
    regions: BTreeMap<u64, Region>,
    next_address: u64,
    used_bytes: usize,
    limit_bytes: usize,
    /// Counts launches: blocks of different launches have an order.
    epoch: u32,
}

impl Memory {
    /// Memory of so many bytes.
    pub fn new(limit_bytes: usize) -> Memory {
        Memory {
            regions: BTreeMap::new(),
            next_address: FIRST_ADDRESS,
            used_bytes: 0,
            limit_bytes,
            epoch: 0,
        }
    }

    /// Bytes that are allocated.
    pub fn used_bytes(&self) -> usize {
        self.used_bytes
    }

    /// Bytes that there are.
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Changes how many bytes there are; what is allocated stays.
    pub(crate) fn set_limit(&mut self, limit_bytes: usize) {
        self.limit_bytes = limit_bytes;
    }

    /// What was not freed: address and bytes of each allocation.
    pub fn leaks(&self) -> Vec<(u64, usize)> {
        let leaks = self.regions.iter();
        leaks
            .map(|(address, region)| (*address, region.bytes.len()))
            .collect()
    }

    /// An address for so many bytes; `None` where there are not enough, or for none.
    pub fn allocate(&mut self, n_bytes: usize) -> Option<u64> {
        if n_bytes == 0 || n_bytes > self.limit_bytes.saturating_sub(self.used_bytes) {
            return None;
        }
        let address = self.next_address;
        self.regions
            .insert(address, Region::new("global", "block", address, n_bytes));
        self.next_address = (address + n_bytes as u64 + GAP).next_multiple_of(ALIGNMENT);
        self.used_bytes += n_bytes;
        Some(address)
    }

    /// Frees an allocation; false if there is none at that address.
    pub fn free(&mut self, address: u64) -> bool {
        match self.regions.remove(&address) {
            Some(region) => {
                self.used_bytes -= region.bytes.len();
                true
            }
            None => false,
        }
    }

    /// Copies from the host.
    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Result<(), MemoryFault> {
        if bytes.is_empty() {
            return Ok(());
        }
        let region = self.region(address, bytes.len())?;
        let at = (address - region.start) as usize;
        region.bytes[at..at + bytes.len()].copy_from_slice(bytes);
        for touch in &mut region.touches[at..at + bytes.len()] {
            touch.was_written = true;
        }
        Ok(())
    }

    /// Copies to the host; what was never written is poison.
    pub fn read(&mut self, address: u64, bytes: &mut [u8]) -> Result<(), MemoryFault> {
        if bytes.is_empty() {
            return Ok(());
        }
        let region = self.region(address, bytes.len())?;
        let at = (address - region.start) as usize;
        bytes.copy_from_slice(&region.bytes[at..at + bytes.len()]);
        Ok(())
    }

    /// Begins a launch.
    pub(crate) fn begin_launch(&mut self) -> u32 {
        for region in self.regions.values_mut() {
            region.touched = [UNTOUCHED; 2];
        }
        self.epoch += 1;
        self.epoch
    }

    /// What the last launch has touched of each allocation, and whether it wrote there.
    pub(crate) fn touched(&self) -> Vec<(Range<u64>, bool)> {
        let regions = self.regions.values();
        let both = regions.flat_map(|region| {
            let [reads, writes] = &region.touched;
            let at = |bytes: &Range<usize>| {
                region.start + bytes.start as u64..region.start + bytes.end as u64
            };
            let both = [(reads, false), (writes, true)].into_iter();
            both.filter(|(bytes, _)| !bytes.is_empty())
                .map(move |(bytes, is_write)| (at(bytes), is_write))
        });
        both.collect()
    }

    /// The bytes of the allocation that begins there.
    pub(crate) fn block(&self, address: u64) -> Option<Range<u64>> {
        let region = self.regions.get(&address)?;
        Some(address..address + region.bytes.len() as u64)
    }

    /// The allocation that holds these bytes.
    #[inline]
    pub(crate) fn region(
        &mut self,
        address: u64,
        n_bytes: usize,
    ) -> Result<&mut Region, MemoryFault> {
        let fault = out_of_bounds("global", address, n_bytes);
        let (_, region) = self
            .regions
            .range_mut(..=address)
            .next_back()
            .ok_or_else(|| fault.clone())?;
        let end = address.saturating_add(n_bytes as u64);
        if end > region.start + region.bytes.len() as u64 {
            return Err(fault);
        }
        Ok(region)
    }
}

fn out_of_bounds(space: &'static str, address: u64, bytes: usize) -> MemoryFault {
    MemoryFault::OutOfBounds {
        space,
        address,
        bytes,
    }
}
