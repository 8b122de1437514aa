//! Changes of columns that may lie within lists, maps and records, and of their values.
//!
//! Columns and what becomes of those that change flow in, and all of them flow out; values and the type that they shall
//! have flow in, and the same with other values within flow out.

use std::sync::Arc;

use datafusion::arrow::array::{Array as _, ArrayRef, make_array};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema};
use datafusion::error::Result;

/// The columns with some of them, or some within them, changed; `None`: none is.
pub(crate) fn changed<F: Fn(&Field) -> Option<Field>>(
    schema: &Schema,
    change: &F,
) -> Option<Schema> {
    let fields = changed_fields(schema.fields(), change)?;
    Some(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

fn changed_fields<F: Fn(&Field) -> Option<Field>>(fields: &Fields, change: &F) -> Option<Fields> {
    let found: Vec<Option<FieldRef>> = fields
        .iter()
        .map(|field| changed_field(field, change))
        .collect();
    if found.iter().all(Option::is_none) {
        return None;
    }
    let pairs = found.into_iter().zip(fields);
    let fields = pairs.map(|(found, field)| found.unwrap_or_else(|| Arc::clone(field)));
    Some(fields.collect())
}

/// The same of one column.
pub(crate) fn changed_field<F: Fn(&Field) -> Option<Field>>(
    field: &FieldRef,
    change: &F,
) -> Option<FieldRef> {
    if let Some(changed) = change(field) {
        return Some(Arc::new(changed));
    }
    let data_type = match field.data_type() {
        DataType::List(item) => DataType::List(changed_field(item, change)?),
        DataType::LargeList(item) => DataType::LargeList(changed_field(item, change)?),
        DataType::FixedSizeList(item, n) => {
            DataType::FixedSizeList(changed_field(item, change)?, *n)
        }
        DataType::Map(entries, are_sorted) => {
            DataType::Map(changed_field(entries, change)?, *are_sorted)
        }
        DataType::Struct(fields) => DataType::Struct(changed_fields(fields, change)?),
        _ => return None,
    };
    Some(Arc::new(field.as_ref().clone().with_data_type(data_type)))
}

/// Values of a type that differs within lists, maps and records; `convert` makes those of a type that is none of these.
pub(crate) fn converted(
    array: &ArrayRef,
    wanted: &DataType,
    convert: &dyn Fn(&ArrayRef) -> Option<Result<ArrayRef>>,
) -> Result<ArrayRef> {
    if array.data_type() == wanted {
        return Ok(Arc::clone(array));
    }
    if let Some(made) = convert(array) {
        return made;
    }
    let within: Vec<&FieldRef> = match wanted {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => vec![item],
        DataType::Struct(fields) => fields.iter().collect(),
        _ => vec![],
    };
    let data = array.to_data();
    let children = data.child_data().iter().zip(within);
    let children = children.map(|(child, field)| {
        let child = make_array(child.clone());
        Ok(converted(&child, field.data_type(), convert)?.to_data())
    });
    let children = children.collect::<Result<Vec<_>>>()?;
    let read = data.into_builder().data_type(wanted.clone());
    Ok(make_array(read.child_data(children).build()?))
}
