//! Arrays of which a part is assigned: `UPDATE t SET a[3] = x`, `SET a[1:2] = y`; bounds of slices.
//!
//! In: arrays, the elements that are put into them, and the first and the last of their places; out: the arrays with these
//! elements there. What lies between the end of an array and a place becomes NULL. Arrays begin with 1 here.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, ListArray, UInt64Array, new_null_array,
};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::kernels::arity::binary;
use datafusion::arrow::compute::{cast, concat, take};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::error::{DataFusionError, Result};

use super::call::{Call, Function, failure, function, function_of};
use crate::error::Error;

/// The name of the function.
pub(crate) const ARRAY_WITH_PART: &str = "array_with_part";

/// What stands for the last place that there is where a slice has no upper bound; no place is as great.
pub(crate) const LAST_PLACE: i64 = i64::MAX;

/// The name of the function that keeps the bounds of slices within arrays.
pub(crate) const SLICE_BOUND: &str = "slice_bound";

/// As many elements as PostgreSQL's arrays have at most.
const MAX_LENGTH: i64 = 134_217_727;

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let returns = |types: &[DataType]| Ok(types[0].clone());
    vec![
        function_of(ARRAY_WITH_PART, &[4], returns, with_part)
            .returning(|args| Ok(args.arg_fields[0].as_ref().clone().with_nullable(true))),
        function(SLICE_BOUND, &[2], DataType::Int64, bound),
    ]
}

/// The greater one of two numbers: a slice begins with the first element if its bound is before that.
fn bound(call: &Call<'_>) -> Result<ArrayRef> {
    let (bounds, least) = (call.integers(0)?, call.integers(1)?);
    Ok(Arc::new(binary::<_, _, _, Int64Type>(
        &bounds,
        &least,
        i64::max,
    )?))
}

fn with_part(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.arg(0)?;
    let (Some(lists), DataType::List(item)) = (array.as_list_opt::<i32>(), array.data_type())
    else {
        return Err(failure("42804", "an array is expected"));
    };
    let new = cast(call.arg(1)?, array.data_type())?;
    let new = new.as_list::<i32>();
    let (firsts, lasts) = (call.integers(2)?, call.integers(3)?);
    // A place of the one NULL behind the elements of both.
    let null = new_null_array(item.data_type(), 1);
    let n_old = lists.values().len();
    let all = concat(&[
        lists.values().as_ref(),
        new.values().as_ref(),
        null.as_ref(),
    ])?;
    let null = all.len() as u64 - 1;
    let (mut places, mut lengths) = (Vec::<u64>::new(), Vec::with_capacity(call.n_rows));
    let mut valid = Vec::with_capacity(call.n_rows);
    for row in 0..call.n_rows {
        if firsts.is_null(row) || lasts.is_null(row) {
            let message = "array subscript in assignment must not be null";
            return Err(failure("22004", message));
        }
        let mut row_places = places_of(lists, row, 0);
        let source = new.is_valid(row).then(|| places_of(new, row, n_old));
        valid.push(lists.is_valid(row) || source.is_some());
        // A NULL changes nothing.
        if let Some(source) = source {
            let last = match lasts.value(row) {
                LAST_PLACE => row_places.len() as i64,
                last => last,
            };
            let bounds = (firsts.value(row), last);
            put(&mut row_places, &source, bounds, null)?;
        }
        lengths.push(row_places.len());
        places.append(&mut row_places);
    }
    let elements = take(&all, &UInt64Array::from(places), None)?;
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths),
        elements,
        Some(NullBuffer::from(valid)),
    )?))
}

/// The places of the elements of a row, behind so many others.
fn places_of(lists: &ListArray, row: usize, n_before: usize) -> Vec<u64> {
    if lists.is_null(row) {
        return Vec::new();
    }
    // Lossless: places of values are not negative.
    let first = n_before as u64 + lists.value_offsets()[row] as u64;
    (first..first + lists.value_length(row) as u64).collect()
}

/// Puts elements between two bounds of an array.
fn put(array: &mut Vec<u64>, new: &[u64], (first, last): (i64, i64), null: u64) -> Result<()> {
    if last < first {
        let message = "upper bound cannot be less than lower bound";
        return Err(failure("2202E", message));
    }
    if last > MAX_LENGTH {
        let message = format!("array size exceeds the maximum allowed ({MAX_LENGTH})");
        return Err(failure("54000", message));
    }
    if first < 1 || array.is_empty() && first > 1 {
        return Err(other_beginning());
    }
    // Lossless: both are from 1 to the greatest length.
    let (first, last) = (first as usize - 1, last as usize);
    let Some(new) = new.get(..last - first) else {
        return Err(failure("2202E", "source array too small"));
    };
    if array.len() < last {
        // The place of an element takes as much as most elements do.
        crate::memory::ask_for((last - array.len()).saturating_mul(16))?;
        array.resize(last, null);
    }
    array[first..last].copy_from_slice(new);
    Ok(())
}

fn other_beginning() -> DataFusionError {
    let message = "arrays that do not begin with 1 are not supported";
    let hint = "Assign the whole array, or its elements from 1 on.";
    Error::invalid("0A000", message, Some(hint)).into()
}
