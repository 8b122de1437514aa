//! The rows of an INSERT whose meaning is plain, literals and parameters: they are read at once, without a plan of each.
//!
//! In: the syntax tree; out: a query of rows that are there, as COPY has them, or nothing: then the rows are few, or the planner must
//! say what one of their values means.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_storage::TableShape;
use datafusion::arrow::datatypes::FieldRef;
use datafusion::execution::SessionState;
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder};
use datafusion::sql::sqlparser::ast;

use super::cast_parameters::{Places, SortedCells};
use super::column_rules::{is_computed, is_default};
use super::plain_cells::{CellColumn, PlainCell};
use super::written_rows::{WrittenColumn, WrittenRows, written_rows};
use super::{BoundQuery, Findings};
use crate::error::Result;
use crate::logical::{GivenCell, GivenRowsNode};
use crate::session::Session;

/// Fewer rows are planned as they are written.
const MIN_ROWS: usize = 100;

/// The rows of an INSERT for the columns of a table at these places; `None` for the places: the first ones. Columns that are
/// DEFAULT in each row are left out.
pub(super) fn plain_rows(
    session: &Arc<Session>,
    insert: &ast::Insert,
    shape: &TableShape,
    places: Option<Vec<usize>>,
) -> Result<Option<(BoundQuery, Vec<usize>)>> {
    let Some(written) = written_rows(insert).filter(|found| found.rows.len() >= MIN_ROWS) else {
        return Ok(None);
    };
    let (width, all) = (written.columns.len(), shape.columns().len());
    let places = places.unwrap_or_else(|| (0..width.min(all)).collect());
    if places.len() != width {
        return Ok(None);
    }
    let pairs = written.columns.iter().zip(places);
    let given = pairs.filter(|(column, _)| !is_all_default(&written, column));
    let (given, places): (Vec<&WrittenColumn<'_>>, Vec<usize>) = given.unzip();
    let columns: Vec<&FieldRef> = places.iter().map(|idx| &shape.columns()[*idx]).collect();
    if columns.is_empty() || columns.iter().any(|column| is_computed(shape, column)) {
        return Ok(None);
    }
    let state = session.state(None);
    let Some(plan) = read(&written, &given, &columns, &state) else {
        return Ok(None);
    };
    let query = BoundQuery {
        plan,
        state: Arc::new(state),
        findings: Findings::default(),
        names: Vec::new(),
        origins: Vec::new(),
    };
    Ok(Some((query, places)))
}

/// Whether each row has the word DEFAULT for a column.
fn is_all_default(written: &WrittenRows<'_>, column: &WrittenColumn<'_>) -> bool {
    let mut cells = written.rows.iter().map(|row| row.content.get(column.place));
    column.casts.is_empty() && cells.all(|cell| cell.is_some_and(is_default))
}

/// The rows as values and parameters of the columns, if all of them are plain.
fn read(
    written: &WrittenRows<'_>,
    given: &[&WrittenColumn<'_>],
    columns: &[&FieldRef],
    state: &SessionState,
) -> Option<LogicalPlan> {
    let zone = state.config().options().execution.time_zone.as_deref();
    let zone = zone.unwrap_or("UTC");
    let (mut read, mut places) = (Vec::new(), Vec::with_capacity(columns.len()));
    for (given, column) in given.iter().zip(columns) {
        let rows = written.rows.iter();
        let cells: Vec<&ast::Expr> = rows
            .filter_map(|row| row.content.get(given.place))
            .collect();
        let read_cells = CellColumn::new(column, &given.casts, zone, cells.iter().copied());
        let cells = cells.into_iter().map(|cell| read_cells.plain_cell(cell));
        let cells = cells.collect::<Option<Vec<PlainCell<'_>>>>()?;
        places.push(SortedCells::new(column, cells)?.give(state, &mut read)?);
    }
    if !has_one_type_each(read.iter().flat_map(|(_, cells)| cells)) {
        return None;
    }
    // What cannot be put together is the planner's.
    let rows = GivenRowsNode::plan(read).ok()?;
    if places.iter().all(Places::are_own) {
        return Some(rows);
    }
    let values = places.iter().enumerate().map(|(idx, places)| {
        let values = places.values(state, rows.schema())?;
        Some(values.alias(format!("column{}", idx + 1)))
    });
    let values = values.collect::<Option<Vec<Expr>>>()?;
    let rows = LogicalPlanBuilder::from(rows).project(values).ok()?;
    rows.build().ok()
}

/// Whether each parameter is of one type wherever it stands.
fn has_one_type_each<'a>(cells: impl Iterator<Item = &'a GivenCell>) -> bool {
    let mut known = BTreeMap::new();
    let mut parameters = cells.filter_map(|cell| match cell {
        GivenCell::Parameter(parameter) => Some(parameter),
        GivenCell::Value(_) => None,
    });
    parameters.all(|parameter| {
        let first = known.entry(&parameter.id).or_insert(&parameter.field);
        **first == parameter.field
    })
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::array::{Array as _, RecordBatch};
    use datafusion::arrow::datatypes::{DataType, Field, TimeUnit};
    use datafusion::prelude::{SessionConfig, SessionContext};
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

    /// What the planner reads casts with.
    fn state() -> SessionState {
        let mut config = SessionConfig::new();
        config.options_mut().sql_parser.map_string_types_to_utf8view = false;
        let mut context = SessionContext::new_with_config(config);
        crate::functions::install(&mut context).unwrap();
        context.state()
    }

    fn plan_for(source: &str, columns: &[DataType]) -> Option<LogicalPlan> {
        let insert = insert(&format!("INSERT INTO t {source}"));
        let columns = columns.iter().cloned();
        let columns = columns.map(|data_type| Arc::new(Field::new("x", data_type, true)));
        let columns: Vec<FieldRef> = columns.collect();
        let columns: Vec<&FieldRef> = columns.iter().collect();
        let written = written_rows(&insert)?;
        let given: Vec<&WrittenColumn<'_>> = written.columns.iter().collect();
        assert_eq!(given.len(), columns.len(), "{source}");
        read(&written, &given, &columns, &state())
    }

    fn plan(source: &str) -> Option<LogicalPlan> {
        plan_for(source, &[DataType::Int64, DataType::Utf8])
    }

    fn batch(source: &str) -> Option<RecordBatch> {
        let LogicalPlan::Extension(extension) = plan(source)? else {
            panic!("{source}");
        };
        let node = extension.node.as_any().downcast_ref::<GivenRowsNode>();
        Some(node.unwrap().known().unwrap().clone())
    }

    #[test]
    fn rows_of_literals_become_a_batch() {
        for source in [
            "VALUES (1, 'a'), (NULL, 'b'), (-3, NULL)",
            "VALUES (1::bigint, 'a'::text), (NULL, 'b'), (-3::int, NULL::varchar)",
            "SELECT a::bigint, b::text FROM (VALUES ('a', 1, 0), ('b', NULL, 1), (NULL, -3, 2)) \
             AS v (b, a, n) ORDER BY n",
        ] {
            let rows = batch(source).unwrap();
            assert_eq!((rows.num_rows(), rows.column(0).null_count()), (3, 1));
            assert_eq!(rows.column(1).null_count(), 1);
        }
    }

    #[test]
    fn parameters_stay_open() {
        for source in [
            "VALUES ($1, $2), (7, $3::varchar)",
            "SELECT a::int, b::text FROM (VALUES ($1::int, $2, 0), ($3, 'x', 1)) \
             AS v (a, b, n) ORDER BY n",
        ] {
            let names = plan(source).unwrap().get_parameter_names().unwrap();
            assert_eq!(names.len(), 3, "{source}");
        }
    }

    #[test]
    fn parameters_that_are_cast_stand_in_columns_of_their_types() {
        let numeric = DataType::Decimal128(8, 2);
        let moment = DataType::Timestamp(TimeUnit::Microsecond, None);
        for (source, column, types) in [
            (
                "VALUES ($1::float8), ($2::float8)",
                &numeric,
                &[DataType::Float64][..],
            ),
            (
                "VALUES ($1::float8), (1.5), ($2::smallint), ($3::numeric), ($4)",
                &numeric,
                &[
                    numeric.clone(),
                    DataType::Float64,
                    DataType::Int16,
                    DataType::Decimal128(38, 10),
                ],
            ),
            ("VALUES ($1::bigint)", &DataType::Int32, &[DataType::Int64]),
            ("VALUES ($1::date)", &moment, &[DataType::Date32]),
            (
                "VALUES ($1::boolean), (NULL)",
                &DataType::Utf8,
                &[DataType::Utf8, DataType::Boolean],
            ),
            (
                "SELECT a::numeric(8, 2) FROM (VALUES ($1::float8, 0), ($2, 1)) AS v (a, n) ORDER BY n",
                &numeric,
                &[DataType::Float64],
            ),
        ] {
            let plan = plan_for(source, std::slice::from_ref(column)).unwrap();
            assert_eq!(plan.schema().field(0).data_type(), column, "{source}");
            let inputs = plan.inputs();
            let given = inputs[0].schema().fields().iter();
            let given: Vec<DataType> = given.map(|field| field.data_type().clone()).collect();
            assert_eq!(given, types, "{source}");
        }
    }

    #[test]
    fn other_rows_are_planned() {
        for source in [
            "VALUES (1, 'a'), (2, upper('b'))",
            "VALUES (1, 'a'), (2, DEFAULT)",
            "VALUES (1, 'a'), ($1, 'b'), (3, $1)",
            "VALUES (1, 'a'), ($1::text, 'b')",
            "VALUES (1, 'a'), ($1::boolean, 'b')",
            "VALUES ($1::smallint, 'a'), ($1::integer, 'b')",
            // Its type is that of a text, whatever is cast later.
            "SELECT a::int, b::text FROM (VALUES ($1, 'x', 0), (NULL, $2, 1)) AS v (a, b, n) ORDER BY n",
        ] {
            assert!(plan(source).is_none(), "{source}");
        }
        assert!(written_rows(&insert("INSERT INTO t SELECT 1, 'a'")).is_none());
    }

    #[test]
    fn only_columns_that_are_default_in_each_row_are_left_out() {
        let insert = insert("INSERT INTO t VALUES (DEFAULT, DEFAULT), (DEFAULT, 'a')");
        let written = written_rows(&insert).unwrap();
        let found = written.columns.iter();
        let found: Vec<bool> = found
            .map(|column| is_all_default(&written, column))
            .collect();
        assert_eq!(found, [true, false]);
    }
}
