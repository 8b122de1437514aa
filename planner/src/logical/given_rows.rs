//! The operator that holds the rows of a statement that gives many: values, and parameters until these have values.
//!
//! In: cells, column by column; out: one batch. Only its parameters are expressions, so that nothing walks over the others; once
//! all are known, it has none.

use std::cmp::Ordering;
use std::fmt::Formatter;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::{DFSchema, DFSchemaRef, ScalarValue};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

use crate::functions::rounded_numeric;

/// What stands in one column of one row.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum GivenCell {
    /// One of the column's type.
    Value(ScalarValue),
    /// One whose values all become values of the column's type.
    Parameter(Placeholder),
}

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GivenRowsNode {
    schema: DFSchemaRef,
    rows: Rows,
}

#[derive(Debug, Clone, PartialEq)]
enum Rows {
    /// Some cells are parameters.
    Open(Arc<Vec<Vec<GivenCell>>>),
    Known(RecordBatch),
}

impl GivenRowsNode {
    /// A plan of rows: of each column its field and its cells.
    pub(crate) fn plan(columns: Vec<(Field, Vec<GivenCell>)>) -> Result<LogicalPlan> {
        let (fields, cells): (Vec<Field>, Vec<Vec<GivenCell>>) = columns.into_iter().unzip();
        let schema = Arc::new(DFSchema::try_from(Schema::new(fields))?);
        let node = Arc::new(GivenRowsNode::of(schema, cells)?);
        Ok(LogicalPlan::Extension(Extension { node }))
    }

    fn of(schema: DFSchemaRef, columns: Vec<Vec<GivenCell>>) -> Result<GivenRowsNode> {
        let is_parameter = |cell: &GivenCell| matches!(cell, GivenCell::Parameter(_));
        let rows = match columns.iter().flatten().any(is_parameter) {
            true => Rows::Open(Arc::new(columns)),
            false => Rows::Known(batch(&schema, columns)?),
        };
        Ok(GivenRowsNode { schema, rows })
    }

    /// The rows, once all of their values are known.
    pub(crate) fn known(&self) -> Result<&RecordBatch> {
        match &self.rows {
            Rows::Known(batch) => Ok(batch),
            Rows::Open(_) => Err(internal("rows were asked for before their parameters")),
        }
    }

    /// How many cells are no parameters.
    pub(crate) fn n_values(&self) -> usize {
        let is_value = |cell: &&GivenCell| matches!(cell, GivenCell::Value(_));
        match &self.rows {
            Rows::Open(columns) => columns.iter().flatten().filter(is_value).count(),
            Rows::Known(batch) => batch.num_rows() * batch.num_columns(),
        }
    }

    /// The same cells with what has become of the parameters, in their order.
    fn with_parameters(&self, columns: &[Vec<GivenCell>], exprs: Vec<Expr>) -> Result<Self> {
        let mut exprs = exprs.into_iter();
        let mut cell = |cell: &GivenCell| match cell {
            GivenCell::Parameter(_) => match exprs.next().map(Expr::unalias) {
                Some(Expr::Literal(value, _)) => Ok(GivenCell::Value(value)),
                Some(Expr::Placeholder(parameter)) => Ok(GivenCell::Parameter(parameter)),
                _ => Err(internal("a parameter has become neither one nor a value")),
            },
            known => Ok(known.clone()),
        };
        let mut given = Vec::with_capacity(columns.len());
        for column in columns {
            given.push(column.iter().map(&mut cell).collect::<Result<Vec<_>>>()?);
        }
        GivenRowsNode::of(Arc::clone(&self.schema), given)
    }
}

/// The rows of cells that are all known.
fn batch(schema: &DFSchema, columns: Vec<Vec<GivenCell>>) -> Result<RecordBatch> {
    let mut arrays = Vec::with_capacity(columns.len());
    for (field, cells) in schema.fields().iter().zip(columns) {
        let value = |cell| match cell {
            GivenCell::Value(value) => of_type(value, field.data_type()),
            GivenCell::Parameter(_) => Err(internal("a parameter among known values")),
        };
        let values = cells.into_iter().map(value).collect::<Result<Vec<_>>>()?;
        arrays.push(ScalarValue::iter_to_array(values)?);
    }
    Ok(RecordBatch::try_new(Arc::clone(schema.inner()), arrays)?)
}

/// A value as one of its column's type: parameters may be narrower.
fn of_type(value: ScalarValue, data_type: &DataType) -> Result<ScalarValue> {
    if value.data_type() == *data_type {
        return Ok(value);
    }
    match value.is_null() {
        true => ScalarValue::try_from(data_type),
        false => rounded_numeric(&value, data_type),
    }
}

fn internal(what: &str) -> DataFusionError {
    DataFusionError::Internal(what.to_owned())
}

impl Eq for GivenRowsNode {}

impl PartialOrd for GivenRowsNode {
    fn partial_cmp(&self, other: &GivenRowsNode) -> Option<Ordering> {
        (self == other).then_some(Ordering::Equal)
    }
}

impl Hash for GivenRowsNode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.schema.hash(state);
    }
}

impl UserDefinedLogicalNodeCore for GivenRowsNode {
    fn name(&self) -> &str {
        "GivenRows"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        Vec::new()
    }

    fn schema(&self) -> &DFSchemaRef {
        &self.schema
    }

    fn expressions(&self) -> Vec<Expr> {
        let parameter = |cell: &GivenCell| match cell {
            GivenCell::Parameter(parameter) => Some(Expr::Placeholder(parameter.clone())),
            GivenCell::Value(_) => None,
        };
        match &self.rows {
            Rows::Open(columns) => columns.iter().flatten().filter_map(parameter).collect(),
            Rows::Known(_) => Vec::new(),
        }
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let n_rows = match &self.rows {
            Rows::Open(columns) => columns.first().map_or(0, Vec::len),
            Rows::Known(batch) => batch.num_rows(),
        };
        write!(f, "GivenRows: rows={n_rows}")
    }

    fn with_exprs_and_inputs(
        &self,
        exprs: Vec<Expr>,
        _inputs: Vec<LogicalPlan>,
    ) -> Result<GivenRowsNode> {
        match &self.rows {
            Rows::Open(columns) => self.with_parameters(columns, exprs),
            Rows::Known(_) => Ok(self.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::ParamValues;
    use datafusion::common::metadata::ScalarAndMetadata;

    use super::*;

    fn parameter(name: &str, data_type: DataType) -> GivenCell {
        let field = Arc::new(Field::new("value", data_type, true));
        GivenCell::Parameter(Placeholder::new_with_field(name.to_owned(), Some(field)))
    }

    fn with_values(plan: LogicalPlan, values: Vec<ScalarValue>) -> RecordBatch {
        let values = values.into_iter();
        let values = values.map(|value| ScalarAndMetadata::new(value, None));
        let values = ParamValues::List(values.collect());
        let plan = plan.replace_params_with_values(&values).unwrap();
        assert!(plan.expressions().is_empty());
        let LogicalPlan::Extension(extension) = plan else {
            panic!("{plan:?}");
        };
        let node = extension.node.as_any().downcast_ref::<GivenRowsNode>();
        node.unwrap().known().unwrap().clone()
    }

    #[test]
    fn parameters_become_values_of_their_columns() {
        let plan = GivenRowsNode::plan(vec![
            (
                Field::new("column1", DataType::Int64, true),
                vec![
                    parameter("$2", DataType::Int16),
                    GivenCell::Value(ScalarValue::Int64(Some(7))),
                ],
            ),
            (
                Field::new("column2", DataType::Utf8, true),
                vec![
                    parameter("$1", DataType::Utf8),
                    parameter("$3", DataType::Utf8),
                ],
            ),
        ]);
        let plan = plan.unwrap();
        assert_eq!(plan.get_parameter_names().unwrap().len(), 3);
        let rows = with_values(
            plan,
            vec![
                ScalarValue::Utf8(Some("a".to_owned())),
                ScalarValue::Int16(Some(5)),
                ScalarValue::Int16(None),
            ],
        );
        let shown = |idx: usize, row: usize| {
            let value = ScalarValue::try_from_array(rows.column(idx), row);
            value.unwrap()
        };
        assert_eq!(shown(0, 0), ScalarValue::Int64(Some(5)));
        assert_eq!(shown(0, 1), ScalarValue::Int64(Some(7)));
        assert_eq!(shown(1, 0), ScalarValue::Utf8(Some("a".to_owned())));
        assert_eq!(shown(1, 1), ScalarValue::Utf8(None));
    }

    #[test]
    fn rows_without_their_parameters_are_no_batch() {
        let column = Field::new("column1", DataType::Utf8, true);
        let cells = vec![parameter("$1", DataType::Utf8)];
        let schema = DFSchema::try_from(Schema::new(vec![column])).unwrap();
        let node = GivenRowsNode::of(Arc::new(schema), vec![cells]).unwrap();
        assert!(node.known().is_err());
    }
}
