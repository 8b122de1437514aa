//! What the server is started with: flags, environment variables and a file, in this order of strength.
//!
//! In: the command line, with clap's environment variables already in it, and a TOML file; out: one
//! checked configuration. A name that the file should not have is an error that tells the nearest one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use auspex_planner::{EngineConfig, SecretText};
use clap::{Args, ValueEnum};
use toml::{Table, Value};

use crate::auth::{HbaRule, RuleError, read_rules};
use crate::pg_catalog::PgCatalog;

/// Where the server listens unless told otherwise.
const DEFAULT_LISTEN: &str = "127.0.0.1:5432";
/// The environment variable that secrets of credentials are sealed with.
const CREDENTIAL_KEY: &str = "AUSPEX_CREDENTIAL_KEY";
/// The names that a file may have; `settings` is a table of session settings.
const NAMES: &[&str] = &[
    "advertise",
    "allow_locations",
    "audit_log",
    "authentication_timeout",
    "cache_size",
    "catalog_refresh_interval",
    "cluster_tls",
    "cluster_token_file",
    "coordinator",
    "hba",
    "http",
    "listen",
    "log_format",
    "max_connections",
    "memory_limit",
    "settings",
    "shutdown_timeout",
    "spill_dir",
    "tcp_keepalives_idle",
    "tcp_user_timeout",
    "threads",
    "tls_cert",
    "tls_client_ca",
    "tls_key",
    "warehouse",
    "worker_listen",
    "workers",
];

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration file \"{path}\": {source}")]
    Unreadable {
        path: String,
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("configuration file \"{path}\" is not TOML: {message}")]
    Syntax { path: String, message: String },
    /// The file has a name that means nothing.
    #[error("unknown name \"{name}\" in configuration file \"{path}\"")]
    UnknownName {
        path: String,
        name: String,
        nearest: Option<&'static str>,
    },
    /// A value has the wrong type.
    #[error("\"{name}\" in configuration file \"{path}\" must be {expected}, got {found}")]
    WrongType {
        path: String,
        name: String,
        expected: &'static str,
        found: &'static str,
    },
    /// A value is none of the words that it may be.
    #[error("\"{name}\" in configuration file \"{path}\" must be {allowed}, got \"{found}\"")]
    Word {
        path: String,
        name: String,
        allowed: String,
        found: String,
    },
    /// Not a size.
    #[error("invalid memory size \"{text}\"")]
    Size { text: String },
    /// Not a duration.
    #[error("invalid duration \"{text}\"")]
    Duration { text: String },
}

impl ConfigError {
    /// What may help.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            ConfigError::UnknownName {
                nearest: Some(nearest),
                ..
            } => Some(format!("Did you mean \"{nearest}\"?")),
            ConfigError::UnknownName { nearest: None, .. } => {
                Some(format!("Names allowed: {}.", NAMES.join(", ")))
            }
            ConfigError::Size { .. } => {
                Some("Write a number and a unit: 512MB, 8GB, 1.5TB.".to_owned())
            }
            ConfigError::Duration { .. } => {
                Some("Write a number and a unit: 100ms, 1s, 5min; or 0.".to_owned())
            }
            _ => None,
        }
    }
}

/// The engine's part of a command line.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct EngineArgs {
    /// Folder or URL that holds tables, models and the catalog; made when missing [default: ./warehouse]
    #[arg(long, value_name = "DIR", env = "AUSPEX_WAREHOUSE")]
    pub(crate) warehouse: Option<String>,

    /// Memory for queries and trainings, such as 8GB or 512MB [default: 80 % of the machine's]
    #[arg(long, value_name = "SIZE", env = "AUSPEX_MEMORY_LIMIT")]
    pub(crate) memory_limit: Option<String>,

    /// Threads for queries and trainings [default: one a core]
    #[arg(long, value_name = "N", env = "AUSPEX_THREADS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) threads: Option<u16>,

    /// Folder for what does not fit into memory [default: the system's temporary folder]
    #[arg(long, value_name = "DIR", env = "AUSPEX_SPILL_DIR")]
    pub(crate) spill_dir: Option<PathBuf>,

    /// Memory for footers and hot ranges of files in object stores; 0 keeps none [default: 256MB]
    #[arg(long, value_name = "SIZE", env = "AUSPEX_CACHE_SIZE")]
    pub(crate) cache_size: Option<String>,

    /// How soon changes by other servers are seen, such as 1s; 0 is at each statement
    /// [default: 100ms for a local warehouse, else 1s]
    #[arg(long, value_name = "DURATION", env = "AUSPEX_CATALOG_REFRESH_INTERVAL")]
    pub(crate) catalog_refresh_interval: Option<String>,

    /// Folder or URL beyond the warehouse that SQL may read; may be given more than once, and is a
    /// list in the TOML file (allow_locations = ["/data"])
    #[arg(
        long = "allow-location",
        value_name = "URL",
        env = "AUSPEX_ALLOW_LOCATION",
        value_delimiter = ','
    )]
    pub(crate) allow_locations: Vec<String>,

    /// TOML file with the same names (memory_limit = "8GB"), and a table of settings for sessions
    #[arg(long, value_name = "FILE", env = "AUSPEX_CONFIG")]
    pub(crate) config: Option<PathBuf>,
}

/// What a command is started with.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) listen: String,
    pub(crate) engine: EngineConfig,
    pub(crate) file: File,
}

impl Config {
    /// Joins the command line and the file.
    pub(crate) fn resolve(args: EngineArgs, listen: Option<String>) -> Result<Config, ConfigError> {
        let file = match &args.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let memory_limit = args.memory_limit.or(file.text("memory_limit")?);
        let threads = match args.threads {
            Some(threads) => Some(usize::from(threads)),
            None => file.count("threads")?,
        };
        let allow_locations = if args.allow_locations.is_empty() {
            file.texts("allow_locations")?
        } else {
            args.allow_locations
        };
        let listen = listen
            .or(file.text("listen")?)
            .unwrap_or_else(|| DEFAULT_LISTEN.to_owned());
        let warehouse = args.warehouse.or(file.text("warehouse")?);
        let spill_dir = args
            .spill_dir
            .or(file.text("spill_dir")?.map(PathBuf::from));
        let cache_size = args.cache_size.or(file.text("cache_size")?);
        let refresh = args
            .catalog_refresh_interval
            .or(file.text("catalog_refresh_interval")?);
        let mut engine = EngineConfig {
            memory_limit_bytes: memory_limit.as_deref().map(bytes).transpose()?,
            threads,
            spill_dir,
            allow_locations,
            catalog_refresh_interval: refresh.as_deref().map(duration).transpose()?,
            // Only the environment: flags and files are read by others.
            credential_key: std::env::var(CREDENTIAL_KEY).ok().map(SecretText),
            default_settings: file.settings()?,
            extension: Some(Arc::new(PgCatalog::default())),
            ..EngineConfig::default()
        };
        if let Some(warehouse) = warehouse {
            engine.warehouse = warehouse;
        }
        match cache_size.as_deref() {
            None => {}
            Some("0") => engine.cache_bytes = 0,
            Some(size) => engine.cache_bytes = bytes(size)?,
        }
        show(&mut engine, &listen, memory_limit);
        crate::allocator::suit(engine.memory_limit_bytes);
        Ok(Config {
            listen,
            engine,
            file,
        })
    }
}

/// Lets SHOW ALL tell what the server was started with.
fn show(engine: &mut EngineConfig, listen: &str, memory_limit: Option<String>) {
    let mut shown = BTreeMap::from([
        ("listen", listen.to_owned()),
        ("warehouse", engine.warehouse.clone()),
        ("allow_locations", engine.allow_locations.join(", ")),
    ]);
    shown.extend(memory_limit.map(|limit| ("memory_limit", limit)));
    shown.extend(
        engine
            .spill_dir
            .as_ref()
            .map(|dir| ("spill_dir", dir.display().to_string())),
    );
    for (name, value) in shown {
        engine.default_settings.insert(name.to_owned(), value);
    }
}

/// A configuration file.
#[derive(Debug, Default)]
pub(crate) struct File {
    path: String,
    table: Table,
}

impl File {
    fn read(path: &std::path::Path) -> Result<File, ConfigError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
            path: shown.clone(),
            source,
        })?;
        File::parse(shown, &text)
    }

    fn parse(path: String, text: &str) -> Result<File, ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error: toml::de::Error| ConfigError::Syntax {
                path: path.clone(),
                message: error.message().to_owned(),
            })?;
        match table.keys().find(|name| !NAMES.contains(&name.as_str())) {
            None => Ok(File { path, table }),
            Some(name) => {
                let nearest = nearest(name);
                Err(ConfigError::UnknownName {
                    path,
                    name: name.clone(),
                    nearest,
                })
            }
        }
    }

    fn wrong(&self, name: &str, expected: &'static str, found: &Value) -> ConfigError {
        ConfigError::WrongType {
            path: self.path.clone(),
            name: name.to_owned(),
            expected,
            found: found.type_str(),
        }
    }

    /// The rules about clients.
    pub(crate) fn rules(&self) -> Result<Option<Vec<HbaRule>>, RuleError> {
        read_rules(&self.table)
    }

    pub(crate) fn text(&self, name: &str) -> Result<Option<String>, ConfigError> {
        match self.table.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.wrong(name, "a string", other)),
        }
    }

    /// One of a few words.
    pub(crate) fn word<T: ValueEnum>(&self, name: &str) -> Result<Option<T>, ConfigError> {
        let Some(found) = self.text(name)? else {
            return Ok(None);
        };
        if let Ok(word) = T::from_str(&found, false) {
            return Ok(Some(word));
        }
        let words = T::value_variants().iter();
        let words = words.filter_map(ValueEnum::to_possible_value);
        let words = words.map(|word| format!("\"{}\"", word.get_name()));
        Err(ConfigError::Word {
            path: self.path.clone(),
            name: name.to_owned(),
            allowed: words.collect::<Vec<_>>().join(" or "),
            found,
        })
    }

    pub(crate) fn texts(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        let Some(value) = self.table.get(name) else {
            return Ok(Vec::new());
        };
        let wrong = || self.wrong(name, "an array of strings", value);
        let items = value.as_array().ok_or_else(wrong)?;
        items
            .iter()
            .map(|item| Ok(item.as_str().ok_or_else(wrong)?.to_owned()))
            .collect()
    }

    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.table.get(name) else {
            return Ok(None);
        };
        let number = value
            .as_integer()
            .and_then(|n| usize::try_from(n).ok())
            .filter(|n| *n > 0);
        number
            .map(Some)
            .ok_or_else(|| self.wrong(name, "a whole number of at least 1", value))
    }

    fn settings(&self) -> Result<BTreeMap<String, String>, ConfigError> {
        let Some(value) = self.table.get("settings") else {
            return Ok(BTreeMap::new());
        };
        let table = value
            .as_table()
            .ok_or_else(|| self.wrong("settings", "a table", value))?;
        let text = |(name, value): (&String, &Value)| {
            let text = match value {
                Value::String(text) => text.clone(),
                Value::Boolean(true) => "on".to_owned(),
                Value::Boolean(false) => "off".to_owned(),
                Value::Integer(_) | Value::Float(_) => value.to_string(),
                other => return Err(self.wrong(name, "a string, number or boolean", other)),
            };
            Ok((name.clone(), text))
        };
        table.iter().map(text).collect()
    }
}

/// The name that was probably meant.
fn nearest(name: &str) -> Option<&'static str> {
    let distance = |candidate: &&str| strsim::damerau_levenshtein(name, candidate);
    NAMES
        .iter()
        .copied()
        .filter(|candidate| distance(candidate) <= 3)
        .min_by_key(distance)
}

/// An age such as `90min`, `12h` or `7d`.
pub(crate) fn age(text: &str) -> Result<Duration, ConfigError> {
    let wrong = || ConfigError::Duration {
        text: text.to_owned(),
    };
    let (number, unit) = match (text.strip_suffix('d'), text.strip_suffix('h')) {
        (Some(number), _) => (number, 86_400),
        (_, Some(number)) => (number, 3_600),
        _ => return duration(text),
    };
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    Ok(Duration::from_secs(number.saturating_mul(unit)))
}

/// A duration such as `100ms`, `1s` or `5min`.
pub(crate) fn duration(text: &str) -> Result<Duration, ConfigError> {
    let wrong = || ConfigError::Duration {
        text: text.to_owned(),
    };
    let trimmed = text.trim();
    let end = trimmed
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(trimmed.len());
    let number: u64 = trimmed[..end].parse().map_err(|_| wrong())?;
    let milliseconds = match trimmed[end..].trim() {
        "ms" => number,
        "s" => number.saturating_mul(1_000),
        "min" => number.saturating_mul(60_000),
        "" if number == 0 => 0,
        _ => return Err(wrong()),
    };
    Ok(Duration::from_millis(milliseconds))
}

/// The bytes of a size such as `8GB`. Units are powers of 1024, as in PostgreSQL.
fn bytes(text: &str) -> Result<usize, ConfigError> {
    let wrong = || ConfigError::Size {
        text: text.to_owned(),
    };
    let trimmed = text.trim();
    let end = trimmed
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(trimmed.len());
    let number: f64 = trimmed[..end].parse().map_err(|_| wrong())?;
    let power = match trimmed[end..].trim().to_lowercase().as_str() {
        "b" => 0,
        "kb" | "kib" => 1,
        "mb" | "mib" => 2,
        "gb" | "gib" => 3,
        "tb" | "tib" => 4,
        _ => return Err(wrong()),
    };
    let bytes = number * 1024_f64.powi(power);
    // Lossless enough: a fraction of a byte is dropped.
    if bytes >= 1.0 && bytes < usize::MAX as f64 {
        Ok(bytes as usize)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_server::LogFormat;

    fn file(text: &str) -> Result<File, ConfigError> {
        File::parse("auspex.toml".to_owned(), text)
    }

    #[test]
    fn sizes_are_read_with_their_unit() {
        assert_eq!(bytes("8GB").unwrap(), 8 << 30);
        assert_eq!(bytes(" 512 mb ").unwrap(), 512 << 20);
        assert_eq!(bytes("1.5kB").unwrap(), 1536);
        for wrong in ["", "GB", "8", "8 parsecs", "0MB", "-1GB", "1e30TB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_are_read_with_their_unit() {
        assert_eq!(duration("100ms").unwrap(), Duration::from_millis(100));
        assert_eq!(duration("2 s").unwrap(), Duration::from_secs(2));
        assert_eq!(duration("0").unwrap(), Duration::ZERO);
        assert_eq!(age("7d").unwrap(), Duration::from_secs(7 * 86_400));
        assert_eq!(age("90min").unwrap(), Duration::from_secs(5_400));
        assert!(age("d").is_err());
        for wrong in ["", "1", "-1s", "1 fortnight"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_with_the_nearest() {
        let error = file("memory_limits = \"8GB\"").unwrap_err();
        assert_eq!(
            error.to_string(),
            "unknown name \"memory_limits\" in configuration file \"auspex.toml\""
        );
        assert_eq!(
            error.hint().as_deref(),
            Some("Did you mean \"memory_limit\"?")
        );
        assert!(file("x = [").is_err());
    }

    #[test]
    fn values_have_their_types() {
        let file = file("threads = 4\nallow_locations = [\"a\", \"b\"]\n[settings]\nseed = 7\n");
        let file = file.unwrap();
        assert_eq!(file.count("threads").unwrap(), Some(4));
        assert_eq!(file.texts("allow_locations").unwrap(), ["a", "b"]);
        assert_eq!(file.settings().unwrap()["seed"], "7");
        assert!(file.text("threads").is_err());
        assert_eq!(file.text("listen").unwrap(), None);
    }

    #[test]
    fn words_are_those_of_the_flag() {
        let read = |text: &str| file(text).unwrap().word::<LogFormat>("log_format");
        assert_eq!(read("").unwrap(), None);
        assert_eq!(
            read("log_format = \"json\"").unwrap(),
            Some(LogFormat::Json)
        );
        assert_eq!(
            read("log_format = \"xml\"").unwrap_err().to_string(),
            "\"log_format\" in configuration file \"auspex.toml\" must be \"text\" or \"json\", got \"xml\""
        );
    }

    #[test]
    fn flags_win_over_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("auspex.toml");
        std::fs::write(
            &path,
            "warehouse = \"from file\"\nlisten = \"127.0.0.1:1\"\n",
        )
        .unwrap();
        let args = EngineArgs {
            config: Some(path),
            warehouse: Some("from flag".to_owned()),
            ..EngineArgs::default()
        };
        let config = Config::resolve(args, None).unwrap();
        assert_eq!(config.engine.warehouse, "from flag");
        assert_eq!(config.listen, "127.0.0.1:1");
        assert_eq!(config.engine.default_settings["warehouse"], "from flag");
    }
}
