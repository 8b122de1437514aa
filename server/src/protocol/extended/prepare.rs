//! Preparing: a text becomes a plan and what the client is told of it.
//!
//! In: parse messages, statements that others hold, values that name models or queries; out: prepared statements. Runs nothing.

use std::sync::Arc;

use auspex_planner::{BlockPart, StatementText};
use auspex_sql::ParsedStatement;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::messages::PgWireBackendMessage;
use pgwire::messages::extendedquery::{Parse, ParseComplete};

use super::{MadeBy, Prepared, void_arguments};
use crate::protocol::connection::{Connection, Interruption, ends_transaction};
use crate::protocol::own::Own;
use crate::protocol::parameter_casts::{add_cast_types, reads_catalogs};
use crate::protocol::running::{Event, Work};
use crate::protocol::socket::Stream;
use crate::protocol::types::{declared_field, field_type, is_taken, pg_type, wire_columns_as};
use crate::protocol::watching::ReadText;
use crate::sqlstate::Failure;

impl<S: Stream> Connection<S> {
    /// Answers a parse message.
    pub(super) async fn parse(&mut self, parse: Parse) -> Result<(), Interruption> {
        let name = parse.name.unwrap_or_default();
        let read = self.read_text(&parse.query).await;
        if !name.is_empty() {
            self.refuse_known_statement(&name)?;
        }
        self.statements.remove(&name);
        let declared: Vec<Option<Type>> = parse
            .type_oids
            .iter()
            .map(|oid| self.declared_type(*oid))
            .collect();
        refuse_unknown(&declared)?;
        let ReadText {
            text,
            statements,
            memory,
        } = read?;
        let mut prepared = self.prepare(text, statements, declared).await?;
        prepared.syntax = memory.map(Arc::new);
        self.keep_statement(name, prepared, MadeBy::Message)?;
        let complete = PgWireBackendMessage::ParseComplete(ParseComplete::new());
        Ok(self.socket.feed(complete).await?)
    }

    /// The type that the client declared for a parameter; `None` leaves it to the planner.
    fn declared_type(&self, oid: u32) -> Option<Type> {
        match Type::from_oid(oid) {
            Some(known) => Some(known).filter(|known| *known != Type::UNKNOWN),
            None if oid == 0 => None,
            None => self.session.enum_field(oid).map(|field| field_type(&field)),
        }
    }

    async fn prepare(
        &mut self,
        text: StatementText,
        mut statements: Vec<ParsedStatement>,
        declared: Vec<Option<Type>>,
    ) -> Result<Prepared, Interruption> {
        if statements.len() > 1 {
            let message = "cannot insert multiple commands into a prepared statement";
            return Err(Failure::error("42601", message).into());
        }
        let Some(mut statement) = statements.pop() else {
            let (start, plan, columns) = (0, None, None);
            let parameters = Vec::new();
            return Ok(Prepared {
                text,
                start,
                plan,
                own: None,
                parameters,
                columns,
                ends_transaction: false,
                part: BlockPart::Query,
                memory: None,
                syntax: None,
            });
        };
        match Own::of(&statement) {
            Some(own) => {
                void_arguments::refuse(&declared)?;
                self.prepare_own(text, statement, own, declared).await
            }
            None => {
                void_arguments::leave_out(&mut statement, &declared)?;
                self.prepare_one(text, statement, declared).await
            }
        }
    }

    /// Prepares a statement that the connection carries out itself.
    async fn prepare_own(
        &mut self,
        text: StatementText,
        statement: ParsedStatement,
        own: Own,
        declared: Vec<Option<Type>>,
    ) -> Result<Prepared, Interruption> {
        self.check_transaction(false)?;
        if let Some(query) = own.query() {
            let query = query.clone();
            let mut prepared = self.prepare_one(text, query, declared).await?;
            prepared.own = Some(own);
            return Ok(prepared);
        }
        let columns = match &own {
            Own::Execute { name, .. } => self.prepared(Some(name))?.columns.clone(),
            Own::Fetch(fetch) if !fetch.moves => {
                let portal = self.portals.get(&fetch.cursor);
                portal.and_then(|portal| portal.prepared.columns.clone())
            }
            _ => None,
        };
        Ok(Prepared {
            text,
            start: statement.span.start,
            plan: None,
            own: Some(own),
            parameters: Vec::new(),
            columns,
            ends_transaction: false,
            part: BlockPart::Alone,
            memory: None,
            syntax: None,
        })
    }

    /// Plans a statement that is not one of the connection's own.
    pub(in crate::protocol) async fn prepare_one(
        &mut self,
        text: StatementText,
        statement: ParsedStatement,
        mut declared: Vec<Option<Type>>,
    ) -> Result<Prepared, Interruption> {
        add_cast_types(&statement, &mut declared);
        let ends_transaction = ends_transaction(&statement);
        let part = BlockPart::of(&statement);
        let has_oids = reads_catalogs(&statement);
        self.check_transaction(ends_transaction)?;
        let start = statement.span.start;
        let field = |known: &Option<Type>| {
            let known = known.as_ref()?;
            declared_field(known).or_else(|| self.session.enum_field(known.oid()))
        };
        let types = declared.iter().map(field).collect();
        let mut running = self.start(Work::Prepare(statement, types))?;
        let plan = match self.next_event(&mut running).await? {
            Event::Prepared(plan) => plan,
            event => return Err(event.failure(&text, start).into()),
        };
        let told = |(index, planned): (usize, &DataType)| {
            declared
                .get(index)
                .cloned()
                .flatten()
                .or_else(|| plan.marked_parameter(index).map(|field| field_type(field)))
                .unwrap_or_else(|| pg_type(planned))
        };
        let parameters = plan
            .parameter_types()
            .iter()
            .enumerate()
            .map(told)
            .collect();
        let columns = plan
            .schema()
            .map(|schema| wire_columns_as(schema, self.nested()))
            .transpose()?;
        let columns = columns.map(|mut columns| {
            let arrays = columns.iter_mut();
            let arrays = arrays.filter(|column| has_oids && column.pg_type == Type::INT4_ARRAY);
            arrays.for_each(|column| column.pg_type = Type::OID_ARRAY);
            columns
        });
        let (plan, columns) = (Some(plan), columns.map(Into::into));
        Ok(Prepared {
            text,
            start,
            plan,
            own: None,
            parameters,
            columns,
            ends_transaction,
            part,
            memory: None,
            syntax: None,
        })
    }

    /// A statement with its values: planned anew where they name its models or queries.
    pub(in crate::protocol) async fn with_names(
        &mut self,
        prepared: Arc<Prepared>,
        values: Vec<ScalarValue>,
    ) -> Result<(Arc<Prepared>, Vec<ScalarValue>), Interruption> {
        let Some(named) = prepared
            .plan
            .as_ref()
            .and_then(|plan| plan.with_names(&values))
        else {
            return Ok((prepared, values));
        };
        let text = prepared.text.clone();
        let failure = |error: auspex_planner::Error| {
            Failure::from_report(error.report(), &prepared.text, prepared.start)
        };
        let (statement, declared) = named.map_err(failure)?;
        let declared = declared.iter();
        let declared = declared.map(|known| known.as_ref().map(|field| field_type(field)));
        let declared = declared.collect();
        let mut bound = Box::pin(self.prepare_one(text, statement, declared)).await?;
        let plan = bound.plan.as_ref();
        let values = plan.map_or(Ok(Vec::new()), |plan| plan.cast_parameters(&values));
        bound.own.clone_from(&prepared.own);
        bound.syntax.clone_from(&prepared.syntax);
        Ok((Arc::new(bound), values.map_err(failure)?))
    }
}

/// Fails where the client declared a type of which there are no values here: as a text, they would be compared as texts.
fn refuse_unknown(declared: &[Option<Type>]) -> Result<(), Failure> {
    let unknown = declared.iter().enumerate().find_map(|(idx, known)| {
        // What a void one is depends on where it stands.
        let is_unknown = |known: &&Type| **known != Type::VOID && !is_taken(known);
        let known = known.as_ref().filter(is_unknown)?;
        Some(refused_type(idx, known))
    });
    unknown.map_or(Ok(()), Err)
}

/// The error that there are no values of the type of a parameter.
pub(super) fn refused_type(idx: usize, known: &Type) -> Failure {
    let (number, name) = (idx + 1, known.name());
    let message = format!("parameter ${number} has the type {name}, which is not supported");
    let hint = "Declare it as text, or leave its type open.";
    Failure::error("0A000", message).with_hint(hint)
}
