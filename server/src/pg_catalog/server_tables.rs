//! What the server is: its database, roles and settings, as catalog rows.
//!
//! In: the session's facts; out: rows of `pg_database`, `pg_roles` and their like. There is one
//! database and, until roles can be created, the superuser and whoever is connected.

use auspex_planner::SessionFacts;

use super::cells::Cell;
use super::oids::Oids;

/// The superuser's number, which is PostgreSQL's.
pub(super) const SUPERUSER_OID: i32 = 10;
/// The superuser, who owns everything.
pub(super) const SUPERUSER: &str = "postgres";
/// The database's number, which is the one of PostgreSQL's `postgres`.
const DATABASE_OID: i32 = 5;
/// The number of the default tablespace, which is PostgreSQL's.
const TABLESPACE_OID: i32 = 1663;
/// The number of the schema pg_catalog, which is PostgreSQL's.
const PG_CATALOG_OID: i32 = 11;
/// PostgreSQL's number of UTF-8.
pub(super) const UTF8: i32 = 6;

/// The settings that no statement changes.
const SETTINGS: &[(&str, &str, &str)] = &[
    ("integer_datetimes", "on", "Timestamps are integers."),
    (
        "max_identifier_length",
        "63",
        "The length of names that clients may rely on.",
    ),
    ("server_encoding", "UTF8", "The server's encoding."),
    (
        "server_version",
        "15.0",
        "The version of PostgreSQL whose catalogs are spoken.",
    ),
    ("server_version_num", "150000", "The same as a number."),
    (
        "standard_conforming_strings",
        "on",
        "Backslashes in strings are plain.",
    ),
];

/// The collations: all compare bytes. Number, name and locale are PostgreSQL's.
const COLLATIONS: &[(i32, &str, &str, Option<&str>)] = &[
    (100, "default", "d", None),
    (950, "C", "c", Some("C")),
    (951, "POSIX", "c", Some("POSIX")),
];

/// The rows of a table about the server; `None` when it is none of them.
pub(super) fn rows(name: &str, session: &SessionFacts) -> Option<Vec<Vec<Cell>>> {
    Some(match name {
        "pg_database" => vec![database(session.database)],
        "pg_tablespace" => vec![vec![
            TABLESPACE_OID.into(),
            "pg_default".into(),
            SUPERUSER_OID.into(),
            Cell::Null,
            Cell::Null,
        ]],
        "pg_roles" | "pg_authid" => roles(session)
            .iter()
            .map(|(oid, name)| role(*oid, name))
            .collect(),
        "pg_user" => roles(session)
            .iter()
            .map(|(oid, name)| user(*oid, name))
            .collect(),
        "pg_collation" => COLLATIONS.iter().map(collation).collect(),
        "pg_settings" => SETTINGS.iter().map(setting).collect(),
        _ => return None,
    })
}

/// The roles that exist: number and name.
pub(super) fn roles(session: &SessionFacts) -> Vec<(i32, String)> {
    let mut roles = vec![(SUPERUSER_OID, SUPERUSER.to_owned())];
    if session.user != SUPERUSER {
        roles.push((
            Oids::default().object("role", &session.user),
            session.user.clone(),
        ));
    }
    roles
}

fn database(name: &str) -> Vec<Cell> {
    vec![
        DATABASE_OID.into(),
        name.into(),
        SUPERUSER_OID.into(),
        UTF8.into(),
        "c".into(),
        false.into(),
        true.into(),
        Cell::Int(-1),
        0.into(),
        0.into(),
        TABLESPACE_OID.into(),
        "C".into(),
        "C".into(),
        Cell::Null,
        Cell::Null,
        Cell::Null,
    ]
}

fn collation((oid, name, provider, locale): &(i32, &str, &str, Option<&str>)) -> Vec<Cell> {
    let locale = || locale.map_or(Cell::Null, Cell::from);
    vec![
        (*oid).into(),
        (*name).into(),
        PG_CATALOG_OID.into(),
        SUPERUSER_OID.into(),
        (*provider).into(),
        true.into(),
        Cell::Int(-1),
        locale(),
        locale(),
        Cell::Null,
        Cell::Null,
    ]
}

fn role(oid: i32, name: &str) -> Vec<Cell> {
    let yes = || Cell::from(true);
    let mut row = vec![oid.into(), name.into()];
    row.extend(std::iter::repeat_with(yes).take(7));
    row.extend([Cell::Int(-1), Cell::Null, Cell::Null, Cell::Null]);
    row
}

fn user(oid: i32, name: &str) -> Vec<Cell> {
    let yes = || Cell::from(true);
    let mut row = vec![name.into(), oid.into()];
    row.extend(std::iter::repeat_with(yes).take(4));
    row.extend([Cell::Null, Cell::Null, Cell::Null]);
    row
}

fn setting((name, value, description): &(&str, &str, &str)) -> Vec<Cell> {
    vec![
        (*name).into(),
        (*value).into(),
        Cell::Null,
        "Preset Options".into(),
        (*description).into(),
        Cell::Null,
        "internal".into(),
        "string".into(),
        "default".into(),
        Cell::Null,
        Cell::Null,
        Cell::Null,
        (*value).into(),
        (*value).into(),
        Cell::Null,
        Cell::Null,
        false.into(),
    ]
}
