//! A warehouse with faults planted in it: a check names each, and a collection takes only what nobody needs.

use std::path::{Path as FilePath, PathBuf};
use std::time::{Duration, SystemTime};

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use object_store::ObjectStore;
use serde_json::json;

use super::*;
use crate::catalog::{CatalogEntry, Change, ModelDefinition, TableDefinition, ViewDefinition};
use crate::locations::Locations;
use crate::stores::{Layer, Layered, StoreOptions};
use crate::tables::{TableShape, VersionSpec, stored_schema};
use crate::worker_signs::WorkerSign;

const DAY: Duration = Duration::from_secs(24 * 3600);

struct Fixture {
    dir: tempfile::TempDir,
    upkeep: Upkeep,
}

impl Fixture {
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// The only file of a folder whose name ends so.
    fn file(&self, folder: &str, ending: &str) -> PathBuf {
        let files = std::fs::read_dir(self.path(folder)).unwrap();
        let mut files = files
            .map(|file| file.unwrap().path())
            .filter(|file| file.to_string_lossy().ends_with(ending));
        let found = files.next().unwrap();
        assert!(files.next().is_none(), "one file {folder}/*{ending}");
        found
    }

    async fn problems(&self) -> Vec<String> {
        let report = self.upkeep.check().await.unwrap();
        let problems = report.problems.into_iter();
        problems
            .map(|problem| format!("{}: {}", problem.place, problem.what))
            .collect()
    }

    async fn log_problems(&self) -> Vec<String> {
        let report = Upkeep::check_log(&self.upkeep.warehouse).await.unwrap();
        let problems = report.problems.into_iter();
        problems
            .map(|problem| format!("{}: {}", problem.place, problem.what))
            .collect()
    }

    async fn commit(&self, entry: CatalogEntry) {
        let put = |_: &CatalogState| Ok(vec![Change::Put(entry.clone())]);
        self.upkeep.catalog.commit("CREATE", put).await.unwrap();
    }

    async fn collect(&self, dry_run: bool) -> Vec<Removed> {
        self.garbage(dry_run).await.removed
    }

    async fn garbage(&self, dry_run: bool) -> Garbage {
        let options = GarbageOptions {
            older_than: DAY,
            dry_run,
        };
        self.upkeep.collect_garbage(options).await.unwrap()
    }
}

fn entry(id: &str, definition: Definition) -> CatalogEntry {
    CatalogEntry {
        id: id.into(),
        ..CatalogEntry::new("public", id, definition)
    }
}

fn view(n: usize) -> CatalogEntry {
    let definition = ViewDefinition {
        text: "SELECT 1".into(),
        columns: vec![],
        dialect: "postgres".into(),
        default_schema: None,
        search_path: vec![],
        objects: vec![],
        security_barrier: false,
        check_option: None,
    };
    entry(&format!("v{n}"), Definition::View(definition))
}

/// A warehouse with a table `t` of three rows and a model `m` of two versions, the second of which is current.
async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let warehouse = Warehouse::open(dir.path().to_str().unwrap()).await.unwrap();
    let catalog = Catalog::open(Arc::clone(&warehouse), Duration::ZERO).await;
    let locations = Arc::new(Locations::new(&warehouse, &[]).unwrap());
    let tables = Arc::new(Tables::new(Arc::clone(&warehouse), locations));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("i", numbers)]).unwrap();
    let shape = TableShape::new(stored_schema(&batch.schema()).unwrap().as_ref());
    let schema = batch.schema();
    let rows = RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]));
    let written = tables.create_managed_from("t", &shape, vec![Box::pin(rows)]);
    Box::pin(written).await.unwrap();
    let upkeep = Upkeep::new(warehouse, catalog.unwrap(), tables);
    for version in 1..=2_u8 {
        let published =
            upkeep
                .models
                .publish("m", version.into(), json!({}), vec![version; 10].into());
        published.await.unwrap();
    }
    let f = Fixture { dir, upkeep };
    f.commit(entry("t", Definition::Table(TableDefinition::default())))
        .await;
    let model = ModelDefinition {
        statement: "CREATE MODEL".into(),
        query: None,
        model_type: "pca".into(),
        labels: vec![],
        options: json!({}),
        dialect: "postgres".into(),
        current_version: 2,
        aliases: BTreeMap::new(),
        dropped_versions: vec![],
        extra: json!({}),
    };
    f.commit(entry("m", Definition::Model(model))).await;
    f
}

/// Makes a file look as if it was written three days ago.
fn age(file: &FilePath) {
    age_by(file, 3);
}

fn age_by(file: &FilePath, n_days: u32) {
    let file = std::fs::File::options().write(true).open(file).unwrap();
    // A file's time is what the collection goes by, so here it is the input.
    #[allow(clippy::disallowed_methods, reason = "files are dated by the clock")]
    let now = SystemTime::now();
    file.set_modified(now - n_days * DAY).unwrap();
}

fn age_all(folder: &FilePath) {
    for found in std::fs::read_dir(folder).unwrap() {
        let path = found.unwrap().path();
        match path.is_dir() {
            true => age_all(&path),
            false => age(&path),
        }
    }
}

#[tokio::test]
async fn a_whole_warehouse_has_no_problems() {
    let f = fixture().await;
    let report = f.upkeep.check().await.unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.records, report.snapshots), (2, 0));
    // The data file, and a manifest and tensors of each version.
    assert_eq!((report.objects, report.files), (3, 5));
    assert_eq!(report.unnamed_files, 0);
}

#[tokio::test]
async fn each_fault_is_named() {
    let f = fixture().await;
    let manifest = f.path("models/m/2/manifest.json");
    std::fs::write(&manifest, "{").unwrap();
    let blob = std::fs::read_to_string(f.path("models/m/1/manifest.json")).unwrap();
    let blob: serde_json::Value = serde_json::from_str(&blob).unwrap();
    let blob = format!(
        "models/m/blobs/{}.safetensors",
        blob["tensors"]["sha256"].as_str().unwrap()
    );
    std::fs::remove_file(f.path(&blob)).unwrap();
    let data = f.file("tables/t", ".parquet");
    let bytes = std::fs::read(&data).unwrap();
    std::fs::write(&data, &bytes[..bytes.len() - 1]).unwrap();
    let problems = f.problems().await;
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert!(
        problems
            .iter()
            .any(|p| p.contains("models/m/2/manifest.json"))
    );
    assert!(problems.contains(&format!("model public.m: file \"{blob}\" is missing")));
    let cut = format!("has {} bytes instead of {}", bytes.len() - 1, bytes.len());
    assert!(problems.iter().any(|p| p.contains(&cut)), "{problems:?}");
    std::fs::remove_file(&data).unwrap();
    std::fs::remove_file(manifest).unwrap();
    let problems = f.problems().await;
    assert!(
        problems
            .iter()
            .any(|p| p.starts_with("table public.t: file \"tables/t/"))
    );
    assert!(problems.contains(&"model public.m: version 2 is missing".to_owned()));
    std::fs::remove_dir_all(f.path("tables/t")).unwrap();
    let gone = "table public.t: folder \"tables/t\" is missing".to_owned();
    assert!(f.problems().await.contains(&gone));
}

/// A store whose lists of all tables and of all models are from before there were any.
#[derive(Debug)]
struct Belated(Arc<dyn ObjectStore>);

impl Layer for Belated {
    fn below(&self, _: &Path) -> object_store::Result<&dyn ObjectStore> {
        Ok(&self.0)
    }

    fn list(
        &self,
        folder: Option<&Path>,
        offset: Option<&Path>,
    ) -> object_store::Result<BoxStream<'static, object_store::Result<ObjectMeta>>> {
        let is_of_all = |folder: &Path| ["tables", "models"].contains(&folder.as_ref());
        Ok(match offset {
            _ if folder.is_some_and(is_of_all) => futures::stream::empty().boxed(),
            Some(offset) => self.0.list_with_offset(folder, offset),
            None => self.0.list(folder),
        })
    }
}

#[tokio::test]
async fn files_that_were_written_since_they_were_listed_are_not_missing() {
    let f = fixture().await;
    let warehouse = &f.upkeep.warehouse;
    let store = Layered::new(Belated(Arc::clone(warehouse.store())));
    let warehouse = warehouse.with_stores(Arc::new(store), Arc::clone(warehouse.root_store()));
    let (catalog, tables) = (&f.upkeep.catalog, &f.upkeep.tables);
    let upkeep = Upkeep::new(warehouse, Arc::clone(catalog), Arc::clone(tables));
    let report = upkeep.check().await.unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.objects, report.files), (3, 5));
    // One that is gone is missing at the second look, too.
    std::fs::remove_file(f.file("tables/t", ".parquet")).unwrap();
    let report = upkeep.check().await.unwrap();
    assert_eq!(report.problems.len(), 1, "{:?}", report.problems);
}

#[tokio::test]
async fn tensors_that_were_cut_are_found() {
    let f = fixture().await;
    let manifest = std::fs::read_to_string(f.path("models/m/1/manifest.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    let hash = manifest["tensors"]["sha256"].as_str().unwrap();
    let blob = f.path(&format!("models/m/blobs/{hash}.safetensors"));
    std::fs::write(blob, [1_u8; 5]).unwrap();
    let problems = f.problems().await;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].contains("its content has the hash"),
        "{problems:?}"
    );
}

#[tokio::test]
async fn a_log_that_cannot_be_opened_is_told_whole() {
    let f = fixture().await;
    for n in 0..100 {
        f.commit(view(n)).await;
    }
    let record = |n: u64| format!("catalog/{n:020}.json");
    let snapshot = format!("catalog/{:020}.snapshot.json", 100);
    let report = f.upkeep.check().await.unwrap();
    assert_eq!(report.problems, []);
    assert_eq!((report.records, report.snapshots), (102, 1));
    std::fs::remove_file(f.path(&record(7))).unwrap();
    std::fs::write(f.path(&record(101)), "{\"format\": 1, \"num").unwrap();
    let text = std::fs::read_to_string(f.path(&snapshot)).unwrap();
    std::fs::write(f.path(&snapshot), &text[..text.len() / 2]).unwrap();
    let warehouse = Arc::clone(&f.upkeep.warehouse);
    assert!(Catalog::open(warehouse, Duration::ZERO).await.is_err());
    let problems = f.log_problems().await;
    assert_eq!(problems.len(), 3, "{problems:?}");
    assert_eq!(problems[0], format!("{}: it is missing", record(7)));
    assert!(problems[1].starts_with(&format!("{snapshot}: ")));
    assert!(problems[2].starts_with(&format!("{}: ", record(101))));
    // A snapshot that says something else than the records.
    let f = fixture().await;
    let snapshot = format!("catalog/{:020}.snapshot.json", 2);
    let other = "{\"format\": 1, \"number\": 2, \"next_oid\": 99999, \"entries\": []}";
    std::fs::write(f.path(&snapshot), other).unwrap();
    let differs = format!("{snapshot}: it differs from the records before it");
    assert_eq!(f.log_problems().await, [differs]);
}

#[tokio::test]
async fn only_what_is_old_and_needless_goes() {
    let f = fixture().await;
    for n in 0..110 {
        f.commit(view(n)).await;
    }
    for (path, is_old) in [
        ("tables/gone/part.parquet", true),
        ("tables/new/part.parquet", false),
        ("models/gone/1/manifest.json", true),
        ("models/m/blobs/00.safetensors", true),
        ("models/m/blobs/01.safetensors", false),
        ("models/m/3/manifest.json#17", true),
        ("models/m/4/manifest.json#17", false),
        ("exports/sales#2024", true),
        ("models/checkpoints/r1/head.json", true),
        ("models/checkpoints/r1/00000001.part", true),
        ("models/checkpoints/r2/head.json", true),
        ("models/checkpoints/r2/00000001.part", false),
    ] {
        let path = f.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "x").unwrap();
        if is_old {
            age(&path);
        }
    }
    // Nothing of the log is old yet, whatever the snapshot covers.
    let orphans = [
        "models/checkpoints/r1/00000001.part",
        "models/checkpoints/r1/head.json",
        "models/gone/1/manifest.json",
        "models/m/3/manifest.json#17",
        "models/m/blobs/00.safetensors",
        "tables/gone/part.parquet",
    ];
    let paths = |removed: &[Removed]| -> Vec<String> {
        let mut paths: Vec<String> = removed.iter().map(|file| file.path.clone()).collect();
        paths.sort();
        paths
    };
    assert_eq!(paths(&f.collect(true).await), orphans);
    assert!(f.path(orphans[0]).exists(), "a dry run removes nothing");
    // All of the log is old: what the snapshot of record 100 covers goes, what follows stays.
    age_all(&f.path("catalog"));
    age_all(&f.path("tables/t"));
    age_all(&f.path("models/m/1"));
    let removed = f.collect(false).await;
    let of_log = removed
        .iter()
        .filter(|file| file.path.starts_with("catalog/"));
    assert_eq!(of_log.clone().count(), 100);
    assert!(
        of_log
            .clone()
            .all(|file| file.reason == "superseded by a snapshot")
    );
    assert_eq!(removed.len(), 106);
    assert!(orphans.iter().all(|path| !f.path(path).exists()));
    assert!(f.path("tables/new/part.parquet").exists());
    assert!(f.path("models/m/blobs/01.safetensors").exists());
    assert!(f.path("models/m/4/manifest.json#17").exists());
    assert!(f.path("exports/sales#2024").exists(), "a user's file");
    assert!(f.path("models/checkpoints/r2/head.json").exists());
    // What is left is whole, and a server that starts now reads the same catalog.
    assert_eq!(f.problems().await, Vec::<String>::new());
    let warehouse = Arc::clone(&f.upkeep.warehouse);
    let again = Catalog::open(warehouse, Duration::ZERO).await.unwrap();
    assert_eq!(again.generation(), f.upkeep.catalog.generation());
    assert_eq!(*again.state(), *f.upkeep.catalog.state());
    assert_eq!(f.collect(false).await, []);
}

#[tokio::test]
async fn tables_of_living_sessions_stay() {
    let f = fixture().await;
    for id in ["living", "dead"] {
        f.upkeep.tables.give_life_sign(id).await.unwrap();
        std::fs::write(f.path(&format!("tables/{id}/part.parquet")), "x").unwrap();
        age(&f.path(&format!("tables/{id}/part.parquet")));
    }
    let unnamed = async || f.upkeep.check().await.unwrap().unnamed_files;
    assert_eq!(unnamed().await, 0);
    age(&f.path("tables/dead/_session"));
    assert_eq!(unnamed().await, 2, "the file and the sign of the dead one");
    let removed = f.collect(false).await;
    assert_eq!(removed.len(), 2, "{removed:?}");
    assert!(removed.iter().all(|file| file.path.contains("dead")));
    assert!(f.path("tables/living/part.parquet").exists());
}

#[tokio::test]
async fn files_that_no_version_has_named_go_once_the_table_keeps_them_no_longer() {
    let f = fixture().await;
    age_by(&f.file("tables/t", ".parquet"), 30);
    for (name, n_days) in [
        ("old.parquet", 8),
        ("kept.parquet", 6),
        ("young.parquet", 0),
        ("notes.txt", 30),
        ("_hidden.parquet", 30),
        ("_change_data/told.parquet", 8),
    ] {
        let path = f.path("tables/t").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "x").unwrap();
        age_by(&path, n_days);
    }
    let orphan = |path: &str| Removed {
        path: path.into(),
        bytes: 1,
        reason: "data that no version has named",
    };
    let orphans = [
        orphan("tables/t/_change_data/told.parquet"),
        orphan("tables/t/old.parquet"),
    ];
    let sorted = |mut removed: Vec<Removed>| {
        removed.sort_by(|a, b| a.path.cmp(&b.path));
        removed
    };
    assert_eq!(sorted(f.collect(true).await), orphans);
    assert!(
        f.path("tables/t/old.parquet").exists(),
        "a dry run removes nothing"
    );
    assert_eq!(sorted(f.collect(false).await), orphans);
    assert!(orphans.iter().all(|file| !f.path(&file.path).exists()));
    // The file that is older than the bound alone waits.
    let waits = Garbage {
        removed: vec![],
        n_waiting: 1,
        waiting_bytes: 1,
    };
    assert_eq!(f.garbage(false).await, waits);
    assert!(f.path("tables/t/kept.parquet").exists());
    assert_eq!(f.problems().await, Vec::<String>::new());
}

/// Models may have pinned them.
#[tokio::test]
async fn files_of_earlier_versions_go_by_vacuum_alone() {
    let f = fixture().await;
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3]));
    let batch = RecordBatch::try_from_iter([("i", numbers)]).unwrap();
    let schema = batch.schema();
    let mut shape = TableShape::new(stored_schema(&schema).unwrap().as_ref());
    shape.set_property("delta.deletedFileRetentionDuration", "interval 0 days");
    let rows = RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]));
    let tables = &f.upkeep.tables;
    let written = tables.create_managed_from("p", &shape, vec![Box::pin(rows)]);
    written.await.unwrap();
    f.commit(entry("p", Definition::Table(TableDefinition::default())))
        .await;
    let earlier = f.file("tables/p", ".parquet");
    tables.restore("p", VersionSpec::Number(0)).await.unwrap();
    let orphan = f.path("tables/p/orphan.parquet");
    std::fs::write(&orphan, "x").unwrap();
    for file in [&earlier, &orphan] {
        age(file);
    }
    let garbage = f.garbage(false).await;
    assert_eq!(garbage.removed.len(), 1, "{garbage:?}");
    assert_eq!(garbage.n_waiting, 0);
    assert!(earlier.exists() && !orphan.exists());
    let needless = tables.vacuum("p", None, true).await.unwrap();
    let name = earlier.file_name().unwrap().to_string_lossy();
    assert_eq!(needless, [&*name]);
}

/// A commit that a lost write emptied names no file any more.
#[tokio::test]
async fn files_of_a_table_whose_log_cannot_be_read_stay() {
    let f = fixture().await;
    let data = f.file("tables/t", ".parquet");
    age_by(&data, 30);
    let commit = f.path(&format!("tables/t/_delta_log/{:020}.json", 1));
    std::fs::write(commit, "").unwrap();
    assert_eq!(f.collect(false).await, []);
    assert!(data.exists());
}

#[tokio::test]
async fn probes_of_coordinators_that_have_gone_go() {
    let f = fixture().await;
    let warehouse = &f.upkeep.warehouse;
    let [gone, ended, here] = [
        warehouse.write_probe().await.unwrap(),
        warehouse.write_probe().await.unwrap(),
        warehouse.write_probe().await.unwrap(),
    ];
    // Earlier builds wrote them where somebody may keep a table.
    std::fs::create_dir(f.path("cluster")).unwrap();
    let earlier = "cluster/0123456789abcdef.probe";
    for path in [earlier, "cluster/of_a_user.probe"] {
        std::fs::write(f.path(path), "x").unwrap();
    }
    for path in [&gone.0, &here.0, earlier, "cluster/of_a_user.probe"] {
        age(&f.path(path));
    }
    // Twice, since a coordinator may be asked to end when its probe is gone.
    warehouse.remove_probe(&ended.0).await.unwrap();
    warehouse.remove_probe(&ended.0).await.unwrap();
    warehouse.renew_probe(&here.0, &here.1).await.unwrap();
    let removed = f.collect(false).await;
    let probe = |path: &str, bytes: usize| Removed {
        path: path.to_owned(),
        bytes: bytes as u64,
        reason: "probe of a coordinator that has gone",
    };
    assert_eq!(removed, [probe(&gone.0, gone.1.len()), probe(earlier, 1)]);
    let (at, options) = (warehouse.url().as_str(), StoreOptions::default);
    for ((name, content), is_there) in [(&ended, false), (&here, true)] {
        let found = Warehouse::read_probe(at, options(), name).await.unwrap();
        assert_eq!(found, is_there.then(|| content.clone()), "{name}");
        assert_eq!(warehouse.has_probe(name).await.unwrap(), is_there);
    }
    // Other files are not looked at.
    let other = Warehouse::read_probe(at, options(), "cluster/of_a_user.probe").await;
    assert_eq!(other.unwrap(), None);
}

#[tokio::test]
async fn signs_of_workers_that_have_gone_go() {
    let f = fixture().await;
    let [gone, here] = ["a:1", "b:1"].map(|at| WorkerSign::new(at, None));
    gone.give(&f.upkeep.warehouse).await.unwrap();
    age(&f.file("catalog/workers", ".json"));
    here.give(&f.upkeep.warehouse).await.unwrap();
    let removed = f.collect(false).await;
    assert_eq!(removed.len(), 1, "{removed:?}");
    assert_eq!(removed[0].reason, "sign of a worker that has gone");
    here.take_back(&f.upkeep.warehouse).await.unwrap();
    assert_eq!(f.upkeep.files("catalog/workers").await.unwrap(), []);
    assert_eq!(f.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn a_bound_that_servers_need_is_refused() {
    let f = fixture().await;
    let options = GarbageOptions {
        older_than: Duration::from_secs(60),
        dry_run: true,
    };
    let error = f.upkeep.collect_garbage(options).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "only files older than 60 minutes can be removed"
    );
}

#[tokio::test]
async fn files_of_strange_partitions_are_found() {
    let f = fixture().await;
    let names: ArrayRef = Arc::new(StringArray::from(vec!["New York", "a/b", "%2F", "ä:?"]));
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
    let batch = RecordBatch::try_from_iter([("i", numbers), ("name", names)]).unwrap();
    let mut shape = TableShape::new(stored_schema(&batch.schema()).unwrap().as_ref());
    shape.partition_columns.push("name".into());
    let schema = batch.schema();
    let rows = RecordBatchStreamAdapter::new(schema, futures::stream::iter([Ok(batch)]));
    let tables = &f.upkeep.tables;
    let written = tables.create_managed_from("s", &shape, vec![Box::pin(rows)]);
    written.await.unwrap();
    f.commit(entry("s", Definition::Table(TableDefinition::default())))
        .await;
    assert_eq!(f.problems().await, Vec::<String>::new());
}

#[tokio::test]
async fn only_a_warehouse_that_is_there_is_checked() {
    let f = fixture().await;
    Warehouse::require(f.dir.path().to_str().unwrap()).unwrap();
    let absent = f.path("nosuch");
    let error = Warehouse::require(absent.to_str().unwrap()).unwrap_err();
    assert_eq!(error.sqlstate(), "58P01");
    assert!(!absent.exists());
}
