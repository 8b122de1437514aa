//! One training of trees, from samples to a model: what all tree estimators share.
//!
//! In: samples, options and what is minimised; out: a [`TreeModel`] and its training curve. One pass
//! surveys the values, one turns them into bins, and from then on only bins are visited.

use std::time::Duration;

use super::boost::{IterationLoss, boost};
use super::chunk::{StartTreeChunk, TreeChunk};
use super::driver::Pass;
use super::ensemble::TreeEnsemble;
use super::model::TreeModel;
use super::objective::Objective;
use super::options::parameters;
use super::resume::TreeRecord;
use super::survey::{Survey, SurveyStep};
use crate::error::{Error, Result};
use crate::features::TargetEncoding;
use crate::options::Options;
use crate::run::{Iteration, TrainingRun};
use crate::training_set::{
    Part, StateStep, TrainingSet, Visit, reduce, reduce_states, reduce_states_of_both,
};

/// Nodes of up to so many rows are split on the CPU also where a device sums: a launch takes longer.
const DEVICE_GATHER_ROWS: u64 = 32;

/// Under this name trees are kept in checkpoints.
const RECORDS: &str = "tree.boost";

/// Learns an ensemble.
pub(in crate::estimators) async fn fit(
    samples: &dyn TrainingSet,
    objective: Objective,
    options: &Options,
    run: &TrainingRun,
) -> Result<TreeModel> {
    let encoder = samples.encoder();
    let mut parameters = parameters(options, objective, encoder, run.seed)?;
    if run.compute.accelerator().is_some() {
        // What a device sums need not come to the host; the tree is the same.
        parameters.gather_rows = parameters.gather_rows.min(DEVICE_GATHER_ROWS);
    }
    // Before the states, which take what is left.
    let memory = samples.working_memory(parameters.working_bytes);
    parameters.working_bytes = memory.n_bytes;
    let survey = SurveyStep {
        objective,
        category_counts: encoder
            .categorical()
            .map(|(_, column)| column.categories.len())
            .collect(),
        n_samples: samples.n_samples(Part::Training),
        seed: run.seed,
    };
    let mut surveyed = match known_survey(samples, &survey, options)? {
        Some(surveyed) => surveyed,
        None => reduce(samples, &survey, Part::Training, Visit::Once, run)
            .await?
            .unwrap_or_default(),
    };
    check_labels(samples, objective, &surveyed)?;
    let base_scores =
        objective.base_scores(&surveyed.class_weights, surveyed.label_sum, |quantile| {
            surveyed.label_quantile(quantile)
        });
    let bins = surveyed.bins(options.usize("max_bin"));
    let features = TreeModel::fingerprint(encoder);
    let start = match warm_start(run, objective, features) {
        Some(ensemble) => ensemble,
        None => TreeEnsemble {
            base_scores,
            n_dense: encoder.numeric().count(),
            category_counts: survey.category_counts,
            ..TreeEnsemble::default()
        },
    };
    let step = StartTreeChunk {
        bins: bins.clone(),
        objective,
        ensemble: start.clone(),
    };
    for part in [Part::Training, Part::Evaluation] {
        samples.start_states(&step, part, run).await?;
    }
    let n_earlier = start.trees.len() as u64;
    let mut before = run.now();
    let mut on_iteration = |loss: IterationLoss| {
        run.check_cancelled()?;
        let now = run.now();
        run.iteration(iteration(&loss, parameters.learn_rate, now - before));
        before = now;
        Ok(())
    };
    let passes = Passes { samples, run };
    let ensemble = boost(&passes, &parameters, &bins, start, &mut on_iteration).await?;
    if ensemble.trees.len() as u64 == n_earlier {
        let message = "training added no tree".to_owned();
        run.warn("no_tree", message, Some("Every row has the weight 0."));
    }
    Ok(TreeModel::new(ensemble, objective, features))
}

/// What the first reading already tells: of rows that all weigh the same, without features of so many
/// categories that their labels must group them, for objectives that need no more of the labels than
/// their mean.
fn known_survey(
    samples: &dyn TrainingSet,
    step: &SurveyStep,
    options: &Options,
) -> Result<Option<Survey>> {
    let target = target(samples)?;
    let has_mean = matches!(
        step.objective,
        Objective::SquaredError
            | Objective::Logistic
            | Objective::Softmax { .. }
            | Objective::Frequencies { .. }
    );
    let max_bin = options.usize("max_bin");
    let is_weighted = options.text("instance_weight_col").is_some() || options.weighs_classes();
    let is_grouped = step
        .category_counts
        .iter()
        .any(|n_categories| n_categories + 1 > max_bin);
    let Some(sample) = samples
        .sample()
        .filter(|_| has_mean && !is_weighted && !is_grouped)
    else {
        return Ok(None);
    };
    let n_samples = samples.n_samples(Part::Training);
    let class_weights = if target.classes.is_empty() {
        vec![n_samples as f64]
    } else {
        target
            .class_counts
            .iter()
            .map(|count| *count as f64)
            .collect()
    };
    let numeric = samples.encoder().numeric();
    let no_sums = |n_categories: &usize| vec![(0.0, 0.0); n_categories + 1];
    Ok(Some(Survey {
        dense: sample.to_vec(),
        has_missing: numeric.map(|(_, column)| column.null_count > 0).collect(),
        categories: step.category_counts.iter().map(no_sums).collect(),
        class_weights,
        label_sum: target.mean * n_samples as f64,
        n_samples,
        ..Survey::default()
    }))
}

/// Iterations count from 1, as BigQuery's of trees do.
fn iteration(loss: &IterationLoss, learn_rate: f64, duration: Duration) -> Iteration {
    Iteration {
        iteration: loss.iteration as u64 + 1,
        loss: loss.loss,
        eval_loss: loss.eval_loss,
        learning_rate: Some(learn_rate),
        duration_ms: u64::try_from(duration.as_millis()).unwrap_or(u64::MAX),
        ..Iteration::default()
    }
}

/// Passes over the states of a training set.
struct Passes<'a> {
    samples: &'a dyn TrainingSet,
    run: &'a TrainingRun,
}

impl Pass for Passes<'_> {
    async fn state_pass<S: StateStep<State = TreeChunk>>(
        &self,
        part: Part,
        step: &S,
    ) -> Result<S::Partial> {
        reduce_states(self.samples, step, part, self.run).await
    }

    async fn both_parts<T, E>(
        &self,
        training: &T,
        evaluation: &E,
    ) -> Result<(T::Partial, E::Partial)>
    where
        T: StateStep<State = TreeChunk>,
        E: StateStep<State = TreeChunk>,
    {
        reduce_states_of_both(self.samples, training, evaluation, self.run).await
    }

    fn threads(&self) -> usize {
        self.samples.threads()
    }

    fn keeps_records(&self) -> bool {
        self.run.checkpoints.is_some()
    }

    fn keep_record(&self, record: &TreeRecord) -> Result<()> {
        match &self.run.checkpoints {
            Some(checkpoints) => checkpoints.keep_state(RECORDS, record),
            None => Ok(()),
        }
    }

    fn earlier_records(&self) -> Result<Vec<TreeRecord>> {
        let checkpoints = self.run.checkpoints.as_ref();
        checkpoints.map_or(Ok(Vec::new()), |checkpoints| checkpoints.states(RECORDS))
    }
}

/// The label's encoding, which every supervised training has.
pub(in crate::estimators) fn target(samples: &dyn TrainingSet) -> Result<&TargetEncoding> {
    samples.target().ok_or_else(|| Error::Internal {
        what: "a tree estimator was given samples without a label".to_owned(),
    })
}

/// The ensemble to add to; a model of another kind is told in a warning.
fn warm_start(run: &TrainingRun, objective: Objective, features: u64) -> Option<TreeEnsemble> {
    let previous = run.warm_start.as_ref()?;
    let ensemble = previous
        .as_any()
        .downcast_ref::<TreeModel>()
        .and_then(|model| model.continued(objective, features));
    if ensemble.is_none() {
        let message = "the last version has other features or another objective, so that training started anew";
        run.warn("no_warm_start", message.to_owned(), None);
    }
    ensemble
}

/// Fails for labels below zero where the mean is an exponential.
fn check_labels(samples: &dyn TrainingSet, objective: Objective, surveyed: &Survey) -> Result<()> {
    if !matches!(objective, Objective::Poisson | Objective::Tweedie { .. }) {
        return Ok(());
    }
    if surveyed.n_negative > 0 {
        return Err(Error::BadLabel {
            column: target(samples)?.column.clone(),
            problem: format!("is negative in {} rows", surveyed.n_negative),
            hint: "Objectives POISSON and TWEEDIE need labels of at least 0.".to_owned(),
        });
    }
    Ok(())
}
