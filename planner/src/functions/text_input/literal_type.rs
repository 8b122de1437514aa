//! The type that a quoted literal is read as beside values of a type.
//!
//! In: a text and the type that it stands beside; out: that type, but a numeric one that holds all digits that are written,
//! also within arrays: in PostgreSQL precision and scale bind what is stored, never what is compared. A text that no numeric
//! holds gets the type beside it, whose reader tells what is wrong with it.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, TimeUnit};

use super::{ArrayItem, MAX_DIGITS, split_array};

/// The type of a literal beside values of a type.
pub(crate) fn type_beside(text: &str, beside: &DataType) -> DataType {
    match beside {
        DataType::Decimal128(..) => match numeric_type(text) {
            Some(own) => match wider(beside, &own) {
                widest if widest == *beside => widest,
                widest => no_finer(own, &widest),
            },
            _ => beside.clone(),
        },
        DataType::List(item) if matches!(item.data_type(), DataType::Decimal128(..)) => {
            let items = split_array(text).unwrap_or_default();
            let types = items.iter().filter_map(|item| match item {
                ArrayItem::Value(item) => numeric_type(item),
                ArrayItem::Null | ArrayItem::Array(_) => None,
            });
            let element = types.fold(item.data_type().clone(), |widest, own| wider(&widest, &own));
            DataType::List(Arc::new(item.as_ref().clone().with_data_type(element)))
        }
        // The planner compares all kinds of bytes, but reads none as PostgreSQL does.
        bytes if is_bytes(bytes) => DataType::Binary,
        _ => in_microseconds(beside.clone()),
    }
}

/// Moments in the unit that they have here; the planner counts nanoseconds of dates beside moments until its types are settled.
pub(crate) fn in_microseconds(data_type: DataType) -> DataType {
    match data_type {
        DataType::Timestamp(_, zone) => DataType::Timestamp(TimeUnit::Microsecond, zone),
        other => other,
    }
}

/// Whether values of a type are bytes.
pub(crate) fn is_bytes(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Binary
            | DataType::LargeBinary
            | DataType::BinaryView
            | DataType::FixedSizeBinary(_)
    )
}

/// The narrowest type that holds a numeric as it is written; `None`: it is none, or has too many digits before the point.
pub(crate) fn numeric_type(text: &str) -> Option<DataType> {
    const MOST: i32 = MAX_DIGITS as i32;
    let word = text.trim();
    let word = word.strip_prefix(['+', '-']).unwrap_or(word);
    let (mantissa, exponent) = match word.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => {
            let exponent: i32 = exponent.parse().ok()?;
            (mantissa, exponent.clamp(-1000, 1000))
        }
        None => (word, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // The number is its digits, without the point, times ten to this.
    let shift = exponent - i32::try_from(fraction.len()).ok()?;
    let scale = (-shift).max(0);
    let n_digits = match digits.trim_start_matches('0').len() {
        0 => 0,
        n_digits => i32::try_from(n_digits).ok()? + shift.max(0),
    };
    let n_whole = (n_digits - scale).max(0);
    // Of digits that none can tell apart from those of stored values the last are rounded.
    let scale = scale.min(MOST - n_whole.min(MOST));
    let precision = (n_whole + scale).max(1);
    (n_whole <= MOST).then_some(())?;
    let (precision, scale) = (u8::try_from(precision).ok()?, i8::try_from(scale).ok()?);
    Some(DataType::Decimal128(precision, scale))
}

/// A numeric type with no more digits behind the point than another.
fn no_finer(own: DataType, than: &DataType) -> DataType {
    match (own, than) {
        (DataType::Decimal128(p, s), DataType::Decimal128(_, most)) if s > *most => {
            let n_lost = s.abs_diff(*most);
            DataType::Decimal128(
                p.saturating_sub(n_lost).max(most.unsigned_abs()).max(1),
                *most,
            )
        }
        (own, _) => own,
    }
}

/// The numeric type that holds the values of two. Of more digits than there are, those before the point stay, but for one: a
/// digit more than the other values have tells a value from all of them.
pub(crate) fn wider(left: &DataType, right: &DataType) -> DataType {
    const MOST: i16 = MAX_DIGITS as i16;
    let (DataType::Decimal128(p, s), DataType::Decimal128(q, t)) = (left, right) else {
        return left.clone();
    };
    let [p, s, q, t] = [i16::from(*p), i16::from(*s), i16::from(*q), i16::from(*t)];
    let n_whole = (p - s).max(q - t).min(MOST);
    let least = (s.min(t) + 1).clamp(0, MOST);
    let scale = s.max(t).min((MOST - n_whole).max(least));
    let n_whole = n_whole.min(MOST - scale);
    match (u8::try_from(n_whole + scale), i8::try_from(scale)) {
        (Ok(precision), Ok(scale)) => DataType::Decimal128(precision, scale),
        _ => left.clone(),
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::Field;

    use super::*;

    #[test]
    fn numerics_have_the_digits_that_are_written() {
        let read = |text: &str| match numeric_type(text) {
            Some(DataType::Decimal128(precision, scale)) => Some((precision, scale)),
            _ => None,
        };
        assert_eq!(read("0.051"), Some((3, 3)));
        assert_eq!(read(" -123456789012.5 "), Some((13, 1)));
        assert_eq!(read("1e5"), Some((6, 0)));
        assert_eq!(read("1.25e-3"), Some((5, 5)));
        assert_eq!(read("12.5E1"), Some((3, 0)));
        assert_eq!(read("0"), Some((1, 0)));
        assert_eq!(read(&format!("1.{}", "1".repeat(50))), Some((38, 37)));
        assert_eq!(read("1e40"), None);
        for wrong in ["", ".", "abc", "NaN", "1e", "1.2.3"] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_a_column_holds_has_its_type() {
        let column = DataType::Decimal128(10, 2);
        assert_eq!(type_beside("0.05", &column), column);
        assert_eq!(type_beside("1e3", &column), column);
        assert_eq!(type_beside("0.051", &column), DataType::Decimal128(3, 3));
        assert_eq!(type_beside("x", &column), column);
        // A numeric that was rounded has no room for more digits, but is compared with all that are written.
        let rounded = DataType::Decimal128(38, 2);
        assert_eq!(type_beside("0.04", &rounded), rounded);
        assert_eq!(type_beside("0.041", &rounded), DataType::Decimal128(3, 3));
        assert_eq!(type_beside("0.04123", &rounded), DataType::Decimal128(3, 3));
        assert_eq!(
            wider(&rounded, &DataType::Decimal128(3, 3)),
            DataType::Decimal128(38, 3)
        );
        let list = |element| DataType::List(Arc::new(Field::new_list_field(element, true)));
        assert_eq!(
            type_beside("{1.5,NULL,0.051}", &list(column)),
            list(DataType::Decimal128(11, 3))
        );
        assert_eq!(type_beside("x", &DataType::LargeBinary), DataType::Binary);
        assert_eq!(type_beside("x", &DataType::Utf8), DataType::Utf8);
    }
}
