//! What a server is started with beyond its engine: certificates, rules about clients, limits.
//!
//! In: flags, environment and the configuration file; out: `ServerOptions`. A file that cannot be used is an error before
//! anything is made.

use std::path::PathBuf;

use clap::Args;

use crate::auth::{HbaRule, RuleError, Tls, TlsError, TlsFiles, default_rules};
use crate::config::{ConfigError, File, duration};
use crate::protocol::ServerOptions;

/// Why a server cannot be started as it is asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ServerConfigError {
    /// A flag or the file.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The rules about clients.
    #[error(transparent)]
    Rule(#[from] RuleError),
    /// The certificates.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// A rule asks for what no client can show.
    #[error("a rule of \"hba\" has method \"cert\", but there is no --tls-client-ca")]
    CertificatesUnchecked,
}

impl ServerConfigError {
    /// What may help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint(),
            Self::Rule(_) => Some(
                "Write [[hba]], then type, database, user, address and method, each on a line."
                    .to_owned(),
            ),
            Self::Tls(_) => {
                Some("Give PEM files: --tls-cert cert.pem --tls-key key.pem.".to_owned())
            }
            Self::CertificatesUnchecked => {
                Some("Give the certificates that those of clients are signed with.".to_owned())
            }
        }
    }
}

/// The server's part of a command line.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ServerArgs {
    /// PEM file with the server's certificate; connections may then be encrypted
    #[arg(long, value_name = "FILE", env = "AUSPEX_TLS_CERT")]
    tls_cert: Option<PathBuf>,

    /// PEM file with the key of the certificate
    #[arg(long, value_name = "FILE", env = "AUSPEX_TLS_KEY")]
    tls_key: Option<PathBuf>,

    /// PEM file with the certificates that clients' certificates must be signed with
    #[arg(long, value_name = "FILE", env = "AUSPEX_TLS_CLIENT_CA")]
    tls_client_ca: Option<PathBuf>,

    /// Sessions at a time [default: 1000]
    #[arg(long, value_name = "N", env = "AUSPEX_MAX_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..))]
    max_connections: Option<u32>,

    /// How long a client may take to log in [default: 1min]
    #[arg(long, value_name = "DURATION", env = "AUSPEX_AUTHENTICATION_TIMEOUT")]
    authentication_timeout: Option<String>,

    /// Where to serve /healthz, /readyz and /metrics over HTTP [default: nowhere]
    #[arg(long, value_name = "HOST:PORT", env = "AUSPEX_HTTP")]
    http: Option<String>,

    /// File that a record of each statement, error, log-in and log-out is appended to, as a line of JSON
    #[arg(long, value_name = "FILE", env = "AUSPEX_AUDIT_LOG")]
    audit_log: Option<PathBuf>,

    /// How the log on standard error is written [default: text]
    #[arg(long, value_enum, env = "AUSPEX_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,

    /// How long statements may go on after SIGTERM or SIGINT [default: 20s]
    #[arg(long, value_name = "DURATION", env = "AUSPEX_SHUTDOWN_TIMEOUT")]
    shutdown_timeout: Option<String>,

    /// When the machine of a silent client is asked whether it is there; 0: when the system does [default: 1min]
    #[arg(long, value_name = "DURATION", env = "AUSPEX_TCP_KEEPALIVES_IDLE")]
    tcp_keepalives_idle: Option<String>,

    /// How long what was sent to a client may wait until it reads on; 0: for ever [default: 0]
    #[arg(long, value_name = "DURATION", env = "AUSPEX_TCP_USER_TIMEOUT")]
    tcp_user_timeout: Option<String>,
}

/// How a log is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// What a server is started with beside its engine.
#[derive(Debug)]
pub(crate) struct ServerConfig {
    pub(crate) options: ServerOptions,
    pub(crate) http: Option<String>,
    pub(crate) audit_log: Option<PathBuf>,
}

/// How the log is written, by the command line or the file.
pub(crate) fn log_format(flag: Option<LogFormat>, file: &File) -> Result<LogFormat, ConfigError> {
    Ok(flag.or(file.word("log_format")?).unwrap_or_default())
}

/// Joins the command line and the file.
pub(crate) fn resolve(args: ServerArgs, file: &File) -> Result<ServerConfig, ServerConfigError> {
    let path = |flag: Option<PathBuf>, name: &str| -> Result<Option<PathBuf>, ConfigError> {
        Ok(flag.or(file.text(name)?.map(PathBuf::from)))
    };
    let http = args.http.or(file.text("http")?);
    let audit_log = path(args.audit_log, "audit_log")?;
    let certificate = path(args.tls_cert, "tls_cert")?;
    let key = path(args.tls_key, "tls_key")?;
    let client_ca = path(args.tls_client_ca, "tls_client_ca")?;
    let has_client_ca = client_ca.is_some();
    let tls = match (certificate, key) {
        (Some(certificate), Some(key)) => Some(Tls::load(&TlsFiles {
            certificate,
            key,
            client_ca,
        })?),
        (None, None) if has_client_ca => return Err(TlsError::ClientsOnly.into()),
        (None, None) => None,
        _ => return Err(TlsError::Half.into()),
    };
    let rules = file.rules()?.unwrap_or_else(default_rules);
    if !has_client_ca && rules.iter().any(HbaRule::needs_certificates) {
        return Err(ServerConfigError::CertificatesUnchecked);
    }
    let mut options = ServerOptions {
        rules,
        tls,
        ..ServerOptions::default()
    };
    let max_connections = args.max_connections.and_then(|n| usize::try_from(n).ok());
    if let Some(limit) = max_connections.or(file.count("max_connections")?) {
        options.max_connections = limit;
    }
    let timeout = args
        .authentication_timeout
        .or(file.text("authentication_timeout")?);
    if let Some(timeout) = timeout {
        options.authentication_timeout = duration(&timeout)?;
    }
    if let Some(timeout) = args.shutdown_timeout.or(file.text("shutdown_timeout")?) {
        options.shutdown_timeout = duration(&timeout)?;
    }
    let idle = args
        .tcp_keepalives_idle
        .or(file.text("tcp_keepalives_idle")?);
    if let Some(idle) = idle {
        options.peers.keepalives_idle = duration(&idle)?;
    }
    if let Some(timeout) = args.tcp_user_timeout.or(file.text("tcp_user_timeout")?) {
        options.peers.user_timeout = duration(&timeout)?;
    }
    Ok(ServerConfig {
        options,
        http,
        audit_log,
    })
}
