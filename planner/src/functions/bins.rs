//! `date_bin` of times that nanoseconds do not reach, with PostgreSQL's errors.
//!
//! In: the width of bins, a moment, and one at which a bin begins; out: the beginning of the bin of the moment, counted in
//! microseconds. Of two arguments and of times of day the planner's own gives it.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, AsArray as _, TimestampMicrosecondArray};
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::type_coercion::functions::fields_with_udf;
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use super::call::{INTERVAL, failure};
use super::interval::is_interval;
use super::moment::{TIMESTAMP, timestamptz};

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The planner's `date_bin`, with the times that it does not reach.
pub(super) fn date_bin(inner: Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::from(Binning {
        inner,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Binning {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

/// The type of moments of these types; `None`: one is no moment.
fn moment_of(one: &DataType, other: &DataType) -> Option<DataType> {
    let may_be = |found: &DataType| {
        let is_moment = matches!(found, DataType::Timestamp(..) | DataType::Date32);
        is_moment || found.is_string() || found.is_null()
    };
    let is_any = |is: fn(&DataType) -> bool| is(one) || is(other);
    let has_zone = is_any(|found| matches!(found, DataType::Timestamp(_, Some(_))));
    let has_none = is_any(|found| matches!(found, DataType::Timestamp(_, None)));
    (may_be(one) && may_be(other)).then(|| match has_none && !has_zone {
        true => TIMESTAMP,
        false => timestamptz(),
    })
}

impl ScalarUDFImpl for Binning {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        if let [width, moment, origin] = types
            && (is_interval(width) || width.is_string() || width.is_null())
            && let Some(moment) = moment_of(moment, origin)
        {
            return Ok(vec![INTERVAL, moment.clone(), moment]);
        }
        let field =
            |found: &DataType| -> FieldRef { Arc::new(Field::new("", found.clone(), true)) };
        let fields: Vec<FieldRef> = types.iter().map(field).collect();
        let fields = fields_with_udf(&fields, self.inner.as_ref())?;
        let types = fields.iter().map(|field| field.data_type().clone());
        Ok(types.collect())
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.get(1).map(ColumnarValue::data_type) {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone)) if args.args.len() == 3 => {
                binned(&args, zone)
            }
            _ => self.inner.invoke_with_args(args),
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

fn binned(args: &ScalarFunctionArgs, zone: Option<Arc<str>>) -> Result<ColumnarValue> {
    let is_one = |value: &ColumnarValue| matches!(value, ColumnarValue::Scalar(_));
    let is_constant = args.args.iter().all(is_one);
    let n_rows = if is_constant { 1 } else { args.number_rows };
    let columns = args.args.iter().map(|value| value.to_array(n_rows));
    let columns = columns.collect::<Result<Vec<_>>>()?;
    let widths = columns[0].as_primitive::<IntervalMonthDayNanoType>();
    let [moments, origins] =
        [1, 2].map(|idx| columns[idx].as_primitive::<TimestampMicrosecondType>());
    let of_row = |row: usize| {
        let is_null = columns.iter().any(|column| column.is_null(row));
        let bin = || beginning(widths.value(row), moments.value(row), origins.value(row));
        (!is_null).then(bin).transpose()
    };
    let bins: Result<TimestampMicrosecondArray> = (0..n_rows).map(of_row).collect();
    let bins = bins?.with_timezone_opt(zone);
    Ok(match is_constant {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&bins, 0)?),
        false => ColumnarValue::Array(Arc::new(bins)),
    })
}

/// The beginning of the bin that holds a moment.
fn beginning(width: IntervalMonthDayNano, moment: i64, origin: i64) -> Result<i64> {
    if width.months != 0 {
        let message = "timestamps cannot be binned into intervals containing months or years";
        return Err(failure("0A000", message));
    }
    let days = i64::from(width.days).checked_mul(DAY);
    let width = days.and_then(|days| days.checked_add(width.nanoseconds / 1000));
    let out_of_range = || failure("22008", "interval out of range");
    let width = width.ok_or_else(out_of_range)?;
    if width <= 0 {
        return Err(failure("22008", "stride must be greater than zero"));
    }
    let apart = moment.checked_sub(origin).ok_or_else(out_of_range)?;
    let begins = moment.checked_sub(apart.rem_euclid(width));
    begins.ok_or_else(|| failure("22008", "timestamp out of range"))
}
