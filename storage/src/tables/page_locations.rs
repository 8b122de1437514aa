//! Tells Parquet readers where the pages of a local file lie, also where its writer kept no index of them.
//!
//! A file flows in, its metadata with an offset index flows out: a reader that wants some rows then fetches their pages
//! instead of whole columns of the row group. Page headers are read, never the pages.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Result as IoResult};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::ParquetFileReaderFactory;
use datafusion::error::Result as DataFusionResult;
use datafusion::execution::cache::cache_manager::FileMetadataCache;
use datafusion::parquet::arrow::arrow_reader::ArrowReaderOptions;
use datafusion::parquet::arrow::async_reader::AsyncFileReader;
use datafusion::parquet::column::page::PageReader as _;
use datafusion::parquet::errors::{ParquetError, Result};
use datafusion::parquet::file::metadata::{
    ColumnChunkMetaData, OffsetIndexBuilder, PageIndexPolicy, ParquetMetaData,
};
use datafusion::parquet::file::page_index::offset_index::OffsetIndexMetaData;
use datafusion::parquet::file::reader::{ChunkReader, Length, SerializedPageReader};
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use object_store::path::Path;
use object_store::{GetResultPayload, ObjectStore, ObjectStoreExt as _};
use tokio::sync::OnceCell;

use crate::tables::interval_bytes::BytesReaderFactory;

/// How much of a file is read for a page header, which takes some dozen bytes without statistics.
const HEADER_BYTES: usize = 256;

/// Makes readers that know where pages lie.
#[derive(Debug)]
pub(super) struct LocatingReaderFactory {
    inner: BytesReaderFactory,
    store: Arc<dyn ObjectStore>,
    /// Of the files of this scan, found once.
    found: Mutex<BTreeMap<Path, Arc<OnceCell<Arc<ParquetMetaData>>>>>,
}

impl LocatingReaderFactory {
    /// Readers over a store on local disk.
    pub(super) fn new(store: Arc<dyn ObjectStore>, cache: Arc<FileMetadataCache>) -> Self {
        Self {
            inner: BytesReaderFactory::new(Arc::clone(&store), cache),
            store,
            found: Mutex::default(),
        }
    }
}

impl ParquetFileReaderFactory for LocatingReaderFactory {
    fn create_reader(
        &self,
        partition_idx: usize,
        file: PartitionedFile,
        metadata_size_hint: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> DataFusionResult<Box<dyn AsyncFileReader + Send>> {
        let location = file.object_meta.location.clone();
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let cell = Arc::clone(found.entry(location.clone()).or_default());
        let inner = self
            .inner
            .create_reader(partition_idx, file, metadata_size_hint, metrics)?;
        let store = Arc::clone(&self.store);
        Ok(Box::new(LocatingReader {
            inner,
            store,
            location,
            cell,
        }))
    }
}

struct LocatingReader {
    inner: Box<dyn AsyncFileReader + Send>,
    store: Arc<dyn ObjectStore>,
    location: Path,
    cell: Arc<OnceCell<Arc<ParquetMetaData>>>,
}

impl AsyncFileReader for LocatingReader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, Result<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, Result<Vec<Bytes>>> {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, Result<Arc<ParquetMetaData>>> {
        async move {
            let (inner, store, location) = (&mut self.inner, &self.store, &self.location);
            let metadata = self.cell.get_or_try_init(|| async {
                let options = options.cloned().unwrap_or_default();
                let with_index = options.with_page_index_policy(PageIndexPolicy::Optional);
                let metadata = inner.get_metadata(Some(&with_index)).await?;
                if metadata
                    .offset_index()
                    .is_some_and(|index| index.iter().all(|columns| is_known(columns)))
                {
                    return Ok(metadata);
                }
                locate(store, location, metadata).await
            });
            metadata.await.cloned()
        }
        .boxed()
    }
}

fn is_known(columns: &[OffsetIndexMetaData]) -> bool {
    !columns.is_empty()
}

/// The metadata with the places of all pages; as it is, where they cannot be told.
async fn locate(
    store: &Arc<dyn ObjectStore>,
    location: &Path,
    metadata: Arc<ParquetMetaData>,
) -> Result<Arc<ParquetMetaData>> {
    let found = store.get(location).await;
    let found = found.map_err(|error| ParquetError::External(Box::new(error)))?;
    let GetResultPayload::File(file, _) = found.payload else {
        return Ok(metadata);
    };
    let located = tokio::task::spawn_blocking(move || with_locations(file, metadata));
    located
        .await
        .map_err(|error| ParquetError::External(Box::new(error)))?
}

fn with_locations(file: File, metadata: Arc<ParquetMetaData>) -> Result<Arc<ParquetMetaData>> {
    let headers = Arc::new(Headers {
        file,
        asked: Mutex::new(0),
    });
    let mut index = Vec::with_capacity(metadata.num_row_groups());
    for row_group in metadata.row_groups() {
        let n_rows = usize::try_from(row_group.num_rows()).unwrap_or(0);
        let mut columns = Vec::with_capacity(row_group.num_columns());
        for column in row_group.columns() {
            match pages_of(&headers, column, n_rows)? {
                Some(pages) => columns.push(pages),
                None => return Ok(metadata),
            }
        }
        index.push(columns);
    }
    let metadata = Arc::unwrap_or_clone(metadata).into_builder();
    Ok(Arc::new(metadata.set_offset_index(Some(index)).build()))
}

/// Where the data pages of a column lie and with which row each begins; `None` if that is not told by headers.
fn pages_of(
    headers: &Arc<Headers>,
    column: &ColumnChunkMetaData,
    n_rows: usize,
) -> Result<Option<OffsetIndexMetaData>> {
    if column.column_descr().max_rep_level() > 0 {
        return Ok(None);
    }
    let (start, len) = column.byte_range();
    let mut reader = SerializedPageReader::new(Arc::clone(headers), column, n_rows, None)?;
    // Of each page the offset of its header; rows of data pages, none for dictionaries.
    let mut pages: Vec<(u64, Option<usize>)> = Vec::new();
    while let Some(page) = reader.peek_next_page()? {
        let n_rows = page.num_rows.or(page.num_levels);
        pages.push((headers.last_asked(), n_rows.filter(|_| !page.is_dict)));
        reader.skip_next_page()?;
    }
    let ends = pages
        .iter()
        .skip(1)
        .map(|(offset, _)| *offset)
        .chain([start + len]);
    let mut builder = OffsetIndexBuilder::new();
    let mut n_found = 0;
    for ((offset, n_rows_of_page), end) in pages.iter().zip(ends) {
        if let Some(n_rows_of_page) = n_rows_of_page {
            let size = i32::try_from(end - offset).ok();
            let (Some(size), Ok(offset)) = (size, i64::try_from(*offset)) else {
                return Ok(None);
            };
            builder.append_offset_and_size(offset, size);
            builder.append_row_count(*n_rows_of_page as i64);
            n_found += n_rows_of_page;
        }
    }
    Ok((n_found == n_rows).then(|| builder.build()))
}

/// A file of which only page headers are read; remembers where the last one was asked for.
struct Headers {
    file: File,
    asked: Mutex<u64>,
}

impl Headers {
    fn last_asked(&self) -> u64 {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Length for Headers {
    fn len(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| metadata.len())
    }
}

impl ChunkReader for Headers {
    type T = HeaderRead;

    fn get_read(&self, start: u64) -> Result<HeaderRead> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = start;
        let file = self.file.try_clone()?;
        Ok(HeaderRead {
            file,
            offset: start,
            buffer: [0; HEADER_BYTES],
            filled: 0..0,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        let mut bytes = vec![0; length];
        self.file.read_exact_at(&mut bytes, start)?;
        Ok(bytes.into())
    }
}

/// Reads a file from an offset on, a few bytes at a time, without moving the file's own position.
struct HeaderRead {
    file: File,
    offset: u64,
    buffer: [u8; HEADER_BYTES],
    filled: Range<usize>,
}

impl Read for HeaderRead {
    fn read(&mut self, into: &mut [u8]) -> IoResult<usize> {
        if self.filled.is_empty() {
            let n_read = self.file.read_at(&mut self.buffer, self.offset)?;
            self.offset += n_read as u64;
            self.filled = 0..n_read;
        }
        let n_given = self.filled.len().min(into.len());
        let given = self.filled.start..self.filled.start + n_given;
        into[..n_given].copy_from_slice(&self.buffer[given]);
        self.filled.start += n_given;
        Ok(n_given)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use datafusion::parquet::file::properties::{
        EnabledStatistics, WriterProperties, WriterVersion,
    };

    use super::*;

    /// What headers tell is what the writer's own index says.
    #[test]
    fn located_pages_are_those_of_the_writers_index() {
        let folder = tempfile::tempdir().unwrap();
        for version in [WriterVersion::PARQUET_1_0, WriterVersion::PARQUET_2_0] {
            let path = folder.path().join("t.parquet");
            let values = Int64Array::from_iter((0..100_000).map(|i| (i % 7 != 0).then_some(i / 3)));
            let few = Int64Array::from_iter_values((0..100_000).map(|i| i % 10));
            let columns: [(&str, ArrayRef); 2] = [("a", Arc::new(values)), ("b", Arc::new(few))];
            let batch = RecordBatch::try_from_iter(columns).unwrap();
            let properties = WriterProperties::builder()
                .set_writer_version(version)
                .set_statistics_enabled(EnabledStatistics::Page)
                .set_data_page_size_limit(10_000)
                .set_max_row_group_row_count(Some(60_000))
                .build();
            let file = File::create(&path).unwrap();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            writer.close().unwrap();

            let open = || File::open(&path).unwrap();
            let options =
                ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
            let written =
                ParquetRecordBatchReaderBuilder::try_new_with_options(open(), options).unwrap();
            let plain = ParquetRecordBatchReaderBuilder::try_new(open()).unwrap();
            assert!(plain.metadata().offset_index().is_none());
            let located = with_locations(open(), Arc::clone(plain.metadata())).unwrap();
            let pages = |metadata: &ParquetMetaData| -> Vec<_> {
                let index = metadata.offset_index().unwrap().iter().flatten();
                index
                    .map(|column| column.page_locations().clone())
                    .collect()
            };
            assert_eq!(pages(&located), pages(written.metadata()));
            assert!(pages(&located).iter().any(|pages| pages.len() > 3));
        }
    }
}
