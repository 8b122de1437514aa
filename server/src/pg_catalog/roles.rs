//! The roles as catalog rows.
//!
//! In: the session's facts; out: rows of `pg_roles`, `pg_authid`, `pg_user` and their like. Until roles can be
//! created there are the superuser and whoever is connected.

use auspex_planner::SessionFacts;

use super::cells::{Cell, Row};
use super::oids::hashed;

/// The superuser's number, which is PostgreSQL's.
pub(super) const SUPERUSER_OID: i32 = 10;
/// The superuser, who owns everything.
pub(super) const SUPERUSER: &str = "postgres";

/// The number of a role.
pub(super) fn number(name: &str) -> i32 {
    match name {
        SUPERUSER => SUPERUSER_OID,
        name => hashed("role", name),
    }
}

/// The roles that exist: number and name.
pub(super) fn roles(session: &SessionFacts) -> Vec<(i32, String)> {
    let mut names = vec![SUPERUSER.to_owned()];
    if session.user != SUPERUSER {
        names.push(session.user.clone());
    }
    names
        .into_iter()
        .map(|name| (number(&name), name))
        .collect()
}

/// The rows of a table about roles; `None` when it is none of them.
pub(super) fn rows(name: &str, session: &SessionFacts) -> Option<Vec<Row>> {
    let row: fn(&(i32, String)) -> Row = match name {
        "pg_roles" | "pg_authid" => role,
        "pg_user" | "pg_shadow" => user,
        _ => return None,
    };
    Some(roles(session).iter().map(row).collect())
}

fn role((oid, name): &(i32, String)) -> Row {
    let mut row: Row = vec![
        ("oid", (*oid).into()),
        ("rolname", name.as_str().into()),
        ("rolconnlimit", Cell::Int(-1)),
    ];
    let rights = [
        "rolsuper",
        "rolinherit",
        "rolcreaterole",
        "rolcreatedb",
        "rolcanlogin",
        "rolreplication",
        "rolbypassrls",
    ];
    row.extend(rights.map(|right| (right, Cell::Bool(true))));
    row
}

fn user((oid, name): &(i32, String)) -> Row {
    let mut row: Row = vec![
        ("usename", name.as_str().into()),
        ("usesysid", (*oid).into()),
    ];
    let rights = ["usecreatedb", "usesuper", "userepl", "usebypassrls"];
    row.extend(rights.map(|right| (right, Cell::Bool(true))));
    row
}
