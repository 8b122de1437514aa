//! The one place where failures become what a client reads: SQLSTATE, message, detail, hint, position.
//!
//! In: the planner's reports and the server's own failures; out: PostgreSQL's error and notice fields.
//! Decides no messages of the planner; only carries them over.

use auspex_planner::{ErrorPlace, Notice, Report, Severity};
use pgwire::error::ErrorInfo;

use crate::protocol::types::ParameterError;

/// A failure as a client is told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    severity: &'static str,
    sqlstate: String,
    message: String,
    detail: Option<String>,
    hint: Option<String>,
    /// Characters from the start of the text that the client sent, the first being 1.
    position: Option<usize>,
    /// Where in the work of the statement it happened.
    context: Option<String>,
    /// The table, column or constraint that it is about.
    place: ErrorPlace,
    /// PostgreSQL's file and routine of an error that drivers know by these.
    source: Option<(&'static str, &'static str)>,
}

impl Failure {
    /// An error of one statement.
    pub(crate) fn error(sqlstate: &str, message: impl Into<String>) -> Failure {
        Failure {
            severity: "ERROR",
            sqlstate: sqlstate.to_owned(),
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            place: ErrorPlace::default(),
            source: None,
        }
    }

    /// An error that ends the connection.
    pub(crate) fn fatal(sqlstate: &str, message: impl Into<String>) -> Failure {
        Failure {
            severity: "FATAL",
            ..Failure::error(sqlstate, message)
        }
    }

    /// The same with a sentence that helps.
    pub(crate) fn with_hint(self, hint: impl Into<String>) -> Failure {
        Failure {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The same with more about the cause.
    pub(crate) fn with_detail(self, detail: impl Into<String>) -> Failure {
        Failure {
            detail: Some(detail.into()),
            ..self
        }
    }

    /// The same with where in the work of the statement it happened.
    pub(crate) fn with_context(self, context: impl Into<String>) -> Failure {
        Failure {
            context: Some(context.into()),
            ..self
        }
    }

    /// What the planner reports of a statement that stands at byte `start` of `text`.
    pub(crate) fn from_report(report: Report, text: &str, start: usize) -> Failure {
        let position = report
            .position
            .map(|offset| character_position(text, start + offset));
        Failure {
            detail: report.detail,
            hint: report.hint,
            position,
            place: report.place,
            ..Failure::error(report.sqlstate, report.message)
        }
    }

    /// The client violated the protocol, but the connection can go on.
    pub(crate) fn protocol(message: impl Into<String>) -> Failure {
        Failure::error("08P01", message)
    }

    /// A defect: the statement panicked.
    pub(crate) fn panic() -> Failure {
        Failure::error("XX000", "the statement failed because of an internal error")
            .with_hint("The server's log tells more. Please report this.")
    }

    /// The client asked to stop.
    pub(crate) fn cancelled() -> Failure {
        Failure::error("57014", "canceling statement due to user request")
    }

    /// The statement's time is over.
    pub(crate) fn timed_out() -> Failure {
        Failure::error("57014", "canceling statement due to statement timeout")
    }

    /// The server stops.
    pub(crate) fn shutdown() -> Failure {
        Failure::fatal(
            "57P01",
            "terminating connection due to administrator command",
        )
    }

    /// The client has said nothing for too long.
    pub(crate) fn idle_session() -> Failure {
        Failure::fatal(
            "57P05",
            "terminating connection due to idle-session timeout",
        )
    }

    /// The same in a transaction block.
    pub(crate) fn idle_in_transaction() -> Failure {
        Failure::fatal(
            "25P03",
            "terminating connection due to idle-in-transaction timeout",
        )
    }

    /// A statement in a transaction that has failed before.
    pub(crate) fn in_failed_transaction() -> Failure {
        Failure::error(
            "25P02",
            "current transaction is aborted, commands ignored until end of transaction block",
        )
    }

    /// The result of a prepared statement is not the one that was described. pgjdbc and asyncpg prepare it again by
    /// themselves where they find the routine.
    pub(crate) fn changed_result() -> Failure {
        Failure {
            hint: Some("Prepare the statement again.".to_owned()),
            source: Some(("plancache.c", "RevalidateCachedQuery")),
            ..Failure::error("0A000", "cached plan must not change result type")
        }
    }

    /// The SQLSTATE alone.
    pub(crate) fn sqlstate(&self) -> &str {
        &self.sqlstate
    }

    /// More about the cause, alone.
    pub(crate) fn detail(&self) -> Option<&str> {
        self.detail.as_deref()
    }

    /// The message alone.
    pub(crate) fn message(&self) -> &str {
        &self.message
    }

    /// The fields of the protocol's error message.
    pub(crate) fn into_info(self) -> ErrorInfo {
        let mut info = ErrorInfo::new(self.severity.to_owned(), self.sqlstate, self.message);
        info.severity_nonlocalized = Some(self.severity.to_owned());
        info.detail = self.detail;
        info.hint = self.hint;
        info.where_context = self.context;
        info.position = self.position.map(|position| position.to_string());
        info.schema = self.place.schema;
        info.table = self.place.table;
        info.column = self.place.column;
        info.constraint = self.place.constraint;
        info.datatype = self.place.data_type;
        if let Some((file, routine)) = self.source {
            info.file_name = Some(file.to_owned());
            info.routine = Some(routine.to_owned());
        }
        info
    }
}

impl From<ParameterError> for Failure {
    fn from(error: ParameterError) -> Failure {
        let failure = Failure::error(error.sqlstate(), error.to_string());
        match error {
            ParameterError::Dimensions { .. } => {
                failure.with_hint("Tell the parameter how many it has: $1::int[][].")
            }
            _ => failure,
        }
    }
}

/// The fields of the protocol's notice message. The fraction done, where known, travels as the
/// `routine` field, which `auspex sql` draws as a bar and other clients ignore.
pub(crate) fn notice_info(notice: Notice) -> ErrorInfo {
    let severity = match notice.severity {
        Severity::Info => "INFO",
        Severity::Notice => "NOTICE",
        Severity::Warning => "WARNING",
    };
    let mut info = ErrorInfo::new(
        severity.to_owned(),
        notice.sqlstate.to_owned(),
        notice.message,
    );
    info.severity_nonlocalized = Some(severity.to_owned());
    info.hint = notice.hint;
    info.routine = notice
        .progress
        .map(|fraction| format!("{PROGRESS}{fraction}"));
    info
}

/// What the `routine` field of a notice starts with when it carries the fraction done.
pub(crate) const PROGRESS: &str = "progress=";

/// The position in characters, from 1, of a byte offset.
fn character_position(text: &str, offset: usize) -> usize {
    text.char_indices()
        .take_while(|(at, _)| *at < offset)
        .count()
        + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters_of_the_whole_text() {
        let text = "SELECT 'ä'; SELECT x";
        let report = Report {
            sqlstate: "42703",
            message: "column \"x\" does not exist".to_owned(),
            detail: None,
            hint: None,
            position: Some(7),
            place: ErrorPlace::default(),
        };
        let start = text.rfind("SELECT").unwrap();
        let info = Failure::from_report(report, text, start).into_info();
        assert_eq!(info.position.as_deref(), Some("20"));
        assert_eq!(text.chars().nth(19), Some('x'));
        assert_eq!(
            (info.code.as_str(), info.severity.as_str()),
            ("42703", "ERROR")
        );
    }
}
