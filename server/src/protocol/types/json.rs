//! Structs, maps and lists of them as json text.
//!
//! In: a nested array; out: one json value a row, in the forms of PostgreSQL's `to_json`: numbers and
//! booleans plain, everything else a string in its text form. Never pretty-prints.

use auspex_planner::{AddressKind, JsonKind, marked_element, shown_addresses};
use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::error::Result;
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::arrays::list_parts;
use super::encode::{CellWriter, ColumnWriter, Style, nested_type, unpacked};
use super::text::TimeZone;
use super::text_forms::IntervalForm;

/// A writer of one json value a row.
pub(super) fn json_writer(array: &ArrayRef, style: Style) -> Result<CellWriter> {
    let style = Style {
        format: FieldFormat::Text,
        separator: 'T',
        ..style
    };
    value_writer(array, style)
}

/// Each value as a json text of its own, with moments in `zone`; NULL is `null`, and what is json already stays as it is.
pub(crate) fn json_texts(array: &ArrayRef, field: &Field, zone: TimeZone) -> Result<Vec<String>> {
    let style = Style {
        format: FieldFormat::Text,
        zone,
        intervals: IntervalForm::Postgres,
        separator: 'T',
    };
    let write = field_writer(array, field, style)?;
    let text = |row| {
        let mut out = BytesMut::new();
        write(row, &mut out);
        String::from_utf8_lossy(&out).into_owned()
    };
    Ok((0..array.len()).map(text).collect())
}

/// A writer of the values of a field; what is json already, or an array of it, stays as it is.
fn field_writer(array: &ArrayRef, field: &Field, style: Style) -> Result<CellWriter> {
    let holds_json = marked_element(field).is_some_and(|item| JsonKind::of(&item).is_some());
    if holds_json {
        return json_array_writer(array, field, style);
    }
    if AddressKind::of_elements(field) == Some(AddressKind::Inet) {
        return nullable_writer(&shown_addresses(array)?, style);
    }
    if JsonKind::of(field).is_none() {
        return nullable_writer(array, style);
    }
    let column = ColumnWriter::try_new(array, &Type::JSON, style)?;
    Ok(Box::new(move |row, out| match column.is_null(row) {
        true => out.put_slice(b"null"),
        false => column.write(row, out),
    }))
}

/// A writer of arrays of json.
fn json_array_writer(array: &ArrayRef, field: &Field, style: Style) -> Result<CellWriter> {
    let array = unpacked(array)?;
    let Some((values, range)) = list_parts(&array) else {
        return nullable_writer(&array, style);
    };
    let item = Field::new("", values.data_type().clone(), true);
    let item = field_writer(
        &values,
        &item.with_metadata(field.metadata().clone()),
        style,
    )?;
    let nulls = array.logical_nulls();
    Ok(Box::new(move |row, out| {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            return out.put_slice(b"null");
        }
        let (start, end) = range(row);
        out.put_u8(b'[');
        for idx in start..end {
            put_comma(idx > start, out);
            item(idx, out);
        }
        out.put_u8(b']');
    }))
}

/// As [`json_writer`], with `null` where the value is NULL.
fn nullable_writer(array: &ArrayRef, style: Style) -> Result<CellWriter> {
    let array = unpacked(array)?;
    let nulls = array.logical_nulls();
    let write = value_writer(&array, style)?;
    Ok(Box::new(move |row, out| {
        if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
            out.put_slice(b"null");
        } else {
            write(row, out);
        }
    }))
}

fn value_writer(array: &ArrayRef, style: Style) -> Result<CellWriter> {
    if let Some((values, range)) = list_parts(array) {
        let items = nullable_writer(&values, style)?;
        return Ok(Box::new(move |row, out| {
            let (start, end) = range(row);
            out.put_u8(b'[');
            for item in start..end {
                put_comma(item > start, out);
                items(item, out);
            }
            out.put_u8(b']');
        }));
    }
    match array.data_type() {
        DataType::Struct(fields) => struct_writer(array, fields.iter(), style),
        DataType::Map(..) => map_writer(array, style),
        DataType::Union(..) => union_writer(array),
        data_type => {
            let field = Field::new("", data_type.clone(), true);
            scalar_writer(array, &nested_type(&field), style)
        }
    }
}

fn put_comma(needed: bool, out: &mut BytesMut) {
    if needed {
        out.put_u8(b',');
    }
}

fn struct_writer<'a>(
    array: &ArrayRef,
    fields: impl Iterator<Item = &'a FieldRef>,
    style: Style,
) -> Result<CellWriter> {
    let columns = array.as_struct().columns();
    let members = fields
        .zip(columns)
        .map(|(field, column)| Ok((quoted(field.name()), field_writer(column, field, style)?)))
        .collect::<Result<Vec<_>>>()?;
    Ok(Box::new(move |row, out| {
        out.put_u8(b'{');
        for (index, (name, write)) in members.iter().enumerate() {
            put_comma(index > 0, out);
            out.put_slice(name.as_bytes());
            out.put_u8(b':');
            write(row, out);
        }
        out.put_u8(b'}');
    }))
}

fn map_writer(array: &ArrayRef, style: Style) -> Result<CellWriter> {
    let map = array.as_map();
    let key_type = super::pg_type(map.keys().data_type());
    let keys = ColumnWriter::try_new(map.keys(), &key_type, style)?;
    let values = nullable_writer(map.values(), style)?;
    let offsets = map.offsets().clone();
    Ok(Box::new(move |row, out| {
        let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
        out.put_u8(b'{');
        for entry in start..end {
            put_comma(entry > start, out);
            put_quoted(&keys, entry, out);
            out.put_u8(b':');
            values(entry, out);
        }
        out.put_u8(b'}');
    }))
}

/// Unions have no form of their own: the value's display, as a string.
fn union_writer(array: &ArrayRef) -> Result<CellWriter> {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(array.as_ref(), &options)?;
    let texts: Vec<String> = (0..array.len())
        .map(|row| quoted(&formatter.value(row).to_string()))
        .collect();
    Ok(Box::new(move |row, out| {
        out.put_slice(texts[row].as_bytes())
    }))
}

fn scalar_writer(array: &ArrayRef, pg_type: &Type, style: Style) -> Result<CellWriter> {
    let column = ColumnWriter::try_new(array, pg_type, style)?;
    Ok(match *pg_type {
        Type::BOOL => Box::new(move |row, out| {
            let mut letter = BytesMut::new();
            column.write(row, &mut letter);
            out.put_slice(if letter.as_ref() == b"t" {
                b"true"
            } else {
                b"false"
            });
        }),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::NUMERIC => {
            Box::new(move |row, out| column.write(row, out))
        }
        // Json has no NaN and no infinity: those become strings.
        Type::FLOAT4 | Type::FLOAT8 => Box::new(move |row, out| {
            let start = out.len();
            column.write(row, out);
            if out[start..].iter().any(u8::is_ascii_alphabetic) && !out[start..].contains(&b'e') {
                let name = out.split_off(start);
                out.put_u8(b'"');
                out.put_slice(&name);
                out.put_u8(b'"');
            }
        }),
        _ => Box::new(move |row, out| put_quoted(&column, row, out)),
    })
}

fn put_quoted(column: &ColumnWriter, row: usize, out: &mut BytesMut) {
    let mut text = BytesMut::new();
    column.write(row, &mut text);
    out.put_slice(quoted(&String::from_utf8_lossy(&text)).as_bytes());
}

/// A json string with its quotes.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
