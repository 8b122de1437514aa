//! The data files of one version of a Delta table, with what its log knows of each.
//!
//! A snapshot of the log flows in, once for each version; the files in a fixed order, their partition values and their
//! statistics flow out, in the form that DataFusion prunes and plans by. Nothing here reads a data file.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, BooleanArray, Int64Array, RecordBatch, RecordBatchOptions, UInt32Array,
    UInt64Array, new_null_array,
};
use datafusion::arrow::compute::kernels::numeric::add_wrapping;
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::stats::Precision;
use datafusion::common::{Column, ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use deltalake::kernel::{EagerSnapshot, LogDataHandler, LogicalFileView};
use object_store::ObjectMeta;
use object_store::path::Path;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::OnceCell;

use crate::error::Result;
use crate::tables::log_bounds;
use crate::tables::partition_values::values_of;
use crate::tables::snapshot::SnapshotFile;
use crate::tables::time_columns::{log_marks_of, shown_columns};

/// Some writers cut timestamps of the log to milliseconds.
const TIMESTAMP_SLACK_US: i64 = 999;
/// The property of tables whose files have other column names than the table.
pub(crate) const COLUMN_MAPPING: &str = "delta.columnMapping.mode";

/// The files of one version.
#[derive(Debug)]
pub(crate) struct DeltaFiles {
    /// The table's columns in their declared order.
    pub(crate) schema: SchemaRef,
    /// The same with what the log notes on them.
    pub(crate) noted: SchemaRef,
    /// Those that lie in the data files, in order.
    pub(crate) file_schema: SchemaRef,
    /// Those that the log holds for each file, in order.
    pub(crate) partition_fields: Vec<FieldRef>,
    /// By the time that the log gives them, then by path: the same order in every scan of the version.
    pub(crate) files: Vec<DeltaFile>,
    /// One row a file: the values of the partition columns.
    pub(crate) partition_values: RecordBatch,
    /// Bounds of the columns of `file_schema`, one row a file.
    bounds: Vec<ColumnBounds>,
    n_rows: Option<ArrayRef>,
    /// Over all files, of file columns, then partition columns.
    pub(crate) statistics: Statistics,
    /// Whether the files were compared with what the log says of them.
    pub(crate) are_checked: OnceCell<()>,
}

/// One data file.
#[derive(Debug, Clone)]
pub(crate) struct DeltaFile {
    /// As the log has it, relative to the table's folder.
    pub(crate) name: String,
    /// Its statistics cover file columns, then partition columns.
    pub(crate) file: PartitionedFile,
}

/// What the log says of one column, one row a file; NULL where it says nothing.
#[derive(Debug, Clone, Default)]
struct ColumnBounds {
    min: Option<ArrayRef>,
    max: Option<ArrayRef>,
    nulls: Option<ArrayRef>,
}

impl DeltaFiles {
    /// The files of a snapshot of the table in the folder `root`; `None` if its files are not plain Parquet with the
    /// table's own columns: with deletion vectors, mapped columns, or files elsewhere.
    pub(crate) fn of(snapshot: &EagerSnapshot, root: &Path) -> Result<Option<Self>> {
        let Some(views) = plain_files(snapshot) else {
            return Ok(None);
        };
        let noted = shown_columns(&snapshot.arrow_schema());
        let schema = without_notes(&noted);
        let partition_columns = snapshot.metadata().partition_columns();
        let (partition_fields, file_fields): (Vec<FieldRef>, Vec<FieldRef>) = schema
            .fields()
            .iter()
            .cloned()
            .partition(|field| partition_columns.contains(field.name()));
        let log = LogColumns {
            order: views.iter().map(|(idx, _)| *idx as u32).collect(),
            counts: views.iter().map(|(_, view)| Counts::of(view)).collect(),
            log: snapshot.log_data(),
        };
        let Some(values) = partition_values(&views, &partition_fields) else {
            return Ok(None);
        };
        let bounds: Vec<ColumnBounds> = file_fields.iter().map(|field| log.bounds(field)).collect();
        let n_rows = log.counts.iter().map(|counts| counts.n_rows);
        let n_rows: Option<ArrayRef> = Some(Arc::new(n_rows.collect::<UInt64Array>()));
        let mut files = Vec::with_capacity(views.len());
        for (idx, (_, view)) in views.iter().enumerate() {
            let mut file = located(view, root)?;
            for array in &values {
                file.partition_values
                    .push(ScalarValue::try_from_array(array, idx)?);
            }
            let statistics = statistics_of(idx, &n_rows, &bounds, &file);
            file.statistics = Some(Arc::new(statistics));
            let name = view.path().into_owned();
            files.push(DeltaFile { name, file });
        }
        let all = files
            .iter()
            .filter_map(|file| file.file.statistics.as_deref());
        let table_fields: Vec<FieldRef> = file_fields
            .iter()
            .chain(&partition_fields)
            .cloned()
            .collect();
        let statistics = merged(all, &Schema::new(table_fields), files.is_empty())?;
        let options = RecordBatchOptions::new().with_row_count(Some(files.len()));
        let partition_schema = Arc::new(Schema::new(partition_fields.clone()));
        let partition_values =
            RecordBatch::try_new_with_options(partition_schema, values, &options)?;
        Ok(Some(Self {
            schema,
            noted,
            file_schema: Arc::new(Schema::new(file_fields)),
            partition_fields,
            files,
            partition_values,
            bounds,
            n_rows,
            statistics,
            are_checked: OnceCell::new(),
        }))
    }

    /// A time later than that of every file.
    pub(crate) fn next_modified_ms(&self) -> i64 {
        let last = self.files.last();
        last.map_or(0, |file| {
            file.file.object_meta.last_modified.timestamp_millis() + 1
        })
    }

    /// What a model pins of the files, by path.
    pub(crate) fn pinned(&self) -> Vec<SnapshotFile> {
        let pin = |file: &DeltaFile| SnapshotFile {
            path: file.name.clone(),
            bytes: file.file.object_meta.size,
            modified_ms: file.file.object_meta.last_modified.timestamp_millis(),
            e_tag: None,
        };
        let mut files: Vec<SnapshotFile> = self.files.iter().map(pin).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        files
    }

    fn bounds_of(&self, column: &Column) -> Option<&ColumnBounds> {
        self.bounds
            .get(self.file_schema.index_of(column.name()).ok()?)
    }

    fn partition_of(&self, column: &Column) -> Option<ArrayRef> {
        self.partition_values.column_by_name(column.name()).cloned()
    }
}

impl PruningStatistics for DeltaFiles {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        match self.bounds_of(column) {
            Some(bounds) => bounds.min.clone(),
            None => self.partition_of(column),
        }
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        match self.bounds_of(column) {
            Some(bounds) => bounds.max.clone(),
            None => self.partition_of(column),
        }
    }

    fn num_containers(&self) -> usize {
        self.files.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        self.bounds_of(column)?.nulls.clone()
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        self.n_rows.clone()
    }

    fn contained(&self, _: &Column, _: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        None
    }
}

/// Statistics over files, of file columns, then partition columns.
pub(crate) fn merged<'a>(
    files: impl IntoIterator<Item = &'a Statistics>,
    schema: &Schema,
    is_empty: bool,
) -> Result<Statistics> {
    if is_empty {
        let mut statistics = Statistics::new_unknown(schema);
        statistics.num_rows = Precision::Exact(0);
        return Ok(statistics);
    }
    Ok(Statistics::try_merge_iter(files, schema)?)
}

/// Whether columns may have other names in files than in the table.
pub(crate) fn has_mapped_columns(snapshot: &EagerSnapshot) -> bool {
    let mode = snapshot.metadata().configuration().get(COLUMN_MAPPING);
    mode.is_some_and(|mode| mode != "none")
}

/// The files as the log has them, each with its place there, in the order of scans: as they were written, so that rows
/// come in the order of their statements. `None` if some are not plain Parquet in the table's folder.
fn plain_files(snapshot: &EagerSnapshot) -> Option<Vec<(usize, LogicalFileView)>> {
    if has_mapped_columns(snapshot) {
        return None;
    }
    let log = snapshot.log_data();
    let mut views: Vec<(usize, LogicalFileView)> = log.iter().enumerate().collect();
    let is_plain = |view: &LogicalFileView| {
        view.deletion_vector_descriptor().is_none()
            && !view.path().contains("://")
            && Path::parse(view.path()).is_ok()
    };
    if !views.iter().all(|(_, view)| is_plain(view)) {
        return None;
    }
    views.sort_by(|(_, a), (_, b)| {
        let times = a.modification_time().cmp(&b.modification_time());
        times.then_with(|| a.path().cmp(&b.path()))
    });
    Some(views)
}

/// The object that a log's name of a file, its percent signs decoded once, means: no character of it is special.
pub(crate) fn object_path(name: &str) -> Path {
    Path::parse(name).unwrap_or_else(|_| Path::from(name))
}

fn located(view: &LogicalFileView, root: &Path) -> Result<PartitionedFile> {
    let path = object_path(&view.path());
    Ok(PartitionedFile::new_from_meta(ObjectMeta {
        location: root.parts().chain(path.parts()).collect(),
        last_modified: view.modification_datetime()?,
        size: u64::try_from(view.size()).unwrap_or_default(),
        e_tag: None,
        version: None,
    }))
}

/// What the log says of columns, one row a file, in the order of scans.
struct LogColumns<'a> {
    log: LogDataHandler<'a>,
    order: UInt32Array,
    counts: Vec<Counts>,
}

/// The numbers among the statistics of a file.
#[derive(Debug, Default, Deserialize)]
struct Counts {
    #[serde(default, rename = "numRecords")]
    n_rows: Option<u64>,
    /// By column; columns with fields have an object each.
    #[serde(default, rename = "nullCount")]
    nulls: BTreeMap<String, Value>,
}

impl Counts {
    fn of(view: &LogicalFileView) -> Self {
        let text = view.stats().unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_default()
    }
}

impl LogColumns<'_> {
    fn sorted(&self, array: Option<ArrayRef>, to: &DataType) -> Option<ArrayRef> {
        take(&cast(&array?, to).ok()?, &self.order, None).ok()
    }

    fn bounds(&self, field: &FieldRef) -> ColumnBounds {
        let column = Column::from_name(field.name());
        let nulls = Some(Arc::new(self.null_counts(field.name())) as ArrayRef);
        if !log_bounds::hold(field.data_type()) {
            return ColumnBounds {
                nulls,
                ..ColumnBounds::default()
            };
        }
        let max = match field.data_type().is_floating() {
            // It says nothing of NaN, which is greater.
            true => None,
            false => self.sorted(self.log.max_values(&column), field.data_type()),
        };
        ColumnBounds {
            min: self.sorted(self.log.min_values(&column), field.data_type()),
            max: max.map(|max| later(&max)),
            nulls,
        }
    }

    fn null_counts(&self, column: &str) -> UInt64Array {
        let counts = self.counts.iter();
        counts
            .map(|counts| counts.nulls.get(column)?.as_u64())
            .collect()
    }
}

/// The values of partition columns, one row a file; `None` if the log's form of some is not understood.
fn partition_values(
    views: &[(usize, LogicalFileView)],
    fields: &[FieldRef],
) -> Option<Vec<ArrayRef>> {
    if fields.is_empty() {
        return Some(vec![]);
    }
    let views = views.iter();
    let texts: Vec<_> = views.map(|(_, view)| view.partition_values_map()).collect();
    let values = |field: &FieldRef| {
        let texts = texts
            .iter()
            .map(|texts| texts.get(field.name())?.as_deref());
        values_of(texts, field.data_type()).ok()
    };
    fields.iter().map(values).collect()
}

/// A schema without what formats note on fields, which would make equal columns unequal, but for the marks of json, uuids,
/// times and intervals.
pub(crate) fn without_notes(schema: &Schema) -> SchemaRef {
    let marked = |field: &FieldRef| plain(field).with_metadata(log_marks_of(field));
    Arc::new(Schema::new(
        schema.fields().iter().map(marked).collect::<Vec<_>>(),
    ))
}

/// A schema without any metadata, as data files have it.
pub(crate) fn without_metadata(schema: &Schema) -> SchemaRef {
    Arc::new(Schema::new(
        schema.fields().iter().map(plain).collect::<Vec<_>>(),
    ))
}

fn plain(field: &FieldRef) -> Field {
    Field::new(field.name(), field.data_type().clone(), field.is_nullable())
}

/// Upper bounds that hold although the log may have cut them.
fn later(max: &ArrayRef) -> ArrayRef {
    let DataType::Timestamp(TimeUnit::Microsecond, _) = max.data_type() else {
        return Arc::clone(max);
    };
    let slack = cast(max, &DataType::Int64).and_then(|number| {
        let slack = Int64Array::new_scalar(TIMESTAMP_SLACK_US);
        cast(&add_wrapping(&number, &slack)?, max.data_type())
    });
    slack.unwrap_or_else(|_| new_null_array(max.data_type(), max.len()))
}

fn statistics_of(
    idx: usize,
    n_rows: &Option<ArrayRef>,
    bounds: &[ColumnBounds],
    file: &PartitionedFile,
) -> Statistics {
    let n_rows = count(n_rows, idx);
    let value = |array: &Option<ArrayRef>| {
        let array = array.as_ref()?;
        let value = ScalarValue::try_from_array(array, idx).ok()?;
        (!value.is_null()).then_some((value, is_exact(array.data_type())))
    };
    let precise = |found: Option<(ScalarValue, bool)>| match found {
        Some((value, true)) => Precision::Exact(value),
        Some((value, false)) => Precision::Inexact(value),
        None => Precision::Absent,
    };
    let of_file = bounds.iter().map(|bounds| ColumnStatistics {
        null_count: count(&bounds.nulls, idx),
        min_value: precise(value(&bounds.min)),
        max_value: precise(value(&bounds.max)),
        ..ColumnStatistics::new_unknown()
    });
    let of_partition = file
        .partition_values
        .iter()
        .map(|value| match value.is_null() {
            true => ColumnStatistics {
                null_count: n_rows,
                ..ColumnStatistics::new_unknown()
            },
            false => ColumnStatistics {
                null_count: Precision::Exact(0),
                min_value: Precision::Exact(value.clone()),
                max_value: Precision::Exact(value.clone()),
                ..ColumnStatistics::new_unknown()
            },
        });
    Statistics {
        num_rows: n_rows,
        total_byte_size: Precision::Absent,
        column_statistics: of_file.chain(of_partition).collect(),
    }
}

fn count(counts: &Option<ArrayRef>, idx: usize) -> Precision<usize> {
    let counts = counts
        .as_ref()
        .and_then(|counts| counts.as_any().downcast_ref::<UInt64Array>());
    match counts {
        Some(counts) if counts.is_valid(idx) => {
            usize::try_from(counts.value(idx)).map_or(Precision::Absent, Precision::Exact)
        }
        _ => Precision::Absent,
    }
}

/// Whether the log's bounds of a type are values that occur: floats leave out NaN, texts and timestamps may be cut.
fn is_exact(data_type: &DataType) -> bool {
    data_type.is_integer() || matches!(data_type, DataType::Date32 | DataType::Boolean)
}
