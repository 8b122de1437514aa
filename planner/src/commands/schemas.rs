//! `CREATE SCHEMA`.
//!
//! In: a syntax tree; out: one catalog entry.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Change};
use datafusion::sql::sqlparser::ast::SchemaName;

use super::privileges::check_new_owner;
use super::{folded, name_parts};
use crate::access::HeldRole;
use crate::error::Result;
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

/// `CREATE SCHEMA`.
pub(super) async fn create(
    session: &Arc<Session>,
    name: &SchemaName,
    if_not_exists: bool,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let (name, owner) = match name {
        SchemaName::Simple(name) => (name_parts(name).pop().unwrap_or_default(), None),
        SchemaName::UnnamedAuthorization(owner) => (folded(owner), Some(folded(owner))),
        SchemaName::NamedAuthorization(name, owner) => {
            let name = name_parts(name).pop().unwrap_or_default();
            (name, Some(folded(owner)))
        }
    };
    session.access().check_create_schema()?;
    if if_not_exists && session.engine.catalog.state().schema_exists(&name) {
        let message = format!("schema \"{name}\" already exists, skipping");
        control.notify(Notice {
            sqlstate: "42P06",
            ..Notice::plain(message)
        });
        return Ok("CREATE SCHEMA".to_owned());
    }
    let entry = CatalogEntry::new_schema(name);
    let mut role = session.identity().current();
    if let Some(owner) = owner {
        let access = session.access();
        let own = role.own(access.state(), &entry)?;
        check_new_owner(session, &access, &own, &owner)?;
        role = HeldRole::of(access.state(), &owner);
    }
    session
        .engine
        .catalog
        .commit(text, |state| {
            Ok(vec![Change::Put(role.own(state, &entry)?)])
        })
        .await?;
    Ok("CREATE SCHEMA".to_owned())
}
