//! Scans of Delta tables as plain scans of Parquet files.
//!
//! The files of one version flow in; a DataFusion provider flows out whose plan is an ordinary `DataSourceExec`, so
//! that it is optimised, split and shipped to other machines like any other. Files are left out by their partition
//! values and bounds before anything is planned; row groups and pages are left out by the Parquet reader.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::config::TableParquetOptions;
use datafusion::common::stats::Precision;
use datafusion::common::{ColumnStatistics, DFSchema, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{
    CachedParquetFileReaderFactory, ParquetRowSelection,
};
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::parquet::arrow::RowNumber;
use datafusion::parquet::arrow::arrow_reader::RowSelection;
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::ExecutionPlan;
use object_store::ObjectStore;
use url::Url;

use crate::error::Result;
use crate::tables::delta_files::{DeltaFiles, merged};
use crate::tables::enum_mark::EnumTypes;
use crate::tables::lease::Lease;
use crate::tables::located::{Place, located_ours, located_under};
use crate::tables::log_claims::check;
use crate::tables::scans::{held_by_partitions, of_no_files, pushdown};

/// The hidden column with a row's file: its index among the files of the version.
pub const FILE_COLUMN: &str = "__auspex_file";
/// The hidden column with a row's number in its file, from 0.
pub const ROW_COLUMN: &str = "__auspex_row";

/// One version of a Delta table whose files are plain Parquet.
#[derive(Debug, Clone)]
pub(crate) struct DeltaScan {
    files: Arc<DeltaFiles>,
    store: Arc<dyn ObjectStore>,
    store_url: ObjectStoreUrl,
    lease: Option<Arc<Lease>>,
    /// The columns of the table, then those of row addresses, if wanted.
    schema: SchemaRef,
    has_addresses: bool,
    /// Only these files, by index; `None`: all.
    only: Option<Arc<[usize]>>,
    /// Only these rows of files, by index; `None`: all.
    kept: Option<Arc<BTreeMap<usize, RowSelection>>>,
    groups: Groups,
    /// Whether others wrote the log.
    is_of_others: bool,
    /// The managed table and the version, if its newest version was meant.
    newest_of: Option<NewestOf>,
}

/// Which files a partition of a scan reads.
#[derive(Debug, Clone, Copy)]
enum Groups {
    /// About as many as any other.
    Even,
    /// All.
    One,
    /// Those with its values of the partition columns.
    ByPartition,
}

/// What a scan of a table's newest version was made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct NewestOf {
    pub(crate) id: String,
    pub(crate) version: u64,
    /// Tells states of transaction blocks apart; 0: it is committed.
    pub(crate) stage: u64,
}

impl DeltaScan {
    /// `store` has the files under their whole paths; other machines find it under `store_url`.
    pub(crate) fn new(
        files: Arc<DeltaFiles>,
        store: Arc<dyn ObjectStore>,
        store_url: ObjectStoreUrl,
    ) -> Self {
        Self {
            schema: Arc::clone(&files.schema),
            files,
            store,
            store_url,
            lease: None,
            has_addresses: false,
            only: None,
            kept: None,
            groups: Groups::Even,
            is_of_others: false,
            newest_of: None,
        }
    }

    /// The same that holds the lease of a managed table.
    pub(crate) fn under(mut self, lease: Option<Arc<Lease>>) -> Self {
        self.lease = lease;
        self
    }

    /// The same with the enums of its columns as they are now.
    pub(crate) fn with_types(mut self, types: &EnumTypes) -> Self {
        self.schema = types.of_now(&self.schema);
        self
    }

    /// The same of a table whose log others wrote.
    pub(crate) fn of_others(mut self) -> Self {
        self.is_of_others = true;
        self
    }

    /// Whether others wrote the log, and maybe the files.
    pub(crate) fn is_of_others(&self) -> bool {
        self.is_of_others
    }

    /// The same with the columns `FILE_COLUMN` and `ROW_COLUMN` behind the others.
    pub(crate) fn with_addresses(mut self) -> Self {
        let mut fields: Vec<FieldRef> = self.schema.fields().iter().cloned().collect();
        fields.push(Arc::new(file_field()));
        fields.push(Arc::new(row_field()));
        self.schema = Arc::new(Schema::new(fields));
        self.has_addresses = true;
        self
    }

    /// The columns of the table with what its log notes on them.
    pub(crate) fn noted(&self) -> SchemaRef {
        Arc::clone(&self.files.noted)
    }

    pub(crate) fn has_addresses(&self) -> bool {
        self.has_addresses
    }

    /// The same over some of the files.
    pub(crate) fn of_files(mut self, only: Vec<usize>) -> Self {
        self.only = Some(only.into());
        self
    }

    /// The same over some of the rows of files, each told whole.
    pub(crate) fn of_rows(mut self, kept: BTreeMap<usize, RowSelection>) -> Self {
        self.kept = Some(Arc::new(kept));
        self
    }

    /// How many rows a file has, if the log says so.
    pub(crate) fn n_rows(&self, file: usize) -> Option<usize> {
        let statistics = self.files.files.get(file)?.file.statistics.as_ref()?;
        statistics.num_rows.get_value().copied()
    }

    /// How many rows all its files have, if the log says so of each.
    pub(crate) fn n_rows_at_most(&self) -> Option<usize> {
        match &self.only {
            Some(only) => only.iter().map(|file| self.n_rows(*file)).sum(),
            None => (0..self.n_files()).map(|file| self.n_rows(file)).sum(),
        }
    }

    /// The least and the greatest value of a column in some files, if the log tells them of each.
    pub(crate) fn bounds(
        &self,
        files: &[usize],
        column: &str,
    ) -> Option<(ScalarValue, ScalarValue)> {
        let place = self.files.file_schema.index_of(column).ok()?;
        let mut bounds: Option<(ScalarValue, ScalarValue)> = None;
        for file in files {
            let statistics = self.files.files.get(*file)?.file.statistics.as_ref()?;
            let column = statistics.column_statistics.get(place)?;
            let (min, max) = (column.min_value.get_value()?, column.max_value.get_value()?);
            bounds = Some(match bounds {
                None => (min.clone(), max.clone()),
                Some((least, greatest)) => (
                    if *min < least { min.clone() } else { least },
                    if *max > greatest {
                        max.clone()
                    } else {
                        greatest
                    },
                ),
            });
        }
        bounds
    }

    /// The name of a file in the log.
    pub(crate) fn name(&self, file: usize) -> &str {
        self.files
            .files
            .get(file)
            .map_or("", |file| file.name.as_str())
    }

    /// The same as what was the newest version of a managed table.
    pub(crate) fn of_newest(mut self, newest: NewestOf) -> Self {
        self.newest_of = Some(newest);
        self
    }

    /// The managed table whose newest version was meant, and the version.
    pub(crate) fn newest_of(&self) -> Option<&NewestOf> {
        self.newest_of.as_ref()
    }

    /// The number of files of the version.
    pub(crate) fn n_files(&self) -> usize {
        self.files.files.len()
    }

    /// The size of a file.
    pub(crate) fn bytes(&self, file: usize) -> u64 {
        let file = self.files.files.get(file);
        file.map_or(0, |file| file.file.object_meta.size)
    }

    /// The partition values of a file as a text that is the same for the same values.
    pub(crate) fn partition_key(&self, file: usize) -> String {
        let file = self.files.files.get(file);
        file.map_or_else(String::new, |file| {
            format!("{:?}", file.file.partition_values)
        })
    }

    /// The same with all files one after the other.
    pub(crate) fn in_one_group(mut self) -> Self {
        self.groups = Groups::One;
        self
    }

    /// The same with the files of each partition of the table one after the other.
    pub(crate) fn by_partition(mut self) -> Self {
        self.groups = Groups::ByPartition;
        self
    }

    /// File columns, then partition columns, then hidden ones.
    fn table_schema(&self) -> TableSchema {
        let shown = |fields: &[FieldRef]| fields.iter().map(|field| self.shown(field)).collect();
        let mut partitions: Vec<FieldRef> = shown(&self.files.partition_fields);
        let mut rows: Vec<FieldRef> = Vec::new();
        if self.has_addresses {
            partitions.push(Arc::new(file_field()));
            rows.push(Arc::new(row_field()));
        }
        let columns: Vec<FieldRef> = shown(self.files.file_schema.fields());
        TableSchema::builder(Arc::new(Schema::new(columns)))
            .with_table_partition_cols(partitions)
            .with_virtual_columns(rows)
            .build()
    }

    /// A column of the files as the scan shows it, with the marks of now.
    fn shown(&self, field: &FieldRef) -> FieldRef {
        match field.metadata().is_empty() {
            true => Arc::clone(field),
            false => {
                let shown = self.schema.fields().find(field.name());
                shown.map_or_else(|| Arc::clone(field), |(_, shown)| Arc::clone(shown))
            }
        }
    }

    /// Which files may hold rows that pass the filters.
    pub(crate) fn surviving(
        &self,
        session: &dyn Session,
        filters: &[Expr],
    ) -> DfResult<Vec<usize>> {
        let all: Vec<usize> = match &self.only {
            Some(only) => only.to_vec(),
            None => (0..self.files.files.len()).collect(),
        };
        let Some(filter) = conjunction(filters.iter().filter(|f| !self.names_address(f)).cloned())
        else {
            return Ok(all);
        };
        let schema = DFSchema::try_from(Arc::clone(&self.files.schema))?;
        let expr = session.create_physical_expr(filter, &schema)?;
        let kept = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(&self.files.schema))
            .try_build(expr)?
            .prune(self.files.as_ref())?;
        let mut surviving: Vec<usize> = all.into_iter().filter(|idx| kept[*idx]).collect();
        for filter in filters
            .iter()
            .filter(|filter| self.is_of_partitions(filter))
        {
            let held = held_by_partitions(session, &self.files.partition_values, filter)?;
            surviving.retain(|idx| held[*idx]);
        }
        Ok(surviving)
    }

    fn names_address(&self, filter: &Expr) -> bool {
        let names = filter.column_refs();
        names
            .iter()
            .any(|column| column.name() == FILE_COLUMN || column.name() == ROW_COLUMN)
    }

    /// Whether the values of partition columns alone decide a filter.
    pub(crate) fn is_of_partitions(&self, filter: &Expr) -> bool {
        let is_partition = |name: &str| {
            let mut fields = self.files.partition_fields.iter();
            fields.any(|field| field.name() == name)
        };
        let columns = filter.column_refs();
        !columns.is_empty()
            && columns.iter().all(|column| is_partition(column.name()))
            && !filter.is_volatile()
    }

    /// Compares the files with what a log of others says of them, once.
    async fn check_claims(&self, session: &dyn Session) -> Result<()> {
        if !self.is_of_others {
            return Ok(());
        }
        let root: &Url = self.store_url.as_ref();
        let place = Place {
            root: root.clone(),
            format: "Parquet",
            is_ours: false,
            lease: None,
        };
        let check = || check(&self.files, &place, &self.store, session);
        let checked = self.files.are_checked.get_or_try_init(check).await;
        checked.copied()
    }

    fn file(&self, idx: usize) -> PartitionedFile {
        let mut file = self.files.files[idx].file.clone();
        if let Some(rows) = self.kept.as_ref().and_then(|kept| kept.get(&idx)) {
            file = file.with_extension(ParquetRowSelection::new(rows.clone()));
            let whole = file.statistics.take();
            file.statistics = whole.map(|whole| Arc::new(whole.as_ref().clone().to_inexact()));
        }
        if self.has_addresses {
            let value = ScalarValue::Int64(Some(idx as i64));
            file.partition_values.push(value);
            file.statistics = file
                .statistics
                .map(|statistics| Arc::new(with_unknown(statistics.as_ref().clone(), 2)));
        }
        file
    }

    fn statistics(&self, files: &[PartitionedFile]) -> DfResult<Statistics> {
        let is_all = files.len() == self.files.files.len();
        let statistics = match is_all {
            true => self.files.statistics.clone(),
            false => {
                let known = files.iter().filter_map(|file| file.statistics.as_deref());
                let fields = self.table_schema();
                return merged(known, fields.table_schema(), files.is_empty())
                    .map_err(|error| DataFusionError::External(Box::new(error)));
            }
        };
        // A log tells of whole files.
        let statistics = match self.kept {
            Some(_) => statistics.to_inexact(),
            None => statistics,
        };
        Ok(match self.has_addresses {
            true => with_unknown(statistics, 2),
            false => statistics,
        })
    }

    /// Positions in the scan's order (file, partition, hidden columns) of columns in the table's order.
    fn positions(
        &self,
        table: &TableSchema,
        projection: Option<&Vec<usize>>,
    ) -> DfResult<Vec<usize>> {
        let wanted: Vec<usize> = match projection {
            Some(projection) => projection.clone(),
            None => (0..self.schema.fields().len()).collect(),
        };
        let position = |idx: usize| {
            let name = self.schema.field(idx).name();
            Ok(table.table_schema().index_of(name)?)
        };
        wanted.into_iter().map(position).collect()
    }
}

/// How the Parquet files of a Delta table in a store are read.
pub(crate) fn parquet_source(
    session: &dyn Session,
    table: TableSchema,
    store: &Arc<dyn ObjectStore>,
    store_url: &ObjectStoreUrl,
) -> Arc<ParquetSource> {
    let mut options = TableParquetOptions {
        global: session.config_options().execution.parquet.clone(),
        ..TableParquetOptions::default()
    };
    // Spark writes some timestamps in 96 bits; the table's are microseconds.
    options.global.coerce_int96.get_or_insert("us".into());
    let runtime = session.runtime_env();
    let footers = runtime.cache_manager.get_file_metadata_cache();
    let reader = CachedParquetFileReaderFactory::new(Arc::clone(store), footers);
    if runtime.object_store(store_url).is_err() {
        runtime.register_object_store(store_url.as_ref(), Arc::clone(store));
    }
    let source = ParquetSource::new(table)
        .with_table_parquet_options(options)
        .with_parquet_file_reader_factory(Arc::new(reader));
    Arc::new(source)
}

/// Groups of about as many files each, in order; DataFusion's own division would sort them by path.
pub(crate) fn consecutive_groups(files: Vec<PartitionedFile>, n_groups: usize) -> Vec<FileGroup> {
    let size = files.len().div_ceil(n_groups.max(1)).max(1);
    let mut groups = Vec::with_capacity(n_groups);
    let mut files = files.into_iter().peekable();
    while files.peek().is_some() {
        groups.push(FileGroup::new(files.by_ref().take(size).collect()));
    }
    groups
}

/// A group for each partition of the table.
fn groups_by_partition(files: Vec<PartitionedFile>) -> Vec<FileGroup> {
    let mut groups: BTreeMap<String, Vec<PartitionedFile>> = BTreeMap::new();
    for file in files {
        let values = format!("{:?}", file.partition_values);
        groups.entry(values).or_default().push(file);
    }
    groups.into_values().map(FileGroup::new).collect()
}

fn file_field() -> Field {
    Field::new(FILE_COLUMN, DataType::Int64, false)
}

/// Plans know the column by the mark that the reader needs, too: fields of a plan may not change while it is optimized.
fn row_field() -> Field {
    Field::new(ROW_COLUMN, DataType::Int64, false).with_extension_type(RowNumber)
}

fn with_unknown(mut statistics: Statistics, n_columns: usize) -> Statistics {
    let unknown = std::iter::repeat_n(ColumnStatistics::new_unknown(), n_columns);
    statistics.column_statistics.extend(unknown);
    statistics
}

#[async_trait]
impl TableProvider for DeltaScan {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn statistics(&self) -> Option<Statistics> {
        if self.only.is_some() || self.kept.is_some() || self.has_addresses {
            return None;
        }
        let sizes = self.files.files.iter();
        let n_bytes: u64 = sizes.map(|file| file.file.object_meta.size).sum();
        Some(Statistics {
            // What the files take, not the rows once they are read; lossless on 64 bits.
            total_byte_size: Precision::Inexact(n_bytes as usize),
            ..self.files.statistics.clone()
        })
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> DfResult<Vec<TableProviderFilterPushDown>> {
        Ok(pushdown(filters, |filter| self.is_of_partitions(filter)))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> DfResult<Arc<dyn ExecutionPlan>> {
        self.check_claims(session).await?;
        let table = self.table_schema();
        let positions = self.positions(&table, projection)?;
        let surviving = self.surviving(session, filters)?;
        if surviving.is_empty() {
            return of_no_files(&self.schema, projection);
        }
        let files: Vec<PartitionedFile> = surviving.iter().map(|idx| self.file(*idx)).collect();
        let statistics = self.statistics(&files)?;
        let groups = match self.groups {
            Groups::Even => consecutive_groups(files, session.config().target_partitions()),
            Groups::One => consecutive_groups(files, 1),
            Groups::ByPartition => groups_by_partition(files),
        };
        let source = parquet_source(session, table, &self.store, &self.store_url);
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(Some(positions))?
            .with_limit(limit)
            .build();
        Ok(match self.newest_of {
            Some(_) => located_ours(config, "Parquet", self.lease.clone()),
            None => {
                let scan = DataSourceExec::from_data_source(config);
                located_under(scan, "Parquet", self.lease.clone())
            }
        })
    }
}
