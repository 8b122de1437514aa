//! Parquet files of others, with uuids within their columns.

use std::path::Path;

use datafusion::parquet::column::writer::ColumnWriter;
use datafusion::parquet::data_type::FixedLenByteArray;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;

use super::*;
use crate::tables::{marks_of, uuid_marks};

/// A file of one row with a record and a list of what Parquet calls uuids.
fn write_uuids(path: &Path) {
    let message = "message m {
        required group r {
            required fixed_len_byte_array(16) hash;
            required fixed_len_byte_array(16) id (UUID);
        }
        required group l (LIST) {
            repeated group list {
                required fixed_len_byte_array(16) element (UUID);
            }
        }
    }";
    let schema = Arc::new(parse_message_type(message).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let mut writer =
        SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::new())).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let (definitions, repetitions): (&[i16], &[i16]) = (&[1, 1], &[0, 1]);
    for (bytes, levels) in [
        (&[1_u8][..], None),
        (&[2], None),
        (&[3, 4], Some((definitions, repetitions))),
    ] {
        let value = |byte: &u8| FixedLenByteArray::from(vec![*byte; 16]);
        let values: Vec<FixedLenByteArray> = bytes.iter().map(value).collect();
        let (definitions, repetitions) = levels.unzip();
        let mut column = group.next_column().unwrap().unwrap();
        match column.untyped() {
            ColumnWriter::FixedLenByteArrayColumnWriter(column) => column
                .write_batch(&values, definitions, repetitions)
                .unwrap(),
            _ => unreachable!("all columns are of fixed lengths"),
        };
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[tokio::test]
async fn uuids_within_columns_are_texts() {
    let f = fixture().await;
    f.write("within.parquet", "");
    write_uuids(&f.path("within.parquet"));
    let state = f.session.state();
    let table = f.tables.file_provider("within.parquet", &state).await;
    let schema = table.unwrap().schema();
    assert_eq!(marks_of(schema.field(1)), uuid_marks());
    let shown = f.file("within.parquet", "SELECT r, l FROM t").await;
    for text in [
        "id: 02020202-0202-0202-0202-020202020202",
        "hash: 01010101010101010101010101010101",
        "[03030303-0303-0303-0303-030303030303, 04040404-0404-0404-0404-040404040404]",
    ] {
        assert!(shown.contains(text), "{shown}");
    }
    let sought = "SELECT l[2] AS x FROM t WHERE r['id'] = '02020202-0202-0202-0202-020202020202'";
    let shown = f.file("within.parquet", sought).await;
    assert!(shown.contains("| 04040404-"), "{shown}");
}
