//! A server in a process of its own, for tests of what lies outside of it: stores, disks, several servers.
//!
//! In: a warehouse, flags and variables of the environment; out: clients. It is killed at the end of the test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use tokio_postgres::{Client, NoTls};

use crate::{CREDENTIAL_KEY, binary};

/// A server process.
pub struct ServerProcess {
    child: Child,
    port: u16,
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl ServerProcess {
    /// Starts a server on a free port, which sees what other servers do at once.
    pub fn start(warehouse: &str, flags: &[&str], environment: &[(&str, String)]) -> ServerProcess {
        let mut child = Command::new(binary())
            .args(["serve", "--listen", "127.0.0.1:0", "--warehouse", warehouse])
            .args(["--catalog-refresh-interval", "0"])
            .args(flags)
            .env("AUSPEX_CREDENTIAL_KEY", CREDENTIAL_KEY)
            .envs(environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
        output
            .read_line(&mut line)
            .expect("the server tells its address");
        let port = line
            .split_once("127.0.0.1:")
            .and_then(|(_, rest)| rest.split(';').next()?.parse().ok());
        ServerProcess {
            port: port.unwrap_or_else(|| panic!("the server said {line:?}")),
            child,
        }
    }

    /// A new client.
    pub async fn client(&self) -> Client {
        let config = format!("host=127.0.0.1 port={} user=postgres", self.port);
        let (client, connection) = tokio_postgres::connect(&config, NoTls)
            .await
            .expect("the server accepts");
        tokio::spawn(connection);
        client
    }
}
