//! What a caller gives a statement and gets back: control, notices, outcome.
//!
//! In: a cancel token and a channel for notices; out: rows or a command tag.

use std::fmt;
use std::sync::Arc;

use auspex_sql::without_url_secrets;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use futures::future::BoxFuture;
use tokio::sync::mpsc::{Sender, UnboundedSender};
use tokio_util::sync::CancellationToken;

use crate::copied_lines::CopiedLines;
use crate::copy_options::CopyOptions;
use crate::error::Error;

/// How serious a notice is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Detail for the curious.
    Info,
    /// Worth knowing.
    Notice,
    /// Surprising.
    Warning,
}

/// A message beside the result.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// How serious it is.
    pub severity: Severity,
    /// Its SQLSTATE: `00000` or `01000` unless something fits better.
    pub sqlstate: &'static str,
    /// One sentence in PostgreSQL's style.
    pub message: String,
    /// A sentence that helps.
    pub hint: Option<String>,
    /// For progress: the fraction done, if known, so that a terminal can draw a bar.
    pub progress: Option<f64>,
}

impl Notice {
    /// A plain NOTICE.
    pub fn plain(message: impl Into<String>) -> Notice {
        Notice {
            severity: Severity::Notice,
            sqlstate: "00000",
            message: message.into(),
            hint: None,
            progress: None,
        }
    }

    /// A WARNING.
    pub fn warning(message: impl Into<String>) -> Notice {
        Notice {
            severity: Severity::Warning,
            sqlstate: "01000",
            ..Notice::plain(message)
        }
    }
}

/// How the caller steers a running statement.
#[derive(Debug, Clone)]
pub struct StatementControl {
    /// Cancelled by the caller; the statement then ends with 57014 within 200 ms, also while its
    /// rows are being streamed.
    pub cancel: CancellationToken,
    /// Receives notices while the statement runs; may be closed.
    pub notices: UnboundedSender<Notice>,
    /// What must hold of the rows that a change returns.
    pub returned: Option<ReturnedCheck>,
}

/// Looks at rows that a change returns, which fails before it is committed if they are wrong.
#[derive(Clone)]
pub struct ReturnedCheck(Arc<Check>);

/// Its error has the SQLSTATE and the message.
type Check = dyn Fn(&RecordBatch) -> Result<(), (&'static str, String)> + Send + Sync;

impl ReturnedCheck {
    /// One that calls a function.
    pub fn new(
        check: impl Fn(&RecordBatch) -> Result<(), (&'static str, String)> + Send + Sync + 'static,
    ) -> ReturnedCheck {
        ReturnedCheck(Arc::new(check))
    }

    /// Fails if rows are wrong.
    pub(crate) fn check(&self, rows: &RecordBatch) -> crate::error::Result<()> {
        self.0(rows).map_err(|(sqlstate, message)| Error::invalid(sqlstate, message, None))
    }
}

impl fmt::Debug for ReturnedCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReturnedCheck").finish_non_exhaustive()
    }
}

impl StatementControl {
    /// The same for a statement whose rows are not those that the client gets.
    pub(crate) fn within(&self) -> StatementControl {
        StatementControl {
            returned: None,
            ..self.clone()
        }
    }

    /// Sends a notice, if anybody listens; what it quotes of URLs is shown without secrets.
    pub fn notify(&self, mut notice: Notice) {
        notice.message = without_url_secrets(&notice.message).into_owned();
        // A closed channel means that the client has gone; the cancel token says so.
        let _ = self.notices.send(notice);
    }
}

/// What a statement gave.
pub enum Outcome {
    /// Rows.
    Rows {
        /// Their columns.
        schema: SchemaRef,
        /// The rows; ends with an error when the statement is cancelled or times out.
        stream: SendableRecordBatchStream,
        /// The command tag's first word: `SELECT`, `SHOW`, `EXPLAIN`.
        tag: &'static str,
    },
    /// Rows of a `COPY … TO STDOUT`, for the server to write in this form.
    CopyOut {
        /// Their columns.
        schema: SchemaRef,
        /// The rows.
        stream: SendableRecordBatchStream,
        /// The form.
        options: CopyOptions,
    },
    /// A `COPY … FROM STDIN`, which waits for rows.
    CopyIn(CopyIn),
    /// No rows: the whole command tag, such as `CREATE MODEL` or `INSERT 0 3`.
    Command(String),
}

/// A `COPY … FROM STDIN` at work: `end` must be polled while rows are sent.
pub struct CopyIn {
    /// The table's name, for messages.
    pub table: String,
    /// The columns of the rows.
    pub columns: SchemaRef,
    /// The form of the rows.
    pub options: CopyOptions,
    /// Finds the row that a failure is about.
    pub lines: CopiedLines,
    /// Takes the rows; dropped at their end. An error makes the statement fail, so that nothing of it stays.
    pub rows: Sender<Result<RecordBatch, DataFusionError>>,
    /// Ends with the command tag when all rows are in the table.
    pub end: BoxFuture<'static, crate::error::Result<String>>,
}
