//! Columns of times of day and of intervals, for which Delta has no types.
//!
//! Columns and rows of a table flow in, and what its log and files hold flows out, or the other way round: a time is a
//! whole number of microseconds since midnight, an interval the text of its parts (`1 years 2 months 3 days 4.5 seconds`), which most
//! engines read as one. A mark beside the column tells what it is, as for uuids (see `uuid_mark`). Scans cast what files
//! hold, so that filters of times leave files and row groups out; texts of intervals have no order.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, AsArray as _, RecordBatch, RecordBatchOptions, StringArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
    Schema, SchemaRef, TimeUnit,
};

use crate::error::Result;
use crate::tables::extension_name::EXTENSION_KEY;
use crate::tables::partition_values::number_names;
use crate::tables::uuid_mark::marks_of;

/// Our names of times and intervals.
const TIME_NAME: &str = "auspex.time";
const INTERVAL_NAME: &str = "auspex.interval";
/// The types of rows.
pub(crate) const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);
pub(crate) const INTERVAL: DataType = DataType::Interval(IntervalUnit::MonthDayNano);

const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MINUTE: i64 = 60 * NANOS_PER_SECOND;
const NANOS_PER_HOUR: i64 = 60 * NANOS_PER_MINUTE;

/// What the log and the files of a table hold for a type, and the name of it in the mark; `None`: itself.
fn stored_type(data_type: &DataType) -> Option<(DataType, &'static str)> {
    match data_type {
        data_type if *data_type == TIME => Some((DataType::Int64, TIME_NAME)),
        data_type if *data_type == INTERVAL => Some((DataType::Utf8, INTERVAL_NAME)),
        _ => None,
    }
}

/// The metadata that tells what a column of a table is, where Delta's type does not: those of json and uuids, times and
/// intervals.
pub(crate) fn log_marks_of(field: &Field) -> HashMap<String, String> {
    match stored_type(field.data_type()) {
        Some((_, name)) => HashMap::from([(EXTENSION_KEY.to_owned(), name.to_owned())]),
        None => marks_of(field),
    }
}

/// Whether files hold values of a type for a column that is marked.
pub(crate) fn holds(field: &Field, found: &DataType) -> bool {
    let mark = field.extension_type_name();
    stored_type(field.data_type()).is_some_and(|(stored, name)| {
        mark == Some(name) && (stored == *found || found.is_string() && stored.is_string())
    })
}

/// The columns as a log has them, with marks.
pub(crate) fn stored_columns(schema: &Schema) -> SchemaRef {
    changed(schema, |field| {
        let (stored, _) = stored_type(field.data_type())?;
        let mut notes = field.metadata().clone();
        notes.extend(log_marks_of(field));
        Some(
            field
                .as_ref()
                .clone()
                .with_data_type(stored)
                .with_metadata(notes),
        )
    })
}

/// The columns of a log as rows have them.
pub(crate) fn shown_columns(schema: &Schema) -> SchemaRef {
    changed(schema, |field| {
        let name = field.extension_type_name()?;
        let is_stored = |shown: &DataType| {
            stored_type(shown)
                .is_some_and(|(stored, mark)| mark == name && stored == *field.data_type())
        };
        let shown = [TIME, INTERVAL].into_iter().find(is_stored)?;
        Some(field.as_ref().clone().with_data_type(shown))
    })
}

fn changed(schema: &Schema, change: impl Fn(&FieldRef) -> Option<Field>) -> SchemaRef {
    let changed = |field: &FieldRef| change(field).map_or_else(|| Arc::clone(field), Arc::new);
    let fields: Vec<FieldRef> = schema.fields().iter().map(changed).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// Rows as files hold them, whose columns are `columns`.
pub(crate) fn stored_rows(rows: &RecordBatch, columns: &SchemaRef) -> Result<RecordBatch> {
    let stored = |(column, field): (&ArrayRef, &FieldRef)| match field.data_type() {
        data_type if data_type == column.data_type() => Ok(Arc::clone(column)),
        DataType::Utf8 if *column.data_type() == INTERVAL => {
            let intervals = column.as_primitive::<IntervalMonthDayNanoType>();
            let texts = intervals.iter().map(|value| value.map(interval_text));
            Ok(Arc::new(texts.collect::<StringArray>()) as ArrayRef)
        }
        // Of a partition column, which no file holds.
        DataType::Utf8 if column.data_type().is_floating() => {
            Ok(Arc::new(number_names(column)?) as ArrayRef)
        }
        data_type => cast(column, data_type),
    };
    let arrays = rows.columns().iter().zip(columns.fields()).map(stored);
    let arrays = arrays.collect::<std::result::Result<Vec<_>, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let columns = Arc::clone(columns);
    Ok(RecordBatch::try_new_with_options(
        columns, arrays, &options,
    )?)
}

/// The parts of an interval that are not zero, each with its sign.
fn interval_text(value: IntervalMonthDayNano) -> String {
    let IntervalMonthDayNano {
        months,
        days,
        nanoseconds,
    } = value;
    let whole = [
        (i64::from(months / 12), "years"),
        (i64::from(months % 12), "months"),
        (i64::from(days), "days"),
        (nanoseconds / NANOS_PER_HOUR, "hours"),
        (nanoseconds % NANOS_PER_HOUR / NANOS_PER_MINUTE, "minutes"),
    ];
    let seconds = nanoseconds % NANOS_PER_MINUTE;
    let mut text = String::new();
    for (number, unit) in whole.into_iter().filter(|(number, _)| *number != 0) {
        // Writing to a text does not fail.
        let _ = write!(text, "{number} {unit} ");
    }
    if seconds != 0 || text.is_empty() {
        let sign = if seconds < 0 { "-" } else { "" };
        let (whole, rest) = (
            seconds.abs() / NANOS_PER_SECOND,
            seconds.abs() % NANOS_PER_SECOND,
        );
        let digits = format!("{sign}{whole}.{rest:09}");
        let digits = digits.trim_end_matches('0').trim_end_matches('.');
        let _ = write!(text, "{digits} seconds");
    }
    text.truncate(text.trim_end().len());
    text
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{IntervalMonthDayNanoArray, Time64MicrosecondArray};

    use super::*;

    fn columns() -> Schema {
        Schema::new(vec![
            Field::new("at", TIME, true),
            Field::new("n", DataType::Int64, true),
            Field::new("long", INTERVAL, false),
        ])
    }

    #[test]
    fn columns_are_stored_with_a_mark_and_shown_again() {
        let stored = stored_columns(&columns());
        let types: Vec<&DataType> = stored.fields().iter().map(|f| f.data_type()).collect();
        assert_eq!(types, [&DataType::Int64, &DataType::Int64, &DataType::Utf8]);
        assert!(stored.field(1).metadata().is_empty());
        let shown = shown_columns(&stored);
        assert_eq!(shown.field(0).data_type(), &TIME);
        assert_eq!(shown.field(1), columns().field(1));
        assert_eq!(shown.field(2).data_type(), &INTERVAL);
        assert!(
            holds(shown.field(0), &DataType::Int64) && holds(shown.field(2), &DataType::Utf8View)
        );
        assert!(
            !holds(shown.field(0), &DataType::Utf8) && !holds(columns().field(0), &DataType::Int64)
        );
        // A column whose type was changed elsewhere is what it is.
        let other = stored.field(0).clone().with_data_type(DataType::Int32);
        let other = Schema::new(vec![other]);
        assert_eq!(shown_columns(&other).field(0).data_type(), &DataType::Int32);
    }

    #[test]
    fn rows_come_back_as_they_were() {
        let of = IntervalMonthDayNano::new;
        let intervals = IntervalMonthDayNanoArray::from(vec![
            of(14, 3, 4 * NANOS_PER_HOUR + 1_500_000_000),
            of(-1, 3, -500_000_000),
            of(0, 0, 0),
            of(i32::MIN, i32::MAX, i64::MIN),
            of(0, -1, -NANOS_PER_MINUTE),
        ]);
        let times = Time64MicrosecondArray::from(vec![
            Some(0),
            None,
            Some(86_400_000_000),
            Some(1),
            Some(2),
        ]);
        let numbers = datafusion::arrow::array::Int64Array::from(vec![1; 5]);
        let rows: Vec<ArrayRef> = vec![Arc::new(times), Arc::new(numbers), Arc::new(intervals)];
        let rows = RecordBatch::try_new(Arc::new(columns()), rows).unwrap();
        let stored = stored_rows(&rows, &stored_columns(&columns())).unwrap();
        let texts = stored.column(2).as_string::<i32>();
        assert_eq!(
            texts.value(0),
            "1 years 2 months 3 days 4 hours 1.5 seconds"
        );
        assert_eq!(texts.value(1), "-1 months 3 days -0.5 seconds");
        assert_eq!(texts.value(2), "0 seconds");
        assert_eq!(texts.value(4), "-1 days -1 minutes");
        for (idx, data_type) in [(0, TIME), (2, INTERVAL)] {
            assert_eq!(
                &cast(stored.column(idx), &data_type).unwrap(),
                rows.column(idx)
            );
        }
    }
}
