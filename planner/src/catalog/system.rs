//! The views about models, trainings and options: `ml.models` and its siblings, and
//! `pg_stat_progress_train`.
//!
//! In: the catalog, the manifests of the versions, the running trainings; out: rows as they are now.

use std::sync::{Arc, Weak};

use async_trait::async_trait;
use auspex_ml::compute::{ListedDevice, list_devices};
use auspex_ml::options::options_table;
use auspex_ml::registry;
use auspex_storage::{CatalogEntry, Definition, ModelDefinition, ObjectKind};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::error::{DataFusionError, Result};
use serde_json::Value;

use super::job_views;
use super::lake_views;
use super::lineage;
use super::momentary::{MomentaryRows, MomentaryTable};
use super::pins::refuse_unpinned;
use super::rows::{Cell, ColumnType, batch_of, schema_of};
use crate::access::{Acting, as_system, roles};
use crate::distributed::WorkerRow;
use crate::named::Named;
use crate::session::{Session, display_name};

type Columns = &'static [(&'static str, ColumnType)];

use ColumnType::{Float, Integer, Text, Timestamp};

const MODELS: Columns = &[
    ("schema", Text),
    ("name", Text),
    ("model_type", Text),
    ("label", Text),
    ("current_version", Integer),
    ("versions", Integer),
    ("aliases", Text),
    ("owner", Text),
    ("created_at", Timestamp),
    ("options", Text),
    ("query", Text),
    ("statement", Text),
    ("comment", Text),
];
const MODEL_VERSIONS: Columns = &[
    ("schema", Text),
    ("model", Text),
    ("version", Integer),
    ("is_current", Text),
    ("aliases", Text),
    ("model_type", Text),
    ("training_rows", Integer),
    ("evaluation_rows", Integer),
    ("split_method", Text),
    ("metrics", Text),
    ("baseline", Text),
    ("options", Text),
    ("seed", Integer),
    ("device", Text),
    ("kernel_ms", Integer),
    ("uploaded_bytes", Integer),
    ("downloaded_bytes", Integer),
    ("duration_ms", Integer),
    ("created_at", Timestamp),
    ("warnings", Integer),
    ("snapshots", Text),
    ("statement", Text),
];
const WARNINGS: Columns = &[
    ("model", Text),
    ("version", Integer),
    ("statement", Text),
    ("code", Text),
    ("message", Text),
];
const ESTIMATORS: Columns = &[
    ("model_type", Text),
    ("aliases", Text),
    ("task", Text),
    ("summary", Text),
    ("functions", Text),
];
const OPTIONS: Columns = &[
    ("model_type", Text),
    ("option", Text),
    ("aliases", Text),
    ("type", Text),
    ("default", Text),
    ("description", Text),
];
const DEVICES: Columns = &[
    ("device", Text),
    ("name", Text),
    ("status", Text),
    ("memory_bytes", Integer),
    ("driver", Text),
];
const WORKERS: Columns = &[
    ("address", Text),
    ("state", Text),
    ("cores", Integer),
    ("memory_bytes", Integer),
    ("version", Text),
    ("tasks", Integer),
    ("partitions_held", Integer),
    ("bytes_held", Integer),
    ("last_seen", Timestamp),
    ("reason", Text),
];
const PROGRESS: Columns = &[
    ("pid", Integer),
    ("model", Text),
    ("phase", Text),
    ("rows", Integer),
    ("iteration", Integer),
    ("loss", Float),
    ("eval_loss", Float),
    ("elapsed_ms", Integer),
];

const AUDIT_LOG: Columns = &[
    ("at", Timestamp),
    ("request", Integer),
    ("process_id", Integer),
    ("event", Text),
    ("user_name", Text),
    ("role", Text),
    ("address", Text),
    ("application", Text),
    ("kind", Text),
    ("statement", Text),
    ("duration_ms", Float),
    ("rows", Integer),
    ("outcome", Text),
    ("sqlstate", Text),
];

const NAMES: &[&str] = &[
    "audit_log",
    "catalogs",
    "credentials",
    "devices",
    "estimators",
    "external_locations",
    "jobs",
    "lineage",
    "model_versions",
    "models",
    "options",
    "warnings",
    "workers",
];
const PROGRESS_VIEW: &str = "pg_stat_progress_train";

/// The schema `ml`, or `pg_catalog` with what Auspex adds to it.
#[derive(Debug)]
pub(crate) struct SystemSchema {
    session: Weak<Session>,
    base: Option<Arc<dyn SchemaProvider>>,
    names: &'static [&'static str],
}

impl SystemSchema {
    pub(crate) fn new(session: Weak<Session>) -> SystemSchema {
        SystemSchema {
            session,
            base: None,
            names: NAMES,
        }
    }

    pub(crate) fn with_base(
        session: Weak<Session>,
        base: Option<Arc<dyn SchemaProvider>>,
    ) -> SystemSchema {
        SystemSchema {
            session,
            base,
            names: &[PROGRESS_VIEW],
        }
    }
}

#[async_trait]
impl SchemaProvider for SystemSchema {
    fn table_names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.names.iter().map(|name| (*name).to_owned()).collect();
        names.extend(self.base.iter().flat_map(|base| base.table_names()));
        names
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Named::note_catalog();
        if !self.names.contains(&name) {
            return match &self.base {
                Some(base) => {
                    let found = as_system(base.table(name)).await?;
                    if found.is_some() {
                        refuse_unpinned(name)?;
                    }
                    Ok(found)
                }
                None => Ok(None),
            };
        }
        refuse_unpinned(name)?;
        let session = self
            .session
            .upgrade()
            .ok_or_else(|| DataFusionError::Internal("the session has ended".to_owned()))?;
        if name == "audit_log" {
            session.access().check_superuser("read the audit log")?;
        }
        let known = self.names.iter().find(|known| **known == name);
        Ok(Some(Arc::new(MomentaryTable(SystemTable {
            session: Weak::clone(&self.session),
            name: known.copied().unwrap_or(PROGRESS_VIEW),
            acting: Acting::now(),
        }))))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names.contains(&name)
            || self
                .base
                .as_ref()
                .is_some_and(|base| base.table_exist(name))
    }
}

/// One of the views. Its rows are made when they are asked for: those about versions read a manifest of each.
#[derive(Debug)]
struct SystemTable {
    session: Weak<Session>,
    name: &'static str,
    /// Whose rights count: within another view, those of its owner.
    acting: Acting,
}

impl SystemTable {
    fn columns(&self) -> Columns {
        match self.name {
            "audit_log" => AUDIT_LOG,
            "jobs" => job_views::COLUMNS,
            "lineage" => lineage::COLUMNS,
            "models" => MODELS,
            "model_versions" => MODEL_VERSIONS,
            "warnings" => WARNINGS,
            "estimators" => ESTIMATORS,
            "options" => OPTIONS,
            "devices" => DEVICES,
            "workers" => WORKERS,
            "catalogs" => lake_views::CATALOGS,
            "credentials" => lake_views::CREDENTIALS,
            "external_locations" => lake_views::EXTERNAL_LOCATIONS,
            _ => PROGRESS,
        }
    }

    async fn cells(&self, session: &Session) -> Result<Vec<Vec<Cell>>> {
        Ok(match self.name {
            "audit_log" => audit_log(session),
            "jobs" => job_views::rows(session),
            "lineage" => lineage::rows(session).await?,
            "models" => models(session).await?,
            "model_versions" => model_versions(session).await?,
            "warnings" => warnings(session).await?,
            "estimators" => estimators(),
            "options" => options(),
            "devices" => devices(),
            "workers" => workers(session),
            "catalogs" => lake_views::rows(session, ObjectKind::Catalog),
            "credentials" => lake_views::rows(session, ObjectKind::Credential),
            "external_locations" => lake_views::rows(session, ObjectKind::Location),
            _ => progress(session),
        })
    }
}

#[async_trait]
impl MomentaryRows for SystemTable {
    fn schema(&self) -> SchemaRef {
        schema_of(self.columns())
    }

    async fn rows(&self) -> Result<RecordBatch> {
        let session = self.session.upgrade();
        let session =
            session.ok_or_else(|| DataFusionError::Internal("the session has ended".to_owned()))?;
        let cells = Box::pin(self.acting.clone().during(self.cells(&session))).await?;
        batch_of(self.columns(), &cells)
    }
}

/// The models of the catalog that the role which acts has anything to do with.
pub(crate) fn model_entries(session: &Session) -> Vec<(Arc<CatalogEntry>, ModelDefinition)> {
    let catalog = session.seen_catalog();
    let access = session.access();
    let model = |entry: &Arc<CatalogEntry>| match &entry.definition {
        Definition::Model(definition) if access.sees(entry) => {
            Some((Arc::clone(entry), definition.clone()))
        }
        _ => None,
    };
    catalog.all().filter_map(model).collect()
}

/// Those of them whose definition, metrics and sources it may read: to predict with a model takes less.
pub(crate) fn readable_models(session: &Session) -> Vec<(Arc<CatalogEntry>, ModelDefinition)> {
    let access = session.access();
    let mut models = model_entries(session);
    models.retain(|(entry, _)| access.has(entry, "SELECT"));
    models
}

async fn models(session: &Session) -> Result<Vec<Vec<Cell>>> {
    let mut rows = Vec::new();
    let access = session.access();
    for (entry, definition) in model_entries(session) {
        let versions = session.live_versions(&entry, &definition).await?;
        let aliases: Vec<String> = definition
            .aliases
            .iter()
            .map(|(name, version)| format!("{name}={version}"))
            .collect();
        let current = definition.current_version;
        let readable = access.has(&entry, "SELECT");
        rows.push(vec![
            entry.schema.as_str().into(),
            entry.name.as_str().into(),
            definition.model_type.as_str().into(),
            definition.labels.first().cloned().into(),
            (current > 0).then_some(current).into(),
            (versions.len() as u64).into(),
            (!aliases.is_empty()).then(|| aliases.join(", ")).into(),
            entry.owner.as_str().into(),
            Cell::Timestamp(entry.created_at_ms),
            readable.then(|| definition.options.to_string()).into(),
            definition.query.clone().filter(|_| readable).into(),
            readable.then(|| definition.statement.clone()).into(),
            entry.comment.clone().into(),
        ]);
    }
    Ok(rows)
}

async fn model_versions(session: &Session) -> Result<Vec<Vec<Cell>>> {
    let mut rows = Vec::new();
    for (entry, definition) in readable_models(session) {
        for version in session.live_versions(&entry, &definition).await? {
            let manifest = session.engine.models.manifest(&entry.id, version).await;
            let manifest = manifest.map_err(crate::error::Error::from)?;
            let model = session.load_version(&entry.id, version).await?;
            let record = &model.record;
            let aliases: Vec<&str> = definition
                .aliases
                .iter()
                .filter(|(_, number)| **number == version)
                .map(|(name, _)| name.as_str())
                .collect();
            let text = |name: &str| manifest.get(name).map(Value::to_string);
            rows.push(vec![
                entry.schema.as_str().into(),
                entry.name.as_str().into(),
                version.into(),
                if version == definition.current_version {
                    "yes"
                } else {
                    "no"
                }
                .into(),
                (!aliases.is_empty()).then(|| aliases.join(", ")).into(),
                model.spec.name.into(),
                record.training_rows.into(),
                record.evaluation_rows.into(),
                record.split_method.as_str().into(),
                metrics_text(&record.evaluation.metrics(None)).into(),
                metrics_text(&record.baseline).into(),
                serde_json::to_string(&model.options)
                    .unwrap_or_default()
                    .into(),
                record.seed.into(),
                record.device.as_str().into(),
                (record.cost.kernel_us / 1000).into(),
                record.cost.uploaded_bytes.into(),
                record.cost.downloaded_bytes.into(),
                record.duration_ms.into(),
                manifest
                    .get("created_at_ms")
                    .and_then(Value::as_i64)
                    .map_or(Cell::Null, Cell::Timestamp),
                (record.warnings.len() as u64).into(),
                text("snapshots").into(),
                manifest
                    .get("statement")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .into(),
            ]);
        }
    }
    Ok(rows)
}

/// Metrics as a JSON object.
pub(crate) fn metrics_text<S: AsRef<str>>(metrics: &[(S, Option<f64>)]) -> String {
    let fields: serde_json::Map<String, Value> = metrics
        .iter()
        .map(|(name, value)| {
            (
                name.as_ref().to_owned(),
                value.map_or(Value::Null, Value::from),
            )
        })
        .collect();
    Value::Object(fields).to_string()
}

async fn warnings(session: &Session) -> Result<Vec<Vec<Cell>>> {
    let mut rows = Vec::new();
    for (entry, definition) in model_entries(session) {
        let name = display_name(&entry);
        for version in session.live_versions(&entry, &definition).await? {
            let model = session.load_version(&entry.id, version).await?;
            for warning in &model.record.warnings {
                rows.push(vec![
                    name.as_str().into(),
                    version.into(),
                    "TRAIN".into(),
                    warning.code.as_str().into(),
                    warning.message.as_str().into(),
                ]);
            }
        }
    }
    let seen: Vec<String> = model_entries(session)
        .iter()
        .map(|(entry, _)| display_name(entry))
        .collect();
    let all = session.access().is_superuser();
    for warning in session.engine.statement_warnings() {
        if !all && !seen.contains(&warning.model) {
            continue;
        }
        rows.push(vec![
            warning.model.into(),
            warning.version.into(),
            warning.statement.into(),
            warning.warning.code.into(),
            warning.warning.message.into(),
        ]);
    }
    Ok(rows)
}

fn estimators() -> Vec<Vec<Cell>> {
    let row = |estimator: &'static dyn auspex_ml::estimator::Estimator| {
        let spec = estimator.spec();
        let functions: Vec<String> = spec
            .inspections
            .iter()
            .map(|name| format!("ml.{name}"))
            .collect();
        vec![
            spec.name.into(),
            spec.aliases.join(", ").into(),
            format!("{:?}", spec.task).to_lowercase().into(),
            spec.summary.into(),
            functions.join(", ").into(),
        ]
    };
    registry::all().map(row).collect()
}

fn options() -> Vec<Vec<Cell>> {
    let row = |row: auspex_ml::options::OptionRow| {
        vec![
            row.model_type.into(),
            row.name.into(),
            row.aliases.join(", ").into(),
            format!("{}, {}", row.type_name, row.allowed).into(),
            row.default.into(),
            row.doc.into(),
        ]
    };
    options_table().into_iter().map(row).collect()
}

fn audit_log(session: &Session) -> Vec<Vec<Cell>> {
    let row = |record: crate::observe::AuditRecord| {
        vec![
            Cell::Timestamp(record.at_ms),
            record.request.into(),
            Cell::Integer(i64::from(record.process_id)),
            record.event.into(),
            record.user.into(),
            record.role.into(),
            record.address.into(),
            record.application.into(),
            record.kind.into(),
            record.statement.as_ref().into(),
            Cell::Float(record.duration_ms),
            record.rows.into(),
            record.outcome.into(),
            record.sqlstate.into(),
        ]
    };
    session
        .engine
        .observer
        .audit
        .last()
        .into_iter()
        .map(row)
        .collect()
}

fn devices() -> Vec<Vec<Cell>> {
    let row = |listed: ListedDevice| {
        vec![
            listed.device.into(),
            listed.name.into(),
            listed.status.into(),
            listed.memory_bytes.into(),
            listed.driver.into(),
        ]
    };
    list_devices().into_iter().map(row).collect()
}

fn workers(session: &Session) -> Vec<Vec<Cell>> {
    let row = |worker: WorkerRow| {
        vec![
            worker.address.into(),
            worker.state.into(),
            worker.cores.into(),
            worker.memory_bytes.into(),
            worker.version.into(),
            worker.tasks.into(),
            worker.partitions_held.into(),
            worker.bytes_held.into(),
            worker.last_seen_ms.map_or(Cell::Null, Cell::Timestamp),
            worker.reason.into(),
        ]
    };
    let cluster = session.engine.cluster();
    let workers = cluster.map(|cluster| cluster.rows()).unwrap_or_default();
    workers.into_iter().map(row).collect()
}

fn progress(session: &Session) -> Vec<Vec<Cell>> {
    let row = |(pid, training): (i32, crate::engine::TrainingProgress)| {
        let iteration = training.iteration.as_ref();
        let elapsed = u64::try_from(training.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        vec![
            Cell::Integer(i64::from(pid)),
            training.model.into(),
            training.phase.into(),
            training.rows.into(),
            iteration.map(|iteration| iteration.iteration).into(),
            iteration.map_or(Cell::Null, |iteration| Cell::Float(iteration.loss)),
            iteration
                .and_then(|iteration| iteration.eval_loss)
                .map_or(Cell::Null, Cell::Float),
            elapsed.into(),
        ]
    };
    let access = session.access();
    let is_seen = |(pid, _): &(i32, crate::engine::TrainingProgress)| {
        let owner = session.engine.user_of(*pid);
        access.is(roles::MONITOR) || owner.is_some_and(|owner| access.is(&owner))
    };
    let trainings = session.engine.trainings();
    trainings.into_iter().filter(is_seen).map(row).collect()
}
