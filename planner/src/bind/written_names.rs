//! The names of columns that the server has written as other expressions than the client's: casts of names of objects, which
//! became calls, and `ARRAY(SELECT …)`.
//!
//! In: such an expression; out: the name that PostgreSQL gives to what it stands for.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Value,
};

use super::names::{NAMELESS, strong_name};

/// The types of names of objects, and that of one character.
const CASTS: [&str; 6] = [
    "char",
    "regclass",
    "regnamespace",
    "regproc",
    "regrole",
    "regtype",
];

/// The name of what the server wrote as a call: an aggregate of json, or a cast such as `oid::regclass`.
pub(super) fn written_name(function: &Function, name: &str) -> Option<String> {
    if let Some(aggregate) = name
        .strip_suffix("_of")
        .filter(|name| name.starts_with("json") && name.ends_with("_agg"))
    {
        return Some(aggregate.to_owned());
    }
    if name == "get_field" {
        return named_field(function);
    }
    let is_number = |cast: &str| CASTS.contains(&cast);
    if name.strip_suffix("number").is_some_and(is_number) {
        return Some(NAMELESS.to_owned());
    }
    let cast = name
        .strip_suffix("in")
        .or_else(|| name.strip_suffix("out"))?;
    if !CASTS.contains(&cast) {
        return None;
    }
    let shown = only_argument(function).and_then(strong_name);
    Some(shown.unwrap_or_else(|| cast.to_owned()))
}

/// The name of `regclassout(oid) || ''`, as which the server writes `oid::regclass::text`: that of what is shown, if it has
/// one. `None`: it is another expression.
pub(super) fn text_name(expr: &Expr) -> Option<Option<String>> {
    let Expr::BinaryOp {
        left,
        op: BinaryOperator::StringConcat,
        right,
    } = expr
    else {
        return None;
    };
    let (Expr::Function(function), Expr::Value(nothing)) = (left.as_ref(), right.as_ref()) else {
        return None;
    };
    let name = function.name.0.last()?.as_ident()?.value.as_str();
    let is_shown = name
        .strip_suffix("out")
        .is_some_and(|cast| CASTS.contains(&cast));
    if !is_shown || nothing.value != Value::SingleQuotedString(String::new()) {
        return None;
    }
    Some(match only_argument(function)? {
        // A name that is written out and looked up.
        Expr::Function(call) if written_name(call, &call.name.to_string()).is_some() => None,
        shown => strong_name(shown),
    })
}

/// Whether a call is what the server made of `ARRAY(SELECT …)`: `coalesce((SELECT array_agg(…) …), make_array())`, or that of an
/// array alone, `coalesce(a, "make_array"())`, whose quotes tell it from what a client writes.
pub(super) fn is_array_of_query(function: &Function) -> bool {
    let FunctionArguments::List(list) = &function.args else {
        return false;
    };
    let [
        FunctionArg::Unnamed(FunctionArgExpr::Expr(array)),
        FunctionArg::Unnamed(FunctionArgExpr::Expr(empty)),
    ] = list.args.as_slice()
    else {
        return false;
    };
    let empty = match empty {
        Expr::Cast { expr, .. } => expr.as_ref(),
        empty => empty,
    };
    let Expr::Function(empty) = empty else {
        return false;
    };
    let is_empty = match empty.name.to_string().as_str() {
        "\"make_array\"" => true,
        "make_array" => matches!(array, Expr::Subquery(_)),
        _ => false,
    };
    is_empty && function.name.to_string() == "coalesce"
}

/// The field that `get_field(row, 'field')` asks for.
fn named_field(function: &Function) -> Option<String> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.last()? {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(Expr::Value(value))) => match &value.value {
            Value::SingleQuotedString(field) => Some(field.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// The only argument of a call.
fn only_argument(function: &Function) -> Option<&Expr> {
    let FunctionArguments::List(list) = &function.args else {
        return None;
    };
    match list.args.as_slice() {
        [FunctionArg::Unnamed(FunctionArgExpr::Expr(expr))] => Some(expr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::column_rules::parse_expr;
    use super::super::names::column_name_of;

    #[test]
    fn arrays_of_queries_are_told_from_calls_like_them() {
        for (text, name) in [
            ("coalesce((SELECT array_agg(x)), make_array())", "array"),
            ("coalesce(a, \"make_array\"())", "array"),
            ("coalesce(a, CAST(\"make_array\"() AS TEXT[]))", "array"),
            ("coalesce(a, make_array())", "coalesce"),
            ("array_cat(a, make_array())", "array_cat"),
        ] {
            assert_eq!(column_name_of(&parse_expr(text).unwrap()), name, "{text}");
        }
    }
}
