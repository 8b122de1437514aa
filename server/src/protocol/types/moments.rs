//! Dates, times, timestamps and intervals of any Arrow unit.
//!
//! In: an array; out: a writer of PostgreSQL's text or binary form, in days or microseconds. What is
//! finer than a microsecond is cut off, since PostgreSQL knows nothing finer.

use bytes::BufMut;
use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::array::types::{
    Date32Type, Date64Type, DurationMicrosecondType, DurationMillisecondType,
    DurationNanosecondType, DurationSecondType, IntervalDayTimeType, IntervalMonthDayNanoType,
    IntervalYearMonthType, Time32MillisecondType, Time32SecondType, Time64MicrosecondType,
    Time64NanosecondType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType,
};
use datafusion::arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::encode::{CellWriter, Getter, Style, getter, ignore};
use super::text::{
    DAY, write_date, write_interval, write_iso_interval, write_time, write_timestamp,
    write_timestamptz,
};
use super::text_forms::IntervalForm;

/// Days from 1970 to 2000, where PostgreSQL's binary dates begin.
pub(super) const EPOCH_DAYS: i64 = 10_957;
/// The same for timestamps.
pub(super) const EPOCH_MICROS: i64 = EPOCH_DAYS * DAY;

/// A writer of dates, times, timestamps or intervals; `None` when the array holds none.
pub(super) fn moment_writer(array: &ArrayRef, pg_type: &Type, style: Style) -> Option<CellWriter> {
    let text = style.format == FieldFormat::Text;
    if *pg_type == Type::INTERVAL {
        let get = intervals(array)?;
        return Some(Box::new(move |row, out| {
            let (months, days, micros) = get(row);
            if text {
                return ignore(match style.intervals {
                    IntervalForm::Postgres => write_interval(months, days, micros, out),
                    IntervalForm::Iso8601 => write_iso_interval(months, days, micros, out),
                });
            }
            out.put_i64(micros);
            out.put_i32(days);
            out.put_i32(months);
        }));
    }
    let get = moments(array)?;
    let Style {
        zone, separator, ..
    } = style;
    Some(match (pg_type, text) {
        (&Type::DATE, true) => Box::new(move |row, out| ignore(write_date(get(row), out))),
        (&Type::DATE, false) => {
            // What is beyond PostgreSQL's days is its last or first number, which it takes for infinite.
            const FIRST: i64 = i32::MIN as i64;
            const LAST: i64 = i32::MAX as i64;
            Box::new(move |row, out| out.put_i32((get(row) - EPOCH_DAYS).clamp(FIRST, LAST) as i32))
        }
        (&Type::TIME, true) => Box::new(move |row, out| ignore(write_time(get(row), out))),
        (&Type::TIME, false) => Box::new(move |row, out| out.put_i64(get(row))),
        (&Type::TIMESTAMP, true) => {
            Box::new(move |row, out| ignore(write_timestamp(get(row), separator, out)))
        }
        (_, true) => {
            Box::new(move |row, out| ignore(write_timestamptz(get(row), zone, separator, out)))
        }
        (_, false) => Box::new(move |row, out| out.put_i64(get(row).saturating_sub(EPOCH_MICROS))),
    })
}

/// Days for dates, microseconds for times and timestamps.
fn moments(array: &ArrayRef) -> Option<Getter<i64>> {
    match array.data_type() {
        DataType::Date32 => getter::<Date32Type, _>(array, i64::from),
        DataType::Date64 => getter::<Date64Type, _>(array, |value| value.div_euclid(86_400_000)),
        DataType::Time32(TimeUnit::Second) => {
            getter::<Time32SecondType, _>(array, |value| i64::from(value) * 1_000_000)
        }
        DataType::Time32(_) => {
            getter::<Time32MillisecondType, _>(array, |value| i64::from(value) * 1_000)
        }
        DataType::Time64(TimeUnit::Nanosecond) => {
            getter::<Time64NanosecondType, _>(array, |value| value / 1_000)
        }
        DataType::Time64(_) => getter::<Time64MicrosecondType, _>(array, |value| value),
        DataType::Timestamp(unit, _) => match unit {
            TimeUnit::Second => {
                getter::<TimestampSecondType, _>(array, |value| value.saturating_mul(1_000_000))
            }
            TimeUnit::Millisecond => {
                getter::<TimestampMillisecondType, _>(array, |value| value.saturating_mul(1_000))
            }
            TimeUnit::Microsecond => getter::<TimestampMicrosecondType, _>(array, |value| value),
            TimeUnit::Nanosecond => {
                getter::<TimestampNanosecondType, _>(array, |value| value.div_euclid(1_000))
            }
        },
        _ => None,
    }
}

/// Months, days and microseconds.
fn intervals(array: &ArrayRef) -> Option<Getter<(i32, i32, i64)>> {
    match array.data_type() {
        DataType::Interval(IntervalUnit::YearMonth) => {
            getter::<IntervalYearMonthType, _>(array, |months| (months, 0, 0))
        }
        DataType::Interval(IntervalUnit::DayTime) => {
            getter::<IntervalDayTimeType, _>(array, |value| {
                (0, value.days, i64::from(value.milliseconds) * 1_000)
            })
        }
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            getter::<IntervalMonthDayNanoType, _>(array, |value| {
                (value.months, value.days, value.nanoseconds / 1_000)
            })
        }
        DataType::Duration(TimeUnit::Second) => {
            getter::<DurationSecondType, _>(array, |value| (0, 0, value.saturating_mul(1_000_000)))
        }
        DataType::Duration(TimeUnit::Millisecond) => {
            getter::<DurationMillisecondType, _>(array, |value| (0, 0, value.saturating_mul(1_000)))
        }
        DataType::Duration(TimeUnit::Microsecond) => {
            getter::<DurationMicrosecondType, _>(array, |value| (0, 0, value))
        }
        DataType::Duration(TimeUnit::Nanosecond) => {
            getter::<DurationNanosecondType, _>(array, |value| (0, 0, value / 1_000))
        }
        _ => None,
    }
}

/// The months, days and nanoseconds of an interval in PostgreSQL's own text form; `None` for others.
pub(super) fn parse_interval(text: &str) -> Option<(i32, i32, i64)> {
    let (mut months, mut days, mut nanos) = (0_i32, 0_i32, 0_i64);
    let mut words = text.split_whitespace().peekable();
    words.peek()?;
    while let Some(word) = words.next() {
        if word.contains(':') {
            nanos = nanos.checked_add(clock_nanos(word)?)?;
            continue;
        }
        let count: i32 = word.parse().ok()?;
        // Python writes `1 day, 2:03:04`.
        match words.next()?.trim_end_matches(['s', ',']) {
            "year" => months = months.checked_add(count.checked_mul(12)?)?,
            "mon" | "month" => months = months.checked_add(count)?,
            "day" => days = days.checked_add(count)?,
            _ => return None,
        }
    }
    Some((months, days, nanos))
}

/// `[+-]HH:MM[:SS[.fraction]]`.
fn clock_nanos(text: &str) -> Option<i64> {
    let (sign, text) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = text.split(':');
    let mut field = || {
        parts
            .next()
            .and_then(|part| part.parse::<u32>().ok())
            .map(i64::from)
    };
    let (hours, minutes) = (field()?, field()?);
    let (seconds, fraction) = match parts.next() {
        None => ("0", ""),
        Some(seconds) => seconds.split_once('.').unwrap_or((seconds, "")),
    };
    let seconds = i64::from(seconds.parse::<u32>().ok()?);
    let nanos: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    if parts.next().is_some() {
        return None;
    }
    let total = hours
        .checked_mul(3_600)?
        .checked_add(minutes * 60 + seconds)?;
    Some(
        sign * total
            .checked_mul(1_000_000_000)?
            .checked_add(i64::from(nanos))?,
    )
}
