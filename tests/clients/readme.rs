//! The lines by which the README says how to connect: each block runs as it stands there, against a server of the test.

use std::process::Command;

use auspex_tests::root;

use crate::tools::{clients, filled, python, run};

/// The code of the README's section on connecting, block by block: language, text.
fn blocks() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(root().join("README.md")).unwrap();
    let (_, section) = text
        .split_once("## Connecting")
        .expect("the README says how to connect");
    let section = section.split("\n## ").next().unwrap();
    let mut parts = section.split("```");
    let mut blocks = Vec::new();
    while let (Some(_), Some(block)) = (parts.next(), parts.next()) {
        let (language, code) = block.split_once('\n').unwrap();
        blocks.push((language.to_owned(), code.to_owned()));
    }
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readme_connects_from_each_client() {
    let Some(folder) = clients() else { return };
    let server = filled().await;
    let port = server.port().to_string();
    let blocks = blocks();
    let languages: Vec<&str> = blocks
        .iter()
        .map(|(language, _)| language.as_str())
        .collect();
    assert_eq!(
        languages,
        ["sh", "python", "java", "python", "python"],
        "psql, Python, Java, ODBC, notebook"
    );
    for (number, (language, code)) in blocks.iter().enumerate() {
        let code = code.replace("5432", &port);
        let file = |name: &str| server.files().join(format!("readme{number}{name}"));
        let command = match language.as_str() {
            "sh" => {
                let mut command = Command::new("bash");
                command.arg("-ec").arg(&code);
                command
            }
            "java" => {
                let path = file(".java");
                std::fs::write(&path, &code).unwrap();
                let mut command = Command::new("java");
                command
                    .args(["-cp", "/usr/share/java/postgresql.jar"])
                    .arg(path);
                command
            }
            _ => {
                let mut command = python(&folder);
                if code.contains("%load_ext") {
                    // The lines of a notebook run in the shell behind it.
                    let path = file(".ipy");
                    std::fs::write(&path, &code).unwrap();
                    command
                        .args(["-m", "IPython", "--colors=NoColor"])
                        .arg(path);
                } else {
                    command.arg("-c").arg(&code);
                }
                command
            }
        };
        let output = run(command).await;
        // Each block counts the penguins.
        assert!(
            output.contains("344"),
            "block {number} ({language}): {output}"
        );
    }
}
