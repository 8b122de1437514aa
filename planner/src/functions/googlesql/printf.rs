//! `FORMAT('%05.2f of %s', x, name)`: C's formats, with `%t` for any value.
//!
//! In: a format and values; out: text, NULL if a value is (but for `%t` and `%T`, which write it).

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, Float64Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::super::call::{ANY, Call, Function, failure, function};
use super::casts;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![function("googlesql.format", ANY, DataType::Utf8, format)]
}

/// A value in each form that a format may ask for.
enum Column {
    Whole(Int64Array),
    Float(Float64Array),
    Text(StringArray, bool),
}

fn columns(call: &Call<'_>) -> Result<Vec<(Column, StringArray)>> {
    let column = |idx: usize| {
        let array = call.arg(idx)?;
        let shown = casts::texts(array)?;
        let column = match array.data_type() {
            t if t.is_integer() => Column::Whole(call.integers(idx)?),
            t if t.is_numeric() => Column::Float(call.floats(idx)?),
            t => Column::Text(shown.clone(), t.is_string()),
        };
        Ok((column, shown))
    };
    (1..call.args.len()).map(column).collect()
}

/// `%[flags][width][.precision]verb`.
#[derive(Debug, Default)]
struct Verb {
    is_left: bool,
    plus: bool,
    space: bool,
    zero: bool,
    alternate: bool,
    grouped: bool,
    width: usize,
    precision: Option<usize>,
    verb: char,
}

enum Part {
    Text(String),
    Verb(Verb),
}

fn parts(format: &str) -> Result<Vec<Part>> {
    let wrong = || failure("22023", format!("invalid format \"{format}\""));
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = format.chars().peekable();
    while let Some(c) = rest.next() {
        if c != '%' {
            plain.push(c);
            continue;
        }
        if rest.next_if_eq(&'%').is_some() {
            plain.push('%');
            continue;
        }
        let mut verb = Verb::default();
        while let Some(flag) = rest.next_if(|c| "-+ 0#'".contains(*c)) {
            match flag {
                '-' => verb.is_left = true,
                '+' => verb.plus = true,
                ' ' => verb.space = true,
                '0' => verb.zero = true,
                '#' => verb.alternate = true,
                _ => verb.grouped = true,
            }
        }
        let number = |rest: &mut std::iter::Peekable<std::str::Chars<'_>>| {
            let mut digits = String::new();
            while let Some(digit) = rest.next_if(char::is_ascii_digit) {
                digits.push(digit);
            }
            digits
        };
        verb.width = number(&mut rest).parse().unwrap_or(0);
        if rest.next_if_eq(&'.').is_some() {
            verb.precision = Some(number(&mut rest).parse().unwrap_or(0));
        }
        // A width of millions is a mistake, and would be memory.
        if verb.width > 10_000 || verb.precision.is_some_and(|precision| precision > 1_000) {
            return Err(wrong());
        }
        verb.verb = rest.next().ok_or_else(wrong)?;
        if !"diouxXeEfFgGsStT".contains(verb.verb) || verb.verb == 'S' {
            return Err(wrong());
        }
        parts.push(Part::Text(std::mem::take(&mut plain)));
        parts.push(Part::Verb(verb));
    }
    parts.push(Part::Text(plain));
    Ok(parts)
}

fn format(call: &Call<'_>) -> Result<ArrayRef> {
    let formats = call.texts(0)?;
    let columns = columns(call)?;
    let of_row = |row: usize| {
        if formats.is_null(row) {
            return Ok(None);
        }
        let mut out = String::new();
        let mut values = columns.iter();
        for part in parts(formats.value(row))? {
            let verb = match part {
                Part::Text(text) => {
                    out.push_str(&text);
                    continue;
                }
                Part::Verb(verb) => verb,
            };
            let Some((column, shown)) = values.next() else {
                return Err(failure("22023", "FORMAT has fewer values than its format"));
            };
            let Some(text) = written(&verb, column, shown, row)? else {
                return Ok(None);
            };
            out.push_str(&padded(&verb, text));
        }
        match values.next() {
            Some(_) => Err(failure("22023", "FORMAT has more values than its format")),
            None => Ok(Some(out)),
        }
    };
    let texts: StringArray = (0..call.n_rows).map(of_row).collect::<Result<_>>()?;
    Ok(Arc::new(texts))
}

/// One value; `None` for NULL.
fn written(
    verb: &Verb,
    column: &Column,
    shown: &StringArray,
    row: usize,
) -> Result<Option<String>> {
    if matches!(verb.verb, 't' | 'T') {
        return Ok(Some(any(verb, column, shown, row)));
    }
    if shown.is_null(row) {
        return Ok(None);
    }
    let float = || match column {
        Column::Float(values) => Some(values.value(row)),
        Column::Whole(values) => Some(values.value(row) as f64),
        Column::Text(..) => None,
    };
    let text = match (verb.verb, column) {
        ('d' | 'i' | 'u', Column::Whole(values)) => signed(verb, values.value(row)),
        ('x', Column::Whole(values)) => radix(verb, values.value(row), "0x", |n| format!("{n:x}")),
        ('X', Column::Whole(values)) => radix(verb, values.value(row), "0X", |n| format!("{n:X}")),
        ('o', Column::Whole(values)) => radix(verb, values.value(row), "0", |n| format!("{n:o}")),
        ('e' | 'E' | 'f' | 'F' | 'g' | 'G', _) => match float() {
            Some(value) => fraction(verb, value),
            None => return Err(mismatch(verb)),
        },
        ('s', Column::Text(texts, true)) => {
            let n = verb.precision.unwrap_or(usize::MAX);
            texts.value(row).chars().take(n).collect()
        }
        _ => return Err(mismatch(verb)),
    };
    Ok(Some(text))
}

fn mismatch(verb: &Verb) -> datafusion::error::DataFusionError {
    let message = format!("a value does not fit %{} of the format", verb.verb);
    failure("22023", message)
}

/// `%t` and `%T`: any value, the latter as SQL would write it.
fn any(verb: &Verb, column: &Column, shown: &StringArray, row: usize) -> String {
    if shown.is_null(row) {
        return "NULL".to_owned();
    }
    let text = shown.value(row);
    match column {
        Column::Text(_, true) if verb.verb == 'T' => {
            let text = text.replace('\\', "\\\\").replace('"', "\\\"");
            format!("\"{text}\"")
        }
        // A float always shows that it is one.
        Column::Float(_) if text.bytes().all(|b| b.is_ascii_digit() || b == b'-') => {
            format!("{text}.0")
        }
        _ => text.to_owned(),
    }
}

fn sign(verb: &Verb, is_negative: bool) -> &'static str {
    match (is_negative, verb.plus, verb.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        _ => "",
    }
}

fn signed(verb: &Verb, value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let digits = format!("{digits:0>width$}", width = verb.precision.unwrap_or(1));
    let digits = if verb.grouped {
        grouped(&digits)
    } else {
        digits
    };
    zeros(verb, sign(verb, value < 0), digits)
}

fn radix(verb: &Verb, value: i64, prefix: &str, digits: fn(u64) -> String) -> String {
    let sign = sign(verb, value < 0);
    let prefix = if verb.alternate { prefix } else { "" };
    zeros(
        verb,
        &format!("{sign}{prefix}"),
        digits(value.unsigned_abs()),
    )
}

fn fraction(verb: &Verb, value: f64) -> String {
    let sign = sign(verb, value.is_sign_negative() && !value.is_nan());
    let size = value.abs();
    if !size.is_finite() {
        return format!("{sign}{}", if size.is_nan() { "nan" } else { "inf" });
    }
    let precision = verb.precision.unwrap_or(6);
    let text = match verb.verb.to_ascii_lowercase() {
        'f' => format!("{size:.precision$}"),
        'e' => {
            let text = format!("{size:.precision$e}");
            match text.split_once('e') {
                Some((mantissa, exponent)) => {
                    let exponent: i32 = exponent.parse().unwrap_or(0);
                    let sign = if exponent < 0 { '-' } else { '+' };
                    format!("{mantissa}e{sign}{:02}", exponent.abs())
                }
                None => text,
            }
        }
        _ => casts::general(size, precision.max(1)),
    };
    let text = match verb.grouped {
        true => match text.split_once('.') {
            Some((whole, rest)) => format!("{}.{rest}", grouped(whole)),
            None => grouped(&text),
        },
        false => text,
    };
    let text = match verb.verb.is_ascii_uppercase() {
        true => text.to_ascii_uppercase(),
        false => text,
    };
    zeros(verb, sign, text)
}

/// A comma before each three digits.
fn grouped(digits: &str) -> String {
    let mut out = String::new();
    for (idx, digit) in digits.chars().enumerate() {
        if idx > 0 && (digits.len() - idx).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Zeros between the sign and the digits, where the format asks for them.
fn zeros(verb: &Verb, sign: &str, digits: String) -> String {
    let width = match verb.zero && !verb.is_left {
        true => verb.width.saturating_sub(sign.len()),
        false => 0,
    };
    format!("{sign}{digits:0>width$}")
}

fn padded(verb: &Verb, text: String) -> String {
    let width = verb.width;
    match verb.is_left {
        true => format!("{text:<width$}"),
        false => format!("{text:>width$}"),
    }
}
