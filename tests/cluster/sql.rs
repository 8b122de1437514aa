//! SQL files with the tag `cluster` give the same on a cluster; models are those of one machine to the bit.

use std::path::PathBuf;

use auspex_tests::{SqlWire, root, rows};
use sqllogictest::Runner;

use crate::machines::{Machines, SAMPLES};

/// The SQL files with the tag; all of them under `AUSPEX_TEST_FULL=1`, but for those that tell where something runs: they
/// show plans, or have the tag `here`.
fn files() -> Vec<PathBuf> {
    let is_full = std::env::var("AUSPEX_TEST_FULL").is_ok();
    let mut files = Vec::new();
    let mut folders = vec![root().join("tests/slt")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let tags = text.lines().find_map(|line| line.strip_prefix("# tags:"));
            let has = |tag: &str| {
                let mut tags = tags.unwrap_or_default().split(',');
                tags.any(|found| found.trim() == tag)
            };
            let tells_where = text.contains("EXPLAIN") || has("here");
            if has("cluster") || (is_full && !tells_where) {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn tagged_files_give_the_same_on_a_cluster() {
    let files = files();
    assert!(files.len() >= 30, "too few files are tagged");
    let mut failures = Vec::new();
    for file in files {
        // Each file expects an empty warehouse.
        let machines = Machines::start(2).await;
        let connect = || async {
            Ok(SqlWire {
                client: machines.client().await,
            })
        };
        let mut runner = Runner::new(connect);
        if let Err(error) = runner.run_file_async(&file).await {
            failures.push(format!("{}: {}", file.display(), error.display(false)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_go_to_the_workers_and_say_so() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    let make = "CREATE TABLE t AS SELECT value AS id, value % 7 AS g, value * 0.5 AS x \
                FROM generate_series(1, 200000)";
    client.batch_execute(make).await.unwrap();
    let query =
        "SELECT g, count(*), sum(x * 2 + id - 1), max(g || '!') FROM t GROUP BY g ORDER BY g";
    let plan = rows(&client, &format!("EXPLAIN {query}")).await.unwrap();
    let plan = plan.concat().join("\n");
    let (_, place) = plan.split_once("place:").unwrap();
    assert!(place.contains("Stage 1"), "{place}");
    let measured = rows(&client, &format!("EXPLAIN ANALYZE {query}"))
        .await
        .unwrap();
    let measured = measured.concat().join("\n");
    assert!(measured.contains("Stage 1"), "{measured}");
    assert!(!measured.contains("place:"), "{measured}");
    let found = rows(&client, query).await.unwrap();
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    assert_eq!(found, rows(&client, query).await.unwrap());
    let plan = rows(&client, &format!("EXPLAIN {query}")).await.unwrap();
    let plan = plan.concat().join("\n");
    let (_, place) = plan.split_once("place:").unwrap();
    assert!(place.contains("less than min_distributed_size"), "{place}");
    let plan = rows(&client, &format!("EXPLAIN ANALYZE {query}"))
        .await
        .unwrap();
    let plan = plan.concat().join("\n");
    let (measured, place) = plan.split_once("place:").unwrap();
    assert!(measured.contains("output_rows"), "{measured}");
    assert!(place.contains("less than min_distributed_size"), "{place}");
}

/// Errors, warnings and predictions of workers are those of one machine.
#[tokio::test(flavor = "multi_thread")]
async fn workers_predict_and_fail_in_the_same_words() {
    let machines = Machines::start(2).await;
    let client = machines.client().await;
    let make = "CREATE TABLE t AS SELECT value AS id, value * 0.5 AS x, value * 1.0 + 3 AS y \
                FROM generate_series(1, 200000); \
                CREATE MODEL m PREDICT y USING linear AS SELECT x, y FROM t";
    client.batch_execute(make).await.unwrap();
    let queries = [
        "SELECT id % 3 AS k, count(*), round(avg(PREDICT(m USING x))) FROM t GROUP BY k ORDER BY k",
        "SELECT round(sum(predicted_y)) FROM ML.PREDICT(MODEL m, (SELECT x FROM t WHERE id > 100))",
        "SELECT round(mean_absolute_error, 6), round(r2_score, 6) FROM ML.EVALUATE(MODEL m, (SELECT x, y FROM t))",
        "SELECT sum(1 / (id - 777)) FROM t",
        "SELECT count(*) FROM t WHERE (id::text || 'x')::int > 0",
    ];
    let mut found = Vec::new();
    for query in queries {
        found.push(rows(&client, query).await);
    }
    let here = "SET min_distributed_size = '1TB'";
    client.batch_execute(here).await.unwrap();
    for (query, found) in queries.into_iter().zip(found) {
        assert_eq!(found, rows(&client, query).await, "{query}");
    }
}

/// The estimators that visit samples in each of the ways there are.
const TYPES: &[&str] = &[
    "USING linear",
    "USING logistic WITH (max_iterations = 5)",
    "USING boosted_tree WITH (max_iterations = 4, max_tree_depth = 4)",
    "USING random_forest WITH (num_parallel_tree = 4, max_tree_depth = 5)",
    "USING kmeans WITH (num_clusters = 4, max_iterations = 4)",
    "USING pca WITH (num_principal_components = 2)",
];

#[tokio::test(flavor = "multi_thread")]
async fn models_are_those_of_one_machine_to_the_bit() {
    let machines = Machines::start(3).await;
    let client = machines.client().await;
    client.batch_execute(SAMPLES).await.unwrap();
    for (number, using) in TYPES.iter().enumerate() {
        let label = match *using {
            using if using.contains("kmeans") || using.contains("pca") => "",
            using if using.contains("linear") => "PREDICT y",
            _ => "PREDICT c",
        };
        let columns = match label {
            "" => "x1, x2, x3, k",
            "PREDICT y" => "x1, x2, x3, k, y",
            _ => "x1, x2, x3, k, c",
        };
        let create = |name: &str| {
            format!("CREATE MODEL {name}{number} {label} {using} AS SELECT {columns} FROM samples")
        };
        let plan = rows(&client, &format!("EXPLAIN {}", create("m")))
            .await
            .unwrap();
        let plan = format!("{plan:?}");
        assert!(plan.contains("place=[workers: "), "{using}: {plan}");
        client.batch_execute(&create("far")).await.unwrap();
        let here = "SET min_distributed_size = '1TB'";
        client.batch_execute(here).await.unwrap();
        client.batch_execute(&create("near")).await.unwrap();
        let anywhere = "RESET min_distributed_size";
        client.batch_execute(anywhere).await.unwrap();
        let tensors = |name: &str| machines.tensors(&format!("{name}{number}"));
        assert_eq!(tensors("far"), tensors("near"), "{using}");
    }
}
