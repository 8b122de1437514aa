//! The columns of a table behind a view that is written through, and statements that would show them.
//!
//! In: the place of a column, or a part of a statement; out: a name that no client's text can bring into a statement, or
//! whether the part names the whole row of the view.

use std::ops::ControlFlow;

use auspex_sql::PRIVATE;
use auspex_storage::{FILE_COLUMN, ROW_COLUMN};
use datafusion::sql::sqlparser::ast::{
    self, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, ObjectName, SelectItem,
    SelectItemQualifiedWildcardKind, Visitor,
};

use super::merge::{SOURCE_COLUMN, case};
use super::upsert::{PLACE, TURN};
use crate::commands::name_parts;

/// The hidden name of a column of the table.
pub(super) fn hidden(idx: usize) -> String {
    format!("{PRIVATE}{idx}")
}

/// Whether a column stands among those of a relation because the statement's own query needs it: no part of a row.
pub(super) fn is_added(name: &str) -> bool {
    [FILE_COLUMN, ROW_COLUMN, SOURCE_COLUMN, PLACE, TURN].contains(&name)
}

/// The hidden name of the column that tells which view does not show a row.
fn hidden_by() -> String {
    format!("{PRIVATE}hidden")
}

/// What stands in that column for the lowest view, and one more for each above it; 0: all show the row. Larger than any
/// action.
const FIRST_VIEW: usize = 100;

/// The column that tells whether a view with a condition over `relation`, or one below it, does not show a row.
pub(super) fn hidden_by_item(
    relation: &Ident,
    height: usize,
    condition: Option<&Expr>,
) -> SelectItem {
    let mut branches = Vec::new();
    if height > 0 {
        branches.push(hidden_below(relation));
    }
    if let Some(condition) = condition {
        let condition = Expr::Nested(Box::new(condition.clone()));
        let fails = Expr::IsNotTrue(Box::new(condition));
        branches.push((fails, number(FIRST_VIEW + height)));
    }
    SelectItem::ExprWithAlias {
        expr: case(branches, number(0)),
        alias: Ident::with_quote('"', hidden_by()),
    }
}

/// What the column of `relation` tells if a view does not show a row, else something else.
pub(super) fn hidden_or(relation: &Ident, otherwise: Expr) -> Expr {
    case(vec![hidden_below(relation)], otherwise)
}

/// The view that does not show a row, counted from the lowest one, by what the column tells.
pub(super) fn hiding_view(told: i32) -> Option<usize> {
    usize::try_from(told).ok()?.checked_sub(FIRST_VIEW)
}

fn hidden_below(relation: &Ident) -> (Expr, Expr) {
    let name = Ident::with_quote('"', hidden_by());
    let column = Expr::CompoundIdentifier(vec![relation.clone(), name]);
    let is_hidden = Expr::BinaryOp {
        left: Box::new(column.clone()),
        op: ast::BinaryOperator::Gt,
        right: Box::new(number(0)),
    };
    (is_hidden, column)
}

fn number(number: usize) -> Expr {
    Expr::Value(ast::Value::Number(number.to_string(), false).with_empty_span())
}

/// Finds where a statement names the whole row of the view.
pub(super) struct WholeRows<'a> {
    pub(super) alias: &'a str,
    /// Whether a name alone is that of a column.
    pub(super) is_column: bool,
}

impl WholeRows<'_> {
    /// Whether a name may be that of the view, in whatever case.
    fn is_alias(&self, name: &str) -> bool {
        name.eq_ignore_ascii_case(self.alias)
    }

    fn is_meant(&self, name: &ObjectName) -> bool {
        let parts = name_parts(name);
        parts.last().is_some_and(|last| self.is_alias(last))
    }

    fn found(is_found: bool) -> ControlFlow<()> {
        match is_found {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }
}

impl Visitor for WholeRows<'_> {
    type Break = ();

    fn pre_visit_select(&mut self, select: &ast::Select) -> ControlFlow<()> {
        let mut items = select.projection.iter();
        Self::found(items.any(|item| match item {
            SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(name), _) => {
                self.is_meant(name)
            }
            _ => false,
        }))
    }

    fn pre_visit_expr(&mut self, expr: &ast::Expr) -> ControlFlow<()> {
        Self::found(match expr {
            ast::Expr::Identifier(name) => !self.is_column && self.is_alias(&name.value),
            ast::Expr::QualifiedWildcard(name, _) => self.is_meant(name),
            ast::Expr::Function(function) => match &function.args {
                FunctionArguments::List(list) => list.args.iter().any(|arg| match arg {
                    FunctionArg::Unnamed(arg)
                    | FunctionArg::Named { arg, .. }
                    | FunctionArg::ExprNamed { arg, .. } => match arg {
                        FunctionArgExpr::QualifiedWildcard(name) => self.is_meant(name),
                        _ => false,
                    },
                }),
                _ => false,
            },
            _ => false,
        })
    }
}
