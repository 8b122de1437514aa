//! Connections: who may come, what they are told, how they end.

use std::sync::Arc;
use std::time::Duration;

use auspex_planner::{Engine, EngineConfig};
use auspex_server::{ListenError, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

use crate::messages::{Raw, message, query, statement, sync};
use crate::{Fixture, error_of, rows};

/// The message by which the user postgres begins: length, protocol 3.0, and one parameter.
const STARTUP: &[u8] = b"\0\0\0\x17\0\x03\0\0user\0postgres\0\0";

#[tokio::test]
async fn settings_of_the_startup_message_are_taken() {
    let fixture = Fixture::start().await;
    let mut config = fixture.config();
    config
        .application_name("a test")
        .options("-c seed=7 -c geqo=off -c TimeZone=Europe/Berlin");
    let (client, mut notices) = fixture.connect_as(&config).await;
    assert_eq!(rows(&client, "SHOW application_name").await, ["a test"]);
    assert_eq!(rows(&client, "SHOW seed").await, ["7"]);
    assert_eq!(rows(&client, "SHOW timezone").await, ["Europe/Berlin"]);
    // What only PostgreSQL has is told, and no reason to refuse.
    let warning = notices.try_recv();
    assert!(warning.is_err() || warning.unwrap().message().contains("geqo"));
}

#[tokio::test]
async fn a_reset_goes_back_to_the_startup_message() {
    let fixture = Fixture::start().await;
    let owner = fixture.connect().await;
    owner
        .batch_execute(
            "CREATE SCHEMA s; CREATE TABLE t (a INT); CREATE TABLE s.t (a INT); \
             INSERT INTO t VALUES (1); INSERT INTO s.t VALUES (2); \
             ALTER ROLE postgres SET seed = 7; ALTER ROLE postgres SET statement_timeout = '7s'; \
             ALTER ROLE postgres SET application_name = 'the role''s'",
        )
        .await
        .unwrap();
    let mut config = fixture.config();
    config.application_name("mine").options(
        "-c search_path=s -c statement_timeout=9s -c geqo=off -c app.tenant=x -c TimeZone=Asia/Tokyo",
    );
    let (client, _notices) = fixture.connect_as(&config).await;
    let names = [
        "search_path",
        "statement_timeout",
        "seed",
        "geqo",
        "app.tenant",
        "timezone",
        "application_name",
    ];
    // What the client came with goes over what its role has.
    let base = ["s", "9s", "7", "off", "x", "Asia/Tokyo", "mine"];
    let shown = async || -> Vec<String> {
        let asked = names.map(|name| format!("current_setting('{name}')"));
        let row = rows(&client, &format!("SELECT {}", asked.join(", "))).await;
        row[0].split('|').map(ToOwned::to_owned).collect()
    };
    assert_eq!(shown().await, base);
    let change = "SET search_path = public; SET statement_timeout = 5000; SET seed = 8; SET geqo = on; \
                  SET app.tenant = 'y'; SET timezone = 'UTC'; SET application_name = 'other'";
    let each = |before: &str, behind: &str| {
        let statement = |name: &str| format!("{before} {name} {behind}");
        names.map(statement).join("; ")
    };
    let resets = [
        "RESET ALL".to_owned(),
        "DISCARD ALL".to_owned(),
        each("RESET", ""),
        each("SET", "TO DEFAULT"),
    ];
    for reset in resets {
        client.batch_execute(change).await.unwrap();
        let changed = ["public", "5s", "8", "on", "y", "UTC", "other"];
        assert_eq!(shown().await, changed);
        assert_eq!(rows(&client, "SELECT a FROM t").await, ["1"]);
        client.batch_execute(&reset).await.unwrap();
        assert_eq!(shown().await, base, "{reset}");
        assert_eq!(rows(&client, "SELECT a FROM t").await, ["2"], "{reset}");
    }
    let values = "SELECT reset_val, boot_val FROM pg_settings \
                  WHERE name IN ('application_name', 'geqo', 'TimeZone') ORDER BY name COLLATE \"C\"";
    let values = rows(&client, values).await;
    assert_eq!(values, ["Asia/Tokyo|UTC", "mine|", "off|on"]);
    // A client that tells no name has that of its role.
    let nameless = fixture.connect().await;
    let name = "SELECT current_setting('application_name')";
    assert_eq!(rows(&nameless, name).await, ["the role's"]);
}

#[tokio::test]
async fn names_of_applications_are_cut_and_cleaned_as_in_postgresql() {
    let fixture = Fixture::start().await;
    let shown = "SELECT current_setting('application_name'), application_name \
                 FROM pg_stat_activity WHERE pid = pg_backend_pid()";
    let twice = |name: &str| [format!("{name}|{name}")];
    let mut config = fixture.config();
    config.application_name("é".repeat(40));
    let (client, _) = fixture.connect_as(&config).await;
    // 31 characters of two bytes are the most that are whole within 63 bytes.
    assert_eq!(rows(&client, shown).await, twice(&"?".repeat(62)));
    let long = "x".repeat(31_000);
    client
        .batch_execute(&format!("SET application_name = '{long}'"))
        .await
        .unwrap();
    assert_eq!(rows(&client, shown).await, twice(&long[..63]));
    client
        .batch_execute("SELECT set_config('application_name', 'a' || chr(10) || 'é', false)")
        .await
        .unwrap();
    let own = "SELECT current_setting('application_name')";
    assert_eq!(rows(&client, own).await, ["a???"]);
    client
        .batch_execute(&format!(
            "ALTER ROLE postgres SET application_name = '{long}'"
        ))
        .await
        .unwrap();
    let nameless = fixture.connect().await;
    assert_eq!(rows(&nameless, shown).await, twice(&long[..63]));
}

#[tokio::test]
async fn an_unknown_database_is_refused_with_a_hint() {
    let fixture = Fixture::start().await;
    let mut config = fixture.config();
    config.dbname("nothing");
    let Err(error) = config.connect(NoTls).await else {
        panic!("connected")
    };
    let error = error.as_db_error().unwrap();
    assert_eq!((error.severity(), error.code().code()), ("FATAL", "3D000"));
    assert_eq!(error.message(), "database \"nothing\" does not exist");
    assert!(error.hint().unwrap().contains("\"postgres\""));
}

#[tokio::test]
async fn the_server_tells_what_clients_ask_first() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    assert_eq!(
        rows(&client, "SELECT current_user, current_database()").await,
        ["postgres|postgres"]
    );
    assert_eq!(rows(&client, "SELECT current_schema()").await, ["public"]);
    let version = rows(&client, "SELECT version()").await;
    assert!(
        version[0].starts_with("PostgreSQL 15.0, Auspex "),
        "{version:?}"
    );
    let pid = rows(&client, "SELECT pg_backend_pid()").await;
    assert_ne!(pid, ["0"]);
}

#[tokio::test]
async fn a_port_that_cannot_be_had_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let warehouse = folder.path().display().to_string();
    let config = EngineConfig {
        warehouse,
        ..EngineConfig::default()
    };
    let engine = Box::pin(Engine::open(config)).await.unwrap();
    let first = Server::bind(Arc::clone(&engine), "127.0.0.1:0")
        .await
        .unwrap();
    let busy = Server::bind(Arc::clone(&engine), &first.address().to_string())
        .await
        .err()
        .unwrap();
    assert!(busy.to_string().ends_with("the port is in use"), "{busy}");
    let wrong = Server::bind(engine, "nonsense").await.err().unwrap();
    assert!(matches!(wrong, ListenError::Address { .. }));
}

#[tokio::test]
async fn stopping_ends_what_runs() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let slow = "SELECT count(*) FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b \
                WHERE (a.a * b.b) % 7 = 3";
    let stop = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        tokio::time::timeout(Duration::from_secs(4), fixture.server.stop())
            .await
            .unwrap();
    };
    let (error, ()) = tokio::join!(error_of(&client, slow), stop);
    assert_eq!((error.severity(), error.code().code()), ("FATAL", "57P01"));
}

#[tokio::test]
async fn garbage_hurts_only_its_sender() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\0\0\0\x08\0\x09\0\0",
        b"\xff\xff\xff\xff\xff\xff\xff\xff",
        // After the startup: an unknown message, and a bind message that ends too early.
        b"y\0\0\0\x04",
        b"B\0\0\0\x08\0\0\xff\xff",
    ];
    for (idx, bytes) in garbage.into_iter().enumerate() {
        let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
        if idx >= 3 {
            stream.write_all(STARTUP).await.unwrap();
        }
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        // The server answers or hangs up; it does neither later than this.
        let reading = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .unwrap();
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn a_client_that_leaves_stops_its_statement() {
    let fixture = Fixture::start().await;
    let watcher = fixture.connect().await;
    watcher
        .simple_query(
            "CREATE TABLE big AS SELECT value AS x, value % 7 AS y FROM generate_series(1, 200000)",
        )
        .await
        .unwrap();
    // A bare socket, since a driver would wait for the answer before it hangs up.
    let mut leaver = TcpStream::connect(fixture.server.address()).await.unwrap();
    leaver.write_all(STARTUP).await.unwrap();
    let text = "CREATE MODEL endless USING kmeans WITH (num_clusters = 64, max_iterations = 100000, \
                early_stop = false, distance_type = 'COSINE') AS SELECT * FROM big\0";
    let length = i32::try_from(text.len() + 4).unwrap();
    let message = [b"Q", &length.to_be_bytes()[..], text.as_bytes()].concat();
    leaver.write_all(&message).await.unwrap();
    let running = || rows(&watcher, "SELECT count(*) FROM pg_stat_progress_train");
    wait_until(async || running().await == ["1"]).await;
    drop(leaver);
    wait_until(async || running().await == ["0"]).await;
}

#[tokio::test]
async fn what_stands_before_a_goodbye_is_carried_out() {
    let fixture = Fixture::start().await;
    let watcher = fixture.connect().await;
    watcher
        .simple_query("CREATE TABLE t (a INT)")
        .await
        .unwrap();
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    // The first still runs when the last comes.
    let written = statement("INSERT INTO t VALUES (1)");
    let goodbye = message(b'X', b"");
    raw.send(&[query("SELECT pg_sleep(0.3)"), written, sync(), goodbye])
        .await;
    wait_until(async || rows(&watcher, "SELECT count(*) FROM t").await == ["1"]).await;
    let mut rest = Vec::new();
    raw.0.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test]
async fn a_goodbye_behind_nothing_stops_a_statement() {
    let fixture = Fixture::start().await;
    let watcher = fixture.connect().await;
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    raw.send(&[statement("SELECT pg_sleep(60)"), sync()]).await;
    let running =
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%sleep(60)' AND state = 'active'";
    wait_until(async || rows(&watcher, running).await == ["1"]).await;
    raw.send(&[message(b'X', b"")]).await;
    let mut rest = Vec::new();
    let ended = raw.0.read_to_end(&mut rest);
    let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
    ended.expect("it goes on").unwrap();
}

async fn wait_until(condition: impl AsyncFn() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting)
        .await
        .expect("it did not happen");
}
