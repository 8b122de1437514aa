//! Aggregates that gather values take them in the order of the subquery that they read, as PostgreSQL's do.
//!
//! In: a SELECT over one ordered subquery; out: the same with that order in each call, since a plan keeps no order of a
//! subquery by itself. An order by what the subquery does not give is left alone.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArgumentClause, FunctionArguments, OrderByExpr, OrderByKind, Query,
    Select, SelectItem, SetExpr, TableFactor, VisitMut as _, VisitorMut,
};

use super::function_name;

/// The aggregates whose result depends on the order.
const GATHERING: [&str; 2] = ["array_agg", "string_agg"];

/// Adds the order of the subquery to the calls.
pub(super) fn rewrite(select: &mut Select) {
    let [from] = select.from.as_slice() else {
        return;
    };
    let TableFactor::Derived { subquery, .. } = &from.relation else {
        return;
    };
    if !from.joins.is_empty() {
        return;
    }
    let Some(order) = order_of(subquery) else {
        return;
    };
    let mut orderer = Orderer(order);
    for item in &mut select.projection {
        // It never breaks.
        let _ = item.visit(&mut orderer);
    }
}

/// The order of a query by columns that it gives.
fn order_of(query: &Query) -> Option<Vec<OrderByExpr>> {
    let OrderByKind::Expressions(order) = &query.order_by.as_ref()?.kind else {
        return None;
    };
    let SetExpr::Select(select) = query.body.as_ref() else {
        return None;
    };
    let gives = |name: &str| {
        select.projection.iter().any(|item| match item {
            SelectItem::Wildcard(_) => true,
            SelectItem::ExprWithAlias { alias, .. } => alias.value == name,
            SelectItem::UnnamedExpr(Expr::Identifier(column)) => column.value == name,
            SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
                names.last().is_some_and(|column| column.value == name)
            }
            _ => false,
        })
    };
    let outside = |item: &OrderByExpr| {
        let name = match &item.expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(names) => names.last()?,
            _ => return None,
        };
        gives(&name.value).then(|| OrderByExpr {
            expr: Expr::Identifier(name.clone()),
            ..item.clone()
        })
    };
    order.iter().map(outside).collect()
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
    let is_ordered = match &function.args {
        FunctionArguments::List(list) => list
            .clauses
            .iter()
            .any(|clause| matches!(clause, FunctionArgumentClause::OrderBy(_))),
        _ => true,
    };
    let name = function_name(function);
    !is_ordered
        && function.over.is_none()
        && function.within_group.is_empty()
        && name.is_some_and(|name| GATHERING.contains(&name.as_str()))
}
