//! `ALTER DATABASE … SET` and `ALTER ROLE ALL SET`: what all sessions start with.
//!
//! In: a syntax tree; out: the entry of the one database, whose settings both statements change. Those of a role win.

use std::sync::Arc;

use auspex_sql::Word;
use auspex_storage::{CatalogEntry, CatalogState, Change, Definition};

use super::privileges::{check_database, database};
use crate::error::{Error, Result};
use crate::session::Session;
use crate::settings;
use crate::workload::LIMITS;

/// Changes one setting, or takes it or all of them away: of all roles, or of the database. `name` is the database's, if the
/// statement names it.
pub(super) async fn configure(
    session: &Arc<Session>,
    (name, of_roles): (Option<&Word>, bool),
    (setting, value): (Option<&str>, Option<&str>),
    text: &str,
) -> Result<String> {
    if let Some(name) = name {
        check_database(&name.value)?;
    }
    let access = session.access();
    let tag = match of_roles {
        true => {
            access.check_superuser("alter settings of all roles")?;
            "ALTER ROLE"
        }
        false => {
            access.check_owner(&database(access.state()))?;
            "ALTER DATABASE"
        }
    };
    let setting = setting.map(settings::canonical);
    if let Some(limit) = setting.as_deref().filter(|name| LIMITS.contains(name)) {
        let hint = format!("Write ALTER ROLE name SET {limit}.");
        let message = format!("\"{limit}\" is set for one role at a time");
        return Err(Error::invalid("0A000", message, Some(&hint)));
    }
    let value = match (&setting, value) {
        (Some(setting), Some(value)) => Some(settings::checked(setting, value)?),
        _ => None,
    };
    let commit = session.engine.catalog.commit(text, |state| {
        let change = (setting.as_deref(), value.as_deref());
        Ok(vec![Change::Put(changed(state, change))])
    });
    commit.await?;
    Ok(tag.to_owned())
}

/// The database's entry after a change.
fn changed(state: &CatalogState, change: (Option<&str>, Option<&str>)) -> CatalogEntry {
    let mut entry = database(state).as_ref().clone();
    if let Definition::Database(database) = &mut entry.definition {
        match change {
            (Some(setting), Some(value)) => {
                let (setting, value) = (setting.to_owned(), value.to_owned());
                database.settings.insert(setting, value);
            }
            (Some(setting), None) => {
                database.settings.remove(setting);
            }
            (None, _) => database.settings.clear(),
        }
    }
    entry
}
