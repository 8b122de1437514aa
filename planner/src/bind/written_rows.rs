//! The rows of VALUES that an INSERT consists of, as they stand there or in the form in which SQLAlchemy asks for rows in their order:
//! `INSERT INTO t (a, b) SELECT p0::integer, p1::varchar FROM (VALUES ($1, $2, 0), ($3, $4, 1)) AS v (p0, p1, n) ORDER BY n`.
//!
//! In: a syntax tree; out: its rows, and the casts around the columns. Any other query has none.

use datafusion::sql::sqlparser::ast::{
    self, CastKind, DataType, Expr, GroupByExpr, Ident, OrderByKind, OrderByOptions, Parens, Query,
    Select, SelectItem, SetExpr, TableAlias, TableFactor, Value,
};

/// A value of a row for a column of the table.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenColumn<'a> {
    /// Its place in a row.
    pub(super) place: usize,
    pub(super) casts: Vec<&'a DataType>,
}

/// The rows of an INSERT.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct WrittenRows<'a> {
    pub(super) rows: &'a [Parens<Vec<Expr>>],
    pub(super) columns: Vec<WrittenColumn<'a>>,
}

/// The rows of an INSERT that gives nothing else, all of one width.
pub(super) fn written_rows(insert: &ast::Insert) -> Option<WrittenRows<'_>> {
    let source = insert.source.as_deref()?;
    if insert.partitioned.is_some() || !is_unlimited(source) {
        return None;
    }
    let written = match (source.body.as_ref(), &source.order_by) {
        (SetExpr::Values(values), None) => {
            let width = values.rows.first()?.content.len();
            let column = |place| WrittenColumn {
                place,
                casts: Vec::new(),
            };
            WrittenRows {
                rows: &values.rows,
                columns: (0..width).map(column).collect(),
            }
        }
        (SetExpr::Select(select), Some(order)) => numbered_rows(select, &order.kind)?,
        _ => return None,
    };
    let width = written.rows.first()?.content.len();
    let fits = |row: &Parens<Vec<Expr>>| row.content.len() == width;
    written.rows.iter().all(fits).then_some(written)
}

/// Whether nothing stands around the body of a query but an order.
fn is_unlimited(query: &Query) -> bool {
    query.with.is_none()
        && query.limit_clause.is_none()
        && query.fetch.is_none()
        && query.locks.is_empty()
        && query.for_clause.is_none()
        && query.settings.is_none()
        && query.format_clause.is_none()
        && query.pipe_operators.is_empty()
}

/// The rows of a query that numbers them as they stand there, and orders them by that number.
fn numbered_rows<'a>(select: &'a Select, order: &OrderByKind) -> Option<WrittenRows<'a>> {
    let (rows, alias) = values_alone(select)?;
    let place = |name: &Ident| {
        let is_it = |column: &ast::TableAliasColumnDef| {
            column.name.value == name.value && column.name.quote_style == name.quote_style
        };
        let mut places = (0..alias.columns.len()).filter(|place| is_it(&alias.columns[*place]));
        places.next().filter(|_| places.next().is_none())
    };
    let width = rows.first()?.content.len();
    let OrderByKind::Expressions(keys) = order else {
        return None;
    };
    let ([key], true) = (keys.as_slice(), alias.columns.len() == width) else {
        return None;
    };
    let is_plain = key.options == OrderByOptions::default() && key.with_fill.is_none();
    let number = match &key.expr {
        Expr::Identifier(name) if is_plain => place(name)?,
        _ => return None,
    };
    if !rise(rows, number) {
        return None;
    }
    let column = |item: &'a SelectItem| {
        let SelectItem::UnnamedExpr(Expr::Cast {
            kind: CastKind::Cast | CastKind::DoubleColon,
            expr,
            data_type,
            array: false,
            format: None,
        }) = item
        else {
            return None;
        };
        match expr.as_ref() {
            Expr::Identifier(name) => Some(WrittenColumn {
                place: place(name)?,
                casts: vec![data_type],
            }),
            _ => None,
        }
    };
    Some(WrittenRows {
        rows,
        columns: select
            .projection
            .iter()
            .map(column)
            .collect::<Option<_>>()?,
    })
}

/// Whether the numbers at a place of rows rise from row to row.
fn rise(rows: &[Parens<Vec<Expr>>], place: usize) -> bool {
    let number = |row: &Parens<Vec<Expr>>| match row.content.get(place)? {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => digits.parse::<i32>().ok(),
            _ => None,
        },
        _ => None,
    };
    let mut last = None;
    rows.iter().all(|row| {
        let next = number(row);
        let rises = next.is_some() && last < next;
        last = next;
        rises
    })
}

/// The rows of VALUES that a SELECT alone reads, whole, and what it calls them.
fn values_alone(select: &Select) -> Option<(&[Parens<Vec<Expr>>], &TableAlias)> {
    let Select {
        distinct: None,
        select_modifiers: None,
        top: None,
        exclude: None,
        into: None,
        prewhere: None,
        selection: None,
        group_by: GroupByExpr::Expressions(keys, modifiers),
        having: None,
        qualify: None,
        value_table_mode: None,
        ..
    } = select
    else {
        return None;
    };
    let is_alone = keys.is_empty()
        && modifiers.is_empty()
        && select.lateral_views.is_empty()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.named_window.is_empty();
    let ([from], true) = (select.from.as_slice(), is_alone) else {
        return None;
    };
    let TableFactor::Derived {
        lateral: false,
        subquery,
        alias: Some(alias),
        sample: None,
    } = &from.relation
    else {
        return None;
    };
    let is_whole = from.joins.is_empty()
        && is_unlimited(subquery)
        && subquery.order_by.is_none()
        && alias.at.is_none()
        && alias
            .columns
            .iter()
            .all(|column| column.data_type.is_none());
    match subquery.body.as_ref() {
        SetExpr::Values(values) if is_whole => Some((&values.rows, alias)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use auspex_sql::{Dialect, Statement};
    use datafusion::sql::parser::Statement as SqlStatement;

    use super::*;

    fn insert(text: &str) -> ast::Insert {
        let parsed = auspex_sql::parse(text, Dialect::Postgres).unwrap().pop();
        let Statement::Sql(statement) = parsed.unwrap().statement else {
            panic!("{text}");
        };
        match *statement {
            SqlStatement::Statement(statement) => match *statement {
                ast::Statement::Insert(insert) => insert,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn rows_are_found_in_both_forms() {
        let plain = insert("INSERT INTO t (a, b) VALUES (1, 'x'), (2, 'y')");
        let found = written_rows(&plain).unwrap();
        assert_eq!((found.rows.len(), found.columns.len()), (2, 2));
        assert!(found.columns.iter().all(|column| column.casts.is_empty()));
        let numbered = insert(
            "INSERT INTO t (a, b) SELECT q::integer, p::text FROM (VALUES ($1, 7, 0), ($2, 8, 1)) \
             AS v (p, q, n) ORDER BY n RETURNING a",
        );
        let found = written_rows(&numbered).unwrap();
        let casts = |column: &WrittenColumn<'_>| (column.place, column.casts[0].to_string());
        let columns: Vec<_> = found.columns.iter().map(casts).collect();
        let expected = [(1, "INTEGER".to_owned()), (0, "TEXT".to_owned())];
        assert_eq!((found.rows.len(), columns.as_slice()), (2, &expected[..]));
    }

    #[test]
    fn other_queries_have_none() {
        for source in [
            "VALUES (1, 'a'), (2)",
            "VALUES (1, 'a') LIMIT 1",
            "VALUES (1, 'a') ORDER BY 1",
            "SELECT 1, 'a'",
            "SELECT p::int FROM (VALUES (7, 0), (8, 1)) AS v (p, n)",
            "SELECT p::int FROM (VALUES (7, 1), (8, 0)) AS v (p, n) ORDER BY n",
            "SELECT p::int FROM (VALUES (7, 0), (8, 0)) AS v (p, n) ORDER BY n",
            "SELECT p::int FROM (VALUES (7, 0), (8, 1)) AS v (p, n) ORDER BY n DESC",
            "SELECT p::int FROM (VALUES (7, 0), (8, 1)) AS v (p, n) ORDER BY n LIMIT 1",
            "SELECT p::int FROM (VALUES (7, 0), (8, 1)) AS v (p, n) WHERE n > 0 ORDER BY n",
            "SELECT DISTINCT p::int FROM (VALUES (7, 0), (8, 1)) AS v (p, n) ORDER BY n",
            "SELECT p::int FROM (VALUES (7, 0) LIMIT 1) AS v (p, n) ORDER BY n",
            "SELECT p::int FROM (VALUES (7, 0), (8, 1)) AS v (p, n), w ORDER BY n",
            "SELECT p::int + 1 FROM (VALUES (7, 0), (8, 1)) AS v (p, n) ORDER BY n",
            "SELECT p::int FROM (VALUES (7, 0, 1), (8, 1, 1)) AS v (p, n) ORDER BY n",
        ] {
            let text = format!("INSERT INTO t {source}");
            assert_eq!(written_rows(&insert(&text)), None, "{text}");
        }
    }
}
