//! pgbench: scripts of one's own, in its three protocol modes, from several clients at a time.

use std::process::Command;

use crate::tools::{clients, filled, run};

const SCRIPT: &str = r"\set id random(1, 3)
SELECT name, price FROM readings WHERE id = :id;
SELECT PREDICT(mass USING *) FROM penguins LIMIT 1;
";

#[tokio::test(flavor = "multi_thread")]
async fn pgbench_runs_a_script_in_every_protocol() {
    let Some(folder) = clients() else { return };
    let server = filled().await;
    let script = server.files().join("script.sql");
    std::fs::write(&script, SCRIPT).unwrap();
    for protocol in ["simple", "extended", "prepared"] {
        let mut command = Command::new(folder.join("pgbench"));
        command.args([
            "-h",
            "127.0.0.1",
            "-U",
            "postgres",
            "-n",
            "-c",
            "2",
            "-t",
            "5",
        ]);
        command
            .args(["-p", &server.port().to_string(), "-M", protocol, "-f"])
            .arg(&script);
        command.arg("postgres");
        let output = run(command).await;
        let all = "number of transactions actually processed: 10/10";
        assert!(output.contains(all), "{protocol}: {output}");
    }
}
