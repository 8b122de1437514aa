//! Series of times and of exact numbers, by PostgreSQL's rules: `generate_series(date '2024-01-01', …, '1 day')` has time
//! stamps with a zone, `generate_series(1, 3)` integers.
//!
//! In: two ends and a step, which may be texts beside times; out: an array of the values of each row. Series of whole numbers
//! that stand in FROM and use no columns are the planner's, which makes their rows one batch after the other.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, Decimal128Builder, Int64Array, ListArray, ListBuilder,
    TimestampMicrosecondArray, TimestampMicrosecondBuilder,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{
    DataType, Decimal128Type, Field, TimeUnit, TimestampMicrosecondType,
};
use datafusion::error::{DataFusionError, Result};

use super::call::{Call, Function, failure, function_of, no_function};
use super::clock_sums::later;
use super::interval::length;
use super::moment::{TIMESTAMP, timestamptz, zone};
use crate::memory::ask_for;

/// The name of the function.
pub(crate) const SERIES: &str = "series_by_steps";

/// Digits behind the point of a number that says nothing of them.
const SCALE: i8 = 10;
/// What PostgreSQL allows an array.
const MAX_ELEMENTS: usize = (1 << 27) - 1;
/// After how many values room for as many more is asked for.
const STRIDE: usize = 1 << 20;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let returns = |types: &[DataType]| {
        let item = Field::new_list_field(element(types)?, true);
        Ok(DataType::List(Arc::new(item)))
    };
    vec![function_of(SERIES, &[2, 3], returns, series).stable()]
}

/// The type of a series' values.
fn element(types: &[DataType]) -> Result<DataType> {
    let ends = &types[..2];
    let is_local = |end: &DataType| matches!(end, DataType::Timestamp(_, None));
    let is_time = |end: &DataType| end.is_temporal() && !matches!(end, DataType::Time64(_));
    let is_open = |end: &DataType| end.is_string() || end.is_null();
    let is_between_times = ends.iter().any(is_time);
    // A step without a type is an interval between times.
    let is_step =
        |step: &DataType| super::interval::is_interval(step) || step.is_null() && is_between_times;
    let steps_in_time = types.get(2).is_some_and(is_step);
    if steps_in_time && ends.iter().all(|end| is_time(end) || is_open(end)) {
        let is_plain = ends.iter().any(is_local) && ends.iter().all(|e| is_local(e) || is_open(e));
        return Ok(if is_plain { TIMESTAMP } else { timestamptz() });
    }
    if !types.iter().all(|each| each.is_numeric() || is_open(each)) {
        return Err(no_function("generate_series", types));
    }
    if let Some(whole) = whole(types) {
        return Ok(whole);
    }
    let scale = |each: &DataType| match each {
        DataType::Decimal128(_, scale) | DataType::Decimal256(_, scale) => *scale,
        each if each.is_floating() => SCALE,
        _ => 0,
    };
    let scale = types.iter().map(scale).max().unwrap_or(0);
    Ok(DataType::Decimal128(38, scale))
}

/// The type of a series of whole numbers; `None`: it has others, or says nothing of its type.
fn whole(types: &[DataType]) -> Option<DataType> {
    let mut known = types
        .iter()
        .filter(|each| !each.is_string() && !each.is_null())
        .peekable();
    known.peek()?;
    known.try_fold(DataType::Int32, |widest, each| match each {
        DataType::Int8 | DataType::Int16 | DataType::Int32 => Some(widest),
        each => each.is_integer().then_some(DataType::Int64),
    })
}

fn series(call: &Call<'_>) -> Result<ArrayRef> {
    let types: Vec<DataType> = call
        .args
        .iter()
        .map(|arg| arg.data_type().clone())
        .collect();
    match element(&types)? {
        DataType::Timestamp(_, None) => times(call, "UTC", &TIMESTAMP),
        DataType::Timestamp(..) => times(call, call.time_zone(), &timestamptz()),
        data_type if data_type.is_integer() => whole_numbers(call, &data_type),
        data_type => numbers(call, &data_type),
    }
}

fn too_many() -> DataFusionError {
    let message = format!("array size exceeds the maximum allowed ({MAX_ELEMENTS})");
    failure("54000", message)
}

/// Counts what is made and asks for its room.
#[derive(Default)]
struct Count(usize);

impl Count {
    fn one_more(&mut self) -> Result<()> {
        if self.0 > 0 && self.0.is_multiple_of(STRIDE) {
            ask_for((self.0 + STRIDE) * size_of::<i128>())?;
        }
        self.0 += 1;
        match self.0 > MAX_ELEMENTS {
            true => Err(too_many()),
            false => Ok(()),
        }
    }
}

fn no_step() -> DataFusionError {
    failure("22023", "step size cannot equal zero")
}

/// The ends as moments: what has no zone is the time on the clock of `zone_name`.
fn moments(call: &Call<'_>, idx: usize, zone_name: &str) -> Result<TimestampMicrosecondArray> {
    let array = call.arg(idx)?;
    let instant = timestamptz();
    let array = match array.data_type() {
        DataType::Timestamp(_, Some(_)) => cast(array, &instant)?,
        _ => {
            let local = cast(array, &TIMESTAMP)?;
            let zoned = DataType::Timestamp(TimeUnit::Microsecond, Some(zone_name.into()));
            cast(&cast(&local, &zoned)?, &instant)?
        }
    };
    Ok(array.as_primitive::<TimestampMicrosecondType>().clone())
}

/// Days and months are those of the zone's calendar.
fn times(call: &Call<'_>, zone_name: &str, data_type: &DataType) -> Result<ArrayRef> {
    let calendar = zone(zone_name)?;
    let (starts, stops) = (moments(call, 0, zone_name)?, moments(call, 1, zone_name)?);
    let steps = call.intervals(2)?;
    let values = TimestampMicrosecondBuilder::new().with_data_type(data_type.clone());
    let mut lists = ListBuilder::new(values);
    let mut count = Count::default();
    for row in 0..call.n_rows {
        if starts.is_valid(row) && stops.is_valid(row) && steps.is_valid(row) {
            let (step, stop) = (steps.value(row), stops.value(row));
            let way = length(step);
            if way == 0 {
                return Err(no_step());
            }
            let mut next = Some(starts.value(row));
            while let Some(time) = next.filter(|time| {
                if way > 0 {
                    *time <= stop
                } else {
                    *time >= stop
                }
            }) {
                count.one_more()?;
                lists.values().append_value(time);
                // Behind the last moment that there is, no more follow.
                next = later(time, step, &calendar).ok();
            }
        }
        // No row where an argument is NULL.
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

fn numbers(call: &Call<'_>, data_type: &DataType) -> Result<ArrayRef> {
    let DataType::Decimal128(_, scale) = data_type else {
        return Err(no_function("generate_series", &[]));
    };
    let read = |idx| -> Result<_> {
        let array = call.converted(idx, data_type)?;
        Ok(array.as_primitive::<Decimal128Type>().clone())
    };
    let (starts, stops) = (read(0)?, read(1)?);
    let steps = (call.args.len() > 2).then(|| read(2)).transpose()?;
    let one = 10_i128.pow(u32::try_from(*scale).unwrap_or(0));
    let mut lists = ListBuilder::new(Decimal128Builder::new().with_data_type(data_type.clone()));
    let mut count = Count::default();
    for row in 0..call.n_rows {
        let has_step = steps.as_ref().is_none_or(|steps| steps.is_valid(row));
        if starts.is_valid(row) && stops.is_valid(row) && has_step {
            let step = steps.as_ref().map_or(one, |steps| steps.value(row));
            let stop = stops.value(row);
            if step == 0 {
                return Err(no_step());
            }
            let mut next = Some(starts.value(row));
            while let Some(number) = next.filter(|n| if step > 0 { *n <= stop } else { *n >= stop })
            {
                count.one_more()?;
                lists.values().append_value(number);
                next = number.checked_add(step);
            }
        }
        lists.append(true);
    }
    Ok(Arc::new(lists.finish()))
}

fn whole_numbers(call: &Call<'_>, data_type: &DataType) -> Result<ArrayRef> {
    let (starts, stops) = (call.integers(0)?, call.integers(1)?);
    let steps = (call.args.len() > 2)
        .then(|| call.integers(2))
        .transpose()?;
    let step_of = |row: usize| steps.as_ref().map_or(1, |steps| steps.value(row));
    // No row where an argument is NULL.
    let length = |row: usize| {
        let has_step = steps.as_ref().is_none_or(|steps| steps.is_valid(row));
        match starts.is_valid(row) && stops.is_valid(row) && has_step {
            true => count(starts.value(row), stops.value(row), step_of(row)),
            false => Ok(0),
        }
    };
    let lengths: Vec<usize> = (0..call.n_rows).map(length).collect::<Result<_>>()?;
    let n_values: usize = lengths.iter().sum();
    ask_for(n_values.saturating_mul(size_of::<i64>()))?;
    // Places in a column of arrays have 31 bits.
    if i32::try_from(n_values).is_err() {
        return Err(too_many());
    }
    let mut values: Vec<i64> = Vec::with_capacity(n_values);
    for (row, length) in lengths.iter().enumerate() {
        let (start, step) = (starts.value(row), step_of(row));
        // The values lie between the ends, so that what wraps on the way comes back.
        let of = |idx: usize| start.wrapping_add((idx as i64).wrapping_mul(step));
        values.extend((0..*length).map(of));
    }
    let values: ArrayRef = Arc::new(Int64Array::from(values));
    let item = Arc::new(Field::new_list_field(data_type.clone(), true));
    let (values, places) = (
        cast(&values, data_type)?,
        OffsetBuffer::from_lengths(lengths),
    );
    Ok(Arc::new(ListArray::try_new(item, places, values, None)?))
}

/// How many numbers a series has.
fn count(start: i64, stop: i64, step: i64) -> Result<usize> {
    let way = i128::from(stop) - i128::from(start);
    let last = match i128::from(step) {
        0 => return Err(no_step()),
        step if way.signum() * step.signum() < 0 => return Ok(0),
        step => way / step,
    };
    let n_values = usize::try_from(last)
        .ok()
        .and_then(|last| last.checked_add(1));
    n_values
        .filter(|n_values| *n_values <= MAX_ELEMENTS)
        .ok_or_else(too_many)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_counted_before_they_are_made() {
        assert_eq!(count(1, 10, 3).unwrap(), 4);
        assert_eq!(count(10, 1, -3).unwrap(), 4);
        assert_eq!(count(1, 0, 1).unwrap(), 0);
        assert_eq!(count(5, 5, -1).unwrap(), 1);
        assert_eq!(count(i64::MIN, i64::MAX, i64::MAX).unwrap(), 3);
        assert!(count(1, 3, 0).is_err());
        assert!(count(1, i64::MAX, 1).is_err());
    }

    #[test]
    fn integers_make_integers() {
        let (narrow, wide) = (DataType::Int32, DataType::Int64);
        assert_eq!(
            whole(&[narrow.clone(), DataType::Null]),
            Some(narrow.clone())
        );
        assert_eq!(whole(&[narrow.clone(), wide.clone()]), Some(wide.clone()));
        assert_eq!(whole(&[wide.clone(), narrow.clone()]), Some(wide));
        assert_eq!(whole(&[narrow, DataType::Float64]), None);
        assert_eq!(whole(&[DataType::Null, DataType::Utf8]), None);
    }
}
