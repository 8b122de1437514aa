//! The columns of single values that a column of any type consists of: itself, or those within records, lists and maps.
//!
//! A column flows in, and a look at one of single values; out flows the first thing that a look found.

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, OffsetSizeTrait};
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;

/// A look at a column of single values.
type Look<'a, T> = &'a dyn Fn(&ArrayRef) -> Result<Option<T>, ArrowError>;

/// What `look` finds first among the columns of single values.
pub(super) fn find_in_leaves<T>(
    array: &ArrayRef,
    look: Look<'_, T>,
) -> Result<Option<T>, ArrowError> {
    use DataType as D;
    match array.data_type() {
        D::Struct(_) => find_in_any(array.as_struct().columns(), look),
        D::List(_) => {
            let lists = array.as_list::<i32>();
            find_in_leaves(&between(lists.values(), lists.value_offsets()), look)
        }
        D::LargeList(_) => {
            let lists = array.as_list::<i64>();
            find_in_leaves(&between(lists.values(), lists.value_offsets()), look)
        }
        D::FixedSizeList(..) => find_in_leaves(array.as_fixed_size_list().values(), look),
        D::Map(..) => {
            let maps = array.as_map();
            let within = [maps.keys(), maps.values()];
            let within = within.map(|values| between(values, maps.value_offsets()));
            find_in_any(&within, look)
        }
        _ => look(array),
    }
}

fn find_in_any<T>(arrays: &[ArrayRef], look: Look<'_, T>) -> Result<Option<T>, ArrowError> {
    for array in arrays {
        let found = find_in_leaves(array, look)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The elements that lists have.
fn between<O: OffsetSizeTrait>(elements: &ArrayRef, offsets: &[O]) -> ArrayRef {
    let (first, end) = ends(offsets);
    elements.slice(first, end - first)
}

/// Where what the rows of a column have begins and ends.
pub(super) fn ends<O: OffsetSizeTrait>(offsets: &[O]) -> (usize, usize) {
    match offsets {
        [first, .., end] => (first.as_usize(), end.as_usize()),
        _ => (0, 0),
    }
}
