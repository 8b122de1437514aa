//! Newton's method with a line search, sparing of Hessians.
//!
//! In: an objective with few parameters and a start; out: the minimum. A Hessian costs several times
//! a gradient, so one is kept and corrected by the BFGS formula as long as the gradient falls quickly.
//! With l1 costs each step minimises the quadratic model by coordinate descent (proximal Newton: Lee,
//! Sun and Saunders 2014, doi:10.1137/130921428).

use super::coordinate_descent::CoordinateDescent;
use super::layout::Penalty;
use super::objective::{
    Curve, Limits, Objective, Outcome, Point, Solution, dot, multiply, norm, subgradient,
};
use super::symmetric::Factor;
use crate::error::{Error, Result};

/// When Hessians are computed.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Hessians {
    /// At every iteration: the rows are few.
    Always,
    /// At the first, and whenever the gradient fell by less than [`QUICK`].
    WhenSlow,
    /// This one stands for the first.
    From(Vec<f64>),
}

/// Share that a gradient must fall to for its Hessian to be kept.
const QUICK: f64 = 0.1;
/// Sufficient decrease: Armijo's share of what the slope promises.
const DECREASE: f64 = 1e-4;
/// Sums over many rows agree to about this share.
const ROUNDING: f64 = 1e-13;
/// Shortest step that is tried.
const SHORTEST: f64 = 1e-8;

/// Where the search stands.
struct State {
    parameters: Vec<f64>,
    point: Point,
    hessian: Vec<f64>,
    /// Whether the Hessian is that of the point.
    is_fresh: bool,
}

impl State {
    fn total(&self, penalty: &Penalty) -> f64 {
        self.point.value + penalty.absolute(&self.parameters)
    }

    fn gradient_norm(&self, penalty: &Penalty) -> f64 {
        norm(&subgradient(&self.point, &self.parameters, penalty))
    }
}

/// What came of a step.
enum Step {
    /// It lowered the value; its length as a share of Newton's.
    Moved(f64),
    /// No length did; whether it promised more than rounding hides.
    Stuck { is_rounding: bool },
}

/// Minimises `objective` from `start`, to `precision` times its tolerance.
pub(super) async fn newton(
    objective: &mut dyn Objective,
    start: Vec<f64>,
    hessians: Hessians,
    precision: f64,
    limits: Limits,
    curve: &mut Curve<'_>,
) -> Result<Solution> {
    let penalty = objective.penalty().clone();
    let always = hessians == Hessians::Always;
    let kept = if let Hessians::From(hessian) = hessians {
        Some(hessian)
    } else {
        None
    };
    let is_fresh = kept.is_none();
    let mut point = objective.evaluate(&start, is_fresh).await?;
    if !point.value.is_finite() {
        return Err(diverged());
    }
    let tolerance = precision * objective.tolerance();
    let hessian = kept.unwrap_or_else(|| std::mem::take(&mut point.hessian));
    let mut state = State {
        parameters: start,
        point,
        hessian,
        is_fresh,
    };
    let mut gradient = state.gradient_norm(&penalty);
    let mut outcome = Outcome::Exhausted;
    if gradient <= tolerance {
        outcome = Outcome::Converged;
        report(objective, &state, curve).await?;
    }
    let mut is_slow = false;
    for _ in 0..limits.max_iterations {
        if outcome != Outcome::Exhausted {
            break;
        }
        let before = state.total(&penalty);
        match advance(objective, &mut state, &penalty, always || is_slow).await? {
            Step::Moved(length) => {
                report(objective, &state, curve).await?;
                let fell_from = std::mem::replace(&mut gradient, state.gradient_norm(&penalty));
                is_slow = length < 1.0 || gradient > QUICK * fell_from;
                if gradient <= tolerance {
                    outcome = Outcome::Converged;
                } else if limits.is_slow(before, state.total(&penalty)) {
                    outcome = Outcome::StoppedEarly;
                }
            }
            Step::Stuck { is_rounding: true } => outcome = Outcome::Converged,
            Step::Stuck { is_rounding: false } if state.is_fresh => break,
            // An old Hessian misled.
            Step::Stuck { is_rounding: false } => {
                state.hessian = objective.evaluate(&state.parameters, true).await?.hessian;
                state.is_fresh = true;
            }
        }
    }
    let State {
        parameters,
        hessian,
        point,
        ..
    } = state;
    Ok(Solution {
        parameters,
        outcome,
        loss: point.loss,
        hessian: Some(hessian),
    })
}

/// Makes one step.
async fn advance(
    objective: &mut dyn Objective,
    state: &mut State,
    penalty: &Penalty,
    with_hessian: bool,
) -> Result<Step> {
    let target = model_minimum(state, penalty);
    let direction: Vec<f64> = target
        .iter()
        .zip(&state.parameters)
        .map(|(a, b)| a - b)
        .collect();
    let total = state.total(penalty);
    let slope = dot(&direction, &state.point.gradient) + penalty.absolute(&target)
        - penalty.absolute(&state.parameters);
    let slack = ROUNDING * total.abs();
    let stuck = Step::Stuck {
        is_rounding: slope.abs() <= 1e3 * slack,
    };
    if slope.is_nan() || slope >= 0.0 {
        return Ok(stuck);
    }
    let mut length = 1.0;
    while length >= SHORTEST {
        let parameters: Vec<f64> = state
            .parameters
            .iter()
            .zip(&direction)
            .map(|(x, d)| x + length * d)
            .collect();
        let mut point = objective.evaluate(&parameters, with_hessian).await?;
        let next = point.value + penalty.absolute(&parameters);
        if next <= total + DECREASE * length * slope + slack {
            if parameters == state.parameters {
                return Ok(stuck);
            }
            let mut hessian = std::mem::take(&mut state.hessian);
            if with_hessian {
                hessian = std::mem::take(&mut point.hessian);
            } else {
                correct(&mut hessian, state, &parameters, &point);
            }
            *state = State {
                parameters,
                point,
                hessian,
                is_fresh: with_hessian,
            };
            return Ok(Step::Moved(length));
        }
        // The minimum of the parabola through both values and the slope, within bounds.
        let curvature = next - total - length * slope;
        let best = if curvature.is_finite() {
            -0.5 * slope * length / curvature
        } else {
            0.1
        };
        length *= best.clamp(0.1, 0.5);
    }
    Ok(stuck)
}

/// The minimum of g·d + ½ d·H·d + l1 from here; any of them where H is singular.
fn model_minimum(state: &State, penalty: &Penalty) -> Vec<f64> {
    let n = state.parameters.len();
    if !penalty.has_l1() {
        let step = Factor::new(&state.hessian, n).solve(&state.point.gradient);
        return state
            .parameters
            .iter()
            .zip(step)
            .map(|(x, step)| x - step)
            .collect();
    }
    // The squares are part of the Hessian already.
    let costs = Penalty {
        l1: penalty.l1.clone(),
        l2: vec![0.0; n],
    };
    let mut right = multiply(&state.hessian, &state.parameters);
    right
        .iter_mut()
        .zip(&state.point.gradient)
        .for_each(|(c, g)| *c -= g);
    let mut descent =
        CoordinateDescent::new(&state.hessian, &right, &costs, state.parameters.clone());
    let _ = (0..1000).any(|_| descent.sweep());
    descent.parameters
}

/// The BFGS formula: makes the Hessian explain how the gradient changed along the last step.
fn correct(hessian: &mut [f64], state: &State, parameters: &[f64], point: &Point) {
    let step: Vec<f64> = parameters
        .iter()
        .zip(&state.parameters)
        .map(|(a, b)| a - b)
        .collect();
    let change: Vec<f64> = point
        .gradient
        .iter()
        .zip(&state.point.gradient)
        .map(|(a, b)| a - b)
        .collect();
    let expected = multiply(hessian, &step);
    let (actual_curvature, expected_curvature) = (dot(&change, &step), dot(&expected, &step));
    let is_convex = expected_curvature > 0.0 && actual_curvature > 1e-12 * expected_curvature;
    if !is_convex {
        return;
    }
    for (i, row) in hessian.chunks_exact_mut(step.len()).enumerate() {
        for (j, h) in row.iter_mut().enumerate() {
            *h += change[i] * change[j] / actual_curvature
                - expected[i] * expected[j] / expected_curvature;
        }
    }
}

async fn report(objective: &mut dyn Objective, state: &State, curve: &mut Curve<'_>) -> Result<()> {
    if curve.is_silent() {
        return Ok(());
    }
    let held_out = objective.held_out_loss(&state.parameters).await?;
    curve.add(state.point.loss, held_out, None);
    Ok(())
}

/// A start where the loss is not a number.
pub(super) fn diverged() -> Error {
    Error::Diverged {
        estimator: "linear model".to_owned(),
        what: "the loss".to_owned(),
        hint: "Scale the features, or leave out rows with extreme values.".to_owned(),
    }
}
