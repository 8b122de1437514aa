//! Keys of groups with subqueries, `GROUP BY ROLLUP (EXISTS (SELECT …), b)`, are values with names of their own wherever the query
//! has them: the planner knows EXISTS and IN in conditions alone, and calls all subqueries as it calls what they compute.
//!
//! In: a statement as it is written, in which such a key becomes the operand of the operator of [`cast_keys`](super::cast_keys);
//! what stands there is spelt as a value (`syntax/subqueries.rs`).

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Query, Select, Statement, Visit as _, Visitor};

use super::cast_keys::{keys_of, mark_chosen, spelt, without_brackets};

/// Marks such keys.
pub(super) fn mark(statement: &mut Statement) {
    // Below zero, where no key of a cast is.
    mark_chosen(statement, keys_with_queries, -1);
}

/// Each such key once; a key that is part of another one comes behind it, since marks are part of what they stand in.
fn keys_with_queries(select: &Select) -> Vec<Expr> {
    let keys = keys_of(select).into_iter().map(without_brackets);
    let with_queries = keys.filter(|key| key.visit(&mut Queries).is_break());
    let mut texts: Vec<(String, &Expr)> = with_queries.map(|key| (spelt(key), key)).collect();
    texts.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
    texts.dedup_by(|(a, _), (b, _)| a == b);
    texts.into_iter().map(|(_, key)| key.clone()).collect()
}

/// Stops at the first query.
struct Queries;

impl Visitor for Queries {
    type Break = ();

    fn pre_visit_query(&mut self, _: &Query) -> ControlFlow<()> {
        ControlFlow::Break(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(text: &str) -> String {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        mark(&mut statement);
        statement.to_string().replace('\u{1e}', "#")
    }

    #[test]
    fn keys_with_queries_are_marked_everywhere() {
        assert_eq!(
            marked(
                "SELECT NOT (EXISTS (SELECT 1 FROM f)), a FROM t GROUP BY ROLLUP (EXISTS (SELECT 1 FROM f), a) ORDER BY EXISTS (SELECT 1 FROM f)"
            ),
            "SELECT NOT ((EXISTS (SELECT 1 FROM f) #cast key -1 NULL)), a FROM t GROUP BY ROLLUP ((EXISTS (SELECT 1 FROM f) #cast key -1 NULL), a) ORDER BY (EXISTS (SELECT 1 FROM f) #cast key -1 NULL)"
        );
        assert_eq!(
            marked("SELECT (SELECT 1) + 1 FROM t GROUP BY (SELECT 1), 1"),
            "SELECT (((SELECT 1) #cast key -2 NULL) + 1 #cast key -1 NULL) FROM t GROUP BY ((SELECT 1) #cast key -2 NULL), 1"
        );
    }

    #[test]
    fn other_keys_stay() {
        let text = "SELECT EXISTS (SELECT 1 FROM f), a FROM t GROUP BY a";
        assert_eq!(marked(text), text);
    }
}
