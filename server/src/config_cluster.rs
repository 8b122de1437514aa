//! What a server is started with as a machine of a cluster: its workers, its own port for them, the shared token and the
//! certificates.
//!
//! In: flags, environment and the configuration file; out: what the engine wants to know of the cluster. The token is read
//! from a file, since flags are seen by others.

use std::path::{Path, PathBuf};

use auspex_planner::{ClusterConfig, ClusterError, ClusterTls, ClusterToken, EngineConfig};
use clap::Args;

use crate::config::{ConfigError, File};

/// Why a machine cannot be part of a cluster as it is asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClusterConfigError {
    /// A flag or the file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The token.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The token's file cannot be read.
    #[error("cannot read the cluster's token from \"{path}\": {source}")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
}

impl ClusterConfigError {
    /// What may help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Cluster(error) => error.hint(),
            Self::Unreadable { .. } => {
                Some("Write one to all machines: openssl rand -hex 32 > token.".to_owned())
            }
        }
    }
}

/// The shared part of all machines of a cluster.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct TokenArgs {
    /// File with a token that all machines of the cluster share; needed beyond 127.0.0.1
    #[arg(long, value_name = "FILE", env = "AUSPEX_CLUSTER_TOKEN_FILE")]
    cluster_token_file: Option<PathBuf>,

    /// Folder with ca.pem, cert.pem and key.pem: the machines of the cluster encrypt, and show certificates to each other
    #[arg(long, value_name = "DIR", env = "AUSPEX_CLUSTER_TLS")]
    cluster_tls: Option<PathBuf>,
}

/// The coordinator's part of a command line.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ClusterArgs {
    /// Workers that run queries and trainings: HOST:PORT, dns:NAME:PORT for all addresses of a name, or auto for those
    /// that show themselves in the warehouse
    #[arg(
        long,
        value_name = "HOST:PORT|auto",
        env = "AUSPEX_WORKERS",
        value_delimiter = ','
    )]
    workers: Vec<String>,

    /// Where workers may join: HOST:PORT [default: nowhere]
    #[arg(long, value_name = "HOST:PORT", env = "AUSPEX_WORKER_LISTEN")]
    worker_listen: Option<String>,

    #[command(flatten)]
    token: TokenArgs,
}

impl TokenArgs {
    /// The certificates, if there are any.
    pub(crate) fn tls(&self, file: &File) -> Result<Option<ClusterTls>, ClusterConfigError> {
        let folder = match &self.cluster_tls {
            Some(folder) => Some(folder.clone()),
            None => file.text("cluster_tls")?.map(PathBuf::from),
        };
        let loaded = folder.map(|folder| ClusterTls::load(&folder));
        Ok(loaded.transpose()?)
    }

    /// The token, if there is one.
    pub(crate) fn resolve(self, file: &File) -> Result<Option<ClusterToken>, ClusterConfigError> {
        let path = match self.cluster_token_file {
            Some(path) => Some(path),
            None => file.text("cluster_token_file")?.map(PathBuf::from),
        };
        path.as_deref().map(read_token).transpose()
    }
}

/// What the flags and the file say of a coordinator's cluster; `None`: it has none.
pub(crate) fn resolve(
    args: ClusterArgs,
    file: &File,
    engine: &EngineConfig,
) -> Result<Option<ClusterConfig>, ClusterConfigError> {
    let workers = match args.workers.is_empty() {
        true => file.texts("workers")?,
        false => args.workers,
    };
    let worker_listen = args.worker_listen.or(file.text("worker_listen")?);
    let tls = args.token.tls(file)?;
    let token = args.token.resolve(file)?;
    if workers.is_empty() && worker_listen.is_none() {
        return Ok(None);
    }
    Ok(Some(ClusterConfig {
        workers,
        worker_listen,
        token,
        tls,
        credential_key: engine.credential_key.clone(),
    }))
}

fn read_token(path: &Path) -> Result<ClusterToken, ClusterConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ClusterConfigError::Unreadable {
        path: path.display().to_string(),
        source,
    })?;
    Ok(ClusterToken::new(&text)?)
}
