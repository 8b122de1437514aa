//! What is recorded: each statement, each error that a client is told, the beginning and the end of each session.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::Client;

use crate::messages::{Raw, bound, executed, message, query, statement, sync};
use crate::security::with_tls;
use crate::workload::ENDLESS;
use crate::{Fixture, error_of, rows};

/// A client that reads the records; those of others are told from its own by the application's name.
async fn reader(fixture: &Fixture) -> Client {
    let mut config = fixture.config();
    config.application_name("reader");
    fixture.connect_as(&config).await.0
}

/// The records of an application's statements, in the order in which they began.
async fn records(reader: &Client, application: &str) -> Vec<String> {
    let text = format!(
        "SELECT kind, rows, outcome, sqlstate, statement FROM ml.audit_log \
         WHERE event = 'statement' AND application = '{application}' ORDER BY request"
    );
    rows(reader, &text).await
}

/// The process of the session that began last.
async fn newest(reader: &Client) -> String {
    let text =
        "SELECT process_id FROM ml.audit_log WHERE event = 'login' ORDER BY request DESC LIMIT 1";
    rows(reader, text).await.remove(0)
}

/// How a session ended, once it has.
async fn end_of(reader: &Client, process_id: &str) -> String {
    let text = format!(
        "SELECT outcome, sqlstate FROM ml.audit_log \
         WHERE event = 'logout' AND process_id = {process_id}"
    );
    let ended = async {
        loop {
            if let Some(end) = rows(reader, &text).await.pop() {
                break end;
            }
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(30), ended).await;
    ended.unwrap()
}

#[tokio::test]
async fn the_audit_log_tells_who_did_what() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    root.batch_execute("CREATE USER ada; CREATE TABLE t (a INT)")
        .await
        .unwrap();
    let mut config = fixture.config();
    config.user("ada").application_name("notebook");
    let (ada, _) = fixture.connect_as(&config).await;
    error_of(&ada, "SELECT * FROM t").await;
    rows(&ada, "SELECT value FROM generate_series(1, 3)").await;
    root.batch_execute("INSERT INTO t VALUES (1), (2)")
        .await
        .unwrap();
    let text = "SELECT user_name, address, application, kind, rows, outcome, sqlstate FROM ml.audit_log \
                WHERE event = 'statement' AND (user_name = 'ada' OR kind = 'INSERT') ORDER BY request";
    assert_eq!(
        rows(&root, text).await,
        [
            "ada|127.0.0.1|notebook|SELECT|0|error|42501",
            "ada|127.0.0.1|notebook|SELECT|3|ok|∅",
            "postgres|127.0.0.1||INSERT|2|ok|∅",
        ]
    );
    assert_eq!(
        error_of(&ada, "SELECT * FROM ml.audit_log")
            .await
            .code()
            .code(),
        "42501"
    );
    let logins =
        "SELECT user_name, outcome FROM ml.audit_log WHERE event = 'login' ORDER BY request";
    assert_eq!(rows(&root, logins).await, ["postgres|ok", "ada|ok"]);
    // The same as lines of JSON.
    let lines = async {
        loop {
            let text = std::fs::read_to_string(fixture.folder.path().join("audit.ndjson")).unwrap();
            if text.contains("INSERT INTO t") {
                break text;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let text = tokio::time::timeout(Duration::from_secs(5), lines)
        .await
        .unwrap();
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(
            record["at_ms"].is_i64() && record["user"].is_string(),
            "{line}"
        );
    }
}

#[tokio::test]
async fn each_statement_of_a_query_has_one_record() {
    let fixture = Fixture::start().await;
    let reader = reader(&fixture).await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2), (3)")
        .await
        .unwrap();
    client
        .batch_execute("SET application_name = 'script'")
        .await
        .unwrap();
    for (text, sqlstate) in [
        ("SELEC 1", "42601"),
        ("ALTER ROLE ada PASWORD 'hush-hush'", "42601"),
        ("ALTER ROLE ada PASSWORD hush", "42601"),
        ("SELECT * FORM t WHERE a = 'hush'", "42601"),
        ("SELECT 1; SELECT 1/0; SELECT 2", "22012"),
    ] {
        let error = error_of(&client, text).await;
        assert_eq!(error.code().code(), sqlstate, "{text}");
    }
    // What is no statement has none.
    client.batch_execute(";").await.unwrap();
    for text in [
        "BEGIN",
        "PREPARE q AS SELECT a FROM t ORDER BY a",
        "EXECUTE q",
        "DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a",
        "FETCH 2 FROM c",
        "MOVE c",
        "CLOSE c",
    ] {
        client.batch_execute(text).await.unwrap();
    }
    error_of(&client, "CLOSE c").await;
    error_of(&client, "SELECT 1").await;
    client.batch_execute("ROLLBACK").await.unwrap();
    client.batch_execute("DEALLOCATE q").await.unwrap();
    error_of(&client, "DEALLOCATE q").await;
    assert_eq!(
        records(&reader, "script").await,
        [
            "OTHER|0|error|42601|'***'",
            "ALTER ROLE|0|error|42601|ALTER ROLE '***'",
            "ALTER ROLE|0|error|42601|ALTER ROLE '***'",
            "SELECT|0|error|42601|SELECT * FORM t WHERE a = '***'",
            "SELECT|1|ok|∅|SELECT 1",
            "SELECT|0|error|22012|SELECT 1/0",
            "BEGIN|0|ok|∅|BEGIN",
            "PREPARE|0|ok|∅|PREPARE q AS SELECT a FROM t ORDER BY a",
            "EXECUTE|3|ok|∅|EXECUTE q",
            "DECLARE|0|ok|∅|DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a",
            "FETCH|2|ok|∅|FETCH 2 FROM c",
            "MOVE|1|ok|∅|MOVE c",
            "CLOSE|0|ok|∅|CLOSE c",
            "CLOSE|0|error|34000|CLOSE c",
            "SELECT|0|error|25P02|SELECT 1",
            "ROLLBACK|0|ok|∅|ROLLBACK",
            "DEALLOCATE|0|ok|∅|DEALLOCATE q",
            "DEALLOCATE|0|error|26000|DEALLOCATE q",
        ]
    );
}

#[tokio::test]
async fn each_error_and_portal_of_the_extended_protocol_has_one_record() {
    const NUMBERS: &str = "SELECT value FROM generate_series(1, 5)";
    let fixture = Fixture::start().await;
    let reader = reader(&fixture).await;
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    raw.ask(&[query("CREATE TABLE t (a INT)")]).await;
    raw.ask(&[query("SET application_name = 'raw'")]).await;
    let described = message(b'D', b"Snone\0");
    let (ran, all) = (executed("p", 2), executed("p", 0));
    let closed = message(b'C', b"Pp\0");
    let unterminated = message(b'P', b"\0SELECT 1");
    for messages in [
        vec![bound("", "SELEC 1")],
        // A value too few, and names that nobody has given.
        vec![bound("", "SELECT $1::int")],
        vec![described],
        vec![executed("none", 0)],
        vec![statement("SELECT 1")],
        // Portals: left with the sync, read to the end, and closed.
        vec![bound("p", NUMBERS), ran.clone(), ran.clone()],
        vec![bound("p", NUMBERS), ran.clone(), all],
        vec![bound("p", NUMBERS), ran, closed],
        vec![unterminated],
        vec![
            statement("BEGIN"),
            statement(&format!("DECLARE c CURSOR FOR {NUMBERS}")),
        ],
        vec![
            bound("f", "FETCH 3 FROM c"),
            executed("f", 2),
            executed("f", 2),
        ],
        vec![statement("EXECUTE nothing")],
        vec![statement("ROLLBACK"), statement("")],
        vec![statement(&format!("PREPARE q AS {NUMBERS}"))],
        vec![bound("", "EXECUTE q"), executed("", 3), executed("", 0)],
        vec![statement("DEALLOCATE q"), statement("DEALLOCATE q")],
    ] {
        raw.ask(&[messages.concat(), sync()]).await;
    }
    raw.ask(&[message(b'F', &[0; 10])]).await;
    let read = |what: &str| format!("{what}|∅|{NUMBERS}");
    assert_eq!(
        records(&reader, "raw").await,
        [
            "OTHER|0|error|42601|'***'",
            "SELECT|0|error|08P01|SELECT $1::int",
            "OTHER|0|error|26000|",
            "OTHER|0|error|34000|",
            "SELECT|1|ok|∅|SELECT 1",
            &read("SELECT|4|abandoned"),
            &read("SELECT|5|ok"),
            &read("SELECT|2|abandoned"),
            "OTHER|0|error|08P01|",
            "BEGIN|0|ok|∅|BEGIN",
            &format!("DECLARE|0|ok|∅|DECLARE c CURSOR FOR {NUMBERS}"),
            "FETCH|3|ok|∅|FETCH 3 FROM c",
            "EXECUTE|0|error|26000|EXECUTE nothing",
            "ROLLBACK|0|ok|∅|ROLLBACK",
            &format!("PREPARE|0|ok|∅|PREPARE q AS {NUMBERS}"),
            "EXECUTE|5|ok|∅|EXECUTE q",
            "DEALLOCATE|0|ok|∅|DEALLOCATE q",
            "DEALLOCATE|0|error|26000|DEALLOCATE q",
            "OTHER|0|error|0A000|",
        ]
    );
}

#[tokio::test]
async fn no_record_holds_what_stands_behind_the_name_of_a_secret() {
    let fixture = Fixture::start().await;
    let reader = reader(&fixture).await;
    let mut config = fixture.config();
    config.application_name("leaky");
    let (client, _) = fixture.connect_as(&config).await;
    let texts = [
        "create external table x stored as csv location '/nowhere/x.csv' \
         options ('aws.access_key_id' 'hush', 'aws.secret_access_key' 'hush')",
        "copy (select 1) to '/nowhere/x.csv' options ('aws.session_token' 'hush')",
        "select * from read_csv('/nowhere/x.csv', secret => 'hush')",
        "set s3_secret_access_key = 'hush'",
        "create secret (type s3, key_id 'hush', secret 'hush')",
        "sett s3_secret_access_key = 'hush'",
    ];
    for text in texts {
        error_of(&client, text).await;
        let shown = "SELECT query FROM pg_stat_activity WHERE application_name = 'leaky'";
        let shown = rows(&reader, shown).await;
        assert!(!shown[0].contains("hush"), "{shown:?}");
    }
    let records = records(&reader, "leaky").await;
    assert_eq!(records.len(), texts.len());
    for record in records {
        assert!(!record.contains("hush"), "{record}");
    }
}

#[tokio::test]
async fn a_copy_is_recorded_as_its_client_is_told_of_it() {
    let fixture = Fixture::start().await;
    let reader = reader(&fixture).await;
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    raw.ask(&[query("CREATE TABLE t (a INT)")]).await;
    raw.ask(&[query("SET application_name = 'raw'")]).await;
    let done = message(b'c', b"");
    for sent in [
        message(b'f', b"enough\0"),
        [message(b'd', b"x\n"), done.clone()].concat(),
        [message(b'd', b"4\n5\n"), done].concat(),
    ] {
        raw.send(&[query("COPY t FROM STDIN")]).await;
        raw.until('G').await;
        raw.ask(&[sent]).await;
    }
    raw.ask(&[query("COPY t TO STDOUT")]).await;
    assert_eq!(
        records(&reader, "raw").await,
        [
            "COPY|0|cancelled|57014|COPY t FROM STDIN",
            "COPY|0|error|22P02|COPY t FROM STDIN",
            "COPY|2|ok|∅|COPY t FROM STDIN",
            "COPY|2|ok|∅|COPY t TO STDOUT",
        ]
    );
}

#[tokio::test]
async fn the_end_of_a_session_is_recorded() {
    let fixture = Fixture::start().await;
    let reader = reader(&fixture).await;
    let terminate = async |process_id: &str| {
        let text = format!("SELECT pg_terminate_backend({process_id})");
        assert_eq!(rows(&reader, &text).await, ["t"]);
    };
    // With a word, and without one.
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let left = newest(&reader).await;
    raw.send(&[message(b'X', b"")]).await;
    assert_eq!(end_of(&reader, &left).await, "ok|∅");
    let (raw, _) = Raw::connect(&fixture, 0).await;
    let lost = newest(&reader).await;
    drop(raw);
    assert_eq!(end_of(&reader, &lost).await, "abandoned|∅");
    // By the server: while it waits, and while it is at work.
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let ended = newest(&reader).await;
    terminate(&ended).await;
    assert_eq!(raw.until('E').await, ["E 57P01"]);
    assert_eq!(end_of(&reader, &ended).await, "error|57P01");
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let ended = newest(&reader).await;
    raw.send(&[query("SET application_name = 'busy'"), query(ENDLESS)])
        .await;
    let active =
        format!("SELECT 1 FROM pg_stat_activity WHERE pid = {ended} AND query LIKE 'SELECT%'");
    let is_active = async { while rows(&reader, &active).await.is_empty() {} };
    let is_active = tokio::time::timeout(Duration::from_secs(30), is_active).await;
    is_active.unwrap();
    terminate(&ended).await;
    raw.until('E').await;
    assert_eq!(end_of(&reader, &ended).await, "error|57P01");
    let found = records(&reader, "busy").await;
    assert_eq!(found, [format!("SELECT|0|error|57P01|{ENDLESS}")]);
    // Each that began has ended once, but for the reader's.
    let sessions = "SELECT event, count(*), count(DISTINCT process_id) FROM ml.audit_log \
                    WHERE event <> 'statement' GROUP BY event ORDER BY event";
    assert_eq!(rows(&reader, sessions).await, ["login|5|5", "logout|4|4"]);
}

#[tokio::test]
async fn who_is_not_let_in_is_recorded() {
    let fixture = Fixture::start().await;
    let reader = reader(&fixture).await;
    let mut config = fixture.config();
    config.dbname("other");
    let refused = config.connect(tokio_postgres::NoTls).await;
    assert!(refused.is_err());
    // No startup message at all.
    let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let reading = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(Duration::from_secs(5), reading)
        .await
        .unwrap();
    let text = "SELECT user_name, outcome, sqlstate FROM ml.audit_log \
                WHERE event = 'login' AND sqlstate IS NOT NULL ORDER BY request";
    assert_eq!(
        rows(&reader, text).await,
        ["postgres|error|3D000", "|error|08P01"]
    );
}

/// What is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut log = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        log.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn clients_that_fail_before_they_name_a_user_are_logged() {
    const REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    // Of this thread, which runs the server, too.
    let _logging = tracing::subscriber::set_default(subscriber);
    let fixture = with_tls("[[hba]]\nmethod = \"trust\"").await;
    let knock = async |bytes: &[u8]| {
        let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .unwrap();
        let text = log.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&text).into_owned();
        let words = ["TLS handshake", "connection refused"];
        let is_told = |line: &&str| words.iter().any(|words| line.contains(words));
        let lines = text.lines().filter(is_told);
        lines.map(str::to_owned).collect::<Vec<String>>()
    };
    assert!(knock(b"").await.is_empty(), "nobody wanted TLS");
    let lines = knock(&[REQUEST, b"what is no TLS at all"].concat()).await;
    let [line] = lines.as_slice() else {
        panic!("{lines:?}");
    };
    assert!(
        line.contains(" INFO ") && line.contains("TLS handshake failed address=127.0.0.1 reason="),
        "{line}"
    );
    let lines = knock(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(
        lines.len() == 2 && lines[1].contains("connection refused address=127.0.0.1 reason="),
        "{lines:?}"
    );
    // However often either is tried, there are so many lines.
    for _ in 0..15 {
        knock(&[0x16, 3, 1, 0, 5, 0xff, 0xff, 0xff, 0xff, 0xff]).await;
        knock(b"GET / HTTP/1.1\r\n\r\n").await;
    }
    assert_eq!(knock(b"").await.len(), 20);
}
