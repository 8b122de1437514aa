//! The boosting loop: gradients, trees, scores, and when to stop.
//!
//! In: chunks behind [`Pass`], bins, parameters and the trees to start from; out: a [`TreeEnsemble`].
//! Random forests are one iteration of many parallel trees. Never sees a row.

use super::assemble::{AssembledTree, Values};
use super::binning::FeatureBins;
use super::bundling::{Bundles, bundle};
use super::chunk::TreeChunk;
use super::driver::Pass;
use super::ensemble::TreeEnsemble;
use super::grow::Grower;
use super::grow_step::{GrowPartial, GrowStep, PendingSplit};
use super::growth::{Columns, GrownTree, TreeTask};
use super::histogram::{ColumnRuns, HistogramLayout};
use super::leaf_step::LeafStep;
use super::math::power_of_two_scale;
use super::next_tree::NextTreeStep;
use super::parameters::{DartNormalization, TreeParameters};
use super::quantile_step::residual_quantiles;
use super::quantize::Foreseen;
use super::random;
use super::resume::{Applied, Place, ScoreLog, TreeRecord};
use super::score_step::{Quantization, ScoreStep, ScoreUpdate, Scored};
use super::split::ColumnKind;
use super::walk::BinnedTree;
use crate::error::{Error, Result};
use crate::training_set::{Part, StateStep};

/// How well an iteration's ensemble fits.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct IterationLoss {
    /// From 0.
    pub(crate) iteration: usize,
    /// Mean loss of the training part.
    pub(crate) loss: f64,
    /// Mean loss of the held-out part, if there is one.
    pub(crate) eval_loss: Option<f64>,
}

/// An update of the scores, and its record.
type Update = (ScoreUpdate, Applied);

/// What is told after each iteration; an error ends the training.
pub(crate) type OnIteration<'a> = &'a mut (dyn FnMut(IterationLoss) -> Result<()> + Send);

/// Learns an ensemble: `start` with more trees.
///
/// The chunks of both parts must have been made by `StartTreeChunk` with the same bins and `start`. What an earlier life of
/// the training kept is taken over first; its losses are told again.
pub(crate) async fn boost<P: Pass>(
    passes: &P,
    parameters: &TreeParameters,
    bins: &FeatureBins,
    start: TreeEnsemble,
    on_iteration: OnIteration<'_>,
) -> Result<TreeEnsemble> {
    let bundles = match parameters.bundles {
        true => bundle(passes, bins).await?,
        false => None,
    };
    let mut boosting = Boosting {
        passes,
        parameters,
        bins,
        columns: columns(bins, parameters, bundles),
        first_tree: start.trees.len(),
        ensemble: start,
        binned: Vec::new(),
        dropped: Vec::new(),
        quantization: None,
        begun: None,
        foreseen: None,
        scored: Scored::default(),
        log: ScoreLog::default(),
    };
    let score = boosting.score_step(Vec::new(), None);
    let (scored, held_out) = passes.both_parts(&score, &score).await?;
    let has_evaluation = held_out.n_rows > 0;
    let mut before = if has_evaluation {
        held_out.mean_loss()
    } else {
        scored.mean_loss()
    };
    boosting.scored = scored;
    let records = passes.earlier_records()?;
    for loss in records.iter().filter_map(|record| record.loss) {
        on_iteration(loss)?;
        before = loss.eval_loss.unwrap_or(loss.loss);
    }
    let mut place = boosting.go_on_from(records).await?;
    for iteration in place.iteration..parameters.max_iterations {
        if boosting.scored.n_rows == 0 {
            break;
        }
        place.iteration = iteration;
        let held_out = boosting.iterate(place, has_evaluation).await?;
        place.n_done = 0;
        let loss = boosting.scored.mean_loss();
        let eval_loss = held_out.map(|held_out| held_out.mean_loss());
        let told = IterationLoss {
            iteration,
            loss,
            eval_loss,
        };
        on_iteration(told)?;
        let now = eval_loss.unwrap_or(loss);
        if ends(parameters, before, now) {
            break;
        }
        before = now;
        boosting.keep_iteration(told)?;
    }
    Ok(boosting.ensemble)
}

/// Whether an iteration brought too little for another one.
fn ends(parameters: &TreeParameters, before: f64, now: f64) -> bool {
    // No progress is possible from a loss of 0.
    let progress = if before == 0.0 {
        0.0
    } else {
        (before - now) / before.abs()
    };
    parameters
        .min_rel_progress
        .is_some_and(|least| progress < least)
}

/// What is known between iterations.
pub(super) struct Boosting<'a, P> {
    pub(super) passes: &'a P,
    pub(super) parameters: &'a TreeParameters,
    bins: &'a FeatureBins,
    columns: Columns,
    /// Number of trees of the warm start: they are never dropped.
    pub(super) first_tree: usize,
    pub(super) ensemble: TreeEnsemble,
    /// The trees since then over bins, kept for DART and for records.
    pub(super) binned: Vec<BinnedTree>,
    /// Trees that the scores leave out in this iteration.
    pub(super) dropped: Vec<usize>,
    /// How the gradients in the chunks were quantised, if they are those of the scores.
    pub(super) quantization: Option<Quantization>,
    /// What the first step of the next tree has brought, if the pass before has made it.
    begun: Option<GrowPartial>,
    /// What the last pass of the tree before has told of the next gradients.
    pub(super) foreseen: Option<Foreseen>,
    /// Of the training part, at the current scores.
    pub(super) scored: Scored,
    /// What the scores have had.
    pub(super) log: ScoreLog,
}

impl<P: Pass> Boosting<'_, P> {
    /// One iteration, or what is left of it; returns what the held-out part scores.
    async fn iterate(&mut self, place: Place, has_evaluation: bool) -> Result<Option<Scored>> {
        if place.n_done == 0 {
            self.drop_trees().await?;
        }
        let quantization = self.quantized().await?;
        if place.n_done == 0 {
            self.log.measured();
        }
        let n_trees = self.n_trees();
        // Residuals are those of the iteration's start: the rows walk the trees when it ends.
        let waits = n_trees > 1 && self.parameters.objective.leaf_quantile().is_some();
        let mut held_out = self.begun_updates(place.n_done);
        let mut updates = match place.n_done == 0 || waits {
            true => held_out.clone(),
            false => Vec::new(),
        };
        let is_last = place.iteration + 1 == self.parameters.max_iterations;
        let foresees = !is_last && self.must_foresee();
        for number in place.n_done..n_trees {
            let task = self.task(number, &quantization);
            let output = task.output;
            let begun = self.begun.take();
            let grown = self.grower(task).grow(begun).await?;
            let foresees = foresees && number + 1 == n_trees;
            let tree = self.finish(grown, task, foresees).await?;
            let factor = self.new_weight();
            let number_since = (self.ensemble.trees.len() - self.first_tree) as u32;
            let update = |segments| ScoreUpdate {
                tree: tree.binned.clone(),
                output,
                factor,
                segments,
            };
            let segments = (!waits).then(|| tree.segments.clone());
            updates.push((update(segments), (number_since, factor)));
            held_out.push((update(None), (number_since, factor)));
            self.push(&tree, output, factor);
            if number + 1 == n_trees {
                break;
            }
            if !waits {
                let updates = self.taken(&mut updates);
                self.update(updates).await?;
            }
            let n_done = number + 1;
            self.keep(Place { n_done, ..place }, Some(&quantization), None)?;
        }
        let next = self.next_quantization().filter(|_| !is_last);
        let updates = self.taken(&mut updates);
        let held_out = held_out.into_iter().map(|(update, _)| update).collect();
        let held_out = has_evaluation.then_some(held_out);
        let held_out = self.score_and_begin(updates, held_out, next).await?;
        self.settle_dropped();
        Ok(held_out)
    }

    /// What the next tree of an iteration is to be.
    fn task(&self, number: usize, quantization: &Quantization) -> TreeTask {
        TreeTask {
            output: number / self.parameters.num_parallel_tree,
            key: random::hash(&[self.parameters.seed, 2, self.ensemble.trees.len() as u64]),
            units: quantization.scales.map(|scale| 1.0 / scale),
            n_rows: self.scored.n_rows,
        }
    }

    fn grower(&self, task: TreeTask) -> Grower<'_, P> {
        Grower::new(self.passes, self.parameters, &self.columns, task)
    }

    /// Gives the scores of both parts what an iteration has learned, those of the held-out part if it has updates; in the
    /// same pass begins the next tree, where gradients follow. Returns what the held-out part scores.
    async fn score_and_begin(
        &mut self,
        updates: Vec<ScoreUpdate>,
        held_out: Option<Vec<ScoreUpdate>>,
        next: Option<Quantization>,
    ) -> Result<Option<Scored>> {
        let score = self.score_step(updates, next.clone());
        let held_out = held_out.map(|updates| self.score_step(updates, None));
        let (scored, held_out) = match &next {
            None => self.pass(&score, held_out.as_ref()).await?,
            Some(next) => {
                let grow = self.grower(self.task(0, next)).first_step();
                let step = NextTreeStep { score, grow };
                let ((scored, begun), held_out) = self.pass(&step, held_out.as_ref()).await?;
                self.begun = Some(begun);
                (scored, held_out)
            }
        };
        self.scored = scored;
        self.quantization = next;
        Ok(held_out)
    }

    /// A pass over the training part, and over the held-out part if there is a step for it.
    async fn pass<S: StateStep<State = TreeChunk>>(
        &self,
        step: &S,
        held_out: Option<&ScoreStep>,
    ) -> Result<(S::Partial, Option<Scored>)> {
        let Some(held_out) = held_out else {
            return Ok((self.passes.state_pass(Part::Training, step).await?, None));
        };
        let (partial, scored) = self.passes.both_parts(step, held_out).await?;
        Ok((partial, Some(scored)))
    }

    /// How the gradients in the chunks are quantised, which they are after this; the pass that does it begins a tree.
    async fn quantized(&mut self) -> Result<Quantization> {
        if self.quantization.is_none() {
            let next = self.quantization_of(&self.scored, self.maxima());
            self.score_and_begin(Vec::new(), None, Some(next)).await?;
        }
        self.quantization.take().ok_or_else(|| Error::Internal {
            what: "gradients are not quantised".to_owned(),
        })
    }

    /// Updates that the scores of the training part are about to get.
    fn taken(&mut self, updates: &mut Vec<Update>) -> Vec<ScoreUpdate> {
        let (updates, applied): (Vec<ScoreUpdate>, Vec<Applied>) =
            std::mem::take(updates).into_iter().unzip();
        self.log.applied(&applied);
        updates
    }

    /// The updates of an iteration some of whose trees are there: the trees that come back, and those that are new.
    fn begun_updates(&self, n_done: usize) -> Vec<Update> {
        let mut updates = self.returning_updates();
        let factor = self.new_weight();
        let n_trees = self.ensemble.trees.len();
        for tree in n_trees - n_done.min(n_trees)..n_trees {
            updates.push(self.update_with(tree, factor));
        }
        updates
    }

    fn keep_iteration(&mut self, loss: IterationLoss) -> Result<()> {
        self.log.measured();
        let (iteration, n_done) = (loss.iteration, self.n_trees());
        let quantization = self.quantization.clone();
        let place = Place { iteration, n_done };
        self.keep(place, quantization.as_ref(), Some(loss))
    }

    /// See [`Boosting::go_on`].
    async fn go_on_from(&mut self, records: Vec<TreeRecord>) -> Result<Place> {
        match records.is_empty() {
            true => Ok(Place::default()),
            false => self.go_on(records).await,
        }
    }

    /// The values of a grown tree, from unrounded gradients where the scores still have them; in the same pass what is to be
    /// foreseen of the next gradients.
    async fn finish(
        &mut self,
        mut grown: GrownTree,
        task: TreeTask,
        foresees: bool,
    ) -> Result<AssembledTree> {
        let mut values = Values {
            regularization: &self.parameters.regularization,
            learn_rate: self.parameters.learn_rate / self.parameters.num_parallel_tree as f64,
            units: task.units,
            sums: None,
            renewed: None,
        };
        let splits = std::mem::take(&mut grown.pending);
        let shape = grown.shape(&self.columns);
        // Elsewhere the scores already have the earlier trees on the same gradients.
        let sums_leaves = self.n_trees() == 1;
        if let Some(quantile) = self.parameters.objective.leaf_quantile() {
            self.follow(splits, task.output).await?;
            let of = (self.scored.n_rows, self.scored.max_weight);
            values.renewed = Some(residual_quantiles(self.passes, &shape, quantile, of).await?);
        } else if sums_leaves || foresees {
            let n_leaves = shape.n_leaves;
            let rounded = grown.assemble(shape.clone(), self.bins, &values);
            let step = LeafStep {
                objective: self.parameters.objective,
                splits,
                update: ScoreUpdate {
                    tree: rounded.binned,
                    output: task.output,
                    factor: self.new_weight(),
                    segments: Some(rounded.segments),
                },
                n_leaves,
                scales: sums_leaves.then(|| self.leaf_scales()),
                foresees,
            };
            let found = self.passes.state_pass(Part::Training, &step).await?;
            values.sums = step.scales.map(|scales| real_sums(&found.sums, scales));
            let tree = grown.assemble(shape, self.bins, &values);
            if foresees {
                let off = tree.binned.distance(&step.update.tree) * step.update.factor;
                self.foresee(found, off);
            }
            return Ok(tree);
        } else {
            self.follow(splits, task.output).await?;
        }
        Ok(grown.assemble(shape, self.bins, &values))
    }

    /// Trees of an iteration.
    pub(super) fn n_trees(&self) -> usize {
        self.parameters.objective.n_outputs() * self.parameters.num_parallel_tree
    }

    /// Lets the rows follow the last splits.
    async fn follow(&self, splits: Vec<PendingSplit>, output: usize) -> Result<()> {
        if !splits.is_empty() {
            let step = GrowStep {
                output,
                begin: None,
                splits,
                gathers: Vec::new(),
                runs: ColumnRuns::default(),
            };
            self.passes.state_pass(Part::Training, &step).await?;
        }
        Ok(())
    }

    /// What unrounded gradients and hessians are multiplied by: a sum over all rows stays below 2^62, and each summand within
    /// what rounding can express.
    fn leaf_scales(&self) -> [f64; 2] {
        let row_bits = 64 - self.scored.n_rows.leading_zeros();
        let limit = 2f64.powi(62 - row_bits.max(12) as i32);
        self.maxima().map(|max| power_of_two_scale(max, limit))
    }

    fn push(&mut self, tree: &AssembledTree, output: usize, weight: f64) {
        self.ensemble.trees.push(tree.tree.clone());
        self.ensemble.outputs.push(output as u32);
        self.ensemble.weights.push(weight);
        if self.parameters.dart.is_some() || self.passes.keeps_records() {
            self.binned.push(tree.binned.clone());
        }
    }

    fn score_step(
        &self,
        updates: Vec<ScoreUpdate>,
        quantization: Option<Quantization>,
    ) -> ScoreStep {
        ScoreStep {
            objective: self.parameters.objective,
            updates,
            measure: true,
            quantization,
        }
    }

    /// Gives the scores of the training part some values, and leaves the gradients as they are.
    pub(super) async fn update(&self, updates: Vec<ScoreUpdate>) -> Result<()> {
        let step = self.update_step(updates);
        self.passes.state_pass(Part::Training, &step).await?;
        Ok(())
    }

    pub(super) fn update_step(&self, updates: Vec<ScoreUpdate>) -> ScoreStep {
        ScoreStep {
            objective: self.parameters.objective,
            updates,
            measure: false,
            quantization: None,
        }
    }
}

/// DART (Rashmi & Gilad-Bachrach 2015), with XGBoost's weights.
impl<P: Pass> Boosting<'_, P> {
    /// Draws the trees that this iteration leaves out, and takes them out of the scores.
    async fn drop_trees(&mut self) -> Result<()> {
        self.dropped.clear();
        let Some(dart) = self.parameters.dart else {
            return Ok(());
        };
        let n_trees = self.ensemble.trees.len();
        let key = random::hash(&[self.parameters.seed, 4, n_trees as u64]);
        let below = random::threshold(dart.dropout);
        self.dropped = (self.first_tree..n_trees)
            .filter(|&tree| {
                below.is_none_or(|below| crate::random::hash_word(key ^ tree as u64) < below)
            })
            .collect();
        if self.dropped.is_empty() {
            return Ok(());
        }
        let mut updates = self.dropped_updates(|weight| -weight);
        let updates = self.taken(&mut updates);
        let held_out = self.update_step(updates.clone());
        let score = self.score_step(updates, None);
        (self.scored, _) = self.passes.both_parts(&score, &held_out).await?;
        Ok(())
    }

    fn dropped_updates(&self, factor: impl Fn(f64) -> f64) -> Vec<Update> {
        self.dropped
            .iter()
            .map(|&tree| self.update_with(tree, factor(self.ensemble.weights[tree])))
            .collect()
    }

    /// An update by a tree of the ensemble that is kept over bins.
    fn update_with(&self, tree: usize, factor: f64) -> Update {
        let number = tree - self.first_tree;
        let update = ScoreUpdate {
            tree: self.binned[number].clone(),
            output: self.ensemble.outputs[tree] as usize,
            factor,
            segments: None,
        };
        (update, (number as u32, factor))
    }

    /// What brings the dropped trees back with their new weights.
    fn returning_updates(&self) -> Vec<Update> {
        let factor = self.dropped_factor();
        self.dropped_updates(|weight| weight * factor)
    }

    fn settle_dropped(&mut self) {
        let factor = self.dropped_factor();
        for &tree in &self.dropped {
            self.ensemble.weights[tree] *= factor;
        }
    }

    /// What a dropped tree's weight is multiplied by.
    fn dropped_factor(&self) -> f64 {
        self.dart_factors().0
    }

    /// The weight of a new tree.
    fn new_weight(&self) -> f64 {
        self.dart_factors().1
    }

    fn dart_factors(&self) -> (f64, f64) {
        let n_dropped = self.dropped.len() as f64;
        let learn_rate = self.parameters.learn_rate / self.n_trees() as f64;
        match self.parameters.dart {
            Some(dart) if n_dropped > 0.0 => match dart.normalization {
                DartNormalization::Tree => (
                    n_dropped / (n_dropped + learn_rate),
                    1.0 / (n_dropped + learn_rate),
                ),
                DartNormalization::Forest => (1.0 / (1.0 + learn_rate), 1.0 / (1.0 + learn_rate)),
            },
            _ => (1.0, 1.0),
        }
    }
}

fn real_sums(sums: &[[i64; 2]], scales: [f64; 2]) -> Vec<[f64; 2]> {
    let real = |sums: &[i64; 2]| [0, 1].map(|of| sums[of] as f64 / scales[of]);
    sums.iter().map(real).collect()
}

fn columns(bins: &FeatureBins, parameters: &TreeParameters, bundles: Option<Bundles>) -> Columns {
    let features = || bins.columns.iter().map(|&feature| feature as usize);
    let kinds = features()
        .map(|feature| ColumnKind {
            is_categorical: bins.is_categorical(feature),
            monotone: parameters
                .regularization
                .monotone
                .get(feature)
                .copied()
                .unwrap_or(0),
        })
        .collect();
    Columns {
        layout: HistogramLayout::new(features().map(|feature| bins.n_bins(feature))),
        kinds,
        bundles,
    }
}
