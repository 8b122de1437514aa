//! Dates and times of day as people write them.
//!
//! In: a text such as `2024-07-01 12:00+02`, `Jan 5 2024 3:04 PM`, `20240701`, `now`, `tomorrow 12:00`; out: what its clock
//! showed, and the zone if one is written or meant. Days stand behind months where both are numbers (`1/31/2024`), as in PostgreSQL's
//! `DateStyle = ISO, MDY`.

use chrono::{Datelike as _, NaiveDate, NaiveDateTime, NaiveTime, Offset as _, TimeDelta, Utc};
use datafusion::arrow::array::timezone::Tz;
use datafusion::error::{DataFusionError, Result};

use super::super::call::failure;
use super::super::moment::{micros_of_day, now_in, zone};
use super::zone_abbreviations::seconds_of as seconds_east;

/// The zone of a text.
pub(super) enum Zone {
    /// Seconds east of Greenwich.
    Seconds(i32),
    Named(Tz),
}

/// What a text says.
pub(super) struct Read {
    pub(super) local: NaiveDateTime,
    pub(super) zone: Option<Zone>,
}

/// Why a text is no moment.
enum Fault {
    Syntax,
    Range,
}

/// Reads a text as a time of day, in microseconds since midnight; a date and a zone that are written are left out.
pub(super) fn read_time(text: &str, session_zone: &str) -> Result<i64> {
    let trimmed = text.trim();
    if trimmed.eq_ignore_ascii_case("now") {
        return Ok(micros_of_day(now_in(session_zone)?.time()));
    }
    let clock = trimmed.strip_prefix(['T', 't']);
    let clock = clock.filter(|clock| clock.starts_with(|c: char| c.is_ascii_digit()));
    let clock = clock.unwrap_or(trimmed);
    let mut parts = Parts::default();
    let read = match compact_clock(clock) {
        Some(clock) => parts.time_and_zone(&clock),
        None => parts.read(clock),
    };
    let read = read.and_then(|()| parts.settle());
    // Words for days are no dates beside a time of day.
    let read = read.and_then(|()| match (parts.time, parts.days_from_now) {
        (Some(_), None) => parts.of_day(),
        _ => Err(Fault::Syntax),
    });
    read.map_err(|fault| error(&fault, text, "time"))
}

/// `040506.7` and `0405` with colons.
fn compact_clock(text: &str) -> Option<String> {
    let n_digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(n_digits);
    match n_digits {
        4 if rest.is_empty() => Some(format!("{}:{}", &digits[..2], &digits[2..])),
        6 if rest.is_empty() || rest.starts_with('.') => Some(format!(
            "{}:{}:{}{rest}",
            &digits[..2],
            &digits[2..4],
            &digits[4..]
        )),
        _ => None,
    }
}

/// Reads a text as a value of a type; words such as `today` are meant in `session_zone`.
pub(super) fn read(text: &str, type_name: &str, session_zone: &str) -> Result<Read> {
    if let Some(moment) = word(text.trim(), session_zone)? {
        return Ok(moment);
    }
    let mut parts = Parts::default();
    parts
        .read(text)
        .and_then(|()| parts.moment(session_zone))
        .map_err(|fault| error(&fault, text, type_name))
}

fn error(fault: &Fault, text: &str, type_name: &str) -> DataFusionError {
    match fault {
        Fault::Syntax => {
            let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
            failure("22007", message)
        }
        Fault::Range => {
            let message = format!("date/time field value out of range: \"{text}\"");
            failure("22008", message)
        }
    }
}

/// The words that stand for moments, whatever the zone of the session: what its clock shows at one may be shown twice.
fn word(word: &str, session_zone: &str) -> Result<Option<Read>> {
    let is = |known: &str| word.eq_ignore_ascii_case(known);
    let (local, seconds_east) = if is("epoch") {
        (NaiveDateTime::default(), 0)
    } else if is("now") {
        let now = Utc::now().with_timezone(&zone(session_zone)?);
        (now.naive_local(), now.offset().fix().local_minus_utc())
    } else if is("infinity") || is("-infinity") {
        let message = format!("the moment \"{word}\" is not supported");
        return Err(failure("0A000", message));
    } else {
        return Ok(None);
    };
    let zone = Some(Zone::Seconds(seconds_east));
    Ok(Some(Read { local, zone }))
}

/// The words that stand for days, and how many of them are between today and those.
const DAYS_FROM_NOW: [(&str, i64); 3] = [("yesterday", -1), ("today", 0), ("tomorrow", 1)];

#[derive(Default)]
struct Parts {
    year: Option<i32>,
    month: Option<u32>,
    day: Option<u32>,
    /// Microseconds since midnight.
    time: Option<i64>,
    is_afternoon: Option<bool>,
    before_christ: bool,
    /// The day is told by a word.
    days_from_now: Option<i64>,
    zone: Option<Zone>,
    /// Numbers whose meaning their order tells.
    numbers: Vec<(u32, usize)>,
}

impl Parts {
    fn read(&mut self, text: &str) -> std::result::Result<(), Fault> {
        let words = text
            .split(|c: char| c == ',' || c.is_whitespace())
            .filter(|word| !word.is_empty());
        for word in words {
            match date_and_time(word) {
                Some((date, time)) => {
                    self.date(date)?;
                    self.time_and_zone(time)?;
                }
                None => self.word(word)?,
            }
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> std::result::Result<(), Fault> {
        let first = word.as_bytes()[0];
        if word.contains(':') && first.is_ascii_digit() {
            return self.time_and_zone(word);
        }
        if first.is_ascii_digit() {
            return self.date(word);
        }
        if matches!(first, b'+' | b'-') {
            return self.set_zone(word);
        }
        let lower = word.trim_end_matches('.').to_lowercase();
        match lower.as_str() {
            "am" | "pm" => self.is_afternoon = Some(lower == "pm"),
            "bc" => self.before_christ = true,
            "ad" | "at" => {}
            "allballs" if self.time.is_none() => {
                self.time = Some(0);
                self.set_zone("UTC")?;
            }
            _ => match (month(&lower), days_from_now(&lower), is_week_day(&lower)) {
                (Some(month), ..) if self.month.is_none() => self.month = Some(month),
                (None, Some(days), _) if self.days_from_now.is_none() => {
                    self.days_from_now = Some(days);
                }
                (None, None, true) => {}
                _ => self.set_zone(word)?,
            },
        }
        Ok(())
    }

    /// `2024-01-31`, `1/31/2024`, `31-Jan-2024`, `20240131`, or one number of a date that is written with words.
    fn date(&mut self, word: &str) -> std::result::Result<(), Fault> {
        let pieces: Vec<&str> = word.split(['-', '/', '.']).collect();
        match pieces.as_slice() {
            [digits] if matches!(digits.len(), 6 | 8) && self.month.is_none() => {
                let (year, rest) = digits.split_at(digits.len() - 4);
                let (month, day) = rest.split_at(2);
                self.year = Some(full_year(number(year)?, year.len()));
                (self.month, self.day) = (Some(number(month)?), Some(number(day)?));
            }
            [digits] => {
                let digits = digits.trim_end_matches(|c: char| c.is_ascii_alphabetic());
                self.numbers.push((number(digits)?, digits.len()));
            }
            [year, middle, day] if year.len() > 2 => {
                self.year = Some(number(year)? as i32);
                self.month = Some(month_of(middle)?);
                self.day = Some(number(day)?);
            }
            [first, middle, year] => {
                self.year = Some(full_year(number(year)?, year.len()));
                match month(&middle.to_lowercase()) {
                    Some(month) => (self.month, self.day) = (Some(month), Some(number(first)?)),
                    None => {
                        self.month = Some(month_of(first)?);
                        self.day = Some(number(middle)?);
                    }
                }
            }
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }

    /// `10:20:30.5+02`, `10:20 Europe/Berlin` without the space, `3:04PM`.
    fn time_and_zone(&mut self, word: &str) -> std::result::Result<(), Fault> {
        let is_clock = |c: char| c.is_ascii_digit() || c == ':' || c == '.';
        let end = word.find(|c| !is_clock(c)).unwrap_or(word.len());
        let (clock, rest) = word.split_at(end);
        let mut pieces = clock.split(':');
        let mut next = || pieces.next().map(number).transpose();
        let hour = next()?.ok_or(Fault::Syntax)?;
        let minute = match clock.contains(':') {
            true => next()?.ok_or(Fault::Syntax)?,
            false => 0,
        };
        let (second, micros) = match pieces.next() {
            Some(seconds) => seconds_of(seconds)?,
            None => (0, 0),
        };
        if pieces.next().is_some() {
            return Err(Fault::Syntax);
        }
        let is_end = hour == 24 && minute == 0 && second == 0 && micros == 0;
        if !(hour < 24 || is_end) || minute > 59 || second > 60 {
            return Err(Fault::Range);
        }
        let seconds = i64::from(hour) * 3600 + i64::from(minute) * 60 + i64::from(second);
        self.time = Some(seconds * 1_000_000 + micros);
        match rest.to_lowercase().as_str() {
            "" => Ok(()),
            "am" | "pm" => {
                self.is_afternoon = Some(rest.eq_ignore_ascii_case("pm"));
                Ok(())
            }
            _ => self.set_zone(rest),
        }
    }

    fn set_zone(&mut self, word: &str) -> std::result::Result<(), Fault> {
        if self.zone.is_some() {
            return Err(Fault::Syntax);
        }
        let upper = word.to_uppercase();
        self.zone = Some(match upper.as_str() {
            "Z" | "UTC" | "GMT" | "ZULU" => Zone::Seconds(0),
            _ => match (upper.as_bytes()[0], seconds_east(&upper)) {
                (b'+' | b'-', _) => Zone::Seconds(offset(word).ok_or(Fault::Syntax)?),
                // An abbreviation goes before the zone of its name, which has summer time, too.
                (_, Some(seconds)) => Zone::Seconds(seconds),
                (_, None) => Zone::Named(word.parse().map_err(|_| Fault::Syntax)?),
            },
        });
        Ok(())
    }

    /// Gives numbers beside the name of a month their meaning: `Jan 5 2024`, `5 Jan 2024`, `2024 Jan 5`.
    fn settle(&mut self) -> std::result::Result<(), Fault> {
        let mut numbers = self.numbers.drain(..);
        match (numbers.next(), numbers.next(), numbers.next()) {
            (None, ..) => Ok(()),
            (Some(first), Some(second), None) if self.month.is_some() && self.day.is_none() => {
                let (day, year) = match first.1 > 2 {
                    true => (second, first),
                    false => (first, second),
                };
                self.day = Some(day.0);
                self.year = Some(full_year(year.0, year.1));
                Ok(())
            }
            _ => Err(Fault::Syntax),
        }
    }

    /// Microseconds since midnight.
    fn of_day(&self) -> std::result::Result<i64, Fault> {
        const HOUR: i64 = 3_600_000_000;
        let micros = self.time.unwrap_or(0);
        match self.is_afternoon {
            Some(_) if self.time.is_none() || !(HOUR..13 * HOUR).contains(&micros) => {
                Err(Fault::Range)
            }
            Some(is_afternoon) => {
                Ok(micros % (12 * HOUR) + if is_afternoon { 12 * HOUR } else { 0 })
            }
            None => Ok(micros),
        }
    }

    /// The date that is written, or that a word means on the clock of a zone.
    fn day(&self, session_zone: &str) -> std::result::Result<NaiveDate, Fault> {
        let (year, month, day) = match (self.year, self.month, self.day, self.days_from_now) {
            (Some(year), Some(month), Some(day), None) => (year, month, day),
            (None, None, None, Some(days)) => {
                let now = now_in(session_zone).map_err(|_| Fault::Range)?;
                let day = now.date().checked_add_signed(TimeDelta::days(days));
                return day.ok_or(Fault::Range);
            }
            _ => return Err(Fault::Syntax),
        };
        // There is no year 0: 1 BC comes before 1 AD.
        let year = match (year, self.before_christ) {
            (0, _) => return Err(Fault::Range),
            (year, true) => 1 - year,
            (year, false) => year,
        };
        NaiveDate::from_ymd_opt(year, month, day).ok_or(Fault::Range)
    }

    fn moment(&mut self, session_zone: &str) -> std::result::Result<Read, Fault> {
        self.settle()?;
        let parts = self;
        let date = parts.day(session_zone)?;
        let micros = parts.of_day()?;
        let local = date
            .and_time(NaiveTime::MIN)
            .checked_add_signed(TimeDelta::microseconds(micros))
            .filter(|local| local.year() < 294_277)
            .ok_or(Fault::Range)?;
        Ok(Read {
            local,
            zone: parts.zone.take(),
        })
    }
}

fn days_from_now(word: &str) -> Option<i64> {
    let mut known = DAYS_FROM_NOW.iter();
    known.find_map(|(day, days)| (*day == word).then_some(*days))
}

/// `2024-01-31T10:20`: the date and the time.
fn date_and_time(word: &str) -> Option<(&str, &str)> {
    let at = word.find(['T', 't'])?;
    let (date, time) = (&word[..at], &word[at + 1..]);
    let is_date = date.len() >= 8 && date.bytes().all(|c| c.is_ascii_digit() || c == b'-');
    let is_time = time.as_bytes().first().is_some_and(u8::is_ascii_digit);
    (is_date && is_time).then_some((date, time))
}

fn number(digits: &str) -> std::result::Result<u32, Fault> {
    match digits.bytes().all(|byte| byte.is_ascii_digit()) && !digits.is_empty() {
        true => digits.parse().map_err(|_| Fault::Range),
        false => Err(Fault::Syntax),
    }
}

/// Two digits mean a year from 1970 to 2069.
fn full_year(year: u32, n_digits: usize) -> i32 {
    match (n_digits, year) {
        (0..=2, 0..70) => year as i32 + 2000,
        (0..=2, _) => year as i32 + 1900,
        _ => year as i32,
    }
}

/// Seconds and microseconds; digits beyond those are rounded.
fn seconds_of(text: &str) -> std::result::Result<(u32, i64), Fault> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole = number(whole)?;
    if fraction.is_empty() {
        return Ok((whole, 0));
    }
    number(&fraction[..fraction.len().min(9)])?;
    let fraction: f64 = format!("0.{fraction}").parse().map_err(|_| Fault::Syntax)?;
    Ok((whole, (fraction * 1e6).round() as i64))
}

/// `+02`, `-0330`, `+05:30`, `+01:00:30`: seconds east of Greenwich.
fn offset(word: &str) -> Option<i32> {
    let (sign, digits) = word.split_at(1);
    let pieces: Vec<&str> = match digits.contains(':') {
        true => digits.split(':').collect(),
        false if digits.len() > 2 => {
            let (hours, minutes) = digits.split_at_checked(digits.len() - 2)?;
            vec![hours, minutes]
        }
        false => vec![digits],
    };
    let mut seconds = 0;
    for (piece, unit) in pieces.iter().zip([3600, 60, 1]) {
        seconds += number(piece).ok().filter(|number| *number < 60)? as i32 * unit;
    }
    let in_range = pieces.len() <= 3 && seconds < 16 * 3600;
    in_range.then_some(if sign == "-" { -seconds } else { seconds })
}

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];
const WEEK_DAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// Whether a word is a name, or its first three letters or more.
fn names(whole: &str, word: &str) -> bool {
    word.len() >= 3 && whole.starts_with(word)
}

fn month(word: &str) -> Option<u32> {
    let place = MONTHS.iter().position(|whole| names(whole, word))?;
    Some(place as u32 + 1)
}

fn is_week_day(word: &str) -> bool {
    WEEK_DAYS.iter().any(|whole| names(whole, word))
}

fn month_of(piece: &str) -> std::result::Result<u32, Fault> {
    match month(&piece.to_lowercase()) {
        Some(month) => Ok(month),
        None => number(piece),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let read = read(text, "timestamp", "UTC").ok()?;
        let zone = match read.zone {
            None => String::new(),
            Some(Zone::Seconds(east)) => format!(" {east}"),
            Some(Zone::Named(zone)) => format!(" {zone:?}"),
        };
        Some(format!("{}{zone}", read.local))
    }

    #[test]
    fn moments_are_read_in_the_forms_that_postgresql_reads() {
        for (text, expected) in [
            ("2024-01-31", "2024-01-31 00:00:00"),
            ("2024-01-31 05:00", "2024-01-31 05:00:00"),
            ("2024-01-31T05:00Z", "2024-01-31 05:00:00 0"),
            ("2024-07-01 12:00+02", "2024-07-01 12:00:00 7200"),
            (
                "2024-07-01 12:00:00.123456 -03:30",
                "2024-07-01 12:00:00.123456 -12600",
            ),
            ("2024-07-01 12:00:00+0530", "2024-07-01 12:00:00 19800"),
            ("Jan 5 2024", "2024-01-05 00:00:00"),
            ("5 January, 2024 3:04 PM", "2024-01-05 15:04:00"),
            ("Fri Jan 5 12:00:01 2024", "2024-01-05 12:00:01"),
            ("1/31/2024", "2024-01-31 00:00:00"),
            ("31-Jan-2024 10:00", "2024-01-31 10:00:00"),
            ("20240131", "2024-01-31 00:00:00"),
            ("2024-01-31 24:00:00", "2024-02-01 00:00:00"),
            ("1500-02-03 04:05:06", "1500-02-03 04:05:06"),
            ("0044-03-15 BC", "-0043-03-15 00:00:00"),
            ("epoch", "1970-01-01 00:00:00 0"),
            ("2024-01-31 allballs", "2024-01-31 00:00:00 0"),
            ("2024-01-31 10:00 UTC", "2024-01-31 10:00:00 0"),
            ("1/2/70", "1970-01-02 00:00:00"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(expected), "{text}");
        }
        assert!(shown("2024-01-31 10:00 Europe/Berlin").is_some());
    }

    #[test]
    fn words_mean_days_on_the_clock_of_the_session() {
        // Days are counted in the zone of the session: of two zones whose clocks are 25 hours apart, the days differ.
        let day = |text: &str, zone: &str| read(text, "date", zone).unwrap().local.date();
        for text in ["today", "tomorrow 10:00", "yesterday allballs"] {
            let (east, west) = (day(text, "+14:00"), day(text, "-11:00"));
            assert!(east > west, "{text}: {east}, {west}");
        }
        let noon = read("Today 12:30 +02", "timestamp with time zone", "UTC").unwrap();
        assert!(noon.local.to_string().ends_with(" 12:30:00"));
        assert!(matches!(noon.zone, Some(Zone::Seconds(7200))));
    }

    #[test]
    fn times_are_read_in_the_forms_that_postgresql_reads() {
        const SECOND: i64 = 1_000_000;
        let of =
            |hour: i64, minute: i64, second: i64| ((hour * 60 + minute) * 60 + second) * SECOND;
        for (text, expected) in [
            ("04:05", of(4, 5, 0)),
            ("4:05:06.789", of(4, 5, 6) + 789_000),
            ("040506", of(4, 5, 6)),
            ("0405", of(4, 5, 0)),
            ("T040506.5", of(4, 5, 6) + 500_000),
            ("T04:05", of(4, 5, 0)),
            ("04:05 AM", of(4, 5, 0)),
            ("04:05PM", of(16, 5, 0)),
            ("12:30 am", of(0, 30, 0)),
            ("04:05:06-08", of(4, 5, 6)),
            ("24:00:00", of(24, 0, 0)),
            ("2024-01-31 10:20", of(10, 20, 0)),
            ("allballs", 0),
            (" 10:00:00.1234567 ", of(10, 0, 0) + 123_457),
        ] {
            assert_eq!(read_time(text, "UTC").ok(), Some(expected), "{text}");
        }
        for text in [
            "",
            "abc",
            "10",
            "2024-01-31",
            "25:00",
            "10:60",
            "13:00 PM",
            "10:00:00:00",
            "epoch",
            "today",
            "today 10:00",
        ] {
            assert!(read_time(text, "UTC").is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_told() {
        let code = |text: &str| match read(text, "date", "UTC") {
            Err(DataFusionError::External(error)) => error.to_string(),
            Err(other) => other.to_string(),
            Ok(_) => String::new(),
        };
        for text in [
            "",
            "abc",
            "2024",
            "2024-01",
            "10:00",
            "Jan 2024",
            "2024-01-31 +02 +03",
            "today 2024-01-31",
            "today tomorrow",
            "allballs",
            "+infinity",
            "now 10:00",
        ] {
            let told = code(text);
            assert!(
                told.contains("invalid input syntax for type date"),
                "{text}: {told}"
            );
        }
        for text in ["2024-02-30", "2024-13-01", "2024-01-31 25:00", "0000-01-01"] {
            let told = code(text);
            assert!(told.contains("field value out of range"), "{text}: {told}");
        }
    }
}
