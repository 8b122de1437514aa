//! Where a row is looked for among those of a subquery, `(a, b) IN (SELECT x, y FROM t)`, or compared with them, NULLs make the answer unknown.
//!
//! In: a SELECT in which `row_comparisons` has written EXISTS for it; out: the same with three values where unknown differs from
//! false: among its columns, and in conditions below NOT, IS NULL and whatever else is neither AND nor OR.

use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{
    BinaryOperator, CaseWhen, Expr, Query, Select, SelectItem, SetExpr, TableFactor, UnaryOperator,
    Value,
};

use super::own_expressions::change_own;
use super::row_comparisons::ROWS;

/// Rewrites a SELECT whose subqueries are rewritten.
pub(super) fn settle(select: &mut Select) {
    for item in &mut select.projection {
        if let SelectItem::UnnamedExpr(expr) | SelectItem::ExprWithAlias { expr, .. } = item {
            in_values(expr);
        }
    }
    let conditions = [&mut select.selection, &mut select.having];
    conditions.into_iter().flatten().for_each(in_condition);
}

fn in_values(expr: &mut Expr) {
    // What queries within ask is settled.
    change_own(expr, |expr| {
        if let Some(answer) = Sought::of(expr).map(|sought| sought.answer()) {
            *expr = answer;
        }
    });
}

fn in_condition(expr: &mut Expr) {
    match expr {
        Expr::Nested(inner) => in_condition(inner),
        Expr::BinaryOp {
            left,
            op: BinaryOperator::And | BinaryOperator::Or,
            right,
        } => {
            in_condition(left);
            in_condition(right);
        }
        Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: inner,
        } => match Sought::of(within(inner)) {
            // That no row is like it does not hold where one is.
            Some(sought) if sought.negated => *expr = sought.found(|same| *same, false),
            Some(sought) => *expr = sought.found(Expr::IsNotFalse, true),
            None => in_values(expr),
        },
        expr if Sought::of(expr).is_some() => {}
        expr => in_values(expr),
    }
}

fn within(expr: &Expr) -> &Expr {
    match expr {
        Expr::Nested(inner) => within(inner),
        expr => expr,
    }
}

/// A row that is looked for.
struct Sought<'a> {
    query: &'a Query,
    /// The condition of a row that is like it.
    same: &'a Expr,
    negated: bool,
}

impl<'a> Sought<'a> {
    fn of(expr: &'a Expr) -> Option<Sought<'a>> {
        let Expr::Exists { subquery, negated } = expr else {
            return None;
        };
        let SetExpr::Select(select) = subquery.body.as_ref() else {
            return None;
        };
        let TableFactor::Derived { alias, .. } = &select.from.first()?.relation else {
            return None;
        };
        alias.as_ref().filter(|alias| alias.name.value == ROWS)?;
        let same = match select.selection.as_ref()? {
            Expr::IsNotFalse(same) => same.as_ref(),
            same => same,
        };
        Some(Sought {
            query: subquery.as_ref(),
            same,
            negated: *negated,
        })
    }

    /// Whether there is a row, or none, of which something holds.
    fn found(&self, of: impl Fn(Box<Expr>) -> Expr, negated: bool) -> Expr {
        let mut query = self.query.clone();
        if let SetExpr::Select(select) = query.body.as_mut() {
            select.selection = Some(of(Box::new(self.same.clone())));
        }
        Expr::Exists {
            subquery: Box::new(query),
            negated,
        }
    }

    fn answer(&self) -> Expr {
        let value = |value: Value| Expr::Value(value.with_empty_span());
        let when = |condition: Expr, result: Value| CaseWhen {
            condition,
            result: value(result),
        };
        Expr::Case {
            case_token: AttachedToken::empty(),
            end_token: AttachedToken::empty(),
            operand: None,
            conditions: vec![
                when(
                    self.found(|same| *same, false),
                    Value::Boolean(!self.negated),
                ),
                when(self.found(Expr::IsNull, false), Value::Null),
            ],
            else_result: Some(Box::new(value(Value::Boolean(self.negated)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;

    fn rewritten(text: &str) -> String {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        super::super::rewrite(&mut statement, None).unwrap();
        statement.to_string()
    }

    #[test]
    fn conditions_have_three_values_where_they_differ() {
        let plain = rewritten("SELECT 1 FROM t WHERE (a, b) IN (SELECT x, y FROM u)");
        assert!(!plain.contains("CASE"), "{plain}");
        let negated = rewritten("SELECT 1 FROM t WHERE NOT ((a, b) IN (SELECT x, y FROM u))");
        assert!(negated.contains("WHERE NOT EXISTS"), "{negated}");
        assert!(negated.contains("IS NOT FALSE"), "{negated}");
        let tested = rewritten("SELECT 1 FROM t WHERE ((a, b) IN (SELECT x, y FROM u)) IS NULL");
        assert!(tested.contains("THEN NULL ELSE false END"), "{tested}");
    }
}
