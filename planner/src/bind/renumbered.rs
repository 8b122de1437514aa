//! Numbered columns that a statement sets to DEFAULT: the rows that it changes get new numbers there.
//!
//! In: the statement and its table; out: the places of the columns. Takes no number.

use auspex_storage::TableShape;
use datafusion::sql::sqlparser::ast::{Assignment, MergeAction};

use super::assigned_rows::pairs;
use super::change::Change;
use super::column_rules::{column_place, is_default};
use super::upsert::assigned;
use super::view_target::ViewTarget;
use crate::error::Result;

impl Change {
    /// The places of the numbered columns that rows get new numbers for. Where another clause of a MERGE gives one a value, a
    /// row without it is an error as ever.
    pub(crate) fn renumbered(
        &self,
        shape: &TableShape,
        view: Option<&ViewTarget>,
    ) -> Result<Vec<usize>> {
        let is_numbered = |idx: usize| shape.identity_of(&shape.columns()[idx]).is_some();
        // The default of a view's column is none of the table's.
        if view.is_some() || !(0..shape.columns().len()).any(is_numbered) {
            return Ok(Vec::new());
        }
        let (mut numbered, mut given) = (Vec::new(), Vec::new());
        for assignment in self.assignments().into_iter().flatten() {
            for (name, value) in pairs(assignment)? {
                // Another name stands for all columns, or is an error elsewhere.
                let Ok(place) = column_place(shape, &name, "") else {
                    continue;
                };
                match is_default(&value) {
                    true => numbered.push(place),
                    false => given.push(place),
                }
            }
        }
        numbered.retain(|place| is_numbered(*place) && !given.contains(place));
        Ok(numbered)
    }

    /// What each clause that changes rows assigns.
    fn assignments(&self) -> Vec<&[Assignment]> {
        match self {
            Change::Update(update) => vec![update.assignments.as_slice()],
            Change::Upsert(insert) => assigned(insert).into_iter().collect(),
            Change::Merge(merge) => {
                let actions = merge.clauses.iter().map(|clause| &clause.action);
                let updates = actions.filter_map(|action| match action {
                    MergeAction::Update(update) => Some(update.assignments.as_slice()),
                    _ => None,
                });
                updates.collect()
            }
            Change::Delete(_) => Vec::new(),
        }
    }
}
