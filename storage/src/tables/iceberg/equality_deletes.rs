//! Rows that equality delete files remove: those whose values in some columns are a row of such a file.
//!
//! Scan tasks flow in as the Iceberg library planned them, which knows by their sequence numbers which files apply; the
//! tasks flow out without these files, each with the filter that does their work. NULL equals NULL here, NaN equals NaN,
//! and 0.0 equals -0.0. The library would filter by `column <> value`, which a NULL never passes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{filter_record_batch, is_null, nullif};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::TaskContext;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use futures::{StreamExt as _, TryStreamExt as _};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::scan::{FileScanTask, FileScanTaskDeleteFile};
use iceberg::spec::{
    DataContentType, DataFileFormat, NameMapping, NestedField, NestedFieldRef, Schema,
    SchemaRef as IcebergSchema, StructType, TableMetadata, Type,
};
use iceberg::table::Table;
use tokio::sync::OnceCell;

use crate::error::Result;
use crate::tables::floats::canonical;
use crate::tables::iceberg::{arrow_bridge, failed_at};

/// How many delete files are read at a time; writers of streams leave many small ones.
const FILES_AT_ONCE: usize = 8;
/// What a row takes beside its bytes: its pointer and length, its place in the table, the list of its files, and the
/// allocator's part.
const ROW_OVERHEAD_BYTES: usize = 96;

/// The equality delete files of one scan, each of which is read once.
pub(super) struct EqualityDeletes {
    location: String,
    /// The columns of the table, and after them dropped ones by which rows are deleted still.
    schema: IcebergSchema,
    /// The same in Arrow.
    arrow: SchemaRef,
    keys: BTreeMap<Vec<i32>, Arc<Key>>,
    files: BTreeMap<String, Arc<DeleteFile>>,
}

impl EqualityDeletes {
    /// The deletes of tasks that are read with the columns of `schema`. Errors: `TableFormat`.
    pub(super) fn of(
        metadata: &TableMetadata,
        schema: &IcebergSchema,
        tasks: &[FileScanTask],
    ) -> Result<Self> {
        let location = metadata.location().to_owned();
        let failed = |error| failed_at(&location, error);
        let deletes = tasks.iter().flat_map(|task| &task.deletes);
        let ids = deletes.flat_map(|delete| delete.equality_ids.iter().flatten());
        let schema = with_dropped(metadata, schema, ids).map_err(failed)?;
        let arrow = arrow_bridge::schema(&schema_to_arrow_schema(&schema).map_err(failed)?)?;
        Ok(Self {
            location,
            schema,
            arrow,
            keys: BTreeMap::new(),
            files: BTreeMap::new(),
        })
    }

    /// Takes the equality deletes of a task, which then reads their columns too, after those that it read already; the
    /// columns that it reads now, and what is to be removed from its batches. Errors: `TableFormat`.
    pub(super) fn take(&mut self, task: &mut FileScanTask) -> Result<(SchemaRef, EqualityFilter)> {
        let all = std::mem::take(&mut task.deletes).into_iter();
        let (equality, other): (Vec<_>, Vec<_>) =
            all.partition(|delete| delete.file_type == DataContentType::EqualityDeletes);
        task.deletes = other;
        task.schema = Arc::clone(&self.schema);
        let mut groups: Vec<Group> = Vec::new();
        for delete in equality {
            let file = self.file(delete, task)?;
            match groups.iter_mut().find(|g| Arc::ptr_eq(&g.key, &file.key)) {
                Some(group) => group.files.push(file),
                None => groups.push(Group {
                    paths: self.paths(&file.key, task)?,
                    key: Arc::clone(&file.key),
                    files: vec![file],
                }),
            }
        }
        let fields = self.schema.as_struct().fields();
        let place = |id: &i32| fields.iter().position(|field| field.id == *id);
        let read: Vec<usize> = task.project_field_ids.iter().filter_map(place).collect();
        let read = Arc::new(self.arrow.project(&read)?);
        Ok((read, EqualityFilter { groups }))
    }

    /// Where the columns of a key are among those that a task reads; what it does not read yet is added.
    fn paths(&self, key: &Key, task: &mut FileScanTask) -> Result<Vec<Vec<usize>>> {
        let fields = self.schema.as_struct().fields();
        let mut paths = Vec::with_capacity(key.ids.len());
        for id in &key.ids {
            let path = path_to(fields, *id).ok_or_else(|| unknown(*id));
            let mut path = path.map_err(|error| failed_at(&self.location, error))?;
            let column = fields[path[0]].id;
            let read = &mut task.project_field_ids;
            path[0] = read.iter().position(|id| *id == column).unwrap_or_else(|| {
                read.push(column);
                read.len() - 1
            });
            paths.push(path);
        }
        Ok(paths)
    }

    fn file(
        &mut self,
        delete: FileScanTaskDeleteFile,
        task: &FileScanTask,
    ) -> Result<Arc<DeleteFile>> {
        if let Some(known) = self.files.get(&delete.file_path) {
            return Ok(Arc::clone(known));
        }
        let mut ids = delete.equality_ids.unwrap_or_default();
        ids.sort_unstable();
        ids.dedup();
        let key = match self.keys.get(&ids) {
            Some(known) => Arc::clone(known),
            None => {
                let key = Arc::new(Key::new(&self.location, &self.schema, ids.clone())?);
                self.keys.insert(ids, Arc::clone(&key));
                key
            }
        };
        let file = Arc::new(DeleteFile {
            number: self.files.len(),
            path: delete.file_path.clone(),
            bytes: delete.file_size_in_bytes,
            names: task.name_mapping.clone(),
            key,
            is_loaded: OnceCell::new(),
        });
        self.files.insert(delete.file_path, Arc::clone(&file));
        Ok(file)
    }
}

/// What equality deletes remove from the batches of one task.
#[derive(Debug, Clone)]
pub(super) struct EqualityFilter {
    groups: Vec<Group>,
}

/// Delete files that go by the same columns.
#[derive(Debug, Clone)]
struct Group {
    key: Arc<Key>,
    /// Where those columns are in a batch of the task.
    paths: Vec<Vec<usize>>,
    files: Vec<Arc<DeleteFile>>,
}

impl EqualityFilter {
    /// The filter with its files read. Errors: `TableFormat`, those of stores, and too little memory.
    pub(super) async fn load(
        &self,
        table: &Table,
        context: &Arc<TaskContext>,
    ) -> DfResult<LoadedFilter> {
        let files = self.groups.iter().flat_map(|group| group.files.clone());
        let files: Vec<Arc<DeleteFile>> = files.collect();
        futures::stream::iter(files)
            .map(|file| file.load(table.clone(), Arc::clone(context)))
            .buffered(FILES_AT_ONCE)
            .try_collect::<()>()
            .await?;
        let loaded = self.groups.iter().map(|group| LoadedGroup {
            key: Arc::clone(&group.key),
            paths: group.paths.clone(),
            files: group.files.iter().map(|file| file.number).collect(),
        });
        Ok(LoadedFilter {
            groups: loaded.collect(),
        })
    }
}

/// The same when its files are read.
pub(super) struct LoadedFilter {
    groups: Vec<LoadedGroup>,
}

struct LoadedGroup {
    key: Arc<Key>,
    paths: Vec<Vec<usize>>,
    /// The numbers of those that apply.
    files: BTreeSet<usize>,
}

impl LoadedFilter {
    /// The rows of a batch that were not deleted.
    pub(super) fn remaining(&self, mut batch: RecordBatch) -> DfResult<RecordBatch> {
        for group in &self.groups {
            let rows = group.key.rows(&batch, &group.paths)?;
            let deleted = group.key.deleted.read();
            let deleted = deleted.unwrap_or_else(PoisonError::into_inner);
            let is_left = |row: &[u8]| {
                let files = deleted.files_of.get(row);
                !files.is_some_and(|files| files.iter().any(|file| group.files.contains(file)))
            };
            let left: Vec<bool> = rows.iter().map(|row| is_left(row.as_ref())).collect();
            drop(deleted);
            if left.contains(&false) {
                batch = filter_record_batch(&batch, &BooleanArray::from(left))?;
            }
        }
        Ok(batch)
    }
}

/// The columns by whose values rows are deleted.
#[derive(Debug)]
struct Key {
    /// Their ids, in ascending order.
    ids: Vec<i32>,
    /// The columns of a delete file that hold them, and nothing else.
    schema: IcebergSchema,
    /// The same in Arrow.
    arrow: SchemaRef,
    /// Where the values are in those.
    paths: Vec<Vec<usize>>,
    /// Makes bytes of values: the same bytes of equal ones.
    converter: RowConverter,
    /// What the files that were read delete.
    deleted: RwLock<DeletedRows>,
}

impl Key {
    fn new(location: &str, schema: &IcebergSchema, ids: Vec<i32>) -> Result<Self> {
        let failed = |error| failed_at(location, error);
        if ids.is_empty() {
            let reason = "an equality delete file names no columns";
            return Err(failed(invalid(reason.into())));
        }
        let fields = schema.as_struct().fields().iter();
        let fields = fields.filter_map(|field| only(field, &ids).map(Arc::new));
        let builder = Schema::builder().with_schema_id(schema.schema_id());
        let schema = builder.with_fields(fields).build().map_err(failed)?;
        let arrow = arrow_bridge::schema(&schema_to_arrow_schema(&schema).map_err(failed)?)?;
        let inside = schema.as_struct().fields();
        let paths = ids
            .iter()
            .map(|id| path_to(inside, *id).ok_or_else(|| failed(unknown(*id))))
            .collect::<Result<Vec<_>>>()?;
        let empty = RecordBatch::new_empty(Arc::clone(&arrow));
        let kinds = paths
            .iter()
            .map(|path| Ok(SortField::new(column_at(&empty, path)?.data_type().clone())))
            .collect::<DfResult<Vec<_>>>()?;
        Ok(Self {
            ids,
            schema: Arc::new(schema),
            arrow,
            paths,
            converter: RowConverter::new(kinds)?,
            deleted: RwLock::default(),
        })
    }

    fn rows(&self, batch: &RecordBatch, paths: &[Vec<usize>]) -> DfResult<Rows> {
        let columns = paths
            .iter()
            .map(|path| Ok(canonical(column_at(batch, path)?)))
            .collect::<DfResult<Vec<_>>>()?;
        Ok(self.converter.convert_columns(&columns)?)
    }
}

/// An equality delete file; it is read when the first task needs it.
#[derive(Debug)]
struct DeleteFile {
    /// Among those of the scan.
    number: usize,
    path: String,
    bytes: u64,
    names: Option<Arc<NameMapping>>,
    key: Arc<Key>,
    is_loaded: OnceCell<()>,
}

impl DeleteFile {
    /// Puts the rows of the file into its key, once.
    async fn load(self: Arc<Self>, table: Table, context: Arc<TaskContext>) -> DfResult<()> {
        let load = || async {
            let rows = self.read(&table, &context).await?;
            let deleted = self.key.deleted.write();
            let mut deleted = deleted.unwrap_or_else(PoisonError::into_inner);
            deleted.take_in(self.number, rows);
            Ok::<_, DataFusionError>(())
        };
        self.is_loaded.get_or_try_init(load).await.copied()
    }

    /// Reads the file as any other, so that its columns are those of the table now.
    async fn read(&self, table: &Table, context: &TaskContext) -> DfResult<FileRows> {
        let failed = |error| DataFusionError::from(failed_at(table.metadata().location(), error));
        let fields = self.key.schema.as_struct().fields().iter();
        let task = FileScanTask::builder()
            .with_file_size_in_bytes(self.bytes)
            // No range is the whole file.
            .with_start(0)
            .with_length(0)
            .with_data_file_path(self.path.clone())
            .with_data_file_format(DataFileFormat::Parquet)
            .with_schema(Arc::clone(&self.key.schema))
            .with_project_field_ids(fields.map(|field| field.id).collect())
            .with_name_mapping(self.names.clone())
            .with_case_sensitive(true)
            .build();
        let reader = table.reader_builder().with_data_file_concurrency_limit(1);
        let tasks = futures::stream::iter([Ok(task)]).boxed();
        let mut batches = reader.build().read(tasks).map_err(failed)?.stream();
        let memory = MemoryConsumer::new("equality deletes").register(context.memory_pool());
        let mut deleted = FileRows {
            rows: vec![],
            memory,
        };
        while let Some(batch) = batches.try_next().await.map_err(failed)? {
            deleted.add(&self.key, &arrow_bridge::batch(batch, &self.key.arrow)?)?;
        }
        Ok(deleted)
    }
}

/// The rows that the files of one key delete: a row is looked up once, however many files there are.
#[derive(Debug, Default)]
struct DeletedRows {
    /// The numbers of the files that have a row.
    files_of: HashMap<Box<[u8]>, Vec<usize>>,
    memory: Vec<MemoryReservation>,
}

impl DeletedRows {
    fn take_in(&mut self, number: usize, file: FileRows) {
        for row in file.rows {
            self.files_of.entry(row).or_default().push(number);
        }
        self.memory.push(file.memory);
    }
}

/// The rows of a delete file.
#[derive(Debug)]
struct FileRows {
    rows: Vec<Box<[u8]>>,
    memory: MemoryReservation,
}

impl FileRows {
    fn add(&mut self, key: &Key, batch: &RecordBatch) -> DfResult<()> {
        let rows = key.rows(batch, &key.paths)?;
        let overhead = rows.num_rows() * ROW_OVERHEAD_BYTES;
        self.memory.try_grow(rows.size() + overhead)?;
        let owned = rows.iter().map(|row| Box::from(row.as_ref()));
        self.rows.extend(owned);
        Ok(())
    }
}

/// The columns of a table with those that only deletes name: a dropped column counts for rows that were written before.
fn with_dropped<'a>(
    metadata: &TableMetadata,
    schema: &IcebergSchema,
    ids: impl Iterator<Item = &'a i32>,
) -> iceberg::Result<IcebergSchema> {
    let mut dropped: Vec<NestedFieldRef> = Vec::new();
    for id in ids {
        let now = schema.as_struct().fields();
        if path_to(now, *id).is_some() || path_to(&dropped, *id).is_some() {
            continue;
        }
        // The newest has the widest type.
        let mut schemas: Vec<&IcebergSchema> = metadata.schemas_iter().collect();
        schemas.sort_by_key(|schema| std::cmp::Reverse(schema.schema_id()));
        let found = schemas.into_iter().find_map(|schema| {
            let fields = schema.as_struct().fields();
            Some(&fields[path_to(fields, *id)?[0]])
        });
        let column = found.ok_or_else(|| unknown(*id))?;
        let is_known = |field: &NestedFieldRef| field.id == column.id;
        if now.iter().chain(&dropped).any(is_known) {
            let reason = format!("rows are deleted by a dropped field of \"{}\"", column.name);
            return Err(iceberg::Error::new(
                iceberg::ErrorKind::FeatureUnsupported,
                reason,
            ));
        }
        // Another column may have its name now.
        dropped.push(Arc::new(NestedField {
            name: format!("{} (dropped, {})", column.name, column.id),
            required: false,
            ..NestedField::clone(column)
        }));
    }
    if dropped.is_empty() {
        return Ok(Arc::clone(schema));
    }
    let extended = Schema::clone(schema).into_builder().with_fields(dropped);
    Ok(Arc::new(extended.build()?))
}

fn invalid(reason: String) -> iceberg::Error {
    iceberg::Error::new(iceberg::ErrorKind::DataInvalid, reason)
}

fn unknown(id: i32) -> iceberg::Error {
    invalid(format!(
        "rows are deleted by field {id}, which is no column nor a field of a struct"
    ))
}

/// The way to a single value: its place among the columns, then among the fields of each struct.
fn path_to(fields: &[NestedFieldRef], id: i32) -> Option<Vec<usize>> {
    let mut places = fields.iter().enumerate();
    places.find_map(|(at, field)| match field.field_type.as_ref() {
        Type::Primitive(_) => (field.id == id).then(|| vec![at]),
        Type::Struct(inner) => {
            let rest = path_to(inner.fields(), id)?;
            Some([vec![at], rest].concat())
        }
        Type::List(_) | Type::Map(_) => None,
    })
}

/// A field with nothing but the values of these ids, any of which may be NULL; `None` if it holds none of them.
fn only(field: &NestedField, ids: &[i32]) -> Option<NestedField> {
    let field_type = match field.field_type.as_ref() {
        Type::Primitive(_) if ids.contains(&field.id) => field.field_type.clone(),
        Type::Struct(inner) => {
            let inner = inner.fields().iter();
            let kept: Vec<NestedFieldRef> = inner
                .filter_map(|field| only(field, ids).map(Arc::new))
                .collect();
            match kept.is_empty() {
                true => return None,
                false => Box::new(Type::Struct(StructType::new(kept))),
            }
        }
        _ => return None,
    };
    Some(NestedField {
        required: false,
        field_type,
        ..field.clone()
    })
}

fn column_at(batch: &RecordBatch, path: &[usize]) -> DfResult<ArrayRef> {
    let mut column: Option<ArrayRef> = None;
    for at in path {
        column = Some(match column {
            None => Arc::clone(batch.column(*at)),
            Some(parent) => {
                let fields = parent.as_struct_opt().ok_or_else(|| {
                    DataFusionError::Internal("a field lies in what is no struct".into())
                })?;
                // A field of NULL is NULL, whatever lies there.
                nullif(fields.column(*at), &is_null(&parent)?)?
            }
        });
    }
    column.ok_or_else(|| DataFusionError::Internal("a column lies nowhere".into()))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Float64Array, Int64Array, StringArray, StructArray};
    use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
    use datafusion::execution::memory_pool::{MemoryPool, UnboundedMemoryPool};
    use iceberg::spec::PrimitiveType;

    use super::*;

    fn field(id: i32, name: &str, field_type: Type) -> NestedFieldRef {
        NestedField::optional(id, name, field_type).into()
    }

    /// `id bigint, k text, x double, s struct<y bigint>`, under the ids 1, 2, 3 and 4 with 5 in it.
    fn columns() -> (IcebergSchema, SchemaRef) {
        let inner = field(5, "y", Type::Primitive(PrimitiveType::Long));
        let schema = Schema::builder().with_fields([
            field(1, "id", Type::Primitive(PrimitiveType::Long)),
            field(2, "k", Type::Primitive(PrimitiveType::String)),
            field(3, "x", Type::Primitive(PrimitiveType::Double)),
            field(4, "s", Type::Struct(StructType::new(vec![inner]))),
        ]);
        let schema = Arc::new(schema.build().unwrap());
        let arrow = arrow_bridge::schema(&schema_to_arrow_schema(&schema).unwrap()).unwrap();
        (schema, arrow)
    }

    fn batch(arrow: &SchemaRef) -> RecordBatch {
        let inner = Int64Array::from(vec![Some(7), Some(7), None, Some(8), Some(9), Some(7)]);
        let DataType::Struct(fields) = arrow.field(3).data_type() else {
            panic!("no struct");
        };
        // The last struct is NULL, although its field has a value beneath.
        let is_there = vec![true, true, true, true, true, false].into();
        let inner: Vec<ArrayRef> = vec![Arc::new(inner)];
        let keys = [Some("a"), Some("b"), None, Some("a"), Some("b"), None];
        let nan = -f64::NAN;
        RecordBatch::try_new(
            Arc::clone(arrow),
            vec![
                Arc::new(Int64Array::from_iter_values(0..6)),
                Arc::new(StringArray::from_iter(keys)),
                Arc::new(Float64Array::from(vec![0.0, -0.0, nan, 1.0, 2.0, 3.0])),
                Arc::new(StructArray::new(fields.clone(), inner, Some(is_there))),
            ],
        )
        .unwrap()
    }

    /// The ids of the rows that remain when rows equal to those at some places of the batch are deleted by some columns.
    fn left(ids: &[i32], deleted_at: &[usize]) -> Vec<i64> {
        left_by(ids, &[deleted_at], &[0])
    }

    /// The same where several files delete, some of which apply.
    fn left_by(ids: &[i32], files: &[&[usize]], applying: &[usize]) -> Vec<i64> {
        let (schema, arrow) = columns();
        let key = Key::new("t", &schema, ids.to_vec()).unwrap();
        let rows = batch(&arrow);
        let pool: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let inside = key.schema.as_struct().fields().iter();
        let places: Vec<usize> = inside.map(|f| (f.id - 1) as usize).collect();
        for (number, deleted_at) in files.iter().enumerate() {
            let mut deleted = FileRows {
                rows: vec![],
                memory: MemoryConsumer::new("test").register(&pool),
            };
            for at in *deleted_at {
                let row = rows.slice(*at, 1).project(&places).unwrap();
                let row = RecordBatch::try_new(Arc::clone(&key.arrow), row.columns().to_vec());
                deleted.add(&key, &row.unwrap()).unwrap();
            }
            key.deleted.write().unwrap().take_in(number, deleted);
        }
        assert!(pool.reserved() > 0);
        let all = schema.as_struct().fields();
        let paths = ids.iter().map(|id| path_to(all, *id).unwrap());
        let filter = LoadedFilter {
            groups: vec![LoadedGroup {
                paths: paths.collect(),
                key: Arc::new(key),
                files: applying.iter().copied().collect(),
            }],
        };
        let remaining = filter.remaining(rows).unwrap();
        remaining
            .column(0)
            .as_primitive::<Int64Type>()
            .values()
            .to_vec()
    }

    #[test]
    fn a_null_is_equal_to_nulls_and_to_nothing_else() {
        assert_eq!(left(&[2], &[0]), [1, 2, 4, 5]);
        assert_eq!(left(&[2], &[2]), [0, 1, 3, 4]);
        assert_eq!(left(&[2], &[0, 1, 2]), [0_i64; 0]);
        // Only rows that are equal in all columns.
        assert_eq!(left(&[1, 2], &[2]), [0, 1, 3, 4, 5]);
    }

    #[test]
    fn files_delete_where_they_apply() {
        let files: &[&[usize]] = &[&[0, 1], &[2], &[0]];
        assert_eq!(left_by(&[2], files, &[1]), [0, 1, 3, 4]);
        assert_eq!(left_by(&[2], files, &[2]), [1, 2, 4, 5]);
        assert_eq!(left_by(&[2], files, &[0, 1]), [0_i64; 0]);
    }

    #[test]
    fn zeros_and_not_a_numbers_are_one() {
        assert_eq!(left(&[3], &[0]), [2, 3, 4, 5]);
        assert_eq!(left(&[3], &[2]), [0, 1, 3, 4, 5]);
        assert_eq!(
            canonical(Arc::new(Float64Array::from(vec![-0.0])))
                .as_primitive::<Float64Type>()
                .value(0)
                .to_bits(),
            0
        );
    }

    #[test]
    fn fields_of_structs_count() {
        assert_eq!(left(&[5], &[0]), [2, 3, 4, 5]);
        // NULL within a struct, and of a struct that is NULL.
        assert_eq!(left(&[5], &[2]), [0, 1, 3, 4]);
    }

    #[test]
    fn a_file_must_say_by_what_it_deletes() {
        let (schema, _) = columns();
        assert_eq!(
            Key::new("t", &schema, vec![]).unwrap_err().sqlstate(),
            "XX001"
        );
        assert_eq!(
            Key::new("t", &schema, vec![4]).unwrap_err().sqlstate(),
            "XX001"
        );
        assert_eq!(
            Key::new("t", &schema, vec![9]).unwrap_err().sqlstate(),
            "XX001"
        );
    }
}
