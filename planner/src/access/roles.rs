//! Which roles there are, and what each inherits from others.
//!
//! In: the catalog and names; out: definitions and sets of names. The superuser exists before anybody makes it, and so do
//! the roles that stand for the rights of the server.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, CatalogState, Definition, ObjectKind, PUBLIC_ROLE, RoleDefinition,
};

/// The role of the first start, which passes every check.
pub(crate) const SUPERUSER: &str = "postgres";
/// Its number and identity, for when it gets an entry.
const SUPERUSER_OID: u32 = 10;
const SUPERUSER_ID: &str = "00000000-0000-0000-0000-000000000010";

/// What the name of a role that was dropped begins with, as its sessions tell it: no role can be called so.
pub(crate) const DROPPED: &str = "pg_dropped_role_";

/// May read all rows of the database.
pub(crate) const READ_ALL_DATA: &str = "pg_read_all_data";
/// May change all rows of the database.
pub(crate) const WRITE_ALL_DATA: &str = "pg_write_all_data";
/// May read the files of `--allow-location`.
pub(crate) const READ_FILES: &str = "pg_read_server_files";
/// May write there.
pub(crate) const WRITE_FILES: &str = "pg_write_server_files";
/// May see what other sessions do.
pub(crate) const MONITOR: &str = "pg_monitor";
/// May cancel and end other sessions.
pub(crate) const SIGNAL: &str = "pg_signal_backend";

/// The roles that are always there, to be members of, with PostgreSQL's numbers.
pub(crate) const PREDEFINED: [(&str, u32); 6] = [
    (MONITOR, 3373),
    (READ_FILES, 4569),
    (WRITE_FILES, 4570),
    (SIGNAL, 4200),
    (READ_ALL_DATA, 6181),
    (WRITE_ALL_DATA, 6182),
];

/// Whether a role is one that is always there.
pub(crate) fn is_predefined(name: &str) -> bool {
    PREDEFINED.iter().any(|(predefined, _)| *predefined == name)
}

/// What a role is, if there is one of the name.
pub(crate) fn find<'a>(state: &'a CatalogState, name: &str) -> Option<Cow<'a, RoleDefinition>> {
    if let Some(entry) = state.global(ObjectKind::Role, name) {
        return match &entry.definition {
            Definition::Role(role) => Some(Cow::Borrowed(role)),
            _ => None,
        };
    }
    match name {
        SUPERUSER => Some(Cow::Owned(superuser())),
        name if is_predefined(name) => Some(Cow::Owned(RoleDefinition::default())),
        _ => None,
    }
}

fn superuser() -> RoleDefinition {
    RoleDefinition {
        superuser: true,
        login: true,
        create_role: true,
        create_db: true,
        ..RoleDefinition::default()
    }
}

/// The entry of a role; a new one for the superuser, which needs none until something about it changes.
pub(crate) fn entry(state: &CatalogState, name: &str) -> Option<Arc<CatalogEntry>> {
    if let Some(entry) = state.global(ObjectKind::Role, name) {
        return Some(Arc::clone(entry));
    }
    (name == SUPERUSER).then(|| {
        let definition = Definition::Role(superuser());
        Arc::new(CatalogEntry {
            id: SUPERUSER_ID.to_owned(),
            oid: SUPERUSER_OID,
            ..CatalogEntry::new("", SUPERUSER, definition)
        })
    })
}

/// All roles: number, name, definition.
pub(crate) fn all(state: &CatalogState) -> Vec<(u32, String, RoleDefinition)> {
    let mut roles: Vec<(u32, String, RoleDefinition)> = PREDEFINED
        .iter()
        .map(|(name, oid)| (*oid, (*name).to_owned(), RoleDefinition::default()))
        .collect();
    if state.global(ObjectKind::Role, SUPERUSER).is_none() {
        roles.push((SUPERUSER_OID, SUPERUSER.to_owned(), superuser()));
    }
    for entry in state.globals(ObjectKind::Role) {
        if let Definition::Role(role) = &entry.definition {
            roles.push((entry.oid, entry.name.clone(), role.clone()));
        }
    }
    roles.sort_by_key(|(oid, ..)| *oid);
    roles
}

pub(crate) fn is_superuser(state: &CatalogState, name: &str) -> bool {
    find(state, name).is_some_and(|role| role.superuser)
}

/// A role, all that it inherits from, and everybody.
pub(crate) fn held(state: &CatalogState, name: &str) -> BTreeSet<String> {
    let mut held = reachable(state, name, |role| role.inherit);
    held.insert(PUBLIC_ROLE.to_owned());
    held
}

/// Whether a role is another one, or a member of it over any number of steps.
pub(crate) fn is_member(state: &CatalogState, name: &str, of: &str) -> bool {
    is_superuser(state, name) || reachable(state, name, |_| true).contains(of)
}

/// The roles that memberships lead to, over those that `follow` says yes to.
fn reachable(
    state: &CatalogState,
    name: &str,
    follow: impl Fn(&RoleDefinition) -> bool,
) -> BTreeSet<String> {
    let mut found = BTreeSet::from([name.to_owned()]);
    let mut waiting = vec![name.to_owned()];
    while let Some(name) = waiting.pop() {
        let Some(role) = find(state, &name) else {
            continue;
        };
        if follow(&role) {
            for group in role.member_of.keys() {
                if found.insert(group.clone()) {
                    waiting.push(group.clone());
                }
            }
        }
    }
    found
}

/// Whether a role may say who is a member of another.
pub(crate) fn administers(state: &CatalogState, name: &str, of: &str) -> bool {
    if is_superuser(state, name) {
        return true;
    }
    if is_superuser(state, of) {
        return false;
    }
    if find(state, of).is_some_and(|role| role.administrators.contains(name)) {
        return true;
    }
    let holds_option =
        |held: &String| find(state, held).is_some_and(|role| role.member_of.get(of) == Some(&true));
    held(state, name).iter().any(holds_option)
}

/// The predefined role that has a privilege on an object of its kind.
pub(crate) fn gives(entry: &CatalogEntry, privilege: &str) -> Option<&'static str> {
    let is_relation = matches!(
        entry.kind(),
        ObjectKind::Table
            | ObjectKind::ExternalTable
            | ObjectKind::View
            | ObjectKind::MaterializedView
    );
    match privilege {
        "SELECT" if is_relation => Some(READ_ALL_DATA),
        "INSERT" | "UPDATE" | "DELETE" if is_relation => Some(WRITE_ALL_DATA),
        "USAGE" if entry.kind() == ObjectKind::Schema => Some(READ_ALL_DATA),
        _ => None,
    }
}
