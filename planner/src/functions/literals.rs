//! Whole numbers that are written out have PostgreSQL's types: `integer`, else `bigint`, else `numeric`; fractions beside
//! decimals keep all their digits.
//!
//! In: a statement in its last form before it is planned; out: the same with a mark around each number that the planner,
//! to which all of them are `bigint`, would type otherwise; `planned` makes the literal of a mark. So operators, CASE,
//! VALUES, UNION and arrays see the type as they see that of a column, and no plan is changed afterwards.
//!
//! A number without a place in its text is not marked: GoogleSQL's numbers, which are INT64, and those that the planner's
//! own rewriting wrote. Nor is one that stands where its type decides nothing and the planner looks for its own:
//! positions, limits, frames, subscripts, and arguments of functions whose results do not take their type.
//!
//! A fraction is a double, whose digits beyond the fifteenth are lost. Where such a one stands beside other values, a mark
//! keeps them until the types of these are known, which `settle` looks at for operators, `bind/literals_beside.rs` for IN,
//! BETWEEN, CASE and functions.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use datafusion::arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use datafusion::common::metadata::FieldMetadata;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::logical_expr::{Expr as Planned, lit};
use datafusion::sql::sqlparser::ast::{
    AccessExpr, BinaryOperator, Distinct, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, GroupByExpr, LimitClause, NamedWindowExpr, OrderByKind, Query, Select,
    Statement, Subscript, TableFactor, UnaryOperator, Value, VisitMut, VisitorMut, WindowFrame,
    WindowFrameBound, WindowType,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::operators::decimal_literal;
use super::syntax::{function_name, number_text, text};

/// The operator of a mark, which no client's text can write: a number as it was written, and its digits.
const MARK: &str = "\u{1e}number";

/// Functions whose results have the types of arguments, and the places of these.
const OF_ONE_TYPE: [(&str, std::ops::Range<usize>); 37] = [
    ("abs", 0..1),
    ("any_value", 0..1),
    ("array_agg", 0..1),
    ("array_append", 0..2),
    ("array_cat", 0..2),
    ("array_prepend", 0..2),
    ("array_remove", 0..2),
    ("array_remove_all", 0..2),
    ("array_replace", 0..3),
    ("array_replace_all", 0..3),
    ("as_assigned", 0..1),
    ("avg", 0..1),
    ("bit_and", 0..1),
    ("bit_or", 0..1),
    ("bit_xor", 0..1),
    ("coalesce", 0..usize::MAX),
    ("first_value", 0..1),
    ("gcd", 0..2),
    ("greatest", 0..usize::MAX),
    ("ifnull", 0..2),
    ("lag", 0..3),
    ("last_value", 0..1),
    ("lcm", 0..2),
    ("lead", 0..3),
    ("least", 0..usize::MAX),
    ("max", 0..1),
    ("min", 0..1),
    ("mod", 0..2),
    ("mode", 0..1),
    ("negated", 0..1),
    ("nth_value", 0..1),
    ("nullif", 0..2),
    ("nvl", 0..2),
    ("percentile_disc", 0..1),
    ("pg_typeof", 0..1),
    (super::series::SERIES, 0..3),
    ("sum", 0..1),
];

/// Those whose arguments are values beside each other, of which fractions keep their digits.
const OF_VALUES: [&str; 6] = ["coalesce", "greatest", "ifnull", "least", "nullif", "nvl"];

/// Marks the whole numbers of a statement.
pub(crate) fn type_numbers(statement: &mut Statement) {
    // The visitor never breaks off.
    let _ = statement.visit(&mut Typing);
}

/// The literal of a mark.
pub(super) fn planned(raw: &RawBinaryExpr) -> Option<Planned> {
    match (&raw.op, &raw.right) {
        (BinaryOperator::Custom(op), Planned::Literal(ScalarValue::Utf8(Some(digits)), _))
            if op == MARK =>
        {
            literal_of(digits)
        }
        _ => None,
    }
}

/// Where the digits of a fraction stand beside its double.
const DIGITS_KEY: &str = "auspex.digits";

/// Makes a fraction with more digits than a double keeps what the other operand asks for: a decimal beside decimals, whole
/// numbers and another such fraction, else a double.
pub(super) fn settle(raw: &mut RawBinaryExpr, type_of: &dyn Fn(&Planned) -> Option<DataType>) {
    let digits = [digits_of(&raw.left), digits_of(&raw.right)];
    let is_exact = match &digits {
        [None, None] => return,
        [Some(_), Some(_)] => true,
        [Some(digits), None] => asks_for_decimal(type_of(&raw.right), digits),
        [None, Some(digits)] => asks_for_decimal(type_of(&raw.left), digits),
    };
    for (operand, digits) in [&mut raw.left, &mut raw.right].into_iter().zip(digits) {
        let Some(digits) = digits else {
            continue;
        };
        let decimal = decimal_of(&digits).filter(|_| is_exact);
        let double = digits.parse().ok();
        let double = double.map(|value| ScalarValue::Float64(Some(value)));
        if let Some(value) = decimal.or(double) {
            *operand = lit(value);
        }
    }
}

/// Whether a fraction is a decimal number beside a value of a type.
fn asks_for_decimal(beside: Option<DataType>, digits: &str) -> bool {
    // Behind the digits of any whole number so many find room in a decimal.
    const MOST_DECIMALS: usize = 18;
    match beside {
        Some(DataType::Decimal128(..)) => true,
        Some(beside) if beside.is_integer() => digits
            .split_once('.')
            .is_some_and(|(_, fraction)| fraction.len() <= MOST_DECIMALS),
        _ => false,
    }
}

/// A fraction that is written out as the decimal number that it means beside decimals; `None`: it has too many digits for
/// one, or it is another expression.
pub(crate) fn exact_fraction(expr: &Planned) -> Option<Planned> {
    match digits_of(expr) {
        Some(digits) => decimal_of(&digits).map(lit),
        None => decimal_literal(expr),
    }
}

/// Whether an expression is a fraction that is written out.
pub(crate) fn is_fraction(expr: &Planned) -> bool {
    matches!(expr, Planned::Literal(ScalarValue::Float64(Some(_)), _))
}

/// Forgets the digits that a mark kept; whether there were any.
pub(crate) fn forget_digits(expr: &mut Planned) -> bool {
    let is_marked = digits_of(expr).is_some();
    if let Planned::Literal(_, notes) = expr
        && is_marked
    {
        *notes = None;
    }
    is_marked
}

/// The digits that a mark kept.
fn digits_of(expr: &Planned) -> Option<String> {
    match expr {
        Planned::Literal(ScalarValue::Float64(_), Some(notes)) => {
            notes.inner().get(DIGITS_KEY).cloned()
        }
        _ => None,
    }
}

/// The decimal number that is written so; `None` if it has more digits than any decimal.
fn decimal_of(digits: &str) -> Option<ScalarValue> {
    const MOST_DIGITS: usize = 38;
    let (_, fraction) = digits.split_once('.')?;
    let value: i128 = digits.replace('.', "").parse().ok()?;
    let n_digits = value.unsigned_abs().to_string().len().max(fraction.len());
    (n_digits <= MOST_DIGITS).then_some(())?;
    let precision = u8::try_from(n_digits).ok()?;
    let scale = i8::try_from(fraction.len()).ok()?;
    Some(ScalarValue::Decimal128(Some(value), precision, scale))
}

fn literal_of(digits: &str) -> Option<Planned> {
    if digits.contains('.') {
        let double = ScalarValue::Float64(Some(digits.parse().ok()?));
        let notes = BTreeMap::from([(DIGITS_KEY.to_owned(), digits.to_owned())]);
        return Some(Planned::Literal(double, Some(FieldMetadata::new(notes))));
    }
    let value: i128 = digits.parse().ok()?;
    Some(match (i32::try_from(value), i64::try_from(value)) {
        (Ok(value), _) => lit(value),
        // The least one, whose digits without the sign are those of a numeric.
        (_, Ok(value)) => lit(value),
        _ => {
            let precision = u8::try_from(digits.trim_start_matches('-').len()).ok()?;
            lit(ScalarValue::Decimal128(Some(value), precision, 0))
        }
    })
}

/// The digits of a number that the planner types otherwise than PostgreSQL.
fn typed_digits(digits: &str) -> Option<String> {
    const MOST_DIGITS: usize = 38;
    let digits: String = digits.chars().filter(|c| *c != '_').collect();
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    let digits = if digits.is_empty() { "0" } else { digits };
    let is_integer = digits.parse::<i32>().is_ok();
    let is_numeric = digits.parse::<i64>().is_err() && digits.len() <= MOST_DIGITS;
    (is_integer || is_numeric).then(|| digits.to_owned())
}

/// Whether a number has a fraction and more digits than a double keeps.
fn is_long_fraction(number: &str) -> bool {
    const DIGITS_OF_DOUBLES: usize = 15;
    let unsigned = number.trim_start_matches('-');
    let Some((whole, fraction)) = unsigned.split_once('.') else {
        return false;
    };
    let digits = format!("{whole}{fraction}");
    let is_plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_plain && digits.trim_matches('0').len() > DIGITS_OF_DOUBLES
}

/// Keeps the digits of such a fraction, which stands beside others.
fn keep_digits(operand: &mut Expr) {
    if let Some(digits) = number_text(operand).filter(|n| is_long_fraction(n)) {
        mark(operand, digits);
    }
}

/// The expressions beside which one of several that have one type stands.
fn beside_each_other(expr: &mut Expr) -> Vec<&mut Expr> {
    match expr {
        Expr::BinaryOp { left, op, right } if asks_for_digits(op) => vec![left, right],
        Expr::InList { expr, list, .. } => std::iter::once(expr.as_mut()).chain(list).collect(),
        Expr::Between {
            expr, low, high, ..
        } => vec![expr, low, high],
        Expr::Case {
            operand,
            conditions,
            else_result,
            ..
        } => {
            let compared = operand.as_deref_mut().into_iter();
            let given = else_result.as_deref_mut().into_iter();
            let branches = conditions.iter_mut();
            let branches = branches.flat_map(|when| [&mut when.condition, &mut when.result]);
            compared.chain(branches).chain(given).collect()
        }
        _ => Vec::new(),
    }
}

/// Operators that look at what stands beside a fraction.
fn asks_for_digits(op: &BinaryOperator) -> bool {
    use BinaryOperator as B;
    let compares = matches!(op, B::Eq | B::NotEq | B::Lt | B::LtEq | B::Gt | B::GtEq);
    compares || matches!(op, B::Plus | B::Minus | B::Multiply | B::Divide)
}

struct Typing;

impl VisitorMut for Typing {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        match expr {
            Expr::Value(value) if value.span != Span::empty() => {
                if let Value::Number(digits, _) = &value.value
                    && let Some(digits) = typed_digits(digits)
                {
                    mark(expr, digits);
                }
            }
            Expr::UnaryOp {
                op: UnaryOperator::Minus,
                expr: operand,
            } => {
                if let Some(digits) = unmark(operand) {
                    mark(expr, format!("-{digits}"));
                }
            }
            Expr::BinaryOp { .. }
            | Expr::InList { .. }
            | Expr::Between { .. }
            | Expr::Case { .. } => {
                for operand in beside_each_other(expr) {
                    keep_digits(operand);
                }
            }
            // A cast tells the type.
            Expr::Cast { expr, .. } => {
                unmark(expr);
            }
            Expr::Tuple(columns) => {
                for column in columns {
                    unmark(column);
                }
            }
            Expr::Interval(interval) => unmark_all(interval.value.as_mut()),
            Expr::CompoundFieldAccess { access_chain, .. } => {
                access_chain.iter_mut().for_each(subscript);
            }
            Expr::Function(function) => arguments(function),
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if let Some(order) = &mut query.order_by
            && let OrderByKind::Expressions(exprs) = &mut order.kind
        {
            for position in exprs {
                unmark(&mut position.expr);
            }
        }
        match &mut query.limit_clause {
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                limit.iter_mut().for_each(unmark_all);
                if let Some(offset) = offset {
                    unmark_all(&mut offset.value);
                }
            }
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => {
                unmark_all(offset);
                unmark_all(limit);
            }
            None => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        if let GroupByExpr::Expressions(exprs, _) = &mut select.group_by {
            for position in exprs {
                unmark(position);
            }
        }
        if let Some(Distinct::On(exprs)) = &mut select.distinct {
            for position in exprs {
                unmark(position);
            }
        }
        for window in &mut select.named_window {
            if let NamedWindowExpr::WindowSpec(spec) = &mut window.1 {
                spec.window_frame.iter_mut().for_each(frame);
            }
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                args: Some(args), ..
            } => unmark_all(&mut args.args),
            TableFactor::Function { args, .. } => unmark_all(args),
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

fn mark(expr: &mut Expr, digits: String) {
    let written = std::mem::replace(expr, text(""));
    *expr = Expr::BinaryOp {
        left: Box::new(written),
        op: BinaryOperator::Custom(MARK.to_owned()),
        right: Box::new(text(digits)),
    };
}

/// Puts the number of a mark in its place again; returns its digits.
fn unmark(expr: &mut Expr) -> Option<String> {
    let Expr::BinaryOp { left, op, right } = expr else {
        return None;
    };
    let BinaryOperator::Custom(op) = op else {
        return None;
    };
    if op != MARK {
        return None;
    }
    let digits = super::syntax::literal(right).map(str::to_owned);
    let written = std::mem::replace(left.as_mut(), text(""));
    *expr = written;
    digits
}

/// The same of all numbers within something.
fn unmark_all<T: VisitMut + ?Sized>(tree: &mut T) {
    let _ = tree.visit(&mut Unmarking);
}

struct Unmarking;

impl VisitorMut for Unmarking {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        unmark(expr);
        ControlFlow::Continue(())
    }
}

fn subscript(access: &mut AccessExpr) {
    match access {
        AccessExpr::Subscript(Subscript::Index { index }) => {
            unmark(index);
        }
        AccessExpr::Subscript(Subscript::Slice {
            lower_bound,
            upper_bound,
            stride,
        }) => {
            for bound in [lower_bound, upper_bound, stride].into_iter().flatten() {
                unmark(bound);
            }
        }
        AccessExpr::Dot(_) => {}
    }
}

fn frame(frame: &mut WindowFrame) {
    let bounds = std::iter::once(&mut frame.start_bound).chain(frame.end_bound.as_mut());
    for bound in bounds {
        if let WindowFrameBound::Preceding(Some(n)) | WindowFrameBound::Following(Some(n)) = bound {
            unmark_all(n.as_mut());
        }
    }
}

/// Only the arguments whose type a function's result takes keep their marks.
fn arguments(function: &mut Function) {
    if let Some(WindowType::WindowSpec(spec)) = &mut function.over {
        spec.window_frame.iter_mut().for_each(frame);
    }
    let name = function_name(function).unwrap_or_default();
    let mut known = OF_ONE_TYPE.iter().filter(|(known, _)| *known == name);
    let typed = known.next().map_or(0..0, |(_, places)| places.clone());
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    for (idx, arg) in list.args.iter_mut().enumerate() {
        let (FunctionArg::Unnamed(arg)
        | FunctionArg::Named { arg, .. }
        | FunctionArg::ExprNamed { arg, .. }) = arg;
        let FunctionArgExpr::Expr(arg) = arg else {
            continue;
        };
        if !typed.contains(&idx) {
            unmark(arg);
        } else if OF_VALUES.contains(&name.as_str()) {
            keep_digits(arg);
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    /// The statement with `{}` around each number that has a mark.
    fn marked(sql: &str) -> String {
        let mut statements = Parser::parse_sql(&PostgreSqlDialect {}, sql).unwrap();
        type_numbers(&mut statements[0]);
        let mut text = statements[0].to_string();
        while let Some(at) = text.find(MARK) {
            let behind = &text[at + MARK.len()..];
            let digits = behind.trim_start_matches(" '");
            let length = digits.find('\'').unwrap();
            let end = text.len() - digits.len() + length + 1;
            let digits = digits[..length].to_owned();
            let start = text[..at].trim_end().rfind(digits.as_str()).unwrap();
            text.replace_range(start..end, &format!("{{{digits}}}"));
        }
        text
    }

    #[test]
    fn numbers_have_marks_where_their_type_counts() {
        assert_eq!(marked("SELECT 1, -2, x + 3"), "SELECT {1}, {-2}, x + {3}");
        assert_eq!(marked("VALUES (1), (2)"), "VALUES ({1}), ({2})");
        assert_eq!(
            marked("SELECT coalesce(x, 0), round(x, 2), substr(s, 1 + 1)"),
            "SELECT coalesce(x, {0}), round(x, 2), SUBSTR(s, {1} + {1})"
        );
        assert_eq!(
            marked("SELECT lag(x, 1, 0) OVER (ORDER BY y) FROM t"),
            "SELECT lag(x, {1}, {0}) OVER (ORDER BY y) FROM t"
        );
        for kept in [
            "SELECT x FROM t GROUP BY 1 ORDER BY 1 LIMIT 3 + 1 OFFSET 2",
            "SELECT a[1], 5::BIGINT FROM t",
            "SELECT sum(x) OVER (ORDER BY y ROWS BETWEEN 1 PRECEDING AND 2 FOLLOWING) FROM t",
            "SELECT * FROM generate_series(1, 2 + 3)",
            "SELECT 3000000000, -3000000000, 1.5, 1e3",
        ] {
            assert_eq!(marked(kept), kept);
        }
    }

    #[test]
    fn marks_become_literals_of_their_types() {
        assert_eq!(literal_of("-7"), Some(lit(-7_i32)));
        let large = ScalarValue::Decimal128(Some(9_223_372_036_854_775_808), 19, 0);
        let digits = typed_digits("9_223_372_036_854_775_808").unwrap();
        assert_eq!(literal_of(&digits), Some(lit(large)));
        assert_eq!(typed_digits("2147483648"), None);
        assert_eq!(typed_digits("1.0"), None);
    }

    #[test]
    fn long_fractions_keep_their_digits_beside_decimals() {
        assert_eq!(
            marked("SELECT 0.1234567890123456 < n, -123456789012.123456 + x"),
            "SELECT {0.1234567890123456} < n, {-123456789012.123456} + x"
        );
        let kept = "SELECT 0.1234567890123456, n + 0.123456789012345, n + 1000000000000000.0";
        assert_eq!(marked(kept), kept);
        let number = literal_of("-123456789012.123456").unwrap();
        let settled = |beside: DataType| {
            let mut raw = RawBinaryExpr {
                op: BinaryOperator::Eq,
                left: lit(1_i32),
                right: number.clone(),
            };
            settle(&mut raw, &|_| Some(beside.clone()));
            raw.right
        };
        let decimal = ScalarValue::Decimal128(Some(-123_456_789_012_123_456), 18, 6);
        assert_eq!(settled(DataType::Decimal128(10, 2)), lit(decimal.clone()));
        assert_eq!(settled(DataType::Int32), lit(decimal));
        let double: f64 = "-123456789012.123456".parse().unwrap();
        assert_eq!(settled(DataType::Float64), lit(double));
    }
}
