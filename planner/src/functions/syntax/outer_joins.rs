//! Functions and subqueries on the right of RIGHT and FULL JOIN, where they see nothing of the left side.
//!
//! In: a SELECT whose relations were rewritten before; out: such a relation as a query of its own, since the planner takes all
//! that may see the relations before it for LATERAL, which these joins have not.

use datafusion::sql::sqlparser::ast::{JoinOperator, Select, TableFactor, TableWithJoins};

use super::unnest::unnest_query;

/// Rewrites the joins of FROM.
pub(super) fn settle(select: &mut Select) {
    select.from.iter_mut().for_each(settle_joins);
}

fn settle_joins(table: &mut TableWithJoins) {
    settle_nested(&mut table.relation);
    for join in &mut table.joins {
        settle_nested(&mut join.relation);
        let keeps_right = matches!(
            join.join_operator,
            JoinOperator::Right(_) | JoinOperator::RightOuter(_) | JoinOperator::FullOuter(_)
        );
        if keeps_right {
            stand_alone(&mut join.relation);
        }
    }
}

fn settle_nested(relation: &mut TableFactor) {
    if let TableFactor::NestedJoin {
        table_with_joins, ..
    } = relation
    {
        settle_joins(table_with_joins);
    }
}

fn stand_alone(relation: &mut TableFactor) {
    if let Some(query) = unnest_query(relation) {
        *relation = query;
    }
    if let TableFactor::Derived { lateral, .. } = relation {
        *lateral = false;
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
    fn functions_beside_a_kept_side_are_queries() {
        assert_eq!(
            rewritten("SELECT * FROM t RIGHT JOIN unnest(a) AS g (x) ON t.id = x"),
            "SELECT * FROM t RIGHT JOIN (SELECT AS VALUE unnest(a) AS x) AS g ON t.id = x"
        );
        assert_eq!(
            rewritten("SELECT * FROM t FULL JOIN LATERAL (SELECT 1 AS x) AS g ON t.id = x"),
            "SELECT * FROM t FULL JOIN (SELECT 1 AS x) AS g ON t.id = x"
        );
        assert!(rewritten("SELECT * FROM t JOIN unnest(a) AS g (x) ON true").contains("UNNEST"));
    }
}
