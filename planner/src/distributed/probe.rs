//! A coordinator's file in the warehouse, by which workers see that what it calls the warehouse is the same one for them.
//!
//! In: the cluster; out: the file is there and young as long as the cluster is, and gone at its end. What a coordinator
//! that was killed leaves goes by `auspex catalog gc`. The content never passes the wire: a letter that is sealed with it
//! tells those secrets who have read the file, and nobody else, whoever says that he is a worker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use auspex_storage::{CredentialKey, LIFE_SIGN_INTERVAL, Warehouse};
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use crate::engine::SecretText;
use crate::error::Result;

/// How long writing or removing the file may take while others wait.
const TIMEOUT: Duration = Duration::from_secs(5);

/// What letters are sealed for.
const PURPOSE: &str = "auspex letter to workers 1";
/// The name of what credentials are sealed with.
const KEY: &str = "credential_key";

/// What a coordinator tells its workers, sealed with the content of its file.
pub(super) fn sealed(content: &str, credential_key: Option<&SecretText>) -> Result<String> {
    let key = credential_key.map(|key| (KEY.to_owned(), key.0.clone()));
    let secrets: BTreeMap<String, String> = key.into_iter().collect();
    Ok(CredentialKey::new(content)?.seal_in(PURPOSE, &secrets)?)
}

/// What is in a letter: the key of credentials, if there is one; `None`: the file that was read is not the coordinator's.
pub(super) fn opened(content: &str, letter: &str) -> Option<Option<SecretText>> {
    let mut secrets = CredentialKey::new(content).ok()?.open_in(PURPOSE, letter)?;
    Some(secrets.remove(KEY).map(SecretText))
}

impl Cluster {
    /// The coordinator ends: no worker is taken in any more, and none needs to find the warehouse.
    pub async fn end(&self) {
        self.stop.cancel();
        let removal = self.warehouse.remove_probe(&self.probe.0);
        match tokio::time::timeout(TIMEOUT, removal).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "cannot remove the file for workers"),
            Err(_) => tracing::warn!("removing the file for workers takes too long"),
        }
    }

    /// A worker does not find the file: somebody may have removed it.
    pub(super) async fn renew_probe(&self) {
        let renewal = renew(&self.warehouse, &self.probe);
        if tokio::time::timeout(TIMEOUT, renewal).await.is_err() {
            tracing::warn!("writing the file for workers again takes too long");
        }
    }
}

/// Keeps the file young until the cluster ends.
pub(super) async fn keep_young(
    warehouse: Arc<Warehouse>,
    probe: (String, String),
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(LIFE_SIGN_INTERVAL) => {}
        }
        renew(&warehouse, &probe).await;
    }
}

async fn renew(warehouse: &Warehouse, (name, content): &(String, String)) {
    if let Err(error) = warehouse.renew_probe(name, content).await {
        tracing::warn!(%error, "cannot write the file for workers again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_are_opened_by_those_who_have_read_the_file() {
        let content = "0123456789abcdef0123456789abcdef";
        let key = SecretText("a key of credentials, long enough".to_owned());
        let letter = sealed(content, Some(&key)).unwrap();
        assert!(!letter.contains("credentials"), "{letter}");
        let found = opened(content, &letter).unwrap().unwrap();
        assert_eq!(found.0, key.0);
        assert!(opened(&content.replace('0', "1"), &letter).is_none());
        assert!(opened("", &letter).is_none());
        let nothing = sealed(content, None).unwrap();
        assert!(opened(content, &nothing).unwrap().is_none());
    }
}
