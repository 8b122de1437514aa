//! WITH queries that have the name of one around them: `WITH q AS (…) SELECT * FROM (WITH q AS (…) SELECT * FROM q) z, q`.
//!
//! In: a statement; out: the statement in which the inner ones, and what reads them, have names of their own: the planner
//! takes the second of a name for an error. A query still sees the outer one in the definition of its namesake.

use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Ident, Query, Statement, TableAlias, TableFactor, VisitMut, VisitorMut,
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
    fn others_keep_theirs() {
        for text in [
            "WITH q AS (SELECT 1), r AS (SELECT * FROM q) SELECT * FROM r, q AS s",
            "SELECT * FROM (WITH q AS (SELECT 1) SELECT * FROM q) AS a, (WITH q AS (SELECT 2) SELECT * FROM q) AS b",
        ] {
            assert_eq!(spelt(text), text);
        }
    }
}
