//! Functions of catalogs over the elements of an array.
//!
//! In: a function of one argument; out: the same of each element, NULL for arrays that are NULL.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, ListArray};
use datafusion::arrow::datatypes::Field;
use datafusion::error::{DataFusionError, Result};

use super::scalar::Call;

/// What `body` makes of the elements of the first argument, in their arrays.
pub(super) fn of_elements(
    call: &Call,
    body: impl FnOnce(&Call) -> Result<ArrayRef>,
) -> Result<ArrayRef> {
    let arrays = call.args.first();
    let arrays = arrays.and_then(|array| array.as_list_opt::<i32>());
    let arrays = arrays.ok_or_else(|| {
        DataFusionError::Internal("a function of arrays was called without one".to_owned())
    })?;
    let elements = Call {
        args: vec![Arc::clone(arrays.values())],
        fields: Vec::new(),
        n_rows: arrays.values().len(),
        config: Arc::clone(&call.config),
    };
    let made = body(&elements)?;
    let item = Arc::new(Field::new_list_field(made.data_type().clone(), true));
    let nulls = arrays.nulls().cloned();
    Ok(Arc::new(ListArray::try_new(
        item,
        arrays.offsets().clone(),
        made,
        nulls,
    )?))
}
