//! Columns that a definition qualifies by its own relation: `CHECK (t.a > 0)`, `CHECK (public.t.a > 0)`.
//!
//! In: a part of a definition and the relation's name; out: the part with the columns' names alone, as definitions are kept,
//! so that they mean the same under another name. Names in subqueries stay: they may be of relations within.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, VisitMut, VisitorMut};

use super::unqualified_names::join_names;
use crate::commands::folded;

/// Leaves the relation out of the names of its columns.
pub(crate) fn without_own_name(part: &mut impl VisitMut, schema: &str, relation: &str) {
    let mut names = OwnNames {
        schema,
        relation,
        depth: 0,
    };
    // The visitor never breaks off.
    let _ = part.visit(&mut names);
}

struct OwnNames<'a> {
    schema: &'a str,
    relation: &'a str,
    /// In how many subqueries the visitor is.
    depth: usize,
}

impl OwnNames<'_> {
    /// How many parts of a name are the relation's.
    fn n_own(&self, parts: &[Ident]) -> usize {
        let is = |part: &Ident, name: &str| folded(part) == name;
        match parts {
            [schema, relation, _, ..] if is(schema, self.schema) && is(relation, self.relation) => {
                2
            }
            [relation, _, ..] if is(relation, self.relation) => 1,
            _ => 0,
        }
    }
}

impl VisitorMut for OwnNames<'_> {
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
        if let Expr::CompoundIdentifier(parts) = expr
            && self.depth == 0
        {
            let n_own = self.n_own(parts);
            parts.drain(..n_own);
            if let [column] = parts.as_slice() {
                *expr = Expr::Identifier(column.clone());
            }
        }
        ControlFlow::Continue(())
    }
}
