//! What `EXPLAIN` tells of a cluster: where each task runs and for how long, in lines and as a tree, and what workers did
//! for a training, or why they had no part in it; and that functions of json, arrays and texts go to the workers.

use auspex_tests::rows;
use serde_json::Value;

use crate::machines::{Machines, SAMPLES};

const QUERY: &str = "SELECT k, count(*), sum(x1) FROM samples GROUP BY k ORDER BY k";

/// The nodes of a plan that are of a type.
fn nodes<'a>(plan: &'a Value, node_type: &str, found: &mut Vec<&'a Value>) {
    if plan["Node Type"] == node_type {
        found.push(plan);
    }
    for input in plan["Plans"].as_array().into_iter().flatten() {
        nodes(input, node_type, found);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_tell_where_each_task_runs() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let workers = rows(&client, "SELECT address FROM ml.workers").await;
    let workers = workers.unwrap().concat();
    let explain = |options: &str| {
        let (client, statement) = (&client, format!("EXPLAIN {options} {QUERY}"));
        async move {
            let lines = rows(client, &statement).await.unwrap();
            lines.concat().join("\n")
        }
    };
    let (told, measured) = (explain("").await, explain("ANALYZE").await);
    for worker in &workers {
        assert!(told.contains(&format!(":{worker}")), "{told}");
        assert!(measured.contains(&format!(":{worker}")), "{measured}");
    }
    assert!(measured.contains("time={0:"), "{measured}");
    for options in ["(FORMAT JSON)", "(ANALYZE, FORMAT JSON)"] {
        let text = explain(options).await;
        let tree: Value = serde_json::from_str(&text).unwrap();
        let mut stages = Vec::new();
        nodes(&tree[0]["Plan"], "Stage", &mut stages);
        assert!(stages.len() >= 2, "{text}");
        for stage in &stages {
            let tasks = stage["Tasks"].as_array().unwrap();
            for task in tasks {
                let worker = task["Worker"].as_str().unwrap().to_owned();
                assert!(workers.contains(&worker), "{text}");
                let is_measured = task["Actual Total Time"].is_number();
                assert_eq!(is_measured, options.contains("ANALYZE"), "{text}");
            }
        }
        let mut scans = Vec::new();
        nodes(&tree[0]["Plan"], "DataSourceExec", &mut scans);
        assert!(!scans.is_empty(), "{text}");
    }
    let yaml = explain("(ANALYZE, FORMAT YAML)").await;
    assert!(yaml.contains("Node Type: \"Stage\""), "{yaml}");
}

#[tokio::test(flavor = "multi_thread")]
async fn trainings_tell_what_each_worker_did() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let train = "EXPLAIN ANALYZE CREATE MODEL m PREDICT y USING linear AS SELECT x1, x2, x3, y FROM samples";
    let told = rows(&client, train).await.unwrap().concat().join("\n");
    let (_, told) = told.split_once("workers:").unwrap();
    for worker in rows(&client, "SELECT address FROM ml.workers")
        .await
        .unwrap()
    {
        let line = format!("{}: passes=", worker.concat());
        assert!(told.contains(&line), "{told}");
    }
    assert!(told.contains("slowest="), "{told}");
    assert!(told.contains("received_bytes="), "{told}");
    let create = "EXPLAIN CREATE TABLE copied AS SELECT * FROM samples";
    let told = rows(&client, create).await.unwrap().concat().join("\n");
    assert!(told.contains("CREATE TABLE: table=copied"), "{told}");
    assert!(told.contains("place:"), "{told}");
}

/// A query that leaves is divided finer than by what makes it leave; a write is not, since each task writes files.
#[tokio::test(flavor = "multi_thread")]
async fn queries_that_leave_are_divided_among_the_workers() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let declare = "CREATE TABLE filled (k text, x float8)";
    client.batch_execute(declare).await.unwrap();
    let insert = "INSERT INTO filled SELECT k, sum(x1) FROM samples GROUP BY k";
    let told = |size: &str, statement: &str| {
        let set = format!("SET min_distributed_size = '{size}'");
        let (client, explain) = (&client, format!("EXPLAIN {statement}"));
        async move {
            client.batch_execute(&set).await.unwrap();
            rows(client, &explain).await.unwrap().concat().join("\n")
        }
    };
    let here = told("1TB", QUERY).await;
    let (_, read) = here.split_once("it reads ").unwrap();
    let (size, _) = read.split_once(" bytes").unwrap();
    let query = told(size, QUERY).await;
    assert!(query.contains("Stage 1 ── tasks=2"), "{query}");
    let write = told(size, insert).await;
    assert!(!write.contains("tasks=2"), "{write}");
    assert!(!write.contains("less than"), "{write}");
    let write = told("0", insert).await;
    assert!(write.contains("tasks=2"), "{write}");
}

/// `EXPLAIN ANALYZE` of a statement that changes rows runs it where it runs without.
#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_measured_run_on_the_workers() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let declare = "CREATE TABLE filled (k text, n bigint)";
    client.batch_execute(declare).await.unwrap();
    let insert = "EXPLAIN ANALYZE INSERT INTO filled SELECT k, count(*) FROM samples GROUP BY k";
    let told = rows(&client, insert).await.unwrap().concat().join("\n");
    assert!(told.contains("Stage 1"), "{told}");
    assert!(
        told.contains("WriteFilesExec: table=public.filled"),
        "{told}"
    );
    assert!(told.contains("output_rows="), "{told}");
    assert!(told.contains("INSERT: table=public.filled"), "{told}");
    let found = rows(&client, "SELECT count(*), sum(n) FROM filled").await;
    assert_eq!(found.unwrap(), [["5", "300000"]]);
    let create =
        "EXPLAIN ANALYZE CREATE TABLE copied AS SELECT k, max(x3) AS x FROM samples GROUP BY k";
    let told = rows(&client, create).await.unwrap().concat().join("\n");
    assert!(told.contains("Stage 1"), "{told}");
    assert!(told.contains("CREATE TABLE: table=copied"), "{told}");
    let update = "EXPLAIN ANALYZE UPDATE copied SET x = 0 WHERE k = 'k1'";
    let told = rows(&client, update).await.unwrap().concat().join("\n");
    assert!(told.contains("UPDATE: table=public.copied"), "{told}");
    let found = rows(&client, "SELECT count(*), min(x) FROM copied").await;
    assert_eq!(found.unwrap(), [["5", "0"]]);
}

/// Why rows are not written by workers is told of what has run, too.
#[tokio::test(flavor = "multi_thread")]
async fn changes_that_are_measured_tell_why_they_stay() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let tables = "CREATE TABLE plain (k text, n bigint); \
                  CREATE SEQUENCE numbers; \
                  CREATE TABLE drawn (id bigint DEFAULT nextval('numbers'), k text); \
                  CREATE TABLE numbered (id bigint GENERATED ALWAYS AS IDENTITY, k text)";
    client.batch_execute(tables).await.unwrap();
    let grouped = "SELECT k, count(*) AS n FROM samples GROUP BY k";
    let small = "it reads ";
    let cases = [
        ("0", format!("INSERT INTO plain {grouped}"), None),
        (
            "0",
            format!("INSERT INTO plain {grouped} RETURNING k"),
            Some("RETURNING gives the rows to the client"),
        ),
        (
            "0",
            "INSERT INTO numbered (k) SELECT k FROM samples".to_owned(),
            Some("identity columns are numbered in the order of the rows"),
        ),
        ("1TB", format!("INSERT INTO plain {grouped}"), Some(small)),
        ("0", format!("CREATE TABLE far AS {grouped}"), None),
        (
            "1TB",
            format!("CREATE TABLE near AS {grouped}"),
            Some(small),
        ),
        (
            "0",
            "INSERT INTO drawn (k) SELECT k FROM samples".to_owned(),
            Some("a function that waits runs on one machine"),
        ),
    ];
    for (size, statement, reason) in cases {
        let size = format!("SET min_distributed_size = '{size}'");
        client.batch_execute(&size).await.unwrap();
        let explain = format!("EXPLAIN ANALYZE {statement}");
        let told = rows(&client, &explain).await.unwrap().concat().join("\n");
        let place = told.split_once("place:\n  on this machine: ");
        match (reason, place) {
            (Some(reason), Some((_, place))) => assert!(place.starts_with(reason), "{told}"),
            (None, None) => assert!(told.contains("Stage 1"), "{told}"),
            _ => panic!("{statement}: {told}"),
        }
    }
}

/// Queries that run on workers, and one whose functions need what is lost on the way.
const FUNCTIONS: [(&str, bool); 11] = [
    (
        "SELECT k, cardinality(array_agg(x1)) FROM samples GROUP BY k ORDER BY k",
        true,
    ),
    ("SELECT sum(cardinality(ARRAY[x1, y])) FROM samples", true),
    (
        "SELECT k, json_agg(k) FROM samples WHERE x3 < 5 GROUP BY k ORDER BY k",
        true,
    ),
    (
        "SELECT k, jsonb_agg(k) FROM samples WHERE x3 < 5 GROUP BY k ORDER BY k",
        true,
    ),
    (
        "SELECT k, jsonb_build_object('k', k, 'n', count(*)) FROM samples GROUP BY k ORDER BY k",
        true,
    ),
    (
        "SELECT row_to_json(q) FROM (SELECT k, max(x3) AS top FROM samples GROUP BY k) q ORDER BY k",
        true,
    ),
    (
        "SELECT k, format('%s of %L', max(x3), k) FROM samples GROUP BY k ORDER BY k",
        true,
    ),
    ("SELECT count(DISTINCT k::bytea) FROM samples", true),
    (
        "SELECT max(('2024-01-1' || substr(k, 2))::date) FROM samples",
        true,
    ),
    ("SELECT max(x3::text), max(x3 || k) FROM samples", true),
    (
        "SELECT jsonb_build_object('a', jsonb_build_object('k', k)) FROM samples GROUP BY k ORDER BY k",
        false,
    ),
];

#[tokio::test(flavor = "multi_thread")]
async fn functions_of_values_go_to_the_workers() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let mut found = Vec::new();
    for (query, is_far) in FUNCTIONS {
        let plan = rows(&client, &format!("EXPLAIN {query}")).await.unwrap();
        let plan = plan.concat().join("\n");
        assert_eq!(plan.contains("Stage 1"), is_far, "{query}: {plan}");
        found.push(rows(&client, query).await.unwrap());
    }
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    for ((query, _), found) in FUNCTIONS.into_iter().zip(found) {
        assert_eq!(found, rows(&client, query).await.unwrap(), "{query}");
    }
}

/// Each of them is called by several operators: of a partial aggregate and of the final one; in a view or beside it.
#[tokio::test(flavor = "multi_thread")]
async fn two_models_in_one_query_go_to_the_workers() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    for (name, features) in [("m1", "x1, x2"), ("m2", "x1, x2, x3")] {
        let create = format!(
            "CREATE MODEL {name} PREDICT y USING linear AS SELECT {features}, y FROM samples"
        );
        client.batch_execute(&create).await.unwrap();
    }
    let judged = |name| {
        format!(
            "SELECT '{name}' AS m, (mean_absolute_error * 1e6)::bigint AS e \
             FROM ML.EVALUATE(MODEL {name}, TABLE samples)"
        )
    };
    let predicted = |name| {
        format!(
            "SELECT '{name}' AS m, (avg(predicted_y) * 1e6)::bigint AS p \
             FROM ML.PREDICT(MODEL {name}, TABLE samples)"
        )
    };
    let view =
        "CREATE VIEW seen AS SELECT x1, x2, x3, k, PREDICT(m1 USING x1, x2) AS p FROM samples";
    client.batch_execute(view).await.unwrap();
    let queries = [
        "SELECT k, (avg(PREDICT(m1 USING x1, x2)) * 1e6)::bigint, \
         (avg(PREDICT(m2 USING x1, x2, x3)) * 1e6)::bigint FROM samples GROUP BY k ORDER BY k"
            .to_owned(),
        format!(
            "SELECT * FROM ({} UNION ALL {}) j ORDER BY m",
            judged("m1"),
            judged("m2")
        ),
        format!(
            "SELECT * FROM ({} UNION ALL {}) p ORDER BY m",
            predicted("m1"),
            predicted("m2")
        ),
        "SELECT k, (avg(p) * 1e6)::bigint, (avg(PREDICT(m2 USING x1, x2, x3)) * 1e6)::bigint \
         FROM seen GROUP BY k ORDER BY k"
            .to_owned(),
    ];
    for query in queries {
        let explain = format!("EXPLAIN {query}");
        let told = rows(&client, &explain).await.unwrap().concat().concat();
        assert!(told.contains("on={0:"), "{told}");
        let there = rows(&client, &query).await.unwrap();
        let here = "SET min_distributed_size = '1TB'";
        client.batch_execute(here).await.unwrap();
        assert_eq!(rows(&client, &query).await.unwrap(), there);
        let anywhere = "RESET min_distributed_size";
        client.batch_execute(anywhere).await.unwrap();
    }
}

/// Numbers of sequences are claimed where the statement is: the rest of the query stays with them.
#[tokio::test(flavor = "multi_thread")]
async fn functions_that_wait_stay_on_the_coordinator() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    let tables = "CREATE SEQUENCE numbers; \
                  CREATE TABLE numbered (id bigint DEFAULT nextval('numbers'), k text)";
    client.batch_execute(tables).await.unwrap();
    let insert = "INSERT INTO numbered (k) SELECT k FROM samples";
    let explain = format!("EXPLAIN {insert}");
    let told = rows(&client, &explain).await.unwrap().concat().concat();
    assert!(
        told.contains("a function that waits runs on one machine"),
        "{told}"
    );
    client.batch_execute(insert).await.unwrap();
    let copy = "CREATE TABLE copied AS SELECT nextval('numbers') AS id, k FROM samples";
    client.batch_execute(copy).await.unwrap();
    let found = "SELECT count(DISTINCT id) FROM (SELECT id FROM numbered UNION ALL SELECT id FROM copied) n";
    assert_eq!(rows(&client, found).await.unwrap(), [["600000"]]);
}
