//! Aggregates that gather values take them in the order of the subquery that they read, as PostgreSQL's do.
//!
//! In: a SELECT over one ordered subquery, also of WITH; out: the same with that order in each call, since aggregates keep no
//! order of a subquery by themselves. What the subquery is ordered by and does not give becomes a hidden column of it. Calls
//! with DISTINCT sort, and are left alone.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, Distinct, DuplicateTreatment, Expr, Function, FunctionArgumentClause, FunctionArguments,
    GroupByExpr, Ident, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr,
    TableAliasColumnDef, TableFactor, Value, Visit, VisitMut as _, Visitor, VisitorMut,
};

use super::function_name;
use crate::commands::{folded, name_parts};

/// The aggregates whose result depends on the order.
const GATHERING: [&str; 2] = ["array_agg", "string_agg"];

/// What the names of hidden columns begin with, which no client's text can bring into a statement.
const HIDDEN: &str = "\u{1e}order ";

/// Adds the order of the subquery to the calls.
pub(super) fn rewrite(select: &mut Select) {
    if !gathers(select) {
        return;
    }
    let may_add = !select.projection.iter().any(is_several);
    let [from] = select.from.as_mut_slice() else {
        return;
    };
    let TableFactor::Derived {
        subquery, alias, ..
    } = &mut from.relation
    else {
        return;
    };
    if !from.joins.is_empty() {
        return;
    }
    let mut none = Vec::new();
    let renamed = alias.as_mut().map_or(&mut none, |alias| &mut alias.columns);
    if let Some(order) = lifted(subquery, renamed, may_add) {
        give(select, order);
    }
}

/// The same where the subquery is one of WITH.
pub(super) fn rewrite_with(query: &mut Query) {
    let Some((name, renamed)) = read_of_with(query) else {
        return;
    };
    // What others read of it must not change.
    let mut readers = Readers { name: &name, n: 0 };
    let _ = Visit::visit(&*query, &mut readers);
    let is_only = readers.n == 1;
    let Query {
        with: Some(with),
        body,
        ..
    } = query
    else {
        return;
    };
    let SetExpr::Select(select) = body.as_mut() else {
        return;
    };
    let is_meant = |cte: &&mut Cte| folded(&cte.alias.name) == name;
    let Some(cte) = with.cte_tables.iter_mut().find(is_meant) else {
        return;
    };
    let may_add = is_only && renamed.is_empty() && !select.projection.iter().any(is_several);
    let order = match renamed.is_empty() {
        true => lifted(&mut cte.query, &mut cte.alias.columns, may_add),
        false => lifted(&mut cte.query, &mut renamed.clone(), false),
    };
    if let Some(order) = order {
        give(select, order);
    }
}

/// The only relation of a query that gathers, if it may be one of its WITH, and the names that its columns are given.
fn read_of_with(query: &Query) -> Option<(String, Vec<TableAliasColumnDef>)> {
    let with = query.with.as_ref()?;
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let [from] = select.from.as_slice() else {
        return None;
    };
    let TableFactor::Table {
        name,
        alias,
        args: None,
        ..
    } = &from.relation
    else {
        return None;
    };
    let [name] = <[String; 1]>::try_from(name_parts(name)).ok()?;
    let is_plain = from.joins.is_empty() && !with.recursive && gathers(select);
    let renamed = alias.as_ref().map(|alias| alias.columns.clone());
    is_plain.then(|| (name, renamed.unwrap_or_default()))
}

/// Counts where a relation is read.
struct Readers<'a> {
    name: &'a str,
    n: usize,
}

impl Visitor for Readers<'_> {
    type Break = ();

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<()> {
        if let TableFactor::Table { name, .. } = factor {
            self.n += usize::from(name_parts(name) == [self.name]);
        }
        ControlFlow::Continue(())
    }
}

/// Whether a call among the columns takes an order.
fn gathers(select: &Select) -> bool {
    let mut asking = Asking;
    let mut items = select.projection.iter();
    items.any(|item| Visit::visit(item, &mut asking).is_break())
}

/// Breaks off at such a call.
struct Asking;

impl Visitor for Asking {
    type Break = bool;

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<bool> {
        match expr {
            Expr::Function(function) if takes_order(function) => ControlFlow::Break(true),
            _ => ControlFlow::Continue(()),
        }
    }
}

fn give(select: &mut Select, order: Vec<OrderByExpr>) {
    let mut orderer = Orderer(order);
    for item in &mut select.projection {
        // It never breaks.
        let _ = item.visit(&mut orderer);
    }
}

/// The order of a query under the names that the query around knows. A key that it does not give becomes a column of it, if one
/// may be added, of which nobody else knows.
fn lifted(
    query: &mut Query,
    renamed: &mut Vec<TableAliasColumnDef>,
    may_add: bool,
) -> Option<Vec<OrderByExpr>> {
    let order = match query.order_by.as_ref().map(|order_by| &order_by.kind) {
        Some(OrderByKind::Expressions(order)) => Some(order.clone()),
        Some(OrderByKind::All(_)) => return None,
        None => None,
    };
    let SetExpr::Select(select) = query.body.as_mut() else {
        // A set operation is ordered by what it gives, under the names of its first part.
        let items = first_items(&query.body)?;
        let named = order?.into_iter();
        return named.map(|item| given(items, renamed, &item)).collect();
    };
    let order = match order {
        Some(order) => order,
        None => passed_on(select, may_add)?,
    };
    let may_add = may_add && !matches!(select.distinct, Some(Distinct::Distinct));
    let items = select.projection.as_slice();
    if !may_add
        && order
            .iter()
            .any(|item| given(items, renamed, item).is_none())
    {
        return None;
    }
    let mut named = Vec::with_capacity(order.len());
    for item in &order {
        named.push(match given(&select.projection, renamed, item) {
            Some(given) => given,
            None => added(select, renamed, item)?,
        });
    }
    Some(named)
}

/// The order of the query that a query without one reads, if it only passes columns of its rows on.
fn passed_on(select: &mut Select, may_add: bool) -> Option<Vec<OrderByExpr>> {
    let is_column = |item: &SelectItem| match item {
        SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => {
            matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_))
        }
        SelectItem::Wildcard(_) => true,
        _ => false,
    };
    let is_grouped =
        !matches!(&select.group_by, GroupByExpr::Expressions(keys, _) if keys.is_empty());
    let is_plain = select.projection.iter().all(is_column) && !is_grouped;
    let [from] = select.from.as_mut_slice() else {
        return None;
    };
    let TableFactor::Derived {
        subquery, alias, ..
    } = &mut from.relation
    else {
        return None;
    };
    if !is_plain || !from.joins.is_empty() {
        return None;
    }
    let has_star = select.projection.iter().any(is_several);
    let mut none = Vec::new();
    let renamed = alias.as_mut().map_or(&mut none, |alias| &mut alias.columns);
    lifted(subquery, renamed, may_add && !has_star)
}

/// The columns of the first part of a set operation.
fn first_items(body: &SetExpr) -> Option<&[SelectItem]> {
    match body {
        SetExpr::SetOperation { left, .. } => first_items(left),
        SetExpr::Query(query) => first_items(&query.body),
        SetExpr::Select(select) => Some(&select.projection),
        _ => None,
    }
}

/// What a query is ordered by under the name that the query around knows; `None`: it does not give it.
fn given(
    items: &[SelectItem],
    renamed: &[TableAliasColumnDef],
    item: &OrderByExpr,
) -> Option<OrderByExpr> {
    let is_wild = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    let has_all = renamed.is_empty() && items.iter().any(is_wild);
    let given = |idx: usize| match renamed.get(idx) {
        // Behind a wildcard nobody knows the place of a column.
        Some(column) => (!items[..idx].iter().any(is_several)).then_some(&column.name),
        None => column_name(items.get(idx)?),
    };
    let name = match &item.expr {
        Expr::Identifier(name) => name,
        Expr::CompoundIdentifier(names) => names.last()?,
        // A number counts the columns of wildcards, too.
        expr => {
            let idx = number(expr)?;
            let name = match renamed.get(idx) {
                Some(column) => &column.name,
                None => given(place(expr, items)?)?,
            };
            return Some(by(name, item));
        }
    };
    let is_it =
        |found: &SelectItem| column_name(found).is_some_and(|found| found.value == name.value);
    match items.iter().position(is_it) {
        Some(idx) => Some(by(given(idx)?, item)),
        None => has_all.then(|| by(name, item)),
    }
}

/// The output column that a number in ORDER BY means, among those that are written out.
fn place(expr: &Expr, items: &[SelectItem]) -> Option<usize> {
    let idx = number(expr)?;
    let is_written = !items.get(..=idx)?.iter().any(is_several);
    is_written.then_some(idx)
}

/// The place that a number in ORDER BY means.
fn number(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else {
        return None;
    };
    let Value::Number(digits, _) = &value.value else {
        return None;
    };
    digits.parse::<usize>().ok()?.checked_sub(1)
}

/// A hidden column of what a query is ordered by, and the order by its name.
fn added(
    select: &mut Select,
    renamed: &mut Vec<TableAliasColumnDef>,
    item: &OrderByExpr,
) -> Option<OrderByExpr> {
    let expr = match (&item.expr, place(&item.expr, &select.projection)) {
        (_, Some(idx)) => match &select.projection[idx] {
            SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } => expr.clone(),
            _ => return None,
        },
        (Expr::Value(_), None) => return None,
        (expr, None) => expr.clone(),
    };
    let alias = Ident::with_quote('"', format!("{HIDDEN}{}", select.projection.len()));
    if !renamed.is_empty() {
        let name = alias.clone();
        renamed.push(TableAliasColumnDef {
            name,
            data_type: None,
        });
    }
    let order = by(&alias, item);
    select
        .projection
        .push(SelectItem::ExprWithAlias { expr, alias });
    Some(order)
}

fn by(name: &Ident, item: &OrderByExpr) -> OrderByExpr {
    OrderByExpr {
        expr: Expr::Identifier(name.clone()),
        ..item.clone()
    }
}

fn is_several(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
    )
}

/// The name of a column that a query gives.
fn column_name(item: &SelectItem) -> Option<&Ident> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias),
        SelectItem::UnnamedExpr(Expr::Identifier(column)) => Some(column),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => names.last(),
        _ => None,
    }
}

/// Gives an order to the calls that have none.
struct Orderer(Vec<OrderByExpr>);

impl VisitorMut for Orderer {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Function(function) = expr
            && takes_order(function)
            && let FunctionArguments::List(list) = &mut function.args
        {
            let order = FunctionArgumentClause::OrderBy(self.0.clone());
            list.clauses.push(order);
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        // A subquery among the columns reads something else.
        ControlFlow::Break(())
    }
}

fn takes_order(function: &Function) -> bool {
    let is_order =
        |clause: &FunctionArgumentClause| matches!(clause, FunctionArgumentClause::OrderBy(_));
    let is_ordered = match &function.args {
        FunctionArguments::List(list) => {
            let is_distinct = list.duplicate_treatment == Some(DuplicateTreatment::Distinct);
            is_distinct || list.clauses.iter().any(is_order)
        }
        _ => true,
    };
    let name = function_name(function);
    !is_ordered
        && function.over.is_none()
        && function.within_group.is_empty()
        && name.is_some_and(|name| GATHERING.contains(&name.as_str()))
}
