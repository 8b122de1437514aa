//! Dates, times and time stamps: made of parts, of each other, of texts and of counts since 1970.
//!
//! In: values of any of these types; out: one of them. TIMESTAMP is a time stamp without a zone that shows the clock of
//! Greenwich, as does DATETIME; values with a zone are read on that clock.

use std::sync::Arc;

use chrono::{DateTime, NaiveDateTime, NaiveTime, Timelike};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Date32Array, Int64Array, Time64MicrosecondArray,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{
    DataType, Time64MicrosecondType, TimeUnit, TimestampMicrosecondType,
};
use datafusion::error::{DataFusionError, Result};

use super::super::call::{Call, Function, failure, function};
use super::super::moment::{self, TIMESTAMP, earlier_in_zone, zone};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("date", &[1, 2, 3], DataType::Date32, |call| {
            match call.args.len() {
                3 => {
                    let columns = numbers(call, 3)?;
                    let of_row = |parts: &Option<Vec<i64>>| match parts {
                        Some(parts) => {
                            let date = moment::date(parts[0], parts[1], parts[2])?;
                            Ok(Some(date.and_time(NaiveTime::MIN)))
                        }
                        None => Ok(None),
                    };
                    let dates: Vec<_> = columns.iter().map(of_row).collect::<Result<_>>()?;
                    Ok(column(Kind::Date, &dates))
                }
                _ => Ok(column(Kind::Date, &local(call)?)),
            }
        }),
        function("datetime", &[1, 2, 3, 6], TIMESTAMP, datetime),
        function("timestamp", &[1, 2], TIMESTAMP, timestamp),
        function("time", &[1, 2, 3], TIME, |call| match call.args.len() {
            3 => {
                let columns = numbers(call, 3)?;
                let of_row = |parts: &Option<Vec<i64>>| match parts {
                    Some(parts) => {
                        let time = moment::time(parts[0], parts[1], parts[2] as f64)?;
                        Ok(Some(chrono::NaiveDate::default().and_time(time)))
                    }
                    None => Ok(None),
                };
                let times: Vec<_> = columns.iter().map(of_row).collect::<Result<_>>()?;
                Ok(column(Kind::Time, &times))
            }
            _ => Ok(column(Kind::Time, &local(call)?)),
        }),
        since_1970("timestamp_seconds", 1_000_000),
        since_1970("timestamp_millis", 1_000),
        since_1970("timestamp_micros", 1),
        until("unix_seconds", 1_000_000),
        until("unix_millis", 1_000),
        until("unix_micros", 1),
        until("unix_date", 86_400_000_000),
        function("date_from_unix_date", &[1], DataType::Date32, |call| {
            let days = call.integers(0)?;
            let date = |days: i64| i32::try_from(days).map_err(|_| out_of_range());
            let dates = days.iter().map(|days| days.map(date).transpose());
            Ok(Arc::new(dates.collect::<Result<Date32Array>>()?))
        }),
    ]
}

const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);

/// What a function makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Date,
    Datetime,
    Timestamp,
    Time,
}

impl Kind {
    /// The type that holds it.
    pub(super) fn data_type(self) -> DataType {
        match self {
            Kind::Date => DataType::Date32,
            Kind::Datetime | Kind::Timestamp => TIMESTAMP,
            Kind::Time => TIME,
        }
    }
}

fn out_of_range() -> DataFusionError {
    failure("22008", "timestamp out of range")
}

/// An argument on the clock of Greenwich; a time lies in the first day of 1970.
pub(super) fn clocks(call: &Call<'_>, idx: usize) -> Result<Vec<Option<NaiveDateTime>>> {
    let array = call.arg(idx)?;
    let micros: Int64Array = match array.data_type() {
        DataType::Time32(_) | DataType::Time64(_) => {
            let times = cast(array, &TIME)?;
            let times = times.as_primitive::<Time64MicrosecondType>();
            times.iter().collect()
        }
        data_type if data_type.is_string() => {
            let texts = call.texts(idx)?;
            let read = |text: Option<&str>| text.map(read).transpose();
            texts.iter().map(read).collect::<Result<_>>()?
        }
        DataType::Null | DataType::Date32 | DataType::Date64 | DataType::Timestamp(..) => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            let moments = cast_with_options(array, &TIMESTAMP, &options)?;
            let moments = moments.as_primitive::<TimestampMicrosecondType>();
            moments.iter().collect()
        }
        other => {
            let message = format!("a date or time is expected, not {other}");
            return Err(failure("42804", message));
        }
    };
    let clock = |micros: i64| DateTime::from_timestamp_micros(micros).map(|at| at.naive_utc());
    Ok(micros.iter().map(|micros| micros.and_then(clock)).collect())
}

/// A date, a time stamp or a time as text.
fn read(text: &str) -> Result<i64> {
    use datafusion::arrow::compute::kernels::cast_utils::string_to_timestamp_nanos;
    let text = text.trim();
    if let Ok(time) = text.parse::<NaiveTime>() {
        let micros = i64::from(time.num_seconds_from_midnight()) * 1_000_000;
        return Ok(micros + i64::from(time.nanosecond() / 1_000));
    }
    // Years beyond the reach of nanoseconds are those of dates.
    if let Ok(date) = text.parse::<chrono::NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc().timestamp_micros());
    }
    let plain = text.strip_suffix("UTC").unwrap_or(text).trim_end();
    if let Ok(moment) = string_to_timestamp_nanos(plain) {
        return Ok(moment.div_euclid(1_000));
    }
    // `2008-12-25 15:30:00 America/Los_Angeles`
    let named = plain.rsplit_once(' ').and_then(|(local, name)| {
        let zone = zone(name).ok()?;
        let local = string_to_timestamp_nanos(local.trim_end()).ok()?;
        let local = DateTime::from_timestamp_nanos(local).naive_utc();
        Some(earlier_in_zone(local, &zone).ok()?.timestamp_micros())
    });
    named.ok_or_else(|| {
        let message = format!("invalid input syntax for type timestamp: \"{text}\"");
        failure("22007", message)
    })
}

/// One column of moments.
pub(super) fn column(kind: Kind, moments: &[Option<NaiveDateTime>]) -> ArrayRef {
    let of_day = |moment: &NaiveDateTime| {
        i64::from(moment.num_seconds_from_midnight()) * 1_000_000
            + i64::from(moment.nanosecond() / 1_000)
    };
    let micros = |moment: &NaiveDateTime| moment.and_utc().timestamp_micros();
    match kind {
        Kind::Date => {
            // Days of the calendar fit: chrono's years have six digits.
            let days = |moment: &NaiveDateTime| micros(moment).div_euclid(86_400_000_000) as i32;
            let days = moments.iter().map(|moment| moment.as_ref().map(days));
            Arc::new(days.collect::<Date32Array>())
        }
        Kind::Datetime | Kind::Timestamp => {
            let micros = moments.iter().map(|moment| moment.as_ref().map(micros));
            Arc::new(micros.collect::<TimestampMicrosecondArray>())
        }
        Kind::Time => {
            let times = moments.iter().map(|moment| moment.as_ref().map(of_day));
            Arc::new(times.collect::<Time64MicrosecondArray>())
        }
    }
}

fn numbers(call: &Call<'_>, n: usize) -> Result<Vec<Option<Vec<i64>>>> {
    let columns: Vec<Int64Array> = (0..n)
        .map(|idx| call.integers(idx))
        .collect::<Result<_>>()?;
    let of_row = |row: usize| {
        let value = |column: &Int64Array| column.is_valid(row).then(|| column.value(row));
        columns.iter().map(value).collect()
    };
    Ok((0..call.n_rows).map(of_row).collect())
}

/// The first argument on the clock of the zone that the second one names, or of Greenwich.
fn local(call: &Call<'_>) -> Result<Vec<Option<NaiveDateTime>>> {
    let moments = clocks(call, 0)?;
    if call.args.len() == 1 {
        return Ok(moments);
    }
    let zones = call.texts(1)?;
    let there = |(moment, name): (Option<NaiveDateTime>, Option<&str>)| match (moment, name) {
        (Some(moment), Some(name)) => {
            let zone = zone(name)?;
            Ok(Some(moment.and_utc().with_timezone(&zone).naive_local()))
        }
        _ => Ok(None),
    };
    moments.into_iter().zip(zones.iter()).map(there).collect()
}

/// `DATETIME(timestamp [, zone])`, `DATETIME(date, time)`, `DATETIME(year, month, day, hour, minute, second)`.
fn datetime(call: &Call<'_>) -> Result<ArrayRef> {
    if call.args.len() == 6 {
        let columns = numbers(call, 6)?;
        let of_row = |parts: &Option<Vec<i64>>| match parts {
            Some(parts) => {
                let date = moment::date(parts[0], parts[1], parts[2])?;
                let time = moment::time(parts[3], parts[4], parts[5] as f64)?;
                Ok(Some(date.and_time(time)))
            }
            None => Ok(None),
        };
        let moments: Vec<_> = columns.iter().map(of_row).collect::<Result<_>>()?;
        return Ok(column(Kind::Datetime, &moments));
    }
    let is_time =
        |array: &ArrayRef| matches!(array.data_type(), DataType::Time32(_) | DataType::Time64(_));
    if call.args.len() == 2 && is_time(call.arg(1)?) {
        let (dates, times) = (clocks(call, 0)?, clocks(call, 1)?);
        let joined = dates
            .into_iter()
            .zip(times)
            .map(|(date, time)| Some(date?.date().and_time(time?.time())));
        return Ok(column(Kind::Datetime, &joined.collect::<Vec<_>>()));
    }
    Ok(column(Kind::Datetime, &local(call)?))
}

/// `TIMESTAMP(x [, zone])`: the moment at which the clocks of a zone show `x`.
fn timestamp(call: &Call<'_>) -> Result<ArrayRef> {
    let moments = clocks(call, 0)?;
    if call.args.len() == 1 {
        return Ok(column(Kind::Timestamp, &moments));
    }
    let zones = call.texts(1)?;
    let here = |(moment, name): (Option<NaiveDateTime>, Option<&str>)| match (moment, name) {
        (Some(moment), Some(name)) => Ok(Some(earlier_in_zone(moment, &zone(name)?)?.naive_utc())),
        _ => Ok(None),
    };
    let moments: Vec<_> = moments
        .into_iter()
        .zip(zones.iter())
        .map(here)
        .collect::<Result<_>>()?;
    Ok(column(Kind::Timestamp, &moments))
}

/// A time stamp from a count of units since 1970.
fn since_1970(name: &'static str, micros: i64) -> Function {
    function(name, &[1], TIMESTAMP, move |call| {
        let counts = call.integers(0)?;
        let of = |count: i64| count.checked_mul(micros).ok_or_else(out_of_range);
        let moments = counts.iter().map(|count| count.map(of).transpose());
        Ok(Arc::new(
            moments.collect::<Result<TimestampMicrosecondArray>>()?,
        ))
    })
}

/// The count of units since 1970.
fn until(name: &'static str, micros: i64) -> Function {
    function(name, &[1], DataType::Int64, move |call| {
        let count = |moment: NaiveDateTime| moment.and_utc().timestamp_micros().div_euclid(micros);
        let counts = clocks(call, 0)?.into_iter();
        let counts = counts.map(|moment| moment.map(count));
        Ok(Arc::new(counts.collect::<Int64Array>()))
    })
}
