//! How many registers are alive at once: a lower bound of what the machine's compiler can reach.
//!
//! In: the code of a kernel; out: the most 32-bit words in registers that some later instruction still
//! reads. Liveness is solved backwards until nothing changes.

use super::code::{Instruction, Operation};

/// The most words alive before any instruction; `words[r]` is what register `r` takes, 0 for a
/// predicate, which has a file of its own.
pub(super) fn most_alive(code: &[Instruction], words: &[usize]) -> usize {
    let n = words.len();
    let mut alive = vec![vec![false; n]; code.len() + 1];
    let mut changed = true;
    while changed {
        changed = false;
        for (position, instruction) in code.iter().enumerate().rev() {
            let mut live = vec![false; n];
            for successor in successors(instruction, position) {
                for (into, from) in live.iter_mut().zip(&alive[successor.min(code.len())]) {
                    *into |= from;
                }
            }
            if instruction.guard.is_none() {
                for register in instruction.operation.writes() {
                    live[register as usize] = false;
                }
            }
            let guard = instruction.guard.map(|(register, _)| register);
            for register in instruction.operation.reads().into_iter().chain(guard) {
                live[register as usize] = true;
            }
            if live != alive[position] {
                alive[position] = live;
                changed = true;
            }
        }
    }
    let count = |live: &Vec<bool>| -> usize {
        let alive = live.iter().zip(words).filter(|(live, _)| **live);
        alive.map(|(_, words)| words).sum()
    };
    alive.iter().map(count).max().unwrap_or(0)
}

fn successors(instruction: &Instruction, position: usize) -> Vec<usize> {
    match instruction.operation {
        Operation::Branch { target } if instruction.guard.is_some() => {
            vec![target as usize, position + 1]
        }
        Operation::Branch { target } => vec![target as usize],
        Operation::Exit | Operation::Trap if instruction.guard.is_none() => Vec::new(),
        _ => vec![position + 1],
    }
}
