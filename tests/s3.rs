//! An S3 server on loopback over a temporary folder, for tests that speak to a real one.
//!
//! In: the names of buckets; out: an address, a key and a secret. The server is the program of `tests/s3_server`, which
//! `AUSPEX_TEST_S3_SERVER` names; without it a test prints what it lacks and counts as skipped. It ends with the test.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::needed::given;

/// The access key that the server takes.
pub const KEY_ID: &str = "AKIAEXAMPLE";
/// Its secret.
pub const SECRET: &str = "hush/hush+secret";

/// A running S3 server.
pub struct S3Server {
    address: String,
    folder: TempDir,
    child: Child,
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl S3Server {
    /// Starts a server with empty buckets; `None` where there is no server to start.
    pub fn start(buckets: &[&str]) -> Option<S3Server> {
        S3Server::start_failing(buckets, 0, 0)
    }

    /// The same of a server that fails: of a thousand requests `rate` meet a fault, which ones the seed decides.
    pub fn start_failing(buckets: &[&str], seed: u64, rate: u64) -> Option<S3Server> {
        let program = given("AUSPEX_TEST_S3_SERVER", "the program of tests/s3_server")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        for bucket in buckets {
            std::fs::create_dir(folder.path().join(bucket)).expect("a folder for a bucket");
        }
        let mut child = Command::new(program)
            .arg(folder.path())
            .args([KEY_ID, SECRET, &seed.to_string(), &rate.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let mut address = String::new();
        let output = child.stdout.take().expect("standard output is piped");
        BufReader::new(output)
            .read_line(&mut address)
            .expect("the server tells its address");
        Some(S3Server {
            address: address.trim().to_owned(),
            folder,
            child,
        })
    }

    /// The URL that clients call their endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The folder that holds a bucket's objects.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
