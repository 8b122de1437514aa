//! ORDER BY of what is no column of a result with functions of several rows: `SELECT unnest(tags) FROM t ORDER BY id`.
//!
//! In and out: a query. The planner has no other columns where it unnests rows, so that those it is ordered by become columns of
//! a query in FROM, and the query gives the others alone.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderByKind, Query, Select, SelectItem, SetExpr, TableAlias, Value,
};

use super::function_name;
use super::own_expressions::each_own;
use super::relations::{derived, gives_rows, template};
use crate::bind::{REPEATED, column_name_of};
use crate::commands::folded;
use crate::error::Result;

/// What the query in FROM is called.
const ROWS: &str = "\u{1e}rows";

/// Rewrites a query.
pub(super) fn rewrite(query: &mut Query) -> Result<()> {
    let SetExpr::Select(select) = query.body.as_mut() else {
        return Ok(());
    };
    let Some(order_by) = query.order_by.as_mut() else {
        return Ok(());
    };
    let (OrderByKind::Expressions(keys), Some(names)) = (&mut order_by.kind, names(select)) else {
        return Ok(());
    };
    let is_shown = keys.iter().all(|key| is_column(&key.expr, select, &names));
    if is_shown || select.distinct.is_some() || !select.projection.iter().any(gives_several) {
        return Ok(());
    }
    let (shell, outer) = template("SELECT 1 FROM t")?;
    let mut inner = std::mem::replace(select, outer);
    let items = std::mem::take(&mut inner.projection).into_iter();
    let exprs = items.filter_map(|item| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    });
    let mut known = BTreeSet::new();
    select.projection.clear();
    for (place, (expr, mut name)) in exprs.zip(names).enumerate() {
        if !known.insert(folded(&name)) {
            name = Ident::with_quote('"', format!("{}{REPEATED}{place}", name.value));
        }
        select.projection.push(SelectItem::ExprWithAlias {
            expr: Expr::Identifier(add(expr, &mut inner)),
            alias: name,
        });
    }
    for key in keys {
        let is_output = match &key.expr {
            Expr::Value(_) => true,
            Expr::Identifier(name) => known.contains(&folded(name)),
            _ => false,
        };
        if !is_output {
            let null = Expr::Value(Value::Null.with_empty_span());
            let expr = std::mem::replace(&mut key.expr, null);
            key.expr = Expr::Identifier(add(expr, &mut inner));
        }
    }
    let alias = TableAlias {
        explicit: true,
        name: Ident::with_quote('"', ROWS),
        columns: Vec::new(),
        at: None,
    };
    if let Some(table) = select.from.first_mut() {
        table.relation = derived(shell, inner, Some(alias));
    }
    Ok(())
}

/// Adds a column, and tells its name.
fn add(expr: Expr, select: &mut Select) -> Ident {
    let name = format!("\u{1e}column {}", select.projection.len());
    let alias = Ident::with_quote('"', name);
    select.projection.push(SelectItem::ExprWithAlias {
        expr,
        alias: alias.clone(),
    });
    alias
}

/// The names of the columns of a result; `None` where a wildcard stands for some.
pub(super) fn names(select: &Select) -> Option<Vec<Ident>> {
    select.projection.iter().map(name).collect()
}

/// The name of a column of a result; `None` for a wildcard.
pub(super) fn name(item: &SelectItem) -> Option<Ident> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.clone()),
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.clone()),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last().cloned(),
        SelectItem::UnnamedExpr(expr) => Some(Ident::with_quote('"', column_name_of(expr))),
        _ => None,
    }
}

/// Whether a key of ORDER BY is a column of the result: its place, its name, or what it is of.
fn is_column(key: &Expr, select: &Select, names: &[Ident]) -> bool {
    let is_it = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            expr.to_string() == key.to_string()
        }
        _ => false,
    };
    match key {
        Expr::Value(_) => true,
        Expr::Identifier(name) if names.iter().any(|known| folded(known) == folded(name)) => true,
        _ => select.projection.iter().any(is_it),
    }
}

/// Whether a column has a function of several rows.
pub(super) fn gives_several(item: &SelectItem) -> bool {
    let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
        return false;
    };
    let mut is_found = false;
    each_own(expr, |expr| {
        if let Expr::Function(function) = expr
            && function.over.is_none()
            && let Some(name) = function_name(function)
        {
            is_found |= name == "unnest" || gives_rows(&name);
        }
    });
    is_found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewritten(text: &str) -> String {
        let mut query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        rewrite(&mut query).unwrap();
        query
            .to_string()
            .replace('\u{1e}', "#")
            .replace(REPEATED, "~")
    }

    #[test]
    fn keys_become_columns_within() {
        assert_eq!(
            rewritten(
                "SELECT unnest(a), unnest(b) FROM t WHERE x ORDER BY t.id DESC, 1, unnest LIMIT 3"
            ),
            "SELECT \"#column 0\" AS \"unnest\", \"#column 1\" AS \"unnest~1\" FROM (SELECT unnest(a) AS \"#column 0\", unnest(b) AS \"#column 1\", t.id AS \"#column 2\" FROM t WHERE x) AS \"#rows\" ORDER BY \"#column 2\" DESC, 1, unnest LIMIT 3"
        );
    }

    #[test]
    fn others_stay() {
        for text in [
            "SELECT unnest(a) FROM t ORDER BY 1, unnest",
            "SELECT t.id, unnest(a) FROM t ORDER BY t.id, id",
            "SELECT a FROM t ORDER BY b",
            "SELECT *, unnest(a) FROM t ORDER BY b",
        ] {
            assert_eq!(rewritten(text), text);
        }
    }
}
