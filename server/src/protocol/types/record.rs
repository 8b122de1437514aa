//! Structs as PostgreSQL's composite values, for clients that set `ml.nested = composite`.
//!
//! In: a struct array; out: one record a row, in text `(1,"a b",)` or binary with the type of each field. The records have no
//! type of their own in the catalog: clients see `record`.

use bytes::{BufMut, BytesMut};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::error::{DataFusionError, Result};
use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::encode::{CellWriter, ColumnWriter, Style};
use super::wire_type::field_type;

/// The type of a column or a field of a record: structs are records, lists of them arrays of records.
pub(super) fn composite_type(field: &Field) -> Type {
    match field.data_type() {
        DataType::Struct(_) => Type::RECORD,
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _)
            if matches!(item.data_type(), DataType::Struct(_)) =>
        {
            Type::RECORD_ARRAY
        }
        _ => field_type(field),
    }
}

/// A writer of one record a row.
pub(super) fn record_writer(array: &ArrayRef, style: Style) -> Result<CellWriter> {
    let Some(record) = array.as_struct_opt() else {
        return Err(DataFusionError::NotImplemented(format!(
            "values of type {} cannot be sent as a record",
            array.data_type()
        )));
    };
    let mut fields = Vec::with_capacity(record.num_columns());
    for (field, column) in record.fields().iter().zip(record.columns()) {
        let pg_type = composite_type(field);
        fields.push((
            pg_type.oid(),
            ColumnWriter::try_new(column, &pg_type, style)?,
        ));
    }
    Ok(match style.format {
        FieldFormat::Text => Box::new(move |row, out| {
            out.put_u8(b'(');
            for (idx, (_, column)) in fields.iter().enumerate() {
                if idx > 0 {
                    out.put_u8(b',');
                }
                put_field(column, row, out);
            }
            out.put_u8(b')');
        }),
        FieldFormat::Binary => Box::new(move |row, out| {
            // Lossless: a struct has fewer fields.
            out.put_i32(fields.len() as i32);
            for (oid, column) in &fields {
                out.put_u32(*oid);
                column.put(row, out);
            }
        }),
    })
}

/// A field in text form: nothing for NULL, in quotes where it would be misread.
fn put_field(column: &ColumnWriter, row: usize, out: &mut BytesMut) {
    if column.is_null(row) {
        return;
    }
    let start = out.len();
    column.write(row, out);
    let special = |byte: &u8| b"(),\"\\ \t\n\r\x0b\x0c".contains(byte);
    if out.len() > start && !out[start..].iter().any(special) {
        return;
    }
    let written = out.split_off(start);
    out.put_u8(b'"');
    for byte in written {
        if byte == b'"' || byte == b'\\' {
            out.put_u8(byte);
        }
        out.put_u8(byte);
    }
    out.put_u8(b'"');
}
