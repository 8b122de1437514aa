//! More machines than send their replies to a pass: some merge those of others, and the model stays the same, whoever is
//! lost and whoever does not reach whom.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Mutex, Weak};

use super::*;
use crate::registry;
use crate::training::{train, train_on};

/// The machines that are there, by number.
#[derive(Default)]
struct Network {
    machines: Mutex<BTreeMap<u64, Arc<HostedPartitions>>>,
    n_opened: AtomicU64,
    n_asked: AtomicUsize,
    /// Of those, by other machines.
    n_asked_by_others: AtomicUsize,
    /// The request at which the machine that is asked is lost.
    lost_at: Option<usize>,
    /// Whether machines reach each other.
    is_whole: bool,
    /// One that reaches none.
    cut_off: Option<u64>,
    /// How often a machine did not reach another one.
    n_missed: AtomicUsize,
}

impl Network {
    async fn ask(
        &self,
        machine: u64,
        request: Arc<[u8]>,
    ) -> std::result::Result<Vec<u8>, HostFailure> {
        let lost = || HostFailure::Lost(format!("machine {machine}"));
        let number = self.n_asked.fetch_add(1, Ordering::Relaxed);
        let hosted = self.machines.lock().unwrap().get(&machine).cloned();
        // What it did before it was lost is lost, too.
        let reply = hosted.ok_or_else(lost)?.ask(request).await?;
        if self.lost_at == Some(number) {
            self.machines.lock().unwrap().remove(&machine);
            return Err(lost());
        }
        Ok(reply)
    }
}

/// How a machine reaches others.
struct Peers {
    network: Weak<Network>,
    machine: u64,
}

#[async_trait]
impl HostPeers for Peers {
    async fn ask(
        &self,
        address: &[u8],
        request: Arc<[u8]>,
    ) -> std::result::Result<Vec<u8>, HostFailure> {
        let lost = || HostFailure::Lost("no way".to_owned());
        let network = self.network.upgrade().ok_or_else(lost)?;
        let machine = u64::from_le_bytes(address.try_into().map_err(|_| lost())?);
        network.n_asked_by_others.fetch_add(1, Ordering::Relaxed);
        if !network.is_whole || network.cut_off == Some(self.machine) {
            network.n_missed.fetch_add(1, Ordering::Relaxed);
            return Err(lost());
        }
        network.ask(machine, request).await
    }
}

/// A machine for each partition, of which two send their replies.
struct Machines {
    training: Training,
    network: Arc<Network>,
}

struct Machine {
    number: u64,
    partition: [usize; 1],
    network: Arc<Network>,
}

#[async_trait]
impl HostPool for Machines {
    async fn open(&self, partitions: &[usize]) -> Result<Vec<Arc<dyn PartitionHost>>> {
        let machine = |partition: &usize| -> Result<Arc<dyn PartitionHost>> {
            let number = self.network.n_opened.fetch_add(1, Ordering::Relaxed);
            let hosted = HostedPartitions::open(self.training.request(), &[*partition], quiet())?;
            let hosted = hosted.with_peers(Arc::new(Peers {
                network: Arc::downgrade(&self.network),
                machine: number,
            }));
            let mut machines = self.network.machines.lock().unwrap();
            machines.insert(number, Arc::new(hosted));
            Ok(Arc::new(Machine {
                number,
                partition: [*partition],
                network: Arc::clone(&self.network),
            }))
        };
        partitions.iter().map(machine).collect()
    }

    fn most_replies(&self) -> usize {
        2
    }
}

#[async_trait]
impl PartitionHost for Machine {
    fn partitions(&self) -> &[usize] {
        &self.partition
    }

    fn address(&self) -> Option<Vec<u8>> {
        Some(self.number.to_le_bytes().to_vec())
    }

    async fn ask(&self, request: Arc<[u8]>) -> std::result::Result<Vec<u8>, HostFailure> {
        self.network.ask(self.number, request).await
    }
}

/// A training over seven partitions.
#[derive(Clone)]
struct Training {
    estimator: &'static str,
    options: Value,
    source: Arc<Batches>,
}

impl Training {
    /// Of blocks, and of states.
    fn all() -> [Training; 2] {
        let source = source(columns(7_000, 2), 7, 400);
        let trees = json!({"max_iterations": 2, "max_tree_depth": 3, "early_stop": false});
        let training = |estimator, options| Training {
            estimator,
            options,
            source: Arc::clone(&source),
        };
        [
            training("logistic_reg", json!({"max_iterations": 3})),
            training("boosted_tree_classifier", trees),
        ]
    }

    fn request(&self) -> TrainingRequest {
        let estimator = registry::find(self.estimator).unwrap();
        let written = self.options.as_object().unwrap();
        TrainingRequest {
            estimator,
            options: Options::check(estimator.spec(), written).unwrap().0,
            ..request(&CLASSIFIER, Arc::clone(&self.source), json!({}))
        }
    }

    /// The parameters that one machine learns.
    async fn expected(&self) -> Vec<u8> {
        let model = train(self.request(), &quiet()).await.unwrap();
        model.to_parts().unwrap().1
    }

    /// The parameters that machines learn.
    async fn learned(&self, network: Network) -> (Vec<u8>, Arc<Network>) {
        let network = Arc::new(network);
        let pool = Arc::new(Machines {
            training: self.clone(),
            network: Arc::clone(&network),
        });
        let model = train_on(self.request(), pool, &quiet()).await;
        let model = model.unwrap_or_else(|error| {
            panic!("{}, {:?}: {error}", self.estimator, network.lost_at);
        });
        (model.to_parts().unwrap().1, network)
    }
}

#[tokio::test]
async fn some_machines_merge_for_others() {
    for training in Training::all() {
        let whole = Network {
            is_whole: true,
            ..Network::default()
        };
        let (found, network) = training.learned(whole).await;
        assert_eq!(found, training.expected().await, "{}", training.estimator);
        assert!(network.n_asked_by_others.load(Ordering::Relaxed) > 0);
    }
}

#[tokio::test]
async fn machines_that_do_not_reach_each_other_are_asked_alone() {
    for training in Training::all() {
        let (found, network) = training.learned(Network::default()).await;
        assert_eq!(found, training.expected().await, "{}", training.estimator);
        // Nobody is taken for lost, and nobody is tried a second time: five of the seven were, by the other two.
        assert_eq!(network.n_opened.load(Ordering::Relaxed), 7);
        assert_eq!(network.n_asked_by_others.load(Ordering::Relaxed), 5);
    }
}

/// The first machine merges for three others in the first pass, and for none after it.
#[tokio::test]
async fn a_machine_that_reaches_none_spoils_no_others() {
    for training in Training::all() {
        let one_way = Network {
            is_whole: true,
            cut_off: Some(0),
            ..Network::default()
        };
        let (found, network) = training.learned(one_way).await;
        assert_eq!(found, training.expected().await, "{}", training.estimator);
        assert_eq!(network.n_opened.load(Ordering::Relaxed), 7);
        assert_eq!(network.n_missed.load(Ordering::Relaxed), 3);
        // The others go on merging: in the second pass two ask two each.
        let n_asked = network.n_asked_by_others.load(Ordering::Relaxed);
        assert!(n_asked >= 5 + 4, "{n_asked}");
    }
}

#[tokio::test]
async fn whoever_is_lost_while_replies_are_merged_changes_nothing() {
    for training in Training::all() {
        let expected = training.expected().await;
        let network = |lost_at| Network {
            is_whole: true,
            lost_at,
            ..Network::default()
        };
        let (_, whole) = training.learned(network(None)).await;
        let n_asked = whole.n_asked.load(Ordering::Relaxed);
        // Every third request, of coordinator and machines alike.
        for lost_at in (0..n_asked).step_by(3) {
            let (found, network) = training.learned(network(Some(lost_at))).await;
            assert_eq!(found, expected, "{}, lost at {lost_at}", training.estimator);
            assert!(network.n_opened.load(Ordering::Relaxed) > 7, "{lost_at}");
        }
    }
}
