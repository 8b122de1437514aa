//! The settings that there are, and how their values are checked.
//!
//! In: a name and a value as text; out: the value in its canonical form, or an error that names what is allowed.

use std::fmt::Display;

use auspex_ml::compute::DeviceChoice;

use super::accepted::{ACCEPTED, MOST};
use super::encodings::client_encoding;
use super::session_values::{application_name, date_style, time_zone};
use super::units::{Unit, size_bytes};
use crate::error::{Error, Result, nearest};
use crate::workload::LIMITS;

/// How a setting's value is checked.
pub(super) enum Check {
    /// Any text.
    Any,
    /// One of some words, in any case.
    Words(&'static [&'static str]),
    /// A device as option `device` names it.
    Device,
    /// `on` or `off` and PostgreSQL's other spellings.
    Switch,
    /// A number in a unit, from the least to the most.
    Quantity(Unit, i64, i64),
    /// A number that may have a fraction, from the least to the most.
    Real(f64, f64),
    /// Bytes with a unit; 0 is no limit.
    Size,
    /// A whole number of at least this.
    Integer(i64),
    /// As a function of its own reads it.
    Own(fn(&str) -> Result<String>),
    /// Cannot be set.
    ReadOnly,
}

/// A time, of which 0 means for ever or never.
const DURATION: Check = Check::Quantity(Unit::Milliseconds, 0, MOST);

/// A setting that there is.
pub(super) struct Definition {
    pub(super) name: &'static str,
    /// Its value where nobody set it.
    pub(super) default: &'static str,
    pub(super) check: Check,
    pub(super) description: &'static str,
}

pub(super) const fn setting(
    name: &'static str,
    default: &'static str,
    check: Check,
    description: &'static str,
) -> Definition {
    Definition {
        name,
        default,
        check,
        description,
    }
}

/// The settings in alphabetical order. Those that only PostgreSQL knows are here when clients send
/// them at start; their description says what they do not do. The others of PostgreSQL are in `accepted`.
pub(super) const DEFINITIONS: &[Definition] = &[
    setting(
        "allow_locations",
        "",
        Check::ReadOnly,
        "Locations beyond the warehouse that SQL may read; --allow-location.",
    ),
    setting(
        "application_name",
        "",
        Check::Own(application_name),
        "The application's name, shown in activity views.",
    ),
    setting(
        "bytea_output",
        "hex",
        Check::Words(&["hex"]),
        "The text form of bytea.",
    ),
    setting(
        "cache_size",
        "",
        Check::ReadOnly,
        "Memory for footers and hot ranges of remote files, set by --cache-size.",
    ),
    setting(
        "catalog_refresh_interval",
        "",
        Check::ReadOnly,
        "How soon changes by other servers are seen, set by --catalog-refresh-interval.",
    ),
    setting(
        "check_function_bodies",
        "on",
        Check::Switch,
        "Accepted for dumps; functions have no bodies.",
    ),
    setting(
        "checkpoint_interval",
        "30s",
        DURATION,
        "How often a training keeps what it has come to, for TRAIN MODEL ... RESUME; 0 is never.",
    ),
    setting(
        "client_encoding",
        "UTF8",
        Check::Own(client_encoding),
        "The client's encoding.",
    ),
    setting(
        "client_min_messages",
        "notice",
        Check::Words(&[
            "debug5", "debug4", "debug3", "debug2", "debug1", "log", "notice", "warning", "error",
        ]),
        "The least serious messages that are sent.",
    ),
    setting(
        "datestyle",
        "ISO, MDY",
        Check::Own(date_style),
        "The text form of dates: ISO, MDY alone.",
    ),
    setting(
        "default_table_access_method",
        "heap",
        Check::Words(&["heap"]),
        "All tables are alike.",
    ),
    setting(
        "default_tablespace",
        "",
        Check::Words(&["", "pg_default"]),
        "There is one tablespace.",
    ),
    setting(
        "default_transaction_isolation",
        "read committed",
        Check::Any,
        "Accepted for clients.",
    ),
    setting(
        "default_transaction_read_only",
        "off",
        Check::Switch,
        "Accepted for clients.",
    ),
    setting(
        "device",
        "auto",
        Check::Device,
        "The device that trains and predicts.",
    ),
    setting(
        "extra_float_digits",
        "1",
        Check::Quantity(Unit::Number, -15, 3),
        "Accepted for clients; floats always print all digits.",
    ),
    setting(
        "gpu_memory_limit",
        "0",
        Check::Size,
        "Memory that each training or predicting operator may take of each device, blocks and partials together; 0 is all that is free.",
    ),
    setting(
        "idle_in_transaction_session_timeout",
        "0",
        DURATION,
        "Ends sessions that do nothing in a transaction block for so long; 0 is never.",
    ),
    setting(
        "idle_session_timeout",
        "0",
        DURATION,
        "Ends sessions that do nothing for so long; 0 is never.",
    ),
    setting(
        "integer_datetimes",
        "on",
        Check::ReadOnly,
        "Timestamps are integers.",
    ),
    setting(
        "intervalstyle",
        "postgres",
        Check::Words(&["postgres", "iso_8601"]),
        "The text form in which clients get intervals; casts to text write postgres.",
    ),
    setting(
        "is_superuser",
        "on",
        Check::ReadOnly,
        "Whether the current role is a superuser.",
    ),
    setting("jit", "off", Check::Switch, "Accepted for clients."),
    setting(
        "lc_collate",
        "C",
        Check::ReadOnly,
        "Texts compare by their bytes.",
    ),
    setting(
        "lc_ctype",
        "C.UTF-8",
        Check::ReadOnly,
        "Letters are those of Unicode.",
    ),
    setting(
        "lc_messages",
        "C",
        Check::Any,
        "Accepted for clients; messages are English.",
    ),
    setting(
        "lc_monetary",
        "C",
        Check::Any,
        "Accepted for clients; there is no money.",
    ),
    setting(
        "lc_numeric",
        "C",
        Check::Any,
        "Accepted for clients; decimals have a point.",
    ),
    setting(
        "lc_time",
        "C",
        Check::Any,
        "Accepted for clients; months are named in English.",
    ),
    setting(
        "listen",
        "",
        Check::ReadOnly,
        "Where the server listens; --listen.",
    ),
    setting(
        "lock_timeout",
        "0",
        DURATION,
        "How long an advisory lock is waited for; 0 for as long as it takes. There are no other locks.",
    ),
    setting(
        "max_connections",
        "1000",
        Check::ReadOnly,
        "Clients at a time; --max-connections.",
    ),
    setting(
        "max_identifier_length",
        "63",
        Check::ReadOnly,
        "Accepted for clients; names may be longer.",
    ),
    setting(
        "memory_limit",
        "80% of the machine",
        Check::ReadOnly,
        "Memory for queries and trainings; --memory-limit.",
    ),
    setting(
        "min_distributed_size",
        "64MB",
        Check::Size,
        "Bytes of files that a query or training must read to run on the cluster's workers.",
    ),
    setting(
        "ml.dialect",
        "auto",
        Check::Words(&["auto", "postgres", "googlesql"]),
        "How text is read: by evidence, or as one dialect.",
    ),
    setting(
        "ml.nested",
        "json",
        Check::Words(&["json", "composite"]),
        "How structs reach the wire.",
    ),
    setting(
        "password_encryption",
        "scram-sha-256",
        Check::Words(&["scram-sha-256"]),
        "How passwords are kept.",
    ),
    setting(
        "role",
        "none",
        Check::ReadOnly,
        "The role that the session acts as; SET ROLE.",
    ),
    setting(
        "row_security",
        "on",
        Check::Switch,
        "Accepted for dumps; rows are hidden by views.",
    ),
    setting(
        "search_path",
        "\"$user\", public",
        Check::Any,
        "The schemas in which names without one are looked for; the first that exists takes new objects.",
    ),
    setting(
        "seed",
        "0",
        Check::Integer(0),
        "The seed of trainings that name none.",
    ),
    setting(
        "server_encoding",
        "UTF8",
        Check::ReadOnly,
        "The server's encoding.",
    ),
    setting(
        "server_version",
        "15.0",
        Check::ReadOnly,
        "The version of PostgreSQL whose protocol and catalogs are spoken.",
    ),
    setting(
        "server_version_num",
        "150000",
        Check::ReadOnly,
        "The same as a number.",
    ),
    setting(
        "session_authorization",
        "postgres",
        Check::ReadOnly,
        "The role of the session; SET SESSION AUTHORIZATION.",
    ),
    setting(
        "spill_dir",
        "",
        Check::ReadOnly,
        "Where to spill; empty is the temporary folder; --spill-dir.",
    ),
    setting(
        "ssl",
        "off",
        Check::ReadOnly,
        "Whether connections may be encrypted; --tls-cert.",
    ),
    setting(
        "standard_conforming_strings",
        "on",
        Check::Words(&["on"]),
        "Backslashes in strings are plain.",
    ),
    setting(
        "statement_timeout",
        "0",
        DURATION,
        "Ends statements that take longer; 0 is never.",
    ),
    setting(
        "synchronize_seqscans",
        "on",
        Check::Switch,
        "Accepted for dumps; the order of rows is that of the files.",
    ),
    setting(
        "synchronous_commit",
        "on",
        Check::Words(&["on", "off", "local", "remote_write", "remote_apply"]),
        "Accepted for clients; commits are always durable.",
    ),
    setting(
        "threads",
        "0",
        Check::Integer(0),
        "Threads of this session's statements; 0 is the server's number.",
    ),
    setting(
        "timezone",
        "UTC",
        Check::Own(time_zone),
        "The time zone of timestamps with time zone.",
    ),
    setting(
        "transaction_isolation",
        "read committed",
        Check::Any,
        "Accepted for clients.",
    ),
    setting(
        "transaction_read_only",
        "off",
        Check::Switch,
        "Accepted for clients.",
    ),
    setting(
        "warehouse",
        "",
        Check::ReadOnly,
        "Where tables, models and the catalog lie; --warehouse.",
    ),
    setting(
        "work_mem",
        "4MB",
        Check::Quantity(Unit::Kilobytes, 64, MOST),
        "Accepted for clients; memory is limited by --memory-limit.",
    ),
    setting(
        "xmloption",
        "content",
        Check::Words(&["content", "document"]),
        "Accepted for dumps; there is no xml.",
    ),
];

/// The setting of a canonical name.
pub(super) fn find(name: &str) -> Result<&'static Definition> {
    DEFINITIONS
        .iter()
        .chain(ACCEPTED)
        .find(|definition| definition.name == name)
        .ok_or_else(|| {
            let names = DEFINITIONS.iter().map(|definition| definition.name);
            let hint = match LIMITS.contains(&name) {
                true => Some(format!(
                    "It is a limit of roles, which a superuser sets by ALTER ROLE ... SET {name}."
                )),
                false => nearest(name, names).map(|name| format!("Did you mean \"{name}\"?")),
            };
            let message = format!("unrecognized configuration parameter \"{name}\"");
            Error::invalid("42704", message, hint.as_deref())
        })
}

/// The value in its canonical form, or an error that names what is allowed.
pub(super) fn check(definition: &Definition, value: &str) -> Result<String> {
    let wrong = |expected: String| Error::InvalidSetting {
        name: definition.name.to_owned(),
        value: value.to_owned(),
        expected,
    };
    let lower = value.to_lowercase();
    match &definition.check {
        Check::Any | Check::ReadOnly => Ok(value.to_owned()),
        Check::Own(read) => read(value),
        Check::Words(words) if words.contains(&lower.as_str()) => Ok(lower),
        Check::Words(words) => Err(wrong(words.join(", "))),
        Check::Device if DeviceChoice::parse(&lower).is_some() => Ok(lower),
        Check::Device => Err(wrong("auto, cpu, gpu, cuda, cuda:N".to_owned())),
        Check::Switch => match lower.as_str() {
            "on" | "true" | "yes" | "1" => Ok("on".to_owned()),
            "off" | "false" | "no" | "0" => Ok("off".to_owned()),
            _ => Err(wrong("on, off".to_owned())),
        },
        Check::Quantity(unit, least, most) => match unit.read(value) {
            None => Err(wrong(unit.expected().to_owned())),
            Some(number) if (*least..=*most).contains(&number) => Ok(unit.shown(number)),
            Some(number) => {
                let unit = unit.name().map(|unit| format!(" {unit}"));
                let found = format!("{number}{}", unit.unwrap_or_default());
                Err(out_of_range(definition.name, &found, least, most))
            }
        },
        Check::Real(least, most) => match lower.trim().parse::<f64>() {
            Ok(number) if (*least..=*most).contains(&number) => Ok(number.to_string()),
            Ok(number) => {
                let (least, most) = (bound(*least), bound(*most));
                Err(out_of_range(
                    definition.name,
                    &number.to_string(),
                    least,
                    most,
                ))
            }
            Err(_) => Err(wrong("a number".to_owned())),
        },
        Check::Size if lower.trim() == "0" || size_bytes(&lower).is_some() => {
            Ok(value.trim().to_owned())
        }
        Check::Size => Err(wrong("0, or a size such as 512MB or 8GB".to_owned())),
        Check::Integer(least) => match lower.parse::<i64>() {
            Ok(number) if number >= *least => Ok(lower),
            _ => Err(wrong(format!("a whole number of at least {least}"))),
        },
    }
}

/// A bound as PostgreSQL writes it; the largest number has more digits than anybody reads.
pub(super) fn bound(number: f64) -> String {
    match number < f64::MAX {
        true => number.to_string(),
        false => "1.79769e+308".to_owned(),
    }
}

fn out_of_range(name: &str, found: &str, least: impl Display, most: impl Display) -> Error {
    let message =
        format!("{found} is outside the valid range for parameter \"{name}\" ({least} .. {most})");
    Error::invalid("22023", message, None)
}
