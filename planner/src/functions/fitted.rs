//! What PostgreSQL does to a value before it becomes one of another type: it rounds, checks, or moves the clock.
//!
//! In: the operand of a cast, or a value for a column; out: a value that a plain cast makes right. The type decides, which
//! no syntax tree tells: an operand that needs nothing is passed on, and the call is gone once the plan is simplified. Of an
//! array, each element is treated so.

use std::sync::Arc;

use auspex_storage::{
    AddressKind, BitKind, EnumType, JsonKind, TextLimit, clock_digits, is_uuid, marked_element,
};
use chrono::DateTime;
use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, Decimal128Array, Float32Array, Float64Array,
    TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, FieldRef, Float32Type, Float64Type, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ExprSchema, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::simplify::{ExprSimplifyResult, SimplifyContext};
use datafusion::logical_expr::{
    Cast, ColumnarValue, Expr, ExprSchemable as _, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF,
    ScalarUDFImpl, Signature, TypeSignature, Volatility, lit,
};

use super::call::{INTERVAL, failure};
use super::clock_sums;
use super::decimals::{decimal, loses_digits};
use super::dimensions::{deeper, in_place_of, map_elements, parts};
use super::interval::is_interval;
use super::moment::{TIME, TIMESTAMP, in_zone, is_time, timestamptz, zone};
use super::rows_by_place::by_place;
use crate::error::Error;

/// The function that numbers with a fraction pass on their way to whole ones.
pub(crate) const WHOLE: &str = "as_whole";
/// The same of doubles that are numerics to PostgreSQL.
const AWAY: &str = "as_whole_numeric";

/// What is done to the operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Step {
    /// Numbers with a fraction become whole: `float8` half to even, `numeric` half away from zero.
    Whole,
    /// Doubles become whole, halves away from zero.
    Away,
    /// Numbers that `real` cannot hold fail.
    Real,
    /// Binary fractions become the decimal ones that they are shown as; numbers that have more digits are rounded or fail.
    /// Precision and scale follow.
    Decimal,
    /// A moment with a zone is marked with the client's, whose clock then counts. The zone follows.
    Zone,
    /// A moment with a zone becomes what the client's clock shows. The zone follows.
    Clock,
    /// What the client's clock shows becomes a moment. The zone follows.
    Moment,
    /// Intervals become times of day: the rest after whole days.
    Time,
    /// Times of day become intervals.
    Interval,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Fitted {
    name: &'static str,
    step: Step,
    signature: Signature,
}

/// The functions of this family.
pub(super) fn functions() -> Vec<ScalarUDF> {
    [
        (WHOLE, Step::Whole, 1),
        (AWAY, Step::Away, 1),
        ("as_real", Step::Real, 1),
        ("as_decimal", Step::Decimal, 3),
        ("in_zone", Step::Zone, 2),
        ("on_clock", Step::Clock, 2),
        ("at_moment", Step::Moment, 2),
        ("as_time", Step::Time, 1),
        ("as_interval", Step::Interval, 1),
    ]
    .map(|(name, step, n_args)| function(name, step, n_args))
    .into()
}

/// A number, or each element of an array, as a whole one, halves away from zero.
pub(crate) fn half_away_each(array: Expr) -> Expr {
    function(AWAY, Step::Away, 1).call(vec![array])
}

fn function(name: &'static str, step: Step, n_args: usize) -> ScalarUDF {
    let signature = Signature::one_of(vec![TypeSignature::Any(n_args)], Volatility::Immutable);
    ScalarUDF::from(Fitted {
        name,
        step,
        signature,
    })
}

/// Puts the client's clock in the place of Greenwich's where the planner itself casts between moments and what a clock
/// shows, as it does beside operators, in CASE, UNION and values for columns, and where an interval is before or after a
/// moment. Casts that are written have it already.
#[derive(Debug)]
pub(super) struct ClientClock;

impl FunctionRewrite for ClientClock {
    fn name(&self) -> &str {
        "client_clock"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        config: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let Some(zone) = super::syntax::own_zone(config.execution.time_zone.as_deref()) else {
            return Ok(Transformed::no(expr));
        };
        let changed = match &expr {
            Expr::Cast(cast) => on_client_clock(cast, zone, schema),
            Expr::BinaryExpr(binary) => clock_sums::on_clock(binary, zone, schema),
            _ => None,
        };
        Ok(match changed {
            Some(changed) => Transformed::yes(changed),
            None => Transformed::no(expr),
        })
    }
}

/// A cast between moments and what a clock shows, also of arrays of these; `None`: it is another.
fn on_client_clock(cast: &Cast, zone: &str, schema: &DFSchema) -> Option<Expr> {
    let from = cast.expr.get_type(schema).ok()?;
    let to = cast.field.data_type();
    let (name, step) = match (parts(&from).0, parts(to).0) {
        (DataType::Timestamp(_, None) | DataType::Date32, DataType::Timestamp(_, Some(_))) => {
            ("at_moment", Step::Moment)
        }
        (
            DataType::Timestamp(_, Some(_)),
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Time64(_),
        ) => ("on_clock", Step::Clock),
        _ => return None,
    };
    let args = vec![cast.expr.as_ref().clone(), lit(zone)];
    let mut cast = cast.clone();
    *cast.expr = function(name, step, args.len()).call(args);
    Some(Expr::Cast(cast))
}

/// A value for a column, as PostgreSQL assigns it.
pub(crate) fn assigned(value: Expr, column: &Field, schema: &dyn ExprSchema) -> Result<Expr> {
    let to = column.data_type();
    let (_, found) = value.to_field(schema)?;
    if let Some(empty) = as_many_dimensions(&value, column, found.data_type())? {
        return Ok(empty);
    }
    // Arrays of json, uuids and labels are read as such, element by element.
    let (element, of_found) = (marked_element(column), marked_element(&found));
    let marked = element.as_ref().unwrap_or(column);
    let marked_found = of_found.as_ref().unwrap_or(&found);
    if let Some(kind) = JsonKind::of(marked) {
        let value = value.cast_to(to, schema)?;
        // What is json already was read before.
        return Ok(match (JsonKind::of(marked_found), kind) {
            (Some(found), kind) if found == kind => value,
            (Some(_), JsonKind::Json) => value,
            _ => super::json::read_as(kind, value),
        });
    }
    if is_uuid(marked) {
        let value = value.cast_to(to, schema)?;
        return Ok(match is_uuid(marked_found) {
            true => value,
            false => super::uuid::read(value),
        });
    }
    if let Some(wanted) = EnumType::of(marked) {
        let value = value.cast_to(to, schema)?;
        let is_read = EnumType::of(marked_found).is_some_and(|found| found.id == wanted.id);
        return Ok(match is_read {
            true => value,
            false => super::enums::read(value, &wanted),
        });
    }
    if let Some(kind) = AddressKind::of(marked) {
        let value = value.cast_to(to, schema)?;
        return Ok(super::addresses::assigned(value, &found, kind));
    }
    let from = found.data_type();
    let value = prepared(value, from, to, schema)?;
    // The type of a CASE is known for good when those of its branches have been made one: this cast may not be idle.
    let value = match matches!(to, DataType::Timestamp(..)) && from == to {
        true => Expr::Cast(Cast::new(Box::new(value), to.clone())),
        false => value.cast_to(to, schema)?,
    };
    if let Some(digits) = clock_digits(column) {
        return Ok(super::precision::within(value, to, digits));
    }
    let limit = TextLimit::of_field(column).filter(|_| *to == DataType::Utf8);
    Ok(match limit {
        Some(limit) => super::text_limits::within(value, limit),
        None => value,
    })
}

/// A value on its way to another type, of which numbers are treated alike within arrays.
fn prepared(value: Expr, from: &DataType, to: &DataType, schema: &dyn ExprSchema) -> Result<Expr> {
    let (number, _) = parts(to);
    let fits = |name, step, args: Vec<Expr>| {
        let changes = changed(step, from, Some(number)).is_some();
        match changes {
            true => function(name, step, args.len()).call(args),
            false => args
                .into_iter()
                .next()
                .unwrap_or_else(|| lit(ScalarValue::Null)),
        }
    };
    Ok(match number {
        whole if whole.is_signed_integer() => fits(WHOLE, Step::Whole, vec![value]),
        DataType::Float32 => fits("as_real", Step::Real, vec![value]),
        DataType::Decimal128(precision, scale) if *scale >= 0 => {
            let args = vec![value, lit(i64::from(*precision)), lit(i64::from(*scale))];
            fits("as_decimal", Step::Decimal, args)
        }
        _ if is_time(to) => fits("as_time", Step::Time, vec![value]),
        _ if is_interval(to) => fits("as_interval", Step::Interval, vec![value]),
        DataType::Struct(fields) if number == to => {
            by_place(&value, fields, schema)?.unwrap_or(value)
        }
        _ => value,
    })
}

/// A text beside a value of json, uuid, bits, an address or an enum, or an array of these, as such a value; `None`: the field holds others.
pub(crate) fn read_beside(field: &Field, text: &Expr) -> Option<Expr> {
    let element = marked_element(field);
    let marked = element.as_ref().unwrap_or(field);
    let value = match element {
        Some(_) => Expr::Cast(Cast::new(Box::new(text.clone()), field.data_type().clone())),
        None => text.clone(),
    };
    match JsonKind::of(marked) {
        Some(kind) => Some(super::json::read_as(kind, value)),
        None if is_uuid(marked) => Some(super::uuid::read(value)),
        None => match EnumType::of(marked) {
            Some(known) => Some(super::enums::read(value, &known)),
            None => match AddressKind::of(marked) {
                Some(kind) => Some(super::addresses::read(value, kind)),
                None => BitKind::of(field).map(|kind| super::bits::read(value, kind)),
            },
        },
    }
}

/// Fails where an array has other dimensions than those of a column, which has one depth. One with fewer may be empty, so that
/// it has none: then it is the column's empty array.
fn as_many_dimensions(value: &Expr, column: &Field, found: &DataType) -> Result<Option<Expr>> {
    let ((_, n_wanted), (element, n_found)) = (parts(column.data_type()), parts(found));
    if n_wanted == 0 || n_found == 0 || n_wanted == n_found || element.is_null() {
        return Ok(None);
    }
    if n_found < n_wanted {
        return deeper(value.clone(), column).map(Some);
    }
    let message = format!(
        "column \"{}\" holds arrays of {n_wanted} dimensions but expression is one of {n_found}",
        column.name()
    );
    let brackets = "[]".repeat(n_found);
    let hint = format!("Declare the column with a type such as text{brackets}.");
    Err(Error::invalid("0A000", message, Some(&hint)).into())
}

/// Whether a step does something to values of a type, and the type that it makes of them but for its parameters; `to` is
/// what a decimal becomes, alone or within an array.
fn changed(step: Step, from: &DataType, to: Option<&DataType>) -> Option<DataType> {
    let is_of_elements = !matches!(step, Step::Zone | Step::Time | Step::Interval);
    if matches!(from, DataType::List(_)) && is_of_elements {
        let element = changed(step, parts(from).0, to)?;
        return Some(in_place_of(from, &element));
    }
    let is_float = matches!(from, DataType::Float32 | DataType::Float64);
    let has_zone = matches!(from, DataType::Timestamp(_, Some(_)));
    match step {
        Step::Whole if is_float || matches!(from, DataType::Decimal128(..)) => Some(from.clone()),
        Step::Away if is_float => Some(from.clone()),
        Step::Real if *from == DataType::Float64 => Some(from.clone()),
        Step::Decimal if is_float => Some(DataType::Decimal128(38, 10)),
        Step::Decimal => to.filter(|to| loses_digits(from, to)).cloned(),
        Step::Zone if has_zone => Some(from.clone()),
        Step::Clock if has_zone => Some(TIMESTAMP),
        Step::Time if is_interval(from) => Some(TIME),
        Step::Interval if is_time(from) => Some(INTERVAL),
        Step::Moment => match from {
            DataType::Timestamp(_, None) | DataType::Date32 | DataType::Date64 => {
                Some(timestamptz())
            }
            // Texts are read by the cast itself, on the client's clock.
            _ => None,
        },
        _ => None,
    }
}

/// The decimal type that the second and third argument tell.
fn told_decimal(given: &[Option<&ScalarValue>]) -> Option<DataType> {
    let number = |idx: usize| match given.get(idx).copied().flatten() {
        Some(ScalarValue::Int64(Some(number))) => Some(*number),
        _ => None,
    };
    let precision = u8::try_from(number(1)?).ok()?;
    Some(DataType::Decimal128(
        precision,
        i8::try_from(number(2)?).ok()?,
    ))
}

impl Fitted {
    fn data_type(&self, from: &DataType, given: &[Option<&ScalarValue>]) -> Option<DataType> {
        let to = told_decimal(given);
        let plain = changed(self.step, from, to.as_ref())?;
        Some(match (self.step, from) {
            (Step::Decimal, _) => in_place_of(from, &to?),
            (Step::Zone, DataType::Timestamp(unit, _)) => match given.get(1).copied().flatten() {
                Some(ScalarValue::Utf8(Some(zone))) => {
                    DataType::Timestamp(*unit, Some(zone.as_str().into()))
                }
                _ => plain,
            },
            _ => plain,
        })
    }
}

impl ScalarUDFImpl for Fitted {
    fn name(&self) -> &str {
        self.name
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args[0].to_string())
    }

    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args[0].schema_name().to_string())
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let from = types.first().cloned().unwrap_or(DataType::Null);
        Ok(self.data_type(&from, &[]).unwrap_or(from))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = Arc::clone(&args.arg_fields[0]);
        Ok(
            match self.data_type(field.data_type(), args.scalar_arguments) {
                Some(data_type) => Arc::new(field.as_ref().clone().with_data_type(data_type)),
                None => field,
            },
        )
    }

    fn simplify(&self, args: Vec<Expr>, info: &SimplifyContext) -> Result<ExprSimplifyResult> {
        let from = info.get_data_type(&args[0])?;
        let given = args.iter().map(|arg| match arg {
            Expr::Literal(value, _) => Some(value),
            _ => None,
        });
        let to = told_decimal(&given.collect::<Vec<_>>());
        if changed(self.step, &from, to.as_ref()).is_some() {
            return Ok(ExprSimplifyResult::Original(args));
        }
        Ok(match args.into_iter().next() {
            Some(value) => ExprSimplifyResult::Simplified(value),
            None => ExprSimplifyResult::Original(Vec::new()),
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let to = args.return_field.data_type().clone();
        let zone = match args.args.get(1) {
            Some(ColumnarValue::Scalar(ScalarValue::Utf8(Some(zone)))) => zone.clone(),
            _ => String::new(),
        };
        let Some(value) = args.args.into_iter().next() else {
            return Err(failure(
                "XX000",
                "a function was called without its argument",
            ));
        };
        if changed(self.step, &value.data_type(), Some(parts(&to).0)).is_none() {
            return Ok(value);
        }
        let fit = |array: &ArrayRef| fitted(self.step, array, &to, &zone);
        Ok(match value {
            ColumnarValue::Array(array) => ColumnarValue::Array(fit(&array)?),
            ColumnarValue::Scalar(value) => {
                let array = fit(&value.to_array()?)?;
                ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)
            }
        })
    }
}

fn fitted(step: Step, array: &ArrayRef, to: &DataType, zone_name: &str) -> Result<ArrayRef> {
    match step {
        Step::Whole => map_elements(array, &whole),
        Step::Away => map_elements(array, &away),
        Step::Real => map_elements(array, &real),
        Step::Decimal => map_elements(array, &|numbers| decimal(numbers, parts(to).0)),
        Step::Zone => Ok(cast(array, to)?),
        Step::Clock => {
            let zone = zone(zone_name)?;
            map_elements(array, &|moments| on_clock(moments, &zone))
        }
        Step::Moment => {
            let zone = zone(zone_name)?;
            map_elements(array, &|local| at_moment(local, &zone))
        }
        Step::Time => super::moment::times_of_day(array),
        Step::Interval => super::moment::since_midnight(array),
    }
}

fn whole(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            let rounded: Float32Array = array.unary(f32::round_ties_even);
            Arc::new(rounded)
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            let rounded: Float64Array = array.unary(f64::round_ties_even);
            Arc::new(rounded)
        }
        DataType::Decimal128(precision, scale) if *scale > 0 => {
            let unit = 10_i128.pow(scale.unsigned_abs().into());
            // Where a row is NULL, there may be any number.
            let half = |value: i128| value.signum() * (unit / 2);
            let round = |value: i128| value.wrapping_add(half(value)) / unit * unit;
            let rounded: Decimal128Array = array.as_primitive::<Decimal128Type>().unary(round);
            // A digit more than the type has is the cast's to judge.
            Arc::new(rounded.with_data_type(DataType::Decimal128(*precision, *scale)))
        }
        _ => Arc::clone(array),
    })
}

fn away(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Float32 => {
            let array = array.as_primitive::<Float32Type>();
            let rounded: Float32Array = array.unary(f32::round);
            Arc::new(rounded)
        }
        DataType::Float64 => {
            let array = array.as_primitive::<Float64Type>();
            let rounded: Float64Array = array.unary(f64::round);
            Arc::new(rounded)
        }
        _ => Arc::clone(array),
    })
}

fn real(array: &ArrayRef) -> Result<ArrayRef> {
    let values = array.as_primitive::<Float64Type>();
    for value in values.iter().flatten() {
        let real = value as f32;
        if real.is_infinite() && value.is_finite() {
            return Err(failure("22003", "value out of range: overflow"));
        }
        if real == 0.0 && value != 0.0 {
            return Err(failure("22003", "value out of range: underflow"));
        }
    }
    Ok(Arc::clone(array))
}

fn on_clock(array: &ArrayRef, zone: &Tz) -> Result<ArrayRef> {
    let micros = cast(array, &timestamptz())?;
    let local = |value: i64| {
        let utc = DateTime::from_timestamp_micros(value)?;
        let local = utc.with_timezone(zone).naive_local();
        Some(local.and_utc().timestamp_micros())
    };
    let micros = micros.as_primitive::<TimestampMicrosecondType>();
    let local: TimestampMicrosecondArray =
        micros.iter().map(|value| value.and_then(local)).collect();
    Ok(Arc::new(local))
}

fn at_moment(array: &ArrayRef, zone: &Tz) -> Result<ArrayRef> {
    let local = cast(array, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
    let of = |value: i64| {
        let local = DateTime::from_timestamp_micros(value)
            .ok_or_else(|| failure("22008", "timestamp out of range"))?;
        Ok(in_zone(local.naive_utc(), zone)?.timestamp_micros())
    };
    let local = local.as_primitive::<TimestampMicrosecondType>().iter();
    let moments: TimestampMicrosecondArray = local
        .map(|value| value.map(of).transpose())
        .collect::<Result<_>>()?;
    Ok(Arc::new(moments.with_timezone("UTC")))
}
