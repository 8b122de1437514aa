//! Uuids and unions within lists, maps and records of files, which are shown as texts there, too (see `uuid_columns` and
//! `union_texts`).
//!
//! Columns of files flow in, and the same with a note of the uuids within them, or as they are shown, flow out; their values
//! flow in, and such with texts flow out. The note is the column's own: types with different notes within them would be
//! different types.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use crate::tables::changed_fields::converted;
use crate::tables::json_mark::JsonKind;
use crate::tables::one_column::of_column;
use crate::tables::union_texts::texts_of_union;
use crate::tables::uuid_columns::{BYTES, texts_of_bytes};
use crate::tables::uuid_mark::uuid_marks;

/// Where a column says which names lead to uuids within it.
const WITHIN_KEY: &str = "auspex.uuids_within";
/// What stands between the names of a path, and between paths.
const STEP: &str = "\u{1f}";
const END: &str = "\u{1e}";

/// Looks at all values within a column that hold no others, by the names that lead to them, in the order in which Parquet has
/// columns for them.
pub(crate) fn leaves<'a>(
    field: &'a Field,
    path: &mut Vec<&'a str>,
    look: &mut dyn FnMut(&[&'a str], &'a Field),
) {
    path.push(field.name());
    match field.data_type() {
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => leaves(item, path, look),
        DataType::Struct(fields) => {
            for field in fields {
                leaves(field, path, look);
            }
        }
        _ => look(path, field),
    }
    path.pop();
}

/// The note that the bytes at the end of these paths are uuids.
pub(crate) fn with_uuids(field: &Field, paths: &[Vec<&str>]) -> Field {
    let paths: Vec<String> = paths.iter().map(|path| path.join(STEP)).collect();
    let mut notes = field.metadata().clone();
    notes.insert(WITHIN_KEY.to_owned(), paths.join(END));
    field.clone().with_metadata(notes)
}

/// Whether a column has that note.
pub(crate) fn has_uuids(field: &Field) -> bool {
    field.metadata().contains_key(WITHIN_KEY)
}

/// The column as it is shown; `None`: as it is.
pub(crate) fn shown_within(field: &Field) -> Option<Field> {
    if !field.data_type().is_nested() || matches!(field.data_type(), DataType::Union(..)) {
        return None;
    }
    let uuids = field.metadata().get(WITHIN_KEY);
    let uuids: Vec<&str> = uuids.into_iter().flat_map(|all| all.split(END)).collect();
    let data_type = Shown { uuids: &uuids }.type_of(field, &mut Vec::new())?;
    let mut notes = field.metadata().clone();
    notes.remove(WITHIN_KEY);
    // An array has the marks of its elements.
    let mut element = field;
    while let DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) =
        element.data_type()
    {
        element = item;
    }
    match element.data_type() {
        DataType::Union(..) => notes.extend(JsonKind::Json.marks()),
        held if *held == BYTES => notes.extend(uuid_marks()),
        _ => {}
    }
    Some(field.clone().with_data_type(data_type).with_metadata(notes))
}

struct Shown<'a> {
    uuids: &'a [&'a str],
}

impl Shown<'_> {
    /// The type that the values of a field are shown as; `None`: theirs.
    fn type_of<'f>(&self, field: &'f Field, path: &mut Vec<&'f str>) -> Option<DataType> {
        use DataType as T;
        path.push(field.name());
        let shown = match field.data_type() {
            held if *held == BYTES => {
                let path = path.join(STEP);
                self.uuids.contains(&path.as_str()).then_some(T::Utf8)
            }
            T::Union(..) => Some(T::Utf8),
            T::List(item) => self.item(item, path).map(T::List),
            T::LargeList(item) => self.item(item, path).map(T::LargeList),
            T::FixedSizeList(item, n) => {
                let item = self.item(item, path);
                item.map(|item| T::FixedSizeList(item, *n))
            }
            T::Map(entries, is_sorted) => {
                let entries = self.item(entries, path);
                entries.map(|entries| T::Map(entries, *is_sorted))
            }
            T::Struct(fields) => {
                let shown = fields.iter().map(|field| self.item(field, path));
                let shown: Vec<Option<FieldRef>> = shown.collect();
                let is_changed = shown.iter().any(Option::is_some);
                let pairs = shown.into_iter().zip(fields);
                let all = pairs.map(|(shown, held)| shown.unwrap_or_else(|| Arc::clone(held)));
                is_changed.then(|| T::Struct(all.collect()))
            }
            _ => None,
        };
        path.pop();
        shown
    }

    fn item<'f>(&self, held: &'f FieldRef, path: &mut Vec<&'f str>) -> Option<FieldRef> {
        let shown = self.type_of(held, path)?;
        let is_nullable = held.is_nullable() || matches!(held.data_type(), DataType::Union(..));
        Some(Arc::new(match shown {
            // What the bytes meant is no meaning of the text.
            DataType::Utf8 => Field::new(held.name(), shown, is_nullable),
            _ => held.as_ref().clone().with_data_type(shown),
        }))
    }
}

/// The function that makes texts of such uuids and unions.
pub fn texts_within() -> ScalarUDF {
    ScalarUDF::from(TextsWithin {
        signature: Signature::any(1, Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextsWithin {
    signature: Signature,
}

impl ScalarUDFImpl for TextsWithin {
    fn name(&self) -> &str {
        "texts_within"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        let held = types.first().cloned().unwrap_or(DataType::Null);
        let field = Field::new(self.name(), held, true);
        Ok(shown_within(&field).unwrap_or(field).data_type().clone())
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let held = args.arg_fields.first().map(|field| field.as_ref().clone());
        let held = held.unwrap_or_else(|| Field::new(self.name(), DataType::Null, true));
        Ok(Arc::new(shown_within(&held).unwrap_or(held)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        of_column(&args, |array| texts(array, args.return_field.data_type()))
    }
}

fn texts(array: &ArrayRef, wanted: &DataType) -> Result<ArrayRef> {
    converted(array, wanted, &|array| match array.data_type() {
        DataType::Union(..) => Some(texts_of_union(array)),
        held if *held == BYTES => Some(texts_of_bytes(array)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{
        Array as _, AsArray as _, FixedSizeBinaryArray, Int32Array, ListArray, StructArray,
        UnionArray,
    };
    use datafusion::arrow::buffer::{OffsetBuffer, ScalarBuffer};
    use datafusion::arrow::datatypes::UnionFields;

    use super::*;
    use crate::tables::uuid_mark::marks_of;

    const ONE: &str = "01010101-0101-0101-0101-010101010101";

    fn bytes() -> ArrayRef {
        let values = [Some([1_u8; 16]), None].into_iter();
        let bytes = FixedSizeBinaryArray::try_from_sparse_iter_with_size(values, 16);
        Arc::new(bytes.unwrap())
    }

    fn union() -> ArrayRef {
        let number = Arc::new(Field::new("int", DataType::Int32, true));
        let fields: UnionFields = [(0, number)].into_iter().collect();
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![5, 6]));
        let ids = ScalarBuffer::from(vec![0_i8, 0]);
        let offsets = ScalarBuffer::from(vec![0, 1]);
        Arc::new(UnionArray::try_new(fields, ids, Some(offsets), vec![numbers]).unwrap())
    }

    fn list(items: ArrayRef) -> ArrayRef {
        let item = Arc::new(Field::new("item", items.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths([1, 1]);
        Arc::new(ListArray::new(item, offsets, items, None))
    }

    #[test]
    fn arrays_are_shown_with_the_marks_of_their_elements() {
        let uuids = list(bytes());
        let field = Field::new("l", uuids.data_type().clone(), true);
        assert_eq!(shown_within(&field), None);
        let noted = with_uuids(&field, &[vec!["l", "item"]]);
        let shown = shown_within(&noted).unwrap();
        assert_eq!(marks_of(&shown), uuid_marks());
        assert_eq!(shown.metadata().len(), uuid_marks().len());
        let found = texts(&uuids, shown.data_type()).unwrap();
        let found = found.as_list::<i32>();
        assert_eq!(found.value(0).as_string::<i32>().value(0), ONE);
        assert!(found.value(1).is_null(0));
        let unions = list(union());
        let shown = shown_within(&Field::new("l", unions.data_type().clone(), true)).unwrap();
        assert_eq!(marks_of(&shown), JsonKind::Json.marks());
        let found = texts(&unions, shown.data_type()).unwrap();
        assert_eq!(
            found.as_list::<i32>().value(1).as_string::<i32>().value(0),
            "6"
        );
    }

    #[test]
    fn records_are_shown_by_the_names_within_them() {
        let part = |name: &str, values: &ArrayRef| {
            Arc::new(Field::new(name, values.data_type().clone(), true))
        };
        let (id, hash, any) = (bytes(), bytes(), list(union()));
        let record = StructArray::from(vec![
            (part("id", &id), id),
            (part("hash", &hash), hash),
            (part("any", &any), any),
        ]);
        let record: ArrayRef = Arc::new(record);
        let field = Field::new("r", record.data_type().clone(), true);
        let mut paths = Vec::new();
        leaves(&field, &mut Vec::new(), &mut |path, _| {
            paths.push(path.join("."))
        });
        assert_eq!(paths, ["r.id", "r.hash", "r.any.item"]);
        let shown = shown_within(&with_uuids(&field, &[vec!["r", "id"]])).unwrap();
        assert!(shown.metadata().is_empty());
        let found = texts(&record, shown.data_type()).unwrap();
        let found = found.as_struct();
        assert_eq!(found.column(0).as_string::<i32>().value(0), ONE);
        assert_eq!(found.column(1).data_type(), &BYTES);
        assert_eq!(
            found
                .column(2)
                .as_list::<i32>()
                .value(0)
                .as_string::<i32>()
                .value(0),
            "5"
        );
        let part = texts(&record.slice(1, 1), shown.data_type()).unwrap();
        assert!(part.as_struct().column(0).is_null(0));
    }
}
