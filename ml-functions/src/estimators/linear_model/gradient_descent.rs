//! Batch gradient descent: one pass over all samples, one step against the mean gradient.
//!
//! In: an objective and a start; out: wherever the options end it. The step is constant or searched:
//! doubled from the last one, then halved until it lowers the value as its slope promises. l1 costs
//! act as a softening of each step (proximal gradient: Beck and Teboulle 2009, doi:10.1137/080716542).

use super::coordinate_descent::soften;
use super::layout::Penalty;
use super::newton::diverged;
use super::objective::{Curve, Limits, Objective, Outcome, Point, Solution, norm, subgradient};
use crate::error::{Error, Result};
use crate::options::Options;

/// How long steps are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LearnRate {
    /// Always this.
    Constant(f64),
    /// Searched from this on.
    Searched(f64),
}

impl LearnRate {
    /// As the options say.
    pub(super) fn new(options: &Options) -> LearnRate {
        match options.text("learn_rate_strategy") {
            Some("CONSTANT") => LearnRate::Constant(options.f64("learn_rate")),
            _ => LearnRate::Searched(options.f64("ls_init_learn_rate")),
        }
    }
}

/// Trials of a line search.
const MAX_TRIALS: usize = 30;

/// Descends `objective` from `start`, along mean gradients.
pub(super) async fn gradient_descent(
    objective: &mut dyn Objective,
    start: Vec<f64>,
    learn_rate: LearnRate,
    limits: Limits,
    curve: &mut Curve<'_>,
) -> Result<Solution> {
    let penalty = objective.penalty().clone();
    let mut parameters = start;
    let mut point = objective.evaluate(&parameters, false).await?;
    if !point.value.is_finite() {
        return Err(diverged());
    }
    let (tolerance, weight) = (objective.tolerance(), objective.weight());
    let (LearnRate::Constant(mut rate) | LearnRate::Searched(mut rate)) = learn_rate;
    let mut outcome = Outcome::Exhausted;
    for iteration in 0..limits.max_iterations {
        if norm(&subgradient(&point, &parameters, &penalty)) <= tolerance {
            outcome = Outcome::Converged;
            break;
        }
        let before = point.value + penalty.absolute(&parameters);
        if iteration > 0 && matches!(learn_rate, LearnRate::Searched(_)) {
            rate *= 2.0;
        }
        let mut n_trials = 0;
        let (next, next_point) = loop {
            let next = step(&parameters, &point, &penalty, rate / weight);
            let next_point = objective.evaluate(&next, false).await?;
            if matches!(learn_rate, LearnRate::Constant(_))
                || is_low_enough(&parameters, &point, &next, &next_point, rate / weight)
            {
                break (next, next_point);
            }
            n_trials += 1;
            if n_trials == MAX_TRIALS {
                let outcome = Outcome::Converged;
                return Ok(Solution {
                    parameters,
                    outcome,
                    loss: point.loss,
                    hessian: None,
                });
            }
            rate *= 0.5;
        };
        if !next_point.value.is_finite() {
            return Err(Error::Diverged {
                estimator: "linear model".to_owned(),
                what: format!("the loss after iteration {iteration}"),
                hint: "Lower \"learn_rate\", or set learn_rate_strategy = 'LINE_SEARCH'."
                    .to_owned(),
            });
        }
        (parameters, point) = (next, next_point);
        let held_out = objective.held_out_loss(&parameters).await?;
        curve.add(point.loss, held_out, Some(rate));
        if limits.is_slow(before, point.value + penalty.absolute(&parameters)) {
            outcome = Outcome::StoppedEarly;
            break;
        }
    }
    Ok(Solution {
        parameters,
        outcome,
        loss: point.loss,
        hessian: None,
    })
}

/// γ − rate·gradient, softened by the l1 costs.
fn step(parameters: &[f64], point: &Point, penalty: &Penalty, rate: f64) -> Vec<f64> {
    let moved = parameters.iter().zip(&point.gradient).zip(&penalty.l1);
    moved
        .map(|((x, g), l1)| soften(x - rate * g, rate * l1))
        .collect()
}

/// Whether the value lies below its quadratic bound of curvature 1 / rate.
fn is_low_enough(from: &[f64], point: &Point, to: &[f64], next: &Point, rate: f64) -> bool {
    let terms = from.iter().zip(to).zip(&point.gradient);
    let bound: f64 = terms
        .map(|((a, b), g)| (b - a) * g + (b - a) * (b - a) / (2.0 * rate))
        .sum();
    next.value <= point.value + bound + 1e-13 * point.value.abs()
}
