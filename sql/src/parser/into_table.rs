//! Tables that a query fills: `SELECT … INTO t`, and `CREATE TABLE t AS … WITH NO DATA`, which takes its columns alone.
//!
//! In: a statement as DataFusion's parser reads it; out: a `CREATE TABLE … AS` that means the same.

use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::helpers::stmt_create_table::CreateTableBuilder;
use datafusion::sql::sqlparser::ast::{
    Expr, LimitClause, Query, SelectInto, SetExpr, Statement, Value,
};

use crate::parser::silent_clauses::Data;

/// Settles both forms.
pub(super) fn settle(statement: &mut SqlStatement, data: Data) {
    let SqlStatement::Statement(statement) = statement else {
        return;
    };
    let created = match statement.as_mut() {
        Statement::Query(query) => match target(&mut query.body) {
            Some(into) => {
                let create = CreateTableBuilder::new(into.name).temporary(into.temporary);
                Some(create.query(Some(query.clone())).build())
            }
            None => None,
        },
        Statement::CreateTable(create) if data == Data::Unwanted => {
            create.query.iter_mut().for_each(|query| empty(query));
            None
        }
        _ => None,
    };
    if let Some(create) = created {
        **statement = Statement::CreateTable(create);
    }
}

/// Takes the table out of a query, whose first part names it.
fn target(body: &mut SetExpr) -> Option<SelectInto> {
    match body {
        SetExpr::Select(select) => select.into.take(),
        SetExpr::SetOperation { left, .. } => target(left),
        SetExpr::Query(query) => target(&mut query.body),
        _ => None,
    }
}

/// The query without its rows.
fn empty(query: &mut Query) {
    let none = Value::Number("0".to_owned(), false).with_empty_span();
    query.fetch = None;
    query.limit_clause = Some(LimitClause::LimitOffset {
        limit: Some(Expr::Value(none)),
        offset: None,
        limit_by: vec![],
    });
}

#[cfg(test)]
mod tests {
    use crate::{Dialect, Statement, parse};

    fn read(text: &str) -> String {
        let parsed = parse(text, Dialect::Auto).unwrap();
        match parsed.into_iter().next().map(|parsed| parsed.statement) {
            Some(Statement::Sql(statement)) => statement.to_string(),
            Some(Statement::CreateTable(create)) => create.table.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn queries_fill_tables() {
        for (text, meaning) in [
            (
                "SELECT a INTO t FROM b UNION SELECT c FROM d",
                "CREATE TABLE t AS SELECT a FROM b UNION SELECT c FROM d",
            ),
            (
                "SELECT a INTO TEMP t FROM b",
                "CREATE TEMPORARY TABLE t AS SELECT a FROM b",
            ),
            (
                "CREATE TABLE t AS SELECT a FROM b LIMIT 3 WITH NO DATA",
                "CREATE TABLE t AS SELECT a FROM b LIMIT 0",
            ),
            (
                "CREATE TABLE t PARTITIONED BY (a) AS SELECT a, b FROM b WITH DATA",
                "CREATE TABLE t AS SELECT a, b FROM b",
            ),
            ("CREATE UNLOGGED TABLE t (a INT)", "CREATE TABLE t (a INT)"),
            (
                "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY, NOT DEFERRABLE",
                "BEGIN ISOLATION LEVEL SERIALIZABLE, READ ONLY",
            ),
            (
                "START TRANSACTION DEFERRABLE, READ WRITE",
                "START TRANSACTION READ WRITE",
            ),
            ("SET CONSTRAINTS a, s.b DEFERRED", "SetConstraints"),
        ] {
            let read = read(text);
            assert!(read.contains(meaning), "{text} is {read}");
        }
    }
}
