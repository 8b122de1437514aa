//! What the server is: its database, tablespaces, collations and settings, as catalog rows.
//!
//! In: the session's facts; out: rows of `pg_database`, `pg_settings` and their like. There is one database.

use auspex_planner::{LockFacts, SessionFacts, SettingFacts};
use datafusion::error::Result;

use super::cells::{Cell, Row};
use super::oids::PG_CATALOG_OID;
use super::roles::{SUPERUSER_OID, number};
use super::time_zones;

/// The database's number, which is the one of PostgreSQL's `postgres`.
pub(super) const DATABASE_OID: i32 = 5;
/// The tablespaces, with PostgreSQL's numbers.
const TABLESPACES: &[(i32, &str)] = &[(1663, "pg_default"), (1664, "pg_global")];
/// PostgreSQL's number of UTF-8.
pub(super) const UTF8: i32 = 6;

/// What tools ask of the settings that no statement of ours has: PostgreSQL's names, with what is true here.
const PRESETS: &[(&str, &str, &str, &str)] = &[
    (
        "block_size",
        "8192",
        "integer",
        "The unit in which sizes of files are told.",
    ),
    ("default_with_oids", "off", "bool", "Rows have no numbers."),
    (
        "max_index_keys",
        "32",
        "integer",
        "The columns of a key that clients may rely on.",
    ),
    ("xmlbinary", "base64", "enum", "There is no xml."),
];

/// The collations: all compare bytes. Number, name and locale are PostgreSQL's.
const COLLATIONS: &[(i32, &str, &str, Option<&str>)] = &[
    (100, "default", "d", None),
    (950, "C", "c", Some("C")),
    (951, "POSIX", "c", Some("POSIX")),
];

/// The rows of a table about the server; `None` when it is none of them.
pub(super) fn rows(name: &str, session: &SessionFacts) -> Result<Option<Vec<Row>>> {
    Ok(Some(match name {
        "pg_database" => vec![database(session)?],
        "pg_stat_database" => vec![vec![
            ("datid", DATABASE_OID.into()),
            ("datname", session.database.into()),
        ]],
        "pg_tablespace" => TABLESPACES.iter().map(tablespace).collect(),
        "pg_collation" => COLLATIONS.iter().map(collation).collect(),
        "pg_settings" => settings(session)?,
        "pg_locks" => locks(session),
        "pg_timezone_abbrevs" => time_zones::abbreviations(),
        "pg_timezone_names" => time_zones::rows(),
        _ => return Ok(None),
    }))
}

/// The value of a setting that only PostgreSQL has.
pub(super) fn preset(name: &str) -> Option<&'static str> {
    let found = PRESETS.iter().find(|(preset, ..)| *preset == name);
    found.map(|(_, value, ..)| *value)
}

fn database(session: &SessionFacts) -> Result<Row> {
    let privileges = session.catalog.database_acl()?;
    Ok(vec![
        ("oid", DATABASE_OID.into()),
        ("datname", session.database.into()),
        ("datdba", SUPERUSER_OID.into()),
        ("encoding", UTF8.into()),
        ("datlocprovider", "c".into()),
        ("datistemplate", false.into()),
        ("datallowconn", true.into()),
        ("datconnlimit", Cell::Int(-1)),
        ("datfrozenxid", 0.into()),
        ("datminmxid", 0.into()),
        ("dattablespace", TABLESPACES[0].0.into()),
        ("datcollate", "C".into()),
        ("datctype", "C".into()),
        ("datacl", privileges.map_or(Cell::Null, Cell::Texts)),
    ])
}

fn tablespace((oid, name): &(i32, &str)) -> Row {
    vec![
        ("oid", (*oid).into()),
        ("spcname", (*name).into()),
        ("spcowner", SUPERUSER_OID.into()),
    ]
}

fn collation((oid, name, provider, locale): &(i32, &str, &str, Option<&str>)) -> Row {
    vec![
        ("oid", (*oid).into()),
        ("collname", (*name).into()),
        ("collnamespace", PG_CATALOG_OID.into()),
        ("collowner", SUPERUSER_OID.into()),
        ("collprovider", (*provider).into()),
        ("collisdeterministic", true.into()),
        ("collencoding", Cell::Int(-1)),
        ("collcollate", (*locale).into()),
        ("collctype", (*locale).into()),
    ]
}

/// The advisory locks, which are the only ones: tables and rows are not locked.
fn locks(session: &SessionFacts) -> Vec<Row> {
    let engine = session.engine.upgrade();
    let locks = engine.map(|engine| engine.lock_facts());
    locks.unwrap_or_default().into_iter().map(lock).collect()
}

fn lock(lock: LockFacts) -> Row {
    let mode = match lock.is_shared {
        true => "ShareLock",
        false => "ExclusiveLock",
    };
    // Numbers of objects have 32 bits, of which all count.
    let [first, second] = lock.key.map(|half| Cell::from(half as i32));
    vec![
        ("locktype", "advisory".into()),
        ("database", DATABASE_OID.into()),
        ("classid", first),
        ("objid", second),
        ("objsubid", if lock.is_pair { 2 } else { 1 }.into()),
        ("pid", lock.process_id.into()),
        ("mode", mode.into()),
        ("granted", lock.is_granted.into()),
        ("fastpath", false.into()),
    ]
}

fn settings(session: &SessionFacts) -> Result<Vec<Row>> {
    let known = session.catalog.settings()?;
    let mut rows: Vec<Row> = known.iter().map(setting).collect();
    for (name, value, kind, description) in PRESETS {
        if known.iter().any(|setting| setting.name == *name) {
            continue;
        }
        rows.push(setting(&SettingFacts {
            name: (*name).to_owned(),
            value: (*value).to_owned(),
            default: (*value).to_owned(),
            built_in: (*value).to_owned(),
            description,
            can_be_set: false,
            kind,
            unit: None,
            range: None,
            words: &[],
        }));
    }
    Ok(rows)
}

/// A setting's name in the letters that PostgreSQL has for it.
fn shown_name(name: &str) -> &str {
    match name {
        "datestyle" => "DateStyle",
        "intervalstyle" => "IntervalStyle",
        "timezone" => "TimeZone",
        name => name,
    }
}

fn setting(setting: &SettingFacts) -> Row {
    let is_default = setting.value == setting.default;
    let words = match setting.words {
        &[] => Cell::Null,
        words => Cell::Texts(words.iter().map(|word| (*word).to_owned()).collect()),
    };
    let range = setting.range.as_ref();
    vec![
        ("name", shown_name(&setting.name).into()),
        ("setting", setting.value.as_str().into()),
        ("unit", setting.unit.into()),
        ("category", category(&setting.name).into()),
        ("short_desc", setting.description.into()),
        (
            "context",
            if setting.can_be_set {
                "user"
            } else {
                "internal"
            }
            .into(),
        ),
        ("vartype", setting.kind.into()),
        (
            "source",
            if is_default { "default" } else { "session" }.into(),
        ),
        ("enumvals", words),
        ("min_val", range.map(|(least, _)| least.as_str()).into()),
        ("max_val", range.map(|(_, most)| most.as_str()).into()),
        ("boot_val", setting.built_in.as_str().into()),
        ("reset_val", setting.default.as_str().into()),
        ("pending_restart", false.into()),
    ]
}

fn category(name: &str) -> &'static str {
    match name.split_once('.') {
        Some(("ml", _)) => "Models",
        Some(_) => "Customized Options",
        None => "Server",
    }
}

/// The number of an owner.
pub(super) fn owner(name: &str) -> Cell {
    number(name).into()
}
