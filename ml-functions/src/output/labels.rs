//! The classes of a model as one column, and the class that a row is predicted to be.
//!
//! In: the target's encoding, and probabilities; out: label arrays, names and codes.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::features::{ClassLabel, TargetEncoding};
use crate::metrics::DEFAULT_THRESHOLD;

/// Classes that a hint lists.
const N_LISTED_CLASSES: usize = 20;

/// The classes of a model in their order, as one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ClassLabels {
    Bool(Vec<bool>),
    Integer(Vec<i64>),
    Float(Vec<f64>),
    Text(Vec<String>),
}

impl Default for ClassLabels {
    fn default() -> ClassLabels {
        ClassLabels::Text(Vec::new())
    }
}

impl ClassLabels {
    /// The classes of a target; labels of different types become text.
    pub(crate) fn of(target: &TargetEncoding) -> ClassLabels {
        fn all<T>(classes: &[ClassLabel], of: fn(&ClassLabel) -> Option<T>) -> Option<Vec<T>> {
            classes.iter().map(of).collect()
        }
        let classes = target.classes.as_slice();
        let labels = match classes.first() {
            Some(ClassLabel::Bool(_)) => all(classes, |class| match class {
                ClassLabel::Bool(label) => Some(*label),
                _ => None,
            })
            .map(ClassLabels::Bool),
            Some(ClassLabel::Integer(_)) => all(classes, |class| match class {
                ClassLabel::Integer(label) => Some(*label),
                _ => None,
            })
            .map(ClassLabels::Integer),
            Some(ClassLabel::Float(_)) => all(classes, |class| match class {
                ClassLabel::Float(label) => Some(*label),
                _ => None,
            })
            .map(ClassLabels::Float),
            _ => None,
        };
        let texts = || ClassLabels::Text(classes.iter().map(ClassLabel::text).collect());
        labels.unwrap_or_else(texts)
    }

    /// Number of classes.
    pub(crate) fn len(&self) -> usize {
        match self {
            ClassLabels::Bool(labels) => labels.len(),
            ClassLabels::Integer(labels) => labels.len(),
            ClassLabels::Float(labels) => labels.len(),
            ClassLabels::Text(labels) => labels.len(),
        }
    }

    /// Their type.
    pub(crate) fn data_type(&self) -> DataType {
        match self {
            ClassLabels::Bool(_) => DataType::Boolean,
            ClassLabels::Integer(_) => DataType::Int64,
            ClassLabels::Float(_) => DataType::Float64,
            ClassLabels::Text(_) => DataType::Utf8,
        }
    }

    /// The labels as an array, from which codes are taken.
    pub(crate) fn array(&self) -> ArrayRef {
        match self {
            ClassLabels::Bool(labels) => Arc::new(BooleanArray::from(labels.clone())),
            ClassLabels::Integer(labels) => Arc::new(Int64Array::from(labels.clone())),
            ClassLabels::Float(labels) => Arc::new(Float64Array::from(labels.clone())),
            ClassLabels::Text(labels) => Arc::new(StringArray::from_iter_values(labels)),
        }
    }

    /// The labels as SQL prints them.
    pub(crate) fn texts(&self) -> Vec<String> {
        match self {
            ClassLabels::Bool(labels) => labels.iter().map(ToString::to_string).collect(),
            ClassLabels::Integer(labels) => labels.iter().map(ToString::to_string).collect(),
            ClassLabels::Float(labels) => labels.iter().map(ToString::to_string).collect(),
            ClassLabels::Text(labels) => labels.clone(),
        }
    }

    /// The class whose probability a call wants: the one named, else the positive one of two;
    /// `None` is all of them.
    pub(super) fn asked_for(&self, class: Option<&str>) -> Result<Option<usize>> {
        let Some(class) = class else {
            // Classes are sorted, so that the last of FALSE and TRUE, or of 0 and 1, is the
            // positive.
            return Ok((self.len() == 2).then_some(1));
        };
        let mut texts = self.texts();
        let is_class = |text: &String| match self {
            ClassLabels::Bool(_) => text.eq_ignore_ascii_case(class),
            _ => text == class,
        };
        if let Some(idx) = texts.iter().position(is_class) {
            return Ok(Some(idx));
        }
        if texts.len() > N_LISTED_CLASSES {
            texts.truncate(N_LISTED_CLASSES);
            texts.push("…".to_owned());
        }
        Err(Error::UnknownClass {
            class: class.to_owned(),
            classes: texts,
        })
    }
}

/// The most probable class; the first of equals.
pub(crate) fn argmax(row: &[f64]) -> u32 {
    let mut best = 0;
    for (idx, probability) in row.iter().enumerate() {
        if *probability > row[best] {
            best = idx;
        }
    }
    best as u32
}

/// The class of each row: of two the positive one from the threshold on, else the most probable.
pub(super) fn predicted_classes(
    n_classes: usize,
    values: &[f64],
    threshold: Option<f64>,
) -> Vec<u32> {
    let rows = values.chunks_exact(n_classes.max(1));
    if n_classes == 2 {
        let threshold = threshold.unwrap_or(DEFAULT_THRESHOLD);
        return rows.map(|row| u32::from(row[1] >= threshold)).collect();
    }
    rows.map(argmax).collect()
}
