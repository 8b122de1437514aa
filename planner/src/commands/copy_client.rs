//! `COPY t FROM STDIN` and `COPY t | (query) TO STDOUT`: rows between a table or query and the client.
//!
//! In: a syntax tree; out: where to put the rows that a client sends, or a bound query whose rows it gets. What the
//! bytes look like is the server's business; here rows are record batches, a few at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use auspex_storage::TableShape;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, Schema, SchemaRef};
use datafusion::catalog::streaming::StreamingTable;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use datafusion::sql::sqlparser::ast::{self, CopySource, CopyTarget, Ident};
use futures::FutureExt as _;
use tokio::sync::mpsc::{self, Receiver};

use super::copy::{parsed_insert, query_of};
use super::{dml, folded, name_parts};
use crate::access::TableUse;
use crate::bind::{GivenTables, bind_insert_with, bind_query, column_place};
use crate::copied_lines::CopiedLines;
use crate::copy_options::{CopyOptions, copy_condition, header_match_in_copy_to};
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::execute::Work;
use crate::session::Session;
use crate::statement_run::{CopyIn, StatementControl};

/// Batches that may wait for the writer of the table.
const WAITING_BATCHES: usize = 2;

/// A `COPY … FROM STDIN` that is ready to run.
#[derive(Debug, Clone)]
pub(crate) struct ClientCopy {
    table: Vec<String>,
    columns: Vec<String>,
    options: CopyOptions,
    /// Which rows go into the table, if not all.
    condition: Option<String>,
}

/// What a COPY with the client will do; `None` if it is one with a file.
pub(crate) async fn plan_client_copy(
    session: &Arc<Session>,
    statement: &ast::Statement,
) -> Result<Option<Work>> {
    let ast::Statement::Copy {
        source,
        to,
        target: CopyTarget::Stdin | CopyTarget::Stdout,
        options,
        legacy_options,
        ..
    } = statement
    else {
        return Ok(None);
    };
    let condition = options.iter().find_map(copy_condition).map(str::to_owned);
    let options = CopyOptions::read(options, legacy_options)?;
    // As PostgreSQL has it, `TO STDIN` and `FROM STDOUT` mean the client too.
    match (to, source) {
        (true, _) if options.matches_header => Err(header_match_in_copy_to()),
        (true, source) => {
            let query = bind_query(session, query_of(source)?, session.state(None)).await?;
            Ok(Some(Work::CopyOut(Box::new(query), options)))
        }
        (
            false,
            CopySource::Table {
                table_name,
                columns,
            },
        ) => {
            let copy = ClientCopy {
                table: name_parts(table_name),
                columns: columns.iter().map(folded).collect(),
                options,
                condition,
            };
            // A table that is not there is told now, not after the rows were sent.
            copy.target(session).await?;
            Ok(Some(Work::CopyIn(copy)))
        }
        (false, CopySource::Query(_)) => {
            let message = "COPY of a query can only go TO the client";
            Err(Error::invalid("42601", message, None))
        }
    }
}

/// The table that rows go to.
struct Target {
    schema: String,
    relation: String,
    fields: Vec<Arc<Field>>,
    /// The table's columns, and where each is among the fields.
    columns: Vec<(String, Option<usize>)>,
}

impl ClientCopy {
    async fn target(&self, session: &Arc<Session>) -> Result<Target> {
        let (schema, relation) = session.changed_parts(&self.table)?;
        let entry = session.managed_table(&schema, &relation, TableUse::Insert)?;
        let shape: TableShape = session.tables().shape(&entry.id).await?;
        let places: Vec<usize> = match self.columns.is_empty() {
            true => (0..shape.columns().len())
                .filter(|idx| shape.generated_of(&shape.columns()[*idx]).is_none())
                .collect(),
            false => self
                .columns
                .iter()
                .map(|column| column_place(&shape, column, &relation))
                .collect::<Result<_>>()?,
        };
        let fields = places.iter().map(|idx| {
            let field = shape.columns()[*idx].as_ref();
            Arc::new(field.clone().with_nullable(true))
        });
        let columns = shape.columns().iter().enumerate().map(|(idx, column)| {
            let place = places.iter().position(|place| *place == idx);
            (column.name().clone(), place)
        });
        Ok(Target {
            fields: fields.collect(),
            columns: columns.collect(),
            schema,
            relation,
        })
    }
}

/// Begins to take rows from the client.
pub(crate) async fn copy_in(
    session: &Arc<Session>,
    copy: &ClientCopy,
    control: &StatementControl,
) -> Result<CopyIn> {
    let target = copy.target(session).await?;
    let columns = Arc::new(Schema::new(target.fields.clone()));
    // What comes is text, also for columns of json, which are read from it.
    let plain = |field: &Arc<Field>| field.as_ref().clone().with_metadata(HashMap::new());
    let schema = Arc::new(Schema::new(
        target.fields.iter().map(plain).collect::<Vec<_>>(),
    ));
    let (rows, received) = mpsc::channel(WAITING_BATCHES);
    let partition = Received {
        schema: Arc::clone(&schema),
        rows: Mutex::new(Some(received)),
    };
    let source = StreamingTable::try_new(Arc::clone(&schema), vec![Arc::new(partition)])?;
    let mut given = GivenTables::default();
    let private = given.give("copy", Arc::new(source));
    let quoted = |name: &str| Ident::with_quote('"', name).to_string();
    let names: Vec<String> = schema.fields().iter().map(|f| quoted(f.name())).collect();
    let names = names.join(", ");
    let condition = copy.condition.as_deref();
    let condition = condition.map_or_else(String::new, |condition| format!(" WHERE ({condition})"));
    // A COPY restores what was there, also the numbers that a table alone gives.
    let text = format!(
        "INSERT INTO {}.{} ({names}) OVERRIDING SYSTEM VALUE SELECT {names} FROM {private}{condition}",
        quoted(&target.schema),
        quoted(&target.relation)
    );
    // A place in this text is none in the client's.
    let unplaced = |error: Error| error.inside(&text, "");
    let insert = parsed_insert(&text).map_err(unplaced)?;
    let bound = Box::pin(bind_insert_with(session, &insert, given)).await;
    let bound = bound.map_err(unplaced)?;
    let (session, control) = (Arc::clone(session), control.clone());
    let end = async move {
        match dml::insert(&session, &bound, Vec::new(), None, &control).await? {
            Some(n_rows) => Ok(format!("COPY {n_rows}")),
            None => {
                let object = format!("table \"{}\"", bound.table.name);
                Err(auspex_storage::Error::Conflict { object }.into())
            }
        }
    };
    Ok(CopyIn {
        table: target.relation,
        columns,
        options: copy.options.clone(),
        lines: CopiedLines::new(target.columns, copy.condition.is_some()),
        rows,
        end: end.boxed(),
    })
}

/// The rows that a client sends, as a partition of a table that is read once.
#[derive(Debug)]
struct Received {
    schema: SchemaRef,
    rows: Mutex<Option<Receiver<DfResult<RecordBatch>>>>,
}

impl PartitionStream for Received {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, _: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows = lock(&self.rows).take();
        let batches = futures::stream::unfold(rows, |rows| async move {
            let Some(mut rows) = rows else {
                let error = DataFusionError::Internal("rows of a COPY are read twice".to_owned());
                return Some((Err(error), None));
            };
            let next = rows.recv().await?;
            Some((next, Some(rows)))
        });
        Box::pin(RecordBatchStreamAdapter::new(
            Arc::clone(&self.schema),
            batches,
        ))
    }
}
