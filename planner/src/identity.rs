//! Identity columns: rows on their way to a table get the numbers that their statement left out.
//!
//! In: streams of rows of a table; out: one stream in which no identity column is NULL, and what is generated of one is
//! computed.

use std::ops::Range;
use std::sync::{Arc, Mutex};

use auspex_storage::{CHANGE_COLUMNS, Identity, RowAction, TableShape, Tables};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Int32Type, Int64Type};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::execution::{SendableRecordBatchStream, SessionState};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};

use crate::bind::values_of_numbers;
use crate::engine::lock;
use crate::error::{Error, Result};
use crate::sequences::Taken;
use crate::session::Session;
use crate::streams::one_after_the_other;

/// Rows with their numbers, which may have to be claimed.
type Filled = BoxFuture<'static, DfResult<RecordBatch>>;

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
    table: (&str, &TableShape),
    state: &SessionState,
    streams: Vec<SendableRecordBatchStream>,
) -> Result<Vec<SendableRecordBatchStream>> {
    let Some(filler) = Filler::of(session, table, state, 0)? else {
        return Ok(streams);
    };
    let rows = one_after_the_other(streams);
    let fill = |rows: SendableRecordBatchStream| -> SendableRecordBatchStream {
        let schema = rows.schema();
        let filled = rows.then(move |batch| {
            let filler = Arc::clone(&filler);
            async move { filler.fill(batch?, |_, _| true).await }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, filled))
    };
    Ok(rows.map(fill).into_iter().collect())
}

/// What fills the identity columns of rows of a table; `None`: it has none.
pub(crate) fn numberer(
    session: &Session,
    table: (&str, &TableShape),
    state: &SessionState,
) -> Result<Option<impl Fn(RecordBatch) -> Filled>> {
    let Some(filler) = Filler::of(session, table, state, 0)? else {
        return Ok(None);
    };
    Ok(Some(move |rows| -> Filled {
        let filler = Arc::clone(&filler);
        let fill = async move { filler.fill(rows, |_, _| true).await };
        fill.boxed()
    }))
}

/// Fills the identity columns of the rows that a stream of changes adds, if the table has any, and those at the places
/// `anew` of rows that it changes.
pub(crate) fn numbered_changes(
    session: &Session,
    (id, shape): (&str, &TableShape),
    state: &SessionState,
    (changes, anew): (SendableRecordBatchStream, Vec<usize>),
) -> Result<SendableRecordBatchStream> {
    let Some(filler) = Filler::of(session, (id, shape), state, CHANGE_COLUMNS)? else {
        return Ok(changes);
    };
    let anew: Arc<[usize]> = anew.into_iter().map(|idx| CHANGE_COLUMNS + idx).collect();
    let n_columns = CHANGE_COLUMNS + shape.columns().len();
    let schema = changes.schema();
    let filled = changes.then(move |batch| {
        let (filler, anew) = (Arc::clone(&filler), Arc::clone(&anew));
        async move {
            let batch = batch?;
            // Deletions alone have no new values.
            if batch.num_columns() < n_columns {
                return Ok(batch);
            }
            let actions = batch.column(0).as_primitive::<Int32Type>().clone();
            let is_chosen = |row: usize, column: usize| {
                let action = actions.is_valid(row).then(|| actions.value(row));
                action == Some(RowAction::Insert as i32)
                    || action == Some(RowAction::Update as i32) && anew.contains(&column)
            };
            filler.fill(batch, is_chosen).await
        }
    });
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, filled)))
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
    /// Where the columns of the table stand in a batch.
    in_table: Range<usize>,
    /// The generated columns that read numbers, by their place in the table.
    computed: Vec<(usize, Arc<dyn PhysicalExpr>)>,
}

impl Filler {
    /// That of a table whose columns stand behind `first` others; `None`: it has no identity columns.
    fn of(
        session: &Session,
        (id, shape): (&str, &TableShape),
        state: &SessionState,
        first: usize,
    ) -> Result<Option<Arc<Filler>>> {
        let columns = columns_of(shape, first);
        if columns.is_empty() {
            return Ok(None);
        }
        Ok(Some(Arc::new(Filler {
            tables: session.tables(),
            taken: Arc::clone(&session.taken),
            id: id.to_owned(),
            columns,
            in_table: first..first + shape.columns().len(),
            computed: values_of_numbers(state, shape)?,
        })))
    }

    /// Fills the columns of rows that are chosen, and computes what reads their numbers.
    async fn fill(
        &self,
        batch: RecordBatch,
        is_chosen: impl Fn(usize, usize) -> bool,
    ) -> DfResult<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
        let lacks_some = |column: &Numbered| arrays[column.idx].null_count() > 0;
        let is_computed = !self.computed.is_empty() && self.columns.iter().any(lacks_some);
        for column in &self.columns {
            let array = &arrays[column.idx];
            let lacks = |row: &usize| array.is_null(*row) && is_chosen(*row, column.idx);
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
        let filled = RecordBatch::try_new(batch.schema(), arrays)?;
        match is_computed {
            true => self.compute(filled),
            false => Ok(filled),
        }
    }

    /// Computes the generated columns that read numbers.
    fn compute(&self, batch: RecordBatch) -> DfResult<RecordBatch> {
        let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
        let places: Vec<usize> = self.in_table.clone().collect();
        let rows = batch.project(&places)?;
        for (idx, value) in &self.computed {
            arrays[places[*idx]] = value.evaluate(&rows)?.into_array(rows.num_rows())?;
        }
        Ok(RecordBatch::try_new(batch.schema(), arrays)?)
    }
}
