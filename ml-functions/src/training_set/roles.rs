//! Decides what each column of the training query is: a feature, the label, a weight, the split.
//!
//! In: the query's schema, the options and the names that the statement gave; out: the columns to
//! read and where each stands. Every user error about columns ends here, before a row is read.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::arrow::record_batch::RecordBatch;

use crate::error::{Error, Result};
use crate::estimator::Task;
use crate::features::{
    Feature, FeatureKind, FeatureSchema, check_label_type, find_column, sql_type,
};
use crate::options::Options;
use crate::training::{ColumnRequest, SampleShape};

const PLACE: &str = "training query";

/// The columns of a training query by what they are for.
#[derive(Debug)]
pub(crate) struct Roles {
    pub(crate) features: FeatureSchema,
    /// The features' columns in the query.
    feature_columns: Vec<usize>,
    pub(super) label: Option<RoleColumn>,
    pub(crate) weight: Option<RoleColumn>,
    pub(super) split: Option<RoleColumn>,
    /// TRUE in rows that the estimator starts from.
    pub(super) marks: Option<RoleColumn>,
}

/// A column that is not a feature.
#[derive(Debug, Clone)]
pub(crate) struct RoleColumn {
    pub(super) name: String,
    pub(super) data_type: DataType,
    column: usize,
}

/// Where the columns stand in the batches of a pass.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Layout {
    n_features: usize,
    label: Option<usize>,
    weight: Option<usize>,
    split: Option<usize>,
    marks: Option<usize>,
}

impl Roles {
    /// The roles of the query's columns.
    pub(crate) fn resolve(request: &ColumnRequest<'_>) -> Result<Roles> {
        let schema = Arc::clone(&request.schema);
        check_unique(schema.fields().iter().map(|field| field.name().as_str()))?;
        let (task, options) = (request.estimator.spec().task, request.options);
        let role = |name: &str, role: &'static str| -> Result<RoleColumn> {
            let column = find_column(&schema, name, PLACE, role)?;
            let field = schema.field(column);
            let data_type = field.data_type().clone();
            Ok(RoleColumn {
                name: field.name().clone(),
                data_type,
                column,
            })
        };
        let (mut label, mut weight, mut split) = (None, None, None);
        if task.is_supervised() {
            label = Some(role(&label_name(request)?, "label")?);
            weight = options
                .text("instance_weight_col")
                .map(|n| role(n, "weight"))
                .transpose()?;
            split = options
                .text("data_split_col")
                .map(|n| role(n, "split column"))
                .transpose()?;
        }
        let marks = options
            .text_if_known("kmeans_init_col")
            .map(|name| role(name, "start column"))
            .transpose()?;
        check_types(task, options, [&label, &weight, &split, &marks])?;
        let roles = [&label, &weight, &split, &marks];
        let taken: Vec<&RoleColumn> = roles.into_iter().flatten().collect();
        check_unique(taken.iter().map(|role| role.name.as_str()))?;
        let feature_columns = feature_columns(request, &schema, &taken)?;
        let of_column = |column: &usize| {
            let field = schema.field(*column);
            Feature::of(field.name(), field.data_type())
        };
        let mut features: Vec<Feature> = feature_columns
            .iter()
            .map(of_column)
            .collect::<Result<_>>()?;
        if features.is_empty() {
            return Err(Error::NoFeatures);
        }
        override_precision(&mut features, options);
        let features = FeatureSchema { features };
        Ok(Roles {
            features,
            feature_columns,
            label,
            weight,
            split,
            marks,
        })
    }

    /// The shape of the samples.
    pub(crate) fn shape(&self, task: Task, options: &Options) -> SampleShape {
        let has_weights = self.weight.is_some() || options.weighs_classes();
        SampleShape {
            n_numeric: self.features.numeric().count(),
            n_categorical: self.features.categorical().count(),
            sample_bytes: self.sample_bytes(task, has_weights),
        }
    }

    /// Size of an encoded sample in memory.
    pub(crate) fn sample_bytes(&self, task: Task, has_weights: bool) -> usize {
        let target = match task {
            Task::Regression => size_of::<f64>(),
            Task::Classification => size_of::<u32>(),
            Task::Clustering | Task::Decomposition => 0,
        };
        let weight = if has_weights { size_of::<f64>() } else { 0 };
        self.features.sample_bytes() + target + weight
    }

    /// The columns that learning needs.
    pub(super) fn all_columns(&self) -> (Vec<usize>, Layout) {
        let mut columns = self.feature_columns.clone();
        let layout = Layout {
            n_features: columns.len(),
            label: place(&mut columns, self.label.as_ref()),
            weight: place(&mut columns, self.weight.as_ref()),
            split: place(&mut columns, self.split.as_ref()),
            marks: place(&mut columns, self.marks.as_ref()),
        };
        (columns, layout)
    }

    /// The columns that the split needs.
    pub(super) fn split_columns(&self) -> (Vec<usize>, Layout) {
        let mut columns = Vec::new();
        let layout = Layout {
            n_features: 0,
            label: place(&mut columns, self.label.as_ref()),
            weight: None,
            split: place(&mut columns, self.split.as_ref()),
            marks: None,
        };
        (columns, layout)
    }
}

impl Layout {
    /// The feature columns of a batch in schema order.
    pub(super) fn features<'a>(&self, batch: &'a RecordBatch) -> &'a [ArrayRef] {
        &batch.columns()[..self.n_features]
    }

    /// The label columns of some batches, if there is a label.
    pub(super) fn label<'a>(&self, batches: &'a [RecordBatch]) -> Option<Vec<&'a ArrayRef>> {
        self.label.map(|column| columns_at(batches, column))
    }

    /// The weight columns of some batches, if there are weights.
    pub(super) fn weight<'a>(&self, batches: &'a [RecordBatch]) -> Option<Vec<&'a ArrayRef>> {
        self.weight.map(|column| columns_at(batches, column))
    }

    /// The columns of marks of some batches, if there are any.
    pub(super) fn marks<'a>(&self, batches: &'a [RecordBatch]) -> Option<Vec<&'a ArrayRef>> {
        self.marks.map(|column| columns_at(batches, column))
    }

    /// The split columns of some batches, if there is one.
    pub(super) fn split<'a>(&self, batches: &'a [RecordBatch]) -> Option<Vec<&'a ArrayRef>> {
        self.split.map(|column| columns_at(batches, column))
    }
}

fn columns_at(batches: &[RecordBatch], column: usize) -> Vec<&ArrayRef> {
    batches.iter().map(|batch| batch.column(column)).collect()
}

/// Adds a column to those to read and returns its place.
fn place(columns: &mut Vec<usize>, role: Option<&RoleColumn>) -> Option<usize> {
    let role = role?;
    columns.push(role.column);
    Some(columns.len() - 1)
}

/// The label is what the statement names, else what the option names, else `label`.
fn label_name(request: &ColumnRequest<'_>) -> Result<String> {
    let mut written = request.options.texts("input_label_cols");
    match (request.label, written.len()) {
        (Some(label), _) => Ok(label.to_owned()),
        (None, 0) => Ok("label".to_owned()),
        (None, 1) => Ok(written.remove(0)),
        (None, _) => Err(Error::Unsupported {
            what: "more than one label column".to_owned(),
        }),
    }
}

/// The features are what the statement names, in its order, else every column without another role.
fn feature_columns(
    request: &ColumnRequest<'_>,
    schema: &Arc<Schema>,
    taken: &[&RoleColumn],
) -> Result<Vec<usize>> {
    let role_of = |column: usize| taken.iter().find(|role| role.column == column);
    let Some(names) = request.features else {
        return Ok((0..schema.fields().len())
            .filter(|column| role_of(*column).is_none())
            .collect());
    };
    check_unique(names.iter().map(String::as_str))?;
    let find = |name: &String| {
        let column = find_column(schema, name, PLACE, "feature")?;
        match role_of(column) {
            None => Ok(column),
            Some(role) => Err(Error::ConflictingOptions {
                message: format!(
                    "column \"{}\" cannot be a feature and have another role",
                    role.name
                ),
                hint: "Leave the label, the weight and the split column out of the features."
                    .to_owned(),
            }),
        }
    };
    names.iter().map(find).collect()
}

fn check_unique<'a>(names: impl Iterator<Item = &'a str>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::DuplicateColumn {
                column: name.to_owned(),
            });
        }
    }
    Ok(())
}

fn check_types(
    task: Task,
    options: &Options,
    [label, weight, split, marks]: [&Option<RoleColumn>; 4],
) -> Result<()> {
    if let Some(label) = label {
        check_label_type(task, &label.name, &label.data_type)?;
    }
    let wrong = |role: &RoleColumn, expected: &str| Error::ColumnType {
        column: role.name.clone(),
        found: sql_type(&role.data_type),
        expected: expected.to_owned(),
    };
    if let Some(weight) = weight
        .as_ref()
        .filter(|weight| !weight.data_type.is_numeric())
    {
        return Err(wrong(weight, "double precision"));
    }
    if let Some(marks) = marks
        .as_ref()
        .filter(|marks| marks.data_type != DataType::Boolean)
    {
        return Err(wrong(marks, "boolean"));
    }
    let Some(split) = split else { return Ok(()) };
    let is_custom = options.text("data_split_method") == Some("CUSTOM");
    if is_custom && split.data_type != DataType::Boolean {
        return Err(wrong(split, "boolean"));
    }
    // Whatever can be a feature can be ordered.
    Feature::of(&split.name, &split.data_type).map_err(|_| wrong(split, "timestamp"))?;
    Ok(())
}

/// `precision` F32 or F64 decides for every numeric feature, whatever its type.
fn override_precision(features: &mut [Feature], options: &Options) {
    let kind = match options.text("precision") {
        Some("F32") => FeatureKind::NumericF32,
        Some("F64") => FeatureKind::NumericF64,
        _ => return,
    };
    for feature in features
        .iter_mut()
        .filter(|feature| feature.kind != FeatureKind::Categorical)
    {
        feature.kind = kind;
    }
}

/// Rows of a chunk: 65,536, fewer for very wide tables, so that a chunk stays below 64 MB and a
/// cancel is answered soon. Depends on the number of columns alone.
pub(super) fn chunk_rows(n_columns: usize) -> usize {
    const MAX_ROWS: usize = 65_536;
    const MAX_VALUES: usize = 1 << 23;
    let fitting = (MAX_VALUES / n_columns.max(1)).max(256);
    if fitting >= MAX_ROWS {
        MAX_ROWS
    } else {
        1 << fitting.ilog2()
    }
}
