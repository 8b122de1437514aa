//! `auspex serve`: a server until it is told to stop.
//!
//! In: the configuration; out: one line when it listens, logs on standard error.

use super::{CliError, ServeArgs, Success, open, print_line, start_logging};
use crate::config::Config;
use crate::protocol::Server;

/// Runs the server.
pub(super) async fn serve(args: ServeArgs) -> Result<Success, CliError> {
    start_logging("info");
    let config = Config::resolve(args.engine, args.listen)?;
    let engine = open(config.engine).await?;
    tracing::info!(warehouse = engine.warehouse_url(), "warehouse opened");
    let server = Server::bind(engine, &config.listen).await?;
    let address = server.address();
    let running = server.start();
    print_line(&format!(
        "listening on {address}; connect with: {}",
        psql(address)
    ))?;
    let signal = stop_signal().await?;
    tracing::info!(signal, "stopping");
    running.stop().await;
    Ok(Success::All)
}

/// The command that connects to a server at an address.
pub(super) fn psql(address: std::net::SocketAddr) -> String {
    format!(
        "psql -h {} -p {} -U postgres postgres",
        address.ip(),
        address.port()
    )
}

/// Waits until the process is asked to end.
pub(super) async fn stop_signal() -> Result<&'static str, CliError> {
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut terminate = signal(SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted.map(|()| "SIGINT")?,
            _ = terminate.recv() => return Ok("SIGTERM"),
        };
    }
    #[cfg(not(unix))]
    tokio::signal::ctrl_c().await?;
    Ok("SIGINT")
}
