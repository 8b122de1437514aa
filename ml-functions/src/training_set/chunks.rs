//! Cuts the rows of each partition into chunks and hands them to the threads of a pass.
//!
//! In: the streams of a [`SampleSource`]; out: [`RawChunk`]s of a fixed number of rows, numbered in the
//! order of the partition, however the rows were batched. Small sources are read once and kept.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use datafusion::arrow::record_batch::RecordBatch;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use super::passes::{Stop, Workers};
use super::roles::Layout;
use crate::error::{Error, Result};
use crate::training::SampleSource;

/// Sources up to this size are kept as read: small beside what a training holds anyway, and it spares
/// most users' queries a second and third run.
const MAX_KEPT_BYTES: usize = 64 << 20;

/// How long an idle thread sleeps before it looks again whether the run was cancelled.
const IDLE_WAIT: Duration = Duration::from_millis(20);

/// Consecutive rows of a partition.
#[derive(Debug, Clone)]
pub(super) struct RawChunk {
    pub(super) partition: usize,
    /// The chunk's number in its partition.
    pub(super) number: usize,
    /// The chunk's first row in its partition.
    pub(super) first_row: u64,
    pub(super) batches: Vec<RecordBatch>,
    pub(super) n_rows: usize,
    pub(super) layout: Layout,
}

/// The rows of a training query, to be read as often as needed.
pub(super) struct ChunkSource {
    source: Arc<dyn SampleSource>,
    chunk_rows: usize,
    kept: Mutex<Kept>,
}

/// What is known of the source from passes over it.
#[derive(Default)]
struct Kept {
    state: KeepState,
    chunks: BTreeMap<(usize, usize), RawChunk>,
    n_bytes: usize,
    reservation: Option<MemoryReservation>,
    /// Rows of each partition, after the first complete pass.
    rows: Option<Vec<u64>>,
}

#[derive(Default, PartialEq, Clone, Copy)]
enum KeepState {
    /// The next pass over all columns tries to keep them.
    #[default]
    Untried,
    Complete,
    TooLarge,
}

/// What a pass does when the source turns out to be too large to be kept.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TooLarge {
    /// Goes on without keeping anything.
    Continue,
    /// Ends, since another pass reads fewer columns.
    Stop,
}

/// How a pass ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PassEnd {
    Complete,
    TooLarge,
}

impl ChunkSource {
    pub(super) fn new(
        source: Arc<dyn SampleSource>,
        chunk_rows: usize,
        memory: &Arc<dyn MemoryPool>,
    ) -> ChunkSource {
        let reservation = MemoryConsumer::new("rows of the training query").register(memory);
        let kept = Kept {
            reservation: Some(reservation),
            ..Kept::default()
        };
        ChunkSource {
            source,
            chunk_rows,
            kept: Mutex::new(kept),
        }
    }

    /// Number of chunks of each partition; known after a complete pass.
    pub(super) fn n_chunks(&self) -> Vec<usize> {
        let rows = self.lock().rows.clone().unwrap_or_default();
        rows.iter()
            .map(|n_rows| n_rows.div_ceil(self.chunk_rows as u64) as usize)
            .collect()
    }

    /// Drops the kept rows; a later pass would read the source again.
    pub(super) fn forget(&self) {
        let mut kept = self.lock();
        kept.give_up();
    }

    /// Hands every chunk of these columns to `visit`, on the workers' threads. `keep` says that these
    /// are all the columns, so that they may be kept.
    pub(super) async fn for_each<V>(
        self: &Arc<Self>,
        (columns, layout): (Vec<usize>, Layout),
        keep: Option<TooLarge>,
        workers: &Workers,
        visit: V,
    ) -> Result<PassEnd>
    where
        V: Fn(&RawChunk) -> Result<()> + Send + Sync + 'static,
    {
        let kept_chunks = {
            let kept = self.lock();
            let is_complete = kept.state == KeepState::Complete && keep.is_some();
            is_complete.then(|| kept.chunks.values().cloned().collect::<VecDeque<_>>())
        };
        let is_kept = kept_chunks.is_some();
        if is_kept {
            workers.usage.add_kept_pass();
        } else {
            workers.usage.add_source_pass();
        }
        let queue = Queue {
            next_partition: 0,
            n_partitions: if is_kept {
                0
            } else {
                self.source.n_partitions()
            },
            chunks: kept_chunks.unwrap_or_default(),
            ..Queue::default()
        };
        let keeps = !is_kept && keep.is_some() && self.lock().state == KeepState::Untried;
        let pass = Arc::new(Pass {
            source: Arc::clone(self),
            columns,
            layout,
            keeps,
            too_large: keep.unwrap_or(TooLarge::Continue),
            queue: Mutex::new(queue),
            ready: Condvar::new(),
            workers: workers.clone(),
            visit,
        });
        let shared = Arc::clone(&pass);
        workers.run(move |stop| shared.work(stop)).await?;
        let mut queue = pass.lock_queue();
        if queue.is_too_large {
            return Ok(PassEnd::TooLarge);
        }
        if !is_kept {
            let rows = std::mem::take(&mut queue.rows);
            drop(queue);
            self.lock().end_pass(rows, pass.keeps)?;
        }
        Ok(PassEnd::Complete)
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Keeps a chunk; says no when there are too many.
    fn keep(&mut self, chunk: &RawChunk) -> bool {
        if self.state == KeepState::TooLarge {
            return false;
        }
        let n_bytes: usize = chunk
            .batches
            .iter()
            .map(RecordBatch::get_array_memory_size)
            .sum();
        let fits = self.n_bytes + n_bytes <= MAX_KEPT_BYTES
            && self
                .reservation
                .as_ref()
                .is_some_and(|memory| memory.try_grow(n_bytes).is_ok());
        if fits {
            self.n_bytes += n_bytes;
            self.chunks
                .insert((chunk.partition, chunk.number), chunk.clone());
        } else {
            self.give_up();
        }
        fits
    }

    fn give_up(&mut self) {
        self.state = KeepState::TooLarge;
        self.chunks.clear();
        self.n_bytes = 0;
        if let Some(memory) = &self.reservation {
            memory.free();
        }
    }

    /// Every pass must have seen the same rows, or blocks and statistics would not belong together.
    fn end_pass(&mut self, rows: BTreeMap<usize, u64>, keeps: bool) -> Result<()> {
        let rows: Vec<u64> = rows.into_values().collect();
        if self.rows.as_ref().is_some_and(|before| *before != rows) {
            return Err(Error::UnstableQuery);
        }
        self.rows = Some(rows);
        if keeps && self.state == KeepState::Untried {
            self.state = KeepState::Complete;
        }
        Ok(())
    }
}

/// One pass over the source.
struct Pass<V> {
    source: Arc<ChunkSource>,
    columns: Vec<usize>,
    layout: Layout,
    keeps: bool,
    too_large: TooLarge,
    queue: Mutex<Queue>,
    ready: Condvar,
    workers: Workers,
    visit: V,
}

/// What is still to do in a pass.
#[derive(Default)]
struct Queue {
    next_partition: usize,
    n_partitions: usize,
    /// Threads that read a partition.
    n_reading: usize,
    /// Threads that have nothing to do.
    n_idle: usize,
    /// Chunks for threads without a partition of their own.
    chunks: VecDeque<RawChunk>,
    rows: BTreeMap<usize, u64>,
    is_too_large: bool,
}

enum Job {
    Chunk(RawChunk),
    Partition(usize),
}

impl<V: Fn(&RawChunk) -> Result<()>> Pass<V> {
    /// A thread reads partitions as long as there are any, then helps the others with their chunks.
    fn work(&self, stop: &Stop) -> Result<()> {
        while let Some(job) = self.next_job(stop)? {
            match job {
                Job::Chunk(chunk) => self.visit(&chunk, stop)?,
                Job::Partition(partition) => {
                    let n_rows = self.read(partition, stop);
                    let mut queue = self.lock_queue();
                    queue.n_reading -= 1;
                    self.ready.notify_all();
                    queue.rows.insert(partition, n_rows?);
                }
            }
        }
        Ok(())
    }

    fn next_job(&self, stop: &Stop) -> Result<Option<Job>> {
        let mut queue = self.lock_queue();
        loop {
            stop.check()?;
            if queue.is_too_large {
                return Ok(None);
            }
            if let Some(chunk) = queue.chunks.pop_front() {
                return Ok(Some(Job::Chunk(chunk)));
            }
            if queue.next_partition < queue.n_partitions {
                queue.next_partition += 1;
                queue.n_reading += 1;
                return Ok(Some(Job::Partition(queue.next_partition - 1)));
            }
            if queue.n_reading == 0 {
                return Ok(None);
            }
            queue.n_idle += 1;
            let waited = self.ready.wait_timeout(queue, IDLE_WAIT);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
            queue.n_idle -= 1;
        }
    }

    /// Reads a partition to its end and returns its number of rows.
    fn read(&self, partition: usize, stop: &Stop) -> Result<u64> {
        let mut stream = self.source.source.open_columns(partition, &self.columns)?;
        let mut chunk = self.empty_chunk(partition, 0, 0);
        while let Some(mut batch) = stop.next_batch(&mut stream)? {
            while batch.num_rows() > 0 {
                let n_taken = batch.num_rows().min(self.source.chunk_rows - chunk.n_rows);
                let rest = batch.slice(n_taken, batch.num_rows() - n_taken);
                chunk.batches.push(if rest.num_rows() == 0 {
                    batch
                } else {
                    batch.slice(0, n_taken)
                });
                chunk.n_rows += n_taken;
                batch = rest;
                if chunk.n_rows == self.source.chunk_rows {
                    let next_row = chunk.first_row + chunk.n_rows as u64;
                    let next = self.empty_chunk(partition, chunk.number + 1, next_row);
                    self.hand_on(std::mem::replace(&mut chunk, next), stop)?;
                }
                if self.lock_queue().is_too_large {
                    return Ok(0);
                }
            }
        }
        let n_rows = chunk.first_row + chunk.n_rows as u64;
        if chunk.n_rows > 0 {
            self.hand_on(chunk, stop)?;
        }
        Ok(n_rows)
    }

    fn empty_chunk(&self, partition: usize, number: usize, first_row: u64) -> RawChunk {
        let layout = self.layout;
        RawChunk {
            partition,
            number,
            first_row,
            batches: Vec::new(),
            n_rows: 0,
            layout,
        }
    }

    /// Gives a chunk to an idle thread if there is one, else visits it here.
    fn hand_on(&self, chunk: RawChunk, stop: &Stop) -> Result<()> {
        if self.keeps && !self.source.lock().keep(&chunk) && self.too_large == TooLarge::Stop {
            self.lock_queue().is_too_large = true;
            return Ok(());
        }
        let mut queue = self.lock_queue();
        if queue.n_idle > queue.chunks.len() {
            queue.chunks.push_back(chunk);
            self.ready.notify_one();
            return Ok(());
        }
        drop(queue);
        self.visit(&chunk, stop)
    }

    fn visit(&self, chunk: &RawChunk, stop: &Stop) -> Result<()> {
        stop.check()?;
        (self.visit)(chunk)?;
        self.workers.count_rows(chunk.n_rows);
        Ok(())
    }

    fn lock_queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
