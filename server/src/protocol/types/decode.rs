//! Parameters of a bound statement as scalar values.
//!
//! In: the bytes of one parameter, the type that was described and its format; out: a value of the
//! type that the planner prepared for. Bytes that do not fit are errors, never panics.

use auspex_planner::uuid_text;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::moments::{EPOCH_DAYS, EPOCH_MICROS, parse_interval};
use super::numeric::numeric_text;
use super::wire_type::{arrow_type, element_type};

/// PostgreSQL's words about a zero in a text.
pub(crate) const ZERO_IN_TEXT: &str = "invalid byte sequence for encoding \"UTF8\": 0x00";

/// A parameter that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParameterError {
    /// The text is not a value of the type.
    #[error("invalid input syntax for type {pg_type}: \"{text}\"")]
    Text { pg_type: String, text: String },
    /// The bytes are not the binary form of the type.
    #[error("incorrect binary data format in parameter of type {pg_type}")]
    Binary { pg_type: String },
    /// The bytes are not UTF-8.
    #[error("invalid byte sequence for encoding \"UTF8\" in parameter of type {pg_type}")]
    Encoding { pg_type: String },
    /// A text holds a zero, which no text of PostgreSQL may.
    #[error("{}", ZERO_IN_TEXT)]
    Zero,
    /// The type has no binary form here.
    #[error("binary parameters of type {pg_type} are not supported")]
    Unsupported { pg_type: String },
    /// The value does not fit the type that the statement needs.
    #[error("parameter of type {pg_type} cannot be used as {needed}")]
    Mismatch { pg_type: String, needed: DataType },
}

impl ParameterError {
    /// Its SQLSTATE.
    pub(crate) fn sqlstate(&self) -> &'static str {
        match self {
            ParameterError::Text { .. } => "22P02",
            ParameterError::Binary { .. } => "22P03",
            ParameterError::Encoding { .. } | ParameterError::Zero => "22021",
            ParameterError::Unsupported { .. } => "0A000",
            ParameterError::Mismatch { .. } => "42804",
        }
    }
}

/// Reads a parameter (`None` is NULL) and converts it to `needed`; `zone` is the session's time zone.
pub(crate) fn decode_parameter(
    bytes: Option<&[u8]>,
    pg_type: &Type,
    format: FieldFormat,
    needed: &DataType,
    zone: &str,
) -> Result<ScalarValue, ParameterError> {
    let mismatch = || ParameterError::Mismatch {
        pg_type: shown_name(pg_type),
        needed: needed.clone(),
    };
    let Some(bytes) = bytes else {
        return ScalarValue::try_from(needed).map_err(|_| mismatch());
    };
    let value = match format {
        FieldFormat::Text => from_text(utf8(bytes, pg_type)?, pg_type, zone)?,
        FieldFormat::Binary => from_binary(bytes, pg_type)?,
    };
    if value.data_type() == *needed {
        return Ok(value);
    }
    value.cast_to(needed).map_err(|_| match &value {
        ScalarValue::Utf8(Some(text)) => ParameterError::Text {
            pg_type: shown_name(&super::pg_type(needed)),
            text: text.clone(),
        },
        _ => mismatch(),
    })
}

/// A type's name as PostgreSQL's messages have it.
fn shown_name(pg_type: &Type) -> String {
    let name = match *pg_type {
        Type::BOOL => "boolean",
        Type::INT2 => "smallint",
        Type::INT4 => "integer",
        Type::INT8 => "bigint",
        Type::FLOAT4 => "real",
        Type::FLOAT8 => "double precision",
        Type::TIME => "time without time zone",
        Type::TIMESTAMP => "timestamp without time zone",
        Type::TIMESTAMPTZ => "timestamp with time zone",
        Type::VARCHAR => "character varying",
        _ => pg_type.name(),
    };
    name.to_owned()
}

fn utf8<'a>(bytes: &'a [u8], pg_type: &Type) -> Result<&'a str, ParameterError> {
    let text = std::str::from_utf8(bytes).map_err(|_| ParameterError::Encoding {
        pg_type: shown_name(pg_type),
    })?;
    match text.contains('\0') {
        true => Err(ParameterError::Zero),
        false => Ok(text),
    }
}

/// Types that have no Arrow type of their own stay text: the planner's type decides. A uuid gets its one form.
fn from_text(text: &str, pg_type: &Type, zone: &str) -> Result<ScalarValue, ParameterError> {
    let wrong = || ParameterError::Text {
        pg_type: shown_name(pg_type),
        text: text.to_owned(),
    };
    if let Some(element) = element_type(pg_type) {
        let items = split_array(text)
            .ok_or_else(wrong)?
            .into_iter()
            .map(|item| {
                item.map(|item| from_text(&item, &element, zone))
                    .transpose()
            })
            .collect::<Result<Vec<_>, _>>()?;
        return list(items, &element).ok_or_else(wrong);
    }
    let plain = ScalarValue::Utf8(Some(text.to_owned()));
    if *pg_type == Type::INTERVAL
        && let Some((months, days, nanos)) = parse_interval(text)
    {
        return Ok(ScalarValue::new_interval_mdn(months, days, nanos));
    }
    match (pg_type, arrow_type(pg_type)) {
        (&Type::UUID, _) => uuid_text(text).map(ScalarValue::from).ok_or_else(wrong),
        (&Type::BYTEA, _) => bytea(text)
            .map(|value| ScalarValue::Binary(Some(value)))
            .ok_or_else(wrong),
        (&Type::TIMESTAMPTZ, Some(DataType::Timestamp(unit, utc))) => {
            // A text without an offset is meant in the session's zone.
            let local = plain.cast_to(&DataType::Timestamp(unit, Some(zone.into())));
            let value = local.and_then(|value| value.cast_to(&DataType::Timestamp(unit, utc)));
            value.map_err(|_| wrong())
        }
        // Its scale is that of what needs it.
        (&Type::NUMERIC, _) | (_, Some(DataType::Utf8) | None) => Ok(plain),
        (_, Some(data_type)) => {
            let trimmed = ScalarValue::Utf8(Some(text.trim().to_owned()));
            let value = trimmed.cast_to(&data_type).map_err(|_| wrong())?;
            if value.is_null() {
                Err(wrong())
            } else {
                Ok(value)
            }
        }
    }
}

/// `\x` and hexadecimal digits.
fn bytea(text: &str) -> Option<Vec<u8>> {
    let digits = text.strip_prefix("\\x")?.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let pair = |pair: &[u8]| {
        let text = std::str::from_utf8(pair).ok()?;
        u8::from_str_radix(text, 16).ok()
    };
    digits.chunks(2).map(pair).collect()
}

/// The elements of an array's text; `None` stands for NULL. Arrays have one dimension.
fn split_array(text: &str) -> Option<Vec<Option<String>>> {
    let inner = text.trim().strip_prefix('{')?.strip_suffix('}')?;
    let mut items = Vec::new();
    if inner.trim().is_empty() {
        return Some(items);
    }
    let mut chars = inner.chars().peekable();
    loop {
        while chars.next_if(|c| c.is_whitespace()).is_some() {}
        let mut item = String::new();
        let quoted = chars.next_if_eq(&'"').is_some();
        loop {
            match chars.peek().copied() {
                Some('\\') => {
                    chars.next();
                    item.push(chars.next()?);
                }
                Some('"') if quoted => {
                    chars.next();
                    break;
                }
                Some('{' | '}' | '"') if !quoted => return None,
                Some(',') | None if !quoted => break,
                Some(c) => {
                    chars.next();
                    item.push(c);
                }
                None => return None,
            }
        }
        if quoted {
            while chars.next_if(|c| c.is_whitespace()).is_some() {}
        }
        let item = if quoted {
            item
        } else {
            item.trim_end().to_owned()
        };
        let is_null = !quoted && item.eq_ignore_ascii_case("null");
        items.push((!is_null).then_some(item));
        match chars.next() {
            Some(',') => {}
            Some(_) => return None,
            None => return Some(items),
        }
    }
}

/// A list of the element's Arrow type; text where it has none.
fn list(items: Vec<Option<ScalarValue>>, element: &Type) -> Option<ScalarValue> {
    let data_type = arrow_type(element).unwrap_or(DataType::Utf8);
    let null = ScalarValue::try_from(&data_type).ok()?;
    let items: Vec<ScalarValue> = items
        .into_iter()
        .map(|item| match item {
            Some(item) => item.cast_to(&data_type).ok(),
            None => Some(null.clone()),
        })
        .collect::<Option<_>>()?;
    Some(ScalarValue::List(ScalarValue::new_list(
        &items, &data_type, true,
    )))
}

fn from_binary(bytes: &[u8], pg_type: &Type) -> Result<ScalarValue, ParameterError> {
    let wrong = || ParameterError::Binary {
        pg_type: shown_name(pg_type),
    };
    if let Some(element) = element_type(pg_type) {
        return array_from_binary(bytes, pg_type, &element);
    }
    let value = match *pg_type {
        Type::BOOL => fixed::<1>(bytes).map(|[byte]| ScalarValue::from(byte != 0)),
        Type::INT2 => fixed(bytes).map(|b| ScalarValue::from(i16::from_be_bytes(b))),
        Type::INT4 | Type::OID => fixed(bytes).map(|b| ScalarValue::from(i32::from_be_bytes(b))),
        Type::INT8 => fixed(bytes).map(|b| ScalarValue::from(i64::from_be_bytes(b))),
        Type::FLOAT4 => fixed(bytes).map(|b| ScalarValue::from(f32::from_be_bytes(b))),
        Type::FLOAT8 => fixed(bytes).map(|b| ScalarValue::from(f64::from_be_bytes(b))),
        Type::NUMERIC => numeric_text(bytes).map(ScalarValue::from),
        Type::BYTEA => Some(ScalarValue::Binary(Some(bytes.to_vec()))),
        Type::UUID => fixed::<16>(bytes).and_then(|b| {
            let digits = format!("{:032x}", u128::from_be_bytes(b));
            uuid_text(&digits).map(ScalarValue::from)
        }),
        Type::DATE => fixed(bytes).map(|b| {
            // Lossless: dates of both epochs fit in 32 bits.
            let days = i32::from_be_bytes(b).saturating_add(EPOCH_DAYS as i32);
            ScalarValue::Date32(Some(days))
        }),
        Type::TIME => {
            fixed(bytes).map(|b| ScalarValue::Time64Microsecond(Some(i64::from_be_bytes(b))))
        }
        Type::TIMESTAMP => micros(bytes).map(|m| ScalarValue::TimestampMicrosecond(Some(m), None)),
        Type::TIMESTAMPTZ => {
            micros(bytes).map(|m| ScalarValue::TimestampMicrosecond(Some(m), Some("UTC".into())))
        }
        Type::INTERVAL => fixed::<16>(bytes).map(|b| interval(&b)),
        Type::JSONB => {
            let text = bytes.strip_prefix(&[1]).ok_or_else(wrong)?;
            Some(ScalarValue::from(utf8(text, pg_type)?))
        }
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::JSON
        | Type::UNKNOWN
        | Type::CHAR => Some(ScalarValue::from(utf8(bytes, pg_type)?)),
        _ => {
            return Err(ParameterError::Unsupported {
                pg_type: shown_name(pg_type),
            });
        }
    };
    value.ok_or_else(wrong)
}

fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn micros(bytes: &[u8]) -> Option<i64> {
    Some(i64::from_be_bytes(fixed(bytes)?).saturating_add(EPOCH_MICROS))
}

fn interval(bytes: &[u8; 16]) -> ScalarValue {
    let word =
        |at: usize| i32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let high = i64::from(word(0)) << 32;
    let micros = high | i64::from(word(4) as u32);
    ScalarValue::new_interval_mdn(word(12), word(8), micros.saturating_mul(1_000))
}

fn array_from_binary(
    bytes: &[u8],
    pg_type: &Type,
    element: &Type,
) -> Result<ScalarValue, ParameterError> {
    let wrong = || ParameterError::Binary {
        pg_type: shown_name(pg_type),
    };
    let mut rest = bytes;
    let mut word = || {
        let (head, tail) = rest.split_at_checked(4)?;
        rest = tail;
        Some(i32::from_be_bytes(fixed(head)?))
    };
    let n_dimensions = word().ok_or_else(wrong)?;
    let (_has_null, _element_oid) = (word().ok_or_else(wrong)?, word().ok_or_else(wrong)?);
    let n_items = match n_dimensions {
        0 => 0,
        1 => {
            let n_items = word().ok_or_else(wrong)?;
            let _lower_bound = word().ok_or_else(wrong)?;
            n_items
        }
        _ => {
            return Err(ParameterError::Unsupported {
                pg_type: shown_name(pg_type),
            });
        }
    };
    let mut items = Vec::new();
    for _ in 0..n_items {
        let (head, tail) = rest.split_at_checked(4).ok_or_else(wrong)?;
        let length = i32::from_be_bytes(fixed(head).ok_or_else(wrong)?);
        rest = tail;
        let Ok(length) = usize::try_from(length) else {
            items.push(None);
            continue;
        };
        let (item, tail) = rest.split_at_checked(length).ok_or_else(wrong)?;
        rest = tail;
        items.push(Some(from_binary(item, element)?));
    }
    list(items, element).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(pg_type: Type, text: &str) -> Result<ScalarValue, ParameterError> {
        let needed = arrow_type(&pg_type).unwrap_or(DataType::Utf8);
        decode_parameter(
            Some(text.as_bytes()),
            &pg_type,
            FieldFormat::Text,
            &needed,
            "Europe/Berlin",
        )
    }

    #[test]
    fn text_parameters_become_values_of_their_type() {
        assert_eq!(text(Type::INT4, " 42 ").unwrap(), ScalarValue::from(42));
        assert_eq!(text(Type::BOOL, "t").unwrap(), ScalarValue::from(true));
        assert_eq!(
            text(Type::FLOAT8, "-Infinity").unwrap(),
            ScalarValue::from(f64::NEG_INFINITY)
        );
        assert_eq!(
            text(Type::BYTEA, "\\x00ff").unwrap(),
            ScalarValue::Binary(Some(vec![0, 255]))
        );
        assert_eq!(
            text(Type::DATE, "1970-01-02").unwrap(),
            ScalarValue::Date32(Some(1))
        );
        assert_eq!(text(Type::TEXT, " a ").unwrap(), ScalarValue::from(" a "));
        let utc = Some("UTC".into());
        assert_eq!(
            text(Type::TIMESTAMPTZ, "1970-01-01 01:00:00").unwrap(),
            ScalarValue::TimestampMicrosecond(Some(0), utc)
        );
        assert_eq!(
            text(Type::INTERVAL, "1 mon 2 days 03:00:00").unwrap(),
            ScalarValue::new_interval_mdn(1, 2, 3 * 3_600 * 1_000_000_000)
        );
    }

    #[test]
    fn wrong_text_is_named() {
        let error = text(Type::INT4, "abc").unwrap_err();
        assert_eq!(error.sqlstate(), "22P02");
        assert_eq!(
            error.to_string(),
            "invalid input syntax for type integer: \"abc\""
        );
        assert!(text(Type::BYTEA, "zz").is_err());
        assert!(text(Type::INT4_ARRAY, "{1,{2}}").is_err());
        assert!(text(Type::INT4_ARRAY, "1,2").is_err());
    }

    #[test]
    fn arrays_are_read_with_quotes_and_nulls() {
        assert_eq!(
            split_array(r#"{a, "b c" ,"d\"e",NULL,"NULL",""}"#).unwrap(),
            ["a", "b c", "d\"e", "\0", "NULL", ""]
                .map(|item| (item != "\0").then(|| item.to_owned()))
        );
        assert_eq!(split_array("{}").unwrap(), Vec::<Option<String>>::new());
        let ScalarValue::List(list) = text(Type::INT8_ARRAY, "{1,NULL,3}").unwrap() else {
            panic!("not a list");
        };
        assert_eq!(list.values().len(), 3);
    }

    #[test]
    fn no_text_holds_a_zero() {
        for format in [FieldFormat::Text, FieldFormat::Binary] {
            let bytes = Some(&b"a\0b"[..]);
            let found = decode_parameter(bytes, &Type::TEXT, format, &DataType::Utf8, "UTC");
            let error = found.unwrap_err();
            assert_eq!(error.sqlstate(), "22021");
            assert_eq!(
                error.to_string(),
                "invalid byte sequence for encoding \"UTF8\": 0x00"
            );
        }
    }

    #[test]
    fn truncated_binary_parameters_are_errors() {
        for pg_type in [
            Type::INT4,
            Type::TIMESTAMP,
            Type::NUMERIC,
            Type::INT4_ARRAY,
            Type::UUID,
        ] {
            let needed = arrow_type(&pg_type).unwrap_or(DataType::Utf8);
            let result = decode_parameter(
                Some(&[1, 2, 3]),
                &pg_type,
                FieldFormat::Binary,
                &needed,
                "UTC",
            );
            assert_eq!(result.unwrap_err().sqlstate(), "22P03");
        }
    }
}
