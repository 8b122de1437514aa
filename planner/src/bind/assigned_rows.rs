//! `SET a = x`, `SET (a, b) = (x, y)`, `SET (a, b) = ROW(x, y)` and `SET (a, b) = (SELECT …)`: which column is assigned what.
//!
//! In: an assignment of a syntax tree; out: its columns with their values, each an expression of its own. A query of several columns
//! becomes one for each of them.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    self, Assignment, AssignmentTarget, Expr, Ident, SelectItem, SetExpr, TableAliasColumnDef,
    TableFactor,
};

use super::change::{alone, last, table_alias};
use crate::error::{Error, Result};
use crate::functions::row_fields;

/// The columns and values of an assignment.
pub(super) fn pairs(assignment: &Assignment) -> Result<Vec<(String, Expr)>> {
    let names = match &assignment.target {
        AssignmentTarget::ColumnName(name) => {
            return Ok(vec![(last(name), assignment.value.clone())]);
        }
        AssignmentTarget::Tuple(names) => names,
    };
    let values = match &assignment.value {
        Expr::Subquery(query) => columns_apart(query, names.len())?,
        value => row_fields(value).ok_or_else(|| {
            let message =
                "source for a multiple-column UPDATE item must be a sub-SELECT or ROW() expression";
            Error::invalid("0A000", message, None)
        })?,
    };
    if values.len() != names.len() {
        return Err(counts_differ());
    }
    Ok(names.iter().map(last).zip(values).collect())
}

fn counts_differ() -> Error {
    let message = "number of columns does not match number of values";
    Error::invalid("42601", message, None)
}

/// A query of some columns as a query of each of them.
fn columns_apart(query: &ast::Query, n_wanted: usize) -> Result<Vec<Expr>> {
    let items = items_of(query);
    if items.is_some_and(|items| items.len() != n_wanted) {
        return Err(counts_differ());
    }
    let Some(items) = items.filter(|_| are_apart(query)) else {
        return (0..n_wanted)
            .map(|idx| column_of(query, idx, n_wanted))
            .collect();
    };
    let column = |item: &SelectItem| {
        let mut alone = query.clone();
        if let SetExpr::Select(select) = alone.body.as_mut() {
            select.projection = vec![item.clone()];
        }
        Expr::Subquery(Box::new(alone))
    };
    Ok(items.iter().map(column).collect())
}

/// The columns of a SELECT; `None`: it has stars, or the query is another.
fn items_of(query: &ast::Query) -> Option<&[SelectItem]> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let is_one = |item: &SelectItem| expr_of(item).is_some();
    let are_told = select.projection.iter().all(is_one);
    are_told.then_some(select.projection.as_slice())
}

fn expr_of(item: &SelectItem) -> Option<&Expr> {
    match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => Some(expr),
        _ => None,
    }
}

/// Whether each column of a query means alone what it means beside the others: nothing looks at all columns at once, counts
/// or names them, and none calls a function, which may make a group of all rows, or rows of one.
fn are_apart(query: &ast::Query) -> bool {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return false;
    };
    let is_grouped = match &select.group_by {
        ast::GroupByExpr::All(_) => true,
        ast::GroupByExpr::Expressions(keys, _) => !keys.is_empty() || select.having.is_some(),
    };
    let is_chosen = query.order_by.is_some()
        || query.limit_clause.is_some()
        || query.fetch.is_some()
        || select.distinct.is_some()
        || select.qualify.is_some();
    let mut exprs = select.projection.iter().filter_map(expr_of);
    !is_grouped && !is_chosen && !exprs.any(calls)
}

/// Whether an expression calls a function.
fn calls(expr: &Expr) -> bool {
    let found = ast::visit_expressions(expr, |expr| match expr {
        Expr::Function(_) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// `(SELECT c FROM (query) AS q (…, c, …))`.
fn column_of(query: &ast::Query, idx: usize, n_columns: usize) -> Result<Expr> {
    let name = |idx: usize| Ident::new(format!("column_{idx}"));
    let mut alias = table_alias(Ident::new("assigned"));
    let columns = (0..n_columns).map(|idx| TableAliasColumnDef {
        name: name(idx),
        data_type: None,
    });
    alias.columns = columns.collect();
    let mut column = auspex_sql::parse_query("SELECT 1", auspex_sql::Dialect::Postgres)?;
    if let SetExpr::Select(select) = column.body.as_mut() {
        select.projection = vec![SelectItem::UnnamedExpr(Expr::Identifier(name(idx)))];
        select.from = vec![alone(TableFactor::Derived {
            lateral: false,
            subquery: Box::new(query.clone()),
            alias: Some(alias),
            sample: None,
        })];
    }
    Ok(Expr::Subquery(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(text: &str) -> Result<String> {
        let mut parsed = auspex_sql::parse_own(&format!("UPDATE t SET {text}"))?;
        let auspex_sql::Statement::Sql(statement) = parsed.remove(0).statement else {
            panic!("{text}");
        };
        let datafusion::sql::parser::Statement::Statement(statement) = *statement else {
            panic!("{text}");
        };
        let ast::Statement::Update(update) = *statement else {
            panic!("{text}");
        };
        let pairs = pairs(&update.assignments[0])?.into_iter();
        let pairs: Vec<String> = pairs
            .map(|(name, value)| format!("{name} = {value}"))
            .collect();
        Ok(pairs.join("; "))
    }

    #[test]
    fn each_column_has_a_value_of_its_own() -> Result<()> {
        for (text, expected) in [
            ("a = 1", "a = 1"),
            ("(a, B) = (1, DEFAULT)", "a = 1; b = DEFAULT"),
            ("(a, b) = ROW(1, x)", "a = 1; b = x"),
            ("(a) = ROW(1)", "a = 1"),
            (
                "(a, b) = (SELECT x, y FROM u)",
                "a = (SELECT x FROM u); b = (SELECT y FROM u)",
            ),
            (
                "(a, b) = (SELECT * FROM u)",
                "a = (SELECT column_0 FROM (SELECT * FROM u) AS assigned (column_0, column_1)); \
                 b = (SELECT column_1 FROM (SELECT * FROM u) AS assigned (column_0, column_1))",
            ),
            (
                "(a, b) = (SELECT count(*), 1 FROM u)",
                "a = (SELECT column_0 FROM (SELECT count(*), 1 FROM u) AS assigned (column_0, column_1)); \
                 b = (SELECT column_1 FROM (SELECT count(*), 1 FROM u) AS assigned (column_0, column_1))",
            ),
        ] {
            assert_eq!(assigned(text)?, expected);
        }
        for (text, sqlstate) in [
            ("(a, b) = ROW(1)", "42601"),
            ("(a, b) = (1, 2, 3)", "42601"),
            ("(a, b) = (SELECT 1)", "42601"),
            ("(a, b) = (SELECT max(x) FROM u)", "42601"),
            ("(a) = (5)", "0A000"),
        ] {
            let failed = assigned(text).map_err(|error| error.report().sqlstate);
            assert_eq!(failed, Err(sqlstate), "{text}");
        }
        Ok(())
    }
}
