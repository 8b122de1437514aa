//! The plan of a statement that changes rows, to be told once it has run: what `EXPLAIN ANALYZE` shows of it.
//!
//! In: plans as they are started, wherever they run; out: the last of them, with what its operators measured, and why it
//! stays on the coordinator of a cluster. A statement that lost a race is planned again, and the plan that counts is the last.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::display::DisplayableExecutionPlan;
use datafusion_distributed::{DistributedMetricsFormat, display_plan_ascii, explain_analyze};

use crate::distributed::Routes;
use crate::engine::lock;
use crate::error::Result;

/// How long workers have to tell what they measured of a plan that has run; then it is told without.
const METRICS_TIMEOUT: Duration = Duration::from_secs(5);

tokio::task_local! {
    /// What is measured of the statement that runs.
    static CURRENT: Measured;
}

/// The plan of a statement. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Measured(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    started: Option<Started>,
    /// Why workers have no part in it, if there are some.
    stays: Option<String>,
}

struct Started {
    plan: Arc<dyn ExecutionPlan>,
    /// Which worker runs which task, if workers run it.
    routes: Option<Routes>,
}

impl Measured {
    /// Runs a statement whose plan is kept.
    pub(crate) async fn scope<T>(&self, running: impl Future<Output = T>) -> T {
        CURRENT.scope(self.clone(), running).await
    }

    /// Why the statement stayed on the coordinator; `None` without a cluster, and where workers ran it.
    pub(crate) fn reason_to_stay(&self) -> Option<String> {
        lock(&self.0).stays.clone()
    }

    /// The plan that ran, with what its operators measured; nothing, if there was none.
    pub(crate) async fn text(&self, verbose: bool) -> Result<String> {
        let started = lock(&self.0).started.take();
        Ok(match started {
            None => String::new(),
            Some(Started { plan, routes: None }) => {
                let plan = DisplayableExecutionPlan::with_metrics(plan.as_ref());
                plan.indent(verbose).to_string()
            }
            Some(Started {
                plan,
                routes: Some(routes),
            }) => {
                let format = DistributedMetricsFormat::Aggregated;
                let telling = explain_analyze(Arc::clone(&plan), format);
                match tokio::time::timeout(METRICS_TIMEOUT, telling).await {
                    Ok(told) => routes.told(&told?),
                    Err(_) => routes.told(&display_plan_ascii(plan.as_ref(), true)),
                }
            }
        })
    }
}

/// Keeps why a plan that is about to start stays on the coordinator, if its statement is measured.
pub(crate) fn note_staying(reason: &str) {
    // Of most statements nobody asks.
    let _ = CURRENT.try_with(|measured| lock(&measured.0).stays = Some(reason.to_owned()));
}

/// Keeps a plan that is started, if its statement is measured.
pub(crate) fn note_started(plan: &Arc<dyn ExecutionPlan>, routes: Option<&Routes>) {
    // Of most statements nobody asks.
    let _ = CURRENT.try_with(|measured| {
        let mut kept = lock(&measured.0);
        kept.started = Some(Started {
            plan: Arc::clone(plan),
            routes: routes.cloned(),
        });
        if routes.is_some() {
            kept.stays = None;
        }
    });
}
