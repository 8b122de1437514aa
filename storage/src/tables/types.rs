//! Types: what a managed table stores for an Arrow type, and turning batches into it.
//!
//! Schemas and batches of queries flow in, those of the table flow out. Values are never altered silently: a type is
//! widened, a value that does not fit is an error. (Timestamps have microseconds, PostgreSQL's resolution; a NaN and a
//! zero have no sign.)

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::arrow::array::{Array as _, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{CastOptions, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::error::{Error, Result};
use crate::tables::bit_mark::BitKind;
use crate::tables::floats::canonical;
use crate::tables::row_checks::shown_row;
use crate::tables::time_columns::{INTERVAL, TIME, log_marks_of};
use crate::tables::uuid_mark::marks_of;

/// The largest precision of a decimal that a Delta table stores.
const MAX_PRECISION: u8 = 38;

/// The schema that a managed table gets for the schema of a query.
///
/// Unsigned integers become the next wider signed ones, `UInt64` becomes `Int64` with a check of each value; all text
/// types become `Utf8`, all byte strings `Binary`; dictionaries their values; `Null` becomes text, as in PostgreSQL.
/// Json and uuids stay marked as such; bit strings are refused. Times and intervals are what rows have; `time_columns`
/// knows what files have.
/// Errors: `UnsupportedType` with the column, `DuplicateColumn` (names differ by more than case), `NoTableColumns`.
pub fn stored_schema(schema: &Schema) -> Result<SchemaRef> {
    if schema.fields().is_empty() {
        return Err(Error::NoTableColumns);
    }
    let mut names = BTreeSet::new();
    let mut fields = Vec::with_capacity(schema.fields().len());
    for field in schema.fields() {
        // Delta compares names without case.
        if !names.insert(field.name().to_lowercase()) {
            return Err(Error::DuplicateColumn {
                column: field.name().clone(),
            });
        }
        let bits = BitKind::of(field);
        let stored = column_type(field.data_type()).filter(|_| bits.is_none());
        let data_type = stored.ok_or_else(|| Error::UnsupportedType {
            column: field.name().clone(),
            data_type: match bits {
                Some(bits) => bits.name().to_owned(),
                None => field.data_type().to_string(),
            },
        })?;
        let stored = Field::new(field.name(), data_type, field.is_nullable());
        let mut marks = log_marks_of(&stored);
        marks.extend(marks_of(field));
        fields.push(stored.with_metadata(marks));
    }
    Ok(Arc::new(Schema::new(fields)))
}

/// The type of a column; times and intervals are none within values, where a log has no place for their marks.
fn column_type(data_type: &DataType) -> Option<DataType> {
    match data_type {
        DataType::Time32(_) | DataType::Time64(_) => Some(TIME),
        DataType::Interval(_) | DataType::Duration(_) => Some(INTERVAL),
        DataType::Dictionary(_, value) => column_type(value),
        DataType::RunEndEncoded(_, values) => column_type(values.data_type()),
        data_type => stored_type(data_type),
    }
}

/// `None`: no type of a Delta table holds its values.
fn stored_type(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match data_type {
        T::Boolean | T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::Float32 | T::Float64 => {
            data_type.clone()
        }
        T::UInt8 => T::Int16,
        T::UInt16 => T::Int32,
        T::UInt32 | T::UInt64 => T::Int64,
        T::Float16 => T::Float32,
        T::Null | T::Utf8 | T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => T::Binary,
        T::Date32 | T::Date64 => T::Date32,
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        // The instant is kept, the zone is not: as PostgreSQL's timestamptz.
        T::Timestamp(_, Some(_)) => T::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
        T::Decimal32(precision, scale)
        | T::Decimal64(precision, scale)
        | T::Decimal128(precision, scale)
        | T::Decimal256(precision, scale) => stored_decimal(*precision, *scale)?,
        T::Dictionary(_, value) => stored_type(value)?,
        T::RunEndEncoded(_, values) => stored_type(values.data_type())?,
        T::List(item)
        | T::LargeList(item)
        | T::ListView(item)
        | T::LargeListView(item)
        | T::FixedSizeList(item, _) => T::List(stored_field(item)?),
        T::Struct(fields) => T::Struct(
            fields
                .iter()
                .map(stored_field)
                .collect::<Option<Vec<_>>>()?
                .into(),
        ),
        T::Map(entries, sorted) => T::Map(stored_field(entries)?, *sorted),
        _ => return None,
    })
}

fn stored_field(field: &FieldRef) -> Option<FieldRef> {
    let data_type = stored_type(field.data_type())?;
    Some(Arc::new(Field::new(
        field.name(),
        data_type,
        field.is_nullable(),
    )))
}

fn stored_decimal(precision: u8, scale: i8) -> Option<DataType> {
    // A negative scale counts zeros before the point.
    let precision = precision.checked_add(u8::try_from(-scale.min(0)).ok()?)?;
    (precision <= MAX_PRECISION).then(|| DataType::Decimal128(precision, scale.max(0)))
}

/// Turns the rows of a query into rows of the table, column by column in order.
///
/// Errors: `ColumnCount`, `NullViolation`, `ValueOutOfRange`.
pub(crate) fn conform(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch> {
    let (expected, found) = (schema.fields().len(), batch.num_columns());
    if expected != found {
        return Err(Error::ColumnCount { expected, found });
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    let mut columns = Vec::with_capacity(expected);
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let column = match column.data_type() == field.data_type() {
            true => Arc::clone(column),
            false => cast_with_options(column, field.data_type(), &options).map_err(|source| {
                Error::ValueOutOfRange {
                    schema: String::new(),
                    relation: String::new(),
                    column: field.name().clone(),
                    data_type: field.data_type().to_string(),
                    source: Box::new(source),
                }
            })?,
        };
        if !field.is_nullable()
            && let Some(nulls) = column
                .logical_nulls()
                .filter(|nulls| nulls.null_count() > 0)
        {
            let row = (0..nulls.len()).find(|row| nulls.is_null(*row));
            return Err(Error::NullViolation {
                schema: String::new(),
                relation: String::new(),
                column: field.name().clone(),
                row: shown_row(batch, row.unwrap_or_default()),
            });
        }
        columns.push(canonical(column));
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    Ok(RecordBatch::try_new_with_options(
        Arc::clone(schema),
        columns,
        &options,
    )?)
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        ArrayRef, AsArray as _, Float64Array, Int64Array, StringViewArray, UInt64Array,
    };
    use datafusion::arrow::datatypes::Float64Type;

    use super::*;

    fn one(name: &str, data_type: DataType) -> Schema {
        Schema::new(vec![Field::new(name, data_type, true)])
    }

    #[test]
    fn types_are_widened_or_named() {
        let list = |t| DataType::List(Arc::new(Field::new("item", t, true)));
        let utc = || Some("UTC".into());
        for (from, to) in [
            (DataType::UInt32, DataType::Int64),
            (DataType::UInt8, DataType::Int16),
            (DataType::Utf8View, DataType::Utf8),
            (DataType::Null, DataType::Utf8),
            (DataType::FixedSizeBinary(4), DataType::Binary),
            (
                DataType::Dictionary(Box::new(DataType::Int8), Box::new(DataType::LargeUtf8)),
                DataType::Utf8,
            ),
            (
                DataType::Timestamp(TimeUnit::Nanosecond, Some("+02:00".into())),
                DataType::Timestamp(TimeUnit::Microsecond, utc()),
            ),
            (DataType::Decimal256(20, 2), DataType::Decimal128(20, 2)),
            (DataType::Decimal128(5, -2), DataType::Decimal128(7, 0)),
            (list(DataType::UInt16), list(DataType::Int32)),
            (DataType::Time64(TimeUnit::Nanosecond), TIME),
            (DataType::Time32(TimeUnit::Second), TIME),
            (DataType::Duration(TimeUnit::Second), INTERVAL),
        ] {
            assert_eq!(
                stored_schema(&one("x", from)).unwrap().field(0).data_type(),
                &to
            );
        }
        for bad in [
            DataType::Decimal256(60, 2),
            list(DataType::Time64(TimeUnit::Nanosecond)),
            list(DataType::Interval(
                datafusion::arrow::datatypes::IntervalUnit::DayTime,
            )),
        ] {
            let error = stored_schema(&one("when", bad.clone())).unwrap_err();
            assert_eq!(error.sqlstate(), "0A000");
            assert!(error.to_string().contains("\"when\""), "{error}");
            assert!(error.to_string().contains(&bad.to_string()), "{error}");
        }
    }

    #[test]
    fn column_names_differ_by_more_than_case() {
        let fields = ["a", "A"].map(|name| Field::new(name, DataType::Int64, true));
        let error = stored_schema(&Schema::new(fields.to_vec())).unwrap_err();
        assert_eq!(error.sqlstate(), "42701");
        assert_eq!(
            stored_schema(&Schema::empty()).unwrap_err().sqlstate(),
            "42P16"
        );
    }

    fn batch(column: ArrayRef) -> RecordBatch {
        RecordBatch::try_from_iter([("other name", column)]).unwrap()
    }

    #[test]
    fn rows_conform_or_say_why_not() {
        let bigint = Arc::new(Schema::new(vec![Field::new("x", DataType::Int64, false)]));
        let fits = batch(Arc::new(UInt64Array::from(vec![1, 2])));
        let stored = conform(&fits, &bigint).unwrap();
        assert_eq!(stored.schema(), bigint);
        assert_eq!(stored.column(0).as_ref(), &Int64Array::from(vec![1, 2]));
        let big = conform(&batch(Arc::new(UInt64Array::from(vec![u64::MAX]))), &bigint);
        let error = big.unwrap_err();
        assert_eq!(error.sqlstate(), "22003");
        assert!(error.detail().is_some() && error.to_string().contains("\"x\""));
        let null = conform(
            &batch(Arc::new(Int64Array::from(vec![Some(1), None]))),
            &bigint,
        );
        assert_eq!(null.unwrap_err().sqlstate(), "23502");
        let floats = batch(Arc::new(Float64Array::from(vec![-f64::NAN, -0.0])));
        let stored = conform(&floats, &Arc::new(one("x", DataType::Float64))).unwrap();
        let bits = |row: usize| {
            stored
                .column(0)
                .as_primitive::<Float64Type>()
                .value(row)
                .to_bits()
        };
        assert_eq!((bits(0), bits(1)), (f64::NAN.to_bits(), 0));
        let text = Arc::new(one("x", DataType::Utf8));
        let view = batch(Arc::new(StringViewArray::from(vec![Some("é"), None])));
        assert_eq!(conform(&view, &text).unwrap().column(0).null_count(), 1);
        let two = Arc::new(Schema::new(vec![
            Field::new("a", DataType::Int64, true),
            Field::new("b", DataType::Int64, true),
        ]));
        assert_eq!(conform(&fits, &two).unwrap_err().sqlstate(), "42804");
    }
}
