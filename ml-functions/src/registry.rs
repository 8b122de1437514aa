//! Finds estimators and their steps by name.
//!
//! In: names that a statement wrote or another machine sent; out: the registered estimators, in the
//! order of their families. Registering is a line in the family's list.

use std::sync::Arc;

use crate::error::{Error, Result, nearest_name};
use crate::estimator::{Estimator, Task};
use crate::estimators::{cluster, decomposition, ensemble, linear_model, tree};
use crate::training::COMMON_STEPS;
use crate::training_set::{AnyStart, AnyStateStep, AnyStep, StateDecoder};

/// All registered estimators.
pub fn all() -> impl Iterator<Item = &'static dyn Estimator> {
    [
        linear_model::ESTIMATORS,
        tree::ESTIMATORS,
        ensemble::ESTIMATORS,
        cluster::ESTIMATORS,
        decomposition::ESTIMATORS,
    ]
    .into_iter()
    .flatten()
    .copied()
}

/// Model types of BigQuery ML, and their families, that have no estimator yet.
const NOT_BUILT: &[&str] = &[
    "arima_plus",
    "arima_plus_xreg",
    "autoencoder",
    "automl",
    "automl_classifier",
    "automl_regressor",
    "contribution_analysis",
    "dnn",
    "dnn_classifier",
    "dnn_linear_combined",
    "dnn_linear_combined_classifier",
    "dnn_linear_combined_regressor",
    "dnn_regressor",
    "matrix_factorization",
    "onnx",
    "tensorflow",
    "tensorflow_lite",
    "transform_only",
    "xgboost",
];

/// Fails for a model type that exists elsewhere and has no estimator here yet.
pub fn refuse_not_built(name: &str) -> Result<()> {
    let name = name.trim();
    match NOT_BUILT
        .iter()
        .find(|known| known.eq_ignore_ascii_case(name))
    {
        Some(known) => Err(Error::Unsupported {
            what: format!("model type \"{known}\""),
        }),
        None => Ok(()),
    }
}

/// The estimator of a canonical name or an alias, in any case.
pub fn find(name: &str) -> Result<&'static dyn Estimator> {
    refuse_not_built(name)?;
    let is_named = |estimator: &&'static dyn Estimator| {
        names(*estimator).any(|known| known.eq_ignore_ascii_case(name.trim()))
    };
    all().find(is_named).ok_or_else(|| Error::UnknownEstimator {
        name: name.to_owned(),
        nearest: nearest_name(name, all().flat_map(names)),
    })
}

/// The first estimator of a task, for hints.
pub(crate) fn first_of(task: Task) -> Option<&'static str> {
    all()
        .map(|estimator| estimator.spec())
        .find(|spec| spec.task == task)
        .map(|spec| spec.name)
}

/// The step that another machine encoded.
pub(crate) fn decode_step(name: &str, bytes: &[u8]) -> Result<Box<dyn AnyStep>> {
    let of_estimators = all().flat_map(|estimator| estimator.spec().steps);
    let decoder = COMMON_STEPS
        .iter()
        .chain(of_estimators)
        .find(|decoder| decoder.name == name);
    match decoder {
        Some(decoder) => (decoder.decode)(bytes),
        None => Err(unlisted(name)),
    }
}

/// The step over states that another machine encoded.
pub(crate) fn decode_state_step(name: &str, bytes: &[u8]) -> Result<Arc<dyn AnyStateStep>> {
    state_decoders()
        .find_map(|decoder| match decoder {
            StateDecoder::Step {
                name: found,
                decode,
            } if *found == name => Some(decode(bytes)),
            _ => None,
        })
        .unwrap_or_else(|| Err(unlisted(name)))
}

/// The start of states that another machine encoded.
pub(crate) fn decode_start(name: &str, bytes: &[u8]) -> Result<Arc<dyn AnyStart>> {
    state_decoders()
        .find_map(|decoder| match decoder {
            StateDecoder::Start {
                name: found,
                decode,
            } if *found == name => Some(decode(bytes)),
            _ => None,
        })
        .unwrap_or_else(|| Err(unlisted(name)))
}

fn state_decoders() -> impl Iterator<Item = &'static StateDecoder> {
    all().flat_map(|estimator| estimator.spec().state_steps)
}

fn unlisted(step: &str) -> Error {
    Error::Internal {
        what: format!("step {step} is in no estimator's spec"),
    }
}

fn names(estimator: &'static dyn Estimator) -> impl Iterator<Item = &'static str> {
    let spec = estimator.spec();
    std::iter::once(spec.name).chain(spec.aliases.iter().copied())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_and_steps_are_unique() {
        let mut seen = BTreeSet::new();
        for name in all().flat_map(names) {
            assert!(seen.insert(name), "{name} is registered twice");
        }
        let mut seen: BTreeSet<&str> = COMMON_STEPS.iter().map(|step| step.name).collect();
        for spec in all().map(|estimator| estimator.spec()) {
            assert_eq!(
                find(&spec.name.to_uppercase()).unwrap().spec().name,
                spec.name
            );
            // Estimators of a family may share a step, but not its name with another family's.
            let own: BTreeSet<&str> = spec.steps.iter().map(|step| step.name).collect();
            assert_eq!(own.len(), spec.steps.len());
            seen.extend(own);
        }
    }

    #[test]
    fn what_is_not_built_yet_is_named() {
        for name in NOT_BUILT {
            let Err(error) = find(&name.to_uppercase()) else {
                unreachable!("{name} has an estimator")
            };
            assert_eq!(
                error.to_string(),
                format!("model type \"{name}\" is not supported")
            );
            assert_eq!(error.sqlstate(), "0A000");
        }
    }

    #[test]
    fn unknown_names_are_told_the_nearest() {
        let Err(error) = find("linear_rag") else {
            unreachable!("no such estimator")
        };
        assert_eq!(
            error.to_string(),
            "model type \"linear_rag\" does not exist"
        );
        assert_eq!(
            error.hint().as_deref(),
            Some("Did you mean \"linear_reg\"?")
        );
    }
}
