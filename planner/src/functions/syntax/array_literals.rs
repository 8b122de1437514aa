//! Texts of arrays with their type: `'{{1,2},{3,4}}'::int[]`, and casts to arrays of types that are kept as text.
//!
//! In: the operand and the type of a cast; out: an array of its items, each cast, or a call of the function that reads such
//! items. PostgreSQL's `int[]` and `int[][]` are one type: how deep the braces go decides.

use datafusion::sql::sqlparser::ast::{Array, ArrayElemTypeDef, CastKind, DataType, Expr, Value};

use super::{call, cast_to, casts, literal, text};
use crate::error::{Error, Result};
use crate::functions::addresses::{address_of_type, reader_of};
use crate::functions::enums::enum_of_type;
use crate::functions::types::element_type;
use crate::functions::{ArrayItem, READ_ENUM, READ_UUID, split_array};

/// The cast as an array; `None`: the planner reads it.
pub(super) fn cast(
    inner: &Expr,
    data_type: &DataType,
    cast_item: &dyn Fn(Expr, &DataType) -> Result<Expr>,
) -> Result<Option<Expr>> {
    let (element, n_dimensions) = element_type(data_type);
    if n_dimensions == 0 {
        return Ok(None);
    }
    if let Some(word) = literal(inner)
        && let Some(array) = array_literal(word, element, cast_item)?
    {
        return match shape(&array) {
            Some(_) => Ok(Some(array)),
            None => {
                let message = format!("malformed array literal: \"{word}\"");
                let hint = "Multidimensional arrays must have sub-arrays with matching dimensions.";
                Err(Error::invalid("22P02", message, Some(hint)))
            }
        };
    }
    if let Expr::Array(array) = inner
        && casts::is_whole(element)
        && !array.elem.is_empty()
    {
        return whole_items(array, element).map(Some);
    }
    if let Expr::Array(array) = inner
        && casts_items(array, element)
    {
        return items_cast(array, element, cast_item).map(Some);
    }
    // An array that is written out has its own dimensions, an empty one those of any type.
    let n_found = match inner {
        Expr::Array(array) if !array.elem.is_empty() => {
            shape(inner).map_or(n_dimensions, |shape| shape.len())
        }
        _ => n_dimensions,
    };
    let arrays_of = |element: DataType| {
        let array = |item| DataType::Array(ArrayElemTypeDef::SquareBracket(Box::new(item), None));
        (0..n_found).fold(element, |item, _| array(item))
    };
    let told = enum_of_type(element).map(|known| text(known.to_text()));
    let address = address_of_type(element).map(reader_of);
    let reader = match element {
        DataType::JSON => "json_in",
        DataType::JSONB => "jsonb_in",
        DataType::Uuid => READ_UUID,
        DataType::Custom(..) if told.is_some() => READ_ENUM,
        _ => match address {
            Some(reader) => reader,
            None if n_found == n_dimensions => return Ok(None),
            None => return Ok(Some(cast_to(inner.clone(), arrays_of(element.clone())))),
        },
    };
    let texts = cast_to(inner.clone(), arrays_of(DataType::Text));
    let args = std::iter::once(texts).chain(told);
    Ok(Some(call(reader, args.collect())))
}

/// `ARRAY[1.5, x]::int[]`: each item becomes a whole number as it does alone.
fn whole_items(array: &Array, element: &DataType) -> Result<Expr> {
    let items = array.elem.iter().map(|item| match item {
        Expr::Array(inner) if !inner.elem.is_empty() => whole_items(inner, element),
        item => {
            let item = cast_to(item.clone(), element.clone());
            Ok(casts::fitted(&item, None)?.unwrap_or(item))
        }
    });
    Ok(Expr::Array(Array {
        elem: items.collect::<Result<_>>()?,
        named: array.named,
    }))
}

/// Whether an array that is written out is cast item by item, as PostgreSQL does with all: Arrow's own cast of an array
/// reads fewer forms of these types, and bytes otherwise.
fn casts_items(array: &Array, element: &DataType) -> bool {
    match element {
        DataType::Interval { .. } => !array.elem.is_empty(),
        DataType::Date
        | DataType::Timestamp(..)
        | DataType::Decimal(_)
        | DataType::Numeric(_)
        | DataType::Dec(_)
        | DataType::Bytea => has_texts_alone(array),
        _ => false,
    }
}

fn has_texts_alone(array: &Array) -> bool {
    let is_text = |item: &Expr| match item {
        Expr::Array(inner) => has_texts_alone(inner),
        item => is_null(item) || literal(item).is_some(),
    };
    !array.elem.is_empty() && array.elem.iter().all(is_text)
}

fn is_null(item: &Expr) -> bool {
    matches!(item, Expr::Value(value) if matches!(value.value, Value::Null))
}

/// `ARRAY['15:00', x]::interval[]`: each item is read as it is alone.
fn items_cast(
    array: &Array,
    element: &DataType,
    cast_item: &dyn Fn(Expr, &DataType) -> Result<Expr>,
) -> Result<Expr> {
    let items = array.elem.iter().map(|item| match item {
        Expr::Array(inner) if !inner.elem.is_empty() => items_cast(inner, element, cast_item),
        item if is_null(item) => Ok(cast_to(item.clone(), element.clone())),
        item => cast_item(item.clone(), element),
    });
    Ok(Expr::Array(Array {
        elem: items.collect::<Result<_>>()?,
        named: array.named,
    }))
}

/// `'{1,2}'` is `ARRAY['1', '2']`, each cast; `None` of an empty array, which has no items to tell its type, and of a
/// malformed one.
fn array_literal(
    word: &str,
    element: &DataType,
    cast_item: &dyn Fn(Expr, &DataType) -> Result<Expr>,
) -> Result<Option<Expr>> {
    let Some(items) = split_array(word).filter(|items| !items.is_empty()) else {
        return Ok(None);
    };
    let mut elem = Vec::with_capacity(items.len());
    for item in items {
        let item = match item {
            ArrayItem::Null => cast_to(Expr::Value(Value::Null.with_empty_span()), element.clone()),
            ArrayItem::Value(item) => cast_item(text(item), element)?,
            ArrayItem::Array(word) => match array_literal(&word, element, cast_item)? {
                Some(array) => array,
                None => return Ok(None),
            },
        };
        elem.push(item);
    }
    Ok(Some(Expr::Array(Array { elem, named: true })))
}

/// The lengths of an array's dimensions; `None` if its parts differ.
fn shape(array: &Expr) -> Option<Vec<usize>> {
    let Expr::Array(array) = array else {
        return Some(Vec::new());
    };
    let mut shapes = array.elem.iter().map(shape);
    let first = shapes.next().unwrap_or(Some(Vec::new()))?;
    let are_alike = shapes.all(|shape| shape.as_ref() == Some(&first));
    are_alike.then(|| std::iter::once(array.elem.len()).chain(first).collect())
}

/// Fails for `ARRAY[[1,2],[3]]`.
pub(super) fn check(expr: &Expr) -> Result<()> {
    let Expr::Array(array) = expr else {
        return Ok(());
    };
    let are_arrays = array.elem.iter().all(|item| matches!(item, Expr::Array(_)));
    if !are_arrays || shape(expr).is_some() {
        return Ok(());
    }
    let message = "multidimensional arrays must have array expressions with matching dimensions";
    Err(Error::invalid("2202E", message, None))
}

/// Whether an array is written with more than one dimension.
pub(super) fn is_nested(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_nested(inner),
        Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            data_type,
            ..
        } => {
            let is_array = element_type(data_type).1 > 0;
            let is_nested_text = |word: &str| word.trim_start().starts_with("{{");
            is_array && (is_nested(expr) || literal(expr).is_some_and(is_nested_text))
        }
        Expr::Array(array) => array.elem.iter().any(|item| match item {
            Expr::Array(_) => true,
            item => matches!(item, Expr::Cast { .. }) && is_nested(item),
        }),
        _ => false,
    }
}
