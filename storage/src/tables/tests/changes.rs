//! Changed rows, scans that leave files out, and servers that race: no row is lost, none is there twice.

use datafusion::arrow::array::{Int32Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::physical_plan::displayable;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;

use super::*;

fn rows(batch: RecordBatch) -> SendableRecordBatchStream {
    let schema = batch.schema();
    let batches = futures::stream::iter([Ok(batch)]);
    Box::pin(RecordBatchStreamAdapter::new(schema, batches))
}

/// Changes as (action, file, row, new number).
pub(super) fn changes(changes: &[(RowAction, i64, i64, i64)]) -> SendableRecordBatchStream {
    let names: StringArray = changes.iter().map(|_| Some("changed")).collect();
    let column = |pick: fn(&(RowAction, i64, i64, i64)) -> i64| -> ArrayRef {
        Arc::new(Int64Array::from_iter_values(changes.iter().map(pick)))
    };
    let actions = changes.iter().map(|change| change.0 as i32);
    let columns: [(&str, ArrayRef); 5] = [
        ("action", Arc::new(Int32Array::from_iter_values(actions))),
        ("file", column(|change| change.1)),
        ("row", column(|change| change.2)),
        ("i", column(|change| change.3)),
        ("name", Arc::new(names)),
    ];
    rows(RecordBatch::try_from_iter(columns).unwrap())
}

fn options(repeated: Repeated) -> RewriteOptions {
    RewriteOptions {
        checks: Arc::default(),
        repeated,
        operation: "UPDATE",
        predicate: None,
        changes_keys: true,
    }
}

async fn filled() -> Fixture {
    let f = fixture().await;
    f.create("t", numbers(0..1).schema()).await.unwrap();
    for start in [0, 10] {
        f.append("t", rows(numbers(start..start + 10)))
            .await
            .unwrap();
    }
    f
}

impl Fixture {
    async fn apply(
        &self,
        rewrite: &Rewrite,
        of: &[(RowAction, i64, i64, i64)],
    ) -> Result<ChangeCounts> {
        let options = options(Repeated::Refused);
        let state = self.session.state();
        rewrite.apply(changes(of), &options, &state).await
    }
}

#[tokio::test]
async fn rows_change_by_their_address() {
    let f = filled().await;
    let rewrite = f.tables.rewrite("t").await.unwrap();
    let counts = f
        .apply(
            &rewrite,
            &[
                (RowAction::Update, 0, 3, 103),
                (RowAction::Delete, 0, 9, 0),
                (RowAction::Insert, 0, 0, 200),
                (RowAction::Keep, 1, 1, 0),
            ],
        )
        .await
        .unwrap();
    drop(rewrite);
    let expected = ChangeCounts {
        inserted: 1,
        updated: 1,
        deleted: 1,
    };
    assert_eq!(counts, expected);
    let sum: i64 = (0..20).sum::<i64>() - 3 + 103 - 9 + 200;
    assert_eq!(f.managed("t", COUNT).await, counted(20, sum));
    let shown = f.managed("t", "SELECT name FROM t WHERE i = 103").await;
    assert!(shown.contains("changed"), "{shown}");
    let old = managed("t");
    let old = f.tables.pinned_version(&old, VersionSpec::Number(2)).await;
    assert_eq!(
        f.show(COUNT, old.map(|old| old.0)).await,
        counted(20, (0..20).sum())
    );
}

#[tokio::test]
async fn a_row_that_two_changes_meet() {
    let f = filled().await;
    let twice = [(RowAction::Update, 1, 0, 50), (RowAction::Update, 1, 0, 60)];
    let rewrite = f.tables.rewrite("t").await.unwrap();
    let error = f.apply(&rewrite, &twice).await.unwrap_err();
    assert_eq!(error.sqlstate(), "21000");
    assert!(error.hint().is_some());
    let state = f.session.state();
    let counts = rewrite
        .apply(changes(&twice), &options(Repeated::FirstWins), &state)
        .await
        .unwrap();
    assert_eq!(counts.updated, 1);
    drop(rewrite);
    assert_eq!(
        f.managed("t", COUNT).await,
        counted(20, (0..20).sum::<i64>() - 10 + 50)
    );
}

fn data_files(f: &Fixture) -> usize {
    let files = std::fs::read_dir(f.path("tables/t")).unwrap();
    let names = files.map(|file| file.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".parquet"))
        .count()
}

#[tokio::test]
async fn two_servers_never_lose_an_update() {
    let f = filled().await;
    let other = Fixture {
        tables: open(f.path("")).await,
        dir: tempfile::tempdir().unwrap(),
        session: SessionContext::new(),
    };
    let mine = f.tables.rewrite("t").await.unwrap();
    let theirs = other.tables.rewrite("t").await.unwrap();
    f.apply(&mine, &[(RowAction::Update, 0, 0, 1000)])
        .await
        .unwrap();
    let n_files = data_files(&f);
    let error = other
        .apply(&theirs, &[(RowAction::Update, 0, 1, 1000)])
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), "40001", "{error:?}");
    assert_eq!(data_files(&f), n_files, "the loser leaves no files");
    drop((mine, theirs));
    // Appended rows do not disturb.
    let mine = f.tables.rewrite("t").await.unwrap();
    other.append("t", rows(numbers(20..21))).await.unwrap();
    f.apply(&mine, &[(RowAction::Delete, 0, 0, 0)])
        .await
        .unwrap();
    drop(mine);
    let n_rows = f.managed("t", "SELECT count(*) AS n FROM t").await;
    assert!(n_rows.contains("20"), "{n_rows}");
    // Files that were put together are no more the ones that were read.
    let mine = f.tables.rewrite("t").await.unwrap();
    let state = other.session.state();
    let done = other
        .tables
        .optimize("t", &OptimizeOptions::default(), &state)
        .await
        .unwrap();
    assert!(done.removed > 1 && done.added == 1, "{done:?}");
    let error = f
        .apply(&mine, &[(RowAction::Delete, 0, 0, 0)])
        .await
        .unwrap_err();
    assert_eq!(error.sqlstate(), "40001", "{error:?}");
    drop(mine);
    assert_eq!(f.managed("t", "SELECT count(*) AS n FROM t").await, n_rows);
}

#[tokio::test]
async fn rows_that_nothing_matched_are_not_added_beside_those_of_others() {
    let f = filled().await;
    let other = open(f.path("")).await;
    let mine = f.tables.rewrite("t").await.unwrap();
    let theirs = other.rewrite("t").await.unwrap();
    let of = [(RowAction::Insert, 0, 0, 30)];
    f.apply(&mine, &of).await.unwrap();
    // Nothing that it has read was removed, but it did not see the row.
    let (merging, state) = (options(Repeated::Refused), f.session.state());
    let lost = theirs.apply(changes(&of), &merging, &state).await;
    assert_eq!(lost.unwrap_err().sqlstate(), "40001");
    drop((mine, theirs));
    let sum: i64 = (0..20).sum::<i64>() + 30;
    assert_eq!(f.managed("t", COUNT).await, counted(21, sum));
}

#[tokio::test]
async fn rows_of_one_server_wait_for_each_other() {
    let f = filled().await;
    let first = f.tables.rewrite("t").await.unwrap();
    let tables = Arc::clone(&f.tables);
    let second = tokio::spawn(async move { tables.rewrite("t").await });
    f.apply(&first, &[(RowAction::Delete, 0, 0, 0)])
        .await
        .unwrap();
    assert!(!second.is_finished());
    drop(first);
    let second = second.await.unwrap().unwrap();
    f.apply(&second, &[(RowAction::Delete, 0, 0, 0)])
        .await
        .unwrap();
    assert!(f.managed("t", COUNT).await.contains("18"));
}

#[tokio::test]
async fn a_definition_that_changed_is_noticed() {
    let f = filled().await;
    let shape = f.tables.shape("t").await.unwrap();
    let mut wider = shape.clone();
    wider
        .add_column(Field::new("more", DataType::Int32, true))
        .unwrap();
    let rewrite = f.tables.rewrite("t").await.unwrap();
    rewrite
        .redefine(&wider, None, TableOperation::Columns)
        .await
        .unwrap();
    drop(rewrite);
    let late = f
        .tables
        .append("t", &shape, vec![rows(numbers(0..1))], Arc::default());
    assert_eq!(late.await.unwrap_err().sqlstate(), "40001");
    assert_eq!(f.tables.shape("t").await.unwrap(), wider);
    let shown = f.managed("t", "SELECT count(*), count(more) FROM t").await;
    assert!(shown.contains("20") && shown.contains('0'), "{shown}");
}

async fn plan(f: &Fixture, query: &str) -> String {
    let state = f.session.state();
    let provider = f.tables.provider(&managed("t"), &state).await.unwrap();
    let _ = f.session.deregister_table("t").unwrap();
    f.session.register_table("t", provider).unwrap();
    let plan = f
        .session
        .sql(query)
        .await
        .unwrap()
        .create_physical_plan()
        .await
        .unwrap();
    displayable(plan.as_ref()).indent(true).to_string()
}

#[tokio::test]
async fn files_are_left_out_before_they_are_opened() {
    let f = filled().await;
    let all = plan(&f, "SELECT * FROM t").await;
    assert_eq!(all.matches(".parquet").count(), 2, "{all}");
    assert!(all.contains("DataSourceExec"), "{all}");
    let one = plan(&f, "SELECT * FROM t WHERE i > 14").await;
    assert_eq!(one.matches(".parquet").count(), 1, "{one}");
    let none = plan(&f, "SELECT * FROM t WHERE i = 99").await;
    assert!(none.contains("EmptyExec"), "{none}");
    // What the log knows is not read.
    let counted = plan(&f, "SELECT count(*), max(i) FROM t").await;
    assert!(!counted.contains(".parquet"), "{counted}");
}

#[tokio::test]
async fn partitions_decide_by_themselves() {
    let f = fixture().await;
    let mut shape = TableShape::new(&numbers(0..1).schema());
    shape.partition_columns.push("name".into());
    f.tables.create_managed("t", &shape).await.unwrap();
    f.append("t", rows(numbers(0..5))).await.unwrap();
    let two = plan(&f, "SELECT i FROM t WHERE name IN ('n1', 'n2')").await;
    assert_eq!(two.matches(".parquet").count(), 2, "{two}");
    assert!(!two.contains("FilterExec"), "{two}");
    let shown = f
        .managed("t", "SELECT i, name FROM t WHERE name = 'n3'")
        .await;
    assert!(shown.contains("| 3 | n3   |"), "{shown}");
}

#[tokio::test]
async fn rows_come_in_the_order_of_their_statements() {
    let f = fixture().await;
    f.create("t", numbers(0..1).schema()).await.unwrap();
    for start in (0..40).rev() {
        f.append("t", rows(numbers(start..start + 1)))
            .await
            .unwrap();
    }
    let mut config = SessionContext::new().copied_config();
    config = config.with_target_partitions(1);
    let f = Fixture {
        session: SessionContext::new_with_config(config),
        ..f
    };
    let shown = f.managed("t", "SELECT array_agg(i) AS a FROM t").await;
    let expected: Vec<String> = (0..40).rev().map(|i| i.to_string()).collect();
    assert!(shown.contains(&expected.join(", ")), "{shown}");
}

#[tokio::test]
async fn a_file_that_is_gone_is_an_error() {
    let f = filled().await;
    let file = f.tables.snapshot(&managed("t")).await.unwrap().files[0]
        .path
        .clone();
    std::fs::remove_file(f.path("tables/t").join(file)).unwrap();
    let state = f.session.state();
    let provider = f.tables.provider(&managed("t"), &state).await.unwrap();
    f.session.register_table("t", provider).unwrap();
    let rows = f
        .session
        .sql("SELECT sum(i) FROM t")
        .await
        .unwrap()
        .collect()
        .await;
    assert!(
        rows.unwrap_err().to_string().contains("t/"),
        "the error names the file"
    );
}
