//! Every statement form of SQL.md §1.

use super::{all, one, options};
use crate::*;

fn create(text: &str) -> CreateModel {
    match one(text) {
        Statement::CreateModel(model) => *model,
        other => panic!("{text}: {other:?}"),
    }
}

fn query_text(source: &Option<TrainingSource>) -> &str {
    match source {
        Some(TrainingSource::Query(query)) => &query.text,
        other => panic!("{other:?}"),
    }
}

fn values(words: &[Word]) -> Vec<&str> {
    words.iter().map(|word| word.value.as_str()).collect()
}

#[test]
fn the_examples_of_the_manual_parse() {
    let manual = "
CREATE MODEL churn PREDICT churned AS SELECT * FROM customers;   -- type inferred
CREATE MODEL churn PREDICT churned USING boosted_tree WITH (max_tree_depth = 8) AS SELECT 1 AS x;
TRAIN MODEL churn;                                               -- same query
TRAIN MODEL churn ON (SELECT 1) WITH (warm_start = true);
EVALUATE MODEL churn;           EVALUATE MODEL churn@2 ON (SELECT * FROM holdout);
PREDICT MODEL churn ON (SELECT * FROM new_customers);
SELECT id, PREDICT(churn USING *) FROM new_customers;            -- scalar
SELECT * FROM ML.PREDICT(MODEL churn, (SELECT 1 AS x));          -- BigQuery's form
SELECT * FROM ml.predict('churn', 'SELECT 1 AS x');
SELECT ml.train('churn');       SELECT * FROM ml.evaluate('churn');   SELECT * FROM ml.models;
CREATE VIEW scored AS SELECT * FROM ML.PREDICT(MODEL churn, TABLE customers);
SHOW MODELS;   DESCRIBE MODEL churn;   EXPLAIN ANALYZE CREATE MODEL m PREDICT y AS SELECT 1 AS y;
ALTER MODEL churn SET ALIAS champion TO 3;
GRANT EXECUTE ON MODEL churn TO analyst;   EXPORT MODEL churn TO 'churn.onnx';";
    let statements = all(manual);
    let kinds: Vec<String> = statements
        .iter()
        .map(|parsed| {
            let debug = format!("{:?}", parsed.statement);
            debug
                .split(['(', ' '])
                .next()
                .unwrap_or_default()
                .to_owned()
        })
        .collect();
    assert_eq!(
        kinds,
        [
            "CreateModel",
            "CreateModel",
            "Train",
            "Train",
            "Evaluate",
            "Evaluate",
            "Predict",
            "Sql",
            "Sql",
            "Sql",
            "Sql",
            "Sql",
            "Sql",
            "Sql",
            "ShowModels",
            "DescribeModel",
            "Explain",
            "AlterModel",
            "Grant",
            "ExportModel"
        ]
    );
    for parsed in &statements {
        assert_eq!(parsed.span.of(manual), parsed.text);
        assert!(!parsed.text.contains(';') && parsed.text == parsed.text.trim());
    }
}

#[test]
fn create_model_takes_each_clause_in_any_order() {
    let text = "create or replace model if not exists \"S\".Churn
        using Boosted_Tree
        with (max_tree_depth = 8)
        partition by region, \"City\"
        transform (a, b + 1 as c, ML.STANDARD_SCALER(d) OVER () AS e)
        features a, log(b) as lb, c
        horizon 30
        predict churned, Spend
        order by Day
        options (\"quoted\" = 'x')
        as select * from customers where x = 'WITH (y)'
        with no train";
    let model = create(text);
    assert_eq!(model.name.parts, ["S", "churn"]);
    assert_eq!(model.name.span.of(text), "\"S\".Churn");
    assert!(model.or_replace && model.if_not_exists && model.no_train);
    assert_eq!(
        model.model_type.as_ref().map(|word| word.value.as_str()),
        Some("boosted_tree")
    );
    assert_eq!(values(&model.labels), ["churned", "spend"]);
    assert_eq!(values(&model.partition_by), ["region", "City"]);
    assert_eq!(
        model.order_by.as_ref().map(|word| word.span.of(text)),
        Some("Day")
    );
    assert_eq!(model.horizon, Some(30));
    assert_eq!(model.transform.as_ref().map(Vec::len), Some(3));
    assert_eq!(model.features.as_ref().map(Vec::len), Some(3));
    assert_eq!(
        options(&model.options),
        [
            ("max_tree_depth".into(), OptionValue::Integer(8)),
            ("quoted".into(), OptionValue::String("x".into()))
        ]
    );
    assert_eq!(
        query_text(&model.source),
        "select * from customers where x = 'WITH (y)'"
    );
    assert_eq!(model.options[0].value_span.of(text), "8");
}

#[test]
fn features_end_where_a_clause_starts() {
    for (list, items) in [
        ("a, b PREDICT y", 2),
        ("* PREDICT y", 1),
        ("* EXCEPT (id) PREDICT y", 1),
        ("a AS b, predict, target PREDICT y", 3),
        ("a, using PREDICT y", 2),
        ("coalesce(a, 1) AS x USING linear PREDICT y", 1),
        ("a OPTIONS (x = 1) PREDICT y", 1),
        ("a TARGET y", 1),
        ("CAST(a AS INT64) OF TYPE linear PREDICT y", 1),
    ] {
        let model = create(&format!(
            "CREATE MODEL m FEATURES {list} AS SELECT * FROM t"
        ));
        assert_eq!(model.features.map(|list| list.len()), Some(items), "{list}");
        assert_eq!(values(&model.labels), ["y"], "{list}");
    }
}

#[test]
fn create_model_takes_each_source() {
    for (text, expected) in [
        ("AS SELECT 1", "SELECT 1"),
        ("AS (SELECT 1)", "SELECT 1"),
        (
            "AS WITH a AS (SELECT 1) SELECT * FROM a",
            "WITH a AS (SELECT 1) SELECT * FROM a",
        ),
        (
            "AS (SELECT 1) UNION ALL (SELECT 2)",
            "(SELECT 1) UNION ALL (SELECT 2)",
        ),
        ("AS TABLE s.\"T\"", "SELECT * FROM s.\"T\""),
        ("AS VALUES (1), (2) WITH NO TRAIN", "VALUES (1), (2)"),
        ("AS SELECT * FROM 'a.parquet'", "SELECT * FROM 'a.parquet'"),
        ("AS (PREDICT MODEL a ON t)", "PREDICT MODEL a ON t"),
    ] {
        let model = create(&format!("CREATE MODEL m {text}"));
        let Some(TrainingSource::Query(source)) = &model.source else {
            panic!("{text}");
        };
        assert_eq!(source.text, expected);
        let again = parse_query(&source.text, Dialect::Auto).unwrap();
        assert_eq!(again, source.query, "{text}");
    }
    let text = "CREATE MODEL m OPTIONS (model_type = 'arima_plus') AS (
        training_data AS (SELECT * FROM t), custom_holiday AS (SELECT * FROM h))";
    let Some(TrainingSource::Named(sources)) = create(text).source else {
        panic!();
    };
    assert_eq!(sources[0].0.value, "training_data");
    assert_eq!(sources[1].1.text, "SELECT * FROM h");
    assert_eq!(sources[1].1.span.of(text), "SELECT * FROM h");
    let file = create("CREATE MODEL m USING onnx FROM 'm.onnx'").source;
    assert!(matches!(file, Some(TrainingSource::File(name)) if name == "m.onnx"));
    create("CREATE MODEL m PREDICT y WITH NO TRAIN");
    create("CREATE MODEL m WITH NO TRAIN AS SELECT 1");
    create("CREATE MODEL m OPTIONS (model_type = 'onnx', model_path = 'gs://b/*')");
}

#[test]
fn create_model_takes_remote_and_typed_columns() {
    let text = "CREATE MODEL m INPUT (x FLOAT64, y ARRAY<STRUCT<a INT64, b STRING>>)
        OUTPUT (z ARRAY<ARRAY<FLOAT64>>, n NUMERIC(10, 2))
        REMOTE WITH CONNECTION `p.us.c` OPTIONS (endpoint = 'e')";
    let model = create(text);
    let types = |columns: &[TypedName]| -> Vec<(String, String)> {
        columns
            .iter()
            .map(|c| (c.name.value.clone(), c.data_type.clone()))
            .collect()
    };
    assert_eq!(
        types(&model.input),
        [
            ("x".into(), "FLOAT64".into()),
            ("y".into(), "ARRAY<STRUCT<a INT64, b STRING>>".into())
        ]
    );
    assert_eq!(types(&model.output)[0].1, "ARRAY<ARRAY<FLOAT64>>");
    assert_eq!(types(&model.output)[1].1, "NUMERIC(10, 2)");
    let Some(Connection::Named(name)) = model.connection else {
        panic!();
    };
    assert_eq!(name.parts, ["p", "us", "c"]);
    let model = create("CREATE MODEL m REMOTE WITH CONNECTION DEFAULT");
    assert_eq!(model.connection, Some(Connection::Default));
}

#[test]
fn options_take_each_kind_of_value() {
    use OptionValue as V;
    let text = |value: &str| V::String(value.to_owned());
    for (written, value) in [
        ("1", V::Integer(1)),
        ("-1", V::Integer(-1)),
        ("-9223372036854775808", V::Integer(i64::MIN)),
        ("+2.5", V::Float(2.5)),
        ("1e-3", V::Float(0.001)),
        (".5", V::Float(0.5)),
        ("1_000", V::Integer(1000)),
        ("'it''s'", text("it's")),
        ("\"double\"", text("double")),
        ("E'a\\nb'", text("a\nb")),
        ("TRUE", V::Bool(true)),
        ("false", V::Bool(false)),
        ("NULL", V::Null),
        ("default", V::Default),
        ("AUTO_SPLIT", V::Name("auto_split".into())),
        ("s.Col", V::Name("s.col".into())),
        ("[]", V::Array(vec![])),
        ("['a', \"b\"]", V::Array(vec![text("a"), text("b")])),
        (
            "ARRAY<INT64>[1, 2]",
            V::Array(vec![V::Integer(1), V::Integer(2)]),
        ),
        (
            "(1, 2)",
            V::Struct(vec![(None, V::Integer(1)), (None, V::Integer(2))]),
        ),
        (
            "[STRUCT('a', 1.5), ('b', 2)]",
            V::Array(vec![
                V::Struct(vec![(None, text("a")), (None, V::Float(1.5))]),
                V::Struct(vec![(None, text("b")), (None, V::Integer(2))]),
            ]),
        ),
        (
            "STRUCT(1 AS A, 'x' AS b)",
            V::Struct(vec![
                (Some("a".into()), V::Integer(1)),
                (Some("b".into()), text("x")),
            ]),
        ),
        ("HPARAM_RANGE(0, 1.5)", V::Range(0.0, 1.5)),
        (
            "HPARAM_CANDIDATES([1, 2])",
            V::Candidates(vec![V::Integer(1), V::Integer(2)]),
        ),
        (
            "HPARAM_CANDIDATES([STRUCT([8, 4])])",
            V::Candidates(vec![V::Struct(vec![(
                None,
                V::Array(vec![V::Integer(8), V::Integer(4)]),
            )])]),
        ),
        ("INTERVAL '1' DAY", V::Interval("1 day".into())),
        ("INTERVAL 2 HOURS", V::Interval("2 hours".into())),
        ("INTERVAL '1 day'", V::Interval("1 day".into())),
        ("DATE '2024-01-01'", text("2024-01-01")),
    ] {
        let model = create(&format!(
            "CREATE MODEL m OPTIONS (x = {written}) AS SELECT 1"
        ));
        assert_eq!(model.options[0].value, value, "{written}");
    }
    assert!(
        create("CREATE MODEL m OPTIONS () AS SELECT 1")
            .options
            .is_empty()
    );
}

#[test]
fn literals_of_the_tree_are_options() {
    use OptionValue as V;
    let text = "SELECT -1.5, 2, 'a', TRUE, NULL, [1, -2], STRUCT(1 AS A, 'b'), (3), x, 1 + 1";
    let statement = one(text);
    let datafusion::sql::sqlparser::ast::Statement::Query(query) = super::ast(&statement) else {
        panic!();
    };
    let select = query.body.as_select().unwrap();
    let found: Vec<Option<V>> = select
        .projection
        .iter()
        .map(|item| match item {
            datafusion::sql::sqlparser::ast::SelectItem::UnnamedExpr(expr) => literal_option(expr),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(
        found,
        [
            Some(V::Float(-1.5)),
            Some(V::Integer(2)),
            Some(V::String("a".into())),
            Some(V::Bool(true)),
            Some(V::Null),
            Some(V::Array(vec![V::Integer(1), V::Integer(-2)])),
            Some(V::Struct(vec![
                (Some("a".into()), V::Integer(1)),
                (None, V::String("b".into()))
            ])),
            Some(V::Integer(3)),
            None,
            None,
        ]
    );
}

#[test]
fn train_takes_each_form() {
    let train = |text: &str| match one(text) {
        Statement::Train(train) => *train,
        other => panic!("{text}: {other:?}"),
    };
    for (text, name) in [
        ("TRAIN churn", "churn"),
        ("TRAIN MODEL S.\"C\"", "s.\"C\""),
        ("TRAIN model", "model"),
        ("TRAIN model ON t", "model"),
        ("TRAIN MODEL model", "model"),
        ("TRAIN train", "train"),
    ] {
        assert_eq!(train(text).name.to_string(), name, "{text}");
    }
    for (text, query) in [
        (
            "TRAIN m ON (SELECT 1) WITH (warm_start = true) IN BACKGROUND",
            "SELECT 1",
        ),
        (
            "TRAIN m ON SELECT * FROM t WHERE a WITH (x = 1)",
            "SELECT * FROM t WHERE a",
        ),
        (
            "TRAIN m ON WITH a AS (SELECT 1) SELECT * FROM a",
            "WITH a AS (SELECT 1) SELECT * FROM a",
        ),
        ("TRAIN m ON TABLE a.b IN BACKGROUND", "SELECT * FROM a.b"),
        ("TRAIN m ON t", "SELECT * FROM t"),
        ("TRAIN m ON 'f.parquet'", "SELECT * FROM 'f.parquet'"),
        ("TRAIN m ON snapshot", "SELECT * FROM snapshot"),
    ] {
        let train = train(text);
        let TrainRows::On(source) = &train.rows else {
            panic!("{text}");
        };
        assert_eq!(source.text, query);
        assert_eq!(train.in_background, text.contains("BACKGROUND"), "{text}");
        assert_eq!(
            train.options.len(),
            usize::from(text.contains(" = ")),
            "{text}"
        );
    }
    let repeated = train("TRAIN MODEL m ON SNAPSHOT OF s.m@3 WITH (seed = 1)");
    let TrainRows::Snapshot(reference) = repeated.rows else {
        panic!();
    };
    assert_eq!(reference.to_string(), "s.m@3");
    assert!(matches!(train("TRAIN m RESUME").rows, TrainRows::Resume));
    assert!(matches!(train("TRAIN m WITH (a = 1)").rows, TrainRows::Own));
    let background = train("TRAIN m IN BACKGROUND");
    assert!(background.in_background && matches!(background.rows, TrainRows::Own));
}

#[test]
fn evaluate_predict_and_forecast_take_each_form() {
    match one("EVALUATE m@champion") {
        Statement::Evaluate(e) => {
            assert_eq!(e.model.version, Some(VersionRef::Alias("champion".into())));
            assert!(e.rows.is_none() && e.options.is_empty());
        }
        other => panic!("{other:?}"),
    }
    match one("EVALUATE MODEL m@2 ON t WITH (threshold = 0.3)") {
        Statement::Evaluate(e) => {
            assert_eq!(e.model.version, Some(VersionRef::Number(2)));
            assert_eq!(
                e.rows.map(|rows| rows.text).as_deref(),
                Some("SELECT * FROM t")
            );
            assert_eq!(e.options.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    match one("PREDICT m ON SELECT * FROM t") {
        Statement::Predict(p) => assert_eq!(p.rows.text, "SELECT * FROM t"),
        other => panic!("{other:?}"),
    }
    match one("EXPLAIN_PREDICT MODEL m ON (SELECT 1) WITH (top_k_features = 3)") {
        Statement::ExplainPredict(p) => assert_eq!(p.options[0].name.value, "top_k_features"),
        other => panic!("{other:?}"),
    }
    match one("FORECAST MODEL sales HORIZON 12 ON future WITH (confidence_level = 0.9)") {
        Statement::Forecast(f) => {
            assert_eq!(f.horizon, Some(12));
            assert!(f.rows.is_some() && f.options.len() == 1);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(one("FORECAST sales"), Statement::Forecast(f) if f.horizon.is_none()));
}

#[test]
fn alter_model_takes_each_action() {
    let action = |text: &str| match one(text) {
        Statement::AlterModel(alter) => {
            assert_eq!(alter.if_exists, text.contains("IF EXISTS"));
            alter.action
        }
        other => panic!("{text}: {other:?}"),
    };
    assert!(
        matches!(action("ALTER MODEL m RENAME TO n"), AlterAction::Rename(w) if w.value == "n")
    );
    assert!(matches!(
        action("ALTER MODEL IF EXISTS m OWNER TO bob"),
        AlterAction::Owner(_)
    ));
    for text in [
        "ALTER MODEL m SET OPTIONS (a = 1, b = 'x')",
        "ALTER MODEL m SET (a = 1, b = 2)",
    ] {
        assert!(matches!(action(text), AlterAction::SetOptions(list) if list.len() == 2));
    }
    assert!(matches!(
        action("ALTER MODEL m SET ALIAS Champion TO 3"),
        AlterAction::SetAlias(word, 3) if word.value == "champion"
    ));
    assert!(matches!(
        action("ALTER MODEL m DROP ALIAS a"),
        AlterAction::DropAlias(_)
    ));
    assert!(matches!(
        action("ALTER MODEL m DROP VERSION 2"),
        AlterAction::DropVersion(2)
    ));
    for text in [
        "INTERVAL '1 day'",
        "'1 day'",
        "INTERVAL '1' DAY",
        "1 DAY",
        "INTERVAL 1 DAY",
    ] {
        let every = action(&format!("ALTER MODEL m SET RETRAIN EVERY {text}"));
        assert!(
            matches!(every, AlterAction::RetrainEvery(text) if text == "1 day"),
            "{text}"
        );
    }
    let when = action("ALTER MODEL m SET RETRAIN WHEN (SELECT count(*) > 10 FROM t)");
    assert!(matches!(when, AlterAction::RetrainWhen(q) if q.text == "SELECT count(*) > 10 FROM t"));
    assert!(matches!(
        action("ALTER MODEL m SET RETRAIN OFF"),
        AlterAction::RetrainOff
    ));
}

#[test]
fn models_are_dropped_exported_shown_and_described() {
    match one("DROP MODEL IF EXISTS a, s.b@2 CASCADE") {
        Statement::DropModel(drop) => {
            assert!(drop.if_exists && drop.cascade);
            let names: Vec<String> = drop.models.iter().map(ToString::to_string).collect();
            assert_eq!(names, ["a", "s.b@2"]);
        }
        other => panic!("{other:?}"),
    }
    assert!(matches!(one("DROP MODEL a RESTRICT"), Statement::DropModel(d) if !d.cascade));
    match one("EXPORT MODEL m@3 TO 'm.onnx' WITH (opset = 17)") {
        Statement::ExportModel(export) => {
            assert_eq!(export.target.as_deref(), Some("m.onnx"));
            assert_eq!(export.options.len(), 1);
        }
        other => panic!("{other:?}"),
    }
    let text = "EXPORT MODEL `d.m` OPTIONS (URI = 'gs://b/m')";
    assert!(matches!(one(text), Statement::ExportModel(e) if e.options[0].name.value == "uri"));
    assert!(matches!(one("SHOW MODELS"), Statement::ShowModels));
    assert!(matches!(one("show model all"), Statement::ShowModels));
    assert!(matches!(one("SHOW DEVICES"), Statement::ShowDevices));
    assert!(matches!(one("SHOW WORKERS"), Statement::ShowWorkers));
    for (text, name, version) in [
        ("SHOW MODEL m", "m", None),
        ("DESCRIBE MODEL s.m", "s.m", None),
        ("DESC MODEL m@3", "m", Some(VersionRef::Number(3))),
        (
            "DESCRIBE MODEL m@3.weights",
            "m.weights",
            Some(VersionRef::Number(3)),
        ),
        (
            "DESCRIBE MODEL m@a.weights",
            "m.weights",
            Some(VersionRef::Alias("a".into())),
        ),
    ] {
        match one(text) {
            Statement::DescribeModel(model) => {
                assert_eq!(model.name.to_string(), name, "{text}");
                assert_eq!(model.version, version, "{text}");
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn explain_of_a_model_statement_is_ours_and_of_a_query_is_not() {
    let explain = |text: &str| match one(text) {
        Statement::Explain(explain) => *explain,
        other => panic!("{text}: {other:?}"),
    };
    let create = explain("EXPLAIN ANALYZE VERBOSE CREATE MODEL m PREDICT y AS SELECT 1 AS y");
    assert!(create.analyze && create.options[0].name.value == "verbose");
    assert!(matches!(create.statement, Statement::CreateModel(_)));
    let train = explain("EXPLAIN (ANALYZE, FORMAT json, timing off) TRAIN m");
    assert!(train.analyze);
    assert_eq!(
        options(&train.options),
        [
            ("format".into(), OptionValue::Name("json".into())),
            ("timing".into(), OptionValue::Name("off".into()))
        ]
    );
    assert!(!explain("EXPLAIN (ANALYZE false) EVALUATE m").analyze);
    assert!(!explain("EXPLAIN (ANALYZE off) EVALUATE m").analyze);
    assert!(matches!(
        explain("EXPLAIN PREDICT m ON t").statement,
        Statement::Predict(_)
    ));
    for text in [
        "EXPLAIN SELECT 1",
        "EXPLAIN ANALYZE SELECT * FROM ML.PREDICT(MODEL m, TABLE t)",
        "EXPLAIN (ANALYZE) SELECT PREDICT(m USING *) FROM t",
        "EXPLAIN CREATE TABLE t AS SELECT 1",
    ] {
        assert!(matches!(one(text), Statement::Sql(_)), "{text}");
    }
}

#[test]
fn keywords_are_not_reserved() {
    for text in [
        "SELECT model, train, predict, evaluate, transform FROM cars",
        "SELECT model m, train t FROM cars model",
        "SELECT predict(a, b), train(x), model('x'), evaluate() FROM t",
        "SELECT t.predict, model.model FROM predict AS t, model",
        "CREATE TABLE model (model TEXT, predict INT, train BOOLEAN)",
        "INSERT INTO model (predict) SELECT train FROM evaluate",
        "DESCRIBE model",
        "SHOW models_seen",
        "DROP TABLE model",
        "SELECT * FROM (predict p JOIN evaluate e ON p.a = e.a)",
        "SELECT (predict), (evaluate + 1) FROM forecast",
        "UPDATE model SET predict = 1 WHERE train",
        "SELECT ml.label_encoder(model) OVER () FROM t",
    ] {
        assert!(matches!(one(text), Statement::Sql(_)), "{text}");
    }
}

#[test]
fn model_references() {
    for (text, printed) in [
        ("m", "m"),
        ("S.M@3", "s.m@3"),
        ("\"S\".m@Champion", "\"S\".m@champion"),
        ("`p-x.d.M`@2", "\"p-x\".d.\"M\"@2"),
        ("a.\"select\"@\"X y\"", "a.\"select\"@\"X y\""),
    ] {
        let reference = parse_model_ref(text).unwrap();
        assert_eq!(reference.to_string(), printed);
        let again = parse_model_ref(printed).unwrap();
        assert_eq!(
            (again.name.parts, again.version),
            (reference.name.parts, reference.version)
        );
    }
    for text in [
        "", "m@", "m@-1", "m n", "'m'", "m@1.5", "1m", "m;n", "select",
    ] {
        assert!(parse_model_ref(text).is_err(), "{text}");
    }
}
