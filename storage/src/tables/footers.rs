//! What Parquet files say of themselves at their end.
//!
//! A file flows in; its footer flows out, read once and kept for the scans of the file.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::DateTime;
use datafusion::catalog::Session;
use datafusion::datasource::physical_plan::parquet::metadata::DFParquetMetadata;
use datafusion::error::Result;
use datafusion::parquet::file::metadata::ParquetMetaData;
use object_store::{ObjectMeta, ObjectStore};

/// A file of others as what is kept of files knows it, by its path, size and time alone: here the time is a mark that
/// another file in its place does not have, though both be as long and as old. A file of which its store tells neither a
/// time nor a tag never has the same mark again.
pub(crate) fn marked(file: &ObjectMeta) -> ObjectMeta {
    static NEXT: AtomicI64 = AtomicI64::new(0);
    let mark = match (&file.e_tag, file.last_modified.timestamp()) {
        (None, 0) => NEXT.fetch_add(1, Ordering::Relaxed),
        _ => {
            let mut hasher = DefaultHasher::new();
            (&file.e_tag, &file.version, file.last_modified).hash(&mut hasher);
            hasher.finish().cast_signed()
        }
    };
    ObjectMeta {
        last_modified: DateTime::from_timestamp_nanos(mark),
        ..file.clone()
    }
}

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

#[cfg(test)]
mod tests {
    use object_store::path::Path;

    use super::*;

    fn file(e_tag: Option<&str>, seconds: i64) -> ObjectMeta {
        ObjectMeta {
            location: Path::from("a.parquet"),
            last_modified: DateTime::from_timestamp(seconds, 0).unwrap(),
            size: 7,
            e_tag: e_tag.map(ToOwned::to_owned),
            version: None,
        }
    }

    #[test]
    fn another_file_has_another_mark() {
        let mark = |e_tag, seconds| marked(&file(e_tag, seconds)).last_modified;
        assert_eq!(mark(Some("a"), 5), mark(Some("a"), 5));
        assert_eq!(mark(None, 5), mark(None, 5));
        assert_ne!(mark(Some("a"), 5), mark(Some("b"), 5));
        assert_ne!(mark(Some("a"), 5), mark(Some("a"), 6));
        assert_ne!(mark(None, 5), mark(None, 6));
        assert_ne!(mark(None, 0), mark(None, 0));
        assert_eq!(mark(Some("a"), 0), mark(Some("a"), 0));
    }
}
