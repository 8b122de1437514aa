//! Columns of queries in FROM and WITH that are named as what they are made of:
//! `FROM (SELECT unnest(t.tags) AS tag, CASE WHEN t.ok THEN 'y' END AS ok FROM t) AS s`.
//!
//! In: a statement and the planner's error about such a name, since where rows are unnested it keeps the column beside what
//! is made of it; out: the statement in which the query calls its column otherwise, and the relation gives the name back.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, SelectItem, SetExpr, Statement, TableAlias, TableAliasColumnDef,
    TableFactor, VisitMut, VisitorMut,
};

use super::names::{expression_name, says_ambiguous};
use crate::commands::folded;

/// Renames such columns; false if nothing was changed. What follows `mark` is not shown.
pub(super) fn adopt(statement: &mut Statement, error: &DataFusionError, mark: char) -> bool {
    let message = error.strip_backtrace();
    if !message.contains("which would be ambiguous") {
        return false;
    }
    let mut renaming = Renaming {
        message: &message,
        mark,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut renaming);
    renaming.is_changed
}

struct Renaming<'a> {
    message: &'a str,
    mark: char,
    is_changed: bool,
}

impl VisitorMut for Renaming<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            self.rename(&mut cte.query.body, &mut cte.alias);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived {
            subquery,
            alias: Some(alias),
            ..
        } = factor
        {
            self.rename(&mut subquery.body, alias);
        }
        ControlFlow::Continue(())
    }
}

impl Renaming<'_> {
    fn rename(&mut self, body: &mut SetExpr, alias: &mut TableAlias) {
        let SetExpr::Select(select) = body else {
            return;
        };
        // Names that the relation gives already stay.
        let given = match alias.columns.as_slice() {
            [] => names(&select.projection),
            columns => (columns.len() == select.projection.len()).then(Vec::new),
        };
        let Some(names) = given else {
            return;
        };
        let mut is_renamed = false;
        for (idx, item) in select.projection.iter_mut().enumerate() {
            if let SelectItem::ExprWithAlias { alias, .. } = item
                && says_ambiguous(self.message, &folded(alias))
            {
                *alias = Ident::with_quote('"', format!("{}{}{idx}", alias.value, self.mark));
                is_renamed = true;
            }
        }
        if is_renamed {
            let column = |name| TableAliasColumnDef {
                name,
                data_type: None,
            };
            alias.columns.extend(names.into_iter().map(column));
            self.is_changed = true;
        }
    }
}

/// The names of a query's columns, if each has one that no other has.
fn names(items: &[SelectItem]) -> Option<Vec<Ident>> {
    let name = |item: &SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().cloned(),
        SelectItem::UnnamedExpr(expr) => {
            expression_name(expr).map(|name| Ident::with_quote('"', name))
        }
        _ => None,
    };
    let names: Vec<Ident> = items.iter().map(name).collect::<Option<_>>()?;
    let distinct: BTreeSet<String> = names.iter().map(folded).collect();
    (distinct.len() == names.len()).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_relation_gives_the_name_back() {
        let text = "SELECT s.ok FROM (SELECT unnest(t.tags) AS tag, CASE WHEN t.ok THEN 1 END AS ok FROM t) AS s";
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        let error = DataFusionError::Plan(
            "Schema contains qualified field name t.ok and unqualified field name ok which would be ambiguous"
                .to_owned(),
        );
        assert!(adopt(&mut statement, &error, '#'));
        assert_eq!(
            statement.to_string(),
            "SELECT s.ok FROM (SELECT unnest(t.tags) AS tag, CASE WHEN t.ok THEN 1 END AS \"ok#1\" FROM t) AS s (tag, ok)"
        );
        assert!(!adopt(&mut statement, &error, '#'));
    }
}
