//! Which expressions may fail on some value of their operands.
//!
//! In: one node of an expression, whose operands are judged apart; out: whether it may fail. What is not known to be
//! sure may fail. Types are asked for only where that costs nothing, so that judging a long chain is linear.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr,
    Literal, NegativeExpr, NotExpr, TryCastExpr,
};
use datafusion::physical_expr::{PhysicalExpr, ScalarFunctionExpr};

use crate::functions::{CONDITION, always_fits, is_chain, whole_numbers};

type Expr = Arc<dyn PhysicalExpr>;

/// Functions that have a result for all values; those without arguments have it as well.
const SURE: [&str; 13] = [
    CONDITION,
    "btrim",
    "character_length",
    "coalesce",
    "date_part",
    "ends_with",
    "lower",
    "ltrim",
    "nullif",
    "octet_length",
    "rtrim",
    "starts_with",
    "upper",
];

/// Whether a node may fail although its operands did not.
pub(super) fn may_fail(expr: &Expr, schema: &Schema) -> bool {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return operator_may_fail(binary, schema);
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let from = cast.expr().data_type(schema);
        let is_sure = from.is_ok_and(|from| always_casts(&from, cast.cast_type()));
        return !cast.cast_options().safe && !is_sure;
    }
    if let Some(call) = expr.downcast_ref::<ScalarFunctionExpr>() {
        return call_may_fail(call, schema);
    }
    if let Some(negative) = expr.downcast_ref::<NegativeExpr>() {
        return !is_floating(negative.arg(), schema);
    }
    !(expr.is::<Column>()
        || expr.is::<Literal>()
        || expr.is::<IsNullExpr>()
        || expr.is::<IsNotNullExpr>()
        || expr.is::<NotExpr>()
        || expr.is::<InListExpr>()
        || expr.is::<LikeExpr>()
        || expr.is::<CaseExpr>()
        || expr.is::<TryCastExpr>())
}

/// Whether an operator has a value for all operands.
pub(super) fn is_sure(op: Operator) -> bool {
    use Operator as O;
    matches!(
        op,
        O::And
            | O::Or
            | O::Eq
            | O::NotEq
            | O::Lt
            | O::LtEq
            | O::Gt
            | O::GtEq
            | O::IsDistinctFrom
            | O::IsNotDistinctFrom
            | O::LikeMatch
            | O::ILikeMatch
            | O::NotLikeMatch
            | O::NotILikeMatch
            | O::StringConcat
            | O::BitwiseAnd
            | O::BitwiseOr
            | O::BitwiseXor
    )
}

fn operator_may_fail(binary: &BinaryExpr, schema: &Schema) -> bool {
    use Operator as O;
    match binary.op() {
        op if is_sure(*op) => false,
        O::RegexMatch | O::RegexIMatch | O::RegexNotMatch | O::RegexNotIMatch => {
            !binary.right().is::<Literal>()
        }
        O::Plus | O::Minus | O::Multiply => !is_floating(binary.right(), schema),
        O::Divide | O::Modulo => {
            let divisor = binary.right().downcast_ref::<Literal>();
            let divisor = divisor.and_then(|divisor| whole_number(divisor.value()));
            // The least number has no opposite, so that -1 may fail as 0 does.
            divisor.is_none_or(|divisor| divisor == 0 || divisor == -1)
                && !is_floating(binary.right(), schema)
        }
        _ => true,
    }
}

fn call_may_fail(call: &ScalarFunctionExpr, schema: &Schema) -> bool {
    let name = call.fun().name();
    let args = call.args();
    if args.is_empty() || SURE.contains(&name) {
        return false;
    }
    if name == "regexp_like" {
        return !args.iter().skip(1).all(|arg| arg.is::<Literal>());
    }
    if is_chain(call.fun()) {
        let bounds: Vec<_> = args.iter().map(|arg| bounds(arg, schema)).collect();
        return !always_fits(call.fun(), &bounds);
    }
    true
}

/// The least and the largest whole number that an operand may be.
fn bounds(expr: &Expr, schema: &Schema) -> Option<(i128, i128)> {
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        let value = whole_number(literal.value())?;
        return Some((value, value));
    }
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let (low, high) = bounds(cast.expr(), schema)?;
        let (least, most) = whole_numbers(cast.cast_type())?;
        return (least <= low && high <= most).then_some((low, high));
    }
    whole_numbers(&leaf_type(expr, schema)?)
}

fn whole_number(value: &ScalarValue) -> Option<i128> {
    Some(match value {
        ScalarValue::Int8(Some(value)) => i128::from(*value),
        ScalarValue::Int16(Some(value)) => i128::from(*value),
        ScalarValue::Int32(Some(value)) => i128::from(*value),
        ScalarValue::Int64(Some(value)) => i128::from(*value),
        ScalarValue::UInt8(Some(value)) => i128::from(*value),
        ScalarValue::UInt16(Some(value)) => i128::from(*value),
        ScalarValue::UInt32(Some(value)) => i128::from(*value),
        ScalarValue::UInt64(Some(value)) => i128::from(*value),
        _ => return None,
    })
}

fn is_floating(expr: &Expr, schema: &Schema) -> bool {
    leaf_type(expr, schema).is_some_and(|data_type| data_type.is_floating())
}

/// The type of an expression that knows it without asking its operands.
fn leaf_type(expr: &Expr, schema: &Schema) -> Option<DataType> {
    let is_leaf = expr.is::<Column>()
        || expr.is::<Literal>()
        || expr.is::<CastExpr>()
        || expr.is::<ScalarFunctionExpr>();
    is_leaf.then(|| expr.data_type(schema).ok()).flatten()
}

/// Whether every value of a type is one of another.
pub(super) fn always_casts(from: &DataType, to: &DataType) -> bool {
    use DataType as D;
    let from = match from {
        D::Dictionary(_, values) => values.as_ref(),
        from => from,
    };
    if from == to {
        return true;
    }
    if let (Some((low, high)), Some((least, most))) = (whole_numbers(from), whole_numbers(to)) {
        return least <= low && high <= most;
    }
    match (from, to) {
        (D::Null, _) | (D::Date32, D::Timestamp(..)) | (D::Timestamp(..), D::Date32) => true,
        (D::Binary | D::LargeBinary | D::BinaryView | D::FixedSizeBinary(_), _) => false,
        (from, D::Utf8 | D::LargeUtf8 | D::Utf8View) => !from.is_nested(),
        (D::Boolean, to) => to.is_numeric(),
        (from, D::Float32 | D::Float64) => from.is_numeric(),
        (from, D::Decimal128(precision, scale)) => {
            let digits = i64::from(*precision) - i64::from(*scale);
            whole_numbers(from).is_some_and(|(_, most)| digits > i64::from(most.ilog10()))
        }
        _ => false,
    }
}
