//! What solvers minimise: a smooth convex function of the parameters, and its l1 cost beside it.
//!
//! In: parameters; out: value, gradient and Hessian. [`Quadratic`] answers from sums of products
//! without looking at rows again, [`RowPasses`] by a pass over the rows. Also keeps the training curve,
//! and says when a solver is done.

use std::time::Duration;

use async_trait::async_trait;
use auspex_gpu::Loss;

use super::layout::{Layout, Penalty};
use super::products::ProductSums;
use super::steps::{GlmStep, GlmSums};
use crate::error::{Error, Result};
use crate::options::Options;
use crate::run::{Iteration, TrainingRun};
use crate::training_set::{Part, TrainingSet, Visit, reduce};

/// The smooth part of an objective at some parameters.
#[derive(Debug, Clone)]
pub(super) struct Point {
    /// Σ w·loss + ½ Σ l2·γ².
    pub(super) value: f64,
    /// The mean loss of the training part, as the training curve shows it.
    pub(super) loss: f64,
    /// Gradient of the value.
    pub(super) gradient: Vec<f64>,
    /// Hessian of the value, row-major; empty unless asked for.
    pub(super) hessian: Vec<f64>,
}

/// A convex function of some parameters.
#[async_trait]
pub(super) trait Objective: Send {
    /// The cost of the parameters. Its squares are part of [`Point::value`], absolute values are not.
    fn penalty(&self) -> &Penalty;

    /// The smooth part and its derivatives.
    async fn evaluate(&mut self, parameters: &[f64], with_hessian: bool) -> Result<Point>;

    /// The mean loss of the evaluation part, where there is one.
    async fn held_out_loss(&mut self, parameters: &[f64]) -> Result<Option<f64>>;

    /// Σ w of the training part, known from the first evaluation on.
    fn weight(&self) -> f64;

    /// About how much the value curves along each parameter; from the first evaluation on.
    fn curvatures(&self) -> Vec<f64>;

    /// Gradients below this norm are zero for a solver; from the first evaluation on.
    fn tolerance(&self) -> f64;
}

/// How far the gradient must fall: against its size for a constant model, as SQL.md promises.
const RELATIVE_GRADIENT: f64 = 1e-8;

/// Least squares over centred sums: ½ (yy − 2γᵀc + γᵀCγ).
pub(super) struct Quadratic {
    /// C, `(n, n)`.
    pub(super) matrix: Vec<f64>,
    /// c.
    pub(super) right: Vec<f64>,
    yy: f64,
    weight: f64,
    means: Vec<f64>,
    response_mean: f64,
    penalty: Penalty,
    held_out: Option<ProductSums>,
    columns: Vec<usize>,
}

impl Quadratic {
    /// Least squares over the free columns of a layout; the intercept is solved for by centring.
    pub(super) fn new(
        sums: &ProductSums,
        held_out: Option<ProductSums>,
        layout: &Layout,
        (l1, l2): (f64, f64),
    ) -> Quadratic {
        let columns = layout.free.clone();
        let n = columns.len();
        let [weight, y, yy] = sums.moments;
        // Without an intercept the sums stand as they are: their means count as zero.
        let centre = if layout.fit_intercept {
            1.0 / weight
        } else {
            0.0
        };
        let means: Vec<f64> = columns.iter().map(|&j| sums.x_sums[j] * centre).collect();
        let response_mean = y * centre;
        let element =
            |i: usize, j: usize| sums.xx(columns[i], columns[j]) - weight * means[i] * means[j];
        let matrix = (0..n * n).map(|idx| element(idx / n, idx % n)).collect();
        let right = (0..n)
            .map(|i| sums.xy[columns[i]] - weight * means[i] * response_mean)
            .collect();
        let mut penalty = layout.penalty(l1, l2);
        penalty.l1.truncate(n);
        penalty.l2.truncate(n);
        let yy = yy - weight * response_mean * response_mean;
        Quadratic {
            matrix,
            right,
            yy,
            weight,
            means,
            response_mean,
            penalty,
            held_out,
            columns,
        }
    }

    /// C + l2, whose solution for `right` is the ridge estimate.
    pub(super) fn normal_matrix(&self) -> Vec<f64> {
        let n = self.right.len();
        let mut matrix = self.matrix.clone();
        for i in 0..n {
            matrix[i * n + i] += self.penalty.l2[i];
        }
        matrix
    }

    /// The intercept that belongs to slopes, less the response's shift.
    pub(super) fn intercept(&self, slopes: &[f64]) -> f64 {
        self.response_mean - dot(slopes, &self.means)
    }

    /// Σ w·(y − ŷ)².
    pub(super) fn squared_error(&self, slopes: &[f64]) -> f64 {
        let product = multiply(&self.matrix, slopes);
        (self.yy - 2.0 * dot(slopes, &self.right) + dot(slopes, &product)).max(0.0)
    }

    /// The mean squared error of the evaluation part.
    pub(super) fn held_out_error(&self, slopes: &[f64]) -> Option<f64> {
        let sums = self.held_out.as_ref()?;
        let [weight, y, yy] = sums.moments;
        let b = self.intercept(slopes);
        let mut total = yy - 2.0 * b * y + b * b * weight;
        for (&i, &x) in self.columns.iter().zip(slopes) {
            total += 2.0 * x * (b * sums.x_sums[i] - sums.xy[i]);
            let row = self
                .columns
                .iter()
                .zip(slopes)
                .map(|(&j, &other)| other * sums.xx(i, j));
            total += x * row.sum::<f64>();
        }
        (weight > 0.0).then(|| (total / weight).max(0.0))
    }

    /// The mean squared error of the training part.
    pub(super) fn error(&self, slopes: &[f64]) -> f64 {
        self.squared_error(slopes) / self.weight
    }
}

#[async_trait]
impl Objective for Quadratic {
    fn penalty(&self) -> &Penalty {
        &self.penalty
    }

    async fn evaluate(&mut self, parameters: &[f64], with_hessian: bool) -> Result<Point> {
        let error = self.squared_error(parameters);
        let mut gradient = multiply(&self.matrix, parameters);
        gradient
            .iter_mut()
            .zip(&self.right)
            .for_each(|(g, c)| *g -= c);
        let hessian = if with_hessian {
            self.matrix.clone()
        } else {
            Vec::new()
        };
        let loss = error / self.weight;
        Ok(with_squares(
            Point {
                value: 0.5 * error,
                loss,
                gradient,
                hessian,
            },
            parameters,
            &self.penalty,
        ))
    }

    async fn held_out_loss(&mut self, parameters: &[f64]) -> Result<Option<f64>> {
        Ok(self.held_out_error(parameters))
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    fn curvatures(&self) -> Vec<f64> {
        let n = self.right.len();
        (0..n)
            .map(|i| self.matrix[i * n + i] + self.penalty.l2[i])
            .collect()
    }

    fn tolerance(&self) -> f64 {
        RELATIVE_GRADIENT * (self.yy * self.weight).sqrt()
    }
}

/// Any generalised linear model, one pass over the rows an evaluation.
pub(super) struct RowPasses<'a> {
    pub(super) samples: &'a dyn TrainingSet,
    pub(super) run: &'a TrainingRun,
    pub(super) layout: &'a Layout,
    pub(super) loss: Loss,
    pub(super) n_classes: u32,
    pub(super) response_shift: f64,
    /// Standard deviation of the response, or of a class as a 0/1 response.
    pub(super) response_spread: f64,
    pub(super) penalty: Penalty,
    /// Visits only this share of the rows, and multiplies what it finds.
    pub(super) one_in: usize,
    /// Σ w as the last evaluation found it.
    pub(super) weight: f64,
}

impl RowPasses<'_> {
    async fn pass(
        &self,
        parameters: &[f64],
        with_hessian: bool,
        part: Part,
    ) -> Result<Option<GlmSums>> {
        self.run.check_cancelled()?;
        let step = GlmStep {
            frame: self.layout.frame.clone(),
            loss: self.loss,
            n_classes: self.n_classes,
            n_outputs: self.layout.n_outputs,
            coefficients: self.layout.expand(parameters),
            with_hessian,
            response_shift: self.response_shift,
            one_in: if part == Part::Training {
                self.one_in
            } else {
                1
            },
        };
        reduce(self.samples, &step, part, Visit::Again, self.run).await
    }

    /// The loss as the training curve shows it: log loss, or the mean squared error.
    fn shown(&self, sums: &GlmSums) -> f64 {
        let factor = if self.loss == Loss::Squared { 2.0 } else { 1.0 };
        factor * sums.loss / sums.weight
    }
}

#[async_trait]
impl Objective for RowPasses<'_> {
    fn penalty(&self) -> &Penalty {
        &self.penalty
    }

    async fn evaluate(&mut self, parameters: &[f64], with_hessian: bool) -> Result<Point> {
        let Some(sums) = self.pass(parameters, with_hessian, Part::Training).await? else {
            return Err(Error::Internal {
                what: "a linear model has no samples".to_owned(),
            });
        };
        let factor = self.one_in as f64;
        self.weight = sums.weight * factor;
        let scaled = |values: Vec<f64>| values.iter().map(|x| x * factor).collect::<Vec<f64>>();
        let point = Point {
            value: sums.loss * factor,
            loss: self.shown(&sums),
            gradient: scaled(self.layout.compress(&sums.gradient)),
            hessian: if with_hessian {
                scaled(self.layout.compress_hessian(&sums.hessian))
            } else {
                Vec::new()
            },
        };
        Ok(with_squares(point, parameters, &self.penalty))
    }

    async fn held_out_loss(&mut self, parameters: &[f64]) -> Result<Option<f64>> {
        if self.samples.n_samples(Part::Evaluation) == 0 {
            return Ok(None);
        }
        let sums = self.pass(parameters, false, Part::Evaluation).await?;
        Ok(sums
            .filter(|sums| sums.weight > 0.0)
            .map(|sums| self.shown(&sums)))
    }

    fn weight(&self) -> f64 {
        self.weight
    }

    /// Standardised columns vary by one; an indicator by how often its category was seen.
    fn curvatures(&self) -> Vec<f64> {
        let n = self.samples.n_samples(Part::Training) as f64;
        let encoder = self.samples.encoder();
        let n_dense = self.layout.frame.scale.len();
        let counts: Vec<f64> = encoder
            .categorical()
            .flat_map(|(_, column)| {
                let counts = column
                    .counts
                    .iter()
                    .chain(std::iter::once(&column.null_count));
                counts.take(column.n_seen()).map(|&count| count as f64)
            })
            .collect();
        let of_column = |&column: &usize| {
            if column < n_dense {
                n
            } else {
                counts.get(column - n_dense).copied().unwrap_or(n)
            }
        };
        let intercept = self.layout.fit_intercept.then_some(n);
        let row: Vec<f64> = self
            .layout
            .free
            .iter()
            .map(of_column)
            .chain(intercept)
            .collect();
        let factor = self.weight / n
            * match self.loss {
                Loss::Squared => 1.0,
                Loss::Logistic | Loss::Softmax => self.response_spread.powi(2).max(1e-3),
            };
        let rows = row.repeat(self.layout.n_outputs);
        let curvature = |(count, l2): (&f64, &f64)| count.max(1.0) * factor + l2;
        rows.iter().zip(&self.penalty.l2).map(curvature).collect()
    }

    fn tolerance(&self) -> f64 {
        RELATIVE_GRADIENT * self.weight * self.response_spread
    }
}

/// Adds the costs of squares to a point of the data alone.
fn with_squares(mut point: Point, parameters: &[f64], penalty: &Penalty) -> Point {
    let n = parameters.len();
    for (i, (&x, &l2)) in parameters.iter().zip(&penalty.l2).enumerate() {
        point.value += 0.5 * l2 * x * x;
        point.gradient[i] += l2 * x;
        if !point.hessian.is_empty() {
            point.hessian[i * n + i] += l2;
        }
    }
    point
}

/// Σ a·b.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// A symmetric matrix times a vector.
pub(super) fn multiply(matrix: &[f64], x: &[f64]) -> Vec<f64> {
    if x.is_empty() {
        Vec::new()
    } else {
        matrix
            .chunks_exact(x.len())
            .map(|row| dot(row, x))
            .collect()
    }
}

/// The subgradient of least norm of value + Σ l1·|γ|: zero at the minimum and only there.
pub(super) fn subgradient(point: &Point, parameters: &[f64], penalty: &Penalty) -> Vec<f64> {
    let least = |((&g, &x), &l1): ((&f64, &f64), &f64)| {
        if l1 == 0.0 {
            g
        } else if x != 0.0 {
            g + l1 * x.signum()
        } else {
            g - g.clamp(-l1, l1)
        }
    };
    point
        .gradient
        .iter()
        .zip(parameters)
        .zip(&penalty.l1)
        .map(least)
        .collect()
}

/// The Euclidean norm.
pub(super) fn norm(x: &[f64]) -> f64 {
    dot(x, x).sqrt()
}

/// When a solver ends beyond convergence.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Iterations at most.
    pub(super) max_iterations: usize,
    /// Ends after an iteration that lowers the loss by a lower share.
    pub(super) min_rel_progress: Option<f64>,
}

/// A solver that runs to its own tolerance ends after so many passes.
const MAX_PASSES: usize = 100;

impl Limits {
    /// Gradient descent obeys the options; other solvers obey those that were written.
    pub(super) fn new(options: &Options, is_gradient_descent: bool) -> Limits {
        let binds = |name: &str| is_gradient_descent || options.is_written(name);
        let early_stop = options.bool("early_stop")
            && (binds("early_stop") || options.is_written("min_rel_progress"));
        Limits {
            max_iterations: match binds("max_iterations") {
                true => options.usize("max_iterations"),
                false => MAX_PASSES,
            },
            min_rel_progress: early_stop.then(|| options.f64("min_rel_progress")),
        }
    }

    /// Whether an iteration brought too little.
    pub(super) fn is_slow(&self, before: f64, after: f64) -> bool {
        self.min_rel_progress
            .is_some_and(|least| before - after < least * before.abs())
    }
}

/// How a solver ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// At the minimum.
    Converged,
    /// By `early_stop`.
    StoppedEarly,
    /// At the last iteration allowed.
    Exhausted,
}

/// Where a solver ended.
#[derive(Debug, Clone)]
pub(super) struct Solution {
    pub(super) parameters: Vec<f64>,
    pub(super) outcome: Outcome,
    /// The mean loss of the training part there.
    pub(super) loss: f64,
    /// The Hessian there or near by, where the solver had one.
    pub(super) hessian: Option<Vec<f64>>,
}

/// Writes the training curve.
pub(super) struct Curve<'a> {
    run: &'a TrainingRun,
    last: Duration,
    next: u64,
    is_silent: bool,
}

impl<'a> Curve<'a> {
    /// The curve of a run.
    pub(super) fn new(run: &'a TrainingRun) -> Curve<'a> {
        Curve {
            run,
            last: run.now(),
            next: 0,
            is_silent: false,
        }
    }

    /// A curve that nobody sees.
    pub(super) fn silent(run: &'a TrainingRun) -> Curve<'a> {
        Curve {
            is_silent: true,
            ..Curve::new(run)
        }
    }

    /// Whether nobody sees it, so that no loss need be computed for it.
    pub(super) fn is_silent(&self) -> bool {
        self.is_silent
    }

    /// Numbers the next iteration.
    pub(super) fn skip_to(&mut self, iteration: u64) {
        self.next = iteration;
    }

    /// Adds an iteration.
    pub(super) fn add(&mut self, loss: f64, eval_loss: Option<f64>, learning_rate: Option<f64>) {
        if self.is_silent {
            return;
        }
        let now = self.run.now();
        let spent = now.saturating_sub(self.last);
        self.last = now;
        self.run.iteration(Iteration {
            iteration: self.next,
            loss,
            eval_loss,
            learning_rate,
            duration_ms: u64::try_from(spent.as_millis()).unwrap_or(u64::MAX),
            ..Iteration::default()
        });
        self.next += 1;
    }
}
