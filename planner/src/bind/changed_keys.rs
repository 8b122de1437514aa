//! Which columns of rows that are there a statement changes, and whether keys are among them.
//!
//! In: the syntax tree and the table's definition; out: whether the storage must look for rows of the same key. That rows
//! which are added are looked at is its own business.

use auspex_sql::EVERY_COLUMN;
use auspex_storage::{Key, TableShape};
use datafusion::sql::sqlparser::ast::{self, Assignment, AssignmentTarget};

use super::change::{Change, last};
use super::upsert;
use super::view_target::ViewTarget;

impl Change {
    /// Whether rows that are replaced may have other keys than before; `view` is what the statement names in place of the
    /// table.
    pub(crate) fn changes_keys(&self, shape: &TableShape, view: Option<&ViewTarget>) -> bool {
        let mut assigned = self.assigned();
        if let Some(view) = view {
            assigned = view.columns(shape).of_table(&assigned, shape);
        }
        if assigned.is_empty() {
            return false;
        }
        // What is generated from other columns changes with them.
        let may_change = |column: &String| {
            let is_generated = |idx: usize| shape.generated_of(&shape.columns()[idx]).is_some();
            shape.position(column).is_none_or(is_generated)
                || assigned
                    .iter()
                    .any(|name| name == EVERY_COLUMN || name.eq_ignore_ascii_case(column))
        };
        shape.keys().iter().flat_map(Key::reads).any(may_change)
    }

    /// The columns of rows that are there which get other values.
    fn assigned(&self) -> Vec<String> {
        let assignments: Vec<&Assignment> = match self {
            Change::Update(update) => update.assignments.iter().collect(),
            Change::Merge(merge) => {
                let clauses = merge.clauses.iter();
                let updates = clauses.filter_map(|clause| match &clause.action {
                    ast::MergeAction::Update(update) => Some(&update.assignments),
                    _ => None,
                });
                updates.flatten().collect()
            }
            Change::Upsert(insert) => {
                match upsert::conflict_of(insert).map(|conflict| &conflict.action) {
                    Some(ast::OnConflictAction::DoUpdate(update)) => {
                        update.assignments.iter().collect()
                    }
                    _ => Vec::new(),
                }
            }
            Change::Delete(_) => Vec::new(),
        };
        let names = |assignment: &Assignment| match &assignment.target {
            AssignmentTarget::ColumnName(name) => vec![last(name)],
            AssignmentTarget::Tuple(names) => names.iter().map(last).collect(),
        };
        assignments.into_iter().flat_map(names).collect()
    }
}
