//! The simple protocol: a text with any number of statements, answered in text format.
//!
//! In: the text; out: rows and tags of each statement, up to the first error. The whole text is parsed
//! before anything runs, so that a misspelt statement keeps the ones before it from running.

use std::sync::Arc;

use auspex_sql::ParsedStatement;
use pgwire::api::results::FieldFormat;
use pgwire::messages::PgWireBackendMessage;

use super::connection::{Connection, Interruption, ends_transaction};
use super::extended::{Cursor, Fetched};
use super::own::{Own, Sending};
use super::running::{Event, Work};
use super::socket::Stream;
use super::types::{row_description, wire_columns_as};
use crate::sqlstate::Failure;

impl<S: Stream> Connection<S> {
    /// Answers a query message, the final "ready for query" included.
    pub(super) async fn simple_query(&mut self, text: &str) -> Result<(), Interruption> {
        // As in PostgreSQL, a simple query replaces the unnamed statement and portal.
        self.statements.remove("");
        self.portals.remove("");
        self.session.backend().begin(text);
        match self.session.parse(text) {
            Err(error) => {
                self.fail(Failure::from_report(error.report(), text, 0))
                    .await?
            }
            Ok(statements) if statements.is_empty() => self.complete_empty().await?,
            Ok(statements) => {
                for statement in statements {
                    match self.run_statement(text, statement).await {
                        Err(Interruption::Failed(failure)) => {
                            self.fail(failure).await?;
                            break;
                        }
                        other => other?,
                    }
                }
            }
        }
        self.ready().await?;
        Ok(())
    }

    async fn run_statement(
        &mut self,
        text: &str,
        statement: ParsedStatement,
    ) -> Result<(), Interruption> {
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
            };
            return Box::pin(self.run_own(&own, None, sending)).await;
        }
        let mut running = self.start(Work::Run(statement))?;
        let (schema, tag) = match self.next_event(&mut running).await? {
            Event::Rows(schema, tag) => (schema, tag),
            Event::Done(tag) => return Ok(self.complete(tag.unwrap_or_default()).await?),
            event => {
                let tag = self.copy_or_fail(&mut running, event, text, start).await?;
                return Ok(self.complete(tag).await?);
            }
        };
        let columns: Arc<[_]> = wire_columns_as(&schema, self.nested())?.into();
        let formats: Arc<[_]> = vec![FieldFormat::Text; columns.len()].into();
        let description = row_description(&columns, &formats);
        self.socket
            .feed(PgWireBackendMessage::RowDescription(description))
            .await?;
        let mut cursor = Cursor::new(running, columns, formats, tag, &self.session);
        match self.fetch(&mut cursor, None, text, start).await? {
            Fetched::All(n_rows) => {
                let tag = cursor.tag(n_rows);
                Ok(self.complete(tag).await?)
            }
            // Without a limit, a fetch ends with the rows.
            Fetched::Limit => Err(Failure::error("XX000", "rows were left behind").into()),
        }
    }
}
