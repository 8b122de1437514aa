//! The partitions of a training that one machine of several hosts.
//!
//! In: requests of the coordinator; out: its replies, as [`super::hosting`] says. The machine sees the training's source
//! as if the partitions of others were empty, so that numbers of partitions and chunks, and with them every draw and
//! every sum, are those of a training on one machine. Encoded blocks and states stay here between passes.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::EmptyRecordBatchStream;
use tokio::sync::RwLock;

use super::chunks::ChunkSource;
use super::first_blocks::FirstBlocks;
use super::hosting::{FitReply, HostFailure, HostReply, HostRequest, PartitionHost, SurveyReply};
use super::local::LocalTrainingSet;
use super::merge_tree::{Merge, Subtree};
use super::passes::Workers;
use super::prepare::{FitPartial, FitPass, encoder_fit, fit_pass, survey};
use super::roles::{Roles, chunk_rows};
use super::spill::Spill;
use super::split::{Split, Survey, SurveyKind};
use super::{AnyStep, Part, Visit, from_bytes, to_bytes};
use crate::error::{Error, Result};
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
    /// What it had cost when it last replied.
    told: Mutex<Cost>,
    samples: RwLock<Option<LocalTrainingSet>>,
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
            told: Mutex::default(),
            samples: RwLock::default(),
        })
    }

    /// Answers a request; dropping the future ends the threads that work on it.
    pub async fn answer(&self, request: &[u8]) -> Result<Vec<u8>> {
        let reply = self.reply(from_bytes(request)?).await?;
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
                *self.samples.write().await = Some(samples);
                Ok(Vec::new())
            }
            HostRequest::Reduce {
                name,
                step,
                part,
                visit,
            } => {
                let step = Arc::from(registry::decode_step(&name, &step)?);
                to_bytes(&self.reduce(step, part, visit).await?)
            }
            request => self.answer_of_states(request).await,
        }
    }

    async fn answer_of_states(&self, request: HostRequest) -> Result<Vec<u8>> {
        let samples = self.samples.read().await;
        let samples = samples.as_ref().ok_or_else(unprepared)?;
        match request {
            HostRequest::Start { name, start, part } => {
                let start = registry::decode_start(&name, &start)?;
                samples.start_shared(start, part, &self.run).await?;
            }
            HostRequest::ReduceStates { name, step, part } => {
                let step = registry::decode_state_step(&name, &step)?;
                let reduced = samples.reduce_states_shared(Arc::clone(&step), part, &self.run);
                return step.encode_partial(&reduced.await?);
            }
            _ => samples.drop_states(),
        }
        Ok(Vec::new())
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
        let subtrees = tree.subtrees(&source.n_chunks(), |p| self.has(p), merge)?;
        let mut kept = self
            .first_blocks
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *kept = blocks.and_then(Arc::into_inner);
        Ok(FitReply { subtrees, of_chunk })
    }

    async fn reduce(
        &self,
        step: Arc<dyn AnyStep>,
        part: Part,
        visit: Visit,
    ) -> Result<Vec<Subtree<Vec<u8>>>> {
        let samples = self.samples.read().await;
        let samples = samples.as_ref().ok_or_else(unprepared)?;
        let has = |partition| self.has(partition);
        let reduced = samples.reduce_subtrees(Arc::clone(&step), part, visit, has, &self.run);
        let encode = |partial| step.encode_partial(&partial);
        let subtrees = reduced.await?.into_iter();
        subtrees.map(|subtree| subtree.try_map(encode)).collect()
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
