//! Calls in FROM that give one column: `SELECT g + x FROM generate_series(1, 3) AS g (x)`. Their name stands for the value
//! where that of other relations stands for a row.
//!
//! In: the query that such a call becomes, which is marked so, or the call itself; out: the column.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, Select, SelectItem, SetExpr, TableAlias, TableFactor, ValueTableMode, VisitMut,
    VisitorMut,
};

/// The column of a call in FROM that gives one column, for whose value the relation's name stands, too; `None`: the name is
/// that of a row.
pub(crate) fn value_column(factor: &TableFactor) -> Option<&Ident> {
    match factor {
        TableFactor::Derived { subquery, .. } => {
            let SetExpr::Select(select) = subquery.body.as_ref() else {
                return None;
            };
            match (&select.value_table_mode, select.projection.as_slice()) {
                (Some(ValueTableMode::AsValue), [SelectItem::ExprWithAlias { alias, .. }]) => {
                    Some(alias)
                }
                _ => None,
            }
        }
        TableFactor::UNNEST {
            array_exprs,
            alias: Some(alias),
            with_offset: false,
            with_ordinality: false,
            ..
        } if array_exprs.len() == 1 => only_name(alias),
        TableFactor::Table {
            name,
            args: Some(_),
            alias: Some(alias),
            with_ordinality: false,
            ..
        } if name.to_string().eq_ignore_ascii_case("generate_series") => only_name(alias),
        _ => None,
    }
}

/// The name that an alias lists, if it is one.
fn only_name(alias: &TableAlias) -> Option<&Ident> {
    match alias.columns.as_slice() {
        [column] => Some(&column.name),
        _ => None,
    }
}

/// Makes a value of each row of a SELECT of one column, as GoogleSQL's `SELECT AS VALUE` does.
pub(crate) fn as_value(select: &mut Select) {
    select.value_table_mode = (select.projection.len() == 1).then_some(ValueTableMode::AsValue);
}

/// Takes the marks of a tree back whose text is to be read again: they are GoogleSQL's.
pub(crate) fn unmark<T: VisitMut>(tree: &mut T) {
    struct Marks;
    impl VisitorMut for Marks {
        type Break = ();
        fn pre_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
            select.value_table_mode = None;
            ControlFlow::Continue(())
        }
    }
    // The visitor never breaks off.
    let _ = tree.visit(&mut Marks);
}
