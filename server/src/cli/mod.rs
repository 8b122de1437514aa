//! The `auspex` command line: `serve`, `worker`, `sql`, `demo`, `catalog` and `version`.
//!
//! In: arguments, environment, standard input; out: text on standard output, messages on standard
//! error, an exit status. Code map: `serve`, `worker`, `sql`, `demo` and `catalog` are the commands; `client` speaks the
//! protocol as a client; `script` cuts a text into statements; `runner` runs one and prints what comes;
//! `table` lays rows out.

mod catalog;
mod client;
mod demo;
mod runner;
mod script;
mod serve;
mod sql;
mod table;
mod worker;

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use auspex_planner::{Engine, STACK_BYTES};
use auspex_sql::without_url_secrets;
use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use crate::config::{ConfigError, EngineArgs};
use crate::config_cluster::{ClusterArgs, ClusterConfigError, TokenArgs};
use crate::config_server::{LogFormat, ServerArgs, ServerConfigError};
use crate::json_log::{JsonLines, LogLines};
use crate::protocol::ListenError;
use client::ClientError;
use table::OutputFormat;

/// The machine-learning database: SQL over files, and models trained, evaluated and served in SQL.
#[derive(Debug, Parser)]
#[command(
    name = "auspex",
    version,
    after_help = "Examples:
  auspex demo                              see the whole of it on real data, in a minute
  auspex serve --allow-location ./data     a server for psql, notebooks and BI tools
  auspex sql -c \"SELECT 1 + 1\"             one statement, without a server"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a server that PostgreSQL's clients connect to
    #[command(after_help = "Examples:
  auspex serve
      listens on 127.0.0.1:5432, keeps everything in ./warehouse
  auspex serve --listen 127.0.0.1:5433 --warehouse /data/lake --memory-limit 8GB
  auspex serve --allow-location /data/raw
      lets SQL read the files there: SELECT * FROM '/data/raw/sales.parquet'

  auspex serve --listen 0.0.0.0:5432 --tls-cert cert.pem --tls-key key.pem
      serves other machines, too, whose users need passwords

Connect with psql -h 127.0.0.1 -U postgres postgres. Clients of this machine need no password; any
other does, unless [[hba]] in the configuration file says otherwise. Stop with Ctrl-C. Logs go to standard error; AUSPEX_LOG=debug tells more.")]
    Serve(ServeArgs),
    /// Run queries and trainings of a coordinator on this machine
    #[command(after_help = "Examples:
  auspex serve --worker-listen 10.0.0.7:5433 --cluster-token-file token --warehouse s3://lake/house
      on one machine: the coordinator, which clients connect to
  auspex worker --coordinator 10.0.0.7:5433 --listen 10.0.0.8:5433 --cluster-token-file token
      on each other machine: it learns the warehouse from the coordinator
  auspex worker --listen 10.0.0.8:5433 --cluster-token-file token
      the same where the coordinator names its workers: auspex serve --workers 10.0.0.8:5433
  auspex worker --coordinator auto --warehouse s3://lake/house --listen 10.0.0.8:5433 --cluster-token-file token
      the same for all coordinators over the warehouse that look for it there: auspex serve --workers auto

All machines must run the same version and reach the same warehouse. SHOW WORKERS on the coordinator lists
them. Stop with SIGTERM: the worker takes no new work and ends with what it runs.")]
    Worker(WorkerArgs),
    /// Run SQL: given as arguments, from a file, from standard input, or typed
    #[command(after_help = "Examples:
  auspex sql                                        type statements
  auspex sql -c \"SELECT * FROM 'penguins.parquet' LIMIT 5\"
  auspex sql -f tour.sql --format csv > rows.csv
  auspex sql --url postgres://postgres@127.0.0.1:5432/postgres -c \"SELECT * FROM ml.models\"

Without --url the engine runs in this process, on the warehouse given, and SQL may read files of
the current folder. The exit status is 1 when a statement failed, 2 when there was no connection.")]
    Sql(SqlArgs),
    /// Walk through the main job on real data: load, train, evaluate, predict
    #[command(
        after_help = "Starts a server on a free port with a temporary warehouse, and runs the tour of
examples/penguins.sql through the wire. Nothing is left behind."
    )]
    Demo(DemoArgs),
    /// Check a warehouse, or remove files that nothing names any more
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Print the version
    Version,
}

#[derive(Debug, Subcommand)]
enum CatalogCommand {
    /// Read the whole catalog and look for every file that it names
    #[command(after_help = "The exit status is 1 if anything is wrong. Servers may run meanwhile.")]
    Check(EngineArgs),
    /// Remove superseded entries of the catalog, files of dropped objects, and what failed statements and lost machines left
    #[command(after_help = "Examples:
  auspex catalog gc --warehouse /data/lake --dry-run
  auspex catalog gc --warehouse s3://lake/house --older-than 30d

Servers may run meanwhile: files younger than the bound stay.")]
    Gc(GcArgs),
}

#[derive(Debug, clap::Args)]
struct GcArgs {
    /// Only files that were last written longer ago than this: 12h, 7d
    #[arg(long, value_name = "AGE", default_value = "7d")]
    older_than: String,

    /// Tell what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, clap::Args)]
struct ServeArgs {
    /// Where to listen: HOST:PORT; port 0 takes a free one [default: 127.0.0.1:5432]
    #[arg(long, value_name = "HOST:PORT", env = "AUSPEX_LISTEN")]
    listen: Option<String>,

    #[command(flatten)]
    server: ServerArgs,

    #[command(flatten)]
    cluster: ClusterArgs,

    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, clap::Args)]
struct WorkerArgs {
    /// The coordinator to join: HOST:PORT of its --worker-listen, or auto for all that look for workers in the --warehouse
    /// [default: one that has this worker in its --workers]
    #[arg(long, value_name = "HOST:PORT|auto", env = "AUSPEX_COORDINATOR")]
    coordinator: Option<String>,

    /// Where to listen: HOST:PORT; port 0 takes a free one [default: 127.0.0.1:5433]
    #[arg(long, value_name = "HOST:PORT", env = "AUSPEX_LISTEN")]
    listen: Option<String>,

    /// Where the other machines reach this one, if that is not where it listens
    #[arg(long, value_name = "HOST:PORT", env = "AUSPEX_ADVERTISE")]
    advertise: Option<String>,

    /// Where to answer /healthz, /readyz and /metrics: HOST:PORT; port 0 takes a free one [default: nowhere]
    #[arg(long, value_name = "HOST:PORT", env = "AUSPEX_HTTP")]
    http: Option<String>,

    /// How the log on standard error is written [default: text]
    #[arg(long, value_enum, env = "AUSPEX_LOG_FORMAT")]
    log_format: Option<LogFormat>,

    /// How long work may go on after SIGTERM or SIGINT [default: 20s]
    #[arg(long, value_name = "DURATION", env = "AUSPEX_SHUTDOWN_TIMEOUT")]
    shutdown_timeout: Option<String>,

    #[command(flatten)]
    token: TokenArgs,

    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, clap::Args)]
struct SqlArgs {
    /// Server to connect to, instead of running the engine here
    #[arg(long, value_name = "URL", env = "AUSPEX_URL",
          conflicts_with_all = ["warehouse", "memory_limit", "threads", "spill_dir", "cache_size", "catalog_refresh_interval", "allow_locations", "config"])]
    url: Option<String>,

    /// Run this SQL; may be given more than once
    #[arg(short, long = "command", value_name = "SQL")]
    commands: Vec<String>,

    /// Run the SQL of this file; - is standard input
    #[arg(short, long, value_name = "FILE", conflicts_with = "commands")]
    file: Option<PathBuf>,

    /// How rows are printed
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,

    /// Go on after a statement failed
    #[arg(long)]
    keep_going: bool,

    #[command(flatten)]
    engine: EngineArgs,
}

#[derive(Debug, clap::Args)]
struct DemoArgs {
    /// Keep the server running at the end, to look around with psql
    #[arg(long)]
    keep: bool,
}

/// Why a command cannot do its work.
#[derive(Debug, thiserror::Error)]
enum CliError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error(transparent)]
    Server(#[from] ServerConfigError),
    #[error(transparent)]
    Cluster(#[from] ClusterConfigError),
    #[error(transparent)]
    Listen(#[from] ListenError),
    #[error(transparent)]
    Engine(#[from] auspex_planner::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot read \"{path}\": {source}")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
    #[error(transparent)]
    Io(#[from] std::io::Error),
    #[error(transparent)]
    Prompt(#[from] rustyline::error::ReadlineError),
}

impl CliError {
    /// More about the cause, as what a store answered.
    fn detail(&self) -> Option<String> {
        match self {
            CliError::Engine(error) => error.report().detail,
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            CliError::Config(error) => error.hint(),
            CliError::Server(error) => error.hint(),
            CliError::Cluster(error) => error.hint(),
            CliError::Listen(error) => Some(error.hint().to_owned()),
            CliError::Engine(error) => error.report().hint,
            CliError::Client(error) => error.hint(),
            _ => None,
        }
    }
}

/// Whether every statement that a command ran succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Success {
    All,
    NotAll,
}

/// Runs the command that the process was started with; `keep_little` makes the allocator keep little of what is freed.
pub fn run(keep_little: fn()) -> ExitCode {
    crate::allocator::install(keep_little);
    let arguments = Arguments::parse();
    // Two providers are linked; without a choice, the first connection would panic. An error means
    // that the choice was made before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let result = match arguments.command {
        Command::Version => print_line(&version()).map(|()| Success::All),
        Command::Serve(args) => on_runtime(serve::serve(args)),
        Command::Worker(args) => on_runtime(worker::worker(args)),
        Command::Sql(args) => on_runtime(sql::sql(args)),
        Command::Demo(args) => on_runtime(demo::demo(args)),
        Command::Catalog(command) => on_runtime(catalog::catalog(command)),
    };
    match result {
        Ok(Success::All) => ExitCode::SUCCESS,
        Ok(Success::NotAll) => ExitCode::from(1),
        // As when the output is piped into `head`: nobody wants the rest.
        Err(CliError::Io(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            let hint = error
                .hint()
                .map(|hint| format!("\nhint: {hint}"))
                .unwrap_or_default();
            let detail = error
                .detail()
                .map(|detail| format!("\ndetail: {detail}"))
                .unwrap_or_default();
            // Standard error may be closed; the exit status tells as well.
            let text = format!("error: {error}{detail}{hint}");
            let _ = writeln!(std::io::stderr(), "{}", without_url_secrets(&text));
            ExitCode::from(2)
        }
    }
}

fn on_runtime(
    command: impl Future<Output = Result<Success, CliError>>,
) -> Result<Success, CliError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .thread_stack_size(STACK_BYTES)
        .enable_all()
        .build()?;
    let result = runtime.block_on(Box::pin(command));
    // A statement that was cancelled may still be winding up on its thread.
    runtime.shutdown_background();
    result
}

fn version() -> String {
    format!("auspex {}", env!("CARGO_PKG_VERSION"))
}

fn print_line(text: &str) -> Result<(), CliError> {
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Sends logs to standard error: what `AUSPEX_LOG` asks for, or ours of `level` and others' errors.
fn start_logging(level: &str, format: LogFormat) {
    const OURS: [&str; 5] = [
        "auspex_server",
        "auspex_planner",
        "auspex_storage",
        "auspex_ml",
        "auspex_gpu",
    ];
    let filter = EnvFilter::try_from_env("AUSPEX_LOG").unwrap_or_else(|_| {
        let ours: Vec<String> = OURS.iter().map(|name| format!("{name}={level}")).collect();
        // What its races end with is told to whoever lost them.
        let races = "deltalake_core::kernel::transaction=off";
        EnvFilter::new(format!("error,{races},{}", ours.join(",")))
    });
    let logging = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    // An error means that logging was started before.
    let _ = match format {
        LogFormat::Text => logging.with_writer(|| LogLines).try_init(),
        LogFormat::Json => logging.event_format(JsonLines).try_init(),
    };
}

/// Opens the engine of a configuration.
async fn open(config: auspex_planner::EngineConfig) -> Result<Arc<Engine>, CliError> {
    Ok(Box::pin(Engine::open(config)).await?)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    /// The names that a command's flags have in the file, and their environment variables.
    fn names(command: &str) -> Vec<(String, Option<String>)> {
        let all = Arguments::command();
        let command = all.find_subcommand(command).unwrap();
        let names = command.get_arguments().filter_map(|argument| {
            let name = match argument.get_long()? {
                "config" | "help" => return None,
                // Given more than once, each time with one.
                "allow-location" => "allow_locations".to_owned(),
                flag => flag.replace('-', "_"),
            };
            let variable = argument.get_env().and_then(|name| name.to_str());
            Some((name, variable.map(ToOwned::to_owned)))
        });
        names.collect()
    }

    #[test]
    fn each_flag_has_a_variable_and_a_name_in_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auspex.toml");
        let shown = path.to_string_lossy().into_owned();
        for command in ["serve", "worker"] {
            let names = names(command);
            assert!(names.len() > 10, "{names:?}");
            for (name, variable) in names {
                let expected = format!("AUSPEX_{}", name.trim_end_matches('s').to_uppercase());
                assert!(variable.unwrap().starts_with(&expected), "{name}");
                // No flag is a table: whoever reads the name says so.
                std::fs::write(&path, format!("{name} = {{}}\n")).unwrap();
                let arguments = ["auspex", command, "--config", &shown];
                let error = match Arguments::try_parse_from(arguments).unwrap().command {
                    Command::Serve(args) => serve::settle(args).err(),
                    Command::Worker(args) => worker::settle(args).err(),
                    _ => None,
                };
                let message = error.map(|error| error.to_string());
                let message = message.unwrap_or_else(|| "the name is not read".to_owned());
                let expected = format!("\"{name}\" in configuration file");
                assert!(
                    message.starts_with(&expected),
                    "{command}, {name}: {message}"
                );
            }
        }
    }
}
