//! Texts of files that are values, and those that are none.

use datafusion::arrow::array::{BooleanArray, Int64Array};

use super::*;

/// A reader that asks nobody.
const ALONE: Reader<'static> = Reader {
    is_declared: true,
    takes_whole: true,
    takes_digits: true,
    others: None,
};

fn column(data_type: &DataType) -> Field {
    Field::new("c", data_type.clone(), true)
}

fn read(texts: &[&str], data_type: &DataType) -> Result<ArrayRef> {
    let texts: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
    ALONE.values(&texts, &column(data_type))
}

/// Reads the text `yes` alone.
fn yes(texts: &StringArray, column: &Field, _: &str) -> std::result::Result<ArrayRef, TextFault> {
    match texts.iter().flatten().find(|text| *text != "yes") {
        None => Ok(new_null_array(column.data_type(), texts.len())),
        Some(text) => Err(TextFault {
            sqlstate: "22007",
            message: format!("it is {text}"),
        }),
    }
}

#[test]
fn the_engine_has_the_last_word() {
    let input = TextInput::new(crate::tables::TextReader { read: yes }, "UTC");
    let asking = Reader {
        others: Some(&input),
        takes_whole: false,
        ..ALONE
    };
    let read = |texts: &[&str], column: &Field| {
        let texts: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
        asking.values(&texts, column)
    };
    let number = column(&DataType::Int64);
    let expected: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(2)]));
    assert_eq!(&read(&["1", "yes", "2"], &number).unwrap(), &expected);
    let truths: ArrayRef = Arc::new(BooleanArray::from(vec![Some(true), Some(false)]));
    assert_eq!(
        &read(&["on", "f"], &column(&DataType::Boolean)).unwrap(),
        &truths
    );
    let interval = DataType::Interval(datafusion::arrow::datatypes::IntervalUnit::MonthDayNano);
    assert_eq!(read(&["yes"], &column(&interval)).unwrap().null_count(), 1);
    for (texts, row, column) in [
        (&["1", "yes", "5.0", "x"] as &[&str], 2, &number),
        (&["1e400"], 0, &column(&DataType::Float64)),
        (&["0", "1e-400"], 1, &column(&DataType::Float64)),
        (
            &["10:00:00", "24:00:00"],
            1,
            &column(&DataType::Time64(TimeUnit::Microsecond)),
        ),
    ] {
        let error = read(texts, column).unwrap_err();
        let Fault::Value {
            row: found,
            said: Some(said),
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        let message = format!("it is {}", texts[row]);
        assert_eq!((found, said.message), (row, message));
    }
}

#[test]
fn moments_with_a_zone_are_moved() {
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    const HOUR: i64 = 3_600_000_000;
    for (text, expected) in [
        ("1970-01-01 01:00:00Z", Some(HOUR)),
        ("1970-01-01T01:00:00.5+00:30", Some(HOUR / 2 + 500_000)),
        ("1970-01-01 01:00:00-08", Some(9 * HOUR)),
        ("1970-01-01 01:00:00-0800", Some(9 * HOUR)),
        ("1970-01-01 01:00:00.0000005 +01:00", Some(1)),
        ("1970-01-01 01:00:00", None),
        ("1970-01-01", None),
        ("1970-01-01 01:00:00+1:0", None),
        ("1970-01-01 01:00:00 soon", None),
    ] {
        let found = read(&[text], &wanted).ok();
        let found = found.map(|moments| {
            assert_eq!(moments.data_type(), &wanted);
            moments.as_primitive::<TimestampMicrosecondType>().value(0)
        });
        assert_eq!(found, expected, "{text}");
    }
    // Nobody said that zones count for nothing.
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
    let found = Reader {
        is_declared: false,
        ..ALONE
    };
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["1970-01-01 01:00:00Z"]));
    assert!(found.values(&texts, &column(&wanted)).is_err());
}

#[test]
fn bytes_are_pairs_of_digits() {
    assert_eq!(hexadecimal("00fF"), Some(vec![0, 255]));
    assert_eq!(hexadecimal("+f"), None);
    assert_eq!(hexadecimal("abc"), None);
}

#[test]
fn whole_numbers_have_no_fraction() {
    for (text, expected) in [
        ("5", Some(5)),
        ("-5.0", Some(-5)),
        ("1e3", Some(1000)),
        ("1.5E+1", Some(15)),
        ("1500e-2", Some(15)),
        ("0.0e9", Some(0)),
        ("0e-400", Some(0)),
        ("-0", Some(0)),
        ("9223372036854775807", Some(i64::MAX)),
        ("9223372036854775808", None),
        ("1e400", None),
        ("1.5", None),
        ("15e-1", None),
        ("1e-400", None),
        ("five", None),
        ("", None),
        ("1e", None),
        (".", None),
    ] {
        let found = read(&[text], &DataType::Int64).ok();
        let found = found.map(|numbers| numbers.as_primitive::<Int64Type>().value(0));
        assert_eq!(found, expected, "{text}");
    }
    assert!(read(&["300"], &DataType::UInt8).is_err());
}

#[test]
fn decimals_are_rounded_away_from_zero() {
    let wanted = DataType::Decimal128(10, 2);
    for (text, expected) in [
        ("1.005", Some(101)),
        ("1.0049999999999999999999999999999999999999999", Some(100)),
        ("-0.005", Some(-1)),
        ("-1.994", Some(-199)),
        ("1.999", Some(200)),
        ("0.001", Some(0)),
        ("+7", Some(700)),
        (".5", Some(50)),
        ("5.", Some(500)),
        ("1.5e3", Some(150_000)),
        ("15e-4", Some(0)),
        ("5e-3", Some(1)),
        ("50e-5", Some(0)),
        ("0e400", Some(0)),
        ("99999999.99", Some(9_999_999_999)),
        ("99999999.995", None),
        ("1e400", None),
        ("1e-2147483648", Some(0)),
        ("NaN", None),
        ("1.2.3", None),
        ("-", None),
        ("", None),
        ("1e", None),
    ] {
        let found = read(&[text], &wanted).ok();
        let found = found.map(|numbers| numbers.as_primitive::<Decimal128Type>().value(0));
        assert_eq!(found, expected, "{text}");
    }
    assert_eq!(decimal("1234", -2), Some(12));
    assert_eq!(decimal("1250", -2), Some(13));
    let found = read(&["1"], &wanted).unwrap();
    assert_eq!(found.data_type(), &wanted);
}

#[test]
fn moments_without_a_zone_forget_zones() {
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
    const MINUTE: i64 = 60_000_000;
    for (text, expected) in [
        ("1970-01-01 00:01:00", Some(MINUTE)),
        ("1970-01-01T00:01:00Z", Some(MINUTE)),
        ("1970-01-01 00:01:00+05", Some(MINUTE)),
        ("1970-01-01 00:01:00.5-05:30", Some(MINUTE + 500_000)),
        // Forms that are rare.
        ("1970-01-01t00:01:00+05", Some(MINUTE)),
        ("1970-01-01 000100 -08:00", Some(MINUTE)),
        ("1970-01-01 00:00:60 +05", Some(MINUTE)),
        ("1970-01-01 000100", Some(MINUTE)),
        ("1970-01-01 000100 soon", None),
        ("1970-01-01 00:01:00.9999994", Some(MINUTE + 999_999)),
        ("1970-01-01 00:01:00.9999995", Some(MINUTE + 1_000_000)),
        ("1969-12-31 23:59:59.5", Some(-500_000)),
        ("1970-01-02", Some(24 * 60 * MINUTE)),
        ("9999-12-31 00:00:00", Some(253_402_214_400_000_000)),
        ("1970-01-01 00:01:00 soon", None),
        ("1970-01-01 00:01:00.", None),
        ("1970-13-01 00:01:00", None),
        ("1970-01-01 25:01:00", None),
        ("soon", None),
        ("", None),
    ] {
        let found = read(&[text], &wanted).ok();
        let found = found.map(|moments| {
            let moments = moments.as_primitive::<TimestampMicrosecondType>();
            moments.value(0)
        });
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn booleans_are_the_words_of_postgresql() {
    for (text, expected) in [
        ("t", Some(true)),
        ("TRUE", Some(true)),
        ("y", Some(true)),
        ("on", Some(true)),
        ("1", Some(true)),
        ("f", Some(false)),
        ("no", Some(false)),
        ("of", Some(false)),
        ("0", Some(false)),
        ("o", None),
        ("", None),
        ("2", None),
        ("truee", None),
    ] {
        let found = read(&[text], &DataType::Boolean).ok();
        assert_eq!(
            found.map(|found| found.as_boolean().value(0)),
            expected,
            "{text}"
        );
    }
}

#[test]
fn dates_have_no_time_of_day() {
    for (text, expected) in [
        ("1970-01-02", Some(1)),
        ("1970-01-02T00:00:00", Some(1)),
        ("1970-01-02 00:00:00Z", Some(1)),
        ("1970-01-02 00:00:00+05", Some(1)),
        ("1970-01-02 05:00:00+05", None),
        ("1969-12-31 00:00:00", Some(-1)),
        ("1970-01-02 00:00:00.001", None),
        ("1970-01-02T13:00:00", None),
        ("+10999-12-31", Some(3_298_139)),
        ("1970", None),
    ] {
        let found = read(&[text], &DataType::Date32).ok();
        let found = found.map(|dates| dates.as_primitive::<Date32Type>().value(0));
        assert_eq!(found, expected, "{text}");
    }
}

#[test]
fn the_first_wrong_text_is_told() {
    let wanted = DataType::Timestamp(TimeUnit::Microsecond, None);
    let error = read(&["2026-01-01", "soon", "later"], &wanted).unwrap_err();
    assert!(matches!(&error, Fault::Value { row: 1, text, .. } if text == "soon"));
    let texts = StringViewArray::from(vec![Some("NA"), None, Some("1")]);
    let kept: Vec<Option<&str>> = vec![None, None, Some("1")];
    assert_eq!(
        without_nulls(&texts, "NA", "NA"),
        StringViewArray::from(kept)
    );
    let texts = StringViewArray::from(vec!["\0NA\0", "\0NA", "NA"]);
    let kept = vec![Some("NA"), Some("\0NA"), None];
    assert_eq!(
        without_nulls(&texts, "NA", "NA"),
        StringViewArray::from(kept)
    );
}

#[test]
fn numbers_within_lists_and_objects_are_kept() {
    let element = |data_type| Arc::new(Field::new_list_field(data_type, true));
    let wanted = DataType::List(element(DataType::Int64));
    let read_as = DataType::List(element(DataType::Utf8View));
    assert_eq!(type_in_json(&column(&wanted), false), read_as);
    let texts: ArrayRef = Arc::new(StringViewArray::from(vec!["1", "2.0", "3"]));
    let offsets = datafusion::arrow::buffer::OffsetBuffer::from_lengths([2, 1]);
    let lists = ListArray::new(element(DataType::Utf8View), offsets, texts, None);
    let lists: ArrayRef = Arc::new(lists);
    let found = ALONE.values(&lists, &column(&wanted)).unwrap();
    let expected: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    assert_eq!(&found.as_list::<i32>().value(0), &expected);
}
