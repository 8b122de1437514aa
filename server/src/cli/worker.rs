//! `auspex worker`: a machine that executes for a coordinator, until it is told to stop.
//!
//! In: the configuration; out: one line when it listens, logs on standard error. Speaks to other machines of its cluster
//! only, never to clients.

use auspex_planner::{WorkerConfig, WorkerNode};
use tokio_util::sync::CancellationToken;

use super::serve::stop_signal;
use super::{CliError, Success, WorkerArgs, print_line, start_logging};
use crate::config::{Config, duration};
use crate::http::HttpServer;

/// Where a worker listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:5433";

/// Runs the worker.
pub(super) async fn worker(args: WorkerArgs) -> Result<Success, CliError> {
    start_logging("info", args.log_format);
    let is_told = args.engine.warehouse.is_some();
    let within = duration(&args.shutdown_timeout)?;
    let config = Config::resolve(args.engine, None)?;
    let has_warehouse = is_told || config.file.text("warehouse")?.is_some();
    let coordinator = args.coordinator.or(config.file.text("coordinator")?);
    let advertise = args.advertise.or(config.file.text("advertise")?);
    let tls = args.token.tls(&config.file)?;
    let token = args.token.resolve(&config.file)?;
    let config = WorkerConfig {
        listen: args.listen.unwrap_or_else(|| DEFAULT_LISTEN.to_owned()),
        advertise,
        coordinator,
        token,
        tls,
        engine: config.engine,
        has_warehouse,
    };
    let node = Box::pin(WorkerNode::start(config)).await?;
    print_line(&format!("worker listening on {}", node.address()))?;
    let draining = CancellationToken::new();
    let http = match args.http {
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
