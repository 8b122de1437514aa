//! Identity columns: rows on their way to a table get the numbers that their statement left out.
//!
//! In: streams of rows of a table; out: one stream in which no identity column is NULL.

use std::sync::{Arc, Mutex};

use auspex_storage::{CHANGE_COLUMNS, Identity, RowAction, TableShape, Tables};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};

use crate::engine::lock;
use crate::error::Error;
use crate::sequences::Taken;
use crate::session::Session;
use crate::streams::one_after_the_other;

/// An identity column of a table: its place, its name and its numbers.
#[derive(Debug, Clone)]
struct Numbered {
    idx: usize,
    column: String,
    identity: Identity,
}

/// Fills the identity columns of a table, if it has any; numbers follow the order of the rows.
pub(crate) fn numbered(
    session: &Session,
    id: &str,
    shape: &TableShape,
    streams: Vec<SendableRecordBatchStream>,
) -> Vec<SendableRecordBatchStream> {
    let columns = columns_of(shape, 0);
    if columns.is_empty() {
        return streams;
    }
    let filler = Arc::new(Filler {
        tables: session.tables(),
        taken: Arc::clone(&session.taken),
        id: id.to_owned(),
        columns,
    });
    let rows = one_after_the_other(streams);
    let fill = |rows: SendableRecordBatchStream| -> SendableRecordBatchStream {
        let schema = rows.schema();
        let filled = rows.then(move |batch| {
            let filler = Arc::clone(&filler);
            async move { filler.fill(batch?, |_| true).await }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, filled))
    };
    rows.map(fill).into_iter().collect()
}

/// What fills the identity columns of rows of a table; `None`: it has none.
pub(crate) fn numberer(
    session: &Session,
    id: &str,
    shape: &TableShape,
) -> Option<impl Fn(RecordBatch) -> BoxFuture<'static, Result<RecordBatch, DataFusionError>>> {
    let columns = columns_of(shape, 0);
    let filler = (!columns.is_empty()).then(|| {
        Arc::new(Filler {
            tables: session.tables(),
            taken: Arc::clone(&session.taken),
            id: id.to_owned(),
            columns,
        })
    })?;
    Some(move |rows| {
        let filler = Arc::clone(&filler);
        let fill = async move { filler.fill(rows, |_| true).await };
        fill.boxed()
    })
}

/// Fills the identity columns of the rows that a stream of changes adds, if the table has any.
pub(crate) fn numbered_changes(
    session: &Session,
    id: &str,
    shape: &TableShape,
    changes: SendableRecordBatchStream,
) -> SendableRecordBatchStream {
    let columns = columns_of(shape, CHANGE_COLUMNS);
    if columns.is_empty() {
        return changes;
    }
    let filler = Arc::new(Filler {
        tables: session.tables(),
        taken: Arc::clone(&session.taken),
        id: id.to_owned(),
        columns,
    });
    let n_columns = CHANGE_COLUMNS + shape.columns().len();
    let schema = changes.schema();
    let filled = changes.then(move |batch| {
        let filler = Arc::clone(&filler);
        async move {
            let batch = batch?;
            // Deletions alone have no new values.
            if batch.num_columns() < n_columns {
                return Ok(batch);
            }
            let actions = batch.column(0).as_primitive::<Int32Type>().clone();
            let is_added =
                |row| actions.is_valid(row) && actions.value(row) == RowAction::Insert as i32;
            filler.fill(batch, is_added).await
        }
    });
    Box::pin(RecordBatchStreamAdapter::new(schema, filled))
}

fn columns_of(shape: &TableShape, first: usize) -> Vec<Numbered> {
    let columns = shape.columns().iter().enumerate();
    let numbered = columns.filter_map(|(idx, field)| {
        Some(Numbered {
            idx: first + idx,
            column: field.name().clone(),
            identity: shape.identity_of(field)?,
        })
    });
    numbered.collect()
}

struct Filler {
    tables: Arc<Tables>,
    taken: Arc<Mutex<Taken>>,
    id: String,
    columns: Vec<Numbered>,
}

impl Filler {
    /// Fills the rows that are chosen.
    async fn fill(
        &self,
        batch: RecordBatch,
        is_chosen: impl Fn(usize) -> bool,
    ) -> Result<RecordBatch, DataFusionError> {
        let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
        for column in &self.columns {
            let array = &arrays[column.idx];
            let lacks = |row: &usize| array.is_null(*row) && is_chosen(*row);
            let missing = (0..array.len()).filter(lacks).count();
            if missing == 0 {
                continue;
            }
            let taken = self
                .tables
                .next_identities(&self.id, &column.identity.sequence, missing);
            let numbers = taken
                .await
                .map_err(|error| DataFusionError::from(Error::from(error)))?;
            let numbers = numbers
                .into_iter()
                .map(|count| column.identity.number(count));
            let numbers: Vec<i64> = numbers
                .collect::<auspex_storage::Result<_>>()
                .map_err(|error| DataFusionError::from(Error::from(error)))?;
            if let Some(last) = numbers.last() {
                lock(&self.taken).note(&self.id, &column.column, *last);
            }
            let mut numbers = numbers.into_iter();
            let given = cast(array, &DataType::Int64)?;
            let given = given.as_primitive::<Int64Type>().iter();
            let filled: Int64Array = given
                .enumerate()
                .map(|(row, value)| match lacks(&row) {
                    true => numbers.next(),
                    false => value,
                })
                .collect();
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            arrays[column.idx] = cast_with_options(&filled, array.data_type(), &options)?;
        }
        Ok(RecordBatch::try_new(batch.schema(), arrays)?)
    }
}
