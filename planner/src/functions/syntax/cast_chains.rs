//! Casts of casts: `x::int::int`.
//!
//! In: an expression; out: the same without casts to the type that its operand was cast to. How many others may stand in one
//! another is bounded: the planner asks each for the names and types of all below it, and does so at every step.

use datafusion::sql::sqlparser::ast::{Expr, Value};

/// More than any statement that people or tools write.
pub(super) const LIMIT: usize = 100;

/// Leaves one of casts that are alike.
pub(super) fn fold(expr: &mut Expr) {
    while let Some(inner) = repeated(expr) {
        *expr = inner;
    }
}

/// The operand of a cast, if it is the same cast.
fn repeated(cast: &mut Expr) -> Option<Expr> {
    let Expr::Cast {
        expr: inner,
        kind,
        data_type,
        array,
        format,
    } = cast
    else {
        return None;
    };
    let is_same = matches!(
        inner.as_ref(),
        Expr::Cast { kind: of_kind, data_type: to, array: of_array, format: by, .. }
            if of_kind == kind && to == data_type && of_array == array && by == format
    );
    let nothing = || Expr::Value(Value::Null.with_empty_span());
    is_same.then(|| std::mem::replace(inner.as_mut(), nothing()))
}

/// Whether an expression is a cast, of those that are counted.
pub(super) fn is_cast(expr: &Expr) -> bool {
    matches!(expr, Expr::Cast { .. } | Expr::AtTimeZone { .. })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::{SelectItem, SetExpr};

    use super::*;

    fn folded(text: &str) -> String {
        let query = format!("SELECT {text}");
        let query = auspex_sql::parse_query(&query, auspex_sql::Dialect::Postgres).unwrap();
        let SetExpr::Select(mut select) = *query.body else {
            panic!("not a SELECT");
        };
        let Some(SelectItem::UnnamedExpr(mut expr)) = select.projection.pop() else {
            panic!("no expression");
        };
        fold(&mut expr);
        expr.to_string()
    }

    #[test]
    fn the_same_cast_stands_once() {
        assert_eq!(folded("x::INT::INT::INT"), "x::INT");
        assert_eq!(folded("x::VARCHAR(3)::VARCHAR(3)"), "x::VARCHAR(3)");
    }

    #[test]
    fn other_casts_stay() {
        for text in ["x::INT::TEXT::INT", "x::VARCHAR(4)::VARCHAR(3)", "x::INT"] {
            assert_eq!(folded(text), text);
        }
    }
}
