//! Names that sessions of two servers give and take at the same moment: who loses a race settles for what the winner did,
//! if the statement says that it would.

use auspex_tests::{ServerProcess, describe, rows};
use tokio_postgres::Client;

const N_ROUNDS: usize = 3;

/// Statements over a number, each with what takes it back.
const DEFINITIONS: &[(&str, &str)] = &[
    (
        "CREATE TABLE IF NOT EXISTS declared# (a int)",
        "DROP TABLE IF EXISTS declared#",
    ),
    (
        "CREATE TABLE IF NOT EXISTS made# AS SELECT 1 AS a",
        "DROP TABLE IF EXISTS made#",
    ),
    (
        "CREATE OR REPLACE TABLE replaced# AS SELECT 1 AS a",
        "DROP TABLE IF EXISTS replaced#",
    ),
    (
        "CREATE MATERIALIZED VIEW IF NOT EXISTS filled# AS SELECT 1 AS a",
        "DROP MATERIALIZED VIEW IF EXISTS filled#",
    ),
    (
        "CREATE VIEW IF NOT EXISTS seen# AS SELECT 1 AS a",
        "DROP VIEW IF EXISTS seen#",
    ),
    (
        "CREATE OR REPLACE VIEW shown# AS SELECT 1 AS a",
        "DROP VIEW IF EXISTS shown#",
    ),
    (
        "CREATE SEQUENCE IF NOT EXISTS counted#",
        "DROP SEQUENCE IF EXISTS counted#",
    ),
    (
        "CREATE SCHEMA IF NOT EXISTS held#",
        "DROP SCHEMA IF EXISTS held#",
    ),
    (
        "CREATE CREDENTIAL IF NOT EXISTS sealed# FOR 's3://bucket/' WITH (type = 's3', key_id = 'k', secret = 's')",
        "DROP CREDENTIAL IF EXISTS sealed#",
    ),
    (
        "CREATE OR REPLACE CREDENTIAL changed# FOR 's3://bucket/' WITH (type = 's3', key_id = 'k', secret = 's')",
        "DROP CREDENTIAL IF EXISTS changed#",
    ),
    (
        "CREATE MODEL IF NOT EXISTS learnt# OPTIONS (model_type = 'linear_reg', input_label_cols = ['y']) AS SELECT x, y FROM samples",
        "DROP MODEL IF EXISTS learnt#",
    ),
    (
        "CREATE OR REPLACE MODEL relearnt# OPTIONS (model_type = 'linear_reg', input_label_cols = ['y']) AS SELECT x, y FROM samples",
        "DROP MODEL IF EXISTS relearnt#",
    ),
];

/// Lets all clients say the same at once.
async fn all_say(clients: &[Client], sql: &str) {
    let saying = clients.iter().map(|client| client.batch_execute(sql));
    for said in futures::future::join_all(saying).await {
        said.unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_of_several_sessions_at_once_settle_for_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let warehouse = folder.path().to_str().unwrap();
    let servers = [(); 2].map(|()| ServerProcess::start(warehouse, &[], &[]));
    let mut clients = Vec::new();
    for server in &servers {
        clients.extend([server.client().await, server.client().await]);
    }
    let samples =
        "CREATE TABLE samples AS SELECT value AS x, 2 * value AS y FROM generate_series(1, 100)";
    clients[0].batch_execute(samples).await.unwrap();
    for round in 0..N_ROUNDS {
        let of_round = |text: &str| text.replace('#', &round.to_string());
        for (create, _) in DEFINITIONS {
            all_say(&clients, &of_round(create)).await;
        }
        for table in ["made#", "replaced#", "filled#", "seen#", "shown#"] {
            let query = of_round(&format!("SELECT a FROM {table}"));
            for client in &clients {
                assert_eq!(rows(client, &query).await.unwrap(), [["1"]], "{query}");
            }
        }
        for (_, drop) in DEFINITIONS {
            all_say(&clients, &of_round(drop)).await;
        }
    }
}
