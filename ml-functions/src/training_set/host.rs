//! The partitions of a training that one machine of several hosts.
//!
//! In: requests of the coordinator; out: its replies, as [`super::hosting`] says. The machine sees the training's source
//! as if the partitions of others were empty, so that numbers of partitions and chunks, and with them every draw and
//! every sum, are those of a training on one machine. Encoded blocks and states stay here between passes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryReservation};
use datafusion::physical_plan::EmptyRecordBatchStream;
use futures::future::join_all;
use serde_bytes::ByteBuf;
use tokio::sync::RwLock;

use super::chunks::ChunkSource;
use super::first_blocks::FirstBlocks;
use super::hosting::{
    FitReply, HostFailure, HostPeers, HostReply, HostRequest, MergedReply, PartitionHost,
    SurveyReply,
};
use super::local::LocalTrainingSet;
use super::merge_tree::{Merge, Subtree};
use super::pass_request::{EncodedVisit, PassRequest, encoded_states, encoded_subtrees};
use super::passes::Workers;
use super::prepare::{FitPartial, FitPass, encoder_fit, fit_pass, survey};
use super::roles::{Roles, chunk_rows};
use super::spill::Spill;
use super::split::{Split, Survey, SurveyKind};
use super::{AnyStep, from_bytes, to_bytes};
use crate::error::{Error, Result};
use crate::features::RowSample;
use crate::registry;
use crate::run::TrainingRun;
use crate::training::{Cost, SampleSource, TrainingRequest};

/// Some partitions of a training on this machine.
pub struct HostedPartitions {
    request: TrainingRequest,
    run: TrainingRun,
    partitions: Vec<usize>,
    owned: BTreeSet<usize>,
    roles: Roles,
    source: Arc<ChunkSource>,
    spill: Arc<Spill>,
    first_blocks: Mutex<Option<FirstBlocks>>,
    /// The rows that the first reading sampled, until it is known which of them count.
    sampled: Mutex<Vec<Subtree<RowSample>>>,
    /// What it had cost when it last replied.
    told: Mutex<Cost>,
    samples: RwLock<Option<LocalTrainingSet>>,
    /// Of the last pass, if it was to be kept.
    kept: Mutex<Option<Arc<Kept>>>,
    peers: Option<Arc<dyn HostPeers>>,
}

/// A pass and the reply to it, which the coordinator or another host fetches.
struct Kept {
    number: u64,
    pass: PassRequest,
    reply: HeldReply,
}

/// A reply to a pass, of which the memory is accounted.
struct HeldReply {
    bytes: Vec<u8>,
    _memory: MemoryReservation,
}

impl HostedPartitions {
    /// Hosts `partitions` of the request's source; reads nothing yet.
    pub fn open(
        request: TrainingRequest,
        partitions: &[usize],
        run: TrainingRun,
    ) -> Result<HostedPartitions> {
        let request = request.measured(&run);
        let roles = Roles::resolve(&request.columns())?;
        let owned: BTreeSet<usize> = partitions.iter().copied().collect();
        let some = SomePartitions {
            source: Arc::clone(&request.source),
            owned: owned.clone(),
        };
        let rows = chunk_rows(roles.all_columns().0.len());
        let source = ChunkSource::new(Arc::new(some), rows, &request.memory);
        Ok(HostedPartitions {
            spill: Arc::new(Spill::new(&request.spill, &run.usage)),
            partitions: partitions.to_vec(),
            request,
            run,
            owned,
            roles,
            source: Arc::new(source),
            first_blocks: Mutex::default(),
            sampled: Mutex::default(),
            told: Mutex::default(),
            samples: RwLock::default(),
            kept: Mutex::default(),
            peers: None,
        })
    }

    /// The same on a machine that reaches the hosts of others.
    pub fn with_peers(self, peers: Arc<dyn HostPeers>) -> HostedPartitions {
        HostedPartitions {
            peers: Some(peers),
            ..self
        }
    }

    /// Answers a request; dropping the future ends the threads that work on it.
    pub async fn answer(&self, request: &[u8]) -> Result<Vec<u8>> {
        let request: HostRequest = from_bytes(request)?;
        if matches!(request, HostRequest::Merge(..)) {
            // It may be for another host, which tells nobody what this one cost: the next reply does.
            let (reply, cost) = (self.reply(request).await?, Cost::default());
            return to_bytes(&HostReply { cost, reply });
        }
        // One pass is asked for at a time: nobody wants the reply to the last one any more.
        *self.lock_kept() = None;
        let reply = self.reply(request).await?;
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let cost = self.run.usage.cost();
        let since = std::mem::replace(&mut *told, cost);
        to_bytes(&HostReply {
            cost: cost.since(&since),
            reply,
        })
    }

    /// Bytes that it keeps in memory.
    pub fn memory_bytes(&self) -> u64 {
        self.run.usage.held_bytes()
    }

    async fn reply(&self, request: HostRequest) -> Result<Vec<u8>> {
        match request {
            HostRequest::Survey(kind) => to_bytes(&self.survey(kind).await?),
            HostRequest::Fit(split) => to_bytes(&self.fit(split).await?),
            HostRequest::Sample(greatest) => to_bytes(&self.sample_up_to(greatest)?),
            HostRequest::Prepare(form) => {
                let blocks = self.first_blocks.lock();
                let blocks = blocks.unwrap_or_else(PoisonError::into_inner).take();
                let samples = LocalTrainingSet::hosted(
                    &self.request,
                    Roles::resolve(&self.request.columns())?,
                    Arc::clone(&self.source),
                    form.prepared()?,
                    (Arc::clone(&self.spill), blocks),
                    &self.run,
                )?;
                self.lock_sampled().clear();
                *self.samples.write().await = Some(samples);
                Ok(Vec::new())
            }
            HostRequest::Pass(pass) => self.pass(&pass).await,
            HostRequest::Keep(number, pass) => {
                let bytes = self.pass(&pass).await?;
                let memory = self.reply_memory();
                // It is there already.
                memory.grow(bytes.len());
                let reply = HeldReply {
                    bytes,
                    _memory: memory,
                };
                let kept = Kept {
                    number,
                    pass,
                    reply,
                };
                *self.lock_kept() = Some(Arc::new(kept));
                Ok(Vec::new())
            }
            HostRequest::Merge(number, addresses) => {
                to_bytes(&self.merged(number, &addresses).await?)
            }
            HostRequest::Start { name, start, part } => {
                let samples = self.samples.read().await;
                let samples = samples.as_ref().ok_or_else(unprepared)?;
                let start = registry::decode_start(&name, &start)?;
                samples.start_shared(start, part, &self.run).await?;
                Ok(Vec::new())
            }
            HostRequest::DropStates => {
                let samples = self.samples.read().await;
                samples.as_ref().ok_or_else(unprepared)?.drop_states();
                Ok(Vec::new())
            }
        }
    }

    async fn pass(&self, pass: &PassRequest) -> Result<Vec<u8>> {
        let samples = self.samples.read().await;
        let samples = samples.as_ref().ok_or_else(unprepared)?;
        match pass {
            PassRequest::Blocks {
                name,
                step,
                part,
                visit,
            } => {
                let step: Arc<dyn AnyStep> = Arc::from(registry::decode_step(name, step)?);
                let has = |partition| self.has(partition);
                let of_pass = Arc::clone(&step);
                let reduced = samples.reduce_subtrees(of_pass, *part, *visit, has, &self.run);
                to_bytes(&encoded_subtrees(step.as_ref(), reduced.await?)?)
            }
            PassRequest::States(visits) => {
                let steps: Result<Vec<_>> = visits.iter().map(EncodedVisit::step).collect();
                let steps = steps?;
                let parts = visits.iter().map(|visit| visit.part);
                let of_pass = parts.zip(steps.iter().cloned()).collect();
                let partials = samples.reduce_states_shared(of_pass, &self.run).await?;
                to_bytes(&encoded_states(&steps, &partials)?)
            }
        }
    }

    /// What it keeps of a pass, merged with what the hosts at `addresses` keep, as far as it reaches them and has the
    /// memory.
    async fn merged(&self, number: u64, addresses: &[ByteBuf]) -> Result<MergedReply> {
        let kept = self.lock_kept().clone();
        let kept = kept.filter(|kept| kept.number == number);
        let kept = kept.ok_or_else(|| Error::Internal {
            what: "a host of partitions was asked for a pass that it does not keep".to_owned(),
        })?;
        let request: Arc<[u8]> = to_bytes(&HostRequest::Merge(number, Vec::new()))?.into();
        let asked = addresses
            .iter()
            .map(|address| self.ask_peer(address, Arc::clone(&request)));
        let (mut fetched, mut missed) = (Vec::new(), Vec::new());
        for (at, reply) in join_all(asked).await.into_iter().enumerate() {
            match reply {
                Some(reply) => fetched.push(reply),
                None => missed.push(at),
            }
        }
        let replies = std::iter::once(&kept.reply).chain(&fetched);
        let replies: Vec<&[u8]> = replies.map(|reply| reply.bytes.as_slice()).collect();
        let reply = match replies.as_slice() {
            [own] => own.to_vec(),
            _ => kept.pass.merged(&replies)?,
        };
        Ok(MergedReply { reply, missed })
    }

    /// What another host keeps; `None` for any failure, of which the coordinator hears when it asks that host itself.
    async fn ask_peer(&self, address: &[u8], request: Arc<[u8]>) -> Option<HeldReply> {
        let reply = self.peers.as_ref()?.ask(address, request).await.ok()?;
        let reply: HostReply = from_bytes(&reply).ok()?;
        let merged: MergedReply = from_bytes(&reply.reply).ok()?;
        let memory = self.reply_memory();
        memory.try_grow(merged.reply.len()).ok()?;
        Some(HeldReply {
            bytes: merged.reply,
            _memory: memory,
        })
    }

    fn reply_memory(&self) -> MemoryReservation {
        MemoryConsumer::new("replies to a pass").register(&self.request.memory)
    }

    fn has(&self, partition: usize) -> bool {
        self.owned.contains(&partition)
    }

    fn workers(&self) -> Workers {
        Workers::new(self.request.threads, &self.run, &Arc::default())
    }

    async fn survey(&self, kind: SurveyKind) -> Result<SurveyReply> {
        let (request, workers) = (&self.request, self.workers());
        let seed = self.run.seed;
        let tree = survey(request, kind, &self.roles, &self.source, &workers, seed).await?;
        tree.subtrees(&self.source.n_chunks(), |p| self.has(p), &Survey::merge)
    }

    async fn fit(&self, split: Split) -> Result<FitReply> {
        let blocks = FirstBlocks::plan(&self.request, &self.roles, &self.spill, &self.run);
        let blocks = blocks.map(|blocks| Arc::new(blocks.without_step()));
        let fit = Arc::new(encoder_fit(&self.request, &self.roles));
        let pass = FitPass {
            fit: Arc::clone(&fit),
            split,
            first_blocks: blocks.clone(),
        };
        let (workers, seed) = (self.workers(), self.run.seed);
        let (source, roles) = (&self.source, &self.roles);
        let (tree, of_chunk) = fit_pass(&self.request, pass, roles, source, &workers, seed).await?;
        let merge: Merge<'_, FitPartial> = &|into, later| into.merge(later, &fit);
        let mut subtrees = tree.subtrees(&source.n_chunks(), |p| self.has(p), merge)?;
        let sampled = |subtree: &mut Subtree<FitPartial>| {
            subtree.take(|partial| partial.encoder.take_sample())
        };
        *self.lock_sampled() = subtrees.iter_mut().map(sampled).collect();
        let mut kept = self
            .first_blocks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = blocks.and_then(Arc::into_inner);
        Ok(FitReply { subtrees, of_chunk })
    }

    /// The rows that the coordinator asks for; it knows the hashes of all.
    fn sample_up_to(&self, greatest: u64) -> Result<Vec<Subtree<RowSample>>> {
        let sampled = std::mem::take(&mut *self.lock_sampled());
        let count = |rows: RowSample| Ok(rows.up_to(greatest));
        let subtrees = sampled.into_iter();
        subtrees.map(|subtree| subtree.try_map(count)).collect()
    }

    fn lock_sampled(&self) -> MutexGuard<'_, Vec<Subtree<RowSample>>> {
        self.sampled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_kept(&self) -> MutexGuard<'_, Option<Arc<Kept>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl PartitionHost for HostedPartitions {
    fn partitions(&self) -> &[usize] {
        &self.partitions
    }

    async fn ask(&self, request: Arc<[u8]>) -> std::result::Result<Vec<u8>, HostFailure> {
        self.answer(&request).await.map_err(HostFailure::Failed)
    }
}

fn unprepared() -> Error {
    Error::Internal {
        what: "a host of partitions was asked for a pass before it was prepared".to_owned(),
    }
}

/// A source whose other partitions are empty.
struct SomePartitions {
    source: Arc<dyn SampleSource>,
    owned: BTreeSet<usize>,
}

impl SomePartitions {
    fn of(
        &self,
        partition: usize,
        open: impl FnOnce() -> datafusion::error::Result<SendableRecordBatchStream>,
        schema: impl FnOnce() -> datafusion::error::Result<SchemaRef>,
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        match self.owned.contains(&partition) {
            true => open(),
            false => Ok(Box::pin(EmptyRecordBatchStream::new(schema()?))),
        }
    }
}

impl SampleSource for SomePartitions {
    fn schema(&self) -> SchemaRef {
        self.source.schema()
    }

    fn n_partitions(&self) -> usize {
        self.source.n_partitions()
    }

    fn open(&self, partition: usize) -> datafusion::error::Result<SendableRecordBatchStream> {
        let schema = || Ok(self.schema());
        self.of(partition, || self.source.open(partition), schema)
    }

    fn open_columns(
        &self,
        partition: usize,
        columns: &[usize],
    ) -> datafusion::error::Result<SendableRecordBatchStream> {
        let schema = || Ok(Arc::new(self.schema().project(columns)?));
        let open = || self.source.open_columns(partition, columns);
        self.of(partition, open, schema)
    }
}
