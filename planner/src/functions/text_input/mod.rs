//! Values read from text as PostgreSQL reads them, wherever a plan casts text to another type.
//!
//! In: a cast of text, written or put there by the planner; out: a call of a function that reads PostgreSQL's forms of
//! dates (`Jan 5 2024`), time stamps (`2024-07-01 12:00+02`), times (`3:04 PM`), intervals (`1 day 02:03`), numerics (`1e5`), whole numbers, booleans (`off`), arrays (`{1,2}`) and
//! bytes (`\x00ff`), and refuses floating-point numbers that do not fit (`1e400`). Other casts stay as they are.

mod array_text;
mod bytes_text;
mod file_texts;
mod full_digits;
mod literal_type;
mod moment_text;
mod number_text;
mod zone_abbreviations;

use std::sync::Arc;

pub(super) use array_text::MAX_DIMENSIONS;
pub use array_text::{ArrayItem, split_array};
pub(super) use bytes_text::bytes;
use chrono::{NaiveDate, NaiveDateTime};
use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    IntervalMonthDayNanoArray, ListArray, PrimitiveArray, StringArray, Time64MicrosecondArray,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{
    ArrowTimestampType, DataType, Field, FieldRef, IntervalUnit, TimeUnit,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType,
    TimestampSecondType,
};
use datafusion::common::{DFSchema, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable as _, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, Volatility,
};
pub(crate) use file_texts::FILE_TEXTS;
pub use full_digits::{holds_numerics, numeric_in_full, numerics_in_full, rounded_numeric};
pub(crate) use full_digits::{in_full, planned_type, type_in_full};
pub(crate) use literal_type::{in_microseconds, is_bytes, numeric_type, type_beside, wider};
pub use zone_abbreviations::zone_abbreviations;

use super::call::failure;
use super::dimensions::is_box;
use super::interval;
use super::moment::{in_zone, zone};
use crate::error::Error;

/// Reads a text as a time stamp; a zone that is written is left out.
pub(super) fn local_moment(text: &str, session_zone: &str) -> Result<NaiveDateTime> {
    Ok(moment_text::read(text, "timestamp", session_zone)?.local)
}

/// Puts the functions of this module in the place of casts.
pub(super) fn read_cast(cast: &Cast, schema: &DFSchema) -> Result<Option<Expr>> {
    let Some(name) = function_name(cast.field.data_type()) else {
        return Ok(None);
    };
    let is_text = |data_type: DataType| data_type.is_string();
    if !cast.expr.get_type(schema).is_ok_and(is_text)
        || is_written_number(&cast.expr, cast.field.data_type())
    {
        return Ok(None);
    }
    let function = reading(name, Arc::clone(&cast.field));
    Ok(Some(function.call(vec![cast.expr.as_ref().clone()])))
}

/// Whether a text is written out and is a whole number, or a floating-point number that fits. The planner reads it as
/// well, and knows a cast of a literal where it would not know the function. A cast whose text becomes known later may
/// stand where no row computes it: the planner would read it nevertheless.
fn is_written_number(text: &Expr, target: &DataType) -> bool {
    let Expr::Literal(ScalarValue::Utf8(text), _) = text else {
        return false;
    };
    let fits = |text: &String| {
        let read = || number_text::read(&StringArray::from(vec![text.as_str()]), target);
        text.trim() == text && read().is_ok()
    };
    let is_whole = target.is_signed_integer();
    is_whole || (target.is_floating() && text.as_ref().is_none_or(fits))
}

fn reading(name: &'static str, target: FieldRef) -> ScalarUDF {
    // Words such as `now` and texts without a zone depend on the session. Files are chosen by what does not.
    let volatility = match target.data_type().is_signed_integer() {
        true => Volatility::Immutable,
        false => Volatility::Stable,
    };
    ScalarUDF::from(ReadText {
        name,
        target,
        signature: Signature::any(1, volatility),
    })
}

/// The type that a function of this module reads; `None`: it is another function.
pub(crate) fn type_read_by(function: &ScalarUDF) -> Option<&DataType> {
    let read = function.inner().downcast_ref::<ReadText>()?;
    Some(read.target.data_type())
}

/// The function that reads a type, as on another machine.
pub(crate) fn reader_of(target: &DataType) -> Option<ScalarUDF> {
    let name = function_name(target)?;
    let target = Field::new(name, target.clone(), true);
    Some(reading(name, Arc::new(target)))
}

/// The name of the function that reads a type; `None`: the planner's cast does it.
fn function_name(target: &DataType) -> Option<&'static str> {
    Some(match target {
        DataType::Boolean => "bool_in",
        DataType::Date32 => "date_in",
        DataType::Timestamp(_, None) => "timestamp_in",
        DataType::Timestamp(_, Some(_)) => "timestamptz_in",
        DataType::Time64(_) => "time_in",
        DataType::Interval(IntervalUnit::MonthDayNano) => "interval_in",
        DataType::Decimal128(..) => "numeric_in",
        DataType::Int16 => "int2_in",
        DataType::Int32 => "int4_in",
        DataType::Int64 => "int8_in",
        DataType::Float32 => "float4_in",
        DataType::Float64 => "float8_in",
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

/// The value that a text is, on the clock of a time zone.
///
/// Errors: those of PostgreSQL's input functions.
pub fn read_text(text: &str, target: &DataType, zone: &str) -> Result<ScalarValue> {
    let values = read_texts(&StringArray::from(vec![text]), target, zone)?;
    ScalarValue::try_from_array(&values, 0)
}

/// The values that texts are, on the clock of a time zone; NULL stays NULL.
///
/// Errors: as [`read_text`], for the first that is none.
pub fn read_texts(texts: &StringArray, target: &DataType, zone: &str) -> Result<ArrayRef> {
    Reader { zone }.values(texts, target)
}

/// Fails for a text that is no value of a type.
pub(crate) fn check_text(text: &str, target: &DataType) -> Result<()> {
    read_array(text, target).map(drop)
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
            DataType::Time64(_) => {
                let values: Time64MicrosecondArray =
                    each(texts, |text| moment_text::read_time(text, self.zone))?;
                cast(&values, target)?
            }
            DataType::Interval(IntervalUnit::MonthDayNano) => {
                let values: IntervalMonthDayNanoArray = each(texts, interval::parse)?;
                Arc::new(values)
            }
            DataType::Decimal128(precision, scale) => {
                let values: Decimal128Array =
                    each(texts, |text| numeric(text, *precision, *scale))?;
                Arc::new(values.with_precision_and_scale(*precision, *scale)?)
            }
            DataType::Binary => {
                let values: BinaryArray = each(texts, bytes)?;
                Arc::new(values)
            }
            DataType::List(item) => self.arrays(texts, item)?,
            number if number_text::is_number(number) => number_text::read(texts, number)?,
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

/// The error of a numeric without digits; those that are no numbers are known, but have no place in an exact type.
fn no_digits(word: &str, text: &str) -> DataFusionError {
    if !["nan", "infinity", "inf"].contains(&word.to_lowercase().as_str()) {
        return wrong("numeric", text);
    }
    let message = format!("the numeric \"{}\" is not supported", text.trim());
    let hint = "A double precision may be NaN or infinite.";
    Error::invalid("0A000", message, Some(hint)).into()
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
        return Err(no_digits(digits, text));
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
