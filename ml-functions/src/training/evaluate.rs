//! Evaluates a fresh model on the held-out part, beside the baseline that any model must beat.
//!
//! In: the model and the training set; out: both evaluations from one pass, which is an ordinary step
//! with the model inside. Warns when the model is worse.

use std::any::Any;

use serde::{Deserialize, Serialize};

use super::carried_model::CarriedModel;
use super::weighted_losses::{WeightedLabels, WeightedLosses};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimator::{EstimatorSpec, Task};
use crate::features::{FeatureBlock, TargetEncoding};
use crate::metrics::Evaluation;
use crate::model::{Model, ModelContext, ModelState, Prediction};
use crate::run::TrainingRun;
use crate::training_set::{Part, PartitionStep, TrainingSet, Visit, reduce};

/// What an evaluation found.
pub(super) struct Evaluated {
    pub(super) model: Evaluation,
    pub(super) part: Part,
    pub(super) baseline: Vec<(String, Option<f64>)>,
}

/// Evaluates on the held-out part, or where there is none on the training part.
pub(super) async fn evaluate(
    spec: &EstimatorSpec,
    context: &ModelContext<'_>,
    model: &dyn Model,
    samples: &dyn TrainingSet,
    run: &TrainingRun,
) -> Result<Evaluated> {
    let step = EvaluateStep {
        model: CarriedModel::new(spec, context, model)?,
    };
    let has_evaluation = samples.n_samples(Part::Evaluation) > 0;
    let part = if has_evaluation {
        Part::Evaluation
    } else {
        Part::Training
    };
    let Some(partial) = reduce(samples, &step, part, Visit::Once, run).await? else {
        return Err(Error::Internal {
            what: "a model was trained without samples".to_owned(),
        });
    };
    let metrics = partial.model.metrics(None);
    let baseline = partial
        .baseline
        .map(|baseline| baseline.metrics(None))
        .unwrap_or_default();
    let comparison = match &partial.weighted {
        Some(losses) => {
            let training = match part {
                Part::Training => Some(losses.labels().clone()),
                Part::Evaluation => training_labels(context, samples, run).await?,
            };
            training.map(|training| losses.against(&training))
        }
        None => unweighted_losses(spec.task, &metrics, &baseline),
    };
    if let Some((of_model, of_baseline)) = comparison {
        let is_weighted = partial.weighted.is_some();
        warn_if_worse(spec.task, of_model, of_baseline, is_weighted, run);
    }
    Ok(Evaluated {
        model: partial.model.compact(),
        part,
        baseline: baseline
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    })
}

/// The weighted labels of the training part, where the samples have weights.
async fn training_labels(
    context: &ModelContext<'_>,
    samples: &dyn TrainingSet,
    run: &TrainingRun,
) -> Result<Option<WeightedLabels>> {
    let Some(target) = context.target else {
        return Ok(None);
    };
    let step = LabelsStep {
        target: serde_json::to_string(target).map_err(|source| Error::Internal {
            what: format!("cannot write a target: {source}"),
        })?,
    };
    Ok(reduce(samples, &step, Part::Training, Visit::Once, run)
        .await?
        .flatten())
}

/// What a model of the task minimises, and what predicts without features.
fn loss_names(task: Task) -> Option<(&'static str, &'static str)> {
    match task {
        Task::Regression => Some(("mean_squared_error", "the mean of the label")),
        Task::Classification => Some(("log_loss", "the frequencies of the classes")),
        Task::Clustering | Task::Decomposition => None,
    }
}

fn unweighted_losses(
    task: Task,
    model: &[(&'static str, Option<f64>)],
    baseline: &[(&'static str, Option<f64>)],
) -> Option<(f64, f64)> {
    let (metric, _) = loss_names(task)?;
    let value = |metrics: &[(&'static str, Option<f64>)]| {
        let found = metrics.iter().find(|(name, _)| *name == metric);
        found.and_then(|(_, value)| *value)
    };
    value(model).zip(value(baseline))
}

/// Rounding alone must not make a model that equals the baseline a worse one.
const TOLERANCE: f64 = 1e-9;

fn warn_if_worse(
    task: Task,
    of_model: f64,
    of_baseline: f64,
    is_weighted: bool,
    run: &TrainingRun,
) {
    let Some((metric, simple)) = loss_names(task) else {
        return;
    };
    let weighted = if is_weighted { "weighted " } else { "" };
    let is_worse = of_model > of_baseline * (1.0 + TOLERANCE);
    let [of_model, of_baseline] = [of_model, of_baseline].map(|loss| format!("{loss:.6}"));
    if is_worse && of_model != of_baseline {
        let message = format!(
            "the model is worse than always predicting {simple}: {weighted}{metric} {of_model} against {of_baseline}"
        );
        let hint = "The features may say nothing of the label; compare other features or another model type.";
        run.warn("worse_than_baseline", message, Some(hint));
    }
}

/// Sums the weighted labels of a block.
#[derive(Serialize, Deserialize)]
pub(super) struct LabelsStep {
    /// As JSON, since its parts describe their own types.
    target: String,
}

impl PartitionStep for LabelsStep {
    type Partial = Option<WeightedLabels>;
    const NAME: &'static str = "training.labels";

    fn run(&self, block: &FeatureBlock, _: &Compute) -> Result<Option<WeightedLabels>> {
        let target = serde_json::from_str(&self.target).map_err(|source| Error::Internal {
            what: format!("cannot read a target: {source}"),
        })?;
        Ok(WeightedLabels::of(&target, block))
    }

    fn merge(
        &self,
        into: &mut Option<WeightedLabels>,
        later: Option<WeightedLabels>,
    ) -> Result<()> {
        if let (Some(into), Some(later)) = (into, later) {
            into.merge(&later);
        }
        Ok(())
    }
}

/// Predicts and judges the rows of a block, by the model and by the baseline.
#[derive(Serialize, Deserialize)]
pub(super) struct EvaluateStep {
    model: CarriedModel,
}

/// Both evaluations of some rows.
#[derive(Serialize, Deserialize)]
pub(super) struct EvaluatePartial {
    model: Evaluation,
    baseline: Option<Evaluation>,
    weighted: Option<WeightedLosses>,
}

impl PartitionStep for EvaluateStep {
    type Partial = EvaluatePartial;
    const NAME: &'static str = "training.evaluate";

    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<EvaluatePartial> {
        let core = self.model.core()?;
        let judge = |model: &dyn Model| -> Result<(Evaluation, Prediction)> {
            let mut evaluation = Evaluation::new(core.spec.task, core.target.as_ref(), model);
            let prediction = model.predict_for_metrics(block, compute)?;
            evaluation.update(&prediction, block)?;
            Ok((evaluation, prediction))
        };
        let target = core.target.as_ref();
        let (model, prediction) = judge(core.model.as_ref())?;
        let baseline = target.map(|target| judge(&Baseline::new(target)));
        Ok(EvaluatePartial {
            model,
            baseline: baseline.transpose()?.map(|(baseline, _)| baseline),
            weighted: target.and_then(|target| WeightedLosses::of(target, &prediction, block)),
        })
    }

    fn merge(&self, into: &mut EvaluatePartial, later: EvaluatePartial) -> Result<()> {
        into.model.merge(later.model)?;
        if let (Some(into), Some(later)) = (&mut into.weighted, &later.weighted) {
            into.merge(later);
        }
        match (&mut into.baseline, later.baseline) {
            (Some(into), Some(later)) => into.merge(later),
            _ => Ok(()),
        }
    }
}

/// Predicts the training part's mean, or the frequencies of its classes, for every row.
#[derive(Debug)]
struct Baseline(Vec<f64>);

impl Baseline {
    fn new(target: &TargetEncoding) -> Baseline {
        if target.classes.is_empty() {
            return Baseline(vec![target.mean]);
        }
        let n_samples: u64 = target.class_counts.iter().sum();
        let share = |count: &u64| *count as f64 / n_samples.max(1) as f64;
        Baseline(target.class_counts.iter().map(share).collect())
    }
}

impl Model for Baseline {
    fn predict(&self, block: &FeatureBlock, _: &Compute) -> Result<Prediction> {
        let values = self.0.repeat(block.n_samples);
        Ok(match self.0.len() {
            1 => Prediction::Values(values),
            n_classes => Prediction::Probabilities { n_classes, values },
        })
    }

    fn state(&self) -> ModelState {
        ModelState::default()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
