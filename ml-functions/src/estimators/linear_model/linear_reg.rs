//! `linear_reg`: least squares, with l1 and l2 penalties.
//!
//! In: samples with a numeric label; out: a [`LinearModel`]. One pass sums the products of all columns,
//! from which every solver works; only designs too wide for that are passed over again and again.

use std::sync::Arc;

use async_trait::async_trait;
use auspex_gpu::Loss;

use super::coordinate_descent::CoordinateDescent;
use super::gradient_descent::{LearnRate, gradient_descent};
use super::layout::Layout;
use super::lbfgs::lbfgs;
use super::model::{LinearModel, Link};
use super::newton::{Hessians, newton};
use super::objective::{Curve, Limits, Objective, Outcome, Quadratic, RowPasses};
use super::products::{ProductStep, ProductSums};
use super::steps::GlmStep;
use super::symmetric::Factor;
use super::uncertainty::uncertainty;
use super::{SHARED, warn_unless_converged};
use super::{Strategy, check_width, optimize_strategy, penalty, target, warm_start};
use crate::error::{Error, Result};
use crate::estimator::{BesideDevice, Estimator, EstimatorSpec, METRICS_BYTES, Passes, Tags, Task};
use crate::model::Model;
use crate::options::{Hyperparameter, Options};
use crate::run::TrainingRun;
use crate::training::SampleShape;
use crate::training_set::{
    AnyStep, Part, StepDecoder, TrainingSet, Visit, reduce, take_first_partial,
};

/// Fits ŷ = intercept + coefficients · x by least squares.
pub(super) struct LinearReg;

static HYPERPARAMETERS: [Hyperparameter; 12] = {
    let [a, b, c, d, e, f, g, h, i] = SHARED;
    [
        optimize_strategy(&[
            "AUTO_STRATEGY",
            "BATCH_GRADIENT_DESCENT",
            "NORMAL_EQUATION",
            "NEWTON",
            "LBFGS",
            "COORDINATE_DESCENT",
        ]),
        penalty(
            "l1_reg",
            &[],
            "Cost of the sum of absolute coefficients; scikit-learn's Lasso alpha times the number of rows.",
        ),
        penalty(
            "l2_reg",
            &["alpha"],
            "Cost of half the sum of squared coefficients; scikit-learn's Ridge alpha.",
        ),
        a,
        b,
        c,
        d,
        e,
        f,
        g,
        h,
        i,
    ]
};

static SPEC: EstimatorSpec = EstimatorSpec {
    name: "linear_reg",
    aliases: &["linear", "linear_regression"],
    task: Task::Regression,
    summary: "Predicts a number as a weighted sum of the features, fitted by least squares.",
    doc: "\
Minimises ½ Σ w·(y − ŷ)² + ½ l2_reg·‖β‖² + l1_reg·‖β‖₁ over the coefficients β in the features' own units; the intercept is \
free. So l2_reg is scikit-learn's Ridge alpha, and l1_reg is its Lasso alpha times the number of rows.

Shapes: numbers are one column each, every category one indicator, NULL among them (`DUMMY_ENCODING` leaves the most frequent \
out). Where columns depend on each other, as all indicators of a feature do, the coefficients of least norm are given.
Nulls: a NULL number is the training mean; NULL text is the category `_null_filler`. A category that training never saw, and a \
NULL where training had none, add nothing to a prediction.
Solvers: AUTO_STRATEGY solves the normal equations, with l1_reg by coordinate descent, and beyond 4,096 columns by L-BFGS. \
COORDINATE_DESCENT, LBFGS and BATCH_GRADIENT_DESCENT work from the same sums of products. NEWTON solves the normal equations in \
its one step, and with l1_reg each step by coordinate descent. The loss of `ML.TRAINING_INFO` is the \
mean squared error.
Cost: one pass over the rows, which also learns the statistics; two where features are categories or NULL; O(n·p²) for p columns, indicators only O(1) each; \
O(p²) memory a thread. L-BFGS: O(n·p) a pass, up to 100 passes.
Deterministic: the sums do not depend on threads, nor on how rows come in batches.
Errors: a combination of options that contradict each other; features that depend on each other with calculate_p_values.
Source: Hastie, Tibshirani and Friedman 2009, The Elements of Statistical Learning, chapter 3.",
    hyperparameters: &HYPERPARAMETERS,
    check: super::check,
    tags: Tags::NONE,
    inspections: &["weights", "advanced_weights"],
    steps: &[StepDecoder::of::<ProductStep>(), StepDecoder::of::<GlmStep>()],
    state_steps: &[],
    load: LinearModel::load,
};

/// Columns up to which sums of products are kept: 67 MB a partial.
const WIDEST_GRAM: usize = 4096;
/// Sweeps of coordinate descent that runs to its own tolerance.
const MAX_SWEEPS: usize = 10_000;
/// Sweeps beyond these are not shown but for the last.
const SHOWN_SWEEPS: usize = 20;

#[async_trait]
impl Estimator for LinearReg {
    fn spec(&self) -> &'static EstimatorSpec {
        &SPEC
    }

    fn passes(&self, options: &Options, shape: &SampleShape) -> Passes {
        // The statistics with the sums of products, or one after the other where categories ask for a
        // dictionary first, and the metrics; very wide designs need more.
        let is_apart = shape.n_categorical > 0 || self.first_step(options, shape).is_none();
        Passes {
            source: 2 + u64::from(is_apart),
            kept: 0,
        }
    }

    /// Where the sums of products are made of what the first reading gives, which has no name on a device yet, the
    /// samples come there once more for the metrics.
    fn beside_device(&self, options: &Options, shape: &SampleShape) -> BesideDevice {
        let has_first_step = shape.n_categorical == 0 && self.first_step(options, shape).is_some();
        let again = if has_first_step {
            shape.sample_bytes as u64
        } else {
            0
        };
        BesideDevice {
            on_cpu: 0,
            moved: METRICS_BYTES + again,
        }
    }

    fn first_step(&self, _: &Options, shape: &SampleShape) -> Option<Arc<dyn AnyStep>> {
        let is_narrow = shape.n_numeric <= WIDEST_GRAM;
        is_narrow.then(|| Arc::new(ProductStep::default()) as Arc<dyn AnyStep>)
    }

    async fn fit(
        &self,
        samples: &dyn TrainingSet,
        options: &Options,
        run: &TrainingRun,
    ) -> Result<Box<dyn Model>> {
        let layout = Layout::new(samples.encoder(), options, 1);
        let response_shift = if layout.fit_intercept {
            target(samples)?.mean
        } else {
            0.0
        };
        let fit = Fit {
            samples,
            options,
            run,
            layout: &layout,
            response_shift,
        };
        let is_narrow = layout.frame.n_cols() <= WIDEST_GRAM;
        let by_passes = match Strategy::of(options) {
            Strategy::Auto | Strategy::Lbfgs | Strategy::BatchGradientDescent => {
                !is_narrow && !options.bool("calculate_p_values")
            }
            Strategy::NormalEquation | Strategy::CoordinateDescent | Strategy::Newton => false,
        };
        let model = if by_passes {
            fit.by_passes().await?
        } else {
            fit.by_sums().await?
        };
        Ok(Box::new(model))
    }
}

/// One training.
struct Fit<'a> {
    samples: &'a dyn TrainingSet,
    options: &'a Options,
    run: &'a TrainingRun,
    layout: &'a Layout,
    /// Subtracted from the label while fitting.
    response_shift: f64,
}

impl Fit<'_> {
    fn penalties(&self) -> (f64, f64) {
        (self.options.f64("l1_reg"), self.options.f64("l2_reg"))
    }

    async fn sums(&self, part: Part) -> Result<Option<ProductSums>> {
        if self.samples.n_samples(part) == 0 {
            return Ok(None);
        }
        let frame = &self.layout.frame;
        let of_first_reading = match part {
            Part::Training => take_first_partial(self.samples, &ProductStep::default())?,
            Part::Evaluation => None,
        };
        let sums = match of_first_reading {
            // A missing number makes the sums NaN: its mean was not known yet.
            Some(sums) if sums.is_finite() => Some(sums),
            _ => {
                let step = ProductStep {
                    widths: frame.widths.clone(),
                };
                reduce(self.samples, &step, part, Visit::Once, self.run).await?
            }
        };
        Ok(sums.map(|sums| sums.in_frame(frame, self.response_shift)))
    }

    /// Learns from sums of products.
    async fn by_sums(&self) -> Result<LinearModel> {
        check_width(
            "a solver of the normal equations",
            self.layout.frame.n_cols(),
            WIDEST_GRAM,
        )?;
        let sums = self
            .sums(Part::Training)
            .await?
            .filter(|sums| sums.moments[0] > 0.0);
        let Some(sums) = sums else {
            let hint = "Every row has the weight 0.".to_owned();
            return Err(Error::TooFewSamples {
                needed: 1,
                found: 0,
                hint,
            });
        };
        if !sums.is_finite() {
            return Err(Error::Diverged {
                estimator: SPEC.name.to_owned(),
                what: "the sum of squares".to_owned(),
                hint: "Scale the label, or leave out rows with extreme values.".to_owned(),
            });
        }
        let held_out = self.sums(Part::Evaluation).await?;
        let mut quadratic = Quadratic::new(&sums, held_out, self.layout, self.penalties());
        let slopes = self.solve(&mut quadratic).await?;
        let intercept = quadratic.intercept(&slopes) + self.response_shift;
        let mut parameters = slopes.clone();
        parameters.extend(self.layout.fit_intercept.then_some(intercept));
        let mut model = self.model(&parameters);
        if self.options.bool("calculate_p_values") {
            let n_samples = self.samples.n_samples(Part::Training);
            let n_parameters = parameters.len() as u64;
            if n_samples <= n_parameters {
                let hint = "Standard errors need more rows than coefficients.".to_owned();
                return Err(Error::TooFewSamples {
                    needed: n_parameters + 1,
                    found: n_samples,
                    hint,
                });
            }
            let degrees = (n_samples - n_parameters) as f64;
            let variance = quadratic.squared_error(&slopes) / degrees;
            let hessian = self.normal_matrix(&sums);
            let sure = uncertainty(&hessian, variance, Some(degrees), self.layout, &model)?;
            model.uncertainty = Some(sure);
        }
        Ok(model)
    }

    async fn solve(&self, quadratic: &mut Quadratic) -> Result<Vec<f64>> {
        let strategy = Strategy::of(self.options);
        let has_l1 = quadratic.penalty().has_l1();
        let mut curve = Curve::new(self.run);
        let is_one_step = match strategy {
            Strategy::NormalEquation => true,
            // The Hessian is the same everywhere, so that Newton's step ends at the minimum.
            Strategy::Auto | Strategy::Newton => !has_l1,
            _ => false,
        };
        if is_one_step {
            let slopes = self.solve_normal_equations(quadratic);
            curve.add(
                quadratic.error(&slopes),
                quadratic.held_out_error(&slopes),
                None,
            );
            return Ok(slopes);
        }
        let n = quadratic.right.len();
        let warm = warm_start(self.run, Link::Identity, self.layout, self.samples);
        let start = warm.map_or(vec![0.0; n], |mut warm| {
            warm.truncate(n);
            warm
        });
        let limits = Limits::new(self.options, strategy == Strategy::BatchGradientDescent);
        let solution = match strategy {
            Strategy::BatchGradientDescent => {
                let rate = LearnRate::new(self.options);
                gradient_descent(quadratic, start, rate, limits, &mut curve).await?
            }
            Strategy::Lbfgs => {
                // Without passes over rows there is no reason to end before the minimum.
                let is_bound = self.options.is_written("max_iterations");
                let max_iterations = if is_bound {
                    limits.max_iterations
                } else {
                    MAX_SWEEPS
                };
                let limits = Limits {
                    max_iterations,
                    ..limits
                };
                lbfgs(quadratic, start, 1e-3, limits, &mut curve).await?
            }
            Strategy::Newton => {
                newton(quadratic, start, Hessians::Always, 1.0, limits, &mut curve).await?
            }
            _ => return Ok(self.descend_coordinates(quadratic, start, limits, &mut curve)),
        };
        warn_unless_converged(self.run, solution.outcome, limits.max_iterations);
        Ok(solution.parameters)
    }

    /// The least squares solution; of many the one of least norm in the features' own units.
    fn solve_normal_equations(&self, quadratic: &Quadratic) -> Vec<f64> {
        let factor = Factor::new(&quadratic.normal_matrix(), quadratic.right.len());
        let mut slopes = factor.solve(&quadratic.right);
        factor.shorten(&mut slopes, &self.layout.lengths());
        slopes
    }

    fn descend_coordinates(
        &self,
        quadratic: &Quadratic,
        start: Vec<f64>,
        limits: Limits,
        curve: &mut Curve<'_>,
    ) -> Vec<f64> {
        let is_bound = self.options.is_written("max_iterations");
        let max_sweeps = if is_bound {
            limits.max_iterations
        } else {
            MAX_SWEEPS
        };
        let penalty = quadratic.penalty().clone();
        let total = |slopes: &[f64]| {
            let squares: f64 = penalty
                .l2
                .iter()
                .zip(slopes)
                .map(|(l2, x)| l2 * x * x)
                .sum();
            0.5 * (quadratic.squared_error(slopes) + squares) + penalty.absolute(slopes)
        };
        let mut descent =
            CoordinateDescent::new(&quadratic.matrix, &quadratic.right, &penalty, start);
        let mut outcome = Outcome::Exhausted;
        for sweep in 0..max_sweeps {
            let before = total(&descent.parameters);
            if descent.sweep() {
                outcome = Outcome::Converged;
            } else if limits.is_slow(before, total(&descent.parameters)) {
                outcome = Outcome::StoppedEarly;
            }
            let is_last = outcome != Outcome::Exhausted || sweep + 1 == max_sweeps;
            if sweep < SHOWN_SWEEPS || is_last {
                curve.skip_to(sweep as u64);
                let slopes = &descent.parameters;
                curve.add(
                    quadratic.error(slopes),
                    quadratic.held_out_error(slopes),
                    None,
                );
            }
            if is_last {
                break;
            }
        }
        warn_unless_converged(self.run, outcome, max_sweeps);
        descent.parameters
    }

    /// The Hessian of slopes and intercept, not centred.
    fn normal_matrix(&self, sums: &ProductSums) -> Vec<f64> {
        let (n, free) = (self.layout.n_parameters(), &self.layout.free);
        let penalty = self.layout.penalty(0.0, self.penalties().1);
        let element = |i: usize, j: usize| match (free.get(i), free.get(j)) {
            (Some(&a), Some(&b)) => sums.xx(a, b) + if i == j { penalty.l2[i] } else { 0.0 },
            (Some(&column), None) | (None, Some(&column)) => sums.x_sums[column],
            (None, None) => sums.moments[0],
        };
        (0..n * n).map(|idx| element(idx / n, idx % n)).collect()
    }

    /// Learns by passes over the rows.
    async fn by_passes(&self) -> Result<LinearModel> {
        let (l1, l2) = self.penalties();
        let mut objective = RowPasses {
            samples: self.samples,
            run: self.run,
            layout: self.layout,
            loss: Loss::Squared,
            n_classes: 0,
            response_shift: self.response_shift,
            response_spread: 1.0,
            penalty: self.layout.penalty(l1, l2),
            one_in: 1,
            weight: 0.0,
        };
        let warm = warm_start(self.run, Link::Identity, self.layout, self.samples);
        let mut start = warm.unwrap_or_else(|| vec![0.0; self.layout.n_parameters()]);
        if self.layout.fit_intercept && self.run.warm_start.is_some() {
            let last = start.len() - 1;
            start[last] -= self.response_shift;
        }
        let mut curve = Curve::new(self.run);
        // A constant model has the loss of the label's variance, the scale of all gradients.
        let null = objective.evaluate(&vec![0.0; start.len()], false).await?;
        objective.response_spread = null.loss.sqrt();
        let is_gradient_descent = Strategy::of(self.options) == Strategy::BatchGradientDescent;
        let limits = Limits::new(self.options, is_gradient_descent);
        let solution = if is_gradient_descent {
            let rate = LearnRate::new(self.options);
            gradient_descent(&mut objective, start, rate, limits, &mut curve).await?
        } else {
            lbfgs(&mut objective, start, 1.0, limits, &mut curve).await?
        };
        warn_unless_converged(self.run, solution.outcome, limits.max_iterations);
        let mut parameters = solution.parameters;
        if self.layout.fit_intercept {
            let last = parameters.len() - 1;
            parameters[last] += self.response_shift;
        }
        Ok(self.model(&parameters))
    }

    fn model(&self, parameters: &[f64]) -> LinearModel {
        let (encoder, target) = (self.samples.encoder(), self.samples.target());
        LinearModel::new(Link::Identity, self.layout, parameters, encoder, target)
    }
}
