//! Columns that hold uuids: text of 36 characters with a mark of our own, which tells clients what the text is.
//!
//! A field flows in, and whether it holds uuids flows out, or the other way round. Arrow's own mark, `arrow.uuid`, is of
//! sixteen bytes, which Delta's types have no place for. Kept as the mark of json is (see `json_mark`), and taken away by
//! a cast as that one.

use std::collections::HashMap;

use datafusion::arrow::datatypes::Field;

use crate::tables::json_mark::JsonKind;

/// Arrow's key of extension types, and our name of uuids.
const EXTENSION_KEY: &str = "ARROW:extension:name";
const UUID_NAME: &str = "auspex.uuid";

/// Whether a column of texts holds uuids.
pub fn is_uuid(field: &Field) -> bool {
    let name = field.metadata().get(EXTENSION_KEY);
    name.is_some_and(|name| name == UUID_NAME) && field.data_type().is_string()
}

/// The metadata of fields that hold uuids.
pub fn uuid_marks() -> HashMap<String, String> {
    HashMap::from([(EXTENSION_KEY.to_owned(), UUID_NAME.to_owned())])
}

/// The metadata that tells a field of json or of uuids, and none of any other.
pub(crate) fn marks_of(field: &Field) -> HashMap<String, String> {
    match is_uuid(field) {
        true => uuid_marks(),
        false => JsonKind::marks_of(field),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

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
}
