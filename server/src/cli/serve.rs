//! `auspex serve`: a server until it is told to stop.
//!
//! In: the configuration; out: one line when it listens, logs on standard error.

use std::sync::Arc;

use auspex_planner::{Cluster, ClusterConfig, Engine, generated_password};

use super::{CliError, ServeArgs, Success, open, print_line, start_logging};
use crate::auth::HbaRule;
use crate::config::Config;
use crate::config_cluster;
use crate::config_server::{self, LogFormat, ServerConfig, log_format};
use crate::http::HttpServer;
use crate::protocol::{Listener, Server, ServerOptions};

/// The environment variable that the superuser's password may be given in: flags are seen by others.
const SUPERUSER_PASSWORD: &str = "AUSPEX_SUPERUSER_PASSWORD";

/// Runs the server.
pub(super) async fn serve(args: ServeArgs) -> Result<Success, CliError> {
    // What cannot be used or had is found out before a warehouse is made.
    let Settled {
        mut config,
        server,
        cluster,
        log_format,
    } = settle(args)?;
    start_logging("info", log_format);
    let ServerConfig {
        options,
        http,
        audit_log,
    } = server;
    config.engine.audit_log = audit_log;
    let ssl = if options.tls.is_some() { "on" } else { "off" };
    let shown = [
        ("max_connections", options.max_connections.to_string()),
        ("ssl", ssl.to_owned()),
    ];
    let shown = shown.map(|(name, value)| (name.to_owned(), value));
    config.engine.default_settings.extend(shown);
    let listener = Listener::bind(&config.listen).await?;
    let engine = open(config.engine).await?;
    tracing::info!(warehouse = engine.warehouse_url(), "warehouse opened");
    if !listener.is_loopback() {
        warn_of_strangers(&options);
        give_password(&engine).await?;
    }
    let cluster = match cluster {
        Some(cluster) => Some(Cluster::start(&engine, cluster).await?),
        None => None,
    };
    if let Some(address) = cluster.as_ref().and_then(|cluster| cluster.address()) {
        tracing::info!(%address, "workers may join");
    }
    let server = Server::new(Arc::clone(&engine), listener, options)?;
    let address = server.address();
    let mut running = server.start();
    let http = match http {
        Some(listen) => Some(HttpServer::start(engine, &listen, running.draining()).await?),
        None => None,
    };
    if let Some(http) = &http {
        tracing::info!(address = %http.address(), "health and metrics over HTTP");
    }
    print_line(&format!(
        "listening on {address}; connect with: {}",
        psql(address)
    ))?;
    let signal = stop_signal().await?;
    tracing::info!(
        signal,
        "stopping: statements may end, a second signal cancels them"
    );
    let again = tokio::select! {
        () = running.drain() => false,
        again = stop_signal() => {
            again?;
            true
        }
    };
    if again {
        running.stop().await;
    }
    if let Some(cluster) = cluster {
        cluster.end().await;
    }
    Ok(Success::All)
}

/// What the command line and the file say.
pub(super) struct Settled {
    config: Config,
    server: ServerConfig,
    cluster: Option<ClusterConfig>,
    log_format: LogFormat,
}

/// Joins the command line and the file.
pub(super) fn settle(args: ServeArgs) -> Result<Settled, CliError> {
    let config = Config::resolve(args.engine, args.listen)?;
    Ok(Settled {
        log_format: log_format(args.server.log_format, &config.file)?,
        server: config_server::resolve(args.server, &config.file)?,
        cluster: config_cluster::resolve(args.cluster, &config.file, &config.engine)?,
        config,
    })
}

/// Tells what others may see or do who are not of this machine.
fn warn_of_strangers(options: &ServerOptions) {
    if options.tls.is_none() {
        tracing::warn!("connections are not encrypted: give --tls-cert and --tls-key");
    }
    if options.rules.iter().any(HbaRule::trusts_strangers) {
        tracing::warn!("a rule of \"hba\" lets in other machines without a password");
    }
}

/// The superuser needs a password before other machines reach the server: that of the environment, else a new one that is
/// shown once.
async fn give_password(engine: &Arc<Engine>) -> Result<(), CliError> {
    let given = std::env::var(SUPERUSER_PASSWORD)
        .ok()
        .filter(|text| !text.is_empty());
    match given {
        Some(password) => engine.set_superuser_password(&password).await?,
        None if engine.superuser_has_password() => {}
        None => {
            let password = generated_password().map_err(auspex_planner::Error::from)?;
            engine.set_superuser_password(&password).await?;
            print_line(&format!(
                "password of the superuser postgres, shown only now: {password}"
            ))?;
        }
    }
    Ok(())
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
