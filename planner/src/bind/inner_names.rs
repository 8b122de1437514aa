//! Names of the columns of queries in FROM and WITH that have none of their own: `SELECT count FROM (SELECT count(*) FROM t) AS n`.
//!
//! In: a statement; out: the statement in which such columns have the names that PostgreSQL gives them, so that the query
//! around finds them, and `SELECT *` shows them. Those of the statement itself are given when its rows are told.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, SetExpr, Statement, TableFactor, VisitMut, VisitorMut,
};

use super::REPEATED;
use super::names::{expression_name, is_wildcard};
use crate::commands::folded;

/// Names the columns.
pub(super) fn spell(statement: &mut Statement) {
    // The visitor never breaks off.
    let _ = VisitMut::visit(statement, &mut Naming { n_numbered: 0 });
}

struct Naming {
    /// Names that have got a number: each another one, since a wildcard may bring several of them into one query.
    n_numbered: usize,
}

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        for cte in query.with.iter_mut().flat_map(|with| &mut with.cte_tables) {
            self.name_columns(&mut cte.query.body, cte.alias.columns.len());
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        if let TableFactor::Derived {
            subquery, alias, ..
        } = factor
        {
            let n_listed = alias.as_ref().map_or(0, |alias| alias.columns.len());
            self.name_columns(&mut subquery.body, n_listed);
        }
        ControlFlow::Continue(())
    }
}

impl Naming {
    /// Names the columns of a query but for the first ones, which its relation lists; the first of united queries names
    /// those of all.
    fn name_columns(&mut self, body: &mut SetExpr, n_listed: usize) {
        match body {
            SetExpr::Select(select) => self.name_items(select, n_listed),
            SetExpr::SetOperation { left, .. } => self.name_columns(left, n_listed),
            SetExpr::Query(query) => self.name_columns(&mut query.body, n_listed),
            _ => {}
        }
    }

    /// Names the columns; a name that others have, too, with a number. Which columns a wildcard stands for nobody knows here: the
    /// planner tells of those that are called so, and `names` numbers the name.
    fn name_items(&mut self, select: &mut Select, n_listed: usize) {
        let items = &mut select.projection;
        // Behind a wildcard nobody knows which one a column is.
        let n_listed = match items.iter().take(n_listed).any(is_wildcard) {
            true => 0,
            false => n_listed.min(items.len()),
        };
        let items = &mut items[n_listed..];
        let names: Vec<Option<String>> = items.iter().map(item_name).collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        for name in names.iter().flatten() {
            *counts.entry(name).or_default() += 1;
        }
        for (item, known) in items.iter_mut().zip(&names) {
            let (SelectItem::UnnamedExpr(expr), Some(known)) = (&*item, known) else {
                continue;
            };
            if matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)) {
                continue;
            }
            let is_repeated = counts.get(known.as_str()).is_some_and(|n| *n > 1);
            let name = match is_repeated {
                true => format!("{known}{REPEATED}inner {}", self.n_numbered),
                false => known.clone(),
            };
            self.n_numbered += usize::from(is_repeated);
            let (expr, alias) = (expr.clone(), Ident::with_quote('"', name));
            *item = SelectItem::ExprWithAlias { expr, alias };
        }
    }
}

/// What a column is called.
fn item_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(folded(alias)),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(folded(name)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().map(folded),
        SelectItem::UnnamedExpr(expr) => expression_name(expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spelt(text: &str) -> String {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        spell(&mut statement);
        statement.to_string()
    }

    #[test]
    fn columns_of_inner_queries_get_their_names() {
        assert_eq!(
            spelt("SELECT count(*) FROM (SELECT count(*), id FROM t GROUP BY id) AS n"),
            "SELECT count(*) FROM (SELECT count(*) AS \"count\", id FROM t GROUP BY id) AS n"
        );
        assert_eq!(
            spelt(
                "WITH w AS (SELECT max(x) FROM t UNION ALL SELECT min(x) FROM t) SELECT * FROM w"
            ),
            "WITH w AS (SELECT max(x) AS \"max\" FROM t UNION ALL SELECT min(x) FROM t) SELECT * FROM w"
        );
        assert_eq!(
            spelt("SELECT 1 FROM (SELECT *, row_number() OVER (), x + 1 FROM t) AS m"),
            "SELECT 1 FROM (SELECT *, row_number() OVER () AS \"row_number\", x + 1 AS \"?column?\" FROM t) AS m"
        );
    }

    #[test]
    fn names_of_several_columns_are_numbered() {
        assert_eq!(
            spelt("SELECT * FROM (SELECT max(a), a, max(b), a + 1, b + 1 FROM t) AS m")
                .replace(REPEATED, "#"),
            "SELECT * FROM (SELECT max(a) AS \"max#inner 0\", a, max(b) AS \"max#inner 1\", a + 1 AS \"?column?#inner 2\", b + 1 AS \"?column?#inner 3\" FROM t) AS m"
        );
    }

    #[test]
    fn columns_that_are_renamed_keep_theirs() {
        let text = "SELECT a FROM (SELECT max(x) FROM t) AS m (a)";
        assert_eq!(spelt(text), text);
        assert_eq!(
            spelt("SELECT max FROM (SELECT min(x), max(x) FROM t) AS m (a)"),
            "SELECT max FROM (SELECT min(x), max(x) AS \"max\" FROM t) AS m (a)"
        );
    }
}
