//! Chains of operators that are too long to plan: `a || b || c …` of arrays, `a ^ b ^ c …`.
//!
//! In: an operator whose left operand is planned; out: the operator as it is, or the error that the statement is too complex.
//! The planner asks each operator for the names and types of all below it, again at every step, so that hundreds in one
//! another would keep a thread for minutes. Chains of AND, OR and of numbers and texts that are one call (`checked.rs`) have
//! no length that matters here.

use datafusion::common::DFSchema;
use datafusion::error::Result;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator};

use super::call::failure;
use super::checked::is_chain;

/// How much may stand below an operator, by [`weight`].
const LIMIT: usize = 1_000;

/// Refuses what is too long, and plans nothing.
#[derive(Debug)]
pub(super) struct LongChains;

impl ExprPlanner for LongChains {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        _: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        match weight(&raw.left) > LIMIT {
            true => Err(failure("54001", "statement is too complex")),
            false => Ok(PlannerResult::Original(raw)),
        }
    }
}

/// What an operand costs each operator around it: of what it is made along its first operands. Sums are planned without
/// functions, and may be ten times as long; texts joined with values of other types are in between.
fn weight(operand: &Expr) -> usize {
    let mut weight = 0;
    let mut rest = operand;
    loop {
        let (own, first) = match rest {
            Expr::BinaryExpr(BinaryExpr { left, op, .. }) => (cost(op), Some(left.as_ref())),
            Expr::ScalarFunction(call) => {
                let own = if is_chain(&call.func) { 3 } else { 10 };
                (own, call.args.first())
            }
            Expr::Cast(cast) => (1, Some(cast.expr.as_ref())),
            _ => return weight,
        };
        weight += own;
        let Some(first) = first.filter(|_| weight <= LIMIT) else {
            return weight;
        };
        rest = first;
    }
}

/// Chains of AND and OR are balanced where they are long.
fn cost(op: &Operator) -> usize {
    use Operator::{And, BitwiseAnd, BitwiseOr, Minus, Multiply, Or, Plus, StringConcat};
    match op {
        And | Or => 0,
        Plus | Minus | Multiply | BitwiseAnd | BitwiseOr => 1,
        StringConcat => 3,
        _ => 10,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::logical_expr::{binary_expr, lit};

    use super::*;

    fn chain(op: Operator, n_operators: usize) -> Expr {
        (0..n_operators).fold(lit(1), |left, _| binary_expr(left, op, lit(1)))
    }

    #[test]
    fn sums_may_be_longer() {
        assert_eq!(weight(&chain(Operator::Plus, 50)), 50);
        assert_eq!(weight(&chain(Operator::Divide, 50)), 500);
        assert_eq!(weight(&chain(Operator::Or, 2_000)), 0);
        assert!(weight(&chain(Operator::Divide, 500)) > LIMIT);
        assert!(weight(&chain(Operator::Minus, 2_000)) > LIMIT);
    }
}
