//! Drivers and what stands on them: each script does what an application does, and asserts what it must see.

use std::process::Command;

use crate::tools::{clients, filled, run, run_script, scripts};

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_3() {
    run_script("with_psycopg3.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn psycopg_2() {
    run_script("with_psycopg2.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqlalchemy_reflects_and_writes() {
    run_script("with_sqlalchemy.py", &["psycopg2"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pandas_reads_and_writes_frames() {
    run_script("with_pandas.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_notebook_queries_and_plots() {
    run_script("with_notebook.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odbc_through_pyodbc() {
    run_script("with_odbc.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn asyncpg_in_binary() {
    run_script("with_asyncpg.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn adbc_moves_arrow_tables() {
    run_script("with_adbc.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn duckdb_attaches_the_server() {
    run_script("with_duckdb.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn django_migrates_and_keeps_objects() {
    run_script("with_django.py", &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn node_postgres() {
    run_with("node", "with_node.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn knex_migrates_and_queries() {
    run_with("node", "with_knex.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sequelize_synchronises_models() {
    run_with("node", "with_sequelize.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn typeorm_keeps_entities() {
    run_with("node", "with_typeorm.js").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn perl_through_dbi() {
    run_with("perl", "with_dbi.pl").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn active_record_migrates_and_keeps_models() {
    run_with("ruby", "with_activerecord.rb").await;
}

/// Runs a script of another language, which is told where Node's packages are.
async fn run_with(program: &str, script: &str) {
    let Some(folder) = clients() else { return };
    let server = filled().await;
    let mut command = Command::new(program);
    command
        .arg(scripts().join(script))
        .arg(server.port().to_string())
        .arg(folder.join("node"));
    println!("{}", run(command).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn java_through_pgjdbc() {
    if clients().is_none() {
        return;
    }
    let server = filled().await;
    let mut command = Command::new("java");
    // A small heap and the plain compiler: the program runs for a moment.
    command.args([
        "-Xshare:auto",
        "-XX:TieredStopAtLevel=1",
        "-cp",
        "/usr/share/java/postgresql.jar",
    ]);
    command
        .arg(scripts().join("Jdbc.java"))
        .arg(server.port().to_string());
    println!("{}", run(command).await);
}
