//! What is minimised: gradients, hessians and losses of scores.
//!
//! In: labels, scores and weights of a block of rows; out: a gradient pair per row and output, and the
//! sum of losses. Definitions are XGBoost's. Never sees features or trees.

use super::math::exp;

/// Rows that are computed at a time, so that a block's numbers stay in the first cache.
pub(crate) const BLOCK_ROWS: usize = 512;

/// The least hessian, as XGBoost's.
const MIN_HESSIAN: f64 = 1e-16;

/// What rounding may add to a gradient of scores that are known but for a little, far above what it does.
const ROUNDING: f64 = 1.0 / (1u64 << 30) as f64;

/// How far beyond the greatest number that was seen a bound is of use: a bit of each rounded gradient at most.
const USEFUL: f64 = 1.0 / 16.0;

/// A loss of labels and scores.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) enum Objective {
    /// Half the squared difference; the loss is reported as the mean squared error.
    SquaredError,
    /// Log loss of two classes; the score is the log-odds of class 1.
    Logistic,
    /// Log loss of several classes; a score per class.
    Softmax {
        /// Number of classes.
        n_classes: usize,
    },
    /// Squared error of class indicators, which is Gini's impurity; a score of two classes is the
    /// frequency of class 1, of more there is one a class.
    Frequencies {
        /// Number of classes.
        n_classes: usize,
    },
    /// Counts; the score is the log of the mean. The loss is half the deviance.
    Poisson,
    /// Non-negative amounts; the score is the log of the mean. The loss is half the deviance.
    Tweedie {
        /// Above 1 and below 2.
        variance_power: f64,
    },
    /// The pinball loss of a quantile; leaves take the quantile of their residuals, as XGBoost's.
    Quantile {
        /// The quantile, between 0 and 1.
        alpha: f64,
    },
    /// The pseudo-Huber loss.
    Huber {
        /// Where it turns from a parabola to a line.
        slope: f64,
    },
}

/// Some rows' labels, weights and scores; the scores of output `k` are at `k · labels.len()`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockScores<'a> {
    /// Numbers or classes.
    pub(crate) labels: &'a [f64],
    /// 1 if absent.
    pub(crate) weights: Option<&'a [f64]>,
    /// Of all outputs.
    pub(crate) scores: &'a [f64],
}

impl Objective {
    /// Scores of a sample.
    pub(crate) fn n_outputs(&self) -> usize {
        match *self {
            Objective::Softmax { n_classes } => n_classes,
            Objective::Frequencies { n_classes } if n_classes > 2 => n_classes,
            _ => 1,
        }
    }

    /// Classes of the label; 0 for numbers.
    pub(crate) fn n_classes(&self) -> usize {
        match *self {
            Objective::Logistic => 2,
            Objective::Softmax { n_classes } | Objective::Frequencies { n_classes } => n_classes,
            _ => 0,
        }
    }

    /// XGBoost's default of the option: Poisson's steps are kept short.
    pub(crate) fn max_delta_step(&self) -> f64 {
        match self {
            Objective::Poisson => 0.7,
            _ => 0.0,
        }
    }

    /// The quantile of the residuals that a leaf's value is, where gradients say nothing of sizes.
    pub(crate) fn leaf_quantile(&self) -> Option<f64> {
        match *self {
            Objective::Quantile { alpha } => Some(alpha),
            _ => None,
        }
    }

    /// Bounds of |gradient| and hessian of a sample of weight 1, where scores cannot exceed them.
    pub(crate) fn bounds(&self) -> Option<(f64, f64)> {
        match *self {
            Objective::Logistic => Some((1.0, 0.25)),
            Objective::Softmax { .. } => Some((1.0, 0.5)),
            Objective::Quantile { .. } | Objective::Frequencies { .. } => Some((1.0, 1.0)),
            _ => None,
        }
    }

    /// Bounds of |gradient| and hessian where `maxima` are the greatest at scores that differ by at most `off`; `None` if
    /// they are far above them.
    ///
    /// The slope of a gradient is at most the hessian, and that of the hessian's logarithm at most a constant: 1 where the
    /// mean is an exponential, and 3/slope times the greatest r/(1 + r²), which is 1/2, of Huber's (1 + r²)^(-3/2).
    pub(crate) fn bounds_near(&self, maxima: [f64; 2], off: f64) -> Option<[f64; 2]> {
        if off == 0.0 {
            return Some(maxima);
        }
        let [g, h] = maxima;
        let steepness = match *self {
            Objective::Poisson | Objective::Tweedie { .. } => 1.0,
            Objective::Huber { slope } => 1.5 / slope,
            _ => 0.0,
        };
        let growth = exp(steepness * off);
        let more = off * h * growth;
        let is_useful = growth <= 1.0 + USEFUL && more <= g * USEFUL;
        let h_rounding = if steepness > 0.0 { ROUNDING } else { 0.0 };
        is_useful.then_some([
            g + more + (g + h) * ROUNDING,
            h * growth * (1.0 + h_rounding),
        ])
    }

    /// The scores before any tree: the best constant.
    ///
    /// `class_weights` are the sums of weights per class, or one sum for numbers; `label_sum` that of
    /// weighted numbers; `quantile` finds one of the labels.
    pub(crate) fn base_scores(
        &self,
        class_weights: &[f64],
        label_sum: f64,
        quantile: impl Fn(f64) -> f64,
    ) -> Vec<f64> {
        let total: f64 = class_weights.iter().sum();
        let mean = if total > 0.0 { label_sum / total } else { 0.0 };
        // A class without weight would start at minus infinity; its trees move it down instead.
        let log_share = |weight: f64| ((weight + 1e-6) / (total + 1e-6)).ln();
        match *self {
            Objective::SquaredError => vec![mean],
            Objective::Logistic => vec![log_share(class_weights[1]) - log_share(class_weights[0])],
            Objective::Softmax { .. } => class_weights.iter().map(|&w| log_share(w)).collect(),
            Objective::Frequencies { n_classes } => {
                let shares = class_weights
                    .iter()
                    .map(|weight| weight / total.max(f64::MIN_POSITIVE));
                shares.skip(usize::from(n_classes <= 2)).collect()
            }
            Objective::Poisson | Objective::Tweedie { .. } => vec![mean.max(1e-6).ln()],
            Objective::Quantile { alpha } => vec![quantile(alpha)],
            Objective::Huber { .. } => vec![quantile(0.5)],
        }
    }

    /// Writes the weighted gradients and hessians, output by output as the scores; returns the sum
    /// of weighted losses.
    #[inline(always)]
    pub(crate) fn gradients(&self, block: BlockScores<'_>, g: &mut [f64], h: &mut [f64]) -> f64 {
        match *self {
            Objective::Logistic => logistic(block, g, h),
            Objective::Softmax { n_classes } => softmax(block, n_classes, g, h),
            Objective::Frequencies { n_classes } if n_classes > 2 => {
                frequencies(block, n_classes, g, h)
            }
            Objective::Frequencies { .. } => each(block, g, h, |y, score| {
                (score - y, 1.0, (score - y) * (score - y))
            }),
            Objective::SquaredError => each(block, g, h, |y, score| {
                let difference = score - y;
                (difference, 1.0, difference * difference)
            }),
            Objective::Poisson => each(block, g, h, |y, score| {
                let mean = exp(score);
                let hessian = exp(score + Objective::Poisson.max_delta_step());
                let log = if y > 0.0 { y * (y.ln() - score) } else { 0.0 };
                (mean - y, hessian, log - (y - mean))
            }),
            Objective::Tweedie { variance_power } => {
                each(block, g, h, |y, score| tweedie(variance_power, y, score))
            }
            Objective::Quantile { alpha } => each(block, g, h, |y, score| {
                let difference = score - y;
                let gradient = if difference >= 0.0 {
                    1.0 - alpha
                } else {
                    -alpha
                };
                (gradient, 1.0, gradient * difference)
            }),
            Objective::Huber { slope } => each(block, g, h, |y, score| {
                let difference = score - y;
                let ratio = difference / slope;
                let scale = 1.0 + ratio * ratio;
                let root = scale.sqrt();
                let loss = slope * slope * (root - 1.0);
                (difference / root, 1.0 / (scale * root), loss)
            }),
        }
    }
}

/// Objectives of one output: `pair` gives gradient, hessian and loss.
#[inline(always)]
fn each(
    block: BlockScores<'_>,
    g: &mut [f64],
    h: &mut [f64],
    pair: impl Fn(f64, f64) -> (f64, f64, f64),
) -> f64 {
    let mut sum = 0.0;
    for (row, (g, h)) in g.iter_mut().zip(h.iter_mut()).enumerate() {
        let (gradient, hessian, loss) = pair(block.labels[row], block.scores[row]);
        let weight = block.weights.map_or(1.0, |weights| weights[row]);
        *g = gradient * weight;
        *h = hessian * weight;
        sum += loss * weight;
    }
    sum
}

/// With t = e^-|m| for the margin m of the true class, the loss is max(-m, 0) + ln(1 + t), the
/// gradient's magnitude is 1 / (1 + e^m) and the hessian t / (1 + t)².
#[inline(always)]
fn logistic(block: BlockScores<'_>, g: &mut [f64], h: &mut [f64]) -> f64 {
    let rows = block.labels.iter().zip(block.scores);
    let mut small = [0.0; BLOCK_ROWS];
    let mut large = [0.0; BLOCK_ROWS];
    let out = g
        .iter_mut()
        .zip(h.iter_mut())
        .zip(small.iter_mut().zip(&mut large));
    for ((&label, &score), ((g, h), (t, linear))) in rows.zip(out) {
        let sign = 2.0 * label - 1.0;
        let margin = sign * score;
        *t = exp(-margin.abs());
        *linear = if margin < 0.0 { -margin } else { 0.0 };
        let inverse = 1.0 / (1.0 + *t);
        let miss = if margin < 0.0 { inverse } else { *t * inverse };
        *g = -sign * miss;
        let hessian = *t * inverse * inverse;
        *h = if hessian > MIN_HESSIAN {
            hessian
        } else {
            MIN_HESSIAN
        };
    }
    let Some(weights) = block.weights else {
        return unweighted_log_loss(&small, &large);
    };
    let mut sum = 0.0;
    for (row, &weight) in weights.iter().enumerate() {
        sum += weight * (large[row] + small[row].ln_1p());
        g[row] *= weight;
        h[row] *= weight;
    }
    sum
}

/// Σ ln(1 + t) = ln Π (1 + t), which is at most 2^512, so that one logarithm serves the block. Eight
/// products at a time for the vector unit; the rows that a short block lacks have t = 0.
#[inline(always)]
fn unweighted_log_loss(t: &[f64; BLOCK_ROWS], linear: &[f64; BLOCK_ROWS]) -> f64 {
    let mut sums = [0.0; 8];
    let mut products = [1.0; 8];
    for (t, linear) in t.as_chunks::<8>().0.iter().zip(linear.as_chunks::<8>().0) {
        for lane in 0..8 {
            sums[lane] += linear[lane];
            products[lane] *= 1.0 + t[lane];
        }
    }
    sums.iter().sum::<f64>() + products.iter().product::<f64>().ln()
}

#[inline(always)]
fn softmax(block: BlockScores<'_>, n_classes: usize, g: &mut [f64], h: &mut [f64]) -> f64 {
    let n_rows = block.labels.len();
    let scores = &block.scores[..n_rows * n_classes];
    let mut greatest = [f64::NEG_INFINITY; BLOCK_ROWS];
    let mut total = [0.0; BLOCK_ROWS];
    for class in scores.chunks_exact(n_rows) {
        for (max, &score) in greatest.iter_mut().zip(class) {
            *max = max.max(score);
        }
    }
    for (class, g) in scores.chunks_exact(n_rows).zip(g.chunks_exact_mut(n_rows)) {
        for row in 0..n_rows {
            g[row] = exp(class[row] - greatest[row]);
            total[row] += g[row];
        }
    }
    let mut sum = 0.0;
    for row in 0..n_rows {
        let weight = block.weights.map_or(1.0, |weights| weights[row]);
        let score = scores[block.labels[row] as usize * n_rows + row];
        sum += weight * (total[row].ln() + greatest[row] - score);
    }
    for (class, (g, h)) in g
        .chunks_exact_mut(n_rows)
        .zip(h.chunks_exact_mut(n_rows))
        .enumerate()
    {
        for row in 0..n_rows {
            let weight = block.weights.map_or(1.0, |weights| weights[row]);
            let p = g[row] / total[row];
            let is_class = f64::from(u8::from(block.labels[row] == class as f64));
            g[row] = (p - is_class) * weight;
            h[row] = (2.0 * p * (1.0 - p)).max(MIN_HESSIAN) * weight;
        }
    }
    sum
}

#[inline(always)]
fn frequencies(block: BlockScores<'_>, n_classes: usize, g: &mut [f64], h: &mut [f64]) -> f64 {
    let n_rows = block.labels.len();
    let scores = &block.scores[..n_rows * n_classes];
    let mut sum = 0.0;
    for (class, scores) in scores.chunks_exact(n_rows).enumerate() {
        for (row, score) in scores.iter().enumerate() {
            let weight = block.weights.map_or(1.0, |weights| weights[row]);
            let is_class = f64::from(u8::from(block.labels[row] == class as f64));
            let difference = score - is_class;
            g[class * n_rows + row] = difference * weight;
            h[class * n_rows + row] = weight;
            sum += difference * difference * weight;
        }
    }
    sum
}

/// Gradient, hessian and half the deviance of a variance power ρ:
/// y·(y^(1-ρ) - μ^(1-ρ)) / (1-ρ) - (y^(2-ρ) - μ^(2-ρ)) / (2-ρ).
#[inline(always)]
fn tweedie(variance_power: f64, y: f64, score: f64) -> (f64, f64, f64) {
    let (a, b) = (1.0 - variance_power, 2.0 - variance_power);
    let (mu_a, mu_b) = (exp(a * score), exp(b * score));
    let y_b = y.powf(b);
    let loss = (y_b - y * mu_a) / a - (y_b - mu_b) / b;
    (mu_b - y * mu_a, b * mu_b - y * a * mu_a, loss)
}
