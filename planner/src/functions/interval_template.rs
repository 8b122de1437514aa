//! `to_char` of intervals, by the templates of moments: an interval has years and months, days, and hours beyond 24, each with
//! a sign, and no place in a calendar.
//!
//! In: a template that was read, and an interval; out: its text, or 22007 for what only a calendar tells: names of months
//! and days, eras, zones, and weeks of years that begin with a Monday.

use datafusion::arrow::datatypes::IntervalMonthDayNano;
use datafusion::error::{DataFusionError, Result};

use super::template::{Piece, ROMAN, Style, Template, number_text, ordinal_suffix, styled};
use crate::error::Error;

/// An interval as templates show it.
struct Parts {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    micros: i64,
}

impl Parts {
    fn of(value: IntervalMonthDayNano) -> Parts {
        let seconds = value.nanoseconds / 1_000_000_000;
        Parts {
            year: i64::from(value.months / 12),
            month: i64::from(value.months % 12),
            day: i64::from(value.days),
            hour: seconds / 3600,
            minute: seconds / 60 % 60,
            second: seconds % 60,
            micros: value.nanoseconds / 1_000 % 1_000_000,
        }
    }

    /// With months of thirty days.
    fn days(&self) -> i64 {
        (self.year * 12 + self.month) * 30 + self.day
    }
}

/// The text of an interval in the form of a template.
pub(super) fn text_of(template: &Template, value: IntervalMonthDayNano) -> Result<String> {
    let parts = Parts::of(value);
    let mut out = String::new();
    for piece in template.pieces() {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Field {
                name,
                style,
                is_bare,
                ordinal,
            } => {
                if let Some(word) = word_of(name, &parts, *style, *is_bare) {
                    out.push_str(&word);
                    continue;
                }
                let number = numbers(name, &parts, *is_bare)?;
                out.push_str(&number);
                if let Some(style) = ordinal.filter(|_| !number.is_empty()) {
                    out.push_str(&styled(ordinal_suffix(&number), style));
                }
            }
        }
    }
    Ok(out)
}

/// A field that is no number; `None`: it is one.
fn word_of(name: &str, parts: &Parts, style: Style, is_bare: bool) -> Option<String> {
    let is_afternoon = parts.hour % 24 >= 12;
    Some(match name {
        "AM" | "PM" => styled(if is_afternoon { "PM" } else { "AM" }, style),
        "A.M." | "P.M." => styled(if is_afternoon { "P.M." } else { "A.M." }, style),
        "RM" => {
            let word = roman(parts).map_or_else(String::new, |word| styled(word, style));
            match is_bare || word.is_empty() {
                true => word,
                false => format!("{word:4}"),
            }
        }
        _ => return None,
    })
}

/// The months as a Roman number, those before the beginning of a year counted from its end.
fn roman(parts: &Parts) -> Option<&'static str> {
    let place = match (parts.month, parts.year) {
        (0, 0) => return None,
        (0, year) if year > 0 => 11,
        (0, _) => 0,
        (month, _) if month < 0 => month + 12,
        (month, _) => month - 1,
    };
    ROMAN.get(usize::try_from(place).ok()?).copied()
}

/// A field that is a number. A sign has a place of its own in some.
fn numbers(name: &str, parts: &Parts, is_bare: bool) -> Result<String> {
    let signed = |number: i64, sign_of: i64, width: usize| {
        number_text(number, width + usize::from(sign_of < 0), is_bare)
    };
    let plain = |number: i64, width: usize| number_text(number, width, is_bare);
    let of_year = |unit: i64, width: usize| signed(parts.year % unit, parts.year, width);
    let fraction = |digits: u32| {
        let unit = 10_i64.pow(6 - digits);
        // The digits of a fraction are no padding.
        number_text(parts.micros / unit, digits as usize, false)
    };
    Ok(match name {
        "HH24" => signed(parts.hour, parts.hour, 2),
        "HH" | "HH12" => match parts.hour % 12 {
            0 => signed(12, parts.hour, 2),
            hour => signed(hour, parts.hour, 2),
        },
        "MI" => signed(parts.minute, parts.minute, 2),
        "SS" => signed(parts.second, parts.second, 2),
        "SSSS" | "SSSSS" => plain((parts.hour * 60 + parts.minute) * 60 + parts.second, 1),
        "MS" | "FF3" => fraction(3),
        "US" | "FF6" => fraction(6),
        "FF1" => fraction(1),
        "FF2" => fraction(2),
        "FF4" => fraction(4),
        "FF5" => fraction(5),
        "YYYY" => signed(parts.year, parts.year, 4),
        "YYY" => of_year(1000, 3),
        "YY" => of_year(100, 2),
        "Y" => of_year(10, 1),
        "Y,YYY" => format!("{},{:03}", parts.year / 1000, parts.year % 1000),
        "MM" => signed(parts.month, parts.month, 2),
        "DD" => plain(parts.day, 2),
        "DDD" => plain(parts.days(), 3),
        "W" => plain((parts.day - 1) / 7 + 1, 1),
        "WW" => plain((parts.days() - 1) / 7 + 1, 2),
        "Q" if parts.month == 0 => String::new(),
        "Q" => plain((parts.month - 1) / 3 + 1, 1),
        "CC" => signed(parts.year / 100, parts.year / 100, 2),
        "J" => plain(julian(parts), 1),
        _ => return Err(of_calendar()),
    })
}

/// The Julian day of a date, as PostgreSQL counts it also where there is no such month.
fn julian(parts: &Parts) -> i64 {
    let (year, month) = match parts.month > 2 {
        true => (parts.year + 4800, parts.month + 1),
        false => (parts.year + 4799, parts.month + 13),
    };
    let century = year / 100;
    let of_years = year * 365 - 32_167 + year / 4 - century + century / 4;
    of_years + 7834 * month / 256 + parts.day
}

fn of_calendar() -> DataFusionError {
    let message = "invalid format specification for an interval value".to_owned();
    let hint = "Intervals are not tied to specific calendar dates.";
    Error::invalid("22007", message, Some(hint)).into()
}

#[cfg(test)]
mod tests {
    use super::super::template_letters::Letters;
    use super::*;

    fn text(months: i32, days: i32, seconds: f64, template: &str) -> Result<String> {
        let nanoseconds = (seconds * 1e9) as i64;
        let value = IntervalMonthDayNano::new(months, days, nanoseconds);
        text_of(&Template::read(template, Letters::Alike), value)
    }

    #[test]
    fn parts_have_postgresqls_digits() -> Result<()> {
        let of_years = "YYYY|YYY|YY|Y|Y,YYY|FMYY|CC|MM|Q|RM";
        assert_eq!(
            text(14, 0, 0.0, of_years)?,
            "0001|001|01|1|0,001|1|00|02|1|II  "
        );
        assert_eq!(
            text(-14, 0, 0.0, of_years)?,
            "-0001|-001|-01|-1|0,-01|-1|00|-02|0|XI  "
        );
        let of_days = "DD|DDD|WW|J|DDth";
        assert_eq!(text(0, 400, 0.0, of_days)?, "400|400|58|1721428|400th");
        assert_eq!(text(14, 0, 0.0, "DDD J")?, "420 1721456");
        let of_clocks = "HH|HH12|HH24|MI|SS|MS|US|SSSS|am|FMHH24";
        assert_eq!(
            text(0, 0, 90_062.5, of_clocks)?,
            "01|01|25|01|02|500|500000|90062|am|25"
        );
        assert_eq!(
            text(0, 0, -45_000.0, of_clocks)?,
            "012|012|-12|-30|00|000|000000|-45000|am|-12"
        );
        assert_eq!(text(0, 0, 0.0, "Q|RM|\"YY\" HH24h")?, "||YY 00h");
        assert!(text(0, 1, 0.0, "Month").is_err());
        Ok(())
    }
}
