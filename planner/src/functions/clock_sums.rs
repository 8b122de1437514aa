//! Moments with a zone, and intervals before or after them: days and months are those of the session's calendar, so that a day
//! later the clock shows the same time, also where an hour was skipped or came twice between.
//!
//! In: moments, intervals and the name of a zone; out: moments. The planner itself counts by the calendar of Greenwich.

use std::sync::Arc;

use chrono::{DateTime, Days, Months, NaiveDateTime, TimeDelta};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, TimestampMicrosecondArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Field, IntervalMonthDayNano, TimestampMicrosecondType,
};
use datafusion::common::DFSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable as _, Operator, lit};

use super::call::{Call, Function, failure, function_of};
use super::interval::is_interval;
use super::moment::{in_zone, timestamptz, zone};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    [Way::Later, Way::Earlier].map(function).into()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Later,
    Earlier,
}

fn function(way: Way) -> Function {
    let name = match way {
        Way::Later => "later_on_clock",
        Way::Earlier => "earlier_on_clock",
    };
    let returns = |types: &[DataType]| Ok(types[0].clone());
    let of = function_of(name, &[3], returns, move |call| moved(call, way));
    of.returning(|args| {
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let moment = args.arg_fields[0].data_type().clone();
        Ok(Field::new("value", moment, is_nullable))
    })
}

/// The sum or difference of a moment with a zone and an interval on the clock of a zone; `None`: an operator is another.
pub(super) fn on_clock(binary: &BinaryExpr, zone_name: &str, schema: &DFSchema) -> Option<Expr> {
    let way = match binary.op {
        Operator::Plus => Way::Later,
        Operator::Minus => Way::Earlier,
        _ => return None,
    };
    let left = binary.left.get_type(schema).ok()?;
    let right = binary.right.get_type(schema).ok()?;
    let is_moment = |found: &DataType| matches!(found, DataType::Timestamp(_, Some(_)));
    let (moment, interval) = match (left, right) {
        (left, right) if is_moment(&left) && is_interval(&right) => (&binary.left, &binary.right),
        (left, right) if is_interval(&left) && is_moment(&right) && way == Way::Later => {
            (&binary.right, &binary.left)
        }
        _ => return None,
    };
    let args = vec![
        moment.as_ref().clone(),
        interval.as_ref().clone(),
        lit(zone_name),
    ];
    Some(function(way).build().call(args))
}

fn moved(call: &Call<'_>, way: Way) -> Result<ArrayRef> {
    let array = call.arg(0)?;
    let moments = cast(array, &timestamptz())?;
    let moments = moments.as_primitive::<TimestampMicrosecondType>();
    let intervals = call.intervals(1)?;
    let names = call.texts(2)?;
    // It is the same for all rows.
    let zone = match names.iter().flatten().next() {
        Some(name) => zone(name)?,
        None => zone("UTC")?,
    };
    let of = |(moment, interval): (Option<i64>, Option<IntervalMonthDayNano>)| {
        let (Some(moment), Some(interval)) = (moment, interval) else {
            return Ok(None);
        };
        let interval = match way {
            Way::Later => Some(interval),
            Way::Earlier => negated(interval),
        };
        let interval = interval.ok_or_else(out_of_range)?;
        later(moment, interval, &zone).map(Some)
    };
    let sums = moments.iter().zip(intervals.iter()).map(of);
    let sums: TimestampMicrosecondArray = sums.collect::<Result<_>>()?;
    let sums: ArrayRef = Arc::new(sums.with_timezone("UTC"));
    Ok(cast(&sums, array.data_type())?)
}

fn negated(interval: IntervalMonthDayNano) -> Option<IntervalMonthDayNano> {
    Some(IntervalMonthDayNano::new(
        interval.months.checked_neg()?,
        interval.days.checked_neg()?,
        interval.nanoseconds.checked_neg()?,
    ))
}

fn out_of_range() -> DataFusionError {
    failure("22008", "timestamp out of range")
}

/// The moment that is an interval after another, both in microseconds: first so many months later, then so many days, each
/// time as the clocks of the zone show it, then its time.
pub(super) fn later(moment: i64, interval: IntervalMonthDayNano, zone: &Tz) -> Result<i64> {
    let IntervalMonthDayNano {
        months,
        days,
        nanoseconds,
    } = interval;
    let mut moment = DateTime::from_timestamp_micros(moment).ok_or_else(out_of_range)?;
    let mut on_clock = |of: &dyn Fn(NaiveDateTime) -> Option<NaiveDateTime>| {
        let local = of(moment.with_timezone(zone).naive_local()).ok_or_else(out_of_range)?;
        moment = in_zone(local, zone)?.to_utc();
        Ok::<(), DataFusionError>(())
    };
    if months != 0 {
        let size = Months::new(months.unsigned_abs());
        on_clock(&|local| match months < 0 {
            true => local.checked_sub_months(size),
            false => local.checked_add_months(size),
        })?;
    }
    if days != 0 {
        let size = Days::new(days.unsigned_abs().into());
        on_clock(&|local| match days < 0 {
            true => local.checked_sub_days(size),
            false => local.checked_add_days(size),
        })?;
    }
    let time = TimeDelta::nanoseconds(nanoseconds);
    let sum = moment.checked_add_signed(time).ok_or_else(out_of_range)?;
    Ok(sum.timestamp_micros())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_months_are_those_of_the_zone() {
        let micros = |text: &str| {
            DateTime::parse_from_rfc3339(text)
                .unwrap()
                .timestamp_micros()
        };
        let of = |text, zone_name: &str, months, days, nanoseconds| {
            let interval = IntervalMonthDayNano::new(months, days, nanoseconds);
            later(micros(text), interval, &zone(zone_name).unwrap()).unwrap()
        };
        let berlin = "Europe/Berlin";
        assert_eq!(
            of("2024-03-01T00:00:00+01:00", berlin, 1, 0, 0),
            micros("2024-04-01T00:00:00+02:00")
        );
        assert_eq!(
            of("2024-04-01T00:00:00+02:00", berlin, 0, -1, 0),
            micros("2024-03-31T00:00:00+01:00")
        );
        // The hour that is skipped comes after it, and a time is as long as it is.
        assert_eq!(
            of("2024-03-30T02:30:00+01:00", berlin, 0, 1, 0),
            micros("2024-03-31T03:30:00+02:00")
        );
        assert_eq!(
            of(
                "2024-03-31T00:00:00+01:00",
                berlin,
                0,
                0,
                86_400_000_000_000
            ),
            micros("2024-04-01T01:00:00+02:00")
        );
    }
}
