//! A statement at work, on a task of its own.
//!
//! In: a prepared statement, its parameters and a cancel token; out: events in order, and notices as
//! they come. The task isolates the connection: whatever the statement does, notices flow, cancel
//! requests are answered in time, and a panic ends this statement alone.

use std::any::Any;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use auspex_planner::{
    CopyOptions, Notice, Outcome, Prepared, Report, ReturnedCheck, STACK_BYTES, SentRows, Session,
    StatementControl, SyntaxMemory, report_of,
};
use auspex_sql::ParsedStatement;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, SchemaRef};
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::connection::ends_transaction;
use super::copy::CopyRequest;

/// Batches that may wait for a slow client.
const WAITING_EVENTS: usize = 2;
/// While rows of more bytes wait for a slow client, no further ones are computed.
const WAITING_BYTES: u32 = 1 << 20;
/// Threads for queries, for each core.
const THREADS_PER_CORE: usize = 4;
/// How long a cancelled statement may take to say so itself. Somewhat below the 200 ms in which a
/// cancel request is to be answered.
const GRACE: Duration = Duration::from_millis(150);

/// Threads for queries, apart from those that serve connections: an operator may compute for seconds
/// without a pause, and cancel requests must be heard meanwhile.
pub(super) struct QueryThreads(Option<Runtime>);

impl QueryThreads {
    /// Starts more threads than there are cores: an operator that computes for minutes without a pause keeps as many
    /// threads as its query has partitions, and the system divides the cores among it and all others.
    pub(super) fn start() -> io::Result<QueryThreads> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS_PER_CORE * cores)
            .thread_name("auspex-query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build();
        Ok(QueryThreads(Some(runtime?)))
    }

    /// Where to run; `None` only while the threads are being stopped.
    pub(super) fn handle(&self) -> Option<&Handle> {
        self.0.as_ref().map(Runtime::handle)
    }
}

impl Drop for QueryThreads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            // A runtime must not be waited for on a thread of another one.
            runtime.shutdown_background();
        }
    }
}

/// What a statement's task is to do.
pub(super) enum Work {
    /// Read a long text.
    Read(String),
    /// Plan only.
    Prepare(ParsedStatement, Vec<Option<FieldRef>>),
    /// Run what was planned.
    Execute(Arc<Prepared>, Vec<ScalarValue>),
    /// Plan and run.
    Run(ParsedStatement),
}

impl Work {
    /// Whether it may have made something durable before it says so, so that only its own result tells.
    fn is_commit(&self) -> bool {
        match self {
            Work::Prepare(statement, _) | Work::Run(statement) => ends_transaction(statement),
            Work::Execute(prepared, _) => prepared.is_commit(),
            Work::Read(_) => false,
        }
    }
}

/// What happened.
pub(super) enum Event {
    /// There will be rows of this schema; the tag's first word.
    Rows(SchemaRef, &'static str),
    /// A COPY to the client: rows of this schema in this form.
    CopyOut(SchemaRef, CopyOptions),
    /// A COPY from the client waits for rows.
    CopyIn(Box<CopyRequest>),
    /// Rows, and the memory that they take until they are sent.
    Batch(RecordBatch, WaitingRows),
    /// The end: of the rows, or of a statement without rows with its whole tag.
    Done(Option<String>),
    /// The end of reading: the statements, and the memory that they take.
    Read(Vec<ParsedStatement>, SyntaxMemory),
    /// The end of planning.
    Prepared(Arc<Prepared>),
    /// The end: the planner reports an error.
    Failed(Report),
    /// The end: a defect.
    Panicked,
    /// The end: cancelled, and too busy to say so.
    Overdue,
    /// The end: its time is over, and it is too busy to say so. Reading and planning are: they never wait.
    TimedOut,
}

/// A notice or an event.
pub(super) enum Next {
    Notice(Notice),
    Event(Event),
}

/// A running statement; dropping it cancels it.
pub(super) struct Running {
    events: mpsc::Receiver<Event>,
    notices: UnboundedReceiver<Notice>,
    overdue: BoxFuture<'static, Event>,
    cancel: CancellationToken,
    _cancel_when_dropped: DropGuard,
}

impl Running {
    /// Starts the work on the threads for queries.
    pub(super) fn start(
        queries: &Handle,
        session: &Arc<Session>,
        work: Work,
        returned: Option<ReturnedCheck>,
    ) -> Running {
        let cancel = CancellationToken::new();
        let (events_in, events) = mpsc::channel(WAITING_EVENTS);
        let (notices_in, notices) = mpsc::unbounded_channel();
        let control = StatementControl {
            cancel: cancel.clone(),
            notices: notices_in,
            returned,
        };
        let time_limit = session.time_limit().filter(|_| !work.is_commit());
        let overdue = overdue(cancel.clone(), time_limit);
        queries.spawn(attend(Arc::clone(session), work, control, events_in));
        Running {
            events,
            notices,
            overdue: overdue.boxed(),
            _cancel_when_dropped: cancel.clone().drop_guard(),
            cancel,
        }
    }

    /// The next thing to tell the client; notices come before what they precede.
    pub(super) async fn next(&mut self) -> Next {
        tokio::select! {
            biased;
            Some(notice) = self.notices.recv() => Next::Notice(notice),
            // The channel closes without a last event only when the runtime stops.
            event = self.events.recv() => Next::Event(event.unwrap_or(Event::Overdue)),
            event = &mut self.overdue => Next::Event(event),
        }
    }

    /// The next notice; never resolves when there will be none.
    pub(super) async fn next_notice(&mut self) -> Notice {
        match self.notices.recv().await {
            Some(notice) => notice,
            None => std::future::pending().await,
        }
    }

    /// The token that stops the statement.
    pub(super) fn cancel_token(&self) -> &CancellationToken {
        &self.cancel
    }
}

/// The end of a statement that was cancelled, or whose time is over, and that is too busy to say so.
async fn overdue(cancel: CancellationToken, time_limit: Option<Duration>) -> Event {
    let is_late = async {
        match time_limit {
            Some(limit) => tokio::time::sleep(limit + GRACE).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = cancel.cancelled() => {
            tokio::time::sleep(GRACE).await;
            Event::Overdue
        }
        () = is_late => Event::TimedOut,
    }
}

/// The statement's task: works, tells how it ended, and gives up when nobody listens any more.
async fn attend(
    session: Arc<Session>,
    work: Work,
    control: StatementControl,
    events: mpsc::Sender<Event>,
) {
    let abandoned = async {
        events.closed().await;
        // The token is cancelled by now: time to stop in an orderly way.
        tokio::time::sleep(GRACE).await;
    };
    // Its rows may wait for a client that does not read, which must not keep what the statement holds.
    let time_limit = session.time_limit();
    let (is_commit, cancel) = (work.is_commit(), control.cancel.clone());
    let late = async move {
        match is_commit {
            true => std::future::pending().await,
            false => overdue(cancel, time_limit).await,
        }
    };
    let work = AssertUnwindSafe(perform(&session, work, &control, &events)).catch_unwind();
    let last = tokio::select! {
        biased;
        result = work => match result {
            Ok(Ok(event)) => event,
            Ok(Err(report)) => Event::Failed(report),
            Err(panic) => {
                tracing::error!(panic = panic_text(&*panic), "a statement panicked");
                Event::Panicked
            }
        },
        () = abandoned => return,
        event = late => event,
    };
    // Nobody waits for the end of a statement whose client has gone.
    let _ = events.send(last).await;
}

async fn perform(
    session: &Arc<Session>,
    work: Work,
    control: &StatementControl,
    events: &mpsc::Sender<Event>,
) -> Result<Event, Report> {
    let prepare = async |statement: ParsedStatement, types: Vec<Option<FieldRef>>| {
        session
            .prepare(&statement, &types)
            .await
            .map_err(|error| error.report())
    };
    let (prepared, parameters) = match work {
        Work::Read(text) => {
            let read = session.parse_long(&text, &control.cancel);
            let (statements, memory) = read.map_err(|error| error.report())?;
            return Ok(Event::Read(statements, memory));
        }
        Work::Prepare(statement, types) => {
            return Ok(Event::Prepared(Arc::new(prepare(statement, types).await?)));
        }
        Work::Execute(prepared, parameters) => (prepared, parameters),
        Work::Run(statement) => {
            let prepared = prepare(statement, Vec::new()).await?;
            let complete = prepared.refuse_parameters();
            complete.map_err(|error| error.report())?;
            (Arc::new(prepared), Vec::new())
        }
    };
    let outcome = session.execute(&prepared, parameters, control).await;
    match outcome.map_err(|error| error.report())? {
        Outcome::Command(tag) => Ok(Event::Done(Some(tag))),
        Outcome::Rows {
            schema,
            stream,
            tag,
        } => {
            let listening = events.send(Event::Rows(schema, tag)).await.is_ok();
            send_batches(session, stream, events, listening).await
        }
        Outcome::CopyOut {
            schema,
            stream,
            options,
        } => {
            let listening = events.send(Event::CopyOut(schema, options)).await.is_ok();
            send_batches(session, stream, events, listening).await
        }
        Outcome::CopyIn(copy) => {
            let request = CopyRequest {
                table: copy.table,
                columns: copy.columns,
                options: copy.options,
                lines: copy.lines,
                rows: copy.rows,
            };
            if events.send(Event::CopyIn(Box::new(request))).await.is_err() {
                return Ok(Event::Overdue);
            }
            let tag = copy.end.await.map_err(|error| error.report())?;
            Ok(Event::Done(Some(tag)))
        }
    }
}

async fn send_batches(
    session: &Session,
    mut stream: SendableRecordBatchStream,
    events: &mpsc::Sender<Event>,
    mut listening: bool,
) -> Result<Event, Report> {
    let room = Room::new();
    while listening {
        let ready = room.ready().await;
        let Some(batch) = stream.next().await else {
            break;
        };
        let batch = batch.map_err(|error| report_of(&error))?;
        let memory = session.sent_rows(&batch);
        let memory = memory.map_err(|error| error.report())?;
        let waiting = WaitingRows {
            _room: room.take(ready, memory.n_bytes()).await,
            _memory: memory,
        };
        listening = events.send(Event::Batch(batch, waiting)).await.is_ok();
    }
    Ok(Event::Done(None))
}

/// What rows take until they are sent: memory, and room among those that wait for the client.
pub(super) struct WaitingRows {
    _room: Option<OwnedSemaphorePermit>,
    _memory: SentRows,
}

/// The bytes of rows that a client has not taken: of small batches the next ones are computed while these are sent, of a
/// large one there is no second.
struct Room(Arc<Semaphore>);

impl Room {
    fn new() -> Room {
        Room(Arc::new(Semaphore::new(2 * WAITING_BYTES as usize)))
    }

    /// Waits until no more than `WAITING_BYTES` wait for the client. Never fails: nothing closes the semaphore.
    async fn ready(&self) -> Option<OwnedSemaphorePermit> {
        let ready = Arc::clone(&self.0).acquire_many_owned(WAITING_BYTES);
        ready.await.ok()
    }

    /// What rows of so many bytes take of the room that is ready; the rest of it is free again. A large batch takes all.
    async fn take(
        &self,
        ready: Option<OwnedSemaphorePermit>,
        n_bytes: usize,
    ) -> Option<OwnedSemaphorePermit> {
        let mut ready = ready?;
        if n_bytes <= WAITING_BYTES as usize {
            return ready.split(n_bytes);
        }
        ready.merge(self.ready().await?);
        Some(ready)
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_is_computed_behind_rows_that_are_large() {
        let room = Room::new();
        let small = room.take(room.ready().await, WAITING_BYTES as usize).await;
        assert!(room.ready().now_or_never().is_some(), "one may follow");
        let next = room.take(room.ready().await, 1000).await;
        assert!(room.ready().now_or_never().is_none());
        drop((small, next));
        let large = room.take(room.ready().await, 1 << 30).await;
        assert!(room.ready().now_or_never().is_none());
        drop(large);
        assert_eq!(room.0.available_permits(), 2 * WAITING_BYTES as usize);
    }
}
