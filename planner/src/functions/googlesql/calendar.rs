//! Units of time: `DATE_ADD`, `TIMESTAMP_TRUNC`, `DATETIME_DIFF`, `EXTRACT`, `LAST_DAY`.
//!
//! In: dates, times, time stamps on the clock of Greenwich, or their texts, and a unit (`day`, `week_monday`); out: the
//! same kind of value, or a count. GoogleSQL's weeks begin on Sunday, unless another day or the ISO week is named.

use std::sync::Arc;

use chrono::{
    DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, TimeDelta, Timelike, Weekday,
};
use datafusion::arrow::array::{ArrayRef, Int64Array};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};

use super::super::call::{Call, Function, failure, function};
use super::super::moment::{earlier_in_zone, zone};
use super::moments::{Kind, clocks, column};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    use Kind::{Date, Datetime, Time, Timestamp};
    let mut functions = vec![
        function("googlesql.extract", &[2], DataType::Int64, extract),
        function("last_day", &[1, 2], DataType::Date32, last_day),
    ];
    for (kind, add, trunc, diff) in [
        (
            Date,
            "googlesql.date_add",
            "googlesql.date_trunc",
            "googlesql.date_diff",
        ),
        (
            Datetime,
            "googlesql.datetime_add",
            "googlesql.datetime_trunc",
            "googlesql.datetime_diff",
        ),
        (
            Timestamp,
            "googlesql.timestamp_add",
            "googlesql.timestamp_trunc",
            "googlesql.timestamp_diff",
        ),
        (
            Time,
            "googlesql.time_add",
            "googlesql.time_trunc",
            "googlesql.time_diff",
        ),
    ] {
        functions.push(moved(add, &[3], kind, added));
        functions.push(moved(trunc, &[2, 3], kind, cut));
        functions.push(function(diff, &[3], DataType::Int64, move |call| {
            let (a, b) = (clocks(call, 0)?, clocks(call, 1)?);
            with_units(call, 2, |row, unit| match (a[row], b[row]) {
                (Some(a), Some(b)) => difference(kind, a, b, unit).map(Some),
                _ => Ok(None),
            })
            .map(|values| Arc::new(Int64Array::from(values)) as ArrayRef)
        }));
    }
    functions
}

/// A function whose value is of the kind of its first argument, which for a date may also be a time stamp.
fn moved(
    name: &'static str,
    arities: &'static [usize],
    kind: Kind,
    of: fn(&Call<'_>) -> Result<Vec<Option<NaiveDateTime>>>,
) -> Function {
    let kind_of = move |first: &DataType| match first {
        DataType::Timestamp(..) if kind == Kind::Date => Kind::Datetime,
        _ => kind,
    };
    super::super::call::function_of(
        name,
        arities,
        move |types| Ok(kind_of(&types[0]).data_type()),
        move |call| Ok(column(kind_of(call.arg(0)?.data_type()), &of(call)?)),
    )
}

/// A unit of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// So many microseconds: up to an hour, which all days share.
    Micros(i64),
    Day,
    /// A week that begins on a day.
    Week(Weekday),
    Month,
    Quarter,
    Year,
    IsoYear,
}

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

impl Unit {
    pub(super) fn read(word: &str) -> Result<Unit> {
        Ok(match word {
            "microsecond" => Unit::Micros(1),
            "millisecond" => Unit::Micros(1_000),
            "second" => Unit::Micros(SECOND),
            "minute" => Unit::Micros(60 * SECOND),
            "hour" => Unit::Micros(3_600 * SECOND),
            "day" => Unit::Day,
            "week" => Unit::Week(Weekday::Sun),
            "isoweek" => Unit::Week(Weekday::Mon),
            "month" => Unit::Month,
            "quarter" => Unit::Quarter,
            "year" => Unit::Year,
            "isoyear" => Unit::IsoYear,
            other => match other.strip_prefix("week_").map(str::parse) {
                Some(Ok(day)) => Unit::Week(day),
                _ => return Err(unknown(other)),
            },
        })
    }
}

fn unknown(unit: &str) -> DataFusionError {
    failure("22023", format!("unit \"{unit}\" not recognized"))
}

fn out_of_range() -> DataFusionError {
    failure("22008", "timestamp out of range")
}

/// Calls `of` with each row and its unit, which is argument `idx`.
fn with_units<T>(
    call: &Call<'_>,
    idx: usize,
    of: impl Fn(usize, Unit) -> Result<Option<T>>,
) -> Result<Vec<Option<T>>> {
    let words = call.texts(idx)?;
    let of_row = |(row, word): (usize, Option<&str>)| match word {
        Some(word) => of(row, Unit::read(word)?),
        None => Ok(None),
    };
    words.iter().enumerate().map(of_row).collect()
}

fn added(call: &Call<'_>) -> Result<Vec<Option<NaiveDateTime>>> {
    let (moments, counts) = (clocks(call, 0)?, call.integers(1)?);
    let counts: Vec<Option<i64>> = counts.iter().collect();
    with_units(call, 2, |row, unit| match (moments[row], counts[row]) {
        (Some(moment), Some(count)) => later(moment, count, unit)
            .map(Some)
            .ok_or_else(out_of_range),
        _ => Ok(None),
    })
}

/// The moment so many units later; the last day of a month that is too short.
pub(super) fn later(moment: NaiveDateTime, count: i64, unit: Unit) -> Option<NaiveDateTime> {
    let months = |each: i64| {
        let months = count.checked_mul(each)?;
        let size = Months::new(u32::try_from(months.unsigned_abs()).ok()?);
        match months < 0 {
            true => moment.checked_sub_months(size),
            false => moment.checked_add_months(size),
        }
    };
    let days = |each: i64| {
        let days = count.checked_mul(each)?;
        let size = Days::new(days.unsigned_abs());
        match days < 0 {
            true => moment.checked_sub_days(size),
            false => moment.checked_add_days(size),
        }
    };
    match unit {
        Unit::Micros(each) => {
            moment.checked_add_signed(TimeDelta::microseconds(count.checked_mul(each)?))
        }
        Unit::Day => days(1),
        Unit::Week(_) => days(7),
        Unit::Month => months(1),
        Unit::Quarter => months(3),
        Unit::Year | Unit::IsoYear => months(12),
    }
}

fn cut(call: &Call<'_>) -> Result<Vec<Option<NaiveDateTime>>> {
    let moments = clocks(call, 0)?;
    let zones = match call.args.len() {
        3 => Some(call.texts(2)?),
        _ => None,
    };
    let zones: Option<Vec<Option<&str>>> = zones.as_ref().map(|zones| zones.iter().collect());
    with_units(call, 1, |row, unit| {
        let Some(moment) = moments[row] else {
            return Ok(None);
        };
        let Some(zones) = &zones else {
            return start(moment, unit).map(Some).ok_or_else(out_of_range);
        };
        let Some(name) = zones[row] else {
            return Ok(None);
        };
        // Cut on the clock of a zone, and set back.
        let zone = zone(name)?;
        let there = moment.and_utc().with_timezone(&zone).naive_local();
        let cut = start(there, unit).ok_or_else(out_of_range)?;
        Ok(Some(earlier_in_zone(cut, &zone)?.naive_utc()))
    })
}

/// The first moment of the unit in which a moment lies.
fn start(moment: NaiveDateTime, unit: Unit) -> Option<NaiveDateTime> {
    let date = moment.date();
    let first = match unit {
        Unit::Micros(each) => {
            let micros = moment.and_utc().timestamp_micros();
            let cut = micros - micros.rem_euclid(each);
            return DateTime::from_timestamp_micros(cut).map(|moment| moment.naive_utc());
        }
        Unit::Day => date,
        Unit::Week(first) => {
            date.checked_sub_days(Days::new(u64::from(date.weekday().days_since(first))))?
        }
        Unit::Month => date.with_day(1)?,
        Unit::Quarter => date.with_day(1)?.with_month(date.month0() / 3 * 3 + 1)?,
        Unit::Year => NaiveDate::from_ymd_opt(date.year(), 1, 1)?,
        Unit::IsoYear => NaiveDate::from_isoywd_opt(date.iso_week().year(), 1, Weekday::Mon)?,
    };
    Some(first.and_time(chrono::NaiveTime::MIN))
}

/// How many units lie between two moments: the boundaries that are crossed, or for time stamps what has passed.
fn difference(kind: Kind, a: NaiveDateTime, b: NaiveDateTime, unit: Unit) -> Result<i64> {
    let micros = |moment: NaiveDateTime| moment.and_utc().timestamp_micros();
    if kind == Kind::Timestamp {
        let each = match unit {
            Unit::Micros(each) => each,
            Unit::Day => DAY,
            _ => {
                let message = "TIMESTAMP_DIFF counts days and shorter units";
                return Err(failure("22023", message));
            }
        };
        return Ok((micros(a) - micros(b)) / each);
    }
    let months = |moment: NaiveDateTime| i64::from(moment.year()) * 12 + i64::from(moment.month0());
    let days = |moment: NaiveDateTime| i64::from(moment.date().num_days_from_ce());
    Ok(match unit {
        Unit::Micros(each) => micros(a).div_euclid(each) - micros(b).div_euclid(each),
        Unit::Day => days(a) - days(b),
        Unit::Week(_) => {
            let first = |moment| start(moment, unit).map(days).ok_or_else(out_of_range);
            (first(a)? - first(b)?) / 7
        }
        Unit::Month => months(a) - months(b),
        Unit::Quarter => months(a).div_euclid(3) - months(b).div_euclid(3),
        Unit::Year => i64::from(a.year()) - i64::from(b.year()),
        Unit::IsoYear => i64::from(a.iso_week().year()) - i64::from(b.iso_week().year()),
    })
}

/// A part of a date or time as a whole number.
fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let (parts, moments) = (call.texts(0)?, clocks(call, 1)?);
    let of_row = |(part, moment): (Option<&str>, Option<NaiveDateTime>)| match (part, moment) {
        (Some(name), Some(moment)) => part_of(moment, name).map(Some).ok_or_else(|| unknown(name)),
        _ => Ok(None),
    };
    let values: Int64Array = parts
        .iter()
        .zip(moments)
        .map(of_row)
        .collect::<Result<_>>()?;
    Ok(Arc::new(values))
}

fn part_of(moment: NaiveDateTime, part: &str) -> Option<i64> {
    let micros = moment.nanosecond() / 1_000;
    Some(i64::from(match part {
        "microsecond" => micros,
        "millisecond" => micros / 1_000,
        "second" => moment.second(),
        "minute" => moment.minute(),
        "hour" => moment.hour(),
        "day" => moment.day(),
        // Sunday is 1.
        "dayofweek" => moment.weekday().number_from_sunday(),
        "dayofyear" => moment.ordinal(),
        "isoweek" => moment.iso_week().week(),
        "month" => moment.month(),
        "quarter" => moment.month0() / 3 + 1,
        "year" => return Some(i64::from(moment.year())),
        "isoyear" => return Some(i64::from(moment.iso_week().year())),
        // PostgreSQL's fields of the same statement.
        "dow" => moment.weekday().num_days_from_sunday(),
        "doy" => moment.ordinal(),
        "isodow" => moment.weekday().number_from_monday(),
        "epoch" => return Some(moment.and_utc().timestamp()),
        _ => match Unit::read(part).ok()? {
            // The days before the first such day of a year are in week 0.
            Unit::Week(first) => (moment.ordinal0() + 7 - moment.weekday().days_since(first)) / 7,
            _ => return None,
        },
    }))
}

fn last_day(call: &Call<'_>) -> Result<ArrayRef> {
    let moments = clocks(call, 0)?;
    let last = |moment: NaiveDateTime, unit: Unit| {
        let next = later(start(moment, unit)?, 1, unit)?;
        // A year of ISO weeks has no fixed length.
        let next = match unit {
            Unit::IsoYear => start(next.checked_add_days(Days::new(7))?, unit)?,
            _ => next,
        };
        next.checked_sub_days(Days::new(1))
    };
    let found = match call.args.len() {
        1 => moments
            .into_iter()
            .map(|moment| moment.map(|moment| last(moment, Unit::Month)))
            .map(|last| last.map(|last| last.ok_or_else(out_of_range)).transpose())
            .collect::<Result<Vec<_>>>()?,
        _ => with_units(call, 1, |row, unit| {
            let found = moments[row].map(|moment| last(moment, unit).ok_or_else(out_of_range));
            found.transpose()
        })?,
    };
    Ok(column(Kind::Date, &found))
}
