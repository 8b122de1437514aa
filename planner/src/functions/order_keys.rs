//! What stands for values where Arrow compares them otherwise than PostgreSQL: the length of an interval, the place of a
//! jsonb among all, that of a label among those of its type, and arrays as texts, in which a NULL is the greatest element.
//! Places are numbers and texts, since windows order by no bytes.
//!
//! In: expressions of values, which their fields describe; out: those of their keys, which Arrow compares as they are.
//! Operators get keys when they are planned, all else when a statement is bound (`bind/value_order.rs`,
//! `bind/value_groups.rs`).

use std::sync::Arc;

use auspex_storage::{AddressKind, EnumType, JsonKind, marked_element};
use datafusion::arrow::array::{Array as _, ArrayRef, AsArray as _, StringArray};
use datafusion::arrow::compute::{SortOptions, cast};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, IntervalMonthDayNanoType};
use datafusion::arrow::row::{RowConverter, SortField};
use datafusion::common::ExprSchema;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr, ExprSchemable as _, Operator, binary_expr};
use datafusion::logical_expr_common::type_coercion::binary::comparison_coercion;
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::assigned_value::type_of;
use super::call::{Function, function};
use super::checked::Checked;
use super::dimensions::{in_place_of, map_elements, parts};
use super::moment::is_time;
use super::text_input::is_bytes;
use super::unknown::is_unknown;
use super::{addresses, enums, interval, json};
use crate::error::Error;

/// What stands for a value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Key {
    /// The length of an interval, the microseconds of a time of day.
    Length,
    /// The place of a jsonb.
    Json,
    /// The place of a label.
    Place(EnumType),
    /// An address as a text in the order of addresses.
    Address,
    /// Bytes as a text, since windows order by no bytes.
    Bytes,
    /// An array with such keys in the place of its elements.
    Elements(Box<Key>),
    /// Such an array, or one whose elements are compared as they are, as a text in the order of arrays.
    Array(Option<Box<Key>>),
}

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![array_key(), bytes_key()]
}

fn bytes_key() -> Function {
    function("bytes_key", &[1], DataType::Utf8, |call| {
        let values = cast(call.arg(0)?, &DataType::Binary)?;
        let keys = values.as_binary::<i32>().iter();
        let keys: StringArray = keys.map(|bytes| bytes.map(text_of_bytes)).collect();
        Ok(Arc::new(keys))
    })
}

fn array_key() -> Function {
    function("array_key", &[1], DataType::Utf8, |call| {
        keys_of_arrays(call.arg(0)?)
    })
}

/// Arrays come in the order of their elements, a shorter one before those that go on; a NULL array has no key.
fn keys_of_arrays(arrays: &ArrayRef) -> Result<ArrayRef> {
    let field = sort_field(arrays.data_type().clone());
    let rows = RowConverter::new(vec![field])?.convert_columns(&[Arc::clone(arrays)])?;
    let key = |row: usize| {
        let is_present = arrays.is_valid(row);
        is_present.then(|| text_of_bytes(rows.row(row).as_ref()))
    };
    let keys: StringArray = (0..arrays.len()).map(key).collect();
    Ok(Arc::new(keys))
}

/// A text in the order of bytes, which are its characters.
pub(super) fn text_of_bytes(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

/// Values of which Arrow compares such that are in PostgreSQL's order: of intervals their lengths, of arrays their texts.
/// Labels and jsonb, which their fields alone tell, have their keys before that.
pub(super) fn comparable(values: &ArrayRef) -> Result<ArrayRef> {
    let values = map_elements(values, &|elements| {
        let intervals = elements.as_primitive_opt::<IntervalMonthDayNanoType>();
        intervals.map_or_else(|| Ok(Arc::clone(elements)), interval::keys)
    })?;
    match values.data_type() {
        DataType::List(_) => keys_of_arrays(&values),
        _ => Ok(values),
    }
}

/// With NULLs last, also those among the elements.
fn sort_field(data_type: DataType) -> SortField {
    SortField::new_with_options(data_type, SortOptions::new(false, false))
}

/// The field of the elements of an array, or of a value that is none.
fn element_of(field: &Field) -> Field {
    let plain = || Field::new("", parts(field.data_type()).0.clone(), true);
    match field.data_type() {
        DataType::List(_) => marked_element(field).unwrap_or_else(plain),
        _ => field.clone(),
    }
}

fn of_element(field: &Field) -> Option<Key> {
    if interval::is_interval(field.data_type()) {
        return Some(Key::Length);
    }
    match JsonKind::of(field) {
        Some(JsonKind::Jsonb) => Some(Key::Json),
        Some(JsonKind::Json) => None,
        None => match AddressKind::of(field) {
            Some(_) => Some(Key::Address),
            None => EnumType::of(field).map(Key::Place),
        },
    }
}

impl Key {
    /// By what values are ordered; `None`: as they are.
    pub(crate) fn of_order(field: &Field) -> Option<Key> {
        let element = of_element(&element_of(field));
        let DataType::List(_) = field.data_type() else {
            return element;
        };
        let of_elements = match &element {
            Some(element) => in_place_of(field.data_type(), &element.data_type()),
            None => field.data_type().clone(),
        };
        RowConverter::supports_fields(&[sort_field(of_elements)])
            .then(|| Key::Array(element.map(Box::new)))
    }

    /// By what the rows of windows are ordered, which Arrow does by fewer types than others; `None`: by the values.
    pub(crate) fn of_window(field: &Field) -> Option<Key> {
        match field.data_type() {
            bytes if is_bytes(bytes) => Some(Key::Bytes),
            time if is_time(time) => Some(Key::Length),
            _ => Key::of_order(field),
        }
    }

    /// By what values are told apart; `None`: as they are. Labels and addresses are equal if they are the same text.
    pub(crate) fn of_equality(field: &Field) -> Option<Key> {
        let element = of_element(&element_of(field))?;
        match (field.data_type(), element) {
            (_, Key::Place(_) | Key::Address) => None,
            (DataType::List(_), element) => Some(Key::Elements(Box::new(element))),
            (_, element) => Some(element),
        }
    }

    /// The same of the elements of an array, or of a value that is none.
    pub(crate) fn of_elements(field: &Field) -> Option<Key> {
        of_element(&element_of(field))
    }

    /// What the keys of values that are no arrays are.
    fn data_type(&self) -> DataType {
        match self {
            Key::Length => interval::KEY,
            Key::Place(_) => DataType::Int32,
            Key::Json | Key::Address | Key::Bytes | Key::Elements(_) | Key::Array(_) => {
                DataType::Utf8
            }
        }
    }

    /// The key of a value; of an array, those of its elements, but for `Array`.
    pub(crate) fn of(&self, value: Expr) -> Expr {
        match self {
            Key::Length => interval::key_function().build().call(vec![value]),
            Key::Json => json::key_function().build().call(vec![value]),
            Key::Place(known) => enums::position_of(value, known),
            Key::Address => addresses::key_of(value),
            Key::Bytes => bytes_key().build().call(vec![value]),
            Key::Elements(element) => element.of(value),
            Key::Array(element) => {
                let value = match element {
                    Some(element) => element.of(value),
                    None => value,
                };
                array_key().build().call(vec![value])
            }
        }
    }

    /// The value of a key, where that tells it: the label of a place, an address.
    pub(crate) fn value_of(&self, key: Expr) -> Option<Expr> {
        match self {
            Key::Place(known) => Some(enums::label_of(key, known)),
            Key::Address => Some(addresses::of_key(key)),
            _ => None,
        }
    }
}

/// Which key values of a field have.
pub(crate) type KeyOf = fn(&Field) -> Option<Key>;

/// The field of an expression; `None` of a parameter, which has no type yet.
fn field_of(expr: &Expr, schema: &dyn ExprSchema) -> Option<FieldRef> {
    // A long sum would be asked for its type again and again.
    match Checked::type_of(expr) {
        Some(known) => Some(Arc::new(Field::new("", known, true))),
        None => Some(expr.to_field(schema).ok()?.1),
    }
}

/// The key of an expression.
pub(crate) fn key_of(expr: &Expr, of: KeyOf, schema: &dyn ExprSchema) -> Option<Key> {
    of(field_of(expr, schema)?.as_ref())
}

/// An expression as its key, if it has one.
pub(crate) fn keyed(expr: &Expr, of: KeyOf, schema: &dyn ExprSchema) -> Option<Expr> {
    Some(key_of(expr, of, schema)?.of(expr.clone()))
}

/// The keys of values of one type, which one of them at least tells; `None`: they are compared as they are.
pub(crate) fn keys_of(
    values: &[&Expr],
    of: KeyOf,
    schema: &dyn ExprSchema,
) -> Result<Option<(Key, Vec<Expr>)>> {
    let fields = values.iter().map(|value| field_of(value, schema));
    let fields: Vec<Option<FieldRef>> = fields.collect();
    let known = fields.iter().flatten();
    let found: Vec<Key> = known.filter_map(|field| of(field)).collect();
    // Texts in an array become labels beside an array of such.
    let is_told = |key: &&Key| **key != Key::Array(None);
    let Some(key) = found.iter().find(is_told).or(found.first()) else {
        return Ok(None);
    };
    let types: Vec<Option<&DataType>> = fields
        .iter()
        .map(|field| field.as_ref().map(|field| field.data_type()))
        .collect();
    let values = match key {
        Key::Length if !types.iter().flatten().all(|found| is_span(found)) => None,
        Key::Array(_) | Key::Elements(_) => of_one_type(values, &types, schema)?,
        _ => Some(values.iter().map(|value| (*value).clone()).collect()),
    };
    let keys = |values: Vec<Expr>| -> Vec<Expr> {
        let keys = values.into_iter().map(|value| key.of(value));
        keys.collect()
    };
    Ok(values.map(|values| (key.clone(), keys(values))))
}

/// Whether a value is an interval, or becomes one.
fn is_span(data_type: &DataType) -> bool {
    let is_text = data_type.is_string() || data_type.is_null();
    is_text || interval::is_interval(data_type) || is_time(data_type)
}

/// Arrays of the type that they have together; `None`: there is none.
fn of_one_type(
    values: &[&Expr],
    types: &[Option<&DataType>],
    schema: &dyn ExprSchema,
) -> Result<Option<Vec<Expr>>> {
    let is_array = |found: &&DataType| matches!(found, DataType::List(_) | DataType::Null);
    let types = types.iter().map(|found| found.filter(is_array));
    let Some(types) = types.collect::<Option<Vec<&DataType>>>() else {
        return Ok(None);
    };
    let mut arrays = types.into_iter().filter(|found| !found.is_null());
    let common = arrays.next().cloned().and_then(|first| {
        arrays.try_fold(first, |common, next| comparison_coercion(&common, next))
    });
    let Some(common) = common else {
        return Ok(None);
    };
    let values = values.iter();
    let values = values.map(|value| (*value).clone().cast_to(&common, schema));
    Ok(Some(values.collect::<Result<_>>()?))
}

/// Fails for operands of types that PostgreSQL does not compare: json with anything, jsonb with others than texts, which
/// are read as such, addresses with others than addresses.
pub(super) fn check(raw: &RawBinaryExpr, schema: &dyn ExprSchema) -> Result<()> {
    let operands = [&raw.left, &raw.right];
    let fields = operands.map(|operand| field_of(operand, schema));
    let kinds = fields.each_ref().map(|field| JsonKind::of(field.as_ref()?));
    let is_read = |field: &Option<FieldRef>| {
        let found = field.as_ref().map(|field| field.data_type());
        found.is_none_or(|found| found.is_string() || found.is_null())
    };
    let addresses = fields
        .each_ref()
        .map(|field| AddressKind::of(field.as_ref()?));
    let is_open = |idx: usize| {
        let known: Option<&FieldRef> = fields[idx].as_ref();
        is_unknown(operands[idx]) || known.is_none_or(|field| field.data_type().is_null())
    };
    let is_compared = match kinds {
        [None, None] => match addresses {
            [Some(_), None] => is_open(1),
            [None, Some(_)] => is_open(0),
            _ => true,
        },
        [Some(JsonKind::Json), _] | [_, Some(JsonKind::Json)] => false,
        _ => fields.iter().all(is_read),
    };
    if is_compared {
        return Ok(());
    }
    let names = [0, 1].map(|idx| match &fields[idx] {
        Some(field) if !is_unknown(operands[idx]) => type_of(field),
        _ => "unknown".to_owned(),
    });
    let op = match raw.op {
        BinaryOperator::Spaceship => "=".to_owned(),
        ref op => op.to_string(),
    };
    Err(no_operator(&names[0], &op, &names[1]))
}

/// The error that types have no such operator.
pub(crate) fn no_operator(left: &str, op: &str, right: &str) -> DataFusionError {
    let message = format!("operator does not exist: {left} {op} {right}");
    let hint = "No operator matches the given name and argument types. \
        You might need to add explicit type casts.";
    Error::invalid("42883", message, Some(hint)).into()
}

/// A comparison of keys; `None`: its operands are compared as they are.
pub(super) fn compared(
    left: &Expr,
    op: Operator,
    right: &Expr,
    schema: &dyn ExprSchema,
) -> Result<Option<Expr>> {
    use Operator::{Gt, GtEq, Lt, LtEq};
    let of: KeyOf = match op {
        Lt | LtEq | Gt | GtEq => Key::of_order,
        _ => Key::of_equality,
    };
    let keys = keys_of(&[left, right], of, schema)?;
    let keys = keys.map(|(_, keys)| <[Expr; 2]>::try_from(keys));
    Ok(match keys {
        Some(Ok([left, right])) => Some(binary_expr(left, op, right)),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::ListArray;
    use datafusion::arrow::datatypes::Int32Type;

    use super::*;

    #[test]
    fn nulls_are_the_greatest_elements_and_longer_arrays_are_greater() {
        let ascending = [
            Some(vec![]),
            Some(vec![Some(-1)]),
            Some(vec![Some(1)]),
            Some(vec![Some(1), Some(2)]),
            Some(vec![Some(1), Some(2), Some(0)]),
            Some(vec![Some(1), None]),
            Some(vec![None]),
            Some(vec![None, None]),
            None,
        ];
        let arrays = ListArray::from_iter_primitive::<Int32Type, _, _>(ascending);
        let keys = keys_of_arrays(&(Arc::new(arrays) as ArrayRef)).unwrap();
        let keys: Vec<Option<&str>> = keys.as_string::<i32>().iter().collect();
        assert_eq!(keys.last(), Some(&None));
        assert!(keys[..8].windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn fields_tell_how_values_are_compared() {
        let of = |data_type| Field::new("x", data_type, true);
        let jsonb = of(DataType::Utf8).with_metadata(JsonKind::Jsonb.marks());
        assert_eq!(Key::of_order(&jsonb), Some(Key::Json));
        assert_eq!(Key::of_equality(&of(DataType::Utf8)), None);
        let list = |item| DataType::new_list(item, true);
        let jsonbs = of(list(list(DataType::Utf8))).with_metadata(JsonKind::Jsonb.marks());
        let elements = Box::new(Key::Json);
        assert_eq!(
            Key::of_equality(&jsonbs),
            Some(Key::Elements(elements.clone()))
        );
        assert_eq!(Key::of_order(&jsonbs), Some(Key::Array(Some(elements))));
        let numbers = of(list(DataType::Int32));
        assert_eq!(Key::of_equality(&numbers), None);
        assert_eq!(Key::of_order(&numbers), Some(Key::Array(None)));
    }
}
