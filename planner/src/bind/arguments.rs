//! The settings of a model function: the values of its `STRUCT` argument, or of a statement's `WITH`.
//!
//! In: names with JSON values; out: checked numbers. Unknown names are errors that name the nearest.

use auspex_ml::error::Error as MlError;
use serde_json::{Map, Value};

use crate::error::{Result, nearest};

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
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        match value.as_f64() {
            Some(number) if allowed.contains(&number) => Ok(Some(number)),
            _ => {
                let (least, most) = (allowed.start(), allowed.end());
                Err(MlError::InvalidOption {
                    name: name.to_owned(),
                    expected: format!("between {least} and {most}"),
                    found: value.to_string(),
                }
                .into())
            }
        }
    }

    /// Fails for a name that the function does not have.
    pub(super) fn allow(&self, function: &str, names: &[&str]) -> Result<()> {
        let unknown = self.0.keys().find(|name| !names.contains(&name.as_str()));
        unknown.map_or(Ok(()), |name| {
            Err(MlError::UnknownOption {
                name: name.clone(),
                estimator: format!("ml.{function}"),
                nearest: nearest(name, names.iter().copied()),
            }
            .into())
        })
    }
}
