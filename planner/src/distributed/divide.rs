//! How the files of a scan are divided among the tasks of a stage where not every byte is a place to divide them.
//!
//! In: a scan and a number of tasks; out: a scan for each task. The library divides files at any byte, which is right for
//! Parquet; a compressed file, a JSON array and a CSV file with line breaks in quotes are read whole, and so is a Parquet
//! file of which some rows are read.

use std::sync::Arc;

use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileGroupPartitioner, FileScanConfig};
use datafusion::datasource::source::DataSourceExec;
use datafusion::error::Result as DfResult;
use datafusion::physical_plan::ExecutionPlan;
use datafusion_distributed::{
    DistributedLeafExec, ScaleUpLeafNodeEvent, ScaleUpLeafNodeEventResponse,
};

use super::place::files_of;

/// Divides a scan of text files or of some rows of files; `None`: it is another one, which the library divides.
pub(super) fn divide_files(
    event: ScaleUpLeafNodeEvent<'_>,
) -> Option<DfResult<ScaleUpLeafNodeEventResponse>> {
    let scan = files_of(event.plan.as_ref())?;
    if !matches!(scan.file_source().file_type(), "csv" | "json") && !has_chosen_rows(scan) {
        return None;
    }
    let plans = divided(scan, event.task_count).into_iter();
    let plans =
        plans.map(|scan| -> Arc<dyn ExecutionPlan> { DataSourceExec::from_data_source(scan) });
    let divided = DistributedLeafExec::try_new(Arc::clone(event.plan), plans);
    Some(divided.map(|plan| ScaleUpLeafNodeEventResponse::new(Arc::new(plan))))
}

/// The scans of the tasks, each with as many partitions as the whole one.
fn divided(scan: &FileScanConfig, n_tasks: usize) -> Vec<FileScanConfig> {
    let n_groups = scan.file_groups.len() * n_tasks;
    let source = scan.file_source();
    let can_be_cut = source.supports_repartitioning()
        && !scan.file_compression_type.is_compressed()
        && !has_chosen_rows(scan);
    let cut = || {
        FileGroupPartitioner::new()
            .with_target_partitions(n_groups)
            .with_repartition_file_min_size(0)
            .repartition_file_groups(&scan.file_groups)
    };
    let groups = can_be_cut.then(cut).flatten();
    let mut groups = groups.unwrap_or_else(|| whole_files(&scan.file_groups, n_groups));
    groups.resize(n_groups, FileGroup::new(Vec::new()));
    let mut template = scan.clone();
    template.file_groups.clear();
    let mut scans = vec![template; n_tasks];
    for (idx, group) in groups.into_iter().enumerate() {
        scans[idx % n_tasks].file_groups.push(group);
    }
    scans
}

fn has_chosen_rows(scan: &FileScanConfig) -> bool {
    let mut files = scan.file_groups.iter().flat_map(FileGroup::iter);
    files.any(|file| file.extension::<ParquetRowSelection>().is_some())
}

/// The files in their order, in at most `n_groups` groups.
fn whole_files(groups: &[FileGroup], n_groups: usize) -> Vec<FileGroup> {
    let files = groups.iter().flat_map(FileGroup::iter).cloned();
    let files: Vec<PartitionedFile> = files.collect();
    let (n_files, n_used) = (files.len(), files.len().min(n_groups));
    let mut dealt = vec![Vec::new(); n_used];
    for (idx, file) in files.into_iter().enumerate() {
        dealt[idx * n_used / n_files].push(file);
    }
    dealt.into_iter().map(FileGroup::new).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{DataType, Field, Schema};
    use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
    use datafusion::datasource::physical_plan::{CsvSource, FileScanConfigBuilder};
    use datafusion::execution::object_store::ObjectStoreUrl;

    use super::*;

    fn names(scan: &FileScanConfig) -> Vec<Vec<(String, bool)>> {
        let name = |file: &PartitionedFile| (file.path().to_string(), file.range.is_some());
        let groups = scan.file_groups.iter();
        groups
            .map(|group| group.iter().map(name).collect())
            .collect()
    }

    #[test]
    fn compressed_files_are_read_whole() {
        let schema = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
        let file = |name: &str| PartitionedFile::new(name, 1_000);
        let builder = |compression| {
            let source = Arc::new(CsvSource::new(Arc::clone(&schema)));
            FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source)
                .with_file_groups(vec![
                    FileGroup::new(vec![file("a"), file("b")]),
                    FileGroup::new(vec![file("c")]),
                ])
                .with_file_compression_type(compression)
                .build()
        };
        let scans = divided(&builder(FileCompressionType::GZIP), 2);
        let found: Vec<_> = scans.iter().map(names).collect();
        let whole = |name: &str| vec![(name.to_owned(), false)];
        assert_eq!(found[0], [whole("a"), whole("c")]);
        assert_eq!(found[1], [whole("b"), vec![]]);
        let scans = divided(&builder(FileCompressionType::UNCOMPRESSED), 2);
        for scan in &scans {
            assert_eq!(scan.file_groups.len(), 2);
            let mut files = scan.file_groups.iter().flat_map(FileGroup::iter);
            assert!(files.all(|file| file.range.is_some()));
        }
    }
}
