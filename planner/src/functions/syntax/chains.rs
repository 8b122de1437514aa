//! Long chains of AND and OR as trees that are as deep as the logarithm of their length.
//!
//! In and out: one condition, whose parts keep their order. The planner asks each operator for the types of all that is
//! below it, which for a chain of thousands would take minutes.

use datafusion::sql::sqlparser::ast::{BinaryOperator, Expr, Value};

/// Shorter chains stay as they are written.
const LONG: usize = 32;

/// Balances the chain that begins at an expression.
pub(super) fn balance(expr: &mut Expr) {
    let Expr::BinaryOp { op, .. } = expr else {
        return;
    };
    let op = op.clone();
    if !matches!(op, BinaryOperator::And | BinaryOperator::Or) || length(expr, &op) < LONG {
        return;
    }
    let nothing = || Expr::Value(Value::Null.with_empty_span());
    let mut rest = std::mem::replace(expr, nothing());
    let mut parts = Vec::new();
    rest = loop {
        match rest {
            Expr::BinaryOp {
                left,
                op: found,
                right,
            } if found == op => {
                parts.push(*right);
                rest = *left;
            }
            first => break first,
        }
    };
    parts.push(rest);
    parts.reverse();
    *expr = joined(parts, &op).unwrap_or_else(nothing);
}

/// How many operators of one kind follow one another to the left.
fn length(expr: &Expr, op: &BinaryOperator) -> usize {
    let mut n_operators = 0;
    let mut rest = expr;
    while let Expr::BinaryOp {
        left, op: found, ..
    } = rest
        && found == op
    {
        n_operators += 1;
        rest = left;
    }
    n_operators
}

fn joined(mut parts: Vec<Expr>, op: &BinaryOperator) -> Option<Expr> {
    if parts.len() < 2 {
        return parts.pop();
    }
    let second = parts.split_off(parts.len() / 2);
    Some(Expr::BinaryOp {
        left: Box::new(joined(parts, op)?),
        op: op.clone(),
        right: Box::new(joined(second, op)?),
    })
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::{SelectItem, SetExpr};

    use super::*;

    #[test]
    fn parts_keep_their_order() {
        let text = (0..100)
            .map(|n| format!("a{n}"))
            .collect::<Vec<_>>()
            .join(" OR ");
        let query = format!("SELECT {text}");
        let query = auspex_sql::parse_query(&query, auspex_sql::Dialect::Postgres).unwrap();
        let SetExpr::Select(mut select) = *query.body else {
            panic!("not a SELECT");
        };
        let Some(SelectItem::UnnamedExpr(mut expr)) = select.projection.pop() else {
            panic!("no expression");
        };
        balance(&mut expr);
        assert_eq!(length(&expr, &BinaryOperator::Or), 6);
        assert_eq!(expr.to_string(), text);
    }
}
