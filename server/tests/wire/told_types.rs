//! Types that clients are told of parameters without a declared type: those that functions take, and those of columns.

use tokio_postgres::types::{ToSql, Type};

use crate::Fixture;
use crate::values::Sent;

/// Columns over [`FACTS`], and the types of their parameters as PostgreSQL tells them.
const COLUMNS: &[(&str, &[Type])] = &[
    ("chr($1)", &[Type::INT4]),
    ("substr(s, $1, $2)", &[Type::INT4, Type::INT4]),
    ("lpad(s, $1, $2)", &[Type::INT4, Type::TEXT]),
    ("split_part(s, $1, $2)", &[Type::TEXT, Type::INT4]),
    ("overlay(s placing $1 from $2)", &[Type::TEXT, Type::INT4]),
    ("substring(s from $1)", &[Type::TEXT]),
    ("substring(s from $1 for $2)", &[Type::TEXT, Type::TEXT]),
    (
        "substring(by from $1), substring(by from $2 for $3)",
        &[Type::INT4, Type::INT4, Type::INT4],
    ),
    (
        "position($1 in by), position($2 in s)",
        &[Type::BYTEA, Type::TEXT],
    ),
    (
        "trim($1 from by), trim(leading $2 from s)",
        &[Type::BYTEA, Type::TEXT],
    ),
    (
        "string_agg(by, $1), string_agg(s, $2)",
        &[Type::BYTEA, Type::TEXT],
    ),
    ("sha256($1)", &[Type::BYTEA]),
    (
        "floor($1), ceil($2), +$3",
        &[Type::FLOAT8, Type::FLOAT8, Type::FLOAT8],
    ),
    (
        "log($1, $2), div($3, $4)",
        &[Type::NUMERIC, Type::NUMERIC, Type::NUMERIC, Type::NUMERIC],
    ),
    (
        "width_bucket(n, $1, $2, 5)",
        &[Type::NUMERIC, Type::NUMERIC],
    ),
    (
        "width_bucket($1, ia), width_bucket(i, $2)",
        &[Type::INT4, Type::INT4_ARRAY],
    ),
    ("gcd(i, $1), i # $2", &[Type::INT4, Type::INT4]),
    ("b8 << $1, b8 >> $2", &[Type::INT4, Type::INT4]),
    ("b8 = $1", &[Type::INT8]),
    ("$1 AT TIME ZONE 'UTC'", &[Type::TIMESTAMPTZ]),
    (
        "timezone($1, $2), ts AT TIME ZONE $3",
        &[Type::TEXT, Type::TIMESTAMPTZ, Type::TEXT],
    ),
    (
        "date_trunc($1, $2, $3)",
        &[Type::TEXT, Type::TIMESTAMPTZ, Type::TEXT],
    ),
    (
        "make_date($1, $2, $3)",
        &[Type::INT4, Type::INT4, Type::INT4],
    ),
    (
        "make_interval(days => $1, secs => $2)",
        &[Type::INT4, Type::FLOAT8],
    ),
    (
        "make_time($1, $2, $3)",
        &[Type::INT4, Type::INT4, Type::FLOAT8],
    ),
    (
        "age(ts, $1), age($2, tz)",
        &[Type::TIMESTAMP, Type::TIMESTAMPTZ],
    ),
    ("age($1, $2)", &[Type::TIMESTAMPTZ, Type::TIMESTAMPTZ]),
    ("date_bin($1, ts, $2)", &[Type::INTERVAL, Type::TIMESTAMP]),
    (
        "(ts, ts) OVERLAPS ($1, $2)",
        &[Type::TIMESTAMP, Type::TIMESTAMP],
    ),
    (
        "(d, d) OVERLAPS ($1, $2)",
        &[Type::TIMESTAMPTZ, Type::TIMESTAMPTZ],
    ),
    ("justify_days($1)", &[Type::INTERVAL]),
    (
        "ia[$1], ia[$2:$3], array_length(ia, $4)",
        &[Type::INT4, Type::INT4, Type::INT4, Type::INT4],
    ),
    (
        "trim_array(ia, $1), array_positions(ia, $2)",
        &[Type::INT4, Type::INT4],
    ),
    ("array_cat(ia, $1)", &[Type::INT4_ARRAY]),
    ("array_append($1, j)", &[Type::JSONB_ARRAY]),
    ("f > ANY ($1)", &[Type::FLOAT8_ARRAY]),
    ("by = ANY ($1)", &[Type::BYTEA_ARRAY]),
    ("iv = ANY ($1)", &[Type::INTERVAL_ARRAY]),
    ("j = ANY ($1)", &[Type::JSONB_ARRAY]),
    (
        "(i, n) BETWEEN ($1, $2) AND ($3, $4)",
        &[Type::INT4, Type::NUMERIC, Type::INT4, Type::NUMERIC],
    ),
    (
        "ROW(i, n) IS DISTINCT FROM ROW($1, $2)",
        &[Type::INT4, Type::NUMERIC],
    ),
    ("$1 = ANY (us)", &[Type::UUID]),
    ("$1 > ALL (SELECT n FROM facts)", &[Type::NUMERIC]),
    ("lag(i, 1, $1) OVER (ORDER BY i)", &[Type::INT4]),
    ("coalesce(j, $1), nullif(u, $2)", &[Type::JSONB, Type::UUID]),
    (
        "greatest(i, n, $1), coalesce(i, $2, f)",
        &[Type::NUMERIC, Type::FLOAT8],
    ),
    ("least($1, ts, tz)", &[Type::TIMESTAMPTZ]),
    (
        "jsonb_typeof($1), jsonb_array_length($2)",
        &[Type::JSONB, Type::JSONB],
    ),
    (
        "jsonb_insert(j, $1, $2, $3)",
        &[Type::TEXT_ARRAY, Type::JSONB, Type::BOOL],
    ),
    (
        "json_typeof($1), jsonb_object($2)",
        &[Type::JSON, Type::TEXT_ARRAY],
    ),
    ("jsonb_array_elements($1)", &[Type::JSONB]),
    (
        "(jsonb_populate_record(NULL::facts, $1)).ts",
        &[Type::JSONB],
    ),
    (
        "sum(i) OVER (ORDER BY d RANGE $1::int * interval '1 day' PRECEDING)",
        &[Type::INT4],
    ),
    (
        "sum(i) OVER (ORDER BY d RANGE BETWEEN ($1) * interval '1 day' PRECEDING \
         AND make_interval(days => $2) FOLLOWING)",
        &[Type::FLOAT8, Type::INT4],
    ),
    (
        "sum(i) OVER (ORDER BY ts RANGE $1::interval PRECEDING)",
        &[Type::INTERVAL],
    ),
    ("nullif(f, $1)", &[Type::FLOAT8]),
    (
        "nullif(avg(f), $1), nullif(sum(n), $2)",
        &[Type::FLOAT8, Type::NUMERIC],
    ),
    (
        "bool_or($1), bool_and($2), every($3)",
        &[Type::BOOL, Type::BOOL, Type::BOOL],
    ),
    ("bool_or($1) OVER (ORDER BY i)", &[Type::BOOL]),
    (
        "corr($1, f), regr_slope(f, $2)",
        &[Type::FLOAT8, Type::FLOAT8],
    ),
    (
        "percentile_cont(0.5) WITHIN GROUP (ORDER BY $1)",
        &[Type::FLOAT8],
    ),
    (
        "$1 > date_part('day', ts), nullif(date_part('year', d), $2)",
        &[Type::FLOAT8, Type::FLOAT8],
    ),
    (
        "extract(day FROM ts) < $1, coalesce(extract(year FROM tz), $2)",
        &[Type::NUMERIC, Type::NUMERIC],
    ),
    (
        "extract(hour FROM ts) BETWEEN $1 AND $2",
        &[Type::NUMERIC, Type::NUMERIC],
    ),
    (
        "CASE WHEN s = 'a' THEN $1 ELSE extract(day FROM d) END",
        &[Type::NUMERIC],
    ),
    ("date_part('day', ts) IN ($1, 2)", &[Type::FLOAT8]),
    ("$1 || j, '[1]' || j || $2", &[Type::JSONB, Type::JSONB]),
    ("$1 || coalesce(j, '{}')", &[Type::JSONB]),
    ("current_setting($1, $2)", &[Type::TEXT, Type::BOOL]),
    ("format_type($1, $2)", &[Type::OID, Type::INT4]),
    ("obj_description($1, $2)", &[Type::OID, Type::NAME]),
    ("pg_table_is_visible($1)", &[Type::OID]),
    ("CASE WHEN $1 AND $2 THEN 1 END", &[Type::BOOL, Type::BOOL]),
    ("$1 IS NOT TRUE", &[Type::BOOL]),
    ("generate_series(1, $1)", &[Type::INT4]),
    (
        "generate_series(1, $1::int8, $2)",
        &[Type::INT8, Type::INT8],
    ),
    (
        "generate_series($1::date, $2, $3)",
        &[Type::DATE, Type::TIMESTAMPTZ, Type::INTERVAL],
    ),
    (
        "generate_series(ts, $1, $2)",
        &[Type::TIMESTAMP, Type::INTERVAL],
    ),
];

/// The same of statements.
const STATEMENTS: &[(&str, &[Type])] = &[
    ("SELECT i FROM facts WHERE $1", &[Type::BOOL]),
    ("SELECT * FROM jsonb_each($1)", &[Type::JSONB]),
    (
        "SELECT * FROM jsonb_to_record($1) AS x (a int)",
        &[Type::JSONB],
    ),
    (
        "SELECT * FROM jsonb_populate_record(NULL::facts, $1)",
        &[Type::JSONB],
    ),
    ("SELECT j FROM facts UNION ALL SELECT $1", &[Type::JSONB]),
    ("SELECT $1 UNION SELECT u FROM facts", &[Type::UUID]),
    ("SELECT i FROM facts EXCEPT SELECT $1", &[Type::INT4]),
    ("SELECT $1 INTERSECT SELECT i FROM facts", &[Type::INT4]),
    (
        "SELECT i, d, s, f FROM facts UNION ALL SELECT $1, $2, $3, $4",
        &[Type::INT4, Type::DATE, Type::TEXT, Type::FLOAT8],
    ),
    (
        "SELECT ia AS a, j AS b FROM facts UNION SELECT $1 AS c, $2 FROM facts",
        &[Type::INT4_ARRAY, Type::JSONB],
    ),
    (
        "SELECT $1, 1 UNION ALL SELECT d, 2.5 FROM facts",
        &[Type::DATE],
    ),
    (
        "SELECT 1, $1 UNION ALL SELECT 2.5, $2",
        &[Type::TEXT, Type::TEXT],
    ),
    (
        "SELECT i, true FROM facts EXCEPT SELECT 2, $1",
        &[Type::BOOL],
    ),
    (
        "SELECT 1, true EXCEPT ALL SELECT 2, $1 FROM facts",
        &[Type::BOOL],
    ),
    (
        "SELECT i FROM facts JOIN (VALUES (1)) one (o) ON $1",
        &[Type::BOOL],
    ),
    (
        "SELECT i FROM facts LEFT JOIN (VALUES (1)) one (o) ON $1",
        &[Type::BOOL],
    ),
    (
        "SELECT * FROM jsonb_to_recordset($1) AS x (a int)",
        &[Type::JSONB],
    ),
    (
        "SELECT * FROM generate_series(now(), $1, $2)",
        &[Type::TIMESTAMPTZ, Type::INTERVAL],
    ),
    (
        "SELECT * FROM generate_series($1, $2)",
        &[Type::INT8, Type::INT8],
    ),
    ("SELECT oid FROM pg_class WHERE relname = $1", &[Type::NAME]),
    (
        "SELECT oid FROM pg_class WHERE relname LIKE $1",
        &[Type::TEXT],
    ),
    (
        "SELECT oid FROM pg_class WHERE relkind IN ($1, $2)",
        &[Type::CHAR, Type::CHAR],
    ),
    (
        "SELECT oid FROM pg_class WHERE relkind = ANY ($1)",
        &[Type::CHAR_ARRAY],
    ),
    (
        "SELECT relname FROM pg_class WHERE oid = ANY ($1)",
        &[Type::OID_ARRAY],
    ),
];

/// asyncpg, pgx and others refuse values of another type than they are told.
#[tokio::test]
async fn parameters_have_the_types_that_functions_take() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client.batch_execute(FACTS).await.unwrap();
    let columns = COLUMNS.iter();
    let columns = columns.map(|(text, types)| (format!("SELECT {text} FROM facts"), *types));
    let statements = STATEMENTS.iter();
    let statements = statements.map(|(text, types)| ((*text).to_owned(), *types));
    for (text, types) in columns.chain(statements) {
        let prepared = client.prepare(&text).await;
        let prepared = prepared.unwrap_or_else(|e| panic!("{text}: {e:?}"));
        assert_eq!(prepared.params(), types, "{text}");
    }
}

/// A row of values of every kind.
const FACTS: &str = "CREATE TABLE facts (i int, n numeric(12,3), f float8, s text, d date, ts timestamp, tz timestamptz, \
     j jsonb, ia int[], u uuid, us uuid[], by bytea, iv interval, b8 bigint); \
     INSERT INTO facts VALUES (5, 2.5, 0.5, 'hello', '2026-01-02', '2026-01-02 03:00', '2026-01-02 03:00+00', \
     '{\"a\": [1]}', '{7,8,9}', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}', \
     '\\x0102', '1 day', 7)";

/// Values of the types that were told do what they say.
#[tokio::test]
async fn values_of_told_types_are_used_as_such() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client.batch_execute(FACTS).await.unwrap();
    let document = Sent(b"\x01[1, {\"b\": null}]".to_vec());
    // 2026-01-03, in microseconds since 2000, and a day, behind no microseconds.
    let end = Sent((9_499_i64 * 86_400_000_000).to_be_bytes().to_vec());
    let day = Sent([[0_u8; 8].as_slice(), &[0, 0, 0, 1], &[0; 4]].concat());
    let values: [(&str, &[&(dyn ToSql + Sync)], &str); 23] = [
        ("chr($1) || left(s, $2)", &[&65_i32, &2_i32], "Ahe"),
        ("overlay(s placing $1 from $2)", &[&"J", &1_i32], "Jello"),
        ("substring(s from $1)", &[&"l+"], "ll"),
        ("substring(s from $1 for $2)", &[&"h#\"e#\"%", &"#"], "e"),
        ("encode(substring(by from $1), 'hex')", &[&2_i32], "02"),
        ("position($1 in by)::text", &[&vec![2_u8]], "2"),
        ("(b8 << $1)::text", &[&2_i32], "28"),
        ("(by = ANY ($1))::text", &[&vec![vec![1_u8, 2]]], "true"),
        (
            "(sum(i) OVER (ORDER BY d RANGE $1::int * interval '1 day' PRECEDING))::text",
            &[&3_i32],
            "5",
        ),
        (
            "(sum(i) OVER (ORDER BY d RANGE ($1) * interval '1 day' PRECEDING))::text",
            &[&2.0_f64],
            "5",
        ),
        ("floor($1)::text", &[&2.7_f64], "2"),
        ("ia[$1:$2]::text", &[&2_i32, &3_i32], "{8,9}"),
        ("array_cat(ia, $1)::text", &[&vec![1_i32]], "{7,8,9,1}"),
        ("(f < ANY ($1))::text", &[&vec![0.25_f64, 0.75]], "true"),
        ("jsonb_array_length($1)::text", &[&document], "2"),
        (
            "jsonb_insert(j, $1, $2)::text",
            &[&vec!["b"], &document],
            r#"{"a": [1], "b": [1, {"b": null}]}"#,
        ),
        (
            "($1 || j)::text",
            &[&document],
            r#"[1, {"b": null}, {"a": [1]}]"#,
        ),
        ("nullif(f, $1)::text", &[&0.25_f64], "0.5"),
        ("(date_part('day', ts) > $1)::text", &[&1.5_f64], "true"),
        (
            "(now() - make_interval(days => $1) < now())::text",
            &[&1_i32],
            "true",
        ),
        (
            "(CASE WHEN $1 AND $2 THEN 'both' ELSE 'not' END)",
            &[&true, &true],
            "both",
        ),
        (
            "(SELECT sum(g) FROM generate_series(1, $1) AS g)::text",
            &[&4_i32],
            "10",
        ),
        (
            "(SELECT count(*) FROM generate_series('2026-01-01'::timestamp, $1, $2))::text",
            &[&end, &day],
            "3",
        ),
    ];
    for (text, parameters, expected) in values {
        let query = format!("SELECT {text} FROM facts");
        let row = client.query_one(&query, parameters).await;
        let row = row.unwrap_or_else(|error| panic!("{query}: {error:?}"));
        assert_eq!(row.get::<_, &str>(0), expected, "{query}");
    }
}

#[tokio::test]
async fn kinds_of_relations_are_sent_as_chars() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client.batch_execute(FACTS).await.unwrap();
    let kinds = "SELECT count(*) FROM pg_class WHERE relname = $1 AND relkind = ANY ($2)";
    for (kinds_wanted, n_found) in [(vec![b'r' as i8, b'v' as i8], 1_i64), (vec![b'v' as i8], 0)] {
        let row = client.query_one(kinds, &[&"facts", &kinds_wanted]).await;
        assert_eq!(row.unwrap().get::<_, i64>(0), n_found);
    }
}
