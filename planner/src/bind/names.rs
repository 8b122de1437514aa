//! The names that PostgreSQL gives the output columns of a query.
//!
//! In: a query's syntax tree; out: a name for each column that has no alias. DataFusion names such a
//! column after its whole expression; applications look for `count`, `max` and `?column?`.

use std::ops::ControlFlow;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query, Select,
    SelectItem, SetExpr, Statement, VisitMut, VisitorMut,
};

use super::functions::returns_rows;
use super::typed_values::is_declared;
use crate::error::{Error, report_of};
use crate::search_path::SEARCHED;
use crate::session::Session;

/// The name of a column that nothing names.
const NAMELESS: &str = "?column?";

/// The SELECT that names a query's columns: the first of united queries names those of all.
pub(super) fn naming_select(query: &Query) -> Option<&Select> {
    let mut body = query.body.as_ref();
    loop {
        body = match body {
            SetExpr::Select(select) => return Some(select),
            SetExpr::SetOperation { left, .. } => left,
            SetExpr::Query(query) => query.body.as_ref(),
            _ => return None,
        };
    }
}

/// A name for each output column that has none of its own; empty where a wildcard makes their number
/// unknown.
pub(crate) fn output_names(query: &Query) -> Vec<Option<String>> {
    let Some(select) = naming_select(query) else {
        return Vec::new();
    };
    let is_wildcard = |item: &SelectItem| {
        matches!(
            item,
            SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
        )
    };
    if select.projection.iter().any(is_wildcard) {
        return Vec::new();
    }
    select
        .projection
        .iter()
        .map(|item| match item {
            SelectItem::UnnamedExpr(expr) => expression_name(expr),
            _ => None,
        })
        .collect()
}

/// The name of what the server wrote as a call: an aggregate of json, or a cast such as `oid::regclass`.
fn written_name(function: &Function, name: &str) -> Option<String> {
    if let Some(aggregate) = name
        .strip_suffix("_of")
        .filter(|name| ["json_agg", "jsonb_agg"].contains(name))
    {
        return Some(aggregate.to_owned());
    }
    let is_number = |cast: &str| CASTS.contains(&cast);
    if name.strip_suffix("number").is_some_and(is_number) {
        return Some(NAMELESS.to_owned());
    }
    let cast = name
        .strip_suffix("in")
        .or_else(|| name.strip_suffix("out"))?;
    if !CASTS.contains(&cast) {
        return None;
    }
    let column = match &function.args {
        FunctionArguments::List(list) => match list.args.as_slice() {
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Identifier(name)))] => Some(name),
            [FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::CompoundIdentifier(names)))] => {
                names.last()
            }
            _ => None,
        },
        _ => None,
    };
    Some(
        column
            .map_or(cast, |column| column.value.as_str())
            .to_owned(),
    )
}

/// The types of names of objects.
const CASTS: [&str; 5] = ["regclass", "regnamespace", "regproc", "regrole", "regtype"];

fn expression_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) | Expr::CompoundFieldAccess { .. } => {
            None
        }
        Expr::Function(function) => {
            let name = function.name.0.last()?.as_ident()?.value.to_lowercase();
            written_name(function, &name).or(Some(name))
        }
        Expr::Cast {
            expr, data_type, ..
        } => match expr.as_ref() {
            inner if is_declared(inner) => Some(NAMELESS.to_owned()),
            Expr::Identifier(name) => Some(name.value.clone()),
            Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()),
            inner => {
                let names_itself = matches!(
                    inner,
                    Expr::Function(_) | Expr::Cast { .. } | Expr::Nested(_)
                );
                let inner = names_itself.then(|| expression_name(inner)).flatten();
                inner.filter(|name| name != NAMELESS).or_else(|| {
                    let text = data_type.to_string().to_lowercase();
                    text.split('(').next().map(ToOwned::to_owned)
                })
            }
        },
        Expr::Nested(expr) => expression_name(expr).or_else(|| match expr.as_ref() {
            Expr::Identifier(name) => Some(name.value.clone()),
            _ => None,
        }),
        Expr::Case { else_result, .. } => match else_result.as_deref() {
            Some(Expr::Identifier(name)) => Some(name.value.clone()),
            Some(Expr::Function(_)) => else_result.as_deref().and_then(expression_name),
            _ => Some("case".to_owned()),
        },
        Expr::Exists { .. } => Some("exists".to_owned()),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { .. } => Some("btrim".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Tuple(_) => Some("row".to_owned()),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
                SelectItem::UnnamedExpr(expr) => expression_name(expr),
                _ => None,
            },
            _ => None,
        },
        _ => Some(NAMELESS.to_owned()),
    }
}

/// The error of planning a statement, with what is known of the names that it did not find: the nearest table, or that a
/// text was written in double quotes, which in PostgreSQL's dialect make a name.
pub(super) fn explained(
    session: &Session,
    statement: &mut Statement,
    error: DataFusionError,
) -> Error {
    if let DataFusionError::Plan(message) = error.find_root()
        && let Some(rest) = message.strip_prefix("table '")
        && let Some(name) = rest.strip_suffix("' not found")
    {
        let mut parts = name.rsplit('.');
        let (name, schema) = (parts.next().unwrap_or(name), parts.next());
        return match schema {
            Some(schema) if schema != SEARCHED => session.undefined_relation(schema, name),
            _ => session.undefined_in_path(name),
        };
    }
    if let DataFusionError::Plan(message) = error.find_root()
        && let Some(rest) = message.strip_prefix("Invalid function '")
        && let Some(found) = rest.split('\'').next().and_then(returns_rows)
    {
        return found;
    }
    let report = report_of(&error);
    let DataFusionError::SchemaError(cause, _) = error.find_root() else {
        return error.into();
    };
    let SchemaError::FieldNotFound { field, .. } = cause.as_ref() else {
        return error.into();
    };
    let mut quoted = Quoted(field.name().to_owned());
    if report.hint.is_some() || statement.visit(&mut quoted).is_continue() {
        return error.into();
    }
    let name = field.name();
    let text = name.replace('\'', "''");
    Error::Invalid {
        sqlstate: report.sqlstate,
        message: report.message,
        hint: Some(format!(
            "\"{name}\" in double quotes is the name of a column; a text is written '{text}', or SET ml.dialect = 'googlesql'."
        )),
        position: report.position,
    }
}

/// Looks for a column that is written in double quotes.
struct Quoted(String);

impl VisitorMut for Quoted {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Identifier(name) if name.quote_style == Some('"') && name.value == self.0 => {
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        }
    }
}

/// Numbers the columns without a name, if `error` says that the planner gave two of them one name:
/// `SELECT 1::int8, 1::float4`. False if nothing was changed. What follows `mark` is not shown.
pub(super) fn adopt_numbers(
    statement: &mut Statement,
    error: &DataFusionError,
    mark: char,
) -> bool {
    let message = error.strip_backtrace();
    if message.contains("which would be ambiguous") {
        return number_aliases(statement, mark);
    }
    if !message.contains("Projections require unique expression names") {
        return false;
    }
    let mut numbering = Numbering {
        mark,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut numbering);
    numbering.is_changed
}

/// Numbers the other names of a query's columns, of which one is that of a table's column: `SELECT e.id, 1 AS id FROM e`.
fn number_aliases(statement: &mut Statement, mark: char) -> bool {
    let mut is_changed = false;
    if let Statement::Query(query) = statement
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        for (idx, item) in select.projection.iter_mut().enumerate() {
            if let SelectItem::ExprWithAlias { alias, .. } = item
                && !alias.value.contains(mark)
            {
                let name = crate::commands::folded(alias);
                *alias = Ident::with_quote('"', format!("{name}{mark}{idx}"));
                is_changed = true;
            }
        }
    }
    is_changed
}

struct Numbering {
    mark: char,
    is_changed: bool,
}

impl VisitorMut for Numbering {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        for (idx, item) in select.projection.iter_mut().enumerate() {
            if let SelectItem::UnnamedExpr(expr) = item
                && let Some(name) = expression_name(expr)
            {
                let alias = Ident::with_quote('"', format!("{name}{}{idx}", self.mark));
                let expr = expr.clone();
                *item = SelectItem::ExprWithAlias { expr, alias };
                self.is_changed = true;
            }
        }
        ControlFlow::Continue(())
    }
}
