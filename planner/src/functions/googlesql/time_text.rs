//! Dates and times as text: `FORMAT_DATE('%Y-%m', d)`, `PARSE_TIMESTAMP('%d/%m/%Y', s)`.
//!
//! In: a format of `%` elements and a value, or its text; out: text, or a value. What a text does not say is that of
//! 1970-01-01 00:00:00.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{Datelike, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};

use super::super::call::{Call, Function, failure, function};
use super::super::moment::{earlier_in_zone, zone};
use super::moments::{Kind, clocks, column};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let writer = |name: &'static str| function(name, &[2, 3], DataType::Utf8, written);
    let reader = |name: &'static str, kind: Kind| {
        function(name, &[2, 3], kind.data_type(), move |call| {
            Ok(column(kind, &read(call)?))
        })
    };
    vec![
        writer("format_date"),
        writer("format_datetime"),
        writer("format_timestamp"),
        writer("format_time"),
        reader("parse_date", Kind::Date),
        reader("parse_datetime", Kind::Datetime),
        reader("parse_timestamp", Kind::Timestamp),
        reader("parse_time", Kind::Time),
    ]
}

/// A part of a format.
#[derive(Debug, Clone)]
enum Part {
    /// An element that chrono has as well, or text.
    Plain(Vec<Item<'static>>),
    /// `%Q`: the quarter.
    Quarter,
    /// `%J`: the day of the ISO year.
    IsoDay,
    /// `%E3S`, `%E*S`: seconds with digits; `None` for as many as there are.
    Seconds(Option<usize>),
    /// `%E4Y`: at least four digits of the year.
    Year,
    /// `%Z`: the name of the zone.
    Zone,
    /// `%z`, and with a colon `%Ez`.
    Offset(bool),
}

fn invalid(format: &str) -> DataFusionError {
    failure("22007", format!("invalid format \"{format}\""))
}

/// Takes a format apart.
fn parts(format: &str) -> Result<Vec<Part>> {
    let mut out = Vec::new();
    let mut plain = String::new();
    let mut rest = format.chars();
    while let Some(c) = rest.next() {
        if c != '%' {
            plain.push(c);
            continue;
        }
        let own = match rest.next().ok_or_else(|| invalid(format))? {
            'Q' => Part::Quarter,
            'J' => Part::IsoDay,
            'Z' => Part::Zone,
            'z' => Part::Offset(false),
            'E' => extended(&mut rest).ok_or_else(|| invalid(format))?,
            // Elements that chrono has alone.
            '+' | 'f' | 'N' | '.' | '3' | '6' | '9' | ':' | '#' | '-' | '_' | '0' | 'v' | 'q' => {
                return Err(invalid(format));
            }
            known => {
                plain.push('%');
                plain.push(known);
                continue;
            }
        };
        out.extend(chrono_items(&mut plain, format)?);
        out.push(own);
    }
    out.extend(chrono_items(&mut plain, format)?);
    Ok(out)
}

/// What stands behind `%E`.
fn extended(rest: &mut std::str::Chars<'_>) -> Option<Part> {
    let text = rest.as_str();
    let (length, part) = match text.as_bytes() {
        [b'z', ..] => (1, Part::Offset(true)),
        [b'4', b'Y', ..] => (2, Part::Year),
        [b'*', b'S', ..] => (2, Part::Seconds(None)),
        [digit @ b'0'..=b'9', b'S', ..] => (2, Part::Seconds(Some(usize::from(digit - b'0')))),
        _ => return None,
    };
    *rest = text[length..].chars();
    Some(part)
}

fn chrono_items(plain: &mut String, format: &str) -> Result<Option<Part>> {
    if plain.is_empty() {
        return Ok(None);
    }
    let text = std::mem::take(plain);
    let items = StrftimeItems::new(&text).map(Item::to_owned);
    let items: Vec<Item<'static>> = items.collect();
    match items.contains(&Item::Error) {
        true => Err(invalid(format)),
        false => Ok(Some(Part::Plain(items))),
    }
}

/// Formats that were taken apart: most columns have one.
#[derive(Default)]
struct Formats(HashMap<String, Vec<Part>>);

impl Formats {
    fn get(&mut self, format: &str) -> Result<&[Part]> {
        if !self.0.contains_key(format) {
            self.0.insert(format.to_owned(), parts(format)?);
        }
        Ok(&self.0[format])
    }
}

fn zones(call: &Call<'_>) -> Result<Option<StringArray>> {
    match call.args.len() {
        3 => call.texts(2).map(Some),
        _ => Ok(None),
    }
}

fn written(call: &Call<'_>) -> Result<ArrayRef> {
    let (formats, moments, zones) = (call.texts(0)?, clocks(call, 1)?, zones(call)?);
    let mut known = Formats::default();
    let mut of_row = |row: usize, format: Option<&str>| {
        let (Some(format), Some(moment)) = (format, moments[row]) else {
            return Ok(None);
        };
        let (moment, offset, name) = match &zones {
            None => (moment, 0, "UTC"),
            Some(zones) => {
                let name = zones.value(row);
                let there = moment.and_utc().with_timezone(&zone(name)?);
                let local = there.naive_local();
                (local, (local - moment).num_seconds() as i32, name)
            }
        };
        write(known.get(format)?, moment, offset, name)
            .map(Some)
            .map_err(|_| invalid(format))
    };
    let texts: StringArray = formats
        .iter()
        .enumerate()
        .map(|(row, format)| of_row(row, format))
        .collect::<Result<_>>()?;
    Ok(Arc::new(texts))
}

fn write(
    parts: &[Part],
    moment: NaiveDateTime,
    offset: i32,
    zone: &str,
) -> std::result::Result<String, std::fmt::Error> {
    let mut out = String::new();
    for part in parts {
        match part {
            Part::Plain(items) => write!(out, "{}", moment.format_with_items(items.iter()))?,
            Part::Quarter => write!(out, "{}", moment.month0() / 3 + 1)?,
            Part::IsoDay => write!(out, "{:03}", iso_day(moment.date()))?,
            Part::Year => write!(out, "{:04}", moment.year())?,
            Part::Zone => out.push_str(zone),
            Part::Offset(colon) => {
                let (hours, minutes) = (offset.abs() / 3_600, offset.abs() / 60 % 60);
                let (sign, colon) = (
                    if offset < 0 { '-' } else { '+' },
                    if *colon { ":" } else { "" },
                );
                write!(out, "{sign}{hours:02}{colon}{minutes:02}")?;
            }
            Part::Seconds(digits) => {
                write!(out, "{:02}", moment.second())?;
                let micros = format!("{:06}", moment.nanosecond() / 1_000);
                let shown = match digits {
                    Some(digits) => format!("{micros:0<9}")[..*digits].to_owned(),
                    None => micros.trim_end_matches('0').to_owned(),
                };
                if !shown.is_empty() {
                    write!(out, ".{shown}")?;
                }
            }
        }
    }
    Ok(out)
}

fn iso_day(date: NaiveDate) -> i64 {
    let first = NaiveDate::from_isoywd_opt(date.iso_week().year(), 1, chrono::Weekday::Mon);
    first.map_or(0, |first| (date - first).num_days() + 1)
}

fn read(call: &Call<'_>) -> Result<Vec<Option<NaiveDateTime>>> {
    let (formats, texts, zones) = (call.texts(0)?, call.texts(1)?, zones(call)?);
    let mut known = Formats::default();
    let mut of_row = |row: usize, format: Option<&str>, text: Option<&str>| {
        let (Some(format), Some(text)) = (format, text) else {
            return Ok(None);
        };
        let failed = || {
            let message = format!("cannot read \"{text}\" by the format \"{format}\"");
            failure("22007", message)
        };
        let (local, offset) = parse(known.get(format)?, text).ok_or_else(failed)?;
        Ok(Some(match (&zones, offset) {
            (_, Some(offset)) => local - chrono::TimeDelta::seconds(i64::from(offset)),
            (Some(zones), None) => earlier_in_zone(local, &zone(zones.value(row))?)?.naive_utc(),
            (None, None) => local,
        }))
    };
    let rows = formats.iter().zip(texts.iter()).enumerate();
    rows.map(|(row, (format, text))| of_row(row, format, text))
        .collect()
}

/// What a text says, and the offset that it names.
fn parse(parts: &[Part], text: &str) -> Option<(NaiveDateTime, Option<i32>)> {
    let mut parsed = Parsed::new();
    let mut rest = text.trim();
    let mut fraction = 0;
    let mut quarter = None;
    for part in parts {
        rest = match part {
            Part::Plain(items) => {
                chrono::format::parse_and_remainder(&mut parsed, rest, items.iter()).ok()?
            }
            Part::Year => remainder(&mut parsed, rest, "%Y")?,
            Part::Seconds(_) => {
                let rest = remainder(&mut parsed, rest, "%S")?;
                match rest.strip_prefix('.') {
                    Some(behind) => {
                        let length = behind.bytes().take_while(u8::is_ascii_digit).count().min(9);
                        fraction = format!("{:0<9}", &behind[..length]).parse().ok()?;
                        behind[length..].trim_start_matches(|c: char| c.is_ascii_digit())
                    }
                    None => rest,
                }
            }
            Part::Offset(_) => remainder(&mut parsed, rest, "%#z")?,
            Part::Zone => {
                let behind = rest
                    .strip_prefix("UTC")
                    .or_else(|| rest.strip_prefix('Z'))?;
                parsed.set_offset(0).ok()?;
                behind
            }
            Part::Quarter => {
                quarter = rest
                    .get(..1)?
                    .parse::<u32>()
                    .ok()
                    .filter(|q| (1..=4).contains(q));
                quarter?;
                &rest[1..]
            }
            Part::IsoDay => return None,
        };
    }
    if !rest.trim().is_empty() {
        return None;
    }
    let date = date_of(&mut parsed, quarter)?;
    let time = time_of(&mut parsed, fraction)?;
    Some((date.and_time(time), parsed.offset()))
}

fn remainder<'a>(parsed: &mut Parsed, text: &'a str, format: &str) -> Option<&'a str> {
    chrono::format::parse_and_remainder(parsed, text, StrftimeItems::new(format)).ok()
}

fn date_of(parsed: &mut Parsed, quarter: Option<u32>) -> Option<NaiveDate> {
    if let Some(seconds) = parsed.timestamp() {
        return chrono::DateTime::from_timestamp(seconds, 0).map(|at| at.date_naive());
    }
    let is_iso = parsed.isoyear().is_some() || parsed.isoweek().is_some();
    if !is_iso {
        if parsed.year().is_none() && parsed.year_mod_100().is_none() {
            parsed.set_year(1970).ok()?;
        }
        let by_days = parsed.ordinal().is_some()
            || parsed.week_from_sun().is_some()
            || parsed.week_from_mon().is_some();
        if !by_days {
            if parsed.month().is_none() {
                let month = quarter.map_or(1, |quarter| quarter * 3 - 2);
                parsed.set_month(i64::from(month)).ok()?;
            }
            if parsed.day().is_none() {
                parsed.set_day(1).ok()?;
            }
        }
    }
    parsed.to_naive_date().ok()
}

fn time_of(parsed: &mut Parsed, fraction: u32) -> Option<NaiveTime> {
    if let Some(seconds) = parsed.timestamp() {
        return chrono::DateTime::from_timestamp(seconds, 0).map(|at| at.time());
    }
    if parsed.hour_mod_12().is_none() {
        parsed.set_hour(0).ok()?;
    } else if parsed.hour_div_12().is_none() {
        parsed.set_ampm(false).ok()?;
    }
    if parsed.minute().is_none() {
        parsed.set_minute(0).ok()?;
    }
    let time = parsed.to_naive_time().ok()?;
    time.with_nanosecond(fraction.max(time.nanosecond()))
}
