//! Columns of one name: PostgreSQL allows them in a result, the planner does not.
//!
//! In and out: a query's syntax tree. A repeated column gets an alias that ends in a mark and a number;
//! [`displayed_name`] cuts them off where the client is told the name.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use auspex_planner::column_name_of;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, Query, Select, SelectItem, Value, VisitMut, VisitorMut,
};

/// ASCII's unit separator, which no sensible name contains.
const MARK: char = '\u{1f}';

/// A column's name without what tells it from its namesakes: our mark, or the number that the planner gives a column of a
/// relation that has one of the name before it (`id:1`).
pub(crate) fn displayed_name<'a>(name: &'a str, before: &[FieldRef]) -> &'a str {
    match name.rsplit_once(':') {
        Some((column, number))
            if number.parse::<usize>().is_ok()
                && before.iter().any(|other| other.name() == column) =>
        {
            column
        }
        _ => name.split(MARK).next().unwrap_or(name),
    }
}

/// Gives repeated columns of each SELECT names of their own.
pub(super) fn rewrite(query: &mut Query) {
    // The visitor never breaks off.
    let _ = query.visit(&mut Namer);
}

struct Namer;

impl VisitorMut for Namer {
    type Break = ();

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        distinguish(select);
        ControlFlow::Continue(())
    }
}

fn distinguish(select: &mut Select) {
    let mut seen = BTreeSet::new();
    for (idx, item) in select.projection.iter_mut().enumerate() {
        let (expr, name, key) = match item {
            SelectItem::UnnamedExpr(expr) => {
                let (name, key) = (column_name_of(expr), planned_name(expr));
                (expr, name, key)
            }
            SelectItem::ExprWithAlias { expr, alias } => {
                (expr, alias.value.clone(), alias.value.clone())
            }
            // What a wildcard repeats, the planner finds.
            _ => continue,
        };
        if !seen.insert(key) {
            let alias = Ident::with_quote('"', format!("{name}{MARK}{idx}"));
            *item = SelectItem::ExprWithAlias {
                expr: expr.clone(),
                alias,
            };
        }
    }
}

/// What the planner calls an expression: it tells no subquery from another.
fn planned_name(expr: &Expr) -> String {
    struct Blind;
    impl VisitorMut for Blind {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
            // Nor does it tell a cast from what is cast.
            while let Expr::Cast { expr: inner, .. } = expr {
                *expr = inner.as_ref().clone();
            }
            // Nor one spelling of a number from another.
            if let Expr::Value(value) = expr
                && let Value::Number(text, _) = &mut value.value
                && let Ok(number) = text.parse::<f64>()
            {
                *text = number.to_string();
            }
            if matches!(expr, Expr::Subquery(_) | Expr::Exists { .. }) {
                *expr = Expr::Identifier(Ident::new("<subquery>"));
            }
            ControlFlow::Continue(())
        }
    }
    let mut expr = expr.clone();
    let _ = expr.visit(&mut Blind);
    expr.to_string()
}
