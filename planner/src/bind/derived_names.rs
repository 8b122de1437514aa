//! Columns of queries in FROM and WITH, and of values, that are named as what they are made of, or what they are ordered by:
//! `FROM (SELECT unnest(t.tags) AS tag, CASE WHEN t.ok THEN 'y' END AS ok FROM t) AS s`,
//! `SELECT (SELECT t.id FROM u ORDER BY u.id LIMIT 1) FROM t`.
//!
//! In: a statement and the planner's error about such a name, since where rows are unnested it keeps the column beside what
//! is made of it; out: the statement in which the query calls its column otherwise, and the relation gives the name back.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderBy, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableAlias,
    TableAliasColumnDef, TableFactor, VisitMut, VisitorMut,
};

use super::names::{expression_name, is_wildcard, says_ambiguous};
use super::relation_columns::{is_called, relations};
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
            self.rename(&mut cte.query, &mut cte.alias);
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
            self.rename(subquery, alias);
        }
        ControlFlow::Continue(())
    }

    /// Nobody reads what a query calls its column where it is a value, or a part of a condition.
    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Subquery(query)
        | Expr::Exists {
            subquery: query, ..
        }
        | Expr::InSubquery {
            subquery: query, ..
        } = expr
        {
            self.is_changed |= self.renamed(query);
        }
        ControlFlow::Continue(())
    }
}

impl Renaming<'_> {
    fn rename(&mut self, query: &mut Query, alias: &mut TableAlias) {
        let SetExpr::Select(select) = query.body.as_mut() else {
            return;
        };
        if self.is_outside(select, &folded(&alias.name)) {
            return;
        }
        // Names that the relation gives already stay.
        let given = match alias.columns.as_slice() {
            [] => names(&select.projection),
            columns if select.projection.iter().any(is_wildcard) => {
                (columns.len() == select.projection.len()).then(Vec::new)
            }
            columns => select.projection.get(columns.len()..).and_then(names),
        };
        let Some(names) = given else {
            return;
        };
        if self.renamed(query) {
            let column = |name| TableAliasColumnDef {
                name,
                data_type: None,
            };
            alias.columns.extend(names.into_iter().map(column));
            self.is_changed = true;
        }
    }

    /// Renames the columns that the message is about; false if there are none.
    fn renamed(&self, query: &mut Query) -> bool {
        let SetExpr::Select(select) = query.body.as_mut() else {
            return false;
        };
        let mut is_renamed = false;
        for (idx, item) in select.projection.iter_mut().enumerate() {
            if let SelectItem::ExprWithAlias { alias, .. } = item
                && says_ambiguous(self.message, &folded(alias))
            {
                let renamed = format!("{}{}{idx}", alias.value, self.mark);
                let name = std::mem::replace(alias, Ident::with_quote('"', renamed));
                order_by(&mut query.order_by, &folded(&name), alias);
                is_renamed = true;
            }
        }
        is_renamed
    }

    /// Whether the message is about a column of the relation itself, beside one of the query around it.
    fn is_outside(&self, select: &Select, relation: &str) -> bool {
        let begin = format!("qualified field name {relation}.");
        let is_within = |within: &TableFactor| is_called(within, relation);
        self.message.contains(&begin) && !relations(&select.from).any(is_within)
    }
}

/// Orders by the new name of an output column, which a name by itself is.
fn order_by(order: &mut Option<OrderBy>, name: &str, renamed: &Ident) {
    let Some(OrderByKind::Expressions(keys)) = order.as_mut().map(|order| &mut order.kind) else {
        return;
    };
    for key in keys {
        if let Expr::Identifier(key) = &mut key.expr
            && folded(key) == name
        {
            *key = renamed.clone();
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

    #[test]
    fn the_query_goes_on_ordering_by_its_column() {
        let adopted = |text: &str, error: &str| {
            let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
            let mut statement = Statement::Query(query);
            let error = DataFusionError::Plan(format!(
                "Schema contains qualified field name {error} which would be ambiguous"
            ));
            let is_changed = adopt(&mut statement, &error, '#');
            is_changed.then(|| statement.to_string())
        };
        let ordered = adopted(
            "SELECT * FROM (SELECT f(t.k) AS k FROM t ORDER BY k) AS s",
            "t.k and unqualified field name k",
        );
        let expected = "SELECT * FROM (SELECT f(t.k) AS \"k#0\" FROM t ORDER BY \"k#0\") AS s (k)";
        assert_eq!(ordered.as_deref(), Some(expected));
        let value = adopted(
            "SELECT (SELECT t.id AS id FROM u ORDER BY u.id LIMIT 1) FROM t",
            "u.id and unqualified field name id",
        );
        let expected = "SELECT (SELECT t.id AS \"id#0\" FROM u ORDER BY u.id LIMIT 1) FROM t";
        assert_eq!(value.as_deref(), Some(expected));
        // The query around it has such a column.
        let outside = adopted(
            "SELECT 1 AS k FROM (SELECT a AS k FROM t ORDER BY k) AS s ORDER BY s.k",
            "s.k and unqualified field name k",
        );
        assert_eq!(outside, None);
    }
}
