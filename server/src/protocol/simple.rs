//! The simple protocol: a text with any number of statements, answered in text format.
//!
//! In: the text; out: rows and tags of each statement, up to the first error. The whole text is parsed
//! before anything runs, so that a misspelt statement keeps the ones before it from running.

use std::sync::Arc;

use auspex_planner::SyntaxMemory;
use auspex_sql::ParsedStatement;
use pgwire::api::results::FieldFormat;

use super::connection::{Connection, Interruption, ends_transaction};
use super::extended::{Cursor, Fetched, RowsTo};
use super::own::{Own, Sending};
use super::running::{Event, Work};
use super::socket::Stream;
use super::types::wire_columns_as;
use super::watching::ReadText;
use crate::sqlstate::Failure;

impl<S: Stream> Connection<S> {
    /// Answers a query message, the final "ready for query" included.
    pub(super) async fn simple_query(&mut self, text: &str) -> Result<(), Interruption> {
        // As in PostgreSQL, a simple query replaces the unnamed statement and portal.
        self.statements.remove("");
        self.portals.remove("");
        // A query ends a pipeline as a sync does.
        if let Err(failure) = self.end_pipeline(false).await {
            self.fail(failure).await?;
            return Ok(self.ready().await?);
        }
        let answered = match self.read_text(text).await {
            Ok(read) if read.statements.is_empty() => Ok(self.complete_empty().await?),
            Ok(read) => self.run_all(text, read).await,
            Err(interruption) => Err(interruption),
        };
        match answered {
            Err(Interruption::Failed(failure)) => self.fail(failure).await?,
            other => other?,
        }
        self.ready().await?;
        Ok(())
    }

    /// Runs the statements of a text up to the first failure. What one block can hold becomes one; it is committed
    /// before the last statement is told to be done.
    async fn run_all(&mut self, text: &str, read: ReadText) -> Result<(), Interruption> {
        let ReadText {
            statements, memory, ..
        } = read;
        let in_block = self.session.begin_implicit(&statements);
        let last = statements.len().saturating_sub(1);
        for (idx, statement) in statements.into_iter().enumerate() {
            let mut done = self.run_statement((text, memory.as_ref()), statement).await;
            if in_block && (done.is_err() || idx == last) {
                let ended = self.session.end_implicit(done.is_err()).await;
                if let (Ok(_), Err(error)) = (&done, ended) {
                    done = Err(Failure::from_report(error.report(), text, 0).into());
                }
            }
            if let Some(tag) = done? {
                self.complete(tag).await?;
            }
        }
        Ok(())
    }

    /// Runs a statement of a text; the tag that ends its answer, unless that was sent.
    async fn run_statement(
        &mut self,
        (text, syntax): (&str, Option<&SyntaxMemory>),
        statement: ParsedStatement,
    ) -> Result<Option<String>, Interruption> {
        self.watching.begin(&statement.text);
        self.check_transaction(ends_transaction(&statement))?;
        let start = statement.span.start;
        if let Some(own) = Own::of(&statement) {
            let sending = Sending {
                text,
                start,
                parameters: Vec::new(),
                formats: [FieldFormat::Text].into(),
                describes: true,
                limit: None,
                syntax,
            };
            Box::pin(self.run_own(&own, None, sending)).await?;
            return Ok(None);
        }
        let mut running = self.start(Work::Run(statement))?;
        let (schema, tag) = match self.next_event(&mut running).await? {
            Event::Rows(schema, tag) => (schema, tag),
            Event::Done(tag) => return Ok(Some(tag.unwrap_or_default())),
            event => {
                let tag = self.copy_or_fail(&mut running, event, text, start).await?;
                return Ok(Some(tag));
            }
        };
        let columns: Arc<[_]> = wire_columns_as(&schema, self.nested())?.into();
        let formats: Arc<[_]> = vec![FieldFormat::Text; columns.len()].into();
        self.describe_rows(&columns, &formats).await?;
        let mut cursor = Cursor::new(running, columns, formats, tag, &self.session);
        let mut to = RowsTo::Client;
        match self.fetch(&mut cursor, None, &mut to, text, start).await? {
            Fetched::All(n_rows) => Ok(Some(cursor.tag(n_rows))),
            // Without a limit, a fetch ends with the rows.
            Fetched::Limit => Err(Failure::error("XX000", "rows were left behind").into()),
        }
    }
}
