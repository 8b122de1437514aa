//! Tables with keys: small INSERTs, in transaction blocks and outside of them.

use datafusion::arrow::array::RecordBatch;

use super::managed::rows;
use super::*;

/// A table `a` whose key is `i`, and what checks its rows.
pub(super) async fn keyed(f: &Fixture) -> (TableShape, Arc<RowChecks>) {
    let schema = numbers(0..1).schema();
    let mut shape = TableShape::new(stored_schema(&schema).unwrap().as_ref());
    shape.add_key(&Key {
        name: "a_pkey".to_owned(),
        is_primary: true,
        columns: vec!["i".to_owned()],
        ..Key::default()
    });
    f.tables.create_managed("a", &shape).await.unwrap();
    let checks = RowChecks {
        schema: "public".to_owned(),
        relation: "a".to_owned(),
        session: Some(Arc::new(f.session.state())),
        ..RowChecks::default()
    };
    // As the table's log has it.
    let shape = f.tables.shape("a").await.unwrap();
    (shape, Arc::new(checks))
}

pub(super) async fn add(
    tables: &Tables,
    (shape, checks): &(TableShape, Arc<RowChecks>),
    range: std::ops::Range<i64>,
) -> Result<u64> {
    let rows = vec![rows(vec![numbers(range)])];
    tables.append("a", shape, rows, Arc::clone(checks)).await
}

fn violated(added: Result<u64>) -> String {
    match added {
        Err(Error::KeyViolation { key, .. }) => key,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rows_of_a_block_wait_with_their_keys() {
    let f = fixture().await;
    let table = keyed(&f).await;
    add(&f.tables, &table, 0..3).await.unwrap();
    assert_eq!(violated(add(&f.tables, &table, 2..3).await), "(i)=(2)");
    let block = begin_block(&f.tables, &["a"]);
    for i in 10..60 {
        add(&block, &table, i..i + 1).await.unwrap();
    }
    assert_eq!(violated(add(&block, &table, 59..61).await), "(i)=(59)");
    assert_eq!(violated(add(&block, &table, 1..2).await), "(i)=(1)");
    // A mark writes the rows; they are still known.
    let mark = block.block_mark().await.unwrap();
    assert_eq!(violated(add(&block, &table, 30..31).await), "(i)=(30)");
    add(&block, &table, 60..61).await.unwrap();
    block.return_to(&mark).await.unwrap();
    add(&block, &table, 60..62).await.unwrap();
    block.commit_block().await.unwrap();
    assert_eq!(
        f.managed("a", COUNT).await,
        counted(55, 3 + (10..62).sum::<i64>())
    );
    let snapshot = f.tables.snapshot(&managed("a")).await.unwrap();
    assert_eq!((snapshot.version, snapshot.files.len()), (Some(2), 3));
}

#[tokio::test]
async fn a_block_looks_at_what_others_added_when_it_ends() {
    let f = fixture().await;
    let table = keyed(&f).await;
    let one = begin_block(&f.tables, &["a"]);
    let two = begin_block(&f.tables, &["a"]);
    add(&one, &table, 0..1).await.unwrap();
    add(&two, &table, 1..2).await.unwrap();
    add(&f.tables, &table, 2..3).await.unwrap();
    one.commit_block().await.unwrap();
    two.commit_block().await.unwrap();
    let late = begin_block(&f.tables, &["a"]);
    add(&late, &table, 5..6).await.unwrap();
    add(&f.tables, &table, 5..6).await.unwrap();
    let ended = late.commit_block().await.map(|()| 0);
    assert_eq!(violated(ended), "(i)=(5)");
    assert_eq!(f.managed("a", COUNT).await, counted(4, 8));
}

#[tokio::test]
async fn rows_are_left_out_or_nothing_is_done() {
    let f = fixture().await;
    let table = keyed(&f).await;
    add(&f.tables, &table, 0..3).await.unwrap();
    let told = std::sync::Mutex::new(0);
    let accept = |rows: &[RecordBatch]| {
        *told.lock().unwrap() = rows.iter().map(RecordBatch::num_rows).sum();
        Ok(())
    };
    let insert = async |tables: &Tables, on_conflict: OnConflict, range: std::ops::Range<i64>| {
        let rules = InsertRules {
            checks: &table.1,
            on_conflict: &on_conflict,
            number: None,
            accept: Some(&accept),
        };
        let rows = rows(vec![numbers(range)]);
        tables.insert_few("a", &table.0, rows, &rules).await
    };
    let any = OnConflict::LeaveOut(None);
    let added = insert(f.tables.as_ref(), any.clone(), 2..5).await.unwrap();
    assert_eq!((added, *told.lock().unwrap()), (Some(2), 2));
    let added = insert(f.tables.as_ref(), OnConflict::GiveUp, 4..6)
        .await
        .unwrap();
    assert_eq!(added, None);
    let block = begin_block(&f.tables, &["a"]);
    let added = insert(&block, OnConflict::GiveUp, 5..6).await.unwrap();
    assert_eq!(added, Some(1));
    let added = insert(&block, any, 5..7).await.unwrap();
    assert_eq!((added, *told.lock().unwrap()), (Some(1), 1));
    let other = OnConflict::LeaveOut(Some("another".to_owned()));
    let refused = insert(&block, other, 6..7).await;
    assert_eq!(violated(refused.map(|_| 0)), "(i)=(6)");
    block.commit_block().await.unwrap();
    assert_eq!(f.managed("a", COUNT).await, counted(7, 21));
}
