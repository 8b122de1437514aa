//! The parser never panics, whatever the text.

use proptest::prelude::*;

use crate::{
    Dialect, literal_option, ml_function, parse, parse_model_ref, parse_query, scalar_predict,
};

use super::{Found, find};

/// Words and marks that steer the parser into its own branches.
const TOKENS: &[&str] = &[
    "CREATE",
    "OR",
    "REPLACE",
    "MODEL",
    "TRAIN",
    "EVALUATE",
    "PREDICT",
    "PREDICT_PROBA",
    "FORECAST",
    "EXPLAIN",
    "EXPLAIN_PREDICT",
    "ANALYZE",
    "ON",
    "WITH",
    "OPTIONS",
    "TRANSFORM",
    "FEATURES",
    "USING",
    "AS",
    "TABLE",
    "SELECT",
    "FROM",
    "WHERE",
    "STRUCT",
    "ARRAY",
    "INTERVAL",
    "HPARAM_RANGE",
    "HORIZON",
    "ML",
    "AI",
    ".",
    ",",
    "(",
    ")",
    "[",
    "]",
    "<",
    ">",
    "=",
    "=>",
    "@",
    "*",
    "-",
    "+",
    ";",
    "::",
    "m",
    "a",
    "\"q\"",
    "'s'",
    "`b.c`",
    "`",
    "'",
    "\"",
    "1",
    "2.5",
    "3.",
    "$1",
    "$x$",
    "--",
    "\n",
    "/*",
    "*/",
    "#",
    "ALTER",
    "DROP",
    "SET",
    "ALIAS",
    "RETRAIN",
    "EVERY",
    "GRANT",
    "SHOW",
    "DESCRIBE",
    "OFFSET",
    "IN",
    "TO",
    "BACKGROUND",
    "NO",
    "CAST",
    "INT64",
    "OVER",
    "JOIN",
    "ORDER",
    "BY",
    "UNION",
    "CASE",
    "WHEN",
    "END",
    "é",
    "NOT",
    "NULL",
    "DAY",
    "EXTRACT",
    "my-proj.d.t",
    "r'x\\'",
    "'''",
    "ROLE",
    "SNAPSHOT",
    "OF",
    "COPY",
];

fn exercise(text: &str) {
    for dialect in [Dialect::Auto, Dialect::Postgres, Dialect::GoogleSql] {
        let _ = parse_query(text, dialect);
        let outcome = parse(text, dialect);
        if let Err(error) = &outcome {
            let _ = (error.to_string(), error.sqlstate());
            let place = error.position.unwrap_or(0);
            assert!(text.is_char_boundary(place), "{place} in {text:?}");
        }
        for parsed in outcome.unwrap_or_default() {
            assert_eq!(parsed.span.of(text), parsed.text);
            let crate::Statement::Sql(statement) = &parsed.statement else {
                continue;
            };
            if let datafusion::sql::parser::Statement::Statement(statement) = statement.as_ref() {
                let Found {
                    relations,
                    functions,
                } = find(statement.as_ref());
                relations
                    .iter()
                    .for_each(|factor| drop(ml_function(factor)));
                functions
                    .iter()
                    .for_each(|function| drop(scalar_predict(function)));
            }
        }
    }
    let _ = parse_model_ref(text);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_text(text in "\\PC{0,80}") {
        exercise(&text);
    }

    #[test]
    fn mixtures_of_tokens(
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..24),
        tight in any::<bool>(),
    ) {
        exercise(&tokens.join(if tight { "" } else { " " }));
    }

    #[test]
    fn mixtures_behind_an_opening(
        opening in prop::sample::select(vec![
            "CREATE MODEL m", "CREATE MODEL `a.b` OPTIONS (", "TRAIN m ON", "EVALUATE m", "PREDICT m ON (",
            "SELECT * FROM ML.PREDICT(", "SELECT PREDICT(m USING", "EXPLAIN ", "ALTER MODEL m SET",
            "SELECT * FROM (PREDICT m ON", "CREATE MODEL m FEATURES a", "GRANT EXECUTE ON MODEL m",
        ]),
        tokens in prop::collection::vec(prop::sample::select(TOKENS), 0..16),
    ) {
        exercise(&format!("{opening} {}", tokens.join(" ")));
    }

    #[test]
    fn cuts_of_a_long_statement(from in 0_usize..400, to in 0_usize..400) {
        let text = "CREATE OR REPLACE MODEL `a.b` TRANSFORM(ML.F(x) OVER() AS y, * EXCEPT(z)) \
            OPTIONS(model_type='x', labels=[\"l\"], w=[STRUCT('a', 1.5)], r=HPARAM_RANGE(0, 1)) AS \
            WITH q AS (SELECT a[OFFSET(0)], PREDICT(m@3 USING b, c + 1 AS d) FROM `p-1.d.t` WHERE e = 'it\\'s') \
            SELECT * FROM (PREDICT MODEL n ON (SELECT * FROM q) WITH (k = 1)) p, ML.PREDICT(MODEL o, TABLE q)";
        let (from, to) = (from.min(to).min(text.len()), from.max(to).min(text.len()));
        exercise(&text[from..to]);
    }

    #[test]
    fn integers_are_read_as_written(number in any::<i64>()) {
        let text = format!("CREATE MODEL m OPTIONS (x = {number}) AS SELECT 1");
        let statements = parse(&text, Dialect::Auto).unwrap();
        let crate::Statement::CreateModel(model) = &statements[0].statement else {
            panic!();
        };
        prop_assert_eq!(&model.options[0].value, &crate::OptionValue::Integer(number));
        let _ = literal_option;
    }
}
