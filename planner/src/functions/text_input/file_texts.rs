//! Texts of files as the values of columns that a statement declares.
//!
//! In: texts and a column, from the readers of files; out: what a cast of the texts to the column's type gives, or why one
//! of them cannot be cast.

use std::result::Result as StdResult;
use std::sync::Arc;

use auspex_storage::{AddressKind, JsonKind, TextFault, TextLimit, TextReader, is_uuid};
use datafusion::arrow::array::{ArrayRef, StringArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::Field;
use datafusion::error::Result;

use super::{each, read_texts};
use crate::error::report_of;
use crate::functions::addresses::address_text;
use crate::functions::call::failure;
use crate::functions::json::jsonb_text;
use crate::functions::uuid::read_uuid;

/// What the sessions of an engine read texts of files with.
pub(crate) const FILE_TEXTS: TextReader = TextReader { read };

fn read(texts: &StringArray, column: &Field, zone: &str) -> StdResult<ArrayRef, TextFault> {
    values(texts, column, zone).map_err(|error| {
        let report = report_of(&error);
        TextFault {
            sqlstate: report.sqlstate,
            message: report.message,
        }
    })
}

fn values(texts: &StringArray, column: &Field, zone: &str) -> Result<ArrayRef> {
    if !column.data_type().is_string() {
        return read_texts(texts, column.data_type(), zone);
    }
    let json = JsonKind::of(column);
    let limit = TextLimit::of_field(column);
    if let Some(kind) = AddressKind::of(column) {
        let read: StringArray = each(texts, |text| address_text(kind, text))?;
        return Ok(cast(&read, column.data_type())?);
    }
    let read: StringArray = each(texts, |text| match (json, limit) {
        _ if is_uuid(column) => read_uuid(text),
        (Some(JsonKind::Jsonb), _) => jsonb_text(text),
        // Checked, and kept as it is written.
        (Some(JsonKind::Json), _) => jsonb_text(text).map(|_| text.to_owned()),
        (None, Some(limit)) if limit.is_exceeded_by(text) => {
            let message = format!("value too long for type {limit}");
            Err(failure("22001", message))
        }
        _ => Ok(text.to_owned()),
    })?;
    let read: ArrayRef = Arc::new(read);
    Ok(cast(&read, column.data_type())?)
}

#[cfg(test)]
mod tests {
    use auspex_storage::uuid_marks;
    use datafusion::arrow::array::AsArray as _;
    use datafusion::arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};

    use super::*;

    #[test]
    fn texts_are_what_their_column_says() {
        let text = |marks| Field::new("c", DataType::Utf8, true).with_metadata(marks);
        let limit = TextLimit {
            is_fixed: false,
            length: Some(3),
        };
        let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for (column, found, expected) in [
            (text(uuid_marks()), uuid.to_uppercase(), Ok(uuid)),
            (text(uuid_marks()), "x".to_owned(), Err("22P02")),
            (
                text(JsonKind::Jsonb.marks()),
                "{\"b\":1,\"a\":2}".to_owned(),
                Ok("{\"a\": 2, \"b\": 1}"),
            ),
            (text(JsonKind::Json.marks()), "[1 ]".to_owned(), Ok("[1 ]")),
            (text(JsonKind::Json.marks()), "nul".to_owned(), Err("22P02")),
            (text(limit.marks()), "abc ".to_owned(), Ok("abc ")),
            (text(limit.marks()), "abcd".to_owned(), Err("22001")),
        ] {
            let read = read(&StringArray::from(vec![found]), &column, "UTC");
            let read = read.map(|texts| texts.as_string::<i32>().value(0).to_owned());
            let read = read.map_err(|fault| fault.sqlstate);
            assert_eq!(read.as_deref(), expected.as_ref().map(|text| *text));
        }
    }

    #[test]
    fn moments_are_of_the_zone() {
        let moment = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        let column = Field::new("c", moment, true);
        let texts = StringArray::from(vec!["1970-01-01 00:00"]);
        let found = read(&texts, &column, "America/New_York").unwrap();
        let found = found.as_primitive::<TimestampMicrosecondType>().value(0);
        assert_eq!(found, 5 * 3_600_000_000);
    }
}
