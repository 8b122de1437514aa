//! Tells equal calls of volatile functions that wait apart: `SELECT nextval('s'), nextval('s')` takes two numbers a row.
//!
//! In: a logical plan; out: the same, in which no operator has two equal calls. DataFusion computes such functions below
//! the operator that has them and finds their values by what is called, so that all equal calls had those of the first.

use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::error::Result;
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{
    ColumnarValue, Expr, LogicalPlan, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::last_rule::LastRule;

/// The rule, which runs where calls are not brought together any more.
pub(super) const WAITING_CALLS: LastRule = LastRule {
    name: "waiting_calls",
    rewrite: told_apart,
};

fn told_apart(plan: LogicalPlan) -> Result<Transformed<LogicalPlan>> {
    if count(&plan)? < 2 {
        return Ok(Transformed::no(plan));
    }
    let mut met = Vec::new();
    plan.map_expressions(|expr| {
        expr.transform_down(|node| match node {
            Expr::ScalarFunction(call) if waits(&call) => Ok(own(call, &mut met)),
            node => Ok(Transformed::no(node)),
        })
    })
}

fn waits(call: &ScalarFunction) -> bool {
    call.func.as_async().is_some() && call.func.signature().volatility == Volatility::Volatile
}

/// How many such calls an operator has.
fn count(plan: &LogicalPlan) -> Result<usize> {
    let mut n_calls = 0;
    plan.apply_expressions(|expr| {
        expr.apply(|node| {
            n_calls += usize::from(matches!(node, Expr::ScalarFunction(call) if waits(call)));
            Ok(TreeNodeRecursion::Continue)
        })
    })?;
    Ok(n_calls)
}

/// A call that equals none that was met before.
fn own(call: ScalarFunction, met: &mut Vec<ScalarFunction>) -> Transformed<Expr> {
    let mut own = call.clone();
    let mut place = 0;
    while met.contains(&own) {
        place += 1;
        let function = Arc::clone(&call.func);
        let apart = AsyncScalarUDF::new(Arc::new(Apart { function, place }));
        own.func = Arc::new(apart.into_scalar_udf());
    }
    met.push(own.clone());
    Transformed::new_transformed(Expr::ScalarFunction(own), place > 0)
}

/// A function that equals itself at its place only.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Apart {
    function: Arc<ScalarUDF>,
    place: usize,
}

impl ScalarUDFImpl for Apart {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn signature(&self) -> &Signature {
        self.function.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        self.function.return_type(arguments)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.function.invoke_with_args(args)
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Apart {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match self.function.as_async() {
            Some(function) => function.invoke_async_with_args(args).await,
            None => self.function.invoke_with_args(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::common::ScalarValue;
    use datafusion::logical_expr::{LogicalPlanBuilder, lit};

    use super::*;

    #[derive(Debug, PartialEq, Eq, Hash)]
    struct Number(Signature);

    impl ScalarUDFImpl for Number {
        fn name(&self) -> &str {
            "number"
        }

        fn signature(&self) -> &Signature {
            &self.0
        }

        fn return_type(&self, _: &[DataType]) -> Result<DataType> {
            Ok(DataType::Int64)
        }

        fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
            Ok(ColumnarValue::Scalar(ScalarValue::from(1_i64)))
        }
    }

    #[async_trait]
    impl AsyncScalarUDFImpl for Number {
        async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
            self.invoke_with_args(args)
        }
    }

    #[test]
    fn equal_calls_are_told_apart() {
        let number = Number(Signature::any(1, Volatility::Volatile));
        let number = AsyncScalarUDF::new(Arc::new(number)).into_scalar_udf();
        let call = || number.call(vec![lit("s")]);
        let plan = LogicalPlanBuilder::empty(true)
            .project([call().alias("a"), (call() + call()).alias("b")])
            .and_then(LogicalPlanBuilder::build)
            .unwrap();
        let once = told_apart(plan).unwrap();
        assert!(once.transformed);
        let mut met = Vec::new();
        once.data
            .apply_expressions(|expr| {
                expr.apply(|node| {
                    if let Expr::ScalarFunction(call) = node {
                        assert!(!met.contains(call));
                        met.push(call.clone());
                    }
                    Ok(TreeNodeRecursion::Continue)
                })
            })
            .unwrap();
        assert_eq!(met.len(), 3);
        let again = told_apart(once.data).unwrap();
        assert!(!again.transformed);
    }
}
