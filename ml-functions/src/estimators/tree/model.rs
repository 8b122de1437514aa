//! What tree estimators learn: an ensemble and what its scores mean.
//!
//! In: blocks; out: predictions, importances and attributions. Immutable.

use std::any::Any;
use std::sync::{Arc, OnceLock};

use datafusion::arrow::array::{ArrayRef, Float64Array, StringArray};
use datafusion::arrow::datatypes::{Field, Schema};
use datafusion::arrow::record_batch::RecordBatch;
use serde_json::json;

use super::device_forest::DeviceForest;
use super::ensemble::TreeEnsemble;
use super::importance::feature_importances;
use super::objective::Objective;
use super::scoring::CompiledEnsemble;
use super::shap::TreeExplainer;
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::explain::Attributions;
use crate::features::{FeatureBlock, FeatureEncoder};
use crate::model::{Inspection, Model, ModelContext, ModelState, Prediction};

/// A fitted ensemble.
#[derive(Debug)]
pub(in crate::estimators) struct TreeModel {
    compiled: CompiledEnsemble,
    /// Made when a device is asked for scores.
    on_device: OnceLock<DeviceForest>,
    ensemble: Arc<TreeEnsemble>,
    objective: Objective,
    /// A hash of the features' names and categories, for warm starts.
    features: u64,
    /// Made when the first attribution is asked for.
    explainer: OnceLock<TreeExplainer>,
}

impl TreeModel {
    /// A model of an ensemble that training made, or that was checked.
    pub(super) fn new(ensemble: TreeEnsemble, objective: Objective, features: u64) -> TreeModel {
        let ensemble = Arc::new(ensemble);
        TreeModel {
            compiled: CompiledEnsemble::new(Arc::clone(&ensemble)),
            on_device: OnceLock::new(),
            ensemble,
            objective,
            features,
            explainer: OnceLock::new(),
        }
    }

    /// The model of a stored state.
    pub(in crate::estimators) fn load(
        state: &ModelState,
        context: &ModelContext<'_>,
    ) -> Result<Box<dyn Model>> {
        let ensemble = TreeEnsemble::load(state)?;
        let objective: Objective = state.head("objective")?;
        let encoder = context.encoder;
        let n_categories = encoder
            .categorical()
            .map(|(_, column)| column.categories.len());
        let is_whole = ensemble.base_scores.len() == objective.n_outputs()
            && ensemble.n_dense == encoder.numeric().count()
            && n_categories.eq(ensemble.category_counts.iter().copied());
        if !is_whole {
            return Err(Error::DamagedModel {
                what: "trees for the model's features".to_owned(),
            });
        }
        let features = TreeModel::fingerprint(encoder);
        Ok(Box::new(TreeModel::new(ensemble, objective, features)))
    }

    /// A hash of the features' names and categories.
    pub(super) fn fingerprint(encoder: &FeatureEncoder) -> u64 {
        let texts = encoder
            .numeric()
            .map(|(name, _)| name)
            .chain(encoder.categorical().flat_map(|(name, column)| {
                std::iter::once(name).chain(column.categories.iter().map(String::as_str))
            }));
        texts.fold(0, |hash, text| {
            let bytes = text.bytes().fold(hash, |hash, byte| {
                crate::random::hash_word(hash ^ u64::from(byte).wrapping_add(1))
            });
            crate::random::hash_word(bytes)
        })
    }

    /// The ensemble, if another training may add to it.
    pub(super) fn continued(&self, objective: Objective, features: u64) -> Option<TreeEnsemble> {
        (self.objective == objective && self.features == features)
            .then(|| self.ensemble.as_ref().clone())
    }

    /// The scores of a block, on whatever device was chosen.
    fn scores(&self, block: &FeatureBlock, compute: &Compute) -> Result<Vec<f64>> {
        match compute.accelerator() {
            None => self.compiled.score(block),
            Some(device) => {
                let forest = self
                    .on_device
                    .get_or_init(|| DeviceForest::new(&self.ensemble));
                forest.score(device, &self.ensemble, block)
            }
        }
    }

    /// How scores are attributed to features.
    fn explainer(&self) -> &TreeExplainer {
        self.explainer
            .get_or_init(|| TreeExplainer::new(Arc::clone(&self.ensemble)))
    }

    fn importances(&self, context: &ModelContext<'_>) -> Result<RecordBatch> {
        let names = feature_names(context.encoder);
        let importances = feature_importances(&self.ensemble);
        let figures = |of: fn(&super::importance::FeatureImportance) -> f64| -> ArrayRef {
            let values = names.iter().zip(&importances).map(|(_, found)| of(found));
            Arc::new(Float64Array::from_iter_values(values))
        };
        let columns: [(&str, ArrayRef); 4] = [
            (
                "feature",
                Arc::new(StringArray::from_iter_values(names.iter())),
            ),
            ("importance_weight", figures(|found| found.weight)),
            ("importance_gain", figures(|found| found.gain)),
            ("importance_cover", figures(|found| found.cover)),
        ];
        let field = |(name, array): &(&str, ArrayRef)| {
            Field::new(*name, array.data_type().clone(), *name != "feature")
        };
        let fields: Vec<Field> = columns.iter().map(field).collect();
        let arrays = columns.into_iter().map(|(_, array)| array).collect();
        Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
    }
}

impl Model for TreeModel {
    fn predict(&self, block: &FeatureBlock, compute: &Compute) -> Result<Prediction> {
        let mut scores = self.scores(block, compute)?;
        Ok(match self.objective {
            Objective::Logistic => Prediction::Probabilities {
                n_classes: 2,
                values: scores
                    .iter()
                    .flat_map(|&score| {
                        // Each from its own side, so that neither loses digits near 0.
                        [sigmoid(-score), sigmoid(score)]
                    })
                    .collect(),
            },
            Objective::Frequencies { n_classes } => Prediction::Probabilities {
                n_classes,
                values: frequencies(&scores, n_classes),
            },
            Objective::Softmax { n_classes } => {
                scores.chunks_exact_mut(n_classes).for_each(softmax);
                Prediction::Probabilities {
                    n_classes,
                    values: scores,
                }
            }
            Objective::Poisson | Objective::Tweedie { .. } => {
                scores.iter_mut().for_each(|score| *score = score.exp());
                Prediction::Values(scores)
            }
            Objective::SquaredError | Objective::Quantile { .. } | Objective::Huber { .. } => {
                Prediction::Values(scores)
            }
        })
    }

    fn predicted_bytes(&self) -> u64 {
        8 * self.objective.n_outputs() as u64
    }

    fn state(&self) -> ModelState {
        let mut state = ModelState {
            head: json!({ "objective": self.objective }),
            ..ModelState::default()
        };
        self.ensemble.save(&mut state);
        state
    }

    fn inspect(&self, request: &Inspection, context: &ModelContext<'_>) -> Result<RecordBatch> {
        match request.function.as_str() {
            "feature_importance" => self.importances(context),
            function => Err(Error::Unsupported {
                what: format!("ml.{function} of this model"),
            }),
        }
    }

    /// Exact SHAP values.
    fn attributions(
        &self,
        block: &FeatureBlock,
        context: &ModelContext<'_>,
        compute: &Compute,
    ) -> Result<Attributions> {
        let explainer = self.explainer();
        Ok(Attributions {
            features: feature_names(context.encoder),
            baseline: explainer.expected_scores().to_vec(),
            scores: self.scores(block, compute)?,
            values: explainer.explain(block)?,
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// The features as the trees number them: dense ones, then categorical ones.
fn feature_names(encoder: &FeatureEncoder) -> Vec<String> {
    let numeric = encoder.numeric().map(|(name, _)| name.to_owned());
    let categorical = encoder.categorical().map(|(name, _)| name.to_owned());
    numeric.chain(categorical).collect()
}

fn sigmoid(score: f64) -> f64 {
    1.0 / (1.0 + (-score).exp())
}

/// Frequencies of each class, which sum to one; of two classes only the second has a score.
fn frequencies(scores: &[f64], n_classes: usize) -> Vec<f64> {
    let share = |score: &f64| score.clamp(0.0, 1.0);
    if n_classes <= 2 {
        let both = |score: &f64| [1.0 - share(score), share(score)];
        return scores.iter().flat_map(both).collect();
    }
    let mut values: Vec<f64> = scores.iter().map(share).collect();
    for row in values.chunks_exact_mut(n_classes) {
        let sum: f64 = row.iter().sum();
        row.iter_mut().for_each(|value| {
            *value = if sum > 0.0 {
                *value / sum
            } else {
                1.0 / n_classes as f64
            }
        });
    }
    values
}

/// Scores become probabilities that sum to one.
fn softmax(scores: &mut [f64]) {
    let greatest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for score in scores.iter_mut() {
        *score = (*score - greatest).exp();
        sum += *score;
    }
    scores.iter_mut().for_each(|score| *score /= sum);
}
