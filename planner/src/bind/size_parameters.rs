//! Types of the parameters in the sizes of frames: `ROWS $1 PRECEDING`, `RANGE $1 * interval '1 day' PRECEDING`.
//!
//! In: a size as it is written; out: the places of the parameters to which it gives a type by itself, with these. Where the
//! rows are ordered by tells the types of others.

use datafusion::arrow::datatypes::{DataType, IntervalUnit};
use datafusion::sql::sqlparser::ast::{
    self, BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments,
};

use super::late_names::place;
use crate::commands::name_parts;

/// Places of parameters with their types.
type Typed = Vec<(usize, DataType)>;

/// Notes the parameters of a size.
pub(super) fn note(typed: &mut Typed, size: &Expr, is_range: bool) {
    match is_range {
        true => offset(typed, size),
        false => count(typed, size),
    }
}

/// Those that are a count of rows, or from which one is computed, whatever they are cast to.
fn count(typed: &mut Typed, size: &Expr) {
    if let Some(place) = place(size) {
        typed.push((place, DataType::Int64));
        return;
    }
    match size {
        Expr::Cast { expr, .. } | Expr::Nested(expr) => count(typed, expr),
        Expr::BinaryOp { left, right, .. } => {
            count(typed, left);
            count(typed, right);
        }
        _ => {}
    }
}

/// Those of casts, factors of intervals, and the parts that one is made of.
fn offset(typed: &mut Typed, size: &Expr) {
    match size {
        Expr::Nested(inner) => offset(typed, inner),
        Expr::Cast {
            expr, data_type, ..
        } => match bare_place(expr) {
            Some(place) => typed.extend(cast_type(data_type).map(|known| (place, known))),
            None => offset(typed, expr),
        },
        Expr::BinaryOp { left, op, right } => {
            let scales = matches!(op, BinaryOperator::Multiply | BinaryOperator::Divide);
            for (operand, other) in [(left, right), (right, left)] {
                match bare_place(operand) {
                    Some(place) if scales && is_interval(other) => {
                        typed.push((place, DataType::Float64));
                    }
                    _ => offset(typed, operand),
                }
            }
        }
        Expr::Function(function) if makes_interval(function) => parts(typed, function),
        _ => {}
    }
}

/// The place of `secs` among the parts of `make_interval`.
const SECONDS: usize = 6;

/// The parts of `make_interval`: whole numbers, but seconds.
fn parts(typed: &mut Typed, function: &Function) {
    let FunctionArguments::List(list) = &function.args else {
        return;
    };
    for (idx, arg) in list.args.iter().enumerate() {
        let (is_seconds, value) = match arg {
            FunctionArg::Named {
                name,
                arg: FunctionArgExpr::Expr(value),
                ..
            } => (name.value.eq_ignore_ascii_case("secs"), value),
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (idx == SECONDS, value),
            _ => continue,
        };
        match bare_place(value) {
            Some(place) if is_seconds => typed.push((place, DataType::Float64)),
            Some(place) => typed.push((place, DataType::Int32)),
            None => offset(typed, value),
        }
    }
}

/// The place of a parameter, perhaps in brackets.
fn bare_place(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Nested(inner) => bare_place(inner),
        expr => place(expr),
    }
}

fn makes_interval(function: &Function) -> bool {
    let name = name_parts(&function.name);
    name.last().is_some_and(|name| name == "make_interval")
}

/// Whether an expression is written as an interval.
fn is_interval(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_interval(inner),
        Expr::Interval(_) => true,
        Expr::Cast { data_type, .. } => matches!(data_type, ast::DataType::Interval { .. }),
        Expr::Function(function) => makes_interval(function),
        _ => false,
    }
}

/// The type of a number or an interval that a cast gives.
fn cast_type(cast: &ast::DataType) -> Option<DataType> {
    use ast::DataType as D;
    Some(match cast {
        D::SmallInt(_) | D::Int2(_) => DataType::Int16,
        D::Int(_) | D::Integer(_) | D::Int4(_) => DataType::Int32,
        D::BigInt(_) | D::Int8(_) => DataType::Int64,
        D::Real | D::Float4 => DataType::Float32,
        D::DoublePrecision | D::Float8 => DataType::Float64,
        D::Numeric(_) | D::Decimal(_) => DataType::Decimal128(38, 10),
        D::Interval { .. } => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bind::column_rules::parse_expr;

    fn typed(size: &str, is_range: bool) -> Typed {
        let mut typed = Typed::new();
        note(&mut typed, &parse_expr(size).unwrap(), is_range);
        typed
    }

    #[test]
    fn counts_are_bigints() {
        assert_eq!(typed("$1", false), [(0, DataType::Int64)]);
        let both = [(1, DataType::Int64), (0, DataType::Int64)];
        assert_eq!(typed("($2::int + $1)", false), both);
    }

    #[test]
    fn offsets_have_the_types_that_they_are_written_with() {
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        for (size, expected) in [
            ("$1::int * interval '1 day'", DataType::Int32),
            ("($1) * interval '1 day'", DataType::Float64),
            ("interval '1 day' / $1", DataType::Float64),
            ("make_interval(days => $1)", DataType::Int32),
            ("make_interval(secs => $1)", DataType::Float64),
            ("make_interval(0, 0, 0, $1)", DataType::Int32),
            ("$1::interval", interval),
        ] {
            assert_eq!(typed(size, true), [(0, expected)], "{size}");
        }
        // The order of the rows tells the type.
        assert!(typed("$1", true).is_empty());
        assert!(typed("$1 * 2", true).is_empty());
    }
}
