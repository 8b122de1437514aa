//! A row made of expressions: `(SELECT r FROM (SELECT a.id AS id, a.name AS name) AS r)`, as Hasura writes what
//! `row_to_json` is given.
//!
//! In: a subquery; out: the row, if the subquery reads no relation and only names its columns. In calls that write json,
//! the columns of `ROW(a, b)` and `(a, b)` are called `f1` and `f2`; in other calls, `(a, b)` is `ROW(a, b)`.

use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArg, FunctionArgExpr, FunctionArguments, GroupByExpr, Ident, Query, Select,
    SelectItem, SetExpr, TableFactor,
};

use super::{call, function_name, plain_arguments, text};
use crate::functions::json::WHOLE_ROW;

/// The row that a subquery gives; `None` if it does anything else.
pub(super) fn value(query: &Query) -> Option<Expr> {
    let outer = plain(query)?;
    let ([SelectItem::UnnamedExpr(Expr::Identifier(named))], [from]) =
        (outer.projection.as_slice(), outer.from.as_slice())
    else {
        return None;
    };
    let TableFactor::Derived {
        subquery,
        alias: Some(alias),
        sample: None,
        ..
    } = &from.relation
    else {
        return None;
    };
    let is_alone = from.joins.is_empty() && alias.columns.is_empty();
    if !is_alone || folded(&alias.name) != folded(named) {
        return None;
    }
    let inner = plain(subquery)?;
    if !inner.from.is_empty() {
        return None;
    }
    let mut args = Vec::with_capacity(inner.projection.len() * 2);
    for item in &inner.projection {
        let (name, expr) = match item {
            SelectItem::ExprWithAlias { expr, alias } => (alias, expr),
            SelectItem::UnnamedExpr(expr @ Expr::Identifier(name)) => (name, expr),
            SelectItem::UnnamedExpr(expr @ Expr::CompoundIdentifier(names)) => {
                (names.last()?, expr)
            }
            _ => return None,
        };
        args.extend([text(folded(name)), expr.clone()]);
    }
    Some(call(WHOLE_ROW, args))
}

/// Names the columns of rows that a function writes as json.
pub(super) fn name_columns(expr: &mut Expr) {
    let Expr::Function(function) = expr else {
        return;
    };
    let writes_json = function_name(function).is_some_and(|name| name.contains("json"));
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    for arg in &mut list.args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg else {
            continue;
        };
        if let Some(values) = values_of(arg).filter(|_| writes_json) {
            let columns = values.into_iter().enumerate();
            let named = columns.flat_map(|(idx, value)| [text(format!("f{}", idx + 1)), value]);
            *arg = call(WHOLE_ROW, named.collect());
        } else if let Expr::Tuple(values) = arg {
            *arg = call("row", std::mem::take(values));
        }
    }
}

/// The values of a row that is written out.
fn values_of(expr: &Expr) -> Option<Vec<Expr>> {
    match expr {
        Expr::Tuple(values) => Some(values.clone()),
        Expr::Function(row) if function_name(row)? == "row" => plain_arguments(row),
        _ => None,
    }
}

/// The SELECT of a query that is nothing but its columns and relations.
fn plain(query: &Query) -> Option<&Select> {
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let is_grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
    };
    let is_more = query.with.is_some()
        || query.order_by.is_some()
        || query.limit_clause.is_some()
        || query.fetch.is_some()
        || is_grouped
        || select.distinct.is_some()
        || select.selection.is_some()
        || select.having.is_some()
        || select.qualify.is_some();
    (!is_more).then_some(select)
}

fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}
