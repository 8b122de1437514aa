//! Identity columns: rows on their way to a table get the numbers that their statement left out.
//!
//! In: streams of rows of a table; out: one stream in which no identity column is NULL.

use std::sync::Arc;

use auspex_storage::{TableShape, Tables};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Int64Array, RecordBatch};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;

use crate::error::Error;
use crate::session::Session;
use crate::streams::one_after_the_other;

/// An identity column of a table: its place and the name of its numbers.
#[derive(Debug, Clone)]
struct Numbered {
    idx: usize,
    sequence: String,
}

/// Fills the identity columns of a table, if it has any; numbers follow the order of the rows.
pub(crate) fn numbered(
    session: &Session,
    id: &str,
    shape: &TableShape,
    streams: Vec<SendableRecordBatchStream>,
) -> Vec<SendableRecordBatchStream> {
    let columns = shape.columns().iter().enumerate();
    let columns: Vec<Numbered> = columns
        .filter_map(|(idx, field)| {
            let sequence = shape.identity_of(field)?.sequence;
            Some(Numbered { idx, sequence })
        })
        .collect();
    if columns.is_empty() {
        return streams;
    }
    let filler = Arc::new(Filler {
        tables: session.tables(),
        id: id.to_owned(),
        columns,
    });
    let rows = one_after_the_other(streams);
    let fill = |rows: SendableRecordBatchStream| -> SendableRecordBatchStream {
        let schema = rows.schema();
        let filled = rows.then(move |batch| {
            let filler = Arc::clone(&filler);
            async move { filler.fill(batch?).await }
        });
        Box::pin(RecordBatchStreamAdapter::new(schema, filled))
    };
    rows.map(fill).into_iter().collect()
}

struct Filler {
    tables: Arc<Tables>,
    id: String,
    columns: Vec<Numbered>,
}

impl Filler {
    async fn fill(&self, batch: RecordBatch) -> Result<RecordBatch, DataFusionError> {
        let mut arrays: Vec<ArrayRef> = batch.columns().to_vec();
        for column in &self.columns {
            let array = &arrays[column.idx];
            let missing = array.null_count();
            if missing == 0 {
                continue;
            }
            let taken = self
                .tables
                .next_identities(&self.id, &column.sequence, missing);
            let numbers = taken
                .await
                .map_err(|error| DataFusionError::from(Error::from(error)))?;
            let mut numbers = numbers.into_iter();
            let given = cast(array, &DataType::Int64)?;
            let given = given.as_primitive::<Int64Type>().iter();
            let filled: Int64Array = given
                .map(|value| value.or_else(|| numbers.next()))
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
