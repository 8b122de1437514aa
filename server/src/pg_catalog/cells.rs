//! Small tables written row by row.
//!
//! In: columns and cells; out: a record batch. For the catalogs, whose rows are few.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::MemTable;
use datafusion::common::ScalarValue;
use datafusion::error::Result;

/// The type of a catalog column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Oid,
    Bool,
    Int2,
    Int4,
    Float4,
    Text,
    Texts,
}

/// A value of a catalog column.
#[derive(Debug, Clone)]
pub(super) enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Text(String),
    Texts(Vec<String>),
}

/// The columns of a table.
pub(super) type Columns = &'static [(&'static str, Kind)];

impl From<&str> for Cell {
    fn from(value: &str) -> Cell {
        Cell::Text(value.to_owned())
    }
}

impl From<String> for Cell {
    fn from(value: String) -> Cell {
        Cell::Text(value)
    }
}

impl From<bool> for Cell {
    fn from(value: bool) -> Cell {
        Cell::Bool(value)
    }
}

impl From<i32> for Cell {
    fn from(value: i32) -> Cell {
        Cell::Int(i64::from(value))
    }
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Kind::Oid | Kind::Int4 => DataType::Int32,
            Kind::Bool => DataType::Boolean,
            Kind::Int2 => DataType::Int16,
            Kind::Float4 => DataType::Float32,
            Kind::Text => DataType::Utf8,
            Kind::Texts => DataType::new_list(DataType::Utf8, true),
        }
    }

    /// The value in this column; a cell of another kind is NULL.
    fn value(self, cell: &Cell) -> Result<ScalarValue> {
        Ok(match (self, cell) {
            (Kind::Bool, Cell::Bool(value)) => ScalarValue::from(*value),
            // Lossless: catalogs hold small numbers.
            (Kind::Oid | Kind::Int4, Cell::Int(value)) => ScalarValue::from(*value as i32),
            (Kind::Int2, Cell::Int(value)) => ScalarValue::from(*value as i16),
            (Kind::Float4, Cell::Int(value)) => ScalarValue::from(*value as f32),
            (Kind::Text, Cell::Text(value)) => ScalarValue::from(value.as_str()),
            (Kind::Texts, Cell::Texts(values)) => {
                let items: Vec<ScalarValue> = values
                    .iter()
                    .map(|value| ScalarValue::from(value.as_str()))
                    .collect();
                ScalarValue::List(ScalarValue::new_list(&items, &DataType::Utf8, true))
            }
            (kind, _) => ScalarValue::try_from(&kind.data_type())?,
        })
    }
}

/// The schema of a table.
pub(super) fn schema_of(columns: Columns) -> Arc<Schema> {
    let field = |(name, kind): &(&str, Kind)| {
        let field = Field::new(*name, kind.data_type(), true);
        match kind {
            // The mark by which the wire type becomes oid; see `protocol::types`.
            Kind::Oid => field.with_metadata(HashMap::from([(
                "pg.oid_alias".to_owned(),
                "oid".to_owned(),
            )])),
            _ => field,
        }
    };
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// A table of these rows.
pub(super) fn table_of(columns: Columns, rows: &[Vec<Cell>]) -> Result<MemTable> {
    let schema = schema_of(columns);
    let batches = if rows.is_empty() {
        Vec::new()
    } else {
        let arrays = columns.iter().enumerate().map(|(idx, (_, kind))| {
            let values = rows
                .iter()
                .map(|row| kind.value(row.get(idx).unwrap_or(&Cell::Null)));
            ScalarValue::iter_to_array(values.collect::<Result<Vec<_>>>()?)
        });
        vec![RecordBatch::try_new(
            Arc::clone(&schema),
            arrays.collect::<Result<_>>()?,
        )?]
    };
    MemTable::try_new(schema, vec![batches])
}
