//! Messages as no driver of these tests sends them: pipelines before one sync, and messages that have not their form.

use std::time::Duration;

#[cfg(target_os = "linux")]
use auspex_server::{PeerLimits, ServerOptions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::{Fixture, error_of, rows};

pub(crate) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

pub(crate) fn sync() -> Vec<u8> {
    message(b'S', b"")
}

pub(crate) fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

/// A statement without parameters: parsed, bound and executed.
pub(crate) fn statement(text: &str) -> Vec<u8> {
    [bound("", text), executed("", 0)].concat()
}

/// A statement without parameters: parsed, and bound to a portal.
pub(crate) fn bound(portal: &str, text: &str) -> Vec<u8> {
    [
        message(b'P', format!("\0{text}\0\0\0").as_bytes()),
        message(b'B', format!("{portal}\0\0\0\0\0\0\0\0").as_bytes()),
    ]
    .concat()
}

/// At most so many rows of a portal, or all.
pub(crate) fn executed(portal: &str, limit: u8) -> Vec<u8> {
    let body = [portal.as_bytes(), &[0, 0, 0, 0, limit]].concat();
    message(b'E', &body)
}

/// A statement with parameters: parsed, bound with codes of formats for values and columns, and executed.
fn formatted(text: &str, values: &[&str], codes: &[u8], column_codes: &[u8]) -> Vec<u8> {
    let counted = |n: usize| u16::try_from(n).unwrap().to_be_bytes().to_vec();
    let written = |codes: &[u8]| {
        let codes = codes.iter().flat_map(|code| [0, *code]);
        [counted(codes.clone().count() / 2), codes.collect()].concat()
    };
    let value = |value: &&str| {
        let length = u32::try_from(value.len()).unwrap().to_be_bytes();
        [&length[..], value.as_bytes()].concat()
    };
    let values = [
        counted(values.len()),
        values.iter().flat_map(value).collect(),
    ]
    .concat();
    let bind = [
        b"\0\0".to_vec(),
        written(codes),
        values,
        written(column_codes),
    ]
    .concat();
    [
        message(b'P', format!("\0{text}\0\0\0").as_bytes()),
        message(b'B', &bind),
        executed("", 0),
        sync(),
    ]
    .concat()
}

/// A connection without a driver.
pub(crate) struct Raw(pub(crate) TcpStream);

impl Raw {
    /// Connects with a minor version of the protocol; what is answered until the server is ready.
    pub(crate) async fn connect(fixture: &Fixture, minor: u16) -> (Raw, Vec<String>) {
        Raw::connect_with(fixture, minor, &[("user", "postgres")]).await
    }

    /// The same with what the first message says.
    pub(crate) async fn connect_with(
        fixture: &Fixture,
        minor: u16,
        parameters: &[(&str, &str)],
    ) -> (Raw, Vec<String>) {
        let mut raw = Raw::begin(fixture, minor, parameters).await;
        let answers = raw.until('Z').await;
        (raw, answers)
    }

    /// Sends a first message.
    pub(crate) async fn begin(fixture: &Fixture, minor: u16, parameters: &[(&str, &str)]) -> Raw {
        let address = fixture.server.address();
        let mut raw = Raw(TcpStream::connect(address).await.unwrap());
        let version = [&3_u16.to_be_bytes()[..], &minor.to_be_bytes()].concat();
        let parameters = parameters.iter();
        let parameters = parameters.map(|(name, value)| format!("{name}\0{value}\0"));
        let body = [&version, parameters.collect::<String>().as_bytes(), b"\0"].concat();
        let length = u32::try_from(body.len() + 4).unwrap();
        let startup = [&length.to_be_bytes()[..], &body].concat();
        raw.send(&[startup]).await;
        raw
    }

    /// Sends messages, and reads what is answered until the server is ready.
    pub(crate) async fn ask(&mut self, messages: &[Vec<u8>]) -> Vec<String> {
        self.send(messages).await;
        self.until('Z').await
    }

    pub(crate) async fn send(&mut self, messages: &[Vec<u8>]) {
        self.0.write_all(&messages.concat()).await.unwrap();
    }

    /// Reads answers up to one of a kind: a completion with its tag, an error with its code, a state, a notification with its
    /// channel and text; of others the kind.
    pub(crate) async fn until(&mut self, kind: char) -> Vec<String> {
        let mut answers: Vec<String> = Vec::new();
        while !answers.last().is_some_and(|last| last.starts_with(kind)) {
            let next = tokio::time::timeout(Duration::from_secs(30), self.next()).await;
            answers.push(next.unwrap_or_else(|_| panic!("no more answers after {answers:?}")));
        }
        answers
    }

    async fn next(&mut self) -> String {
        let kind = char::from(self.0.read_u8().await.unwrap());
        let length = usize::try_from(self.0.read_u32().await.unwrap()).unwrap();
        let mut body = vec![0; length - 4];
        self.0.read_exact(&mut body).await.unwrap();
        // A notification begins with the number of a process.
        let start = if kind == 'A' { 4 } else { 0 };
        let fields = body[start..].split(|byte| *byte == 0);
        let texts = fields.map(|field| String::from_utf8_lossy(field).into_owned());
        let texts: Vec<String> = texts.collect();
        let said = match kind {
            'C' | 'Z' => texts.first().cloned(),
            'A' => Some(texts[..2].join(":")),
            'E' => texts
                .iter()
                .find_map(|text| text.strip_prefix('C').map(str::to_owned)),
            _ => None,
        };
        said.map_or_else(|| kind.to_string(), |said| format!("{kind} {said}"))
    }
}

/// The answers that tell how statements ended.
fn ends(answers: Vec<String>) -> Vec<String> {
    let tells = |answer: &String| answer.starts_with(['C', 'E', 'Z']);
    answers.into_iter().filter(tells).collect()
}

#[tokio::test]
async fn a_pipeline_is_one_transaction() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let tables = "CREATE TABLE t (id INT); CREATE TABLE u (id INT)";
    client.batch_execute(tables).await.unwrap();
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let failing = [
        statement("INSERT INTO t VALUES (1)"),
        statement("SELECT missing FROM t"),
        statement("INSERT INTO t VALUES (2)"),
        sync(),
    ];
    let answers = ends(raw.ask(&failing).await);
    assert_eq!(answers, ["C INSERT 0 1", "E 42703", "Z I"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["0"]);
    let both = [
        statement("INSERT INTO t VALUES (1)"),
        statement("SELECT id FROM t"),
        statement("INSERT INTO t VALUES (2)"),
        sync(),
    ];
    let answers = ends(raw.ask(&both).await);
    assert_eq!(
        answers,
        ["C INSERT 0 1", "C SELECT 1", "C INSERT 0 1", "Z I"]
    );
    assert_eq!(
        rows(&client, "SELECT id FROM t ORDER BY id").await,
        ["1", "2"]
    );
    // One commit beside the definition.
    let versions = "SELECT count(*) FROM table_history('t')";
    assert_eq!(rows(&client, versions).await, ["2"]);
    // A second table, and a definition behind a change, are refused, and nothing of the pipeline stays.
    let two = [
        statement("INSERT INTO t VALUES (3)"),
        statement("INSERT INTO u VALUES (3)"),
        statement("SELECT id FROM t"),
        sync(),
    ];
    let answers = ends(raw.ask(&two).await);
    assert_eq!(answers, ["C INSERT 0 1", "E 0A000", "Z I"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["2"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM u").await, ["0"]);
    // The same table under another name, and settings in between.
    let same = [
        statement("INSERT INTO t VALUES (3)"),
        statement("SET application_name = 'x'"),
        statement("INSERT INTO public.t VALUES (4)"),
        sync(),
    ];
    let answers = ends(raw.ask(&same).await);
    assert_eq!(answers, ["C INSERT 0 1", "C SET", "C INSERT 0 1", "Z I"]);
    assert_eq!(rows(&client, versions).await, ["3"]);
    let definition = [
        statement("INSERT INTO t VALUES (4)"),
        statement("CREATE TABLE v (id INT)"),
        sync(),
    ];
    let answers = ends(raw.ask(&definition).await);
    assert_eq!(answers, ["C INSERT 0 1", "E 25001", "Z I"]);
    assert_eq!(rows(&client, "SELECT count(*) FROM t").await, ["4"]);
    let before = [
        statement("CREATE TABLE v (id INT)"),
        statement("INSERT INTO v VALUES (1)"),
        sync(),
    ];
    let answers = ends(raw.ask(&before).await);
    assert_eq!(answers, ["C CREATE TABLE", "C INSERT 0 1", "Z I"]);
}

#[tokio::test]
async fn savepoints_fail_in_a_pipeline_and_take_it_back() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE t (id INT)")
        .await
        .unwrap();
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    for text in ["SAVEPOINT a", "RELEASE SAVEPOINT a", "ROLLBACK TO a"] {
        let asked = [
            statement("INSERT INTO t VALUES (1)"),
            statement(text),
            statement("INSERT INTO t VALUES (2)"),
            sync(),
        ];
        let answers = ends(raw.ask(&asked).await);
        assert_eq!(answers, ["C INSERT 0 1", "E 25P01", "Z I"], "{text}");
        assert_eq!(
            rows(&client, "SELECT count(*) FROM t").await,
            ["0"],
            "{text}"
        );
    }
    // A BEGIN makes the block one that has savepoints.
    let own = [
        statement("INSERT INTO t VALUES (1)"),
        statement("BEGIN"),
        statement("SAVEPOINT a"),
        statement("INSERT INTO t VALUES (2)"),
        statement("ROLLBACK TO a"),
        statement("COMMIT"),
        sync(),
    ];
    assert_eq!(raw.ask(&own).await.last().unwrap(), "Z I");
    assert_eq!(rows(&client, "SELECT id FROM t").await, ["1"]);
}

#[tokio::test]
async fn a_pipeline_ends_with_its_sync_or_a_query() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE t (id INT)")
        .await
        .unwrap();
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let count = "SELECT count(*) FROM t";
    raw.send(&[statement("INSERT INTO t VALUES (1)"), message(b'H', b"")])
        .await;
    assert_eq!(raw.until('C').await.last().unwrap(), "C INSERT 0 1");
    assert_eq!(rows(&client, count).await, ["0"]);
    assert_eq!(raw.ask(&[sync()]).await, ["Z I"]);
    assert_eq!(rows(&client, count).await, ["1"]);
    let asked = [statement("INSERT INTO t VALUES (2)"), query(count)];
    let answers = ends(raw.ask(&asked).await);
    assert_eq!(answers, ["C INSERT 0 1", "C SELECT 1", "Z I"]);
    assert_eq!(rows(&client, count).await, ["2"]);
    // A block of the client's own is its own to end.
    let own = [
        statement("BEGIN"),
        statement("INSERT INTO t VALUES (3)"),
        sync(),
    ];
    assert_eq!(raw.ask(&own).await.last().unwrap(), "Z T");
    assert_eq!(raw.ask(&[query("ROLLBACK")]).await.last().unwrap(), "Z I");
    assert_eq!(rows(&client, count).await, ["2"]);
    // A BEGIN behind a change makes the block of the pipeline the client's.
    let taken_over = [
        statement("INSERT INTO t VALUES (3)"),
        statement("BEGIN"),
        statement("INSERT INTO t VALUES (4)"),
        sync(),
    ];
    for (end, expected) in [("ROLLBACK", "2"), ("COMMIT", "4")] {
        assert_eq!(raw.ask(&taken_over).await.last().unwrap(), "Z T");
        assert_eq!(rows(&client, count).await, ["2"]);
        assert_eq!(raw.ask(&[query(end)]).await.last().unwrap(), "Z I");
        assert_eq!(rows(&client, count).await, [expected], "{end}");
    }
    client
        .batch_execute("DELETE FROM t WHERE id > 2")
        .await
        .unwrap();
    // What nobody syncs is not there.
    raw.send(&[statement("INSERT INTO t VALUES (4)"), message(b'H', b"")])
        .await;
    raw.until('C').await;
    drop(raw);
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let alone = [statement("INSERT INTO t VALUES (5)"), sync()];
    let answers = ends(raw.ask(&alone).await);
    assert_eq!(answers, ["C INSERT 0 1", "Z I"]);
    assert_eq!(
        rows(&client, "SELECT id FROM t ORDER BY id").await,
        ["1", "2", "5"]
    );
}

#[tokio::test]
async fn messages_without_their_form_are_refused_and_the_connection_goes_on() {
    let fixture = Fixture::start().await;
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let binds: [&[u8]; 4] = [
        b"\0\0\xff\xff\0\0\0\0",
        b"\0\0\0\0\xff\xff",
        b"\0\0\0\0\0\x01\x7f\xff\xff\xffx\0\0",
        b"\0\0\0\0\0\x01\xff\xff\xff\x00x\0\0",
    ];
    for bind in binds {
        let parse = message(b'P', b"\0SELECT $1\0\0\0");
        let asked = [parse, message(b'B', bind), query("SELECT 1"), sync()];
        assert_eq!(raw.ask(&asked).await, ["1", "E 08P01", "Z I"], "{bind:?}");
    }
    let unterminated = message(b'Q', b"SELECT 1");
    assert_eq!(raw.ask(&[unterminated]).await, ["E 08P01", "Z I"]);
    let call = message(b'F', b"\0\0\0\x01\0\0\0\0\0\0");
    assert_eq!(raw.ask(&[call]).await, ["E 0A000", "Z I"]);
    let answers = raw.ask(&[query("SELECT 1")]).await;
    assert_eq!(answers, ["T", "D", "C SELECT 1", "Z I"]);
    // After an error, a query waits for the sync as all else does.
    let asked = [statement("SELECT missing"), query("SELECT 1"), sync()];
    assert_eq!(raw.ask(&asked).await, ["E 42703", "Z I"]);
    raw.send(&[message(b'y', b"")]).await;
    assert_eq!(raw.until('E').await, ["E 08P01"]);
}

#[tokio::test]
async fn another_minor_version_is_told() {
    let fixture = Fixture::start().await;
    for (minor, told) in [(0, false), (1, true), (2, false), (9999, true)] {
        let (mut raw, answers) = Raw::connect(&fixture, minor).await;
        assert_eq!(answers[0] == "v", told, "{minor}: {answers:?}");
        assert_eq!(answers.last().unwrap(), "Z I");
        assert_eq!(ends(raw.ask(&[query("SELECT 1")]).await)[0], "C SELECT 1");
    }
}

#[tokio::test]
async fn no_text_holds_a_zero() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let error = client
        .query("SELECT $1::text", &[&"a\0b"])
        .await
        .unwrap_err();
    let error = error.as_db_error().unwrap();
    assert_eq!(error.code().code(), "22021");
    assert_eq!(
        error.message(),
        "invalid byte sequence for encoding \"UTF8\": 0x00"
    );
    // The connection goes on.
    assert_eq!(
        error_of(&client, "SELECT missing").await.code().code(),
        "42703"
    );
}

#[tokio::test]
async fn parameters_by_impossible_numbers_are_refused() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    for number in ["0", "65536", "20000000", "99999999999999"] {
        for text in [
            format!("SELECT ${number}"),
            format!("PREPARE p AS SELECT ${number}"),
            format!("CREATE VIEW v AS SELECT ${number} AS x"),
        ] {
            let error = error_of(&client, &text).await;
            assert_eq!(error.code().code(), "42P02", "{text}");
            assert_eq!(error.message(), format!("there is no parameter ${number}"));
        }
        let prepared = client.prepare(&format!("SELECT ${number}")).await;
        let error = prepared.unwrap_err();
        assert_eq!(error.as_db_error().unwrap().code().code(), "42P02");
    }
    // The simple protocol gives no values, and a definition takes none.
    for text in ["SELECT 1, $1", "CREATE VIEW v AS SELECT $1::int AS x"] {
        let error = error_of(&client, text).await;
        assert_eq!(error.code().code(), "42P02", "{text}");
        assert_eq!(error.message(), "there is no parameter $1");
    }
}

#[tokio::test]
async fn long_messages_are_not_read_ahead_and_none_is_lost() {
    let fixture = Fixture::start().await;
    let (raw, _) = Raw::connect(&fixture, 0).await;
    let long = "x".repeat(700_000);
    let mut asked = vec![query("SELECT pg_sleep(0.3)")];
    asked.extend((0..8).map(|_| query(&format!("SELECT length('{long}')"))));
    let (mut reading, mut writing) = raw.0.into_split();
    let sent = asked.concat();
    let writer = tokio::spawn(async move { writing.write_all(&sent).await.map(|()| writing) });
    let mut n_ready = 0;
    while n_ready < asked.len() {
        let kind = reading.read_u8().await.unwrap();
        let length = usize::try_from(reading.read_u32().await.unwrap()).unwrap();
        let mut body = vec![0; length - 4];
        reading.read_exact(&mut body).await.unwrap();
        assert_ne!(kind, b'E');
        n_ready += usize::from(kind == b'Z');
    }
    writer.await.unwrap().unwrap();
}

#[tokio::test]
async fn messages_that_there_is_no_memory_for_are_refused() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("ALTER ROLE postgres SET max_memory = '8MB'")
        .await
        .unwrap();
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let long = |n_megabytes: usize| format!("SELECT length('{}')", "x".repeat(n_megabytes << 20));
    let answers = ends(raw.ask(&[query(&long(4))]).await);
    assert_eq!(answers, ["C SELECT 1", "Z I"]);
    let answers = ends(raw.ask(&[query(&long(16))]).await);
    assert_eq!(answers, ["E 53200", "Z I"]);
    // What stands behind it up to the sync is skipped.
    let pipeline = [statement(&long(16)), statement("SELECT 1"), sync()];
    assert_eq!(ends(raw.ask(&pipeline).await), ["E 53200", "Z I"]);
    let answers = ends(raw.ask(&[query("SELECT 1")]).await);
    assert_eq!(answers, ["C SELECT 1", "Z I"]);
}

/// The memory that is reserved.
fn reserved(fixture: &Fixture) -> usize {
    let metrics = fixture.engine.metrics_text();
    let mut lines = metrics.lines();
    let reserved = lines.find_map(|line| line.strip_prefix("auspex_memory_reserved_bytes "));
    reserved.unwrap().parse().unwrap()
}

/// Waits until the memory that is reserved is as it should be.
async fn until_reserved(fixture: &Fixture, is_right: impl Fn(usize) -> bool) {
    let waited = async {
        while !is_right(reserved(fixture)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited)
        .await
        .unwrap();
}

#[tokio::test]
async fn sessions_and_rows_that_wait_for_a_client_take_memory() {
    let fixture = Fixture::start().await;
    assert_eq!(reserved(&fixture), 0);
    let client = fixture.connect().await;
    let before = reserved(&fixture);
    assert!(before > 0);
    // A batch that operators do not account for, of 8,192 rows, is being sent, and none waits behind it.
    let batch_bytes = 8_192 * 200;
    let raw = never_reading(&fixture, 200).await;
    until_reserved(&fixture, |n_bytes| n_bytes > before + batch_bytes).await;
    for _ in 0..25 {
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(reserved(&fixture) < before + 2 * batch_bytes);
    }
    let pid = active_others(&client, 1).await.remove(0);
    let ended = rows(&client, &format!("SELECT pg_terminate_backend({pid})")).await;
    assert_eq!(ended, ["t"]);
    until_reserved(&fixture, |n_bytes| n_bytes == before).await;
    drop(raw);
}

/// A client that asks for more rows than fit on the way, each of so many letters, and reads none.
async fn never_reading(fixture: &Fixture, n_letters: usize) -> Raw {
    let (mut raw, _) = Raw::connect(fixture, 0).await;
    let rows_of = format!("SELECT repeat('x', {n_letters}) FROM generate_series(1, 1000000)");
    raw.send(&[query(&rows_of)]).await;
    raw
}

/// Waits until so many other sessions are active; their numbers.
async fn active_others(client: &tokio_postgres::Client, wanted: usize) -> Vec<String> {
    let others =
        "SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active'";
    let waited = async {
        loop {
            let found = rows(client, others).await;
            if found.len() == wanted {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waited)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_client_that_never_reads_can_be_ended() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let raw = never_reading(&fixture, 1000).await;
    let pid = active_others(&client, 1).await.remove(0);
    // Its buffers are full by now, or soon.
    tokio::time::sleep(Duration::from_millis(500)).await;
    let ended = rows(&client, &format!("SELECT pg_terminate_backend({pid})")).await;
    assert_eq!(ended, ["t"]);
    active_others(&client, 0).await;
    drop(raw);
}

/// Other systems have no such limit.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_client_that_never_reads_ends_by_itself_where_it_shall() {
    let peers = PeerLimits {
        user_timeout: Duration::from_millis(500),
        ..PeerLimits::default()
    };
    let options = ServerOptions {
        peers,
        ..ServerOptions::default()
    };
    let fixture = Fixture::start_with(options).await;
    let client = fixture.connect().await;
    let raw = never_reading(&fixture, 1000).await;
    active_others(&client, 1).await;
    active_others(&client, 0).await;
    drop(raw);
}

#[tokio::test]
async fn what_a_fetch_or_an_execute_gives_is_read_in_parts() {
    let fixture = Fixture::start().await;
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    let numbers = "SELECT value FROM generate_series(1, 12) ORDER BY value";
    let opened = format!(
        "BEGIN; DECLARE c CURSOR FOR {numbers}; DECLARE s SCROLL CURSOR FOR {numbers};
         PREPARE p AS SELECT value FROM generate_series(1, 5)"
    );
    raw.ask(&[query(&opened)]).await;
    let in_parts = |text: &str, limits: &[u8]| {
        let limits = limits.iter().map(|limit| executed("", *limit));
        let messages: Vec<Vec<u8>> = [bound("", text)].into_iter().chain(limits).collect();
        [messages.concat(), sync()]
    };
    for (text, limits, expected) in [
        (
            "FETCH 5 FROM c",
            &[2, 2, 2, 2][..],
            "D D s D D s D C FETCH 1 C FETCH 0",
        ),
        ("FETCH 2 FROM c", &[2, 2, 2], "D D s C FETCH 0 C FETCH 0"),
        (
            "FETCH ALL FROM c",
            &[3, 0, 0],
            "D D D s D D C FETCH 2 C FETCH 0",
        ),
        ("FETCH ALL FROM c", &[3], "C FETCH 0"),
        ("FETCH 3 FROM s", &[0, 1], "D D D C FETCH 3 C FETCH 0"),
        ("FETCH BACKWARD ALL FROM s", &[1, 2], "D s D C FETCH 1"),
        (
            "EXECUTE p",
            &[2, 2, 2, 2],
            "D D s D D s D C SELECT 1 C SELECT 0",
        ),
        ("SHOW search_path", &[1, 1, 1], "D s C SHOW C SHOW"),
        ("MOVE 2 FROM s", &[1, 1], "C MOVE 2 E 55000"),
    ] {
        let state = if expected.contains("55000") { "E" } else { "T" };
        let answers = raw.ask(&in_parts(text, limits)).await;
        assert_eq!(
            answers.join(" "),
            format!("1 2 {expected} Z {state}"),
            "{text}"
        );
    }
    // What a fetch has read stays, whatever becomes of its cursor.
    let opened = format!("ROLLBACK; BEGIN; DECLARE c CURSOR FOR {numbers}");
    raw.ask(&[query(&opened)]).await;
    let messages = [
        bound("first", "FETCH 4 FROM c"),
        executed("first", 2),
        statement("FETCH 1 FROM c"),
        statement("CLOSE c"),
        executed("first", 0),
        sync(),
    ];
    let wanted = "1 2 D D s 1 2 D C FETCH 1 1 2 C CLOSE CURSOR D D C FETCH 2 Z T";
    assert_eq!(raw.ask(&messages).await.join(" "), wanted);
}

#[tokio::test]
async fn codes_of_formats_that_there_are_not_are_refused() {
    let fixture = Fixture::start().await;
    let (mut raw, _) = Raw::connect(&fixture, 0).await;
    for (text, values, codes, column_codes, expected) in [
        (
            "SELECT $1::text",
            &["a"][..],
            &[0_u8][..],
            &[7_u8][..],
            "1 E 22023 Z I",
        ),
        ("SELECT 1", &[], &[], &[7], "1 E 22023 Z I"),
        ("SELECT 1, 2", &[], &[], &[0, 2], "1 E 22023 Z I"),
        ("SELECT $1::text", &["a"], &[7], &[], "1 E 22023 Z I"),
        (
            "SELECT $1::text, $2::text",
            &["a", "b"],
            &[1, 7],
            &[],
            "1 E 22023 Z I",
        ),
        (
            "SELECT $1::text, $2::text",
            &["a", "b"],
            &[1, 0],
            &[0, 1],
            "1 2 D C SELECT 1 Z I",
        ),
        // Nobody reads codes of values and columns that there are not.
        ("SELECT 1", &[], &[7], &[], "1 2 D C SELECT 1 Z I"),
        (
            "SET application_name = 'a'",
            &[],
            &[],
            &[7, 7],
            "1 2 S C SET Z I",
        ),
    ] {
        let answers = raw
            .ask(&[formatted(text, values, codes, column_codes)])
            .await;
        assert_eq!(
            answers.join(" "),
            expected,
            "{text} {codes:?} {column_codes:?}"
        );
    }
}
