//! How many rows of a plan go to a client at a time.
//!
//! In: a finished plan; out: a number of rows, which is DataFusion's 8,192 where rows are narrow. A client that stops to read
//! keeps what was computed for it: the batch that is being sent, and one or two in each partition behind it. So batches of
//! wide rows have fewer, where the columns that reach the client are wide, whatever else is read.

use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::common::ScalarValue;
use datafusion::datasource::physical_plan::FileScanConfig;
use datafusion::error::Result;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::{Column, Literal};
use datafusion::physical_expr::utils::collect_columns;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::aggregates::AggregateExec;
use datafusion::physical_plan::projection::ProjectionExec;

use super::batch_rows::{file_scan, file_width, width};

/// What the rows of a batch should take at most.
const SENT_BYTES: usize = 1 << 20;
/// Rows up to this width are left alone.
const WIDE_BYTES: usize = 256;

/// The most rows that batches of a plan should have whose rows a client reads, as far as the plan tells.
pub(crate) fn sent_rows(plan: &Arc<dyn ExecutionPlan>) -> Result<usize> {
    let row = widths(plan)?.into_iter().fold(0, usize::saturating_add);
    Ok(match row > WIDE_BYTES {
        true => (SENT_BYTES / row).max(1),
        false => usize::MAX,
    })
}

/// The bytes of each column of an operator's rows; a text of which nothing is known counts as nothing.
fn widths(plan: &Arc<dyn ExecutionPlan>) -> Result<Vec<usize>> {
    let schema = plan.schema();
    if let Some(files) = file_scan(plan) {
        return Ok(widths_in_files(&schema, files));
    }
    let usual = || schema.fields().iter().map(|field| usual_width(field));
    // Its rows are its own, and few.
    if plan.is::<AggregateExec>() {
        return Ok(usual().collect());
    }
    let mut inputs = Vec::new();
    for child in plan.children() {
        inputs.push((child.schema(), widths(child)?));
    }
    if let (Some(projection), [(_, input)]) =
        (plan.downcast_ref::<ProjectionExec>(), inputs.as_slice())
    {
        let columns = projection.expr().iter().zip(schema.fields());
        return columns
            .map(|(column, field)| width_of_value(&column.expr, field, input))
            .collect();
    }
    let columns = schema.fields().iter().enumerate();
    Ok(columns
        .map(|(idx, field)| {
            let known = |(schema, widths): &(Arc<Schema>, Vec<usize>)| {
                widths.get(place(schema, idx, field.name())?).copied()
            };
            let known = inputs.iter().find_map(known);
            known.unwrap_or_else(|| usual_width(field))
        })
        .collect())
}

/// The place of a column that an operator passes on, which is its own in most.
fn place(input: &Schema, idx: usize, name: &str) -> Option<usize> {
    let is_there = input
        .fields()
        .get(idx)
        .is_some_and(|field| field.name() == name);
    match is_there {
        true => Some(idx),
        false => input.index_of(name).ok(),
    }
}

/// The columns of a scan: numbers by their types; what the files have beside them is that of the other columns, each as much as the next.
fn widths_in_files(read: &Schema, files: &FileScanConfig) -> Vec<usize> {
    let in_files = files.file_schema().fields();
    let fixed = in_files.iter().map(|field| usual_width(field)).sum();
    let n_open = in_files.iter().filter(|field| is_open(field)).count();
    let open = file_width(files).saturating_sub(fixed) / n_open.max(1);
    let width = |field: &Arc<Field>| match is_open(field) {
        true => open,
        false => usual_width(field),
    };
    read.fields().iter().map(width).collect()
}

/// The bytes of an expression's value over an input's columns.
fn width_of_value(value: &Arc<dyn PhysicalExpr>, field: &Field, input: &[usize]) -> Result<usize> {
    if let Some(column) = value.downcast_ref::<Column>() {
        return Ok(input.get(column.index()).copied().unwrap_or(0));
    }
    if !is_open(field) {
        return Ok(usual_width(field));
    }
    if let Some(constant) = value.downcast_ref::<Literal>() {
        let n_bytes = constant.value().size();
        return Ok(n_bytes.saturating_sub(size_of::<ScalarValue>()));
    }
    let read = collect_columns(value);
    let read = read.iter().filter_map(|column| input.get(column.index()));
    Ok(width(value)?.max(read.sum()))
}

/// Whether a column's type does not tell how long its values are.
fn is_open(field: &Field) -> bool {
    *field.data_type() != DataType::Boolean && field.data_type().primitive_width().is_none()
}

fn usual_width(field: &Field) -> usize {
    field.data_type().primitive_width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use datafusion::config::ConfigOptions;
    use datafusion::physical_expr::ScalarFunctionExpr;
    use datafusion::physical_expr::expressions::{col, lit};
    use datafusion::physical_plan::coalesce_partitions::CoalescePartitionsExec;
    use datafusion::physical_plan::empty::EmptyExec;
    use datafusion::physical_plan::projection::ProjectionExpr;

    use super::*;

    fn input(n_columns: usize) -> Arc<dyn ExecutionPlan> {
        let column = |idx: usize| Field::new(format!("c{idx}"), DataType::Int64, true);
        let columns: Vec<Field> = (0..n_columns).map(column).collect();
        Arc::new(EmptyExec::new(Arc::new(Schema::new(columns))))
    }

    fn projected(
        input: Arc<dyn ExecutionPlan>,
        exprs: Vec<Arc<dyn PhysicalExpr>>,
    ) -> Arc<dyn ExecutionPlan> {
        let named = exprs.into_iter().enumerate();
        let named = named.map(|(idx, expr)| ProjectionExpr::new(expr, format!("p{idx}")));
        let named: Vec<ProjectionExpr> = named.collect();
        Arc::new(ProjectionExec::try_new(named, input).unwrap())
    }

    fn repeated(n: i64) -> Arc<dyn PhysicalExpr> {
        let call = ScalarFunctionExpr::try_new(
            datafusion::functions::string::repeat(),
            vec![lit("x"), lit(n)],
            &Schema::empty(),
            Arc::new(ConfigOptions::default()),
        );
        Arc::new(call.unwrap())
    }

    #[test]
    fn narrow_rows_are_left_alone() {
        assert_eq!(sent_rows(&input(32)).unwrap(), usize::MAX);
        let narrow = projected(input(1), vec![repeated(100), lit("y".repeat(100))]);
        assert_eq!(sent_rows(&narrow).unwrap(), usize::MAX);
    }

    #[test]
    fn wide_rows_are_few() {
        assert_eq!(sent_rows(&input(64)).unwrap(), SENT_BYTES / 512);
        let wide = projected(input(1), vec![repeated(1 << 11), lit(5_i64)]);
        assert_eq!(sent_rows(&wide).unwrap(), SENT_BYTES / ((1 << 11) + 8));
        let passed_on: Arc<dyn ExecutionPlan> = Arc::new(CoalescePartitionsExec::new(wide));
        assert_eq!(sent_rows(&passed_on).unwrap(), SENT_BYTES / ((1 << 11) + 8));
        let huge = projected(input(1), vec![repeated(1 << 30)]);
        assert_eq!(sent_rows(&huge).unwrap(), 1);
    }

    #[test]
    fn what_does_not_reach_the_client_is_no_matter() {
        let wide = projected(input(64), vec![repeated(1 << 11), lit(5_i64)]);
        let number = col("p1", &wide.schema()).unwrap();
        assert_eq!(
            sent_rows(&projected(wide, vec![number])).unwrap(),
            usize::MAX
        );
    }
}
