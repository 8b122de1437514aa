//! Kills and races on managed tables: every committed row is there once, nothing half-written shows, no update is lost.
//!
//! `AUSPEX_TEST_FULL=1` runs two hundred kills instead of a few.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auspex_tests::rows;
use futures::SinkExt as _;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use crate::{connect, free_port, serve, serve_with};

const ROWS_A_BATCH: u64 = 100;

fn n_rounds() -> u64 {
    match std::env::var("AUSPEX_TEST_FULL") {
        Ok(_) => 200,
        Err(_) => 8,
    }
}

/// A number between 0 and 1 that depends on the round alone.
fn fraction(round: u64) -> f64 {
    (round.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 11) as f64 / (1_u64 << 53) as f64
}

/// What the client knows of its statements.
#[derive(Clone, Default)]
struct Journal {
    /// Batches whose INSERT or MERGE was acknowledged.
    acknowledged: Vec<u64>,
    /// The batch of the statement that runs.
    running: Option<u64>,
    /// Tables whose CREATE was acknowledged.
    tables: Vec<String>,
}

/// Writes batches until the connection breaks.
async fn write_batches(client: Client, first: u64, journal: Arc<Mutex<Journal>>) {
    for batch in first.. {
        journal.lock().unwrap().running = Some(batch);
        let last = batch * ROWS_A_BATCH + ROWS_A_BATCH - 1;
        let values = format!(
            "SELECT value AS id, {batch} AS batch, 0 AS touched FROM generate_series({}, {last})",
            batch * ROWS_A_BATCH
        );
        let statement = match batch % 4 {
            // The batch before is touched in the same commit as the new one appears.
            1 => format!(
                "MERGE INTO t USING ({values} UNION ALL SELECT id, batch, 1 FROM t WHERE batch = {}) AS s ON t.id = s.id \
                 WHEN MATCHED THEN UPDATE SET touched = s.touched \
                 WHEN NOT MATCHED THEN INSERT (id, batch, touched) VALUES (s.id, s.batch, s.touched)",
                batch - 1
            ),
            3 => format!("INSERT INTO t {values}; OPTIMIZE t; CREATE TABLE d{batch} (x BIGINT)"),
            _ => format!("INSERT INTO t {values}"),
        };
        if client.batch_execute(&statement).await.is_err() {
            return;
        }
        let mut journal = journal.lock().unwrap();
        journal.acknowledged.push(batch);
        if batch % 4 == 3 {
            journal.tables.push(format!("d{batch}"));
        }
    }
}

/// Rows and touched rows of each batch.
async fn batches(client: &Client) -> BTreeMap<u64, (u64, u64)> {
    let text = "SELECT batch, count(DISTINCT id), count(*), sum(touched) FROM t GROUP BY batch";
    let found = rows(client, text).await.unwrap();
    let number = |cell: &String| cell.parse::<u64>().unwrap();
    found
        .iter()
        .map(|row| {
            assert_eq!(row[1], row[2], "batch {} holds a row twice", row[0]);
            (number(&row[0]), (number(&row[2]), number(&row[3])))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_of_a_write_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Arc::new(Mutex::new(Journal::default()));
    let mut next = 0;
    for round in 0..n_rounds() {
        let port = free_port();
        let mut server = serve(folder.path(), port);
        let client = connect(port).await;
        let create = "CREATE TABLE IF NOT EXISTS t (id BIGINT, batch BIGINT, touched BIGINT)";
        client.batch_execute(create).await.unwrap();
        let found = batches(&client).await;
        check(&journal.lock().unwrap(), &found, round);
        let writer = tokio::spawn(write_batches(client, next, Arc::clone(&journal)));
        tokio::time::sleep(Duration::from_secs_f64(0.02 + 1.2 * fraction(round))).await;
        server.kill().unwrap();
        server.wait().unwrap();
        writer.await.unwrap();
        next = journal
            .lock()
            .unwrap()
            .running
            .map_or(0, |running| running + 1);
        // What ran when the server died may have been committed: from here on either is right.
        journal.lock().unwrap().running = None;
    }
    let port = free_port();
    let mut server = serve(folder.path(), port);
    let client = connect(port).await;
    let found = batches(&client).await;
    let journal = journal.lock().unwrap().clone();
    check(&journal, &found, n_rounds());
    for table in &journal.tables {
        client
            .batch_execute(&format!("INSERT INTO {table} VALUES (1)"))
            .await
            .unwrap();
    }
    assert!(!found.is_empty(), "no round wrote anything");
    server.kill().unwrap();
    server.wait().unwrap();
}

fn check(journal: &Journal, found: &BTreeMap<u64, (u64, u64)>, round: u64) {
    for batch in &journal.acknowledged {
        let n_rows = found.get(batch).map_or(0, |(n_rows, _)| *n_rows);
        assert_eq!(
            n_rows, ROWS_A_BATCH,
            "round {round}: acknowledged batch {batch}"
        );
    }
    for (batch, (n_rows, n_touched)) in found {
        assert_eq!(
            *n_rows, ROWS_A_BATCH,
            "round {round}: batch {batch} shows in part"
        );
        let is_touched = batch % 4 == 0 && found.contains_key(&(batch + 1));
        let expected = if is_touched { ROWS_A_BATCH } else { 0 };
        assert_eq!(
            *n_touched, expected,
            "round {round}: half a MERGE shows in batch {batch}"
        );
    }
}

/// Commits blocks that add a row and tell its number in the table's comment, until the connection breaks.
async fn write_blocks(client: Client, first: u64, acknowledged: Arc<AtomicU64>) {
    for number in first.. {
        let block = format!(
            "BEGIN; INSERT INTO c VALUES ({number}); COMMENT ON TABLE c IS '{number}'; COMMIT"
        );
        if client.batch_execute(&block).await.is_err() {
            return;
        }
        acknowledged.store(number, Ordering::Relaxed);
    }
}

/// Of a block that was cut short the row may be there without the comment, never the comment without the row. Returns the
/// number of the next block.
async fn check_blocks(client: &Client, acknowledged: u64, round: u64) -> u64 {
    let text = "SELECT coalesce(max(id), 0), count(*), coalesce(obj_description('c'::regclass), '0') FROM c";
    let found = rows(client, text).await.unwrap();
    let number = |idx: usize| found[0][idx].parse::<u64>().unwrap();
    let (newest, n_rows, told) = (number(0), number(1), number(2));
    assert_eq!(
        newest, n_rows,
        "round {round}: rows are lost or there twice"
    );
    assert!(
        newest == told || newest == told + 1,
        "round {round}: the comment tells of row {told}, the newest is {newest}"
    );
    assert!(
        told >= acknowledged,
        "round {round}: acknowledged comment {acknowledged}, found {told}"
    );
    let comment = format!("COMMENT ON TABLE c IS '{newest}'");
    client.batch_execute(&comment).await.unwrap();
    newest + 1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_of_a_block_leaves_no_definition_without_its_rows() {
    let folder = tempfile::tempdir().unwrap();
    let acknowledged = Arc::new(AtomicU64::new(0));
    for round in 0..=n_rounds() {
        let port = free_port();
        let mut server = serve(folder.path(), port);
        let client = connect(port).await;
        let create = "CREATE TABLE IF NOT EXISTS c (id BIGINT)";
        client.batch_execute(create).await.unwrap();
        let next = check_blocks(&client, acknowledged.load(Ordering::Relaxed), round).await;
        if round < n_rounds() {
            let writer = tokio::spawn(write_blocks(client, next, Arc::clone(&acknowledged)));
            tokio::time::sleep(Duration::from_secs_f64(0.1 + 0.6 * fraction(round))).await;
            server.kill().unwrap();
            server.wait().unwrap();
            writer.await.unwrap();
        } else {
            server.kill().unwrap();
            server.wait().unwrap();
        }
    }
    assert!(
        acknowledged.load(Ordering::Relaxed) > 0,
        "no round wrote anything"
    );
}

/// Adds one as often as asked; a serialization failure is tried again, as an application would.
async fn count_up(client: Client, n_times: u64) {
    for _ in 0..n_times {
        loop {
            match client
                .batch_execute("UPDATE counters SET n = n + 1 WHERE id = 1")
                .await
            {
                Ok(()) => break,
                Err(error) => {
                    let code = error.code().cloned();
                    assert_eq!(code, Some(SqlState::T_R_SERIALIZATION_FAILURE), "{error:?}");
                }
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_over_one_warehouse_lose_no_update() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port()];
    let mut servers = ports.map(|port| serve(folder.path(), port));
    let [first, second] = [connect(ports[0]).await, connect(ports[1]).await];
    let setup = "CREATE TABLE counters AS SELECT 1 AS id, 0 AS n; CREATE TABLE log (who BIGINT)";
    first.batch_execute(setup).await.unwrap();
    let writers = [(first, 1), (second, 2)].map(|(client, who)| {
        tokio::spawn(async move {
            for _ in 0..5 {
                let insert = format!("INSERT INTO log VALUES ({who})");
                client.batch_execute(&insert).await.unwrap();
            }
            count_up(client, 10).await;
        })
    });
    for writer in writers {
        writer.await.unwrap();
    }
    for port in ports {
        let client = connect(port).await;
        let counted = rows(&client, "SELECT n FROM counters").await.unwrap();
        assert_eq!(counted, [["20"]]);
        let logged = rows(
            &client,
            "SELECT who, count(*) FROM log GROUP BY who ORDER BY who",
        );
        assert_eq!(logged.await.unwrap(), [["1", "5"], ["2", "5"]]);
    }
    for server in &mut servers {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_for_a_table_that_another_server_drops_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port()];
    let mut servers = ports.map(|port| serve(folder.path(), port));
    let [first, second] = [connect(ports[0]).await, connect(ports[1]).await];
    let setup = "CREATE TABLE gone (x BIGINT); INSERT INTO gone VALUES (1)";
    first.batch_execute(setup).await.unwrap();
    let sink = first.copy_in::<_, &'static [u8]>("COPY gone FROM STDIN");
    let mut sink = Box::pin(sink.await.unwrap());
    sink.send(b"2\n").await.unwrap();
    second.batch_execute("DROP TABLE gone").await.unwrap();
    let error = sink.as_mut().finish().await.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error:?}");
    for client in [&first, &second] {
        let error = client.simple_query("SELECT * FROM gone").await.unwrap_err();
        assert_eq!(error.code(), Some(&SqlState::UNDEFINED_TABLE), "{error:?}");
    }
    for server in &mut servers {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_another_server_replaces_is_told_by_its_name_or_read_anew() {
    let folder = tempfile::tempdir().unwrap();
    let ports = [free_port(), free_port()];
    let mut replacing = serve(folder.path(), ports[0]);
    let second = connect(ports[0]).await;
    let setup = "CREATE TABLE summed AS SELECT value AS x FROM generate_series(1, 1000) AS t(value); \
                 CREATE TABLE shown AS SELECT 1 AS x; CREATE TABLE dropped AS SELECT 1 AS x";
    second.batch_execute(setup).await.unwrap();
    // This one learns of others' definitions when it must.
    let flags = ["--catalog-refresh-interval", "60min"];
    let mut reading = serve_with(folder.path(), ports[1], &flags);
    let [first, other] = [connect(ports[1]).await, connect(ports[1]).await];
    first.batch_execute("BEGIN").await.unwrap();
    let counted = rows(&first, "SELECT count(*) FROM summed").await.unwrap();
    assert_eq!(counted, [["1000"]]);
    let replace = "CREATE OR REPLACE TABLE summed AS SELECT 7 AS x";
    second.batch_execute(replace).await.unwrap();
    let error = first.simple_query("SELECT sum(x) FROM summed").await;
    let error = error.unwrap_err();
    assert_eq!(error.code(), Some(&SqlState::T_R_SERIALIZATION_FAILURE));
    assert_eq!(
        error.as_db_error().unwrap().message(),
        "table \"summed\" was dropped or replaced while the statement ran"
    );
    let replace = "CREATE OR REPLACE TABLE shown AS SELECT 8 AS x; DROP TABLE dropped";
    second.batch_execute(replace).await.unwrap();
    let shown = rows(&other, "SELECT x FROM shown").await.unwrap();
    assert_eq!(shown, [["8"]]);
    let error = other.simple_query("SELECT x FROM dropped").await;
    assert_eq!(error.unwrap_err().code(), Some(&SqlState::UNDEFINED_TABLE));
    first.batch_execute("ROLLBACK").await.unwrap();
    let summed = rows(&first, "SELECT sum(x) FROM summed").await.unwrap();
    assert_eq!(summed, [["7"]]);
    for server in [&mut replacing, &mut reading] {
        server.kill().unwrap();
        server.wait().unwrap();
    }
}
