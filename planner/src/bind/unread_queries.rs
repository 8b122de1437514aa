//! Queries of WITH that have parameters: `WITH w AS (SELECT … WHERE i = $1) SELECT 1`.
//!
//! In: a statement; out: for each WITH those of its queries that have parameters, and a statement that reads them all at once. The
//! planner leaves out what nothing reads, but clients send the values of its parameters, so that their types are those of these
//! statements. These have no other queries of WITH than the ones that are read there.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use auspex_sql::{Dialect, ParsedStatement, Statement};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::helpers::attached_token::AttachedToken;
use datafusion::sql::sqlparser::ast::{self, Cte, Expr, ObjectName, Query, Visit, Visitor, With};

use super::late_names::place;
use crate::commands::folded;
use crate::error::Result;

/// Queries of one WITH that have parameters.
#[derive(Debug, Clone)]
pub(crate) struct WithParameters {
    scope: Arc<Scope>,
    /// Each by its place in the scope, with the places of its parameters, counted from 0.
    queries: Vec<(usize, BTreeSet<usize>)>,
}

/// The queries that those of a WITH may read, and they themselves.
#[derive(Debug)]
struct Scope {
    with_token: AttachedToken,
    is_recursive: bool,
    seen: Vec<Arc<Seen>>,
    /// The places of the last ones of their names.
    places: BTreeMap<String, usize>,
}

#[derive(Debug)]
struct Seen {
    query: Cte,
    /// The names of all relations in it.
    reads: BTreeSet<String>,
}

/// All of them, the outer ones first.
pub(crate) fn with_parameters(parsed: &ParsedStatement) -> Vec<WithParameters> {
    let Some(statement) = parsed.sql() else {
        return Vec::new();
    };
    // Far cheaper than a walk over the many rows of an INSERT.
    let mut words = parsed.text.as_bytes().windows(4);
    if !words.any(|word| word.eq_ignore_ascii_case(b"with")) {
        return Vec::new();
    }
    let mut finder = Finder::default();
    if let Some(with) = &parsed.with {
        finder.enter(with);
        // The visitor never breaks off.
        let _ = with.visit(&mut finder);
        finder.around.pop();
    }
    let _ = statement.visit(&mut finder);
    finder.found
}

/// The places of the parameters in a part of a statement.
fn places_in(part: &impl Visit) -> BTreeSet<usize> {
    struct Places(BTreeSet<usize>);
    impl Visitor for Places {
        type Break = ();

        fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
            self.0.extend(place(expr));
            ControlFlow::Continue(())
        }
    }
    let mut places = Places(BTreeSet::new());
    let _ = part.visit(&mut places);
    places.0
}

/// The names of the relations in a query that may be those of WITH.
fn relations_of(query: &Query) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let _ = ast::visit_relations(query, |name| {
        if let [part] = name.0.as_slice() {
            names.extend(part.as_ident().map(folded));
        }
        ControlFlow::<()>::Continue(())
    });
    names
}

impl WithParameters {
    /// The places of the parameters.
    pub(crate) fn places(&self) -> BTreeSet<usize> {
        let places = self.queries.iter().flat_map(|(_, places)| places);
        places.copied().collect()
    }

    /// Whether any are left without those of which all parameters are known.
    pub(crate) fn leave_out(&mut self, known: &BTreeSet<usize>) -> bool {
        self.queries.retain(|(_, places)| !places.is_subset(known));
        !self.queries.is_empty()
    }

    /// Keeps those that no later one of them reads; the others, which are read with them.
    pub(crate) fn split_read(&mut self) -> WithParameters {
        let read = self.queries.iter().flat_map(|(at, _)| {
            let earlier = self.scope.read_by(*at);
            earlier.filter(move |read| read < at)
        });
        let read: BTreeSet<usize> = read.collect();
        let queries = std::mem::take(&mut self.queries).into_iter();
        let (others, kept): (Vec<_>, Vec<_>) = queries.partition(|(at, _)| read.contains(at));
        self.queries = kept;
        WithParameters {
            scope: Arc::clone(&self.scope),
            queries: others,
        }
    }

    /// Keeps the first half of several; the second one.
    pub(crate) fn split_half(&mut self) -> Option<WithParameters> {
        let n_kept = self.queries.len().div_ceil(2);
        let queries = self.queries.split_off(n_kept);
        (!queries.is_empty()).then(|| WithParameters {
            scope: Arc::clone(&self.scope),
            queries,
        })
    }

    /// A statement that reads them, and has nothing else.
    pub(crate) fn reader(&self, parsed: &ParsedStatement) -> Result<ParsedStatement> {
        let items = (0..self.queries.len()).map(|n| format!("(SELECT count(*) FROM q{n}) AS q{n}"));
        let items: Vec<String> = items.collect();
        let text = format!("SELECT {}", items.join(", "));
        let mut query = *auspex_sql::parse_query(&text, Dialect::Postgres)?;
        let mut queries = self.queries.iter();
        let _ = ast::visit_relations_mut(&mut query, |name| {
            if let Some((at, _)) = queries.next() {
                let read = self.scope.seen[*at].query.alias.name.clone();
                *name = ObjectName::from(vec![read]);
            }
            ControlFlow::<()>::Continue(())
        });
        query.with = Some(self.with());
        let statement = ast::Statement::Query(Box::new(query));
        let statement = SqlStatement::Statement(Box::new(statement));
        Ok(ParsedStatement {
            statement: Statement::Sql(Box::new(statement)),
            text: parsed.text.clone(),
            span: parsed.span,
            deferrable: None,
            with: None,
        })
    }

    /// They and all that they read.
    fn with(&self) -> With {
        let mut wanted = BTreeSet::new();
        let mut next: Vec<usize> = self.queries.iter().map(|(at, _)| *at).collect();
        while let Some(at) = next.pop() {
            if wanted.insert(at) {
                next.extend(self.scope.read_by(at));
            }
        }
        let queries = wanted.iter().map(|at| self.scope.seen[*at].query.clone());
        With {
            with_token: self.scope.with_token.clone(),
            recursive: self.scope.is_recursive,
            cte_tables: queries.collect(),
        }
    }
}

impl Scope {
    /// The places of the queries that one reads.
    fn read_by(&self, at: usize) -> impl Iterator<Item = usize> {
        let reads = self.seen[at].reads.iter();
        reads.filter_map(|name| self.places.get(name).copied())
    }
}

#[derive(Default)]
struct Finder {
    /// What the queries around one see.
    around: Vec<Arc<Scope>>,
    found: Vec<WithParameters>,
}

impl Finder {
    fn enter(&mut self, with: &With) {
        let outer = self.around.last();
        let mut seen = outer.map_or_else(Vec::new, |outer| outer.seen.clone());
        let mut places = outer.map_or_else(BTreeMap::new, |outer| outer.places.clone());
        let mut queries = Vec::new();
        for query in &with.cte_tables {
            let own = places_in(query.query.as_ref());
            if !own.is_empty() {
                queries.push((seen.len(), own));
            }
            places.insert(folded(&query.alias.name), seen.len());
            seen.push(Arc::new(Seen {
                query: query.clone(),
                reads: relations_of(&query.query),
            }));
        }
        let scope = Arc::new(Scope {
            with_token: with.with_token.clone(),
            is_recursive: with.recursive || outer.is_some_and(|outer| outer.is_recursive),
            seen,
            places,
        });
        if !queries.is_empty() {
            let scope = Arc::clone(&scope);
            self.found.push(WithParameters { scope, queries });
        }
        self.around.push(scope);
    }
}

impl Visitor for Finder {
    type Break = ();

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if let Some(with) = &query.with {
            self.enter(with);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &Query) -> ControlFlow<()> {
        if query.with.is_some() {
            self.around.pop();
        }
        ControlFlow::Continue(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> ParsedStatement {
        let mut parsed = auspex_sql::parse(text, Dialect::Postgres).unwrap();
        parsed.remove(0)
    }

    fn read(parsed: &ParsedStatement, found: &WithParameters) -> String {
        let reader = found.reader(parsed).unwrap();
        reader.sql().unwrap().to_string().replace('\n', " ")
    }

    /// The places of the parameters of each WITH, and what reads its queries.
    fn readers(text: &str) -> Vec<(Vec<usize>, String)> {
        let parsed = parsed(text);
        let found = with_parameters(&parsed).into_iter();
        let told = found.map(|found| (Vec::from_iter(found.places()), read(&parsed, &found)));
        told.collect()
    }

    const READ_A: &str = "(SELECT count(*) FROM a) AS q0";

    #[test]
    fn queries_of_a_with_are_read_together() {
        let text = "WITH a AS (SELECT 1 AS x), b AS (SELECT x, $2, $1 FROM a), \
                    c AS (SELECT $4), d AS (SELECT 2) SELECT $3";
        let expected = "WITH a AS (SELECT 1 AS x), b AS (SELECT x, $2, $1 FROM a), c AS (SELECT $4) \
                        SELECT (SELECT count(*) FROM b) AS q0, (SELECT count(*) FROM c) AS q1";
        assert_eq!(readers(text), [(vec![0, 1, 3], expected.to_owned())]);
    }

    #[test]
    fn those_within_others_see_what_is_around_them() {
        let text = "WITH RECURSIVE a AS (SELECT 1 AS x), c AS (SELECT 3) \
                    SELECT (WITH b AS (SELECT $1 FROM A) SELECT 2)";
        let expected = "WITH RECURSIVE a AS (SELECT 1 AS x), b AS (SELECT $1 FROM A) \
                        SELECT (SELECT count(*) FROM b) AS q0";
        assert_eq!(readers(text), [(vec![0], expected.to_owned())]);
        let within = readers("WITH a AS (WITH b AS (SELECT $1) SELECT $2) SELECT 1");
        let places: Vec<&[usize]> = within.iter().map(|(places, _)| places.as_slice()).collect();
        assert_eq!(places, [&[0_usize, 1][..], &[0_usize]]);
    }

    #[test]
    fn those_of_a_change_are_found_where_nothing_reads_them() {
        let found = readers("WITH a AS (SELECT $1) UPDATE t SET x = $2");
        let expected = format!("WITH a AS (SELECT $1) SELECT {READ_A}");
        assert_eq!(found, [(vec![0], expected)]);
    }

    #[test]
    fn those_that_others_read_wait_for_them() {
        let text =
            "WITH a AS (SELECT $1 AS x), b AS (SELECT x, $2 FROM a), c AS (SELECT $3) SELECT 1";
        let parsed = parsed(text);
        let mut found = with_parameters(&parsed).remove(0);
        let mut others = found.split_read();
        assert_eq!(Vec::from_iter(found.places()), [1, 2]);
        assert_eq!(Vec::from_iter(others.places()), [0]);
        let second = found.split_half().unwrap();
        assert_eq!(Vec::from_iter(found.places()), [1]);
        assert_eq!(Vec::from_iter(second.places()), [2]);
        assert!(found.split_half().is_none());
        let expected = format!("WITH a AS (SELECT $1 AS x) SELECT {READ_A}");
        assert_eq!(read(&parsed, &others), expected);
        assert!(others.leave_out(&BTreeSet::from([1, 2])));
        assert!(!others.leave_out(&BTreeSet::from([0])));
    }

    #[test]
    fn others_are_left_alone() {
        for text in ["SELECT $1", "WITH a AS (SELECT 1) SELECT $1 FROM a"] {
            assert!(readers(text).is_empty(), "{text}");
        }
    }
}
