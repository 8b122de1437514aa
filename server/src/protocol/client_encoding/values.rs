//! Where texts stand in values.
//!
//! In: the values of a data row or of parameters, with their types and formats; out: the same with their texts in the client's
//! encoding, or in UTF-8. In the binary format most types are no texts; arrays and records have them within. Values that have not the
//! form of their type are left as they are, for others to judge.

use std::borrow::Cow;

use pgwire::api::Type;
use pgwire::api::results::FieldFormat;

use super::{ClientEncoding, Untranslatable};
use crate::protocol::types::element_type;

/// Converts one text.
type Convert<'a> = &'a dyn Fn(&[u8], &mut Vec<u8>) -> Result<(), Untranslatable>;

/// Types whose binary form is none of their text; what is not known here is sent as text.
const WITHOUT_TEXT: [Type; 27] = [
    Type::BOOL,
    Type::BYTEA,
    Type::CHAR,
    Type::INT2,
    Type::INT4,
    Type::INT8,
    Type::OID,
    Type::XID,
    Type::REGCLASS,
    Type::REGNAMESPACE,
    Type::REGPROC,
    Type::REGROLE,
    Type::REGTYPE,
    Type::FLOAT4,
    Type::FLOAT8,
    Type::NUMERIC,
    Type::DATE,
    Type::TIME,
    Type::TIMETZ,
    Type::TIMESTAMP,
    Type::TIMESTAMPTZ,
    Type::INTERVAL,
    Type::UUID,
    Type::INET,
    Type::CIDR,
    Type::BIT,
    Type::VARBIT,
];

impl ClientEncoding {
    /// The values of a row, as a data row has them, in the client's encoding.
    pub(in crate::protocol) fn row(
        self,
        row: &[u8],
        columns: &[(Type, FieldFormat)],
    ) -> Result<Vec<u8>, Untranslatable> {
        let encode = |value: &[u8], out: &mut Vec<u8>| match std::str::from_utf8(value) {
            Ok(text) => self.encode(text, out),
            Err(_) => {
                out.extend_from_slice(value);
                Ok(())
            }
        };
        let mut values = Values::new(row);
        let mut out = Vec::with_capacity(row.len());
        values.pass(2, &mut out);
        for (pg_type, format) in columns {
            values.convert(&mut out, |value, out| match format {
                FieldFormat::Text => encode(value, out),
                FieldFormat::Binary => binary(value, pg_type, out, &encode),
            })?;
        }
        Ok(out)
    }

    /// A parameter with its texts in UTF-8.
    pub(in crate::protocol) fn parameter<'a>(
        self,
        value: &'a [u8],
        pg_type: &Type,
        format: FieldFormat,
    ) -> Result<Cow<'a, [u8]>, Untranslatable> {
        if value.is_ascii() {
            return Ok(Cow::Borrowed(value));
        }
        let decode = |value: &[u8], out: &mut Vec<u8>| {
            out.extend_from_slice(self.decode(value)?.as_bytes());
            Ok(())
        };
        let mut out = Vec::new();
        match format {
            FieldFormat::Text => decode(value, &mut out)?,
            FieldFormat::Binary => binary(value, pg_type, &mut out, &decode)?,
        }
        Ok(Cow::Owned(out))
    }
}

/// Converts the texts within a binary value.
fn binary(
    value: &[u8],
    pg_type: &Type,
    out: &mut Vec<u8>,
    convert: Convert<'_>,
) -> Result<(), Untranslatable> {
    if let Some(element) = element_type(pg_type) {
        return array(value, &element, out, convert);
    }
    if *pg_type == Type::RECORD {
        return record(value, out, convert);
    }
    match WITHOUT_TEXT.contains(pg_type) {
        true => {
            out.extend_from_slice(value);
            Ok(())
        }
        false => convert(value, out),
    }
}

/// An array: the number of its dimensions, flags and the type of its elements, two numbers a dimension, and the elements with
/// their lengths.
fn array(
    value: &[u8],
    element: &Type,
    out: &mut Vec<u8>,
    convert: Convert<'_>,
) -> Result<(), Untranslatable> {
    let mut elements = Values::new(value);
    let n_dimensions = elements.peek().unwrap_or(0).clamp(0, 6);
    // Lossless: at most six.
    elements.pass(12 + 8 * n_dimensions as usize, out);
    while elements.has_more() {
        elements.convert(out, |value, out| binary(value, element, out, convert))?;
    }
    Ok(())
}

/// A record: the number of its fields, and of each the type and the value with its length.
fn record(value: &[u8], out: &mut Vec<u8>, convert: Convert<'_>) -> Result<(), Untranslatable> {
    let mut fields = Values::new(value);
    fields.pass(4, out);
    while fields.has_more() {
        let oid = fields.peek().map(i32::cast_unsigned);
        fields.pass(4, out);
        let field = oid.and_then(Type::from_oid).unwrap_or(Type::UNKNOWN);
        fields.convert(out, |value, out| binary(value, &field, out, convert))?;
    }
    Ok(())
}

/// Values with their lengths, one behind the other.
struct Values<'a>(&'a [u8]);

impl<'a> Values<'a> {
    fn new(bytes: &'a [u8]) -> Values<'a> {
        Values(bytes)
    }

    fn has_more(&self) -> bool {
        !self.0.is_empty()
    }

    /// The number that comes next.
    fn peek(&self) -> Option<i32> {
        self.0.first_chunk().map(|bytes| i32::from_be_bytes(*bytes))
    }

    /// Passes so many bytes on, or all that are left.
    fn pass(&mut self, n_bytes: usize, out: &mut Vec<u8>) {
        let (passed, rest) = self.0.split_at(n_bytes.min(self.0.len()));
        out.extend_from_slice(passed);
        self.0 = rest;
    }

    /// Converts the next value; NULL has a length below zero and no bytes.
    fn convert(
        &mut self,
        out: &mut Vec<u8>,
        convert: impl FnOnce(&[u8], &mut Vec<u8>) -> Result<(), Untranslatable>,
    ) -> Result<(), Untranslatable> {
        let start = out.len();
        let length = self.peek().and_then(|length| usize::try_from(length).ok());
        self.pass(4, out);
        let Some((value, rest)) = length.and_then(|length| self.0.split_at_checked(length)) else {
            return Ok(());
        };
        self.0 = rest;
        convert(value, out)?;
        // Lossless: a message that would be longer was refused.
        let length = (out.len() - start - 4) as u32;
        out[start..start + 4].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latin() -> ClientEncoding {
        ClientEncoding::of("LATIN1").unwrap()
    }

    fn value(bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).unwrap();
        [&length.to_be_bytes()[..], bytes].concat()
    }

    /// An array of one dimension.
    fn texts(elements: &[Vec<u8>]) -> Vec<u8> {
        let oid = Type::TEXT.oid().to_be_bytes();
        let count = u32::try_from(elements.len()).unwrap().to_be_bytes();
        let head = [&b"\0\0\0\x01\0\0\0\0"[..], &oid, &count, b"\0\0\0\x01"];
        [head.concat(), elements.concat()].concat()
    }

    #[test]
    fn texts_of_rows_are_converted_and_numbers_are_not() {
        let null = (-1_i32).to_be_bytes().to_vec();
        let number = value(b"\xc3\xa9\0\0");
        let record = |name: &[u8]| {
            let oids = [Type::INT4.oid(), Type::TEXT.oid()].map(u32::to_be_bytes);
            let fields = [&oids[0][..], &number, &oids[1], &value(name)];
            value(&[&b"\0\0\0\x02"[..], &fields.concat()].concat())
        };
        let row = |name: &[u8]| {
            let elements = [value(name), null.clone(), value(b"b")];
            let values = [
                value(name),
                number.clone(),
                null.clone(),
                value(&texts(&elements)),
                record(name),
                value(name),
            ];
            [b"\0\x06".to_vec(), values.concat()].concat()
        };
        let columns = [
            (Type::TEXT, FieldFormat::Text),
            (Type::INT4, FieldFormat::Binary),
            (Type::TEXT, FieldFormat::Text),
            (Type::TEXT_ARRAY, FieldFormat::Binary),
            (Type::RECORD, FieldFormat::Binary),
            (Type::JSON, FieldFormat::Binary),
        ];
        let converted = latin().row(&row("né".as_bytes()), &columns).unwrap();
        assert_eq!(converted, row(b"n\xe9"));
        let error = latin().row(&row("€".as_bytes()), &columns).unwrap_err();
        assert_eq!(error.sqlstate(), "22P05");
    }

    #[test]
    fn parameters_are_read() {
        let read = |value: &[u8], pg_type: &Type, format| {
            latin()
                .parameter(value, pg_type, format)
                .unwrap()
                .into_owned()
        };
        let (text, binary) = (FieldFormat::Text, FieldFormat::Binary);
        assert_eq!(read(b"\xe9", &Type::TEXT, text), "é".as_bytes());
        assert_eq!(read(b"\xe9", &Type::VARCHAR, binary), "é".as_bytes());
        assert_eq!(
            read(b"\x01\"\xe9\"", &Type::JSONB, binary),
            "\u{1}\"é\"".as_bytes()
        );
        assert_eq!(
            read(b"\xff\xff\xff\xe9", &Type::INT4, binary),
            b"\xff\xff\xff\xe9"
        );
        let wanted = texts(&[value("é".as_bytes())]);
        assert_eq!(
            read(&texts(&[value(b"\xe9")]), &Type::TEXT_ARRAY, binary),
            wanted
        );
        // What has not the form of its type stays as it is.
        let short = b"\0\0\0\x01\0\0\0\0\0\0\0\x19\0\0\0\x01\0\0\0\x01\0\0\0\x09\xe9";
        assert_eq!(read(short, &Type::TEXT_ARRAY, binary), short);
    }
}
