//! Scans of files on their way to other machines.
//!
//! A scan flows in; what DataFusion's own serialization loses of it, and the scan that it can serialize, flow out, and
//! the other way on the other machine. Lost would be the names of files in errors, the ranges of rows that
//! `row_ranges` cut, and the confinement of stores: so the files are checked before they leave.

use std::sync::Arc;

use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};
use datafusion::physical_plan::ExecutionPlan;
use serde::{Deserialize, Serialize};
use url::Url;

use super::located::{Located, Place, wrap};
use super::page_locations::LocatingReaderFactory;
use crate::locations::Locations;

/// The names of formats in errors, of scans that can be shipped.
const FORMATS: [&str; 2] = ["Parquet", "parquet"];

/// What is to be put back into a scan on the other machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ScanForm {
    root: String,
    format: String,
    is_ours: bool,
    /// Of each file in the order of the groups, how many rows are read and skipped in turn; empty: all are read.
    ranges: Vec<Vec<(bool, usize)>>,
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
        if located.inner().downcast_ref::<ParquetSource>().is_none() {
            return Err(stays(&format!("a scan of {} files", place.format)));
        }
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
            ranges: files().map(ranges_of).collect(),
        };
        let mut plain = config.clone();
        plain.file_source = Arc::clone(located.inner());
        Ok(Some((form, DataSourceExec::from_data_source(plain))))
    }

    /// The scan as it was, of what DataFusion made of its bytes.
    pub fn restore(
        self,
        plan: &dyn ExecutionPlan,
        runtime: &RuntimeEnv,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let scan = plan.downcast_ref::<DataSourceExec>();
        let config = scan.and_then(|scan| scan.data_source().downcast_ref::<FileScanConfig>());
        let source = config.and_then(|config| config.file_source().downcast_ref::<ParquetSource>());
        let format = FORMATS.into_iter().find(|format| *format == self.format);
        let (Some(config), Some(source), Some(format)) = (config, source, format) else {
            return Err(damaged());
        };
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
        let mut source = source.clone();
        if has_ranges {
            let store = runtime.object_store(&config.object_store_url)?;
            let cache = runtime.cache_manager.get_file_metadata_cache();
            let readers = LocatingReaderFactory::new(store, cache);
            source = source.with_parquet_file_reader_factory(Arc::new(readers));
        }
        let place = Place {
            root: Url::parse(&self.root).map_err(|_| damaged())?,
            format,
            is_ours: self.is_ours,
            _lease: None,
        };
        let source: Arc<dyn FileSource> = wrap(&place, Arc::new(source));
        let restored = FileScanConfigBuilder::from(config.clone())
            .with_source(source)
            .with_file_groups(groups)
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
