//! The columns of a view that a statement writes through, as columns of the table.
//!
//! In: names that a statement has for columns of the view; out: their places in the table, or the error that there is no such
//! column, or none that takes values.

use std::ops::ControlFlow;

use auspex_storage::TableShape;
use datafusion::sql::sqlparser::ast::{self, Ident, SelectItem, SetExpr, Visit};

use super::change::last;
use super::column_rules::undefined_column;
use super::hidden_columns::WholeRows;
use super::simple_view::{WrittenColumn, named};
use crate::commands::folded;
use crate::error::{Error, Result};

/// The columns of a view that a statement changes.
#[derive(Debug, Clone)]
pub(super) struct ViewColumns {
    /// The view.
    pub(super) view: String,
    pub(super) columns: Vec<WrittenColumn>,
}

impl ViewColumns {
    /// The place in the table of a view's column that a statement writes.
    pub(super) fn place(&self, name: &str, verb: &str) -> Result<usize> {
        let column = named(&self.columns, name);
        let column = column.ok_or_else(|| undefined_column(name, &self.view))?;
        self.place_of(column, verb)
    }

    /// The places of the columns that an INSERT fills.
    pub(super) fn places(&self, insert: &ast::Insert) -> Result<Vec<usize>> {
        const VERB: &str = "insert into";
        if insert.columns.is_empty() {
            let n_filled = n_filled(insert).unwrap_or(self.columns.len());
            let filled = self.columns.iter().take(n_filled);
            return filled.map(|column| self.place_of(column, VERB)).collect();
        }
        let named = insert.columns.iter().map(last);
        named.map(|name| self.place(&name, VERB)).collect()
    }

    /// The place in the table of a column that a clause names; `None`: it is computed.
    pub(super) fn named_place(&self, name: &str) -> Result<Option<usize>> {
        let column = named(&self.columns, name);
        let column = column.ok_or_else(|| undefined_column(name, &self.view))?;
        Ok(column.place)
    }

    /// Whether it has a column of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        named(&self.columns, name).is_some()
    }

    /// The names of the table's columns that some of the view's columns are.
    pub(super) fn of_table(&self, names: &[String], shape: &TableShape) -> Vec<String> {
        let columns = names
            .iter()
            .filter_map(|name| named(&self.columns, name)?.place);
        columns
            .map(|idx| shape.columns()[idx].name().clone())
            .collect()
    }

    /// Fails where a part of a statement names the whole row of the view, which has hidden columns there.
    pub(super) fn refuse_whole_rows<T: Visit>(&self, part: &T, alias: &Ident) -> Result<()> {
        let alias = folded(alias);
        let mut rows = WholeRows {
            alias: &alias,
            is_column: named(&self.columns, &alias).is_some(),
        };
        match Visit::visit(part, &mut rows) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::unsupported(format!(
                "all of \"{alias}\" in a statement that changes it by the way of a view"
            ))),
        }
    }

    fn place_of(&self, column: &WrittenColumn, verb: &str) -> Result<usize> {
        column.place.ok_or_else(|| Error::NotUpdatable {
            sqlstate: "0A000",
            message: format!(
                "cannot {verb} column \"{}\" of view \"{}\"",
                column.name, self.view
            ),
            detail: "View columns that are not columns of their base relation are not updatable."
                .to_owned(),
            hint: None,
        })
    }
}

/// How many columns the source of an INSERT fills; `None`: it does not say.
pub(super) fn n_filled(insert: &ast::Insert) -> Option<usize> {
    match &insert.source {
        Some(source) => n_columns(&source.body),
        // DEFAULT VALUES.
        None => Some(0),
    }
}

fn n_columns(rows: &SetExpr) -> Option<usize> {
    match rows {
        SetExpr::Values(values) => values.rows.first().map(|row| row.content.len()),
        SetExpr::Select(select) => {
            let is_plain = |item: &SelectItem| {
                matches!(
                    item,
                    SelectItem::UnnamedExpr(_) | SelectItem::ExprWithAlias { .. }
                )
            };
            let items = &select.projection;
            items.iter().all(is_plain).then_some(items.len())
        }
        SetExpr::SetOperation { left, .. } => n_columns(left),
        SetExpr::Query(query) => n_columns(&query.body),
        _ => None,
    }
}
