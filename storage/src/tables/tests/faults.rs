//! A warehouse on a store that fails: what was acknowledged is there once, what was refused is not.

use std::sync::atomic::Ordering;
use std::time::Duration;

use object_store::path::Path;
use object_store::prefix::PrefixStore;
use serde_json::json;
use url::Url;

use super::managed::rows;
use super::*;
use crate::catalog::{Catalog, Change};
use crate::models::ModelStore;
use crate::stores::{ALL_FAULTS, Fault, FaultyStore, Patience, PatientStore, Plan};

/// The faults of a store that answers after all.
const BRIEF: &[Fault] = &[
    Fault::Fails,
    Fault::Throttles,
    Fault::ShortRead,
    Fault::TornWrite,
];

struct Faulty {
    warehouse: Arc<Warehouse>,
    n_faults: Arc<std::sync::atomic::AtomicU64>,
}

impl Faulty {
    fn tables(&self) -> Arc<Tables> {
        let locations = Arc::new(Locations::new(&self.warehouse, &[]).unwrap());
        Arc::new(Tables::new(Arc::clone(&self.warehouse), locations))
    }
}

/// The fixture's warehouse through a store with faults.
async fn faulty(f: &Fixture, rate: u64, faults: &'static [Fault], patience: Patience) -> Faulty {
    let warehouse = Warehouse::open(f.path("").to_str().unwrap()).await.unwrap();
    let plan = Plan {
        seed: 4,
        rate,
        faults,
    };
    let (store, n_faults) = FaultyStore::over(Arc::clone(warehouse.root_store()), plan);
    let root = Url::parse("file:///").unwrap();
    let root_store = PatientStore::over(&root, store, patience);
    let prefix = Path::from_url_path(warehouse.url().path()).unwrap();
    let store = Arc::new(PrefixStore::new(Arc::clone(&root_store), prefix));
    Faulty {
        warehouse: warehouse.with_stores(store, root_store),
        n_faults,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_definitions_and_models_outlast_faults() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    let faulty = faulty(&f, 150, BRIEF, Patience::of_tests(12)).await;
    let tables = faulty.tables();
    for n in 0..12 {
        let added = append_to(&tables, "a", rows(vec![numbers(n..n + 1)])).await;
        assert_eq!(added.unwrap(), 1);
    }
    let catalog = Catalog::open(Arc::clone(&faulty.warehouse), Duration::ZERO).await;
    let catalog = catalog.unwrap();
    let models = ModelStore::new(Arc::clone(&faulty.warehouse));
    for n in 0..12 {
        let definition = Definition::Table(TableDefinition::default());
        let entry = CatalogEntry::new("public", format!("t{n}"), definition);
        let put = |_: &_| Ok(vec![Change::Put(entry.clone())]);
        catalog.commit("CREATE TABLE", put).await.unwrap();
        let published = models.publish("m", n + 1, json!({ "n": n }), vec![n as u8; 100].into());
        published.await.unwrap();
    }
    assert!(faulty.n_faults.load(Ordering::Relaxed) > 20);
    // Seen without faults: each row, definition and version once.
    assert_eq!(f.managed("a", COUNT).await, counted(12, 66));
    let warehouse = Warehouse::open(f.path("").to_str().unwrap()).await.unwrap();
    let catalog = Catalog::open(Arc::clone(&warehouse), Duration::ZERO).await;
    assert_eq!(catalog.unwrap().generation(), 12);
    let models = ModelStore::new(warehouse);
    assert_eq!(models.versions("m").await.unwrap().len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_gives_up_loses_and_repeats_nothing() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    // Without patience most statements fail; those that say so may have landed at their last moment, but not twice.
    let faulty = faulty(&f, 120, ALL_FAULTS, Patience::of_tests(1)).await;
    let tables = faulty.tables();
    let mut acknowledged = Vec::new();
    for n in 0..40 {
        match append_to(&tables, "a", rows(vec![numbers(n..n + 1)])).await {
            Ok(added) => {
                assert_eq!(added, 1);
                acknowledged.push(n);
            }
            Err(error) => {
                assert_eq!(error.sqlstate(), "58030", "{error:?}");
                assert!(error.to_string().contains("file:///"), "{error}");
            }
        }
    }
    assert!((4..36).contains(&acknowledged.len()), "{acknowledged:?}");
    let sql = "SELECT i, count(*) FROM t GROUP BY i ORDER BY i";
    let found = f.managed("a", sql).await;
    for n in acknowledged {
        assert!(
            found.contains(&format!("| {n:<2} | 1        |")),
            "{n}: {found}"
        );
    }
    assert!(!found.contains("| 2        |"), "{found}");
}
