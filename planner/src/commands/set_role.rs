//! `SET ROLE` and `SET SESSION AUTHORIZATION`.
//!
//! In: a role; out: the role of the session, for good or to the end of its transaction block.

use auspex_sql::Word;

use super::roles::require;
use crate::access::{HeldRole, Identity, roles};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};
use crate::transaction::TransactionState;

/// `SET ROLE`: one that the session's user is a member of.
pub(super) fn set_role(
    session: &Session,
    role: Option<&Word>,
    is_local: bool,
    control: &StatementControl,
) -> Result<String> {
    let role = role.map(|role| member(session, &role.value)).transpose()?;
    let is_set = role.is_some();
    let change = |identity: &Identity| identity.set_current(role);
    Ok(set(session, is_set, is_local, control, change))
}

/// The same as a function does it; `none` is the session's user.
pub(crate) fn assign_role(session: &Session, name: &str, is_local: bool) -> Result<()> {
    let role = (name != "none")
        .then(|| member(session, name))
        .transpose()?;
    change_roles(session, is_local, |identity| identity.set_current(role));
    Ok(())
}

/// A role that the session's user is a member of.
fn member(session: &Session, role: &str) -> Result<HeldRole> {
    let state = session.engine.catalog.state();
    require(&state, role)?;
    match roles::is_member(&state, &session.identity().session_user(), role) {
        true => Ok(HeldRole::of(&state, role)),
        false => Err(Error::NotAllowed {
            what: format!("set role \"{role}\""),
            hint: Some("SET ROLE takes a role that the session's user is a member of.".to_owned()),
        }),
    }
}

/// `SET SESSION AUTHORIZATION`: any role, if a superuser logged in.
pub(super) fn set_session(
    session: &Session,
    role: Option<&Word>,
    is_local: bool,
    control: &StatementControl,
) -> Result<String> {
    let state = session.engine.catalog.state();
    if let Some(Word { value, .. }) = role {
        require(&state, value)?;
        let user = session.identity().authenticated_user();
        if user != *value && !roles::is_superuser(&state, &user) {
            return Err(Error::NotAllowed {
                what: "set session authorization".to_owned(),
                hint: Some("Only a session that a superuser opened may do this.".to_owned()),
            });
        }
    }
    let role = role.map(|role| HeldRole::of(&state, &role.value));
    let is_set = role.is_some();
    let change = |identity: &Identity| identity.set_session(role);
    Ok(set(session, is_set, is_local, control, change))
}

fn set(
    session: &Session,
    is_set: bool,
    is_local: bool,
    control: &StatementControl,
    change: impl FnOnce(&Identity),
) -> String {
    let tag = if is_set { "SET" } else { "RESET" }.to_owned();
    if is_local && session.transaction() == TransactionState::Idle {
        control.notify(Notice {
            sqlstate: "25P01",
            ..Notice::warning("SET LOCAL can only be used in transaction blocks")
        });
        return tag;
    }
    change_roles(session, is_local, change);
    tag
}

fn change_roles(session: &Session, is_local: bool, change: impl FnOnce(&Identity)) {
    session.set_roles(is_local);
    change(session.identity());
    session.show_identity();
}
