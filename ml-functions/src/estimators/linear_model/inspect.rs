//! `ML.WEIGHTS` and `ML.ADVANCED_WEIGHTS` of a linear model.
//!
//! In: the model and the encoder of its training; out: tables with BigQuery's columns, features in
//! the order of the training query, then `__INTERCEPT__`.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Float64Array, ListArray, RecordBatchOptions, StringArray, StructArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::arrow::record_batch::RecordBatch;

use super::distributions::two_sided_p;
use super::model::{LinearModel, Link, Uncertainty, n_numeric};
use crate::error::{Error, Result};
use crate::features::{FeatureEncoder, FeatureStatistics};
use crate::model::Inspection;

/// BigQuery's names of the intercept and of the category of NULLs.
const INTERCEPT: &str = "__INTERCEPT__";
const NULL_CATEGORY: &str = "_null_filler";

/// One coefficient, or all of a categorical feature.
enum Row<'a> {
    Number {
        input: &'a str,
        column: usize,
        unit: f64,
    },
    Categories {
        input: &'a str,
        columns: Vec<(&'a str, usize)>,
    },
    Intercept,
}

/// Answers a function about a model.
pub(super) fn inspect(
    model: &LinearModel,
    request: &Inspection,
    encoder: &FeatureEncoder,
) -> Result<RecordBatch> {
    let standardize = request
        .arguments
        .get("standardize")
        .and_then(|value| value.as_bool());
    let standardize = standardize.unwrap_or(false);
    let rows = rows(model, encoder, standardize);
    match (request.function.as_str(), &model.uncertainty) {
        ("weights", _) => weights(model, &rows, encoder, standardize),
        ("advanced_weights", Some(uncertainty)) => {
            advanced_weights(model, &rows, uncertainty, encoder, standardize)
        }
        ("advanced_weights", None) => Err(Error::ConflictingOptions {
            message: "ml.advanced_weights needs a model that was trained with \"calculate_p_values\""
                .to_owned(),
            hint: "Train it with OPTIONS (calculate_p_values = TRUE, category_encoding_method = 'DUMMY_ENCODING')."
                .to_owned(),
        }),
        (function, _) => Err(Error::Unsupported { what: format!("ml.{function} of this model") }),
    }
}

/// The rows of both tables. A standardised weight is one per standard deviation.
fn rows<'a>(
    model: &'a LinearModel,
    encoder: &'a FeatureEncoder,
    standardize: bool,
) -> Vec<Row<'a>> {
    let (mut number, mut offset) = (0, n_numeric(encoder));
    let mut dropped = model.dropped.iter();
    let row = |(feature, statistics): (&'a crate::features::Feature, &FeatureStatistics)| {
        let input = feature.name.as_str();
        match statistics {
            FeatureStatistics::Numeric(column) => {
                let unit = if standardize { column.stddev } else { 1.0 };
                number += 1;
                Row::Number {
                    input,
                    column: number - 1,
                    unit,
                }
            }
            FeatureStatistics::Categorical(column) => {
                let dropped = dropped.next().copied().flatten();
                let columns = (0..column.n_seen())
                    .filter(|&code| Some(code) != dropped)
                    .map(|code| {
                        let category = model.terms[offset + code].category.as_ref();
                        let name = category.and_then(|category| category.as_deref());
                        (name.unwrap_or(NULL_CATEGORY), offset + code)
                    })
                    .collect();
                offset += column.n_seen();
                Row::Categories { input, columns }
            }
        }
    };
    let features = encoder.schema.features.iter().zip(&encoder.statistics);
    let mut rows: Vec<Row<'a>> = features.map(row).collect();
    rows.push(Row::Intercept);
    rows
}

/// The intercept of one output: at the means, or where all features are zero.
fn intercept(
    model: &LinearModel,
    coefficients: &[f64],
    encoder: &FeatureEncoder,
    standardize: bool,
) -> f64 {
    let own = model.own_intercept(coefficients);
    if !standardize {
        return own;
    }
    let means = encoder.numeric().map(|(_, column)| column.mean);
    own + means
        .zip(coefficients)
        .map(|(mean, b)| mean * b)
        .sum::<f64>()
}

fn weights(
    model: &LinearModel,
    rows: &[Row<'_>],
    encoder: &FeatureEncoder,
    standardize: bool,
) -> Result<RecordBatch> {
    let (mut inputs, mut values, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    let (mut lengths, mut categories, mut category_weights) = (Vec::new(), Vec::new(), Vec::new());
    for (output, coefficients) in model.outputs().enumerate() {
        for row in rows {
            let mut length = 0;
            let (input, value) = match row {
                Row::Number {
                    input,
                    column,
                    unit,
                } => (*input, Some(coefficients[*column] * unit)),
                Row::Categories { input, columns } => {
                    length = columns.len();
                    categories.extend(columns.iter().map(|(name, _)| *name));
                    category_weights.extend(columns.iter().map(|(_, idx)| coefficients[*idx]));
                    (*input, None)
                }
                Row::Intercept => (
                    INTERCEPT,
                    Some(intercept(model, coefficients, encoder, standardize)),
                ),
            };
            inputs.push(input);
            values.push(value);
            lengths.push(length);
            labels.push(model.classes.get(output).map(String::as_str));
        }
    }
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("processed_input", Arc::new(StringArray::from(inputs))),
        ("weight", Arc::new(Float64Array::from(values))),
        (
            "category_weights",
            category_lists(&lengths, categories, category_weights)?,
        ),
    ];
    if model.link == Link::Softmax {
        columns.push(("class_label", Arc::new(StringArray::from(labels))));
    }
    table(columns)
}

fn advanced_weights(
    model: &LinearModel,
    rows: &[Row<'_>],
    uncertainty: &Uncertainty,
    encoder: &FeatureEncoder,
    standardize: bool,
) -> Result<RecordBatch> {
    let coefficients = &model.coefficients;
    let (mut inputs, mut categories) = (Vec::new(), Vec::new());
    let (mut values, mut errors, mut p_values) = (Vec::new(), Vec::new(), Vec::new());
    let mut add = |input, category: Option<&str>, weight: f64, error: f64| {
        inputs.push(input);
        categories.push(category.map(ToOwned::to_owned));
        values.push(weight);
        // A coefficient that was never free is exactly zero: nothing can be tested.
        let is_tested = error > 0.0;
        errors.push(is_tested.then_some(error));
        p_values.push(is_tested.then(|| two_sided_p(weight / error, uncertainty.degrees)));
    };
    for row in rows {
        match row {
            Row::Number {
                input,
                column,
                unit,
            } => {
                let (weight, error) = (coefficients[*column], uncertainty.errors[*column]);
                add(*input, None, weight * unit, error * unit);
            }
            Row::Categories { input, columns } => {
                for (category, column) in columns {
                    let (weight, error) = (coefficients[*column], uncertainty.errors[*column]);
                    add(*input, Some(category), weight, error);
                }
            }
            Row::Intercept => {
                let weight = intercept(model, coefficients, encoder, standardize);
                let error = match standardize {
                    true => uncertainty.error_at_means,
                    false => uncertainty.errors[model.n_cols()],
                };
                add(INTERCEPT, None, weight, error);
            }
        }
    }
    table(vec![
        (
            "processed_input",
            Arc::new(StringArray::from(inputs)) as ArrayRef,
        ),
        ("category", Arc::new(StringArray::from(categories))),
        ("weight", Arc::new(Float64Array::from(values))),
        ("standard_error", Arc::new(Float64Array::from(errors))),
        ("p_value", Arc::new(Float64Array::from(p_values))),
    ])
}

/// `[{category, weight}, …]` for each length; a number has an empty list, as in BigQuery, where
/// arrays are never NULL.
fn category_lists(lengths: &[usize], categories: Vec<&str>, weights: Vec<f64>) -> Result<ArrayRef> {
    let fields = Fields::from(vec![
        Field::new("category", DataType::Utf8, true),
        Field::new("weight", DataType::Float64, true),
    ]);
    let items = StructArray::try_new(
        fields.clone(),
        vec![
            Arc::new(StringArray::from(categories)),
            Arc::new(Float64Array::from(weights)),
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

fn table(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let field =
        |(name, array): &(&str, ArrayRef)| Field::new(*name, array.data_type().clone(), true);
    let schema = Schema::new(columns.iter().map(field).collect::<Vec<_>>());
    let n_rows = columns.first().map_or(0, |(_, array)| array.len());
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Ok(RecordBatch::try_new_with_options(
        Arc::new(schema),
        arrays,
        &options,
    )?)
}
