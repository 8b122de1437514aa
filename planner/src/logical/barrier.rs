//! The operator between a view that is a security barrier and the query that reads the view.
//!
//! In: the view's rows; out: the same rows. Conditions of the query stay above it, so that none is computed of a row
//! that the view keeps back; columns that nobody reads and limits pass.

use std::fmt::Formatter;
use std::sync::Arc;

use datafusion::common::DFSchemaRef;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Expr, Extension, LogicalPlan, UserDefinedLogicalNodeCore};

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Hash)]
pub(crate) struct BarrierNode {
    input: LogicalPlan,
}

impl BarrierNode {
    /// A plan behind a barrier.
    pub(crate) fn before(input: LogicalPlan) -> LogicalPlan {
        let node = Arc::new(BarrierNode { input });
        LogicalPlan::Extension(Extension { node })
    }
}

// By default no column lets a condition through.
impl UserDefinedLogicalNodeCore for BarrierNode {
    fn name(&self) -> &str {
        "Barrier"
    }

    fn inputs(&self) -> Vec<&LogicalPlan> {
        vec![&self.input]
    }

    fn schema(&self) -> &DFSchemaRef {
        self.input.schema()
    }

    fn expressions(&self) -> Vec<Expr> {
        Vec::new()
    }

    fn fmt_for_explain(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str("Barrier")
    }

    fn with_exprs_and_inputs(
        &self,
        _exprs: Vec<Expr>,
        mut inputs: Vec<LogicalPlan>,
    ) -> Result<BarrierNode> {
        let input = inputs
            .pop()
            .ok_or_else(|| DataFusionError::Internal("Barrier has one input".to_owned()))?;
        Ok(BarrierNode { input })
    }

    fn necessary_children_exprs(&self, output_columns: &[usize]) -> Option<Vec<Vec<usize>>> {
        Some(vec![output_columns.to_vec()])
    }

    fn supports_limit_pushdown(&self) -> bool {
        true
    }
}
