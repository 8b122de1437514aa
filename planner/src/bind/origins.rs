//! Which column of which relation each column of a result is, and what it was declared with: drivers tell applications the
//! table and the size of a column by it.
//!
//! In: a plan as it was bound; out: the relation's number and the column's place, for what is a column and no expression,
//! and the types that `declared_types` finds.

use std::collections::HashMap;
use std::sync::Arc;

use auspex_storage::{CatalogEntry, DeclaredType, Definition};
use datafusion::arrow::datatypes::Field;
use datafusion::common::{Column, JoinType, TableReference};
use datafusion::logical_expr::{Distinct, Expr, LogicalPlan};

use super::declared_types::{declared_columns, marked};
use crate::search_path::SEARCHED;
use crate::session::Session;

/// The key of the field metadata that holds the origin of a column of a result: the relation's number and the column's,
/// from 1, with a colon between.
pub const ORIGIN_KEY: &str = "pg.origin";

/// What is known of where a column of a result comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Origin {
    column: Option<ColumnOf>,
    declared: Option<DeclaredType>,
}

/// A column of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct ColumnOf {
    relation: u32,
    /// From 0.
    place: usize,
}

impl Origin {
    /// The field of a result that comes from there.
    pub(crate) fn mark(self, field: Field) -> Field {
        let field = match self.declared {
            Some(declared) => marked(field, declared),
            None => field,
        };
        let Some(column) = self.column else {
            return field;
        };
        let mut notes: HashMap<String, String> = field.metadata().clone();
        let origin = format!("{}:{}", column.relation, column.place + 1);
        notes.insert(ORIGIN_KEY.to_owned(), origin);
        field.with_metadata(notes)
    }
}

/// The origins of the columns of a plan.
pub(crate) fn origins(session: &Session, plan: &LogicalPlan) -> Vec<Option<Origin>> {
    let declared = declared_columns(plan, None);
    let n_columns = plan.schema().fields().len();
    let known = |idx: usize| {
        let column = origin(session, plan, idx);
        let declared = declared.get(idx).copied().flatten();
        let is_known = column.is_some() || declared.is_some();
        is_known.then_some(Origin { column, declared })
    };
    (0..n_columns).map(known).collect()
}

fn origin(session: &Session, plan: &LogicalPlan, idx: usize) -> Option<ColumnOf> {
    let of_column = |input: &LogicalPlan, expr: &Expr| {
        let column = plain(expr)?;
        let idx = input.schema().maybe_index_of_column(column)?;
        origin(session, input, idx)
    };
    match plan {
        LogicalPlan::Projection(node) => of_column(&node.input, node.expr.get(idx)?),
        LogicalPlan::Aggregate(node) => match node.group_expr.get(idx)? {
            Expr::GroupingSet(_) => None,
            expr => of_column(&node.input, expr),
        },
        LogicalPlan::Filter(node) => origin(session, &node.input, idx),
        LogicalPlan::Sort(node) => origin(session, &node.input, idx),
        LogicalPlan::Limit(node) => origin(session, &node.input, idx),
        LogicalPlan::Distinct(Distinct::All(input)) => origin(session, input, idx),
        LogicalPlan::Window(node) => {
            let is_column = idx < node.input.schema().fields().len();
            is_column.then(|| origin(session, &node.input, idx))?
        }
        LogicalPlan::Join(node) => {
            let n_left = node.left.schema().fields().len();
            match node.join_type {
                JoinType::Inner | JoinType::Left | JoinType::Right | JoinType::Full => {
                    match idx.checked_sub(n_left) {
                        Some(idx) => origin(session, &node.right, idx),
                        None => origin(session, &node.left, idx),
                    }
                }
                JoinType::LeftSemi | JoinType::LeftAnti => origin(session, &node.left, idx),
                _ => None,
            }
        }
        LogicalPlan::SubqueryAlias(node) => {
            // A view stands in a plan as its query under its name.
            let n_columns = node.schema.fields().len();
            view(session, &node.alias, idx, n_columns).or_else(|| origin(session, &node.input, idx))
        }
        LogicalPlan::TableScan(scan) => {
            let name = scan.projected_schema.field(idx).name();
            let place = scan.source.schema().index_of(name).ok()?;
            let entry = relation(session, &scan.table_name)?;
            Some(ColumnOf {
                relation: entry.oid,
                place,
            })
        }
        _ => None,
    }
}

/// The column that an expression is under whatever name.
fn plain(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Alias(alias) => plain(&alias.expr),
        _ => None,
    }
}

fn view(
    session: &Session,
    alias: &TableReference,
    idx: usize,
    n_columns: usize,
) -> Option<ColumnOf> {
    let entry = relation(session, alias)?;
    let Definition::View(view) = &entry.definition else {
        return None;
    };
    (view.columns.is_empty() || view.columns.len() == n_columns).then_some(ColumnOf {
        relation: entry.oid,
        place: idx,
    })
}

fn relation(session: &Session, name: &TableReference) -> Option<Arc<CatalogEntry>> {
    let parts: Vec<String> = match name.schema() {
        Some(schema) if schema != SEARCHED => vec![schema.to_owned(), name.table().to_owned()],
        _ => vec![name.table().to_owned()],
    };
    let (schema, name) = session.relation_parts(&parts).ok()?;
    session.entry(&schema, &name)
}
