//! A fitted linear model: coefficients in the features' own units, and what its link makes of them.
//!
//! In: blocks; out: values or probabilities. ŷ = link(intercept + coefficients · (x − shift)): the
//! intercept is kept at the training means, so that great means do not cost digits.

use std::any::Any;

use serde::{Deserialize, Serialize};
use serde_json::json;

use datafusion::arrow::record_batch::RecordBatch;

use super::layout::{Frame, Layout};
use super::{attributions, inspect};
use crate::compute::Compute;
use crate::error::{Error, Result};
use crate::explain::Attributions;
use crate::features::{FeatureBlock, FeatureEncoder, FeatureStatistics, TargetEncoding};
use crate::model::{Inspection, Model, ModelContext, ModelState, Prediction, Tensor};

/// What turns linear predictors into predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Link {
    /// The predictor itself.
    Identity,
    /// One predictor, the log odds of the second class.
    Logistic,
    /// One predictor a class.
    Softmax,
}

/// What a column of the design stands for: a feature, and for an indicator its category. The category
/// of NULLs is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) feature: String,
    pub(super) category: Option<Option<String>>,
}

/// How sure the coefficients of a model with one output are.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Uncertainty {
    /// Standard errors of the coefficients; the last of the intercept in the features' own units.
    pub(super) errors: Vec<f64>,
    /// That of the intercept at the means.
    pub(super) error_at_means: f64,
    /// Degrees of freedom of Student's t; `None` for the normal distribution.
    pub(super) degrees: Option<f64>,
}

/// A fitted linear model.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct LinearModel {
    pub(super) link: Link,
    /// `(n_outputs, n_cols + 1)`, the intercepts at `shift`.
    pub(super) coefficients: Vec<f64>,
    /// Shift of the numbers, scales of one.
    pub(super) frame: Frame,
    /// What each column is.
    pub(super) terms: Vec<Term>,
    /// The category of each code column that has no coefficient.
    pub(super) dropped: Vec<Option<usize>>,
    /// The classes, as text.
    pub(super) classes: Vec<String>,
    pub(super) uncertainty: Option<Uncertainty>,
}

impl LinearModel {
    /// The model of a solver's parameters.
    pub(super) fn new(
        link: Link,
        layout: &Layout,
        parameters: &[f64],
        encoder: &FeatureEncoder,
        target: Option<&TargetEncoding>,
    ) -> LinearModel {
        let ones = vec![1.0; layout.frame.scale.len()];
        LinearModel {
            link,
            coefficients: layout.in_own_units(parameters),
            frame: Frame {
                scale: ones,
                ..layout.frame.clone()
            },
            terms: terms(encoder),
            dropped: layout.dropped.clone(),
            classes: classes(target),
            uncertainty: None,
        }
    }

    /// Columns of the design.
    pub(super) fn n_cols(&self) -> usize {
        self.frame.n_cols()
    }

    /// The coefficients of each output.
    pub(super) fn outputs(&self) -> std::slice::ChunksExact<'_, f64> {
        self.coefficients.chunks_exact(self.n_cols() + 1)
    }

    /// The intercept of one output in the features' own units.
    pub(super) fn own_intercept(&self, coefficients: &[f64]) -> f64 {
        let moved = coefficients
            .iter()
            .zip(&self.frame.shift)
            .map(|(b, shift)| b * shift);
        coefficients[self.n_cols()] - moved.sum::<f64>()
    }

    /// Whether its outputs become predictions so.
    pub(super) fn has_link(&self, link: Link) -> bool {
        self.link == link
    }

    /// Parameters of `layout` that say what this model says, as far as it knows features, categories
    /// and classes by name: where a warm start begins. `None` for another kind of model, and where it knows none of the
    /// features.
    pub(super) fn warm_parameters(
        &self,
        link: Link,
        layout: &Layout,
        encoder: &FeatureEncoder,
        target: Option<&TargetEncoding>,
    ) -> Option<Vec<f64>> {
        if self.link != link {
            return None;
        }
        let (terms, classes) = (terms(encoder), classes(target));
        if !terms.is_empty() && !terms.iter().any(|term| self.terms.contains(term)) {
            return None;
        }
        let width = terms.len() + 1;
        let mut coefficients = vec![0.0; layout.n_outputs * width];
        for (output, row) in coefficients.chunks_exact_mut(width).enumerate() {
            let source = match link {
                Link::Softmax => self
                    .classes
                    .iter()
                    .position(|class| *class == classes[output]),
                Link::Identity | Link::Logistic => Some(0),
            };
            let Some(own) = source.and_then(|source| self.outputs().nth(source)) else {
                continue;
            };
            let mut intercept = self.own_intercept(own);
            for (column, term) in terms.iter().enumerate() {
                let known = self.terms.iter().position(|known| known == term);
                let beta = known.map_or(0.0, |known| own[known]);
                intercept += beta * layout.frame.shift.get(column).copied().unwrap_or(0.0);
                let scale = layout.frame.scale.get(column).copied().unwrap_or(1.0);
                row[column] = if scale > 0.0 { beta / scale } else { 0.0 };
            }
            row[width - 1] = intercept;
        }
        let parameters = layout.compress(&coefficients);
        parameters
            .iter()
            .all(|x| x.is_finite())
            .then_some(parameters)
    }

    /// Makes a model of its saved state.
    pub(super) fn load(state: &ModelState, context: &ModelContext<'_>) -> Result<Box<dyn Model>> {
        let damaged = |what: &str| Error::DamagedModel {
            what: format!("tensor \"{what}\""),
        };
        let shift = state.f64("shift")?.to_vec();
        let widths: Vec<usize> = state.head("indicators")?;
        let frame = Frame {
            scale: vec![1.0; shift.len()],
            shift,
            widths,
        };
        let (slopes, intercepts) = (state.f64("coefficients")?, state.f64("intercepts")?);
        let p = frame.n_cols();
        let terms = terms(context.encoder);
        if slopes.len() != p * intercepts.len() || terms.len() != p || intercepts.is_empty() {
            return Err(damaged("coefficients"));
        }
        let coefficients = intercepts
            .iter()
            .enumerate()
            .flat_map(|(output, &b)| slopes[output * p..][..p].iter().copied().chain([b]))
            .collect();
        let uncertainty = match state.tensors.contains_key("standard_errors") {
            true => Some(Uncertainty {
                errors: state.f64("standard_errors")?.to_vec(),
                error_at_means: state.head("error_at_means")?,
                degrees: state.head("degrees_of_freedom")?,
            }),
            false => None,
        };
        if uncertainty
            .as_ref()
            .is_some_and(|uncertainty| uncertainty.errors.len() != p + 1)
        {
            return Err(damaged("standard_errors"));
        }
        Ok(Box::new(LinearModel {
            link: state.head("link")?,
            coefficients,
            frame,
            terms,
            dropped: state.head("dropped_categories")?,
            classes: classes(context.target),
            uncertainty,
        }))
    }
}

impl Model for LinearModel {
    fn predict(&self, block: &FeatureBlock, compute: &Compute) -> Result<Prediction> {
        let n_outputs = self.coefficients.len() / (self.n_cols() + 1);
        let design = self.frame.design(block);
        let mut z = compute
            .device()
            .linear(&design, &self.coefficients, n_outputs)?;
        Ok(match self.link {
            Link::Identity => Prediction::Values(z),
            Link::Logistic => {
                let both = |&z: &f64| [1.0 / (1.0 + z.exp()), 1.0 / (1.0 + (-z).exp())];
                Prediction::Probabilities {
                    n_classes: 2,
                    values: z.iter().flat_map(both).collect(),
                }
            }
            Link::Softmax => {
                z.chunks_exact_mut(n_outputs).for_each(softmax);
                Prediction::Probabilities {
                    n_classes: n_outputs,
                    values: z,
                }
            }
        })
    }

    fn predicted_bytes(&self) -> u64 {
        8 * self.outputs().len() as u64
    }

    fn state(&self) -> ModelState {
        let (p, n_outputs) = (self.n_cols(), self.outputs().len());
        let slopes = self
            .outputs()
            .flat_map(|row| row[..p].iter().copied())
            .collect();
        let intercepts = self.outputs().map(|row| row[p]).collect();
        let mut state = ModelState {
            head: json!({
                "link": self.link,
                "indicators": self.frame.widths,
                "dropped_categories": self.dropped,
            }),
            ..ModelState::default()
        };
        let mut put = |name: &str, shape: &[usize], values: Vec<f64>| {
            state
                .tensors
                .insert(name.to_owned(), Tensor::f64(shape, values));
        };
        put("coefficients", &[n_outputs, p], slopes);
        put("intercepts", &[n_outputs], intercepts);
        put("shift", &[self.frame.shift.len()], self.frame.shift.clone());
        if let Some(uncertainty) = &self.uncertainty {
            put("standard_errors", &[p + 1], uncertainty.errors.clone());
            state.head["error_at_means"] = json!(uncertainty.error_at_means);
            state.head["degrees_of_freedom"] = json!(uncertainty.degrees);
        }
        state
    }

    fn inspect(&self, request: &Inspection, context: &ModelContext<'_>) -> Result<RecordBatch> {
        inspect::inspect(self, request, context.encoder)
    }

    /// Coefficient · (x − training mean); of a category its coefficient less the mean over the training
    /// rows. The score is the linear predictor.
    fn attributions(
        &self,
        block: &FeatureBlock,
        context: &ModelContext<'_>,
        compute: &Compute,
    ) -> Result<Attributions> {
        attributions::of(self, block, context.encoder, compute)
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Turns predictors into probabilities that sum to one.
fn softmax(z: &mut [f64]) {
    let greatest = z.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    z.iter_mut().for_each(|z| *z = (*z - greatest).exp());
    let total: f64 = z.iter().sum();
    z.iter_mut().for_each(|z| *z /= total);
}

/// What each column of the design stands for.
fn terms(encoder: &FeatureEncoder) -> Vec<Term> {
    let numeric = encoder.numeric().map(|(feature, _)| Term {
        feature: feature.to_owned(),
        category: None,
    });
    let indicators = encoder.categorical().flat_map(|(feature, column)| {
        let categories = column.categories.iter().cloned().map(Some).chain([None]);
        categories.take(column.n_seen()).map(|category| Term {
            feature: feature.to_owned(),
            category: Some(category),
        })
    });
    numeric.chain(indicators).collect()
}

fn classes(target: Option<&TargetEncoding>) -> Vec<String> {
    target.map_or_else(Vec::new, |target| {
        target.classes.iter().map(|class| class.text()).collect()
    })
}

/// Number of numeric features of an encoder.
pub(super) fn n_numeric(encoder: &FeatureEncoder) -> usize {
    let is_numeric =
        |statistics: &&FeatureStatistics| matches!(statistics, FeatureStatistics::Numeric(_));
    encoder.statistics.iter().filter(is_numeric).count()
}
