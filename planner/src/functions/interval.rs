//! Intervals: their text, arithmetic with numbers, `age`, `justify_*` and `make_interval`.
//!
//! In: months, days and time, which PostgreSQL keeps apart; out: the same. A fraction of a month is
//! carried to days of which a month has 30, a fraction of a day to hours of which it has 24.

use std::sync::Arc;

use chrono::{Datelike, NaiveDate, NaiveDateTime, Timelike};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, Decimal128Array, IntervalMonthDayNanoArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, IntervalMonthDayNanoType};
use datafusion::error::Result;

use super::call::{Call, Function, INTERVAL, failure, function, function_of};
use super::dimensions::{in_place_of, map_elements};
use super::moment::moments;

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;
const MONTHS_PER_YEAR: f64 = 12.0;
const DAYS_PER_MONTH: f64 = 30.0;

/// A number in the order of intervals.
pub(super) const KEY: DataType = DataType::Decimal128(38, 0);

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("to_interval", &[1], INTERVAL, |call| {
            Ok(Arc::new(call.intervals(0)?))
        }),
        function("interval_times", &[2], INTERVAL, |call| {
            scaled(call, |value, factor| {
                Parts::of(value).scaled(|part| part * factor).interval()
            })
        }),
        function("interval_divided", &[2], INTERVAL, |call| {
            scaled(call, quotient)
        }),
        key_function(),
        function("justify_days", &[1], INTERVAL, |call| {
            each(call, |parts| parts.justify_days())
        }),
        function("justify_hours", &[1], INTERVAL, |call| {
            each(call, |parts| parts.justify_hours())
        }),
        function("justify_interval", &[1], INTERVAL, |call| {
            each(call, |parts| {
                parts.with_whole_days().with_whole_months().same_sign()
            })
        }),
        function(
            "make_interval",
            &[0, 1, 2, 3, 4, 5, 6, 7],
            INTERVAL,
            make_interval,
        ),
        function("age", &[1, 2], INTERVAL, age).stable(),
    ]
}

/// Months, days and microseconds, wide enough that no sum of two overflows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Parts {
    months: f64,
    days: f64,
    micros: f64,
}

impl Parts {
    fn of(value: IntervalMonthDayNano) -> Parts {
        Parts {
            months: f64::from(value.months),
            days: f64::from(value.days),
            // Lossless up to 104 days, beyond that to a microsecond.
            micros: value.nanoseconds as f64 / 1000.0,
        }
    }

    /// Carries fractions down: of months to days, of days to time.
    fn settled(self) -> Parts {
        let days = self.days + rounded(self.months.fract() * DAYS_PER_MONTH);
        let micros = self.micros + (days.fract() * MICROS_PER_DAY as f64).round();
        Parts {
            months: self.months.trunc(),
            days: days.trunc(),
            micros: micros.round(),
        }
    }

    fn interval(self) -> Result<IntervalMonthDayNano> {
        let parts = self.settled();
        let fits = |value: f64| value.abs() <= f64::from(i32::MAX);
        let nanos = parts.micros * 1000.0;
        if !fits(parts.months) || !fits(parts.days) || nanos.abs() >= i64::MAX as f64 {
            return Err(failure("22008", "interval out of range"));
        }
        Ok(IntervalMonthDayNano::new(
            parts.months as i32,
            parts.days as i32,
            (parts.micros as i64) * 1000,
        ))
    }

    fn negated(self) -> Parts {
        Parts {
            months: -self.months,
            days: -self.days,
            micros: -self.micros,
        }
    }

    /// Changes each part, and carries fractions down: of months to days, and of both to time, whose sign the days then need
    /// not have. Each part is divided itself: times the reciprocal, 49 months by 49 would be less than a month.
    fn scaled(self, of: impl Fn(f64) -> f64) -> Parts {
        const SECONDS_PER_DAY: f64 = 86_400.0;
        // As PostgreSQL rounds what it carries.
        let rounded = |value: f64| (value * 1e6).round_ties_even() / 1e6;
        let (months, days) = (of(self.months), of(self.days));
        let more_days = rounded(months.fract() * DAYS_PER_MONTH);
        let of_day = days - days.trunc() + more_days - more_days.trunc();
        let seconds = rounded(of_day * SECONDS_PER_DAY);
        let whole_days = (seconds / SECONDS_PER_DAY).trunc();
        let seconds = seconds - whole_days * SECONDS_PER_DAY;
        Parts {
            months: months.trunc(),
            days: days.trunc() + more_days.trunc() + whole_days,
            micros: (of(self.micros) + seconds * 1e6).round_ties_even(),
        }
    }

    /// Days as months, with the sign of these.
    fn justify_days(self) -> Parts {
        let parts = self.with_whole_months();
        let (months, days) = borrowed(parts.months, parts.days, DAYS_PER_MONTH);
        Parts {
            months,
            days,
            ..parts
        }
    }

    /// Time as days, with the sign of these.
    fn justify_hours(self) -> Parts {
        let parts = self.with_whole_days();
        let (days, micros) = borrowed(parts.days, parts.micros, MICROS_PER_DAY as f64);
        Parts {
            days,
            micros,
            ..parts
        }
    }

    fn with_whole_months(self) -> Parts {
        Parts {
            months: self.months + (self.days / DAYS_PER_MONTH).trunc(),
            days: self.days % DAYS_PER_MONTH,
            ..self
        }
    }

    fn with_whole_days(self) -> Parts {
        let day = MICROS_PER_DAY as f64;
        Parts {
            days: self.days + (self.micros / day).trunc(),
            micros: self.micros % day,
            ..self
        }
    }

    /// Borrows until months, days and time have one sign.
    fn same_sign(mut self) -> Parts {
        if self.months > 0.0 && (self.days < 0.0 || (self.days == 0.0 && self.micros < 0.0)) {
            self.months -= 1.0;
            self.days += DAYS_PER_MONTH;
        } else if self.months < 0.0 && (self.days > 0.0 || (self.days == 0.0 && self.micros > 0.0))
        {
            self.months += 1.0;
            self.days -= DAYS_PER_MONTH;
        }
        (self.days, self.micros) = borrowed(self.days, self.micros, MICROS_PER_DAY as f64);
        self
    }
}

/// A number of large and one of small units, of which a large one has so many, with one sign.
fn borrowed(large: f64, small: f64, n_small: f64) -> (f64, f64) {
    match () {
        () if large > 0.0 && small < 0.0 => (large - 1.0, small + n_small),
        () if large < 0.0 && small > 0.0 => (large + 1.0, small - n_small),
        () => (large, small),
    }
}

/// To six digits, as PostgreSQL rounds the days that it carries down.
fn rounded(value: f64) -> f64 {
    (value * 1e6).round() / 1e6
}

fn each(call: &Call<'_>, change: impl Fn(Parts) -> Parts) -> Result<ArrayRef> {
    let changed: Result<IntervalMonthDayNanoArray> = call
        .intervals(0)?
        .iter()
        .map(|value| {
            value
                .map(|value| change(Parts::of(value)).interval())
                .transpose()
        })
        .collect();
    Ok(Arc::new(changed?))
}

fn scaled(
    call: &Call<'_>,
    scale: impl Fn(IntervalMonthDayNano, f64) -> Result<IntervalMonthDayNano>,
) -> Result<ArrayRef> {
    let numbers = call.floats(1)?;
    let values = call.intervals(0)?;
    let pairs = values.iter().zip(numbers.iter());
    let of_row = |(value, number): (Option<IntervalMonthDayNano>, Option<f64>)| {
        let (Some(value), Some(number)) = (value, number) else {
            return Ok(None);
        };
        scale(value, number).map(Some)
    };
    let scaled: Result<IntervalMonthDayNanoArray> = pairs.map(of_row).collect();
    Ok(Arc::new(scaled?))
}

/// An interval divided by a number.
pub(super) fn quotient(value: IntervalMonthDayNano, divisor: f64) -> Result<IntervalMonthDayNano> {
    if divisor == 0.0 {
        return Err(failure("22012", "division by zero"));
    }
    Parts::of(value).scaled(|part| part / divisor).interval()
}

/// What lies so far on the way from one interval to another.
pub(super) fn between(
    low: IntervalMonthDayNano,
    high: IntervalMonthDayNano,
    part: f64,
) -> Result<IntervalMonthDayNano> {
    let (low, high) = (Parts::of(low), Parts::of(high));
    let way = Parts {
        months: high.months - low.months,
        days: high.days - low.days,
        micros: high.micros - low.micros,
    };
    let way = way.scaled(|whole| whole * part);
    let found = Parts {
        months: low.months + way.months,
        days: low.days + way.days,
        micros: low.micros + way.micros,
    };
    found.interval()
}

/// Microseconds, of months with 30 days and days with 24 hours: by these, intervals are compared.
pub(crate) fn length(value: IntervalMonthDayNano) -> i128 {
    let days = i128::from(value.months) * 30 + i128::from(value.days);
    days * i128::from(MICROS_PER_DAY) + i128::from(value.nanoseconds / 1000)
}

/// The function that gives an interval its place among all, and an array those of its elements.
pub(super) fn key_function() -> Function {
    let returns = |types: &[DataType]| Ok(in_place_of(&types[0], &KEY));
    function_of("interval_key", &[1], returns, key)
}

fn key(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.arg(0)?;
    if !matches!(array.data_type(), DataType::List(_)) {
        return keys(&call.intervals(0)?);
    }
    map_elements(array, &|elements| {
        keys(cast(elements, &INTERVAL)?.as_primitive::<IntervalMonthDayNanoType>())
    })
}

/// The places of intervals among all.
pub(super) fn keys(intervals: &IntervalMonthDayNanoArray) -> Result<ArrayRef> {
    let lengths = intervals.iter().map(|value| value.map(length));
    let keys: Decimal128Array = lengths.collect();
    Ok(Arc::new(keys.with_precision_and_scale(38, 0)?))
}

/// `make_interval(years, months, weeks, days, hours, mins, secs)`.
fn make_interval(call: &Call<'_>) -> Result<ArrayRef> {
    let columns: Vec<_> = (0..call.args.len())
        .map(|idx| call.floats(idx))
        .collect::<Result<_>>()?;
    let of_row = |row: usize| {
        let mut values = [0.0; 7];
        for (value, column) in values.iter_mut().zip(&columns) {
            if column.is_null(row) {
                return Ok(None);
            }
            *value = column.value(row);
        }
        let [years, months, weeks, days, hours, minutes, seconds] = values;
        let parts = Parts {
            months: years * MONTHS_PER_YEAR + months,
            days: weeks * 7.0 + days,
            micros: ((hours * 60.0 + minutes) * 60.0 + seconds) * MICROS_PER_SECOND as f64,
        };
        parts.interval().map(Some)
    };
    let made: Result<IntervalMonthDayNanoArray> = (0..call.n_rows).map(of_row).collect();
    Ok(Arc::new(made?))
}

/// `age(later, earlier)`; of one argument, since midnight of today.
fn age(call: &Call<'_>) -> Result<ArrayRef> {
    let first = moments(call, 0)?;
    let ages: Result<IntervalMonthDayNanoArray> = if call.args.len() == 1 {
        let now = super::moment::now_in(call.time_zone())?;
        let today = now.date().and_time(chrono::NaiveTime::MIN);
        let of = |value: Option<super::moment::Moment>| {
            value.map(|value| difference(today, value.local))
        };
        Ok(first.into_iter().map(of).collect())
    } else {
        let second = moments(call, 1)?;
        let of = |(a, b): (Option<super::moment::Moment>, Option<super::moment::Moment>)| {
            Some(difference(a?.local, b?.local))
        };
        Ok(first.into_iter().zip(second).map(of).collect())
    };
    Ok(Arc::new(ages?))
}

/// The time from `earlier` to `later` in years, months and days of the calendar.
fn difference(later: NaiveDateTime, earlier: NaiveDateTime) -> IntervalMonthDayNano {
    if later < earlier {
        // The days that are borrowed are those of the earlier moment's month all the same.
        let IntervalMonthDayNano {
            months,
            days,
            nanoseconds,
        } = difference(earlier, later);
        return IntervalMonthDayNano::new(-months, -days, -nanoseconds);
    }
    let nanos = |moment: NaiveDateTime| {
        let time = moment.time();
        i64::from(time.num_seconds_from_midnight()) * 1_000_000_000 + i64::from(time.nanosecond())
    };
    let mut nanoseconds = nanos(later) - nanos(earlier);
    let mut days = later.day() as i32 - earlier.day() as i32;
    let mut months =
        (later.year() - earlier.year()) * 12 + later.month() as i32 - earlier.month() as i32;
    if nanoseconds < 0 {
        nanoseconds += MICROS_PER_DAY * 1000;
        days -= 1;
    }
    if days < 0 {
        days += days_in_month(earlier.year(), earlier.month());
        months -= 1;
    }
    IntervalMonthDayNano::new(months, days, nanoseconds)
}

fn days_in_month(year: i32, month: u32) -> i32 {
    let (next_year, next) = if month == 12 {
        (year + 1, 1)
    } else {
        (year, month + 1)
    };
    let first = NaiveDate::from_ymd_opt(year, month, 1);
    match (first, NaiveDate::from_ymd_opt(next_year, next, 1)) {
        (Some(first), Some(next)) => (next - first).num_days() as i32,
        _ => 31,
    }
}

/// Reads an interval in PostgreSQL's forms: `1 day 02:03:04`, `1-2`, `P1DT2H`, `@ 3 hours ago`.
pub(crate) fn parse(text: &str) -> Result<IntervalMonthDayNano> {
    let parts = match text.trim().strip_prefix(['P', 'p']) {
        Some(iso) => iso_parts(iso),
        None => traditional_parts(text),
    };
    match parts {
        Some(parts) => parts.interval(),
        None => Err(failure(
            "22007",
            format!("invalid input syntax for type interval: \"{text}\""),
        )),
    }
}

fn traditional_parts(text: &str) -> Option<Parts> {
    let lower = text.trim().to_lowercase();
    let lower = lower.strip_prefix('@').unwrap_or(&lower);
    let mut words = words(lower);
    let is_ago = words.last().is_some_and(|word| word == "ago");
    if is_ago {
        words.pop();
    }
    let mut parts = Parts::default();
    let mut at = 0;
    if words.is_empty() {
        return None;
    }
    while at < words.len() {
        let word = words[at].as_str();
        if word.contains(':') {
            parts.micros += clock_micros(word)?;
            at += 1;
        } else if let Some((years, months)) = years_and_months(word) {
            parts.months += years * MONTHS_PER_YEAR + months;
            at += 1;
        } else {
            let number: f64 = word.parse().ok().filter(|n: &f64| n.is_finite())?;
            match words.get(at + 1) {
                Some(unit)
                    if !unit.starts_with(|c: char| c.is_ascii_digit() || "+-.".contains(c)) =>
                {
                    add(&mut parts, number, unit)?;
                    at += 2;
                }
                // `1 02:03:04` is a day and a time; a number alone is seconds.
                Some(next) if next.contains(':') => {
                    parts.days += number;
                    at += 1;
                }
                None => {
                    parts.micros += number * MICROS_PER_SECOND as f64;
                    at += 1;
                }
                Some(_) => return None,
            }
        }
    }
    Some(if is_ago { parts.negated() } else { parts })
}

/// Cuts at spaces, at commas (`1 day, 5:00:00`) and between a number and its unit: `1d` is `1`, `d`.
fn words(text: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    // A sign that stands alone belongs to the number behind it: `1 month - 1 day`.
    let mut add = |piece: String| match out.last_mut() {
        Some(sign) if sign == "+" || sign == "-" => sign.push_str(&piece),
        _ => out.push(piece),
    };
    let parts = text.split(|c: char| c.is_whitespace() || c == ',');
    for word in parts.filter(|word| !word.is_empty()) {
        let mut current = String::new();
        let mut letters = false;
        for c in word.chars() {
            if !current.is_empty() && c.is_alphabetic() != letters {
                add(std::mem::take(&mut current));
            }
            letters = c.is_alphabetic();
            current.push(c);
        }
        add(current);
    }
    out
}

fn clock_micros(word: &str) -> Option<f64> {
    let (sign, clock) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word.strip_prefix('+').unwrap_or(word)),
    };
    let fields: Vec<f64> = clock
        .split(':')
        .map(|field| field.parse().ok().filter(|n: &f64| *n >= 0.0))
        .collect::<Option<_>>()?;
    let seconds = match fields.as_slice() {
        [hours, minutes] => hours * 3600.0 + minutes * 60.0,
        [hours, minutes, seconds] => hours * 3600.0 + minutes * 60.0 + seconds,
        _ => return None,
    };
    Some(sign * (seconds * MICROS_PER_SECOND as f64).round())
}

/// `1-2`: a year and two months.
fn years_and_months(word: &str) -> Option<(f64, f64)> {
    let (sign, rest) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word),
    };
    let (years, months) = rest.split_once('-')?;
    Some((
        sign * f64::from(years.parse::<u32>().ok()?),
        sign * f64::from(months.parse::<u32>().ok()?),
    ))
}

fn add(parts: &mut Parts, number: f64, unit: &str) -> Option<()> {
    let second = MICROS_PER_SECOND as f64;
    match unit {
        "millennium" | "millennia" | "mil" | "mils" => parts.months += number * 12_000.0,
        "century" | "centuries" | "cent" | "c" => parts.months += number * 1200.0,
        "decade" | "decades" | "dec" | "decs" => parts.months += number * 120.0,
        "year" | "years" | "yr" | "yrs" | "y" => parts.months += (number * MONTHS_PER_YEAR).round(),
        "month" | "months" | "mon" | "mons" => parts.months += number,
        "week" | "weeks" | "w" => parts.days += number * 7.0,
        "day" | "days" | "d" => parts.days += number,
        "hour" | "hours" | "hr" | "hrs" | "h" => parts.micros += number * 3600.0 * second,
        "minute" | "minutes" | "min" | "mins" | "m" => parts.micros += number * 60.0 * second,
        "second" | "seconds" | "sec" | "secs" | "s" => parts.micros += number * second,
        "millisecond" | "milliseconds" | "msec" | "msecs" | "ms" => parts.micros += number * 1000.0,
        "microsecond" | "microseconds" | "usec" | "usecs" | "us" => parts.micros += number,
        _ => return None,
    }
    Some(())
}

/// What follows `P` in ISO 8601: `1Y2M3DT4H5M6S`.
fn iso_parts(text: &str) -> Option<Parts> {
    let mut parts = Parts::default();
    let mut in_time = false;
    let mut number = String::new();
    for c in text.chars() {
        match c.to_ascii_lowercase() {
            't' if number.is_empty() => in_time = true,
            unit if unit.is_alphabetic() => {
                let value: f64 = std::mem::take(&mut number).parse().ok()?;
                let unit = match (unit, in_time) {
                    ('y', false) => "year",
                    ('m', false) => "month",
                    ('w', false) => "week",
                    ('d', false) => "day",
                    ('h', true) => "hour",
                    ('m', true) => "minute",
                    ('s', true) => "second",
                    _ => return None,
                };
                add(&mut parts, value, unit)?;
            }
            _ => number.push(c),
        }
    }
    (number.is_empty() && !text.is_empty()).then_some(parts)
}

/// A text that Arrow reads as the same interval.
pub(super) fn plain_text(value: IntervalMonthDayNano) -> String {
    format!(
        "{} months {} days {} nanoseconds",
        value.months, value.days, value.nanoseconds
    )
}

/// Whether a type is an interval.
pub(super) fn is_interval(data_type: &DataType) -> bool {
    matches!(data_type, DataType::Interval(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (i32, i32, i64) {
        let value = parse(text).unwrap();
        (value.months, value.days, value.nanoseconds / 1_000_000)
    }

    #[test]
    fn intervals_are_read_in_every_form_that_postgresql_writes() {
        assert_eq!(read("1 year 2 mons 3 days 04:05:06.7"), (14, 3, 14_706_700));
        assert_eq!(read("1-2"), (14, 0, 0));
        assert_eq!(read("-1-2"), (-14, 0, 0));
        assert_eq!(read("1 2:03:04"), (0, 1, 7_384_000));
        assert_eq!(read("P1Y2M3DT4H5M6S"), (14, 3, 14_706_000));
        assert_eq!(read("@ 3 hours ago"), (0, 0, -10_800_000));
        assert_eq!(read("1.5 months"), (1, 15, 0));
        assert_eq!(read("1.5 days"), (0, 1, 43_200_000));
        assert_eq!(read("1d 2h"), (0, 1, 7_200_000));
        assert_eq!(read("90"), (0, 0, 90_000));
        assert_eq!(read("-00:00:01"), (0, 0, -1_000));
        assert_eq!(read("1 day, 5:00:00.25"), (0, 1, 18_000_250));
        for wrong in ["", "day", "1 parsec", "1 2 days", "P", "P1", "1:2:3:4"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
