//! Running a kernel: blocks one after another, the threads of a block one after another up to a
//! barrier or an exchange between lanes.
//!
//! In: a kernel, the shape of a launch and global memory; out: memory as the kernel left it, or the
//! [`Fault`] that it ran into. `block` runs the threads of one block, `thread` one instruction,
//! `exchange` a shuffle between the lanes of a warp.

mod block;
mod exchange;
mod thread;

use crate::memory::{Memory, MemoryFault};
use crate::ptx::Kernel;
use block::Block;

/// Threads of a warp.
const WARP: usize = 32;
/// Most threads of a block.
const MAX_THREADS: u64 = 1024;
/// Most bytes of shared memory of a block, without asking for more.
const MAX_SHARED_BYTES: usize = 48 << 10;
/// Most blocks along y and z.
const MAX_BLOCKS_YZ: u32 = 65_535;
/// Most registers of a thread, and of a block.
const MAX_REGISTERS: usize = 255;
const MAX_BLOCK_REGISTERS: usize = 65_536;

/// In which order blocks, and the threads of a block, run. A kernel without a race computes the
/// same in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// By rising number.
    Forward,
    /// By falling number.
    Reverse,
    /// As the seed shuffles them.
    Shuffled(u64),
}

impl Order {
    /// `forward`, `reverse` or `shuffle:<seed>`.
    pub(crate) fn parse(text: &str) -> Option<Order> {
        match text {
            "forward" => Some(Order::Forward),
            "reverse" => Some(Order::Reverse),
            _ => {
                let seed = text.strip_prefix("shuffle:")?;
                seed.parse().ok().map(Order::Shuffled)
            }
        }
    }

    /// The numbers below `n` in this order.
    fn of(self, n: usize, salt: u64) -> Vec<usize> {
        let mut numbers: Vec<usize> = (0..n).collect();
        match self {
            Order::Forward => {}
            Order::Reverse => numbers.reverse(),
            Order::Shuffled(seed) => {
                // Fisher and Yates, drawn by a linear congruential generator.
                let mut state = seed ^ salt.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                for end in (1..n).rev() {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    numbers.swap(end, ((state >> 33) % (end as u64 + 1)) as usize);
                }
            }
        }
        numbers
    }
}

/// The shape of a launch, and how it is run.
#[derive(Debug, Clone, Copy)]
pub struct Launch<'a> {
    /// Blocks along x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block along x, y, z.
    pub block: [u32; 3],
    /// Bytes of shared memory beyond what the kernel declares.
    pub dynamic_shared_bytes: usize,
    /// The bytes of the parameters.
    pub parameters: &'a [u8],
    /// The order of threads and blocks.
    pub order: Order,
    /// Whether each store of four or more bytes is one bit off, as on a broken device.
    pub is_wrong: bool,
}

/// What a launch did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Instructions of all threads.
    pub n_instructions: u64,
}

/// Why a launch was refused or ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The launch asks for more than a device has.
    #[error("kernel \"{kernel}\": {what} is {found}, a device has {limit}")]
    Limit {
        /// The kernel.
        kernel: String,
        /// What there is too much of.
        what: &'static str,
        /// How much is asked for.
        found: u64,
        /// How much there is.
        limit: u64,
    },
    /// An access of a thread was wrong.
    #[error("{place}: {source}")]
    Memory {
        /// The place.
        place: Box<Place>,
        /// What was wrong.
        source: Box<MemoryFault>,
    },
    /// Threads wait for others that never come.
    #[error("kernel \"{kernel}\", block {block}: threads wait at different barriers or exchanges")]
    Diverged {
        /// The kernel.
        kernel: String,
        /// The block.
        block: u64,
    },
    /// A `trap` instruction.
    #[error("{place}: trap")]
    Trap {
        /// The place.
        place: Box<Place>,
    },
    /// A thread ran longer than any kernel should.
    #[error("{place}: does not end")]
    Endless {
        /// The place.
        place: Box<Place>,
    },
}

/// Where a thread is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The kernel.
    pub kernel: String,
    /// The line of its PTX.
    pub line: u32,
    /// The block by its number.
    pub block: u64,
    /// The thread by its number in the block.
    pub thread: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "kernel \"{}\", PTX line {}, block {}, thread {}",
            self.kernel, self.line, self.block, self.thread
        )
    }
}

/// Runs a kernel over a grid.
///
/// Errors: the first fault, where the other blocks are not run any more.
pub fn launch(
    kernel: &Kernel,
    launch: &Launch<'_>,
    memory: &mut Memory,
) -> Result<Statistics, Fault> {
    check_limits(kernel, launch)?;
    let epoch = memory.begin_launch();
    let n_blocks = launch.grid.iter().map(|&n| n as usize).product();
    let mut statistics = Statistics::default();
    let mut block = Block::new(kernel, launch, epoch);
    for number in launch.order.of(n_blocks, 0) {
        statistics.n_instructions += block.run(number as u64, memory)?;
    }
    Ok(statistics)
}

fn check_limits(kernel: &Kernel, launch: &Launch<'_>) -> Result<(), Fault> {
    let n_threads = launch.block.iter().map(|&n| u64::from(n)).product::<u64>();
    let shared = kernel.shared_bytes + launch.dynamic_shared_bytes;
    let registers = kernel.n_live_registers;
    let block_registers = registers as u64 * n_threads;
    let blocks = |n: u32| u64::from(n);
    let checks = [
        ("the number of threads", n_threads, MAX_THREADS),
        ("the depth of the block", blocks(launch.block[2]), 64),
        (
            "the number of blocks along x",
            blocks(launch.grid[0]),
            i32::MAX as u64,
        ),
        (
            "the number of blocks along y",
            blocks(launch.grid[1]),
            blocks(MAX_BLOCKS_YZ),
        ),
        (
            "the number of blocks along z",
            blocks(launch.grid[2]),
            blocks(MAX_BLOCKS_YZ),
        ),
        ("shared memory", shared as u64, MAX_SHARED_BYTES as u64),
        (
            "the registers of a thread",
            registers as u64,
            MAX_REGISTERS as u64,
        ),
        (
            "the registers of a block",
            block_registers,
            MAX_BLOCK_REGISTERS as u64,
        ),
        (
            "the length of the parameters",
            launch.parameters.len() as u64,
            kernel.parameter_bytes as u64,
        ),
    ];
    let limit = |what, found, limit| Fault::Limit {
        kernel: kernel.name.clone(),
        what,
        found,
        limit,
    };
    if let Some(&(what, found, most)) = checks.iter().find(|(_, found, most)| found > most) {
        return Err(limit(what, found, most));
    }
    let sizes = launch.grid.iter().chain(&launch.block);
    if sizes.into_iter().any(|&n| n == 0) {
        return Err(limit("an extent of the launch", 0, 1));
    }
    Ok(())
}
