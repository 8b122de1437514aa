//! Times of day so long before or after others: `time '23:00' + interval '2 hours'` is 01:00. The planner's own sum of two
//! constants ends the statement where it asks for the bounds of the sum.
//!
//! In: times of day and intervals, whose days and months do not count; out: times of day.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, Time64MicrosecondArray};
use datafusion::arrow::compute::kernels::arity::binary;
use datafusion::arrow::datatypes::{Field, Time64MicrosecondType};

use super::call::{Call, Function, function};
use super::moment::TIME;

/// PostgreSQL's names of the functions behind the operators: a time, and an interval.
pub(super) const LATER: &str = "time_pl_interval";
pub(super) const EARLIER: &str = "time_mi_interval";

/// Microseconds of a day.
const DAY: i64 = 86_400_000_000;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![moved(LATER, 1), moved(EARLIER, -1)]
}

fn moved(name: &'static str, sign: i64) -> Function {
    let body = move |call: &Call<'_>| {
        let times = call.converted(0, &TIME)?;
        let times = times.as_primitive::<Time64MicrosecondType>();
        // Each part is less than a day, also where a row is NULL.
        let sums: Time64MicrosecondArray = binary(times, &call.intervals(1)?, |time, span| {
            let span = span.nanoseconds / 1_000 % DAY;
            (time % DAY + sign * span).rem_euclid(DAY)
        })?;
        Ok(Arc::new(sums) as ArrayRef)
    };
    function(name, &[2], TIME, body).returning(|args| {
        let is_nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Field::new("value", TIME, is_nullable))
    })
}
