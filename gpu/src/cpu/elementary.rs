//! Exponential and logarithm for the inner loops: short polynomials that vectorise.
//!
//! In and out: one f64 of the domain that each function names. Every step is an exactly rounded
//! operation (`mul_add`, `+`, `*`, `/`) without a branch, so that the same sequence gives the same
//! bits on every CPU and in a kernel of another device. Never looks anything up.

#![allow(
    clippy::excessive_precision,
    reason = "constants are written as they are published"
)]

/// 1.5 · 2⁵²: adding it rounds to a whole number and leaves that number in the low bits.
const ROUNDER: f64 = 6_755_399_441_055_744.0;
/// The upper 33 bits of ln 2, so that a product with an exponent is exact, and the rest.
const LN_2_HIGH: f64 = 6.931_471_803_691_238_164_90e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_700_02e-10;
/// Bits of √½, where the mantissas of [`log`] begin.
const SQRT_HALF_BITS: u64 = 0x3FE6_A09E_667F_3BCD;

/// eˣ with an error below 2 ulp; x below −708 counts as −708, above 709 as 709; NaN stays NaN.
///
/// x = n·ln 2 + r with |r| ≤ ½ ln 2, and eʳ is its Taylor polynomial of degree 13, whose remainder
/// is below 2⁻⁵⁷.
#[inline(always)]
pub(super) fn exp(x: f64) -> f64 {
    let x = x.clamp(-708.0, 709.0);
    let rounded = x.mul_add(std::f64::consts::LOG2_E, ROUNDER);
    let n = rounded - ROUNDER;
    let r = n.mul_add(-LN_2_LOW, n.mul_add(-LN_2_HIGH, x));
    const INVERSE_FACTORIALS: [f64; 12] = [
        1.0 / 479_001_600.0,
        1.0 / 39_916_800.0,
        1.0 / 3_628_800.0,
        1.0 / 362_880.0,
        1.0 / 40_320.0,
        1.0 / 5_040.0,
        1.0 / 720.0,
        1.0 / 120.0,
        1.0 / 24.0,
        1.0 / 6.0,
        0.5,
        1.0,
    ];
    let mut sum = 1.0 / 6_227_020_800.0;
    for coefficient in INVERSE_FACTORIALS {
        sum = r.mul_add(sum, coefficient);
    }
    let power = f64::from_bits((rounded.to_bits() << 52).wrapping_add(1023 << 52));
    r.mul_add(sum, 1.0) * power
}

/// log(1 + t) for t in [0, 1] with an error below 2 ulp; NaN stays NaN.
#[inline(always)]
pub(super) fn log_1p(t: f64) -> f64 {
    let halved = t > std::f64::consts::SQRT_2 - 1.0;
    let (f, exponent) = if halved {
        (0.5 * (t - 1.0), 1.0)
    } else {
        (t, 0.0)
    };
    log_near_one(f, exponent)
}

/// log x for finite x ≥ 1 with an error below 2 ulp.
#[inline(always)]
pub(super) fn log(x: f64) -> f64 {
    let exponent_bits = x.to_bits().wrapping_sub(SQRT_HALF_BITS) >> 52;
    let mantissa = f64::from_bits(x.to_bits().wrapping_sub(exponent_bits << 52));
    let exponent = f64::from_bits(exponent_bits.wrapping_add(ROUNDER.to_bits())) - ROUNDER;
    log_near_one(mantissa - 1.0, exponent)
}

/// log(1 + f) + exponent·ln 2 for 1 + f in [√½, √2].
///
/// With s = f / (2 + f): log(1 + f) = f − s·(f − R(s²)), R the minimax polynomial of fdlibm's
/// `e_log.c` (Sun Microsystems 1993), whose error is below 2⁻⁵⁸.
#[inline(always)]
fn log_near_one(f: f64, exponent: f64) -> f64 {
    let s = f / (2.0 + f);
    let z = s * s;
    const COEFFICIENTS: [f64; 6] = [
        1.531_383_769_920_937_332e-1,
        1.818_357_216_161_805_012e-1,
        2.222_219_843_214_978_396e-1,
        2.857_142_874_366_239_149e-1,
        3.999_999_999_940_941_908e-1,
        6.666_666_666_666_735_130e-1,
    ];
    let mut sum = 1.479_819_860_511_658_591e-1;
    for coefficient in COEFFICIENTS {
        sum = z.mul_add(sum, coefficient);
    }
    let half_square = 0.5 * f * f;
    let tail = s.mul_add(z.mul_add(sum, half_square), exponent * LN_2_LOW);
    exponent.mul_add(LN_2_HIGH, f - (half_square - tail))
}

#[cfg(test)]
mod tests {
    use super::{exp, log, log_1p};

    fn ulps(found: f64, expected: f64) -> f64 {
        (found - expected).abs() / (expected.abs() * f64::EPSILON).max(f64::MIN_POSITIVE)
    }

    #[test]
    fn exponential_is_exact_to_two_ulps() {
        for step in -200_000..200_000 {
            let x = f64::from(step) * 0.003_538_7;
            assert!(
                ulps(exp(x), x.exp()) < 2.0,
                "exp({x}) = {}, not {}",
                exp(x),
                x.exp()
            );
        }
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(-1e9), exp(-708.0));
        assert_eq!(exp(f64::INFINITY), exp(709.0));
        assert!(exp(f64::NAN).is_nan());
    }

    #[test]
    fn logarithms_are_exact_to_two_ulps() {
        for step in 0..=400_000 {
            let t = f64::from(step) / 400_000.0;
            assert!(ulps(log_1p(t), t.ln_1p()) < 2.0, "log_1p({t})");
            let x = 1.0 + t * t * 1e6;
            assert!(
                ulps(log(x), x.ln()) < 2.0,
                "log({x}) = {}, not {}",
                log(x),
                x.ln()
            );
        }
        for exponent in -300..0 {
            let t = 10f64.powi(exponent);
            assert!(ulps(log_1p(t), t.ln_1p()) < 2.0, "log_1p({t})");
        }
        assert_eq!(log(1.0), 0.0);
        assert!(log_1p(f64::NAN).is_nan());
    }
}
