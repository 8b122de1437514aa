//! The rows of a training whose query joins or groups, in files that workers wrote of them before they train.
//!
//! In: a training whose rows come in no order; out: the scan of a table that the catalog does not name, with a partition
//! for each partition of the training. Which rows a partition has, and in which order, their values alone decide, so that
//! the model is the same whatever machines wrote it. The table goes with the training, or with the last checkpoint that
//! names it; until then it shows signs of life as temporary tables do, and what nobody goes on with is garbage of the
//! warehouse.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use auspex_storage::{
    Append, CatalogEntry, Definition, Error as StorageError, LIFE_SIGN_INTERVAL, TableDefinition,
    TableShape, Tables, stored_schema,
};
use datafusion::arrow::compute::SortOptions;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::physical_expr::{LexOrdering, PhysicalExpr, PhysicalSortExpr, ScalarFunctionExpr};
use datafusion::physical_plan::expressions::{CastExpr, Column};
use datafusion::physical_plan::projection::ProjectionExec;
use datafusion::physical_plan::repartition::RepartitionExec;
use datafusion::physical_plan::sorts::sort::SortExec;
use datafusion::physical_plan::{ExecutionPlan, Partitioning};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::running::collected;
use super::training::writes_rows;
use crate::bind::BoundQuery;
use crate::checkpoints::{EarlierRun, RowsOfRun};
use crate::error::{Error, Result};
use crate::functions::row_bucket;
use crate::logical::FitTask;
use crate::physical::{WriteFilesExec, WriteTarget, cancellable, files_written};
use crate::statement_run::StatementControl;
use crate::streams::TableRows;
use crate::temporary::give_sign;

/// Until then workers that have not heard of a training's end may close files, which come into the removed folder.
const LATE_FILES: Duration = Duration::from_secs(60);

/// The column that divides the table; those of the rows are called by their number.
const BUCKET: &str = "bucket";

/// The written rows of a training.
pub(crate) struct WrittenRows {
    plan: Arc<dyn ExecutionPlan>,
    table: UnnamedTable,
}

impl WrittenRows {
    /// The rows that workers write for a training, or wrote in its earlier life; `None`: it reads those of its query.
    ///
    /// Errors: those of the query, and of writing a table; 55000 if the rows of the earlier life are gone.
    pub(crate) async fn of_run(
        task: &FitTask,
        plan: &Arc<dyn ExecutionPlan>,
        earlier: Option<&EarlierRun>,
        control: &StatementControl,
    ) -> Result<Option<WrittenRows>> {
        match earlier {
            None => Box::pin(WrittenRows::write(task, plan, control)).await,
            Some(EarlierRun { rows: Some(id), .. }) => {
                WrittenRows::find(task, id, control).await.map(Some)
            }
            Some(_) => Ok(None),
        }
    }

    /// Writes the rows of a training on the workers; `None`: they gain nothing, and nothing was written.
    async fn write(
        task: &FitTask,
        plan: &Arc<dyn ExecutionPlan>,
        control: &StatementControl,
    ) -> Result<Option<WrittenRows>> {
        let (Some(cluster), Some(query)) = (task.engine.cluster(), writes_rows(task, plan)) else {
            return Ok(None);
        };
        let rows = planned(query, control).await?;
        let table = UnnamedTable::create(&task.engine.tables, &rows.plan.schema()).await?;
        let append = table.begin_append().await?;
        let writing = writing(&rows, &table, &append)?;
        let place = (&cluster, &task.engine, &rows.state);
        let bytes = task.min_distributed_bytes;
        let told = Box::pin(collected(place, writing, bytes, &control.cancel)).await?;
        let Some(told) = told else {
            table.remove().await;
            return Ok(None);
        };
        append.show(files_written(&told)?, &Arc::default()).await?;
        let plan = table.scan(&rows).await?;
        let plan = cancellable(plan, &control.cancel)?;
        Ok(Some(WrittenRows { plan, table }))
    }

    /// Finds the rows of an earlier life.
    async fn find(task: &FitTask, id: &str, control: &StatementControl) -> Result<WrittenRows> {
        let query = task.in_no_order.as_ref().ok_or_else(|| gone(task))?;
        let rows = planned(query, control).await?;
        let table = UnnamedTable::find(&task.engine.tables, id);
        let plan = match Box::pin(table.scan(&rows)).await {
            Err(Error::Storage(StorageError::TableGone { .. })) => return Err(gone(task)),
            scan => cancellable(scan?, &control.cancel)?,
        };
        // The last sign may be that of a server that was lost.
        give_sign(&task.engine.tables, id).await;
        Ok(WrittenRows { plan, table })
    }

    /// Their table, which stays as long as a checkpoint names it.
    pub(crate) fn of_checkpoint(&self) -> RowsOfRun {
        RowsOfRun {
            id: self.table.entry.id.clone(),
            is_named: Arc::clone(&self.table.is_named),
        }
    }

    /// The scan of the rows, as their query gave them.
    pub(crate) fn plan(&self) -> &Arc<dyn ExecutionPlan> {
        &self.plan
    }

    /// Removes their files.
    pub(crate) async fn remove(self) {
        drop(self.plan);
        self.table.remove().await;
    }
}

/// The query of a training as rows of a table are planned.
async fn planned(query: &BoundQuery, control: &StatementControl) -> Result<TableRows> {
    let mut rows = TableRows::shown(query).await?;
    let config = rows.state.config().clone();
    *rows.state.config_mut() = config.with_extension(Arc::new(control.clone()));
    Ok(rows)
}

/// The error of a training whose rows are gone.
fn gone(task: &FitTask) -> Error {
    let model = task.display_name();
    let message =
        format!("the rows that workers wrote for the training of model \"{model}\" are gone");
    Error::invalid("55000", message, Some("Train anew with TRAIN MODEL name."))
}

/// Why the rows of a query do not come back from files as they were; `None`: they do.
pub(super) fn unstorable(schema: &Schema) -> Option<String> {
    let reason = |field: &FieldRef| {
        let name = field.name();
        format!("column \"{name}\" is of a type that files of a table do not keep as it is")
    };
    let mut both = schema.fields().iter().zip(columns(schema));
    let changed = both.find(|(field, column)| {
        let stored = stored_schema(&Schema::new(vec![column.clone()]));
        !stored.is_ok_and(|stored| is_kept(field.data_type(), stored.field(0).data_type()))
    });
    changed.map(|(field, _)| reason(field))
}

/// Whether values of a type come back from a column that is stored so. Lists and structs have no order.
fn is_kept(data_type: &DataType, stored: &DataType) -> bool {
    !data_type.is_nested() && (data_type.is_string() || data_type == stored)
}

fn column_name(idx: usize) -> String {
    format!("c{idx}")
}

/// The columns of the table but the last.
fn columns(schema: &Schema) -> Vec<Field> {
    let fields = schema.fields().iter().enumerate();
    fields
        .map(|(idx, field)| Field::new(column_name(idx), field.data_type().clone(), true))
        .collect()
}

/// The rows, each bucket within one partition and in the order of all columns, written into files.
fn writing(
    rows: &TableRows,
    table: &UnnamedTable,
    append: &Append,
) -> DfResult<Arc<dyn ExecutionPlan>> {
    let schema = rows.plan.schema();
    let fields = schema.fields().iter().enumerate();
    let values: Vec<Arc<dyn PhysicalExpr>> = fields
        .map(|(idx, field)| Arc::new(Column::new(field.name(), idx)) as Arc<dyn PhysicalExpr>)
        .collect();
    let bucket: Arc<dyn PhysicalExpr> = Arc::new(ScalarFunctionExpr::try_new(
        Arc::new(row_bucket().clone()),
        values.clone(),
        &schema,
        Arc::clone(rows.state.config_options()),
    )?);
    let n_values = values.len();
    let named = values.into_iter().enumerate();
    let mut named: Vec<_> = named
        .map(|(idx, value)| (value, column_name(idx)))
        .collect();
    named.push((bucket, BUCKET.to_owned()));
    let input = Arc::new(ProjectionExec::try_new(named, Arc::clone(&rows.plan))?);
    let bucket: Arc<dyn PhysicalExpr> = Arc::new(Column::new(BUCKET, n_values));
    let n_writers = rows.state.config().target_partitions();
    let divided = Partitioning::Hash(vec![Arc::clone(&bucket)], n_writers);
    let divided = Arc::new(RepartitionExec::try_new(input, divided)?);
    let values = (0..n_values)
        .map(|idx| -> Arc<dyn PhysicalExpr> { Arc::new(Column::new(&column_name(idx), idx)) });
    let sorted = std::iter::once(bucket).chain(values);
    let sorted = sorted.map(|expr| PhysicalSortExpr::new(expr, SortOptions::default()));
    let sorted = LexOrdering::new(sorted)
        .ok_or_else(|| DataFusionError::Internal("rows have no columns".to_owned()))?;
    let sorted = SortExec::new(sorted, divided).with_preserve_partitioning(true);
    let target = WriteTarget {
        id: table.entry.id.clone(),
        version: append.version(),
        checks: Arc::default(),
    };
    let tables = Arc::clone(&table.tables);
    Ok(Arc::new(WriteFilesExec::new(
        Arc::new(sorted),
        tables,
        target,
    )))
}

/// A managed table without a name; dropping it removes its files, unless a checkpoint names it.
struct UnnamedTable {
    tables: Arc<Tables>,
    entry: CatalogEntry,
    /// Tells others that it is in use.
    signs: JoinHandle<()>,
    is_named: Arc<AtomicBool>,
    is_removed: bool,
}

impl UnnamedTable {
    /// Creates the table for rows of a schema.
    async fn create(tables: &Arc<Tables>, schema: &Schema) -> Result<UnnamedTable> {
        let mut fields = columns(schema);
        fields.push(Field::new(BUCKET, DataType::Int32, true));
        let mut shape = TableShape::new(stored_schema(&Schema::new(fields))?.as_ref());
        shape.partition_columns = vec![BUCKET.to_owned()];
        // From here on, a failure drops it.
        let table = UnnamedTable::of(tables, unnamed_entry(), false);
        tables.create_managed(&table.entry.id, &shape).await?;
        Ok(table)
    }

    /// The table of an id, which others may need.
    fn find(tables: &Arc<Tables>, id: &str) -> UnnamedTable {
        let entry = CatalogEntry {
            id: id.to_owned(),
            ..unnamed_entry()
        };
        UnnamedTable::of(tables, entry, true)
    }

    fn of(tables: &Arc<Tables>, entry: CatalogEntry, is_named: bool) -> UnnamedTable {
        let id = entry.id.clone();
        UnnamedTable {
            tables: Arc::clone(tables),
            entry,
            signs: tokio::spawn(give_signs(Arc::clone(tables), id)),
            is_named: Arc::new(AtomicBool::new(is_named)),
            is_removed: false,
        }
    }

    async fn begin_append(&self) -> Result<Append> {
        let id = &self.entry.id;
        // It has properties of its own by now.
        let shape = self.tables.shape(id).await?;
        Ok(self.tables.begin_append(id, &shape).await?)
    }

    /// The scan of the table as the rows were, with a partition for each bucket.
    async fn scan(&self, rows: &TableRows) -> Result<Arc<dyn ExecutionPlan>> {
        let table = self.tables.provider_by_partition(&self.entry.id).await?;
        let schema = rows.plan.schema();
        let all: Vec<usize> = (0..schema.fields().len()).collect();
        let scan = table.scan(&rows.state, Some(&all), &[], None).await?;
        let found = scan.schema();
        let value = |(idx, field): (usize, &FieldRef)| {
            let column: Arc<dyn PhysicalExpr> = Arc::new(Column::new(&column_name(idx), idx));
            let column: Arc<dyn PhysicalExpr> =
                match found.field(idx).data_type() == field.data_type() {
                    true => column,
                    false => Arc::new(CastExpr::new(column, field.data_type().clone(), None)),
                };
            (column, field.name().clone())
        };
        let values: Vec<_> = schema.fields().iter().enumerate().map(value).collect();
        Ok(Arc::new(ProjectionExec::try_new(values, scan)?))
    }

    async fn remove(mut self) {
        self.signs.abort();
        // Dropped meanwhile, it begins anew.
        self.is_named.store(false, Ordering::Release);
        remove(&self.tables, &self.entry.id).await;
        self.is_removed = true;
    }
}

impl Drop for UnnamedTable {
    fn drop(&mut self) {
        self.signs.abort();
        if self.is_named.load(Ordering::Acquire) {
            return;
        }
        if let Ok(runtime) = Handle::try_current() {
            let (tables, id) = (Arc::clone(&self.tables), self.entry.id.clone());
            let is_removed = self.is_removed;
            runtime.spawn(async move {
                if !is_removed {
                    remove(&tables, &id).await;
                }
                tokio::time::sleep(LATE_FILES).await;
                remove(&tables, &id).await;
            });
        }
    }
}

/// An entry with a new id, which the catalog does not have.
fn unnamed_entry() -> CatalogEntry {
    let definition = Definition::Table(TableDefinition::default());
    CatalogEntry::new("", "rows of a training", definition)
}

async fn remove(tables: &Tables, id: &str) {
    if let Err(error) = tables.remove_managed(id).await {
        tracing::warn!(%error, id, "could not remove the rows that were written for a training");
    }
}

async fn give_signs(tables: Arc<Tables>, id: String) {
    loop {
        tokio::time::sleep(LIFE_SIGN_INTERVAL).await;
        give_sign(&tables, &id).await;
    }
}

#[cfg(test)]
mod tests {
    use datafusion::arrow::datatypes::{IntervalUnit, TimeUnit};

    use super::*;

    #[test]
    fn types_that_files_do_not_keep_stay_on_the_coordinator() {
        let told = |data_type: DataType| {
            let kept = Field::new("kept", DataType::Utf8View, true);
            let schema = Schema::new(vec![kept, Field::new("asked", data_type, true)]);
            unstorable(&schema)
        };
        let kept = [
            DataType::Float32,
            DataType::Decimal128(20, 3),
            DataType::LargeUtf8,
            DataType::Timestamp(TimeUnit::Microsecond, None),
            DataType::Interval(IntervalUnit::MonthDayNano),
        ];
        for data_type in kept {
            assert_eq!(told(data_type), None);
        }
        let item = |data_type| Arc::new(Field::new("item", data_type, true));
        let changed = [
            DataType::UInt8,
            DataType::Timestamp(TimeUnit::Nanosecond, None),
            DataType::List(item(DataType::Int64)),
        ];
        for data_type in changed {
            let reason = told(data_type).unwrap();
            assert!(
                reason.starts_with("column \"asked\" is of a type"),
                "{reason}"
            );
        }
    }
}
