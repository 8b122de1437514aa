//! Batches of the Iceberg library's Arrow as batches of ours.
//!
//! The two are different releases of one library, hence different types. The C data interface is the same in both, so
//! that columns move without a copy.

use std::sync::Arc;

use arrow_array_58::ffi::{FFI_ArrowArray as TheirArray, to_ffi};
use arrow_array_58::{Array as _, RecordBatch as TheirBatch, StructArray as TheirStruct};
use arrow_schema_58::Schema as TheirSchema;
use arrow_schema_58::ffi::FFI_ArrowSchema as TheirFfiSchema;
use datafusion::arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, StructArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{Field, FieldRef, Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};

const _: () = assert!(size_of::<TheirArray>() == size_of::<FFI_ArrowArray>());
const _: () = assert!(align_of::<TheirArray>() == align_of::<FFI_ArrowArray>());
const _: () = assert!(size_of::<TheirFfiSchema>() == size_of::<FFI_ArrowSchema>());
const _: () = assert!(align_of::<TheirFfiSchema>() == align_of::<FFI_ArrowSchema>());

/// A schema of theirs as one of ours, without the notes that formats keep in it.
pub(super) fn schema(theirs: &TheirSchema) -> Result<SchemaRef, ArrowError> {
    let theirs = TheirFfiSchema::try_from(theirs)
        .map_err(|error| ArrowError::CDataInterface(error.to_string()))?;
    let ours = Schema::try_from(&ffi_schema(theirs))?;
    let plain = |field: &FieldRef| -> FieldRef {
        Arc::new(Field::clone(field).with_metadata(Default::default()))
    };
    Ok(Arc::new(Schema::new(
        ours.fields().iter().map(plain).collect::<Vec<_>>(),
    )))
}

fn ffi_schema(theirs: TheirFfiSchema) -> FFI_ArrowSchema {
    // SAFETY: both are `repr(C)` structures of the Arrow C data interface, whose layout is frozen; the value is moved, so
    // that its release callback runs once.
    unsafe { std::mem::transmute::<TheirFfiSchema, FFI_ArrowSchema>(theirs) }
}

/// A batch of theirs as one of ours with the columns of `schema`.
pub(super) fn batch(theirs: TheirBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let n_rows = theirs.num_rows();
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    if theirs.num_columns() == 0 {
        return RecordBatch::try_new_with_options(Arc::clone(schema), vec![], &options);
    }
    let (array, their_schema) = to_ffi(&TheirStruct::from(theirs).to_data())
        .map_err(|error| ArrowError::CDataInterface(error.to_string()))?;
    // SAFETY: as in `ffi_schema`; the array was just exported and is moved into its only importer.
    let array = unsafe { std::mem::transmute::<TheirArray, FFI_ArrowArray>(array) };
    // SAFETY: array and schema were exported together from one valid array.
    let data = unsafe { from_ffi(array, &ffi_schema(their_schema)) }?;
    let (_, columns, _) = StructArray::from(data).into_parts();
    as_columns_of(schema, &columns, n_rows)
}

/// The first of some columns as those of `schema`.
pub(super) fn as_columns_of(
    schema: &SchemaRef,
    columns: &[ArrayRef],
    n_rows: usize,
) -> Result<RecordBatch, ArrowError> {
    let options = RecordBatchOptions::new().with_row_count(Some(n_rows));
    let columns = columns
        .iter()
        .zip(schema.fields())
        .map(
            |(column, field)| match column.data_type() == field.data_type() {
                true => Ok(Arc::clone(column)),
                false => cast(column, field.data_type()),
            },
        )
        .collect::<Result<Vec<_>, _>>()?;
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options)
}

#[cfg(test)]
mod tests {
    use arrow_array_58::{Int64Array, StringArray};
    use arrow_schema_58::{DataType as TheirType, Field as TheirField};
    use datafusion::arrow::array::{
        Array as _, AsArray as _, FixedSizeBinaryArray, LargeBinaryArray,
    };
    use datafusion::arrow::datatypes::{DataType, Int64Type};

    use super::*;

    #[test]
    fn columns_cross_without_loss() {
        let theirs = TheirSchema::new(vec![
            TheirField::new("a", TheirType::Int64, true),
            TheirField::new("b", TheirType::Utf8, true),
        ]);
        let columns: Vec<arrow_array_58::ArrayRef> = vec![
            Arc::new(Int64Array::from(vec![Some(1), None, Some(3)])),
            Arc::new(StringArray::from(vec![Some("é"), None, Some("")])),
        ];
        let their_batch = TheirBatch::try_new(Arc::new(theirs.clone()), columns).unwrap();
        let ours = schema(&theirs).unwrap();
        assert_eq!(ours.field(1).data_type(), &DataType::Utf8);
        // A slice has an offset, which must survive.
        let crossed = batch(their_batch.slice(1, 2), &ours).unwrap();
        let numbers = crossed.column(0).as_primitive::<Int64Type>();
        assert!(numbers.is_null(0) && numbers.value(1) == 3);
        assert_eq!(crossed.column(1).as_string::<i32>().value(1), "");
        drop(their_batch);
        assert_eq!(crossed.num_rows(), 2);
    }

    #[test]
    fn bytes_of_all_kinds_become_those_of_the_scan() {
        let large: ArrayRef = Arc::new(LargeBinaryArray::from(vec![Some(b"ab".as_ref()), None]));
        let fixed = FixedSizeBinaryArray::try_from_iter([b"abc", b"xyz"].into_iter()).unwrap();
        let unread: ArrayRef = Arc::clone(&large);
        let field = |name| Field::new(name, DataType::Binary, true);
        let schema = Arc::new(Schema::new(vec![field("large"), field("fixed")]));
        let found = as_columns_of(&schema, &[large, Arc::new(fixed), unread], 2).unwrap();
        assert_eq!(found.num_columns(), 2);
        let large = found.column(0).as_binary::<i32>();
        assert!(large.value(0) == b"ab" && large.is_null(1));
        assert_eq!(found.column(1).as_binary::<i32>().value(1), b"xyz");
    }
}
