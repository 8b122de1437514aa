//! Names that output columns have without AS, in ORDER BY, DISTINCT ON and GROUP BY: `SELECT city, count(*) … ORDER BY count`,
//! `SELECT id::text FROM t ORDER BY id`. Beside DISTINCT ON their places are spelt out, too: `SELECT DISTINCT ON (1) upper(s) …
//! ORDER BY 1`. With DISTINCT, what is written like an output column is that column, too: `SELECT DISTINCT upper(s) AS u FROM t
//! ORDER BY upper(s)`.
//!
//! In: a statement, or the planner's error about a name of GROUP BY; out: the statement with the column in the name's place. As
//! in PostgreSQL, an output column goes before one of a table in ORDER BY, and behind it in GROUP BY. In GoogleSQL such columns
//! have no name.

use std::ops::ControlFlow;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Distinct, Expr, GroupByExpr, Ident, OrderByKind, Query, Select, SelectItem,
    SetExpr, Spanned as _, Statement, UnaryOperator, Value, VisitMut, VisitorMut,
};

use super::names::{column_name_of, is_wildcard, naming_select};
use crate::commands::folded;
use crate::error::Error;

/// Puts output columns in the place of their names in ORDER BY and DISTINCT ON. Errors: 42P10, 42601, 0A000.
pub(super) fn spell(statement: &mut Statement) -> Result<(), Error> {
    match VisitMut::visit(statement, &mut Ordering) {
        ControlFlow::Break(error) => Err(error),
        ControlFlow::Continue(()) => Ok(()),
    }
}

struct Ordering;

impl VisitorMut for Ordering {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let items = match naming_select(query) {
            Some(select) if query.order_by.is_some() && may_mean_columns(select) => {
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
            let is_chosen = matches!(distinct, Some(Distinct::On(_)));
            for key in keys {
                if let Some(expr) = at_place(&key.expr, &items).filter(|_| is_chosen) {
                    key.expr = expr;
                    continue;
                }
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
        ControlFlow::Continue(())
    }

    /// Also in an arm of united queries, which has no ORDER BY.
    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        let items = &select.projection;
        if let Some(Distinct::On(keys)) = &mut select.distinct {
            for key in keys.iter_mut() {
                match chosen_by(key, items) {
                    Ok(Some(expr)) => *key = expr,
                    Ok(None) => {}
                    Err(error) => return ControlFlow::Break(error),
                }
            }
            keep_once(keys, |key| key, items);
        }
        ControlFlow::Continue(())
    }

    /// Which rows are alike does not depend on the order of the keys, which the planner wants to be that of the rows.
    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let SetExpr::Select(select) = query.body.as_mut()
            && let Some(Distinct::On(keys)) = &mut select.distinct
            && let Some(OrderByKind::Expressions(order)) =
                query.order_by.as_mut().map(|by| &mut by.kind)
        {
            let items = &select.projection;
            keep_once(order, |by| &by.expr, items);
            let order: Vec<Expr> = order.iter().map(|by| meant(&by.expr, items)).collect();
            let place = |key: &Expr| {
                let meant = meant(key, items);
                order.iter().position(|by| *by == meant)
            };
            keys.sort_by_key(|key| place(key).unwrap_or(usize::MAX));
        }
        ControlFlow::Continue(())
    }
}

/// What stands for a key of DISTINCT ON that names an output column; `None`: it is an expression.
fn chosen_by(key: &Expr, items: &[SelectItem]) -> Result<Option<Expr>, Error> {
    let named = implied(key, items).and_then(|place| expression(&items[place]).cloned());
    if let Some(expr) = named.or_else(|| at_place(key, items)) {
        return Ok(Some(expr));
    }
    let Some(constant) = constant(key) else {
        return Ok(None);
    };
    let Ok(place) = constant.parse::<i32>() else {
        let error = Error::invalid("42601", "non-integer constant in DISTINCT ON", None);
        return Err(error.at(key.span()));
    };
    let is_there = usize::try_from(place).is_ok_and(|place| place > 0 && place <= items.len());
    if is_there || place > 0 && items.iter().any(is_wildcard) {
        return Err(Error::Unsupported {
            what: format!("DISTINCT ON position {place} in this select list"),
            hint: Some("Write the column in the place of its number.".to_owned()),
        });
    }
    let message = format!("DISTINCT ON position {place} is not in select list");
    Err(Error::invalid("42P10", message, None).at(key.span()))
}

/// Leaves out keys that are there already.
fn keep_once<T>(keys: &mut Vec<T>, expr: impl Fn(&T) -> &Expr, items: &[SelectItem]) {
    let mut known: Vec<Expr> = Vec::with_capacity(keys.len());
    keys.retain(|key| {
        let meant = meant(expr(key), items);
        let is_new = !known.contains(&meant);
        known.push(meant);
        is_new
    });
}

/// What a key is: the output column that it names, else the column of that name, however it is written.
fn meant(key: &Expr, items: &[SelectItem]) -> Expr {
    let Expr::Identifier(name) = key else {
        return key.clone();
    };
    let item = items.iter().find(|item| is_called(item, name));
    let item = item.filter(|_| is_only(&folded(name), items));
    match item.and_then(expression).unwrap_or(key) {
        Expr::Identifier(name) => Expr::Identifier(Ident::with_quote('"', folded(name))),
        expr => expr.clone(),
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

/// The output column at a place that a key names; `None`: it names none, a wildcard stands before it, or what is written there
/// would be another output column.
fn at_place(key: &Expr, items: &[SelectItem]) -> Option<Expr> {
    let place = written_place(key)?.checked_sub(1)?;
    let item = items.get(place)?;
    let before = &items[..place];
    if before.iter().any(is_wildcard) {
        return None;
    }
    // What the column is computed of may have the name of another output column.
    if let SelectItem::ExprWithAlias { alias, .. } = item
        && is_only(&folded(alias), items)
    {
        return Some(Expr::Identifier(alias.clone()));
    }
    match expression(item)? {
        Expr::Identifier(name) if before.iter().any(|item| is_called(item, name)) => None,
        // A constant that is written out would be a place again, or none.
        expr if constant(expr).is_some() => Some(Expr::Cast {
            kind: CastKind::Cast,
            expr: Box::new(expr.clone()),
            data_type: DataType::Text,
            array: false,
            format: None,
        }),
        expr => Some(expr.clone()),
    }
}

/// Whether an output column was given a name.
fn is_called(item: &SelectItem, name: &Ident) -> bool {
    matches!(item, SelectItem::ExprWithAlias { alias, .. } if folded(alias) == folded(name))
}

/// Whether one output column alone has a name.
fn is_only(name: &str, items: &[SelectItem]) -> bool {
    let has_name = |item: &&SelectItem| match item {
        SelectItem::ExprWithAlias { alias, .. } => folded(alias) == name,
        SelectItem::UnnamedExpr(Expr::Identifier(column)) => folded(column) == name,
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
            names.last().is_some_and(|column| folded(column) == name)
        }
        SelectItem::UnnamedExpr(expr) => column_name_of(expr) == name,
        // Nobody knows the names behind a star.
        _ => true,
    };
    items.iter().filter(has_name).count() == 1
}

/// The number, from 1, that a key is.
fn written_place(key: &Expr) -> Option<usize> {
    constant(key)?.parse().ok()
}

/// The text of a key that is a constant without a type: a number, a text, a truth value or NULL.
fn constant(key: &Expr) -> Option<String> {
    match key {
        Expr::Nested(key) => constant(key),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } if is_number(expr) => constant(expr).map(|digits| format!("-{digits}")),
        Expr::Value(value) if matches!(value.value, Value::Placeholder(_)) => None,
        Expr::Value(value) => Some(value.value.to_string()),
        _ => None,
    }
}

fn is_number(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Number(..)))
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
        spell(&mut statement).unwrap();
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
                "SELECT DISTINCT ON (1, 2) upper(s) AS u, a + 1 FROM t ORDER BY 2 DESC, 1",
                "SELECT DISTINCT ON (a + 1, u) upper(s) AS u, a + 1 FROM t ORDER BY a + 1 DESC, u",
            ),
            (
                "SELECT DISTINCT ON (1) a AS b, b AS a FROM t ORDER BY 1, 2",
                "SELECT DISTINCT ON (b) a AS b, b AS a FROM t ORDER BY b, a",
            ),
            (
                "SELECT DISTINCT ON (1) a, b AS a FROM t ORDER BY 1, 2",
                "SELECT DISTINCT ON (a) a, b AS a FROM t ORDER BY a, b",
            ),
            (
                "SELECT DISTINCT ON (2, 1, A) a AS x, b AS y FROM t ORDER BY a, b",
                "SELECT DISTINCT ON (x, y) a AS x, b AS y FROM t ORDER BY a, b",
            ),
            (
                "SELECT DISTINCT ON (b, a) a, b FROM t ORDER BY 1, a DESC, b, c",
                "SELECT DISTINCT ON (a, b) a, b FROM t ORDER BY a, b, c",
            ),
            (
                "SELECT DISTINCT ON (1) a + 1 FROM t UNION ALL SELECT DISTINCT ON (1) b FROM u ORDER BY 1",
                "SELECT DISTINCT ON (a + 1) a + 1 FROM t UNION ALL SELECT DISTINCT ON (b) b FROM u ORDER BY 1",
            ),
            (
                "SELECT DISTINCT ON (1) 5, a FROM t ORDER BY 1",
                "SELECT DISTINCT ON (CAST(5 AS TEXT)) 5, a FROM t ORDER BY CAST(5 AS TEXT)",
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
    fn places_that_name_no_column_are_refused() {
        let refused = |text: &str| {
            let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
            let error = spell(&mut Statement::Query(query)).unwrap_err();
            error.report().sqlstate
        };
        for (key, sqlstate) in [
            ("0", "42P10"),
            ("-1", "42P10"),
            ("3", "42P10"),
            ("1.5", "42601"),
            ("'x'", "42601"),
            ("NULL", "42601"),
        ] {
            let text = format!("SELECT DISTINCT ON ({key}) a, b FROM t");
            assert_eq!(refused(&text), sqlstate, "{text}");
        }
        for text in [
            "SELECT DISTINCT ON (1) * FROM t",
            "SELECT DISTINCT ON (3) a, t.* FROM t ORDER BY 3",
            "SELECT 1 UNION SELECT DISTINCT ON (2) a AS b, b FROM t",
        ] {
            assert_eq!(refused(text), "0A000", "{text}");
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
