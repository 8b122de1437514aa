//! Keeps encoded blocks for later passes: in memory as far as the pool grants, beyond that on disk.
//!
//! In: blocks by partition and chunk; out: the same blocks, to the bit. The file belongs to the
//! machine that wrote it and goes with the training.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::arrow::buffer::{Buffer, MutableBuffer};
use datafusion::arrow::datatypes::{ArrowNativeType, ToByteSlice};
use datafusion::error::DataFusionError;
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::execution::spill_file::{SpillFile, SpillWriter};

use crate::error::{Error, Result};
use crate::features::{Dense, FeatureBlock, TargetValues};
use crate::training::Usage;

/// The blocks of one part, collected in one pass.
pub(super) struct BlockStore {
    memory: MemoryReservation,
    spill: Arc<Spill>,
    slots: Mutex<BTreeMap<(usize, usize), Slot>>,
}

/// What is still to be done to a block, which only the end of the collecting tells.
pub(super) type Completion = dyn Fn(&(usize, usize), &mut FeatureBlock) + Send + Sync;

/// Where a block is.
#[derive(Clone)]
enum Slot {
    /// The chunk has no sample of this part.
    Empty,
    Memory(Arc<FeatureBlock>),
    Disk(SpilledBlock, IsComplete),
}

/// Whether a block was written after its completion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IsComplete {
    Yes,
    No,
}

/// The blocks of one part, complete.
pub(super) struct StoredBlocks {
    /// Keeps the accounting as long as the blocks.
    _memory: MemoryReservation,
    spill: Arc<Spill>,
    slots: Vec<((usize, usize), Slot)>,
    /// For blocks on disk, which were written without it.
    completion: Option<Arc<Completion>>,
}

/// A chunk's number, (partition, chunk), with its block if it has samples.
pub(super) type NumberedBlock = ((usize, usize), Option<Arc<FeatureBlock>>);

impl BlockStore {
    pub(super) fn new(memory: &Arc<dyn MemoryPool>, spill: &Arc<Spill>) -> BlockStore {
        let consumer = MemoryConsumer::new("training samples").with_can_spill(true);
        BlockStore {
            memory: consumer.register(memory),
            spill: Arc::clone(spill),
            slots: Mutex::default(),
        }
    }

    /// Keeps the block of a chunk.
    pub(super) fn put(
        &self,
        chunk: (usize, usize),
        block: Option<&Arc<FeatureBlock>>,
    ) -> Result<()> {
        let slot = match block {
            None => Slot::Empty,
            Some(block) if self.memory.try_grow(block.memory_bytes()).is_ok() => {
                Slot::Memory(Arc::clone(block))
            }
            Some(block) => Slot::Disk(self.spill.write(block)?, IsComplete::No),
        };
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(chunk, slot);
        Ok(())
    }

    /// Ends the collecting.
    pub(super) fn complete(self) -> StoredBlocks {
        let slots = self
            .slots
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        StoredBlocks {
            _memory: self.memory,
            spill: self.spill,
            slots: slots.into_iter().collect(),
            completion: None,
        }
    }

    /// Ends the collecting of blocks that want something done before they are seen.
    pub(super) fn complete_with(self, completion: Arc<Completion>) -> StoredBlocks {
        let mut stored = self.complete();
        for (chunk, slot) in &mut stored.slots {
            if let Slot::Memory(block) = slot {
                completion(chunk, Arc::make_mut(block));
            }
        }
        stored.completion = Some(completion);
        stored
    }
}

impl StoredBlocks {
    /// Number of chunks, with or without samples.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The same blocks without their memory.
    pub(super) fn moved_to_disk(&self) -> Result<StoredBlocks> {
        let moved = self.slots.iter().map(|(chunk, slot)| {
            let slot = match slot {
                Slot::Memory(block) => Slot::Disk(self.spill.write(block)?, IsComplete::Yes),
                other => other.clone(),
            };
            Ok((*chunk, slot))
        });
        Ok(StoredBlocks {
            slots: moved.collect::<Result<_>>()?,
            _memory: self._memory.new_empty(),
            spill: Arc::clone(&self.spill),
            completion: self.completion.clone(),
        })
    }

    /// The chunk with this number among all, and its block.
    pub(super) fn get(&self, idx: usize) -> Result<NumberedBlock> {
        let (chunk, slot) = &self.slots[idx];
        let block = match slot {
            Slot::Empty => None,
            Slot::Memory(block) => Some(Arc::clone(block)),
            Slot::Disk(spilled, is_complete) => {
                let mut block = self.spill.read(spilled)?;
                let completion = self.completion.as_ref();
                if let Some(completion) = completion.filter(|_| *is_complete == IsComplete::No) {
                    completion(chunk, &mut block);
                }
                Some(Arc::new(block))
            }
        };
        Ok((*chunk, block))
    }
}

/// One temporary file, made when the first block needs it.
pub(super) struct Spill {
    disk: Arc<DiskManager>,
    usage: Arc<Usage>,
    file: Mutex<Option<OpenFile>>,
}

struct OpenFile {
    file: Arc<dyn SpillFile>,
    writer: Box<dyn SpillWriter>,
    n_written: u64,
}

/// A block in the file: its vectors one after the other.
#[derive(Debug, Clone)]
struct SpilledBlock {
    offset: u64,
    n_samples: usize,
    n_dense_values: usize,
    is_f32: bool,
    n_code_columns: usize,
    target: TargetKind,
    has_weights: bool,
}

/// A place in the file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Extent {
    pub(super) offset: u64,
    n_bytes: u64,
}

/// Extents are a little larger than what is in them, so that it may grow a little.
const EXTENT_GRAIN: usize = 4096;

#[derive(Debug, Clone, Copy)]
enum TargetKind {
    None,
    Numbers,
    Classes,
}

impl Spill {
    pub(super) fn new(disk: &Arc<DiskManager>, usage: &Arc<Usage>) -> Spill {
        Spill {
            disk: Arc::clone(disk),
            usage: Arc::clone(usage),
            file: Mutex::new(None),
        }
    }

    /// Writes bytes behind everything else.
    pub(super) fn append(&self, bytes: &[u8]) -> Result<Extent> {
        let padding = bytes.len().next_multiple_of(EXTENT_GRAIN) - bytes.len();
        let offset = self.append_all(&[bytes, &[0; EXTENT_GRAIN][..padding]])?;
        Ok(Extent {
            offset,
            n_bytes: (bytes.len() + padding) as u64,
        })
    }

    /// Writes bytes in the place of others if they fit, else behind everything.
    pub(super) fn rewrite(&self, extent: Extent, bytes: &[u8]) -> Result<Extent> {
        if bytes.len() as u64 > extent.n_bytes {
            return self.append(bytes);
        }
        let mut file = self.open(OpenOptions::new().write(true))?;
        file.seek(SeekFrom::Start(extent.offset))
            .and_then(|_| file.write_all(bytes))
            .map_err(|source| Error::Spill { source })?;
        self.usage.add_spilled(bytes.len() as u64);
        Ok(extent)
    }

    /// Writes pieces of bytes one after the other and returns where they begin.
    fn append_all(&self, pieces: &[&[u8]]) -> Result<u64> {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let open = match &mut *guard {
            Some(open) => open,
            None => guard.insert(self.create().map_err(|error| self.spill_error(error))?),
        };
        let offset = open.n_written;
        for piece in pieces {
            if let Err(source) = open.writer.write_all(piece) {
                return Err(self.spill_error(source.into()));
            }
            open.n_written += piece.len() as u64;
        }
        self.usage.add_spilled(open.n_written - offset);
        Ok(offset)
    }

    fn write(&self, block: &FeatureBlock) -> Result<SpilledBlock> {
        let (target, target_bytes) = match &block.target {
            TargetValues::None => (TargetKind::None, [].as_slice()),
            TargetValues::Numbers(values) => (TargetKind::Numbers, values.to_byte_slice()),
            TargetValues::Classes(values) => (TargetKind::Classes, values.to_byte_slice()),
        };
        let (is_f32, n_dense_values, dense_bytes) = match &block.dense {
            Dense::F32(values) => (true, values.len(), values.to_byte_slice()),
            Dense::F64(values) => (false, values.len(), values.to_byte_slice()),
        };
        let weights = block.weights.as_deref().unwrap_or_default().to_byte_slice();
        let mut pieces = vec![dense_bytes];
        pieces.extend(block.codes.iter().map(|codes| codes.to_byte_slice()));
        pieces.extend([target_bytes, weights]);
        Ok(SpilledBlock {
            offset: self.append_all(&pieces)?,
            n_samples: block.n_samples,
            n_dense_values,
            is_f32,
            n_code_columns: block.codes.len(),
            target,
            has_weights: block.weights.is_some(),
        })
    }

    fn create(&self) -> std::result::Result<OpenFile, DataFusionError> {
        let file = self.disk.create_tmp_file("training samples")?;
        let writer = file.open_writer()?;
        Ok(OpenFile {
            file,
            writer,
            n_written: 0,
        })
    }

    fn read(&self, spilled: &SpilledBlock) -> Result<FeatureBlock> {
        let io = |source| Error::Spill { source };
        let mut file = self.open_for_reading()?;
        file.seek(SeekFrom::Start(spilled.offset)).map_err(io)?;
        let n_samples = spilled.n_samples;
        let dense = if spilled.is_f32 {
            Dense::F32(read_vec(&mut file, spilled.n_dense_values)?)
        } else {
            Dense::F64(read_vec(&mut file, spilled.n_dense_values)?)
        };
        let codes = (0..spilled.n_code_columns).map(|_| read_vec(&mut file, n_samples));
        let codes = codes.collect::<Result<_>>()?;
        let target = match spilled.target {
            TargetKind::None => TargetValues::None,
            TargetKind::Numbers => TargetValues::Numbers(read_vec(&mut file, n_samples)?),
            TargetKind::Classes => TargetValues::Classes(read_vec(&mut file, n_samples)?),
        };
        let weights = if spilled.has_weights {
            Some(read_vec(&mut file, n_samples)?)
        } else {
            None
        };
        Ok(FeatureBlock {
            n_samples,
            dense,
            codes,
            target,
            weights,
        })
    }

    /// Each reader has a file handle of its own, so that threads read side by side.
    pub(super) fn open_for_reading(&self) -> Result<File> {
        self.open(OpenOptions::new().read(true))
    }

    fn open(&self, how: &OpenOptions) -> Result<File> {
        let mut guard = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let lost = || Error::Internal {
            what: "a spilled block has no local file".to_owned(),
        };
        let open = guard.as_mut().ok_or_else(lost)?;
        open.writer
            .flush()
            .map_err(|source| Error::Spill { source })?;
        how.open(open.file.path().ok_or_else(lost)?)
            .map_err(|source| Error::Spill { source })
    }

    fn spill_error(&self, error: DataFusionError) -> Error {
        spill_error(&self.disk, error)
    }
}

/// A full disk, and the limit on temporary files, are told by their kind, however wrapped.
fn spill_error(disk: &DiskManager, error: DataFusionError) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    let mut is_full = disk.used_disk_space() >= disk.max_temp_directory_size();
    while let Some(error) = cause {
        let found = error.downcast_ref::<std::io::Error>();
        is_full |= found.is_some_and(|found| {
            found.kind() == std::io::ErrorKind::StorageFull
                || found.to_string().contains("exceeded the allowable limit")
        });
        cause = error.source();
    }
    let kind = if is_full {
        std::io::ErrorKind::StorageFull
    } else {
        std::io::ErrorKind::Other
    };
    Error::Spill {
        source: std::io::Error::new(kind, error.to_string()),
    }
}

/// Reads straight into the memory of the vector.
pub(super) fn read_vec<T: ArrowNativeType>(file: &mut File, len: usize) -> Result<Vec<T>> {
    let mut bytes = MutableBuffer::from(vec![T::default(); len]);
    file.read_exact(bytes.as_slice_mut())
        .map_err(|source| Error::Spill { source })?;
    Buffer::from(bytes).into_vec().map_err(|_| Error::Internal {
        what: "a spilled vector changed its layout".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::execution::disk_manager::DiskManagerBuilder;
    use datafusion::execution::memory_pool::GreedyMemoryPool;

    use super::*;

    fn block(first: u32) -> Arc<FeatureBlock> {
        Arc::new(FeatureBlock {
            n_samples: 2,
            dense: Dense::F64(vec![f64::from(first), f64::NAN, -0.0, 1e300]),
            codes: vec![vec![first, 7], vec![1, 2]],
            target: TargetValues::Classes(vec![0, 1]),
            weights: Some(vec![0.5, 2.0]),
        })
    }

    fn store(limit: usize, disk: DiskManagerBuilder) -> BlockStore {
        let memory: Arc<dyn MemoryPool> = Arc::new(GreedyMemoryPool::new(limit));
        BlockStore::new(
            &memory,
            &Arc::new(Spill::new(
                &Arc::new(disk.build().unwrap()),
                &Arc::default(),
            )),
        )
    }

    #[test]
    fn blocks_beyond_the_limit_come_back_from_disk() {
        let store = store(block(0).memory_bytes() + 1, DiskManagerBuilder::default());
        for chunk in 0..3 {
            store.put((0, chunk), Some(&block(chunk as u32))).unwrap();
        }
        store.put((1, 0), None).unwrap();
        let stored = store.complete();
        assert_eq!(stored.len(), 4);
        assert!(matches!(stored.slots[0].1, Slot::Memory(_)));
        assert!(matches!(stored.slots[1].1, Slot::Disk(..)));
        for chunk in 0..3 {
            let (position, found) = stored.get(chunk).unwrap();
            assert_eq!(position, (0, chunk));
            // NaN differs from itself, so blocks are compared as text.
            assert_eq!(
                format!("{:?}", found.unwrap()),
                format!("{:?}", block(chunk as u32))
            );
        }
        assert_eq!(stored.get(3).unwrap(), ((1, 0), None));
    }

    #[test]
    fn the_limit_of_temporary_files_is_a_full_disk() {
        let store = store(
            1,
            DiskManagerBuilder::default().with_max_temp_directory_size(10),
        );
        let error = store.put((0, 0), Some(&block(0))).unwrap_err();
        assert_eq!(error.sqlstate(), "53100");
        assert!(error.to_string().starts_with("cannot use spill file: "));
    }
}
