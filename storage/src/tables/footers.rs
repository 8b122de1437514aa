//! What Parquet files say of themselves at their end.
//!
//! A file flows in; its footer flows out, read once and kept for the scans of the file.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::error::Result;
use datafusion::parquet::file::metadata::ParquetMetaData;
use object_store::{ObjectMeta, ObjectStore};

/// The footer of a file.
pub(crate) async fn footer(
    session: &dyn Session,
    store: &dyn ObjectStore,
    file: &ObjectMeta,
) -> Result<Arc<ParquetMetaData>> {
    let options = &session.config_options().execution.parquet;
    let caches = &session.runtime_env().cache_manager;
    DFParquetMetadata::new(store, file)
        .with_metadata_size_hint(options.metadata_size_hint)
        .with_file_metadata_cache(Some(caches.get_file_metadata_cache()))
        .fetch_metadata()
        .await
}

/// A column whose name another one of the file has, too.
pub(crate) fn named_twice(footer: &ParquetMetaData) -> Option<String> {
    let columns = footer.file_metadata().schema_descr().root_schema();
    let mut names = BTreeSet::new();
    let mut columns = columns.get_fields().iter();
    let twice = columns.find(|column| !names.insert(column.name()));
    twice.map(|column| column.name().to_owned())
}
