//! The rows of an INSERT that are literals whose meaning is plain: they are read at once, without a plan of each.
//!
//! In: the syntax tree; out: a query of rows that are there, as COPY has them, or nothing: then the rows are few, or the planner must
//! say what one of their values means.

use std::sync::Arc;

use auspex_storage::TableShape;
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::{Field, FieldRef, Schema};
use datafusion::catalog::MemTable;
use datafusion::common::ScalarValue;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::sql::sqlparser::ast::{self, Expr, SetExpr};

use super::column_rules::is_computed;
use super::plain_literals::plain_value;
use super::{BoundQuery, Findings};
use crate::error::Result;
use crate::session::Session;

/// Fewer rows are planned as they are written.
const MIN_ROWS: usize = 100;

/// The rows of an INSERT for the columns of a table at these places; `None` for the places: the first ones.
pub(super) fn plain_rows(
    session: &Arc<Session>,
    insert: &ast::Insert,
    shape: &TableShape,
    places: Option<Vec<usize>>,
) -> Result<Option<(BoundQuery, Vec<usize>)>> {
    let Some(rows) = rows_alone(insert).filter(|rows| rows.len() >= MIN_ROWS) else {
        return Ok(None);
    };
    let width = rows.first().map_or(0, |row| row.content.len());
    let all = shape.columns().len();
    let places = places.unwrap_or_else(|| (0..width.min(all)).collect());
    let columns: Vec<&FieldRef> = places.iter().map(|idx| &shape.columns()[*idx]).collect();
    if columns.iter().any(|column| is_computed(shape, column)) {
        return Ok(None);
    }
    let Some(batch) = read(rows, &columns)? else {
        return Ok(None);
    };
    let table = MemTable::try_new(batch.schema(), vec![vec![batch]])?;
    let source = provider_as_source(Arc::new(table));
    let query = BoundQuery {
        plan: LogicalPlanBuilder::scan("given", source, None)?.build()?,
        state: Arc::new(session.state(None)),
        findings: Findings::default(),
        names: Vec::new(),
        origins: Vec::new(),
    };
    Ok(Some((query, places)))
}

/// The rows of VALUES that stand alone.
fn rows_alone(insert: &ast::Insert) -> Option<&[ast::Parens<Vec<Expr>>]> {
    let source = insert.source.as_deref()?;
    let is_alone = insert.partitioned.is_none()
        && source.with.is_none()
        && source.order_by.is_none()
        && source.limit_clause.is_none()
        && source.fetch.is_none()
        && source.locks.is_empty()
        && source.pipe_operators.is_empty();
    match source.body.as_ref() {
        SetExpr::Values(values) if is_alone => Some(&values.rows),
        _ => None,
    }
}

/// The rows as values of the columns, if all of them are plain.
fn read(rows: &[ast::Parens<Vec<Expr>>], columns: &[&FieldRef]) -> DfResult<Option<RecordBatch>> {
    let fits = |row: &ast::Parens<Vec<Expr>>| row.content.len() == columns.len();
    if columns.is_empty() || !rows.iter().all(fits) {
        return Ok(None);
    }
    let mut arrays = Vec::with_capacity(columns.len());
    let mut fields = Vec::with_capacity(columns.len());
    for (idx, column) in columns.iter().enumerate() {
        // Texts are read as json, uuids and labels where they are assigned.
        let name = format!("column{}", idx + 1);
        let given = Field::new(name, column.data_type().clone(), true);
        let cells = rows
            .iter()
            .map(|row| plain_value(row.content.get(idx)?, &given));
        let Some(cells) = cells.collect::<Option<Vec<ScalarValue>>>() else {
            return Ok(None);
        };
        arrays.push(ScalarValue::iter_to_array(cells)?);
        fields.push(given);
    }
    let schema = Arc::new(Schema::new(fields));
    Ok(Some(RecordBatch::try_new(schema, arrays)?))
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::DataType;
    use datafusion::sql::sqlparser::ast::Statement;
    use datafusion::sql::sqlparser::dialect::PostgreSqlDialect;
    use datafusion::sql::sqlparser::parser::Parser;

    use super::*;

    fn insert(text: &str) -> ast::Insert {
        let mut parsed = Parser::parse_sql(&PostgreSqlDialect {}, text).unwrap();
        match parsed.pop() {
            Some(Statement::Insert(insert)) => insert,
            other => panic!("{other:?}"),
        }
    }

    fn batch(values: &str) -> Option<RecordBatch> {
        let insert = insert(&format!("INSERT INTO t VALUES {values}"));
        let columns = [DataType::Int64, DataType::Utf8];
        let columns = columns.map(|data_type| Arc::new(Field::new("x", data_type, true)));
        let columns: Vec<&FieldRef> = columns.iter().collect();
        read(rows_alone(&insert)?, &columns).unwrap()
    }

    #[test]
    fn rows_of_literals_become_a_batch() {
        let rows = batch("(1, 'a'), (NULL, 'b'), (-3, NULL)").unwrap();
        assert_eq!((rows.num_rows(), rows.column(0).null_count()), (3, 1));
        assert_eq!(rows.column(1).null_count(), 1);
    }

    #[test]
    fn other_rows_are_planned() {
        for values in [
            "(1, 'a'), (2, upper('b'))",
            "(1, 'a'), (2)",
            "(1, 'a'), (2, DEFAULT)",
            "(1, 'a', 3)",
            "(1, 'a') LIMIT 1",
            "(1, 'a'), (2, $1)",
        ] {
            assert!(batch(values).is_none(), "{values}");
        }
        assert!(rows_alone(&insert("INSERT INTO t SELECT 1, 'a'")).is_none());
    }
}
