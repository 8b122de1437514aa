//! Parameters as arguments of functions of numbers: `power($1, 2)`, `sqrt($1)`, and beside parameters alone: `$1 = $2`.
//!
//! In and out: an expression. As PostgreSQL decides, a parameter without a type is a double in such a call, where the planner
//! would take it for a text, and a text where no other operand has a type, either.

use datafusion::sql::sqlparser::ast::{
    ArrayElemTypeDef, BinaryOperator, DataType, Expr, FunctionArg, FunctionArgExpr,
    FunctionArguments, Value,
};

use super::{cast_to, function_name, literal};

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
    let Expr::Function(function) = expr else {
        return;
    };
    let Some(name) = function_name(function) else {
        return;
    };
    let FunctionArguments::List(list) = &mut function.args else {
        return;
    };
    let is_meant = OF_DOUBLES.contains(&name.as_str())
        || (OF_ONE_DOUBLE.contains(&name.as_str()) && list.args.len() == 1);
    if !is_meant {
        return;
    }
    for arg in &mut list.args {
        if let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg
            && let Expr::Value(value) = &*arg
            && matches!(value.value, Value::Placeholder(_))
        {
            *arg = cast_to(arg.clone(), DataType::DoublePrecision);
        }
    }
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

/// Whether an expression is a parameter without a type.
fn is_open(expr: &Expr) -> bool {
    match expr {
        Expr::Value(value) => matches!(value.value, Value::Placeholder(_)),
        Expr::Nested(inner) => is_open(inner),
        _ => false,
    }
}
