//! Elementary functions without branches, so that loops over slices become vector code.
//!
//! In and out: numbers. Only additions and multiplications in a fixed order, hence the same bits on
//! every instruction set.

/// 1.5 · 2^52: adding it leaves the nearest integer in the low bits of a double.
const ROUND: f64 = 6_755_399_441_055_744.0;

/// e^x to about one unit in the last place; arguments are clamped to ±700.
#[inline(always)]
pub(crate) fn exp(x: f64) -> f64 {
    let x = x.clamp(-700.0, 700.0);
    // x = k·ln 2 + r with |r| ≤ ln 2 / 2; ln 2 in two parts, so that k·high is exact.
    let shifted = x * std::f64::consts::LOG2_E + ROUND;
    let k = shifted - ROUND;
    let r = (x - k * 6.931_471_803_691_238e-1) - k * 1.908_214_929_270_587_7e-10;
    let mut sum = INVERSE_FACTORIALS[12];
    let mut power = 12;
    while power > 0 {
        power -= 1;
        sum = sum * r + INVERSE_FACTORIALS[power];
    }
    // The exponent field of 2^k; the bits of `ROUND` above vanish in the shift.
    sum * f64::from_bits(shifted.to_bits().wrapping_add(1023) << 52)
}

/// 1/n!.
const INVERSE_FACTORIALS: [f64; 13] = [
    1.0,
    1.0,
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
    1.0 / 40320.0,
    1.0 / 362880.0,
    1.0 / 3628800.0,
    1.0 / 39916800.0,
    1.0 / 479001600.0,
];

/// The nearest integer of a number of magnitude below 2^51.
#[inline(always)]
pub(crate) fn round_to_i64(x: f64) -> i64 {
    ((x + ROUND).to_bits()).wrapping_sub(ROUND.to_bits()) as i64
}

/// The greatest power of two `s` with `s · max ≤ limit`; 1 for a maximum of 0.
pub(crate) fn power_of_two_scale(max: f64, limit: f64) -> f64 {
    if max <= 0.0 {
        return 1.0;
    }
    let mut exponent = (limit / max).log2().floor().clamp(-1000.0, 1000.0) as i32;
    // The logarithm may round up to an integer.
    if max * 2f64.powi(exponent) > limit {
        exponent -= 1;
    }
    2f64.powi(exponent)
}
