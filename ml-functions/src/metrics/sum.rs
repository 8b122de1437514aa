//! Sums whose last digits do not depend on the order of their terms.
//!
//! In: numbers; out: their sum. Metrics over rows are merged in the order in which partitions end;
//! carrying the rounding errors along keeps the printed digits the same in every run.

use serde::{Deserialize, Serialize};

/// A sum with its accumulated rounding error.
///
/// Source: Neumaier 1974, doi:10.1002/zamm.19740540106.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sum {
    high: f64,
    low: f64,
}

impl Sum {
    /// Adds one term.
    #[inline]
    pub(crate) fn add(&mut self, term: f64) {
        // Knuth's TwoSum: `sum + error` is exactly `high + term`.
        let sum = self.high + term;
        let added = sum - self.high;
        self.low += (self.high - (sum - added)) + (term - added);
        self.high = sum;
    }

    /// Adds another sum.
    pub(crate) fn merge(&mut self, later: Sum) {
        self.add(later.high);
        self.low += later.low;
    }

    /// The sum. Beyond the range of f64 it is infinite, or NaN as usual.
    pub(crate) fn value(&self) -> f64 {
        // Once infinite, the error term is NaN and means nothing.
        if self.high.is_finite() {
            self.high + self.low
        } else {
            self.high
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum_of(terms: impl Iterator<Item = f64>) -> Sum {
        let mut sum = Sum::default();
        terms.for_each(|term| sum.add(term));
        sum
    }

    #[test]
    fn order_and_grouping_do_not_change_the_value() {
        let terms: Vec<f64> = (0..10_000).map(|i| f64::from(i).sin() * 1e6).collect();
        let forward = sum_of(terms.iter().copied());
        let backward = sum_of(terms.iter().rev().copied());
        let mut halves = sum_of(terms[..777].iter().copied());
        halves.merge(sum_of(terms[777..].iter().copied()));
        assert_eq!(forward.value(), backward.value());
        assert_eq!(forward.value(), halves.value());
    }

    #[test]
    fn cancelled_terms_leave_no_error() {
        assert_eq!(sum_of([1e16, 1.0, -1e16].into_iter()).value(), 1.0);
    }

    #[test]
    fn overflow_is_infinite() {
        assert_eq!(
            sum_of([f64::MAX, f64::MAX, 1.0].into_iter()).value(),
            f64::INFINITY
        );
    }
}
