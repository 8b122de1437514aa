//! Sums and averages of intervals.
//!
//! In: the intervals of a group or of a window; out: their sum, or their average. Months, days and time are summed apart; what an
//! average has of a month is carried to days, and of a day to hours.

use datafusion::arrow::array::{ArrayRef, AsArray as _};
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Int64Type, IntervalMonthDayNano,
    IntervalMonthDayNanoType,
};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::Accumulator;
use datafusion::logical_expr::utils::format_state_name;

use super::call::{INTERVAL, failure};
use super::interval::quotient;

/// Wide enough for the nanoseconds of any number of rows.
const WIDE: DataType = DataType::Decimal128(38, 0);

/// Whether a result is a total of intervals. Those of distinct intervals are the planner's.
pub(super) fn are_meant(result: &FieldRef, is_distinct: bool) -> bool {
    *result.data_type() == INTERVAL && !is_distinct
}

/// The fields of what a total has come to.
pub(super) fn state_fields(name: &str) -> Vec<FieldRef> {
    let field = |part: &str, data_type: DataType| {
        FieldRef::new(Field::new(format_state_name(name, part), data_type, true))
    };
    vec![
        field("months", DataType::Int64),
        field("days", DataType::Int64),
        field("time", WIDE),
        field("count", DataType::Int64),
    ]
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Total {
    Sum,
    Average,
}

impl Total {
    pub(super) fn accumulator(self) -> Box<dyn Accumulator> {
        Box::new(Totals {
            total: self,
            months: 0,
            days: 0,
            nanos: 0,
            n_values: 0,
        })
    }
}

#[derive(Debug)]
struct Totals {
    total: Total,
    months: i64,
    days: i64,
    nanos: i128,
    n_values: i64,
}

impl Totals {
    /// Adds the values of a column, or takes them away again.
    fn count(&mut self, values: &[ArrayRef], sign: i8) -> Result<()> {
        let values = values
            .first()
            .and_then(|values| values.as_primitive_opt::<IntervalMonthDayNanoType>())
            .ok_or_else(no_intervals)?;
        for value in values.iter().flatten() {
            self.months += i64::from(sign) * i64::from(value.months);
            self.days += i64::from(sign) * i64::from(value.days);
            self.nanos += i128::from(sign) * i128::from(value.nanoseconds);
            self.n_values += i64::from(sign);
        }
        Ok(())
    }

    fn sum(&self) -> Result<IntervalMonthDayNano> {
        let parts = (
            i32::try_from(self.months),
            i32::try_from(self.days),
            i64::try_from(self.nanos),
        );
        match parts {
            (Ok(months), Ok(days), Ok(nanos)) => Ok(IntervalMonthDayNano::new(months, days, nanos)),
            _ => Err(failure("22008", "interval out of range")),
        }
    }
}

fn no_intervals() -> DataFusionError {
    DataFusionError::Internal("a total of intervals was given something else".to_owned())
}

impl Accumulator for Totals {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count(values, 1)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.count(values, -1)
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let found = match (self.n_values, self.total) {
            (0, _) => None,
            (_, Total::Sum) => Some(self.sum()?),
            (n_values, Total::Average) => Some(quotient(self.sum()?, n_values as f64)?),
        };
        Ok(ScalarValue::IntervalMonthDayNano(found))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        Ok(vec![
            ScalarValue::Int64(Some(self.months)),
            ScalarValue::Int64(Some(self.days)),
            ScalarValue::Decimal128(Some(self.nanos), 38, 0),
            ScalarValue::Int64(Some(self.n_values)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [months, days, nanos, counts] = states else {
            return Err(no_intervals());
        };
        let whole = |column: &ArrayRef| -> i64 {
            let column = column.as_primitive::<Int64Type>();
            column.iter().flatten().sum()
        };
        self.months += whole(months);
        self.days += whole(days);
        let nanos = nanos.as_primitive::<Decimal128Type>();
        self.nanos += nanos.iter().flatten().sum::<i128>();
        self.n_values += whole(counts);
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::IntervalMonthDayNanoArray;

    use super::*;

    const HOUR: i64 = 3_600_000_000_000;

    fn column(values: Vec<Option<IntervalMonthDayNano>>) -> ArrayRef {
        Arc::new(IntervalMonthDayNanoArray::from(values))
    }

    #[test]
    fn totals_are_of_all_parts_and_may_be_merged() {
        let of = IntervalMonthDayNano::new;
        let first = column(vec![Some(of(0, 1, 0)), None, Some(of(0, 1, 2 * HOUR))]);
        let second = column(vec![Some(of(1, 0, 0))]);
        for (total, expected) in [
            (Total::Sum, of(1, 2, 2 * HOUR)),
            (Total::Average, of(0, 10, 16 * HOUR + HOUR / 60 * 40)),
        ] {
            let (mut left, mut right) = (total.accumulator(), total.accumulator());
            left.update_batch(&[Arc::clone(&first)]).unwrap();
            right.update_batch(&[Arc::clone(&second)]).unwrap();
            let state = right.state().unwrap();
            let state: Vec<ArrayRef> = state.iter().map(|part| part.to_array().unwrap()).collect();
            left.merge_batch(&state).unwrap();
            let expected = ScalarValue::IntervalMonthDayNano(Some(expected));
            assert_eq!(left.evaluate().unwrap(), expected);
        }
    }

    #[test]
    fn what_left_a_window_does_not_count() {
        let of = IntervalMonthDayNano::new;
        let mut sum = Total::Sum.accumulator();
        let days = column(vec![Some(of(0, 3, 0))]);
        sum.update_batch(&[Arc::clone(&days)]).unwrap();
        sum.retract_batch(&[days]).unwrap();
        assert!(sum.evaluate().unwrap().is_null());
        let most = column(vec![Some(of(i32::MAX, 0, 0)), Some(of(1, 0, 0))]);
        sum.update_batch(&[most]).unwrap();
        assert!(sum.evaluate().is_err());
    }
}
