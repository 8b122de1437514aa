//! Dates so many days before or after others: `date '2024-02-28' + 2`. The planner itself makes intervals of whole numbers, which
//! hold 292 years.
//!
//! In: dates and whole numbers; out: dates, or the error that there is none.

use std::sync::Arc;

use auspex_storage::{date_text, is_date};
use datafusion::arrow::array::{ArrayRef, AsArray as _, Date32Array};
use datafusion::arrow::datatypes::{DataType, Date32Type, Field};
use datafusion::error::{DataFusionError, Result};

use super::call::{Call, Function, failure, function};

/// PostgreSQL's names of the functions behind the operators: a date, and whole numbers of days.
pub(super) const LATER: &str = "date_pli";
pub(super) const EARLIER: &str = "date_mii";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        moved(LATER, i64::saturating_add),
        moved(EARLIER, i64::saturating_sub),
    ]
}

fn moved(name: &'static str, of: fn(i64, i64) -> i64) -> Function {
    let body = move |call: &Call<'_>| {
        let dates = call.converted(0, &DataType::Date32)?;
        let dates = dates.as_primitive::<Date32Type>().iter();
        let days = call.integers(1)?;
        let pairs = dates.zip(days.iter());
        let pairs = pairs.map(|(date, days)| date.zip(days));
        let sums = pairs.map(|pair| pair.map(|(date, days)| day(of(date.into(), days))));
        let sums: Date32Array = sums.map(Option::transpose).collect::<Result<_>>()?;
        Ok(Arc::new(sums) as ArrayRef)
    };
    function(name, &[2], DataType::Date32, body).returning(|args| {
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Field::new("value", DataType::Date32, is_nullable))
    })
}

/// A day, counted from 1970-01-01, as a date.
fn day(days: i64) -> Result<i32> {
    let date = i32::try_from(days).ok().filter(|_| is_date(days));
    date.ok_or_else(|| out_of_range(days))
}

fn out_of_range(days: i64) -> DataFusionError {
    failure(
        "22008",
        format!("date out of range: \"{}\"", date_text(days)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_without_a_date_are_told() {
        assert_eq!(day(-1).unwrap(), -1);
        assert_eq!(day(95_026_236).unwrap(), 95_026_236);
        for (days, date) in [(95_026_237, "\"262143-01-01\""), (i64::MIN, " BC\"")] {
            let told = day(days).unwrap_err().to_string();
            assert!(
                told.contains("date out of range") && told.contains(date),
                "{told}"
            );
        }
    }
}
