//! Whether a statement uses a column of the table that it changes: a role that may change the table, and not read it, may do
//! what does not.
//!
//! In: the expressions of a statement; out: whether one of them is about the table. They are bound over a relation of the
//! table's name without its columns, so that a name that is found nowhere else is the table's. This is done for roles alone
//! that may not read the table; what is in doubt counts as a use.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_sql::PRIVATE;
use auspex_storage::CatalogEntry;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::datasource::empty::EmptyTable;
use datafusion::sql::sqlparser::ast::{
    self, Expr, Ident, SelectItem, SelectItemQualifiedWildcardKind, SetExpr, TableWithJoins,
    UpdateTableFromKind, Visit,
};

use super::assigned_parts::Part;
use super::assigned_rows::pairs;
use super::change::{Change, alone, last, table_factor};
use super::column_rules::is_default;
use super::hidden_columns::WholeRows;
use super::view_target::ViewTarget;
use super::{GivenTables, bind_sql_with};
use crate::access::TableUse;
use crate::commands::folded;
use crate::error::{Error, Result};
use crate::session::Session;

/// The parts of a statement that may use columns of the table that it changes.
#[derive(Debug)]
pub(super) struct Parts {
    /// What the statement calls the table.
    pub(super) alias: Ident,
    pub(super) values: Vec<Expr>,
    pub(super) returned: Vec<SelectItem>,
    pub(super) others: Vec<TableWithJoins>,
    pub(super) condition: Option<Expr>,
}

/// What a role must be allowed to do with a table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Uses {
    /// As far as the text tells.
    pub(super) named: TableUse,
    pub(super) returns: bool,
    /// If no column of the table is used; `None`: it cannot be.
    pub(super) unread: Option<TableUse>,
}

/// The table that a statement changes, and the view in its place.
///
/// Errors: those of `Session::changed_table`.
pub(super) async fn table_for(
    session: &Arc<Session>,
    name: &[String],
    uses: Uses,
    parts: impl FnOnce() -> Result<Parts>,
) -> Result<(Arc<CatalogEntry>, Option<ViewTarget>)> {
    let found = session.changed_table(name, uses.named, uses.returns);
    let is_refused = |error: &Error| error.report().sqlstate == "42501";
    let Some(unread) = uses
        .unread
        .filter(|_| found.as_ref().is_err_and(is_refused))
    else {
        return found;
    };
    match session.changed_table(name, unread, false) {
        Ok(table) if !Box::pin(parts()?.use_columns(session)).await? => Ok(table),
        _ => found,
    }
}

/// The table that an INSERT without ON CONFLICT adds rows to, and the view in its place.
pub(super) async fn table_of_insert(
    session: &Arc<Session>,
    insert: &ast::Insert,
    name: &[String],
) -> Result<(Arc<CatalogEntry>, Option<ViewTarget>)> {
    let uses = Uses {
        named: TableUse::Insert,
        returns: insert.returning.is_some(),
        unread: Some(TableUse::Insert),
    };
    let written = insert.table_alias.as_ref().map(|alias| alias.alias.clone());
    let own = || Ident::with_quote('"', name.last().cloned().unwrap_or_default());
    let parts = || {
        Ok(Parts {
            alias: written.unwrap_or_else(own),
            values: Vec::new(),
            returned: insert.returning.clone().unwrap_or_default(),
            others: Vec::new(),
            condition: None,
        })
    };
    table_for(session, name, uses, parts).await
}

impl Change {
    /// What the statement needs if it uses no column of the table; `None`: it always uses some.
    pub(super) fn unread(&self) -> Option<TableUse> {
        match self {
            Change::Update(_) => Some(TableUse::Update { reads: false }),
            Change::Delete(_) => Some(TableUse::Delete { reads: false }),
            Change::Upsert(_) => Some(self.usage()).filter(|usage| *usage == TableUse::Insert),
            Change::Merge(_) => None,
        }
    }

    /// The parts of a statement that may change a table without reading it.
    pub(super) fn parts(&self) -> Result<Parts> {
        let mut parts = Parts {
            alias: self.alias()?,
            values: Vec::new(),
            returned: self.returning().unwrap_or_default().to_vec(),
            others: Vec::new(),
            condition: None,
        };
        match self {
            Change::Update(update) => {
                for assignment in &update.assignments {
                    let values = pairs(assignment)?.into_iter();
                    let read = values.flat_map(|(_, value)| {
                        let read = Part::of(&value).map(|part| part.read());
                        read.unwrap_or_else(|| vec![value])
                    });
                    parts.values.extend(read.filter(|value| !is_default(value)));
                }
                parts.condition.clone_from(&update.selection);
                if let Some(
                    UpdateTableFromKind::AfterSet(tables) | UpdateTableFromKind::BeforeSet(tables),
                ) = &update.from
                {
                    parts.others.clone_from(tables);
                }
            }
            Change::Delete(delete) => {
                parts.condition.clone_from(&delete.selection);
                parts.others = delete.using.clone().unwrap_or_default();
            }
            Change::Upsert(_) | Change::Merge(_) => {}
        }
        Ok(parts)
    }
}

impl Parts {
    async fn use_columns(self, session: &Arc<Session>) -> Result<bool> {
        if self.name_rows() {
            return Ok(true);
        }
        // A name that no statement has.
        let column = Field::new(format!("{PRIVATE}none"), DataType::Int32, true);
        let table = EmptyTable::new(Arc::new(Schema::new(vec![column])));
        let mut given = GivenTables::default();
        let private = given.give(&self.alias.value, Arc::new(table));
        let mut query = auspex_sql::parse_query("SELECT 1", auspex_sql::Dialect::Postgres)?;
        let SetExpr::Select(select) = query.body.as_mut() else {
            return Ok(true);
        };
        let values = self.values.into_iter().map(SelectItem::UnnamedExpr);
        let items = values.chain(self.returned).enumerate();
        select
            .projection
            .extend(items.map(|(idx, item)| numbered(idx, item)));
        select.from = vec![alone(table_factor(private, self.alias))];
        select.from.extend(self.others);
        select.selection = self.condition;
        let statement = ast::Statement::Query(query);
        match bind_sql_with(session, statement, session.state(None), given).await {
            Ok(_) => Ok(false),
            // Something else that the role may not do.
            Err(error) if error.report().sqlstate == "42501" => Err(error),
            Err(_) => Ok(true),
        }
    }

    /// Whether they name whole rows of the table.
    fn name_rows(&self) -> bool {
        use SelectItemQualifiedWildcardKind as Kind;
        let alias = folded(&self.alias);
        let is_alias = |name: &str| name.eq_ignore_ascii_case(&alias);
        let is_row = |item: &SelectItem| match item {
            SelectItem::Wildcard(_) => true,
            SelectItem::QualifiedWildcard(Kind::ObjectName(name), _) => is_alias(&last(name)),
            SelectItem::QualifiedWildcard(Kind::Expr(_), _) => true,
            _ => false,
        };
        let mut rows = WholeRows {
            alias: &alias,
            is_column: false,
        };
        let names_row = |found: ControlFlow<()>| found.is_break();
        self.returned.iter().any(is_row)
            || names_row(Visit::visit(&self.values, &mut rows))
            || names_row(Visit::visit(&self.returned, &mut rows))
            || names_row(Visit::visit(&self.others, &mut rows))
            || names_row(Visit::visit(&self.condition, &mut rows))
    }
}

/// An expression under a name of its own, since one query has no two columns of one name.
fn numbered(idx: usize, item: SelectItem) -> SelectItem {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            SelectItem::ExprWithAlias {
                expr,
                alias: Ident::with_quote('"', format!("__auspex_used_{idx}")),
            }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name_rows(text: &str) -> bool {
        let mut parsed = auspex_sql::parse_own(text).unwrap();
        let auspex_sql::Statement::Sql(statement) = parsed.remove(0).statement else {
            panic!("{text}");
        };
        let datafusion::sql::parser::Statement::Statement(statement) = *statement else {
            panic!("{text}");
        };
        let change = Change::of(&statement).unwrap();
        change.parts().unwrap().name_rows()
    }

    #[test]
    fn whole_rows_of_the_table_are_uses_of_its_columns() {
        for text in [
            "UPDATE t SET b = 1 RETURNING *",
            "UPDATE t AS x SET b = 1 RETURNING x.*",
            "UPDATE t SET b = (SELECT count(t.*))",
            "UPDATE t SET b = 1 WHERE t IS NULL",
            "UPDATE t SET b = 1 FROM s WHERE (SELECT row_to_json(T)) IS NULL",
            "DELETE FROM t USING (SELECT 1) AS s WHERE EXISTS (SELECT t.*)",
            "DELETE FROM t RETURNING (t).a",
        ] {
            assert!(name_rows(text), "{text}");
        }
        for text in [
            "UPDATE t SET b = 1 FROM s RETURNING s.*",
            "UPDATE t AS x SET b = (SELECT count(*) FROM t)",
            "DELETE FROM t WHERE EXISTS (SELECT * FROM s)",
        ] {
            assert!(!name_rows(text), "{text}");
        }
    }
}
