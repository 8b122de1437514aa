//! The options of views: `CREATE VIEW … WITH (…)` and `ALTER VIEW … SET (…)`.
//!
//! In: the options of a statement; out: whether the view is a security barrier, or an error that names the option.

use std::sync::Arc;

use auspex_storage::{CatalogEntry, Change, Definition, Error as StorageError};
use datafusion::sql::sqlparser::ast;

use super::folded;
use crate::error::{Error, Result};
use crate::session::Session;

/// Whether a view that is being made is a security barrier.
pub(super) fn is_barrier(options: &ast::CreateTableOptions) -> Result<bool> {
    match options {
        ast::CreateTableOptions::With(options) => Ok(security_barrier(options)?.unwrap_or(false)),
        _ => Ok(false),
    }
}

/// `ALTER VIEW … SET (…)`.
pub(super) async fn set(
    session: &Arc<Session>,
    view: &CatalogEntry,
    options: &[ast::SqlOption],
    text: &str,
) -> Result<String> {
    session.access().check_owner(view)?;
    let is_barrier = security_barrier(options)?;
    let changes = session.engine.catalog.commit(text, |state| {
        let gone = || StorageError::TableGone {
            id: view.id.clone(),
        };
        let mut entry = state.by_id(&view.id).ok_or_else(gone)?.as_ref().clone();
        if let (Definition::View(view), Some(is_barrier)) = (&mut entry.definition, is_barrier) {
            view.security_barrier = is_barrier;
        }
        Ok(vec![Change::Put(entry)])
    });
    changes.await?;
    Ok("ALTER VIEW".to_owned())
}

/// What options say of `security_barrier`; the last word counts.
fn security_barrier(options: &[ast::SqlOption]) -> Result<Option<bool>> {
    let mut is_barrier = None;
    for option in options {
        let ast::SqlOption::KeyValue { key, value } = option else {
            let hint = Some("Write WITH (security_barrier = true).");
            let message = format!("\"{option}\" is no option of a view");
            return Err(Error::invalid("42601", message, hint));
        };
        let name = folded(key);
        match name.as_str() {
            "security_barrier" => is_barrier = Some(boolean(&name, value)?),
            // Its default: a view is read with its owner's privileges.
            "security_invoker" => {
                if boolean(&name, value)? {
                    return Err(Error::unsupported("a view with security_invoker"));
                }
            }
            _ => {
                let message = format!("unrecognized parameter \"{name}\"");
                let hint = Some("Views have the option security_barrier.");
                return Err(Error::invalid("22023", message, hint));
            }
        }
    }
    Ok(is_barrier)
}

fn boolean(name: &str, value: &ast::Expr) -> Result<bool> {
    let written = value.to_string();
    match written.trim_matches('\'').to_lowercase().as_str() {
        "true" | "t" | "on" | "yes" | "1" => Ok(true),
        "false" | "f" | "off" | "no" | "0" => Ok(false),
        other => {
            let message = format!("invalid value for boolean option \"{name}\": {other}");
            Err(Error::invalid("22023", message, None))
        }
    }
}
