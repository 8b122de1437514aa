//! Option values of SQL as JSON, the form in which estimators check them and models store them.

use auspex_sql::OptionValue;
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// A value as JSON: structs and arrays become arrays, names become text.
pub(crate) fn json(value: &OptionValue) -> Result<Value> {
    Ok(match value {
        OptionValue::Null | OptionValue::Default => Value::Null,
        OptionValue::Bool(value) => Value::Bool(*value),
        OptionValue::Integer(value) => Value::from(*value),
        OptionValue::Float(value) => Value::from(*value),
        OptionValue::String(text) | OptionValue::Name(text) | OptionValue::Interval(text) => {
            Value::String(text.clone())
        }
        OptionValue::Array(values) => Value::Array(values.iter().map(json).collect::<Result<_>>()?),
        OptionValue::Struct(fields) => Value::Array(
            fields
                .iter()
                .map(|(_, value)| json(value))
                .collect::<Result<_>>()?,
        ),
        OptionValue::Range(..) => return Err(Error::unsupported("HPARAM_RANGE")),
        OptionValue::Candidates(_) => return Err(Error::unsupported("HPARAM_CANDIDATES")),
    })
}

/// The options of a statement by name; a name written twice is an error, `DEFAULT` is NULL.
pub(crate) fn json_options(options: &[auspex_sql::ModelOption]) -> Result<Map<String, Value>> {
    let mut map = Map::new();
    for option in options {
        if map
            .insert(option.name.value.clone(), json(&option.value)?)
            .is_some()
        {
            return Err(Error::Invalid {
                sqlstate: "42601",
                message: format!("option \"{}\" is given more than once", option.name.value),
                hint: None,
                position: Some(option.name.span.start),
            });
        }
    }
    Ok(map)
}
