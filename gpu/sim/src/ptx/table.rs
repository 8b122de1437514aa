//! Every arithmetic instruction that is known, by its full name.
//!
//! In: a mnemonic with its suffixes; out: a function over the bits of its operands. A register holds
//! its value in the low bits, the rest zero. Rounding is to the nearest even, as `.rn` asks; an
//! instruction with another rounding, or one that approximates, is not known.

use super::code::AtomicOperation;

fn single(bits: u64) -> f32 {
    f32::from_bits(bits as u32)
}

fn double(bits: u64) -> f64 {
    f64::from_bits(bits)
}

fn of_single(x: f32) -> u64 {
    u64::from(x.to_bits())
}

/// A whole number of 32 bits with a sign, as a register holds it.
fn of_signed(x: i32) -> u64 {
    u64::from(x as u32)
}

/// Moves, conversions and functions of one operand.
pub(super) fn unary(name: &str) -> Option<fn(u64) -> u64> {
    moving(name).or_else(|| converting(name)).or(match name {
        "neg.s32" => Some(|a| of_signed((a as i32).wrapping_neg())),
        "neg.s64" => Some(u64::wrapping_neg),
        "neg.f32" => Some(|a| of_single(-single(a))),
        "neg.f64" => Some(|a| (-double(a)).to_bits()),
        "abs.s32" => Some(|a| u64::from((a as i32).unsigned_abs())),
        "abs.f32" => Some(|a| of_single(single(a).abs())),
        "abs.f64" => Some(|a| double(a).abs().to_bits()),
        "not.b16" => Some(|a| u64::from(!(a as u16))),
        "not.b32" => Some(|a| u64::from(!(a as u32))),
        "not.b64" => Some(|a| !a),
        "not.pred" => Some(|a| u64::from(a == 0)),
        "popc.b32" => Some(|a| u64::from((a as u32).count_ones())),
        "sqrt.rn.f32" => Some(|a| of_single(single(a).sqrt())),
        "sqrt.rn.f64" => Some(|a| double(a).sqrt().to_bits()),
        "rcp.rn.f32" => Some(|a| of_single(1.0 / single(a))),
        "rcp.rn.f64" => Some(|a| (1.0 / double(a)).to_bits()),
        _ => None,
    })
}

/// Moves; addresses of global and shared memory are what they are counted from.
fn moving(name: &str) -> Option<fn(u64) -> u64> {
    match name {
        // An immediate operand comes with the sign of 64 bits.
        "mov.b16" | "mov.u16" | "mov.s16" => Some(|a| u64::from(a as u16)),
        "mov.b32" | "mov.u32" | "mov.s32" | "mov.f32" => Some(|a| u64::from(a as u32)),
        "mov.b64" | "mov.u64" | "mov.s64" | "mov.f64" | "mov.pred" | "cvta.to.global.u64" => {
            Some(|a| a)
        }
        _ => None,
    }
}

fn converting(name: &str) -> Option<fn(u64) -> u64> {
    Some(match name {
        "cvt.u64.u32" | "cvt.u32.u16" | "cvt.u32.u8" | "cvt.u16.u8" | "cvt.u64.u16"
        | "cvt.u64.u8" | "cvt.s64.u32" => |a| a,
        "cvt.u32.u64" | "cvt.s32.s64" | "cvt.u32.s64" => |a| u64::from(a as u32),
        "cvt.u16.u32" | "cvt.u16.u64" => |a| u64::from(a as u16),
        "cvt.s64.s32" => |a| i64::from(a as i32) as u64,
        "cvt.s32.s16" => |a| of_signed(i32::from(a as i16)),
        "cvt.s32.s8" => |a| of_signed(i32::from(a as i8)),
        "cvt.rn.f32.s32" => |a| of_single(a as i32 as f32),
        "cvt.rn.f32.u32" => |a| of_single(a as u32 as f32),
        "cvt.rn.f32.f64" => |a| of_single(double(a) as f32),
        "cvt.f64.f32" => |a| f64::from(single(a)).to_bits(),
        "cvt.rn.f64.s32" => |a| f64::from(a as i32).to_bits(),
        "cvt.rn.f64.u32" => |a| f64::from(a as u32).to_bits(),
        "cvt.rn.f64.s64" => |a| (a as i64 as f64).to_bits(),
        "cvt.rn.f64.u64" => |a| (a as f64).to_bits(),
        "cvt.rzi.s32.f64" => |a| of_signed(double(a) as i32),
        "cvt.rzi.s64.f64" => |a| (double(a) as i64) as u64,
        "cvt.rzi.u32.f64" => |a| u64::from(double(a) as u32),
        "cvt.rni.s32.f64" => |a| of_signed(double(a).round_ties_even() as i32),
        "cvt.rni.s64.f64" => |a| (double(a).round_ties_even() as i64) as u64,
        _ => return None,
    })
}

/// Functions of two operands; a comparison gives 1 or 0.
pub(super) fn binary(name: &str) -> Option<fn(u64, u64) -> u64> {
    whole_numbers(name)
        .or_else(|| bits(name))
        .or_else(|| floats(name))
        .or_else(|| whole_number_comparisons(name))
        .or_else(|| float_comparisons(name))
}

fn whole_numbers(name: &str) -> Option<fn(u64, u64) -> u64> {
    Some(match name {
        "add.s32" | "add.u32" => |a, b| u64::from((a as u32).wrapping_add(b as u32)),
        "add.s64" | "add.u64" => u64::wrapping_add,
        "add.s16" | "add.u16" => |a, b| u64::from((a as u16).wrapping_add(b as u16)),
        "sub.s32" | "sub.u32" => |a, b| u64::from((a as u32).wrapping_sub(b as u32)),
        "sub.s64" | "sub.u64" => u64::wrapping_sub,
        "mul.lo.s32" | "mul.lo.u32" => |a, b| u64::from((a as u32).wrapping_mul(b as u32)),
        "mul.lo.s64" | "mul.lo.u64" => u64::wrapping_mul,
        "mul.hi.u32" => |a, b| ((a as u32 as u64) * (b as u32 as u64)) >> 32,
        "mul.wide.u32" => |a, b| (a as u32 as u64) * (b as u32 as u64),
        "mul.wide.s32" => |a, b| (i64::from(a as i32) * i64::from(b as i32)) as u64,
        "mul.wide.u16" => |a, b| u64::from(u32::from(a as u16) * u32::from(b as u16)),
        // The machine's answer to a division by zero is all ones.
        "div.u32" => |a, b| u64::from((a as u32).checked_div(b as u32).unwrap_or(u32::MAX)),
        "div.s32" => |a, b| match b as i32 {
            0 => u64::from(u32::MAX),
            b => of_signed((a as i32).wrapping_div(b)),
        },
        "div.u64" => |a, b| a.checked_div(b).unwrap_or(u64::MAX),
        "rem.u32" => |a, b| u64::from((a as u32).checked_rem(b as u32).unwrap_or(a as u32)),
        "rem.u64" => |a, b| a.checked_rem(b).unwrap_or(a),
        "min.u32" => |a, b| u64::from((a as u32).min(b as u32)),
        "max.u32" => |a, b| u64::from((a as u32).max(b as u32)),
        "min.s32" => |a, b| of_signed((a as i32).min(b as i32)),
        "max.s32" => |a, b| of_signed((a as i32).max(b as i32)),
        "min.u64" => u64::min,
        "max.u64" => u64::max,
        "min.s64" => |a, b| (a as i64).min(b as i64) as u64,
        "max.s64" => |a, b| (a as i64).max(b as i64) as u64,
        _ => return None,
    })
}

fn bits(name: &str) -> Option<fn(u64, u64) -> u64> {
    Some(match name {
        "and.b16" => |a, b| u64::from((a & b) as u16),
        "or.b16" => |a, b| u64::from((a | b) as u16),
        "and.b32" => |a, b| u64::from((a & b) as u32),
        "or.b32" => |a, b| u64::from((a | b) as u32),
        "xor.b32" => |a, b| u64::from((a ^ b) as u32),
        "and.b64" | "and.pred" => |a, b| a & b,
        "or.b64" | "or.pred" => |a, b| a | b,
        "xor.b64" | "xor.pred" => |a, b| a ^ b,
        // Shifts beyond the width shift everything out.
        "shl.b32" => |a, b| u64::from((a as u32).checked_shl(b as u32).unwrap_or(0)),
        "shl.b64" => |a, b| a.checked_shl(b as u32).unwrap_or(0),
        "shr.u32" => |a, b| u64::from((a as u32).checked_shr(b as u32).unwrap_or(0)),
        "shr.u64" => |a, b| a.checked_shr(b as u32).unwrap_or(0),
        "shr.s32" => |a, b| of_signed((a as i32) >> (b as u32).min(31)),
        "shr.s64" => |a, b| ((a as i64) >> (b as u32).min(63)) as u64,
        "shr.u16" => |a, b| u64::from((a as u16).checked_shr(b as u32).unwrap_or(0)),
        _ => return None,
    })
}

fn floats(name: &str) -> Option<fn(u64, u64) -> u64> {
    Some(match name {
        "add.f32" | "add.rn.f32" => |a, b| of_single(single(a) + single(b)),
        "sub.f32" | "sub.rn.f32" => |a, b| of_single(single(a) - single(b)),
        "mul.f32" | "mul.rn.f32" => |a, b| of_single(single(a) * single(b)),
        "div.rn.f32" => |a, b| of_single(single(a) / single(b)),
        "add.f64" | "add.rn.f64" => |a, b| (double(a) + double(b)).to_bits(),
        "sub.f64" | "sub.rn.f64" => |a, b| (double(a) - double(b)).to_bits(),
        "mul.f64" | "mul.rn.f64" => |a, b| (double(a) * double(b)).to_bits(),
        "div.rn.f64" => |a, b| (double(a) / double(b)).to_bits(),
        // A number wins over NaN.
        "min.f32" => |a, b| of_single(single(a).min(single(b))),
        "max.f32" => |a, b| of_single(single(a).max(single(b))),
        "min.f64" => |a, b| double(a).min(double(b)).to_bits(),
        "max.f64" => |a, b| double(a).max(double(b)).to_bits(),
        _ => return None,
    })
}

fn whole_number_comparisons(name: &str) -> Option<fn(u64, u64) -> u64> {
    Some(match name {
        "setp.eq.s32" | "setp.eq.u32" | "setp.eq.b32" => |a, b| u64::from(a as u32 == b as u32),
        "setp.ne.s32" | "setp.ne.u32" | "setp.ne.b32" => |a, b| u64::from(a as u32 != b as u32),
        "setp.lt.s32" => |a, b| u64::from((a as i32) < b as i32),
        "setp.le.s32" => |a, b| u64::from(a as i32 <= b as i32),
        "setp.gt.s32" => |a, b| u64::from(a as i32 > b as i32),
        "setp.ge.s32" => |a, b| u64::from(a as i32 >= b as i32),
        "setp.lt.u32" => |a, b| u64::from((a as u32) < b as u32),
        "setp.le.u32" => |a, b| u64::from(a as u32 <= b as u32),
        "setp.gt.u32" => |a, b| u64::from(a as u32 > b as u32),
        "setp.ge.u32" => |a, b| u64::from(a as u32 >= b as u32),
        "setp.eq.s64" | "setp.eq.u64" | "setp.eq.b64" => |a, b| u64::from(a == b),
        "setp.ne.s64" | "setp.ne.u64" | "setp.ne.b64" => |a, b| u64::from(a != b),
        "setp.lt.s64" => |a, b| u64::from((a as i64) < b as i64),
        "setp.le.s64" => |a, b| u64::from(a as i64 <= b as i64),
        "setp.gt.s64" => |a, b| u64::from(a as i64 > b as i64),
        "setp.ge.s64" => |a, b| u64::from(a as i64 >= b as i64),
        "setp.lt.u64" => |a, b| u64::from(a < b),
        "setp.le.u64" => |a, b| u64::from(a <= b),
        "setp.gt.u64" => |a, b| u64::from(a > b),
        "setp.ge.u64" => |a, b| u64::from(a >= b),
        "setp.eq.s16" | "setp.eq.b16" => |a, b| u64::from(a as u16 == b as u16),
        "setp.ne.s16" | "setp.ne.b16" => |a, b| u64::from(a as u16 != b as u16),
        _ => return None,
    })
}

/// Comparisons with a `u` hold where an operand is NaN, `num` where none is, `nan` where one is.
fn float_comparisons(name: &str) -> Option<fn(u64, u64) -> u64> {
    fn is_unordered(a: f64, b: f64) -> bool {
        a.is_nan() || b.is_nan()
    }
    let (suffix, _) = name.strip_prefix("setp.")?.rsplit_once('.')?;
    let is_single = name.ends_with(".f32");
    if !is_single && !name.ends_with(".f64") {
        return None;
    }
    macro_rules! both {
        ($test:expr) => {
            if is_single {
                |a, b| u64::from($test(f64::from(single(a)), f64::from(single(b))))
            } else {
                |a, b| u64::from($test(double(a), double(b)))
            }
        };
    }
    Some(match suffix {
        "eq" => both!(|a: f64, b: f64| a == b),
        "ne" => both!(|a: f64, b: f64| a != b && !is_unordered(a, b)),
        "lt" => both!(|a: f64, b: f64| a < b),
        "le" => both!(|a: f64, b: f64| a <= b),
        "gt" => both!(|a: f64, b: f64| a > b),
        "ge" => both!(|a: f64, b: f64| a >= b),
        "equ" => both!(|a: f64, b: f64| a == b || is_unordered(a, b)),
        "neu" => both!(|a: f64, b: f64| a != b),
        "ltu" => both!(|a: f64, b: f64| a < b || is_unordered(a, b)),
        "leu" => both!(|a: f64, b: f64| a <= b || is_unordered(a, b)),
        "gtu" => both!(|a: f64, b: f64| a > b || is_unordered(a, b)),
        "geu" => both!(|a: f64, b: f64| a >= b || is_unordered(a, b)),
        "num" => both!(|a: f64, b: f64| !is_unordered(a, b)),
        "nan" => both!(is_unordered),
        _ => return None,
    })
}

/// Functions of three operands.
pub(super) fn ternary(name: &str) -> Option<fn(u64, u64, u64) -> u64> {
    Some(match name {
        "mad.lo.s32" | "mad.lo.u32" => {
            |a, b, c| u64::from((a as u32).wrapping_mul(b as u32).wrapping_add(c as u32))
        }
        "mad.lo.s64" | "mad.lo.u64" => |a, b, c| a.wrapping_mul(b).wrapping_add(c),
        "mad.wide.u32" => |a, b, c| (u64::from(a as u32) * u64::from(b as u32)).wrapping_add(c),
        "fma.rn.f32" => |a, b, c| of_single(single(a).mul_add(single(b), single(c))),
        "fma.rn.f64" => |a, b, c| double(a).mul_add(double(b), double(c)).to_bits(),
        "selp.b16" | "selp.u16" => |a, b, chosen| u64::from(if chosen != 0 { a } else { b } as u16),
        "selp.b32" | "selp.u32" | "selp.s32" | "selp.f32" => {
            |a, b, chosen| u64::from(if chosen != 0 { a } else { b } as u32)
        }
        "selp.b64" | "selp.u64" | "selp.s64" | "selp.f64" => {
            |a, b, chosen| if chosen != 0 { a } else { b }
        }
        // The low word is `a`, the high word `b`; the shift wraps around.
        "shf.l.wrap.b32" => |a, b, c| {
            let both = (u64::from(b as u32) << 32) | u64::from(a as u32);
            (both << (c & 31)) >> 32
        },
        "shf.r.wrap.b32" => |a, b, c| {
            let both = (u64::from(b as u32) << 32) | u64::from(a as u32);
            u64::from((both >> (c & 31)) as u32)
        },
        "prmt.b32" => |a, b, selector| {
            let bytes = (u64::from(b as u32) << 32) | u64::from(a as u32);
            let chosen =
                (0..4).map(|place| chosen_byte(bytes, selector >> (4 * place)) << (8 * place));
            chosen.sum()
        },
        _ => return None,
    })
}

/// The byte that the low four bits of a selector name: three bits for which, one for its sign instead.
fn chosen_byte(bytes: u64, selector: u64) -> u64 {
    let byte = (bytes >> (8 * (selector & 7))) & 0xff;
    match selector & 8 {
        0 => byte,
        _ => (byte >> 7) * 0xff,
    }
}

/// Atomic operations by what stands behind the state space. There is none on floats: their sums
/// would depend on the order of the threads.
pub(super) fn atomic(name: &str) -> Option<AtomicOperation> {
    Some(match name {
        "add.u32" | "add.s32" => |old, a, _| u64::from((old as u32).wrapping_add(a as u32)),
        "add.u64" => |old, a, _| old.wrapping_add(a),
        "min.u32" => |old, a, _| u64::from((old as u32).min(a as u32)),
        "max.u32" => |old, a, _| u64::from((old as u32).max(a as u32)),
        "exch.b32" => |_, a, _| u64::from(a as u32),
        "cas.b32" => |old, a, b| {
            if old as u32 == a as u32 {
                u64::from(b as u32)
            } else {
                old
            }
        },
        _ => return None,
    })
}
