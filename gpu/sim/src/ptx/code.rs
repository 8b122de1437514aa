//! What an instruction is, once it has been read.

/// A register by its number in the kernel.
pub(crate) type Register = u32;

/// Where memory lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Space {
    /// Memory of the device; `read_only` promises that no thread writes it during the launch.
    Global { read_only: bool },
    /// Memory of the block.
    Shared,
    /// The kernel's parameters.
    Parameter,
}

/// A register that the machine fills.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Special {
    /// Index of the thread in its block.
    Thread(u8),
    /// Size of the block.
    BlockSize(u8),
    /// Index of the block in its grid.
    Block(u8),
    /// Size of the grid.
    GridSize(u8),
    /// Index of the thread in its warp.
    Lane,
}

/// What an instruction reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operand {
    /// A register.
    Register(Register),
    /// Bits.
    Immediate(u64),
    /// A register of the machine.
    Special(Special),
    /// A predicate's opposite.
    Not(Register),
}

/// What an address is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Base {
    /// A register.
    Register(Register),
    /// The begin of the space.
    Start,
}

/// An address of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) base: Base,
    pub(crate) offset: u64,
}

/// Which lane a shuffle reads from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ShuffleMode {
    /// A lane with a lower number.
    Up,
    /// A lane with a higher number.
    Down,
    /// The lane whose number differs by some bits.
    Butterfly,
    /// The lane of that number.
    Index,
}

/// What an atomic operation makes of the old value and the operands.
pub(crate) type AtomicOperation = fn(old: u64, a: u64, b: u64) -> u64;

/// What an instruction does. Arithmetic is a function over the bits of its operands.
#[derive(Debug, Clone)]
pub(crate) enum Operation {
    Load {
        space: Space,
        /// Bytes of an element, and whether its sign fills the register.
        bytes: usize,
        is_signed: bool,
        /// One register for each element of a vector; `None` discards it.
        into: Vec<Option<Register>>,
        address: Address,
    },
    Store {
        space: Space,
        bytes: usize,
        values: Vec<Operand>,
        address: Address,
    },
    Atomic {
        space: Space,
        bytes: usize,
        compute: AtomicOperation,
        into: Option<Register>,
        address: Address,
        operands: [Operand; 2],
    },
    Unary {
        compute: fn(u64) -> u64,
        into: Register,
        a: Operand,
    },
    Binary {
        compute: fn(u64, u64) -> u64,
        into: Register,
        a: Operand,
        b: Operand,
    },
    Ternary {
        compute: fn(u64, u64, u64) -> u64,
        into: Register,
        operands: [Operand; 3],
    },
    /// Joins two halves of so many bits.
    Pack {
        bits: u32,
        into: Register,
        low: Operand,
        high: Operand,
    },
    /// Splits into two halves of so many bits.
    Unpack {
        bits: u32,
        low: Option<Register>,
        high: Option<Register>,
        value: Operand,
    },
    Branch {
        target: u32,
    },
    Shuffle {
        mode: ShuffleMode,
        into: Register,
        /// Set where the lane that was read from exists.
        in_range: Option<Register>,
        value: Operand,
        lane: Operand,
        clamp: Operand,
        members: Operand,
    },
    Barrier,
    Fence,
    Exit,
    Trap,
}

/// One instruction.
#[derive(Debug, Clone)]
pub(crate) struct Instruction {
    /// Runs only where the predicate has this value.
    pub(crate) guard: Option<(Register, bool)>,
    pub(crate) operation: Operation,
    /// The line of the text.
    pub(crate) line: u32,
}

/// Bytes of a type by its name.
pub(super) fn width(name: &str) -> Option<usize> {
    Some(match name {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" => 2,
        "b32" | "u32" | "s32" | "f32" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        _ => return None,
    })
}

impl Operation {
    /// The registers that the operation writes.
    pub(super) fn writes(&self) -> Vec<Register> {
        match self {
            Operation::Load { into, .. } => into.iter().flatten().copied().collect(),
            Operation::Atomic { into, .. } => into.iter().copied().collect(),
            Operation::Unary { into, .. }
            | Operation::Binary { into, .. }
            | Operation::Ternary { into, .. }
            | Operation::Pack { into, .. } => vec![*into],
            Operation::Unpack { low, high, .. } => [*low, *high].into_iter().flatten().collect(),
            Operation::Shuffle { into, in_range, .. } => {
                let both = [Some(*into), *in_range];
                both.into_iter().flatten().collect()
            }
            _ => Vec::new(),
        }
    }

    /// The registers that the operation reads.
    pub(super) fn reads(&self) -> Vec<Register> {
        let (operands, address): (Vec<Operand>, Option<&Address>) = match self {
            Operation::Load { address, .. } => (Vec::new(), Some(address)),
            Operation::Store {
                values, address, ..
            } => (values.clone(), Some(address)),
            Operation::Atomic {
                address, operands, ..
            } => (operands.to_vec(), Some(address)),
            Operation::Unary { a, .. } => (vec![*a], None),
            Operation::Binary { a, b, .. } => (vec![*a, *b], None),
            Operation::Ternary { operands, .. } => (operands.to_vec(), None),
            Operation::Pack { low, high, .. } => (vec![*low, *high], None),
            Operation::Unpack { value, .. } => (vec![*value], None),
            Operation::Shuffle {
                value,
                lane,
                clamp,
                members,
                ..
            } => (vec![*value, *lane, *clamp, *members], None),
            _ => (Vec::new(), None),
        };
        let base = address.and_then(|address| match address.base {
            Base::Register(register) => Some(register),
            Base::Start => None,
        });
        let of_operand = |operand: Operand| match operand {
            Operand::Register(register) | Operand::Not(register) => Some(register),
            _ => None,
        };
        operands
            .into_iter()
            .filter_map(of_operand)
            .chain(base)
            .collect()
    }
}
