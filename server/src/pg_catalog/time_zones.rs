//! The time zones that have names, as `pg_timezone_names` lists them, and their abbreviations, as `pg_timezone_abbrevs` does.
//!
//! In: the names of the IANA database (`time_zones.txt`); out: those that are known here, with what their clocks show now.

use auspex_planner::zone_abbreviations;
use chrono::{DateTime, Datelike as _, Offset as _, TimeZone as _, Utc};
use datafusion::arrow::array::timezone::Tz;

use super::cells::{Cell, Row};

const NAMES: &str = include_str!("time_zones.txt");

/// The rows of `pg_timezone_names`.
pub(super) fn rows() -> Vec<Row> {
    let now = Utc::now();
    let names = NAMES.lines().filter(|line| !line.starts_with('#'));
    let known = names.filter_map(|name| Some((name, name.parse().ok()?)));
    known.map(|(name, zone)| row(name, zone, now)).collect()
}

/// The rows of `pg_timezone_abbrevs`.
pub(super) fn abbreviations() -> Vec<Row> {
    let row = |(name, minutes, is_summer): (&'static str, i32, bool)| {
        vec![
            ("abbrev", name.into()),
            ("utc_offset", Cell::Text(format!("{minutes} minutes"))),
            ("is_dst", is_summer.into()),
        ]
    };
    zone_abbreviations().map(row).collect()
}

fn row(name: &str, zone: Tz, now: DateTime<Utc>) -> Row {
    let east = |moment: DateTime<Utc>| {
        let offset = zone.offset_from_utc_datetime(&moment.naive_utc()).fix();
        offset.local_minus_utc()
    };
    // One of these days lies in standard time, on either half of the earth.
    let of_year = |month: u32| {
        let day = Utc.with_ymd_and_hms(now.year(), month, 1, 0, 0, 0);
        day.earliest().map_or_else(|| east(now), east)
    };
    let standard = of_year(1).min(of_year(7));
    let seconds = east(now);
    vec![
        ("name", name.into()),
        ("abbrev", abbreviation(name, seconds).into()),
        ("utc_offset", Cell::Text(format!("{seconds} seconds"))),
        ("is_dst", (seconds > standard).into()),
    ]
}

/// The last part of a name that is an abbreviation itself, else the offset, as zones without one have it.
fn abbreviation(name: &str, seconds: i32) -> String {
    let last = name.rsplit('/').next().unwrap_or(name);
    if last.len() <= 4 && last.bytes().all(|letter| letter.is_ascii_uppercase()) {
        return last.to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.abs() / 60;
    match minutes % 60 {
        0 => format!("{sign}{:02}", minutes / 60),
        rest => format!("{sign}{:02}{rest:02}", minutes / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_tell_their_offsets() {
        let rows = rows();
        assert!(rows.len() > 400);
        let tokyo = rows
            .iter()
            .find(|row| matches!(&row[0].1, Cell::Text(name) if name == "Asia/Tokyo"));
        let tokyo = tokyo.unwrap();
        assert!(matches!(&tokyo[2].1, Cell::Text(offset) if offset == "32400 seconds"));
        assert!(matches!(tokyo[3].1, Cell::Bool(false)));
    }
}
