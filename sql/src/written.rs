//! Trees as text that a client may send: what the reading of statements made of forms that sqlparser lacks is written as
//! these forms.
//!
//! In: a tree; out: its text, which reads back as the same tree. One line here for each form that may stand in a query.

use std::fmt::Display;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{Expr, Select, TableFactor, VisitMut, VisitorMut};

use crate::{between_symmetric, distinct_groups, record_columns, rows_from, variadic};

/// The text of a tree.
pub fn written<T: Clone + Display + VisitMut>(tree: &T) -> String {
    let mut tree = tree.clone();
    // The visitor never breaks off.
    let _ = VisitMut::visit(&mut tree, &mut Forms);
    tree.to_string()
}

struct Forms;

impl VisitorMut for Forms {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        between_symmetric::write(expr);
        record_columns::write(expr);
        variadic::write(expr);
        ControlFlow::Continue(())
    }

    fn post_visit_select(&mut self, select: &mut Select) -> ControlFlow<()> {
        distinct_groups::write(select);
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        rows_from::write(factor);
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::written;
    use crate::{Dialect, PRIVATE, parse, parse_query};

    #[test]
    fn forms_are_written_as_a_client_sends_them() {
        for (text, form) in [
            (
                "SELECT * FROM ROWS FROM (generate_series(1, 2), unnest(a)) WITH ORDINALITY AS t (x, y, n)",
                "ROWS FROM(generate_series(1, 2), unnest(a)) WITH ORDINALITY",
            ),
            (
                "SELECT * FROM t, LATERAL ROWS FROM (unnest(t.a), f(t.b)) AS r",
                "LATERAL ROWS FROM(unnest(t.a), f(t.b)) AS r",
            ),
            (
                "SELECT 1 WHERE a IN (SELECT b FROM ROWS FROM (f(1)) AS r (b))",
                "ROWS FROM(f(1)) AS r",
            ),
            (
                "SELECT concat_ws(',', VARIADIC ARRAY[a, f(VARIADIC b)])",
                "concat_ws(',', VARIADIC ARRAY[a, f(VARIADIC b)])",
            ),
            (
                "SELECT x BETWEEN SYMMETRIC (a AND b) AND c AND d",
                "x BETWEEN SYMMETRIC (a AND b) AND c AND d",
            ),
            (
                "SELECT 1 WHERE NOT x NOT BETWEEN SYMMETRIC y + 1 AND 2",
                "x NOT BETWEEN SYMMETRIC y + 1 AND 2",
            ),
            (
                "SELECT x BETWEEN SYMMETRIC (y BETWEEN SYMMETRIC 1 AND 2)::int AND 3",
                "x BETWEEN SYMMETRIC (y BETWEEN SYMMETRIC 1 AND 2)::INT AND 3",
            ),
            (
                "SELECT a FROM t GROUP BY DISTINCT ROLLUP (a, b), c",
                "GROUP BY DISTINCT ROLLUP (a, b), c",
            ),
            ("SELECT a, (f(t.b, 1)).* FROM t", "(f(t.b, 1)).*"),
            ("SELECT x = ANY (ARRAY[1, 2])", "x = ANY(ARRAY[1, 2])"),
            ("SELECT x <> ALL (a)", "x <> ALL(a)"),
            ("SELECT x < SOME (a)", "x < SOME(a)"),
        ] {
            let query = parse_query(text, Dialect::Postgres).unwrap();
            let again = written(query.as_ref());
            assert!(again.contains(form), "{again}");
            assert!(!again.contains(PRIVATE), "{again}");
            assert!(parse(&again, Dialect::Auto).is_ok(), "{again}");
            assert_eq!(parse_query(&again, Dialect::Postgres).unwrap(), query);
        }
    }
}
