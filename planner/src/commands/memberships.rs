//! Memberships of roles: `GRANT role TO role`, `REVOKE role FROM role`, `ALTER GROUP`.
//!
//! In: a syntax tree; out: entries of the members, which hold what they are members of. Who granted a membership is not kept.

use std::sync::Arc;

use auspex_sql::{RoleName, RoleStatement};
use auspex_storage::Change;

use super::roles::{changed, named, require};
use crate::access::{Access, roles};
use crate::error::{Error, Result};
use crate::session::Session;

/// Who says that somebody else granted a membership must be a superuser; who did is not kept.
fn check_grantor(session: &Session, access: &Access, grantor: Option<&RoleName>) -> Result<()> {
    let Some(grantor) = grantor else {
        return Ok(());
    };
    let grantor = named(session, grantor);
    require(access.state(), &grantor)?;
    match access.is_superuser() || grantor == session.user() {
        true => Ok(()),
        false => Err(Error::invalid(
            "42501",
            "must be superuser to set grantor",
            None,
        )),
    }
}

/// Who says who is a member of a role must administer it.
pub(super) fn check_administers(access: &Access, user: &str, role: &str) -> Result<()> {
    require(access.state(), role)?;
    match roles::administers(access.state(), user, role) {
        true => Ok(()),
        false => Err(Error::NotAllowed {
            what: format!("grant role \"{role}\""),
            hint: Some(
                "Only superusers and roles with ADMIN OPTION on it may say who its members are."
                    .to_owned(),
            ),
        }),
    }
}

/// Runs `GRANT role TO role`, its `REVOKE`, and `ALTER GROUP`.
pub(super) async fn change(
    session: &Arc<Session>,
    statement: &RoleStatement,
    text: &str,
) -> Result<String> {
    let RoleStatement::Membership {
        grant,
        alters_group,
        admin_option,
        roles: groups,
        members,
        grantor,
    } = statement
    else {
        return Err(Error::unsupported("this statement about members"));
    };
    let (grant, alters_group, admin_option) = (*grant, *alters_group, *admin_option);
    let access = session.access();
    let user = session.user();
    check_grantor(session, &access, grantor.as_ref())?;
    let members: Vec<String> = members.iter().map(|name| named(session, name)).collect();
    for group in groups {
        check_administers(&access, &user, &group.value)?;
        for member in &members {
            require(access.state(), member)?;
            let leads_back = roles::find(access.state(), &group.value).is_some()
                && !roles::is_superuser(access.state(), &group.value)
                && roles::is_member(access.state(), &group.value, member);
            if grant && (leads_back || *member == group.value) {
                let message = format!("role \"{}\" is a member of role \"{member}\"", group.value);
                return Err(Error::invalid("0LP01", message, None));
            }
        }
    }
    let groups: Vec<String> = groups.iter().map(|group| group.value.clone()).collect();
    let commit = session.engine.catalog.commit(text, |state| {
        let entries = members.iter().map(|member| {
            changed(state, member, |role| {
                for group in &groups {
                    match (grant, admin_option) {
                        (true, admin) => {
                            *role.member_of.entry(group.clone()).or_default() |= admin;
                        }
                        (false, true) => {
                            role.member_of
                                .entry(group.clone())
                                .and_modify(|admin| *admin = false);
                        }
                        (false, false) => {
                            role.member_of.remove(group);
                        }
                    }
                }
            })
            .map(Change::Put)
        });
        entries.collect()
    });
    commit.await?;
    let tag = match (alters_group, grant) {
        (true, _) => "ALTER ROLE",
        (false, true) => "GRANT ROLE",
        (false, false) => "REVOKE ROLE",
    };
    Ok(tag.to_owned())
}
