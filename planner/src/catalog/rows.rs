//! Builds small tables row by row, for views and descriptions.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray, TimestampMillisecondArray,
};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::error::Result;

/// The type of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ColumnType {
    Text,
    Integer,
    Float,
    Timestamp,
}

/// One value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Cell {
    Null,
    Text(String),
    Integer(i64),
    Float(f64),
    /// Milliseconds since 1970.
    Timestamp(i64),
}

impl From<&str> for Cell {
    fn from(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Cell {
        Cell::Text(text)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Cell {
        Cell::Integer(number.cast_signed())
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

/// The schema of some columns.
pub(crate) fn schema_of(columns: &[(&str, ColumnType)]) -> SchemaRef {
    let field = |(name, kind): &(&str, ColumnType)| {
        let data_type = match kind {
            ColumnType::Text => DataType::Utf8,
            ColumnType::Integer => DataType::Int64,
            ColumnType::Float => DataType::Float64,
            ColumnType::Timestamp => DataType::Timestamp(TimeUnit::Millisecond, None),
        };
        Field::new(*name, data_type, true)
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// A batch of rows; a cell of another type than its column is NULL.
pub(crate) fn batch_of(columns: &[(&str, ColumnType)], rows: &[Vec<Cell>]) -> Result<RecordBatch> {
    let arrays = columns.iter().enumerate().map(|(idx, (_, kind))| {
        let cells = rows.iter().map(|row| row.get(idx).unwrap_or(&Cell::Null));
        column_of(*kind, cells)
    });
    Ok(RecordBatch::try_new(schema_of(columns), arrays.collect())?)
}

fn column_of<'a>(kind: ColumnType, cells: impl Iterator<Item = &'a Cell>) -> ArrayRef {
    match kind {
        ColumnType::Text => Arc::new(StringArray::from_iter(cells.map(|cell| match cell {
            Cell::Text(text) => Some(text.as_str()),
            _ => None,
        }))),
        ColumnType::Integer => Arc::new(Int64Array::from_iter(cells.map(|cell| match cell {
            Cell::Integer(number) => Some(*number),
            _ => None,
        }))),
        ColumnType::Float => Arc::new(Float64Array::from_iter(cells.map(|cell| match cell {
            Cell::Float(number) => Some(*number),
            _ => None,
        }))),
        ColumnType::Timestamp => Arc::new(TimestampMillisecondArray::from_iter(cells.map(
            |cell| match cell {
                Cell::Timestamp(milliseconds) => Some(*milliseconds),
                _ => None,
            },
        ))),
    }
}
