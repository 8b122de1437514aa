//! The plans that statements become, as `EXPLAIN` prints them.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test that cannot go on must stop, and waits are bounded by the clock"
)]

use auspex_tests::{TestServer, examples, rows};

async fn explain(statements: &[&str]) -> String {
    let server = TestServer::start().await;
    let client = server.client().await;
    let setup = "CREATE EXTERNAL TABLE penguins STORED AS PARQUET LOCATION 'penguins.parquet'; \
         CREATE MODEL mass PREDICT body_mass_g USING linear AS \
         SELECT species, flipper_length_mm, body_mass_g FROM penguins WHERE body_mass_g IS NOT NULL";
    client.batch_execute(setup).await.unwrap();
    client.batch_execute("SET threads = 2").await.unwrap();
    let mut text = String::new();
    for statement in statements {
        let plan = rows(&client, &format!("EXPLAIN {statement}"))
            .await
            .unwrap();
        text.push_str(&format!("{statement}\n"));
        for line in plan.concat() {
            text.push_str(&format!("{line}\n"));
        }
    }
    let folder = examples()
        .to_string_lossy()
        .trim_start_matches('/')
        .to_owned();
    text.replace(&folder, "examples")
}

#[tokio::test(flavor = "multi_thread")]
async fn predictions_are_projections_that_read_only_their_columns() {
    let plan = explain(&[
        "SELECT PREDICT(mass USING *) FROM penguins",
        "SELECT predicted_body_mass_g FROM ML.PREDICT(MODEL mass, TABLE penguins) WHERE island = 'Biscoe'",
        // One row is predicted, once.
        "SELECT prediction, predicted_body_mass_g FROM ML.PREDICT(MODEL mass, (SELECT *, 1 AS prediction FROM penguins WHERE culmen_depth_mm = 18.7))",
    ])
    .await;
    insta::assert_snapshot!(plan);
}

#[tokio::test(flavor = "multi_thread")]
async fn evaluations_are_aggregates() {
    insta::assert_snapshot!(explain(&["EVALUATE MODEL mass ON penguins"]).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn trainings_have_one_operator_over_a_pruned_scan() {
    let plan = explain(&[
        "CREATE MODEL m PREDICT sex AS SELECT sex, culmen_length_mm FROM penguins WHERE sex IS NOT NULL",
        "TRAIN MODEL mass",
    ])
    .await;
    insta::assert_snapshot!(plan);
}
