//! Gauss–Legendre points on [0, 1], in groups that fill the lanes of a register.
//!
//! In: the degree of a polynomial; out: points and weights that integrate it exactly but for rounding.

use std::f64::consts::PI;

/// Points in a group.
pub(super) const LANES: usize = 4;

/// Some points of a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct PointGroup {
    /// `y`, the probability that a feature is present.
    pub(super) present: [f64; LANES],
    /// `1 − y`.
    pub(super) absent: [f64; LANES],
    /// The weights.
    pub(super) weights: [f64; LANES],
}

/// A rule of whole groups that is exact for polynomials of the degree: `n` points are for `2n − 1`.
///
/// Source: the points are the roots of the Legendre polynomial `P_n`, found by Newton's iterations
/// from Tricomi's estimate; the weights on [−1, 1] are `2 / ((1 − x²)·P_n′(x)²)`.
pub(super) fn point_groups(degree: usize) -> Vec<PointGroup> {
    let n_groups = (degree / 2 + 1).div_ceil(LANES);
    let n_points = n_groups * LANES;
    let empty = PointGroup {
        present: [0.0; LANES],
        absent: [0.0; LANES],
        weights: [0.0; LANES],
    };
    let mut groups = vec![empty; n_groups];
    // The points lie symmetrically; `1 − x` is exact where `x` is near 1 and is never 0.
    for index in 0..n_points / 2 {
        let (x, derivative) = legendre_root(n_points, index);
        let weight = 1.0 / ((1.0 - x) * (1.0 + x) * derivative * derivative);
        let (near, far) = ((1.0 - x) / 2.0, (1.0 + x) / 2.0);
        let mirrored = n_points - 1 - index;
        for (place, present, absent) in [(index, near, far), (mirrored, far, near)] {
            let (group, lane) = (&mut groups[place / LANES], place % LANES);
            group.present[lane] = present;
            group.absent[lane] = absent;
            group.weights[lane] = weight;
        }
    }
    groups
}

/// The `index`-th largest root of `P_n`, and `P_n′` there.
fn legendre_root(n: usize, index: usize) -> (f64, f64) {
    let degree = n as f64;
    let angle = PI * (index as f64 + 0.75) / (degree + 0.5);
    let mut x = (1.0 - (degree - 1.0) / (8.0 * degree.powi(3))) * angle.cos();
    let mut derivative = 1.0;
    // Convergence is quadratic from an estimate that is right to 1e-3 or better.
    for _ in 0..6 {
        // The recurrence k·P_k = (2k − 1)·x·P_{k−1} − (k − 1)·P_{k−2}.
        let (mut before, mut value) = (1.0, x);
        for k in 2..=n {
            let k = k as f64;
            (before, value) = (
                value,
                ((2.0 * k - 1.0) * x * value - (k - 1.0) * before) / k,
            );
        }
        derivative = degree * (before - x * value) / ((1.0 - x) * (1.0 + x));
        x -= value / derivative;
    }
    (x, derivative)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_are_integrated_exactly() {
        for degree in [0, 1, 6, 7, 8, 15, 59, 200] {
            let groups = point_groups(degree);
            for power in 0..=degree {
                let mut sum = 0.0;
                for group in &groups {
                    for lane in 0..LANES {
                        sum += group.weights[lane] * group.present[lane].powi(power as i32);
                    }
                }
                let exact = 1.0 / (power as f64 + 1.0);
                assert!(
                    (sum / exact - 1.0).abs() < 1e-12,
                    "x^{power}, degree {degree}: {sum}"
                );
            }
        }
    }
}
