//! Names without a relation where a statement sees the columns of one relation alone: of the row that is there in
//! `ON CONFLICT DO UPDATE`, of the source or of the target in MERGE's `WHEN NOT MATCHED`.
//!
//! In: what a statement says there, and the table's definition; out: the same with the relation before each name that is
//! also a column of the table, since no other name has two meanings. Names in subqueries stay: they may be of relations
//! within.

use std::ops::ControlFlow;

use auspex_storage::TableShape;
use datafusion::sql::sqlparser::ast::{Expr, Ident, Query, VisitMut, VisitorMut};

use super::column_rules::is_default;
use crate::commands::folded;

/// Lets the names in `part` mean columns of `relation`.
pub(super) fn qualify(part: &mut impl VisitMut, shape: &TableShape, relation: &Ident) {
    let mut names = OneRelation {
        shape,
        relation,
        depth: 0,
    };
    // The visitor never breaks off.
    let _ = part.visit(&mut names);
}

struct OneRelation<'a> {
    shape: &'a TableShape,
    relation: &'a Ident,
    /// In how many subqueries the visitor is.
    depth: usize,
}

impl VisitorMut for OneRelation<'_> {
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
        if let Expr::Identifier(name) = expr
            && self.depth == 0
            && !is_default(&Expr::Identifier(name.clone()))
            && self.shape.position(&folded(name)).is_some()
        {
            let mut parts = vec![self.relation.clone(), Ident::with_quote('"', folded(name))];
            // An error points at the name.
            parts.iter_mut().for_each(|part| part.span = name.span);
            *expr = Expr::CompoundIdentifier(parts);
        }
        ControlFlow::Continue(())
    }
}
