//! Arrays of subqueries: `ARRAY(SELECT x …)`.
//!
//! In: the query; out: `(SELECT array_agg(x) …)` where the query has a row for each row that it reads, a transformation of the
//! array where it selects from `unnest`, and for any other query an aggregate of its rows. What the client wrote moves as the
//! tree that it is: its text would be read in another dialect.

use std::ops::ControlFlow;

use auspex_planner::{column_name_of, has_aggregate};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Distinct, DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArgumentClause, FunctionArguments, GroupByExpr, Ident, OneOrManyWithParens,
    OrderByExpr, OrderByKind, Query, Select, SelectItem, SetExpr, TableFactor, Value,
    visit_expressions,
};

use super::super::functions::looks_up;
use super::empty::is_reduced;
use super::postgres::{arguments_mut, call_of};
use super::subqueries::{single_item, single_select, substitute};
use super::{is_of_catalog, parsed, parsed_with_lambdas};

/// An empty array beside one that is no query. The planner knows by the quotes that the column is called `array`.
const EMPTY: &str = "\"make_array\"()";
/// The same of texts.
const NO_TEXTS: &str = "CAST(\"make_array\"() AS TEXT[])";
/// The same beside a query.
const NO_ROWS: &str = "make_array()";

/// The direction of an order, and where its NULLs are.
type Direction = (&'static str, &'static str);

/// What `ARRAY(query)` stands for.
pub(super) fn array_of(function: &Function) -> Option<Expr> {
    let query = array_query(function)?;
    if is_reduced(query) {
        return parsed(NO_TEXTS);
    }
    let Some(select) = single_select(query) else {
        return gathered(query);
    };
    let item = match select.projection.as_slice() {
        [SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)] => return gathered(query),
        // The planner refuses a value of several columns.
        [_, _, ..] => return Some(Expr::Subquery(Box::new(query.clone()))),
        _ => single_item(select)?,
    };
    let order = ordered(query, select, item);
    if let Some(array) = of_elements(query, select, item, &order) {
        return Some(array);
    }
    if !is_rowwise(query, select, item, &order) {
        return gathered(query);
    }
    let is_distinct = select.distinct.is_some();
    let aggregate = aggregate_of("array_agg", item.clone(), order, is_distinct)?;
    let rows = Expr::Subquery(Box::new(aggregated(query, aggregate)));
    or_empty(rows, NO_ROWS)
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

/// The array of a query over the elements of another one.
fn of_elements(query: &Query, select: &Select, item: &Expr, order: &[OrderByExpr]) -> Option<Expr> {
    let order = direction_of(order, item)?;
    if is_limited(query) {
        return None;
    }
    if let Some(mut items) = whole_array(select, item) {
        if select.distinct.is_some() {
            items = call_of("array_distinct", items)?;
        }
        return or_empty(in_order(items, order)?, EMPTY);
    }
    if select.distinct.is_some() {
        return None;
    }
    let (items, empty) = unnested(select, item)?;
    or_empty(in_order(items, order)?, empty)
}

fn is_limited(query: &Query) -> bool {
    query.limit_clause.is_some() || query.fetch.is_some()
}

/// Whether a query has a row for each row that it reads, in an order that an aggregate takes. What waits, and what gives rows,
/// is computed of rows, and neither within an aggregate nor of the elements of an array.
fn is_rowwise(query: &Query, select: &Select, item: &Expr, order: &[OrderByExpr]) -> bool {
    let is_query = |expr: &Expr| {
        let is_test = matches!(expr, Expr::Exists { .. } | Expr::InSubquery { .. });
        is_test || matches!(expr, Expr::Subquery(_))
    };
    let is_chosen = match &select.distinct {
        Some(Distinct::On(_)) => true,
        // An aggregate does not find such a value again among its keys.
        Some(_) => !order.is_empty() && is_within(item, is_query),
        None => false,
    };
    let computes_rows = is_grouped(select)
        || is_chosen
        || is_limited(query)
        || select.having.is_some()
        || select.qualify.is_some();
    let is_apart = |expr: &Expr| {
        let is_one = |name: &str| looks_up(name) || gives_rows(name);
        matches!(expr, Expr::Function(function) if is_called(function, is_one))
    };
    !computes_rows
        && !is_within(item, is_apart)
        && !has_aggregate(item)
        && !order.iter().any(|key| has_aggregate(&key.expr))
}

fn is_grouped(select: &Select) -> bool {
    match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(keys, _) => !keys.is_empty(),
    }
}

fn is_within(expr: &Expr, is_one: impl Fn(&Expr) -> bool) -> bool {
    let found = visit_expressions(expr, |expr| match is_one(expr) {
        true => ControlFlow::Break(()),
        false => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn is_called(function: &Function, is_one: impl Fn(&str) -> bool) -> bool {
    let name = function.name.0.last().and_then(|part| part.as_ident());
    name.is_some_and(|name| is_one(&name.value.to_lowercase()))
}

/// Whether a function gives several rows: `ARRAY(SELECT unnest(x))`.
fn gives_rows(name: &str) -> bool {
    let rows = ["unnest", "generate_series", "generate_subscripts"];
    rows.contains(&name) || name.starts_with("regexp_") && name.ends_with("_to_table")
}

/// The query's order, as an aggregate takes it; a position and the output's name mean the one selected expression.
fn ordered(query: &Query, select: &Select, item: &Expr) -> Vec<OrderByExpr> {
    let output = match select.projection.as_slice() {
        [SelectItem::ExprWithAlias { alias, .. }] => folded(alias),
        _ => column_name_of(item),
    };
    let is_item = |key: &Expr| match key {
        Expr::Value(value) => matches!(value.value, Value::Number(..)),
        Expr::Identifier(name) => folded(name) == output,
        _ => false,
    };
    let mut keys = keys_of(query).to_vec();
    for key in keys.iter_mut().filter(|key| is_item(&key.expr)) {
        key.expr = item.clone();
    }
    keys
}

fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

fn keys_of(query: &Query) -> &[OrderByExpr] {
    match query.order_by.as_ref().map(|order| &order.kind) {
        Some(OrderByKind::Expressions(keys)) => keys,
        _ => &[],
    }
}

/// In which order the items themselves come, if in any; `None`: in one of something else.
fn direction_of(order: &[OrderByExpr], item: &Expr) -> Option<Option<Direction>> {
    let [key] = order else {
        return order.is_empty().then_some(None);
    };
    if key.expr != *item && !begins_with(item, &key.expr) {
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
            is_quoting && quoted == Some(name)
        }
        _ => false,
    }
}

/// An array in the order of its items.
fn in_order(items: Expr, order: Option<Direction>) -> Option<Expr> {
    let Some((direction, nulls)) = order else {
        return Some(items);
    };
    let call = parsed(&format!("array_sort(NULL, '{direction}', '{nulls}')"))?;
    with_arguments(call, [items])
}

/// An array of rows: of no rows there is an empty one.
fn or_empty(array: Expr, empty: &str) -> Option<Expr> {
    with_arguments(parsed(&format!("coalesce(NULL, {empty})"))?, [array])
}

/// A call with others as its first arguments.
fn with_arguments<const N: usize>(mut call: Expr, arguments: [Expr; N]) -> Option<Expr> {
    let Expr::Function(function) = &mut call else {
        return None;
    };
    let places = arguments_mut(function).zip(arguments);
    places.for_each(|(place, argument)| *place = argument);
    Some(call)
}

/// The array of `SELECT unnest(array)`, whose rows are its elements. One that is written out may have several dimensions,
/// and depends on no row outside.
fn whole_array(select: &Select, item: &Expr) -> Option<Expr> {
    let is_plain = select.from.is_empty()
        && select.selection.is_none()
        && select.having.is_none()
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
        [argument] => plain_argument(argument)
            .filter(|array| !is_written_out(array))
            .cloned(),
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

/// The rows of any query of one column.
fn gathered(query: &Query) -> Option<Expr> {
    let text = "(SELECT array_agg(array_rows.x) FROM (SELECT 1) AS array_rows(x))";
    let mut rows = parsed(text)?;
    let Expr::Subquery(outer) = &mut rows else {
        return None;
    };
    let SetExpr::Select(select) = outer.body.as_mut() else {
        return None;
    };
    let TableFactor::Derived { subquery, .. } = &mut select.from.first_mut()?.relation else {
        return None;
    };
    **subquery = query.clone();
    or_empty(rows, NO_ROWS)
}

/// A call of an aggregate of ordered rows.
pub(super) fn aggregate_of(
    name: &str,
    item: Expr,
    order: Vec<OrderByExpr>,
    is_distinct: bool,
) -> Option<Expr> {
    let mut aggregate = call_of(name, item)?;
    if let Expr::Function(function) = &mut aggregate
        && let FunctionArguments::List(list) = &mut function.args
    {
        list.duplicate_treatment = is_distinct.then_some(DuplicateTreatment::Distinct);
        if !order.is_empty() {
            list.clauses = vec![FunctionArgumentClause::OrderBy(order)];
        }
    }
    Some(aggregate)
}

/// The first value of a query's rows, of which there may be one alone.
pub(super) fn first_value(query: &Query, select: &Select, item: &Expr) -> Option<Query> {
    let order = ordered(query, select, item);
    let aggregate = aggregate_of("first_value", item.clone(), order, false)?;
    Some(aggregated(query, aggregate))
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

/// The array of what is selected of the elements of another one, and an empty one like it.
fn unnested(select: &Select, item: &Expr) -> Option<(Expr, &'static str)> {
    let [from] = select.from.as_slice() else {
        return None;
    };
    if !from.joins.is_empty()
        || select.selection.is_some()
        || select.having.is_some()
        || is_grouped(select)
        || has_aggregate(item)
    {
        return None;
    }
    let (name, array, alias) = match &from.relation {
        TableFactor::UNNEST {
            array_exprs,
            alias,
            with_offset: false,
            with_ordinality: false,
            ..
        } => ("unnest".to_owned(), array_exprs.first()?, alias),
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality: false,
            ..
        } => (name.to_string(), plain_argument(args.args.first()?)?, alias),
        TableFactor::Function {
            name,
            args,
            alias,
            with_ordinality: false,
            ..
        } => (name.to_string(), plain_argument(args.first()?)?, alias),
        _ => return None,
    };
    // Elements that are named as a column may also be called by the relation's name.
    if alias
        .as_ref()
        .is_some_and(|alias| !alias.columns.is_empty())
    {
        return None;
    }
    let element = alias
        .as_ref()
        .map_or_else(|| Ident::new("element"), |alias| alias.name.clone());
    let mut body = item.clone();
    let name = name.to_lowercase();
    let empty = match name.strip_prefix("pg_catalog.").unwrap_or(&name) {
        "unnest" => EMPTY,
        // Options are texts of the form name=value.
        "pg_options_to_table" => {
            let name = parsed(&format!("split_part({element}, '=', 1)"))?;
            let value = parsed(&format!("substr({element}, strpos({element}, '=') + 1)"))?;
            substitute(&mut body, "option_name", &name);
            substitute(&mut body, "option_value", &value);
            NO_TEXTS
        }
        _ => return None,
    };
    Some((transformed(array.clone(), element, body)?, empty))
}

/// `array_transform(array, element -> body)`.
fn transformed(array: Expr, element: Ident, body: Expr) -> Option<Expr> {
    let mut call = parsed_with_lambdas("array_transform(NULL, element -> NULL)")?;
    let Expr::Function(function) = &mut call else {
        return None;
    };
    {
        let mut arguments = arguments_mut(function);
        *arguments.next()? = array;
        let Expr::Lambda(lambda) = arguments.next()? else {
            return None;
        };
        if let OneOrManyWithParens::One(parameter) = &mut lambda.params {
            parameter.name = element;
        }
        *lambda.body = body;
    }
    Some(call)
}

fn plain_argument(argument: &FunctionArg) -> Option<&Expr> {
    match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    }
}
