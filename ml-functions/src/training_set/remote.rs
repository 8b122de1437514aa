//! A training set whose partitions other machines host.
//!
//! In: passes; out: their partials, joined along the tree that one machine would merge along, so that the model is the
//! same to the bit. Holds no sample: of a host that is lost, others take over the partitions, read them again and make
//! their states again by the steps so far.

use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::execution::memory_pool::MemoryPool;
use serde::de::DeserializeOwned;

use super::hosting::{
    FitReply, HostFailure, HostPool, HostReply, HostRequest, PartitionHost, PreparedForm,
    SurveyReply,
};
use super::merge_tree::{Merge, Subtree, join_subtrees};
use super::prepare::{FitPartial, Prepared, encoder_fit, finish};
use super::roles::Roles;
use super::split::{self, Survey};
use super::{
    AnyPartial, AnyStart, AnyStateStep, AnyStep, Part, TrainingSet, Visit, WorkingMemory,
    from_bytes, to_bytes,
};
use crate::error::{Error, Result};
use crate::features::{FeatureBlock, FeatureEncoder, TargetEncoding};
use crate::run::{Progress, TrainingRun};
use crate::training::TrainingRequest;

/// How often one pass may lose hosts: beyond it, something else is wrong.
const MAX_LOSSES: usize = 16;

/// The samples of a training on several machines.
pub struct RemoteTrainingSet {
    hosts: Hosts,
    n_partitions: usize,
    prepared: Prepared,
    memory: Arc<dyn MemoryPool>,
    threads: usize,
}

/// The hosts of all partitions, and how a new one becomes what a lost one was.
struct Hosts {
    pool: Arc<dyn HostPool>,
    /// Also lets one pass run at a time.
    open: tokio::sync::Mutex<Vec<Arc<dyn PartitionHost>>>,
    prepare: Mutex<Option<Arc<[u8]>>>,
    /// The requests that made the states of each part as they are.
    states: Mutex<Vec<(Part, Arc<[u8]>)>>,
}

impl RemoteTrainingSet {
    /// Reads the source on the machines of `pool` as often as the split needs, fits the encoder, and tells `run` of
    /// warnings.
    pub async fn open(
        request: &TrainingRequest,
        pool: Arc<dyn HostPool>,
        run: &TrainingRun,
    ) -> Result<RemoteTrainingSet> {
        let roles = Roles::resolve(&request.columns())?;
        let n_partitions = request.source.n_partitions();
        let all: Vec<usize> = (0..n_partitions).collect();
        let hosts = Hosts {
            open: tokio::sync::Mutex::new(pool.open(&all).await?),
            pool,
            prepare: Mutex::default(),
            states: Mutex::default(),
        };
        let split = match split::plan(request.estimator.spec().task, &request.options) {
            (split, None) => split,
            (_, Some(kind)) => {
                let request_bytes = HostRequest::Survey(kind);
                let replies: Vec<SurveyReply> = hosts.ask_all(&request_bytes, run).await?;
                let subtrees = replies.into_iter().flatten();
                let survey = join_subtrees(subtrees, n_partitions, &Survey::merge)?;
                split::decide(survey, &request.options)
            }
        };
        let fit = encoder_fit(request, &roles);
        let replies: Vec<FitReply> = hosts.ask_all(&HostRequest::Fit(split.clone()), run).await?;
        let (mut subtrees, mut of_chunk) = (Vec::new(), std::collections::BTreeMap::new());
        for reply in replies {
            subtrees.extend(reply.subtrees);
            of_chunk.extend(reply.of_chunk);
        }
        let merge: Merge<'_, FitPartial> = &|into, later| into.merge(later, &fit);
        let partial = join_subtrees(subtrees, n_partitions, merge)?;
        let prepared = finish(partial, &fit, &roles, request, split, of_chunk, run)?;
        let prepare = HostRequest::Prepare(PreparedForm::of(&prepared)?);
        hosts.ask_all_bytes(&prepare, run).await?;
        *hosts.lock_prepare() = Some(to_bytes(&prepare)?.into());
        Ok(RemoteTrainingSet {
            hosts,
            n_partitions,
            prepared,
            memory: Arc::clone(&request.memory),
            threads: request.threads,
        })
    }

    /// Rows without a label, which no part has.
    pub fn n_dropped(&self) -> u64 {
        self.prepared.n_dropped
    }

    /// Gives up what the estimator kept, once it has learned.
    pub async fn drop_states(&self, run: &TrainingRun) -> Result<()> {
        self.hosts.lock_states().clear();
        self.hosts
            .ask_all_bytes(&HostRequest::DropStates, run)
            .await?;
        Ok(())
    }
}

impl Hosts {
    /// Asks every host and reads the replies.
    async fn ask_all<R: DeserializeOwned>(
        &self,
        request: &HostRequest,
        run: &TrainingRun,
    ) -> Result<Vec<R>> {
        let replies = self.ask_all_bytes(request, run).await?;
        replies.iter().map(|reply| from_bytes(reply)).collect()
    }

    /// Asks every host; what is lost is asked of others, so that each partition is in one reply.
    async fn ask_all_bytes(
        &self,
        request: &HostRequest,
        run: &TrainingRun,
    ) -> Result<Vec<Vec<u8>>> {
        let request: Arc<[u8]> = to_bytes(request)?.into();
        let mut open = self.open.lock().await;
        let mut waiting = std::mem::take(&mut *open);
        let mut replies = Vec::new();
        let mut n_losses = 0;
        while !waiting.is_empty() {
            let asked = ask_each(&waiting, &request, run).await?;
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
            run.usage.add_hosted(&costs);
            if lost.is_empty() {
                break;
            }
            waiting = self.replace(lost, &mut n_losses, run).await?;
        }
        Ok(replies)
    }

    /// New hosts of these partitions, in the state that the lost ones were in before the pass.
    async fn replace(
        &self,
        mut lost: Vec<usize>,
        n_losses: &mut usize,
        run: &TrainingRun,
    ) -> Result<Vec<Arc<dyn PartitionHost>>> {
        let prepare = self.lock_prepare().clone();
        let history: Vec<Arc<[u8]>> = prepare
            .into_iter()
            .chain(self.lock_states().iter().map(|(_, made)| Arc::clone(made)))
            .collect();
        let mut replaced = Vec::new();
        while !lost.is_empty() {
            *n_losses += 1;
            if *n_losses > MAX_LOSSES {
                return Err(Error::HostsLost);
            }
            lost.sort_unstable();
            let mut hosts = self.pool.open(&lost).await?;
            lost.clear();
            for request in &history {
                let asked = ask_each(&hosts, request, run).await?;
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

    fn remember(&self, part: Part, request: &HostRequest) -> Result<()> {
        self.lock_states().push((part, to_bytes(request)?.into()));
        Ok(())
    }

    fn lock_prepare(&self) -> std::sync::MutexGuard<'_, Option<Arc<[u8]>>> {
        self.prepare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_states(&self) -> std::sync::MutexGuard<'_, Vec<(Part, Arc<[u8]>)>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks hosts at the same time; `None` of those that are lost. Dropping the futures ends the work of all.
async fn ask_each(
    hosts: &[Arc<dyn PartitionHost>],
    request: &Arc<[u8]>,
    run: &TrainingRun,
) -> Result<Vec<Option<HostReply>>> {
    let asked = hosts.iter().map(|host| {
        let request = Arc::clone(request);
        async move {
            match host.ask(request).await {
                Ok(reply) => Ok(Some(from_bytes(&reply)?)),
                Err(HostFailure::Lost(reason)) => {
                    run.report(Progress::HostLost(reason));
                    Ok(None)
                }
                Err(HostFailure::Failed(error)) => Err(error),
            }
        }
    });
    tokio::select! {
        biased;
        () = run.cancel.cancelled() => Err(Error::Cancelled),
        replies = futures::future::try_join_all(asked) => replies,
    }
}

#[async_trait]
impl TrainingSet for RemoteTrainingSet {
    fn encoder(&self) -> &FeatureEncoder {
        &self.prepared.encoder
    }

    fn target(&self) -> Option<&TargetEncoding> {
        self.prepared.target.as_ref()
    }

    fn sample(&self) -> Option<&[Vec<f64>]> {
        self.prepared.sample.as_deref()
    }

    fn n_samples(&self, part: Part) -> u64 {
        match part {
            Part::Training => self.prepared.n_samples[0],
            Part::Evaluation => self.prepared.n_samples[1],
        }
    }

    async fn reduce_any(
        &self,
        step: &dyn AnyStep,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<AnyPartial>> {
        run.check_cancelled()?;
        if self.n_samples(part) == 0 {
            return Ok(None);
        }
        let request = HostRequest::Reduce {
            name: step.name().to_owned(),
            step: step.encode()?,
            part,
            visit,
        };
        let replies: Vec<Vec<Subtree<Vec<u8>>>> = self.hosts.ask_all(&request, run).await?;
        run.report(Progress::Rows(self.n_samples(part)));
        let decode = |bytes: Vec<u8>| step.decode_partial(&bytes);
        let subtrees: Vec<Subtree<AnyPartial>> = replies
            .into_iter()
            .flatten()
            .map(|subtree| subtree.try_map(decode))
            .collect::<Result<_>>()?;
        let merge: Merge<'_, AnyPartial> = &|into, later| step.merge_any(into, later);
        join_subtrees(subtrees, self.n_partitions, merge)
    }

    async fn start_states(
        &self,
        start: &dyn AnyStart,
        part: Part,
        run: &TrainingRun,
    ) -> Result<()> {
        let request = HostRequest::Start {
            name: start.name().to_owned(),
            start: start.encode()?,
            part,
        };
        // Of an earlier start nothing is left, so that a host that is lost meanwhile needs none of it.
        self.hosts.lock_states().retain(|(of, _)| *of != part);
        self.hosts.ask_all_bytes(&request, run).await?;
        self.hosts.remember(part, &request)
    }

    async fn reduce_states_any(
        &self,
        step: &dyn AnyStateStep,
        part: Part,
        run: &TrainingRun,
    ) -> Result<AnyPartial> {
        run.check_cancelled()?;
        let request = HostRequest::ReduceStates {
            name: step.name().to_owned(),
            step: step.encode()?,
            part,
        };
        let replies = self.hosts.ask_all_bytes(&request, run).await?;
        self.hosts.remember(part, &request)?;
        run.report(Progress::Rows(self.n_samples(part)));
        let mut merged = step.partial_any();
        for reply in replies {
            step.merge_any(&mut merged, step.decode_partial(&reply)?)?;
        }
        Ok(merged)
    }

    async fn gather(&self, _part: Part, _run: &TrainingRun) -> Result<FeatureBlock> {
        Err(Error::Unsupported {
            what: "gathering samples from other machines".to_owned(),
        })
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn working_memory(&self, most_bytes: usize) -> WorkingMemory {
        WorkingMemory::of(&self.memory, most_bytes)
    }

    fn memory_guard(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::new(())
    }
}
