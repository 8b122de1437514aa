//! The calls of models in a plan: which operators ask which model, and what devices did for each of them.
//!
//! In: a plan; out: its calls, or the same plan in which the calls of each operator have figures of their own.

use std::sync::Arc;

use auspex_ml::compute::Compute;
use auspex_ml::metrics::aggregate::EvaluateUdaf;
use auspex_ml::trained_model::TrainedModel;
use datafusion::common::tree_node::{
    Transformed, TransformedResult as _, TreeNode as _, TreeNodeRecursion,
};
use datafusion::error::Result;
use datafusion::logical_expr::{AggregateUDF, Expr, LogicalPlan, ScalarUDF};
use datafusion::physical_expr::ScalarFunctionExpr;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;

use crate::bind::{Findings, PredictUdf};

/// A call of a model by an operator.
pub(crate) struct ModelCall<'a> {
    pub(crate) operator: &'a Arc<dyn ExecutionPlan>,
    pub(crate) model: &'a Arc<TrainedModel>,
    pub(crate) compute: &'a Compute,
}

/// Visits the calls of models in a plan.
pub(crate) fn for_each_call(
    plan: &Arc<dyn ExecutionPlan>,
    mut visit: impl FnMut(&ModelCall<'_>),
) -> Result<()> {
    plan.apply(|operator| {
        operator.apply_expressions(&mut |expr| {
            expr.apply(|expr| {
                let function = expr.downcast_ref::<ScalarFunctionExpr>();
                let function = function.map(|function| function.fun().inner());
                if let Some(predict) = function.and_then(|f| f.downcast_ref::<PredictUdf>()) {
                    visit(&ModelCall {
                        operator,
                        model: predict.model(),
                        compute: predict.compute(),
                    });
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })?;
        let aggregate = operator.downcast_ref::<AggregateExec>();
        for function in aggregate.map_or(&[][..], AggregateExec::aggr_expr) {
            if let Some(evaluate) = function.fun().inner().downcast_ref::<EvaluateUdaf>() {
                visit(&ModelCall {
                    operator,
                    model: evaluate.model(),
                    compute: evaluate.compute(),
                });
            }
        }
        Ok(TreeNodeRecursion::Continue)
    })?;
    Ok(())
}

/// The same plan, in which devices count what they do for each operator apart.
pub(crate) fn with_own_figures(plan: LogicalPlan) -> Result<LogicalPlan> {
    plan.transform_down_with_subqueries(|operator| {
        // Equal calls of an operator are one, as they were.
        let (mut scalars, mut aggregates) = (Vec::new(), Vec::new());
        operator.map_expressions(|expr| {
            expr.transform_down(|expr| {
                Ok(match expr {
                    Expr::ScalarFunction(mut call) => {
                        let own = own_scalar(&call.func, &mut scalars);
                        let is_new = own.is_some();
                        call.func = own.unwrap_or(call.func);
                        Transformed::new_transformed(Expr::ScalarFunction(call), is_new)
                    }
                    Expr::AggregateFunction(mut call) => {
                        let own = own_aggregate(&call.func, &mut aggregates);
                        let is_new = own.is_some();
                        call.func = own.unwrap_or(call.func);
                        Transformed::new_transformed(Expr::AggregateFunction(call), is_new)
                    }
                    other => Transformed::no(other),
                })
            })
        })
    })
    .data()
}

/// The function with figures of its own, or the equal one that an operator has; `None`: it asks no model.
fn own_scalar(
    function: &Arc<ScalarUDF>,
    known: &mut Vec<Arc<ScalarUDF>>,
) -> Option<Arc<ScalarUDF>> {
    let predict = function.inner().downcast_ref::<PredictUdf>()?;
    if let Some(same) = known.iter().find(|other| *other == function) {
        return Some(Arc::clone(same));
    }
    let own = Arc::new(ScalarUDF::from(predict.for_part()));
    known.push(Arc::clone(&own));
    Some(own)
}

fn own_aggregate(
    function: &Arc<AggregateUDF>,
    known: &mut Vec<Arc<AggregateUDF>>,
) -> Option<Arc<AggregateUDF>> {
    let evaluate = function.inner().downcast_ref::<EvaluateUdaf>()?;
    if let Some(same) = known.iter().find(|other| *other == function) {
        return Some(Arc::clone(same));
    }
    let own = Arc::new(AggregateUDF::from(evaluate.for_part()));
    known.push(Arc::clone(&own));
    Some(own)
}

/// What devices did so far for each operator that asks a model, a line a call.
pub(crate) fn device_figures(
    plan: &Arc<dyn ExecutionPlan>,
    findings: &Findings,
) -> Result<Vec<String>> {
    let mut calls: Vec<(Vec<String>, String, Compute)> = Vec::new();
    for_each_call(plan, |call| {
        let operator = call.operator.name().to_owned();
        let same = |known: &&mut (Vec<String>, String, Compute)| known.2.is_same_part(call.compute);
        match calls.iter_mut().find(same) {
            // An aggregate has two operators where partitions come together.
            Some((operators, ..)) if operators.contains(&operator) => {}
            Some((operators, ..)) => operators.push(operator),
            None => {
                let model = findings.name_of(call.model).unwrap_or_default();
                calls.push((vec![operator], model, call.compute.clone()));
            }
        }
    })?;
    let lines = calls.iter().map(|(operators, model, compute)| {
        let figures = compute.figures().unwrap_or_default();
        format!(
            "{}: model={model}, device={}, kernel_launches={}, kernel_us={}, uploaded_bytes={}, downloaded_bytes={}",
            operators.join(" and "),
            compute.used(),
            figures.n_launches,
            figures.kernel_ns / 1000,
            figures.uploaded_bytes,
            figures.downloaded_bytes,
        )
    });
    Ok(lines.collect())
}
