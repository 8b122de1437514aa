//! Positions in ORDER BY of columns that are computed of aggregates and have no name: `SELECT a, sum(x) / count(*) FROM t GROUP BY a ORDER BY 2`.
//!
//! In: a statement and the planner's error that such a column is not grouped by, since it looks for one of its name among the
//! groups; out: the statement in which the column has an alias, which the planner finds.

use std::ops::ControlFlow;

use datafusion::error::DataFusionError;
use datafusion::sql::sqlparser::ast::{
    Expr, Ident, OrderByKind, Query, SelectItem, SetExpr, Statement, Value, VisitMut, VisitorMut,
};

use super::names::{expression_name, is_wildcard};

/// Names such columns; false if nothing was changed. What follows `mark` is not shown.
pub(super) fn adopt(statement: &mut Statement, error: &DataFusionError, mark: char) -> bool {
    let message = error.strip_backtrace();
    if !message.contains("Column in ORDER BY must be in GROUP BY") {
        return false;
    }
    let mut naming = Naming {
        mark,
        is_changed: false,
    };
    let _ = VisitMut::visit(statement, &mut naming);
    naming.is_changed
}

struct Naming {
    mark: char,
    is_changed: bool,
}

impl VisitorMut for Naming {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let places = ordered_places(query);
        let SetExpr::Select(select) = query.body.as_mut() else {
            return ControlFlow::Continue(());
        };
        // What a wildcard stands for moves the columns behind it.
        if select.projection.iter().any(is_wildcard) {
            return ControlFlow::Continue(());
        }
        for place in places {
            if let Some(item) = select.projection.get_mut(place)
                && let SelectItem::UnnamedExpr(expr) = &*item
                && let Some(name) = expression_name(expr)
            {
                let alias = Ident::with_quote('"', format!("{name}{}{place}", self.mark));
                let expr = expr.clone();
                *item = SelectItem::ExprWithAlias { expr, alias };
                self.is_changed = true;
            }
        }
        ControlFlow::Continue(())
    }
}

/// The places of the columns, from 0, that a query orders its rows by.
fn ordered_places(query: &Query) -> Vec<usize> {
    let Some(OrderByKind::Expressions(keys)) = query.order_by.as_ref().map(|order| &order.kind)
    else {
        return Vec::new();
    };
    let place = |key: &Expr| match key {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<usize>().ok()?.checked_sub(1),
            _ => None,
        },
        _ => None,
    };
    keys.iter().filter_map(|key| place(&key.expr)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_at_positions_are_named() {
        let text = "SELECT a, sum(x) / count(*), b FROM t GROUP BY a, b ORDER BY 2, 3 DESC";
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        let other = DataFusionError::Plan("another error".to_owned());
        assert!(!adopt(&mut statement, &other, '#'));
        let error = DataFusionError::Plan(
            "Column in ORDER BY must be in GROUP BY or an aggregate function: …".to_owned(),
        );
        assert!(adopt(&mut statement, &error, '#'));
        assert_eq!(
            statement.to_string(),
            "SELECT a, sum(x) / count(*) AS \"?column?#1\", b FROM t GROUP BY a, b ORDER BY 2, 3 DESC"
        );
        assert!(!adopt(&mut statement, &error, '#'));
    }
}
