//! Signs of workers beside the catalog's log: how coordinators over a warehouse find workers that they were not told of.
//!
//! In: the address of a worker, which gives its sign again and again and takes it back when it ends; out: those whose signs
//! were given lately. What the store says of times is compared with what it said before: no machine's clock counts. Whoever
//! reads the warehouse reads the signs, so that they hold no secret, only a proof that their worker knows one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt as _};
use ring::{digest, hmac};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::error::{Error, Result};
use crate::warehouse::Warehouse;

/// How often a worker is to give its sign.
pub const WORKER_SIGN_INTERVAL: Duration = Duration::from_secs(5);

/// A sign that was not given for so long, three times in a row, is that of a worker that has gone.
const LAPSE: Duration = Duration::from_secs(15);

/// Where signs lie: in the log's folder, which SQL neither reads nor writes, under names that are not the log's.
pub(crate) const SIGNS: &str = "catalog/workers";

/// The newest form of signs.
const FORMAT: u64 = 1;
/// Signs read at once.
const READS_IN_FLIGHT: usize = 16;
/// What a proof is about, so that the same secret's proofs of other things are none.
const PURPOSE: &str = "auspex worker ";

/// What a worker shows of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerSign {
    format: u64,
    address: String,
    /// A code of the address, made with what the machines of a cluster know.
    proof: Option<String>,
}

impl WorkerSign {
    /// The sign of the worker that others reach at `address`, and what it knows.
    pub fn new(address: &str, secret: Option<&[u8]>) -> Self {
        let prove = |secret| hmac::sign(&key(secret), &message(address));
        Self {
            format: FORMAT,
            address: address.into(),
            proof: secret.map(|secret| STANDARD.encode(prove(secret))),
        }
    }

    /// Where its worker is reached.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether its worker knows a secret.
    pub fn is_proved_by(&self, secret: &[u8]) -> bool {
        let proof = self.proof.as_ref();
        let proof = proof.and_then(|proof| STANDARD.decode(proof).ok());
        let message = message(&self.address);
        proof.is_some_and(|proof| hmac::verify(&key(secret), &message, &proof).is_ok())
    }

    /// Shows it; to be called again every [`WORKER_SIGN_INTERVAL`].
    pub async fn give(&self, warehouse: &Warehouse) -> Result<()> {
        let (path, content) = self.file()?;
        warehouse.store().put(&path, content.into()).await?;
        Ok(())
    }

    /// Removes it.
    pub async fn take_back(&self, warehouse: &Warehouse) -> Result<()> {
        match warehouse.store().delete(&self.file()?.0).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Its file, which is named after its content, so that who has read a name once need not read it again.
    fn file(&self) -> Result<(Path, Vec<u8>)> {
        let content = serde_json::to_vec(self).map_err(|error| Error::Internal {
            what: format!("cannot write the sign of a worker: {error}"),
        })?;
        let hash = digest::digest(&digest::SHA256, &content);
        let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
        let name = format!("{}.json", hash.collect::<String>());
        Ok((Path::from(SIGNS).join(name), content))
    }
}

fn key(secret: &[u8]) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret)
}

fn message(address: &str) -> Vec<u8> {
    [PURPOSE.as_bytes(), address.as_bytes()].concat()
}

/// The signs of a warehouse as one coordinator sees them.
#[derive(Debug)]
pub struct WorkerSigns {
    warehouse: Arc<Warehouse>,
    /// When the coordinator started, by the store's clock.
    since: DateTime<Utc>,
    known: BTreeMap<Path, Known>,
}

#[derive(Debug, Clone)]
struct Known {
    /// `None`: it cannot be read.
    sign: Option<WorkerSign>,
    /// When it was given last, by the store's clock.
    given: DateTime<Utc>,
    /// When it was seen first that it had been given then, by a clock that never goes back; `None`: it had lapsed before.
    seen: Option<Instant>,
}

impl WorkerSigns {
    /// The signs for a coordinator that has just written a file of the warehouse, its probe.
    pub async fn watch(warehouse: Arc<Warehouse>, probe: &str) -> Result<Self> {
        let probe = warehouse.store().head(&Path::from(probe)).await?;
        Ok(Self {
            warehouse,
            since: probe.last_modified,
            known: BTreeMap::new(),
        })
    }

    /// The signs that were given lately: one listing, and a read of each that is new.
    pub async fn look(&mut self) -> Result<Vec<WorkerSign>> {
        self.look_at(Instant::now()).await
    }

    async fn look_at(&mut self, now: Instant) -> Result<Vec<WorkerSign>> {
        let files = self.warehouse.store().list(Some(&Path::from(SIGNS)));
        let files: Vec<ObjectMeta> = files.try_collect().await?;
        let before = &*self;
        let looks = futures::stream::iter(files).map(|file| before.look_at_file(file, now));
        let known: Vec<Option<(Path, Known)>> =
            looks.buffered(READS_IN_FLIGHT).try_collect().await?;
        self.known = known.into_iter().flatten().collect();
        let is_fresh = |known: &&Known| {
            let seen = known.seen;
            seen.is_some_and(|seen| now.saturating_duration_since(seen) < LAPSE)
        };
        let fresh = self.known.values().filter(is_fresh);
        Ok(fresh.filter_map(|known| known.sign.clone()).collect())
    }

    /// What is known of a sign now; `None`: it was taken back meanwhile.
    async fn look_at_file(&self, file: ObjectMeta, now: Instant) -> Result<Option<(Path, Known)>> {
        let given = file.last_modified;
        let known = match self.known.get(&file.location) {
            Some(known) if known.given == given => known.clone(),
            Some(known) => Known {
                sign: known.sign.clone(),
                given,
                seen: Some(now),
            },
            None => {
                let Some(content) = self.read(&file.location).await? else {
                    return Ok(None);
                };
                let has_lapsed = (self.since - given).to_std().is_ok_and(|age| age >= LAPSE);
                Known {
                    sign: parse(&file.location, &content),
                    given,
                    seen: (!has_lapsed).then_some(now),
                }
            }
        };
        Ok(Some((file.location, known)))
    }

    async fn read(&self, path: &Path) -> Result<Option<bytes::Bytes>> {
        match self.warehouse.store().get(path).await {
            Ok(found) => Ok(Some(found.bytes().await?)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// The sign in a file; one of a later form is of another version, with which nothing can be done anyway.
fn parse(path: &Path, content: &[u8]) -> Option<WorkerSign> {
    match serde_json::from_slice::<WorkerSign>(content) {
        Ok(sign) if sign.format <= FORMAT => Some(sign),
        Ok(sign) => {
            tracing::warn!(%path, format = sign.format, "the sign of a worker has a later form");
            None
        }
        Err(error) => {
            tracing::warn!(%path, %error, "the sign of a worker cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::SystemTime;

    use super::*;
    use crate::catalog::Catalog;

    struct Fixture {
        dir: tempfile::TempDir,
        warehouse: Arc<Warehouse>,
        signs: WorkerSigns,
    }

    async fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(dir.path().to_str().unwrap()).await.unwrap();
        let (probe, _) = warehouse.write_probe().await.unwrap();
        let signs = WorkerSigns::watch(Arc::clone(&warehouse), &probe).await;
        Fixture {
            dir,
            warehouse,
            signs: signs.unwrap(),
        }
    }

    impl Fixture {
        /// The addresses that are found so long after `start`.
        async fn found(&mut self, start: Instant, after: Duration) -> Vec<String> {
            let found = self.signs.look_at(start + after).await.unwrap();
            let mut found: Vec<String> = found.into_iter().map(|sign| sign.address).collect();
            found.sort();
            found
        }

        fn path(&self, sign: &WorkerSign) -> PathBuf {
            self.dir.path().join(sign.file().unwrap().0.as_ref())
        }

        /// Makes a sign look as if it was given so long after the coordinator's start, or before it.
        fn date(&self, sign: &WorkerSign, after_s: i64) {
            let file = std::fs::File::options().write(true).open(self.path(sign));
            let given = self.signs.since + chrono::TimeDelta::seconds(after_s);
            file.unwrap().set_modified(SystemTime::from(given)).unwrap();
        }
    }

    #[tokio::test]
    async fn workers_are_found_as_long_as_they_give_signs() {
        let mut f = fixture().await;
        let start = Instant::now();
        let s = Duration::from_secs;
        assert_eq!(f.found(start, s(0)).await, Vec::<String>::new());
        let [one, two] = ["10.0.0.8:5433", "[::1]:5433"].map(|at| WorkerSign::new(at, None));
        one.give(&f.warehouse).await.unwrap();
        f.date(&one, 1);
        two.give(&f.warehouse).await.unwrap();
        f.date(&two, 1);
        assert_eq!(f.found(start, s(1)).await, ["10.0.0.8:5433", "[::1]:5433"]);
        // One goes on, the other one is not heard of any more.
        one.give(&f.warehouse).await.unwrap();
        f.date(&one, 6);
        assert_eq!(f.found(start, s(15)).await, ["10.0.0.8:5433", "[::1]:5433"]);
        assert_eq!(f.found(start, s(16)).await, ["10.0.0.8:5433"]);
        // It comes back, and the first one takes its sign back.
        f.date(&two, 30);
        one.take_back(&f.warehouse).await.unwrap();
        one.take_back(&f.warehouse).await.unwrap();
        assert_eq!(f.found(start, s(31)).await, ["[::1]:5433"]);
        one.give(&f.warehouse).await.unwrap();
        f.date(&one, 32);
        assert_eq!(f.found(start, s(32)).await, ["10.0.0.8:5433", "[::1]:5433"]);
    }

    #[tokio::test]
    async fn signs_from_before_the_start_are_as_old_as_the_store_says() {
        let mut f = fixture().await;
        let [late, old] = ["a:1", "b:1"].map(|at| WorkerSign::new(at, None));
        late.give(&f.warehouse).await.unwrap();
        f.date(&late, -14);
        old.give(&f.warehouse).await.unwrap();
        f.date(&old, -15);
        let start = Instant::now();
        assert_eq!(f.found(start, Duration::ZERO).await, ["a:1"]);
        f.date(&old, 1);
        assert_eq!(f.found(start, Duration::from_secs(1)).await, ["a:1", "b:1"]);
    }

    #[tokio::test]
    async fn what_is_no_sign_is_passed_over_and_the_log_stays_whole() {
        let mut f = fixture().await;
        let sign = WorkerSign::new("a:1", None);
        sign.give(&f.warehouse).await.unwrap();
        let folder = f.dir.path().join(SIGNS);
        for (name, content) in [
            ("broken.json", "{"),
            ("later.json", r#"{"format":2,"address":"b:1","proof":null}"#),
        ] {
            std::fs::write(folder.join(name), content).unwrap();
        }
        assert_eq!(f.found(Instant::now(), Duration::ZERO).await, ["a:1"]);
        let catalog = Catalog::open(Arc::clone(&f.warehouse), Duration::ZERO).await;
        assert_eq!(catalog.unwrap().generation(), 0);
    }

    #[tokio::test]
    async fn a_sign_proves_a_secret_and_does_not_tell_it() {
        let f = fixture().await;
        let sign = WorkerSign::new("a:1", Some(b"0123456789abcdef"));
        sign.give(&f.warehouse).await.unwrap();
        let content = std::fs::read_to_string(f.path(&sign)).unwrap();
        assert!(content.contains("a:1") && !content.contains("0123456789abcdef"));
        let read: WorkerSign = serde_json::from_str(&content).unwrap();
        assert!(read.is_proved_by(b"0123456789abcdef"));
        assert!(!read.is_proved_by(b"0123456789abcdeF"));
        let moved = WorkerSign {
            address: "b:1".into(),
            ..read
        };
        assert!(!moved.is_proved_by(b"0123456789abcdef"));
        assert!(!WorkerSign::new("a:1", None).is_proved_by(b"0123456789abcdef"));
    }
}
