//! The changes of rows between versions of a Delta table, as its commits tell them.
//!
//! A log and two versions flow in; a provider flows out whose plan is a plain scan of Parquet files: of the files of
//! changes that a commit wrote, else of the data files that it added or removed. The library's own reader encodes the
//! names of files once more than the log does, and gives NULL for columns that had other names.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::DateTime;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::ScalarValue;
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::FileScanConfigBuilder;
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result as DfResult;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::union::UnionExec;
use deltalake::kernel::{Add, AddCDCFile, Remove};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStore};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Error, Result};
use crate::tables::commit_times::READS_IN_FLIGHT;
use crate::tables::delta_files::object_path;
use crate::tables::delta_log::{DeltaLog, DeltaVersion, LOG_FOLDER};
use crate::tables::delta_scan::{consecutive_groups, parquet_source};
use crate::tables::lease::Lease;
use crate::tables::located::located_under;
use crate::tables::missing_files::missing;
use crate::tables::partition_values::values_of;
use crate::tables::scans::of_no_files;
use crate::tables::shape::CHANGE_DATA_FEED;

const CHANGE_TYPE: &str = "_change_type";
const COMMIT_VERSION: &str = "_commit_version";
const COMMIT_TIMESTAMP: &str = "_commit_timestamp";

/// The changes from one version to another, both included; `None`: to the newest.
///
/// Errors: `UndefinedTableVersion`, `VersionOrder`, `ChangesNotKept`, `ChangesLost`, `VersionVacuumed`, `NotPlainTable`.
pub(crate) async fn row_changes(
    log: &DeltaLog,
    from: u64,
    to: Option<u64>,
) -> Result<Arc<dyn TableProvider>> {
    let newest = log.newest().await?;
    if !newest.shape()?.keeps_changes() {
        return Err(Error::ChangesNotKept);
    }
    if newest.has_mapped_columns()? {
        return Err(Error::NotPlainTable);
    }
    let to = to.unwrap_or_else(|| newest.number().max(from));
    for version in [from, to] {
        log.check_version(version).await?;
    }
    if to < from {
        return Err(Error::VersionOrder { from, to });
    }
    let commits = read(log, from, to).await?;
    // What a commit that changes the definition removes has the columns of before.
    let first = commits
        .first()
        .is_some_and(|commit| commit.metadata.is_some());
    let before = log.unchecked(from - u64::from(first && from > 0)).await?;
    check(&before, &commits)?;
    let end = match to == newest.number() {
        true => newest,
        false => log.unchecked(to).await?,
    };
    let read = commits
        .iter()
        .flat_map(|commit| match commit.told.is_empty() {
            true => [commit.added.as_slice(), commit.removed.as_slice()],
            false => [commit.told.as_slice(), &[]],
        });
    let names = read.flatten().map(|file| file.name.clone()).collect();
    if let Some(file) = missing(&end.table, names).await? {
        return Err(Error::VersionVacuumed {
            version: from,
            file,
            newest: end.number(),
        });
    }
    Ok(Arc::new(RowChanges::new(log, &end, commits)?))
}

/// What one commit says of rows.
struct Commit {
    version: u64,
    made_ms: i64,
    metadata: Option<Value>,
    /// Files whose rows say themselves what happened to them.
    told: Vec<ChangedFile>,
    added: Vec<ChangedFile>,
    removed: Vec<ChangedFile>,
}

/// A file of a commit.
struct ChangedFile {
    name: String,
    bytes: u64,
    partition_values: HashMap<String, Option<String>>,
}

/// An action about a file. The library's types know how the log writes names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
enum FileAction {
    Add(Add),
    Remove(Remove),
    Cdc(AddCDCFile),
}

impl ChangedFile {
    /// `None` for an action that changes no row.
    ///
    /// Errors: `NotPlainTable` for files elsewhere and those of which only some rows count, `Corrupt`.
    fn of(kind: &str, action: &Value) -> Result<Option<Self>> {
        let action = serde_json::json!({ kind: action });
        let action = serde_json::from_value(action).map_err(|error| Error::Corrupt {
            file: LOG_FOLDER.into(),
            reason: error.to_string(),
        })?;
        let (name, bytes, values, is_whole) = match action {
            FileAction::Add(add) if !add.data_change => return Ok(None),
            FileAction::Remove(remove) if !remove.data_change => return Ok(None),
            FileAction::Add(add) => {
                let is_whole = add.deletion_vector.is_none();
                (
                    add.path,
                    Some(add.size),
                    Some(add.partition_values),
                    is_whole,
                )
            }
            FileAction::Remove(remove) => {
                let is_whole = remove.deletion_vector.is_none();
                (remove.path, remove.size, remove.partition_values, is_whole)
            }
            FileAction::Cdc(told) => (
                told.path,
                Some(told.size),
                Some(told.partition_values),
                true,
            ),
        };
        let bytes = bytes.and_then(|bytes| u64::try_from(bytes).ok());
        match (bytes, values) {
            (Some(bytes), Some(partition_values)) if is_whole && !name.contains("://") => {
                Ok(Some(Self {
                    name,
                    bytes,
                    partition_values,
                }))
            }
            _ => Err(Error::NotPlainTable),
        }
    }
}

impl Commit {
    fn of(version: u64, made_ms: i64, actions: &[Value]) -> Result<Self> {
        let files = |kind: &str| -> Result<Vec<ChangedFile>> {
            let of_kind = actions.iter().filter_map(|action| action.get(kind));
            let files = of_kind.map(|action| ChangedFile::of(kind, action).transpose());
            files.flatten().collect()
        };
        let told = files("cdc")?;
        let tells = !told.is_empty();
        let unless_told = |kind: &str| if tells { Ok(vec![]) } else { files(kind) };
        let mut metadata = actions.iter().filter_map(|action| action.get("metaData"));
        Ok(Self {
            version,
            made_ms,
            metadata: metadata.next().cloned(),
            added: unless_told("add")?,
            removed: unless_told("remove")?,
            told,
        })
    }

    /// The columns that the commit gives the table.
    fn columns(&self) -> Option<Columns> {
        columns_of(self.metadata.as_ref()?)
    }

    /// Whether the table keeps changes from this commit on, if it says so.
    fn keeps_changes(&self) -> Option<bool> {
        let configuration = self.metadata.as_ref()?.get("configuration")?;
        let value = configuration.get(CHANGE_DATA_FEED).and_then(Value::as_str);
        Some(value.is_some_and(|value| value.eq_ignore_ascii_case("true")))
    }
}

async fn read(log: &DeltaLog, from: u64, to: u64) -> Result<Vec<Commit>> {
    let known = log.known_versions().await?.into_iter();
    let wanted = known.filter(|(number, _)| (from..=to).contains(number));
    let reads = futures::stream::iter(wanted)
        .map(|(number, made_ms)| async move {
            Commit::of(number, made_ms, &log.read_commit(number).await?)
        })
        .buffered(READS_IN_FLIGHT);
    reads.try_collect().await
}

/// The names and types of columns in their order.
type Columns = Vec<(String, Value)>;

/// The columns that the metadata of a log names.
fn columns_of(metadata: &Value) -> Option<Columns> {
    let schema = metadata.get("schemaString")?.as_str()?;
    let schema: Value = serde_json::from_str(schema).ok()?;
    let fields = schema.get("fields")?.as_array()?.iter();
    let column = |field: &Value| {
        let name = field.get("name")?.as_str()?.to_owned();
        Some((name, field.get("type")?.clone()))
    };
    Some(fields.filter_map(column).collect())
}

/// Fails where commits do not tell the changes of all rows under the names of their columns.
fn check(before: &DeltaVersion, commits: &[Commit]) -> Result<()> {
    let metadata = serde_json::to_value(before.snapshot()?.metadata());
    let mut columns = metadata.ok().and_then(|metadata| columns_of(&metadata));
    let mut gone = Columns::new();
    let mut keeps_changes = before.shape()?.keeps_changes();
    for commit in commits {
        keeps_changes = commit.keeps_changes().unwrap_or(keeps_changes);
        let lost = |reason| {
            let version = commit.version;
            Err(Error::ChangesLost { version, reason })
        };
        if !keeps_changes {
            return lost("the table did not keep them");
        }
        let Some(now) = commit.columns() else {
            continue;
        };
        let earlier = columns.take().unwrap_or_default();
        if let Some(reason) = changed_meaning(&earlier, &now) {
            return lost(reason);
        }
        if now.iter().any(|column| gets_other_type(&gone, column)) {
            return lost("a column has the name of one that was dropped");
        }
        let dropped = |column: &(String, Value)| type_of(&now, &column.0).is_none();
        gone.extend(earlier.into_iter().filter(dropped));
        columns = Some(now);
    }
    Ok(())
}

/// Why a name may mean another column after a commit than before; `None`: it means the same.
fn changed_meaning(earlier: &Columns, now: &Columns) -> Option<&'static str> {
    let kept = |columns: &Columns, others: &Columns| -> Vec<String> {
        let names = columns.iter().map(|(name, _)| name.clone());
        names
            .filter(|name| type_of(others, name).is_some())
            .collect()
    };
    let (kept_before, kept_now) = (kept(earlier, now), kept(now, earlier));
    // One statement that takes a name away and brings another renames a column, one that swaps their places renames two.
    let is_other = kept_before.len() < earlier.len() && kept_now.len() < now.len();
    if is_other || kept_before != kept_now {
        return Some("columns were renamed");
    }
    now.iter()
        .any(|column| gets_other_type(earlier, column))
        .then_some("a column got another type")
}

fn type_of<'a>(columns: &'a Columns, name: &str) -> Option<&'a Value> {
    let mut columns = columns.iter();
    columns
        .find(|(other, _)| other == name)
        .map(|(_, data_type)| data_type)
}

/// Whether a column has a type by which values of its name before would be read as something else. Fields within it may
/// have come, and numbers may be wider.
fn gets_other_type(earlier: &Columns, (name, data_type): &(String, Value)) -> bool {
    const NUMBERS: [&str; 6] = ["byte", "short", "integer", "long", "float", "double"];
    let is_number = |name: &str| NUMBERS.contains(&name) || name.starts_with("decimal");
    type_of(earlier, name).is_some_and(|before| match (before.as_str(), data_type.as_str()) {
        (Some(before), Some(now)) => before != now && !(is_number(before) && is_number(now)),
        (None, None) => false,
        _ => true,
    })
}

/// Changes of rows, with the columns of the last version.
#[derive(Debug)]
struct RowChanges {
    store: Arc<dyn ObjectStore>,
    store_url: ObjectStoreUrl,
    lease: Option<Arc<Lease>>,
    schema: SchemaRef,
    /// The columns that lie in data files.
    file_fields: Vec<FieldRef>,
    partition_fields: Vec<FieldRef>,
    /// Their partition values end in version and time.
    told: Vec<PartitionedFile>,
    /// Their partition values end in what happened, version and time.
    whole: Vec<PartitionedFile>,
}

impl RowChanges {
    fn new(log: &DeltaLog, end: &DeltaVersion, commits: Vec<Commit>) -> Result<Self> {
        let shape = end.shape()?;
        let nullable = |field: &FieldRef| Arc::new(field.as_ref().clone().with_nullable(true));
        let fields: Vec<FieldRef> = shape.schema().fields().iter().map(nullable).collect();
        let is_partition = |field: &FieldRef| shape.partition_columns.contains(field.name());
        let (partition_fields, file_fields) = fields.iter().cloned().partition(is_partition);
        let all = fields.into_iter().chain(notes());
        let mut changes = Self {
            store: log.store(),
            store_url: log.store_url()?,
            lease: log.lease().cloned(),
            schema: Arc::new(Schema::new(all.collect::<Vec<_>>())),
            file_fields,
            partition_fields,
            told: vec![],
            whole: vec![],
        };
        let folder = log.folder()?;
        for commit in &commits {
            for file in &commit.told {
                let file = changes.located(file, &folder, commit, None)?;
                changes.told.push(file);
            }
            let removed = commit.removed.iter().map(|file| (file, "delete"));
            let added = commit.added.iter().map(|file| (file, "insert"));
            for (file, what) in removed.chain(added) {
                let file = changes.located(file, &folder, commit, Some(what))?;
                changes.whole.push(file);
            }
        }
        Ok(changes)
    }

    fn located(
        &self,
        file: &ChangedFile,
        folder: &Path,
        commit: &Commit,
        what: Option<&str>,
    ) -> Result<PartitionedFile> {
        let path = object_path(&file.name);
        let mut located = PartitionedFile::new_from_meta(ObjectMeta {
            location: folder.parts().chain(path.parts()).collect(),
            last_modified: DateTime::UNIX_EPOCH,
            size: file.bytes,
            e_tag: None,
            version: None,
        });
        for field in &self.partition_fields {
            let text = file.partition_values.get(field.name());
            let text = text.and_then(|text| text.as_deref());
            let value = values_of(std::iter::once(text), field.data_type())?;
            let value = ScalarValue::try_from_array(&value, 0)?;
            located.partition_values.push(value);
        }
        located.partition_values.extend(what.map(ScalarValue::from));
        located.partition_values.extend([
            ScalarValue::Int64(i64::try_from(commit.version).ok()),
            ScalarValue::TimestampMillisecond(Some(commit.made_ms), None),
        ]);
        Ok(located)
    }

    fn scan_of(
        &self,
        files: &[PartitionedFile],
        are_told: bool,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let mut in_files = self.file_fields.clone();
        let mut beside = self.partition_fields.clone();
        let [what, version, time] = notes();
        if are_told { &mut in_files } else { &mut beside }.push(what);
        beside.extend([version, time]);
        let table = TableSchema::builder(Arc::new(Schema::new(in_files)))
            .with_table_partition_cols(beside)
            .build();
        let all: Vec<usize> = (0..self.schema.fields().len()).collect();
        let wanted = projection.unwrap_or(&all).iter();
        let position = |idx: &usize| {
            table
                .table_schema()
                .index_of(self.schema.field(*idx).name())
        };
        let positions: Vec<usize> = wanted.map(position).collect::<Result<_, _>>()?;
        let source = parquet_source(session, table, &self.store, &self.store_url);
        let groups = consecutive_groups(files.to_vec(), session.config().target_partitions());
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(groups)
            .with_projection_indices(Some(positions))?
            .build();
        let scan = DataSourceExec::from_data_source(config);
        Ok(located_under(scan, "Parquet", self.lease.clone()))
    }
}

/// The columns behind those of the table.
fn notes() -> [FieldRef; 3] {
    let time = DataType::Timestamp(TimeUnit::Millisecond, None);
    [
        Arc::new(Field::new(CHANGE_TYPE, DataType::Utf8, true)),
        Arc::new(Field::new(COMMIT_VERSION, DataType::Int64, true)),
        Arc::new(Field::new(COMMIT_TIMESTAMP, time, true)),
    ]
}

#[async_trait]
impl TableProvider for RowChanges {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        let none = TableProviderFilterPushDown::Unsupported;
        Ok(vec![none; filters.len()])
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        _limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        let mut plans = Vec::new();
        for (files, are_told) in [(&self.told, true), (&self.whole, false)] {
            if !files.is_empty() {
                plans.push(self.scan_of(files, are_told, session, projection)?);
            }
        }
        match plans.len() {
            0 => of_no_files(&self.schema, projection),
            1 => Ok(plans.remove(0)),
            _ => UnionExec::try_new(plans),
        }
    }
}
