//! The samples of a training run on one machine.
//!
//! In: a [`SampleSource`](crate::training::SampleSource); out: passes over its encoded blocks. What one
//! pass can finish is streamed and kept nowhere; what is visited again stays encoded, in memory as far
//! as the pool grants, else on disk.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use datafusion::execution::memory_pool::{
    MemoryConsumer, MemoryLimit, MemoryPool, MemoryReservation,
};

use super::chunks::{ChunkSource, RawChunk, TooLarge};
use super::first_blocks::FirstBlocks;
use super::gathering::copy_block;
use super::merge_tree::{Merge, MergeTree, Subtree};
use super::passes::{Stop, Workers};
use super::prepare::{Prepared, prepare};
use super::roles::{Roles, chunk_rows};
use super::sample_encoder::SampleEncoder;
use super::spill::{BlockStore, Spill, StoredBlocks};
use super::state_store::{self, PartVisit, States};
use super::{
    AnyPartial, AnyStart, AnyStateStep, AnyStep, Part, StateVisit, TrainingSet, Visit,
    WorkingMemory,
};
use crate::error::{Error, Result};
use crate::features::{
    BatchEncoder, ClassCodes, FeatureBlock, FeatureEncoder, Missing, TargetEncoding,
};
use crate::run::{Progress, TrainingRun};
use crate::training::TrainingRequest;

/// An evaluation part up to this size is kept when a pass over the training part meets it, which
/// spares a pass over the source.
const SMALL_EVALUATION_BYTES: u64 = 16 << 20;

/// The samples of one machine.
pub struct LocalTrainingSet {
    shared: Arc<SampleEncoder>,
    memory: Arc<dyn MemoryPool>,
    threads: usize,
    /// One pass at a time, so that two never collect the same blocks.
    one_pass: tokio::sync::Mutex<()>,
    spill: Arc<Spill>,
    stored: Mutex<[Option<Arc<StoredBlocks>>; 2]>,
    first_partial: Mutex<Option<AnyPartial>>,
    states: Mutex<[Option<Arc<States>>; 2]>,
    gathered: Arc<MemoryReservation>,
    phase_rows: Arc<AtomicU64>,
}

/// Takes the block of a chunk, or hears that it has none.
type BlockVisit = dyn Fn((usize, usize), Option<&FeatureBlock>) -> Result<()> + Send + Sync;

fn index(part: Part) -> usize {
    match part {
        Part::Training => 0,
        Part::Evaluation => 1,
    }
}

impl LocalTrainingSet {
    /// Reads the source as often as the split needs, fits the encoder, and tells `run` of warnings.
    pub async fn open(request: &TrainingRequest, run: &TrainingRun) -> Result<LocalTrainingSet> {
        let roles = Roles::resolve(&request.columns())?;
        let n_columns = roles.all_columns().0.len();
        let source = ChunkSource::new(
            Arc::clone(&request.source),
            chunk_rows(n_columns),
            &request.memory,
        );
        let source = Arc::new(source);
        let phase_rows = Arc::new(AtomicU64::new(0));
        let workers = Workers::new(request.threads, run, &phase_rows);
        let spill = Arc::new(Spill::new(&request.spill, &run.usage));
        let first_blocks = FirstBlocks::plan(request, &roles, &spill, run).map(Arc::new);
        let reading = prepare(
            request,
            &roles,
            &source,
            &workers,
            first_blocks.as_ref(),
            run,
        );
        let prepared = Box::pin(reading).await?;
        let (stored, first_partial) = match first_blocks.map(Arc::into_inner) {
            None => ([None, None], None),
            Some(Some(blocks)) => blocks.finish(&prepared, &source.n_chunks())?,
            Some(None) => return Err(blocks_in_use()),
        };
        let samples = LocalTrainingSet {
            first_partial: Mutex::new(first_partial),
            stored: Mutex::new(stored),
            phase_rows,
            ..LocalTrainingSet::of(request, roles, source, prepared, spill, run)
        };
        samples.forget_source_if_stored();
        Ok(samples)
    }

    /// A training set of what the first reading found, wherever it was done; keeps no block yet.
    fn of(
        request: &TrainingRequest,
        roles: Roles,
        source: Arc<ChunkSource>,
        prepared: Prepared,
        spill: Arc<Spill>,
        run: &TrainingRun,
    ) -> LocalTrainingSet {
        let shared = SampleEncoder {
            task: request.estimator.spec().task,
            seed: run.seed,
            encoder: BatchEncoder::new(
                &prepared.encoder,
                Missing::of(&request.estimator.spec().tags),
            ),
            classes: prepared
                .target
                .as_ref()
                .map(ClassCodes::new)
                .unwrap_or_default(),
            roles,
            source,
            prepared,
        };
        let gathered = MemoryConsumer::new("gathered samples").register(&request.memory);
        LocalTrainingSet {
            shared: Arc::new(shared),
            memory: Arc::clone(&request.memory),
            threads: request.threads,
            one_pass: tokio::sync::Mutex::new(()),
            spill,
            stored: Mutex::default(),
            first_partial: Mutex::default(),
            states: Mutex::default(),
            gathered: Arc::new(gathered),
            phase_rows: Arc::default(),
        }
    }

    /// The same over the partitions of one machine of several, with the blocks of their first reading, if
    /// it was done here.
    pub(super) fn hosted(
        request: &TrainingRequest,
        roles: Roles,
        source: Arc<ChunkSource>,
        prepared: Prepared,
        (spill, first_blocks): (Arc<Spill>, Option<FirstBlocks>),
        run: &TrainingRun,
    ) -> Result<LocalTrainingSet> {
        let stored = match first_blocks {
            Some(blocks) => blocks.finish(&prepared, &source.n_chunks())?.0,
            None => [None, None],
        };
        let samples = LocalTrainingSet {
            stored: Mutex::new(stored),
            ..LocalTrainingSet::of(request, roles, source, prepared, spill, run)
        };
        samples.forget_source_if_stored();
        Ok(samples)
    }

    /// Begins a phase: the count of rows starts again.
    pub fn begin_phase(&self, phase: &'static str, run: &TrainingRun) {
        self.phase_rows.store(0, Ordering::Relaxed);
        run.report(Progress::Phase(phase));
    }

    /// Rows without a label, which no part has.
    pub fn n_dropped(&self) -> u64 {
        self.shared.prepared.n_dropped
    }

    /// [`TrainingSet::reduce_any`] with a step that threads can share.
    pub(super) async fn reduce_shared(
        &self,
        step: Arc<dyn AnyStep>,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<AnyPartial>> {
        let Some(tree) = self.merged_chunks(&step, part, visit, run).await? else {
            return Ok(None);
        };
        let merge: Merge<'_, AnyPartial> = &|into, later| step.merge_any(into, later);
        tree.finish(&self.shared.source.n_chunks(), merge)
    }

    /// The same over the partitions that `has` names, as far as they merge here.
    pub(super) async fn reduce_subtrees(
        &self,
        step: Arc<dyn AnyStep>,
        part: Part,
        visit: Visit,
        has: impl Fn(usize) -> bool,
        run: &TrainingRun,
    ) -> Result<Vec<Subtree<AnyPartial>>> {
        let Some(tree) = self.merged_chunks(&step, part, visit, run).await? else {
            return Ok(Vec::new());
        };
        let merge: Merge<'_, AnyPartial> = &|into, later| step.merge_any(into, later);
        tree.subtrees(&self.shared.source.n_chunks(), has, merge)
    }

    /// Runs a step over every block of a part; `None` when the part has no sample.
    async fn merged_chunks(
        &self,
        step: &Arc<dyn AnyStep>,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<Arc<MergeTree<AnyPartial>>>> {
        let tree = Arc::new(MergeTree::<AnyPartial>::new());
        let on_block = {
            let (tree, step, compute) = (Arc::clone(&tree), Arc::clone(step), run.compute.clone());
            move |(partition, chunk): (usize, usize), block: Option<&FeatureBlock>| {
                let visit = |block: &FeatureBlock| {
                    let chunk = chunk_id((partition, chunk));
                    step.run_any(block, &compute.visiting(part, chunk, block))
                };
                let partial = block.map(visit).transpose()?;
                let merge: Merge<'_, AnyPartial> = &|into, later| step.merge_any(into, later);
                tree.insert(partition, chunk, partial, merge)
            }
        };
        let on_block = Arc::new(on_block);
        let has_samples = self.for_each_block(part, visit, run, on_block).await?;
        Ok(has_samples.then_some(tree))
    }

    /// Hands the block of every chunk to `on_block`; false when the part has no sample.
    async fn for_each_block(
        &self,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
        on_block: Arc<BlockVisit>,
    ) -> Result<bool> {
        let _pass = self.one_pass.lock().await;
        run.check_cancelled()?;
        if self.n_samples(part) == 0 {
            return Ok(false);
        }
        let workers = Workers::new(self.threads, run, &self.phase_rows);
        let stored = self.lock_stored()[index(part)].clone();
        match stored {
            Some(stored) => pass_over_stored(stored, &workers, on_block).await?,
            None => {
                self.pass_over_source(part, visit, &workers, on_block)
                    .await?
            }
        }
        Ok(true)
    }

    async fn pass_over_source(
        &self,
        part: Part,
        visit: Visit,
        workers: &Workers,
        on_block: Arc<BlockVisit>,
    ) -> Result<()> {
        let stores = Arc::new(
            self.parts_to_keep(visit)
                .map(|keeps| keeps.then(|| BlockStore::new(&self.memory, &self.spill))),
        );
        let on_chunk = {
            let (shared, stores) = (Arc::clone(&self.shared), Arc::clone(&stores));
            move |chunk: &RawChunk| {
                let wanted = [0, 1].map(|p| p == index(part) || stores[p].is_some());
                let blocks = shared
                    .encode(chunk, wanted)?
                    .map(|block| block.map(Arc::new));
                let position = (chunk.partition, chunk.number);
                for (store, block) in stores.iter().zip(&blocks) {
                    if let Some(store) = store {
                        store.put(position, block.as_ref())?;
                    }
                }
                on_block(position, blocks[index(part)].as_deref())
            }
        };
        let columns = self.shared.roles.all_columns();
        let keep = Some(TooLarge::Continue);
        self.shared
            .source
            .for_each(columns, keep, workers, on_chunk)
            .await?;
        let Some(stores) = Arc::into_inner(stores) else {
            return Err(blocks_in_use());
        };
        let mut stored = self.lock_stored();
        for (slot, store) in stored.iter_mut().zip(stores) {
            if let Some(store) = store {
                *slot = Some(Arc::new(store.complete()));
            }
        }
        drop(stored);
        self.forget_source_if_stored();
        Ok(())
    }

    /// Once every part is stored, nothing reads the source again.
    fn forget_source_if_stored(&self) {
        let stored = self.lock_stored();
        let needs_source = [Part::Training, Part::Evaluation]
            .into_iter()
            .any(|part| self.n_samples(part) > 0 && stored[index(part)].is_none());
        if !needs_source {
            self.shared.source.forget();
        }
    }

    /// Which parts a pass over the source keeps encoded.
    fn parts_to_keep(&self, visit: Visit) -> [bool; 2] {
        let n_evaluation = self.n_samples(Part::Evaluation);
        let is_small = n_evaluation * self.shared.sample_bytes() as u64 <= SMALL_EVALUATION_BYTES;
        let stored = self.lock_stored();
        let wants_evaluation = visit == Visit::Again || is_small;
        [
            visit == Visit::Again && stored[0].is_none(),
            wants_evaluation && n_evaluation > 0 && stored[1].is_none(),
        ]
    }

    /// [`TrainingSet::start_states`] with a start that threads can share.
    pub(super) async fn start_shared(
        &self,
        start: Arc<dyn AnyStart>,
        part: Part,
        run: &TrainingRun,
    ) -> Result<()> {
        self.lock_states()[index(part)] = None;
        self.make_room_for_states()?;
        let n_samples = self.n_samples(part);
        let states = Arc::new(States::new(start, n_samples, &self.memory, &self.spill));
        let on_block = {
            let states = Arc::clone(&states);
            move |position: (usize, usize), block: Option<&FeatureBlock>| match block {
                Some(block) => states.add(chunk_id(position), block),
                None => Ok(()),
            }
        };
        self.for_each_block(part, Visit::Once, run, Arc::new(on_block))
            .await?;
        self.lock_states()[index(part)] = Some(states);
        Ok(())
    }

    /// Moves encoded blocks, which are needed once more at the end, out of the way of states, which
    /// each pass visits, where memory is short.
    fn make_room_for_states(&self) -> Result<()> {
        let n_samples: u64 = self.shared.prepared.n_samples.iter().sum();
        // A state of a byte a feature and some words is smaller than the encoded sample.
        let wanted = n_samples.saturating_mul(self.shared.sample_bytes() as u64);
        if self
            .available_bytes()
            .is_none_or(|bytes| bytes as u64 >= wanted)
        {
            return Ok(());
        }
        for stored in self.lock_stored().iter_mut().flatten() {
            *stored = Arc::new(stored.moved_to_disk()?);
        }
        Ok(())
    }

    /// What the pool could still grant; `None` without a limit.
    fn available_bytes(&self) -> Option<usize> {
        match self.memory.memory_limit() {
            MemoryLimit::Finite(limit) => Some(limit.saturating_sub(self.memory.reserved())),
            MemoryLimit::Infinite | MemoryLimit::Unknown => None,
        }
    }

    /// [`TrainingSet::reduce_states_any`] with steps that threads can share.
    pub(super) async fn reduce_states_shared(
        &self,
        steps: Vec<(Part, Arc<dyn AnyStateStep>)>,
        run: &TrainingRun,
    ) -> Result<Vec<AnyPartial>> {
        let _pass = self.one_pass.lock().await;
        run.check_cancelled()?;
        let of_parts = self.lock_states().clone();
        let visit = |(part, step)| PartVisit {
            states: of_parts[index(part)].clone(),
            step,
        };
        let visits = steps.into_iter().map(visit).collect();
        let workers = Workers::new(self.threads, run, &self.phase_rows);
        state_store::reduce(visits, &workers, run.compute.clone()).await
    }

    /// Gives up what the estimator kept, once it has learned.
    pub(crate) fn drop_states(&self) {
        *self.lock_states() = [None, None];
    }

    fn lock_states(&self) -> MutexGuard<'_, [Option<Arc<States>>; 2]> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_stored(&self) -> MutexGuard<'_, [Option<Arc<StoredBlocks>>; 2]> {
        self.stored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Accounts the memory of a gathered block, or says how many rows would fit.
    fn reserve_gathered(&self, n_samples: u64) -> Result<()> {
        let sample_bytes = self.shared.sample_bytes();
        let needed_bytes = usize::try_from(n_samples)
            .ok()
            .and_then(|n_samples| n_samples.checked_mul(sample_bytes))
            .unwrap_or(usize::MAX);
        if self.gathered.try_grow(needed_bytes).is_ok() {
            return Ok(());
        }
        let available_bytes = self.available_bytes().unwrap_or(0);
        Err(Error::OutOfMemory {
            what: format!("holding {n_samples} rows in one place"),
            needed_bytes,
            available_bytes,
            hint: format!(
                "{} rows would fit; train on a sample of the rows, or raise the memory limit.",
                available_bytes / sample_bytes.max(1)
            ),
        })
    }
}

/// A chunk's number among those of all partitions.
fn chunk_id((partition, number): (usize, usize)) -> u64 {
    (partition as u64) << 32 | number as u64
}

fn blocks_in_use() -> Error {
    Error::Internal {
        what: "a pass left its blocks in use".to_owned(),
    }
}

/// Threads take the stored blocks one by one.
async fn pass_over_stored(
    stored: Arc<StoredBlocks>,
    workers: &Workers,
    on_block: Arc<BlockVisit>,
) -> Result<()> {
    workers.usage.add_kept_pass();
    let next = AtomicUsize::new(0);
    let counter = workers.clone();
    let work = move |stop: &Stop| {
        loop {
            stop.check()?;
            let idx = next.fetch_add(1, Ordering::Relaxed);
            if idx >= stored.len() {
                return Ok(());
            }
            let (position, block) = stored.get(idx)?;
            on_block(position, block.as_deref())?;
            counter.count_rows(block.map_or(0, |block| block.n_samples));
        }
    };
    workers.run(work).await
}

#[async_trait]
impl TrainingSet for LocalTrainingSet {
    fn encoder(&self) -> &FeatureEncoder {
        &self.shared.prepared.encoder
    }

    fn target(&self) -> Option<&TargetEncoding> {
        self.shared.prepared.target.as_ref()
    }

    fn sample(&self) -> Option<&[Vec<f64>]> {
        self.shared.prepared.sample.as_deref()
    }

    fn n_samples(&self, part: Part) -> u64 {
        self.shared.prepared.n_samples[index(part)]
    }

    async fn reduce_any(
        &self,
        step: &dyn AnyStep,
        part: Part,
        visit: Visit,
        run: &TrainingRun,
    ) -> Result<Option<AnyPartial>> {
        self.reduce_shared(step.to_owned_step()?, part, visit, run)
            .await
    }

    fn take_first_partial(&self) -> Option<AnyPartial> {
        let mut partial = self
            .first_partial
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        partial.take()
    }

    async fn start_states(
        &self,
        start: &dyn AnyStart,
        part: Part,
        run: &TrainingRun,
    ) -> Result<()> {
        self.start_shared(start.to_owned_start()?, part, run).await
    }

    async fn reduce_states_any(
        &self,
        visits: &[StateVisit<'_>],
        run: &TrainingRun,
    ) -> Result<Vec<AnyPartial>> {
        let owned = |visit: &StateVisit<'_>| Ok((visit.part, visit.step.to_owned_step()?));
        let steps: Result<Vec<_>> = visits.iter().map(owned).collect();
        self.reduce_states_shared(steps?, run).await
    }

    async fn gather(&self, part: Part, run: &TrainingRun) -> Result<FeatureBlock> {
        let n_samples = self.n_samples(part);
        self.reserve_gathered(n_samples)?;
        let mut offsets = BTreeMap::new();
        let mut n_before = 0;
        for (position, n_of_chunk) in &self.shared.prepared.of_chunk {
            offsets.insert(*position, n_before);
            n_before += n_of_chunk[index(part)];
        }
        let whole = Arc::new(Mutex::new(self.shared.zeros(n_before)));
        let on_block = {
            let whole = Arc::clone(&whole);
            move |position: (usize, usize), block: Option<&FeatureBlock>| {
                if let (Some(block), Some(offset)) = (block, offsets.get(&position)) {
                    let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
                    copy_block(&mut whole, *offset, block);
                }
                Ok(())
            }
        };
        self.for_each_block(part, Visit::Once, run, Arc::new(on_block))
            .await?;
        let mut whole = whole.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(std::mem::replace(&mut *whole, self.shared.zeros(0)))
    }

    fn threads(&self) -> usize {
        self.threads
    }

    fn working_memory(&self, most_bytes: usize) -> WorkingMemory {
        WorkingMemory::of(&self.memory, most_bytes)
    }

    fn memory_guard(&self) -> Arc<dyn Any + Send + Sync> {
        Arc::clone(&self.gathered) as Arc<dyn Any + Send + Sync>
    }
}
