//! PostgreSQL's templates of dates and times: `YYYY-MM-DD HH24:MI:SS`, `FMMonth FMDDth`.
//!
//! In: a template; out: its pieces, a moment's text, and back. Numbers and intervals have
//! siblings, `number_template` and `interval_template`.

use chrono::{Datelike, NaiveDateTime, Timelike};
use datafusion::error::Result;

use super::call::failure;
use super::moment::{self, Moment};
use super::template_letters::Letters;

/// How a word is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    Upper,
    Title,
    Lower,
}

/// One piece of a template.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Piece {
    Text(String),
    Field {
        /// In upper case.
        name: &'static str,
        style: Style,
        /// `FM`: no padding.
        is_bare: bool,
        /// `TH`, `th`.
        ordinal: Option<Style>,
    },
}

/// The fields, longer names before their beginnings.
const FIELDS: [&str; 53] = [
    "A.M.", "P.M.", "B.C.", "A.D.", "MONTH", "Y,YYY", "SSSSS", "SSSS", "HH24", "HH12", "YYYY",
    "IYYY", "IDDD", "YYY", "IYY", "DAY", "DDD", "MON", "TZH", "TZM", "FF1", "FF2", "FF3", "FF4",
    "FF5", "FF6", "HH", "MI", "MM", "MS", "US", "SS", "AM", "PM", "BC", "AD", "YY", "IY", "IW",
    "ID", "DD", "DY", "WW", "CC", "RM", "TZ", "OF", "Y", "I", "D", "W", "J", "Q",
];
/// What may stand before a field: without padding, in exactly this form, in the words of a language, which are not padded.
const PREFIXES: [&str; 3] = ["FM", "FX", "TM"];

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = [
    "Sunday",
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
];
pub(super) const ROMAN: [&str; 12] = [
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII",
];

/// A template that was read.
#[derive(Debug, Clone)]
pub(super) struct Template(Vec<Piece>);

impl Template {
    /// Reads a template; every text is one.
    pub(super) fn read(text: &str, letters: Letters) -> Template {
        let mut pieces = Vec::new();
        let mut rest = text;
        let (mut is_bare, mut is_translated) = (false, false);
        let begins = |rest: &str, name: &str| letters.begins(rest, name);
        while let Some(first) = rest.chars().next() {
            if first == '"' {
                let (quoted, after) = quoted(&rest[1..]);
                push_text(&mut pieces, &quoted);
                rest = after;
            } else if let Some(prefix) = PREFIXES.iter().find(|prefix| begins(rest, prefix)) {
                is_bare |= *prefix == "FM";
                is_translated |= *prefix == "TM";
                rest = &rest[2..];
            } else if let Some(name) = FIELDS.iter().find(|name| begins(rest, name)) {
                let style = style_of(&rest[..name.len()]);
                rest = &rest[name.len()..];
                let ordinal = begins(rest, "TH").then(|| style_of(&rest[..2]));
                if ordinal.is_some() {
                    rest = &rest[2..];
                }
                let is_unpadded = std::mem::take(&mut is_translated) && is_word(name);
                pieces.push(Piece::Field {
                    name,
                    style,
                    is_bare: std::mem::take(&mut is_bare) || is_unpadded,
                    ordinal,
                });
            } else {
                let skipped = if first == '\\' && rest.len() > 1 {
                    1
                } else {
                    0
                };
                let mut chars = rest[skipped..].chars();
                let literal = chars.next().map(String::from).unwrap_or_default();
                push_text(&mut pieces, &literal);
                rest = chars.as_str();
            }
        }
        Template(pieces)
    }

    /// What stands in it, in order.
    pub(super) fn pieces(&self) -> &[Piece] {
        &self.0
    }

    /// A moment in this form.
    pub(super) fn format(&self, moment: &Moment) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.push_str(text),
                Piece::Field {
                    name,
                    style,
                    is_bare,
                    ordinal,
                } => {
                    let text = match number_of(name, &moment.local) {
                        Some((number, width)) => number_text(number, width, *is_bare),
                        None => word_of(name, moment, *style, *is_bare),
                    };
                    out.push_str(&text);
                    if let Some(style) = ordinal {
                        out.push_str(&styled(ordinal_suffix(&text), *style));
                    }
                }
            }
        }
        out
    }

    /// What a text in this form says.
    pub(super) fn parse(&self, text: &str) -> Result<Read> {
        let mut read = Read::default();
        let mut rest = text;
        for (idx, piece) in self.0.iter().enumerate() {
            match piece {
                Piece::Text(literal) => rest = skip_literal(rest, literal),
                Piece::Field { name, is_bare, .. } => {
                    rest = rest.trim_start();
                    if rest.is_empty() {
                        break;
                    }
                    let next_is_number = matches!(self.0.get(idx + 1),
                        Some(Piece::Field { name, .. }) if !is_word(name));
                    let width = match next_is_number && !is_bare {
                        true => Some(width_of(name)),
                        false => None,
                    };
                    rest = read.take(name, rest, width)?;
                }
            }
        }
        Ok(read)
    }
}

fn push_text(pieces: &mut Vec<Piece>, text: &str) {
    match pieces.last_mut() {
        Some(Piece::Text(last)) => last.push_str(text),
        _ => pieces.push(Piece::Text(text.to_owned())),
    }
}

/// The text up to the closing quote, and what follows it.
fn quoted(rest: &str) -> (String, &str) {
    let mut text = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => break,
            '\\' => text.extend(chars.next()),
            c => text.push(c),
        }
    }
    (text, chars.as_str())
}

fn style_of(written: &str) -> Style {
    let mut letters = written.chars().filter(|c| c.is_alphabetic());
    match (letters.next(), letters.next()) {
        (Some(first), Some(second)) if first.is_uppercase() && second.is_lowercase() => {
            Style::Title
        }
        (Some(first), _) if first.is_lowercase() => Style::Lower,
        _ => Style::Upper,
    }
}

pub(super) fn styled(word: &str, style: Style) -> String {
    match style {
        Style::Upper => word.to_uppercase(),
        Style::Title => word.to_owned(),
        Style::Lower => word.to_lowercase(),
    }
}

/// A field that is a number, and the digits that it is padded to.
fn number_of(name: &str, at: &NaiveDateTime) -> Option<(i64, usize)> {
    let hour12 = |hour: u32| (hour + 11) % 12 + 1;
    let micros = at.nanosecond() / 1000;
    let fraction = |digits: u32| micros / 10_u32.pow(6 - digits);
    let week = at.iso_week();
    let sunday = at.weekday().num_days_from_sunday();
    let of_u32 = |number: u32, width| Some((i64::from(number), width));
    match name {
        "HH24" => of_u32(at.hour(), 2),
        "HH" | "HH12" => of_u32(hour12(at.hour()), 2),
        "MI" => of_u32(at.minute(), 2),
        "SS" => of_u32(at.second(), 2),
        "SSSS" | "SSSSS" => of_u32(at.num_seconds_from_midnight(), 1),
        "MS" | "FF3" => of_u32(fraction(3), 3),
        "US" | "FF6" => of_u32(micros, 6),
        "FF1" => of_u32(fraction(1), 1),
        "FF2" => of_u32(fraction(2), 2),
        "FF4" => of_u32(fraction(4), 4),
        "FF5" => of_u32(fraction(5), 5),
        "YYYY" => Some((year_of_era(at), 4)),
        "YYY" => Some((year_of_era(at) % 1000, 3)),
        "YY" => Some((year_of_era(at) % 100, 2)),
        "Y" => Some((year_of_era(at) % 10, 1)),
        "IYYY" => Some((i64::from(week.year()), 4)),
        "IYY" => Some((i64::from(week.year()) % 1000, 3)),
        "IY" => Some((i64::from(week.year()) % 100, 2)),
        "I" => Some((i64::from(week.year()) % 10, 1)),
        "MM" => of_u32(at.month(), 2),
        "DD" => of_u32(at.day(), 2),
        "DDD" => of_u32(at.ordinal(), 3),
        "IDDD" => of_u32((week.week() - 1) * 7 + at.weekday().number_from_monday(), 3),
        "D" => of_u32(sunday + 1, 1),
        "ID" => of_u32(at.weekday().number_from_monday(), 1),
        "WW" => of_u32(at.ordinal0() / 7 + 1, 2),
        "W" => of_u32(at.day0() / 7 + 1, 1),
        "IW" => of_u32(week.week(), 2),
        "Q" => of_u32(at.month0() / 3 + 1, 1),
        "CC" => Some(((year_of_era(at) + 99) / 100, 2)),
        "J" => Some((i64::from(at.num_days_from_ce()) + 1_721_425, 1)),
        _ => None,
    }
}

/// The year as it is called, before Christ, too.
fn year_of_era(at: &NaiveDateTime) -> i64 {
    i64::from(at.year_ce().1)
}

pub(super) fn number_text(number: i64, width: usize, is_bare: bool) -> String {
    let width = if is_bare { 0 } else { width };
    format!("{number:0width$}")
}

/// A field that is not a number.
fn word_of(name: &str, moment: &Moment, style: Style, is_bare: bool) -> String {
    let at = &moment.local;
    let month = at.month0() as usize;
    let day = DAYS[at.weekday().num_days_from_sunday() as usize];
    let padded = |word: String, width: usize| match is_bare {
        true => word,
        false => format!("{word:width$}"),
    };
    let dotted = |first: &str, second: &str, is_first: bool| {
        styled(if is_first { first } else { second }, style)
    };
    let is_morning = at.hour() < 12;
    let is_after_christ = at.year() > 0;
    let offset = moment.offset.unwrap_or(0);
    let (sign, size) = (if offset < 0 { '-' } else { '+' }, offset.abs());
    let (hours, minutes) = (size / 3600, size / 60 % 60);
    match name {
        "MONTH" => padded(styled(MONTHS[month], style), 9),
        "MON" => styled(&MONTHS[month][..3], style),
        "DAY" => padded(styled(day, style), 9),
        "DY" => styled(&day[..3], style),
        "RM" => padded(styled(ROMAN[month], style), 4),
        "AM" | "PM" => dotted("AM", "PM", is_morning),
        "A.M." | "P.M." => dotted("A.M.", "P.M.", is_morning),
        "BC" | "AD" => dotted("AD", "BC", is_after_christ),
        "B.C." | "A.D." => dotted("A.D.", "B.C.", is_after_christ),
        "Y,YYY" => {
            let year = year_of_era(at);
            format!("{},{:03}", year / 1000, year % 1000)
        }
        "TZH" => format!("{sign}{hours:02}"),
        "TZM" => format!("{minutes:02}"),
        "OF" if minutes == 0 => format!("{sign}{hours:02}"),
        "OF" => format!("{sign}{hours:02}:{minutes:02}"),
        // Zones are known by their offset alone.
        "TZ" => match moment.offset {
            None => String::new(),
            Some(0) => styled("UTC", style),
            Some(_) if minutes == 0 => format!("{sign}{hours:02}"),
            Some(_) => format!("{sign}{hours:02}:{minutes:02}"),
        },
        _ => String::new(),
    }
}

pub(super) fn ordinal_suffix(number: &str) -> &'static str {
    let ends = |digit: char| number.ends_with(digit);
    let tens = number.len() > 1 && number.as_bytes()[number.len() - 2] == b'1';
    match () {
        () if tens => "th",
        () if ends('1') => "st",
        () if ends('2') => "nd",
        () if ends('3') => "rd",
        () => "th",
    }
}

fn is_word(name: &str) -> bool {
    matches!(
        name,
        "MONTH"
            | "MON"
            | "DAY"
            | "DY"
            | "RM"
            | "AM"
            | "PM"
            | "A.M."
            | "P.M."
            | "BC"
            | "AD"
            | "B.C."
            | "A.D."
            | "TZ"
            | "OF"
            | "TZH"
    )
}

/// How many digits a field has where the next one follows without a separator.
fn width_of(name: &str) -> usize {
    match name {
        "YYYY" | "IYYY" => 4,
        "YYY" | "IYY" | "DDD" | "IDDD" | "MS" | "FF3" => 3,
        "US" | "FF6" => 6,
        "SSSSS" | "SSSS" | "FF5" => 5,
        "FF4" => 4,
        "Y" | "I" | "D" | "ID" | "W" | "Q" | "FF1" => 1,
        "J" => 7,
        _ => 2,
    }
}

/// Separators of a template match any separators of the text, or none; letters take as many characters.
fn skip_literal<'a>(text: &'a str, literal: &str) -> &'a str {
    let mut rest = text;
    for c in literal.chars() {
        if c.is_alphanumeric() {
            let mut chars = rest.chars();
            chars.next();
            rest = chars.as_str();
            continue;
        }
        rest = rest.trim_start();
        if !c.is_whitespace()
            && let Some(first) = rest.chars().next()
            && !first.is_alphanumeric()
        {
            rest = &rest[first.len_utf8()..];
        }
    }
    rest
}

/// The fields that a text gave.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Read {
    year: Option<i64>,
    month: Option<i64>,
    day: Option<i64>,
    ordinal: Option<i64>,
    julian: Option<i64>,
    iso_year: Option<i64>,
    iso_week: Option<i64>,
    iso_day: Option<i64>,
    week: Option<i64>,
    hour: Option<i64>,
    minute: i64,
    second: i64,
    of_day: Option<i64>,
    micros: i64,
    is_12_hours: bool,
    is_afternoon: Option<bool>,
    is_before_christ: bool,
    pub(super) offset: Option<i64>,
}

impl Read {
    /// Takes a field from the front of a text; gives back the rest.
    fn take<'a>(
        &mut self,
        name: &'static str,
        text: &'a str,
        width: Option<usize>,
    ) -> Result<&'a str> {
        if let Some(rest) = self.take_word(name, text)? {
            return Ok(rest);
        }
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) if matches!(name, "YYYY" | "TZH") => (-1, rest),
            _ => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let n_digits = digits.bytes().take_while(u8::is_ascii_digit).count();
        let n_digits = n_digits.min(width.unwrap_or(usize::MAX)).min(17);
        let number = digits[..n_digits].parse::<i64>().map_err(|_| {
            let found: String = text.chars().take(width_of(name)).collect();
            failure("22007", format!("invalid value \"{found}\" for \"{name}\""))
        })?;
        self.set(name, sign * number, n_digits);
        let rest = &digits[n_digits..];
        let suffix = rest.get(..2).map(str::to_ascii_lowercase);
        Ok(match suffix.as_deref() {
            Some("st" | "nd" | "rd" | "th") => &rest[2..],
            _ => rest,
        })
    }

    fn take_word<'a>(&mut self, name: &'static str, text: &'a str) -> Result<Option<&'a str>> {
        let one_of = |words: &[&str], length: Option<usize>| {
            words.iter().enumerate().find_map(|(idx, word)| {
                let word = &word[..length.unwrap_or(word.len())];
                let written = text.get(..word.len())?;
                let is_same = written.eq_ignore_ascii_case(word);
                is_same.then(|| (idx, &text[word.len()..]))
            })
        };
        let found = match name {
            "MONTH" => one_of(&MONTHS, None).or_else(|| one_of(&MONTHS, Some(3))),
            "MON" => one_of(&MONTHS, Some(3)),
            "DAY" => one_of(&DAYS, None).or_else(|| one_of(&DAYS, Some(3))),
            "DY" => one_of(&DAYS, Some(3)),
            // Longer numerals before their beginnings.
            "RM" => {
                let mut numerals = ROMAN;
                numerals.sort_by_key(|numeral| std::cmp::Reverse(numeral.len()));
                one_of(&numerals, None).map(|(idx, rest)| {
                    let month = ROMAN.iter().position(|numeral| *numeral == numerals[idx]);
                    (month.unwrap_or(0), rest)
                })
            }
            "AM" | "PM" => one_of(&["AM", "PM"], None),
            "A.M." | "P.M." => one_of(&["A.M.", "P.M."], None),
            "BC" | "AD" => one_of(&["AD", "BC"], None),
            "B.C." | "A.D." => one_of(&["A.D.", "B.C."], None),
            "TZ" | "OF" => return self.take_zone(text).map(Some),
            _ => return Ok(None),
        };
        let Some((idx, rest)) = found else {
            let word: String = text.chars().take_while(|c| c.is_alphanumeric()).collect();
            return Err(failure(
                "22007",
                format!("invalid value \"{word}\" for \"{name}\""),
            ));
        };
        match name {
            "MONTH" | "MON" | "RM" => self.month = Some(idx as i64 + 1),
            "AM" | "PM" | "A.M." | "P.M." => self.is_afternoon = Some(idx == 1),
            "BC" | "AD" | "B.C." | "A.D." => self.is_before_christ = idx == 1,
            // The name of a day says nothing that the date does not.
            _ => {}
        }
        Ok(Some(rest))
    }

    fn take_zone<'a>(&mut self, text: &'a str) -> Result<&'a str> {
        if let Some(rest) = text.strip_prefix(['Z', 'z']) {
            self.offset = Some(0);
            return Ok(rest);
        }
        if text
            .get(..3)
            .is_some_and(|word| ["UTC", "GMT"].contains(&word.to_uppercase().as_str()))
        {
            self.offset = Some(0);
            return Ok(&text[3..]);
        }
        let rest = self.take("TZH", text, Some(2))?;
        match rest.strip_prefix(':') {
            Some(minutes) => self.take("TZM", minutes, Some(2)),
            None => Ok(rest),
        }
    }

    fn set(&mut self, name: &str, number: i64, n_digits: usize) {
        let to_micros = |number: i64| {
            let scale = 10_i64.pow(6_u32.saturating_sub(n_digits as u32));
            (number * scale).min(999_999)
        };
        match name {
            "YYYY" | "Y,YYY" => self.year = Some(number),
            "YYY" | "YY" | "Y" => self.year = Some(near_2020(number)),
            "IYYY" => self.iso_year = Some(number),
            "IYY" | "IY" | "I" => self.iso_year = Some(near_2020(number)),
            "MM" => self.month = Some(number),
            "DD" => self.day = Some(number),
            "DDD" => self.ordinal = Some(number),
            "J" => self.julian = Some(number),
            "IW" => self.iso_week = Some(number),
            "ID" => self.iso_day = Some(number),
            "WW" => self.week = Some(number),
            "HH24" => self.hour = Some(number),
            "HH" | "HH12" => (self.hour, self.is_12_hours) = (Some(number), true),
            "MI" => self.minute = number,
            "SS" => self.second = number,
            "SSSS" | "SSSSS" => self.of_day = Some(number),
            "MS" | "US" | "FF1" | "FF2" | "FF3" | "FF4" | "FF5" | "FF6" => {
                self.micros = to_micros(number);
            }
            "TZH" => self.offset = Some(number * 3600),
            "TZM" => {
                let hours = self.offset.unwrap_or(0);
                self.offset = Some(hours + hours.signum() * number * 60);
            }
            // A quarter, a century and the like say nothing that a year does not.
            _ => {}
        }
    }

    /// The moment, without its zone.
    pub(super) fn local(&self, text: &str) -> Result<NaiveDateTime> {
        let out_of_range = || {
            let message = format!("date/time field value out of range: \"{text}\"");
            failure("22008", message)
        };
        let date = self.date(&out_of_range)?;
        let mut hour = self.hour.unwrap_or(0);
        if self.is_12_hours {
            if !(1..=12).contains(&hour) {
                let message = format!("hour \"{hour}\" is invalid for the 12-hour clock");
                return Err(failure("22007", message));
            }
            hour %= 12;
        }
        if self.is_afternoon == Some(true) && hour < 12 {
            hour += 12;
        }
        let (hour, minute, second) = match self.of_day {
            Some(seconds) => (seconds / 3600, seconds / 60 % 60, seconds % 60),
            None => (hour, self.minute, self.second),
        };
        let seconds = second as f64 + self.micros as f64 / 1e6;
        let time = moment::time(hour, minute, seconds).map_err(|_| out_of_range())?;
        Ok(date.and_time(time))
    }

    fn date(
        &self,
        out_of_range: &impl Fn() -> datafusion::error::DataFusionError,
    ) -> Result<chrono::NaiveDate> {
        let found = if let Some(julian) = self.julian {
            let day = i32::try_from(julian - 1_721_425).ok();
            day.and_then(chrono::NaiveDate::from_num_days_from_ce_opt)
        } else if let (Some(year), Some(week)) = (self.iso_year, self.iso_week) {
            let day = u8::try_from(self.iso_day.unwrap_or(1) - 1).unwrap_or(7);
            let (year, week) = (i32::try_from(year).ok(), u32::try_from(week).ok());
            year.zip(week)
                .zip(chrono::Weekday::try_from(day).ok())
                .and_then(|((year, week), day)| chrono::NaiveDate::from_isoywd_opt(year, week, day))
        } else {
            let year = self.year.or(self.iso_year);
            // A year that nothing is said of is 1 BC, PostgreSQL's zero.
            let year = match self.is_before_christ {
                true => 1 - year.unwrap_or(1),
                false => year.unwrap_or(0),
            };
            let ordinal = self.ordinal.or(self.week.map(|week| (week - 1) * 7 + 1));
            match ordinal {
                Some(ordinal) => i32::try_from(year)
                    .ok()
                    .zip(u32::try_from(ordinal).ok())
                    .and_then(|(year, day)| chrono::NaiveDate::from_yo_opt(year, day)),
                None => {
                    let (month, day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
                    moment::date(year, month, day).ok()
                }
            }
        };
        found.ok_or_else(out_of_range)
    }
}

/// A year of one to three digits is the one nearest to 2020.
fn near_2020(year: i64) -> i64 {
    match year {
        0..70 => year + 2000,
        70..100 => year + 1900,
        100..520 => year + 2000,
        520..1000 => year + 1000,
        year => year,
    }
}
