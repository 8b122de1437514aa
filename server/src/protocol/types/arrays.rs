//! Lists as PostgreSQL's arrays: `{1,2}`, and lists of lists as arrays of more dimensions, `{{1,2},{3,4}}`.
//!
//! In: a list array and the type of its innermost elements; out: one array a row, in text or binary. PostgreSQL's arrays
//! are boxes: where lists of one row differ in length, or are NULL, NULLs fill the shorter ones.

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::DataType;
use datafusion::error::{DataFusionError, Result};
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::encode::{CellWriter, ColumnWriter, Getter, Style, unpacked};

/// How many NULLs a row may be filled up with.
const MAX_FILLED: usize = 1 << 20;

/// The elements of each row of a list: their values, and where a row's begin and end.
pub(super) type ListParts = (ArrayRef, Getter<(usize, usize)>);

/// Takes a list apart; `None` when the array is no list.
pub(super) fn list_parts(array: &ArrayRef) -> Option<ListParts> {
    match array.data_type() {
        DataType::List(_) => {
            let list = array.as_list_opt::<i32>()?.clone();
            let values = list.values().clone();
            let offsets = list.offsets().clone();
            Some((
                values,
                Box::new(move |row| (offsets[row] as usize, offsets[row + 1] as usize)),
            ))
        }
        DataType::LargeList(_) => {
            let list = array.as_list_opt::<i64>()?.clone();
            let values = list.values().clone();
            let offsets = list.offsets().clone();
            Some((
                values,
                Box::new(move |row| (offsets[row] as usize, offsets[row + 1] as usize)),
            ))
        }
        DataType::FixedSizeList(_, size) => {
            let list = array.as_fixed_size_list_opt()?;
            let size = usize::try_from(*size).ok()?;
            Some((
                list.values().clone(),
                Box::new(move |row| (row * size, (row + 1) * size)),
            ))
        }
        _ => None,
    }
}

pub(super) fn is_vector(pg_type: &Type) -> bool {
    [Type::OID_VECTOR, Type::INT2_VECTOR].contains(pg_type)
}

/// The text of a vector of numbers: `1 2 3`.
pub(super) fn vector_writer(array: &ArrayRef, element: &Type, style: Style) -> Result<CellWriter> {
    let (values, range) = list_parts(array)
        .ok_or_else(|| DataFusionError::Internal("a vector is a list".to_owned()))?;
    let items = ColumnWriter::try_new(&values, element, style)?;
    Ok(Box::new(move |row, out| {
        let (start, end) = range(row);
        for item in start..end {
            if item > start {
                out.put_u8(b' ');
            }
            items.write(item, out);
        }
    }))
}

/// Writes lists; `first` is the number of an array's first element, 1 but for vectors.
pub(super) fn list_writer(
    array: &ArrayRef,
    element: &Type,
    style: Style,
    first: i32,
) -> Result<CellWriter> {
    let (values, range) = list_parts(array).ok_or_else(|| {
        DataFusionError::NotImplemented(format!(
            "values of type {} cannot be sent as an array",
            array.data_type()
        ))
    })?;
    if is_list(&unpacked(&values)?) {
        return nested_writer(array, element, style);
    }
    let items = ColumnWriter::try_new(&values, element, style)?;
    let oid = element.oid();
    Ok(if style.format == FieldFormat::Text {
        Box::new(move |row, out| {
            let (start, end) = range(row);
            out.put_u8(b'{');
            for item in start..end {
                if item > start {
                    out.put_u8(b',');
                }
                put_element(&items, item, out);
            }
            out.put_u8(b'}');
        })
    } else {
        Box::new(move |row, out| {
            let (start, end) = range(row);
            out.put_i32(i32::from(end > start));
            out.put_i32(i32::from((start..end).any(|item| items.is_null(item))));
            out.put_u32(oid);
            if end > start {
                out.put_i32((end - start) as i32);
                out.put_i32(first);
            }
            (start..end).for_each(|item| items.put(item, out));
        })
    })
}

fn is_list(array: &ArrayRef) -> bool {
    matches!(
        array.data_type(),
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..)
    )
}

/// One dimension of nested lists.
struct Level {
    range: Getter<(usize, usize)>,
    nulls: Option<NullBuffer>,
}

impl Level {
    /// Where the elements of a list stand; `None` of a NULL.
    fn of(&self, place: Option<usize>) -> Option<(usize, usize)> {
        let is_null = |place| {
            self.nulls
                .as_ref()
                .is_some_and(|nulls| nulls.is_null(place))
        };
        let place = place.filter(|place| !is_null(*place))?;
        Some((self.range)(place))
    }
}

/// The elements of nested lists, as a box.
struct Nested {
    levels: Vec<Level>,
    items: ColumnWriter,
    oid: u32,
}

impl Nested {
    /// The lengths of a row's dimensions, none of them 0 or all missing.
    fn dimensions(&self, row: usize) -> Vec<usize> {
        let mut lists = vec![row];
        let mut dimensions = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            let ranges = lists.iter().filter_map(|list| level.of(Some(*list)));
            let ranges: Vec<(usize, usize)> = ranges.collect();
            let longest = ranges.iter().map(|(start, end)| end - start).max();
            match longest {
                None | Some(0) => return Vec::new(),
                Some(longest) => dimensions.push(longest),
            }
            lists = ranges
                .into_iter()
                .flat_map(|(start, end)| start..end)
                .collect();
        }
        dimensions
    }

    /// How many elements a row has.
    fn n_items(&self, row: usize) -> usize {
        let mut lists = vec![row];
        for level in &self.levels {
            let ranges = lists.iter().filter_map(|list| level.of(Some(*list)));
            lists = ranges.flat_map(|(start, end)| start..end).collect();
        }
        lists.len()
    }

    /// Fails for a row that would be filled up with too many NULLs.
    fn check(&self, row: usize) -> Result<()> {
        let dimensions = self.dimensions(row);
        let n_cells = dimensions
            .iter()
            .fold(1_usize, |n, length| n.saturating_mul(*length));
        let most = self.n_items(row).saturating_add(MAX_FILLED);
        match dimensions.is_empty() || n_cells <= most {
            true => Ok(()),
            false => Err(DataFusionError::NotImplemented(
                "lists of such different lengths cannot be sent as one array; to_json(…) writes them".to_owned(),
            )),
        }
    }

    /// The places of a row's elements in order, `None` where a NULL fills up.
    fn places(&self, row: usize, dimensions: &[usize]) -> Vec<Option<usize>> {
        let mut places = vec![Some(row)];
        for (level, length) in self.levels.iter().zip(dimensions) {
            let inner = |place: Option<usize>| {
                let range = level.of(place);
                (0..*length).map(move |idx| {
                    let place = range.map(|(start, end)| (start + idx, end));
                    place
                        .filter(|(place, end)| place < end)
                        .map(|(place, _)| place)
                })
            };
            places = places.into_iter().flat_map(inner).collect();
        }
        places
    }

    fn put_text(&self, places: &[Option<usize>], dimensions: &[usize], out: &mut BytesMut) {
        let Some((length, inner)) = dimensions.split_first() else {
            return match places.first().copied().flatten() {
                Some(place) => put_element(&self.items, place, out),
                None => out.put_slice(b"NULL"),
            };
        };
        out.put_u8(b'{');
        for (idx, part) in places.chunks(places.len() / length).enumerate() {
            if idx > 0 {
                out.put_u8(b',');
            }
            self.put_text(part, inner, out);
        }
        out.put_u8(b'}');
    }

    fn put_binary(&self, places: &[Option<usize>], dimensions: &[usize], out: &mut BytesMut) {
        let is_null = |place: &Option<usize>| place.is_none_or(|place| self.items.is_null(place));
        // Lossless: there are few dimensions, and a batch's column holds less than 2 GB.
        out.put_i32(dimensions.len() as i32);
        out.put_i32(i32::from(places.iter().any(is_null)));
        out.put_u32(self.oid);
        for length in dimensions {
            out.put_i32(*length as i32);
            out.put_i32(1);
        }
        for place in places {
            match place {
                Some(place) => self.items.put(*place, out),
                None => out.put_i32(-1),
            }
        }
    }
}

/// Writes lists of lists.
fn nested_writer(array: &ArrayRef, element: &Type, style: Style) -> Result<CellWriter> {
    let mut levels = Vec::new();
    let mut values = unpacked(array)?;
    while let Some((inner, range)) = list_parts(&values) {
        levels.push(Level {
            range,
            nulls: values.logical_nulls(),
        });
        values = unpacked(&inner)?;
    }
    let nested = Nested {
        levels,
        items: ColumnWriter::try_new(&values, element, style)?,
        oid: element.oid(),
    };
    (0..array.len()).try_for_each(|row| nested.check(row))?;
    let is_text = style.format == FieldFormat::Text;
    Ok(Box::new(move |row, out| {
        let dimensions = nested.dimensions(row);
        match (dimensions.is_empty(), is_text) {
            (true, true) => out.put_slice(b"{}"),
            (true, false) => nested.put_binary(&[], &[], out),
            (false, true) => nested.put_text(&nested.places(row, &dimensions), &dimensions, out),
            (false, false) => nested.put_binary(&nested.places(row, &dimensions), &dimensions, out),
        }
    }))
}

/// An array's element in text form, quoted where it would be misread.
fn put_element(items: &ColumnWriter, item: usize, out: &mut BytesMut) {
    if items.is_null(item) {
        return out.put_slice(b"NULL");
    }
    let start = out.len();
    items.write(item, out);
    let written = &out[start..];
    let special = |byte: &u8| b"{},\"\\ \t\n\r\x0b\x0c".contains(byte);
    let plain = !written.is_empty()
        && !written.eq_ignore_ascii_case(b"NULL")
        && !written.iter().any(special);
    if plain {
        return;
    }
    let written = out.split_off(start);
    out.put_u8(b'"');
    for byte in written {
        if byte == b'"' || byte == b'\\' {
            out.put_u8(b'\\');
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use datafusion::arrow::array::{Int32Array, ListArray};
    use datafusion::arrow::buffer::OffsetBuffer;
    use datafusion::arrow::datatypes::Field;

    use super::super::text::TimeZone;
    use super::super::text_forms::IntervalForm;
    use super::*;

    /// Lists of the lengths, one behind the other.
    fn lists(values: ArrayRef, lengths: &[usize], valid: &[bool]) -> ArrayRef {
        let item = Arc::new(Field::new_list_field(values.data_type().clone(), true));
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        let valid = Some(NullBuffer::from(valid.to_vec()));
        Arc::new(ListArray::try_new(item, offsets, values, valid).unwrap())
    }

    fn written(array: &ArrayRef, row: usize, format: FieldFormat) -> Vec<u8> {
        let style = Style {
            format,
            zone: TimeZone::of("UTC"),
            intervals: IntervalForm::Postgres,
            separator: ' ',
        };
        let column = ColumnWriter::try_new(array, &Type::INT4_ARRAY, style).unwrap();
        let mut out = BytesMut::new();
        column.write(row, &mut out);
        out.to_vec()
    }

    #[test]
    fn lists_of_lists_are_boxes() {
        let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1, 2, 3, 4, 5, 6, 7]));
        let inner = lists(numbers, &[2, 2, 2, 1, 0], &[true, true, true, true, false]);
        let outer = lists(inner, &[2, 3, 0], &[true; 3]);
        let text = |row| String::from_utf8(written(&outer, row, FieldFormat::Text)).unwrap();
        assert_eq!(text(0), "{{1,2},{3,4}}");
        assert_eq!(text(1), "{{5,6},{7,NULL},{NULL,NULL}}");
        assert_eq!(text(2), "{}");
        let binary = written(&outer, 0, FieldFormat::Binary);
        let words = [2, 0, 23, 2, 1, 2, 1, 4, 1, 4, 2, 4, 3, 4, 4_i32];
        let expected: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        assert_eq!(binary, expected);
        let empty = written(&outer, 2, FieldFormat::Binary);
        assert_eq!(empty, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 23]);
    }
}
