//! The states of one part: in memory as far as the pool grants, else on disk, section by section.
//!
//! In: states, one a piece of a chunk, and steps that visit them; out: partials. A pass may visit both parts. A section that no step
//! changes is written once; of the others only what a step says it changes is written again.

use std::io::{Seek, SeekFrom};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};

use super::AnyPartial;
use super::passes::{Stop, Workers};
use super::sections::section_bytes;
use super::spill::{Extent, Spill};
use super::states::{AnyStart, AnyState, AnyStateStep, PieceId, SectionSet};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::features::FeatureBlock;

/// Pieces of a part at least, where its rows suffice, so that threads end a pass together.
const LEAST_PIECES: u64 = 64;

/// Rows of a piece at least: below, a visit costs more than its work.
const LEAST_PIECE_ROWS: u64 = 2048;

/// Pieces begin at multiples of this number of rows, so that no vector unit's block is cut.
const PIECE_GRAIN: usize = 512;

/// A step, and the states of the part that it visits, if the part has any.
pub(super) struct PartVisit {
    pub(super) states: Option<Arc<States>>,
    pub(super) step: Arc<dyn AnyStateStep>,
}

/// The states of one part.
pub(super) struct States {
    start: Arc<dyn AnyStart>,
    piece_rows: usize,
    memory: MemoryReservation,
    spill: Arc<Spill>,
    slots: Mutex<Vec<Arc<Slot>>>,
}

/// The state of one piece.
struct Slot {
    piece: PieceId,
    n_rows: usize,
    kept: Mutex<Kept>,
}

struct Kept {
    /// Without the sections that are on disk.
    state: AnyState,
    places: Vec<Place>,
}

/// Where a section is.
enum Place {
    /// In memory, with its accounted size.
    Memory(usize),
    /// On disk: each vector with its number of values. What is there stays there.
    Disk(Vec<(Extent, usize)>),
}

impl States {
    /// For a part of `n_samples`.
    pub(super) fn new(
        start: Arc<dyn AnyStart>,
        n_samples: u64,
        memory: &Arc<dyn MemoryPool>,
        spill: &Arc<Spill>,
    ) -> States {
        let consumer = MemoryConsumer::new("training state").with_can_spill(true);
        States {
            start,
            piece_rows: n_samples.div_ceil(LEAST_PIECES).max(LEAST_PIECE_ROWS) as usize,
            memory: consumer.register(memory),
            spill: Arc::clone(spill),
            slots: Mutex::default(),
        }
    }

    /// Makes and keeps the states of a chunk.
    pub(super) fn add(&self, chunk: u64, block: &FeatureBlock) -> Result<()> {
        let n_pieces = block.n_samples.div_ceil(self.piece_rows);
        if n_pieces <= 1 {
            return self.add_piece(PieceId::whole(chunk), block);
        }
        let n_rows = block
            .n_samples
            .div_ceil(n_pieces)
            .next_multiple_of(PIECE_GRAIN);
        for first_row in (0..block.n_samples).step_by(n_rows) {
            let end = (first_row + n_rows).min(block.n_samples);
            let piece = PieceId { chunk, first_row };
            self.add_piece(piece, &block.rows(first_row..end))?;
        }
        Ok(())
    }

    fn add_piece(&self, piece: PieceId, block: &FeatureBlock) -> Result<()> {
        let mut state = self.start.start_any(piece, block)?;
        let n_sections = self.start.sections(&mut state)?.len();
        let mut kept = Kept {
            state,
            places: (0..n_sections).map(|_| Place::Memory(0)).collect(),
        };
        self.settle(&mut kept, SectionSet::ALL)?;
        let slot = Slot {
            piece,
            n_rows: block.n_samples,
            kept: Mutex::new(kept),
        };
        self.slots
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(Arc::new(slot));
        Ok(())
    }

    fn all_slots(&self) -> Vec<Arc<Slot>> {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.clone()
    }

    fn visit(
        &self,
        slot: &Slot,
        step: &dyn AnyStateStep,
        into: &mut AnyPartial,
        compute: &Compute,
    ) -> Result<()> {
        let mut kept = slot.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let access = step.access();
        self.load(&mut kept, access.reads.union(access.writes))?;
        step.run_any(slot.piece, &mut kept.state, into, compute)?;
        self.unload(&mut kept, access.writes)?;
        self.settle(&mut kept, access.writes)
    }

    /// Reads the sections that are on disk.
    fn load(&self, kept: &mut Kept, wanted: SectionSet) -> Result<()> {
        let mut file = None;
        let sections = self.start.sections(&mut kept.state)?;
        for (number, (section, place)) in sections.into_iter().zip(&kept.places).enumerate() {
            let Place::Disk(extents) = place else {
                continue;
            };
            if !wanted.contains(number) {
                continue;
            }
            let file = match &mut file {
                Some(file) => file,
                none => none.insert(self.spill.open_for_reading()?),
            };
            for (mut values, (extent, len)) in section.into_iter().zip(extents) {
                file.seek(SeekFrom::Start(extent.offset))
                    .map_err(|source| Error::Spill { source })?;
                values.read(file, *len)?;
            }
        }
        Ok(())
    }

    /// Gives up the memory of the sections on disk, after writing those that changed.
    fn unload(&self, kept: &mut Kept, changed: SectionSet) -> Result<()> {
        let sections = self.start.sections(&mut kept.state)?;
        for (number, (section, place)) in sections.into_iter().zip(&mut kept.places).enumerate() {
            let Place::Disk(extents) = place else {
                continue;
            };
            for (mut values, (extent, len)) in section.into_iter().zip(extents) {
                if changed.contains(number) {
                    *extent = self.spill.rewrite(*extent, values.bytes())?;
                    *len = values.len();
                }
                values.clear();
            }
        }
        Ok(())
    }

    /// Accounts the sections in memory that may have grown, and moves to disk what the pool refuses.
    fn settle(&self, kept: &mut Kept, changed: SectionSet) -> Result<()> {
        for number in 0..kept.places.len() {
            let Place::Memory(accounted) = kept.places[number] else {
                continue;
            };
            if !changed.contains(number) {
                continue;
            }
            let needed = section_bytes(&self.start.sections(&mut kept.state)?[number]);
            if needed <= accounted {
                self.memory.shrink(accounted - needed);
                kept.places[number] = Place::Memory(needed);
            } else if self.grow(needed - accounted, number, kept.places.len())? {
                kept.places[number] = Place::Memory(needed);
            } else {
                self.spill_section(kept, number)?;
            }
        }
        Ok(())
    }

    /// Accounts more memory for a section, at the cost of less wanted sections of other pieces.
    fn grow(&self, n_bytes: usize, section: usize, n_sections: usize) -> Result<bool> {
        if self.memory.try_grow(n_bytes).is_ok() {
            return Ok(true);
        }
        let mut freed = 0;
        for less_wanted in (section + 1..n_sections).rev() {
            freed += self.make_room(n_bytes.saturating_sub(freed), less_wanted)?;
            if freed >= n_bytes {
                break;
            }
        }
        Ok(self.memory.try_grow(n_bytes).is_ok())
    }

    /// Moves a section of one piece after the other to disk, until so many bytes are free; pieces that
    /// are being visited keep theirs. Returns how many were freed.
    fn make_room(&self, n_bytes: usize, section: usize) -> Result<usize> {
        let mut freed = 0;
        for slot in self.all_slots() {
            if freed >= n_bytes {
                break;
            }
            let Ok(mut kept) = slot.kept.try_lock() else {
                continue;
            };
            if let Place::Memory(accounted @ 1..) = kept.places[section] {
                self.spill_section(&mut kept, section)?;
                freed += accounted;
            }
        }
        Ok(freed)
    }

    fn spill_section(&self, kept: &mut Kept, number: usize) -> Result<()> {
        let mut sections = self.start.sections(&mut kept.state)?;
        let mut extents = Vec::new();
        for values in &mut sections[number] {
            extents.push((self.spill.append(values.bytes())?, values.len()));
            values.clear();
        }
        if let Place::Memory(accounted) = kept.places[number] {
            self.memory.shrink(accounted);
        }
        kept.places[number] = Place::Disk(extents);
        Ok(())
    }
}

/// Runs each step over every state of its part, all in one pass of the workers' threads; a partial a step.
pub(super) async fn reduce(
    visits: Vec<PartVisit>,
    workers: &Workers,
    compute: Compute,
) -> Result<Vec<AnyPartial>> {
    let mut slots = Vec::new();
    for (number, visit) in visits.iter().enumerate() {
        if let Some(states) = &visit.states {
            let of_part = states.all_slots().into_iter();
            slots.extend(of_part.map(|slot| (number, Arc::clone(states), slot)));
        }
    }
    if visits.iter().any(|visit| visit.states.is_some()) {
        workers.usage.add_kept_pass();
    }
    let steps: Vec<_> = visits.into_iter().map(|visit| visit.step).collect();
    let of_threads = Arc::new(Mutex::new(Vec::new()));
    let work = {
        let (steps, of_threads) = (steps.clone(), Arc::clone(&of_threads));
        let (next, counter) = (AtomicUsize::new(0), workers.clone());
        move |stop: &Stop| {
            let mut partials = no_partials(&steps);
            loop {
                stop.check()?;
                let at = next.fetch_add(1, Ordering::Relaxed);
                let Some((number, states, slot)) = slots.get(at) else {
                    break;
                };
                let step = &steps[*number];
                let into = partials[*number].get_or_insert_with(|| step.partial_any());
                states.visit(slot, step.as_ref(), into, &compute)?;
                counter.count_rows(slot.n_rows);
            }
            let mut of_threads = of_threads.lock().unwrap_or_else(PoisonError::into_inner);
            of_threads.push(partials);
            Ok(())
        }
    };
    workers.run(work).await?;
    let mut of_threads = of_threads.lock().unwrap_or_else(PoisonError::into_inner);
    let mut merged = no_partials(&steps);
    for partials in of_threads.drain(..) {
        for ((step, merged), partial) in steps.iter().zip(&mut merged).zip(partials) {
            match (merged, partial) {
                (Some(merged), Some(partial)) => step.merge_any(merged, partial)?,
                (merged, Some(partial)) => *merged = Some(partial),
                (_, None) => {}
            }
        }
    }
    let of_step = |(merged, step): (Option<AnyPartial>, &Arc<dyn AnyStateStep>)| {
        merged.unwrap_or_else(|| step.partial_any())
    };
    Ok(merged.into_iter().zip(&steps).map(of_step).collect())
}

/// Of each step none yet.
fn no_partials(steps: &[Arc<dyn AnyStateStep>]) -> Vec<Option<AnyPartial>> {
    steps.iter().map(|_| None).collect()
}
