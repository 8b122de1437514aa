//! The order of rows that have places (`row_limits`) by what the result computes: by `-v AS v`, by a window, by the columns of
//! `DISTINCT`, of a set operation or of a function of several rows.
//!
//! In and out: a query. It stands in FROM of another one, whose order names its columns, so that a window is over what the rows
//! are and computes nothing again. A name by itself in ORDER BY is that of an output column first.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    Distinct, Expr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias,
    TableAliasColumnDef, TableFactor, Value,
};

use super::own_expressions::each_own;
use super::relations::template;
use super::unnested_order::{gives_several, name, names};
use crate::bind::REPEATED;
use crate::commands::folded;
use crate::error::{Error, Result};
use crate::functions::cast_keys::spelt;

/// What the query in FROM is called.
const RESULT: &str = "\u{1e}result";

/// Whether the places of a query's rows are those of its result alone.
pub(super) fn is_computed(query: &Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return true;
    };
    let is_computed = |key: &Expr| match shown(key, select) {
        Some(expr) => !is_column(expr),
        None => is_windowed(key),
    };
    select.distinct.is_some()
        || select.qualify.is_some()
        || select.projection.iter().any(gives_several)
        || keys(query).into_iter().any(is_computed)
}

/// What the column of a result computes that a key of ORDER BY names or tells the place of.
pub(super) fn shown<'a>(key: &Expr, select: &'a Select) -> Option<&'a Expr> {
    match item(key, select)? {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// The column of a result that a key of ORDER BY names or tells the place of, unless a star before it hides the place.
fn item<'a>(key: &Expr, select: &'a Select) -> Option<&'a SelectItem> {
    if let Expr::Identifier(wanted) = key {
        let wanted = folded(wanted);
        let mut items = select.projection.iter();
        return items.find(|item| name(item).is_some_and(|name| folded(&name) == wanted));
    }
    let (item, before) = select.projection.get(..=place(key)?)?.split_last()?;
    before.iter().all(is_one_column).then_some(item)
}

/// The place from 0 that a key of ORDER BY is.
pub(super) fn place(key: &Expr) -> Option<usize> {
    match key {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        _ => None,
    }
}

pub(super) fn is_one_column(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
    )
}

fn is_column(expr: &Expr) -> bool {
    matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
}

fn is_windowed(expr: &Expr) -> bool {
    let mut is_found = false;
    each_own(expr, |expr| {
        is_found |= matches!(expr, Expr::Function(function) if function.over.is_some());
    });
    is_found
}

fn keys(query: &Query) -> Vec<&Expr> {
    match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(keys)) => keys.iter().map(|key| &key.expr).collect(),
        _ => Vec::new(),
    }
}

/// Puts a query in FROM of one that has its limits and its order; `None` where its columns have no names that could be told.
pub(super) fn put_in_from(query: &mut Query) -> Result<Option<()>> {
    let (mut inner, outer) = template("SELECT * FROM t")?;
    let columns = columns(&query.body);
    let mut added = Vec::new();
    let mut places = Vec::new();
    for key in keys(query) {
        let place = match (place_of(key, &query.body, columns.as_deref())?, &columns) {
            (Some(place), _) => place,
            (None, None) if matches!(key, Expr::Identifier(_)) => key.clone(),
            (None, Some(columns)) if may_have_more(&query.body) => {
                added.push(key.clone());
                own_name(columns.len() + added.len() - 1)
            }
            (None, _) => return Ok(None),
        };
        places.push(place);
    }
    inner.body = std::mem::replace(&mut query.body, Box::new(SetExpr::Select(outer)));
    if let SetExpr::Select(select) = inner.body.as_mut() {
        // Which row of several it gives is a matter of the order, too.
        if matches!(select.distinct, Some(Distinct::On(_))) {
            inner.order_by = query.order_by.clone();
        }
        for (idx, expr) in added.iter().enumerate() {
            let alias = own_ident(columns.as_ref().map_or(0, Vec::len) + idx);
            let expr = expr.clone();
            let item = SelectItem::ExprWithAlias { expr, alias };
            select.projection.push(item);
        }
    }
    if let Some(OrderByKind::Expressions(keys)) =
        query.order_by.as_mut().map(|order| &mut order.kind)
    {
        for (key, place) in keys.iter_mut().zip(places) {
            key.expr = place;
        }
    }
    if let SetExpr::Select(outer) = query.body.as_mut() {
        give(outer, inner, columns, added.len());
    }
    Ok(Some(()))
}

/// The column in FROM that a key is of; `None`: there is none, or it has no name there.
fn place_of(key: &Expr, body: &SetExpr, columns: Option<&[Ident]>) -> Result<Option<Expr>> {
    let Some(columns) = columns else {
        let SetExpr::Select(select) = body else {
            return Ok(None);
        };
        let name = place(key).and_then(|_| name(item(key, select)?));
        return Ok(name.map(Expr::Identifier));
    };
    let is_it = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            spelt(expr) == spelt(key)
        }
        _ => false,
    };
    let idx = match key {
        Expr::Value(value) if matches!(value.value, Value::Number(..)) => {
            let idx = place(key).filter(|idx| *idx < columns.len());
            Some(idx.ok_or_else(|| no_such_place(key))?)
        }
        Expr::Identifier(name) => columns
            .iter()
            .position(|known| folded(known) == folded(name)),
        _ => match body {
            SetExpr::Select(select) => select.projection.iter().position(is_it),
            _ => None,
        },
    };
    Ok(idx.map(own_name))
}

/// The error of a position that no column has.
pub(super) fn no_such_place(key: &Expr) -> Error {
    let message = format!("ORDER BY position {key} is not in select list");
    Error::invalid("42P10", message, None)
}

/// Whether a column that is not shown may be added to those of a query.
fn may_have_more(body: &SetExpr) -> bool {
    matches!(body, SetExpr::Select(select) if !matches!(select.distinct, Some(Distinct::Distinct)))
}

/// The names of the columns of a result; `None` where a wildcard stands for some.
fn columns(body: &SetExpr) -> Option<Vec<Ident>> {
    match body {
        SetExpr::Select(select) => names(select),
        SetExpr::SetOperation { left, .. } => columns(left),
        SetExpr::Query(query) => columns(&query.body),
        SetExpr::Values(values) => {
            let width = values.rows.first()?.content.len();
            let named = (1..=width).map(|number| Ident::new(format!("column{number}")));
            Some(named.collect())
        }
        _ => None,
    }
}

/// Gives the columns of a query in FROM, without those that were added to order by.
fn give(outer: &mut Select, inner: Box<Query>, names: Option<Vec<Ident>>, n_added: usize) {
    let n_columns = names.as_ref().map_or(0, |names| names.len() + n_added);
    let column = |idx| TableAliasColumnDef {
        name: own_ident(idx),
        data_type: None,
    };
    if let Some(names) = names {
        let mut known = BTreeSet::new();
        let items = names.into_iter().enumerate().map(|(idx, mut name)| {
            if !known.insert(folded(&name)) {
                name = Ident::with_quote('"', format!("{}{REPEATED}{idx}", name.value));
            }
            SelectItem::ExprWithAlias {
                expr: own_name(idx),
                alias: name,
            }
        });
        outer.projection = items.collect();
    }
    let alias = TableAlias {
        explicit: true,
        name: Ident::with_quote('"', RESULT),
        columns: (0..n_columns).map(column).collect(),
        at: None,
    };
    if let Some(table) = outer.from.first_mut() {
        table.relation = TableFactor::Derived {
            lateral: false,
            subquery: inner,
            alias: Some(alias),
            sample: None,
        };
    }
}

/// What a column is called in FROM.
fn own_ident(idx: usize) -> Ident {
    Ident::with_quote('"', format!("\u{1e}column {idx}"))
}

fn own_name(idx: usize) -> Expr {
    Expr::Identifier(own_ident(idx))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let mut query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        if is_computed(&query) {
            put_in_from(&mut query).unwrap().unwrap();
        }
        query.to_string().replace('\u{1e}', "#")
    }

    #[test]
    fn keys_are_columns_of_the_query_in_from() {
        assert_eq!(
            rewritten("SELECT -v AS v FROM u ORDER BY v DESC, x LIMIT 1"),
            "SELECT \"#column 0\" AS v FROM (SELECT -v AS v, x AS \"#column 1\" FROM u) AS \"#result\" (\"#column 0\", \"#column 1\") ORDER BY \"#column 0\" DESC, \"#column 1\" LIMIT 1"
        );
        assert_eq!(
            rewritten("SELECT DISTINCT ON (a) a, b FROM t ORDER BY 1, b"),
            "SELECT \"#column 0\" AS a, \"#column 1\" AS b FROM (SELECT DISTINCT ON (a) a, b FROM t ORDER BY 1, b) AS \"#result\" (\"#column 0\", \"#column 1\") ORDER BY \"#column 0\", \"#column 1\""
        );
        assert_eq!(
            rewritten("SELECT DISTINCT * FROM t ORDER BY a"),
            "SELECT * FROM (SELECT DISTINCT * FROM t) AS \"#result\" ORDER BY a"
        );
    }

    #[test]
    fn queries_by_their_own_columns_stay() {
        for text in [
            "SELECT v FROM u ORDER BY v, x + 1",
            "SELECT t.v AS w FROM u AS t ORDER BY w, 1",
            "SELECT x FROM u GROUP BY x ORDER BY count(*)",
        ] {
            assert_eq!(rewritten(text), text);
        }
    }
}
