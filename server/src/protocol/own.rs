//! The statements that a connection carries out itself, since it keeps what they name: prepared statements and cursors.
//!
//! In: `PREPARE`, `EXECUTE`, `DEALLOCATE`, `DECLARE`, `FETCH`, `MOVE`, `CLOSE`, `DISCARD`; out: their answers. They share
//! names with the statements and portals of the extended protocol, as in PostgreSQL.

use std::sync::Arc;

use auspex_planner::{Error, StatementText, SyntaxMemory, TransactionState};
use auspex_sql::{Fetch, ParsedStatement, Statement as SqlStatement};
use datafusion::common::ScalarValue;
use datafusion::sql::parser::Statement as AnyStatement;
use datafusion::sql::sqlparser::ast::{self, CloseCursor, DiscardObject, Expr, Ident};
use pgwire::api::results::FieldFormat;

use super::connection::{Connection, Interruption};
use super::extended::{
    Cursor, Kept, MadeBy, Portal, PortalState, Prepared, RowsTo, check_described, missing_portal,
};
use super::parameter_casts::named_type;
use super::running::{Event, Work};
use super::socket::Stream;
use super::types::field_type;
use crate::sqlstate::Failure;

/// A statement about what the connection keeps.
#[derive(Debug, Clone)]
pub(super) enum Own {
    Prepare {
        name: String,
        types: Vec<ast::DataType>,
        statement: Box<ParsedStatement>,
    },
    Execute {
        name: String,
        arguments: Vec<Expr>,
    },
    /// `None`: all.
    Deallocate(Option<String>),
    Declare(Declare),
    Fetch(Fetch),
    /// `None`: all.
    Close(Option<String>),
    DiscardAll,
}

/// `DECLARE … CURSOR FOR …`.
#[derive(Debug, Clone)]
pub(super) struct Declare {
    name: String,
    is_binary: bool,
    scrolls: bool,
    /// It outlives its transaction.
    pub(super) holds: bool,
    query: Box<ParsedStatement>,
}

/// How the rows of an own statement are sent.
pub(super) struct Sending<'a> {
    /// The text that the client sent, and where the statement begins in it.
    pub(super) text: &'a str,
    pub(super) start: usize,
    /// Values of the parameters of a cursor's query.
    pub(super) parameters: Vec<ScalarValue>,
    /// One for each column, or one for all.
    pub(super) formats: Arc<[FieldFormat]>,
    /// Whether the columns are told before the rows.
    pub(super) describes: bool,
    pub(super) limit: Option<usize>,
    /// What all statements of a long text take.
    pub(super) syntax: Option<&'a SyntaxMemory>,
}

impl Own {
    /// The statement, if it is one of these.
    pub(super) fn of(parsed: &ParsedStatement) -> Option<Own> {
        let statement = match &parsed.statement {
            SqlStatement::Fetch(fetch) => return Some(Own::Fetch(fetch.clone())),
            SqlStatement::Sql(statement) => statement.as_ref(),
            _ => return None,
        };
        let AnyStatement::Statement(statement) = statement else {
            return None;
        };
        let inner = |statement: ast::Statement| {
            Box::new(ParsedStatement {
                statement: SqlStatement::Sql(Box::new(AnyStatement::Statement(Box::new(
                    statement,
                )))),
                ..parsed.clone()
            })
        };
        match statement.as_ref() {
            ast::Statement::Prepare {
                name,
                data_types,
                statement,
            } => Some(Own::Prepare {
                name: folded(name),
                types: data_types.clone(),
                statement: inner(statement.as_ref().clone()),
            }),
            ast::Statement::Execute {
                name: Some(name),
                parameters,
                immediate: false,
                ..
            } => {
                let name = name.0.last()?.as_ident()?;
                Some(Own::Execute {
                    name: folded(name),
                    arguments: parameters.clone(),
                })
            }
            ast::Statement::Deallocate { name, .. } => Some(Own::Deallocate(unless_all(name))),
            ast::Statement::Declare { stmts } => match stmts.as_slice() {
                [declare] => {
                    let query = declare.for_query.clone()?;
                    Some(Own::Declare(Declare {
                        name: folded(declare.names.first()?),
                        is_binary: declare.binary == Some(true),
                        scrolls: declare.scroll == Some(true),
                        holds: declare.hold == Some(true),
                        query: inner(ast::Statement::Query(query)),
                    }))
                }
                _ => None,
            },
            ast::Statement::Close { cursor } => Some(Own::Close(match cursor {
                CloseCursor::All => None,
                CloseCursor::Specific { name } => Some(folded(name)),
            })),
            ast::Statement::Discard {
                object_type: DiscardObject::ALL,
            } => Some(Own::DiscardAll),
            _ => None,
        }
    }

    /// The query whose parameters the statement has.
    pub(super) fn query(&self) -> Option<&ParsedStatement> {
        match self {
            Own::Declare(declare) => Some(&declare.query),
            _ => None,
        }
    }
}

/// An identifier as PostgreSQL reads it.
fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn unless_all(name: &Ident) -> Option<String> {
    let is_all = name.quote_style.is_none() && name.value.eq_ignore_ascii_case("all");
    (!is_all).then(|| folded(name))
}

impl<S: Stream> Connection<S> {
    /// Carries out an own statement and tells that it is done, or sends the first of its rows; what its portal then is.
    /// `cursor` is the planned query of a `DECLARE`.
    pub(super) async fn run_own(
        &mut self,
        own: &Own,
        cursor: Option<Arc<Prepared>>,
        sending: Sending<'_>,
    ) -> Result<PortalState, Interruption> {
        let tag = match own {
            Own::Prepare {
                name,
                types,
                statement,
            } => {
                self.prepare_named(name, types, statement, &sending).await?;
                "PREPARE"
            }
            Own::Execute { name, arguments } => {
                return self.execute_named(name, arguments, sending).await;
            }
            Own::Deallocate(Some(name)) => {
                self.prepared(Some(name))?;
                self.statements.remove(name);
                "DEALLOCATE"
            }
            Own::Deallocate(None) => {
                self.statements.clear();
                "DEALLOCATE ALL"
            }
            Own::Declare(declare) => {
                self.declare(declare, cursor, sending).await?;
                "DECLARE CURSOR"
            }
            Own::Fetch(fetch) => return self.fetch_named(fetch, sending).await,
            Own::Close(Some(name)) => {
                self.portals
                    .remove(name)
                    .ok_or_else(|| missing_cursor(name))?;
                "CLOSE CURSOR"
            }
            Own::Close(None) => {
                self.portals.clear();
                "CLOSE CURSOR ALL"
            }
            Own::DiscardAll => {
                if self.session.transaction() != TransactionState::Idle {
                    let message = "DISCARD ALL cannot run inside a transaction block";
                    return Err(Failure::error("25001", message).into());
                }
                self.statements.clear();
                self.portals.clear();
                self.session.discard().await;
                "DISCARD ALL"
            }
        };
        self.complete(tag.to_owned()).await?;
        Ok(PortalState::Finished(None))
    }

    async fn prepare_named(
        &mut self,
        name: &str,
        types: &[ast::DataType],
        statement: &ParsedStatement,
        sending: &Sending<'_>,
    ) -> Result<(), Interruption> {
        self.refuse_known_statement(name)?;
        let declared = self.session.fields_of(types).await;
        let declared = declared
            .map_err(|error| Failure::from_report(error.report(), sending.text, sending.start))?;
        let declared = types.iter().zip(&declared);
        let declared = declared
            .map(|(name, known)| named_type(name).or_else(|| Some(field_type(known))))
            .collect();
        let text = StatementText::new(sending.text);
        let syntax = self.syntax_to_keep(statement, sending)?;
        let mut prepared = self.prepare_one(text, statement.clone(), declared).await?;
        prepared.syntax = syntax;
        Ok(self.keep_statement(name.to_owned(), prepared, MadeBy::Sql)?)
    }

    /// The memory of a statement that stays when its text is gone, if that is a long one.
    fn syntax_to_keep(
        &self,
        statement: &ParsedStatement,
        sending: &Sending<'_>,
    ) -> Result<Option<Arc<SyntaxMemory>>, Failure> {
        let Some(syntax) = sending.syntax else {
            return Ok(None);
        };
        let (n_bytes, n_text_bytes) = (statement.text.len(), sending.text.len());
        let kept = self.session.syntax_to_keep(syntax, n_bytes, n_text_bytes);
        let failure =
            |error: Error| Failure::from_report(error.report(), sending.text, sending.start);
        Ok(Some(Arc::new(kept.map_err(failure)?)))
    }

    /// Fails if a prepared statement has this name.
    pub(super) fn refuse_known_statement(&self, name: &str) -> Result<(), Failure> {
        match self.statements.contains_key(name) {
            true => {
                let message = format!("prepared statement \"{name}\" already exists");
                Err(Failure::error("42P05", message))
            }
            false => Ok(()),
        }
    }

    async fn execute_named(
        &mut self,
        name: &str,
        arguments: &[Expr],
        sending: Sending<'_>,
    ) -> Result<PortalState, Interruption> {
        let prepared = self.prepared(Some(name))?;
        // Two such statements could name each other and never end.
        if prepared.is_own() {
            let message = "a prepared statement that is no query cannot be executed by another";
            return Err(Failure::error("0A000", message).into());
        }
        let expected = prepared.plan_parameters();
        if expected.len() != arguments.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let detail = format!(
                "Expected {} parameters but got {}.",
                expected.len(),
                arguments.len()
            );
            return Err(Failure::error("42601", message).with_detail(detail).into());
        }
        let values = self.session.evaluate(arguments, &expected).await;
        let parameters = values
            .map_err(|error| Failure::from_report(error.report(), sending.text, sending.start))?;
        let (prepared, parameters) = self.with_names(prepared, parameters).await?;
        self.count_run(name, &prepared);
        if sending.describes
            && let Some(columns) = &prepared.columns
        {
            let formats: Arc<[_]> = vec![FieldFormat::Text; columns.len()].into();
            self.describe_rows(columns, &formats).await?;
        }
        let formats = spread_formats(&sending.formats, &prepared);
        let mut portal = Portal::new(prepared, parameters, formats);
        self.run_portal(&mut portal, sending.limit).await?;
        Ok(PortalState::Through(Box::new(portal)))
    }

    async fn declare(
        &mut self,
        declare: &Declare,
        prepared: Option<Arc<Prepared>>,
        sending: Sending<'_>,
    ) -> Result<(), Interruption> {
        let name = &declare.name;
        if !declare.holds && self.session.transaction() == TransactionState::Idle {
            let message = "DECLARE CURSOR can only be used in transaction blocks";
            let hint = "Write WITH HOLD, or BEGIN first.";
            return Err(Failure::error("25P01", message).with_hint(hint).into());
        }
        if self.portals.contains_key(name) {
            let message = format!("cursor \"{name}\" already exists");
            return Err(Failure::error("42P03", message).into());
        }
        let prepared = match prepared {
            Some(prepared) => prepared,
            None => {
                let query = declare.query.as_ref().clone();
                let text = StatementText::new(sending.text);
                let syntax = self.syntax_to_keep(&query, &sending)?;
                let mut prepared = self.prepare_one(text, query, Vec::new()).await?;
                prepared.syntax = syntax;
                if let Some(plan) = &prepared.plan {
                    plan.refuse_parameters().map_err(|error| {
                        Failure::from_report(error.report(), sending.text, sending.start)
                    })?;
                }
                Arc::new(prepared)
            }
        };
        let format = match declare.is_binary {
            true => FieldFormat::Binary,
            false => FieldFormat::Text,
        };
        let formats = spread_formats(&[format], &prepared);
        let mut portal = Portal::new(prepared, sending.parameters, formats);
        portal.holds = declare.holds;
        portal.declared_at = self.session.n_savepoints();
        portal.is_binary = declare.is_binary;
        portal.scrolls = declare.scrolls;
        portal.list(name, &self.session);
        // Begun now, so that what the block changes later does not show.
        self.open_portal(&mut portal).await?;
        self.portals.insert(name.clone(), portal);
        Ok(())
    }

    async fn fetch_named(
        &mut self,
        fetch: &Fetch,
        sending: Sending<'_>,
    ) -> Result<PortalState, Interruption> {
        let name = &fetch.cursor;
        let portal = self.portals.get(name).ok_or_else(|| missing_cursor(name))?;
        let step = match portal.scrolls {
            true => None,
            false => {
                let step = portal.place().step(fetch.count, fetch.moves);
                Some(step.ok_or_else(forward_only)?)
            }
        };
        let prepared = Arc::clone(&portal.prepared);
        if prepared.is_own() || (portal.is_new() && prepared.columns.is_none()) {
            let message = format!("portal \"{name}\" has no rows to fetch");
            return Err(Failure::error("55000", message).into());
        }
        let formats = match portal.is_binary {
            true => Arc::clone(&portal.formats),
            false => spread_formats(&sending.formats, &prepared),
        };
        if sending.describes
            && !fetch.moves
            && let Some(columns) = &prepared.columns
        {
            self.describe_rows(columns, &formats).await?;
        }
        // A cursor whose query fails stays out.
        let Some(mut portal) = self.portals.remove(name) else {
            return Err(missing_portal(name).into());
        };
        // One that was bound, rather than declared, begins with what first reads it.
        if portal.is_new() {
            self.enter_pipeline(&prepared).await?;
            self.open_portal(&mut portal).await?;
        }
        let mut kept = Kept::default();
        let mut to = match (fetch.moves, sending.limit) {
            (true, _) => RowsTo::Nowhere,
            (false, None) => RowsTo::Client,
            // The cursor moves by all of them at once, however few are sent now.
            (false, Some(_)) => RowsTo::Kept(&mut kept),
        };
        let (count, is_kept) = (fetch.count, matches!(to, RowsTo::Kept(_)));
        let (open, row_formats) = (&mut portal, Arc::clone(&formats));
        let n_rows = match step {
            Some(step) => self.step_rows(open, row_formats, step, &mut to).await?,
            None => self.scroll_rows(open, row_formats, count, &mut to).await?,
        };
        self.portals.insert(name.clone(), portal);
        if is_kept {
            let (kept, session) = (kept.complete(), &self.session);
            let mut portal = Portal::of_fetched(prepared, formats, kept, session);
            Box::pin(self.run_portal(&mut portal, sending.limit)).await?;
            return Ok(PortalState::Through(Box::new(portal)));
        }
        let verb = if fetch.moves { "MOVE" } else { "FETCH" };
        self.complete(format!("{verb} {n_rows}")).await?;
        let again = (!fetch.moves).then_some("FETCH");
        Ok(PortalState::Finished(again))
    }

    /// Starts a portal without sending rows.
    async fn open_portal(&mut self, portal: &mut Portal) -> Result<(), Interruption> {
        let prepared = Arc::clone(&portal.prepared);
        let Some(plan) = &prepared.plan else {
            return Ok(());
        };
        let work = Work::Execute(Arc::clone(plan), std::mem::take(&mut portal.parameters));
        let mut running = self.start(work)?;
        match self.next_event(&mut running).await? {
            Event::Rows(schema, tag) => {
                let columns = prepared.columns.clone().unwrap_or_default();
                check_described(&schema, &columns)?;
                let formats = Arc::clone(&portal.formats);
                let cursor = Cursor::new(running, columns, formats, tag, &self.session);
                portal.put_open(Box::new(cursor));
                Ok(())
            }
            Event::Done(_) => Ok(()),
            event => Err(event.failure(&prepared.text, prepared.start).into()),
        }
    }
}

/// Of a cursor that would have to go back and cannot.
fn forward_only() -> Failure {
    let hint = "Declare it with SCROLL option to enable backward scan.";
    Failure::error("55000", "cursor can only scan forward").with_hint(hint)
}

fn missing_cursor(name: &str) -> Failure {
    Failure::error("34000", format!("cursor \"{name}\" does not exist"))
}

/// A format for each column; the first one where there are not as many.
fn spread_formats(formats: &[FieldFormat], prepared: &Prepared) -> Arc<[FieldFormat]> {
    let n_columns = prepared.columns.as_ref().map_or(0, |columns| columns.len());
    match formats.len() == n_columns {
        true => formats.into(),
        false => {
            let format = formats.first().copied().unwrap_or(FieldFormat::Text);
            vec![format; n_columns].into()
        }
    }
}
