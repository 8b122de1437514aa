//! How a server treats its clients.

use std::time::Duration;

use super::dead_peers::PeerLimits;
use crate::auth::{HbaRule, Tls, default_rules};

/// How a server treats its clients.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// How clients prove who they are: the first rule that fits counts.
    pub rules: Vec<HbaRule>,
    /// What connections are encrypted with.
    pub tls: Option<Tls>,
    /// Sessions at a time.
    pub max_connections: usize,
    /// Of these, how many are kept for superusers.
    pub reserved_connections: usize,
    /// How long a client may take to say who it is and to prove it.
    pub authentication_timeout: Duration,
    /// How long statements may go on after the server was told to stop.
    pub shutdown_timeout: Duration,
    /// When the system ends connections by itself.
    pub peers: PeerLimits,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            rules: default_rules(),
            tls: None,
            max_connections: 1000,
            reserved_connections: 3,
            authentication_timeout: Duration::from_secs(60),
            shutdown_timeout: Duration::from_secs(20),
            peers: PeerLimits::default(),
        }
    }
}
