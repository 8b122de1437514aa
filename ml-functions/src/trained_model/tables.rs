//! The tables about a model that every estimator has: `ML.FEATURE_INFO` and `ML.TRAINING_INFO`.
//!
//! In: the encoder's statistics and the training curve; out: record batches with BigQuery's columns.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Float64Builder, Int64Array, Int64Builder, ListBuilder, StringArray,
    StructBuilder,
};
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::explain::GlobalAttributions;
use crate::features::{FeatureEncoder, FeatureStatistics, NumericStatistics, TargetEncoding};
use crate::run::Iteration;

/// One row a class, in the order of `PREDICT_PROBA`'s array; the last of two is the positive one.
pub(super) fn classes(target: &TargetEncoding) -> Result<RecordBatch> {
    let labels = target.classes.iter().map(|class| class.text());
    let counts = target
        .class_counts
        .iter()
        .map(|count| Some(count.cast_signed()));
    table(vec![
        (
            "class_label",
            Arc::new(StringArray::from_iter_values(labels)),
        ),
        ("training_rows", Arc::new(counts.collect::<Int64Array>())),
    ])
}

/// One row a feature; moments are NULL for text and where no value was seen, categories for numbers.
pub(super) fn feature_info(encoder: &FeatureEncoder) -> Result<RecordBatch> {
    let statistics = &encoder.statistics;
    let number = |of: fn(&NumericStatistics) -> f64| -> ArrayRef {
        let values = statistics.iter().map(|statistics| match statistics {
            FeatureStatistics::Numeric(numeric) if numeric.count > 0 => Some(of(numeric)),
            _ => None,
        });
        Arc::new(values.collect::<Float64Array>())
    };
    let inputs = encoder
        .schema
        .features
        .iter()
        .map(|feature| feature.name.as_str());
    let category_counts = statistics.iter().map(|statistics| match statistics {
        FeatureStatistics::Numeric(_) => None,
        FeatureStatistics::Categorical(text) => Some(text.categories.len() as i64),
    });
    let null_counts = statistics.iter().map(|statistics| match statistics {
        FeatureStatistics::Numeric(numeric) => numeric.null_count as i64,
        FeatureStatistics::Categorical(text) => text.null_count as i64,
    });
    table(vec![
        ("input", Arc::new(StringArray::from_iter_values(inputs))),
        ("min", number(|numeric| numeric.min)),
        ("max", number(|numeric| numeric.max)),
        ("mean", number(|numeric| numeric.mean)),
        ("median", number(|numeric| numeric.median)),
        ("stddev", number(|numeric| numeric.stddev)),
        (
            "category_count",
            Arc::new(category_counts.collect::<Int64Array>()),
        ),
        (
            "null_count",
            Arc::new(null_counts.map(Some).collect::<Int64Array>()),
        ),
        // Only arrays have one, and no feature is an array.
        (
            "dimension",
            Arc::new(Int64Array::new_null(statistics.len())),
        ),
    ])
}

/// One row a feature, the greatest mean magnitude first; with a target, one a class and feature.
pub(super) fn global_explain(
    found: &GlobalAttributions,
    target: Option<&TargetEncoding>,
) -> Result<RecordBatch> {
    let n_outputs = found.sums.len() / found.features.len().max(1);
    let outputs: Vec<(Option<usize>, Option<String>)> = match target {
        None => vec![(None, None)],
        Some(target) => target
            .classes
            .iter()
            .enumerate()
            // Of two classes one score serves both, with the other sign.
            .map(|(class, label)| (Some(class.min(n_outputs - 1)), Some(label.text())))
            .collect(),
    };
    let (mut features, mut means, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for (output, label) in outputs {
        let mut of_output: Vec<(usize, f64)> =
            found.means(output).into_iter().enumerate().collect();
        of_output.sort_by(|a, b| b.1.total_cmp(&a.1));
        for (feature, mean) in of_output {
            features.push(found.features[feature].as_str());
            means.push(mean);
            labels.push(label.clone());
        }
    }
    let mut columns: Vec<(&str, ArrayRef)> = vec![
        ("feature", Arc::new(StringArray::from(features))),
        ("attribution", Arc::new(Float64Array::from(means))),
    ];
    if target.is_some() {
        columns.push(("class_label", Arc::new(StringArray::from(labels))));
    }
    table(columns)
}

/// One row an iteration; `cluster_info` where the estimator reports clusters.
pub(super) fn training_info(iterations: &[Iteration], training_run: u64) -> Result<RecordBatch> {
    let finite = |value: Option<f64>| value.filter(|value| value.is_finite());
    let float = |of: &dyn Fn(&Iteration) -> Option<f64>| -> ArrayRef {
        Arc::new(
            iterations
                .iter()
                .map(|row| finite(of(row)))
                .collect::<Float64Array>(),
        )
    };
    let integer = |of: &dyn Fn(&Iteration) -> u64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(
            iterations.iter().map(|row| of(row) as i64),
        ))
    };
    let mut columns = vec![
        ("training_run", integer(&|_| training_run)),
        ("iteration", integer(&|row| row.iteration)),
        ("loss", float(&|row| Some(row.loss))),
        ("eval_loss", float(&|row| row.eval_loss)),
        ("learning_rate", float(&|row| row.learning_rate)),
        ("duration_ms", integer(&|row| row.duration_ms)),
    ];
    if iterations.iter().any(|row| row.extra.is_array()) {
        columns.push(("cluster_info", cluster_info(iterations)?));
    }
    table(columns)
}

/// Of each iteration the clusters that it left.
fn cluster_info(iterations: &[Iteration]) -> Result<ArrayRef> {
    let field = |name: &str, data_type| Field::new(name, data_type, true);
    let fields = Fields::from(vec![
        field("centroid_id", DataType::Int64),
        field("cluster_radius", DataType::Float64),
        field("cluster_size", DataType::Int64),
    ]);
    let mut lists = ListBuilder::new(StructBuilder::from_fields(fields, 0));
    let lost = || Error::Internal {
        what: "cluster_info has lost a column".to_owned(),
    };
    for row in iterations {
        let clusters = row.extra.as_array().map(Vec::as_slice).unwrap_or_default();
        for cluster in clusters {
            let entry = lists.values();
            let integer = |name: &str| cluster.get(name).and_then(Value::as_i64);
            let (id, size) = (integer("centroid_id"), integer("cluster_size"));
            let radius = cluster.get("cluster_radius").and_then(Value::as_f64);
            entry
                .field_builder::<Int64Builder>(0)
                .ok_or_else(lost)?
                .append_option(id);
            entry
                .field_builder::<Float64Builder>(1)
                .ok_or_else(lost)?
                .append_option(radius);
            entry
                .field_builder::<Int64Builder>(2)
                .ok_or_else(lost)?
                .append_option(size);
            entry.append(true);
        }
        lists.append(row.extra.is_array());
    }
    Ok(Arc::new(lists.finish()))
}

fn table(columns: Vec<(&str, ArrayRef)>) -> Result<RecordBatch> {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn cluster_info_is_a_column_where_clusters_are_reported() {
        let plain = Iteration {
            iteration: 0,
            loss: f64::NAN,
            ..Iteration::default()
        };
        let batch = training_info(std::slice::from_ref(&plain), 0).unwrap();
        assert_eq!(batch.num_columns(), 6);
        assert!(batch.column_by_name("loss").unwrap().is_null(0));
        let clusters = json!([{"centroid_id": 1, "cluster_radius": 0.5, "cluster_size": 3}]);
        let with = Iteration {
            iteration: 1,
            extra: clusters,
            ..plain
        };
        let batch = training_info(&[with], 0).unwrap();
        assert_eq!(
            batch.schema().field(6).data_type().to_string(),
            "List(Struct(\"centroid_id\": Int64, \"cluster_radius\": Float64, \"cluster_size\": Int64))"
        );
    }
}
