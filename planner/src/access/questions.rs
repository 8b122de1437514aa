//! What catalogs and functions ask about roles and privileges.
//!
//! In: names; out: facts for anybody to read, and true answers about privileges. Refuses nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, CatalogState, Definition, GRANT_OPTION, Grants, ObjectKind, PUBLIC_ROLE,
    RESERVED_SCHEMAS,
};

use super::{Access, roles};
use crate::engine::Engine;
use crate::session::DATABASE;

/// A role as catalogs show it: nothing of its password but whether there is one.
#[derive(Debug, Clone)]
pub struct RoleFacts {
    /// Its number.
    pub oid: u32,
    /// Its name.
    pub name: String,
    /// Passes every check.
    pub superuser: bool,
    /// Has the privileges of its groups.
    pub inherit: bool,
    /// May make roles.
    pub create_role: bool,
    /// May make databases, if there could be any.
    pub create_db: bool,
    /// May connect.
    pub login: bool,
    /// Sessions at a time; -1 is any number.
    pub connection_limit: i64,
    /// When its password ends to be good, in milliseconds since 1970.
    pub valid_until_ms: Option<i64>,
    /// Whether it has a password.
    pub has_password: bool,
    /// Settings that its sessions start with.
    pub settings: BTreeMap<String, String>,
    /// Its groups, and whether it may make others members.
    pub member_of: BTreeMap<String, bool>,
    /// The text of `COMMENT ON ROLE`.
    pub comment: Option<String>,
}

/// An object that a question is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject<'a> {
    /// A table, view or model.
    Relation(&'a str, &'a str),
    /// A schema.
    Schema(&'a str),
    /// The database.
    Database,
}

impl Engine {
    /// All roles, by number.
    pub fn roles(&self) -> Vec<RoleFacts> {
        let state = self.catalog.state();
        let all = roles::all(&state);
        let facts = all.into_iter().map(|(oid, name, role)| RoleFacts {
            oid,
            comment: state
                .global(ObjectKind::Role, &name)
                .and_then(|entry| entry.comment.clone()),
            name,
            superuser: role.superuser,
            inherit: role.inherit,
            create_role: role.create_role,
            create_db: role.create_db,
            login: role.login,
            connection_limit: role.connection_limit.map_or(-1, i64::from),
            valid_until_ms: role.valid_until_ms,
            has_password: role.verifier.is_some(),
            settings: role.settings,
            member_of: role.member_of,
        });
        facts.collect()
    }

    /// The settings that all sessions start with, below those of their roles.
    pub fn common_settings(&self) -> BTreeMap<String, String> {
        let state = self.catalog.state();
        let database = state.global(ObjectKind::Database, DATABASE);
        match database.map(|entry| &entry.definition) {
            Some(Definition::Database(database)) => database.settings.clone(),
            _ => BTreeMap::new(),
        }
    }
}

/// Whether a role has one of the privileges that a text lists (`SELECT, INSERT WITH GRANT OPTION`); `None`: there is no
/// such object.
pub(crate) fn has_privilege(
    state: Arc<CatalogState>,
    role: &str,
    subject: &Subject<'_>,
    privileges: &str,
) -> Option<bool> {
    let access = Access::of(state, role);
    let entry = match subject {
        Subject::Relation(schema, _) | Subject::Schema(schema)
            if RESERVED_SCHEMAS.contains(schema) =>
        {
            let reads = |word: &str| matches!(word, "SELECT" | "USAGE");
            let is_read = words(privileges).any(|(word, _)| reads(&word));
            return Some(access.is_superuser() || is_read);
        }
        Subject::Relation(schema, name) => access.state().get(schema, name).cloned()?,
        Subject::Schema(name) => access.state().schema(name).cloned()?,
        Subject::Database => match access.state().global(ObjectKind::Database, DATABASE) {
            Some(entry) => Arc::clone(entry),
            None => {
                let everybodys = |word: &str| matches!(word, "CONNECT" | "TEMPORARY");
                let granted = words(privileges).any(|(word, _)| everybodys(&word));
                return Some(access.is_superuser() || granted);
            }
        },
    };
    Some(has_any(&access, &entry, privileges))
}

/// Whether a role has one of the privileges that a text lists on an object.
pub(crate) fn has_any(access: &Access, entry: &CatalogEntry, privileges: &str) -> bool {
    words(privileges).any(|(word, with_option)| match with_option {
        true => access.may_grant(entry, &word),
        false => access.has(entry, &word),
    })
}

/// The owner of an object, and its privileges as PostgreSQL spells them (`bob=r/postgres`); `None` where nobody changed
/// them.
pub(crate) fn privileges_of(
    state: &CatalogState,
    subject: &Subject<'_>,
) -> Option<(String, Option<Vec<String>>)> {
    let entry = match subject {
        Subject::Relation(schema, name) => state.get(schema, name),
        Subject::Schema(name) => state.schema(name),
        Subject::Database => state.global(ObjectKind::Database, DATABASE),
    }?;
    Some((entry.owner.clone(), acl(entry)))
}

/// `SELECT, INSERT WITH GRANT OPTION` in upper case, each with whether the option is asked for.
fn words(privileges: &str) -> impl Iterator<Item = (String, bool)> {
    privileges.split(',').map(|word| {
        let word = word.trim().to_uppercase();
        match word.strip_suffix(" WITH GRANT OPTION") {
            Some(word) => (in_full(word.trim()), true),
            None => (in_full(&word), false),
        }
    })
}

/// A privilege by its longer name.
fn in_full(word: &str) -> String {
    match word {
        "TEMP" => "TEMPORARY".to_owned(),
        word => word.to_owned(),
    }
}

/// The letters of PostgreSQL for privileges; `M` is `CREATE MODEL`.
const LETTERS: [(&str, char); 13] = [
    ("INSERT", 'a'),
    ("SELECT", 'r'),
    ("UPDATE", 'w'),
    ("DELETE", 'd'),
    ("TRUNCATE", 'D'),
    ("EXECUTE", 'X'),
    ("USAGE", 'U'),
    ("CREATE", 'C'),
    ("CREATE MODEL", 'M'),
    ("TEMPORARY", 'T'),
    ("CONNECT", 'c'),
    ("READ", 'r'),
    ("WRITE", 'w'),
];

/// The privileges on the database until something else is said.
pub(crate) fn database_grants() -> Grants {
    let everybodys = ["CONNECT", "TEMPORARY"].map(ToOwned::to_owned);
    Grants::from([(PUBLIC_ROLE.to_owned(), everybodys.into())])
}

fn acl(entry: &CatalogEntry) -> Option<Vec<String>> {
    // On the database everybody has some until something else is said, so that none at all is something.
    let is_untouched = match entry.kind() {
        ObjectKind::Database => *entry.granted() == database_grants(),
        _ => entry.granted().is_empty(),
    };
    if is_untouched {
        return None;
    }
    let all = match entry.kind() {
        ObjectKind::Database => "CTc",
        ObjectKind::Schema => "UCM",
        ObjectKind::Model => "rX",
        ObjectKind::Sequence => "rwU",
        _ => "arwdD",
    };
    let mut items = vec![format!("{0}={all}/{0}", entry.owner)];
    // The owner has all in any case, whatever was granted to it.
    let others = entry.granted().iter();
    for (role, privileges) in others.filter(|(role, _)| **role != entry.owner) {
        let name = if role == PUBLIC_ROLE { "" } else { role };
        items.push(format!("{name}={}/{}", letters(privileges), entry.owner));
    }
    Some(items)
}

fn letters(privileges: &BTreeSet<String>) -> String {
    let mut text = String::new();
    for (word, letter) in LETTERS {
        let with_option = format!("{word}{GRANT_OPTION}");
        if privileges.contains(&with_option) {
            text.push(letter);
            text.push('*');
        } else if privileges.contains(word) {
            text.push(letter);
        }
    }
    text
}
