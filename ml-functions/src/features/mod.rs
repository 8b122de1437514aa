//! From Arrow columns to the numbers that estimators compute with.
//!
//! In: record batches with the feature columns by name; out: [`FeatureBlock`]s, always through the one
//! [`FeatureEncoder`] that the training fitted and the model keeps, so that serving cannot see other
//! encodings than training.

mod block;
mod columns;
mod encoder;
mod fit;
mod labels;
mod moments;
mod row_sample;
mod schema;
mod target;
mod values;

pub use block::{Dense, FeatureBlock, TargetValues};
pub use encoder::{CategoricalStatistics, FeatureEncoder, FeatureStatistics, NumericStatistics};
pub use schema::{Feature, FeatureKind, FeatureSchema, sql_type};
pub use target::{ClassLabel, TargetEncoding};

pub(crate) use columns::{Element, Rows, numbers};
pub(crate) use encoder::{BatchEncoder, Missing, check_type, find_column, find_features};
pub(crate) use fit::{EncoderFit, EncoderPartial, FitLimits, name_some};
pub(crate) use labels::{
    ClassCodes, ClassKey, Labels, append_with_nan, check_label_type, count_nan,
};
pub(crate) use moments::{Moments, mean};
pub(crate) use row_sample::RowSample;
pub(crate) use values::is_missing;
