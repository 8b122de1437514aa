//! Limits: connections, idle time, what a role may use, and how the server stops.

use std::time::Duration;

use auspex_server::{HttpServer, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::{Client, NoTls};

use crate::messages::{Raw, message, query, sync};
use crate::{Fixture, error_of, rows};

/// A query that goes on for minutes unless it is ended.
pub(crate) const ENDLESS: &str = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b \
                       WHERE (a.a * b.b) % 7 = 3";

async fn closed(client: &Client) {
    let waiting = async {
        while !client.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .expect("the connection goes on");
}

#[tokio::test]
async fn sessions_are_bounded_and_some_are_the_superusers() {
    let options = ServerOptions {
        max_connections: 3,
        reserved_connections: 1,
        ..ServerOptions::default()
    };
    let fixture = Fixture::start_with(options).await;
    let first = fixture.connect().await;
    first.batch_execute("CREATE USER ada").await.unwrap();
    let second = fixture.connect().await;
    let mut ada = fixture.config();
    ada.user("ada");
    let Err(error) = ada.connect(NoTls).await else {
        panic!("connected");
    };
    let error = error.as_db_error().unwrap();
    assert_eq!((error.severity(), error.code().code()), ("FATAL", "53300"));
    assert_eq!(
        error.message(),
        "remaining connection slots are reserved for superusers"
    );
    let _third = fixture.connect().await;
    let Err(error) = fixture.config().connect(NoTls).await else {
        panic!("connected");
    };
    assert_eq!(
        error.as_db_error().unwrap().message(),
        "sorry, too many clients already"
    );
    // A place that was left is free again.
    drop(second);
    let again = async {
        while fixture.config().connect(NoTls).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), again)
        .await
        .unwrap();
    assert_eq!(rows(&first, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn connections_without_end_leave_the_server_as_it_was() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let full = std::env::var_os("AUSPEX_TEST_FULL").is_some();
    let n_attempts = if full { 10_000 } else { 1_000 };
    // Each is opened, told nothing, and hung up on; some are kept open for a while.
    let mut open = std::collections::VecDeque::new();
    for _ in 0..n_attempts {
        open.push_back(TcpStream::connect(fixture.server.address()).await.unwrap());
        if open.len() > 100 {
            open.pop_front();
        }
    }
    drop(open);
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    assert_eq!(rows(&fixture.connect().await, "SELECT 2").await, ["2"]);
}

#[tokio::test]
async fn idle_sessions_end() {
    let fixture = Fixture::start().await;
    let idle = fixture.connect().await;
    idle.batch_execute("SET idle_session_timeout = '100ms'")
        .await
        .unwrap();
    closed(&idle).await;
    let in_block = fixture.connect().await;
    in_block
        .batch_execute("SET idle_in_transaction_session_timeout = '100ms'; SELECT 1")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        rows(&in_block, "SELECT 1").await,
        ["1"],
        "outside a block it may wait"
    );
    in_block.batch_execute("BEGIN").await.unwrap();
    closed(&in_block).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_text_for_which_there_is_no_memory_fails_alone() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    root.batch_execute("CREATE USER ada; ALTER ROLE ada SET max_memory = '20MB'")
        .await
        .unwrap();
    let mut config = fixture.config();
    config.user("ada");
    let (ada, _) = fixture.connect_as(&config).await;
    let blanks = format!("SELECT{}1", " ".repeat(2 << 20));
    assert_eq!(rows(&ada, &blanks).await, ["1"]);
    let error = error_of(&ada, &"(".repeat(2 << 20)).await;
    assert_eq!(error.code().code(), "54001");
    let many = format!("SELECT 1 WHERE 1 IN ({}1)", "1,".repeat(100_000));
    let error = error_of(&ada, &many).await;
    assert_eq!(error.code().code(), "53200", "{error:?}");
    let words = "out of memory of role \"ada\": there is no room for the ";
    assert!(error.message().starts_with(words), "{error:?}");
    assert!(error.hint().unwrap().contains("in parts"));
    // What it had is given back.
    assert_eq!(rows(&ada, &blanks).await, ["1"]);
    root.batch_execute("SET statement_timeout = '1ms'")
        .await
        .unwrap();
    let error = error_of(&root, &many).await;
    assert_eq!(error.code().code(), "57014", "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_has_limits_that_it_cannot_lift() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    root.batch_execute(
        "CREATE USER ada; CREATE TABLE t AS SELECT value AS a, value % 1000 AS b FROM generate_series(1, 300000); \
         GRANT SELECT ON t TO ada; ALTER ROLE ada SET max_concurrent_statements = 1; \
         ALTER ROLE ada SET max_statement_time = '2s'; ALTER ROLE ada SET max_memory = '1MB'",
    )
    .await
    .unwrap();
    let mut config = fixture.config();
    config.user("ada");
    let (one, _) = fixture.connect_as(&config).await;
    let (two, _) = fixture.connect_as(&config).await;
    let error = error_of(&one, "SET max_statement_time = '1h'").await;
    assert_eq!(error.code().code(), "42704");
    one.batch_execute("SET statement_timeout = '1h'")
        .await
        .unwrap();
    // One statement, which needs no memory, runs, the next is refused, the first ends in time.
    let endless = "SELECT count(*) FROM generate_series(1, 100000000000) AS a WHERE a.a % 7 = 9";
    let slow = async { error_of(&one, endless).await };
    let next = async {
        let active =
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ada' AND state = 'active'";
        while rows(&root, active).await != ["1"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        error_of(&two, "SELECT 1").await
    };
    let both = async { tokio::join!(slow, next) };
    let both = tokio::time::timeout(Duration::from_secs(60), both).await;
    let (slow, next) = both.expect("the endless statement ends");
    assert_eq!((slow.code().code(), next.code().code()), ("57014", "53400"));
    // Too much memory, which nothing can put on disk, fails alone: the same statement of another role goes on.
    let hungry = "SELECT length(repeat('x', b::int * 50000000)) FROM t WHERE a = 1";
    let error = error_of(&two, hungry).await;
    assert_eq!(error.code().code(), "53200", "{error:?}");
    assert!(
        error
            .message()
            .starts_with("out of memory of role \"ada\": ")
    );
    assert!(error.message().contains(" of 1048576 bytes are used"));
    assert!(error.hint().unwrap().contains("SET max_memory"));
    assert_eq!(rows(&root, hungry).await, ["50000000"]);
    assert_eq!(rows(&two, "SELECT 1").await, ["1"]);
    kept_statements_count(&root, &two).await;
}

/// Prepared statements that are kept count: each for its own plan, while functions are there once a session.
async fn kept_statements_count(root: &tokio_postgres::Client, two: &tokio_postgres::Client) {
    for idx in 0..60 {
        let prepare = format!("PREPARE small{idx} AS SELECT {idx}");
        two.batch_execute(&prepare).await.unwrap();
    }
    // One that is planned again, since its table is another now, goes on to share them.
    two.batch_execute("PREPARE small AS SELECT count(*) FROM t WHERE a = $1")
        .await
        .unwrap();
    assert_eq!(rows(two, "EXECUTE small(7)").await, ["1"]);
    root.batch_execute("INSERT INTO t VALUES (7, 7)")
        .await
        .unwrap();
    assert_eq!(rows(two, "EXECUTE small(7)").await, ["2"]);
    // Other settings are another state to plan with.
    two.batch_execute(
        "SET timezone = 'Asia/Tokyo'; PREPARE clock AS SELECT timestamptz '2026-01-01 00:00:00+00'",
    )
    .await
    .unwrap();
    assert_eq!(rows(two, "EXECUTE clock").await, ["2026-01-01 09:00:00+09"]);
    two.batch_execute("DEALLOCATE clock; RESET timezone")
        .await
        .unwrap();
    let mut refused = None;
    for idx in 0..300 {
        let prepare = format!("PREPARE p{idx} AS SELECT {idx}");
        refused = refused.or(two.batch_execute(&prepare).await.err());
    }
    let refused = refused.expect("there is no room for so many");
    assert_eq!(refused.as_db_error().unwrap().code().code(), "53200");
    two.batch_execute("DEALLOCATE ALL; PREPARE again AS SELECT 1")
        .await
        .unwrap();
}

/// Limits are a role's, not those of whoever has its name.
#[tokio::test(flavor = "multi_thread")]
async fn limits_follow_a_role_that_is_renamed_and_stay_with_one_that_is_dropped() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    let limited = "CREATE USER ada CONNECTION LIMIT 1; ALTER ROLE ada SET max_memory = '1MB'; \
                   ALTER ROLE ada SET max_statement_time = '2s'; \
                   ALTER ROLE ada SET max_concurrent_statements = 1";
    root.batch_execute(limited).await.unwrap();
    let mut config = fixture.config();
    config.user("ada");
    let (old, _) = fixture.connect_as(&config).await;
    let hungry = "SELECT length(repeat('x', a::int * 50000000)) FROM generate_series(1, 1) AS t(a)";
    let endless = "SELECT count(*) FROM generate_series(1, 100000000000) AS a WHERE a.a % 7 = 9";
    let is_limited = async |client: &Client, name: &str| {
        let error = error_of(client, hungry).await;
        assert_eq!(error.code().code(), "53200", "{error:?}");
        let words = format!("out of memory of role \"{name}\": ");
        assert!(error.message().starts_with(&words), "{error:?}");
        assert_eq!(error_of(client, endless).await.code().code(), "57014");
    };
    is_limited(&old, "ada").await;
    let then = format!("ALTER ROLE ada RENAME TO eva; {limited}");
    root.batch_execute(&then).await.unwrap();
    // The new role of the name has a session, a statement and memory of its own.
    let (new, _) = fixture.connect_as(&config).await;
    let Err(error) = config.connect(NoTls).await else {
        panic!("connected");
    };
    assert_eq!(error.as_db_error().unwrap().code().code(), "53300");
    is_limited(&old, "eva").await;
    is_limited(&new, "ada").await;
    let (one, other) = tokio::join!(error_of(&old, endless), error_of(&new, endless));
    assert_eq!((one.code().code(), other.code().code()), ("57014", "57014"));
    // Without its role a session has the limits that it had.
    root.batch_execute("DROP ROLE eva; DROP ROLE ada; CREATE USER ada")
        .await
        .unwrap();
    is_limited(&old, "eva").await;
    is_limited(&new, "ada").await;
    let (free, _) = fixture.connect_as(&config).await;
    assert_eq!(rows(&free, hungry).await, ["50000000"]);
}

/// The syntax of a long text takes its memory as long as the statement that was prepared of it.
#[tokio::test(flavor = "multi_thread")]
async fn long_statements_that_stay_prepared_take_memory() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    root.batch_execute(
        "CREATE TABLE t (a int); CREATE USER ada; GRANT INSERT ON t TO ada; \
         ALTER ROLE ada SET max_memory = '100MB'",
    )
    .await
    .unwrap();
    // Of those that take 30 MB while they are read and 22 MB behind that, so many have room.
    let n_kept = 4;
    let long = format!("INSERT INTO t VALUES {}(1)", "(1),".repeat(30_000));
    let parsed = |text: &str| [message(b'P', format!("\0{text}\0\0\0").as_bytes()), sync()];
    let mut clients = Vec::new();
    for n_before in 0..=n_kept {
        let (mut client, _) = Raw::connect_with(&fixture, 0, &[("user", "ada")]).await;
        let answers = client.ask(&parsed(&long)).await;
        match n_before < n_kept {
            true => assert_eq!(answers, ["1", "Z I"], "{n_before}"),
            false => assert_eq!(answers, ["E 53200", "Z I"]),
        }
        clients.push(client);
    }
    // What another one takes the place of is given back.
    assert_eq!(clients[0].ask(&parsed("SELECT 1")).await, ["1", "Z I"]);
    assert_eq!(clients[n_kept].ask(&parsed(&long)).await, ["1", "Z I"]);
    for client in &mut clients {
        assert_eq!(client.ask(&parsed("SELECT 1")).await, ["1", "Z I"]);
    }
    // Of a text with several statements, only what stays of it is kept.
    for idx in 0..6 {
        let both = query(&format!("PREPARE short{idx} AS SELECT 1; {long}"));
        let tags = ["C PREPARE", "C INSERT 0 30001", "Z I"];
        assert_eq!(clients[0].ask(&[both]).await, tags);
    }
}

#[tokio::test]
async fn stopping_lets_statements_end_and_sends_the_others_away() {
    let mut fixture = Fixture::start().await;
    let (idle, busy) = (fixture.connect().await, fixture.connect().await);
    let query = "SELECT count(*) FROM generate_series(1, 1500) a, generate_series(1, 1500) b \
                 WHERE (a.a * b.b) % 7 = 3";
    let running = tokio::spawn(async move { rows(&busy, query).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let draining = tokio::time::timeout(Duration::from_secs(20), fixture.server.drain());
    draining.await.expect("the server stops");
    closed(&idle).await;
    assert_eq!(
        running.await.unwrap().len(),
        1,
        "the statement ended by itself"
    );
    assert!(fixture.config().connect(NoTls).await.is_err());
}

#[tokio::test]
async fn statements_that_do_not_end_are_cancelled() {
    let options = ServerOptions {
        shutdown_timeout: Duration::from_millis(200),
        ..ServerOptions::default()
    };
    let mut fixture = Fixture::start_with(options).await;
    let client = fixture.connect().await;
    let running = tokio::spawn(async move { error_of(&client, ENDLESS).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let draining = tokio::time::timeout(Duration::from_secs(10), fixture.server.drain());
    draining.await.expect("the server stops");
    let error = running.await.unwrap();
    assert_eq!((error.severity(), error.code().code()), ("FATAL", "57P01"));
}

/// Status and body of an answer.
async fn get(http: &HttpServer, request: &[u8]) -> (String, String) {
    let mut stream = TcpStream::connect(http.address()).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = String::new();
    let reading = stream.read_to_string(&mut answer);
    tokio::time::timeout(Duration::from_secs(15), reading)
        .await
        .unwrap()
        .unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap().split(' ').nth(1).unwrap();
    (status.to_owned(), body.to_owned())
}

#[tokio::test]
async fn health_and_metrics_are_served_over_http() {
    let mut fixture = Fixture::start().await;
    let draining = fixture.server.draining();
    let engine = std::sync::Arc::clone(&fixture.engine);
    let http = HttpServer::start(engine, "127.0.0.1:0", draining)
        .await
        .unwrap();
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE MODEL price PREDICT y USING linear_reg WITH (data_split_method = 'NO_SPLIT') AS \
             SELECT value * 1.0 AS x, value * 2.0 AS y FROM generate_series(1, 20)",
        )
        .await
        .unwrap();
    rows(
        &client,
        "SELECT PREDICT(price USING value * 1.0) FROM generate_series(1, 5)",
    )
    .await;
    error_of(&client, "SELECT nothing").await;
    let path = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let ask = async |text: &str| get(&http, path(text).as_bytes()).await;
    assert_eq!(ask("/healthz").await, ("200".to_owned(), "ok\n".to_owned()));
    assert_eq!(
        ask("/readyz").await,
        ("200".to_owned(), "ready\n".to_owned())
    );
    assert_eq!(ask("/nothing").await.0, "404");
    let (status, metrics) = ask("/metrics").await;
    assert_eq!(status, "200");
    for line in [
        "auspex_sessions 1",
        "auspex_statements_total{kind=\"CREATE MODEL\",outcome=\"ok\"} 1",
        "auspex_statements_total{kind=\"SELECT\",outcome=\"ok\"} 1",
        "auspex_statements_total{kind=\"SELECT\",outcome=\"error\"} 1",
        "auspex_predictions_total{model=\"price\",version=\"1\"} 5",
        "auspex_trainings_total{model_type=\"LINEAR_REG\",outcome=\"ok\"} 1",
        "auspex_rows_total 5",
        "auspex_logins_total{outcome=\"ok\"} 1",
    ] {
        assert!(
            metrics
                .lines()
                .any(|found| found.eq_ignore_ascii_case(line)),
            "{line} is not in\n{metrics}"
        );
    }
    // What is no request hurts nobody.
    assert_eq!(get(&http, b"\xff\xfe\r\n\r\n").await.0, "400");
    assert_eq!(get(&http, b"POST /metrics HTTP/1.1\r\n\r\n").await.0, "405");
    assert_eq!(get(&http, &[b'x'; 9000]).await.0, "400");
    fixture.server.drain().await;
    assert_eq!(
        ask("/readyz").await,
        ("503".to_owned(), "stopping\n".to_owned())
    );
    assert_eq!(ask("/healthz").await.0, "200");
}

#[tokio::test]
async fn who_sends_no_request_keeps_nobody_waiting() {
    let fixture = Fixture::start().await;
    let draining = fixture.server.draining();
    let engine = std::sync::Arc::clone(&fixture.engine);
    let http = HttpServer::start(engine, "127.0.0.1:0", draining)
        .await
        .unwrap();
    let mut idle = Vec::new();
    for _ in 0..300 {
        idle.push(TcpStream::connect(http.address()).await.unwrap());
    }
    let asked = std::time::Instant::now();
    let health = get(&http, b"GET /healthz HTTP/1.1\r\n\r\n").await;
    assert_eq!(health, ("200".to_owned(), "ok\n".to_owned()));
    assert!(asked.elapsed() < Duration::from_secs(2));
    drop(idle);
    // What cannot become a request is answered at once, what stays short of one after a while.
    assert_eq!(get(&http, b"\x16\x03\x01\x02").await.0, "400");
    assert_eq!(get(&http, b"GET /healthz").await.0, "408");
}
