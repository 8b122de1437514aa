//! Everything that is not ours: DataFusion's and PostgreSQL's statements, and the cut into statements.

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::Statement as AstStatement;

use super::{all, ast, fails, one};
use crate::*;

#[test]
fn operators_end_before_signs() {
    for (text, wanted) in [
        ("SELECT a>-1, a<>-1", "SELECT a > -1, a <> -1"),
        ("SELECT a>=+1, a-+1", "SELECT a >= +1, a - +1"),
        ("SELECT j->-1, j->>-1", "SELECT j -> -1, j ->> -1"),
    ] {
        assert_eq!(ast(&one(text)).to_string(), wanted);
    }
}

#[test]
fn ordinary_sql_still_parses() {
    for text in [
        "SELECT 1",
        "SELECT 1 top, start.a sort FROM t start JOIN u sample ON true",
        "SELECT * FROM 'path.parquet'",
        "SELECT * FROM a JOIN 'b/*.csv' AS b ON a.x = b.x, 'c.json'",
        "SELECT a::int, b #>> '{x}', c @> d FROM t WHERE e ~ '^x' AND $1 = f",
        "SELECT extract(year FROM d), substring('abc' FROM 2), trim(both ' ' FROM 'x')",
        "SELECT $tag$ it's; $tag$, E'\\n', U&'\\0061'",
        "CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'x.parquet'",
        "CREATE EXTERNAL TABLE t (a INT64) STORED AS CSV LOCATION 'x.csv' OPTIONS ('format.has_header' 'true')",
        "COPY t TO 'x.parquet' STORED AS PARQUET",
        "COPY t TO 'x.parquet'",
        "COPY (SELECT 1) TO STDOUT",
        "COPY t (a, b) FROM STDIN WITH (FORMAT csv, HEADER)",
        "COPY t FROM STDIN",
        "COPY t TO STDOUT",
        "COPY t TO 'x.csv' (FORMAT csv)",
        "DESCRIBE t",
        "EXPLAIN SELECT 1",
        "EXPLAIN (FORMAT json, ANALYZE) SELECT 1",
        "SHOW TABLES",
        "SHOW ALL",
        "SHOW ml.dialect",
        "SET ml.dialect = googlesql",
        "SET search_path TO a, b",
        "BEGIN",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "COMMIT",
        "CREATE SCHEMA s",
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        "CREATE TABLE t AS SELECT 1 AS a",
        "INSERT INTO t VALUES (1, 'x')",
        "DELETE FROM t WHERE a = 1",
        "DROP TABLE IF EXISTS t CASCADE",
        "PREPARE p AS SELECT $1",
        "DEALLOCATE ALL",
        "DISCARD ALL",
        "RESET ml.dialect",
        "VALUES (1), (2)",
        "WITH a AS (SELECT 1) SELECT * FROM a",
        "SELECT count(*) FILTER (WHERE a) OVER (PARTITION BY b) FROM t",
        "COMMENT ON TABLE t IS 'x'",
        "LISTEN x",
    ] {
        for dialect in [Dialect::Auto, Dialect::Postgres] {
            match parse(text, dialect) {
                Ok(found) => assert!(matches!(found[0].statement, Statement::Sql(_)), "{text}"),
                Err(error) => panic!("{text}: {error}"),
            }
        }
    }
}

#[test]
fn words_of_other_dialects_are_names() {
    for (text, expected) in [
        (
            "SELECT DISTINCT Top.a, struct FROM t top",
            "SELECT DISTINCT \"top\".a, \"struct\" FROM t \"top\"",
        ),
        (
            "SELECT interval FROM t WHERE interval IS NULL",
            "SELECT \"interval\" FROM t WHERE \"interval\" IS NULL",
        ),
        (
            "SELECT a minus, b regexp FROM t GROUP BY rollup",
            "SELECT a AS \"minus\", b AS \"regexp\" FROM t GROUP BY \"rollup\"",
        ),
        (
            "SELECT rows FROM (SELECT 1 AS rows) q",
            "SELECT rows FROM (SELECT 1 AS rows) q",
        ),
        (
            "SELECT set.a FROM t set JOIN u partition ON true, v anti LIMIT 1",
            "SELECT set.a FROM t set JOIN u partition ON true, v anti LIMIT 1",
        ),
        (
            "SELECT pivot.a FROM (SELECT 1 AS a) pivot LEFT JOIN t qualify ON true",
            "SELECT pivot.a FROM (SELECT 1 AS a) pivot LEFT JOIN t qualify ON true",
        ),
        ("UPDATE t SET top = 1", "UPDATE t SET \"top\" = 1"),
    ] {
        assert_eq!(ast(&one(text)).to_string(), expected);
    }
}

#[test]
fn clauses_of_such_words_stay_clauses() {
    for text in [
        "SELECT a FROM t QUALIFY ROW_NUMBER() OVER (ORDER BY a) = 1",
        "SELECT a FROM t QUALIFY left(a, 1) = 'x'",
        "SELECT * FROM t SEMI JOIN u ON true",
        "SELECT x::INTERVAL FROM t WHERE EXISTS (SELECT 1)",
        "SELECT INTERVAL '1 day'",
        "UPDATE t SET a = 1",
        "DROP TABLE IF EXISTS t",
    ] {
        assert_eq!(ast(&one(text)).to_string(), text);
    }
}

#[test]
fn a_file_stands_where_a_table_does() {
    let statement = one("SELECT * FROM 'a/b.parquet' AS x");
    assert_eq!(
        ast(&statement).to_string(),
        "SELECT * FROM 'a/b.parquet' AS x"
    );
}

#[test]
fn statements_are_cut_at_semicolons_outside_quotes() {
    let text = " ; SELECT ';' ;; /* ; */ SELECT $x$;$x$, \";\" -- ;\n ;TRAIN m; ";
    let found: Vec<String> = all(text).into_iter().map(|parsed| parsed.text).collect();
    assert_eq!(found, ["SELECT ';'", "SELECT $x$;$x$, \";\"", "TRAIN m"]);
    assert!(all("").is_empty() && all(" ;; -- x").is_empty());
}

#[test]
fn spans_of_the_tree_are_bytes_of_the_statement() {
    let text = "SELECT 1;\n  SELECT 'é', col FROM t";
    let statements = all(text);
    let datafusion::sql::sqlparser::ast::Statement::Query(query) = ast(&statements[1].statement)
    else {
        panic!();
    };
    let select = query.body.as_select().unwrap();
    let datafusion::sql::sqlparser::ast::SelectItem::UnnamedExpr(
        datafusion::sql::sqlparser::ast::Expr::Identifier(ident),
    ) = &select.projection[1]
    else {
        panic!();
    };
    assert_eq!(span_of(ident.span).of(&statements[1].text), "col");
    assert_eq!(statements[1].span.of(text), statements[1].text);
}

#[test]
fn datafusion_statements_keep_their_kind() {
    let kind = |text: &str| match one(text) {
        Statement::Sql(statement) => match *statement {
            SqlStatement::CreateExternalTable(_) => "external",
            SqlStatement::CopyTo(_) => "copy to",
            SqlStatement::Explain(_) => "explain",
            SqlStatement::Reset(_) => "reset",
            SqlStatement::Statement(_) => "statement",
        },
        other => panic!("{other:?}"),
    };
    assert_eq!(
        kind("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION 'x'"),
        "external"
    );
    assert_eq!(kind("COPY t TO 'x.csv'"), "copy to");
    assert_eq!(kind("COPY t FROM STDIN"), "statement");
    assert_eq!(kind("EXPLAIN SELECT 1"), "explain");
}

/// Parts that make sqlparser recurse, or try a form twice, when they are nested in one another.
const NESTED: &[&str] = &[
    "SELECT * FROM (",
    "(SELECT 1 FROM (a JOIN (",
    "(",
    "CASE WHEN (",
    "f([",
    "x(a, (",
    "f(",
    "CAST(",
    "STRUCT(",
    "EXTRACT(DAY FROM ",
    "NOT ",
    "- ",
    "EXISTS (SELECT ",
    "a IN (",
    "INTERVAL ",
    "[",
    "ARRAY[",
    "ARRAY<",
    "CAST(a AS STRUCT<b ",
    "EXPLAIN ",
    "EXPLAIN ANALYZE EXPLAIN VERBOSE ",
    "WITH a AS (",
    "a JOIN ",
    "LATERAL (",
    "UNNEST(",
    "a => f(",
    "SUBSTRING(",
    "TRIM(",
    "DATE ",
    "COALESCE(IF(",
    "a[",
    "x::",
    "ML.F(MODEL a, (SELECT ",
    "(PREDICT m ON (",
    "PREDICT(m USING ",
    "IF(",
    "BEGIN ",
    "PREPARE a AS ",
    "VALUES (",
    "TABLE ",
    "a OVER (PARTITION BY ",
    "POSITION(",
    "OVERLAY(",
    "CEIL(",
    "CONVERT(",
    "GROUPING SETS (",
    "((a) AND ",
    "f(DISTINCT ",
    "ANY(",
    "SELECT ALL (",
    "STRUCT<a ",
    "MAP {",
    "{",
    "DECLARE a CURSOR FOR ",
    "CREATE VIEW v AS ",
    "INSERT INTO t ",
    "COPY (",
    "EXECUTE a(",
    "FROM (SELECT a, (",
    "(SELECT a UNION ",
    "a UNION SELECT ",
    "SELECT a FROM b, (",
    "SET a = (",
    "MERGE INTO a USING (",
    "JSON_TABLE(",
    "XMLTABLE(",
    "PIVOT(",
    "a BETWEEN ",
    "a AT TIME ZONE ",
    "LAMBDA ",
    "x -> ",
    "@",
    "SELECT SELECT * FROM (",
];

#[test]
fn no_nesting_ends_the_process_or_keeps_it_busy() {
    for part in NESTED {
        for opening in ["", "SELECT ", "SELECT * FROM ", "CREATE MODEL m AS SELECT "] {
            for depth in [12, 40, 2_000] {
                let outcome = parse(&format!("{opening}{}", part.repeat(depth)), Dialect::Auto);
                assert!(
                    outcome.is_err() || !part.contains('('),
                    "{opening}{part}{depth}"
                );
            }
        }
    }
}

#[test]
fn nested_calls_and_queries_within_the_limit_parse() {
    let calls = format!("SELECT {}1{}", "f(".repeat(24), ")".repeat(24));
    let queries = format!(
        "{}SELECT 1{}",
        "SELECT * FROM (".repeat(12),
        ") q".repeat(12)
    );
    let casts = format!("SELECT {}1{}", "CAST(".repeat(20), " AS INT)".repeat(20));
    for text in [calls, queries, casts] {
        one(&text);
    }
}

#[test]
fn long_chains_end_in_an_error_before_they_end_the_process() {
    for link in [
        " + 1",
        " OR a",
        " || 'x'",
        " UNION SELECT 1",
        "::INT",
        "[1]",
        " IS NULL",
        " AT TIME ZONE 'x'",
    ] {
        assert!(
            parse(&format!("SELECT a{}", link.repeat(1_000)), Dialect::Auto).is_ok(),
            "{link}"
        );
        let outcome = parse(&format!("SELECT a{}", link.repeat(40_000)), Dialect::Auto);
        assert_eq!(outcome.unwrap_err().sqlstate(), "54001", "{link}");
    }
    for link in [".a", ", 1", " JOIN b"] {
        let _ = parse(&format!("SELECT a{}", link.repeat(40_000)), Dialect::Auto);
    }
}

#[test]
fn forms_that_sqlparser_lacks_are_settled() {
    for (text, expected) in [
        ("TABLE a.b ORDER BY 1", "SELECT * FROM a.b ORDER BY 1"),
        (
            "SELECT x BETWEEN SYMMETRIC (a AND b) AND c AND d",
            "SELECT x BETWEEN between_symmetric((a AND b)) AND c AND d",
        ),
        ("SELECT symmetric FROM t", "SELECT symmetric FROM t"),
        (
            "CREATE TABLE t (a int8 ARRAY, b text ARRAY[3] NOT NULL, c int[] DEFAULT ARRAY[1], array int)",
            "CREATE TABLE t (a INT8[], b TEXT[3] NOT NULL, c INT[] DEFAULT ARRAY[1], array INT)",
        ),
        ("SELECT x array FROM t", "SELECT x AS array FROM t"),
        (
            "SELECT a FROM t ORDER BY a FETCH NEXT ((SELECT b FROM u FETCH FIRST (1) ROW ONLY)) ROWS WITH TIES",
            "SELECT a FROM t ORDER BY a LIMIT ((SELECT b FROM u LIMIT (1))) FETCH FIRST ROWS WITH TIES",
        ),
    ] {
        let statements = parse(text, Dialect::Auto).unwrap();
        assert_eq!(ast(&statements[0].statement).to_string(), expected);
    }
    assert!(parse("TABLE", Dialect::Auto).is_err());
}

#[test]
fn names_of_the_columns_of_a_query_stand_in_their_order() {
    let names: Vec<String> = (0..100).map(|n| format!("n{n}")).collect();
    let text = format!("CREATE TABLE t ({}) AS SELECT 1", names.join(", "));
    let statement = one(&text);
    let AstStatement::CreateTable(create) = ast(&statement) else {
        panic!("{statement:?}");
    };
    let columns = create.columns.iter();
    let read: Vec<String> = columns
        .clone()
        .map(|column| column.name.to_string())
        .collect();
    assert_eq!(read, names);
    for column in columns {
        assert_eq!(column.data_type.to_string(), format!("\"{NAMED_COLUMN}\""));
    }
    // The AS of STORED AS is that of no query.
    let files = "CREATE EXTERNAL TABLE t (a, b) STORED AS CSV LOCATION 'x.csv'";
    assert_eq!(fails(files).sqlstate(), "42601");
}
