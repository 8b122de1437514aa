//! The options of `CREATE MODEL`: described once, checked once, then trusted.
//!
//! In: option names with values as JSON; out: [`Options`] in which every hyperparameter of the
//! estimator has a value of its type and range. Never guesses: an unknown name is an error that names
//! the nearest.

mod common;
mod values;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::compute::DeviceChoice;
use crate::error::{Error, Result, nearest_name};
use crate::estimator::EstimatorSpec;

/// What values a hyperparameter may have.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// `TRUE` or `FALSE`.
    Bool,
    /// A whole number in a closed range.
    Integer {
        /// Smallest value.
        min: i64,
        /// Greatest value.
        max: i64,
    },
    /// A number in a range.
    Float {
        /// Lower bound.
        min: f64,
        /// Whether the lower bound itself is allowed.
        min_inclusive: bool,
        /// Greatest value.
        max: f64,
    },
    /// One of some words, in any case; the value is the upper-case word.
    Choice(&'static [&'static str]),
    /// Any text.
    Text,
    /// An array of texts; a single text is an array of one.
    TextArray,
    /// `[STRUCT('a', 0.5), …]`.
    ClassWeights,
    /// `[STRUCT('x', 1), …]` with 1, 0 or -1.
    Directions,
    /// Accepted and ignored with a NOTICE, since it concerns a cloud account.
    CloudOnly,
}

/// One hyperparameter or option.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hyperparameter {
    /// The canonical name.
    pub name: &'static str,
    /// Other systems' names.
    pub aliases: &'static [&'static str],
    /// Its values.
    pub kind: Kind,
    /// The default as SQL writes it; `NULL` where there is none.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

impl Hyperparameter {
    /// A hyperparameter of its parts.
    pub(crate) const fn new(
        name: &'static str,
        aliases: &'static [&'static str],
        kind: Kind,
        default: &'static str,
        doc: &'static str,
    ) -> Hyperparameter {
        Hyperparameter {
            name,
            aliases,
            kind,
            default,
            doc,
        }
    }
}

/// The checked options of one training: every option of the estimator has a value.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Options {
    values: BTreeMap<String, Value>,
    written: BTreeSet<String>,
}

/// One row of the view `ml.options`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OptionRow {
    /// The estimator.
    pub model_type: &'static str,
    /// The canonical name.
    pub name: &'static str,
    /// Other systems' names.
    pub aliases: Vec<&'static str>,
    /// The type of its values: `FLOAT64`.
    pub type_name: &'static str,
    /// The values allowed: `greater than 0`.
    pub allowed: String,
    /// The default as SQL writes it.
    pub default: &'static str,
    /// One sentence.
    pub doc: &'static str,
}

impl Options {
    /// Checks what was written against the estimator's hyperparameters and the common options of its
    /// task. NULL stands for the default. `HPARAM_RANGE` and `HPARAM_CANDIDATES` come as an object
    /// with that one name. The second value holds NOTICE texts.
    pub fn check(
        spec: &EstimatorSpec,
        written: &Map<String, Value>,
    ) -> Result<(Options, Vec<String>)> {
        let mut options = Options::default();
        for option in known(spec) {
            options
                .values
                .insert(option.name.to_owned(), values::default_value(option));
        }
        let mut notices = Vec::new();
        for (name, value) in written.iter().filter(|(_, value)| !value.is_null()) {
            let option = find(spec, name)?;
            if !options.written.insert(option.name.to_owned()) {
                return Err(Error::ConflictingOptions {
                    message: format!("option \"{}\" is given more than once", option.name),
                    hint: format!("\"{name}\" is another name of it; write one of them."),
                });
            }
            if is_search_space(value) {
                return Err(tuning(name));
            }
            let checked = values::check_value(option, value)?;
            if common::is_tuning(option.name) && checked != values::default_value(option) {
                return Err(tuning(option.name));
            }
            if option.kind == Kind::CloudOnly {
                notices.push(format!(
                    "option \"{name}\" concerns a cloud account and is ignored"
                ));
            }
            options.values.insert(option.name.to_owned(), checked);
        }
        options.check_device()?;
        if spec.task.is_supervised() {
            notices.extend(options.check_split()?);
        }
        options.check_class_weights()?;
        (spec.check)(&options)?;
        Ok((options, notices))
    }

    /// The value of a `Bool` option.
    pub fn bool(&self, name: &str) -> bool {
        self.value(name).as_bool().unwrap_or_default()
    }

    /// Whether a `Bool` option is true; false where the estimator does not have it.
    pub fn is_true(&self, name: &str) -> bool {
        self.values.get(name) == Some(&Value::Bool(true))
    }

    /// The value of an `Integer` option.
    pub fn usize(&self, name: &str) -> usize {
        self.opt_usize(name).unwrap_or_default()
    }

    /// The value of an `Integer` option.
    pub fn u64(&self, name: &str) -> u64 {
        self.value(name).as_u64().unwrap_or_default()
    }

    /// The value of a `Float` option.
    pub fn f64(&self, name: &str) -> f64 {
        self.opt_f64(name).unwrap_or_default()
    }

    /// The value of an `Integer` option; `None` where it has no default and was not written.
    pub fn opt_usize(&self, name: &str) -> Option<usize> {
        self.value(name)
            .as_u64()
            .and_then(|value| usize::try_from(value).ok())
    }

    /// The value of a `Float` option; `None` where it has no default and was not written.
    pub fn opt_f64(&self, name: &str) -> Option<f64> {
        self.value(name).as_f64()
    }

    /// The value of a `Text` option, or the upper-case word of a `Choice`; `None` where it has no
    /// default and was not written.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.value(name).as_str()
    }

    /// The values of a `TextArray` option; empty where it has no default and was not written.
    pub fn texts(&self, name: &str) -> Vec<String> {
        let items = self
            .value(name)
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(|item| item.as_str().map(ToOwned::to_owned))
            .collect()
    }

    /// Whether the statement gave the option a value.
    pub fn is_written(&self, name: &str) -> bool {
        self.written.contains(name)
    }

    /// The value of a `Choice` option; `None` where the estimator does not have it.
    pub fn text_if_known(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.as_str()
    }

    /// The value of a number; `None` where the estimator does not have it.
    pub fn opt_f64_if_known(&self, name: &str) -> Option<f64> {
        self.values.get(name)?.as_f64()
    }

    /// The weights of `class_weights` by the text of the label; `None` where none were written.
    pub fn class_weights(&self) -> Option<BTreeMap<String, f64>> {
        self.numbers_by_name("class_weights")
    }

    /// Whether classes have weights.
    pub fn weighs_classes(&self) -> bool {
        self.class_weights().is_some()
            || self.is_true("auto_class_weights")
            || self.scale_pos_weight().is_some()
    }

    /// The weight of the positive class, where one was written.
    pub fn scale_pos_weight(&self) -> Option<f64> {
        self.opt_f64_if_known("scale_pos_weight")
            .filter(|_| self.is_written("scale_pos_weight"))
    }

    /// The value of a `ClassWeights` or `Directions` option; `None` where none was written.
    pub fn numbers_by_name(&self, name: &str) -> Option<BTreeMap<String, f64>> {
        let numbers = self.values.get(name)?.as_object()?;
        Some(
            numbers
                .iter()
                .filter_map(|(label, x)| Some((label.clone(), x.as_f64()?)))
                .collect(),
        )
    }

    /// Gives an option a value that was decided elsewhere; it counts as written.
    pub fn set(&mut self, name: &str, value: Value) {
        self.written.insert(name.to_owned());
        self.values.insert(name.to_owned(), value);
    }

    /// All values by canonical name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_str(), value))
    }

    fn value(&self, name: &str) -> &Value {
        let value = self.values.get(name);
        debug_assert!(value.is_some(), "option {name} is not declared");
        value.unwrap_or(&Value::Null)
    }

    fn check_device(&self) -> Result<()> {
        let device = self.text("device").unwrap_or("auto");
        if DeviceChoice::parse(device).is_some() {
            return Ok(());
        }
        Err(Error::InvalidOption {
            name: "device".to_owned(),
            expected: "one of auto, cpu, gpu, cuda, cuda:N".to_owned(),
            found: values::sql_literal(self.value("device")),
        })
    }

    /// Which split options go together; the result holds NOTICE texts.
    fn check_split(&self) -> Result<Vec<String>> {
        let method = self.text("data_split_method").unwrap_or("AUTO_SPLIT");
        let needs_column = matches!(method, "CUSTOM" | "SEQ");
        let has_column = self.text("data_split_col").is_some();
        if needs_column && !has_column {
            return Err(Error::ConflictingOptions {
                message: format!("data_split_method '{method}' needs option \"data_split_col\""),
                hint: "Name the column: data_split_col = 'is_eval'.".to_owned(),
            });
        }
        if has_column && !needs_column {
            return Err(Error::ConflictingOptions {
                message: format!(
                    "option \"data_split_col\" does not go with data_split_method '{method}'"
                ),
                hint: "Set data_split_method = 'CUSTOM' or 'SEQ'.".to_owned(),
            });
        }
        if self.f64("data_split_eval_fraction") >= 1.0 {
            return Err(Error::InvalidOption {
                name: "data_split_eval_fraction".to_owned(),
                expected: "at least 0 and less than 1".to_owned(),
                found: self.f64("data_split_eval_fraction").to_string(),
            });
        }
        let uses_fraction = matches!(method, "RANDOM" | "SEQ");
        let is_idle = self.is_written("data_split_eval_fraction") && !uses_fraction;
        let notice = || {
            format!(
                "option \"data_split_eval_fraction\" has no effect with data_split_method '{method}'"
            )
        };
        Ok(is_idle.then(notice).into_iter().collect())
    }

    fn check_class_weights(&self) -> Result<()> {
        let is_auto = self.values.get("auto_class_weights") == Some(&Value::Bool(true));
        if is_auto && self.class_weights().is_some() {
            return Err(Error::ConflictingOptions {
                message: "options \"class_weights\" and \"auto_class_weights\" exclude each other"
                    .to_owned(),
                hint: "Leave one of them out.".to_owned(),
            });
        }
        let weights = self.class_weights();
        if weights.is_some_and(|weights| weights.values().all(|weight| *weight == 0.0)) {
            return Err(Error::InvalidOption {
                name: "class_weights".to_owned(),
                expected: "greater than 0 for one class at least".to_owned(),
                found: "0 for all".to_owned(),
            });
        }
        Ok(())
    }
}

/// The options of all registered estimators, in the order of the registry.
pub fn options_table() -> Vec<OptionRow> {
    crate::registry::all()
        .flat_map(|estimator| rows(estimator.spec()))
        .collect()
}

fn rows(spec: &'static EstimatorSpec) -> Vec<OptionRow> {
    let row = |option: &'static Hyperparameter| OptionRow {
        model_type: spec.name,
        name: option.name,
        aliases: option.aliases.to_vec(),
        type_name: values::type_name(option.kind),
        allowed: values::expected(option.kind),
        default: option.default,
        doc: option.doc,
    };
    known(spec).map(row).collect()
}

/// The estimator's own hyperparameters, then the common options that it does not declare itself.
fn known(spec: &EstimatorSpec) -> impl Iterator<Item = &'static Hyperparameter> {
    let own = spec.hyperparameters;
    let is_new = |option: &&Hyperparameter| own.iter().all(|other| other.name != option.name);
    own.iter().chain(common::common(spec.task).filter(is_new))
}

/// Options of ours that nothing carries out yet.
const NOT_BUILT: &[&str] = &["k_fold"];

fn find(spec: &EstimatorSpec, name: &str) -> Result<&'static Hyperparameter> {
    if let Some(known) = NOT_BUILT
        .iter()
        .find(|known| known.eq_ignore_ascii_case(name))
    {
        return Err(Error::Unsupported {
            what: format!("option \"{known}\""),
        });
    }
    let is_named = |option: &&'static Hyperparameter| {
        option.name.eq_ignore_ascii_case(name)
            || option
                .aliases
                .iter()
                .any(|alias| alias.eq_ignore_ascii_case(name))
    };
    known(spec)
        .find(is_named)
        .ok_or_else(|| Error::UnknownOption {
            name: name.to_owned(),
            estimator: spec.name.to_owned(),
            nearest: nearest_name(name, known(spec).map(|option| option.name)),
        })
}

/// `HPARAM_RANGE(lo, hi)` or `HPARAM_CANDIDATES([…])`.
fn is_search_space(value: &Value) -> bool {
    let is_hparam = |name: &String| name.to_lowercase().starts_with("hparam_");
    value
        .as_object()
        .is_some_and(|fields| fields.len() == 1 && fields.keys().all(is_hparam))
}

fn tuning(option: &str) -> Error {
    Error::Unsupported {
        what: format!("hyperparameter tuning (option \"{option}\")"),
    }
}

#[cfg(test)]
mod tests;
