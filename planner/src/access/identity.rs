//! The role of a session: who logged in, who it says to be, and as whom it acts.
//!
//! In: `SET ROLE` and `SET SESSION AUTHORIZATION`, already checked; out: names. A session holds roles, not names: one that
//! is renamed keeps its session, and one that is dropped leaves it nobody's, also when another role gets its name. A number
//! tells plans made for one role from those made for another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use auspex_storage::{Catalog, CatalogState, ObjectKind};
use serde::{Deserialize, Serialize};

use super::roles;
use crate::engine::lock;

/// A role, whatever it is called by now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HeldRole {
    /// Its id and number; `None` of a role that is always there, whose name never changes.
    entry: Option<(Arc<str>, u32)>,
    /// What it was called when the session took it.
    name: Arc<str>,
}

impl HeldRole {
    /// The role that has a name at one moment.
    pub(crate) fn of(state: &CatalogState, name: &str) -> HeldRole {
        let entry = state.global(ObjectKind::Role, name);
        let entry = entry.filter(|_| name != roles::SUPERUSER);
        HeldRole {
            entry: entry.map(|entry| (entry.id.as_str().into(), entry.oid)),
            name: name.into(),
        }
    }

    /// What it is called at a moment. One that was dropped gets a name that no role can have.
    pub(crate) fn name_in(&self, state: &CatalogState) -> String {
        let oid = self.entry.as_ref().map_or(0, |(_, oid)| *oid);
        let dropped = || format!("{}{oid}", roles::DROPPED);
        self.known_name(state).map_or_else(dropped, str::to_owned)
    }

    /// The same; `None`: it was dropped.
    pub(super) fn known_name<'a>(&'a self, state: &'a CatalogState) -> Option<&'a str> {
        match &self.entry {
            None => Some(&self.name),
            Some((id, _)) => state.by_id(id).map(|entry| entry.name.as_str()),
        }
    }

    /// What tells it from all others: its id, or the name that never changes.
    pub(crate) fn key(&self) -> &str {
        self.entry.as_ref().map_or(&self.name, |(id, _)| id)
    }

    /// A role that needs no entry.
    #[cfg(test)]
    pub(crate) fn always_there(name: &str) -> HeldRole {
        HeldRole {
            entry: None,
            name: name.into(),
        }
    }

    /// What it was called when the session took it.
    pub(super) fn taken_name(&self) -> &str {
        &self.name
    }
}

/// The roles of one session.
#[derive(Debug)]
pub struct Identity {
    catalog: Arc<Catalog>,
    authenticated: HeldRole,
    names: Mutex<Names>,
    changes: AtomicU64,
}

/// The roles as `SET` left them.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    session: HeldRole,
    current: Option<HeldRole>,
}

impl Identity {
    /// That of a role which has proved who it is.
    pub(crate) fn new(catalog: &Arc<Catalog>, authenticated: HeldRole) -> Identity {
        Identity {
            catalog: Arc::clone(catalog),
            names: Mutex::new(Names {
                session: authenticated.clone(),
                current: None,
            }),
            authenticated,
            changes: AtomicU64::new(0),
        }
    }

    /// Who logged in.
    pub fn authenticated_user(&self) -> String {
        self.authenticated.name_in(&self.catalog.state())
    }

    /// Whether a role is the one that logged in.
    pub(crate) fn is_of(&self, role: &HeldRole) -> bool {
        self.authenticated.key() == role.key()
    }

    /// `session_user`.
    pub fn session_user(&self) -> String {
        let session = lock(&self.names).session.clone();
        session.name_in(&self.catalog.state())
    }

    /// `current_user`, whose privileges count.
    pub fn current_user(&self) -> String {
        self.current().name_in(&self.catalog.state())
    }

    /// The role whose privileges count.
    pub(crate) fn current(&self) -> HeldRole {
        let names = lock(&self.names);
        names.current.as_ref().unwrap_or(&names.session).clone()
    }

    /// `SHOW role`: `none` unless `SET ROLE` was said.
    pub fn role_setting(&self) -> String {
        let current = lock(&self.names).current.clone();
        current.map_or_else(
            || "none".to_owned(),
            |role| role.name_in(&self.catalog.state()),
        )
    }

    /// The roles as they are, to be restored.
    pub(crate) fn saved(&self) -> Names {
        lock(&self.names).clone()
    }

    /// The roles as they were.
    pub(crate) fn restore(&self, names: Names) {
        *lock(&self.names) = names;
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// Grows with every change.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// `SET ROLE`; `None` is the session's own.
    pub(crate) fn set_current(&self, role: Option<HeldRole>) {
        lock(&self.names).current = role;
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// `SET SESSION AUTHORIZATION`; `None` is who logged in.
    pub(crate) fn set_session(&self, role: Option<HeldRole>) {
        *lock(&self.names) = Names {
            session: role.unwrap_or_else(|| self.authenticated.clone()),
            current: None,
        };
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}
