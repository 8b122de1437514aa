//! Numerics with all their digits, whatever type a statement was planned with: those of parameters.
//!
//! In: texts or values, and the type that a statement wants; out: values of that type where it holds them as they are, else
//! of one that does, for which the statement is planned anew. As in PostgreSQL, what stands beside a parameter never rounds it.

use std::borrow::Cow;

use datafusion::arrow::array::Array as _;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::error::Result;

use super::{ArrayItem, MAX_DIGITS, numeric_type, read_text, split_array, wider};
use crate::functions::decimals::decimal;

/// A numeric depends on no time zone.
const NO_ZONE: &str = "UTC";

/// Whether a type is that of numerics, or of arrays of them.
pub fn holds_numerics(data_type: &DataType) -> bool {
    match data_type {
        DataType::Decimal128(..) => true,
        DataType::List(item) => holds_numerics(item.data_type()),
        _ => false,
    }
}

/// The numeric that a text is, or the array of numerics. Errors: those of PostgreSQL's input functions.
pub fn numeric_in_full(text: &str, wanted: &DataType) -> Result<ScalarValue> {
    let own = type_in_full(text, wanted);
    in_full(&read_text(text, &own, NO_ZONE)?, wanted)
}

/// An array of texts as one of numerics. Errors: as [`numeric_in_full`].
pub fn numerics_in_full(texts: &ScalarValue, wanted: &DataType) -> Result<ScalarValue> {
    let mut element = wanted;
    while let DataType::List(item) = element {
        element = item.data_type();
    }
    let own = own_type_of(texts, element)?;
    let own = own.unwrap_or_else(|| element.clone());
    in_full(&read_elements(texts, &own)?, wanted)
}

/// A value of numbers as one of the type that is wanted, where that has all its digits.
pub(crate) fn in_full(value: &ScalarValue, wanted: &DataType) -> Result<ScalarValue> {
    let value = match value.data_type().is_integer() {
        true => value.cast_to(&DataType::Decimal128(20, 0))?,
        false => value.clone(),
    };
    let found = value.data_type();
    if !holds_numerics(&found) {
        return value.cast_to(wanted);
    }
    let cast = value.cast_to(wanted).ok().filter(|cast| {
        let again = cast.cast_to(&found);
        again.is_ok_and(|again| again == value)
    });
    Ok(cast.unwrap_or(value))
}

/// A numeric, or an array of them, as one of a type, rounded as by an assignment. Errors: 22003.
pub fn rounded_numeric(value: &ScalarValue, wanted: &DataType) -> Result<ScalarValue> {
    match (value, wanted) {
        (ScalarValue::Decimal128(..), DataType::Decimal128(..)) => {
            ScalarValue::try_from_array(&decimal(&value.to_array()?, wanted)?, 0)
        }
        (value, wanted) => value.cast_to(wanted),
    }
}

/// The type that a text has by itself where one of numerics is wanted.
pub(crate) fn type_in_full(text: &str, wanted: &DataType) -> DataType {
    match wanted {
        DataType::Decimal128(..) => {
            numeric_type(&without_zeros(text)).unwrap_or_else(|| wanted.clone())
        }
        DataType::List(item) => {
            let items = split_array(text).unwrap_or_default();
            let types = items.iter().filter_map(|item_text| match item_text {
                ArrayItem::Value(text) | ArrayItem::Array(text) => {
                    Some(type_in_full(text, item.data_type()))
                }
                ArrayItem::Null => None,
            });
            let element = types.reduce(|left, right| widest(&left, &right));
            DataType::new_list(element.unwrap_or_else(|| item.data_type().clone()), true)
        }
        other => other.clone(),
    }
}

/// The type that a numeric is planned as which the statement's own type does not hold. There are few, so that one plan serves
/// many values: numerics without a scale, those of most currencies and rates, and what has more digits still.
pub(crate) fn planned_type(own: &DataType) -> DataType {
    const MOST: i16 = MAX_DIGITS as i16;
    match own {
        DataType::Decimal128(precision, scale) => {
            let n_whole = i16::from(*precision) - i16::from(*scale);
            let holds = |found: &i8| found >= scale && n_whole + i16::from(*found) <= MOST;
            let scale = [10, 18].into_iter().find(holds).unwrap_or(*scale);
            DataType::Decimal128(MAX_DIGITS as u8, scale)
        }
        DataType::List(item) => DataType::new_list(planned_type(item.data_type()), true),
        other => other.clone(),
    }
}

/// A number without the zeros at its end, which no type has to hold.
fn without_zeros(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => text.split_at(at),
        None => (text, ""),
    };
    match mantissa.contains('.') && mantissa.ends_with('0') {
        true => {
            let digits = mantissa.trim_end_matches('0');
            // `.0` would have no digit left.
            let last = if digits.ends_with('.') { "0" } else { "" };
            Cow::Owned([digits, last, exponent].concat())
        }
        false => Cow::Borrowed(text),
    }
}

/// The type that holds the values of two.
fn widest(left: &DataType, right: &DataType) -> DataType {
    match (left, right) {
        (DataType::List(left), DataType::List(right)) => {
            DataType::new_list(widest(left.data_type(), right.data_type()), true)
        }
        (left, right) => wider(left, right),
    }
}

/// The type that holds all numbers of an array of texts; `None`: there are none.
fn own_type_of(texts: &ScalarValue, wanted: &DataType) -> Result<Option<DataType>> {
    match texts {
        ScalarValue::List(list) if list.is_valid(0) => {
            let (items, mut own) = (list.value(0), None);
            for idx in 0..items.len() {
                let item = ScalarValue::try_from_array(&items, idx)?;
                let found = own_type_of(&item, wanted)?;
                own = match (own, found) {
                    (Some(own), Some(found)) => Some(wider(&own, &found)),
                    (own, found) => own.or(found),
                };
            }
            Ok(own)
        }
        ScalarValue::Utf8(Some(text)) => Ok(Some(type_in_full(text, wanted))),
        _ => Ok(None),
    }
}

/// An array of texts with its elements as numerics of a type.
fn read_elements(texts: &ScalarValue, element: &DataType) -> Result<ScalarValue> {
    match texts {
        ScalarValue::List(list) if list.is_valid(0) => {
            let items = list.value(0);
            let read = |idx| read_elements(&ScalarValue::try_from_array(&items, idx)?, element);
            let parts = (0..items.len()).map(read).collect::<Result<Vec<_>>>()?;
            let of = with_element(items.data_type(), element);
            Ok(ScalarValue::List(ScalarValue::new_list(&parts, &of, true)))
        }
        ScalarValue::Utf8(Some(text)) => read_text(text, element, NO_ZONE),
        _ => ScalarValue::try_from(element),
    }
}

/// A type with another one in the place of its innermost elements.
fn with_element(data_type: &DataType, element: &DataType) -> DataType {
    match data_type {
        DataType::List(item) => DataType::new_list(with_element(item.data_type(), element), true),
        _ => element.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMN: DataType = DataType::Decimal128(12, 2);

    fn read(text: &str) -> (String, DataType) {
        let read = numeric_in_full(text, &COLUMN).unwrap();
        (read.to_string(), read.data_type())
    }

    #[test]
    fn what_a_type_holds_has_it_and_nothing_is_rounded() {
        for text in ["1", "1.5", "-1.50000", "1e3", ".0", "1500e-2"] {
            assert_eq!(read(text).1, COLUMN, "{text}");
        }
        for (text, own) in [
            ("1.004", (4, 3)),
            ("1.0040", (4, 3)),
            ("12345678901", (11, 0)),
            ("1e30", (31, 0)),
            ("1E-20", (20, 20)),
            ("12345678901234567890.123456789012345678", (38, 18)),
        ] {
            assert_eq!(read(text).1, DataType::Decimal128(own.0, own.1), "{text}");
        }
        assert!(numeric_in_full("x", &COLUMN).is_err());
        assert!(numeric_in_full("1e40", &COLUMN).is_err());
    }

    #[test]
    fn arrays_have_the_digits_of_all_elements() {
        let list = |element| DataType::new_list(element, true);
        let read = |text: &str| numeric_in_full(text, &list(COLUMN)).unwrap().data_type();
        assert_eq!(read("{1.5,NULL}"), list(COLUMN));
        assert_eq!(read("{}"), list(COLUMN));
        assert_eq!(
            read("{1.004,12345678901}"),
            list(DataType::Decimal128(14, 3))
        );
        let texts = ["1.5", "0.123"].map(ScalarValue::from);
        let texts = ScalarValue::List(ScalarValue::new_list(&texts, &DataType::Utf8, true));
        let read = numerics_in_full(&texts, &list(COLUMN)).unwrap();
        assert_eq!(read.data_type(), list(DataType::Decimal128(4, 3)));
        assert_eq!(read.to_string(), "[1.500, 0.123]");
    }

    #[test]
    fn few_types_are_planned_for() {
        let planned = |precision, scale| planned_type(&DataType::Decimal128(precision, scale));
        assert_eq!(planned(4, 3), DataType::Decimal128(38, 10));
        assert_eq!(planned(12, 12), DataType::Decimal128(38, 18));
        assert_eq!(planned(31, 0), DataType::Decimal128(38, 0));
        assert_eq!(planned(38, 18), DataType::Decimal128(38, 18));
        assert_eq!(planned(20, 20), DataType::Decimal128(38, 20));
    }
}
