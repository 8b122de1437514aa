//! Parameters as arguments of functions and operators of numbers: `power($1, 2)`, `x ^ $1`, `ntile($1)`, of moments:
//! `$1 AT TIME ZONE 'UTC'`, and beside parameters alone: `$1 = $2`.
//!
//! In and out: an expression. As PostgreSQL decides, a parameter without a type is a double in such a call, where the planner
//! would take it for a text, a moment with a zone where one is moved to another, and a text where no other operand has a type,
//! either.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, ExactNumberInfo, Expr, Function, FunctionArg,
    FunctionArgExpr, FunctionArguments, TimezoneInfo, UnaryOperator, Value,
};

use super::{cast_to, function_name, literal, number_text};

/// Functions of doubles, whatever the number of their arguments.
const OF_DOUBLES: [&str; 25] = [
    "abs", "acos", "asin", "atan", "atan2", "cbrt", "ceil", "ceiling", "cos", "cosh", "cot",
    "degrees", "exp", "floor", "ln", "log10", "pow", "power", "radians", "sign", "sin", "sinh",
    "sqrt", "tan", "tanh",
];
/// Those that are of doubles with one argument alone.
const OF_ONE_DOUBLE: [&str; 3] = ["log", "round", "trunc"];

/// Gives such parameters their type.
pub(super) fn type_arguments(expr: &mut Expr) {
    let function = match expr {
        Expr::Function(function) => function,
        expr => return type_factors(expr),
    };
    let Some(name) = function_name(function) else {
        return;
    };
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    let n_args = list.args.len();
    for (idx, arg) in list.args.iter_mut().enumerate() {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg
            && let Expr::Value(value) = &*arg
            && matches!(value.value, Value::Placeholder(_))
            && let Some(data_type) = argument_type(&name, idx, n_args)
        {
            *arg = cast_to(arg.clone(), data_type);
        }
    }
}

/// The type of numbers that a function takes in one place.
fn argument_type(name: &str, idx: usize, n_args: usize) -> Option<DataType> {
    match (name, idx) {
        (name, _) if OF_DOUBLES.contains(&name) => Some(DataType::DoublePrecision),
        (name, _) if OF_ONE_DOUBLE.contains(&name) && n_args == 1 => {
            Some(DataType::DoublePrecision)
        }
        ("percentile_cont" | "percentile_disc", 0) => Some(DataType::DoublePrecision),
        ("ntile", 0) | ("nth_value" | "lag" | "lead", 1) => Some(DataType::Integer(None)),
        ("timezone", 1) if n_args == 2 => Some(moment()),
        ("date_trunc", 1) if n_args == 3 => Some(moment()),
        _ => None,
    }
}

/// The type of a moment of which nothing tells more.
fn moment() -> DataType {
    DataType::Timestamp(None, TimezoneInfo::WithTimeZone)
}

/// Gives the parameters of a power, a root, a sign and of rounding up and down their type, and a moment that is moved to another
/// zone.
fn type_factors(expr: &mut Expr) {
    if let Expr::AtTimeZone { timestamp, .. } = expr {
        if is_open(timestamp) {
            **timestamp = cast_to(timestamp.as_ref().clone(), moment());
        }
        return;
    }
    let operands: Vec<&mut Expr> = match expr {
        Expr::BinaryOp {
            left,
            op: BinaryOperator::PGExp,
            right,
        } => vec![left.as_mut(), right.as_mut()],
        Expr::UnaryOp {
            op:
                UnaryOperator::PGSquareRoot
                | UnaryOperator::PGCubeRoot
                | UnaryOperator::PGAbs
                | UnaryOperator::Plus,
            expr,
        }
        | Expr::Ceil { expr, .. }
        | Expr::Floor { expr, .. } => vec![expr.as_mut()],
        _ => return,
    };
    for operand in operands.into_iter().filter(|operand| is_open(operand)) {
        *operand = cast_to(operand.clone(), DataType::DoublePrecision);
    }
}

/// Functions whose arguments are of one type.
const OF_ONE_TYPE: [&str; 4] = ["coalesce", "greatest", "least", "nullif"];

/// Gives parameters beside parts of moments the type of these: a double beside `date_part`, a numeric beside EXTRACT, most of which are
/// whole numbers to the planner.
pub(super) fn type_beside_parts(expr: &mut Expr) {
    let values: Vec<&mut Expr> = match expr {
        Expr::BinaryOp { left, op, right } if takes_numbers(op) => {
            vec![left.as_mut(), right.as_mut()]
        }
        Expr::Between {
            expr, low, high, ..
        } => vec![expr.as_mut(), low.as_mut(), high.as_mut()],
        Expr::InList { expr, list, .. } => std::iter::once(expr.as_mut()).chain(list).collect(),
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            vec![left.as_mut(), right.as_mut()]
        }
        Expr::Case {
            conditions,
            else_result,
            ..
        } => {
            let results = conditions.iter_mut().map(|branch| &mut branch.result);
            results.chain(else_result.as_deref_mut()).collect()
        }
        Expr::Function(function)
            if function_name(function).is_some_and(|name| OF_ONE_TYPE.contains(&name.as_str())) =>
        {
            arguments(function)
        }
        _ => return,
    };
    let parts: Vec<Option<DataType>> = values.iter().map(|value| part_type(value)).collect();
    let is_known = |(value, part): (&&mut Expr, &Option<DataType>)| {
        part.is_some() || is_open(value) || number_text(value).is_some()
    };
    if !values.iter().zip(&parts).all(is_known) {
        return;
    }
    let mut parts = parts.into_iter().flatten();
    let Some(first) = parts.next() else {
        return;
    };
    let told = parts.find(|part| *part == DataType::DoublePrecision);
    let told = told.unwrap_or(first);
    for value in values.into_iter().filter(|value| is_open(value)) {
        *value = cast_to(value.clone(), told.clone());
    }
}

fn arguments(function: &mut Function) -> Vec<&mut Expr> {
    let FunctionArguments::List(list) = &mut function.args else {
        return Vec::new();
    };
    let args = list.args.iter_mut().filter_map(|arg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) => Some(arg),
        _ => None,
    });
    args.collect()
}

/// The type of a part of a moment.
fn part_type(expr: &Expr) -> Option<DataType> {
    match expr {
        Expr::Nested(inner) => part_type(inner),
        Expr::Extract { .. } => Some(DataType::Numeric(ExactNumberInfo::None)),
        Expr::Function(function) => {
            let is_part = function_name(function).is_some_and(|name| name == "date_part");
            is_part.then_some(DataType::DoublePrecision)
        }
        _ => None,
    }
}

/// Whether an operator computes or compares numbers.
fn takes_numbers(op: &BinaryOperator) -> bool {
    use BinaryOperator as B;
    matches!(
        op,
        B::Eq
            | B::NotEq
            | B::Lt
            | B::LtEq
            | B::Gt
            | B::GtEq
            | B::Plus
            | B::Minus
            | B::Multiply
            | B::Divide
            | B::Modulo
    )
}

/// Makes texts of parameters beside which no operand has a type.
pub(super) fn type_operands(expr: &mut Expr) {
    let operands: Vec<&mut Expr> = match expr {
        Expr::BinaryOp { left, op, right } if takes_texts(op) => {
            vec![left.as_mut(), right.as_mut()]
        }
        Expr::IsDistinctFrom(left, right) | Expr::IsNotDistinctFrom(left, right) => {
            vec![left.as_mut(), right.as_mut()]
        }
        Expr::Like {
            expr,
            pattern,
            any: false,
            ..
        }
        | Expr::ILike {
            expr,
            pattern,
            any: false,
            ..
        }
        | Expr::SimilarTo { expr, pattern, .. } => vec![expr.as_mut(), pattern.as_mut()],
        Expr::Between {
            expr, low, high, ..
        } => vec![expr.as_mut(), low.as_mut(), high.as_mut()],
        Expr::InList { expr, list, .. } => std::iter::once(expr.as_mut()).chain(list).collect(),
        Expr::AnyOp { left, right, .. } | Expr::AllOp { left, right, .. } => {
            if is_open(left) && is_open(right) {
                let element = ArrayElemTypeDef::SquareBracket(Box::new(DataType::Text), None);
                **left = cast_to(left.as_ref().clone(), DataType::Text);
                **right = cast_to(right.as_ref().clone(), DataType::Array(element));
            }
            return;
        }
        _ => return,
    };
    let has_no_type = |operand: &Expr| is_open(operand) || literal(operand).is_some();
    if operands.iter().all(|operand| has_no_type(operand)) {
        for operand in operands.into_iter().filter(|operand| is_open(operand)) {
            *operand = cast_to(operand.clone(), DataType::Text);
        }
    }
}

/// Whether an operator of operands without a type is one of texts.
fn takes_texts(op: &BinaryOperator) -> bool {
    use BinaryOperator as B;
    matches!(
        op,
        B::Eq
            | B::NotEq
            | B::Lt
            | B::LtEq
            | B::Gt
            | B::GtEq
            | B::StringConcat
            | B::PGRegexMatch
            | B::PGRegexIMatch
            | B::PGRegexNotMatch
            | B::PGRegexNotIMatch
    )
}

/// `($1)` is `$1`: the brackets say nothing, and would hide the parameter from what gives it a type.
pub(super) fn unbracket(expr: &mut Expr) {
    while let Expr::Nested(inner) = expr
        && is_open(inner)
    {
        let inner = inner.as_ref().clone();
        *expr = inner;
    }
}

/// Whether an expression is a parameter without a type.
pub(super) fn is_open(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_)),
        Expr::Nested(inner) => is_open(inner),
        _ => false,
    }
}
