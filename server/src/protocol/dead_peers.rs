//! Clients whose machine is gone: when the system ends their connections.
//!
//! In: a client's socket; out: the same, which the system watches. A client that is there but reads nothing is no dead one:
//! only who sets a limit for it ends it, too.

use std::io;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Between questions to a machine that has not answered the last one.
const KEEPALIVES_INTERVAL: Duration = Duration::from_secs(10);
/// So many questions without an answer end a connection.
const KEEPALIVES_COUNT: u32 = 6;

/// When the system ends the connection of a client that does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// After so long without a byte its machine is asked whether it is there. Zero: the system's own time, which may be hours.
    pub keepalives_idle: Duration,
    /// How long what was sent may wait until it is taken, by whatever client. Zero: as long as its machine answers.
    pub user_timeout: Duration,
}

impl Default for PeerLimits {
    fn default() -> PeerLimits {
        PeerLimits {
            keepalives_idle: Duration::from_secs(60),
            user_timeout: Duration::ZERO,
        }
    }
}

impl PeerLimits {
    /// Lets the system watch a client.
    pub(super) fn apply(&self, client: &TcpStream) -> io::Result<()> {
        let socket = SockRef::from(client);
        let keepalive = match self.keepalives_idle.is_zero() {
            true => TcpKeepalive::new(),
            // The system counts in seconds, and takes no zero.
            false => TcpKeepalive::new()
                .with_time(self.keepalives_idle.max(Duration::from_secs(1)))
                .with_interval(KEEPALIVES_INTERVAL)
                .with_retries(KEEPALIVES_COUNT),
        };
        socket.set_tcp_keepalive(&keepalive)?;
        // Other systems have no such limit.
        #[cfg(target_os = "linux")]
        if !self.user_timeout.is_zero() {
            socket.set_tcp_user_timeout(Some(self.user_timeout))?;
        }
        Ok(())
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn watched(limits: PeerLimits) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await;
        let (server, _) = listener.accept().await.unwrap();
        limits.apply(&server).unwrap();
        (server, client.unwrap())
    }

    #[tokio::test]
    async fn machines_that_are_gone_are_found_in_two_minutes() {
        let (server, _client) = watched(PeerLimits::default()).await;
        let socket = SockRef::from(&server);
        assert!(socket.keepalive().unwrap());
        let idle = socket.tcp_keepalive_time().unwrap();
        let interval = socket.tcp_keepalive_interval().unwrap();
        let all = idle + interval * socket.tcp_keepalive_retries().unwrap();
        assert_eq!(all, Duration::from_secs(120));
        // Who reads slowly stays.
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }

    #[tokio::test]
    async fn limits_are_what_was_asked_for() {
        let limits = PeerLimits {
            keepalives_idle: Duration::from_millis(10),
            user_timeout: Duration::from_secs(7),
        };
        let (server, _client) = watched(limits).await;
        let socket = SockRef::from(&server);
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(1));
        assert_eq!(
            socket.tcp_user_timeout().unwrap(),
            Some(Duration::from_secs(7))
        );
    }
}
