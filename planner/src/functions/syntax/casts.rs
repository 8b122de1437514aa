//! Casts that PostgreSQL does not do by cutting off: it rounds, refuses what does not fit, and reads the client's clock.
//!
//! In: a cast whose operand was rewritten before; out: the same cast of an operand that `functions/fitted.rs` prepares.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, CastKind, CharacterLength, DataType, DateTimeField, ExactNumberInfo, Expr,
    Function, FunctionArg, FunctionArgExpr, FunctionArguments, TimezoneInfo, UnaryOperator, Value,
};

use super::{call, cast_to, function_name, literal, number, plain_arguments, text};
use crate::error::{Error, Result};
use crate::functions::types::element_type;
use crate::functions::{AS_BPCHAR, AS_VARCHAR, READ_BITS, READ_VARYING_BITS};

/// The cast, prepared; `None` if it is right as it stands.
pub(super) fn fitted(cast: &Expr, zone: Option<&str>) -> Result<Option<Expr>> {
    let Expr::Cast {
        kind,
        expr: inner,
        data_type,
        ..
    } = cast
    else {
        return Ok(None);
    };
    let is_open = matches!(inner.as_ref(), Expr::Value(value)
        if matches!(value.value, Value::Placeholder(_) | Value::Null));
    if is_open {
        return Ok(None);
    }
    refuse_infinite_text(inner, data_type)?;
    let may_fail = !matches!(kind, CastKind::TryCast | CastKind::SafeCast);
    let operand = match data_type {
        _ if literal(inner).is_some() => moment(inner, data_type, zone),
        data_type if is_whole(data_type) => match number_text(inner) {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit() || b == b'-') => None,
            Some(digits) => Some(prepared("as_whole", &exact(inner, &digits), Vec::new())),
            None => Some(prepared("as_whole", inner, Vec::new())),
        },
        DataType::Real | DataType::Float4 if may_fail => {
            Some(prepared("as_real", inner, Vec::new()))
        }
        // The items of one that is written out are cast one by one.
        DataType::Array(_) if matches!(inner.as_ref(), Expr::Array(_)) => None,
        DataType::Array(_) => match element_type(data_type).0 {
            element if is_whole(element) => Some(prepared("as_whole", inner, Vec::new())),
            DataType::Real | DataType::Float4 if may_fail => {
                Some(prepared("as_real", inner, Vec::new()))
            }
            element => decimal(element)
                .filter(|_| may_fail)
                .map(|digits| as_decimal(inner, digits)),
        },
        data_type => match decimal(data_type).filter(|_| may_fail) {
            Some(of_digits) => Some(match number_text(inner) {
                // As it is written: a binary fraction would lose digits.
                Some(digits) if !digits.contains(['e', 'E']) => text(digits),
                _ => as_decimal(inner, of_digits),
            }),
            None => match (moment(inner, data_type, zone), data_type) {
                (operand, DataType::Time(..)) => {
                    let operand = operand.as_ref().unwrap_or(inner);
                    Some(prepared("as_time", operand, Vec::new()))
                }
                (operand, _) => operand,
            },
        },
    };
    Ok(operand.map(|operand| {
        let mut cast = cast.clone();
        if let Expr::Cast { expr, .. } = &mut cast {
            **expr = operand;
        }
        cast
    }))
}

/// The most digits that PostgreSQL lets a numeric declare.
const MOST_DECLARED: u64 = 1000;
/// The most digits of a decimal of the planner, which counts them modulo 256.
const MOST_PLANNED: u64 = 76;
/// The digits of a cast to more than these. With one more, all of a decimal's, it would be a numeric without a scale, which is
/// shown without the zeros at its end.
const NARROWED: u64 = 37;

/// Gives a cast to a numeric of more digits than the planner has as many as are exact everywhere, with its scale.
pub(super) fn narrow(cast: &mut Expr) -> Result<()> {
    match cast {
        Expr::Cast { data_type, .. } => narrow_type(data_type),
        _ => Ok(()),
    }
}

fn narrow_type(data_type: &mut DataType) -> Result<()> {
    if let DataType::Array(
        ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element),
    ) = data_type
    {
        return narrow_type(element);
    }
    let Some((declared, scale)) = declared_digits(data_type)? else {
        return Ok(());
    };
    if declared <= MOST_PLANNED {
        return Ok(());
    }
    if !(0..=NARROWED as i64).contains(&scale) {
        return Err(too_wide(data_type));
    }
    *data_type = DataType::Numeric(ExactNumberInfo::PrecisionAndScale(NARROWED, scale));
    Ok(())
}

/// Fails where a column is declared with more digits than the planner counts.
pub(crate) fn refuse_wide(data_type: &DataType) -> Result<()> {
    match data_type {
        DataType::Array(
            ArrayElemTypeDef::SquareBracket(element, _) | ArrayElemTypeDef::AngleBracket(element),
        ) => refuse_wide(element),
        data_type => match declared_digits(data_type)? {
            Some((declared, _)) if declared > MOST_PLANNED => Err(too_wide(data_type)),
            _ => Ok(()),
        },
    }
}

/// The precision and scale that a numeric is declared with.
fn declared_digits(data_type: &DataType) -> Result<Option<(u64, i64)>> {
    let (DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info)) = data_type
    else {
        return Ok(None);
    };
    let (precision, scale) = match info {
        ExactNumberInfo::None => return Ok(None),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => (*precision, *scale),
    };
    match precision {
        // As decimals, such values would be rounded and shown otherwise than PostgreSQL's.
        1..=MOST_DECLARED if u64::try_from(scale).is_ok_and(|scale| scale <= precision) => {
            Ok(Some((precision, scale)))
        }
        1..=MOST_DECLARED => {
            let hint = "The scale of a numeric is between 0 and its precision.";
            Err(unsupported(data_type, hint))
        }
        _ => {
            let message =
                format!("NUMERIC precision {precision} must be between 1 and {MOST_DECLARED}");
            Err(Error::invalid("22023", message, None))
        }
    }
}

fn too_wide(data_type: &DataType) -> Error {
    unsupported(data_type, "A numeric has at most 38 digits.")
}

fn unsupported(data_type: &DataType, hint: &str) -> Error {
    let message = format!(
        "the type {} is not supported",
        data_type.to_string().to_lowercase()
    );
    Error::invalid("0A000", message, Some(hint))
}

/// The function that a cast to a type with a length is, and how many letters it leaves of a text: `x::varchar(3)`. One to
/// `char` leaves one.
pub(super) fn letters(data_type: &DataType) -> Option<(&'static str, u64)> {
    match data_type {
        DataType::Char(None) | DataType::Character(None) => Some((AS_BPCHAR, 1)),
        DataType::Char(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::Character(Some(CharacterLength::IntegerLength { length, .. })) => {
            Some((AS_BPCHAR, *length))
        }
        DataType::Varchar(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharVarying(Some(CharacterLength::IntegerLength { length, .. }))
        | DataType::CharacterVarying(Some(CharacterLength::IntegerLength { length, .. })) => {
            Some((AS_VARCHAR, *length))
        }
        _ => None,
    }
}

/// The function that a cast to a bit string is, and how many digits this has; 0: as many as are given.
pub(super) fn digits_of_bits(data_type: &DataType) -> Result<Option<(&'static str, u64)>> {
    /// As many rows of a batch have room for.
    const MOST_DIGITS: u64 = 4_096;
    let (name, type_name, n_digits) = match data_type {
        DataType::Bit(n_digits) => (READ_BITS, "bit", Some(n_digits.unwrap_or(1))),
        DataType::BitVarying(n_digits) | DataType::VarBit(n_digits) => {
            (READ_VARYING_BITS, "varbit", *n_digits)
        }
        _ => return Ok(None),
    };
    match n_digits {
        Some(0) => {
            let message = format!("length for type {type_name} must be at least 1");
            Err(Error::invalid("22023", message, None))
        }
        Some(MOST_DIGITS..) => {
            let hint = "A cast to a bit string gives less than 4,096 digits.";
            Err(unsupported(data_type, hint))
        }
        n_digits => Ok(Some((name, n_digits.unwrap_or(0)))),
    }
}

/// A number that is written out, as the decimal that its digits are; as it stands if it has an exponent.
fn exact(number: &Expr, digits: &str) -> Expr {
    match digits.split_once('.') {
        Some((_, fraction)) if !digits.contains(['e', 'E']) && fraction.len() <= 38 => {
            let scale = i64::try_from(fraction.len()).unwrap_or(0);
            let info = ExactNumberInfo::PrecisionAndScale(NARROWED, scale);
            cast_to(text(digits.to_owned()), DataType::Decimal(info))
        }
        _ => number.clone(),
    }
}

/// A number, or an array of numbers, as decimals of a precision and a scale.
fn as_decimal(operand: &Expr, (precision, scale): (u64, u64)) -> Expr {
    let digits = [precision, scale].map(|n| number(&n.to_string()));
    prepared("as_decimal", operand, digits.into())
}

/// `name(operand, …)`, once.
fn prepared(name: &str, operand: &Expr, more: Vec<Expr>) -> Expr {
    let is_prepared = match operand {
        Expr::Function(function) => function_name(function).is_some_and(|known| known == name),
        _ => false,
    };
    if is_prepared {
        return operand.clone();
    }
    let mut args = vec![operand.clone()];
    args.extend(more);
    call(name, args)
}

/// The functions that operands of casts are prepared with.
const PREPARING: [&str; 6] = [
    "as_decimal",
    "as_real",
    "as_time",
    "as_whole",
    "at_moment",
    "on_clock",
];

/// What was prepared for a cast by a call.
pub(super) fn prepared_operand(call: &mut Function) -> Option<&mut Expr> {
    let name = function_name(call)?;
    let FunctionArguments::List(list) = &mut call.args else {
        return None;
    };
    match list.args.first_mut() {
        Some(FunctionArg::Unnamed(FunctionArgExpr::Expr(operand)))
            if PREPARING.contains(&name.as_str()) =>
        {
            Some(operand)
        }
        _ => None,
    }
}

/// The operand of a cast between what has a zone and what has none, where the client's zone is not Greenwich.
fn moment(operand: &Expr, data_type: &DataType, zone: Option<&str>) -> Option<Expr> {
    let zone = zone?;
    let is_text = literal(operand).is_some();
    let name = match data_type {
        DataType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => {
            let is_now =
                literal(operand).is_some_and(|word| word.trim().eq_ignore_ascii_case("now"));
            if is_now {
                return None;
            }
            "at_moment"
        }
        DataType::Timestamp(..) | DataType::Date | DataType::Time(..) if !is_text => "on_clock",
        _ => return None,
    };
    Some(prepared(name, operand, vec![text(zone)]))
}

/// `extract(field FROM x)` of the client's clock.
pub(super) fn extract_on_clock(field: &DateTimeField, operand: &Expr, zone: &str) -> Option<Expr> {
    (!is_in_zone(operand, zone)).then(|| {
        let args = vec![
            text(field.to_string().to_lowercase()),
            in_zone(operand, zone),
        ];
        call("date_part", args)
    })
}

/// The same moment, marked with a zone.
pub(super) fn in_zone(operand: &Expr, zone: &str) -> Expr {
    match is_in_zone(operand, zone) {
        true => operand.clone(),
        false => call("in_zone", vec![operand.clone(), text(zone)]),
    }
}

/// Whether a moment is marked with a zone; what `date_trunc` cut off is marked with another one again.
fn is_in_zone(operand: &Expr, zone: &str) -> bool {
    let Expr::Function(function) = operand else {
        return false;
    };
    let is_call = function_name(function).is_some_and(|name| name == "in_zone");
    let args = plain_arguments(function).filter(|_| is_call);
    let marked = args.as_ref().and_then(|args| args.get(1)).and_then(literal);
    marked == Some(zone)
}

/// The digits of a number that is written out.
pub(crate) fn number_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => Some(digits.clone()),
            _ => None,
        },
        Expr::Nested(inner) => number_text(inner),
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => match number_text(expr)? {
            digits if digits.starts_with('-') => None,
            digits => Some(format!("-{digits}")),
        },
        _ => None,
    }
}

/// Fails for the text of a number that the type, if it is one of floats, cannot hold.
pub(super) fn refuse_infinite_text(text: &Expr, data_type: &DataType) -> Result<()> {
    match is_float(data_type) {
        true => refuse_infinite(text, data_type),
        false => Ok(()),
    }
}

/// Fails for a number that no float can hold.
pub(super) fn refuse_infinite(expr: &Expr, data_type: &DataType) -> Result<()> {
    let digits = number_text(expr).or_else(|| literal(expr).map(|text| text.trim().to_owned()));
    let Some(digits) = digits.filter(|digits| digits.bytes().any(|b| b.is_ascii_digit())) else {
        return Ok(());
    };
    let (is_infinite, name) = match data_type {
        DataType::Real | DataType::Float4 => {
            (digits.parse::<f32>().is_ok_and(f32::is_infinite), "real")
        }
        _ => (
            digits.parse::<f64>().is_ok_and(f64::is_infinite),
            "double precision",
        ),
    };
    match is_infinite {
        true => {
            let message = format!("\"{digits}\" is out of range for type {name}");
            Err(Error::invalid("22003", message, None))
        }
        false => Ok(()),
    }
}

fn is_float(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::Real
            | DataType::Float4
            | DataType::Float8
            | DataType::Float64
            | DataType::Double(_)
            | DataType::DoublePrecision
    )
}

pub(super) fn is_whole(data_type: &DataType) -> bool {
    matches!(
        data_type,
        DataType::TinyInt(_)
            | DataType::SmallInt(_)
            | DataType::Int2(_)
            | DataType::Int(_)
            | DataType::Int4(_)
            | DataType::Integer(_)
            | DataType::BigInt(_)
            | DataType::Int8(_)
            | DataType::Int16
            | DataType::Int32
            | DataType::Int64
    )
}

/// Precision and scale of a decimal type that fits 38 digits.
fn decimal(data_type: &DataType) -> Option<(u64, u64)> {
    let (DataType::Numeric(info) | DataType::Decimal(info) | DataType::Dec(info)) = data_type
    else {
        return None;
    };
    let found = match info {
        ExactNumberInfo::None => (38, 10),
        ExactNumberInfo::Precision(precision) => (*precision, 0),
        ExactNumberInfo::PrecisionAndScale(precision, scale) => {
            (*precision, u64::try_from(*scale).ok()?)
        }
    };
    (found.0 <= 38).then_some(found)
}
