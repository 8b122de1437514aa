//! Numbers: division, logarithms and arithmetic that gives NULL instead of failing.
//!
//! In: numbers; out: numbers. Division is that of FLOAT64, also of whole numbers.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Float64Array, Int64Array, ListArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::error::Result;

use super::super::call::{Call, Function, failure, function, function_of};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("safe_divide", &[2], DataType::Float64, |call| {
            let quotient = |a: f64, b: f64| (b != 0.0).then_some(a / b);
            // A quotient that does not fit is no number, unless it comes from one.
            let fits = |a: f64, b: f64, q: &f64| q.is_finite() || !a.is_finite() || !b.is_finite();
            floats(call, |a, b| Ok(quotient(a, b).filter(|q| fits(a, b, q))))
        }),
        function("googlesql.divide", &[2], DataType::Float64, |call| {
            floats(call, |a, b| match b {
                0.0 => Err(failure("22012", "division by zero")),
                b => Ok(Some(a / b)),
            })
        }),
        function("ieee_divide", &[2], DataType::Float64, |call| {
            floats(call, |a, b| Ok(Some(a / b)))
        }),
        safe("safe_add", i64::checked_add, |a, b| a + b),
        safe("safe_subtract", i64::checked_sub, |a, b| a - b),
        safe("safe_multiply", i64::checked_mul, |a, b| a * b),
        function_of("safe_negate", &[1], whole_or_float, safe_negate),
        function("googlesql.ln", &[1], DataType::Float64, |call| {
            floats_of(call, |x| positive(x).map(f64::ln))
        }),
        function("googlesql.log10", &[1], DataType::Float64, |call| {
            floats_of(call, |x| positive(x).map(f64::log10))
        }),
        function(
            "googlesql.log",
            &[1, 2],
            DataType::Float64,
            |call| match call.args.len() {
                1 => floats_of(call, |x| positive(x).map(f64::ln)),
                _ => floats(call, |x, base| logarithm(x, base).map(Some)),
            },
        ),
        function("googlesql.sqrt", &[1], DataType::Float64, |call| {
            floats_of(call, |x| match x < 0.0 {
                true => {
                    let message = "cannot take square root of a negative number";
                    Err(failure("2201F", message))
                }
                false => Ok(x.sqrt()),
            })
        }),
        function("is_inf", &[1], DataType::Boolean, |call| {
            let values = call.floats(0)?;
            let infinite = values.iter().map(|x| x.map(f64::is_infinite));
            Ok(Arc::new(infinite.collect::<BooleanArray>()))
        }),
        function("range_bucket", &[2], DataType::Int64, range_bucket),
    ]
}

/// A function of two numbers.
fn floats(call: &Call<'_>, of: impl Fn(f64, f64) -> Result<Option<f64>>) -> Result<ArrayRef> {
    let (left, right) = (call.floats(0)?, call.floats(1)?);
    let of = |(a, b): (Option<f64>, Option<f64>)| match (a, b) {
        (Some(a), Some(b)) => of(a, b),
        _ => Ok(None),
    };
    let values: Float64Array = left.iter().zip(&right).map(of).collect::<Result<_>>()?;
    Ok(Arc::new(values))
}

/// A function of one number.
fn floats_of(call: &Call<'_>, of: impl Fn(f64) -> Result<f64>) -> Result<ArrayRef> {
    let values = call.floats(0)?;
    let values: Float64Array = values
        .iter()
        .map(|x| x.map(&of).transpose())
        .collect::<Result<_>>()?;
    Ok(Arc::new(values))
}

fn positive(x: f64) -> Result<f64> {
    if x == 0.0 {
        return Err(failure("2201E", "cannot take logarithm of zero"));
    }
    match x < 0.0 {
        true => Err(failure(
            "2201E",
            "cannot take logarithm of a negative number",
        )),
        false => Ok(x),
    }
}

/// The logarithm of `x` to a base.
fn logarithm(x: f64, base: f64) -> Result<f64> {
    let (x, base) = (positive(x)?, positive(base)?);
    match base == 1.0 {
        true => Err(failure("22012", "division by zero")),
        false if base == 10.0 => Ok(x.log10()),
        false if base == 2.0 => Ok(x.log2()),
        false => Ok(x.ln() / base.ln()),
    }
}

fn whole_or_float(types: &[DataType]) -> Result<DataType> {
    let is_whole = types.iter().all(|t| t.is_integer() || t.is_null());
    Ok(match is_whole {
        true => DataType::Int64,
        false => DataType::Float64,
    })
}

fn types_of(call: &Call<'_>) -> Vec<DataType> {
    call.args
        .iter()
        .map(|arg| arg.data_type().clone())
        .collect()
}

/// Arithmetic that is NULL where the result does not fit.
fn safe(
    name: &'static str,
    whole: fn(i64, i64) -> Option<i64>,
    float: fn(f64, f64) -> f64,
) -> Function {
    function_of(name, &[2], whole_or_float, move |call| {
        if whole_or_float(&types_of(call))? == DataType::Int64 {
            let (a, b) = (call.integers(0)?, call.integers(1)?);
            let of = |(a, b): (Option<i64>, Option<i64>)| whole(a?, b?);
            return Ok(Arc::new(a.iter().zip(&b).map(of).collect::<Int64Array>()));
        }
        floats(call, |a, b| {
            let value = float(a, b);
            let fits = value.is_finite() || !a.is_finite() || !b.is_finite();
            Ok(fits.then_some(value))
        })
    })
}

fn safe_negate(call: &Call<'_>) -> Result<ArrayRef> {
    if whole_or_float(&types_of(call))? == DataType::Int64 {
        let values = call.integers(0)?;
        let negated = values.iter().map(|x| x.and_then(i64::checked_neg));
        return Ok(Arc::new(negated.collect::<Int64Array>()));
    }
    floats_of(call, |x| Ok(-x))
}

/// How many of the ascending points lie at or below a value.
fn range_bucket(call: &Call<'_>) -> Result<ArrayRef> {
    let points = call.arg(1)?;
    let points: &ListArray = points
        .as_list_opt::<i32>()
        .ok_or_else(|| failure("42804", "RANGE_BUCKET takes an array of points"))?;
    let is_text = points.value_type().is_string();
    let (texts, numbers) = match is_text {
        true => (Some(call.texts(0)?), None),
        false => (None, Some(call.floats(0)?)),
    };
    let of_row = |row: usize| -> Result<Option<i64>> {
        let is_null = |nulls: bool| nulls || points.is_null(row);
        let bucket = match (&texts, &numbers) {
            (Some(texts), _) if !is_null(texts.is_null(row)) => {
                let points = cast(&points.value(row), &DataType::Utf8)?;
                let points: Vec<_> = points.as_string::<i32>().iter().collect();
                place(texts.value(row), &points)?
            }
            (_, Some(numbers)) if !is_null(numbers.is_null(row)) => {
                let points = cast(&points.value(row), &DataType::Float64)?;
                let points: Vec<_> = points.as_primitive::<Float64Type>().iter().collect();
                place(numbers.value(row), &points)?
            }
            _ => return Ok(None),
        };
        Ok(Some(bucket))
    };
    let buckets: Int64Array = (0..call.n_rows).map(of_row).collect::<Result<_>>()?;
    Ok(Arc::new(buckets))
}

fn place<T: PartialOrd>(value: T, points: &[Option<T>]) -> Result<i64> {
    let mut n_below = 0;
    let mut last = None;
    for point in points {
        let Some(point) = point else {
            return Err(failure("22004", "an array of points must not hold NULL"));
        };
        if last.is_some_and(|last| last > point) {
            return Err(failure("22023", "an array of points must be ascending"));
        }
        last = Some(point);
        n_below += i64::from(*point <= value);
    }
    Ok(n_below)
}

/// A whole number that was rounded half away from zero, if it fits.
pub(super) fn rounded(value: f64) -> Option<i64> {
    let whole = value.round();
    // The bounds are exact as floats: -2^63, and 2^63, which is one too many.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&whole);
    fits.then_some(whole as i64)
}

/// An array's values as whole numbers, without another copy.
pub(super) fn whole(array: &ArrayRef) -> Result<Int64Array> {
    let array = cast(array, &DataType::Int64)?;
    Ok(array.as_primitive::<Int64Type>().clone())
}
