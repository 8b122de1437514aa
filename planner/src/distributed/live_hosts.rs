//! Which hosts of partitions a coordinator has on which workers.
//!
//! In: hosts as they are opened and end; out: the numbers that a worker is told each time it is asked how it is, so that it
//! forgets the others, also those whose end it did not hear of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use url::Url;

use crate::engine::lock;

/// The hosts of a coordinator.
#[derive(Debug, Default)]
pub(super) struct LiveHosts(Mutex<BTreeMap<Url, BTreeSet<u64>>>);

/// A host that is listed as long as this lives.
pub(super) struct LiveHost {
    hosts: Arc<LiveHosts>,
    worker: Url,
    number: u64,
}

impl LiveHosts {
    /// Lists a host, before its worker is asked to open it.
    pub(super) fn add(self: &Arc<Self>, worker: &Url, number: u64) -> LiveHost {
        let mut hosts = lock(&self.0);
        hosts.entry(worker.clone()).or_default().insert(number);
        LiveHost {
            hosts: Arc::clone(self),
            worker: worker.clone(),
            number,
        }
    }

    /// Those on a worker.
    pub(super) fn on(&self, worker: &Url) -> BTreeSet<u64> {
        lock(&self.0).get(worker).cloned().unwrap_or_default()
    }
}

impl Drop for LiveHost {
    fn drop(&mut self) {
        let mut hosts = lock(&self.hosts.0);
        if let Some(of_worker) = hosts.get_mut(&self.worker) {
            of_worker.remove(&self.number);
            if of_worker.is_empty() {
                hosts.remove(&self.worker);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::connections::url_of;

    #[test]
    fn hosts_are_listed_as_long_as_they_live() {
        let hosts = Arc::<LiveHosts>::default();
        let [a, b] = ["a:1", "b:1"].map(|address| url_of(address).unwrap());
        let (first, second) = (hosts.add(&a, 1), hosts.add(&a, 2));
        let other = hosts.add(&b, 3);
        assert_eq!(hosts.on(&a), BTreeSet::from([1, 2]));
        drop(first);
        assert_eq!(hosts.on(&a), BTreeSet::from([2]));
        drop((second, other));
        assert!(hosts.on(&a).is_empty() && lock(&hosts.0).is_empty());
    }
}
