//! Errors of reading files, under the name of their file.
//!
//! A format's source flows in and out unchanged but for its errors: each comes out with the URL of the file that it was
//! met in. What is read, pruned and pushed down is the format's business.

use std::fmt;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{CsvSource, FileOpener, FileScanConfig, FileSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::physical_expr::projection::ProjectionExprs;
use datafusion::physical_expr::{
    EquivalenceProperties, LexOrdering, PhysicalExpr, PhysicalSortExpr,
};
use datafusion::physical_plan::filter_pushdown::{FilterPushdownPropagation, PushedDown};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use datafusion::physical_plan::{DisplayFormatType, ExecutionPlan, SortOrderPushdownResult};
use datafusion_datasource::morsel::{Morsel, MorselPlan, MorselPlanner, Morselizer};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use object_store::path::Path;
use url::Url;

use crate::catalog::ExternalFormat;
use crate::stores::ObjectUrl;
use crate::tables::arrow_watch::SizeWatch;
use crate::tables::avro_watch::BlockWatch;
use crate::tables::blame::{at_line, bad_file, has_line, reading, with_reason};
use crate::tables::csv_blank_lines::BlankLines;
use crate::tables::csv_lines::{lines_before, with_line_of_file};
use crate::tables::csv_quotes::Dialect;
use crate::tables::csv_values::CsvTexts;
use crate::tables::csv_watch::{NullTexts, QuoteWatch};
use crate::tables::json_lines::first_bad_line;
use crate::tables::json_rows::JsonRows;
use crate::tables::json_source::JsonSource;
use crate::tables::lease::Lease;
use crate::tables::nan_bounds::may_prune;
use crate::tables::read_types::read_types;
use crate::tables::zero_bytes;

/// A scan whose errors name their files; `plan` as it was, if it is no scan of files.
pub(crate) fn located(
    plan: Arc<dyn ExecutionPlan>,
    format: &'static str,
) -> Arc<dyn ExecutionPlan> {
    located_under(plan, format, None)
}

/// The same that holds the lease of a managed table.
pub(crate) fn located_under(
    plan: Arc<dyn ExecutionPlan>,
    format: &'static str,
    lease: Option<Arc<Lease>>,
) -> Arc<dyn ExecutionPlan> {
    located_by(plan, format, lease, CsvTexts::default())
}

/// The same of text files.
pub(crate) fn located_texts(
    plan: Arc<dyn ExecutionPlan>,
    format: &'static str,
    texts: CsvTexts,
) -> Arc<dyn ExecutionPlan> {
    located_by(plan, format, None, texts)
}

fn located_by(
    plan: Arc<dyn ExecutionPlan>,
    format: &'static str,
    lease: Option<Arc<Lease>>,
    texts: CsvTexts,
) -> Arc<dyn ExecutionPlan> {
    let scan = plan.downcast_ref::<DataSourceExec>();
    let Some(config) = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
    else {
        return plan;
    };
    let mut config = config.clone();
    let (is_declared, input) = (texts.is_declared, texts.input.clone());
    let root: &Url = config.object_store_url.as_ref();
    let place = Place {
        root: root.clone(),
        format,
        is_ours: false,
        lease,
    };
    config.file_source = Arc::new(Located {
        place,
        inner: Arc::clone(&config.file_source),
        texts,
    });
    let types = config.expr_adapter_factory.take();
    config.expr_adapter_factory = types.or_else(|| Some(read_types(is_declared, input)));
    DataSourceExec::from_data_source(config)
}

/// A scan of the very source that it had, whose columns are read as the table's; `plan` as it was, if it is none.
pub(crate) fn typed(plan: Arc<dyn ExecutionPlan>) -> Arc<dyn ExecutionPlan> {
    let scan = plan.downcast_ref::<DataSourceExec>();
    let Some(config) = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
    else {
        return plan;
    };
    let mut config = config.clone();
    let types = config.expr_adapter_factory.take();
    config.expr_adapter_factory = types.or_else(|| Some(read_types(false, None)));
    DataSourceExec::from_data_source(config)
}

/// A scan whose errors name their files, all of which our own log names.
pub(crate) fn located_ours(
    mut config: FileScanConfig,
    format: &'static str,
    lease: Option<Arc<Lease>>,
) -> Arc<dyn ExecutionPlan> {
    let root: &Url = config.object_store_url.as_ref();
    let place = Place {
        root: root.clone(),
        format,
        is_ours: true,
        lease,
    };
    config.file_source = wrap(&place, Arc::clone(&config.file_source));
    config.expr_adapter_factory = Some(read_types(false, None));
    DataSourceExec::from_data_source(config)
}

/// Where files lie, and of what format they are.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) root: Url,
    pub(crate) format: &'static str,
    /// Whether our own log names the files, so that nobody else could make it name others.
    pub(crate) is_ours: bool,
    /// What keeps the files of a managed table while they are read.
    pub(crate) lease: Option<Arc<Lease>>,
}

impl Place {
    /// Whether its files are Parquet files, whatever the format of the table.
    pub(crate) fn is_parquet(&self) -> bool {
        ["parquet", "delta", "iceberg"].contains(&self.format.to_lowercase().as_str())
    }

    pub(crate) fn url(&self, path: &str) -> String {
        let mut url = self.root.clone();
        url.set_path(&format!("/{}", path.replace('%', "%25")));
        match url.to_file_path() {
            Ok(path) => path.to_string_lossy().into_owned(),
            Err(()) => ObjectUrl::of(&url).map_or(url.to_string(), |url| url.to_url().into()),
        }
    }
}

pub(super) fn wrap(place: &Place, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
    wrap_texts(place, inner, CsvTexts::default())
}

/// The same of text files.
pub(super) fn wrap_texts(
    place: &Place,
    inner: Arc<dyn FileSource>,
    texts: CsvTexts,
) -> Arc<dyn FileSource> {
    Arc::new(Located {
        place: place.clone(),
        inner,
        texts,
    })
}

/// A source whose errors name their file.
pub(crate) struct Located {
    place: Place,
    inner: Arc<dyn FileSource>,
    texts: CsvTexts,
}

impl Located {
    /// Where the files lie.
    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    /// How the texts of CSV files are read.
    pub(super) fn texts(&self) -> &CsvTexts {
        &self.texts
    }

    /// The format's own source.
    pub(crate) fn inner(&self) -> &Arc<dyn FileSource> {
        &self.inner
    }

    fn located(&self, inner: Box<dyn Morselizer>, lines: Option<Lines>) -> Box<dyn Morselizer> {
        Box::new(LocatedMorselizer {
            inner,
            place: self.place.clone(),
            lines,
        })
    }

    fn watched_csv(
        &self,
        csv: &CsvSource,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        let compression = config.file_compression_type;
        let lines = Lines::Csv {
            store: Arc::clone(&store),
        };
        let nulls = NullTexts {
            text: self.texts.null_text.clone(),
            by_lines: self.texts.by_lines(csv),
            blank_lines: BlankLines::of(csv),
        };
        let is_by_lines = nulls.by_lines.is_some();
        let store = QuoteWatch::over(store, &self.place, Dialect::of(csv), compression, nulls);
        let mut plain = config.clone();
        plain.file_compression_type = FileCompressionType::UNCOMPRESSED;
        let of = (&store, &plain, partition);
        let inner = match self.texts.source(csv, is_by_lines, of)? {
            Some(texts) => texts.create_morselizer(store, &plain, partition)?,
            None => csv.create_morselizer(store, &plain, partition)?,
        };
        Ok(self.located(inner, Some(lines)))
    }

    /// The same around another source of the same files.
    pub(crate) fn around(&self, inner: Arc<dyn FileSource>) -> Arc<dyn FileSource> {
        Arc::new(Self {
            place: self.place.clone(),
            inner,
            texts: self.texts.clone(),
        })
    }
}

impl FileSource for Located {
    fn create_file_opener(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Arc<dyn FileOpener>> {
        self.inner.create_file_opener(store, config, partition)
    }

    fn create_morselizer(
        &self,
        store: Arc<dyn ObjectStore>,
        config: &FileScanConfig,
        partition: usize,
    ) -> Result<Box<dyn Morselizer>> {
        if let Some(csv) = self.inner.downcast_ref::<CsvSource>() {
            return self.watched_csv(csv, store, config, partition);
        }
        let store = match self.place.format {
            "avro" => BlockWatch::over(store, &self.place),
            "arrow" => SizeWatch::over(store, &self.place, self.inner.file_type()),
            _ => store,
        };
        let lines = match self.inner.downcast_ref::<JsonSource>() {
            Some(json) => Some(Lines::Json {
                store: Arc::clone(&store),
                compression: config.file_compression_type,
                rows: json.rows()?,
            }),
            None => None,
        };
        let inner = self.inner.create_morselizer(store, config, partition)?;
        Ok(self.located(inner, lines))
    }

    fn table_schema(&self) -> &TableSchema {
        self.inner.table_schema()
    }

    fn with_batch_size(&self, batch_size: usize) -> Arc<dyn FileSource> {
        let texts = CsvTexts {
            batch_size: Some(batch_size),
            ..self.texts.clone()
        };
        Arc::new(Self {
            place: self.place.clone(),
            inner: self.inner.with_batch_size(batch_size),
            texts,
        })
    }

    fn filter(&self) -> Option<Arc<dyn PhysicalExpr>> {
        self.inner.filter()
    }

    fn projection(&self) -> Option<&ProjectionExprs> {
        self.inner.projection()
    }

    fn metrics(&self) -> &ExecutionPlanMetricsSet {
        self.inner.metrics()
    }

    fn file_type(&self) -> &str {
        self.inner.file_type()
    }

    fn fmt_extra(&self, t: DisplayFormatType, f: &mut fmt::Formatter) -> fmt::Result {
        self.inner.fmt_extra(t, f)
    }

    fn supports_repartitioning(&self) -> bool {
        self.inner.supports_repartitioning()
    }

    fn repartitioned(
        &self,
        target_partitions: usize,
        repartition_file_min_size: usize,
        output_ordering: Option<LexOrdering>,
        config: &FileScanConfig,
    ) -> Result<Option<FileScanConfig>> {
        self.inner.repartitioned(
            target_partitions,
            repartition_file_min_size,
            output_ordering,
            config,
        )
    }

    fn try_pushdown_filters(
        &self,
        filters: Vec<Arc<dyn PhysicalExpr>>,
        config: &ConfigOptions,
    ) -> Result<FilterPushdownPropagation<Arc<dyn FileSource>>> {
        let schema = self.inner.table_schema().table_schema();
        let may_prune = may_prune(&filters, schema);
        let mut taken = may_prune.iter();
        let given = filters.into_iter().filter(|_| taken.next() == Some(&true));
        let pushed = self.inner.try_pushdown_filters(given.collect(), config)?;
        let mut answers = pushed.filters.into_iter();
        let answers = may_prune.into_iter().map(|is_given| match is_given {
            true => answers.next().unwrap_or(PushedDown::No),
            false => PushedDown::No,
        });
        Ok(FilterPushdownPropagation {
            filters: answers.collect(),
            updated_node: pushed.updated_node.map(|inner| self.around(inner)),
        })
    }

    fn try_pushdown_sort(
        &self,
        order: &[PhysicalSortExpr],
        properties: &EquivalenceProperties,
    ) -> Result<SortOrderPushdownResult<Arc<dyn FileSource>>> {
        let pushed = self.inner.try_pushdown_sort(order, properties)?;
        Ok(pushed.map(|inner| self.around(inner)))
    }

    fn reorder_files(&self, files: Vec<PartitionedFile>) -> Vec<PartitionedFile> {
        self.inner.reorder_files(files)
    }

    fn try_pushdown_projection(
        &self,
        projection: &ProjectionExprs,
    ) -> Result<Option<Arc<dyn FileSource>>> {
        let pushed = self.inner.try_pushdown_projection(projection)?;
        Ok(pushed.map(|inner| self.around(inner)))
    }

    fn apply_expressions(
        &self,
        f: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        self.inner.apply_expressions(f)
    }
}

#[derive(Debug)]
struct LocatedMorselizer {
    inner: Box<dyn Morselizer>,
    place: Place,
    lines: Option<Lines>,
}

/// What finding a bad line takes.
#[derive(Debug, Clone)]
enum Lines {
    Csv {
        store: Arc<dyn ObjectStore>,
    },
    Json {
        store: Arc<dyn ObjectStore>,
        compression: FileCompressionType,
        rows: JsonRows,
    },
}

impl Morselizer for LocatedMorselizer {
    fn plan_file(&self, file: PartitionedFile) -> Result<Box<dyn MorselPlanner>> {
        let name = Name {
            place: self.place.clone(),
            file: Arc::from(file.object_meta.location.as_ref()),
            start: file.range.as_ref().map_or(0, |range| range.start),
            lines: self.lines.clone(),
        };
        let planner = self.inner.plan_file(file);
        let inner = planner.map_err(|error| name.blame(error))?;
        Ok(Box::new(LocatedPlanner { inner, name }))
    }
}

/// The file that a planner or morsel reads.
#[derive(Debug, Clone)]
struct Name {
    place: Place,
    file: Arc<str>,
    /// Where the range begins that is read of it.
    start: i64,
    lines: Option<Lines>,
}

impl Name {
    fn blame(&self, error: DataFusionError) -> DataFusionError {
        bad_file(&self.place, &self.file, error)
    }

    /// Fails if rows of the file have what no text of ours has.
    fn check(&self, rows: &RecordBatch) -> Result<()> {
        // What tables of ours hold must stay changeable.
        if self.place.is_ours || self.place.lease.is_some() {
            return Ok(());
        }
        let is_escaped = self.place.format == ExternalFormat::NdJson.name();
        zero_bytes::check(rows, is_escaped).map_err(|error| self.blame(error))
    }

    /// The same with the line of the file, where the format's reader does not count lines, or only those of a range.
    async fn blame_line(&self, error: DataFusionError) -> DataFusionError {
        let path = Path::from(self.file.as_ref());
        match &self.lines {
            Some(Lines::Json {
                store,
                compression,
                rows,
            }) if has_line(&self.place, &error) => {
                let line = first_bad_line(store, &path, *compression, rows).await;
                at_line(line, self.blame(error))
            }
            Some(Lines::Csv { store }) if self.start > 0 && has_line(&self.place, &error) => {
                let error = self.blame(error);
                match lines_before(store, &path, self.start as u64).await {
                    Some(n) => with_reason(error, |reason| with_line_of_file(reason, n)),
                    None => error,
                }
            }
            _ => self.blame(error),
        }
    }
}

#[derive(Debug)]
struct LocatedPlanner {
    inner: Box<dyn MorselPlanner>,
    name: Name,
}

impl MorselPlanner for LocatedPlanner {
    fn plan(self: Box<Self>) -> Result<Option<MorselPlan>> {
        let Self { inner, name } = *self;
        let planned = inner.plan().map_err(|error| name.blame(error))?;
        let Some(mut plan) = planned else {
            return Ok(None);
        };
        let wrap_planner = {
            let name = name.clone();
            move |inner| {
                let name = name.clone();
                Box::new(LocatedPlanner { inner, name }) as Box<dyn MorselPlanner>
            }
        };
        let morsels = plan.take_morsels().into_iter().map(|inner| {
            let name = name.clone();
            Box::new(LocatedMorsel { inner, name }) as Box<dyn Morsel>
        });
        let mut located = MorselPlan::new().with_morsels(morsels.collect());
        let planners = plan.take_ready_planners().into_iter().map(&wrap_planner);
        located = located.with_planners(planners.collect());
        if let Some(pending) = plan.take_pending_planner() {
            located.set_pending_planner(async move {
                let planner = reading(&name.place, &name.file, pending).await;
                let planner = planner.map_err(|error| name.blame(error))?;
                Ok(wrap_planner(planner))
            });
        }
        Ok(Some(located))
    }
}

#[derive(Debug)]
struct LocatedMorsel {
    inner: Box<dyn Morsel>,
    name: Name,
}

impl Morsel for LocatedMorsel {
    fn into_stream(self: Box<Self>) -> BoxStream<'static, Result<RecordBatch>> {
        let Self { inner, name } = *self;
        let batches = inner.into_stream();
        batches
            .then(move |batch| {
                let name = name.clone();
                async move {
                    match batch {
                        Ok(batch) => {
                            name.check(&batch)?;
                            Ok(batch)
                        }
                        Err(error) => Err(name.blame_line(error).await),
                    }
                }
            })
            .boxed()
    }
}
