//! Messages, positions and hints.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

use super::{fails, one};
use crate::*;

#[test]
fn each_error_says_what_and_where() {
    for (text, message, position) in [
        (
            "CREATE MODEL m",
            "syntax error at end of input, expected AS query",
            14,
        ),
        (
            "CREATE MODEL m PREDICT y",
            "syntax error at end of input, expected AS query",
            24,
        ),
        (
            "CREATE MODEL",
            "syntax error at end of input, expected a model's name",
            12,
        ),
        (
            "CREATE MODEL AS SELECT 1",
            "syntax error at or near \"AS\", expected a model's name",
            13,
        ),
        (
            "CREATE MODEL m@3 AS SELECT 1",
            "syntax error at or near \"@\", expected a model's name without a version",
            14,
        ),
        (
            "CREATE MODEL m OPTOINS (a = 1) AS SELECT 1",
            "syntax error at or near \"OPTOINS\", expected a clause of CREATE MODEL or AS query",
            15,
        ),
        (
            "CREATE MODEL m AS",
            "syntax error at end of input, expected a query",
            17,
        ),
        (
            "CREATE MODEL m AS customers",
            "syntax error at or near \"customers\", expected a query",
            18,
        ),
        (
            "CREATE MODEL m PREDICT y TARGET z AS SELECT 1",
            "clause PREDICT is written more than once",
            25,
        ),
        (
            "CREATE MODEL m OPTIONS (a = 1) OPTIONS (b = 1) AS SELECT 1",
            "clause OPTIONS is written more than once",
            31,
        ),
        (
            "CREATE MODEL m OPTIONS (a = 1, A = 2) AS SELECT 1",
            "option \"a\" is written more than once",
            31,
        ),
        (
            "CREATE MODEL m OPTIONS (a 1) AS SELECT 1",
            "syntax error at or near \"1\", expected = and a value",
            26,
        ),
        (
            "CREATE MODEL m OPTIONS (a = ) AS SELECT 1",
            "syntax error at or near \")\", expected a value",
            28,
        ),
        (
            "CREATE MODEL m OPTIONS (a = 1 b = 2) AS SELECT 1",
            "syntax error at or near \"b\", expected a comma or )",
            30,
        ),
        (
            "CREATE MODEL m OPTIONS (a = 1",
            "syntax error at end of input, expected )",
            29,
        ),
        (
            "CREATE MODEL m OPTIONS (a = pow(1, 2)) AS SELECT 1",
            "syntax error at or near \"(\", expected a literal",
            31,
        ),
        (
            "CREATE MODEL m HORIZON -1 AS SELECT 1",
            "syntax error at or near \"-\", expected a whole number",
            23,
        ),
        (
            "CREATE MODEL m HORIZON 99999999999999999999 AS SELECT 1",
            "value \"99999999999999999999\" is out of range, expected a whole number",
            23,
        ),
        (
            "CREATE MODEL m FROM t",
            "syntax error at or near \"t\", expected a file's name in quotes",
            20,
        ),
        (
            "TRAIN",
            "syntax error at end of input, expected a model's name",
            5,
        ),
        (
            "TRAIN m FOO",
            "syntax error at or near \"FOO\", expected ON, WITH (…), IN BACKGROUND, RESUME or end of \
             statement",
            8,
        ),
        (
            "TRAIN m RESUME now",
            "syntax error at or near \"now\", expected end of statement",
            15,
        ),
        (
            "PREDICT m",
            "syntax error at end of input, expected ON and the rows to predict",
            9,
        ),
        (
            "EVALUATE m@ ON t",
            "syntax error at or near \"ON\", expected a version's number or alias",
            12,
        ),
        (
            "DROP MODEL",
            "syntax error at end of input, expected a model's name",
            10,
        ),
        (
            "DROP MODEL a b",
            "syntax error at or near \"b\", expected end of statement",
            13,
        ),
        (
            "ALTER MODEL m",
            "syntax error at end of input, expected an action of ALTER MODEL",
            13,
        ),
        (
            "ALTER MODEL m SET ALIAS a TO b",
            "syntax error at or near \"b\", expected a version's number",
            29,
        ),
        (
            "EXPORT MODEL m",
            "syntax error at end of input, expected TO 'file' or OPTIONS (…)",
            14,
        ),
        (
            "GRANT UPDATE ON MODEL m TO bob",
            "invalid privilege type UPDATE for MODEL",
            6,
        ),
        (
            "GRANT EXECUTE ON MODEL m TO",
            "syntax error at end of input, expected a role",
            27,
        ),
        ("SELECT 1; SELECT 2 2", "syntax error at or near \"2\"", 19),
        (
            "SELECT 'abc",
            "unterminated quoted string at or near \"'abc\"",
            7,
        ),
        (
            "SELECT \"abc",
            "unterminated quoted identifier at or near \"\"abc\"",
            7,
        ),
        (
            "SELECT 1 /* x",
            "unterminated /* comment at or near \"/* x\"",
            9,
        ),
        (
            "SELECT $a$ x",
            "unterminated dollar-quoted string at or near \"$a$ x\"",
            7,
        ),
    ] {
        let error = fails(text);
        assert_eq!(error.to_string(), message, "{text}");
        assert_eq!(error.position, Some(position), "{text}");
    }
}

#[test]
fn an_error_in_a_nested_query_is_reported_there() {
    for (text, position) in [
        ("SELECT * FROM (SELECT a FROM t WHERE) x", 36),
        (
            "SELECT * FROM (SELECT * FROM (SELECT a FROM t WHERE) x) y",
            51,
        ),
        (
            "CREATE MODEL m AS SELECT * FROM (SELECT a FROM t u v) x",
            51,
        ),
        ("WITH a AS (SELECT 1 FROM) SELECT * FROM a", 24),
        ("EVALUATE m ON (SELECT * FROM (SELECT 1 +) x)", 40),
    ] {
        let error = fails(text);
        assert_eq!(error.position, Some(position), "{text}: {error}");
    }
}

#[test]
fn hints_name_the_way_out() {
    for (text, hint) in [
        (
            "CREATE MODEL m OPTOINS (a = 1) AS SELECT 1",
            "Perhaps you mean OPTIONS.",
        ),
        (
            "CREATE MODEL m FOO (a = 1) AS SELECT 1",
            "The clauses of CREATE MODEL are TRANSFORM",
        ),
        ("CREATE MODEL m SELECT 1", "Write AS before the query."),
        ("CREATE MODEL m AS t", "AS TABLE t"),
        (
            "CREATE MODEL m",
            "WITH NO TRAIN stores the definition only.",
        ),
        ("CREATE MODEL m FROM t", "AS TABLE t"),
        (
            "CREATE MODEL m AS SELECT * FROM t WHERE a OPTIONS (a = 1)",
            "before AS",
        ),
        ("PREDICT m", "PREDICT MODEL m ON (SELECT …)"),
        ("TRIAN MODEL m", "Perhaps you mean TRAIN."),
        ("SELCT 1", "Perhaps you mean SELECT."),
        ("ALTER MODEL m DROP x", "DROP VERSION n"),
        ("GRANT UPDATE ON MODEL m TO bob", "EXECUTE, SELECT and ALL"),
        ("GRANT SELECT (a) ON t TO bob", "Make a view"),
    ] {
        let error = fails(text);
        assert!(
            error
                .hint
                .as_deref()
                .is_some_and(|found| found.contains(hint)),
            "{text}: {error}: {:?}",
            error.hint
        );
    }
}

#[test]
fn each_cause_has_its_sqlstate() {
    for (text, state) in [
        ("SELEC 1", "42601"),
        ("SELECT 'x", "42601"),
        ("GRANT SELECT ON FUNCTION f TO a", "0A000"),
        ("CREATE MODEL m OPTIONS (a = 1e999) AS SELECT 1", "22003"),
    ] {
        assert_eq!(fails(text).sqlstate(), state, "{text}");
    }
    let deep = format!("SELECT {}1{}", "(".repeat(500), ")".repeat(500));
    assert_eq!(fails(&deep).sqlstate(), "54001");
    let deep = format!(
        "CREATE MODEL m OPTIONS (a = {}) AS SELECT 1",
        "[".repeat(500)
    );
    assert_eq!(fails(&deep).sqlstate(), "54001");
    // Brackets are as deep as what they hold: 40 chains of 200 operators, each in the one before.
    let chain = "1 + ".repeat(200);
    let nested = format!(
        "SELECT {}1{}",
        format!("{chain}(").repeat(40),
        ")".repeat(40)
    );
    assert_eq!(fails(&nested).sqlstate(), "54001");
    let joined = format!("SELECT 1 FROM t{}", " JOIN t ON true".repeat(6_000));
    assert_eq!(fails(&joined).sqlstate(), "54001");
}

#[test]
fn positions_count_bytes_of_the_whole_text() {
    let text = "SELECT 'ü€';\n-- ü\nEVALUATE \"ü\"@x y";
    let error = fails(text);
    assert_eq!(error.position, text.find("y"));
    let statement = one("EVALUATE \"ü\"@x");
    assert!(matches!(statement, Statement::Evaluate(e) if e.model.name.parts == ["ü"]));
}

#[test]
fn parameters_have_numbers_that_messages_can_count() {
    one("SELECT $1, $65535");
    for text in ["SELECT $0", "SELECT $65536", "SELECT $99999999999999"] {
        let error = fails(text);
        assert_eq!(error.sqlstate(), "42P02", "{text}");
        assert_eq!(error.position, Some(7));
    }
}

#[test]
fn blanks_around_a_text_count_as_bytes_alone() {
    let blanks = " \n".repeat(1_000_000);
    let error = fails(&format!("{blanks}SELECT 1 +{blanks}"));
    assert_eq!(error.sqlstate(), "42601");
    let mut statements = super::all(&format!("{blanks}ABORT WORK{blanks}"));
    let statement = statements.remove(0);
    assert_eq!(statement.span.start, blanks.len());
    assert_eq!(statement.text, "ABORT WORK");
}
