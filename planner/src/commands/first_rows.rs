//! `ON CONFLICT DO NOTHING` of a table with several keys: of the rows that a statement adds, those come first that met
//! none before them.
//!
//! In: a stream of changes in the order in which the rows were given; out: the same without the additions that share any
//! key with an earlier one that stayed. A window cannot say this: a row that was left out stands in nobody's way.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use auspex_storage::{CHANGE_COLUMNS, Key, KeyForm, RowAction, TableShape};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch};
use datafusion::arrow::compute::filter_record_batch;
use datafusion::arrow::datatypes::{Field, Int32Type, Schema, SchemaRef};
use datafusion::arrow::row::{RowConverter, Rows, SortField};
use datafusion::error::Result;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::memory_pool::{MemoryConsumer, MemoryPool, MemoryReservation};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use futures::StreamExt as _;

/// What a set needs for a value beside its bytes.
const ENTRY_BYTES: usize = 32;

/// Leaves out the added rows that share one of the keys with an added row before them.
///
/// Nulls: a key with a NULL is like no other. Cost: the values of the keys of all added rows in memory, accounted.
pub(super) fn first_rows(
    changes: SendableRecordBatchStream,
    keys: &[Key],
    (shape, forms): (&TableShape, &BTreeMap<String, KeyForm>),
    memory: &Arc<dyn MemoryPool>,
) -> Result<SendableRecordBatchStream> {
    let schema = changes.schema();
    let met = |key: &Key| Met {
        key: key.clone(),
        form: forms.get(&key.name).cloned(),
        converter: None,
        values: HashSet::new(),
    };
    let types = schema.fields().iter().skip(CHANGE_COLUMNS);
    let named = shape.columns().iter().zip(types);
    let named =
        named.map(|(column, found)| Field::new(column.name(), found.data_type().clone(), true));
    let mut first = First {
        table: Arc::new(Schema::new(named.collect::<Vec<_>>())),
        keys: keys.iter().map(met).collect(),
        memory: MemoryConsumer::new("ON CONFLICT").register(memory),
    };
    let rows = changes.map(move |batch| first.of(&batch?));
    Ok(Box::pin(RecordBatchStreamAdapter::new(schema, rows)))
}

/// The values of one key that were met.
struct Met {
    key: Key,
    /// What computes the key; `None`: it consists of columns.
    form: Option<KeyForm>,
    /// Known once rows came.
    converter: Option<RowConverter>,
    values: HashSet<Box<[u8]>>,
}

/// One key of some rows.
struct Given {
    rows: Rows,
    columns: Vec<ArrayRef>,
    /// Which of the rows have the key; `None`: all.
    counted: Option<BooleanArray>,
}

impl Met {
    /// The key of rows of the table.
    fn given(&mut self, table: &RecordBatch) -> Result<Given> {
        let (columns, counted) = match &self.form {
            Some(form) => form.of(table)?,
            None => {
                let columns = self.key.columns.iter();
                let columns = columns.filter_map(|name| table.column_by_name(name).cloned());
                (columns.collect(), None)
            }
        };
        let converter = match &mut self.converter {
            Some(converter) => converter,
            None => {
                let types = columns.iter().map(|column| column.data_type().clone());
                let made = RowConverter::new(types.map(SortField::new).collect())?;
                self.converter.insert(made)
            }
        };
        Ok(Given {
            rows: converter.convert_columns(&columns)?,
            columns,
            counted,
        })
    }

    /// What a row has of the key; `None`: what no other row has.
    fn value(&self, given: &Given, row: usize) -> Option<Box<[u8]>> {
        let counts = given
            .counted
            .as_ref()
            .is_none_or(|counted| counted.value(row));
        let is_whole = || given.columns.iter().all(|column| column.is_valid(row));
        let is_there = counts && (self.key.nulls_are_equal || is_whole());
        is_there.then(|| given.rows.row(row).as_ref().into())
    }
}

struct First {
    /// The columns of the table.
    table: SchemaRef,
    keys: Vec<Met>,
    memory: MemoryReservation,
}

impl First {
    fn of(&mut self, batch: &RecordBatch) -> Result<RecordBatch> {
        let actions = batch.column(0).as_primitive::<Int32Type>();
        let columns = batch.columns().iter().skip(CHANGE_COLUMNS);
        let columns = columns.take(self.table.fields().len()).cloned().collect();
        let table = RecordBatch::try_new(Arc::clone(&self.table), columns)?;
        let mut given = Vec::with_capacity(self.keys.len());
        for key in &mut self.keys {
            given.push(key.given(&table)?);
        }
        let mut stays = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let is_added = actions.is_valid(row) && actions.value(row) == RowAction::Insert as i32;
            stays.push(!is_added || self.is_first(&given, row)?);
        }
        Ok(filter_record_batch(batch, &BooleanArray::from(stays))?)
    }

    /// Whether an added row shares no key with one before it; its own are met from then on.
    fn is_first(&mut self, given: &[Given], row: usize) -> Result<bool> {
        let pairs = self.keys.iter().zip(given);
        let values: Vec<Option<Box<[u8]>>> =
            pairs.map(|(key, given)| key.value(given, row)).collect();
        let mut pairs = self.keys.iter().zip(&values);
        if pairs.any(|(key, value)| value.as_ref().is_some_and(|v| key.values.contains(v))) {
            return Ok(false);
        }
        for (key, value) in self.keys.iter_mut().zip(values) {
            if let Some(value) = value {
                self.memory.try_grow(value.len() + ENTRY_BYTES)?;
                key.values.insert(value);
            }
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Int32Array, Int64Array};
    use datafusion::arrow::datatypes::DataType;
    use datafusion::execution::memory_pool::UnboundedMemoryPool;
    use datafusion::physical_plan::memory::MemoryStream;

    use super::*;

    #[tokio::test]
    async fn a_row_that_was_left_out_stands_in_nobodys_way() {
        let field = |name, data_type| Field::new(name, data_type, true);
        let long = |name| field(name, DataType::Int64);
        let columns = Schema::new(vec![long("a"), long("b")]);
        let names = ["file", "row", "a", "b"].map(long);
        let mut fields = vec![field("action", DataType::Int32)];
        fields.extend(names);
        let schema = Arc::new(Schema::new(fields));
        let added = RowAction::Insert as i32;
        let kept = RowAction::Keep as i32;
        let numbers =
            |values: [Option<i64>; 6]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
        let a = [Some(1), Some(2), Some(2), Some(3), None, None];
        let b = [Some(1), Some(1), Some(2), Some(9), Some(7), Some(7)];
        let batch = RecordBatch::try_new(
            Arc::clone(&schema),
            vec![
                Arc::new(Int32Array::from(vec![
                    added, added, added, kept, added, added,
                ])),
                numbers([None; 6]),
                numbers([None; 6]),
                numbers(a),
                numbers(b),
            ],
        )
        .unwrap();
        let key = |name: &str| Key {
            name: name.to_owned(),
            is_primary: false,
            columns: vec![name.to_owned()],
            ..Key::default()
        };
        let changes = MemoryStream::try_new(vec![batch], schema, None).unwrap();
        let memory: Arc<dyn MemoryPool> = Arc::new(UnboundedMemoryPool::default());
        let shape = TableShape::new(&columns);
        let keys = [key("a"), key("b")];
        let rows = first_rows(
            Box::pin(changes),
            &keys,
            (&shape, &BTreeMap::new()),
            &memory,
        );
        let mut rows = rows.unwrap();
        let rows = rows.next().await.unwrap().unwrap();
        // The second shares b with the first, the third shares a with the second alone, the last shares b.
        assert_eq!(
            rows.column(3).as_ref(),
            &Int64Array::from(vec![Some(1), Some(2), Some(3), None])
        );
        assert_eq!(rows.column(4).as_ref(), &Int64Array::from(vec![1, 2, 9, 7]));
    }
}
