//! Learns a [`FeatureEncoder`] from raw batches, one mergeable partial a chunk.
//!
//! In: the rows of a chunk; out: moments, ranges, dictionaries and a row sample, whose merge
//! along the fixed tree gives the same encoder whatever the threads and batches were.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::common::HashMap;
use serde::{Deserialize, Serialize};

use super::columns::{Element, Rows, append_codes, numbers};
use super::moments::Moments;
use super::row_sample::RowSample;
use super::{
    CategoricalStatistics, Feature, FeatureEncoder, FeatureKind, FeatureSchema, FeatureStatistics,
    NumericStatistics,
};
use crate::error::{Error, Result};
use crate::run::Warning;

/// Categories kept of one feature where each becomes a column, as BigQuery ML's encoders keep.
const MAX_CATEGORIES: usize = 32_000;

/// Categories kept of one feature where they are only told apart.
const MAX_SPLIT_CATEGORIES: usize = 131_072;

/// Distinct texts counted of one feature before the rarest are given up, so that a column of unique
/// texts cannot fill the memory; at least twice what is kept in the end.
const MAX_COUNTED: usize = 262_144;

/// Values of the sample in memory at most.
const SAMPLE_VALUES: usize = 4_000_000;

/// How much a fit keeps.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FitLimits {
    sample_rows: usize,
    n_categories: usize,
}

impl FitLimits {
    /// For estimators that only want means and medians, and a column a category.
    pub(crate) const ENCODED: FitLimits = FitLimits {
        // For medians.
        sample_rows: 10_000,
        n_categories: MAX_CATEGORIES,
    };
    /// For estimators that make bins of numbers and split sets of categories.
    pub(crate) const BINNED: FitLimits = FitLimits {
        // Some hundred rows for each of 255 bins.
        sample_rows: 32_768,
        n_categories: MAX_SPLIT_CATEGORIES,
    };
}

/// What is common to all chunks of one fit.
pub(crate) struct EncoderFit {
    schema: FeatureSchema,
    limits: FitLimits,
    sample_rows: usize,
    /// No row with a greater hash can still enter the sample; only saves work.
    sample_bound: AtomicU64,
}

/// What chunks tell of one numeric feature.
#[derive(Debug, Default, Serialize, Deserialize)]
struct NumericPartial {
    learned: Numbers,
    /// Nothing is learned from these rows, but the model is judged by them.
    held_out: Numbers,
}

/// What some rows tell of a numeric feature.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Numbers {
    moments: Moments,
    null_count: u64,
    nan_count: u64,
}

impl Numbers {
    /// Of values of which so many stand for NULL.
    fn of<T: Element>(values: &mut Vec<T>, null_count: u64) -> Numbers {
        let n_values = values.len() as u64;
        let moments = Moments::of(values);
        let nan_count = n_values - null_count - moments.count;
        Numbers {
            moments,
            null_count,
            nan_count,
        }
    }

    /// Adds what later rows tell.
    fn merge(&mut self, later: &Numbers) {
        self.moments.merge(&later.moments);
        self.null_count += later.null_count;
        self.nan_count += later.nan_count;
    }
}

/// What chunks tell of one categorical feature.
#[derive(Debug, Default, Serialize, Deserialize)]
struct CategoryPartial {
    /// Each text with the rows that have it, in sort order.
    counts: Vec<(Box<str>, u64)>,
    null_count: u64,
    /// Rows whose text was given up.
    collapsed: u64,
}

/// What some chunks tell of all features.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct EncoderPartial {
    numeric: Vec<NumericPartial>,
    categorical: Vec<CategoryPartial>,
    sample: RowSample,
}

impl EncoderPartial {
    /// Takes the sampled rows out; their hashes stay.
    pub(crate) fn take_sample(&mut self) -> RowSample {
        RowSample {
            hashes: self.sample.hashes.clone(),
            columns: std::mem::take(&mut self.sample.columns),
        }
    }

    /// The greatest hash of a sampled row.
    pub(crate) fn greatest_hash(&self) -> Option<u64> {
        self.sample.hashes.last().copied()
    }

    /// Puts the rows of the hashes back.
    pub(crate) fn put_sample(&mut self, sample: RowSample) -> Result<()> {
        if sample.hashes != self.sample.hashes {
            return Err(Error::Internal {
                what: "machines sent other rows of a sample than they had".to_owned(),
            });
        }
        self.sample = sample;
        // Where no row was sampled, none was sent.
        self.sample
            .columns
            .resize_with(self.numeric.len(), Vec::new);
        Ok(())
    }
}

/// What a fit found.
#[derive(Debug)]
pub(crate) struct FittedEncoder {
    pub(crate) encoder: FeatureEncoder,
    pub(crate) warnings: Vec<Warning>,
    /// Of each numeric feature the values in the sampled rows, but for NULL and NaN.
    pub(crate) sample: Vec<Vec<f64>>,
}

impl EncoderFit {
    /// A fit of the features of a schema.
    pub(crate) fn new(schema: FeatureSchema, limits: FitLimits) -> EncoderFit {
        let n_numeric = schema.numeric().count().max(1);
        EncoderFit {
            schema,
            limits,
            sample_rows: (SAMPLE_VALUES / n_numeric).clamp(1_000, limits.sample_rows),
            sample_bound: AtomicU64::new(u64::MAX),
        }
    }

    /// What `rows` of a chunk tell, and which values of the `held_out` rows no model can be judged by;
    /// `columns[batch][feature]` are its arrays in schema order, `hash` gives the sampling hash of a row.
    pub(crate) fn chunk(
        &self,
        columns: &[&[ArrayRef]],
        [rows, held_out]: [&Rows; 2],
        hash: impl Fn(usize) -> u64,
    ) -> Result<EncoderPartial> {
        let sampled = self.sampled_rows(rows, hash);
        let mut partial = EncoderPartial {
            numeric: Vec::new(),
            categorical: Vec::new(),
            sample: RowSample {
                hashes: sampled.iter().map(|(hash, _)| *hash).collect(),
                columns: Vec::new(),
            },
        };
        for (feature_idx, feature) in self.schema.features.iter().enumerate() {
            match feature.kind {
                FeatureKind::NumericF32 => {
                    let of_feature =
                        NumericRows::<f32>::new(columns, feature_idx, [rows, held_out]);
                    of_feature.tell(&sampled, &mut partial)?;
                }
                FeatureKind::NumericF64 => {
                    let of_feature =
                        NumericRows::<f64>::new(columns, feature_idx, [rows, held_out]);
                    of_feature.tell(&sampled, &mut partial)?;
                }
                FeatureKind::Categorical => {
                    partial
                        .categorical
                        .push(categories(columns, feature_idx, rows)?);
                }
            }
        }
        Ok(partial)
    }

    /// Hash and number among `rows` of the rows with the smallest hashes, in order of hash.
    fn sampled_rows(&self, rows: &Rows, hash: impl Fn(usize) -> u64) -> Vec<(u64, usize)> {
        if self.schema.numeric().next().is_none() {
            return Vec::new();
        }
        let bound = self.sample_bound.load(Ordering::Relaxed);
        let mut sampled: Vec<(u64, usize)> = rows
            .chunk_rows()
            .enumerate()
            .map(|(sample, chunk_row)| (hash(chunk_row), sample))
            .filter(|(hash, _)| *hash <= bound)
            .collect();
        sampled.sort_unstable();
        sampled.truncate(self.sample_rows);
        self.lower_bound(sampled.len(), sampled.last().map(|(hash, _)| *hash));
        sampled
    }

    fn lower_bound(&self, n_sampled: usize, greatest: Option<u64>) {
        if let (true, Some(greatest)) = (n_sampled >= self.sample_rows, greatest) {
            self.sample_bound.fetch_min(greatest, Ordering::Relaxed);
        }
    }

    /// Adds what later chunks tell.
    pub(crate) fn merge(&self, into: &mut EncoderPartial, later: EncoderPartial) {
        for (into, later) in into.numeric.iter_mut().zip(later.numeric) {
            into.learned.merge(&later.learned);
            into.held_out.merge(&later.held_out);
        }
        for (into, later) in into.categorical.iter_mut().zip(later.categorical) {
            into.merge(later);
        }
        self.merge_samples(&mut into.sample, &later.sample);
        self.lower_bound(into.sample.hashes.len(), into.sample.hashes.last().copied());
    }

    /// Adds the sampled rows of later chunks.
    pub(crate) fn merge_samples(&self, into: &mut RowSample, later: &RowSample) {
        let sample = std::mem::take(into);
        *into = sample.merge(later, self.sample_rows);
    }

    /// The encoder of all chunks.
    pub(crate) fn finish(&self, partial: EncoderPartial) -> Result<FittedEncoder> {
        let mut sample = partial.sample.columns;
        let mut numeric = partial.numeric.into_iter().zip(&mut sample);
        let mut categorical = partial.categorical.into_iter();
        let (mut statistics, mut noted) = (Vec::new(), Noted::default());
        for feature in &self.schema.features {
            let of_feature = match feature.kind {
                FeatureKind::NumericF32 | FeatureKind::NumericF64 => {
                    let (partial, sample) = numeric.next().ok_or_else(lost_feature)?;
                    FeatureStatistics::Numeric(partial.finish(feature, sample, &mut noted)?)
                }
                FeatureKind::Categorical => {
                    let partial = categorical.next().ok_or_else(lost_feature)?;
                    let kept = self.limits.n_categories;
                    FeatureStatistics::Categorical(partial.finish(feature, kept, &mut noted))
                }
            };
            statistics.push(of_feature);
        }
        let encoder = FeatureEncoder {
            schema: self.schema.clone(),
            statistics,
        };
        Ok(FittedEncoder {
            encoder,
            warnings: noted.warnings(self.limits.n_categories),
            sample,
        })
    }
}

/// The values of one numeric feature in a chunk.
struct NumericRows<'a, T> {
    columns: Vec<&'a ArrayRef>,
    rows: &'a Rows,
    held_out: &'a Rows,
    element: PhantomData<T>,
}

impl<'a, T: Element> NumericRows<'a, T> {
    fn new(
        columns: &'a [&'a [ArrayRef]],
        feature_idx: usize,
        [rows, held_out]: [&'a Rows; 2],
    ) -> Self {
        Self {
            columns: columns.iter().map(|batch| &batch[feature_idx]).collect(),
            rows,
            held_out,
            element: PhantomData,
        }
    }

    /// Adds what they tell; `sampled` are numbers among `rows`.
    fn tell(&self, sampled: &[(u64, usize)], partial: &mut EncoderPartial) -> Result<()> {
        let (mut values, null_count) = self.values(self.rows)?;
        let sample = sampled
            .iter()
            .map(|(_, sample)| values[*sample].to_f64())
            .collect();
        partial.sample.columns.push(sample);
        let (mut held_out, held_out_nulls) = self.values(self.held_out)?;
        partial.numeric.push(NumericPartial {
            learned: Numbers::of(&mut values, null_count),
            held_out: Numbers::of(&mut held_out, held_out_nulls),
        });
        Ok(())
    }

    /// The values of some rows, NaN for each NULL, and the number of these.
    fn values(&self, rows: &Rows) -> Result<(Vec<T>, u64)> {
        let mut values: Vec<T> = Vec::with_capacity(rows.n_rows);
        let nan = T::from_f64(f64::NAN);
        let mut null_count = 0;
        for (batch, runs) in rows.by_batch() {
            let array = numbers::<T>(self.columns[batch])?;
            for run in runs {
                let range = run.start..run.start + run.len;
                if array.null_count() == 0 {
                    values.extend_from_slice(&array.values()[range]);
                    continue;
                }
                for row in range {
                    null_count += u64::from(array.is_null(row));
                    values.push(if array.is_null(row) {
                        nan
                    } else {
                        array.value(row)
                    });
                }
            }
        }
        Ok((values, null_count))
    }
}

fn lost_feature() -> Error {
    Error::Internal {
        what: "a feature has no statistics".to_owned(),
    }
}

impl NumericPartial {
    fn finish(
        self,
        feature: &Feature,
        sample: &mut Vec<f64>,
        noted: &mut Noted,
    ) -> Result<NumericStatistics> {
        let name = &feature.name;
        let NumericPartial { learned, held_out } = self;
        learned.moments.check(name)?;
        held_out.moments.check(name)?;
        let nan_count = learned.nan_count + held_out.nan_count;
        noted.add("nan_as_null", nan_count, name);
        if learned.moments.count == 0 {
            noted.add("all_null_feature", 1, name);
        } else {
            let null_count = learned.null_count + held_out.null_count;
            noted.add("nulls_filled", null_count + nan_count, name);
        }
        sample.retain(|value| !value.is_nan());
        let middle = sample.len().saturating_sub(1) / 2;
        let median = if sample.is_empty() {
            0.0
        } else {
            *sample.select_nth_unstable_by(middle, f64::total_cmp).1
        };
        Ok(NumericStatistics {
            count: learned.moments.count,
            null_count: learned.null_count + learned.nan_count,
            min: learned.moments.min,
            max: learned.moments.max,
            mean: learned.moments.mean,
            median,
            stddev: learned.moments.stddev(),
        })
    }
}

/// What one chunk tells of a categorical feature.
fn categories(columns: &[&[ArrayRef]], feature_idx: usize, rows: &Rows) -> Result<CategoryPartial> {
    let mut code_of_text: HashMap<Box<str>, u32> = HashMap::new();
    let mut codes = Vec::with_capacity(rows.n_rows);
    // Code 0 is NULL; texts are numbered from 1 as they come.
    let mut code = |text: Option<&str>| match text {
        None => 0,
        Some(text) => match code_of_text.get(text) {
            Some(code) => *code,
            None => {
                let code = code_of_text.len() as u32 + 1;
                code_of_text.insert(text.into(), code);
                code
            }
        },
    };
    for (batch, runs) in rows.by_batch() {
        append_codes(&columns[batch][feature_idx], runs, &mut codes, &mut code)?;
    }
    let mut rows_of_code = vec![0_u64; code_of_text.len() + 1];
    for code in codes {
        rows_of_code[code as usize] += 1;
    }
    let mut counts: Vec<(Box<str>, u64)> = code_of_text
        .into_iter()
        .map(|(text, code)| (text, rows_of_code[code as usize]))
        .filter(|(_, count)| *count > 0)
        .collect();
    counts.sort_unstable();
    Ok(CategoryPartial {
        counts,
        null_count: rows_of_code[0],
        collapsed: 0,
    })
}

impl CategoryPartial {
    fn merge(&mut self, later: CategoryPartial) {
        self.null_count += later.null_count;
        self.collapsed += later.collapsed;
        let mut merged = Vec::with_capacity(self.counts.len().max(later.counts.len()));
        let mut ours = std::mem::take(&mut self.counts).into_iter().peekable();
        let mut theirs = later.counts.into_iter().peekable();
        while let (Some((our_text, our_count)), Some((their_text, their_count))) =
            (ours.peek_mut(), theirs.peek())
        {
            match (*our_text).cmp(their_text) {
                std::cmp::Ordering::Less => merged.extend(ours.next()),
                std::cmp::Ordering::Greater => merged.extend(theirs.next()),
                std::cmp::Ordering::Equal => {
                    *our_count += their_count;
                    merged.extend(ours.next());
                    theirs.next();
                }
            }
        }
        merged.extend(ours);
        merged.extend(theirs);
        self.counts = merged;
        if self.counts.len() > MAX_COUNTED {
            self.keep_most_frequent(MAX_COUNTED / 2);
        }
    }

    /// Gives up all but the most frequent texts; of equally frequent ones the first by name stay.
    fn keep_most_frequent(&mut self, n_kept: usize) {
        if self.counts.len() <= n_kept {
            return;
        }
        self.counts
            .sort_unstable_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        self.collapsed += self
            .counts
            .drain(n_kept..)
            .map(|(_, count)| count)
            .sum::<u64>();
        self.counts.sort_unstable();
    }

    fn finish(
        mut self,
        feature: &Feature,
        n_kept: usize,
        noted: &mut Noted,
    ) -> CategoricalStatistics {
        self.keep_most_frequent(n_kept);
        noted.add("categories_collapsed", self.collapsed, &feature.name);
        if self.counts.is_empty() && self.collapsed == 0 {
            noted.add("all_null_feature", 1, &feature.name);
        }
        let (categories, counts) = self
            .counts
            .into_iter()
            .map(|(text, count)| (String::from(text), count))
            .unzip();
        CategoricalStatistics {
            categories,
            counts,
            null_count: self.null_count,
            collapsed_count: self.collapsed,
        }
    }
}

/// What is worth a warning: of each code the values concerned and the columns.
#[derive(Debug, Default)]
struct Noted(BTreeMap<&'static str, (u64, Vec<String>)>);

impl Noted {
    fn add(&mut self, code: &'static str, n_values: u64, column: &str) {
        if n_values > 0 {
            let (n_noted, columns) = self.0.entry(code).or_default();
            *n_noted += n_values;
            columns.push(column.to_owned());
        }
    }

    fn warnings(self, n_categories: usize) -> Vec<Warning> {
        let warning = |(code, (n_values, columns)): (&str, (u64, Vec<String>))| {
            let of_columns = name_some(&columns);
            let (message, hint) = match code {
                "nan_as_null" => (
                    format!("{n_values} NaN values in {of_columns} count as NULL"),
                    None,
                ),
                "nulls_filled" => (
                    format!("{n_values} NULL values in {of_columns} were filled with the mean"),
                    Some("Fill them in the query to choose another value."),
                ),
                "all_null_feature" => (
                    format!("nothing can be learned from {of_columns}, NULL in every training row"),
                    Some("Leave such columns out of the query."),
                ),
                _ => (
                    format!(
                        "{n_values} rows of {of_columns} have categories beyond the {n_categories} most frequent, which were collapsed into one"
                    ),
                    Some("An identifier is rarely a feature; leave it out of the query."),
                ),
            };
            Warning {
                code: code.to_owned(),
                message,
                hint: hint.map(ToOwned::to_owned),
            }
        };
        self.0.into_iter().map(warning).collect()
    }
}

/// `column "a"`, `columns "a", "b"`, and from the fourth on only how many more.
pub(crate) fn name_some(columns: &[String]) -> String {
    let named: Vec<String> = columns
        .iter()
        .take(3)
        .map(|name| format!("\"{name}\""))
        .collect();
    let noun = if columns.len() == 1 {
        "column"
    } else {
        "columns"
    };
    match columns.len().saturating_sub(3) {
        0 => format!("{noun} {}", named.join(", ")),
        more => format!("{noun} {} and {more} more", named.join(", ")),
    }
}
