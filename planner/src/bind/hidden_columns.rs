//! The columns of a table behind a view that is written through, and statements that would show them.
//!
//! In: the place of a column, or a part of a statement; out: a name that no client's text can bring into a statement, or
//! whether the part names the whole row of the view.

use std::ops::ControlFlow;

use auspex_sql::PRIVATE;
use datafusion::sql::sqlparser::ast::{
    self, FunctionArg, FunctionArgExpr, FunctionArguments, ObjectName, SelectItem,
    SelectItemQualifiedWildcardKind, Visitor,
};

use crate::commands::name_parts;

/// The hidden name of a column of the table.
pub(super) fn hidden(idx: usize) -> String {
    format!("{PRIVATE}{idx}")
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
