//! Types that the client declares for its parameters.

use tokio_postgres::types::Type;

use crate::values::Sent;
use crate::{Fixture, rows};

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
async fn declared_types_are_assigned_as_postgresql_assigns_them() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE TABLE t (id int, d date, b boolean);
             CREATE TABLE o (iv interval, by bytea, j jsonb, u uuid, a int[], n numeric(8, 2))",
        )
        .await
        .unwrap();
    let insert = "INSERT INTO t VALUES ($1, $2, $3)";
    let many = format!("{insert}{}", ", (NULL, NULL, NULL)".repeat(99));
    let statement = client.prepare(insert).await.unwrap();
    assert_eq!(statement.params(), [Type::INT4, Type::DATE, Type::BOOL]);
    let allowed = [Type::INT8, Type::TIMESTAMP, Type::BOOL];
    client.prepare_typed(insert, &allowed).await.unwrap();
    for (column, declared) in [
        ("n", Type::NUMERIC),
        ("n", Type::INT4),
        ("a", Type::INT8_ARRAY),
    ] {
        let text = format!("INSERT INTO o ({column}) VALUES ($1)");
        client.prepare_typed(&text, &[declared]).await.unwrap();
    }
    let refused = [
        (insert, vec![Type::BOOL, Type::DATE, Type::BOOL]),
        (insert, vec![Type::INT4, Type::INT4, Type::BOOL]),
        (insert, vec![Type::INT4, Type::TEXT, Type::BOOL]),
        (insert, vec![Type::INT4, Type::DATE, Type::INT2]),
        ("INSERT INTO t (d) SELECT $1", vec![Type::INT4]),
        ("UPDATE t SET d = $1 WHERE id = 1", vec![Type::INT4]),
        ("UPDATE t SET id = $1 WHERE d IS NULL", vec![Type::TEXT]),
        (insert, vec![Type::INT4, Type::NUMERIC, Type::BOOL]),
        (insert, vec![Type::INT4, Type::DATE, Type::NUMERIC]),
        (many.as_str(), vec![Type::INT4, Type::DATE, Type::NUMERIC]),
        ("UPDATE t SET b = $1 WHERE id = 1", vec![Type::NUMERIC]),
        ("INSERT INTO o (iv) VALUES ($1)", vec![Type::NUMERIC]),
        ("INSERT INTO o (by) VALUES ($1)", vec![Type::NUMERIC]),
        ("INSERT INTO o (j) VALUES ($1)", vec![Type::NUMERIC]),
        ("INSERT INTO o (u) VALUES ($1)", vec![Type::NUMERIC]),
        ("INSERT INTO o (a) VALUES ($1)", vec![Type::NUMERIC]),
        ("INSERT INTO o (a) VALUES ($1)", vec![Type::INT4]),
        ("INSERT INTO o (a) VALUES ($1)", vec![Type::TEXT]),
        ("INSERT INTO o (a) VALUES ($1)", vec![Type::BOOL_ARRAY]),
        ("UPDATE o SET a = $1", vec![Type::FLOAT4]),
    ];
    for (text, types) in refused {
        let error = client.prepare_typed(text, &types).await.err().unwrap();
        let error = error.as_db_error().unwrap().clone();
        assert_eq!(error.code().code(), "42804", "{text} {types:?}: {error}");
    }
}

/// A text to Arrow, and to clients what they declared.
#[tokio::test]
async fn columns_of_declared_documents_and_uuids_are_told_as_such() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let (uuid, jsonb, json) = (Type::UUID, Type::JSONB, Type::JSON);
    for (text, declared, told) in [
        ("SELECT $1", &uuid, &uuid),
        ("SELECT coalesce($1, NULL)", &uuid, &uuid),
        ("SELECT array[$1]", &uuid, &Type::UUID_ARRAY),
        ("SELECT * FROM (VALUES ($1)) AS v(a)", &uuid, &uuid),
        ("SELECT $1", &jsonb, &jsonb),
        ("SELECT $1 -> 0", &jsonb, &jsonb),
        ("SELECT CASE WHEN true THEN $1 END", &jsonb, &jsonb),
        ("SELECT $1 UNION ALL SELECT $1", &jsonb, &jsonb),
        ("SELECT array[$1]", &jsonb, &Type::JSONB_ARRAY),
        ("SELECT $1", &json, &json),
        ("SELECT $1 -> 0", &json, &json),
        ("SELECT $1", &Type::UUID_ARRAY, &Type::UUID_ARRAY),
        ("SELECT $1", &Type::JSONB_ARRAY, &Type::JSONB_ARRAY),
    ] {
        let statement = client
            .prepare_typed(text, std::slice::from_ref(declared))
            .await;
        let statement = statement.unwrap_or_else(|error| panic!("{text}: {error:?}"));
        assert_eq!(statement.params(), std::slice::from_ref(declared), "{text}");
        assert_eq!(statement.columns()[0].type_(), told, "{text}");
    }
}

/// Names of objects and their numbers are looked up alike, wherever they stand.
#[tokio::test]
async fn declared_names_of_objects_are_looked_up() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE t (id int)")
        .await
        .unwrap();
    let number = "SELECT oid FROM pg_class WHERE relname = 't'";
    let number: u32 = client.query_one(number, &[]).await.unwrap().get(0);
    let number = Sent(number.to_be_bytes().to_vec());
    let text = "SELECT relname FROM pg_class WHERE oid = $1";
    for declared in [Type::REGCLASS, Type::OID] {
        let statement = client
            .prepare_typed(text, std::slice::from_ref(&declared))
            .await;
        let statement = statement.unwrap_or_else(|error| panic!("{declared}: {error:?}"));
        let row = client.query_one(&statement, &[&number]).await;
        let row = row.unwrap_or_else(|error| panic!("{declared}: {error:?}"));
        assert_eq!(row.get::<_, &str>(0), "t", "{declared}");
        assert_eq!(statement.params(), [declared]);
    }
    for declared in [Type::NAME, Type::VARCHAR, Type::BPCHAR] {
        let text = "SELECT count(*) FROM pg_class WHERE relname = $1";
        let statement = client
            .prepare_typed(text, std::slice::from_ref(&declared))
            .await;
        let statement = statement.unwrap();
        assert_eq!(statement.params(), [declared]);
        let row = client.query_one(&statement, &[&"t"]).await.unwrap();
        assert_eq!(row.get::<_, i64>(0), 1);
    }
}

/// Many rows are read at once, as soon as their parameters have values.
#[tokio::test]
async fn parameters_of_many_rows_have_the_types_of_one() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table =
        "CREATE TABLE kept (id bigint, s varchar, j jsonb, u uuid, n numeric(8, 2), a int[])";
    client.batch_execute(table).await.unwrap();
    let insert = |row: &str, n_more: usize| {
        let more = ", (NULL, NULL, NULL, NULL, NULL, NULL)".repeat(n_more);
        format!("INSERT INTO kept VALUES {row}{more}")
    };
    let open = "($1, $2, $3, $4, $5, $6)";
    let cast = "($1::bigint, $2::varchar, $3::jsonb, $4::uuid, $5::numeric(8, 2), $6::int[])";
    for (row, declared) in [
        (open, &[][..]),
        (cast, &[]),
        (open, &[Type::INT2, Type::TEXT]),
        (cast, &[Type::INT4]),
    ] {
        let one = client.prepare_typed(&insert(row, 0), declared).await;
        let many = client.prepare_typed(&insert(row, 99), declared).await;
        assert_eq!(one.unwrap().params(), many.unwrap().params(), "{row}");
    }
    let row = "($1, $2, NULL, NULL, NULL, NULL)";
    let many = client.prepare_typed(&insert(row, 99), &[Type::INT2]).await;
    let many = many.unwrap();
    for (id, text) in [(5_i16, Some("x")), (-6, None)] {
        assert_eq!(client.execute(&many, &[&id, &text]).await.unwrap(), 100);
    }
    let kept = "SELECT id, s FROM kept WHERE id IS NOT NULL ORDER BY id";
    let kept = client.query(kept, &[]).await.unwrap();
    let kept = kept.iter().map(|row| (row.get(0), row.get(1)));
    let kept: Vec<(i64, Option<&str>)> = kept.collect();
    assert_eq!(kept, [(-6, None), (5, Some("x"))]);
}

/// What is declared is what is sent; how many rows there are does not decide what becomes of it.
#[tokio::test]
async fn parameters_of_many_rows_may_be_of_other_types_than_their_columns() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let table = "CREATE TABLE kept (id bigint, n numeric(8, 2), f float8, r real, i int, t text)";
    client.batch_execute(table).await.unwrap();
    let types = [
        Type::INT2,
        Type::FLOAT8,
        Type::INT4,
        Type::FLOAT8,
        Type::FLOAT4,
        Type::INT8,
    ];
    for n_more in [0, 99] {
        let more = ", (NULL, NULL, NULL, NULL, NULL, NULL)".repeat(n_more);
        let insert = format!("INSERT INTO kept VALUES ($1, $2, $3, $4, $5, $6){more}");
        let insert = client.prepare_typed(&insert, &types).await.unwrap();
        assert_eq!(insert.params(), types);
        let n_added = client
            .execute(
                &insert,
                &[&-7_i16, &1.005_f64, &3_i32, &2.5_f64, &4.5_f32, &9_i64],
            )
            .await;
        assert_eq!(n_added.unwrap(), n_more as u64 + 1);
        let too_large = client
            .execute(&insert, &[&0_i16, &1e6_f64, &0_i32, &0_f64, &0_f32, &0_i64])
            .await;
        let error = too_large.unwrap_err().as_db_error().unwrap().clone();
        assert_eq!(error.code().code(), "22003", "{error}");
    }
    let kept = "SELECT id, n, f, r, i, t FROM kept WHERE id IS NOT NULL";
    let expected = "-7|1.01|3|2.5|4|9";
    assert_eq!(rows(&client, kept).await, [expected, expected]);
}

/// As texts they would be compared as texts.
#[tokio::test]
async fn types_without_values_are_refused() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    for declared in [
        Type::MACADDR,
        Type::MONEY,
        Type::TIMETZ,
        Type::XML,
        Type::INT4_RANGE,
        Type::POINT,
        Type::MACADDR_ARRAY,
    ] {
        let name = declared.name().to_owned();
        let error = client.prepare_typed("SELECT $1", &[declared]).await;
        let error = error.err().unwrap().as_db_error().unwrap().clone();
        assert_eq!(error.code().code(), "0A000", "{name}");
        let message = format!("parameter $1 has the type {name}, which is not supported");
        assert_eq!(error.message(), message);
    }
    let types = [Type::INT4, Type::MONEY];
    let error = client.prepare_typed("SELECT $1 + $2", &types).await;
    let error = error.err().unwrap().as_db_error().unwrap().clone();
    assert!(
        error
            .message()
            .starts_with("parameter $2 has the type money"),
        "{error}"
    );
}

#[tokio::test]
async fn enums_are_declared_by_their_numbers() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let labels = "CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')";
    client.batch_execute(labels).await.unwrap();
    let table = "CREATE TABLE felt (id int, m mood)";
    client.batch_execute(table).await.unwrap();
    let known = client.prepare("SELECT $1::mood, $2::mood[]").await.unwrap();
    let [mood, moods] = known.params() else {
        panic!("{:?}", known.params());
    };
    let [sad, happy, glad] = ["sad", "happy", "glad"].map(|label| Sent(label.into()));
    let text = "SELECT $1 < $2, $1 > 'happy', greatest($1, 'ok')::text";
    let types = [mood.clone(), mood.clone()];
    let compared = client.prepare_typed(text, &types).await.unwrap();
    assert_eq!(compared.params(), types);
    let row = client.query_one(&compared, &[&sad, &happy]).await.unwrap();
    assert!(row.get::<_, bool>(0));
    assert!(!row.get::<_, bool>(1));
    assert_eq!(row.get::<_, &str>(2), "ok");
    let text = "SELECT pg_typeof($1)::text, pg_typeof($1[1])::text";
    let types_of_array = [moods.clone()];
    let listed = client.prepare_typed(text, &types_of_array).await.unwrap();
    assert_eq!(listed.params(), types_of_array);
    let row = client.query_one(&listed, &[&None::<Sent>]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "mood[]");
    assert_eq!(row.get::<_, &str>(1), "mood");
    // Beside cells of the same column that have no type.
    let text = "INSERT INTO felt VALUES (1, $1), (2, NULL), (3, 'ok'), (4, $2) RETURNING m::text";
    let insert = client
        .prepare_typed(text, std::slice::from_ref(mood))
        .await
        .unwrap();
    assert_eq!(insert.params(), types);
    let found = client.query(&insert, &[&happy, &sad]).await.unwrap();
    let found: Vec<Option<&str>> = found.iter().map(|row| row.get(0)).collect();
    assert_eq!(found, [Some("happy"), None, Some("ok"), Some("sad")]);
    let error = client.query_one(&compared, &[&glad, &sad]).await;
    let error = error.err().unwrap().as_db_error().unwrap().clone();
    assert_eq!(error.code().code(), "22P02");
}
