//! `FARM_FINGERPRINT`: FarmHash's 64-bit fingerprint, by which rows are split the same way everywhere.
//!
//! In: text or bytes; out: the fingerprint as a signed number.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array};
use datafusion::arrow::datatypes::DataType;

use super::super::call::{Function, function};

// The constants of the published algorithm: primes between 2^63 and 2^64.
const K0: u64 = 0xc3a5_c85c_97cb_3127;
const K1: u64 = 0xb492_b66f_be98_f273;
const K2: u64 = 0x9ae1_6a3b_2f90_404f;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![function(
        "farm_fingerprint",
        &[1],
        DataType::Int64,
        |call| {
            let bytes = call.converted(0, &DataType::Binary)?;
            let prints = bytes.as_binary::<i32>().iter();
            let prints = prints.map(|bytes| bytes.map(|bytes| fingerprint64(bytes) as i64));
            let column: ArrayRef = Arc::new(prints.collect::<Int64Array>());
            Ok(column)
        },
    )]
}

/// FarmHash's Fingerprint64, which is stable for ever and on every machine.
///
/// Source: Pike, Alakuijala: FarmHash 1.1, `farmhashna::Hash64`.
pub(in crate::functions) fn fingerprint64(s: &[u8]) -> u64 {
    match s.len() {
        0..=16 => up_to_16(s),
        17..=32 => up_to_32(s),
        33..=64 => up_to_64(s),
        _ => long(s),
    }
}

/// The eight bytes at a place, the least first.
fn word(s: &[u8], at: usize) -> u64 {
    s[at..at + 8]
        .iter()
        .rev()
        .fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

fn half(s: &[u8], at: usize) -> u64 {
    s[at..at + 4]
        .iter()
        .rev()
        .fold(0, |word, byte| (word << 8) | u64::from(*byte))
}

fn mix(value: u64) -> u64 {
    value ^ (value >> 47)
}

fn joined(u: u64, v: u64, factor: u64) -> u64 {
    let a = mix((u ^ v).wrapping_mul(factor));
    mix((v ^ a).wrapping_mul(factor)).wrapping_mul(factor)
}

fn factor(s: &[u8]) -> u64 {
    K2.wrapping_add(s.len() as u64 * 2)
}

fn up_to_16(s: &[u8]) -> u64 {
    let n = s.len();
    if n >= 8 {
        let factor = factor(s);
        let a = word(s, 0).wrapping_add(K2);
        let b = word(s, n - 8);
        let c = b.rotate_right(37).wrapping_mul(factor).wrapping_add(a);
        let d = a.rotate_right(25).wrapping_add(b).wrapping_mul(factor);
        return joined(c, d, factor);
    }
    if n >= 4 {
        let first = half(s, 0) << 3;
        return joined(first.wrapping_add(n as u64), half(s, n - 4), factor(s));
    }
    if n == 0 {
        return K2;
    }
    let (a, b, c) = (u64::from(s[0]), u64::from(s[n / 2]), u64::from(s[n - 1]));
    let y = a + (b << 8);
    let z = n as u64 + (c << 2);
    mix(y.wrapping_mul(K2) ^ z.wrapping_mul(K0)).wrapping_mul(K2)
}

fn up_to_32(s: &[u8]) -> u64 {
    let (n, factor) = (s.len(), factor(s));
    let a = word(s, 0).wrapping_mul(K1);
    let b = word(s, 8);
    let c = word(s, n - 8).wrapping_mul(factor);
    let d = word(s, n - 16).wrapping_mul(K2);
    let (u, v) = rotated(a, b, c, d);
    joined(u, v, factor)
}

/// The two sums of four words that the middle lengths share.
fn rotated(a: u64, b: u64, c: u64, d: u64) -> (u64, u64) {
    let u = a
        .wrapping_add(b)
        .rotate_right(43)
        .wrapping_add(c.rotate_right(30))
        .wrapping_add(d);
    let v = a
        .wrapping_add(b.wrapping_add(K2).rotate_right(18))
        .wrapping_add(c);
    (u, v)
}

fn up_to_64(s: &[u8]) -> u64 {
    let (n, factor) = (s.len(), factor(s));
    let a = word(s, 0).wrapping_mul(K2);
    let b = word(s, 8);
    let c = word(s, n - 8).wrapping_mul(factor);
    let d = word(s, n - 16).wrapping_mul(K2);
    let (y, v) = rotated(a, b, c, d);
    let z = joined(y, v, factor);
    let e = word(s, 16).wrapping_mul(factor);
    let f = word(s, 24);
    let g = y.wrapping_add(word(s, n - 32)).wrapping_mul(factor);
    let h = z.wrapping_add(word(s, n - 24)).wrapping_mul(factor);
    let u = e
        .wrapping_add(f)
        .rotate_right(43)
        .wrapping_add(g.rotate_right(30))
        .wrapping_add(h);
    let v = e
        .wrapping_add(f.wrapping_add(a).rotate_right(18))
        .wrapping_add(g);
    joined(u, v, factor)
}

/// A hash of 32 bytes that depends on two seeds.
fn of_32(s: &[u8], at: usize, seeds: (u64, u64)) -> (u64, u64) {
    let a = seeds.0.wrapping_add(word(s, at));
    let last = word(s, at + 24);
    let b = seeds.1.wrapping_add(a).wrapping_add(last).rotate_right(21);
    let sum = a
        .wrapping_add(word(s, at + 8))
        .wrapping_add(word(s, at + 16));
    let b = b.wrapping_add(sum.rotate_right(44));
    (sum.wrapping_add(last), b.wrapping_add(a))
}

fn long(s: &[u8]) -> u64 {
    const SEED: u64 = 81;
    let mut x = SEED.wrapping_mul(K2).wrapping_add(word(s, 0));
    let mut y = SEED.wrapping_mul(K1).wrapping_add(113);
    let mut z = mix(y.wrapping_mul(K2).wrapping_add(113)).wrapping_mul(K2);
    let (mut v, mut w) = ((0_u64, 0_u64), (0_u64, 0_u64));
    let left = (s.len() - 1) % 64;
    let end = s.len() - 1 - left;
    let mut at = 0;
    while at < end {
        let sum = x.wrapping_add(y).wrapping_add(v.0);
        x = sum
            .wrapping_add(word(s, at + 8))
            .rotate_right(37)
            .wrapping_mul(K1);
        let sum = y.wrapping_add(v.1).wrapping_add(word(s, at + 48));
        y = sum.rotate_right(42).wrapping_mul(K1);
        x ^= w.1;
        y = y.wrapping_add(v.0).wrapping_add(word(s, at + 40));
        z = z.wrapping_add(w.0).rotate_right(33).wrapping_mul(K1);
        v = of_32(s, at, (v.1.wrapping_mul(K1), x.wrapping_add(w.0)));
        let seeds = (z.wrapping_add(w.1), y.wrapping_add(word(s, at + 16)));
        w = of_32(s, at + 32, seeds);
        std::mem::swap(&mut z, &mut x);
        at += 64;
    }
    // The last 64 bytes, which may overlap those before.
    let factor = K1.wrapping_add((z & 0xff) << 1);
    let at = s.len() - 64;
    w.0 = w.0.wrapping_add(left as u64);
    v.0 = v.0.wrapping_add(w.0);
    w.0 = w.0.wrapping_add(v.0);
    let sum = x.wrapping_add(y).wrapping_add(v.0);
    x = sum
        .wrapping_add(word(s, at + 8))
        .rotate_right(37)
        .wrapping_mul(factor);
    let sum = y.wrapping_add(v.1).wrapping_add(word(s, at + 48));
    y = sum.rotate_right(42).wrapping_mul(factor);
    x ^= w.1.wrapping_mul(9);
    y = y
        .wrapping_add(v.0.wrapping_mul(9))
        .wrapping_add(word(s, at + 40));
    z = z.wrapping_add(w.0).rotate_right(33).wrapping_mul(factor);
    v = of_32(s, at, (v.1.wrapping_mul(factor), x.wrapping_add(w.0)));
    let seeds = (z.wrapping_add(w.1), y.wrapping_add(word(s, at + 16)));
    w = of_32(s, at + 32, seeds);
    std::mem::swap(&mut z, &mut x);
    let first = joined(v.0, w.0, factor)
        .wrapping_add(mix(y).wrapping_mul(K0))
        .wrapping_add(z);
    joined(first, joined(v.1, w.1, factor).wrapping_add(x), factor)
}

#[cfg(test)]
mod tests {
    use super::fingerprint64;

    /// Source: pyfarmhash 0.5.1, `fingerprint64`; the first three are in BigQuery's documentation.
    #[test]
    fn fingerprints_are_those_of_farmhash() {
        let digits = "0123456789".repeat(20);
        let x = "x".repeat(65);
        for (text, expected) in [
            ("1footrue", -1541654101129638711),
            ("2applefalse", 2794438866806483259),
            ("3true", -4880158226897771312),
            ("", -7286425919675154353),
            ("a", -5528939962900187677),
            ("abcd", 1897425971756105985),
            (&x[..16], 3320895591121647644),
            ("The quick brown fox", -517306638013326363),
            (&x[..32], -5545167349709743099),
            (&digits[..50], -3657874143320631032),
            (&x[..64], 6916188127298655160),
            (&x, 4935023790501551929),
            (&digits[..100], 5075634454939960746),
            (&digits, -8783659046506036331),
        ] {
            assert_eq!(fingerprint64(text.as_bytes()) as i64, expected, "{text}");
        }
    }
}
