//! Types of parameters: what the statement says.

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, Kind, ToSql, Type, to_sql_checked};

use crate::{Fixture, error_of, rows};

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
        ("SELECT left(name, $1) FROM t", vec![Type::INT4]),
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
            vec![Type::INT4],
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
async fn undeclared_addresses_follow_from_the_statement() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE hosts (ip inet, net cidr)")
        .await
        .unwrap();
    for (text, types) in [
        ("SELECT ip FROM hosts WHERE ip = $1", vec![Type::INET]),
        ("SELECT ip FROM hosts WHERE ip < $1", vec![Type::INET]),
        ("SELECT ip FROM hosts WHERE net = $1", vec![Type::INET]),
        ("SELECT ip FROM hosts WHERE ip << $1", vec![Type::INET]),
        (
            "SELECT ip FROM hosts WHERE ip = ANY ($1)",
            vec![Type::INET_ARRAY],
        ),
        ("SELECT host($1)", vec![Type::INET]),
        (
            "INSERT INTO hosts VALUES ($1, $2)",
            vec![Type::INET, Type::CIDR],
        ),
        (
            "SELECT $1::cidr, $2::inet[]",
            vec![Type::CIDR, Type::INET_ARRAY],
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
        .query("SELECT g FROM generate_series(1::int8, $1) AS g", &[&3_i64])
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

/// Clients send them all, whether the planner needs them or not.
#[tokio::test]
async fn queries_of_with_that_nothing_reads_have_parameters() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE t (id int, u uuid, doc jsonb, d date); INSERT INTO t (id) VALUES (1)";
    client.batch_execute(table).await.unwrap();
    for (text, types) in [
        (
            "WITH w AS (SELECT * FROM t WHERE id = $1 AND d < $3) SELECT id FROM t WHERE u = $2",
            vec![Type::INT4, Type::UUID, Type::DATE],
        ),
        (
            "WITH a AS (SELECT $2 AS x), b AS (SELECT doc || $1 FROM t) SELECT 1",
            vec![Type::JSONB, Type::TEXT],
        ),
        (
            "WITH w AS (SELECT id FROM t WHERE id = $1) UPDATE t SET d = $2",
            vec![Type::INT4, Type::DATE],
        ),
        (
            "SELECT id FROM t WHERE EXISTS (WITH w AS (SELECT 1 FROM t WHERE d = $1) SELECT 1)",
            vec![Type::DATE],
        ),
        (
            "WITH a AS (WITH b AS (SELECT 1 FROM t WHERE id = $1) SELECT $2::float8) SELECT 1",
            vec![Type::INT4, Type::FLOAT8],
        ),
        (
            "WITH a AS (SELECT d AS x FROM t WHERE id = $1), b AS (SELECT 1 FROM a WHERE x < $2), \
             c AS (SELECT 1 FROM t WHERE u = $3) SELECT 1",
            vec![Type::INT4, Type::DATE, Type::UUID],
        ),
        (
            // Alone, the first one does not see what it reads of the row around it.
            "SELECT id FROM t WHERE EXISTS (WITH a AS (SELECT 1 FROM t x WHERE x.id = t.id AND x.d = $1), \
             b AS (SELECT 1 FROM t WHERE u = $2) SELECT 1)",
            vec![Type::TEXT, Type::UUID],
        ),
        (
            "WITH w AS (SELECT id FROM t WHERE u = $2) DELETE FROM t WHERE id = $1",
            vec![Type::INT4, Type::UUID],
        ),
        (
            "WITH w AS (SELECT id FROM t WHERE u = $2) INSERT INTO t (id) VALUES ($1)",
            vec![Type::INT4, Type::UUID],
        ),
    ] {
        let prepared = client.prepare(text).await.unwrap();
        assert_eq!(prepared.params(), types, "{text}");
    }
    let text = "WITH w AS (SELECT * FROM t WHERE id = $1) SELECT count(*) FROM t WHERE id = $2";
    let counting = client.prepare(text).await.unwrap();
    for change in ["SELECT 1", "CREATE TABLE other (id int)"] {
        client.batch_execute(change).await.unwrap();
        let row = client.query_one(&counting, &[&7, &1]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
    }
    let text = "WITH w AS (SELECT * FROM t WHERE id = $1) UPDATE t SET d = NULL WHERE id = $2";
    let n_changed = client.execute(text, &[&7, &1]).await.unwrap();
    assert_eq!(n_changed, 1);
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

/// The size of a frame may be a parameter wherever a query stands, and a table may be made of any query with parameters.
#[tokio::test]
async fn queries_within_statements_have_parameters() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE days (i int, x int);
                 INSERT INTO days SELECT i, 10 * i FROM generate_series(1, 3) AS g (i)";
    client.batch_execute(table).await.unwrap();
    let sums = "SELECT i, sum(x) OVER (ORDER BY i ROWS BETWEEN $1 PRECEDING AND CURRENT ROW) AS x FROM days";
    let create = format!("CREATE TABLE sums AS {sums} WHERE i < $2");
    let statement = client.prepare(&create).await.unwrap();
    assert_eq!(statement.params(), [Type::INT8, Type::INT4]);
    assert!(statement.columns().is_empty());
    let created = client.execute(&statement, &[&1_i64, &3_i32]).await;
    assert_eq!(created.unwrap(), 2);
    let found = rows(&client, "SELECT i, x FROM sums ORDER BY i").await;
    assert_eq!(found, ["1|10", "2|30"]);
    let insert = format!("INSERT INTO sums {sums} RETURNING x");
    let statement = client.prepare(&insert).await.unwrap();
    assert_eq!(statement.columns().len(), 1);
    for (size, wanted) in [(0_i64, [10, 20, 30]), (2, [10, 30, 60])] {
        let returned = client.query(&statement, &[&size]).await.unwrap();
        let mut returned: Vec<i64> = returned.iter().map(|row| row.get(0)).collect();
        returned.sort_unstable();
        assert_eq!(returned, wanted, "{size}");
    }
    let explain = format!("EXPLAIN {sums}");
    let lines = client.query(&explain, &[&1_i64]).await.unwrap();
    assert_eq!(lines[0].columns()[0].name(), "QUERY PLAN");
    let error = client.execute(&insert, &[&-1_i64]).await.unwrap_err();
    assert_eq!(error.code().unwrap().code(), "22013");
    let plain = "CREATE TABLE plain AS SELECT $1::int AS a, i FROM days WHERE i > $2";
    let created = client.execute(plain, &[&7_i32, &1_i32]).await;
    assert_eq!(created.unwrap(), 2);
    let found = rows(&client, "SELECT a, i FROM plain ORDER BY i").await;
    assert_eq!(found, ["7|2", "7|3"]);
    let error = error_of(&client, "CREATE TABLE others AS SELECT $1::int AS a").await;
    assert_eq!(error.code().code(), "42P02");
}

/// Of several types that stand beside a parameter the first counts, in the order in which PostgreSQL looks at a statement.
#[tokio::test]
async fn the_first_use_of_a_parameter_tells_its_type() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE uses (k int, n numeric(12,2), f float8, d date, ts timestamp); \
                 INSERT INTO uses VALUES (1, 2.00, 3.5, '2026-01-01', '2026-01-02'), (2, 1.00, 1, NULL, NULL)";
    client.batch_execute(table).await.unwrap();
    for (text, told) in [
        ("SELECT k FROM uses WHERE k = $1 OR f = $1", Type::INT4),
        ("SELECT k FROM uses WHERE f = $1 OR k = $1", Type::FLOAT8),
        ("SELECT k FROM uses WHERE k > $1 AND n > $1", Type::INT4),
        ("SELECT k FROM uses WHERE n > $1 AND k > $1", Type::NUMERIC),
        ("SELECT k FROM uses WHERE d = $1 OR ts = $1", Type::DATE),
        (
            "SELECT k FROM uses WHERE ts = $1 OR d = $1",
            Type::TIMESTAMP,
        ),
        ("SELECT n = $1 FROM uses WHERE k = $1", Type::NUMERIC),
        ("SELECT k = $1 FROM uses WHERE n = $1", Type::INT4),
        (
            "SELECT a.k FROM uses a JOIN uses b ON a.n = $1 WHERE a.k = $1",
            Type::NUMERIC,
        ),
        (
            "SELECT k FROM (SELECT * FROM uses WHERE f = $1) x WHERE k = $1",
            Type::FLOAT8,
        ),
        (
            "SELECT k FROM uses WHERE k = $1 UNION ALL SELECT k FROM uses WHERE f = $1",
            Type::INT4,
        ),
        (
            "SELECT k FROM uses WHERE f = $1 OR k = $1::bigint",
            Type::FLOAT8,
        ),
        (
            "SELECT k FROM uses WHERE k = $1::bigint OR f = $1",
            Type::INT8,
        ),
        ("UPDATE uses SET n = $1 WHERE k = $1", Type::INT4),
        (
            "DELETE FROM uses WHERE f = $1 RETURNING k = $1",
            Type::FLOAT8,
        ),
    ] {
        let statement = client.prepare(text).await;
        let statement = statement.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(statement.params(), [told], "{text}");
    }
    for (text, value, expected) in [
        ("SELECT k FROM uses WHERE k = $1 OR f = $1", 1_i32, 2),
        ("SELECT k FROM uses WHERE k = $1 OR n = $1", 2, 2),
        ("SELECT k FROM uses WHERE k > $1 AND n > $1", 1, 0),
        ("SELECT k FROM uses WHERE k >= $1 AND n >= $1", 1, 2),
    ] {
        let found = client.query(text, &[&value]).await.unwrap();
        assert_eq!(found.len(), expected, "{text}");
    }
}

#[tokio::test]
async fn arguments_declared_void_are_no_arguments() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    // As pgjdbc sends {? = call round(?, ?)}.
    for (text, types, expected) in [
        (
            "SELECT * FROM upper($1, $2) AS result",
            vec![Type::VOID, Type::TEXT],
            "ABC",
        ),
        ("SELECT lower($1, $2)", vec![Type::VOID, Type::TEXT], "abc"),
        (
            "SELECT lower((($1)), $2)",
            vec![Type::VOID, Type::TEXT],
            "abc",
        ),
        (
            "SELECT * FROM current_database($1) AS result",
            vec![Type::VOID],
            "postgres",
        ),
    ] {
        let prepared = client.prepare_typed(text, &types).await.unwrap();
        assert_eq!(prepared.params(), types, "{text}");
        let nothing = Nothing;
        let value = "aBc";
        let values: Vec<&(dyn ToSql + Sync)> = match types.len() {
            1 => vec![&nothing],
            _ => vec![&nothing, &value],
        };
        let row = client.query_one(&prepared, &values).await.unwrap();
        assert_eq!(row.get::<_, String>(0), expected, "{text}");
    }
    for (text, expected) in [
        ("SELECT $1", "0A000"),
        ("SELECT ($1)", "0A000"),
        ("SELECT count($1)", "42809"),
        ("SELECT * FROM count(($1)) AS result", "42809"),
    ] {
        let error = client.prepare_typed(text, &[Type::VOID]).await.unwrap_err();
        assert_eq!(error.code().unwrap().code(), expected, "{text}");
    }
}

/// What a parameter declared void is bound to.
#[derive(Debug)]
struct Nothing;

impl ToSql for Nothing {
    fn to_sql(
        &self,
        _: &Type,
        _: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        Ok(IsNull::Yes)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
