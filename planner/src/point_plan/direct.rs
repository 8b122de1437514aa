//! Predictions whose features are parameters as they are: of the values themselves, without arrays or expressions.
//!
//! In: the physical expressions of a projection and what its input is made of; out: for each row the parameters that are
//! the features. Anything else is left to the expressions.

use std::any::Any;
use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::ScalarUDF;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use super::Node;
use crate::bind::PredictUdf;

/// A prediction of parameters.
#[derive(Debug)]
pub(super) struct Direct {
    function: Arc<ScalarUDF>,
    /// Of each row the parameters that are its features.
    rows: Vec<Vec<usize>>,
}

impl Direct {
    /// The expressions of a projection, if all are such predictions.
    pub(super) fn all(exprs: &[Arc<dyn PhysicalExpr>], input: &Node) -> Option<Vec<Direct>> {
        let direct = exprs.iter().map(|expr| Direct::of(expr, input));
        direct.collect()
    }

    fn of(expr: &Arc<dyn PhysicalExpr>, input: &Node) -> Option<Direct> {
        let expr: &dyn Any = expr.as_ref();
        let call = expr.downcast_ref::<ScalarFunctionExpr>()?;
        let function = Arc::new(call.fun().clone());
        prediction(&function)?;
        let columns = call.args().iter().map(|arg| input.sources(arg));
        let columns = columns.collect::<Option<Vec<Vec<usize>>>>()?;
        let row = |row: usize| columns.iter().map(|sources| sources[row]).collect();
        let rows = (0..input.n_rows()).map(row).collect();
        Some(Direct { function, rows })
    }

    /// One value a row; `None` if a parameter's type must be read from an array.
    pub(super) fn run(&self, parameters: &[ScalarValue]) -> Result<Option<ArrayRef>> {
        let values = |row: &Vec<usize>| row.iter().map(|idx| &parameters[*idx]).collect();
        let rows: Vec<Vec<&ScalarValue>> = self.rows.iter().map(values).collect();
        let predicted = prediction(&self.function).and_then(|udf| udf.predict_values(&rows));
        predicted
            .transpose()
            .map_err(|error| DataFusionError::External(Box::new(error)))
    }
}

fn prediction(function: &ScalarUDF) -> Option<&PredictUdf> {
    let implementation: &dyn Any = function.inner().as_ref();
    implementation.downcast_ref::<PredictUdf>()
}

impl Node {
    /// The parameter that an expression over the rows of this node is in each of them, if it is one as it is.
    fn sources(&self, expr: &Arc<dyn PhysicalExpr>) -> Option<Vec<usize>> {
        let expr: &dyn Any = expr.as_ref();
        let idx = expr.downcast_ref::<Column>()?.index();
        match idx.checked_sub(self.schema().fields().len()) {
            // The parameters stand behind the node's own columns.
            Some(parameter) => Some(vec![parameter; self.n_rows()]),
            None => self.column_sources(idx),
        }
    }

    fn column_sources(&self, idx: usize) -> Option<Vec<usize>> {
        match self {
            Node::One => None,
            Node::Values { rows, .. } => {
                let source = |row: &Vec<Arc<dyn PhysicalExpr>>| {
                    let expr: &dyn Any = row.get(idx)?.as_ref();
                    Some(expr.downcast_ref::<Column>()?.index())
                };
                rows.iter().map(source).collect()
            }
            Node::Project { input, exprs, .. } => input.sources(exprs.get(idx)?),
        }
    }
}
