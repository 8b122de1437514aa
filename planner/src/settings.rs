//! What `SET`, `RESET` and `SHOW` change and show, one instance a session.
//!
//! In: names and values as text; out: checked values. A value is checked when it is set, so that
//! readers can trust it.

mod accepted;
mod definitions;
mod encodings;
mod session_values;
mod units;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use auspex_ml::compute::{Compute, DeviceChoice};
use auspex_sql::Dialect;

use crate::catalog::facts::SettingFacts;
use crate::engine::lock;
use crate::error::{Error, Result};
use accepted::ACCEPTED;
use definitions::{Check, DEFINITIONS, Definition, bound, check, find};

pub(crate) use encodings::copied_encoding;
pub use encodings::{NO_CHARACTER, SERVER_ENCODING, SINGLE_BYTE_ENCODINGS, SingleByteEncoding};
pub(crate) use session_values::{zone_of, zone_of_interval};
pub(crate) use units::{milliseconds, size_bytes};

/// What a transaction block says of itself, and what blocks begin with, which is what `SHOW` tells outside of one.
pub(crate) const OF_BLOCKS: [(&str, &str); 3] = [
    ("transaction_isolation", "default_transaction_isolation"),
    ("transaction_read_only", "default_transaction_read_only"),
    ("transaction_deferrable", "default_transaction_deferrable"),
];

/// What blocks begin with, of a setting that a block has for itself.
fn default_of_block(name: &str) -> Option<&'static str> {
    let found = OF_BLOCKS.iter().find(|(of_block, _)| *of_block == name);
    found.map(|(_, default)| *default)
}

/// The settings of one session.
#[derive(Debug)]
pub struct Settings {
    values: Mutex<BTreeMap<String, String>>,
    /// What `RESET` goes back to: the server's values, over them those of the role, over them those that the client came with.
    defaults: Mutex<BTreeMap<String, String>>,
}

impl Settings {
    /// Settings that start with `defaults` over the built-in ones.
    pub(crate) fn new(defaults: &BTreeMap<String, String>) -> Result<Settings> {
        let mut all: BTreeMap<String, String> = DEFINITIONS
            .iter()
            .map(|definition| (definition.name.to_owned(), definition.default.to_owned()))
            .collect();
        for (name, value) in defaults {
            let name = canonical(name);
            let checked = match find(&name) {
                Ok(definition) => check(definition, value)?,
                Err(_) => value.clone(),
            };
            all.insert(name, checked);
        }
        all.retain(|name, _| default_of_block(name).is_none());
        Ok(Settings {
            values: Mutex::new(all.clone()),
            defaults: Mutex::new(all),
        })
    }

    /// The value of a setting; `None` if there is no such setting.
    pub fn get(&self, name: &str) -> Option<String> {
        let name = canonical(name);
        let known = self.kept(&name);
        if let (None, Some(default)) = (&known, default_of_block(&name)) {
            return self.get(default);
        }
        let accepted = || ACCEPTED.iter().find(|definition| definition.name == name);
        known.or_else(|| accepted().map(|definition| definition.default.to_owned()))
    }

    /// The value of a setting that the session keeps one of; a block keeps what it says of itself.
    pub(crate) fn kept(&self, name: &str) -> Option<String> {
        lock(&self.values).get(name).cloned()
    }

    /// All values, also of the settings that sessions keep none of.
    fn values(&self) -> BTreeMap<String, String> {
        let mut values: BTreeMap<String, String> = ACCEPTED
            .iter()
            .map(|definition| (definition.name.to_owned(), definition.default.to_owned()))
            .collect();
        values.extend(lock(&self.values).clone());
        let of_blocks = OF_BLOCKS.into_iter();
        values.extend(of_blocks.filter_map(|(name, _)| Some((name.to_owned(), self.get(name)?))));
        values
    }

    /// Changes a setting. Names with a dot that nobody defines are kept as they are, as PostgreSQL does.
    pub fn set(&self, name: &str, value: &str) -> Result<()> {
        let name = canonical(name);
        let value = checked(&name, value)?;
        lock(&self.values).insert(name, value);
        Ok(())
    }

    /// Changes a setting and what `RESET` goes back to: for what a session starts with.
    ///
    /// Errors: as [`Settings::set`].
    pub fn start_with(&self, name: &str, value: &str) -> Result<()> {
        let name = canonical(name);
        let value = checked(&name, value)?;
        if default_of_block(&name).is_some() {
            // There is no block that it could be about.
            return Ok(());
        }
        lock(&self.defaults).insert(name.clone(), value.clone());
        lock(&self.values).insert(name, value);
        Ok(())
    }

    /// Starts with the settings of a role over the server's. Those that are not good any more are left out.
    pub(crate) fn adopt(&self, settings: &BTreeMap<String, String>) {
        for (name, value) in settings {
            let _not_good_any_more = self.start_with(name, value);
        }
    }

    /// Shows a value that no `SET` changes.
    pub(crate) fn show(&self, name: &str, value: String) {
        lock(&self.values).insert(name.to_owned(), value);
    }

    /// All values, to restore them later.
    pub(crate) fn saved(&self) -> BTreeMap<String, String> {
        lock(&self.values).clone()
    }

    /// Makes all values what they were.
    pub(crate) fn restore(&self, saved: BTreeMap<String, String>) {
        *lock(&self.values) = saved;
    }

    /// Makes a value what it was; `None`: there was none.
    pub(crate) fn put_back(&self, name: &str, value: Option<String>) {
        let name = canonical(name);
        match value {
            Some(value) => lock(&self.values).insert(name, value),
            None => lock(&self.values).remove(&name),
        };
    }

    /// Whether a switch is on.
    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value == "on")
    }

    /// Sets a setting back to its default.
    pub fn reset(&self, name: &str) -> Result<()> {
        let name = canonical(name);
        let default = lock(&self.defaults).get(&name).cloned();
        match default {
            Some(value) => {
                lock(&self.values).insert(name, value);
                Ok(())
            }
            None if lock(&self.values).remove(&name).is_some() => Ok(()),
            None => find(&name).map(|_| ()),
        }
    }

    /// Sets all settings back to their defaults.
    pub fn reset_all(&self) {
        let mut reset = lock(&self.defaults).clone();
        let mut values = lock(&self.values);
        let stays = |name: &String| {
            default_of_block(name).is_some()
                || find(name).is_ok_and(|definition| matches!(definition.check, Check::ReadOnly))
        };
        let kept = values.iter().filter(|(name, _)| stays(name));
        reset.extend(kept.map(|(name, value)| (name.clone(), value.clone())));
        *values = reset;
    }

    /// All settings: name, value, description.
    pub fn all(&self) -> Vec<(String, String, String)> {
        let describe = |name: &str| find(name).map_or("", |definition| definition.description);
        self.values()
            .into_iter()
            .map(|(name, value)| {
                let description = describe(&name).to_owned();
                (name, value, description)
            })
            .collect()
    }

    /// All settings with what the catalogs tell of them.
    pub(crate) fn facts(&self) -> Vec<SettingFacts> {
        let defaults = lock(&self.defaults).clone();
        let describe = |(name, value): (String, String)| {
            let definition = find(&name).ok();
            let check = definition.map(|found| &found.check);
            let built_in = definition.map_or("", |found| found.default);
            let default = defaults.get(&name).map_or(built_in, String::as_str);
            // A number is told without its unit, which is told apart.
            let told = |text: &str| match check {
                Some(Check::Quantity(unit, ..)) => unit
                    .read(text)
                    .map_or_else(|| text.to_owned(), |number| number.to_string()),
                _ => text.to_owned(),
            };
            SettingFacts {
                value: told(&value),
                default: told(default),
                built_in: told(built_in),
                description: definition.map_or("", |found| found.description),
                can_be_set: !matches!(check, Some(Check::ReadOnly)),
                kind: definition.map_or("string", |found| kind(found, &value)),
                unit: match check {
                    Some(Check::Quantity(unit, ..)) => unit.name(),
                    _ => None,
                },
                range: check.and_then(range),
                words: match check {
                    Some(Check::Words(words)) => words,
                    _ => &[],
                },
                name,
            }
        };
        self.values().into_iter().map(describe).collect()
    }

    /// A setting that is a time, unless it is 0.
    pub fn duration(&self, name: &str) -> Option<Duration> {
        milliseconds(&self.get(name)?)
            .filter(|limit| *limit > 0)
            .map(Duration::from_millis)
    }

    /// `statement_timeout`, if there is one.
    pub(crate) fn statement_timeout(&self) -> Option<Duration> {
        self.duration("statement_timeout")
    }

    /// The zone that `timezone` means, by the name that Arrow knows.
    pub fn time_zone(&self) -> String {
        let shown = self.get("timezone");
        shown.map_or_else(|| "UTC".to_owned(), |shown| zone_of(&shown))
    }

    /// `ml.dialect`.
    pub(crate) fn dialect(&self) -> Dialect {
        match self.get("ml.dialect").as_deref() {
            Some("postgres") => Dialect::Postgres,
            Some("googlesql") => Dialect::GoogleSql,
            _ => Dialect::Auto,
        }
    }

    /// `threads`, if the session has its own number.
    pub(crate) fn threads(&self) -> Option<usize> {
        self.get("threads")?
            .parse()
            .ok()
            .filter(|threads| *threads > 0)
    }

    /// `device`: what it says, and the device of a session with its limit of memory.
    ///
    /// Errors: an explicit device that is not there.
    pub(crate) fn compute(&self, device: Option<&str>) -> Result<Compute> {
        let choice = device.and_then(DeviceChoice::parse);
        let limit = self.get("gpu_memory_limit");
        let limit = limit.and_then(|text| size_bytes(&text));
        let choice = choice.unwrap_or(DeviceChoice::Auto);
        Ok(Compute::within(choice, limit.unwrap_or(usize::MAX))?)
    }

    /// The device that predicts; `auto` is the CPU until a plan says how many rows there are.
    ///
    /// Errors: as [`Settings::compute`].
    pub(crate) fn compute_predictions(&self) -> Result<Compute> {
        self.compute(self.get("device").as_deref())
    }

    /// What plans of predictions depend on.
    pub(crate) fn device_settings(&self) -> [Option<String>; 2] {
        ["device", "gpu_memory_limit"].map(|name| self.get(name))
    }

    /// `min_distributed_size` in bytes.
    pub(crate) fn min_distributed_bytes(&self) -> u64 {
        let size = self.get("min_distributed_size");
        size.and_then(|size| size_bytes(&size)).unwrap_or(0) as u64
    }

    /// The names of `search_path` in order.
    pub(crate) fn search_path(&self) -> Vec<String> {
        let text = self.get("search_path").unwrap_or_default();
        let names = text
            .split(',')
            .map(|name| name.trim().trim_matches(['"', '\'']).to_owned());
        names
            .filter(|name| !name.is_empty() && name != "$user")
            .collect()
    }
}

/// The kind of a setting, by PostgreSQL's words.
fn kind(definition: &Definition, value: &str) -> &'static str {
    match &definition.check {
        Check::Switch => "bool",
        Check::Words(_) => "enum",
        Check::Quantity(..) | Check::Integer(_) => "integer",
        Check::Real(..) => "real",
        Check::ReadOnly if matches!(value, "on" | "off") => "bool",
        Check::ReadOnly if value.parse::<i64>().is_ok() => "integer",
        _ => "string",
    }
}

/// The least and the most that a number may be.
fn range(check: &Check) -> Option<(String, String)> {
    match check {
        Check::Quantity(_, least, most) => Some((least.to_string(), most.to_string())),
        Check::Real(least, most) => Some((bound(*least), bound(*most))),
        Check::Integer(least) => Some((least.to_string(), i64::MAX.to_string())),
        _ => None,
    }
}

/// The value that a setting takes, if a session may change it.
pub(crate) fn checked(name: &str, value: &str) -> Result<String> {
    match find(name) {
        Ok(definition) => {
            if matches!(definition.check, Check::ReadOnly) {
                return Err(fixed(name));
            }
            check(definition, value)
        }
        Err(_) if name.contains('.') && !name.starts_with("ml.") => Ok(value.to_owned()),
        Err(error) => Err(error),
    }
}

/// The error that a session does not change a setting.
fn fixed(name: &str) -> Error {
    // What the server was started with, of which a part can be given to a role.
    let (when, hint) = match name {
        "memory_limit" => (
            " without restarting the server",
            Some("A superuser may limit a role by ALTER ROLE ... SET max_memory."),
        ),
        _ => ("", None),
    };
    let message = format!("parameter \"{name}\" cannot be changed{when}");
    Error::invalid("55P02", message, hint)
}

pub(crate) fn canonical(name: &str) -> String {
    let name = name.to_lowercase();
    match name.as_str() {
        "time zone" | "time.zone" => "timezone".to_owned(),
        "names" => "client_encoding".to_owned(),
        "transaction isolation level" => "transaction_isolation".to_owned(),
        _ => name,
    }
}
