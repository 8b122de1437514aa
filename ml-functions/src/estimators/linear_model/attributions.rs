//! What each feature adds to the predictors of a linear model.
//!
//! In: a model and a block; out: coefficient · (x − mean) for each sample, output and feature, which is
//! the Shapley value where features are independent (Štrumbelj and Kononenko 2014). The baseline is the
//! predictor at the means.

use super::model::LinearModel;
use crate::compute::Compute;
use crate::error::Result;
use crate::explain::Attributions;
use crate::features::{Dense, FeatureBlock, FeatureEncoder};

/// The attributions of a block.
pub(super) fn of(
    model: &LinearModel,
    block: &FeatureBlock,
    encoder: &FeatureEncoder,
    compute: &Compute,
) -> Result<Attributions> {
    let numeric: Vec<(&str, f64)> = encoder
        .numeric()
        .map(|(name, column)| (name, column.mean))
        .collect();
    let categorical: Vec<_> = encoder.categorical().collect();
    let names = numeric.iter().map(|(name, _)| *name);
    let features: Vec<String> = names
        .chain(categorical.iter().map(|(name, _)| *name))
        .map(ToOwned::to_owned)
        .collect();
    let (n_outputs, n_features) = (model.outputs().len(), features.len());
    let mut values = vec![0.0; block.n_samples * n_outputs * n_features];
    let mut baseline = Vec::with_capacity(n_outputs);
    for (output, coefficients) in model.outputs().enumerate() {
        let at = |row: usize, feature: usize| (row * n_outputs + output) * n_features + feature;
        let mut expected = coefficients[model.n_cols()];
        for (feature, (_, mean)) in numeric.iter().enumerate() {
            let beta = coefficients[feature];
            expected += beta * (mean - model.frame.shift[feature]);
            for row in 0..block.n_samples {
                values[at(row, feature)] = beta * (number(block, feature, row) - mean);
            }
        }
        let mut first = numeric.len();
        for (column, (_, statistics)) in categorical.iter().enumerate() {
            let width = model.frame.widths[column];
            let of_code = &coefficients[first..first + width];
            let counts = statistics.counts.iter().chain([&statistics.null_count]);
            let n_rows: u64 = statistics.counts.iter().sum::<u64>() + statistics.null_count;
            let sum: f64 = of_code
                .iter()
                .zip(counts)
                .map(|(beta, count)| beta * *count as f64)
                .sum();
            let mean = sum / (n_rows.max(1) as f64);
            expected += mean;
            for (row, code) in block.codes[column].iter().enumerate() {
                let beta = of_code.get(*code as usize).copied().unwrap_or(0.0);
                values[at(row, numeric.len() + column)] = beta - mean;
            }
            first += width;
        }
        baseline.push(expected);
    }
    let design = model.frame.design(block);
    let scores = compute
        .device()
        .linear(&design, &model.coefficients, n_outputs)?;
    Ok(Attributions {
        features,
        baseline,
        scores,
        values,
    })
}

fn number(block: &FeatureBlock, feature: usize, row: usize) -> f64 {
    match &block.dense {
        Dense::F32(values) => f64::from(values[feature * block.n_samples + row]),
        Dense::F64(values) => values[feature * block.n_samples + row],
    }
}
