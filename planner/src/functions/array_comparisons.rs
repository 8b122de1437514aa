//! `x = ANY (array)`, `x <> ALL (array)` and their like, of values and elements of one type.
//!
//! In: a statement in its last form before it is planned, in which such comparisons become operators, so that the planner of
//! operators is told the types of both sides; out: the planner's own comparisons, with casts where the sides have several
//! types. A text without a type is read as a value of the other side's, and a numeric loses no digits.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_storage::JsonKind;
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::tree_node::TreeNode as _;
use datafusion::common::{ExprSchema, ScalarValue};
use datafusion::error::Result;
use datafusion::functions_nested::expr_fn::{array_has, array_position, cardinality};
use datafusion::logical_expr::expr::Placeholder;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{
    Cast, Expr as Planned, ExprSchemable as _, Operator, binary_expr, lit, when,
};
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Query, Statement, TableFactor, VisitMut, VisitorMut,
};

use super::array_extremes::{array_max, array_min};
use super::dimensions::{FLAT, parts};
use super::fitted::read_beside;
use super::interval::is_interval;
use super::moment::{TIMESTAMP, timestamptz};
use super::operators::{comparison, decimal_literal};
use super::order_keys::{Key, key_of};
use super::syntax::call;
use super::text_input::{check_text, is_bytes, type_beside, wider};
use super::unknown::is_written_text;
use super::{addresses, array_elements, case_marks, chosen_items, element_marks, enums};

/// The beginnings of the operators of marks, which no client's text can write.
const ANY: &str = "\u{1e}any ";
const ALL: &str = "\u{1e}all ";

/// Makes operators of the comparisons with arrays, of what looks for elements, adds some or makes rows of them, and of CASE;
/// arrays that are written out become calls.
pub(crate) fn mark_array_comparisons(statement: &mut Statement) {
    // The visitor never breaks off.
    let _ = statement.visit(&mut Marking::default());
}

#[derive(Default)]
struct Marking {
    /// Of the relations and queries around an expression, whether it is an argument of a relation's function, which reads
    /// a written array itself.
    are_arguments: Vec<bool>,
}

impl VisitorMut for Marking {
    type Break = ();

    fn pre_visit_table_factor(&mut self, relation: &mut TableFactor) -> ControlFlow<()> {
        if let Some(query) = element_marks::spelt(relation) {
            *relation = query;
        }
        let has_arguments = matches!(
            relation,
            TableFactor::Table { args: Some(_), .. }
                | TableFactor::TableFunction { .. }
                | TableFactor::Function { .. }
        );
        self.are_arguments.push(has_arguments);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, _: &mut TableFactor) -> ControlFlow<()> {
        self.are_arguments.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.are_arguments.push(false);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.are_arguments.pop();
        ControlFlow::Continue(())
    }

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Some(spelt) = chosen_items::spelt(expr) {
            *expr = spelt;
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        if let Expr::Array(array) = expr
            && !array.elem.is_empty()
            && self.are_arguments.last() != Some(&true)
        {
            // The planner looks in a literal for no columns of outer queries, no queries of WITH and no parameters.
            *expr = call("make_array", std::mem::take(&mut array.elem));
            return ControlFlow::Continue(());
        }
        let marked = array_elements::marked(expr)
            .or_else(|| case_marks::marked(expr))
            .or_else(|| element_marks::marked(expr));
        if let Some(marked) = marked {
            *expr = marked;
            return ControlFlow::Continue(());
        }
        let (mark, left, op, right) = match expr {
            Expr::AnyOp {
                left,
                compare_op,
                right,
                ..
            } => (ANY, left, compare_op, right),
            Expr::AllOp {
                left,
                compare_op,
                right,
            } => (ALL, left, compare_op, right),
            _ => return ControlFlow::Continue(()),
        };
        if matches!(right.as_ref(), Expr::Subquery(_)) || comparison(op).is_none() {
            return ControlFlow::Continue(());
        }
        let marked = Expr::BinaryOp {
            left: left.clone(),
            op: BinaryOperator::Custom(format!("{mark}{op}")),
            right: right.clone(),
        };
        *expr = Expr::Nested(Box::new(marked));
        ControlFlow::Continue(())
    }
}

/// The comparison of a mark; `None`: the operator is another. `called` is one of an own function of an array.
pub(super) fn planned(
    raw: &RawBinaryExpr,
    schema: &dyn ExprSchema,
    called: impl Fn(&str, &Planned) -> Option<Planned>,
) -> Result<Option<Planned>> {
    let BinaryOperator::Custom(mark) = &raw.op else {
        return Ok(None);
    };
    let (is_all, op) = match (mark.strip_prefix(ANY), mark.strip_prefix(ALL)) {
        (Some(op), _) => (false, op),
        (None, Some(op)) => (true, op),
        (None, None) => return Ok(None),
    };
    let op = match op {
        "=" => Operator::Eq,
        "<>" => Operator::NotEq,
        ">" => Operator::Gt,
        "<" => Operator::Lt,
        ">=" => Operator::GtEq,
        "<=" => Operator::LtEq,
        _ => return Ok(None),
    };
    let array = match (is_all, op) {
        (false, Operator::Eq) | (true, Operator::NotEq)
            if !is_sought_as_typed(&raw.left, schema) =>
        {
            raw.right.clone()
        }
        _ => array_beside(&raw.right, &raw.left, schema),
    };
    let array = read_array(&array, &raw.left, schema);
    check_literal(&array)?;
    let (left, array) = addresses::beside(&raw.left, array, schema);
    let (left, array) = match op {
        Operator::Eq | Operator::NotEq => (left, array),
        _ => by_order(left, array, schema),
    };
    // An array is looked for among arrays.
    let is_flat =
        has_dimensions(&array, schema) && !matches!(left.get_type(schema), Ok(DataType::List(_)));
    let array = match is_flat {
        true => called(FLAT, &array).unwrap_or(array),
        false => array,
    };
    let (value, array) = alike(&left, &array, schema);
    let planned = match is_all {
        true => with_all(value, op, array)?,
        false if op == Operator::Eq => {
            let may_be_null = value.nullable(schema).unwrap_or(true);
            with_some(value, array, may_be_null)
        }
        false => with_any(value, op, array)?,
    };
    Ok(Some(planned))
}

/// A value and an array as the keys by which labels and addresses are ordered; others are ordered as they are.
fn by_order(value: Planned, array: Planned, schema: &dyn ExprSchema) -> (Planned, Planned) {
    let Some(key @ (Key::Place(_) | Key::Address)) = key_of(&value, Key::of_elements, schema)
    else {
        return (value, array);
    };
    let array = match &key {
        Key::Place(known) if is_written_text(&array) => enums::read(array, known),
        _ => array,
    };
    match key_of(&array, Key::of_elements, schema) {
        Some(found) if found == key => (key.of(value), key.of(array)),
        _ => (value, array),
    }
}

/// Whether the elements of an array are arrays.
pub(super) fn has_dimensions(array: &Planned, schema: &dyn ExprSchema) -> bool {
    array
        .get_type(schema)
        .is_ok_and(|found| parts(&found).1 > 1)
}

/// Whether a value is looked for by its key, or as bytes: of either there is none in an array without a type.
fn is_sought_as_typed(value: &Planned, schema: &dyn ExprSchema) -> bool {
    value.to_field(schema).is_ok_and(|(_, field)| {
        let data_type = field.data_type();
        is_bytes(data_type) || is_interval(data_type) || is_jsonb(&field)
    })
}

fn is_jsonb(field: &Field) -> bool {
    JsonKind::of(field) == Some(JsonKind::Jsonb)
}

/// A parameter without a type as an array of what stands beside it, since there is no least element of an array without one.
fn array_beside(array: &Planned, value: &Planned, schema: &dyn ExprSchema) -> Planned {
    match (array, value.to_field(schema)) {
        (Planned::Placeholder(open), Ok((_, element)))
            if open.field.is_none() && !element.data_type().is_null() =>
        {
            let list = DataType::new_list(element.data_type().clone(), true);
            let marks = match is_jsonb(&element) {
                true => JsonKind::Jsonb.marks(),
                false => HashMap::new(),
            };
            let field = Field::new("value", list, true).with_metadata(marks);
            let id = open.id.clone();
            Planned::Placeholder(Placeholder::new_with_field(id, Some(Arc::new(field))))
        }
        _ => array.clone(),
    }
}

/// Whether a value is among the elements, also a NULL among none, of which the planner's own says that it is unknown.
fn with_some(value: Planned, array: Planned, may_be_null: bool) -> Planned {
    // Of an array that is the same for all rows the planner makes IN, which knows that it is empty.
    let is_in = is_fixed(&array) && !is_fixed(&value);
    let found = array_has(array.clone(), value);
    match may_be_null && !is_in && made_of(&array).is_none() {
        true => found.and(cardinality(array).gt(lit(0_u64))),
        false => found,
    }
}

/// Whether a value is the same for all rows.
fn is_fixed(value: &Planned) -> bool {
    let varies = value.exists(|part| {
        Ok(matches!(
            part,
            Planned::Column(_) | Planned::OuterReferenceColumn(..) | Planned::ScalarSubquery(_)
        ))
    });
    varies.is_ok_and(|varies| !varies)
}

/// Whether another operator between a value and some element gives true: the least or the greatest decides.
fn with_any(value: Planned, op: Operator, array: Planned) -> Result<Planned> {
    let (least, most) = (array_min(array.clone()), array_max(array.clone()));
    let (bound, holds) = match op {
        Operator::NotEq => {
            let differs = least.not_eq(value.clone());
            (most.clone(), differs.or(most.not_eq(value)))
        }
        Operator::Gt => (least.clone(), least.lt(value)),
        Operator::GtEq => (least.clone(), least.lt_eq(value)),
        Operator::Lt => (most.clone(), most.gt(value)),
        _ => (most.clone(), most.gt_eq(value)),
    };
    when(bound.is_not_null(), holds)
        .when(array.is_not_null(), lit(false))
        .otherwise(lit(ScalarValue::Boolean(None)))
}

/// The same of each element; of none it holds.
fn with_all(value: Planned, op: Operator, array: Planned) -> Result<Planned> {
    let (least, most) = (array_min(array.clone()), array_max(array.clone()));
    let fails = match op {
        Operator::NotEq => array_has(array.clone(), value.clone()),
        Operator::Eq => !least.eq(value.clone()).and(most.eq(value.clone())),
        Operator::Gt | Operator::GtEq => !binary_expr(value.clone(), op, most),
        _ => !binary_expr(value.clone(), op, least),
    };
    let null = || lit(ScalarValue::Null);
    let unknown = || lit(ScalarValue::Boolean(None));
    let has_nulls = array_position(array.clone(), null(), lit(1_i64)).is_not_null();
    when(array.clone().is_null(), unknown())
        .when(cardinality(array).eq(lit(0_u64)), lit(true))
        .when(value.is_null(), unknown())
        .when(fails, lit(false))
        .when(has_nulls, unknown())
        .otherwise(lit(true))
}

/// A text without a type as an array of what stands beside it: of texts, if that has no type either.
pub(super) fn read_array(array: &Planned, value: &Planned, schema: &dyn ExprSchema) -> Planned {
    let decimal = decimal_literal(value);
    let element = decimal.as_ref().unwrap_or(value).to_field(schema);
    let (Some(text), Ok((_, element))) = (text_of(array), element) else {
        return array.clone();
    };
    let of_element = match element.data_type() {
        known if known.is_nested() => return array.clone(),
        known if known.is_string() || known.is_null() => &DataType::Utf8,
        known => known,
    };
    let list = DataType::new_list(of_element.clone(), true);
    let field = Field::new("value", list, true).with_metadata(element.metadata().clone());
    match read_beside(&field, array) {
        Some(read) => read,
        None => cast(array, type_beside(text, field.data_type())),
    }
}

/// Fails for a text that is no array of the type as which it is read. One in a definition is never read before there are rows.
fn check_literal(array: &Planned) -> Result<()> {
    let Planned::Cast(cast) = array else {
        return Ok(());
    };
    match text_of(&cast.expr) {
        Some(text) => check_text(text, cast.field.data_type()),
        None => Ok(()),
    }
}

/// A value and an array whose elements are of its type; as they are where the planner finds one, or a parameter has none yet.
pub(super) fn alike(
    value: &Planned,
    array: &Planned,
    schema: &dyn ExprSchema,
) -> (Planned, Planned) {
    let unchanged = || (value.clone(), array.clone());
    let (Ok(of_value), Ok(DataType::List(item))) = (value.get_type(schema), array.get_type(schema))
    else {
        return unchanged();
    };
    let of_item = item.data_type();
    if let Some(text) = text_of(value)
        && !of_item.is_string()
        && !of_item.is_null()
    {
        let read = type_beside(text, of_item);
        return typed(cast(value, read.clone()), &read, array, &item);
    }
    if of_item.is_string()
        && is_read(&of_value)
        && let Some(read) = read_items(array, &of_value)
    {
        return match read.get_type(schema) {
            Ok(DataType::List(item)) => typed(value.clone(), &of_value, &read, &item),
            _ => unchanged(),
        };
    }
    // A fraction that is written out is a double to the planner, but means the decimal number.
    if of_item.is_decimal()
        && let Some(decimal) = decimal_literal(value)
        && let Ok(of_value) = decimal.get_type(schema)
    {
        return typed(decimal, &of_value, array, &item);
    }
    if of_value.is_decimal()
        && let Some(decimals) = written_decimals(array)
        && let Ok(DataType::List(item)) = decimals.get_type(schema)
    {
        return typed(value.clone(), &of_value, &decimals, &item);
    }
    typed(value.clone(), &of_value, array, &item)
}

/// Whether texts are read as values of a type here: the planner reads texts as numbers, and marks tell what other texts are.
fn is_read(data_type: &DataType) -> bool {
    let is_number = data_type.is_numeric() && !data_type.is_decimal();
    !is_number && !data_type.is_string() && !data_type.is_null() && !data_type.is_nested()
}

/// Both in their common type.
fn typed(
    value: Planned,
    of_value: &DataType,
    array: &Planned,
    item: &Arc<Field>,
) -> (Planned, Planned) {
    let Some(wanted) = common(of_value, item.data_type()) else {
        return (value, array.clone());
    };
    let value = match *of_value == wanted {
        true => value,
        false => cast(&value, wanted.clone()),
    };
    let array = match *item.data_type() == wanted {
        true => array.clone(),
        false => {
            let item = item.as_ref().clone().with_data_type(wanted);
            cast(array, DataType::List(Arc::new(item)))
        }
    };
    (value, array)
}

/// The common type of numerics and others, and of dates and moments; `None`: they have one, or the planner finds it.
fn common(value: &DataType, element: &DataType) -> Option<DataType> {
    use DataType::{Date32, Timestamp};
    (value != element).then_some(())?;
    if value.is_decimal() || element.is_decimal() {
        return match (exact(value), exact(element)) {
            (Some(value), Some(element)) => Some(wider(&value, &element)),
            _ if value.is_floating() || element.is_floating() => Some(DataType::Float64),
            _ => None,
        };
    }
    match (value, element) {
        (Date32 | Timestamp(_, None), Timestamp(_, Some(_)))
        | (Timestamp(_, Some(_)), Date32 | Timestamp(_, None)) => Some(timestamptz()),
        (Date32, Timestamp(_, None)) | (Timestamp(_, None), Date32) => Some(TIMESTAMP),
        _ => None,
    }
}

/// The numeric type that holds exact numbers.
fn exact(data_type: &DataType) -> Option<DataType> {
    Some(match data_type {
        DataType::Decimal128(..) => data_type.clone(),
        DataType::Int16 => DataType::Decimal128(5, 0),
        DataType::Int32 => DataType::Decimal128(10, 0),
        DataType::Int64 => DataType::Decimal128(19, 0),
        _ => return None,
    })
}

fn cast(value: &Planned, wanted: DataType) -> Planned {
    Planned::Cast(Cast::new(Box::new(value.clone()), wanted))
}

/// The text of a literal without a type.
fn text_of(value: &Planned) -> Option<&str> {
    match value {
        Planned::Literal(ScalarValue::Utf8(Some(text)), None) => Some(text),
        _ => None,
    }
}

/// An array whose items are texts without a type, each read as a value; `None`: it is no such array.
fn read_items(array: &Planned, wanted: &DataType) -> Option<Planned> {
    let items = made_of(array)?;
    let texts = items.iter().filter_map(text_of);
    let widest = texts.fold(wanted.clone(), |widest, text| {
        match type_beside(text, wanted) {
            own if own.is_decimal() => wider(&widest, &own),
            own => own,
        }
    });
    with_items(array, |item| match item {
        Planned::Literal(ScalarValue::Null, _) => Some(item.clone()),
        item => text_of(item).map(|_| cast(item, widest.clone())),
    })
}

/// An array of fractions that are written out, as numerics.
fn written_decimals(array: &Planned) -> Option<Planned> {
    let items = made_of(array)?;
    let decimals: Vec<Planned> = items.iter().map(decimal_literal).collect::<Option<_>>()?;
    let types = decimals.iter().map(|decimal| match decimal {
        Planned::Literal(value, _) => value.data_type(),
        _ => DataType::Null,
    });
    let widest = types.reduce(|widest, own| wider(&widest, &own))?;
    with_items(array, |item| {
        Some(cast(&decimal_literal(item)?, widest.clone()))
    })
}

/// The items of an array that is written out.
fn made_of(array: &Planned) -> Option<&[Planned]> {
    match array {
        Planned::ScalarFunction(call) if call.func.name() == "make_array" => {
            (!call.args.is_empty()).then_some(call.args.as_slice())
        }
        _ => None,
    }
}

/// The same array of other items; `None` where one has no other.
fn with_items(array: &Planned, of: impl Fn(&Planned) -> Option<Planned>) -> Option<Planned> {
    let Planned::ScalarFunction(call) = array else {
        return None;
    };
    let items: Vec<Planned> = call.args.iter().map(of).collect::<Option<_>>()?;
    Some(call.func.call(items))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numerics_and_others_have_a_common_type() {
        use DataType::{Date32, Decimal128, Float64, Int32, Int64, Utf8};
        let widest = Decimal128(38, 10);
        assert_eq!(common(&Decimal128(10, 2), &widest), Some(widest.clone()));
        assert_eq!(common(&Int32, &Decimal128(5, 2)), Some(Decimal128(12, 2)));
        assert_eq!(common(&Decimal128(5, 2), &Float64), Some(Float64));
        assert_eq!(common(&Date32, &TIMESTAMP), Some(TIMESTAMP));
        assert_eq!(common(&timestamptz(), &TIMESTAMP), Some(timestamptz()));
        assert_eq!(common(&Int32, &Int64), None);
        assert_eq!(common(&Utf8, &Utf8), None);
    }
}
