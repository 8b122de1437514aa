//! Checks one value against the kind of its option.
//!
//! In: a JSON value as the statement wrote it; out: the value in its canonical form, or the range or
//! the words that are allowed.

use serde_json::{Map, Value};

use super::{Hyperparameter, Kind};
use crate::error::{Error, Result};

/// The value in canonical form: numbers as numbers of the kind, choices in upper case, text arrays as
/// arrays, class weights as an object from label to weight.
pub(super) fn check_value(option: &Hyperparameter, value: &Value) -> Result<Value> {
    let checked = match option.kind {
        Kind::Bool => as_bool(value).map(Value::Bool),
        Kind::Integer { min, max } => as_integer(value)
            .filter(|number| (min..=max).contains(number))
            .map(Value::from),
        Kind::Float {
            min,
            min_inclusive,
            max,
        } => {
            let in_range =
                |&x: &f64| x.is_finite() && x <= max && (x > min || (min_inclusive && x == min));
            value.as_f64().filter(in_range).map(Value::from)
        }
        Kind::Choice(words) => value.as_str().and_then(|text| {
            let found = words
                .iter()
                .find(|word| word.eq_ignore_ascii_case(text.trim()));
            found.map(|word| Value::from(*word))
        }),
        Kind::Text => value.as_str().map(Value::from),
        Kind::TextArray => as_texts(value).map(Value::from),
        Kind::ClassWeights => as_numbers(value, |weight| weight >= 0.0).map(Value::Object),
        Kind::Directions => as_numbers(value, |x| [-1.0, 0.0, 1.0].contains(&x)).map(Value::Object),
        Kind::CloudOnly => Some(value.clone()),
    };
    checked.ok_or_else(|| Error::InvalidOption {
        name: option.name.to_owned(),
        expected: expected_instead_of(option.kind, value),
        found: sql_literal(value),
    })
}

/// The values that a kind allows, said so that it fits what was written: of another type, or out of range.
fn expected_instead_of(kind: Kind, found: &Value) -> String {
    match kind {
        Kind::Float { .. } if !found.is_number() => "a number".to_owned(),
        Kind::Integer { .. } if !found.is_number() => "an integer".to_owned(),
        Kind::Integer { min, max: i64::MAX } if found.as_f64().is_some_and(|x| x > 0.0) => {
            match found.as_f64().is_some_and(|x| x.fract() == 0.0) {
                true => format!("an integer between {min} and {}", i64::MAX),
                false => expected(kind),
            }
        }
        Kind::ClassWeights | Kind::Directions if names_one_twice(found) => {
            "an array that names each value once".to_owned()
        }
        kind => expected(kind),
    }
}

/// Whether an array of named numbers has one name twice.
fn names_one_twice(value: &Value) -> bool {
    let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
    let names: Vec<String> = items
        .iter()
        .filter_map(|item| named_number(item).map(|(name, _)| name))
        .collect();
    (1..names.len()).any(|idx| names[..idx].contains(&names[idx]))
}

/// The values that a kind allows, to be read after "must be".
pub(super) fn expected(kind: Kind) -> String {
    match kind {
        Kind::Bool => "TRUE or FALSE".to_owned(),
        Kind::Integer { min, max: i64::MAX } => format!("an integer of at least {min}"),
        Kind::Integer { min, max } => format!("an integer between {min} and {max}"),
        Kind::Float {
            min,
            min_inclusive,
            max,
        } => match (min > f64::MIN, max < f64::MAX) {
            (false, false) => "a number".to_owned(),
            (false, true) => format!("at most {max}"),
            (true, false) if min_inclusive => format!("at least {min}"),
            (true, false) => format!("greater than {min}"),
            (true, true) if min_inclusive => format!("between {min} and {max}"),
            (true, true) => format!("greater than {min} and at most {max}"),
        },
        Kind::Choice(words) => format!("one of {}", words.join(", ")),
        Kind::Text => "a text".to_owned(),
        Kind::TextArray => "a text or an array of texts".to_owned(),
        Kind::ClassWeights => {
            "an array of STRUCT(label, weight) with weights of at least 0".to_owned()
        }
        Kind::Directions => "an array of STRUCT(feature, direction) with 1, 0 or -1".to_owned(),
        Kind::CloudOnly => "anything".to_owned(),
    }
}

/// The type of a kind's values, as BigQuery names it.
pub(super) fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "BOOL",
        Kind::Integer { .. } => "INT64",
        Kind::Float { .. } => "FLOAT64",
        Kind::Choice(_) | Kind::Text | Kind::CloudOnly => "STRING",
        Kind::TextArray => "ARRAY<STRING>",
        Kind::ClassWeights => "ARRAY<STRUCT<STRING, FLOAT64>>",
        Kind::Directions => "ARRAY<STRUCT<STRING, INT64>>",
    }
}

/// The default of an option as a value.
pub(super) fn default_value(option: &Hyperparameter) -> Value {
    let text = option.default.trim_matches('\'');
    match option.kind {
        _ if option.default == "NULL" => Value::Null,
        Kind::Bool => Value::Bool(option.default.eq_ignore_ascii_case("true")),
        Kind::Integer { .. } => text.parse::<i64>().map_or(Value::Null, Value::from),
        Kind::Float { .. } => text.parse::<f64>().map_or(Value::Null, Value::from),
        Kind::TextArray => Value::from(vec![text]),
        Kind::Choice(_) => Value::from(text.to_uppercase()),
        Kind::Text | Kind::ClassWeights | Kind::Directions | Kind::CloudOnly => Value::from(text),
    }
}

/// A value as SQL writes it, for messages.
pub(super) fn sql_literal(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Bool(flag) => flag.to_string().to_uppercase(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Array(items) => {
            format!(
                "[{}]",
                items.iter().map(sql_literal).collect::<Vec<_>>().join(", ")
            )
        }
        Value::Object(fields) => {
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, value)| format!("{} AS {name}", sql_literal(value)))
                .collect();
            format!("STRUCT({})", fields.join(", "))
        }
    }
}

fn as_bool(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Some(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

/// A whole number, also one that was written `20.0`.
fn as_integer(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| {
        let number = value.as_f64()?;
        // 2^53: beyond it neighbouring integers have no f64 of their own.
        (number.fract() == 0.0 && number.abs() <= 9_007_199_254_740_992.0).then_some(number as i64)
    })
}

fn as_texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(ToOwned::to_owned))
            .collect(),
        _ => None,
    }
}

/// `[STRUCT('a', 0.5), …]` as arrays or objects of two values, or an object `{"a": 0.5}`.
fn as_numbers(value: &Value, is_allowed: impl Fn(f64) -> bool) -> Option<Map<String, Value>> {
    let pairs: Vec<(String, f64)> = match value {
        Value::Array(items) => items.iter().map(named_number).collect::<Option<_>>()?,
        Value::Object(fields) => fields
            .iter()
            .map(|(label, weight)| Some((label.clone(), weight.as_f64()?)))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let n_pairs = pairs.len();
    let weights: Map<String, Value> = pairs
        .into_iter()
        .filter(|(_, number)| number.is_finite() && is_allowed(*number))
        .map(|(label, weight)| (label, Value::from(weight)))
        .collect();
    // Fewer means a name that was given twice, or a number out of range.
    (weights.len() == n_pairs && n_pairs > 0).then_some(weights)
}

fn named_number(item: &Value) -> Option<(String, f64)> {
    let (first, second) = match item {
        Value::Array(items) if items.len() == 2 => (&items[0], &items[1]),
        Value::Object(fields) if fields.len() == 2 => {
            let mut values = fields.values();
            (values.next()?, values.next()?)
        }
        _ => return None,
    };
    // Fields of a struct come in the order of their names: the text is the label.
    let (label, weight) = if second.is_string() {
        (second, first)
    } else {
        (first, second)
    };
    let label = match label {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.as_i64().map_or_else(
            || number.as_f64().map(|x| x.to_string()),
            |x| Some(x.to_string()),
        )?,
        _ => return None,
    };
    Some((label, weight.as_f64()?))
}
