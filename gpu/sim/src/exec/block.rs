//! The threads of one block, up to their ends.

use super::exchange;
use super::thread::{Context, Stop, Thread};
use super::{Fault, Launch, Place, WARP};
use crate::memory::{Memory, Region};
use crate::ptx::Kernel;

/// One block after another: its threads and its shared memory are used again.
pub(super) struct Block<'a> {
    kernel: &'a Kernel,
    launch: &'a Launch<'a>,
    epoch: u32,
    threads: Vec<Thread>,
    shared: Region,
    /// Counts barriers: accesses on both sides of one have an order.
    barriers: u32,
}

impl<'a> Block<'a> {
    pub(super) fn new(kernel: &'a Kernel, launch: &'a Launch<'a>, epoch: u32) -> Block<'a> {
        let n_threads = launch.block.iter().map(|&n| n as usize).product();
        let thread = |number: usize| Thread::new(number, launch.block, kernel.n_registers);
        Block {
            kernel,
            launch,
            epoch,
            threads: (0..n_threads).map(thread).collect(),
            shared: Region::shared(kernel.shared_bytes + launch.dynamic_shared_bytes),
            barriers: 0,
        }
    }

    /// Runs the block of that number; returns how many instructions its threads took.
    pub(super) fn run(&mut self, number: u64, memory: &mut Memory) -> Result<u64, Fault> {
        self.shared.poison();
        self.threads.iter_mut().for_each(Thread::restart);
        let order = self.launch.order.of(self.threads.len(), number + 1);
        let mut n_instructions = 0;
        loop {
            self.barriers += 1;
            loop {
                n_instructions += self.run_threads(number, &order, memory)?;
                if !self.exchange()? {
                    break;
                }
            }
            if self.threads.iter().all(|t| t.stop == Some(Stop::Exit)) {
                return Ok(n_instructions);
            }
            let is_ready = |t: &Thread| matches!(t.stop, Some(Stop::Barrier | Stop::Exit));
            if !self.threads.iter().all(is_ready) {
                return Err(self.diverged(number));
            }
            for thread in &mut self.threads {
                if thread.stop == Some(Stop::Barrier) {
                    thread.resume();
                }
            }
        }
    }

    /// Runs each thread that can go on until it stops.
    fn run_threads(
        &mut self,
        number: u64,
        order: &[usize],
        memory: &mut Memory,
    ) -> Result<u64, Fault> {
        let mut context = Context {
            kernel: self.kernel,
            launch: self.launch,
            block: block_index(number, self.launch.grid),
            block_number: number,
            epoch: self.epoch,
            barriers: self.barriers,
            shared: &mut self.shared,
            memory,
        };
        let mut n_instructions = 0;
        for &thread in order {
            let thread = &mut self.threads[thread];
            if thread.stop.is_none() {
                n_instructions += thread.run(&mut context)?;
            }
        }
        Ok(n_instructions)
    }

    /// Lets the warps exchange whose lanes have all come to one; false if none has.
    fn exchange(&mut self) -> Result<bool, Fault> {
        let mut any = false;
        for warp in self.threads.chunks_mut(WARP) {
            any |= exchange::run(self.kernel, warp);
        }
        Ok(any)
    }

    fn diverged(&self, block: u64) -> Fault {
        Fault::Diverged {
            kernel: self.kernel.name.clone(),
            block,
        }
    }
}

fn block_index(number: u64, grid: [u32; 3]) -> [u32; 3] {
    let [x, y, _] = grid.map(u64::from);
    [number % x, number / x % y, number / (x * y)].map(|index| index as u32)
}

/// Where a thread is.
pub(super) fn place(context: &Context<'_>, line: u32, thread: usize) -> Box<Place> {
    Box::new(Place {
        kernel: context.kernel.name.clone(),
        line,
        block: context.block_number,
        thread,
    })
}
