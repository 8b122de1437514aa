//! Parameters of a bound statement as scalar values.
//!
//! In: the bytes of one parameter, the type that was described and its format; out: a value of the
//! type that the planner prepared for. Bytes that do not fit are errors, never panics.

use std::sync::Arc;

use auspex_planner::{
    ArrayItem, address_of_bytes, address_text, holds_numerics, jsonb_text, numeric_in_full,
    numerics_in_full, read_text, report_of, rounded_numeric, split_array, uuid_text,
};
use datafusion::arrow::array::{Array as _, AsArray as _};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::DataFusionError;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::moment_bytes::read_moment;
use super::moments::parse_interval;
use super::numeric::numeric_text;
use super::wire_type::{
    address_kind, arrow_type, element_type, is_enum, is_registered, n_dimensions,
};

/// PostgreSQL's words about a zero in a text.
pub(crate) const ZERO_IN_TEXT: &str = "invalid byte sequence for encoding \"UTF8\": 0x00";

/// The most dimensions that an array has.
const MAX_DIMENSIONS: i32 = 6;

/// A parameter that cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ParameterError {
    /// The text is not a value of the type.
    #[error("invalid input syntax for type {pg_type}: \"{text}\"")]
    Text { pg_type: String, text: String },
    /// The text is not a value of the type, as literals are read.
    #[error("{message}")]
    Input {
        sqlstate: &'static str,
        message: String,
    },
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
    /// An array of more dimensions, or of fewer, than the statement was planned for.
    #[error(
        "an array of {found} dimensions cannot be used where the statement has one of {needed}"
    )]
    Dimensions { found: usize, needed: usize },
    /// The value does not fit the type that the statement needs.
    #[error("parameter of type {pg_type} cannot be used as {needed}")]
    Mismatch { pg_type: String, needed: DataType },
}

impl ParameterError {
    /// Its SQLSTATE.
    pub(crate) fn sqlstate(&self) -> &'static str {
        match self {
            ParameterError::Text { .. } => "22P02",
            ParameterError::Input { sqlstate, .. } => sqlstate,
            ParameterError::Binary { .. } => "22P03",
            ParameterError::Encoding { .. } | ParameterError::Zero => "22021",
            ParameterError::Unsupported { .. } | ParameterError::Dimensions { .. } => "0A000",
            ParameterError::Mismatch { .. } => "42804",
        }
    }
}

impl From<DataFusionError> for ParameterError {
    fn from(error: DataFusionError) -> ParameterError {
        let report = report_of(&error);
        ParameterError::Input {
            sqlstate: report.sqlstate,
            message: report.message,
        }
    }
}

/// Reads a parameter (`None` is NULL) and converts it to `needed`, but for numerics with digits that `needed` does not hold;
/// `zone` is the session's time zone.
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
    let found = value.data_type();
    if found == *needed {
        return Ok(value);
    }
    let (found, needed_depth) = (n_dimensions(&found), n_dimensions(needed));
    if found > 0 && needed_depth > 0 && found != needed_depth {
        if is_empty(&value) {
            let empty = ScalarValue::new_list(&[], &element_of(needed), true);
            return Ok(ScalarValue::List(empty));
        }
        return Err(ParameterError::Dimensions {
            found,
            needed: needed_depth,
        });
    }
    match &value {
        ScalarValue::Utf8(Some(text)) if holds_numerics(needed) => {
            Ok(numeric_in_full(text, needed)?)
        }
        ScalarValue::Utf8(Some(text)) if *pg_type == Type::NUMERIC && needed.is_integer() => {
            Ok(read_text(&whole_number(text)?, needed, zone)?)
        }
        ScalarValue::Utf8(Some(text)) if !needed.is_string() => Ok(read_text(text, needed, zone)?),
        texts if *pg_type == Type::NUMERIC_ARRAY && holds_numerics(needed) => {
            Ok(numerics_in_full(texts, needed)?)
        }
        value => value.cast_to(needed).map_err(|_| mismatch()),
    }
}

/// The whole number that a numeric is rounded to, as by an assignment. Errors: 22003, and those of texts that are no numerics.
fn whole_number(text: &str) -> Result<String, ParameterError> {
    let whole = DataType::Decimal128(38, 0);
    let rounded = rounded_numeric(&numeric_in_full(text, &whole)?, &whole)?;
    match rounded {
        ScalarValue::Decimal128(Some(number), ..) => Ok(number.to_string()),
        _ => Err(ParameterError::Text {
            pg_type: shown_name(&Type::NUMERIC),
            text: text.to_owned(),
        }),
    }
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

/// The one form of a jsonb, by which it is compared. What is no json is refused where the planner reads it.
fn jsonb(text: &str) -> ScalarValue {
    ScalarValue::from(jsonb_text(text).unwrap_or_else(|_| text.to_owned()))
}

/// Types that have no Arrow type of their own stay text: the planner's type decides. A uuid, an address and a jsonb get their one form.
fn from_text(text: &str, pg_type: &Type, zone: &str) -> Result<ScalarValue, ParameterError> {
    let wrong = || ParameterError::Text {
        pg_type: shown_name(pg_type),
        text: text.to_owned(),
    };
    if let Some(element) = element_type(pg_type) {
        return array_from_text(text, &element, zone);
    }
    let plain = ScalarValue::Utf8(Some(text.to_owned()));
    if *pg_type == Type::INTERVAL
        && let Some((months, days, nanos)) = parse_interval(text)
    {
        return Ok(ScalarValue::new_interval_mdn(months, days, nanos));
    }
    if let Some(kind) = address_kind(pg_type) {
        return Ok(address_text(kind, text).map(ScalarValue::from)?);
    }
    match (pg_type, arrow_type(pg_type)) {
        (&Type::UUID, _) => uuid_text(text).map(ScalarValue::from).ok_or_else(wrong),
        (&Type::JSONB, _) => Ok(jsonb(text)),
        // A numeric's scale is that of what needs it.
        (&Type::NUMERIC, _) | (_, Some(DataType::Utf8) | None) => Ok(plain),
        (_, Some(data_type)) => Ok(read_text(text, &data_type, zone)?),
    }
}

/// An array, or one of several dimensions as lists of lists.
fn array_from_text(text: &str, element: &Type, zone: &str) -> Result<ScalarValue, ParameterError> {
    let wrong = || ParameterError::Input {
        sqlstate: "22P02",
        message: format!("malformed array literal: \"{text}\""),
    };
    let items = split_array(text).ok_or_else(wrong)?;
    let is_nested = items.iter().any(|item| matches!(item, ArrayItem::Array(_)));
    if is_nested {
        let part = |item| match item {
            ArrayItem::Array(text) => array_from_text(&text, element, zone),
            ArrayItem::Null | ArrayItem::Value(_) => Err(wrong()),
        };
        let parts: Vec<ScalarValue> = items.into_iter().map(part).collect::<Result<_, _>>()?;
        let shapes: Vec<Vec<usize>> = parts.iter().map(shape).collect();
        return match shapes.windows(2).all(|pair| pair[0] == pair[1]) {
            true => Ok(list_of_lists(&parts)),
            false => Err(wrong()),
        };
    }
    let value = |item| match item {
        ArrayItem::Value(text) => from_text(&text, element, zone).map(Some),
        ArrayItem::Null | ArrayItem::Array(_) => Ok(None),
    };
    let items: Vec<Option<ScalarValue>> = items.into_iter().map(value).collect::<Result<_, _>>()?;
    list(items, element).ok_or_else(wrong)
}

/// Lists of one type, of which there is one at least.
fn list_of_lists(parts: &[ScalarValue]) -> ScalarValue {
    let data_type = parts.first().map_or(DataType::Null, ScalarValue::data_type);
    ScalarValue::List(ScalarValue::new_list(parts, &data_type, true))
}

/// The lengths of an array's dimensions.
fn shape(array: &ScalarValue) -> Vec<usize> {
    let mut shape = Vec::new();
    let mut list = match array {
        ScalarValue::List(list) => Some(Arc::clone(list)),
        _ => None,
    };
    while let Some(found) = list {
        let items = found.value(0);
        shape.push(items.len());
        let inner = items.as_list_opt::<i32>().filter(|inner| !inner.is_empty());
        list = inner.map(|inner| Arc::new(inner.clone()));
    }
    shape
}

fn is_empty(array: &ScalarValue) -> bool {
    shape(array).first() == Some(&0)
}

/// The elements of a list.
fn element_of(list: &DataType) -> DataType {
    match list {
        DataType::List(item) | DataType::LargeList(item) => item.data_type().clone(),
        _ => DataType::Null,
    }
}

/// A list of the element's Arrow type; of texts where it has none, and of numerics.
fn list(items: Vec<Option<ScalarValue>>, element: &Type) -> Option<ScalarValue> {
    let data_type = match *element {
        // Their scale is that of what needs them.
        Type::NUMERIC => DataType::Utf8,
        _ => arrow_type(element).unwrap_or(DataType::Utf8),
    };
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

/// Numbers of objects are integers here, below 2^31 as those of all that there are. Errors: 22003, as for such a literal.
fn oid(number: u32) -> Result<i32, ParameterError> {
    i32::try_from(number).map_err(|_| ParameterError::Input {
        sqlstate: "22003",
        message: format!("value \"{number}\" is out of range for type oid"),
    })
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
        Type::INT4 | Type::XID => fixed(bytes).map(|b| ScalarValue::from(i32::from_be_bytes(b))),
        Type::OID => {
            let number = fixed(bytes).map(|b| oid(u32::from_be_bytes(b)));
            number.transpose()?.map(ScalarValue::from)
        }
        Type::INT8 => fixed(bytes).map(|b| ScalarValue::from(i64::from_be_bytes(b))),
        Type::FLOAT4 => fixed(bytes).map(|b| ScalarValue::from(f32::from_be_bytes(b))),
        Type::FLOAT8 => fixed(bytes).map(|b| ScalarValue::from(f64::from_be_bytes(b))),
        Type::NUMERIC => numeric_text(bytes).map(ScalarValue::from),
        Type::BYTEA => Some(ScalarValue::Binary(Some(bytes.to_vec()))),
        Type::UUID => fixed::<16>(bytes).and_then(|b| {
            let digits = format!("{:032x}", u128::from_be_bytes(b));
            uuid_text(&digits).map(ScalarValue::from)
        }),
        Type::INET | Type::CIDR => {
            let kind = address_kind(pg_type);
            kind.and_then(|kind| address_of_bytes(kind, bytes))
                .map(ScalarValue::from)
        }
        Type::DATE | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::INTERVAL => {
            read_moment(bytes, pg_type)?
        }
        Type::JSONB => {
            let text = bytes.strip_prefix(&[1]).ok_or_else(wrong)?;
            Some(jsonb(utf8(text, pg_type)?))
        }
        // The one byte of an empty one.
        Type::CHAR if bytes == [0] => Some(ScalarValue::from("")),
        Type::TEXT
        | Type::VARCHAR
        | Type::BPCHAR
        | Type::NAME
        | Type::JSON
        | Type::UNKNOWN
        | Type::CHAR => Some(ScalarValue::from(utf8(bytes, pg_type)?)),
        _ if is_enum(pg_type) => Some(ScalarValue::from(utf8(bytes, pg_type)?)),
        // The number of an object, by which it is looked up as by its name.
        _ if is_registered(pg_type) => {
            fixed(bytes).map(|b| ScalarValue::from(u32::from_be_bytes(b).to_string()))
        }
        _ => {
            return Err(ParameterError::Unsupported {
                pg_type: shown_name(pg_type),
            });
        }
    };
    value.ok_or_else(wrong)
}

pub(super) fn fixed<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
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
    let n = word().ok_or_else(wrong)?;
    let (_has_null, _element_oid) = (word().ok_or_else(wrong)?, word().ok_or_else(wrong)?);
    if !(0..=MAX_DIMENSIONS).contains(&n) {
        return Err(wrong());
    }
    let mut lengths = Vec::new();
    for _ in 0..n {
        let length = word().and_then(|length| usize::try_from(length).ok());
        let _lower_bound = word().ok_or_else(wrong)?;
        lengths.push(length.ok_or_else(wrong)?);
    }
    let n_items = match lengths.is_empty() {
        true => Some(0),
        false => lengths
            .iter()
            .try_fold(1_usize, |n, length| n.checked_mul(*length)),
    };
    let mut items = Vec::new();
    for _ in 0..n_items.ok_or_else(wrong)? {
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
    boxed(items, &lengths, element).ok_or_else(wrong)
}

/// The elements of an array with the lengths of its dimensions, as lists of lists.
fn boxed(
    items: Vec<Option<ScalarValue>>,
    lengths: &[usize],
    element: &Type,
) -> Option<ScalarValue> {
    let (Some((_, inner)), false) = (lengths.split_first(), items.is_empty()) else {
        return list(items, element);
    };
    if inner.is_empty() {
        return list(items, element);
    }
    let part = |part: &[Option<ScalarValue>]| boxed(part.to_vec(), inner, element);
    let parts: Option<Vec<_>> = items.chunks(inner.iter().product()).map(part).collect();
    Some(list_of_lists(&parts?))
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
        let half_past_ten = ScalarValue::Time64Microsecond(Some(37_800_000_000));
        assert_eq!(text(Type::TIME, "10:30").unwrap(), half_past_ten);
        // As pgjdbc writes java.sql.Time, and Python a timedelta.
        assert_eq!(text(Type::TIME, "10:30:00+01").unwrap(), half_past_ten);
        assert_eq!(
            text(Type::INTERVAL, "-1 day, 23:55:00").unwrap(),
            ScalarValue::new_interval_mdn(0, -1, 86_100_000_000_000)
        );
        // As pgjdbc writes java.sql.Date.
        assert_eq!(
            text(Type::DATE, "1970-01-02 +01").unwrap(),
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
    fn texts_are_read_as_literals_are() {
        let ten = ScalarValue::TimestampMicrosecond(Some(1_704_103_200_000_000), None);
        for written in [
            "2024-01-01 10:00",
            "2024-01-01T10:00Z",
            "2024-01-01 10:00+02",
        ] {
            assert_eq!(text(Type::TIMESTAMP, written).unwrap(), ten, "{written}");
        }
        assert_eq!(
            text(Type::BYTEA, "abc").unwrap(),
            ScalarValue::Binary(Some(b"abc".to_vec()))
        );
        let needed = DataType::Decimal128(38, 0);
        let numeric = |text: &str| {
            let bytes = Some(text.as_bytes());
            decode_parameter(bytes, &Type::NUMERIC, FieldFormat::Text, &needed, "UTC")
        };
        let large = ScalarValue::Decimal128(Some(100_000_000_000_000_000_000), 38, 0);
        assert_eq!(numeric("1E+20").unwrap(), large);
        assert_eq!(numeric("NaN").unwrap_err().sqlstate(), "0A000");
    }

    #[test]
    fn numerics_are_rounded_to_whole_numbers() {
        let whole = |text: &str, needed: DataType| {
            let bytes = Some(text.as_bytes());
            decode_parameter(bytes, &Type::NUMERIC, FieldFormat::Text, &needed, "UTC")
        };
        for (text, expected) in [
            ("5.00", 5),
            ("1.6", 2),
            ("2.5", 3),
            ("-2.5", -3),
            ("1E+3", 1000),
        ] {
            let found = whole(text, DataType::Int32).unwrap();
            assert_eq!(found, ScalarValue::Int32(Some(expected)), "{text}");
        }
        let large = whole("12345678901234567.0", DataType::Int64).unwrap();
        assert_eq!(large, ScalarValue::Int64(Some(12_345_678_901_234_567)));
        let error = whole("32767.5", DataType::Int16).unwrap_err();
        assert_eq!(error.sqlstate(), "22003");
    }

    #[test]
    fn wrong_text_is_named() {
        let error = text(Type::INT4, "abc").unwrap_err();
        assert_eq!(error.sqlstate(), "22P02");
        assert_eq!(
            error.to_string(),
            "invalid input syntax for type integer: \"abc\""
        );
        assert_eq!(text(Type::BYTEA, "\\xzz").unwrap_err().sqlstate(), "22023");
        let too_large = text(Type::INT4, "99999999999").unwrap_err();
        assert_eq!(too_large.sqlstate(), "22003");
        assert_eq!(text(Type::FLOAT8, "1e400").unwrap_err().sqlstate(), "22003");
        assert!(text(Type::INT4_ARRAY, "{1,{2}}").is_err());
        assert!(text(Type::INT4_ARRAY, "1,2").is_err());
    }

    #[test]
    fn arrays_are_read_with_quotes_and_nulls() {
        let ScalarValue::List(list) = text(Type::INT8_ARRAY, "{1,NULL,3}").unwrap() else {
            panic!("not a list");
        };
        assert_eq!(list.values().len(), 3);
    }

    #[test]
    fn arrays_of_several_dimensions_are_lists_of_lists() {
        let inner = DataType::new_list(DataType::Int32, true);
        let needed = DataType::new_list(inner, true);
        let read = |bytes: &[u8], format, needed: &DataType| {
            decode_parameter(Some(bytes), &Type::INT4_ARRAY, format, needed, "UTC")
        };
        let of_text = read(b"{{1,2},{3,NULL}}", FieldFormat::Text, &needed).unwrap();
        assert_eq!(of_text.to_string(), "[[1, 2], [3, ]]");
        let words = [2, 1, 23, 2, 1, 2, 1, 4, 1, 4, 2, 4, 3, -1_i32];
        let binary: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(
            read(&binary, FieldFormat::Binary, &needed).unwrap(),
            of_text
        );
        let empty = read(b"{}", FieldFormat::Text, &needed).unwrap();
        assert_eq!(empty.data_type(), needed);
        let flat = DataType::new_list(DataType::Int32, true);
        for (text, needed, sqlstate) in [
            ("{{1,2},{3}}", &needed, "22P02"),
            ("{{1,2},3}", &needed, "22P02"),
            ("{{1,2}}", &flat, "0A000"),
            ("{1,2}", &needed, "0A000"),
        ] {
            let error = read(text.as_bytes(), FieldFormat::Text, needed).unwrap_err();
            assert_eq!(error.sqlstate(), sqlstate, "{text}");
        }
    }

    #[test]
    fn what_is_no_array_is_a_malformed_one() {
        let error = text(Type::INT4_ARRAY, "7").unwrap_err();
        assert_eq!(error.sqlstate(), "22P02");
        assert_eq!(error.to_string(), "malformed array literal: \"7\"");
        let error = text(Type::INT4_ARRAY, "{x}").unwrap_err();
        let expected = "invalid input syntax for type integer: \"x\"";
        assert_eq!(error.to_string(), expected);
    }

    #[test]
    fn numerics_keep_the_digits_that_the_statement_has_not() {
        let column = DataType::Decimal128(12, 2);
        let list = DataType::new_list(column.clone(), true);
        let read = |text: &str, pg_type: &Type, needed: &DataType| {
            let bytes = Some(text.as_bytes());
            let read = decode_parameter(bytes, pg_type, FieldFormat::Text, needed, "UTC").unwrap();
            (read.data_type(), read.to_string())
        };
        let numeric = |text: &str| read(text, &Type::NUMERIC, &column);
        assert_eq!(numeric("1.500"), (column.clone(), "1.50".to_owned()));
        let own = DataType::Decimal128(4, 3);
        assert_eq!(numeric("1.004"), (own.clone(), "1.004".to_owned()));
        let array = |text: &str| read(text, &Type::NUMERIC_ARRAY, &list);
        assert_eq!(array("{1.5,NULL}").0, list);
        assert_eq!(array("{1.5,1.004}").0, DataType::new_list(own, true));
        assert_eq!(array("{}").0, list);
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
    fn numbers_of_objects_have_no_sign() {
        let read = |number: u32| {
            let bytes = number.to_be_bytes();
            let (needed, format) = (DataType::Int32, FieldFormat::Binary);
            decode_parameter(Some(&bytes), &Type::OID, format, &needed, "UTC")
        };
        assert_eq!(read(16_384).unwrap(), ScalarValue::Int32(Some(16_384)));
        let error = read(u32::MAX).unwrap_err();
        assert_eq!(error.sqlstate(), "22003");
        assert_eq!(
            error.to_string(),
            "value \"4294967295\" is out of range for type oid"
        );
    }

    #[test]
    fn truncated_binary_parameters_are_errors() {
        for pg_type in [
            Type::INT4,
            Type::TIMESTAMP,
            Type::NUMERIC,
            Type::INT4_ARRAY,
            Type::UUID,
            Type::INET,
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
