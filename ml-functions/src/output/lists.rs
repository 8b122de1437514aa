//! Arrays and fields of predictions, built in bulk.
//!
//! In: numbers of a whole batch, row-major; out: lists over one child array, JSON texts over one
//! buffer, and the fields that describe them.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, Float64Array, Int64Array, ListArray, StringArray, StructArray, UInt32Array,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields};

use crate::error::{Error, Result};

/// Centroids that `NEAREST_CENTROIDS_DISTANCE` lists.
const N_NEAREST: usize = 5;

/// `[{label, prob}, …]` for each row, the most probable first, equals in the order of classes.
pub(super) fn probability_lists(
    labels: &ArrayRef,
    n_classes: usize,
    values: &[f64],
) -> Result<ArrayRef> {
    let mut order: Vec<u32> = Vec::with_capacity(values.len());
    let mut sorted = Vec::with_capacity(values.len());
    let mut row_order: Vec<u32> = Vec::with_capacity(n_classes);
    for row in values.chunks_exact(n_classes) {
        row_order.clear();
        row_order.extend(0..n_classes as u32);
        row_order.sort_by(|a, b| row[*b as usize].total_cmp(&row[*a as usize]));
        sorted.extend(row_order.iter().map(|class| row[*class as usize]));
        order.extend_from_slice(&row_order);
    }
    let labels_in_order = take(labels, &UInt32Array::from(order), None)?;
    let items = StructArray::try_new(
        probability_fields(labels.data_type()),
        vec![labels_in_order, Arc::new(Float64Array::from(sorted))],
        None,
    )?;
    regular_lists(Arc::new(items), n_classes, values.len() / n_classes)
}

/// `[{CENTROID_ID, DISTANCE}, …]` for each row: the nearest five, equals by number.
pub(super) fn nearest_lists(n_clusters: usize, distances: &[f64]) -> Result<ArrayRef> {
    let n_listed = n_clusters.min(N_NEAREST);
    let n_rows = distances.len() / n_clusters.max(1);
    let (mut ids, mut nearest) = (Vec::new(), Vec::new());
    ids.reserve(n_rows * n_listed);
    nearest.reserve(n_rows * n_listed);
    let mut order: Vec<usize> = Vec::with_capacity(n_clusters);
    for row in distances.chunks_exact(n_clusters.max(1)) {
        let by_distance = |a: &usize, b: &usize| row[*a].total_cmp(&row[*b]).then(a.cmp(b));
        order.clear();
        order.extend(0..n_clusters);
        if n_listed < n_clusters {
            order.select_nth_unstable_by(n_listed, by_distance);
        }
        order[..n_listed].sort_unstable_by(by_distance);
        ids.extend(order[..n_listed].iter().map(|id| *id as i64 + 1));
        nearest.extend(order[..n_listed].iter().map(|id| row[*id]));
    }
    let items = StructArray::try_new(
        distance_fields(),
        vec![
            Arc::new(Int64Array::from(ids)),
            Arc::new(Float64Array::from(nearest)),
        ],
        None,
    )?;
    regular_lists(Arc::new(items), n_listed, n_rows)
}

pub(super) fn float_lists(width: usize, values: &[f64], n_rows: usize) -> Result<ArrayRef> {
    regular_lists(float_array(values), width, n_rows)
}

/// Lists of equal length over consecutive items.
pub(super) fn regular_lists(items: ArrayRef, width: usize, n_rows: usize) -> Result<ArrayRef> {
    if items.len() != width * n_rows {
        return Err(mismatch());
    }
    offset(items.len())?;
    let offsets = OffsetBuffer::from_repeated_length(width, n_rows);
    let field = list_item(items.data_type().clone());
    Ok(Arc::new(ListArray::try_new(field, offsets, items, None)?))
}

/// `{"label": probability, …}` for each row, in the order of classes.
pub(super) fn json_objects(labels: &[String], values: &[f64]) -> Result<ArrayRef> {
    let broken = |source: serde_json::Error| Error::Internal {
        what: source.to_string(),
    };
    let keys = labels
        .iter()
        .map(serde_json::to_string)
        .collect::<std::result::Result<Vec<_>, _>>();
    let keys = keys.map_err(broken)?;
    let (mut text, mut offsets) = (Vec::new(), vec![0_i32]);
    for row in values.chunks_exact(labels.len().max(1)) {
        for (idx, (key, probability)) in keys.iter().zip(row).enumerate() {
            text.extend_from_slice(if idx == 0 { b"{" } else { b", " });
            text.extend_from_slice(key.as_bytes());
            text.extend_from_slice(b": ");
            serde_json::to_writer(&mut text, probability).map_err(broken)?;
        }
        text.push(b'}');
        offsets.push(offset(text.len())?);
    }
    let offsets = OffsetBuffer::new(ScalarBuffer::from(offsets));
    Ok(Arc::new(StringArray::try_new(offsets, text.into(), None)?))
}

fn offset(length: usize) -> Result<i32> {
    i32::try_from(length).map_err(|_| Error::Unsupported {
        what: "a batch of predictions of more than 2,147,483,647 values or bytes".to_owned(),
    })
}

pub(super) fn cluster_ids(ids: &[Option<u32>]) -> ArrayRef {
    Arc::new(
        ids.iter()
            .map(|id| id.map(|id| i64::from(id) + 1))
            .collect::<Int64Array>(),
    )
}

pub(super) fn float_array(values: &[f64]) -> ArrayRef {
    Arc::new(Float64Array::from(values.to_vec()))
}

pub(super) fn float(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

pub(super) fn integer(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

pub(super) fn probability_fields(label_type: &DataType) -> Fields {
    Fields::from(vec![
        Field::new("label", label_type.clone(), true),
        float("prob"),
    ])
}

pub(super) fn distance_fields() -> Fields {
    Fields::from(vec![integer("CENTROID_ID"), float("DISTANCE")])
}

fn list_item(data_type: DataType) -> FieldRef {
    Arc::new(Field::new_list_field(data_type, true))
}

pub(super) fn list_type(data_type: DataType) -> DataType {
    DataType::List(list_item(data_type))
}

pub(super) fn mismatch() -> Error {
    Error::Internal {
        what: "a prediction is not of the form of its model".to_owned(),
    }
}
