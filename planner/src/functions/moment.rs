//! Dates and times as the client sees them, and the functions that make, take apart and read the clock.
//!
//! In: dates, time stamps with and without a zone, texts; out: a [`Moment`] in the client's time zone.

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeZone, Timelike, Utc};
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, IntervalMonthDayNanoArray, StringArray,
    Time64MicrosecondArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, IntervalMonthDayNano, IntervalMonthDayNanoType, Time64MicrosecondType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::error::Result;

use super::call::{Call, Function, INTERVAL, failure, function, function_of};
use super::interval::is_interval;
use super::text_input;
use crate::settings::zone_of;

/// A point of time on the client's clock.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Moment {
    pub(super) local: NaiveDateTime,
    /// Seconds east of Greenwich; `None` for what has no zone.
    pub(super) offset: Option<i32>,
}

/// A time stamp without a zone.
pub(crate) const TIMESTAMP: DataType = DataType::Timestamp(TimeUnit::Microsecond, None);
/// A time of day.
pub(super) const TIME: DataType = DataType::Time64(TimeUnit::Microsecond);

/// A time stamp with a zone.
pub(crate) fn timestamptz() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("make_timestamp", &[6], TIMESTAMP, |call| {
            let column = made(call, |local| Ok(local.and_utc().timestamp_micros()))?;
            Ok(Arc::new(column))
        }),
        function("make_timestamptz", &[6, 7], timestamptz(), |call| {
            let name = match call.args.len() {
                7 => call
                    .texts(6)?
                    .iter()
                    .next()
                    .flatten()
                    .map(ToOwned::to_owned),
                _ => None,
            };
            let zone = zone(name.as_deref().unwrap_or(call.time_zone()))?;
            let column = made(call, |local| Ok(in_zone(local, &zone)?.timestamp_micros()))?;
            Ok(Arc::new(column.with_timezone("UTC")))
        })
        .stable(),
        function("make_time", &[3], TIME, make_time),
        now("clock_timestamp").volatile(),
        now("statement_timestamp").stable(),
        now("transaction_timestamp").stable(),
        function("localtimestamp", &[0, 1], TIMESTAMP, |call| {
            let local = now_in(call.time_zone())?.and_utc().timestamp_micros();
            Ok(Arc::new(TimestampMicrosecondArray::from(vec![
                local;
                call.n_rows
            ])))
        })
        .stable(),
        function("localtime", &[0, 1], TIME, |call| {
            let time = micros_of_day(now_in(call.time_zone())?.time());
            Ok(Arc::new(Time64MicrosecondArray::from(vec![
                time;
                call.n_rows
            ])))
        })
        .stable(),
        function("timeofday", &[0], DataType::Utf8, |call| {
            let now = now_in(call.time_zone())?;
            let text = now.format("%a %b %d %H:%M:%S%.6f %Y").to_string();
            let text = format!("{text} {}", call.time_zone());
            Ok(Arc::new(StringArray::from(vec![text; call.n_rows])))
        })
        .volatile(),
        function("isfinite", &[1], DataType::Boolean, |call| {
            let nulls = call.arg(0)?.logical_nulls();
            let finite = |row| match &nulls {
                Some(nulls) if nulls.is_null(row) => None,
                _ => Some(true),
            };
            Ok(Arc::new(
                (0..call.n_rows).map(finite).collect::<BooleanArray>(),
            ))
        }),
        function_of(
            "timezone",
            &[2],
            |types| Ok(moved_type(&types[1])),
            timezone,
        )
        .stable(),
        rounder(),
        function("moments_apart", &[2], INTERVAL, apart).stable(),
    ]
}

fn now(name: &'static str) -> Function {
    function(name, &[0], timestamptz(), |call| {
        let now = Utc::now().timestamp_micros();
        let column = TimestampMicrosecondArray::from(vec![now; call.n_rows]);
        Ok(Arc::new(column.with_timezone("UTC")))
    })
}

/// The clock of a time zone.
pub(super) fn now_in(zone_name: &str) -> Result<NaiveDateTime> {
    let zone = zone(zone_name)?;
    Ok(Utc::now().with_timezone(&zone).naive_local())
}

/// A time zone by its name or offset.
pub(super) fn zone(name: &str) -> Result<Tz> {
    name.parse()
        .map_err(|_| failure("22023", format!("time zone \"{name}\" not recognized")))
}

/// The moment at which the clocks of a zone show a time; the later one where there are two, that of standard time.
pub(super) fn in_zone(local: NaiveDateTime, zone: &Tz) -> Result<DateTime<Tz>> {
    settled(local, zone, zone.from_local_datetime(&local).latest())
}

/// The same as GoogleSQL has it: the earlier one where there are two.
pub(super) fn earlier_in_zone(local: NaiveDateTime, zone: &Tz) -> Result<DateTime<Tz>> {
    settled(local, zone, zone.from_local_datetime(&local).earliest())
}

fn settled(local: NaiveDateTime, zone: &Tz, found: Option<DateTime<Tz>>) -> Result<DateTime<Tz>> {
    // In the hour that a zone skips, its offset before the gap counts.
    let found = found.or_else(|| {
        let before = local.checked_sub_signed(chrono::TimeDelta::hours(3))?;
        let offset = zone.from_local_datetime(&before).earliest()?.offset().fix();
        Some(zone.from_utc_datetime(&(local - offset)))
    });
    found.ok_or_else(|| failure("22008", "timestamp out of range"))
}

/// An argument as moments: dates, time stamps, texts; times of the first of January 1970.
pub(super) fn moments(call: &Call<'_>, idx: usize) -> Result<Vec<Option<Moment>>> {
    let data_type = call.arg(idx)?.data_type().clone();
    if data_type.is_string() {
        let read = |text: &str| -> Result<Moment> {
            let local = text_input::local_moment(text, call.time_zone())?;
            let offset = None;
            Ok(Moment { local, offset })
        };
        let texts = call.texts(idx)?;
        return texts
            .iter()
            .map(|text| text.map(read).transpose())
            .collect();
    }
    let zone = match &data_type {
        DataType::Timestamp(_, Some(_)) => Some(zone(call.time_zone())?),
        _ => None,
    };
    let to = match &data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
        _ => TIMESTAMP,
    };
    let micros = match is_time(&data_type) {
        true => cast(&cast(&call.converted(idx, &TIME)?, &DataType::Int64)?, &to)?,
        false => call.converted(idx, &to)?,
    };
    let micros = micros.as_primitive::<TimestampMicrosecondType>();
    let moment = |value: Option<i64>| {
        let utc = DateTime::from_timestamp_micros(value?)?;
        Some(match &zone {
            None => Moment {
                local: utc.naive_utc(),
                offset: None,
            },
            Some(zone) => {
                let there = utc.with_timezone(zone);
                Moment {
                    local: there.naive_local(),
                    offset: Some(there.offset().fix().local_minus_utc()),
                }
            }
        })
    };
    Ok(micros.iter().map(moment).collect())
}

/// Whether a type is a time of day.
pub(super) fn is_time(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Time32(_) | DataType::Time64(_))
}

pub(super) fn micros_of_day(time: NaiveTime) -> i64 {
    i64::from(time.num_seconds_from_midnight()) * 1_000_000 + i64::from(time.nanosecond() / 1000)
}

/// A date of numbers, or the error that there is none.
pub(super) fn date(year: i64, month: i64, day: i64) -> Result<NaiveDate> {
    let found = || {
        let (year, month) = (i32::try_from(year).ok()?, u32::try_from(month).ok()?);
        NaiveDate::from_ymd_opt(year, month, u32::try_from(day).ok()?)
    };
    found().ok_or_else(|| {
        let message = format!("date field value out of range: {year}-{month:02}-{day:02}");
        failure("22008", message)
    })
}

/// A time of numbers, or the error that there is none.
pub(super) fn time(hour: i64, minute: i64, seconds: f64) -> Result<NaiveTime> {
    let micros = (seconds * 1e6).round();
    let found = || {
        let in_range = (0..24).contains(&hour) && (0..60).contains(&minute);
        (in_range && (0.0..60e6).contains(&micros)).then_some(())?;
        let of_day = (hour * 60 + minute) * 60_000_000 + micros as i64;
        NaiveTime::from_num_seconds_from_midnight_opt(
            u32::try_from(of_day / 1_000_000).ok()?,
            u32::try_from(of_day % 1_000_000).ok()? * 1000,
        )
    };
    found().ok_or_else(|| {
        let message = format!("time field value out of range: {hour}:{minute:02}:{seconds}");
        failure("22008", message)
    })
}

fn numbers(call: &Call<'_>, n: usize) -> Result<Vec<Option<Vec<f64>>>> {
    let columns: Vec<Float64Array> = (0..n).map(|idx| call.floats(idx)).collect::<Result<_>>()?;
    let of_row = |row: usize| {
        let value = |column: &Float64Array| column.is_valid(row).then(|| column.value(row));
        columns.iter().map(value).collect()
    };
    Ok((0..call.n_rows).map(of_row).collect())
}

fn made(
    call: &Call<'_>,
    micros: impl Fn(NaiveDateTime) -> Result<i64>,
) -> Result<TimestampMicrosecondArray> {
    let of_row = |numbers: Option<Vec<f64>>| {
        let Some(numbers) = numbers else {
            return Ok(None);
        };
        let whole = |idx: usize| numbers[idx] as i64;
        let date = date(whole(0), whole(1), whole(2))?;
        let time = time(whole(3), whole(4), numbers[5])?;
        micros(date.and_time(time)).map(Some)
    };
    numbers(call, 6)?.into_iter().map(of_row).collect()
}

fn make_time(call: &Call<'_>) -> Result<ArrayRef> {
    let of_row = |numbers: Option<Vec<f64>>| {
        let Some(numbers) = numbers else {
            return Ok(None);
        };
        let time = time(numbers[0] as i64, numbers[1] as i64, numbers[2])?;
        Ok(Some(micros_of_day(time)))
    };
    let column: Result<Time64MicrosecondArray> =
        numbers(call, 3)?.into_iter().map(of_row).collect();
    Ok(Arc::new(column?))
}

/// Intervals as times of day: what is left of them after whole days.
pub(super) fn times_of_day(intervals: &ArrayRef) -> Result<ArrayRef> {
    const NANOS_PER_DAY: i64 = 86_400_000_000_000;
    let intervals = cast(intervals, &INTERVAL)?;
    let intervals = intervals.as_primitive::<IntervalMonthDayNanoType>();
    let of_day = |value: IntervalMonthDayNano| value.nanoseconds.rem_euclid(NANOS_PER_DAY) / 1000;
    let times = intervals.iter().map(|value| value.map(of_day));
    Ok(Arc::new(times.collect::<Time64MicrosecondArray>()))
}

/// Times of day as intervals.
pub(super) fn since_midnight(times: &ArrayRef) -> Result<ArrayRef> {
    let times = cast(times, &TIME)?;
    let interval = |micros: i64| IntervalMonthDayNano::new(0, 0, micros.saturating_mul(1000));
    let times = times.as_primitive::<Time64MicrosecondType>().iter();
    let intervals = times.map(|micros| micros.map(interval));
    Ok(Arc::new(intervals.collect::<IntervalMonthDayNanoArray>()))
}

/// The function that rounds times of day.
pub(super) fn rounder() -> Function {
    function("time_rounded", &[2], TIME, time_rounded)
}

/// A time with so many digits of its second: `x::time(3)`.
fn time_rounded(call: &Call<'_>) -> Result<ArrayRef> {
    let times = call.converted(0, &TIME)?;
    let times = times.as_primitive::<Time64MicrosecondType>().iter();
    let rounded = |(micros, digits): (Option<i64>, Option<i64>)| {
        let n_lost = 6 - u32::try_from(digits?).ok()?.min(6);
        let unit = 10_i64.pow(n_lost);
        Some((micros? + unit / 2) / unit * unit)
    };
    let digits = call.integers(1)?;
    let times = times.zip(digits.iter()).map(rounded);
    Ok(Arc::new(times.collect::<Time64MicrosecondArray>()))
}

/// `x AT TIME ZONE z` takes the zone away from what has one, and gives one to what has none.
fn moved_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, Some(_)) => TIMESTAMP,
        _ => timestamptz(),
    }
}

/// The zones of `AT TIME ZONE`, by the names that Arrow knows: a text of an offset counts to the west, as POSIX does, an interval
/// to the east.
fn zone_names(call: &Call<'_>) -> Result<Vec<Option<String>>> {
    const NANOS_PER_MINUTE: i64 = 60_000_000_000;
    if !is_interval(call.arg(0)?.data_type()) {
        let names = call.texts(0)?;
        return Ok(names.iter().map(|name| name.map(zone_of)).collect());
    }
    let name = |value: IntervalMonthDayNano| {
        if value.months != 0 || value.days != 0 {
            let message = "interval time zone must not include months or days";
            return Err(failure("22023", message));
        }
        let minutes = value.nanoseconds / NANOS_PER_MINUTE;
        let (sign, minutes) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
        Ok(format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60))
    };
    let intervals = call.intervals(0)?;
    let names = intervals.iter().map(|value| value.map(name).transpose());
    names.collect()
}

fn timezone(call: &Call<'_>) -> Result<ArrayRef> {
    let names = zone_names(call)?;
    let has_zone = matches!(call.arg(1)?.data_type(), DataType::Timestamp(_, Some(_)));
    let to = DataType::Timestamp(TimeUnit::Microsecond, has_zone.then(|| "UTC".into()));
    let values = call.converted(1, &to)?;
    let values = values.as_primitive::<TimestampMicrosecondType>();
    let of_row = |(name, value): (&Option<String>, Option<i64>)| {
        let (Some(name), Some(utc)) = (name, value.and_then(DateTime::from_timestamp_micros))
        else {
            return Ok(None);
        };
        let zone = zone(name)?;
        Ok(Some(match has_zone {
            true => utc
                .with_timezone(&zone)
                .naive_local()
                .and_utc()
                .timestamp_micros(),
            false => in_zone(utc.naive_utc(), &zone)?.timestamp_micros(),
        }))
    };
    let moved: TimestampMicrosecondArray = names
        .iter()
        .zip(values)
        .map(of_row)
        .collect::<Result<_>>()?;
    Ok(match has_zone {
        true => Arc::new(moved),
        false => Arc::new(moved.with_timezone("UTC")),
    })
}

/// Microseconds since 1970.
fn micros(moment: Moment) -> i64 {
    moment.local.and_utc().timestamp_micros() - i64::from(moment.offset.unwrap_or(0)) * 1_000_000
}

/// The time from the second moment to the first, in days of 24 hours.
fn apart(call: &Call<'_>) -> Result<ArrayRef> {
    const MICROS_PER_DAY: i64 = 86_400_000_000;
    let of = |(later, earlier): (Option<Moment>, Option<Moment>)| {
        let (Some(later), Some(earlier)) = (later, earlier) else {
            return Ok(None);
        };
        let apart = micros(later) - micros(earlier);
        let days = i32::try_from(apart / MICROS_PER_DAY)
            .map_err(|_| failure("22008", "interval out of range"))?;
        let nanoseconds = apart % MICROS_PER_DAY * 1000;
        Ok(Some(IntervalMonthDayNano::new(0, days, nanoseconds)))
    };
    let moments = moments(call, 0)?.into_iter().zip(moments(call, 1)?);
    let intervals: Result<IntervalMonthDayNanoArray> = moments.map(of).collect();
    Ok(Arc::new(intervals?))
}
