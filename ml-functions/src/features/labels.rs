//! Reads label columns: numbers for regressors, classes for classifiers.
//!
//! In: the label column of the batches of a chunk; out: a number or a class for each row, or NULL.
//! Also the other way: the class codes of a fitted [`TargetEncoding`] for new rows.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::HashMap;
use serde::{Deserialize, Serialize};

use super::columns::{Rows, append_codes, numbers};
use super::schema::sql_type;
use super::{ClassLabel, TargetEncoding, TargetValues};
use crate::error::{Error, Result};
use crate::estimator::Task;

/// The code of a row without a label.
const NULL_LABEL: u32 = u32::MAX;

/// A class label with the total order of its type.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(from = "TaggedLabel", into = "TaggedLabel")]
pub(crate) struct ClassKey(pub(crate) ClassLabel);

/// A label with the name of its type, as machines tell it each other; manifests do without.
#[derive(Serialize, Deserialize)]
enum TaggedLabel {
    Bool(bool),
    Integer(i64),
    Float(f64),
    Text(String),
}

impl From<TaggedLabel> for ClassKey {
    fn from(label: TaggedLabel) -> ClassKey {
        ClassKey(match label {
            TaggedLabel::Bool(value) => ClassLabel::Bool(value),
            TaggedLabel::Integer(value) => ClassLabel::Integer(value),
            TaggedLabel::Float(value) => ClassLabel::Float(value),
            TaggedLabel::Text(value) => ClassLabel::Text(value),
        })
    }
}

impl From<ClassKey> for TaggedLabel {
    fn from(key: ClassKey) -> TaggedLabel {
        match key.0 {
            ClassLabel::Bool(value) => TaggedLabel::Bool(value),
            ClassLabel::Integer(value) => TaggedLabel::Integer(value),
            ClassLabel::Float(value) => TaggedLabel::Float(value),
            ClassLabel::Text(value) => TaggedLabel::Text(value),
        }
    }
}

impl PartialEq for ClassKey {
    fn eq(&self, other: &ClassKey) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for ClassKey {}

impl PartialOrd for ClassKey {
    fn partial_cmp(&self, other: &ClassKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ClassKey {
    fn cmp(&self, other: &ClassKey) -> Ordering {
        self.0.order(&other.0)
    }
}

/// The labels of the rows of a chunk, in order.
#[derive(Debug)]
pub(crate) enum Labels {
    /// The task has none.
    None,
    /// Regression; NaN stands for NULL.
    Numbers(Vec<f64>),
    /// Classification: the classes that occur in the chunk, and which of them each row has.
    Classes {
        classes: Vec<ClassKey>,
        codes: Vec<u32>,
    },
}

impl Labels {
    /// Reads the label column of a chunk; `arrays` has one array a batch.
    pub(crate) fn read(task: Task, arrays: &[&ArrayRef]) -> Result<Labels> {
        if task == Task::Regression {
            let mut values = Vec::new();
            for array in arrays {
                append_with_nan(&numbers::<f64>(array)?, &mut values);
            }
            return Ok(Labels::Numbers(values));
        }
        let mut reader = ClassReader::default();
        for array in arrays {
            reader.read(array)?;
        }
        Ok(Labels::Classes {
            classes: reader.classes,
            codes: reader.codes,
        })
    }

    /// Whether a row has no label although the task needs one.
    pub(crate) fn is_null(&self, chunk_row: usize) -> bool {
        match self {
            Labels::None => false,
            Labels::Numbers(values) => values[chunk_row].is_nan(),
            Labels::Classes { codes, .. } => codes[chunk_row] == NULL_LABEL,
        }
    }

    /// The target values of some rows that have a label, classes by their number in the chunk.
    pub(crate) fn local_values(&self, rows: &Rows) -> TargetValues {
        match self {
            Labels::None => TargetValues::None,
            Labels::Numbers(values) => TargetValues::Numbers(rows.gather(values)),
            Labels::Classes { codes, .. } => TargetValues::Classes(rows.gather(codes)),
        }
    }

    /// The target values of some rows that have a label.
    pub(crate) fn target_values(&self, rows: &Rows, classes: &ClassCodes) -> TargetValues {
        match self {
            Labels::None => TargetValues::None,
            Labels::Numbers(values) => TargetValues::Numbers(rows.gather(values)),
            Labels::Classes {
                classes: found,
                codes,
            } => {
                let code_of: Vec<u32> = found.iter().map(|class| classes.code(class)).collect();
                let of_row = |row: usize| code_of[codes[row] as usize];
                TargetValues::Classes(rows.chunk_rows().map(of_row).collect())
            }
        }
    }
}

/// Rows of a label column that are NaN: neither a value to learn nor, as NULL, known to be missing.
pub(crate) fn count_nan(arrays: &[&ArrayRef]) -> Result<u64> {
    let mut n_rows = 0;
    for array in arrays {
        let is_float = match array.data_type() {
            DataType::Dictionary(_, values) => values.is_floating(),
            data_type => data_type.is_floating(),
        };
        if is_float {
            let values = numbers::<f64>(array)?;
            n_rows += values
                .iter()
                .flatten()
                .filter(|value| value.is_nan())
                .count();
        }
    }
    Ok(n_rows as u64)
}

/// Appends numbers, with NaN for NULL.
pub(crate) fn append_with_nan(numbers: &Float64Array, values: &mut Vec<f64>) {
    if numbers.null_count() == 0 {
        values.extend_from_slice(numbers.values());
    } else {
        values.extend(numbers.iter().map(|value| value.unwrap_or(f64::NAN)));
    }
}

/// The codes of the classes of a [`TargetEncoding`].
#[derive(Debug, Default)]
pub(crate) struct ClassCodes(BTreeMap<ClassKey, u32>);

impl ClassCodes {
    /// The codes, ready.
    pub(crate) fn new(target: &TargetEncoding) -> ClassCodes {
        ClassCodes(
            target
                .classes
                .iter()
                .cloned()
                .map(ClassKey)
                .zip(0..)
                .collect(),
        )
    }

    /// The code of a class; one that training never saw has the number of classes.
    pub(crate) fn code(&self, class: &ClassKey) -> u32 {
        self.0.get(class).copied().unwrap_or(self.0.len() as u32)
    }
}

/// Numbers the classes of a chunk as they come.
#[derive(Default)]
struct ClassReader {
    classes: Vec<ClassKey>,
    codes: Vec<u32>,
    of_text: HashMap<String, u32>,
    of_bits: HashMap<u64, u32>,
}

impl ClassReader {
    fn read(&mut self, array: &ArrayRef) -> Result<()> {
        match array.data_type() {
            DataType::Dictionary(_, values) if !is_text(values) => {
                return self.read(&cast(array, values)?);
            }
            DataType::Boolean => {
                for flag in array.as_boolean() {
                    let code = flag.map(|flag| {
                        number(
                            &mut self.of_bits,
                            u64::from(flag),
                            &mut self.classes,
                            || ClassLabel::Bool(flag),
                        )
                    });
                    self.codes.push(code.unwrap_or(NULL_LABEL));
                }
            }
            data_type if data_type.is_integer() => {
                // A number beyond bigint is an error rather than silently NULL.
                let strict = CastOptions {
                    safe: false,
                    ..CastOptions::default()
                };
                let integers = cast_with_options(array, &DataType::Int64, &strict)?;
                for value in integers.as_primitive::<Int64Type>() {
                    let code = value.map(|value| {
                        number(&mut self.of_bits, value as u64, &mut self.classes, || {
                            ClassLabel::Integer(value)
                        })
                    });
                    self.codes.push(code.unwrap_or(NULL_LABEL));
                }
            }
            data_type if is_text(data_type) => self.read_text(array)?,
            _ => {
                let floats = cast(array, &DataType::Float64)?;
                for value in floats.as_primitive::<Float64Type>() {
                    // Adding zero makes −0 and 0 one class.
                    let value = value
                        .filter(|value| !value.is_nan())
                        .map(|value| value + 0.0);
                    let code = value.map(|value| {
                        number(
                            &mut self.of_bits,
                            value.to_bits(),
                            &mut self.classes,
                            || ClassLabel::Float(value),
                        )
                    });
                    self.codes.push(code.unwrap_or(NULL_LABEL));
                }
            }
        }
        Ok(())
    }

    fn read_text(&mut self, array: &ArrayRef) -> Result<()> {
        let rows = Rows::all([array.len()].into_iter());
        let (of_text, classes) = (&mut self.of_text, &mut self.classes);
        let mut code = |text: Option<&str>| {
            let Some(text) = text else { return NULL_LABEL };
            if let Some(code) = of_text.get(text) {
                return *code;
            }
            let code = classes.len() as u32;
            classes.push(ClassKey(ClassLabel::Text(text.to_owned())));
            of_text.insert(text.to_owned(), code);
            code
        };
        append_codes(array, &rows.runs, &mut self.codes, &mut code)
    }
}

/// The number of a class that its bits identify.
fn number(
    of_bits: &mut HashMap<u64, u32>,
    bits: u64,
    classes: &mut Vec<ClassKey>,
    label: impl Fn() -> ClassLabel,
) -> u32 {
    *of_bits.entry(bits).or_insert_with(|| {
        classes.push(ClassKey(label()));
        classes.len() as u32 - 1
    })
}

fn is_text(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

/// Fails for a label column of a type that the task cannot learn.
pub(crate) fn check_label_type(task: Task, column: &str, data_type: &DataType) -> Result<()> {
    let value_type = match data_type {
        DataType::Dictionary(_, values) => values,
        other => other,
    };
    let bad = |hint: String| {
        Err(Error::BadLabel {
            column: column.to_owned(),
            problem: format!(
                "is of type {}, which this model type cannot learn",
                sql_type(data_type)
            ),
            hint,
        })
    };
    // A column of NULLs alone is told so after its rows were seen.
    let is_number = value_type.is_numeric() || *value_type == DataType::Null;
    let is_class = is_number || is_text(value_type) || *value_type == DataType::Boolean;
    match task {
        Task::Regression if is_number => Ok(()),
        Task::Regression if is_class => {
            let classifier = crate::registry::first_of(Task::Classification).unwrap_or_default();
            bad(format!("Use a classifier: model_type = '{classifier}'."))
        }
        Task::Classification if is_class => Ok(()),
        Task::Classification => {
            bad("Cast it in the query to text, a number or a boolean.".to_owned())
        }
        Task::Regression => bad("Cast it in the query to a number.".to_owned()),
        Task::Clustering | Task::Decomposition => Ok(()),
    }
}
