//! A training set in memory, for the tests of estimators.
//!
//! In: columns; out: blocks of few rows, so that every pass merges partials, each of which goes through
//! bytes. The encoder is made of the columns as the real one would be.

use async_trait::async_trait;

use crate::error::Result;
use crate::features::{
    CategoricalStatistics, Dense, Feature, FeatureBlock, FeatureEncoder, FeatureKind,
    FeatureSchema, FeatureStatistics, NumericStatistics, TargetEncoding, TargetValues,
};
use crate::run::TrainingRun;
use crate::training_set::{AnyPartial, AnyStep, Part, TrainingSet, Visit};

/// A column of the samples.
#[derive(Debug, Clone)]
pub(crate) enum Column {
    Numbers(Vec<Option<f64>>),
    Texts(Vec<Option<String>>),
}

/// Samples in blocks.
#[derive(Debug, Clone)]
pub(crate) struct InMemory {
    encoder: FeatureEncoder,
    pub(crate) blocks: Vec<FeatureBlock>,
    n_samples: usize,
}

impl InMemory {
    pub(crate) fn new(columns: &[(&str, Column)], block_rows: usize) -> InMemory {
        let features = columns
            .iter()
            .map(|(name, column)| Feature {
                name: (*name).to_owned(),
                sql_type: String::new(),
                kind: match column {
                    Column::Numbers(_) => FeatureKind::NumericF64,
                    Column::Texts(_) => FeatureKind::Categorical,
                },
            })
            .collect();
        let statistics: Vec<_> = columns.iter().map(|(_, column)| describe(column)).collect();
        let n_samples = match &columns[0].1 {
            Column::Numbers(values) => values.len(),
            Column::Texts(values) => values.len(),
        };
        let rows: Vec<usize> = (0..n_samples).collect();
        let blocks = rows
            .chunks(block_rows)
            .map(|rows| encode(columns, &statistics, rows))
            .collect();
        let encoder = FeatureEncoder {
            schema: FeatureSchema { features },
            statistics,
        };
        InMemory {
            encoder,
            blocks,
            n_samples,
        }
    }

    /// Numeric columns `x0`, `x1`, … of row-major rows.
    pub(crate) fn of_rows(rows: &[Vec<f64>], block_rows: usize) -> InMemory {
        let names: Vec<String> = (0..rows[0].len()).map(|j| format!("x{j}")).collect();
        let column = |j: usize| Column::Numbers(rows.iter().map(|row| Some(row[j])).collect());
        let columns: Vec<_> = names
            .iter()
            .enumerate()
            .map(|(j, name)| (name.as_str(), column(j)))
            .collect();
        InMemory::new(&columns, block_rows)
    }

    /// All samples in one block.
    pub(crate) fn whole(&self) -> FeatureBlock {
        let n_dense = self.encoder.numeric().count();
        let mut dense = Vec::new();
        for j in 0..n_dense {
            for block in &self.blocks {
                match &block.dense {
                    Dense::F64(values) => {
                        dense.extend(&values[j * block.n_samples..][..block.n_samples])
                    }
                    Dense::F32(_) => unreachable!(),
                }
            }
        }
        let n_codes = self.encoder.categorical().count();
        let codes = (0..n_codes)
            .map(|c| {
                self.blocks
                    .iter()
                    .flat_map(|block| block.codes[c].clone())
                    .collect()
            })
            .collect();
        FeatureBlock {
            n_samples: self.n_samples,
            dense: Dense::F64(dense),
            codes,
            target: TargetValues::None,
            weights: None,
        }
    }
}

fn describe(column: &Column) -> FeatureStatistics {
    match column {
        Column::Numbers(values) => {
            let known: Vec<f64> = values.iter().copied().flatten().collect();
            let n = known.len() as f64;
            let mean = known.iter().sum::<f64>() / n;
            let squares: f64 = known.iter().map(|x| (x - mean) * (x - mean)).sum();
            FeatureStatistics::Numeric(NumericStatistics {
                count: known.len() as u64,
                null_count: (values.len() - known.len()) as u64,
                min: known.iter().copied().fold(f64::INFINITY, f64::min),
                max: known.iter().copied().fold(f64::NEG_INFINITY, f64::max),
                mean,
                median: mean,
                stddev: (squares / (n - 1.0)).sqrt(),
            })
        }
        Column::Texts(values) => {
            let mut categories: Vec<String> = values.iter().flatten().cloned().collect();
            categories.sort();
            categories.dedup();
            let count = |category: &String| {
                values
                    .iter()
                    .filter(|value| value.as_ref() == Some(category))
                    .count() as u64
            };
            FeatureStatistics::Categorical(CategoricalStatistics {
                counts: categories.iter().map(count).collect(),
                null_count: values.iter().filter(|value| value.is_none()).count() as u64,
                collapsed_count: 0,
                categories,
            })
        }
    }
}

fn encode(
    columns: &[(&str, Column)],
    statistics: &[FeatureStatistics],
    rows: &[usize],
) -> FeatureBlock {
    let (mut dense, mut codes) = (Vec::new(), Vec::new());
    for ((_, column), statistics) in columns.iter().zip(statistics) {
        match (column, statistics) {
            (Column::Numbers(values), FeatureStatistics::Numeric(numeric)) => {
                dense.extend(rows.iter().map(|&row| values[row].unwrap_or(numeric.mean)));
            }
            (Column::Texts(values), FeatureStatistics::Categorical(categorical)) => {
                let code = |&row: &usize| match &values[row] {
                    Some(value) => categorical.categories.binary_search(value).unwrap() as u32,
                    None => categorical.null_code() as u32,
                };
                codes.push(rows.iter().map(code).collect());
            }
            _ => unreachable!(),
        }
    }
    FeatureBlock {
        n_samples: rows.len(),
        dense: Dense::F64(dense),
        codes,
        target: TargetValues::None,
        weights: None,
    }
}

#[async_trait]
impl TrainingSet for InMemory {
    fn encoder(&self) -> &FeatureEncoder {
        &self.encoder
    }

    fn target(&self) -> Option<&TargetEncoding> {
        None
    }

    fn n_samples(&self, part: Part) -> u64 {
        if part == Part::Training {
            self.n_samples as u64
        } else {
            0
        }
    }

    async fn reduce_any(
        &self,
        step: &dyn AnyStep,
        part: Part,
        _visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<AnyPartial>> {
        let mut whole: Option<AnyPartial> = None;
        let blocks = if part == Part::Training {
            self.blocks.as_slice()
        } else {
            &[]
        };
        for block in blocks {
            run.check_cancelled()?;
            let partial = step.run_any(block, &run.compute)?;
            let partial = step.decode_partial(&step.encode_partial(&partial)?)?;
            match &mut whole {
                None => whole = Some(partial),
                Some(whole) => step.merge_any(whole, partial)?,
            }
        }
        Ok(whole)
    }

    async fn gather(&self, _part: Part, _run: &TrainingRun) -> Result<FeatureBlock> {
        Ok(self.whole())
    }
}

/// What `tests/reference/clusters.py` found: samples, and what scikit-learn makes of them.
pub(crate) fn reference() -> serde_json::Value {
    serde_json::from_str(include_str!("../../tests/reference/clusters.json")).unwrap()
}

/// Rows of numbers of a reference.
pub(crate) fn rows(value: &serde_json::Value) -> Vec<Vec<f64>> {
    serde_json::from_value(value.clone()).unwrap()
}

/// Numbers of a reference, nested or not.
pub(crate) fn numbers(value: &serde_json::Value) -> Vec<f64> {
    match value.as_array() {
        Some(items) => items.iter().flat_map(numbers).collect(),
        None => vec![value.as_f64().unwrap()],
    }
}

/// The penguins, with text as text.
pub(crate) fn penguins(block_rows: usize) -> InMemory {
    let table = &reference()["penguins"];
    let names = [
        "species",
        "island",
        "culmen_length_mm",
        "culmen_depth_mm",
        "flipper_length_mm",
        "body_mass_g",
        "sex",
    ];
    let column = |name: &str| {
        let values = table[name].as_array().unwrap();
        if values.iter().any(serde_json::Value::is_number) {
            return Column::Numbers(values.iter().map(serde_json::Value::as_f64).collect());
        }
        Column::Texts(
            values
                .iter()
                .map(|value| value.as_str().map(ToOwned::to_owned))
                .collect(),
        )
    };
    let columns: Vec<_> = names.map(|name| (name, column(name))).to_vec();
    InMemory::new(&columns, block_rows)
}

/// Checked options of an estimator.
pub(crate) fn options(
    estimator: &dyn crate::estimator::Estimator,
    written: serde_json::Value,
) -> Result<crate::options::Options> {
    let written = written.as_object().cloned().unwrap_or_default();
    Ok(crate::options::Options::check(estimator.spec(), &written)?.0)
}

/// Asserts that numbers agree to a part of the greatest of them.
pub(crate) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let scale = expected
        .iter()
        .fold(0.0_f64, |greatest, x| greatest.max(x.abs()));
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance * scale,
            "{found} is not {expected}"
        );
    }
}
