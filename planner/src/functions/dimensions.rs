//! Arrays of several dimensions, which are lists of lists.
//!
//! In: casts, and arrays of any depth; out: casts that keep the depth, and arrays of one dimension. To PostgreSQL `int[]` and
//! `int[][]` are one type, and the dimensions belong to the value; here each depth is a type.

use std::sync::Arc;

use auspex_storage::marks_of;
use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, ListArray, StringArray, UInt64Array, new_empty_array,
};
use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::metadata::FieldMetadata;
use datafusion::common::{DFSchema, ScalarValue, internal_err};
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _, ReturnFieldArgs};

use super::call::{Call, Function, failure, function};
use crate::error::Error;

/// The name of the function that leaves one dimension.
pub(super) const FLAT: &str = "array_flat";
/// The same of an array in which an element's place is looked for, which has one dimension or no element.
pub(super) const SEARCHED: &str = "array_searched";
/// An array of a type with fewer dimensions in the place of one with more, given as a NULL.
const DEEPENED: &str = "array_deepened";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let returns = |args: &ReturnFieldArgs| {
        let array = &args.arg_fields[0];
        let data_type = match parts(array.data_type()) {
            // A NULL or a parameter whose type is not known yet.
            (DataType::Null, 0) => DataType::Null,
            (_, 0) => return Err(failure("42804", "an array is expected")),
            (element, _) => list(element.clone()),
        };
        // What tells of texts that they are json is told of arrays of them, too.
        let marks = marks_of(array);
        Ok(Field::new("value", data_type, true).with_metadata(marks))
    };
    let of_any = function(FLAT, &[1], DataType::Null, |call| flat(call.arg(0)?));
    let of_one = function(SEARCHED, &[1], DataType::Null, searched);
    vec![
        of_any.returning(returns),
        of_one.returning(returns),
        deepening(),
    ]
}

fn deepening() -> Function {
    let function = function(DEEPENED, &[2], DataType::Null, deepened);
    function.returning(|args| Ok(args.arg_fields[1].as_ref().clone().with_nullable(true)))
}

fn list(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new_list_field(item, true)))
}

/// The innermost elements of an array and how many dimensions it has, 0 of what is none.
pub(super) fn parts(data_type: &DataType) -> (&DataType, usize) {
    let (mut element, mut n) = (data_type, 0);
    while let DataType::List(item) = element {
        (element, n) = (item.data_type(), n + 1);
    }
    (element, n)
}

/// Whether the parts of an array are alike, as those of PostgreSQL's arrays of several dimensions.
pub(super) fn is_box(parts: &ArrayRef) -> bool {
    let Some(parts) = parts.as_list_opt::<i32>() else {
        return true;
    };
    let shape = |idx: usize| {
        let mut shape = Vec::new();
        let mut part = parts.is_valid(idx).then(|| parts.value(idx));
        while let Some(items) = part {
            shape.push(items.len());
            let inner = items.as_list_opt::<i32>().filter(|inner| !inner.is_empty());
            part = inner.map(|inner| inner.value(0));
        }
        shape
    };
    (1..parts.len()).all(|idx| shape(idx) == shape(0))
}

/// The type of texts, or of arrays of them with as many dimensions.
pub(super) fn texts_in_place_of(data_type: &DataType) -> DataType {
    match data_type {
        DataType::List(item) => {
            DataType::List(with_type(item, texts_in_place_of(item.data_type())))
        }
        _ => DataType::Utf8,
    }
}

/// The type of other elements in the place of those of an array, or of a value that is none.
pub(super) fn in_place_of(data_type: &DataType, element: &DataType) -> DataType {
    with_dimensions(element, parts(data_type).1)
}

/// The type of arrays with so many dimensions.
pub(super) fn with_dimensions(element: &DataType, n: usize) -> DataType {
    (0..n).fold(element.clone(), |item, _| list(item))
}

/// Puts what is made of the elements of an array, or of values that are none, in their place.
pub(super) fn map_elements(
    array: &ArrayRef,
    of: &dyn Fn(&ArrayRef) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    let Some(lists) = array.as_list_opt::<i32>() else {
        return of(array);
    };
    let (offsets, values) = held(lists);
    let items = map_elements(&values, of)?;
    let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
    let nulls = lists.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(item, offsets, items, nulls)?))
}

/// The values that lists hold, with their places among these: a slice of lists shares the values of all.
fn held(lists: &ListArray) -> (OffsetBuffer<i32>, ArrayRef) {
    let offsets = lists.offsets();
    let (first, end) = (offsets[0], offsets[lists.len()]);
    // Lossless: places of values are not negative.
    let values = lists.values().slice(first as usize, (end - first) as usize);
    let places: ScalarBuffer<i32> = offsets.iter().map(|place| place - first).collect();
    (OffsetBuffer::new(places), values)
}

/// The elements of a list, of another type.
fn with_type(item: &FieldRef, data_type: DataType) -> FieldRef {
    Arc::new(item.as_ref().clone().with_data_type(data_type))
}

/// Reads texts, or those of arrays.
pub(super) fn map_texts(
    array: &ArrayRef,
    read: &dyn Fn(&str) -> Result<String>,
) -> Result<ArrayRef> {
    if let Some(lists) = array.as_list_opt::<i32>() {
        let (offsets, values) = held(lists);
        let items = map_texts(&values, read)?;
        let DataType::List(item) = texts_in_place_of(array.data_type()) else {
            return internal_err!("a list is of no type of lists");
        };
        let nulls = lists.nulls().cloned();
        return Ok(Arc::new(ListArray::try_new(item, offsets, items, nulls)?));
    }
    let texts = cast(array, &DataType::Utf8)?;
    let texts = texts.as_string::<i32>().iter();
    let texts: Result<StringArray> = texts.map(|text| text.map(read).transpose()).collect();
    Ok(Arc::new(texts?))
}

/// Fails for an array of which the place of an element would not be one number.
fn searched(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.arg(0)?;
    if parts(array.data_type()).1 > 1 {
        let lists = array.as_list::<i32>();
        let is_filled = |row: usize| lists.is_valid(row) && lists.value_length(row) > 0;
        if (0..lists.len()).any(is_filled) {
            let message = "searching for elements in multidimensional arrays is not supported";
            return Err(failure("0A000", message));
        }
    }
    flat(array)
}

/// All elements of arrays, in order.
pub(super) fn flat(arrays: &ArrayRef) -> Result<ArrayRef> {
    let mut array = Arc::clone(arrays);
    while parts(array.data_type()).1 > 1 {
        let outer = array.as_list::<i32>();
        let inner = outer.values().as_list::<i32>();
        let (mut places, mut lengths) = (Vec::new(), Vec::with_capacity(outer.len()));
        for row in 0..outer.len() {
            let start = places.len();
            let lists = outer
                .is_valid(row)
                .then(|| outer.value_offsets()[row]..outer.value_offsets()[row + 1]);
            for list in lists.into_iter().flatten().map(|list| list as usize) {
                if inner.is_valid(list) {
                    let offsets = inner.value_offsets();
                    places.extend(offsets[list] as u64..offsets[list + 1] as u64);
                }
            }
            lengths.push(places.len() - start);
        }
        let items = take(inner.values(), &UInt64Array::from(places), None)?;
        let item = Arc::new(Field::new_list_field(items.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths);
        let nulls = outer.nulls().cloned();
        array = Arc::new(ListArray::try_new(item, offsets, items, nulls)?);
    }
    // The elements of a stored array may have another name.
    match parts(array.data_type()) {
        (element, 1) => Ok(cast(&array, &list(element.clone()))?),
        _ => Ok(array),
    }
}

/// The error that an array has fewer dimensions than its place.
fn too_few(n_found: usize, n_wanted: usize) -> DataFusionError {
    let message = format!(
        "an array with {n_found} of the {n_wanted} dimensions of its type cannot take its place"
    );
    let hint = "Here, unlike in PostgreSQL, int[][] has two dimensions and int[] has one.";
    Error::invalid("0A000", message, Some(hint)).into()
}

/// Arrays that are empty or NULL, which have no dimensions to PostgreSQL.
fn deepened(call: &Call<'_>) -> Result<ArrayRef> {
    let (array, wanted) = (call.arg(0)?, call.arg(1)?.data_type());
    let (Some(lists), DataType::List(item)) = (array.as_list_opt::<i32>(), wanted) else {
        return internal_err!("an array is expected in the place of an array");
    };
    let is_filled = |row: usize| lists.is_valid(row) && lists.value_length(row) > 0;
    if (0..lists.len()).any(is_filled) {
        return Err(too_few(parts(array.data_type()).1, parts(wanted).1));
    }
    let nothing = OffsetBuffer::from_lengths(std::iter::repeat_n(0, lists.len()));
    let items = new_empty_array(item.data_type());
    let nulls = lists.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(item),
        nothing,
        items,
        nulls,
    )?))
}

/// An array with fewer dimensions in a place of more: one that has elements fails.
pub(super) fn deeper(array: Expr, place: &Field) -> Result<Expr> {
    let marks = FieldMetadata::from(marks_of(place));
    let place = Expr::Literal(ScalarValue::try_from(place.data_type())?, Some(marks));
    Ok(deepening().build().call(vec![array, place]))
}

/// Keeps the dimensions of arrays that a statement casts. Casts that the planner adds later are what it says.
pub(super) fn keep_dimensions(cast: &Cast, schema: &DFSchema) -> Result<Option<Expr>> {
    let (element, n_wanted) = parts(cast.field.data_type());
    if n_wanted == 0 {
        return Ok(None);
    }
    let Ok(found) = cast.expr.get_type(schema) else {
        return Ok(None);
    };
    let (inner, n_found) = parts(&found);
    if n_found == 0 || n_found == n_wanted || inner.is_null() {
        return Ok(None);
    }
    // The planner's cast would put each element into an array of its own.
    if n_found < n_wanted {
        return deeper(cast.expr.as_ref().clone(), &cast.field).map(Some);
    }
    let data_type = in_place_of(&found, element);
    let field = cast.field.as_ref().clone().with_data_type(data_type);
    let cast = Cast::new_from_field(cast.expr.clone(), Arc::new(field));
    Ok(Some(Expr::Cast(cast)))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::Int32Array;

    use super::*;

    fn lists(values: ArrayRef, lengths: &[usize]) -> ArrayRef {
        let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        Arc::new(ListArray::try_new(item, offsets, values, None).unwrap())
    }

    #[test]
    fn arrays_of_any_depth_become_flat() {
        let numbers: ArrayRef = Arc::new(Int32Array::from_iter_values(1..=6));
        let two = lists(numbers, &[2, 2, 1, 1]);
        assert!(is_box(&two.slice(0, 2)) && !is_box(&two));
        let three = lists(lists(two, &[2, 1, 1]), &[1, 2]);
        let texts = map_elements(&three, &|items| Ok(cast(items, &DataType::Utf8)?)).unwrap();
        let wanted = in_place_of(three.data_type(), &DataType::Utf8);
        assert_eq!((texts.data_type(), parts(&wanted).1), (&wanted, 3));
        // Of a slice, the values of no other row are looked at.
        let last = three.slice(1, 1);
        let texts = map_elements(&last, &|items| {
            assert_eq!(items.len(), 2);
            Ok(cast(items, &DataType::Utf8)?)
        });
        assert_eq!(texts.unwrap().len(), 1);
        let found = flat(&three).unwrap();
        let found = found.as_list::<i32>();
        assert_eq!(found.value(0).as_ref(), &Int32Array::from(vec![1, 2, 3, 4]));
        assert_eq!(found.value(1).as_ref(), &Int32Array::from(vec![5, 6]));
    }
}
