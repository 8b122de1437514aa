//! `(a, b) OVERLAPS (c, d)`: whether two periods have a moment in common.
//!
//! In: two moments of each period, in any order, or its beginning and its length, of which one may be NULL; out: whether they
//! overlap, or NULL where that depends on the one that is not known. As in PostgreSQL, moments with a zone and dates are compared
//! as they come one after another, not by what the clocks show.

use std::sync::Arc;

use datafusion::arrow::array::timezone::Tz;
use datafusion::arrow::array::{ArrayRef, BooleanArray};
use datafusion::arrow::datatypes::DataType;
use datafusion::error::Result;

use super::call::{Call, Function, function_of, no_function};
use super::clock_sums::later;
use super::interval::is_interval;
use super::moment::{Moment, in_zone, is_time, moments, zone};

/// Its name.
const NAME: &str = "overlaps";

/// The function of this family.
pub(super) fn functions() -> Vec<Function> {
    let returns = |types: &[DataType]| match types {
        [one, _, other, _] if !is_interval(one) && !is_interval(other) => Ok(DataType::Boolean),
        types => Err(no_function(NAME, types)),
    };
    vec![function_of(NAME, &[4], returns, overlaps).stable()]
}

/// A moment of a period and the later one, in microseconds; `None`: it is not known.
type Period = (i64, Option<i64>);

/// A period of two moments in any order; of one moment that is known it is the beginning.
fn period((one, other): (Option<i64>, Option<i64>)) -> Option<Period> {
    match (one, other) {
        (Some(one), Some(other)) => Some((one.min(other), Some(one.max(other)))),
        (one, other) => Some((one.or(other)?, None)),
    }
}

/// Whether the first of two periods, which begins no later, reaches into the other one. An end does not count, and a period
/// of one moment is that moment. What begins within the other one overlaps with it, whenever it ends.
fn reaches((from, to): Period, (start, end): Period) -> Option<bool> {
    let to = to?;
    match from == start {
        true => end.map(|_| true),
        false if start < to => Some(true),
        false => end.map(|_| false),
    }
}

/// Whether two periods overlap.
fn overlaps(call: &Call<'_>) -> Result<ArrayRef> {
    let zone = clock(call)?;
    let (firsts, seconds) = (periods(call, 0, &zone)?, periods(call, 2, &zone)?);
    let of_row = |(first, second): (Option<Period>, Option<Period>)| {
        let (first, second) = (first?, second?);
        match first.0 <= second.0 {
            true => reaches(first, second),
            false => reaches(second, first),
        }
    };
    let rows = firsts.into_iter().zip(seconds);
    Ok(Arc::new(rows.map(of_row).collect::<BooleanArray>()))
}

/// The clock that the arguments are read on: that of the session if one has a zone, and of dates alone, which PostgreSQL makes
/// moments with a zone of.
fn clock(call: &Call<'_>) -> Result<Tz> {
    let has = |of: &dyn Fn(&DataType) -> bool| call.args.iter().any(|arg| of(arg.data_type()));
    let has_zone = has(&|found| matches!(found, DataType::Timestamp(_, Some(_))));
    let has_days = has(&|found| matches!(found, DataType::Date32 | DataType::Date64));
    match has_zone || has_days && !has(&|found| matches!(found, DataType::Timestamp(_, None))) {
        true => zone(call.time_zone()),
        false => zone("UTC"),
    }
}

/// The periods of the argument `start` and the one behind it.
fn periods(call: &Call<'_>, start: usize, zone: &Tz) -> Result<Vec<Option<Period>>> {
    let from = column(call, start, zone)?;
    let to = match is_interval(call.arg(start + 1)?.data_type()) {
        true => ends(call, start, &from, zone)?,
        false => column(call, start + 1, zone)?,
    };
    Ok(from.into_iter().zip(to).map(period).collect())
}

/// An argument as moments in microseconds.
fn column(call: &Call<'_>, idx: usize, zone: &Tz) -> Result<Vec<Option<i64>>> {
    let micros = |moment: Moment| match moment.offset {
        Some(east) => {
            let shown = moment.local.and_utc().timestamp_micros();
            Ok(shown - i64::from(east) * 1_000_000)
        }
        None => Ok(in_zone(moment.local, zone)?.timestamp_micros()),
    };
    let moments = moments(call, idx)?.into_iter();
    moments
        .map(|moment| moment.map(micros).transpose())
        .collect()
}

/// The ends of periods of which the argument behind their beginning is the length. A time of day is one of the next day past
/// midnight.
fn ends(
    call: &Call<'_>,
    start: usize,
    from: &[Option<i64>],
    zone: &Tz,
) -> Result<Vec<Option<i64>>> {
    const DAY: i64 = 86_400_000_000;
    let is_time = is_time(call.arg(start)?.data_type());
    let lengths = call.intervals(start + 1)?;
    let end = |(from, length): (&Option<i64>, _)| {
        let (Some(from), Some(length)) = (*from, length) else {
            return Ok(None);
        };
        let end = later(from, length, zone)?;
        Ok(Some(if is_time { end.rem_euclid(DAY) } else { end }))
    };
    from.iter().zip(lengths.iter()).map(end).collect()
}
