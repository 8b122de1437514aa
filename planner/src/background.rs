//! Trainings that run apart from a session, as processes of their own.
//!
//! In: those that begin, and the end of the server; out: whose they are, and when none is left. A server that ends waits
//! for them, and then has them keep what they have come to, see `checkpoints`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use auspex_storage::CatalogState;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::access::HeldRole;
use crate::engine::Engine;

/// The trainings of an engine that run in the background.
#[derive(Debug, Default)]
pub(crate) struct Background {
    /// Whose each process is.
    owners: watch::Sender<BTreeMap<i32, HeldRole>>,
    is_ending: AtomicBool,
}

/// One that runs; it is over when this is dropped.
pub(crate) struct BackgroundTraining {
    engine: Arc<Engine>,
    process_id: i32,
}

impl Background {
    /// Whose a process is; `None`: there is no such process.
    pub(crate) fn user_of(&self, process_id: i32, state: &CatalogState) -> Option<String> {
        let owners = self.owners.borrow();
        Some(owners.get(&process_id)?.name_in(state))
    }

    /// Whether trainings are cancelled because the server ends.
    pub(crate) fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }
}

impl BackgroundTraining {
    /// A training begins as a process, which `cancel` ends.
    pub(crate) fn begin(
        engine: &Arc<Engine>,
        process_id: i32,
        user: HeldRole,
        cancel: &CancellationToken,
    ) -> BackgroundTraining {
        engine.set_running(process_id, Some(cancel));
        let owners = &engine.background.owners;
        owners.send_modify(|owners| {
            owners.insert(process_id, user);
        });
        // Whoever ends the others has not seen it.
        if engine.background.is_ending() {
            cancel.cancel();
        }
        BackgroundTraining {
            engine: Arc::clone(engine),
            process_id,
        }
    }
}

impl Drop for BackgroundTraining {
    fn drop(&mut self) {
        self.engine.set_running(self.process_id, None);
        self.engine.background.owners.send_modify(|owners| {
            owners.remove(&self.process_id);
        });
    }
}

impl Engine {
    /// How many trainings run in the background.
    pub fn n_background_trainings(&self) -> usize {
        self.background.owners.borrow().len()
    }

    /// Waits until no training runs in the background, and none keeps a checkpoint any more.
    pub async fn trainings_ended(&self) {
        let mut owners = self.background.owners.subscribe();
        // The other end is the engine's own.
        let _ = owners.wait_for(|owners| owners.is_empty()).await;
        self.live_runs.ended().await;
    }

    /// The server ends: trainings in the background are cancelled, and all that are cancelled from now on keep what they
    /// have come to, however short they ran.
    pub fn end_trainings(&self) {
        self.background.is_ending.store(true, Ordering::Release);
        let processes: Vec<i32> = self.background.owners.borrow().keys().copied().collect();
        for process_id in processes {
            self.cancel(process_id);
        }
    }
}
