//! `CREATE INDEX`, which tools send along with their tables.
//!
//! In: the statement; out: of a unique index a unique constraint; of any other a NOTICE that nothing was built, since files
//! are left out by the bounds of their columns.

use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{
    self, AlterTableOperation, Ident, KeyOrIndexDisplay, NullsDistinctOption, TableConstraint,
    UniqueConstraint,
};

use super::alter_table::change_definition;
use super::name_parts;
use crate::error::{Error, Result};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

const TAG: &str = "CREATE INDEX";

/// Runs the statement.
pub(super) async fn create(
    session: &Arc<Session>,
    index: &ast::CreateIndex,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let (schema, name) = session.relation_parts(&name_parts(&index.table_name))?;
    let Some(table) = session.entry(&schema, &name) else {
        return Err(Error::Undefined {
            kind: "relation",
            name,
            nearest: None,
            position: None,
        });
    };
    session.access().check_owner(&table)?;
    if index.unique {
        return create_unique(session, index, text, control).await;
    }
    control.notify(Notice {
        hint: Some("OPTIMIZE with ZORDER BY brings rows of like values together.".to_owned()),
        ..Notice::plain(format!(
            "no index was built on \"{}\": files are left out by the bounds of their columns",
            table.name
        ))
    });
    Ok(TAG.to_owned())
}

/// Makes a unique constraint, which is what a unique index promises.
async fn create_unique(
    session: &Arc<Session>,
    index: &ast::CreateIndex,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    if index.predicate.is_some() {
        return Err(Error::unsupported("CREATE UNIQUE INDEX ... WHERE"));
    }
    let name = index.name.as_ref().and_then(|name| name_parts(name).pop());
    let constraint = UniqueConstraint {
        name: name.map(|name| Ident::with_quote('"', name)),
        index_name: None,
        index_type_display: KeyOrIndexDisplay::None,
        index_type: None,
        columns: index.columns.clone(),
        index_options: vec![],
        characteristics: None,
        nulls_distinct: match index.nulls_distinct {
            Some(false) => NullsDistinctOption::NotDistinct,
            _ => NullsDistinctOption::None,
        },
    };
    let operation = AlterTableOperation::AddConstraint {
        constraint: TableConstraint::Unique(constraint),
        not_valid: false,
    };
    let table = (&index.table_name, false);
    let change = change_definition(
        session,
        table,
        std::slice::from_ref(&operation),
        text,
        control,
    );
    match Box::pin(change).await {
        Ok(_) => Ok(TAG.to_owned()),
        Err(Error::Invalid {
            sqlstate: "42710",
            message,
            ..
        }) if index.if_not_exists => {
            control.notify(Notice::plain(format!("{message}, skipping")));
            Ok(TAG.to_owned())
        }
        Err(error) => Err(error),
    }
}
