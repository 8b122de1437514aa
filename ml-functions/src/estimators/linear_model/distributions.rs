//! Two-sided p-values of Student's t and of the normal distribution.
//!
//! In: a statistic; out: the probability of one at least as far from zero. Accurate to nine digits or more.
//! Source: Press et al. 2007, Numerical Recipes, sections 6.1, 6.2 and 6.4.

/// P(|T| ≥ |t|) with `degrees` of freedom, or of a normal variable where there are none given.
pub(super) fn two_sided_p(t: f64, degrees: Option<f64>) -> f64 {
    match degrees {
        Some(degrees) => student(t, degrees),
        None => upper_gamma_half(0.5 * t * t),
    }
}

/// Terms of a series or fraction at most; all converge far sooner.
const MAX_TERMS: u32 = 10_000;

/// The regularised incomplete beta function of x = ν / (ν + t²) with parameters ν/2 and ½.
fn student(t: f64, degrees: f64) -> f64 {
    let (a, b, ratio) = (0.5 * degrees, 0.5, t * t / degrees);
    if ratio.is_nan() || ratio == f64::INFINITY || ratio == 0.0 {
        return if ratio == 0.0 { 1.0 } else { ratio.recip() };
    }
    // 1 − x has digits of its own, which matter with many degrees of freedom.
    let (x, complement) = (1.0 / (1.0 + ratio), ratio / (1.0 + ratio));
    let log_front = log_gamma_ratio(a) - 0.5 * std::f64::consts::PI.ln() - a * ratio.ln_1p()
        + b * complement.ln();
    let front = log_front.exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(a, b, x) / a
    } else {
        1.0 - front * beta_fraction(b, a, complement) / b
    }
}

/// log Γ(a + ½) − log Γ(a): its asymptotic series beyond 20, to where a recurrence leads.
fn log_gamma_ratio(a: f64) -> f64 {
    let (mut a, mut product) = (a, 1.0f64);
    while a < 20.0 {
        product *= a / (a + 0.5);
        a += 1.0;
    }
    const SERIES: [f64; 5] = [
        -1.0 / 8.0,
        1.0 / 192.0,
        -1.0 / 640.0,
        17.0 / 14_336.0,
        -31.0 / 18_432.0,
    ];
    let y = 1.0 / (a * a);
    let series = SERIES
        .iter()
        .rev()
        .fold(0.0, |sum: f64, term| sum.mul_add(y, *term))
        / a;
    0.5 * a.ln() + series + product.ln()
}

/// The continued fraction of the incomplete beta function, by Lentz's method.
fn beta_fraction(a: f64, b: f64, x: f64) -> f64 {
    let invert = |value: f64| 1.0 / if value.abs() < 1e-300 { 1e-300 } else { value };
    let mut c = 1.0;
    let mut d = invert(1.0 - (a + b) * x / (a + 1.0));
    let mut fraction = d;
    for term in 1..MAX_TERMS {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        for numerator in [even, odd] {
            d = invert(numerator.mul_add(d, 1.0));
            c = 1.0 + numerator * invert(c);
            fraction *= c * d;
        }
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    fraction
}

/// The regularised upper incomplete gamma function of ½.
fn upper_gamma_half(x: f64) -> f64 {
    if x.is_nan() {
        return f64::NAN;
    }
    if x == 0.0 || x == f64::INFINITY {
        return if x == 0.0 { 1.0 } else { 0.0 };
    }
    let front = (0.5 * x.ln() - x).exp() / std::f64::consts::PI.sqrt();
    if x < 1.5 {
        let (mut term, mut sum) = (2.0, 2.0);
        for k in 1..MAX_TERMS {
            term *= x / (0.5 + f64::from(k));
            sum += term;
            if term < sum * 1e-17 {
                break;
            }
        }
        return 1.0 - front * sum;
    }
    let mut b = x + 0.5;
    let mut c = 1e300;
    let mut d = 1.0 / b;
    let mut fraction = d;
    for k in 1..MAX_TERMS {
        let k = f64::from(k);
        let numerator = -k * (k - 0.5);
        b += 2.0;
        d = 1.0 / numerator.mul_add(d, b);
        c = b + numerator / c;
        fraction *= c * d;
        if (c * d - 1.0).abs() < 1e-16 {
            break;
        }
    }
    front * fraction
}

#[cfg(test)]
mod tests {
    use super::two_sided_p;

    /// (t, degrees, p), by `2 * scipy.stats.t.sf(t, degrees)` and `2 * scipy.stats.norm.sf(t)`;
    /// see tests/reference/linear_model.py.
    #[test]
    fn p_values_agree_with_scipy() {
        let cases: Vec<(f64, Option<f64>, f64)> =
            serde_json::from_str(include_str!("../../../tests/reference/p_values.json"))
                .expect("the file is valid");
        for (t, degrees, expected) in cases {
            let found = two_sided_p(t, degrees);
            let error = (found - expected).abs() / expected.max(1e-300);
            assert!(
                error < 1e-9,
                "p({t}, {degrees:?}) = {found}, not {expected}"
            );
        }
    }

    #[test]
    fn extremes_stay_in_range() {
        assert_eq!(two_sided_p(0.0, Some(5.0)), 1.0);
        assert_eq!(two_sided_p(0.0, None), 1.0);
        assert_eq!(two_sided_p(f64::INFINITY, Some(5.0)), 0.0);
        assert_eq!(two_sided_p(f64::INFINITY, None), 0.0);
        assert!(two_sided_p(f64::NAN, None).is_nan());
        assert!(two_sided_p(1e200, None) < 1e-300);
    }
}
