//! L-BFGS, with OWL-QN's orthants for l1 costs: gradients only, for any number of parameters.
//!
//! In: an objective and a start; out: the minimum. Keeps the last few steps instead of a Hessian.
//! Sources: Nocedal and Wright 2006, algorithm 7.5; Andrew and Gao 2007, doi:10.1145/1273496.1273501.

use std::collections::VecDeque;

use super::layout::Penalty;
use super::newton::diverged;
use super::objective::{
    Curve, Limits, Objective, Outcome, Point, Solution, dot, norm, subgradient,
};
use crate::error::Result;

/// The estimated distance to the minimum, against the parameters' size.
const RELATIVE_STEP: f64 = 1e-6;
/// Steps remembered.
const MEMORY: usize = 15;
/// Sufficient decrease, and the share of the slope that must be gone.
const DECREASE: f64 = 1e-4;
const FLATTER: f64 = 0.9;
/// Sums over many rows agree to about this share.
const ROUNDING: f64 = 1e-13;
/// Trials of a line search.
const MAX_TRIALS: usize = 20;

/// A step and the change of the gradient along it.
struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    curvature: f64,
}

/// Minimises `objective` from `start`, to `precision` times its tolerance.
pub(super) async fn lbfgs(
    objective: &mut dyn Objective,
    start: Vec<f64>,
    precision: f64,
    limits: Limits,
    curve: &mut Curve<'_>,
) -> Result<Solution> {
    let penalty = objective.penalty().clone();
    let mut pairs = VecDeque::new();
    let mut parameters = start;
    let mut point = objective.evaluate(&parameters, false).await?;
    if !point.value.is_finite() {
        return Err(diverged());
    }
    let (tolerance, metric) = (precision * objective.tolerance(), objective.curvatures());
    let mut outcome = Outcome::Exhausted;
    for iteration in 0..=limits.max_iterations {
        let gradient = subgradient(&point, &parameters, &penalty);
        let free = free_parameters(&gradient, &parameters);
        let mut direction = descend(&gradient, &free, &metric, &pairs);
        keep_orthant(&mut direction, &gradient, &penalty);
        let is_near = || pairs.is_empty() || is_small(&direction, &parameters, &metric, precision);
        if norm(&gradient) <= tolerance && is_near() {
            outcome = Outcome::Converged;
            if iteration == 0 && !curve.is_silent() {
                let held_out = objective.held_out_loss(&parameters).await?;
                curve.add(point.loss, held_out, None);
            }
        }
        if outcome != Outcome::Exhausted || iteration == limits.max_iterations {
            break;
        }
        let search = Search {
            parameters: &parameters,
            gradient: &gradient,
            direction,
            point: &point,
        };
        let Some((next, next_point)) = search.run(objective, &penalty).await? else {
            if pairs.is_empty() {
                // Steepest descent finds no lower value: what is left is rounding.
                let is_flat = norm(&gradient) <= tolerance * 1e3;
                outcome = if is_flat {
                    Outcome::Converged
                } else {
                    Outcome::Exhausted
                };
                break;
            }
            pairs.clear();
            continue;
        };
        remember(&mut pairs, &parameters, &point, &next, &next_point);
        let before = point.value + penalty.absolute(&parameters);
        (parameters, point) = (next, next_point);
        if !curve.is_silent() {
            let held_out = objective.held_out_loss(&parameters).await?;
            curve.add(point.loss, held_out, None);
        }
        if limits.is_slow(before, point.value + penalty.absolute(&parameters)) {
            outcome = Outcome::StoppedEarly;
        }
    }
    Ok(Solution {
        parameters,
        outcome,
        loss: point.loss,
        hessian: None,
    })
}

/// Whether a step to the estimated minimum would hardly move the parameters. In a flat valley, as of
/// nearly separable classes, the gradient alone vanishes long before.
fn is_small(step: &[f64], parameters: &[f64], metric: &[f64], precision: f64) -> bool {
    let length = |x: &[f64]| {
        x.iter()
            .zip(metric)
            .map(|(x, m)| x * x * m)
            .sum::<f64>()
            .sqrt()
    };
    length(step) <= RELATIVE_STEP * precision * length(parameters)
}

/// −H⁻¹·gradient by the two-loop recursion, from a diagonal metric. Parameters that stay at zero
/// (`free` 0, else 1) have no part in it: H is inverted over the others alone.
fn descend(gradient: &[f64], free: &[f64], metric: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let over_free = |a: &[f64], b: &[f64]| {
        let products = a.iter().zip(b).zip(free).map(|((a, b), free)| a * b * free);
        products.sum::<f64>()
    };
    let pairs: Vec<(&Pair, f64)> = pairs
        .iter()
        .map(|pair| (pair, over_free(&pair.step, &pair.change)))
        .filter(|(pair, curvature)| *curvature > f64::EPSILON * pair.curvature)
        .collect();
    let mut direction: Vec<f64> = gradient
        .iter()
        .zip(free)
        .map(|(g, free)| -g * free)
        .collect();
    let mut shares = Vec::with_capacity(pairs.len());
    for (pair, curvature) in pairs.iter().rev() {
        let share = over_free(&pair.step, &direction) / curvature;
        direction
            .iter_mut()
            .zip(&pair.change)
            .for_each(|(d, y)| *d -= share * y);
        shares.push(share);
    }
    // The metric is right up to a factor, which the last pair knows.
    let factor = pairs.last().map_or(1.0, |(pair, curvature)| {
        let squares = pair.change.iter().zip(metric).zip(free);
        curvature / squares.map(|((y, m), free)| y * y / m * free).sum::<f64>()
    });
    direction
        .iter_mut()
        .zip(metric)
        .for_each(|(d, m)| *d *= factor / m);
    for ((pair, curvature), share) in pairs.iter().zip(shares.into_iter().rev()) {
        let correction = share - over_free(&pair.change, &direction) / curvature;
        direction
            .iter_mut()
            .zip(&pair.step)
            .for_each(|(d, s)| *d += correction * s);
    }
    direction
        .iter_mut()
        .zip(free)
        .for_each(|(d, free)| *d *= free);
    direction
}

/// 0 for parameters that an l1 cost holds at zero, 1 for the others.
fn free_parameters(gradient: &[f64], parameters: &[f64]) -> Vec<f64> {
    let is_free = |(g, x): (&f64, &f64)| f64::from(*g != 0.0 || *x != 0.0);
    gradient.iter().zip(parameters).map(is_free).collect()
}

/// With l1 costs a direction may not point against steepest descent in any coordinate.
fn keep_orthant(direction: &mut [f64], gradient: &[f64], penalty: &Penalty) {
    for ((d, g), l1) in direction.iter_mut().zip(gradient).zip(&penalty.l1) {
        if *l1 > 0.0 && *d * g >= 0.0 {
            *d = 0.0;
        }
    }
}

/// Remembers a step along which the gradient grew, as it must where the value curves upwards.
fn remember(
    pairs: &mut VecDeque<Pair>,
    parameters: &[f64],
    point: &Point,
    next: &[f64],
    next_point: &Point,
) {
    let step: Vec<f64> = next.iter().zip(parameters).map(|(a, b)| a - b).collect();
    let change: Vec<f64> = next_point
        .gradient
        .iter()
        .zip(&point.gradient)
        .map(|(a, b)| a - b)
        .collect();
    let curvature = dot(&step, &change);
    if curvature > f64::EPSILON * norm(&step) * norm(&change) {
        if pairs.len() == MEMORY {
            pairs.pop_front();
        }
        pairs.push_back(Pair {
            step,
            change,
            curvature,
        });
    }
}

/// A line search from a point.
struct Search<'a> {
    parameters: &'a [f64],
    gradient: &'a [f64],
    direction: Vec<f64>,
    point: &'a Point,
}

impl Search<'_> {
    /// The first trial that lowers the value enough and leaves a flatter slope; `None` where none
    /// lowers it. With l1 costs, only the first half is asked, and no coordinate crosses zero.
    async fn run(
        &self,
        objective: &mut dyn Objective,
        penalty: &Penalty,
    ) -> Result<Option<(Vec<f64>, Point)>> {
        let has_l1 = penalty.has_l1();
        let total = self.point.value + penalty.absolute(self.parameters);
        let slope = dot(&self.direction, self.gradient);
        if slope.is_nan() || slope >= 0.0 {
            return Ok(None);
        }
        let slack = ROUNDING * total.abs();
        let (mut length, mut low, mut high) = (1.0f64, 0.0f64, f64::INFINITY);
        let mut best: Option<(Vec<f64>, Point)> = None;
        for _ in 0..MAX_TRIALS {
            let trial = self.trial(length, penalty);
            let promised = trial
                .iter()
                .zip(self.parameters)
                .zip(self.gradient)
                .map(|((a, b), g)| (a - b) * g)
                .sum::<f64>();
            let point = objective.evaluate(&trial, false).await?;
            let value = point.value + penalty.absolute(&trial);
            if value <= total + DECREASE * promised + slack {
                let is_flatter = dot(&point.gradient, &self.direction) >= FLATTER * slope || has_l1;
                best = Some((trial, point));
                if is_flatter {
                    break;
                }
                low = length;
            } else {
                high = length;
                if best.is_some() {
                    break;
                }
            }
            length = if high.is_finite() {
                0.5 * (low + high)
            } else {
                2.0 * length
            };
        }
        Ok(best.filter(|(trial, _)| trial.as_slice() != self.parameters))
    }

    fn trial(&self, length: f64, penalty: &Penalty) -> Vec<f64> {
        let coordinate = |i: usize| {
            let x = self.parameters[i];
            let moved = x + length * self.direction[i];
            let orthant = if x == 0.0 { -self.gradient[i] } else { x };
            if penalty.l1[i] > 0.0 && moved * orthant < 0.0 {
                0.0
            } else {
                moved
            }
        };
        (0..self.parameters.len()).map(coordinate).collect()
    }
}
