//! Learns from the training part how each feature becomes numbers, and encodes batches so.
//!
//! In: record batches; out: [`FeatureBlock`](super::FeatureBlock)s and the statistics of
//! `ML.FEATURE_INFO`. Stored in the model.

use datafusion::arrow::array::{Array, ArrayRef};
use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::common::HashMap;
use serde::{Deserialize, Serialize};

use super::columns::{Element, Rows, append_codes, numbers};
use super::schema::sql_type;
use super::{Dense, Feature, FeatureSchema};
use crate::error::{Error, Result, nearest_name};
use crate::estimator::Tags;

/// What training saw of a numeric feature, over its non-NULL values of the training part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NumericStatistics {
    /// Number of non-NULL values.
    pub count: u64,
    /// Number of NULL and NaN values.
    pub null_count: u64,
    /// Smallest value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Arithmetic mean; fills NULLs.
    pub mean: f64,
    /// Lower median (of a sample of rows beyond 10,000 rows).
    pub median: f64,
    /// Sample standard deviation (n − 1); 0 for fewer than two values.
    pub stddev: f64,
}

/// What training saw of a categorical feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoricalStatistics {
    /// The categories in sort order: code `i` is `categories[i]`.
    pub categories: Vec<String>,
    /// How often each was seen.
    pub counts: Vec<u64>,
    /// Number of NULLs: code `categories.len()`.
    pub null_count: u64,
    /// Rows whose category was dropped since there were too many of them; encoded as never seen.
    pub collapsed_count: u64,
}

impl CategoricalStatistics {
    /// Code of NULL.
    pub fn null_code(&self) -> usize {
        self.categories.len()
    }

    /// Number of codes that training saw: the categories, and NULL if it occurred.
    pub fn n_seen(&self) -> usize {
        self.categories.len() + usize::from(self.null_count > 0)
    }

    /// Number of codes that can occur: the categories, NULL, never seen.
    pub fn n_codes(&self) -> usize {
        self.categories.len() + 2
    }
}

/// What training saw of a feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FeatureStatistics {
    /// A numeric feature.
    Numeric(NumericStatistics),
    /// A categorical feature.
    Categorical(CategoricalStatistics),
}

impl FeatureStatistics {
    /// Those of a numeric feature.
    pub fn numeric(&self) -> Option<&NumericStatistics> {
        match self {
            FeatureStatistics::Numeric(numeric) => Some(numeric),
            FeatureStatistics::Categorical(_) => None,
        }
    }
}

/// How features become numbers; fitted once by the training, then only read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureEncoder {
    /// The features.
    pub schema: FeatureSchema,
    /// Their statistics, in the same order.
    pub statistics: Vec<FeatureStatistics>,
}

impl FeatureEncoder {
    /// The statistics of the dense columns of a block, in block order.
    pub fn numeric(&self) -> impl Iterator<Item = (&str, &NumericStatistics)> {
        self.schema
            .features
            .iter()
            .zip(&self.statistics)
            .filter_map(|(feature, statistics)| match statistics {
                FeatureStatistics::Numeric(numeric) => Some((feature.name.as_str(), numeric)),
                FeatureStatistics::Categorical(_) => None,
            })
    }

    /// The statistics of the code columns of a block, in block order.
    pub fn categorical(&self) -> impl Iterator<Item = (&str, &CategoricalStatistics)> {
        self.schema
            .features
            .iter()
            .zip(&self.statistics)
            .filter_map(|(feature, statistics)| match statistics {
                FeatureStatistics::Categorical(codes) => Some((feature.name.as_str(), codes)),
                FeatureStatistics::Numeric(_) => None,
            })
    }
}

/// A [`FeatureEncoder`] made ready for its inner loops: dictionaries as hash maps.
#[derive(Debug)]
pub(crate) struct BatchEncoder {
    pub(super) columns: Vec<ColumnEncoder>,
    pub(super) is_f32: bool,
}

#[derive(Debug)]
pub(super) enum ColumnEncoder {
    /// NULL and NaN become `missing`: the mean, or NaN.
    Numeric { missing: f64 },
    Categorical {
        codes: HashMap<String, u32>,
        null_code: u32,
    },
}

/// What stands in a block for a missing number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Missing {
    /// The training mean.
    Mean,
    /// NaN.
    Kept,
}

impl Missing {
    /// What an estimator learns from.
    pub(crate) fn of(tags: &Tags) -> Missing {
        if tags.keeps_missing {
            Missing::Kept
        } else {
            Missing::Mean
        }
    }
}

impl BatchEncoder {
    /// The encoder, ready.
    pub(crate) fn new(encoder: &FeatureEncoder, missing: Missing) -> BatchEncoder {
        let columns = encoder
            .statistics
            .iter()
            .map(|statistics| match statistics {
                FeatureStatistics::Numeric(numeric) => {
                    let missing = match missing {
                        Missing::Mean => numeric.mean,
                        Missing::Kept => f64::NAN,
                    };
                    ColumnEncoder::Numeric { missing }
                }
                FeatureStatistics::Categorical(categorical) => ColumnEncoder::Categorical {
                    codes: categorical.categories.iter().cloned().zip(0..).collect(),
                    null_code: categorical.null_code() as u32,
                },
            });
        BatchEncoder {
            columns: columns.collect(),
            is_f32: encoder.schema.is_exact_in_f32(),
        }
    }

    /// Encodes numbers alone, with NaN for what is missing.
    pub(crate) fn with_missing(schema: &FeatureSchema) -> BatchEncoder {
        let missing = f64::NAN;
        BatchEncoder {
            columns: schema
                .numeric()
                .map(|_| ColumnEncoder::Numeric { missing })
                .collect(),
            is_f32: schema.is_exact_in_f32(),
        }
    }

    /// The dense part and the codes of some rows; `columns[batch][feature]` in schema order.
    pub(crate) fn encode(
        &self,
        columns: &[&[ArrayRef]],
        rows: &Rows,
    ) -> Result<(Dense, Vec<Vec<u32>>)> {
        let dense = if self.is_f32 {
            Dense::F32(self.encode_dense(columns, rows)?)
        } else {
            Dense::F64(self.encode_dense(columns, rows)?)
        };
        let mut all_codes = Vec::new();
        for (feature_idx, column) in self.columns.iter().enumerate() {
            let ColumnEncoder::Categorical { codes, null_code } = column else {
                continue;
            };
            let mut of_rows = Vec::with_capacity(rows.n_rows);
            let mut code = |text: Option<&str>| match text {
                None => *null_code,
                Some(text) => codes.get(text).copied().unwrap_or(null_code + 1),
            };
            for (batch, runs) in rows.by_batch() {
                append_codes(&columns[batch][feature_idx], runs, &mut of_rows, &mut code)?;
            }
            all_codes.push(of_rows);
        }
        Ok((dense, all_codes))
    }

    fn encode_dense<T: Element>(&self, columns: &[&[ArrayRef]], rows: &Rows) -> Result<Vec<T>> {
        let is_numeric = |column: &&ColumnEncoder| matches!(column, ColumnEncoder::Numeric { .. });
        let n_dense = self.columns.iter().filter(is_numeric).count();
        let mut values: Vec<T> = Vec::with_capacity(n_dense * rows.n_rows);
        for (feature_idx, column) in self.columns.iter().enumerate() {
            let ColumnEncoder::Numeric { missing } = column else {
                continue;
            };
            let missing = T::from_f64(*missing);
            let n_before = values.len();
            for (batch, runs) in rows.by_batch() {
                let array = numbers::<T>(&columns[batch][feature_idx])?;
                for run in runs {
                    let range = run.start..run.start + run.len;
                    if array.null_count() == 0 {
                        values.extend_from_slice(&array.values()[range]);
                    } else {
                        let filled = |row| {
                            if array.is_null(row) {
                                missing
                            } else {
                                array.value(row)
                            }
                        };
                        values.extend(range.map(filled));
                    }
                }
            }
            for value in &mut values[n_before..] {
                if value.to_f64().is_nan() {
                    *value = missing;
                }
            }
        }
        Ok(values)
    }
}

/// Finds each feature by name among the columns of rows to predict, exactly, else in any case, and
/// checks its type.
pub(crate) fn find_features(
    features: &[Feature],
    schema: &SchemaRef,
    place: &'static str,
) -> Result<Vec<usize>> {
    let find = |feature: &Feature| {
        let column = find_column(schema, &feature.name, place, "feature")?;
        check_type(feature, schema.field(column).data_type())?;
        Ok(column)
    };
    features.iter().map(find).collect()
}

/// The index of a column by its exact name, else by its name in any case if only one has it.
pub(crate) fn find_column(
    schema: &SchemaRef,
    name: &str,
    place: &'static str,
    role: &'static str,
) -> Result<usize> {
    if let Ok(column) = schema.index_of(name) {
        return Ok(column);
    }
    let fields = schema.fields().iter().enumerate();
    let mut alike = fields.filter(|(_, field)| field.name().eq_ignore_ascii_case(name));
    match (alike.next(), alike.next()) {
        (Some((column, _)), None) => Ok(column),
        _ => Err(Error::MissingColumn {
            column: name.to_owned(),
            place,
            role,
            nearest: nearest_name(
                name,
                schema.fields().iter().map(|field| field.name().as_str()),
            ),
        }),
    }
}

/// Any number goes for a number, any text for a text, any timestamp for a timestamp.
pub(crate) fn check_type(feature: &Feature, found: &DataType) -> Result<()> {
    let family = |sql_type: &str| match sql_type {
        "smallint" | "integer" | "bigint" | "real" | "double precision" | "numeric" => "number",
        other if other.starts_with("timestamp") => "timestamp",
        other => match other {
            "date" => "date",
            "boolean" => "boolean",
            "text" => "text",
            "null" => "any",
            _ => "other",
        },
    };
    let learned = family(&feature.sql_type);
    // The usual case, without a text.
    if learned == "number" && found.is_numeric() {
        return Ok(());
    }
    let given = family(&sql_type(found));
    // A column that was NULL in every row of training tells nothing of its type: any number goes.
    let is_accepted = learned == given && learned != "other"
        || given == "any"
        || (learned == "any" && matches!(given, "number" | "date" | "timestamp"));
    if is_accepted {
        return Ok(());
    }
    let expected = if learned == "any" {
        "double precision"
    } else {
        &feature.sql_type
    };
    Err(Error::ColumnType {
        column: feature.name.clone(),
        found: sql_type(found),
        expected: expected.to_owned(),
    })
}

#[cfg(test)]
mod tests;
