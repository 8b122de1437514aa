//! Parameters as arguments of functions of numbers: `power($1, 2)`, `sqrt($1)`.
//!
//! In and out: a call. A parameter without a type is a double there, as PostgreSQL decides; the planner would take it for a
//! text.

use datafusion::sql::sqlparser::ast::{
    DataType, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
};

use super::{cast_to, function_name};

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
