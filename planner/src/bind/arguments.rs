//! The settings of a model function: the values of its `STRUCT` argument, or of a statement's `WITH`.
//!
//! In: names with JSON values; out: checked numbers. Unknown names are errors that name the nearest.

use serde_json::{Map, Value};

use crate::error::{Error, Result, nearest};

/// The values of a call's `STRUCT` argument, or of a statement's `WITH`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Arguments(pub(crate) Map<String, Value>);

impl Arguments {
    /// The number `name` in a range, if it was given.
    pub(super) fn number(
        &self,
        name: &str,
        allowed: std::ops::RangeInclusive<f64>,
    ) -> Result<Option<f64>> {
        let Some(value) = self.0.get(name).filter(|value| !value.is_null()) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if allowed.contains(&number) => Ok(Some(number)),
            Some(_) => {
                let (least, most) = (allowed.start(), allowed.end());
                Err(wrong(name, &format!("between {least} and {most}"), value))
            }
            None => Err(wrong(name, "a number", value)),
        }
    }

    /// Fails unless each of these settings is `TRUE` or `FALSE`, where it was given.
    pub(super) fn check_flags(&self, names: &[&str]) -> Result<()> {
        let wrong_flag = names.iter().find_map(|name| {
            let value = self.0.get(*name)?;
            (!value.is_boolean() && !value.is_null()).then(|| wrong(name, "TRUE or FALSE", value))
        });
        wrong_flag.map_or(Ok(()), Err)
    }

    /// Fails for a name that the function does not have.
    pub(super) fn allow(&self, function: &str, names: &[&str]) -> Result<()> {
        let unknown = self.0.keys().find(|name| !names.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| {
            let message = format!("unrecognized option \"{name}\" for function ml.{function}");
            let nearest = nearest(name, names.iter().copied());
            let hint = nearest.map_or_else(
                || match names {
                    [] => "It has no settings.".to_owned(),
                    names => format!("Its settings are: {}.", names.join(", ")),
                },
                |name| format!("Did you mean \"{name}\"?"),
            );
            Err(Error::invalid("22023", message, Some(&hint)))
        })
    }
}

/// A setting that cannot have its value.
fn wrong(name: &str, expected: &str, found: &Value) -> Error {
    let found = match found {
        Value::String(text) => format!("'{}'", text.replace('\'', "''")),
        Value::Bool(flag) => flag.to_string().to_uppercase(),
        found => found.to_string(),
    };
    let message = format!("option \"{name}\" must be {expected}, got {found}");
    Error::invalid("22023", message, None)
}
