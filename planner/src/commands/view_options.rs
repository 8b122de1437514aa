//! The options of views: `CREATE VIEW … WITH (…)` and `ALTER VIEW … SET (…)`.
//!
//! In: the options of a statement; out: whether the view is a security barrier and looks at what is written through it, or
//! an error that names the option.

use std::sync::Arc;

use auspex_storage::{
    CatalogEntry, Change, CheckOption, Definition, Error as StorageError, ViewDefinition,
};
use datafusion::sql::sqlparser::ast;

use super::folded;
use crate::error::{Error, Result};
use crate::session::Session;

/// What the options of a view say; `None`: nothing.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ViewOptions {
    /// Whether it is a security barrier.
    pub(super) is_barrier: Option<bool>,
    /// What rows that are written through it must fulfil; `Some(None)`: nothing more.
    pub(super) check_option: Option<Option<CheckOption>>,
}

impl ViewOptions {
    /// The options of a view that is being made.
    pub(super) fn of_new(options: &ast::CreateTableOptions) -> Result<ViewOptions> {
        match options {
            ast::CreateTableOptions::With(options) => ViewOptions::of(options),
            _ => Ok(ViewOptions::default()),
        }
    }

    /// The last word about each option counts.
    fn of(options: &[ast::SqlOption]) -> Result<ViewOptions> {
        let mut said = ViewOptions::default();
        for option in options {
            let ast::SqlOption::KeyValue { key, value } = option else {
                let hint = Some("Write WITH (security_barrier = true).");
                let message = format!("\"{option}\" is no option of a view");
                return Err(Error::invalid("42601", message, hint));
            };
            let name = folded(key);
            match name.as_str() {
                "security_barrier" => said.is_barrier = Some(boolean(&name, value)?),
                "check_option" => said.check_option = Some(check_option(value)?),
                // Its default: a view is read with its owner's privileges.
                "security_invoker" => {
                    if boolean(&name, value)? {
                        return Err(Error::unsupported("a view with security_invoker"));
                    }
                }
                _ => {
                    let message = format!("unrecognized parameter \"{name}\"");
                    let hint = Some("Views have the options security_barrier and check_option.");
                    return Err(Error::invalid("22023", message, hint));
                }
            }
        }
        Ok(said)
    }
}

/// Fails where a view looks at what is written through it, and nothing can be.
pub(super) fn check_writable(session: &Session, view: &ViewDefinition) -> Result<()> {
    if view.check_option.is_none() {
        return Ok(());
    }
    match session.why_not_updatable(view)? {
        None => Ok(()),
        Some(reason) => {
            let message = "WITH CHECK OPTION is supported only on automatically updatable views";
            Err(Error::invalid("0A000", message, Some(reason)))
        }
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
    let said = ViewOptions::of(options)?;
    let put = |view: &mut ViewDefinition| {
        view.security_barrier = said.is_barrier.unwrap_or(view.security_barrier);
        view.check_option = said.check_option.unwrap_or(view.check_option);
    };
    if let Definition::View(definition) = &view.definition {
        let mut changed = definition.clone();
        put(&mut changed);
        check_writable(session, &changed)?;
    }
    let changes = session.engine.catalog.commit(text, |state| {
        let gone = || StorageError::TableGone {
            id: view.id.clone(),
        };
        let mut entry = state.by_id(&view.id).ok_or_else(gone)?.as_ref().clone();
        if let Definition::View(view) = &mut entry.definition {
            put(view);
        }
        Ok(vec![Change::Put(entry)])
    });
    changes.await?;
    Ok("ALTER VIEW".to_owned())
}

/// What is checked of rows that are written through a view; `false`, as RESET writes it: nothing.
fn check_option(value: &ast::Expr) -> Result<Option<CheckOption>> {
    let written = value.to_string();
    match written.trim_matches('\'').to_lowercase().as_str() {
        "local" => Ok(Some(CheckOption::Local)),
        "cascaded" => Ok(Some(CheckOption::Cascaded)),
        "false" => Ok(None),
        other => {
            let message = format!("invalid value for enum option \"check_option\": {other}");
            let hint = "Valid values are \"local\" and \"cascaded\".";
            Err(Error::invalid("22023", message, Some(hint)))
        }
    }
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
