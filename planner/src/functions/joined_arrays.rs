//! `a || b` of arrays of which one at least has several dimensions: `ARRAY[[1,2]] || ARRAY[3,4]`.
//!
//! In: two arrays of as many dimensions, or of which one is like the elements of the other; out: the elements of both, of which
//! all have the same lengths, or 2202E. An array that is NULL or empty adds nothing.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, ListArray, UInt64Array};
use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
use datafusion::arrow::compute::{cast, concat, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::utils::list_ndims;
use datafusion::error::Result;

use super::call::{Call, Function, failure, function_of, no_function};
use super::json::with_marks;

/// Its name.
pub(super) const ARRAY_JOINED: &str = "array_joined";

/// The function of this family.
pub(super) fn functions() -> Vec<Function> {
    let returns = |types: &[DataType]| match types {
        [left, right] if is_joined(left, right) => Ok(wider(left, right).clone()),
        types => Err(no_function(ARRAY_JOINED, types)),
    };
    let of = function_of(ARRAY_JOINED, &[2], returns, joined);
    let of = of.returning(move |args| {
        let fields = args.arg_fields;
        let types: Vec<DataType> = fields.iter().map(|arg| arg.data_type().clone()).collect();
        let field: FieldRef = Arc::new(Field::new("value", returns(&types)?, true));
        Ok(with_marks(fields, field).as_ref().clone())
    });
    vec![of]
}

/// Whether arrays of these types are joined here: those of one dimension are the planner's.
pub(super) fn is_joined(left: &DataType, right: &DataType) -> bool {
    let dimensions = [left, right].map(|found| match found {
        DataType::List(_) => list_ndims(found),
        _ => 0,
    });
    let [one, other] = dimensions;
    one.min(other) > 0
        && one.max(other) > 1
        && one.abs_diff(other) < 2
        && element(left) == element(right)
}

/// The type of the elements that are no arrays.
fn element(found: &DataType) -> &DataType {
    match found {
        DataType::List(item) => element(item.data_type()),
        found => found,
    }
}

/// The type with more dimensions.
fn wider<'a>(left: &'a DataType, right: &'a DataType) -> &'a DataType {
    match list_ndims(left) < list_ndims(right) {
        true => right,
        false => left,
    }
}

fn joined(call: &Call<'_>) -> Result<ArrayRef> {
    let (left, right) = (call.arg(0)?, call.arg(1)?);
    let wanted = wider(left.data_type(), right.data_type());
    let parts = [as_rows(left, wanted)?, as_rows(right, wanted)?];
    let [left, right] = [parts[0].as_list::<i32>(), parts[1].as_list::<i32>()];
    // The elements of the right arrays stand behind those of all left ones.
    let elements = concat(&[left.values().as_ref(), right.values().as_ref()])?;
    let behind = left.values().len() as u64;
    let (mut places, mut lengths) = (Vec::<u64>::new(), Vec::with_capacity(call.n_rows));
    for row in 0..call.n_rows {
        check(&parts, row)?;
        let before = places.len();
        places.extend(places_of(left, row));
        places.extend(places_of(right, row).map(|place| place + behind));
        lengths.push(places.len() - before);
    }
    let is_known = |row: usize| left.is_valid(row) || right.is_valid(row);
    let nulls: NullBuffer = (0..call.n_rows).map(is_known).collect::<Vec<bool>>().into();
    let item = match wanted {
        DataType::List(item) => Arc::clone(item),
        found => Arc::new(Field::new_list_field(found.clone(), true)),
    };
    Ok(Arc::new(ListArray::try_new(
        item,
        OffsetBuffer::from_lengths(lengths),
        take(&elements, &UInt64Array::from(places), None)?,
        Some(nulls),
    )?))
}

/// Arrays of the wanted type; each one that has fewer dimensions is the only element of one, unless it is NULL or empty.
fn as_rows(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    let (DataType::List(item), Some(lists)) = (wanted, array.as_list_opt::<i32>()) else {
        return Ok(Arc::clone(array));
    };
    if list_ndims(array.data_type()) == list_ndims(wanted) {
        return Ok(cast(array, wanted)?);
    }
    let is_filled = |row: usize| lists.is_valid(row) && lists.value_length(row) > 0;
    let filled = (0..lists.len()).filter(|row| is_filled(*row));
    let filled = UInt64Array::from_iter_values(filled.map(|row| row as u64));
    let rows = take(array, &filled, None)?;
    let lengths = (0..lists.len()).map(|row| usize::from(is_filled(row)));
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths),
        cast(&rows, item.data_type())?,
        lists.nulls().cloned(),
    )?))
}

/// The places of an array's elements.
fn places_of(lists: &ListArray, row: usize) -> std::ops::Range<u64> {
    match lists.is_valid(row) {
        true => {
            let ends = lists.value_offsets();
            ends[row] as u64..ends[row + 1] as u64
        }
        false => 0..0,
    }
}

/// Refuses two arrays whose elements have other lengths.
fn check(parts: &[ArrayRef; 2], row: usize) -> Result<()> {
    let [left, right] = [lengths(&parts[0], row), lengths(&parts[1], row)];
    let mut pairs = left.iter().zip(&right);
    // As many elements as there are: of those the arrays may have different numbers.
    let n_elements = pairs.next();
    let is_empty = n_elements.is_none_or(|(one, other)| *one == 0 || *other == 0);
    match is_empty || pairs.all(|(one, other)| one == other) {
        true => Ok(()),
        false => Err(failure("2202E", "cannot concatenate incompatible arrays")),
    }
}

/// The lengths of an array in each dimension, by its first elements.
fn lengths(array: &ArrayRef, row: usize) -> Vec<i32> {
    let (mut array, mut row) = (array, row);
    let mut lengths = Vec::new();
    while let Some(lists) = array.as_list_opt::<i32>() {
        if lists.is_null(row) {
            break;
        }
        lengths.push(lists.value_length(row));
        if lists.value_length(row) == 0 {
            break;
        }
        row = lists.value_offsets()[row] as usize;
        array = lists.values();
    }
    lengths
}
