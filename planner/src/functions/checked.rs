//! Sums, differences and products of whole numbers that fail when they do not fit.
//!
//! In: two whole numbers of any width; out: one of the wider width, or PostgreSQL's "integer out of
//! range". The planner's own operators start again at the smallest number, silently.

use datafusion::arrow::compute::kernels::numeric::{add, mul, sub};
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ExprSchema;
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ExprSchemable as _, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::call::failure;

/// One operator on whole numbers of one width.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Checked {
    symbol: &'static str,
    data_type: DataType,
    signature: Signature,
}

impl Checked {
    /// The checked operator for two types; `None` where the planner's own will do.
    pub(super) fn of(op: &BinaryOperator, left: &DataType, right: &DataType) -> Option<Checked> {
        let symbol = match op {
            BinaryOperator::Plus => "+",
            BinaryOperator::Minus => "-",
            BinaryOperator::Multiply => "*",
            _ => return None,
        };
        let is_whole = |t: &DataType| t.is_signed_integer();
        if !is_whole(left) || !is_whole(right) {
            return None;
        }
        let width = |t: &DataType| t.primitive_width().unwrap_or(8);
        let wider = if width(left) >= width(right) {
            left
        } else {
            right
        };
        Some(Checked {
            symbol,
            data_type: wider.clone(),
            signature: Signature::uniform(2, vec![wider.clone()], Volatility::Immutable),
        })
    }

    /// The call on two operands.
    pub(super) fn call(
        self,
        left: Expr,
        right: Expr,
        schema: &dyn ExprSchema,
    ) -> Result<Option<Expr>> {
        let to = self.data_type.clone();
        let args = vec![left.cast_to(&to, schema)?, right.cast_to(&to, schema)?];
        Ok(Some(ScalarUDF::from(self).call(args)))
    }
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.symbol {
            "+" => "sum_of",
            "-" => "difference_of",
            _ => "product_of",
        }
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(format!("{} {} {}", args[0], self.symbol, args[1]))
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        let (left, right) = (args[0].schema_name(), args[1].schema_name());
        Ok(format!("{left} {} {right}", self.symbol))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let kernel = match self.symbol {
            "+" => add,
            "-" => sub,
            _ => mul,
        };
        let out_of_range = |_| {
            let name = super::server_side::type_name(&self.data_type);
            failure("22003", format!("{name} out of range"))
        };
        let [left, right] = args.args.as_slice() else {
            return Err(failure("XX000", "an operator takes two operands"));
        };
        datafusion::physical_expr_common::datum::apply(left, right, |left, right| {
            kernel(left, right)
        })
        .map_err(out_of_range)
    }
}
