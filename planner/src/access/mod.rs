//! Who may do what: the one place where privileges are checked.
//!
//! In: the role that acts and the catalog; out: nothing, or an error with SQLSTATE 42501. Checks are made where a name
//! becomes an object, so that nothing is reached past them. Changes no privilege: that is `commands::privileges`'.
//!
//! Code map: `roles` says which roles there are and what they inherit; `identity` is the role of a session; `owner`
//! whose a new object is; `login` is what the server asks before it lets somebody in; `acting` says as whom a part of a statement is bound; `files` checks
//! paths; `questions` is what catalogs ask.

mod acting;
mod files;
mod identity;
mod login;
mod owner;
mod questions;
pub(crate) mod roles;
mod tables;

use std::collections::BTreeSet;
use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, CatalogState, Definition, GRANT_OPTION, ObjectKind, PUBLIC_ROLE,
};

pub(crate) use acting::{Acting, as_role, as_system, as_writer, is_writer_of};
pub(crate) use files::FileUse;
pub use identity::Identity;
pub(crate) use identity::{HeldRole, Names};
pub use login::{LoginFacts, ProvenRole};
pub use questions::{RoleFacts, Subject};
pub(crate) use questions::{database_grants, has_any, has_privilege, privileges_of};
pub(crate) use tables::TableUse;

use crate::commands::kind_name;
use crate::error::{Error, Result};
use crate::session::{DATABASE, Session, display_name};

/// What a role may do, by the catalog of one moment.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    state: Arc<CatalogState>,
    role: String,
    is_superuser: bool,
    /// The role itself, those that it inherits from, and everybody.
    held: BTreeSet<String>,
}

impl Session {
    /// What the role may do that acts now: the session's, or the owner of the view that is being bound.
    pub(crate) fn access(&self) -> Access {
        self.access_of(&Acting::now())
    }

    /// What they may do for whom the engine describes its catalog.
    pub(crate) fn asking_access(&self) -> Access {
        self.access_of(&Acting::asking())
    }

    fn access_of(&self, acting: &Acting) -> Access {
        let state = self.seen_catalog();
        match acting {
            Acting::System => Access::of_system(state),
            Acting::Role(role) => Access::of(state, role),
            Acting::Session => {
                // By that state: a block may still see the name that a role had.
                let role = self.identity().current().name_in(&state);
                Access::of(state, &role)
            }
        }
    }
}

impl Access {
    /// What a role may do.
    pub(crate) fn of(state: Arc<CatalogState>, role: &str) -> Access {
        Access {
            is_superuser: roles::is_superuser(&state, role),
            held: roles::held(&state, role),
            role: role.to_owned(),
            state,
        }
    }

    /// The engine's own reading of the catalog, which shows names and no rows.
    fn of_system(state: Arc<CatalogState>) -> Access {
        Access {
            is_superuser: true,
            held: BTreeSet::new(),
            role: String::new(),
            state,
        }
    }

    pub(crate) fn state(&self) -> &Arc<CatalogState> {
        &self.state
    }

    pub(crate) fn is_superuser(&self) -> bool {
        self.is_superuser
    }

    /// Whether it is the role, or inherits from it.
    pub(crate) fn is(&self, role: &str) -> bool {
        self.is_superuser || self.held.contains(role)
    }

    /// Whether it has a privilege on an object.
    pub(crate) fn has(&self, entry: &CatalogEntry, privilege: &str) -> bool {
        self.is(&entry.owner)
            || self.is_granted(entry, privilege)
            || roles::gives(entry, privilege).is_some_and(|role| self.is(role))
    }

    /// Whether it may grant a privilege on an object to others.
    pub(crate) fn may_grant(&self, entry: &CatalogEntry, privilege: &str) -> bool {
        self.is(&entry.owner) || self.is_granted(entry, &format!("{privilege}{GRANT_OPTION}"))
    }

    fn is_granted(&self, entry: &CatalogEntry, privilege: &str) -> bool {
        let with_option = format!("{privilege}{GRANT_OPTION}");
        entry.granted().iter().any(|(role, privileges)| {
            self.held.contains(role)
                && (privileges.contains(privilege) || privileges.contains(&with_option))
        })
    }

    /// Whether it has anything to do with an object: owns it, or has a privilege on it.
    pub(crate) fn sees(&self, entry: &CatalogEntry) -> bool {
        let is_granted = |(role, privileges): (&String, &BTreeSet<String>)| {
            self.held.contains(role) && !privileges.is_empty()
        };
        self.is(&entry.owner)
            || entry.granted().iter().any(is_granted)
            || roles::gives(entry, "SELECT").is_some_and(|role| self.is(role))
    }

    /// It must have a privilege on an object, and the use of the schema that it lies in.
    pub(crate) fn check(&self, entry: &CatalogEntry, privilege: &'static str) -> Result<()> {
        if !entry.schema.is_empty() {
            self.check_schema(&entry.schema, "USAGE")?;
        }
        match self.has(entry, privilege) {
            true => Ok(()),
            false => Err(self.denied(entry, privilege)),
        }
    }

    /// It must have a privilege on a schema; one without an entry belongs to the engine.
    pub(crate) fn check_schema(&self, schema: &str, privilege: &'static str) -> Result<()> {
        if privilege != "USAGE" {
            self.check_not_dropped()?;
        }
        match self.state.schema(schema) {
            Some(entry) if !self.has(entry, privilege) => Err(self.denied(entry, privilege)),
            _ => Ok(()),
        }
    }

    /// It must still be there, to own something new.
    fn check_not_dropped(&self) -> Result<()> {
        match self.role.starts_with(roles::DROPPED) {
            true => {
                let message = "the role of this session was dropped";
                Err(Error::invalid("42704", message, None))
            }
            false => Ok(()),
        }
    }

    /// It must own an object.
    pub(crate) fn check_owner(&self, entry: &CatalogEntry) -> Result<()> {
        match self.is(&entry.owner) {
            true => Ok(()),
            false => Err(Error::NotOwner {
                kind: kind_name(&entry.definition),
                name: entry.name.clone(),
                owner: entry.owner.clone(),
            }),
        }
    }

    /// It must own an object or the schema that it lies in, to drop it.
    pub(crate) fn check_drop(&self, entry: &CatalogEntry) -> Result<()> {
        let schema = self.state.schema(&entry.schema);
        match schema.is_some_and(|schema| self.is(&schema.owner)) {
            true => Ok(()),
            false => self.check_owner(entry),
        }
    }

    /// It must be a superuser, to do what the words say.
    pub(crate) fn check_superuser(&self, what: &str) -> Result<()> {
        match self.is_superuser {
            true => Ok(()),
            false => Err(Error::NotAllowed {
                what: what.to_owned(),
                hint: Some("Only a superuser may do this.".to_owned()),
            }),
        }
    }

    /// Whether it has a privilege on the database: everybody may connect and make temporary tables until something else
    /// is said.
    pub(crate) fn has_on_database(&self, privilege: &str) -> bool {
        match self.state.global(ObjectKind::Database, DATABASE) {
            Some(entry) => self.has(entry, privilege),
            None => self.is_superuser || privilege != "CREATE",
        }
    }

    /// It must be allowed to make temporary tables.
    pub(crate) fn check_temporary(&self) -> Result<()> {
        self.check_not_dropped()?;
        match self.has_on_database("TEMPORARY") {
            true => Ok(()),
            false => Err(Error::NotAllowed {
                what: format!("create temporary tables in database \"{DATABASE}\""),
                hint: Some(format!(
                    "A superuser may say: GRANT TEMPORARY ON DATABASE {DATABASE} TO {}.",
                    self.role
                )),
            }),
        }
    }

    /// It must be allowed to make schemas.
    pub(crate) fn check_create_schema(&self) -> Result<()> {
        self.check_not_dropped()?;
        match self.has_on_database("CREATE") {
            true => Ok(()),
            false => Err(Error::PermissionDenied {
                kind: "database",
                name: DATABASE.to_owned(),
                grant: format!("GRANT CREATE ON DATABASE {DATABASE} TO {}", self.role),
            }),
        }
    }

    fn denied(&self, entry: &CatalogEntry, privilege: &str) -> Error {
        let on = match &entry.definition {
            Definition::Table(_) | Definition::ExternalTable(_) | Definition::View(_) => {
                display_name(entry)
            }
            Definition::Schema => format!("SCHEMA {}", entry.name),
            Definition::Model(_) => format!("MODEL {}", display_name(entry)),
            Definition::Sequence(_) => format!("SEQUENCE {}", display_name(entry)),
            definition => format!("{} {}", kind_name(definition).to_uppercase(), entry.name),
        };
        Error::PermissionDenied {
            kind: kind_name(&entry.definition),
            name: entry.name.clone(),
            grant: format!("GRANT {privilege} ON {on} TO {}", self.role),
        }
    }
}

/// Whether a name stands for everybody.
pub(crate) fn is_everybody(role: &str) -> bool {
    role == PUBLIC_ROLE
}
