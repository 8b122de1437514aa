//! Operators that the planner lacks, or computes otherwise than PostgreSQL.
//!
//! In: an operator and its operands; out: a call of the function that computes it, or the operator
//! itself for the planner to plan.

use std::sync::Arc;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::{DFSchema, ExprSchema};
use datafusion::error::Result;
use datafusion::functions_nested::array_has::array_has_any_udf;
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{Expr, ExprSchemable as _, ScalarUDF};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::checked::Checked;
use super::interval::is_interval;

/// Plans operators.
#[derive(Debug)]
pub(super) struct Operators {
    /// The functions of `functions`, by name.
    functions: Vec<Arc<ScalarUDF>>,
}

impl Operators {
    pub(super) fn new(functions: Vec<Arc<ScalarUDF>>) -> Operators {
        Operators { functions }
    }

    fn call(&self, name: &str, args: Vec<Expr>) -> Option<Expr> {
        let function = self.functions.iter().find(|known| known.name() == name)?;
        Some(function.call(args))
    }

    fn planned(
        &self,
        raw: &RawBinaryExpr,
        left: &DataType,
        right: &DataType,
        schema: &dyn ExprSchema,
    ) -> Option<Expr> {
        let args = || vec![raw.left.clone(), raw.right.clone()];
        let swapped = || vec![raw.right.clone(), raw.left.clone()];
        let is_list = |data_type: &DataType| matches!(data_type, DataType::List(_));
        let holds_json = |expr: &Expr| holds_json(expr, schema);
        if left.is_string() || left.is_null() {
            let is_json = || holds_json(&raw.left) || holds_json(&raw.right);
            let name = match &raw.op {
                BinaryOperator::Arrow => "json_get",
                BinaryOperator::LongArrow => "json_get_text",
                BinaryOperator::HashArrow => "json_path",
                BinaryOperator::HashLongArrow => "json_path_text",
                BinaryOperator::AtArrow | BinaryOperator::ArrowAt => "json_contains",
                BinaryOperator::Question => "json_has",
                BinaryOperator::QuestionPipe => "json_has_any",
                BinaryOperator::QuestionAnd => "json_has_all",
                BinaryOperator::StringConcat if holds_json(&raw.left) && is_json() => "json_merged",
                BinaryOperator::Minus if holds_json(&raw.left) => "json_without",
                _ => "",
            };
            let is_reversed = raw.op == BinaryOperator::ArrowAt;
            if let Some(call) = self.call(name, if is_reversed { swapped() } else { args() }) {
                return Some(call);
            }
        }
        match &raw.op {
            BinaryOperator::Multiply if is_interval(left) && right.is_numeric() => {
                self.call("interval_times", args())
            }
            BinaryOperator::Multiply if is_interval(right) && left.is_numeric() => {
                self.call("interval_times", swapped())
            }
            BinaryOperator::Divide if is_interval(left) && right.is_numeric() => {
                self.call("interval_divided", args())
            }
            BinaryOperator::PGOverlap if is_list(left) && is_list(right) => {
                Some(array_has_any_udf().call(args()))
            }
            _ => None,
        }
    }
}

/// Operators that may mean something else here. The types of the others are not asked for, which costs as much as their
/// operands are large.
fn is_ours(op: &BinaryOperator) -> bool {
    use BinaryOperator as B;
    matches!(
        op,
        B::Plus
            | B::Minus
            | B::Multiply
            | B::Divide
            | B::StringConcat
            | B::PGOverlap
            | B::Arrow
            | B::LongArrow
            | B::HashArrow
            | B::HashLongArrow
            | B::AtArrow
            | B::ArrowAt
            | B::Question
            | B::QuestionPipe
            | B::QuestionAnd
    )
}

fn holds_json(expr: &Expr, schema: &dyn ExprSchema) -> bool {
    let field = expr.to_field(schema);
    field.is_ok_and(|(_, field)| super::json::is_json(&field))
}

fn type_of(expr: &Expr, schema: &dyn ExprSchema) -> Option<DataType> {
    Checked::type_of(expr).or_else(|| expr.get_type(schema).ok())
}

impl ExprPlanner for Operators {
    fn plan_binary_op(
        &self,
        raw: RawBinaryExpr,
        schema: &DFSchema,
    ) -> Result<PlannerResult<RawBinaryExpr>> {
        if !is_ours(&raw.op) {
            return Ok(PlannerResult::Original(raw));
        }
        // A parameter has no type yet: the planner infers it from the operator.
        let (Some(left), Some(right)) = (type_of(&raw.left, schema), type_of(&raw.right, schema))
        else {
            return Ok(PlannerResult::Original(raw));
        };
        let is_json = || Checked::type_of(&raw.left).is_none() && holds_json(&raw.left, schema);
        if let Some((symbol, data_type)) = Checked::of(&raw.op, &left, &right)
            && (data_type != DataType::Utf8 || !is_json())
        {
            let call = Checked::call(symbol, data_type, raw.left, raw.right, schema)?;
            return Ok(PlannerResult::Planned(call));
        }
        Ok(match self.planned(&raw, &left, &right, schema) {
            Some(expr) => PlannerResult::Planned(expr),
            None => PlannerResult::Original(raw),
        })
    }
}
