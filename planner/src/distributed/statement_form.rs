//! What a plan needs on another machine beside itself: settings, and the functions that are bound to models.
//!
//! In: a plan with its session; out: a text that goes with it in a header, and on the other machine a session with the
//! same functions. The library sends functions by name alone, so each that is bound to a model needs a name of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auspex_ml::compute::Compute;
use auspex_ml::metrics::aggregate::{EvaluateUdaf, EvaluationOutput};
use auspex_ml::surprises::Surprises;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{TreeNode as _, TreeNodeRecursion};
use datafusion::config::ConfigOptions;
use datafusion::error::Result as DfResult;
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{AggregateUDF, ScalarUDF};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::prelude::SessionConfig;
use serde::{Deserialize, Serialize};
use tonic::codegen::http::{HeaderMap, HeaderValue};

use super::marks::reads_lost_marks;
use super::worker_session::{Finding, Tasks};
use crate::bind::{BoundModel, PredictShape, PredictUdf, output_function};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::functions::{
    chain_of_name, gathers_for, is_chain, reader_of, row_bucket, stands_for, type_read_by,
};
use crate::observe::Counter;

const HEADER: &str = "x-auspex-statement";
/// How long looking at the catalog may take: less than the library waits for a plan, so that the worker says itself what it
/// lacks.
const REFRESH_TIMEOUT: Duration = Duration::from_secs(8);
/// Headers above this are refused by the other side.
const MAX_HEADER: usize = 12 << 10;

/// What a plan needs on another machine.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StatementForm {
    /// Tells statements apart.
    pub(super) id: String,
    /// The configuration, where it differs from a new session's.
    options: BTreeMap<String, String>,
    functions: Vec<FunctionForm>,
    /// The names of chains of operators, which tell them whole.
    chains: BTreeSet<String>,
    /// The types that are read from texts, each by a function of one name.
    texts: BTreeMap<String, String>,
}

/// A function that is bound to a model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct FunctionForm {
    /// The name under which the plan calls it.
    name: String,
    /// The model as messages name it.
    model: String,
    id: String,
    version: u64,
    does: FunctionKind,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum FunctionKind {
    Predict(PredictShape),
    Evaluate(EvaluationOutput),
}

/// A prediction function of a statement on this machine, to which other machines' findings are added.
#[derive(Debug, Clone)]
pub(super) struct LocalFunction {
    pub(super) name: String,
    pub(super) surprises: Arc<Mutex<Surprises>>,
    pub(super) predicted: Counter,
}

impl StatementForm {
    /// The form of a plan's statement, or why the plan cannot leave this machine.
    pub(super) fn of(
        engine: &Engine,
        config: &SessionConfig,
        plan: &Arc<dyn ExecutionPlan>,
        id: String,
    ) -> DfResult<std::result::Result<(StatementForm, Vec<LocalFunction>), String>> {
        let (mut forms, mut local) = (Vec::new(), Vec::new());
        let (mut chains, mut texts) = (BTreeSet::new(), BTreeMap::new());
        let base = engine.base_state();
        let (scalars, aggregates) = functions_of(plan)?;
        if let Some(name) = reads_lost_marks(plan, engine.readers_of_marks())? {
            return Ok(Err(format!("function {name} of results of others here")));
        }
        for function in &scalars {
            if let Some(predict) = function.inner().downcast_ref::<PredictUdf>() {
                if predict.compute().accelerator().is_some() {
                    return Ok(Err("a device of this machine".to_owned()));
                }
                let Some(form) = predict_form(engine, function.name(), predict) else {
                    return Ok(Err("a model that is not stored".to_owned()));
                };
                let (surprises, predicted) = predict.counts();
                local.push(LocalFunction {
                    name: function.name().to_owned(),
                    surprises,
                    predicted,
                });
                add_form(&mut forms, form);
            } else if is_chain(function) {
                chains.insert(function.name().to_owned());
            } else if let Some(data_type) = type_read_by(function) {
                if !adds_text_type(&mut texts, function.name(), data_type) {
                    return Ok(Err(format!("function {} of its types", function.name())));
                }
            } else if [output_function(), row_bucket()].contains(&function.as_ref()) {
                // They are in every session that another machine makes.
            } else if !is_known(base.scalar_functions().get(function.name()), function) {
                return Ok(Err(format!("function {} of this session", function.name())));
            }
        }
        for function in &aggregates {
            if let Some(evaluate) = function.inner().downcast_ref::<EvaluateUdaf>() {
                if evaluate.compute().accelerator().is_some() {
                    return Ok(Err("a device of this machine".to_owned()));
                }
                let Some(form) = evaluate_form(engine, function.name(), evaluate) else {
                    return Ok(Err("a model that is not stored".to_owned()));
                };
                local.push(LocalFunction {
                    name: function.name().to_owned(),
                    surprises: evaluate.found(),
                    predicted: Counter::default(),
                });
                add_form(&mut forms, form);
            } else if !is_known_aggregate(base.aggregate_functions().get(function.name()), function)
            {
                return Ok(Err(format!("function {} of this session", function.name())));
            }
        }
        if names_one_twice(&forms) {
            return Ok(Err("two models under one function name".to_owned()));
        }
        let form = StatementForm {
            id,
            options: changed_options(config),
            functions: forms,
            chains,
            texts,
        };
        Ok(Ok((form, local)))
    }

    /// As a text.
    pub(super) fn text(&self) -> Result<String> {
        let json = serde_json::to_string(self).map_err(|error| damaged(&error))?;
        Ok(STANDARD.encode(json))
    }

    /// From a text.
    pub(super) fn parse(text: &str) -> Result<StatementForm> {
        let json = STANDARD.decode(text).map_err(|error| damaged(&error))?;
        serde_json::from_slice(&json).map_err(|error| damaged(&error))
    }

    /// As headers; `None` if it is too long for them.
    pub(super) fn headers(&self) -> Result<Option<HeaderMap>> {
        let text = self.text()?;
        if text.len() > MAX_HEADER {
            return Ok(None);
        }
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&text).map_err(|error| damaged(&error))?;
        headers.insert(HEADER, value);
        Ok(Some(headers))
    }

    /// From headers.
    pub(super) fn from_headers(headers: &HeaderMap) -> Result<StatementForm> {
        let value = headers.get(HEADER).and_then(|value| value.to_str().ok());
        StatementForm::parse(value.ok_or_else(|| damaged(&"no statement"))?)
    }

    /// A session with the statement's functions and settings; what its predictions meet is counted in `tasks`.
    pub(super) async fn session(
        &self,
        engine: &Arc<Engine>,
        mut config: SessionConfig,
        tasks: Option<&Tasks>,
    ) -> Result<SessionState> {
        // Credentials may be younger than this machine's last look at the catalog.
        let refreshed = tokio::time::timeout(REFRESH_TIMEOUT, engine.catalog.refresh());
        refreshed.await.map_err(|_| {
            let seconds = REFRESH_TIMEOUT.as_secs();
            let message = format!("the catalog in the warehouse did not answer within {seconds} s");
            Error::invalid("58030", message, None)
        })??;
        for (name, value) in &self.options {
            config.options_mut().set(name, value)?;
        }
        let mut builder = SessionStateBuilder::new_from_existing(engine.base_state());
        let functions = builder.scalar_functions().get_or_insert_default();
        functions.push(Arc::new(output_function().clone()));
        functions.push(Arc::new(row_bucket().clone()));
        let chains = self.chains.iter().filter_map(|name| chain_of_name(name));
        functions.extend(chains.map(Arc::new));
        let texts = self.texts.values().filter_map(|name| name.parse().ok());
        functions.extend(texts.filter_map(|data_type| reader_of(&data_type).map(Arc::new)));
        for form in &self.functions {
            let bound = BoundModel {
                name: form.model.clone(),
                version: form.version,
                model: engine.load_version(&form.id, form.version).await?,
                predicted: Counter::default(),
                compute: Compute::cpu(),
            };
            let surprises = match &form.does {
                FunctionKind::Predict(shape) => {
                    let surprises = Arc::default();
                    let shape = shape.clone();
                    let udf =
                        PredictUdf::of_shape(&form.name, &bound, shape, Arc::clone(&surprises))?;
                    let functions = builder.scalar_functions().get_or_insert_default();
                    functions.push(Arc::new(udf));
                    surprises
                }
                FunctionKind::Evaluate(output) => {
                    let model = Arc::clone(&bound.model);
                    let udaf = EvaluateUdaf::new(model, Compute::cpu(), output.clone())?
                        .named(form.name.clone());
                    let found = udaf.found();
                    let functions = builder.aggregate_functions().get_or_insert_default();
                    functions.push(Arc::new(AggregateUDF::from(udaf)));
                    found
                }
            };
            if let Some(tasks) = tasks {
                let finding = Finding {
                    function: form.name.clone(),
                    surprises,
                    n_rows: bound.predicted,
                };
                tasks.count(&self.id, finding);
            }
        }
        Ok(builder.with_config(config).build())
    }
}

/// Whether every machine has a function under its name.
fn is_known(found: Option<&Arc<ScalarUDF>>, function: &Arc<ScalarUDF>) -> bool {
    found.is_some_and(|found| found == function || stands_for(found, function))
}

fn is_known_aggregate(found: Option<&Arc<AggregateUDF>>, function: &Arc<AggregateUDF>) -> bool {
    found.is_some_and(|found| found == function || gathers_for(found, function))
}

/// Whether a type that is read from texts can be told by the name of its function.
fn adds_text_type(texts: &mut BTreeMap<String, String>, name: &str, data_type: &DataType) -> bool {
    let text = data_type.to_string();
    let is_whole = text
        .parse::<DataType>()
        .is_ok_and(|same| same == *data_type);
    is_whole && *texts.entry(name.to_owned()).or_insert_with(|| text.clone()) == text
}

/// Adds a function unless it is there, as it is where several operators call it.
fn add_form(forms: &mut Vec<FunctionForm>, form: FunctionForm) {
    if !forms.contains(&form) {
        forms.push(form);
    }
}

fn names_one_twice(forms: &[FunctionForm]) -> bool {
    let is_named_twice = |form: &FunctionForm| {
        let same = forms.iter().filter(|other| other.name == form.name);
        same.count() > 1
    };
    forms.iter().any(is_named_twice)
}

fn predict_form(engine: &Engine, name: &str, predict: &PredictUdf) -> Option<FunctionForm> {
    let (id, version) = engine.id_of_model(predict.model())?;
    Some(FunctionForm {
        name: name.to_owned(),
        model: predict.model_name().to_owned(),
        id,
        version,
        does: FunctionKind::Predict(predict.shape().clone()),
    })
}

fn evaluate_form(engine: &Engine, name: &str, evaluate: &EvaluateUdaf) -> Option<FunctionForm> {
    let (id, version) = engine.id_of_model(evaluate.model())?;
    Some(FunctionForm {
        name: name.to_owned(),
        model: id.clone(),
        id,
        version,
        does: FunctionKind::Evaluate(evaluate.output().clone()),
    })
}

/// Functions of values, and of groups.
type Functions = (Vec<Arc<ScalarUDF>>, Vec<Arc<AggregateUDF>>);

/// The functions that a plan calls.
fn functions_of(plan: &Arc<dyn ExecutionPlan>) -> DfResult<Functions> {
    let (mut scalars, mut aggregates) = (Vec::new(), Vec::new());
    plan.apply(|node| {
        node.apply_expressions(&mut |expr| {
            expr.apply(|expr| {
                if let Some(function) = expr.downcast_ref::<ScalarFunctionExpr>() {
                    scalars.push(Arc::new(function.fun().clone()));
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        if let Some(aggregate) = node.downcast_ref::<AggregateExec>() {
            let functions = aggregate.aggr_expr().iter();
            aggregates.extend(functions.map(|function| Arc::new(function.fun().clone())));
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok((scalars, aggregates))
}

/// The settings that differ from those of a new session.
fn changed_options(config: &SessionConfig) -> BTreeMap<String, String> {
    let usual = ConfigOptions::default().entries();
    let usual: BTreeMap<&str, &Option<String>> = usual
        .iter()
        .map(|entry| (entry.key.as_str(), &entry.value))
        .collect();
    let entries = config.options().entries();
    entries
        .iter()
        .filter(|entry| {
            let usual = usual.get(entry.key.as_str());
            usual.is_some_and(|usual| **usual != entry.value)
        })
        .filter_map(|entry| Some((entry.key.clone(), entry.value.clone()?)))
        .collect()
}

fn damaged(error: &dyn std::fmt::Display) -> Error {
    let message = format!("a statement cannot be sent between machines: {error}");
    Error::invalid("XX000", message, None)
}
