//! Columns that hold json: text with Arrow's mark, which tells engines and clients what the text is.
//!
//! A field flows in, and whether it is `json` or `jsonb` flows out, or the other way round. The mark is a note of a
//! column in a table's log; data files hold plain texts, so that every reader reads them.

use std::collections::HashMap;

use datafusion::arrow::datatypes::Field;

use crate::tables::extension_name::EXTENSION_KEY;

/// Arrow's name of json.
const JSON_NAME: &str = "arrow.json";
/// Where fields keep that their json is `jsonb`. It counts beside Arrow's mark alone, which a cast removes.
const KIND_KEY: &str = "pg.type";
const BINARY_KIND: &str = "jsonb";

/// The two types that PostgreSQL has for json.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JsonKind {
    /// The text as it was written.
    Json,
    /// The value, in one form.
    Jsonb,
}

impl JsonKind {
    /// What a column of texts holds; `None`: no json.
    pub fn of(field: &Field) -> Option<JsonKind> {
        let is_json = field.extension_type_name() == Some(JSON_NAME);
        if !is_json || !field.data_type().is_string() {
            return None;
        }
        let notes = field.metadata();
        let is_binary = notes.get(KIND_KEY).is_some_and(|kind| kind == BINARY_KIND);
        Some(match is_binary {
            true => JsonKind::Jsonb,
            false => JsonKind::Json,
        })
    }

    /// The metadata of fields that hold it.
    pub fn marks(self) -> HashMap<String, String> {
        let mut marks = HashMap::from([(EXTENSION_KEY.to_owned(), JSON_NAME.to_owned())]);
        if self == JsonKind::Jsonb {
            marks.insert(KIND_KEY.to_owned(), BINARY_KIND.to_owned());
        }
        marks
    }

    /// The metadata of a field of this kind, and none of any other.
    pub(crate) fn marks_of(field: &Field) -> HashMap<String, String> {
        JsonKind::of(field).map_or_else(HashMap::new, JsonKind::marks)
    }

    /// The keys of the marks, which a column of another type must not have.
    pub(crate) const KEYS: [&str; 2] = [EXTENSION_KEY, KIND_KEY];
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;

    use super::*;

    #[test]
    fn marks_are_read_as_they_are_written() {
        let text = |marks| Field::new("doc", DataType::Utf8, true).with_metadata(marks);
        for kind in [JsonKind::Json, JsonKind::Jsonb] {
            assert_eq!(JsonKind::of(&text(kind.marks())), Some(kind));
            let number = text(kind.marks()).with_data_type(DataType::Int32);
            assert_eq!(JsonKind::of(&number), None);
        }
        let mut cast = JsonKind::Jsonb.marks();
        cast.remove(EXTENSION_KEY);
        assert_eq!(JsonKind::of(&text(cast)), None);
    }
}
