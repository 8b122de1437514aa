//! WITH queries that have the name of one around them: `WITH q AS (…) SELECT * FROM (WITH q AS (…) SELECT * FROM q) z, q`.
//!
//! In: a statement; out: the statement in which the inner ones, and what reads them, have names of their own: the planner
//! takes the second of a name for an error. A query still sees the outer one in the definition of its namesake. In WITH
//! RECURSIVE each side of a UNION has the queries of its WITH, which the planner does not see there, and one that reads itself
//! is refused where it is ordered or has a limit, which the planner would leave out.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, LimitClause, Query, SetExpr, SetOperator, Statement, TableAlias, TableFactor, VisitMut,
    VisitorMut, visit_relations,
};

use crate::commands::folded;
use crate::error::{Error, Result};

/// Renames the queries. Errors: 0A000 a recursive UNION is ordered or has a limit.
pub(super) fn spell(statement: &mut Statement) -> Result<()> {
    match VisitMut::visit(statement, &mut Renaming::default()) {
        ControlFlow::Continue(()) => Ok(()),
        ControlFlow::Break(error) => Err(error),
    }
}

/// The WITH queries of one query, in their order.
struct Names {
    /// What they are called, and what they are called anew.
    names: Vec<(String, Option<Ident>)>,
    /// How many of them were read: those, and nothing before them, see them.
    n_read: usize,
    is_recursive: bool,
}

impl Names {
    fn seen(&self) -> &[(String, Option<Ident>)] {
        match self.is_recursive {
            true => &self.names,
            false => &self.names[..self.n_read.min(self.names.len())],
        }
    }

    fn find(&self, name: &str) -> Option<&Option<Ident>> {
        let mut seen = self.seen().iter().rev();
        let found = seen.find(|(known, _)| known == name);
        found.map(|(_, renamed)| renamed)
    }
}

#[derive(Default)]
struct Renaming {
    around: Vec<Names>,
    n_renamed: usize,
}

impl VisitorMut for Renaming {
    type Break = Error;

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<Error> {
        let mut names = Names {
            names: Vec::new(),
            n_read: 0,
            is_recursive: false,
        };
        if let Some(with) = &mut query.with {
            names.is_recursive = with.recursive;
            for cte in &mut with.cte_tables {
                let name = folded(&cte.alias.name);
                match what_cuts(&cte.query).filter(|_| with.recursive) {
                    Some(clause) if reads(&cte.query, &name) => {
                        let message = format!("{clause} in a recursive query is not implemented");
                        return ControlFlow::Break(Error::invalid("0A000", message, None));
                    }
                    Some(_) => *cte.query = bare(SetExpr::Query(cte.query.clone())),
                    None if with.recursive => hand_down(&mut cte.query),
                    None => {}
                }
                let is_known = self.around.iter().any(|names| names.find(&name).is_some());
                let renamed = is_known.then(|| {
                    self.n_renamed += 1;
                    Ident::with_quote('"', format!("{name} {}", self.n_renamed))
                });
                if let Some(renamed) = &renamed {
                    cte.alias.name = renamed.clone();
                }
                names.names.push((name, renamed));
            }
        }
        self.around.push(names);
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<Error> {
        self.around.pop();
        // The queries of a WITH are visited before what reads them.
        if let Some(names) = self.around.last_mut() {
            names.n_read += 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<Error> {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = factor
        else {
            return ControlFlow::Continue(());
        };
        let [part] = name.0.as_slice() else {
            return ControlFlow::Continue(());
        };
        let Some(ident) = part.as_ident().cloned() else {
            return ControlFlow::Continue(());
        };
        let called = folded(&ident);
        let mut around = self.around.iter().rev();
        if let Some(Some(renamed)) = around.find_map(|names| names.find(&called)) {
            *name = vec![renamed.clone()].into();
            alias.get_or_insert_with(|| TableAlias {
                explicit: true,
                name: ident,
                columns: Vec::new(),
                at: None,
            });
        }
        ControlFlow::Continue(())
    }
}

/// Gives the sides of a UNION the queries of its WITH.
fn hand_down(query: &mut Query) {
    let SetExpr::SetOperation {
        op: SetOperator::Union,
        left,
        right,
        ..
    } = query.body.as_mut()
    else {
        return;
    };
    let Some(with) = query.with.take() else {
        return;
    };
    for side in [left, right] {
        **side = SetExpr::Query(Box::new(Query {
            with: Some(with.clone()),
            ..bare(*side.clone())
        }));
    }
}

/// The clause that orders or cuts a UNION, which the planner drops in WITH RECURSIVE but for what stands in brackets.
fn what_cuts(query: &Query) -> Option<&'static str> {
    if !matches!(*query.body, SetExpr::SetOperation { .. }) {
        return None;
    }
    let limit = match &query.limit_clause {
        Some(LimitClause::LimitOffset {
            limit: None,
            offset: Some(_),
            ..
        }) if query.fetch.is_none() => Some("OFFSET"),
        Some(_) => Some("LIMIT"),
        None => query.fetch.as_ref().map(|_| "LIMIT"),
    };
    query.order_by.as_ref().map(|_| "ORDER BY").or(limit)
}

/// Whether a query reads what has a name.
pub(super) fn reads(query: &Query, name: &str) -> bool {
    let found = visit_relations(query, |relation| match relation.0.as_slice() {
        [part] if part.as_ident().map(folded).as_deref() == Some(name) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// A query of nothing but a body.
pub(super) fn bare(body: SetExpr) -> Query {
    Query {
        with: None,
        body: Box::new(body),
        order_by: None,
        limit_clause: None,
        fetch: None,
        locks: Vec::new(),
        for_clause: None,
        settings: None,
        format_clause: None,
        pipe_operators: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Statement {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        Statement::Query(query)
    }

    fn spelt(text: &str) -> String {
        let mut statement = parsed(text);
        spell(&mut statement).unwrap();
        statement.to_string()
    }

    #[test]
    fn the_inner_one_gets_a_name_of_its_own() {
        assert_eq!(
            spelt(
                "WITH q AS (SELECT 1) SELECT * FROM (WITH q AS (SELECT 2 FROM q) SELECT * FROM q) AS z, q"
            ),
            "WITH q AS (SELECT 1) SELECT * FROM (WITH \"q 1\" AS (SELECT 2 FROM q) SELECT * FROM \"q 1\" AS q) AS z, q"
        );
    }

    #[test]
    fn both_sides_of_a_recursive_union_have_them() {
        assert_eq!(
            spelt(
                "WITH RECURSIVE w AS (WITH q AS (SELECT 1) SELECT * FROM q UNION ALL SELECT 2 FROM w) SELECT * FROM w"
            ),
            "WITH RECURSIVE w AS ((WITH q AS (SELECT 1) SELECT * FROM q) UNION ALL \
             (WITH q AS (SELECT 1) SELECT 2 FROM w)) SELECT * FROM w"
        );
    }

    #[test]
    fn what_is_cut_stands_in_brackets_unless_it_reads_itself() {
        assert_eq!(
            spelt("WITH RECURSIVE w AS (SELECT 1 UNION ALL SELECT 2 LIMIT 1) SELECT * FROM w"),
            "WITH RECURSIVE w AS ((SELECT 1 UNION ALL SELECT 2 LIMIT 1)) SELECT * FROM w"
        );
        for (rest, clause) in [
            ("LIMIT 1", "LIMIT"),
            ("OFFSET 1", "OFFSET"),
            ("FETCH FIRST ROW ONLY", "LIMIT"),
            ("ORDER BY 1 LIMIT 1", "ORDER BY"),
        ] {
            let text = format!(
                "WITH RECURSIVE w AS (SELECT 1 UNION ALL SELECT 2 FROM w {rest}) SELECT * FROM w"
            );
            let error = spell(&mut parsed(&text)).unwrap_err();
            let expected = format!("{clause} in a recursive query is not implemented");
            assert_eq!(error.to_string(), expected);
        }
    }

    #[test]
    fn others_keep_theirs() {
        for text in [
            "WITH q AS (SELECT 1), r AS (SELECT * FROM q) SELECT * FROM r, q AS s",
            "SELECT * FROM (WITH q AS (SELECT 1) SELECT * FROM q) AS a, (WITH q AS (SELECT 2) SELECT * FROM q) AS b",
        ] {
            assert_eq!(spelt(text), text);
        }
    }
}
