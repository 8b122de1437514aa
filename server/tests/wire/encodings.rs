//! Clients with other encodings than UTF-8: what they send means what it means to them, and they can read what they are sent.

use tokio::io::AsyncReadExt as _;

use crate::messages::{Raw, message, query, statement, sync};
use crate::{Fixture, error_of, rows};

/// A client that begins with an encoding.
async fn connect(fixture: &Fixture, encoding: &str) -> Raw {
    let parameters = [("user", "postgres"), ("client_encoding", encoding)];
    let (raw, answers) = Raw::connect_with(fixture, 0, &parameters).await;
    assert_eq!(answers.last().unwrap(), "Z I", "{encoding}");
    raw
}

/// A query of bytes that are no UTF-8.
fn bytes(text: &[u8]) -> Vec<u8> {
    message(b'Q', &[text, b"\0"].concat())
}

/// Sends messages, and reads the kinds and bodies of the answers up to the state.
async fn ask(raw: &mut Raw, messages: &[Vec<u8>]) -> Vec<(char, Vec<u8>)> {
    raw.send(messages).await;
    let mut answers = Vec::new();
    while answers.last().is_none_or(|(kind, _)| *kind != 'Z') {
        let kind = char::from(raw.0.read_u8().await.unwrap());
        let length = usize::try_from(raw.0.read_u32().await.unwrap()).unwrap();
        let mut body = vec![0; length - 4];
        raw.0.read_exact(&mut body).await.unwrap();
        answers.push((kind, body));
    }
    answers
}

/// The bodies of a kind.
async fn answers(raw: &mut Raw, messages: &[Vec<u8>], kind: char) -> Vec<Vec<u8>> {
    let all = ask(raw, messages).await.into_iter();
    let found = all.filter(|(found, _)| *found == kind);
    found.map(|(_, body)| body).collect()
}

/// A data row of one value.
fn row(value: &[u8]) -> Vec<u8> {
    let length = u32::try_from(value.len()).unwrap().to_be_bytes();
    [b"\0\x01", &length[..], value].concat()
}

/// The code and the message of an error.
fn told(body: &[u8]) -> (String, Vec<u8>) {
    let fields = body.split(|byte| *byte == 0);
    let field = |kind: u8| {
        let mut found = fields.clone().filter(|field| field.first() == Some(&kind));
        found.next().unwrap()[1..].to_vec()
    };
    (String::from_utf8(field(b'C')).unwrap(), field(b'M'))
}

#[tokio::test]
async fn texts_are_converted_both_ways() {
    let fixture = Fixture::start().await;
    let utf8 = fixture.connect().await;
    let mut raw = connect(&fixture, "LATIN1").await;
    let made = b"CREATE TABLE caf\xe9 (a text); INSERT INTO caf\xe9 VALUES ('na\xefve'); LISTEN x";
    assert_eq!(
        answers(&mut raw, &[bytes(made)], 'E').await,
        Vec::<Vec<u8>>::new()
    );
    assert_eq!(rows(&utf8, "SELECT a FROM \"café\"").await, ["naïve"]);
    let read = bytes(b"SELECT a AS \xe9t\xe9 FROM caf\xe9");
    let all = ask(&mut raw, &[read]).await;
    let body = |kind: char| {
        all.iter()
            .find(|(found, _)| *found == kind)
            .unwrap()
            .1
            .clone()
    };
    assert!(body('T').starts_with(b"\0\x01\xe9t\xe9\0"));
    assert_eq!(body('D'), row(b"na\xefve"));
    // The extended protocol, with a parameter as a text and as bytes.
    for format in [b"\0\0", b"\0\x01"] {
        let parse = message(b'P', b"\0SELECT $1::text || '\xe9'\0\0\0");
        let bind = [
            &b"\0\0\0\x01"[..],
            format,
            b"\0\x01\0\0\0\x01\xe9\0\x01",
            format,
        ]
        .concat();
        let execute = message(b'E', b"\0\0\0\0\0");
        let asked = [parse, message(b'B', &bind), execute, sync()];
        assert_eq!(answers(&mut raw, &asked, 'D').await, [row(b"\xe9\xe9")]);
    }
    // Errors and notifications.
    let (code, message) = told(&answers(&mut raw, &[bytes(b"SELECT \xe9")], 'E').await[0]);
    assert_eq!(code, "42703");
    assert_eq!(message, b"column \"\xe9\" does not exist");
    utf8.batch_execute("NOTIFY x, 'é€'").await.unwrap();
    let notified = answers(&mut raw, &[query("SELECT 1")], 'A').await;
    assert!(notified[0].ends_with(b"x\0\xe9?\0"), "{notified:?}");
}

#[tokio::test]
async fn copies_are_converted() {
    let fixture = Fixture::start().await;
    let utf8 = fixture.connect().await;
    utf8.batch_execute("CREATE TABLE t (a text)").await.unwrap();
    let mut raw = connect(&fixture, "WIN1252").await;
    let sent = |text: &str, lines: &[u8]| {
        let (data, done) = (message(b'd', lines), message(b'c', b""));
        [query(text), data, done]
    };
    let copied = answers(&mut raw, &sent("COPY t FROM STDIN", b"\x80\xe9\n"), 'C').await;
    assert_eq!(copied, [b"COPY 1\0"]);
    // What the statement says counts more than what the client says.
    let text = "COPY t FROM STDIN (ENCODING 'UTF8')";
    answers(&mut raw, &sent(text, b"\xc3\xa9\n"), 'C').await;
    let text = "COPY t FROM STDIN (ENCODING 'koi8r')";
    answers(&mut raw, &sent(text, b"\xc4\xc1\n"), 'C').await;
    let all = "SELECT a FROM t ORDER BY a";
    assert_eq!(rows(&utf8, all).await, ["é", "да", "€é"]);
    let mut written = async |text: &str| answers(&mut raw, &[query(text)], 'd').await;
    let one = "COPY (SELECT a FROM t WHERE a LIKE '%' || chr(233)) TO STDOUT";
    let mut lines = written(one).await;
    lines.sort();
    assert_eq!(lines, [&b"\x80\xe9\n"[..], b"\xe9\n"]);
    let lines = written("COPY (SELECT chr(233)) TO STDOUT (ENCODING 'UTF8')").await;
    assert_eq!(lines, ["é\n".as_bytes()]);
    let lines = written("COPY (SELECT chr(1076) || chr(1072)) TO STDOUT (ENCODING 'KOI8R')").await;
    assert_eq!(lines, [b"\xc4\xc1\n"]);
    for (options, code, words) in [
        (
            "ENCODING 'sjis'",
            "0A000",
            "COPY in encoding \"SJIS\" is not supported",
        ),
        (
            "ENCODING 'nothing'",
            "22023",
            "argument to option \"encoding\" must be a valid encoding name",
        ),
    ] {
        let text = format!("COPY t TO STDOUT ({options})");
        let wrong = told(&answers(&mut raw, &[query(&text)], 'E').await[0]);
        assert_eq!(wrong, (code.to_owned(), words.as_bytes().to_vec()));
    }
}

#[tokio::test]
async fn texts_in_binary_copies_are_converted() {
    let fixture = Fixture::start().await;
    let utf8 = fixture.connect().await;
    let made = "CREATE TABLE t (a TEXT, b TEXT[], c BYTEA)";
    utf8.batch_execute(made).await.unwrap();
    let mut raw = connect(&fixture, "WIN1252").await;
    let head = [b"PGCOPY\n\xff\r\n\0", &[0_u8; 8][..]].concat();
    let array = [
        0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 25, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0xe9,
    ];
    let row = [
        &b"\0\x03\0\0\0\x02\x80\xe9\0\0\0\x19"[..],
        &array,
        b"\0\0\0\x02\xc3\xa9",
    ]
    .concat();
    let sent = [&head[..], &row, b"\xff\xff"].concat();
    let sent = [
        query("COPY t FROM STDIN (FORMAT binary)"),
        message(b'd', &sent),
        message(b'c', b""),
    ];
    assert_eq!(answers(&mut raw, &sent, 'C').await, [b"COPY 1\0"]);
    let all = "SELECT concat_ws(' ', a, b[1], encode(c, 'hex')) FROM t";
    assert_eq!(rows(&utf8, all).await, ["€é é c3a9"]);
    // ENCODING is about lines.
    for options in ["FORMAT binary", "FORMAT binary, ENCODING 'UTF8'"] {
        let text = format!("COPY t TO STDOUT ({options})");
        let written = answers(&mut raw, &[query(&text)], 'd').await;
        assert_eq!(written[0], [&head[..], &row].concat());
    }
    let lacking = query("COPY (SELECT chr(1076)) TO STDOUT (FORMAT binary)");
    let (code, _) = told(&answers(&mut raw, &[lacking], 'E').await[0]);
    assert_eq!(code, "22P05");
    let wrong = [&head[..], b"\0\x01\0\0\0\x01\x81\xff\xff"].concat();
    let wrong = [
        query("COPY t (a) FROM STDIN (FORMAT binary)"),
        message(b'd', &wrong),
        message(b'c', b""),
    ];
    let (code, _) = told(&answers(&mut raw, &wrong, 'E').await[0]);
    assert_eq!(code, "22P05");
}

#[tokio::test]
async fn texts_behind_a_set_have_its_encoding() {
    let fixture = Fixture::start().await;
    let mut raw = connect(&fixture, "UTF8").await;
    // Both come at once, so that the second is there before the first is done.
    let set = query("SET client_encoding = 'LATIN1'");
    let both = [[set, bytes(b"SELECT '\xe9' AS a")].concat()];
    answers(&mut raw, &both, 'Z').await;
    let row_of_second = ask(&mut raw, &[]).await;
    assert!(row_of_second.contains(&('D', row(b"\xe9"))));
    let set = query("SET client_encoding = 'UTF8'");
    let both = [[set, query("SELECT 'é' AS a")].concat()];
    answers(&mut raw, &both, 'Z').await;
    let row_of_second = ask(&mut raw, &[]).await;
    assert!(row_of_second.contains(&('D', row("é".as_bytes()))));
}

#[tokio::test]
async fn a_pipeline_is_read_with_the_encoding_that_a_function_sets() {
    let fixture = Fixture::start().await;
    let mut raw = connect(&fixture, "UTF8").await;
    let text = |text: &[u8]| {
        let parse = message(b'P', &[b"\0", text, b"\0\0\0"].concat());
        let bind = message(b'B', &[0; 8]);
        [parse, bind, message(b'E', &[0; 5])].concat()
    };
    for (encoding, value) in [("LATIN1", &b"\xe9"[..]), ("UTF8", "é".as_bytes())] {
        let set = format!("SELECT set_config('client_encoding', '{encoding}', false)");
        let read = [b"SELECT '", value, b"' AS a"].concat();
        let pipeline = [text(set.as_bytes()), text(&read), sync()].concat();
        let rows = answers(&mut raw, &[pipeline], 'D').await;
        assert_eq!(rows, [row(encoding.as_bytes()), row(value)]);
    }
}

#[tokio::test]
async fn a_change_whose_rows_cannot_be_told_is_not_made() {
    let fixture = Fixture::start().await;
    let utf8 = fixture.connect().await;
    let made = "CREATE TABLE t (id INT PRIMARY KEY, a TEXT); INSERT INTO t VALUES (1, '€'); CREATE TABLE u (\"€\" INT)";
    utf8.batch_execute(made).await.unwrap();
    let mut raw = connect(&fixture, "LATIN1").await;
    let euro = "chr(8364)";
    for text in [
        format!("INSERT INTO t VALUES (2, {euro}) RETURNING a"),
        format!("INSERT INTO t SELECT 3, {euro} RETURNING upper(a)"),
        "UPDATE t SET id = 4, a = a || 'x' RETURNING a".to_owned(),
        "DELETE FROM t RETURNING *".to_owned(),
        format!("WITH made AS (INSERT INTO t VALUES (5, {euro}) RETURNING a) SELECT a FROM made"),
    ] {
        for messages in [vec![query(&text)], vec![statement(&text), sync()]] {
            let (code, _) = told(&answers(&mut raw, &messages, 'E').await[0]);
            assert_eq!(code, "22P05", "{text}");
        }
    }
    // Names of columns, and rows that only the statement itself sees.
    let named = query("INSERT INTO u VALUES (1) RETURNING *");
    let (code, _) = told(&answers(&mut raw, &[named], 'E').await[0]);
    assert_eq!(code, "22P05");
    assert_eq!(rows(&utf8, "SELECT count(*)::text FROM u").await, ["0"]);
    let all = "SELECT concat(id, a) FROM t ORDER BY id";
    assert_eq!(rows(&utf8, all).await, ["1€"]);
    let inner = format!(
        "WITH made AS (INSERT INTO t VALUES (7, {euro}) RETURNING a) SELECT count(*)::text FROM made"
    );
    assert_eq!(answers(&mut raw, &[query(&inner)], 'D').await, [row(b"1")]);
    assert_eq!(rows(&utf8, all).await, ["1€", "7€"]);
}

#[tokio::test]
async fn what_an_encoding_lacks_is_an_error() {
    let fixture = Fixture::start().await;
    let utf8 = fixture.connect().await;
    utf8.batch_execute(
        "CREATE TABLE t (a text); INSERT INTO t VALUES ('€'); CREATE TABLE u AS SELECT 1 AS \"€\"",
    )
    .await
    .unwrap();
    let mut raw = connect(&fixture, "latin1").await;
    let lacks = "character with byte sequence 0xe2 0x82 0xac in encoding \"UTF8\" has no equivalent in encoding \"LATIN1\"";
    let asked = "SELECT a FROM t";
    for messages in [
        vec![query(asked)],
        vec![statement(asked), sync()],
        vec![query("COPY t TO STDOUT")],
        vec![query("SELECT * FROM u")],
    ] {
        let (code, message) = told(&answers(&mut raw, &messages, 'E').await[0]);
        assert_eq!(
            (code.as_str(), message),
            ("22P05", lacks.as_bytes().to_vec())
        );
    }
    // WIN1252 has it, at a place where LATIN1 has nothing that anybody sees.
    let set = query("SET client_encoding = 'windows-1252'");
    assert_eq!(
        answers(&mut raw, &[set], 'S').await,
        [b"client_encoding\0WIN1252\0"]
    );
    assert_eq!(
        answers(&mut raw, &[query(asked)], 'D').await,
        [row(b"\x80")]
    );
    let wrong = bytes(b"SELECT '\xaa'");
    raw.ask(&[query("SET NAMES 'WIN1253'")]).await;
    let (code, message) = told(&answers(&mut raw, &[wrong], 'E').await[0]);
    assert_eq!(code, "22P05");
    let words = b"character with byte sequence 0xaa in encoding \"WIN1253\" has no equivalent in encoding \"UTF8\"";
    assert_eq!(message, words);
}

#[tokio::test]
async fn the_setting_tells_the_encoding() {
    let fixture = Fixture::start().await;
    // Nothing is converted for who has no encoding; a terminal without a language begins so.
    let mut raw = connect(&fixture, "SQL_ASCII").await;
    let asked = [query("SELECT 'é', pg_client_encoding()")];
    let both = b"\0\x02\0\0\0\x02\xc3\xa9\0\0\0\x09SQL_ASCII";
    assert_eq!(answers(&mut raw, &asked, 'D').await, [both]);
    // What a block changes is taken back with it, and what a function changes counts as well.
    let show = || [query("SHOW client_encoding")];
    raw.ask(&[query("BEGIN; SET client_encoding = 'iso-8859-15'")])
        .await;
    assert_eq!(answers(&mut raw, &show(), 'D').await, [row(b"LATIN9")]);
    let told = answers(&mut raw, &[query("ROLLBACK")], 'S').await;
    assert_eq!(told, [b"client_encoding\0SQL_ASCII\0"]);
    let set = query("SELECT set_config('client_encoding', 'LATIN9', false)");
    let told = answers(&mut raw, &[set], 'S').await;
    assert_eq!(told, [b"client_encoding\0LATIN9\0"]);
    assert_eq!(
        answers(&mut raw, &[query("SELECT chr(8364)")], 'D').await,
        [row(b"\xa4")]
    );
    raw.ask(&[query("RESET client_encoding")]).await;
    assert_eq!(answers(&mut raw, &show(), 'D').await, [row(b"SQL_ASCII")]);
    let client = fixture.connect().await;
    let invalid = "invalid value for parameter \"client_encoding\": \"nothing\"";
    for (encoding, code, message) in [
        ("nothing", "22023", invalid),
        (
            "euc-jp",
            "0A000",
            "client encoding \"EUC_JP\" is not supported",
        ),
        ("SJIS", "0A000", "client encoding \"SJIS\" is not supported"),
    ] {
        let error = error_of(&client, &format!("SET client_encoding = '{encoding}'")).await;
        assert_eq!(error.code().code(), code);
        assert_eq!(error.message(), message);
        assert!(error.hint().unwrap().contains("Use UTF8"));
        // And so a client is not let in that begins with it.
        let parameters = [("user", "postgres"), ("client_encoding", encoding)];
        let mut raw = Raw::begin(&fixture, 0, &parameters).await;
        let refused = raw.until('E').await;
        assert_eq!(refused.last().unwrap(), &format!("E {code}"));
    }
}
