//! `CREATE MODEL` and `TRAIN MODEL` become a plan with one fitting operator.
//!
//! In: the statement; out: a [`FitPlan`] in which the estimator, its checked options, the label and
//! the training query are fixed. Trains nothing.

use std::sync::{Arc, Mutex};

use auspex_ml::estimator::Estimator;
use auspex_ml::options::Options;
use auspex_ml::run::Warning;
use auspex_ml::training::{ColumnRequest, check_columns};
use auspex_sql::{CreateModel, SourceQuery, Train, TrainRows, TrainingSource};
use auspex_storage::{CatalogEntry, Definition, ModelDefinition};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Extension, LogicalPlan};
use datafusion::sql::sqlparser::ast;
use serde_json::{Map, Value};

use super::choose_estimator::{determinism_warnings, estimator};
use super::repeat_version::repeat_version;
use super::resume::{ResumedRun, resumed_run};
use super::row_order::in_no_order;
use super::training_query::training_query;
use super::values::json_options;
use crate::access::HeldRole;
use crate::catalog::pins::Pins;
use crate::checkpoints::EarlierRun;
use crate::distributed::TrainingFigures;
use crate::error::{Error, Result};
use crate::logical::{FitMode, FitModelNode, FitTask};
use crate::physical::warning_notice;
use crate::query_meaning::QueryMeaning;
use crate::session::Session;
use crate::statement_run::Notice;

/// A training that is ready to run.
pub(crate) struct FitPlan {
    pub(crate) plan: LogicalPlan,
    pub(crate) state: SessionState,
    pub(crate) notices: Vec<Notice>,
}

/// Binds `CREATE MODEL`; `None` when `IF NOT EXISTS` leaves nothing to do.
pub(crate) async fn bind_create_model(
    session: &Arc<Session>,
    create: &CreateModel,
    text: &str,
    state: SessionState,
) -> Result<Option<FitPlan>> {
    refuse_what_has_no_operator(create)?;
    let (schema, name) = session.object_name(&create.name)?;
    session.engine.catalog.refresh_now().await?;
    let existing = session.existing_model(&schema, &name)?;
    let replaced = existing.as_ref().filter(|_| create.or_replace);
    check_may_create(session, &schema, replaced.map(|(entry, _)| entry))?;
    if existing.is_some() && !create.or_replace {
        if create.if_not_exists {
            return Ok(None);
        }
        return Err(Error::Duplicate {
            kind: "model",
            name,
        });
    }
    let mut written = json_options(&create.options)?;
    let labels = labels(create, &mut written)?;
    let model_type = model_type(create, &mut written)?;
    if let Some(name) = &model_type {
        auspex_ml::registry::refuse_not_built(name)?;
    }
    written.retain(|_, value| !value.is_null());
    let query = source_query(session, create, &labels, &written)?;
    let mut definition = ModelDefinition {
        statement: text.to_owned(),
        query: query.as_ref().map(auspex_sql::written),
        model_type: model_type.unwrap_or_default(),
        labels,
        options: Value::Object(written),
        dialect: session.settings().get("ml.dialect").unwrap_or_default(),
        current_version: existing
            .as_ref()
            .map_or(0, |(_, definition)| definition.current_version),
        aliases: existing
            .as_ref()
            .map(|(_, old)| old.aliases.clone())
            .unwrap_or_default(),
        dropped_versions: existing
            .as_ref()
            .map(|(_, old)| old.dropped_versions.clone())
            .unwrap_or_default(),
        extra: Value::Null,
    };
    QueryMeaning::of_session(session).keep(&mut definition);
    let mode = FitMode::Create {
        or_replace: create.or_replace,
        no_train: create.no_train,
    };
    let described = Definition::Model(definition.clone());
    let entry = match existing {
        Some((entry, _)) => CatalogEntry {
            definition: described,
            ..entry.as_ref().clone()
        },
        None => CatalogEntry::new(&schema, &name, described),
    };
    let scope = FitScope::new(session, Arc::default(), state, text);
    let fit = bind_fit(session, entry, definition, mode, text, scope);
    Box::pin(fit).await.map(Some)
}

/// The role must be allowed to make models in the schema, and own the one that it replaces.
fn check_may_create(
    session: &Session,
    schema: &str,
    replaced: Option<&Arc<CatalogEntry>>,
) -> Result<()> {
    let access = session.access();
    access.check_schema(schema, "CREATE MODEL")?;
    replaced.map_or(Ok(()), |entry| access.check_owner(entry))
}

/// Binds `TRAIN MODEL`.
pub(crate) async fn bind_train(
    session: &Arc<Session>,
    train: &Train,
    text: &str,
    state: SessionState,
) -> Result<FitPlan> {
    session.engine.catalog.refresh_now().await?;
    if matches!(train.rows, TrainRows::Resume) {
        return Box::pin(bind_resume(session, train, text, state)).await;
    }
    let (entry, mut definition) = session.model_entry(&train.name)?;
    session.access().check_owner(&entry)?;
    let mut pins = Arc::new(Pins::default());
    match &train.rows {
        TrainRows::Own | TrainRows::Resume => {}
        TrainRows::On(source) => {
            definition.query = Some(source.text.clone());
            definition.dialect = session.settings().get("ml.dialect").unwrap_or_default();
            QueryMeaning::of_session(session).keep(&mut definition);
        }
        TrainRows::Snapshot(source) => {
            pins = repeat_version(session, &entry, &mut definition, source).await?;
        }
    }
    let mut options = match definition.options {
        Value::Object(map) => map,
        _ => Map::new(),
    };
    let written = json_options(&train.options)?;
    if written.contains_key("model_type") {
        return Err(Error::invalid(
            "22023",
            format!("the type of model \"{}\" cannot change", entry.name),
            Some("Use CREATE OR REPLACE MODEL."),
        ));
    }
    options.extend(written);
    // DEFAULT takes back what the definition says.
    options.retain(|_, value| !value.is_null());
    definition.options = Value::Object(options);
    let entry = entry.as_ref().clone();
    Box::pin(bind_fit(
        session,
        entry,
        definition,
        FitMode::Train {
            in_background: train.in_background,
        },
        text,
        FitScope {
            in_background: train.in_background,
            ..FitScope::new(session, pins, state, text)
        },
    ))
    .await
}

/// Binds `TRAIN MODEL … RESUME`: what the run's own statement said.
async fn bind_resume(
    session: &Arc<Session>,
    train: &Train,
    text: &str,
    state: SessionState,
) -> Result<FitPlan> {
    let ResumedRun {
        head,
        pins,
        earlier,
    } = resumed_run(session, train).await?;
    let n_kept = earlier.records.len();
    let scope = FitScope {
        in_background: train.in_background,
        earlier: Some(earlier),
        owner: head.owner,
        ..FitScope::new(session, pins, state, &head.statement)
    };
    let bound = bind_fit(session, head.entry, head.definition, head.mode, text, scope);
    let mut fit = bound.await?;
    let message = format!("the training goes on: {n_kept} passes and trees are there already");
    fit.notices.insert(0, Notice::plain(message));
    Ok(fit)
}

/// What a training is bound in.
struct FitScope {
    pins: Arc<Pins>,
    state: SessionState,
    /// The statement that its record names.
    statement: String,
    in_background: bool,
    /// What it goes on after.
    earlier: Option<EarlierRun>,
    /// Whose the model is, if it is new.
    owner: HeldRole,
}

impl FitScope {
    fn new(session: &Session, pins: Arc<Pins>, state: SessionState, statement: &str) -> FitScope {
        FitScope {
            pins,
            state,
            statement: statement.to_owned(),
            in_background: false,
            earlier: None,
            owner: session.identity().current(),
        }
    }
}

async fn bind_fit(
    session: &Arc<Session>,
    entry: CatalogEntry,
    mut definition: ModelDefinition,
    mode: FitMode,
    text: &str,
    scope: FitScope,
) -> Result<FitPlan> {
    let (pins, state) = (scope.pins, scope.state);
    let (rows, mut binding) = training_query(session, &mut definition, &pins, text, state).await?;
    let mut notices = Vec::new();
    let mut warnings = determinism_warnings(&rows.plan);
    let estimator = estimator(&definition, &rows, &mut notices, &mut warnings).await?;
    let mut written = written_options(session, &definition);
    let label = label(estimator, &definition, &written)?;
    written.extend(label.iter().map(|label| label_option(label)));
    let (options, messages) = Options::check(estimator.spec(), &written)?;
    notices.extend(messages.into_iter().map(Notice::plain));
    let compute = session.settings().compute(options.text("device"))?;
    warnings.extend(compute.unusable().map(unusable_device));
    notices.extend(warnings.iter().map(warning_notice));
    let shape = check_columns(&ColumnRequest {
        estimator,
        options: &options,
        schema: Arc::clone(rows.plan.schema().inner()),
        label: label.as_deref(),
        features: None,
    })?;
    definition.model_type = estimator.spec().name.to_owned();
    definition.labels = label.iter().cloned().collect();
    binding.warm_start = match options.is_true("warm_start") {
        true => previous_version(&entry, &pins),
        false => None,
    };
    let warm_start = match binding.warm_start {
        Some(version) => Some(session.load_version(&entry.id, version).await?),
        None => None,
    };
    let task = FitTask {
        engine: Arc::clone(&session.engine),
        process_id: process_of(session, scope.in_background),
        threads: threads_of(session),
        entry,
        definition,
        mode,
        statement: scope.statement,
        estimator,
        compute,
        options,
        label,
        shape,
        warm_start,
        snapshots: pins.to_json(),
        binding: serde_json::to_value(binding).unwrap_or(Value::Null),
        min_distributed_bytes: session.settings().min_distributed_bytes(),
        checkpoint_interval: session.settings().duration("checkpoint_interval"),
        earlier: Mutex::new(scope.earlier),
        in_no_order: in_no_order(&session.engine, &rows),
        figures: TrainingFigures::default(),
        user: session.identity().current(),
        owner: scope.owner,
        warnings,
    };
    let node = FitModelNode::new(Arc::new(task), rows.plan)?;
    let plan = LogicalPlan::Extension(Extension {
        node: Arc::new(node),
    });
    Ok(FitPlan {
        plan,
        state: Arc::unwrap_or_clone(rows.state),
        notices,
    })
}

/// The version that a training goes on from: the current one, or that of the training that is repeated.
fn previous_version(entry: &CatalogEntry, pins: &Pins) -> Option<u64> {
    let current = || match &entry.definition {
        Definition::Model(definition) => Some(definition.current_version).filter(|now| *now > 0),
        _ => None,
    };
    pins.warm_start().unwrap_or_else(current)
}

/// The option that names a label.
fn label_option(label: &str) -> (String, Value) {
    let names = Value::from(vec![label.to_owned()]);
    ("input_label_cols".to_owned(), names)
}

/// The threads of a session's trainings.
fn threads_of(session: &Session) -> usize {
    let own = session.settings().threads();
    own.unwrap_or(session.engine.threads)
}

/// The number of the process that a training is.
fn process_of(session: &Session, in_background: bool) -> i32 {
    match in_background {
        true => session.engine.new_process_id(),
        false => session.process_id(),
    }
}

/// The options of a definition, with the session's seed where they name none.
fn written_options(session: &Session, definition: &ModelDefinition) -> Map<String, Value> {
    let mut written = match &definition.options {
        Value::Object(map) => map.clone(),
        _ => Map::new(),
    };
    written.remove("model_type");
    if let Some(seed) = session.settings().get("seed").filter(|seed| seed != "0") {
        let seed = Value::from(seed.parse::<u64>().unwrap_or(0));
        written.entry("seed").or_insert(seed);
    }
    if let Some(device) = session
        .settings()
        .get("device")
        .filter(|name| name != "auto")
    {
        written.entry("device").or_insert(Value::from(device));
    }
    written
}

/// There is a device, but `auto` cannot use it.
fn unusable_device(problem: &str) -> Warning {
    Warning {
        code: "device_unusable".to_owned(),
        message: format!("device = 'auto' is the CPU: {problem}"),
        hint: Some("SHOW DEVICES lists what was found; device = 'cpu' does not look.".to_owned()),
    }
}

/// Parsed, but without an operator yet: named one by one.
fn refuse_what_has_no_operator(create: &CreateModel) -> Result<()> {
    let missing = [
        (create.transform.is_some(), "the TRANSFORM clause"),
        (
            !create.input.is_empty() || !create.output.is_empty(),
            "the INPUT and OUTPUT clauses",
        ),
        (create.connection.is_some(), "REMOTE WITH CONNECTION"),
        (
            create.order_by.is_some(),
            "the ORDER BY clause of CREATE MODEL",
        ),
        (
            !create.partition_by.is_empty(),
            "the PARTITION BY clause of CREATE MODEL",
        ),
        (create.horizon.is_some(), "the HORIZON clause"),
        (create.labels.len() > 1, "more than one label"),
        (
            matches!(create.source, Some(TrainingSource::File(_))),
            "CREATE MODEL ... FROM 'file'",
        ),
    ];
    match missing.iter().find(|(is_written, _)| *is_written) {
        Some((_, what)) => Err(Error::unsupported(*what)),
        None => Ok(()),
    }
}

/// The label of the `PREDICT` clause or of `input_label_cols`; both is an error.
fn labels(create: &CreateModel, written: &mut Map<String, Value>) -> Result<Vec<String>> {
    let clause: Vec<String> = create
        .labels
        .iter()
        .map(|word| word.value.clone())
        .collect();
    let option = written
        .remove("input_label_cols")
        .or_else(|| written.remove("label"))
        .or_else(|| take_old_labels(written));
    let option: Vec<String> = match option {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names
            .iter()
            .filter_map(|name| name.as_str().map(ToOwned::to_owned))
            .collect(),
        Some(other) => {
            return Err(auspex_ml::error::Error::InvalidOption {
                name: "input_label_cols".to_owned(),
                expected: "an array of column names".to_owned(),
                found: other.to_string(),
            }
            .into());
        }
    };
    match (clause.is_empty(), option.is_empty()) {
        (false, false) => Err(Error::invalid(
            "42601",
            "the label is given twice: by PREDICT and by option \"input_label_cols\"",
            Some("Leave one of them out."),
        )),
        (true, _) if option.len() > 1 => Err(Error::unsupported("more than one label")),
        (true, _) => Ok(option),
        (false, true) => Ok(clause),
    }
}

/// `labels = ['y']`, BigQuery's older name of the option; labels of a cloud account are pairs.
fn take_old_labels(written: &mut Map<String, Value>) -> Option<Value> {
    let names = written.get("labels")?.as_array()?;
    match names.iter().all(Value::is_string) {
        true => written.remove("labels"),
        false => None,
    }
}

/// The type of the `USING` clause or of `model_type`.
fn model_type(create: &CreateModel, written: &mut Map<String, Value>) -> Result<Option<String>> {
    let option = match written.remove("model_type") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) => Some(name),
        Some(other) => {
            return Err(auspex_ml::error::Error::InvalidOption {
                name: "model_type".to_owned(),
                expected: "the name of a model type".to_owned(),
                found: other.to_string(),
            }
            .into());
        }
    };
    match (&create.model_type, option) {
        (Some(_), Some(_)) => Err(Error::invalid(
            "42601",
            "the model type is given twice: by USING and by option \"model_type\"",
            Some("Leave one of them out."),
        )),
        (Some(word), None) => Ok(Some(word.value.clone())),
        (None, option) => Ok(option),
    }
}

/// The query whose rows the model learns from: the source, cut to `FEATURES` where they are given.
fn source_query(
    session: &Session,
    create: &CreateModel,
    labels: &[String],
    written: &Map<String, Value>,
) -> Result<Option<ast::Query>> {
    let source: &SourceQuery = match &create.source {
        Some(TrainingSource::Query(query)) => query,
        Some(TrainingSource::Named(queries)) => match queries.as_slice() {
            [(name, query)] if name.value == "training_data" => query,
            _ => {
                return Err(Error::unsupported(
                    "training sources other than training_data",
                ));
            }
        },
        _ => return Ok(None),
    };
    let Some(features) = &create.features else {
        return Ok(Some(source.query.as_ref().clone()));
    };
    let mut columns: Vec<String> = features.iter().map(ToString::to_string).collect();
    let roles = ["data_split_col", "instance_weight_col"];
    let roles = roles.iter().filter_map(|role| written.get(*role)?.as_str());
    let others = labels.iter().map(String::as_str).chain(roles);
    columns.extend(others.map(|name| format!("\"{}\"", name.replace('"', "\"\""))));
    let text = format!(
        "SELECT {} FROM ({}) AS training_rows",
        columns.join(", "),
        source.text
    );
    Ok(Some(*auspex_sql::parse_query(
        &text,
        session.settings().dialect(),
    )?))
}

/// The label column of a supervised estimator.
fn label(
    estimator: &dyn Estimator,
    definition: &ModelDefinition,
    written: &Map<String, Value>,
) -> Result<Option<String>> {
    let spec = estimator.spec();
    if !spec.task.is_supervised() {
        return match definition.labels.first() {
            None => Ok(None),
            Some(label) => Err(auspex_ml::error::Error::ConflictingOptions {
                message: format!("model type \"{}\" learns without a label, got \"{label}\"", spec.name),
                hint: "Leave PREDICT or input_label_cols out; a column that is no feature is left out of the query."
                    .to_owned(),
            }
            .into()),
        };
    }
    let from_option = || {
        let names = written.get("input_label_cols")?;
        names
            .as_str()
            .or_else(|| names.get(0)?.as_str())
            .map(ToOwned::to_owned)
    };
    let given = definition.labels.first().cloned().or_else(from_option);
    Ok(Some(given.unwrap_or_else(|| "label".to_owned())))
}
