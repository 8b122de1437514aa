//! `date_trunc` where the planner's own gives nothing: to decades, centuries and millennia, and of intervals.
//!
//! In: a unit and a time or an interval; out: the same type, with all that is finer than the unit taken off. A time with
//! a zone is cut on the session's clock.

use std::sync::Arc;

use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime};
use datafusion::arrow::array::{
    Array, ArrayRef, IntervalMonthDayNanoArray, TimestampMicrosecondArray,
};
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano};
use datafusion::error::Result;

use super::call::{Call, Function, INTERVAL, failure, function_of};
use super::interval::is_interval;
use super::moment::{Moment, TIMESTAMP, in_zone, moments, timestamptz, zone};

/// The function's name.
pub(super) const NAME: &str = "date_trunc_far";

/// The units of years that the planner does not know.
pub(super) const YEARS: [(&str, i32); 3] = [("decade", 10), ("century", 100), ("millennium", 1000)];

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let returns = |types: &[DataType]| {
        Ok(match &types[1] {
            value if is_interval(value) => INTERVAL,
            DataType::Timestamp(_, Some(_)) => timestamptz(),
            _ => TIMESTAMP,
        })
    };
    vec![function_of(NAME, &[2], returns, cut).stable()]
}

fn cut(call: &Call<'_>) -> Result<ArrayRef> {
    let units = call.texts(0)?;
    if is_interval(call.arg(1)?.data_type()) {
        let intervals = call.intervals(1)?;
        let pairs = units.iter().zip(intervals.iter());
        let cut = |(unit, value): (Option<&str>, Option<IntervalMonthDayNano>)| match (unit, value)
        {
            (Some(unit), Some(value)) => interval(&unit.to_lowercase(), value).map(Some),
            _ => Ok(None),
        };
        let cut: IntervalMonthDayNanoArray = pairs.map(cut).collect::<Result<_>>()?;
        return Ok(Arc::new(cut));
    }
    let times = moments(call, 1)?;
    let has_zone = matches!(call.arg(1)?.data_type(), DataType::Timestamp(_, Some(_)));
    let clock = zone(call.time_zone())?;
    let cut = |(unit, time): (Option<&str>, Option<Moment>)| {
        let (Some(unit), Some(time)) = (unit, time) else {
            return Ok(None);
        };
        let local = years(&unit.to_lowercase(), time.local)?;
        Ok(Some(match has_zone {
            true => in_zone(local, &clock)?.timestamp_micros(),
            false => local.and_utc().timestamp_micros(),
        }))
    };
    let pairs = units.iter().zip(times);
    let cut: TimestampMicrosecondArray = pairs.map(cut).collect::<Result<_>>()?;
    Ok(match has_zone {
        true => Arc::new(cut.with_timezone("UTC")),
        false => Arc::new(cut),
    })
}

/// The first moment of the decade, century or millennium. Centuries begin with the year 1.
fn years(unit: &str, local: NaiveDateTime) -> Result<NaiveDateTime> {
    let Some((_, n_years)) = YEARS.iter().find(|(name, _)| *name == unit) else {
        return Err(unknown(unit, "timestamp"));
    };
    let shift = i32::from(unit != "decade");
    let year = (local.year() - shift).div_euclid(*n_years) * n_years + shift;
    let first = NaiveDate::from_ymd_opt(year, 1, 1);
    let first = first.ok_or_else(|| failure("22008", "timestamp out of range"))?;
    Ok(first.and_time(NaiveTime::MIN))
}

fn interval(unit: &str, value: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let IntervalMonthDayNano {
        months,
        days,
        nanoseconds,
    } = value;
    let to_months = |n: i32| Ok(IntervalMonthDayNano::new(months - months % n, 0, 0));
    let to_nanos = |n: i64| {
        let nanoseconds = nanoseconds - nanoseconds % n;
        Ok(IntervalMonthDayNano::new(months, days, nanoseconds))
    };
    const SECOND: i64 = 1_000_000_000;
    match unit.strip_suffix('s').unwrap_or(unit) {
        "microsecond" => to_nanos(1_000),
        "millisecond" => to_nanos(1_000_000),
        "second" => to_nanos(SECOND),
        "minute" => to_nanos(60 * SECOND),
        "hour" => to_nanos(3_600 * SECOND),
        "day" => Ok(IntervalMonthDayNano::new(months, days, 0)),
        "month" => to_months(1),
        "quarter" => to_months(3),
        "year" => to_months(12),
        "decade" => to_months(120),
        "century" | "centurie" => to_months(1_200),
        "millennium" => to_months(12_000),
        _ => Err(unknown(unit, "interval")),
    }
}

fn unknown(unit: &str, kind: &str) -> datafusion::error::DataFusionError {
    failure(
        "22023",
        format!("unit \"{unit}\" not recognized for type {kind}"),
    )
}
