//! `logistic_reg`: binary and multiclass logistic regression, with l1 and l2 penalties.
//!
//! In: samples with classes; out: a [`LinearModel`]. A solver first learns from a share of each block,
//! so that few passes over all rows remain.

use async_trait::async_trait;
use auspex_gpu::Loss;

use super::gradient_descent::{LearnRate, gradient_descent};
use super::layout::Layout;
use super::lbfgs::lbfgs;
use super::model::{LinearModel, Link};
use super::newton::{Hessians, newton};
use super::objective::{Curve, Limits, Objective, RowPasses, Solution};
use super::steps::GlmStep;
use super::symmetric::Factor;
use super::uncertainty::uncertainty;
use super::warn_unless_converged;
use super::{SHARED, Strategy, check_width, optimize_strategy, penalty, target, warm_start};
use crate::error::{Error, Result};
use crate::estimator::{Estimator, EstimatorSpec, Passes, Tags, Task};
use crate::features::TargetEncoding;
use crate::model::Model;
use crate::options::{Hyperparameter, Options};
use crate::run::TrainingRun;
use crate::training::SampleShape;
use crate::training_set::{Part, StepDecoder, TrainingSet};

/// Fits the probability of each class by maximum likelihood.
pub(super) struct LogisticReg;

static HYPERPARAMETERS: [Hyperparameter; 12] = {
    let [a, b, c, d, e, f, g, h, i] = SHARED;
    [
        optimize_strategy(&[
            "AUTO_STRATEGY",
            "BATCH_GRADIENT_DESCENT",
            "NEWTON",
            "LBFGS",
            "COORDINATE_DESCENT",
        ]),
        penalty("l1_reg", &[], "Cost of the sum of absolute coefficients."),
        penalty(
            "l2_reg",
            &[],
            "Cost of half the sum of squared coefficients; the inverse of scikit-learn's C.",
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
    name: "logistic_reg",
    aliases: &["logistic", "logistic_regression"],
    task: Task::Classification,
    summary: "Predicts the probability of each class from a weighted sum of the features.",
    doc: "\
Minimises Σ w·loss + ½ l2_reg·‖β‖² + l1_reg·‖β‖₁ over the coefficients β in the features' own units; the intercepts are free. \
The loss is −log p of the sample's class: with two classes p = 1 / (1 + exp(−z)) for the second, with more p = softmax(z), one \
set of coefficients a class. So l2_reg is the inverse of scikit-learn's C.

Shapes: numbers are one column each, every category one indicator, NULL among them (`DUMMY_ENCODING` leaves the most frequent \
out). Where columns depend on each other, the coefficients of least norm are given.
Nulls: a NULL number is the training mean; NULL text is the category `_null_filler`. A category that training never saw, and a \
NULL where training had none, add nothing to a prediction.
Solvers: AUTO_STRATEGY is Newton's method up to 600 coefficients, else L-BFGS; both run until the gradient has fallen to 1e-8 of \
a constant model's, at most 100 passes. With l1_reg Newton's steps are solved by coordinate descent (COORDINATE_DESCENT names \
the same), and L-BFGS becomes OWL-QN. From 200,000 rows on the start is learned from a share of the rows. The loss of \
`ML.TRAINING_INFO` is the mean log loss.
Warnings: `separation` when a combination of features tells classes apart without error, so that coefficients would grow \
without end; `no_convergence`.
Cost: O(n·p·classes) a pass; with a Hessian, which few passes need, O(n·p²·classes²).
Deterministic: the sums do not depend on threads, nor on how rows come in batches.
Errors: fewer than two classes; a combination of options that contradict each other; features that depend on each other, or \
more than two classes, with calculate_p_values.
Source: Hastie, Tibshirani and Friedman 2009, The Elements of Statistical Learning, section 4.4.",
    hyperparameters: &HYPERPARAMETERS,
    check: super::check,
    tags: Tags { revisits: true, ..Tags::NONE },
    inspections: &["weights", "advanced_weights"],
    steps: &[StepDecoder::of::<GlmStep>()],
    state_steps: &[],
    load: LinearModel::load,
};

/// Coefficients up to which AUTO_STRATEGY is Newton's method, and up to which that is allowed.
const NEWTON_COEFFICIENTS: usize = 600;
const WIDEST_NEWTON: usize = 4096;
/// Rows from which on a share of them is tried first, the greatest such share, and the rows that it
/// has at least: so many, and so many for each coefficient.
const SAMPLED_FROM: u64 = 200_000;
const MOST_IN_ONE: u64 = 16;
const LEAST_SAMPLE: u64 = 32_768;
const SAMPLE_PER_COEFFICIENT: u64 = 64;
/// The share's minimum need not be exact: its gradient against the tolerance of the whole.
const SAMPLE_PRECISION: f64 = 1e5;

#[async_trait]
impl Estimator for LogisticReg {
    fn spec(&self) -> &'static EstimatorSpec {
        &SPEC
    }

    fn passes(&self, options: &Options, shape: &SampleShape) -> Passes {
        let is_gradient_descent = Strategy::of(options) == Strategy::BatchGradientDescent;
        let limits = Limits::new(options, is_gradient_descent);
        let needs_dictionary = shape.n_categorical > 0 || options.weighs_classes();
        Passes {
            source: 1 + u64::from(needs_dictionary),
            kept: limits.max_iterations as u64,
        }
    }

    async fn fit(
        &self,
        samples: &dyn TrainingSet,
        options: &Options,
        run: &TrainingRun,
    ) -> Result<Box<dyn Model>> {
        let encoding = target(samples)?;
        let n_classes = encoding.classes.len();
        if n_classes < 2 {
            return Err(Error::BadLabel {
                column: encoding.column.clone(),
                problem: "has fewer than two classes".to_owned(),
                hint: "A classifier needs rows of at least two classes.".to_owned(),
            });
        }
        if n_classes > 2 && options.bool("calculate_p_values") {
            return Err(Error::ConflictingOptions {
                message: format!(
                    "option \"calculate_p_values\" needs a label with two classes, got {n_classes}"
                ),
                hint: "Set calculate_p_values = FALSE, or label one class against the others."
                    .to_owned(),
            });
        }
        let is_binary = n_classes == 2;
        let layout = Layout::new(
            samples.encoder(),
            options,
            if is_binary { 1 } else { n_classes },
        );
        let link = if is_binary {
            Link::Logistic
        } else {
            Link::Softmax
        };
        let fit = Fit {
            samples,
            options,
            run,
            layout: &layout,
            encoding,
            link,
        };
        Ok(Box::new(fit.fit().await?))
    }
}

/// One training.
struct Fit<'a> {
    samples: &'a dyn TrainingSet,
    options: &'a Options,
    run: &'a TrainingRun,
    layout: &'a Layout,
    encoding: &'a TargetEncoding,
    link: Link,
}

impl Fit<'_> {
    async fn fit(&self) -> Result<LinearModel> {
        let mut objective = self.objective();
        let strategy = self.strategy()?;
        let limits = Limits::new(self.options, strategy == Strategy::BatchGradientDescent);
        let mut solution = self.solve(&mut objective, strategy, limits).await?;
        warn_unless_converged(self.run, solution.outcome, limits.max_iterations);
        self.warn_of_separation(&mut objective, &solution).await?;
        self.settle(&mut solution);
        let (encoder, target) = (self.samples.encoder(), self.samples.target());
        let mut model = LinearModel::new(
            self.link,
            self.layout,
            &solution.parameters,
            encoder,
            target,
        );
        if self.options.bool("calculate_p_values") {
            check_width(
                "calculate_p_values",
                self.layout.n_parameters(),
                WIDEST_NEWTON,
            )?;
            let hessian = objective
                .evaluate(&solution.parameters, true)
                .await?
                .hessian;
            model.uncertainty = Some(uncertainty(&hessian, 1.0, None, self.layout, &model)?);
        }
        Ok(model)
    }

    fn strategy(&self) -> Result<Strategy> {
        let n = self.layout.n_parameters();
        Ok(match Strategy::of(self.options) {
            Strategy::Newton | Strategy::CoordinateDescent | Strategy::NormalEquation => {
                check_width("Newton's method", n, WIDEST_NEWTON)?;
                Strategy::Newton
            }
            Strategy::Auto if n <= NEWTON_COEFFICIENTS => Strategy::Newton,
            Strategy::Auto => Strategy::Lbfgs,
            strategy => strategy,
        })
    }

    fn objective(&self) -> RowPasses<'_> {
        let shares = self.shares();
        // As a 0/1 response a class has the variance p·(1 − p).
        let variance: f64 = shares.iter().map(|p| p * (1.0 - p)).sum();
        RowPasses {
            samples: self.samples,
            run: self.run,
            layout: self.layout,
            loss: if self.link == Link::Logistic {
                Loss::Logistic
            } else {
                Loss::Softmax
            },
            n_classes: u32::try_from(shares.len()).unwrap_or(u32::MAX),
            response_shift: 0.0,
            response_spread: variance.sqrt(),
            penalty: self
                .layout
                .penalty(self.options.f64("l1_reg"), self.options.f64("l2_reg")),
            one_in: 1,
            weight: 0.0,
        }
    }

    /// How frequent each class is; one that training lacks counts as half a row.
    fn shares(&self) -> Vec<f64> {
        let counts = self
            .encoding
            .class_counts
            .iter()
            .map(|&count| (count as f64).max(0.5));
        let counts: Vec<f64> = counts.collect();
        let total: f64 = counts.iter().sum();
        counts.iter().map(|count| count / total).collect()
    }

    /// The constant model, or the last version.
    fn start(&self) -> (Vec<f64>, bool) {
        if let Some(warm) = warm_start(self.run, self.link, self.layout, self.samples) {
            return (warm, true);
        }
        let mut start = vec![0.0; self.layout.n_parameters()];
        if self.layout.fit_intercept {
            let (stride, shares) = (self.layout.stride(), self.shares());
            let logs: Vec<f64> = shares.iter().map(|share| share.ln()).collect();
            let mean = logs.iter().sum::<f64>() / logs.len() as f64;
            match self.link {
                Link::Logistic => start[stride - 1] = logs[1] - logs[0],
                _ => (0..logs.len()).for_each(|k| start[k * stride + stride - 1] = logs[k] - mean),
            }
        }
        (start, false)
    }

    async fn solve(
        &self,
        objective: &mut RowPasses<'_>,
        strategy: Strategy,
        limits: Limits,
    ) -> Result<Solution> {
        let (mut start, is_warm) = self.start();
        let n_samples = self.samples.n_samples(Part::Training);
        let mut curve = Curve::new(self.run);
        if strategy == Strategy::BatchGradientDescent {
            let rate = LearnRate::new(self.options);
            return gradient_descent(objective, start, rate, limits, &mut curve).await;
        }
        let n = self.layout.n_parameters() as u64;
        let one_in = n_samples / LEAST_SAMPLE.max(n * SAMPLE_PER_COEFFICIENT);
        let is_sampled = n_samples >= SAMPLED_FROM && one_in >= 4 && !is_warm;
        let mut hessians = if n_samples < SAMPLED_FROM {
            Hessians::Always
        } else {
            Hessians::WhenSlow
        };
        if is_sampled {
            objective.one_in = one_in.min(MOST_IN_ONE) as usize;
            let mut silent = Curve::silent(self.run);
            let limits = Limits {
                max_iterations: 50,
                min_rel_progress: None,
            };
            let sampled = match strategy {
                Strategy::Newton => {
                    newton(
                        objective,
                        start,
                        Hessians::Always,
                        SAMPLE_PRECISION,
                        limits,
                        &mut silent,
                    )
                    .await?
                }
                _ => lbfgs(objective, start, SAMPLE_PRECISION, limits, &mut silent).await?,
            };
            start = sampled.parameters;
            hessians = sampled.hessian.map_or(Hessians::WhenSlow, Hessians::From);
            objective.one_in = 1;
        }
        match strategy {
            Strategy::Newton => newton(objective, start, hessians, 1.0, limits, &mut curve).await,
            _ => lbfgs(objective, start, 1.0, limits, &mut curve).await,
        }
    }

    /// Chooses among equal minima: coefficients of least norm, and intercepts that sum to zero. Adding
    /// a number to a feature's coefficients of all classes changes no prediction, so that weak
    /// penalties leave it to rounding; here the best number is computed.
    fn settle(&self, solution: &mut Solution) {
        let (n, stride) = (self.layout.n_parameters(), self.layout.stride());
        let penalty = self
            .layout
            .penalty(self.options.f64("l1_reg"), self.options.f64("l2_reg"));
        if let (Some(hessian), false) = (&solution.hessian, self.is_penalised()) {
            let lengths = self.layout.lengths().repeat(self.layout.n_outputs);
            Factor::new(hessian, n).shorten(&mut solution.parameters, &lengths);
        }
        if self.link == Link::Softmax {
            for column in 0..stride {
                let of_classes = || (column..n).step_by(stride);
                let values: Vec<f64> = of_classes().map(|idx| solution.parameters[idx]).collect();
                let by = balance(values, penalty.l1[column], penalty.l2[column]);
                of_classes().for_each(|idx| solution.parameters[idx] += by);
            }
        }
    }

    fn is_penalised(&self) -> bool {
        self.options.f64("l1_reg") > 0.0 || self.options.f64("l2_reg") > 0.0
    }

    /// Without penalties, classes that can be told apart have no finite maximum likelihood.
    async fn warn_of_separation(
        &self,
        objective: &mut RowPasses<'_>,
        solution: &Solution,
    ) -> Result<()> {
        /// Mean log loss below which hardly a row is in doubt.
        const CERTAIN: f64 = 1e-6;
        /// Effect of a category beyond which its rows are not in doubt: odds of 3 million to one.
        const DECISIVE: f64 = 15.0;
        /// Rows, of average weight, whose class is in doubt at least where a category has all classes.
        const IN_DOUBT: f64 = 0.1;
        if self.is_penalised() {
            return Ok(());
        }
        let hint = "Set l2_reg = 1 to keep the coefficients finite.";
        if solution.loss < CERTAIN {
            let message = "the features separate the classes without error, so that the coefficients have no finite optimum";
            self.run.warn("separation", message.to_owned(), Some(hint));
            return Ok(());
        }
        let n_dense = self.layout.frame.scale.len();
        let stride = self.layout.stride().max(1);
        let columns = self
            .layout
            .free
            .iter()
            .chain(std::iter::repeat(&0))
            .take(stride);
        let columns: Vec<usize> = columns.copied().collect();
        let is_decisive = |idx: &usize| {
            columns[idx % stride] >= n_dense && solution.parameters[*idx].abs() > DECISIVE
        };
        let decisive: Vec<usize> = (0..solution.parameters.len()).filter(is_decisive).collect();
        if decisive.is_empty() {
            return Ok(());
        }
        // Large coefficients may balance each other. Where a category has some classes only, no row of it is in doubt, so
        // that the slope Σ w·(p − y) over its rows no longer changes when its coefficient grows.
        let mut further = solution.parameters.clone();
        decisive
            .iter()
            .for_each(|&idx| further[idx] += further[idx].signum());
        let here = objective
            .evaluate(&solution.parameters, false)
            .await?
            .gradient;
        let there = objective.evaluate(&further, false).await?.gradient;
        let n_samples = self.samples.n_samples(Part::Training).max(1);
        let least =
            (objective.weight() / n_samples as f64 * IN_DOUBT).max(objective.weight() * 1e-7);
        if decisive
            .iter()
            .any(|&idx| (there[idx] - here[idx]).abs() < least)
        {
            let message = "a category occurs with some classes only, so that its coefficient has no finite optimum";
            self.run.warn("separation", message.to_owned(), Some(hint));
        }
        Ok(())
    }
}

/// The number which, added to all values, makes Σ l1·|v| + ½ l2·v² least; without costs, Σ v².
fn balance(mut values: Vec<f64>, l1: f64, l2: f64) -> f64 {
    let n = values.len() as f64;
    let sum: f64 = values.iter().sum();
    if l1 == 0.0 {
        return -sum / n;
    }
    // The slope at t is l1·(positive − negative values) + l2·(sum + n·t) and grows with t; from one
    // kink −v to the next the signs stay. Kinks ascend as values descend.
    values.sort_by(|a, b| b.total_cmp(a));
    let mut left = f64::NEG_INFINITY;
    for n_positive in 0..=values.len() {
        let right = values.get(n_positive).map_or(f64::INFINITY, |v| -v);
        let signs = l1 * (2.0 * n_positive as f64 - n);
        let flat = if l2 > 0.0 {
            -(signs / l2 + sum) / n
        } else if signs == 0.0 {
            0.0
        } else {
            -signs * f64::INFINITY
        };
        if flat <= right {
            return flat.max(left);
        }
        left = right;
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::balance;

    #[test]
    fn coefficients_of_all_classes_are_balanced_at_least_cost() {
        assert_eq!(balance(vec![1.0, 2.0, 6.0], 0.0, 0.0), -3.0);
        assert_eq!(balance(vec![1.0, 2.0, 6.0], 0.0, 5.0), -3.0);
        // The median costs least; among two middle values nothing needs to move.
        assert_eq!(balance(vec![1.0, 2.0, 6.0], 1.0, 0.0), -2.0);
        assert_eq!(balance(vec![-1.0, 2.0], 1.0, 0.0), 0.0);
        assert_eq!(balance(vec![1.0, 2.0], 1.0, 0.0), -1.0);
        for (l1, l2) in [(0.3, 1.0), (1.0, 0.1), (2.0, 2.0)] {
            let values = vec![0.7, -1.1, 2.0, 0.4, 0.9];
            let cost = |t: f64| {
                let of_one = |v: &f64| l1 * (v + t).abs() + 0.5 * l2 * (v + t) * (v + t);
                values.iter().map(of_one).sum::<f64>()
            };
            let best = balance(values.clone(), l1, l2);
            assert!(cost(best) <= cost(best + 1e-4) && cost(best) <= cost(best - 1e-4));
        }
    }
}
