//! The role of a session: who logged in, who it says to be, and as whom it acts.
//!
//! In: `SET ROLE` and `SET SESSION AUTHORIZATION`, already checked; out: names. A number tells plans made for one role
//! from those made for another.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::engine::lock;

/// The roles of one session.
#[derive(Debug)]
pub struct Identity {
    authenticated: String,
    names: Mutex<Names>,
    changes: AtomicU64,
}

/// The roles as `SET` left them.
#[derive(Debug, Clone)]
pub(crate) struct Names {
    session: String,
    current: Option<String>,
}

impl Identity {
    pub(crate) fn new(user: &str) -> Identity {
        Identity {
            authenticated: user.to_owned(),
            names: Mutex::new(Names {
                session: user.to_owned(),
                current: None,
            }),
            changes: AtomicU64::new(0),
        }
    }

    /// Who logged in.
    pub fn authenticated_user(&self) -> &str {
        &self.authenticated
    }

    /// `session_user`.
    pub fn session_user(&self) -> String {
        lock(&self.names).session.clone()
    }

    /// `current_user`, whose privileges count.
    pub fn current_user(&self) -> String {
        let names = lock(&self.names);
        names.current.as_ref().unwrap_or(&names.session).clone()
    }

    /// `SHOW role`: `none` unless `SET ROLE` was said.
    pub fn role_setting(&self) -> String {
        let names = lock(&self.names);
        names.current.clone().unwrap_or_else(|| "none".to_owned())
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
    pub(crate) fn set_current(&self, role: Option<String>) {
        lock(&self.names).current = role;
        self.changes.fetch_add(1, Ordering::AcqRel);
    }

    /// `SET SESSION AUTHORIZATION`; `None` is who logged in.
    pub(crate) fn set_session(&self, role: Option<String>) {
        *lock(&self.names) = Names {
            session: role.unwrap_or_else(|| self.authenticated.clone()),
            current: None,
        };
        self.changes.fetch_add(1, Ordering::AcqRel);
    }
}
