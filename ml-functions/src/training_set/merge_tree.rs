//! Merges the partials of chunks along a binary tree that depends on the chunk numbers alone.
//!
//! In: partials in any order of completion; out: one partial, always of the same additions. Within a
//! partition, neighbours of equal level merge as in a binary counter and the rest from the right;
//! the partitions merge likewise, in their order.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Partition, level and number of a node; a node of level `l` covers `2^l` chunks.
type Position = (usize, u32, usize);

/// How a partial takes in a later one.
pub(super) type Merge<'a, P> = &'a (dyn Fn(&mut P, P) -> Result<()> + Sync);

/// A node of the tree over partitions whose partitions one machine has all: `2^level` of them.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Subtree<P> {
    level: u32,
    number: usize,
    /// `None` where none of them has a sample.
    pub(super) partial: Option<P>,
}

impl<P> Subtree<P> {
    /// What `part` takes out of the partial, at the same place of the tree.
    pub(super) fn take<Q>(&mut self, part: impl FnOnce(&mut P) -> Q) -> Subtree<Q> {
        Subtree {
            level: self.level,
            number: self.number,
            partial: self.partial.as_mut().map(part),
        }
    }

    /// The same with the partial in another form.
    pub(super) fn try_map<Q>(self, form: impl Fn(P) -> Result<Q>) -> Result<Subtree<Q>> {
        Ok(Subtree {
            level: self.level,
            number: self.number,
            partial: self.partial.map(form).transpose()?,
        })
    }
}

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
        self.insert_node((partition, 0, chunk), partial, merge)
    }

    fn insert_node(
        &self,
        (partition, mut level, mut number): Position,
        mut partial: Option<P>,
        merge: Merge<'_, P>,
    ) -> Result<()> {
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
        let partitions = self.over_partitions(n_chunks, |_| true, merge)?;
        merge_rest(&mut partitions.take_nodes(), 0, n_chunks.len(), merge)
    }

    /// What one machine can merge of the partitions that it has, once each of their chunks was inserted.
    pub(super) fn subtrees(
        &self,
        n_chunks: &[usize],
        has: impl Fn(usize) -> bool,
        merge: Merge<'_, P>,
    ) -> Result<Vec<Subtree<P>>> {
        let partitions = self.over_partitions(n_chunks, has, merge)?;
        Ok(partitions.take_subtrees())
    }

    /// The nodes of a tree over partitions.
    fn take_subtrees(&self) -> Vec<Subtree<P>> {
        let subtree = |((_, level, number), partial)| Subtree {
            level,
            number,
            partial,
        };
        self.take_nodes().into_iter().map(subtree).collect()
    }

    fn over_partitions(
        &self,
        n_chunks: &[usize],
        has: impl Fn(usize) -> bool,
        merge: Merge<'_, P>,
    ) -> Result<MergeTree<P>> {
        let mut nodes = self.take_nodes();
        let partitions = MergeTree::new();
        for (partition, n_chunks) in n_chunks.iter().enumerate().filter(|(idx, _)| has(*idx)) {
            let merged = merge_rest(&mut nodes, partition, *n_chunks, merge)?;
            partitions.insert(0, partition, merged, merge)?;
        }
        Ok(partitions)
    }

    fn take_nodes(&self) -> BTreeMap<Position, Option<P>> {
        std::mem::take(&mut *self.nodes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The partial of all partitions, of the subtrees that all machines together have.
pub(super) fn join_subtrees<P>(
    subtrees: impl IntoIterator<Item = Subtree<P>>,
    n_partitions: usize,
    merge: Merge<'_, P>,
) -> Result<Option<P>> {
    let partitions = over_subtrees(subtrees, merge)?;
    merge_rest(&mut partitions.take_nodes(), 0, n_partitions, merge)
}

/// The subtrees of some machines, merged as far as they are neighbours.
pub(super) fn merge_subtrees<P>(
    subtrees: impl IntoIterator<Item = Subtree<P>>,
    merge: Merge<'_, P>,
) -> Result<Vec<Subtree<P>>> {
    Ok(over_subtrees(subtrees, merge)?.take_subtrees())
}

fn over_subtrees<P>(
    subtrees: impl IntoIterator<Item = Subtree<P>>,
    merge: Merge<'_, P>,
) -> Result<MergeTree<P>> {
    let partitions = MergeTree::new();
    for Subtree {
        level,
        number,
        partial,
    } in subtrees
    {
        partitions.insert_node((0, level, number), partial, merge)?;
    }
    Ok(partitions)
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
    fn machines_merge_as_one_does() {
        let merge: Merge<'_, String> = &|into, later| {
            *into = format!("({into} {later})");
            Ok(())
        };
        let n_chunks = [2, 1, 0, 3, 1, 2, 1];
        let all: Vec<(usize, usize)> = (0..7)
            .flat_map(|partition| (0..n_chunks[partition]).map(move |chunk| (partition, chunk)))
            .collect();
        let expected = describe(&all, &n_chunks);
        for owners in [[0, 0, 0, 1, 1, 1, 2], [1, 0, 1, 0, 2, 2, 0]] {
            let of_machine = |machine: usize| {
                let tree = MergeTree::new();
                let mut rows = [0; 7];
                for (partition, chunk) in all.iter().filter(|(p, _)| owners[*p] == machine) {
                    rows[*partition] += 1;
                    let partial = (*chunk != 2).then(|| format!("{partition}{chunk}"));
                    tree.insert(*partition, *chunk, partial, merge).unwrap();
                }
                tree.subtrees(&rows, |partition| owners[partition] == machine, merge)
                    .unwrap()
            };
            let subtrees = [2, 0, 1].into_iter().flat_map(of_machine);
            assert_eq!(join_subtrees(subtrees, 7, merge).unwrap(), expected);
            // Some machines may merge for others before.
            for (merging, rest) in [([0, 1], 2), ([1, 2], 0), ([2, 0], 1)] {
                let some = merging.into_iter().flat_map(of_machine);
                let merged = merge_subtrees(some, merge).unwrap();
                let subtrees = merged.into_iter().chain(of_machine(rest));
                assert_eq!(join_subtrees(subtrees, 7, merge).unwrap(), expected);
            }
        }
    }

    #[test]
    fn no_chunk_no_partial() {
        assert_eq!(describe(&[], &[]), None);
        assert_eq!(describe(&[], &[0, 0]), None);
    }
}
