//! WITH queries that have the name of one around them: `WITH q AS (…) SELECT * FROM (WITH q AS (…) SELECT * FROM q) z, q`.
//!
//! In: a statement; out: the statement in which the inner ones, and what reads them, have names of their own: the planner
//! takes the second of a name for an error. A query still sees the outer one in the definition of its namesake. In WITH
//! RECURSIVE each side of a UNION has the queries of its WITH, which the planner does not see there.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, Query, SetExpr, SetOperator, Statement, TableAlias, TableFactor, VisitMut, VisitorMut,
    visit_relations,
};

use crate::commands::folded;

/// Renames the queries.
pub(super) fn spell(statement: &mut Statement) {
    // The visitor never breaks off.
    let _ = VisitMut::visit(statement, &mut Renaming::default());
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
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        let mut names = Names {
            names: Vec::new(),
            n_read: 0,
            is_recursive: false,
        };
        if let Some(with) = &mut query.with {
            names.is_recursive = with.recursive;
            for cte in &mut with.cte_tables {
                let name = folded(&cte.alias.name);
                match with.recursive {
                    true if is_cut(&cte.query) && !reads(&cte.query, &name) => {
                        *cte.query = bare(SetExpr::Query(cte.query.clone()));
                    }
                    true => hand_down(&mut cte.query),
                    false => {}
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

    fn post_visit_query(&mut self, _: &mut Query) -> ControlFlow<()> {
        self.around.pop();
        // The queries of a WITH are visited before what reads them.
        if let Some(names) = self.around.last_mut() {
            names.n_read += 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
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

/// Whether a UNION is ordered or has a limit, which the planner drops in WITH RECURSIVE but for what stands in brackets.
fn is_cut(query: &Query) -> bool {
    let has_more =
        query.order_by.is_some() || query.limit_clause.is_some() || query.fetch.is_some();
    has_more && matches!(*query.body, SetExpr::SetOperation { .. })
}

/// Whether a query reads what has a name.
fn reads(query: &Query, name: &str) -> bool {
    let found = visit_relations(query, |relation| match relation.0.as_slice() {
        [part] if part.as_ident().map(folded).as_deref() == Some(name) => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

/// A query of nothing but a body.
fn bare(body: SetExpr) -> Query {
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

    fn spelt(text: &str) -> String {
        let query = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        spell(&mut statement);
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
        let text =
            "WITH RECURSIVE w AS (SELECT 1 UNION ALL SELECT 2 FROM w LIMIT 1) SELECT * FROM w";
        assert_eq!(spelt(text), text);
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
