//! Names without a relation where a statement sees the columns of one relation alone: of the row that is there in
//! `ON CONFLICT DO UPDATE`, of the source or of the target in MERGE's `WHEN NOT MATCHED`.
//!
//! In: what a statement says there, and the table's definition; out: the same with the relation before each name that is
//! also a column of the table, since no other name has two meanings. Names in subqueries stay: they may be of relations
//! within.

use auspex_storage::TableShape;
use datafusion::sql::sqlparser::ast::{Expr, Ident, VisitMut};

use super::column_rules::is_default;
use super::unqualified_names;
use crate::commands::folded;

/// Lets the names in `part` mean columns of `relation`.
pub(super) fn qualify(part: &mut impl VisitMut, shape: &TableShape, relation: &Ident) {
    qualify_known(part, &|name| shape.position(name).is_some(), relation);
}

/// The same for a relation with columns that `is_known` knows.
pub(super) fn qualify_known(
    part: &mut impl VisitMut,
    is_known: &dyn Fn(&str) -> bool,
    relation: &Ident,
) {
    unqualified_names::qualify(part, |name| {
        let is_column = !is_default(&Expr::Identifier(name.clone())) && is_known(&folded(name));
        is_column.then(|| [relation.clone(), Ident::with_quote('"', folded(name))])
    });
}
