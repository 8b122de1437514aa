//! The columns that an `INSERT … SELECT … ON CONFLICT` fills where it names none: the first ones, as many as its query has.
//!
//! In: the statement and its target; out: the statement with their names. The query is planned only where its list does not
//! say how many there are.

use std::borrow::Cow;
use std::sync::Arc;

use datafusion::sql::sqlparser::ast::{self, Ident, ObjectName, SetExpr};

use super::change::Target;
use super::insert::counts_differ;
use super::view_columns::n_filled;
use super::{GivenTables, bind_sql_with};
use crate::error::Result;
use crate::session::Session;

/// The statement with the names of the columns that its query fills; VALUES and statements that name them stay.
pub(super) async fn named<'a>(
    session: &Arc<Session>,
    insert: &'a ast::Insert,
    target: &Target<'_>,
) -> Result<Cow<'a, ast::Insert>> {
    let query = insert.source.as_ref();
    let query = query.filter(|query| !matches!(query.body.as_ref(), SetExpr::Values(_)));
    let Some(query) = query.filter(|_| insert.columns.is_empty()) else {
        return Ok(Cow::Borrowed(insert));
    };
    let n_filled = match n_filled(insert) {
        Some(n_filled) => n_filled,
        None => n_planned(session, query).await?,
    };
    let names: Vec<&str> = match target.view {
        Some(view) => view.columns.iter().map(|column| &*column.name).collect(),
        None => {
            let columns = target.shape.columns().iter();
            columns.map(|column| column.name().as_str()).collect()
        }
    };
    if n_filled > names.len() {
        return Err(counts_differ(n_filled, names.len()));
    }
    let name = |name: &&str| ObjectName::from(vec![Ident::with_quote('"', *name)]);
    let mut named = insert.clone();
    named.columns = names[..n_filled].iter().map(name).collect();
    Ok(Cow::Owned(named))
}

async fn n_planned(session: &Arc<Session>, query: &ast::Query) -> Result<usize> {
    let statement = ast::Statement::Query(Box::new(query.clone()));
    let planning = bind_sql_with(
        session,
        statement,
        session.state(None),
        GivenTables::default(),
    );
    let planned = Box::pin(planning).await?;
    Ok(planned.plan.schema().fields().len())
}
