//! How the key of an index is computed of a row, and which rows have one: an index over expressions or with a condition.
//!
//! Expressions that the planner made of the definition flow in with rows of the table; the values of the key flow out, as
//! the columns of a key of plain columns would.

use std::sync::Arc;

use datafusion::arrow::array::UInt64Array;
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, BooleanArray, RecordBatch};
use datafusion::arrow::compute::{filter_record_batch, take};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::Expr;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::utils::reassign_expr_columns;

use crate::error::Result;
use crate::tables::shape::TableShape;

/// An expression over the columns of a table.
#[derive(Debug, Clone)]
pub struct RowExpr {
    /// For plans that read the table.
    pub planned: Expr,
    /// For rows in memory, of the same type.
    pub evaluated: Arc<dyn PhysicalExpr>,
}

/// What computes a key.
#[derive(Debug, Clone)]
pub struct KeyForm {
    /// The values of its columns, in its order.
    pub elements: Vec<RowExpr>,
    /// What is true of a row that has a key; `None`: all have one.
    pub condition: Option<RowExpr>,
}

impl RowExpr {
    /// Rows may lack columns of the table that the expression does not read.
    fn of(&self, rows: &RecordBatch) -> Result<ArrayRef, DataFusionError> {
        let expr = reassign_expr_columns(Arc::clone(&self.evaluated), &rows.schema())?;
        expr.evaluate(rows)?.into_array(rows.num_rows())
    }
}

impl KeyForm {
    /// The types of the key's columns.
    pub(crate) fn types(&self, shape: &TableShape) -> Result<Vec<DataType>> {
        let schema = shape.schema();
        let elements = self.elements.iter();
        let types: Result<_, DataFusionError> = elements
            .map(|element| element.evaluated.data_type(&schema))
            .collect();
        Ok(types?)
    }

    /// The values of the key in rows of the table, and which rows count; `None`: all do. Those of the others are NULL and
    /// were not computed: the condition may be what keeps an expression from failing.
    pub fn of(
        &self,
        rows: &RecordBatch,
    ) -> Result<(Vec<ArrayRef>, Option<BooleanArray>), DataFusionError> {
        let values = |rows: &RecordBatch| -> Result<Vec<ArrayRef>, DataFusionError> {
            self.elements
                .iter()
                .map(|element| element.of(rows))
                .collect()
        };
        let Some(condition) = &self.condition else {
            return Ok((values(rows)?, None));
        };
        let held = condition.of(rows)?;
        let held = held.as_boolean();
        let counts = |row: usize| Some(held.is_valid(row) && held.value(row));
        let counted: BooleanArray = (0..rows.num_rows()).map(counts).collect();
        let mut at = 0;
        let places: UInt64Array = counted
            .values()
            .iter()
            .map(|counts| {
                let place = counts.then_some(at);
                at += u64::from(counts);
                place
            })
            .collect();
        let values = values(&filter_record_batch(rows, &counted)?)?;
        let values = values.iter().map(|column| take(column, &places, None));
        Ok((values.collect::<Result<_, _>>()?, Some(counted)))
    }
}
