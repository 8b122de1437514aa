//! `CAST(x AS STRING)` and `CAST(x AS INT64)` by GoogleSQL's rules.
//!
//! In: values of any type; out: text as BigQuery writes it, or a whole number rounded half away from zero. What
//! `FARM_FINGERPRINT(CAST(x AS STRING))` gives depends on this text to the byte.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, StringArray,
};
use datafusion::arrow::compute::{CastOptions, cast, cast_with_options};
use datafusion::arrow::datatypes::{DataType, Float32Type, TimeUnit, TimestampMicrosecondType};
use datafusion::error::{DataFusionError, Result};

use super::super::call::{Call, Function, failure, function};
use super::numbers::rounded;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("googlesql.string", &[1], DataType::Utf8, |call| {
            Ok(Arc::new(texts(call.arg(0)?)?))
        }),
        function("googlesql.int64", &[1], DataType::Int64, int64),
    ]
}

/// Values as BigQuery writes them.
pub(super) fn texts(array: &ArrayRef) -> Result<StringArray> {
    Ok(match array.data_type() {
        DataType::Float64 => {
            let values: &Float64Array = array.as_primitive();
            values
                .iter()
                .map(|x| x.map(|x| shortest(x, [15, 17])))
                .collect()
        }
        DataType::Float16 | DataType::Float32 => {
            let values = cast(array, &DataType::Float32)?;
            let values = values.as_primitive::<Float32Type>();
            let text = |x: f32| shortest_single(x);
            values.iter().map(|x| x.map(text)).collect()
        }
        DataType::Boolean => {
            let values: &BooleanArray = array.as_boolean();
            let text = |value| if value { "true" } else { "false" };
            values.iter().map(|value| value.map(text)).collect()
        }
        DataType::Timestamp(_, zone) => {
            let suffix = if zone.is_some() { "+00" } else { "" };
            let micros = cast(
                array,
                &DataType::Timestamp(TimeUnit::Microsecond, zone.clone()),
            )?;
            let micros = micros.as_primitive::<TimestampMicrosecondType>();
            micros
                .iter()
                .map(|micros| micros.and_then(|micros| moment(micros, suffix)))
                .collect()
        }
        // The digits that the scale holds, but not those that say nothing.
        DataType::Decimal128(..) | DataType::Decimal256(..) => {
            let written = cast(array, &DataType::Utf8)?;
            let short = |text: &str| match text.contains('.') {
                true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => text.to_owned(),
            };
            let written = written.as_string::<i32>();
            written.iter().map(|text| text.map(short)).collect()
        }
        _ => {
            let options = CastOptions {
                safe: false,
                ..CastOptions::default()
            };
            let written = cast_with_options(array, &DataType::Utf8, &options)
                .map_err(|_| failure("22021", "invalid byte sequence for encoding \"UTF8\""))?;
            written.as_string::<i32>().clone()
        }
    })
}

fn moment(micros: i64, suffix: &str) -> Option<String> {
    let at = chrono::DateTime::from_timestamp_micros(micros)?;
    let (seconds, micros) = (at.format("%Y-%m-%d %H:%M:%S"), at.timestamp_subsec_micros());
    Some(match micros {
        0 => format!("{seconds}{suffix}"),
        whole if whole.is_multiple_of(1_000) => format!("{seconds}.{:03}{suffix}", whole / 1_000),
        micros => format!("{seconds}.{micros:06}{suffix}"),
    })
}

fn shortest_single(x: f32) -> String {
    match shortest(f64::from(x), [6, 9]) {
        text if text.parse::<f32>() == Ok(x) || x.is_nan() => text,
        _ => general(f64::from(x), 9),
    }
}

/// The fewer digits if they read back as the same number, else the more; as C's `%g` writes them.
pub(super) fn shortest(x: f64, [few, many]: [usize; 2]) -> String {
    if x.is_nan() {
        return "NaN".to_owned();
    }
    if x.is_infinite() {
        return if x < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    match general(x, few) {
        text if text.parse::<f64>() == Ok(x) || many == 9 => text,
        _ => general(x, many),
    }
}

/// C's `%.<digits>g`.
pub(super) fn general(x: f64, digits: usize) -> String {
    if x == 0.0 {
        return "0".to_owned();
    }
    let scientific = format!("{x:.*e}", digits - 1);
    let Some((mantissa, exponent)) = scientific.split_once('e') else {
        return scientific;
    };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    // The digits fit in `i32`: a format has at most a few hundred.
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), exponent.abs());
    }
    let n_decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    trimmed(&format!("{x:.n_decimals$}"))
}

fn out_of_range() -> DataFusionError {
    failure("22003", "bigint out of range")
}

fn int64(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.arg(0)?;
    let data_type = array.data_type();
    if data_type.is_string() {
        let texts = call.texts(0)?;
        let read = |text: &str| {
            whole(text.trim()).ok_or_else(|| {
                let message = format!("invalid input syntax for type bigint: \"{text}\"");
                failure("22P02", message)
            })
        };
        let values = texts.iter().map(|text| text.map(read).transpose());
        return Ok(Arc::new(values.collect::<Result<Int64Array>>()?));
    }
    if data_type.is_floating()
        || matches!(
            data_type,
            DataType::Decimal128(..) | DataType::Decimal256(..)
        )
    {
        let values = call.floats(0)?;
        let read = |x: f64| rounded(x).ok_or_else(out_of_range);
        let values = values.iter().map(|x| x.map(read).transpose());
        return Ok(Arc::new(values.collect::<Result<Int64Array>>()?));
    }
    let is_known = data_type.is_integer() || data_type.is_null() || *data_type == DataType::Boolean;
    if !is_known {
        let message = format!("cannot cast type {data_type} to bigint");
        return Err(failure("42846", message));
    }
    let options = CastOptions {
        safe: false,
        ..CastOptions::default()
    };
    cast_with_options(array, &DataType::Int64, &options).map_err(|_| out_of_range())
}

/// `-12`, `0x1f`.
fn whole(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    match digits
        .strip_prefix("0x")
        .or_else(|| digits.strip_prefix("0X"))
    {
        Some(digits) => i64::from_str_radix(&format!("{sign}{digits}"), 16).ok(),
        None if digits.starts_with(['+', '-']) => None,
        None => format!("{sign}{digits}").parse().ok(),
    }
}
