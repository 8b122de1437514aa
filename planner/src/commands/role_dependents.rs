//! What a role owns and was granted, when the role is renamed, dropped or parted from its things.
//!
//! In: the catalog at one moment and roles; out: the changes of one commit, so that nobody's name outlives its role.

use std::sync::Arc;

use auspex_sql::RoleName;
use auspex_storage::{
    CatalogEntry, CatalogState, Change, Definition, ObjectKind, Result as StorageResult,
};

use super::roles::{named, require};
use super::tables::{drop_entries, with_dependents};
use crate::access::{Access, roles};
use crate::error::{Error, Result};
use crate::session::Session;

/// The changes that give a role another name, wherever it stands.
pub(super) fn renamed(state: &CatalogState, from: &str, to: &str) -> StorageResult<Vec<Change>> {
    let mut changes = Vec::new();
    for entry in state.all() {
        let mut changed = entry.as_ref().clone();
        if changed.kind() == ObjectKind::Role && changed.name == from {
            to.clone_into(&mut changed.name);
        }
        if changed.owner == from {
            to.clone_into(&mut changed.owner);
        }
        if let Some(held) = changed.granted_mut().remove(from) {
            changed.granted_mut().insert(to.to_owned(), held);
        }
        if let Definition::Role(role) = &mut changed.definition {
            if let Some(admin) = role.member_of.remove(from) {
                role.member_of.insert(to.to_owned(), admin);
            }
            if role.administrators.remove(from) {
                role.administrators.insert(to.to_owned());
            }
            for default in &mut role.default_grants {
                if let Some(held) = default.grants.remove(from) {
                    default.grants.insert(to.to_owned(), held);
                }
            }
        }
        if changed != **entry {
            changes.push(Change::Put(changed));
        }
    }
    Ok(changes)
}

/// A role that owns something, or has a privilege, stays.
pub(super) fn refuse_needed(state: &CatalogState, name: &str) -> Result<()> {
    let mut needs = Vec::new();
    for entry in state.all().filter(|entry| entry.kind() != ObjectKind::Role) {
        if entry.owner == name {
            needs.push(format!("owner of {} {}", entry.kind(), entry.name));
        }
        if entry.granted().contains_key(name) {
            needs.push(format!("privileges for {} {}", entry.kind(), entry.name));
        }
    }
    match needs.is_empty() {
        true => Ok(()),
        false => Err(Error::RoleNeeded {
            role: name.to_owned(),
            needs,
        }),
    }
}

/// The changes that take roles away, and them out of all groups.
pub(super) fn dropped(state: &CatalogState, names: &[&str]) -> StorageResult<Vec<Change>> {
    let mut changes = Vec::new();
    for name in names {
        let entry = state.require_global(ObjectKind::Role, name)?;
        changes.push(Change::Drop {
            id: entry.id.clone(),
        });
    }
    let stays = |other: &&Arc<CatalogEntry>| !names.contains(&other.name.as_str());
    for other in state.globals(ObjectKind::Role).filter(stays) {
        let mut changed = other.as_ref().clone();
        if let Definition::Role(role) = &mut changed.definition {
            for name in names {
                role.member_of.remove(*name);
                role.administrators.remove(*name);
                for default in &mut role.default_grants {
                    default.grants.remove(*name);
                }
            }
            role.default_grants
                .retain(|default| !default.grants.is_empty());
        }
        if changed != **other {
            changes.push(Change::Put(changed));
        }
    }
    Ok(changes)
}

/// The roles of a list, all of which the acting role must be or administer.
fn own_roles(session: &Session, access: &Access, names: &[RoleName]) -> Result<Vec<String>> {
    let mut owners = Vec::new();
    for name in names {
        let name = named(session, name);
        require(access.state(), &name)?;
        if !access.is(&name) {
            return Err(Error::NotAllowed {
                what: "reassign objects".to_owned(),
                hint: Some(format!("Only role \"{name}\" and its members may do this.")),
            });
        }
        owners.push(name);
    }
    Ok(owners)
}

/// `REASSIGN OWNED BY … TO …`.
pub(super) async fn reassign(
    session: &Arc<Session>,
    from: &[RoleName],
    to: &RoleName,
    text: &str,
) -> Result<String> {
    let access = session.access();
    let from = own_roles(session, &access, from)?;
    let to = own_roles(session, &access, std::slice::from_ref(to))?.remove(0);
    let commit = session.engine.catalog.commit(text, |state| {
        let owned = |entry: &&Arc<CatalogEntry>| {
            entry.kind() != ObjectKind::Role && from.contains(&entry.owner)
        };
        let entries = state.all().filter(owned).map(|entry| {
            let owner = to.clone();
            Change::Put(CatalogEntry {
                owner,
                ..entry.as_ref().clone()
            })
        });
        Ok(entries.collect())
    });
    commit.await?;
    Ok("REASSIGN OWNED".to_owned())
}

/// `DROP OWNED BY …`: the objects of roles, and the privileges that they were granted.
pub(super) async fn drop_owned(
    session: &Arc<Session>,
    names: &[RoleName],
    cascade: bool,
    text: &str,
) -> Result<String> {
    let access = session.access();
    let owners = own_roles(session, &access, names)?;
    if owners.iter().any(|owner| owner == roles::SUPERUSER) {
        let message = "cannot drop objects owned by the first role";
        return Err(Error::invalid("2BP01", message, None));
    }
    let state = access.state();
    let is_owned = |entry: &&Arc<CatalogEntry>| {
        entry.kind() != ObjectKind::Role && owners.contains(&entry.owner)
    };
    let owned: Vec<Arc<CatalogEntry>> = state.all().filter(is_owned).cloned().collect();
    let all = with_dependents(state, owned, cascade)?;
    let commit = session.engine.catalog.commit(text, |state| {
        let mut changes = Vec::new();
        for entry in state.all() {
            let mut changed = entry.as_ref().clone();
            for owner in &owners {
                changed.granted_mut().remove(owner);
            }
            if changed != **entry {
                changes.push(Change::Put(changed));
            }
        }
        Ok(changes)
    });
    commit.await?;
    if !all.is_empty() {
        drop_entries(session, &all, text).await?;
    }
    Ok("DROP OWNED".to_owned())
}
