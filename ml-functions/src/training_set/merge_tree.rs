//! Merges the partials of chunks along a binary tree that depends on the chunk numbers alone.
//!
//! In: partials in any order of completion; out: one partial, always of the same additions. Within a
//! partition, neighbours of equal level merge as in a binary counter and the rest from the right;
//! the partitions merge likewise, in their order.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};

/// Partition, level and number of a node; a node of level `l` covers `2^l` chunks.
type Position = (usize, u32, usize);

/// How a partial takes in a later one.
pub(super) type Merge<'a, P> = &'a (dyn Fn(&mut P, P) -> Result<()> + Sync);

/// The nodes that wait for their neighbour; `None` is a chunk without samples.
pub(super) struct MergeTree<P> {
    nodes: Mutex<BTreeMap<Position, Option<P>>>,
}

impl<P> MergeTree<P> {
    pub(super) fn new() -> MergeTree<P> {
        MergeTree {
            nodes: Mutex::new(BTreeMap::new()),
        }
    }

    /// Adds the partial of a chunk, and merges upward as long as the neighbour is there. The merging
    /// itself runs outside the lock.
    pub(super) fn insert(
        &self,
        partition: usize,
        chunk: usize,
        partial: Option<P>,
        merge: Merge<'_, P>,
    ) -> Result<()> {
        let (mut level, mut number, mut partial) = (0, chunk, partial);
        loop {
            let neighbour = {
                let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
                match nodes.remove(&(partition, level, number ^ 1)) {
                    Some(neighbour) => neighbour,
                    None => {
                        nodes.insert((partition, level, number), partial);
                        return Ok(());
                    }
                }
            };
            let (earlier, later) = if number % 2 == 1 {
                (neighbour, partial)
            } else {
                (partial, neighbour)
            };
            partial = join(earlier, later, merge)?;
            level += 1;
            number /= 2;
        }
    }

    /// The partial of all chunks, once each of `n_chunks[partition]` was inserted.
    pub(super) fn finish(&self, n_chunks: &[usize], merge: Merge<'_, P>) -> Result<Option<P>> {
        let mut nodes = self.take_nodes();
        let partitions = MergeTree::new();
        for (partition, n_chunks) in n_chunks.iter().enumerate() {
            let merged = merge_rest(&mut nodes, partition, *n_chunks, merge)?;
            partitions.insert(0, partition, merged, merge)?;
        }
        merge_rest(&mut partitions.take_nodes(), 0, n_chunks.len(), merge)
    }

    fn take_nodes(&self) -> BTreeMap<Position, Option<P>> {
        std::mem::take(&mut *self.nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The nodes left of a partition are one for each set bit of its number of chunks; they merge from
/// the last to the first.
fn merge_rest<P>(
    nodes: &mut BTreeMap<Position, Option<P>>,
    partition: usize,
    n_chunks: usize,
    merge: Merge<'_, P>,
) -> Result<Option<P>> {
    let mut merged = None;
    for level in (0..usize::BITS).filter(|level| n_chunks >> level & 1 == 1) {
        let number = (n_chunks >> level) - 1;
        let Some(earlier) = nodes.remove(&(partition, level, number)) else {
            return Err(Error::Internal {
                what: "a chunk of a pass is missing".to_owned(),
            });
        };
        merged = join(earlier, merged, merge)?;
    }
    Ok(merged)
}

fn join<P>(earlier: Option<P>, later: Option<P>, merge: Merge<'_, P>) -> Result<Option<P>> {
    match (earlier, later) {
        (Some(mut into), Some(later)) => {
            merge(&mut into, later)?;
            Ok(Some(into))
        }
        (earlier, later) => Ok(earlier.or(later)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down how partials were merged.
    fn describe(order: &[(usize, usize)], n_chunks: &[usize]) -> Option<String> {
        let merge: Merge<'_, String> = &|into, later| {
            *into = format!("({into} {later})");
            Ok(())
        };
        let tree = MergeTree::new();
        for (partition, chunk) in order {
            let partial = (*chunk != 2).then(|| format!("{partition}{chunk}"));
            tree.insert(*partition, *chunk, partial, merge).unwrap();
        }
        tree.finish(n_chunks, merge).unwrap()
    }

    #[test]
    fn the_order_of_completion_changes_nothing() {
        let forward = [
            (0, 0),
            (0, 1),
            (0, 2),
            (0, 3),
            (0, 4),
            (1, 0),
            (2, 0),
            (2, 1),
            (2, 2),
        ];
        let expected = describe(&forward, &[5, 1, 3]);
        assert_eq!(
            expected.as_deref(),
            Some("(((((00 01) 03) 04) 10) (20 21))")
        );
        let mut backward = forward;
        backward.reverse();
        assert_eq!(describe(&backward, &[5, 1, 3]), expected);
        backward.swap(1, 6);
        assert_eq!(describe(&backward, &[5, 1, 3]), expected);
    }

    #[test]
    fn no_chunk_no_partial() {
        assert_eq!(describe(&[], &[]), None);
        assert_eq!(describe(&[], &[0, 0]), None);
    }
}
