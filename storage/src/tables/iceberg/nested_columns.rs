//! Columns with fields of their own, some of which were added, dropped, renamed or widened after a file was written.
//!
//! The library brings the columns of a file up to date, but not what lies within them, and it makes no NULLs of some types.
//! A task flows in and flows out asking for these columns as its file has them; its batches flow in and flow out as the
//! table has them now.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, ListArray, MapArray, RecordBatch, RecordBatchOptions,
    StructArray, new_null_array,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Schema as ArrowSchema, SchemaRef};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::parquet;
use datafusion::parquet::arrow::async_reader::MetadataFetch;
use datafusion::parquet::arrow::{PARQUET_FIELD_ID_META_KEY, parquet_to_arrow_schema};
use datafusion::parquet::file::metadata::ParquetMetaDataReader;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::io::FileRead;
use iceberg::scan::FileScanTask;
use iceberg::spec::{
    DataFileFormat, ListType, MapType, NestedField, NestedFieldRef, PartitionField, PrimitiveType,
    Schema, SchemaRef as IcebergSchema, StructType, TableMetadata, Transform, Type,
};
use iceberg::table::Table;

use crate::error::Result;
use crate::tables::iceberg::{arrow_bridge, failed_at};

/// How much of a file's end is read at once; most footers are shorter.
const FOOTER_BYTES: usize = 64 * 1024;
/// The last of the characters of which all that are alphabetic are letters.
const LAST_LATIN: char = '\u{24f}';

/// The ids of columns with fields of their own that files may hold otherwise than `schema` has them, or not at all, and of
/// those that files may lack and the library does not fill.
pub(super) fn changed(metadata: &TableMetadata, schema: &IcebergSchema) -> BTreeSet<i32> {
    let columns = schema.as_struct().fields().iter();
    let is_changed = |column: &&NestedFieldRef| {
        if column.field_type.is_primitive() {
            return is_unfilled(metadata, column);
        }
        let mut within = names_within(&column.field_type).into_iter();
        let mut schemas = metadata.schemas_iter();
        within.any(|name| !is_kept(name))
            || schemas.any(|other| {
                let then = other.as_struct().field_by_id(column.id);
                then.is_none_or(|then| then.field_type != column.field_type)
            })
    };
    let changed = columns.filter(is_changed);
    changed.map(|column| column.id).collect()
}

/// Whether a column may be none of a file's, and of a type that the library makes no NULLs of. Defaults and the values of
/// partitions stay the library's business.
fn is_unfilled(metadata: &TableMetadata, column: &NestedField) -> bool {
    let Type::Primitive(kind) = column.field_type.as_ref() else {
        return false;
    };
    let is_filled = !matches!(
        kind,
        PrimitiveType::Time | PrimitiveType::Uuid | PrimitiveType::Fixed(_) | PrimitiveType::Binary
    );
    if is_filled || column.initial_default.is_some() {
        return false;
    }
    let mut specs = metadata.partition_specs_iter();
    let is_by_it = |field: &PartitionField| {
        field.source_id == column.id && field.transform == Transform::Identity
    };
    let is_partition = specs.any(|spec| spec.fields().iter().any(is_by_it));
    let mut schemas = metadata.schemas_iter();
    !is_partition && schemas.any(|schema| schema.field_by_id(column.id).is_none())
}

/// Whether files have a column under the name that the table gives it. Writers make a name of Avro of one that is none,
/// as `a_x2Db` of `a-b`, and do not agree on the letters of all scripts.
pub(super) fn is_kept(name: &str) -> bool {
    let is_letter = |c: char| c == '_' || (c.is_alphabetic() && c <= LAST_LATIN);
    name.starts_with(is_letter) && name.chars().all(|c| is_letter(c) || c.is_ascii_digit())
}

/// The names of the fields within the values of a type.
fn names_within(field_type: &Type) -> Vec<&str> {
    match field_type {
        Type::Primitive(_) => vec![],
        Type::Struct(inner) => {
            let mut names = Vec::new();
            for field in inner.fields() {
                names.push(field.name.as_str());
                names.extend(names_within(&field.field_type));
            }
            names
        }
        Type::List(list) => names_within(&list.element_field.field_type),
        Type::Map(map) => {
            let mut names = names_within(&map.key_field.field_type);
            names.extend(names_within(&map.value_field.field_type));
            names
        }
    }
}

/// Whether a map is among the values of a type.
pub(super) fn holds_map(field_type: &Type) -> bool {
    match field_type {
        Type::Primitive(_) => false,
        Type::Struct(inner) => inner.fields().iter().any(|f| holds_map(&f.field_type)),
        Type::List(list) => holds_map(&list.element_field.field_type),
        Type::Map(_) => true,
    }
}

/// How the columns of a file become those of the table.
pub(super) struct FileColumns {
    /// The columns that the library gives.
    given: SchemaRef,
    wanted: SchemaRef,
    sources: Vec<Source>,
}

enum Source {
    /// A column of the file, as the library gives it.
    AsGiven(usize),
    /// A column whose fields are others in the file.
    Written {
        at: usize,
        then: Box<Type>,
        now: Box<Type>,
    },
    /// The file has nothing of it.
    Absent,
}

impl FileColumns {
    /// Has a task ask for what its file has of the `wanted` columns. Errors: `TableFormat`, those of stores.
    pub(super) async fn of(
        table: &Table,
        task: &mut FileScanTask,
        wanted: &SchemaRef,
        changed: &BTreeSet<i32>,
    ) -> Result<Self> {
        let as_given = Self {
            given: Arc::clone(wanted),
            wanted: Arc::clone(wanted),
            sources: (0..wanted.fields().len()).map(Source::AsGiven).collect(),
        };
        let is_changed = task.project_field_ids.iter().any(|id| changed.contains(id));
        if !is_changed || task.data_file_format != DataFileFormat::Parquet {
            return Ok(as_given);
        }
        let failed = |error| failed_at(table.metadata().location(), error);
        let file = file_schema(table, task).await.map_err(failed)?;
        // In files without ids only the library knows the columns.
        if file
            .fields()
            .first()
            .and_then(|field| id_of(field))
            .is_none()
        {
            return Ok(as_given);
        }
        let once = |id: i32| field_of_once(table.metadata(), id);
        let sources = ask(task, (&file, &once), changed).map_err(failed)?;
        let arrow = schema_to_arrow_schema(&task.schema).map_err(failed)?;
        let fields = task.schema.as_struct().fields();
        let place = |id: &i32| fields.iter().position(|field| field.id == *id);
        let asked: Vec<usize> = task.project_field_ids.iter().filter_map(place).collect();
        Ok(Self {
            given: Arc::new(arrow_bridge::schema(&arrow)?.project(&asked)?),
            wanted: Arc::clone(wanted),
            sources,
        })
    }

    /// The columns that the library gives.
    pub(super) fn given(&self) -> &SchemaRef {
        &self.given
    }

    /// A batch of those as one of the columns that are wanted.
    pub(super) fn wanted(&self, batch: &RecordBatch) -> DfResult<RecordBatch> {
        let fields = self.sources.iter().zip(self.wanted.fields());
        let columns = fields
            .map(|(source, field)| match source {
                Source::AsGiven(at) => Ok(Arc::clone(batch.column(*at))),
                Source::Written { at, then, now } => {
                    conformed(batch.column(*at), then, now, field.data_type())
                }
                Source::Absent => Ok(new_null_array(field.data_type(), batch.num_rows())),
            })
            .collect::<DfResult<Vec<_>>>()?;
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let schema = Arc::clone(&self.wanted);
        Ok(RecordBatch::try_new_with_options(
            schema, columns, &options,
        )?)
    }
}

/// Has a task ask for the changed columns as its file has them; where each column comes from.
fn ask(
    task: &mut FileScanTask,
    (file, once): (&ArrowSchema, &FieldOfOnce<'_>),
    changed: &BTreeSet<i32>,
) -> iceberg::Result<Vec<Source>> {
    let mut fields = task.schema.as_struct().fields().to_vec();
    let mut asked = Vec::new();
    let mut sources = Vec::new();
    for id in &task.project_field_ids {
        let at = asked.len();
        let now = fields.iter_mut().find(|field| field.id == *id);
        let (true, Some(now)) = (changed.contains(id), now) else {
            asked.push(*id);
            sources.push(Source::AsGiven(at));
            continue;
        };
        let mut columns = file.fields().iter();
        let column = columns.find(|field| id_of(field) == Some(*id));
        let Some(then) = column.and_then(|column| as_written(now, column, once)) else {
            sources.push(Source::Absent);
            continue;
        };
        asked.push(*id);
        sources.push(Source::Written {
            at,
            then: then.field_type.clone(),
            now: now.field_type.clone(),
        });
        // Two columns must not have one name, which an old name of one may be.
        let name = now.name.clone();
        *now = Arc::new(NestedField { name, ..then });
    }
    let builder = Schema::builder().with_schema_id(task.schema.schema_id());
    task.schema = Arc::new(builder.with_fields(fields).build()?);
    task.project_field_ids = asked;
    Ok(sources)
}

/// A field of any of a table's schemas by its id.
type FieldOfOnce<'a> = dyn Fn(i32) -> Option<NestedFieldRef> + 'a;

/// A field as the newest schema has it that has it at all.
fn field_of_once(metadata: &TableMetadata, id: i32) -> Option<NestedFieldRef> {
    let schemas = metadata.schemas_iter();
    let found = schemas.filter_map(|schema| Some((schema.schema_id(), schema.field_by_id(id)?)));
    let newest = found.max_by_key(|(number, _)| *number);
    newest.map(|(_, field)| Arc::clone(field))
}

/// What a file has of a field, under the file's names and in its order; `None` if nothing.
fn as_written(now: &NestedField, file: &Field, once: &FieldOfOnce<'_>) -> Option<NestedField> {
    let field_type = match (now.field_type.as_ref(), file.data_type()) {
        (Type::Primitive(_), _) => now.field_type.as_ref().clone(),
        (Type::Struct(now), DataType::Struct(fields)) => {
            let of_now = |field: &Field| as_written(now.field_by_id(id_of(field)?)?, field, once);
            let found = fields
                .iter()
                .filter_map(|field| of_now(field).map(Arc::new));
            let mut found: Vec<NestedFieldRef> = found.collect();
            if found.is_empty() {
                // A field that the table has no more tells which of the structs are NULL.
                let mut dropped = fields.iter();
                found.push(dropped.find_map(|field| as_once_written(field, once))?);
            }
            Type::Struct(StructType::new(found))
        }
        (Type::List(now), DataType::List(element)) => {
            let element = as_written(&now.element_field, element, once)?;
            Type::List(ListType::new(Arc::new(element)))
        }
        (Type::Map(now), DataType::Map(entries, _)) => {
            let [key, value] = entries_of(entries)?;
            let key = as_written(&now.key_field, key, once)?;
            let value = as_written(&now.value_field, value, once)?;
            Type::Map(MapType::new(Arc::new(key), Arc::new(value)))
        }
        _ => return None,
    };
    Some(NestedField {
        name: file.name().clone(),
        required: !file.is_nullable(),
        field_type: Box::new(field_type),
        ..now.clone()
    })
}

/// A field of a file that the table has no more; `None` if it has fields itself.
fn as_once_written(file: &Field, once: &FieldOfOnce<'_>) -> Option<NestedFieldRef> {
    let then = once(id_of(file)?).filter(|then| then.field_type.is_primitive())?;
    Some(Arc::new(NestedField {
        name: file.name().clone(),
        required: !file.is_nullable(),
        ..then.as_ref().clone()
    }))
}

/// Values of a type that a file has as values of the type that the table has now. Fields that the file has not are NULL.
fn conformed(
    values: &ArrayRef,
    then: &Type,
    now: &Type,
    data_type: &DataType,
) -> DfResult<ArrayRef> {
    let broken = || DataFusionError::Internal("a nested column is not of its type".into());
    match (then, now, data_type) {
        (Type::Struct(then), Type::Struct(now), DataType::Struct(fields)) => {
            let values = values.as_struct_opt().ok_or_else(broken)?;
            let columns = now.fields().iter().zip(fields).map(|(now, field)| {
                let mut written = then.fields().iter().enumerate();
                match written.find(|(_, then)| then.id == now.id) {
                    Some((at, then)) => {
                        let column = values.column(at);
                        conformed(column, &then.field_type, &now.field_type, field.data_type())
                    }
                    None => Ok(new_null_array(field.data_type(), values.len())),
                }
            });
            let columns = columns.collect::<DfResult<Vec<_>>>()?;
            let nulls = values.nulls().cloned();
            Ok(Arc::new(StructArray::try_new(
                fields.clone(),
                columns,
                nulls,
            )?))
        }
        (Type::List(then), Type::List(now), DataType::List(element)) => {
            let list = values.as_list_opt::<i32>().ok_or_else(broken)?;
            let then = &then.element_field.field_type;
            let now = &now.element_field.field_type;
            let elements = conformed(list.values(), then, now, element.data_type())?;
            let (offsets, nulls) = (list.offsets().clone(), list.nulls().cloned());
            let list = ListArray::try_new(Arc::clone(element), offsets, elements, nulls)?;
            Ok(Arc::new(list))
        }
        (Type::Map(then), Type::Map(now), DataType::Map(entries, is_sorted)) => {
            let map = values.as_map_opt().ok_or_else(broken)?;
            let [key, value] = entries_of(entries).ok_or_else(broken)?;
            let (key, value) = (key.data_type(), value.data_type());
            let types = (&then.key_field.field_type, &now.key_field.field_type);
            let keys = conformed(map.keys(), types.0, types.1, key)?;
            let types = (&then.value_field.field_type, &now.value_field.field_type);
            let values = conformed(map.values(), types.0, types.1, value)?;
            let DataType::Struct(fields) = entries.data_type() else {
                return Err(broken());
            };
            let inside = StructArray::try_new(fields.clone(), vec![keys, values], None)?;
            let (offsets, nulls) = (map.offsets().clone(), map.nulls().cloned());
            let entries = Arc::clone(entries);
            let map = MapArray::try_new(entries, offsets, inside, nulls, *is_sorted)?;
            Ok(Arc::new(map))
        }
        _ if values.data_type() == data_type => Ok(Arc::clone(values)),
        _ => Ok(cast(values, data_type)?),
    }
}

/// The fields of a map's keys and values.
fn entries_of(entries: &Field) -> Option<[&Field; 2]> {
    match entries.data_type() {
        DataType::Struct(fields) => match &fields[..] {
            [key, value] => Some([key, value]),
            _ => None,
        },
        _ => None,
    }
}

fn id_of(field: &Field) -> Option<i32> {
    field
        .metadata()
        .get(PARQUET_FIELD_ID_META_KEY)?
        .parse()
        .ok()
}

/// The columns of a task's file with their ids.
async fn file_schema(table: &Table, task: &FileScanTask) -> iceberg::Result<ArrowSchema> {
    let torn = |error: parquet::errors::ParquetError| {
        let reason = format!("the footer of \"{}\": {error}", task.data_file_path);
        iceberg::Error::new(iceberg::ErrorKind::DataInvalid, reason).with_source(error)
    };
    let input = table.file_io().new_input(&task.data_file_path)?;
    let file = Fetch(input.reader().await?);
    let reader = ParquetMetaDataReader::new().with_prefetch_hint(Some(FOOTER_BYTES));
    let footer = reader.load_and_finish(file, task.file_size_in_bytes).await;
    let footer = footer.map_err(torn)?;
    parquet_to_arrow_schema(footer.file_metadata().schema_descr(), None).map_err(torn)
}

/// A file of the Iceberg library for the Parquet library.
struct Fetch(Box<dyn FileRead>);

impl MetadataFetch for Fetch {
    fn fetch(&mut self, range: Range<u64>) -> BoxFuture<'_, parquet::errors::Result<Bytes>> {
        let read = self.0.read(range);
        let failed = |error| parquet::errors::ParquetError::External(Box::new(error));
        read.map(move |bytes| bytes.map_err(failed)).boxed()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use datafusion::arrow::array::{Int32Array, Int64Array, StringArray};
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::datatypes::{Fields, Int64Type};

    use super::*;

    fn now(id: i32, name: &str, field_type: Type) -> NestedFieldRef {
        NestedField::optional(id, name, field_type).into()
    }

    fn of_kind(id: i32, name: &str, kind: PrimitiveType) -> NestedFieldRef {
        now(id, name, Type::Primitive(kind))
    }

    fn written(id: i32, name: &str, data_type: DataType) -> Field {
        let id = HashMap::from([(PARQUET_FIELD_ID_META_KEY.to_owned(), id.to_string())]);
        Field::new(name, data_type, true).with_metadata(id)
    }

    /// What the table has: `list<struct<a text, y bigint, z bigint>>`; the file: `list<struct<x int, a text, gone int>>`.
    #[test]
    fn fields_are_found_by_their_ids() {
        let inner = Type::Struct(StructType::new(vec![
            of_kind(5, "a", PrimitiveType::String),
            of_kind(3, "y", PrimitiveType::Long),
            of_kind(7, "z", PrimitiveType::Long),
        ]));
        let list = now(1, "l", Type::List(ListType::new(now(2, "element", inner))));
        let fields = Fields::from(vec![
            written(3, "x", DataType::Int32),
            written(5, "a", DataType::Utf8),
            written(6, "gone", DataType::Int32),
        ]);
        let element = written(2, "element", DataType::Struct(fields));
        let file = written(1, "old", DataType::List(Arc::new(element)));
        let then = as_written(&list, &file, &|_| None).unwrap();
        let Type::List(found) = then.field_type.as_ref() else {
            panic!("no list");
        };
        let Type::Struct(found) = found.element_field.field_type.as_ref() else {
            panic!("no struct");
        };
        let ids: Vec<i32> = found.fields().iter().map(|field| field.id).collect();
        assert_eq!(ids, [3, 5]);

        let inner = Fields::from(vec![
            written(3, "x", DataType::Int64),
            written(5, "a", DataType::Utf8),
        ]);
        let columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
            Arc::new(StringArray::from(vec!["p", "q", "r"])),
        ];
        let elements = StructArray::new(inner.clone(), columns, None);
        let element = Arc::new(written(2, "element", DataType::Struct(inner)));
        let offsets = OffsetBuffer::from_lengths([2, 0, 1]);
        let given: ArrayRef = Arc::new(ListArray::new(element, offsets, Arc::new(elements), None));
        let schema = Schema::builder().with_fields([Arc::clone(&list)]);
        let arrow = schema_to_arrow_schema(&schema.build().unwrap()).unwrap();
        let arrow = arrow_bridge::schema(&arrow).unwrap();
        let wanted = arrow.field(0).data_type();
        let made = conformed(&given, &then.field_type, &list.field_type, wanted).unwrap();
        assert_eq!(made.data_type(), wanted);
        let made = made.as_list::<i32>();
        assert_eq!(made.value_length(0), 2);
        let made = made.values().as_struct();
        assert_eq!(made.column(0).as_string::<i32>().value(2), "r");
        let y = made.column(1).as_primitive::<Int64Type>();
        assert!(y.value(0) == 1 && y.is_null(1) && y.value(2) == 3);
        assert_eq!(made.column(2).null_count(), 3);
    }

    /// What the table has: `struct<new int>`; the file: `struct<old int>`.
    #[test]
    fn a_struct_of_which_a_file_has_no_field_is_null_where_the_file_says_so() {
        let inner = Type::Struct(StructType::new(vec![of_kind(4, "new", PrimitiveType::Int)]));
        let column = now(1, "s", inner);
        let fields = Fields::from(vec![written(3, "old", DataType::Int32)]);
        let file = written(1, "s", DataType::Struct(fields.clone()));
        let dropped = |id: i32| (id == 3).then(|| of_kind(3, "old", PrimitiveType::Int));
        let then = as_written(&column, &file, &dropped).unwrap();
        let nulls = Some(vec![true, false].into());
        let columns: Vec<ArrayRef> = vec![Arc::new(Int32Array::from(vec![Some(1), None]))];
        let given: ArrayRef = Arc::new(StructArray::new(fields, columns, nulls));
        let fields = Fields::from(vec![written(4, "new", DataType::Int32)]);
        let wanted = DataType::Struct(fields);
        let found = conformed(&given, &then.field_type, &column.field_type, &wanted).unwrap();
        assert_eq!((found.is_valid(0), found.is_valid(1)), (true, false));
        assert_eq!(found.as_struct().column(0).null_count(), 2);
    }

    #[test]
    fn a_column_of_which_a_file_has_nothing_is_null() {
        let inner = Type::Struct(StructType::new(vec![of_kind(4, "new", PrimitiveType::Int)]));
        let column = now(1, "s", inner);
        let file = written(1, "s", DataType::Struct(Fields::empty()));
        assert!(as_written(&column, &file, &|_| None).is_none());
        let given: ArrayRef = Arc::new(Int32Array::from(vec![1, 2]));
        let other = Field::new("other", DataType::Int32, true);
        let columns = FileColumns {
            given: Arc::new(ArrowSchema::new(vec![other.clone()])),
            wanted: Arc::new(ArrowSchema::new(vec![other])),
            sources: vec![Source::Absent],
        };
        let batch = RecordBatch::try_new(Arc::clone(columns.given()), vec![given]).unwrap();
        assert_eq!(columns.wanted(&batch).unwrap().column(0).null_count(), 2);
    }
}
