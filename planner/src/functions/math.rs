//! Numbers: what PostgreSQL has beyond the planner's functions.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::compute::kernels::arity;
use datafusion::arrow::compute::kernels::numeric::neg;
use datafusion::arrow::datatypes::{DataType, Decimal128Type, Float64Type};
use datafusion::error::Result;

use super::call::{Call, Function, failure, function, function_of, no_function};
use super::checked::whole_numbers;
use super::interval::is_interval;
use super::one_nan::of_one_nan;
use super::quotients::{PRECISION, is_exact, scale_of};

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function_of("div", &[2], |types| Ok(quotient_type(types)), div),
        function_of(
            "gcd",
            &[2],
            |types| whole("gcd", types),
            |call| of_whole(call, "gcd", divisor),
        ),
        function_of(
            "lcm",
            &[2],
            |types| whole("lcm", types),
            |call| of_whole(call, "lcm", multiple),
        ),
        function_of(
            "bitwise_xor",
            &[2],
            |types| Ok(common_whole(types)),
            bitwise_xor,
        ),
        function_of("negated", &[1], |types| negated_type(&types[0]), negated),
        half_to_even(),
        function("sign", &[1], DataType::Float64, sign),
        function("width_bucket", &[2, 4], DataType::Int32, width_bucket),
        function_of(
            "random_between",
            &[3],
            |types| Ok(whole_or_float(&types[1..])),
            random_between,
        )
        .volatile(),
        degrees_to("sind", sine),
        degrees_to("cosd", |x| sine(x + 90.0)),
        degrees_to("tand", |x| snapped(sine(x) / sine(x + 90.0))),
        degrees_to("cotd", |x| snapped(sine(x + 90.0) / sine(x))),
        degrees_to("asind", |x| snapped(x.asin().to_degrees())),
        degrees_to("acosd", |x| snapped(x.acos().to_degrees())),
        degrees_to("atand", |x| snapped(x.atan().to_degrees())),
        logarithm("ln", f64::ln),
        logarithm("log10", f64::log10),
        function("log", &[1, 2], DataType::Float64, log),
        function("num_nulls", super::call::ANY, DataType::Int32, |call| {
            count_nulls(call, true)
        }),
        function("num_nonnulls", super::call::ANY, DataType::Int32, |call| {
            count_nulls(call, false)
        }),
    ]
}

/// `round` of a double.
pub(super) fn half_to_even() -> Function {
    function("round_half_even", &[1], DataType::Float64, |call| {
        let rounded: Float64Array = call.floats(0)?.unary(f64::round_ties_even);
        Ok(Arc::new(rounded))
    })
}

/// 1, -1, or 0 of what is neither more nor less than 0, as NaN is.
fn sign(call: &Call<'_>) -> Result<ArrayRef> {
    let of = |number: f64| match () {
        () if number > 0.0 => 1.0,
        () if number < 0.0 => -1.0,
        () => 0.0,
    };
    let signs: Float64Array = call.floats(0)?.unary(of);
    Ok(Arc::new(signs))
}

fn whole_or_float(types: &[DataType]) -> DataType {
    match types.iter().all(|t| t.is_integer() || t.is_null()) {
        true => DataType::Int64,
        false => DataType::Float64,
    }
}

/// The type of `div`: numeric beside a numeric.
fn quotient_type(types: &[DataType]) -> DataType {
    let is_decimal = |found: &DataType| matches!(found, DataType::Decimal128(..));
    match types.iter().any(is_decimal) && types.iter().all(is_exact) {
        true => DataType::Decimal128(PRECISION, 0),
        false => whole_or_float(types),
    }
}

/// The wider one of two whole numbers' types.
fn common_whole(types: &[DataType]) -> DataType {
    let widths = types.iter().map(|found| match found {
        DataType::Int8 | DataType::Int16 => 2,
        DataType::Int32 | DataType::Null => 4,
        _ => 8,
    });
    match widths.max() {
        Some(2) => DataType::Int16,
        Some(4) => DataType::Int32,
        _ => DataType::Int64,
    }
}

/// `#`, which is NULL beside NULL.
fn bitwise_xor(call: &Call<'_>) -> Result<ArrayRef> {
    let to = common_whole(&[
        call.arg(0)?.data_type().clone(),
        call.arg(1)?.data_type().clone(),
    ]);
    let (a, b) = (call.integers(0)?, call.integers(1)?);
    let xor: Int64Array = arity::binary(&a, &b, |a, b| a ^ b)?;
    Ok(cast(&xor, &to)?)
}

/// The type of what is computed of two whole numbers.
fn whole(name: &str, types: &[DataType]) -> Result<DataType> {
    let is_narrow = |found: &DataType| {
        matches!(found, DataType::Int8 | DataType::Int16 | DataType::Int32) || found.is_null()
    };
    let is_whole = |found: &DataType| found.is_integer() || found.is_null();
    match types.iter().all(is_whole) {
        true if types.iter().all(is_narrow) => Ok(DataType::Int32),
        true => Ok(DataType::Int64),
        false => Err(no_function(name, types)),
    }
}

fn of_whole(call: &Call<'_>, name: &str, of: fn(i128, i128) -> i128) -> Result<ArrayRef> {
    let types = [call.arg(0)?, call.arg(1)?].map(|arg| arg.data_type().clone());
    let to = whole(name, &types)?;
    let (least, most) = whole_numbers(&to).unwrap_or_default();
    let (a, b) = (call.integers(0)?, call.integers(1)?);
    let of = |(a, b): (Option<i64>, Option<i64>)| {
        let (Some(a), Some(b)) = (a, b) else {
            return Ok(None);
        };
        let value = of(a.into(), b.into());
        let found = i64::try_from(value).ok();
        match found.filter(|_| (least..=most).contains(&value)) {
            Some(found) => Ok(Some(found)),
            None => {
                let name = auspex_storage::type_name(&to);
                Err(failure("22003", format!("{name} out of range")))
            }
        }
    };
    let values: Int64Array = a.iter().zip(&b).map(of).collect::<Result<_>>()?;
    Ok(cast(&values, &to)?)
}

/// The largest number that divides both.
fn divisor(a: i128, b: i128) -> i128 {
    let (mut a, mut b) = (a.abs(), b.abs());
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The smallest number that both divide.
fn multiple(a: i128, b: i128) -> i128 {
    match divisor(a, b) {
        0 => 0,
        divisor => (a / divisor * b).abs(),
    }
}

fn negated_type(data_type: &DataType) -> Result<DataType> {
    match super::checked::signed(data_type) {
        Some(signed) => Ok(signed),
        None if data_type.is_numeric() || data_type.is_null() || is_interval(data_type) => {
            Ok(data_type.clone())
        }
        None => {
            let name = auspex_storage::type_name(data_type);
            Err(failure(
                "42883",
                format!("operator does not exist: - {name}"),
            ))
        }
    }
}

/// `-x`, which fails where there is no such number.
fn negated(call: &Call<'_>) -> Result<ArrayRef> {
    let to = negated_type(call.arg(0)?.data_type())?;
    let value = call.converted(0, &to)?;
    if to.is_null() {
        return Ok(value);
    }
    let name = auspex_storage::type_name(&to);
    let opposite = neg(&value).map_err(|_| failure("22003", format!("{name} out of range")))?;
    Ok(of_one_nan(opposite))
}

fn degrees_to(name: &'static str, of: impl Fn(f64) -> f64 + Send + Sync + 'static) -> Function {
    function(name, &[1], DataType::Float64, move |call| {
        let values = call
            .floats(0)?
            .iter()
            .map(|x| x.map(&of))
            .collect::<Float64Array>();
        Ok(Arc::new(values))
    })
}

/// A logarithm of positive numbers; of others there is none.
fn logarithm(name: &'static str, of: fn(f64) -> f64) -> Function {
    function(name, &[1], DataType::Float64, move |call| {
        let values = call.floats(0)?;
        let values = values.iter().map(|x| x.map(|x| Ok(of(positive(x)?))));
        let values = values.map(Option::transpose);
        Ok(Arc::new(values.collect::<Result<Float64Array>>()?))
    })
}

/// `log(x)` to the base 10, `log(base, x)`.
fn log(call: &Call<'_>) -> Result<ArrayRef> {
    let of = |(base, x): (Option<f64>, Option<f64>)| match (base, x) {
        (Some(base), Some(x)) => {
            let (base, x) = (positive(base)?, positive(x)?);
            match base {
                2.0 => Ok(Some(x.log2())),
                10.0 => Ok(Some(x.log10())),
                1.0 => Err(failure("22012", "division by zero")),
                base => Ok(Some(snapped(x.ln() / base.ln()))),
            }
        }
        _ => Ok(None),
    };
    let values: Float64Array = match call.args.len() {
        1 => {
            let values = call.floats(0)?;
            let pairs = values.iter().map(|x| (Some(10.0), x));
            pairs.map(of).collect::<Result<_>>()?
        }
        _ => {
            let (bases, values) = (call.floats(0)?, call.floats(1)?);
            let pairs = bases.iter().zip(&values);
            pairs.map(of).collect::<Result<_>>()?
        }
    };
    Ok(Arc::new(values))
}

/// The number, if it has a logarithm; NaN has itself.
fn positive(x: f64) -> Result<f64> {
    let what = match x {
        0.0 => "zero",
        x if x < 0.0 => "a negative number",
        _ => return Ok(x),
    };
    Err(failure("2201E", format!("cannot take logarithm of {what}")))
}

/// The whole number that a result misses by rounding alone, as in `tand(45)`.
fn snapped(value: f64) -> f64 {
    match value.round() {
        whole if (value - whole).abs() < 1e-12 => whole,
        _ => value,
    }
}

/// The sine of degrees, exact where it is a half or a whole number.
fn sine(degrees: f64) -> f64 {
    let turned = degrees.rem_euclid(360.0);
    match turned {
        x if x == 0.0 || x == 180.0 => 0.0,
        x if x == 30.0 || x == 150.0 => 0.5,
        90.0 => 1.0,
        x if x == 210.0 || x == 330.0 => -0.5,
        270.0 => -1.0,
        x => x.to_radians().sin(),
    }
}

/// The quotient without its fraction.
fn div(call: &Call<'_>) -> Result<ArrayRef> {
    let by_zero = || failure("22012", "division by zero");
    let types = [
        call.arg(0)?.data_type().clone(),
        call.arg(1)?.data_type().clone(),
    ];
    if whole_or_float(&types) == DataType::Int64 {
        let (a, b) = (call.integers(0)?, call.integers(1)?);
        let of = |(a, b): (Option<i64>, Option<i64>)| match (a, b) {
            (Some(_), Some(0)) => Err(by_zero()),
            (Some(a), Some(b)) => Ok(Some(a.checked_div(b).ok_or_else(out_of_range)?)),
            _ => Ok(None),
        };
        return Ok(Arc::new(
            a.iter().zip(&b).map(of).collect::<Result<Int64Array>>()?,
        ));
    }
    if let DataType::Decimal128(precision, _) = quotient_type(&types) {
        let scale = types.iter().map(scale_of).max().unwrap_or(0);
        let alike = DataType::Decimal128(precision, scale);
        let (a, b) = (call.converted(0, &alike)?, call.converted(1, &alike)?);
        let a = a.as_primitive::<Decimal128Type>();
        let b = b.as_primitive::<Decimal128Type>();
        let of = |(a, b): (Option<i128>, Option<i128>)| match (a, b) {
            (Some(_), Some(0)) => Err(by_zero()),
            (Some(a), Some(b)) => Ok(Some(a / b)),
            _ => Ok(None),
        };
        let quotients: Decimal128Array = a.iter().zip(b).map(of).collect::<Result<_>>()?;
        return Ok(Arc::new(quotients.with_precision_and_scale(precision, 0)?));
    }
    let (a, b) = (call.floats(0)?, call.floats(1)?);
    let of = |(a, b): (Option<f64>, Option<f64>)| match (a, b) {
        (Some(_), Some(0.0)) => Err(by_zero()),
        (Some(a), Some(b)) => Ok(Some((a / b).trunc())),
        _ => Ok(None),
    };
    Ok(Arc::new(
        a.iter().zip(&b).map(of).collect::<Result<Float64Array>>()?,
    ))
}

fn out_of_range() -> datafusion::error::DataFusionError {
    failure("22003", "bigint out of range")
}

/// `width_bucket(x, low, high, count)` and `width_bucket(x, thresholds)`.
fn width_bucket(call: &Call<'_>) -> Result<ArrayRef> {
    let x = call.floats(0)?;
    if call.args.len() == 2 {
        let lists = call.arg(1)?;
        let lists: &ListArray = lists.as_list_opt::<i32>().ok_or_else(|| {
            failure(
                "42883",
                "width_bucket takes an array of thresholds as its second argument",
            )
        })?;
        let of = |row: usize| {
            (x.is_valid(row) && lists.is_valid(row)).then_some(())?;
            let thresholds = cast(&lists.value(row), &DataType::Float64).ok()?;
            let thresholds = thresholds.as_primitive::<Float64Type>();
            let below = thresholds
                .iter()
                .flatten()
                .filter(|edge| *edge <= x.value(row))
                .count();
            i32::try_from(below).ok()
        };
        return Ok(Arc::new((0..call.n_rows).map(of).collect::<Int32Array>()));
    }
    let (low, high, count) = (call.floats(1)?, call.floats(2)?, call.integers(3)?);
    let of = |row: usize| {
        let is_null = x.is_null(row) || low.is_null(row) || high.is_null(row) || count.is_null(row);
        if is_null {
            return Ok(None);
        }
        let (x, low, high, count) = (
            x.value(row),
            low.value(row),
            high.value(row),
            count.value(row),
        );
        if count <= 0 {
            return Err(failure("2201G", "count must be greater than zero"));
        }
        if low == high {
            return Err(failure("2201G", "lower bound cannot equal upper bound"));
        }
        let share = (x - low) / (high - low);
        let bucket = match share {
            share if share < 0.0 => 0,
            share if share >= 1.0 => count + 1,
            // At most the count, which fits.
            share => (share * count as f64) as i64 + 1,
        };
        i32::try_from(bucket)
            .map(Some)
            .map_err(|_| failure("22003", "integer out of range"))
    };
    let buckets: Result<Int32Array> = (0..call.n_rows).map(of).collect();
    Ok(Arc::new(buckets?))
}

/// `random(low, high)`, both included; the first argument is a draw of the planner's.
fn random_between(call: &Call<'_>) -> Result<ArrayRef> {
    let types = [
        call.arg(1)?.data_type().clone(),
        call.arg(2)?.data_type().clone(),
    ];
    let draws = call.floats(0)?;
    let (low, high) = (call.floats(1)?, call.floats(2)?);
    let is_whole = whole_or_float(&types) == DataType::Int64;
    let of = |row: usize| {
        if low.is_null(row) || high.is_null(row) {
            return Ok(None);
        }
        let (low, high) = (low.value(row), high.value(row));
        if low > high {
            let message = "lower bound must be less than or equal to upper bound";
            return Err(failure("22023", message));
        }
        Ok(Some(match is_whole {
            true => low + (draws.value(row) * (high - low + 1.0)).floor(),
            false => low + draws.value(row) * (high - low),
        }))
    };
    let values: Float64Array = (0..call.n_rows).map(of).collect::<Result<_>>()?;
    let values: ArrayRef = Arc::new(values);
    Ok(if is_whole {
        cast(&values, &DataType::Int64)?
    } else {
        values
    })
}

fn count_nulls(call: &Call<'_>, nulls: bool) -> Result<ArrayRef> {
    let masks: Vec<_> = call.args.iter().map(|arg| arg.logical_nulls()).collect();
    let of = |row: usize| {
        let is_null = |mask: &&Option<_>| {
            let mask: &Option<datafusion::arrow::buffer::NullBuffer> = mask;
            mask.as_ref().is_some_and(|mask| mask.is_null(row)) == nulls
        };
        masks.iter().filter(is_null).count() as i32
    };
    Ok(Arc::new((0..call.n_rows).map(of).collect::<Int32Array>()))
}
