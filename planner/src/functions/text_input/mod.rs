//! Values read from text as PostgreSQL reads them, wherever a plan casts text to another type.
//!
//! In: a cast of text, written or put there by the planner; out: a call of a function that reads PostgreSQL's forms of
//! dates (`Jan 5 2024`), time stamps (`2024-07-01 12:00+02`), numerics (`1e5`), booleans (`off`), arrays (`{1,2}`) and
//! bytes (`\x00ff`). Other casts stay as they are.

mod array_text;
mod moment_text;

use std::sync::Arc;

pub use array_text::{ArrayItem, split_array};
use chrono::{NaiveDate, NaiveDateTime};
use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    ListArray, PrimitiveArray, StringArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{
    ArrowTimestampType, DataType, FieldRef, TimeUnit, TimestampMicrosecondType,
    TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable as _, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};

use super::call::failure;
use super::dimensions::is_box;
use super::moment::{in_zone, zone};

/// Puts the functions of this module in the place of casts.
#[derive(Debug)]
pub(super) struct ReadTexts;

impl FunctionRewrite for ReadTexts {
    fn name(&self) -> &str {
        "read_texts"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let Expr::Cast(cast) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let Some(name) = function_name(cast.field.data_type()) else {
            return Ok(Transformed::no(expr));
        };
        let is_text = |data_type: DataType| data_type.is_string();
        if !cast.expr.get_type(schema).is_ok_and(is_text) {
            return Ok(Transformed::no(expr));
        }
        let function = ScalarUDF::from(ReadText {
            name,
            target: Arc::clone(&cast.field),
            // Words such as `now` and texts without a zone depend on the session.
            signature: Signature::any(1, Volatility::Stable),
        });
        Ok(Transformed::yes(
            function.call(vec![cast.expr.as_ref().clone()]),
        ))
    }
}

/// The name of the function that reads a type; `None`: the planner's cast does it.
fn function_name(target: &DataType) -> Option<&'static str> {
    Some(match target {
        DataType::Boolean => "bool_in",
        DataType::Date32 => "date_in",
        DataType::Timestamp(_, None) => "timestamp_in",
        DataType::Timestamp(_, Some(_)) => "timestamptz_in",
        DataType::Decimal128(..) => "numeric_in",
        DataType::Binary => "bytea_in",
        DataType::List(item) if !item.data_type().is_nested() || is_list(item.data_type()) => {
            "array_in"
        }
        _ => return None,
    })
}

fn is_list(data_type: &DataType) -> bool {
    matches!(data_type, DataType::List(_))
}

/// Reads the values of one type.
#[derive(Debug, PartialEq, Eq, Hash)]
struct ReadText {
    name: &'static str,
    target: FieldRef,
    signature: Signature,
}

impl ScalarUDFImpl for ReadText {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.target.data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        let field = self.target.as_ref().clone().with_name(self.name);
        Ok(Arc::new(field.with_nullable(nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let is_constant = matches!(args.args.as_slice(), [ColumnarValue::Scalar(_)]);
        let n_rows = if is_constant { 1 } else { args.number_rows };
        let [text] = args.args.as_slice() else {
            let message = format!("{} takes one text", self.name);
            return Err(DataFusionError::Internal(message));
        };
        let texts = cast(&text.clone().into_array(n_rows)?, &DataType::Utf8)?;
        let zone = args.config_options.execution.time_zone.as_deref();
        let reader = Reader {
            zone: zone.unwrap_or("UTC"),
        };
        let values = reader.values(texts.as_string(), self.target.data_type())?;
        Ok(match is_constant {
            true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
            false => ColumnarValue::Array(values),
        })
    }
}

/// The array that a text is, on the clock of UTC.
pub(crate) fn read_array(text: &str, target: &DataType) -> Result<ScalarValue> {
    let texts = StringArray::from(vec![text]);
    let values = Reader { zone: "UTC" }.values(&texts, target)?;
    ScalarValue::try_from_array(&values, 0)
}

/// Reads texts on the clock of a time zone.
struct Reader<'a> {
    zone: &'a str,
}

impl Reader<'_> {
    fn values(&self, texts: &StringArray, target: &DataType) -> Result<ArrayRef> {
        Ok(match target {
            DataType::Boolean => {
                let values: BooleanArray = each(texts, |text| {
                    boolean(text).ok_or_else(|| wrong("boolean", text))
                })?;
                Arc::new(values)
            }
            DataType::Date32 => {
                let values: Date32Array = each(texts, |text| {
                    let day = self.moment(text, "date")?.date();
                    Ok(day.signed_duration_since(NaiveDate::default()).num_days() as i32)
                })?;
                Arc::new(values)
            }
            DataType::Timestamp(unit, zone) => self.time_stamps(texts, *unit, zone.clone())?,
            DataType::Decimal128(precision, scale) => {
                let values: Decimal128Array =
                    each(texts, |text| numeric(text, *precision, *scale))?;
                Arc::new(values.with_precision_and_scale(*precision, *scale)?)
            }
            DataType::Binary => {
                let values = texts.iter().map(|text| text.map(bytes));
                Arc::new(values.collect::<BinaryArray>())
            }
            DataType::List(item) => self.arrays(texts, item)?,
            other => {
                // What does not fit is an error, not NULL.
                let options = CastOptions {
                    safe: false,
                    ..CastOptions::default()
                };
                cast_with_options(texts, other, &options)?
            }
        })
    }

    /// A date and time; a zone that is written is left out.
    fn moment(&self, text: &str, type_name: &'static str) -> Result<NaiveDateTime> {
        Ok(moment_text::read(text, type_name, self.zone)?.local)
    }

    fn time_stamps(
        &self,
        texts: &StringArray,
        unit: TimeUnit,
        type_zone: Option<Arc<str>>,
    ) -> Result<ArrayRef> {
        let has_zone = type_zone.is_some();
        let session_zone = zone(self.zone)?;
        let micros = |text: &str| {
            if !has_zone {
                let local = self.moment(text, "timestamp")?;
                return Ok(local.and_utc().timestamp_micros());
            }
            let read = moment_text::read(text, "timestamp with time zone", self.zone)?;
            Ok(match read.zone {
                Some(moment_text::Zone::Seconds(east)) => {
                    read.local.and_utc().timestamp_micros() - i64::from(east) * 1_000_000
                }
                Some(moment_text::Zone::Named(zone)) => {
                    in_zone(read.local, &zone)?.timestamp_micros()
                }
                None => in_zone(read.local, &session_zone)?.timestamp_micros(),
            })
        };
        fn column<T: ArrowTimestampType>(
            texts: &StringArray,
            micros: impl Fn(&str) -> Result<i64>,
            in_unit: impl Fn(i64) -> Option<i64>,
            zone: Option<Arc<str>>,
        ) -> Result<ArrayRef> {
            let values: PrimitiveArray<T> = each(texts, |text| {
                in_unit(micros(text)?).ok_or_else(|| {
                    let message = format!("timestamp out of range: \"{text}\"");
                    failure("22008", message)
                })
            })?;
            Ok(Arc::new(values.with_timezone_opt(zone)))
        }
        let zone = type_zone;
        match unit {
            TimeUnit::Second => column::<TimestampSecondType>(
                texts,
                micros,
                |micros| Some(micros.div_euclid(1_000_000)),
                zone,
            ),
            TimeUnit::Millisecond => column::<TimestampMillisecondType>(
                texts,
                micros,
                |micros| Some(micros.div_euclid(1000)),
                zone,
            ),
            TimeUnit::Microsecond => column::<TimestampMicrosecondType>(texts, micros, Some, zone),
            TimeUnit::Nanosecond => column::<TimestampNanosecondType>(
                texts,
                micros,
                |micros| micros.checked_mul(1000),
                zone,
            ),
        }
    }

    fn arrays(&self, texts: &StringArray, item: &FieldRef) -> Result<ArrayRef> {
        let keeps_braces = is_list(item.data_type());
        let (mut items, mut lengths, mut valid) = (Vec::new(), Vec::new(), Vec::new());
        for text in texts {
            let found = match text {
                Some(text) => array_text::split(text, keeps_braces)?,
                None => Vec::new(),
            };
            lengths.push(found.len());
            valid.push(text.is_some());
            items.extend(found);
        }
        let items = self.values(&StringArray::from(items), item.data_type())?;
        let lists = ListArray::try_new(
            Arc::clone(item),
            OffsetBuffer::from_lengths(lengths),
            items,
            Some(valid.into()),
        )?;
        let odd = (0..lists.len()).find(|row| !is_box(&lists.value(*row)));
        match odd.filter(|_| keeps_braces) {
            None => Ok(Arc::new(lists)),
            Some(row) => Err(array_text::malformed(texts.value(row))),
        }
    }
}

/// One value for each text that is not NULL.
fn each<V, A: FromIterator<Option<V>>>(
    texts: &StringArray,
    read: impl Fn(&str) -> Result<V>,
) -> Result<A> {
    texts
        .iter()
        .map(|text| text.map(&read).transpose())
        .collect()
}

fn wrong(type_name: &str, text: &str) -> DataFusionError {
    let message = format!("invalid input syntax for type {type_name}: \"{text}\"");
    failure("22P02", message)
}

/// `true`, `yes`, `on`, `1`, their opposites, and what is clearly the beginning of one.
fn boolean(text: &str) -> Option<bool> {
    let word = text.trim().to_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    match () {
        () if word == "1" || begins("true", 1) || begins("yes", 1) || word == "on" => Some(true),
        () if word == "0" || begins("false", 1) || begins("no", 1) || begins("off", 2) => {
            Some(false)
        }
        () => None,
    }
}

/// The bytes of `\x00ff`, or of a text in which `\\` is a backslash and `\ooo` a byte by its octal digits. A text in
/// neither form is its own bytes.
pub(super) fn bytes(text: &str) -> Vec<u8> {
    let read = match text.strip_prefix("\\x") {
        Some(digits) => hexadecimal(digits),
        None => escaped(text.as_bytes()),
    };
    read.unwrap_or_else(|| text.as_bytes().to_vec())
}

fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = digits
        .bytes()
        .filter(|byte| !byte.is_ascii_whitespace())
        .collect();
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some((digit(*high)? * 16 + digit(*low)?) as u8),
        _ => None,
    };
    digits.chunks(2).map(pair).collect()
}

fn escaped(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        rest = match (first, after) {
            (b'\\', [b'\\', after @ ..]) => {
                out.push(b'\\');
                after
            }
            (
                b'\\',
                [
                    high @ b'0'..=b'3',
                    middle @ b'0'..=b'7',
                    low @ b'0'..=b'7',
                    after @ ..,
                ],
            ) => {
                out.push((high - b'0') * 64 + (middle - b'0') * 8 + (low - b'0'));
                after
            }
            (b'\\', _) => return None,
            (byte, after) => {
                out.push(*byte);
                after
            }
        };
    }
    Some(out)
}

/// How many digits a value of Arrow's widest exact type has.
const MAX_DIGITS: usize = 38;

/// A numeric with its digits beyond `scale` rounded, halves away from zero.
fn numeric(text: &str, precision: u8, scale: i8) -> Result<i128> {
    let word = text.trim();
    let (sign, digits) = match word.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, word.strip_prefix('+').unwrap_or(word)),
    };
    let (mantissa, exponent) = match digits.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let exponent: i32 = exponent.parse().map_err(|_| wrong("numeric", text))?;
            (mantissa, exponent.clamp(-1000, 1000))
        }
        None => (digits, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut all: String = [whole, fraction].concat();
    if all.is_empty() || !all.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong("numeric", text));
    }
    // How many digits of the fraction are too few, or too many if negative.
    let missing = i64::from(scale) + i64::from(exponent) - fraction.len() as i64;
    let mut rounds_up = false;
    match usize::try_from(missing) {
        Ok(missing) => all.push_str(&"0".repeat(missing)),
        Err(_) => {
            let kept = all.len() as i64 + missing;
            let kept = usize::try_from(kept).ok();
            rounds_up = kept.is_some_and(|kept| all.as_bytes()[kept] >= b'5');
            all.truncate(kept.unwrap_or(0));
        }
    }
    let significant = all.trim_start_matches('0');
    let overflow = || failure("22003", "numeric field overflow");
    if significant.len() > MAX_DIGITS {
        return Err(overflow());
    }
    let value: i128 = match significant {
        "" => 0,
        digits => digits.parse().map_err(|_| overflow())?,
    };
    let value = value + i128::from(rounds_up);
    match 10_i128.checked_pow(u32::from(precision)) {
        Some(limit) if value < limit => Ok(sign * value),
        _ => Err(overflow()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_are_read_exactly() {
        let read = |text: &str| numeric(text, 10, 2).ok();
        assert_eq!(read(" 1.005 "), Some(101));
        assert_eq!(read("-1.005"), Some(-101));
        assert_eq!(read("1e5"), Some(10_000_000));
        assert_eq!(read("12.5E-1"), Some(125));
        assert_eq!(read("0.0049"), Some(0));
        assert_eq!(read(".5"), Some(50));
        assert_eq!(read("99999999.995"), None);
        assert_eq!(read("1e30"), None);
        assert_eq!(read("1e-900"), Some(0));
        for wrong in ["", ".", "1.2.3", "1e", "abc", "--1"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        let exact = numeric("123456789012345.12345", 20, 5).unwrap();
        assert_eq!(exact, 12_345_678_901_234_512_345);
    }

    #[test]
    fn bytes_are_read_in_both_forms() {
        assert_eq!(bytes("\\xDE ad"), [0xde, 0xad]);
        assert_eq!(bytes("\\x"), [0_u8; 0]);
        assert_eq!(bytes("a\\\\b\\001"), b"a\\b\x01");
        assert_eq!(bytes("\\xzz"), b"\\xzz");
        assert_eq!(bytes("C:\\dir"), b"C:\\dir");
    }

    #[test]
    fn words_that_are_true_or_false_are_read() {
        for word in ["t", "TRUE", " tru ", "yes", "y", "on", "1"] {
            assert_eq!(boolean(word), Some(true), "{word}");
        }
        for word in ["f", "False", "no", "n", "off", "of", "0"] {
            assert_eq!(boolean(word), Some(false), "{word}");
        }
        for word in ["", "o", "2", "truth"] {
            assert_eq!(boolean(word), None, "{word}");
        }
    }
}
