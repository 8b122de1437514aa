//! The types that columns of files are read as where no statement declares them.
//!
//! Columns of files flow in; the same flow out with the one type that the engine has for moments, for days and for bytes,
//! which writers have several for: beside nanoseconds there is no year 9999, and beside other bytes a literal is its text.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef, TimeUnit};

use crate::tables::changed_fields::changed_field;
use crate::tables::shown_within::has_uuids;
use crate::tables::uuid_columns::BYTES;

/// The columns as they are read; `None`: as files hold them.
pub(crate) fn settled(columns: &Schema) -> Option<SchemaRef> {
    let settle = |column: &FieldRef| {
        let has_uuids = has_uuids(column);
        let settle = |field: &Field| {
            // Which of the bytes within the column are uuids is told by their place.
            if has_uuids && *field.data_type() == BYTES {
                return None;
            }
            let data_type = settled_type(field)?;
            Some(field.clone().with_data_type(data_type))
        };
        changed_field(column, &settle)
    };
    let settled: Vec<Option<FieldRef>> = columns.fields().iter().map(settle).collect();
    if settled.iter().all(Option::is_none) {
        return None;
    }
    let pairs = settled.into_iter().zip(columns.fields());
    let fields = pairs.map(|(settled, held)| settled.unwrap_or_else(|| Arc::clone(held)));
    let fields: Vec<FieldRef> = fields.collect();
    let notes = columns.metadata().clone();
    Some(Arc::new(Schema::new_with_metadata(fields, notes)))
}

fn settled_type(field: &Field) -> Option<DataType> {
    match field.data_type() {
        DataType::Timestamp(TimeUnit::Microsecond, _) => None,
        DataType::Timestamp(_, zone) => {
            Some(DataType::Timestamp(TimeUnit::Microsecond, zone.clone()))
        }
        DataType::Date64 => Some(DataType::Date32),
        DataType::LargeBinary | DataType::BinaryView => Some(DataType::Binary),
        // Bytes with a name mean more.
        DataType::FixedSizeBinary(_) if field.extension_type_name().is_none() => {
            Some(DataType::Binary)
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::tables::extension_name::EXTENSION_KEY;

    #[test]
    fn moments_days_and_bytes_have_one_type() {
        let moment = |unit, zone: Option<&str>| DataType::Timestamp(unit, zone.map(Into::into));
        let list = |item| DataType::List(Arc::new(Field::new("item", item, true)));
        for (held, read) in [
            (
                moment(TimeUnit::Nanosecond, None),
                moment(TimeUnit::Microsecond, None),
            ),
            (
                moment(TimeUnit::Second, Some("UTC")),
                moment(TimeUnit::Microsecond, Some("UTC")),
            ),
            (DataType::Date64, DataType::Date32),
            (DataType::BinaryView, DataType::Binary),
            (DataType::FixedSizeBinary(3), DataType::Binary),
            (list(DataType::LargeBinary), list(DataType::Binary)),
        ] {
            let columns = Schema::new(vec![Field::new("x", held, true)]);
            let found = settled(&columns).unwrap();
            assert_eq!(found.field(0).data_type(), &read);
        }
    }

    #[test]
    fn what_has_its_type_is_left_alone() {
        let named = [(EXTENSION_KEY.to_owned(), "arrow.uuid".to_owned())];
        let uuid = Field::new("u", DataType::FixedSizeBinary(16), true);
        let columns = Schema::new(vec![
            Field::new("t", DataType::Timestamp(TimeUnit::Microsecond, None), true),
            Field::new("b", DataType::Binary, true),
            uuid.with_metadata(HashMap::from(named)),
        ]);
        assert!(settled(&columns).is_none());
    }
}
