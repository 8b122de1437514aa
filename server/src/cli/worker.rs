//! `auspex worker`: a machine that executes for a coordinator, until it is told to stop.
//!
//! In: the configuration; out: one line when it listens, logs on standard error. Speaks to other machines of its cluster
//! only, never to clients.

use std::time::Duration;

use auspex_planner::{WorkerConfig, WorkerNode};
use tokio_util::sync::CancellationToken;

use super::serve::stop_signal;
use super::{CliError, Success, WorkerArgs, print_line, start_logging};
use crate::config::{Config, duration};
use crate::config_server::{LogFormat, log_format};
use crate::http::HttpServer;

/// Where a worker listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:5433";
/// How long work may go on at the end unless told otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(20);

/// Runs the worker.
pub(super) async fn worker(args: WorkerArgs) -> Result<Success, CliError> {
    let Settled {
        config,
        http,
        within,
        log_format,
    } = settle(args)?;
    start_logging("info", log_format);
    let node = Box::pin(WorkerNode::start(config)).await?;
    print_line(&format!("worker listening on {}", node.address()))?;
    let draining = CancellationToken::new();
    let http = match http {
        Some(listen) => Some(HttpServer::start(node.watch(), &listen, draining.clone()).await?),
        None => None,
    };
    if let Some(http) = &http {
        tracing::info!(address = %http.address(), "health and metrics");
    }
    let signal = stop_signal().await?;
    draining.cancel();
    tracing::info!(
        signal,
        "stopping: what runs may end, a second signal ends it"
    );
    tokio::select! {
        () = node.drain(within) => {}
        again = stop_signal() => {
            again?;
        }
    }
    Ok(Success::All)
}

/// What the command line and the file say.
pub(super) struct Settled {
    config: WorkerConfig,
    http: Option<String>,
    /// How long work may go on at the end.
    within: Duration,
    log_format: LogFormat,
}

/// Joins the command line and the file.
pub(super) fn settle(args: WorkerArgs) -> Result<Settled, CliError> {
    let is_told = args.engine.warehouse.is_some();
    let Config { engine, file, .. } = Config::resolve(args.engine, None)?;
    let timeout = args.shutdown_timeout.or(file.text("shutdown_timeout")?);
    let listen = args.listen.or(file.text("listen")?);
    Ok(Settled {
        http: args.http.or(file.text("http")?),
        within: timeout.map_or(Ok(DEFAULT_TIMEOUT), |timeout| duration(&timeout))?,
        log_format: log_format(args.log_format, &file)?,
        config: WorkerConfig {
            listen: listen.unwrap_or_else(|| DEFAULT_LISTEN.to_owned()),
            advertise: args.advertise.or(file.text("advertise")?),
            coordinator: args.coordinator.or(file.text("coordinator")?),
            tls: args.token.tls(&file)?,
            token: args.token.resolve(&file)?,
            engine,
            has_warehouse: is_told || file.text("warehouse")?.is_some(),
        },
    })
}
