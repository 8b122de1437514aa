//! `auspex demo`: the main job on real data, through the wire, leaving nothing behind.
//!
//! In: nothing but the tour and the penguins that are built in; out: each statement with its result.

use super::client::Client;
use super::runner::Runner;
use super::script::Script;
use super::serve::{psql, stop_signal};
use super::table::OutputFormat;
use super::{CliError, DemoArgs, Success, open, print_line, start_logging};
use crate::config::{Config, EngineArgs};
use crate::config_server::LogFormat;
use crate::protocol::Server;

/// The tour, which `psql -f` runs as well.
const TOUR: &str = include_str!("../../../examples/penguins.sql");
/// The table that the tour reads: `palmerpenguins`, CC0.
const PENGUINS: &[u8] = include_bytes!("../../../examples/penguins.csv");

/// Runs the tour against a server of its own.
pub(super) async fn demo(args: DemoArgs) -> Result<Success, CliError> {
    start_logging("error", LogFormat::Text);
    let folder = tempfile::Builder::new().prefix("auspex-demo-").tempdir()?;
    std::fs::write(folder.path().join("penguins.csv"), PENGUINS)?;
    let engine = EngineArgs {
        warehouse: Some(folder.path().join("warehouse").display().to_string()),
        allow_locations: vec![folder.path().display().to_string()],
        ..EngineArgs::default()
    };
    let config = Config::resolve(engine, Some("127.0.0.1:0".to_owned()))?;
    let server = Server::bind(open(config.engine).await?, &config.listen).await?;
    let address = server.address();
    let running = server.start();
    print_line(&format!(
        "A server listens on {address}, with a temporary warehouse.\n"
    ))?;
    let client = Client::connect(&format!("postgres://postgres@{address}/postgres")).await?;
    let success = tour(Runner::new(client, OutputFormat::Table)).await?;
    if args.keep {
        print_line(&format!(
            "The server goes on until Ctrl-C. Look around with:\n  {}",
            psql(address)
        ))?;
        stop_signal().await?;
    } else {
        print_line(
            "That was the tour; its server and warehouse are gone. To look around yourself:\n  \
             auspex demo --keep        this server, kept running for psql\n  \
             auspex serve              a server with a warehouse that stays; then:\n  \
             psql -h 127.0.0.1 -U postgres postgres",
        )?;
    }
    running.stop().await;
    Ok(success)
}

/// Shows each statement as it is written, then what it gives; stops at the first that fails.
async fn tour(mut runner: Runner) -> Result<Success, CliError> {
    let mut success = Success::All;
    for statement in Script::cut(TOUR).into_statements() {
        print_line(&format!("{statement};\n"))?;
        success = runner.run(&statement).await?;
        print_line("")?;
        if success == Success::NotAll {
            break;
        }
    }
    runner.close().await;
    Ok(success)
}
