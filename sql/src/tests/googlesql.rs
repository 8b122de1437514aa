//! BigQuery ML's published text, and the lexical conflicts.

use super::{ast, find, one};
use crate::*;

const TUTORIALS: &[&str] = &[
    "#standardSQL
CREATE OR REPLACE MODEL `bqml_tutorial.penguins_model`
OPTIONS
  (model_type='linear_reg',
  input_label_cols=['body_mass_g']) AS
SELECT
  *
FROM
  `bigquery-public-data.ml_datasets.penguins`
WHERE
  body_mass_g IS NOT NULL",
    "SELECT * FROM ML.EVALUATE(MODEL `bqml_tutorial.penguins_model`,
    (SELECT * FROM `bigquery-public-data.ml_datasets.penguins` WHERE body_mass_g IS NOT NULL))",
    "SELECT * FROM ML.PREDICT(MODEL `bqml_tutorial.penguins_model`,
    (SELECT * FROM `bigquery-public-data.ml_datasets.penguins` WHERE island = \"Biscoe\"))",
    "SELECT * FROM ML.EXPLAIN_PREDICT(MODEL `bqml_tutorial.penguins_model`,
    (SELECT * FROM `bigquery-public-data.ml_datasets.penguins` WHERE island = 'Biscoe'),
    STRUCT(3 as top_k_features))",
    "SELECT * FROM ML.GLOBAL_EXPLAIN(MODEL `bqml_tutorial.penguins_model`)",
    "CREATE OR REPLACE MODEL `bqml_tutorial.sample_model`
TRANSFORM(ML.BUCKETIZE(culmen_length_mm, [40, 50]) AS b, * EXCEPT(culmen_length_mm),
  ML.QUANTILE_BUCKETIZE(body_mass_g, 4) OVER() AS q, CAST(sex AS STRING) AS sex)
OPTIONS(model_type='logistic_reg', labels=[\"species\"], data_split_method=\"NO_SPLIT\",
  class_weights=[STRUCT('a', 0.5), ('b', 0.2)], l2_reg=HPARAM_RANGE(0, 1),
  max_iterations=HPARAM_CANDIDATES([10, 20]), ls_init_learn_rate=.15) AS
SELECT * FROM `bigquery-public-data.ml_datasets.penguins`",
    "SELECT * FROM ML.ROC_CURVE(MODEL `mydataset.mymodel`,
    (SELECT column1, column2 FROM `mydataset.mytable`), GENERATE_ARRAY(0.4,0.6,0.01))",
    "CREATE OR REPLACE MODEL `bqml_tutorial.london_station_clusters`
OPTIONS (model_type='kmeans', num_clusters=4) AS
WITH hs AS (
  SELECT h.start_station_name AS station_name,
    IF(EXTRACT(DAYOFWEEK FROM h.start_date) = 1 OR EXTRACT(DAYOFWEEK FROM h.start_date) = 7,
      \"weekend\", \"weekday\") AS isweekday,
    h.duration, ST_DISTANCE(ST_GEOGPOINT(s.longitude, s.latitude), ST_GEOGPOINT(-0.1, 51.5))/1000
      AS distance_from_city_center
  FROM `bigquery-public-data.london_bicycles.cycle_hire` AS h
  JOIN `bigquery-public-data.london_bicycles.cycle_stations` AS s ON h.start_station_id = s.id
  WHERE h.start_date BETWEEN CAST('2015-01-01 00:00:00' AS TIMESTAMP)
    AND CAST('2016-01-01 00:00:00' AS TIMESTAMP)),
stationstats AS (
  SELECT station_name, isweekday, AVG(duration) AS duration, COUNT(duration) AS num_trips,
    MAX(distance_from_city_center) AS distance_from_city_center
  FROM hs GROUP BY station_name, isweekday)
SELECT * EXCEPT(station_name, isweekday) FROM stationstats",
    "CREATE OR REPLACE MODEL `bqml_tutorial.ga_arima_model`
OPTIONS (model_type = 'ARIMA_PLUS', time_series_timestamp_col = 'parsed_date',
  time_series_data_col = 'total_visits', auto_arima = TRUE, data_frequency = 'AUTO_FREQUENCY',
  decompose_time_series = TRUE) AS
SELECT PARSE_TIMESTAMP(\"%Y%m%d\", date) AS parsed_date, SUM(totals.visits) AS total_visits
FROM `bigquery-public-data.google_analytics_sample.ga_sessions_*` GROUP BY date",
    "SELECT * FROM ML.FORECAST(MODEL `bqml_tutorial.ga_arima_model`,
    STRUCT(30 AS horizon, 0.8 AS confidence_level))",
    "CREATE OR REPLACE MODEL `bqml_tutorial.sample_model` OPTIONS(model_type='logistic_reg') AS
SELECT IF(totals.transactions IS NULL, 0, 1) AS label, IFNULL(device.operatingSystem, \"\") AS os,
  device.isMobile AS is_mobile, IFNULL(geoNetwork.country, \"\") AS country,
  IFNULL(totals.pageviews, 0) AS pageviews
FROM `bigquery-public-data.google_analytics_sample.ga_sessions_*`
WHERE _TABLE_SUFFIX BETWEEN '20160801' AND '20170630' LIMIT 100000;",
    "SELECT country, SUM(predicted_label) as total_predicted_purchases
FROM ML.PREDICT(MODEL `bqml_tutorial.sample_model`, (
SELECT IFNULL(geoNetwork.country, \"\") AS country, SAFE_CAST(totals.pageviews AS INT64) AS p
FROM `bigquery-public-data.google_analytics_sample.ga_sessions_*`
WHERE REGEXP_CONTAINS(device.browser, r'^\\w+\\s') AND note != 'it\\'s; not'))
GROUP BY country ORDER BY total_predicted_purchases DESC LIMIT 10",
    "SELECT CASE WHEN (label = predicted_label AND prob > .5) THEN 'Correct' ELSE 'Incorrect' END,
  predicted_label_probs[OFFSET(0)].prob
FROM ML.PREDICT(MODEL `a.b`, TABLE `a.c`, STRUCT(0.55 AS threshold)),
  UNNEST(predicted_label_probs) AS p WITH OFFSET AS o
QUALIFY ROW_NUMBER() OVER (PARTITION BY label ORDER BY prob) = 1",
    "CREATE OR REPLACE MODEL `bqml_tutorial.imported` OPTIONS (MODEL_TYPE='ONNX',
   MODEL_PATH='gs://bucket/pipeline_rf.onnx')",
    "SELECT * FROM ML.DETECT_ANOMALIES(MODEL `mydataset.my_kmeans_model`,
    STRUCT(0.2 AS contamination), TABLE `mydataset.mytable`)",
    "CREATE MODEL `p.d.m` REMOTE WITH CONNECTION `p.us.c` OPTIONS (ENDPOINT = 'gemini')",
    "SELECT user_id, ARRAY_AGG(STRUCT(item AS i, rating) ORDER BY rating DESC LIMIT 5) FROM
   ML.RECOMMEND(MODEL `d.mf`) GROUP BY user_id",
    "EXPORT MODEL `mydataset.mymodel` OPTIONS(URI='gs://b/p')",
    "ALTER MODEL `d.m` SET OPTIONS (description=\"x\")",
    "DROP MODEL IF EXISTS `d.m`",
];

#[test]
fn published_text_parses() {
    for text in TUTORIALS {
        let statement = one(text);
        let source = match &statement {
            Statement::CreateModel(model) => match &model.source {
                Some(TrainingSource::Query(source)) => source.clone(),
                _ => continue,
            },
            _ => continue,
        };
        let again = parse_query(&source.text, Dialect::Auto).unwrap();
        assert_eq!(again, source.query, "{text}");
    }
    let script = TUTORIALS.join(";\n");
    let script = script.replace(";;", ";");
    let statements = parse(&script, Dialect::Auto).unwrap();
    assert_eq!(statements.len(), TUTORIALS.len());
    for (parsed, text) in statements.iter().zip(TUTORIALS) {
        assert!(text.contains(&parsed.text), "{text}");
        assert_eq!(parsed.span.of(&script), parsed.text);
    }
    assert_eq!(
        parse(&script, Dialect::GoogleSql).unwrap().len(),
        TUTORIALS.len()
    );
}

#[test]
fn the_tutorial_model_is_understood() {
    let Statement::CreateModel(model) = one(TUTORIALS[0]) else {
        panic!();
    };
    assert!(model.or_replace);
    assert_eq!(model.name.parts, ["bqml_tutorial", "penguins_model"]);
    assert_eq!(
        model.options[0].value,
        OptionValue::String("linear_reg".into())
    );
    assert_eq!(
        model.options[1].value,
        OptionValue::Array(vec![OptionValue::String("body_mass_g".into())])
    );
    let Some(TrainingSource::Query(source)) = &model.source else {
        panic!();
    };
    assert!(source.text.starts_with("SELECT\n") && source.text.contains('`'));
    assert_eq!(
        source.query.to_string(),
        "SELECT * FROM \"bigquery-public-data\".\"ml_datasets\".\"penguins\" \
         WHERE body_mass_g IS NOT NULL"
    );
}

/// The printed tree of an ordinary statement.
fn printed(text: &str, dialect: Dialect) -> String {
    let statements = parse(text, dialect).unwrap();
    ast(&statements[0].statement).to_string()
}

#[test]
fn double_quotes_are_settled_by_evidence() {
    for (text, dialect, expected) in [
        ("SELECT \"x\" FROM t", Dialect::Auto, "SELECT \"x\" FROM t"),
        (
            "SELECT \"x\" FROM t",
            Dialect::GoogleSql,
            "SELECT 'x' AS f0_ FROM t",
        ),
        (
            "SELECT \"x\" FROM `t`",
            Dialect::Auto,
            "SELECT 'x' AS f0_ FROM \"t\"",
        ),
        (
            "SELECT STRUCT(\"x\" AS \"y\")",
            Dialect::Auto,
            "SELECT STRUCT(\"x\" AS \"y\")",
        ),
        (
            "SELECT \"x\", ML.F(STRUCT(\"x\" AS \"y\"))",
            Dialect::Auto,
            "SELECT \"x\", ML.F(STRUCT('x' AS \"y\"))",
        ),
        ("SELECT 'a\\b'", Dialect::Auto, "SELECT 'a\\b'"),
        (
            "SELECT 'a\\'b' FROM `t`",
            Dialect::Auto,
            "SELECT 'a''b' AS f0_ FROM \"t\"",
        ),
        (
            "SELECT r'a\\b', '''x'y''' FROM `t`",
            Dialect::Auto,
            "SELECT 'a\\b' AS f0_, 'x''y' AS f1_ FROM \"t\"",
        ),
        (
            "SELECT 1 # it's\nFROM `t`",
            Dialect::Auto,
            "SELECT 1 AS f0_ FROM \"t\"",
        ),
    ] {
        assert_eq!(printed(text, dialect), expected, "{text}");
    }
}

#[test]
fn stored_text_means_the_same_on_its_own() {
    // The backticks are in the model's name only: alone, the query would read "a" as a column.
    let text = "CREATE MODEL `d.m` PREDICT y AS SELECT * FROM t WHERE x = \"a\"";
    let Statement::CreateModel(model) = one(text) else {
        panic!();
    };
    let Some(TrainingSource::Query(source)) = &model.source else {
        panic!();
    };
    assert_eq!(source.text, "SELECT * FROM t WHERE x = 'a'");
    assert_eq!(
        parse_query(&source.text, Dialect::Auto).unwrap(),
        source.query
    );
}

#[test]
fn types_names_and_subscripts_are_rewritten() {
    for (text, expected) in [
        (
            "SELECT CAST(a AS INT64), SAFE_CAST(b AS FLOAT64), c::STRING, CAST(d AS BOOL)",
            "SELECT CAST(a AS BIGINT), SAFE_CAST(b AS DOUBLE), c::VARCHAR, CAST(d AS BOOLEAN)",
        ),
        (
            "SELECT CAST(a AS ARRAY<INT64>)",
            "SELECT CAST(a AS ARRAY<BIGINT>)",
        ),
        (
            "SELECT int64, string FROM float64",
            "SELECT int64, string FROM float64",
        ),
        (
            "CREATE TABLE t (a INT64, b STRING)",
            "CREATE TABLE t (a BIGINT, b VARCHAR)",
        ),
        (
            "SELECT a[OFFSET(0)], b[SAFE_ORDINAL(i)]",
            "SELECT a[(0) + 1], b[(i)]",
        ),
        (
            "SELECT a[OFFSET(b[OFFSET(1)])]",
            "SELECT a[(b[(1) + 1]) + 1]",
        ),
        (
            "SELECT * FROM `a-b.c.d`",
            "SELECT * FROM \"a-b\".\"c\".\"d\"",
        ),
        (
            "SELECT `x y` FROM a-b-12.c.d AS `z`",
            "SELECT \"x y\" FROM \"a-b-12\".c.d AS \"z\"",
        ),
        (
            "SELECT EXTRACT(DAY FROM a-b.c) FROM `t`",
            "SELECT googlesql.extract('day', a - b.c) AS f0_ FROM \"t\"",
        ),
        ("SELECT * EXCEPT (a) FROM t", "SELECT * EXCEPT (a) FROM t"),
        (
            "SELECT * REPLACE (a + 1 AS a) FROM t",
            "SELECT * REPLACE (a + 1 AS a) FROM t",
        ),
        (
            "SELECT ['a', 'b'], STRUCT(1 AS k)",
            "SELECT ['a', 'b'], STRUCT(1 AS k)",
        ),
        ("SELECT a, b, FROM `t`", "SELECT a, b FROM \"t\""),
    ] {
        assert_eq!(printed(text, Dialect::Auto), expected, "{text}");
    }
}

#[test]
fn a_backtick_needs_googlesql() {
    let error = parse("SELECT `a` FROM t", Dialect::Postgres).unwrap_err();
    assert_eq!(error.to_string(), "syntax error at or near \"`a`\"");
    assert_eq!(error.position, Some(7));
    assert!(error.hint.unwrap().contains("ml.dialect"));
    let error = parse(
        "CREATE MODEL `d.m` PREDICT \"y\" AS SELECT 1",
        Dialect::Auto,
    )
    .unwrap_err();
    assert!(error.hint.unwrap().contains("`y`"));
    for text in ["SELECT * FROM ``", "SELECT * FROM `a..b`", "SELECT `a"] {
        assert!(parse(text, Dialect::Auto).is_err(), "{text}");
    }
}

#[test]
fn dialect_is_a_setting() {
    assert_eq!(Dialect::parse(" GoogleSQL "), Some(Dialect::GoogleSql));
    assert_eq!("auto".parse(), Ok(Dialect::Auto));
    assert_eq!(Dialect::parse("oracle"), None);
    for dialect in [Dialect::Auto, Dialect::Postgres, Dialect::GoogleSql] {
        assert_eq!(Dialect::parse(dialect.as_str()), Some(dialect));
    }
}

#[test]
fn ml_functions_in_a_select_list_stay_functions() {
    let statement = one("SELECT ML.STANDARD_SCALER(x) OVER () AS y, ML.NGRAMS(['a'], [1, 2], '_')");
    assert_eq!(find(ast(&statement)).functions.len(), 2);
}

#[test]
fn what_googlesql_means_otherwise_is_qualified() {
    for (text, expected) in [
        (
            "SELECT a / b AS x FROM `t`",
            "SELECT googlesql.divide(a, b) AS x FROM \"t\"",
        ),
        (
            "SELECT LOG(x, 2), lower(s), c, d.e FROM `t`",
            "SELECT googlesql.log(x, 2) AS f0_, lower(s) AS f1_, c, d.e FROM \"t\"",
        ),
        (
            "SELECT CAST(a AS STRING) AS a, SAFE_CAST(b AS INT64) AS b FROM `t`",
            "SELECT googlesql.string(a) AS a, safe.int64(b) AS b FROM \"t\"",
        ),
        (
            "SELECT SUBSTR(a, -2) AS a, SUBSTRING(b, 1, 2) AS b FROM `t`",
            "SELECT googlesql.characters(a, -2) AS a, googlesql.characters(b, 1, 2) AS b FROM \"t\"",
        ),
        (
            "SELECT GREATEST(a, b) AS g FROM `t`",
            "SELECT CASE WHEN (a) IS NULL OR (b) IS NULL THEN NULL ELSE GREATEST(a, b) END AS g \
             FROM \"t\"",
        ),
        (
            "SELECT a FROM `t` ORDER BY a, b DESC, c NULLS LAST",
            "SELECT a FROM \"t\" ORDER BY a NULLS FIRST, b DESC NULLS LAST, c NULLS LAST",
        ),
        (
            "SELECT EXTRACT(HOUR FROM t AT TIME ZONE 'UTC') AS h, EXTRACT(DATE FROM t) AS d FROM `t`",
            "SELECT googlesql.extract('hour', datetime(t, 'UTC')) AS h, date(t) AS d FROM \"t\"",
        ),
        (
            "SELECT EXTRACT(WEEK(MONDAY) FROM t) AS w FROM `t`",
            "SELECT googlesql.extract('week_monday', t) AS w FROM \"t\"",
        ),
        (
            "SELECT ARRAY<INT64>[1] AS a, ARRAY<STRING>[] AS b FROM `t`",
            "SELECT ARRAY[1] AS a, CAST([] AS ARRAY<VARCHAR>) AS b FROM \"t\"",
        ),
        (
            "SELECT ARRAY(SELECT AS STRUCT a, b FROM u) AS x FROM `t`",
            "SELECT ARRAY(SELECT STRUCT(a AS a, b AS b) AS f0_ FROM u) AS x FROM \"t\"",
        ),
        (
            "SELECT STRUCT<n INT64, STRING>(1, 'a') AS s FROM `t`",
            "SELECT STRUCT(googlesql.int64(1) AS n, googlesql.string('a')) AS s FROM \"t\"",
        ),
        (
            "SELECT DATE_ADD(d, INTERVAL n + 1 DAY) AS x, d + INTERVAL 1 DAY AS y FROM `t`",
            "SELECT DATE_ADD(d, INTERVAL (n + 1) DAY) AS x, d + INTERVAL 1 DAY AS y FROM \"t\"",
        ),
        (
            "SELECT SAFE.SUBSTR(a, 1) AS x FROM `t`",
            "SELECT SAFE.\"substr\"(a, 1) AS x FROM \"t\"",
        ),
        // PostgreSQL's statements stay as they are.
        (
            "SELECT a / b, log(x, 2), substr(a, -2)",
            "SELECT a / b, log(x, 2), SUBSTR(a, -2)",
        ),
    ] {
        let once = printed(text, Dialect::Auto);
        assert_eq!(once, expected, "{text}");
        // Stored text is read again, without its backticks.
        assert_eq!(printed(&once, Dialect::Auto), expected, "{text}");
    }
}

#[test]
fn scripts_are_refused_by_name() {
    for (text, what) in [
        ("DECLARE x INT64 DEFAULT 5", "DECLARE of a variable"),
        ("EXECUTE IMMEDIATE 'SELECT 1'", "EXECUTE IMMEDIATE"),
        ("EXPORT DATA OPTIONS (uri = 'x') AS SELECT 1", "EXPORT DATA"),
        ("LOAD DATA INTO t FROM FILES (uris = ['x'])", "LOAD DATA"),
        (
            "CREATE TEMP FUNCTION f(x INT64) AS (x)",
            "CREATE TEMP FUNCTION",
        ),
    ] {
        let error = parse(text, Dialect::Auto).unwrap_err();
        assert_eq!(
            error.kind,
            ParseErrorKind::Unsupported(what.into()),
            "{text}"
        );
    }
    assert!(parse("DECLARE c CURSOR FOR SELECT 1", Dialect::Auto).is_ok());
}
