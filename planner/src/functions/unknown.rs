//! Operands without a type: quoted literals and parameters, which take the type that the other side asks for.
//!
//! In: an operator with its operands; out: the same with a cast around what has no type. As in PostgreSQL, a literal is
//! read as a value of the other side's type: `active = 'true'`, `tags = '{a,b}'`, `tags || '{c}'`, `at > '2024-01-31 05:00'`, `n + '1'`.

use std::sync::Arc;

use auspex_storage::{AddressKind, EnumType};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::{ExprSchema, ScalarValue};
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Cast, Expr, ExprSchemable as _};
use datafusion::sql::sqlparser::ast::BinaryOperator;

use super::addresses;
use super::beside_days::noted_day;
use super::call::INTERVAL;
use super::dimensions::{parts, with_dimensions};
use super::fitted::read_beside;
use super::interval::is_interval;
use super::text_input::{MAX_DIMENSIONS, in_microseconds, is_bytes, numeric_type, type_beside};

/// A number that a parameter is, of whatever digits.
pub(super) const NUMERIC: DataType = DataType::Decimal128(38, DIGITS);
/// Its digits behind the point.
pub(super) const DIGITS: i8 = 10;

/// Gives operands without a type one.
pub(super) fn resolve(raw: &mut RawBinaryExpr, schema: &dyn ExprSchema) {
    let joins = raw.op == BinaryOperator::StringConcat;
    let is_open = |expr: &Expr| is_unknown(expr) || (joins && is_null(expr));
    let (left, right) = (is_open(&raw.left), is_open(&raw.right));
    if left == right {
        return;
    }
    let (open, known) = match left {
        true => (&mut raw.left, &raw.right),
        false => (&mut raw.right, &raw.left),
    };
    let Ok((_, field)) = known.to_field(schema) else {
        return;
    };
    let is_literal = matches!(open, Expr::Literal(..));
    let joins_arrays = joins_arrays(&raw.op, field.data_type());
    // A parameter is told as an array of labels.
    let is_read = is_literal && (compares(&raw.op) || joins_arrays)
        || joins_arrays && EnumType::of_elements(&field).is_some()
        || is_literal && asks_elements(&raw.op) && AddressKind::of_elements(&field).is_some();
    if compares(&raw.op) && AddressKind::of(&field) == Some(AddressKind::Cidr) {
        // PostgreSQL compares networks as addresses, which may have bits beyond their masks.
        of_network(open);
        return;
    }
    if is_read && let Some(read) = read_beside(&field, open) {
        *open = read;
        return;
    }
    let known = in_microseconds(field.data_type().clone());
    if let Expr::Placeholder(parameter) = open
        && raw.op == BinaryOperator::Divide
        && matches!(known, DataType::Decimal128(..))
    {
        // It has as many digits as it is given, which a cast would take from it.
        parameter.field = Some(Arc::new(Field::new("value", NUMERIC, true)));
        return;
    }
    let is_parameter = matches!(open, Expr::Placeholder(_));
    let wanted = match is_parameter {
        true => parameter_type(&raw.op, &known),
        false => literal_type(&raw.op, known).map(|known| own_type(&raw.op, open, known)),
    };
    if let Some(data_type) = wanted {
        let inner = Box::new(std::mem::take(open));
        *open = Expr::Cast(noted_day(Cast::new(inner, data_type)));
    }
}

/// Reads what stands beside a network as an address.
fn of_network(open: &mut Expr) {
    let kind = AddressKind::Inet;
    match open {
        Expr::Placeholder(parameter) => {
            let field = Field::new("value", DataType::Utf8, true).with_metadata(kind.marks());
            parameter.field = Some(Arc::new(field));
        }
        text => *text = addresses::read(std::mem::take(text), kind),
    }
}

/// Whether a value is a literal without a type, or an array of such.
pub(crate) fn is_written_text(value: &Expr) -> bool {
    match value {
        Expr::Literal(ScalarValue::Utf8(_), metadata) => metadata.is_none(),
        Expr::Alias(alias) => is_written_text(&alias.expr),
        Expr::Cast(cast) => cast.field.data_type().is_list() && is_written_text(&cast.expr),
        Expr::ScalarFunction(call) => {
            call.func.name() == "make_array" && call.args.iter().all(is_written_text)
        }
        _ => false,
    }
}

/// Whether an expression has no type yet.
pub(super) fn is_unknown(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(_)), metadata) => metadata.is_none(),
        Expr::Placeholder(placeholder) => placeholder.field.is_none(),
        _ => false,
    }
}

/// A NULL without a type, which beside an array is no element but no array.
fn is_null(expr: &Expr) -> bool {
    matches!(expr, Expr::Literal(ScalarValue::Null, _))
}

/// `<=>` is IS NOT DISTINCT FROM.
fn compares(op: &BinaryOperator) -> bool {
    use BinaryOperator::{Eq, Gt, GtEq, Lt, LtEq, NotEq, Spaceship};
    matches!(op, Eq | NotEq | Lt | LtEq | Gt | GtEq | Spaceship)
}

/// `tags || '{a}'`: a text without a type is an array here, never an element.
fn joins_arrays(op: &BinaryOperator, known: &DataType) -> bool {
    *op == BinaryOperator::StringConcat && matches!(known, DataType::List(_))
}

/// `tags @> '{a}'`, `tags && '{a, b}'`: what an array is asked for with another one.
fn asks_elements(op: &BinaryOperator) -> bool {
    use BinaryOperator::{ArrowAt, AtArrow, PGOverlap};
    matches!(op, AtArrow | ArrowAt | PGOverlap)
}

/// What a literal is read as beside a value of a type; `None`: the planner knows.
fn literal_type(op: &BinaryOperator, known: DataType) -> Option<DataType> {
    use BinaryOperator::{BitwiseAnd, BitwiseOr, PGBitwiseXor};
    use BinaryOperator::{Divide, Minus, Modulo, Multiply, Plus};
    let compares = compares(op);
    let adds = matches!(op, Plus | Minus);
    match known {
        DataType::Int16 | DataType::Int32 | DataType::Int64
            if matches!(op, BitwiseAnd | BitwiseOr | PGBitwiseXor) =>
        {
            Some(known)
        }
        DataType::Float32
        | DataType::Float64
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::Decimal128(..)
            if adds || matches!(op, Multiply | Divide | Modulo) =>
        {
            Some(known)
        }
        DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_) if *op == Minus => {
            Some(known)
        }
        DataType::Timestamp(..) | DataType::Time64(_) if *op == Plus => Some(INTERVAL),
        known if adds && is_interval(&known) => Some(known),
        DataType::Boolean | DataType::Decimal128(..) if compares => Some(known),
        known if is_bytes(&known) && (compares || *op == BinaryOperator::StringConcat) => {
            Some(known)
        }
        DataType::Date32 | DataType::Timestamp(..) if compares => Some(known),
        DataType::Time64(_) | DataType::Interval(_) if compares => Some(known),
        DataType::List(_) if compares || asks_elements(op) => Some(known),
        known if joins_arrays(op, &known) => Some(known),
        _ => None,
    }
}

/// The same with the digits that are written. What is computed of a numeric has the scale of both operands.
fn own_type(op: &BinaryOperator, literal: &Expr, known: DataType) -> DataType {
    match (literal, &known) {
        (Expr::Literal(ScalarValue::Utf8(Some(text)), _), DataType::Decimal128(..))
            if !compares(op) =>
        {
            numeric_type(text).unwrap_or(known)
        }
        (Expr::Literal(ScalarValue::Utf8(Some(text)), _), DataType::List(_))
            if asks_elements(op) && n_braces(text) != parts(&known).1 =>
        {
            // Arrays of any dimensions are asked for their elements.
            with_dimensions(parts(&known).0, n_braces(text))
        }
        (Expr::Literal(ScalarValue::Utf8(Some(text)), _), _) => type_beside(text, &known),
        _ => known,
    }
}

/// How many dimensions the text of an array has, at least one.
fn n_braces(text: &str) -> usize {
    let shown = text.chars().filter(|c| !c.is_whitespace());
    shown
        .take_while(|c| *c == '{')
        .count()
        .clamp(1, MAX_DIMENSIONS)
}

/// What a parameter is beside a value of a type; `None`: of the same type.
fn parameter_type(op: &BinaryOperator, known: &DataType) -> Option<DataType> {
    match (op, known) {
        (op, DataType::List(_)) if asks_elements(op) => Some(known.clone()),
        (op, known) if joins_arrays(op, known) => Some(known.clone()),
        // A value of no text is joined with a text.
        (BinaryOperator::StringConcat, known)
            if !known.is_string() && !known.is_null() && !is_bytes(known) =>
        {
            Some(DataType::Utf8)
        }
        // Told here, since intervals are not compared as they are.
        (op, known) if is_interval(known) && compares(op) => Some(INTERVAL),
        (BinaryOperator::Plus, DataType::Timestamp(..) | DataType::Time64(_)) => Some(INTERVAL),
        (BinaryOperator::Plus, DataType::Date32) => Some(DataType::Int32),
        (BinaryOperator::Multiply | BinaryOperator::Divide, known) if is_interval(known) => {
            Some(DataType::Float64)
        }
        // Told here, since the planner would count what is between two moments in microseconds.
        (
            BinaryOperator::Minus,
            DataType::Date32 | DataType::Timestamp(..) | DataType::Time64(_),
        ) => Some(known.clone()),
        // Told here, since the planner would infer the type too late for the operator to be checked.
        (BinaryOperator::Plus | BinaryOperator::Minus | BinaryOperator::Multiply, known) => {
            super::checked::signed(known).filter(DataType::is_signed_integer)
        }
        _ => None,
    }
}
