//! `CREATE`, `TRAIN`, `ALTER`, `DROP` and `DESCRIBE MODEL`.
//!
//! In: a syntax tree; out: a command tag, or a description as rows. Training itself is an operator of
//! the plan; here it is run to its end.

use std::sync::Arc;

use auspex_ml::run::Warning;
use auspex_ml::trained_model::TrainedModel;
use auspex_sql::{
    AlterAction, AlterModel, CreateModel, DropModel, ModelRef, Train, TrainRows, VersionRef,
};
use auspex_storage::{CatalogEntry, Change, Definition, Error as StorageError, ModelDefinition};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SessionStateBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::memory::MemoryStream;
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::privileges::check_new_owner;
use super::tables::{drop_entries, with_dependents};
use crate::background::BackgroundTraining;
use crate::bind::{FitPlan, bind_create_model, bind_train, json_options, string_literal};
use crate::catalog::lineage::read_properties;
use crate::catalog::rows::{Cell, ColumnType, batch_of, schema_of};
use crate::catalog::system::metrics_text;
use crate::engine::StatementWarning;
use crate::error::{Error, Result};
use crate::logical::{FitModelNode, FitTask};
use crate::physical::{self, define_without_training};
use crate::session::{Session, display_name};
use crate::statement_run::{Notice, Outcome, StatementControl};

/// The query behind `SHOW MODELS`.
pub(crate) const SHOW_MODELS: &str = "SELECT schema, name, model_type, label, current_version, \
     versions, created_at FROM ml.models ORDER BY schema, name";

/// `CREATE MODEL`.
pub(super) async fn create(
    session: &Arc<Session>,
    create: &CreateModel,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let fit = bind_create_model(session, create, text, session.state(Some(control))).await?;
    match fit {
        None => {
            let name = create.name.parts.join(".");
            let message = format!("model \"{name}\" already exists, skipping");
            control.notify(Notice {
                sqlstate: "42P07",
                ..Notice::plain(message)
            });
        }
        Some(fit) if create.no_train => {
            fit.notices
                .into_iter()
                .for_each(|notice| control.notify(notice));
            if let Some(task) = fit_task(&fit.plan) {
                define_without_training(&task).await?;
            }
        }
        Some(fit) => fit_to_end(fit.plan, fit.state, fit.notices, control).await?,
    }
    Ok("CREATE MODEL".to_owned())
}

/// `TRAIN MODEL`.
pub(super) async fn train(
    session: &Arc<Session>,
    train: &Train,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let fit = bind_train(session, train, text, session.state(Some(control))).await?;
    if train.in_background {
        go_on_in_background(session, fit, control);
    } else {
        fit_to_end(fit.plan, fit.state, fit.notices, control).await?;
    }
    Ok("TRAIN MODEL".to_owned())
}

/// Lets a training run apart from its statement, as a process of its own. What goes wrong then is a row
/// of `ml.warnings`.
fn go_on_in_background(session: &Arc<Session>, fit: FitPlan, control: &StatementControl) {
    let FitPlan {
        plan,
        state,
        notices,
    } = fit;
    notices
        .into_iter()
        .for_each(|notice| control.notify(notice));
    let Some(task) = fit_task(&plan) else {
        return;
    };
    let (engine, process_id) = (Arc::clone(&session.engine), task.process_id);
    let (notices_in, _) = tokio::sync::mpsc::unbounded_channel();
    let own = StatementControl {
        cancel: CancellationToken::new(),
        notices: notices_in,
        returned: None,
    };
    let user = session.identity().current();
    let running = BackgroundTraining::begin(&engine, process_id, user, &own.cancel);
    let hint =
        format!("pg_stat_progress_train shows it; SELECT pg_cancel_backend({process_id}) ends it.");
    control.notify(Notice {
        hint: Some(hint),
        ..Notice::plain(format!("the training goes on as process {process_id}"))
    });
    tokio::spawn(async move {
        let ended = Box::pin(fit_to_end(plan, state, Vec::new(), &own)).await;
        if let Err(error) = ended {
            let report = error.report();
            engine.remember_warning(StatementWarning {
                model: task.display_name(),
                version: task.definition.current_version,
                statement: "TRAIN",
                warning: Warning {
                    code: "training_failed".to_owned(),
                    message: format!(
                        "the training in the background failed with {}: {}",
                        report.sqlstate, report.message
                    ),
                    hint: report.hint,
                },
            });
        }
        std::mem::drop(running);
    });
}

/// The training of a plan.
pub(crate) fn fit_task(plan: &LogicalPlan) -> Option<Arc<FitTask>> {
    match plan {
        LogicalPlan::Extension(extension) => {
            let node = extension.node.as_any().downcast_ref::<FitModelNode>();
            node.map(|node| Arc::clone(&node.task))
        }
        _ => None,
    }
}

/// The training that `SELECT ml.train('m')` asks for.
pub(crate) fn train_call(query: &ast::Query) -> Result<Option<Train>> {
    let ast::SetExpr::Select(select) = query.body.as_ref() else {
        return Ok(None);
    };
    let [ast::SelectItem::UnnamedExpr(expr) | ast::SelectItem::ExprWithAlias { expr, .. }] =
        select.projection.as_slice()
    else {
        return Ok(None);
    };
    let ast::Expr::Function(function) = expr else {
        return Ok(None);
    };
    if !function.name.to_string().eq_ignore_ascii_case("ml.train") {
        return Ok(None);
    }
    let ast::FunctionArguments::List(list) = &function.args else {
        return Ok(None);
    };
    let name = match list.args.as_slice() {
        [ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr))] => string_literal(expr),
        _ => None,
    };
    let Some(name) = name.filter(|_| select.from.is_empty()) else {
        let hint = "Write SELECT ml.train('model').";
        return Err(Error::invalid(
            "42883",
            "ml.train takes the name of one model",
            Some(hint),
        ));
    };
    let model = auspex_sql::parse_model_ref(name)?;
    let rows = TrainRows::Own;
    Ok(Some(Train {
        name: model.name,
        rows,
        options: Vec::new(),
        in_background: false,
    }))
}

const TRAINED: &[(&str, ColumnType)] = &[("train", ColumnType::Text)];

/// The column of `SELECT ml.train('m')`.
pub(crate) fn train_call_schema() -> SchemaRef {
    schema_of(TRAINED)
}

/// Runs `SELECT ml.train('m')`; its row names the new version.
pub(crate) async fn run_train_call(
    session: &Arc<Session>,
    call: &Train,
    text: &str,
    control: &StatementControl,
) -> Result<Outcome> {
    train(session, call, text, control).await?;
    let (entry, definition) = session.model_entry(&call.name)?;
    let version = format!("{}@{}", display_name(&entry), definition.current_version);
    let batch = batch_of(TRAINED, &[vec![version.into()]])?;
    let schema = batch.schema();
    let stream = MemoryStream::try_new(vec![batch], Arc::clone(&schema), None)?;
    Ok(Outcome::Rows {
        schema,
        stream: Box::pin(stream),
        tag: "SELECT",
    })
}

async fn fit_to_end(
    plan: LogicalPlan,
    state: datafusion::execution::SessionState,
    notices: Vec<Notice>,
    control: &StatementControl,
) -> Result<()> {
    notices
        .into_iter()
        .for_each(|notice| control.notify(notice));
    let config = state
        .config()
        .clone()
        .with_extension(Arc::new(control.clone()));
    let state = SessionStateBuilder::new_from_existing(state)
        .with_config(config)
        .build();
    let Some(task) = fit_task(&plan) else {
        return Err(Error::unsupported("this form of training"));
    };
    let training = async move {
        let mut rows = physical::open(&state, &plan).await?;
        while let Some(batch) = rows.next().await {
            batch?;
        }
        Ok(())
    };
    let trained = task.engine.training_threads.run(Box::pin(training)).await;
    let outcome = if trained.is_ok() { "ok" } else { "error" };
    let metrics = &task.engine.observer.metrics;
    metrics.training(task.estimator.spec().name, outcome);
    trained
}

/// What an `ALTER MODEL` does to an entry.
type Alteration = dyn Fn(&mut CatalogEntry, &mut ModelDefinition) + Send + Sync;

/// `ALTER MODEL`.
pub(super) async fn alter(
    session: &Arc<Session>,
    alter: &AlterModel,
    text: &str,
) -> Result<String> {
    const TAG: &str = "ALTER MODEL";
    let (entry, definition) = match session.model_entry(&alter.name) {
        Err(Error::Undefined { .. }) if alter.if_exists => return Ok(TAG.to_owned()),
        found => found?,
    };
    let access = session.access();
    access.check_owner(&entry)?;
    let change: Box<Alteration> = match &alter.action {
        AlterAction::Rename(name) => {
            access.check_schema(&entry.schema, "CREATE MODEL")?;
            let name = name.value.clone();
            Box::new(move |entry, _| entry.name.clone_from(&name))
        }
        AlterAction::Owner(role) => {
            let role = role.value.clone();
            check_new_owner(session, &access, &entry, &role)?;
            Box::new(move |entry, _| entry.owner.clone_from(&role))
        }
        AlterAction::SetOptions(options) => {
            let mut written = json_options(options)?;
            let description = description(&mut written)?;
            check_options(&definition, &written)?;
            Box::new(move |entry, definition| {
                if let Some(text) = &description {
                    entry.comment.clone_from(text);
                }
                if let Value::Object(options) = &mut definition.options {
                    options.extend(written.clone());
                    options.retain(|_, value| !value.is_null());
                }
            })
        }
        AlterAction::SetAlias(alias, version) => {
            let number = VersionRef::Number(*version);
            session
                .model_version(&entry, &definition, Some(&number))
                .await?;
            let (alias, version) = (alias.value.clone(), *version);
            Box::new(move |_, definition| {
                definition.aliases.insert(alias.clone(), version);
            })
        }
        AlterAction::DropAlias(alias) => {
            let name = VersionRef::Alias(alias.value.clone());
            session
                .model_version(&entry, &definition, Some(&name))
                .await?;
            let alias = alias.value.clone();
            Box::new(move |_, definition| {
                definition.aliases.remove(&alias);
            })
        }
        AlterAction::DropVersion(version) => {
            return drop_version(session, &entry, &definition, *version, text)
                .await
                .map(|()| TAG.to_owned());
        }
        AlterAction::Comment(comment) => {
            let comment = comment.clone();
            Box::new(move |entry, _| entry.comment.clone_from(&comment))
        }
        AlterAction::RetrainEvery(_) | AlterAction::RetrainWhen(_) | AlterAction::RetrainOff => {
            return Err(Error::unsupported("ALTER MODEL ... SET RETRAIN"));
        }
    };
    commit(session, &entry.id, text, change.as_ref()).await?;
    let is_comment = matches!(alter.action, AlterAction::Comment(_));
    Ok(if is_comment { "COMMENT" } else { TAG }.to_owned())
}

/// Takes BigQuery's option `description` out, which is the comment of the model; NULL takes the comment away.
fn description(written: &mut serde_json::Map<String, Value>) -> Result<Option<Option<String>>> {
    match written.remove("description") {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) => Ok(Some(Some(text))),
        Some(other) => Err(auspex_ml::error::Error::InvalidOption {
            name: "description".to_owned(),
            expected: "a text".to_owned(),
            found: other.to_string(),
        }
        .into()),
    }
}

/// Options that `SET` stores must be ones that the next training accepts.
fn check_options(
    definition: &ModelDefinition,
    written: &serde_json::Map<String, Value>,
) -> Result<()> {
    let estimator = auspex_ml::registry::find(&definition.model_type)?;
    let mut all = definition.options.as_object().cloned().unwrap_or_default();
    all.extend(written.clone());
    if let Some(label) = definition.labels.first() {
        all.insert(
            "input_label_cols".to_owned(),
            Value::from(vec![label.clone()]),
        );
    }
    auspex_ml::options::Options::check(estimator.spec(), &all)?;
    Ok(())
}

/// Changes a model's entry as it is at the moment of the commit.
async fn commit(session: &Session, id: &str, text: &str, change: &Alteration) -> Result<()> {
    let committed = session.engine.catalog.commit(text, |state| {
        let entry = state.by_id(id).ok_or_else(|| StorageError::Conflict {
            object: "a model that was dropped meanwhile".to_owned(),
        })?;
        let mut entry = entry.as_ref().clone();
        let Definition::Model(mut definition) = entry.definition.clone() else {
            return Err(StorageError::Internal {
                what: format!("\"{id}\" is not a model"),
            });
        };
        change(&mut entry, &mut definition);
        entry.definition = Definition::Model(definition);
        Ok(vec![Change::Put(entry)])
    });
    committed.await?;
    Ok(())
}

async fn drop_version(
    session: &Session,
    entry: &CatalogEntry,
    definition: &ModelDefinition,
    version: u64,
    text: &str,
) -> Result<()> {
    let number = VersionRef::Number(version);
    session
        .model_version(entry, definition, Some(&number))
        .await?;
    if version == definition.current_version {
        let message = format!(
            "version {version} is the current one of model \"{}\"",
            entry.name
        );
        let hint = "Train a new version first, or use DROP MODEL.";
        return Err(Error::invalid("2BP01", message, Some(hint)));
    }
    let aliases: Vec<String> = definition
        .aliases
        .iter()
        .filter(|(_, number)| **number == version)
        .map(|(alias, _)| format!("alias {alias}"))
        .collect();
    if !aliases.is_empty() {
        let name = format!("{}@{version}", entry.name);
        return Err(Error::Dependents {
            kind: "model version",
            name,
            dependents: aliases,
        });
    }
    commit(session, &entry.id, text, &move |_, definition| {
        if !definition.dropped_versions.contains(&version) {
            definition.dropped_versions.push(version);
        }
    })
    .await
}

/// `DROP MODEL`.
pub(super) async fn drop(
    session: &Arc<Session>,
    drop: &DropModel,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let mut whole: Vec<Arc<CatalogEntry>> = Vec::new();
    for model in &drop.models {
        let (entry, definition) = match session.model_entry(&model.name) {
            Err(Error::Undefined { .. }) if drop.if_exists => {
                let name = model.name.parts.join(".");
                control.notify(Notice::plain(format!(
                    "model \"{name}\" does not exist, skipping"
                )));
                continue;
            }
            found => found?,
        };
        session.access().check_drop(&entry)?;
        match &model.version {
            None => whole.push(entry),
            Some(version) => {
                let version = session
                    .model_version(&entry, &definition, Some(version))
                    .await?;
                drop_version(session, &entry, &definition, version, text).await?;
            }
        }
    }
    let catalog = session.engine.catalog.state();
    let all = with_dependents(&catalog, whole, drop.cascade)?;
    if !all.is_empty() {
        drop_entries(session, &all, text).await?;
    }
    Ok("DROP MODEL".to_owned())
}

const DESCRIPTION: &[(&str, ColumnType)] =
    &[("property", ColumnType::Text), ("value", ColumnType::Text)];

/// A row of `DESCRIBE MODEL`.
type Property = (String, Cell);

/// The rows of `DESCRIBE MODEL`.
pub(crate) async fn describe_model(
    session: &Arc<Session>,
    model: &ModelRef,
) -> Result<RecordBatch> {
    // `DESCRIBE MODEL m.part` reads like `schema.model`: the model wins if there is one.
    let mut name = model.name.clone();
    let mut part = None;
    if session.model_entry(&name).is_err() && name.parts.len() > 1 {
        part = name.parts.pop();
    }
    let (entry, definition) = session.model_entry(&name)?;
    session.access().check(&entry, "SELECT")?;
    let mut rows = defined_properties(&entry, &definition);
    if definition.current_version > 0 || model.version.is_some() {
        let version = session
            .model_version(&entry, &definition, model.version.as_ref())
            .await?;
        let manifest = session.engine.models.manifest(&entry.id, version).await?;
        match version_definition(&manifest) {
            // A version is described as it was trained, whatever the model is now.
            Some(of_version) if model.version.is_some() => {
                rows = defined_properties(&entry, &of_version);
            }
            Some(of_version) if of_version.options != definition.options => {
                let options = of_version.options.to_string();
                rows.push(("version_options".to_owned(), options.into()));
            }
            _ => {}
        }
        let trained = session.load_version(&entry.id, version).await?;
        rows.push(("version".to_owned(), version.to_string().into()));
        rows.extend(learned_properties(&trained));
        let read = read_properties(&manifest).into_iter();
        rows.extend(read.map(|(property, value)| (property, value.into())));
    }
    if let Some(part) = part {
        rows.retain(|(property, _)| *property == part || property.starts_with(&format!("{part} ")));
        if rows.is_empty() {
            let message = format!("model \"{}\" has no part \"{part}\"", entry.name);
            return Err(Error::invalid(
                "42704",
                message,
                Some("DESCRIBE MODEL lists the parts."),
            ));
        }
    }
    let rows: Vec<Vec<Cell>> = rows
        .into_iter()
        .map(|(property, value)| vec![property.into(), value])
        .collect();
    Ok(batch_of(DESCRIPTION, &rows)?)
}

/// The definition that a version was trained by, with the statement that trained it.
fn version_definition(manifest: &Value) -> Option<ModelDefinition> {
    let recorded = manifest.get("definition").cloned();
    let recorded = recorded.and_then(|value| serde_json::from_value(value).ok());
    recorded.map(|definition: ModelDefinition| {
        let statement = manifest.get("statement").and_then(Value::as_str);
        let statement = statement.map_or(definition.statement.clone(), ToOwned::to_owned);
        ModelDefinition {
            statement,
            ..definition
        }
    })
}

/// What the catalog says of a model.
fn defined_properties(entry: &CatalogEntry, definition: &ModelDefinition) -> Vec<Property> {
    [
        ("model", display_name(entry).into()),
        ("model_type", definition.model_type.as_str().into()),
        ("owner", entry.owner.as_str().into()),
        ("label", definition.labels.first().cloned().into()),
        ("statement", definition.statement.as_str().into()),
        ("options", definition.options.to_string().into()),
    ]
    .map(|(property, value)| (property.to_owned(), value))
    .into()
}

/// What a version knows of its training.
fn learned_properties(trained: &TrainedModel) -> Vec<Property> {
    let record = &trained.record;
    let metrics = metrics_text(&record.evaluation.metrics(None));
    let mut rows: Vec<Property> = [
        ("training_rows", record.training_rows.to_string()),
        ("evaluation_rows", record.evaluation_rows.to_string()),
        ("metrics", metrics),
        ("baseline", metrics_text(&record.baseline)),
        ("device", record.device.clone()),
        ("duration_ms", record.duration_ms.to_string()),
    ]
    .map(|(property, value)| (property.to_owned(), value.into()))
    .into();
    rows.extend(trained.encoder.schema.features.iter().map(|feature| {
        let property = format!("feature {}", feature.name);
        (property, feature.sql_type.as_str().into())
    }));
    rows.extend(record.warnings.iter().map(|warning| {
        let property = format!("warning {}", warning.code);
        (property, warning.message.as_str().into())
    }));
    rows
}
