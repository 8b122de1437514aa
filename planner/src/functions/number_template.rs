//! PostgreSQL's templates of numbers: `9,999.99`, `FM0000`, `S999`, `999PR`, `RN`.
//!
//! In: a template and a number's digits; out: its text, and back.

use datafusion::error::Result;

use super::call::failure;

/// A template that was read.
#[derive(Debug, Clone, Default)]
pub(super) struct NumberTemplate {
    /// The characters before the decimal point: `9`, `0`, `,` and text.
    whole: Vec<char>,
    fraction: Vec<char>,
    has_point: bool,
    is_bare: bool,
    sign: Sign,
    is_roman: bool,
    is_lower: bool,
    /// `V`: so many digits move before the point.
    shift: usize,
    has_ordinal: bool,
    has_exponent: bool,
    currency: bool,
    /// Text before all else.
    before: String,
}

/// The words of templates, longer ones before those that they begin with.
const WORDS: [&str; 13] = [
    "EEEE", "FM", "PR", "MI", "PL", "RN", "TH", "SG", "S", "D", ".", "L", "B",
];

/// A text in double quotes, and what stands behind it.
fn quoted(text: &str) -> Option<(&str, &str)> {
    text.strip_prefix('"')?.split_once('"')
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Sign {
    /// A minus before the digits, or a space.
    #[default]
    Plain,
    Leading,
    Trailing,
    /// Before the blanks that stand before the digits: `SG`, `MI` and `PL`.
    First,
    FirstMinus,
    FirstPlus,
    /// A minus, or a space, behind.
    Minus,
    Brackets,
}

impl NumberTemplate {
    /// Reads a template.
    pub(super) fn read(text: &str) -> NumberTemplate {
        let mut template = NumberTemplate::default();
        let mut rest = text;
        let mut is_shifted = false;
        while let Some(c) = rest.chars().next() {
            let upper: String = rest.chars().take(4).collect::<String>().to_uppercase();
            if let Some(length) = template.read_word(&upper, c.is_lowercase()) {
                rest = &rest[length.min(rest.len())..];
                continue;
            }
            if let Some((literal, behind)) = quoted(rest) {
                match template.has_begun() {
                    true => literal.chars().for_each(|c| template.push(c)),
                    false => template.before.push_str(literal),
                }
                rest = behind;
                continue;
            }
            is_shifted |= upper.starts_with('V');
            if !upper.starts_with('V') {
                let c = if c == 'G' || c == 'g' { ',' } else { c };
                template.shift += usize::from(is_shifted && (c == '9' || c == '0'));
                template.push(c);
            }
            rest = &rest[c.len_utf8()..];
        }
        template
    }

    fn has_begun(&self) -> bool {
        !self.whole.is_empty() || self.has_point
    }

    fn push(&mut self, c: char) {
        match self.has_point {
            true => self.fraction.push(c),
            false => self.whole.push(c),
        }
    }

    /// Reads a word that stands for no character of the number: its length.
    fn read_word(&mut self, upper: &str, is_lower: bool) -> Option<usize> {
        let has_begun = self.has_begun();
        let word = WORDS.into_iter().find(|word| upper.starts_with(word))?;
        match word {
            "FM" => self.is_bare = true,
            "PR" => self.sign = Sign::Brackets,
            "MI" if has_begun => self.sign = Sign::Minus,
            "MI" => self.sign = Sign::FirstMinus,
            "PL" => self.sign = Sign::FirstPlus,
            "RN" => (self.is_roman, self.is_lower) = (true, is_lower),
            "TH" => (self.has_ordinal, self.is_lower) = (true, is_lower),
            "EEEE" => self.has_exponent = true,
            "SG" | "S" if has_begun => self.sign = Sign::Trailing,
            "SG" => self.sign = Sign::First,
            "S" => self.sign = Sign::Leading,
            "D" | "." => self.has_point = true,
            "L" => self.currency = true,
            // `B` asks for blanks in the place of zero, which PostgreSQL shows all the same.
            _ => {}
        }
        Some(word.len())
    }

    fn n_fraction(&self) -> usize {
        let is_digit = |c: &&char| matches!(c, '9' | '0');
        self.fraction.iter().filter(is_digit).count()
    }

    /// A number, written in digits, in this form.
    pub(super) fn format(&self, number: &str) -> String {
        if self.is_roman {
            return self.roman(number);
        }
        if self.has_exponent {
            return self.exponent(number);
        }
        let shifted = scaled(number, self.shift);
        let (is_negative, whole, fraction) = round_digits(&shifted, self.n_fraction());
        let is_digit = |c: &&char| matches!(c, '9' | '0');
        let n_whole = self.whole.iter().filter(is_digit).count();
        let whole = whole.trim_start_matches('0');
        let is_overflow = whole.len() > n_whole || !whole.bytes().all(|b| b.is_ascii_digit());
        let shows_fraction = self.has_point && self.n_shown(&fraction) > 0;
        let mut body = String::new();
        // A `0` demands digits from its place on.
        let first_zero = self.whole.iter().filter(is_digit).position(|c| *c == '0');
        let mut place = 0;
        let mut has_begun = false;
        for c in &self.whole {
            match c {
                '9' | '0' => {
                    let idx = (place + whole.len()).checked_sub(n_whole);
                    let digit = idx.and_then(|idx| whole.as_bytes().get(idx));
                    // A whole part of nothing is shown as 0 where there is no fraction to show.
                    let is_last = place + 1 == n_whole && !shows_fraction;
                    let demanded = is_last || first_zero.is_some_and(|zero| place >= zero);
                    place += 1;
                    match (digit, demanded) {
                        _ if is_overflow => body.push('#'),
                        (Some(digit), _) => {
                            has_begun = true;
                            body.push(char::from(*digit));
                        }
                        (None, true) => {
                            has_begun = true;
                            body.push('0');
                        }
                        (None, false) => self.pad(&mut body),
                    }
                }
                ',' if has_begun || is_overflow => body.push(','),
                ',' => self.pad(&mut body),
                other => body.push(*other),
            }
        }
        if self.has_point {
            // A point before no place is left out.
            if self.n_fraction() > 0 {
                body.push('.');
            }
            self.push_fraction(&mut body, &fraction, is_overflow);
        }
        if self.has_ordinal && !is_negative {
            match self.is_lower {
                true => body.push_str(&ordinal(whole).to_lowercase()),
                false => body.push_str(ordinal(whole)),
            }
        }
        let is_zero = !shifted.bytes().any(|b| (b'1'..=b'9').contains(&b));
        self.signed(body, is_negative && !is_zero)
    }

    /// How many digits of a fraction are shown: without padding, zeros at the end that no `0` demands are left out.
    fn n_shown(&self, fraction: &str) -> usize {
        let digits = self.fraction.iter().filter(|c| matches!(c, '9' | '0'));
        let demanded = digits.clone().rposition_of_zero();
        match self.is_bare {
            true => fraction.trim_end_matches('0').len().max(demanded),
            false => fraction.len(),
        }
    }

    fn push_fraction(&self, body: &mut String, fraction: &str, is_overflow: bool) {
        let shown = self.n_shown(fraction);
        let mut place = 0;
        for c in &self.fraction {
            match c {
                '9' | '0' => {
                    if is_overflow {
                        body.push('#');
                    } else if place < shown {
                        body.push_str(&fraction[place..=place]);
                    }
                    place += 1;
                }
                other => body.push(*other),
            }
        }
    }

    fn pad(&self, body: &mut String) {
        if !self.is_bare {
            body.push(' ');
        }
    }

    /// The body with its sign, which stands beside the first digit.
    fn signed(&self, body: String, is_negative: bool) -> String {
        let blank = if self.is_bare { "" } else { " " };
        let currency = if self.currency { "$" } else { "" };
        let digits = body.trim_start_matches(' ');
        let padding = &body[..body.len() - digits.len()];
        let number = match (self.sign, is_negative) {
            (Sign::First | Sign::FirstMinus, true) => format!("-{padding}{currency}{digits}"),
            (Sign::First, false) => format!("+{padding}{currency}{digits}"),
            (Sign::FirstMinus, false) => format!("{blank}{padding}{currency}{digits}"),
            (Sign::FirstPlus, true) => format!("{blank}{padding}-{currency}{digits}"),
            (Sign::FirstPlus, false) => format!("+{blank}{padding}{currency}{digits}"),
            (Sign::Plain, true) => format!("{padding}-{currency}{digits}"),
            (Sign::Plain, false) => format!("{padding}{blank}{currency}{digits}"),
            (Sign::Leading, true) => format!("{padding}-{currency}{digits}"),
            (Sign::Leading, false) => format!("{padding}+{currency}{digits}"),
            (Sign::Trailing, true) => format!("{padding}{currency}{digits}-"),
            (Sign::Trailing, false) => format!("{padding}{currency}{digits}+"),
            (Sign::Minus, true) => format!("{padding}{currency}{digits}-"),
            (Sign::Minus, false) => format!("{padding}{currency}{digits}{blank}"),
            (Sign::Brackets, true) => format!("{padding}<{currency}{digits}>"),
            (Sign::Brackets, false) => format!("{padding}{blank}{currency}{digits}{blank}"),
        };
        format!("{}{number}", self.before)
    }

    fn exponent(&self, number: &str) -> String {
        let value: f64 = number.parse().unwrap_or(f64::NAN);
        let places = self.n_fraction();
        let text = format!("{value:.places$e}");
        let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, size) = match exponent.strip_prefix('-') {
            Some(size) => ('-', size),
            None => ('+', exponent),
        };
        let lead = if value < 0.0 || self.is_bare { "" } else { " " };
        format!("{lead}{mantissa}e{sign}{size:0>2}")
    }

    fn roman(&self, number: &str) -> String {
        let value = number.parse::<f64>().unwrap_or(0.0).round();
        let mut text = String::new();
        if (1.0..4000.0).contains(&value) {
            let mut rest = value as u32;
            for (size, numeral) in ROMAN {
                while rest >= size {
                    text.push_str(numeral);
                    rest -= size;
                }
            }
        } else {
            text = "#".repeat(15);
        }
        if self.is_lower {
            text = text.to_lowercase();
        }
        if self.is_bare {
            text
        } else {
            format!("{text:>15}")
        }
    }

    /// The number that a text in this form says.
    pub(super) fn parse(&self, text: &str) -> Result<f64> {
        let is_negative = text.contains('-') || (text.contains('<') && text.contains('>'));
        let digits: String = text
            .chars()
            .filter(|c| c.is_ascii_digit() || (*c == '.' && self.has_point))
            .collect();
        let number: f64 = digits.parse().map_err(|_| {
            failure(
                "22P02",
                format!("invalid input syntax for type numeric: \"{text}\""),
            )
        })?;
        let number = number / 10_f64.powi(self.shift as i32);
        Ok(if is_negative { -number } else { number })
    }
}

const ROMAN: [(u32, &str); 13] = [
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
];

fn ordinal(digits: &str) -> &'static str {
    let bytes = digits.as_bytes();
    let is_teen = bytes.len() > 1 && bytes[bytes.len() - 2] == b'1';
    match bytes.last() {
        _ if is_teen => "TH",
        Some(b'1') => "ST",
        Some(b'2') => "ND",
        Some(b'3') => "RD",
        _ => "TH",
    }
}

/// A number's digits without an exponent, with the point moved.
fn scaled(number: &str, shift: usize) -> String {
    let plain = match number.contains(['e', 'E']) {
        true => number
            .parse::<f64>()
            .map(|value| value.to_string())
            .unwrap_or_default(),
        false => number.to_owned(),
    };
    if shift == 0 {
        return plain;
    }
    let (sign, digits) = match plain.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", plain.as_str()),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = format!("{fraction:0<shift$}");
    format!("{sign}{whole}{}.{}", &fraction[..shift], &fraction[shift..])
}

/// Sign, whole digits and `places` digits behind the point, rounded half away from zero.
fn round_digits(number: &str, places: usize) -> (bool, String, String) {
    let (is_negative, digits) = match number.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, number),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let kept: String = fraction
        .chars()
        .chain(std::iter::repeat('0'))
        .take(places)
        .collect();
    let mut all: Vec<u8> = format!("0{whole}{kept}").into_bytes();
    if fraction
        .as_bytes()
        .get(places)
        .is_some_and(|digit| *digit >= b'5')
    {
        for digit in all.iter_mut().rev() {
            if *digit == b'9' {
                *digit = b'0';
            } else {
                *digit += 1;
                break;
            }
        }
    }
    let text = String::from_utf8_lossy(&all).into_owned();
    let at = text.len() - places;
    (is_negative, text[..at].to_owned(), text[at..].to_owned())
}

/// How many digits of a fraction are demanded by zeros.
trait Demanded {
    fn rposition_of_zero(self) -> usize;
}

impl<'a, I: Iterator<Item = &'a char>> Demanded for I {
    fn rposition_of_zero(self) -> usize {
        self.enumerate()
            .filter(|(_, c)| **c == '0')
            .last()
            .map_or(0, |(idx, _)| idx + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(number: &str, template: &str) -> String {
        NumberTemplate::read(template).format(number)
    }

    // The right sides are those of table 9.31 and its neighbours in PostgreSQL's manual.
    #[test]
    fn numbers_look_as_in_the_manual() {
        assert_eq!(shown("-0.1", "99.99"), "  -.10");
        assert_eq!(shown("-0.1", "FM9.99"), "-.1");
        assert_eq!(shown("0.1", "0.9"), " 0.1");
        assert_eq!(shown("12", "9990999.9"), "    0012.0");
        assert_eq!(shown("12", "FM9990999.9"), "0012.");
        assert_eq!(shown("485", "999"), " 485");
        assert_eq!(shown("-485", "999"), "-485");
        assert_eq!(shown("1485", "9,999"), " 1,485");
        assert_eq!(shown("148.5", "999.999"), " 148.500");
        assert_eq!(shown("148.5", "FM999.999"), "148.5");
        assert_eq!(shown("148.5", "FM999.990"), "148.500");
        assert_eq!(shown("3148.5", "9G999D999"), " 3,148.500");
        assert_eq!(shown("-485", "999S"), "485-");
        assert_eq!(shown("-485", "999MI"), "485-");
        assert_eq!(shown("485", "999MI"), "485 ");
        assert_eq!(shown("-485", "999PR"), "<485>");
        assert_eq!(shown("485", "L999"), " $485");
        assert_eq!(shown("485", "FMRN"), "CDLXXXV");
        assert_eq!(shown("5.2", "FMRN"), "V");
        assert_eq!(shown("482", "999th"), " 482nd");
        assert_eq!(shown("482", "999TH"), " 482ND");
        assert_eq!(shown("12", "99V999"), " 12000");
        assert_eq!(shown("12.4", "99V999"), " 12400");
        assert_eq!(shown("0.0004859", "9.99EEEE"), " 4.86e-04");
        assert_eq!(shown("12345", "999"), " ###");
        assert_eq!(shown("0", "999"), "   0");
        assert_eq!(shown("0.5", "FM999.00"), ".50");
        assert_eq!(shown("1234.5", "FM9,999.00"), "1,234.50");
        assert_eq!(shown("0.1", "99%"), "  0%");
        assert_eq!(shown("42", "FM990%"), "42%");
        assert_eq!(shown("-12", "MI99"), "-12");
        assert_eq!(shown("12", "MI99"), " 12");
        assert_eq!(shown("5", "SG99"), "+ 5");
        assert_eq!(shown("-5", "S99"), " -5");
        assert_eq!(shown("12", "PL99"), "+ 12");
        assert_eq!(shown("1234", "\"x\"9999"), "x 1234");
        assert_eq!(shown("12", "B99"), " 12");
        assert_eq!(shown("0.0", "FM9.9"), "0.");
        assert_eq!(shown("0.5", "FM9.9"), ".5");
        assert_eq!(shown("0.0", "FM9.0"), ".0");
        assert_eq!(shown("0.0", "9.9"), "  .0");
        assert_eq!(shown("1", "9."), " 1");
    }
}
