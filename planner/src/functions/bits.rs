//! Bit strings: texts of the digits 0 and 1 with a mark that tells clients their type.
//!
//! In: binary digits, `x` and hexadecimal ones, or whole numbers; out: bit strings of so many digits, cut or filled with zeros
//! on the right as in PostgreSQL, what operators and functions make of them, or the whole numbers that they are. Texts of
//! digits have the order of bit strings. Functions of texts and `bytea` that mean something else of bits are those of this
//! module once a plan tells what they are given.

use std::sync::Arc;

use auspex_storage::{BitKind, marks_of};
use datafusion::arrow::array::{ArrayRef, Int32Array, Int64Array, StringArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::Transformed;
use datafusion::common::{DFSchema, ExprSchema, ScalarValue};
use datafusion::config::ConfigOptions;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::expr::ScalarFunction;
use datafusion::logical_expr::expr_rewriter::FunctionRewrite;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr, ExprSchemable as _, ReturnFieldArgs, lit};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::assigned_value::type_of;
use super::call::{Call, Function, failure, function};
use super::case_marks::literal_text;
use super::checked::Checked;
use super::type_name;

/// The functions that read a value as `bit` and as `bit varying`, and how many digits these have; 0: as many as are written.
pub(crate) const READ: &str = "bit_in";
pub(crate) const READ_VARYING: &str = "varbit_in";

/// Whether one of the two operands has the digit that an operator makes of both.
type OfBoth = fn(bool, bool) -> bool;

/// The operators of two bit strings of one length, with PostgreSQL's names of them.
const OF_TWO: [(&str, &str, OfBoth); 3] = [
    ("bits_and", "AND", |left, right| left && right),
    ("bits_or", "OR", |left, right| left || right),
    ("bits_xor", "XOR", |left, right| left != right),
];
const JOINED: &str = "bits_joined";
const INVERTED: &str = "bits_inverted";
const SHIFTED: &str = "bits_shifted";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    let of_two = OF_TWO.map(|(name, shown, of)| combined(name, shown, of));
    let mut functions = vec![
        reader(BitKind::Fixed),
        reader(BitKind::Varying),
        joined(),
        inverted(),
        shifted(),
        as_integer(),
        as_bigint(),
        bit_at(),
        with_bit(),
    ];
    functions.extend(of_two);
    functions.extend(COUNTS.map(|(_, name, count)| counted(name, count)));
    functions.push(ones());
    functions
}

/// Whether an expression gives bit strings, and of which type.
fn kind_of(expr: &Expr, schema: &dyn ExprSchema) -> Option<BitKind> {
    let (_, field) = expr.to_field(schema).ok()?;
    BitKind::of(&field)
}

/// A text as a bit string of as many digits as are written.
pub(super) fn read(value: Expr, kind: BitKind) -> Expr {
    reader(kind).build().call(vec![value, lit(0_i64)])
}

fn of_kind(name: &str, kind: BitKind) -> Field {
    Field::new(name, DataType::Utf8, true).with_metadata(kind.marks())
}

fn reader(kind: BitKind) -> Function {
    let name = match kind {
        BitKind::Fixed => READ,
        BitKind::Varying => READ_VARYING,
    };
    function(name, &[2], DataType::Utf8, move |call| read_all(call, kind)).returning(move |args| {
        let found = args.arg_fields[0].as_ref();
        let is_number = kind == BitKind::Fixed && found.data_type().is_integer();
        let is_text = found.data_type().is_string() || found.data_type().is_null();
        let is_other = !marks_of(found).is_empty() && BitKind::of(found).is_none();
        let is_read = is_text || is_number;
        if is_other || !is_read {
            let message = format!("cannot cast type {} to {}", type_of(found), kind.name());
            return Err(failure("42846", message));
        }
        Ok(of_kind(name, kind))
    })
}

fn read_all(call: &Call<'_>, kind: BitKind) -> Result<ArrayRef> {
    let lengths = call.integers(1)?;
    let length = |length: i64| usize::try_from(length).unwrap_or_default();
    let bits: StringArray = if call.arg(0)?.data_type().is_integer() {
        let numbers = call.integers(0)?;
        let pairs = numbers.iter().zip(lengths.iter());
        let bits = pairs.map(|(number, n)| Some(low_bits(number?, length(n?))));
        bits.collect()
    } else {
        let texts = call.texts(0)?;
        let pairs = texts.iter().zip(lengths.iter());
        let bits = pairs.map(|pair| match pair {
            (Some(text), Some(n)) => Ok(Some(of_length(digits(text)?, length(n), kind))),
            _ => Ok(None),
        });
        bits.collect::<Result<_>>()?
    };
    Ok(Arc::new(bits))
}

fn digit(is_one: bool) -> char {
    if is_one { '1' } else { '0' }
}

/// The binary digits of a text.
fn digits(text: &str) -> Result<String> {
    let (written, is_hexadecimal) = match text.strip_prefix(['x', 'X']) {
        Some(written) => (written, true),
        None => (text.strip_prefix(['b', 'B']).unwrap_or(text), false),
    };
    let mut bits = String::with_capacity(written.len());
    for c in written.chars() {
        match (is_hexadecimal, c.to_digit(16)) {
            (true, Some(value)) => {
                bits.extend((0..4).rev().map(|place| digit((value >> place) & 1 == 1)));
            }
            (false, Some(value @ 0..=1)) => bits.push(digit(value == 1)),
            _ => {
                let kind = match is_hexadecimal {
                    true => "hexadecimal",
                    false => "binary",
                };
                return Err(failure(
                    "22P02",
                    format!("\"{c}\" is not a valid {kind} digit"),
                ));
            }
        }
    }
    Ok(bits)
}

/// The first digits, with zeros behind them where a type has more.
fn of_length(mut bits: String, length: usize, kind: BitKind) -> String {
    if length > 0 {
        bits.truncate(length);
        if kind == BitKind::Fixed {
            bits.extend(std::iter::repeat_n('0', length - bits.len()));
        }
    }
    bits
}

/// The last digits of a number in two's complement.
fn low_bits(number: i64, length: usize) -> String {
    let is_one = |place: usize| (number >> place.min(63)) & 1 == 1;
    (0..length.max(1))
        .rev()
        .map(|place| digit(is_one(place)))
        .collect()
}

/// The number that the digits are, in as many bits as a type has. Error: there are more.
fn number(bits: &str, n_bits: usize, type_name: &str) -> Result<u64> {
    if bits.len() > n_bits {
        return Err(failure("22003", format!("{type_name} out of range")));
    }
    Ok(bits
        .bytes()
        .fold(0, |value, digit| (value << 1) | u64::from(digit == b'1')))
}

fn as_integer() -> Function {
    function("bits_as_integer", &[1], DataType::Int32, |call| {
        // As in PostgreSQL, the first of 32 digits is the sign.
        let of = |bits: &str| Ok(number(bits, 32, "integer")? as u32 as i32);
        let bits = call.texts(0)?;
        let numbers = bits.iter().map(|bits| bits.map(of).transpose());
        Ok(Arc::new(numbers.collect::<Result<Int32Array>>()?))
    })
}

fn as_bigint() -> Function {
    function("bits_as_bigint", &[1], DataType::Int64, |call| {
        // As in PostgreSQL, the first of 64 digits is the sign.
        let of = |bits: &str| Ok(number(bits, 64, "bigint")? as i64);
        let bits = call.texts(0)?;
        let numbers = bits.iter().map(|bits| bits.map(of).transpose());
        Ok(Arc::new(numbers.collect::<Result<Int64Array>>()?))
    })
}

fn combined(name: &'static str, shown: &'static str, of: OfBoth) -> Function {
    let both = move |left: &str, right: &str| {
        if left.len() != right.len() {
            let message = format!("cannot {shown} bit strings of different sizes");
            return Err(failure("22026", message));
        }
        let pairs = left.bytes().zip(right.bytes());
        let bits = pairs.map(|(left, right)| digit(of(left == b'1', right == b'1')));
        Ok(bits.collect::<String>())
    };
    function(name, &[2], DataType::Utf8, move |call| {
        let (left, right) = (call.texts(0)?, call.texts(1)?);
        let bits = left.iter().zip(right.iter()).map(|pair| match pair {
            (Some(left), Some(right)) => both(left, right).map(Some),
            _ => Ok(None),
        });
        Ok(Arc::new(bits.collect::<Result<StringArray>>()?))
    })
    .returning(move |_| Ok(of_kind(name, BitKind::Fixed)))
}

fn joined() -> Function {
    function(JOINED, &[2], DataType::Utf8, |call| {
        let (left, right) = (call.texts(0)?, call.texts(1)?);
        let pairs = left.iter().zip(right.iter());
        let bits = pairs.map(|(left, right)| Some(format!("{}{}", left?, right?)));
        Ok(Arc::new(bits.collect::<StringArray>()))
    })
    .returning(|_| Ok(of_kind(JOINED, BitKind::Varying)))
}

fn inverted() -> Function {
    function(INVERTED, &[1], DataType::Utf8, |call| {
        let invert = |bits: &str| {
            let digits = bits.bytes().map(|bit| digit(bit != b'1'));
            digits.collect::<String>()
        };
        let bits = call.texts(0)?;
        let inverted = bits.iter().map(|bits| bits.map(invert));
        Ok(Arc::new(inverted.collect::<StringArray>()))
    })
    .returning(|_| Ok(of_kind(INVERTED, BitKind::Fixed)))
}

/// So many digits to the left, or, below 0, to the right.
fn shifted() -> Function {
    function(SHIFTED, &[2], DataType::Utf8, |call| {
        let (bits, places) = (call.texts(0)?, call.integers(1)?);
        let pairs = bits.iter().zip(places.iter());
        let shifted = pairs.map(|(bits, places)| Some(shift(bits?, places?)));
        Ok(Arc::new(shifted.collect::<StringArray>()))
    })
    .returning(|_| Ok(of_kind(SHIFTED, BitKind::Fixed)))
}

fn shift(bits: &str, places: i64) -> String {
    let n_gone = usize::try_from(places.unsigned_abs()).unwrap_or(usize::MAX);
    let n_gone = n_gone.min(bits.len());
    let zeros = "0".repeat(n_gone);
    match places < 0 {
        true => format!("{zeros}{}", &bits[..bits.len() - n_gone]),
        false => format!("{}{zeros}", &bits[n_gone..]),
    }
}

/// A place among the digits, counted from the left.
fn place(index: i64, bits: &str) -> Result<usize> {
    let place = usize::try_from(index).ok().filter(|at| *at < bits.len());
    place.ok_or_else(|| {
        let last = bits.len() as i64 - 1;
        let message = format!("bit index {index} out of valid range (0..{last})");
        failure("2202E", message)
    })
}

const BIT_AT: &str = "bits_bit_at";

fn bit_at() -> Function {
    function(BIT_AT, &[2], DataType::Int32, |call| {
        let (bits, places) = (call.texts(0)?, call.integers(1)?);
        let found = bits.iter().zip(places.iter()).map(|pair| match pair {
            (Some(bits), Some(index)) => {
                let at = place(index, bits)?;
                Ok(Some(i32::from(bits.as_bytes()[at] == b'1')))
            }
            _ => Ok(None),
        });
        Ok(Arc::new(found.collect::<Result<Int32Array>>()?))
    })
}

const WITH_BIT: &str = "bits_with_bit";

fn with_bit() -> Function {
    function(WITH_BIT, &[3], DataType::Utf8, |call| {
        let (bits, places, values) = (call.texts(0)?, call.integers(1)?, call.integers(2)?);
        let rows = bits.iter().zip(places.iter()).zip(values.iter());
        let changed = rows.map(|row| match row {
            ((Some(bits), Some(index)), Some(value)) => {
                let at = place(index, bits)?;
                let new = match value {
                    0 => "0",
                    1 => "1",
                    _ => return Err(failure("22023", "new bit must be 0 or 1")),
                };
                let mut bits = bits.to_owned();
                bits.replace_range(at..=at, new);
                Ok(Some(bits))
            }
            _ => Ok(None),
        });
        Ok(Arc::new(changed.collect::<Result<StringArray>>()?))
    })
    .returning(|_| Ok(of_kind(WITH_BIT, BitKind::Fixed)))
}

type Count = fn(&str) -> usize;

/// Functions that count otherwise of texts, and those in their place.
const COUNTS: [(&str, &str, Count); 2] = [
    ("octet_length", "bits_octet_length", |bits| {
        bits.len().div_ceil(8)
    }),
    ("bit_length", "bits_bit_length", str::len),
];

fn counted(name: &'static str, count: Count) -> Function {
    function(name, &[1], DataType::Int32, move |call| {
        // Lossless: a text is shorter than 2 GB.
        let of = |bits: &str| count(bits) as i32;
        let bits = call.texts(0)?;
        let counts = bits.iter().map(|bits| bits.map(of));
        Ok(Arc::new(counts.collect::<Int32Array>()))
    })
}

const ONES: &str = "bits_ones";

fn ones() -> Function {
    function(ONES, &[1], DataType::Int64, |call| {
        let of = |bits: &str| bits.bytes().map(|bit| i64::from(bit == b'1')).sum::<i64>();
        let bits = call.texts(0)?;
        let counts = bits.iter().map(|bits| bits.map(of));
        Ok(Arc::new(counts.collect::<Int64Array>()))
    })
}

/// The type of `set_bit`: bits have it of themselves, all else is bytes.
pub(super) fn changed_field(args: &ReturnFieldArgs<'_>) -> Field {
    let kind = args.arg_fields.first().and_then(|first| BitKind::of(first));
    match kind {
        Some(_) => of_kind(WITH_BIT, BitKind::Fixed),
        None => Field::new("value", DataType::Binary, true),
    }
}

/// An operator of bit strings, also beside a text without a type; `None`: it is another. Error: PostgreSQL has no such operator of
/// bit strings and a number.
pub(super) fn planned(raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> Result<Option<Expr>> {
    use BinaryOperator as B;
    let name = match raw.op {
        B::StringConcat => JOINED,
        B::BitwiseAnd => "bits_and",
        B::BitwiseOr => "bits_or",
        B::PGBitwiseXor => "bits_xor",
        B::PGBitwiseShiftLeft | B::PGBitwiseShiftRight => SHIFTED,
        _ => return Ok(None),
    };
    // A long chain is of no bits, and would be asked for its type again and again.
    let kind = |expr: &Expr| match Checked::type_of(expr) {
        Some(_) => None,
        None => kind_of(expr, schema),
    };
    let (left, right) = (kind(&raw.left), kind(&raw.right));
    if left.is_none() && right.is_none() {
        return Ok(None);
    }
    let whole = |expr: &Expr| expr.get_type(schema).is_ok_and(|found| found.is_integer());
    let call = |name: &str, args: Vec<Expr>| {
        let function = functions().into_iter().map(Function::build);
        let mut function = function.filter(|function| function.name() == name);
        function.next().map(|function| function.call(args))
    };
    Ok(match (left, right) {
        (Some(_), None) if name == SHIFTED && whole(&raw.right) => {
            let places = match raw.op {
                B::PGBitwiseShiftRight => Expr::Negative(Box::new(raw.right.clone())),
                _ => raw.right.clone(),
            };
            call(name, vec![raw.left.clone(), places])
        }
        (Some(_), None) if name == "bits_xor" && is_all_ones(&raw.right) => {
            call(INVERTED, vec![raw.left.clone()])
        }
        (left, right) if name != SHIFTED => {
            let operand = |expr: &Expr, kind: Option<BitKind>| match kind {
                Some(_) => Some(expr.clone()),
                None => literal_text(expr).map(|_| read(expr.clone(), BitKind::Varying)),
            };
            let args = [operand(&raw.left, left), operand(&raw.right, right)];
            match args.into_iter().collect::<Option<Vec<Expr>>>() {
                Some(args) => call(name, args),
                None if name != JOINED && (whole(&raw.left) || whole(&raw.right)) => {
                    return Err(no_operator(raw, schema));
                }
                None => None,
            }
        }
        _ => None,
    })
}

fn no_operator(raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> DataFusionError {
    let shown = |expr: &Expr| match (kind_of(expr, schema), expr.get_type(schema)) {
        (Some(kind), _) => kind.name().to_owned(),
        (None, Ok(found)) => type_name(&found),
        (None, Err(_)) => "unknown".to_owned(),
    };
    let (left, right) = (shown(&raw.left), shown(&raw.right));
    let message = format!("operator does not exist: {left} {} {right}", raw.op);
    failure("42883", message)
}

/// Whether an operand is the number beside which `~x` was spelt as an operator: one in a text is of another type before its cast.
fn is_all_ones(expr: &Expr) -> bool {
    let Expr::Cast(cast) = expr else {
        return false;
    };
    let is_spelt = matches!(
        cast.expr.as_ref(),
        Expr::Literal(ScalarValue::Int64(Some(-1)), _)
    );
    is_spelt && *cast.field.data_type() == DataType::Int16
}

/// Puts the functions of this module in the place of casts of bit strings to numbers, and of those functions that take them
/// for texts or bytes.
#[derive(Debug)]
pub(super) struct ReadBits;

impl FunctionRewrite for ReadBits {
    fn name(&self) -> &str {
        "read_bits"
    }

    fn rewrite(
        &self,
        expr: Expr,
        schema: &DFSchema,
        _: &ConfigOptions,
    ) -> Result<Transformed<Expr>> {
        let changed = match &expr {
            Expr::Cast(cast) => as_number(&cast.expr, cast.field.data_type(), schema)?,
            Expr::TryCast(cast) => as_number(&cast.expr, cast.field.data_type(), schema)?,
            Expr::ScalarFunction(call) => of_bits(call, schema),
            _ => None,
        };
        Ok(match changed {
            Some(changed) => Transformed::yes(changed),
            None => Transformed::no(expr),
        })
    }
}

/// The number that a bit string is; `None`: the cast is another. Error: PostgreSQL has no such cast.
fn as_number(bits: &Expr, to: &DataType, schema: &DFSchema) -> Result<Option<Expr>> {
    if to.is_string() {
        return Ok(None);
    }
    let Some(kind) = kind_of(bits, schema) else {
        return Ok(None);
    };
    let function = match to {
        DataType::Int32 => as_integer(),
        DataType::Int64 => as_bigint(),
        _ => {
            let message = format!("cannot cast type {} to {}", kind.name(), type_name(to));
            return Err(failure("42846", message));
        }
    };
    Ok(Some(function.build().call(vec![bits.clone()])))
}

/// A call of a function of texts or bytes that is given bits; `None`: it means the same, or is given something else.
fn of_bits(call: &ScalarFunction, schema: &DFSchema) -> Option<Expr> {
    let name = call.func.name();
    let function = match name {
        "get_bit" => bit_at(),
        "set_bit" => with_bit(),
        "bit_count" => ones(),
        _ => {
            let (_, own, count) = COUNTS.into_iter().find(|(known, ..)| *known == name)?;
            counted(own, count)
        }
    };
    kind_of(call.args.first()?, schema)?;
    Some(function.build().call(call.args.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_cut_and_filled_on_the_right() {
        let read = |text, length, kind| digits(text).map(|bits| of_length(bits, length, kind));
        assert_eq!(read("x1F", 0, BitKind::Fixed).unwrap(), "00011111");
        assert_eq!(read("101", 5, BitKind::Fixed).unwrap(), "10100");
        assert_eq!(read("b101", 5, BitKind::Varying).unwrap(), "101");
        assert_eq!(read("10111", 3, BitKind::Varying).unwrap(), "101");
        assert_eq!(read("", 2, BitKind::Fixed).unwrap(), "00");
        assert!(digits("102").is_err() && digits("xg").is_err() && digits(" 1").is_err());
    }

    #[test]
    fn numbers_have_the_signs_of_their_types() {
        assert_eq!(low_bits(-1, 4), "1111");
        assert_eq!(low_bits(5, 2), "01");
        assert_eq!(low_bits(-2, 70), format!("{}0", "1".repeat(69)));
        assert_eq!(number("", 32, "integer").unwrap(), 0);
        assert_eq!(number(&"1".repeat(64), 64, "bigint").unwrap(), u64::MAX);
        assert!(number(&"0".repeat(33), 32, "integer").is_err());
    }

    #[test]
    fn shifts_keep_the_length() {
        assert_eq!(shift("10001", 3), "01000");
        assert_eq!(shift("10001", -2), "00100");
        assert_eq!(shift("101", 9), "000");
        assert_eq!(shift("101", i64::MIN), "000");
    }
}
