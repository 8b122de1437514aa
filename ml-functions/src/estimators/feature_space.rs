//! The space in which unsupervised estimators see samples: numbers shifted and scaled, then one
//! indicator for each category that training saw, NULL among them.
//!
//! In: the encoder's statistics; out: the [`Design`] of a block, and points of the space as rows of
//! `ML.CENTROIDS` and `ML.PRINCIPAL_COMPONENTS`. A category that training never saw has no indicator.

use std::sync::Arc;

use auspex_gpu::{Design, Elements, MatrixView};
use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, ListArray, StringArray, StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{Dense, FeatureBlock, FeatureEncoder, FeatureStatistics, NumericStatistics};
use crate::model::{ModelState, Tensor};

/// The category of NULLs in tables about a model, as BigQuery ML names it.
const NULL_CATEGORY: &str = "_null_filler";

/// What is done to numbers; indicators are never shifted nor scaled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scaling {
    /// Nothing.
    None,
    /// The mean is subtracted.
    Centred,
    /// The mean is subtracted, and the rest divided by the sample standard deviation.
    Standardised,
}

/// How the columns of a block become coordinates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct FeatureSpace {
    /// Subtracted from each dense column.
    shift: Vec<f64>,
    /// Multiplied to each shifted dense column; 0 for a constant one, which then says nothing.
    scale: Vec<f64>,
    /// Indicators of each code column.
    widths: Vec<usize>,
    /// A hash of the names of features and categories in their order; 0 in models that were stored without.
    names: u64,
}

/// FNV-1a of the names of all coordinates. It is stored, so it must never change.
fn names_hash(encoder: &FeatureEncoder) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    let mut add = |name: &str| {
        // 0xff is in no text, so that it ends a name.
        for byte in name.bytes().chain([0xff]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    };
    encoder.numeric().for_each(|(name, _)| add(name));
    for (name, column) in encoder.categorical() {
        add(name);
        column.categories.iter().for_each(|category| add(category));
    }
    hash
}

impl FeatureSpace {
    /// The space of the features that training saw.
    pub(crate) fn new(encoder: &FeatureEncoder, scaling: Scaling) -> FeatureSpace {
        let shift = |column: &NumericStatistics| match scaling {
            Scaling::None => 0.0,
            Scaling::Centred | Scaling::Standardised => column.mean,
        };
        let scale = |column: &NumericStatistics| match scaling {
            Scaling::None | Scaling::Centred => 1.0,
            Scaling::Standardised if column.stddev > 0.0 => 1.0 / column.stddev,
            Scaling::Standardised => 0.0,
        };
        FeatureSpace {
            shift: encoder.numeric().map(|(_, column)| shift(column)).collect(),
            scale: encoder.numeric().map(|(_, column)| scale(column)).collect(),
            widths: encoder
                .categorical()
                .map(|(_, column)| column.n_seen())
                .collect(),
            names: names_hash(encoder),
        }
    }

    /// Number of dense columns, the first coordinates.
    pub(crate) fn n_dense(&self) -> usize {
        self.shift.len()
    }

    /// Number of coordinates.
    pub(crate) fn n_cols(&self) -> usize {
        self.shift.len() + self.widths.iter().sum::<usize>()
    }

    /// A block as kernels take it.
    pub(crate) fn design<'a>(&'a self, block: &'a FeatureBlock) -> Design<'a> {
        let elements = match &block.dense {
            Dense::F32(values) => Elements::F32(values),
            Dense::F64(values) => Elements::F64(values),
        };
        Design {
            rows: None,
            dense: MatrixView {
                n_rows: block.n_samples,
                n_cols: self.n_dense(),
                elements,
            },
            shift: &self.shift,
            scale: &self.scale,
            codes: &block.codes,
            widths: &self.widths,
        }
    }

    /// Writes the coordinates of a sample to `point`, to the bit as the kernels compute them.
    pub(crate) fn locate(&self, block: &FeatureBlock, row: usize, point: &mut [f64]) {
        point.fill(0.0);
        let n = block.n_samples;
        for (j, (x, (shift, scale))) in point
            .iter_mut()
            .zip(self.shift.iter().zip(&self.scale))
            .enumerate()
        {
            let value = match &block.dense {
                Dense::F32(values) => f64::from(values[j * n + row]),
                Dense::F64(values) => values[j * n + row],
            };
            *x = (value - shift) * scale;
        }
        let mut offset = self.n_dense();
        for (codes, &width) in block.codes.iter().zip(&self.widths) {
            if (codes[row] as usize) < width {
                point[offset + codes[row] as usize] = 1.0;
            }
            offset += width;
        }
    }

    /// A point's number in its feature's own units.
    pub(crate) fn in_own_units(&self, column: usize, x: f64) -> f64 {
        let (shift, scale) = (self.shift[column], self.scale[column]);
        if scale == 0.0 {
            shift
        } else {
            x / scale + shift
        }
    }

    /// A point of another space as one of this; `None` where the features differ.
    pub(crate) fn translate(&self, other: &FeatureSpace, point: &[f64]) -> Option<Vec<f64>> {
        let is_of_others = self.names != other.names && self.names != 0 && other.names != 0;
        if is_of_others || self.n_dense() != other.n_dense() || self.widths != other.widths {
            return None;
        }
        // Numbers that need no translation must not be rounded.
        let is_same = self.shift == other.shift && self.scale == other.scale;
        let translate = |(j, &x): (usize, &f64)| {
            if is_same || j >= self.n_dense() {
                return x;
            }
            (other.in_own_units(j, x) - self.shift[j]) * self.scale[j]
        };
        Some(point.iter().enumerate().map(translate).collect())
    }

    /// Adds the space to the state of a model.
    pub(crate) fn save(&self, state: &mut ModelState) {
        let n = self.n_dense();
        state
            .tensors
            .insert("shift".to_owned(), Tensor::f64(&[n], self.shift.clone()));
        state
            .tensors
            .insert("scale".to_owned(), Tensor::f64(&[n], self.scale.clone()));
        state.head["indicators"] = self.widths.clone().into();
        state.head["names_hash"] = self.names.into();
    }

    /// The space that [`FeatureSpace::save`] added.
    pub(crate) fn load(state: &ModelState) -> Result<FeatureSpace> {
        let space = FeatureSpace {
            shift: state.f64("shift")?.to_vec(),
            scale: state.f64("scale")?.to_vec(),
            widths: state.head("indicators")?,
            names: state.head["names_hash"].as_u64().unwrap_or(0),
        };
        if space.shift.len() != space.scale.len() {
            return Err(Error::DamagedModel {
                what: "tensor \"scale\"".to_owned(),
            });
        }
        Ok(space)
    }
}

/// Which numbers a table about points shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Units {
    /// Coordinates of the space.
    Coordinates,
    /// The features' own units.
    Own,
}

/// One row for each point and feature: the point's number, and `feature`, `numerical_value`,
/// `categorical_value`. Points are row-major; the first has the number `first_id`.
pub(crate) fn points_table(
    (id_column, first_id): (&str, i64),
    points: &[f64],
    space: &FeatureSpace,
    encoder: &FeatureEncoder,
    units: Units,
) -> Result<RecordBatch> {
    let (mut ids, mut features, mut numbers) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lengths, mut categories, mut values) = (Vec::new(), Vec::new(), Vec::new());
    for (point, id) in points.chunks_exact(space.n_cols().max(1)).zip(first_id..) {
        let (dense, mut indicators) = point.split_at(space.n_dense());
        let mut dense = dense.iter().enumerate();
        for (feature, statistics) in encoder.schema.features.iter().zip(&encoder.statistics) {
            ids.push(id);
            features.push(feature.name.as_str());
            match statistics {
                FeatureStatistics::Numeric(_) => {
                    numbers.push(dense.next().map(|(j, &x)| match units {
                        Units::Coordinates => x,
                        Units::Own => space.in_own_units(j, x),
                    }));
                    lengths.push(0);
                }
                FeatureStatistics::Categorical(column) => {
                    let n_seen = column.n_seen().min(indicators.len());
                    let names = column.categories.iter().map(String::as_str);
                    categories.extend(names.chain([NULL_CATEGORY]).take(n_seen));
                    values.extend_from_slice(&indicators[..n_seen]);
                    indicators = &indicators[n_seen..];
                    numbers.push(None);
                    lengths.push(n_seen);
                }
            }
        }
    }
    let lists = category_lists(&lengths, categories, values)?;
    let schema = Schema::new(vec![
        Field::new(id_column, DataType::Int64, false),
        Field::new("feature", DataType::Utf8, false),
        Field::new("numerical_value", DataType::Float64, true),
        Field::new("categorical_value", lists.data_type().clone(), true),
    ]);
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(ids)),
        Arc::new(StringArray::from(features)),
        Arc::new(Float64Array::from(numbers)),
        lists,
    ];
    Ok(RecordBatch::try_new(Arc::new(schema), columns)?)
}

/// `[{category, value}, …]` for each length; a numeric feature has an empty list, as in BigQuery,
/// where arrays are never NULL.
fn category_lists(lengths: &[usize], categories: Vec<&str>, values: Vec<f64>) -> Result<ArrayRef> {
    let fields = Fields::from(vec![
        Field::new("category", DataType::Utf8, true),
        Field::new("value", DataType::Float64, true),
    ]);
    let items = StructArray::try_new(
        fields.clone(),
        vec![
            Arc::new(StringArray::from(categories)),
            Arc::new(Float64Array::from(values)),
        ],
        None,
    )?;
    let item = Arc::new(Field::new_list_field(DataType::Struct(fields), true));
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    Ok(Arc::new(ListArray::try_new(
        item,
        offsets,
        Arc::new(items),
        None,
    )?))
}
