//! The hosts of all partitions of a training.
//!
//! In: requests; out: the replies of all hosts, each partition in one. Of a host that is lost, others take over the
//! partitions, read them again and make their states again by the steps so far. Where there are many hosts, some merge
//! the replies of others to a pass: all keep theirs until the next pass, so that whoever is lost while replies are merged
//! costs its own partitions and nothing else.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::try_join_all;
use serde::de::DeserializeOwned;
use serde_bytes::ByteBuf;

use super::hosting::{HostFailure, HostPool, HostReply, HostRequest, MergedReply, PartitionHost};
use super::pass_request::PassRequest;
use super::{Part, from_bytes, to_bytes};
use crate::error::{Error, Result};
use crate::run::{Progress, TrainingRun};

/// How often one pass may lose hosts: beyond it, something else is wrong.
const MAX_LOSSES: usize = 16;

/// After so many passes it is tried again who reaches whom: a connection may have been cut once.
const FORGET_AFTER: u64 = 100;

/// Hosts that are asked.
type Open = Vec<Arc<dyn PartitionHost>>;

/// The hosts of all partitions, and how a new one becomes what a lost one was.
pub(super) struct Hosts {
    pool: Arc<dyn HostPool>,
    /// Also lets one pass run at a time.
    open: tokio::sync::Mutex<Open>,
    /// What a new host is asked first.
    opening: Mutex<Option<Arc<[u8]>>>,
    /// The requests that made the states of each part as they are.
    states: Mutex<Vec<(Part, Arc<[u8]>)>>,
    /// Numbers the passes that hosts keep.
    n_kept: AtomicU64,
    /// Addresses of hosts that another one did not reach, or that reach none: for some passes nobody waits for that again.
    unreached: Mutex<BTreeSet<Vec<u8>>>,
}

/// Hosts of whose replies the first makes one.
struct Group {
    first: Arc<dyn PartitionHost>,
    others: Open,
}

/// How often a request has lost hosts, and the run that is told.
struct Asking<'a> {
    n_losses: usize,
    run: &'a TrainingRun,
}

impl Hosts {
    /// Opens hosts of as many partitions.
    pub(super) async fn open(pool: Arc<dyn HostPool>, n_partitions: usize) -> Result<Hosts> {
        let all: Vec<usize> = (0..n_partitions).collect();
        Ok(Hosts {
            open: tokio::sync::Mutex::new(pool.open(&all).await?),
            pool,
            opening: Mutex::default(),
            states: Mutex::default(),
            n_kept: AtomicU64::new(0),
            unreached: Mutex::default(),
        })
    }

    /// Asks every host and reads the replies.
    pub(super) async fn ask_all<R: DeserializeOwned>(
        &self,
        request: &HostRequest,
        run: &TrainingRun,
    ) -> Result<Vec<R>> {
        let replies = self.ask_all_bytes(request, run).await?;
        replies.iter().map(|reply| from_bytes(reply)).collect()
    }

    /// Asks every host; what is lost is asked of others, so that each partition is in one reply.
    pub(super) async fn ask_all_bytes(
        &self,
        request: &HostRequest,
        run: &TrainingRun,
    ) -> Result<Vec<Vec<u8>>> {
        let request: Arc<[u8]> = to_bytes(request)?.into();
        let mut open = self.open.lock().await;
        let waiting = std::mem::take(&mut *open);
        let mut asking = Asking { n_losses: 0, run };
        self.ask_these(waiting, &request, &mut open, &mut asking)
            .await
    }

    /// The replies to a pass: of each host, or where there are many, of some that have merged the others'.
    pub(super) async fn pass(&self, pass: PassRequest, run: &TrainingRun) -> Result<Vec<Vec<u8>>> {
        let mut open = self.open.lock().await;
        let mut asking = Asking { n_losses: 0, run };
        let waiting = std::mem::take(&mut *open);
        if waiting.len() <= self.pool.most_replies() {
            let request: Arc<[u8]> = to_bytes(&HostRequest::Pass(pass))?.into();
            return self
                .ask_these(waiting, &request, &mut open, &mut asking)
                .await;
        }
        let number = self.n_kept.fetch_add(1, Ordering::Relaxed);
        if number.is_multiple_of(FORGET_AFTER) {
            self.lock_unreached().clear();
        }
        let keep: Arc<[u8]> = to_bytes(&HostRequest::Keep(number, pass))?.into();
        self.ask_these(waiting, &keep, &mut open, &mut asking)
            .await?;
        self.merged(number, &keep, &mut open, &mut asking).await
    }

    /// What all hosts keep of a pass: at first some merge for the others; whose reply did not come by then is asked for it
    /// alone, and of those that are lost, others run the pass.
    async fn merged(
        &self,
        number: u64,
        keep: &Arc<[u8]>,
        open: &mut Open,
        asking: &mut Asking<'_>,
    ) -> Result<Vec<Vec<u8>>> {
        let mut groups = self.groups(std::mem::take(open));
        let mut replies = Vec::new();
        while !groups.is_empty() {
            let asked = ask_groups(&groups, number, asking.run).await?;
            let mut pairs = groups.iter().zip(&asked);
            let some_reach = pairs.any(|(group, reply)| {
                let reply = reply.as_ref();
                reply.is_some_and(|reply| reply.missed.len() < group.others.len())
            });
            let (mut lost, mut alone) = (Vec::new(), Vec::new());
            for (Group { first, others }, reply) in groups.into_iter().zip(asked) {
                let Some(MergedReply { reply, missed }) = reply else {
                    lost.extend_from_slice(first.partitions());
                    alone.extend(others);
                    continue;
                };
                // Of one that reaches none, while others reach theirs, it is the way out that is cut.
                let is_cut_off = some_reach && missed.len() > 1 && missed.len() == others.len();
                if is_cut_off {
                    self.lock_unreached().extend(first.address());
                }
                replies.push(reply);
                open.push(first);
                for (at, other) in others.into_iter().enumerate() {
                    if missed.contains(&at) {
                        if !is_cut_off {
                            self.lock_unreached().extend(other.address());
                        }
                        alone.push(other);
                    } else {
                        open.push(other);
                    }
                }
            }
            if !lost.is_empty() {
                let new = self.replace(lost, asking).await?;
                self.ask_these(new, keep, &mut alone, asking).await?;
            }
            let of_one = |first| Group {
                first,
                others: Vec::new(),
            };
            groups = alone.into_iter().map(of_one).collect();
        }
        Ok(replies)
    }

    /// Groups of hosts whose partitions are neighbours; those that another host does not reach, or that reach none, are
    /// alone.
    fn groups(&self, mut hosts: Open) -> Vec<Group> {
        hosts.sort_by_key(|host| host.partitions().first().copied());
        let unreached = self.lock_unreached();
        let is_reached = |address: &Vec<u8>| !unreached.contains(address);
        let (reached, alone): (Open, Open) = hosts
            .into_iter()
            .partition(|host| host.address().as_ref().is_some_and(is_reached));
        let n_groups = self.pool.most_replies().max(1);
        let size = reached.len().div_ceil(n_groups).max(1);
        let group = |hosts: &[Arc<dyn PartitionHost>]| {
            let (first, others) = hosts.split_first()?;
            Some(Group {
                first: Arc::clone(first),
                others: others.to_vec(),
            })
        };
        let neighbours = reached.chunks(size).chain(alone.chunks(1));
        neighbours.filter_map(group).collect()
    }

    /// Asks these hosts, and those that take over for them; whoever has replied is open then.
    async fn ask_these(
        &self,
        mut waiting: Open,
        request: &Arc<[u8]>,
        open: &mut Open,
        asking: &mut Asking<'_>,
    ) -> Result<Vec<Vec<u8>>> {
        let mut replies = Vec::new();
        while !waiting.is_empty() {
            let asked = ask_each(&waiting, request, asking.run).await?;
            let (mut lost, mut costs) = (Vec::new(), Vec::new());
            for (host, reply) in waiting.drain(..).zip(asked) {
                match reply {
                    Some(HostReply { cost, reply }) => {
                        costs.push(cost);
                        replies.push(reply);
                        open.push(host);
                    }
                    None => lost.extend_from_slice(host.partitions()),
                }
            }
            asking.run.usage.add_hosted(&costs);
            if lost.is_empty() {
                break;
            }
            waiting = self.replace(lost, asking).await?;
        }
        Ok(replies)
    }

    /// New hosts of these partitions, in the state that the lost ones were in before the pass.
    async fn replace(&self, mut lost: Vec<usize>, asking: &mut Asking<'_>) -> Result<Open> {
        let opening = self.lock_opening().clone();
        let history: Vec<Arc<[u8]>> = opening
            .into_iter()
            .chain(self.lock_states().iter().map(|(_, made)| Arc::clone(made)))
            .collect();
        let mut replaced = Vec::new();
        while !lost.is_empty() {
            asking.n_losses += 1;
            if asking.n_losses > MAX_LOSSES {
                return Err(Error::HostsLost);
            }
            lost.sort_unstable();
            let mut hosts = self.pool.open(&lost).await?;
            lost.clear();
            for request in &history {
                let asked = ask_each(&hosts, request, asking.run).await?;
                let mut alive = Vec::new();
                for (host, reply) in hosts.into_iter().zip(asked) {
                    match reply {
                        Some(_) => alive.push(host),
                        None => lost.extend_from_slice(host.partitions()),
                    }
                }
                hosts = alive;
            }
            replaced.extend(hosts);
        }
        Ok(replaced)
    }

    /// New hosts are asked this first from now on.
    pub(super) fn open_with(&self, request: &HostRequest) -> Result<()> {
        *self.lock_opening() = Some(to_bytes(request)?.into());
        Ok(())
    }

    /// The states of a part are what a request has made of them; new hosts are asked it, too.
    pub(super) fn remember(&self, part: Part, request: &HostRequest) -> Result<()> {
        self.lock_states().push((part, to_bytes(request)?.into()));
        Ok(())
    }

    /// Of the states of a part nothing is left that new hosts need.
    pub(super) fn forget(&self, part: Part) {
        self.lock_states().retain(|(of, _)| *of != part);
    }

    fn lock_opening(&self) -> MutexGuard<'_, Option<Arc<[u8]>>> {
        self.opening.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_unreached(&self) -> MutexGuard<'_, BTreeSet<Vec<u8>>> {
        self.unreached
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_states(&self) -> MutexGuard<'_, Vec<(Part, Arc<[u8]>)>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the first of each group for what all of it keep of a pass; `None` of those that are lost.
async fn ask_groups(
    groups: &[Group],
    number: u64,
    run: &TrainingRun,
) -> Result<Vec<Option<MergedReply>>> {
    let asked = groups.iter().map(|group| ask_group(group, number, run));
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(Error::Cancelled),
        replies = try_join_all(asked) => replies,
    }
}

async fn ask_group(group: &Group, number: u64, run: &TrainingRun) -> Result<Option<MergedReply>> {
    let addresses = group.others.iter().filter_map(|other| other.address());
    let addresses = addresses.map(ByteBuf::from).collect();
    let request = to_bytes(&HostRequest::Merge(number, addresses))?;
    let answer = group.first.ask_kept(request.into()).await;
    let reply = reply_of(answer, run)?;
    reply.map(|reply| from_bytes(&reply.reply)).transpose()
}

/// Asks hosts at the same time; `None` of those that are lost. Dropping the futures ends the work of all.
async fn ask_each(
    hosts: &[Arc<dyn PartitionHost>],
    request: &Arc<[u8]>,
    run: &TrainingRun,
) -> Result<Vec<Option<HostReply>>> {
    let asked = hosts.iter().map(|host| {
        let request = Arc::clone(request);
        async move { reply_of(host.ask(request).await, run) }
    });
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(Error::Cancelled),
        replies = try_join_all(asked) => replies,
    }
}

/// The reply of a host; `None` if it is lost.
fn reply_of(
    answer: std::result::Result<Vec<u8>, HostFailure>,
    run: &TrainingRun,
) -> Result<Option<HostReply>> {
    match answer {
        Ok(reply) => Ok(Some(from_bytes(&reply)?)),
        Err(HostFailure::Lost(reason)) => {
            run.report(Progress::HostLost(reason));
            Ok(None)
        }
        Err(HostFailure::Failed(error)) => Err(error),
    }
}
