//! The roles and sessions as catalog rows.
//!
//! In: the session's facts; out: rows of `pg_roles`, `pg_user`, `pg_auth_members`, `pg_stat_activity` and their like. No
//! password is in any of them, and what other roles' sessions do is for those who may see it.

use std::collections::BTreeMap;

use auspex_planner::{BackendFacts, RoleFacts, SessionFacts};

use super::PG_CATALOG;
use super::cells::{Cell, Row};
use super::oids::hashed;
use super::server_tables::DATABASE_OID;

/// The number of `pg_authid`, which is PostgreSQL's.
const AUTHID_OID: i32 = 1260;
/// The superuser's number, which is PostgreSQL's.
pub(super) const SUPERUSER_OID: i32 = 10;
/// The superuser, who owns everything that nobody made.
pub(super) const SUPERUSER: &str = "postgres";
/// What stands in the place of a password.
const HIDDEN: &str = "********";
/// What stands in the place of another role's statement.
const INSUFFICIENT: &str = "<insufficient privilege>";
/// The role whose members see what all sessions do.
const MONITOR: &str = "pg_monitor";

/// The number of a role.
pub(super) fn number(name: &str) -> i32 {
    match name {
        SUPERUSER => SUPERUSER_OID,
        name => hashed("role", name),
    }
}

fn facts(session: &SessionFacts) -> Vec<RoleFacts> {
    let engine = session.engine.upgrade();
    engine.map(|engine| engine.roles()).unwrap_or_default()
}

/// The roles that exist: number and name.
pub(super) fn roles(session: &SessionFacts) -> Vec<(i32, String)> {
    let numbered = |role: RoleFacts| (number(&role.name), role.name);
    facts(session).into_iter().map(numbered).collect()
}

/// The rows of a table about roles; `None` when it is none of them.
pub(super) fn rows(name: &str, session: &SessionFacts) -> Option<Vec<Row>> {
    let row: fn(&RoleFacts) -> Row = match name {
        "pg_roles" | "pg_authid" => role,
        "pg_user" | "pg_shadow" => user,
        "pg_auth_members" => return Some(facts(session).iter().flat_map(memberships).collect()),
        "pg_db_role_setting" => return Some(start_settings(session)),
        "pg_shdescription" => {
            let roles = facts(session);
            return Some(roles.iter().filter_map(description).collect());
        }
        "pg_group" => return Some(groups(&facts(session))),
        "pg_stat_activity" => return Some(activity(session)),
        "pg_stat_gssapi" => return Some(kerberos(session)),
        "pg_stat_ssl" => return Some(encryption(session)),
        _ => return None,
    };
    let can_log_in = |role: &&RoleFacts| name != "pg_user" && name != "pg_shadow" || role.login;
    let roles = facts(session);
    let mut rows: Vec<Row> = roles.iter().filter(can_log_in).map(row).collect();
    if is_secret(PG_CATALOG, name) {
        // What stands here would be the password of the role that `pg_dumpall` makes of it.
        let is_told = |(column, _): &(&str, Cell)| !["rolpassword", "passwd"].contains(column);
        rows.iter_mut().for_each(|row| row.retain(is_told));
    }
    Some(rows)
}

/// Whether a relation is the superusers' alone: in PostgreSQL it has the passwords.
pub(super) fn is_secret(schema: &str, name: &str) -> bool {
    schema == PG_CATALOG && ["pg_authid", "pg_shadow"].contains(&name)
}

fn valid_until(role: &RoleFacts) -> Cell {
    role.valid_until_ms
        .map_or(Cell::Null, |ms| Cell::Int(ms.saturating_mul(1000)))
}

fn settings(role: &RoleFacts) -> Cell {
    match role.settings.is_empty() {
        true => Cell::Null,
        false => written(&role.settings),
    }
}

fn written(settings: &BTreeMap<String, String>) -> Cell {
    let pairs = settings
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    Cell::Texts(pairs.collect())
}

/// What sessions start with: those of a role, and all of the database.
fn start_settings(session: &SessionFacts) -> Vec<Row> {
    let row = |database: i32, role: i32, settings: &BTreeMap<String, String>| {
        let row: Row = vec![
            ("setdatabase", database.into()),
            ("setrole", role.into()),
            ("setconfig", written(settings)),
        ];
        (!settings.is_empty()).then_some(row)
    };
    let engine = session.engine.upgrade();
    let common = engine.map(|engine| engine.common_settings());
    let of_database = row(DATABASE_OID, 0, &common.unwrap_or_default());
    let roles = facts(session);
    let of_roles = roles
        .iter()
        .filter_map(|role| row(0, number(&role.name), &role.settings));
    of_database.into_iter().chain(of_roles).collect()
}

/// The comment of a role, if it has one.
fn description(role: &RoleFacts) -> Option<Row> {
    let comment = role.comment.as_deref()?;
    Some(vec![
        ("objoid", number(&role.name).into()),
        ("classoid", AUTHID_OID.into()),
        ("description", comment.into()),
    ])
}

/// The comments of the roles that have one, by the roles' numbers.
pub(super) fn comments(session: &SessionFacts) -> BTreeMap<i32, String> {
    let roles = facts(session).into_iter();
    let comments = roles.filter_map(|role| Some((number(&role.name), role.comment?)));
    comments.collect()
}

fn role(role: &RoleFacts) -> Row {
    vec![
        ("oid", number(&role.name).into()),
        ("rolname", role.name.as_str().into()),
        ("rolsuper", role.superuser.into()),
        ("rolinherit", role.inherit.into()),
        ("rolcreaterole", role.create_role.into()),
        ("rolcreatedb", role.create_db.into()),
        ("rolcanlogin", role.login.into()),
        ("rolreplication", false.into()),
        ("rolbypassrls", role.superuser.into()),
        ("rolconnlimit", Cell::Int(role.connection_limit)),
        ("rolpassword", HIDDEN.into()),
        ("rolvaliduntil", valid_until(role)),
        ("rolconfig", settings(role)),
    ]
}

fn user(role: &RoleFacts) -> Row {
    vec![
        ("usename", role.name.as_str().into()),
        ("usesysid", number(&role.name).into()),
        ("usecreatedb", role.create_db.into()),
        ("usesuper", role.superuser.into()),
        ("userepl", false.into()),
        ("usebypassrls", role.superuser.into()),
        ("passwd", HIDDEN.into()),
        ("valuntil", valid_until(role)),
        ("useconfig", settings(role)),
    ]
}

fn memberships(role: &RoleFacts) -> Vec<Row> {
    let row = |(group, admin): (&String, &bool)| {
        vec![
            ("roleid", number(group).into()),
            ("member", number(&role.name).into()),
            ("grantor", SUPERUSER_OID.into()),
            ("admin_option", (*admin).into()),
        ]
    };
    role.member_of.iter().map(row).collect()
}

fn groups(roles: &[RoleFacts]) -> Vec<Row> {
    let row = |group: &RoleFacts| {
        let members = roles
            .iter()
            .filter(|role| role.member_of.contains_key(&group.name));
        let members = members.map(|role| i64::from(number(&role.name)));
        vec![
            ("groname", group.name.as_str().into()),
            ("grosysid", number(&group.name).into()),
            ("grolist", Cell::Ints(members.collect())),
        ]
    };
    roles.iter().filter(|role| !role.login).map(row).collect()
}

/// How the connections of the open sessions are encrypted.
fn encryption(session: &SessionFacts) -> Vec<Row> {
    let Some(engine) = session.engine.upgrade() else {
        return Vec::new();
    };
    let viewer = session.identity.current_user();
    let sees_all = engine.is_member(&viewer, MONITOR);
    let row = |backend: BackendFacts| {
        let mut row: Row = vec![("pid", backend.process_id.into())];
        if !sees_all && !engine.is_member(&viewer, &backend.user) {
            return row;
        }
        row.push(("ssl", backend.encryption.is_some().into()));
        if let Some(encryption) = backend.encryption {
            row.extend([
                ("version", encryption.version.into()),
                ("cipher", encryption.cipher.into()),
                ("bits", encryption.bits.into()),
                ("client_dn", encryption.client.into()),
            ]);
        }
        row
    };
    engine.sessions().into_iter().map(row).collect()
}

/// The sessions, of which none logs in or is encrypted by Kerberos; of others' only the number is told.
fn kerberos(session: &SessionFacts) -> Vec<Row> {
    let of_session = |mut row: Row| {
        let is_told = row.len() > 1;
        row.truncate(1);
        if is_told {
            row.push(("gss_authenticated", false.into()));
            row.push(("encrypted", false.into()));
        }
        row
    };
    encryption(session).into_iter().map(of_session).collect()
}

/// The open sessions.
fn activity(session: &SessionFacts) -> Vec<Row> {
    let Some(engine) = session.engine.upgrade() else {
        return Vec::new();
    };
    let viewer = session.identity.current_user();
    let sees_all = engine.is_member(&viewer, MONITOR);
    let row = |backend: BackendFacts| {
        let mut row: Row = vec![
            ("datname", session.database.into()),
            ("pid", backend.process_id.into()),
            ("usesysid", number(&backend.user).into()),
            ("usename", backend.user.as_str().into()),
            ("application_name", backend.application.as_str().into()),
            ("backend_type", "client backend".into()),
        ];
        if !sees_all && !engine.is_member(&viewer, &backend.user) {
            row.push(("query", INSUFFICIENT.into()));
            return row;
        }
        let is_idle = backend.state != auspex_planner::BackendState::Active;
        let address = backend.address;
        row.extend([
            (
                "client_addr",
                address
                    .map(|address| address.ip().to_canonical().to_string())
                    .into(),
            ),
            (
                "client_port",
                address.map_or(Cell::Int(-1), |address| i32::from(address.port()).into()),
            ),
            ("backend_start", Cell::Int(backend.started_us)),
            (
                "xact_start",
                backend.transaction_us.map_or(Cell::Null, Cell::Int),
            ),
            (
                "query_start",
                backend.statement_us.map_or(Cell::Null, Cell::Int),
            ),
            ("state_change", Cell::Int(backend.changed_us)),
            ("state", backend.state.name().into()),
            ("query", backend.text.as_ref().into()),
        ]);
        if is_idle {
            row.push(("wait_event_type", "Client".into()));
            row.push(("wait_event", "ClientRead".into()));
        }
        row
    };
    engine.sessions().into_iter().map(row).collect()
}
