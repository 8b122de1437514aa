//! Bad input: bytes that are no messages, messages that are cut or lie about their length, statements that are too
//! large, and clients that do not read. The server lives, and others do not notice.
//!
//! The mutations come from a seed; `AUSPEX_FUZZ_ROUNDS` sets how many there are, 0 meaning until it is stopped.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::types::{ToSql, Type};

use crate::{Fixture, error_of, rows};

/// How many mutated conversations are tried unless the environment says otherwise.
const ROUNDS: u64 = 150;

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

fn startup() -> Vec<u8> {
    let mut body = 196_608_u32.to_be_bytes().to_vec();
    body.extend(b"user\0postgres\0database\0postgres\0\0");
    let mut bytes = (body.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

/// Conversations as clients have them, from which mutations are made.
fn corpus() -> Vec<Vec<u8>> {
    let parse = message(b'P', b"s\0SELECT $1 + 1, 'x'\0\0\x01\0\0\0\x17");
    let bind = message(
        b'B',
        b"\0s\0\0\x01\0\x01\0\x01\0\0\0\x04\0\0\0\x07\0\x01\0\x01",
    );
    let mut extended = parse.clone();
    for part in [
        bind,
        message(b'D', b"P\0"),
        message(b'E', b"\0\0\0\0\0"),
        message(b'C', b"Ss\0"),
        message(b'H', b""),
        message(b'S', b""),
    ] {
        extended.extend(part);
    }
    let mut copy = message(b'Q', b"COPY fuzz FROM STDIN\0");
    copy.extend(message(b'd', b"1\ta\n2\tb\n"));
    copy.extend(message(b'c', b""));
    let mut binary = message(b'Q', b"COPY fuzz FROM STDIN BINARY\0");
    binary.extend(message(
        b'd',
        b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0\0\x02\0\0\0\x04\0\0\0\x07\xff\xff\xff\xff\xff\xff",
    ));
    binary.extend(message(b'c', b""));
    let mut cursors = message(
        b'Q',
        b"BEGIN; DECLARE c CURSOR FOR SELECT 1; FETCH ALL c; ROLLBACK\0",
    );
    cursors.extend(message(b'X', b""));
    vec![
        message(b'Q', b"SELECT 1; SELECT 'two'\0"),
        extended,
        copy,
        binary,
        cursors,
        message(b'p', b"secret\0"),
        message(b'f', b"given up\0"),
    ]
}

/// SplitMix64.
struct Draws(u64);

impl Draws {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

fn mutated(draws: &mut Draws, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = corpus[draws.below(corpus.len())].clone();
    if draws.below(3) == 0 {
        bytes.extend(corpus[draws.below(corpus.len())].clone());
    }
    for _ in 0..=draws.below(4) {
        let at = draws.below(bytes.len());
        match draws.below(5) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, draws.next() as u8),
            2 if !bytes.is_empty() => bytes[at] = draws.next() as u8,
            3 if bytes.len() > at + 4 => {
                let lengths = [0_u32, 3, 0xffff_ffff, 0x7fff_ffff, 0x4000_0000];
                let length = lengths[draws.below(5)];
                bytes[at..at + 4].copy_from_slice(&length.to_be_bytes());
            }
            _ => {
                let end = bytes.len().min(at + draws.below(8));
                bytes.drain(at..end);
            }
        }
    }
    bytes
}

#[tokio::test]
async fn mutated_conversations_leave_the_server_alive() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE fuzz (a INT, b TEXT)")
        .await
        .unwrap();
    let wanted = std::env::var("AUSPEX_FUZZ_ROUNDS")
        .ok()
        .and_then(|n| n.parse().ok());
    let wanted: u64 = wanted.unwrap_or(ROUNDS);
    let corpus = corpus();
    let mut round = 0;
    while wanted == 0 || round < wanted {
        let mut draws = Draws(round);
        let address = fixture.server.address();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let starts = draws.below(10) > 0;
        let mut bytes = if starts { startup() } else { Vec::new() };
        bytes.extend(mutated(&mut draws, &corpus));
        // The server may have hung up by now, which is an answer.
        let _ = stream.write_all(&bytes).await;
        let _ = stream.shutdown().await;
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
        assert!(
            read.await.is_ok(),
            "round {round}: no end of the connection"
        );
        let text = String::from_utf8_lossy(&answer);
        assert!(!text.contains("XX000"), "round {round}: {text}");
        round += 1;
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn lengths_beyond_all_bounds_end_the_connection() {
    let fixture = Fixture::start().await;
    for length in [0x4000_0000_u32, 0x7fff_ffff, 0xffff_ffff] {
        let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
        let mut bytes = startup();
        bytes.push(b'Q');
        bytes.extend(length.to_be_bytes());
        bytes.extend(b"SELECT 1\0");
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut answer));
        read.await
            .unwrap_or_else(|_| panic!("length {length}: no answer"))
            .unwrap();
        assert!(
            String::from_utf8_lossy(&answer).contains("08P01"),
            "length {length}"
        );
    }
}

#[tokio::test]
async fn a_client_that_never_reads_holds_a_few_batches() {
    let fixture = Fixture::start().await;
    let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
    let mut bytes = startup();
    bytes.extend(message(
        b'Q',
        b"SELECT value, repeat('x', 1000) FROM generate_series(1, 100000000)\0",
    ));
    stream.write_all(&bytes).await.unwrap();
    // One that never syncs.
    let mut other = TcpStream::connect(fixture.server.address()).await.unwrap();
    let mut bytes = startup();
    bytes.extend(message(b'P', b"\0SELECT missing\0\0\0"));
    for _ in 0..1000 {
        bytes.extend(message(b'P', b"\0SELECT 1\0\0\0"));
    }
    other.write_all(&bytes).await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    let client = fixture.connect().await;
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    drop((stream, other));
}

#[tokio::test]
async fn other_versions_of_the_protocol_are_refused_by_name() {
    let fixture = Fixture::start().await;
    for (version, name) in [(0x4_0000_u32, "4.0"), (0x2_0000, "2.0")] {
        let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
        let mut bytes = startup();
        bytes[4..8].copy_from_slice(&version.to_be_bytes());
        stream.write_all(&bytes).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(30), reading).await;
        read.expect("no answer").unwrap();
        let told = String::from_utf8_lossy(&answer).into_owned();
        let message =
            format!("Munsupported frontend protocol {name}: server supports 3.0 to 3.2\0");
        assert!(
            told.contains("C0A000\0") && told.contains(&message),
            "{told}"
        );
    }
}

#[tokio::test]
async fn statements_may_be_large_but_not_deep() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let text = format!("SELECT length('{}')", "x".repeat(10 << 20));
    assert_eq!(rows(&client, &text).await, [(10 << 20).to_string()]);
    for (open, close) in [
        ("(", ")"),
        ("CASE WHEN true THEN (", ") END"),
        ("(SELECT ", ")"),
        ("abs(", ")"),
    ] {
        let text = format!("SELECT {}1{}", open.repeat(10_000), close.repeat(10_000));
        let error = error_of(&client, &text).await;
        assert_eq!(error.code().code(), "54001", "{open}");
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn reports_may_nest_a_hundred_levels() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let nested = |open: &str, inner: &str, close: &str| {
        format!("{}{inner}{}", open.repeat(100), close.repeat(100))
    };
    for (text, answer) in [
        (
            format!(
                "SELECT {}",
                nested("CASE WHEN 1 = 2 THEN 3 ELSE ", "4", " END")
            ),
            "4",
        ),
        (format!("SELECT {}", nested("abs(", "-5", ")")), "5"),
        (nested("SELECT * FROM (", "SELECT 6 AS x", ") AS t"), "6"),
        (nested("(", "SELECT 7", " UNION SELECT 7)"), "7"),
    ] {
        assert_eq!(rows(&client, &text).await, [answer], "{text:.40}");
    }
}

/// What the planner goes over twice at each level: some forty of them would fill the memory.
#[tokio::test]
async fn what_doubles_with_each_level_is_refused_at_once() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE VIEW v0 AS SELECT 1 AS x")
        .await
        .unwrap();
    for (open, inner, close) in [
        ("SELECT (", "SELECT 1", ")"),
        ("WITH a AS (", "SELECT 1", ") SELECT * FROM a"),
        ("SELECT 1 WHERE EXISTS (", "SELECT 1", ")"),
        ("SELECT 1 WHERE 1 IN (", "SELECT 1", ")"),
    ] {
        let text = |n: usize| format!("{}{inner}{}", open.repeat(n), close.repeat(n));
        assert_eq!(rows(&client, &text(6)).await, ["1"], "{open}");
        let error = error_of(&client, &text(40)).await;
        assert_eq!(error.code().code(), "54001", "{open}");
    }
    for (open, close) in [("CASE WHEN ", " THEN true END"), ("ROW(1, ", ")")] {
        let text = format!(
            "SELECT {}x = 1{} FROM v0",
            open.repeat(40),
            close.repeat(40)
        );
        let error = error_of(&client, &text).await;
        assert_eq!(error.code().code(), "54001", "{open}");
    }
    // Views count as what they are.
    let mut refused = None;
    for idx in 1..40 {
        let text = format!(
            "CREATE VIEW v{idx} AS SELECT (SELECT max(x) FROM v{}) AS x",
            idx - 1
        );
        if let Err(error) = client.batch_execute(&text).await {
            refused = Some((idx, error.code().unwrap().code().to_owned()));
            break;
        }
    }
    let (depth, code) = refused.unwrap();
    assert!((6..20).contains(&depth), "{depth}");
    assert_eq!(code, "54001");
}

#[tokio::test]
async fn long_chains_of_operators_are_planned_or_refused() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let chain = |first: &str, link: &str| format!("{first}{}", link.repeat(1_000));
    for (chain, answer) in [
        (chain("1", "::int"), "1"),
        (format!("length({})", chain("x::text", " || x")), "1001"),
        (format!("length({})", chain("x", " || 'a'")), "1001"),
    ] {
        let text = format!("SELECT {chain} FROM (VALUES (1)) AS v (x)");
        assert_eq!(rows(&client, &text).await, [answer], "{:.40}", chain);
    }
    for (first, link) in [
        ("1", "::text::int"),
        ("now()", " AT TIME ZONE 'UTC'"),
        ("ARRAY[1]", " || 1"),
        ("'{}'::jsonb", " || '{}'::jsonb"),
        ("2", " ^ 1"),
    ] {
        let error = error_of(&client, &format!("SELECT {}", chain(first, link))).await;
        assert_eq!(error.code().code(), "54001", "{link}");
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn a_statement_may_have_ten_thousand_parameters() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let places: Vec<String> = (1..=10_000).map(|n| format!("(${n}::int)")).collect();
    let text = format!(
        "SELECT count(*), sum(x) FROM (VALUES {}) v(x)",
        places.join(", ")
    );
    let types = vec![Type::INT4; 10_000];
    let statement = client.prepare_typed(&text, &types).await.unwrap();
    let values: Vec<i32> = (1..=10_000).collect();
    let parameters: Vec<&(dyn ToSql + Sync)> = values.iter().map(|v| v as _).collect();
    let row = client.query_one(&statement, &parameters).await.unwrap();
    assert_eq!(
        (row.get::<_, i64>(0), row.get::<_, i64>(1)),
        (10_000, 50_005_000)
    );
}

/// A text that is no UTF-8 is refused as such, and nothing else is.
#[tokio::test]
async fn texts_that_are_not_utf8_are_refused() {
    let fixture = Fixture::start().await;
    let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
    stream.write_all(&startup()).await.unwrap();
    stream
        .write_all(&message(b'Q', b"SELECT 'a\xffb'\0"))
        .await
        .unwrap();
    let mut parse = message(b'P', b"\0SELECT '\xc3('\0\0\0");
    parse.extend(message(b'D', b"S\0"));
    parse.extend(message(b'S', b""));
    stream.write_all(&parse).await.unwrap();
    stream
        .write_all(&message(b'Q', "SELECT 'ä\u{fffd}'\0".as_bytes()))
        .await
        .unwrap();
    let mut answer = Vec::new();
    let last = "ä\u{fffd}".as_bytes();
    while !answer.windows(last.len()).any(|bytes| bytes == last) {
        let read = stream.read_buf(&mut answer);
        let read = tokio::time::timeout(Duration::from_secs(30), read).await;
        assert_ne!(read.unwrap().unwrap(), 0, "the connection ended");
    }
    let answer = String::from_utf8_lossy(&answer);
    let failures = answer.matches("C22021").count();
    assert_eq!(failures, 2, "{answer}");
    for expected in [
        "invalid byte sequence for encoding \"UTF8\": 0xff",
        "invalid byte sequence for encoding \"UTF8\": 0xc3 0x28",
        "ä\u{fffd}",
    ] {
        assert!(answer.contains(expected), "{expected}: {answer}");
    }
}
