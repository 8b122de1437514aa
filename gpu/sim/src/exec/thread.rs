//! One thread: its registers, and what an instruction does to them.

use super::block::place;
use super::{Fault, Launch, WARP};
use crate::memory::{Access, Actor, Memory, MemoryFault, Region};
use crate::ptx::{Address, Base, Kernel, Operand, Operation, Space, Special};

/// Instructions after which a thread is taken to run for ever.
const ENDLESS: u64 = 1 << 32;

/// Why a thread does not go on by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stop {
    Barrier,
    Exchange,
    Exit,
}

/// What the threads of a block have together.
pub(super) struct Context<'a> {
    pub(super) kernel: &'a Kernel,
    pub(super) launch: &'a Launch<'a>,
    pub(super) block: [u32; 3],
    pub(super) block_number: u64,
    pub(super) epoch: u32,
    pub(super) barriers: u32,
    pub(super) shared: &'a mut Region,
    pub(super) memory: &'a mut Memory,
}

pub(super) struct Thread {
    number: usize,
    index: [u32; 3],
    pub(super) position: usize,
    pub(super) stop: Option<Stop>,
    pub(super) registers: Vec<u64>,
}

impl Thread {
    pub(super) fn new(number: usize, block: [u32; 3], n_registers: usize) -> Thread {
        let [x, y, _] = block.map(|n| n as usize);
        Thread {
            number,
            index: [number % x, number / x % y, number / (x * y)].map(|index| index as u32),
            position: 0,
            stop: None,
            registers: vec![0; n_registers],
        }
    }

    pub(super) fn restart(&mut self) {
        self.position = 0;
        self.stop = None;
    }

    /// Goes on behind the instruction that it waited at.
    pub(super) fn resume(&mut self) {
        self.position += 1;
        self.stop = None;
    }

    pub(super) fn lane(&self) -> usize {
        self.number % WARP
    }

    /// Runs until the thread stops; returns how many instructions it took.
    pub(super) fn run(&mut self, context: &mut Context<'_>) -> Result<u64, Fault> {
        let code = &context.kernel.code;
        let mut n_instructions = 0;
        while let Some(instruction) = code.get(self.position) {
            n_instructions += 1;
            if n_instructions > ENDLESS {
                let place = place(context, instruction.line, self.number);
                return Err(Fault::Endless { place });
            }
            if let Some((register, value)) = instruction.guard
                && (self.registers[register as usize] != 0) != value
            {
                self.position += 1;
                continue;
            }
            match &instruction.operation {
                Operation::Branch { target } => {
                    self.position = *target as usize;
                    continue;
                }
                Operation::Exit => break,
                Operation::Barrier => {
                    self.stop = Some(Stop::Barrier);
                    return Ok(n_instructions);
                }
                Operation::Shuffle { .. } => {
                    self.stop = Some(Stop::Exchange);
                    return Ok(n_instructions);
                }
                Operation::Trap => {
                    let place = place(context, instruction.line, self.number);
                    return Err(Fault::Trap { place });
                }
                operation => self
                    .step(operation, context)
                    .map_err(|source| Fault::Memory {
                        place: place(context, instruction.line, self.number),
                        source: Box::new(source),
                    })?,
            }
            self.position += 1;
        }
        self.stop = Some(Stop::Exit);
        Ok(n_instructions)
    }

    fn step(
        &mut self,
        operation: &Operation,
        context: &mut Context<'_>,
    ) -> Result<(), MemoryFault> {
        match operation {
            Operation::Unary { compute, into, a } => {
                self.registers[*into as usize] = compute(self.value(*a, context));
            }
            Operation::Binary {
                compute,
                into,
                a,
                b,
            } => {
                let (a, b) = (self.value(*a, context), self.value(*b, context));
                self.registers[*into as usize] = compute(a, b);
            }
            Operation::Ternary {
                compute,
                into,
                operands,
            } => {
                let [a, b, c] = operands.map(|operand| self.value(operand, context));
                self.registers[*into as usize] = compute(a, b, c);
            }
            Operation::Pack {
                bits,
                into,
                low,
                high,
            } => {
                let mask = (1 << bits) - 1;
                let low = self.value(*low, context) & mask;
                let high = self.value(*high, context) & mask;
                self.registers[*into as usize] = high << bits | low;
            }
            Operation::Unpack {
                bits,
                low,
                high,
                value,
            } => {
                let mask = (1 << bits) - 1;
                let value = self.value(*value, context);
                for (register, value) in [(low, value), (high, value >> bits)] {
                    if let Some(register) = register {
                        self.registers[*register as usize] = value & mask;
                    }
                }
            }
            Operation::Load { .. } | Operation::Store { .. } | Operation::Atomic { .. } => {
                self.touch(operation, context)?;
            }
            // The rest was seen to by the caller; accesses are in the order of the program anyhow.
            _ => {}
        }
        Ok(())
    }

    /// Loads, stores and atomic operations.
    fn touch(
        &mut self,
        operation: &Operation,
        context: &mut Context<'_>,
    ) -> Result<(), MemoryFault> {
        match operation {
            Operation::Load {
                space,
                bytes,
                is_signed,
                into,
                address,
            } => {
                let start = self.address(address);
                check_vector(start, *bytes, into.len())?;
                for (address, register) in (start..).step_by(*bytes).zip(into) {
                    let word = self.load(*space, address, *bytes, context)?;
                    if let Some(register) = register {
                        self.registers[*register as usize] = extend(word, *bytes, *is_signed);
                    }
                }
            }
            Operation::Store {
                space,
                bytes,
                values,
                address,
            } => {
                let start = self.address(address);
                check_vector(start, *bytes, values.len())?;
                for (address, value) in (start..).step_by(*bytes).zip(values) {
                    let mut value = self.value(*value, context);
                    if context.launch.is_wrong && *bytes >= 4 {
                        value ^= 1;
                    }
                    let actor = self.actor(*space, context);
                    region(*space, address, *bytes, context)?
                        .store(address, *bytes, value, actor)?;
                }
            }
            Operation::Atomic {
                space,
                bytes,
                compute,
                into,
                address,
                operands,
            } => {
                let address = self.address(address);
                let [a, b] = operands.map(|operand| self.value(operand, context));
                let actor = self.actor(*space, context);
                let old = region(*space, address, *bytes, context)?.update(
                    address,
                    *bytes,
                    actor,
                    |old| compute(old, a, b),
                )?;
                if let Some(register) = into {
                    self.registers[*register as usize] = old;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn load(
        &self,
        space: Space,
        address: u64,
        n_bytes: usize,
        context: &mut Context<'_>,
    ) -> Result<u64, MemoryFault> {
        if space == Space::Parameter {
            let parameters = context.launch.parameters;
            let bytes = parameters.get(address as usize..address as usize + n_bytes);
            let bytes = bytes.ok_or(MemoryFault::OutOfBounds {
                space: "parameter",
                address,
                bytes: n_bytes,
            })?;
            let mut word = [0; 8];
            word[..n_bytes].copy_from_slice(bytes);
            return Ok(u64::from_le_bytes(word));
        }
        let access = match space {
            Space::Global { read_only: true } => Access::ReadOnly,
            _ => Access::Read,
        };
        let actor = self.actor(space, context);
        region(space, address, n_bytes, context)?.load(address, n_bytes, access, actor)
    }

    /// In shared memory threads race, in global memory blocks do.
    fn actor(&self, space: Space, context: &Context<'_>) -> Actor {
        match space {
            Space::Shared => Actor {
                id: self.number as u32 + 1,
                epoch: context.barriers,
            },
            _ => Actor {
                id: context.block_number as u32 + 1,
                epoch: context.epoch,
            },
        }
    }

    fn address(&self, address: &Address) -> u64 {
        let base = match address.base {
            Base::Register(register) => self.registers[register as usize],
            Base::Start => 0,
        };
        base.wrapping_add(address.offset)
    }

    #[inline(always)]
    pub(super) fn operand(&self, operand: Operand) -> Option<u64> {
        match operand {
            Operand::Register(register) => Some(self.registers[register as usize]),
            Operand::Immediate(bits) => Some(bits),
            Operand::Not(register) => Some(u64::from(self.registers[register as usize] == 0)),
            Operand::Special(_) => None,
        }
    }

    #[inline(always)]
    fn value(&self, operand: Operand, context: &Context<'_>) -> u64 {
        self.operand(operand)
            .unwrap_or_else(|| self.special(operand, context))
    }

    fn special(&self, operand: Operand, context: &Context<'_>) -> u64 {
        let Operand::Special(special) = operand else {
            return 0;
        };
        u64::from(match special {
            Special::Thread(axis) => self.index[axis as usize],
            Special::BlockSize(axis) => context.launch.block[axis as usize],
            Special::Block(axis) => context.block[axis as usize],
            Special::GridSize(axis) => context.launch.grid[axis as usize],
            Special::Lane => self.lane() as u32,
        })
    }
}

/// A vector is aligned to its whole size.
fn check_vector(address: u64, n_bytes: usize, n: usize) -> Result<(), MemoryFault> {
    let bytes = n_bytes * n;
    if address.is_multiple_of(bytes as u64) {
        Ok(())
    } else {
        Err(MemoryFault::Misaligned { address, bytes })
    }
}

#[inline(always)]
fn region<'a>(
    space: Space,
    address: u64,
    n_bytes: usize,
    context: &'a mut Context<'_>,
) -> Result<&'a mut Region, MemoryFault> {
    match space {
        Space::Shared => Ok(context.shared),
        _ => context.memory.region(address, n_bytes),
    }
}

fn extend(word: u64, n_bytes: usize, is_signed: bool) -> u64 {
    match (n_bytes, is_signed) {
        (1, true) => u64::from(i32::from(word as i8) as u32),
        (2, true) => u64::from(i32::from(word as i16) as u32),
        _ => word,
    }
}
