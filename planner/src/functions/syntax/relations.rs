//! Functions of several rows, samples and row numbers in FROM; functions of several rows among columns.
//!
//! In and out: a relation, or the columns of a SELECT.

use std::collections::BTreeSet;

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, Query,
    Select, SelectItem, SetExpr, TableAlias, TableFactor, TableSampleKind, TableSampleMethod,
};

use super::casts::prepared_operand;
use super::{call, function_name};
use crate::bind::REPEATED;
use crate::error::{Error, Result};
use crate::functions::series::SERIES;

/// Functions that give an array here and rows in PostgreSQL.
const ROW_FUNCTIONS: [&str; 13] = [
    "generate_series",
    SERIES,
    "regexp_matches",
    "regexp_split_to_table",
    "string_to_table",
    "json_array_elements",
    "json_array_elements_text",
    "jsonb_array_elements",
    "jsonb_array_elements_text",
    "jsonb_path_query",
    "jsonb_path_query_tz",
    "generate_subscripts",
    "pg_listening_channels",
];
/// The same, of keys and of keys with values.
pub(super) const KEY_FUNCTIONS: [&str; 6] = [
    "json_object_keys",
    "jsonb_object_keys",
    "json_each",
    "jsonb_each",
    "json_each_text",
    "jsonb_each_text",
];

/// The column of an array's elements, whatever the relation is called.
const VALUE: &str = "value";

/// The name of a function as PostgreSQL knows it.
pub(super) fn shown(name: &str) -> &str {
    match name {
        SERIES => "generate_series",
        name => name,
    }
}

/// Whether a function of this name gives several rows.
pub(crate) fn gives_rows(name: &str) -> bool {
    ROW_FUNCTIONS.contains(&name) || KEY_FUNCTIONS.contains(&name)
}

/// `SELECT generate_series(1, 3)` has three rows.
pub(super) fn unnest_columns(select: &mut Select) -> Result<()> {
    let written = select.projection.iter().filter_map(|item| match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
        _ => None,
    });
    let mut known: BTreeSet<String> = written.collect();
    for (place, item) in select.projection.iter_mut().enumerate() {
        let mut own_name = |name: &str| match known.insert(name.to_owned()) {
            true => Ident::with_quote('"', name),
            false => Ident::with_quote('"', format!("{name}{REPEATED}{place}")),
        };
        let (SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. }) = item else {
            continue;
        };
        let Expr::Function(function) = &*expr else {
            if let Some(name) = unnest_within(expr)
                && let SelectItem::UnnamedExpr(expr) = &*item
                && !matches!(expr, Expr::BinaryOp { .. } | Expr::UnaryOp { .. })
            {
                let (expr, alias) = (expr.clone(), own_name(&name));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            continue;
        };
        let Some(name) = function_name(function).filter(|name| gives_rows(name)) else {
            if is_field(function) {
                unnest_within(expr);
            }
            continue;
        };
        if function.over.is_some() {
            continue;
        }
        let unnested = call("unnest", vec![expr.clone()]);
        let unnested = match KEY_FUNCTIONS.contains(&name.as_str()) {
            true => unnested,
            false => as_elements(&name, unnested),
        };
        *item = match std::mem::replace(item, SelectItem::UnnamedExpr(unnested.clone())) {
            SelectItem::ExprWithAlias { alias, .. } => SelectItem::ExprWithAlias {
                expr: unnested,
                alias,
            },
            _ => SelectItem::ExprWithAlias {
                expr: unnested,
                alias: own_name(shown(&name)),
            },
        };
    }
    Ok(())
}

/// `generate_series(…)::date` and `(regexp_matches(s, '(a)(b)'))[1]` have as many rows as the function: its name, if there
/// is one.
fn unnest_within(expr: &mut Expr) -> Option<String> {
    match expr {
        Expr::Function(function) if is_field(function) => unnest_field(expr),
        Expr::Function(function) => {
            if let Some(operand) = prepared_operand(function) {
                return unnest_within(operand);
            }
            let name = function_name(function).filter(|name| gives_rows(name))?;
            let unnested = call("unnest", vec![expr.clone()]);
            *expr = match KEY_FUNCTIONS.contains(&name.as_str()) {
                true => unnested,
                false => as_elements(&name, unnested),
            };
            Some(shown(&name).to_owned())
        }
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::UnaryOp { expr, .. } => {
            unnest_within(expr)
        }
        Expr::CompoundFieldAccess { root, .. } => unnest_within(root),
        Expr::BinaryOp { left, right, .. } => {
            let (left, right) = (unnest_within(left), unnest_within(right));
            left.or(right)
        }
        _ => None,
    }
}

/// Whether a call looks up a field, as `(jsonb_each(doc)).key` is spelt by now.
fn is_field(function: &Function) -> bool {
    function_name(function).as_deref() == Some("get_field")
}

/// A field of each of the rows that a function gives.
fn unnest_field(field: &mut Expr) -> Option<String> {
    let Expr::Function(function) = field else {
        return None;
    };
    let FunctionArguments::List(list) = &mut function.args else {
        return None;
    };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(rows)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(key)),
    ] = list.args.as_mut_slice()
    else {
        return None;
    };
    let is_value = super::literal(key) == Some(VALUE);
    let name = unnest_within(rows)?;
    if is_value {
        *field = as_elements(&name, field.clone());
    }
    Some(name)
}

/// Rewrites a relation.
pub(super) fn rewrite(factor: &mut TableFactor) -> Result<()> {
    match factor {
        TableFactor::Pivot { .. } => return Err(Error::unsupported("PIVOT")),
        TableFactor::Unpivot { .. } => return Err(Error::unsupported("UNPIVOT")),
        _ => {}
    }
    lateral_unnest(factor);
    super::unnest::tell_apart(factor);
    super::series::spell_relation(factor);
    if let Some(sampled) = sampled(factor)? {
        *factor = sampled;
    }
    if let Some(records) = super::records::rows(factor)? {
        *factor = records;
        return Ok(());
    }
    if let Some(rows) = super::rows_from::rows(factor)? {
        *factor = rows;
        return Ok(());
    }
    if let Some(rows) = rows(factor)? {
        *factor = rows;
    }
    super::unnest::alone(factor)
}

pub(super) fn template(text: &str) -> Result<(Box<Query>, Box<Select>)> {
    let mut query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres)?;
    let body = std::mem::replace(
        query.body.as_mut(),
        SetExpr::Values(datafusion::sql::sqlparser::ast::Values {
            explicit_row: false,
            value_keyword: false,
            rows: Vec::new(),
        }),
    );
    match body {
        SetExpr::Select(select) => Ok((query, select)),
        _ => Err(Error::invalid("XX000", "a template is no SELECT", None)),
    }
}

pub(super) fn derived(
    mut query: Box<Query>,
    select: Box<Select>,
    alias: Option<TableAlias>,
) -> TableFactor {
    *query.body = SetExpr::Select(select);
    TableFactor::Derived {
        lateral: false,
        subquery: query,
        alias,
        sample: None,
    }
}

/// `t TABLESAMPLE BERNOULLI (p)`: each row with a chance of `p` percent. SYSTEM draws rows, too, since
/// files have no pages of a size.
fn sampled(factor: &mut TableFactor) -> Result<Option<TableFactor>> {
    let (TableFactor::Table { sample, alias, .. } | TableFactor::Derived { sample, alias, .. }) =
        factor
    else {
        return Ok(None);
    };
    let Some(TableSampleKind::BeforeTableAlias(sample) | TableSampleKind::AfterTableAlias(sample)) =
        sample.take()
    else {
        return Ok(None);
    };
    let is_known = matches!(
        sample.name,
        Some(TableSampleMethod::Bernoulli | TableSampleMethod::System)
    );
    let (Some(quantity), true) = (&sample.quantity, is_known) else {
        let message = "TABLESAMPLE takes BERNOULLI (percent) or SYSTEM (percent)";
        return Err(Error::invalid("42704", message, None));
    };
    if sample.seed.is_some() {
        return Err(Error::unsupported("TABLESAMPLE ... REPEATABLE"));
    }
    let mut alias = alias.take();
    if let (None, TableFactor::Table { name, .. }) = (&alias, &*factor) {
        alias = name
            .0
            .last()
            .and_then(|part| part.as_ident())
            .map(|name| TableAlias {
                explicit: true,
                name: name.clone(),
                columns: Vec::new(),
                at: None,
            });
    }
    let (query, mut select) = template("SELECT * FROM t WHERE random() * 100 < 1")?;
    if let Some(table) = select.from.first_mut() {
        table.relation = factor.clone();
    }
    if let Some(Expr::BinaryOp { right, .. }) = &mut select.selection {
        **right = Expr::Nested(Box::new(quantity.value.clone()));
    }
    Ok(Some(derived(query, select, alias)))
}

/// The call of a relation: its name and arguments, and whether its rows are numbered.
pub(super) fn called(
    factor: &TableFactor,
) -> Option<(String, Vec<Expr>, bool, Option<TableAlias>)> {
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    let name_of = |name: &ObjectName| match name.0.as_slice() {
        [part] => Some(part.as_ident()?.value.to_lowercase()),
        _ => None,
    };
    match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            alias,
            with_ordinality,
            ..
        } => {
            let args = args.args.iter().map(plain).collect::<Option<_>>()?;
            Some((name_of(name)?, args, *with_ordinality, alias.clone()))
        }
        TableFactor::Function {
            lateral: _,
            name,
            args,
            with_ordinality,
            alias,
        } => {
            let args = args.iter().map(plain).collect::<Option<_>>()?;
            Some((name_of(name)?, args, *with_ordinality, alias.clone()))
        }
        TableFactor::UNNEST {
            array_exprs,
            with_ordinality: true,
            alias,
            ..
        } => Some((
            "unnest".to_owned(),
            array_exprs.clone(),
            true,
            alias.clone(),
        )),
        _ => None,
    }
}

/// `f(x) WITH ORDINALITY`, and functions that give an array: their elements are the rows.
fn rows(factor: &TableFactor) -> Result<Option<TableFactor>> {
    let Some((name, args, is_numbered, alias)) = called(factor) else {
        return Ok(None);
    };
    let is_lateral = args.iter().any(super::unnest::names_columns);
    let is_ours = gives_rows(&name) && (name != "generate_series" || is_lateral);
    if !is_ours && !(is_numbered && (name == "unnest" || name == "generate_series")) {
        return match is_numbered {
            true => Err(Error::unsupported(format!("WITH ORDINALITY of {name}"))),
            false => Ok(None),
        };
    }
    let arrays = match name.as_str() {
        "unnest" => args,
        _ => vec![call(&name, args)],
    };
    let mut names = column_names(&name, alias.as_ref());
    names.resize(names.len().max(arrays.len()), shown(&name));
    if is_numbered {
        names.push("ordinality");
    }
    let exprs = item_exprs(&name, &arrays, is_numbered);
    unnested(exprs, &names, (shown(&name), alias.as_ref()), is_lateral).map(Some)
}

/// A relation of elements, whose columns have the names of its alias, else `names`; it is called by its alias, else as is told.
pub(super) fn unnested(
    exprs: Vec<Expr>,
    names: &[&str],
    (called, alias): (&str, Option<&TableAlias>),
    is_lateral: bool,
) -> Result<TableFactor> {
    let given = alias.into_iter().flat_map(|alias| &alias.columns);
    let given: Vec<&Ident> = given.map(|column| &column.name).collect();
    if given.len() > exprs.len() {
        let called = alias.map_or(called, |alias| alias.name.value.as_str());
        return Err(too_many_names("table", called, exprs.len(), given.len()));
    }
    let (query, mut select) = template("SELECT 1")?;
    let item = |(idx, expr): (usize, Expr)| {
        let told = names.get(idx).map(|name| Ident::with_quote('"', *name));
        let alias = given.get(idx).copied().cloned().or(told);
        match alias {
            Some(alias) => SelectItem::ExprWithAlias { expr, alias },
            None => SelectItem::UnnamedExpr(expr),
        }
    };
    select.projection = exprs.into_iter().enumerate().map(item).collect();
    super::value_relations::as_value(&mut select);
    let name = alias.map(|alias| alias.name.clone());
    let alias = TableAlias {
        explicit: true,
        name: name.unwrap_or_else(|| Ident::with_quote('"', called)),
        columns: Vec::new(),
        at: None,
    };
    let mut rows = derived(query, select, Some(alias));
    if let TableFactor::Derived { lateral, .. } = &mut rows {
        *lateral = is_lateral;
    }
    Ok(rows)
}

/// The error of an alias that lists more names than its relation has columns.
pub(crate) fn too_many_names(kind: &str, called: &str, n_columns: usize, n_listed: usize) -> Error {
    let message = format!(
        "{kind} \"{called}\" has {n_columns} columns available but {n_listed} columns specified"
    );
    Error::invalid("42P10", message, None)
}

/// The elements of arrays side by side, or the halves of those of an array of pairs, and their numbers.
pub(super) fn item_exprs(name: &str, arrays: &[Expr], is_numbered: bool) -> Vec<Expr> {
    let elements = |array: &Expr| call("unnest", vec![array.clone()]);
    let mut exprs: Vec<Expr> = match arrays {
        [pairs] if name.contains("_each") => {
            let half = |half: &str| call("get_field", vec![elements(pairs), super::text(half)]);
            vec![half("key"), as_elements(name, half(VALUE))]
        }
        arrays => {
            let elements = arrays.iter().map(elements);
            elements.map(|element| as_elements(name, element)).collect()
        }
    };
    if is_numbered {
        exprs.push(places(arrays));
    }
    exprs
}

/// The numbers of the elements of arrays side by side, from 1: NULLs fill up the shorter ones.
fn places(arrays: &[Expr]) -> Expr {
    let length = |array: &Expr| call("array_length", vec![array.clone(), super::number("1")]);
    let longest = match arrays {
        [array] => length(array),
        _ => call("greatest", arrays.iter().map(length).collect()),
    };
    let numbers = call("generate_series", vec![super::number("1"), longest]);
    call("unnest", vec![numbers])
}

/// `LATERAL unnest(t.items)` is `unnest(t.items)`, which sees the relations before it anyway; other calls become derived
/// relations below.
fn lateral_unnest(factor: &mut TableFactor) {
    let TableFactor::Function {
        lateral: true,
        name,
        args,
        with_ordinality,
        alias,
    } = factor
    else {
        return;
    };
    if !name.to_string().eq_ignore_ascii_case("unnest") {
        return;
    }
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
        _ => None,
    };
    if let Some(array_exprs) = args.iter().map(plain).collect() {
        *factor = TableFactor::UNNEST {
            alias: alias.take(),
            array_exprs,
            with_offset: false,
            with_offset_alias: None,
            with_ordinality: *with_ordinality,
        };
    }
}

/// The elements that a function of json gives, with the type that they have.
fn as_elements(name: &str, element: Expr) -> Expr {
    match name {
        "json_array_elements" | "json_each" => call("as_json", vec![element]),
        "jsonb_array_elements" | "jsonb_path_query" | "jsonb_path_query_tz" | "jsonb_each" => {
            call("as_jsonb", vec![element])
        }
        _ => element,
    }
}

/// The names of the columns of a call.
fn column_names<'a>(name: &'a str, alias: Option<&'a TableAlias>) -> Vec<&'a str> {
    match alias {
        _ if name.contains("_each") => vec!["key", VALUE],
        _ if name.contains("_array_elements") => vec![VALUE],
        // The one column is called as the relation is.
        Some(alias) => vec![alias.name.value.as_str()],
        None => vec![shown(name)],
    }
}
