//! Keys of rows that change: what they are compared with, and what others may do meanwhile.

use super::changes::changes;
use super::keys::{add, keyed};
use super::*;

type Change = (RowAction, i64, i64, i64);

/// A table `a` with the keys 0 to 9 in one file and 10 to 19 in another; what checks its rows.
async fn filled(f: &Fixture) -> (TableShape, Arc<RowChecks>) {
    let table = keyed(f).await;
    for start in [0, 10] {
        let added = add(&f.tables, &table, start..start + 10).await;
        added.unwrap();
    }
    table
}

async fn apply(
    f: &Fixture,
    rewrite: &Rewrite,
    (checks, changes_keys): (&Arc<RowChecks>, bool),
    of: &[Change],
) -> Result<ChangeCounts> {
    let options = RewriteOptions {
        checks: Arc::clone(checks),
        repeated: Repeated::Refused,
        operation: "MERGE",
        predicate: None,
        changes_keys,
    };
    let state = f.session.state();
    rewrite.apply(changes(of), &options, &state).await
}

async fn refused(f: &Fixture, checks: (&Arc<RowChecks>, bool), of: &[Change]) -> String {
    let rewrite = f.tables.rewrite("a").await.unwrap();
    match apply(f, &rewrite, checks, of).await {
        Err(Error::KeyViolation { key, .. }) => key,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn new_keys_are_compared_with_each_other_and_with_rows_that_stay() {
    use RowAction::{Delete, Insert, Update};
    let f = fixture().await;
    let (_, checks) = filled(&f).await;
    let n_files = std::fs::read_dir(f.path("tables/a")).unwrap().count();
    for (of, key) in [
        (vec![(Update, 0, 3, 4)], "(i)=(4)"),
        (vec![(Update, 0, 3, 14)], "(i)=(14)"),
        (vec![(Insert, 0, 0, 14)], "(i)=(14)"),
        (vec![(Update, 0, 3, 50), (Insert, 0, 0, 50)], "(i)=(50)"),
        (vec![(Update, 0, 3, 50), (Update, 1, 3, 50)], "(i)=(50)"),
        (vec![(Delete, 0, 4, 0), (Update, 0, 3, 5)], "(i)=(5)"),
        (vec![(Delete, 0, 4, 0), (Insert, 0, 0, 14)], "(i)=(14)"),
    ] {
        assert_eq!(refused(&f, (&checks, true), &of).await, key, "{of:?}");
    }
    let left = std::fs::read_dir(f.path("tables/a")).unwrap().count();
    assert_eq!(left, n_files, "what was refused leaves no files");
    // Keys change places, and those of rows that go are free.
    let of = [
        (Update, 0, 3, 14),
        (Update, 1, 4, 3),
        (Update, 0, 5, 5),
        (Delete, 1, 0, 0),
        (Insert, 0, 0, 10),
    ];
    let rewrite = f.tables.rewrite("a").await.unwrap();
    apply(&f, &rewrite, (&checks, true), &of).await.unwrap();
    drop(rewrite);
    let distinct = "SELECT count(*) AS n, count(DISTINCT i) AS d, sum(i) AS s FROM t";
    let shown = f.managed("a", distinct).await;
    assert!(shown.contains("| 20 | 20 | 190 |"), "{shown}");
}

#[tokio::test]
async fn rows_that_keep_their_keys_stand_in_the_way_of_added_ones() {
    use RowAction::{Delete, Insert, Update};
    let f = fixture().await;
    let (_, checks) = filled(&f).await;
    for of in [
        [(Update, 0, 3, 3), (Insert, 0, 0, 3)],
        [(Insert, 0, 0, 13), (Update, 1, 3, 13)],
    ] {
        let key = format!("(i)=({})", of[0].3);
        assert_eq!(refused(&f, (&checks, false), &of).await, key, "{of:?}");
    }
    // Those that are removed do not.
    let of = [(Update, 0, 3, 3), (Delete, 0, 4, 0), (Insert, 0, 0, 4)];
    let rewrite = f.tables.rewrite("a").await.unwrap();
    let counts = apply(&f, &rewrite, (&checks, false), &of).await.unwrap();
    assert_eq!(counts.total(), 3);
}

#[tokio::test]
async fn files_that_were_written_anew_are_known() {
    let f = fixture().await;
    let table = filled(&f).await;
    for (row, to) in [(3, 30), (4, 31)] {
        let rewrite = f.tables.rewrite("a").await.unwrap();
        let of = [(RowAction::Update, 1, row, to)];
        apply(&f, &rewrite, (&table.1, true), &of).await.unwrap();
        drop(rewrite);
        for taken in [to, 0, 19] {
            match add(&f.tables, &table, taken..taken + 1).await {
                Err(Error::KeyViolation { .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    // What they were is free.
    let added = add(&f.tables, &table, 13..14).await;
    assert_eq!(added.unwrap(), 1);
}

#[tokio::test]
async fn others_may_add_rows_unless_keys_change() {
    let f = fixture().await;
    let table = filled(&f).await;
    let other = open(f.path("")).await;
    let mine = f.tables.rewrite("a").await.unwrap();
    add(&other, &table, 30..31).await.unwrap();
    let kept = [(RowAction::Update, 0, 3, 3)];
    let counts = apply(&f, &mine, (&table.1, false), &kept).await.unwrap();
    assert_eq!(counts.updated, 1);
    drop(mine);
    // An added row has a new key, whatever becomes of the others.
    for (place, (changes_keys, action)) in [(true, RowAction::Update), (false, RowAction::Insert)]
        .into_iter()
        .enumerate()
    {
        let mine = f.tables.rewrite("a").await.unwrap();
        let key = 40 + place as i64;
        add(&other, &table, key..key + 1).await.unwrap();
        let of = [(action, 0, 3, 50)];
        let lost = apply(&f, &mine, (&table.1, changes_keys), &of).await;
        assert_eq!(lost.unwrap_err().sqlstate(), "40001");
    }
}
