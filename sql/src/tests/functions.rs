//! Model functions inside ordinary SQL.

#![allow(clippy::too_many_lines, reason = "tables of cases")]

use super::{ast, find, one};
use crate::*;

fn call(text: &str) -> MlFunction {
    let statement = one(text);
    let found = find(ast(&statement));
    let mut calls = found.relations.iter().filter_map(ml_function);
    match (calls.next(), calls.next()) {
        (Some(Ok(call)), None) => call,
        other => panic!("{text}: {other:?}"),
    }
}

fn predict(text: &str) -> ScalarPredict {
    let statement = one(text);
    let found = find(ast(&statement));
    let mut calls = found.functions.iter().filter_map(scalar_predict);
    match (calls.next(), calls.next()) {
        (Some(Ok(call)), None) => call,
        other => panic!("{text}: {other:?}"),
    }
}

/// A short form of the arguments.
fn shape(args: &[MlArg]) -> Vec<String> {
    args.iter()
        .map(|arg| match arg {
            MlArg::Model(model) => format!("model {model}"),
            MlArg::Query(query) => format!("query {query}"),
            MlArg::Struct(fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, value)| format!("{}={value}", name.as_deref().unwrap_or("?")))
                    .collect();
                format!("struct {}", fields.join(","))
            }
            MlArg::Named(name, value) => format!("{name} => {value}"),
            MlArg::Expr(value) => format!("expr {value}"),
        })
        .collect()
}

#[test]
fn table_functions_are_taken_apart() {
    for (text, name, args) in [
        (
            "ML.PREDICT(MODEL churn, (SELECT 1 AS x))",
            "ml.predict",
            vec!["model churn", "query SELECT 1 AS x"],
        ),
        (
            "ml.Predict(model S.m@3, table \"A\".b, struct(0.5 as Threshold, TRUE AS b)) AS p",
            "ml.predict",
            vec![
                "model s.m@3",
                "query SELECT * FROM \"A\".b",
                "struct threshold=0.5,b=true",
            ],
        ),
        (
            "ML.PREDICT(MODEL `p-1.d.m`, (WITH a AS (SELECT 1) SELECT * FROM a))",
            "ml.predict",
            vec![
                "model \"p-1\".d.m",
                "query WITH a AS (SELECT 1 AS f0_) SELECT * FROM a",
            ],
        ),
        (
            "ml.predict('churn', 'SELECT 1')",
            "ml.predict",
            vec!["expr 'churn'", "expr 'SELECT 1'"],
        ),
        ("ML.WEIGHTS(MODEL m)", "ml.weights", vec!["model m"]),
        (
            "ML.ROC_CURVE(MODEL m, TABLE t, GENERATE_ARRAY(0.4, 0.6, 0.01))",
            "ml.roc_curve",
            vec![
                "model m",
                "query SELECT * FROM t",
                "expr GENERATE_ARRAY(0.4, 0.6, 0.01)",
            ],
        ),
        (
            "AI.FORECAST(TABLE t, data_col => 'x', horizon => 10)",
            "ai.forecast",
            vec!["query SELECT * FROM t", "data_col => 'x'", "horizon => 10"],
        ),
        (
            "ML.EVALUATE(MODEL m, (1, 2))",
            "ml.evaluate",
            vec!["model m", "struct ?=1,?=2"],
        ),
        (
            "ML.FORECAST(MODEL m, STRUCT<horizon INT64, confidence_level FLOAT64>(3, 0.8))",
            "ml.forecast",
            vec!["model m", "struct horizon=3,confidence_level=0.8"],
        ),
        (
            "ml.predict(MODEL m, TABLE 'f.csv')",
            "ml.predict",
            vec!["model m", "query SELECT * FROM 'f.csv'"],
        ),
        ("ml.evaluate(model)", "ml.evaluate", vec!["expr model"]),
        ("LATERAL ml.evaluate('m')", "ml.evaluate", vec!["expr 'm'"]),
    ] {
        let call = call(&format!("SELECT * FROM {text}"));
        assert_eq!(call.name, name);
        assert_eq!(shape(&call.args), args, "{text}");
    }
    for text in [
        "ml.models",
        "t",
        "f(1)",
        "a.b(1)",
        "x.ml.predict('m')",
        "(SELECT 1) q",
    ] {
        let statement = one(&format!("SELECT * FROM {text}"));
        let found = find(ast(&statement));
        assert!(
            found
                .relations
                .iter()
                .all(|factor| ml_function(factor).is_none()),
            "{text}"
        );
    }
}

#[test]
fn a_model_argument_knows_its_place() {
    let text = "SELECT 1 FROM ML.EVALUATE(MODEL  s.m@3)";
    let MlArg::Model(model) = &call(text).args[0] else {
        panic!();
    };
    assert_eq!(model.name.span.of(text), "s.m@3");
    let text = "SELECT 'é', PREDICT(S.m@3 USING *) FROM t";
    assert_eq!(predict(text).model.name.span.of(text), "S.m@3");
}

#[test]
fn statements_stand_for_their_rows_in_from() {
    for (text, args) in [
        (
            "PREDICT MODEL m ON t",
            vec!["model m", "query SELECT * FROM t"],
        ),
        (
            "PREDICT m@2 ON (SELECT 1 AS x)",
            vec!["model m@2", "query SELECT 1 AS x"],
        ),
        (
            "PREDICT m ON SELECT 1 AS x",
            vec!["model m", "query SELECT 1 AS x"],
        ),
        (
            "PREDICT m ON TABLE a.b",
            vec!["model m", "query SELECT * FROM a.b"],
        ),
        (
            "PREDICT m ON 'f.csv'",
            vec!["model m", "query SELECT * FROM 'f.csv'"],
        ),
        (
            "EXPLAIN_PREDICT MODEL m ON t WITH (top_k_features = 3, method = tree)",
            vec![
                "model m",
                "query SELECT * FROM t",
                "struct top_k_features=3,method='tree'",
            ],
        ),
        ("EVALUATE MODEL m", vec!["model m"]),
        (
            "EVALUATE m WITH (threshold = 0.3)",
            vec!["model m", "struct threshold=0.3"],
        ),
        (
            "FORECAST MODEL m HORIZON 5 ON future WITH (confidence_level = 0.9)",
            vec![
                "model m",
                "struct confidence_level=0.9,horizon=5",
                "query SELECT * FROM future",
            ],
        ),
    ] {
        let call = call(&format!("SELECT * FROM ({text}) x WHERE a"));
        assert_eq!(shape(&call.args), args, "{text}");
    }
    for text in [
        "CREATE VIEW v AS PREDICT m ON t",
        "CREATE OR REPLACE TABLE v AS EVALUATE MODEL m",
    ] {
        let statement = one(text);
        assert_eq!(
            find(ast(&statement))
                .relations
                .iter()
                .filter_map(ml_function)
                .count(),
            1
        );
    }
    let nested = one("WITH p AS (PREDICT a ON (PREDICT b ON t)) SELECT * FROM p");
    let found = find(ast(&nested));
    assert_eq!(found.relations.iter().filter_map(ml_function).count(), 2);
    let query = parse_query(
        "PREDICT MODEL m ON (SELECT * FROM ML.PREDICT(MODEL n, TABLE t))",
        Dialect::Auto,
    );
    assert_eq!(
        find(query.unwrap().as_ref())
            .relations
            .iter()
            .filter_map(ml_function)
            .count(),
        2
    );
}

#[test]
fn scalar_predictions_are_taken_apart() {
    let list = |call: &ScalarPredict| match &call.args {
        PredictArgs::All => vec!["*".to_owned()],
        PredictArgs::List(list) => list
            .iter()
            .map(|(name, value)| format!("{}={value}", name.as_deref().unwrap_or("?")))
            .collect(),
        PredictArgs::Positional(list) => list.iter().map(ToString::to_string).collect(),
    };
    for (text, kind, model, label, args) in [
        (
            "PREDICT(m USING *)",
            PredictKind::Predict,
            "m",
            None,
            vec!["*"],
        ),
        (
            "predict(S.m@3 using A, t.B, b + 1 as C, 2)",
            PredictKind::Predict,
            "s.m@3",
            None,
            vec!["a=A", "b=t.B", "c=b + 1", "?=2"],
        ),
        (
            "PREDICT_PROBA(m USING x)",
            PredictKind::PredictProba,
            "m",
            None,
            vec!["x=x"],
        ),
        (
            "PREDICT_PROBA(m@champion, 'it''s' USING *)",
            PredictKind::PredictProba,
            "m@champion",
            Some("it's"),
            vec!["*"],
        ),
        (
            "PREDICT_PROBA(m, 1 USING *)",
            PredictKind::PredictProba,
            "m",
            Some("1"),
            vec!["*"],
        ),
        (
            "PREDICT('m@2' USING *)",
            PredictKind::Predict,
            "m@2",
            None,
            vec!["*"],
        ),
        (
            "ml.predict('s.m', a, b * 2)",
            PredictKind::Predict,
            "s.m",
            None,
            vec!["a", "b * 2"],
        ),
        (
            "ML.PREDICT_PROBA('m')",
            PredictKind::PredictProba,
            "m",
            None,
            vec![],
        ),
        (
            "ml.predict('m', *)",
            PredictKind::Predict,
            "m",
            None,
            vec!["*"],
        ),
        (
            "ml.predict(MODEL m, a)",
            PredictKind::Predict,
            "m",
            None,
            vec!["a"],
        ),
    ] {
        let call = predict(&format!("SELECT id, {text} AS p FROM t WHERE x > 1"));
        assert_eq!(call.kind, kind, "{text}");
        assert_eq!(call.model.to_string(), model, "{text}");
        assert_eq!(call.label.as_deref(), label, "{text}");
        assert_eq!(list(&call), args, "{text}");
    }
    let everywhere = one(
        "SELECT avg(PREDICT(m USING *)) FROM t WHERE PREDICT(m USING PREDICT(n USING a) AS b) > 1 \
         GROUP BY PREDICT(m USING *) ORDER BY PREDICT(m USING *)",
    );
    assert_eq!(
        find(ast(&everywhere))
            .functions
            .iter()
            .filter_map(scalar_predict)
            .count(),
        5
    );
    let ordinary = one("SELECT predict(a), predict_proba(a, 'b'), my.predict('m') FROM t");
    assert!(
        find(ast(&ordinary))
            .functions
            .iter()
            .all(|f| scalar_predict(f).is_none())
    );
}

#[test]
fn a_scalar_prediction_without_a_model_is_an_error() {
    let statement = one("SELECT ml.predict(a, b) FROM t");
    let found = find(ast(&statement));
    let error = found
        .functions
        .iter()
        .find_map(scalar_predict)
        .unwrap()
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the first argument of function ml.predict must name a model"
    );
    assert_eq!(error.position, Some(7));
    let statement = one("SELECT ml.predict('a b', b) FROM t");
    let found = find(ast(&statement));
    let error = found
        .functions
        .iter()
        .find_map(scalar_predict)
        .unwrap()
        .unwrap_err();
    assert_eq!(error.position, Some(21));
    let statement = one("SELECT * FROM ml.predict(*)");
    let found = find(ast(&statement));
    assert!(
        found
            .relations
            .iter()
            .find_map(ml_function)
            .unwrap()
            .is_err()
    );
}

#[test]
fn model_forms_print_as_text_that_reads_back() {
    for text in [
        "SELECT PREDICT(s.m@3 USING a, b + 1 AS c) FROM t",
        "SELECT PREDICT_PROBA(\"M x\", 'it''s' USING *) FROM t",
        "SELECT * FROM ML.PREDICT(MODEL `p-1.d.m`, TABLE t, STRUCT(0.5 AS threshold))",
        "SELECT * FROM (PREDICT MODEL m@champion ON t WITH (a = 1))",
    ] {
        let statement = one(text);
        let printed = ast(&statement).to_string();
        let again = one(&printed);
        assert_eq!(ast(&again), ast(&statement), "{printed}");
    }
}
