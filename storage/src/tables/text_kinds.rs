//! The type that the texts of a column have in common.
//!
//! Texts flow in, one at a time; a type flows out that each of them is a value of. What only looks like a value is a text,
//! so that what the type is read by refuses none of them.

use datafusion::arrow::datatypes::{DataType, TimeUnit};

use crate::tables::strict_values::{date, is_zero, moment, without_zone};

/// What texts have in common.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// There was none.
    #[default]
    Nothing,
    Boolean,
    Integer,
    Double,
    Day,
    Moment,
    /// A moment with its zone or its distance from UTC.
    ZonedMoment,
    Text,
}

impl Kind {
    /// What these texts and one more have in common.
    pub(crate) fn and(self, text: &str) -> Self {
        if self == Self::Text {
            return self;
        }
        match (self, Self::of(text)) {
            (Self::Nothing, kind) => kind,
            (seen, kind) if seen == kind => seen,
            (Self::Integer | Self::Double, Self::Integer | Self::Double) => Self::Double,
            (Self::Day | Self::Moment, Self::Day | Self::Moment) => Self::Moment,
            // Without a zone a moment is another one in each session.
            _ => Self::Text,
        }
    }

    /// The type of the column.
    pub(crate) fn data_type(self) -> DataType {
        match self {
            Self::Nothing => DataType::Null,
            Self::Boolean => DataType::Boolean,
            Self::Integer => DataType::Int64,
            Self::Double => DataType::Float64,
            Self::Day => DataType::Date32,
            Self::Moment => DataType::Timestamp(TimeUnit::Microsecond, None),
            Self::ZonedMoment => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            Self::Text => DataType::Utf8,
        }
    }

    fn of(text: &str) -> Self {
        let is_boolean = |word: &str| text.eq_ignore_ascii_case(word);
        match text.as_bytes() {
            [b'-' | b'.' | b'0'..=b'9', ..] if text != "-inf" => {
                let found = number(text).or_else(|| day_or_moment(text));
                found.unwrap_or(Self::Text)
            }
            _ if is_boolean("true") || is_boolean("false") => Self::Boolean,
            _ if matches!(text, "NaN" | "nan" | "inf" | "-inf") => Self::Double,
            _ => Self::Text,
        }
    }
}

fn number(text: &str) -> Option<Kind> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    // Zeros before a number are part of a code, as of a place or an account.
    if let [b'0', b'0'..=b'9', ..] = digits.as_bytes() {
        return None;
    }
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse::<i64>().ok().map(|_| Kind::Integer);
    }
    let is_of_number = |byte: u8| matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-');
    if !digits.bytes().all(is_of_number) {
        return None;
    }
    let value: f64 = text.parse().ok()?;
    (value.is_finite() && (value != 0.0 || is_zero(digits))).then_some(Kind::Double)
}

fn day_or_moment(text: &str) -> Option<Kind> {
    let (day, time) = text.as_bytes().split_at_checked(10)?;
    let is_shaped = |(byte, shape): (&u8, &u8)| match shape {
        b'0' => byte.is_ascii_digit(),
        shape => byte == shape,
    };
    if !day.iter().zip(b"0000-00-00").all(is_shaped) {
        return None;
    }
    if time.is_empty() {
        return date(text).map(|_| Kind::Day);
    }
    let (mark, time) = time.split_first()?;
    let is_time = time.len() >= 8 && time.iter().zip(b"00:00:00").all(is_shaped);
    if !matches!(mark, b'T' | b' ') || !is_time {
        return None;
    }
    moment(text)?;
    match without_zone(text).len() == text.len() {
        true => Some(Kind::Moment),
        false => Some(Kind::ZonedMoment),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_value_is_a_text() {
        for (texts, expected) in [
            (&["1", "-2", "0"] as &[&str], Kind::Integer),
            (&["1", "2.5", "-.5", "5.", "1e-3", "0e9"], Kind::Double),
            (&["NaN", "1"], Kind::Double),
            (&["-inf", "inf"], Kind::Double),
            (&["true", "FALSE"], Kind::Boolean),
            (&["true", "1"], Kind::Text),
            (&["94103", "01234"], Kind::Text),
            (&["-007"], Kind::Text),
            (&["00.5"], Kind::Text),
            (&["+5"], Kind::Text),
            (&["9223372036854775807"], Kind::Integer),
            (&["9223372036854775808"], Kind::Text),
            (&["1e400"], Kind::Text),
            (&["1e-400"], Kind::Text),
            (&["1e"], Kind::Text),
            (&["-"], Kind::Text),
            (&["--1"], Kind::Text),
            (&["\u{661}"], Kind::Text),
            (&["1\u{661}"], Kind::Text),
            (&["2026-01-31", "0001-01-01"], Kind::Day),
            (&["2026-01-31", "0000-00-00"], Kind::Text),
            (&["2024-02-30"], Kind::Text),
            (&["2024-1-5"], Kind::Text),
            (
                &["2026-01-31", "2026-01-31 10:00:00.123456789"],
                Kind::Moment,
            ),
            (&["2026-01-31T25:00:00"], Kind::Text),
            (&["2026-01-31 24:00:00"], Kind::Text),
            (&["2026-01-31 10:00"], Kind::Text),
            (&["2026-01-31 10:00:00 soon"], Kind::Text),
        ] {
            let found = texts
                .iter()
                .fold(Kind::default(), |kind, text| kind.and(text));
            assert_eq!(found, expected, "{texts:?}");
        }
    }

    #[test]
    fn zones_are_kept_or_the_column_is_text() {
        let zoned = "2026-01-31 10:00:00+05";
        for (text, expected) in [
            ("2026-01-31T10:00:00Z", Kind::ZonedMoment),
            ("2026-01-31 10:00:00.5-0800", Kind::ZonedMoment),
            ("2026-01-31 10:00:00 +05:30", Kind::ZonedMoment),
            ("2026-01-31 10:00:00", Kind::Text),
            ("2026-01-31", Kind::Text),
            ("", Kind::Text),
        ] {
            assert_eq!(Kind::Nothing.and(zoned).and(text), expected, "{text}");
            assert_eq!(Kind::of(text).and(zoned), expected, "{text}");
        }
    }
}
