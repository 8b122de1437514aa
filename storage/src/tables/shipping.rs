//! Scans of files on their way to other machines.
//!
//! A scan flows in; what DataFusion's own serialization loses of it, and the scan that it can serialize, flow out, and
//! the other way on the other machine. Lost would be the names of files in errors, the ranges of rows that
//! `row_ranges` cut, how text files are read, and the confinement of stores: so the files are checked before they leave.

use std::str::FromStr as _;
use std::sync::Arc;

use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{
    CsvSource, FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource,
    JsonSource as PlainJsonSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};
use url::Url;

use super::csv_values::CsvTexts;
use super::interval_bytes::source_with_months;
use super::json_source::{JsonForm, JsonSource};
use super::located::{Located, Place, wrap_texts};
use super::page_locations::LocatingReaderFactory;
use super::read_types::read_types;
use super::text_input::{TextInput, TextReader};
use crate::locations::Locations;

/// The names of formats in errors, of scans that can be shipped.
const FORMATS: [&str; 4] = ["Parquet", "parquet", "csv", "ndjson"];

/// What is to be put back into a scan on the other machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScanForm {
    root: String,
    format: String,
    is_ours: bool,
    /// Whether a statement names the columns.
    is_declared: bool,
    source: SourceForm,
    /// Of each file in the order of the groups, how many rows are read and skipped in turn; empty: all are read.
    ranges: Vec<Vec<(bool, usize)>>,
}

/// How files are read.
#[derive(Debug, Clone, Serialize, Deserialize)]
enum SourceForm {
    Parquet {
        /// As of CSV files.
        zone: Option<String>,
    },
    Csv {
        compression: String,
        terminator: Option<u8>,
        /// What means NULL beside the empty field.
        null_text: Option<String>,
        is_declared: bool,
        /// The time zone of declared moments without one, if the engine reads texts.
        zone: Option<String>,
    },
    Json {
        compression: String,
        form: JsonForm,
        zone: Option<String>,
    },
}

impl SourceForm {
    /// The form of a source, and the source that DataFusion serializes; `None`: it stays on this machine.
    fn of(
        located: &Located,
        config: &FileScanConfig,
    ) -> Result<Option<(SourceForm, Arc<dyn FileSource>)>> {
        let inner = located.inner();
        let compression = config.file_compression_type.get_variant().to_string();
        let texts = located.texts();
        let zone = texts.input.as_ref().map(|input| input.zone().to_owned());
        if inner.is::<ParquetSource>() {
            return Ok(Some((SourceForm::Parquet { zone }, Arc::clone(inner))));
        }
        if let Some(csv) = inner.downcast_ref::<CsvSource>() {
            let form = SourceForm::Csv {
                compression,
                terminator: csv.terminator(),
                null_text: texts.null_text.as_ref().map(ToString::to_string),
                is_declared: texts.is_declared,
                zone,
            };
            return Ok(Some((form, Arc::clone(inner))));
        }
        let Some(json) = inner.downcast_ref::<JsonSource>() else {
            return Ok(None);
        };
        let form = SourceForm::Json {
            compression,
            form: json.form(),
            zone: json.input().map(|input| input.zone().to_owned()),
        };
        let plain = PlainJsonSource::new(json.table_schema().clone());
        Ok(Some((form, projected(Arc::new(plain), inner.as_ref())?)))
    }

    /// The source as it was, of what DataFusion made of its bytes, and how texts are read.
    fn restore(
        &self,
        plain: &Arc<dyn FileSource>,
        reader: TextReader,
    ) -> Result<(Arc<dyn FileSource>, CsvTexts)> {
        let input = |zone: &Option<String>| zone.as_ref().map(|zone| TextInput::new(reader, zone));
        let mut texts = CsvTexts::default();
        let source: Arc<dyn FileSource> = match self {
            SourceForm::Parquet { zone } => {
                texts.input = input(zone);
                Arc::clone(plain)
            }
            SourceForm::Csv {
                terminator,
                null_text,
                is_declared,
                zone,
                ..
            } => {
                texts.null_text = null_text.as_deref().map(Arc::from);
                texts.is_declared = *is_declared;
                texts.input = input(zone);
                let csv = plain.downcast_ref::<CsvSource>().ok_or_else(damaged)?;
                Arc::new(csv.with_terminator(*terminator))
            }
            SourceForm::Json { form, zone, .. } => {
                let json = JsonSource::new(plain.table_schema().clone(), form.clone(), input(zone));
                projected(Arc::new(json), plain.as_ref())?
            }
        };
        Ok((source, texts))
    }

    fn compression(&self) -> Result<FileCompressionType> {
        match self {
            SourceForm::Parquet { .. } => Ok(FileCompressionType::UNCOMPRESSED),
            SourceForm::Csv { compression, .. } | SourceForm::Json { compression, .. } => {
                FileCompressionType::from_str(compression)
            }
        }
    }
}

/// A new source with the columns of another one.
fn projected(source: Arc<dyn FileSource>, of: &dyn FileSource) -> Result<Arc<dyn FileSource>> {
    match of.projection() {
        None => Ok(source),
        Some(columns) => source.try_pushdown_projection(columns)?.ok_or_else(damaged),
    }
}

impl ScanForm {
    /// The form of a scan of files, and the scan that DataFusion serializes; `None` for other operators.
    ///
    /// Errors: a scan that must stay on this machine, with the reason.
    pub fn of(
        plan: &dyn ExecutionPlan,
        locations: &Locations,
    ) -> Result<Option<(ScanForm, Arc<dyn ExecutionPlan>)>> {
        let scan = plan.downcast_ref::<DataSourceExec>();
        let Some(config) =
            scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>())
        else {
            return Ok(None);
        };
        let Some(located) = config.file_source().downcast_ref::<Located>() else {
            return Err(stays("a scan of files that nothing is known of"));
        };
        let place = located.place();
        let Some((source, plain_source)) = SourceForm::of(located, config)? else {
            return Err(stays(&format!("a scan of {} files", place.format)));
        };
        if !config
            .file_source()
            .table_schema()
            .virtual_columns()
            .is_empty()
        {
            return Err(stays("a scan that numbers rows"));
        }
        let files = || config.file_groups.iter().flat_map(FileGroup::iter);
        if !place.is_ours {
            for file in files() {
                locations
                    .check_object(&place.root, &file.object_meta.location)
                    .map_err(|error| DataFusionError::External(Box::new(error)))?;
            }
        }
        let form = ScanForm {
            root: place.root.to_string(),
            format: place.format.to_owned(),
            is_ours: place.is_ours,
            is_declared: located.texts().is_declared,
            source,
            ranges: files().map(ranges_of).collect(),
        };
        let mut plain = config.clone();
        plain.file_source = plain_source;
        Ok(Some((form, DataSourceExec::from_data_source(plain))))
    }

    /// The scan as it was, of what DataFusion made of its bytes; `reader` reads texts on this machine.
    pub fn restore(
        self,
        plan: &dyn ExecutionPlan,
        runtime: &RuntimeEnv,
        reader: TextReader,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = plan.downcast_ref::<DataSourceExec>();
        let config = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        let format = FORMATS.into_iter().find(|format| *format == self.format);
        let (Some(config), Some(format)) = (config, format) else {
            return Err(damaged());
        };
        let (mut source, texts) = self.source.restore(config.file_source(), reader)?;
        let mut ranges = self.ranges.into_iter();
        let mut has_ranges = false;
        let mut groups = Vec::with_capacity(config.file_groups.len());
        for group in &config.file_groups {
            let mut files = Vec::with_capacity(group.len());
            for file in group.iter() {
                let ranges = ranges.next().ok_or_else(damaged)?;
                has_ranges |= !ranges.is_empty();
                files.push(with_ranges(file.clone(), &ranges));
            }
            groups.push(FileGroup::new(files));
        }
        if has_ranges {
            let parquet = source.downcast_ref::<ParquetSource>().ok_or_else(damaged)?;
            let store = runtime.object_store(&config.object_store_url)?;
            let cache = runtime.cache_manager.get_file_metadata_cache();
            let readers = LocatingReaderFactory::new(store, cache);
            let parquet = parquet.clone();
            source = Arc::new(parquet.with_parquet_file_reader_factory(Arc::new(readers)));
        } else if let Some(parquet) = source.downcast_ref::<ParquetSource>()
            && let Some(whole) = source_with_months(parquet, &config.object_store_url, runtime)?
        {
            source = Arc::new(whole);
        }
        let types = read_types(self.is_declared, texts.input.clone());
        let place = Place {
            root: Url::parse(&self.root).map_err(|_| damaged())?,
            format,
            is_ours: self.is_ours,
            lease: None,
        };
        let restored = FileScanConfigBuilder::from(config.clone())
            .with_source(wrap_texts(&place, source, texts))
            .with_file_compression_type(self.source.compression()?)
            .with_file_groups(groups)
            .with_expr_adapter(Some(types))
            .build();
        Ok(DataSourceExec::from_data_source(restored))
    }
}

fn ranges_of(file: &PartitionedFile) -> Vec<(bool, usize)> {
    let Some(selection) = file.extension::<ParquetRowSelection>() else {
        return Vec::new();
    };
    let part = |part: &RowSelector| (part.skip, part.row_count);
    selection.selection().iter().map(part).collect()
}

fn with_ranges(file: PartitionedFile, ranges: &[(bool, usize)]) -> PartitionedFile {
    if ranges.is_empty() {
        return file;
    }
    let part = |(skip, n_rows): &(bool, usize)| match skip {
        true => RowSelector::skip(*n_rows),
        false => RowSelector::select(*n_rows),
    };
    let selection: RowSelection = ranges.iter().map(part).collect::<Vec<_>>().into();
    file.with_extension(ParquetRowSelection::new(selection))
}

fn stays(what: &str) -> DataFusionError {
    DataFusionError::NotImplemented(format!("{what} stays on the coordinator"))
}

fn damaged() -> DataFusionError {
    DataFusionError::Internal("a scan from another machine is damaged".to_owned())
}
