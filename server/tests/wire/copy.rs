//! COPY through the wire: the three formats both ways, errors, and clients that give up or vanish.

use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures::{SinkExt, StreamExt, pin_mut};
use tokio_postgres::Client;
use tokio_postgres::binary_copy::{BinaryCopyInWriter, BinaryCopyOutStream};
use tokio_postgres::types::Type;

use crate::{Fixture, error_of, rows};

/// Sends pieces as the data of a COPY; the number of rows, or the error.
async fn copy_in(
    client: &Client,
    text: &str,
    pieces: &[&str],
) -> Result<u64, tokio_postgres::Error> {
    let sink = client.copy_in::<_, Bytes>(text).await?;
    pin_mut!(sink);
    for piece in pieces {
        sink.send(Bytes::copy_from_slice(piece.as_bytes())).await?;
    }
    sink.finish().await
}

/// All that a COPY sends.
async fn copy_out(client: &Client, text: &str) -> String {
    let stream = client.copy_out(text).await.unwrap();
    pin_mut!(stream);
    let mut data = Vec::new();
    while let Some(piece) = stream.next().await {
        data.extend(piece.unwrap());
    }
    String::from_utf8(data).unwrap()
}

async fn people(fixture: &Fixture) -> Client {
    let client = fixture.connect().await;
    let text = "CREATE TABLE people (id BIGINT NOT NULL, name TEXT, born DATE, score DOUBLE, \
                seen TIMESTAMP, ok BOOLEAN DEFAULT true)";
    client.simple_query(text).await.unwrap();
    client
}

#[tokio::test]
async fn only_rows_that_meet_a_condition_are_kept() {
    let fixture = Fixture::start().await;
    let client = people(&fixture).await;
    let text = "COPY people (id, name, born) FROM STDIN WITH (FORMAT csv) \
                WHERE born >= '2000-01-01' AND name <> 'it''s'";
    let pieces = ["1,Ann,2000-01-31\n2,it's,2001-01-01\n3,Cid,1999-12-31\n"];
    assert_eq!(copy_in(&client, text, &pieces).await.unwrap(), 1);
    let kept = rows(&client, "SELECT id, name FROM people").await;
    assert_eq!(kept, ["1|Ann"]);
    let text = "COPY people (id) FROM STDIN WHERE wrong > 1";
    let error = copy_in(&client, text, &["1\n"]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "42703");
}

#[tokio::test]
async fn numbers_that_a_table_alone_gives_are_copied() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let text = "CREATE TABLE numbered (id INT GENERATED ALWAYS AS IDENTITY, v TEXT)";
    client.simple_query(text).await.unwrap();
    let text = "COPY numbered (id, v) FROM STDIN";
    let n_rows = copy_in(&client, text, &["7\tseven\n"]).await;
    assert_eq!(n_rows.unwrap(), 1);
    assert_eq!(
        rows(&client, "SELECT id, v FROM numbered").await,
        ["7|seven"]
    );
}

#[tokio::test]
async fn what_is_generated_of_a_number_is_copied_with_it() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let text = "CREATE TABLE labelled (id INT GENERATED ALWAYS AS IDENTITY, v TEXT, \
                twice INT GENERATED ALWAYS AS (id * 2) STORED)";
    client.simple_query(text).await.unwrap();
    let n_rows = copy_in(&client, "COPY labelled (v) FROM STDIN", &["a\nb\n"]).await;
    assert_eq!(n_rows.unwrap(), 2);
    assert_eq!(
        rows(&client, "SELECT id, v, twice FROM labelled ORDER BY id").await,
        ["1|a|2", "2|b|4"]
    );
}

#[tokio::test]
async fn rows_come_and_go_as_text() {
    let fixture = Fixture::start().await;
    let client = people(&fixture).await;
    let pieces = [
        "1\tAnn\\tB\\\\\t2000-01-31\t1.5\t2020-01-02 03:04:05.5\tt\n2\t\\N",
        "\t\\N\t\\N\t\\N\tf\n3\tü\t1999-12-31\t-2e3\t2021-01-01T00:00:00\ttrue\n\\.\n",
    ];
    assert_eq!(
        copy_in(&client, "COPY people FROM STDIN", &pieces)
            .await
            .unwrap(),
        3
    );
    let text = "1\tAnn\\tB\\\\\t2000-01-31\t1.5\t2020-01-02 03:04:05.5\tt\n\
                2\t\\N\t\\N\t\\N\t\\N\tf\n3\tü\t1999-12-31\t-2000\t2021-01-01 00:00:00\tt\n";
    assert_eq!(copy_out(&client, "COPY people TO STDOUT").await, text);
    let query = "COPY (SELECT id, name FROM people WHERE id > 1 ORDER BY id) TO STDOUT \
                 WITH (DELIMITER '|', NULL 'none', HEADER)";
    assert_eq!(copy_out(&client, query).await, "id|name\n2|none\n3|ü\n");
    // What goes out comes in again.
    let again = copy_in(&client, "COPY people FROM STDIN", &[text]).await;
    assert_eq!(again.unwrap(), 3);
    assert_eq!(
        rows(&client, "SELECT count(*), count(DISTINCT id) FROM people").await,
        ["6|3"]
    );
}

#[tokio::test]
async fn rows_come_and_go_as_csv() {
    let fixture = Fixture::start().await;
    let client = people(&fixture).await;
    let text = "COPY people (id, name, score) FROM STDIN (FORMAT csv, HEADER, NULL '-')";
    let pieces = [
        "id,name,score\n1,\"a \"\"quoted\"\"",
        "\nname\",0.5\r\n2,-,-\n3,\"-\",1\n",
    ];
    assert_eq!(copy_in(&client, text, &pieces).await.unwrap(), 3);
    let all = "COPY (SELECT id, name, score, ok FROM people ORDER BY id) TO STDOUT CSV HEADER";
    let wanted = "id,name,score,ok\n1,\"a \"\"quoted\"\"\nname\",0.5,t\n2,,,t\n3,-,1,t\n";
    assert_eq!(copy_out(&client, all).await, wanted);
    let forced = "COPY (SELECT id, '' AS e FROM people ORDER BY id LIMIT 1) TO STDOUT \
                  (FORMAT csv, FORCE_QUOTE (id))";
    assert_eq!(copy_out(&client, forced).await, "\"1\",\"\"\n");
}

#[tokio::test]
async fn rows_come_and_go_in_binary() {
    let fixture = Fixture::start().await;
    let client = people(&fixture).await;
    let text = "COPY people (id, name, score) FROM STDIN BINARY";
    let sink = client.copy_in(text).await.unwrap();
    let types = [Type::INT8, Type::TEXT, Type::FLOAT8];
    let writer = BinaryCopyInWriter::new(sink, &types);
    pin_mut!(writer);
    for id in 0..20_000_i64 {
        let name = (id % 3 > 0).then(|| format!("name {id}"));
        writer.as_mut().write(&[&id, &name, &0.5]).await.unwrap();
    }
    assert_eq!(writer.finish().await.unwrap(), 20_000);
    let text = "COPY (SELECT id, name, score FROM people ORDER BY id) TO STDOUT (FORMAT binary)";
    let stream = client.copy_out(text).await.unwrap();
    let found = BinaryCopyOutStream::new(stream, &types);
    pin_mut!(found);
    let mut id = 0;
    while let Some(row) = found.next().await {
        let row = row.unwrap();
        assert_eq!(row.get::<i64>(0), id);
        let name = (id % 3 > 0).then(|| format!("name {id}"));
        assert_eq!(row.get::<Option<String>>(1), name);
        id += 1;
    }
    assert_eq!(id, 20_000);
}

/// As ADBC and polars send it.
#[tokio::test]
async fn a_binary_copy_may_lack_its_trailer() {
    let fixture = Fixture::start().await;
    let client = people(&fixture).await;
    let mut data = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0".to_vec();
    data.extend(b"\0\x02\0\0\0\x08\0\0\0\0\0\0\0\x07\0\0\0\x02ab");
    let text = "COPY people (id, name) FROM STDIN BINARY";
    for (n_bytes, wanted) in [(data.len(), None), (data.len() - 1, Some("22P04"))] {
        let sink = client.copy_in::<_, Bytes>(text).await.unwrap();
        pin_mut!(sink);
        let piece = Bytes::copy_from_slice(&data[..n_bytes]);
        sink.send(piece).await.unwrap();
        let code = match sink.finish().await {
            Ok(n_rows) => {
                assert_eq!(n_rows, 1);
                None
            }
            Err(error) => Some(error.code().unwrap().code().to_owned()),
        };
        assert_eq!(code.as_deref(), wanted);
    }
    assert_eq!(rows(&client, "SELECT id, name FROM people").await, ["7|ab"]);
}

/// Loaders find the one bad row of many by the line.
#[tokio::test]
async fn violations_of_constraints_name_the_line() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE kept (id INT PRIMARY KEY, made DATE DEFAULT '2024-01-01', \
                 n INT NOT NULL CHECK (n > 0))";
    client.batch_execute(table).await.unwrap();
    client
        .batch_execute("INSERT INTO kept (id, n) VALUES (9, 1)")
        .await
        .unwrap();
    let many: String = (10..20_000).map(|id| format!("{id},1\n")).collect();
    let twice = format!("{many}19000,1\n");
    for (data, sqlstate, place) in [
        ("1,1\n2,1\n1,5\n", "23505", "line 3"),
        ("8,1\n9,1\n10,1\n", "23505", "line 2"),
        (twice.as_str(), "23505", "line 19991"),
        ("1,1\n2,0\n3,1\n", "23514", "line 2: \"2,0\""),
        ("1,1\n2,\n3,1\n", "23502", "line 2: \"2,\""),
        ("1,1\n\"2\",\"1\n", "22P04", "line 3: \"\"2\",\"1\n\""),
    ] {
        let text = "COPY kept (id, n) FROM STDIN (FORMAT csv)";
        let error = copy_in(&client, text, &[data]).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!(error.code().code(), sqlstate, "{error}");
        assert_eq!(error.where_().unwrap(), format!("COPY kept, {place}"));
    }
    assert_eq!(rows(&client, "SELECT id FROM kept").await, ["9"]);
}

#[tokio::test]
async fn errors_name_the_line_and_leave_the_table_as_it_was() {
    let fixture = Fixture::start().await;
    let client = people(&fixture).await;
    let cases = [
        (
            "1\tx\n2\t\\N\textra\n",
            "22P04",
            "extra data after last expected column",
            "line 2: \"2\t\\N\textra\"",
        ),
        (
            "1\n",
            "22P04",
            "missing data for column \"name\"",
            "line 1: \"1\"",
        ),
        (
            "1\tx\none\ty\n",
            "22P02",
            "invalid input syntax for type bigint: \"one\"",
            "line 2, column id: \"one\"",
        ),
    ];
    for (data, sqlstate, message, place) in cases {
        let error = copy_in(&client, "COPY people (id, name) FROM STDIN", &[data]).await;
        let error = error.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert_eq!((error.code().code(), error.message()), (sqlstate, message));
        assert_eq!(error.where_().unwrap(), format!("COPY people, {place}"));
    }
    // NULL where there may be none is the table's own error.
    let error = copy_in(
        &client,
        "COPY people (id, name) FROM STDIN",
        &["1\tw\n\\N\tx\n"],
    );
    let error = error.await.unwrap_err();
    let error = error.as_db_error().unwrap();
    let message = "null value in column \"id\" of relation \"people\" violates not-null constraint";
    assert_eq!((error.code().code(), error.message()), ("23502", message));
    let context = "COPY people, line 2: \"\\N\tx\"";
    assert_eq!(error.where_(), Some(context));
    assert_eq!(rows(&client, "SELECT count(*) FROM people").await, ["0"]);
    for (text, sqlstate) in [
        ("COPY nothing FROM STDIN", "42P01"),
        ("COPY people (missing) FROM STDIN", "42703"),
        (
            "COPY people FROM STDIN (FORMAT csv, DELIMITER '\"')",
            "22023",
        ),
        ("COPY people FROM STDIN (QUOTE 'x')", "0A000"),
        ("COPY people FROM STDIN (FORMAT parquet)", "22023"),
        ("COPY people TO STDOUT (FORMAT binary, HEADER)", "42601"),
        ("COPY (SELECT missing FROM people) TO STDOUT", "42703"),
    ] {
        assert_eq!(
            error_of(&client, text).await.code().code(),
            sqlstate,
            "{text}"
        );
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn a_copy_may_be_given_up_or_lost() {
    let fixture = Fixture::start().await;
    let client = people(&fixture).await;
    {
        let sink = client
            .copy_in::<_, Bytes>("COPY people (id) FROM STDIN")
            .await
            .unwrap();
        pin_mut!(sink);
        sink.send(Bytes::from_static(b"1\n2\n")).await.unwrap();
        // Dropping it without an end tells the server that the copy failed.
    }
    assert_eq!(rows(&client, "SELECT count(*) FROM people").await, ["0"]);
    let other = fixture.connect().await;
    let sink = other
        .copy_in::<_, Bytes>("COPY people (id) FROM STDIN")
        .await
        .unwrap();
    let mut sink = Box::pin(sink);
    sink.send(Bytes::from_static(b"1\n2\n")).await.unwrap();
    sink.flush().await.unwrap();
    drop(other);
    std::mem::forget(sink);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rows(&client, "SELECT count(*) FROM people").await, ["0"]);
    // A cancel request ends one that waits for data.
    let sink = client
        .copy_in::<_, Bytes>("COPY people (id) FROM STDIN")
        .await
        .unwrap();
    let mut sink = Box::pin(sink);
    sink.send(Bytes::from_static(b"1\n")).await.unwrap();
    sink.flush().await.unwrap();
    client
        .cancel_token()
        .cancel_query(tokio_postgres::NoTls)
        .await
        .unwrap();
    let error = sink.as_mut().finish().await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "57014");
    assert_eq!(rows(&client, "SELECT count(*) FROM people").await, ["0"]);
}

/// psql's own reading and writing of files, where psql is there.
#[tokio::test]
async fn psql_copies_files() {
    let fixture = Fixture::start().await;
    let client = people(&fixture).await;
    let file = fixture.folder.path().join("people.csv");
    std::fs::write(&file, "id,name\n1,Ann\n2,\"B, b\"\n").unwrap();
    let port = fixture.server.address().port();
    let text = format!(
        "\\copy people (id, name) from '{0}' csv header\n\\copy people (id, name) to '{0}.out' csv\n",
        file.display()
    );
    let psql = Command::new("psql")
        .args([
            "-X",
            "-h",
            "127.0.0.1",
            "-p",
            &port.to_string(),
            "-U",
            "postgres",
            "postgres",
        ])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut psql) = psql else {
        println!("psql is not installed: skipped");
        return;
    };
    std::io::Write::write_all(&mut psql.stdin.take().unwrap(), text.as_bytes()).unwrap();
    let output = tokio::task::spawn_blocking(move || psql.wait_with_output()).await;
    let output = output.unwrap().unwrap();
    let (out, err) = (
        output.stdout,
        String::from_utf8_lossy(&output.stderr).into_owned(),
    );
    assert_eq!(String::from_utf8(out).unwrap(), "COPY 2\nCOPY 2\n", "{err}");
    let written = std::fs::read_to_string(format!("{}.out", file.display())).unwrap();
    assert_eq!(written, "1,Ann\n2,\"B, b\"\n");
    assert_eq!(rows(&client, "SELECT count(*) FROM people").await, ["2"]);
}
