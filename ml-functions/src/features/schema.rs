//! Which columns are features, and what each of them is.
//!
//! In: names and Arrow types; out: the kind of each feature, or a typed error that names a column that
//! cannot be one.

use datafusion::arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How a feature enters a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureKind {
    /// One dense column; every value of its type is exact in f32.
    NumericF32,
    /// One dense column that needs f64.
    NumericF64,
    /// One code a sample (text, booleans).
    Categorical,
}

/// One feature of a model.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Feature {
    /// The column's name, by which prediction finds it.
    pub name: String,
    /// The column's type at training, as PostgreSQL names it: `double precision`.
    pub sql_type: String,
    /// How it enters a block.
    pub kind: FeatureKind,
}

/// The features of a model, in the order of the training query's columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureSchema {
    /// The features.
    pub features: Vec<Feature>,
}

impl FeatureSchema {
    /// The indices of the dense features, in block order.
    pub fn numeric(&self) -> impl Iterator<Item = usize> + '_ {
        let is_numeric = |&idx: &usize| self.features[idx].kind != FeatureKind::Categorical;
        (0..self.features.len()).filter(is_numeric)
    }

    /// The indices of the categorical features, in block order.
    pub fn categorical(&self) -> impl Iterator<Item = usize> + '_ {
        let is_categorical = |&idx: &usize| self.features[idx].kind == FeatureKind::Categorical;
        (0..self.features.len()).filter(is_categorical)
    }

    /// Whether every numeric feature is exact in f32, so that the block may be.
    pub fn is_exact_in_f32(&self) -> bool {
        self.features
            .iter()
            .all(|feature| feature.kind != FeatureKind::NumericF64)
    }

    /// Size of the features of an encoded sample in memory.
    pub fn sample_bytes(&self) -> usize {
        let dense = match self.is_exact_in_f32() {
            true => size_of::<f32>(),
            false => size_of::<f64>(),
        };
        self.numeric().count() * dense + self.categorical().count() * size_of::<u32>()
    }
}

impl Feature {
    /// The feature of a column, or [`Error::UnsupportedFeatureType`].
    pub fn of(name: &str, data_type: &DataType) -> Result<Feature> {
        use DataType::{
            Boolean, Date32, Date64, Decimal128, Decimal256, Dictionary, Float16, Float32, Float64,
            Int8, Int16, Int32, Int64, LargeUtf8, Null, Timestamp, UInt8, UInt16, UInt32, UInt64,
            Utf8, Utf8View,
        };
        let kind = match data_type {
            Int8 | Int16 | UInt8 | UInt16 | Float16 | Float32 => FeatureKind::NumericF32,
            Int32 | Int64 | UInt32 | UInt64 | Float64 | Decimal128(..) | Decimal256(..)
            | Date32 | Date64 | Timestamp(..) | Null => FeatureKind::NumericF64,
            Boolean | Utf8 | LargeUtf8 | Utf8View => FeatureKind::Categorical,
            Dictionary(_, values) => return Feature::of(name, values),
            _ => {
                return Err(Error::UnsupportedFeatureType {
                    column: name.to_owned(),
                    data_type: sql_type(data_type),
                });
            }
        };
        Ok(Feature {
            name: name.to_owned(),
            sql_type: sql_type(data_type),
            kind,
        })
    }
}

/// PostgreSQL's name of an Arrow type, for messages and manifests.
pub fn sql_type(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Boolean => "boolean",
        DataType::Int8 | DataType::Int16 | DataType::UInt8 => "smallint",
        DataType::Int32 | DataType::UInt16 => "integer",
        DataType::Int64 | DataType::UInt32 | DataType::UInt64 => "bigint",
        DataType::Float16 | DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        DataType::Decimal128(..) | DataType::Decimal256(..) => "numeric",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text",
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Timestamp(_, None) => "timestamp without time zone",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Dictionary(_, values) => return sql_type(values),
        DataType::List(item) | DataType::LargeList(item) => {
            return format!("{}[]", sql_type(item.data_type()));
        }
        other => return other.to_string().to_lowercase(),
    };
    name.to_owned()
}
