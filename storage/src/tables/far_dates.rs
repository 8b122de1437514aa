//! Dates that a Delta log cannot tell: the library counts years in 19 bits when it writes a file's least and greatest values.
//!
//! Rows flow in before they are written; nothing or the first date that is too far away flows out. Moments end with their
//! microseconds, which the library can tell, or leaves out.

use chrono::{Datelike as _, NaiveDate};
use datafusion::arrow::array::{ArrayRef, AsArray as _, RecordBatch};
use datafusion::arrow::compute::{max, min};
use datafusion::arrow::datatypes::Date32Type;

use crate::error::{ColumnFailure, Error, Result};
use crate::tables::leaves::find_in_leaves;

/// Four hundred years, after which the calendar repeats itself.
const CYCLE_DAYS: i64 = 146_097;
const CYCLE_YEARS: i64 = 400;

/// Fails at a date that a table cannot keep.
///
/// Errors: `FarDate` of `Column`.
pub(crate) fn check(rows: &RecordBatch) -> Result<()> {
    let look = |array: &ArrayRef| {
        let dates = array.as_primitive_opt::<Date32Type>();
        let ends = dates.map(|dates| [min(dates), max(dates)]);
        let mut ends = ends.into_iter().flatten().flatten().map(i64::from);
        Ok(ends.find(|days| !is_date(*days)))
    };
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if let Some(days) = find_in_leaves(column, &look)? {
            return Err(Error::Column(ColumnFailure::FarDate {
                column: field.name().clone(),
                date: date_text(days),
            }));
        }
    }
    Ok(())
}

/// Whether a day, counted from 1970-01-01, is a date that tables keep: from 262144 BC to 262142.
pub fn is_date(days: i64) -> bool {
    let (first, last) = (
        NaiveDate::MIN.to_epoch_days(),
        NaiveDate::MAX.to_epoch_days(),
    );
    (i64::from(first)..=i64::from(last)).contains(&days)
}

/// A day, counted from 1970-01-01, as PostgreSQL writes dates, however far away it is.
pub fn date_text(days: i64) -> String {
    let within = i32::try_from(days.rem_euclid(CYCLE_DAYS)).ok();
    let date = within.and_then(NaiveDate::from_epoch_days);
    let date = date.unwrap_or_default();
    let year = i64::from(date.year()) + CYCLE_YEARS * days.div_euclid(CYCLE_DAYS);
    // Before the year 1 comes 1 BC.
    let (year, era) = match year {
        ..=0 => (1 - year, " BC"),
        _ => (year, ""),
    };
    format!("{year:04}-{:02}-{:02}{era}", date.month(), date.day())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Array as _, Date32Array, ListArray, StructArray};
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::datatypes::{DataType, Field};

    use super::*;

    fn checked(column: ArrayRef) -> std::result::Result<(), String> {
        let rows = RecordBatch::try_from_iter_with_nullable([("d", column, true)]).unwrap();
        check(&rows).map_err(|error| format!("{} {error}", error.sqlstate()))
    }

    #[test]
    fn dates_far_away_are_told() {
        let (first, last) = (
            NaiveDate::MIN.to_epoch_days(),
            NaiveDate::MAX.to_epoch_days(),
        );
        let dates =
            |days: &[Option<i32>]| -> ArrayRef { Arc::new(Date32Array::from(days.to_vec())) };
        checked(dates(&[Some(first), None, Some(last)])).unwrap();
        checked(dates(&[None])).unwrap();
        checked(dates(&[])).unwrap();
        let late = "22008 date out of range: \"262143-01-01\"";
        let early = "22008 date out of range: \"262145-12-31 BC\"";
        let after = dates(&[Some(0), Some(last + 1), None]);
        assert_eq!(checked(Arc::clone(&after)), Err(late.to_owned()));
        assert_eq!(checked(dates(&[Some(first - 1)])), Err(early.to_owned()));
        // Rows have what their slice has.
        checked(after.slice(0, 1)).unwrap();
        let field = Arc::new(Field::new("x", DataType::Date32, true));
        let record = StructArray::from(vec![(Arc::clone(&field), Arc::clone(&after))]);
        assert_eq!(checked(Arc::new(record)), Err(late.to_owned()));
        let lists = ListArray::new(field, OffsetBuffer::from_lengths([1, 2]), after, None);
        checked(Arc::new(lists.slice(0, 1))).unwrap();
        assert_eq!(checked(Arc::new(lists)), Err(late.to_owned()));
    }

    #[test]
    fn days_have_a_text() {
        let day = |text: &str| {
            let date: NaiveDate = text.parse().unwrap();
            i64::from(date.to_epoch_days())
        };
        assert_eq!(date_text(0), "1970-01-01");
        assert_eq!(date_text(day("2024-02-29")), "2024-02-29");
        assert_eq!(date_text(day("0001-01-01")), "0001-01-01");
        assert_eq!(date_text(day("0001-01-01") - 1), "0001-12-31 BC");
        // PostgreSQL's last day.
        assert_eq!(date_text(2_145_042_905), "5874897-12-31");
        assert!(!is_date(i64::MAX) && !is_date(i64::MIN));
        assert!(date_text(i64::MIN).ends_with(" BC"));
    }
}
