//! Evaluates a fresh model on the held-out part, beside the baseline that any model must beat.
//!
//! In: the model and the training set; out: both evaluations from one pass, which is an ordinary step
//! with the model inside. Warns when the model is worse.

use std::any::Any;

use serde::{Deserialize, Serialize};

use super::carried_model::CarriedModel;
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
    warn_if_worse(spec.task, &metrics, &baseline, run);
    Ok(Evaluated {
        model: partial.model.compact(),
        part,
        baseline: baseline
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    })
}

/// Rounding alone must not make a model that equals the baseline a worse one.
const TOLERANCE: f64 = 1e-9;

fn warn_if_worse(
    task: Task,
    model: &[(&'static str, Option<f64>)],
    baseline: &[(&'static str, Option<f64>)],
    run: &TrainingRun,
) {
    let (metric, simple) = match task {
        Task::Regression => ("mean_squared_error", "the mean of the label"),
        Task::Classification => ("log_loss", "the frequencies of the classes"),
        Task::Clustering | Task::Decomposition => return,
    };
    let value = |metrics: &[(&'static str, Option<f64>)]| {
        metrics
            .iter()
            .find(|(name, _)| *name == metric)
            .and_then(|(_, value)| *value)
    };
    let (Some(of_model), Some(of_baseline)) = (value(model), value(baseline)) else {
        return;
    };
    if of_model > of_baseline * (1.0 + TOLERANCE) {
        let message = format!(
            "the model is worse than always predicting {simple}: {metric} {of_model:.6} against {of_baseline:.6}"
        );
        let hint = "The features may say nothing of the label; compare other features or another model type.";
        run.warn("worse_than_baseline", message, Some(hint));
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
}

impl PartitionStep for EvaluateStep {
    type Partial = EvaluatePartial;
    const NAME: &'static str = "training.evaluate";

    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<EvaluatePartial> {
        let core = self.model.core()?;
        let judge = |model: &dyn Model| -> Result<Evaluation> {
            let mut evaluation = Evaluation::new(core.spec.task, core.target.as_ref(), model);
            evaluation.update(&model.predict(block, compute)?, block)?;
            Ok(evaluation)
        };
        Ok(EvaluatePartial {
            model: judge(core.model.as_ref())?,
            baseline: core
                .target
                .as_ref()
                .map(|target| judge(&Baseline::new(target)))
                .transpose()?,
        })
    }

    fn merge(&self, into: &mut EvaluatePartial, later: EvaluatePartial) -> Result<()> {
        into.model.merge(later.model)?;
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
