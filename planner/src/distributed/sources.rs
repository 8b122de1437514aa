//! Where a coordinator finds workers that do not join by themselves: a list, names of DNS, and signs beside the catalog; and
//! how a worker shows itself there.
//!
//! In: what `--workers` says; out: addresses, those of the list once, the others again and again. A sign is believed only if
//! its worker proves the cluster's token, or will have to show a certificate, or is on this machine: who may write files of
//! the warehouse shall not be told the token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};
use std::time::Duration;

use auspex_storage::{WORKER_SIGN_INTERVAL, Warehouse, WorkerSign, WorkerSigns};
use tokio_util::sync::CancellationToken;
use url::{Host, Url};

use super::cluster::{Cluster, PING_INTERVAL};
use super::connections::url_of;
use super::error::ClusterError;
use super::node::ClusterToken;
use crate::engine::Engine;
use crate::error::Result;

/// Coordinators and workers that find each other in the warehouse.
pub(super) const AUTO: &str = "auto";

/// How long looking up a name may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// What `--workers` says.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// Workers that are named.
    pub(super) listed: Vec<Url>,
    /// Names that stand for all addresses that they have, and the workers' port.
    names: Vec<(String, u16)>,
    /// Whether those are workers that give signs.
    pub(super) has_signs: bool,
}

impl Sources {
    /// Errors: `Address`.
    pub(super) fn parse(workers: &[String]) -> std::result::Result<Sources, ClusterError> {
        let mut sources = Sources::default();
        for worker in workers {
            match (worker.as_str(), worker.strip_prefix("dns:")) {
                (AUTO, _) => sources.has_signs = true,
                (_, Some(name)) => {
                    let url = url_of(name)?;
                    let host = url.host_str().unwrap_or_default().to_owned();
                    let port = url.port_or_known_default().unwrap_or(80);
                    sources.names.push((host, port));
                }
                (address, None) => sources.listed.push(url_of(address)?),
            }
        }
        Ok(sources)
    }

    /// The addresses that the names have now; none of one that cannot be looked up.
    pub(super) async fn look_up(&self) -> BTreeSet<Url> {
        let mut urls = BTreeSet::new();
        for (name, port) in &self.names {
            let found = tokio::net::lookup_host((name.as_str(), *port));
            // Those who wait for an answer ask no worker meanwhile how it is.
            let Ok(Ok(found)) = tokio::time::timeout(LOOKUP_TIMEOUT, found).await else {
                continue;
            };
            urls.extend(found.filter_map(|address| url_of(&address.to_string()).ok()));
        }
        urls
    }
}

/// The workers whose signs a coordinator sees.
#[derive(Debug)]
pub(super) struct SignedWorkers {
    signs: WorkerSigns,
    interval: Duration,
    token: Option<ClusterToken>,
    /// Whether machines show certificates when they are called.
    has_tls: bool,
    /// Addresses that are not believed, and why.
    refused: BTreeMap<String, String>,
}

impl SignedWorkers {
    /// Those of the engine's warehouse, in which this coordinator has just written `probe`.
    pub(super) async fn of(
        engine: &Engine,
        probe: &str,
        token: Option<ClusterToken>,
        has_tls: bool,
    ) -> Result<SignedWorkers> {
        Ok(SignedWorkers {
            signs: WorkerSigns::watch(Arc::clone(&engine.warehouse), probe).await?,
            interval: engine.catalog.refresh_interval().max(PING_INTERVAL),
            token,
            has_tls,
            refused: BTreeMap::new(),
        })
    }

    /// Tells the cluster which of them give signs, until either ends.
    pub(super) async fn tell(mut self, cluster: Weak<Cluster>, stop: CancellationToken) {
        let mut fails = false;
        loop {
            let looked = tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look() => looked,
            };
            let Some(cluster) = cluster.upgrade() else {
                return;
            };
            match looked {
                Ok(signed) => {
                    fails = false;
                    cluster.expect_signed(&signed);
                }
                // Those that are known stay meanwhile.
                Err(error) => {
                    if !fails {
                        tracing::warn!(%error, "cannot look for signs of workers");
                    }
                    fails = true;
                }
            }
            drop(cluster);
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.interval) => {}
            }
        }
    }

    async fn look(&mut self) -> Result<BTreeSet<Url>> {
        let (mut signed, mut refused) = (BTreeSet::new(), BTreeMap::new());
        for sign in self.signs.look().await? {
            match self.believed(&sign) {
                Ok(url) => {
                    signed.insert(url);
                }
                Err(error) => {
                    refused.insert(sign.address().to_owned(), error.to_string());
                }
            }
        }
        for (worker, reason) in &refused {
            if !self.refused.contains_key(worker) {
                tracing::warn!(worker, reason, "the sign of a worker is not believed");
            }
        }
        self.refused = refused;
        Ok(signed)
    }

    /// Where the worker of a sign is reached. Errors: `Address`, `Stranger`.
    fn believed(&self, sign: &WorkerSign) -> std::result::Result<Url, ClusterError> {
        let url = url_of(sign.address())?;
        let is_believed = match &self.token {
            Some(token) => sign.is_proved_by(token.secret()),
            None => self.has_tls || is_here(&url),
        };
        match is_believed {
            true => Ok(url),
            false => Err(ClusterError::Stranger),
        }
    }
}

fn is_here(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Shows a worker in its warehouse until it leaves.
pub(super) async fn give_signs(
    address: String,
    token: Option<ClusterToken>,
    warehouse: Arc<Warehouse>,
    leaving: CancellationToken,
) {
    let sign = WorkerSign::new(&address, token.as_ref().map(ClusterToken::secret));
    let mut fails = false;
    while !leaving.is_cancelled() {
        let given = sign.give(&warehouse).await;
        if let Err(error) = &given
            && !fails
        {
            tracing::warn!(%error, "cannot give a sign in the warehouse");
        }
        fails = given.is_err();
        tokio::select! {
            () = leaving.cancelled() => {}
            () = tokio::time::sleep(WORKER_SIGN_INTERVAL) => {}
        }
    }
    if let Err(error) = sign.take_back(&warehouse).await {
        // It lapses soon.
        tracing::warn!(%error, "cannot take back the sign in the warehouse");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(workers: &[&str]) -> std::result::Result<Sources, ClusterError> {
        let workers: Vec<String> = workers.iter().map(ToString::to_string).collect();
        Sources::parse(&workers)
    }

    #[test]
    fn each_form_is_read() {
        let all = sources(&["10.0.0.8:5433", "dns:workers:5433", "auto"]).unwrap();
        assert_eq!(all.listed, [url_of("10.0.0.8:5433").unwrap()]);
        assert_eq!(all.names, [("workers".to_owned(), 5433)]);
        assert!(all.has_signs);
        assert!(!sources(&["10.0.0.8:5433"]).unwrap().has_signs);
        for wrong in ["automatic", "dns:workers", ""] {
            assert!(sources(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_this_machine_needs_no_proof() {
        for (address, expected) in [
            ("127.0.0.1:1", true),
            ("127.8.0.1:1", true),
            ("[::1]:1", true),
            ("localhost:1", true),
            ("10.0.0.8:1", false),
            ("[2001:db8::1]:1", false),
            ("localhost.example:1", false),
        ] {
            assert_eq!(is_here(&url_of(address).unwrap()), expected, "{address}");
        }
    }
}
