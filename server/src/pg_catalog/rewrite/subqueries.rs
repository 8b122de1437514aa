//! Subqueries of catalog queries: arrays of them (`array_subqueries`), and lookups that refer to the row outside.
//!
//! In and out: a syntax tree. A correlated lookup `(SELECT x FROM t WHERE t.a = o.a)`
//! gives at most one row in the catalogs, whose keys are unique, so that `first_value(x)` is `x`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    Visit, VisitMut, Visitor, VisitorMut, visit_expressions_mut,
};

use super::{array_subqueries, catalog_table, parsed};

/// Rewrites the subqueries.
pub(super) fn rewrite(statement: &mut Statement) {
    // The visitor never breaks off.
    let _ = statement.visit(&mut Rewriter);
}

struct Rewriter;

impl VisitorMut for Rewriter {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let replacement = match &*expr {
            Expr::Function(function) => array_subqueries::array_of(function),
            Expr::Subquery(query) => match base_of_domain(query) {
                Some(base) => lookup(&base).or_else(|| Some(Expr::Subquery(Box::new(base)))),
                None => lookup(query),
            },
            _ => None,
        };
        if let Some(replacement) = replacement {
            *expr = replacement;
        }
        ControlFlow::Continue(())
    }
}

pub(super) fn single_select(query: &Query) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) if query.with.is_none() => Some(select),
        _ => None,
    }
}

pub(super) fn single_item(select: &Select) -> Option<&Expr> {
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => Some(expr),
        _ => None,
    }
}

/// Replaces a column by an expression.
pub(super) fn substitute(body: &mut Expr, column: &str, replacement: &Expr) {
    // The closure never breaks off.
    let _ = visit_expressions_mut(body, |expr| {
        if matches!(&*expr, Expr::Identifier(name) if name.value == column) {
            *expr = replacement.clone();
        }
        ControlFlow::<()>::Continue(())
    });
}

/// `(WITH RECURSIVE b AS (SELECT t.typbasetype AS x, … UNION ALL …) SELECT x FROM b …)`, which walks from a domain to the
/// type at its base: `pg_basetype` goes all of the way.
fn base_of_domain(query: &Query) -> Option<Query> {
    let with = query.with.as_ref().filter(|with| with.recursive)?;
    let [walk] = with.cte_tables.as_slice() else {
        return None;
    };
    let SetExpr::SetOperation { left, .. } = walk.query.body.as_ref() else {
        return None;
    };
    let SetExpr::Select(seed) = left.as_ref() else {
        return None;
    };
    let SetExpr::Select(outer) = query.body.as_ref() else {
        return None;
    };
    let wanted = single_item(outer)?.to_string();
    let names = walk
        .alias
        .columns
        .iter()
        .map(|column| column.name.value.as_str());
    let names: Vec<&str> = names.collect();
    let named = |(idx, item): (usize, &SelectItem)| match item {
        SelectItem::ExprWithAlias { expr, alias } => {
            let name = names.get(idx).copied().unwrap_or(alias.value.as_str());
            (name == wanted).then(|| expr.clone())
        }
        SelectItem::UnnamedExpr(expr) => {
            (names.get(idx).copied() == Some(wanted.as_str())).then(|| expr.clone())
        }
        _ => None,
    };
    let base = seed.projection.iter().enumerate().find_map(named)?;
    let is_base = match &base {
        Expr::Identifier(name) => name.value == "typbasetype",
        Expr::CompoundIdentifier(names) => names.last()?.value == "typbasetype",
        _ => false,
    };
    if !is_base || catalog_aliases(seed).is_none() {
        return None;
    }
    let mut seed = seed.clone();
    let base = parsed(&format!("pg_basetype({base})"))?;
    seed.projection = vec![SelectItem::UnnamedExpr(base)];
    let mut first = walk.query.as_ref().clone();
    *first.body = SetExpr::Select(seed);
    Some(first)
}

/// A correlated lookup in the catalogs, as an aggregate; `None` for any other subquery.
fn lookup(query: &Query) -> Option<Expr> {
    let select = single_select(query)?;
    let item = single_item(select)?;
    let inner = catalog_aliases(select)?;
    let is_aggregate = matches!(item, Expr::Function(function)
        if ["array_agg", "string_agg", "count", "max", "min", "first_value"]
            .contains(&function.name.to_string().to_lowercase().as_str()));
    if is_aggregate || !refers_outside(select, &inner) {
        return None;
    }
    let mut query = array_subqueries::first_value(query, select, item)?;
    let mut outside = None;
    if let SetExpr::Select(select) = query.body.as_mut()
        && let Some(selection) = select.selection.take()
    {
        let (about_outside, rest) = conditions_outside(selection, &inner);
        outside = about_outside;
        select.selection = rest;
        if let Some(selection) = &mut select.selection {
            refer_inside(selection, &inner);
        }
    }
    let subquery = Expr::Subquery(Box::new(query));
    match outside {
        None => Some(subquery),
        Some(condition) => value_if(condition, subquery),
    }
}

/// `CASE WHEN condition THEN value END`.
fn value_if(condition: Expr, value: Expr) -> Option<Expr> {
    let mut case = parsed("CASE WHEN NULL THEN NULL END")?;
    if let Expr::Case { conditions, .. } = &mut case {
        *conditions = vec![CaseWhen {
            condition,
            result: value,
        }];
    }
    Some(case)
}

/// Conditions about the row outside alone, which say whether there is anything to look up; and the rest.
fn conditions_outside(selection: Expr, inner: &BTreeSet<String>) -> (Option<Expr>, Option<Expr>) {
    let mut conditions = Vec::new();
    split_conjunction(selection, &mut conditions);
    let (outside, rest) = conditions
        .into_iter()
        .partition(|condition| is_about_outside(condition, inner));
    (conjunction(outside), conjunction(rest))
}

/// Whether an expression has columns, all of the row outside.
fn is_about_outside(expr: &Expr, inner: &BTreeSet<String>) -> bool {
    struct Finder<'a> {
        inner: &'a BTreeSet<String>,
        n_outside: usize,
    }
    impl Visitor for Finder<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            match expr {
                expr if is_outer(expr, self.inner) => self.n_outside += 1,
                Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::Subquery(_) => {
                    return ControlFlow::Break(());
                }
                _ => {}
            }
            ControlFlow::Continue(())
        }
    }
    let mut finder = Finder {
        inner,
        n_outside: 0,
    };
    expr.visit(&mut finder).is_continue() && finder.n_outside > 0
}

fn conjunction(conditions: Vec<Expr>) -> Option<Expr> {
    conditions.into_iter().reduce(|left, right| Expr::BinaryOp {
        left: Box::new(left),
        op: BinaryOperator::And,
        right: Box::new(right),
    })
}

/// The names of a SELECT's tables, if all are catalog tables.
fn catalog_aliases(select: &Select) -> Option<BTreeSet<String>> {
    let relations = select.from.iter().flat_map(|from| {
        std::iter::once(&from.relation).chain(from.joins.iter().map(|join| &join.relation))
    });
    let mut aliases = BTreeSet::new();
    for relation in relations {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = relation
        else {
            return None;
        };
        let table = catalog_table(name)?;
        aliases.insert(
            alias
                .as_ref()
                .map_or(table, |alias| alias.name.value.clone()),
        );
    }
    (!aliases.is_empty()).then_some(aliases)
}

fn is_outer(expr: &Expr, inner: &BTreeSet<String>) -> bool {
    matches!(expr, Expr::CompoundIdentifier(names)
        if names.len() == 2 && !inner.contains(&names[0].value))
}

fn refers_outside(select: &Select, inner: &BTreeSet<String>) -> bool {
    struct Finder<'a>(&'a BTreeSet<String>);
    impl Visitor for Finder<'_> {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            if is_outer(expr, self.0) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        }
    }
    select.visit(&mut Finder(inner)).is_break()
}

/// Where `inner = outer` holds, other conditions may say `inner` for `outer`: then only equalities
/// refer outside, which the planner can turn into a join.
fn refer_inside(selection: &mut Expr, inner: &BTreeSet<String>) {
    let mut conditions = Vec::new();
    split_conjunction(selection.clone(), &mut conditions);
    let equal = |condition: &Expr| match condition {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::Eq,
            right,
        } => match (is_outer(left, inner), is_outer(right, inner)) {
            (true, false) => Some((left.as_ref().clone(), right.as_ref().clone())),
            (false, true) => Some((right.as_ref().clone(), left.as_ref().clone())),
            _ => None,
        },
        _ => None,
    };
    let equalities: Vec<(Expr, Expr)> = conditions.iter().filter_map(equal).collect();
    for condition in conditions
        .iter_mut()
        .filter(|condition| equal(condition).is_none())
    {
        // The closure never breaks off.
        let _ = visit_expressions_mut(condition, |expr| {
            if let Some((_, inside)) = equalities.iter().find(|(outside, _)| outside == &*expr) {
                *expr = inside.clone();
            }
            ControlFlow::<()>::Continue(())
        });
    }
    let joined = conjunction(conditions);
    if let Some(joined) = joined {
        *selection = joined;
    }
}

fn split_conjunction(expr: Expr, conditions: &mut Vec<Expr>) {
    match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And,
            right,
        } => {
            split_conjunction(*left, conditions);
            split_conjunction(*right, conditions);
        }
        expr => conditions.push(expr),
    }
}
