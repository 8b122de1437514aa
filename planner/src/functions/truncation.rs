//! `date_trunc` where the planner's own gives nothing: to decades, centuries and millennia, of intervals, and of times that
//! nanoseconds do not reach.
//!
//! In: a unit and a time or an interval; out: the same type, of a date a time stamp, with all that is finer than the unit
//! taken off. A time with a zone is cut on the session's clock.

use std::sync::Arc;

use chrono::{DateTime, Datelike, Days, NaiveDate, NaiveDateTime, NaiveTime, TimeDelta};
use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, Int64Array, IntervalMonthDayNanoArray, TimestampMicrosecondArray,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, FieldRef, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, TimeUnit,
    TimestampMicrosecondType,
};
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::logical_expr::sort_properties::{ExprProperties, SortProperties};
use datafusion::logical_expr::{
    ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl,
    Signature, Volatility,
};

use super::call::{Call, Function, INTERVAL, failure, function_of, no_function};
use super::interval::is_interval;
use super::moment::{Moment, TIMESTAMP, in_zone, micros_of_day, moments, timestamptz, zone};

/// The function's name.
pub(super) const NAME: &str = "date_trunc_far";

/// The units of years that the planner does not know.
pub(super) const YEARS: [(&str, i32); 3] = [("decade", 10), ("century", 100), ("millennium", 1000)];

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let returns = |types: &[DataType]| {
        Ok(match &types[1] {
            value if is_interval(value) => INTERVAL,
            DataType::Timestamp(_, Some(_)) => timestamptz(),
            _ => TIMESTAMP,
        })
    };
    vec![function_of(NAME, &[2], returns, cut).stable()]
}

/// The planner's `date_trunc`, with the times that it does not reach.
pub(super) fn date_trunc(inner: Arc<ScalarUDF>) -> ScalarUDF {
    ScalarUDF::from(Reaching {
        inner,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Reaching {
    inner: Arc<ScalarUDF>,
    signature: Signature,
}

impl ScalarUDFImpl for Reaching {
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
        let [unit, value] = types else {
            return Err(no_function(self.name(), types));
        };
        let unit = match unit {
            DataType::Null => DataType::Utf8,
            unit => unit.clone(),
        };
        let value = match value {
            DataType::Date32 | DataType::Date64 => TIMESTAMP,
            text if text.is_string() => TIMESTAMP,
            DataType::Null => TIMESTAMP,
            DataType::Timestamp(..) | DataType::Time32(_) | DataType::Time64(_) => value.clone(),
            interval if is_interval(interval) => INTERVAL,
            _ => return Err(no_function(self.name(), types)),
        };
        match unit.is_string() {
            true => Ok(vec![unit, value]),
            false => Err(no_function(self.name(), types)),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        self.inner.return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        for value in &mut args.args {
            if let ColumnarValue::Array(array) = value
                && let Some(shown) = without_hidden(array)?
            {
                *value = ColumnarValue::Array(shown);
            }
        }
        if is_below_seconds(&args)
            && let Some(cut) = far(&args)?
        {
            return Ok(cut);
        }
        match self.inner.invoke_with_args(args.clone()) {
            Err(error) => far(&args)?.ok_or(error),
            found => found,
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The moments with 1970 where a row is NULL: the planner's own counts what stands there as well, which may be
/// as early as no unit reaches. `None`: no row is NULL.
fn without_hidden(array: &ArrayRef) -> Result<Option<ArrayRef>> {
    let nulls = array.nulls().filter(|nulls| nulls.null_count() > 0);
    let (DataType::Timestamp(..), Some(nulls)) = (array.data_type(), nulls) else {
        return Ok(None);
    };
    let counts = cast(array, &DataType::Int64)?;
    let counts = counts.as_primitive::<Int64Type>().values().iter();
    let pairs = counts.zip(nulls.iter());
    let shown = pairs.map(|(count, is_valid)| if is_valid { *count } else { 0 });
    let shown = Int64Array::new(shown.collect(), Some(nulls.clone()));
    Ok(Some(cast(&shown, array.data_type())?))
}

/// Whether the unit is the same on every clock. The planner's own takes the hour that summer time's end repeats for one.
fn is_below_seconds(args: &ScalarFunctionArgs) -> bool {
    let unit = match args.args.first() {
        Some(ColumnarValue::Scalar(unit)) => unit.try_as_str().flatten(),
        _ => None,
    };
    unit.is_some_and(|unit| BELOW_SECONDS.contains(&unit.to_lowercase().as_str()))
}

/// The same of microseconds alone, and of intervals; `None` of another unit or type.
fn far(args: &ScalarFunctionArgs) -> Result<Option<ColumnarValue>> {
    let [ColumnarValue::Scalar(unit), value] = args.args.as_slice() else {
        return Ok(None);
    };
    let (Some(Some(unit)), data_type) = (unit.try_as_str(), value.data_type()) else {
        return Ok(None);
    };
    let unit = unit.to_lowercase();
    if data_type == INTERVAL {
        let values = value.to_array(args.number_rows)?;
        let values = values.as_primitive::<IntervalMonthDayNanoType>().iter();
        let cut = values.map(|value| value.map(|value| interval(&unit, value)).transpose());
        let cut: IntervalMonthDayNanoArray = cut.collect::<Result<_>>()?;
        return Ok(Some(ColumnarValue::Array(Arc::new(cut))));
    }
    let DataType::Timestamp(TimeUnit::Microsecond, zone_name) = &data_type else {
        return Ok(None);
    };
    if !UNITS.contains(&unit.as_str()) {
        return Ok(None);
    }
    let clock = zone_name.as_deref().map(zone).transpose()?;
    let clock = clock.filter(|_| !BELOW_SECONDS.contains(&unit.as_str()));
    let cut = |micros: Option<i64>| {
        let Some(utc) = micros.and_then(DateTime::from_timestamp_micros) else {
            return Ok(None);
        };
        Ok(Some(match &clock {
            Some(clock) => {
                let local = beginning(&unit, utc.with_timezone(clock).naive_local());
                in_zone(local, clock)?.timestamp_micros()
            }
            None => beginning(&unit, utc.naive_utc())
                .and_utc()
                .timestamp_micros(),
        }))
    };
    let is_scalar = matches!(value, ColumnarValue::Scalar(_));
    let values = value.to_array(if is_scalar { 1 } else { args.number_rows })?;
    let values = values.as_primitive::<TimestampMicrosecondType>().iter();
    let values: TimestampMicrosecondArray = values.map(cut).collect::<Result<_>>()?;
    let values = values.with_data_type(data_type.clone());
    Ok(Some(match is_scalar {
        true => ColumnarValue::Scalar(ScalarValue::try_from_array(&values, 0)?),
        false => ColumnarValue::Array(Arc::new(values)),
    }))
}

/// The units that are parts of a second.
const BELOW_SECONDS: [&str; 4] = ["microsecond", "microseconds", "millisecond", "milliseconds"];

/// The units that [`beginning`] knows.
const UNITS: [&str; 12] = [
    "microsecond",
    "microseconds",
    "millisecond",
    "milliseconds",
    "second",
    "minute",
    "hour",
    "day",
    "week",
    "month",
    "quarter",
    "year",
];

/// The first moment of the unit that a time lies in.
fn beginning(unit: &str, local: NaiveDateTime) -> NaiveDateTime {
    let date = local.date();
    let monday = u64::from(date.weekday().num_days_from_monday());
    let quarter = date.month0() / 3 * 3;
    let first = match unit {
        "day" => Some(date),
        "week" => date.checked_sub_days(Days::new(monday)),
        "month" => date.with_day(1),
        "quarter" => date
            .with_day(1)
            .and_then(|first| first.with_month0(quarter)),
        "year" => date.with_ordinal(1),
        _ => None,
    };
    let n_micros = match unit {
        "hour" => 3_600_000_000,
        "minute" => 60_000_000,
        "second" => 1_000_000,
        "millisecond" | "milliseconds" => 1_000,
        _ => 1,
    };
    match first {
        Some(first) => first.and_time(NaiveTime::MIN),
        None => local - TimeDelta::microseconds(micros_of_day(local.time()) % n_micros),
    }
}

fn cut(call: &Call<'_>) -> Result<ArrayRef> {
    let units = call.texts(0)?;
    if is_interval(call.arg(1)?.data_type()) {
        let intervals = call.intervals(1)?;
        let pairs = units.iter().zip(intervals.iter());
        let cut = |(unit, value): (Option<&str>, Option<IntervalMonthDayNano>)| match (unit, value)
        {
            (Some(unit), Some(value)) => interval(&unit.to_lowercase(), value).map(Some),
            _ => Ok(None),
        };
        let cut: IntervalMonthDayNanoArray = pairs.map(cut).collect::<Result<_>>()?;
        return Ok(Arc::new(cut));
    }
    let times = moments(call, 1)?;
    let has_zone = matches!(call.arg(1)?.data_type(), DataType::Timestamp(_, Some(_)));
    let clock = zone(call.time_zone())?;
    let cut = |(unit, time): (Option<&str>, Option<Moment>)| {
        let (Some(unit), Some(time)) = (unit, time) else {
            return Ok(None);
        };
        let local = years(&unit.to_lowercase(), time.local)?;
        Ok(Some(match has_zone {
            true => in_zone(local, &clock)?.timestamp_micros(),
            false => local.and_utc().timestamp_micros(),
        }))
    };
    let pairs = units.iter().zip(times);
    let cut: TimestampMicrosecondArray = pairs.map(cut).collect::<Result<_>>()?;
    Ok(match has_zone {
        true => Arc::new(cut.with_timezone("UTC")),
        false => Arc::new(cut),
    })
}

/// The first moment of the decade, century or millennium. Centuries begin with the year 1.
fn years(unit: &str, local: NaiveDateTime) -> Result<NaiveDateTime> {
    let Some((_, n_years)) = YEARS.iter().find(|(name, _)| *name == unit) else {
        return Err(unknown(unit, "timestamp"));
    };
    let shift = i32::from(unit != "decade");
    let year = (local.year() - shift).div_euclid(*n_years) * n_years + shift;
    let first = NaiveDate::from_ymd_opt(year, 1, 1);
    let first = first.ok_or_else(|| failure("22008", "timestamp out of range"))?;
    Ok(first.and_time(NaiveTime::MIN))
}

fn interval(unit: &str, value: IntervalMonthDayNano) -> Result<IntervalMonthDayNano> {
    let IntervalMonthDayNano {
        months,
        days,
        nanoseconds,
    } = value;
    let to_months = |n: i32| Ok(IntervalMonthDayNano::new(months - months % n, 0, 0));
    let to_nanos = |n: i64| {
        let nanoseconds = nanoseconds - nanoseconds % n;
        Ok(IntervalMonthDayNano::new(months, days, nanoseconds))
    };
    const SECOND: i64 = 1_000_000_000;
    match unit.strip_suffix('s').unwrap_or(unit) {
        "microsecond" => to_nanos(1_000),
        "millisecond" => to_nanos(1_000_000),
        "second" => to_nanos(SECOND),
        "minute" => to_nanos(60 * SECOND),
        "hour" => to_nanos(3_600 * SECOND),
        "day" => Ok(IntervalMonthDayNano::new(months, days, 0)),
        "month" => to_months(1),
        "quarter" => to_months(3),
        "year" => to_months(12),
        "decade" => to_months(120),
        "century" | "centurie" => to_months(1_200),
        "millennium" => to_months(12_000),
        _ => Err(unknown(unit, "interval")),
    }
}

fn unknown(unit: &str, kind: &str) -> datafusion::error::DataFusionError {
    failure(
        "22023",
        format!("unit \"{unit}\" not recognized for type {kind}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_begin_where_postgresql_says() {
        let moment = |text: &str| text.parse::<NaiveDateTime>().unwrap();
        let late = moment("9999-12-31T23:59:59.123456");
        for (unit, expected) in [
            ("millisecond", "9999-12-31T23:59:59.123"),
            ("second", "9999-12-31T23:59:59"),
            ("hour", "9999-12-31T23:00:00"),
            ("day", "9999-12-31T00:00:00"),
            ("week", "9999-12-27T00:00:00"),
            ("month", "9999-12-01T00:00:00"),
            ("quarter", "9999-10-01T00:00:00"),
            ("year", "9999-01-01T00:00:00"),
        ] {
            assert_eq!(beginning(unit, late), moment(expected), "{unit}");
        }
        let early = moment("0001-05-06T07:08:09");
        assert_eq!(beginning("quarter", early), moment("0001-04-01T00:00:00"));
    }
}
