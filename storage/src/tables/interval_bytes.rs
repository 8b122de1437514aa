//! Intervals of Parquet, which are twelve bytes there: months, days and milliseconds, each of four, the least first.
//!
//! What a file says of itself flows in, and the same with bytes in place of intervals flows out, since the library's
//! reader of intervals leaves their months out; expressions over the columns of the file flow in, and such as make
//! intervals of the bytes flow out. Files that hold their Arrow schema are read as it says: the library wrote them.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use datafusion::arrow::array::{ArrayRef, AsArray as _, IntervalMonthDayNanoArray};
use datafusion::arrow::datatypes::{DataType, Field, IntervalMonthDayNano, Schema, SchemaRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode as _};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::CachedParquetFileReaderFactory;
use datafusion::datasource::physical_plan::{
    FileScanConfig, FileSource as _, ParquetFileReaderFactory, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::arrow::{
    ARROW_SCHEMA_META_KEY, encode_arrow_schema, parquet_to_arrow_schema,
};
use datafusion::parquet::basic::{ConvertedType, Type as PhysicalType};
use datafusion::parquet::errors::Result as ParquetResult;
use datafusion::parquet::file::metadata::{
    FileMetaData, KeyValue, ParquetMetaData, ParquetMetaDataBuilder,
};
use datafusion::parquet::schema::types::{SchemaDescriptor, Type, TypePtr};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{ExecutionPlan, PhysicalExpr};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use object_store::ObjectStore;

use crate::tables::changed_fields::{changed, converted};
use crate::tables::extension_name::EXTENSION_KEY;
use crate::tables::one_column::of_column;
use crate::tables::time_columns::INTERVAL;

/// Our name of the bytes of intervals.
const BYTES_NAME: &str = "auspex.interval_bytes";
const N_BYTES: i32 = 12;
const NANOS_PER_MILLI: i64 = 1_000_000;

/// The columns of a Parquet file with the one type that holds all its intervals.
pub(crate) fn of_parquet(schema: SchemaRef) -> SchemaRef {
    let interval =
        |field: &Field| is_interval(field).then(|| field.clone().with_data_type(INTERVAL));
    changed(&schema, &interval).map_or(schema, Arc::new)
}

fn is_interval(field: &Field) -> bool {
    matches!(field.data_type(), DataType::Interval(_))
}

/// Whether a column of a file is the bytes of intervals.
fn is_bytes(field: &Field) -> bool {
    field.extension_type_name() == Some(BYTES_NAME)
        && *field.data_type() == DataType::FixedSizeBinary(N_BYTES)
}

/// A column of bytes as it is read.
fn read_field(field: &Field) -> Option<Field> {
    is_bytes(field).then(|| {
        let mut notes = field.metadata().clone();
        notes.remove(EXTENSION_KEY);
        field.clone().with_data_type(INTERVAL).with_metadata(notes)
    })
}

/// The columns of a file as they are read: intervals in place of their bytes; `None`: the same.
pub(crate) fn read_columns(file: &Schema) -> Option<Schema> {
    changed(file, &read_field)
}

/// An expression over columns as they are read as one over the columns of the file, which are in the same places.
pub(crate) fn over_file(
    expr: Arc<dyn PhysicalExpr>,
    read: &Schema,
    file: &Schema,
) -> Result<Arc<dyn PhysicalExpr>> {
    let over = expr.transform_up(|expr| {
        let place = expr.downcast_ref::<Column>().map(Column::index);
        let fields = place.and_then(|place| {
            let (found, read) = (file.fields().get(place)?, read.fields().get(place)?);
            (found != read).then_some((place, found, read))
        });
        let Some((place, found, read)) = fields else {
            return Ok(Transformed::no(expr));
        };
        let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(found.name(), place));
        if found.data_type() == read.data_type() {
            return Ok(Transformed::yes(column));
        }
        let function = ScalarUDF::from(AsRead {
            signature: Signature::any(1, Volatility::Immutable),
            wanted: read.data_type().clone(),
        });
        Ok(Transformed::yes(Arc::new(ScalarFunctionExpr::new(
            AS_READ,
            Arc::new(function),
            vec![column],
            Arc::clone(read),
            Arc::new(ConfigOptions::default()),
        )) as Arc<dyn PhysicalExpr>))
    })?;
    Ok(over.data)
}

/// The scan of Parquet files whose intervals are read whole; `plan` as it was, if no column holds any.
///
/// Errors: a store that is not known.
pub(crate) fn with_months(
    plan: Arc<dyn ExecutionPlan>,
    runtime: &RuntimeEnv,
) -> Result<Arc<dyn ExecutionPlan>> {
    let scan = plan.downcast_ref::<DataSourceExec>();
    let scan = scan.and_then(DataSourceExec::downcast_to_file_source::<ParquetSource>);
    let Some((config, source)) = scan else {
        return Ok(plan);
    };
    let Some(source) = source_with_months(source, &config.object_store_url, runtime)? else {
        return Ok(plan);
    };
    let mut config: FileScanConfig = config.clone();
    config.file_source = Arc::new(source);
    Ok(DataSourceExec::from_data_source(config))
}

/// The same of a source; `None`: it may stay as it is.
pub(crate) fn source_with_months(
    source: &ParquetSource,
    store_url: &ObjectStoreUrl,
    runtime: &RuntimeEnv,
) -> Result<Option<ParquetSource>> {
    let columns = source.table_schema().file_schema();
    let interval = |field: &Field| is_interval(field).then(|| field.clone());
    if changed(columns, &interval).is_none() {
        return Ok(None);
    }
    let store = runtime.object_store(store_url)?;
    let cache = runtime.cache_manager.get_file_metadata_cache();
    let readers = BytesReaderFactory::new(store, cache);
    let source = source.clone();
    Ok(Some(
        source.with_parquet_file_reader_factory(Arc::new(readers)),
    ))
}

/// Makes readers that give the bytes of intervals.
#[derive(Debug)]
pub(crate) struct BytesReaderFactory {
    inner: CachedParquetFileReaderFactory,
}

impl BytesReaderFactory {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, cache: Arc<FileMetadataCache>) -> Self {
        Self {
            inner: CachedParquetFileReaderFactory::new(store, cache),
        }
    }
}

impl ParquetFileReaderFactory for BytesReaderFactory {
    fn create_reader(
        &self,
        partition_idx: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let inner = self
            .inner
            .create_reader(partition_idx, file, metadata_size_hint, metrics)?;
        Ok(Box::new(BytesReader { inner }))
    }
}

struct BytesReader {
    inner: Box<dyn AsyncFileReader + Send>,
}

impl AsyncFileReader for BytesReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(
        &mut self,
        ranges: Vec<Range<u64>>,
    ) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move { with_bytes(self.inner.get_metadata(options).await?) }.boxed()
    }
}

/// What a file says of itself, with noted bytes in place of intervals.
fn with_bytes(footer: Arc<ParquetMetaData>) -> ParquetResult<Arc<ParquetMetaData>> {
    let file = footer.file_metadata();
    let notes = file.key_value_metadata();
    let has_schema = |notes: &Vec<KeyValue>| notes.iter().any(|n| n.key == ARROW_SCHEMA_META_KEY);
    if notes.is_some_and(has_schema) {
        return Ok(footer);
    }
    let Some(root) = type_with_bytes(&file.schema_descr().root_schema_ptr())? else {
        return Ok(footer);
    };
    let columns = parquet_to_arrow_schema(file.schema_descr(), notes)?;
    let noted = |field: &Field| {
        is_interval(field).then(|| {
            let mut notes = field.metadata().clone();
            notes.insert(EXTENSION_KEY.to_owned(), BYTES_NAME.to_owned());
            let bytes = DataType::FixedSizeBinary(N_BYTES);
            field.clone().with_data_type(bytes).with_metadata(notes)
        })
    };
    let columns = changed(&columns, &noted).unwrap_or(columns);
    let schema = KeyValue::new(
        ARROW_SCHEMA_META_KEY.to_owned(),
        encode_arrow_schema(&columns),
    );
    let mut notes = notes.cloned().unwrap_or_default();
    notes.push(schema);
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        file.created_by().map(str::to_owned),
        Some(notes),
        Arc::new(SchemaDescriptor::new(root)),
        file.column_orders().cloned(),
    );
    let mut rest = Arc::unwrap_or_clone(footer).into_builder();
    let footer = ParquetMetaDataBuilder::new(file)
        .set_row_groups(rest.take_row_groups())
        .set_column_index(rest.take_column_index())
        .set_offset_index(rest.take_offset_index());
    Ok(Arc::new(footer.build()))
}

/// A type of Parquet without intervals; `None`: it has none.
fn type_with_bytes(found: &TypePtr) -> ParquetResult<Option<TypePtr>> {
    match found.as_ref() {
        Type::PrimitiveType { basic_info, .. } => {
            if basic_info.converted_type() != ConvertedType::INTERVAL {
                return Ok(None);
            }
            let id = basic_info.has_id().then(|| basic_info.id());
            let bytes = PhysicalType::FIXED_LEN_BYTE_ARRAY;
            let bytes = Type::primitive_type_builder(basic_info.name(), bytes)
                .with_repetition(basic_info.repetition())
                .with_length(N_BYTES)
                .with_id(id);
            Ok(Some(Arc::new(bytes.build()?)))
        }
        Type::GroupType { basic_info, fields } => {
            let found: Vec<Option<TypePtr>> = fields
                .iter()
                .map(type_with_bytes)
                .collect::<ParquetResult<_>>()?;
            if found.iter().all(Option::is_none) {
                return Ok(None);
            }
            let pairs = found.into_iter().zip(fields);
            let fields = pairs.map(|(found, field)| found.unwrap_or_else(|| Arc::clone(field)));
            Ok(Some(Arc::new(Type::GroupType {
                basic_info: basic_info.clone(),
                fields: fields.collect(),
            })))
        }
    }
}

/// The name of the function in plans.
const AS_READ: &str = "as_read";

/// Makes intervals of their bytes, also within lists and structs, whose fields have the names that are wanted.
#[derive(Debug, PartialEq, Eq, Hash)]
struct AsRead {
    signature: Signature,
    wanted: DataType,
}

impl ScalarUDFImpl for AsRead {
    fn name(&self) -> &str {
        AS_READ
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.wanted.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        of_column(&args, |array| intervals(array, &self.wanted))
    }
}

/// Values of a type that has intervals where theirs has bytes, or other names of fields.
fn intervals(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    converted(array, wanted, &|array| {
        let bytes = array.as_fixed_size_binary_opt()?.iter();
        let values = bytes.map(|value| value.map(interval).transpose());
        let values: Result<IntervalMonthDayNanoArray> = values.collect();
        Some(values.map(|values| Arc::new(values) as ArrayRef))
    })
}

fn interval(value: &[u8]) -> Result<IntervalMonthDayNano> {
    let part = |from: usize| {
        let bytes = value.get(from..)?.first_chunk::<4>()?;
        Some(u32::from_le_bytes(*bytes))
    };
    let (Some(months), Some(days), Some(millis)) = (part(0), part(4), part(8)) else {
        let message = format!("an interval has {N_BYTES} bytes, got {}", value.len());
        return Err(DataFusionError::Execution(message));
    };
    let (Ok(n_months), Ok(n_days)) = (i32::try_from(months), i32::try_from(days)) else {
        let message = format!("an interval of {months} months and {days} days is out of range");
        return Err(DataFusionError::Execution(message));
    };
    let nanos = i64::from(millis) * NANOS_PER_MILLI;
    Ok(IntervalMonthDayNano::new(n_months, n_days, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_months_days_and_milliseconds() {
        let mut value = [0_u8; 12];
        value[0] = 14;
        value[4] = 2;
        value[8..].fill(255);
        let found = interval(&value).unwrap();
        let nanos = i64::from(u32::MAX) * NANOS_PER_MILLI;
        assert_eq!(found, IntervalMonthDayNano::new(14, 2, nanos));
        value[3] = 128;
        let error = interval(&value).unwrap_err().to_string();
        assert!(error.contains("out of range"), "{error}");
        assert!(interval(&value[1..]).is_err());
    }

    #[test]
    fn columns_within_columns_are_intervals() {
        let days = DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::DayTime);
        let item = Arc::new(Field::new("item", days, true));
        let list = Field::new("l", DataType::List(item), true);
        let number = Field::new("n", DataType::Int32, true);
        let schema = Arc::new(Schema::new(vec![list, number]));
        let shown = of_parquet(Arc::clone(&schema));
        let expected = DataType::List(Arc::new(Field::new("item", INTERVAL, true)));
        assert_eq!(shown.field(0).data_type(), &expected);
        assert_eq!(shown.field(1), schema.field(1));
    }
}
