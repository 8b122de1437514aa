//! What PostgreSQL writes in its own way, spelt as the planner knows it.
//!
//! In and out: a statement's syntax tree. Every step keeps the meaning; what cannot be kept is an error
//! that names it. `expressions` has operators and literals, `calls` those of functions, `array_literals` texts of arrays, `googlesql` the forms of BigQuery, `relations` what stands
//! in FROM, `unnest` arrays there, `unnested_order` the order of rows that functions give, `rows_from` functions side by side, `records` json with a list of columns, `value_relations` calls of one column, `series` those of times and fractions, `slices` parts of arrays, `cast_chains` casts of casts, `elements` subqueries over them, `rows` subqueries that make a row, `row_comparisons` what compares rows, `unknown_rows` NULLs in them, `grouping_positions` columns by their numbers and repeated keys in ROLLUP, `subqueries` EXISTS and IN among the columns of a result, `ties` FETCH … WITH TIES, `row_limits` LIMIT and OFFSET by subqueries, `placed_results` their orders by what a result computes,
//! `own_expressions` the expressions of a query but for those of queries within, `ordered` the order in which aggregates gather, `hypothetical` the rank that a value would have, `variadic` arrays in the place of arguments, `whole_groups` HAVING without groups, `windows` windows with names. Plans nothing.

mod array_literals;
mod arrays;
mod calls;
mod cast_chains;
mod casts;
mod chains;
mod elements;
mod expressions;
mod googlesql;
mod grouping_positions;
mod hypothetical;
mod ordered;
mod outer_joins;
mod own_expressions;
mod parameters;
mod placed_results;
mod records;
mod relations;
mod row_comparisons;
mod row_limits;
mod rows;
mod rows_from;
mod series;
mod slices;
mod subqueries;
mod ties;
mod unknown_rows;
mod unnest;
mod unnested_order;
mod value_relations;
mod values;
mod variadic;
mod whole_groups;
mod windows;

pub(crate) use casts::{number_text, refuse_wide};
pub(super) use elements::FIELD;
pub use elements::has_aggregate;
pub(crate) use own_expressions::{change_own, each_own};
pub(crate) use records::{record_document, record_member};
pub(crate) use relations::{gives_rows, too_many_names};
pub(crate) use row_comparisons::{all_are, fields as row_fields, is_compared_with};
pub(crate) use subqueries::{of_one_column, unsupported_subquery};
pub(super) use unnest::{names_columns, unnest_query};
pub(crate) use value_relations::{as_value, unmark, value_column};

use std::ops::ControlFlow;

use auspex_sql::PRIVATE;
use datafusion::sql::sqlparser::ast::{
    CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArgumentList,
    FunctionArguments, Ident, LimitClause, ObjectName, Query, Select, SetExpr, Statement,
    TableFactor, Value, VisitMut, VisitorMut,
};

use super::{cast_keys, query_keys};
use crate::bind::too_complex;
use crate::constants::holds_query;
use crate::error::{Error, Result};

/// Rewrites a statement in place.
///
/// `zone` is the client's time zone.
pub(crate) fn rewrite(statement: &mut Statement, zone: Option<&str>) -> Result<()> {
    query_keys::mark(statement);
    let zone = own_zone(zone).map(str::to_owned);
    let mut spelling = Spelling {
        zone,
        is_insert: false,
        n_casts: 0,
    };
    match statement.visit(&mut spelling) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// A client's time zone, if its clock is not that of Greenwich.
pub(super) fn own_zone(zone: Option<&str>) -> Option<&str> {
    const GREENWICH: [&str; 5] = ["utc", "etc/utc", "gmt", "z", "+00:00"];
    zone.filter(|zone| !GREENWICH.contains(&zone.to_lowercase().as_str()))
}

/// How many tables one FROM may join: the schema of each join has the columns of all before it.
const TABLE_LIMIT: usize = 1_000;

struct Spelling {
    zone: Option<String>,
    /// The next query gives the rows of an INSERT.
    is_insert: bool,
    /// How many casts are around what is visited.
    n_casts: usize,
}

fn flow(result: Result<()>) -> ControlFlow<Error> {
    match result {
        Ok(()) => ControlFlow::Continue(()),
        Err(error) => ControlFlow::Break(error),
    }
}

impl VisitorMut for Spelling {
    type Break = Error;

    fn pre_visit_statement(&mut self, statement: &mut Statement) -> ControlFlow<Error> {
        self.is_insert = matches!(statement, Statement::Insert(_));
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        if let SetExpr::Select(select) = query.body.as_mut()
            && !select.named_window.is_empty()
        {
            flow(windows::rewrite(select, query.order_by.as_mut()))?;
        }
        flow(unnested_order::rewrite(query))?;
        fetch_bracketed(query);
        counts(query);
        ordered::rewrite_with(query);
        let is_source = std::mem::take(&mut self.is_insert);
        flow(fetch(query))?;
        flow(row_limits::settle(query))?;
        // Behind those that may put VALUES in FROM, where they are visited again.
        values::rewrite(query, is_source);
        ControlFlow::Continue(())
    }

    fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        // Those of a set operation's part; others are written out with their order.
        flow(windows::rewrite(select, None))?;
        let joins = select.from.iter().map(|table| table.joins.len() + 1);
        match joins.sum::<usize>() > TABLE_LIMIT {
            true => ControlFlow::Break(too_complex()),
            false => {
                flow(grouping_positions::resolve(select))?;
                flow(whole_groups::rewrite(select))?;
                ordered::rewrite(select);
                flow(unnest::rewrite(select))
            }
        }
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<Error> {
        if let Some(truth) = select.selection.as_ref().and_then(expressions::truth) {
            select.selection = Some(truth);
        }
        unknown_rows::settle(select);
        subqueries::rewrite(select);
        outer_joins::settle(select);
        flow(relations::unnest_columns(select))
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        arrays::flatten(factor);
        flow(relations::rewrite(factor))
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        parameters::unbracket(expr);
        flow(subqueries::refuse_empty(expr))?;
        flow(variadic::spell(expr))?;
        chains::balance(expr);
        cast_chains::fold(expr);
        series::spell(expr);
        values::elements(expr);
        parameters::type_beside_parts(expr);
        let elements = match &*expr {
            Expr::Subquery(query) => elements::value(query).or_else(|| rows::value(query)),
            Expr::Exists { subquery, negated } => elements::exists(subquery, *negated),
            _ => None,
        };
        if let Some(elements) = elements {
            *expr = elements;
        }
        flow(casts::narrow(expr))?;
        flow(googlesql::before(expr))?;
        self.n_casts += usize::from(cast_chains::is_cast(expr));
        match self.n_casts > cast_chains::LIMIT {
            true => ControlFlow::Break(too_complex()),
            false => ControlFlow::Continue(()),
        }
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Error> {
        self.n_casts -= usize::from(cast_chains::is_cast(expr));
        if let Some(comparisons) = row_comparisons::spelt(expr) {
            *expr = comparisons;
        }
        if let Some(key) = cast_keys::marked(expr) {
            subqueries::as_values(key);
        }
        rows::name_columns(expr);
        windows::bracket_parameters(expr);
        flow(expressions::rewrite(expr, self.zone.as_deref()))
    }
}

/// A parameter of LIMIT and OFFSET counts rows.
fn counts(query: &mut Query) {
    if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
        let offset = offset.as_mut().map(|offset| &mut offset.value);
        limit.iter_mut().chain(offset).for_each(as_bigint);
    }
}

/// A number of rows as a bigint, of which fractions are rounded. What is a bigint anyway stays, and what is none for sure.
fn as_bigint(expr: &mut Expr) {
    parameters::unbracket(expr);
    let is_plain = match expr {
        Expr::Value(value) => matches!(value.value, Value::Null | Value::Boolean(_)),
        _ => false,
    };
    let is_count = casts::number_text(expr).is_some_and(|digits| digits.parse::<i64>().is_ok());
    if !is_plain && !is_count && !holds_query(expr) {
        *expr = cast_to(expr.clone(), DataType::BigInt(None));
    }
}

/// Whether an expression is a parameter, with or without the type that the client declared.
fn is_parameter(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_)),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_parameter(expr),
        _ => false,
    }
}

/// `FETCH FIRST n ROWS ONLY` is `LIMIT n`; with ties it looks at ranks.
fn fetch(query: &mut Query) -> Result<()> {
    let Some(fetch) = query.fetch.take() else {
        return Ok(());
    };
    if fetch.percent {
        return Err(Error::unsupported("FETCH PERCENT"));
    }
    let mut n_rows = fetch.quantity.unwrap_or_else(|| number("1"));
    if fetch.with_ties {
        return ties::keep(query, n_rows);
    }
    as_bigint(&mut n_rows);
    let n_rows = Some(n_rows);
    match &mut query.limit_clause {
        Some(LimitClause::LimitOffset { limit, .. }) if limit.is_none() => *limit = n_rows,
        Some(_) => {
            let message = "multiple LIMIT clauses not allowed";
            return Err(Error::invalid("42601", message, None));
        }
        clause => {
            *clause = Some(LimitClause::LimitOffset {
                limit: n_rows,
                offset: None,
                limit_by: Vec::new(),
            });
        }
    }
    Ok(())
}

/// `FETCH FIRST (expression) ROWS WITH TIES`, of which the parser gives the number of rows as a limit in brackets, as it is written.
fn fetch_bracketed(query: &mut Query) {
    let fetch = query.fetch.as_mut();
    let Some(fetch) = fetch.filter(|fetch| fetch.with_ties && fetch.quantity.is_none()) else {
        return;
    };
    if let Some(LimitClause::LimitOffset { limit, offset, .. }) = &mut query.limit_clause {
        fetch.quantity = limit.take_if(|expr| matches!(expr, Expr::Nested(_) | Expr::Subquery(_)));
        if limit.is_none() && offset.is_none() {
            query.limit_clause = None;
        }
    }
}

/// A number as it is written.
fn number(digits: &str) -> Expr {
    Expr::Value(Value::Number(digits.to_owned(), false).with_empty_span())
}

/// A text.
pub(super) fn text(text: impl Into<String>) -> Expr {
    Expr::Value(Value::SingleQuotedString(text.into()).with_empty_span())
}

/// An expression as a value of a type.
fn cast_to(expr: Expr, data_type: DataType) -> Expr {
    Expr::Cast {
        kind: CastKind::Cast,
        expr: Box::new(expr),
        data_type,
        array: false,
        format: None,
    }
}

/// The text of a literal.
pub(super) fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text),
            _ => None,
        },
        _ => None,
    }
}

/// `name(args)`.
pub(crate) fn call(name: &str, args: Vec<Expr>) -> Expr {
    let name = match name.starts_with(PRIVATE) {
        true => Ident::with_quote('"', name),
        false => Ident::new(name),
    };
    let args = args
        .into_iter()
        .map(|arg| FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)));
    Expr::Function(Function {
        name: ObjectName::from(vec![name]),
        uses_odbc_syntax: false,
        parameters: FunctionArguments::None,
        args: FunctionArguments::List(FunctionArgumentList {
            duplicate_treatment: None,
            args: args.collect(),
            clauses: Vec::new(),
        }),
        filter: None,
        null_treatment: None,
        over: None,
        within_group: Vec::new(),
    })
}

/// The lower-case name of a function without a schema.
pub(super) fn function_name(function: &Function) -> Option<String> {
    match function.name.0.as_slice() {
        [part] => Some(part.as_ident()?.value.to_lowercase()),
        _ => None,
    }
}

/// The plain arguments of a function; `None` if one is named or a star.
fn plain_arguments(function: &Function) -> Option<Vec<Expr>> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    list.args.iter().map(plain).collect()
}
