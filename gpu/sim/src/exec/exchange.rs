//! Shuffles: each lane of a warp reads a register of another.

use super::thread::{Stop, Thread};
use crate::ptx::{Kernel, Operand, Operation, ShuffleMode};

/// Lets a warp exchange if all its members have come to the same shuffle; false if not.
pub(super) fn run(kernel: &Kernel, warp: &mut [Thread]) -> bool {
    let waiting = warp.iter().find(|t| t.stop == Some(Stop::Exchange));
    let Some(position) = waiting.map(|thread| thread.position) else {
        return false;
    };
    let Operation::Shuffle {
        mode,
        into,
        in_range,
        value,
        lane,
        clamp,
        members,
    } = &kernel.code[position].operation
    else {
        return false;
    };
    let is_here = |t: &Thread| t.stop == Some(Stop::Exchange) && t.position == position;
    let read = |t: &Thread, operand: Operand| t.operand(operand).unwrap_or_default();
    let is_member = |t: &Thread| (read(t, *members) >> t.lane()) & 1 == 1;
    // Every live lane must be here, itself a member: the machine has no answer for another.
    let is_settled = |t: &Thread| t.stop == Some(Stop::Exit) || (is_here(t) && is_member(t));
    if !warp.iter().all(is_settled) {
        return false;
    }
    let values: Vec<Option<u64>> = warp
        .iter()
        .map(|thread| is_here(thread).then(|| read(thread, *value)))
        .collect();
    for (own, thread) in warp.iter_mut().enumerate() {
        if !is_here(thread) {
            continue;
        }
        let (source, is_in_range) =
            source(*mode, own as u64, read(thread, *lane), read(thread, *clamp));
        let from = if is_in_range { source as usize } else { own };
        // A lane that has left, or that the block never had, leaves its reader with poison.
        let word = values.get(from).copied().flatten();
        thread.registers[*into as usize] = word.unwrap_or(u64::from(u32::MAX));
        if let Some(register) = in_range {
            thread.registers[*register as usize] = u64::from(is_in_range);
        }
    }
    for thread in warp.iter_mut().filter(|t| t.stop != Some(Stop::Exit)) {
        thread.resume();
    }
    true
}

/// The lane that is read from, and whether it lies in the lane's segment; see `shfl.sync` in the
/// PTX ISA: bits 0–4 of `clamp` bound the lane, bits 8–12 mask the segment.
fn source(mode: ShuffleMode, own: u64, lane: u64, clamp: u64) -> (u64, bool) {
    let (lane, bound, mask) = (lane & 31, clamp & 31, (clamp >> 8) & 31);
    let most = (own & mask) | (bound & !mask);
    let least = own & mask;
    match mode {
        ShuffleMode::Up => (own.wrapping_sub(lane), own >= lane + most),
        ShuffleMode::Down => (own + lane, own + lane <= most),
        ShuffleMode::Butterfly => (own ^ lane, own ^ lane <= most),
        ShuffleMode::Index => {
            let source = least | (lane & !mask);
            (source, source <= most)
        }
    }
}
