//! Values of settings that PostgreSQL reads in a way of their own: `TimeZone`, `DateStyle` and `application_name`.
//!
//! In: what `SET` was given; out: what `SHOW` tells, or the error. The zone that a setting means is another text where it
//! counts from the west, as POSIX does: [`zone_of`] gives the name by which Arrow knows it.

use datafusion::arrow::array::timezone::Tz;

use crate::error::{Error, Result};

/// The most hours that a zone is away from Greenwich.
const MAX_HOURS: f64 = 24.0;

/// The bytes of a name that views, records and clients are told.
const NAME_BYTES: usize = 63;

/// An application's name as all may see it: the first bytes, each a `?` that is no character of ASCII that can be printed.
pub(super) fn application_name(value: &str) -> Result<String> {
    let start = &value[..value.floor_char_boundary(NAME_BYTES)];
    let shown = |byte: u8| match byte {
        b' '..=b'~' => char::from(byte),
        _ => '?',
    };
    Ok(start.bytes().map(shown).collect())
}

/// `ISO`, `MDY` and both; all others would be read or written otherwise than they say.
pub(super) fn date_style(value: &str) -> Result<String> {
    for word in value.split(',').map(str::trim) {
        match word.to_lowercase().as_str() {
            "iso" | "mdy" | "us" | "noneuro" | "noneuropean" | "default" => {}
            "dmy" | "ymd" | "euro" | "european" | "sql" | "postgres" | "german" => {
                let message = format!("date style \"{word}\" is not supported");
                let hint = "Dates are written as in ISO 8601, and 05/02/2024 is the second of May.";
                return Err(Error::invalid("0A000", message, Some(hint)));
            }
            _ => {
                let message = format!("invalid value for parameter \"DateStyle\": \"{value}\"");
                return Err(Error::invalid("22023", message, None));
            }
        }
    }
    Ok("ISO, MDY".to_owned())
}

/// A zone as `SHOW` tells it: numbers are hours to the east.
pub(super) fn time_zone(value: &str) -> Result<String> {
    let value = value.trim();
    let shown = match value.parse::<f64>() {
        Ok(hours) if hours.abs() <= MAX_HOURS => of_east((hours * 3_600.0).round() as i64),
        _ => value.to_owned(),
    };
    let spellings = [shown.clone(), shown.to_uppercase(), capitalized(&shown)];
    let known = |name: &String| zone_of(name).parse::<Tz>().is_ok();
    spellings.into_iter().find(known).ok_or_else(|| {
        let message = format!("invalid value for parameter \"TimeZone\": \"{value}\"");
        let hint = "Zones have names as in Europe/Berlin.";
        Error::invalid("22023", message, Some(hint))
    })
}

/// `Europe/Berlin` of `europe/berlin`.
fn capitalized(name: &str) -> String {
    let mut begins = true;
    let letter = |c: char| {
        let letter = match begins {
            true => c.to_ascii_uppercase(),
            false => c.to_ascii_lowercase(),
        };
        begins = !c.is_ascii_alphabetic();
        letter
    };
    name.chars().map(letter).collect()
}

/// The zone of an interval such as `-08:00`, which counts to the east.
pub(crate) fn zone_of_interval(text: &str) -> Option<String> {
    offset(text.trim()).map(of_east)
}

/// `<-03>+03` for what is so many seconds east of Greenwich.
fn of_east(seconds: i64) -> String {
    let clock = |seconds: i64| {
        let sign = if seconds < 0 { '-' } else { '+' };
        let minutes = seconds.abs() / 60;
        match minutes % 60 {
            0 => format!("{sign}{:02}", minutes / 60),
            rest => format!("{sign}{:02}:{rest:02}", minutes / 60),
        }
    };
    format!("<{}>{}", clock(seconds), clock(-seconds))
}

/// The zone of a setting as Arrow names it: offsets without a name, or behind one, count to the west there.
pub(crate) fn zone_of(setting: &str) -> String {
    let rest = match setting
        .strip_prefix('<')
        .and_then(|rest| rest.split_once('>'))
    {
        Some((_, rest)) => rest,
        None => setting.trim_start_matches(|c: char| c.is_ascii_alphabetic()),
    };
    match offset(rest) {
        Some(west) => {
            let minutes = west.abs() / 60;
            let sign = if west > 0 { '-' } else { '+' };
            format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
        None => setting.to_owned(),
    }
}

/// The seconds of `+05:30`, `-3` or `8`.
fn offset(text: &str) -> Option<i64> {
    let (sign, clock) = match text.strip_prefix('-') {
        Some(clock) => (-1, clock),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (hours, minutes) = clock.split_once(':').unwrap_or((clock, "0"));
    let number = |text: &str| {
        let is_short = (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i64>().ok().filter(|_| is_short)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= MAX_HOURS as i64 && minutes < 60).then_some(sign * (hours * 3_600 + minutes * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_count_as_in_postgresql() {
        for (set, shown, zone) in [
            ("+05:30", "+05:30", "-05:30"),
            ("-3", "<-03>+03", "-03:00"),
            ("5.5", "<+05:30>-05:30", "+05:30"),
            ("UTC+3", "UTC+3", "-03:00"),
            ("<+03>-3", "<+03>-3", "+03:00"),
            ("Europe/Berlin", "Europe/Berlin", "Europe/Berlin"),
            ("Etc/GMT+3", "Etc/GMT+3", "Etc/GMT+3"),
            ("utc", "UTC", "UTC"),
            ("america/new_york", "America/New_York", "America/New_York"),
        ] {
            let found = time_zone(set).unwrap();
            assert_eq!((found.as_str(), zone_of(&found).as_str()), (shown, zone));
        }
        assert!(time_zone("Nowhere/Else").is_err());
        assert_eq!(zone_of_interval("-08:00").unwrap(), "<-08>+08");
    }

    #[test]
    fn names_of_applications_are_short_and_can_be_printed() {
        assert_eq!(application_name("a\nb\u{1}é ~").unwrap(), "a?b??? ~");
        assert_eq!(application_name(&"x".repeat(70_000)).unwrap().len(), 63);
        // The character that does not fit is left out.
        let cut = application_name(&format!("{}é", "x".repeat(62))).unwrap();
        assert_eq!(cut, "x".repeat(62));
        assert_eq!(application_name("").unwrap(), "");
    }

    #[test]
    fn date_styles_that_are_not_obeyed_are_refused() {
        assert_eq!(date_style("iso").unwrap(), "ISO, MDY");
        let code = |value| date_style(value).unwrap_err().report().sqlstate;
        assert_eq!(code("ISO, DMY"), "0A000");
        assert_eq!(code("nope"), "22023");
    }
}
