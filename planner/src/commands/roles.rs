//! `CREATE`, `ALTER` and `DROP ROLE`, and comments on roles.
//!
//! In: a syntax tree; out: catalog entries of roles. A password becomes a verifier here, and
//! the text that the catalog keeps of the statement has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_sql::{RoleName, RoleOptions, RoleStatement, Secret, Word};
use auspex_storage::{
    CatalogEntry, CatalogState, Change, Definition, Error as StorageError, ObjectKind, PUBLIC_ROLE,
    PasswordVerifier, Result as StorageResult, RoleDefinition,
};

use super::privileges::check_database;
use super::{common_settings, memberships, role_dependents, set_role};
use crate::access::{Access, roles};
use crate::bind::time_of_text;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::settings;
use crate::statement_run::{Notice, StatementControl};
use crate::workload::LIMITS;

/// Runs a statement about roles.
pub(super) async fn run(
    session: &Arc<Session>,
    statement: &RoleStatement,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let text = auspex_sql::redacted(text);
    match statement {
        RoleStatement::Create {
            name,
            if_not_exists,
            options,
        } => create(session, name, *if_not_exists, options, &text, control).await,
        RoleStatement::Alter { name, options } => alter(session, name, options, &text).await,
        RoleStatement::Rename { name, to } => rename(session, name, to, &text).await,
        RoleStatement::Configure {
            name,
            database,
            setting,
            value,
        } => {
            let change = (setting.as_deref(), value.as_deref());
            configure(session, (name, database.as_ref()), change, &text).await
        }
        RoleStatement::ConfigureAll {
            database,
            of_roles,
            setting,
            value,
        } => {
            let change = (setting.as_deref(), value.as_deref());
            let scope = (database.as_ref(), *of_roles);
            common_settings::configure(session, scope, change, &text).await
        }
        RoleStatement::Drop { if_exists, names } => {
            drop_roles(session, names, *if_exists, &text, control).await
        }
        RoleStatement::Membership { .. } => memberships::change(session, statement, &text).await,
        RoleStatement::SetRole { role, is_local } => {
            set_role::set_role(session, role.as_ref(), *is_local, control)
        }
        RoleStatement::SetSession { role, is_local } => {
            set_role::set_session(session, role.as_ref(), *is_local, control)
        }
        RoleStatement::ReassignOwned { from, to } => {
            role_dependents::reassign(session, from, to, &text).await
        }
        RoleStatement::DropOwned { roles, cascade } => {
            role_dependents::drop_owned(session, roles, *cascade, &text).await
        }
    }
}

/// The name that a statement means.
pub(super) fn named(session: &Session, name: &RoleName) -> String {
    match name {
        RoleName::Named(word) => word.value.clone(),
        RoleName::Current => session.user(),
        RoleName::Session => session.identity().session_user(),
    }
}

/// Fails unless there is a role of the name.
pub(super) fn require(state: &CatalogState, name: &str) -> Result<()> {
    match roles::find(state, name) {
        Some(_) => Ok(()),
        None => Err(undefined(name)),
    }
}

fn undefined(name: &str) -> Error {
    StorageError::UndefinedGlobal {
        kind: ObjectKind::Role,
        name: name.to_owned(),
    }
    .into()
}

/// Changes the entries of roles as they are at the moment of the commit.
async fn change_role(
    session: &Session,
    name: &str,
    text: &str,
    change: impl Fn(&mut RoleDefinition) + Send + Sync,
) -> Result<()> {
    let commit = session.engine.catalog.commit(text, |state| {
        Ok(vec![Change::Put(changed(state, name, &change)?)])
    });
    commit.await?;
    Ok(())
}

/// A role's entry after a change.
pub(super) fn changed(
    state: &CatalogState,
    name: &str,
    change: impl Fn(&mut RoleDefinition),
) -> StorageResult<CatalogEntry> {
    let entry = roles::entry(state, name).ok_or_else(|| StorageError::UndefinedGlobal {
        kind: ObjectKind::Role,
        name: name.to_owned(),
    })?;
    let mut entry = entry.as_ref().clone();
    if let Definition::Role(role) = &mut entry.definition {
        change(role);
    }
    Ok(entry)
}

fn check_name(name: &str) -> Result<()> {
    let is_reserved = [PUBLIC_ROLE, "none"].contains(&name) || name.starts_with("pg_");
    match is_reserved {
        true => Err(Error::invalid(
            "42939",
            format!("role name \"{name}\" is reserved"),
            None,
        )),
        false => Ok(()),
    }
}

fn not_allowed(what: &str, hint: &str) -> Error {
    Error::NotAllowed {
        what: what.to_owned(),
        hint: Some(hint.to_owned()),
    }
}

async fn create(
    session: &Arc<Session>,
    name: &Word,
    if_not_exists: bool,
    options: &RoleOptions,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    const TAG: &str = "CREATE ROLE";
    let access = session.access();
    let creator = session.user();
    let may = access.is_superuser()
        || roles::find(access.state(), &creator).is_some_and(|role| role.create_role);
    if !may {
        let hint = "Only roles with CREATEROLE, and superusers, may create roles.";
        return Err(not_allowed("create role", hint));
    }
    let name = name.value.as_str();
    check_name(name)?;
    if roles::find(access.state(), name).is_some() {
        if !if_not_exists {
            return Err(duplicate(name));
        }
        control.notify(Notice {
            sqlstate: "42710",
            ..Notice::plain(format!("role \"{name}\" already exists, skipping"))
        });
        return Ok(TAG.to_owned());
    }
    let mut role = RoleDefinition::default();
    let rights = Rights::of(session, options).await?;
    rights.check(&access)?;
    rights.apply(&mut role);
    for group in &options.in_roles {
        memberships::check_administers(&access, &creator, &group.value)?;
        role.member_of.insert(group.value.clone(), false);
    }
    let joins = [(&options.members, false), (&options.admins, true)];
    let mut joining: BTreeMap<String, bool> = BTreeMap::new();
    for (members, admin) in joins {
        for member in members {
            require(access.state(), &member.value)?;
            joining.insert(member.value.clone(), admin);
        }
    }
    if !access.is_superuser() {
        role.administrators.insert(creator);
    }
    let entry = CatalogEntry::new("", name, Definition::Role(role));
    let commit = session.engine.catalog.commit(text, |state| {
        let mut changes = vec![Change::Put(entry.clone())];
        for (member, admin) in &joining {
            changes.push(Change::Put(changed(state, member, |member| {
                member.member_of.insert(name.to_owned(), *admin);
            })?));
        }
        Ok(changes)
    });
    commit.await?;
    Ok(TAG.to_owned())
}

fn duplicate(name: &str) -> Error {
    Error::invalid("42710", format!("role \"{name}\" already exists"), None)
}

/// The rights that a statement gives or takes, with the password as its verifier.
struct Rights<'a> {
    options: &'a RoleOptions,
    /// The outer `None` changes nothing, the inner one takes the password away.
    verifier: Option<Option<String>>,
    valid_until_ms: Option<Option<i64>>,
}

impl Rights<'_> {
    async fn of<'a>(session: &Arc<Session>, options: &'a RoleOptions) -> Result<Rights<'a>> {
        let verifier = match &options.password {
            None => None,
            Some(None) => Some(None),
            Some(Some(password)) => Some(Some(verifier_of(password)?)),
        };
        let valid_until_ms = match options.valid_until.as_deref() {
            None => None,
            Some("infinity") => Some(None),
            Some(time) => Some(Some(time_of_text(session, time).await?)),
        };
        Ok(Rights {
            options,
            verifier,
            valid_until_ms,
        })
    }

    /// Only superusers make superusers.
    fn check(&self, access: &Access) -> Result<()> {
        match self.options.superuser {
            Some(true) if !access.is_superuser() => Err(not_allowed(
                "create role",
                "Only a superuser may give the right SUPERUSER.",
            )),
            _ => Ok(()),
        }
    }

    fn apply(&self, role: &mut RoleDefinition) {
        let options = self.options;
        for (flag, written) in [
            (&mut role.superuser, options.superuser),
            (&mut role.login, options.login),
            (&mut role.inherit, options.inherit),
            (&mut role.create_role, options.create_role),
            (&mut role.create_db, options.create_db),
        ] {
            *flag = written.unwrap_or(*flag);
        }
        if let Some(limit) = options.connection_limit {
            role.connection_limit = u32::try_from(limit).ok();
        }
        if let Some(verifier) = &self.verifier {
            role.verifier.clone_from(verifier);
        }
        if let Some(time) = self.valid_until_ms {
            role.valid_until_ms = time;
        }
    }

    /// Whether nothing but the password changes, which a role may do for itself.
    fn is_password_only(&self) -> bool {
        let RoleOptions {
            password: _,
            superuser: None,
            login: None,
            inherit: None,
            create_role: None,
            create_db: None,
            connection_limit: None,
            valid_until: None,
            in_roles,
            members,
            admins,
        } = self.options
        else {
            return false;
        };
        in_roles.is_empty() && members.is_empty() && admins.is_empty()
    }
}

/// The verifier of a password; a text that is one already is kept, so that dumps of roles can be read.
fn verifier_of(Secret(password): &Secret) -> Result<String> {
    if password.is_empty() {
        let message = "empty string is not a valid password";
        return Err(Error::invalid(
            "22023",
            message,
            Some("Write PASSWORD NULL for none."),
        ));
    }
    if password.starts_with("md5") && password.len() == 35 {
        let hint = "Give the password itself, or a SCRAM-SHA-256 verifier.";
        let message = "MD5 passwords are not supported";
        return Err(Error::invalid("0A000", message, Some(hint)));
    }
    match PasswordVerifier::parse(password) {
        Some(verifier) => Ok(verifier.to_text()),
        None => Ok(PasswordVerifier::of_password(password)?.to_text()),
    }
}

/// Who changes a role must be a superuser, or administer it; only superusers change superusers.
fn check_changes(session: &Session, access: &Access, name: &str) -> Result<()> {
    require(access.state(), name)?;
    if roles::is_predefined(name) {
        let message = format!("role name \"{name}\" is reserved");
        return Err(Error::invalid("42939", message, None));
    }
    if access.is_superuser() {
        return Ok(());
    }
    let user = session.user();
    let creates = roles::find(access.state(), &user).is_some_and(|role| role.create_role);
    match creates && roles::administers(access.state(), &user, name) {
        true => Ok(()),
        false => Err(not_allowed(
            "alter role",
            "Only superusers, and roles with CREATEROLE and ADMIN OPTION on it, may change a role.",
        )),
    }
}

async fn alter(
    session: &Arc<Session>,
    name: &RoleName,
    options: &RoleOptions,
    text: &str,
) -> Result<String> {
    let access = session.access();
    let name = named(session, name);
    let rights = Rights::of(session, options).await?;
    require(access.state(), &name)?;
    let is_own = name == session.user() && rights.is_password_only();
    if !is_own {
        check_changes(session, &access, &name)?;
        rights.check(&access)?;
    }
    if name == roles::SUPERUSER
        && (options.superuser == Some(false) || options.login == Some(false))
    {
        let message = format!("role \"{name}\" must stay a superuser that may log in");
        return Err(Error::invalid("0A000", message, None));
    }
    if let Some(word) = options.in_roles.first() {
        let hint = format!("Write GRANT {} TO {name}.", word.value);
        let message = "IN ROLE is only for new roles";
        return Err(Error::invalid("42601", message, Some(&hint)));
    }
    change_role(session, &name, text, |role| rights.apply(role)).await?;
    Ok("ALTER ROLE".to_owned())
}

async fn rename(session: &Arc<Session>, name: &Word, to: &Word, text: &str) -> Result<String> {
    let access = session.access();
    check_changes(session, &access, &name.value)?;
    check_name(&to.value)?;
    if name.value == roles::SUPERUSER {
        let message = "the first role cannot be renamed";
        return Err(Error::invalid("0A000", message, None));
    }
    if name.value == session.identity().session_user() || name.value == session.user() {
        let message = "session user cannot be renamed";
        return Err(Error::invalid("0A000", message, None));
    }
    if roles::find(access.state(), &to.value).is_some() {
        return Err(duplicate(&to.value));
    }
    let commit = session.engine.catalog.commit(text, |state| {
        role_dependents::renamed(state, &name.value, &to.value)
    });
    commit.await?;
    Ok("ALTER ROLE".to_owned())
}

async fn configure(
    session: &Arc<Session>,
    (name, database): (&RoleName, Option<&Word>),
    (setting, value): (Option<&str>, Option<&str>),
    text: &str,
) -> Result<String> {
    let access = session.access();
    let name = named(session, name);
    require(access.state(), &name)?;
    if let Some(database) = database {
        check_database(&database.value)?;
    }
    let setting = setting.map(settings::canonical);
    let limit = setting.as_deref().filter(|name| LIMITS.contains(name));
    if limit.is_some() || setting.is_none() {
        access.check_superuser("change the limits of a role")?;
    } else if name != session.user() {
        check_changes(session, &access, &name)?;
    }
    let value = match (&setting, value, limit) {
        (Some(_), Some(value), Some(limit)) => {
            Some(checked_limit(limit, value, session.engine.memory_bytes)?)
        }
        (Some(setting), Some(value), None) => Some(settings::checked(setting, value)?),
        _ => None,
    };
    change_role(session, &name, text, |role| match (&setting, &value) {
        (Some(setting), Some(value)) => {
            role.settings.insert(setting.clone(), value.clone());
        }
        (Some(setting), None) => {
            role.settings.remove(setting);
        }
        (None, _) => role.settings.clear(),
    })
    .await?;
    Ok("ALTER ROLE".to_owned())
}

/// A limit of a role, on a server with so much memory.
fn checked_limit(name: &str, value: &str, memory_bytes: usize) -> Result<String> {
    let (is_good, expected) = match name {
        "max_memory" => {
            let bytes = settings::size_bytes(value);
            let most = memory_bytes >> 20;
            (
                bytes.is_some_and(|bytes| bytes <= memory_bytes),
                format!("a size such as 512MB, at most the server's memory_limit, {most}MB"),
            )
        }
        "max_statement_time" => (
            settings::milliseconds(value).is_some(),
            "a duration such as 30s".to_owned(),
        ),
        _ => (value.parse::<u32>().is_ok(), "a whole number".to_owned()),
    };
    match is_good {
        true => Ok(value.to_owned()),
        false => Err(Error::InvalidSetting {
            name: name.to_owned(),
            value: value.to_owned(),
            expected,
        }),
    }
}

async fn drop_roles(
    session: &Arc<Session>,
    names: &[Word],
    if_exists: bool,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let access = session.access();
    let mut gone = Vec::new();
    for name in names {
        let name = name.value.as_str();
        if if_exists && roles::find(access.state(), name).is_none() {
            control.notify(Notice::plain(format!(
                "role \"{name}\" does not exist, skipping"
            )));
            continue;
        }
        check_changes(session, &access, name)?;
        if name == roles::SUPERUSER {
            let message = "the first role cannot be dropped";
            return Err(Error::invalid("2BP01", message, None));
        }
        if name == session.user() || name == session.identity().session_user() {
            let message = "current user cannot be dropped";
            return Err(Error::invalid("55006", message, None));
        }
        role_dependents::refuse_needed(access.state(), name)?;
        if !gone.contains(&name) {
            gone.push(name);
        }
    }
    let commit = session.engine.catalog.commit(text, |state| {
        for name in &gone {
            // What was granted to it meanwhile is looked for again.
            if role_dependents::refuse_needed(state, name).is_err() {
                let object = format!("role \"{name}\"");
                return Err(StorageError::Conflict { object });
            }
        }
        role_dependents::dropped(state, &gone)
    });
    commit.await?;
    Ok("DROP ROLE".to_owned())
}

/// `COMMENT ON ROLE`.
pub(super) async fn describe(
    session: &Session,
    name: &str,
    comment: Option<&str>,
    text: &str,
) -> Result<String> {
    check_changes(session, &session.access(), name)?;
    let (name, comment) = (name.to_owned(), comment.map(ToOwned::to_owned));
    let define = session.define(text, move |state| {
        let mut entry = changed(state, &name, |_| ())?;
        entry.comment.clone_from(&comment);
        Ok(vec![Change::Put(entry)])
    });
    Box::pin(define).await?;
    Ok("COMMENT".to_owned())
}
