//! What a statement's models have to say beside their answers: warnings that are known when it is
//! bound, and counts of surprising rows that are known at its end.
//!
//! In: bound models; out: WARNINGs that are rows of `ml.warnings` too. A view's findings are those of
//! the statement that reads it.

use std::future::Future;
use std::sync::{Arc, Mutex};

use auspex_ml::compute::Compute;
use auspex_ml::run::Warning;
use auspex_ml::surprises::Surprises;
use auspex_ml::trained_model::TrainedModel;
use auspex_ml::training::declined;

use super::model_scope::BoundModel;
use crate::engine::{StatementWarning, lock};

tokio::task_local! {
    /// The findings of the statement that is being bound.
    static CURRENT: Findings;
}

/// The findings of one statement; calls are added while it is planned. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Findings(Arc<Mutex<Vec<Finding>>>);

#[derive(Debug)]
enum Finding {
    /// A model that the statement asks.
    Model(BoundModel),
    Known(StatementWarning),
    Counted(Counted),
}

/// The surprises in the rows of one call.
#[derive(Debug)]
struct Counted {
    bound: BoundModel,
    statement: &'static str,
    surprises: Arc<Mutex<Surprises>>,
}

impl Findings {
    /// Those of the statement that is being bound, or new ones.
    pub(crate) fn current() -> Findings {
        CURRENT.try_with(Findings::clone).unwrap_or_default()
    }

    /// Binds something whose views shall add to these findings.
    pub(crate) async fn scope<F: Future>(&self, binding: F) -> F::Output {
        CURRENT.scope(self.clone(), binding).await
    }

    /// How many calls count surprises so far, which gives the next one a number of its own.
    pub(crate) fn n_counted(&self) -> usize {
        let findings = lock(&self.0);
        let counted = findings
            .iter()
            .filter(|found| matches!(found, Finding::Counted(_)));
        counted.count()
    }

    /// Whether there is nothing to tell, whatever the rows are.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    /// Adds a model that the statement asks.
    pub(crate) fn use_model(&self, bound: &BoundModel) {
        lock(&self.0).push(Finding::Model(bound.clone()));
    }

    /// The models that the statement asks, each once: name, version and type.
    pub(crate) fn models(&self) -> Vec<String> {
        let findings = lock(&self.0);
        let mut models: Vec<String> = findings
            .iter()
            .filter_map(|finding| match finding {
                Finding::Model(bound) => Some(format!(
                    "model={}@{}, estimator={}",
                    bound.name, bound.version, bound.model.spec.name
                )),
                _ => None,
            })
            .collect();
        models.sort();
        models.dedup();
        models
    }

    /// The name and version of a model that the statement asks.
    pub(crate) fn name_of(&self, model: &Arc<TrainedModel>) -> Option<String> {
        let findings = lock(&self.0);
        findings.iter().find_map(|finding| match finding {
            Finding::Model(bound) if Arc::ptr_eq(&bound.model, model) => {
                Some(format!("{}@{}", bound.name, bound.version))
            }
            _ => None,
        })
    }

    /// Whether a device predicts.
    pub(crate) fn asks_devices(&self) -> bool {
        let findings = lock(&self.0);
        findings.iter().any(|finding| {
            matches!(finding, Finding::Model(bound) if bound.compute.accelerator().is_some())
        })
    }

    /// The devices that compute the models' answers, each once, with the reason where that is not the one that was chosen,
    /// or where nothing was chosen.
    pub(crate) fn devices(&self) -> String {
        let findings = lock(&self.0);
        let mut devices: Vec<String> = findings
            .iter()
            .filter_map(|finding| match finding {
                Finding::Model(bound) => Some(bound),
                _ => None,
            })
            .map(|bound| device_of(&bound.compute, bound.model.spec.tags.cpu_only))
            .collect();
        devices.sort();
        devices.dedup();
        devices.join(" and ")
    }

    /// Adds a warning that no row changes.
    pub(crate) fn warn(&self, bound: &BoundModel, statement: &'static str, warning: Warning) {
        let warning = StatementWarning::of(bound, statement, warning);
        let mut findings = lock(&self.0);
        // A statement may be planned more than once before a plan is found.
        let is_new =
            |finding: &Finding| !matches!(finding, Finding::Known(known) if *known == warning);
        if findings.iter().all(is_new) {
            findings.push(Finding::Known(warning));
        }
    }

    /// Adds the surprises of a call, which will be counted.
    pub(crate) fn count(
        &self,
        bound: &BoundModel,
        statement: &'static str,
        surprises: Arc<Mutex<Surprises>>,
    ) {
        lock(&self.0).push(Finding::Counted(Counted {
            bound: bound.clone(),
            statement,
            surprises,
        }));
    }

    /// What is known before any row.
    pub(crate) fn known(&self) -> Vec<StatementWarning> {
        let findings = lock(&self.0);
        let known = findings.iter().filter_map(|finding| match finding {
            Finding::Known(warning) => Some(warning.clone()),
            Finding::Counted(_) | Finding::Model(_) => None,
        });
        known.collect()
    }

    /// What the rows held; counts anew.
    pub(crate) fn take_counted(&self) -> Vec<StatementWarning> {
        let mut warnings = Vec::new();
        for finding in lock(&self.0).iter() {
            let Finding::Counted(counted) = finding else {
                continue;
            };
            let surprises = std::mem::take(&mut *lock(&counted.surprises));
            let bound = &counted.bound;
            let found = surprises.warnings(&bound.model, &bound.name);
            let told = |warning| StatementWarning::of(bound, counted.statement, warning);
            let declined = declined(&bound.compute, bound.model.spec);
            warnings.extend(found.into_iter().chain(declined).map(told));
        }
        warnings
    }
}

/// A device as EXPLAIN tells it. What only the CPU computes, it computes whatever was chosen.
fn device_of(compute: &Compute, cpu_only: Option<&'static str>) -> String {
    let was_asked_for_cpu =
        compute.accelerator().is_none() && compute.reason().is_none() && !compute.is_open();
    let cpu_only = cpu_only.filter(|_| !was_asked_for_cpu);
    let kind = cpu_only.map_or(compute.info().kind, |_| "cpu");
    match cpu_only.or(compute.reason()) {
        Some(reason) => format!("{kind} ({reason})"),
        None => kind.to_owned(),
    }
}

impl StatementWarning {
    fn of(bound: &BoundModel, statement: &'static str, warning: Warning) -> StatementWarning {
        StatementWarning {
            model: bound.name.clone(),
            version: bound.version,
            statement,
            warning,
        }
    }
}
