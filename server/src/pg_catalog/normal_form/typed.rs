//! Parts of an expression with their types, and what conversions make of them.
//!
//! In: texts with types, by PostgreSQL's names; out: the texts that PostgreSQL shows for them as values of other types.
//! Knows no syntax trees.

/// Numbers from the narrowest to the widest: each becomes a later one by itself.
const NUMBERS: [&str; 6] = ["smallint", INTEGER, BIGINT, NUMERIC, "real", DOUBLE];

pub(super) const INTEGER: &str = "integer";
pub(super) const BIGINT: &str = "bigint";
pub(super) const NUMERIC: &str = "numeric";
pub(super) const DOUBLE: &str = "double precision";
pub(super) const TEXT: &str = "text";
pub(super) const VARCHAR: &str = "character varying";
pub(super) const BPCHAR: &str = "bpchar";
pub(super) const BOOLEAN: &str = "boolean";
pub(super) const DATE: &str = "date";
pub(super) const TIMESTAMP: &str = "timestamp without time zone";
pub(super) const TIMESTAMP_TZ: &str = "timestamp with time zone";
pub(super) const INTERVAL: &str = "interval";

/// A part of an expression.
#[derive(Debug, Clone)]
pub(super) struct Typed {
    /// As it is shown as an operand.
    text: String,
    /// As it is shown where conversions that nobody wrote are left out.
    plain: String,
    pub(super) data_type: String,
    /// What a literal says whose type its neighbours decide.
    open: Option<String>,
}

impl Typed {
    pub(super) fn new(text: impl Into<String>, data_type: impl Into<String>) -> Typed {
        let text = text.into();
        Typed {
            plain: text.clone(),
            text,
            data_type: data_type.into(),
            open: None,
        }
    }

    /// A literal in quotes, which has no type yet.
    pub(super) fn open(value: &str) -> Typed {
        Typed {
            open: Some(value.to_owned()),
            ..Typed::new(quoted_literal(value), "unknown")
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// As an operand.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Without conversions that nobody wrote.
    pub(super) fn plain(&self) -> &str {
        &self.plain
    }

    /// As a value of a type that it becomes by itself.
    pub(super) fn converted(self, to: &str) -> Typed {
        if let Some(value) = &self.open {
            return Typed::new(constant(value, to), to);
        }
        if self.data_type == to {
            return self;
        }
        Typed {
            text: format!("({})::{to}", self.plain),
            plain: self.plain,
            data_type: to.to_owned(),
            open: None,
        }
    }

    /// As a value of a type that was asked for.
    pub(super) fn cast(self, to: &str) -> Typed {
        let is_same = self.data_type == to;
        let converted = self.converted(to);
        match is_same {
            true => converted,
            false => Typed::new(converted.text, to),
        }
    }

    /// As an argument of a type; `None` if it does not become one by itself.
    pub(super) fn argument(self, to: &str) -> Option<Typed> {
        let becomes = self.is_open()
            || self.data_type == to
            || (to == TEXT && is_text(&self.data_type))
            || matches!((rank(&self.data_type), rank(to)), (Some(from), Some(to)) if from < to);
        becomes.then(|| self.converted(to))
    }
}

/// A place among the numbers; `None` for other types.
pub(super) fn rank(data_type: &str) -> Option<usize> {
    NUMBERS.iter().position(|number| *number == data_type)
}

pub(super) fn is_float(data_type: &str) -> bool {
    matches!(data_type, "real" | DOUBLE)
}

pub(super) fn is_whole(data_type: &str) -> bool {
    matches!(data_type, "smallint" | INTEGER | BIGINT)
}

pub(super) fn is_text(data_type: &str) -> bool {
    matches!(data_type, TEXT | VARCHAR | BPCHAR | "name")
}

/// Days and moments, which compare with each other.
pub(super) fn is_moment(data_type: &str) -> bool {
    matches!(data_type, DATE | TIMESTAMP | TIMESTAMP_TZ)
}

/// The type that all become; `None` if there is none.
pub(super) fn common_type(parts: &[Typed]) -> Option<String> {
    let mut known = parts.iter().filter(|part| !part.is_open());
    let Some(first) = known.next() else {
        return Some(TEXT.to_owned());
    };
    known.try_fold(first.data_type.clone(), |common, part| {
        if common == part.data_type {
            return Some(common);
        }
        let wider = rank(&common)? < rank(&part.data_type)?;
        Some(match wider {
            true => part.data_type.clone(),
            false => common,
        })
    })
}

/// A text in quotes.
pub(super) fn quoted_literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

/// A number as it was written.
pub(super) fn number(written: &str) -> Option<Typed> {
    let digits = written.strip_prefix('-').unwrap_or(written);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let is_plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let written = match digits.strip_prefix('.') {
            Some(_) => written.replacen('.', "0.", 1),
            None => written.to_owned(),
        };
        return is_plain.then(|| Typed::new(constant(&written, NUMERIC), NUMERIC));
    }
    let data_type = match written.parse::<i64>() {
        Ok(number) if i32::try_from(number).is_ok() => INTEGER,
        Ok(_) => BIGINT,
        Err(_) => NUMERIC,
    };
    Some(Typed::new(constant(written, data_type), data_type))
}

/// Whether a day or time is written in digits, as no word is.
fn is_clock(value: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_digit() || b"-: T".contains(&byte);
    value.bytes().all(is_part)
}

/// A literal of a type: bare where the digits alone tell the type.
fn constant(value: &str, data_type: &str) -> String {
    let trimmed = value.trim();
    let shown = match data_type {
        INTEGER => match trimmed.parse::<i32>() {
            Ok(number) if number >= 0 => return number.to_string(),
            Ok(number) => number.to_string(),
            Err(_) => value.to_owned(),
        },
        NUMERIC => {
            let is_part = |c: char| c.is_ascii_digit() || c == '.';
            let is_fraction = trimmed.contains('.') && trimmed.chars().all(is_part);
            if is_fraction && !trimmed.starts_with('.') {
                return trimmed.to_owned();
            }
            trimmed.to_owned()
        }
        BOOLEAN => match trimmed.to_lowercase().as_str() {
            "t" | "true" | "y" | "yes" | "on" | "1" => return "true".to_owned(),
            "f" | "false" | "n" | "no" | "off" | "0" => return "false".to_owned(),
            _ => value.to_owned(),
        },
        "uuid" => trimmed.to_lowercase(),
        TIMESTAMP if is_clock(trimmed) => match (trimmed.len(), trimmed.as_bytes().get(10)) {
            (10, None) => format!("{trimmed} 00:00:00"),
            (16, Some(b' ' | b'T')) => format!("{}:00", trimmed.replace('T', " ")),
            (19, Some(b'T')) => trimmed.replace('T', " "),
            _ => value.to_owned(),
        },
        "time without time zone" if trimmed.len() == 5 && is_clock(trimmed) => {
            format!("{trimmed}:00")
        }
        _ => value.to_owned(),
    };
    format!("{}::{data_type}", quoted_literal(&shown))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn literals_tell_their_types_where_digits_alone_do_not() {
        for (written, shown) in [
            ("5", "5"),
            ("-5", "'-5'::integer"),
            ("3000000000", "'3000000000'::bigint"),
            ("1.50", "1.50"),
            (".5", "0.5"),
            ("-1.5", "'-1.5'::numeric"),
        ] {
            assert_eq!(number(written).unwrap().text(), shown);
        }
        for (value, data_type, shown) in [
            ("5", INTEGER, "5"),
            ("0", NUMERIC, "'0'::numeric"),
            ("F", BOOLEAN, "false"),
            ("it's", TEXT, "'it''s'::text"),
            (
                "2024-02-05",
                TIMESTAMP,
                "'2024-02-05 00:00:00'::timestamp without time zone",
            ),
            (
                "10:00",
                "time without time zone",
                "'10:00:00'::time without time zone",
            ),
            (
                "10 pm",
                "time without time zone",
                "'10 pm'::time without time zone",
            ),
            (
                "2024-Feb-5",
                TIMESTAMP,
                "'2024-Feb-5'::timestamp without time zone",
            ),
        ] {
            assert_eq!(Typed::open(value).converted(data_type).text(), shown);
        }
    }

    #[test]
    fn conversions_that_nobody_wrote_are_operands_alone() {
        let converted = Typed::new("v", VARCHAR).converted(TEXT);
        assert_eq!((converted.text(), converted.plain()), ("(v)::text", "v"));
        let cast = Typed::new("v", VARCHAR).cast(TEXT);
        assert_eq!(cast.plain(), "(v)::text");
        assert!(Typed::new("d", DATE).argument(TEXT).is_none());
    }
}
