//! The columns of `ML.EXPLAIN_PREDICT`, after the prediction's own.
//!
//! In: predictions with the attributions of their scores; out: the features that contribute most, and
//! the values that they add up to.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, Float64Array, StringArray, StructArray, UInt32Array};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, Fields};

use super::lists::{float, list_type, regular_lists};
use crate::error::Result;
use crate::explain::{Attributions, predicted_class};
use crate::model::Prediction;

fn attribution_fields() -> Fields {
    Fields::from(vec![
        Field::new("feature", DataType::Utf8, true),
        Field::new("attribution", DataType::Float64, true),
    ])
}

/// `top_feature_attributions` and the values that they explain.
pub(super) fn fields() -> Vec<Field> {
    let attributions = list_type(DataType::Struct(attribution_fields()));
    vec![
        Field::new("top_feature_attributions", attributions, true),
        float("baseline_prediction_value"),
        float("prediction_value"),
        float("approximation_error"),
    ]
}

/// The arrays of [`fields`]: of each sample the `top_k` features of greatest magnitude, equals in the
/// order of features.
pub(super) fn arrays(
    found: &Attributions,
    prediction: &Prediction,
    top_k: usize,
) -> Result<Vec<ArrayRef>> {
    let n_rows = prediction.len();
    let n_listed = top_k.min(found.features.len());
    let (mut features, mut values) = (Vec::<u32>::new(), Vec::new());
    let (mut baselines, mut scores, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    let mut order: Vec<u32> = Vec::new();
    for row in 0..n_rows {
        let of_row = found.of_sample(row, predicted_class(prediction, row));
        order.clear();
        order.extend(0..of_row.values.len() as u32);
        let magnitude = |feature: &u32| of_row.values[*feature as usize].abs();
        order.sort_by(|a, b| magnitude(b).total_cmp(&magnitude(a)));
        features.extend_from_slice(&order[..n_listed]);
        let listed = order[..n_listed].iter();
        values.extend(listed.map(|feature| of_row.sign * of_row.values[*feature as usize]));
        baselines.push(of_row.baseline);
        scores.push(of_row.score);
        // Attributions are exact, whatever is listed of them.
        errors.push(0.0);
    }
    let names: ArrayRef = Arc::new(StringArray::from_iter_values(&found.features));
    let items = StructArray::try_new(
        attribution_fields(),
        vec![
            take(&names, &UInt32Array::from(features), None)?,
            Arc::new(Float64Array::from(values)),
        ],
        None,
    )?;
    Ok(vec![
        regular_lists(Arc::new(items), n_listed, n_rows)?,
        Arc::new(Float64Array::from(baselines)),
        Arc::new(Float64Array::from(scores)),
        Arc::new(Float64Array::from(errors)),
    ])
}
