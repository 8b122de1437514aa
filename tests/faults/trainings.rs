//! A kill at any moment of a training leaves the old model or the new one.

use std::time::Duration;

use auspex_tests::rows;

use crate::{connect, free_port, serve};

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_of_a_training_leaves_a_whole_model() {
    let folder = tempfile::tempdir().unwrap();
    let mut newest = 0;
    // The delays spread the kill over reading, training, publishing and the time after.
    for (round, delay_ms) in [0, 20, 60, 120, 200, 300, 450, 700].into_iter().enumerate() {
        let port = free_port();
        let mut server = serve(folder.path(), port);
        let client = connect(port).await;
        let versions = rows(&client, "SELECT current_version FROM ml.models")
            .await
            .unwrap();
        if let Some(row) = versions.first() {
            let version: u64 = row[0].parse().unwrap();
            assert!(
                version >= newest,
                "round {round} lost version {newest}: it is {version}"
            );
            newest = version;
            let answer = rows(&client, "SELECT round(PREDICT(m USING 10.0 AS x)) ")
                .await
                .unwrap();
            assert_eq!(answer, [["20"]], "round {round} left a damaged model");
        }
        let create = "CREATE OR REPLACE MODEL m PREDICT y USING linear AS \
             SELECT value * 1.0 AS x, value * 2.0 AS y FROM generate_series(1, 300000)";
        let training = tokio::spawn(async move { client.batch_execute(create).await });
        tokio::time::sleep(Duration::from_millis(delay_ms)).await;
        server.kill().unwrap();
        server.wait().unwrap();
        if training.await.unwrap().is_ok() {
            newest += 1;
        }
    }
}
