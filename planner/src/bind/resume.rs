//! `TRAIN MODEL m RESUME`: the training of a model that was cancelled, or whose server was lost, goes on.
//!
//! In: a model's name; out: what the newest run with a checkpoint trained, with its tables pinned as they were, and the
//! records that it kept.

use std::sync::Arc;

use auspex_sql::Train;
use auspex_storage::{CatalogEntry, Definition};
use serde_json::Value;

use crate::catalog::binding::Binding;
use crate::catalog::pins::{Pins, Wanted};
use crate::checkpoints::{EarlierRun, RunHead, still_runs};
use crate::error::{Error, Result};
use crate::session::{Session, display_name};

/// A run that is to go on.
pub(super) struct ResumedRun {
    pub(super) head: RunHead,
    pub(super) pins: Arc<Pins>,
    pub(super) earlier: EarlierRun,
}

/// Finds the newest run of a model, which need not exist yet where it is its first.
pub(super) async fn resumed_run(session: &Session, train: &Train) -> Result<ResumedRun> {
    let (schema, name) = session.model_parts(&train.name.parts)?;
    let existing = match session.entry(&schema, &name) {
        Some(_) => Some(session.model_entry(&train.name)?.0),
        None => None,
    };
    if let Some(entry) = &existing {
        session.access().check_owner(entry)?;
    }
    let is_its = |entry: &CatalogEntry| match &existing {
        Some(existing) => existing.id == entry.id,
        None => entry.schema == schema && entry.name == name,
    };
    let engine = &session.engine;
    let mut found: Option<(String, RunHead)> = None;
    for run in engine.checkpoints().runs().await? {
        // Heads of other releases may have another form.
        let Ok(head) = serde_json::from_value::<RunHead>(run.head) else {
            continue;
        };
        let is_newer = |(_, other): &(String, RunHead)| head.started_at_ms > other.started_at_ms;
        if is_its(&head.entry) && found.as_ref().is_none_or(is_newer) {
            found = Some((run.run, head));
        }
    }
    let Some((run, mut head)) = found else {
        // A model that is not there at all is told as such.
        let entry = session.model_entry(&train.name)?.0;
        return Err(nothing_to_resume(&display_name(&entry)));
    };
    match &existing {
        Some(entry) => head.entry = entry.as_ref().clone(),
        None => {
            let access = session.access();
            access.check_owner(&head.owner.own(access.state(), &head.entry)?)?;
            access.check_schema(&head.entry.schema, "CREATE MODEL")?;
        }
    }
    let name = display_name(&head.entry);
    check_form(&name, &head)?;
    if engine.live_runs.has(&run) {
        return Err(still_runs(&name));
    }
    if has_ended(session, &run, &head).await? {
        engine.checkpoints().remove(&run).await?;
        if let Some(rows) = &head.rows {
            engine.tables.remove_managed(rows).await?;
        }
        return Err(nothing_to_resume(&name));
    }
    keep_seed(session, &mut head);
    Ok(ResumedRun {
        pins: pins(&name, &head)?,
        earlier: EarlierRun::read(engine, &run, &head).await?,
        head,
    })
}

/// Writes the run's seed into its options, if it came from a session whose seed is not that of this one.
fn keep_seed(session: &Session, head: &mut RunHead) {
    let own = session.settings().get("seed");
    let is_own = own.and_then(|own| own.parse().ok()) == Some(head.seed);
    if let (Value::Object(options), false) = (&mut head.definition.options, is_own) {
        options.entry("seed").or_insert(Value::from(head.seed));
    }
}

/// Whether a version came of a run whose server was lost before it removed the checkpoint.
async fn has_ended(session: &Session, run: &str, head: &RunHead) -> Result<bool> {
    let newest = match session.engine.catalog.state().by_id(&head.entry.id) {
        Some(entry) => match &entry.definition {
            Definition::Model(definition) => definition.current_version,
            _ => 0,
        },
        None => 0,
    };
    let models = &session.engine.models;
    for version in models.versions(&head.entry.id).await? {
        if version <= head.base_version || version > newest {
            continue;
        }
        let manifest = models.manifest(&head.entry.id, version).await?;
        if manifest.get("run").and_then(Value::as_str) == Some(run) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The tables and what else bound the query, as they were when the run began.
fn pins(name: &str, head: &RunHead) -> Result<Arc<Pins>> {
    let damaged = |_| nothing_to_resume(name);
    let binding: Option<Binding> = match head.binding.clone() {
        Value::Null => None,
        binding => Some(serde_json::from_value(binding).map_err(damaged)?),
    };
    Ok(Arc::new(Pins::of_version(Wanted {
        version: format!("{name}@{}", head.base_version + 1),
        snapshots: serde_json::from_value(head.snapshots.clone()).map_err(damaged)?,
        binding,
        is_own: true,
    })))
}

fn check_form(name: &str, head: &RunHead) -> Result<()> {
    if head.format == RunHead::format() {
        return Ok(());
    }
    let message =
        format!("the training of model \"{name}\" was begun by another version of Auspex");
    let hint = "Checkpoints are those of one version: train anew, or go on with that version.";
    Err(Error::invalid("55000", message, Some(hint)))
}

fn nothing_to_resume(name: &str) -> Error {
    let hint = "Trainings write checkpoints every checkpoint_interval, and remove them when they end; train anew with TRAIN MODEL name.";
    Error::invalid(
        "55000",
        format!("model \"{name}\" has no training that could go on"),
        Some(hint),
    )
}
