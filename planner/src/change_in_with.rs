//! Queries that change rows in a WITH: `WITH gone AS (DELETE FROM t RETURNING id) SELECT count(*) FROM gone`.
//!
//! In: a query with one such statement among its WITH queries; out: the change, carried out to its end, and the rows of the
//! query over what it returned, all in one block. As in PostgreSQL, the query sees tables as they were before the change.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_sql::{Dialect, ParsedStatement, Statement};
use auspex_storage::Error as StorageError;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{FieldRef, Schema, SchemaRef};
use datafusion::catalog::MemTable;
use datafusion::common::ScalarValue;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, Cte, Expr, Ident, ObjectName, Query, SelectItem, SetExpr, TableFactor, Visit, Visitor,
};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::sync::RwLock;

use crate::bind::{BoundQuery, GivenTables, Returned, bind_sql_with, changed_table};
use crate::commands;
use crate::error::{Error, Result};
use crate::execute::{Work, plan, rows_of};
use crate::session::Session;
use crate::statement_run::{Outcome, StatementControl};
use crate::streams::stream;
use crate::transaction::OwnBlock;

/// How often a statement that loses a race is carried out.
const MAX_ROUNDS: usize = 20;
const CONFLICT: &str = "40001";

/// Where the rows that a change returns are put for the query that reads them.
type Source = Arc<RwLock<Vec<RecordBatch>>>;

/// A query that changes rows in a WITH. What is bound here tells columns and parameters; to run it is bound anew.
pub(crate) struct ChangeInWith {
    /// The statement that changes rows.
    statement: ParsedStatement,
    pub(crate) change: Work,
    reader: Query,
    /// Where the change stands among the WITH queries of the reader.
    place: usize,
    pub(crate) query: BoundQuery,
}

/// The statement of a WITH query, if it changes rows.
fn change_of(cte: &Cte) -> Option<&ast::Statement> {
    match cte.query.body.as_ref() {
        SetExpr::Insert(change)
        | SetExpr::Update(change)
        | SetExpr::Delete(change)
        | SetExpr::Merge(change) => Some(change),
        _ => None,
    }
}

fn unsupported() -> Error {
    let message = "this form of a statement that changes rows in WITH is not supported";
    let hint = "One such statement may stand in the WITH of a SELECT, at the top of the statement. \
                Or send the statements one after the other, with RETURNING.";
    Error::invalid("0A000", message, Some(hint))
}

/// The table that a query changes in its WITH, by the parts of its name.
pub(crate) fn changed_in_with(query: &Query) -> Option<Vec<String>> {
    let queries = &query.with.as_ref()?.cte_tables;
    changed_table(queries.iter().find_map(change_of)?)
}

/// Finds statements that change rows in a WITH.
struct Finder;

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let mut queries = query.with.iter().flat_map(|with| &with.cte_tables);
        match queries.any(|cte| change_of(cte).is_some()) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

/// Fails where a statement changes rows in a WITH.
pub(crate) fn refuse_changes_in_with(statement: &ast::Statement) -> Result<()> {
    match Visit::visit(statement, &mut Finder) {
        ControlFlow::Break(()) => Err(unsupported()),
        ControlFlow::Continue(()) => Ok(()),
    }
}

impl ChangeInWith {
    /// Binds a query; `None` if it changes nothing at its top.
    pub(crate) async fn bind(
        session: &Arc<Session>,
        reader: &Query,
        parsed: &ParsedStatement,
    ) -> Result<Option<ChangeInWith>> {
        let Some(with) = &reader.with else {
            return Ok(None);
        };
        let queries = &with.cte_tables;
        let is_change = |cte: &Cte| change_of(cte).is_some();
        let Some(place) = queries.iter().position(is_change) else {
            return Ok(None);
        };
        let is_alone = queries[place].query.with.is_none();
        let reads = matches!(
            reader.body.as_ref(),
            SetExpr::Select(_) | SetExpr::SetOperation { .. } | SetExpr::Query(_)
        );
        let change = change_of(&queries[place]).filter(|_| is_alone && reads);
        let change = change.ok_or_else(unsupported)?.clone();
        let change = SqlStatement::Statement(Box::new(change));
        let statement = ParsedStatement {
            statement: Statement::Sql(Box::new(change)),
            ..parsed.clone()
        };
        let change = Box::pin(plan(session, &statement)).await?;
        let schema = returned_columns(&change)?;
        let bound = bind_reader(session, (reader, place), schema);
        let (query, _) = Box::pin(bound).await?;
        Ok(Some(ChangeInWith {
            statement,
            change,
            reader: reader.clone(),
            place,
            query,
        }))
    }

    /// Changes the rows, and gives those of the query.
    pub(crate) async fn run(
        &self,
        session: &Arc<Session>,
        parameters: Vec<ScalarValue>,
        control: &StatementControl,
    ) -> Result<Outcome> {
        let mut n_rounds = 0;
        loop {
            n_rounds += 1;
            let block = OwnBlock::begin(session);
            let may_repeat = block.is_own() && n_rounds < MAX_ROUNDS;
            let rows = Box::pin(self.rows(session, parameters.clone(), control)).await;
            let ended = Box::pin(block.end(rows.is_err())).await;
            match rows.and_then(|rows| ended.map(|()| rows)) {
                // Others have changed the table meanwhile; nothing of this round is left.
                Err(error) if may_repeat && error.report().sqlstate == CONFLICT => {}
                rows => return Ok(rows_of(rows?, "SELECT")),
            }
        }
    }

    /// The rows of the query, all of which are there when the change is committed.
    async fn rows(
        &self,
        session: &Arc<Session>,
        parameters: Vec<ScalarValue>,
        control: &StatementControl,
    ) -> Result<SendableRecordBatchStream> {
        let change = Box::pin(plan(session, &self.statement)).await?;
        let schema = returned_columns(&change)?;
        // Before the change, so that it reads the versions of before.
        let bound = bind_reader(session, (&self.reader, self.place), schema);
        let (query, source) = Box::pin(bound).await?;
        let within = control.within();
        let carrying_out = carry_out(session, &change, parameters.clone(), &within);
        let returned = Box::pin(carrying_out).await?;
        let memory = session.kept_rows();
        if let (Some(returned), Some(source)) = (returned, source) {
            let rows: Vec<RecordBatch> = returned.stream()?.try_collect().await?;
            for rows in &rows {
                memory.keep(rows)?;
            }
            *source.write().await = rows;
        }
        let mut stream = Box::pin(stream(session, &query, parameters, control)).await?;
        let mut batches = Vec::new();
        while let Some(rows) = stream.try_next().await? {
            memory.keep(&rows)?;
            if let Some(check) = &control.returned {
                check.check(&rows)?;
            }
            batches.push(Ok(rows));
        }
        let rows = futures::stream::iter(batches).inspect(move |_| {
            let _held = &memory;
        });
        Ok(Box::pin(RecordBatchStreamAdapter::new(
            stream.schema(),
            rows,
        )))
    }
}

/// The columns that a change returns; `None`: it returns nothing.
fn returned_columns(change: &Work) -> Result<Option<SchemaRef>> {
    let returning = match change {
        Work::Insert(insert) => insert.returning.as_ref(),
        Work::Change { returning, .. } => returning.as_ref(),
        _ => return Err(unsupported()),
    };
    Ok(returning.map(|returning| Arc::clone(returning.schema())))
}

/// Changes the rows; what is returned of them.
async fn carry_out(
    session: &Arc<Session>,
    change: &Work,
    parameters: Vec<ScalarValue>,
    control: &StatementControl,
) -> Result<Option<Returned>> {
    match change {
        Work::Insert(insert) => {
            let returned = Returned::of(session, insert.returning.as_ref(), &parameters, control)?;
            let inserting =
                commands::insert(session, insert, parameters, returned.as_ref(), control);
            match Box::pin(inserting).await? {
                Some(_) => Ok(returned),
                // The table has become another one since it was bound.
                None => {
                    let object = "the table".to_owned();
                    Err(StorageError::Conflict { object }.into())
                }
            }
        }
        Work::Change {
            change, returning, ..
        } => {
            let changing =
                commands::change(session, change, returning.as_ref(), parameters, control);
            let (_, returned) = Box::pin(changing).await?;
            Ok(returned)
        }
        _ => Err(unsupported()),
    }
}

/// Binds the query over rows of these columns, and gives the place for the rows; `None`: nothing is returned that it could
/// read.
async fn bind_reader(
    session: &Arc<Session>,
    (reader, place): (&Query, usize),
    schema: Option<SchemaRef>,
) -> Result<(BoundQuery, Option<Source>)> {
    let mut reader = reader.clone();
    let mut given = GivenTables::default();
    let mut source = None;
    if let Some(with) = &mut reader.with {
        match schema {
            Some(schema) => {
                let table = MemTable::try_new(Arc::clone(&schema), vec![Vec::new()])?;
                source = table.batches.first().map(Arc::clone);
                let cte = &mut with.cte_tables[place];
                let private = given.give(&cte.alias.name.value, Arc::new(table));
                *cte.query = rows_of_source(&schema, &private)?;
            }
            None => drop(with.cte_tables.remove(place)),
        }
    }
    reader.with = reader.with.filter(|with| !with.cte_tables.is_empty());
    let statement = ast::Statement::Query(Box::new(reader));
    let mut query = bind_sql_with(session, statement, session.state(None), given).await?;
    if let Some(extension) = &session.engine.extension {
        query.plan = extension.present(query.plan, &query.state)?;
    }
    Ok((query, source))
}

/// `SELECT columns FROM source`.
fn rows_of_source(schema: &Schema, source: &ObjectName) -> Result<Query> {
    let mut query = auspex_sql::parse_query("SELECT 1 FROM source", Dialect::Postgres)?;
    if let SetExpr::Select(select) = query.body.as_mut() {
        let column = |field: &FieldRef| {
            SelectItem::UnnamedExpr(Expr::Identifier(Ident::with_quote('"', field.name())))
        };
        select.projection = schema.fields().iter().map(column).collect();
        for table in &mut select.from {
            if let TableFactor::Table { name, .. } = &mut table.relation {
                *name = source.clone();
            }
        }
    }
    Ok(*query)
}
