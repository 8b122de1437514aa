//! Count, mean, spread and range of numbers, to be merged along a tree.
//!
//! In: the values of a column in one chunk; out: moments that do not depend on how rows were batched,
//! and whether a value is among them that no model can learn from.

use serde::{Deserialize, Serialize};

use super::columns::Element;
use crate::error::{Error, Result};

/// Beyond it the square of a value, or a sum of squares, leaves the range of f64.
const MAX_MAGNITUDE: f64 = 1e150;

/// Count, mean and squared deviations of some numbers.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Moments {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    pub(crate) squared_deviations: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    /// The first value that is infinite or too large.
    pub(crate) bad: Option<f64>,
    /// How many such values there are.
    pub(crate) n_bad: u64,
}

impl Moments {
    /// The moments of the values that are not NaN; moves them to the front of `values`.
    pub(crate) fn of<T: Element>(values: &mut Vec<T>) -> Moments {
        let (sum, has_nan) = pulp::Arch::new().dispatch(|| sum_in_lanes(values));
        let sum = if has_nan {
            values.retain(|value| !value.to_f64().is_nan());
            pulp::Arch::new().dispatch(|| sum_in_lanes(values)).0
        } else {
            sum
        };
        if values.is_empty() {
            return Moments::default();
        }
        let mean = sum / values.len() as f64;
        let (squared_deviations, min, max) =
            pulp::Arch::new().dispatch(|| spread_in_lanes(values, mean));
        let is_bad = |value: &f64| value.abs() > MAX_MAGNITUDE;
        let mut bad = None;
        let mut n_bad = 0;
        if is_bad(&min) || is_bad(&max) {
            let found = || values.iter().map(|value| value.to_f64()).filter(is_bad);
            (bad, n_bad) = (found().next(), found().count() as u64);
        }
        Moments {
            count: values.len() as u64,
            mean,
            squared_deviations,
            min,
            max,
            bad,
            n_bad,
        }
    }

    /// Adds later values, by Chan, Golub and LeVeque 1979.
    pub(crate) fn merge(&mut self, later: &Moments) {
        if later.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = later.clone();
            return;
        }
        let (n_self, n_later) = (self.count as f64, later.count as f64);
        let delta = later.mean - self.mean;
        let share = n_later / (n_self + n_later);
        self.mean += delta * share;
        self.squared_deviations += later.squared_deviations + delta * delta * n_self * share;
        self.min = self.min.min(later.min);
        self.max = self.max.max(later.max);
        self.bad = self.bad.or(later.bad);
        self.n_bad += later.n_bad;
        self.count += later.count;
    }

    /// Sample standard deviation; 0 for fewer than two values.
    pub(crate) fn stddev(&self) -> f64 {
        if self.count < 2 {
            0.0
        } else {
            (self.squared_deviations / (self.count - 1) as f64).sqrt()
        }
    }

    /// An error for a value that is infinite or too large.
    pub(crate) fn check(&self, column: &str) -> Result<()> {
        let Some(value) = self.bad else { return Ok(()) };
        let (value, hint) = match value {
            f64::INFINITY => ("Infinity".to_owned(), "is infinite"),
            f64::NEG_INFINITY => ("-Infinity".to_owned(), "is infinite"),
            _ => (
                format!("{value:e}"),
                "is too large: its square is beyond double precision",
            ),
        };
        Err(Error::BadValue {
            column: column.to_owned(),
            value,
            hint: match self.n_bad {
                0 | 1 => format!("The value {hint}; leave the row out, or set the value to NULL."),
                n_rows => format!(
                    "The value {hint}, as in {n_rows} rows; leave the rows out, or set the values to NULL."
                ),
            },
        })
    }
}

/// The mean of some values; NaN if one of them is, or if there are none.
pub(crate) fn mean<T: Element>(values: &[T]) -> f64 {
    pulp::Arch::new().dispatch(|| sum_in_lanes(values)).0 / values.len() as f64
}

/// Lanes that a sum runs in; fixed, so that every machine adds in the same order.
const LANES: usize = 16;

/// The sum, and whether a NaN is among the values.
#[inline(always)]
fn sum_in_lanes<T: Element>(values: &[T]) -> (f64, bool) {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value.to_f64();
        }
    }
    for (lane, value) in lanes.iter_mut().zip(rest) {
        *lane += value.to_f64();
    }
    let sum: f64 = lanes.iter().sum();
    // Infinities of both signs make a NaN too; then `retain` finds nothing to drop.
    (sum, sum.is_nan())
}

/// Σ (x − mean)², the smallest and the greatest value.
#[inline(always)]
fn spread_in_lanes<T: Element>(values: &[T], mean: f64) -> (f64, f64, f64) {
    let mut lanes = Spread {
        squares: [0.0; LANES],
        mins: [f64::INFINITY; LANES],
        maxs: [f64::NEG_INFINITY; LANES],
    };
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, value) in chunk.iter().enumerate() {
            lanes.add(lane, value.to_f64(), mean);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        lanes.add(lane, value.to_f64(), mean);
    }
    (
        lanes.squares.iter().sum(),
        lanes.mins.into_iter().fold(f64::INFINITY, f64::min),
        lanes.maxs.into_iter().fold(f64::NEG_INFINITY, f64::max),
    )
}

struct Spread {
    squares: [f64; LANES],
    mins: [f64; LANES],
    maxs: [f64; LANES],
}

impl Spread {
    #[inline(always)]
    fn add(&mut self, lane: usize, value: f64, mean: f64) {
        let deviation = value - mean;
        self.squares[lane] += deviation * deviation;
        self.mins[lane] = if value < self.mins[lane] {
            value
        } else {
            self.mins[lane]
        };
        self.maxs[lane] = if value > self.maxs[lane] {
            value
        } else {
            self.maxs[lane]
        };
    }
}
