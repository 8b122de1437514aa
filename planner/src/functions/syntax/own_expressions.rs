//! The expressions of a part of one query, without those of the queries within it.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Visit, VisitMut, Visitor, VisitorMut};

/// Tells the expressions of a tree, inner ones first, but not those of queries in it.
pub(crate) fn each_own<T: Visit + ?Sized>(tree: &T, of: impl FnMut(&Expr)) {
    // The visitor never breaks off.
    let _ = Visit::visit(tree, &mut Own { depth: 0, of });
}

/// Changes the expressions of a tree, inner ones first, but not those of queries in it.
pub(crate) fn change_own<T: VisitMut + ?Sized>(tree: &mut T, of: impl FnMut(&mut Expr)) {
    // The visitor never breaks off.
    let _ = VisitMut::visit(tree, &mut Own { depth: 0, of });
}

struct Own<F> {
    /// Below how many queries.
    depth: usize,
    of: F,
}

impl<F: FnMut(&Expr)> Visitor for Own<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            (self.of)(expr);
        }
        ControlFlow::Continue(())
    }
}

impl<F: FnMut(&mut Expr)> VisitorMut for Own<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if self.depth == 0 {
            (self.of)(expr);
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Value;

    use super::*;

    #[test]
    fn queries_within_stay_as_they_are() {
        let text = "SELECT 1 + (SELECT 1), EXISTS (SELECT 1) AND f(1)";
        let mut query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        change_own(query.body.as_mut(), |expr| {
            if matches!(expr, Expr::Value(_)) {
                *expr = Expr::value(Value::Number("2".to_owned(), false));
            }
        });
        assert_eq!(
            query.to_string(),
            "SELECT 2 + (SELECT 1), EXISTS (SELECT 1) AND f(2)"
        );
    }
}
