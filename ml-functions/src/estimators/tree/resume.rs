//! What a training of trees keeps of itself after each tree, and how another goes on from there.
//!
//! In: a tree and what the scores have had since the last one; out: the same ensemble, and states whose scores had the
//! same additions in the same order, hence the same bits. Histograms are not kept: the next tree makes its own.

use super::boost::{Boosting, IterationLoss};
use super::driver::Pass;
use super::ensemble::Tree;
use super::score_step::{Quantization, ScoreStep, ScoreUpdate, Scored};
use super::walk::BinnedTree;
use crate::error::{Error, Result};

/// A tree's values that the scores had: its number since the start, and the factor.
pub(crate) type Applied = (u32, f64);

/// What one tree adds to what is known of a training.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct TreeRecord {
    /// The iteration, from 0.
    pub(crate) iteration: usize,
    /// Its trees so far.
    pub(crate) n_done: usize,
    /// The tree.
    pub(crate) tree: Tree,
    /// The same over bins.
    pub(crate) binned: BinnedTree,
    /// Its output.
    pub(crate) output: u32,
    /// The weights of all trees since the start.
    pub(crate) weights: Vec<f64>,
    /// See [`Boosting::dropped`].
    pub(crate) dropped: Vec<usize>,
    /// What the scores had since the last record.
    pub(crate) applied: Vec<Applied>,
    /// How many updates in all the scores had when the gradients were computed; the held-out part has had no more.
    pub(crate) n_measured: usize,
    /// Of the gradients in the chunks.
    pub(crate) quantization: Option<Quantization>,
    /// See [`Boosting::scored`]; `None`: as in the last record.
    pub(crate) scored: Option<Scored>,
    /// If the iteration has ended.
    pub(crate) loss: Option<IterationLoss>,
}

/// What the scores have had, for the records.
#[derive(Debug, Default)]
pub(super) struct ScoreLog {
    /// Since the last record.
    since: Vec<Applied>,
    /// In all.
    n_applied: usize,
    n_measured: usize,
}

impl ScoreLog {
    /// The scores of the training part got these.
    pub(super) fn applied(&mut self, updates: &[Applied]) {
        self.since.extend_from_slice(updates);
        self.n_applied += updates.len();
    }

    /// The gradients are those of the scores now, and the held-out part has as many updates.
    pub(super) fn measured(&mut self) {
        self.n_measured = self.n_applied;
    }
}

/// Where a training goes on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Place {
    /// The iteration.
    pub(super) iteration: usize,
    /// Its trees that are there already.
    pub(super) n_done: usize,
}

impl<P: Pass> Boosting<'_, P> {
    /// Keeps the newest tree and where the training is.
    pub(super) fn keep(
        &mut self,
        place: Place,
        quantization: Option<&Quantization>,
        loss: Option<IterationLoss>,
    ) -> Result<()> {
        if !self.passes.keeps_records() {
            return Ok(());
        }
        let (tree, output) = match (self.ensemble.trees.last(), self.ensemble.outputs.last()) {
            (Some(tree), Some(output)) => (tree.clone(), *output),
            _ => return Ok(()),
        };
        let scores_changed = place.n_done == 1 || loss.is_some();
        let record = TreeRecord {
            iteration: place.iteration,
            n_done: place.n_done,
            tree,
            binned: self.binned.last().cloned().unwrap_or_default(),
            output,
            weights: self.ensemble.weights[self.first_tree..].to_vec(),
            dropped: self.dropped.clone(),
            applied: std::mem::take(&mut self.log.since),
            n_measured: self.log.n_measured,
            quantization: quantization.cloned(),
            scored: scores_changed.then(|| self.scored.clone()),
            loss,
        };
        self.passes.keep_record(&record)
    }

    /// Takes over what an earlier life of the training kept, and lets the states catch up; where to go on.
    pub(super) async fn go_on(&mut self, records: Vec<TreeRecord>) -> Result<Place> {
        let n_trees = self.n_trees();
        let mut place = Place::default();
        let mut applied = Vec::new();
        for record in records {
            self.ensemble.trees.push(record.tree);
            self.ensemble.outputs.push(record.output);
            self.ensemble.weights.truncate(self.first_tree);
            self.ensemble.weights.extend(record.weights);
            self.binned.push(record.binned);
            self.dropped = record.dropped;
            self.quantization = record.quantization;
            if let Some(scored) = record.scored {
                self.scored = scored;
            }
            applied.extend(record.applied);
            self.log.n_measured = record.n_measured;
            place = match record.loss {
                Some(_) => Place {
                    iteration: record.iteration + 1,
                    n_done: 0,
                },
                None => Place {
                    iteration: record.iteration,
                    n_done: record.n_done,
                },
            };
        }
        let is_whole = self.ensemble.weights.len() == self.ensemble.trees.len()
            && self.log.n_measured <= applied.len()
            && (place.n_done == 0 || self.quantization.is_some())
            && place.n_done < n_trees;
        if !is_whole {
            return Err(damaged());
        }
        self.log.n_applied = applied.len();
        self.catch_up(&applied).await?;
        Ok(place)
    }

    /// Adds to the scores what they had, and makes the gradients when they were made.
    async fn catch_up(&self, applied: &[Applied]) -> Result<()> {
        let updates: Vec<ScoreUpdate> = applied
            .iter()
            .map(|update| self.update_of(update))
            .collect::<Result<_>>()?;
        let (measured, later) = updates.split_at(self.log.n_measured);
        let step = ScoreStep {
            objective: self.parameters.objective,
            updates: measured.to_vec(),
            measure: self.quantization.is_some(),
            quantization: self.quantization.clone(),
        };
        let held_out = self.update_step(measured.to_vec());
        self.passes.both_parts(&step, &held_out).await?;
        if !later.is_empty() {
            self.update(later.to_vec()).await?;
        }
        Ok(())
    }

    fn update_of(&self, (tree, factor): &Applied) -> Result<ScoreUpdate> {
        let tree = *tree as usize;
        let output = self.ensemble.outputs.get(self.first_tree + tree);
        match (self.binned.get(tree), output) {
            (Some(binned), Some(output)) => Ok(ScoreUpdate {
                tree: binned.clone(),
                output: *output as usize,
                factor: *factor,
                segments: None,
            }),
            _ => Err(damaged()),
        }
    }
}

fn damaged() -> Error {
    Error::Internal {
        what: "the checkpoint of a training of trees is damaged".to_owned(),
    }
}
