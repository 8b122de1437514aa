//! `LISTEN` and `NOTIFY`: who is told what, and between which messages.

use std::time::Duration;

use futures::{StreamExt, stream};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio_postgres::{AsyncMessage, Client, NoTls, Notification};

use crate::messages::{Raw, executed, message, query, statement, sync};
use crate::{Fixture, error_of, rows};

/// A client and the notifications that it gets.
async fn listener(fixture: &Fixture) -> (Client, UnboundedReceiver<Notification>) {
    let (client, mut connection) = fixture.config().connect(NoTls).await.unwrap();
    let (told_in, told) = unbounded_channel();
    let mut messages = stream::poll_fn(move |context| connection.poll_message(context));
    tokio::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            if let AsyncMessage::Notification(notification) = message {
                let _ = told_in.send(notification);
            }
        }
    });
    (client, told)
}

/// The next notification: who sent it, its channel and its text.
async fn next(told: &mut UnboundedReceiver<Notification>) -> (String, String, String) {
    let next = tokio::time::timeout(Duration::from_secs(30), told.recv()).await;
    let next = next.unwrap().unwrap();
    let (channel, payload) = (next.channel().to_owned(), next.payload().to_owned());
    (next.process_id().to_string(), channel, payload)
}

/// The process of a session.
async fn process(client: &Client) -> String {
    rows(client, "SELECT pg_backend_pid()").await.remove(0)
}

/// A connection without a driver that listens to a channel.
async fn listening(fixture: &Fixture, channel: &str) -> Raw {
    let (mut raw, _) = Raw::connect(fixture, 0).await;
    let listen = query(&format!("LISTEN {channel}"));
    assert_eq!(raw.ask(&[listen]).await, ["C LISTEN", "Z I"]);
    raw
}

/// What a simple query is answered beside its rows.
async fn ask(raw: &mut Raw, text: &str) -> Vec<String> {
    let answers = raw.ask(&[query(text)]).await.into_iter();
    let is_of_rows = |answer: &String| answer == "T" || answer == "D";
    answers.filter(|answer| !is_of_rows(answer)).collect()
}

#[tokio::test]
async fn who_listens_is_told_who_sent_what() {
    let fixture = Fixture::start().await;
    let (one, mut told) = listener(&fixture).await;
    let two = fixture.connect().await;
    one.batch_execute("LISTEN jobs; LISTEN \"Other Jobs\"")
        .await
        .unwrap();
    two.batch_execute("NOTIFY Jobs, 'one'; NOTIFY nobody; NOTIFY jobs")
        .await
        .unwrap();
    let sender = process(&two).await;
    let expected =
        |channel: &str, payload: &str| (sender.clone(), channel.to_owned(), payload.to_owned());
    assert_eq!(next(&mut told).await, expected("jobs", "one"));
    assert_eq!(next(&mut told).await, expected("jobs", ""));
    // With parameters, whose types are texts.
    let notify = two.prepare("SELECT pg_notify($1, $2)").await.unwrap();
    for payload in ["ü", "two"] {
        two.execute(&notify, &[&"Other Jobs", &payload])
            .await
            .unwrap();
        assert_eq!(next(&mut told).await, expected("Other Jobs", payload));
    }
    // A session is told of its own, too.
    let own = process(&one).await;
    one.batch_execute("NOTIFY jobs, 'own'").await.unwrap();
    assert_eq!(
        next(&mut told).await,
        (own, "jobs".to_owned(), "own".to_owned())
    );
}

#[tokio::test]
async fn notifications_come_with_the_end_of_their_transaction() {
    let fixture = Fixture::start().await;
    let mut raw = listening(&fixture, "x").await;
    let answers = ask(&mut raw, "NOTIFY x, 'p'; NOTIFY x, 'p'; NOTIFY x, 'q'").await;
    assert_eq!(
        answers,
        ["C NOTIFY", "C NOTIFY", "C NOTIFY", "A x:p", "A x:q", "Z I"]
    );
    let answers = ask(&mut raw, "NOTIFY x, 'lost'; SELECT 1/0").await;
    assert_eq!(answers, ["C NOTIFY", "E 22012", "Z I"]);
    for text in ["BEGIN; NOTIFY x, 'in'", "SAVEPOINT s"] {
        ask(&mut raw, text).await;
    }
    ask(&mut raw, "NOTIFY x, 'gone'; NOTIFY x, 'in'; UNLISTEN x").await;
    assert_eq!(ask(&mut raw, "ROLLBACK TO s").await, ["C ROLLBACK", "Z T"]);
    assert_eq!(ask(&mut raw, "NOTIFY x, 'kept'").await, ["C NOTIFY", "Z T"]);
    assert_eq!(
        ask(&mut raw, "COMMIT").await,
        ["C COMMIT", "A x:in", "A x:kept", "Z I"]
    );
    ask(&mut raw, "BEGIN; NOTIFY x, 'never'; LISTEN y").await;
    assert_eq!(ask(&mut raw, "ROLLBACK").await, ["C ROLLBACK", "Z I"]);
    assert_eq!(ask(&mut raw, "NOTIFY y").await, ["C NOTIFY", "Z I"]);
    // What begins to listen is told what the same transaction has sent before.
    ask(&mut raw, "BEGIN; NOTIFY y, 'before'; LISTEN y").await;
    assert_eq!(
        ask(&mut raw, "COMMIT").await,
        ["C COMMIT", "A y:before", "Z I"]
    );
    ask(&mut raw, "BEGIN; SELECT 1/0").await;
    assert_eq!(ask(&mut raw, "UNLISTEN *").await, ["E 25P02", "Z E"]);
    ask(&mut raw, "COMMIT").await;
    assert_eq!(ask(&mut raw, "NOTIFY y").await, ["C NOTIFY", "A y:", "Z I"]);
}

#[tokio::test]
async fn rows_are_written_before_others_are_told() {
    let fixture = Fixture::start().await;
    let (one, mut told) = listener(&fixture).await;
    one.batch_execute("CREATE TABLE jobs (id INT); LISTEN jobs")
        .await
        .unwrap();
    let two = fixture.connect().await;
    let put = "INSERT INTO jobs SELECT n FROM generate_series(1, 3) AS s (n)";
    for block in [
        format!("BEGIN; {put}; NOTIFY jobs; COMMIT"),
        format!("{put}; NOTIFY jobs; {put}"),
        format!("WITH added AS ({put} RETURNING id) SELECT pg_notify('jobs', '') FROM added"),
    ] {
        let before = rows(&one, "SELECT count(*) FROM jobs").await;
        two.batch_execute(&block).await.unwrap();
        next(&mut told).await;
        assert_ne!(rows(&one, "SELECT count(*) FROM jobs").await, before);
    }
    // What fails at its commit sends nothing.
    let three = fixture.connect().await;
    two.batch_execute("BEGIN; DELETE FROM jobs WHERE id = 1; NOTIFY jobs, 'lost'")
        .await
        .unwrap();
    three.batch_execute("DELETE FROM jobs").await.unwrap();
    assert_eq!(error_of(&two, "COMMIT").await.code().code(), "40001");
    two.batch_execute("NOTIFY jobs, 'next'").await.unwrap();
    assert_eq!(next(&mut told).await.2, "next");
}

#[tokio::test]
async fn a_client_is_told_while_it_waits_but_not_within_a_block() {
    let fixture = Fixture::start().await;
    let mut raw = listening(&fixture, "x").await;
    let other = fixture.connect().await;
    other.batch_execute("NOTIFY x, 'idle'").await.unwrap();
    assert_eq!(raw.until('A').await, ["A x:idle"]);
    ask(&mut raw, "BEGIN").await;
    other.batch_execute("NOTIFY x, 'block'").await.unwrap();
    assert_eq!(ask(&mut raw, "SELECT 1").await, ["C SELECT 1", "Z T"]);
    assert_eq!(
        ask(&mut raw, "ROLLBACK").await,
        ["C ROLLBACK", "A x:block", "Z I"]
    );
    // Between the messages of a statement neither.
    raw.send(&[statement("SELECT 1"), message(b'H', b"")]).await;
    raw.until('C').await;
    other.batch_execute("NOTIFY x, 'between'").await.unwrap();
    let rest = [executed("", 0), sync()];
    let answers = raw.ask(&rest).await;
    assert_eq!(answers, ["C SELECT 0", "A x:between", "Z I"]);
}

#[tokio::test]
async fn a_pipeline_sends_at_its_sync() {
    let fixture = Fixture::start().await;
    let mut raw = listening(&fixture, "x").await;
    raw.send(&[statement("NOTIFY x, 'one'"), message(b'H', b"")])
        .await;
    assert_eq!(raw.until('C').await, ["1", "2", "C NOTIFY"]);
    let answers = raw.ask(&[statement("SELECT 1"), sync()]).await;
    assert_eq!(answers, ["1", "2", "D", "C SELECT 1", "A x:one", "Z I"]);
    let failing = [
        statement("NOTIFY x, 'lost'"),
        statement("SELECT missing"),
        sync(),
    ];
    let answers = raw.ask(&failing).await;
    assert_eq!(answers, ["1", "2", "C NOTIFY", "E 42703", "Z I"]);
    ask(&mut raw, "CREATE TABLE t (id INT)").await;
    let change = [
        statement("INSERT INTO t VALUES (1)"),
        statement("SELECT pg_notify('x', 'two')"),
        statement("LISTEN z"),
        statement("INSERT INTO t VALUES (2)"),
        statement("NOTIFY z"),
        sync(),
    ];
    let answers = raw.ask(&change).await;
    let told: Vec<_> = answers.iter().filter(|one| one.starts_with('A')).collect();
    assert_eq!(told, ["A x:two", "A z:"]);
    assert_eq!(answers.last().unwrap(), "Z I");
}

#[tokio::test]
async fn channels_are_listed_and_left() {
    let fixture = Fixture::start().await;
    let (client, mut told) = listener(&fixture).await;
    let listed = async || rows(&client, "SELECT pg_listening_channels()").await;
    let run = async |text: &str| client.batch_execute(text).await.unwrap();
    assert!(listed().await.is_empty());
    run("LISTEN b; LISTEN a; LISTEN b; LISTEN \"A\"").await;
    assert_eq!(listed().await, ["b", "a", "A"]);
    // What has not been committed is not listed.
    run("BEGIN; UNLISTEN b; LISTEN c").await;
    assert_eq!(listed().await, ["b", "a", "A"]);
    run("COMMIT").await;
    assert_eq!(listed().await, ["a", "A", "c"]);
    run("UNLISTEN nothing; UNLISTEN a").await;
    let from = "SELECT * FROM pg_listening_channels() AS channel WHERE channel <> 'c'";
    assert_eq!(rows(&client, from).await, ["A"]);
    // A prepared statement reads them anew.
    let count = "SELECT count(*) FROM pg_listening_channels()";
    let count = client.prepare(count).await.unwrap();
    let counted = async || {
        client
            .query_one(&count, &[])
            .await
            .unwrap()
            .get::<_, i64>(0)
    };
    assert_eq!(counted().await, 2);
    run("UNLISTEN *").await;
    assert_eq!(counted().await, 0);
    run("LISTEN a").await;
    run("DISCARD ALL").await;
    assert!(listed().await.is_empty());
    // Nobody is told by now, also not of what a closed session listened to.
    let gone = fixture.connect().await;
    gone.batch_execute("LISTEN a").await.unwrap();
    drop(gone);
    run("NOTIFY a").await;
    run("LISTEN last; NOTIFY last").await;
    assert_eq!(next(&mut told).await.1, "last");
}

#[tokio::test]
async fn channels_and_texts_have_bounds() {
    let fixture = Fixture::start().await;
    let (client, mut told) = listener(&fixture).await;
    let long = "c".repeat(70);
    // Names are cut, but not those that functions are given.
    client
        .batch_execute(&format!("LISTEN {long}; NOTIFY {long}0, 'x'"))
        .await
        .unwrap();
    let (_, channel, _) = next(&mut told).await;
    assert_eq!(channel, long[..63]);
    let payload = "x".repeat(8000);
    for (text, message) in [
        (
            format!("SELECT pg_notify('{long}', 'x')"),
            "channel name too long",
        ),
        (format!("NOTIFY a, '{payload}'"), "payload string too long"),
        (
            format!("SELECT pg_notify('a', '{payload}')"),
            "payload string too long",
        ),
        (
            "SELECT pg_notify('', 'x')".to_owned(),
            "channel name cannot be empty",
        ),
        (
            "SELECT pg_notify(NULL, 'x')".to_owned(),
            "channel name cannot be empty",
        ),
    ] {
        let error = error_of(&client, &text).await;
        assert_eq!(error.code().code(), "22023", "{message}");
        assert_eq!(error.message(), message);
    }
    let error = error_of(&client, "LISTEN \"\"").await;
    assert_eq!(error.code().code(), "42601");
}

#[tokio::test]
async fn rows_send_each_of_their_texts_once() {
    let fixture = Fixture::start().await;
    let mut raw = listening(&fixture, "x").await;
    let text = "SELECT pg_notify('x', (n % 3)::text) FROM generate_series(1, 7) AS s (n)";
    assert_eq!(
        ask(&mut raw, text).await,
        ["C SELECT 7", "A x:1", "A x:2", "A x:0", "Z I"]
    );
    let none = "SELECT pg_notify('x', 'none') FROM generate_series(1, 7) AS s (n) WHERE n > 7";
    assert_eq!(ask(&mut raw, none).await, ["C SELECT 0", "Z I"]);
    // Within read-only blocks, too, since nothing is kept.
    ask(
        &mut raw,
        "BEGIN READ ONLY; SELECT pg_notify('x', 'read'); NOTIFY x, 'only'",
    )
    .await;
    assert_eq!(
        ask(&mut raw, "COMMIT").await,
        ["C COMMIT", "A x:read", "A x:only", "Z I"]
    );
}

#[tokio::test]
async fn one_who_reads_nothing_stops_those_who_send_to_it() {
    let fixture = Fixture::start().await;
    let mut raw = listening(&fixture, "slow").await;
    // It takes nothing while it stays in a block.
    ask(&mut raw, "BEGIN").await;
    let client = fixture.connect().await;
    client.batch_execute("SET threads = 1").await.unwrap();
    let many = "SELECT count(pg_notify('slow', repeat('x', 7900) || n)) \
                FROM generate_series(1, 20000) AS s (n)";
    let error = error_of(&client, many).await;
    assert_eq!(error.code().code(), "54000");
    assert_eq!(
        error.message(),
        "too many notifications in the NOTIFY queue"
    );
    // What failed has given its room back.
    let usage = "SELECT pg_notification_queue_usage()";
    assert_eq!(rows(&client, usage).await, ["0"]);
    client.batch_execute("NOTIFY slow, 'one'").await.unwrap();
    assert_ne!(rows(&client, usage).await, ["0"]);
    assert_eq!(
        ask(&mut raw, "COMMIT").await,
        ["C COMMIT", "A slow:one", "Z I"]
    );
    assert_eq!(rows(&client, usage).await, ["0"]);
}

#[tokio::test]
async fn statements_about_channels_are_recorded() {
    let fixture = Fixture::start().await;
    let mut config = fixture.config();
    config.application_name("notifier");
    let (client, _) = fixture.connect_as(&config).await;
    for text in ["LISTEN a", "NOTIFY a, 'x'", "UNLISTEN *"] {
        client.batch_execute(text).await.unwrap();
    }
    let reader = fixture.connect().await;
    let recorded = rows(
        &reader,
        "SELECT kind, outcome, statement FROM ml.audit_log \
         WHERE event = 'statement' AND application = 'notifier' ORDER BY request",
    )
    .await;
    assert_eq!(
        recorded,
        [
            "LISTEN|ok|LISTEN a",
            "NOTIFY|ok|NOTIFY a, 'x'",
            "UNLISTEN|ok|UNLISTEN *"
        ]
    );
}
