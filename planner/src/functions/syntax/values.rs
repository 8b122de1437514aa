//! Values beside one another: `VALUES ('{"a":1}'::jsonb), ('{}'), (NULL)`, `ARRAY[interval '1 day', '2 hours']`.
//!
//! In and out: a query, an array. A literal, a parameter and NULL are of the type to which another row's value is cast in their
//! place, a literal of that which another value says that it has; to the planner they would be texts, which it does not mix
//! with these. The rows of an INSERT take the types of columns instead.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, DataType, Expr, Query, SetExpr, TimezoneInfo, Value,
};

use super::unnest::names_columns;
use super::{cast_to, function_name, literal};
use crate::functions::addresses::address_of_type;
use crate::functions::enums::enum_of_type;
use crate::functions::types::element_type;
use crate::functions::value_marks;

/// Functions without arguments that give a moment.
const NOW: [&str; 7] = [
    "now",
    "current_timestamp",
    "current_date",
    "localtimestamp",
    "transaction_timestamp",
    "statement_timestamp",
    "clock_timestamp",
];

/// Casts such values of a query. `is_source`: it gives the rows of an INSERT.
pub(super) fn rewrite(query: &mut Query, is_source: bool) {
    let SetExpr::Values(values) = query.body.as_mut() else {
        return;
    };
    let width = values.rows.first().map_or(0, |row| row.content.len());
    for idx in 0..width {
        let cells = values.rows.iter_mut();
        let mut cells: Vec<&mut Expr> = cells.filter_map(|row| row.content.get_mut(idx)).collect();
        let marked = cells.iter().find_map(|cell| marked_cast(cell)).cloned();
        if let Some(data_type) = marked {
            for cell in cells.into_iter().filter(|cell| is_open(cell)) {
                *cell = cast_to(cell.clone(), data_type.clone());
            }
        } else if !is_source {
            alike(&mut cells);
            beside_columns(&mut cells);
        }
    }
    if !is_source && values.rows.len() > 1 {
        let cells = values.rows.iter_mut().flat_map(|row| &mut row.content);
        cells.for_each(value_marks::mark);
    }
}

/// Casts the texts among the elements of an array that is written out.
pub(super) fn elements(expr: &mut Expr) {
    if let Expr::Array(array) = expr {
        let mut elements: Vec<&mut Expr> = array.elem.iter_mut().collect();
        alike(&mut elements);
    }
}

/// Gives texts the type that another value beside them says that it has.
fn alike(values: &mut [&mut Expr]) {
    if !values.iter().any(|value| literal(value).is_some()) {
        return;
    }
    let told = values.iter().filter_map(|value| told(value));
    let Some(data_type) = told.max_by_key(moment) else {
        return;
    };
    for value in values.iter_mut().filter(|value| literal(value).is_some()) {
        **value = cast_to(value.clone(), data_type.clone());
    }
}

/// Has texts read as what a column of an outer row is that stands among them, or a moment of the statement.
fn beside_columns(cells: &mut [&mut Expr]) {
    let is_now = |cell: &Expr| {
        let Expr::Function(function) = cell else {
            return false;
        };
        function_name(function).is_some_and(|name| NOW.contains(&name.as_str()))
    };
    let mut others = cells.iter();
    let Some(other) = others.find(|cell| names_columns(cell) || is_now(cell)) else {
        return;
    };
    let other: Expr = (**other).clone();
    for cell in cells.iter_mut().filter(|cell| literal(cell).is_some()) {
        value_marks::mark_beside(cell, &other);
    }
}

/// The place of a type of moments among those that widen into one another.
fn moment(data_type: &DataType) -> usize {
    match data_type {
        DataType::Timestamp(_, TimezoneInfo::Tz | TimezoneInfo::WithTimeZone) => 2,
        DataType::Timestamp(..) => 1,
        _ => 0,
    }
}

/// The type of values that say that they are moments of several types, which is that of all together.
pub(super) fn common_moment(values: &[&Expr]) -> Option<DataType> {
    let told = values.iter().filter_map(|value| told(value));
    let moments = told.filter(|told| matches!(told, DataType::Date | DataType::Timestamp(..)));
    let moments: Vec<DataType> = moments.collect();
    let widest = moments.iter().max_by_key(|told| moment(told))?;
    let differ = moments.iter().any(|told| moment(told) != moment(widest));
    differ.then(|| widest.clone())
}

/// The type that a value says that it has, of those that the planner does not mix with texts.
fn told(value: &Expr) -> Option<DataType> {
    let of = |data_type: &DataType| {
        let is_unlike_texts = matches!(
            data_type,
            DataType::Date
                | DataType::Time(..)
                | DataType::Timestamp(..)
                | DataType::Interval { .. }
                | DataType::Boolean
                | DataType::Bool
                | DataType::Bytea
                | DataType::Array(_)
        );
        is_unlike_texts.then(|| data_type.clone())
    };
    match value {
        Expr::Nested(inner) => told(inner),
        Expr::Cast { data_type, .. } => of(data_type),
        Expr::TypedString(typed) => of(&typed.data_type),
        Expr::Interval(_) => Some(DataType::Interval {
            fields: None,
            precision: None,
        }),
        Expr::Value(value) if matches!(value.value, Value::Boolean(_)) => Some(DataType::Boolean),
        Expr::Array(array) => {
            let element = array.elem.iter().find_map(element)?;
            let element = ArrayElemTypeDef::SquareBracket(Box::new(element), None);
            Some(DataType::Array(element))
        }
        _ => None,
    }
}

/// The type of an array's elements that one of them tells.
fn element(expr: &Expr) -> Option<DataType> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(_) => Some(DataType::Text),
            Value::Number(digits, _) if digits.parse::<i32>().is_ok() => {
                Some(DataType::Integer(None))
            }
            Value::Number(digits, _) if digits.parse::<i64>().is_ok() => {
                Some(DataType::BigInt(None))
            }
            Value::Boolean(_) => Some(DataType::Boolean),
            _ => None,
        },
        Expr::Cast { data_type, .. } => Some(data_type.clone()),
        expr => told(expr),
    }
}

/// The type of a cast to one that Arrow has as text, or to arrays of such.
fn marked_cast(expr: &Expr) -> Option<&DataType> {
    match expr {
        Expr::Cast { data_type, .. } => {
            let (element, _) = element_type(data_type);
            let is_marked = matches!(element, DataType::JSON | DataType::JSONB | DataType::Uuid);
            let is_own = address_of_type(element).is_some() || enum_of_type(element).is_some();
            (is_marked || is_own).then_some(data_type)
        }
        _ => None,
    }
}

fn is_open(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(
        value.value,
        Value::SingleQuotedString(_) | Value::Null | Value::Placeholder(_)
    ))
}
