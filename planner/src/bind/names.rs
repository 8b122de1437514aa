//! The names that PostgreSQL gives the output columns of a query.
//!
//! In: a query's syntax tree; out: a name for each column that has no alias. DataFusion names such a
//! column after its whole expression; applications look for `count`, `max` and `?column?`.

use std::ops::ControlFlow;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Expr, Ident, Query, Select, SelectItem, SetExpr, Statement,
    TrimWhereField, VisitMut, VisitorMut,
};

use super::column_aliases;
use super::functions::returns_rows;
use super::type_names::short_name;
use super::typed_values::is_declared;
use super::written_names::{is_array_of_query, text_name, written_name};
use super::wrong_relations;
use crate::catalog::pins;
use crate::error::{Error, report_of};
use crate::search_path::SEARCHED;
use crate::session::Session;

/// The name of a column that nothing names.
pub(super) const NAMELESS: &str = "?column?";

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

/// Whether an item of a SELECT stands for columns that are not written.
pub(super) fn is_wildcard(item: &SelectItem) -> bool {
    matches!(
        item,
        SelectItem::Wildcard(_) | SelectItem::QualifiedWildcard(..)
    )
}

/// A name for each output column that has none of its own. How many columns wildcards stand for is known only when the
/// query is planned.
#[derive(Clone, Default)]
pub(super) struct OutputNames {
    /// Of the columns before the first wildcard.
    first: Vec<Option<String>>,
    /// Of those behind the last one.
    last: Vec<Option<String>>,
}

impl OutputNames {
    /// The names that a query's syntax tree tells.
    pub(super) fn of(query: &Query) -> OutputNames {
        let Some(select) = naming_select(query) else {
            return OutputNames::default();
        };
        let name = |item: &SelectItem| match item {
            SelectItem::UnnamedExpr(expr) => expression_name(expr),
            _ => None,
        };
        let items = select.projection.as_slice();
        let n_first = items.iter().take_while(|item| !is_wildcard(item)).count();
        let from_end = items[n_first..].iter().rev();
        let n_last = from_end.take_while(|item| !is_wildcard(item)).count();
        let last = &items[items.len() - n_last..];
        OutputNames {
            first: items[..n_first].iter().map(name).collect(),
            last: last.iter().map(name).collect(),
        }
    }

    /// The names of a plan's columns, in order.
    pub(super) fn among(self, n_columns: usize) -> Vec<Option<String>> {
        let n_others = n_columns.saturating_sub(self.first.len() + self.last.len());
        let others = std::iter::repeat_n(None, n_others);
        let known = self.first.into_iter().chain(others).chain(self.last);
        known.collect()
    }
}

/// The name of a field, or that of the array of an element.
fn part_name(root: &Expr, steps: &[AccessExpr]) -> Option<String> {
    match (steps.last()?, root) {
        (AccessExpr::Dot(Expr::Identifier(name)), _) => Some(name.value.clone()),
        (AccessExpr::Subscript(_), Expr::Identifier(name)) => Some(name.value.clone()),
        (AccessExpr::Subscript(_), Expr::CompoundIdentifier(names)) => {
            names.last().map(|name| name.value.clone())
        }
        (AccessExpr::Subscript(_), root) => expression_name(root),
        _ => None,
    }
}

/// The name of the column of an expression without an alias.
pub fn column_name_of(expr: &Expr) -> String {
    let name = expression_name(expr).or_else(|| strong_name(expr));
    name.unwrap_or_else(|| NAMELESS.to_owned())
}

/// The name that an expression keeps in a cast: that of a column, a function or a field. Others are called as the type.
pub(super) fn strong_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(name) => Some(name.value.clone()),
        Expr::CompoundIdentifier(names) => names.last().map(|name| name.value.clone()),
        Expr::Cast { expr, .. } | Expr::Nested(expr) | Expr::Collate { expr, .. } => {
            strong_name(expr)
        }
        Expr::Case { else_result, .. } => else_result.as_deref().and_then(strong_name),
        Expr::BinaryOp {
            op: BinaryOperator::StringConcat,
            ..
        } => text_name(expr).flatten(),
        Expr::TypedString(_) | Expr::Interval(_) => None,
        expr => expression_name(expr).filter(|name| name != NAMELESS),
    }
}

/// The function that a `TRIM` is.
fn trim_name(side: Option<TrimWhereField>) -> &'static str {
    match side {
        Some(TrimWhereField::Leading) => "ltrim",
        Some(TrimWhereField::Trailing) => "rtrim",
        Some(TrimWhereField::Both) | None => "btrim",
    }
}

/// The name that PostgreSQL gives the column of an expression; `None` where the planner's is the same.
pub(super) fn expression_name(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => None,
        Expr::CompoundFieldAccess { root, access_chain } => part_name(root, access_chain),
        Expr::Function(function) if is_array_of_query(function) => Some("array".to_owned()),
        Expr::Function(function) => {
            let name = function.name.0.last()?.as_ident()?.value.to_lowercase();
            written_name(function, &name).or(Some(name))
        }
        Expr::Cast {
            expr, data_type, ..
        } => match expr.as_ref() {
            inner if is_declared(inner) => Some(NAMELESS.to_owned()),
            inner => Some(strong_name(inner).unwrap_or_else(|| short_name(data_type))),
        },
        Expr::Nested(expr) => expression_name(expr).or_else(|| strong_name(expr)),
        Expr::Case { else_result, .. } => {
            let name = else_result.as_deref().and_then(strong_name);
            Some(name.unwrap_or_else(|| "case".to_owned()))
        }
        Expr::Exists { negated: false, .. } => Some("exists".to_owned()),
        Expr::TypedString(typed) => Some(short_name(&typed.data_type)),
        Expr::Collate { expr, .. } => expression_name(expr).or_else(|| strong_name(expr)),
        Expr::AtTimeZone { .. } => Some("timezone".to_owned()),
        Expr::Overlay { .. } => Some("overlay".to_owned()),
        Expr::Interval(_) => Some("interval".to_owned()),
        Expr::Extract { .. } => Some("extract".to_owned()),
        Expr::Substring {
            shorthand: true, ..
        } => Some("substr".to_owned()),
        Expr::Substring { .. } => Some("substring".to_owned()),
        Expr::Trim { trim_where, .. } => Some(trim_name(*trim_where).to_owned()),
        Expr::BinaryOp { op, .. } if *op == BinaryOperator::Overlaps => Some("overlaps".to_owned()),
        Expr::Position { .. } => Some("position".to_owned()),
        Expr::BinaryOp { .. } => Some(match text_name(expr) {
            Some(name) => name.unwrap_or_else(|| "text".to_owned()),
            None => NAMELESS.to_owned(),
        }),
        Expr::Ceil { .. } => Some("ceil".to_owned()),
        Expr::Floor { .. } => Some("floor".to_owned()),
        Expr::Array(_) => Some("array".to_owned()),
        Expr::Tuple(_) => Some("row".to_owned()),
        Expr::Subquery(query) => match query.body.as_ref() {
            SetExpr::Select(select) => match select.projection.first()? {
                SelectItem::ExprWithAlias { alias, .. } => Some(alias.value.clone()),
                SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(name.value.clone()),
                SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
                    names.last().map(|name| name.value.clone())
                }
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
        return pins::undefined_relation(match schema {
            Some(schema) if schema != SEARCHED => session.undefined_relation(schema, name),
            _ => session.undefined_in_path(name),
        });
    }
    if let DataFusionError::Plan(message) = error.find_root()
        && let Some(rest) = message.strip_prefix("Invalid function '")
        && let Some(found) = rest.split('\'').next().and_then(returns_rows)
    {
        return found;
    }
    if let Some(too_many) = column_aliases::explained(statement, &error) {
        return too_many;
    }
    let report = report_of(&error);
    let DataFusionError::SchemaError(cause, _) = error.find_root() else {
        return error.into();
    };
    if let Some((sqlstate, message)) = wrong_relations::explained(statement, cause) {
        return Error::Invalid {
            sqlstate,
            message,
            hint: None,
            position: report.position,
        };
    }
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
        return number_aliases(statement, &message, mark);
    }
    let Some((_, repeated)) = message.split_once("Projections require unique expression names")
    else {
        return false;
    };
    let mut numbering = Numbering {
        mark,
        repeated: repeated_column(repeated),
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut numbering);
    numbering.is_changed
}

/// The column that the planner found twice: ` but the expression "t.id" at position 0 and …`.
fn repeated_column(message: &str) -> Option<String> {
    let (_, rest) = message.split_once("the expression \"")?;
    let (expr, _) = rest.split_once("\" at position")?;
    let name = expr.rsplit('.').next().unwrap_or(expr);
    Some(name.trim_matches('"').to_owned())
}

/// Whether the planner's message is about a name that a column has beside one of a table, which it quotes where it must.
pub(super) fn says_ambiguous(message: &str, name: &str) -> bool {
    let plain = format!("unqualified field name {name} which");
    let quoted = format!("unqualified field name \"{name}\" which");
    message.contains(&plain) || message.contains(&quoted)
}

/// Numbers the names of columns that are not a table's, where another column of the SELECT has the same name:
/// `SELECT e.id, 1 AS id FROM e`, `SELECT e.id, (SELECT d.id FROM d) FROM e`. Beside a wildcard, whose names are not known
/// here, the name that the message is about if nobody wrote it, else all of them.
fn number_aliases(statement: &mut Statement, message: &str, mark: char) -> bool {
    let mut numbering = NumberingAliases {
        message,
        mark,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut numbering);
    if let Statement::Query(query) = statement
        && !numbering.is_changed
        && let SetExpr::Select(select) = query.body.as_mut()
    {
        numbering.number(select, |_| true);
    }
    numbering.is_changed
}

struct NumberingAliases<'a> {
    message: &'a str,
    mark: char,
    is_changed: bool,
}

impl NumberingAliases<'_> {
    fn number(&mut self, select: &mut Select, is_chosen: impl Fn(&str) -> bool) {
        for (idx, item) in select.projection.iter_mut().enumerate() {
            let Some(name) = name_of_its_own(item).filter(|name| !name.contains(self.mark)) else {
                continue;
            };
            if !is_chosen(&name) {
                continue;
            }
            let (SelectItem::ExprWithAlias { expr, .. } | SelectItem::UnnamedExpr(expr)) = &*item
            else {
                continue;
            };
            let alias = Ident::with_quote('"', format!("{name}{}{idx}", self.mark));
            let expr = expr.clone();
            *item = SelectItem::ExprWithAlias { expr, alias };
            self.is_changed = true;
        }
    }
}

impl VisitorMut for NumberingAliases<'_> {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let items = select.projection.as_slice();
        let has_wildcard = items.iter().any(is_wildcard);
        let names: Vec<String> = items.iter().filter_map(column_name).collect();
        let implied: Vec<String> = items.iter().filter_map(implied_name).collect();
        let message = self.message;
        let is_repeated = |name: &str| {
            let is_implied = implied.iter().any(|implied| implied == name);
            names.iter().filter(|other| *other == name).count() > 1
                || (has_wildcard && is_implied && says_ambiguous(message, name))
        };
        self.number(select, is_repeated);
        ControlFlow::Continue(())
    }
}

/// The name of a column that says what its expression does alone.
fn implied_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { expr, alias } => {
            expression_name(expr).filter(|name| *name == alias.value)
        }
        _ => None,
    }
}

/// The name of a column that is no table's.
fn name_of_its_own(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::ExprWithAlias { alias, .. } => Some(crate::commands::folded(alias)),
        SelectItem::UnnamedExpr(expr @ Expr::Subquery(_)) => expression_name(expr),
        _ => None,
    }
}

fn column_name(item: &SelectItem) -> Option<String> {
    match item {
        SelectItem::UnnamedExpr(Expr::Identifier(name)) => Some(crate::commands::folded(name)),
        SelectItem::UnnamedExpr(Expr::CompoundIdentifier(names)) => {
            names.last().map(crate::commands::folded)
        }
        item => name_of_its_own(item),
    }
}

struct Numbering {
    mark: char,
    /// A plain column that stands beside a wildcard which has it, too, or beside itself in other words: `t.id, id`.
    repeated: Option<String>,
    is_changed: bool,
}

impl Numbering {
    /// The name of a column that is to be told from its namesakes.
    fn name(&self, expr: &Expr, has_namesake: impl Fn(&str) -> bool) -> Option<String> {
        let column = match expr {
            Expr::Identifier(name) => name,
            Expr::CompoundIdentifier(names) => names.last()?,
            expr => return expression_name(expr),
        };
        let name = crate::commands::folded(column);
        (has_namesake(&name) && self.is_repeated(&name)).then_some(name)
    }

    fn is_repeated(&self, name: &str) -> bool {
        self.repeated.as_deref() == Some(name)
    }
}

impl VisitorMut for Numbering {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        let has_wildcard = select.projection.iter().any(is_wildcard);
        let names: Vec<String> = select.projection.iter().filter_map(column_name).collect();
        let is_twice = |name: &str| names.iter().filter(|other| *other == name).count() > 1;
        for (idx, item) in select.projection.iter_mut().enumerate() {
            let written = &*item;
            let found = match written {
                SelectItem::UnnamedExpr(expr) => {
                    let has_namesake = |name: &str| has_wildcard || is_twice(name);
                    Some(expr).zip(self.name(expr, has_namesake))
                }
                SelectItem::ExprWithAlias { expr, .. } => {
                    let name = implied_name(written);
                    let is_beside = |name: &String| has_wildcard && self.is_repeated(name);
                    Some(expr).zip(name.filter(|name| is_twice(name) || is_beside(name)))
                }
                _ => None,
            };
            if let Some((expr, name)) = found {
                let alias = Ident::with_quote('"', format!("{name}{}{idx}", self.mark));
                let expr = expr.clone();
                *item = SelectItem::ExprWithAlias { expr, alias };
                self.is_changed = true;
            }
        }
        ControlFlow::Continue(())
    }
}
