//! Types and modifiers that clients are told of the columns of results. All are those that PostgreSQL 15 tells.

use tokio_postgres::types::Type;
use tokio_postgres::{Client, Column, Statement};

use crate::Fixture;

const TABLES: &str = "CREATE DOMAIN short AS varchar(7); \
     CREATE TABLE ta (id int, v varchar(10), w varchar, c char(3), t text, ts timestamp(3), tz timestamptz(0), \
     ti time(2), iv interval(1), n numeric(8,2), d short, v5 varchar(5)); \
     CREATE TABLE tb (id int, v varchar(10), c char(3)); \
     CREATE VIEW tv AS SELECT v, c, ts, upper(v) AS u, v::varchar(4) AS k FROM ta";
const ROWS: &str =
    "INSERT INTO ta (id, v, c, ts) VALUES (1, 'abcdef', 'xyz', '2026-01-02 03:04:05.678')";

const ALL: &str = "int4 varchar(10) varchar bpchar(3) text timestamp(3) timestamptz(0) time(2) interval(1) numeric(8,2) \
     varchar(7) varchar(5)";

/// Statements over these tables, and the types of their columns.
const RESULTS: &[(&str, &str)] = &[
    ("SELECT * FROM ta", ALL),
    ("TABLE tb", "int4 varchar(10) bpchar(3)"),
    ("SELECT v AS x, (c) FROM ta", "varchar(10) bpchar(3)"),
    ("SELECT x FROM (SELECT v AS x FROM ta) q", "varchar(10)"),
    (
        "WITH q AS (SELECT v, ts FROM ta) SELECT * FROM q",
        "varchar(10) timestamp(3)",
    ),
    (
        "SELECT * FROM tv",
        "varchar(10) bpchar(3) timestamp(3) text varchar(4)",
    ),
    (
        "SELECT a.v, b.v, b.c FROM ta a LEFT JOIN tb b ON a.id = b.id",
        "varchar(10) varchar(10) bpchar(3)",
    ),
    (
        "SELECT v, count(*) FROM ta GROUP BY v ORDER BY v LIMIT 1",
        "varchar(10) int8",
    ),
    (
        "SELECT v, row_number() OVER (ORDER BY id) FROM ta",
        "varchar(10) int8",
    ),
    ("SELECT DISTINCT v, ts FROM ta", "varchar(10) timestamp(3)"),
    ("SELECT v FROM ta UNION SELECT v FROM tb", "varchar(10)"),
    ("SELECT v FROM ta UNION ALL SELECT v5 FROM ta", "varchar"),
    ("SELECT v FROM ta UNION ALL SELECT 'x'", "varchar"),
    ("SELECT t FROM ta UNION ALL SELECT v FROM ta", "text"),
    (
        "SELECT ts FROM ta UNION ALL SELECT ts FROM ta",
        "timestamp(3)",
    ),
    (
        "SELECT coalesce(v, 'x'), coalesce(v, v), coalesce(t, v), coalesce(ts, ts) FROM ta",
        "varchar varchar(10) text timestamp(3)",
    ),
    (
        "SELECT CASE WHEN id = 1 THEN v END, CASE WHEN id = 1 THEN v ELSE v END FROM ta",
        "varchar varchar(10)",
    ),
    (
        "SELECT upper(v), v || 'x', left(v, 2), v::text, max(ts) FROM ta GROUP BY v",
        "text text text text timestamp",
    ),
    (
        "SELECT 'abc'::varchar(5), 'abc'::char(3), 'abc'::char, id::varchar(3) FROM ta",
        "varchar(5) bpchar(3) bpchar(1) varchar(3)",
    ),
    (
        "SELECT k FROM (SELECT t::character varying(5) AS k FROM ta) q",
        "varchar(5)",
    ),
    (
        "SELECT now()::timestamp(3), '1 s'::interval(1), '10:00'::time(2), ts::timestamp FROM ta",
        "timestamp(3) interval(1) time(2) timestamp",
    ),
    ("INSERT INTO ta (id, v) VALUES (7, 'y') RETURNING *", ALL),
    (
        "UPDATE ta SET v = 'z' WHERE id = 7 RETURNING v, upper(v), d, v::varchar(3)",
        "varchar(10) text varchar(7) varchar(3)",
    ),
    (
        "DELETE FROM ta WHERE id = 7 RETURNING v AS x, c, ts",
        "varchar(10) bpchar(3) timestamp(3)",
    ),
];

/// A column's type as it is declared.
fn declared(column: &Column) -> String {
    let (name, modifier) = (column.type_().name(), column.type_modifier());
    if modifier == -1 {
        return name.to_owned();
    }
    match *column.type_() {
        Type::VARCHAR | Type::BPCHAR => format!("{name}({})", modifier - 4),
        Type::NUMERIC => format!(
            "{name}({},{})",
            (modifier - 4) >> 16,
            (modifier - 4) & 0xffff
        ),
        Type::INTERVAL => {
            assert_eq!(modifier >> 16, 0x7fff, "all fields");
            format!("{name}({})", modifier & 0xffff)
        }
        _ => format!("{name}({modifier})"),
    }
}

fn columns(statement: &Statement) -> String {
    let columns: Vec<String> = statement.columns().iter().map(declared).collect();
    columns.join(" ")
}

async fn filled(fixture: &Fixture) -> Client {
    let client = fixture.connect().await;
    client.batch_execute(TABLES).await.unwrap();
    client.batch_execute(ROWS).await.unwrap();
    client
}

#[tokio::test]
async fn columns_have_the_types_that_they_were_declared_with() {
    let fixture = Fixture::start().await;
    let client = filled(&fixture).await;
    for (text, expected) in RESULTS {
        let statement = client.prepare(text).await;
        let statement = statement.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(columns(&statement), *expected, "{text}");
        // Rows are those that were described.
        let rows = client.query(&statement, &[]).await;
        rows.unwrap_or_else(|error| panic!("{text}: {error:?}"));
    }
}

#[tokio::test]
async fn values_of_declared_types_are_texts() {
    let fixture = Fixture::start().await;
    let client = filled(&fixture).await;
    let text = "SELECT v, c, k, $1::varchar(3) FROM tv WHERE v = $2";
    let statement = client.prepare(text).await.unwrap();
    assert_eq!(
        columns(&statement),
        "varchar(10) bpchar(3) varchar(4) varchar(3)"
    );
    let row = client.query_one(&statement, &[&"abcdef", &"abcdef"]).await;
    let row = row.unwrap();
    let cells: Vec<&str> = (0..4).map(|idx| row.get(idx)).collect();
    assert_eq!(cells, ["abcdef", "xyz", "abcd", "abc"]);
    // One that reads no table is computed without a plan of its own.
    let statement = client.prepare("SELECT $1::varchar(3)").await.unwrap();
    assert_eq!(columns(&statement), "varchar(3)");
    let row = client.query_one(&statement, &[&"äöüß"]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "äöü");
}

#[tokio::test]
async fn tables_of_queries_keep_the_types() {
    let fixture = Fixture::start().await;
    let client = filled(&fixture).await;
    let made = "CREATE TABLE made AS SELECT v, c, ts, upper(v) AS u, v::varchar(4) AS k FROM ta";
    client.batch_execute(made).await.unwrap();
    let statement = client.prepare("SELECT * FROM made").await.unwrap();
    let expected = "varchar(10) bpchar(3) timestamp(3) text varchar(4)";
    assert_eq!(columns(&statement), expected);
    let long = client
        .batch_execute("INSERT INTO made (k) VALUES ('abcde')")
        .await;
    let long = long.unwrap_err();
    assert_eq!(long.code().map(|code| code.code()), Some("22001"));
}
