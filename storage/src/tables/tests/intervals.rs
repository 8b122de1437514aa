//! Intervals of Parquet files that do not hold an Arrow schema, as those of DuckDB: their months are not lost.

use datafusion::arrow::array::{AsArray as _, IntervalMonthDayNanoArray};
use datafusion::arrow::datatypes::{
    DataType, Int64Type, IntervalMonthDayNano, IntervalMonthDayNanoType, IntervalUnit,
};
use datafusion::parquet::column::writer::ColumnWriter;
use datafusion::parquet::data_type::FixedLenByteArray;
use datafusion::parquet::file::properties::WriterProperties;
use datafusion::parquet::file::writer::SerializedFileWriter;
use datafusion::parquet::schema::parser::parse_message_type;

use super::*;

/// Months, days and milliseconds of three rows; the last is NULL.
const PARTS: [Option<[u32; 3]>; 3] = [Some([1, 0, 0]), Some([12, 2, 11_045_678]), None];

/// A file whose columns all have the same bytes: an interval, one within a struct, and bytes that are none.
fn write_intervals(path: &std::path::Path) {
    let message = "message m {
        optional fixed_len_byte_array(12) p (INTERVAL);
        optional group s { optional fixed_len_byte_array(12) p (INTERVAL); }
        optional fixed_len_byte_array(12) b;
    }";
    let schema = Arc::new(parse_message_type(message).unwrap());
    let file = std::fs::File::create(path).unwrap();
    let properties = Arc::new(WriterProperties::new());
    let mut writer = SerializedFileWriter::new(file, schema, properties).unwrap();
    let mut group = writer.next_row_group().unwrap();
    let bytes = |parts: &[u32; 3]| {
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.to_le_bytes()).collect();
        FixedLenByteArray::from(bytes)
    };
    let values: Vec<FixedLenByteArray> = PARTS.iter().flatten().map(bytes).collect();
    while let Some(mut column) = group.next_column().unwrap() {
        match column.untyped() {
            ColumnWriter::FixedLenByteArrayColumnWriter(column) => {
                let most = column.get_descriptor().max_def_level();
                let levels = PARTS.map(|parts| if parts.is_some() { most } else { 0 });
                column.write_batch(&values, Some(&levels), None).unwrap()
            }
            _ => unreachable!("all columns are of fixed lengths"),
        };
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

fn expected() -> IntervalMonthDayNanoArray {
    let interval = |[months, days, millis]: [u32; 3]| {
        let nanos = i64::from(millis) * 1_000_000;
        IntervalMonthDayNano::new(months as i32, days as i32, nanos)
    };
    PARTS.map(|parts| parts.map(interval)).into_iter().collect()
}

#[tokio::test]
async fn intervals_of_files_are_whole() {
    let f = fixture().await;
    f.write("intervals.parquet", "");
    write_intervals(&f.path("intervals.parquet"));
    let state = f.session.state();
    let table = f.tables.file_provider("intervals.parquet", &state).await;
    let table = table.unwrap();
    let interval = DataType::Interval(IntervalUnit::MonthDayNano);
    assert_eq!(table.schema().field(0).data_type(), &interval);
    let bytes = table.schema().field(2).data_type().clone();
    assert_eq!(bytes, DataType::Binary);

    f.session.register_table("t", table).unwrap();
    let read = async |query: &str| f.session.sql(query).await.unwrap().collect().await.unwrap();
    let rows = read("SELECT p, s['p'] AS p_of_s, s, b FROM t").await;
    let found = |idx: usize| {
        let column = rows[0].column(idx);
        column.as_primitive::<IntervalMonthDayNanoType>().clone()
    };
    assert_eq!((found(0), found(1)), (expected(), expected()));
    let within = rows[0].column(2).as_struct().column(0);
    let within = within.as_primitive::<IntervalMonthDayNanoType>();
    assert_eq!(within.value(1), expected().value(1));
    assert_eq!(rows[0].column(3).as_binary::<i32>().value(0)[0], 1);

    for (condition, n) in [
        ("p = INTERVAL '1 month'", 1),
        ("s['p'] = INTERVAL '1 month'", 1),
        ("p = INTERVAL '0 days'", 0),
        ("p IS NULL", 1),
        ("s['p'] IS NOT NULL", 2),
    ] {
        let rows = read(&format!("SELECT count(*) FROM t WHERE {condition}")).await;
        let found = rows[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(found, n, "{condition}");
    }
}
