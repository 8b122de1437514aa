//! The rows of files that were listed: what a query scans.
//!
//! Files, a schema and a format flow in, DataFusion's scan of them flows out. A statement reads the files of the listing
//! that it was bound with, so that the rows are those whose files a model pins. Partitions prune files before any is
//! opened, statistics before any is read.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{ColumnStatistics, ScalarValue, Statistics};
use datafusion::datasource::TableType;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::listing::helpers::expr_applicable_for_cols;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder};
use datafusion::datasource::table_schema::TableSchemaBuilder;
use datafusion::error::Result;
use datafusion::execution::cache::cache_manager::CachedFileMetadata;
use datafusion::execution::cache::{SchemaFingerprint, TableScopedPath};
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown};
use datafusion::physical_expr::LexOrdering;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_datasource::compute_all_files_statistics;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;

use crate::catalog::ExternalFormat;
use crate::tables::csv_values::CsvTexts;
use crate::tables::declared_texts::{says_more, without_bounds};
use crate::tables::interval_bytes::with_months;
use crate::tables::json_source::{JsonForm, JsonSource};
use crate::tables::located::located_texts;
use crate::tables::nan_bounds::without_greatest;
use crate::tables::other_case::name_in_file;
use crate::tables::scans::{held_by_partitions, of_no_files, pushdown};
use crate::tables::text_input::TextInput;
use crate::tables::uuid_columns::{shown_columns, shown_rows};

/// Files of one store and one format, read as a table.
pub(crate) struct FileTable {
    pub(crate) store_url: ObjectStoreUrl,
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) format: Arc<dyn FileFormat>,
    pub(crate) format_name: &'static str,
    pub(crate) files: Vec<PartitionedFile>,
    pub(crate) columns: Columns,
    /// How JSON is read, of files of that format.
    pub(crate) json: Option<JsonForm>,
    /// How texts are read.
    pub(crate) texts: CsvTexts,
}

/// The columns of a table of files.
#[derive(Debug, Clone)]
pub(crate) struct Columns {
    /// Those that the files hold.
    pub(crate) in_files: SchemaRef,
    /// Those that the names of folders hold.
    pub(crate) partitions: Vec<Arc<Field>>,
    /// The former, then the latter, as files hold them.
    held: SchemaRef,
    /// The same as they are shown.
    all: SchemaRef,
}

impl Columns {
    pub(crate) fn new(in_files: SchemaRef, partitions: &[(String, DataType)]) -> Self {
        let field = |(name, data_type): &(String, DataType)| {
            Arc::new(Field::new(name, data_type.clone(), true))
        };
        let partitions: Vec<Arc<Field>> = partitions.iter().map(field).collect();
        let fields = in_files.fields().iter().chain(&partitions).cloned();
        let held =
            Schema::new_with_metadata(fields.collect::<Vec<_>>(), in_files.metadata().clone());
        let held = Arc::new(held);
        Self {
            in_files,
            partitions,
            all: shown_columns(&held),
            held,
        }
    }
}

impl fmt::Debug for FileTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n_files = self.files.len();
        write!(f, "FileTable({n_files} {} files)", self.format_name)
    }
}

impl FileTable {
    fn is_partition_filter(&self, filter: &Expr) -> bool {
        let names: Vec<&str> = self
            .columns
            .partitions
            .iter()
            .map(|field| field.name().as_str())
            .collect();
        !names.is_empty() && expr_applicable_for_cols(&names, filter)
    }

    /// The files whose partitions the filters admit.
    fn pruned(&self, session: &dyn Session, filters: &[Expr]) -> Result<Vec<PartitionedFile>> {
        let filters = filters.iter();
        let filters = filters.filter(|filter| self.is_partition_filter(filter));
        let Some(filter) = conjunction(filters.cloned()) else {
            return Ok(self.files.clone());
        };
        if self.files.is_empty() {
            return Ok(vec![]);
        }
        let value = |file: &PartitionedFile, at: usize| file.partition_values[at].clone();
        let column = |at| ScalarValue::iter_to_array(self.files.iter().map(|file| value(file, at)));
        let columns: Result<Vec<_>> = (0..self.columns.partitions.len()).map(column).collect();
        let schema = Arc::new(Schema::new(self.columns.partitions.clone()));
        let values = RecordBatch::try_new(schema, columns?)?;
        let held = held_by_partitions(session, &values, &filter)?;
        let files = self.files.iter().zip(held);
        let files = files.filter(|(_, is_held)| *is_held);
        Ok(files.map(|(file, _)| file.clone()).collect())
    }

    /// The columns under the names that a Parquet file has for them, by which its footer tells of them, and under none where
    /// several may be meant; `None`: those that they have.
    async fn names_in(
        &self,
        session: &dyn Session,
        file: &PartitionedFile,
    ) -> Result<Option<SchemaRef>> {
        if !self.texts.is_declared || self.format_name != ExternalFormat::Parquet.name() {
            return Ok(None);
        }
        let objects = std::slice::from_ref(&file.object_meta);
        let found = self.format.infer_schema(session, &self.store, objects);
        let found = found.await?;
        let columns = &self.columns.in_files;
        let mut named = Vec::with_capacity(columns.fields().len());
        for column in columns.fields() {
            let name = match name_in_file(column.name(), columns.fields(), found.fields()) {
                Ok(name) => name.unwrap_or(column.name()),
                // Who asks for the column is told.
                Err(_) => "",
            };
            named.push(column.as_ref().clone().with_name(name));
        }
        let named = Schema::new_with_metadata(named, columns.metadata().clone());
        Ok((named != **columns).then(|| Arc::new(named)))
    }

    /// A file with what its footer tells of its rows.
    async fn with_statistics(
        &self,
        session: &dyn Session,
        fingerprint: &Arc<SchemaFingerprint>,
        file: PartitionedFile,
    ) -> Result<PartitionedFile> {
        let key = TableScopedPath {
            table: None,
            path: file.object_meta.location.clone(),
        };
        let caches = &session.runtime_env().cache_manager;
        let cache = caches.get_file_statistic_cache();
        if let Some(known) = cache.as_ref().and_then(|cache| cache.get(&key))
            && known.is_valid_for(&file.object_meta, fingerprint)
        {
            let (statistics, ordering) = (Arc::clone(&known.statistics), known.ordering.clone());
            return Ok(self.told(file, &statistics, ordering));
        }
        let names = self.names_in(session, &file).await?;
        let schema = Arc::clone(names.as_ref().unwrap_or(&self.columns.in_files));
        let mut found = self
            .format
            .infer_stats_and_ordering(session, &self.store, schema, &file.object_meta)
            .await?;
        let mut statistics = without_greatest(found.statistics, &self.columns.in_files);
        if let Some(names) = names {
            // It names columns as the file does.
            found.ordering = None;
            let columns = names.fields().iter().zip(&mut statistics.column_statistics);
            for (_, column) in columns.filter(|(field, _)| field.name().is_empty()) {
                *column = ColumnStatistics::new_unknown();
            }
        }
        let statistics = Arc::new(statistics);
        if let Some(cache) = cache {
            let entry = CachedFileMetadata::new(
                file.object_meta.clone(),
                Arc::clone(fingerprint),
                Arc::clone(&statistics),
                found.ordering.clone(),
            );
            cache.put(&key, entry);
        }
        Ok(self.told(file, &statistics, found.ordering))
    }

    /// A file with what its texts tell of the declared columns.
    fn told(
        &self,
        file: PartitionedFile,
        found: &Arc<Statistics>,
        ordering: Option<LexOrdering>,
    ) -> PartitionedFile {
        let columns = &self.columns.in_files;
        if !self.texts.is_declared || !columns.fields().iter().any(|field| says_more(field)) {
            return file
                .with_statistics(Arc::clone(found))
                .with_ordering(ordering);
        }
        let statistics = without_bounds(found.as_ref().clone(), columns);
        file.with_statistics(Arc::new(statistics))
            .with_ordering(None)
    }

    /// The files divided among partitions, and what is known of all their rows.
    async fn groups(
        &self,
        session: &dyn Session,
        files: Vec<PartitionedFile>,
    ) -> Result<(Vec<FileGroup>, Statistics)> {
        let collects = session.config().collect_statistics();
        let files = match collects {
            true => {
                let fingerprint = Arc::new(SchemaFingerprint::from_schema(&self.columns.in_files));
                let fingerprint = &fingerprint;
                let parallel = session
                    .config_options()
                    .execution
                    .meta_fetch_concurrency
                    .get();
                // In order, so that a training reads the same rows in the same order each time.
                futures::stream::iter(files)
                    .map(|file| self.with_statistics(session, fingerprint, file))
                    .buffered(parallel)
                    .try_collect()
                    .await?
            }
            false => files,
        };
        let n_groups = session.config().target_partitions();
        let groups = FileGroup::new(files).split_files(n_groups);
        compute_all_files_statistics(groups, Arc::clone(&self.columns.held), collects, false)
    }
}

#[async_trait]
impl TableProvider for FileTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.columns.all)
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(
        &self,
        filters: &[&Expr],
    ) -> Result<Vec<TableProviderFilterPushDown>> {
        Ok(pushdown(filters, |filter| self.is_partition_filter(filter)))
    }

    async fn scan(
        &self,
        session: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let files = self.pruned(session, filters)?;
        if files.is_empty() {
            return of_no_files(&self.columns.all, projection);
        }
        let (groups, statistics) = self.groups(session, files).await?;
        let schema = TableSchemaBuilder::from(&self.columns.in_files)
            .with_table_partition_cols(self.columns.partitions.clone())
            .build();
        let mut texts = self.texts.clone();
        texts.input = texts.is_declared.then(|| TextInput::of(session)).flatten();
        let source = match &self.json {
            Some(form) => {
                let input = texts.input.clone();
                Arc::new(JsonSource::new(schema, form.clone(), input))
            }
            None => self.format.file_source(schema),
        };
        let config = FileScanConfigBuilder::new(self.store_url.clone(), source)
            .with_file_groups(groups)
            .with_statistics(statistics)
            .with_projection_indices(projection.cloned())?
            .with_limit(limit)
            .build();
        let plan = self.format.create_physical_plan(session, config).await?;
        let plan = with_months(plan, session.runtime_env())?;
        let plan = located_texts(plan, self.format_name, texts);
        shown_rows(plan, session, filters)
    }
}
