//! `WITH s AS (…) INSERT | UPDATE | DELETE | MERGE …`: queries that a change of rows reads by their names.
//!
//! In: a statement as DataFusion's parser reads it, which is a query around a change; out: the change, in which each query
//! that reads one of the names has the WITH, and the WITH. What changes rows within the WITH stays as it is.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    Ident, ObjectName, Query, SetExpr, Statement, TableAlias, TableFactor, TableWithJoins,
    UpdateTableFromKind, VisitMut, VisitorMut, With, visit_relations,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;

/// Settles such a statement, also one that is explained or prepared, and gives its WITH.
pub(super) fn settle(statement: &mut SqlStatement) -> Option<Box<With>> {
    match statement {
        SqlStatement::Statement(statement) => settle_one(statement),
        SqlStatement::Explain(explained) => settle(&mut explained.statement),
        _ => None,
    }
}

fn settle_one(statement: &mut Statement) -> Option<Box<With>> {
    if let Statement::Prepare { statement, .. } = statement {
        return settle_one(statement);
    }
    let (change, with) = change_of(statement)?;
    *statement = change;
    Some(with)
}

fn change_of(statement: &Statement) -> Option<(Statement, Box<With>)> {
    let Statement::Query(query) = statement else {
        return None;
    };
    let with = query.with.as_ref()?;
    let mut change = changed(&query.body)?.clone();
    if with
        .cte_tables
        .iter()
        .any(|cte| changed(&cte.query.body).is_some())
    {
        return None;
    }
    let names = with.cte_tables.iter().map(|cte| folded(&cte.alias.name));
    let mut given = Given {
        with,
        names: names.collect(),
        depth: 0,
    };
    // The visitor never breaks off.
    let _ = VisitMut::visit(&mut change, &mut given);
    given.name_relations(&mut change);
    Some((change, Box::new(with.clone())))
}

fn changed(body: &SetExpr) -> Option<&Statement> {
    match body {
        SetExpr::Insert(change)
        | SetExpr::Update(change)
        | SetExpr::Delete(change)
        | SetExpr::Merge(change) => Some(change),
        _ => None,
    }
}

/// A name as it is looked for.
fn folded(name: &Ident) -> String {
    match name.quote_style {
        Some(_) => name.value.clone(),
        None => name.value.to_lowercase(),
    }
}

/// The WITH that the queries of a change are given.
struct Given<'a> {
    with: &'a With,
    names: BTreeSet<String>,
    /// Queries around the one that is looked at.
    depth: usize,
}

impl VisitorMut for Given<'_> {
    type Break = ();

    fn pre_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if is_list(query) {
            return ControlFlow::Continue(());
        }
        if self.depth == 0 && self.is_read_by(query) {
            *query = self.around(query);
        }
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, query: &mut Query) -> ControlFlow<()> {
        if !is_list(query) {
            self.depth -= 1;
        }
        ControlFlow::Continue(())
    }
}

impl Given<'_> {
    fn is_name(&self, name: &ObjectName) -> bool {
        let [part] = name.0.as_slice() else {
            return false;
        };
        part.as_ident()
            .is_some_and(|name| self.names.contains(&folded(name)))
    }

    fn is_read_by(&self, query: &Query) -> bool {
        let is_read = |name: &ObjectName| match self.is_name(name) {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        };
        visit_relations(query, is_read).is_break()
    }

    /// A query with the WITH before its own.
    fn around(&self, query: &Query) -> Query {
        let with = Some(self.with.clone());
        match &query.with {
            None => Query {
                with,
                ..query.clone()
            },
            Some(_) => Query {
                with,
                ..plain(SetExpr::Query(Box::new(query.clone())))
            },
        }
    }

    /// Puts queries in the place of names that the change reads beside its table.
    fn name_relations(&self, change: &mut Statement) {
        match change {
            Statement::Update(update) => match &mut update.from {
                Some(
                    UpdateTableFromKind::BeforeSet(from) | UpdateTableFromKind::AfterSet(from),
                ) => {
                    from.iter_mut().for_each(|from| self.name_joined(from));
                }
                None => {}
            },
            Statement::Delete(delete) => {
                let using = delete.using.iter_mut().flatten();
                using.for_each(|using| self.name_joined(using));
            }
            Statement::Merge(merge) => self.name_relation(&mut merge.source),
            _ => {}
        }
    }

    fn name_joined(&self, joined: &mut TableWithJoins) {
        self.name_relation(&mut joined.relation);
        for join in &mut joined.joins {
            self.name_relation(&mut join.relation);
        }
    }

    fn name_relation(&self, relation: &mut TableFactor) {
        let TableFactor::Table {
            name,
            alias,
            args: None,
            ..
        } = relation
        else {
            return;
        };
        let Some(word) = name.0.last().and_then(|part| part.as_ident()).cloned() else {
            return;
        };
        if !self.is_name(name) {
            return;
        }
        let Some(all) = all_of(name) else {
            return;
        };
        let alias = alias.clone().unwrap_or(TableAlias {
            explicit: true,
            name: word,
            columns: Vec::new(),
            at: None,
        });
        *relation = TableFactor::Derived {
            lateral: false,
            subquery: Box::new(self.around(&all)),
            alias: Some(alias),
            sample: None,
        };
    }
}

/// Rows that are written out are no query of their own: those among their values are.
fn is_list(query: &Query) -> bool {
    matches!(*query.body, SetExpr::Values(_)) && query.with.is_none()
}

/// All rows of a relation.
fn all_of(name: &ObjectName) -> Option<Query> {
    let text = format!("SELECT * FROM {name}");
    let parser = Parser::new(&GenericDialect {}).try_with_sql(&text);
    parser.ok()?.parse_query().ok().map(|query| *query)
}

fn plain(body: SetExpr) -> Query {
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
    use crate::{Dialect, Statement, parse};

    fn settled(text: &str) -> String {
        let mut statements = parse(text, Dialect::Postgres).unwrap();
        match statements.remove(0).statement {
            Statement::Sql(statement) => statement.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn queries_of_changes_have_the_with() {
        for (text, expected) in [
            (
                "WITH s AS (SELECT 1 AS a) INSERT INTO t SELECT a FROM s",
                "INSERT INTO t WITH s AS (SELECT 1 AS a) SELECT a FROM s",
            ),
            (
                "WITH s AS (SELECT 1 AS a) INSERT INTO t VALUES ((SELECT a FROM s), 2)",
                "INSERT INTO t VALUES ((WITH s AS (SELECT 1 AS a) SELECT a FROM s), 2)",
            ),
            (
                "WITH s AS (SELECT 1 AS a) UPDATE t SET a = s.a FROM s WHERE t.b IN (SELECT b FROM u)",
                "UPDATE t SET a = s.a FROM (WITH s AS (SELECT 1 AS a) SELECT * FROM s) AS s WHERE t.b IN (SELECT b FROM u)",
            ),
            (
                "WITH s AS (SELECT 1 AS a) DELETE FROM t WHERE a IN (SELECT a FROM S)",
                "DELETE FROM t WHERE a IN (WITH s AS (SELECT 1 AS a) SELECT a FROM S)",
            ),
            (
                "WITH s AS (SELECT 1 AS a) INSERT INTO t WITH r AS (SELECT 2 AS a) SELECT a FROM r UNION SELECT a FROM s",
                "INSERT INTO t WITH s AS (SELECT 1 AS a) (WITH r AS (SELECT 2 AS a) SELECT a FROM r UNION SELECT a FROM s)",
            ),
        ] {
            assert_eq!(settled(text), expected, "{text}");
        }
    }

    #[test]
    fn a_with_that_nothing_reads_is_kept() {
        let with = |text: &str| {
            let parsed = parse(text, Dialect::Postgres).unwrap().remove(0);
            parsed.with.map(|with| with.to_string())
        };
        let kept = "WITH s AS (SELECT $1 AS a) UPDATE t SET a = $2";
        assert_eq!(settled(kept), "UPDATE t SET a = $2");
        assert_eq!(with(kept).as_deref(), Some("WITH s AS (SELECT $1 AS a)"));
        let explained = format!("EXPLAIN {kept}");
        assert_eq!(with(&explained), with(kept));
        let prepared = format!("PREPARE p AS {kept}");
        assert_eq!(settled(&prepared), "PREPARE p AS UPDATE t SET a = $2");
        assert_eq!(with(&prepared), with(kept));
        assert_eq!(with("WITH s AS (SELECT 1 AS a) SELECT a FROM s"), None);
    }
}
