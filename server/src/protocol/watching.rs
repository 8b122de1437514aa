//! What is recorded of a connection: one record for each statement that is run, for each error that the client is told,
//! and for the end.
//!
//! In: messages, statements and answers, where the connection comes to them; out: the planner's watches, which end with
//! what the client was told. A statement whose rows are read in parts keeps its watch in its portal meanwhile.

use std::sync::Arc;
use std::time::Instant;

use auspex_planner::{Session, SessionEnd, StatementText, StatementWatch, SyntaxMemory};
use auspex_sql::{ParsedStatement, SHORT_TEXT_BYTES};

use super::connection::{Connection, Interruption};
use super::running::{Event, Work};
use super::socket::Stream;
use crate::sqlstate::Failure;

/// What a connection is at, for the record of it.
pub(super) struct Watching {
    session: Arc<Session>,
    /// The statement that is being run.
    statement: Option<StatementWatch>,
    /// The text that the message at hand is about, where no statement is being run.
    about: Option<StatementText>,
    /// When the message came, or the statement at hand of several in it was begun.
    since: Instant,
}

impl Watching {
    pub(super) fn new(session: &Arc<Session>) -> Watching {
        Watching {
            session: Arc::clone(session),
            statement: None,
            about: None,
            since: now(),
        }
    }

    /// A message came.
    pub(super) fn receive(&mut self) {
        self.about = None;
        self.since = now();
    }

    /// The message is about this text.
    pub(super) fn is_about(&mut self, text: Option<&StatementText>) {
        self.about = text.cloned();
    }

    /// A statement of the message is run.
    pub(super) fn begin(&mut self, text: &str) {
        self.since = now();
        self.resume(None, &StatementText::new(text));
    }

    /// The statement of a portal is run, or goes on if it has a watch.
    pub(super) fn resume(&mut self, kept: Option<StatementWatch>, text: &StatementText) {
        let begun = || self.session.watch(text, self.since);
        self.statement = Some(kept.unwrap_or_else(begun));
    }

    /// Takes out the watch of the statement, if it has not ended.
    pub(super) fn take(&mut self) -> Option<StatementWatch> {
        self.statement.take()
    }

    /// So many rows more went to the client.
    pub(super) fn add_rows(&mut self, n_rows: usize) {
        if let Some(statement) = &mut self.statement {
            statement.add_rows(n_rows);
        }
    }

    /// The client is told this tag.
    pub(super) fn succeeded(&mut self, tag: &str) {
        if let Some(statement) = self.take() {
            statement.succeeded(tag);
        }
    }

    /// The client is told that there was no statement.
    pub(super) fn ignore(&mut self) {
        if let Some(statement) = self.take() {
            statement.ignore();
        }
    }

    /// The client is told an error: of the statement, or of a message that runs none.
    pub(super) fn failed(&mut self, sqlstate: &str) {
        let statement = self.take().unwrap_or_else(|| {
            let about = self.about.take();
            let about = about.unwrap_or_else(|| StatementText::new(""));
            self.session.watch(&about, self.since)
        });
        statement.failed(sqlstate);
    }
}

/// A text that was read.
pub(super) struct ReadText {
    pub(super) text: StatementText,
    pub(super) statements: Vec<ParsedStatement>,
    /// What the statements of a long text take until they are dropped.
    pub(super) memory: Option<SyntaxMemory>,
}

#[allow(
    clippy::disallowed_methods,
    reason = "measures statements, not their results"
)]
fn now() -> Instant {
    Instant::now()
}

impl<S: Stream> Connection<S> {
    /// The statements of a text, which the message at hand is about.
    pub(super) async fn read_text(&mut self, text: &str) -> Result<ReadText, Interruption> {
        let read = match text.len() <= SHORT_TEXT_BYTES {
            true => match self.session.parse(text) {
                Ok(statements) => Ok((statements, None)),
                Err(error) => Err(Failure::from_report(error.report(), text, 0).into()),
            },
            false => Box::pin(self.read_long_text(text)).await,
        };
        let shown = match &read {
            Ok(_) => StatementText::new(text),
            Err(_) => StatementText::unparsed(text),
        };
        self.watching.is_about(Some(&shown));
        self.session.backend().begin(&shown);
        let (statements, memory) = read?;
        Ok(ReadText {
            text: shown,
            statements,
            memory,
        })
    }

    /// The same of a text that takes so long that others would notice: it is read where statements run.
    async fn read_long_text(
        &mut self,
        text: &str,
    ) -> Result<(Vec<ParsedStatement>, Option<SyntaxMemory>), Interruption> {
        let shown = StatementText::unparsed(text);
        self.session.backend().begin(&shown);
        let mut running = self.start(Work::Read(text.to_owned()))?;
        match self.next_event(&mut running).await? {
            Event::Read(statements, memory) => Ok((statements, Some(memory))),
            event => Err(event.failure(text, 0).into()),
        }
    }

    /// Ends the connection: tells the client why, and records it before.
    pub(super) async fn leave(&mut self, attended: Result<(), Interruption>) {
        let said_goodbye = attended.is_ok();
        let farewell = attended.err().and_then(Interruption::farewell);
        let is_ended = self.terminated().is_cancelled() || self.shutdown().is_cancelled();
        // Who reads nothing is not told, but was sent away all the same.
        let unheard = (farewell.is_none() && !said_goodbye && is_ended).then(Failure::shutdown);
        let end = match farewell.as_ref().or(unheard.as_ref()) {
            Some(failure) => SessionEnd::Ended(failure.sqlstate()),
            None if said_goodbye => SessionEnd::Left,
            None => SessionEnd::Lost,
        };
        if let (Some(statement), SessionEnd::Ended(sqlstate)) = (self.watching.take(), end) {
            statement.failed(sqlstate);
        }
        // What was read in part is read no further.
        self.portals.clear();
        self.session.observe_end(end);
        if let Some(failure) = farewell {
            // It may have gone: then there is nobody to tell.
            let _ = self.socket.end(failure).await;
        }
        self.session.end().await;
    }
}
