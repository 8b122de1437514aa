//! Rows of a record batch as data rows of the protocol.
//!
//! In: a batch, its wire columns and the formats that the client asked for; out: one buffer a row.
//! A writer is built once a column and batch; it then writes any of its values without failing.

use std::fmt::Write;

use auspex_planner::address_bytes;
use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::types::{
    Float16Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};
use datafusion::arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, Decimal32Array, Decimal64Array, Decimal128Array,
    Decimal256Array, PrimitiveArray, RecordBatch, StringArray,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::arrays::{is_vector, list_writer, vector_writer};
use super::json::json_writer;
use super::moments::moment_writer;
use super::numeric::put_numeric;
use super::record::record_writer;
use super::text::{TimeZone, write_f32, write_f64};
use super::text_forms::{IntervalForm, TextForms};
use super::wire_type::{WireColumn, address_kind, element_type, field_type, has_own_digits};

/// Writes one value of a column; never called for NULL.
pub(super) type CellWriter = Box<dyn Fn(usize, &mut BytesMut) + Send>;
/// Reads one value of a column.
pub(super) type Getter<T> = Box<dyn Fn(usize) -> T + Send>;

/// How values are written beyond their type.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    pub(super) format: FieldFormat,
    pub(super) zone: TimeZone,
    pub(super) intervals: IntervalForm,
    /// Stands between the date and the time of a timestamp.
    pub(super) separator: char,
}

/// Writes the rows of one batch.
pub(crate) struct RowEncoder {
    columns: Vec<ColumnWriter>,
    /// The types and formats of the columns.
    forms: Vec<(Type, FieldFormat)>,
    n_rows: usize,
}

impl RowEncoder {
    /// Prepares the writers; fails when a column's values cannot have the type that was described.
    pub(crate) fn try_new(
        batch: &RecordBatch,
        columns: &[WireColumn],
        formats: &[FieldFormat],
        forms: TextForms,
    ) -> Result<RowEncoder> {
        let of_columns = columns.iter().zip(formats);
        let of_columns = of_columns.map(|(column, format)| (column.pg_type.clone(), *format));
        let written = batch
            .columns()
            .iter()
            .zip(columns)
            .zip(formats)
            .map(|((array, column), format)| {
                let style = Style {
                    format: *format,
                    zone: forms.zone,
                    intervals: forms.intervals,
                    separator: ' ',
                };
                ColumnWriter::try_new(array, &column.pg_type, style)
            })
            .collect::<Result<_>>()?;
        Ok(RowEncoder {
            columns: written,
            forms: of_columns.collect(),
            n_rows: batch.num_rows(),
        })
    }

    /// How many rows there are.
    pub(crate) fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The types and formats of the columns.
    pub(crate) fn columns(&self) -> &[(Type, FieldFormat)] {
        &self.forms
    }

    /// Whether a value is NULL.
    pub(crate) fn is_null(&self, column: usize, row: usize) -> bool {
        self.columns[column].is_null(row)
    }

    /// Writes one value that is not NULL, without its length.
    pub(crate) fn put_cell(&self, column: usize, row: usize, out: &mut BytesMut) {
        self.columns[column].write(row, out);
    }

    /// Writes the number of values of one row, and each with its length.
    pub(crate) fn put_row(&self, row: usize, out: &mut BytesMut) {
        // Lossless: a schema of more columns than the protocol can count is refused before.
        out.put_i16(self.columns.len() as i16);
        for column in &self.columns {
            column.put(row, out);
        }
    }
}

/// Puts a message behind others: its kind, its length, and what `write` writes.
pub(crate) fn put_message(kind: u8, out: &mut BytesMut, write: impl FnOnce(&mut BytesMut)) {
    out.put_u8(kind);
    let start = out.len();
    out.put_i32(0);
    write(out);
    // Lossless: values of a row that has 2 GB do not fit into one batch.
    let length = (out.len() - start) as i32;
    out[start..start + 4].copy_from_slice(&length.to_be_bytes());
}

/// The text of each value, as a client that asks for text gets it.
pub(crate) fn wire_texts(array: &ArrayRef, field: &Field, zone: TimeZone) -> Result<StringArray> {
    let style = Style {
        format: FieldFormat::Text,
        zone,
        intervals: IntervalForm::Postgres,
        separator: ' ',
    };
    let column = ColumnWriter::try_new(array, &field_type(field), style)?;
    let mut out = BytesMut::new();
    let text = |row: usize| {
        if column.is_null(row) {
            return None;
        }
        out.clear();
        column.write(row, &mut out);
        Some(String::from_utf8_lossy(&out).into_owned())
    };
    Ok((0..array.len()).map(text).collect())
}

/// Writes the values of one column with their lengths.
pub(super) struct ColumnWriter {
    nulls: Option<NullBuffer>,
    write: CellWriter,
}

impl ColumnWriter {
    pub(super) fn try_new(array: &ArrayRef, pg_type: &Type, style: Style) -> Result<ColumnWriter> {
        let array = unpacked(array)?;
        Ok(ColumnWriter {
            nulls: array.logical_nulls(),
            write: cell_writer(&array, pg_type, style)?,
        })
    }

    pub(super) fn is_null(&self, row: usize) -> bool {
        self.nulls.as_ref().is_some_and(|nulls| nulls.is_null(row))
    }

    pub(super) fn write(&self, row: usize, out: &mut BytesMut) {
        (self.write)(row, out);
    }

    /// The value with its length before it; NULL is the length -1.
    pub(super) fn put(&self, row: usize, out: &mut BytesMut) {
        if self.is_null(row) {
            return out.put_i32(-1);
        }
        let start = out.len();
        out.put_i32(0);
        self.write(row, out);
        // Lossless: a batch's column holds less than 2 GB.
        let length = (out.len() - start - 4) as i32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
    }
}

/// The array without dictionaries, runs and views of lists, whose values lie elsewhere.
pub(super) fn unpacked(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::Dictionary(_, values) => cast(array, values)?,
        DataType::RunEndEncoded(_, values) => cast(array, values.data_type())?,
        DataType::ListView(item) | DataType::LargeListView(item) => {
            cast(array, &DataType::LargeList(item.clone()))?
        }
        _ => array.clone(),
    })
}

fn cell_writer(array: &ArrayRef, pg_type: &Type, style: Style) -> Result<CellWriter> {
    let text = style.format == FieldFormat::Text;
    if *array.data_type() == DataType::Null {
        return Ok(Box::new(|_, _| ()));
    }
    if let Some(element) = element_type(pg_type) {
        if is_vector(pg_type) && text {
            return vector_writer(array, &element, style);
        }
        return list_writer(array, &element, style, i32::from(!is_vector(pg_type)));
    }
    let writer: Option<CellWriter> = match *pg_type {
        Type::BOOL => array.as_boolean_opt().cloned().map(|values| -> CellWriter {
            let (yes, no) = if text { (b't', b'f') } else { (1, 0) };
            Box::new(move |row, out| out.put_u8(if values.value(row) { yes } else { no }))
        }),
        Type::INT2 | Type::INT4 | Type::INT8 | Type::OID | Type::XID => {
            integers(array).map(|get| integer_writer(get, pg_type, text))
        }
        // Within a query a name is a text, as the elements of an array that is cast to one.
        Type::REGCLASS | Type::REGNAMESPACE | Type::REGROLE | Type::REGTYPE
            if !(text && array.data_type().is_string()) =>
        {
            name_writer(array, text)
        }
        Type::REGPROC => integers(array).map(|get| procedure_writer(get, text)),
        Type::FLOAT4 => singles(array).map(|get| single_writer(get, text)),
        Type::FLOAT8 => primitive::<Float64Type>(array).map(|values| double_writer(values, text)),
        Type::NUMERIC => decimals(array).map(|get| -> CellWriter {
            if text {
                Box::new(move |row, out| out.put_slice(get(row).as_bytes()))
            } else {
                Box::new(move |row, out| put_numeric(&get(row), out))
            }
        }),
        Type::DATE | Type::TIME | Type::TIMESTAMP | Type::TIMESTAMPTZ | Type::INTERVAL => {
            moment_writer(array, pg_type, style)
        }
        Type::UUID if array.data_type().is_string() && !text => uuid_writer(array),
        Type::INET | Type::CIDR if array.data_type().is_string() => {
            address_writer(array, pg_type, text)
        }
        Type::BIT | Type::VARBIT if array.data_type().is_string() && !text => bits_writer(array),
        Type::BYTEA | Type::UUID if !array.data_type().is_string() => {
            bytes_writer(array, pg_type, text)
        }
        // The binary form of jsonb is its version and the text, that of text and json the text.
        Type::JSONB if !text => string_writer(array).map(|write| -> CellWriter {
            Box::new(move |row, out| {
                out.put_u8(1);
                write(row, out);
            })
        }),
        Type::CHAR if !text => string_writer(array).map(letter_writer),
        _ if array.data_type().is_string() => string_writer(array),
        Type::JSON => Some(json_writer(array, style)?),
        Type::RECORD => Some(record_writer(array, style)?),
        _ => None,
    };
    writer.ok_or_else(|| {
        DataFusionError::NotImplemented(format!(
            "values of type {} cannot be sent as {}",
            array.data_type(),
            pg_type.name()
        ))
    })
}

fn single_writer(get: impl Fn(usize) -> f32 + Send + 'static, text: bool) -> CellWriter {
    match text {
        true => Box::new(move |row, out| ignore(write_f32(get(row), out))),
        false => Box::new(move |row, out| out.put_f32(get(row))),
    }
}

fn double_writer(values: PrimitiveArray<Float64Type>, text: bool) -> CellWriter {
    match text {
        true => Box::new(move |row, out| ignore(write_f64(values.value(row), out))),
        false => Box::new(move |row, out| out.put_f64(values.value(row))),
    }
}

/// The binary form of `"char"`: its one byte, 0 where it is empty.
fn letter_writer(write: CellWriter) -> CellWriter {
    Box::new(move |row, out| {
        let start = out.len();
        write(row, out);
        match out.len() == start {
            true => out.put_u8(0),
            false => out.truncate(start + 1),
        }
    })
}

/// Writing to a buffer that grows cannot fail.
pub(super) fn ignore(result: std::fmt::Result) {
    debug_assert!(result.is_ok());
}

fn primitive<T: ArrowPrimitiveType>(array: &ArrayRef) -> Option<PrimitiveArray<T>> {
    array.as_primitive_opt::<T>().cloned()
}

pub(super) fn getter<T: ArrowPrimitiveType, V>(
    array: &ArrayRef,
    convert: impl Fn(T::Native) -> V + Send + 'static,
) -> Option<Getter<V>> {
    let values = primitive::<T>(array)?;
    Some(Box::new(move |row| convert(values.value(row))))
}

fn integers(array: &ArrayRef) -> Option<Getter<i64>> {
    match array.data_type() {
        DataType::Int8 => getter::<Int8Type, _>(array, i64::from),
        DataType::Int16 => getter::<Int16Type, _>(array, i64::from),
        DataType::Int32 => getter::<Int32Type, _>(array, i64::from),
        DataType::Int64 => getter::<Int64Type, _>(array, |value| value),
        DataType::UInt8 => getter::<UInt8Type, _>(array, i64::from),
        DataType::UInt16 => getter::<UInt16Type, _>(array, i64::from),
        DataType::UInt32 => getter::<UInt32Type, _>(array, i64::from),
        _ => None,
    }
}

/// The described type holds every value of the Arrow type, so that the casts lose nothing.
fn integer_writer(get: Getter<i64>, pg_type: &Type, text: bool) -> CellWriter {
    match *pg_type {
        // All bits of a number of an object count.
        Type::OID if text => Box::new(move |row, out| {
            out.put_slice(itoa::Buffer::new().format(get(row) as u32).as_bytes());
        }),
        _ if text => Box::new(move |row, out| {
            out.put_slice(itoa::Buffer::new().format(get(row)).as_bytes());
        }),
        Type::INT2 => Box::new(move |row, out| out.put_i16(get(row) as i16)),
        Type::INT8 => Box::new(move |row, out| out.put_i64(get(row))),
        _ => Box::new(move |row, out| out.put_i32(get(row) as i32)),
    }
}

/// A function's number, whose text is its name.
fn procedure_writer(get: Getter<i64>, text: bool) -> CellWriter {
    if !text {
        return integer_writer(get, &Type::OID, text);
    }
    Box::new(move |row, out| {
        // Lossless: numbers of functions are small.
        let name = crate::pg_catalog::procedure_name(get(row) as i32);
        out.put_slice(name.as_bytes());
    })
}

/// An object's name as text, and its number in binary.
fn name_writer(array: &ArrayRef, text: bool) -> Option<CellWriter> {
    let Some(both) = array.as_struct_opt() else {
        return integers(array).map(|get| integer_writer(get, &Type::OID, text));
    };
    match text {
        true => string_writer(both.columns().get(1)?),
        false => integers(both.columns().first()?).map(|get| integer_writer(get, &Type::OID, text)),
    }
}

fn singles(array: &ArrayRef) -> Option<Getter<f32>> {
    match array.data_type() {
        DataType::Float16 => getter::<Float16Type, _>(array, f32::from),
        DataType::Float32 => getter::<Float32Type, _>(array, |value| value),
        _ => None,
    }
}

fn decimals(array: &ArrayRef) -> Option<Getter<String>> {
    let is_open = has_own_digits(array.data_type());
    macro_rules! decimal {
        ($array:ty) => {{
            let values = array.as_any().downcast_ref::<$array>()?.clone();
            Some(match is_open {
                true => Box::new(move |row| without_zeros(values.value_as_string(row))),
                false => Box::new(move |row| values.value_as_string(row)),
            })
        }};
    }
    match array.data_type() {
        DataType::UInt64 => getter::<UInt64Type, _>(array, |value| value.to_string()),
        DataType::Decimal32(..) => decimal!(Decimal32Array),
        DataType::Decimal64(..) => decimal!(Decimal64Array),
        DataType::Decimal128(..) => decimal!(Decimal128Array),
        DataType::Decimal256(..) => decimal!(Decimal256Array),
        _ => None,
    }
}

/// The digits of a number that has no scale of its own.
fn without_zeros(mut digits: String) -> String {
    if digits.contains('.') {
        let kept = digits.trim_end_matches('0').trim_end_matches('.').len();
        digits.truncate(kept);
    }
    digits
}

fn string_writer(array: &ArrayRef) -> Option<CellWriter> {
    macro_rules! strings {
        ($values:expr) => {{
            let values = $values.clone();
            Some(Box::new(move |row, out: &mut BytesMut| {
                out.put_slice(values.value(row).as_bytes())
            }))
        }};
    }
    match array.data_type() {
        DataType::Utf8 => strings!(array.as_string_opt::<i32>()?),
        DataType::LargeUtf8 => strings!(array.as_string_opt::<i64>()?),
        DataType::Utf8View => strings!(array.as_string_view_opt()?),
        _ => None,
    }
}

/// The sixteen bytes of a uuid's text.
fn uuid_writer(array: &ArrayRef) -> Option<CellWriter> {
    let write = string_writer(array)?;
    Some(Box::new(move |row, out| {
        let mut text = BytesMut::new();
        write(row, &mut text);
        let digit = |byte: &u8| char::from(*byte).to_digit(16);
        let digits = text.iter().filter_map(digit);
        let value = digits.fold(0_u128, |value, digit| (value << 4) | u128::from(digit));
        out.put_u128(value);
    }))
}

/// An address as PostgreSQL shows it, or its bytes. One of the catalogs may have no mask.
fn address_writer(array: &ArrayRef, pg_type: &Type, text: bool) -> Option<CellWriter> {
    let kind = address_kind(pg_type)?;
    let write = string_writer(array)?;
    Some(Box::new(move |row, out| {
        let mut stored = BytesMut::new();
        write(row, &mut stored);
        // The bytes of a text.
        let stored = std::str::from_utf8(&stored).unwrap_or_default();
        match text {
            true => out.put_slice(kind.shown(stored).as_bytes()),
            false => out.put_slice(&address_bytes(kind, stored).unwrap_or_default()),
        }
    }))
}

/// How many digits a bit string has, and its digits, eight a byte from the left.
fn bits_writer(array: &ArrayRef) -> Option<CellWriter> {
    let write = string_writer(array)?;
    Some(Box::new(move |row, out| {
        let mut text = BytesMut::new();
        write(row, &mut text);
        // Lossless: a text is shorter than 2 GB.
        out.put_i32(text.len() as i32);
        for digits in text.chunks(8) {
            let places = digits.iter().enumerate();
            let byte = places.fold(0, |byte, (place, digit)| {
                byte | (u8::from(*digit == b'1') << (7 - place))
            });
            out.put_u8(byte);
        }
    }))
}

fn bytes_writer(array: &ArrayRef, pg_type: &Type, text: bool) -> Option<CellWriter> {
    let put: fn(&[u8], &mut BytesMut) = match (text, pg_type == &Type::UUID) {
        (false, _) => |value, out| out.put_slice(value),
        (true, false) => |value, out| {
            out.put_slice(b"\\x");
            put_hex(value, out);
        },
        (true, true) => |value, out| {
            for (index, part) in [0..4, 4..6, 6..8, 8..10, 10..16].into_iter().enumerate() {
                if index > 0 {
                    out.put_u8(b'-');
                }
                put_hex(value.get(part).unwrap_or_default(), out);
            }
        },
    };
    macro_rules! bytes {
        ($values:expr) => {{
            let values = $values.clone();
            Some(Box::new(move |row, out: &mut BytesMut| {
                put(values.value(row), out)
            }))
        }};
    }
    match array.data_type() {
        DataType::Binary => bytes!(array.as_binary_opt::<i32>()?),
        DataType::LargeBinary => bytes!(array.as_binary_opt::<i64>()?),
        DataType::BinaryView => bytes!(array.as_binary_view_opt()?),
        DataType::FixedSizeBinary(_) => bytes!(array.as_fixed_size_binary_opt()?),
        _ => None,
    }
}

fn put_hex(bytes: &[u8], out: &mut BytesMut) {
    bytes
        .iter()
        .for_each(|byte| ignore(write!(out, "{byte:02x}")));
}

/// The wire type of a nested field, for json.
pub(super) fn nested_type(field: &Field) -> Type {
    super::wire_type::field_type(field)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn bits_are_packed_from_the_left() {
        let bits: ArrayRef = Arc::new(StringArray::from(vec!["", "1", "000011111"]));
        let write = bits_writer(&bits).unwrap();
        let packed: [&[u8]; 3] = [
            &[0, 0, 0, 0],
            &[0, 0, 0, 1, 0x80],
            &[0, 0, 0, 9, 0x0f, 0x80],
        ];
        for (row, expected) in packed.into_iter().enumerate() {
            let mut out = BytesMut::new();
            write(row, &mut out);
            assert_eq!(&out[..], expected);
        }
    }
}
