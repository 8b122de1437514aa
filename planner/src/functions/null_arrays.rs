//! Arrays that are NULL, without the elements that hide behind them.
//!
//! In: a column; out: the same, in which each array that is NULL has no elements. CASE masks values where they stand, and some
//! functions of the library read the elements of an array without asking whether it is there.

use std::sync::Arc;

use datafusion::arrow::array::{
    Array as _, ArrayRef, AsArray as _, GenericListArray, OffsetSizeTrait, UInt64Array,
};
use datafusion::arrow::buffer::OffsetBuffer;
use datafusion::arrow::compute::take;
use datafusion::arrow::datatypes::{DataType, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::ColumnarValue;

/// The same value; one that hides nothing is not copied.
pub(super) fn without_hidden(value: ColumnarValue) -> Result<ColumnarValue> {
    let ColumnarValue::Array(array) = &value else {
        return Ok(value);
    };
    let shown = match array.data_type() {
        DataType::List(item) => shown(array.as_list::<i32>(), item)?,
        DataType::LargeList(item) => shown(array.as_list::<i64>(), item)?,
        _ => None,
    };
    Ok(shown.map_or(value, ColumnarValue::Array))
}

/// The arrays with the elements of those that are not NULL; `None`: there are no others.
fn shown<O: OffsetSizeTrait>(
    lists: &GenericListArray<O>,
    item: &FieldRef,
) -> Result<Option<ArrayRef>> {
    let Some(nulls) = lists.nulls().filter(|nulls| nulls.null_count() > 0) else {
        return Ok(None);
    };
    let length = |row: usize| lists.value_length(row).as_usize();
    if !(0..lists.len()).any(|row| nulls.is_null(row) && length(row) > 0) {
        return Ok(None);
    }
    let valid = (0..lists.len()).filter(|row| nulls.is_valid(*row));
    let places = valid.flat_map(|row| {
        let start = lists.value_offsets()[row].as_usize();
        start as u64..(start + length(row)) as u64
    });
    let elements = take(lists.values(), &UInt64Array::from_iter_values(places), None)?;
    let lengths = (0..lists.len()).map(|row| match nulls.is_valid(row) {
        true => length(row),
        false => 0,
    });
    Ok(Some(Arc::new(GenericListArray::<O>::try_new(
        Arc::clone(item),
        OffsetBuffer::from_lengths(lengths),
        elements,
        Some(nulls.clone()),
    )?)))
}
