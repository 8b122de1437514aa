//! Parts of moments, times of day and intervals, by their names: what `extract` and `date_part` give that the planner lacks or
//! cuts off, and what `date_part` gives where the name is known only when the statement runs.
//!
//! In: names of parts, as PostgreSQL abbreviates them, and values; out: doubles.

use std::sync::Arc;

use auspex_storage::type_name;
use chrono::{Datelike as _, Timelike as _};
use datafusion::arrow::array::{ArrayRef, AsArray as _, Float64Array};
use datafusion::arrow::datatypes::{DataType, IntervalMonthDayNano, Time64MicrosecondType};
use datafusion::error::{DataFusionError, Result};

use super::call::{Call, Function, failure, function};
use super::moment::{Moment, TIME, is_time, micros_of_day, moments};

/// The name of the function.
pub(super) const NAME: &str = "pg_extract";

const SECONDS_PER_DAY: f64 = 86_400.0;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![function(NAME, &[2], DataType::Float64, extract).stable()]
}

/// The parts, each with the other names that it has.
const PARTS: [(&str, &[&str]); 22] = [
    ("second", &["seconds", "sec", "secs", "s"]),
    (
        "milliseconds",
        &["millisecond", "msec", "msecs", "msecond", "mseconds", "ms"],
    ),
    (
        "microseconds",
        &["microsecond", "usec", "usecs", "usecond", "useconds", "us"],
    ),
    ("minute", &["minutes", "min", "mins", "m"]),
    ("hour", &["hours", "hr", "hrs", "h"]),
    ("day", &["days", "d"]),
    ("dow", &[]),
    ("isodow", &[]),
    ("doy", &[]),
    ("week", &["weeks", "w"]),
    ("month", &["months", "mon", "mons"]),
    ("quarter", &["qtr"]),
    ("year", &["years", "yr", "yrs", "y"]),
    ("isoyear", &[]),
    ("decade", &["decades", "dec", "decs"]),
    ("century", &["centuries", "cent", "c"]),
    ("millennium", &["millennia", "mil", "mils"]),
    ("epoch", &[]),
    ("julian", &["j", "jd"]),
    ("timezone", &[]),
    ("timezone_hour", &["timezone_h"]),
    ("timezone_minute", &["timezone_m"]),
];

/// The part of a name; `None`: there is none.
pub(super) fn part_of(name: &str) -> Option<&'static str> {
    let is_name = |known: &&str| known.eq_ignore_ascii_case(name);
    let mut parts = PARTS.iter();
    let found = parts.find(|(part, others)| is_name(part) || others.iter().any(is_name));
    found.map(|(part, _)| *part)
}

fn extract(call: &Call<'_>) -> Result<ArrayRef> {
    let data_type = call.arg(1)?.data_type();
    if matches!(data_type, DataType::Interval(_) | DataType::Duration(_)) {
        let intervals = call.intervals(1)?;
        return of_rows(call, intervals.iter(), of_interval);
    }
    if is_time(data_type) {
        let micros = call.converted(1, &TIME)?;
        let micros = micros.as_primitive::<Time64MicrosecondType>();
        return of_rows(call, micros.iter(), of_time);
    }
    of_rows(call, moments(call, 1)?.into_iter(), of_moment)
}

/// The part of each row that its name tells. `of` gives none of a part that a type does not have.
fn of_rows<T>(
    call: &Call<'_>,
    values: impl Iterator<Item = Option<T>>,
    of: fn(&str, T) -> Option<f64>,
) -> Result<ArrayRef> {
    let names = call.texts(0)?;
    let fault = |name: &str, sqlstate, what: &str| -> DataFusionError {
        let data_type = call
            .arg(1)
            .map_or(DataType::Null, |value| value.data_type().clone());
        let (name, data_type) = (name.to_lowercase(), type_name(&data_type));
        failure(
            sqlstate,
            format!("unit \"{name}\" not {what} for type {data_type}"),
        )
    };
    let of_row = |(name, value): (Option<&str>, Option<T>)| {
        let (Some(name), Some(value)) = (name, value) else {
            return Ok(None);
        };
        let part = part_of(name).ok_or_else(|| fault(name, "22023", "recognized"))?;
        let found = of(part, value).ok_or_else(|| fault(name, "0A000", "supported"))?;
        Ok(Some(found))
    };
    let parts = names.iter().zip(values).map(of_row);
    Ok(Arc::new(parts.collect::<Result<Float64Array>>()?))
}

fn of_moment(part: &str, moment: Moment) -> Option<f64> {
    let (local, micros) = (moment.local, micros_of_day(moment.local.time()));
    let of_minute = (micros % 60_000_000) as f64;
    let week = local.iso_week();
    // Seconds east of Greenwich, of what has a zone.
    let offset = moment.offset;
    Some(match part {
        "second" => of_minute / 1e6,
        "milliseconds" => of_minute / 1e3,
        "microseconds" => of_minute,
        "minute" => f64::from(local.minute()),
        "hour" => f64::from(local.hour()),
        "day" => f64::from(local.day()),
        "dow" => f64::from(local.weekday().num_days_from_sunday()),
        "isodow" => f64::from(local.weekday().number_from_monday()),
        "doy" => f64::from(local.ordinal()),
        "week" => f64::from(week.week()),
        "month" => f64::from(local.month()),
        "quarter" => f64::from(local.month0() / 3 + 1),
        "year" => f64::from(shown_year(local.year())),
        "isoyear" => f64::from(shown_year(week.year())),
        "decade" => f64::from(local.year().div_euclid(10)),
        "century" => f64::from(era(local.year(), 100)),
        "millennium" => f64::from(era(local.year(), 1000)),
        "epoch" => {
            let utc = local.and_utc().timestamp_micros();
            (utc - i64::from(moment.offset.unwrap_or(0)) * 1_000_000) as f64 / 1e6
        }
        // Julian days count from noon of a day in 4713 BC; PostgreSQL's from midnight.
        "julian" => {
            let of_day = micros as f64 / (SECONDS_PER_DAY * 1e6);
            f64::from(local.num_days_from_ce()) + 1_721_425.0 + of_day
        }
        "timezone" => f64::from(offset?),
        "timezone_hour" => f64::from(offset? / 3600),
        "timezone_minute" => f64::from(offset? / 60 % 60),
        _ => return None,
    })
}

/// There is no year 0: that before the first is -1.
fn shown_year(year: i32) -> i32 {
    match year > 0 {
        true => year,
        false => year - 1,
    }
}

/// The number of the century or the millennium: the first one begins with the year 1, the one before it is -1.
fn era(year: i32, n_years: i32) -> i32 {
    match year > 0 {
        true => (year - 1) / n_years + 1,
        false => year / n_years - 1,
    }
}

fn of_time(part: &str, micros: i64) -> Option<f64> {
    let of_minute = (micros % 60_000_000) as f64;
    Some(match part {
        "second" => of_minute / 1e6,
        "milliseconds" => of_minute / 1e3,
        "microseconds" => of_minute,
        "minute" => (micros / 60_000_000 % 60) as f64,
        "hour" => (micros / 3_600_000_000) as f64,
        "epoch" => micros as f64 / 1e6,
        _ => return None,
    })
}

/// What the time of an interval shows, its days and months, and its length in seconds.
fn of_interval(part: &str, value: IntervalMonthDayNano) -> Option<f64> {
    const DAYS_PER_YEAR: f64 = 365.25;
    const DAYS_PER_MONTH: f64 = 30.0;
    let (years, months) = (value.months / 12, value.months % 12);
    let micros = value.nanoseconds / 1000;
    Some(match part {
        "day" => f64::from(value.days),
        "month" => f64::from(months),
        "quarter" => f64::from(months / 3 + 1),
        "year" => f64::from(years),
        "decade" => f64::from(years / 10),
        "century" => f64::from(years / 100),
        "millennium" => f64::from(years / 1000),
        "epoch" => {
            let days = f64::from(months) * DAYS_PER_MONTH + f64::from(value.days);
            let days = f64::from(years) * DAYS_PER_YEAR + days;
            days * SECONDS_PER_DAY + micros as f64 / 1e6
        }
        part => return of_time(part, micros),
    })
}

#[cfg(test)]
mod tests {
    use chrono::NaiveDate;

    use super::*;

    #[test]
    fn years_before_the_first_are_counted_backwards() {
        let of = |year: i32, part: &str| {
            let day = NaiveDate::from_ymd_opt(year, 3, 15).unwrap();
            let local = day.and_hms_opt(0, 0, 0).unwrap();
            let offset = None;
            of_moment(part, Moment { local, offset })
        };
        for (year, shown, decade, century, millennium) in [
            (2024, 2024., 202., 21., 3.),
            (2000, 2000., 200., 20., 2.),
            (1, 1., 0., 1., 1.),
            (0, -1., 0., -1., -1.),
            (-43, -44., -5., -1., -1.),
            (-99, -100., -10., -1., -1.),
            (-100, -101., -10., -2., -1.),
        ] {
            let found = ["year", "decade", "century", "millennium"].map(|part| of(year, part));
            let expected = [shown, decade, century, millennium].map(Some);
            assert_eq!(found, expected, "{year}");
        }
        assert_eq!(of(2024, "timezone"), None);
    }

    #[test]
    fn parts_have_several_names() {
        for (name, part) in [
            ("Secs", "second"),
            ("mon", "month"),
            ("TIMEZONE_H", "timezone_hour"),
            ("timezone_m", "timezone_minute"),
            ("jd", "julian"),
        ] {
            assert_eq!(part_of(name), Some(part));
        }
        for name in ["qtrs", " year", "z", ""] {
            assert_eq!(part_of(name), None);
        }
    }
}
