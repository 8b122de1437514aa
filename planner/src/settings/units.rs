//! Settings that are numbers with a unit, as PostgreSQL reads and shows them.
//!
//! In: a text such as `1500ms`, `2min` or `64MB`, or a bare number in the setting's own unit; out: the number, and the text
//! that `SHOW` gives for it, in the largest unit that it is a whole number of.

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// Nothing in particular.
    Number,
    Milliseconds,
    Seconds,
    Kilobytes,
}

/// The units of time from the longest on, in milliseconds.
const TIMES: [(&str, f64); 6] = [
    ("d", 86_400_000.0),
    ("h", 3_600_000.0),
    ("min", 60_000.0),
    ("s", 1_000.0),
    ("ms", 1.0),
    ("us", 0.001),
];

/// The units of memory from the largest on, in kilobytes.
const SIZES: [(&str, f64); 5] = [
    ("TB", 1_073_741_824.0),
    ("GB", 1_048_576.0),
    ("MB", 1_024.0),
    ("kB", 1.0),
    ("B", 0.000_976_562_5),
];

impl Unit {
    /// The unit as `pg_settings` names it.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Unit::Number => None,
            Unit::Milliseconds => Some("ms"),
            Unit::Seconds => Some("s"),
            Unit::Kilobytes => Some("kB"),
        }
    }

    /// What a value may be, for the hint of an error.
    pub(super) fn expected(self) -> &'static str {
        match self {
            Unit::Number => "a number",
            Unit::Milliseconds => {
                "a number of milliseconds, or a number with us, ms, s, min, h or d"
            }
            Unit::Seconds => "a number of seconds, or a number with us, ms, s, min, h or d",
            Unit::Kilobytes => "a number of kilobytes, or a number with B, kB, MB, GB or TB",
        }
    }

    /// The units that a value may have, from the largest on, and how many of this one each is.
    fn scales(self) -> Vec<(&'static str, f64)> {
        let shorter = |(name, size): (&'static str, f64)| (name, size / 1_000.0);
        match self {
            Unit::Number => Vec::new(),
            Unit::Milliseconds => TIMES.to_vec(),
            Unit::Seconds => TIMES.into_iter().map(shorter).collect(),
            Unit::Kilobytes => SIZES.to_vec(),
        }
    }

    /// The number that a text means; `None` if it is none.
    pub(super) fn read(self, text: &str) -> Option<i64> {
        let text = text.trim();
        let is_digit = |c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-');
        let end = text.find(|c| !is_digit(c)).unwrap_or(text.len());
        let number: f64 = text[..end].parse().ok()?;
        let number = match text[end..].trim() {
            "" => number,
            unit => {
                let mut scales = self.scales().into_iter();
                let (_, size) = scales.find(|(name, _)| *name == unit)?;
                // A fraction is a whole number of the next smaller unit.
                match scales.next() {
                    Some((_, smaller)) => (number * size / smaller).round_ties_even() * smaller,
                    None => number * size,
                }
            }
        };
        // What is beyond the numbers that there are is out of any setting's range, too.
        Some(number.round_ties_even() as i64)
    }

    /// The text of a number.
    pub(super) fn shown(self, number: i64) -> String {
        // Lossless: those that are compared are whole.
        let whole = self.scales().into_iter().filter(|(_, size)| *size >= 1.0);
        let mut whole = whole.map(|(name, size)| (name, size as i64));
        match whole.find(|(_, size)| number > 0 && number % size == 0) {
            Some((name, size)) => format!("{}{name}", number / size),
            None => number.to_string(),
        }
    }
}

/// A duration as PostgreSQL writes it: `250`, `250ms`, `2s`, `5min`, `1h`, `1d`.
pub(crate) fn milliseconds(text: &str) -> Option<u64> {
    let number = Unit::Milliseconds.read(text)?;
    u64::try_from(number).ok()
}

/// A size as PostgreSQL writes it: `512MB`, `1.5GB`; a number alone is bytes.
pub(crate) fn size_bytes(text: &str) -> Option<usize> {
    let text = text.trim();
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let number: f64 = text[..digits].parse().ok()?;
    let power = match text[digits..].trim().to_lowercase().as_str() {
        "" | "b" => 0,
        "kb" => 1,
        "mb" => 2,
        "gb" => 3,
        "tb" => 4,
        _ => return None,
    };
    let bytes = number * 1024_f64.powi(power);
    (bytes >= 1.0 && bytes < usize::MAX as f64).then_some(bytes as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_in_the_largest_unit_that_fits() {
        for (unit, written, shown) in [
            (Unit::Milliseconds, "90000", "90s"),
            (Unit::Milliseconds, "1.5s", "1500ms"),
            (Unit::Milliseconds, "3600000", "1h"),
            (Unit::Milliseconds, "61000", "61s"),
            (Unit::Milliseconds, "0.5ms", "0"),
            (Unit::Milliseconds, "0.00001min", "0"),
            (Unit::Milliseconds, "0.6ms", "1ms"),
            (Unit::Milliseconds, "90 s", "90s"),
            (Unit::Milliseconds, "-1", "-1"),
            (Unit::Seconds, "60", "1min"),
            (Unit::Seconds, "1500ms", "2s"),
            (Unit::Kilobytes, "8192", "8MB"),
            (Unit::Kilobytes, "0.5GB", "512MB"),
            (Unit::Kilobytes, "1.3GB", "1331MB"),
            (Unit::Kilobytes, "100", "100kB"),
            (Unit::Number, "-15", "-15"),
        ] {
            let number = unit.read(written).unwrap();
            assert_eq!(unit.shown(number), shown, "{written}");
        }
        for wrong in ["", "5 sec", "7KB", "1e"] {
            assert_eq!(Unit::Milliseconds.read(wrong), None, "{wrong}");
        }
        assert_eq!(milliseconds("2min"), Some(120_000));
    }
}
