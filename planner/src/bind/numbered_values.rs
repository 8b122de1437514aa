//! Generated columns that read numbered ones: what they hold follows once a row has its numbers.
//!
//! In: a table's definition; out: values that are NULL while a number is missing, and expressions that compute them
//! behind the numbers. Takes no number.

use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::TableShape;
use datafusion::arrow::datatypes::Field;
use datafusion::common::{Column, DFSchema, ScalarValue};
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Case, Expr, lit};
use datafusion::physical_plan::PhysicalExpr;
use datafusion::sql::sqlparser::ast;

use super::column_rules::{computed_of, defined_value};
use super::evaluated::evaluated;
use crate::commands::folded;
use crate::error::Result;
use crate::functions::assigned;

/// When rows get the numbers that they lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// They are as they will be in the table.
    Given,
    /// On the way to the table, behind their plan.
    Later,
}

/// A value of a generated column that is NULL while a number which it reads is missing: the value is computed behind the
/// numbers then, and may have no meaning before. `place` gives a column of the table.
pub(super) fn once_numbered(
    value: Expr,
    (shape, column): (&TableShape, &Field),
    place: impl Fn(usize) -> Expr,
) -> Result<Expr> {
    let missing = numbers_read(shape, column)?.into_iter();
    let missing = missing.map(|idx| place(idx).is_null()).reduce(Expr::or);
    Ok(match missing {
        Some(missing) => {
            let none = lit(ScalarValue::try_from(column.data_type())?);
            let none = vec![(Box::new(missing), Box::new(none))];
            Expr::Case(Case::new(None, none, Some(Box::new(value))))
        }
        None => value,
    })
}

/// The generated columns that read numbers: their places, and their values over the columns of the table.
pub(crate) fn values_of_numbers(
    state: &SessionState,
    shape: &TableShape,
) -> Result<Vec<(usize, Arc<dyn PhysicalExpr>)>> {
    let mut values = Vec::new();
    for (idx, field) in shape.columns().iter().enumerate() {
        let Some(text) = shape.generated_of(field) else {
            continue;
        };
        if numbers_read(shape, field)?.is_empty() {
            continue;
        }
        let schema = Arc::new(DFSchema::try_from(shape.schema())?);
        let value = defined_value(state, &text, field, &schema)?;
        let value = assigned(value, field, &schema)?;
        // Rows that are deleted have no numbers.
        let place = |idx: usize| Expr::Column(Column::new_unqualified(shape.columns()[idx].name()));
        let value = once_numbered(value, (shape, field), place)?;
        values.push((idx, evaluated(state, value, &schema, None)?));
    }
    Ok(values)
}

/// The places of the numbered columns that a generated column names.
pub(super) fn numbers_read(shape: &TableShape, column: &Field) -> Result<Vec<usize>> {
    let columns = shape.columns().iter().enumerate();
    let numbered = columns.filter(|(_, field)| shape.identity_of(field).is_some());
    let mut read: Vec<usize> = numbered.map(|(idx, _)| idx).collect();
    if read.is_empty() {
        return Ok(read);
    }
    let Some(value) = computed_of(shape, column)? else {
        return Ok(Vec::new());
    };
    let mut names = Vec::new();
    let _ = ast::visit_expressions(&value, |expr| {
        let name = match expr {
            ast::Expr::Identifier(ident) => Some(ident),
            ast::Expr::CompoundIdentifier(idents) => idents.last(),
            _ => None,
        };
        names.extend(name.map(folded));
        ControlFlow::<()>::Continue(())
    });
    read.retain(|idx| {
        let column = shape.columns()[*idx].name();
        names.iter().any(|name| name.eq_ignore_ascii_case(column))
    });
    Ok(read)
}
