//! Values of text files that the libraries' readers would cut: they are read as texts and become values here.
//!
//! A column of texts and a field flow in; values flow out, or the first text that is no value of the type: a number with
//! a fraction is no integer, a moment no date. Numbers with more digits than their type has are rounded, as PostgreSQL
//! does. Of columns that a statement declares, the engine has the last word on a text (see `text_input`). Where a text
//! stands in its file is the caller's business.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, BinaryBuilder, BooleanBuilder, ListArray, PrimitiveBuilder,
    StringArray, StringViewArray, StructArray, new_null_array,
};
use datafusion::arrow::compute::kernels::cast_utils::{Parser, string_to_datetime};
use datafusion::arrow::compute::{CastOptions, cast_with_options, interleave};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Decimal128Type, DecimalType as _, Field, FieldRef,
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, Time64MicrosecondType,
    TimeUnit, TimestampMicrosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::error::ArrowError;

use crate::tables::csv_nulls::was_quoted;
use crate::tables::text_input::{TextFault, TextInput};

/// More digits than any integer type has.
const MOST_DIGITS: usize = 38;
const SECOND_MICROS: i64 = 1_000_000;

/// Why texts are no values.
#[derive(Debug)]
pub(crate) enum Fault {
    /// One of them is none of the type.
    Value {
        /// Its place in the column; within lists and objects, its place there.
        row: usize,
        text: String,
        data_type: DataType,
        /// What the engine says of it; `None`: it was not asked.
        said: Option<TextFault>,
    },
    Other(ArrowError),
}

impl From<ArrowError> for Fault {
    fn from(error: ArrowError) -> Self {
        Self::Other(error)
    }
}

type Result<T> = std::result::Result<T, Fault>;

/// The type that a column of JSON is read as, so that nothing of its values is lost. `is_asked` tells whether the engine
/// has the last word on texts.
pub(crate) fn type_in_json(column: &Field, is_asked: bool) -> DataType {
    let field = |field: &FieldRef| -> FieldRef {
        let data_type = type_in_json(field, is_asked);
        Arc::new(field.as_ref().clone().with_data_type(data_type))
    };
    match column.data_type() {
        DataType::Date32 | DataType::Decimal128(..) => DataType::Utf8View,
        integer if integer.is_integer() => DataType::Utf8View,
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::List(element) => DataType::List(field(element)),
        DataType::Boolean
        | DataType::Float32
        | DataType::Float64
        | DataType::Timestamp(TimeUnit::Microsecond, _)
        | DataType::Time64(TimeUnit::Microsecond)
        | DataType::Interval(_)
        | DataType::Binary
            if is_asked =>
        {
            DataType::Utf8View
        }
        text if is_asked && text.is_string() && !is_any_text(column) => DataType::Utf8View,
        other => other.clone(),
    }
}

/// Whether the reader of CSV would lose or refuse values of a column.
pub(crate) fn is_text_in_csv(column: &Field, is_asked: bool) -> bool {
    match column.data_type() {
        DataType::Date32
        | DataType::Decimal128(..)
        | DataType::Boolean
        | DataType::Timestamp(TimeUnit::Microsecond, _) => true,
        text if text.is_string() => is_asked && !is_any_text(column),
        other => is_asked && !other.is_integer() && !other.is_floating(),
    }
}

/// Whether any text is a value of a column of texts; notes tell of one that it is of another type or has a greatest length.
fn is_any_text(column: &Field) -> bool {
    column.metadata().is_empty()
}

/// The column of CSV as it is read: as text, or as it is.
pub(crate) fn field_in_csv(field: &FieldRef, is_text: bool) -> FieldRef {
    match is_text {
        true => {
            let field: Field = field.as_ref().clone();
            Arc::new(field.with_data_type(DataType::Utf8View))
        }
        false => Arc::clone(field),
    }
}

/// The texts but those that mean NULL; those in quotes were marked, and are texts. `quoted` is how they are written there.
pub(crate) fn without_nulls(
    texts: &StringViewArray,
    null_text: &str,
    quoted: &str,
) -> StringViewArray {
    let is_quoted = |text: &str| was_quoted(text, quoted);
    let is_other = |text: &str| text != null_text && !is_quoted(text);
    match texts.iter().flatten().all(is_other) {
        true => texts.clone(),
        false => texts
            .iter()
            .map(|text| match text? {
                text if is_quoted(text) => Some(null_text),
                text => Some(text).filter(|text| *text != null_text),
            })
            .collect(),
    }
}

/// How texts become values.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reader<'a> {
    /// Whether a statement declares the columns, so that a zone counts for nothing where it says so.
    pub(crate) is_declared: bool,
    /// Whether each number without a fraction is an integer, however it is written.
    pub(crate) takes_whole: bool,
    /// Whether bytes are hexadecimal digits without a mark.
    pub(crate) takes_digits: bool,
    /// What reads the texts that are written otherwise than in most files; `None`: they are no values.
    pub(crate) others: Option<&'a TextInput>,
}

impl Reader<'_> {
    /// A column as one of the type that is wanted; only texts change.
    pub(crate) fn values(self, column: &ArrayRef, wanted: &Field) -> Result<ArrayRef> {
        let is_read = self.others.is_none() || is_any_text(wanted);
        if column.data_type() == wanted.data_type() && is_read {
            return Ok(Arc::clone(column));
        }
        match wanted.data_type() {
            DataType::Struct(fields) if column.as_struct_opt().is_some() => {
                let read = column.as_struct();
                let columns = read.columns().iter().zip(fields);
                let columns = columns.map(|(column, field)| self.values(column, field));
                let columns = columns.collect::<Result<Vec<_>>>()?;
                let nulls = read.nulls().cloned();
                let built =
                    StructArray::try_new_with_length(fields.clone(), columns, nulls, read.len());
                Ok(Arc::new(built?))
            }
            DataType::List(element) if column.as_list_opt::<i32>().is_some() => {
                let read = column.as_list::<i32>();
                let elements = self.values(read.values(), element)?;
                let (offsets, nulls) = (read.offsets().clone(), read.nulls().cloned());
                let built = ListArray::try_new(Arc::clone(element), offsets, elements, nulls);
                Ok(Arc::new(built?))
            }
            data_type => match column.as_string_view_opt() {
                Some(texts) => self.of_texts(texts, wanted),
                None => Ok(datafusion::arrow::compute::cast(column, data_type)?),
            },
        }
    }

    fn of_texts(self, texts: &StringViewArray, wanted: &Field) -> Result<ArrayRef> {
        match wanted.data_type() {
            DataType::Int8 => self.whole_numbers::<Int8Type>(texts, wanted),
            DataType::Int16 => self.whole_numbers::<Int16Type>(texts, wanted),
            DataType::Int32 => self.whole_numbers::<Int32Type>(texts, wanted),
            DataType::Int64 => self.whole_numbers::<Int64Type>(texts, wanted),
            DataType::UInt8 => self.whole_numbers::<UInt8Type>(texts, wanted),
            DataType::UInt16 => self.whole_numbers::<UInt16Type>(texts, wanted),
            DataType::UInt32 => self.whole_numbers::<UInt32Type>(texts, wanted),
            DataType::UInt64 => self.whole_numbers::<UInt64Type>(texts, wanted),
            DataType::Date32 => self.each::<Date32Type>(texts, wanted, date),
            DataType::Decimal128(precision, scale) => {
                let (precision, scale) = (*precision, *scale);
                self.each::<Decimal128Type>(texts, wanted, |text| {
                    decimal(text, scale).filter(|number| {
                        Decimal128Type::is_valid_decimal_precision(*number, precision)
                    })
                })
            }
            DataType::Boolean => self.booleans(texts, wanted),
            DataType::Timestamp(TimeUnit::Microsecond, None) if self.is_declared => {
                self.each::<TimestampMicrosecondType>(texts, wanted, moment)
            }
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                self.each::<TimestampMicrosecondType>(texts, wanted, local_moment)
            }
            DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => {
                let is_utc = self.others.is_some_and(|input| input.zone() == "UTC");
                self.each::<TimestampMicrosecondType>(texts, wanted, |text| {
                    let local = || is_utc.then(|| local_moment(text)).flatten();
                    zoned_moment(text).or_else(local)
                })
            }
            _ if self.others.is_some() => self.of_asked(texts, wanted),
            data_type => cast_all(texts, data_type),
        }
    }

    /// Values of types that only the engine knows all texts of.
    fn of_asked(self, texts: &StringViewArray, wanted: &Field) -> Result<ArrayRef> {
        match wanted.data_type() {
            DataType::Float32 => self.each::<Float32Type>(texts, wanted, |text| {
                let number = Float32Type::parse(text)?;
                (number.is_finite() && (number != 0.0 || is_zero(text))).then_some(number)
            }),
            DataType::Float64 => self.each::<Float64Type>(texts, wanted, |text| {
                let number = Float64Type::parse(text)?;
                (number.is_finite() && (number != 0.0 || is_zero(text))).then_some(number)
            }),
            DataType::Time64(TimeUnit::Microsecond) => {
                self.each::<Time64MicrosecondType>(texts, wanted, time)
            }
            DataType::Binary if self.takes_digits => self.bytes(texts, wanted),
            text if text.is_string() && is_any_text(wanted) => cast_all(texts, text),
            data_type => {
                let all: Vec<usize> = (0..texts.len())
                    .filter(|row| texts.is_valid(*row))
                    .collect();
                let none = new_null_array(data_type, texts.len());
                self.with_others(none, texts, &all, wanted)
            }
        }
    }

    /// The values of texts by a function that knows how most files have them.
    fn each<T: ArrowPrimitiveType>(
        self,
        texts: &StringViewArray,
        wanted: &Field,
        parse: impl Fn(&str) -> Option<T::Native>,
    ) -> Result<ArrayRef> {
        let mut values = PrimitiveBuilder::<T>::with_capacity(texts.len());
        let mut others = Vec::new();
        for (row, text) in texts.iter().enumerate() {
            let value = text.and_then(&parse);
            if value.is_none() && text.is_some() {
                others.push(row);
            }
            values.append_option(value);
        }
        let values = values.finish().with_data_type(wanted.data_type().clone());
        self.with_others(Arc::new(values), texts, &others, wanted)
    }

    /// The values with those of the texts that were not read yet.
    fn with_others(
        self,
        values: ArrayRef,
        texts: &StringViewArray,
        others: &[usize],
        wanted: &Field,
    ) -> Result<ArrayRef> {
        let Some(first) = others.first() else {
            return Ok(values);
        };
        let fault = |row: usize, said| Fault::Value {
            row,
            text: texts.value(row).to_owned(),
            data_type: wanted.data_type().clone(),
            said,
        };
        let Some(input) = self.others else {
            return Err(fault(*first, None));
        };
        let unread: StringArray = others.iter().map(|row| Some(texts.value(*row))).collect();
        let read = input.values(&unread, wanted);
        let read = read.map_err(|(at, said)| fault(others[at], Some(said)))?;
        let mut places: Vec<(usize, usize)> = (0..texts.len()).map(|row| (0, row)).collect();
        for (at, row) in others.iter().enumerate() {
            places[*row] = (1, at);
        }
        Ok(interleave(&[values.as_ref(), read.as_ref()], &places)?)
    }

    fn whole_numbers<T>(self, texts: &StringViewArray, wanted: &Field) -> Result<ArrayRef>
    where
        T: ArrowPrimitiveType + Parser,
        T::Native: TryFrom<i128>,
    {
        let whole = |text: &str| match self.takes_whole {
            true => T::Native::try_from(whole_number(text)?).ok(),
            false => None,
        };
        self.each::<T>(texts, wanted, |text| T::parse(text).or_else(|| whole(text)))
    }

    fn booleans(self, texts: &StringViewArray, wanted: &Field) -> Result<ArrayRef> {
        let mut values = BooleanBuilder::with_capacity(texts.len());
        let mut others = Vec::new();
        for (row, text) in texts.iter().enumerate() {
            let value = text.and_then(boolean);
            if value.is_none() && text.is_some() {
                others.push(row);
            }
            values.append_option(value);
        }
        self.with_others(Arc::new(values.finish()), texts, &others, wanted)
    }

    fn bytes(self, texts: &StringViewArray, wanted: &Field) -> Result<ArrayRef> {
        let mut values = BinaryBuilder::new();
        let mut others = Vec::new();
        for (row, text) in texts.iter().enumerate() {
            let value = text.and_then(hexadecimal);
            if value.is_none() && text.is_some() {
                others.push(row);
            }
            values.append_option(value);
        }
        // What has no mark either is no bytes: PostgreSQL's other form would make some of any text.
        let is_marked = |row: &&usize| texts.value(**row).starts_with("\\x");
        match others.iter().find(|row| !is_marked(row)) {
            None => self.with_others(Arc::new(values.finish()), texts, &others, wanted),
            Some(row) => Err(Fault::Value {
                row: *row,
                text: texts.value(*row).to_owned(),
                data_type: DataType::Binary,
                said: None,
            }),
        }
    }
}

/// What the library makes of all texts.
fn cast_all(texts: &StringViewArray, wanted: &DataType) -> Result<ArrayRef> {
    let text: ArrayRef = Arc::new(texts.clone());
    let options = CastOptions {
        safe: true,
        ..CastOptions::default()
    };
    let cast = cast_with_options(&text, wanted, &options)?;
    // What cannot be cast became NULL.
    let lost = (cast.null_count() != texts.null_count())
        .then(|| (0..texts.len()).find(|row| cast.is_null(*row) && texts.is_valid(*row)));
    match lost.flatten() {
        Some(row) => Err(Fault::Value {
            row,
            text: texts.value(row).to_owned(),
            data_type: wanted.clone(),
            said: None,
        }),
        None => Ok(cast),
    }
}

/// Pairs of hexadecimal digits.
fn hexadecimal(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    let value = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match pair {
        [high, low] => u8::try_from(value(*high)? * 16 + value(*low)?).ok(),
        _ => None,
    };
    digits.chunks(2).map(byte).collect()
}

/// A time of day to the second, as most files have them.
fn time(text: &str) -> Option<i64> {
    match text.as_bytes() {
        [_, _, b':', _, _, b':', _, _] => Time64MicrosecondType::parse(text),
        _ => None,
    }
}

/// The value of a number without a fraction, however it is written, as `5.0` or `1e3`.
fn whole_number(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (sign, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => (-1, mantissa),
        None => (1, mantissa),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let are_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !are_digits(whole) || !are_digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    // The value is the digits and so many zeros behind them; below zero, so many digits belong to the fraction.
    let n_zeros = i64::from(exponent) - fraction.len() as i64;
    let kept = digits.trim_end_matches('0');
    let n_zeros = n_zeros + (digits.len() - kept.len()) as i64;
    if kept.is_empty() {
        return Some(0);
    }
    let n_zeros = u32::try_from(n_zeros).ok()?;
    if kept.len() + n_zeros as usize > MOST_DIGITS {
        return None;
    }
    Some(sign * kept.parse::<i128>().ok()? * 10_i128.pow(n_zeros))
}

/// A number in units of its last digit behind the point, of which there are `scale`; halves go away from zero.
fn decimal(text: &str, scale: i8) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (is_negative, mantissa) = match mantissa.strip_prefix('-') {
        Some(mantissa) => (true, mantissa),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let n_digits = (whole.len() + fraction.len()) as i64;
    if n_digits == 0 {
        return None;
    }
    // So many of the digits count; the next one says where the last of them goes.
    let n_kept = whole.len() as i64 + i64::from(exponent) + i64::from(scale);
    let (mut number, mut is_up) = (0_i128, false);
    for (at, byte) in (0..).zip(whole.bytes().chain(fraction.bytes())) {
        if !byte.is_ascii_digit() {
            return None;
        }
        let digit = i128::from(byte - b'0');
        match n_kept.cmp(&at) {
            Ordering::Greater => number = number.checked_mul(10)?.checked_add(digit)?,
            Ordering::Equal => is_up = digit >= 5,
            Ordering::Less => {}
        }
    }
    if number != 0 && n_kept > n_digits {
        let n_zeros = u32::try_from(n_kept - n_digits).ok()?;
        number = number.checked_mul(10_i128.checked_pow(n_zeros)?)?;
    }
    let number = number.checked_add(i128::from(is_up))?;
    Some(if is_negative { -number } else { number })
}

/// Whether a number is zero as it is written, not only as a double.
pub(crate) fn is_zero(number: &str) -> bool {
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    !mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'))
}

/// A truth value as PostgreSQL reads it: a word, or enough of its beginning to tell it from others.
fn boolean(text: &str) -> Option<bool> {
    // As most writers have them.
    match text {
        "true" | "t" => return Some(true),
        "false" | "f" => return Some(false),
        _ => {}
    }
    let word = text.trim().to_ascii_lowercase();
    let begins = |whole: &str, least: usize| word.len() >= least && whole.starts_with(&word);
    match word.as_str() {
        "1" => Some(true),
        "0" => Some(false),
        _ if begins("true", 1) || begins("yes", 1) || begins("on", 2) => Some(true),
        _ if begins("false", 1) || begins("no", 1) || begins("off", 2) => Some(false),
        _ => None,
    }
}

/// The microseconds of a date and a time. A zone behind them counts for nothing, as in PostgreSQL, and digits beyond the
/// microsecond are rounded.
pub(crate) fn moment(text: &str) -> Option<i64> {
    let general = || {
        string_to_datetime(&chrono::Utc, text).ok()?;
        let local = string_to_datetime(&chrono::Utc, without_zone(text)).ok()?;
        Some(local.timestamp_micros())
    };
    let Some((micros, zone)) = plain_moment(text) else {
        return general();
    };
    if !zone.is_empty() {
        general()?;
    }
    Some(micros)
}

/// The same of a text that has no zone.
fn local_moment(text: &str) -> Option<i64> {
    match plain_moment(text) {
        Some((micros, "")) => Some(micros),
        Some(_) => None,
        None if without_zone(text).len() < text.len() => None,
        None => moment(text),
    }
}

/// The microseconds in UTC of a date and a time with a zone.
fn zoned_moment(text: &str) -> Option<i64> {
    if let Some((micros, zone)) = plain_moment(text)
        && let Some(seconds) = seconds_east(zone)
    {
        return Some(micros - seconds * SECOND_MICROS);
    }
    let local = without_zone(text);
    if local.len() == text.len() {
        return None;
    }
    let micros = moment(local)?;
    let local = string_to_datetime(&chrono::Utc, local).ok()?;
    let east = local - string_to_datetime(&chrono::Utc, text).ok()?;
    Some(micros - east.num_microseconds()?)
}

/// How far a zone is from UTC, as most files have it.
fn seconds_east(zone: &str) -> Option<i64> {
    let number = |digits: &[u8]| {
        let are_digits = digits.iter().all(u8::is_ascii_digit);
        let value = |so_far: i64, digit: &u8| so_far * 10 + i64::from(digit - b'0');
        are_digits.then(|| digits.iter().fold(0, value))
    };
    if zone == "Z" {
        return Some(0);
    }
    let (sign, east) = zone.as_bytes().split_first()?;
    let (hours, minutes) = match east {
        [_, _] => (number(east)?, 0),
        [_, _, b':', _, _] => (number(&east[..2])?, number(&east[3..])?),
        _ => return None,
    };
    let seconds = (hours * 60 + minutes) * 60;
    match sign {
        _ if hours > 15 || minutes > 59 => None,
        b'+' => Some(seconds),
        b'-' => Some(-seconds),
        _ => None,
    }
}

/// The microseconds of a date and a time as most files have them, and the zone behind.
fn plain_moment(text: &str) -> Option<(i64, &str)> {
    let (seconds, rest) = plain_seconds(text)?;
    let (digits, zone) = match rest.strip_prefix('.') {
        Some(fraction) => {
            let digits = fraction.bytes().take_while(u8::is_ascii_digit);
            fraction.split_at(digits.count())
        }
        None => ("", rest),
    };
    if rest.starts_with('.') && digits.is_empty() {
        return None;
    }
    let mut micros = seconds * SECOND_MICROS;
    let mut unit = SECOND_MICROS / 10;
    for digit in digits.bytes().take(6) {
        micros += i64::from(digit - b'0') * unit;
        unit /= 10;
    }
    let is_up = digits.as_bytes().get(6).is_some_and(|digit| *digit >= b'5');
    Some((micros + i64::from(is_up), zone))
}

/// A moment that the library reads, without the zone that may stand behind its time.
pub(crate) fn without_zone(moment: &str) -> &str {
    /// A date and what stands behind it.
    const TIME_AT: usize = 11;
    let time = moment.get(TIME_AT..).unwrap_or_default();
    let is_of_zone = |mark: char| !(mark.is_ascii_digit() || mark == ':' || mark == '.');
    match time.find(is_of_zone) {
        Some(zone) => &moment[..TIME_AT + zone],
        None => moment,
    }
}

/// The seconds of `2026-01-31 10:30:00`, as most files have moments, and what stands behind.
fn plain_seconds(text: &str) -> Option<(i64, &str)> {
    let (moment, _) = text.as_bytes().split_first_chunk::<19>()?;
    let marks = [moment[4], moment[7], moment[10], moment[13], moment[16]];
    if !matches!(marks, [b'-', b'-', b' ' | b'T', b':', b':']) {
        return None;
    }
    let number = |from: usize, to: usize| {
        let digits = &moment[from..to];
        let are_digits = digits.iter().all(u8::is_ascii_digit);
        let value = |so_far: u32, digit: &u8| so_far * 10 + u32::from(digit - b'0');
        are_digits.then(|| digits.iter().fold(0, value))
    };
    let year = i32::try_from(number(0, 4)?).ok()?;
    let date = chrono::NaiveDate::from_ymd_opt(year, number(5, 7)?, number(8, 10)?)?;
    let moment = date.and_hms_opt(number(11, 13)?, number(14, 16)?, number(17, 19)?)?;
    // All bytes before are characters of their own.
    Some((moment.and_utc().timestamp(), &text[19..]))
}

/// A date, also one that midnight is written behind.
pub(crate) fn date(text: &str) -> Option<i32> {
    /// `2026-01-31`; the library reads more as a moment and forgets its time of day.
    const DATE_BYTES: usize = 10;
    const DAY_MICROS: i64 = 86_400_000_000;
    if text.len() <= DATE_BYTES || text.starts_with(['+', '-']) {
        return Date32Type::parse(text);
    }
    let micros = moment(text).filter(|micros| micros % DAY_MICROS == 0)?;
    i32::try_from(micros / DAY_MICROS).ok()
}
