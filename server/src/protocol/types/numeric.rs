//! PostgreSQL's numeric in its binary form, to and from decimal text.
//!
//! In and out: text such as `-12.340`, and the wire's base-10000 digits. Every Arrow decimal has an
//! exact text, so one conversion serves all widths. Never rounds.

use bytes::{BufMut, BytesMut};

/// The header's sign of a negative number.
const NEGATIVE: u16 = 0x4000;
/// The header's signs of what is not a number: NaN, Infinity, -Infinity.
const NOT_FINITE: [(u16, &str); 3] = [(0xC000, "NaN"), (0xD000, "Infinity"), (0xF000, "-Infinity")];
/// Decimal digits in a wire digit.
const GROUP: usize = 4;

/// Appends the binary form of a decimal text: `[-]digits[.digits]`.
pub(super) fn put_numeric(text: &str, out: &mut BytesMut) {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(unsigned) => (true, unsigned),
        None => (false, text),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let whole = whole.trim_start_matches('0');
    // Wire digits are aligned at the point: zeros fill up on the outer sides.
    let lead = whole.len().next_multiple_of(GROUP) - whole.len();
    let tail = fraction.len().next_multiple_of(GROUP) - fraction.len();
    let digits: Vec<u8> = std::iter::repeat_n(b'0', lead)
        .chain(whole.bytes())
        .chain(fraction.bytes())
        .chain(std::iter::repeat_n(b'0', tail))
        .collect();
    let groups: Vec<u16> = digits
        .chunks(GROUP)
        .map(|group| {
            group
                .iter()
                .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'))
        })
        .collect();
    let leading_zeros = groups.iter().take_while(|group| **group == 0).count();
    let significant = &groups[leading_zeros..];
    let trailing_zeros = significant
        .iter()
        .rev()
        .take_while(|group| **group == 0)
        .count();
    let significant = &significant[..significant.len() - trailing_zeros];
    // The weight is the power of 10000 of the first digit kept. Lossless: a decimal has few digits.
    let weight = (whole.len() + lead) as i16 / GROUP as i16 - 1 - leading_zeros as i16;
    out.put_u16(significant.len() as u16);
    out.put_i16(if significant.is_empty() { 0 } else { weight });
    out.put_u16(if negative && !significant.is_empty() {
        NEGATIVE
    } else {
        0
    });
    out.put_u16(fraction.len() as u16);
    significant.iter().for_each(|group| out.put_u16(*group));
}

/// One more than the largest wire digit.
const BASE: u16 = 10_000;

/// The decimal text of a binary numeric; `None` when the bytes are not one.
pub(super) fn numeric_text(bytes: &[u8]) -> Option<String> {
    let word = |index: usize| {
        let pair = bytes.get(index * 2..index * 2 + 2)?;
        Some(u16::from_be_bytes([pair[0], pair[1]]))
    };
    let n_groups = usize::from(word(0)?);
    let weight = i32::from(word(1)? as i16);
    let sign = word(2)?;
    let scale = usize::from(word(3)?);
    if bytes.len() != 8 + n_groups * 2 {
        return None;
    }
    if let Some((_, name)) = NOT_FINITE.iter().find(|(code, _)| *code == sign) {
        return Some((*name).to_owned());
    }
    let is_digit = |index: usize| word(4 + index).is_some_and(|digit| digit < BASE);
    if (sign != 0 && sign != NEGATIVE) || !(0..n_groups).all(is_digit) {
        return None;
    }
    let group = |power: i32| {
        let index = usize::try_from(weight - power).ok();
        index
            .filter(|index| *index < n_groups)
            .and_then(|index| word(4 + index))
            .unwrap_or(0)
    };
    let mut whole = String::new();
    for power in (0..=weight.max(0)).rev() {
        whole.push_str(&format!("{:04}", group(power)));
    }
    let whole = whole.trim_start_matches('0');
    let n_fraction_groups = scale.div_ceil(GROUP) as i32;
    let mut fraction = String::new();
    for power in 1..=n_fraction_groups {
        fraction.push_str(&format!("{:04}", group(-power)));
    }
    fraction.truncate(scale);
    let sign = if sign == NEGATIVE { "-" } else { "" };
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if scale == 0 { "" } else { "." };
    Some(format!("{sign}{whole}{point}{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binary_form_has_the_same_text_again() {
        let numbers = [
            "0",
            "1",
            "-1",
            "0.00",
            "12.340",
            "10000",
            "9999.9999",
            "0.0001",
            "-0.00010",
            "123456789012345678901234567890.12345678",
            "100000000",
            "0.000000001",
            "-7000.5",
        ];
        for text in numbers {
            let mut out = BytesMut::new();
            put_numeric(text, &mut out);
            assert_eq!(numeric_text(&out).as_deref(), Some(text));
        }
    }

    #[test]
    fn binary_form_is_the_one_that_postgresql_sends() {
        let mut out = BytesMut::new();
        put_numeric("-12345.678", &mut out);
        // 3 digits, weight 1, negative, scale 3: 1 | 2345 | 6780.
        assert_eq!(
            out.as_ref(),
            [0, 3, 0, 1, 0x40, 0, 0, 3, 0, 1, 9, 41, 26, 124]
        );
        assert_eq!(
            numeric_text(&[0, 0, 0, 0, 0xC0, 0, 0, 0]).as_deref(),
            Some("NaN")
        );
        assert_eq!(numeric_text(&[0, 1, 0]), None);
        // The sign 0x1234, and the digit 10000.
        let number = |sign: [u8; 2], digit: [u8; 2]| {
            numeric_text(&[0, 1, 0, 0, sign[0], sign[1], 0, 0, digit[0], digit[1]])
        };
        assert_eq!(number([0, 0], [0x27, 0x0f]).as_deref(), Some("9999"));
        assert_eq!(number([0x12, 0x34], [0, 1]), None);
        assert_eq!(number([0, 0], [0x27, 0x10]), None);
    }
}
