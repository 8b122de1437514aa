//! Names without a relation in a part of a statement, but for those in its subqueries, which may be of relations within.
//!
//! In: a part of a syntax tree; out: the part in which such names have the relation before them that the caller gives.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{AccessExpr, Expr, Ident, Query, VisitMut, VisitorMut};

/// Puts before each such name the relation that `relation` gives for it, with the name as it is to be written there.
pub(super) fn qualify(
    part: &mut impl VisitMut,
    relation: impl FnMut(&Ident) -> Option<[Ident; 2]>,
) {
    let mut names = Qualified { relation, depth: 0 };
    // The visitor never breaks off.
    let _ = part.visit(&mut names);
}

struct Qualified<F> {
    relation: F,
    /// In how many subqueries the visitor is.
    depth: usize,
}

impl<F: FnMut(&Ident) -> Option<[Ident; 2]>> VisitorMut for Qualified<F> {
    type Break = ();

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        join_names(expr);
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && let Some(mut parts) = (self.relation)(name)
        {
            // An error points at the name.
            parts.iter_mut().for_each(|part| part.span = name.span);
            *expr = Expr::CompoundIdentifier(parts.into());
        }
        ControlFlow::Continue(())
    }
}

/// Makes one name of the parts of one before a subscript, as of `t.a` in `t.a[1]`: each of them is read as a name of its own.
pub(super) fn join_names(expr: &mut Expr) {
    let Expr::CompoundFieldAccess { root, access_chain } = expr else {
        return;
    };
    let Expr::Identifier(first) = root.as_ref() else {
        return;
    };
    let part = |access: &AccessExpr| match access {
        AccessExpr::Dot(Expr::Identifier(part)) => Some(part.clone()),
        _ => None,
    };
    let behind = access_chain.iter().map_while(part);
    let names: Vec<Ident> = std::iter::once(first.clone()).chain(behind).collect();
    if names.len() > 1 && names.len() <= access_chain.len() {
        access_chain.drain(..names.len() - 1);
        **root = Expr::CompoundIdentifier(names);
    }
}
