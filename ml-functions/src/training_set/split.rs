//! Decides which rows are learned from and which are held out.
//!
//! In: the split options, and for some methods a survey of the labels or the split column; out: for
//! each row of a chunk its part, from a hash of (seed, position) alone, whoever reads it.

use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use serde::{Deserialize, Serialize};

use super::chunks::RawChunk;
use crate::error::{Error, Result};
use crate::estimator::Task;
use crate::features::{ClassKey, Labels, Rows, sql_type};
use crate::options::Options;
use crate::random::hash_word;

/// Rows that AUTO_SPLIT holds out at most, as BigQuery ML does.
const AUTO_MAX_EVALUATION: u64 = 10_000;

/// Smallest hashes kept of a class; one more than the greatest rank that AUTO_SPLIT asks for.
const KEPT_HASHES: usize = AUTO_MAX_EVALUATION as usize + 1;

/// Buckets of a class's histogram of hashes, for ranks beyond the kept ones.
const HASH_BUCKETS: usize = 4096;

/// Classes a classifier may have; more is an identifier rather than a label.
pub(super) const MAX_CLASSES: usize = 10_000;

/// How rows are split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Split {
    /// All rows train.
    None,
    /// Rows whose hash is below the threshold are held out.
    Below(u64),
    /// The same with a threshold for each class.
    BelowOfClass(BTreeMap<ClassKey, u64>),
    /// Rows that are TRUE in the split column are held out.
    Marked,
    /// Rows after this key of the split column are held out.
    After(SortKey),
}

/// What must be known of all rows before they can be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SurveyKind {
    /// The hashes of each class.
    Hashes,
    /// The keys of the split column.
    Keys,
}

/// What chunks tell of the rows that have a label.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Survey {
    /// Of each class; of a regression's rows under one key.
    Hashes(BTreeMap<Option<ClassKey>, HashSketch>),
    Keys(SortKeys),
}

/// The split keys of some rows.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum SortKeys {
    Numbers(Vec<u64>),
    Texts(Vec<Option<String>>),
}

/// A place in the order of the split column, NULL first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum SortKey {
    /// Any type with an order-preserving integer.
    Number(u64),
    Text(Option<String>),
}

/// The rows of a chunk by part.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// Training, evaluation.
    pub(super) parts: [Rows; 2],
    /// Rows without a label.
    pub(super) n_dropped: u64,
}

/// What the options alone decide, and the survey that is needed for the rest.
pub(super) fn plan(task: Task, options: &Options) -> (Split, Option<SurveyKind>) {
    if !task.is_supervised() {
        return (Split::None, None);
    }
    let fraction = options.f64("data_split_eval_fraction");
    match options.text("data_split_method") {
        Some("NO_SPLIT") => (Split::None, None),
        Some("CUSTOM") => (Split::Marked, None),
        Some("RANDOM" | "SEQ") if fraction == 0.0 => (Split::None, None),
        Some("SEQ") => (Split::None, Some(SurveyKind::Keys)),
        // 2^64 is beyond u64; the conversion saturates.
        Some("RANDOM") if task == Task::Regression => {
            (Split::Below((fraction * 2.0_f64.powi(64)) as u64), None)
        }
        _ => (Split::None, Some(SurveyKind::Hashes)),
    }
}

/// The split after a survey of all rows; `None` if no row has a label.
pub(super) fn decide(survey: Option<Survey>, options: &Options) -> Split {
    let fraction = options.f64("data_split_eval_fraction");
    match survey {
        None => Split::None,
        Some(Survey::Keys(keys)) => keys.split_last(fraction),
        Some(Survey::Hashes(classes)) => {
            let n_rows: u64 = classes.values().map(|sketch| sketch.count).sum();
            let share = match options.text("data_split_method") {
                Some("RANDOM") => fraction,
                _ if n_rows < 500 => return Split::None,
                _ if n_rows <= 50_000 => 0.2,
                _ => AUTO_MAX_EVALUATION as f64 / n_rows as f64,
            };
            let counts: Vec<u64> = classes.values().map(|sketch| sketch.count).collect();
            let mut thresholds = BTreeMap::new();
            for ((class, sketch), n_held_out) in classes.into_iter().zip(held_out(&counts, share)) {
                match class {
                    None => return Split::Below(sketch.threshold(n_held_out)),
                    Some(class) => thresholds.insert(class, sketch.threshold(n_held_out)),
                };
            }
            Split::BelowOfClass(thresholds)
        }
    }
}

/// How many rows of each class are held out: its share, rounded so that the sum is the share of all
/// rows. The classes with the greatest remainders are rounded up, of equals the first.
fn held_out(counts: &[u64], share: f64) -> Vec<u64> {
    let exact: Vec<f64> = counts.iter().map(|count| share * *count as f64).collect();
    let mut rounded: Vec<u64> = exact.iter().map(|rows| rows.floor() as u64).collect();
    let n_rows = (share * counts.iter().sum::<u64>() as f64).round() as u64;
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    by_remainder.sort_by(|a, b| exact[*b].fract().total_cmp(&exact[*a].fract()));
    let n_missing = n_rows.saturating_sub(rounded.iter().sum()) as usize;
    for class in by_remainder.into_iter().take(n_missing) {
        rounded[class] += 1;
    }
    rounded
}

impl Split {
    /// The rows of a chunk by part.
    pub(super) fn select(&self, chunk: &RawChunk, labels: &Labels, seed: u64) -> Result<Selection> {
        let lengths = || chunk.batches.iter().map(|batch| batch.num_rows());
        let n_null = (0..chunk.n_rows).filter(|row| labels.is_null(*row)).count();
        if *self == Split::None && n_null == 0 {
            return Ok(Selection {
                parts: [Rows::all(lengths()), Rows::default()],
                n_dropped: 0,
            });
        }
        let is_held_out = self.held_out(chunk, labels, seed)?;
        let mut selection = Selection {
            n_dropped: n_null as u64,
            ..Selection::default()
        };
        let mut chunk_row = 0;
        for (batch, n_rows) in lengths().enumerate() {
            for row in 0..n_rows {
                if !labels.is_null(chunk_row) {
                    let part = usize::from(is_held_out(chunk_row));
                    selection.parts[part].push(batch, row, chunk_row);
                }
                chunk_row += 1;
            }
        }
        Ok(selection)
    }

    /// Says of each row of a chunk that has a label whether it is held out.
    fn held_out<'a>(
        &'a self,
        chunk: &'a RawChunk,
        labels: &'a Labels,
        seed: u64,
    ) -> Result<Box<dyn Fn(usize) -> bool + 'a>> {
        let hash = row_hash(chunk, seed);
        Ok(match self {
            Split::None => Box::new(|_| false),
            Split::Below(threshold) => Box::new(move |row| hash(row) < *threshold),
            Split::BelowOfClass(thresholds) => {
                let Labels::Classes { classes, codes } = labels else {
                    return Err(Error::Internal {
                        what: "a split by class has no classes".to_owned(),
                    });
                };
                let of_class = |class| thresholds.get(class).copied().unwrap_or_default();
                let of_code: Vec<u64> = classes.iter().map(of_class).collect();
                Box::new(move |row| hash(row) < of_code[codes[row] as usize])
            }
            Split::Marked => {
                let columns = chunk.layout.split(&chunk.batches).unwrap_or_default();
                let flags: Vec<bool> = columns
                    .iter()
                    .flat_map(|column| column.as_boolean())
                    .map(|flag| flag == Some(true))
                    .collect();
                Box::new(move |row| flags[row])
            }
            Split::After(SortKey::Number(last)) => {
                let keys = numeric_keys(&chunk.layout.split(&chunk.batches).unwrap_or_default())?;
                Box::new(move |row| keys[row] > *last)
            }
            Split::After(SortKey::Text(last)) => {
                let keys = text_keys(&chunk.layout.split(&chunk.batches).unwrap_or_default())?;
                Box::new(move |row| keys[row] > *last)
            }
        })
    }
}

impl Survey {
    /// What the rows of a chunk tell.
    pub(super) fn of(
        kind: SurveyKind,
        chunk: &RawChunk,
        labels: &Labels,
        seed: u64,
    ) -> Result<Survey> {
        match kind {
            SurveyKind::Keys => {
                let columns = chunk.layout.split(&chunk.batches).unwrap_or_default();
                let is_text = columns
                    .first()
                    .is_some_and(|column| sql_type(column.data_type()) == "text");
                let has_label = |row: &usize| !labels.is_null(*row);
                let rows: Vec<usize> = (0..chunk.n_rows).filter(has_label).collect();
                Ok(Survey::Keys(if is_text {
                    let mut keys = text_keys(&columns)?;
                    SortKeys::Texts(rows.into_iter().map(|row| keys[row].take()).collect())
                } else {
                    let keys = numeric_keys(&columns)?;
                    SortKeys::Numbers(rows.into_iter().map(|row| keys[row]).collect())
                }))
            }
            SurveyKind::Hashes => {
                let hash = row_hash(chunk, seed);
                let Labels::Classes { classes, codes } = labels else {
                    let mut sketch = HashSketch::default();
                    (0..chunk.n_rows)
                        .filter(|row| !labels.is_null(*row))
                        .for_each(|row| sketch.add(hash(row)));
                    return Ok(Survey::Hashes(BTreeMap::from([(None, sketch)])));
                };
                let mut sketches = vec![HashSketch::default(); classes.len()];
                for (row, code) in codes.iter().enumerate() {
                    if let Some(sketch) = sketches.get_mut(*code as usize) {
                        sketch.add(hash(row));
                    }
                }
                let classes = classes.iter().cloned().map(Some);
                Ok(Survey::Hashes(classes.zip(sketches).collect()))
            }
        }
    }

    /// Adds what later chunks tell. Classes beyond the limit are not kept: the fit will refuse them.
    pub(super) fn merge(&mut self, later: Survey) -> Result<()> {
        match (self, later) {
            (Survey::Hashes(into), Survey::Hashes(later)) => {
                for (class, sketch) in later {
                    if into.len() <= MAX_CLASSES || into.contains_key(&class) {
                        into.entry(class).or_default().merge(sketch);
                    }
                }
                Ok(())
            }
            (Survey::Keys(SortKeys::Numbers(into)), Survey::Keys(SortKeys::Numbers(later))) => {
                into.extend(later);
                Ok(())
            }
            (Survey::Keys(SortKeys::Texts(into)), Survey::Keys(SortKeys::Texts(later))) => {
                into.extend(later);
                Ok(())
            }
            _ => Err(Error::Internal {
                what: "surveys of two kinds cannot merge".to_owned(),
            }),
        }
    }

    /// Size in memory, for the accounting.
    pub(super) fn memory_bytes(&self) -> usize {
        match self {
            Survey::Hashes(_) => 0,
            Survey::Keys(SortKeys::Numbers(keys)) => size_of_val(keys.as_slice()),
            Survey::Keys(SortKeys::Texts(keys)) => {
                let texts: usize = keys.iter().flatten().map(String::len).sum();
                size_of_val(keys.as_slice()) + texts
            }
        }
    }
}

impl SortKeys {
    /// Holds out the last rows; rows equal to the last training row train too.
    fn split_last(self, fraction: f64) -> Split {
        let rank = |n_rows: usize| {
            let n_held_out = (fraction * n_rows as f64).round() as usize;
            (n_held_out > 0).then(|| (n_rows - n_held_out).saturating_sub(1))
        };
        match self {
            SortKeys::Numbers(mut keys) => rank(keys.len()).map_or(Split::None, |rank| {
                Split::After(SortKey::Number(*keys.select_nth_unstable(rank).1))
            }),
            SortKeys::Texts(mut keys) => rank(keys.len()).map_or(Split::None, |rank| {
                Split::After(SortKey::Text(keys.select_nth_unstable(rank).1.clone()))
            }),
        }
    }
}

/// The distribution of the hashes of some rows: the smallest exactly, the others in buckets.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct HashSketch {
    count: u64,
    /// The smallest hashes, unsorted, at most twice as many as are kept.
    smallest: Vec<u64>,
    /// Rows by the leading bits of their hash; empty as long as all hashes are kept.
    buckets: Vec<u32>,
}

impl HashSketch {
    fn add(&mut self, hash: u64) {
        self.count += 1;
        if !self.buckets.is_empty() {
            self.buckets[bucket(hash)] += 1;
        }
        self.smallest.push(hash);
        if self.smallest.len() == 2 * KEPT_HASHES {
            self.shrink();
        }
    }

    fn merge(&mut self, mut later: HashSketch) {
        if self.count + later.count > KEPT_HASHES as u64 {
            self.fill_buckets();
            later.fill_buckets();
            self.buckets
                .iter_mut()
                .zip(&later.buckets)
                .for_each(|(into, count)| *into += count);
        }
        self.count += later.count;
        self.smallest.extend(later.smallest);
        self.shrink();
    }

    /// Forgets all but the smallest hashes, after all went into their buckets.
    fn shrink(&mut self) {
        if self.smallest.len() > KEPT_HASHES {
            self.fill_buckets();
            self.smallest.select_nth_unstable(KEPT_HASHES - 1);
            self.smallest.truncate(KEPT_HASHES);
        }
    }

    fn fill_buckets(&mut self) {
        if self.buckets.is_empty() {
            self.buckets = vec![0; HASH_BUCKETS];
            for hash in &self.smallest {
                self.buckets[bucket(*hash)] += 1;
            }
        }
    }

    /// The hash below which `n_below` rows lie: exactly for the smallest, else within its bucket as
    /// hashes are spread evenly.
    fn threshold(mut self, n_below: u64) -> u64 {
        if n_below == 0 {
            return 0;
        }
        if n_below >= self.count {
            return u64::MAX;
        }
        self.shrink();
        if n_below < self.smallest.len() as u64 {
            return *self.smallest.select_nth_unstable(n_below as usize).1;
        }
        let mut n_before = 0_u64;
        for (bucket, count) in (0_u64..).zip(&self.buckets) {
            let n_here = u64::from(*count);
            if n_before + n_here >= n_below {
                let share = (n_below - n_before) as f64 / n_here.max(1) as f64;
                let width = 1_u64 << BUCKET_SHIFT;
                return (bucket << BUCKET_SHIFT).saturating_add((share * width as f64) as u64);
            }
            n_before += n_here;
        }
        u64::MAX
    }
}

const BUCKET_SHIFT: u32 = u64::BITS - HASH_BUCKETS.ilog2();

fn bucket(hash: u64) -> usize {
    (hash >> BUCKET_SHIFT) as usize
}

/// The hash of (seed, position) of each row of a chunk.
pub(super) fn row_hash(chunk: &RawChunk, seed: u64) -> impl Fn(usize) -> u64 + use<> {
    let of_partition = hash_word(hash_word(seed).wrapping_add(chunk.partition as u64 + 1));
    let first_row = chunk.first_row;
    move |row| hash_word(of_partition ^ (first_row + row as u64))
}

/// Integers in the order of the values; NULL is 0.
fn numeric_keys(columns: &[&ArrayRef]) -> Result<Vec<u64>> {
    const SIGN: u64 = 1 << 63;
    let mut keys = Vec::new();
    for column in columns {
        let is_fractional =
            column.data_type().is_floating() || sql_type(column.data_type()) == "numeric";
        if is_fractional {
            let floats = cast(column, &DataType::Float64)?;
            let key = |value: f64| {
                // Adding zero makes −0 equal to 0.
                let bits = (value + 0.0).to_bits();
                if bits & SIGN == 0 { bits | SIGN } else { !bits }
            };
            let floats = floats.as_primitive::<Float64Type>();
            keys.extend(floats.iter().map(|value| value.map_or(0, key)));
        } else {
            let integers = cast(column, &DataType::Int64)?;
            let integers = integers.as_primitive::<Int64Type>();
            keys.extend(
                integers
                    .iter()
                    .map(|value| value.map_or(0, |value| value as u64 ^ SIGN)),
            );
        }
    }
    Ok(keys)
}

fn text_keys(columns: &[&ArrayRef]) -> Result<Vec<Option<String>>> {
    let mut keys = Vec::new();
    for column in columns {
        let texts = cast(column, &DataType::Utf8)?;
        keys.extend(
            texts
                .as_string::<i32>()
                .iter()
                .map(|text| text.map(ToOwned::to_owned)),
        );
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Float64Array, Int32Array};

    use super::*;

    fn sketch(n_rows: u64) -> HashSketch {
        let mut merged = HashSketch::default();
        for first in (0..n_rows).step_by(3_000) {
            let mut part = HashSketch::default();
            (first..(first + 3_000).min(n_rows)).for_each(|row| part.add(hash_word(row)));
            merged.merge(part);
        }
        merged
    }

    fn n_below(n_rows: u64, threshold: u64) -> u64 {
        (0..n_rows)
            .filter(|row| hash_word(*row) < threshold)
            .count() as u64
    }

    #[test]
    fn thresholds_are_exact_for_small_ranks() {
        for (n_rows, rank) in [(3, 1), (100, 20), (30_000, 6_000), (100_000, 10_000)] {
            assert_eq!(n_below(n_rows, sketch(n_rows).threshold(rank)), rank);
        }
        assert_eq!(sketch(5).threshold(0), 0);
        assert_eq!(sketch(5).threshold(5), u64::MAX);
    }

    #[test]
    fn thresholds_of_great_ranks_are_close() {
        let found = n_below(200_000, sketch(200_000).threshold(60_000));
        assert!(found.abs_diff(60_000) < 40, "{found}");
    }

    #[test]
    fn keys_keep_the_order() {
        let floats: ArrayRef = Arc::new(Float64Array::from(vec![
            None,
            Some(-2.0),
            Some(-1.0),
            Some(0.0),
            Some(3.5),
        ]));
        let keys = numeric_keys(&[&floats]).unwrap();
        assert!(keys.is_sorted_by(|a, b| a < b));
        let integers: ArrayRef = Arc::new(Int32Array::from(vec![None, Some(-2), Some(0), Some(9)]));
        assert!(
            numeric_keys(&[&integers])
                .unwrap()
                .is_sorted_by(|a, b| a < b)
        );
    }

    #[test]
    fn the_last_rows_are_held_out_and_ties_train() {
        let keys = |values: &[u64]| SortKeys::Numbers(values.to_vec());
        assert_eq!(
            keys(&[5, 1, 4, 2, 3]).split_last(0.4),
            Split::After(SortKey::Number(3))
        );
        assert_eq!(
            keys(&[1, 1, 1, 1]).split_last(0.5),
            Split::After(SortKey::Number(1))
        );
        assert_eq!(keys(&[1, 2]).split_last(0.1), Split::None);
    }
}
