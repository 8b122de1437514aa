//! What the server asks before it lets somebody in.
//!
//! In: a name; out: how it proves who it is, and why it may not come in. Talks to no client.

use std::sync::Arc;

use auspex_storage::{Change, Definition, PasswordVerifier, RoleDefinition};

use super::{Access, HeldRole, roles};
use crate::engine::Engine;
use crate::error::{Error, Result};
use crate::session::DATABASE;

/// What the server needs to know of a role that wants in.
#[derive(Debug, Clone)]
pub struct LoginFacts {
    /// Proves its password; `None` if it has none that is good now.
    pub verifier: Option<PasswordVerifier>,
    /// The role whose password that is.
    pub role: ProvenRole,
}

/// The role whose password a client proved: its name may be that of another one before the session is opened.
#[derive(Debug, Clone)]
pub struct ProvenRole(HeldRole);

impl Engine {
    /// How a role proves who it is; nobody can tell from the answer whether there is such a role.
    pub async fn login_facts(&self, user: &str) -> Result<LoginFacts> {
        self.catalog.refresh().await?;
        let state = self.catalog.state();
        let role = roles::find(&state, user);
        let good = role.filter(|role| {
            let now = chrono::Utc::now().timestamp_millis();
            role.valid_until_ms.is_none_or(|end| now < end)
        });
        let text = good.as_ref().and_then(|role| role.verifier.as_deref());
        Ok(LoginFacts {
            verifier: text.and_then(PasswordVerifier::parse),
            role: ProvenRole(HeldRole::of(&state, user)),
        })
    }

    /// A verifier that no password fits, the same for a name as long as the engine runs.
    pub fn unknown_verifier(&self, user: &str) -> PasswordVerifier {
        PasswordVerifier::of_nobody(&self.secret, user)
    }

    /// Whether a role is a member of another, for rules about who may come in.
    pub fn is_member(&self, role: &str, of: &str) -> bool {
        let state = self.catalog.state();
        roles::find(&state, role).is_some() && roles::is_member(&state, role, of)
    }

    /// Whether a role is a superuser.
    pub fn is_superuser(&self, role: &str) -> bool {
        roles::is_superuser(&self.catalog.state(), role)
    }

    /// Whether the superuser has a password.
    pub fn superuser_has_password(&self) -> bool {
        let state = self.catalog.state();
        roles::find(&state, roles::SUPERUSER).is_some_and(|role| role.verifier.is_some())
    }

    /// Gives the superuser a password.
    pub async fn set_superuser_password(&self, password: &str) -> Result<()> {
        let verifier = PasswordVerifier::of_password(password)?.to_text();
        let text = "ALTER ROLE postgres PASSWORD '***'";
        let commit = self.catalog.commit(text, |state| {
            let Some(entry) = roles::entry(state, roles::SUPERUSER) else {
                return Ok(Vec::new());
            };
            let mut entry = entry.as_ref().clone();
            if let Definition::Role(role) = &mut entry.definition {
                role.verifier = Some(verifier.clone());
            }
            Ok(vec![Change::Put(entry)])
        });
        commit.await?;
        Ok(())
    }

    /// The role that a session is opened for, which must exist, be the one that was proved, may log in and connect, and has not
    /// too many sessions; with what it is at this moment.
    pub(crate) fn admit(
        self: &Arc<Engine>,
        user: &str,
        proven: Option<&ProvenRole>,
    ) -> Result<(HeldRole, RoleDefinition)> {
        let state = self.catalog.state();
        let Some(role) = roles::find(&state, user) else {
            return Err(Error::Refused {
                sqlstate: "28000",
                message: format!("role \"{user}\" does not exist"),
                detail: None,
                hint: (user != roles::SUPERUSER)
                    .then(|| format!("The first role is \"{}\".", roles::SUPERUSER)),
            });
        };
        let (held, role) = (HeldRole::of(&state, user), role.into_owned());
        if proven.is_some_and(|ProvenRole(proven)| proven.key() != held.key()) {
            return Err(Error::Refused {
                sqlstate: "28000",
                message: format!("role \"{user}\" is not the one whose password was given"),
                detail: Some("The name went to another role meanwhile."),
                hint: None,
            });
        }
        if !role.login {
            return Err(Error::Refused {
                sqlstate: "28000",
                message: format!("role \"{user}\" is not permitted to log in"),
                detail: None,
                hint: None,
            });
        }
        if !Access::of(Arc::clone(&state), user).has_on_database("CONNECT") {
            return Err(Error::Refused {
                sqlstate: "42501",
                message: format!("permission denied for database \"{DATABASE}\""),
                detail: Some("User does not have CONNECT privilege."),
                hint: Some(format!(
                    "A superuser may say: GRANT CONNECT ON DATABASE {DATABASE} TO {user}."
                )),
            });
        }
        let limit = role.connection_limit.filter(|_| !role.superuser);
        if limit.is_some_and(|limit| self.activity.n_sessions_of(&held) >= limit as usize) {
            return Err(Error::Refused {
                sqlstate: "53300",
                message: format!("too many connections for role \"{user}\""),
                detail: None,
                hint: None,
            });
        }
        Ok((held, role))
    }
}
