//! Whole numbers and floating-point numbers as texts.
//!
//! In: texts; out: numbers of a type. What is a number and does not fit is another error than what is none.

use std::sync::Arc;

use datafusion::arrow::array::{
    ArrayRef, Float32Array, Float64Array, Int16Array, Int32Array, Int64Array, StringArray,
};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};

use super::{each, wrong};
use crate::functions::call::failure;

/// Whether numbers of a type are read here.
pub(super) fn is_number(target: &DataType) -> bool {
    type_name(target).is_some()
}

fn type_name(target: &DataType) -> Option<&'static str> {
    Some(match target {
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::Float32 => "real",
        DataType::Float64 => "double precision",
        _ => return None,
    })
}

/// Reads numbers. Errors: 22P02 for what is no number, 22003 for one that does not fit.
pub(super) fn read(texts: &StringArray, target: &DataType) -> Result<ArrayRef> {
    let name = type_name(target).unwrap_or("numeric");
    Ok(match target {
        DataType::Int16 => Arc::new(each::<i16, Int16Array>(texts, |text| whole(text, name))?),
        DataType::Int32 => Arc::new(each::<i32, Int32Array>(texts, |text| whole(text, name))?),
        DataType::Int64 => Arc::new(each::<i64, Int64Array>(texts, |text| whole(text, name))?),
        DataType::Float32 => {
            let read = |text: &str| {
                let value: f32 = float(text, name)?;
                fitting(text, name, value, f64::from(value))
            };
            Arc::new(each::<f32, Float32Array>(texts, read)?)
        }
        DataType::Float64 => {
            let read = |text: &str| {
                let value: f64 = float(text, name)?;
                fitting(text, name, value, value)
            };
            Arc::new(each::<f64, Float64Array>(texts, read)?)
        }
        other => {
            let message = format!("{other} is no type of numbers");
            return Err(DataFusionError::Internal(message));
        }
    })
}

fn whole<T: std::str::FromStr>(text: &str, name: &str) -> Result<T> {
    let word = text.trim();
    word.parse().map_err(|_| {
        let digits = word.strip_prefix(['+', '-']).unwrap_or(word);
        match !digits.is_empty() && digits.bytes().all(|digit| digit.is_ascii_digit()) {
            true => {
                let message = format!("value \"{text}\" is out of range for type {name}");
                failure("22003", message)
            }
            false => wrong(name, text),
        }
    })
}

fn float<T: std::str::FromStr>(text: &str, name: &str) -> Result<T> {
    text.trim().parse().map_err(|_| wrong(name, text))
}

/// The number, unless the text means one that is larger than all or smaller than all but zero.
fn fitting<T>(text: &str, name: &str, number: T, value: f64) -> Result<T> {
    if value.is_finite() && value != 0.0 {
        return Ok(number);
    }
    let word = text.trim();
    let mantissa = word.split(['e', 'E']).next().unwrap_or_default();
    let is_zero = !mantissa.bytes().any(|byte| matches!(byte, b'1'..=b'9'));
    let has_digits = word.bytes().any(|byte| byte.is_ascii_digit());
    if (value.is_infinite() && has_digits) || (value == 0.0 && !is_zero) {
        let message = format!("\"{word}\" is out of range for type {name}");
        return Err(failure("22003", message));
    }
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str, target: &DataType) -> String {
        let read = read(&StringArray::from(vec![text]), target);
        crate::report_of(&read.unwrap_err()).sqlstate.to_owned()
    }

    #[test]
    fn numbers_that_do_not_fit_are_told_from_other_words() {
        assert_eq!(code("99999999999", &DataType::Int32), "22003");
        assert_eq!(code("one", &DataType::Int32), "22P02");
        assert_eq!(code("", &DataType::Int64), "22P02");
        assert_eq!(code("1e400", &DataType::Float64), "22003");
        assert_eq!(code("1e-400", &DataType::Float64), "22003");
        assert_eq!(code("1e40", &DataType::Float32), "22003");
        for good in [" 1.5 ", "inf", "-Infinity", "NaN", "0e9", "1e300"] {
            let texts = StringArray::from(vec![good]);
            assert!(read(&texts, &DataType::Float64).is_ok(), "{good}");
        }
    }
}
