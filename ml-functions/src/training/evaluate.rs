//! Evaluates a fresh model on the held-out part, beside the baseline that any model must beat.
//!
//! In: the model and the training set; out: both evaluations from one pass, which is an ordinary step
//! with the model inside. Warns when the model is worse.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::estimator::{EstimatorSpec, Task};
use crate::features::{FeatureBlock, TargetEncoding};
use crate::metrics::Evaluation;
use crate::model::{Model, ModelContext, ModelState, Prediction};
use crate::model_file::{self, ModelCore};
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
    let (manifest, tensors) = model_file::to_parts(spec, context, model)?;
    let step = EvaluateStep {
        manifest: manifest.to_string(),
        tensors,
        loaded: OnceLock::new(),
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
    /// The manifest as JSON, since its parts describe their own types.
    manifest: String,
    tensors: Vec<u8>,
    /// The model, made when the first block comes.
    #[serde(skip)]
    loaded: OnceLock<Arc<Loaded>>,
}

struct Loaded {
    core: ModelCore,
    baseline: Option<Baseline>,
}

/// Both evaluations of some rows.
#[derive(Serialize, Deserialize)]
pub(super) struct EvaluatePartial {
    model: Evaluation,
    baseline: Option<Evaluation>,
}

impl EvaluateStep {
    /// Threads that come first at the same time each load the model; one of them is kept.
    fn loaded(&self) -> Result<Arc<Loaded>> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(Arc::clone(loaded));
        }
        let manifest = serde_json::from_str(&self.manifest).map_err(|source| Error::Internal {
            what: format!("cannot read a manifest: {source}"),
        })?;
        let core = model_file::from_parts(&manifest, &self.tensors)?;
        let baseline = core.target.as_ref().map(Baseline::new);
        Ok(Arc::clone(
            self.loaded
                .get_or_init(|| Arc::new(Loaded { core, baseline })),
        ))
    }
}

impl PartitionStep for EvaluateStep {
    type Partial = EvaluatePartial;
    const NAME: &'static str = "training.evaluate";

    fn run(&self, block: &FeatureBlock, compute: &Compute) -> Result<EvaluatePartial> {
        let loaded = self.loaded()?;
        let core = &loaded.core;
        let judge = |model: &dyn Model| -> Result<Evaluation> {
            let mut evaluation = Evaluation::new(core.spec.task, core.target.as_ref(), model);
            evaluation.update(&model.predict(block, compute)?, block)?;
            Ok(evaluation)
        };
        Ok(EvaluatePartial {
            model: judge(core.model.as_ref())?,
            baseline: loaded
                .baseline
                .as_ref()
                .map(|baseline| judge(baseline))
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
