//! `x IN (CASE … END, …)`: the planner takes a list for constant if no rows give one value, as they do of CASE.
//!
//! In: IN with a list in which some item is chosen or computed from columns by a call; out: equalities joined by OR.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, UnaryOperator, Visit as _, Visitor};

/// The equalities; `None`: the planner's own IN is right.
pub(super) fn spelt(expr: &Expr) -> Option<Expr> {
    let Expr::InList {
        expr: value,
        list,
        negated,
    } = expr
    else {
        return None;
    };
    list.iter().any(chooses).then_some(())?;
    let same = list.iter().map(|item| Expr::BinaryOp {
        left: value.clone(),
        op: BinaryOperator::Eq,
        right: Box::new(item.clone()),
    });
    let found = Expr::Nested(Box::new(any(same.collect())?));
    Some(match negated {
        true => Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(found),
        },
        false => found,
    })
}

/// Conditions joined by OR, as deep as need be and no deeper.
fn any(mut conditions: Vec<Expr>) -> Option<Expr> {
    if conditions.len() < 2 {
        return conditions.pop();
    }
    let others = conditions.split_off(conditions.len() / 2);
    Some(Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(any(conditions)?))),
        op: BinaryOperator::Or,
        right: Box::new(Expr::Nested(Box::new(any(others)?))),
    })
}

/// Whether an item is CASE, or may become one when it is simplified, of columns.
fn chooses(item: &Expr) -> bool {
    let mut found = Found::default();
    // The visitor never breaks off.
    let _ = item.visit(&mut found);
    found.choices && found.columns
}

#[derive(Default)]
struct Found {
    choices: bool,
    columns: bool,
}

impl Visitor for Found {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        match expr {
            Expr::Case { .. } | Expr::Function(_) => self.choices = true,
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.columns = true,
            _ => {}
        }
        ControlFlow::Continue(())
    }
}
