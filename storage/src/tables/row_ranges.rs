//! Divides the scan of local Parquet files by rows, finer than by row groups.
//!
//! A scan whose files are divided by bytes flows in; one whose files are divided by rows flows out, if it gains from it. A
//! row group is what a Parquet reader otherwise decodes on one thread and holds in memory as a whole, often a million
//! rows. How a file is divided depends on the file alone, never on the machine.

use std::sync::Arc;

use datafusion::common::stats::Precision;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{
    FileGroup, FileScanConfig, FileScanConfigBuilder, FileSource, ParquetSource,
};
use datafusion::execution::runtime_env::RuntimeEnv;
use datafusion::parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use super::located::Located;
use super::page_locations::LocatingReaderFactory;

/// Rows of a range come in multiples of this, so that ranges are cut where chunks of training rows are.
const ROWS_UNIT: usize = 64 << 10;
/// Stored bytes of a range: small enough to hold one on each thread, large enough that what each range reads beside its
/// own rows, a page and a dictionary of up to a megabyte a column, costs little.
const RANGE_BYTES: u64 = 32 << 20;
/// Ranges of narrow tables, so that their scans can be divided too.
const MAX_ROWS: usize = 1 << 20;

/// The same scan in as many partitions, with files divided by rows; `None` if it should stay as it is.
pub fn divide_by_rows(scan: &FileScanConfig, runtime: &RuntimeEnv) -> Option<FileScanConfig> {
    divide(scan, runtime, RANGE_BYTES)
}

fn divide(scan: &FileScanConfig, runtime: &RuntimeEnv, range_bytes: u64) -> Option<FileScanConfig> {
    let located = scan.file_source().downcast_ref::<Located>();
    let source = located.map_or(scan.file_source(), Located::inner);
    let source = source.downcast_ref::<ParquetSource>()?;
    let n_groups = scan.file_groups.len();
    // Elsewhere the places of pages would cost a request each.
    let is_local = scan.object_store_url.as_str().starts_with("file://");
    let is_ordered = !scan.output_ordering.is_empty() || scan.output_partitioning.is_some();
    let schema = scan.file_schema();
    // Only the pages of flat columns are known to begin with a row.
    let is_flat = !schema
        .fields()
        .iter()
        .any(|field| field.data_type().is_nested());
    if !is_local || is_ordered || !is_flat || n_groups < 2 || scan.limit.is_some() {
        return None;
    }
    let ranges: Vec<PartitionedFile> = whole_files(&scan.file_groups)?
        .into_iter()
        .flat_map(|file| ranges_of(file, range_bytes))
        .collect();
    if !ranges
        .iter()
        .any(|file| file.extension::<ParquetRowSelection>().is_some())
    {
        return None;
    }
    let store = runtime.object_store(&scan.object_store_url).ok()?;
    let cache = runtime.cache_manager.get_file_metadata_cache();
    let source = source
        .clone()
        .with_parquet_file_reader_factory(Arc::new(LocatingReaderFactory::new(store, cache)));
    let source: Arc<dyn FileSource> = match located {
        Some(located) => located.around(Arc::new(source)),
        None => Arc::new(source),
    };
    let divided = FileScanConfigBuilder::from(scan.clone())
        .with_source(source)
        .with_file_groups(deal(ranges, n_groups))
        .build();
    Some(divided)
}

/// The files of a scan in order, where byte ranges cover each from its start to its end.
fn whole_files(groups: &[FileGroup]) -> Option<Vec<PartitionedFile>> {
    let mut files: Vec<PartitionedFile> = Vec::new();
    let mut covered = 0;
    for part in groups.iter().flat_map(FileGroup::iter) {
        let size = part.object_meta.size;
        let (start, end) = part.range.as_ref().map_or((0, size), |range| {
            (range.start.unsigned_abs(), range.end.unsigned_abs())
        });
        let is_next = files.last().is_none_or(|_| covered == 0);
        if (start == 0) != is_next
            || start != covered
            || part.extension::<ParquetRowSelection>().is_some()
        {
            return None;
        }
        if start == 0 {
            files.push(PartitionedFile {
                range: None,
                ..part.clone()
            });
        }
        covered = if end == size { 0 } else { end };
    }
    (covered == 0).then_some(files)
}

/// A file in ranges of rows; whole, if it is small or its number of rows is not known.
fn ranges_of(file: PartitionedFile, range_bytes: u64) -> Vec<PartitionedFile> {
    let n_rows = match file
        .statistics
        .as_ref()
        .map(|statistics| statistics.num_rows)
    {
        Some(Precision::Exact(n_rows)) => n_rows,
        _ => return vec![file],
    };
    let rows_a_range = rows_a_range(n_rows, file.object_meta.size, range_bytes);
    if n_rows <= rows_a_range {
        return vec![file];
    }
    (0..n_rows)
        .step_by(rows_a_range)
        .map(|start| {
            let len = rows_a_range.min(n_rows - start);
            let rest = n_rows - start - len;
            let selectors = [
                RowSelector::skip(start),
                RowSelector::select(len),
                RowSelector::skip(rest),
            ];
            let selection = selectors.into_iter().filter(|part| part.row_count > 0);
            let selection: RowSelection = selection.collect::<Vec<_>>().into();
            file.clone()
                .with_extension(ParquetRowSelection::new(selection))
        })
        .collect()
}

fn rows_a_range(n_rows: usize, file_bytes: u64, range_bytes: u64) -> usize {
    let row_bytes = file_bytes.div_ceil(n_rows.max(1) as u64).max(1);
    let n_units = usize::try_from(range_bytes / row_bytes).unwrap_or(usize::MAX) / ROWS_UNIT;
    n_units.clamp(1, MAX_ROWS / ROWS_UNIT) * ROWS_UNIT
}

/// Consecutive ranges for each of the groups; the last groups stay empty if there are fewer ranges.
fn deal(ranges: Vec<PartitionedFile>, n_groups: usize) -> Vec<FileGroup> {
    let n_used = ranges.len().min(n_groups);
    let mut groups = vec![Vec::new(); n_groups];
    let n_ranges = ranges.len();
    for (idx, range) in ranges.into_iter().enumerate() {
        groups[idx * n_used / n_ranges].push(range);
    }
    groups.into_iter().map(FileGroup::new).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{ArrayRef, Float32Array, Int64Array, RecordBatch, StringArray};
    use datafusion::arrow::compute::concat_batches;
    use datafusion::common::Statistics;
    use datafusion::datasource::source::DataSourceExec;
    use datafusion::parquet::arrow::ArrowWriter;
    use datafusion::parquet::file::properties::{EnabledStatistics, WriterProperties};
    use datafusion::physical_plan::{ExecutionPlan, collect_partitioned};
    use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};

    use super::*;

    fn file(path: &str, n_rows: usize, size: u64) -> PartitionedFile {
        let statistics = Statistics {
            num_rows: Precision::Exact(n_rows),
            ..Statistics::default()
        };
        PartitionedFile::new(path, size).with_statistics(Arc::new(statistics))
    }

    #[test]
    fn ranges_cover_a_file_without_overlap() {
        let ranges = ranges_of(file("a", 1_000_000, 112_000_000), RANGE_BYTES);
        let mut expected_start = 0;
        for range in &ranges {
            let selection = range
                .extension::<ParquetRowSelection>()
                .unwrap()
                .selection();
            let mut position = 0;
            for selector in selection.iter() {
                if !selector.skip {
                    assert_eq!(position, expected_start);
                    expected_start += selector.row_count;
                }
                position += selector.row_count;
            }
            assert_eq!(position, 1_000_000);
            assert_eq!(
                (expected_start % ROWS_UNIT) * usize::from(expected_start < 1_000_000),
                0
            );
        }
        assert_eq!(expected_start, 1_000_000);
        assert_eq!(ranges.len(), 4);
    }

    #[test]
    fn small_and_unknown_files_stay_whole() {
        assert_eq!(
            ranges_of(file("a", ROWS_UNIT, 1 << 30), RANGE_BYTES).len(),
            1
        );
        assert_eq!(
            ranges_of(PartitionedFile::new("a", 1 << 30), RANGE_BYTES).len(),
            1
        );
        assert_eq!(ranges_of(file("a", 0, 10), RANGE_BYTES).len(), 1);
    }

    #[test]
    fn byte_ranges_become_whole_files_again() {
        let part = |path: &str, start, end| file(path, 10, 100).with_range(start, end);
        let groups = vec![
            FileGroup::new(vec![part("a", 0, 60)]),
            FileGroup::new(vec![part("a", 60, 100), part("b", 0, 20)]),
            FileGroup::new(vec![part("b", 20, 100), file("c", 10, 100)]),
        ];
        let files = whole_files(&groups).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.path().as_ref()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert!(files.iter().all(|file| file.range.is_none()));
        // A range that something else cut off must stay cut off.
        assert!(whole_files(&[FileGroup::new(vec![part("a", 0, 60)])]).is_none());
        assert!(whole_files(&[FileGroup::new(vec![part("a", 60, 100)])]).is_none());
        assert!(
            whole_files(&[FileGroup::new(vec![part("a", 0, 60), part("b", 0, 100)])]).is_none()
        );
    }

    #[test]
    fn groups_keep_the_order_of_ranges() {
        let files: Vec<_> = (0..7).map(|idx| file(&format!("f{idx}"), 1, 1)).collect();
        let groups = deal(files.clone(), 3);
        let order: Vec<String> = groups
            .iter()
            .flat_map(FileGroup::iter)
            .map(|f| f.path().to_string())
            .collect();
        assert_eq!(order, ["f0", "f1", "f2", "f3", "f4", "f5", "f6"]);
        assert!(groups.iter().all(|group| (2..=3).contains(&group.len())));
        assert_eq!(
            deal(files, 10)
                .iter()
                .filter(|group| group.is_empty())
                .count(),
            3
        );
    }

    /// Numbers, NULLs, texts with few and with many values, in pages that begin at other rows in each column.
    fn rows(n_rows: i64) -> RecordBatch {
        let id = Int64Array::from_iter_values(0..n_rows);
        let x =
            Float32Array::from_iter((0..n_rows).map(|i| (i % 5 != 0).then_some(i as f32 * 0.5)));
        let few = StringArray::from_iter(
            (0..n_rows).map(|i| (i % 3 != 0).then(|| format!("k{}", i % 11))),
        );
        let many = StringArray::from_iter_values((0..n_rows).map(|i| format!("text number {i}")));
        let columns: [(&str, ArrayRef); 4] = [
            ("id", Arc::new(id)),
            ("x", Arc::new(x)),
            ("few", Arc::new(few)),
            ("many", Arc::new(many)),
        ];
        RecordBatch::try_from_iter_with_nullable(columns.map(|(name, column)| (name, column, true)))
            .unwrap()
    }

    async fn scan_of(context: &SessionContext, path: &str) -> Arc<dyn ExecutionPlan> {
        let table = context
            .read_parquet(path, ParquetReadOptions::default())
            .await
            .unwrap();
        table.create_physical_plan().await.unwrap()
    }

    async fn collected(context: &SessionContext, plan: Arc<dyn ExecutionPlan>) -> Vec<RecordBatch> {
        let schema = plan.schema();
        let partitions = collect_partitioned(plan, context.task_ctx()).await.unwrap();
        partitions
            .iter()
            .map(|batches| concat_batches(&schema, batches).unwrap())
            .collect()
    }

    /// With and without an index of pages in the file: the rows are the same, and pages are told apart.
    #[tokio::test]
    async fn divided_scans_read_the_same_rows_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let written = rows(300_000);
        for has_index in [true, false] {
            let path = folder.path().join(format!("{has_index}.parquet"));
            let statistics = if has_index {
                EnabledStatistics::Page
            } else {
                EnabledStatistics::None
            };
            let properties = WriterProperties::builder()
                .set_statistics_enabled(statistics)
                .set_offset_index_disabled(!has_index)
                .set_data_page_size_limit(64 << 10)
                .set_max_row_group_row_count(Some(220_000))
                .build();
            let file = std::fs::File::create(&path).unwrap();
            let mut writer =
                ArrowWriter::try_new(file, written.schema(), Some(properties)).unwrap();
            writer.write(&written).unwrap();
            writer.close().unwrap();

            let mut config = SessionConfig::new().with_target_partitions(8);
            config.options_mut().optimizer.repartition_file_min_size = 1;
            config
                .options_mut()
                .execution
                .enable_file_stream_work_stealing = false;
            let context = SessionContext::new_with_config(config);
            let plan = scan_of(&context, path.to_str().unwrap()).await;
            let scan = plan.downcast_ref::<DataSourceExec>().unwrap();
            let (scan, _) = scan.downcast_to_file_source::<ParquetSource>().unwrap();
            let divided = divide(scan, &context.runtime_env(), 1).unwrap();
            let divided = DataSourceExec::from_data_source(divided);
            let found = collected(&context, Arc::clone(&divided) as _).await;
            // Ranges fetch their pages and the dictionaries, not the columns of their row groups: 3.4 files.
            let metrics = divided.metrics().unwrap();
            let fetched = metrics.sum_by_name("bytes_scanned").unwrap().as_usize() as u64;
            let file_bytes = std::fs::metadata(&path).unwrap().len();
            assert!(
                fetched < file_bytes * 5 / 2,
                "{fetched} of {file_bytes} bytes"
            );
            let n_rows: Vec<usize> = found.iter().map(RecordBatch::num_rows).collect();
            assert_eq!(n_rows, [65_536, 65_536, 65_536, 65_536, 37_856, 0, 0, 0]);
            let found = concat_batches(&found[0].schema(), &found).unwrap();
            for (name, column) in written
                .schema()
                .fields()
                .iter()
                .map(|f| f.name())
                .zip(written.columns())
            {
                let found = datafusion::arrow::compute::cast(
                    found.column_by_name(name).unwrap(),
                    column.data_type(),
                );
                assert_eq!(&found.unwrap(), column, "column {name}, index {has_index}");
            }
        }
    }
}
