//! The pass before binning: a sample of the numbers, the sums of the categories and of the label.
//!
//! In: blocks; out: a [`Survey`], merged in the order of the chunks, from which [`FeatureBins`] and the
//! base scores are made. Never keeps more than the sample.

use super::binning::{CategoryBins, DenseBins, FeatureBins, MAX_BINS};
use super::objective::Objective;
use super::random;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::features::{Dense, FeatureBlock, TargetValues};
use crate::training_set::PartitionStep;

/// Samples that suffice for the cuts: at 255 bins, each holds some five hundred of them.
pub(crate) const SAMPLE_ROWS: u64 = 131_072;

/// The parameters of the pass.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SurveyStep {
    /// What the label sums are for.
    pub(crate) objective: Objective,
    /// Number of categories of each categorical feature, NULL not counted.
    pub(crate) category_counts: Vec<usize>,
    /// Number of samples of the training part, which decides how many are sampled.
    pub(crate) n_samples: u64,
    /// Which samples are sampled.
    pub(crate) seed: u64,
}

/// What a pass over some blocks yields.
#[derive(Debug, Clone, PartialEq, Default, serde::Serialize, serde::Deserialize)]
pub(crate) struct Survey {
    /// Sampled numbers of each dense feature, NaN where missing.
    pub(crate) dense: Vec<Vec<f64>>,
    /// Weights of the sampled rows; empty if all are 1.
    pub(crate) weights: Vec<f64>,
    /// Whether each dense feature has a missing number anywhere.
    pub(crate) has_missing: Vec<bool>,
    /// Weight and weighted target of each category and NULL of each categorical feature.
    pub(crate) categories: Vec<Vec<(f64, f64)>>,
    /// Sampled labels with their weights, for objectives that start at a quantile.
    pub(crate) labels: Vec<(f64, f64)>,
    /// Sum of weights, per class or, of numbers, in one element.
    pub(crate) class_weights: Vec<f64>,
    /// Sum of weighted numbers.
    pub(crate) label_sum: f64,
    /// Number of samples.
    pub(crate) n_samples: u64,
    /// Number of labels below zero.
    pub(crate) n_negative: u64,
}

impl PartitionStep for SurveyStep {
    type Partial = Survey;
    const NAME: &'static str = "tree.survey";

    fn run(&self, block: &FeatureBlock, _: &Compute) -> Result<Survey> {
        self.survey(block)
    }

    fn merge(&self, into: &mut Survey, later: Survey) -> Result<()> {
        SurveyStep::merge(self, into, later)
    }
}

impl SurveyStep {
    /// The survey of one block.
    pub(crate) fn survey(&self, block: &FeatureBlock) -> Result<Survey> {
        let rows = self.sampled_rows(block.n_samples);
        let n_dense = block.n_dense();
        let mut survey = Survey {
            n_samples: block.n_samples as u64,
            ..Survey::default()
        };
        for feature in 0..n_dense {
            let (values, has_missing) = match &block.dense {
                Dense::F32(all) => sample_column(&all[feature * block.n_samples..], &rows, block),
                Dense::F64(all) => sample_column(&all[feature * block.n_samples..], &rows, block),
            };
            survey.dense.push(values);
            survey.has_missing.push(has_missing);
        }
        let weight = |row: usize| block.weights.as_ref().map_or(1.0, |weights| weights[row]);
        if block.weights.is_some() {
            survey.weights = rows.iter().map(|&row| weight(row)).collect();
        }
        let label: Box<dyn Fn(usize) -> f64> = match &block.target {
            TargetValues::Numbers(numbers) => Box::new(|row| numbers[row]),
            TargetValues::Classes(classes) => Box::new(|row| f64::from(classes[row])),
            TargetValues::None => return Err(internal("trees need a label")),
        };
        survey.labels = rows.iter().map(|&row| (label(row), weight(row))).collect();
        self.sum_labels(block, &weight, &mut survey)?;
        for (codes, &n_categories) in block.codes.iter().zip(&self.category_counts) {
            let mut sums = vec![(0.0, 0.0); n_categories + 1];
            for (row, &code) in codes.iter().enumerate() {
                if let Some((weights, targets)) = sums.get_mut(code as usize) {
                    *weights += weight(row);
                    *targets += weight(row) * label(row);
                }
            }
            survey.categories.push(sums);
        }
        Ok(survey)
    }

    fn sampled_rows(&self, n_samples: usize) -> Vec<usize> {
        let key = random::hash(&[self.seed, 1]);
        let chosen = random::threshold(SAMPLE_ROWS as f64 / self.n_samples.max(1) as f64);
        (0..n_samples)
            .filter(|&row| {
                chosen.is_none_or(|below| crate::random::hash_word(key ^ row as u64) < below)
            })
            .collect()
    }

    fn sum_labels(
        &self,
        block: &FeatureBlock,
        weight: &dyn Fn(usize) -> f64,
        survey: &mut Survey,
    ) -> Result<()> {
        match &block.target {
            TargetValues::Classes(classes) => {
                survey.class_weights = vec![0.0; self.objective.n_classes()];
                for (row, &class) in classes.iter().enumerate() {
                    match survey.class_weights.get_mut(class as usize) {
                        Some(sum) => *sum += weight(row),
                        None => return Err(internal("a class beyond the objective's")),
                    }
                }
            }
            TargetValues::Numbers(numbers) => {
                survey.class_weights = vec![(0..numbers.len()).map(weight).sum()];
                survey.n_negative = numbers.iter().filter(|y| **y < 0.0).count() as u64;
                survey.label_sum = numbers
                    .iter()
                    .enumerate()
                    .map(|(row, y)| weight(row) * y)
                    .sum();
            }
            TargetValues::None => {}
        }
        Ok(())
    }

    /// Adds the survey of later blocks to that of earlier ones.
    pub(crate) fn merge(&self, into: &mut Survey, later: Survey) -> Result<()> {
        if into.n_samples == 0 {
            *into = later;
            return Ok(());
        }
        if later.n_samples == 0 {
            return Ok(());
        }
        // A block without weights beside one with weights would misalign the sample.
        if into.weights.is_empty() != later.weights.is_empty()
            && !later.labels.is_empty()
            && !into.labels.is_empty()
        {
            return Err(internal("blocks with and without weights"));
        }
        for (values, more) in into.dense.iter_mut().zip(later.dense) {
            values.extend(more);
        }
        for (has, also) in into.has_missing.iter_mut().zip(later.has_missing) {
            *has |= also;
        }
        into.weights.extend(later.weights);
        into.labels.extend(later.labels);
        for (sums, more) in into.categories.iter_mut().zip(later.categories) {
            for (sum, more) in sums.iter_mut().zip(more) {
                *sum = (sum.0 + more.0, sum.1 + more.1);
            }
        }
        for (sum, more) in into.class_weights.iter_mut().zip(later.class_weights) {
            *sum += more;
        }
        into.label_sum += later.label_sum;
        into.n_negative += later.n_negative;
        into.n_samples += later.n_samples;
        Ok(())
    }
}

impl Survey {
    /// The bins, with at most `max_bin` of them a feature.
    pub(crate) fn bins(&mut self, max_bin: usize) -> FeatureBins {
        let max_bin = max_bin.clamp(2, MAX_BINS);
        let weights = &self.weights;
        let dense = std::mem::take(&mut self.dense)
            .into_iter()
            .zip(&self.has_missing)
            .map(|(values, &has)| DenseBins::fit(&values, weights, has, max_bin))
            .collect();
        let categorical = self
            .categories
            .iter()
            .map(|sums| CategoryBins::fit(sums, max_bin))
            .collect();
        FeatureBins::new(dense, categorical)
    }

    /// The weighted quantile of the sampled labels.
    pub(crate) fn label_quantile(&self, quantile: f64) -> f64 {
        let mut labels = self.labels.clone();
        labels.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let total: f64 = labels.iter().map(|&(_, weight)| weight).sum();
        let mut sum = 0.0;
        for &(label, weight) in &labels {
            sum += weight;
            if sum >= quantile * total && weight > 0.0 {
                return label;
            }
        }
        labels.last().map_or(0.0, |&(label, _)| label)
    }
}

/// The sampled values of a column, and whether any of its values is missing.
fn sample_column<T: Copy + Into<f64>>(
    column: &[T],
    rows: &[usize],
    block: &FeatureBlock,
) -> (Vec<f64>, bool) {
    let column = &column[..block.n_samples];
    let has_missing = column
        .iter()
        .fold(false, |has, &value| has | Into::<f64>::into(value).is_nan());
    (
        rows.iter().map(|&row| column[row].into()).collect(),
        has_missing,
    )
}

fn internal(what: &str) -> Error {
    Error::Internal {
        what: what.to_string(),
    }
}
