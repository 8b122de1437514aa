//! Transaction blocks of several connections: what each sees, who wins, and what a lost client leaves.

use std::path::Path;

use tokio_postgres::Client;

use crate::messages::{Raw, message, query, statement, sync};
use crate::{Fixture, error_of, rows};

async fn run(client: &Client, text: &str) {
    client
        .batch_execute(text)
        .await
        .unwrap_or_else(|error| panic!("{text}: {error:?}"));
}

async fn table(fixture: &Fixture) -> (Client, Client) {
    let (one, two) = (fixture.connect().await, fixture.connect().await);
    run(&one, "CREATE TABLE t (id BIGINT, v BIGINT)").await;
    run(&one, "INSERT INTO t VALUES (1, 10), (2, 20)").await;
    (one, two)
}

/// How many data files lie in a warehouse.
fn data_files(folder: &Path) -> usize {
    let mut n = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => n += data_files(&path),
            false => n += usize::from(path.extension().is_some_and(|end| end == "parquet")),
        }
    }
    n
}

#[tokio::test]
async fn a_block_reads_one_snapshot_and_its_own_writes() {
    let fixture = Fixture::start().await;
    let (one, two) = table(&fixture).await;
    run(&two, "CREATE TABLE u (id BIGINT)").await;
    run(&one, "BEGIN").await;
    // The first statement takes the snapshot, whatever it reads.
    assert_eq!(rows(&one, "SELECT 1").await, ["1"]);
    run(&two, "INSERT INTO t VALUES (3, 30)").await;
    run(&two, "INSERT INTO u VALUES (1)").await;
    assert_eq!(rows(&one, "SELECT count(*) FROM t").await, ["2"]);
    assert_eq!(rows(&one, "SELECT count(*) FROM u").await, ["0"]);
    run(&one, "INSERT INTO t VALUES (4, 40)").await;
    assert_eq!(
        rows(&one, "SELECT id FROM t ORDER BY id").await,
        ["1", "2", "4"]
    );
    // Others do not see it.
    assert_eq!(
        rows(&two, "SELECT id FROM t ORDER BY id").await,
        ["1", "2", "3"]
    );
    run(&one, "COMMIT").await;
    // Rows that both added go together.
    for client in [&one, &two] {
        assert_eq!(
            rows(client, "SELECT id FROM t ORDER BY id").await,
            ["1", "2", "3", "4"]
        );
    }
    assert_eq!(rows(&one, "SELECT count(*) FROM u").await, ["1"]);
}

#[tokio::test]
async fn who_commits_second_fails_as_a_whole() {
    let fixture = Fixture::start().await;
    let (one, two) = table(&fixture).await;
    run(&one, "BEGIN; UPDATE t SET v = 11 WHERE id = 1").await;
    run(&two, "BEGIN; UPDATE t SET v = 12 WHERE id = 1").await;
    run(&two, "COMMIT").await;
    let error = error_of(&one, "COMMIT").await;
    assert_eq!(error.code().code(), "40001");
    assert!(error.message().contains("\"t\""), "{}", error.message());
    assert_eq!(
        rows(&one, "SELECT v FROM t ORDER BY id").await,
        ["12", "20"]
    );
    // Its cursors are gone with it, so that the same block can be tried again.
    for _ in 0..2 {
        run(&one, "BEGIN; DECLARE c CURSOR FOR SELECT id FROM t").await;
        run(&one, "UPDATE t SET v = 12 WHERE id = 1").await;
        run(&two, "UPDATE t SET v = 12 WHERE id = 1").await;
        assert_eq!(error_of(&one, "COMMIT").await.code().code(), "40001");
        assert_eq!(error_of(&one, "FETCH c").await.code().code(), "34000");
    }
    // A statement by itself counts as well.
    run(&one, "BEGIN; DELETE FROM t WHERE id = 2").await;
    run(&two, "UPDATE t SET v = v + 1").await;
    assert_eq!(error_of(&one, "COMMIT").await.code().code(), "40001");
    assert_eq!(
        rows(&one, "SELECT v FROM t ORDER BY id").await,
        ["13", "21"]
    );
}

#[tokio::test]
async fn the_state_is_told_with_each_answer() {
    let fixture = Fixture::start().await;
    let (client, mut notices) = fixture.connect_as(&fixture.config()).await;
    run(&client, "BEGIN").await;
    run(&client, "BEGIN").await;
    assert_eq!(notices.recv().await.unwrap().code().code(), "25001");
    assert_eq!(
        error_of(&client, "SELECT missing").await.code().code(),
        "42703"
    );
    assert_eq!(error_of(&client, "SELECT 1").await.code().code(), "25P02");
    assert!(client.query_one("SELECT 1", &[]).await.is_err());
    run(&client, "ROLLBACK").await;
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    run(&client, "COMMIT").await;
    assert_eq!(notices.recv().await.unwrap().code().code(), "25P01");
    run(&client, "BEGIN ISOLATION LEVEL SERIALIZABLE, READ WRITE").await;
    assert!(
        notices
            .recv()
            .await
            .unwrap()
            .message()
            .contains("SERIALIZABLE")
    );
    run(&client, "COMMIT AND CHAIN").await;
    run(&client, "SAVEPOINT in_the_next_block; ROLLBACK").await;
}

/// Tools create a table and fill it in one block.
#[tokio::test]
async fn definitions_in_a_block_are_committed_at_once_and_tell_so() {
    let fixture = Fixture::start().await;
    let (one, mut notices) = fixture.connect_as(&fixture.config()).await;
    let two = fixture.connect().await;
    run(&one, "BEGIN; CREATE TABLE t (id BIGINT PRIMARY KEY)").await;
    let warning = notices.recv().await.unwrap();
    assert_eq!(warning.severity(), "WARNING");
    assert!(
        warning
            .message()
            .contains("CREATE TABLE was committed at once"),
        "{}",
        warning.message()
    );
    // Others see the table, but not yet its rows.
    assert_eq!(
        one.execute("INSERT INTO t VALUES ($1)", &[&1_i64])
            .await
            .unwrap(),
        1
    );
    assert_eq!(rows(&two, "SELECT count(*) FROM t").await, ["0"]);
    run(&one, "ROLLBACK").await;
    let stays = notices.recv().await.unwrap();
    assert!(stays.message().contains("stay"), "{}", stays.message());
    assert_eq!(rows(&one, "SELECT count(*) FROM t").await, ["0"]);
    // What changes nothing is not told; a table that others dropped and made anew is seen as it is.
    run(&one, "BEGIN; CREATE TABLE IF NOT EXISTS t (id BIGINT)").await;
    assert_eq!(notices.recv().await.unwrap().code().code(), "42P07");
    assert_eq!(rows(&one, "SELECT count(*) FROM t").await, ["0"]);
    run(&two, "INSERT INTO t VALUES (7)").await;
    assert_eq!(rows(&one, "SELECT count(*) FROM t").await, ["0"]);
    run(&one, "COMMENT ON TABLE t IS 'seen anew'").await;
    assert_eq!(rows(&one, "SELECT count(*) FROM t").await, ["1"]);
    run(&one, "INSERT INTO t VALUES (8)").await;
    assert_eq!(error_of(&one, "DROP TABLE t").await.code().code(), "25001");
    run(&one, "ROLLBACK").await;
    assert_eq!(rows(&one, "SELECT id FROM t").await, ["7"]);
}

/// What waits for the end of a block has nothing to warn of, and leaves no file where the block is rolled back.
#[tokio::test]
async fn definitions_behind_a_change_go_with_the_block() {
    let fixture = Fixture::start().await;
    let (one, mut notices) = fixture.connect_as(&fixture.config()).await;
    let two = fixture.connect().await;
    run(&one, "CREATE TABLE t (id BIGINT, v BIGINT)").await;
    run(&one, "INSERT INTO t VALUES (1, 10)").await;
    let warehouse = fixture.folder.path().join("warehouse").join("tables");
    let before = data_files(&warehouse);
    for end in ["ROLLBACK", "COMMIT"] {
        run(&one, "BEGIN; INSERT INTO t VALUES (2, 20)").await;
        run(&one, "COMMENT ON TABLE t IS 'told'").await;
        run(&one, "ALTER TABLE t RENAME COLUMN v TO w").await;
        run(&one, "ALTER TABLE t RENAME TO u").await;
        assert_eq!(rows(&one, "SELECT sum(w) FROM u").await, ["30"]);
        assert_eq!(rows(&two, "SELECT sum(v) FROM t").await, ["10"]);
        run(&one, end).await;
        if end == "ROLLBACK" {
            assert_eq!(data_files(&warehouse), before);
            assert_eq!(rows(&one, "SELECT sum(v) FROM t").await, ["10"]);
        }
    }
    assert_eq!(rows(&two, "SELECT sum(w) FROM u").await, ["30"]);
    let told = "SELECT obj_description('u'::regclass)";
    assert_eq!(rows(&two, told).await, ["told"]);
    assert!(notices.try_recv().is_err());
}

#[tokio::test]
async fn prepared_statements_see_the_block_that_they_are_run_in() {
    let fixture = Fixture::start().await;
    let (mut one, two) = table(&fixture).await;
    let count = one.prepare("SELECT count(*) FROM t").await.unwrap();
    let insert = one.prepare("INSERT INTO t VALUES ($1, $2)").await.unwrap();
    let transaction = one.transaction().await.unwrap();
    assert_eq!(
        transaction
            .execute(&insert, &[&3_i64, &30_i64])
            .await
            .unwrap(),
        1
    );
    assert_eq!(
        transaction
            .execute(&insert, &[&4_i64, &40_i64])
            .await
            .unwrap(),
        1
    );
    let n: i64 = transaction.query_one(&count, &[]).await.unwrap().get(0);
    assert_eq!(n, 4);
    assert_eq!(rows(&two, "SELECT count(*) FROM t").await, ["2"]);
    transaction.rollback().await.unwrap();
    let n: i64 = one.query_one(&count, &[]).await.unwrap().get(0);
    assert_eq!(n, 2);
    let mut transaction = one.transaction().await.unwrap();
    {
        let nested = transaction.transaction().await.unwrap();
        nested.execute(&insert, &[&3_i64, &30_i64]).await.unwrap();
        let n: i64 = nested.query_one(&count, &[]).await.unwrap().get(0);
        assert_eq!(n, 3);
        nested.rollback().await.unwrap();
    }
    transaction
        .execute(&insert, &[&5_i64, &50_i64])
        .await
        .unwrap();
    let n: i64 = transaction.query_one(&count, &[]).await.unwrap().get(0);
    assert_eq!(n, 3);
    transaction.commit().await.unwrap();
    assert_eq!(
        rows(&two, "SELECT id FROM t ORDER BY id").await,
        ["1", "2", "5"]
    );
}

#[tokio::test]
async fn what_is_not_committed_leaves_no_file() {
    let fixture = Fixture::start().await;
    let (one, two) = table(&fixture).await;
    let warehouse = fixture.folder.path().join("warehouse").join("tables");
    let before = data_files(&warehouse);
    run(
        &one,
        "BEGIN; INSERT INTO t VALUES (3, 30); UPDATE t SET v = 0",
    )
    .await;
    assert!(data_files(&warehouse) > before);
    run(&one, "ROLLBACK").await;
    assert_eq!(data_files(&warehouse), before);
    // What the block itself replaced goes at its end.
    run(
        &one,
        "BEGIN; INSERT INTO t VALUES (3, 30); INSERT INTO t VALUES (4, 40)",
    )
    .await;
    run(&one, "UPDATE t SET v = 0; COMMIT").await;
    assert_eq!(data_files(&warehouse), before + 1);
    // A client that vanishes.
    run(&one, "BEGIN; INSERT INTO t VALUES (5, 50)").await;
    drop(one);
    for _ in 0..100 {
        if data_files(&warehouse) == before + 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(data_files(&warehouse), before + 1);
    assert_eq!(rows(&two, "SELECT count(*) FROM t").await, ["4"]);
}

#[tokio::test]
async fn a_cancel_does_not_cut_a_commit_short() {
    let fixture = Fixture::start().await;
    let (client, _) = table(&fixture).await;
    let session = fixture.engine.connect(&auspex_planner::ClientFacts {
        user: "postgres".to_owned(),
        ..auspex_planner::ClientFacts::default()
    });
    let session = session.unwrap();
    let run_one = async |text: &str, is_cancelled: bool| {
        let (notices, _) = tokio::sync::mpsc::unbounded_channel();
        let control = auspex_planner::StatementControl {
            cancel: Default::default(),
            notices,
            returned: None,
        };
        if is_cancelled {
            control.cancel.cancel();
        }
        let statement = session.parse(text).unwrap().remove(0);
        let prepared = session.prepare(&statement, &[]).await.unwrap();
        let done = session.execute(&prepared, Vec::new(), &control).await;
        done.map(drop)
    };
    run_one("BEGIN", false).await.unwrap();
    run_one("INSERT INTO t VALUES (3, 30)", false)
        .await
        .unwrap();
    run_one("COMMIT", true).await.unwrap();
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["3"]);
}

#[tokio::test]
async fn blocks_that_add_keys_go_together_unless_they_add_the_same() {
    let fixture = Fixture::start().await;
    let (one, two) = (fixture.connect().await, fixture.connect().await);
    run(&one, "CREATE TABLE k (id BIGINT PRIMARY KEY, v BIGINT)").await;
    run(&one, "INSERT INTO k VALUES (1, 1)").await;
    let begin = "BEGIN; SELECT count(*) FROM k";
    run(&one, begin).await;
    run(&two, begin).await;
    for id in 10..20 {
        run(&one, &format!("INSERT INTO k VALUES ({id}, 1)")).await;
        run(&two, &format!("INSERT INTO k VALUES ({}, 2)", id + 10)).await;
    }
    run(&one, "COMMIT").await;
    run(&two, "COMMIT").await;
    assert_eq!(rows(&one, "SELECT count(*) FROM k").await, ["21"]);
    // One file for each block, and one for the row before.
    assert_eq!(data_files(fixture.folder.path()), 3);
    run(&one, begin).await;
    run(&two, begin).await;
    run(&one, "INSERT INTO k VALUES (30, 1), (31, 1)").await;
    run(&two, "INSERT INTO k VALUES (32, 2), (31, 2)").await;
    run(&one, "COMMIT").await;
    let error = error_of(&two, "COMMIT").await;
    assert_eq!(error.code().code(), "23505");
    assert_eq!(error.detail(), Some("Key (id)=(31) already exists."));
    assert_eq!(
        rows(&one, "SELECT v FROM k WHERE id > 29").await,
        ["1", "1"]
    );
    assert_eq!(data_files(fixture.folder.path()), 4);
}

#[tokio::test]
async fn a_queue_hands_each_row_to_one_worker() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    run(&client, "CREATE TABLE jobs (id INT, worker INT)").await;
    run(
        &client,
        "INSERT INTO jobs SELECT i, NULL FROM generate_series(1, 9) AS t(i)",
    )
    .await;
    let mut workers = Vec::new();
    for worker in 0..3 {
        let client = fixture.connect().await;
        workers.push(async move {
            let take = format!(
                "UPDATE jobs SET worker = {worker} WHERE id = (SELECT id FROM jobs \
                 WHERE worker IS NULL ORDER BY id FOR UPDATE SKIP LOCKED LIMIT 1) RETURNING id"
            );
            let mut taken = Vec::new();
            loop {
                match rows(&client, &take).await.pop() {
                    Some(id) => taken.push(id),
                    None => return taken,
                }
            }
        });
    }
    let taken = futures::future::join_all(workers).await;
    let mut taken: Vec<String> = taken.into_iter().flatten().collect();
    taken.sort();
    assert_eq!(taken, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

/// The statements of a pipeline, or of a text, are one transaction: behind a query a BEGIN in it comes too late for another level.
#[tokio::test]
async fn a_block_that_begins_behind_a_query_cannot_choose_its_level() {
    const SERIALIZABLE: &str = "BEGIN ISOLATION LEVEL SERIALIZABLE";
    let fixture = Fixture::start().await;
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let parsed = |text: &str| message(b'P', format!("p\0{text}\0\0\0").as_bytes());
    for (asked, told, state) in [
        (vec!["SELECT 1", SERIALIZABLE], "E 25001", "Z I"),
        (vec!["SELECT 1", "BEGIN NOT DEFERRABLE"], "E 25001", "Z I"),
        (
            vec!["SELECT 1", "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"],
            "E 25001",
            "Z I",
        ),
        (
            vec![
                "SELECT 1",
                "BEGIN ISOLATION LEVEL READ COMMITTED, READ WRITE",
            ],
            "C BEGIN",
            "Z T",
        ),
        (vec!["SELECT 1", "BEGIN READ ONLY"], "C BEGIN", "Z T"),
        (vec!["SHOW timezone", SERIALIZABLE], "C BEGIN", "Z T"),
        (vec!["SELECT 1", "COMMIT", SERIALIZABLE], "C BEGIN", "Z T"),
    ] {
        let pipeline = asked.iter().map(|text| statement(text)).chain([sync()]);
        let answers = raw.ask(&pipeline.collect::<Vec<_>>()).await;
        let ends: Vec<_> = answers
            .iter()
            .filter(|end| end.starts_with(['C', 'E']))
            .collect();
        assert_eq!(ends.last().unwrap().as_str(), told, "{asked:?}");
        assert_eq!(answers.last().unwrap(), state, "{asked:?}");
        raw.ask(&[query("ROLLBACK")]).await;
        // As one text.
        let answers = raw.ask(&[query(&asked.join("; "))]).await;
        let ends: Vec<_> = answers
            .iter()
            .filter(|end| end.starts_with(['C', 'E']))
            .collect();
        assert_eq!(ends.last().unwrap().as_str(), told, "{asked:?}");
        raw.ask(&[query("ROLLBACK")]).await;
    }
    // A query that is only parsed counts as well, one before the last sync does not.
    let answers = raw
        .ask(&[parsed("SELECT 1"), statement(SERIALIZABLE), sync()])
        .await;
    assert!(answers.contains(&"E 25001".to_owned()), "{answers:?}");
    raw.ask(&[message(b'C', b"Sp\0"), statement("SELECT 1"), sync()])
        .await;
    let answers = raw.ask(&[statement(SERIALIZABLE), sync()]).await;
    assert!(answers.contains(&"C BEGIN".to_owned()), "{answers:?}");
    // Behind a change, nothing of the pipeline stays.
    raw.ask(&[query("ROLLBACK")]).await;
    raw.ask(&[query("CREATE TABLE t (a int)")]).await;
    let insert = statement("INSERT INTO t VALUES (1)");
    let answers = raw.ask(&[insert, statement(SERIALIZABLE), sync()]).await;
    assert!(answers.contains(&"E 25001".to_owned()), "{answers:?}");
    assert_eq!(answers.last().unwrap(), "Z I");
    assert_eq!(
        rows(&fixture.connect().await, "SELECT count(*) FROM t").await,
        ["0"]
    );
}
