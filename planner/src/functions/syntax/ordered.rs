//! Aggregates that gather values take them in the order of the subquery that they read, as PostgreSQL's do.
//!
//! In: a SELECT over one ordered subquery, also of WITH; out: the same with that order in each call, since aggregates keep no
//! order of a subquery by themselves. An order by what the subquery does not give is left alone, and so are calls with
//! DISTINCT, which sort.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Cte, DuplicateTreatment, Expr, Function, FunctionArgumentClause, FunctionArguments, Ident,
    OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TableAliasColumnDef, TableFactor,
    Value, VisitMut as _, VisitorMut,
};

use super::function_name;
use crate::commands::{folded, name_parts};

/// The aggregates whose result depends on the order.
const GATHERING: [&str; 2] = ["array_agg", "string_agg"];

/// Adds the order of the subquery to the calls.
pub(super) fn rewrite(select: &mut Select) {
    let [from] = select.from.as_slice() else {
        return;
    };
    let TableFactor::Derived {
        subquery, alias, ..
    } = &from.relation
    else {
        return;
    };
    if !from.joins.is_empty() {
        return;
    }
    let renamed = alias.as_ref().map_or(&[][..], |alias| &alias.columns);
    if let Some(order) = order_of(subquery, renamed) {
        give(select, order);
    }
}

/// The same where the subquery is one of WITH.
pub(super) fn rewrite_with(query: &mut Query) {
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
    let [from] = select.from.as_slice() else {
        return;
    };
    let TableFactor::Table {
        name,
        alias,
        args: None,
        ..
    } = &from.relation
    else {
        return;
    };
    if !from.joins.is_empty() || with.recursive {
        return;
    }
    let is_meant = |cte: &&Cte| name_parts(name) == [folded(&cte.alias.name)];
    let Some(cte) = with.cte_tables.iter().find(is_meant) else {
        return;
    };
    let given = alias.as_ref().map(|alias| &alias.columns);
    let renamed = given.filter(|columns| !columns.is_empty());
    if let Some(order) = order_of(&cte.query, renamed.unwrap_or(&cte.alias.columns)) {
        give(select, order);
    }
}

fn give(select: &mut Select, order: Vec<OrderByExpr>) {
    let mut orderer = Orderer(order);
    for item in &mut select.projection {
        // It never breaks.
        let _ = item.visit(&mut orderer);
    }
}

/// The order of a query by columns that it gives, under the names that the query around knows.
fn order_of(query: &Query, renamed: &[TableAliasColumnDef]) -> Option<Vec<OrderByExpr>> {
    let OrderByKind::Expressions(order) = &query.order_by.as_ref()?.kind else {
        return None;
    };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let names: Vec<Option<&Ident>> = select.projection.iter().map(column_name).collect();
    let is_wild = |item: &SelectItem| matches!(item, SelectItem::Wildcard(_));
    let has_all = renamed.is_empty() && select.projection.iter().any(is_wild);
    let given = |idx: usize| match renamed.get(idx) {
        // Behind a wildcard nobody knows the place of a column.
        Some(column) => (!select.projection[..idx].iter().any(is_several)).then_some(&column.name),
        None => *names.get(idx)?,
    };
    let outside = |item: &OrderByExpr| {
        let name = match &item.expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(names) => names.last()?,
            Expr::Value(value) => match &value.value {
                Value::Number(digits, _) => {
                    let idx = digits.parse::<usize>().ok()?.checked_sub(1)?;
                    select
                        .projection
                        .get(idx)
                        .filter(|item| !is_several(item))?;
                    return Some(by(given(idx)?, item));
                }
                _ => return None,
            },
            _ => return None,
        };
        let is_it = |found: &Option<&Ident>| found.is_some_and(|found| found.value == name.value);
        match names.iter().position(is_it) {
            Some(idx) => Some(by(given(idx)?, item)),
            None => has_all.then(|| by(name, item)),
        }
    };
    order.iter().map(outside).collect()
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
