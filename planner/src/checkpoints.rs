//! Checkpoints of trainings: what one writes of itself while it runs, so that `TRAIN MODEL m RESUME` can go on with it.
//!
//! In: the records of a training; out: parts of its run beside the models, every `checkpoint_interval` at most. A run is
//! removed when it ends; of one that was cancelled, or whose server was lost, the checkpoint stays.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use auspex_ml::checkpoint::{CheckpointRecord, Checkpoints, RecordSink};
use auspex_storage::{CatalogEntry, CheckpointStore, ModelDefinition};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

use crate::access::HeldRole;
use crate::engine::{Engine, lock};
use crate::error::{Error, Result};
use crate::logical::{FitMode, FitTask};

/// SQLSTATEs of trainings that did not fail, and may go on: cancelled, or the server or its workers were lost.
const MAY_GO_ON: &[&str] = &["57014", "57P01", "57P02", "57P03"];

/// Whether a training that ended so did not fail, and may go on.
pub(crate) fn may_go_on(error: &Error) -> bool {
    MAY_GO_ON.contains(&error.report().sqlstate)
}

/// Bytes of records that may wait.
const MAX_WAITING: usize = 32 << 20;

/// What a run trains, as its head says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RunHead {
    /// The form of the records; of another one, nothing is read.
    pub(crate) format: String,
    pub(crate) entry: CatalogEntry,
    /// Whose the model is, if it is new.
    pub(crate) owner: HeldRole,
    pub(crate) definition: ModelDefinition,
    /// It may have come from the session.
    pub(crate) seed: u64,
    pub(crate) mode: FitMode,
    pub(crate) statement: String,
    pub(crate) snapshots: Value,
    pub(crate) binding: Value,
    /// The newest version when it began.
    pub(crate) base_version: u64,
    /// Milliseconds since 1970.
    pub(crate) started_at_ms: i64,
    /// The table of the rows that workers wrote for it, see `WrittenRows`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rows: Option<String>,
}

impl RunHead {
    /// Records are those of one release: a step of another one may have another form.
    pub(crate) fn format() -> String {
        format!("1+{}", env!("CARGO_PKG_VERSION"))
    }

    fn of(task: &FitTask, rows: Option<String>) -> RunHead {
        RunHead {
            format: RunHead::format(),
            entry: task.entry.clone(),
            owner: task.owner.clone(),
            base_version: task.definition.current_version,
            definition: task.definition.clone(),
            seed: task.options.u64("seed"),
            mode: task.mode,
            statement: task.statement.clone(),
            snapshots: task.snapshots.clone(),
            binding: task.binding.clone(),
            started_at_ms: chrono::Utc::now().timestamp_millis(),
            rows,
        }
    }
}

/// The table of the rows that workers wrote for a training, as its checkpoint names it.
pub(crate) struct RowsOfRun {
    pub(crate) id: String,
    /// Whether a head in the store may name it: until then nobody needs the rows when the training ends, however it does.
    pub(crate) is_named: Arc<AtomicBool>,
}

/// An earlier life of a training.
#[derive(Debug)]
pub(crate) struct EarlierRun {
    pub(crate) run: String,
    pub(crate) records: Vec<CheckpointRecord>,
    pub(crate) n_parts: u64,
    /// The table of the rows that workers wrote for it.
    pub(crate) rows: Option<String>,
}

impl EarlierRun {
    /// Reads what a run kept.
    pub(crate) async fn read(engine: &Engine, run: &str, head: &RunHead) -> Result<EarlierRun> {
        let parts = engine.checkpoints().parts(run).await?;
        let mut records = Vec::new();
        for part in &parts {
            let part: Vec<CheckpointRecord> = postcard::from_bytes(part).map_err(|error| {
                let message = format!("the checkpoint of a training is damaged: {error}");
                Error::invalid("XX001", message, Some("Train anew with TRAIN MODEL name."))
            })?;
            records.extend(part);
        }
        Ok(EarlierRun {
            run: run.to_owned(),
            records,
            n_parts: parts.len() as u64,
            rows: head.rows.clone(),
        })
    }
}

/// The runs of this server that train now.
#[derive(Debug, Default)]
pub(crate) struct LiveRuns(watch::Sender<BTreeSet<String>>);

impl LiveRuns {
    /// Whether a run trains now.
    pub(crate) fn has(&self, run: &str) -> bool {
        self.0.borrow().contains(run)
    }

    /// Waits until none does.
    pub(crate) async fn ended(&self) {
        let mut runs = self.0.subscribe();
        // The other end is this.
        let _ = runs.wait_for(|runs| runs.is_empty()).await;
    }
}

/// Keeps the records of one training. What is not written when it is dropped is lost.
pub(crate) struct Keeper {
    kept: Arc<Kept>,
    writing: JoinHandle<()>,
}

/// What the keeper shares with the task that writes.
struct Kept {
    engine: Arc<Engine>,
    store: CheckpointStore,
    run: String,
    head: Value,
    /// Whether the head in the store names the table of rows.
    names_rows: Option<Arc<AtomicBool>>,
    waiting: Mutex<Vec<CheckpointRecord>>,
    waiting_bytes: AtomicUsize,
    /// So much waits that it is written at once.
    is_full: Notify,
    written: tokio::sync::Mutex<Written>,
    last_ms: Arc<AtomicI64>,
}

/// What is in the store.
struct Written {
    has_head: bool,
    n_parts: u64,
    /// Another server goes on with the run.
    is_taken: bool,
}

impl Keeper {
    /// Starts to keep what `task` comes to, after what an earlier life came to; without an interval nothing new is kept.
    /// `rows` is the table that workers wrote for it; it is named from the first checkpoint to the last. The second value
    /// goes to the task's run.
    ///
    /// Errors: 55006 if the run trains now on this server.
    pub(crate) fn start(
        task: &Arc<FitTask>,
        interval: Option<Duration>,
        earlier: Option<EarlierRun>,
        rows: Option<RowsOfRun>,
    ) -> Result<(Keeper, Arc<Checkpoints>)> {
        let has_head = earlier.is_some();
        let earlier = match earlier {
            Some(earlier) => earlier,
            None => EarlierRun {
                run: new_run()?,
                records: Vec::new(),
                n_parts: 0,
                rows: None,
            },
        };
        let engine = Arc::clone(&task.engine);
        let run = earlier.run.clone();
        let runs = &engine.live_runs.0;
        if !runs.send_if_modified(|runs| runs.insert(run)) {
            return Err(still_runs(&task.display_name()));
        }
        let (rows, names_rows) = match rows {
            Some(RowsOfRun { id, is_named }) => (Some(id), Some(is_named)),
            None => (None, None),
        };
        let kept = Arc::new(Kept {
            store: engine.checkpoints(),
            engine,
            run: earlier.run,
            head: serde_json::to_value(RunHead::of(task, rows)).unwrap_or(Value::Null),
            names_rows,
            waiting: Mutex::default(),
            waiting_bytes: AtomicUsize::new(0),
            is_full: Notify::new(),
            written: tokio::sync::Mutex::new(Written {
                has_head,
                n_parts: earlier.n_parts,
                is_taken: false,
            }),
            last_ms: Arc::default(),
        });
        let sink: RecordSink = match interval {
            None => Arc::new(|_| {}),
            Some(_) => {
                let kept = Arc::clone(&kept);
                Arc::new(move |record| kept.take(record))
            }
        };
        let checkpoints = Arc::new(Checkpoints::new(earlier.records, sink));
        let writing = tokio::spawn(write_often(Arc::clone(&kept), interval));
        Ok((Keeper { kept, writing }, checkpoints))
    }

    /// The run's identity.
    pub(crate) fn run(&self) -> &str {
        &self.kept.run
    }

    /// When the last checkpoint was written, in milliseconds since 1970; 0: never.
    pub(crate) fn last_ms(&self) -> Arc<AtomicI64> {
        Arc::clone(&self.kept.last_ms)
    }

    /// Ends with the training: a run that may go on is written once more, or for the first time where the server ends; any
    /// other is removed. Returns whether somebody may go on with it.
    pub(crate) async fn end(self, error: Option<&Error>) -> bool {
        let may_go_on = error.is_some_and(may_go_on);
        // With the lock no part is on its way, which would arrive behind the removal.
        let written = self.kept.written.lock().await;
        self.writing.abort();
        let is_cut_off = may_go_on && self.kept.engine.background.is_ending();
        if written.is_taken || !written.has_head && !is_cut_off {
            return written.is_taken;
        }
        drop(written);
        if may_go_on {
            self.kept.write_or_tell().await;
            return self.kept.written.lock().await.has_head;
        }
        self.kept.name_rows(false);
        if let Err(error) = self.kept.store.remove(&self.kept.run).await {
            let run = &self.kept.run;
            tracing::warn!(%error, run, "the checkpoint of a training stays");
        }
        false
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.writing.abort();
        let runs = &self.kept.engine.live_runs.0;
        runs.send_modify(|runs| {
            runs.remove(&self.kept.run);
        });
    }
}

/// Writes what waits, as often as the interval says, and when much waits.
async fn write_often(kept: Arc<Kept>, interval: Option<Duration>) {
    let Some(interval) = interval else { return };
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = kept.is_full.notified() => {}
        }
        kept.write_or_tell().await;
    }
}

impl Kept {
    fn name_rows(&self, are_named: bool) {
        if let Some(named) = &self.names_rows {
            named.store(are_named, Ordering::Release);
        }
    }

    fn take(&self, record: CheckpointRecord) {
        let n_bytes = record.n_bytes();
        lock(&self.waiting).push(record);
        let before = self.waiting_bytes.fetch_add(n_bytes, Ordering::Relaxed);
        if before + n_bytes >= MAX_WAITING {
            self.is_full.notify_one();
        }
    }

    async fn write_or_tell(&self) {
        if let Err(error) = self.write().await {
            let run = &self.run;
            tracing::warn!(%error, run, "a checkpoint could not be written; it is tried again");
        }
    }

    /// Writes the records that wait as one part.
    async fn write(&self) -> Result<()> {
        let mut written = self.written.lock().await;
        let n_waiting = lock(&self.waiting).len();
        if n_waiting == 0 || written.is_taken {
            return Ok(());
        }
        if !written.has_head {
            // Before it is there: a head without rows says so when somebody goes on, rows without a head nobody finds.
            self.name_rows(true);
            self.store.put_head(&self.run, &self.head).await?;
            written.has_head = true;
        }
        let bytes = postcard::to_allocvec(&lock(&self.waiting)[..n_waiting]);
        let bytes = bytes.map_err(|error| Error::invalid("XX000", error.to_string(), None))?;
        let number = written.n_parts + 1;
        if !self.store.put_part(&self.run, number, &bytes).await? {
            let run = &self.run;
            tracing::warn!(run, "another server goes on with this training");
            written.is_taken = true;
            return Ok(());
        }
        written.n_parts = number;
        let n_bytes = lock(&self.waiting)
            .drain(..n_waiting)
            .map(|record| record.n_bytes())
            .sum();
        self.waiting_bytes.fetch_sub(n_bytes, Ordering::Relaxed);
        let now_ms = chrono::Utc::now().timestamp_millis();
        self.last_ms.store(now_ms, Ordering::Relaxed);
        Ok(())
    }
}

/// An identity that no other run has.
fn new_run() -> Result<String> {
    let mut bytes = [0; 16];
    auspex_storage::random(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The error of going on with a training that runs.
pub(crate) fn still_runs(model: &str) -> Error {
    Error::invalid(
        "55006",
        format!("the training of model \"{model}\" still runs"),
        Some("SELECT * FROM ml.jobs shows it."),
    )
}
