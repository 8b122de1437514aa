//! Subqueries of catalog queries: arrays of them, and lookups that refer to the row outside.
//!
//! In and out: a syntax tree. `ARRAY(SELECT x …)` is `(SELECT array_agg(x) …)`, or a transformation of
//! the array when it selects from `unnest`. A correlated lookup `(SELECT x FROM t WHERE t.a = o.a)`
//! gives at most one row in the catalogs, whose keys are unique, so that `first_value(x)` is `x`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use auspex_planner::column_name_of;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, Statement, TableFactor,
    Value, Visit, VisitMut, Visitor, VisitorMut, visit_expressions, visit_expressions_mut,
};

use super::super::functions::looks_up;
use super::empty::is_reduced;
use super::{catalog_table, is_of_catalog, parsed, parsed_with_lambdas};

/// An empty array beside one that is no query. The planner knows by the quotes that the column is called `array`.
const EMPTY: &str = "\"make_array\"()";
/// The same of texts.
const NO_TEXTS: &str = "CAST(\"make_array\"() AS TEXT[])";

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
            Expr::Function(function) => array_query(function).and_then(array_of),
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

/// The query of `ARRAY(query)`.
fn array_query(function: &Function) -> Option<&Query> {
    let [part] = function.name.0.as_slice() else {
        return None;
    };
    let FunctionArguments::Subquery(query) = &function.args else {
        return None;
    };
    part.as_ident()?
        .value
        .eq_ignore_ascii_case("array")
        .then_some(query)
}

fn array_of(query: &Query) -> Option<Expr> {
    if is_reduced(query) {
        return parsed(NO_TEXTS);
    }
    let Some(select) = single_select(query) else {
        return gathered(query);
    };
    let item = single_item(select)?;
    let is_limited = query.limit_clause.is_some() || query.fetch.is_some();
    if let (Some(array), Some(order)) = (whole_array(select, item), order_of_items(query, item))
        && !is_limited
    {
        let items = match select.distinct {
            Some(Distinct::Distinct) => format!("array_distinct({array})"),
            _ => array.to_string(),
        };
        return parsed(&format!("coalesce({}, {EMPTY})", in_order(items, order)));
    }
    let unnested = unnested(select, item).filter(|_| !is_limited && select.distinct.is_none());
    if let (Some((array, element, body)), Some(order)) = (unnested, order_of_items(query, item)) {
        let items = format!("array_transform({array}, {element} -> {body})");
        let items = in_order(items, order);
        return parsed_with_lambdas(&format!("coalesce({items}, {NO_TEXTS})"));
    }
    // What waits, and what gives rows, is computed of rows, and neither within an aggregate nor of the elements of an array.
    if is_limited || waits(item) || gives_rows(item) {
        return gathered(query);
    }
    let distinct = if select.distinct.is_some() {
        "DISTINCT "
    } else {
        ""
    };
    let order = order_within(query, item);
    let aggregate = parsed(&format!("array_agg({distinct}{item}{order})"))?;
    let rows = aggregated(query, aggregate);
    // Of no rows there is an empty array.
    parsed(&format!("coalesce(({rows}), make_array())"))
}

/// Whether an expression calls a function that looks something up.
fn waits(expr: &Expr) -> bool {
    let found = visit_expressions(expr, |expr| match expr {
        Expr::Function(function) => {
            let name = function.name.0.last().and_then(|part| part.as_ident());
            match name.is_some_and(|name| looks_up(&name.value.to_lowercase())) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        }
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// In which order the items themselves come, if in any; `None`: in one of something else.
fn order_of_items(query: &Query, item: &Expr) -> Option<Option<(&'static str, &'static str)>> {
    let Some(order) = &query.order_by else {
        return Some(None);
    };
    let OrderByKind::Expressions(keys) = &order.kind else {
        return None;
    };
    let [key] = keys.as_slice() else {
        return None;
    };
    let is_position =
        matches!(&key.expr, Expr::Value(value) if matches!(value.value, Value::Number(..)));
    if !is_position && key.expr != *item && !begins_with(item, &key.expr) {
        return None;
    }
    let is_descending = key.options.asc == Some(false);
    let direction = if is_descending { "DESC" } else { "ASC" };
    let nulls = match key.options.nulls_first.unwrap_or(is_descending) {
        true => "NULLS FIRST",
        false => "NULLS LAST",
    };
    Some(Some((direction, nulls)))
}

/// Whether a text begins with a name, so that texts of several names are in the order of the names.
fn begins_with(text: &Expr, name: &Expr) -> bool {
    match text {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::StringConcat,
            ..
        } => begins_with(left, name),
        Expr::Function(function) => {
            let is_quoting = is_of_catalog(&function.name, "quote_ident");
            let FunctionArguments::List(list) = &function.args else {
                return false;
            };
            let quoted = list.args.first().and_then(plain_argument);
            is_quoting && quoted.is_some_and(|quoted| quoted == *name)
        }
        _ => false,
    }
}

/// An array in the order of its items.
fn in_order(items: String, order: Option<(&str, &str)>) -> String {
    match order {
        None => items,
        Some((direction, nulls)) => format!("array_sort({items}, '{direction}', '{nulls}')"),
    }
}

/// The array of `SELECT unnest(array)`, whose rows are its elements. One that is written out may have several dimensions,
/// and depends on no row outside.
fn whole_array(select: &Select, item: &Expr) -> Option<Expr> {
    let is_plain = select.from.is_empty()
        && select.selection.is_none()
        && !matches!(select.distinct, Some(Distinct::On(_)));
    let Expr::Function(function) = item else {
        return None;
    };
    if !is_plain || !function.name.to_string().eq_ignore_ascii_case("unnest") {
        return None;
    }
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [argument] => plain_argument(argument).filter(|array| !is_written_out(array)),
        _ => None,
    }
}

fn is_written_out(array: &Expr) -> bool {
    match array {
        Expr::Array(_) | Expr::Value(_) => true,
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_written_out(expr),
        _ => false,
    }
}

/// Whether an expression gives several rows: `ARRAY(SELECT unnest(x))`.
fn gives_rows(expr: &Expr) -> bool {
    let Expr::Function(function) = expr else {
        return false;
    };
    let name = function.name.to_string().to_lowercase();
    let rows = ["unnest", "generate_series", "generate_subscripts"];
    rows.contains(&name.as_str()) || name.starts_with("regexp_") && name.ends_with("_to_table")
}

/// The rows of any query of one column.
fn gathered(query: &Query) -> Option<Expr> {
    parsed(&format!(
        "coalesce((SELECT array_agg(array_rows.x) FROM ({query}) AS array_rows(x)), make_array())"
    ))
}

fn single_select(query: &Query) -> Option<&Select> {
    match query.body.as_ref() {
        SetExpr::Select(select) if query.with.is_none() => Some(select),
        _ => None,
    }
}

fn single_item(select: &Select) -> Option<&Expr> {
    match select.projection.as_slice() {
        [SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }] => Some(expr),
        _ => None,
    }
}

/// The query's order, as an aggregate takes it; a position means the one selected expression.
fn order_within(query: &Query, item: &Expr) -> String {
    let Some(order) = &query.order_by else {
        return String::new();
    };
    let OrderByKind::Expressions(exprs) = &order.kind else {
        return String::new();
    };
    let keys: Vec<String> = exprs
        .iter()
        .map(|key| {
            let is_position =
                matches!(&key.expr, Expr::Value(value) if matches!(value.value, Value::Number(..)));
            match is_position {
                true => OrderByExpr {
                    expr: item.clone(),
                    ..key.clone()
                }
                .to_string(),
                false => key.to_string(),
            }
        })
        .collect();
    format!(" ORDER BY {}", keys.join(", "))
}

/// The query with an aggregate in place of its one column; its order and limit lie in the aggregate.
fn aggregated(query: &Query, aggregate: Expr) -> Query {
    let mut query = query.clone();
    query.order_by = None;
    query.limit_clause = None;
    query.fetch = None;
    if let SetExpr::Select(select) = query.body.as_mut() {
        let alias = Ident::with_quote('"', column_name_of(&aggregate));
        select.projection = vec![SelectItem::ExprWithAlias {
            expr: aggregate,
            alias,
        }];
        select.distinct = None;
    }
    query
}

/// For a SELECT over the elements of an array: the array, the element's name, and what is selected.
fn unnested(select: &Select, item: &Expr) -> Option<(String, String, String)> {
    let [from] = select.from.as_slice() else {
        return None;
    };
    if !from.joins.is_empty() || select.selection.is_some() {
        return None;
    }
    let (name, argument, alias) = match &from.relation {
        TableFactor::UNNEST {
            array_exprs, alias, ..
        } => ("unnest".to_owned(), array_exprs.first()?.clone(), alias),
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            ..
        } => (name.to_string(), plain_argument(args.args.first()?)?, alias),
        TableFactor::Function {
            name, args, alias, ..
        } => (name.to_string(), plain_argument(args.first()?)?, alias),
        _ => return None,
    };
    let element = alias
        .as_ref()
        .map_or("element", |alias| alias.name.value.as_str())
        .to_owned();
    let mut body = item.clone();
    let name = name.to_lowercase();
    match name.strip_prefix("pg_catalog.").unwrap_or(&name) {
        "unnest" => {}
        // Options are texts of the form name=value.
        "pg_options_to_table" => {
            let name = parsed(&format!("split_part({element}, '=', 1)"))?;
            let value = parsed(&format!("substr({element}, strpos({element}, '=') + 1)"))?;
            substitute(&mut body, "option_name", &name);
            substitute(&mut body, "option_value", &value);
        }
        _ => return None,
    }
    Some((argument.to_string(), element, body.to_string()))
}

fn plain_argument(argument: &FunctionArg) -> Option<Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    }
}

/// Replaces a column by an expression.
fn substitute(body: &mut Expr, column: &str, replacement: &Expr) {
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
    let aggregate = parsed(&format!("first_value({item}{})", order_within(query, item)))?;
    let mut query = aggregated(query, aggregate);
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
        Some(condition) => parsed(&format!("CASE WHEN {condition} THEN {subquery} END")),
    }
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
