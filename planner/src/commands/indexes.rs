//! `CREATE INDEX`, which tools send along with their tables.
//!
//! In: the statement; out: a NOTICE that nothing was built, since files are left out by the bounds of their columns. A
//! unique index would promise what nothing checks, and is refused.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast;

use super::name_parts;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

/// Runs the statement.
pub(super) fn create(
    session: &Arc<Session>,
    index: &ast::CreateIndex,
    control: &StatementControl,
) -> Result<String> {
    if index.unique {
        return Err(Error::unsupported("CREATE UNIQUE INDEX"));
    }
    let (schema, name) = session.relation_parts(&name_parts(&index.table_name))?;
    if session.entry(&schema, &name).is_none() {
        return Err(Error::Undefined {
            kind: "relation",
            name,
            nearest: None,
            position: None,
        });
    }
    control.notify(Notice {
        hint: Some("OPTIMIZE with ZORDER BY brings rows of like values together.".to_owned()),
        ..Notice::plain(format!(
            "no index was built on \"{name}\": files are left out by the bounds of their columns"
        ))
    });
    Ok("CREATE INDEX".to_owned())
}
