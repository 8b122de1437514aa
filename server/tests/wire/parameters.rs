//! Types of parameters: what the client declared, else what the statement says.

use tokio_postgres::types::{Kind, Type};

use crate::{Fixture, rows};

#[tokio::test]
async fn a_change_in_a_with_and_what_reads_it_share_parameters() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE queue (id bigint, job text); INSERT INTO queue SELECT value, 'j' FROM generate_series(1, 9)";
    client.batch_execute(table).await.unwrap();
    let text = "WITH gone AS (DELETE FROM queue WHERE id < $1 RETURNING id) SELECT id FROM gone WHERE id > $2 ORDER BY id";
    let taking = client.prepare(text).await.unwrap();
    assert_eq!(taking.params(), [Type::INT8, Type::INT8]);
    for (below, above, expected) in [(4_i64, 1_i64, vec![2_i64, 3]), (6, 0, vec![4, 5])] {
        let found = client.query(&taking, &[&below, &above]).await.unwrap();
        let found: Vec<i64> = found.iter().map(|row| row.get(0)).collect();
        assert_eq!(found, expected);
    }
    assert_eq!(rows(&client, "SELECT count(*) FROM queue").await, ["4"]);
    // A failure of the query takes the change back, and no block is left open.
    let error = client.query(
        "WITH gone AS (DELETE FROM queue RETURNING id) SELECT 1 / (id - $1) FROM gone",
        &[&7_i64],
    );
    let error = error.await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22012");
    assert_eq!(rows(&client, "SELECT count(*) FROM queue").await, ["4"]);
}

#[tokio::test]
async fn declared_types_are_kept_on_the_way_into_columns() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table =
        "CREATE TABLE t (id int, f float8, n numeric(12,3), ts timestamp, d date, name text)";
    client.batch_execute(table).await.unwrap();
    // As psycopg does: the smallest integer type that holds the value.
    let insert = "INSERT INTO t (id, f, n, name) VALUES ($1, $2, $3, $4) RETURNING id, f, n::text";
    let types = [Type::INT2, Type::INT2, Type::INT2, Type::TEXT];
    let insert = client.prepare_typed(insert, &types).await.unwrap();
    assert_eq!(insert.params(), types);
    let row = client
        .query_one(&insert, &[&2_i16, &3_i16, &4_i16, &"x"])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 2);
    assert_eq!(row.get::<_, f64>(1), 3.0);
    assert_eq!(row.get::<_, &str>(2), "4.000");
    let update = "UPDATE t SET f = $1, id = id + $2 WHERE id = $3 RETURNING id, f";
    let types = [Type::INT4, Type::INT2, Type::INT8];
    let update = client.prepare_typed(update, &types).await.unwrap();
    let row = client
        .query_one(&update, &[&7_i32, &1_i16, &2_i64])
        .await
        .unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, f64>(1)), (3, 7.0));
    assert_eq!(
        rows(&client, "SELECT id, f, n, name FROM t").await,
        ["3|7|4.000|x"]
    );
}

#[tokio::test]
async fn declared_types_win_over_those_beside_them() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let days = "SELECT (date '2024-01-31' + $1)::text AS x";
    let days = client.prepare_typed(days, &[Type::INT2]).await.unwrap();
    let row = client.query_one(&days, &[&1_i16]).await.unwrap();
    assert!(row.get::<_, &str>(0).starts_with("2024-02-01"));
    let product = "SELECT (interval '1 day' * $1)::text";
    let product = client.prepare_typed(product, &[Type::INT2]).await.unwrap();
    let row = client.query_one(&product, &[&2_i16]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "2 days");
    let union = "SELECT $1 UNION ALL SELECT $2";
    let union = client
        .prepare_typed(union, &[Type::INT2, Type::INT2])
        .await
        .unwrap();
    let found = client.query(&union, &[&1_i16, &2_i16]).await.unwrap();
    assert_eq!(found.len(), 2);
    let names = "SELECT count(*) FROM (VALUES ('a'), ('b'), ('c')) AS t(x) WHERE x = ANY ($1)";
    let names = client
        .prepare_typed(names, &[Type::TEXT_ARRAY])
        .await
        .unwrap();
    let row = client.query_one(&names, &[&vec!["a", "c"]]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 2);
    let part = client
        .prepare_typed(
            "SELECT substring($1 from $2 for $3)",
            &[Type::TEXT, Type::INT2, Type::INT2],
        )
        .await
        .unwrap();
    let row = client
        .query_one(&part, &[&"hello", &2_i16, &3_i16])
        .await
        .unwrap();
    assert_eq!(row.get::<_, &str>(0), "ell");
}

#[tokio::test]
async fn parameters_beside_times_and_intervals_are_such() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE clock (at time, long interval)";
    client.batch_execute(table).await.unwrap();
    let both = || vec![Type::TIME, Type::INTERVAL];
    for (text, types) in [
        ("SELECT $1::time", vec![Type::TIME]),
        ("SELECT at + $1 FROM clock", vec![Type::INTERVAL]),
        ("SELECT at FROM clock WHERE at < $1 AND long > $2", both()),
        ("INSERT INTO clock VALUES ($1, $2)", both()),
        ("UPDATE clock SET at = $1, long = $2", both()),
    ] {
        let prepared = client.prepare(text).await.unwrap();
        assert_eq!(prepared.params(), types, "{text}");
    }
}

#[tokio::test]
async fn undeclared_types_follow_from_the_statement() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int, name text, ts timestamp, tags text[]); \
             CREATE TABLE u (id uuid); CREATE TABLE several (ids uuid[], grid int[][])",
        )
        .await
        .unwrap();
    for (text, types) in [
        (
            "SELECT id FROM t LIMIT $1 OFFSET $2",
            vec![Type::INT8, Type::INT8],
        ),
        (
            "SELECT id FROM t WHERE name = ANY ($1)",
            vec![Type::TEXT_ARRAY],
        ),
        (
            "SELECT id FROM t WHERE id = ANY ($1)",
            vec![Type::INT4_ARRAY],
        ),
        ("SELECT id FROM t WHERE $1 = ANY (tags)", vec![Type::TEXT]),
        ("SELECT ts + $1 FROM t", vec![Type::INTERVAL]),
        ("SELECT ts - $1 FROM t", vec![Type::TIMESTAMP]),
        ("SELECT now() - interval '1 hour' * $1", vec![Type::FLOAT8]),
        ("SELECT $1::interval", vec![Type::INTERVAL]),
        ("SELECT round($1, 2)", vec![Type::NUMERIC]),
        ("SELECT left(name, $1) FROM t", vec![Type::INT8]),
        ("SELECT $1 + 1", vec![Type::INT4]),
        ("SELECT $1::int8 + 1", vec![Type::INT8]),
        ("SELECT $1::uuid", vec![Type::UUID]),
        ("SELECT id FROM u WHERE id = $1", vec![Type::UUID]),
        (
            "SELECT id FROM u WHERE id = ANY ($1)",
            vec![Type::UUID_ARRAY],
        ),
        ("INSERT INTO u VALUES ($1)", vec![Type::UUID]),
        ("SELECT $1::uuid[]", vec![Type::UUID_ARRAY]),
        (
            "SELECT typname FROM pg_type WHERE oid = $1",
            vec![Type::OID],
        ),
        ("SELECT $1::jsonb[]", vec![Type::JSONB_ARRAY]),
        ("SELECT $1::int[][]", vec![Type::INT4_ARRAY]),
        (
            "INSERT INTO several VALUES ($1, $2)",
            vec![Type::UUID_ARRAY, Type::INT4_ARRAY],
        ),
        (
            "SELECT * FROM generate_series(1, $1) AS g",
            vec![Type::INT8],
        ),
    ] {
        let prepared = client
            .prepare(text)
            .await
            .unwrap_or_else(|e| panic!("{text}: {e:?}"));
        assert_eq!(prepared.params(), types, "{text}");
    }
}

#[tokio::test]
async fn numbers_of_rows_are_bigints() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let series = client
        .query("SELECT g FROM generate_series(1, $1) AS g", &[&3_i64])
        .await
        .unwrap();
    assert_eq!(series.len(), 3);
    let limited = client
        .query(
            "SELECT x FROM (VALUES (1), (2), (3)) AS t(x) LIMIT $1",
            &[&2_i64],
        )
        .await
        .unwrap();
    assert_eq!(limited.len(), 2);
}

/// As asyncpg writes the reflection of SQLAlchemy.
#[tokio::test]
async fn functions_and_operators_tell_the_types_of_their_arguments() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE t (id int, ia int[], f float8, doc jsonb); \
         INSERT INTO t VALUES (1, '{1,2,1}', 2.5, '{\"a\": {\"b\": 1}}')";
    client.batch_execute(table).await.unwrap();
    for (text, types) in [
        ("SELECT pg_advisory_lock($1)", vec![Type::INT8]),
        (
            "SELECT pg_try_advisory_xact_lock($1, $2)",
            vec![Type::INT4, Type::INT4],
        ),
        ("SELECT pg_terminate_backend($1)", vec![Type::INT4]),
        ("SELECT pg_sleep($1)", vec![Type::FLOAT8]),
        ("SELECT to_timestamp($1)", vec![Type::FLOAT8]),
        ("SELECT encode($1, 'hex')", vec![Type::BYTEA]),
        ("SELECT array_remove(ia, $1) FROM t", vec![Type::INT4]),
        ("SELECT array_append(ia, $1) FROM t", vec![Type::INT4]),
        ("SELECT id FROM t WHERE doc @> $1", vec![Type::JSONB]),
        ("SELECT doc || $1 FROM t", vec![Type::JSONB]),
        ("SELECT doc #>> $1 FROM t", vec![Type::TEXT_ARRAY]),
        (
            "SELECT jsonb_set(doc, $1, $2) FROM t",
            vec![Type::TEXT_ARRAY, Type::JSONB],
        ),
        ("SELECT $1 BETWEEN 1 AND 2", vec![Type::INT4]),
        (
            "SELECT width_bucket(f, $1, $2, $3) FROM t",
            vec![Type::FLOAT8, Type::FLOAT8, Type::INT4],
        ),
    ] {
        let prepared = client
            .prepare(text)
            .await
            .unwrap_or_else(|e| panic!("{text}: {e:?}"));
        assert_eq!(prepared.params(), types, "{text}");
    }
    let taken = client
        .query("SELECT pg_advisory_lock($1)", &[&42_i64])
        .await;
    assert_eq!(taken.unwrap().len(), 1);
    let without = "SELECT array_remove(ia, $1) FROM t";
    let row = client.query_one(without, &[&1_i32]).await.unwrap();
    assert_eq!(row.get::<_, Vec<i32>>(0), [2]);
    let path = vec!["a", "b"];
    let row = client.query_one("SELECT doc #>> $1 FROM t", &[&path]).await;
    assert_eq!(row.unwrap().get::<_, &str>(0), "1");
}

#[tokio::test]
async fn a_dimension_may_be_a_parameter() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let text = "SELECT generate_subscripts(ARRAY[7, 8], $1::INTEGER) AS ord";
    let statement = client.prepare(text).await.unwrap();
    assert_eq!(statement.params(), [Type::INT4]);
    for (dimension, n_rows) in [(1, 2), (2, 0)] {
        let found = client.query(&statement, &[&dimension]).await.unwrap();
        assert_eq!(found.len(), n_rows, "{dimension}");
    }
}

#[tokio::test]
async fn open_parameters_have_the_type_of_what_stands_beside_them() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE t (id int PRIMARY KEY, x float8, n numeric(10,2), tags text[], u uuid, doc jsonb)";
    client.batch_execute(table).await.unwrap();
    let cases = [
        (
            "UPDATE t SET tags = $1, u = $2, doc = $3 WHERE id = $4",
            vec![Type::TEXT_ARRAY, Type::UUID, Type::JSONB, Type::INT4],
        ),
        (
            "UPDATE t SET x = coalesce($1, x), n = greatest(n, $2) WHERE id = nullif($3, id)",
            vec![Type::FLOAT8, Type::NUMERIC, Type::INT4],
        ),
        (
            "INSERT INTO t (id, tags) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET tags = $3",
            vec![Type::INT4, Type::TEXT_ARRAY, Type::TEXT_ARRAY],
        ),
        ("SELECT CASE WHEN $1 THEN 1 ELSE 2 END", vec![Type::BOOL]),
        (
            "SELECT CASE id WHEN $1 THEN $2 ELSE x END FROM t",
            vec![Type::INT4, Type::FLOAT8],
        ),
        (
            "SELECT count(*) FROM generate_series($1::timestamp, $2::timestamp, '1 day')",
            vec![Type::TIMESTAMP, Type::TIMESTAMP],
        ),
    ];
    for (text, types) in cases {
        let statement = client.prepare(text).await.unwrap();
        assert_eq!(statement.params(), types, "{text}");
    }
    let insert =
        "INSERT INTO t (id, tags) VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET tags = $3";
    for _ in 0..2 {
        let (first, second) = (vec!["a"], vec!["b", "c"]);
        let changed = client
            .execute(insert, &[&1, &first, &second])
            .await
            .unwrap();
        assert_eq!(changed, 1);
    }
    let update = "UPDATE t SET x = coalesce($1, 2.5), tags = $2 WHERE id = $3";
    let changed = client
        .execute(update, &[&None::<f64>, &vec!["d"], &1])
        .await;
    assert_eq!(changed.unwrap(), 1);
    assert_eq!(
        rows(&client, "SELECT id, x, tags FROM t").await,
        ["1|2.5|{d}"]
    );
}

#[tokio::test]
async fn declared_types_are_assigned_as_postgresql_assigns_them() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE t (id int, d date, b boolean)")
        .await
        .unwrap();
    let insert = "INSERT INTO t VALUES ($1, $2, $3)";
    let statement = client.prepare(insert).await.unwrap();
    assert_eq!(statement.params(), [Type::INT4, Type::DATE, Type::BOOL]);
    let allowed = [Type::INT8, Type::TIMESTAMP, Type::BOOL];
    client.prepare_typed(insert, &allowed).await.unwrap();
    let refused = [
        (insert, vec![Type::BOOL, Type::DATE, Type::BOOL]),
        (insert, vec![Type::INT4, Type::INT4, Type::BOOL]),
        (insert, vec![Type::INT4, Type::TEXT, Type::BOOL]),
        (insert, vec![Type::INT4, Type::DATE, Type::INT2]),
        ("INSERT INTO t (d) SELECT $1", vec![Type::INT4]),
        ("UPDATE t SET d = $1 WHERE id = 1", vec![Type::INT4]),
        ("UPDATE t SET id = $1 WHERE d IS NULL", vec![Type::TEXT]),
    ];
    for (text, types) in refused {
        let error = client.prepare_typed(text, &types).await.err().unwrap();
        let error = error.as_db_error().unwrap().clone();
        assert_eq!(error.code().code(), "42804", "{text} {types:?}: {error}");
    }
}

#[tokio::test]
async fn prepared_statements_see_the_versions_of_now() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int) TBLPROPERTIES ('delta.enableChangeDataFeed' = 'true'); \
             INSERT INTO t VALUES (1)",
        )
        .await
        .unwrap();
    let texts = [
        "SELECT max(version)::int8 FROM table_history('t')",
        "SELECT max(num_rows)::int8 FROM table_detail('t')",
        "SELECT count(*) FROM table_changes('t', 0)",
        "SELECT count(*) FROM t TIMESTAMP AS OF '2100-01-01'",
        "SELECT count(*) FROM t FOR SYSTEM_TIME AS OF now() + interval '1 hour'",
    ];
    let mut polls = Vec::new();
    for text in texts {
        polls.push((text, client.prepare(text).await.unwrap()));
    }
    for n_rows in 1..4_i64 {
        for (text, poll) in &polls {
            let row = client.query_one(poll, &[]).await.unwrap();
            assert_eq!(row.get::<_, i64>(0), n_rows, "{text}");
        }
        client
            .execute("INSERT INTO t VALUES (1)", &[])
            .await
            .unwrap();
    }
    // Which columns a version has is known with its number, so that the statement alone cannot be described.
    let error = client.prepare("SELECT * FROM t VERSION AS OF $1").await;
    let error = error.err().unwrap().as_db_error().unwrap().clone();
    assert_eq!(error.code().code(), "0A000");
}

#[tokio::test]
async fn enums_have_a_type_of_their_own() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TYPE mood AS ENUM ('sad', 'happy')")
        .await
        .unwrap();
    client
        .batch_execute("CREATE TABLE feelings (m mood, ms mood[])")
        .await
        .unwrap();
    // The client asks the catalogs for a type that it does not know.
    let labels = Kind::Enum(vec!["sad".to_owned(), "happy".to_owned()]);
    for text in [
        "INSERT INTO feelings (m) VALUES ($1) RETURNING m",
        "SELECT $1::mood",
        "SELECT m FROM feelings WHERE m = $1",
        "SELECT m FROM feelings WHERE m < $1",
        "SELECT m FROM feelings WHERE m BETWEEN $1 AND 'happy'",
    ] {
        let prepared = client.prepare(text).await.unwrap();
        let parameter = &prepared.params()[0];
        assert_eq!(
            (parameter.name(), parameter.kind()),
            ("mood", &labels),
            "{text}"
        );
        assert_eq!(prepared.columns()[0].type_(), parameter, "{text}");
    }
    for text in [
        "INSERT INTO feelings (ms) VALUES ($1) RETURNING ms",
        "SELECT $1::mood[]",
    ] {
        let prepared = client.prepare(text).await.unwrap();
        let Kind::Array(element) = prepared.params()[0].kind() else {
            panic!("{text}: {:?}", prepared.params());
        };
        assert_eq!(element.kind(), &labels, "{text}");
        assert_eq!(
            prepared.columns()[0].type_(),
            &prepared.params()[0],
            "{text}"
        );
    }
    let found = rows(
        &client,
        "INSERT INTO feelings VALUES ('sad', '{happy}') RETURNING m, ms",
    )
    .await;
    assert_eq!(found, ["sad|{happy}"]);
}

/// Nothing tells a type where all operands are parameters: they are texts, as two literals are.
#[tokio::test]
async fn parameters_beside_parameters_are_texts() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    for (text, first, second) in [
        ("SELECT $1 = $2", "a", "a"),
        ("SELECT $1 <> $2", "a", "b"),
        ("SELECT $1 LIKE $2", "abc", "a%"),
        ("SELECT $1 ILIKE $2", "ABC", "a%"),
        ("SELECT $1 ~ $2", "abc", "^a"),
        ("SELECT $1 IN ($2, 'b')", "a", "a"),
        ("SELECT $1 IN ($2, $2)", "a", "a"),
        ("SELECT $1 BETWEEN $2 AND $2", "a", "a"),
        ("SELECT $1 IS DISTINCT FROM $2", "a", "b"),
        ("SELECT $1 || $2 = 'ab'", "a", "b"),
        ("SELECT $1 || 7 || $2 = 'a7b'", "a", "b"),
        ("SELECT CASE WHEN $1 = $2 THEN true END", "a", "a"),
    ] {
        let statement = client.prepare(text).await;
        let statement = statement.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(statement.params(), [Type::TEXT, Type::TEXT], "{text}");
        let row = client.query_one(&statement, &[&first, &second]).await;
        let row = row.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert!(row.get::<_, bool>(0), "{text}");
    }
    let statement = client.prepare("SELECT $1 = ANY ($2)").await.unwrap();
    assert_eq!(statement.params(), [Type::TEXT, Type::TEXT_ARRAY]);
    let row = client.query_one(&statement, &[&"b", &vec!["a", "b"]]).await;
    assert!(row.unwrap().get::<_, bool>(0));
}

/// The digits of a numeric that a parameter counts are known with its value alone.
#[tokio::test]
async fn a_parameter_tells_the_digits_of_round() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table =
        "CREATE TABLE prices (n numeric(12,3), f float8); INSERT INTO prices VALUES (2.346, 0.25)";
    client.batch_execute(table).await.unwrap();
    for (text, digits) in [
        ("SELECT round(n, $1) = 2.3 FROM prices", 1_i32),
        ("SELECT round(n, $1) = 2.35 FROM prices", 2),
        ("SELECT round(avg(n), $1) = 2.35 FROM prices", 2),
    ] {
        let statement = client.prepare(text).await.unwrap();
        assert_eq!(statement.params(), [Type::INT4], "{text}");
        let row = client.query_one(&statement, &[&digits]).await.unwrap();
        assert!(row.get::<_, bool>(0), "{text}");
    }
    // The numbers themselves come, whatever scale was told.
    let statement = client
        .prepare("SELECT round(n, $1) FROM prices")
        .await
        .unwrap();
    assert_eq!(statement.columns()[0].type_(), &Type::NUMERIC);
    for digits in [0_i32, 1, 2] {
        let found = client.query_one(&statement, &[&digits]).await;
        assert!(found.is_ok(), "{digits}: {found:?}");
    }
}
