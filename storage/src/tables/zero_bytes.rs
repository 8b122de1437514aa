//! Zero bytes in the texts of files: no text of PostgreSQL has one, and clients cut it off there.
//!
//! Rows of files flow in; nothing flows out, or an error with the column. Files of our own tables are not looked at: their
//! texts came through here, or from a client.

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray as _, GenericStringArray, OffsetSizeTrait, RecordBatch,
};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::DataType;
use datafusion::arrow::error::ArrowError;

use crate::error::Error;
use crate::tables::leaves::{ends, find_in_leaves};

/// Fails if a text among the rows of a file has a zero byte; `from_escapes`: none is in the file itself, since its texts
/// write it otherwise.
pub(crate) fn check(rows: &RecordBatch, from_escapes: bool) -> datafusion::error::Result<()> {
    for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        if has_zero(column)? {
            let (said, sqlstate) = match from_escapes {
                true => ("\\u0000 cannot be converted to text", "22P05"),
                false => ("invalid byte sequence for encoding \"UTF8\": 0x00", "22021"),
            };
            let reason = format!("column \"{}\": {said}", field.name());
            return Err(Error::bad_value(reason, sqlstate).into());
        }
    }
    Ok(())
}

fn has_zero(array: &ArrayRef) -> Result<bool, ArrowError> {
    let look = |texts: &ArrayRef| Ok(texts_have_zero(texts)?.then_some(()));
    Ok(find_in_leaves(array, &look)?.is_some())
}

fn texts_have_zero(array: &ArrayRef) -> Result<bool, ArrowError> {
    use DataType as T;
    Ok(match array.data_type() {
        T::Utf8 => is_in(array.as_string::<i32>()),
        T::LargeUtf8 => is_in(array.as_string::<i64>()),
        T::Utf8View => {
            let mut texts = array.as_string_view().iter().flatten();
            texts.any(|text| text.as_bytes().contains(&0))
        }
        T::Dictionary(_, values) if values.is_string() => {
            // A dictionary may have texts that no row has.
            texts_have_zero(array.as_any_dictionary().values())?
                && texts_have_zero(&cast(array, values)?)?
        }
        _ => false,
    })
}

/// One look over all bytes, as most texts have none; one by one then, since those behind NULL do not count.
fn is_in<O: OffsetSizeTrait>(texts: &GenericStringArray<O>) -> bool {
    let (first, end) = ends(texts.value_offsets());
    memchr::memchr(0, &texts.value_data()[first..end]).is_some()
        && texts.iter().flatten().any(|text| text.contains('\0'))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{
        DictionaryArray, Int32Array, LargeStringArray, ListArray, MapBuilder, StringArray,
        StringBuilder, StringViewArray, StructArray,
    };
    use datafusion::arrow::buffer::{NullBuffer, OffsetBuffer};
    use datafusion::arrow::datatypes::{Field, Int32Type};

    use super::*;

    /// Arrays whose second row has a text, in all places that a text may have.
    fn places(text: &str) -> Vec<ArrayRef> {
        let texts = vec![Some("a"), Some(text), None];
        let plain: ArrayRef = Arc::new(StringArray::from(texts.clone()));
        let item = Arc::new(Field::new_list_field(DataType::Utf8, true));
        let offsets = OffsetBuffer::from_lengths([1, 1, 1]);
        let list = ListArray::new(Arc::clone(&item), offsets, Arc::clone(&plain), None);
        let record = StructArray::from(vec![(item, Arc::clone(&plain))]);
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for text in ["a", text, "b"] {
            maps.keys().append_value("k");
            maps.values().append_value(text);
            maps.append(true).unwrap();
        }
        let keys = Int32Array::from(vec![0, 1, 0]);
        let dictionary = DictionaryArray::<Int32Type>::new(keys, Arc::clone(&plain));
        vec![
            plain,
            Arc::new(LargeStringArray::from(texts.clone())),
            Arc::new(StringViewArray::from(texts)),
            Arc::new(list),
            Arc::new(record),
            Arc::new(maps.finish()),
            Arc::new(dictionary),
        ]
    }

    #[test]
    fn zeros_are_found_where_rows_have_them() {
        for array in places("b\0c") {
            let name = array.data_type().to_string();
            assert!(has_zero(&array).unwrap(), "{name}");
            assert!(!has_zero(&array.slice(0, 1)).unwrap(), "{name}");
            assert!(has_zero(&array.slice(1, 1)).unwrap(), "{name}");
            assert!(!has_zero(&array.slice(2, 1)).unwrap(), "{name}");
            assert!(!has_zero(&array.slice(1, 0)).unwrap(), "{name}");
        }
        for array in places("bc") {
            assert!(!has_zero(&array).unwrap(), "{}", array.data_type());
        }
    }

    #[test]
    fn bytes_behind_null_are_no_text() {
        let texts = StringArray::from(vec!["a", "b\0c"]);
        let (offsets, values, _) = texts.into_parts();
        let nulls = NullBuffer::from(vec![true, false]);
        let texts: ArrayRef = Arc::new(StringArray::new(offsets, values, Some(nulls)));
        assert!(!has_zero(&texts).unwrap());
    }

    #[test]
    fn errors_name_the_column() {
        let rows = |text: &str| {
            let texts: ArrayRef = Arc::new(StringArray::from(vec![text]));
            RecordBatch::try_from_iter([("t", texts)]).unwrap()
        };
        check(&rows("a"), false).unwrap();
        for (from_escapes, sqlstate) in [(false, "22021"), (true, "22P05")] {
            let error = check(&rows("\0"), from_escapes).unwrap_err();
            let error = Error::found_in(&error).unwrap();
            assert_eq!(error.sqlstate(), sqlstate);
            assert!(error.to_string().contains("column \"t\""), "{error}");
        }
    }
}
