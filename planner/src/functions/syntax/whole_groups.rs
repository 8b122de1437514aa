//! HAVING without GROUP BY and without an aggregate: `SELECT 1 FROM t HAVING true` has one row, whatever `t` has.
//!
//! In and out: a SELECT. All rows are one group, which the planner knows by aggregates alone: the condition counts the rows
//! as well.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, GroupByExpr, Select, SelectItem, SetExpr,
};

use super::elements::has_aggregate;
use crate::error::Result;

/// Rewrites the condition of the group.
pub(super) fn rewrite(select: &mut Select) -> Result<()> {
    let is_grouped = match &select.group_by {
        GroupByExpr::All(_) => true,
        GroupByExpr::Expressions(exprs, modifiers) => !exprs.is_empty() || !modifiers.is_empty(),
    };
    let having = select.having.as_mut();
    if let Some(having) = having.filter(|having| !is_grouped && !has_aggregate(having))
        && let Some(counts) = counts_rows()?
    {
        let condition = Expr::Nested(Box::new(having.clone()));
        *having = Expr::BinaryOp {
            left: Box::new(condition),
            op: BinaryOperator::And,
            right: Box::new(counts),
        };
    }
    Ok(())
}

/// A condition that every group meets.
fn counts_rows() -> Result<Option<Expr>> {
    let query = auspex_sql::parse_query("SELECT count(*) >= 0", auspex_sql::Dialect::Postgres)?;
    let SetExpr::Select(select) = *query.body else {
        return Ok(None);
    };
    Ok(match select.projection.into_iter().next() {
        Some(SelectItem::UnnamedExpr(counts)) => Some(counts),
        _ => None,
    })
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
    fn rows_are_one_group_where_nothing_else_tells_it() {
        assert_eq!(
            rewritten("SELECT 1 FROM t HAVING false"),
            "SELECT 1 FROM t HAVING (false) AND count(*) >= 0"
        );
        for same in [
            "SELECT a FROM t GROUP BY a HAVING a > 1",
            "SELECT 1 FROM t HAVING max(a) > 1",
        ] {
            assert_eq!(rewritten(same), same);
        }
    }
}
