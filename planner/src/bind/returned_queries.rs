//! `RETURNING` with queries: `RETURNING id, (SELECT count(*) FROM orders o WHERE o.item = items.id)`.
//!
//! In: the planned select list over the relations of the statement; out: the same over one relation, whose rows come when the
//! statement has made them. The tables that its queries read are those of before the statement, as in PostgreSQL, since
//! their versions were chosen when it was bound.

use std::collections::HashSet;
use std::sync::Arc;

use auspex_sql::PRIVATE;
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::catalog::MemTable;
use datafusion::common::tree_node::{Transformed, TreeNode as _, TreeNodeRecursion};
use datafusion::common::{Column, DFSchema, TableReference};
use datafusion::datasource::empty::EmptyTable;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result as DfResult;
use datafusion::execution::SessionState;
use datafusion::logical_expr::expr::{Exists, InSubquery, SetComparison};
use datafusion::logical_expr::{
    Expr, LogicalPlan, LogicalPlanBuilder, Projection, Subquery, TableScan,
};
use datafusion::physical_plan::collect;

use super::view_target::inlined;
use crate::error::Result;

/// The query of an expression that is one.
fn query_of(expr: &Expr) -> Option<&Subquery> {
    match expr {
        Expr::ScalarSubquery(query)
        | Expr::Exists(Exists {
            subquery: query, ..
        })
        | Expr::InSubquery(InSubquery {
            subquery: query, ..
        })
        | Expr::SetComparison(SetComparison {
            subquery: query, ..
        }) => Some(query),
        _ => None,
    }
}

/// Whether some expressions have queries.
pub(super) fn have_queries(exprs: &[Expr]) -> DfResult<bool> {
    for expr in exprs {
        if expr.exists(|expr| Ok(query_of(expr).is_some()))? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The columns that expressions and their queries name; those that queries name of relations of their own are not looked at.
pub(super) fn named_columns(exprs: &[Expr]) -> DfResult<HashSet<Column>> {
    let mut named = HashSet::new();
    for expr in exprs {
        named.extend(expr.column_refs().into_iter().cloned());
        expr.apply(|expr| {
            if let Some(query) = query_of(expr) {
                note_outer(&query.subquery, &mut named)?;
            }
            Ok(TreeNodeRecursion::Continue)
        })?;
    }
    Ok(named)
}

/// Notes the columns that a query names of those around it.
fn note_outer(query: &LogicalPlan, named: &mut HashSet<Column>) -> DfResult<()> {
    query.apply_with_subqueries(|node| {
        node.apply_expressions(|expr| {
            expr.apply(|expr| {
                if let Expr::OuterReferenceColumn(_, column) = expr {
                    named.insert(column.clone());
                }
                Ok(TreeNodeRecursion::Continue)
            })
        })
    })?;
    Ok(())
}

/// The relation of the rows that come later.
fn rows_name() -> TableReference {
    TableReference::bare(format!("{PRIVATE}rows"))
}

/// The columns of that relation: those that `input` tells, by their numbers, and at last the place of each row.
fn rows_schema(input: &Schema) -> SchemaRef {
    let columns = input.fields().iter().enumerate();
    // On its way to a table a row may lack what the table demands.
    let columns = columns.map(|(idx, field)| {
        let field = field.as_ref().clone().with_name(idx.to_string());
        Arc::new(field.with_nullable(true))
    });
    let place = Field::new(format!("{PRIVATE}place"), DataType::Int64, false);
    let columns: Vec<_> = columns.chain([Arc::new(place)]).collect();
    Arc::new(Schema::new(columns))
}

/// A column of that relation.
fn row_column(idx: usize) -> Expr {
    Expr::Column(Column::new(Some(rows_name()), idx.to_string()))
}

/// The columns of a view as it shows the rows.
fn shown_columns(view: &LogicalPlan, table: &str, input: &DFSchema) -> Result<Vec<Expr>> {
    let qualifier = TableReference::bare(table);
    let of_rows = |expr: Expr| -> DfResult<Transformed<Expr>> {
        let Expr::Column(column) = &expr else {
            return Ok(Transformed::no(expr));
        };
        let of_table = Column::new(Some(qualifier.clone()), &column.name);
        let idx = input.index_of_column(&of_table)?;
        Ok(Transformed::yes(row_column(idx)))
    };
    let mut shown = Vec::new();
    for (idx, column) in view.schema().columns().into_iter().enumerate() {
        let expr = inlined(view, idx)?.transform_up(of_rows)?.data;
        shown.push(expr.alias_qualified(Some(qualifier.clone()), column.name));
    }
    Ok(shown)
}

/// The select list of a statement over rows with the columns of `input`, and the place of each row behind it.
///
/// `table` is what the statement calls its table. `view` has the plan of the view in its place, over the columns of the table.
pub(super) fn over_rows(
    selected: &Projection,
    input: &DFSchema,
    (table, view): (&str, Option<&LogicalPlan>),
) -> Result<LogicalPlan> {
    let schema = rows_schema(input.as_arrow());
    let source = provider_as_source(Arc::new(EmptyTable::new(Arc::clone(&schema))));
    let rows = LogicalPlanBuilder::scan(rows_name(), source, None)?.build()?;
    let mut columns = Vec::with_capacity(input.fields().len() + 1);
    for (idx, (relation, field)) in input.iter().enumerate() {
        let is_of_table = relation.is_some_and(|relation| relation.table() == table);
        if view.is_none() || !is_of_table {
            columns.push(row_column(idx).alias_qualified(relation.cloned(), field.name()));
        }
    }
    if let Some(view) = view {
        columns.extend(shown_columns(view, table, input)?);
    }
    let place = Expr::Column(Column::new(Some(rows_name()), format!("{PRIVATE}place")));
    columns.push(place.clone());
    let rows = LogicalPlan::Projection(Projection::try_new(columns, Arc::new(rows))?);
    let selected = selected.expr.iter().cloned().chain([place]).collect();
    let selected = Projection::try_new(selected, Arc::new(rows))?;
    Ok(LogicalPlan::Projection(selected))
}

/// The plan with its rows in the order of their places, which it has in its last column.
pub(super) fn in_order(plan: LogicalPlan) -> Result<LogicalPlan> {
    let last = plan.schema().columns().pop();
    let place = last.map(|place| Expr::Column(place).sort(true, false));
    Ok(LogicalPlanBuilder::from(plan).sort(place)?.build()?)
}

/// A query over rows of a table.
#[derive(Debug)]
pub(super) struct RowsQuery {
    pub(super) plan: LogicalPlan,
    /// What plans it.
    pub(super) state: SessionState,
}

impl RowsQuery {
    /// Fails where the query cannot be planned.
    pub(super) async fn check(&self) -> DfResult<()> {
        crate::physical::ready(&self.state, &self.plan).await?;
        Ok(())
    }

    /// What the query gives of these rows, in their order.
    pub(super) async fn ask(&self, rows: Vec<RecordBatch>) -> DfResult<Vec<RecordBatch>> {
        let Some(first) = rows.first() else {
            return Ok(rows);
        };
        let schema = rows_schema(&first.schema());
        let mut n_before = 0;
        let mut placed = Vec::with_capacity(rows.len());
        for batch in rows {
            let n_rows = i64::try_from(batch.num_rows()).unwrap_or(i64::MAX);
            let places = Int64Array::from_iter_values(n_before..n_before + n_rows);
            n_before += n_rows;
            let places: ArrayRef = Arc::new(places);
            let columns = batch.columns().iter().cloned().chain([places]);
            placed.push(RecordBatch::try_new(
                Arc::clone(&schema),
                columns.collect(),
            )?);
        }
        let source = provider_as_source(Arc::new(MemTable::try_new(schema, vec![placed])?));
        let plan = self
            .plan
            .clone()
            .transform_up_with_subqueries(|node| match node {
                LogicalPlan::TableScan(scan) if scan.table_name == rows_name() => {
                    let source = Arc::clone(&source);
                    let scan = TableScan { source, ..scan };
                    Ok(Transformed::yes(LogicalPlan::TableScan(scan)))
                }
                node => Ok(Transformed::no(node)),
            })?;
        let physical = crate::physical::ready(&self.state, &plan.data).await?;
        collect(physical, self.state.task_ctx()).await
    }
}
