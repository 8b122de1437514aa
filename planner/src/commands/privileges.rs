//! `GRANT` and `REVOKE` of privileges, `ALTER DEFAULT PRIVILEGES`, and `ALTER … OWNER TO`.
//!
//! In: a syntax tree; out: entries with other grants or another owner, in one commit. Checks that who grants may; what a
//! privilege allows is `access`'s.

use std::collections::BTreeSet;
use std::sync::Arc;

use auspex_sql::{
    AlterOwner, DefaultPrivileges, Grant, Name, PrivilegeKind, PrivilegeObjects, RoleName,
};
use auspex_storage::{
    CatalogEntry, CatalogState, Change, DatabaseDefinition, DefaultGrant, Definition,
    Error as StorageError, GRANT_OPTION, Grants, ObjectKind, RESERVED_SCHEMAS,
};

use super::kind_name;
use super::roles::{named, require};
use crate::access::{Access, database_grants, is_everybody, roles};
use crate::error::{Error, Result, nearest};
use crate::search_path::is_relation;
use crate::sequences::{Numbers, identity_of, numbers_of_name};
use crate::session::{DATABASE, Session};
use crate::statement_run::{Notice, StatementControl};

/// `GRANT`, `REVOKE`.
pub(super) async fn grant(
    session: &Arc<Session>,
    grant: &Grant,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let access = session.access();
    let grantees = grantees(session, access.state(), &grant.roles)?;
    let grant = &Box::pin(without_columns(session, grant, control)).await;
    let entries = objects(session, &access, grant)?;
    let privileges = expanded(grant);
    let mut changes: Vec<(Arc<CatalogEntry>, BTreeSet<String>)> = Vec::new();
    for entry in entries {
        let may = |privilege: &&String| access.may_grant(&entry, privilege);
        let allowed: BTreeSet<String> = privileges.iter().filter(may).cloned().collect();
        if allowed.is_empty() && !privileges.is_empty() {
            return Err(Error::PermissionDenied {
                kind: kind_name(&entry.definition),
                name: entry.name.clone(),
                grant: format!(
                    "GRANT {} ... WITH GRANT OPTION",
                    grant.privileges.join(", ")
                ),
            });
        }
        if allowed.len() < privileges.len() {
            control.notify(Notice {
                sqlstate: "01007",
                ..Notice::warning(format!(
                    "not all privileges were granted for \"{}\"",
                    entry.name
                ))
            });
        }
        changes.push((entry, allowed));
    }
    let tag = if grant.grant { "GRANT" } else { "REVOKE" };
    if changes.is_empty() {
        return Ok(tag.to_owned());
    }
    let grant = grant.clone();
    let define = session.define(text, move |state| {
        check_grantees(state, &grantees)?;
        let mut puts = Vec::new();
        for (entry, privileges) in &changes {
            let mut entry = current(state, entry)?;
            for grantee in &grantees {
                change(entry.granted_mut(), grantee, privileges, &grant);
            }
            puts.push(Change::Put(entry));
        }
        Ok(puts)
    });
    Box::pin(define).await?;
    Ok(tag.to_owned())
}

/// A statement without the sequences of identity columns, which have no privileges of their own: to take their numbers is
/// to insert into the table.
async fn without_columns(session: &Session, grant: &Grant, control: &StatementControl) -> Grant {
    let mut grant = grant.clone();
    if let (PrivilegeKind::Sequence, PrivilegeObjects::Named(names)) =
        (grant.kind, &mut grant.objects)
    {
        for name in std::mem::take(names) {
            match numbers_of_name(session, &name.parts) {
                Ok(Numbers::Column(table, column))
                    if identity_of(session, &table, &column).await.is_ok() =>
                {
                    let message = format!(
                        "privileges on the numbers of column \"{column}\" are those on table \"{}\"",
                        table.name
                    );
                    control.notify(Notice {
                        hint: Some("GRANT INSERT ON the table lets a role take them.".to_owned()),
                        ..Notice::plain(message)
                    });
                }
                _ => names.push(name),
            }
        }
    }
    grant
}

/// An entry as it is at the moment of a commit; the database gets one with its first privilege.
fn current(
    state: &CatalogState,
    entry: &Arc<CatalogEntry>,
) -> auspex_storage::Result<CatalogEntry> {
    if let Some(found) = state.by_id(&entry.id) {
        return Ok(found.as_ref().clone());
    }
    match entry.kind() {
        ObjectKind::Database => Ok(match state.global(ObjectKind::Database, DATABASE) {
            Some(found) => found.as_ref().clone(),
            None => entry.as_ref().clone(),
        }),
        kind => Err(StorageError::Conflict {
            object: format!("{kind} \"{}\"", entry.name),
        }),
    }
}

fn check_grantees(state: &CatalogState, grantees: &[String]) -> auspex_storage::Result<()> {
    for grantee in grantees.iter().filter(|grantee| !is_everybody(grantee)) {
        if roles::find(state, grantee).is_none() {
            return Err(StorageError::UndefinedGlobal {
                kind: ObjectKind::Role,
                name: grantee.clone(),
            });
        }
    }
    Ok(())
}

/// The names of the roles of a statement.
fn grantees(session: &Session, state: &CatalogState, roles: &[RoleName]) -> Result<Vec<String>> {
    let names: Vec<String> = roles.iter().map(|role| named(session, role)).collect();
    for name in names.iter().filter(|name| !is_everybody(name)) {
        require(state, name)?;
    }
    Ok(names)
}

/// The privileges of a statement, `ALL` spelt out.
fn expanded(grant: &Grant) -> BTreeSet<String> {
    let mut privileges = BTreeSet::new();
    for written in &grant.privileges {
        match written.as_str() {
            "ALL" => privileges.extend(grant.kind.privileges().iter().map(ToString::to_string)),
            one => {
                privileges.insert(one.to_owned());
            }
        }
    }
    privileges
}

fn change(grants: &mut Grants, grantee: &str, privileges: &BTreeSet<String>, grant: &Grant) {
    let held = grants.entry(grantee.to_owned()).or_default();
    for privilege in privileges {
        let with_option = format!("{privilege}{GRANT_OPTION}");
        match (grant.grant, grant.grant_option) {
            (true, true) => {
                held.remove(privilege);
                held.insert(with_option);
            }
            (true, false) => {
                if !held.contains(&with_option) {
                    held.insert(privilege.clone());
                }
            }
            (false, true) => {
                if held.remove(&with_option) {
                    held.insert(privilege.clone());
                }
            }
            (false, false) => {
                held.remove(&with_option);
                held.remove(privilege);
            }
        }
    }
    grants.retain(|_, held| !held.is_empty());
}

/// The objects of a statement.
fn objects(session: &Session, access: &Access, grant: &Grant) -> Result<Vec<Arc<CatalogEntry>>> {
    match &grant.objects {
        PrivilegeObjects::Named(names) => {
            let found = names
                .iter()
                .map(|name| find(session, access.state(), grant.kind, name));
            found.collect()
        }
        PrivilegeObjects::AllIn(schemas) => {
            let mut all = Vec::new();
            for schema in schemas {
                require_schema(access.state(), &schema.value)?;
                let entries = access.state().entries(&schema.value);
                let fits = |entry: &&Arc<CatalogEntry>| match entry.kind() {
                    ObjectKind::Model => grant.kind == PrivilegeKind::Model,
                    ObjectKind::Sequence => grant.kind == PrivilegeKind::Sequence,
                    ObjectKind::Enum | ObjectKind::Domain => false,
                    _ => grant.kind == PrivilegeKind::Table,
                };
                all.extend(entries.filter(fits).cloned());
            }
            Ok(all)
        }
    }
}

fn require_schema<'a>(state: &'a CatalogState, name: &str) -> Result<&'a Arc<CatalogEntry>> {
    if RESERVED_SCHEMAS.contains(&name) {
        return Err(Error::NotOwner {
            kind: "schema",
            name: name.to_owned(),
            owner: "the engine".to_owned(),
        });
    }
    state.schema(name).ok_or_else(|| {
        let names = state.schemas();
        undefined(
            "schema",
            name,
            names.iter().map(|entry| entry.name.as_str()),
        )
    })
}

fn undefined<'a>(kind: &'static str, name: &str, others: impl Iterator<Item = &'a str>) -> Error {
    Error::Undefined {
        kind,
        name: name.to_owned(),
        nearest: nearest(name, others),
        position: None,
    }
}

/// The object of a name.
fn find(
    session: &Session,
    state: &CatalogState,
    kind: PrivilegeKind,
    name: &Name,
) -> Result<Arc<CatalogEntry>> {
    let short = name.parts.last().map_or("", String::as_str);
    let global = |kind: ObjectKind, word: &'static str| {
        let found = state.global(kind, short).cloned();
        let names = state.globals(kind).map(|entry| entry.name.as_str());
        found.ok_or_else(|| undefined(word, short, names))
    };
    match kind {
        PrivilegeKind::Location => global(ObjectKind::Location, "external location"),
        PrivilegeKind::Credential => global(ObjectKind::Credential, "credential"),
        PrivilegeKind::Catalog => global(ObjectKind::Catalog, "catalog"),
        PrivilegeKind::Schema => require_schema(state, short).cloned(),
        PrivilegeKind::Model => Ok(session.model_entry(name)?.0),
        PrivilegeKind::Database => check_database(short).map(|()| database(state)),
        PrivilegeKind::Sequence => Ok(session.sequence(&name.parts)?.0),
        PrivilegeKind::Type => {
            let found = session.type_entry(&name.parts);
            found.ok_or_else(|| undefined("type", short, std::iter::empty()))
        }
        PrivilegeKind::Table => {
            let (schema, relation) = session.lasting_parts(&name.parts)?;
            match state.get(&schema, &relation) {
                Some(entry) if !is_relation(entry) => Err(Error::WrongKind {
                    name: relation,
                    expected: "table or view",
                    found: kind_name(&entry.definition),
                }),
                Some(entry) => Ok(Arc::clone(entry)),
                None => {
                    require_schema(state, &schema)?;
                    let names = state.entries(&schema).map(|entry| entry.name.as_str());
                    Err(undefined("relation", &relation, names))
                }
            }
        }
    }
}

/// Fails if a name is not that of the one database.
pub(super) fn check_database(name: &str) -> Result<()> {
    match name == DATABASE {
        true => Ok(()),
        false => {
            let message = format!("database \"{name}\" does not exist");
            Err(Error::invalid("3D000", message, None))
        }
    }
}

/// The database, whose privileges everybody has until something else is said.
pub(super) fn database(state: &CatalogState) -> Arc<CatalogEntry> {
    if let Some(entry) = state.global(ObjectKind::Database, DATABASE) {
        return Arc::clone(entry);
    }
    let mut entry = CatalogEntry::new(
        "",
        DATABASE,
        Definition::Database(DatabaseDefinition::default()),
    );
    entry.grants = database_grants();
    Arc::new(entry)
}

/// `ALTER DEFAULT PRIVILEGES`.
pub(super) async fn set_defaults(
    session: &Arc<Session>,
    defaults: &DefaultPrivileges,
    text: &str,
) -> Result<String> {
    let access = session.access();
    let owners = match defaults.roles.is_empty() {
        true => vec![session.user()],
        false => defaults
            .roles
            .iter()
            .map(|role| named(session, role))
            .collect(),
    };
    for owner in &owners {
        require(access.state(), owner)?;
        if !access.is(owner) {
            return Err(Error::NotAllowed {
                what: "change default privileges".to_owned(),
                hint: Some(format!(
                    "Only role \"{owner}\" and its members may do this."
                )),
            });
        }
    }
    let mut schemas = Vec::new();
    for schema in &defaults.schemas {
        schemas.push(Some(
            require_schema(access.state(), &schema.value)?.name.clone(),
        ));
    }
    if schemas.is_empty() {
        schemas.push(None);
    }
    let grantees = grantees(session, access.state(), &defaults.grant.roles)?;
    let privileges = expanded(&defaults.grant);
    let kind = defaults.grant.kind.words();
    let commit = session.engine.catalog.commit(text, |state| {
        check_grantees(state, &grantees)?;
        let mut puts = Vec::new();
        for owner in &owners {
            let Some(entry) = roles::entry(state, owner) else {
                continue;
            };
            let mut entry = entry.as_ref().clone();
            if let Definition::Role(role) = &mut entry.definition {
                for schema in &schemas {
                    let grants = default_grants(&mut role.default_grants, schema.as_deref(), kind);
                    for grantee in &grantees {
                        change(grants, grantee, &privileges, &defaults.grant);
                    }
                }
                role.default_grants
                    .retain(|default| !default.grants.is_empty());
            }
            puts.push(Change::Put(entry));
        }
        Ok(puts)
    });
    commit.await?;
    Ok("ALTER DEFAULT PRIVILEGES".to_owned())
}

/// The grants of a schema and kind, which may be new.
fn default_grants<'a>(
    defaults: &'a mut Vec<DefaultGrant>,
    schema: Option<&str>,
    kind: &str,
) -> &'a mut Grants {
    let fits = |default: &DefaultGrant| default.schema.as_deref() == schema && default.kind == kind;
    let at = defaults.iter().position(fits).unwrap_or_else(|| {
        defaults.push(DefaultGrant {
            schema: schema.map(ToOwned::to_owned),
            kind: kind.to_owned(),
            grants: Grants::new(),
        });
        defaults.len() - 1
    });
    &mut defaults[at].grants
}

/// `ALTER … OWNER TO`.
pub(super) async fn set_owner(
    session: &Arc<Session>,
    alter: &AlterOwner,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let tag = format!("ALTER {}", alter.words);
    let access = session.access();
    let entry = match find(session, access.state(), alter.kind, &alter.name) {
        Err(Error::Undefined { kind, name, .. }) if alter.if_exists => {
            let message = format!("{kind} \"{name}\" does not exist, skipping");
            control.notify(Notice::plain(message));
            return Ok(tag);
        }
        found => found?,
    };
    let owner = named(session, &alter.owner);
    check_new_owner(session, &access, &entry, &owner)?;
    let define = session.define(text, move |state| {
        check_grantees(state, std::slice::from_ref(&owner))?;
        let entry = current(state, &entry)?;
        let owner = owner.clone();
        Ok(vec![Change::Put(CatalogEntry { owner, ..entry })])
    });
    Box::pin(define).await?;
    Ok(tag)
}

/// Who gives an object away must own it and be a member of the role that gets it, which must be allowed to have it there.
pub(super) fn check_new_owner(
    session: &Session,
    access: &Access,
    entry: &CatalogEntry,
    owner: &str,
) -> Result<()> {
    access.check_owner(entry)?;
    require(access.state(), owner)?;
    if access.is_superuser() {
        return Ok(());
    }
    if !roles::is_member(access.state(), &session.user(), owner) {
        return Err(Error::NotAllowed {
            what: format!("give an object to role \"{owner}\""),
            hint: Some(format!("You must be a member of role \"{owner}\".")),
        });
    }
    let new_owner = Access::of(Arc::clone(access.state()), owner);
    match entry.schema.is_empty() {
        true => Ok(()),
        false => new_owner.check_schema(&entry.schema, "CREATE"),
    }
}
