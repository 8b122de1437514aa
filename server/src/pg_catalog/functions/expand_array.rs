//! `information_schema._pg_expandarray`: the items of an array with their numbers.
//!
//! In: a list; out: a list of pairs `(x, n)`, which the rewriting unnests.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, Int32Array, ListArray, StructArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field, Fields};
use datafusion::error::Result;
use datafusion::logical_expr::ScalarUDF;

use super::scalar::function;

/// The function's name; the schema is left out when a call is rewritten.
pub(crate) const NAME: &str = "_pg_expandarray";

/// The function.
pub(super) fn expand_array() -> ScalarUDF {
    let item = Arc::new(Field::new_list_field(DataType::Struct(pair()), true));
    function(NAME, &[1], DataType::List(item), |call| {
        expanded(&call.args[0])
    })
}

fn pair() -> Fields {
    Fields::from(vec![
        Field::new("x", DataType::Int32, true),
        Field::new("n", DataType::Int32, true),
    ])
}

fn expanded(lists: &ArrayRef) -> Result<ArrayRef> {
    let numbers = DataType::new_list(DataType::Int32, true);
    let lists = cast(lists, &numbers)?;
    let lists: &ListArray = lists.as_list();
    let first = usize::try_from(lists.value_offsets().first().copied().unwrap_or_default());
    let first = first.unwrap_or_default();
    let mut counts = vec![0; lists.values().len()];
    let mut at = first;
    for row in 0..lists.len() {
        for number in 1..=lists.value_length(row) {
            counts[at] = number;
            at += 1;
        }
    }
    let counts: ArrayRef = Arc::new(Int32Array::from(counts));
    let pairs = StructArray::new(pair(), vec![Arc::clone(lists.values()), counts], None);
    let item = Arc::new(Field::new_list_field(DataType::Struct(pair()), true));
    let (offsets, nulls) = (lists.offsets().clone(), lists.nulls().cloned());
    Ok(Arc::new(ListArray::new(
        item,
        offsets,
        Arc::new(pairs),
        nulls,
    )))
}
