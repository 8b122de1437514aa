//! Points on the Earth and the distance between two: `ST_GEOGPOINT`, `ST_DISTANCE`.
//!
//! In: degrees east and north; out: a point, or metres on a sphere, as BigQuery computes them.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Float64Array, StructArray};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Float64Type};
use datafusion::error::Result;

use super::super::call::{Call, Function, failure, function};

/// The Earth's mean radius in metres, of the S2 library that BigQuery uses.
const RADIUS: f64 = 6_371_010.0;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("st_geogpoint", &[2], DataType::Struct(fields()), point),
        function("st_distance", &[2], DataType::Float64, distance),
        function("st_x", &[1], DataType::Float64, |call| {
            Ok(Arc::new(points(call, 0)?.0))
        }),
        function("st_y", &[1], DataType::Float64, |call| {
            Ok(Arc::new(points(call, 0)?.1))
        }),
    ]
}

fn fields() -> Fields {
    let degrees = |name| Field::new(name, DataType::Float64, true);
    Fields::from(vec![degrees("longitude"), degrees("latitude")])
}

fn point(call: &Call<'_>) -> Result<ArrayRef> {
    let (east, north) = (call.floats(0)?, call.floats(1)?);
    if let Some(north) = north
        .iter()
        .flatten()
        .find(|north| !(-90.0..=90.0).contains(north))
    {
        let message = format!("latitude must be between -90 and 90 degrees, got {north}");
        return Err(failure("22003", message));
    }
    let nulls = NullBuffer::union(east.nulls(), north.nulls());
    let columns: Vec<ArrayRef> = vec![Arc::new(east), Arc::new(north)];
    Ok(Arc::new(StructArray::try_new(fields(), columns, nulls)?))
}

fn points(call: &Call<'_>, idx: usize) -> Result<(Float64Array, Float64Array)> {
    let array = call.arg(idx)?;
    if array.data_type().is_null() {
        let nulls = Float64Array::new_null(array.len());
        return Ok((nulls.clone(), nulls));
    }
    let is_point = *array.data_type() == DataType::Struct(fields());
    let Some(points) = array.as_struct_opt().filter(|_| is_point) else {
        return Err(failure("42804", "a point of ST_GEOGPOINT is expected"));
    };
    let degrees = |idx: usize| points.column(idx).as_primitive::<Float64Type>().clone();
    Ok((degrees(0), degrees(1)))
}

fn distance(call: &Call<'_>) -> Result<ArrayRef> {
    let (from, to) = (points(call, 0)?, points(call, 1)?);
    let is_valid = |row: usize| {
        let columns = [&from.0, &from.1, &to.0, &to.1];
        columns.iter().all(|column| column.is_valid(row))
    };
    let of_row = |row: usize| {
        let radians = |degrees: &Float64Array| degrees.value(row).to_radians();
        is_valid(row).then(|| {
            let (a, b) = (radians(&from.1), radians(&to.1));
            let turned = radians(&to.0) - radians(&from.0);
            // The half of the chord, squared: haversines lose no digits for near points.
            let half =
                ((b - a) / 2.0).sin().powi(2) + a.cos() * b.cos() * (turned / 2.0).sin().powi(2);
            2.0 * RADIUS * half.min(1.0).sqrt().asin()
        })
    };
    Ok(Arc::new(
        (0..call.n_rows).map(of_row).collect::<Float64Array>(),
    ))
}
