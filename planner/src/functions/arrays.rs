//! Arrays: membership with SQL's three values, and what PostgreSQL has beyond the planner's functions.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int32Array, ListArray, StringArray, UInt64Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::kernels::cmp::eq;
use datafusion::arrow::compute::{cast, take};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::Result;
use datafusion::logical_expr_common::type_coercion::binary::binary_numeric_coercion;

use super::call::{Call, Function, failure, function, function_of, no_function};
use super::dimensions::flat;
use super::order_keys::comparable;

/// The function that drops the NULLs among the elements of an array.
pub(super) const WITHOUT_NULLS: &str = "array_without_nulls";

/// The function that tells the length of one of an array's dimensions: `array_length(array, dimension)`. The planner's looks
/// for parts of what has none.
pub(super) const EXTENT: &str = "array_extent";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function("in_array", &[2], DataType::Boolean, in_array),
        function("array_nulls", &[1], DataType::Boolean, array_nulls),
        function_of(
            WITHOUT_NULLS,
            &[1],
            |types| Ok(types[0].clone()),
            array_without_nulls,
        )
        .returning(|args| Ok(args.arg_fields[0].as_ref().clone())),
        function("array_bounds", &[1], DataType::Utf8, array_bounds),
        function("array_depth", &[1], DataType::Int32, array_depth),
        function(EXTENT, &[2], DataType::Int32, array_extent).returning(|args| {
            let fields = args.arg_fields.iter();
            let types: Vec<DataType> = fields.map(|field| field.data_type().clone()).collect();
            match types[0].is_list() || types[0].is_null() {
                true => Ok(Field::new("value", DataType::Int32, true)),
                false => Err(no_function("array_length", &types)),
            }
        }),
        function_of("trim_array", &[2], |types| Ok(types[0].clone()), trim_array),
        function_of(
            "array_fill",
            &[2],
            |types| {
                let item = Field::new_list_field(types[0].clone(), true);
                Ok(DataType::List(Arc::new(item)))
            },
            array_fill,
        ),
    ]
}

fn lists(call: &Call<'_>, idx: usize) -> Result<ListArray> {
    let array = call.arg(idx)?;
    match array.as_list_opt::<i32>() {
        Some(list) => Ok(list.clone()),
        None if array.data_type().is_null() => {
            let item = DataType::List(Arc::new(Field::new_list_field(DataType::Null, true)));
            Ok(cast(array, &item)?.as_list::<i32>().clone())
        }
        None => Err(failure("42804", "an array is expected")),
    }
}

/// Whether a value is among the elements of an array; a NULL array is one without elements.
fn in_array(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = lists(call, 1)?;
    let to = type_of_both(call.arg(0)?.data_type(), &lists.value_type());
    let values = comparable(&call.converted(0, &to)?)?;
    let is_null = values.logical_nulls();
    let of = |row: usize| -> Result<Option<bool>> {
        if lists.is_null(row) || lists.value_length(row) == 0 {
            return Ok(Some(false));
        }
        if is_null.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return Ok(None);
        }
        let elements = comparable(&cast(&lists.value(row), &to)?)?;
        let value = values.slice(row, 1);
        let same = eq(&elements, &datafusion::arrow::array::Scalar::new(value))?;
        Ok(match same.true_count() {
            0 if same.null_count() > 0 => None,
            n => Some(n > 0),
        })
    };
    let found: Result<BooleanArray> = (0..call.n_rows).map(of).collect();
    Ok(Arc::new(found?))
}

/// The type in which a value is compared with elements: what their type does not have is not among them.
fn type_of_both(value: &DataType, elements: &DataType) -> DataType {
    let is_any = |is: fn(&DataType) -> bool| is(value) || is(elements);
    let wider = match (value, elements) {
        _ if is_any(DataType::is_decimal) && is_any(DataType::is_floating) => {
            Some(DataType::Float64)
        }
        (DataType::Timestamp(_, None), DataType::Date32) => Some(value.clone()),
        _ => binary_numeric_coercion(value, elements),
    };
    wider.unwrap_or_else(|| elements.clone())
}

/// NULL of an array with a NULL among its elements, and of no array; else false.
fn array_nulls(call: &Call<'_>) -> Result<ArrayRef> {
    let array = flat(call.arg(0)?)?;
    let Some(lists) = array.as_list_opt::<i32>() else {
        let nulls = array.logical_nulls();
        let no_nulls = BooleanArray::from(vec![false; call.n_rows]);
        return Ok(Arc::new(BooleanArray::new(
            no_nulls.values().clone(),
            nulls,
        )));
    };
    let nulls = lists.values().logical_nulls();
    let of = |row: usize| {
        let (start, length) = (lists.value_offsets()[row] as usize, lists.value_length(row));
        let has_null = nulls
            .as_ref()
            .is_some_and(|nulls| nulls.slice(start, length as usize).null_count() > 0);
        (lists.is_valid(row) && !has_null).then_some(false)
    };
    Ok(Arc::new((0..call.n_rows).map(of).collect::<BooleanArray>()))
}

/// An array without the NULLs among its elements.
fn array_without_nulls(call: &Call<'_>) -> Result<ArrayRef> {
    let array = call.arg(0)?;
    let Some(lists) = array.as_list_opt::<i32>() else {
        return Ok(Arc::clone(array));
    };
    let Some(nulls) = lists
        .values()
        .logical_nulls()
        .filter(|nulls| nulls.null_count() > 0)
    else {
        return Ok(Arc::clone(array));
    };
    let DataType::List(field) = lists.data_type() else {
        return Err(failure("42804", "an array is expected"));
    };
    let mut places = Vec::new();
    let mut lengths = Vec::with_capacity(call.n_rows);
    for row in 0..call.n_rows {
        let start = lists.value_offsets()[row] as usize;
        let n_before = places.len();
        if lists.is_valid(row) {
            let all = start..start + lists.value_length(row) as usize;
            places.extend(
                all.filter(|place| nulls.is_valid(*place))
                    .map(|place| place as u64),
            );
        }
        lengths.push(places.len() - n_before);
    }
    let elements = take(lists.values(), &UInt64Array::from(places), None)?;
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(field),
        OffsetBuffer::from_lengths(lengths),
        elements,
        lists.nulls().cloned(),
    )?))
}

/// The lengths of an array's dimensions; `None`: it is NULL or empty.
fn lengths(arrays: &dyn Array, row: usize) -> Option<Vec<usize>> {
    let mut lengths = Vec::new();
    let mut part = part_of(arrays, row);
    while let Some(items) = part.filter(|items| !items.is_empty()) {
        lengths.push(items.len());
        part = part_of(&items, 0);
    }
    (!lengths.is_empty()).then_some(lengths)
}

/// The array in a row; `None`: it is NULL or no array.
fn part_of(arrays: &dyn Array, row: usize) -> Option<ArrayRef> {
    if arrays.is_null(row) {
        return None;
    }
    match arrays.data_type() {
        DataType::List(_) => Some(arrays.as_list::<i32>().value(row)),
        // Files may hold arrays so.
        DataType::LargeList(_) => Some(arrays.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => Some(arrays.as_fixed_size_list().value(row)),
        _ => None,
    }
}

/// `[1:n]`, for each dimension; of an empty array there are no bounds.
fn array_bounds(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = lists(call, 0)?;
    let of = |row: usize| {
        let bounds = lengths(&lists, row)?.into_iter();
        Some(
            bounds
                .map(|length| format!("[1:{length}]"))
                .collect::<String>(),
        )
    };
    let texts = (0..call.n_rows).map(of);
    Ok(Arc::new(texts.collect::<StringArray>()))
}

/// How many dimensions there are; an empty array has none.
fn array_depth(call: &Call<'_>) -> Result<ArrayRef> {
    let lists = lists(call, 0)?;
    let counts = (0..call.n_rows).map(|row| lengths(&lists, row).map(|all| all.len() as i32));
    Ok(Arc::new(counts.collect::<Int32Array>()))
}

/// The length of the dimension of that number; there is none of dimensions that an array does not have.
fn array_extent(call: &Call<'_>) -> Result<ArrayRef> {
    let (arrays, dimensions) = (call.arg(0)?, call.integers(1)?);
    let of = |row: usize| {
        let dimension = dimensions.is_valid(row).then(|| dimensions.value(row))?;
        let idx = usize::try_from(dimension.checked_sub(1)?).ok()?;
        // Lossless: an array is held by 32-bit offsets.
        Some(*lengths(arrays, row)?.get(idx)? as i32)
    };
    Ok(Arc::new((0..call.n_rows).map(of).collect::<Int32Array>()))
}

/// An array without its last `n` elements.
fn trim_array(call: &Call<'_>) -> Result<ArrayRef> {
    let (lists, counts) = (lists(call, 0)?, call.integers(1)?);
    let mut places = Vec::new();
    let mut lengths = Vec::new();
    let mut valid = Vec::new();
    for row in 0..call.n_rows {
        let is_valid = lists.is_valid(row) && counts.is_valid(row);
        let mut kept = 0;
        if is_valid {
            let length = i64::from(lists.value_length(row));
            let n = counts.value(row);
            if !(0..=length).contains(&n) {
                let message = format!("number of elements to trim must be between 0 and {length}");
                return Err(failure("2202E", message));
            }
            kept = (length - n) as usize;
            let start = lists.value_offsets()[row] as u64;
            places.extend((0..kept as u64).map(|idx| start + idx));
        }
        lengths.push(kept);
        valid.push(is_valid);
    }
    let elements = take(lists.values(), &UInt64Array::from(places), None)?;
    let DataType::List(field) = lists.data_type() else {
        return Err(failure("42804", "an array is expected"));
    };
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        Arc::clone(field),
        offsets,
        elements,
        Some(valid.into()),
    )?))
}

/// How many elements `array_fill` makes at most.
const MAX_FILLED: i64 = 1 << 26;

/// `array_fill(value, ARRAY[n])`.
fn array_fill(call: &Call<'_>) -> Result<ArrayRef> {
    let (values, sizes) = (call.arg(0)?, lists(call, 1)?);
    let mut places = Vec::new();
    let mut lengths = Vec::new();
    for row in 0..call.n_rows {
        if sizes.is_null(row) {
            let message = "dimension array or low bound array cannot be null";
            return Err(failure("22004", message));
        }
        let dimensions = cast(&sizes.value(row), &DataType::Int64)?;
        let dimensions = dimensions.as_primitive::<datafusion::arrow::datatypes::Int64Type>();
        let n = match dimensions.iter().collect::<Vec<_>>().as_slice() {
            [Some(n)] if (0..=MAX_FILLED).contains(n) => *n as usize,
            [Some(_)] => return Err(failure("54000", "array size exceeds the maximum allowed")),
            [] => 0,
            [None] => return Err(failure("22004", "dimension values cannot be null")),
            _ => {
                let message = "array_fill of more than one dimension is not supported";
                return Err(failure("0A000", message));
            }
        };
        // The place of an element takes as much as most elements do.
        crate::memory::ask_for((places.len() + n).saturating_mul(16))?;
        places.extend(std::iter::repeat_n(row as u64, n));
        lengths.push(n);
    }
    let elements = take(values, &UInt64Array::from(places), None)?;
    let field = Arc::new(Field::new_list_field(values.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Ok(Arc::new(ListArray::try_new(
        field, offsets, elements, None,
    )?))
}
