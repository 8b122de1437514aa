//! Columns that hold uuids: text of 36 characters with a mark of our own, which tells clients what the text is.
//!
//! A field flows in, and whether it holds uuids flows out, or the other way round. Arrow's own mark, `arrow.uuid`, is of
//! sixteen bytes, which Delta's types have no place for. Kept as the mark of json is (see `json_mark`), and taken away by
//! a cast as that one. An array of uuids or json has the mark itself: elements have no notes in a table's log, and types of
//! lists with different notes would be different types.

use std::collections::HashMap;

use datafusion::arrow::datatypes::{DataType, Field};

use crate::tables::address_mark::AddressKind;
use crate::tables::bit_mark::BitKind;
use crate::tables::enum_mark;
use crate::tables::extension_name::EXTENSION_KEY;
use crate::tables::json_mark::JsonKind;

/// Our name of uuids.
const UUID_NAME: &str = "auspex.uuid";

/// Whether a column of texts holds uuids.
pub fn is_uuid(field: &Field) -> bool {
    field.extension_type_name() == Some(UUID_NAME) && field.data_type().is_string()
}

/// The metadata of fields that hold uuids.
pub fn uuid_marks() -> HashMap<String, String> {
    HashMap::from([(EXTENSION_KEY.to_owned(), UUID_NAME.to_owned())])
}

/// The metadata that tells a field of json, of uuids, of addresses, of bit strings or of an enum, or of arrays of them, and
/// none of any other.
pub fn marks_of(field: &Field) -> HashMap<String, String> {
    if let Some(element) = marked_element(field) {
        return marks_of(&element);
    }
    match is_uuid(field) {
        true => uuid_marks(),
        false if enum_mark::is_enum(field) => enum_mark::marks_of(field),
        false => match BitKind::of(field) {
            Some(kind) => kind.marks(),
            None => match AddressKind::of(field) {
                Some(kind) => kind.marks(),
                None => JsonKind::marks_of(field),
            },
        },
    }
}

/// The innermost elements of an array, with what the array is marked as; `None`: no array of texts.
pub fn marked_element(field: &Field) -> Option<Field> {
    let mut item = field.data_type();
    while let DataType::List(inner)
    | DataType::LargeList(inner)
    | DataType::FixedSizeList(inner, _)
    | DataType::ListView(inner)
    | DataType::LargeListView(inner) = item
    {
        item = inner.data_type();
    }
    let is_array = item.is_string() && item != field.data_type();
    is_array.then(|| Field::new("", item.clone(), true).with_metadata(field.metadata().clone()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn marks_are_kept_of_texts_alone() {
        let id = Field::new("id", DataType::Utf8, true).with_metadata(uuid_marks());
        assert!(is_uuid(&id));
        assert_eq!(marks_of(&id), uuid_marks());
        assert_eq!(JsonKind::of(&id), None);
        let number = id.with_data_type(DataType::Int32);
        assert!(!is_uuid(&number));
        assert!(marks_of(&number).is_empty());
    }

    #[test]
    fn arrays_have_the_marks_of_their_elements() {
        let list = |item| DataType::List(Arc::new(Field::new_list_field(item, true)));
        for depth in 1..3 {
            let data_type = (0..depth).fold(DataType::Utf8, |item, _| list(item));
            let ids = Field::new("ids", data_type, true).with_metadata(uuid_marks());
            assert!(!is_uuid(&ids));
            assert_eq!(marks_of(&ids), uuid_marks());
        }
        let numbers = Field::new("n", list(DataType::Int32), true).with_metadata(uuid_marks());
        assert!(marks_of(&numbers).is_empty());
    }
}
