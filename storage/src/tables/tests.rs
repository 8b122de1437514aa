//! Tables seen from outside: what is written is read, by SQL, after a restart, and by others at the same time.

use std::path::PathBuf;

use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::util::pretty::pretty_format_batches;
use datafusion::dataframe::DataFrameWriteOptions;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;

use super::*;
use crate::catalog::{TableDefinition, ViewDefinition, columns_of};
use crate::full_store::FullStore;

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

fn managed(id: &str) -> CatalogEntry {
    let definition = Definition::Table(TableDefinition { columns: vec![] });
    CatalogEntry {
        id: id.into(),
        ..CatalogEntry::new("public", "t", definition)
    }
}

fn external(fixture: &Fixture, path: &str, format: ExternalFormat) -> ExternalTableDefinition {
    let location = Url::from_file_path(fixture.path(path)).unwrap().to_string();
    ExternalTableDefinition {
        location,
        format,
        options: BTreeMap::new(),
        schema: None,
        partition_columns: vec![],
    }
}

fn entry(definition: ExternalTableDefinition) -> CatalogEntry {
    CatalogEntry::new("public", "e", Definition::ExternalTable(definition))
}

fn numbers(range: std::ops::Range<i64>) -> RecordBatch {
    let names: StringArray = range.clone().map(|i| Some(format!("n{i}"))).collect();
    let columns: [(&str, ArrayRef); 2] = [
        ("i", Arc::new(Int64Array::from_iter_values(range))),
        ("name", Arc::new(names)),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

fn stream(
    batches: Vec<Result<RecordBatch, DataFusionError>>,
    schema: SchemaRef,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        futures::stream::iter(batches),
    ))
}

fn rows(batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let schema = batches[0].schema();
    stream(batches.into_iter().map(Ok).collect(), schema)
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

#[tokio::test]
async fn rows_are_there_after_a_restart() {
    let f = fixture().await;
    f.tables
        .create_managed("a", numbers(0..1).schema())
        .await
        .unwrap();
    let empty = f
        .tables
        .provider(&managed("a"), &f.session.state())
        .await
        .unwrap();
    assert_eq!(empty.schema().fields().len(), 2);
    assert_eq!(
        f.tables
            .append("a", rows(vec![numbers(0..3), numbers(3..5)]))
            .await
            .unwrap(),
        5
    );
    assert_eq!(
        f.tables
            .append("a", rows(vec![numbers(0..0)]))
            .await
            .unwrap(),
        0
    );
    assert_eq!(f.managed("a", COUNT).await, counted(5, 10));
    let again = Fixture {
        tables: open(f.path("")).await,
        ..f
    };
    assert_eq!(
        again
            .tables
            .append("a", rows(vec![numbers(5..6)]))
            .await
            .unwrap(),
        1
    );
    assert_eq!(again.managed("a", COUNT).await, counted(6, 15));
    let shown = again.managed("a", "SELECT name FROM t WHERE i > 4").await;
    assert!(shown.contains("n5"), "{shown}");
    let snapshot = again.tables.snapshot(&managed("a")).await.unwrap();
    assert_eq!(
        (snapshot.format.as_str(), snapshot.version),
        ("delta", Some(2))
    );
    assert_eq!(snapshot.files.len(), 2);
    assert!(
        snapshot
            .files
            .iter()
            .all(|file| file.bytes > 0 && file.modified_ms > 0)
    );
    let (_, pinned) = again
        .tables
        .pinned_provider(&managed("a"), &again.session.state())
        .await
        .unwrap();
    assert_eq!(pinned, snapshot);
}

#[tokio::test]
async fn a_table_made_of_a_query_is_one_step() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    let n_rows = f
        .tables
        .create_managed_from("a", schema, rows(vec![numbers(0..4)]))
        .await
        .unwrap();
    assert_eq!(n_rows, 4);
    assert_eq!(f.managed("a", COUNT).await, counted(4, 6));
    let provider = f
        .tables
        .provider(&managed("a"), &f.session.state())
        .await
        .unwrap();
    assert!(
        provider
            .schema()
            .fields()
            .iter()
            .all(|field| field.is_nullable())
    );
    assert_eq!(provider.schema().field(0).data_type(), &DataType::Int64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_appends_all_land() {
    let f = fixture().await;
    f.tables
        .create_managed("a", numbers(0..1).schema())
        .await
        .unwrap();
    // Half of the writers share a server, each of the others is one of its own.
    let mut tasks = tokio::task::JoinSet::new();
    for i in 0..8 {
        let shared = (i % 2 == 0).then(|| Arc::clone(&f.tables));
        let path = f.path("");
        tasks.spawn(async move {
            let tables = match shared {
                Some(tables) => tables,
                None => open(path).await,
            };
            for j in 0..5 {
                let start = (i * 5 + j) * 10;
                let n = tables
                    .append("a", rows(vec![numbers(start..start + 10)]))
                    .await
                    .unwrap();
                assert_eq!(n, 10);
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(f.managed("a", COUNT).await, counted(400, 399 * 200));
    assert_eq!(
        f.tables.snapshot(&managed("a")).await.unwrap().version,
        Some(40)
    );
}

/// The log gets a checkpoint every 100 versions; reading goes on across it.
#[tokio::test]
async fn many_commits_stay_readable() {
    let f = fixture().await;
    f.tables
        .create_managed("a", numbers(0..1).schema())
        .await
        .unwrap();
    for i in 0..105 {
        f.tables
            .append("a", rows(vec![numbers(i..i + 1)]))
            .await
            .unwrap();
    }
    assert!(f.path("tables/a/_delta_log/_last_checkpoint").exists());
    let again = Fixture {
        tables: open(f.path("")).await,
        ..f
    };
    assert_eq!(again.managed("a", COUNT).await, counted(105, 104 * 105 / 2));
}

#[tokio::test]
async fn a_failed_append_shows_nothing() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    f.tables
        .create_managed("a", Arc::clone(&schema))
        .await
        .unwrap();
    let failing = || {
        let error = DataFusionError::Execution("division by zero".into());
        stream(vec![Ok(numbers(0..3)), Err(error)], numbers(0..1).schema())
    };
    let error = f.tables.append("a", failing()).await.unwrap_err();
    assert!(matches!(error, Error::DataFusion { .. }), "{error:?}");
    assert!(error.to_string().contains("division by zero"));
    assert_eq!(
        f.managed("a", "SELECT count(*) AS n, coalesce(sum(i), 0) AS s FROM t")
            .await,
        counted(0, 0)
    );
    assert_eq!(
        f.tables.snapshot(&managed("a")).await.unwrap().version,
        Some(0)
    );
    let error = f
        .tables
        .create_managed_from("b", schema, failing())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("division by zero"));
    assert!(!f.path("tables/b").exists(), "nothing is left of the table");
}

#[tokio::test]
async fn an_abandoned_append_shows_nothing() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    f.tables
        .create_managed("a", Arc::clone(&schema))
        .await
        .unwrap();
    let endless = futures::stream::repeat_with(|| Ok(numbers(0..1000)));
    let endless = Box::pin(RecordBatchStreamAdapter::new(schema, endless));
    let append = f.tables.append("a", endless);
    let cancelled = tokio::time::timeout(std::time::Duration::from_millis(50), append).await;
    assert!(cancelled.is_err());
    assert_eq!(
        f.managed("a", "SELECT count(*) AS n, coalesce(sum(i), 0) AS s FROM t")
            .await,
        counted(0, 0)
    );
}

#[tokio::test]
async fn not_null_and_ranges_are_checked() {
    let f = fixture().await;
    let schema = Arc::new(Schema::new(vec![Field::new("i", DataType::Int16, false)]));
    f.tables.create_managed("a", schema).await.unwrap();
    let one = |values: Vec<Option<i64>>| {
        let column: ArrayRef = Arc::new(Int64Array::from(values));
        rows(vec![RecordBatch::try_from_iter([("x", column)]).unwrap()])
    };
    let null = f
        .tables
        .append("a", one(vec![Some(1), None]))
        .await
        .unwrap_err();
    assert_eq!(null.sqlstate(), "23502");
    let big = f
        .tables
        .append("a", one(vec![Some(70_000)]))
        .await
        .unwrap_err();
    assert_eq!(big.sqlstate(), "22003");
    let count = f
        .tables
        .append("a", rows(vec![numbers(0..1)]))
        .await
        .unwrap_err();
    assert_eq!(count.sqlstate(), "42804");
    assert_eq!(f.tables.append("a", one(vec![Some(7)])).await.unwrap(), 1);
    assert_eq!(f.managed("a", COUNT).await, counted(1, 7));
}

#[tokio::test]
async fn the_types_of_queries_can_be_stored() {
    let f = fixture().await;
    let query = "SELECT arrow_cast(7, 'UInt32') AS u, arrow_cast('x', 'Utf8View') AS v, \
        arrow_cast('y', 'Dictionary(Int32, Utf8)') AS d, NULL AS n, \
        TIMESTAMP '2026-01-02T03:04:05.123456' AS ts, \
        arrow_cast('2026-01-02T03:04:05+02:00', 'Timestamp(Nanosecond, Some(\"+02:00\"))') AS tz, \
        DATE '2026-01-02' AS day, 1.50::decimal(10, 2) AS money, true AS yes, \
        arrow_cast('z', 'Binary') AS bytes, make_array(1, NULL) AS list, \
        named_struct('a', 1, 'b c', 'x') AS both, 2.5::real AS f, \
        row_number() OVER () AS \"count(*) of é, now\"";
    let data = f.session.sql(query).await.unwrap();
    let schema = Arc::new(data.schema().as_arrow().clone());
    let stream = data.execute_stream().await.unwrap();
    assert_eq!(
        f.tables
            .create_managed_from("a", schema, stream)
            .await
            .unwrap(),
        1
    );
    let shown = f.managed("a", "SELECT * FROM t").await;
    let expected = "| 7 | x | y |   | 2026-01-02T03:04:05.123456 | 2026-01-02T01:04:05Z | \
        2026-01-02 | 1.50  | true | 7a    | [1, ] | {a: 1, b c: x} | 2.5 | 1                  |";
    assert!(shown.contains(expected), "{shown}");
}

#[tokio::test]
async fn a_type_that_cannot_be_stored_leaves_no_table() {
    let f = fixture().await;
    let time = DataType::Time64(datafusion::arrow::datatypes::TimeUnit::Nanosecond);
    let schema = Arc::new(Schema::new(vec![Field::new("at", time, true)]));
    let error = f.tables.create_managed("a", schema).await.unwrap_err();
    assert_eq!(error.sqlstate(), "0A000");
    assert!(!f.path("tables/a").exists());
}

#[tokio::test]
async fn a_removed_table_is_gone() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    f.tables
        .create_managed_from("a", schema, rows(vec![numbers(0..4)]))
        .await
        .unwrap();
    f.tables.remove_managed("a").await.unwrap();
    f.tables.remove_managed("a").await.unwrap();
    assert!(!f.path("tables/a").exists());
    let gone = f
        .tables
        .provider(&managed("a"), &f.session.state())
        .await
        .unwrap_err();
    assert_eq!(gone.sqlstate(), "42P01");
    let gone = f
        .tables
        .append("a", rows(vec![numbers(0..1)]))
        .await
        .unwrap_err();
    assert_eq!(gone.sqlstate(), "42P01");
}

#[tokio::test]
async fn a_full_disk_is_said() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    f.tables
        .create_managed("a", Arc::clone(&schema))
        .await
        .unwrap();
    let warehouse = Warehouse::open(f.path("").to_str().unwrap()).await.unwrap();
    let full = FullStore(Arc::clone(warehouse.root_store()));
    let warehouse = warehouse.with_stores(Arc::clone(warehouse.store()), Arc::new(full));
    let locations = Arc::new(Locations::new(&warehouse, &[]).unwrap());
    let tables = Tables::new(warehouse, locations);
    let error = tables
        .append("a", rows(vec![numbers(0..3)]))
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), "53100", "{error:?}");
    let error = tables
        .create_managed_from("b", schema, rows(vec![numbers(0..3)]))
        .await;
    assert_eq!(error.unwrap_err().sqlstate(), "53100");
    assert_eq!(
        f.tables.snapshot(&managed("a")).await.unwrap().version,
        Some(0)
    );
}

#[tokio::test]
async fn views_and_models_are_not_tables() {
    let f = fixture().await;
    let view = ViewDefinition {
        text: "SELECT 1".into(),
        columns: vec![],
        dialect: "pg".into(),
    };
    let view = CatalogEntry::new("public", "v", Definition::View(view));
    let error = f
        .tables
        .provider(&view, &f.session.state())
        .await
        .unwrap_err();
    assert_eq!(error.to_string(), "\"v\" is a view, not a table");
    assert_eq!(
        f.tables.snapshot(&view).await.unwrap_err().sqlstate(),
        "42809"
    );
}

#[tokio::test]
async fn files_are_read_by_their_names() {
    let f = fixture().await;
    f.write_parquet("a.parquet", "SELECT 1 AS x, 'é' AS y")
        .await;
    f.write("a.csv", "x,y\n1,é\n");
    f.write("a.tsv", "x\ty\n1\té\n");
    f.write("a.ndjson", "{\"x\": 1, \"y\": \"é\"}\n");
    f.write("a.json", " [{\"x\": 1, \"y\": \"é\"}]");
    f.write("b c%20.csv", "x,y\n1,é\n");
    for file in [
        "a.parquet",
        "a.csv",
        "a.tsv",
        "a.ndjson",
        "a.json",
        "b c%20.csv",
    ] {
        let shown = f.file(file, "SELECT x, y FROM t").await;
        assert!(shown.contains("| 1 | é |"), "{file}:\n{shown}");
    }
}

#[tokio::test]
async fn folders_are_read_as_one_table() {
    let f = fixture().await;
    f.write_parquet("p/a.parquet", "SELECT 1 AS i").await;
    f.write_parquet("p/sub/b.parquet", "SELECT 2 AS i").await;
    f.write("c/a.csv", "i\n1\n");
    f.write("c/b.csv", "i\n2\n");
    f.write("c/README.txt", "not data");
    f.write("n/a.json", "{\"i\": 1}\n{\"i\": 2}\n");
    for folder in ["p", "c", "n/"] {
        let count = f
            .file(folder, "SELECT count(*) AS n, sum(i) AS s FROM t")
            .await;
        assert_eq!(count, counted(2, 3), "{folder}");
    }
    // New files show at the next statement, and what writers hide does not.
    f.write_parquet("p/c.parquet", "SELECT 4 AS i").await;
    f.write_parquet("p/_old/d.parquet", "SELECT 100 AS i").await;
    f.write_parquet("p/.e.parquet", "SELECT 100 AS i").await;
    assert_eq!(f.file("p", COUNT).await, counted(3, 7));
    std::fs::remove_file(f.path("p/a.parquet")).unwrap();
    assert_eq!(f.file("p", COUNT).await, counted(2, 6));
    let snapshot = f.tables.file_snapshot("p").await.unwrap();
    let paths: Vec<&str> = snapshot
        .files
        .iter()
        .map(|file| file.path.as_str())
        .collect();
    assert_eq!(paths, ["c.parquet", "sub/b.parquet"]);
    assert_eq!(
        (snapshot.format.as_str(), snapshot.version),
        ("parquet", None)
    );
    assert!(snapshot.files[0].e_tag.is_some());
}

#[tokio::test]
async fn partitions_are_columns() {
    let f = fixture().await;
    f.write_parquet("h/year=2025/kind=a/x.parquet", "SELECT 1 AS i")
        .await;
    f.write_parquet("h/year=2026/kind=b/y.parquet", "SELECT 2 AS i")
        .await;
    let shown = f
        .file("h", "SELECT i, year + 1 AS next, kind FROM t ORDER BY i")
        .await;
    assert!(shown.contains("| 1 | 2026 | a    |"), "{shown}");
    let pruned = f.file("h", "SELECT i FROM t WHERE year = 2026").await;
    assert!(
        pruned.contains("| 2 |") && !pruned.contains("| 1 |"),
        "{pruned}"
    );
    // The schema that CREATE EXTERNAL TABLE keeps gives the same table again.
    let mut kept = f.tables.file_definition("h").await.unwrap();
    let url = Url::parse(&kept.location).unwrap();
    let state = f.session.state();
    let schema = f
        .tables
        .infer_external(&url, kept.format, &kept.options, &state)
        .await
        .unwrap();
    kept.schema = Some(columns_of(&schema));
    kept.partition_columns = vec!["year".into(), "kind".into()];
    let provider = f.tables.provider(&entry(kept), &state).await.unwrap();
    assert_eq!(columns_of(&provider.schema()), columns_of(&schema));
    f.write_parquet("h/loose.parquet", "SELECT 3 AS i").await;
    let error = f.file_error("h").await;
    assert!(matches!(&error, Error::MixedPartitions { .. }), "{error:?}");
}

#[tokio::test]
async fn csv_options_are_obeyed() {
    let f = fixture().await;
    f.write("a.data", "1;'x;y';NA\n2;'it\\'s';3\n");
    let mut definition = external(&f, "a.data", ExternalFormat::Csv);
    for (option, value) in [
        ("header", "false"),
        ("delimiter", ";"),
        ("quote", "'"),
        ("escape", "\\"),
        ("null", "NA"),
    ] {
        definition.options.insert(option.into(), value.into());
    }
    let state = f.session.state();
    let provider = f
        .tables
        .provider(&entry(definition.clone()), &state)
        .await
        .unwrap();
    assert_eq!(provider.schema().field(2).data_type(), &DataType::Int64);
    let shown = f.show("SELECT * FROM t", Ok(provider)).await;
    assert!(shown.contains("| x;y      |          |"), "{shown}");
    assert!(shown.contains("| it's     | 3        |"), "{shown}");
    // Declared columns rename and retype those of the file.
    definition.schema = Some(columns_of(&Schema::new(vec![
        Field::new("id", DataType::Utf8, true),
        Field::new("text", DataType::Utf8, true),
        Field::new("number", DataType::Float64, true),
    ])));
    let provider = f.tables.provider(&entry(definition), &state).await;
    let shown = f.show("SELECT id, number FROM t", provider).await;
    assert!(shown.contains("| 2  | 3.0    |"), "{shown}");
}

#[tokio::test]
async fn quoted_line_breaks_and_compression_are_read() {
    let f = fixture().await;
    f.write("a.csv", "x,y\n1,\"two\nlines\"\n2,b\n");
    let shown = f.file("a.csv", "SELECT count(*) AS n FROM t").await;
    assert!(shown.contains("| 2 |"), "{shown}");
    let rows = f.session.sql("SELECT 5 AS i").await.unwrap();
    let target = f.path("z.csv.gz");
    rows.write_csv(
        target.to_str().unwrap(),
        DataFrameWriteOptions::new().with_single_file_output(true),
        Some(datafusion::common::config::CsvOptions {
            compression: datafusion::common::parsers::CompressionTypeVariant::GZIP,
            has_header: Some(true),
            ..Default::default()
        }),
    )
    .await
    .unwrap();
    assert_eq!(f.file("z.csv.gz", COUNT).await, counted(1, 5));
}

#[tokio::test]
async fn a_bad_location_is_a_clear_error() {
    let f = fixture().await;
    std::fs::create_dir_all(f.path("empty")).unwrap();
    f.write("mixed/a.csv", "x\n1\n");
    f.write("mixed/b.parquet", "");
    f.write("zero.csv", "");
    f.write("notes.txt", "hello");
    f.write(
        "bad.parquet",
        "this is not parquet, though long enough to have a footer",
    );
    f.write("delta/_delta_log/00000000000000000000.json", "{}");
    f.write("delta/x.parquet", "");
    for (path, code) in [
        ("none.csv", "58P01"),
        ("empty", "58P01"),
        ("mixed", "22023"),
        ("zero.csv", "42P16"),
        ("notes.txt", "22023"),
        ("delta", "0A000"),
        ("../x.csv", "42501"),
        ("catalog", "42501"),
        ("s3://bucket/x.csv", "0A000"),
    ] {
        let error = f.file_error(path).await;
        assert_eq!(error.sqlstate(), code, "{path}: {error}");
    }
    let error = f.file_error("empty").await;
    assert!(
        error
            .to_string()
            .contains("/warehouse/empty/\" holds no parquet, csv or ndjson")
    );
    let error = f.file_error("bad.parquet").await;
    assert!(matches!(error, Error::DataFusion { .. }), "{error:?}");
    // The format of a mixed folder can be said.
    let mixed = external(&f, "mixed", ExternalFormat::Csv);
    let mixed = f.tables.provider(&entry(mixed), &f.session.state()).await;
    assert!(f.show("SELECT * FROM t", mixed).await.contains("| 1 |"));
}

#[tokio::test]
async fn links_in_a_folder_do_not_escape() {
    let f = fixture().await;
    std::fs::write(f.dir.path().join("secret.csv"), "x\n1\n").unwrap();
    f.write("d/a.csv", "x\n1\n");
    std::os::unix::fs::symlink(f.dir.path().join("secret.csv"), f.path("d/b.csv")).unwrap();
    assert_eq!(f.file_error("d").await.sqlstate(), "42501");
    std::fs::remove_file(f.path("d/b.csv")).unwrap();
    std::fs::create_dir(f.dir.path().join("outside")).unwrap();
    std::fs::write(f.dir.path().join("outside/c.csv"), "x\n1\n").unwrap();
    std::os::unix::fs::symlink(f.dir.path().join("outside"), f.path("d/out")).unwrap();
    assert_eq!(f.file_error("d").await.sqlstate(), "42501");
    // A link to a folder above itself ends in an error, too.
    std::fs::remove_file(f.path("d/out")).unwrap();
    std::os::unix::fs::symlink(f.dir.path(), f.path("d/up")).unwrap();
    assert_eq!(f.file_error("d").await.sqlstate(), "58030");
}

#[tokio::test]
async fn what_is_no_longer_allowed_is_refused() {
    let f = fixture().await;
    let outside = f.dir.path().join("outside.csv");
    std::fs::write(&outside, "x\n1\n").unwrap();
    let mut definition = external(&f, "x", ExternalFormat::Csv);
    definition.location = Url::from_file_path(&outside).unwrap().to_string();
    let state = f.session.state();
    let error = f
        .tables
        .provider(&entry(definition.clone()), &state)
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), "42501");
    let warehouse = Warehouse::open(f.path("").to_str().unwrap()).await.unwrap();
    let allowed = [f.dir.path().to_str().unwrap().to_owned()];
    let locations = Arc::new(Locations::new(&warehouse, &allowed).unwrap());
    let tables = Tables::new(warehouse, locations);
    tables.provider(&entry(definition), &state).await.unwrap();
}

#[tokio::test]
async fn unsigned_values_keep_their_range() {
    let f = fixture().await;
    let column: ArrayRef = Arc::new(UInt32Array::from(vec![u32::MAX]));
    let batch = RecordBatch::try_from_iter([("i", column)]).unwrap();
    f.tables
        .create_managed_from("a", batch.schema(), rows(vec![batch]))
        .await
        .unwrap();
    assert_eq!(f.managed("a", COUNT).await, counted(1, i64::from(u32::MAX)));
}
