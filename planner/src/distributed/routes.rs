//! Which worker runs which task of a query's stages, and the drawing of stages that says so.
//!
//! In: workers; out: one for each task, the same of its number in every stage, so that tasks of one number find their
//! rows on their own machine where that can be. Each query begins with another worker.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{AsArray as _, RecordBatch, StringArray};
use datafusion::error::Result as DfResult;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion_distributed::{RouteTasksEvent, RouteTasksEventResponse, RouteTasksHandler};
use futures::StreamExt as _;
use url::Url;

use super::connections::address_of;
use crate::explain_json::milliseconds;

/// The workers of a query, in the order of its tasks.
#[derive(Debug, Clone)]
pub(crate) struct Routes(Arc<[Url]>);

impl RouteTasksHandler for Routes {
    fn handle(&self, event: RouteTasksEvent<'_>) -> Option<DfResult<RouteTasksEventResponse>> {
        let urls = self.of_tasks(event.task_count).cloned().collect();
        Some(Ok(RouteTasksEventResponse::new(urls)))
    }
}

impl Routes {
    /// Begins with another worker for each `number`.
    pub(super) fn new(mut workers: Vec<Url>, number: u64) -> Routes {
        let n_workers = workers.len().max(1) as u64;
        let first = usize::try_from(number % n_workers).unwrap_or(0);
        workers.rotate_left(first);
        Routes(workers.into())
    }

    fn of_tasks(&self, n_tasks: usize) -> impl Iterator<Item = &Url> {
        self.0.iter().cycle().take(n_tasks)
    }

    /// The library's drawing of stages, with the worker of each task, and how long it ran where that was measured.
    pub(crate) fn told(&self, drawing: &str) -> String {
        let mut told = String::with_capacity(drawing.len());
        for line in drawing.lines() {
            match self.stage_line(line) {
                Some(line) => told.push_str(&line),
                None => told.push_str(line),
            }
            told.push('\n');
        }
        told
    }

    /// `┌───── Stage 2 ── tasks=2, partitions=4 plan_added_at={…}` with more after the partitions.
    fn stage_line(&self, line: &str) -> Option<String> {
        let (before, after) = line.split_once(" ── tasks=")?;
        let (tasks, partitions) = after.split_once(", ")?;
        let (partitions, figures) = partitions.split_once(' ').unwrap_or((partitions, ""));
        let mut told = format!("{before} ── tasks={tasks}, {partitions}");
        let on = self.of_tasks(tasks.parse().ok()?).map(address_of);
        // A text takes whatever is written.
        let _ = write!(told, ", on={{{}}}", numbered(on.enumerate()));
        let (began, ended) = (
            by_task(figures, "plan_executed_at"),
            by_task(figures, "plan_finished_at"),
        );
        if !ended.is_empty() {
            let times = ended.iter().map(|(task, ended)| {
                let began = began.get(task).copied().unwrap_or(*ended);
                (*task, format!("{:.2}ms", ended - began))
            });
            let _ = write!(told, ", time={{{}}}", numbered(times));
        }
        if !figures.is_empty() {
            let _ = write!(told, ", {figures}");
        }
        Some(told)
    }

    /// The rows of `EXPLAIN ANALYZE`, whose drawings are told.
    pub(super) fn told_rows(&self, rows: SendableRecordBatchStream) -> SendableRecordBatchStream {
        let (schema, routes) = (rows.schema(), self.clone());
        let told = rows.map(move |batch| routes.told_batch(batch?));
        Box::pin(RecordBatchStreamAdapter::new(schema, told))
    }

    fn told_batch(&self, batch: RecordBatch) -> DfResult<RecordBatch> {
        let mut columns = batch.columns().to_vec();
        let plans = columns
            .get(1)
            .and_then(|plans| plans.as_string_opt::<i32>());
        let Some(plans) = plans else {
            return Ok(batch);
        };
        let plans = plans.iter().map(|plan| plan.map(|plan| self.told(plan)));
        let plans: StringArray = plans.collect();
        columns[1] = Arc::new(plans);
        Ok(RecordBatch::try_new(batch.schema(), columns)?)
    }
}

/// `0:a, 1:b`.
fn numbered<T: std::fmt::Display>(values: impl Iterator<Item = (usize, T)>) -> String {
    let values = values.map(|(task, value)| format!("{task}:{value}"));
    values.collect::<Vec<_>>().join(", ")
}

/// A figure of each task in milliseconds: of `name={0:1.2ms, 1:3s}`.
fn by_task(figures: &str, name: &str) -> BTreeMap<usize, f64> {
    let opening = format!("{name}={{");
    let found = figures.split_once(&opening).map(|(_, values)| values);
    let values = found.and_then(|values| Some(values.split_once('}')?.0));
    let values = values.unwrap_or_default().split(", ");
    values
        .filter_map(|value| {
            let (task, time) = value.split_once(':')?;
            Some((task.parse().ok()?, milliseconds(time)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distributed::connections::url_of;

    fn routes(number: u64) -> Routes {
        let workers = ["a:1", "b:1", "c:1"].map(|worker| url_of(worker).unwrap());
        Routes::new(workers.to_vec(), number)
    }

    #[test]
    fn queries_begin_with_another_worker_each() {
        let names = |number, n_tasks| -> Vec<String> {
            let routes = routes(number);
            routes.of_tasks(n_tasks).map(address_of).collect()
        };
        assert_eq!(names(0, 2), ["a:1", "b:1"]);
        assert_eq!(names(4, 4), ["b:1", "c:1", "a:1", "b:1"]);
    }

    #[test]
    fn stages_tell_where_their_tasks_ran_and_for_how_long() {
        let drawing = "  ┌───── Stage 2 ── tasks=2, partitions=4 plan_added_at={0:1ms, 1:2ms}, \
                       plan_executed_at={0:1.5ms, 1:2ms}, plan_finished_at={0:101.5ms, 1:1.002s}\n  │ SortExec: a\n";
        let told = routes(0).told(drawing);
        let expected = "  ┌───── Stage 2 ── tasks=2, partitions=4, on={0:a:1, 1:b:1}, time={0:100.00ms, 1:1000.00ms}, \
                        plan_added_at={0:1ms, 1:2ms}";
        assert!(told.starts_with(expected), "{told}");
        assert!(told.ends_with("\n  │ SortExec: a\n"), "{told}");
        let told = routes(1).told("┌───── Stage 1 ── tasks=1, partitions=4\n");
        assert_eq!(
            told,
            "┌───── Stage 1 ── tasks=1, partitions=4, on={0:b:1}\n"
        );
    }
}
