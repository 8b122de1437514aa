//! PostgreSQL's text forms of numbers, dates, times and intervals.
//!
//! In: plain numbers (days, microseconds, floats); out: text as PostgreSQL prints it with
//! `DateStyle = ISO` and `IntervalStyle = postgres` or `iso_8601`. Every moment that fits the input has a text.

use std::fmt::{Result, Write};

use chrono::{DateTime, FixedOffset, Offset, TimeZone as _};
use datafusion::arrow::array::timezone::Tz;

/// Microseconds of a second.
const SECOND: i64 = 1_000_000;
/// Microseconds of a day.
pub(super) const DAY: i64 = 86_400 * SECOND;

/// The zone in which timestamps with time zone are shown.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeZone(Option<Tz>);

impl TimeZone {
    /// The zone of a name such as `UTC`, `Europe/Berlin` or `+02:00`; UTC where it is unknown.
    pub(crate) fn of(name: &str) -> TimeZone {
        TimeZone(name.parse().ok())
    }

    /// Seconds east of Greenwich at a moment, given in microseconds since 1970.
    fn offset_seconds(self, micros: i64) -> i64 {
        let moment = DateTime::from_timestamp_micros(micros);
        let offset = self
            .0
            .zip(moment)
            .map(|(zone, moment)| zone.offset_from_utc_datetime(&moment.naive_utc()).fix());
        offset.map_or(0, |offset: FixedOffset| i64::from(offset.local_minus_utc()))
    }
}

/// The shortest digits that read back as the same number, as PostgreSQL 12 and later print them.
pub(super) fn write_f64(value: f64, out: &mut impl Write) -> Result {
    // PostgreSQL changes to the exponent form at 15 digits for float8 and 6 for float4.
    if (1e-4..1e15).contains(&value.abs()) {
        return write_fixed(zmij::Buffer::new().format_finite(value), out);
    }
    write_float(value, format!("{value:e}"), 15, out)
}

/// As [`write_f64`], for single precision.
pub(super) fn write_f32(value: f32, out: &mut impl Write) -> Result {
    if (1e-4..1e6).contains(&value.abs()) {
        return write_fixed(zmij::Buffer::new().format_finite(value), out);
    }
    write_float(f64::from(value), format!("{value:e}"), 6, out)
}

/// Digits with a point, of which PostgreSQL leaves out a fraction of zero.
fn write_fixed(digits: &str, out: &mut impl Write) -> Result {
    out.write_str(digits.strip_suffix(".0").unwrap_or(digits))
}

fn write_float(value: f64, scientific: String, fixed_below: i32, out: &mut impl Write) -> Result {
    if value.is_nan() {
        return out.write_str("NaN");
    }
    if value.is_infinite() {
        return out.write_str(if value > 0.0 { "Infinity" } else { "-Infinity" });
    }
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if value == 0.0 {
        return out.write_str(mantissa);
    }
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", mantissa),
    };
    if exponent < -4 || exponent >= fixed_below {
        let mark = if exponent < 0 { '-' } else { '+' };
        return write!(out, "{sign}{mantissa}e{mark}{:02}", exponent.unsigned_abs());
    }
    let digits: String = mantissa.chars().filter(|c| *c != '.').collect();
    out.write_str(sign)?;
    match usize::try_from(exponent) {
        // The point falls behind the digits: zeros fill up to it.
        Ok(exponent) if digits.len() <= exponent + 1 => {
            write!(out, "{digits}{:0>1$}", "", exponent + 1 - digits.len())
        }
        Ok(exponent) => write!(out, "{}.{}", &digits[..=exponent], &digits[exponent + 1..]),
        Err(_) => {
            let zeros = exponent.unsigned_abs() as usize - 1;
            write!(out, "0.{:0>zeros$}{digits}", "")
        }
    }
}

/// A date, given in days since 1970.
pub(super) fn write_date(days: i64, out: &mut impl Write) -> Result {
    let era = write_day(days, out)?;
    out.write_str(era)
}

/// A time of day, given in microseconds since midnight.
pub(super) fn write_time(micros: i64, out: &mut impl Write) -> Result {
    let seconds = micros / SECOND;
    write!(
        out,
        "{:02}:{:02}:{:02}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )?;
    write_fraction(micros % SECOND, out)
}

/// A timestamp without time zone, given in microseconds since 1970; `separator` stands between date
/// and time.
pub(super) fn write_timestamp(micros: i64, separator: char, out: &mut impl Write) -> Result {
    let era = write_day(micros.div_euclid(DAY), out)?;
    out.write_char(separator)?;
    write_time(micros.rem_euclid(DAY), out)?;
    out.write_str(era)
}

/// A timestamp with time zone, shown in `zone`. Behind a date and a time with `T` between them, as ISO 8601 has it, the
/// offset has minutes, too.
pub(super) fn write_timestamptz(
    micros: i64,
    zone: TimeZone,
    separator: char,
    out: &mut impl Write,
) -> Result {
    let offset = zone.offset_seconds(micros);
    let local = micros.saturating_add(offset * SECOND);
    let era = write_day(local.div_euclid(DAY), out)?;
    out.write_char(separator)?;
    write_time(local.rem_euclid(DAY), out)?;
    let minutes = offset.abs() / 60;
    write!(
        out,
        "{}{:02}",
        if offset < 0 { '-' } else { '+' },
        minutes / 60
    )?;
    if minutes % 60 != 0 || separator == 'T' {
        write!(out, ":{:02}", minutes % 60)?;
    }
    out.write_str(era)
}

/// An interval: months, days and microseconds are kept apart, as PostgreSQL keeps them.
pub(super) fn write_interval(months: i32, days: i32, micros: i64, out: &mut impl Write) -> Result {
    let mut parts = Vec::new();
    let units = [(months / 12, "year"), (months % 12, "mon"), (days, "day")];
    let mut after_negative = false;
    for (count, unit) in units.into_iter().filter(|(count, _)| *count != 0) {
        let plural = if count == 1 { "" } else { "s" };
        // Behind a negative part, a positive one carries its sign.
        let plus = if after_negative && count > 0 { "+" } else { "" };
        parts.push(format!("{plus}{count} {unit}{plural}"));
        after_negative = count < 0;
    }
    if micros != 0 || parts.is_empty() {
        let sign = match (micros < 0, after_negative) {
            (true, _) => "-",
            (false, true) => "+",
            (false, false) => "",
        };
        let mut time = sign.to_owned();
        let magnitude = micros.unsigned_abs();
        let (seconds, fraction) = (magnitude / SECOND as u64, magnitude % SECOND as u64);
        write!(
            time,
            "{:02}:{:02}:{:02}",
            seconds / 3600,
            seconds / 60 % 60,
            seconds % 60
        )?;
        write_fraction(fraction as i64, &mut time)?;
        parts.push(time);
    }
    out.write_str(&parts.join(" "))
}

/// An interval as ISO 8601 has it: `P1Y2M3DT4H5M6.5S`.
pub(super) fn write_iso_interval(
    months: i32,
    days: i32,
    micros: i64,
    out: &mut impl Write,
) -> Result {
    if (months, days, micros) == (0, 0, 0) {
        return out.write_str("PT0S");
    }
    out.write_char('P')?;
    for (count, unit) in [(months / 12, 'Y'), (months % 12, 'M'), (days, 'D')] {
        if count != 0 {
            write!(out, "{count}{unit}")?;
        }
    }
    if micros == 0 {
        return Ok(());
    }
    out.write_char('T')?;
    let minutes = micros / (60 * SECOND);
    for (count, unit) in [(minutes / 60, 'H'), (minutes % 60, 'M')] {
        if count != 0 {
            write!(out, "{count}{unit}")?;
        }
    }
    let rest = micros % (60 * SECOND);
    if rest == 0 {
        return Ok(());
    }
    let sign = if rest < 0 { "-" } else { "" };
    write!(out, "{sign}{}", (rest / SECOND).abs())?;
    write_fraction((rest % SECOND).abs(), out)?;
    out.write_char('S')
}

fn write_fraction(micros: i64, out: &mut impl Write) -> Result {
    if micros == 0 {
        return Ok(());
    }
    let digits = format!("{micros:06}");
    write!(out, ".{}", digits.trim_end_matches('0'))
}

/// Writes year, month and day; returns the era's mark, which stands at the very end.
fn write_day(
    days: i64,
    out: &mut impl Write,
) -> std::result::Result<&'static str, std::fmt::Error> {
    let (year, month, day) = civil(days);
    let (year, era) = if year > 0 {
        (year, "")
    } else {
        (1 - year, " BC")
    };
    write!(out, "{year:04}-{month:02}-{day:02}")?;
    Ok(era)
}

/// Year, month and day of the proleptic Gregorian calendar, for any day.
///
/// Source: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(write: impl FnOnce(&mut String) -> Result) -> String {
        let mut out = String::new();
        write(&mut out).unwrap();
        out
    }

    #[test]
    fn floats_print_as_postgresql_prints_them() {
        let cases = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (-1.5, "-1.5"),
            (100.0, "100"),
            (123_456.789, "123456.789"),
            (1e14, "100000000000000"),
            (1e15, "1e+15"),
            (999_999_999_999_999.9, "999999999999999.9"),
            (1e-4, "0.0001"),
            (0.000_123_4, "0.0001234"),
            (0.000_099_999, "9.9999e-05"),
            (1e-5, "1e-05"),
            (1.234_567_890_123_456_8e17, "1.2345678901234568e+17"),
            (f64::MAX, "1.7976931348623157e+308"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, expected) in cases {
            assert_eq!(text(|out| write_f64(value, out)), expected);
        }
        assert_eq!(text(|out| write_f32(0.1, out)), "0.1");
        assert_eq!(text(|out| write_f32(1e6, out)), "1e+06");
        assert_eq!(text(|out| write_f32(123_456.0, out)), "123456");
        assert_eq!(text(|out| write_f32(999_999.94, out)), "999999.94");
        assert_eq!(text(|out| write_f32(1e-4, out)), "0.0001");
        assert_eq!(text(|out| write_f32(9.9e-5, out)), "9.9e-05");
    }

    #[test]
    fn dates_print_in_iso_form_with_their_era() {
        for (days, expected) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (19_782, "2024-02-29"),
            (-719_163, "0001-12-31 BC"),
        ] {
            assert_eq!(text(|out| write_date(days, out)), expected);
        }
        assert_eq!(
            text(|out| write_timestamp(-1, ' ', out)),
            "1969-12-31 23:59:59.999999"
        );
        assert_eq!(
            text(|out| write_timestamp(1_500_000, ' ', out)),
            "1970-01-01 00:00:01.5"
        );
    }

    #[test]
    fn timestamps_with_time_zone_are_shown_in_the_session_zone() {
        let summer = 1_719_792_000 * SECOND; // 2024-07-01 00:00 UTC
        let show = |zone: &str| text(|out| write_timestamptz(summer, TimeZone::of(zone), ' ', out));
        assert_eq!(show("UTC"), "2024-07-01 00:00:00+00");
        assert_eq!(show("Europe/Berlin"), "2024-07-01 02:00:00+02");
        assert_eq!(show("Asia/Kolkata"), "2024-07-01 05:30:00+05:30");
        assert_eq!(show("America/New_York"), "2024-06-30 20:00:00-04");
        let iso = text(|out| write_timestamptz(summer, TimeZone::of("UTC"), 'T', out));
        assert_eq!(iso, "2024-07-01T00:00:00+00:00");
    }

    #[test]
    fn intervals_print_in_the_postgres_style() {
        let show = |months, days, micros| text(|out| write_interval(months, days, micros, out));
        assert_eq!(show(0, 0, 0), "00:00:00");
        assert_eq!(
            show(14, 3, 4 * 3_600 * SECOND + 500_000),
            "1 year 2 mons 3 days 04:00:00.5"
        );
        assert_eq!(show(-1, 2, 0), "-1 mons +2 days");
        assert_eq!(show(0, -1, SECOND), "-1 days +00:00:01");
        assert_eq!(show(0, 0, -90 * SECOND), "-00:01:30");
    }

    #[test]
    fn intervals_print_as_iso_8601() {
        let show = |months, days, micros| text(|out| write_iso_interval(months, days, micros, out));
        assert_eq!(show(0, 0, 0), "PT0S");
        assert_eq!(show(14, 3, 14_706 * SECOND + 500_000), "P1Y2M3DT4H5M6.5S");
        assert_eq!(show(-1, 2, 0), "P-1M2D");
        assert_eq!(show(0, 0, -90 * SECOND - 250_000), "PT-1M-30.25S");
    }
}
