//! Every type in text and binary form, as results and as parameters.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::{Fixture, rows};

/// A binary value as it came.
struct Raw(Vec<u8>);

impl<'a> FromSql<'a> for Raw {
    fn from_sql(_: &Type, bytes: &'a [u8]) -> Result<Raw, Box<dyn Error + Sync + Send>> {
        Ok(Raw(bytes.to_vec()))
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

/// A binary value as it is sent.
#[derive(Debug)]
pub(crate) struct Sent(pub(crate) Vec<u8>);

impl ToSql for Sent {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        out.extend_from_slice(&self.0);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

/// SQL, the wire type, the text form, and the binary form in hexadecimal.
const VALUES: &[(&str, Type, &str, &str)] = &[
    ("true", Type::BOOL, "t", "01"),
    ("arrow_cast(7, 'Int8')", Type::INT2, "7", "0007"),
    ("CAST(-2 AS SMALLINT)", Type::INT2, "-2", "fffe"),
    ("arrow_cast(200, 'UInt8')", Type::INT2, "200", "00c8"),
    ("CAST(70000 AS INT)", Type::INT4, "70000", "00011170"),
    (
        r#"'{"b":1}'::json"#,
        Type::JSON,
        r#"{"b":1}"#,
        "7b2262223a317d",
    ),
    (
        r#"'{"b":1}'::jsonb"#,
        Type::JSONB,
        r#"{"b": 1}"#,
        "017b2262223a20317d",
    ),
    (
        "arrow_cast(60000, 'UInt16')",
        Type::INT4,
        "60000",
        "0000ea60",
    ),
    (
        "CAST(5000000000 AS BIGINT)",
        Type::INT8,
        "5000000000",
        "000000012a05f200",
    ),
    (
        "arrow_cast(4000000000, 'UInt32')",
        Type::INT8,
        "4000000000",
        "00000000ee6b2800",
    ),
    (
        "arrow_cast('18446744073709551615', 'UInt64')",
        Type::NUMERIC,
        "18446744073709551615",
        "000500040000000007341a5802e103bb064f",
    ),
    ("CAST(1.5 AS REAL)", Type::FLOAT4, "1.5", "3fc00000"),
    (
        "CAST(0.1 AS DOUBLE)",
        Type::FLOAT8,
        "0.1",
        "3fb999999999999a",
    ),
    (
        "CAST('NaN' AS DOUBLE)",
        Type::FLOAT8,
        "NaN",
        "7ff8000000000000",
    ),
    (
        "CAST('-inf' AS DOUBLE)",
        Type::FLOAT8,
        "-Infinity",
        "fff0000000000000",
    ),
    (
        "CAST(1e20 AS DOUBLE)",
        Type::FLOAT8,
        "1e+20",
        "4415af1d78b58c40",
    ),
    (
        "CAST(-1234.50 AS NUMERIC(10,2))",
        Type::NUMERIC,
        "-1234.50",
        "000200004000000204d21388",
    ),
    (
        "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'::uuid",
        Type::UUID,
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11",
    ),
    (
        "'10.0.0.1'::inet",
        Type::INET,
        "10.0.0.1",
        "022000040a000001",
    ),
    (
        "'10.0.0.1/8'::inet",
        Type::INET,
        "10.0.0.1/8",
        "020800040a000001",
    ),
    (
        "'10.1/16'::cidr",
        Type::CIDR,
        "10.1.0.0/16",
        "021001040a010000",
    ),
    (
        "'2001:DB8::1/64'::inet",
        Type::INET,
        "2001:db8::1/64",
        "0340001020010db8000000000000000000000001",
    ),
    (
        "ARRAY['10.0.0.1'::inet, NULL]",
        Type::INET_ARRAY,
        "{10.0.0.1,NULL}",
        "000000010000000100000365000000020000000100000008022000040a000001ffffffff",
    ),
    (
        "'{10.0.0.1/32}'::cidr[]",
        Type::CIDR_ARRAY,
        "{10.0.0.1/32}",
        "00000001000000000000028a000000010000000100000008022001040a000001",
    ),
    ("ARRAY[1, 2]", Type::INT4_ARRAY, "{1,2}", ""),
    (
        "ARRAY[[1, 2], [3, 4]]",
        Type::INT4_ARRAY,
        "{{1,2},{3,4}}",
        "000000020000000000000017000000020000000100000002000000010000000400000001000000040000000200000004000000030000000400000004",
    ),
    (
        "make_array(make_array(1::int), make_array(2::int, NULL))",
        Type::INT4_ARRAY,
        "{{1,NULL},{2,NULL}}",
        "",
    ),
    (
        "ARRAY['a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid]",
        Type::UUID_ARRAY,
        "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
        "000000010000000000000b86000000010000000100000010a0eebc999c0b4ef8bb6d6bb9bd380a11",
    ),
    (
        "ARRAY['[1]'::jsonb]",
        Type::JSONB_ARRAY,
        "{[1]}",
        "000000010000000000000eda000000010000000100000004015b315d",
    ),
    ("1::numeric", Type::NUMERIC, "1", "00010000000000000001"),
    (
        "'-12.340'::numeric",
        Type::NUMERIC,
        "-12.34",
        "0002000040000002000c0d48",
    ),
    ("10::numeric / 4", Type::NUMERIC, "2.5000000000000000", ""),
    (
        "CASE WHEN true THEN 1 ELSE 0 END + 1",
        Type::INT4,
        "2",
        "00000002",
    ),
    (
        "CASE WHEN random() > 2 THEN 0 ELSE 5000000000 END",
        Type::INT8,
        "5000000000",
        "000000012a05f200",
    ),
    ("2147483648", Type::INT8, "2147483648", "0000000080000000"),
    (
        "18446744073709551616",
        Type::NUMERIC,
        "18446744073709551616",
        "",
    ),
    ("'ä;\"'", Type::TEXT, "ä;\"", "c3a43b22"),
    ("'xy'::\"char\"", Type::CHAR, "x", "78"),
    ("''::\"char\"", Type::CHAR, "", "00"),
    ("NULL", Type::TEXT, "∅", ""),
    ("arrow_cast('x', 'Utf8View')", Type::TEXT, "x", "78"),
    (
        "arrow_cast('x', 'Dictionary(Int32, Utf8)')",
        Type::TEXT,
        "x",
        "78",
    ),
    ("'\\x00ff'::bytea", Type::BYTEA, "\\x00ff", "00ff"),
    ("X'0f'", Type::BIT, "00001111", "000000080f"),
    ("DATE '2024-02-29'", Type::DATE, "2024-02-29", "00002279"),
    (
        "TIME '01:02:03.5'",
        Type::TIME,
        "01:02:03.5",
        "00000000ddf019e0",
    ),
    (
        "TIMESTAMP '2000-01-01 00:00:01.25'",
        Type::TIMESTAMP,
        "2000-01-01 00:00:01.25",
        "00000000001312d0",
    ),
    (
        "CAST('2000-01-01T00:00:01Z' AS TIMESTAMPTZ)",
        Type::TIMESTAMPTZ,
        "2000-01-01 00:00:01+00",
        "00000000000f4240",
    ),
    (
        "INTERVAL '14 months 3 days 4 hours'",
        Type::INTERVAL,
        "1 year 2 mons 3 days 04:00:00",
        "000000035a4e9000000000030000000e",
    ),
    ("make_array(1, NULL, 3)", Type::INT8_ARRAY, "{1,NULL,3}", ""),
    (
        "make_array('a b', '', 'NULL', 'q\"\\')",
        Type::TEXT_ARRAY,
        "{\"a b\",\"\",\"NULL\",\"q\\\"\\\\\"}",
        "",
    ),
    (
        "named_struct('a', 1, 'b', make_array('x'), 'c', CAST('NaN' AS DOUBLE))",
        Type::JSON,
        "{\"a\":1,\"b\":[\"x\"],\"c\":\"NaN\"}",
        "7b2261223a312c2262223a5b2278225d2c2263223a224e614e227d",
    ),
    (
        "make_array(named_struct('t', TIMESTAMP '2024-01-02 03:04:05'))",
        Type::JSON,
        "[{\"t\":\"2024-01-02T03:04:05\"}]",
        "",
    ),
];

#[tokio::test]
async fn every_type_has_its_text_and_binary_form() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    for (sql, pg_type, text, hex) in VALUES {
        let statement = format!("SELECT {sql} AS x");
        assert_eq!(rows(&client, &statement).await, [*text], "{sql}");
        let row = client.query_one(&statement, &[]).await.unwrap();
        assert_eq!(row.columns()[0].type_(), pg_type, "{sql}");
        let raw: Option<Raw> = row.get(0);
        assert_eq!(raw.is_none(), *text == "∅", "{sql}");
        if let Some(Raw(bytes)) = raw.filter(|_| !hex.is_empty()) {
            let found: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(found, *hex, "{sql}");
        }
    }
}

#[tokio::test]
async fn typed_values_are_read_by_a_driver() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let row = client
        .query_one(
            "SELECT CAST(1 AS SMALLINT), CAST(2 AS INT), 3, CAST(4.5 AS REAL), 5.5::float8, 'six', \
             true, '\\x07'::bytea, make_array(1.5::float8, NULL), make_array('a', 'b'), NULL::int",
            &[],
        )
        .await
        .unwrap();
    assert_eq!(row.get::<_, i16>(0), 1);
    assert_eq!(row.get::<_, i32>(1), 2);
    assert_eq!(row.get::<_, i32>(2), 3);
    assert_eq!(row.get::<_, f32>(3), 4.5);
    assert_eq!(row.get::<_, f64>(4), 5.5);
    assert_eq!(row.get::<_, &str>(5), "six");
    assert!(row.get::<_, bool>(6));
    assert_eq!(row.get::<_, Vec<u8>>(7), [7]);
    assert_eq!(row.get::<_, Vec<Option<f64>>>(8), [Some(1.5), None]);
    assert_eq!(row.get::<_, Vec<String>>(9), ["a", "b"]);
    assert_eq!(row.get::<_, Option<i32>>(10), None);
}

#[tokio::test]
async fn parameters_are_bound_in_binary() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let one = |sql: &'static str| format!("SELECT {sql} AS x");
    let row = client
        .query_one(&one("$1::int8 + 1"), &[&41_i64])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i64>(0), 42);
    let row = client
        .query_one(&one("$1::int + 1"), &[&41_i32])
        .await
        .unwrap();
    assert_eq!(row.get::<_, i32>(0), 42);
    let row = client
        .query_one(&one("$1::float8 * 2"), &[&1.25_f64])
        .await
        .unwrap();
    assert_eq!(row.get::<_, f64>(0), 2.5);
    let row = client.query_one(&one("upper($1)"), &[&"ä"]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "Ä");
    let row = client
        .query_one(&one("$1::boolean AND true"), &[&true])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));
    let row = client
        .query_one(&one("$1::int8 IS NULL"), &[&None::<i64>])
        .await
        .unwrap();
    assert!(row.get::<_, bool>(0));
    let statement = client
        .prepare_typed("SELECT array_length($1) AS x", &[Type::INT8_ARRAY])
        .await
        .unwrap();
    let row = client
        .query_one(&statement, &[&vec![Some(1_i64), None]])
        .await
        .unwrap();
    assert_eq!(row.columns()[0].name(), "x");
    let statement = client
        .prepare_typed("SELECT ($1::int[][])[2][1] AS x", &[Type::INT4_ARRAY])
        .await
        .unwrap();
    let words = [2, 0, 23, 2, 1, 2, 1, 4, 1, 4, 2, 4, 3, 4, 4_i32];
    let grid: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
    let row = client.query_one(&statement, &[&Sent(grid)]).await.unwrap();
    assert_eq!(row.get::<_, i32>(0), 3);
    let statement = client
        .prepare_typed("SELECT $1 AS x", &[Type::BYTEA])
        .await
        .unwrap();
    let row = client
        .query_one(&statement, &[&vec![1_u8, 2]])
        .await
        .unwrap();
    assert_eq!(row.get::<_, Vec<u8>>(0), [1, 2]);
}

#[tokio::test]
async fn a_prepared_statement_serves_many_values() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .simple_query("CREATE TABLE t (id BIGINT, name TEXT)")
        .await
        .unwrap();
    let insert = client
        .prepare("INSERT INTO t VALUES ($1, $2)")
        .await
        .unwrap();
    for (id, name) in [(1_i64, Some("one")), (2, None)] {
        assert_eq!(client.execute(&insert, &[&id, &name]).await.unwrap(), 1);
    }
    let select = client
        .prepare("SELECT name FROM t WHERE id = $1")
        .await
        .unwrap();
    assert_eq!(select.params(), [Type::INT8]);
    assert_eq!(select.columns()[0].type_(), &Type::TEXT);
    let row = client.query_one(&select, &[&1_i64]).await.unwrap();
    assert_eq!(row.get::<_, Option<&str>>(0), Some("one"));
    let row = client.query_one(&select, &[&2_i64]).await.unwrap();
    assert_eq!(row.get::<_, Option<&str>>(0), None);
    assert!(
        client
            .query_opt(&select, &[&3_i64])
            .await
            .unwrap()
            .is_none()
    );
}

#[tokio::test]
async fn timestamps_follow_the_session_time_zone() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .simple_query("SET timezone = 'Asia/Kolkata'")
        .await
        .unwrap();
    let query = "SELECT CAST('2024-07-01T00:00:00Z' AS TIMESTAMPTZ)";
    assert_eq!(rows(&client, query).await, ["2024-07-01 05:30:00+05:30"]);
}

#[tokio::test]
async fn structs_travel_as_json_or_as_composite_values() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let text = "SELECT named_struct('a', 1, 'b', 'x y', 'c', NULL::text, 'd', true) AS s, \
                [named_struct('n', 1.5::float8), named_struct('n', NULL::float8)] AS l";
    let json = r#"{"a":1,"b":"x y","c":null,"d":true}|[{"n":1.5},{"n":null}]"#;
    assert_eq!(rows(&client, text).await, [json]);
    client
        .batch_execute("SET ml.nested = composite")
        .await
        .unwrap();
    let record = r#"(1,"x y",,t)|{(1.5),()}"#;
    assert_eq!(rows(&client, text).await, [record]);
    let statement = client.prepare(text).await.unwrap();
    let types: Vec<&Type> = statement
        .columns()
        .iter()
        .map(|column| column.type_())
        .collect();
    assert_eq!(types, [&Type::RECORD, &Type::RECORD_ARRAY]);
    let row = client.query_one(&statement, &[]).await.unwrap();
    let Raw(bytes) = row.get(0);
    // Four fields, each with its type, length and value.
    let mut wanted = vec![0, 0, 0, 4];
    wanted.extend([0, 0, 0, 20, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 1]);
    wanted.extend([0, 0, 0, 25, 0, 0, 0, 3]);
    wanted.extend(b"x y");
    wanted.extend([0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff]);
    wanted.extend([0, 0, 0, 16, 0, 0, 0, 1, 1]);
    assert_eq!(bytes, wanted);
}

#[tokio::test]
async fn columns_of_json_are_json_to_clients() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let text = "CREATE TABLE docs (id BIGINT, doc JSONB, raw JSON)";
    client.batch_execute(text).await.unwrap();
    // Parameters come in the binary form of the type that the client names, or as text.
    let insert = "INSERT INTO docs VALUES (1, $1, $2)";
    let insert = client
        .prepare_typed(insert, &[Type::JSONB, Type::JSON])
        .await
        .unwrap();
    let text = r#"{"a": [1, null]}"#;
    let version = [b"\x01", text.as_bytes()].concat();
    let (jsonb, json) = (Sent(version.clone()), Sent(text.into()));
    client.execute(&insert, &[&jsonb, &json]).await.unwrap();
    let bad = client
        .execute(
            "INSERT INTO docs VALUES (2, $1, NULL)",
            &[&Sent([b"\x01", "{".as_bytes()].concat())],
        )
        .await;
    let error = bad.unwrap_err();
    assert_eq!(error.as_db_error().unwrap().code().code(), "22P02");
    let found = client
        .query("SELECT doc, raw FROM docs", &[])
        .await
        .unwrap();
    let types: Vec<Type> = found[0]
        .columns()
        .iter()
        .map(|c| c.type_().clone())
        .collect();
    assert_eq!(types, [Type::JSONB, Type::JSON]);
    let [Raw(doc), Raw(raw)] = [found[0].get(0), found[0].get(1)];
    assert_eq!((doc, raw), (version, text.into()));
}
