//! Files of commits that are not made yet, or of which nobody knows whether they were.

use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use object_store::path::Path;
use object_store::{
    GetOptions, GetResult, ObjectStore, PutMode, PutOptions, PutPayload, PutResult,
};
use url::Url;

use super::changes::changes;
use super::managed::rows;
use super::*;
use crate::stores::{Layer, Layered, Patience, PatientStore, Request};

/// A store that does what it is told and loses its answer to a commit; `is_silent`, it says nothing of commits from then
/// on.
#[derive(Debug)]
struct Lossy {
    below: Arc<dyn ObjectStore>,
    is_silent: bool,
    has_lost: AtomicBool,
}

fn lost() -> object_store::Error {
    object_store::Error::Generic {
        store: "test",
        source: "connection reset".into(),
    }
}

fn is_commit(path: &Path) -> bool {
    path.as_ref().contains("_delta_log/") && path.extension() == Some("json")
}

#[async_trait]
impl Layer for Lossy {
    fn below(&self, _: &Path) -> object_store::Result<&dyn ObjectStore> {
        Ok(&self.below)
    }

    async fn put(
        &self,
        path: &Path,
        body: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        let is_lost = options.mode == PutMode::Create && is_commit(path);
        let put = self.below.put_opts(path, body, options).await;
        match is_lost {
            true => {
                self.has_lost.store(true, Ordering::Relaxed);
                Err(lost())
            }
            false => put,
        }
    }

    async fn get(&self, path: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        match self.is_silent && self.has_lost.load(Ordering::Relaxed) && is_commit(path) {
            true => Err(lost()),
            false => self.below.get_opts(path, options).await,
        }
    }
}

/// A store that takes no files of changes.
#[derive(Debug)]
struct WithoutChanges(Arc<dyn ObjectStore>);

#[async_trait]
impl Layer for WithoutChanges {
    fn below(&self, _: &Path) -> object_store::Result<&dyn ObjectStore> {
        Ok(&self.0)
    }

    fn check(&self, request: Request, path: &Path) -> object_store::Result<()> {
        match request == Request::Write && path.as_ref().contains("/_change_data/") {
            true => Err(lost()),
            false => Ok(()),
        }
    }
}

async fn lossy(f: &Fixture, is_silent: bool) -> Tables {
    let layer = |below| Lossy {
        below,
        is_silent,
        has_lost: AtomicBool::new(false),
    };
    tables_over(f, layer).await
}

/// The tables of the fixture's warehouse, with a layer before its store.
async fn tables_over<L: Layer>(
    f: &Fixture,
    layer: impl FnOnce(Arc<dyn ObjectStore>) -> L,
) -> Tables {
    let warehouse = Warehouse::open(f.path("").to_str().unwrap()).await.unwrap();
    let store = Layered::new(layer(Arc::clone(warehouse.root_store())));
    let root = Url::parse("file:///").unwrap();
    let root_store = PatientStore::over(&root, Arc::new(store), Patience::of_tests(1));
    let prefix = Path::from_url_path(warehouse.url().path()).unwrap();
    let store = object_store::prefix::PrefixStore::new(Arc::clone(&root_store), prefix);
    let warehouse = warehouse.with_stores(Arc::new(store), root_store);
    let locations = Arc::new(Locations::new(&warehouse, &[]).unwrap());
    Tables::new(warehouse, locations)
}

/// The data files of table `a`.
fn n_files(f: &Fixture) -> usize {
    let files = std::fs::read_dir(f.path("tables/a")).unwrap();
    let names = files.map(|file| file.unwrap().file_name());
    let is_rows = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".parquet");
    names.filter(is_rows).count()
}

#[tokio::test]
async fn a_commit_whose_answer_got_lost_is_found() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    let tables = lossy(&f, false).await;
    assert_eq!(
        append_to(&tables, "a", rows(vec![numbers(0..3)]))
            .await
            .unwrap(),
        3
    );
    assert_eq!(f.managed("a", COUNT).await, counted(3, 3));
}

#[tokio::test]
async fn files_stay_where_nobody_knows_whether_the_commit_was_made() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    let tables = lossy(&f, true).await;
    let error = append_to(&tables, "a", rows(vec![numbers(0..3)])).await;
    let error = error.unwrap_err();
    assert!(!error.is_settled(), "{error:?}");
    assert_eq!(error.sqlstate(), "58030");
    assert!(error.hint().unwrap().contains("may be there"), "{error:?}");
    assert_eq!(f.managed("a", COUNT).await, counted(3, 3));

    let tables = lossy(&f, true).await;
    let block = begin_block(&tables, &["a"]);
    let added = append_to(&block, "a", rows(vec![numbers(3..5)])).await;
    assert_eq!(added.unwrap(), 2);
    assert!(!block.commit_block().await.unwrap_err().is_settled());
    assert_eq!(f.managed("a", COUNT).await, counted(5, 10));
}

#[tokio::test]
async fn nothing_stays_of_writers_of_which_one_failed() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    let schema = numbers(0..1).schema();
    let failing = futures::stream::iter([
        Ok(numbers(0..10)),
        Err(datafusion::error::DataFusionError::Execution("no".into())),
    ]);
    let failing = datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(
        Arc::clone(&schema),
        failing,
    );
    let shape = f.tables.shape("a").await.unwrap();
    let streams = vec![rows(vec![numbers(0..9)]), Box::pin(failing) as _];
    let added = f.tables.append("a", &shape, streams, Arc::default()).await;
    assert!(added.is_err());
    assert_eq!(n_files(&f), 0);
}

#[tokio::test]
async fn nothing_stays_of_changes_whose_last_file_cannot_be_written() {
    let f = fixture().await;
    let schema = stored_schema(&numbers(0..1).schema()).unwrap();
    let mut shape = TableShape::new(schema.as_ref());
    shape.set_property("delta.enableChangeDataFeed", "true");
    f.tables.create_managed("a", &shape).await.unwrap();
    f.append("a", rows(vec![numbers(0..3)])).await.unwrap();
    let tables = tables_over(&f, WithoutChanges).await;
    let rewrite = tables.rewrite("a").await.unwrap();
    let options = RewriteOptions {
        checks: Arc::default(),
        repeated: Repeated::Refused,
        operation: "MERGE",
        predicate: None,
        changes_keys: true,
    };
    let inserted = changes(&[(RowAction::Insert, 0, 0, 7)]);
    let state = f.session.state();
    let error = rewrite.apply(inserted, &options, &state).await.unwrap_err();
    assert_eq!(error.sqlstate(), "58030", "{error:?}");
    assert_eq!(n_files(&f), 1);
    assert_eq!(f.managed("a", COUNT).await, counted(3, 3));
}

#[tokio::test]
async fn vacuum_leaves_the_files_of_open_blocks() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    let block = begin_block(&f.tables, &["a"]);
    append_to(&block, "a", rows(vec![numbers(0..4)]))
        .await
        .unwrap();
    // Writes the rows that wait.
    block.block_mark().await.unwrap();
    assert_eq!(n_files(&f), 1);
    let removed = f.tables.vacuum("a", Some(0), false).await.unwrap();
    assert_eq!(removed, Vec::<String>::new());
    block.commit_block().await.unwrap();
    assert_eq!(f.managed("a", COUNT).await, counted(4, 6));
}
