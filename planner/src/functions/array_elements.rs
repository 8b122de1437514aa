//! `array_append`, `array_prepend`, `array_position` and `array_remove`, of elements and values of one type.
//!
//! In: a statement in its last form before it is planned, in which such calls become operators, as comparisons with arrays do
//! (`array_comparisons`), so that the planner of operators is told the types of both; out: the planner's own functions, with
//! casts where PostgreSQL finds a common type. A text without a type is an array of what stands beside it.

use datafusion::common::ExprSchema;
use datafusion::functions::core::coalesce;
use datafusion::functions_nested::concat::{array_append_udf, array_prepend_udf};
use datafusion::functions_nested::position::array_position_udf;
use datafusion::functions_nested::remove::array_remove_all_udf;
use datafusion::logical_expr::Expr as Planned;
use datafusion::logical_expr::planner::RawBinaryExpr;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
};

use super::array_comparisons::{alike, has_dimensions, read_array};
use super::arrays::WITHOUT_NULLS;
use super::dimensions::SEARCHED;
use super::json::kept;
use super::syntax::function_name;

/// The beginning of the operators of marks, which no client's text can write.
const MARK: &str = "\u{1e}array ";

const APPEND: &str = "array_append";
const PREPEND: &str = "array_prepend";
const POSITION: &str = "array_position";
const REMOVE: &str = "array_remove_all";

/// The operator of a call; `None`: it is of another function, or has other arguments.
pub(super) fn marked(expr: &Expr) -> Option<Expr> {
    let Expr::Function(function) = expr else {
        return None;
    };
    let name = function_name(function)?;
    let is_one = [APPEND, PREPEND, POSITION, REMOVE].contains(&name.as_str());
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    let plain = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(Box::new(expr.clone())),
        _ => None,
    };
    let [left, right] = list.args.as_slice() else {
        return None;
    };
    let operation = Expr::BinaryOp {
        left: plain(left)?,
        op: BinaryOperator::Custom(format!("{MARK}{name}")),
        right: plain(right)?,
    };
    is_one.then(|| Expr::Nested(Box::new(operation)))
}

/// The call of a mark; `None`: the operator is another. `called` is one of an own function of an array.
pub(super) fn planned(
    raw: &RawBinaryExpr,
    schema: &dyn ExprSchema,
    called: impl Fn(&str, &Planned) -> Option<Planned>,
) -> Option<Planned> {
    let BinaryOperator::Custom(mark) = &raw.op else {
        return None;
    };
    let name = mark.strip_prefix(MARK)?;
    let (array, value) = match name {
        PREPEND => (&raw.right, &raw.left),
        _ => (&raw.left, &raw.right),
    };
    let array = read_array(array, value, schema);
    let array = match name {
        POSITION if has_dimensions(&array, schema) => called(SEARCHED, &array)?,
        _ => array,
    };
    let (value, array) = alike(value, &array, schema);
    if name == PREPEND {
        return Some(kept(array_prepend_udf()).call(vec![value, array]));
    }
    let args = vec![array, value];
    Some(match name {
        APPEND => kept(array_append_udf()).call(args),
        POSITION => array_position_udf().call(args),
        _ => {
            // The planner's own gives NULL where the value is NULL; then it is the NULLs that are removed.
            let nulls = called(WITHOUT_NULLS, &args[0])?;
            let removed = kept(array_remove_all_udf()).call(args);
            kept(coalesce()).call(vec![removed, nulls])
        }
    })
}
