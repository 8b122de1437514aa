//! Managed tables: what is written is read, after a restart and by others at the same time, or not at all.

use datafusion::arrow::array::{Date32Array, UInt32Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use super::*;
use crate::catalog::ViewDefinition;
use crate::full_store::FullStore;

fn stream(
    batches: Vec<Result<RecordBatch, DataFusionError>>,
    schema: SchemaRef,
) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(
        schema,
        futures::stream::iter(batches),
    ))
}

pub(super) fn rows(batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let schema = batches[0].schema();
    stream(batches.into_iter().map(Ok).collect(), schema)
}

/// The library that writes a table's statistics panics at such a date.
#[tokio::test]
async fn dates_far_away_are_refused_before_anything_is_written() {
    let f = fixture().await;
    let dates = |days: i32| {
        let column: ArrayRef = Arc::new(Date32Array::from(vec![None, Some(days)]));
        RecordBatch::try_from_iter_with_nullable([("d", column, true)]).unwrap()
    };
    f.create("a", dates(0).schema()).await.unwrap();
    let refused = f
        .append("a", rows(vec![dates(0), dates(110_000_000)]))
        .await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.sqlstate(), "22008");
    assert_eq!(refused.to_string(), "date out of range: \"303139-10-10\"");
    assert_eq!(refused.place().column.as_deref(), Some("d"));
    let found = f.managed("a", "SELECT count(*) FROM t").await;
    assert!(found.contains("| 0 "), "{found}");
    f.append("a", rows(vec![dates(95_026_236)])).await.unwrap();
}

#[tokio::test]
async fn rows_are_there_after_a_restart() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    let empty = f
        .tables
        .provider(&managed("a"), &f.session.state())
        .await
        .unwrap();
    assert_eq!(empty.schema().fields().len(), 2);
    assert_eq!(
        f.append("a", rows(vec![numbers(0..3), numbers(3..5)]))
            .await
            .unwrap(),
        5
    );
    assert_eq!(f.append("a", rows(vec![numbers(0..0)])).await.unwrap(), 0);
    assert_eq!(f.managed("a", COUNT).await, counted(5, 10));
    let again = Fixture {
        tables: open(f.path("")).await,
        ..f
    };
    assert_eq!(
        again.append("a", rows(vec![numbers(5..6)])).await.unwrap(),
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
        .create_from("a", schema, rows(vec![numbers(0..4)]))
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
    f.create("a", numbers(0..1).schema()).await.unwrap();
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
                let n = append_to(&tables, "a", rows(vec![numbers(start..start + 10)]))
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

/// The log gets a checkpoint every 20 versions; reading goes on across it.
#[tokio::test]
async fn many_commits_stay_readable() {
    let f = fixture().await;
    f.create("a", numbers(0..1).schema()).await.unwrap();
    for i in 0..45 {
        f.append("a", rows(vec![numbers(i..i + 1)])).await.unwrap();
    }
    assert!(f.path("tables/a/_delta_log/_last_checkpoint").exists());
    let again = Fixture {
        tables: open(f.path("")).await,
        ..f
    };
    assert_eq!(again.managed("a", COUNT).await, counted(45, 44 * 45 / 2));
}

#[tokio::test]
async fn a_failed_append_shows_nothing() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    f.create("a", Arc::clone(&schema)).await.unwrap();
    let failing = || {
        let error = DataFusionError::Execution("division by zero".into());
        stream(vec![Ok(numbers(0..3)), Err(error)], numbers(0..1).schema())
    };
    let error = f.append("a", failing()).await.unwrap_err();
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
    let error = f.create_from("b", schema, failing()).await.unwrap_err();
    assert!(error.to_string().contains("division by zero"));
    assert!(!f.path("tables/b").exists(), "nothing is left of the table");
}

#[tokio::test]
async fn an_abandoned_append_shows_nothing() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    f.create("a", Arc::clone(&schema)).await.unwrap();
    let endless = futures::stream::repeat_with(|| Ok(numbers(0..1000)));
    let endless = Box::pin(RecordBatchStreamAdapter::new(schema, endless));
    let append = f.append("a", endless);
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
    f.create("a", schema).await.unwrap();
    let one = |values: Vec<Option<i64>>| {
        let column: ArrayRef = Arc::new(Int64Array::from(values));
        rows(vec![RecordBatch::try_from_iter([("x", column)]).unwrap()])
    };
    let null = f.append("a", one(vec![Some(1), None])).await.unwrap_err();
    assert_eq!(null.sqlstate(), "23502");
    let big = f.append("a", one(vec![Some(70_000)])).await.unwrap_err();
    assert_eq!(big.sqlstate(), "22003");
    let count = f.append("a", rows(vec![numbers(0..1)])).await.unwrap_err();
    assert_eq!(count.sqlstate(), "42804");
    assert_eq!(f.append("a", one(vec![Some(7)])).await.unwrap(), 1);
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
    assert_eq!(f.create_from("a", schema, stream).await.unwrap(), 1);
    let shown = f.managed("a", "SELECT * FROM t").await;
    let expected = "| 7 | x | y |   | 2026-01-02T03:04:05.123456 | 2026-01-02T01:04:05Z | \
        2026-01-02 | 1.50  | true | 7a    | [1, ] | {a: 1, b c: x} | 2.5 | 1                  |";
    assert!(shown.contains(expected), "{shown}");
}

#[tokio::test]
async fn times_and_intervals_are_numbers_and_texts_in_files() {
    let f = fixture().await;
    let query = "SELECT TIME '10:00:00' AS at, INTERVAL '14 months -3 days 1.5 seconds' AS long \
        UNION ALL SELECT TIME '23:59:59.999999', NULL ORDER BY at";
    let data = f.session.sql(query).await.unwrap();
    let schema = Arc::new(data.schema().as_arrow().clone());
    let stream = data.execute_stream().await.unwrap();
    assert_eq!(f.create_from("a", schema, stream).await.unwrap(), 2);
    let shown = f.managed("a", "SELECT * FROM t ORDER BY at").await;
    assert!(
        shown.contains("| 10:00:00        | 14 mons -3 days 1.500000000 secs |"),
        "{shown}"
    );
    for filter in [
        "at < '10:00:01'",
        "at = '10:00:00'",
        "long = INTERVAL '14 months -3 days 1.5 seconds'",
    ] {
        let count = f
            .managed("a", &format!("SELECT count(*) AS n FROM t WHERE {filter}"))
            .await;
        assert!(count.contains("| 1 |"), "{filter}: {count}");
    }
    let log =
        std::fs::read_to_string(f.path("tables/a/_delta_log/00000000000000000000.json")).unwrap();
    assert!(
        log.contains(r#"auspex.time"#) && log.contains(r#"auspex.interval"#),
        "{log}"
    );
    let added = std::fs::read_to_string(f.path("tables/a/_delta_log/00000000000000000001.json"));
    let log = added.map_or(log.clone(), |added| log + &added);
    assert!(
        log.contains("86399999999") && !log.contains("1 years 2 months"),
        "{log}"
    );
}

#[tokio::test]
async fn a_type_that_cannot_be_stored_leaves_no_table() {
    let f = fixture().await;
    let time = DataType::Time64(datafusion::arrow::datatypes::TimeUnit::Nanosecond);
    let times = DataType::List(Arc::new(Field::new_list_field(time, true)));
    let schema = Arc::new(Schema::new(vec![Field::new("at", times, true)]));
    let error = f.create("a", schema).await.unwrap_err();
    assert_eq!(error.sqlstate(), "0A000");
    assert!(!f.path("tables/a").exists());
}

#[tokio::test]
async fn a_removed_table_is_gone() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    f.create_from("a", schema, rows(vec![numbers(0..4)]))
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
    let gone = f.append("a", rows(vec![numbers(0..1)])).await.unwrap_err();
    assert_eq!(gone.sqlstate(), "42P01");
}

#[tokio::test]
async fn a_full_disk_is_said() {
    let f = fixture().await;
    let schema = numbers(0..1).schema();
    f.create("a", Arc::clone(&schema)).await.unwrap();
    let warehouse = Warehouse::open(f.path("").to_str().unwrap()).await.unwrap();
    let full = FullStore::over(warehouse.root_store());
    let warehouse = warehouse.with_stores(Arc::clone(warehouse.store()), full);
    let locations = Arc::new(Locations::new(&warehouse, &[]).unwrap());
    let tables = Tables::new(warehouse, locations);
    let error = append_to(&tables, "a", rows(vec![numbers(0..3)]))
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), "53100", "{error:?}");
    let rows = vec![rows(vec![numbers(0..3)])];
    let error = tables
        .create_managed_from("b", &TableShape::new(&schema), rows)
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
        default_schema: None,
        search_path: vec![],
        objects: vec![],
        security_barrier: false,
        check_option: None,
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
async fn unsigned_values_keep_their_range() {
    let f = fixture().await;
    let column: ArrayRef = Arc::new(UInt32Array::from(vec![u32::MAX]));
    let batch = RecordBatch::try_from_iter([("i", column)]).unwrap();
    f.create_from("a", batch.schema(), rows(vec![batch]))
        .await
        .unwrap();
    assert_eq!(f.managed("a", COUNT).await, counted(1, i64::from(u32::MAX)));
}
