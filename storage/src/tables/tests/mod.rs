//! Tables seen from outside, by SQL. Here: the fixture, a warehouse in a temporary folder and a session.

#![allow(
    clippy::large_futures,
    reason = "tests await what the planner puts on the heap"
)]

mod append;
mod blocks;
mod changed_keys;
mod changes;
mod external;
mod faults;
mod intervals;
mod keys;
mod late_values;
mod managed;
mod others;
mod unfinished;
mod versions;
mod within;

use std::path::PathBuf;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::prelude::SessionContext;

use super::*;
use crate::catalog::{Change, TableDefinition};

struct Fixture {
    dir: tempfile::TempDir,
    tables: Arc<Tables>,
    session: SessionContext,
}

async fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let tables = open(dir.path().join("warehouse")).await;
    Fixture {
        dir,
        tables,
        session: SessionContext::new(),
    }
}

async fn open(warehouse: PathBuf) -> Arc<Tables> {
    let warehouse = Warehouse::open(warehouse.to_str().unwrap()).await.unwrap();
    let locations = Arc::new(Locations::new(&warehouse, &[]).unwrap());
    Arc::new(Tables::new(warehouse, locations))
}

impl Fixture {
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join("warehouse").join(path)
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    async fn write_parquet(&self, path: &str, query: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let rows = self.session.sql(query).await.unwrap();
        let options = DataFrameWriteOptions::new().with_single_file_output(true);
        rows.write_parquet(path.to_str().unwrap(), options, None)
            .await
            .unwrap();
    }

    async fn show(&self, query: &str, provider: Result<Arc<dyn TableProvider>>) -> String {
        let _ = self.session.deregister_table("t").unwrap();
        self.session.register_table("t", provider.unwrap()).unwrap();
        let batches = self
            .session
            .sql(query)
            .await
            .unwrap()
            .collect()
            .await
            .unwrap();
        pretty_format_batches(&batches).unwrap().to_string()
    }

    async fn create(&self, id: &str, schema: SchemaRef) -> Result<()> {
        let shape = TableShape::new(stored_schema(&schema)?.as_ref());
        self.tables.create_managed(id, &shape).await
    }

    /// As `CREATE TABLE AS`: without NOT NULL.
    async fn create_from(
        &self,
        id: &str,
        schema: SchemaRef,
        rows: SendableRecordBatchStream,
    ) -> Result<u64> {
        let mut shape = TableShape::new(stored_schema(&schema)?.as_ref());
        for idx in 0..schema.fields().len() {
            shape.set_nullable(idx, true);
        }
        self.tables
            .create_managed_from(id, &shape, vec![rows])
            .await
    }

    async fn append(&self, id: &str, rows: SendableRecordBatchStream) -> Result<u64> {
        append_to(&self.tables, id, rows).await
    }

    async fn managed(&self, id: &str, query: &str) -> String {
        let state = self.session.state();
        self.show(query, self.tables.provider(&managed(id), &state).await)
            .await
    }

    async fn file(&self, path: &str, query: &str) -> String {
        let state = self.session.state();
        self.show(query, self.tables.file_provider(path, &state).await)
            .await
    }

    async fn file_error(&self, path: &str) -> Error {
        self.tables
            .file_provider(path, &self.session.state())
            .await
            .unwrap_err()
    }
}

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let names: StringArray = range.clone().map(|i| Some(format!("n{i}"))).collect();
    let columns: [(&str, ArrayRef); 2] = [
        ("i", Arc::new(Int64Array::from_iter_values(range))),
        ("name", Arc::new(names)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

async fn append_to(tables: &Tables, id: &str, rows: SendableRecordBatchStream) -> Result<u64> {
    let shape = tables.shape(id).await?;
    tables.append(id, &shape, vec![rows], Arc::default()).await
}

fn managed(id: &str) -> CatalogEntry {
    let definition = Definition::Table(TableDefinition::default());
    CatalogEntry {
        id: id.into(),
        ..CatalogEntry::new("public", "t", definition)
    }
}

/// A block that begins now, under a catalog that names some tables. To other servers than theirs all that was done to them
/// before is part of their making.
fn begin_block(tables: &Tables, named: &[&str]) -> Tables {
    let named = named.iter().map(|id| {
        let definition = Definition::Table(TableDefinition::default());
        let entry = CatalogEntry::new("public", *id, definition);
        Change::Put(CatalogEntry {
            id: (*id).into(),
            created_at_ms: 1 << 50,
            ..entry
        })
    });
    let catalog = CatalogState::bootstrap().unwrap();
    let (catalog, _) = catalog.apply(1, 1, named.collect()).unwrap();
    tables.begin_block(Arc::new(catalog))
}

const COUNT: &str = "SELECT count(*) AS n, sum(i) AS s FROM t";

fn counted(n: i64, s: i64) -> String {
    let columns: [(&str, ArrayRef); 2] = [
        ("n", Arc::new(Int64Array::from(vec![n]))),
        ("s", Arc::new(Int64Array::from(vec![s]))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    pretty_format_batches(&[batch]).unwrap().to_string()
}
