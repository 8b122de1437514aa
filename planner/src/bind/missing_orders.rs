//! ORDER BY a column that there is not, above a query or a view with DISTINCT ON: the planner looks for the column within, and
//! ends the statement where it finds DISTINCT ON.
//!
//! In: a statement that is planned; out: its plan, or the error that there is no such column. Nothing is asked beforehand,
//! since what tells the columns takes as long as planning.

use std::any::Any;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, resume_unwind};

use datafusion::common::{Column, SchemaError};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::SessionState;
use datafusion::logical_expr::LogicalPlan;
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, Query, SetExpr, Statement, TableFactor, Visit, Visitor,
};
use futures::FutureExt as _;

use super::relation_columns::{RelationColumns, all_relations, is_called};
use crate::commands::folded;
use crate::functions::each_own;

/// What the planner ends such a statement with.
const END: &str = "with_new_exprs for Distinct does not support sort expressions";

/// The plan of a statement, of which `typed` is the last form.
pub(super) async fn planned(
    statement: &Statement,
    typed: SqlStatement,
    planner: &SessionState,
) -> Result<LogicalPlan> {
    // Planning leaves nothing behind that another statement would see.
    let planning = AssertUnwindSafe(planner.statement_to_plan(typed)).catch_unwind();
    match planning.await {
        Ok(plan) => plan,
        Err(panic) if is_end(&*panic) => match Box::pin(missing(statement, planner)).await {
            Some(column) => Err(not_found(column)),
            None => resume_unwind(panic),
        },
        Err(panic) => resume_unwind(panic),
    }
}

fn is_end(panic: &(dyn Any + Send)) -> bool {
    let text = panic.downcast_ref::<&'static str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)) == Some(END)
}

fn not_found(column: Column) -> DataFusionError {
    let cause = SchemaError::FieldNotFound {
        field: Box::new(column),
        valid_fields: Vec::new(),
    };
    DataFusionError::SchemaError(Box::new(cause), Box::new(None))
}

/// The first column in an ORDER BY that its relation does not have, else the first one without a relation beside it; those of
/// inner queries come first. Columns without the name of a relation the planner looks for itself.
async fn missing(statement: &Statement, planner: &SessionState) -> Option<Column> {
    let mut ordered = Ordered::default();
    let _ = Visit::visit(statement, &mut ordered);
    let mut stray = None;
    for Asked { key, owner } in ordered.asked {
        let Some(owner) = owner else {
            stray = stray.or(Some(key));
            continue;
        };
        let names = ordered.columns.of(&owner, planner).await;
        if names.is_some_and(|names| !names.iter().any(|name| name == key.name())) {
            return Some(key);
        }
    }
    stray
}

/// A column in the ORDER BY of a query, and the relation of its name beside it.
struct Asked {
    key: Column,
    owner: Option<TableFactor>,
}

/// Finds the columns that queries are ordered by.
#[derive(Default)]
struct Ordered {
    columns: RelationColumns,
    asked: Vec<Asked>,
}

impl Visitor for Ordered {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        self.columns.note(query);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        let (Some(order), SetExpr::Select(select)) = (&query.order_by, query.body.as_ref()) else {
            return ControlFlow::Continue(());
        };
        let relations = all_relations(&select.from);
        each_own(order, |expr| {
            if let Expr::CompoundIdentifier(parts) = expr
                && let [relation, name] = parts.as_slice()
            {
                let relation = folded(relation);
                let owner = relations.iter().find(|known| is_called(known, &relation));
                self.asked.push(Asked {
                    owner: owner.copied().cloned(),
                    key: Column::new(Some(relation), folded(name)),
                });
            }
        });
        ControlFlow::Continue(())
    }
}
