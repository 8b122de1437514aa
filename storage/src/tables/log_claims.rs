//! Whether the files of a Delta table of others are what its log says of them.
//!
//! The files of a version flow in; an error flows out that names a file whose own footer tells another number of rows, or
//! whole numbers and days beyond the log's bounds. Counts and pruned files would be wrong without a word otherwise.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, SchemaRef};
use datafusion::catalog::Session;
use datafusion::common::stats::Precision;
use datafusion::common::{ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::ObjectStore;

use crate::error::{Error, Result};
use crate::tables::delta_files::DeltaFiles;
use crate::tables::footers::footer;
use crate::tables::located::Place;

/// Tables of more files are taken at their word: a log is there so that not every file need be asked.
const MAX_FILES: usize = 64;

/// Error: `BadFile`. A footer that cannot be read is left to the scan, which may not need the file.
pub(crate) async fn check(
    files: &DeltaFiles,
    place: &Place,
    store: &Arc<dyn ObjectStore>,
    session: &dyn Session,
) -> Result<()> {
    if files.files.len() > MAX_FILES {
        return Ok(());
    }
    let check = |file: &PartitionedFile| {
        let file = file.clone();
        async move {
            let Ok(footer) = footer(session, store.as_ref(), &file.object_meta).await else {
                return Ok(());
            };
            let schema = &files.file_schema;
            let found = DFParquetMetadata::statistics_from_parquet_metadata(&footer, schema)?;
            match lie(file.statistics.as_deref(), &found, schema) {
                None => Ok(()),
                Some(reason) => Err(Error::BadFile {
                    file: place.url(file.object_meta.location.as_ref()),
                    format: place.format,
                    reason,
                }),
            }
        }
    };
    let options = &session.config_options().execution;
    let parallel = options.meta_fetch_concurrency.get();
    let checks: Vec<_> = files.files.iter().map(|file| check(&file.file)).collect();
    futures::stream::iter(checks)
        .buffered(parallel)
        .try_collect()
        .await
}

/// What the log says of a file that its footer does not bear out.
fn lie(told: Option<&Statistics>, found: &Statistics, schema: &SchemaRef) -> Option<String> {
    let told = told?;
    if let (Precision::Exact(told), Precision::Exact(found)) = (told.num_rows, found.num_rows)
        && told != found
    {
        return Some(format!(
            "it has {found} rows, and {told} by the log of its table"
        ));
    }
    let columns = told.column_statistics.iter().zip(&found.column_statistics);
    let mut columns = columns.zip(schema.fields());
    columns.find_map(|((told, found), field)| {
        let (least, greatest) = (exact(&told.min_value), exact(&told.max_value));
        let is_below = least.zip(exact(&found.min_value));
        let is_below = is_below.is_some_and(|(told, found)| found < told);
        let is_above = greatest.zip(exact(&found.max_value));
        let is_above = is_above.is_some_and(|(told, found)| found > told);
        (is_below || is_above).then(|| {
            let column = field.name();
            format!("column \"{column}\" has values beyond the bounds in the log of its table")
        })
    })
}

/// A bound that writers neither cut nor round.
fn exact(bound: &Precision<ScalarValue>) -> Option<&ScalarValue> {
    let value = bound.get_value().filter(|value| !value.is_null())?;
    let data_type = value.data_type();
    (data_type.is_integer() || data_type == DataType::Date32).then_some(value)
}
