//! `pg_catalog` as psql and drivers ask it.
//!
//! `psql.sql` holds the statements behind psql 15's backslash commands as PostgreSQL logged them, with
//! `{oid}` where psql puts the number of the table that it was asked about.

use std::process::Command;
use std::time::Duration;

use tokio_postgres::Client;

use crate::{Fixture, examples, rows};

const PSQL: &str = include_str!("psql.sql");

async fn filled(fixture: &Fixture) -> Client {
    let client = fixture.connect().await;
    let text = format!(
        "CREATE EXTERNAL TABLE penguins STORED AS PARQUET LOCATION '{}/penguins.parquet';
         CREATE TABLE t (a INT NOT NULL, b TEXT, c NUMERIC(10,2), d DOUBLE[]);
         CREATE VIEW v AS SELECT a, b FROM t;
         CREATE SCHEMA other;
         CREATE TABLE other.t (z BOOLEAN);
         CREATE MODEL mass PREDICT body_mass_g USING linear_reg AS SELECT * FROM penguins
         WHERE body_mass_g IS NOT NULL",
        examples().display()
    );
    client.simple_query(&text).await.unwrap();
    client
}

#[tokio::test]
async fn every_statement_of_psql_runs() {
    let fixture = Fixture::start().await;
    let client = filled(&fixture).await;
    for table in ["t", "v", "mass"] {
        let oid = match table {
            "mass" => rows(&client, "SELECT oid FROM pg_class WHERE relname = 'mass'").await,
            table => rows(&client, &format!("SELECT '{table}'::regclass::oid")).await,
        };
        for statement in PSQL
            .split("\n\n")
            .filter(|text| !text.trim_start().starts_with("--"))
        {
            let _ = rows(&client, &statement.replace("{oid}", &oid[0])).await;
        }
    }
}

#[tokio::test]
async fn relations_are_listed_by_kind() {
    let fixture = Fixture::start().await;
    let client = filled(&fixture).await;
    let list = "SELECT n.nspname, c.relname, c.relkind FROM pg_catalog.pg_class c \
                LEFT JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
                WHERE n.nspname IN ('public', 'other') ORDER BY 1, 2";
    let expected = [
        "other|t|r",
        "public|mass|f",
        "public|penguins|r",
        "public|t|r",
        "public|v|v",
    ];
    assert_eq!(rows(&client, list).await, expected);
    let visible = "SELECT relname FROM pg_class WHERE relname = 't' AND pg_table_is_visible(oid)";
    assert_eq!(rows(&client, visible).await, ["t"]);
}

#[tokio::test]
async fn columns_have_their_sql_types() {
    let fixture = Fixture::start().await;
    let client = filled(&fixture).await;
    let columns = "SELECT attname, pg_catalog.format_type(atttypid, atttypmod), attnotnull \
                   FROM pg_catalog.pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0 \
                   ORDER BY attnum";
    let expected = [
        "a|integer|t",
        "b|text|f",
        "c|numeric(10,2)|f",
        "d|double precision[]|f",
    ];
    assert_eq!(rows(&client, columns).await, expected);
}

#[tokio::test]
async fn names_and_numbers_convert() {
    let fixture = Fixture::start().await;
    let client = filled(&fixture).await;
    let one = async |sql: &str| rows(&client, &format!("SELECT {sql}")).await.remove(0);
    assert_eq!(one("'t'::regclass = 'public.t'::regclass").await, "t");
    assert_eq!(one("'other.t'::regclass::text").await, "other.t");
    assert_eq!(one("'pg_class'::regclass::oid").await, "1259");
    assert_eq!(one("23::regtype::text").await, "integer");
    assert_eq!(one("'character varying'::regtype::oid").await, "1043");
    assert_eq!(one("to_regclass('nothing')").await, "∅");
    assert_eq!(one("'public'::regnamespace::oid").await, "2200");
    let error = crate::error_of(&client, "SELECT 'nothing'::regclass").await;
    assert_eq!(error.code().code(), "42P01");
    let view = "SELECT pg_catalog.pg_get_viewdef('v'::regclass, true)";
    assert_eq!(rows(&client, view).await, ["SELECT a, b FROM t;"]);
}

#[tokio::test]
async fn numbers_survive_a_restart() {
    let fixture = Fixture::start().await;
    let client = filled(&fixture).await;
    let other = Fixture::start().await;
    let other_client = filled(&other).await;
    let number = "SELECT 't'::regclass::oid";
    assert_eq!(
        rows(&client, number).await,
        rows(&other_client, number).await
    );
}

/// What psql prints for a command.
fn psql(fixture: &Fixture, command: &str) -> Option<String> {
    let address = fixture.server.address();
    let output = Command::new("psql")
        .args([
            "-X",
            "-A",
            "-t",
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-d",
            "postgres",
        ])
        .args(["-p", &address.port().to_string(), "-c", command])
        .output()
        .ok()?;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        output.status.success() && errors.is_empty(),
        "{command}: {errors}"
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_itself_shows_the_catalog() {
    let fixture = Fixture::start().await;
    let _client = filled(&fixture).await;
    let Some(list) = psql(&fixture, "\\d") else {
        eprintln!("skipped: psql is not installed");
        return;
    };
    assert!(list.contains("public|penguins|table|postgres"), "{list}");
    assert!(
        list.contains("public|mass|foreign table|postgres"),
        "{list}"
    );
    let shows = |command: &str, part: &str| {
        let text = psql(&fixture, command).unwrap();
        assert!(text.contains(part), "{command}: {text}");
    };
    shows("\\l", "postgres|postgres|UTF8");
    shows("\\dn", "other|postgres");
    shows("\\dt", "public|t|table|postgres");
    shows("\\dv", "public|v|view|postgres");
    shows("\\du", "postgres|Superuser");
    shows("\\d t", "c|numeric(10,2)||");
    shows("\\d+ t", "a|integer||not null|");
    shows("\\sv v", "SELECT a, b FROM t");
    shows("\\d+ v", "b|text|");
    shows("\\df", "");
    shows("\\dfS upper", "pg_catalog|upper|text|text|func");
}

/// A result's columns say which column of which relation they are; names of objects have a type of their own.
#[tokio::test]
async fn results_tell_where_their_columns_come_from() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE TABLE dept (id INT, name TEXT); CREATE TABLE emp (name TEXT, dept INT);
             CREATE VIEW names AS SELECT name, id FROM dept",
        )
        .await
        .unwrap();
    let oid = async |name: &str| -> u32 {
        let text = format!("SELECT '{name}'::regclass::oid");
        rows(&client, &text).await[0].parse().unwrap()
    };
    let (dept, emp, names) = (oid("dept").await, oid("emp").await, oid("names").await);
    let text = "SELECT d.name, e.name AS who, d.id + 1, n.id, x.dept \
                FROM dept d JOIN emp e ON e.dept = d.id JOIN names n ON n.id = d.id \
                JOIN (SELECT dept FROM emp) x ON x.dept = d.id WHERE d.id > 0 ORDER BY 1 LIMIT 5";
    let statement = client.prepare(text).await.unwrap();
    let origin = |column: &tokio_postgres::Column| (column.table_oid(), column.column_id());
    let origins: Vec<_> = statement.columns().iter().map(origin).collect();
    let expected = [
        (Some(dept), Some(2)),
        (Some(emp), Some(1)),
        (None, None),
        (Some(names), Some(2)),
        (Some(emp), Some(2)),
    ];
    assert_eq!(origins, expected);
    client.query(&statement, &[]).await.unwrap();
    let text = "SELECT 'emp'::regclass, c.oid::regclass AS o, 'int4'::regtype FROM pg_class c WHERE relname = 'emp'";
    assert_eq!(rows(&client, text).await, ["emp|emp|integer"]);
    let statement = client.prepare(text).await.unwrap();
    let types: Vec<u32> = statement
        .columns()
        .iter()
        .map(|c| c.type_().oid())
        .collect();
    assert_eq!(types, [2205, 2205, 2206]);
    assert_eq!(statement.columns()[0].name(), "regclass");
}

#[tokio::test]
async fn names_of_any_length_are_looked_for_at_once() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let looked = async {
        let text = "SELECT to_regtype(repeat('_', 1000000) || 'x') IS NULL";
        assert_eq!(rows(&client, text).await, ["t"]);
        let name = "_".repeat(100_000) + "y";
        let made = format!("CREATE TABLE {name} (a INT); CREATE TYPE _{name} AS ENUM ('a')");
        client.batch_execute(&made).await.unwrap();
        // Its arrays evade the enum.
        let text =
            "SELECT length(typname) FROM pg_type WHERE typname LIKE '\\_\\_\\_%y' ORDER BY 1";
        let lengths = ["100001", "100002", "100003", "100004"];
        assert_eq!(rows(&client, text).await, lengths);
        let text = "SELECT to_regtype(repeat('_', 100002) || 'y') = to_regtype(repeat('_', 100000) || 'y[]')";
        assert_eq!(rows(&client, text).await, ["t"]);
    };
    let looked = tokio::time::timeout(Duration::from_secs(60), looked);
    looked.await.expect("it takes too long");
}
