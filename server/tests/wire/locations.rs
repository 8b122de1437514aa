//! What a role reads through the files of a location, which others may have written.

use std::os::unix::fs::symlink;

use crate::{Fixture, error_of, rows};

/// The log of a table of one file, which lies anywhere.
fn log_of(file: &str, bytes: u64) -> String {
    let schema = r#"{\"type\":\"struct\",\"fields\":[{\"name\":\"x\",\"type\":\"integer\",\"nullable\":true,\"metadata\":{}}]}"#;
    [
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#.to_owned(),
        format!(
            r#"{{"metaData":{{"id":"a","format":{{"provider":"parquet","options":{{}}}},"schemaString":"{schema}","partitionColumns":[],"configuration":{{}}}}}}"#
        ),
        format!(
            r#"{{"add":{{"path":"{file}","size":{bytes},"modificationTime":0,"dataChange":true,"partitionValues":{{}}}}}}"#
        ),
    ]
    .join("\n")
}

#[tokio::test]
async fn a_location_leads_to_no_files_of_others() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    let root = fixture.folder.path().canonicalize().unwrap();
    let path = |name: &str| root.join(name).display().to_string();
    for folder in [
        "ann/own/_delta_log",
        "ann/other/_delta_log",
        "ann/links",
        "boss",
    ] {
        std::fs::create_dir_all(root.join(folder)).unwrap();
    }
    for (role, folder) in [("ann", "ann"), ("boss", "boss")] {
        let statements = format!(
            "CREATE EXTERNAL LOCATION of_{role} URL '{}/'; CREATE ROLE {role}; \
             GRANT READ, WRITE ON EXTERNAL LOCATION of_{role} TO {role}",
            path(folder)
        );
        client.batch_execute(&statements).await.unwrap();
    }
    for file in ["boss/p.parquet", "ann/own/p.parquet"] {
        let copy = format!("COPY (SELECT 666::int AS x) TO '{}'", path(file));
        client.batch_execute(&copy).await.unwrap();
    }
    let bytes = root.join("boss/p.parquet").metadata().unwrap().len();
    let commit = |table: &str| {
        root.join(table)
            .join("_delta_log/00000000000000000000.json")
    };
    let own = format!("file://{}", path("ann/own/p.parquet"));
    let other = format!("file://{}", path("boss/p.parquet"));
    std::fs::write(commit("ann/own"), log_of(&own, bytes)).unwrap();
    std::fs::write(commit("ann/other"), log_of(&other, bytes)).unwrap();
    symlink(
        root.join("boss/p.parquet"),
        root.join("ann/links/l.parquet"),
    )
    .unwrap();

    client.batch_execute("SET ROLE ann").await.unwrap();
    let own = format!("SELECT x FROM read_delta('{}')", path("ann/own"));
    assert_eq!(rows(&client, &own).await, ["666"]);
    let others = [
        format!("SELECT x FROM read_delta('{}')", path("ann/other")),
        format!("SELECT x FROM '{}'", path("ann/links")),
        format!("SELECT x FROM '{}'", path("ann/links/*.parquet")),
        format!("SELECT x FROM '{}'", path("ann/**/l.parquet")),
        format!("SELECT x FROM '{}'", path("ann/links/l.parquet")),
        format!("SELECT x FROM '{}'", path("boss/p.parquet")),
    ];
    for query in &others {
        assert_eq!(
            error_of(&client, query).await.code().code(),
            "42501",
            "{query}"
        );
    }
    // Nor does a table of it that a superuser made.
    client.batch_execute("RESET ROLE").await.unwrap();
    let table = format!(
        "CREATE EXTERNAL TABLE led STORED AS DELTA LOCATION '{}'",
        path("ann/other")
    );
    client.batch_execute(&table).await.unwrap();
    let error = error_of(&client, "SELECT x FROM led").await;
    assert_eq!(error.code().code(), "42501");
    let read = format!("SELECT x FROM '{}'", path("boss/p.parquet"));
    assert_eq!(rows(&client, &read).await, ["666"]);
}
