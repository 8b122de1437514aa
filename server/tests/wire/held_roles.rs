//! Sessions and their roles: a session holds the role that opened it, whatever its name comes to mean; and what it takes to
//! connect at all.

use std::time::Duration;

use tokio_postgres::{Client, Config, NoTls};

use crate::messages::{Raw, query};
use crate::{Fixture, error_of, rows};

fn config_of(fixture: &Fixture, user: &str) -> Config {
    let mut config = fixture.config();
    config.user(user);
    config
}

async fn connect(fixture: &Fixture, user: &str) -> Client {
    fixture.connect_as(&config_of(fixture, user)).await.0
}

async fn run(client: &Client, text: &str) {
    client
        .batch_execute(text)
        .await
        .unwrap_or_else(|error| panic!("{text}: {error:?}"));
}

async fn sqlstate(client: &Client, text: &str) -> String {
    error_of(client, text).await.code().code().to_owned()
}

#[tokio::test]
async fn a_new_role_of_the_name_gives_an_old_session_nothing() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    run(
        &root,
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE USER ada; CREATE USER bob; \
         GRANT SELECT ON t TO ada",
    )
    .await;
    let ada = connect(&fixture, "ada").await;
    run(&ada, "PREPARE reading AS SELECT a FROM t").await;
    assert_eq!(rows(&ada, "EXECUTE reading").await, ["1"]);
    run(&root, "REVOKE SELECT ON t FROM ada; DROP ROLE ada").await;
    assert_eq!(sqlstate(&ada, "SELECT a FROM t").await, "42501");
    run(&root, "CREATE USER ada SUPERUSER").await;
    assert_eq!(sqlstate(&ada, "SELECT a FROM t").await, "42501");
    assert_eq!(sqlstate(&ada, "EXECUTE reading").await, "42501");
    assert_eq!(sqlstate(&ada, "CREATE ROLE eve SUPERUSER").await, "42501");
    assert_eq!(sqlstate(&ada, "SET ROLE bob").await, "42501");
    // What it does needs no role, and it makes nothing that would be nobody's.
    assert_eq!(
        rows(&ada, "SELECT 1 WHERE current_user <> 'ada'").await,
        ["1"]
    );
    run(&root, "GRANT CREATE ON SCHEMA public TO PUBLIC").await;
    assert_eq!(sqlstate(&ada, "CREATE TABLE mine (a int)").await, "42704");
    // A new session is the new role's.
    let new = connect(&fixture, "ada").await;
    assert_eq!(rows(&new, "SELECT a FROM t").await, ["1"]);
    let users = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'ada'";
    assert_eq!(rows(&root, users).await, ["1"]);
}

#[tokio::test]
async fn a_session_goes_on_under_the_new_name_of_its_role() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    run(
        &root,
        "CREATE TABLE t (a int); INSERT INTO t VALUES (1); CREATE USER ada; CREATE ROLE writers; \
         GRANT writers TO ada; GRANT SELECT ON t TO ada; GRANT INSERT ON t TO writers",
    )
    .await;
    let ada = connect(&fixture, "ada").await;
    run(
        &ada,
        "CREATE TEMP TABLE own (a int); INSERT INTO own VALUES (7); CREATE TEMP VIEW seen AS SELECT a FROM t; \
         CREATE TEMP SEQUENCE steps",
    )
    .await;
    run(&root, "ALTER ROLE ada RENAME TO eva").await;
    let names = "SELECT current_user, session_user";
    assert_eq!(rows(&ada, names).await, ["eva|eva"]);
    assert_eq!(rows(&ada, "SELECT a FROM t").await, ["1"]);
    assert_eq!(rows(&ada, "SELECT a FROM own").await, ["7"]);
    assert_eq!(rows(&ada, "SELECT a FROM seen").await, ["1"]);
    let owners = "SELECT relname, pg_get_userbyid(relowner) FROM pg_class \
                  WHERE relname IN ('own', 'seen', 'steps') ORDER BY relname";
    assert_eq!(
        rows(&ada, owners).await,
        ["own|eva", "seen|eva", "steps|eva"]
    );
    let users = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'eva'";
    assert_eq!(rows(&root, users).await, ["1"]);
    // Whoever has the old name now gives it nothing, and takes nothing away.
    run(
        &root,
        "CREATE USER ada; GRANT SELECT ON t TO ada; REVOKE SELECT ON t FROM eva",
    )
    .await;
    assert_eq!(sqlstate(&ada, "SELECT a FROM t").await, "42501");
    assert_eq!(sqlstate(&ada, "SELECT a FROM seen").await, "42501");
    // So with the role that SET ROLE took.
    run(&ada, "SET ROLE writers").await;
    run(&root, "ALTER ROLE writers RENAME TO scribes").await;
    run(&ada, "INSERT INTO t VALUES (2)").await;
    assert_eq!(rows(&ada, names).await, ["scribes|eva"]);
    run(&root, "REVOKE INSERT ON t FROM scribes; DROP ROLE scribes").await;
    run(&root, "CREATE ROLE scribes SUPERUSER").await;
    assert_eq!(sqlstate(&ada, "INSERT INTO t VALUES (3)").await, "42501");
}

#[tokio::test]
async fn who_may_not_connect_is_not_let_in() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    run(&root, "CREATE USER ada; CREATE USER bob").await;
    let before = connect(&fixture, "ada").await;
    run(
        &root,
        "REVOKE CONNECT, TEMPORARY ON DATABASE postgres FROM PUBLIC; \
         GRANT CONNECT ON DATABASE postgres TO bob",
    )
    .await;
    let error = config_of(&fixture, "ada")
        .connect(NoTls)
        .await
        .err()
        .unwrap();
    let error = error.as_db_error().unwrap();
    assert_eq!((error.severity(), error.code().code()), ("FATAL", "42501"));
    assert_eq!(
        error.message(),
        "permission denied for database \"postgres\""
    );
    assert_eq!(
        error.detail(),
        Some("User does not have CONNECT privilege.")
    );
    // Those who are in stay, but for what is taken away.
    assert_eq!(rows(&before, "SELECT 1").await, ["1"]);
    let bob = connect(&fixture, "bob").await;
    for text in [
        "CREATE TEMP TABLE x (a int)",
        "CREATE TEMP TABLE x AS SELECT 1 AS a",
        "CREATE TEMP VIEW x AS SELECT 1 AS a",
        "CREATE TEMP SEQUENCE x",
        "CREATE SEQUENCE pg_temp.x",
        "CREATE SCHEMA x",
    ] {
        assert_eq!(sqlstate(&bob, text).await, "42501", "{text}");
    }
    run(&root, "CREATE TEMP TABLE x (a int)").await;
    run(
        &root,
        "GRANT CREATE, TEMPORARY ON DATABASE postgres TO bob; GRANT CONNECT ON DATABASE postgres TO PUBLIC",
    )
    .await;
    run(&bob, "CREATE TEMP TABLE x (a int); CREATE SCHEMA x").await;
    connect(&fixture, "ada").await;
}

#[tokio::test]
async fn who_does_not_own_a_table_is_told_that_it_is_not_analyzed() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    run(&root, "CREATE TABLE t (a int); CREATE USER ada").await;
    let (ada, mut notices) = fixture.connect_as(&config_of(&fixture, "ada")).await;
    run(&ada, "ANALYZE t").await;
    let notice = notices.recv().await.unwrap();
    assert_eq!(
        (notice.severity(), notice.code().code()),
        ("WARNING", "01000")
    );
    assert_eq!(
        notice.message(),
        "skipping \"t\" --- only table or database owner can analyze it"
    );
    run(&root, "ALTER TABLE t OWNER TO ada").await;
    run(&ada, "ANALYZE t; ANALYZE").await;
    assert!(notices.try_recv().is_err());
}

#[tokio::test]
async fn the_default_of_access_is_told_when_it_changes() {
    let fixture = Fixture::start().await;
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    for (text, expected) in [
        (
            "SET default_transaction_read_only = on",
            vec!["S", "C SET", "Z I"],
        ),
        (
            "SET default_transaction_read_only = on",
            vec!["C SET", "Z I"],
        ),
        (
            "RESET default_transaction_read_only",
            vec!["S", "C RESET", "Z I"],
        ),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            vec!["S", "C SET", "Z I"],
        ),
    ] {
        assert_eq!(raw.ask(&[query(text)]).await, expected, "{text}");
    }
}

#[tokio::test]
async fn a_block_goes_on_to_its_end_when_the_server_stops() {
    let mut fixture = Fixture::start().await;
    let client = fixture.connect().await;
    run(&client, "CREATE TABLE t (a int)").await;
    run(&client, "BEGIN; INSERT INTO t VALUES (1)").await;
    let draining = fixture.server.draining();
    let block = async {
        draining.cancelled().await;
        run(&client, "INSERT INTO t VALUES (2)").await;
        run(&client, "COMMIT").await;
    };
    let stopping = tokio::time::timeout(Duration::from_secs(15), fixture.server.drain());
    let (stopped, ()) = tokio::join!(stopping, block);
    stopped.expect("the server stops");
}

/// Statements that make an object, and wait for an advisory lock before they do.
const MAKING: [&str; 4] = [
    "CREATE TABLE made AS SELECT 1 AS a, pg_advisory_lock(7) AS b",
    "CREATE TEMP TABLE made AS SELECT 1 AS a, pg_advisory_lock(7) AS b",
    "CREATE MATERIALIZED VIEW made AS SELECT 1 AS a, pg_advisory_lock(7) AS b",
    "CREATE MODEL made PREDICT y USING linear_reg WITH (data_split_method = 'NO_SPLIT') AS \
     SELECT value * 1.0 AS x, value * 2.0 AS y FROM generate_series(1, 20) \
     WHERE pg_advisory_lock(7) IS NOT NULL",
];
const OWNER: &str = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname = 'made'";

/// Runs such a statement, and something else for a superuser while it waits; how it ends.
async fn meanwhile(
    fixture: &Fixture,
    ada: &Client,
    making: &str,
    then: &str,
) -> Result<(), tokio_postgres::Error> {
    let root = fixture.connect().await;
    run(&root, "SELECT pg_advisory_lock(7)").await;
    let other = async {
        let waiting = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        while rows(&root, waiting).await != ["1"] {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        run(&root, then).await;
        run(&root, "SELECT pg_advisory_unlock_all()").await;
    };
    let both = async { tokio::join!(ada.batch_execute(making), other) };
    let both = tokio::time::timeout(Duration::from_secs(60), both).await;
    let (made, ()) = both.expect("the statement ends");
    run(ada, "SELECT pg_advisory_unlock_all()").await;
    made
}

/// How many files the warehouse has beside its catalog.
fn n_files(folder: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().map(Result::unwrap);
    let counted = entries.map(|entry| {
        let is_folder = entry.file_type().unwrap().is_dir();
        match is_folder {
            true if entry.file_name() == "catalog" => 0,
            true => n_files(&entry.path()),
            false => 1,
        }
    });
    counted.sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_long_statement_makes_is_its_roles_under_the_name_of_then() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    run(
        &root,
        "GRANT CREATE, CREATE MODEL ON SCHEMA public TO PUBLIC; CREATE USER ada; CREATE ROLE reader; \
         ALTER DEFAULT PRIVILEGES FOR ROLE ada GRANT SELECT ON TABLES TO reader",
    )
    .await;
    let ada = connect(&fixture, "ada").await;
    for making in MAKING {
        // Another role gets the name, and nothing of what is made.
        let then = "ALTER ROLE ada RENAME TO eva; CREATE USER ada";
        let made = meanwhile(&fixture, &ada, making, then).await;
        made.unwrap_or_else(|error| panic!("{making}: {error:?}"));
        assert_eq!(rows(&ada, OWNER).await, ["eva"], "{making}");
        if making.starts_with("CREATE TABLE") {
            let granted = "SELECT has_table_privilege('reader', 'made', 'SELECT')";
            assert_eq!(rows(&ada, granted).await, ["t"]);
        }
        let mut kind = ["MATERIALIZED VIEW", "MODEL"].into_iter();
        let kind = kind.find(|kind| making.contains(kind)).unwrap_or("TABLE");
        run(&ada, &format!("DROP {kind} made")).await;
        run(&root, "DROP ROLE ada; ALTER ROLE eva RENAME TO ada").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_statement_of_a_dropped_role_makes_nothing() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    run(
        &root,
        "GRANT CREATE, CREATE MODEL ON SCHEMA public TO PUBLIC",
    )
    .await;
    let warehouse = fixture.folder.path().join("warehouse");
    for making in MAKING {
        run(&root, "CREATE USER ada").await;
        let ada = connect(&fixture, "ada").await;
        let then = "DROP ROLE ada; CREATE USER ada";
        let error = meanwhile(&fixture, &ada, making, then).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), "42704", "{making}: {error:?}");
        assert_eq!(error.message(), "role \"ada\" was dropped meanwhile");
        for client in [&root, &ada] {
            assert!(rows(client, OWNER).await.is_empty(), "{making}");
        }
        assert_eq!(n_files(&warehouse), 0, "{making}");
        run(&root, "DROP ROLE ada").await;
    }
}

#[tokio::test]
async fn a_session_is_of_the_role_whose_password_was_given() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    run(
        &root,
        "CREATE USER ada PASSWORD 'x'; CREATE USER bob PASSWORD 'y'",
    )
    .await;
    let facts = fixture.engine.login_facts("ada").await.unwrap();
    let connect = || {
        fixture.engine.connect(&auspex_planner::ClientFacts {
            user: "ada".to_owned(),
            proven: Some(facts.role.clone()),
            ..auspex_planner::ClientFacts::default()
        })
    };
    assert!(connect().is_ok());
    // Between the password and the session.
    let swap = "ALTER ROLE ada RENAME TO eve; ALTER ROLE bob RENAME TO ada";
    run(&root, swap).await;
    let error = connect().err().unwrap();
    assert_eq!(error.report().sqlstate, "28000");
    let facts = fixture.engine.login_facts("ada").await.unwrap();
    run(&root, "DROP ROLE ada; CREATE USER ada PASSWORD 'y'").await;
    let client = auspex_planner::ClientFacts {
        user: "ada".to_owned(),
        proven: Some(facts.role),
        ..auspex_planner::ClientFacts::default()
    };
    assert!(fixture.engine.connect(&client).is_err());
}
