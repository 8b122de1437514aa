//! Azure Blob Storage and Google Cloud Storage on loopback, for tests that speak to them.
//!
//! In: names of containers; out: what a server needs to reach them, by its environment or by a credential. Azure's is Azurite,
//! which `AUSPEX_TEST_AZURITE` names; Google's is `tests/python/gcs_server.py`. What a test lacks it prints, and counts as
//! skipped. They end with the test.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::needed::given;
use crate::{python, root, run_python};

/// The account that every emulator of Azure has, and its key, as Microsoft's pages name them.
const ACCOUNT: &str = "devstoreaccount1";
const ACCOUNT_KEY: &str =
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A running emulator of a store.
pub struct Emulator {
    child: Child,
    /// What a server reads of its environment.
    pub environment: Vec<(&'static str, String)>,
    /// The type and the endpoint of a credential.
    pub endpoint: String,
    /// The secret options of a credential that may do everything.
    pub secret: String,
    /// The same of one that may read, if the store has such.
    pub reader: Option<String>,
    /// Secret options that the store refuses, and what may not be shown of them.
    pub wrong: (String, String),
}

impl Drop for Emulator {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a program and reads the first line of its output that holds `word`.
#[allow(
    clippy::zombie_processes,
    reason = "who gets it waits for it, and a test that fails here ends"
)]
fn started(command: &mut Command, word: &str) -> (Child, String) {
    let child = command.stdout(Stdio::piped()).spawn();
    let mut child = child.expect("the emulator starts");
    let mut output = BufReader::new(child.stdout.take().expect("standard output is piped"));
    loop {
        let mut line = String::new();
        let n = output.read_line(&mut line).expect("the emulator speaks");
        assert!(n > 0, "the emulator ended before it said {word}");
        if line.contains(word) {
            return (child, line.trim().to_owned());
        }
    }
}

impl Emulator {
    /// Azure Blob Storage with an empty container; `None` where there is none.
    pub fn azure(container: &str) -> Option<Emulator> {
        let program = given(
            "AUSPEX_TEST_AZURITE",
            "Azurite, see tests/emulators/install",
        )?;
        let python = python()?;
        let mut command = Command::new(program);
        command
            .args(["--blobHost", "127.0.0.1", "--blobPort", "0", "--silent"])
            .args(["--inMemoryPersistence", "--disableTelemetry"])
            .current_dir(std::env::temp_dir());
        let (child, line) = started(&mut command, "successfully listens on http://");
        let address = line.rsplit('/').next().unwrap_or_default();
        let token = run_python(&python, "azure_container.py", &[address, container]);
        let endpoint = format!("http://{address}/{ACCOUNT}");
        let other = "aHVzaCBodXNoIGh1c2g=";
        Some(Emulator {
            child,
            environment: vec![
                ("AZURE_STORAGE_ACCOUNT_NAME", ACCOUNT.into()),
                ("AZURE_STORAGE_ACCOUNT_KEY", ACCOUNT_KEY.into()),
                ("AZURE_STORAGE_ENDPOINT", endpoint.clone()),
                ("AZURE_ALLOW_HTTP", "true".into()),
            ],
            endpoint: format!("type = 'azure', account = '{ACCOUNT}', endpoint = '{endpoint}'"),
            secret: format!("key = '{ACCOUNT_KEY}'"),
            reader: Some(format!("sas_token = '{}'", token.trim())),
            wrong: (format!("key = '{other}'"), other.into()),
        })
    }

    /// Google Cloud Storage with an empty bucket, and one that everybody may read; `None` where there is none.
    pub fn google(bucket: &str, public: &str) -> Option<Emulator> {
        let mut command = Command::new(python()?);
        command
            .arg(root().join("tests/python/gcs_server.py"))
            .args([bucket, public]);
        let (child, line) = started(&mut command, "address");
        let told: Value = serde_json::from_str(&line).expect("one line of JSON");
        let text = |name: &str| told[name].as_str().expect("a text").to_owned();
        let endpoint = format!("http://{}", text("address"));
        Some(Emulator {
            child,
            environment: vec![
                ("GOOGLE_SERVICE_ACCOUNT_KEY", text("service_account")),
                ("GOOGLE_BASE_URL", endpoint.clone()),
                ("GOOGLE_ALLOW_HTTP", "true".into()),
            ],
            endpoint: format!("type = 'gcs', endpoint = '{endpoint}'"),
            secret: format!("service_account = '{}'", text("service_account")),
            reader: None,
            wrong: (
                format!("service_account = '{}'", text("other_account")),
                "PRIVATE KEY".into(),
            ),
        })
    }

    /// A statement that makes a credential of the options; `place` is its name and scope.
    pub fn credential(&self, place: &str, secret: &str) -> String {
        format!(
            "CREATE OR REPLACE CREDENTIAL {place} WITH ({}, allow_http = true, {secret})",
            self.endpoint
        )
    }
}
