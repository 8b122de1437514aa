//! How the label column becomes numbers, and a class's number a label again.
//!
//! In: the label column of training; out: classes in sort order with their original type.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// A class in its original type.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ClassLabel {
    /// A boolean label.
    Bool(bool),
    /// An integer label.
    Integer(i64),
    /// A floating-point label.
    Float(f64),
    /// A text label.
    Text(String),
}

impl ClassLabel {
    /// The label as SQL prints it (`true`, `3`, `Adelie`).
    pub fn text(&self) -> String {
        match self {
            ClassLabel::Bool(value) => value.to_string(),
            ClassLabel::Integer(value) => value.to_string(),
            ClassLabel::Float(value) => value.to_string(),
            ClassLabel::Text(value) => value.clone(),
        }
    }

    /// The sort order of labels of one type.
    pub fn order(&self, other: &ClassLabel) -> Ordering {
        match (self, other) {
            (ClassLabel::Bool(a), ClassLabel::Bool(b)) => a.cmp(b),
            (ClassLabel::Integer(a), ClassLabel::Integer(b)) => a.cmp(b),
            (ClassLabel::Float(a), ClassLabel::Float(b)) => a.total_cmp(b),
            _ => self.text().cmp(&other.text()),
        }
    }
}

/// How the label was encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TargetEncoding {
    /// The label column.
    pub column: String,
    /// Its type at training, as PostgreSQL names it.
    pub sql_type: String,
    /// The classes in sort order; empty for regression. For two classes the last is the positive one.
    pub classes: Vec<ClassLabel>,
    /// Samples of each class, or for regression of the whole, in the training part.
    pub class_counts: Vec<u64>,
    /// Mean of the label in the training part (regression), for the baseline.
    pub mean: f64,
}
