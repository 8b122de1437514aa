//! `numeric / numeric` with the digits that PostgreSQL gives a quotient, and products of such.
//!
//! In: decimals and whole numbers; out: a decimal with at least sixteen digits behind the point, or 22012 and 22003.
//! PostgreSQL chooses the digits by each value; a column here has one scale, that of quotients between 1 and 10,000.
//! A product of the planner's has the digits of both factors, which leaves those of quotients no room before the point.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, Decimal128Array};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, i256};
use datafusion::common::DFSchema;
use datafusion::common::tree_node::Transformed;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable as _, Operator, binary_expr};

use super::call::{Call, Function, failure, function_of};
use super::literals::exact_fraction;

/// The names of the functions.
pub(super) const QUOTIENT: &str = "numeric_quotient";
pub(super) const PRODUCT: &str = "numeric_product";

/// PostgreSQL's `NUMERIC_MIN_SIG_DIGITS`.
pub(super) const DIGITS: i8 = 16;
/// What a decimal of 128 bits holds.
pub(super) const PRECISION: u8 = 38;

/// Wide enough for every whole number.
const WHOLE: DataType = DataType::Decimal128(20, 0);

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let returns = |types: &[DataType]| Ok(result_type(&types[0], &types[1]));
    vec![
        function_of(QUOTIENT, &[2], returns, quotients),
        function_of(PRODUCT, &[2], returns, products),
    ]
}

/// The quotient or product of numbers whose types were told anew: those of CASE, UNION and functions whose arguments have
/// one type are known once all branches are seen, after the operator was planned. It is of doubles if one number is a double,
/// and `/` beside a decimal is ours.
pub(crate) fn of_settled_types(expr: Expr, seen: &DFSchema) -> Result<Transformed<Expr>> {
    let settled = match &expr {
        Expr::ScalarFunction(call) => of_doubles(call, seen)?,
        Expr::BinaryExpr(binary) if binary.op == Operator::Divide => of_decimals(binary, seen),
        _ => None,
    };
    Ok(settled.map_or_else(|| Transformed::no(expr), Transformed::yes))
}

/// A call of these functions one of whose numbers is a double after all.
fn of_doubles(call: &ScalarFunction, seen: &DFSchema) -> Result<Option<Expr>> {
    let op = match call.func.name() {
        QUOTIENT => Operator::Divide,
        PRODUCT => Operator::Multiply,
        _ => return Ok(None),
    };
    let [left, right] = call.args.as_slice() else {
        return Ok(None);
    };
    let is_double = |arg: &Expr| arg.get_type(seen).is_ok_and(|found| found.is_floating());
    if !is_double(left) && !is_double(right) {
        return Ok(None);
    }
    let double = |arg: &Expr| arg.clone().cast_to(&DataType::Float64, seen);
    Ok(Some(binary_expr(double(left)?, op, double(right)?)))
}

/// A quotient of the planner's one of whose numbers is a decimal after all.
fn of_decimals(binary: &BinaryExpr, seen: &DFSchema) -> Option<Expr> {
    // A parameter has no type yet.
    let left = binary.left.get_type(seen).ok()?;
    let right = binary.right.get_type(seen).ok()?;
    let is_decimal = |data_type: &DataType| matches!(data_type, DataType::Decimal128(..));
    (is_decimal(&left) || is_decimal(&right)).then_some(())?;
    let exact = |expr: &Expr, data_type: &DataType| match is_exact(data_type) {
        true => Some(expr.clone()),
        false => exact_fraction(expr),
    };
    let args = vec![exact(&binary.left, &left)?, exact(&binary.right, &right)?];
    let quotient = functions().into_iter().next()?.build();
    Some(quotient.call(args))
}

/// Whether a product of the planner's would have too few digits before the point.
pub(super) fn is_fine_product(left: &DataType, right: &DataType) -> bool {
    const MOST_DIGITS: i16 = 20;
    i16::from(scale_of(left)) + i16::from(scale_of(right)) > MOST_DIGITS
}

/// Whether a type's values are exact: decimals and whole numbers.
pub(super) fn is_exact(data_type: &DataType) -> bool {
    let is_decimal = matches!(data_type, DataType::Decimal128(_, scale) if *scale >= 0);
    is_decimal || data_type.is_integer()
}

/// The digits behind the point.
pub(super) fn scale_of(data_type: &DataType) -> i8 {
    match data_type {
        DataType::Decimal128(_, scale) => *scale,
        _ => 0,
    }
}

fn result_type(left: &DataType, right: &DataType) -> DataType {
    let scale = DIGITS.max(scale_of(left)).max(scale_of(right));
    DataType::Decimal128(PRECISION, scale)
}

fn out_of_range() -> DataFusionError {
    failure("22003", "numeric field overflow")
}

fn quotients(call: &Call<'_>) -> Result<ArrayRef> {
    let (dividends, divisors) = (decimals(call.arg(0)?)?, decimals(call.arg(1)?)?);
    let scale = scale_of(&result_type(dividends.data_type(), divisors.data_type()));
    // dividend / 10^a / (divisor / 10^b) = dividend * 10^(scale + b - a) / divisor / 10^scale
    let shift = i32::from(scale) + i32::from(divisors.scale()) - i32::from(dividends.scale());
    let unit = power_of_ten(shift)?;
    let of = |(dividend, divisor): (Option<i128>, Option<i128>)| match (dividend, divisor) {
        (Some(_), Some(0)) => Err(failure("22012", "division by zero")),
        (Some(dividend), Some(divisor)) => Ok(Some(quotient(dividend, unit, divisor)?)),
        _ => Ok(None),
    };
    let pairs = dividends.iter().zip(&divisors);
    let quotients: Decimal128Array = pairs.map(of).collect::<Result<_>>()?;
    Ok(Arc::new(
        quotients.with_precision_and_scale(PRECISION, scale)?,
    ))
}

fn products(call: &Call<'_>) -> Result<ArrayRef> {
    let (left, right) = (decimals(call.arg(0)?)?, decimals(call.arg(1)?)?);
    let scale = scale_of(&result_type(left.data_type(), right.data_type()));
    // Never negative: where it would be, the planner's own product will do.
    let n_too_many = i32::from(left.scale()) + i32::from(right.scale()) - i32::from(scale);
    let unit = power_of_ten(n_too_many)?
        .to_i128()
        .ok_or_else(out_of_range)?;
    let of = |(left, right): (Option<i128>, Option<i128>)| match (left, right) {
        (Some(left), Some(right)) => Ok(Some(quotient(left, i256::from_i128(right), unit)?)),
        _ => Ok(None),
    };
    let products: Decimal128Array = left.iter().zip(&right).map(of).collect::<Result<_>>()?;
    Ok(Arc::new(
        products.with_precision_and_scale(PRECISION, scale)?,
    ))
}

fn decimals(array: &ArrayRef) -> Result<Decimal128Array> {
    let array = match array.data_type() {
        DataType::Decimal128(..) => Arc::clone(array),
        _ => cast(array, &WHOLE)?,
    };
    Ok(array.as_primitive::<Decimal128Type>().clone())
}

fn power_of_ten(exponent: i32) -> Result<i256> {
    let exponent = u32::try_from(exponent).map_err(|_| out_of_range())?;
    let power = i256::from_i128(10).checked_pow(exponent);
    power.ok_or_else(out_of_range)
}

/// `dividend * unit / divisor`, halves away from zero.
fn quotient(dividend: i128, unit: i256, divisor: i128) -> Result<i128> {
    let narrow = unit
        .to_i128()
        .and_then(|unit| narrow_quotient(dividend.checked_mul(unit)?, divisor));
    let found = narrow.or_else(|| wide_quotient(dividend, unit, divisor));
    let limit = 10_i128.pow(PRECISION.into());
    found
        .filter(|found| found.unsigned_abs() < limit.unsigned_abs())
        .ok_or_else(out_of_range)
}

/// The same where the product has 128 bits, as most have.
fn narrow_quotient(product: i128, divisor: i128) -> Option<i128> {
    let (whole, rest) = (product.checked_div(divisor)?, product.checked_rem(divisor)?);
    let is_half = rest.unsigned_abs() >= divisor.unsigned_abs() - rest.unsigned_abs();
    let away = match (is_half, (product < 0) == (divisor < 0)) {
        (false, _) => 0,
        (true, true) => 1,
        (true, false) => -1,
    };
    whole.checked_add(away)
}

fn wide_quotient(dividend: i128, unit: i256, divisor: i128) -> Option<i128> {
    let divisor = i256::from_i128(divisor);
    let wide = i256::from_i128(dividend).checked_mul(unit)?;
    let (whole, rest) = (wide.checked_div(divisor)?, wide.checked_rem(divisor)?);
    let is_half = rest.wrapping_abs() >= divisor.wrapping_abs().wrapping_sub(rest.wrapping_abs());
    let away = match (is_half, wide.is_negative() == divisor.is_negative()) {
        (false, _) => i256::ZERO,
        (true, true) => i256::ONE,
        (true, false) => i256::MINUS_ONE,
    };
    whole.wrapping_add(away).to_i128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotients_are_rounded_away_from_zero() {
        let hundred = i256::from_i128(100);
        assert_eq!(quotient(2, hundred, 3).unwrap(), 67);
        assert_eq!(quotient(-2, hundred, 3).unwrap(), -67);
        assert_eq!(quotient(1, hundred, -8).unwrap(), -13);
        assert_eq!(quotient(1, hundred, 3).unwrap(), 33);
        assert_eq!(quotient(0, hundred, 7).unwrap(), 0);
        assert!(quotient(10_i128.pow(37), hundred, 1).is_err());
        let large = 10_i128.pow(37);
        assert_eq!(quotient(2 * large, hundred, 3 * large).unwrap(), 67);
        assert_eq!(quotient(-2 * large, hundred, 3 * large).unwrap(), -67);
    }

    #[test]
    fn scales_are_those_of_postgresql() {
        let money = DataType::Decimal128(10, 2);
        let of_scale = |scale| DataType::Decimal128(PRECISION, scale);
        assert_eq!(result_type(&money, &DataType::Int32), of_scale(16));
        let fine = DataType::Decimal128(38, 20);
        assert_eq!(result_type(&fine, &money), of_scale(20));
        assert!(is_fine_product(&fine, &money) && !is_fine_product(&money, &money));
    }
}
