//! Operators and calls of PostgreSQL about arrays, counts and parts of texts.
//!
//! In: one expression whose parts were rewritten before; out: what means the same to the planner.

use datafusion::sql::sqlparser::ast::{
    Array, BinaryOperator, DataType, Expr, Function, TableFactor, UnaryOperator, Value,
};

use super::array_literals::is_nested;
use super::calls::{percentile_disc, percentiles, with_arguments};
use super::parameters::is_open;
use super::{call, cast_to, function_name, is_parameter, literal, plain_arguments, slices, text};
use crate::functions::{EXTENT, FLAT};

/// The same in the planner's words; `None` for any other expression.
pub(super) fn form(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr,
        } => negative_base(expr),
        Expr::BinaryOp { left, op, right } => operator(left, op, right),
        Expr::CompoundFieldAccess { root, access_chain } => slices::bounded(root, access_chain),
        Expr::Substring { .. } => wider_substring(expr),
        Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } => {
            let mut over_all = expr.clone();
            if let Expr::AnyOp { right, .. } | Expr::AllOp { right, .. } = &mut over_all
                && is_nested(right)
            {
                **right = flat(right);
            }
            match expr {
                Expr::AnyOp { .. } if may_have_nulls(right) => Some(or_unknown(over_all, right)),
                _ => is_nested(right).then_some(over_all),
            }
        }
        Expr::Function(function) => called(function),
        _ => None,
    }
}

/// Whether NULLs may be among the elements of what is no subquery.
fn may_have_nulls(array: &Expr) -> bool {
    let is_known = |item: &Expr| match item {
        Expr::Value(value) => !matches!(value.value, Value::Null),
        item => is_parameter(item),
    };
    match array {
        Expr::Array(array) => !array.elem.iter().all(is_known),
        Expr::Subquery(_) => false,
        array => literal(array).is_none(),
    }
}

/// `x = ANY (a) OR array_nulls(a)`: what is not found among NULLs is unknown, which the planner's own comparison does not say.
fn or_unknown(any: Expr, array: &Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(any),
        op: BinaryOperator::Or,
        right: Box::new(call("array_nulls", vec![array.clone()])),
    }))
}

fn operator(left: &Expr, op: &BinaryOperator, right: &Expr) -> Option<Expr> {
    (*op == BinaryOperator::PGStartsWith)
        .then(|| call("starts_with", vec![left.clone(), right.clone()]))
}

/// `-2 ^ 2` is `(-2) ^ 2`: in PostgreSQL a sign binds closer than a power.
fn negative_base(operand: &Expr) -> Option<Expr> {
    let Expr::BinaryOp {
        left,
        op: BinaryOperator::PGExp,
        right,
    } = operand
    else {
        return None;
    };
    let base = negative_base(left).unwrap_or_else(|| Expr::UnaryOp {
        op: UnaryOperator::Minus,
        expr: left.clone(),
    });
    Some(Expr::BinaryOp {
        left: Box::new(base),
        op: BinaryOperator::PGExp,
        right: right.clone(),
    })
}

/// `substring(x from $1 for $2)` with parameters that are small integers.
fn wider_substring(expr: &Expr) -> Option<Expr> {
    let mut wider = expr.clone();
    let Expr::Substring {
        substring_from,
        substring_for,
        ..
    } = &mut wider
    else {
        return None;
    };
    let parts = substring_from.iter_mut().chain(substring_for);
    let widened = parts.map(|part| widen(part)).filter(|wider| *wider);
    (widened.count() > 0).then_some(wider)
}

fn called(function: &Function) -> Option<Expr> {
    let name = function_name(function)?;
    if let Some(data_type) = count_type(&name, function) {
        return Some(cast_to(Expr::Function(function.clone()), data_type));
    }
    match name.as_str() {
        // BigQuery's function, of one argument, is another.
        "array_length" => match plain_arguments(function)? {
            args if args.len() == 2 => Some(call(EXTENT, args)),
            _ => None,
        },
        "unnest" => match plain_arguments(function)?.as_slice() {
            [array] if is_nested(array) => Some(call("unnest", vec![flat(array)])),
            _ => None,
        },
        "array_fill" => filled(&plain_arguments(function)?),
        // What is joined with no array stays as it is.
        "array_cat" => match plain_arguments(function)?.as_slice() {
            [array, nothing] | [nothing, array] if is_null(nothing) && !is_null(array) => {
                Some(array.clone())
            }
            // The operator gives a parameter the type of the array beside it.
            [left, right] if is_open(left) != is_open(right) => {
                Some(Expr::Nested(Box::new(Expr::BinaryOp {
                    left: Box::new(left.clone()),
                    op: BinaryOperator::StringConcat,
                    right: Box::new(right.clone()),
                })))
            }
            _ => None,
        },
        "array_dims" => plain_arguments(function).map(|args| call("array_bounds", args)),
        "array_ndims" => plain_arguments(function).map(|args| call("array_depth", args)),
        "array_remove" | "array_replace" => {
            let args = plain_arguments(function)?;
            match args.as_slice() {
                [array, item] if name == "array_remove" && is_null(item) => {
                    Some(call("array_without_nulls", vec![array.clone()]))
                }
                _ => Some(call(&format!("{name}_all"), args)),
            }
        }
        "encode" => match plain_arguments(function)?.as_slice() {
            [value, format] => encoded(value, literal(format)?),
            _ => None,
        },
        "decode" => match plain_arguments(function)?.as_slice() {
            [value, format] if literal(format).is_some_and(is_base64) => {
                let digits = call("base64_digits", vec![value.clone()]);
                Some(call("decode", vec![digits, format.clone()]))
            }
            _ => None,
        },
        "percentile_disc" => percentiles(function, percentile_disc),
        name if TEXT_PARTS.contains(&name) => {
            let mut args = plain_arguments(function)?;
            let widened = args.iter_mut().skip(1).map(widen).filter(|wider| *wider);
            (widened.count() > 0).then(|| {
                let mut function = function.clone();
                with_arguments(&mut function, args);
                Expr::Function(function)
            })
        }
        _ => None,
    }
}

fn is_null(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Null),
        Expr::Cast { expr, .. } | Expr::Nested(expr) => is_null(expr),
        _ => false,
    }
}

/// All elements of an array of several dimensions.
fn flat(array: &Expr) -> Expr {
    call(FLAT, vec![array.clone()])
}

/// `FROM UNNEST(ARRAY[[1,2],[3,4]])` has a row for each element.
pub(super) fn flatten(factor: &mut TableFactor) {
    if let TableFactor::UNNEST { array_exprs, .. } = factor {
        let nested = array_exprs.iter_mut().filter(|array| is_nested(array));
        nested.for_each(|array| *array = flat(array));
    }
}

/// `array_fill(x, ARRAY[2, 3])` is `array_fill(array_fill(x, ARRAY[3]), ARRAY[2])`.
fn filled(args: &[Expr]) -> Option<Expr> {
    let [value, Expr::Array(lengths)] = args else {
        return None;
    };
    let fill = |part: Expr, length: &Expr| {
        let length = Array {
            elem: vec![length.clone()],
            named: true,
        };
        call("array_fill", vec![part, Expr::Array(length)])
    };
    let is_several = lengths.elem.len() > 1;
    is_several.then(|| lengths.elem.iter().rev().fold(value.clone(), fill))
}

/// Functions of a text whose counts and places the planner takes as bigint alone.
const TEXT_PARTS: [&str; 8] = [
    "left",
    "lpad",
    "repeat",
    "right",
    "rpad",
    "split_part",
    "substr",
    "substring",
];

/// The type of counts for which the planner has unsigned numbers.
fn count_type(name: &str, function: &Function) -> Option<DataType> {
    match (name, function.over.is_some()) {
        ("rank" | "dense_rank" | "row_number", true) => Some(DataType::BigInt(None)),
        ("ntile", true) => Some(DataType::Integer(None)),
        ("cardinality" | "array_position", false) => Some(DataType::Integer(None)),
        _ => None,
    }
}

/// Makes a parameter that the client declared as a small integer a bigint; whether it was one.
fn widen(expr: &mut Expr) -> bool {
    let is_small = matches!(expr, Expr::Cast { data_type, .. }
        if matches!(data_type, DataType::SmallInt(_) | DataType::Integer(_)));
    let widens = is_small && is_parameter(expr);
    if widens {
        *expr = cast_to(expr.clone(), DataType::BigInt(None));
    }
    widens
}

/// Bytes as a text, of which a literal means bytes; lines of base64 have an end.
fn encoded(value: &Expr, format: &str) -> Option<Expr> {
    let bytes = literal(value).map(|_| cast_to(value.clone(), DataType::Bytea));
    if !is_base64(format) {
        return Some(call("encode", vec![bytes?, text(format)]));
    }
    let bytes = bytes.unwrap_or_else(|| value.clone());
    let digits = call("encode", vec![bytes, text("base64pad")]);
    Some(call("base64_lines", vec![digits]))
}

fn is_base64(format: &str) -> bool {
    format.eq_ignore_ascii_case("base64")
}
