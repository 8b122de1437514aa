//! Calls whose last arguments are an array: `concat_ws(',', VARIADIC names)`, `format('%s %s', VARIADIC ARRAY['a', 'b'])`.
//!
//! In: a call as it was read; out: the elements of a literal as arguments, and else the function's form that takes an array. The
//! elements of all dimensions are taken one after another.

use auspex_sql::variadic_array;
use datafusion::sql::sqlparser::ast::{
    Array, ArrayElemTypeDef, BinaryOperator, DataType, Expr, Value,
};

use super::values::common_moment;
use super::{call, cast_to, function_name, literal, plain_arguments, text};
use crate::error::{Error, Result};
use crate::functions::FLAT;

/// The functions that take any number of arguments, and how many others stand before these.
const FUNCTIONS: [(&str, usize); 13] = [
    ("concat", 0),
    ("concat_ws", 1),
    ("format", 1),
    ("json_build_array", 0),
    ("json_build_object", 0),
    ("json_extract_path", 1),
    ("json_extract_path_text", 1),
    ("jsonb_build_array", 0),
    ("jsonb_build_object", 0),
    ("jsonb_extract_path", 1),
    ("jsonb_extract_path_text", 1),
    ("num_nonnulls", 0),
    ("num_nulls", 0),
];

/// The form of `format` that takes an array of texts.
const FORMAT: &str = "format_of";

/// Spells such a call.
pub(super) fn spell(expr: &mut Expr) -> Result<()> {
    if variadic_array(expr).is_some() {
        let message = "syntax error at or near \"VARIADIC\"";
        return Err(Error::invalid("42601", message, None));
    }
    let Expr::Function(function) = &*expr else {
        return Ok(());
    };
    let Some(mut before) = plain_arguments(function) else {
        return Ok(());
    };
    let Some(array) = before.last().and_then(variadic_array).cloned() else {
        return Ok(());
    };
    before.pop();
    let known = function_name(function).filter(|name| {
        let mut known = FUNCTIONS.iter();
        known.any(|(known, n_before)| *known == name.as_str() && *n_before == before.len())
    });
    let Some(name) = known else {
        let message = format!("function {} takes no VARIADIC argument here", function.name);
        return Err(Error::invalid("42883", message, None));
    };
    *expr = match spread(&array) {
        Some(elements) => call(&name, before.into_iter().chain(elements).collect()),
        None => over_array(&name, before.pop(), array)?,
    };
    Ok(())
}

/// The elements of a literal that have one type each by itself, and moments in that which they have together, as a date beside a
/// time stamp. Others take that of all together.
fn spread(array: &Expr) -> Option<Vec<Expr>> {
    match array {
        Expr::Nested(inner) => spread(inner),
        Expr::Array(Array { elem, .. }) => {
            let elements = flattened(elem)?;
            let is_null =
                |expr: &Expr| matches!(expr, Expr::Value(value) if value.value == Value::Null);
            let others = elements.iter().copied().filter(|expr| !is_null(expr));
            let (texts, others): (Vec<&Expr>, Vec<&Expr>) =
                others.partition(|expr| literal(expr).is_some());
            let are_alike = texts.is_empty() || others.is_empty();
            if !are_alike || elements.is_empty() {
                return None;
            }
            let moment = common_moment(&elements);
            let elements = elements.into_iter().map(|element| match &moment {
                Some(moment) => cast_to(element.clone(), moment.clone()),
                None => element.clone(),
            });
            Some(elements.collect())
        }
        Expr::Cast {
            expr,
            data_type: DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)),
            ..
        } => {
            let elements = spread(expr)?.into_iter();
            let elements = elements.map(|element| cast_to(element, innermost(item).clone()));
            Some(elements.collect())
        }
        _ => None,
    }
}

/// The elements of all dimensions; `None`: these are not alike.
fn flattened(elements: &[Expr]) -> Option<Vec<&Expr>> {
    let are_arrays = matches!(elements.first(), Some(Expr::Array(_)));
    let mut flat = Vec::with_capacity(elements.len());
    let mut length = None;
    for element in elements {
        match element {
            Expr::Array(inner) if are_arrays => {
                let inner = flattened(&inner.elem)?;
                if *length.get_or_insert(inner.len()) != inner.len() {
                    return None;
                }
                flat.extend(inner);
            }
            Expr::Array(_) => return None,
            _ if are_arrays => return None,
            element => flat.push(element),
        }
    }
    Some(flat)
}

/// The type of the elements of arrays of any number of dimensions.
fn innermost(item: &DataType) -> &DataType {
    match item {
        DataType::Array(ArrayElemTypeDef::SquareBracket(inner, _)) => innermost(inner),
        item => item,
    }
}

/// An array with its elements in one dimension.
fn flat(array: Expr) -> Expr {
    call(FLAT, vec![array])
}

/// The same of an array as a whole.
fn over_array(name: &str, first: Option<Expr>, array: Expr) -> Result<Expr> {
    let first = first.unwrap_or_else(|| text(""));
    if literal(&array).is_some() && !name.contains("extract_path") {
        let message = "VARIADIC argument must be an array";
        return Err(Error::invalid("42804", message, None));
    }
    Ok(match name {
        "concat" | "concat_ws" => call("array_to_string", vec![array, first]),
        "format" => {
            let item = Box::new(DataType::Text);
            let texts = DataType::Array(ArrayElemTypeDef::SquareBracket(item, None));
            call(FORMAT, vec![first, cast_to(array, texts)])
        }
        "json_build_array" => cast_to(call("to_jsonb", vec![flat(array)]), DataType::JSON),
        "jsonb_build_array" => call("to_jsonb", vec![flat(array)]),
        "num_nonnulls" => n_values(flat(array)),
        "num_nulls" => {
            let array = flat(array);
            let n_elements = call("cardinality", vec![array.clone()]);
            operation(n_elements, BinaryOperator::Minus, n_values(array))
        }
        "json_extract_path"
        | "json_extract_path_text"
        | "jsonb_extract_path"
        | "jsonb_extract_path_text" => {
            let operator = match name.ends_with("_text") {
                true => BinaryOperator::HashLongArrow,
                false => BinaryOperator::HashArrow,
            };
            let data_type = match name.starts_with("jsonb") {
                true => DataType::JSONB,
                false => DataType::JSON,
            };
            let document = match literal(&first) {
                Some(_) => cast_to(first, data_type),
                None => first,
            };
            operation(document, operator, array)
        }
        _ => {
            return Err(Error::Unsupported {
                what: format!("{name} of a VARIADIC argument that is no list of elements"),
                hint: Some("Write VARIADIC ARRAY['name', 'value'].".to_owned()),
            });
        }
    })
}

/// How many elements of an array are not NULL.
fn n_values(array: Expr) -> Expr {
    let null = Expr::Value(Value::Null.with_empty_span());
    call("cardinality", vec![call("array_remove", vec![array, null])])
}

fn operation(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::Nested(Box::new(Expr::BinaryOp {
        left: Box::new(Expr::Nested(Box::new(left))),
        op,
        right: Box::new(Expr::Nested(Box::new(right))),
    }))
}
