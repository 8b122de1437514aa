//! Small tables written row by row.
//!
//! In: columns and cells; out: a record batch. For the catalogs, whose rows are few.

use std::collections::HashMap;
use std::sync::Arc;

use datafusion::arrow::array::{RecordBatch, new_null_array};
use datafusion::arrow::datatypes::{DataType, Field, IntervalUnit, Schema, SchemaRef, TimeUnit};
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use crate::protocol::types::TYPE_KEY;

/// The type of a catalog column: the name that it has in `pg_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(pub(super) &'static str);

/// A value of a catalog column.
#[derive(Debug, Clone, Default)]
pub(super) enum Cell {
    #[default]
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Texts(Vec<String>),
    Ints(Vec<i64>),
}

/// The columns of a table in order.
pub(super) type Columns = [(&'static str, Kind)];

/// A row: the columns that are not NULL.
pub(super) type Row = Vec<(&'static str, Cell)>;

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

impl From<usize> for Cell {
    fn from(value: usize) -> Cell {
        // Lossless: counts of rows and columns.
        Cell::Int(value as i64)
    }
}

impl<T: Into<Cell>> From<Option<T>> for Cell {
    fn from(value: Option<T>) -> Cell {
        value.map_or(Cell::Null, Into::into)
    }
}

impl Kind {
    /// The type that carries it in a batch.
    pub(super) fn data_type(self) -> DataType {
        match self.0 {
            "bool" => DataType::Boolean,
            "int2" => DataType::Int16,
            "int4" | "oid" | "xid" | "regproc" => DataType::Int32,
            "int8" => DataType::Int64,
            "float4" => DataType::Float32,
            "float8" => DataType::Float64,
            "timestamptz" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            "interval" => DataType::Interval(IntervalUnit::MonthDayNano),
            "bytea" => DataType::Binary,
            "numeric" => DataType::Decimal128(38, 0),
            _ => match self.element() {
                Some(element) => DataType::new_list(element.data_type(), true),
                None => DataType::Utf8,
            },
        }
    }

    /// What an array or vector holds.
    fn element(self) -> Option<Kind> {
        match self.0 {
            "oidvector" => Some(Kind("oid")),
            "int2vector" => Some(Kind("int2")),
            name => name.strip_prefix('_').map(Kind),
        }
    }

    /// A column of it, marked with the type's name so that the wire tells it; see `protocol::types`.
    pub(super) fn field(self, name: &str) -> Field {
        let field = Field::new(name, self.data_type(), true);
        field.with_metadata(HashMap::from([(TYPE_KEY.to_owned(), self.0.to_owned())]))
    }

    /// The value in this column; a cell of another kind is NULL.
    pub(super) fn value(self, cell: &Cell) -> Result<ScalarValue> {
        let scalar = match cell {
            Cell::Bool(value) => ScalarValue::from(*value),
            Cell::Int(value) => ScalarValue::from(*value),
            Cell::Float(value) => ScalarValue::from(*value),
            Cell::Text(value) => ScalarValue::from(value.as_str()),
            Cell::Texts(values) => self.list(values.iter().map(|value| value.as_str().into())),
            Cell::Ints(values) => self.list(values.iter().map(|value| (*value).into())),
            Cell::Null => ScalarValue::Null,
        };
        match scalar.cast_to(&self.data_type()) {
            Ok(value) => Ok(value),
            Err(_) => ScalarValue::try_from(&self.data_type()),
        }
    }

    fn list(self, values: impl Iterator<Item = ScalarValue>) -> ScalarValue {
        let DataType::List(item) = self.data_type() else {
            return ScalarValue::Null;
        };
        let items: Vec<ScalarValue> = values
            .filter_map(|value| value.cast_to(item.data_type()).ok())
            .collect();
        ScalarValue::List(ScalarValue::new_list(&items, item.data_type(), true))
    }
}

/// The schema of a table.
pub(super) fn schema_of(columns: &Columns) -> SchemaRef {
    let field = |(name, kind): &(&'static str, Kind)| kind.field(name);
    Arc::new(Schema::new(columns.iter().map(field).collect::<Vec<_>>()))
}

/// The rows as a batch; a column that a row does not name is NULL.
pub(super) fn batch_of(columns: &Columns, rows: &[Row]) -> Result<RecordBatch> {
    let schema = schema_of(columns);
    let arrays = columns
        .iter()
        .zip(schema.fields())
        .map(|((name, kind), field)| {
            let values = rows
                .iter()
                .map(|row| match row.iter().find(|(named, _)| named == name) {
                    Some((_, cell)) => kind.value(cell),
                    None => ScalarValue::try_from(&kind.data_type()),
                });
            let values = values.collect::<Result<Vec<_>>>()?;
            match values.is_empty() {
                true => Ok(new_null_array(field.data_type(), 0)),
                false => ScalarValue::iter_to_array(values),
            }
        });
    Ok(RecordBatch::try_new(
        Arc::clone(&schema),
        arrays.collect::<Result<_>>()?,
    )?)
}
