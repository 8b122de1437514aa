//! One statement as an instruction.

use std::collections::HashMap;

use super::code::{
    Address, Base, Instruction, Operand, Operation, Register, ShuffleMode, Space, Special, width,
};
use super::table;

/// What the names in a kernel stand for.
#[derive(Debug, Default)]
pub(super) struct Names {
    registers: HashMap<String, Register>,
    pub(super) labels: HashMap<String, u32>,
    pub(super) parameters: HashMap<String, u64>,
    pub(super) shared: HashMap<String, u64>,
}

impl Names {
    pub(super) fn n_registers(&self) -> usize {
        self.registers.len()
    }

    /// Words of 32 bits that each register takes; none for a predicate. The compiler gives the
    /// classes of registers names of their own.
    pub(super) fn register_words(&self) -> Vec<usize> {
        let mut words = vec![0; self.registers.len()];
        for (name, &register) in sorted(&self.registers) {
            words[register as usize] = match name {
                name if name.starts_with("%p") => 0,
                name if name.starts_with("%rd") || name.starts_with("%fd") => 2,
                _ => 1,
            };
        }
        words
    }

    fn register(&mut self, name: &str) -> Result<Register, String> {
        if !name.starts_with('%') {
            return Err(format!("`{name}` is not a register"));
        }
        let next = self.registers.len() as Register;
        Ok(*self.registers.entry(name.to_owned()).or_insert(next))
    }

    /// A register that is written; `_` is none.
    fn target(&mut self, name: &str) -> Result<Option<Register>, String> {
        if name == "_" {
            return Ok(None);
        }
        self.register(name).map(Some)
    }

    fn operand(&mut self, text: &str) -> Result<Operand, String> {
        if let Some(name) = text.strip_prefix('!') {
            return Ok(Operand::Not(self.register(name)?));
        }
        if let Some(bits) = immediate(text) {
            return Ok(Operand::Immediate(bits));
        }
        if let Some(special) = special(text) {
            return Ok(Operand::Special(special));
        }
        if let Some(&offset) = self.shared.get(text) {
            return Ok(Operand::Immediate(offset));
        }
        Ok(Operand::Register(self.register(text)?))
    }

    /// `[%rd1+8]`, `[kernel_param_0]`, `[shared_variable+16]`.
    fn address(&mut self, text: &str) -> Result<Address, String> {
        let inner = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .ok_or_else(|| format!("`{text}` is not an address"))?
            .trim();
        let (base, offset) = match inner.rsplit_once('+') {
            Some((base, offset)) => {
                let offset = immediate(offset.trim());
                (
                    base.trim(),
                    offset.ok_or_else(|| format!("`{text}` is not an address"))?,
                )
            }
            None => (inner, 0),
        };
        let known = self.parameters.get(base).or_else(|| self.shared.get(base));
        if let Some(&start) = known {
            return Ok(Address {
                base: Base::Start,
                offset: start.wrapping_add(offset),
            });
        }
        Ok(Address {
            base: Base::Register(self.register(base)?),
            offset,
        })
    }

    fn label(&self, name: &str) -> Result<u32, String> {
        self.labels
            .get(name)
            .copied()
            .ok_or_else(|| format!("there is no label `{name}`"))
    }
}

/// In a fixed order, since that of a hash map is none.
fn sorted(registers: &HashMap<String, Register>) -> Vec<(&str, &Register)> {
    let mut entries: Vec<(&str, &Register)> = registers
        .iter()
        .map(|(name, register)| (name.as_str(), register))
        .collect();
    entries.sort_unstable();
    entries
}

/// Reads a statement.
pub(super) fn instruction(text: &str, line: u32, names: &mut Names) -> Result<Instruction, String> {
    let (guard, text) = match text.strip_prefix('@') {
        Some(text) => {
            let (predicate, rest) = text
                .split_once(' ')
                .ok_or("a predicate without an instruction")?;
            let (name, value) = match predicate.strip_prefix('!') {
                Some(name) => (name, false),
                None => (predicate, true),
            };
            (Some((names.register(name)?, value)), rest.trim())
        }
        None => (None, text),
    };
    let (mnemonic, operands) = text.split_once(' ').unwrap_or((text, ""));
    let operands = split_operands(operands);
    let operation = operation(mnemonic, &operands, names)?;
    Ok(Instruction {
        guard,
        operation,
        line,
    })
}

fn operation(mnemonic: &str, operands: &[&str], names: &mut Names) -> Result<Operation, String> {
    let family = mnemonic.split('.').next().unwrap_or_default();
    match family {
        "ld" => load(mnemonic, operands, names),
        "st" => store(mnemonic, operands, names),
        "atom" | "red" => atomic(mnemonic, operands, names),
        "shfl" => shuffle(mnemonic, operands, names),
        _ => match (mnemonic, operands) {
            ("bra" | "bra.uni", [target]) => Ok(Operation::Branch {
                target: names.label(target)?,
            }),
            ("ret" | "exit", []) => Ok(Operation::Exit),
            ("bar.sync", ["0"]) | ("barrier.sync", ["0"]) => Ok(Operation::Barrier),
            ("membar.gl" | "membar.cta" | "fence.acq_rel.gpu" | "fence.sc.gpu", []) => {
                Ok(Operation::Fence)
            }
            ("trap", []) => Ok(Operation::Trap),
            _ => arithmetic(mnemonic, operands, names),
        },
    }
}

fn unknown(mnemonic: &str) -> String {
    format!("the instruction \"{mnemonic}\" is not known")
}

fn arithmetic(mnemonic: &str, operands: &[&str], names: &mut Names) -> Result<Operation, String> {
    match operands {
        [into, value] if into.starts_with('{') => {
            let bits = halves(mnemonic).ok_or_else(|| unknown(mnemonic))?;
            let [low, high] = pair(into)?;
            Ok(Operation::Unpack {
                bits,
                low: names.target(low)?,
                high: names.target(high)?,
                value: names.operand(value)?,
            })
        }
        [into, value] if value.starts_with('{') => {
            let bits = halves(mnemonic).ok_or_else(|| unknown(mnemonic))?;
            let [low, high] = pair(value)?;
            Ok(Operation::Pack {
                bits,
                into: names.register(into)?,
                low: names.operand(low)?,
                high: names.operand(high)?,
            })
        }
        [into, a] => {
            let compute = table::unary(mnemonic).ok_or_else(|| unknown(mnemonic))?;
            Ok(Operation::Unary {
                compute,
                into: names.register(into)?,
                a: names.operand(a)?,
            })
        }
        [into, a, b] => {
            let compute = table::binary(mnemonic).ok_or_else(|| unknown(mnemonic))?;
            Ok(Operation::Binary {
                compute,
                into: names.register(into)?,
                a: names.operand(a)?,
                b: names.operand(b)?,
            })
        }
        [into, a, b, c] => {
            let compute = table::ternary(mnemonic).ok_or_else(|| unknown(mnemonic))?;
            let operands = [names.operand(a)?, names.operand(b)?, names.operand(c)?];
            Ok(Operation::Ternary {
                compute,
                into: names.register(into)?,
                operands,
            })
        }
        // A field that is the high half: the other forms are not known.
        [into, high, low, "32", "32"] if mnemonic == "bfi.b64" => Ok(Operation::Pack {
            bits: 32,
            into: names.register(into)?,
            low: names.operand(low)?,
            high: names.operand(high)?,
        }),
        _ => Err(unknown(mnemonic)),
    }
}

/// Bits of the halves that a move joins or splits.
fn halves(mnemonic: &str) -> Option<u32> {
    match mnemonic {
        "mov.b64" => Some(32),
        "mov.b32" => Some(16),
        _ => None,
    }
}

fn pair(text: &str) -> Result<[&str; 2], String> {
    match elements(text)[..] {
        [low, high] => Ok([low, high]),
        _ => Err(format!("`{text}` is not a pair")),
    }
}

/// `{a, b}` or one alone.
fn elements(text: &str) -> Vec<&str> {
    let inner = text
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    inner.map_or(vec![text], |inner| {
        inner.split(',').map(str::trim).collect()
    })
}

/// The space, the elements of a vector, the bytes and the sign of a load or store.
fn access(mnemonic: &str) -> Result<(Space, usize, usize, bool), String> {
    let mut space = None;
    let mut n_elements = 1;
    let mut element = None;
    for suffix in mnemonic.split('.').skip(1) {
        match suffix {
            "global" => space = Some(Space::Global { read_only: false }),
            "nc" => space = Some(Space::Global { read_only: true }),
            "shared" => space = Some(Space::Shared),
            "param" => space = Some(Space::Parameter),
            "v2" => n_elements = 2,
            "v4" => n_elements = 4,
            "volatile" => {}
            name => {
                let bytes = width(name).ok_or_else(|| unknown(mnemonic))?;
                element = Some((bytes, name.starts_with('s')));
            }
        }
    }
    match (space, element) {
        (Some(space), Some((bytes, is_signed))) => Ok((space, n_elements, bytes, is_signed)),
        _ => Err(unknown(mnemonic)),
    }
}

fn load(mnemonic: &str, operands: &[&str], names: &mut Names) -> Result<Operation, String> {
    let (space, n_elements, bytes, is_signed) = access(mnemonic)?;
    let [into, address] = operands else {
        return Err(unknown(mnemonic));
    };
    let into = elements(into);
    if into.len() != n_elements {
        return Err(format!(
            "{n_elements} registers are loaded, not {}",
            into.len()
        ));
    }
    let into: Result<Vec<_>, String> = into.into_iter().map(|name| names.target(name)).collect();
    Ok(Operation::Load {
        space,
        bytes,
        is_signed,
        into: into?,
        address: names.address(address)?,
    })
}

fn store(mnemonic: &str, operands: &[&str], names: &mut Names) -> Result<Operation, String> {
    let (space, n_elements, bytes, _) = access(mnemonic)?;
    let [address, values] = operands else {
        return Err(unknown(mnemonic));
    };
    let values = elements(values);
    if values.len() != n_elements || space == Space::Parameter {
        return Err(unknown(mnemonic));
    }
    let values: Result<Vec<_>, String> =
        values.into_iter().map(|name| names.operand(name)).collect();
    Ok(Operation::Store {
        space,
        bytes,
        values: values?,
        address: names.address(address)?,
    })
}

fn atomic(mnemonic: &str, operands: &[&str], names: &mut Names) -> Result<Operation, String> {
    let (family, rest) = mnemonic.split_once('.').ok_or_else(|| unknown(mnemonic))?;
    let (space, rest) = match rest.split_once('.') {
        Some(("global", rest)) => (Space::Global { read_only: false }, rest),
        Some(("shared", rest)) => (Space::Shared, rest),
        _ => return Err(unknown(mnemonic)),
    };
    let compute = table::atomic(rest).ok_or_else(|| unknown(mnemonic))?;
    let bytes = if rest.ends_with("64") { 8 } else { 4 };
    let (into, operands) = match (family, operands) {
        ("atom", [into, operands @ ..]) => (names.target(into)?, operands),
        (_, operands) => (None, operands),
    };
    let (address, a, b) = match operands {
        [address, a] => (address, a, "0"),
        [address, a, b] => (address, a, *b),
        _ => return Err(unknown(mnemonic)),
    };
    Ok(Operation::Atomic {
        space,
        bytes,
        compute,
        into,
        address: names.address(address)?,
        operands: [names.operand(a)?, names.operand(b)?],
    })
}

fn shuffle(mnemonic: &str, operands: &[&str], names: &mut Names) -> Result<Operation, String> {
    let mode = match mnemonic {
        "shfl.sync.up.b32" => ShuffleMode::Up,
        "shfl.sync.down.b32" => ShuffleMode::Down,
        "shfl.sync.bfly.b32" => ShuffleMode::Butterfly,
        "shfl.sync.idx.b32" => ShuffleMode::Index,
        _ => return Err(unknown(mnemonic)),
    };
    let [into, value, lane, clamp, members] = operands else {
        return Err(unknown(mnemonic));
    };
    let (into, in_range) = match into.split_once('|') {
        Some((into, in_range)) => (into, names.target(in_range)?),
        None => (*into, None),
    };
    Ok(Operation::Shuffle {
        mode,
        into: names.register(into)?,
        in_range,
        value: names.operand(value)?,
        lane: names.operand(lane)?,
        clamp: names.operand(clamp)?,
        members: names.operand(members)?,
    })
}

/// The operands between commas that stand outside braces and brackets.
fn split_operands(text: &str) -> Vec<&str> {
    let mut operands = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '{' | '[' => depth += 1,
            '}' | ']' => depth -= 1,
            ',' if depth == 0 => {
                operands.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    if !text[start..].trim().is_empty() {
        operands.push(text[start..].trim());
    }
    operands
}

/// A number as bits; floats are written as their bits, after `0f` or `0d`.
fn immediate(text: &str) -> Option<u64> {
    let hexadecimal = |digits: &str| u64::from_str_radix(digits, 16).ok();
    if let Some(digits) = text.strip_prefix("0f").or(text.strip_prefix("0d")) {
        return hexadecimal(digits);
    }
    let (is_negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let digits = digits.strip_suffix('U').unwrap_or(digits);
    let number = match digits.strip_prefix("0x") {
        Some(digits) => hexadecimal(digits)?,
        None => digits.parse().ok()?,
    };
    Some(if is_negative {
        number.wrapping_neg()
    } else {
        number
    })
}

fn special(text: &str) -> Option<Special> {
    let axis = |name: &str| match name {
        "x" => Some(0),
        "y" => Some(1),
        "z" => Some(2),
        _ => None,
    };
    if text == "%laneid" {
        return Some(Special::Lane);
    }
    let (name, of) = text.strip_prefix('%')?.split_once('.')?;
    let of = axis(of)?;
    match name {
        "tid" => Some(Special::Thread(of)),
        "ntid" => Some(Special::BlockSize(of)),
        "ctaid" => Some(Special::Block(of)),
        "nctaid" => Some(Special::GridSize(of)),
        _ => None,
    }
}
