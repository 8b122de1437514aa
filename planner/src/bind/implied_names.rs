//! Names that output columns have without AS, in ORDER BY, DISTINCT ON and GROUP BY: `SELECT city, count(*) … ORDER BY count`,
//! `SELECT id::text FROM t ORDER BY id`. With DISTINCT, what is written like an output column is that column, too:
//! `SELECT DISTINCT upper(s) AS u FROM t ORDER BY upper(s)`.
//!
//! In: a statement, or the planner's error about a name of GROUP BY; out: the statement with the column in the name's place. As
//! in PostgreSQL, an output column goes before one of a table in ORDER BY, and behind it in GROUP BY. In GoogleSQL such columns
//! have no name.

use std::ops::ControlFlow;

use auspex_sql::Dialect;
use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, GroupByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, Value,
    VisitMut, VisitorMut,
};

use super::names::{column_name_of, is_wildcard, naming_select};
use crate::commands::folded;
use crate::query_meaning;
use crate::session::Session;

/// Puts output columns in the place of their names in ORDER BY and DISTINCT ON.
pub(super) fn spell(session: &Session, statement: &mut Statement) {
    let dialect = query_meaning::dialect().unwrap_or_else(|| session.settings().dialect());
    if dialect != Dialect::GoogleSql {
        // The visitor never breaks off.
        let _ = VisitMut::visit(statement, &mut Ordering);
    }
}

struct Ordering;

impl VisitorMut for Ordering {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let has_keys = |select: &Select| {
            query.order_by.is_some() || matches!(select.distinct, Some(Distinct::On(_)))
        };
        let items = match naming_select(query) {
            Some(select) if has_keys(select) && may_mean_columns(select) => {
                select.projection.clone()
            }
            _ => return ControlFlow::Continue(()),
        };
        if let Some(order_by) = &mut query.order_by
            && let OrderByKind::Expressions(keys) = &mut order_by.kind
        {
            let (is_select, distinct) = match query.body.as_ref() {
                SetExpr::Select(select) => (true, select.distinct.as_ref()),
                _ => (false, None),
            };
            let is_distinct = matches!(distinct, Some(Distinct::Distinct));
            for key in keys {
                let is_like = |item: &SelectItem| expression(item) == Some(&key.expr);
                let alike = || match &key.expr {
                    Expr::Identifier(_) => None,
                    _ => items.iter().position(is_like).filter(|_| is_distinct),
                };
                if let Some(place) = implied(&key.expr, &items).or_else(alike) {
                    let has_star = items[..place].iter().any(is_wildcard);
                    key.expr = match &items[place] {
                        _ if !has_star && (is_distinct || distinct.is_none()) => number(place + 1),
                        SelectItem::ExprWithAlias { alias, .. } => Expr::Identifier(alias.clone()),
                        SelectItem::UnnamedExpr(expr) if is_select => expr.clone(),
                        _ => continue,
                    };
                }
            }
        }
        if let SetExpr::Select(select) = query.body.as_mut()
            && let Some(Distinct::On(keys)) = &mut select.distinct
        {
            for key in keys {
                let place = implied(key, &items);
                if let Some(expr) = place.and_then(|place| expression(&items[place])) {
                    *key = expr.clone();
                }
            }
        }
        ControlFlow::Continue(())
    }
}

/// Puts output columns in the place of a name of GROUP BY that the planner did not find; false if nothing was changed.
pub(super) fn adopt(statement: &mut Statement, error: &DataFusionError) -> bool {
    let DataFusionError::SchemaError(cause, _) = error.find_root() else {
        return false;
    };
    let SchemaError::FieldNotFound { field, .. } = cause.as_ref() else {
        return false;
    };
    let mut grouping = Grouping {
        name: field.name(),
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut grouping);
    grouping.is_changed
}

struct Grouping<'a> {
    name: &'a str,
    is_changed: bool,
}

impl VisitorMut for Grouping<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let items = &select.projection;
        let GroupByExpr::Expressions(keys, _) = &mut select.group_by else {
            return ControlFlow::Continue(());
        };
        for key in keys {
            let is_it = matches!(key, Expr::Identifier(name) if folded(name) == self.name);
            let place = implied(key, items).filter(|_| is_it);
            if let Some(expr) = place.and_then(|place| expression(&items[place])) {
                *key = expr.clone();
                self.is_changed = true;
            }
        }
        ControlFlow::Continue(())
    }
}

/// Whether a key may mean an output column of which the planner does not know: one that has neither a name nor that of a column
/// that it is, or any where rows are distinct.
fn may_mean_columns(select: &Select) -> bool {
    let is_implied = |item: &SelectItem| {
        matches!(item, SelectItem::UnnamedExpr(expr)
            if !matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_)))
    };
    select.distinct.is_some() || select.projection.iter().any(is_implied)
}

/// The place of the only output column of a name that was given to none; `None`: there is none, or the planner knows it.
fn implied(key: &Expr, items: &[SelectItem]) -> Option<usize> {
    let Expr::Identifier(name) = key else {
        return None;
    };
    let name = folded(name);
    let mut found: Option<(usize, &Expr)> = None;
    for (place, item) in items.iter().enumerate() {
        match item {
            SelectItem::ExprWithAlias { alias, .. } if folded(alias) == name => return None,
            SelectItem::UnnamedExpr(Expr::Identifier(column)) if folded(column) == name => {
                return None;
            }
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names))
                if names.last().map(folded).as_ref() == Some(&name) =>
            {
                return None;
            }
            SelectItem::UnnamedExpr(expr) if column_name_of(expr) == name => match found {
                Some((_, known)) if known != expr => return None,
                Some(_) => {}
                None => found = Some((place, expr)),
            },
            _ => {}
        }
    }
    found.map(|(place, _)| place)
}

fn expression(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// An output column by its place.
fn number(place: usize) -> Expr {
    Expr::Value(Value::Number(place.to_string(), false).with_empty_span())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered(text: &str) -> String {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        let _ = VisitMut::visit(&mut statement, &mut Ordering);
        statement.to_string()
    }

    #[test]
    fn output_columns_stand_for_their_names() {
        for (written, meant) in [
            (
                "SELECT city, count(*) FROM t GROUP BY city ORDER BY count DESC",
                "SELECT city, count(*) FROM t GROUP BY city ORDER BY 2 DESC",
            ),
            (
                "SELECT DISTINCT id::TEXT FROM t ORDER BY id",
                "SELECT DISTINCT id::TEXT FROM t ORDER BY 1",
            ),
            (
                "SELECT id::TEXT FROM t UNION SELECT name FROM u ORDER BY id",
                "SELECT id::TEXT FROM t UNION SELECT name FROM u ORDER BY 1",
            ),
            (
                "SELECT *, upper(s) FROM t ORDER BY upper",
                "SELECT *, upper(s) FROM t ORDER BY upper(s)",
            ),
            (
                "SELECT DISTINCT ON (lower) lower(s), s FROM t ORDER BY lower",
                "SELECT DISTINCT ON (lower(s)) lower(s), s FROM t ORDER BY lower(s)",
            ),
            (
                "SELECT DISTINCT upper(s) AS u, a + 1 FROM t ORDER BY a + 1, upper(s)",
                "SELECT DISTINCT upper(s) AS u, a + 1 FROM t ORDER BY 2, 1",
            ),
        ] {
            assert_eq!(ordered(written), meant);
        }
    }

    #[test]
    fn names_that_the_planner_knows_stay() {
        for text in [
            "SELECT id, id::TEXT FROM t ORDER BY id",
            "SELECT count(*) AS n FROM t ORDER BY n",
            "SELECT id::TEXT FROM t ORDER BY id + 1",
            "SELECT max(a), max(b) FROM t ORDER BY max",
            "SELECT DISTINCT id AS x, b AS id FROM t ORDER BY id",
            "SELECT a.id FROM a ORDER BY id",
        ] {
            assert_eq!(ordered(text), text);
        }
    }
}
